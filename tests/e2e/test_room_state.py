"""What handlers keep with a room: set with the version it was made from, given with the events of a connection's first room, undone and
given again where somebody else was faster. The test is the worker (raw_worker.py)."""
import json
import subprocess
import threading
import time

import pytest

from api import TOKENS, Api, address, tokens
from control import ctl
from hub import Hub, opened, send
from tova_host import BUILD, wait_until
from wsclient import TEXT, frame, refused


def set_room(state, version=None, room="r", **members):
    return {"c": "set_room", "room": room, "state": state, **({} if version is None else {"version": version}), **members}


def state(worker, room="r"):
    reply = worker.answered("reply", {"t": "query", "q": 1, "what": "room_state", "room": room})
    assert "error" not in reply, reply
    return reply.get("state", reply.get("state_base64")), reply["version"]


@pytest.fixture
def worker(hub):
    with hub.worker(events=["open", "message", "close", "error"], room_state=True) as worker:
        yield worker


def member(hub, worker, room="r"):
    ws, conn = opened(hub, worker)
    assert "error" not in worker.push({"c": "join", "room": room, "conn": conn})
    return ws, conn


# --- one after the other


def test_a_state_is_set_and_read(hub, worker):
    assert state(worker) == (None, 0)
    first = worker.push(set_room("one", 0))["version"]
    assert first > 0 and state(worker) == ("one", first) and state(worker, "other") == (None, 0)
    second = worker.push(set_room("two", first))["version"]
    assert second > first and state(worker) == ("two", second)
    for old in (first, 0, second + 1):
        said = worker.push(set_room("never", old))
        assert "another version" in said["error"] and said["index"] == 0
    assert state(worker) == ("two", second)
    assert worker.push(set_room("whatever there is"))["version"] > second
    assert "version" not in worker.push(set_room("")) and state(worker) == (None, 0)
    again = worker.push(set_room("anew", 0))["version"]
    assert again > second, "a version never comes twice"
    assert worker.push({"c": "set_room", "room": "r", "state_bin": 3, "version": again}, binary=b"\xff\0\xfe")["version"] > again
    assert state(worker)[0] == "/wD+"
    assert hub.stat("room_states") == 1 and hub.stat("room_state_conflicts") == 3


def test_it_comes_with_events_of_the_first_room(hub, worker):
    ws, conn = opened(hub, worker)
    ws.send_text("?")
    event = worker.expect("message")
    assert not {"room", "room_state", "room_version"} & event.keys()
    worker.ack(event, {"c": "join", "room": "r"}, {"c": "join", "room": "s"})
    ws.send_text("?")
    event = worker.expect("message", room="r", room_version=0)
    assert "room_state" not in event
    worker.ack(event, set_room("one", 0))
    worker.push(set_room("other", room="s"))
    ws.send_text("?")
    event = worker.expect("message", room="r", room_state="one", room_version=state(worker)[1])
    worker.send({"t": "ack", "s": event["s"], "commands": [
        {"c": "set_room", "room": "r", "state_bin": 2, "version": event["room_version"]}, {"c": "set", "state": "\0mine"}]}, binary=b"\xff\xfe")
    for data in (b"data", bytes(100000)):
        ws.send_binary(data)
        event = worker.expect("message", room_state=b"\xff\xfe", data=data, state="\0mine")
        if data == b"data":
            worker.ack(event)
    worker.ack(event, {"c": "leave", "room": "r"})
    ws.send_text("?")
    worker.ack(worker.expect("message", room="s", room_state="other"))
    ws.close(1000)
    event = worker.expect("close", room="s", room_state="other")
    worker.ack(event)


