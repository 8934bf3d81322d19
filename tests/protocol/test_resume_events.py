"""`away` and `back`, for handlers that ask for them: a client of tova.v1 has lost its socket, or is back on another."""
import json

import pytest
from tova_v1 import Client

from api import address
from control import ctl_json
from probe import KINDS, Host, Probe, escape, kind_args, plugin
from raw_worker import RawWorker
from tova_host import ROOT, wait_until
from wsclient import connect, http_get

THREADS = ["1", "3"]


@pytest.fixture(scope="module", params=[(kind, threads) for kind in KINDS for threads in THREADS], ids=lambda p: "-".join(p))
def resuming(request):
    kind, threads = request.param
    with Host("--plugin", f"/probe={plugin('probe')}", "--resume", "30s", "--threads", threads, *kind_args(kind)) as host:
        yield host


@pytest.fixture
def observer(resuming):
    return Probe(resuming).observer()


def client(host, query=""):
    c = Client(host.port, "/probe" + query)
    c.send("myid")
    c.name = c.recv()
    c.settled()
    return c


def stat(host, name):
    return ctl_json(host.control_socket, "stats")["stats"][name]


def test_away_and_back(resuming, observer):
    """Behind what came before, with the code of the loss, and with the request of the return."""
    c = client(resuming)
    assert observer.event(ws=c.name)["event"] == "open"
    c.drop()
    assert observer.event(ws=c.name) == {"event": "away", "ws": c.name, "code": 1006}
    c.where = (*c.where[:2], "/probe?back=1")
    c.back()
    assert observer.event(ws=c.name) == {"event": "back", "ws": c.name, "query": "back=1", "remote": "127.0.0.1"}
    c.ws.close(1001)
    assert observer.event(ws=c.name) == {"event": "away", "ws": c.name, "code": 1001}
    c.back()
    assert observer.event(ws=c.name)["event"] == "back"
    c.say(bye=1)
    assert observer.event(ws=c.name)["event"] == "close"


def test_what_handlers_say_in_them_arrives(resuming, observer):
    """In away it waits for the client; in back it comes behind that."""
    c = client(resuming)
    c.send("join r\non away " + escape("send while away").replace("%20", " ") + "\non back send welcome back\nsend ready")
    assert c.recv() == "ready"
    c.settled()
    c.drop()
    observer.event("away", c.name)
    c.back()
    assert c.recv() == "while away" and c.recv() == "welcome back"


def test_messages_before_the_loss_come_first(resuming, observer):
    c = client(resuming)
    for _ in range(5):
        c.send("fail no")
    c.ws.close(1001)
    heard = [observer.event(ws=c.name)["event"] for _ in range(7)]
    assert heard == ["open", *["error"] * 5, "away"]


def test_a_takeover_is_a_return(resuming, observer):
    """Nobody has noticed a loss: there is no away."""
    c = client(resuming)
    observer.event("open", c.name)
    old = c.ws
    c.back()
    assert observer.event(ws=c.name)["event"] == "back"
    old.drop()
    c.send("send on")
    assert c.recv() == "on"


def test_a_close_in_away_ends_it(resuming, observer):
    c = client(resuming)
    c.send("on away close 4200 no")
    c.settled()
    c.drop()
    assert observer.event("close", c.name)["code"] == 4200
    again = connect("127.0.0.1", resuming.port, "/probe", subprotocols=["tova.v1", f"tova.resume.{c.token}.1"])
    assert again.recv_close()[0] == 4200


def test_a_close_in_back_ends_it(resuming, observer):
    c = client(resuming)
    c.send("on back close 4201 no")
    c.settled()
    c.drop()
    observer.event("away", c.name)
    c.back()
    assert c.closed() == 4201 and observer.event("close", c.name)["code"] == 4201


def test_a_failure_in_them_is_an_error(resuming, observer):
    c = client(resuming)
    c.send("on away fail not-now\non error send it-failed")
    c.settled()
    c.drop()
    error = observer.event("error", c.name)
    assert error["text"] == "not-now"
    c.back()
    assert c.recv() == "it-failed"


