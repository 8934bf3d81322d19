"""Who is there: info and users, members in pages, rooms that are closed, joins with conditions, broadcasts among several rooms. The test is
the worker (raw_worker.py)."""
import re
import subprocess

import pytest

from hub import Hub, opened, send
from tokens import claims, hs256
from tova_host import BUILD, IMPATIENT, Host
from wsclient import TEXT, connect, frame


def join(room, **members):
    return {"c": "join", "room": room, **members}


def info(text=None, **members):
    return {"c": "info", **({} if text is None else {"info": text}), **members}


def to(data, *rooms, **members):
    return {"c": "broadcast_to", "data": data, **({"room": rooms[0]} if len(rooms) == 1 else {"rooms": list(rooms)}), **members}


def push(worker, *commands):
    """What is wrong with them; None: nothing."""
    return worker.push(*commands).get("error")


class Crowd:
    """Clients whose opens were settled, by name."""

    def __init__(self, hub, worker, names):
        self.ws, self.id = {}, {}
        for name in names:
            self.ws[name], self.id[name] = opened(hub, worker)

    def heard(self, worker):
        """Which of them have heard what, up to now."""
        assert push(worker, *(send("end", conn=id) for id in self.id.values())) is None
        said = {}
        for name, ws in self.ws.items():
            lines = []
            while (text := ws.recv_text()) != "end":
                lines.append(text)
            said[name] = "".join(lines)
        return said


@pytest.fixture
def worker(hub):
    with hub.worker(events=["open", "message", "close", "error"]) as worker:
        yield worker


# --- who they are


def test_info_and_user_come_with_each_event(hub, worker):
    ws, conn = opened(hub, worker)
    ws.send_text("1")
    event = worker.expect("message")
    assert not {"user", "info", "subject", "claims"} & event.keys()
    worker.ack(event, info('{"name":"Ann"}', user="ann"))
    ws.send_text("2")
    event = worker.expect("message", user="ann", info='{"name":"Ann"}')
    worker.ack(event, info("away"))
    ws.send_text("3")
    event = worker.expect("message", user="ann", info="away")
    worker.ack(event, info(user="bob"), info(""))
    ws.close(1000)
    event = worker.expect("close", user="bob")
    assert "info" not in event
    worker.ack(event)


@pytest.mark.parametrize("command, sentence", [
    (info("x" * 1025), "1,024"), (info("ä" * 513), "1,024"), (info(user="x" * 256), "255"), (info(user="a\0b"), "NUL"), (info(), "out of range")])
def test_what_is_no_info(hub, worker, command, sentence):
    ws, conn = opened(hub, worker)
    assert sentence in push(worker, {**command, "conn": conn})
    assert push(worker, info("x" * 1024, user="u" * 255, conn=conn)) is None
    ws.send_text("?")
    worker.ack(worker.expect("message", info="x" * 1024, user="u" * 255))


def test_what_a_token_says(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"0123456789abcdef0123456789abcdef")
    with Hub(tmp_path, "--jwt-key", secret) as hub:
        token = hs256(claims(sub="ann", role="admin"), key=secret.read_bytes())
        how = {"headers": [("Authorization", f"Bearer {token}")]}
        with hub.worker(claims=True) as worker:
            ws = hub.client(**how)
            event = worker.expect("open", subject="ann")
            assert "claims" not in event and event["request"]["claims"]["role"] == "admin"
            worker.ack(event, join("lobby"))
            ws.send_text("1")
            event = worker.expect("message", subject="ann")
            assert event["claims"]["role"] == "admin" and "user" not in event
            assert worker.ask("users", room="lobby")["users"] == [{"user": "ann", "connections": 1}]
            worker.ack(event, info(user="Ann A."))
            assert worker.ask("users", room="lobby")["users"] == [{"user": "Ann A.", "connections": 1}]
            ws.send_text("2")
            worker.ack(worker.expect("message", subject="ann", user="Ann A."), info(user=""))
            assert worker.ask("users", room="lobby")["users"] == [{"user": "ann", "connections": 1}]
            ws.send_text("3")
            event = worker.expect("message", subject="ann")
            assert "user" not in event
            worker.ack(event)


def test_another_may_change_it_while_a_run_is_under_way(hub):
    with hub.worker(runs=8) as worker:
        ws, conn = opened(hub, worker)
        ws.send(b"".join(frame(TEXT, str(n).encode()) for n in range(3)))
        first = worker.expect("message", data="0")
        assert [worker.receive()["run"] for _ in range(2)] == [2, 3]
        assert push(worker, info("changed", conn=conn)) is None
        worker.ack(first)
        again = worker.expect("message", info="changed", conn=conn)
        assert again["data"] == "1"