def test_what_came_before_the_end_has_it_behind_it(hub, worker):
    """A message that was received before its client went, and the close event: with what there is by then."""
    ws, conn = member(hub, worker)
    worker.push(set_room("one"))
    ws.send_text("1")
    ws.send_text("2")
    first = worker.expect("message", data="1", room_state="one")
    ws.send(frame(8, (1000).to_bytes(2, "big")))
    wait_until(lambda: worker.ask("count", room="r")["count"] == 0, "it has left")
    worker.ack(first, set_room("two", first["room_version"]))
    event = worker.expect("message", data="2", room="r", room_state="two")
    worker.ack(event, set_room("", event["room_version"]))
    event = worker.expect("close", room="r", room_version=0)
    assert "room_state" not in event
    worker.ack(event, set_room("last", 0))
    assert state(worker)[0] == "last"


def test_who_does_not_ask_is_given_none(hub):
    with hub.worker() as worker:
        ws, conn = member(hub, worker)
        worker.push(set_room("x"))
        ws.send_text("?")
        event = worker.expect("message")
        assert not {"room", "room_state", "room_version"} & event.keys()
        worker.ack(event)


@pytest.mark.parametrize("command, sentence", [
    (set_room("x" * 65537), "65,536"), (set_room("x", room=""), "1 to 255 bytes"), ({"c": "set_room", "room": "r"}, "out of range"),
    (set_room("x", -1), "out of range"), (set_room("x", "7"), "out of range"), ({"c": "set_room", "state": "x"}, "1 to 255 bytes")])
def test_what_is_no_state(hub, worker, command, sentence):
    assert sentence in worker.push(command)["error"]
    assert "error" not in worker.push(set_room("x" * 65536, room="n" * 255))
    assert state(worker, "n" * 255)[0] == "x" * 65536


def test_several_in_one_commit(hub, worker):
    one = worker.push(set_room("a", 0), set_room("b", 0), set_room("s", 0, room="s"))["version"]
    assert state(worker)[0] == "b" and state(worker, "s") == ("s", one)
    assert "error" in worker.push(set_room("c", state(worker)[1]), set_room("t", 1, room="s"))
    assert state(worker)[0] == "b", "all or none"
    assert "limit" in worker.push(*(set_room("x", room=str(n)) for n in range(65)))["error"]
    assert hub.stat("room_states") == 2


# --- two at once


def test_the_slower_of_two_is_given_again(hub):
    with hub.worker(room_state=True) as worker:
        one, first = member(hub, worker)
        two, second = member(hub, worker)
        one.send_text("one")
        two.send_text("two")
        events = {event["data"]: event for event in (worker.expect("message"), worker.expect("message"))}
        worker.ack(events["two"], set_room("two", 0), {"c": "broadcast_to", "room": "r", "data": "two"})
        worker.ack(events["one"], set_room("one", 0), {"c": "broadcast_to", "room": "r", "data": "one"})
        again = worker.expect("message", data="one", room_state="two", attempt=2, seq=events["one"]["seq"], conn=first)
        worker.ack(again, set_room("two, one", again["room_version"]), {"c": "broadcast_to", "room": "r", "data": "one, again"})
        for ws in (one, two):
            assert [ws.recv_text(), ws.recv_text()] == ["two", "one, again"]
        assert state(worker)[0] == "two, one"
        assert hub.stat("room_state_conflicts") == 1 and hub.stat("failures") == 0


def test_those_that_lost_have_turns(hub):
    """None of many that start together loses twice, and one that comes new does not get between."""
    with hub.worker(room_state=True) as worker:
        clients = [member(hub, worker) for _ in range(12)]
        for n, (ws, conn) in enumerate(clients):
            ws.send_text(str(n))
        events = [worker.expect("message") for _ in clients]
        for event in events:
            worker.ack(event, set_room("first " + event["data"], 0))
        done = 1
        last = clients[int(events[0]["data"])][0]
        while done < len(clients):
            event = worker.expect("message", attempt=2)
            last.send_text("new")
            new = worker.expect("message", data="new", attempt=1)
            assert new["room_version"] == event["room_version"]
            worker.ack(new, {"c": "broadcast_to", "room": "r", "data": "read only"})
            worker.ack(event, set_room(event["room_state"] + " " + event["data"], event["room_version"]))
            done += 1
        kept = state(worker)[0].split()
        assert sorted(kept[1:], key=int) == [str(n) for n in range(12)]
        assert hub.stat("room_state_conflicts") == 11
        last.send_text("new")
        worker.ack(worker.expect("message", data="new", attempt=1))


