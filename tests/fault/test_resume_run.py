"""The run: clients of tova.v1 that say numbered things to themselves and to rooms, whose sockets are cut at any moment, while workers
are killed. Each message takes effect once, in order, in both directions, and no handler notices a cut.

RESUME_SECONDS and RESUME_CLIENTS make it longer and larger.
"""
import json
import os
import random
import select
import signal
import threading
import time

import pytest
from tova_v1 import Client

from probe import Host, Probe, plugin
from wsclient import Closed, connect

SECONDS = float(os.environ.get("RESUME_SECONDS", "6"))
CLIENTS = int(os.environ.get("RESUME_CLIENTS", "24"))
PATIENCE = float(os.environ.get("TOVA_PATIENCE", "30")) * 4
BROKEN = (Closed, ConnectionError, BrokenPipeError)


class Runner(threading.Thread):
    def __init__(self, host, number, seed, deflate):
        super().__init__(daemon=True)
        self.random = random.Random(seed)
        self.number, self.room = number, f"r{number % 3}"
        self.client = Client(host.port, "/probe", deflate=deflate)
        self.said = 0
        self.echoes, self.heard = [], {}
        self.cuts = 0
        self.error = None
        self.stop = threading.Event()
        self.client.send(f"join {self.room}\nsend joined")
        assert self.client.recv() == "joined"

    def run(self):
        try:
            self.steps()
        except BaseException as error:  # told by the test
            self.error = error

    def steps(self):
        while not self.stop.is_set():
            self.guarded(self.step)

    def guarded(self, what):
        try:
            what()
        except BROKEN:
            self.come_back()

    def step(self):
        chance = self.random.random()
        if chance < 0.4:
            self.said += 1
            # it is sent whatever becomes of this write: a return sends it again
            self.client.send(f"to {self.room} {self.number}:{self.said}\nsend echo {self.said}")
        elif chance < 0.97:
            self.hear(0.01)
        elif chance < 0.98:
            self.client.ws.send(b"\x81\xfe\x10\x00half")  # the beginning of a frame
            self.cut()
        elif chance < 0.985:
            self.client.confirm()
            self.cut()
        else:
            self.cut()

    def cut(self):
        self.cuts += 1
        if self.random.random() < 0.3:
            self.client.ws.shutdown_write()
        self.client.drop()
        self.come_back()

    def come_back(self):
        """Sometimes cut again, behind the request, behind the 101, behind the welcome."""
        end = time.monotonic() + PATIENCE
        while True:
            assert time.monotonic() < end, "it never came back"
            try:
                if self.random.random() < 0.2:
                    ws = connect(*self.client.where, subprotocols=["tova.v1", f"tova.resume.{self.client.token}.{self.client.received}"])
                    if self.random.random() < 0.5:
                        assert ws.recv_text().startswith("\1")
                    ws.reset()
                    continue
                welcome = self.client.back()
                assert welcome["resumed"], welcome
                return
            except BROKEN:
                continue

    def hear(self, wait):
        ws = self.client.ws
        while ws.buffer or select.select([ws.sock], [], [], wait)[0]:
            text = self.client.next_message()
            wait = 0
            if text is None:
                continue
            if self.client.received % 32 == 0:
                self.client.confirm()
            if text.startswith("echo "):
                self.echoes.append(int(text[5:]))
                continue
            who, what = map(int, text.split(":"))
            self.heard.setdefault(who, []).append(what)

    def finish(self, everybody):
        """Until all is settled, and everything that was said in its room has been heard."""
        end = time.monotonic() + PATIENCE
        expected = {r.number: r.said for r in everybody if r.room == self.room}
        while (self.client.done < len(self.client.sent) or len(self.echoes) < self.said
               or any(len(self.heard.get(n, [])) < said for n, said in expected.items())):
            assert time.monotonic() < end, (self.client.done, len(self.client.sent), len(self.echoes), self.said)
            self.guarded(lambda: self.hear(0.05))
        assert self.echoes == list(range(1, self.said + 1))
        for number, said in expected.items():
            assert self.heard.get(number, []) == list(range(1, said + 1)), number
        assert not self.client.failed and not [s for s in self.client.said if "lost" in s]


@pytest.mark.parametrize("threads", ["1", "3"])
@pytest.mark.parametrize("kind", ["plugin", "killed"])
def test_each_message_once(kind, threads):
    seed = random.randrange(1 << 30)
    print("seed", seed)
    args = ["--isolate", "--workers", "2", "--max-attempts", "1000"] if kind == "killed" else []
    with Host("--plugin", f"/probe={plugin('probe')}", "--resume", "60s", "--resume-messages", "100000", "--resume-queue", "64m",
              "--threads", threads, *(["--deflate"] if threads == "3" else []), *args) as host:
        observer = Probe(host).observer()
        deflate = "permessage-deflate" if threads == "3" else None
        runners = [Runner(host, i, seed + i, deflate if i % 2 else None) for i in range(CLIENTS)]
        for r in runners:
            r.start()
        end = time.monotonic() + SECONDS
        kills = 0
        while time.monotonic() < end:
            time.sleep(0.3)
            if kind == "killed" and host.children:
                try:
                    os.kill(random.choice(host.children), signal.SIGKILL)
                    kills += 1
                except ProcessLookupError:
                    pass
        for r in runners:
            r.stop.set()
        for r in runners:
            r.join(PATIENCE)
            if r.error is not None:
                raise r.error
            assert not r.is_alive()
        for r in runners:
            r.finish(runners)
        said, cuts = sum(r.said for r in runners), sum(r.cuts for r in runners)
        print(f"{said} messages, {cuts} cuts, {kills} kills")
        assert said > 0 and cuts > 0
        for r in runners:
            r.guarded(lambda r=r: r.client.say(bye=1))
        events = {}
        while sum(e.count("close") for e in events.values()) < CLIENTS:
            event = json.loads(observer.recv_text())
            events.setdefault(event["ws"], []).append(event["event"])
        assert all(e == ["open", "close"] for e in events.values() if "open" in e), events
