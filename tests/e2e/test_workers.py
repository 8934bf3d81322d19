"""Delivery to workers, seen from both sides: the test is the worker (raw_worker.py) and the clients, the host is real."""
import json
import socket
import threading
import time

import pytest

from control import ctl_json, do, workers
from hub import Hub, opened, send
from patience import unhurried
from raw_worker import HANDSHAKE, RawWorker
from tova_host import PATIENCE, wait_until
from wsclient import BINARY, WebSocket, refused, request_bytes, upgrade_headers


# --- one event after the other ------------------------------------------------------------------------------------------------------------


def test_the_life_of_a_connection(hub):
    with hub.worker() as worker:
        ws = hub.client("/a%20b?c=%20d", headers=[("X-Two", "1"), ("X-Two", "2")], subprotocols=())
        event = worker.expect("open", s=1, seq=1, attempt=1)
        request = event["request"]
        assert (request["method"], request["path"], request["query"], request["mount"]) == ("GET", "/a b", "c=%20d", "/")
        assert [value for name, value in request["headers"] if name == "X-Two"] == ["1", "2"]
        assert request["remote"] == ["127.0.0.1", ws.sock.getsockname()[1]] and request["local"][1] == hub.host.port
        assert request["tls"] is None and request["subprotocols"] == []
        worker.ack(event, send("hello"), {"c": "join", "room": "a"}, {"c": "set", "state": "7"})
        assert ws.recv_text() == "hello"
        ws.send_text("one")
        ws.send_binary(b"\x00two\xff")
        event = worker.expect("message", s=2, seq=2, data="one", state="7", conn=event["conn"])
        assert not worker.queue, "the next event came before the acknowledgement"
        worker.send({"t": "ack", "s": 2, "commands": [{"c": "broadcast_to", "room": "a", "data": "to a"}, {"c": "set", "state_bin": 2}]},
                    binary=b"\x00\xff")
        assert ws.recv_text() == "to a"
        event = worker.expect("message", s=3, seq=3, data=b"\x00two\xff", state=b"\x00\xff")
        worker.send({"t": "ack", "s": 3, "commands": [{"c": "send", "bin": 3}]}, binary=b"\x00\x01\x02")
        got = ws.recv_message()
        assert (got.opcode, got.data) == (BINARY, b"\x00\x01\x02")
        ws.close(4000, b"enough")
        event = worker.expect("close", s=4, seq=4, code=4000, reason="enough", rooms=["a"], state=b"\x00\xff")
        worker.ack(event)
        ws.expect_close(4000)
        ws.expect_eof()


def test_what_nobody_wants_costs_nothing(hub):
    with hub.worker(events=["message"]) as worker:
        ws = hub.client()
        ws.send_text("a")
        worker.ack(worker.expect("message", s=1, seq=2), send("b"))
        assert ws.recv_text() == "b"
        ws.end()


def test_events_of_several_connections_come_interleaved_and_are_settled_in_any_order(hub):
    with hub.worker(events=["message"]) as worker:
        clients = [hub.client() for _ in range(20)]
        for i, ws in enumerate(clients):
            ws.send_text(str(i))
        events = [worker.expect("message") for _ in clients]
        for event in reversed(events):
            worker.ack(event, send(event["data"]))
        assert [ws.recv_text() for ws in clients] == [str(i) for i in range(20)]


def test_the_window_counts_events(hub):
    with hub.worker(events=["message"]) as worker:
        clients = [hub.client() for _ in range(300)]
        for ws in clients:
            ws.send_text("x")
        events = [worker.expect("message") for _ in range(256)]
        assert workers(hub.control)[0]["under_way"] == 256
        assert not worker.queue
        worker.ack(events[0])
        events.append(worker.expect("message"))
        for event in events[1:]:
            worker.ack(event)
        worker.settle_all(300 - 257)
        wait_until(lambda: hub.stat("commits") == 300, "all are settled")
        for ws in clients:
            ws.drop()


def test_the_window_counts_bytes(hub):
    """8 MiB, and a larger event travels alone."""
    with hub.worker(events=["message"]) as worker:
        clients = [hub.client() for _ in range(4)]
        for ws in clients:
            ws.send_binary(bytes(3 << 20))
        first = [worker.expect("message"), worker.expect("message")]
        assert workers(hub.control)[0]["under_way"] == 2
        for event in first:
            worker.ack(event)
        worker.settle_all(2)
        clients[0].send_binary(bytes(12 << 20))
        event = worker.expect("message")
        assert len(event["data"]) == 12 << 20
        worker.ack(event, send("got it"))
        assert clients[0].recv_text() == "got it"


# --- failing ------------------------------------------------------------------------------------------------------------------------------


def test_a_nack_raises_an_error_and_nothing_else(hub):
    with hub.worker() as worker:
        ws, _ = opened(hub, worker)
        ws.send_text("a")
        worker.nack(worker.expect("message"), "no, thanks")
        worker.ack(worker.expect("error", seq=3, attempt=1, kind="handler", error="no, thanks"), send("sorry"))
        assert ws.recv_text() == "sorry"


def test_a_nack_with_retry_delivers_again_and_the_connection_waits(hub):
    with hub.worker(events=["message"]) as worker:
        ws = hub.client()
        ws.send_text("a")
        ws.send_text("b")
        event = worker.expect("message", data="a")
        worker.nack(event, "later", retry_ms=100)
        again = worker.expect("message", data="a", seq=event["seq"], attempt=2)
        assert again["s"] != event["s"]
        worker.ack(again)
        worker.ack(worker.expect("message", data="b", seq=3, attempt=1), send("done"))
        assert ws.recv_text() == "done"


@pytest.mark.parametrize("number", [-5, 1e300, 10 ** 40, 0.5, float("nan"), float("inf"), float("-inf"), "500", None, True, [1], {"a": 1}],
                         ids=str)