def test_who_comes_new_waits_for_the_turn_of_another(hub):
    with hub.worker(room_state=True) as worker:
        (one, _), (two, _), (three, _) = (member(hub, worker) for _ in range(3))
        one.send_text("one")
        two.send_text("two")
        events = [worker.expect("message") for _ in range(2)]
        for event in events:
            worker.ack(event, set_room(event["data"], 0))
        loser = worker.expect("message", attempt=2)
        three.send_text("three")
        fresh = worker.expect("message", data="three")
        worker.ack(fresh, set_room("three", fresh["room_version"]))
        worker.ack(loser, set_room(loser["room_state"] + loser["data"], loser["room_version"]))
        fresh = worker.expect("message", data="three", attempt=2)
        worker.ack(fresh, set_room(fresh["room_state"] + "three", fresh["room_version"]))
        assert state(worker)[0] == events[0]["data"] + events[1]["data"] + "three"


def test_ten_times_and_then_it_fails(hub):
    with hub.worker(room_state=True) as worker:
        ws, conn = member(hub, worker)
        ws.send_text("unlucky")
        for attempt in range(1, 12):
            event = worker.expect("message", attempt=attempt)
            worker.push(set_room(f"theirs {attempt}"))
            worker.ack(event, set_room("mine", event["room_version"]), send("never"))
        error = worker.expect("error", conn=conn)
        assert "eleven times" in error["error"] and error["room_state"] == "theirs 11"
        worker.ack(error, send("failed"))
        assert ws.recv_text() == "failed"
        assert state(worker)[0] == "theirs 11"
        ws.send_text("next")
        event = worker.expect("message", data="next", attempt=1)
        worker.ack(event, set_room("mine", event["room_version"]), send("done"))
        assert ws.recv_text() == "done"


def test_two_rooms_in_the_turns_of_each_other(hub):
    with hub.worker(room_state=True) as worker:
        (a, _), (b, _), (c, _), (d, _) = (member(hub, worker, room) for room in "rrss")
        for ws, name in zip((a, b, c, d), "abcd"):
            ws.send_text(name)
        events = {event["data"]: event for event in (worker.expect("message") for _ in range(4))}
        worker.ack(events["a"], set_room("a", 0))
        worker.ack(events["c"], set_room("c", 0, room="s"))
        worker.ack(events["b"], set_room("b", 0), set_room("b", 0, room="s"))
        worker.ack(events["d"], set_room("d", 0), set_room("d", 0, room="s"))
        done = set()
        while done != {"b", "d"}:
            event = worker.expect("message")
            assert event["attempt"] <= 10
            versions = {room: state(worker, room) for room in "rs"}
            worker.ack(event, *(set_room(versions[room][0] + event["data"], versions[room][1], room=room) for room in "rs"))
            if event["data"] in state(worker, "r")[0] and event["data"] in state(worker, "s")[0]:
                done.add(event["data"])
        assert sorted(state(worker, "r")[0]) == ["a", "b", "d"] and sorted(state(worker, "s")[0]) == ["b", "c", "d"]


def test_a_turn_does_not_go_with_its_worker(hub):
    """Who has the turn when its worker dies waits like everybody; the next has it."""
    with hub.worker(room_state=True, name="one") as one:
        first, _ = member(hub, one)
        second, _ = member(hub, one)
        third, _ = member(hub, one)
        for ws, name in ((first, "a"), (second, "b"), (third, "c")):
            ws.send_text(name)
        events = [one.expect("message") for _ in range(3)]
        for event in events:
            one.ack(event, set_room(event["data"], 0))
        one.expect("message", attempt=2)
        one.sock.close()
    with hub.worker(room_state=True, name="two") as two:
        for _ in range(2):
            event = two.expect("message")
            two.ack(event, set_room(event["room_state"] + event["data"], event["room_version"]))
        assert sorted(state(two)[0]) == ["a", "b", "c"]


