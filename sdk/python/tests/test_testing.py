"""The harness: that what holds in a host holds in it, and that a wrong handler does not pass."""
import asyncio

import pytest

import tova
from tova import testing


class Good:
    def on_upgrade(self, request):
        if request.path == "/closed":
            return tova.refuse(403, "not here")
        return tova.accept(state={"name": (request.claims or {}).get("sub", "nobody")})

    def on_open(self, ws):
        tova.join(ws, "all")
        ws.send(f"hello {ws.state['name']}")

    def on_message(self, ws, message):
        ws.state["said"] = ws.state.get("said", 0) + 1
        tova.broadcast_to("all", f"{ws.state['said']} {message}", exclude=ws)
        if message == "fail":
            raise ValueError("no")
        if message == "later":
            tova.set_timer("t", 100, ws=ws)
        if message == "count":
            tova.count("all", lambda n: ws.send(f"{n} here"))
        if message == "close":
            ws.close(4000, "bye")
            ws.send("too late")
        if message == "twice" and tova.current_event().attempt > 1:
            ws.send("again " + tova.current_event().key[-2:])

    def on_timer(self, name, id, ws):
        ws.send("rang")

    def on_error(self, ws, error):
        ws.send(f"{error.kind}: {error}")

    def on_close(self, ws, code, reason):
        tova.broadcast(f"left {code} {ws.rooms}")

    def on_away(self, ws, code):
        tova.broadcast_to("all", f"away {code}", exclude=ws)
        ws.send("meanwhile")

    def on_back(self, ws):
        ws.send(f"back at {ws.request.path}")


class Coroutines(Good):
    async def on_message(self, ws, message):
        await asyncio.sleep(0)
        if message == "count":
            ws.send(f"{await tova.count('all')} here")
        else:
            super().on_message(ws, message)


@pytest.fixture(params=[Good, Coroutines])
def host(request):
    with testing.Host(request.param) as host:
        yield host


def test_a_conversation(host):
    ann, bob = host.connect(claims={"sub": "ann"}), host.connect()
    assert ann.receive() == "hello ann" and bob.receive() == "hello nobody"
    ann.send("hi")
    assert bob.receive() == "1 hi" and ann.state == {"name": "ann", "said": 1} and host.quiet()
    assert host.members("all") == [ann, bob]


def test_a_failure_undoes_all_of_it(host):
    ann, bob = host.connect(), host.connect()
    ann.receive(), bob.receive()
    ann.send("fail")
    assert "no" in ann.raised and ann.state == {"name": "nobody"}
    assert ann.receive() == "handler: ValueError: no" and host.quiet()


def test_away_and_back(host):
    ann, bob = host.connect(), host.connect()
    ann.receive(), bob.receive()
    ann.away()
    assert bob.receive() == "away 1006" and host.members("all") == [ann, bob]
    ann.away(1001)
    assert bob.receive() == "away 1001"
    ann.back("/again")
    assert [ann.receive() for _ in range(3)] == ["meanwhile", "meanwhile", "back at /again"]


def test_timers_and_queries(host):
    ann = host.connect()
    ann.receive()
    ann.send("later")
    assert host.timers(ann) == ["t"] and host.pass_time(99) == 0 and host.pass_time(1) == 1
    assert ann.receive() == "rang" and host.timers(ann) == []
    ann.send("count")
    assert ann.receive() == "1 here"


def test_the_end_of_a_connection(host):
    ann, bob = host.connect(), host.connect()
    ann.receive(), bob.receive()
    ann.send("close")
    assert ann.closed == 4000 and ann.gone and not ann.received
    assert [bob.receive(), bob.receive()] == ["1 close", "left 4000 ['all']"]
    bob.close(1001)
    assert bob.gone and host.members("all") == []
    with pytest.raises(AssertionError, match="has gone"):
        bob.send("x")


def test_an_event_once_more(host):
    ann = host.connect()
    ann.receive()
    ann.send("twice").send("twice", attempt=2)
    assert ann.receive() == "again :2"


def test_a_refusal(host):
    with pytest.raises(testing.Refused) as refused:
        host.connect("/closed")
    assert refused.value.status == 403 and refused.value.body == "not here"


def test_a_wrong_handler_does_not_pass():
    """One that keeps what it did though it failed: of its own, not of the host's."""
    kept = []

    def on_message(ws, message):
        ws.send("told")
        kept.append(message)
        raise RuntimeError("after all")
    with testing.Host(on_message=on_message) as host:
        ann = host.connect()
        ann.send("x")
        with pytest.raises(AssertionError, match="nothing more"):
            ann.receive()
        assert kept == ["x"]


