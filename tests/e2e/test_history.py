"""Rooms that remember: --history, what a join is sent of it, what pushes and queries are told."""
import asyncio
import base64
import json
import os
import signal
import subprocess
import sys

import pytest
from tova_v1 import Client

from api import Api
from certificates import Certificates, tls
from control import ctl, ctl_json
from crowd import Crowd
from hub import Hub, opened, send
from probe import opened as probe_opened, plugin
from tova_host import BUILD, IMPATIENT, PATIENCE, ROOT, Host, wait_until
from wsclient import BINARY, connect

THREADS = ["1", "3"]


def say(text, room="r", **members):
    return {"c": "broadcast_to", "room": room, "data": text, **members}


def join(room="r", **members):
    return {"c": "join", "room": room, **members}


class History(Hub):
    """A host whose rooms remember, one client, and a worker that does what a test tells it."""

    def __init__(self, directory, *args, **how):
        super().__init__(directory, *args, "--api", "127.0.0.1:0", **how)

    def __enter__(self):
        super().__enter__()
        self.w = self.worker()
        return self

    def __exit__(self, *error):
        self.w.drop()
        super().__exit__(*error)

    def push(self, *commands, **more):
        self.w.send({"t": "push", "ref": 1, "commands": list(commands)}, **more)
        done = self.w.expect("done", ref=1)
        return {k: v for k, v in done.items() if k not in ("t", "ref", "receivers")}

    def open(self, path="/"):
        return opened(self, self.w, path)

    def ask(self, room="r", **members):
        reply = self.w.ask("history", room=room, **members)
        for m in reply.get("messages", ()):
            if "data_base64" in m:
                m["data"] = base64.b64decode(m.pop("data_base64"))
        return {k: v for k, v in reply.items() if k not in ("t", "q")}

    def texts(self, room="r", **members):
        return [m["data"] for m in self.ask(room, **members)["messages"]]

    def does(self, ws, *commands):
        """The client says something, and its event does this."""
        ws.send_text("?")
        event = self.w.expect("message", data="?")
        self.w.ack(event, *commands)
        return event


@pytest.fixture(params=THREADS)
def room(tmp_path, request):
    with History(tmp_path, "--history", "5", "--threads", request.param) as running:
        yield running


def test_a_push_is_told_the_place_of_its_message(room):
    first = room.push(say("one"))
    assert first["offset"] == 1 and 0 < first["epoch"] < 1 << 53 and first["nobody"] == 1
    assert room.push(say("two")) == {**first, "offset": 2}
    other = room.push(say("x", room="other"))
    assert other["offset"] == 1 and other["epoch"] != first["epoch"]
    assert room.push(say("not kept", keep=False)) == {"nobody": 1}
    assert room.push(say("kept", keep=True))["offset"] == 3
    assert room.push({"c": "broadcast", "data": "all"}) == {}


def test_who_joins_is_sent_the_last_ones(room):
    for n in range(7):
        room.push(say(str(n)))
    clients = []
    for last, expected in ((0, []), (2, ["5", "6"]), (50, ["2", "3", "4", "5", "6"])):
        ws, _ = room.open()
        clients.append(ws)
        room.does(ws, join(last=last), send("behind"))
        assert [ws.recv_text() for _ in range(len(expected) + 1)] == [*expected, "behind"]
    ws, _ = room.open()
    room.does(ws, join(), send("behind"))
    assert ws.recv_text() == "behind"


def test_between_what_is_remembered_and_what_comes_there_is_nothing(room):
    """All in one commit: what is broadcast before the join is remembered, what follows is live, and none comes twice."""
    ws, conn = room.open()
    room.does(ws, say("a"), say("b"), join(last=50), say("c"), say("not for me", exclude=conn), send("end"))
    assert [ws.recv_text() for _ in range(4)] == ["a", "b", "c", "end"]
    room.push({"c": "leave", "room": "r", "conn": conn})
    room.does(ws, join(last=50), send("end"))  # also what was excluded from this client then
    assert [ws.recv_text() for _ in range(5)] == ["a", "b", "c", "not for me", "end"]
    room.does(ws, join(last=1), send("end"))  # a member that asks again is sent it again
    assert [ws.recv_text() for _ in range(2)] == ["not for me", "end"]