def test_a_retry_after_a_time_that_is_none_fails_its_event_only(hub, number):
    """JSON libraries write NaN and the infinities as they like."""
    with hub.worker(events=["message", "error"]) as worker:
        ws, other = hub.client(), hub.client()
        ws.send_text("bad")
        bad = worker.expect("message", data="bad")
        other.send_text("good")
        good = worker.expect("message", data="good")
        worker.send({"t": "nack", "s": bad["s"], "error": "later", "retry_ms": number}, {"t": "ack", "s": good["s"], "commands": [send("fine")]})
        assert other.recv_text() == "fine"
        event = worker.expect("error", conn=bad["conn"], attempt=1)
        assert "retry_ms" in event["error"]
        worker.ack(event, send("sorry"))
        assert ws.recv_text() == "sorry"
        assert len(workers(hub.control)) == 1 and hub.stat("redelivered") == 0


BAD_COMMANDS = [
    {"c": "zzz"}, {"c": "send"}, {"c": "broadcast"}, {"c": "broadcast_to", "data": "x"}, {"c": "broadcast_to", "room": "a"},
    {"c": "join"}, {"c": "join", "room": ""}, {"c": "join", "room": "x" * 256}, {"c": "join", "room": "a\0b"}, {"c": "join", "room": "\ud800"},
    {"c": "send", "data": "\udfff"}, {"c": "close", "code": 999}, {"c": "close", "code": 1005}, {"c": "close", "code": 70000},
    {"c": "close", "code": 1000, "reason": "x" * 124}, {"c": "set"}, {"c": "set", "state": "x" * 4097}, {"c": "timer", "name": "", "delay": 1},
    {"c": "timer", "delay": 1}, {"c": "cancel", "name": "a\0b"}, {"c": "timer", "name": "x", "delay": 1 << 52},
    {"c": "timer", "name": "x", "delay": -5}, {"c": "timer", "name": "x", "delay": 1e300}, {"c": "timer", "name": "x", "delay": 0.5},
    {"c": "timer", "name": "x", "delay": float("nan")}, {"c": "timer", "name": "x", "delay": 1, "period": float("-inf")},
    {"c": "timer", "name": "x", "delay": "5"}, {"c": "timer", "name": "x", "delay": 1, "id": -1}, {"c": "close", "code": -1},
    {"c": "close", "code": [1000]}, {"c": "close", "code": None},
]


@pytest.mark.parametrize("bad", BAD_COMMANDS, ids=lambda c: json.dumps(c)[:50])
def test_what_can_not_be_done_fails_its_event_and_undoes_the_rest(hub, bad):
    with hub.worker() as worker:
        ws, _ = opened(hub, worker)
        ws.send_text("a")
        worker.ack(worker.expect("message"), send("never"), {"c": "join", "room": "never"}, bad, send("never"))
        worker.ack(worker.expect("error", kind="handler"), send("sorry"))
        assert ws.recv_text() == "sorry"
        assert worker.ask("count", room="never")["count"] == 0
        assert len(workers(hub.control)) == 1


def test_connections_that_are_gone_or_unheard_of(hub):
    with hub.worker() as worker:
        ws, conn = opened(hub, worker)
        other, gone = opened(hub, worker)
        other.drop()
        worker.ack(worker.expect("close", conn=gone))
        wait_until(lambda: hub.stat("connections") == 1, "it has ended")
        before = hub.stat("gone")
        ws.send_text("a")
        names = (gone, "A" * 22)
        worker.ack(worker.expect("message"), *(send("x", conn=name) for name in names), send("still here"))
        assert ws.recv_text() == "still here"
        assert hub.stat("gone") == before + len(names)
        for name in ("", "not an id", "general", "ä" * 30):
            ws.send_text("a")
            worker.ack(worker.expect("message"), send("x", conn=name), send("never"))
            error = worker.expect("error")
            assert "no connection's id" in error["error"], name
            worker.ack(error, send("sorry"))
            assert ws.recv_text() == "sorry"


def test_connections_of_another_mount_are_out_of_reach(tmp_path):
    with Hub(tmp_path, "--attach", f"/other=ipc://{tmp_path}/other") as hub:
        with hub.worker() as worker, RawWorker(f"ipc://{tmp_path}/other").hello(mount="/other") as other:
            ws, conn = opened(hub, worker)
            elsewhere = hub.client("/other")
            event = other.expect("open")
            other.ack(event, send("not yours", conn=conn), send("yours"))
            assert elsewhere.recv_text() == "yours"
            assert hub.stat("gone") == 1
            ws.send_text("a")
            worker.ack(worker.expect("message"), send("yours"))
            assert ws.recv_text() == "yours"


# --- malformed ----------------------------------------------------------------------------------------------------------------------------

