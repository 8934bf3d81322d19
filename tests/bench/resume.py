"""What --resume and tova.v1 cost: processor time of a message and of a delivery, memory of a connection that idles and of one that is away.

    make bench-resume       # about a minute; BENCH="--rounds 5 --connections 10000"

Processor time is the host's own, as in the other tables, so the generator may be as slow as it is: it is this program.
"""
import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib"), str(Path(__file__).resolve().parent)]
os.environ.setdefault("TOVA_BUILD", str(ROOT / "build"))

from control import stats_of  # noqa: E402
from figures import cell, table  # noqa: E402
from tova_host import BUILD, Host, wait_until  # noqa: E402
from wsclient import connect, frame  # noqa: E402

SIZE = 64
ECHO = ("--plugin", "echo")
PROBE = ("--plugin", str(BUILD / "tests/plugins/probe.so"))
RESUME = ("--resume", "10m")


def run_ns(host):
    return int(Path(f"/proc/{host.pid}/schedstat").read_text().split()[0])


def memory(host):
    text = Path(f"/proc/{host.pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("Pss:"))


class Client:
    def __init__(self, host, v1, path="/"):
        self.ws = connect("127.0.0.1", host.port, path, subprotocols=("tova.v1",) if v1 else ())
        self.v1, self.got, self.behind = v1, 0, b""
        if v1:
            self.token = json.loads(self.ws.recv_text()[1:])["session"]
        self.sock = self.ws.sock

    def confirm(self):
        if self.v1:
            self.sock.sendall(frame(1, b'\1{"got":%d}' % self.got))

    def take(self, n):
        """Reads n data messages; what else comes between them is passed over."""
        data, at = self.behind, 0
        while n > 0:
            if len(data) - at < 4 or len(data) - at < self.length(data, at):
                data, at = data[at:] + self.sock.recv(1 << 18), 0
                continue
            head = 4 if data[at + 1] == 126 else 2
            mine = data[at + head] != 1
            n -= mine
            self.got += mine
            at += self.length(data, at)
        self.behind = data[at:]

    @staticmethod
    def length(data, at):
        n = data[at + 1]
        return 4 + int.from_bytes(data[at + 2:at + 4], "big") if n == 126 else 2 + n


def echo(resume, v1, messages=40000, clients=100, depth=16):
    """Nanoseconds of a message there and back."""
    with Host(*ECHO, *(RESUME if resume else ())) as host:
        talkers = [Client(host, v1) for _ in range(clients)]
        batch = b"".join(frame(1, b"x" * SIZE) for _ in range(depth))

        def round():
            for c in talkers:
                c.sock.sendall(batch)
            for c in talkers:
                c.take(depth)

        for _ in range(3):
            round()
        began, rounds = run_ns(host), messages // (clients * depth)
        for n in range(rounds):
            round()
            if n % 2:
                for c in talkers:
                    c.confirm()
        return (run_ns(host) - began) / (rounds * clients * depth)


def fan_out(share, messages=192, members=1000, depth=16):
    """Nanoseconds of a delivery to one of the members, of whom a share speaks tova.v1; and what is kept of these messages while nobody
    has confirmed any, in messages."""
    with Host(*PROBE, *RESUME) as host:
        room = [Client(host, i < share * members) for i in range(members)]
        for c in room:
            c.sock.sendall(frame(1, b"join r"))
        publisher = Client(host, False)
        batch = b"".join(frame(1, b"to r " + b"x" * SIZE) for _ in range(depth))

        def round():
            publisher.sock.sendall(batch)
            for c in room:
                c.take(depth)

        round()
        for c in room:
            c.confirm()
        wait_until(lambda: stats_of(host)["kept"] == 0, "all is confirmed")
        round()
        kept = stats_of(host)["kept"] / (SIZE + 2)
        began, rounds = run_ns(host), messages // depth
        for _ in range(rounds):
            round()
            for c in room:
                c.confirm()
        return (run_ns(host) - began) / (rounds * depth * members), kept


def idle(resume, v1, n):
    """Bytes of a connection that says nothing, and of one whose socket is lost."""
    with Host(*ECHO, *(RESUME if resume else ())) as host:
        first = [Client(host, v1) for _ in range(200)]
        before = memory(host)
        more = [Client(host, v1) for _ in range(n)]
        time.sleep(0.2)
        there = (memory(host) - before) / n
        if not (v1 and resume):
            return there, None
        for c in more:
            c.ws.reset()
        wait_until(lambda: stats_of(host)["away"] == n, "they are away", 60)
        time.sleep(22)  # what is kept for a flood goes back to the system after 20 s
        del first
        return there, (memory(host) - before) / n


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--connections", type=int, default=5000)
    o = options.parse_args()
    rows, kept = [], {}
    for name, resume, v1 in (("without --resume", False, False), ("with it, clients without tova.v1", True, False), ("with it, over tova.v1", True, True)):
        rows.append(["echo, " + name, "message", cell([echo(resume, v1) / 1000 for _ in range(o.rounds)]) + " µs"])
    for share, name in ((0, "none"), (0.5, "half"), (1, "all")):
        found = [fan_out(share) for _ in range(o.rounds)]
        rows.append([f"fan-out to 1,000, of whom {name} speak tova.v1", "delivery", cell([ns / 1000 for ns, _ in found]) + " µs"])
        kept[name] = statistics.median(k for _, k in found)
    for name, resume, v1 in (("without --resume", False, False), ("with it, without tova.v1", True, False), ("with it, over tova.v1", True, True)):
        there, away = idle(resume, v1, o.connections)
        rows.append(["memory of an idle connection, " + name, "connection", f"{there:,.0f} bytes"])
        if away is not None:
            rows.append(["memory of one that is away", "connection", f"{away:,.0f} bytes"])
    print(table(["what", "unit", "cost"], rows))
    print(f"\nOf 16 messages to 1,000 members that nobody has confirmed yet as many bytes are kept as {kept['all']:.0f} of them have where all speak "
          f"tova.v1, as {kept['half']:.0f} where half do, as {kept['none']:.0f} where none does.")


if __name__ == "__main__":
    main()