class Present:
    def on_open(self, ws):
        tova.info(ws, {"at": ws.request.path}, user=ws.request.query or None)
        ws.prolong("a token")
        if ws.request.path == "/full":
            tova.join(ws, "all", max=2)
        tova.join(ws, "all", users_max=3)

    def on_message(self, ws, message):
        if message == "who":
            tova.members("all", lambda found: ws.send([[one.user, one.info] for one in found]))
            tova.users("all", lambda found: ws.send(found))
        if message == "first":
            tova.join(ws, "first", first=True)
        if message == "replace":
            tova.join(ws, "all", replace=True)
        if message == "clear":
            tova.close_room("all", 4001, "cleared", exclude=ws)
        if message == "others":
            tova.broadcast_to(["all", "first"], f"{ws.user} {ws.info}", exclude_users=["bob"], exclude_rooms=["first"])
        if message == "leave":
            tova.leave_all(ws)


def test_who_is_there():
    with testing.Host(Present) as host:
        ann, bob, again = (host.connect("/x", query=name) for name in ("ann", "bob", "ann"))
        assert ann.user == "ann" and ann.info == '{"at":"/x"}' and ann.token == "a token"
        ann.send("who")
        assert ann.receive() == '[["ann","{\\"at\\":\\"/x\\"}"],["bob","{\\"at\\":\\"/x\\"}"],["ann","{\\"at\\":\\"/x\\"}"]]'
        assert ann.receive() == '["ann","bob"]'
        full = host.connect("/full")
        assert "max" in full.raised and full.info is None and host.members("all") == [ann, bob, again]
        eve = host.connect("/x", query="eve")
        late = host.connect("/x", query="late")
        assert "users_max" in late.raised and host.members("all") == [ann, bob, again, eve]
        ann.send("first"), bob.send("first")
        assert ann.raised is None and "first" in bob.raised
        bob.send("others")
        assert [len(ws.received) for ws in (ann, bob, again, eve)] == [0, 0, 1, 1]
        eve.send("leave")
        assert eve.rooms == set()
        again.send("clear")
        assert ann.closed == bob.closed == 4001 and host.members("all") == [again]
        ann = host.connect("/x", query="ann")
        ann.send("replace")
        assert again.closed == 4409 and again.gone and host.members("all") == [ann]


def test_claims_at_each_event():
    class Claims:
        def on_open(self, ws):
            ws.send([ws.user, ws.claims["role"]])

        def on_message(self, ws, message):
            ws.send([ws.user, ws.claims["role"]])

    with testing.Host(Claims) as host:
        ann = host.connect(claims={"sub": "ann", "role": "admin"})
        ann.send("x")
        assert ann.receive() == ann.receive() == '["ann","admin"]'


class Remembering:
    def on_message(self, ws, message):
        verb, _, n = message.partition(" ")
        if verb == "last":
            ws.join("r", last=int(n))
        elif verb == "since":
            tova.join(ws, "r", since=int(n), epoch=1)
        elif verb == "fail":
            tova.join(ws, "r", since=int(n), epoch=1, otherwise="fail")
        elif verb == "tell":
            tova.history("r", limit=2, callback=lambda h: ws.send(f"{h.last} {h.complete} {[m.data for m in h.messages]}"))
        elif verb == "push":
            with tova.push() as done:
                tova.broadcast_to("r", b"pushed")
            self.done = done
        else:
            tova.broadcast_to("r", message, exclude=ws, keep=verb != "hint")


def test_rooms_remember():
    handlers = Remembering()
    with testing.Host(handlers) as host:
        a, b = host.connect(), host.connect()
        for text in ("one", "two", "hint", "three"):
            a.send(text)
        a.send("last 2")
        assert [a.receive(), a.receive()] == ["two", "three"]
        b.send("since 1")
        assert [b.receive(), b.receive()] == ["two", "three"]
        b.send("since 9")
        assert [b.receive() for _ in range(3)] == ["one", "two", "three"]
        b.send("fail 9")
        assert "remember" in b.raised
        a.send("tell")
        assert a.receive() == "3 True ['two', 'three']"
        a.send("push")
        assert a.receive() == b"pushed" == b.receive() and handlers.done.wait() == (4, 1)
    for wrong in ({"since": 3}, {"epoch": 3}, {"last": -1}, {"since": 0, "otherwise": "x"}, {"otherwise": "fail"}):
        with pytest.raises((TypeError, ValueError)):
            tova.join("x", "r", **wrong)


class Document:
    def on_open(self, ws):
        ws.join("doc")
        if ws.request.query == "see":
            assert ws.room is None

    def on_message(self, ws, message):
        assert tova.current_event().attempt == 1 or ws.room.state != self.seen
        self.seen = ws.room.state
        if message == "race":
            self.host.set_room("doc", ["theirs", tova.current_event().attempt])
        if message == "again" and tova.current_event().attempt == 1:
            self.host.set_room("doc", ["theirs"])
        if message == "ask":
            tova.room_state("doc", lambda room: ws.send([room.state, room.version > 0]))
        elif message == "bytes":
            tova.set_room(ws.room, b"\xff")
        elif message == "nothing":
            tova.set_room(ws.room, None)
        else:
            tova.set_room(ws.room, [*(ws.room.state or []), message])
            tova.broadcast_to(ws.room.name, message)