def test_since_an_offset(room):
    epoch = [room.push(say(str(n)))["epoch"] for n in range(1, 8)][0]
    ws, conn = room.open()

    def since(*commands):
        room.does(ws, *commands, send("end"))
        got = []
        while not got or got[-1] != "end":
            got.append(ws.recv_text())
        room.push({"c": "leave", "room": "r", "conn": conn})
        return got[:-1]

    assert since(join(since=5, epoch=epoch)) == ["6", "7"]
    assert since(join(since=7, epoch=epoch)) == []
    assert since(join(since=2, epoch=epoch)) == ["3", "4", "5", "6", "7"]
    assert since(join(since=1, epoch=epoch)) == ["3", "4", "5", "6", "7"]         # 2 is forgotten
    assert since(join(since=1, epoch=epoch, last=2)) == ["6", "7"]
    assert since(join(since=6, epoch=epoch + 1, last=3)) == ["5", "6", "7"]       # another epoch
    assert since(join(since=8, epoch=epoch, **{"else": "last"})) == ["3", "4", "5", "6", "7"]  # more than there ever was
    assert since(join(room="new", since=0), say("x", room="new")) == ["x"]


def test_what_is_forgotten_can_fail_the_event(room):
    epoch = [room.push(say(str(n)))["epoch"] for n in range(1, 8)][0]
    ws, _ = room.open()
    fail = {"else": "fail"}
    room.does(ws, send("never"), join(since=1, epoch=epoch, **fail))
    error = room.w.expect("error")
    assert "fail" in error["error"]
    room.w.ack(error, join(since=2, epoch=epoch, **fail), send("end"))
    assert [ws.recv_text() for _ in range(6)] == ["3", "4", "5", "6", "7", "end"]
    assert "fail" in room.push(join(conn=_, since=3, epoch=epoch + 1, **fail))["error"]


@pytest.mark.parametrize("members", [{"since": 3}, {"last": -1}, {"last": "x"}, {"since": 1.5}, {"else": "fail"}, {"since": 1, "epoch": 1, "else": "x"},
                                     {"last": 3, "else": "last"}], ids=str)
def test_a_join_that_asks_wrongly_is_refused(room, members):
    ws, conn = room.open()
    assert room.push(join(conn=conn, **members)).get("error")
    assert room.push(say("to nobody")).get("nobody") == 1


def test_keep_is_of_a_broadcast_to_alone(room):
    ws, conn = room.open()
    assert room.push(send("x", conn=conn, keep=False)).get("error")
    assert room.push({"c": "broadcast", "data": "x", "keep": False}).get("error")
    assert room.push(send("x", conn=conn, keep=True)) == {}
    assert ws.recv_text() == "x"


def test_binary_large_and_empty_ones_come_as_they_were(room):
    data = [b"\0\xff", b"", b"x" * 16300, b"y" * 20000, b"z" * 300000]
    for d in data:
        assert "offset" in room.push({"c": "broadcast_to", "room": "r", "bin": len(d)}, binary=d)
    ws, _ = room.open()
    room.does(ws, join(last=5))
    got = [ws.recv_message() for _ in data]
    assert [(m.opcode, m.data) for m in got] == [(BINARY, d) for d in data]
    assert [m["data"] for m in room.ask()["messages"]] == data


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("how", ["tls", "deflate", "both"])
def test_sealed_and_compressed(tmp_path, threads, how):
    """What is remembered is given in the form that each member agreed to, and one message is remembered once for all forms."""
    certs = Certificates(tmp_path).make("here", "localhost")
    args = (certs.args("here") if how != "deflate" else []) + (["--deflate"] if how != "tls" else [])
    client = {"wrap": tls(certs.cert("here"))} if how != "deflate" else {}
    with History(tmp_path, "--history", "50", "--threads", threads, *args) as room:
        said = [f"{n} " + "so many words " * 500 for n in range(20)]
        for text in said[:10]:
            room.push(say(text))
        members = []
        for offer in ("permessage-deflate; client_max_window_bits", "permessage-deflate; server_no_context_takeover", None):
            members.append(room.client("/", deflate=offer if how != "tls" else None, **client))
            event = room.w.expect("open")
            room.w.ack(event, join(last=5), send("behind"))
        for text in said[10:]:
            room.push(say(text))
        for ws in members:
            assert [ws.recv_text() for _ in range(16)] == [*said[5:10], "behind", *said[10:]]
        assert room.texts() == said


