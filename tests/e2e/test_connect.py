"""Pushing from programs without handlers: tova.connect() in each language, over each kind of URL, against a real host."""
import signal
import threading
import time

import pytest

from api import TOKENS, address
from certificates import Certificates
from network import Network
from probe import Probe, opened, plugin
from pushers import DRIVERS, Pusher
from tova_host import IMPATIENT, Host, free_port, gone, wait_until
from wsclient import BINARY, Closed, connect

URLS = ["http", "https", "unix", "ipc", "tcp", "tls"]
PROBE = ("--plugin", f"/probe={plugin('probe')}")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    made.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-subj", "/CN=localhost",
                 "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", made.key("host"), "-out", made.cert("host"))
    return made


def secret_file(folder, scope):
    path = folder / f"secret-{scope}"
    path.write_text(TOKENS[scope] + "\n")
    path.chmod(0o600)
    return path


class Place:
    """A host with one kind of door, and where its clients find that."""

    def __init__(self, kind, folder, certificates, *more, scopes=("publish", "admin"), mounts=PROBE):
        self.kind, self.attached, self.ca = kind, kind in ("ipc", "tcp", "tls"), None
        if kind in ("https", "tls"):
            self.ca = certificates.cert("host")
        option = "--attach-token" if self.attached else "--api-token"
        secrets = [a for scope in scopes for a in (option, f"{scope}={secret_file(folder, scope)}")]
        port = free_port()  # the same when it is started again
        door = {
            "http": ("--api", f"127.0.0.1:{port}"), "unix": ("--api", f"unix:{folder}/api.sock"),
            "https": ("--api", "127.0.0.1:0,tls", *certificates.args("host"), "--listen", "127.0.0.1:0,plain"),
            "ipc": ("--attach", f"/probe=ipc://{folder}/attach.sock"), "tcp": ("--attach", f"/probe=tcp://127.0.0.1:{port}"),
            "tls": ("--attach", "/probe=tls+tcp://127.0.0.1:0", "--attach-cert", certificates.cert("host"), "--attach-key", certificates.key("host")),
        }[kind]
        how = {"listen": ()} if kind == "https" else {}
        self.host = Host(*mounts, *door, *secrets, *IMPATIENT, *more, **how)

    @property
    def url(self):
        if self.attached:
            return next(line["url"] for line in self.host.lines if line.get("message") == "those who push may attach")
        where = address(self.host)
        return where if where.startswith("unix:") else f"{self.kind}://{where}"

    def where(self, token="admin"):
        return {"url": self.url, "mount": "/probe", "token": TOKENS.get(token, token), **({"ca": self.ca} if self.ca else {})}

    def __enter__(self):
        self.host.start()
        return self

    def __exit__(self, *what):
        return self.host.__exit__(*what)


@pytest.fixture(scope="module", params=URLS)
def place(request, tmp_path_factory, certificates):
    """One host for all who come by this kind of URL."""
    with Place(request.param, tmp_path_factory.mktemp(request.param), certificates) as running:
        yield running


@pytest.fixture(params=["http", "tcp"])
def own(request, tmp_path, certificates):
    """A host of the test's own, which may fare badly."""
    with Place(request.param, tmp_path, certificates) as running:
        yield running


@pytest.fixture(params=list(DRIVERS))
def language(request):
    return request.param


def gave(receivers):
    return {"receivers": receivers}


# --- what they can do -----------------------------------------------------------------------------------------------------------


