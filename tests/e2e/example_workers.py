"""The examples in every language that they are written in: what is promised of one is promised of all."""
import glob
import os
import shlex
import shutil
import subprocess
import sys

from conftest import plugin
from tova_host import ROOT


def _node():
    return os.environ.get("TOVA_NODE") or shutil.which("node")


def _bun():
    """The benchmarks' own Bun, if it is there and this machine can run it."""
    for path in sorted(glob.glob(str(ROOT / "tests/bench/peers/node_modules/@oven/*/bin/bun"))):
        try:
            if subprocess.run([path, "--version"], stdout=subprocess.PIPE, stderr=subprocess.PIPE).returncode == 0:
                return path
        except OSError:
            pass
    return shutil.which("bun")


INTERPRETERS = {"python": (sys.executable, "py"), "node": (_node(), "mjs"), "bun": (_bun(), "mjs")}
assert INTERPRETERS["node"][0], "node is missing: run make test-deps"
KINDS = ["plugin", "isolate", *(kind for kind, (path, _) in INTERPRETERS.items() if path)]


def command(kind, path, *arguments):
    """A shell command that runs a worker's file; path lacks the ending."""
    interpreter, ending = INTERPRETERS[kind]
    return shlex.join([interpreter, f"{ROOT / path}.{ending}", *arguments])


def example(kind, mount, name, *arguments, workers=1):
    """Options that put an example at a mount. arguments: of its command line, for workers."""
    if kind == "plugin":
        return plugin(mount, name)
    if kind == "isolate":
        return *plugin(mount, name), "--isolate"
    return "--worker", f"{mount}={command(kind, f'examples/{name}/{name}', *arguments)}", "--workers", str(workers)