# --- queries ------------------------------------------------------------------------------------------------------------------

def test_a_query_tells_what_is_remembered(room):
    assert room.ask() == {"epoch": 0, "first": 0, "last": 0, "complete": True, "messages": [], "more": False}
    epoch = [room.push(say(str(n)))["epoch"] for n in range(1, 8)][0]
    reply = room.ask()
    assert {**reply, "messages": None} == {"epoch": epoch, "first": 3, "last": 7, "complete": False, "messages": None, "more": False}
    assert [(m["offset"], m["data"]) for m in reply["messages"]] == [(n, str(n)) for n in range(3, 8)]
    assert reply["messages"][0]["at"] <= reply["messages"][-1]["at"]
    assert room.texts(limit=2) == ["6", "7"] and room.ask(limit=2)["complete"]
    assert room.texts(since=4, epoch=epoch) == ["5", "6", "7"]
    page = room.ask(since=3, epoch=epoch, limit=2)
    assert [m["offset"] for m in page["messages"]] == [4, 5] and page["more"] and page["complete"]
    assert room.ask(since=1, epoch=epoch)["complete"] is False
    assert room.ask(since=4, epoch=epoch + 1)["complete"] is False and room.texts(since=5) == ["6", "7"]
    assert room.texts(room="ghost") == []


def test_what_a_query_tells_is_bounded(tmp_path):
    with History(tmp_path, "--history", "5000") as room:
        for n in range(1200):
            room.push(say(str(n)))
        assert len(room.texts()) == 100 and len(room.texts(limit=10000)) == 1000
        for _ in range(3):
            room.push(say("x" * 700_000, room="large"))
        page = room.ask("large", since=0)
        assert len(page["messages"]) == 1 and page["more"]
        assert len(room.ask("large", since=1, epoch=page["epoch"])["messages"]) == 1


# --- the HTTP API -------------------------------------------------------------------------------------------------------------

def test_over_http(room):
    ws, conn = room.open()
    with Api(room.host) as api:
        status, said = api.post("broadcast_to", room="r", data="one")
        assert status == 200 and said["receivers"] == 0 and said["offset"] == 1
        assert api.post("broadcast_to", room="r", data="x", keep=False) == (200, {"receivers": 0})
        assert api.post("join", conn=conn, room="r", last=10) == (200, {"receivers": 1})
        assert ws.recv_text() == "one"
        assert api.post("broadcast_to", room="r", data="two") == (200, {"receivers": 1, "offset": 2, "epoch": said["epoch"]})
        for wrong in ({"since": 1}, {"last": "x"}, {"else": "fail"}):
            assert api.post("join", conn=conn, room="r", **wrong)[0] == 400, wrong
        assert api.post("join", conn=conn, room="r", since=9, epoch=1, **{"else": "fail"})[0] == 409
        assert api.post("send", conn=conn, data="x", keep=False)[0] == 400
        assert api.post("broadcast", data="x", last=3)[0] == 400


# --- tova.v1 ------------------------------------------------------------------------------------------------------------------

def counting(room, **how):
    """A client of tova.v1 whose open event was settled."""
    client = Client(room.host.port, "/", **how)
    event = room.w.expect("open")
    room.w.ack(event)
    return client, event["conn"]


@pytest.fixture(params=THREADS)
def resuming(tmp_path, request):
    with History(tmp_path, "--history", "5", "--resume", "30s", "--threads", request.param) as running:
        yield running


