"""Random scripts of many clients against a model of the contract: who is in which room, who gets which message in which order.

The model is the rules written down once more, as plainly as possible: a callback's commands happen one after the other, or, if one
of them is wrong or the callback fails, not at all.
"""
import copy
import json
import random

import pytest

from probe import KINDS, Host, escape, kind_args, plugin
from wsclient import BINARY, TEXT

ROOMS = ["r0", "r1", "r2", "ä ß", "x" * 255]
BAD = ["join ", "join %ff", "to a%00b x", "send %c3", "kind 9 x", "close 999 x", "set me " + "x" * 65, "query count 1 %ff"]


class Model:
    def __init__(self):
        self.rooms = {room: set() for room in ROOMS}
        self.data = {}  # client to its connection data
        self.inbox = {}  # client to what it has to receive, in order
        self.closed = {}  # client to the code and the rooms its close event names

    def open(self, who):
        self.data[who] = bytes(64)
        self.inbox[who] = []

    def end(self, who, code):
        left = sorted(room for room, members in self.rooms.items() if who in members)
        for room in left:
            self.rooms[room].discard(who)
        self.closed[who] = (code, left)

    def alive(self, who):
        return who in self.data and who not in self.closed

    def deliver(self, to, exclude, kind, data):
        for who in to:
            if self.alive(who) and who != exclude:
                self.inbox[who].append((kind, data))

    # Each command: its effect here. me is who sent the script, other is any client, gone ones and ghosts included.

    def send(self, me, other, room, data, kind):
        self.deliver([other], None, kind, data)

    def join(self, me, other, room, data, kind):
        if self.alive(other):
            self.rooms[room].add(other)

    def leave(self, me, other, room, data, kind):
        self.rooms[room].discard(other)

    def broadcast(self, me, other, room, data, kind):
        self.deliver(list(self.data), None, kind, data)

    def broadcast_except(self, me, other, room, data, kind):
        self.deliver(list(self.data), other, TEXT, data)

    def to(self, me, other, room, data, kind):
        self.deliver(self.rooms[room], None, kind, data)

    def to_except(self, me, other, room, data, kind):
        self.deliver(self.rooms[room], other, TEXT, data)

    def close(self, me, other, room, data, kind):
        if self.alive(other):
            self.end(other, 4000 + len(data))

    def set(self, me, other, room, data, kind):
        if self.alive(other):
            self.data[other] = data.ljust(64, b"\0")

    def write(self, me, other, room, data, kind):
        if self.alive(me):
            self.data[me] = data + self.data[me][len(data):]


class Party:
    """The clients, and the model that runs beside them."""

    def __init__(self, probe, seed):
        self.probe, self.rng, self.model = probe, random.Random(seed), Model()
        self.clients, self.names, self.text = {}, {}, 0
        self.observer = probe.observer()
        for _ in range(6):
            self.add()

    def add(self):
        ws = self.probe.client()
        who = ws.ask("myid")
        assert self.heard("open")["ws"] == who
        self.clients[who] = ws
        self.model.open(who)

    def command(self, me):
        """One random command: its line, and what it does to a model."""
        rng = self.rng
        name = rng.choices(["send", "join", "leave", "broadcast", "broadcast_except", "to", "to_except", "close", "set", "write"],
                           [3, 8, 3, 1, 1, 4, 4, 0.4, 1, 1])[0]
        # Closed ones stay in the lottery: ids of gone connections must do nothing.
        other = rng.choice([me, me, *self.clients, *list(self.model.closed)[-3:], "ghost"])
        room, kind = rng.choice(ROOMS), rng.choice([TEXT, BINARY])
        self.text += 1
        data = f"{self.text}{'ä' * rng.randrange(4)}".encode()
        if name in ("set", "write"):
            data = data[:8]
        b = "b" if kind == BINARY else ""
        line = {
            "send": f"send{b}_to {other} {escape(data)}", "join": f"join_of {other} {escape(room)}",
            "leave": f"leave_of {other} {escape(room)}",
            "broadcast": f"broadcast{b} {escape(data)}", "broadcast_except": f"broadcast_except {other} {escape(data)}",
            "to": f"to{b} {escape(room)} {escape(data)}", "to_except": f"to_except {other} {escape(room)} {escape(data)}",
            "close": f"close_of {other} {4000 + len(data)} bye", "set": f"set {other} {escape(data)}",
            "write": f"data 0 {escape(data)}"}[name]
        if name == "set" and other == me:
            line, name = line.replace(other, "me", 1), "set"
        return line, lambda model: getattr(model, name)(me, other, room, data, kind)

    def step(self):
        me = self.rng.choice(list(self.clients))
        lines, effects = zip(*[self.command(me) for _ in range(self.rng.randrange(1, 7))])
        lines = list(lines)
        spoiled = self.rng.random() < 0.25
        if spoiled:
            lines.insert(self.rng.randrange(len(lines) + 1), self.rng.choice(BAD + ["fail no", "failcode 3"]))
        after = copy.deepcopy(self.model)
        for effect in effects:
            effect(after)
        if not spoiled:
            self.model = after
        self.clients[me].script(*lines)
        if self.model.alive(me):
            self.clients[me].script("send_to me settled")
            self.model.inbox[me].append((TEXT, b"settled"))
        self.check(me)

    def check(self, me):
        """Everybody has received what the model says; who was closed gets its close frame behind that."""
        for who in [me, *[w for w in self.clients if w != me]]:
            ws, expected = self.clients[who], self.model.inbox[who]
            got = [ws.recv_message() for _ in expected]
            assert [(m.opcode, m.data) for m in got] == expected
            expected.clear()
        for who in [w for w in self.clients if not self.model.alive(w)]:
            code, rooms = self.model.closed[who]
            self.clients.pop(who).expect_closed(code)
            event = self.heard("close")
            assert (event["ws"], event["code"], sorted(event["rooms"])) == (who, code, rooms)
            self.add()

    def heard(self, kind):
        """The observer's next event of this kind. It gets the broadcasts too, whose order the members have seen to."""
        while True:
            message = self.observer.recv_message()
            if message.data.startswith(b'{"event":"%s"' % kind.encode()):
                return json.loads(message.data)

    def compare(self):
        """Nothing is left over, and the host's view of rooms and data is the model's."""
        me = self.rng.choice(list(self.clients))
        ws = self.clients[me]
        for room in ROOMS:
            assert set(ws.query("members", escape(room))["connections"]) == self.model.rooms[room]
        for who, client in self.clients.items():
            client.settle()
            assert client.rooms() == {room for room in ROOMS if who in self.model.rooms[room]}
            assert bytes.fromhex(client.ask("getdata")) == self.model.data[who]


# A pool too: what its workers are told at the same time must come out as if it had been one after the other.
@pytest.fixture(scope="module", params=KINDS + ["pool"] * ("isolate" in KINDS))
def probe_host(request):
    with Host("--plugin", f"/probe={plugin('probe')}", *kind_args(request.param)) as host:
        yield host


@pytest.mark.parametrize("seed", range(10))
def test_random_scripts(probe, seed):
    party = Party(probe, seed)
    for i in range(500):
        party.step()
        if i % 50 == 49:
            party.compare()
