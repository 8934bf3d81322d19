"""tova-ctl and the control socket of a running host; pushes from elsewhere."""
import base64
import json
import os
import subprocess
import sys
import threading

import pytest

from control import ask, ctl, ctl_json, do
from raw_worker import RawWorker
from tova_host import BUILD, IMPATIENT, PATIENCE, ROOT, Host, wait_until
from wsclient import BINARY, connect, refused

ROOMS = """
import sys
sys.path.insert(0, %r)
from tova import *
def on_open(ws):
    join(ws, "room ä")
    ws.send(ws.id)
def on_message(ws, message):
    if message == "boom": raise ValueError("boom")
    if message == "die": __import__("os")._exit(1)
    ws.send(message)
def on_error(ws, error): ws.send("error: " + error)
serve(globals())
""" % str(ROOT / "sdk/python")


@pytest.fixture
def host(tmp_path):
    (tmp_path / "rooms.py").write_text(ROOMS)
    with Host("-w", f"exec {sys.executable} -B {tmp_path}/rooms.py", "--control", tmp_path / "control", "--dead-letter", tmp_path / "dead",
              "--max-attempts", 1, *IMPATIENT) as running:
        running.control = tmp_path / "control"
        yield running


@pytest.fixture
def two(tmp_path):
    """Two mounts of in-process plugins."""
    with Host("--plugin", f"/a={BUILD}/plugins/echo.so", "--plugin", f"/b={BUILD}/plugins/echo.so", "--control", tmp_path / "control", *IMPATIENT) as running:
        running.control = tmp_path / "control"
        yield running


def client(host, path="/"):
    ws = connect("127.0.0.1", host.port, path)
    return ws, ws.recv_text()


def test_pushes(host):
    (one, id_one), (other, id_other) = client(host), client(host)
    ctl(host.control, "send", id_one, "only you")
    assert one.recv_text() == "only you"
    ctl(host.control, "broadcast", "all of you")
    ctl(host.control, "broadcast_to", "room ä", "all in the room")
    assert "nobody is in a room nobody's room" in ctl(host.control, "broadcast_to", "nobody's room", "never", code=1)
    for ws in (one, other):
        assert [ws.recv_text(), ws.recv_text()] == ["all of you", "all in the room"]
    ctl(host.control, "--file", "-", "send", id_one, stdin="from a pipe\nof two lines")
    assert one.recv_text().rstrip("\n") == "from a pipe\nof two lines"
    ctl(host.control, "--binary", "--file", "-", "send", id_one, stdin=b"\0\xff\n\r")
    got = one.recv_message()
    assert (got.opcode, got.data) == (BINARY, b"\0\xff\n\r")
    ctl(host.control, "close", id_one, "4002", "go away")
    one.expect_closed(4002, "go away")
    ctl(host.control, "close", id_other)
    other.recv_close()
    other.drop()
    wait_until(lambda: not ctl_json(host.control, "connections")["connections"], "both are gone")


def test_questions(host):
    (one, id_one), (other, id_other) = client(host), client(host)
    connections = ctl_json(host.control, "connections")["connections"]
    assert {c["conn"] for c in connections} == {id_one, id_other}
    assert all(c["mount"] == "/" and c["rooms"] == 1 and c["remote"].startswith("127.0.0.1") for c in connections)
    assert [(r["room"], r["members"]) for r in ctl_json(host.control, "rooms")["rooms"]] == [("room ä", 2)]
    assert ctl_json(host.control, "rooms", id_one)["rooms"] == ["room ä"]
    assert set(ctl_json(host.control, "members", "room ä")["connections"]) == {id_one, id_other}
    mount, = ctl_json(host.control, "mounts")["mounts"]
    assert (mount["path"], mount["connections"], mount["rooms"]) == ("/", 2, 1)
    worker, = ctl_json(host.control, "workers")["workers"]
    assert worker["state"] == "ready" and worker["pid"] in host.children and worker["connections"] == 2
    assert ctl_json(host.control, "stats")["stats"]["connections"] == 2
    for words in (["connections"], ["rooms"], ["members", "room ä"], ["mounts"], ["workers"], ["stats"], ["dead-letter", "list"]):
        assert isinstance(ctl(host.control, *words), str)
    assert id_one in ctl(host.control, "connections") and "room ä" in ctl(host.control, "rooms")
    one.drop()
    other.drop()