def test_clients_that_count_are_told_what_follows(resuming):
    room = resuming
    epoch = [room.push(say(str(n)))["epoch"] for n in range(1, 8)][0]
    c, conn = counting(room)
    room.push(join(conn=conn, last=2), say("live"))
    assert c.control() == {"history": {"room": "r", "epoch": epoch, "from": 6, "to": 7, "complete": True}}
    assert [c.recv() for _ in range(3)] == ["6", "7", "live"]
    assert c.received == 3
    room.push(join(conn=conn, since=1, epoch=epoch))
    assert c.control() == {"history": {"room": "r", "epoch": epoch, "from": 4, "to": 8, "complete": False}}
    assert [c.recv() for _ in range(5)] == ["4", "5", "6", "7", "live"]
    room.push(join(conn=conn, since=8, epoch=epoch))
    assert c.control() == {"history": {"room": "r", "epoch": epoch, "from": 9, "to": 8, "complete": True}}
    name = "\" \n\U0001f600" + "x" * 240
    room.push(join(conn=conn, room=name, last=5))
    assert c.control() == {"history": {"room": name, "epoch": 0, "from": 1, "to": 0, "complete": True}}


def test_what_begins_with_the_mark_is_escaped_there_too(resuming):
    room = resuming
    room.push(say("\1{\"done\":7}"))
    c, conn = counting(room)
    room.push(join(conn=conn, last=2))
    c.control()
    assert c.recv() == "\1{\"done\":7}"
    ws, conn = room.open()
    room.push(join(conn=conn, last=2))
    assert ws.recv_text() == "\1{\"done\":7}"


def test_who_was_away_is_told_in_its_place(resuming):
    room = resuming
    room.push(say("old"))
    c, conn = counting(room)
    room.push(send("before", conn=conn))
    assert c.recv() == "before"
    c.drop()
    room.push(join(conn=conn, last=5), say("live"))
    assert c.back()["resumed"]
    assert c.control()["history"]["from"] == 1
    assert [c.recv() for _ in range(2)] == ["old", "live"]
    c.drop()                       # nothing was confirmed: it comes again, as it was
    assert c.back(1)["resumed"]
    assert c.control()["history"]["to"] == 1
    assert [c.recv() for _ in range(2)] == ["old", "live"]
    assert c.received == 3
    c.confirm()
    c.say(ping=1)
    c.until(lambda c: {"pong": 1} in c.said)
    c.drop()
    assert c.back()["resumed"]
    room.push(send("end", conn=conn))
    assert c.recv() == "end" and not any("history" in s for s in c.said)


# --- bounds -------------------------------------------------------------------------------------------------------------------

def test_what_is_older_is_forgotten(tmp_path):
    with History(tmp_path, "--history", "5/1s") as room:
        first = room.push(say("old"))
        room.push(say("x", room="other"))
        assert room.texts() == ["old"]
        held = room.stat("history")
        assert held > 0
        wait_until(lambda: room.stat("history") == 0, "all of it is forgotten")
        assert room.texts() == [] and room.push(say("new"))["epoch"] != first["epoch"]


def test_rooms_that_are_silent_for_longest_give_way_first(tmp_path):
    with History(tmp_path, "--history", "100", "--history-bytes", "256k") as room:
        room.push(say("silent", room="silent"))
        room.push(say("spoken", room="spoken"))
        for n in range(400):
            room.push(say("x" * 1000, room=f"room {n % 3}"))
            if n % 2 == 0:
                room.push(say(str(n), room="spoken"))
            assert room.stat("history") <= 256 << 10
        assert room.texts("silent") == []
        assert room.texts("spoken", limit=2) == ["396", "398"]
        assert room.push(say("y" * 300_000, room="silent"))["offset"] == 1  # more than there is room for: all others go first
        assert room.texts("silent") == [] and room.stat("history") <= 256 << 10