# --- members and users


def test_members_in_pages(hub, worker):
    crowd = Crowd(hub, worker, "abcdefg")
    assert push(worker, *(join("r", conn=id) for id in crowd.id.values()), info("the first", conn=crowd.id["a"], user="ann")) is None
    assert sorted(worker.ask("members", room="r")["connections"]) == sorted(crowd.id.values())
    seen, after = [], {}
    while True:
        page = worker.ask("members", room="r", limit=3, **after)
        assert page["count"] == 7 and len(page["members"]) <= 3
        seen += page["members"]
        if "next" not in page:
            break
        after = {"after": page["next"]}
    assert sorted(m["conn"] for m in seen) == sorted(crowd.id.values())
    assert {"conn": crowd.id["a"], "user": "ann", "info": "the first"} in seen
    assert worker.ask("members", room="nobody", limit=3) == {"t": "reply", "q": 77, "unknown": True, "count": 0, "members": []}
    assert "after" in worker.ask("members", room="r", limit=3, after="general")["error"]


def test_who_stays_stands_in_one_page_whoever_comes_and_goes(hub, worker):
    crowd = Crowd(hub, worker, "abcdefghij")
    assert push(worker, *(join("r", conn=id) for id in crowd.id.values())) is None
    first = worker.ask("members", room="r", limit=4)
    here = {m["conn"] for m in first["members"]}
    assert push(worker, *({"c": "leave", "room": "r", "conn": id} for id in here)) is None
    rest = worker.ask("members", room="r", limit=100, after=first["next"])
    assert here | {m["conn"] for m in rest["members"]} == set(crowd.id.values()) and len(rest["members"]) == 6


def test_each_user_once(hub, worker):
    crowd = Crowd(hub, worker, "abcde")
    users = {"a": "ann", "b": "bob", "c": "ann", "d": "zoë"}
    assert push(worker, *(join("r", conn=id) for id in crowd.id.values())) is None
    assert worker.ask("users", room="r")["anonymous"] == 5
    assert push(worker, *(info(user=user, conn=crowd.id[name]) for name, user in users.items())) is None
    asked = worker.ask("users", room="r")
    assert asked["users"] == [{"user": "ann", "connections": 2}, {"user": "bob", "connections": 1}, {"user": "zoë", "connections": 1}]
    assert asked["count"] == 3 and asked["anonymous"] == 1
    assert worker.ask("users", room="r", limit=2)["next"] == "bob"
    assert [u["user"] for u in worker.ask("users", room="r", limit=2, after="bob")["users"]] == ["zoë"]
    crowd.ws.pop("a").close(1000)
    worker.ack(worker.expect("close", user="ann"))
    assert push(worker, {"c": "leave", "room": "r", "conn": crowd.id["b"]}) is None
    assert worker.ask("users", room="r")["users"] == [{"user": "ann", "connections": 1}, {"user": "zoë", "connections": 1}]
    assert worker.ask("users", room="nobody")["count"] == 0


# --- rooms as a whole


def test_a_room_is_closed(hub, worker):
    crowd = Crowd(hub, worker, "abcd")
    assert push(worker, *(join("ann", conn=crowd.id[name]) for name in "abc")) is None
    close = {"c": "close_room", "room": "ann", "code": 4000, "reason": "logged out", "exclude": crowd.id["c"]}
    assert push(worker, send("last", conn=crowd.id["a"]), close, to("never", "x"), send("still here", conn=crowd.id["c"])) is None
    assert crowd.ws["a"].recv_text() == "last"
    for name in "ab":
        worker.ack(worker.expect("close", code=4000, reason="logged out", rooms=["ann"]))
        crowd.ws[name].expect_close(4000, "logged out")
    assert crowd.ws["c"].recv_text() == "still here"
    assert worker.ask("members", room="ann")["connections"] == [crowd.id["c"]]
    worker.send({"t": "push", "ref": 1, "commands": [{"c": "close_room", "room": "nobody"}]})
    assert worker.expect("done", ref=1)["nobody"] == 1


