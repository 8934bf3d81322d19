"""The C worker library: tova-worker with a plugin, and the example, against a host whose every word is the test's, and real ones."""
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fake_host import HANDSHAKE, FakeHost
from probe import Probe, plugin
from tova_host import BUILD, PATIENCE, ROOT, Host, wait_until
from wsclient import connect

CONN, OTHER = "A" * 21 + "Q", "B" * 21 + "Q"
REQUEST = {
    "method": "GET", "path": "/x", "query": "", "mount": "/", "host": "example.org", "headers": [],
    "remote": ["127.0.0.1", 5], "local": ["::1", 6], "tls": None, "subprotocols": [],
}


class Process:
    """A worker, with what it says on standard error."""

    def __init__(self, command, **env):
        self.process = subprocess.Popen([str(c) for c in command], env={**os.environ, **env}, cwd=ROOT, stderr=subprocess.PIPE)
        self.said = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stderr:
            self.said += line

    def wait(self):
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def kill(self):
        self.process.kill()
        self.process.wait()

    def wait_said(self, text):
        wait_until(lambda: text in self.said, f"{text!r} in {self.said!r}")


@pytest.fixture
def host():
    with FakeHost() as fake:
        yield fake


@contextmanager
def running(*command, **env):
    worker = Process(command, **env)
    try:
        yield worker
    finally:
        worker.kill()


@contextmanager
def serving(host, *command, drain=True, **env):
    """A worker that has been welcomed, as (process, link). At the end it has to leave in good order."""
    with running(*command, TOVA_URL=host.url, **env) as worker:
        link = host.accept()
        link.welcome()
        yield worker, link
        if drain:
            link.send({"t": "drain"})
            link.expect("bye")
            link.close()
            assert worker.wait() == 0, worker.said


def probe_worker(host, *arguments, name="probe", **how):
    return serving(host, BUILD / "tova-worker", *arguments, plugin(name), **how)


@pytest.mark.parametrize("door", ["ipc", "tcp"])
def test_a_busy_process_shows_that_it_lives(tmp_path, door):
    """From a thread of its own, while a callback takes its time."""
    with FakeHost(tmp_path) if door == "ipc" else FakeHost(port=0) as host, probe_worker(host) as (_, link):
        events = Events(link)
        events.deliver("message", data="stall 7000")
        link.expect("pong")
        while (got := link.receive())["t"] == "pong":
            pass
        assert (got["t"], got["s"]) == ("ack", 1), got


class Events:
    """Delivers numbered events of one connection."""

    def __init__(self, link):
        self.link, self.number = link, 0

    def deliver(self, event, binary=b"", conn=CONN, **members):
        self.number += 1
        o = {"t": event, "s": self.number, "seq": self.number, "attempt": 1, **members}
        if conn:
            o["conn"] = conn
        self.link.send(o, binary=binary)
        return self.number

    def ack(self, event, **how):
        number = self.deliver(event, **how)
        return self.link.expect("ack", s=number)

    def nack(self, event, **how):
        number = self.deliver(event, **how)
        return self.link.expect("nack", s=number)

    def script(self, *lines, **how):
        return self.ack("message", data="\n".join(lines), **how).get("commands", [])

    def failing(self, *lines, **how):
        return self.nack("message", data="\n".join(lines), **how)["error"]


@pytest.fixture
def probe(host):
    with probe_worker(host) as (_, link):
        yield Events(link)


# --- hello, and what comes before it -------------------------------------------------------------------------------------------

def test_hello(host):
    with running(BUILD / "tova-worker", plugin("probe"), TOVA_URL=host.url, TOVA_TOKEN="se\"cret", TOVA_MOUNT="/chat") as worker:
        hello = host.accept().greet()
        assert hello == {
            "t": "hello", "v": 1, "token": "se\"cret", "mount": "/chat", "name": f"probe 1.0 ({worker.process.pid})",
            "events": ["upgrade", "open", "message", "close", "error", "timer", "away", "back"], "claims": True, "runs": 64}


def test_only_events_that_have_a_callback_are_wanted(host):
    with running(BUILD / "examples/echo-worker", TOVA_URL=host.url):
        hello = host.accept().greet()
        assert hello["events"] == ["message"] and "mount" not in hello


def test_options_go_before_the_environment(host):
    with running(BUILD / "tova-worker", "--url", host.url, "--mount", "/m", "--name", "nöme", "--set", "greeting=x=y", plugin("probe"),
                 TOVA_URL="ipc:///nowhere", TOVA_MOUNT="/n", TOVA_SETTINGS='{"greeting":"hello","other":"1"}'):
        link = host.accept()
        hello = link.welcome()
        assert hello["mount"] == "/m" and hello["name"] == "nöme"
        events = Events(link)
        assert [c["data"] for c in events.script("setting greeting", "setting other", "setting none")] == ["x=y", "1", "(null)"]