def test_nothing_is_kept_where_nobody_asks_for_it(tmp_path):
    with History(tmp_path, "--history", "5", "--history", "/=") as room:
        assert room.push(say("x")) == {"nobody": 1}
    with History(tmp_path) as room:
        assert room.push(say("x")) == {"nobody": 1}
        ws, conn = room.open()
        room.does(ws, join(last=5), send("end"))
        assert ws.recv_text() == "end"
        assert room.stat("history") == 0
        assert "--history" in room.ask()["error"]
        room.host.wait_log(lambda line: "--history" in line.get("message", ""), "it is said, once")
        assert "fail" in room.push(join(conn=conn, since=3, epoch=4, **{"else": "fail"}))["error"]


def test_reloads(tmp_path):
    config = tmp_path / "tova.conf"
    config.write_text('history = ["5"];\n')
    with History(tmp_path, "--config", config) as room:
        epoch = [room.push(say(str(n)))["epoch"] for n in range(1, 8)][0]

        def reload(text):
            config.write_text(text)
            room.host.wait_log(lambda line: line.get("message") == "the settings were read again", "a reload", room.host.reload())

        reload('history = ["5"];\nlog-level = "info";\n')
        assert room.texts() == ["3", "4", "5", "6", "7"] and room.push(say("8")) == {"offset": 8, "epoch": epoch, "nobody": 1}
        reload('history = ["2/1h"];\n')
        assert room.texts() == ["7", "8"]
        reload('history = ["10"];\nhistory-bytes = "64k";\n')
        assert room.push(say("9"))["offset"] == 9 and room.texts() == ["7", "8", "9"]
        reload("")
        assert "offset" not in room.push(say("x"))
        reload('history = ["10"];\n')
        assert room.texts() == [] and room.push(say("1"))["epoch"] != epoch


@pytest.mark.parametrize("value", ["x", "0/", "-1", "100001", "5/0", "5/500ms", "5/721h", "/r=x", ""])
def test_a_value_that_is_none_is_refused(tmp_path, value):
    said = subprocess.run([BUILD / "tova-host", "--history", value, "--check", "--attach", f"ipc://{tmp_path}/a"], capture_output=True, text=True)
    assert said.returncode == 2 and "history" in said.stderr and "expected" in said.stderr, said.stderr


# --- the other doors ----------------------------------------------------------------------------------------------------------

PYTHON = """
import sys; sys.path.insert(0, "sdk/python")
from tova import broadcast_to, history, join, push, send, serve
async def on_message(ws, message):
    verb, _, rest = message.partition(" ")
    if verb == "say": broadcast_to("r", rest)
    if verb == "hint": broadcast_to("r", rest, keep=False)
    if verb == "join": ws.join("r", last=int(rest)); ws.send("end")
    if verb == "since": join(ws, "r", since=int(rest), epoch=(await history("r")).epoch); ws.send("end")
    if verb == "fail": join(ws, "r", since=int(rest), epoch=(await history("r")).epoch, otherwise="fail"); ws.send("never")
    if verb == "tell":
        h = await history("r", since=int(rest), limit=2)
        ws.send(f"{h.first} {h.last} {h.complete} {h.more} {[m.data for m in h.messages]}")
    if verb == "push":
        with push() as done: broadcast_to("r", b"\\x00pushed")
        ws.send(f"{(await done).offset}")
    if verb == "wrong": ws.join("r", since=3)
def on_error(ws, error): ws.send("error: " + error)
serve(globals())
"""

