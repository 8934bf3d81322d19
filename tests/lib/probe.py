"""Clients of the scriptable plugin tests/plugins/probe.c, and a Host that a whole test run can put under another program."""
import json
import os
import shlex
import subprocess
from urllib.parse import quote

import tova_host
from tova_host import BUILD, wait_until
from wsclient import WebSocket


class Host(tova_host.Host):
    """TOVA_WRAP="valgrind --error-exitcode=99 ..." runs every host under that command."""

    def __init__(self, *args, wrap=(), **how):
        super().__init__(*args, wrap=wrap or shlex.split(os.environ.get("TOVA_WRAP", "")), **how)


# Memory means little under another program or with a sanitizer in the host.
PROGRAM = (BUILD / "tova-host").read_bytes()
WRAPPED = bool(os.environ.get("TOVA_WRAP")) or b"__asan_init" in PROGRAM or b"__tsan_init" in PROGRAM


def plugin(name):
    """Path of a test plugin."""
    path = BUILD / "tests/plugins" / f"{name}.so"
    assert path.exists(), f"{path} is missing: run make test-plugins"
    return path


def _kinds():
    """The same plugin in the host's process and in a worker's: what is promised is promised of both. TOVA_KINDS=plugin for one only.
    A host under another program starts no workers: it would take that program for itself."""
    if "TOVA_KINDS" in os.environ:
        return os.environ["TOVA_KINDS"].split(",")
    if os.environ.get("TOVA_WRAP"):
        return ["plugin"]
    told = subprocess.run([str(BUILD / "tova-host"), "--help"], stdout=subprocess.PIPE, text=True).stdout
    return ["plugin", "isolate"] if "--isolate" in told else ["plugin"]


KINDS = _kinds()


def kind_args(kind):
    return {"plugin": [], "isolate": ["--isolate"], "pool": ["--isolate", "--workers", "3"]}[kind]


def escape(text):
    """A text or bytes as one word of a script, in which ';' and line breaks part commands."""
    return quote(text, safe="")


def opened(script):
    """A query whose script runs in on_open."""
    return "open=" + escape(script)


class ProbeClient(WebSocket):
    """Speaks the language of tests/plugins/probe.c."""

    _next_query = 1000
    _id = None

    def script(self, *lines):
        """Runs the lines in one callback."""
        self.send_text("\n".join(lines))

    def ask(self, *lines):
        self.script(*lines)
        return self.recv_text()

    def ask_json(self, *lines):
        return json.loads(self.ask(*lines))

    def recv_json(self):
        return json.loads(self.recv_text())

    @property
    def id(self):
        if self._id is None:
            self._id = self.ask("myid")
        return self._id

    def query(self, kind, argument=""):
        ProbeClient._next_query += 1
        reply = self.ask_json(f"query {kind} {ProbeClient._next_query} {argument}")
        assert reply["event"] == "reply" and reply["id"] == ProbeClient._next_query, reply
        return reply

    def members(self, room):
        return set(self.query("members", room)["connections"])

    def rooms(self, of="me"):
        return set(self.query("rooms", of)["rooms"])

    def results(self):
        """What the commands of the previous script returned. Nothing may be under way to this client."""
        return self.ask_json("results")

    def event(self, kind=None, ws=None):
        """Of an observer: the next event of this kind, of this connection."""
        while True:
            event = self.recv_json()
            if kind in (None, event["event"]) and ws in (None, event["ws"]):
                return event

    def settle(self):
        """Everything this client has sent was handled, and nothing else is under way to it."""
        assert self.ask("send settled") == "settled"


class Probe:
    """Opens connections at a probe's mount; leaving it drops them and waits until the host has noticed."""

    def __init__(self, host, mount="/probe"):
        self.host, self.mount, self._clients = host, mount, []
        self.kind = "isolate" if "--isolate" in host.args else "plugin"

    def client(self, query="", path="/", **how):
        ws = ProbeClient("127.0.0.1", self.host.port, **{k: how.pop(k) for k in ("receive_buffer", "timeout") if k in how})
        self._clients.append(ws)
        return ws.handshake(self.mount + path + ("?" + query if query else ""), **how)

    def clients(self, n, query=""):
        return [self.client(query) for _ in range(n)]

    def observer(self):
        """Hears of every open, close, error, timer and wake of the mount from now on."""
        ws = self.client(path="/observe")
        assert ws.recv_text() == "observing"
        return ws

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for ws in self._clients:
            ws.drop()
        if not self.host.alive():
            return
        last = self.client()
        wait_until(lambda: last.query("connections")["count"] == 1, "the connections of this test are gone")
        last.end()