@pytest.mark.parametrize("arguments, env, code, said", [
    ([], {}, 2, b"a plugin: is missing"),
    (["--nonsense"], {}, 2, b"--nonsense"),
    (["{probe}", "{probe}"], {}, 2, b"one plugin is enough"),
    (["nowhere"], {}, 2, b"was not found"),
    (["/etc/passwd"], {}, 2, b"it is not a whole shared object"),
    (["{bad_abi_major}"], {}, 2, b"plugin interface"),
    (["{probe_local}"], {}, 2, b"keeps pointers with its connections"),
    (["--set", "nonsense", "{probe}"], {}, 2, b"expected KEY=VALUE"),
    (["{probe}"], {"TOVA_URL": None}, 2, b"<3>there is no TOVA_URL"),
    (["--url", "nonsense:x", "{probe}"], {}, 2, b"<3>nonsense:x: "),
    (["{probe}"], {"TOVA_SETTINGS": "[1]"}, 2, b"<3>TOVA_SETTINGS is not a JSON object"),
    (["{probe}"], {"TOVA_SETTINGS": '{"a":1}'}, 2, b'<3>TOVA_SETTINGS: the value of "a" is not a text'),
    (["--set", "nonsense=1", "{probe_settings}"], {}, 2, b'has no setting "nonsense"; expected '),
    (["{bad_start}"], {}, 1, b"<4>start failed: "),
    (["--set", "start_fail=not today", "{probe}"], {}, 1, b"<4>start failed: not today"),
])
def test_refusals(arguments, env, code, said):
    paths = {p.stem: p for p in (BUILD / "tests/plugins").glob("*.so")}
    env = {k: v for k, v in {"TOVA_URL": "ipc:///nowhere", **env}.items() if v is not None}
    with running(BUILD / "tova-worker", *[a.format_map(paths) for a in arguments], **env) as worker:
        assert worker.wait() == code, worker.said
        assert said in worker.said


def test_help_and_version():
    for option, text in (("--help", b"Usage: tova-worker"), ("--version", b"tova-worker 0.")):
        assert text in subprocess.run([BUILD / "tova-worker", option], capture_output=True, check=True).stdout


# --- events and commands --------------------------------------------------------------------------------------------------------

def test_a_request_arrives_whole(probe):
    request = {
        **REQUEST, "query": "request=1", "headers": [["X", "ä\t"], ["cookie", "a=b; c ; =d;e=f=g"], ["Cookie", "h=\"i\""], ["Cookie", ""]],
        "tls": {"version": "TLSv1.3", "cipher": "X", "subject": None}, "subprotocols": ["a", "b"], "secure": True,
        "claims": {"sub": "ada", "roles": ["x"], "n": 1}}
    sent = [c["data"] for c in probe.ack("open", request=request)["commands"] if c["c"] == "send"]
    seen = json.loads(sent[0])
    assert seen["headers"] == [list(h) for h in request["headers"]]
    assert seen["cookies"] == [["a", "b"], ["c", ""], ["e", "f=g"], ["h", "\"i\""]]
    assert seen["subprotocols"] == ["a", "b"] and seen["tls_version"] == "TLSv1.3" and seen["tls_subject"] is None
    assert json.loads(seen["claims"]) == request["claims"] and seen["subject"] == "ada" and seen["secure"] == 1
    assert (seen["remote_addr"], seen["remote_port"], seen["local_addr"], seen["local_port"]) == ("127.0.0.1", 5, "::1", 6)


def test_commands(probe):
    assert probe.script(
        "send ä\"\\%0a%01%00", "sendb %00%ff", f"send_to {OTHER} x", "join r", f"leave_of {OTHER} r", "broadcast a", "broadcastb b",
        "to r c", "to_others r d", f"broadcast_except {OTHER} e", "close 1000 bye", f"close_of {OTHER} 0 ", "timer n 1 2 3",
        f"wstimer {OTHER} n 4 5 0", "wscancel me n", f"set {OTHER} st",
    ) == [
        {"c": "send", "data": "ä\"\\\n\x01\x00"}, {"c": "send", "bin": b"\0\xff"}, {"c": "send", "conn": OTHER, "data": "x"},
        {"c": "join", "room": "r"}, {"c": "leave", "conn": OTHER, "room": "r"}, {"c": "broadcast", "data": "a"},
        {"c": "broadcast", "bin": b"b"}, {"c": "broadcast_to", "room": "r", "data": "c"},
        {"c": "broadcast_to", "room": "r", "exclude": CONN, "data": "d"}, {"c": "broadcast", "exclude": OTHER, "data": "e"},
        {"c": "close", "code": 1000, "reason": "bye"}, {"c": "close", "conn": OTHER},
        {"c": "timer", "name": "n", "id": 1, "delay": 2, "period": 3},
        {"c": "timer", "conn": OTHER, "name": "n", "id": 4, "delay": 5, "period": 0}, {"c": "cancel", "conn": CONN, "name": "n"},
        {"c": "set", "conn": OTHER, "state_bin": b"st".ljust(64, b"\0")},
    ]


def test_conflation_keys(probe):
    assert probe.script("key kä", "send x", "sendb y", "broadcast a", "to_others r b", "key", "send z", "key " + "k" * 255, "send x") == [
        {"c": "send", "key": "kä", "data": "x"}, {"c": "send", "key": "kä", "bin": b"y"}, {"c": "broadcast", "key": "kä", "data": "a"},
        {"c": "broadcast_to", "room": "r", "exclude": CONN, "key": "kä", "data": "b"}, {"c": "send", "data": "z"},
        {"c": "send", "key": "k" * 255, "data": "x"}]
    assert probe.failing("key " + "k" * 256, "send x") == "a command exceeded a limit"
    assert probe.failing("key %ff", "send x") == "a command sent text that is not UTF-8"


def test_an_event_without_commands_is_just_acknowledged(probe):
    assert probe.ack("message", data="stall 0") == {"t": "ack", "s": 1}


