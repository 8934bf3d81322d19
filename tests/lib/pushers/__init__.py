"""Clients that push without handlers, in each language: a test tells a driver what to call, and is told what came of it."""
import json
import os
import subprocess

from tova_host import BUILD, PATIENCE, ROOT

HERE = ROOT / "tests/lib/pushers"
PYTHON = ["/usr/bin/python3", "-B", str(HERE / "driver.py")]
DRIVERS = {
    "python": PYTHON,
    "asyncio": [*PYTHON, "--async"],
    "c": [str(BUILD / "tests/e2e/pusher")],
    "node": ["node", str(HERE / "driver.mjs")],
}


class Pusher:
    """One client in a process of its own."""

    def __init__(self, language, url, **where):
        self.process = subprocess.Popen(DRIVERS[language], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "TOVA_TEST": "1"})
        self._write({"url": url, **where})

    def _write(self, what):
        self.process.stdin.write(json.dumps(what).encode() + b"\n")
        self.process.stdin.flush()

    def begin(self, call, **arguments):
        self._write({"call": call, **arguments})

    def end(self):
        line = self.process.stdout.readline()
        assert line, f"the client has ended: {self.process.wait(PATIENCE)}"
        return json.loads(line)

    def __call__(self, call, **arguments):
        """What was answered: {"receivers"} or {"error", "kind", "status", "index"}."""
        self.begin(call, **arguments)
        return self.end()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            assert self.process.wait(PATIENCE) == 0
        finally:
            self.process.kill()
            self.process.wait()
