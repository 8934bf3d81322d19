"""Many workers and few bad events: who pays for a poisonous event, for one that hangs, and for a worker that is slow or was started again."""
import asyncio
import collections
import contextlib
import os
import select
import socket
import subprocess
import sys
import threading
import time

import pytest

from control import workers
from crowd import Crowd
from fake_host import FakeHost
from hub import Hub, send
from patience import unhurried
from raw_worker import RawWorker
from supervised import PYTHONPATH, Supervised
from tova_host import PATIENCE, ROOT, gone, wait_until


# --- poison ---------------------------------------------------------------------------------------------------------------------------------

POISON = """
def on_message(ws, message):
    if message == "poison": os.kill(os.getpid(), signal.SIGKILL)
    ws.send(message)
def on_error(ws, error):
    ws.send("error " + str(error))
"""


class Healthy:
    """Sends the next message when the last one is answered."""

    def __init__(self):
        self.answered, self.ws = 0, None

    def heard(self, ws, text):
        assert text == str(self.answered), text
        self.answered += 1
        ws.send(str(self.answered))


class Poisoner:
    """Sends poison again and again, as soon as it hears what became of the last."""

    def __init__(self):
        self.set_aside, self.ws = 0, None

    def heard(self, ws, text):
        assert "quarantined" in text, text
        self.set_aside += 1
        ws.send("poison")


async def poisoned(s, poisoners, healthy):
    """Every healthy client goes on between each two steps of the quarantine, for as long as the others stay."""
    async with Crowd(s.host) as crowd:
        for x in (*poisoners, *healthy):
            x.ws = await crowd.connect("/", x.heard)
        for x in healthy:
            x.ws.send("0")
        await crowd.until(lambda: all(h.answered > 3 for h in healthy), "the conversation goes")
        for x in poisoners:
            x.ws.send("poison")
        for n in range(1, len(poisoners) + 1):
            seen = [h.answered for h in healthy]
            await crowd.until(lambda: sum(p.set_aside > 0 for p in poisoners) >= n, f"the poison of {n} was set aside")
            await crowd.until(lambda: all(h.answered > k for h, k in zip(healthy, seen)), f"the others went on after {n}")
        seen = [h.answered for h in healthy]
        await crowd.until(lambda: all(h.answered > k + 20 for h, k in zip(healthy, seen)), "the others go on")
        assert crowd.wrong == []
        for x in (*poisoners, *healthy):
            x.ws.drop()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_three_that_send_poison_stop_nobody_else(tmp_path, count):
    with Supervised(tmp_path, POISON, "--workers", count) as s:
        s.host.expect(lambda line: line.get("kind") == "quarantine")
        s.ready(count)
        asyncio.run(poisoned(s, [Poisoner() for _ in range(3)], [Healthy() for _ in range(6)]))
        assert not s.count("whatever they are given") and not s.count("keeps dying")


async def shared(s, poisoners, healthy):
    """Between two deaths everybody who is well goes on, however many are not, also those that wait for an answer before they say more."""
    async with Crowd(s.host) as crowd:
        for x in (*poisoners, *healthy):
            x.ws = await crowd.connect("/", x.heard)
        for x in healthy:
            x.ws.send("0")
        await crowd.until(lambda: all(h.answered > 3 for h in healthy), "the conversation goes")
        for x in poisoners:
            x.ws.send("poison")
        # The first death is everybody's: whose event was under way with it is given alone, once, behind others.
        deaths = lambda: sum("a worker died" in line.get("message", "") for line in s.host.lines)  # noqa: E731
        await crowd.until(lambda: deaths() >= 2, "two have died")
        seen = [h.answered for h in healthy]
        await crowd.until(lambda: all(h.answered > k for h, k in zip(healthy, seen)), "those who are well go on")
        began, seen = deaths(), sum(h.answered for h in healthy)
        await crowd.until(lambda: deaths() >= began + 6, "six more have died")
        answered = sum(h.answered for h in healthy) - seen
        assert crowd.wrong == []
        for x in (*poisoners, *healthy):
            x.ws.drop()
    return answered