# --- workers: which events they want, and what nobody takes -------------------------------------------------------------------

def attached(tmp_path, *args):
    return Host("--attach", f"ipc://{tmp_path}/w", "--resume", "30s", *args)


def settle(worker, kind, **members):
    event = worker.expect(kind, **members)
    worker.ack(event)
    return event


def test_a_worker_that_does_not_ask_hears_nothing(tmp_path):
    with attached(tmp_path) as host:
        worker = RawWorker(f"ipc://{tmp_path}/w").hello()
        c = Client(host.port, "/")
        settle(worker, "open")
        c.drop()
        wait_until(lambda: stat(host, "away") == 1, "it is away")
        c.back()
        c.send("x")
        assert settle(worker, "message", data="x")["seq"] == 2


def test_a_worker_that_asks(tmp_path):
    with attached(tmp_path) as host:
        worker = RawWorker(f"ipc://{tmp_path}/w").hello(events=["open", "message", "away", "back"])
        c = Client(host.port, "/a?b=c")
        settle(worker, "open")
        c.drop()
        away = settle(worker, "away", code=1006)
        c.back()
        back = settle(worker, "back", conn=away["conn"], seq=3)
        assert back["request"]["path"] == "/a" and back["request"]["query"] == "b=c"
        assert not any("tova" in value for name, value in back["request"]["headers"] if name.lower() == "sec-websocket-protocol")
        assert c.token not in json.dumps(back)


def test_one_who_comes_and_goes_makes_nothing_grow(tmp_path):
    """While nobody takes its events only the last is kept; what was given already stays given."""
    with attached(tmp_path) as host:
        worker = RawWorker(f"ipc://{tmp_path}/w").hello(events=["open", "message", "close", "away", "back"])
        c = Client(host.port, "/?n=0")
        opened = worker.expect("open")
        c.send("before")
        for n in range(1, 30):
            c.drop()
            wait_until(lambda: stat(host, "away") == 1, "it is away")
            c.where = (*c.where[:2], f"/?n={n}")
            c.back()
        worker.ack(opened)
        settle(worker, "message", data="before")
        assert settle(worker, "back")["request"]["query"] == "n=29"
        c.say(bye=1)
        assert settle(worker, "close")["seq"] == 4


def test_they_are_given_again(tmp_path):
    with attached(tmp_path) as host:
        url = f"ipc://{tmp_path}/w"
        worker = RawWorker(url).hello(events=["open", "away", "back"])
        c = Client(host.port, "/")
        settle(worker, "open")
        c.drop()
        first = worker.expect("away")
        worker.sock.close()
        c.back()
        worker = RawWorker(url).hello(events=["open", "away", "back"])
        again = settle(worker, "away", conn=first["conn"], seq=first["seq"], attempt=2)
        settle(worker, "back", conn=again["conn"], seq=first["seq"] + 1)


def test_no_room_for_the_event_of_a_return(tmp_path):
    """Where the handler asks for it, it is refused as a new connection would be, and may come again."""
    with attached(tmp_path, "--hold-bytes", "64k", "--admin", "127.0.0.1:0") as host:
        worker = RawWorker(f"ipc://{tmp_path}/w").hello(events=["open", "message", "away", "back"])
        c, *others = Client(host.port, "/"), *(connect("127.0.0.1", host.port, "/") for _ in range(8))
        for _ in range(9):
            settle(worker, "open")
        c.drop()
        settle(worker, "away")
        for ws in others:
            ws.send_text("x" * 15000)

        def held():
            where, port = address(host, "admin").rsplit(":", 1)
            return int(http_get(where, int(port), "/metrics").body.decode().split("tova_held_bytes{mount=\"/\"} ")[1].split("\n")[0])
        wait_until(lambda: held() >= 65536, "the budget is full")
        again = connect("127.0.0.1", host.port, "/", subprotocols=["tova.v1", f"tova.resume.{c.token}.0"])
        told = json.loads(again.recv_text()[1:])
        assert told["refused"] == 503 and again.recv_close()[0] == 1013
        for _ in range(8):
            settle(worker, "message")
        c.back()
        settle(worker, "back")


