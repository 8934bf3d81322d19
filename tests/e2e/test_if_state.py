"""A state that is compared before it is replaced: what somebody else has set meanwhile is not undone unseen, through every door."""

import pytest

from hub import opened, send
from raw_worker import RawWorker
from tova_host import IMPATIENT, ROOT, Host
from wsclient import connect


def set_(state, **members):
    return {"c": "set", "state": state, **members}


def told(worker, ws):
    """The state that the next event of this client is given."""
    ws.send_text("?")
    event = worker.expect("message", data="?")
    worker.ack(event, send("told"))
    assert ws.recv_text() == "told"
    return event.get("state")


def pushed(worker, conn, state, **members):
    worker.send({"t": "push", "ref": 1, "commands": [set_(state, conn=conn, **members)]})
    return worker.expect("done", ref=1).get("error")


def test_what_another_has_set_meanwhile_is_not_undone(hub):
    with hub.worker() as worker:
        ws, conn = opened(hub, worker)
        ws.send_text("count")
        event = worker.expect("message", data="count")
        assert pushed(worker, conn, "theirs") is None
        worker.ack(event, set_("mine", if_state=event.get("state", "")), send("never"))
        error = worker.expect("error", conn=conn)
        assert "if_state" in error["error"] and error["state"] == "theirs"
        worker.ack(error, set_("mine, after theirs", if_state="theirs"), send("seen"))
        assert ws.recv_text() == "seen"
        assert told(worker, ws) == "mine, after theirs"


def test_without_it_the_event_overwrites(hub):
    """As the documents say."""
    with hub.worker() as worker:
        ws, conn = opened(hub, worker)
        ws.send_text("count")
        event = worker.expect("message", data="count")
        assert pushed(worker, conn, "theirs") is None
        worker.ack(event, set_("mine"))
        assert told(worker, ws) == "mine"


@pytest.mark.parametrize("stored, expected, same", [
    (None, "", True), (None, "x", False), ("", "", True), ("x", "", False), ("x", "x", True), ("x", "y", False), ("x", "xx", False),
    ("xx", "x", False), ("ä", "ä", True), ("x" * 4096, "x" * 4096, True), ("x" * 4096, "x" * 4095 + "y", False), ("x", "x\0", True)])
def test_what_is_the_same(hub, stored, expected, same):
    with hub.worker() as worker:
        ws, conn = opened(hub, worker)
        if stored is not None:
            assert pushed(worker, conn, stored) is None
        error = pushed(worker, conn, "new", if_state=expected)
        assert (error is None) == same and (same or "if_state" in error)
        assert told(worker, ws) == ("new" if same else stored or None)


def test_bytes(hub):
    """state_bin takes its bytes first, then bin, then if_state_bin."""
    with hub.worker() as worker:
        ws, conn = opened(hub, worker)
        for old, new, same in ((b"", b"\xff\0\xfe", True), (b"\xff\0\xfe", b"two", True), (b"\xff", b"three", False), (b"two", b"", True)):
            worker.send({"t": "push", "ref": 1, "commands": [
                {"c": "set", "conn": conn, "if_state_bin": len(old), "state_bin": len(new)}, {"c": "send", "conn": conn, "bin": 4}]},
                binary=new + old + b"done")
            assert ("error" not in worker.expect("done")) == same
            if same:
                assert ws.recv_binary() == b"done"
        assert told(worker, ws) is None


def test_within_one_commit(hub):
    """What an earlier command sets is what a later one finds; one that does not hold undoes all of them; who has gone has no state."""
    with hub.worker() as worker:
        ws, conn = opened(hub, worker)
        chain = [set_("1", conn=conn, if_state=""), set_("2", conn=conn, if_state="1"), set_("3", conn=conn, if_state="2")]
        worker.send({"t": "push", "ref": 1, "commands": chain})
        assert "error" not in worker.expect("done")
        worker.send({"t": "push", "ref": 2, "commands": [set_("4", conn=conn, if_state="3"), set_("5", conn=conn, if_state="3")]})
        assert "if_state" in worker.expect("done")["error"]
        assert told(worker, ws) == "3"
        ws.drop()
        worker.ack(worker.expect("close"))
        assert pushed(worker, conn, "6", if_state="whatever") is None
        assert "limit" in pushed(worker, conn, "6", if_state="x" * 4097)