def test_those_who_are_well_have_a_turn_not_a_message(tmp_path):
    with Supervised(tmp_path, POISON) as s:
        s.host.expect(lambda line: line.get("kind") == "quarantine")  # one is tried to its end before others are tried again
        s.ready()
        answered = asyncio.run(shared(s, [Poisoner() for _ in range(10)], [Healthy() for _ in range(4)]))
        assert answered > 6 * 4 * 3, f"{answered} answers between six deaths"


def test_poison_of_three_and_nobody_else_there_waits_and_lets_others_in(tmp_path):
    """Without a healthy event there is no telling poison from a bad deploy: the third waits. Whoever comes then is served at once, and with
    that the third is condemned."""
    body = POISON.replace("def on_error", "def unused")
    with Supervised(tmp_path, body, "--max-attempts", 1) as s:
        s.host.expect(lambda line: line.get("kind") == "quarantine")
        s.ready()
        clients = [s.client() for _ in range(3)]
        for ws in clients:
            ws.send_text("poison")
        s.said("whatever they are given")
        assert s.stat("quarantined") == 2
        other = s.client()
        for text in ("a", "b"):
            other.send_text(text)
            assert other.recv_text() == text
        wait_until(lambda: s.stat("quarantined") == 3, "the third is set aside, too")
        for ws in (*clients, other):
            ws.send_text("well")
            assert ws.recv_text() == "well"
            ws.end()


class Mortals:
    """Workers that die of poison, as processes do that somebody else starts again."""

    def __init__(self, hub, count, down=0.0):
        self.hub, self.down, self.deaths, self.stopped, self.links = hub, down, 0, threading.Event(), set()
        self.threads = [threading.Thread(target=self.live_on, daemon=True) for _ in range(count)]

    def live_on(self):
        while not self.stopped.wait(self.down):
            worker = self.hub.worker(events=["message", "close"])
            self.links.add(worker)
            try:
                while self.settle(worker, worker.receive()):
                    pass
                self.deaths += 1
            except (OSError, EOFError, ValueError, TimeoutError):
                pass  # stopped
            self.links.discard(worker)
            worker.drop()

    def settle(self, worker, event):
        """Whether it lives."""
        if event["t"] == "bye" or event.get("data") == "poison" or event.get("state") == "poison":
            return False
        if event["t"] == "message" and event["data"].startswith("state "):
            worker.ack(event, {"c": "set", "state": event["data"].partition(" ")[2]}, send("set"))
        else:
            worker.ack(event, *([send(event["data"])] if event["t"] == "message" else []))
        return True

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        wait_until(lambda: sum(w["state"] == "ready" for w in workers(self.hub.control)) == len(self.threads), "all are ready")
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for link in list(self.links):
            with contextlib.suppress(OSError):
                link.sock.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(PATIENCE)


@pytest.mark.parametrize("count", [1, 2])
def test_poison_is_set_aside_over_a_network_too(tmp_path, count):
    with Hub(tmp_path, url="tcp://127.0.0.1:0") as hub:
        hub.host.expect(lambda line: line.get("kind") == "quarantine")
        with Mortals(hub, count) as mortals:
            good, bad = hub.client(), hub.client()
            good.send_text("0")
            assert good.recv_text() == "0"
            bad.send_text("poison")
            for i in patiently():
                good.send_text(str(i))
                assert good.recv_text() == str(i)
                if hub.stat("quarantined") == 1:
                    break
            assert mortals.deaths <= 4, "the death of what was under way beside others is laid to nobody"
            bad.send_text("well")
            assert bad.recv_text() == "well"


