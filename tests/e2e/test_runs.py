"""Runs: messages of one connection that a worker is given together, seen from both sides (sdk/PROTOCOL.md 4)."""
import asyncio
import sys
import time

import pytest

from control import workers
from crowd import Crowd
from hub import Hub, opened, send
from patience import unhurried
from raw_worker import RawWorker
from tova_host import IMPATIENT, ROOT, Host, wait_until
from wsclient import BINARY, TEXT, frame


def speak(ws, *texts):
    """All in one piece, so that the host reads them at once."""
    ws.sock.sendall(b"".join(frame(BINARY if isinstance(text, bytes) else TEXT, text if isinstance(text, bytes) else text.encode())
                             for text in texts))


def runner(hub, runs=8, **hello):
    return hub.worker(runs=runs, **hello)


def receive_run(worker, ws, *texts, **members):
    """The messages, given as one run."""
    speak(ws, *texts)
    first = worker.expect("message", data=texts[0], **members)
    assert "run" not in first
    run = [first] + [worker.expect("message", data=text, s=first["s"] + i, run=i + 1) for i, text in enumerate(texts) if i > 0]
    assert all("conn" not in event and "seq" not in event and "attempt" not in event and "state" not in event for event in run[1:])
    assert not worker.queue
    return run


def expect_alone(worker, **members):
    event = worker.expect("message", **members)
    assert "run" not in event and not worker.queue
    return event


# --- what a run is ------------------------------------------------------------------------------------------------------------------------


def test_a_run_is_settled_in_its_order_and_the_next_comes_after_it(hub):
    with runner(hub) as worker:
        ws, conn = opened(hub, worker)
        run = receive_run(worker, ws, "a", "b", "c", conn=conn, seq=2, attempt=1)
        speak(ws, "d", b"\x00\xffe")
        for event in run:
            assert not worker.queue, "more came before the run was settled"
            worker.ack(event, send("got " + event["data"]), {"c": "set", "state": event["data"]})
            assert ws.recv_text() == "got " + event["data"]
        first = worker.expect("message", data="d", seq=5, state="c", conn=conn)
        second = worker.expect("message", data=b"\x00\xffe", run=2)
        worker.send({"t": "ack", "s": first["s"], "commands": [send("1")]}, {"t": "ack", "s": second["s"], "commands": [send("2")]})
        assert [ws.recv_text(), ws.recv_text()] == ["1", "2"]
        ws.close(4000)
        worker.ack(worker.expect("close", seq=7))
        ws.expect_close(4000)


def test_only_who_asks_for_runs_gets_them(hub):
    for hello in ({}, {"runs": 0}, {"runs": 1}):
        with hub.worker(**hello) as worker:
            ws, _ = opened(hub, worker)
            speak(ws, "a", "b")
            worker.ack(expect_alone(worker, data="a"))
            worker.ack(expect_alone(worker, data="b", seq=3))
            ws.drop()
            worker.ack(worker.expect("close"))
            worker.bye()


@pytest.mark.parametrize("asked, most", [(2, 2), (3, 3), (1000, 64)])
def test_how_long_a_run_is(hub, asked, most):
    worker = RawWorker(hub.url)
    worker.send({"t": "hello", "v": 1, "runs": asked})
    welcome = worker.expect("welcome")
    worker.link = welcome["link"]
    assert welcome["runs"] == most
    with worker:
        ws, _ = opened(hub, worker)
        texts = [str(i) for i in range(2 * most + 1)]
        speak(ws, *texts)
        lengths = []
        while sum(lengths) < len(texts):
            run = [worker.expect("message")]
            run += [worker.queue.pop(0) for _ in range(len(worker.queue))]
            assert [event["data"] for event in run] == texts[sum(lengths):sum(lengths) + len(run)]
            lengths.append(len(run))
            for event in run:
                worker.ack(event)
        assert max(lengths) == most and lengths[0] == most


def test_what_is_large_follows_nothing(hub):
    with runner(hub) as worker:
        ws, _ = opened(hub, worker)
        speak(ws, "a", "b" * 20000, "c")
        worker.ack(expect_alone(worker, data="a"))
        event = worker.expect("message", data="b" * 20000)
        if worker.queue:
            worker.expect("message", data="c", run=2)
        worker.ack(event)


