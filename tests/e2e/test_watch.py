"""Watched rooms: handlers are told who comes and who goes, each user once. The test is the worker (raw_worker.py), or asks a plugin."""
import subprocess

import pytest

from api import Api, address
from hub import Hub, opened
from tova_host import BUILD, IMPATIENT, PATIENCE, Host, wait_until
from tova_v1 import Client
from wsclient import connect

EVENTS = ["open", "message", "close", "error", "join", "leave"]
LONG = 3600000


def join(conn, room="r", **members):
    return {"c": "join", "room": room, "conn": conn, **members}


def leave(conn, room="r"):
    return {"c": "leave", "room": room, "conn": conn}


def user(conn, name, **members):
    return {"c": "info", "conn": conn, "user": name, **members}


def watch(room="r", grace=LONG):
    return {"c": "watch", "room": room, "grace": grace}


def push(worker, *commands):
    """What is wrong with them; None: nothing."""
    return worker.push(*commands).get("error")


def told(worker, kind, user, users, room="r", ack=True):
    event = worker.expect(kind, room=room, users=users, **({} if user is None else {"user": user}))
    assert user is not None or "user" not in event, event
    assert "conn" not in event and "member" in event, event
    if ack:
        worker.ack(event)
    return event


def come(hub, worker):
    """The id of a client, which stays."""
    ws, conn = opened(hub, worker)
    hub.kept = [*getattr(hub, "kept", []), ws]
    return conn


def ended(worker):
    """A close, with or without the error of a socket that broke."""
    event = worker.receive()
    worker.ack(event)
    if event["t"] == "error":
        event = worker.expect("close")
        worker.ack(event)
    assert event["t"] == "close", event


def nothing(worker):
    """Up to now."""
    assert worker.ask("count", room="r")["t"] == "reply"


@pytest.fixture(params=[(), ("--threads", "3")], ids=["1 thread", "3 threads"])
def many(request, tmp_path):
    with Hub(tmp_path, *request.param) as hub, hub.worker(events=EVENTS) as worker:
        yield hub, worker


@pytest.fixture
def worker(hub):
    with hub.worker(events=EVENTS) as worker:
        yield worker


# --- who is told of


def test_each_user_once_however_many_connections(many):
    hub, worker = many
    tabs = [opened(hub, worker) for _ in range(30)]
    other, guest = opened(hub, worker), opened(hub, worker)
    assert push(worker, watch(), *(user(conn, "ann", info="tea") for _, conn in tabs), user(other[1], "bob")) is None
    assert push(worker, *(join(conn) for _, conn in tabs)) is None
    event = told(worker, "join", "ann", 1)
    assert event["info"] == "tea" and event["member"] == tabs[0][1] and event["attempt"] == 1
    assert push(worker, join(other[1]), join(guest[1])) is None
    assert "info" not in told(worker, "join", "bob", 2)
    told(worker, "join", None, 3)
    assert push(worker, *(leave(conn) for _, conn in tabs[:-1])) is None
    nothing(worker)
    assert push(worker, leave(tabs[-1][1]), leave(guest[1])) is None
    told(worker, "leave", "ann", 2)
    assert told(worker, "leave", None, 1)["member"] == guest[1]
    assert hub.stat("watches") == 1 and hub.stat("watch_waiting") == 0


def test_who_is_there_already_and_who_comes_and_goes_at_once(many):
    hub, worker = many
    ann, bob = come(hub, worker), come(hub, worker)
    assert push(worker, user(ann, "ann"), user(bob, "bob"), join(ann), watch(), join(bob), leave(bob)) is None
    told(worker, "join", "ann", 1)
    assert push(worker, watch(), leave(ann), join(ann)) is None
    nothing(worker)
    assert push(worker, {"c": "unwatch", "room": "r"}, leave(ann)) is None
    nothing(worker)
    assert hub.stat("watches") == 0