MALFORMED = {
    "nothing": b"", "no JSON": b"hello", "an object": b"{}", "an empty batch": b"[]", "a number": b"[1]", "an object without t": b"[{}]",
    "a type that is a number": b'[{"t":7}]', "an unknown type": b'[{"t":"zzz","link":"L"}]', "the host's own": b'[{"t":"welcome","link":"L"}]',
    "an ack of nothing": b'[{"t":"ack","link":"L"}]', "a negative s": b'[{"t":"ack","link":"L","s":-1}]',
    "a fraction": b'[{"t":"ack","link":"L","s":1.5}]', "an exponent": b'[{"t":"ack","link":"L","s":1e2}]',
    "above 2^53": b'[{"t":"ack","link":"L","s":9007199254740992}]', "a huge number": b'[{"t":"ack","link":"L","s":' + b"9" * 4000 + b"}]",
    "text as s": b'[{"t":"ack","link":"L","s":"1"}]', "a leading zero": b'[{"t":"ack","link":"L","s":01}]',
    "commands that are an object": b'[{"t":"ack","link":"L","s":1,"commands":{}}]', "a command without c": b'[{"t":"ack","link":"L","s":1,"commands":[{}]}]',
    "a command that is text": b'[{"t":"ack","link":"L","s":1,"commands":["send"]}]', "data that is a number": b'[{"t":"ack","link":"L","s":1,"commands":[{"c":"send","data":7}]}]',
    "more binary than there is": b'[{"t":"ack","link":"L","s":1,"commands":[{"c":"send","bin":9}]}]\n12345678',
    "less binary than there is": b'[{"t":"ack","link":"L","s":1,"commands":[{"c":"send","bin":7}]}]\n12345678',
    "binary without end": b'[{"t":"ack","link":"L","s":1,"commands":[{"c":"send","bin":9007199254740991},{"c":"send","bin":9007199254740991}]}]\nx',
    "a comma too many": b'[{"t":"pong","link":"L"},]', "no end": b'[{"t":"pong","link":"L"}', "an open string": b'[{"t":"pong","link":"L',
    "rest behind the array": b'[{"t":"pong","link":"L"}]x', "a bad escape": b'[{"t":"pong","link":"L","x":"\\q"}]', "a raw line feed": b'[{"t":"pong","link":"L","x":"\n"}]',
    "too deep": b'[{"t":"pong","link":"L","x":' + b"[" * 100000 + b"]" * 100000 + b"}]", "too many": b"[" + b",".join([b'{"t":"pong","link":"L"}'] * 65537) + b"]",
    "a question without q": b'[{"t":"query","link":"L","what":"stats"}]', "a push without commands": b'[{"t":"push","link":"L"}]',
    "a push without n": b'[{"t":"push","link":"L","source":"a","commands":[]}]', "a second hello": b'[{"t":"hello","v":1}]',
    "a hello of version 2": b'[{"t":"hello","v":2}]', "no link": b'[{"t":"pong"}]', "control": b'[{"t":"control","link":"L","q":1,"do":"reload"}]',
    "NULs": bytes(1000), "both answers": b'[{"t":"ack","link":"L","s":1,"accept":{},"refuse":{}}]',
    "half of an acknowledgement": b'[{"t":"ack","link":"L","s":1,"commands":[{"c":"send","data":"never"}]},{"t":"ack","link":"L"}]',
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_batches_cut_only_their_worker(hub, what):
    """Its event goes to the other worker, whose own is left alone; one line in the log says what was wrong."""
    with hub.worker() as first:
        ws, conn = opened(hub, first)
        with hub.worker() as second:
            other, _ = opened(hub, second)
            for client, worker in ((ws, first), (other, second)):
                client.send_text("a")
            mine, its = first.expect("message"), second.expect("message")
            mark = len(hub.host.lines)
            first.send_bytes(MALFORMED[what].replace(b'"L"', json.dumps(first.link).encode()).replace(b'"s":1,', b'"s":%d,' % mine["s"]))
            first.expect_end("")
            line = hub.worker_log("a worker is cut off", mark)
            assert len(line["error"]) > 5
            second.ack(its, send("mine was left alone"))
            assert other.recv_text() == "mine was left alone"
            again = second.expect("message", conn=conn, seq=mine["seq"], attempt=2)
            second.ack(again, send("handled"))
            assert ws.recv_text() == "handled"
            assert sum("cut off" in line.get("message", "") for line in hub.host.lines[mark:]) == 1
            assert [w["state"] for w in workers(hub.control)] == ["ready"]


@pytest.mark.parametrize("head", [b"\x01" + b"\xff" * 8, b"\x01" + (1 << 30).to_bytes(8, "big"), b"\x01" + ((64 << 20) + 1).to_bytes(8, "big"), b"\x02" + bytes(8)])
def test_lies_about_length(hub, head):
    with hub.worker() as worker:
        rss = hub.host.rss
        worker.sock.sendall(head)
        worker.expect_end()
        hub.worker_log("a worker's link ended")
        assert hub.host.rss < rss + (8 << 20), "memory was set aside for a promise"


def test_a_gigabyte(hub):
    """Whoever sends more than a message may have is cut off long before."""
    with RawWorker(hub.url) as worker:
        worker.sock.sendall(b"\x01" + (1 << 30).to_bytes(8, "big"))
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(1024):
                worker.sock.sendall(bytes(1 << 20))


@pytest.mark.parametrize("greeting", [b"GET / HTTP/1.1\r\n\r\n", b"\0SP\0\0\x11\0\0", b"\0SP\1\0\x10\0\0"])
def test_peers_that_do_not_speak_pair(hub, greeting):
    with RawWorker(hub.url, handshake=False) as worker:
        worker.sock.sendall(greeting)
        assert worker._read(8) == HANDSHAKE
        worker.expect_end()
    with hub.worker() as worker:
        opened(hub, worker)


# --- hello --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hello, why", [({"mount": "/other"}, "another mount"), ({"token": "wrong"}, "token")])
def test_a_hello_that_is_refused(tmp_path, hello, why):
    (tmp_path / "token").write_text("secret\n")
    with Hub(tmp_path, "--attach-token", tmp_path / "token") as hub:
        with RawWorker(hub.url) as worker:
            worker.send({"t": "hello", "v": 1, "token": "secret", **hello})
            worker.expect_end(why)
        with hub.worker(token="secret") as worker:
            opened(hub, worker)


def test_who_says_no_hello_is_cut_off(tmp_path):
    with Hub(tmp_path, "--ready-timeout", "200ms") as hub:
        with RawWorker(hub.url) as worker:
            worker.expect_end("hello")
        with RawWorker(hub.url) as worker:
            worker.send({"t": "ack", "s": 1})
            worker.expect_end("hello")


def test_pushes_in_the_first_batch(hub):
    """One nngcat line can broadcast; one that wants no events gets none, and changes nothing for the others."""
    with hub.worker() as worker:
        ws, _ = opened(hub, worker)
        with RawWorker(hub.url) as shell:
            shell.send({"t": "hello", "v": 1, "token": "", "events": []}, {"t": "push", "commands": [{"c": "broadcast", "data": "hi"}], "ref": 1})
            shell.expect("welcome")
            shell.expect("done", ref=1)
            assert ws.recv_text() == "hi"
            ws.send_text("a")
            worker.ack(worker.expect("message"), send("b"))
            assert ws.recv_text() == "b"
            other = hub.client()
            worker.ack(worker.expect("open"), send("welcome"))
            assert other.recv_text() == "welcome"


# --- workers that go ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", [None, "tcp://127.0.0.1:0"])
@pytest.mark.parametrize("how", ["drop", "bye", "cut"])
def test_what_a_worker_leaves_goes_to_another(tmp_path, url, how):
    """Under the same name, so that a handler can tell; whatever is between, of one connection or several."""
    with Hub(tmp_path, url=url) as hub:
        with hub.worker() as first:
            clients = [opened(hub, first) for _ in range(3)]
            for ws, _ in clients:
                ws.send_text("a")
                ws.send_text("b")
            left = {e["conn"]: e for e in (first.expect("message") for _ in clients)}
            {"drop": first.drop, "bye": first.bye, "cut": lambda: first.send_bytes(b"x")}[how]()
        with hub.worker() as second:
            for _ in range(2 * len(clients)):
                event = second.expect("message")
                if event["data"] == "a":
                    assert (event["seq"], event["attempt"]) == (left[event["conn"]]["seq"], 2)
                else:
                    assert (event["seq"], event["attempt"]) == (3, 1)
                second.ack(event, send(event["data"]))
            for ws, _ in clients:
                assert [ws.recv_text(), ws.recv_text()] == ["a", "b"]
                ws.send_text("c")
                second.ack(second.expect("message", data="c"), send("c"))
                assert ws.recv_text() == "c"


@pytest.mark.parametrize("url", [None, "tcp://127.0.0.1:0"])
@pytest.mark.parametrize("how, blamed", [("drop", True), ("bye", False)])
def test_who_is_to_blame(tmp_path, url, how, blamed):
    """A process that dies is the event's fault, wherever it runs; a worker that says goodbye is not."""
    with Hub(tmp_path, "--max-attempts", "2", url=url) as hub:
        if blamed:
            hub.host.expect(lambda line: line.get("kind") == "quarantine")
        with hub.worker() as worker:
            ws, _ = opened(hub, worker)
            ws.send_text("a")
            for attempt in range(1, 3 if blamed else 4):
                worker.expect("message", attempt=attempt)
                getattr(worker, how)()
                worker = hub.worker()
            if blamed:
                worker.ack(worker.expect("error", kind="handler"), send("set aside"))
                assert ws.recv_text() == "set aside"
            else:
                worker.ack(worker.expect("message", attempt=4), send("handled"))
                assert ws.recv_text() == "handled"
            worker.drop()


def test_a_network_that_is_gone_blames_nobody(tmp_path):
    """The links of several workers end at once, and with each an event that was alone there. What was under way is tried one by one."""
    with Hub(tmp_path, "--max-attempts", "1", url="tcp://127.0.0.1:0") as hub:
        gone = [hub.worker(events=["message"]) for _ in range(3)]
        clients = [hub.client() for _ in gone]
        for ws in clients:
            ws.send_text("a")
        for worker in gone:
            worker.expect("message", attempt=1)
        time.sleep(.02)  # what is given to a worker after another has died is not lost with that
        for worker in gone:
            worker.drop()
        wait_until(lambda: workers(hub.control) == [], "the links have ended")
        with hub.worker(events=["message"]) as worker:
            for _ in clients:
                event = worker.expect("message", data="a", attempt=2)
                assert not worker.queue and workers(hub.control)[0]["under_way"] == 1
                worker.ack(event, send("handled"))
            assert [ws.recv_text() for ws in clients] == ["handled"] * len(clients) and hub.stat("quarantined") == 0


def test_two_that_kill_at_the_same_time_are_no_network_for_long(tmp_path):
    with Hub(tmp_path, "--max-attempts", "1", url="tcp://127.0.0.1:0") as hub:
        hub.host.expect(lambda line: line.get("kind") == "quarantine")
        gone = [hub.worker(events=["message"]) for _ in range(2)]
        clients = [hub.client() for _ in gone]
        for ws in clients:
            ws.send_text("poison")
        for worker in gone:
            worker.expect("message", attempt=1)
        time.sleep(.02)
        for worker in gone:
            worker.drop()
        for _ in clients:
            worker = hub.worker(events=["message"])
            worker.expect("message", data="poison", attempt=2)
            worker.drop()
        wait_until(lambda: hub.stat("quarantined") == 2, "each was blamed for the death that it caused alone")


def test_a_worker_that_dies_with_several_events_has_them_tried_one_by_one(tmp_path):
    """None is blamed for that death; each is then alone with a worker, so that the next death tells which it was."""
    with Hub(tmp_path, "--max-attempts", "1") as hub:
        hub.host.expect(lambda line: line.get("kind") == "quarantine")
        with hub.worker() as first:
            clients = [opened(hub, first)[0] for _ in range(5)]
            for i, ws in enumerate(clients):
                ws.send_text(str(i))
            for _ in clients:
                first.expect("message")
            second = hub.worker()
            first.drop()
            for _ in range(len(clients) + 1):
                event = second.receive()
                if event["t"] == "error":  # when the letter is written
                    second.ack(event, send("set aside"))
                    continue
                assert event["attempt"] == 2 and not second.queue and workers(hub.control)[0]["under_way"] == 1
                if event["data"] == "2":
                    second.drop()
                    second = hub.worker()
                else:
                    second.ack(event, send("handled"))
            assert [ws.recv_text() for ws in clients] == ["handled", "handled", "set aside", "handled", "handled"]
            second.drop()


def test_a_bad_deploy_quarantines_two_and_holds_the_rest(tmp_path):
    with Hub(tmp_path, "--max-attempts", "1", "--dead-letter", tmp_path / "dead") as hub:
        hub.host.expect(lambda line: line.get("kind") == "quarantine")
        with hub.worker(events=["message"]) as worker:
            clients = [hub.client() for _ in range(10)]
            for i, ws in enumerate(clients):
                ws.send_text(str(i))
                worker.expect("message")  # so that they are tried in this order
            worker.drop()
            for n in range(8):
                worker = hub.worker(events=["message", "error"])
                event = worker.receive()
                while event["t"] == "error":  # of one that was set aside; it dies of these, too
                    break
                worker.drop()
            hub.host.wait_log(lambda line: "whatever they are given" in line.get("message", ""), "the deploy is found to be bad")
            assert hub.stat("quarantined") == 2
            worker = hub.worker(events=["message"])
            letters = wait_until(lambda: (tmp_path / "dead").read_text().splitlines()[1:] and (tmp_path / "dead").read_text().splitlines(), "both")
            set_aside = {letter["data"] for letter in map(json.loads, letters) if letter["event"] == "message"}
            for _ in range(10 - len(set_aside)):
                event = worker.expect("message")
                assert event["data"] not in set_aside
                worker.ack(event, send("handled"))
            for i, ws in enumerate(clients):
                if str(i) not in set_aside:
                    assert ws.recv_text() == "handled"
            worker.drop()


@unhurried
def test_a_hang_is_redelivered_and_the_late_acknowledgement_is_discarded(tmp_path, ms):
    with Hub(tmp_path, "--handler-timeout", ms(300)) as hub, hub.worker(events=["message"]) as first:
        ws = hub.client()
        ws.send_text("a")
        event = first.expect("message")
        hub.worker_log("--handler-timeout")  # which the worker has not noticed yet
        second = hub.worker(events=["message"])
        again = second.expect("message", conn=event["conn"], seq=event["seq"], attempt=2)
        try:
            first.ack(event, send("too late"), {"c": "join", "room": "too late"})
        except (BrokenPipeError, ConnectionResetError):
            pass
        second.ack(again, send("in time"))
        assert ws.recv_text() == "in time"
        ws.send_text("b")
        second.ack(second.expect("message", data="b"), send("c"))
        assert ws.recv_text() == "c"
        assert second.ask("count", room="too late")["count"] == 0
        second.drop()


@unhurried
def test_the_clock_starts_again_at_each_acknowledgement(tmp_path, ms):
    """A worker that has much to do, but does it, does not hang."""
    with Hub(tmp_path, "--handler-timeout", ms(300)) as hub, hub.worker(events=["message"]) as worker:
        clients = [hub.client() for _ in range(4)]
        for ws in clients:
            ws.send_text("a")
        for event in [worker.expect("message") for _ in clients]:
            time.sleep(0.15 * ms.times)  # half of the timeout for each, twice the timeout for all
            worker.ack(event, send("b"))
        assert [ws.recv_text() for ws in clients] == ["b"] * 4
        assert [w["state"] for w in workers(hub.control)] == ["ready"]


def test_acknowledgements_of_what_is_not_under_way(hub):
    with hub.worker(events=["message"]) as worker:
        ws = hub.client()
        ws.send_text("a")
        event = worker.expect("message")
        before = hub.stat("late_acks")
        worker.ack({"s": event["s"] + 1}, send("never"))
        worker.nack({"s": 0})
        worker.ack(event, send("once"))
        worker.ack(event, send("never"))
        ws.send_text("b")
        worker.ack(worker.expect("message"), send("again"))
        assert [ws.recv_text(), ws.recv_text()] == ["once", "again"]
        assert hub.stat("late_acks") == before + 3


def test_a_batch_for_another_link_is_dropped(hub):
    """A library that reconnects by itself may send what it had queued before."""
    with hub.worker(events=["message"]) as first:
        old = first.link
        first.bye()
    with hub.worker(events=["message"]) as worker:
        ws = hub.client()
        ws.send_text("a")
        event = worker.expect("message")
        worker.send({"t": "ack", "s": event["s"], "commands": [send("of another life")]}, {"t": "push", "commands": [{"c": "broadcast", "data": "likewise"}]}, link=old)
        worker.ack(event, send("of this one"))
        assert ws.recv_text() == "of this one"
        assert hub.stat("stale_batches") == 1


# --- ends -------------------------------------------------------------------------------------------------------------------------------


def test_messages_that_came_before_a_close_are_handled_before_it(hub):
    """Also when the client is long gone and no worker was there; and what is stored with the connection goes on."""
    hub.introduce()
    ws = hub.client()
    for text in ("a", "b", "c"):
        ws.send_text(text)
    ws.roundtrip()
    ws.drop()
    wait_until(lambda: hub.stat("connections") == 0, "it has ended")
    with hub.worker() as worker:
        worker.ack(worker.expect("open", seq=1), {"c": "set", "state": "0"}, {"c": "join", "room": "a"})
        for n, text in enumerate(("a", "b", "c")):
            worker.ack(worker.expect("message", seq=n + 2, data=text, state=str(n)), {"c": "set", "state": str(n + 1)})
        worker.ack(worker.expect("close", seq=5, code=1006, rooms=[], state="3"))
        assert worker.ask("count", room="a")["count"] == 0
        assert worker.ask("connections")["count"] == 0


def test_a_close_that_has_to_wait_comes_once(hub):
    with hub.worker() as first:
        ws, conn = opened(hub, first)
        first.ack({"s": 0})
        ws.close(1000)
        event = first.expect("close", conn=conn)
        first.drop()
    with hub.worker() as second:
        again = second.expect("close", conn=conn, seq=event["seq"], attempt=2, code=1000)
        second.ack(again)
        other, _ = opened(hub, second)
        ws.expect_close(1000)


def test_the_handler_closes(hub):
    with hub.worker() as worker:
        ws, conn = opened(hub, worker)
        ws.send_text("a")
        ws.send_text("b")
        worker.ack(worker.expect("message"), send("bye"), {"c": "close", "code": 4001, "reason": "enough"}, send("never"))
        assert ws.recv_text() == "bye"
        ws.expect_closed(4001, "enough")
        events = [worker.receive()]
        if events[0]["t"] == "message":  # it was there before the close
            worker.ack(events[0], send("never"))
            events.append(worker.receive())
        assert (events[-1]["t"], events[-1]["code"], events[-1]["conn"]) == ("close", 4001, conn)
        worker.ack(events[-1])


def test_a_condemned_open_closes_with_1011(tmp_path):
    with Hub(tmp_path, "--max-attempts", "1") as hub:
        hub.host.expect(lambda line: line.get("kind") == "quarantine")
        hub.introduce()
        ws = hub.client()
        with hub.worker() as worker:
            worker.expect("open")
        ws.expect_closed(1011)
        with hub.worker() as worker:
            events = [worker.receive()]
            worker.ack(events[0])
            if events[0]["t"] == "error":
                events.append(worker.receive())
                worker.ack(events[1])
            assert events[-1]["t"] == "close" and events[-1]["code"] == 1011


# --- holding ------------------------------------------------------------------------------------------------------------------------------


def test_without_workers_events_are_held_and_reading_pauses(tmp_path):
    with Hub(tmp_path, "--hold-bytes", "64k") as hub:
        hub.introduce(events=["message"])
        ws = hub.client(receive_buffer=4096)
        ws.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        ws.sock.settimeout(0.5)
        sent = 0
        message = "x" * 2000
        with pytest.raises(socket.timeout):
            while sent < 100000:
                data = f"{sent} {message}".encode()
                ws.send_text(data)
                sent += 1
        assert 20 < sent < 50000, "the host went on reading"
        held = hub.stat("messages_in")
        wait_until(lambda: refused("127.0.0.1", hub.host.port).status == 503, "upgrades are refused")
        assert hub.stat("messages_in") == held
        with hub.worker(events=["message"]) as worker:
            # The last one was cut in the middle, at an unknown place: what counts is that all before it are there, in order.
            for n in range(sent):
                event = worker.expect("message")
                assert event["data"].split(" ")[0] == str(n)
                worker.ack(event)
            assert not hub.stat("dropped")
            other = hub.client()
            other.send_text("a")
            wait_until(lambda: hub.stat("opened") == 2, "upgrades are accepted again")


def test_a_connection_far_behind_is_not_read_from_and_others_are(hub):
    with hub.worker(events=["message"]) as worker:
        slow, other = hub.client(), hub.client()
        slow.sock.settimeout(0.5)
        sent = 0
        with pytest.raises(socket.timeout):
            while sent < 1000000:
                slow.send_text("x" * 5000)
                sent += 1
        first = worker.expect("message")
        other.send_text("a")
        worker.ack(worker.expect("message", data="a"), send("b"))
        assert other.recv_text() == "b"
        worker.ack(first)
        for _ in range(sent - 1):
            worker.ack(worker.expect("message"))
        assert not hub.stat("dropped")


# --- upgrades -----------------------------------------------------------------------------------------------------------------------------

UPGRADE = ["upgrade", "open", "message", "close", "error"]


def test_upgrades_are_asked_about(hub):
    with hub.worker(events=UPGRADE) as worker:
        got = {}
        thread = threading.Thread(target=lambda: got.update(ws=hub.client("/x", subprotocols=["a", "b"])))
        thread.start()
        event = worker.expect("upgrade", seq=0)
        assert "conn" not in event and event["request"]["subprotocols"] == ["a", "b"]
        worker.ack(event, accept={"subprotocol": "b", "headers": [["X-A", "1"]], "state": "born"})
        event = worker.expect("open", state="born")
        worker.ack(event)
        thread.join(PATIENCE)
        assert got["ws"].subprotocol == "b"


@pytest.mark.parametrize("answer, status", [
    ({"refuse": {"status": 403, "type": "text/x", "body": "no", "headers": [["X-A", "b"]]}}, 403), ({"refuse": {"status": 200}}, 500),
    ({"refuse": {"status": 403, "headers": [["Bad\n", "b"]]}}, 500), ({"accept": {"subprotocol": "not offered"}}, 500), ({"accept": {"state": "x" * 5000}}, 500),
    ({"accept": {"headers": [["Connection", "x"]]}}, 500), ({"commands": [{"c": "zzz"}]}, 500), ({"commands": [{"c": "broadcast_to", "room": "", "data": ""}]}, 500),
])
def test_answers_to_upgrades(hub, answer, status):
    with hub.worker(events=UPGRADE) as worker:
        got = {}

        def ask():
            got["answer"] = refused("127.0.0.1", hub.host.port)

        thread = threading.Thread(target=ask)
        thread.start()
        worker.ack(worker.expect("upgrade"), **answer)
        thread.join(PATIENCE)
        assert got["answer"].status == status
        if status == 403:
            assert got["answer"].body == b"no" and got["answer"].get("X-A") == "b" and got["answer"].get("Content-Type") == "text/x"


@unhurried
def test_an_upgrade_without_an_answer_is_a_503_and_a_nack_a_500(tmp_path, ms):
    with Hub(tmp_path, "--upgrade-timeout", ms(200)) as hub:
        with hub.worker(events=UPGRADE) as worker:
            assert refused("127.0.0.1", hub.host.port).status == 503
            event = worker.expect("upgrade")
            worker.ack(event)  # nobody waits for it any more
            thread_answer = {}
            thread = threading.Thread(target=lambda: thread_answer.update(a=refused("127.0.0.1", hub.host.port).status))
            thread.start()
            worker.nack(worker.expect("upgrade"))
            thread.join(PATIENCE)
            assert thread_answer["a"] == 500
            assert not hub.stat("opened")


def test_a_client_that_goes_before_the_answer(hub):
    with hub.worker(events=UPGRADE) as worker:
        ws = WebSocket("127.0.0.1", hub.host.port)
        ws.send(request_bytes("GET", "/", upgrade_headers(), "localhost", "HTTP/1.1"))
        event = worker.expect("upgrade")
        ws.drop()
        wait_until(lambda: hub.stat("sockets") == 0, "its socket is gone")
        worker.ack(event, {"c": "broadcast", "data": "x"})
        ok = {}
        thread = threading.Thread(target=lambda: ok.update(ws=hub.client()))
        thread.start()
        worker.ack(worker.expect("upgrade"))
        worker.ack(worker.expect("open"))
        thread.join(PATIENCE)
        assert hub.stat("opened") == 1


# --- pushes, queries and timers --------------------------------------------------------------------------------------------------------------


def push(worker, *commands, **members):
    worker.send({"t": "push", "commands": list(commands), **members})


def test_a_push_that_is_repeated_has_no_second_effect(hub):
    say = lambda text: {"c": "broadcast", "data": text}  # noqa: E731
    with hub.worker(events=["open"]) as worker:
        ws = hub.client()
        worker.ack(worker.expect("open"))
        push(worker, say("one"), source="a", n=1)
        assert worker.expect("done", source="a", n=1) == {"t": "done", "source": "a", "n": 1, "receivers": 1}
        push(worker, say("one"), source="a", n=1, ref=9)
        assert worker.expect("done") == {"t": "done", "source": "a", "n": 1, "ref": 9, "repeated": True, "receivers": 1}
        push(worker, say("two"), source="a", n=2)
        worker.expect("done", n=2)
        worker.drop()
    with hub.worker(events=["open"]) as worker:
        for n in (1, 2):
            push(worker, say("again"), source="a", n=n)
            done = worker.expect("done", n=n)
            assert done["repeated"] is True and done.get("receivers") == (1 if n == 2 else None)  # of the last it is known
        push(worker, say("three"), source="a", n=3)
        assert "repeated" not in worker.expect("done", n=3)
        push(worker, say("five"), source="a", n=5)
        assert "left out" in worker.expect("done", n=5)["error"]
        push(worker, say("b two"), source="b", n=2)
        unknown = worker.expect("done", source="b")
        assert "not known" in unknown["error"] and unknown["unknown"] is True
        push(worker, say("x"), source="x" * 65, n=1)
        assert "64" in worker.expect("done")["error"]
        push(worker, say("bad"), {"c": "zzz"}, source="c", n=1)
        assert worker.expect("done", source="c", n=1)["index"] == 1
        push(worker, say("bad"), {"c": "zzz"}, source="c", n=1)
        again = worker.expect("done", source="c", n=1)
        assert again["repeated"] and again["index"] == 1 and again["error"], again
        push(worker, say("good"), source="c", n=2)
        assert "error" not in worker.expect("done", source="c", n=2)
        assert [ws.recv_text() for _ in range(4)] == ["one", "two", "three", "good"]


def test_a_push_is_all_or_nothing_and_needs_no_answer(hub):
    with hub.worker() as worker:
        ws, conn = opened(hub, worker)
        push(worker, {"c": "join", "conn": conn, "room": "a"}, {"c": "broadcast", "data": "never"}, {"c": "join", "conn": conn, "room": ""})
        push(worker, {"c": "broadcast_to", "room": "a", "data": "never"}, send("no conn"), {"c": "join", "conn": conn, "room": "b"})
        push(worker, {"c": "broadcast_to", "room": "b", "data": "b"})
        assert ws.recv_text() == "b"


def test_ten_thousand_sources_are_remembered(hub):
    with hub.worker(events=[]) as worker:
        objects = [{"t": "push", "commands": [], "source": f"s{i}", "n": 1} for i in range(10001)]
        worker.send(*objects)
        for _ in objects:
            worker.expect("done")
        push(worker, source="s0", n=2)
        assert "not known" in worker.expect("done")["error"]
        push(worker, source="s2", n=2)
        assert "error" not in worker.expect("done")


def test_queries_see_what_is_committed(hub):
    with hub.worker() as worker:
        ws, conn = opened(hub, worker)
        other, other_conn = opened(hub, worker)
        assert set(worker.ask("connections")["connections"]) == {conn, other_conn}
        ws.send_text("a")
        event = worker.expect("message")
        assert worker.ask("count", room="a")["count"] == 0
        worker.ack(event, {"c": "join", "room": "a"}, {"c": "join", "room": "ä", "conn": other_conn}, {"c": "join", "room": "ä"})
        assert worker.ask("count", room="a")["count"] == 1
        assert set(worker.ask("members", room="ä")["connections"]) == {conn, other_conn}
        assert set(worker.ask("rooms", conn=conn)["rooms"]) == {"a", "ä"}
        assert worker.ask("rooms", conn="A" * 22)["count"] == 0
        assert worker.ask("members", room="none") == {"t": "reply", "q": 77, "count": 0, "connections": [], "unknown": True}
        assert worker.ask("stats")["stats"]["connections"] == 2
        assert "error" in worker.ask("zzz") and "error" in worker.ask("members")


def test_timers_outlive_the_worker_that_set_them_and_fire_once(hub):
    with hub.worker() as first:
        ws, conn = opened(hub, first)
        ws.send_text("a")
        timer = {"c": "timer", "name": "t", "id": 7, "delay": 300}
        first.ack(first.expect("message"), timer, timer, {**timer, "name": "own", "conn": conn}, {**timer, "name": "not", "conn": conn},
                  {"c": "cancel", "name": "not", "conn": conn}, send("set"))
        assert ws.recv_text() == "set"
        first.drop()
    with hub.worker() as second:
        events = {}
        for _ in range(2):
            event = second.expect("timer")
            assert event["name"] not in events
            events[event["name"]] = event
            assert (event["id"], event["delay"], event["period"]) == (7, 300, 0)
        assert "conn" not in events["t"] and events["own"]["conn"] == conn
        # It is not over before it is acknowledged: dying of it delivers it again, under the same number.
        second.ack(events["own"])
        second.drop()
    with hub.worker() as third:
        third.ack(third.expect("timer", name="t", seq=events["t"]["seq"], attempt=2), {"c": "broadcast", "data": "fired"})
        assert ws.recv_text() == "fired"
        ws.send_text("b")
        third.ack(third.expect("message"), send("no other timer"))
        assert ws.recv_text() == "no other timer"


def test_a_bye_behind_an_acknowledgement(hub):
    """The last word counts; what came in between goes to another."""
    with hub.worker(events=["message"]) as first:
        ws = hub.client()
        ws.send_text("a")
        ws.send_text("b")
        event = first.expect("message")
        second = hub.worker(events=["message"])
        first.send({"t": "ack", "s": event["s"], "commands": [send("a")]}, {"t": "bye"})
        second.ack(second.expect("message", data="b"), send("b"))
        assert [ws.recv_text(), ws.recv_text()] == ["a", "b"]
        second.drop()


def test_a_host_that_stops_does_not_wait_for_workers_that_never_come(hub):
    hub.introduce()
    ws = hub.client()
    ws.send_text("a")
    ws.roundtrip()
    hub.host.stop()
    assert any("never told" in line.get("message", "") for line in hub.host.lines)
    ws.expect_closed(1001)


def test_an_upgrade_that_kills_its_worker_is_refused(tmp_path):
    with Hub(tmp_path, "--max-attempts", "2", "--dead-letter", tmp_path / "dead") as hub:
        hub.host.expect(lambda line: line.get("kind") == "quarantine")
        hub.introduce(events=UPGRADE)
        got = {}
        thread = threading.Thread(target=lambda: got.update(answer=refused("127.0.0.1", hub.host.port, "/?deadly")))
        thread.start()
        for attempt in (1, 2):
            with hub.worker(events=UPGRADE) as worker:
                worker.expect("upgrade", attempt=attempt)
        thread.join(PATIENCE)
        assert got["answer"].status == 500
        letter, = map(json.loads, (tmp_path / "dead").read_text().splitlines())
        assert letter["event"] == "upgrade" and letter["request"]["query"] == "deadly"
        listed, = ctl_json(hub.control, "dead-letter", "list")["dead_letters"]
        assert do(hub.control, "replay", id=listed["id"])["left"] == 1


def test_a_timer_that_kills_its_worker_is_set_aside_and_the_next_one_comes(tmp_path):
    with Hub(tmp_path, "--max-attempts", "1", "--dead-letter", tmp_path / "dead") as hub:
        hub.host.expect(lambda line: line.get("kind") == "quarantine")
        with hub.worker() as worker:
            ws, conn = opened(hub, worker)
            push(worker, {"c": "timer", "name": "deadly", "id": 1, "delay": 50, "period": 50},
                 {"c": "timer", "name": "own", "id": 2, "delay": 50, "conn": conn})
            events = [worker.expect("timer"), worker.expect("timer")]
            worker.ack(next(e for e in events if e["name"] == "own"))
            deadly = next(e for e in events if e["name"] == "deadly")
            worker.ask("stats")  # the acknowledgement has been read
        worker = hub.worker()
        event = worker.expect("timer", name="deadly")
        assert event["seq"] > deadly["seq"], "it has come again"
        worker.ack(event, {"c": "cancel", "name": "deadly"}, {"c": "broadcast", "data": "over"})
        assert ws.recv_text() == "over"
        letter, = map(json.loads, (tmp_path / "dead").read_text().splitlines())
        assert (letter["event"], letter["name"], letter.get("conn")) == ("timer", "deadly", None)
        worker.drop()


def test_a_close_that_kills_its_worker_is_set_aside(tmp_path):
    with Hub(tmp_path, "--max-attempts", "1", "--dead-letter", tmp_path / "dead") as hub:
        hub.host.expect(lambda line: line.get("kind") == "quarantine")
        with hub.worker() as worker:
            ws, conn = opened(hub, worker)
            ws.drop()
            worker.expect("close", conn=conn)
        with hub.worker() as worker:
            other, _ = opened(hub, worker)
            other.send_text("a")
            worker.ack(worker.expect("message"), send("b"))
            assert other.recv_text() == "b"
            letter, = map(json.loads, wait_until(lambda: (tmp_path / "dead").read_text().splitlines(), "the letter"))
            assert (letter["event"], letter["conn"], letter["code"]) == ("close", conn, 1006)
            other.drop()


@unhurried
def test_a_worker_that_reads_nothing(tmp_path, ms):
    """Nothing is written for it beside the one message that it could read; others go on, and in time it is cut off."""
    with Hub(tmp_path, "--handler-timeout", ms(1000)) as hub:
        with hub.worker(events=["message"]) as deaf:
            clients = [hub.client() for _ in range(40)]
            for ws in clients:
                ws.send_binary(bytes(1 << 20))
            wait_until(lambda: workers(hub.control)[0]["under_way"] == 1, "it was given one")
            with hub.worker(events=["message"]) as other:
                hub.worker_log("--handler-timeout")
                for _ in clients:
                    event = other.expect("message")
                    other.ack(event, send(str(len(event["data"]))))
                assert [ws.recv_text() for ws in clients] == [str(1 << 20)] * 40
            deaf.drop()


def come_and_go(hub):
    clients = []
    with hub.worker(events=["message"]) as worker:
        clients = [hub.client() for _ in range(10)]
        worker.bye()
    turns = 60
    for turn in range(turns):
        for ws in clients:
            ws.send_text(str(turn))
        worker = hub.worker(events=["message"])
        for _ in range(turn % 7):
            event = worker.expect("message")
            worker.ack(event, send(event["data"]))
        if turn % 3 < 2:
            worker.send({"t": "bye"}) if turn % 3 else worker.send_bytes(b"?")
        worker.drop()
    last = hub.worker(events=["message"])

    def serve():
        try:
            while True:
                event = last.expect("message")
                last.ack(event, send(event["data"]))
        except (EOFError, OSError):
            pass  # the test is over

    thread = threading.Thread(target=serve)
    thread.start()
    for ws in clients:
        assert [ws.recv_text() for _ in range(turns)] == [str(turn) for turn in range(turns)]
    last.sock.shutdown(socket.SHUT_RDWR)
    thread.join(PATIENCE)


def test_many_workers_that_come_and_go_while_messages_flow(tmp_path):
    """Each handles a few and leaves in another way; of each message there is one effect."""
    # Which of them is to blame is not the question here.
    with Hub(tmp_path, "--max-attempts", "100") as hub:
        come_and_go(hub)