class Comers:
    """Ever new connections that send poison, or leave it behind for their close event: always ten more than workers have died."""

    def __init__(self, hub, mortals, how):
        self.hub, self.mortals, self.how, self.sent, self.stopped = hub, mortals, how, 0, threading.Event()
        self.there = collections.deque(maxlen=10)  # the older ones are gone
        self.failed, self.thread = None, threading.Thread(target=self.come, daemon=True)

    def come(self):
        try:
            while not self.stopped.wait(0 if self.sent < self.mortals.deaths + 10 else .01):
                if self.sent < self.mortals.deaths + 10:
                    self.send_one()
        except (AssertionError, OSError) as error:
            self.failed = None if self.stopped.is_set() else error

    def send_one(self):
        ws = self.hub.client()
        if self.how == "message":
            ws.send_text("poison")
        else:
            ws.send_text("state poison")
            assert ws.recv_text() == "set"
            ws.close(1000)
        self.there.append(ws)
        self.sent += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()


@pytest.mark.parametrize("count, how, url", [(1, "message", None), (1, "close", None), (2, "message", None), (2, "close", None),
                                             (3, "message", None), (2, "message", "tcp://127.0.0.1:0")])
def test_poison_of_ever_new_connections_costs_those_who_are_known_little(tmp_path, count, how, url):
    """Faster than workers are started again. Who has settled something goes on between each few deaths; who is new has its turn."""
    with Hub(tmp_path, url=url) as hub, contextlib.ExitStack() as stack:
        hub.host.expect(lambda line: line.get("kind") == "quarantine")
        mortals = stack.enter_context(Mortals(hub, count, down=.1))
        good = hub.client()
        for i in range(5):
            good.send_text(str(i))
            assert good.recv_text() == str(i)
        comers = stack.enter_context(Comers(hub, mortals, how))
        seen, answered, newcomer = 0, 0, None
        for i in patiently():
            good.send_text(str(i))
            assert good.recv_text() == str(i)
            answered += 1
            assert mortals.deaths - seen <= 15, f"{mortals.deaths - seen} deaths between two answers"
            seen = mortals.deaths
            if newcomer is None and seen >= 5:
                newcomer = hub.client()
                newcomer.send_text("new")
            if seen >= 25 and hub.stat("quarantined") > 0:
                break
        assert answered > 3 * seen, f"{answered} answers among {seen} deaths"
        assert newcomer.recv_text() == "new" and mortals.deaths < 100
        assert comers.failed is None, comers.failed


def test_who_only_was_there_has_a_turn_while_new_poison_comes(tmp_path):
    """Also where every worker dies of what nobody suspected, before it has settled anything."""
    with Hub(tmp_path) as hub:
        hub.introduce(events=["message"])
        innocent = hub.client()
        innocent.send_text("innocent")
        fresh = []
        for deaths in range(12):
            fresh.append(hub.client())
            fresh[-1].send_text("poison")
            with hub.worker(events=["message"]) as worker:
                event = worker.receive()
                if event["data"] == "innocent" and workers(hub.control)[0]["under_way"] == 1:
                    worker.ack(event, send("handled"))
                    assert innocent.recv_text() == "handled"
                    return
        raise AssertionError(f"it has waited for {deaths} deaths")


def patiently():
    """1, 2, 3 ... for as long as a test waits."""
    deadline, i = time.monotonic() + PATIENCE, 0
    while time.monotonic() < deadline:
        i += 1
        yield i
    raise AssertionError(f"not within {PATIENCE:g} s")


# --- an event that hangs ----------------------------------------------------------------------------------------------------------------------