def test_timers_close_and_error(probe):
    probe.script("on close send_to me %41", "on error send %42", "on timer send %43")
    assert {"c": "send", "data": "C"} in probe.ack("timer", name="n", id=2**53 - 1, delay=1, period=0)["commands"]
    assert probe.ack("timer", conn=None, name="m", id=7, delay=1, period=0)["commands"] == [
        {"c": "broadcast_to", "room": "observers", "data": '{"event":"timer","ws":"AAAAAAAAAAAAAAAAAAAAAA","name":"m","id":7}'}]
    for kind, number in (("handler", 1), ("protocol", 2), ("transport", 3)):
        report = probe.ack("error", kind=kind, error="wörong")["commands"][0]["data"]
        assert json.loads(report) == {"event": "error", "ws": CONN, "kind": number, "text": "wörong"}
    commands = probe.ack("close", code=1001, reason="away", rooms=["a", "ä"])["commands"]
    assert json.loads(commands[0]["data"])["rooms"] == ["a", "ä"] and {"c": "send", "data": "A"} in commands


@pytest.mark.parametrize("line, code", [
    ("join ", -1), ("join " + "x" * 256, -1), ("join %ff", -1), ("join a%00b", -1), ("send %ff", -2), ("kind 3 x", -4), ("close 1002 x", -4),
    ("close 1000 " + "x" * 124, -4), ("close 1000 %ff", -2), ("close 0 x", -4), ("timer  1 1 1", -4), ("timer n 9007199254740992 1 1", -4),
    ("set me " + "x" * 65, -3), ("query count 1 ", -1), ("query nonsense 1 x", -4), ("subprotocol a", -6), ("header A:b", -6), ("refuse 403 x", -6),
])
def test_wrong_commands_have_codes_and_spoil_their_event(probe, line, code):
    if code == -6:
        assert probe.script(line, "send x") == [{"c": "send", "data": "x"}]  # out of place, and no command
    else:
        assert probe.failing("send x", line, "send y")
    assert json.loads(probe.script("results")[0]["data"])[-2:][:1] == [code] or \
        json.loads(probe.script("results")[0]["data"])[1] == code


def test_more_than_a_message_can_hold_is_a_failure(probe):
    assert probe.failing(f"huge {64 << 20}") == "a command exceeded a limit"
    assert probe.failing(f"flood 100 {1 << 20}") == "a command exceeded a limit"
    sent = probe.script(f"flood 40 {1 << 20}")
    assert [c["data"].split("x")[0] for c in sent] == [f"{i} " for i in range(40)]


def test_large_events_arrive(probe):
    data = os.urandom(3 << 20)
    assert probe.ack("message", bin=len(data), binary=data)["commands"] == [{"c": "send", "bin": data}]  # binary comes back as it is
    text = "ä\"\\" * (1 << 20)
    assert probe.script("send " + text) == [{"c": "send", "data": text}]


def test_a_failing_callback_is_refused_with_its_text(probe):
    assert probe.failing("send x", "fail wröng") == "wröng"
    assert probe.failing("fail a%ffb") == "a"
    assert probe.failing("failcode 5") == "the plugin gave no reason"


def test_the_event_at_hand(probe):
    number = probe.number + 1
    assert json.loads(probe.script("event", attempt=7)[0]["data"]) == {"ws": CONN, "sequence": number, "attempt": 7}


# --- data ------------------------------------------------------------------------------------------------------------------------

def padded(data, size=64):
    return data.ljust(size, b"\0")


def test_data_travels_with_events(probe):
    state = padded(b"ab")
    assert probe.script("getdata")[0]["data"] == "00" * 64
    assert probe.script("data 0 ab")[-1] == {"c": "set", "state_bin": state}
    assert probe.script("getdata", state=state.decode()) == [{"c": "send", "data": state.hex()}]
    other = bytes(range(192, 256))
    assert probe.script("getdata", state_bin=64, binary=other) == [{"c": "send", "data": other.hex()}]


def test_what_did_not_change_is_not_said(probe):
    assert probe.script("data 0 ab", "data 0 %00%00") == []
    assert probe.script("data 0 ab", state=padded(b"ab").decode()) == []


def test_data_of_a_failing_callback_is_undone(probe):
    assert probe.failing("data 0 ab", "fail no") == "no"
    assert probe.script("getdata")[0]["data"] == "00" * 64


def test_set_of_the_own_connection_is_its_data(probe):
    assert probe.script("data 0 abcd", "set me x", "getdata") == [
        {"c": "send", "data": padded(b"x").hex()}, {"c": "set", "state_bin": padded(b"x")}]


def test_bytes_of_state_and_message_together(probe):
    assert probe.ack("message", bin=3, state_bin=64, binary=b"\xff" * 64 + b"abc")["commands"] == [{"c": "send", "bin": b"abc"}]


def test_data_of_another_size_needs_a_way_over(host):
    with probe_worker(host, name="probe_bigger_nomigrate") as (_, link):
        assert Events(link).failing("getdata", state=padded(b"ab").decode()) == \
            "the connection keeps 64 bytes and probe 3.1 keeps 128, and has no migrate()"


def test_a_way_over_that_fails_is_a_failure_of_the_event(host):
    with probe_worker(host, name="probe_bigger_badmigrate") as (_, link):
        assert Events(link).failing("getdata", state=padded(b"ab").decode()) == "can not migrate from "


# --- upgrades --------------------------------------------------------------------------------------------------------------------

def upgrade(probe, query, **members):
    return probe.ack("upgrade", conn=None, request={**REQUEST, "query": query, **members})


def test_an_upgrade_is_accepted(probe):
    assert upgrade(probe, "") == {"t": "ack", "s": 1}
    answer = upgrade(probe, "sub=b&header=X-A:c%22&header=X-B:", subprotocols=["a", "b"])
    assert answer["accept"] == {"headers": [["X-A", "c\""], ["X-B", ""]], "subprotocol": "b"}
    assert upgrade(probe, "up=data 0 ab")["accept"] == {"headers": [], "state_bin": padded(b"ab")}


