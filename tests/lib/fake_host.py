"""A host that is not one: it speaks the worker protocol with workers, and a test decides every word of it."""
import json
import os
import socket
import struct

from tova_host import PATIENCE

HANDSHAKE = bytes.fromhex("0053500000100000")


class Link:
    """One connection of a worker, seen from the host's side; over a Unix socket (ipc://) or TCP."""

    def __init__(self, sock):
        self.sock = sock
        self.ipc = sock.family == socket.AF_UNIX
        self.id = None
        self.forgiven = set()
        self.waiting = []
        sock.settimeout(PATIENCE)
        sock.sendall(HANDSHAKE)
        assert self._read(8) == HANDSHAKE

    def _read(self, n):
        data = b""
        while len(data) < n:
            piece = self.sock.recv(n - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def receive_batch(self):
        """The next message: its objects, and the bytes behind them."""
        if self.ipc:
            assert self._read(1) == b"\x01"
        body = self._read(struct.unpack(">Q", self._read(8))[0])
        objects, end = json.JSONDecoder().raw_decode(body.decode("utf-8", "surrogateescape"))
        rest = body[len(json_prefix(body, end)):]
        assert rest[:1] in (b"", b"\n")
        return objects, rest[1:]

    def receive(self):
        """The next object, with its binary members as bytes."""
        while not self.waiting:
            objects, rest = self.receive_batch()
            if objects[0].get("link") in self.forgiven:
                continue
            if self.id is not None:
                assert objects[0].get("link") == self.id, objects[0]
            for o in objects:
                rest = take(o, rest)
            assert not rest, "more bytes than the objects say"
            self.waiting += objects
        return self.waiting.pop(0)

    def expect(self, kind, **members):
        o = self.receive()
        assert o["t"] == kind, o
        for key, value in members.items():
            assert o.get(key) == value, o
        return o

    def send(self, *objects, binary=b""):
        self.send_body(json.dumps(list(objects)).encode() + (b"\n" + binary if binary else b""))

    def send_body(self, body):
        self.sock.sendall((b"\x01" if self.ipc else b"") + struct.pack(">Q", len(body)) + body)

    def welcome(self, link="L1", **members):
        hello = self.expect("hello", v=1)
        self.send({"t": "welcome", "v": 1, "link": link, "mount": "/", "host": "fake", "window": 256, "batch": 1048576, **members})
        self.id = link
        return hello

    def forgive_links(self, *ids):
        """Batches of these links are skipped, as a host does with what a library had queued for an earlier connection."""
        self.forgiven.update(ids)

    def expect_alive(self):
        """What was sent has been read."""
        self.send({"t": "ping"})
        self.expect("pong")

    def expect_end(self):
        try:
            o = self.receive()
        except (EOFError, ConnectionResetError):
            return
        raise AssertionError(f"the link goes on: {o}")

    def close(self):
        self.sock.close()


def json_prefix(body, characters):
    """The bytes of the first `characters` characters."""
    return body.decode("utf-8", "surrogateescape")[:characters].encode("utf-8", "surrogateescape")


def take(o, rest):
    """Puts bytes in the place of an object's numbers, in the order in which it names them. Returns what is left."""
    if isinstance(o, dict):
        for key in sorted(o, key=lambda k: {"state_bin": 0, "bin": 1}.get(k, 2)):
            if key in ("state_bin", "bin"):
                n = o[key]
                assert len(rest) >= n, "fewer bytes than the objects say"
                o[key], rest = rest[:n], rest[n:]
        for key, value in o.items():
            if key not in ("state_bin", "bin"):
                rest = take(value, rest)
    elif isinstance(o, list):
        for value in o:
            rest = take(value, rest)
    return rest


class FakeHost:
    """Listens at `url`; accept() gives the next worker's link."""

    def __init__(self, directory=None, port=None):
        if port is None:
            path = os.path.join(directory, "host.sock")
            if os.path.exists(path):
                os.unlink(path)
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.bind(path)
            self.url = f"ipc://{path}"
        else:
            self.sock = socket.socket()
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.bind(("127.0.0.1", port))
            self.url = f"tcp://127.0.0.1:{self.sock.getsockname()[1]}"
        self.sock.listen()
        self.sock.settimeout(PATIENCE)

    def accept(self):
        return Link(self.sock.accept()[0])

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