@unhurried
def test_a_hung_event_goes_to_another_while_its_worker_settles_others(tmp_path, ms):
    """Its clock is its own. The worker finishes what it has, and takes nothing more."""
    with Hub(tmp_path, "--handler-timeout", ms(2000)) as hub, hub.worker(events=["message"]) as first:
        hung, *quick = hub.client(), hub.client(), hub.client()
        hung.send_text("hang")
        event = first.expect("message", data="hang")
        quick[0].send_text("0")
        held = first.expect("message", data="0")  # there is always another under way
        for i in patiently():
            quick[i % 2].send_text(str(i))
            wait_until(lambda: first.queue or select.select([first.sock], [], [], 0)[0] or
                       any("settles others" in line.get("message", "") for line in hub.host.lines), "it goes on")
            if not first.queue and not select.select([first.sock], [], [], 0)[0]:
                break
            new = first.expect("message", data=str(i))
            first.ack(held, send(str(i - 1)))
            assert quick[(i - 1) % 2].recv_text() == str(i - 1)
            held = new
        with hub.worker(events=["message"]) as second:
            events = {}
            for _ in range(2):  # one after the other: what hung is given alone
                e = second.expect("message")
                events[e["data"]] = e
                second.ack(e, send("handled by the other"))
            assert (events["hang"]["attempt"], events["hang"]["conn"], events["hang"]["seq"]) == (2, event["conn"], event["seq"])
            assert events[str(i)]["attempt"] == 1
            assert hung.recv_text() == quick[i % 2].recv_text() == "handled by the other"
            first.ack(event, send("too late"))
            first.ack(held, send("finished"))
            assert quick[(i - 1) % 2].recv_text() == "finished"
            first.expect_end("--handler-timeout")
            assert hub.stat("late_acks") == 1 and hub.stat("redelivered") == 1
            assert len(workers(hub.control)) == 1


@unhurried
def test_a_hung_event_of_an_async_handler(tmp_path, ms):
    body = """
import asyncio
async def on_message(ws, message):
    if message == "hang" and current_event().attempt == 1: await asyncio.sleep(1000)
    ws.send(f"{message} {current_event().attempt}")
"""
    with Supervised(tmp_path, body, "--handler-timeout", ms(1000)) as s:
        s.ready()
        pid, = s.host.children
        hung, quick = s.client(), s.client()
        hung.send_text("hang")
        for i in patiently():
            quick.send_text(str(i))
            assert quick.recv_text().split()[0] == str(i)
            if s.count("settles others"):
                break
        assert hung.recv_text() == "hang 2"
        wait_until(lambda: gone(pid), "the worker with the hung handler is ended")
        quick.send_text("still here")
        assert quick.recv_text() == "still here 1"
        hung.end(), quick.end()


@unhurried
def test_the_clock_of_an_event_begins_when_its_worker_can_begin_it(tmp_path, ms):
    """A worker that handles one event after the other is not late with the last because it had the first."""
    with Hub(tmp_path, "--handler-timeout", ms(1000)) as hub, hub.worker(events=["message"]) as worker:
        clients = [hub.client() for _ in range(6)]
        for i, ws in enumerate(clients):
            ws.send_text(str(i))
        events = [worker.expect("message") for _ in clients]
        for event in events:
            begun = hub.stat("uptime_ms")
            wait_until(lambda: hub.stat("uptime_ms") > begun + 300 * ms.times, "a third of its time has passed")
            worker.ack(event, send("done"))
        assert [ws.recv_text() for ws in clients] == ["done"] * len(clients)
        assert hub.stat("redelivered") == 0


# --- who gets whom ----------------------------------------------------------------------------------------------------------------------------


def connections(hub):
    return sorted(w["connections"] for w in workers(hub.control) if w["state"] == "ready")


def fair(hub, n_workers, n):
    got = connections(hub)
    return len(got) == n_workers and sum(got) == n and got[0] * 2 >= got[-1] > 0


def test_a_storm_that_met_one_worker_is_dealt_again(tmp_path):
    """The first that is ready after a restart gets all; the others are dealt their share when they come, and so is one that is started again."""
    with Hub(tmp_path) as hub, hub.worker(events=["message"]) as first:
        clients = [hub.client() for _ in range(80)]
        for ws in clients:
            ws.send_text("x")
        first.settle_all(80)
        wait_until(lambda: connections(hub) == [80], "all are with the first")
        others = [hub.worker(events=["message"]) for _ in range(3)]
        wait_until(lambda: fair(hub, 4, 80), "they are dealt again")
        others[0].bye()
        with hub.worker(events=["message"]):
            for ws in clients:
                ws.send_text("y")
            # The raw workers settle nothing, so that each has what it was given.
            wait_until(lambda: sum(w["under_way"] for w in workers(hub.control)) == 80, "all have a worker")
            assert min(w["under_way"] for w in workers(hub.control)) >= 10
        for ws in clients:
            ws.drop()