NODE = """
import { broadcast_to, history, join, push, serve } from "./sdk/node/index.mjs";
await serve({
	async on_message(ws, message) {
		const at = message.indexOf(" "), verb = message.slice(0, at), rest = message.slice(at + 1);
		if (verb === "say") broadcast_to("r", rest);
		if (verb === "hint") broadcast_to("r", rest, null, { keep: false });
		if (verb === "join") { ws.join("r", { last: +rest }); ws.send("end"); }
		if (verb === "since") { join(ws, "r", { since: +rest, epoch: (await history("r")).epoch }); ws.send("end"); }
		if (verb === "fail") { join(ws, "r", { since: +rest, epoch: (await history("r")).epoch, else: "fail" }); ws.send("never"); }
		if (verb === "tell") {
			const h = await history("r", { since: +rest, limit: 2 }), is = (b) => (b ? "True" : "False");
			ws.send(`${h.first} ${h.last} ${is(h.complete)} ${is(h.more)} [${h.messages.map((m) => (Buffer.isBuffer(m.data) ? "b" : "") + `\'${m.data}\'`.replace("\\0", "\\\\x00")).join(", ")}]`);
		}
		if (verb === "push") ws.send(String((await push(() => broadcast_to("r", Buffer.from("\\0pushed")))).offset));
		if (verb === "wrong") ws.join("r", { since: 3 });
	},
	on_error(ws, error) { ws.send("error: " + error); },
});
"""


@pytest.mark.parametrize("command, file, text", [("python3", "worker.py", PYTHON), ("node", "worker.mjs", NODE)], ids=["python", "node"])
def test_the_libraries(tmp_path, command, file, text):
    (tmp_path / file).write_text(text.replace("./sdk", f"{ROOT}/sdk").replace('"sdk/', f'"{ROOT}/sdk/'))
    with Host("--worker", f"exec {command} {tmp_path / file}", "--history", "5", *IMPATIENT, cwd=ROOT) as host:
        ws, other = connect("127.0.0.1", host.port, "/"), connect("127.0.0.1", host.port, "/")

        def ask(message, n=1):
            ws.send_text(message)
            return [ws.recv_text() for _ in range(n)]

        for n in range(1, 8):
            other.send_text(f"say {n}")
        other.send_text("hint typing")
        other.send_text("join 0")
        assert other.recv_text() == "end"
        assert ask("join 3", 4) == ["5", "6", "7", "end"]
        assert ask("since 4", 4) == ["5", "6", "7", "end"]
        assert ask("since 1", 6) == ["3", "4", "5", "6", "7", "end"]
        assert "fail" in ask("fail 1")[0]
        assert ask("tell 4") == ["3 7 True True ['5', '6']"]
        assert ask("tell 1") == ["3 7 False True ['3', '4']"]
        ws.send_text("push it")
        assert ws.recv_binary() == b"\0pushed" and ws.recv_text() == "8"
        assert ask("tell 7") == ["4 8 True False [b'\\x00pushed']"]
        assert "epoch" in ask("wrong x")[0]


SCRIPT = r"""while read -r verb rest; do case $verb in
do) printf '%s\n' "$rest" >&3;;
esac; done"""


def test_scripts(tmp_path):
    with Host("--script", SCRIPT, "--history", "5", "--api", "127.0.0.1:0", *IMPATIENT) as host, Api(host) as api:
        ws = connect("127.0.0.1", host.port, "/")

        def do(*lines):
            for line in lines:
                ws.send_text("do " + line)

        do(*(f"broadcast_to r {n}" for n in range(1, 8)), "keep=no broadcast_to r hint", "key=k keep=no broadcast_to r hint", "join r last=2", "broadcast_to r end")
        assert [ws.recv_text() for _ in range(3)] == ["6", "7", "end"]
        epoch = api.post("broadcast_to", room="r", data="9")[1]["epoch"]
        assert ws.recv_text() == "9"
        do(f"join r since=7 epoch={epoch}", "broadcast_to r end")
        assert [ws.recv_text() for _ in range(3)] == ["end", "9", "end"]
        do(f"join r since=1 epoch={epoch} else=fail", "join r since=1", "join r last=x", "join r lost=3", "keep=no join x", "join r else=fail", "broadcast_to r end")
        assert ws.recv_text() == "end"
        for part in ("fail", "since", "last=N"):
            host.expect(lambda line: "memory" in line.get("message", "") or "else" in line.get("message", "") or "out of range" in line.get("message", ""))
            host.wait_log(lambda line: line.get("kind") == "handler" and part in line.get("message", "") + line.get("error", ""), part)
        ws.end()