def test_an_upgrade_is_refused(probe):
    assert upgrade(probe, "refuse=403&body=n%C3%B6&header=X:y")["refuse"] == {"status": 403, "body": "nö", "headers": [["X", "y"]]}
    assert upgrade(probe, "refuse=500&body=%ff")["refuse"] == {"status": 500, "headers": [], "bin": b"\xff"}
    nack = probe.nack("upgrade", conn=None, request={**REQUEST, "query": "upgradefail=oh"})
    assert nack["error"] == "oh"


@pytest.mark.parametrize("query", [
    "sub=c", "header=X:a%0d%0ab", "header=:x", "header=Content-Length:0", "header=sec-websocket-accept:x", "header=X:%ff",
    "refuse=200", "refuse=600", "header=X:" + "y" * 4096])
def test_wrong_answers_to_an_upgrade(probe, query):
    assert probe.nack("upgrade", conn=None, request={**REQUEST, "query": query, "subprotocols": ["a"]})["error"]


# --- queries, wakes, pushes ------------------------------------------------------------------------------------------------------

def test_queries_follow_their_acknowledgement(probe):
    probe.script("query members 18446744073709551615 ä", f"query rooms 2 {OTHER}", "query stats 3 ")
    first, second, third = (probe.link.expect("query") for _ in range(3))
    assert {**first, "q": 0} == {"t": "query", "q": 0, "what": "members", "room": "ä", "limit": 1000}
    assert second["what"] == "rooms" and second["conn"] == OTHER and third["what"] == "stats"
    probe.link.send({"t": "reply", "q": third["q"], "stats": {"uptime_ms": 5, "bytes_out": 2**53 - 1, "other": 1}})
    reply = json.loads(probe.link.expect("push")["commands"][0]["data"])
    assert reply["id"] == 3 and reply["uptime_ms"] == 5 and reply["bytes_out"] == 2**53 - 1
    probe.link.send({"t": "reply", "q": second["q"], "count": 1, "rooms": ["r"]})
    assert json.loads(probe.link.expect("push")["commands"][0]["data"])["rooms"] == ["r"]
    probe.link.send({"t": "reply", "q": first["q"], "count": 2, "members": [{"conn": CONN, "user": "ada"}, {"conn": OTHER}]})
    reply = json.loads(probe.link.expect("push")["commands"][0]["data"])
    assert reply["id"] == 2**64 - 1 and reply["connections"] == [CONN, OTHER]
    probe.script("query members 4 ä")  # a host of before knows no pages
    probe.link.send({"t": "reply", "q": probe.link.expect("query")["q"], "count": 1, "connections": [OTHER]})
    reply = json.loads(probe.link.expect("push")["commands"][0]["data"])
    assert reply["id"] == 4 and reply["connections"] == [OTHER]


def test_a_query_of_a_failing_callback_is_not_asked(probe):
    probe.failing("query count 1 r", "fail no")
    assert probe.script("send x") == [{"c": "send", "data": "x"}]


def test_pushes_are_numbered(probe):
    pushes = []
    for _ in range(3):
        probe.script("wake")
        pushes.append(probe.link.expect("push"))
    assert [p["n"] for p in pushes] == [1, 2, 3] and len({p["source"] for p in pushes}) == 1


def test_threads_may_wake_and_nothing_else(host):
    with probe_worker(host, "--set", "greeting=hi") as (worker, link):
        Events(link).script("thread")
        assert json.loads(link.expect("push")["commands"][0]["data"])["thread"] == [-5, -5, -5]
        worker.wait_said(b"<5>hi from a thread\n")


def test_start_commands_are_said_on_every_link(host):
    with running(BUILD / "tova-worker", "--set", "start_timer=100", plugin("probe"), TOVA_URL=host.url):
        seen = []
        for name in ("L1", "L2", "L3"):
            link = host.accept()
            link.welcome(name)
            push = link.expect("push", n=1)
            link.send({"t": "done", "source": push["source"], "n": 1, "repeated": name != "L1"})
            seen.append(push)
            link.expect_alive()
            link.close()
        assert seen[0]["commands"] == [{"c": "timer", "name": "start", "id": 7, "delay": 100, "period": 0}]
        assert len({p["source"] for p in seen}) == 1


# --- links that break ------------------------------------------------------------------------------------------------------------

def test_a_new_link_is_greeted_and_old_events_are_forgotten(host):
    with running(BUILD / "tova-worker", plugin("probe"), TOVA_URL=host.url):
        link = host.accept()
        link.welcome("L1")
        events = Events(link)
        events.deliver("message", data="stall 300")
        events.deliver("message", data="send old")
        link.close()
        link = host.accept()
        link.forgive_links("L1")
        link.welcome("L2")
        assert Events(link).script("send new") == [{"c": "send", "data": "new"}]


def test_what_was_not_answered_is_said_again(host):
    with running(BUILD / "tova-worker", plugin("probe"), TOVA_URL=host.url):
        link = host.accept()
        link.welcome("L1")
        events = Events(link)
        events.script("wake")
        done = link.expect("push", n=1)
        link.send({"t": "done", "source": done["source"], "n": 1})
        events.script("wake")
        push = link.expect("push", n=2)
        events.script("query count 5 r")
        query = link.expect("query")
        link.close()
        link = host.accept()
        link.forgive_links("L1")
        link.welcome("L2")
        assert link.expect("push") == push
        assert link.expect("query")["q"] == query["q"]
        # A host that was started anew does not know the source, and what comes next must not depend on it.
        link.send({"t": "done", "source": push["source"], "n": 2, "error": "the source is not known"})
        again = link.expect("push", n=1, commands=push["commands"])
        assert again["source"] != push["source"]
        link.send({"t": "done", "source": again["source"], "n": 1})
        Events(link).script("wake")
        assert link.expect("push", n=1)["source"] not in (push["source"], again["source"])