def test_only_messages_follow(hub):
    with runner(hub) as worker:
        ws = hub.client()
        opening = worker.expect("open")
        speak(ws, "a", "b")
        ws.close(4000)
        worker.ack(opening, {"c": "timer", "name": "t", "delay": 1, "conn": opening["conn"]})
        run = [worker.expect("message", data="a"), worker.expect("message", data="b", run=2)]
        for event in run:
            assert not worker.queue
            worker.ack(event)
        event = worker.expect("close", code=4000, seq=4)
        assert "run" not in event
        worker.ack(event)
        ws.expect_close(4000)


def test_runs_of_several_connections_are_under_way_together(hub):
    with runner(hub, events=["message"]) as worker:
        clients = [hub.client() for _ in range(10)]
        for i, ws in enumerate(clients):
            speak(ws, *(f"{i} {n}" for n in range(5)))
        events = [worker.expect("message") for _ in range(50)]
        acks = {}
        for event in events:
            acks.setdefault(event["data"].split()[0], []).append(event)
        for who in reversed(sorted(acks)):
            for event in acks[who]:
                worker.ack(event, send(event["data"]))
        for i, ws in enumerate(clients):
            assert [ws.recv_text() for _ in range(5)] == [f"{i} {n}" for n in range(5)]


# --- failing ------------------------------------------------------------------------------------------------------------------------------


def test_what_follows_a_nack_comes_again_as_if_it_had_never_been_given(hub):
    with runner(hub) as worker:
        ws, conn = opened(hub, worker)
        a, b, c, d = receive_run(worker, ws, "a", "b", "c", "d")
        late = hub.stat("late_acks")
        worker.ack(a, {"c": "set", "state": "A"}, send("a"))
        worker.nack(b, "no")
        # A worker that goes on all the same.
        worker.ack(c, send("never"), {"c": "set", "state": "never"})
        worker.ack(d, send("never"))
        worker.ack(worker.expect("error", error="no", conn=conn, seq=4, state="A"), send("sorry"))
        worker.ack(expect_alone(worker, data="c", seq=5, attempt=1, state="A"), send("c"))
        worker.ack(expect_alone(worker, data="d", seq=6, attempt=1, state="A"), send("d"))
        assert [ws.recv_text() for _ in range(4)] == ["a", "sorry", "c", "d"]
        assert hub.stat("late_acks") == late + 2
        # Such a connection has runs again.
        for event in receive_run(worker, ws, "e", "f", seq=7):
            worker.ack(event)


def test_what_follows_a_retry_waits_for_it(hub):
    with runner(hub) as worker:
        ws, _ = opened(hub, worker)
        a, b, c = receive_run(worker, ws, "a", "b", "c")
        worker.nack(a, "later", retry_ms=50)
        worker.ack(expect_alone(worker, data="a", seq=2, attempt=2), send("a"))
        worker.ack(expect_alone(worker, data="b", seq=3, attempt=1), send("b"))
        worker.ack(expect_alone(worker, data="c", seq=4, attempt=1), send("c"))
        assert [ws.recv_text() for _ in range(3)] == ["a", "b", "c"]


def test_what_follows_a_refused_acknowledgement_comes_again_under_its_name(hub):
    """It may have been handled, with a state that was never stored. `error` comes behind it, so that numbers only rise."""
    with runner(hub) as worker:
        ws, _ = opened(hub, worker)
        a, b, c = receive_run(worker, ws, "a", "b", "c")
        worker.send({"t": "ack", "s": a["s"], "commands": [{"c": "set", "state": "never"}, {"c": "join", "room": ""}, send("never")]},
                    {"t": "ack", "s": b["s"], "commands": [send("never")]}, {"t": "ack", "s": c["s"]})
        for name, seq in (("b", 3), ("c", 4)):
            event = expect_alone(worker, data=name, seq=seq, attempt=2)
            assert "state" not in event
            worker.ack(event, send(name))
        worker.ack(worker.expect("error", kind="handler", seq=5), send("sorry"))
        assert [ws.recv_text() for _ in range(3)] == ["b", "c", "sorry"]


def test_an_event_that_is_settled_before_the_one_it_follows_cuts_the_link(hub):
    with runner(hub) as worker:
        ws, conn = opened(hub, worker)
        a, b = receive_run(worker, ws, "a", "b")
        worker.ack(b, send("never"))
        worker.expect_end("follows")
    with runner(hub) as worker:
        worker.ack(expect_alone(worker, data="a", conn=conn, seq=2, attempt=2), send("a"))
        worker.ack(expect_alone(worker, data="b", conn=conn, seq=3, attempt=2), send("b"))
        assert [ws.recv_text(), ws.recv_text()] == ["a", "b"]