def test_a_stuck_worker_gets_nobody_new(tmp_path):
    body = """
def on_message(ws, message):
    if message == "stick":
        open(sys.argv[1], "w").close()
        while not os.path.exists(sys.argv[1] + ".go"): time.sleep(0.01)
    ws.send(message)
"""
    flag = tmp_path / "stuck"
    with Supervised(tmp_path, body, "--workers", 2, command=f"exec {sys.executable} {tmp_path}/worker.py {flag}") as s:
        s.ready(2)
        stuck = s.client()
        stuck.send_text("stick")
        wait_until(flag.exists, "it is stuck")
        pid, = (w["pid"] for w in workers(s.control) if w["under_way"])
        begun = s.stat("uptime_ms")
        wait_until(lambda: s.stat("uptime_ms") > begun + 200, "it is late")
        clients = [s.client() for _ in range(20)]
        for ws in clients:
            ws.send_text("a")
        assert [ws.recv_text() for ws in clients] == ["a"] * 20
        assert [w["connections"] for w in workers(s.control) if w["pid"] == pid] == [1]
        (tmp_path / "stuck.go").touch()
        assert stuck.recv_text() == "stick"
        for ws in (stuck, *clients):
            ws.end()


# --- ready, and alive -------------------------------------------------------------------------------------------------------------------------


def test_a_worker_that_starts_takes_no_events_until_it_is_ready(hub):
    """What it pushes and asks meanwhile is done; one that does not say `starting` is ready with its hello."""
    hub.introduce(events=["message"])
    ws = hub.client()
    with RawWorker(hub.url) as slow:
        slow.send({"t": "hello", "v": 1, "events": ["message"], "starting": True})
        slow.link = slow.expect("welcome", starting=True)["link"]
        assert slow.ask("count", room="a")["count"] == 0
        assert [w["state"] for w in workers(hub.control)] == ["starting"]
        ws.send_text("a")
        with hub.worker(events=["message"]) as old:
            old.ack(old.expect("message", data="a"), send("by the old one"))
            assert ws.recv_text() == "by the old one"
            old.bye()
        ws.send_text("b")
        assert slow.ask("count", room="a")["count"] == 0, "the event came before the worker was ready"
        slow.send({"t": "ready"}, {"t": "ready"})
        slow.ack(slow.expect("message", data="b"), send("by the new one"))
        assert ws.recv_text() == "by the new one"


def test_a_start_that_does_not_end_is_ended(tmp_path):
    with Hub(tmp_path, "--ready-timeout", "300ms") as hub, RawWorker(hub.url) as worker:
        worker.send({"t": "hello", "v": 1, "starting": True})
        worker.link = worker.expect("welcome")["link"]
        worker.expect_end("--ready-timeout")


WARM_UP = """
import asyncio
%sdef on_start():
    while not os.path.exists(sys.argv[1]): %s(0.01)
def on_message(ws, message):
    ws.send("%s")
"""


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_nobody_waits_for_the_warm_up_of_a_new_generation(tmp_path, kind):
    def body(version):
        return WARM_UP % (*(("", "time.sleep") if kind == "plain" else ("async ", "await asyncio.sleep")), version)

    warm = tmp_path / "warm"
    warm.touch()
    with Supervised(tmp_path, body("old"), "--workers", 2, command=f"exec {sys.executable} {tmp_path}/worker.py {warm}") as s:
        s.ready(2)
        ws = s.client()
        warm.unlink()
        s.write(body("new"))
        mark = s.host.reload()
        wait_until(lambda: [w["state"] for w in workers(s.control)].count("starting") == 2, "the new ones are at their warm-up")
        for _ in range(10):
            ws.send_text("a")
            assert ws.recv_text() == "old"
        warm.touch()
        s.said("new workers serve", mark)
        ws.send_text("b")
        assert ws.recv_text() == "new"
        ws.end()