def test_what_is_said_again_is_not_one_message(host):
    """A host takes no message above 64 MiB and none of more than 32,768 objects."""
    with running(BUILD / "tova-worker", plugin("probe"), TOVA_URL=host.url):
        link = host.accept()
        link.welcome("L1")
        events = Events(link)
        pushes = []
        for _ in range(20):
            events.script(f"later broadcast {'x' * 100_000}", "wake")
            pushes.append(link.expect("push")["commands"])
        link.close()
        link = host.accept()
        link.forgive_links("L1")
        link.welcome("L2")
        again = []
        while len(again) < 20:
            objects = link.receive_batch()
            assert len(json.dumps(objects)) < 1 << 20
            again += [o["commands"] for o in objects if o["t"] == "push"]
        assert again == pushes


def test_a_refused_push_is_said_once_more_at_most(host):
    with probe_worker(host) as (worker, link):
        events = Events(link)
        for n in (1, 2):
            events.script("wake")
            push = link.expect("push", n=n)
        link.send({"t": "done", "source": push["source"], "n": 2, "error": "no"})
        push = link.expect("push", n=1)
        link.send({"t": "done", "source": push["source"], "n": 1, "error": "no, I said"})
        worker.wait_said(b"<4>the host refused commands that answer no event: no, I said\n")
        assert events.script("send x") == [{"c": "send", "data": "x"}]


def test_a_wake_without_a_link_waits_for_one(host):
    with running(BUILD / "tova-worker", plugin("probe"), TOVA_URL=host.url):
        link = host.accept()
        link.welcome("L1")
        Events(link).deliver("message", data="stall 300\nwake")
        link.close()
        link = host.accept()
        link.forgive_links("L1")
        link.welcome("L2")
        assert json.loads(link.expect("push", n=1)["commands"][0]["data"])["event"] == "wake"


def test_it_waits_for_a_host_that_is_not_there_yet():
    directory = tempfile.mkdtemp(prefix="tova-fake-")
    with running(BUILD / "tova-worker", plugin("probe"), TOVA_URL=f"ipc://{directory}/host.sock") as worker:
        with FakeHost(directory) as late:
            link = late.accept()
            link.welcome()
            assert worker.process.poll() is None
    shutil.rmtree(directory)


def test_tcp():
    with FakeHost(port=0) as host, probe_worker(host) as (_, link):
        assert Events(link).script("sendb %00") == [{"c": "send", "bin": b"\0"}]


# --- the Unix socket, where the library speaks nng's protocol by itself --------------------------------------------------------------

@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", HANDSHAKE[:5] + b"\x50\0\0", HANDSHAKE[:7], b""])
def test_something_else_listens(host, greeting):
    with running(BUILD / "tova-worker", plugin("probe"), TOVA_URL=host.url):
        stranger = host.listener.accept()[0]
        stranger.sendall(greeting)
        stranger.shutdown(socket.SHUT_WR)
        stranger.settimeout(PATIENCE)
        try:
            assert stranger.recv(100) == HANDSHAKE and stranger.recv(100) == b""
        except ConnectionResetError:
            pass
        host.accept().welcome()


BREAKS = {"no-message": b"\x02" + bytes(8) + b"[]", "too-long": b"\x01" + b"\xff" * 8 + b"[", "half-a-head": b"\x01\0\0",
          "half-a-body": b"\x01" + struct.pack(">Q", 5000) + b'[{"t":"mess', "a-lie": b"\x01" + struct.pack(">Q", 1 << 50) + b"[{" + b" " * 100}


@pytest.mark.parametrize("what", BREAKS)
def test_what_is_cut_short_is_left_to_the_next_link(host, what):
    with running(BUILD / "tova-worker", plugin("probe"), TOVA_URL=host.url) as worker:
        link = host.accept()
        link.welcome()
        events = Events(link)
        assert events.script("send x")
        before = events.deliver("message", data="send y")
        with suppress(OSError):  # it may have seen enough
            for at in range(len(BREAKS[what])):  # what is reserved for it does not grow with every read
                link.sock.sendall(BREAKS[what][at:at + 1])
                time.sleep(0)
            link.sock.shutdown(socket.SHUT_WR)
        link.expect("ack", s=before)
        link.expect_end()
        link = host.accept()
        link.welcome("L2")
        assert Events(link).script("send z") == [{"c": "send", "data": "z"}]
        assert worker.said.count(b"the connection to the host ended") == 1


@pytest.mark.parametrize("step", [1, 7, 4096, 1 << 20])
def test_messages_come_in_any_pieces(host, step):
    with serving(host, BUILD / "examples/echo-worker") as (_, link):
        bodies = [json.dumps([{"t": "message", "s": s, "conn": CONN, "seq": s, "attempt": 1, "data": f"{s}" * s}]).encode() for s in range(1, 150)]
        stream = b"".join(b"\x01" + struct.pack(">Q", len(body)) + body for body in bodies)
        for at in range(0, len(stream), step):
            link.sock.sendall(stream[at:at + step])
        for s in range(1, 150):
            assert link.expect("ack", s=s)["commands"][0]["data"] == f"{s}" * s


