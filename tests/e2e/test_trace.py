"""tova-ctl trace: what happens to events, from their receipt to the client's socket."""
import json
import os
import subprocess
import threading

import pytest

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

    def __init__(self, control, *words):
        self.process = subprocess.Popen([BUILD / "tova-ctl", "--control", control, "--json", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.came = []
        self.reader = threading.Thread(target=lambda: self.came.extend(json.loads(line) for line in self.process.stdout), daemon=True)
        self.reader.start()
        self.control = control

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


@pytest.fixture(params=["1", "3"], ids=["one loop", "three"])
def host(request, tmp_path):
    (tmp_path / "worker.py").write_text(WORKER.format(path=str(ROOT / "sdk/python"), flag=str(tmp_path / "died")))
    with Host("--worker", f"/w=exec python3 -B {tmp_path}/worker.py", "--plugin", f"/p={plugin('probe')}", "--threads", request.param, "--control", tmp_path / "control", *IMPATIENT) as running:
        running.control = tmp_path / "control"
        yield running


def conn_of(host, mount):
    found = json.loads(ctl(host.control, "--json", "-m", mount, "connections"))["connections"]
    return found[0]["conn"] if len(found) == 1 else None


def test_an_event_s_way_through_a_worker(host):
    """Received, given to whom at which attempt, acknowledged with how many commands, committed, written; and what fails says why."""
    with connect("127.0.0.1", host.port, "/w") as ws:
        conn = wait_until(lambda: conn_of(host, "/w"), "it is there")
        ws.send_text("hello")
        assert ws.recv_text() == "got hello"
        with Trace(host.control, "trace", conn) as trace:
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
        with Trace(host.control, "--mount", "/w", "trace") as trace:
            begun(trace, lambda: ws.send_text("nothing"))
            ws.send_text("die")
            assert ws.recv_text() == "got die"
            wait_until(lambda: trace.lines(point="committed", attempt=2), "the second attempt")
            sequence = trace.lines(attempt=2)[0]["seq"]
            assert [line["attempt"] for line in trace.lines(point="given", seq=sequence)] == [1, 2]


def test_a_plugin_and_who_is_not_looked_at(host):
    with Probe(host, "/p") as opener:
        one, two = opener.clients(2)
        with Trace(host.control, "trace", one.id) as trace:
            begun(trace, one.settle)
            two.settle()
            one.script("join tea", "send joined")
            assert one.recv_text() == "joined"
            line = wait_until(lambda: trace.lines(point="committed", commands=2), "it is committed")[0]
            assert trace.lines(point="given", seq=line["seq"])[0]["to"] == "plugin"
            assert {line["conn"] for line in trace.came} == {one.id}
            conn = one.id
            one.drop()
            assert trace.process.wait(PATIENCE) == 0  # with its connection it is over
            assert wait_until(lambda: trace.lines(event="close", point="committed"), "its end") and conn


def test_a_user(tmp_path):
    (tmp_path / "key").write_bytes(SECRET)
    (tmp_path / "key").chmod(0o600)
    with Host("--plugin", "echo", "--jwt-key", tmp_path / "key", "--jwt-from", "query=token", "--control", tmp_path / "control", *IMPATIENT) as host:
        anna, bob = (connect("127.0.0.1", host.port, f"/?token={hs256(claims(sub=who))}") for who in ("anna", "bob"))
        with Trace(tmp_path / "control", "--user", "anna", "trace", "--for", "60") as trace:
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
        assert said in ctl(host.control, *words, code=code)
    assert ctl(host.control, "-m", "/p", "--for", "1", "trace") == ""  # nothing happens, and it ends


def test_who_does_not_read_is_told_what_he_missed(tmp_path):
    """And costs the host no more than a bounded memory."""
    with Host("--plugin", "echo", "--control", tmp_path / "control", *IMPATIENT) as host, connect("127.0.0.1", host.port, "/") as ws:
        looks, pipe = os.pipe()
        trace = subprocess.Popen([BUILD / "tova-ctl", "--control", tmp_path / "control", "--json", "-m", "/", "trace"], stdout=pipe)
        os.close(pipe)
        reader = os.fdopen(looks)
        wait_until(lambda: (ws.send_text("x"), ws.recv_text(), os.get_blocking(looks), select_ready(looks))[3], "it has begun")
        trace.send_signal(19)  # it stands still
        for _ in range(200):
            for _ in range(100):
                ws.send_text("x")
            for _ in range(100):
                ws.recv_text()
        trace.send_signal(18)
        seen = iter(reader.readline, "")
        dropped = next(json.loads(line)["dropped"] for line in seen if "dropped" in line)
        assert 0 < dropped < 200 * 100 * 5
        trace.terminate()
        trace.wait(PATIENCE)
        reader.close()
        assert stats(tmp_path / "control")["events"] > 20000


def select_ready(descriptor):
    import select
    return select.select([descriptor], [], [], 0)[0]


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