def test_every_command(place, language):
    with Probe(place.host) as probe, Pusher(language, **place.where()) as h:
        one, other = probe.clients(2)
        for ws in (one, other):
            assert h("join", conn=ws.id, room="room ä") == gave(1)
        assert h("broadcast_to", room="room ä", data="to both\n\"é\"") == gave(2)
        assert h("broadcast_to", room="room ä", data="to the other", exclude=one.id) == gave(1)
        assert h("broadcast", data="to all") == gave(2)
        assert h("send", conn=one.id, data={"bytes": "00ff0a"}) == gave(1)
        assert h("leave", conn=one.id, room="room ä") == gave(1)
        assert h("broadcast_to", room="nobody's", data="x") == gave(0)
        assert [one.recv_text(), one.recv_text()] == ["to both\n\"é\"", "to all"]
        got = one.recv_message()
        assert (got.opcode, got.data) == (BINARY, b"\0\xff\n")
        assert [other.recv_text() for _ in range(3)] == ["to both\n\"é\"", "to the other", "to all"]
        assert h("commands", list=[{"c": "join", "conn": one.id, "room": "r"}, {"c": "broadcast_to", "room": "r", "data": "you are in"},
                                   {"c": "send", "conn": one.id, "data": {"bytes": "01"}}, {"c": "leave", "conn": one.id, "room": "r"}]) == gave(4)
        assert one.recv_text() == "you are in" and one.recv_message().data == b"\1"
        assert h("commands", list=[]) == gave(0)
        assert h("broadcast", data="before its time", expires=30) == gave(2)
        assert h("close", conn=one.id, code=4002, reason="go away") == gave(1)
        assert one.recv_text() == "before its time"
        one.expect_closed(4002, "go away")
        wait_until(lambda: h("send", conn=one.id, data="too late") == gave(0), "it is gone")


def test_newer_commands(place, language):
    """Who a connection is, what a join asks for, whom a broadcast leaves out, rooms that are closed, a set that compares."""
    with Probe(place.host) as probe, Pusher(language, **place.where()) as h:
        one, two, three = probe.clients(3)
        assert h("info", conn=one.id, info="grüße", user="anna") == gave(1) and h("info", conn=two.id, user="bob") == gave(1)
        for ws in (one, two):
            assert h("join", conn=ws.id, room="r", max=2) == gave(1)
        for more, part in (({"max": 2}, "full"), ({"users_max": 2}, "full"), ({"first": True}, "first")):
            bad = h("join", conn=three.id, room="r", **more)
            assert bad["kind"] == "Refused" and part in bad["error"], bad
            assert bad["status"] == (None if place.attached else 409)
        assert h("broadcast_to", room="r", data="not for anna", exclude_users=["anna"]) == gave(1) and two.recv_text() == "not for anna"
        assert h("join", conn=three.id, room="q") == gave(1)
        assert h("broadcast", data="not for q", exclude_rooms=["q"]) == gave(2) and [one.recv_text(), two.recv_text()] == ["not for q"] * 2
        assert h("set", conn=one.id, state="a") == gave(1)
        assert h("set", conn=one.id, state="b", if_state="a") == gave(1)
        assert h("set", conn=one.id, state="c", if_state="a")["kind"] == "Refused"
        assert h("leave_all", conn=three.id) == gave(1) and h("broadcast_to", room="q", data="x") == gave(0)
        assert h("join", conn=three.id, room="r", replace=True) == gave(1)
        for ws in (one, two):
            ws.expect_closed(4409)
        assert h("commands", list=[{"c": "info", "conn": three.id, "user": "cid"}, {"c": "join", "conn": three.id, "room": "s", "first": True}, {"c": "leave_all", "conn": three.id},
                                   {"c": "join", "conn": three.id, "room": "s"}]) == gave(4)
        assert h("close_room", room="s", code=4003, reason="over") == gave(1)
        three.expect_closed(4003, "over")


def test_what_the_host_says_is_raised(place, language):
    """And nothing of a list is done."""
    with Probe(place.host) as probe, Pusher(language, **place.where()) as h:
        ws = probe.client()
        assert h("join", conn=ws.id, room="r") == gave(1)
        bad = h("commands", list=[{"c": "broadcast_to", "room": "r", "data": "no"}, {"c": "close", "conn": "nobody at all"}])
        assert (bad["kind"], bad["index"]) == ("Refused", 1) and "is no connection's id" in bad["error"], bad
        bad = h("commands", list=[{"c": "broadcast_to", "room": "r", "data": "no"}, {"c": "send", "conn": ws.id, "data": "no"},
                                  {"c": "broadcast", "data": "no", "exclude": "me"}])
        assert (bad["kind"], bad["index"]) == ("Refused", 2) and "an exclude is no connection" in bad["error"], bad
        assert bad["status"] == (None if place.attached else 400)
        assert h("broadcast_to", room="r", data="that was all") == gave(1)
        assert ws.recv_text() == "that was all"