def test_a_failing_event_undoes_it(hub, worker):
    ws, conn = opened(hub, worker)
    ws.send_text("x")
    worker.ack(worker.expect("message"), watch(), join(conn), {"c": "join", "room": ""})
    worker.ack(worker.expect("error"))
    nothing(worker)
    assert hub.stat("watches") == 0
    assert push(worker, watch(), join(conn)) is None
    worker.nack(worker.expect("join", users=1))  # which is told once, even so
    assert push(worker, leave(conn)) is None
    told(worker, "leave", None, 0)


@pytest.mark.parametrize("command, sentence", [
    ({"c": "watch", "room": ""}, "a room with a name"), ({"c": "watch"}, "a room with a name"), (watch(grace=LONG + 1), "3,600,000"),
    (watch(grace=-1), "out of range"), ({"c": "unwatch", "room": "\0"}, "a room with a name")])
def test_what_is_no_watch(hub, worker, command, sentence):
    assert sentence in push(worker, command)
    assert hub.stat("watches") == 0


# --- when


def test_who_is_lost_is_there_for_a_while(many):
    """A page that is loaded again is a connection that ends and another one."""
    hub, worker = many
    ws, first = opened(hub, worker)
    assert push(worker, user(first, "ann"), join(first), watch()) is None
    told(worker, "join", "ann", 1)
    for how in (lambda ws: ws.close(1001), lambda ws: ws.reset(), lambda ws: ws.close(1000)):
        how(ws)
        ended(worker)
        assert worker.ask("users", room="r")["users"] == [{"user": "ann", "connections": 0}]
        assert worker.ask("count", room="r")["count"] == 0
        ws, again = opened(hub, worker)
        assert push(worker, user(again, "ann"), join(again, users_max=1)) is None
        assert worker.ask("users", room="r")["users"] == [{"user": "ann", "connections": 1}]
    assert push(worker, watch(grace=1)) is None
    ws.reset()
    ended(worker)
    told(worker, "leave", "ann", 0)
    assert worker.ask("users", room="r") == {"t": "reply", "q": 77, "unknown": True, "anonymous": 0, "count": 0, "users": []}


def test_who_is_made_to_go_is_gone(many):
    hub, worker = many
    crowd = {name: opened(hub, worker) for name in ("ann", "bob", "cy", "dan")}
    assert push(worker, watch(), *(c for name, (_, conn) in crowd.items() for c in (user(conn, name), join(conn)))) is None
    for n, name in enumerate(crowd, 1):
        told(worker, "join", name, n)
    ids = {name: conn for name, (_, conn) in crowd.items()}
    assert push(worker, {"c": "leave_all", "conn": ids["ann"]}, {"c": "close", "conn": ids["bob"], "code": 4000}) is None
    kinds = [worker.receive() for _ in range(2)]
    assert {e["t"] for e in kinds} == {"close", "leave"}
    worker.ack(kinds[0])
    worker.ack(kinds[1])
    told(worker, "leave", "bob", 2)
    assert push(worker, {"c": "close_room", "room": "r", "code": 4001}) is None
    events = [worker.receive() for _ in range(3)]
    for event in events:
        worker.ack(event)
    events.append(worker.receive())
    worker.ack(events[-1])
    assert sorted(e["t"] for e in events) == ["close", "close", "leave", "leave"]
    assert [e["users"] for e in events if e["t"] == "leave"] == [1, 0]


def test_one_session_of_a_user_replaces_another_unnoticed(hub, worker):
    ws, first = opened(hub, worker)
    second = come(hub, worker)
    assert push(worker, watch(), user(first, "ann"), user(second, "ann"), join(first)) is None
    told(worker, "join", "ann", 1)
    assert push(worker, join(second, replace=True)) is None
    worker.ack(worker.expect("close"))
    ws.expect_close(4409)
    nothing(worker)