def test_a_host_that_reads_late(host):
    with serving(host, BUILD / "examples/echo-worker") as (_, link):
        texts = [f"{s}" * 300000 for s in range(1, 9)]
        events = [{"t": "message", "s": s, "conn": CONN, "seq": s, "attempt": 1, "data": text} for s, text in enumerate(texts, 1)]
        sender = threading.Thread(target=lambda: [link.send(event) for event in events])
        sender.start()
        # Its answers fill the socket, it waits, and reads no more: so the sender waits, too.
        wait_until(lambda: waiting(link.sock) > 100000, "answers wait")
        for s, text in enumerate(texts, 1):
            assert link.expect("ack", s=s)["commands"][0]["data"] == text
        sender.join()


@pytest.mark.parametrize("times", ["once", "twice"])
def test_a_host_that_never_reads_keeps_nobody(host, times):
    with running(BUILD / "examples/echo-worker", TOVA_URL=host.url) as worker:
        link = host.accept()
        link.welcome()
        events = [{"t": "message", "s": s, "conn": CONN, "seq": s, "attempt": 1, "data": "x" * 300000} for s in range(1, 9)]
        sender = threading.Thread(target=send_all, args=(link, events))
        sender.start()
        wait_until(lambda: waiting(link.sock) > 100000, "answers wait")
        worker.process.send_signal(signal.SIGTERM)
        if times == "twice":
            wait_until(lambda: worker.process.send_signal(signal.SIGTERM) or worker.process.poll() is not None, "it ends")
        assert worker.wait() == (1 if times == "twice" else 0)
        sender.join()


def send_all(link, events):
    with suppress(BrokenPipeError, ConnectionResetError):  # nobody is there any more
        for event in events:
            link.send(event)


def waiting(sock):
    """Bytes that can be read."""
    return struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, bytes(4)))[0]


@pytest.mark.parametrize("path", ["", "/" + "x" * 200])
def test_paths_that_no_socket_can_have(path):
    with running(BUILD / "tova-worker", plugin("probe"), TOVA_URL=f"ipc://{path}") as worker:
        assert worker.wait() == 2
        assert f"ipc://{path}: expected a path of 1 to 107 bytes".encode() in worker.said


# --- many at once ----------------------------------------------------------------------------------------------------------------

def test_acknowledgements_come_in_batches_and_in_order(host):
    with probe_worker(host) as (_, link):
        events = [{"t": "message", "s": s, "conn": f"{s:021d}Q", "seq": 1, "attempt": 1, "data": f"send {s}"} for s in range(1, 65)]
        link.send(*events)
        seen, batches = [], 0
        while len(seen) < 64:
            objects = link.receive_batch()
            batches += 1
            seen += [o["s"] for o in objects]
        assert seen == list(range(1, 65)) and batches < 64


def test_a_slow_handler_does_not_hold_back_what_is_done(host):
    with probe_worker(host) as (_, link):
        link.send(*({"t": "message", "s": s, "conn": CONN, "seq": s, "attempt": 1, "data": "stall 100"} for s in (1, 2, 3)))
        assert [[o["s"] for o in link.receive_batch()] for _ in range(3)] == [[1], [2], [3]]


def test_ping(probe):
    probe.link.send({"t": "ping"}, {"t": "whatever"}, {"t": "ping"})
    probe.link.expect("pong")
    probe.link.expect("pong")


# --- runs ------------------------------------------------------------------------------------------------------------------------

def message(s, data, conn=CONN, **members):
    return {"t": "message", "s": s, "conn": conn, "seq": s, "attempt": 1, "data": data, **members}


def following(s, n, data):
    return {"t": "message", "s": s, "run": n, "data": data}


def test_the_data_goes_from_event_to_event_of_a_run(host):
    with probe_worker(host) as (_, link):
        link.send(message(1, "data 0 ab", state=padded(b"x").decode()), following(2, 2, "getdata"), following(3, 3, "data 1 zz"),
                  following(4, 4, "set me last"), following(5, 5, "getdata\nevent\nmyid"), message(6, "getdata", conn=OTHER))
        assert link.expect("ack", s=1)["commands"] == [{"c": "set", "state_bin": padded(b"ab")}]
        assert link.expect("ack", s=2)["commands"] == [{"c": "send", "data": padded(b"ab").hex()}]
        assert link.expect("ack", s=3)["commands"] == [{"c": "set", "state_bin": padded(b"azz")}]
        assert link.expect("ack", s=4)["commands"] == [{"c": "set", "state_bin": padded(b"last")}]
        data, event, my = link.expect("ack", s=5)["commands"]
        assert data["data"] == padded(b"last").hex() and my["data"] == CONN
        assert json.loads(event["data"]) == {"ws": CONN, "sequence": 5, "attempt": 1}
        assert link.expect("ack", s=6)["commands"] == [{"c": "send", "data": "00" * 64}]


def test_what_follows_a_failure_in_a_run_is_not_handled(host):
    with probe_worker(host) as (_, link):
        link.send(message(1, "data 0 ab"), following(2, 2, "data 0 no\nfail no"), following(3, 3, "send never"),
                  following(4, 4, "send never"), message(5, "send other", conn=OTHER), following(6, 2, "send b"))
        link.expect("ack", s=1)
        assert link.expect("nack", s=2)["error"] == "no"
        assert link.expect("ack", s=5)["commands"] == [{"c": "send", "data": "other"}]
        assert link.expect("ack", s=6)["commands"] == [{"c": "send", "data": "b"}]
        link.send(message(7, "send again"))
        link.expect("ack", s=7)