def test_an_open_and_a_close_are_given_again_too(hub):
    with hub.worker(room_state=True) as worker:
        ws = hub.client()
        event = worker.expect("open")
        worker.push(set_room("theirs"))
        worker.ack(event, {"c": "join", "room": "r"}, set_room("opened", 0), send("never"))
        event = worker.expect("open", attempt=2)
        worker.ack(event, {"c": "join", "room": "r"}, set_room("opened", state(worker)[1]), send("hello"))
        assert ws.recv_text() == "hello"
        ws.close(1000)
        event = worker.expect("close")
        worker.ack(event, set_room("closed", 1))
        event = worker.expect("close", attempt=2)
        worker.ack(event, set_room("closed", state(worker)[1]))
        assert state(worker)[0] == "closed"


def test_a_run_ends_at_a_room(hub):
    with hub.worker(room_state=True, runs=8) as worker:
        ws, conn = opened(hub, worker)
        ws.send(b"".join(frame(TEXT, str(n).encode()) for n in range(3)))
        first = worker.expect("message", data="0")
        assert [worker.receive()["run"] for _ in range(2)] == [2, 3]
        worker.ack(first, set_room("0", 0))
        worker.send({"t": "ack", "s": first["s"] + 1, "commands": [set_room("1", 0)]})
        again = worker.expect("message", attempt=2)
        assert again["data"] == "1", "a run that was undone is given one by one"
        worker.ack(again, set_room("01", state(worker)[1]), {"c": "join", "room": "r"})
        again = worker.expect("message", data="2", room_state="01")
        worker.ack(again)


# --- how long, and how much


def test_it_outlives_the_last_member(tmp_path):
    with Hub(tmp_path, "--room-state-time", "700ms") as hub, hub.worker() as worker:
        ws, conn = member(hub, worker)
        worker.push(set_room("kept"))
        worker.push(set_room("short", room="nobody"))
        wait_until(lambda: state(worker, "nobody") == (None, 0), "a state nobody needs is gone")
        assert state(worker)[0] == "kept"
        ws.close(1000)
        worker.ack(worker.expect("close"))
        left = time.monotonic()
        assert state(worker)[0] == "kept"
        wait_until(lambda: state(worker) == (None, 0), "a state is gone after its last member")
        assert time.monotonic() - left > 0.5
        assert hub.stat("room_states") == 0 and hub.stat("room_state_bytes") == 0


def test_who_comes_back_in_time_finds_it(tmp_path):
    with Hub(tmp_path, "--room-state-time", "3s") as hub, hub.worker(room_state=True) as worker:
        ws, conn = member(hub, worker)
        worker.push(set_room("kept"))
        worker.push({"c": "leave", "room": "r", "conn": conn})
        worker.push({"c": "join", "room": "r", "conn": conn})
        time.sleep(3.3)
        ws.send_text("?")
        worker.ack(worker.expect("message", room_state="kept"))


def test_with_no_time_it_goes_with_the_last(tmp_path):
    with Hub(tmp_path, "--room-state-time", "0") as hub, hub.worker() as worker:
        ws, conn = member(hub, worker)
        worker.push(set_room("kept"))
        assert state(worker)[0] == "kept"
        worker.push({"c": "leave", "room": "r", "conn": conn})
        wait_until(lambda: state(worker) == (None, 0), "it is gone")


def test_what_is_too_much_is_refused(tmp_path):
    with Hub(tmp_path, "--room-state-bytes", "128k") as hub, hub.worker(room_state=True) as worker:
        ws, conn = member(hub, worker)
        worker.push(set_room("x" * 60000, room="a"), set_room("x" * 60000, room="b"))
        ws.send_text("?")
        event = worker.expect("message")
        worker.ack(event, set_room("x" * 20000, 0), send("never"))
        error = worker.expect("error")
        assert "--room-state-bytes" in error["error"]
        worker.ack(error)
        assert "--room-state-bytes" in worker.push(set_room("x" * 60001, room="c"))["error"]
        assert "error" not in worker.push(set_room("", room="a"), set_room("x" * 60000, room="c"))
        assert hub.stat("room_states") == 2 and 120000 < hub.stat("room_state_bytes") < 128 << 10


