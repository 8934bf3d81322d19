"""Traces: what happens to events, from their receipt to the client's socket, by the control socket and over HTTP."""
import json
import os
import re
import select
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from api import TOKENS, Api, address, document, tokens
from control import ctl, stats
from probe import Probe, plugin
from raw_worker import RawWorker
from tokens import SECRET, claims, hs256
from tova_host import BUILD, IMPATIENT, PATIENCE, ROOT, Host, wait_until
from wsclient import connect

WORKER = """import os, sys; sys.path.insert(0, {path!r}); from tova import serve
def on_message(ws, message):
    if message == "bad": raise ValueError("a bad one")
    if message == "die" and not os.path.exists({flag!r}): open({flag!r}, "w").close(); os._exit(9)
    if message != "nothing": ws.send("got " + message)
serve({{"on_message": on_message}})
"""


class Trace:
    """tova-ctl that looks on; lines() are those that have come."""

    def __init__(self, host, *words):
        self.process = subprocess.Popen([BUILD / "tova-ctl", *host.door, "--json", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.came = []
        self.reader = threading.Thread(target=lambda: self.came.extend(json.loads(line) for line in self.process.stdout), daemon=True)
        self.reader.start()

    def lines(self, **wanted):
        return [line for line in self.came if wanted.items() <= line.items()]

    def points(self, **wanted):
        return [line["point"] for line in self.lines(**wanted)]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        self.process.stdout.close()
        self.process.stderr.close()


def begun(trace, poke):
    """It looks: what is poked is seen."""
    wait_until(lambda: (poke(), trace.came)[1], "the trace has begun")
    trace.came.clear()


def looks(host, door, control):
    """Where tova-ctl asks it."""
    host.control = control
    host.door = ["--control", control] if door == "socket" else ["--url", f"http://{address(host)}"]
    return host


@pytest.fixture(params=[("1", "socket"), ("3", "socket"), ("1", "http"), ("3", "http")], ids=["one loop", "three", "one loop, over HTTP", "three, over HTTP"])
def host(request, tmp_path):
    loops, door = request.param
    (tmp_path / "worker.py").write_text(WORKER.format(path=str(ROOT / "sdk/python"), flag=str(tmp_path / "died")))
    with Host("--worker", f"/w=exec python3 -B {tmp_path}/worker.py", "--plugin", f"/p={plugin('probe')}", "--threads", loops, "--control", tmp_path / "control", "--api", "127.0.0.1:0", *IMPATIENT) as running:
        running.wait_log(lambda line: line.get("message") == "a worker is ready", "the worker")
        yield looks(running, door, tmp_path / "control")


def conn_of(host, mount):
    found = json.loads(ctl(host.control, "--json", "-m", mount, "connections"))["connections"]
    return found[0]["conn"] if len(found) == 1 else None


def test_an_event_s_way_through_a_worker(host):
    """Received, given to whom at which attempt, acknowledged with how many commands, committed, written; and what fails says why."""
    with connect("127.0.0.1", host.port, "/w") as ws:
        conn = wait_until(lambda: conn_of(host, "/w"), "it is there")
        ws.send_text("hello")
        assert ws.recv_text() == "got hello"
        with Trace(host, "trace", conn) as trace:
            begun(trace, lambda: ws.send_text("nothing"))
            ws.send_text("hello")
            assert ws.recv_text() == "got hello"
            wait_until(lambda: trace.lines(point="written"), "all of it")
            sequence = trace.lines(point="written")[0]["seq"]
            mine = [line for line in trace.came if line.get("seq") == sequence]
            assert [line["point"] for line in mine] == ["given", "acknowledged", "committed", "written"]
            assert all(line["event"] == "message" and line["conn"] == conn and line["mount"] == "/w" for line in mine)
            assert (mine[0]["bytes"], mine[0]["attempt"], mine[2]["commands"]) == (5, 1, 1) and mine[0]["to"].startswith("worker")
            assert sorted(line["time"] for line in mine) == [line["time"] for line in mine]
            assert trace.lines(point="received", bytes=5)
            host.expect(lambda line: "a bad one" in str(line))
            ws.send_text("bad")
            assert "a bad one" in wait_until(lambda: trace.lines(point="failed"), "it failed")[0]["error"]


def test_a_worker_that_dies(host):
    """Its event is given again, and the attempt is counted."""
    host.expect(lambda line: line.get("kind") == "worker")
    with connect("127.0.0.1", host.port, "/w") as ws:
        wait_until(lambda: conn_of(host, "/w"), "it is there")
        ws.send_text("hello")
        assert ws.recv_text() == "got hello"
        with Trace(host, "--mount", "/w", "trace") as trace:
            begun(trace, lambda: ws.send_text("nothing"))
            ws.send_text("die")
            assert ws.recv_text() == "got die"
            wait_until(lambda: trace.lines(point="committed", attempt=2), "the second attempt")
            sequence = trace.lines(attempt=2)[0]["seq"]
            assert [line["attempt"] for line in trace.lines(point="given", seq=sequence)] == [1, 2]


def test_a_plugin_and_who_is_not_looked_at(host):
    with Probe(host, "/p") as opener:
        one, two = opener.clients(2)
        with Trace(host, "trace", one.id) as trace:
            begun(trace, one.settle)
            two.settle()
            one.script("join tea", "send joined")
            assert one.recv_text() == "joined"
            line = wait_until(lambda: trace.lines(point="committed", commands=2), "it is committed")[0]
            assert trace.lines(point="given", seq=line["seq"])[0]["to"] == "plugin"
            assert {line["conn"] for line in trace.came} == {one.id}
            one.drop()
            assert trace.process.wait(PATIENCE) == 0  # with its connection it is over
            assert wait_until(lambda: trace.lines(event="close", point="committed"), "its end")


@pytest.mark.parametrize("door", ["socket", "http"])
def test_a_user(tmp_path, door):
    (tmp_path / "key").write_bytes(SECRET)
    (tmp_path / "key").chmod(0o600)
    with Host("--plugin", "echo", "--jwt-key", tmp_path / "key", "--jwt-from", "query=token", "--control", tmp_path / "control", "--api", "127.0.0.1:0", *IMPATIENT) as host:
        looks(host, door, tmp_path / "control")
        anna, bob = (connect("127.0.0.1", host.port, f"/?token={hs256(claims(sub=who))}") for who in ("anna", "bob"))
        with Trace(host, "--user", "anna", "trace", "--for", "60") as trace:
            begun(trace, lambda: anna.send_text("x"))
            bob.send_text("y")
            assert bob.recv_text() == "y"
            anna.send_text("last one")
            wait_until(lambda: trace.lines(point="received", bytes=8), "hers")
            assert {line["user"] for line in trace.came} == {"anna"} and "token" not in json.dumps(trace.came)
        anna.drop()
        bob.drop()


def test_what_is_wrong_is_said(host):
    for words, code, said in ((["trace"], 2, "CONN, --user USER or --mount PATH"), (["trace", "A" * 22], 1, "there is no connection"), (["-m", "/no", "trace"], 1, "no such mount"),
                              (["stats", "--for", "1"], 2, "for trace"), (["trace", "x", "--for", "0"], 2, "expected seconds")):
        done = subprocess.run([BUILD / "tova-ctl", *host.door, *words], capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == code and said in done.stderr
    done = subprocess.run([BUILD / "tova-ctl", *host.door, "-m", "/p", "--for", "1", "trace"], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")  # nothing happens, and it ends


def test_who_does_not_read_is_told_what_he_missed(tmp_path):
    """And costs the host no more than a bounded memory."""
    with Host("--plugin", "echo", "--control", tmp_path / "control", *IMPATIENT) as host, connect("127.0.0.1", host.port, "/") as ws:
        looks, pipe = os.pipe()
        trace = subprocess.Popen([BUILD / "tova-ctl", "--control", tmp_path / "control", "--json", "-m", "/", "trace"], stdout=pipe)
        os.close(pipe)
        reader = os.fdopen(looks)
        wait_until(lambda: (ws.send_text("x"), ws.recv_text(), select.select([looks], [], [], 0)[0])[2], "it has begun")
        trace.send_signal(signal.SIGSTOP)
        for _ in range(200):
            for _ in range(100):
                ws.send_text("x")
            for _ in range(100):
                ws.recv_text()
        trace.send_signal(signal.SIGCONT)
        seen = iter(reader.readline, "")
        dropped = next(json.loads(line)["dropped"] for line in seen if "dropped" in line)
        assert 0 < dropped < 200 * 100 * 5
        trace.terminate()
        trace.wait(PATIENCE)
        reader.close()
        assert stats(tmp_path / "control")["events"] > 20000


# --- over HTTP ----------------------------------------------------------------------------------------------------------------

class Stream:
    """GET /api/v1/trace: its lines as they come."""

    def __init__(self, host, query, token=None, **how):
        where = address(host).rpartition(":")
        self.socket = socket.socket()
        if "buffer" in how:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, how["buffer"])
        self.socket.settimeout(PATIENCE)
        self.socket.connect((where[0], int(where[2])))
        line = f"Authorization: Bearer {token}\r\n" if token else ""
        self.socket.sendall(f"GET /api/v1/trace{query} HTTP/1.1\r\nHost: localhost\r\n{line}\r\n".encode())
        self.file = self.socket.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.head = b"".join(iter(self.file.readline, b"\r\n")).decode()
        self.lines = self._lines()

    def _lines(self):
        """Until its end, which is that of its chunks."""
        while (size := int(self.file.readline(), 16)) > 0:
            yield from map(json.loads, self.file.read(size).decode().splitlines())
            assert self.file.read(2) == b"\r\n"

    def close(self):
        self.file.close()
        self.socket.close()


@pytest.fixture
def open_host(tmp_path):
    with Host("--plugin", f"/p={plugin('probe')}", "--plugin", "/e=echo", "--api", "127.0.0.1:0", *tokens(tmp_path, "read", "publish", "read@/e"), "--control", tmp_path / "control", *IMPATIENT) as running:
        running.control = tmp_path / "control"
        yield running


def test_lines_over_http_are_what_the_document_says(open_host):
    """A line each, which ends with its connection; and what nobody has asked for in time is said at once."""
    with Probe(open_host, "/p") as opener:
        one = opener.client()
        stream = Stream(open_host, f"?conn={one.id}", TOKENS["read"])
        assert stream.status == 200 and "Content-Type: application/x-ndjson" in stream.head and "Cache-Control: no-store" in stream.head
        one.settle()
        one.drop()
        lines = list(stream.lines)
        schema = document().validator(document().json["paths"]["/api/v1/trace"]["get"]["responses"]["200"]["content"]["application/x-ndjson"]["schema"])
        assert len(lines) > 5 and not [list(schema.iter_errors(line)) for line in lines if not schema.is_valid(line)]
        assert {"received", "given", "acknowledged", "committed"} <= {line["point"] for line in lines} and lines[-1]["event"] == "close"
        stream.close()


def test_who_may_look_over_http(open_host):
    """Not without a token, not with another scope, and a token of one mount sees that one."""
    with Probe(open_host, "/p") as opener:
        other = opener.client()
        with Api(open_host) as nobody:
            assert nobody.get(f"/api/v1/trace?conn={other.id}")[0] == 401
        with Api(open_host, token=TOKENS["publish"]) as pusher:
            status, said = pusher.get(f"/api/v1/trace?conn={other.id}")
            assert status == 403 and "read" in said["error"]
        with Api(open_host, token=TOKENS["read"]) as api:
            for query, status, said in (("", 400, "conn, user or mount"), ("?conn=zzz", 400, "no id of a connection"), ("?conn=" + "A" * 22, 404, "no such connection"), ("?mount=/no", 400, "/p or /e"),
                                        (f"?conn={other.id}&mount=/e", 404, "no such connection"), ("?mount=/e&for=3601", 400, "up to 3600"), ("?mount=/e&for=x", 400, "up to 3600"), ("?mount=/e&zzz=1", 400, "zzz")):
                answer = api.get(f"/api/v1/trace{query}")
                assert (answer[0], said in answer[1]["error"]) == (status, True), (query, answer)


def test_a_token_of_one_mount(tmp_path):
    with Host("--plugin", f"/p={plugin('probe')}", "--plugin", "/e=echo", "--api", "127.0.0.1:0", *tokens(tmp_path, "read@/e"), *IMPATIENT) as host, Probe(host, "/p") as opener, Api(host, token=TOKENS["read"]) as api:
        assert api.get(f"/api/v1/trace?conn={opener.client().id}") == (404, {"error": "there is no such connection, or it has ended"})
        for query in ("?user=anna", "?mount=/p"):
            assert api.get(f"/api/v1/trace{query}")[0] == 403
        stream = Stream(host, "?mount=/e&for=0", TOKENS["read"])
        assert stream.status == 200 and list(stream.lines) == []
        stream.close()


def waits_to_write(host):
    """Which descriptors its loop asks about room to write: one that has it and nothing to write would make it turn for ever."""
    found = []
    for file in Path(f"/proc/{host.process.pid}/fdinfo").iterdir():
        found += re.findall(r"^tfd:\s*(\d+) events:\s*[0-9a-f]*[4-7c-f] ", file.read_text(), re.M)
    return found


def test_a_stream_that_is_silent_costs_nothing_and_ends(open_host):
    """Its client is not asked again and again, goes when it likes, and what it looked with is free again; and no more than some look at once."""
    streams = [Stream(open_host, "?mount=/e&for=600", TOKENS["read"]) for _ in range(16)]
    assert {stream.status for stream in streams} == {200}
    wait_until(lambda: not waits_to_write(open_host), "nobody is asked again and again")
    with Api(open_host, token=TOKENS["read"]) as api:
        status, said = api.get("/api/v1/trace?mount=/e")
        assert status == 503 and "16" in said["error"]
        for stream in streams[:8]:
            stream.close()
        streams[8].socket.shutdown(socket.SHUT_WR)

        def room():
            more = Stream(open_host, "?mount=/e&for=0", TOKENS["read"])
            more.close()
            return more.status == 200
        wait_until(room, "there is room again")
    with connect("127.0.0.1", open_host.port, "/e") as ws:
        ws.send_text("x")
        assert next(streams[9].lines)["event"] in ("open", "message")
    for stream in streams[8:]:
        stream.close()


def test_who_does_not_read_over_http_is_told_what_he_missed(open_host):
    """And the mount is as fast as ever, and the host no larger than what one may not have read."""
    stream = Stream(open_host, "?mount=/e&for=600", TOKENS["read"], buffer=4096)
    with connect("127.0.0.1", open_host.port, "/e") as ws:
        for _ in range(300):
            for _ in range(100):
                ws.send_text("x")
            for _ in range(100):
                assert ws.recv_text() == "x"
        dropped = next(line["dropped"] for line in stream.lines if "dropped" in line)
        assert 0 < dropped < 300 * 100 * 5
        ws.send_text("after")
        assert ws.recv_text() == "after"
        assert next(line for line in stream.lines if line.get("point") == "received" and line["bytes"] == 5)
    stream.close()


def test_the_host_ends_while_somebody_looks(tmp_path):
    with Host("--plugin", "echo", "--api", "127.0.0.1:0", *IMPATIENT) as host:
        stream = Stream(host, "?mount=/&for=600")
        with connect("127.0.0.1", host.port, "/") as ws:
            ws.send_text("x")
            assert ws.recv_text() == "x" and next(stream.lines)
        host.stop()
        stream.close()


def test_those_who_look_go_and_nothing_is_left(host):
    """Also in the middle, and when the host stops first; and no more than some look at once."""
    with connect("127.0.0.1", host.port, "/p") as ws:
        links = []
        for n in range(16):
            links.append(RawWorker(f"ipc://{host.control}"))
            links[-1].send({"t": "control", "q": 1, "do": "trace", "mount": "/p"})
            links[-1].expect("reply", q=1)
        one = RawWorker(f"ipc://{host.control}")
        one.send({"t": "control", "q": 1, "do": "trace", "mount": "/p"})
        assert "too many" in one.expect("reply", q=1)["error"]
        ws.send_text("send x")
        for link in links[:8]:
            link.drop()
        wait_until(lambda: (one.send({"t": "control", "q": 2, "do": "trace", "mount": "/p"}), "error" not in one.expect("reply", q=2))[1], "there is room again")
        ws.send_text("send y")