def test_people_and_programs_ask_for_it(tmp_path):
    with History(tmp_path, "--history", "5") as room, Api(room.host) as api:
        ws, conn = room.open()
        for n in range(1, 8):
            epoch = room.push(say(str(n), room="r ä"))["epoch"]
        room.push({"c": "broadcast_to", "room": "r ä", "bin": 2}, binary=b"\0\xff")
        status, said = api.get("/api/v1/history?room=r+%C3%A4")
        assert status == 200 and (said["epoch"], said["first"], said["last"], said["more"]) == (epoch, 4, 8, False)
        assert [m.get("data", m.get("data_base64")) for m in said["messages"]] == ["4", "5", "6", "7", "AP8="]
        assert [m["offset"] for m in api.get("/api/v1/history?room=r+%C3%A4&since=5&limit=2&mount=/")[1]["messages"]] == [6, 7]
        for wrong in ("", "?room=", "?room=x&limit=x", "?room=x&limit=1001", "?room=x&sinc=3", "?room=x&room=y"):
            assert api.get("/api/v1/history" + wrong)[0] == 400, wrong
        assert api.get("/api/v1/history?room=x&mount=/none")[0] == 400
        told = ctl_json(room.control, "history", "r ä", "2")
        assert [m["offset"] for m in told["messages"]] == [7, 8] and told["epoch"] == epoch
        assert "7" in ctl(room.control, "history", "r ä")
        ctl(room.control, "history", "r ä", "x", code=2)
        assert ctl_json(room.control, "history", "ghost")["messages"] == []


# --- what it is for -----------------------------------------------------------------------------------------------------------

class Hearer:
    """Sees what a client of the room sees: the last ones and then all that follow, in one unbroken row."""

    def __init__(self):
        self.numbers = []

    def __call__(self, ws, text):
        self.numbers.append(int(text))


TALKER = """
import sys; sys.path.insert(0, {sdk!r})
from tova import serve, broadcast_to
def on_open(ws): ws.join("r", last=50)
def on_message(ws, message): broadcast_to("r", message)
serve(globals())
"""


@pytest.mark.parametrize("kind", ["plugin", "threads", "worker killed"])
def test_two_hundred_join_a_room_that_is_talking(tmp_path, kind):
    """500 messages a second. For each of them: no gap, and none twice, between the last 50 and what comes live."""
    (tmp_path / "talker.py").write_text(TALKER.format(sdk=str(ROOT / "sdk/python")))
    handler = ["--worker", f"exec {sys.executable} {tmp_path}/talker.py", "--max-attempts", "1000"] if kind == "worker killed" else \
        ["--plugin", plugin("probe")]
    threads = ["--threads", "3"] if kind == "threads" else []
    target = "/" if kind == "worker killed" else "/?" + probe_opened("join_last 50 r")

    async def run(host):
        said, stop = 0, False

        async def talk():
            nonlocal said
            speaker = await crowd.connect("/mute" if kind == "worker killed" else "/", lambda ws, text: None)
            while not stop:
                speaker.send(*(str(said + i) if kind == "worker killed" else f"to r {said + i}" for i in range(5)))
                said += 5
                await asyncio.sleep(0.01)

        async def until(condition, what):
            for _ in range(int(PATIENCE * 50)):
                if condition():
                    return
                await asyncio.sleep(0.02)
            raise AssertionError(what)

        async with Crowd(host) as crowd:
            talking = asyncio.ensure_future(talk())
            hearers = []
            await until(lambda: said > 100, "there is something to remember")
            for n in range(200):
                hearers.append(Hearer())
                await crowd.connect(target, hearers[-1])
                await asyncio.sleep(0.005)
                if kind == "worker killed" and n % 25 == 24:
                    for pid in host.children:
                        os.kill(pid, signal.SIGKILL)
                        host_died.append(pid)
                if kind == "worker killed" and n % 25 == 23:
                    await until(lambda: hearers[-1].numbers, "a worker is there again")
            await until(lambda: hearers[-1].numbers, "the last one hears")
            stop = True
            await talking
            await until(lambda: all(h.numbers and h.numbers[-1] == said - 1 for h in hearers), "all hear the last one")
            for h in hearers:
                assert h.numbers == list(range(h.numbers[0], said)), "a gap, or one twice"
            begun = [h.numbers[0] for h in hearers]
            assert max(begun) > 50 and len(set(begun)) > (5 if host_died else 50), "they joined while it was talking"
            assert crowd.wrong == []
            print(f"{kind}: {said} messages, 200 clients joined from message {min(begun)} to {max(begun) + 50}, {len(host_died)} workers killed")

    host_died = []
    with Host(*handler, "--history", "50", *threads, *IMPATIENT) as host:
        if kind == "worker killed":
            host.wait_log(lambda line: line.get("message") == "a worker is ready", "a worker")
        asyncio.run(run(host))
    assert kind != "worker killed" or host_died