def test_a_reload_keeps_it(tmp_path):
    config = tmp_path / "config"
    config.write_text('room-state-bytes = "1m"\n')
    with Hub(tmp_path, "--config", config) as hub, hub.worker(room_state=True) as worker:
        ws, conn = member(hub, worker)
        worker.push(set_room("x" * 60000), set_room("y" * 60000, room="s"))
        config.write_text('room-state-bytes = "64k"\nroom-state-time = "1s"\n')
        hub.host.reload()
        wait_until(lambda: "error" in worker.push(set_room("z", room=f"t{time.monotonic_ns()}")), "the new bound holds")
        assert state(worker)[0] == "x" * 60000, "what is there stays"
        wait_until(lambda: state(worker, "s") == (None, 0), "the new time holds")


@pytest.mark.parametrize("threads", [1, 3])
def test_the_bound_is_one_of_memory(tmp_path, threads):
    """As many small ones as fit, and as many large ones: so much memory."""
    with Hub(tmp_path, "--room-state-bytes", "16m", "--threads", threads) as hub, hub.worker() as worker:
        before = hub.host.rss
        n = 0
        while "error" not in worker.push(*(set_room("s" * 16, room=f"small {n} {k}") for k in range(64))):
            n += 1
        assert n * 64 > 50000
        small = hub.host.rss - before
        assert small < (16 << 20) * 1.25, small
        k = 0
        while "error" not in (said := worker.push(set_room("s" * 16, room=f"more {k}"))):
            k += 1
        assert "--room-state-bytes" in said["error"] and hub.stat("room_state_bytes") > (16 << 20) - 1000
        worker.push(*(set_room("", room=f"more {i}") for i in range(min(k, 64))))
        worker.push(*(set_room("", room=f"more {i}") for i in range(64, k)))
        for i in range(n):
            assert "error" not in worker.push(*(set_room("", room=f"small {i} {k}") for k in range(64)))
        assert hub.stat("room_state_bytes") == 0
        n = 0
        while "error" not in worker.push(set_room("l" * 65536, room=f"large {n}")):
            n += 1
        assert 240 < n < 256
        assert hub.host.rss - before < (16 << 20) * 1.25 + max(small, 0) * 0.25


# --- other doors


def test_over_http(tmp_path):
    with Hub(tmp_path, "--api", "127.0.0.1:0", "--room-state-bytes", "64k") as hub, hub.worker(room_state=True) as worker, Api(hub.host) as api:
        get = "/api/v1/room_state?room=a%20b"
        assert api.get(get) == (200, {"version": 0})
        status, said = api.post("set_room", room="a b", state="one", version=0)
        assert status == 200 and said["receivers"] == 0 and api.get(get) == (200, {"version": said["version"], "state": "one"})
        status, wrong = api.post("set_room", room="a b", state="two", version=0)
        assert status == 409 and "another version" in wrong["error"]
        status, wrong = api.post("commands", commands=[{"c": "broadcast", "data": "x"}, set_room("two", 5, room="a b")])
        assert status == 409 and wrong["index"] == 1
        body = b'{"commands":[{"c":"set_room","room":"a b","version":%d,"state_bin":2}]}\n\xff\xfe' % said["version"]
        status, said = api.post("commands", body)
        assert status == 200 and api.get(get) == (200, {"version": said["version"], "state_base64": "//4="})
        for wrong, sentence in (({"room": "r"}, "set or set_room lacks"), ({"state": "x"}, 'lacks "room"'), ({"room": "r", "state": "x", "version": -1}, "version"),
                                ({"room": "r", "state": "x", "conn": "r"}, "is no connection's id"), ({"room": "r", "state": "x" * 65537}, "65,536")):
            status, said = api.post("set_room", **wrong)
            assert status == 400 and sentence in said["error"], (wrong, said)
        assert api.post("set_room", room="r", state="x" * 65500)[0] == 507
        assert api.get("/api/v1/room_state")[0] == 400
        assert api.post("broadcast", data="x", version=7)[0] == 400
        assert api.post("set_room", room="a b", state="") == (200, {"receivers": 0}) and api.get(get) == (200, {"version": 0})