def test_an_event_closes_its_own_room(hub, worker):
    """What it has sent before is heard, what it sends behind is not."""
    crowd = Crowd(hub, worker, "ab")
    assert push(worker, *(join("r", conn=id) for id in crowd.id.values())) is None
    crowd.ws["a"].send_text("end it")
    worker.ack(worker.expect("message"), send("bye"), {"c": "close_room", "room": "r", "code": 4001}, send("never"))
    assert crowd.ws["a"].recv_text() == "bye"
    for _ in "ab":
        worker.ack(worker.expect("close", code=4001))
    for name in "ab":
        crowd.ws[name].expect_close(4001)


def test_all_rooms_are_left(hub, worker):
    crowd = Crowd(hub, worker, "ab")
    rooms = [f"r{n}" for n in range(20)]
    assert push(worker, *(join(room, conn=id) for room in rooms for id in crowd.id.values())) is None
    assert push(worker, {"c": "leave_all", "conn": crowd.id["a"]}, join("new", conn=crowd.id["a"])) is None
    assert worker.ask("rooms", conn=crowd.id["a"])["rooms"] == ["new"]
    assert sorted(worker.ask("rooms", conn=crowd.id["b"])["rooms"]) == sorted(rooms)


def test_who_leaves_all_may_join_as_many(tmp_path):
    with Hub(tmp_path, "--max-rooms", "3") as hub, hub.worker() as worker:
        ws, conn = opened(hub, worker)
        assert push(worker, *(join(f"r{n}", conn=conn) for n in range(3))) is None
        more = [join(f"s{n}", conn=conn) for n in range(3)]
        assert "--max-rooms" in push(worker, *more)
        assert push(worker, {"c": "leave_all", "conn": conn}, *more) is None
        assert "--max-rooms" in push(worker, {"c": "leave_all", "conn": conn}, *more, join("one more", conn=conn))


# --- conditions


def test_at_most_so_many(hub, worker):
    crowd = Crowd(hub, worker, "abc")
    one = [join("r", conn=crowd.id[name], max=2) for name in "abc"]
    assert push(worker, one[0]) is None
    assert push(worker, one[0]) is None  # it is there already
    assert push(worker, one[1]) is None
    assert push(worker, one[0]) is None
    assert "max" in push(worker, one[2])
    assert push(worker, join("r", conn=crowd.id["c"], max=3)) is None
    assert "max" in push(worker, send("never", conn=crowd.id["a"]), join("s", conn=crowd.id["a"]), join("s", conn=crowd.id["b"]),
                         join("s", conn=crowd.id["c"], max=2))
    assert worker.ask("count", room="s")["count"] == 0
    assert crowd.heard(worker) == {"a": "", "b": "", "c": ""}


def test_it_is_judged_when_it_commits(hub, worker):
    """Both handlers saw a room with one place: one of them gets it, the other's event fails."""
    crowd = Crowd(hub, worker, "ab")
    for ws in crowd.ws.values():
        ws.send_text("let me in")
    events = [worker.expect("message"), worker.expect("message")]
    for event in events:
        worker.ack(event, join("r", max=1), send("in"))
    error = worker.expect("error")
    assert "max" in error["error"] and error["conn"] == events[1]["conn"]
    worker.ack(error)
    heard = crowd.heard(worker)
    assert sorted(heard.values()) == ["", "in"]


def test_the_first(hub, worker):
    crowd = Crowd(hub, worker, "ab")
    assert push(worker, join("r", conn=crowd.id["a"], first=True)) is None
    assert push(worker, join("r", conn=crowd.id["a"], first=True)) is None
    assert "first" in push(worker, join("r", conn=crowd.id["b"], first=True))
    assert push(worker, {"c": "leave", "room": "r", "conn": crowd.id["a"]}, join("r", conn=crowd.id["b"], first=True)) is None
    assert "first" in push(worker, join("r", conn=crowd.id["a"]), join("r", conn=crowd.id["b"], first=True))


def test_one_session_of_a_user(hub, worker):
    crowd = Crowd(hub, worker, "abc")
    assert push(worker, join("ann", conn=crowd.id["a"]), join("ann", conn=crowd.id["b"])) is None
    assert push(worker, join("ann", conn=crowd.id["c"], replace=True), to("alone", "ann")) is None
    for name in "ab":
        worker.ack(worker.expect("close", code=4409))
        crowd.ws[name].expect_close(4409, "replaced by another connection")
    assert crowd.ws["c"].recv_text() == "alone"
    assert push(worker, join("ann", conn=crowd.id["c"], replace=True)) is None
    assert worker.ask("count", room="ann")["count"] == 1