def test_what_is_wrong_here_is_raised_here(language):
    with Pusher(language, url="http://127.0.0.1:1") as h:
        for call, part in (({"call": "broadcast_to", "room": "", "data": "x"}, "room"),
                           ({"call": "broadcast_to", "room": "x" * 256, "data": "x"}, "room"),
                           ({"call": "close", "conn": "AAAAAAAAAAAAAAAAAAAAAA", "code": 1005}, "close code"),
                           ({"call": "broadcast", "data": "x", "expires": -1}, "expires"),
                           ({"call": "commands", "list": [{"c": "sned"}]}, "sned")):
            name = call.pop("call")
            if language == "c" and (call.get("expires") == -1 or name == "commands"):
                continue  # its compiler says so
            said = h(name, **call)
            assert part in said["error"] and said["kind"] not in ("Refused", "Unreachable"), (name, call, said)


# --- who may --------------------------------------------------------------------------------------------------------------------


def test_a_wrong_token(place, language):
    with Pusher(language, **place.where("wrong-0123456789abcdef")) as h:
        for _ in range(2):
            said = h("broadcast", data="x")
            assert said["kind"] == "Refused" and "the token is wrong" in said["error"], said
            assert said["status"] == (None if place.attached else 401)


def test_a_scope_that_is_not_enough(place, language):
    with Probe(place.host) as probe, Pusher(language, **place.where("publish")) as h:
        ws = probe.client()
        assert h("send", conn=ws.id, data="a message") == gave(1)
        for call, more in (("join", {"room": "r"}), ("close", {}), ("leave", {"room": "r"})):
            said = h(call, conn=ws.id, **more)
            assert said["kind"] == "Refused" and "is not enough; expected" in said["error"], said
            assert said["status"] == (None if place.attached else 403)
        said = h("commands", list=[{"c": "send", "conn": ws.id, "data": "no"}, {"c": "join", "conn": ws.id, "room": "r"}])
        assert said["kind"] == "Refused" and "not enough" in said["error"], said
        assert h("broadcast_to", room="r", data="x") == gave(0)
        assert h("send", conn=ws.id, data="the last") == gave(1)
        assert [ws.recv_text(), ws.recv_text()] == ["a message", "the last"]


def test_another_mount(place, language):
    where = place.where()
    where["mount"] = "/elsewhere"
    with Pusher(language, **where) as h:
        said = h("broadcast", data="x")
        assert said["kind"] == "Refused" and ("no such mount as /elsewhere" in said["error"] or "another mount" in said["error"]), said


# --- when it is difficult -------------------------------------------------------------------------------------------------------


def test_eight_threads(place, language):
    """Each call is answered with its own count, and told once."""
    with Probe(place.host) as probe, Pusher(language, **place.where()) as h:
        me = probe.client()
        assert h("join", conn=me.id, room="r") == gave(1)
        assert h("parallel", threads=8, each=25, room="r") == {"calls": 200, "receivers": 200, "failed": []}
        heard = [me.recv_text() for _ in range(200)]
        assert sorted(heard) == sorted(f"{t}.{i}" for t in range(8) for i in range(25))


def test_nobody_is_there(language, tmp_path):
    began = time.monotonic()
    with Pusher(language, url=f"unix:{tmp_path}/nobody", timeout=0.3) as h:
        said = h("broadcast", data="x")
        assert said["kind"] == "Unreachable" and "nobody" in said["error"], said
        said = h("broadcast", data="x", expires=0.1)
        assert said["kind"] == "Expired", said
    assert time.monotonic() - began >= 0.4