@pytest.mark.parametrize("door", ["control", "url"])
def test_with_tova_ctl(tmp_path, door):
    with Hub(tmp_path, "--api", "127.0.0.1:0") as hub, hub.worker():
        def tell(*words, code=0):
            if door == "control":
                return ctl(hub.control, *words, code=code)
            how = [str(BUILD / "tova-ctl"), "--url", "http://" + address(hub.host), *map(str, words)]
            got = subprocess.run(how, capture_output=True, text=True)
            assert got.returncode == code, got
            return got.stderr if code else got.stdout
        assert json.loads(tell("--json", "room_state", "a b")) == {"version": 0}
        tell("set_room", "a b", "ä one", "0")
        kept = json.loads(tell("--json", "room_state", "a b"))
        assert kept["state"] == "ä one" and "ä one" in tell("room_state", "a b")
        assert "another version" in tell("set_room", "a b", "two", "0", code=1)
        tell("set_room", "a b", "two", kept["version"])
        tell("set_room", "a b", "three")
        assert json.loads(tell("--json", "room_state", "a b"))["state"] == "three"
        for words in (("a b", "x", "-1"), ("a b", "x", "1.5"), ("a b",)):
            tell("set_room", *words, code=2)
        tell("set_room", "a b", "")
        assert json.loads(tell("--json", "room_state", "a b")) == {"version": 0}


def test_who_pushes_messages_only_sets_none(tmp_path):
    with Hub(tmp_path, "--api", "127.0.0.1:0", *tokens(tmp_path, "publish", "read")) as hub, hub.worker():
        with Api(hub.host, token=TOKENS["publish"]) as api:
            assert api.post("set_room", room="r", state="x")[0] == 403
        with Api(hub.host, token=TOKENS["read"]) as api:
            assert api.get("/api/v1/room_state?room=r") == (200, {"version": 0})
            assert api.post("set_room", room="r", state="x")[0] == 403


def test_an_answer_to_an_upgrade_says_who_it_is(hub):
    with hub.worker(events=["upgrade", "open", "message", "error"]) as worker:
        clients = []

        def upgraded(**accept):
            thread = threading.Thread(target=lambda: clients.append(hub.client()))
            thread.start()
            worker.ack(worker.expect("upgrade"), accept=accept)
            event = worker.expect("open")
            worker.ack(event, {"c": "join", "room": "r"})
            thread.join()
            return event
        assert (upgraded(user="ann", info="from the cookie")["user"], upgraded(user="ann")["user"]) == ("ann", "ann")
        event = upgraded(info="nobody's")
        assert event["info"] == "nobody's" and "user" not in event
        assert not {"user", "info"} & upgraded(user="", info="").keys()
        assert worker.ask("users", room="r")["users"] == [{"user": "ann", "connections": 2}]
        for wrong in ({"user": "x" * 256}, {"user": "a\0b"}, {"info": "x" * 1025}):
            result = []
            thread = threading.Thread(target=lambda: result.append(refused("127.0.0.1", hub.host.port, "/")))
            thread.start()
            worker.ack(worker.expect("upgrade"), accept=wrong)
            thread.join()
            assert result[0].status == 500


def test_a_run_ends_where_its_connection_joins(hub):
    with hub.worker(room_state=True, runs=8) as worker:
        worker.push(set_room("there"))
        ws, conn = opened(hub, worker)
        ws.send(b"".join(frame(TEXT, str(n).encode()) for n in range(3)))
        first = worker.expect("message", data="0")
        assert [worker.receive()["run"] for _ in range(2)] == [2, 3]
        worker.ack(first, {"c": "join", "room": "r"})
        for n in "12":
            again = worker.expect("message", data=n, attempt=2, room_state="there")
            worker.ack(again)