@pytest.mark.parametrize("threads", ["1", "3"])
def test_who_is_away_is_there(tmp_path, threads):
    """A client of tova.v1 that loses its socket stays; its page that is loaded again says goodbye, and is another."""
    with Hub(tmp_path, "--resume", "60s", "--threads", threads) as hub, hub.worker(events=EVENTS) as worker:
        def page():
            client = Client(hub.host.port)
            event = worker.expect("open")
            worker.ack(event, {"c": "info", "user": "ann"}, {"c": "join", "room": "r"}, watch())
            return client, event["conn"]

        client, conn = page()
        told(worker, "join", "ann", 1)
        client.drop()
        wait_until(lambda: hub.stat("away") == 1, "it is away")
        nothing(worker)
        assert client.back()["resumed"]
        nothing(worker)
        client.say(bye=1)
        worker.ack(worker.expect("close"))
        nothing(worker)
        client, conn = page()
        nothing(worker)
        client.say(bye=1)
        worker.ack(worker.expect("close"))
        assert push(worker, watch(grace=0), watch("other", grace=0)) is None
        client, conn = page()
        assert push(worker, {"c": "close", "conn": conn, "code": 4000}) is None
        events = [worker.receive(), worker.receive()]
        for event in events:
            worker.ack(event)
        assert {e["t"] for e in events} == {"close", "leave"}


def test_away_for_too_long(tmp_path):
    """After that nobody is waited for a second time."""
    with Hub(tmp_path, "--resume", "200ms") as hub, hub.worker(events=EVENTS) as worker:
        client = Client(hub.host.port)
        worker.ack(worker.expect("open"), {"c": "info", "user": "ann"}, {"c": "join", "room": "r"}, watch(grace=LONG))
        told(worker, "join", "ann", 1)
        client.drop()
        events = [worker.receive(), worker.receive()]
        for event in events:
            worker.ack(event)
        assert {e["t"] for e in events} == {"close", "leave"}


# --- workers that die, or are not there


def test_an_event_of_a_worker_that_died_is_told_again(hub):
    """In its order, as the same event, and what came and went meanwhile is not told at all."""
    with hub.worker(events=EVENTS) as first:
        ids = [come(hub, first) for _ in range(4)]
        assert push(first, watch(), *(user(conn, name) for conn, name in zip(ids, ("ann", "bob", "cy", "dan"))), *map(join, ids[:2])) is None
        before = told(first, "join", "ann", 1, ack=False)
        assert push(first, join(ids[2]), leave(ids[1])) is None
        first.drop()
    with hub.worker(events=EVENTS) as second:
        again = told(second, "join", "ann", 1)
        assert again["attempt"] == 2 and again["seq"] == before["seq"]
        told(second, "join", "cy", 2)
    wait_until(lambda: hub.stat("watch_waiting") == 0, "all is told")
    with hub.worker(events=[]) as pusher:
        for _ in range(50):
            assert push(pusher, join(ids[3])) is None and push(pusher, leave(ids[3]), leave(ids[0])) is None and push(pusher, join(ids[0])) is None
        assert hub.stat("watch_waiting") <= 1
        assert push(pusher, join(ids[3])) is None
    with hub.worker(events=EVENTS) as third:
        told(third, "join", "dan", 3)
        nothing(third)


def test_a_worker_that_does_not_ask_for_it(hub):
    with hub.worker(events=["open", "message"]) as worker:
        conn = come(hub, worker)
        assert push(worker, watch(), join(conn)) is None
        nothing(worker)
        assert hub.stat("watch_waiting") == 0


# --- plugins