# --- state ----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["event", "push"])
def test_a_state_that_others_set_ends_the_run(hub, how):
    """What follows was given without it, and comes again with it."""
    with runner(hub) as worker:
        ws, conn = opened(hub, worker)
        other, _ = opened(hub, worker)
        a, b, c = receive_run(worker, ws, "a", "b", "c")
        worker.ack(a, send("a"), {"c": "set", "state": "mine"})
        change = {"c": "set", "conn": conn, "state": "theirs"}
        if how == "event":
            other.send_text("x")
            worker.ack(worker.expect("message", data="x"), change)
        else:
            worker.send({"t": "push", "ref": 1, "commands": [change]})
            worker.expect("done", ref=1)
        worker.ack(b, send("b"))  # it was under way: what it sets is the newest
        worker.ack(c, send("never"), {"c": "set", "state": "never"})
        worker.ack(expect_alone(worker, data="c", seq=4, attempt=2, state="theirs"), send("c"))
        assert [ws.recv_text() for _ in range(3)] == ["a", "b", "c"]


# --- the end of a connection ------------------------------------------------------------------------------------------------------------------


def test_close_within_a_run(hub):
    """The messages that had been received are handled, and answered before the close frame; what else they command for it is counted
    and not done."""
    with runner(hub) as worker:
        ws, conn = opened(hub, worker)
        gone = hub.stat("gone")
        a, b, c = receive_run(worker, ws, "a", "b", "c")
        worker.ack(a, send("a"), {"c": "join", "room": "r"}, {"c": "close", "code": 4001, "reason": "enough"})
        worker.ack(b, send("b"), {"c": "join", "room": "r"})
        worker.ack(c, {"c": "join", "room": "r"}, {"c": "set", "state": "last"})
        event = worker.expect("close", conn=conn, seq=5, code=4001, rooms=["r"], state="last")
        worker.ack(event)
        assert [ws.recv_text(), ws.recv_text()] == ["a", "b"]
        ws.expect_close(4001, "enough")
        assert hub.stat("gone") == gone + 2 and worker.ask("count", room="r")["count"] == 0


def test_a_client_that_goes_within_a_run(hub):
    with runner(hub) as worker:
        ws, conn = opened(hub, worker)
        run = receive_run(worker, ws, "a", "b", "c")
        ws.drop()
        wait_until(lambda: hub.stat("connections") == 0, "it has ended")
        for event in run:
            assert not worker.queue
            worker.ack(event, send("x"))
        worker.ack(worker.expect("close", conn=conn, seq=5))


# --- workers that go ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url, how, alone", [(None, "drop", True), ("tcp://127.0.0.1:0", "drop", True), (None, "bye", False)])
def test_the_rest_of_a_run_goes_to_another_worker(tmp_path, url, how, alone):
    """In its order, under its names; one by one; after a death nothing else is under way with it."""
    with Hub(tmp_path, url=url) as hub:
        with runner(hub) as first:
            ws, conn = opened(hub, first)
            other, _ = opened(hub, first)
            a, *_ = receive_run(first, ws, "a", "b", "c", "d")
            first.ack(a, send("a"), {"c": "set", "state": "A"})
            assert ws.recv_text() == "a"
            other.send_text("x")
            first.expect("message", data="x")
            getattr(first, how)()
        with runner(hub) as second:
            seen = []
            while len(seen) < 4:
                event = second.receive()
                assert "run" not in event and event["attempt"] == 2
                assert not alone or workers(hub.control)[0]["under_way"] == 1
                if event["conn"] == conn:
                    assert event["state"] == "A"
                seen.append(event)
                second.ack(event, send(event["data"]))
            assert [(e["data"], e["seq"]) for e in seen if e["conn"] == conn] == [("b", 3), ("c", 4), ("d", 5)]
            assert [ws.recv_text() for _ in range(3)] == ["b", "c", "d"] and other.recv_text() == "x"


def test_who_of_a_run_is_to_blame(tmp_path):
    with Hub(tmp_path, "--max-attempts", "1") as hub:
        hub.host.expect(lambda line: line.get("kind") == "quarantine")
        with runner(hub) as worker:
            ws, _ = opened(hub, worker)
            receive_run(worker, ws, "a", "deadly", "c")
            worker.drop()
        with runner(hub) as worker:
            worker.ack(expect_alone(worker, data="a", attempt=2), send("a"))
            expect_alone(worker, data="deadly", attempt=2)
            worker.drop()
        with runner(hub) as worker:
            worker.ack(expect_alone(worker, data="c", seq=4, attempt=2), send("c"))
            worker.ack(worker.expect("error", seq=5), send("set aside"))
            assert [ws.recv_text() for _ in range(3)] == ["a", "c", "set aside"]