def test_so_many_users(hub, worker):
    crowd = Crowd(hub, worker, "abcd")
    for name, user in {"a": "ann", "b": "ann", "c": "bob"}.items():
        assert push(worker, info(user=user, conn=crowd.id[name])) is None
    most = {name: join("r", conn=crowd.id[name], users_max=2) for name in "abcd"}
    assert push(worker, most["a"], most["b"], most["c"]) is None
    assert "users_max" in push(worker, most["d"])
    assert push(worker, info(user="bob", conn=crowd.id["d"]), most["d"]) is None
    assert worker.ask("users", room="r")["count"] == 2
    assert push(worker, info(user="eve", conn=crowd.id["d"]), {"c": "leave", "room": "r", "conn": crowd.id["d"]}) is None
    assert "users_max" in push(worker, most["d"])
    assert push(worker, {"c": "close", "conn": crowd.id["c"]}, most["d"]) is None
    worker.ack(worker.expect("close"))
    assert [user["user"] for user in worker.ask("users", room="r")["users"]] == ["ann", "eve"]


def test_conditions_behind_a_room_that_is_closed(hub, worker):
    crowd = Crowd(hub, worker, "abcde")
    for name, user in {"a": "ann", "b": "bob", "c": "bob"}.items():
        assert push(worker, info(user=user, conn=crowd.id[name]), join("r", conn=crowd.id[name])) is None
    close = {"c": "close_room", "room": "r", "exclude_users": ["bob"]}
    late = crowd.id["d"]
    assert "max" in push(worker, close, join("r", conn=late, max=2))
    assert "users_max" in push(worker, close, join("r", conn=late, users_max=1))
    assert "first" in push(worker, close, join("r", conn=late, first=True))
    assert push(worker, {**close, "exclude": [crowd.id["c"]], "exclude_users": []}, join("r", conn=late, max=2, users_max=2)) is None
    for _ in "ab":
        worker.ack(worker.expect("close"))
    assert worker.ask("count", room="r")["count"] == 2
    assert push(worker, {"c": "close_room", "room": "r"}, join("r", conn=crowd.id["e"], first=True)) is None
    for _ in "cd":
        worker.ack(worker.expect("close"))
    assert worker.ask("members", room="r")["connections"] == [crowd.id["e"]]


@pytest.mark.parametrize("bad", [{"max": 0}, {"max": -1}, {"max": "2"}, {"max": 1 << 40}, {"users_max": 1.5}])
def test_what_is_no_condition(hub, worker, bad):
    ws, conn = opened(hub, worker)
    assert "out of range" in push(worker, join("r", conn=conn, **bad))
    assert worker.ask("count", room="r")["count"] == 0


def test_too_many_conditions(hub, worker):
    ws, conn = opened(hub, worker)
    assert push(worker, *[join(f"r{n}", conn=conn, max=2) for n in range(1024)]) is None
    assert "limit" in push(worker, *[join(f"s{n}", conn=conn, max=2) for n in range(1025)])


# --- several rooms, and who is left out


def test_each_once(hub, worker):
    crowd = Crowd(hub, worker, "abcdefx")
    rooms = {"a": ["one"], "b": ["one", "two"], "c": ["two"], "d": ["two", "quiet"], "e": ["one", "two", "three"], "f": []}
    assert push(worker, *(join(room, conn=crowd.id[name]) for name, all in rooms.items() for room in all),
                info(user="eve", conn=crowd.id["e"])) is None
    assert push(worker, to("A", "one", "two"), to("B", "two", "one", "two", "nobody"), to("C", "one", "two", exclude_rooms=["quiet"]),
                to("D", "one", "two", exclude_users=["eve", "nobody"]), to("E", "one", "two", exclude=[crowd.id["a"], crowd.id["c"]]),
                to("F", "one", exclude_rooms=["two"]), to("G", "one", exclude_rooms=["one"]),
                {"c": "broadcast", "data": "H", "exclude_rooms": ["one", "two"], "exclude": [crowd.id["x"]]}) is None
    assert crowd.heard(worker) == {"a": "ABCDF", "b": "ABCDE", "c": "ABCD", "d": "ABDE", "e": "ABCE", "f": "H", "x": ""}