def test_bytes_and_empty_messages_in_a_run(host):
    with serving(host, BUILD / "tova-worker", BUILD / "plugins/echo.so") as (_, link):
        link.send({"t": "message", "s": 1, "conn": CONN, "seq": 1, "attempt": 1, "bin": 3}, following(2, 2, ""),
                  {"t": "message", "s": 3, "run": 3, "bin": 0}, {"t": "message", "s": 4, "run": 4, "bin": 2}, binary=b"a\0\nb\n")
        for s, sent in ((1, {"bin": b"a\0\n"}), (2, {"data": ""}), (3, {"bin": b""}), (4, {"bin": b"b\n"})):
            assert link.expect("ack", s=s)["commands"] == [{"c": "send", **sent}]


def test_a_run_waits_for_what_is_settled_later(host):
    with serving(host, BUILD / "examples/echo-worker") as (_, link):
        link.send(message(1, "later one"), following(2, 2, "two"), following(3, 3, "later three"), following(4, 4, "four"),
                  message(5, "other", conn=OTHER), following(6, 2, "another"))
        for s, data in ((5, "other"), (6, "another"), (1, "later one"), (2, "two"), (3, "later three"), (4, "four")):
            assert link.expect("ack", s=s)["commands"] == [{"c": "send", "data": data}]
        # Draining means to finish what was given.
        link.send(message(7, "later seven"), following(8, 2, "eight"), {"t": "drain"})
        assert link.expect("ack", s=7)["commands"] == [{"c": "send", "data": "later seven"}]
        assert link.expect("ack", s=8)["commands"] == [{"c": "send", "data": "eight"}]


@pytest.mark.parametrize("objects", [
    [following(1, 2, "myid")], [message(1, "myid"), following(3, 3, "myid")], [message(1, "myid"), following(0, 2, "myid")]])
def test_a_run_that_makes_no_sense(host, objects):
    with probe_worker(host, drain=False) as (worker, link):
        link.send(*objects)
        while (o := link.receive())["t"] != "bye":
            assert o["t"] == "ack"
        link.close()
        assert worker.wait() == 1


# --- leaving ----------------------------------------------------------------------------------------------------------------------

def test_events_settled_later_and_by_another_thread(host):
    with serving(host, BUILD / "examples/echo-worker") as (_, link):
        events = Events(link)
        late = events.deliver("message", data="later on")
        assert events.ack("message", data="now", conn=OTHER)["commands"] == [{"c": "send", "data": "now"}]
        assert link.expect("ack", s=late)["commands"] == [{"c": "send", "data": "later on"}]


def test_draining_waits_for_what_is_settled_later(host):
    with serving(host, BUILD / "examples/echo-worker", drain=False) as (worker, link):
        late = Events(link).deliver("message", data="later on")
        link.send({"t": "drain"})
        link.expect("ack", s=late)
        link.expect("bye")
        link.close()
        assert worker.wait() == 0


def test_stop_is_called_before_leaving(host):
    with probe_worker(host, drain=False) as (worker, link):
        link.send({"t": "drain"})
        link.expect("bye")
        link.close()
        assert worker.wait() == 0
        assert b"<5>probe 1.0 stops: broadcast returned -6" in worker.said


def test_a_host_that_does_not_close_is_left_alone(host):
    with probe_worker(host, drain=False) as (worker, link):
        link.send({"t": "drain"})
        link.expect("bye")
        assert worker.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals(host, number):
    with probe_worker(host, drain=False) as (worker, link):
        assert Events(link).script("send x")
        worker.process.send_signal(number)
        link.expect("bye")
        link.close()
        assert worker.wait() == 0


def test_a_signal_without_a_host(host):
    with running(BUILD / "tova-worker", plugin("probe"), TOVA_URL="ipc:///nowhere/at/all") as worker:
        worker.wait_said(b"can not reach the host at ipc:///nowhere/at/all")
        worker.process.send_signal(signal.SIGTERM)
        assert worker.wait() == 0


def test_a_refused_hello(host):
    with running(BUILD / "tova-worker", plugin("probe"), TOVA_URL=host.url) as worker:
        link = host.accept()
        link.greet()
        link.send({"t": "bye", "error": "the token is wrong"})
        link.close()
        assert worker.wait() == 1
        assert b"<3>the host ends the link: the token is wrong\n" in worker.said


def test_a_hello_that_comes_too_late(host):
    """A host that stops knows a process no more that it has just ended: that is no fault of the process."""
    with running(BUILD / "tova-worker", plugin("probe"), TOVA_URL=host.url) as worker:
        link = host.accept()
        link.greet()
        pid = worker.process.pid
        worker.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T", "it stands still")
        link.send({"t": "bye", "error": "the token is wrong"})
        worker.process.send_signal(signal.SIGTERM)
        worker.process.send_signal(signal.SIGCONT)
        link.close()
        assert worker.wait() == 0 and b"<3>" not in worker.said, worker.said


NONSENSE = {
    "nothing": b"", "object": b"{}", "text": b"nonsense", "untyped": b"[{}]", "no-object": b'["x"]', "tail": b'[{"t":"ping"}]x',
    "deep": b"[" * 5000, "welcome": b'[{"t":"welcome"}]', "conn": b'[{"t":"message","s":1,"conn":"short","data":""}]',
    "number": b'[{"t":"message","conn":"AAAAAAAAAAAAAAAAAAAAAQ","data":""}]',
    "more": b'[{"t":"message","s":1,"conn":"AAAAAAAAAAAAAAAAAAAAAQ","bin":5}]\n1234',
    "negative": b'[{"t":"message","s":1,"conn":"AAAAAAAAAAAAAAAAAAAAAQ","bin":-1}]\n1234',
}