def test_several_mounts_have_to_be_named(two):
    a, b = (connect("127.0.0.1", two.port, path) for path in ("/a", "/b"))
    for words in (["broadcast", "x"], ["members", "x"]):
        assert "name one" in ctl(two.control, *words, code=1)
        assert "no such mount" in ctl(two.control, "--mount", "/c", *words, code=1)
    ctl(two.control, "--mount", "/a", "broadcast", "to a")
    assert a.recv_text() == "to a"
    assert {m["path"]: m["connections"] for m in ctl_json(two.control, "mounts")["mounts"]} == {"/a": 1, "/b": 1}
    id_a, = (c["conn"] for c in ctl_json(two.control, "connections")["connections"] if c["mount"] == "/a")
    assert f"no connection {id_a} at /b" in ctl(two.control, "--mount", "/b", "send", id_a, "not across mounts", code=1)
    ctl(two.control, "--mount", "/a", "send", id_a, "within")
    assert a.recv_text() == "within"
    a.drop()
    b.drop()


@pytest.mark.parametrize("words", [[], ["zzz"], ["send"], ["send", "x"], ["close"], ["close", "x", "abc"], ["members"], ["dead-letter"], ["dead-letter", "zzz"], ["--zzz"]])
def test_bad_usage(host, words):
    ctl(host.control, *words, code=2)


def test_a_host_that_is_not_there(tmp_path):
    assert "tova-ctl" in ctl(tmp_path / "nothing", "stats", code=1)


def test_what_is_refused(host):
    assert "refuses" in ctl(host.control, "broadcast_to", "x" * 256, "text", code=1)
    assert "refuses" in ctl(host.control, "close", "A" * 22, "1005", code=1)