def test_its_own_is_left_out(hub, worker):
    crowd = Crowd(hub, worker, "ab")
    assert push(worker, *(join("r", conn=id) for id in crowd.id.values())) is None
    crowd.ws["a"].send_text("hi")
    worker.ack(worker.expect("message"), to("others", "r", exclude=[True]), to("all", "r", exclude=[False]), to("one", "r", exclude=[]))
    assert crowd.heard(worker) == {"a": "allone", "b": "othersallone"}


@pytest.mark.parametrize("threads", ["1", "3"])
def test_with_more_loops_and_clients_that_count(tmp_path, threads):
    """A message to several rooms reaches each once on whichever loop, and in the order of the others."""
    with Hub(tmp_path, "--threads", threads, "--resume", "60s") as hub, hub.worker() as worker:
        clients = []
        for n in range(24):
            ws = connect("127.0.0.1", hub.host.port, subprotocols=["tova.v1"] if n % 3 == 0 else [])
            event = worker.expect("open")
            worker.ack(event, join("one"), *([join("two")] if n % 2 else []))
            clients.append((ws, event["conn"]))
        for n in range(50):
            assert push(worker, to(f"one {n}", "one"), to(f"both {n}", "two", "one"), to(f"but two {n}", "one", exclude_rooms=["two"])) is None
        for n, (ws, _) in enumerate(clients):
            for k in range(50):
                want = [f"one {k}", f"both {k}"] + ([] if n % 2 else [f"but two {k}"])
                for text in want:
                    while (got := ws.recv_text()).startswith("\x01"):
                        pass
                    assert got == text


@pytest.mark.parametrize("command, sentence", [
    (to("x", *["r"] * 257), "256"), ({"c": "broadcast_to", "rooms": [], "data": "x"}, "empty"), (to("x", "r", exclude_rooms=[""]), "255 bytes"),
    (to("x", "r", exclude_users=[1]), "something else"), (to("x", "r", exclude=["general"]), "id"), (to("x", "r", exclude=[None]), "something else"),
    (to("x", "r", exclude="general"), "id"), ({"c": "broadcast_to", "rooms": "r", "data": "x"}, "out of range"),
    (send("x", conn="general"), "no connection's id"), (join("r", conn="general"), "no connection's id"),
    ({"c": "close", "conn": "general"}, "no connection's id"), ({"c": "close_room", "code": 4000}, "empty")])
def test_what_is_refused(hub, worker, command, sentence):
    ws, conn = opened(hub, worker)
    assert push(worker, join("r", conn=conn)) is None
    assert sentence in push(worker, send("never", conn=conn), command)
    assert push(worker, send("end", conn=conn)) is None
    assert ws.recv_text() == "end"


def test_a_crowd_in_many_rooms(hub, worker):
    """Conditions, lists and pages with more than a few."""
    crowd = Crowd(hub, worker, map(str, range(200)))
    rooms = [f"room {n}" for n in range(256)]
    assert push(worker, *(join(rooms[n % 256], conn=id) for n, id in enumerate(list(crowd.id.values()) * 3))) is None
    assert push(worker, to("x", *rooms, exclude=list(crowd.id.values())[:100], exclude_rooms=rooms[150:200])) is None
    heard = crowd.heard(worker)
    want = {}
    for n, name in enumerate(list(crowd.id) * 3):
        want.setdefault(name, set()).add(n % 256)
    for n, name in enumerate(crowd.id):
        assert heard[name] == ("" if n < 100 or want[name] & set(range(150, 200)) else "x"), name


# --- plugins


@pytest.mark.parametrize("isolate", [[], ["--isolate"]])
def test_a_plugin_in_the_host_and_in_a_process(isolate):
    with Host("--plugin", BUILD / "tests/plugins/company.so", *isolate, *IMPATIENT) as host:
        ann, bob, zoe = [connect("127.0.0.1", host.port) for _ in range(3)]

        def ask(ws, text, answers=True):
            ws.send_text(text)
            if answers:
                return ws.recv_text()
            ws.send_text("end")
            said = []
            while (line := ws.recv_text()) != "end":
                said.append(line)
            return "".join(said)

        assert ask(ann, "user ann", False) == ask(ann, "info tea", False) == ask(bob, "user bob", False) == ""
        assert ask(ann, "about") == "ann tea -" and ask(zoe, "about") == "- - -"
        assert ask(bob, "bad").startswith(("a command exceeded a limit", "a list of rooms"))
        assert ask(ann, "join a 2", False) == ask(bob, "join a 2", False) == ""
        assert "max" in ask(zoe, "join a 2")
        assert ask(zoe, "join b", False) == ""
        assert ask(zoe, "tell hi", False) == "hi" and ask(ann, "end?") == "hi" and ann.recv_text() == "end?"
        ask(ann, "join c", False)
        assert ask(zoe, "tell hi", False) == "hi"
        assert sorted(ask(ann, "members a").split()) == ["ann=tea", "bob=-", "members"]
        ask(bob, "user ann", False)
        assert ask(ann, "users a") == "users ann*2"
        assert ask(ann, "members nobody") == "members" and ask(ann, "users nobody") == "users"
        assert ask(ann, "clear a", False) == ""
        bob.expect_close(4001, "cleared")
        assert ask(zoe, "alone a", False) == ""
        ann.expect_close(4409)
        ask(zoe, "leave", False)
        assert ask(zoe, "users a") == "users"


