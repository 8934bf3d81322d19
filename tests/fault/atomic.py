"""Atomicity: workers that die between building a command and acknowledging leave none of their five commands visible.

    tests/fault/atomic.py --kind c|python|node [--deaths 50]

Each execution of the handler has a name of its own, which all of its commands carry: a join, a message to the sender, a broadcast to the room
just joined, the connection's state, a broadcast to all. A third of the executions die at a random point. For each message the five effects of
one execution have to be there, once, and nothing of any other.
"""
import argparse
import asyncio
import collections
import random
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from control import ask, stats  # noqa: E402
from crowd import Crowd  # noqa: E402
from tova_host import BUILD, PATIENCE, Host  # noqa: E402

CLIENTS = 8
WORKERS = 4
BURST = 4


def arguments(kind):
    here = Path(__file__).parent
    if kind == "c":
        return ["--plugin", BUILD / "tests/fault/atomic.so", "--isolate"]
    if kind == "python":
        return ["-w", f"exec {sys.executable} -B {here}/workers/atomic.py"]
    return ["-w", f"exec {shutil.which('node') or shutil.which('nodejs')} {here}/workers/atomic.mjs"]


class Sender:
    """Sends some messages at a time, which may be given to a worker as a run, when all effects of the last ones have come."""

    def __init__(self, ring, index):
        self.ring, self.index = ring, index
        self.n = self.done = 0  # messages that were sent, and whose effects have come
        self.runs = []  # that were committed, in order
        self.effects = collections.Counter()
        self.ws = None
        self.idle = asyncio.Event()

    def heard(self, ws, text):
        kind, *words = text.split(" ")
        if kind == "welcome":
            self.idle.set()
            return
        if kind == "all":
            n, run = words
            self.ring.everybody[run] += 1
            if not n.startswith(f"{self.index}:"):
                return  # another's: each has to come once to each
        self.effects[kind] += 1
        if kind == "sent":
            n, run, was = words
            if was != (self.runs[-1] if self.runs else "-"):
                self.ring.wrong.append(f"message {n}: the state was {was}, last committed was {self.runs[-1:]}")
            self.runs.append(run)
        if kind in ("room", "all") and (not self.runs or words[1] != self.runs[-1]):
            self.ring.wrong.append(f"{text}: of another execution than {self.runs[-1:]}")
        if words[0] != f"{self.index}:{self.done + 1}":
            self.ring.wrong.append(f"{text}: while message {self.done + 1} was under way")
        if kind == "all":  # the last of the five
            self.done += 1
            if self.done == self.n:
                self.idle.set()

    async def go_on(self):
        while not self.ring.enough:
            first, self.n = self.n + 1, self.n + random.randint(1, BURST)
            self.idle.clear()
            self.ws.send(*(f"{self.index}:{n}" for n in range(first, self.n + 1)))
            await asyncio.wait_for(self.idle.wait(), max(PATIENCE, 60))


class Ring:
    def __init__(self, deaths):
        self.deaths = deaths
        self.enough = False
        self.wrong = []
        self.everybody = collections.Counter()

    async def watch(self, control):
        while not self.enough:
            await asyncio.sleep(0.2)
            self.enough = (await asyncio.to_thread(stats, control))["worker_deaths"] >= self.deaths

    async def run(self, host, control):
        async with Crowd(host) as crowd:
            senders = [Sender(self, i) for i in range(CLIENTS)]
            for sender in senders:
                sender.ws = await crowd.connect("/", sender.heard)
            await crowd.until(lambda: all(s.idle.is_set() for s in senders), "everybody was welcomed", max(PATIENCE, 60))
            await asyncio.gather(self.watch(control), *(s.go_on() for s in senders))
            await crowd.until(lambda: sum(self.everybody.values()) >= CLIENTS * sum(s.n for s in senders), "the last broadcasts")
            rooms = await asyncio.to_thread(ask, control, "all_rooms")
            count = await asyncio.to_thread(stats, control)
            self.judge(senders, rooms["rooms"], count, crowd)

    def judge(self, senders, rooms, count, crowd):
        committed = [run for s in senders for run in s.runs]
        messages = sum(s.n for s in senders)
        for s in senders:
            for kind in ("sent", "room", "all"):
                if s.effects[kind] != s.n:
                    self.wrong.append(f"sender {s.index}: {s.effects[kind]} times {kind} for {s.n} messages")
        if sorted(self.everybody.items()) != sorted((run, CLIENTS) for run in committed):
            self.wrong.append("broadcasts of executions that were not committed, or not to everybody, or twice")
        joined = sorted(r["room"] for r in rooms if r["room"] != "all")
        if joined != sorted(f"run {run}" for run in committed) or any(r["members"] != 1 for r in rooms if r["room"] != "all"):
            self.wrong.append(f"{len(joined)} rooms were joined for {len(committed)} committed executions")
        if count["quarantined"] or count["commands"] != 5 * messages + 2 * CLIENTS:
            self.wrong.append(f"{count['commands']} commands for {messages} messages, {count['quarantined']} quarantined")
        self.wrong += crowd.wrong
        print(f"deaths {count['worker_deaths']}, redeliveries {count['redelivered']}, messages {messages}, each with its five effects, "
              f"partly visible {len(self.wrong)}", flush=True)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=("c", "python", "node"), default="c")
    parser.add_argument("--deaths", type=int, default=50)
    options = parser.parse_args(argv)
    print(f"atomicity: {options.deaths} deaths in {options.kind}", flush=True)
    with tempfile.TemporaryDirectory(prefix="tova-atomic-") as directory:
        control = Path(directory) / "control"
        host = Host(*arguments(options.kind), "--workers", WORKERS, "--control", control, "--max-attempts", 100, "--idle-timeout", 0,
                    "--log-level", "notice")
        ring = Ring(options.deaths)
        with host:
            asyncio.run(ring.run(host, control))
            host.allow(lambda line: "keeps dying" in line.get("message", ""))
        for line in ring.wrong[:50]:
            print("WRONG", line)
        return 1 if ring.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
