"""Peers that were not written with the host in mind."""
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from tova_host import BUILD, Host, wait_until  # noqa: E402


@pytest.fixture
def directory():
    path = tempfile.mkdtemp(prefix="tova-interop-")
    yield path
    shutil.rmtree(path)


class Peer:
    """build/tests/interop/peer: libnng, driven line by line."""

    def __init__(self, url, protocol="pair0"):
        self.process = subprocess.Popen([BUILD / "tests/interop/peer", protocol, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        encoding="utf-8", errors="replace")
        self.lines = []
        self._read = 0
        threading.Thread(target=self._collect, daemon=True).start()

    def _collect(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def tell(self, *lines):
        for line in lines:
            self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def send(self, *objects):
        self.tell("send " + json.dumps(objects))

    def count(self, line):
        return self.lines.count(line)

    def wait_pipe(self, n=1):
        wait_until(lambda: self.count("+") >= n, f"{n} pipes in {self.lines}")

    def wait_gone(self, n=1):
        wait_until(lambda: self.count("-") >= n, f"the end of {n} pipes in {self.lines}")

    def receive(self):
        """The objects of the next message."""
        wait_until(lambda: any(line.startswith("= ") for line in self.lines[self._read:]), f"a message in {self.lines[-20:]}")
        while not self.lines[self._read].startswith("= "):
            self._read += 1
        self._read += 1
        return json.loads(self.lines[self._read - 1][2:])

    def hello(self, **members):
        self.send({"t": "hello", "v": 1, **members})
        welcome = self.receive()[0]
        assert welcome["t"] == "welcome", welcome
        return welcome

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def peer():
    """peer(url, protocol) starts one; all are ended."""
    peers = []

    def make(url, protocol="pair0"):
        peers.append(Peer(url, protocol))
        return peers[-1]

    yield make
    for one in peers:
        one.kill()


@pytest.fixture(params=["ipc", "tcp"])
def attached(request, directory):
    """A host at whose mount / workers may attach, and the URL to dial."""
    asked = f"ipc://{directory}/workers.sock" if request.param == "ipc" else "tcp://127.0.0.1:0"
    with Host("--attach", asked, "--close-timeout", "200ms", "--drain", "0", "--control", f"{directory}/control.sock") as host:
        line = next(line for line in host.lines if line.get("message") == "workers may attach")
        yield host, line["url"]
