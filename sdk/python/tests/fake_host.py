"""The host's side of the protocol, in the hands of a test."""
import json
import os
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SDK = Path(__file__).resolve().parents[1]
PATIENCE = float(os.environ.get("TOVA_PATIENCE", "30"))
HANDSHAKE = b"\0SP\0\0\x10\0\0"


def batch(*objects):
    """Bytes of a batch; bytes as "bin" and "state_bin" go behind it."""
    binary, plain = b"", []
    for item in objects:
        item = dict(item)
        for member in ("state_bin", "bin"):
            if isinstance(item.get(member), bytes):
                binary += item[member]
                item[member] = len(item[member])
        plain.append(item)
    text = json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()
    return text + b"\n" + binary if binary else text


def unbatch(body):
    text, _, binary = body.partition(b"\n")
    objects = json.loads(text)

    def fill(item):
        nonlocal binary
        for member in ("state_bin", "bin"):
            if member in item:
                n = item[member]
                assert len(binary) >= n
                item[member], binary = binary[:n], binary[n:]
        for command in item.get("commands", ()):
            fill(command)

    for item in objects:
        for answer in ("accept", "refuse"):
            fill(item.get(answer, {}))
        fill(item)
    assert binary == b""
    return objects


class Peer:
    """One accepted connection."""

    def __init__(self, sock, ipc):
        self.sock, self.ipc = sock, ipc
        self.link = None
        self.pending = []
        sock.settimeout(PATIENCE)

    def frame(self, body):
        return (b"\1" if self.ipc else b"") + struct.pack(">Q", len(body)) + body

    def send(self, *objects):
        self.sock.sendall(self.frame(batch(*objects)))

    def send_cut(self, *objects, step=1):
        """In many small pieces."""
        data = self.frame(batch(*objects))
        for i in range(0, len(data), step):
            self.sock.sendall(data[i:i + step])

    def read(self, n):
        data = b""
        while len(data) < n:
            more = self.sock.recv(n - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def receive(self):
        """The next batch, its link checked and taken out."""
        head = self.read(9 if self.ipc else 8)
        assert not self.ipc or head[0] == 1
        objects = unbatch(self.read(struct.unpack(">Q", head[-8:])[0]))
        if self.link is not None:
            assert objects[0].pop("link") == self.link
        assert not any("link" in item for item in objects)
        return objects

    def next(self):
        """The next object."""
        if not self.pending:
            self.pending = self.receive()
        return self.pending.pop(0)

    def expect(self, **members):
        got = self.next()
        assert got == members, f"{got} where {members} was expected"

    def welcome(self, link="L1", **more):
        """Takes hello, gives welcome; returns hello."""
        self.sock.sendall(HANDSHAKE)
        assert self.read(8) == HANDSHAKE
        hello = self.next()
        assert hello["t"] == "hello" and hello["v"] == 1, hello
        self.link = link
        self.send({"t": "welcome", "v": 1, "link": link, "mount": "/chat", "host": "0.1.0", "window": 256, "batch": 1048576,
                   **more})
        return hello

    def expect_eof(self):
        try:
            got = self.sock.recv(1)
        except ConnectionResetError:
            got = b""
        assert got == b"", "more came where the end was expected"

    def close(self):
        self.sock.close()


class FakeHost:
    def __init__(self, ipc=True):
        self.ipc = ipc
        self.folder = tempfile.TemporaryDirectory(prefix="tova-sdk-")
        self.workers = []
        self.peers = []
        self.listener = None
        self.port = 0
        self.listen()

    def listen(self):
        if self.ipc:
            path = self.folder.name + "/workers"
            if os.path.exists(path):
                os.unlink(path)
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(path)
            self.url = "ipc://" + path
        else:
            self.listener = socket.socket()
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind(("127.0.0.1", self.port))
            self.port = self.listener.getsockname()[1]
            self.url = f"tcp://127.0.0.1:{self.port}"
        self.listener.listen()

    def accept(self):
        worker = self.workers[-1]
        deadline = time.monotonic() + PATIENCE
        while not select.select([self.listener], [], [], 0.05)[0]:
            assert time.monotonic() < deadline, "nobody dials"
            assert worker.poll() is None, f"the worker has ended: {worker.communicate()}"
        peer = Peer(self.listener.accept()[0], self.ipc)
        self.peers.append(peer)
        return peer

    def start(self, code, supervised=True, **environment):
        """A Python process that runs this code as a worker."""
        env = {**os.environ, "PYTHONPATH": str(SDK), "TOVA_URL": self.url, "TOVA_TOKEN": "secret", "TOVA_MOUNT": "/chat",
               "PYTHONDONTWRITEBYTECODE": "1", **environment}
        env.pop("TOVA_SUPERVISED", None)
        if supervised:
            env["TOVA_SUPERVISED"] = "1"
        worker = subprocess.Popen([sys.executable, "-X", "dev", "-c", code], env=env, text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE)
        self.workers.append(worker)
        return worker

    def serve(self, code, **how):
        """Starts a worker and welcomes it."""
        worker = self.start(code, **how)
        peer = self.accept()
        peer.hello = peer.welcome()
        return worker, peer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
            worker.communicate()
        for peer in self.peers:
            peer.close()
        self.listener.close()
        self.folder.cleanup()


def finish(worker):
    """Waits for its end; (code, stdout, stderr)."""
    out, err = worker.communicate(timeout=PATIENCE)
    return worker.returncode, out, err