@pytest.mark.parametrize("how", [[], ["--isolate"], ["--threads", "3"]], ids=["in the host", "in a process", "3 threads"])
def test_a_plugin_and_a_reload(how, tmp_path):
    library = tmp_path / "company.so"
    library.write_bytes((BUILD / "tests/plugins/company.so").read_bytes())
    with Host("--plugin", library, *how, *IMPATIENT) as host:
        def client(name, *more):
            ws = connect("127.0.0.1", host.port)
            for line in (f"user {name}", *more):
                ws.send_text(line)
            return ws

        ann = client("ann", "info tea", "watch5 r", "join r", "end")
        assert sorted([ann.recv_text(), ann.recv_text()]) == ["end", "join r ann/tea 1"]
        bob = client("bob", "join r")
        assert ann.recv_text() == "join r bob/ 2" and bob.recv_text() == "join r bob/ 2"
        tab = client("bob", "join r", "end")
        assert tab.recv_text() == "end"
        bob.close(1001)
        ann.send_text("watch r 3600001")
        assert "grace" in (said := ann.recv_text()) or "out of range" in said
        library.unlink()
        library.write_bytes((BUILD / "tests/plugins/company.so").read_bytes())
        generation = len(host.lines)
        host.reload()
        host.wait_log(lambda line: "reload" in str(line), "the reload", generation)
        tab.send_text("leave")
        assert ann.recv_text() == "leave r bob/ 1" and tab.recv_text() == "leave r bob/ 1"
        tab.send_text("join r")
        assert ann.recv_text() == "join r bob/ 2" and tab.recv_text() == "join r bob/ 2"
        ann.send_text("unwatch r")
        ann.send_text("leave")
        ann.send_text("end")
        assert ann.recv_text() == "end"


# --- over HTTP


def test_over_http(tmp_path):
    """A watch is for handlers, who are told; a list of commands may have one."""
    with Hub(tmp_path, "--api", "127.0.0.1:0") as hub, hub.worker(events=EVENTS) as worker, Api(hub.host) as api:
        ws, conn = opened(hub, worker)
        assert api.post("commands", commands=[watch(), user(conn, "ann"), join(conn)])[0] == 200
        told(worker, "join", "ann", 1)
        for bad, why in (({"c": "watch"}, "lacks \"room\""), ({"c": "unwatch"}, "lacks \"room\""), ({**join(conn), "grace": 5}, "grace is of a watch"),
                         (watch(grace="5"), "grace"), ({"c": "wacht", "room": "r"}, "watch or unwatch")):
            status, said = api.post("commands", commands=[bad])
            assert status == 400 and why in said["error"], said
        ws.close(1001)
        worker.ack(worker.expect("close"))
        assert api.get("/api/v1/users?room=r") == (200, {"anonymous": 0, "count": 1, "users": [{"user": "ann", "connections": 0}]})
        assert api.post("commands", commands=[{"c": "unwatch", "room": "r", "if_empty": True}])[0] == 200
        assert hub.stat("watches") == 1  # he is waited for
        assert api.post("commands", commands=[{"c": "unwatch", "room": "r"}])[0] == 200
        assert api.get("/api/v1/users?room=r")[1]["users"] == [] and hub.stat("watches") == 0


def test_users_over_http_in_pages(tmp_path):
    with Hub(tmp_path, "--api", "127.0.0.1:0") as hub, hub.worker(events=EVENTS) as worker, Api(hub.host) as api:
        names = [f"user {n}" for n in range(7)]
        ids = [come(hub, worker) for _ in [*names, "nobody"]]
        assert push(worker, *(user(conn, name) for conn, name in zip(ids, names)), *map(join, ids)) is None
        seen, page = [], {"next": ""}
        while "next" in page:
            status, page = api.get("/api/v1/users?room=r&limit=3&cursor=" + page["next"].replace(" ", "%20"))
            assert (status, page["count"], page["anonymous"]) == (200, 7, 1)
            seen += [one["user"] for one in page["users"]]
        assert seen == names
        assert api.get("/api/v1/users?room=nobody") == (200, {"unknown": True, "anonymous": 0, "count": 0, "users": []})
        for target, why in (("users", "room is missing"), ("users?room=r&limit=x", "limit"), ("users?room=r&page=2", "page")):
            status, said = api.get("/api/v1/" + target)
            assert status == 400 and why in said["error"], said
        told = subprocess.run([BUILD / "tova-ctl", "--url", f"http://{address(hub.host)}", "users", "r"], capture_output=True, text=True)
        assert told.returncode == 0 and "user 3" in told.stdout, told
