"""A host that is not one: it speaks the worker protocol with workers, and a test decides every word of it.

    with FakeHost() as host:
        link = host.accept()  # of a worker that was told host.url
        link.welcome()
        link.send({"t": "message", "s": 1, "seq": 1, "attempt": 1, "conn": CONN, "bin": b"hello"})
        link.expect("ack", s=1)
"""
import json
import os
import socket
import struct
import tempfile

from tova_host import PATIENCE

HANDSHAKE = b"\0SP\0\0\x10\0\0"
BINARY = ("state_bin", "bin")


def batch(*objects):
    """The bytes of a message; bytes as "bin" and "state_bin" go behind it."""
    binary, plain = b"", []
    for item in objects:
        item = dict(item)
        for member in BINARY:
            if isinstance(item.get(member), bytes):
                binary += item[member]
                item[member] = len(item[member])
        plain.append(item)
    text = json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()
    return text + b"\n" + binary if binary else text


def unbatch(body):
    """The objects, with their binary members as bytes."""
    text, _, binary = body.partition(b"\n")
    objects = json.loads(text.decode("utf-8", "surrogateescape"))
    rest = _fill(objects, binary)
    assert rest == b"", "more bytes than the objects say"
    return objects


def _fill(item, rest):
    """Puts bytes in the place of numbers, in the order in which they are named. Returns what is left."""
    if isinstance(item, dict):
        for member in BINARY:
            if member in item:
                n = item[member]
                assert len(rest) >= n, "fewer bytes than the objects say"
                item[member], rest = rest[:n], rest[n:]
        for member, value in item.items():
            if member not in BINARY:
                rest = _fill(value, rest)
    elif isinstance(item, list):
        for value in item:
            rest = _fill(value, rest)
    return rest


class Link:
    """One connection of a worker, seen from the host's side; over a Unix socket (ipc://) or TCP."""

    def __init__(self, sock, mount="/"):
        self.sock, self.mount = sock, mount
        self.ipc = sock.family == socket.AF_UNIX
        self.id = None
        self.forgiven = set()
        self.waiting = []
        sock.settimeout(PATIENCE)

    # --- bytes

    def frame(self, body):
        return (b"\1" if self.ipc else b"") + struct.pack(">Q", len(body)) + body

    def send_body(self, body):
        self.sock.sendall(self.frame(body))

    def read(self, n):
        data = b""
        while len(data) < n:
            more = self.sock.recv(n - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def expect_eof(self):
        try:
            got = self.sock.recv(1)
        except ConnectionResetError:
            got = b""
        assert got == b"", "more came where the end was expected"

    # --- objects

    def send(self, *objects, binary=b""):
        """binary: what stands behind objects that have numbers already."""
        self.send_body(batch(*objects) + (b"\n" + binary if binary else b""))

    def send_cut(self, *objects, step=1):
        """In many small pieces."""
        data = self.frame(batch(*objects))
        for i in range(0, len(data), step):
            self.sock.sendall(data[i:i + step])

    def receive_batch(self):
        """The next message, its link checked and taken out."""
        while True:
            head = self.read(9 if self.ipc else 8)
            assert not self.ipc or head[0] == 1
            objects = unbatch(self.read(struct.unpack(">Q", head[-8:])[0]))
            if objects[0].get("link") not in self.forgiven:
                break
        if self.id is not None:
            assert objects[0].pop("link", None) == self.id, objects[0]
        assert not any("link" in item for item in objects)
        return objects

    def receive(self):
        """The next object."""
        if not self.waiting:
            self.waiting = self.receive_batch()
        return self.waiting.pop(0)

    def expect(self, kind=None, /, **members):
        """expect("ack", s=1): the next object is an ack with this among its members. expect(t="ack", s=1): it has no others.

        A pong that nothing else was expected instead of is a sign of life, which libraries give while they are busy.
        """
        got = self.receive()
        while got == {"t": "pong"} and "pong" not in (kind, members.get("t")):
            got = self.receive()
        wanted = members if kind is None else {**got, "t": kind, **members}
        assert got == wanted, f"{got} where {kind or ''} {members} was expected"
        return got

    # --- conversations

    def greet(self):
        """nng's handshake; returns hello."""
        self.sock.sendall(HANDSHAKE)
        assert self.read(8) == HANDSHAKE
        return self.expect("hello", v=1)

    def welcome(self, link="L1", **more):
        """Takes hello, gives welcome; returns hello."""
        hello = self.greet()
        self.id = link
        self.send({"t": "welcome", "v": 1, "link": link, "mount": self.mount, "host": "0.1.0", "window": 256, "batch": 1048576, **more})
        return hello

    def forgive_links(self, *ids):
        """Batches of these links are skipped, as a host does with what a library had queued for an earlier connection."""
        self.forgiven.update(ids)

    def expect_alive(self):
        """What was sent has been read."""
        self.send({"t": "ping"})
        self.expect("pong")

    def expect_end(self):
        """It says no more."""
        try:
            got = self.receive()
        except (EOFError, ConnectionResetError):
            return
        raise AssertionError(f"the link goes on: {got}")

    def close(self):
        self.sock.close()


class FakeHost:
    """Listens at `url`: in a folder, which is made if it is not given, or at a port (0: any). accept() gives the next worker's link."""

    def __init__(self, directory=None, port=None, mount="/"):
        self.folder = tempfile.TemporaryDirectory(prefix="tova-fake-") if directory is None and port is None else None
        self.directory, self.port, self.mount = directory or (self.folder and self.folder.name), port, mount
        self.listener = None
        self.listen()

    def listen(self):
        """Also anew, where it did before."""
        if self.port is None:
            path = os.path.join(self.directory, "host.sock")
            if os.path.exists(path):
                os.unlink(path)
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(path)
            self.url = f"ipc://{path}"
        else:
            self.listener = socket.socket()
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind(("127.0.0.1", self.port))
            self.port = self.listener.getsockname()[1]
            self.url = f"tcp://127.0.0.1:{self.port}"
        self.listener.listen()
        self.listener.settimeout(PATIENCE)

    def accept(self):
        return Link(self.listener.accept()[0], self.mount)

    def close(self):
        self.listener.close()
        if self.folder is not None:
            self.folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