@unhurried
def test_the_clock_of_a_run_starts_anew_with_each_of_its_events(tmp_path, ms):
    with Hub(tmp_path, "--handler-timeout", ms(300)) as hub:
        with runner(hub) as worker:
            ws, conn = opened(hub, worker)
            run = receive_run(worker, ws, "a", "b", "c", "d")
            for event in run[:3]:
                time.sleep(0.2 * ms.times)
                worker.ack(event, send(event["data"]))
                assert ws.recv_text() == event["data"]
            hub.worker_log("--handler-timeout")
        with runner(hub) as worker:
            worker.ack(expect_alone(worker, data="d", seq=5, attempt=2), send("d"))
            assert ws.recv_text() == "d"


def test_whoever_leaves_takes_no_more(hub):
    with runner(hub) as first:
        ws, conn = opened(hub, first)
        run = receive_run(first, ws, "a", "b", "c")
        with runner(hub) as second:
            speak(ws, "d", "e")
            first.ack(run[0], send("a"))
            first.bye()
            for name, seq in (("b", 3), ("c", 4)):
                second.ack(expect_alone(second, data=name, seq=seq, conn=conn, attempt=2), send(name))
            for event in (second.expect("message", data="d", seq=5), second.expect("message", data="e", run=2)):
                second.ack(event, send(event["data"]))
            assert [ws.recv_text() for _ in range(5)] == ["a", "b", "c", "d", "e"]


# --- with a library ------------------------------------------------------------------------------------------------------------------------

POKED = """
import random, sys, time
sys.path.insert(0, {sdk!r})
from tova import broadcast_to, current_event, join, serve, set_state

def on_open(ws):
    join(ws, "all")
    ws.state = 0
    ws.send(ws.id)

def on_message(ws, message):
    what, who, n = message.split(" ")
    if what == "poke":
        set_state(who, int(n))
        broadcast_to("all", f"poked {{n}}")
    else:
        time.sleep(random.uniform(0, 0.002))
        broadcast_to("all", f"saw {{n}} {{ws.state}} {{current_event().attempt}}")

serve(globals())
"""


async def poke(host):
    """What the room heard, in the order of the commits."""
    heard, ids = [], {}
    async with Crowd(host) as crowd:
        def hear(ws, text):
            if " " not in text:
                ids[ws] = text
            elif ws is one:
                heard.append(text)

        one = two = None
        one = await crowd.connect("/", hear)
        two = await crowd.connect("/", hear)
        await crowd.until(lambda: len(ids) == 2, "both are there")
        pokes = sent = 0
        while sent < 1600:
            one.send(*(f"look - {sent + i}" for i in range(16)))
            sent += 16
            if sent % 3 == 0 or sent > 800:  # the host has no runs for a while where states are set
                pokes += 1
                two.send(f"poke {ids[one]} {pokes}")
            await crowd.until(lambda: len(heard) >= sent + pokes - 24, "it keeps up")
            if sent == 800:
                await asyncio.sleep(1.1)
        await crowd.until(lambda: len(heard) >= sent + pokes, "all of it")
        assert crowd.wrong == []
        await crowd.close_all()
    return heard


def test_no_event_of_a_run_is_committed_with_a_state_that_has_been_replaced(tmp_path):
    """But the one that was under way when somebody else set it: that has always been so."""
    script = tmp_path / "poked.py"
    script.write_text(POKED.format(sdk=str(ROOT / "sdk/python")))
    with Host("-w", f"exec {sys.executable} -B {script}", *IMPATIENT) as host:
        heard = asyncio.run(poke(host))
    looks = [text.split(" ") for text in heard if text.startswith("saw")]
    assert [int(n) for _, n, _, _ in looks] == list(range(1600)), "a message was lost, doubled or overtaken"
    poked, stale = 0, 0
    for text in heard:
        what, *words = text.split(" ")
        if what == "poked":
            poked, stale = int(words[0]), 0
        else:
            stale += int(words[1]) < poked
            assert int(words[1]) <= poked and stale <= 1, (poked, text)
    assert any(attempt == "2" for _, _, _, attempt in looks), "no run was ended: nothing was tried"
