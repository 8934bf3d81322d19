"""The siege: a crowd that must be served whole while everything around it goes wrong.

    tests/fault/siege.py [--clients 15000] [--seconds 300] [--seed N]

Most clients sit in rooms and hear what is published there, through workers. Around them others come and go all the time: they reset, stop in the
middle of a request or a frame, never read, send more than they may; workers are killed; all descriptors are taken; allocations of the host fail.
A member that the host had to give up (no memory for it) comes back as a new one. What is asked of the host: it lives; all members of a room hear
the same messages in one order, from their first one on without a gap, up to the last; nobody is closed for a reason that is not theirs or the
lack of memory; and at the end, with as many members as at first, its memory is within a tenth of what it was. Prints what happened; ends with 1
if anything is wrong.
"""
import argparse
import asyncio
import collections
import os
import random
import re
import resource
import signal
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from crowd import Crowd  # noqa: E402
from memory import Memory  # noqa: E402
from tova_host import PATIENCE, Host  # noqa: E402
from wsclient import frame, request_bytes, upgrade_headers  # noqa: E402

MEMBERS = 100  # of a room
SPARE = 400  # descriptors of the host beyond those of the crowd
LONG = max(60, PATIENCE)
# Ends that the host may choose for a member: it had no memory for it, or a worker none for its open.
FORGIVEN = re.compile(r"closed by the host with (1011|1013) |the connection ended \(close (None|1011|1013),|ended before it was open|HTTP/1.1 50[03] ")


class Room:
    """What its members hear: each walks along one list, and the first to hear something adds it."""

    def __init__(self, name):
        self.name = name
        self.order, self.place = [], {}
        self.wrong = []

    def heard(self, member, text):
        if member.at is None:
            member.at = self.place.get(text, len(self.order))
        if member.at == len(self.order):
            if text in self.place:
                self.wrong.append(f"{self.name}: {text[:20]!r} twice")
            self.place[text] = member.at
            self.order.append(text)
        elif self.order[member.at] != text:
            self.wrong.append(f"{self.name}: {text[:20]!r} where others heard {self.order[member.at][:20]!r}")
        member.at += 1


class Member:
    def __init__(self, room, publishes=False):
        self.room, self.publishes = room, publishes
        self.at = None
        self.ws = None
        self.sent = 0

    @property
    def open(self):
        return self.ws is not None and not self.ws.closed.done()