def test_a_host_that_does_not_answer(own, language):
    """It stands still: the call ends in time, and says that nobody knows. What it would do too late it does not do."""
    with Probe(own.host) as probe, Pusher(language, **{**own.where(), "timeout": 0.5}) as h:
        ws = probe.client()
        assert h("send", conn=ws.id, data="first") == gave(1)
        own.host.process.send_signal(signal.SIGSTOP)
        try:
            said = h("send", conn=ws.id, data="never", expires=0.3)
            over = time.time() + 0.3
            assert said["kind"] == "AnswerLost", said
            wait_until(lambda: time.time() > over, "its time is over by any clock")
        finally:
            own.host.process.send_signal(signal.SIGCONT)
        wait_until(lambda: h("send", conn=ws.id, data="then").get("receivers") == 1, "it answers again")
        assert [ws.recv_text(), ws.recv_text()] == ["first", "then"]


def test_the_next_host_is_tried(own, language, tmp_path):
    where = own.where()
    where["url"] = [f"{'ipc://' if own.attached else 'unix:'}{tmp_path}/gone", where["url"]]
    with Probe(own.host) as probe, Pusher(language, **where) as h:
        ws = probe.client()
        assert h("send", conn=ws.id, data="there") == gave(1)
        assert ws.recv_text() == "there"


class Relay(Network):
    """The answers that go back may be cut off, so that what was done is not known."""

    swallow = passed = 0

    def passes(self, data):
        if not self.swallow or b"receivers" not in data:
            return True
        self.swallow -= 1
        self.passed += 1
        return False


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_a_lost_answer_doubles_nothing(kind, language, tmp_path, certificates):
    """The host has done it, the connection breaks before it says so: the repetition is told what was told then."""
    with Place(kind, tmp_path, certificates) as place, Probe(place.host) as probe:
        ws = probe.client()
        relay = Relay(int(place.url.rpartition(":")[2]))
        try:
            where = {**place.where(), "url": place.url.rpartition(":")[0] + f":{relay.address}"}
            with Pusher(language, **where) as h:
                assert h("send", conn=ws.id, data="0") == gave(1)
                for i in range(1, 4):
                    relay.swallow = i
                    assert h("send", conn=ws.id, data=str(i)) == gave(1)
                relay.swallow = 2
                said = h("commands", list=[{"c": "send", "conn": ws.id, "data": "no"}, {"c": "broadcast", "data": "no", "exclude": "me"}])
                assert said["kind"] == "Refused" and said["index"] == 1, said
                assert h("send", conn=ws.id, data="4") == gave(1)
            assert [ws.recv_text() for _ in range(5)] == ["0", "1", "2", "3", "4"] and relay.passed >= 6
        finally:
            relay.close()


def test_the_host_is_started_again(own, language):
    """What was said to the one before is not said again to the one after, and what comes then arrives."""
    heard, ended = [], threading.Event()

    def listen():
        while not ended.is_set():
            try:
                with connect("127.0.0.1", own.host.port, "/probe?" + opened("join r")) as ws:
                    while True:
                        heard.append(ws.recv_text())
            except (Closed, OSError, AssertionError):
                ended.wait(0.02)

    listener = threading.Thread(target=listen, daemon=True)
    with Pusher(language, **{**own.where(), "timeout": 10}) as h:
        listener.start()
        wait_until(lambda: h("broadcast_to", room="r", data="begin").get("receivers") == 1, "it listens")
        h.begin("parallel", threads=4, each=100, room="r")
        wait_until(lambda: len(heard) > 20, "some were heard")
        for stop in (own.host.stop, own.host.kill):
            stop()
            own.host.start()
        told = h.end()
        assert all("AnswerLost" in failed for failed in told["failed"]), told["failed"]
        assert told["calls"] + len(told["failed"]) == 400
        wait_until(lambda: h("broadcast_to", room="r", data="end").get("receivers") == 1, "it listens again")
        wait_until(lambda: "end" in heard, "it hears again")
    ended.set()
    numbered = [text for text in heard if "." in text]
    assert len(numbered) == len(set(numbered))


def test_a_client_ends_with_its_connections(own, language):
    """Nothing of it stays at the host."""
    def open_files():
        import os

        return len(os.listdir(f"/proc/{own.host.process.pid}/fd"))

    before = open_files()
    with Pusher(language, **own.where()) as h:
        assert h("broadcast", data="x") == gave(0)
        assert open_files() > before
        pid = h.process.pid
    wait_until(lambda: gone(pid) and open_files() == before, "its connection is closed")