# --- scripts


SCRIPT = """
while read -r line; do
	case "$line" in
	id) echo "$TOVA_CONN" ;;
	say*) echo "${line#say }" ;;
	*) printf '%s\\n' "$line" >&3 ;;
	esac
done
"""


def test_scripts_have_all_of_it(tmp_path):
    (tmp_path / "obey.sh").write_text(SCRIPT)
    with Host("--script", f"sh {tmp_path}/obey.sh", "--script-lines", "text", *IMPATIENT) as host:
        ann, bob, eve = clients = [connect("127.0.0.1", host.port) for _ in range(3)]

        def do(ws, *lines):
            """Its script has done that; what else it was sent meanwhile."""
            for line in (*lines, "say end"):
                ws.send_text(line)
            said = []
            while (text := ws.recv_text()) != "end":
                said.append(text)
            return said

        ids = [do(ws, "id")[0] for ws in clients]
        do(ann, "user ann", 'info {"at":"tea"}', "max=2 join a")
        do(bob, "user bob", "max=2 users_max=2 join a", "join b")
        do(eve, "max=2 join a", "join b", "join c")
        host.wait_log(lambda line: "max" in line.get("message", "") + line.get("error", "") and "join a" in str(line), "the join is refused")
        for line, heard in [
            ("also=b broadcast_to a 1", "abe"), ("exclude_user=bob also=b broadcast_to a 2", "ae"), ("exclude_room=c also=b broadcast_to a 3", "ab"),
            (f"exclude={ids[0]} broadcast_to a 4", "b"), ("exclude_room=a broadcast 5", "e"), ("exclude_user=ann broadcast_others 6", "b"),
            ("key=k exclude_user=ann broadcast_to a 7", "b"), ("exclude_user=ann key=k broadcast_to a 8", "b"),
        ]:
            said = [do(ws, *([line] if ws is eve else [])) for ws in (eve, ann, bob)]
            text = line.rpartition(" ")[2]
            assert said == [[text] if "e" in heard else [], [text] if "a" in heard else [], [text] if "b" in heard else []], line
        for wrong, sentence in [("max=0 join x", "from 1"), ("max=2 leave a", "of a join"), ("exclude=general broadcast x", "no connection"),
                                ("also=b send x y", "first word is no id"), ("first=maybe join x", "yes or no"), ("leave_all now", "too many"),
                                ("exclude_user=x join a", "of a broadcast")]:
            after = len(host.lines)
            do(eve, wrong)
            host.wait_log(lambda line: sentence in str(line), sentence, after)
        do(ann, "exclude_user=ann close_room a 4001 over")
        bob.expect_close(4001, "over")
        do(eve, "leave_all", "replace=yes join a")
        ann.expect_close(4409)
        assert do(eve, "broadcast_to b never", "broadcast_to a here") == ["here"]


# --- tova-ctl


def test_tova_ctl(hub, worker):
    def ctl(*words):
        done = subprocess.run([BUILD / "tova-ctl", "--control", hub.control, *words], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    crowd = Crowd(hub, worker, "abc")
    assert push(worker, *(join("r", conn=id) for id in crowd.id.values()), info(user="ann", conn=crowd.id["a"]),
                info(user="ann", conn=crowd.id["b"])) is None
    code, said = ctl("users", "r")
    assert code == 0 and re.search(r"ann +2", said), said
    assert ctl("close_room", "r", "99")[0] == 2
    assert ctl("close_room", "nobody")[0] == 1
    code, said = ctl("close_room", "r", "4001", "over")
    assert code == 0, said
    for _ in "abc":
        worker.ack(worker.expect("close", code=4001))
    for ws in crowd.ws.values():
        ws.expect_close(4001, "over")