class Siege:
    def __init__(self, host, memory, options):
        self.host, self.memory, self.options = host, memory, options
        self.dice = random.Random(options.seed)
        self.rooms = [Room(f"r{i}") for i in range(max(1, options.clients // MEMBERS))]
        self.members = []
        self.count = collections.Counter()
        self.over = False
        self.epoch = 0
        self.crowd = None

    # --- the crowd

    async def enter(self, member):
        """Connects, again and again: while descriptors or memory are short a client has to try once more."""
        path = f"/siege/room/{member.room.name}" + ("?echo=1" if member.publishes else "")
        while True:
            try:
                member.ws = await self.crowd.connect(path, lambda ws, text: member.room.heard(member, text), LONG)
                return
            except (ConnectionError, asyncio.TimeoutError, OSError):
                self.count["tried again"] += 1
                await asyncio.sleep(0.05)

    async def fill(self):
        """Everyone is there; whoever was given up comes back as another."""
        gate = asyncio.Semaphore(100)

        async def one(member):
            async with gate:
                await self.enter(member)

        missing = []
        for i, member in enumerate(self.members):
            if not member.open:
                self.count["given up"] += member.ws is not None
                self.members[i] = Member(member.room, member.publishes)
                missing.append(one(self.members[i]))
        await asyncio.gather(*missing)

    async def publish(self, place):
        """One publisher's life: numbers, and a new series whenever the host gave it up."""
        while not self.over:
            member = self.members[place]
            if not member.open:
                await asyncio.sleep(0.1)
                continue
            if member.sent == 0:
                self.epoch += 1
                member.series = self.epoch
            member.sent += 1
            member.ws.send(f"{member.series}.{member.sent} {'x' * self.dice.choice((1, 50, 400))}")
            self.count["published"] += 1
            await asyncio.sleep(self.dice.uniform(0.5, 1.5))

    async def return_all(self):
        while not self.over:
            await self.fill()
            await asyncio.sleep(0.2)

    # --- those who besiege it

    def socket(self, receive=None):
        sock = socket.socket()
        if receive is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        sock.setblocking(False)
        return sock

    async def rough(self, room, act):
        loop = asyncio.get_running_loop()
        while not self.over:
            sock = self.socket(4096 if act == "stall" else None)
            try:
                await asyncio.wait_for(loop.sock_connect(sock, ("127.0.0.1", self.host.port)), 10)
                head = request_bytes("GET", f"/siege/room/{room}", upgrade_headers())
                await asyncio.wait_for(getattr(self, act)(loop, sock, head), 40)
                self.count[act] += 1
            except (OSError, asyncio.TimeoutError):
                self.count["cut short"] += 1
            sock.close()
            await asyncio.sleep(self.dice.uniform(0, 0.3))

    async def reset(self, loop, sock, head):
        await loop.sock_sendall(sock, head)
        for _ in range(self.dice.randrange(4)):
            await loop.sock_sendall(sock, frame(1, b"noise" * self.dice.choice((1, 1000))))
            await asyncio.sleep(self.dice.uniform(0, 0.2))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def half(self, loop, sock, head):
        """Of a request, or of a frame."""
        whole = head + frame(1, b"y" * 3000)
        await loop.sock_sendall(sock, whole[:self.dice.randrange(1, len(whole))])
        await asyncio.sleep(self.dice.uniform(0, 1))

    async def stall(self, loop, sock, head):
        """In a room with much to hear; it never reads."""
        await loop.sock_sendall(sock, head)
        await asyncio.sleep(self.dice.uniform(2, 10))

    async def oversize(self, loop, sock, head):
        await loop.sock_sendall(sock, head + struct.pack(">BBQ", 0x82, 0xFF, 1 << 40) + bytes(4) + b"z" * 1000)
        while await loop.sock_recv(sock, 65536):
            pass

    async def flood(self):
        """What the stalled would have to hear."""
        room = Room("flood")
        while not self.over:
            member = Member(room, True)
            await self.enter(member)
            while member.open and not self.over:
                member.ws.send("f" * 32000 + str(random.random()))
                await asyncio.sleep(0.05)
            member.open and member.ws.drop()

    async def kill(self):
        while not self.over:
            await asyncio.sleep(self.dice.uniform(0.5, 2.5))
            children = self.host.children
            if children:
                try:
                    os.kill(self.dice.choice(children), signal.SIGKILL)
                    self.count["kills"] += 1
                except ProcessLookupError:
                    pass

    async def starve(self):
        while not self.over:
            await asyncio.sleep(self.dice.uniform(0.2, 1))
            self.memory.fail(self.dice.randrange(60), self.dice.choice((1, 1, 2, 5)))

    async def exhaust(self):
        """Takes every connection that the host still allows, for a while; or every descriptor, which it can not foresee."""
        loop = asyncio.get_running_loop()
        while not self.over:
            await asyncio.sleep(max(2, self.options.seconds / 20))
            allowed = resource.prlimit(self.host.pid, resource.RLIMIT_NOFILE)
            few = self.host.descriptors + 3 if self.dice.random() < 0.5 else allowed[0]
            resource.prlimit(self.host.pid, resource.RLIMIT_NOFILE, (few, allowed[1]))
            taken = [self.socket() for _ in range(2 * SPARE)]
            await asyncio.wait([asyncio.ensure_future(loop.sock_connect(sock, ("127.0.0.1", self.host.port))) for sock in taken], timeout=2)
            await asyncio.sleep(1)
            resource.prlimit(self.host.pid, resource.RLIMIT_NOFILE, allowed)
            for sock in taken:
                sock.close()
            self.count["exhaustions"] += 1

    # --- the run

    async def settle(self, what):
        """Every room's members have heard all that was heard in it, up to another word of its publisher. Who has just come may not have joined yet
        when it is said: it is said again until everybody has heard it."""
        deadline = time.monotonic() + LONG
        said = 0
        while True:
            said += 1
            ends = {}
            for member in self.members:
                if member.publishes:
                    ends[member.room.name] = f"end of {what} {said}"
                    member.ws.send(ends[member.room.name])

            def all_heard():
                return all(not m.open or (m.at == len(m.room.order) and ends[m.room.name] in m.room.place) for m in self.members)

            try:
                await self.crowd.until(all_heard, f"all have heard everything ({what})", 5)
                return
            except AssertionError:
                if time.monotonic() > deadline:
                    raise

    async def run(self):
        for i in range(self.options.clients):
            self.members.append(Member(self.rooms[i % len(self.rooms)], i < len(self.rooms)))
        async with Crowd(self.host) as self.crowd:
            await self.fill()
            await self.settle("the beginning")
            before = self.host.rss
            tasks = [self.publish(i) for i in range(len(self.rooms))] + [self.return_all(), self.flood(), self.kill(), self.starve(), self.exhaust()]
            for act, share in (("reset", 0.01), ("half", 0.005), ("oversize", 0.003), ("stall", 0.006)):
                for k in range(max(2, int(self.options.clients * share))):
                    tasks.append(self.rough("flood" if act == "stall" else f"rough{k % 20}", act))
            running = [asyncio.ensure_future(t) for t in tasks]
            deadline = time.monotonic() + self.options.seconds
            peak = before
            while time.monotonic() < deadline and self.host.alive() and not any(t.done() for t in running):
                await asyncio.sleep(0.5)
                peak = max(peak, self.host.rss)
            self.over = True
            self.memory.enough()
            for task in running:
                if task.done() and task.exception():
                    raise task.exception()
            await asyncio.wait(running, timeout=60)
            await self.fill()
            await self.settle("the siege")
            await self.fill()
            return before, peak, await self.memory_at_rest(before)

    async def memory_at_rest(self, before):
        after = self.host.rss
        deadline = time.monotonic() + LONG
        while after > allowed(before, self.options.clients) and time.monotonic() < deadline:
            await asyncio.sleep(0.5)
            after = min(after, self.host.rss)
        return after

    def wrong(self):
        found = [w for room in self.rooms for w in room.wrong]
        found += [w for w in self.crowd.wrong if not FORGIVEN.search(w)]
        return found


def allowed(before, clients):
    """A tenth more; of a small crowd that would be less than what any host keeps for the next flood."""
    return before * 1.1 + (0 if clients >= 5000 else 1 << 20)


def report(siege, before, peak, after):
    heard = sum(m.at or 0 for m in siege.members)
    print(f"{siege.options.clients} members of {len(siege.rooms)} rooms, {siege.options.seconds:g} s: {siege.count['published']} messages published, "
          f"{heard} heard by those who are left")
    print(", ".join(f"{count} {what}" for what, count in sorted(siege.count.items()) if what != "published")
          + f", {siege.memory.failed} allocations failed")
    said = collections.Counter(line.get("message", line.get("raw")) for line in siege.host.lines)
    print("the host said: " + ", ".join(f"{count} x {text!r}" for text, count in said.most_common(12)))
    print(f"memory: {before >> 10} KiB before, at most {peak >> 10} meanwhile, {after >> 10} after ({after / before:.2f})")


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=15000)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    limit = options.clients + SPARE

    def limits():
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    with tempfile.TemporaryDirectory(prefix="tova-siege-") as directory:
        memory = Memory(Path(directory) / "memory")
        with Host("--plugin", "/siege=relay", "--isolate", "--workers", "2", "--max-attempts", "100", "--max-message", "1m", "--max-queue", "256k",
                  "--handshake-timeout", "3s", "--close-timeout", "1s", "--backlog", "4096", "--log-level", "notice", env=memory.env, limits=limits) as host:
            host.expect(lambda line: True)  # errors are what this is about: that there was no memory, or no descriptor
            siege = Siege(host, memory, options)
            figures = asyncio.run(siege.run())
            report(siege, *figures)
            found = siege.wrong()
            if not host.alive():
                found.append("the host has ended")
            if figures[2] > allowed(figures[0], options.clients):
                found.append("its memory did not come back to within a tenth")
    for line in found[:20]:
        print(f"WRONG: {line}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
