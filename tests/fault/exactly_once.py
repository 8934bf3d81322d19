"""The exactly-once run: clients send numbered messages through workers that are killed all the time, and for a while there are none.

    tests/fault/exactly_once.py [--clients 60] [--kills 10] [--away 4] [--reloads 0.3] [--stops 0.5] [--seed N]

Every message has its effects exactly once and in order at every receiver: the reply, a join and a leave, a broadcast to the room it has just
joined, a broadcast to its group. All members of a group see one order. No connection closes; each that opens is closed once, also
those that come and go meanwhile. Prints kills, redeliveries, effects, losses and duplicates; ends with 1 if anything is wrong.
"""
import argparse
import asyncio
import collections
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from control import stats, workers  # noqa: E402
from crowd import Crowd  # noqa: E402
from tova_host import PATIENCE, Host  # noqa: E402

GROUP = 10  # clients that hear each other
UNDER_WAY = 4  # messages of a client that may be without a reply before it waits
LONG = max(PATIENCE, 60) * 2  # for what has piled up, and for workers that are started ever more rarely


class Speaker:
    """A client that talks, and what it has heard."""

    def __init__(self, index):
        self.who, self.group = f"c{index}", f"g{index // GROUP}"
        self.sent = 0
        self.got = collections.defaultdict(list)  # kind, or the speaker of a broadcast, to its numbers in order
        self.order = []  # of the group's broadcasts
        self.ws = None
        self.odd = []

    def heard(self, ws, text):
        kind, _, rest = text.partition(" ")
        if kind in ("own", "reply"):
            self.got[kind].append(int(rest))
        elif kind == "said":
            self.got[rest.split(" ")[0]].append(int(rest.split(" ")[1]))
            self.order.append(rest)
        elif kind == "welcome":
            self.got[kind].append(rest)
        else:
            self.odd.append(text)

    @property
    def behind(self):
        return self.sent - len(self.got["reply"])

    def speak(self, n):
        """Together, so that they may be given to a worker as a run."""
        self.ws.send(*(str(self.sent + i + 1) for i in range(n)))
        self.sent += n


class Judge:
    """Counts what came against what had to come."""

    def __init__(self):
        self.effects = self.losses = self.duplicates = self.disorder = 0
        self.wrong = []

    def numbers(self, what, got, n):
        """got has to be 1 to n."""
        self.effects += len(got)
        seen = collections.Counter(got)
        lost = [k for k in range(1, n + 1) if k not in seen]
        doubled = [k for k, times in seen.items() if times > 1 or not 1 <= k <= n]
        self.losses += len(lost)
        self.duplicates += len(doubled)
        if got != sorted(got):
            self.disorder += 1
            self.wrong.append(f"{what}: not in order")
        if lost or doubled:
            self.wrong.append(f"{what}: lost {lost[:10]}, twice {doubled[:10]}")

    def once(self, what, got):
        self.numbers(what, [1] * len(got) if len(set(got)) <= 1 else list(range(len(got))), 1)