PYTHON = """
import sys; sys.path.insert(0, "sdk/python")
from tova import send, serve, set_state
def on_open(ws): ws.state = {"n": 0}
def on_message(ws, message):
    verb, _, who = message.partition(" ")
    if verb == "good": set_state(ws, {"n": ws.state["n"] + 1}, if_state=ws.state); ws.send(f"now {ws.state['n']}")
    if verb == "bad": set_state(ws, 7, if_state={"n": 99}); ws.send("never")
    if verb == "other": set_state(who, 5, if_state={"n": 0}); ws.send("set")
    if verb == "none": set_state(who, 5, if_state=None); ws.send("never")
    if verb == "tell": ws.send(str(ws.state))
    if verb == "id": ws.send(ws.id)
def on_error(ws, error): ws.send("error: " + error)
serve(globals())
"""

NODE = """
import { send, serve, set_state } from "./sdk/node/index.mjs";
await serve({
	on_open(ws) { ws.state = { n: 0 }; },
	on_message(ws, message) {
		const [verb, who] = message.split(" ");
		if (verb === "good") { set_state(ws, { n: ws.state.n + 1 }, { if_state: ws.state }); ws.send(`now ${ws.state.n}`); }
		if (verb === "bad") { set_state(ws, 7, { if_state: { n: 99 } }); ws.send("never"); }
		if (verb === "other") { set_state(who, 5, { if_state: { n: 0 } }); ws.send("set"); }
		if (verb === "none") { set_state(who, 5, { if_state: null }); ws.send("never"); }
		if (verb === "tell") ws.send(String(ws.state));
		if (verb === "id") ws.send(ws.id);
	},
	on_error(ws, error) { ws.send("error: " + error); },
});
"""


@pytest.mark.parametrize("command, text", [("python3 -c", PYTHON), ("node --input-type=module -e", NODE)], ids=["python", "node"])
def test_the_libraries(command, text):
    with Host("--worker", f"exec {command} '" + text.replace("'", "'\\''") + "'", *IMPATIENT, cwd=ROOT) as host:
        ws, other = connect("127.0.0.1", host.port, "/"), connect("127.0.0.1", host.port, "/")

        def ask(client, message):
            client.send_text(message)
            return client.recv_text()

        assert [ask(ws, "good") for _ in range(3)] == ["now 1", "now 2", "now 3"]
        assert "if_state" in ask(ws, "bad")
        assert ask(ws, "good") == "now 4"
        who = ask(other, "id")
        assert "if_state" in ask(ws, f"none {who}")
        assert ask(ws, f"other {who}") == "set"
        assert ask(other, "tell") == "5"
        assert "if_state" in ask(ws, f"other {who}")
        ws.drop()
        other.drop()


REFUSED = {
    "no delay": ({"c": "timer", "name": "x", "id": 1}, "delay"),
    "an exclude that is text": ({"c": "broadcast", "data": "x", "exclude": "not an id"}, "exclude"),
    "an empty exclude": ({"c": "broadcast_to", "room": "a", "data": "x", "exclude": ""}, "exclude"),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("door", ["event", "push", "control"])
def test_what_can_not_be_meant_is_refused_with_a_sentence(hub, what, door):
    command, why = REFUSED[what]
    with hub.worker() as worker:
        ws, _ = opened(hub, worker)
        if door == "event":
            ws.send_text("go")
            worker.ack(worker.expect("message"), send("never"), command)
            error = worker.expect("error")
            assert why in error["error"]
            worker.ack(error, send("not before"))
            assert ws.recv_text() == "not before"
        else:
            with RawWorker(f"ipc://{hub.control}") if door == "control" else hub.worker(events=[]) as peer:
                peer.send({"t": "push", "ref": 1, "commands": [command]})
                assert why in peer.expect("done", ref=1)["error"]


def test_an_exclude_that_has_gone_is_nobody(hub):
    with hub.worker() as worker:
        ws, _ = opened(hub, worker)
        gone, conn = opened(hub, worker)
        gone.drop()
        worker.ack(worker.expect("close"))
        worker.send({"t": "push", "ref": 1, "commands": [{"c": "broadcast", "data": "to all", "exclude": conn}]})
        assert "error" not in worker.expect("done") and ws.recv_text() == "to all"


@pytest.mark.parametrize("retry", [{}, {"retry_ms": 1}])
def test_a_nack_whose_text_is_not_utf8_fails_its_event(hub, retry):
    with hub.worker() as worker:
        ws, conn = opened(hub, worker)
        ws.send_text("go")
        event = worker.expect("message")
        text = '{"t":"nack","link":"%s","s":%d,"error":"\xff"%s}' % (worker.link, event["s"], ',"retry_ms":1' if retry else "")
        worker.send_bytes(b"[" + text.encode("latin-1") + b"]")
        error = worker.expect("error", conn=conn)
        assert "not UTF-8" in error["error"]
        worker.ack(error)
        hub.host.wait_log(lambda line: "not UTF-8" in line.get("error", ""), "a line about it")