# --- scripts and programs -----------------------------------------------------------------------------------------------------

SCRIPT = r"""
import json, os, sys
commands = os.fdopen(3, "w", buffering=1)
print("events away back", file=commands)
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    print(json.dumps("heard " + line.strip()), flush=True)
"""


def test_scripts(tmp_path):
    (tmp_path / "s.py").write_text(SCRIPT)
    with Host("--script", f"python3 -u {tmp_path}/s.py", "--script-lines", "json", "--resume", "30s") as host:
        c = Client(host.port, "/?q=1")
        assert c.recv() == "ready"
        c.drop()
        wait_until(lambda: stat(host, "away") == 1, "it is away")
        c.where = (*c.where[:2], '/?q="2"')
        c.back()
        assert c.recv() == 'heard {"away":1006}'
        assert c.recv() == 'heard {"back":{"remote_addr":"127.0.0.1","query":"q=\\"2\\""}}'
        c.send("{}")
        assert c.recv() == 'heard "{}"'  # a message is a string, whatever it says


def test_a_script_that_does_not_ask_hears_nothing(tmp_path):
    with Host("--script", "while read -r line; do echo \"heard $line\"; done", "--resume", "30s") as host:
        c = Client(host.port, "/")
        c.drop()
        wait_until(lambda: stat(host, "away") == 1, "it is away")
        c.back()
        c.send("x")
        assert c.recv() == "heard x"


@pytest.mark.parametrize("lines, command, why", [("json", "events away open", "there is no such event"),
                                                ("text", "events away", "events come to scripts with --script-lines json only")])
def test_what_scripts_ask_wrongly_is_said(lines, command, why):
    with Host("--script", f"echo {command} >&3; cat", "--script-lines", lines, "--resume", "30s") as host:
        ws = connect("127.0.0.1", host.port, "/")
        host.wait_log(lambda line: line.get("message") == why)
        ws.drop()


def test_programs(tmp_path):
    (tmp_path / "p.tova").write_text("""
server {
  ws {
    on_open fn(ws) { ws.join("all") }
    on_away fn(ws, code) { broadcast_to("all", "away {code}") }
    on_back fn(ws) { ws.send("back with {ws.request.query}") }
  }
}
""")
    with Host(str(tmp_path / "p.tova"), "--resume", "30s") as host:
        c = Client(host.port, "/")
        c.drop()
        wait_until(lambda: stat(host, "away") == 1, "it is away")
        c.where = (*c.where[:2], "/?q=1")
        c.back()
        assert c.recv() == "away 1006" and c.recv() == "back with q=1"


PYTHON = """
import tova

def on_away(ws, code):
    tova.broadcast(f"away {code}")

async def on_back(ws):
    ws.send(f"back with {ws.request.query}")

tova.serve(globals())
"""
NODE = """
import { broadcast, serve } from "tova";
serve({
	on_away(ws, code) { broadcast(`away ${code}`); },
	async onBack(ws) { ws.send(`back with ${ws.request.query}`); },
});
"""


@pytest.mark.parametrize("language", ["python", "node"])
def test_libraries(tmp_path, language):
    if language == "python":
        (tmp_path / "w.py").write_text(PYTHON)
        command = f"PYTHONPATH={ROOT}/sdk/python python3 {tmp_path}/w.py"
    else:
        (tmp_path / "w.mjs").write_text(NODE)
        (tmp_path / "node_modules").mkdir()
        (tmp_path / "node_modules/tova").symlink_to(ROOT / "sdk/node")
        command = f"node {tmp_path}/w.mjs"
    with Host("--worker", command, "--resume", "30s") as host:
        host.wait_log(lambda line: line.get("message") == "a worker is ready")
        c = Client(host.port, "/")
        c.drop()
        wait_until(lambda: stat(host, "away") == 1, "it is away")
        c.where = (*c.where[:2], "/?q=1")
        c.back()
        assert c.recv() == "away 1006" and c.recv() == "back with q=1"