class Run:
    def __init__(self, options):
        self.o = options
        self.random = random.Random(options.seed)
        self.speakers = [Speaker(i) for i in range(options.clients)]
        self.passers_by = 0
        self.observed = collections.Counter()
        self.observer_said = []
        self.kills = 0
        self.killing = True
        self.talking = True

    def observe(self, ws, text):
        if text.startswith("wrong"):
            self.observer_said.append(text)
        else:
            self.observed[" ".join(text.split(" ")[:2])] += 1

    async def open_speaker(self, crowd, speaker):
        speaker.ws = await crowd.connect(f"/?who={speaker.who}&group={speaker.group}", speaker.heard, LONG)

    # --- what goes on at the same time

    async def talk(self, speaker):
        while self.talking:
            n = self.random.randint(1, UNDER_WAY)
            if speaker.behind + n <= UNDER_WAY or not self.killing:
                speaker.speak(n)
            await asyncio.sleep(self.random.uniform(0, 2 / self.o.rate))

    async def pass_by(self, crowd):
        """Clients that come, say something, and go, one way or the other."""
        while self.talking:
            who = f"p{self.passers_by}"
            self.passers_by += 1
            ws = await crowd.connect(f"/?who={who}&group=passers-by", lambda *_: None, LONG)
            for n in range(self.random.randint(0, 3)):
                ws.send(str(n + 1))
            if self.random.random() < 0.5:
                ws.close()
                await ws.closed
            else:
                ws.drop()
            await asyncio.sleep(self.random.uniform(0, 0.2))

    def kill_one(self, host):
        children = host.children
        if children:
            try:
                os.kill(self.random.choice(children), signal.SIGKILL)
                self.kills += 1
            except ProcessLookupError:
                pass  # it has ended by itself just now

    async def kill(self, host):
        end = time.monotonic() + self.o.kills
        while time.monotonic() < end:
            await asyncio.sleep(self.random.uniform(0, 0.4))  # 5 a second
            self.kill_one(host)
            if self.random.random() < self.o.reloads / 5:
                host.signal(signal.SIGHUP)
            if self.random.random() < self.o.stops / 5:
                self.stop_one(host)

    def stop_one(self, host):
        """It hangs from now on, until --handler-timeout ends it or another kill does."""
        children = host.children
        if children:
            try:
                os.kill(self.random.choice(children), signal.SIGSTOP)
            except ProcessLookupError:
                pass

    async def take_away(self, host, flag, control):
        """No worker at all for a while; what is sent meanwhile has to wait."""
        flag.touch()
        deadline = time.monotonic() + LONG
        while any(w["state"] not in ("gone", "launched", "down") for w in await asyncio.to_thread(workers, control)):
            assert time.monotonic() < deadline, "workers do not go"
            for pid in host.children:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            await asyncio.sleep(0.05)
        self.killing = False
        sent = sum(s.sent for s in self.speakers)
        await asyncio.sleep(self.o.away)
        held = sum(s.sent for s in self.speakers) - sent
        flag.unlink()
        return held

    # --- all of it

    async def run(self, host, flag, control):
        async with Crowd(host) as crowd:
            await crowd.connect("/?who=observer&group=observers", self.observe, LONG)
            # The speakers of a group are there before any of them speaks, so that all have to hear the same.
            await asyncio.gather(*(self.open_speaker(crowd, s) for s in self.speakers))
            await crowd.until(lambda: all(s.got["welcome"] for s in self.speakers), "everybody was welcomed", LONG)
            tasks = [asyncio.create_task(self.talk(s)) for s in self.speakers]
            tasks.append(asyncio.create_task(self.pass_by(crowd)))
            await self.kill(host)
            held = await self.take_away(host, flag, control)
            self.talking = False
            await asyncio.gather(*tasks)
            await crowd.until(lambda: all(self.complete(s) for s in self.speakers), "every effect of every message", LONG)
            count = await asyncio.to_thread(stats, control)
            for speaker in self.speakers:
                speaker.ws.close()
            await asyncio.gather(*(s.ws.closed for s in self.speakers))
            closes = self.o.clients + self.passers_by
            await crowd.until(lambda: sum(n for k, n in self.observed.items() if k.startswith("close")) >= closes, "every close", LONG)
            await asyncio.sleep(0)  # what is there already is read; the judge looks for what came twice
            return self.judge(crowd, count, held)

    def complete(self, speaker):
        mates = [s for s in self.speakers if s.group == speaker.group]
        return (len(speaker.got["reply"]) >= speaker.sent and len(speaker.got["own"]) >= speaker.sent and
                all(len(speaker.got[m.who]) >= m.sent for m in mates))

    def judge(self, crowd, count, held):
        j = Judge()
        for s in self.speakers:
            j.numbers(f"replies to {s.who}", s.got["reply"], s.sent)
            j.numbers(f"{s.who} in its own room", s.got["own"], s.sent)
            j.once(f"welcome of {s.who}", s.got["welcome"])
            mates = [m for m in self.speakers if m.group == s.group]
            for m in mates:
                j.numbers(f"{m.who} heard by {s.who}", s.got[m.who], m.sent)
            if s.order != mates[0].order:
                j.wrong.append(f"{s.who} and {mates[0].who} saw different orders")
            j.wrong += [f"{s.who} heard {text!r}" for text in s.odd]
        everybody = [s.who for s in self.speakers] + [f"p{i}" for i in range(self.passers_by)]
        for who in everybody:
            for event in ("open", "close"):
                j.once(f"{event} of {who}", [1] * self.observed[f"{event} {who}"])
        j.wrong += self.observer_said + crowd.wrong
        if count["quarantined"]:
            j.wrong.append(f"{count['quarantined']} events were quarantined, of which none deserved it")
        print(f"kills {self.kills}, worker deaths {count['worker_deaths']}, redeliveries {count['redelivered']}, "
              f"messages {sum(s.sent for s in self.speakers)} ({held} of them while there was no worker), "
              f"effects {j.effects}, losses {j.losses}, duplicates {j.duplicates}, out of order {j.disorder}, "
              f"connections {len(everybody)}, closed unasked {len(crowd.wrong)}", flush=True)
        return j.wrong


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=60)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kills", type=float, default=10, help="seconds of kills, 5 in each")
    parser.add_argument("--away", type=float, default=4, help="seconds without any worker")
    parser.add_argument("--reloads", type=float, default=0, help="deploys in each second of kills, most of which do not come up")
    parser.add_argument("--stops", type=float, default=0, help="workers that are stopped in each second of kills")
    parser.add_argument("--rate", type=float, default=2, help="bursts of messages that a client sends in a second")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args(argv)
    print(f"exactly once: {options.clients} clients, {options.workers} workers, {options.kills:g} s of kills, {options.away:g} s "
          f"without workers, seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="tova-once-") as directory:
        flag, control = Path(directory) / "away", Path(directory) / "control"
        command = f"test ! -e {flag} && exec {sys.executable} -B {Path(__file__).parent}/workers/exactly_once.py"
        # The kills are no fault of the events that they hit: the bound is far from where chance could take one.
        host = Host("-w", command, "--workers", options.workers, "--control", control, "--max-attempts", 50, "--log-level", "notice",
                    "--idle-timeout", "0", "--handler-timeout", "1s" if options.stops else "30s")
        wrong = ["nothing was judged"]
        with host:
            try:
                wrong = asyncio.run(Run(options).run(host, flag, control))
            finally:
                if wrong:
                    print(host.log_text()[-20000:])
            host.allow(lambda line: any(t in line.get("message", "") for t in ("keeps dying", "did not come up")))
        for line in wrong[:50]:
            print("WRONG", line)
        return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