FAILS = {
    "python": (sys.executable, "from tova import serve\n%sdef on_message(ws, message): ws.send('%s')\nserve(globals())\n",
               "def on_start(): raise ValueError('no database')\n", "async def on_start(): raise ValueError('no database')\n"),
    "node": ("node", f'import {{ serve }} from "{ROOT}/sdk/node/index.mjs";\n'
                     "serve({ %son_message(ws) { ws.send('%s'); } });\n",
             "on_start() { throw new Error('no database'); }, ", "async on_start() { throw new Error('no database'); }, "),
}


@pytest.mark.parametrize("language", FAILS)
@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_generation_whose_start_fails_replaces_none(tmp_path, language, kind):
    interpreter, body, plain, later = FAILS[language]
    start = plain if kind == "plain" else later
    file = tmp_path / "worker.mjs"
    file.write_text(body % ("", "old"))
    with Supervised(tmp_path, None, command=f"exec {interpreter} {file}") as s:
        s.host.expect(lambda line: "did not come up" in line.get("message", ""))
        s.ready()
        ws = s.client()
        file.write_text(body % (start, "broken"))
        mark = s.host.reload()
        s.said("the new workers did not come up", mark)
        s.said("Error: no database", mark)
        ws.send_text("a")
        assert ws.recv_text() == "old"
        file.write_text(body % ("", "new"))
        mark = s.host.reload()
        s.said("new workers serve", mark)
        ws.send_text("a")
        assert ws.recv_text() == "new"
        ws.end()


@pytest.mark.parametrize("language", FAILS)
def test_a_first_start_that_fails_is_tried_again(tmp_path, language):
    interpreter, body, plain, _ = FAILS[language]
    file = tmp_path / "worker.mjs"
    file.write_text(body % (plain, "broken"))
    with Supervised(tmp_path, None, command=f"exec {interpreter} {file}") as s:
        s.died("exited with status 1")
        file.write_text(body % ("", "good"))
        s.ready()
        ws = s.client()
        ws.send_text("a")
        assert ws.recv_text() == "good"
        ws.end()


BUSY = {
    "python": ("py", "import os, sys, time\nfrom tova import serve\ndef on_message(ws, message):\n"
                     "    while not os.path.exists(message): time.sleep(0.01)\nserve(globals())\n", [sys.executable]),
    "node": ("mjs", f'import {{ existsSync }} from "node:fs";\nimport {{ serve }} from "{ROOT}/sdk/node/index.mjs";\n'
                    "serve({ on_message(ws, message) { while (!existsSync(message)); } });\n", ["node"]),
}


@pytest.mark.parametrize("kind", BUSY)
@pytest.mark.parametrize("door", ["ipc", "tcp"])
def test_a_busy_process_shows_that_it_lives(tmp_path, kind, door):
    """From a thread of its own, whatever its event loop does."""
    suffix, body, command = BUSY[kind]
    (tmp_path / f"busy.{suffix}").write_text(body)
    with FakeHost(tmp_path) if door == "ipc" else FakeHost(port=0) as host:
        env = {**os.environ, **PYTHONPATH, "TOVA_URL": host.url, "TOVA_TOKEN": ""}
        worker = subprocess.Popen([*command, str(tmp_path / f"busy.{suffix}")], env=env)
        try:
            link = host.accept()
            link.welcome()
            link.send({"t": "message", "s": 1, "seq": 1, "attempt": 1, "conn": "A" * 21 + "Q", "data": str(tmp_path / "go")})
            link.expect("pong")
            link.expect("pong")
            (tmp_path / "go").touch()
            while (got := link.receive())["t"] == "pong":
                pass
            assert got == {"t": "ack", "s": 1}
            link.send({"t": "ping"})
            link.expect("pong")
        finally:
            worker.kill()
            worker.wait()
