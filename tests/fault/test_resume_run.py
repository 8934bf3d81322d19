"""The run: clients of tova.v1 that say numbered things to themselves and to rooms, whose sockets are cut at any moment, while workers
are killed, and a proxy is. Each message takes effect once, in order, in both directions, and no handler notices a cut: it hears of no
close, and of no second open. The clients are in tests/fault/resume/.

TOVA_LONG=1: 1,000 of them for a minute, over all products. RESUME_SECONDS, RESUME_CLIENTS and RESUME_RATE make it another size.
"""
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from certificates import Certificates, tls
from probe import Host, ProbeClient, plugin
from tova_host import BUILD, PATIENCE, free_port, wait_until
from wsclient import Closed

LONG = "TOVA_LONG" in os.environ
SECONDS = int(os.environ.get("RESUME_SECONDS", "60" if LONG else "4"))
CLIENTS = int(os.environ.get("RESUME_CLIENTS", "1000" if LONG else "100"))
RATE = int(os.environ.get("RESUME_RATE", "20000" if LONG else "3000"))
WORKER = Path(__file__).resolve().parent / "workers/resume.py"

KINDS = {  # a handler, and after how many seconds another one of its workers is killed
    "plugin": (lambda: ["--plugin", f"/probe={plugin('probe')}"], None),
    "c": (lambda: ["--plugin", f"/probe={plugin('probe')}", "--isolate", "--workers", "2", "--max-attempts", "1000"], 0.3),
    "python": (lambda: ["--worker", f"/probe={sys.executable} {WORKER}", "--workers", "2", "--max-attempts", "1000"], 2),
}
RUNS = list(itertools.product(["c", "python"], ["1", "3"], ["plain", "tls", "deflate"])) if LONG \
    else [("c", "3", "tls"), ("python", "1", "deflate"), ("plugin", "3", "plain")]


class Observer(threading.Thread):
    """Hears of every open and every close of the mount."""

    def __init__(self, host, **how):
        super().__init__(daemon=True)
        self.ws = ProbeClient("127.0.0.1", host.port, **how).handshake("/probe/observe")
        assert self.ws.recv_text() == "observing"
        self.events = {}
        self.start()

    def run(self):
        try:
            while True:
                event = json.loads(self.ws.recv_text())
                if event["event"] in ("open", "close"):
                    self.events.setdefault(event["ws"], []).append(event["event"])
        except (Closed, OSError, AssertionError):
            pass

    def closes(self):
        return sum(e.count("close") for e in list(self.events.values()))


class Trouble(threading.Thread):
    """Makes some again and again until it is told to stop."""

    def __init__(self, every, make):
        super().__init__(daemon=True)
        self.every, self.make, self.n = every, make, 0
        self.over = threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(self.every * random.uniform(0.5, 1.5)):
            self.n += self.make()

    def stop(self):
        self.over.set()
        self.join()


def kill_worker(host):
    try:
        os.kill(random.choice(host.children), signal.SIGKILL)
    except (IndexError, ProcessLookupError):
        return 0  # there is none just now
    return 1


def run(host, port, *args):
    """What the clients say of themselves when they are through."""
    command = [str(BUILD / "tests/fault/resume-run"), "--port", str(port), "--clients", str(CLIENTS), "--seconds", str(SECONDS),
               "--rate", str(RATE), "--patience", str(int(PATIENCE * 8)), *args]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    print(json.dumps(told))
    return told


def check(told, observer):
    wait_until(lambda: observer.closes() >= CLIENTS, "the closes of all", 60)
    heard = list(observer.events.values())
    assert len(heard) == CLIENTS and all(e == ["open", "close"] for e in heard), [e for e in heard if e != ["open", "close"]][:5]
    assert told["messages"] > CLIENTS and told["returns"] > 0 and all(n > 0 for n in told["cuts"].values()), told


def keeps_dying(line):
    """What the host says of a worker that was killed again and again before it had lived for long: rightly, here."""
    return "keeps dying" in line.get("message", "")


def options(transport, folder):
    """Of the host, of the clients, and of the observer."""
    if transport == "tls":
        certs = Certificates(folder).make("here", "localhost")
        return certs.args("here"), ["--tls"], {"wrap": tls(certs.cert("here"))}
    return (["--deflate"], ["--deflate"], {}) if transport == "deflate" else ([], [], {})


def resuming(kind, threads, *args):
    # an observer does not read for seconds while the machine is busy: that is not what is tested
    return Host(*KINDS[kind][0](), "--resume", "120s", "--resume-messages", "100000", "--resume-queue", "64m", "--max-queue", "64m",
                "--threads", threads, *args, env={"PYTHONDONTWRITEBYTECODE": "1"})


@pytest.mark.parametrize("kind, threads, transport", RUNS)
def test_each_message_once(kind, threads, transport, tmp_path):
    of_host, of_clients, of_observer = options(transport, tmp_path)
    with resuming(kind, threads, *of_host) as host:
        if kind != "plugin":
            host.wait_log(lambda line: line.get("message") == "a worker is ready")
        observer = Observer(host, **of_observer)
        every = KINDS[kind][1]
        host.allow(keeps_dying)
        kills = Trouble(every, lambda: kill_worker(host)) if every else None
        told = run(host, host.port, *of_clients)
        if kills:
            kills.stop()
            print(f"{kills.n} workers killed")
            assert kills.n > 0
        check(told, observer)


class Proxy:
    """HAProxy in front of the host, at a port that stays."""

    def __init__(self, folder, to):
        self.port = free_port()
        self.file = folder / "haproxy.cfg"
        self.file.write_text(f"""global
    maxconn 5000
defaults
    mode http
    timeout connect 5s
    timeout client 1m
    timeout server 1m
    timeout tunnel 1h
frontend f
    bind 127.0.0.1:{self.port}
    default_backend b
backend b
    server host 127.0.0.1:{to}
""")
        self.start()

    def start(self):
        self.process = subprocess.Popen(["/usr/sbin/haproxy", "-db", "-f", str(self.file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def restart(self):
        self.stop()
        self.start()
        return 1

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.mark.parametrize("kind, threads", itertools.product(["c", "python"], ["1", "3"]) if LONG else [("c", "1")])
def test_behind_a_proxy_that_is_restarted(kind, threads, tmp_path):
    with resuming(kind, threads) as host:
        host.wait_log(lambda line: line.get("message") == "a worker is ready")
        observer = Observer(host)
        proxy = Proxy(tmp_path, host.port)
        try:
            host.allow(keeps_dying)
            kills = Trouble(KINDS[kind][1], lambda: kill_worker(host))
            restarts = Trouble(4 if LONG else 1, proxy.restart)
            talking = threading.Thread(target=lambda: (time.sleep(SECONDS * 0.9), restarts.stop()))
            talking.start()
            told = run(host, proxy.port)
            talking.join()
            kills.stop()
            print(f"{kills.n} workers killed, {restarts.n} restarts of the proxy")
            assert kills.n > 0 and restarts.n > 0
            check(told, observer)
        finally:
            proxy.stop()