def test_a_socket_that_is_taken(host, tmp_path):
    """A second host at the same path says so and leaves the first one's socket alone."""
    second = subprocess.run([str(BUILD / "tova-host"), "-p", str(BUILD / "plugins/echo.so"), "-l", "127.0.0.1:0", "--control", str(host.control)],
                            stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    assert second.returncode != 0 and "control" in second.stderr
    assert ctl_json(host.control, "stats")["stats"]["connections"] == 0


def test_a_socket_that_a_killed_host_left(tmp_path):
    host = Host("-p", BUILD / "plugins/echo.so", "--control", tmp_path / "control")
    host.start()
    host.kill()
    assert (tmp_path / "control").exists()
    with host:
        assert ctl_json(tmp_path / "control", "stats")["stats"]["connections"] == 0


MALFORMED = [b"", b"x", b"[]", b"[{}]", b'[{"t":"query"}]', b'[{"t":"push"}]', b'[{"t":"zzz"}]', bytes(100), b'[{"t":"query","q":1,"what":"stats"}]x']


@pytest.mark.parametrize("body", MALFORMED)
def test_malformed_requests_end_only_their_link(host, body):
    ws, _ = client(host)
    with RawWorker(f"ipc://{host.control}") as good, RawWorker(f"ipc://{host.control}") as bad:
        bad.send_bytes(body)
        bad.expect_end("")
        assert good.ask("count", room="room ä")["count"] == 1
    ws.send_text("a")
    assert ws.recv_text() == "a"
    ws.drop()


def test_questions_that_can_not_be_answered(host):
    assert "error" in ask(host.control, "zzz")
    assert "error" in ask(host.control, "members")
    assert "error" in ask(host.control, "all_rooms", mount="/none")
    assert "error" in do(host.control, "zzz")


def test_events_are_not_for_the_control_socket(host):
    with RawWorker(f"ipc://{host.control}") as link:
        link.send({"t": "hello", "v": 1, "token": ""})
        link.expect("welcome")
        link.link = None
        link.send({"t": "ack", "s": 1, "commands": [{"c": "broadcast", "data": "x"}]}, {"t": "query", "q": 77, "what": "stats"})
        assert link.expect("reply", q=77)["stats"]["commits"] == 0


def test_dead_letters(host):
    host.expect(lambda line: line.get("kind") == "quarantine")
    assert ctl_json(host.control, "dead-letter", "list")["dead_letters"] == []
    ws, conn = client(host)
    for i in range(2):
        ws.send_text("a")
        assert ws.recv_text() == "a"
        ws.send_text("die")
        assert "quarantined" in ws.recv_text()
    letters = ctl_json(host.control, "dead-letter", "list")["dead_letters"]
    assert [(letter["conn"], letter["data"], letter["event"]) for letter in letters] == [(conn, "die", "message")] * 2
    assert len({letter["id"] for letter in letters}) == 2
    assert letters[0]["id"] in ctl(host.control, "dead-letter", "list")
    # It is as deadly as it was: it comes back as a letter of its own.
    ctl(host.control, "dead-letter", "replay", letters[0]["id"])
    assert "quarantined" in ws.recv_text()
    again = ctl_json(host.control, "dead-letter", "list")["dead_letters"]
    assert len(again) == 2 and letters[0]["id"] not in {letter["id"] for letter in again}
    ws.drop()
    wait_until(lambda: not ctl_json(host.control, "connections")["connections"], "it is gone")
    # Whose connection is gone can not be replayed, and stays.
    reply = ctl_json(host.control, "dead-letter", "replay")
    assert (reply["replayed"], reply["left"]) == (0, 2)
    assert len(ctl_json(host.control, "dead-letter", "list")["dead_letters"]) == 2
    assert oct(os.stat(host.control.parent / "dead").st_mode)[-3:] == "600"


def test_binary_dead_letters(tmp_path):
    with Host("--attach", f"ipc://{tmp_path}/attach", "--control", tmp_path / "control", "--dead-letter", tmp_path / "dead", "--max-attempts", 1, *IMPATIENT) as host:
        host.expect(lambda line: line.get("kind") == "quarantine")
        url = f"ipc://{tmp_path}/attach"
        for size in (0, 1, 2, 3, 4, 5, 1000):
            data = os.urandom(size)
            with RawWorker(url).hello(events=["message"]) as worker:
                ws = connect("127.0.0.1", host.port, "/")
                ws.send_binary(data)
                worker.expect("message")
            # The note that the last one was replayed may still be on its way to the file.
            written = base64.b64encode(data).decode()
            letter = wait_until(lambda: [known for known in ctl_json(tmp_path / "control", "dead-letter", "list")["dead_letters"]
                                         if known["data_base64"] == written], "the letter")[0]
            with RawWorker(url).hello(events=["message"]) as worker:
                ctl(tmp_path / "control", "dead-letter", "replay", letter["id"])
                event = worker.expect("message")
                assert event["data"] == data
                worker.ack(event)
                ws.end()


def test_a_dead_letter_file_that_can_not_be_written(tmp_path):
    """The connection waits rather than lose its event, and goes on when the file can be written again."""
    dead = tmp_path / "dead"
    with Host("--attach", f"ipc://{tmp_path}/attach", "--control", tmp_path / "control", "--dead-letter", dead, "--max-attempts", 1, *IMPATIENT) as host:
        host.expect(lambda line: line.get("kind") == "quarantine")
        dead.unlink()
        dead.mkdir()
        url = f"ipc://{tmp_path}/attach"
        with RawWorker(url).hello(events=["message", "error"]) as worker:
            ws, other = (connect("127.0.0.1", host.port, "/") for _ in range(2))
            ws.send_text("a")
            worker.expect("message", data="a")
        with RawWorker(url).hello(events=["message", "error"]) as worker:
            host.wait_log(lambda line: "can not be written" in line.get("message", ""), "it is said")
            ws.send_text("b")
            other.send_text("c")
            worker.ack(worker.expect("message", data="c"), {"c": "send", "data": "C"})
            assert other.recv_text() == "C" and not worker.queue
            dead.rmdir()
            worker.ack(worker.expect("error"))
            worker.ack(worker.expect("message", data="b"), {"c": "send", "data": "B"})
            assert ws.recv_text() == "B"
        letter, = (json.loads(line) for line in dead.read_text().splitlines())
        assert letter["data"] == "a"


def test_reload_and_drain(host):
    ws, _ = client(host)
    pid, = host.children
    ctl(host.control, "reload")
    wait_until(lambda: host.children and pid not in host.children, "a new worker")
    ws.send_text("a")
    assert ws.recv_text() == "a"
    ctl(host.control, "drain")
    ws.expect_closed(1001)
    assert host.wait_exit() == 0


def test_while_draining_upgrades_are_refused(tmp_path):
    (tmp_path / "rooms.py").write_text(ROOMS)
    with Host("-w", f"exec {sys.executable} -B {tmp_path}/rooms.py", "--control", tmp_path / "control", "--drain", "1s") as host:
        clients = [client(host)[0] for _ in range(5)]
        ctl(tmp_path / "control", "drain")
        assert refused("127.0.0.1", host.port).status == 503
        for ws in clients:
            ws.expect_closed(1001)
        assert host.wait_exit() == 0


def test_many_pushes_from_many_shells(host):
    """What comes at the same time from different processes comes whole, each once."""
    ws, conn = client(host)
    threads = [threading.Thread(target=lambda i=i: [ctl(host.control, "send", conn, f"{i} {n}") for n in range(5)]) for i in range(4)]
    for thread in threads:
        thread.start()
    got = [ws.recv_text() for _ in range(20)]
    for thread in threads:
        thread.join(PATIENCE)
    for i in range(4):
        assert [g for g in got if g.startswith(f"{i} ")] == [f"{i} {n}" for n in range(5)]
    ws.drop()


def test_a_handler_that_throws(host):
    ws, _ = client(host)
    ws.send_text("boom")
    assert ws.recv_text() == "error: ValueError: boom"
    ws.send_text("a")
    assert ws.recv_text() == "a"
    ws.drop()