def test_what_is_kept_with_a_room():
    handlers = Document()
    with testing.Host(handlers, room_state=True) as host:
        handlers.host = host
        ann, bob = host.connect(query="see"), host.connect()
        ann.send("one"), bob.send("two")
        assert host.room_state("doc") == ["one", "two"] and ann.receive() == "one" and ann.receive() == "two"
        bob.send("again")
        assert bob.raised is None and host.room_state("doc") == ["theirs", "again"] and ann.receive() == "again"
        bob.send("race")
        assert "another version" in bob.raised and host.room_state("doc") == ["theirs", 11] and not ann.received
        ann.send("ask")
        assert ann.receive() == '[["theirs",11],true]'
        ann.send("bytes")
        assert host.room_state("doc") == b"\xff"
        ann.send("nothing")
        assert host.room_state("doc") is None
        bob.send("fresh")
        assert host.room_state("doc") == ["fresh"]
        host.set_room("doc", ["x" * 60_000])
        assert host.room_state("doc") == ["x" * 60_000]
        with pytest.raises(ValueError, match="at most 65536 with a room"):
            host.set_room("doc", "x" * 65_536)
    with testing.Host(handlers) as host:
        ann = host.connect()
        ann.send("x")
        assert "room_state=True" in ann.raised
    for wrong in (("r", 1), ("r", 1, -1), ("", 1, 0), ("r", "x" * 65536, 0), ("r", 1, "x")):
        with pytest.raises((TypeError, ValueError)):
            tova.set_room(*wrong)


def test_an_upgrade_says_who_it_is():
    class Named:
        def on_upgrade(self, request):
            return tova.accept(user=request.query or None, info={"at": request.path})

        def on_open(self, ws):
            ws.send([ws.user, ws.info])

    with testing.Host(Named) as host:
        assert host.connect(query="ann").receive() == '["ann","{\\"at\\":\\"/\\"}"]'
        ann = host.connect()
        assert ann.user is None and ann.receive() == '[null,"{\\"at\\":\\"/\\"}"]'
        with pytest.raises(testing.Refused):
            host.connect(query="x" * 256)


class Watched:
    """Everybody hears who comes and who goes."""

    def on_open(self, ws):
        tova.join(ws, "all")

    async def on_message(self, ws, message):
        word, *rest = message.split()
        if word == "user":
            tova.info(ws, "of " + rest[0], user=rest[0])
        elif word == "watch":
            tova.watch(rest[0], grace_ms=int(rest[1]))
        elif word == "join":
            ws.join(rest[0])
        elif word == "leave":
            ws.leave(rest[0])
        elif word == "close":
            ws.close(4000)
        elif word == "who":
            ws.send(await tova.users(rest[0]))

    def on_join(self, who):
        tova.broadcast_to("all", f"in {who.room} {who.user} {who.info} {who.users} {who.ws.user}")

    async def on_leave(self, who):
        tova.broadcast_to("all", f"out {who.room} {who.user} {who.info} {who.users}")
        if who.users == 0:
            tova.unwatch(who.room, if_empty=True)


def test_who_comes_and_goes():
    with testing.Host(Watched) as host:
        ann, tab, bob, guest = clients = [host.connect() for _ in range(4)]

        def heard():
            for ws in clients:
                ws.received.clear() if ws.gone else None
            texts = [list(ws.received) for ws in clients if not ws.gone]
            assert all(text == texts[0] for text in texts)
            for ws in clients:
                ws.received.clear()
            return texts[0]

        for ws, name in ((ann, "ann"), (tab, "ann"), (bob, "bob")):
            ws.send(f"user {name}")
        ann.send("join r")
        ann.send("watch r 5000")
        assert heard() == ["in r ann of ann 1 ann"]
        tab.send("join r")
        guest.send("join r")
        bob.send("join r")
        assert heard() == ["in r None None 2 None", "in r bob of bob 3 bob"]
        ann.send("leave r")
        guest.close(1006)  # nobody in particular is not waited for
        tab.close(1001)
        assert heard() == ["out r None None 2"]
        ann.send("who r")
        assert ann.receive() == '["ann","bob"]'
        host.pass_time(4999)
        ann.send("join r")
        host.pass_time(5000)
        assert heard() == []
        ann.close(1001)
        host.pass_time(4999)
        assert heard() == []
        host.pass_time(1)
        assert heard() == ["out r ann of ann 1"]
        bob.send("leave r")
        assert heard() == ["out r bob of bob 0"]
        bob.send("join r")  # nobody watches any more
        assert heard() == []
        bob.send("watch r 5000")
        assert heard() == ["in r bob of bob 1 bob"]


@pytest.mark.parametrize("call, error", [
    (lambda: tova.watch(""), ValueError), (lambda: tova.watch(5), TypeError), (lambda: tova.watch("r", grace_ms=3_600_001), ValueError),
    (lambda: tova.watch("r", grace_ms=-1), ValueError), (lambda: tova.watch("r", grace_ms=1.5), TypeError), (lambda: tova.unwatch("a\0b"), ValueError)])
def test_what_is_no_watch(call, error):
    with pytest.raises(error):
        call()
