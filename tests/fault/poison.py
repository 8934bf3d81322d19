"""One message among thousands kills its worker each time: it is set aside after as many attempts as --max-attempts says, the others are
handled in order, and once the workers are mended it can be replayed.

    tests/fault/poison.py [--messages 10000] [--attempts 3]
"""
import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from control import ctl, ctl_json, stats  # noqa: E402
from crowd import Crowd  # noqa: E402
from tova_host import PATIENCE, Host  # noqa: E402

CLIENTS = 50
UNDER_WAY = 16
TEXT = 'harmless "ä\0\x7f\n€'  # what is set aside has to come back byte for byte


class Sender:
    def __init__(self, n, poison):
        self.n, self.poison = n, poison  # the number of the poisonous message, or None
        self.sent = 0
        self.replies, self.errors = [], []
        self.ws = None

    def text(self, number):
        return f"{number} {'poison' if number == self.poison else ''}{TEXT}"

    def go_on(self):
        while self.sent < self.n and self.sent - len(self.replies) - len(self.errors) < UNDER_WAY:
            self.sent += 1
            self.ws.send(self.text(self.sent))

    def heard(self, ws, text):
        (self.errors if text.startswith("error") else self.replies).append(text)
        self.go_on()

    @property
    def settled(self):
        return len(self.replies) + len(self.errors) >= self.n

    def wanted(self):
        numbers = [n for n in range(1, self.n + 1) if n != self.poison]
        return [f"{n} {i + 1}" for i, n in enumerate(numbers)]


def check(wrong, what, got, wanted):
    if got != wanted:
        wrong.append(f"{what}: {got!r} instead of {wanted!r}"[:500])


async def run(host, directory, options):
    wrong = []
    control = directory / "control"
    per_client = options.messages // CLIENTS
    senders = [Sender(per_client, per_client // 2 if i == CLIENTS // 2 else None) for i in range(CLIENTS)]
    sick = senders[CLIENTS // 2]
    async with Crowd(host) as crowd:
        for sender in senders:
            sender.ws = await crowd.connect("/", sender.heard)
        began = time.monotonic()
        for sender in senders:
            sender.go_on()
        await crowd.until(lambda: all(s.settled for s in senders), "every message was settled", max(PATIENCE, 60) * 2)
        took = time.monotonic() - began
        for i, sender in enumerate(senders):
            check(wrong, f"replies to sender {i}", sender.replies, sender.wanted())
            check(wrong, f"errors of sender {i}", len(sender.errors), int(sender is sick))
        if not any("quarantined" in e for e in sick.errors):
            wrong.append(f"the error does not say what happened: {sick.errors}")
        count = await asyncio.to_thread(stats, control)
        check(wrong, "quarantined", count["quarantined"], 1)
        # A death with other events under way is laid to none of them, so that there may be one more.
        if count["worker_deaths"] not in (options.attempts, options.attempts + 1):
            wrong.append(f"{count['worker_deaths']} deaths before it was set aside, with --max-attempts {options.attempts}")
        letters = await dead_letters(wrong, directory, control, sick)
        if letters:
            await replay(wrong, crowd, directory, control, sick, letters[0]["id"])
        wrong += crowd.wrong
    print(f"messages {options.messages}, handled {sum(len(s.replies) for s in senders)} in order, quarantined {count['quarantined']} after "
          f"{count['worker_deaths']} deaths, redelivered {count['redelivered']} ({took:.1f} s)", flush=True)
    return wrong


async def dead_letters(wrong, directory, control, sick):
    lines = (directory / "dead").read_text().split("\n")
    check(wrong, "lines of the file", len(lines), 2)
    check(wrong, "what is behind the last line", lines[-1], "")
    letter = json.loads(lines[0])
    for key, value in (("event", "message"), ("data", sick.text(sick.poison)), ("mount", "/"), ("blame", 3)):
        check(wrong, f"the letter's {key}", letter.get(key), value)
    listed = (await asyncio.to_thread(ctl_json, control, "dead-letter", "list"))["dead_letters"]
    check(wrong, "letters listed", [(e["conn"], e["seq"], e["data"]) for e in listed], [(letter["conn"], letter["seq"], letter["data"])])
    return listed


async def replay(wrong, crowd, directory, control, sick, letter):
    (directory / "cured").touch()
    await asyncio.to_thread(ctl, control, "dead-letter", "replay", letter)
    before = len(sick.wanted())
    await crowd.until(lambda: len(sick.replies) > before, "the replayed message was handled")
    check(wrong, "the answer to the replayed message", sick.replies[-1], f"{sick.poison} {before + 1}")
    left = (await asyncio.to_thread(ctl_json, control, "dead-letter", "list"))["dead_letters"]
    check(wrong, "letters left", left, [])


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=10000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--attempts", type=int, default=3)
    options = parser.parse_args(argv)
    print(f"poison: one of {options.messages} messages", flush=True)
    with tempfile.TemporaryDirectory(prefix="tova-poison-") as text:
        directory = Path(text)
        command = f"exec {sys.executable} -B {Path(__file__).parent}/workers/poison.py"
        host = Host("-w", command, "--workers", options.workers, "--control", directory / "control", "--max-attempts", options.attempts,
                    "--dead-letter", directory / "dead", "--idle-timeout", 0, env={"CURED": str(directory / "cured")})
        host.expect(lambda line: line.get("kind") == "quarantine")
        with host:
            wrong = asyncio.run(run(host, directory, options))
            if wrong:
                print(host.log_text()[-10000:])
        for line in wrong[:50]:
            print("WRONG", line)
        return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
