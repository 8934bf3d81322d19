"""Workers on this library, each a process that runs some code, and the host that a test plays for them (tests/lib/fake_host.py)."""
import os
import select
import subprocess
import sys
import time
from pathlib import Path

from fake_host import FakeHost
from tova_host import PATIENCE

SDK = Path(__file__).resolve().parents[1]


class Workers(FakeHost):
    def __init__(self, ipc=True):
        super().__init__(port=None if ipc else 0, mount="/chat")
        self.workers, self.links = [], []

    def start(self, code, supervised=True, **environment):
        """A Python process that runs this code as a worker."""
        env = {**os.environ, "PYTHONPATH": str(SDK), "TOVA_URL": self.url, "TOVA_TOKEN": "secret", "TOVA_MOUNT": "/chat",
               "PYTHONDONTWRITEBYTECODE": "1", **environment}
        env.pop("TOVA_SUPERVISED", None)
        if supervised:
            env["TOVA_SUPERVISED"] = "1"
        # In its development mode asyncio says who keeps the loop for 100 ms, which on a busy machine is anybody.
        assert code.startswith("\n")
        code = "import logging; logging.getLogger('asyncio').setLevel(logging.ERROR)" + code
        worker = subprocess.Popen([sys.executable, "-X", "dev", "-c", code], env=env, text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE)
        self.workers.append(worker)
        return worker

    def accept(self):
        """The link of the worker that was started last; not for longer than that lives."""
        worker = self.workers[-1]
        deadline = time.monotonic() + PATIENCE
        while not select.select([self.listener], [], [], 0.05)[0]:
            assert time.monotonic() < deadline, "nobody dials"
            assert worker.poll() is None, f"the worker has ended: {worker.communicate()}"
        self.links.append(super().accept())
        return self.links[-1]

    def serve(self, code, **how):
        """Starts a worker and welcomes it."""
        worker = self.start(code, **how)
        link = self.accept()
        link.hello = link.welcome()
        return worker, link

    def close(self):
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
            worker.communicate()
        for link in self.links:
            link.close()
        super().close()


def finish(worker):
    """Waits for its end; (code, stdout, stderr)."""
    out, err = worker.communicate(timeout=PATIENCE)
    return worker.returncode, out, err