@pytest.mark.parametrize("body", NONSENSE.values(), ids=NONSENSE.keys())
def test_a_host_that_makes_no_sense(host, body):
    with probe_worker(host, drain=False) as (worker, link):
        link.send_body(body)
        link.expect("bye")
        link.close()
        assert worker.wait() == 1 and b"<3>" in worker.said


def test_log_levels_and_lines(host):
    with probe_worker(host) as (worker, link):
        Events(link).script("log 0 a", "log 1 b", "log 2 c", "log 3 d", "log 4 e", "log 77 f", "log 2 g%0ah")
        for line in (b"<3>a\n", b"<4>b\n", b"<5>c\n", b"<6>d\n", b"<7>e\n", b"<6>f\n", b"<5>g\n<5>h\n"):
            worker.wait_said(line)


# --- with a real host --------------------------------------------------------------------------------------------------------------

def workers(control):
    """What the host says of its workers."""
    told = subprocess.run([BUILD / "tova-ctl", "--control", control, "--json", "workers"], capture_output=True, check=True)
    return json.loads(told.stdout)["workers"]


def test_attached_workers_outlive_the_host():
    directory = tempfile.mkdtemp(prefix="tova-attach-")
    url, control = f"ipc://{directory}/workers.sock", f"{directory}/control.sock"
    host = Host("--attach", f"/probe={url}", "--control", control)
    with running(BUILD / "tova-worker", plugin("probe"), TOVA_URL=url) as worker:
        with host:
            with Probe(host) as opener:
                assert opener.client().ask("send one") == "one"
            host.kill()
        with host:
            with Probe(host) as opener:
                assert opener.client().ask("send two") == "two"
            wait_until(lambda: [(w["connections"], w["under_way"]) for w in workers(control)] == [(0, 0)], "everything is settled")
            worker.process.send_signal(signal.SIGTERM)
            assert worker.wait() == 0
            host.wait_log(lambda line: "goodbye" in line.get("message", ""), "the worker's leave")
    shutil.rmtree(directory)


def test_messages_survive_the_death_of_their_workers():
    with Host("--worker", f"/={BUILD / 'examples/echo-worker'}", "--workers", "3", "--close-timeout", "200ms") as host:
        clients = [connect("127.0.0.1", host.port, "/") for _ in range(8)]
        for round_ in range(12):
            for client in clients:
                for i in range(20):
                    client.send_text(f"{round_} {i}")
            children = wait_until(lambda: host.children, "a worker")
            os.kill(children[round_ % len(children)], signal.SIGKILL)
            for client in clients:
                assert [client.recv_text() for _ in range(20)] == [f"{round_} {i}" for i in range(20)]
        for client in clients:
            client.close(1000)
            client.expect_close(1000)


def test_the_example_of_another_language():
    with Host("--worker", f"/chat={ROOT / 'examples/raw/worker.pl'}", "--workers", "2", "--close-timeout", "200ms") as host:
        def receive(client, **expected):
            assert json.loads(client.recv_text()) == expected

        one = connect("127.0.0.1", host.port, "/chat")
        receive(one, type="system", text="Welcome to the chat!")
        two = connect("127.0.0.1", host.port, "/chat")
        receive(two, type="system", text="Welcome to the chat!")
        receive(one, type="system", text="A new user joined")
        one.send_text(json.dumps({"type": "chat", "user": "Ädä", "text": "Grüße 🎉"}))
        receive(two, type="chat", user="Ädä", text="Grüße 🎉")
        two.send_text("nonsense")
        receive(two, type="error", text="A message is a JSON object")
        two.send_text(json.dumps({"type": "join_room", "room": "x" * 300}))
        assert "room" in json.loads(two.recv_text())["text"]
        two.send_binary(json.dumps({"type": "join_room", "room": "tea"}).encode())
        receive(two, type="system", text="Joined room: tea")
        two.close(1000)
        two.expect_close(1000)
        receive(one, type="system", text="A user left the chat")


def readme_program(folder, *sources):
    """The program of the library's README, linked with these sources, as a user would."""
    (folder / "echo.c").write_text((ROOT / "sdk/c/README.md").read_text().split("```c\n")[1].split("```")[0])
    built = (BUILD / "tova-worker").read_bytes()
    sanitizer = ["-fsanitize=address,undefined"] if b"__asan_init" in built else ["-fsanitize=thread"] if b"__tsan_init" in built else []
    subprocess.run(["cc", "-Wall", "-Werror", *sanitizer, f"-I{ROOT / 'sdk'}", f"-I{ROOT / 'sdk/c'}", "-o", folder / "echo",
                    folder / "echo.c", *sources, BUILD / "libtova-worker.a", "-lnng", "-ljansson", "-lpthread"], check=True)
    return folder / "echo"


def echoes(program):
    with Host("--worker", str(program), "--workers", "2", "--close-timeout", "200ms") as host:
        with connect("127.0.0.1", host.port, "/") as ws:
            ws.send_text("ä")
            assert ws.recv_text() == "ä"


def test_the_readme(tmp_path):
    """Its program works."""
    echoes(readme_program(tmp_path))


def test_a_program_may_have_functions_of_any_name(tmp_path):
    """Those of the library meet none of them: not even if it has all that the library's sources have."""
    names = re.findall(r"^#define (\w+) tova__", (ROOT / "sdk/c/names.h").read_text(), re.M)
    assert len(names) > 100
    own = tmp_path / "own.c"
    own.write_text("#include <stdlib.h>\n" + "".join(f"void {name}(void);\nvoid {name}(void)\n{{\n\tabort();\n}}\n" for name in names))
    echoes(readme_program(tmp_path, own))