def test_a_hundred_thousand_rooms_stay_within_the_bound(tmp_path):
    """Small messages, large ones and long names: the memory of the process, not a counter."""
    bound = 32 << 20
    with History(tmp_path, "--history", "100", "--history-bytes", "32m") as room, Api(room.host) as api:
        before = room.host.rss
        most = 0
        for part in range(100):
            commands = []
            for n in range(1000):
                name = f"room {part * 1000 + n}" + ("x" * 200 if n % 7 == 0 else "")
                data = "y" * (20_000 if n % 500 == 0 else 300 if n % 3 == 0 else 5)
                commands += [say(data, room=name)] * (3 if n % 2 else 1)
            room.push(*commands)
            held = room.stat("history")
            assert held <= bound
            most = max(most, room.host.rss - before)
        print(f"100,000 rooms, {held >> 10} KiB counted, at most {most >> 10} KiB more resident")
        assert most < bound * 1.35 + (8 << 20), (most, held)
        # the oldest have given way, the newest are there
        assert room.texts("room 0") == [] and room.texts("room 99999") != []


TOVA = """server {
ws {
on_message fn(ws, message) {
data = JSON.parse(message)
match data.do {
"say" => { broadcast_to("r", data.text, nil, { keep: data.keep ?? true }) }
"last" => { join(ws, "r", { last: data.n })
ws.send("end") }
"since" => { join(ws, "r", { since: data.n, epoch: data.epoch, else: "fail" })
ws.send("end") }
"wrong" => { join(ws, "r", { else: "fail" })
ws.send("never") }
"tell" => { history("r", fn(messages) { ws.send(JSON.stringify(messages)) }) }
_ => {}
}
}
on_error fn(ws, error) { ws.send("error: {error}") }
}
}
"""


@pytest.mark.parametrize("isolated", [[], ["--isolate"]], ids=["plugin", "isolate"])
def test_programs_in_tova(tmp_path, isolated):
    (tmp_path / "room.tova").write_text(TOVA)
    with Host(tmp_path / "room.tova", "--history", "5", "--api", "127.0.0.1:0", *isolated, *IMPATIENT) as host, Api(host) as api:
        ws = connect("127.0.0.1", host.port, "/")

        def do(what, **members):
            ws.send_text(json.dumps({"do": what, **members}))

        for n in range(1, 8):
            do("say", text=str(n))
        do("say", text="typing", keep=False)
        do("last", n=2)
        assert [ws.recv_text() for _ in range(3)] == ["6", "7", "end"]
        epoch = api.post("broadcast_to", room="r", data="8")[1]["epoch"]
        assert ws.recv_text() == "8"
        do("since", n=6, epoch=epoch)
        assert [ws.recv_text() for _ in range(3)] == ["7", "8", "end"]
        do("since", n=1, epoch=epoch)
        assert "fail" in ws.recv_text()
        do("wrong")
        assert "since" in ws.recv_text()
        do("tell")
        told = json.loads(ws.recv_text())
        assert [(m["offset"], m["data"]) for m in told] == [(n, str(n)) for n in range(4, 9)] and told[0]["at"] > 1600000000000
        ws.end()
