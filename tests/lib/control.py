"""What a test asks a host over its control socket: directly, and through tova-ctl."""
import json
import subprocess

from raw_worker import RawWorker
from tova_host import BUILD, PATIENCE


def ask(path, what, **members):
    with RawWorker(f"ipc://{path}") as link:
        return link.ask(what, **members)


def do(path, what, **members):
    with RawWorker(f"ipc://{path}") as link:
        link.send({"t": "control", "q": 77, "do": what, **members})
        return link.expect("reply", q=77)


def stats(path):
    return ask(path, "stats")["stats"]


def stats_of(host):
    """Of a host without --control."""
    return stats(host.control_socket)


def workers(path):
    return ask(path, "workers")["workers"]


def ctl(path, *words, code=0, stdin=None):
    """Standard output of tova-ctl, which has to end with that code; or, if that is not 0, its standard error."""
    got = subprocess.run([str(BUILD / "tova-ctl"), "--control", str(path), *map(str, words)], input=stdin, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=isinstance(stdin, str) or stdin is None, timeout=PATIENCE)
    assert got.returncode == code, f"tova-ctl {words} ended with {got.returncode}: {got.stdout!r} {got.stderr!r}"
    return got.stdout if code == 0 else got.stderr


def ctl_json(path, *words):
    return json.loads(ctl(path, "--json", *words))
