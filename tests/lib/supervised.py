"""A host that starts workers itself, in Python and with the library of sdk/python; the test may rewrite what they do."""
import sys

from control import stats, workers
from tova_host import IMPATIENT, ROOT, Host, wait_until
from wsclient import connect

PYTHONPATH = {"PYTHONPATH": str(ROOT / "sdk/python"), "PYTHONDONTWRITEBYTECODE": "1"}


class Supervised:
    """A host with one command for workers, which the test may rewrite."""

    def __init__(self, directory, body, *args, command=None, env=None, **how):
        self.directory, self.control, self.file = directory, directory / "control", directory / "worker.py"
        if body is not None:
            self.write(body)
        command = command or f"exec {sys.executable} {self.file}"
        self.host = Host("-w", command, "--control", self.control, *IMPATIENT, *args, env={**PYTHONPATH, **(env or {})}, **how)

    def write(self, body):
        new = self.file.with_suffix(".new")
        new.write_text("import os, signal, sys, time\nfrom tova import *\n" + body + "\nif __name__ == '__main__': serve(globals())\n")
        new.rename(self.file)

    def client(self, path="/", **how):
        return connect("127.0.0.1", self.host.port, path, **how)

    def stat(self, name):
        return stats(self.control)[name]

    def died(self, how, after=0):
        return self.host.wait_log(lambda line: how in line.get("how", ""), how, after)

    def said(self, text, after=0):
        return self.host.wait_log(lambda line: text in line.get("message", "") or text in line.get("error", ""), text, after)

    def count(self, text):
        return sum(text in line.get("message", "") for line in list(self.host.lines))

    def ready(self, n=1):
        wait_until(lambda: sum(w["state"] == "ready" for w in workers(self.control)) == n, f"{n} workers are ready")
        return self

    def __enter__(self):
        self.host.start()
        return self

    def __exit__(self, *error):
        self.host.__exit__(*error)
