"""A worker of which a test decides every byte: it dials in at --attach, or with what the host gave a process of its.

    worker = RawWorker(url).hello()
    event = worker.expect("open")
    worker.ack(event, {"c": "send", "data": "welcome"})
"""
import json
import os
import socket
import struct

from tova_host import PATIENCE

HANDSHAKE = bytes.fromhex("0053500000100000")


class RawWorker:
    def __init__(self, url=None, handshake=True):
        url = url or os.environ["TOVA_URL"]
        scheme, _, rest = url.partition("://")
        self.ipc = scheme == "ipc"
        self.sock = socket.socket(socket.AF_UNIX if self.ipc else socket.AF_INET, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(rest if self.ipc else (rest.rpartition(":")[0], int(rest.rpartition(":")[2])))
        self.link = None
        self.queue = []
        if handshake:
            self.sock.sendall(HANDSHAKE)
            assert self._read(8) == HANDSHAKE

    # --- bytes

    def _read(self, n):
        data = bytearray(n)
        at = 0
        while at < n:
            got = self.sock.recv_into(memoryview(data)[at:])
            if not got:
                raise EOFError
            at += got
        return bytes(data)

    def send_bytes(self, body):
        self.sock.sendall((b"\x01" if self.ipc else b"") + struct.pack(">Q", len(body)) + body)

    def receive_batch(self):
        assert not self.ipc or self._read(1) == b"\x01"
        body = self._read(struct.unpack(">Q", self._read(8))[0])
        text = body.decode("utf-8", "surrogateescape")
        objects, end = json.JSONDecoder().raw_decode(text)
        at = len(text[:end].encode("utf-8", "surrogateescape")) + 1
        for o in objects:
            for key, to in (("state_bin", "state"), ("room_state_bin", "room_state"), ("bin", "data")):
                if key in o:
                    o[to] = body[at:at + o[key]]
                    at += o[key]
        return objects

    # --- objects

    def send(self, *objects, binary=b"", link=None):
        objects = [dict(o) for o in objects]
        link = link or self.link
        if link and objects[0].get("t") != "hello":
            objects[0] = {"t": objects[0]["t"], "link": link, **objects[0]}
        self.send_bytes(json.dumps(objects).encode() + (b"\n" + binary if binary else b""))

    def receive(self, pings=False):
        """The next object; pings are answered on the way."""
        while True:
            while not self.queue:
                self.queue += self.receive_batch()
            o = self.queue.pop(0)
            if o["t"] != "ping" or pings:
                return o
            self.send({"t": "pong"})

    def expect(self, kind, /, **members):
        o = self.receive()
        assert o["t"] == kind and all(o.get(k) == v for k, v in members.items()), f"{kind} {members} was expected: {o}"
        return o

    def hello(self, token=None, events=None, **members):
        o = {"t": "hello", "v": 1, "token": os.environ.get("TOVA_TOKEN", "") if token is None else token, **members}
        if events is not None:
            o["events"] = events
        self.send(o)
        self.link = self.expect("welcome")["link"]
        return self

    def ack(self, event, *commands, **members):
        self.send({"t": "ack", "s": event["s"], **({"commands": list(commands)} if commands else {}), **members})

    def nack(self, event, error="no", **members):
        self.send({"t": "nack", "s": event["s"], "error": error, **members})

    def ask(self, what, **members):
        """The answer to a query."""
        self.send({"t": "query", "q": 77, "what": what, **members})
        return self.expect("reply", q=77)

    def answered(self, kind, /, *object, **more):
        """The next object of this kind, which answers the one that is sent; what comes before it is received later."""
        self.send(*object, **more)
        before = []
        while (said := self.receive())["t"] != kind:
            before.append(said)
        self.queue[:0] = before
        return said

    def push(self, *commands, binary=b""):
        """What a push is answered."""
        return self.answered("done", {"t": "push", "ref": 1, "commands": list(commands)}, binary=binary)

    def bye(self):
        self.send({"t": "bye"})
        self.expect_end()

    def expect_end(self, error=None):
        """The host closes, after a bye if `error` is a part of what that says."""
        if error is not None:
            o = self.receive()
            assert o["t"] == "bye" and error in o.get("error", ""), o
        try:
            rest = self.sock.recv(1 << 16)
        except ConnectionResetError:
            rest = b""
        assert rest == b"", rest
        self.sock.close()

    def settle_all(self, n, *commands):
        """Acknowledges the next n events, each alike."""
        for _ in range(n):
            self.ack(self.receive(), *commands)

    def drop(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.drop()
