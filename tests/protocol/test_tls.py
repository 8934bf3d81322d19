"""TLS for clients: what is spoken, what is refused and how that ends, certificates and their reload, and the same conversations as without."""
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest

from certificates import Certificates, tls
from patience import unhurried
from probe import Host, Probe, opened, plugin
from tova_host import BUILD, ROOT, wait_until
from wsclient import Http, Stream, WebSocket, connect, frame, http_get, request_bytes, upgrade_headers

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]

WORKER = """
import json
from tova import send, serve
def on_open(ws):
    send(ws, json.dumps(ws.request.tls))
serve(globals())
"""
SCRIPT = """env | grep -E '^(HTTPS|REQUEST_SCHEME|SSL_(PROTOCOL|CIPHER|TLS_SNI|CLIENT_.*))=' | LC_ALL=C sort; cat"""


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    made = Certificates(tmp_path_factory.mktemp("certs"))
    made.make("here", "localhost").make("there", "there.test", "*.wild.test").make("other", "localhost").make("third", "localhost", "third.test")
    made.make("ca").sign("ann", "ca", "/O=Tova/CN=Ann Ö").sign("late", "ca", "/CN=late", days=-1).make("stranger")
    return made


def handlers(folder):
    (folder / "worker.py").write_text(WORKER)
    return ["--plugin", f"/probe={plugin('probe')}", "--plugin", "/echo=echo", "--script", f"/script={SCRIPT}", "--worker",
            f"/worker=PYTHONPATH={ROOT}/sdk/python {sys.executable} {folder}/worker.py"]


@pytest.fixture(scope="module")
def host(certs):
    with Host(*certs.args("here", "there"), *handlers(certs.folder), "--static", ROOT / "examples/chat", "--max-message", "16m",
              listen=["127.0.0.1:0,plain", "127.0.0.1:0", f"unix:{certs.folder}/s,tls"]) as host:
        yield host


@pytest.fixture(scope="module")
def strict(certs):
    """Wants certificates of clients."""
    with Host(*certs.args("here"), *handlers(certs.folder), "--tls-client-ca", certs.cert("ca")) as host:
        yield host


@pytest.fixture
def here(certs):
    return tls(certs.cert("here"))


def port(host):
    """Where it speaks TLS."""
    return next(int(line["address"].rsplit(":", 1)[1]) for line in host.lines if line.get("kind") == "listen" and line["tls"])


def ports(host):
    """Of all its listeners."""
    return [int(address.rsplit(":", 1)[1]) for address in host.listening]


def wss(host, wrap, target="/echo", **how):
    return connect("127.0.0.1", port(host), target, wrap=wrap, **how)


def said(host, mark, kind="tls"):
    return [line for line in host.lines[mark:] if line.get("kind") == kind]


def refusal(host, wrap, mark):
    """The handshake, or the first byte behind it, fails: how, and the host's line about it."""
    with pytest.raises((ssl.SSLError, ConnectionResetError)) as error:
        with Http("127.0.0.1", port(host), wrap=wrap) as http:
            http.sock.recv(1)
    line = host.wait_log(lambda line: line.get("kind") == "tls", "why it failed", after=mark)
    assert line["level"] == "info" and line["remote"].startswith("127.0.0.1"), line
    return getattr(error.value, "reason", None), line["error"]


# --- conversations ------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("version", VERSIONS)
def test_a_conversation(host, certs, version):
    with wss(host, tls(certs.cert("here"), version=version)) as ws:
        assert ws.sock.version() == version.name.replace("_", ".")
        for size in (0, 1, 125, 126, 16383, 16384, 16385, 65535, 65536, 100000):
            ws.send_binary(bytes(size))
            assert ws.recv_binary() == bytes(size)
        ws.send_fragments(1, [b"in ", b"three ", b"parts"])
        assert ws.recv_text() == "in three parts"
        ws.roundtrip()
        ws.end()  # and close_notify


def test_byte_by_byte(host, here):
    """Each byte is a record."""
    with WebSocket("127.0.0.1", port(host), wrap=here) as ws:
        ws.send_cut(request_bytes("GET", "/echo", upgrade_headers()))
        assert ws.response_head().status == 101
        ws.send_cut(frame(1, "hello") + frame(2, b"x" * 300))
        assert ws.recv_text() == "hello"
        assert ws.recv_binary() == b"x" * 300
        ws.send_cut(frame(9, "ping"))
        assert ws.recv_pong() == b"ping"
        ws.send_cut(frame(8, b"\x03\xe8"))
        ws.expect_close(1000)
        ws.expect_eof()


def test_much_in_one_write(host, here):
    """Requests, frames and records that have nothing to do with each other's borders."""
    frames = b"".join(frame(1, f"message {i} " + "x" * (i * 37 % 500)) for i in range(500))
    with wss(host, here, behind=frames) as ws:
        for i in range(500):
            assert ws.recv_text() == f"message {i} " + "x" * (i * 37 % 500)
        ws.end()


@pytest.mark.parametrize("version", VERSIONS)
def test_big_messages_both_ways(host, certs, version):
    data = os.urandom(1 << 16) * 80
    with wss(host, tls(certs.cert("here"), version=version), timeout=60) as ws:
        sender = threading.Thread(target=ws.send_binary, args=(data,))
        sender.start()
        assert ws.recv_binary() == data
        sender.join()
        ws.end()


def test_plain_tls_and_unix_beside_each_other(host, here, certs):
    assert [(line["address"].split(":")[0], line["tls"]) for line in host.lines if line.get("kind") == "listen"] == [
        ("127.0.0.1", False), ("127.0.0.1", True), ("unix", True)]
    target = "/probe?" + opened("join r")
    with connect("127.0.0.1", host.port, target) as a, wss(host, here, target) as b, \
            connect(f"unix:{certs.folder}/s", None, target, wrap=here) as c:
        for ws in (b, c):
            ws.roundtrip()
        a.send_text("to r to all")
        assert [ws.recv_text() for ws in (a, b, c)] == ["to all"] * 3
        for ws in (a, b, c):
            ws.end()


def test_files(host, here):
    page = (ROOT / "examples/chat/index.html").read_bytes()
    with Http("127.0.0.1", port(host), wrap=here) as http:
        for _ in range(3):
            assert http.request(target="/index.html").body == page
        assert http.request(target="/none").status == 404


def test_the_peer_never_reads(certs, here):
    """It is not read from either, as without TLS; what was accepted comes when it reads."""
    with Host("--plugin", "echo", "--max-queue", "64k", *certs.args("here")) as host, wss(host, here, receive_buffer=4096, timeout=60) as ws:
        sent, message, stop = [0], os.urandom(8192), threading.Event()

        def send():
            while not stop.is_set() and sent[0] < 5000:
                ws.send_binary(message)
                sent[0] += 1
        sender = threading.Thread(target=send)
        sender.start()
        before = -1
        while before != sent[0]:
            before = sent[0]
            time.sleep(0.3)
        assert sent[0] < 5000, "the host has taken it all"
        stop.set()
        received = 0
        while sender.is_alive() or received < sent[0]:
            assert ws.recv_binary() == message
            received += 1
        ws.end()


def test_a_slow_member_is_closed(certs, here):
    """What others send it is bounded: 1013, and its close frame arrives whole."""
    with Host("--plugin", f"/probe={plugin('probe')}", "--max-queue", "64k", *certs.args("here")) as host:
        slow = wss(host, here, "/probe?" + opened("join r"), receive_buffer=4096, timeout=60)
        fast = wss(host, here, "/probe")
        mark = len(host.lines)
        for i in range(2000):
            fast.send_text("to r " + "x" * 4000)
            if i % 50 == 0:
                fast.roundtrip()
            if any(line.get("kind") == "conn.slow" for line in host.lines[mark:]):
                break
        host.wait_log(lambda line: line.get("kind") == "conn.slow", "that it reads too slowly", after=mark)
        while True:
            got = slow.recv_frame()
            if got.opcode == 8:
                break
            assert got.payload == b"x" * 4000
        assert got.payload[:2] == (1013).to_bytes(2, "big")
        fast.end()
        slow.drop()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("n, size", [(30, 60000), (2000, 1000), (1, 1800000)])
def test_what_one_event_gives_is_like_one_message(certs, here, n, size, threads):
    """Though it is much more than --max-queue, and others go on sending meanwhile."""
    with Host("--plugin", f"/probe={plugin('probe')}", "--max-queue", "64k", "--threads", str(threads), *certs.args("here")) as host:
        readers = [wss(host, here, "/probe?" + opened("join r"), receive_buffer=4096, timeout=60) for _ in range(3)]
        other = wss(host, here, "/probe")
        for i, ws in enumerate(readers):
            ws.send_text(f"flood {n} {size}\njoin ready{i}")
        other.send_text(f"pour r {n} {size}\nsend poured")
        assert other.recv_text() == "poured"
        for _ in range(3):
            other.send_text("to r more\nsend sent")
            assert other.recv_text() == "sent"
        for ws in readers:
            got = [ws.recv_text() for _ in range(2 * n + 3)]
            assert sorted(int(text.split(" ")[0]) for text in got if text != "more") == sorted([*range(n), *range(n)])
            assert got[-3:] == ["more"] * 3
            ws.drop()
        other.end()


# --- who may speak ------------------------------------------------------------------------------------------------------------------------

def test_tls_1_1_is_refused(host, certs):
    wrap = tls(certs.cert("here"))
    wrap.context.set_ciphers("ALL:@SECLEVEL=0")
    wrap.context.minimum_version, wrap.context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    assert refusal(host, wrap, len(host.lines)) == ("TLSV1_ALERT_PROTOCOL_VERSION", "unsupported protocol")


def test_tls_1_2_can_be_refused(certs):
    with Host("--plugin", "echo", *certs.args("here"), "--tls-min", "1.3") as host:
        wrap = tls(certs.cert("here"), version=ssl.TLSVersion.TLSv1_2)
        assert refusal(host, wrap, 0) == ("TLSV1_ALERT_PROTOCOL_VERSION", "unsupported protocol")
        wss(host, tls(certs.cert("here"))).end()


def test_protocols_that_are_offered(host, certs):
    for offer, chosen in ((["h2", "http/1.1"], "http/1.1"), (["http/1.1"], "http/1.1"), (None, None)):
        with wss(host, tls(certs.cert("here"), alpn=offer)) as ws:
            assert ws.sock.selected_alpn_protocol() == chosen
            ws.end()
    mark = len(host.lines)
    assert refusal(host, tls(certs.cert("here"), alpn=["h2"]), mark)[1] == "no application protocol"
    assert len(said(host, mark)) == 1


def test_names(host, certs):
    """The first certificate is for whom no other is."""
    both = [certs.cert("here"), certs.cert("there")]

    def subject(name):
        with wss(host, tls(both, name)) as ws:
            shown = ws.sock.getpeercert()["subject"][0][0][1]
            ws.end()
            return shown
    assert [subject(name) for name in ("localhost", "there.test", "THERE.test", "a.wild.test")] == ["here", "there", "there", "there"]
    for name in ("wild.test", "a.b.wild.test", "nobody.test"):
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            wss(host, tls(both, name))


def test_certificates_of_a_listener(certs, tmp_path):
    """What it names is all that it shows, the first to whoever asks for none of them."""
    both = [certs.cert("here"), certs.cert("there")]
    with Host(*certs.args("here", "there"), "--plugin", "echo", listen=["127.0.0.1:0", "127.0.0.1:0,tls=there.test",
                                                                        "127.0.0.1:0,tls=a.wild.test,tls=localhost"]) as host:
        every, one, two = ports(host)

        def subject(port, name):
            wrap = tls(both, name, check=False)
            with connect("127.0.0.1", port, wrap=wrap) as ws:
                ws.send_text("over it")
                assert ws.recv_text() == "over it"
                shown = ssl.DER_cert_to_PEM_cert(ws.sock.getpeercert(True))
                ws.end()
            return next(name for name in ("here", "there", "third") if open(certs.cert(name)).read().strip() == shown.strip())

        asked = ["localhost", "there.test", "a.wild.test", "nobody.test"]
        assert [subject(every, name) for name in asked] == ["here", "there", "there", "here"]
        assert [subject(one, name) for name in asked] == ["there"] * 4
        assert [subject(two, name) for name in asked] == ["here", "there", "there", "there"]
        mark = host.reload()
        host.wait_log(lambda line: line.get("kind") == "reload", "the certificates are read again", after=mark)
        assert [subject(one, name) for name in asked] == ["there"] * 4
    listen = ["127.0.0.1:0,tls=*.wild.test", "127.0.0.1:0,tls=localhost", "127.0.0.1:0,tls=there.test,tls=third.test"]
    with Host(*certs.args("here", "there", "third"), "--plugin", "echo", listen=listen) as host:
        doors = ports(host)
        # Another certificate, which the last listener does not show, is the first for localhost.
        assert [subject(door, name) for door in doors for name in ("a.wild.test", "localhost")] == ["there", "there", "here", "here", "there", "third"]
    with pytest.raises(AssertionError, match='--listen: nobody.test: no certificate is for this name'):
        Host(*certs.args("here"), "--plugin", "echo", listen="127.0.0.1:0,tls=nobody.test").start()


def test_renegotiation_is_refused(host):
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port(host)}", "-tls1_2", "-servername", "localhost"]
    done = subprocess.run(command, input=b"R\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    out = done.stdout
    assert b"RENEGOTIATING" in out and b"no renegotiation" in out, out[-500:]


def test_plain_http_is_told(host):
    mark = len(host.lines)
    answer = http_get("127.0.0.1", port(host))
    assert answer.status == 400 and b"TLS is spoken here" in answer.body
    host.wait_log(lambda line: line.get("kind") == "http", "the host says it", after=mark)
    assert len(said(host, mark, "http")) == 1 and not said(host, mark)


@pytest.mark.parametrize("first", [b"\0\0\0\0", b"\x80\x2e\x01\x00\x02", b"\xffPROXY", b"{}"])
def test_strangers(host, first):
    mark = len(host.lines)
    with Stream("127.0.0.1", port(host)) as stream:
        stream.send(first)
        stream.expect_eof()
    assert host.wait_log(lambda line: line.get("kind") == "tls", "what came", after=mark)["error"] == "the peer does not speak TLS"
    assert len(said(host, mark)) == 1


@pytest.mark.parametrize("hello", [b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01\xff\xff", b"\x16\x03\x01\x00\x00", b"\x16" * 70000])
def test_hellos_that_are_none(host, hello):
    mark = len(host.lines)
    with Stream("127.0.0.1", port(host)) as stream:
        stream.send(hello)
        stream.shutdown_write()
        try:
            stream.read_all()  # an alert
        except ConnectionResetError:
            pass
    wait_until(lambda: said(host, mark) or hello[3:5] == b"\0\0", "the line about it")
    assert len(said(host, mark)) <= 1


# --- ends ----------------------------------------------------------------------------------------------------------------------------------

class Wire:
    """A client whose records the test cuts."""

    def __init__(self, host, wrap):
        self.sock = socket.create_connection(("127.0.0.1", port(host)))
        self.sock.settimeout(10)
        self.inward, self.outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = wrap.context.wrap_bio(self.inward, self.outward, server_hostname="localhost")

    def do(self, what, *args):
        while True:
            try:
                result = what(*args)
                self.sock.sendall(self.outward.read())
                return result
            except ssl.SSLWantReadError:
                self.sock.sendall(self.outward.read())
                data = self.sock.recv(65536)
                assert data, "the stream ended without close_notify"
                self.inward.write(data)


@pytest.mark.parametrize("cut", [-1, 3, 0])
def test_a_truncated_record(host, here, cut):
    """It is the end of the stream, as without TLS: everything before it was heard, nothing of it was."""
    with Probe(host) as probe:
        observer, plain = probe.observer(), probe.client()
        gone = plain.id
        plain.shutdown_write()
        expected = [observer.event(ws=gone) for _ in range(2)]
        wire = Wire(host, here)
        wire.do(wire.tls.do_handshake)
        wire.do(wire.tls.write, request_bytes("GET", "/probe", upgrade_headers()))
        assert wire.do(wire.tls.read, 1000).startswith(b"HTTP/1.1 101")
        wire.do(wire.tls.write, frame(1, "myid"))
        gone, mark = wire.do(wire.tls.read, 1000)[2:].decode(), len(host.lines)
        wire.tls.write(frame(1, "send never"))
        wire.sock.sendall(wire.outward.read()[:cut] if cut else b"")
        wire.sock.shutdown(socket.SHUT_WR)
        seen = [observer.event(ws=gone) for _ in range(2)]
        assert [{**event, "ws": 0} for event in seen] == [{**event, "ws": 0} for event in expected]
        assert seen[-1]["code"] == 1006 and not said(host, mark)
        rest = b""
        while data := wire.sock.recv(65536):
            rest += data
        assert len(rest) < 60, "more than an alert"
        wire.sock.close()


def flight(host, here, *bytes_):
    """All of it and the end of the TLS stream in one piece; the socket's own end does not follow."""
    wire = Wire(host, here)
    wire.do(wire.tls.do_handshake)
    for data in bytes_:
        wire.tls.write(data)
    with pytest.raises(ssl.SSLWantReadError):
        wire.tls.unwrap()
    wire.sock.sendall(wire.outward.read())
    return wire


def answer(wire):
    """Until the host's end of the stream."""
    got = b""
    with pytest.raises(ssl.SSLZeroReturnError):
        while True:
            got += wire.do(wire.tls.read, 65536)
    wire.sock.close()
    return got


@pytest.fixture(scope="module")
def slow(certs):
    """Handlers that answer later: they may be asked whether they want a connection, and be behind with messages."""
    with Host(*certs.args("here"), "--plugin", f"/probe={plugin('probe')}", "--isolate", "--static", ROOT / "examples/chat", "--max-queue", "64m",
              listen=["127.0.0.1:0,plain", "127.0.0.1:0"]) as host:
        host.wait_log(lambda line: line.get("message") == "a worker is ready", "the worker")
        yield host


def test_requests_before_the_end_are_answered(slow, here):
    page = (ROOT / "examples/chat/index.html").read_bytes()
    got = answer(flight(slow, here, request_bytes("GET", "/index.html") * 3))
    assert got.count(page) == 3, got[:300]


def test_an_upgrade_before_the_end(slow, here):
    """The handler is asked, or hears that it was withdrawn; one that it accepts ends like others."""
    with Probe(slow) as probe:
        observer = probe.observer()
        for _ in range(20):
            wire = flight(slow, here, request_bytes("GET", "/probe", upgrade_headers()))
            if answer(wire).startswith(b"HTTP/1.1 101"):
                assert observer.event("close")["code"] == 1006
        probe.client().settle()


def test_messages_before_the_end_are_heard(slow, here):
    """More than the handler's lane takes at once."""
    big = frame(1, b"to r " + b"x" * 100000)
    with Probe(slow) as probe:
        observer, member = probe.observer(), probe.client(timeout=60)
        member.script("join r", "send ready")
        assert member.recv_text() == "ready"
        wire = Wire(slow, here)
        wire.do(wire.tls.do_handshake)
        wire.do(wire.tls.write, request_bytes("GET", "/probe", upgrade_headers()))
        assert wire.do(wire.tls.read, 1000).startswith(b"HTTP/1.1 101")
        wire.sock.settimeout(60)
        for _ in range(60):
            wire.do(wire.tls.write, big)
        wire.do(wire.tls.write, frame(1, b"to r last"))
        with pytest.raises(ssl.SSLWantReadError):
            wire.tls.unwrap()
        wire.sock.sendall(wire.outward.read())
        for _ in range(60):
            assert len(member.recv_text()) == 100000
        assert member.recv_text() == "last"
        assert observer.event("close")["code"] == 1006
        wire.sock.close()


def test_a_close_frame_before_the_end_is_echoed(slow, here):
    with Probe(slow) as probe:
        observer = probe.observer()
        wire = flight(slow, here, request_bytes("GET", "/probe", upgrade_headers()), frame(1, "send heard"), frame(8, b"\x03\xe8"))
        got = answer(wire)
        assert got.startswith(b"HTTP/1.1 101") and got.endswith(b"\x81\x05heard\x88\x02\x03\xe8"), got[-100:]
        assert observer.event("close")["code"] == 1000


def test_a_damaged_record(host, here):
    wire = Wire(host, here)
    wire.do(wire.tls.do_handshake)
    wire.do(wire.tls.write, request_bytes("GET", "/probe", upgrade_headers()))
    assert wire.do(wire.tls.read, 1000).startswith(b"HTTP/1.1 101")
    mark = len(host.lines)
    wire.tls.write(frame(1, "send never"))
    record = bytearray(wire.outward.read())
    record[-1] ^= 1
    wire.sock.sendall(record)
    with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
        wire.do(wire.tls.read, 1000)
    line = host.wait_log(lambda line: "bad record mac" in str(line), "that it was damaged", after=mark)
    assert line["kind"] == "conn.transport"
    wire.sock.close()


def test_stopping_says_goodbye(certs, here):
    with Host("--plugin", "echo", *certs.args("here")) as host:
        idle = Http("127.0.0.1", port(host), wrap=here)
        assert idle.request(target="/none").status == 426
        ws = wss(host, here)
        host.signal(signal.SIGTERM)
        ws.expect_closed(1001)
        assert host.wait_exit() == 0
        idle.drop()


@unhurried
def test_half_open_handshakes_end_by_time(certs, here, ms):
    """Hundreds that say nothing, half of a hello, or nothing behind it; others are served meanwhile."""
    outward = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        here.context.wrap_bio(ssl.MemoryBIO(), outward, server_hostname="localhost").do_handshake()
    hello = outward.read()
    with Host("--plugin", "echo", *certs.args("here"), "--handshake-timeout", ms(1000)) as host:
        descriptors = host.descriptors
        crowd = [Stream("127.0.0.1", host.port) for _ in range(300)]
        for i, stream in enumerate(crowd):
            stream.send([b"", hello[:100], hello][i % 3])
        with wss(host, here) as ws:
            ws.roundtrip()
            for i, stream in enumerate(crowd):
                assert bool(stream.read_all()) == (i % 3 == 2)
                stream.sock.close()
            ws.roundtrip()
            wait_until(lambda: host.descriptors == descriptors + 1, "that all others are gone")
            ws.end()
        assert said(host, 0)[0]["message"] == "a TLS handshake did not come to its end in time"
        assert len(said(host, 0)) <= 200


# --- sessions -------------------------------------------------------------------------------------------------------------------------------

def session(host, wrap, resumed=None, at=None):
    """Of a conversation: (its session, whether it was resumed)."""
    with WebSocket("127.0.0.1", at or port(host), wrap=lambda sock: wrap(sock, resumed)) as ws:
        ws.handshake("/echo")
        ws.send_text("hello")
        assert ws.recv_text() == "hello"
        got = ws.sock.session, ws.sock.session_reused
        ws.end()
        return got


@pytest.mark.parametrize("version", VERSIONS)
def test_resumption(host, strict, certs, version):
    for at, client in ((host, None), (strict, (certs.cert("ann"), certs.key("ann")))):
        wrap = tls(certs.cert("here"), version=version, client=client)
        first, resumed = session(at, wrap)
        assert not resumed and first.has_ticket
        second, resumed = session(at, wrap, first)
        assert resumed
        at.wait_log(lambda line: line.get("message") == "the certificates were read again", "the reload", after=at.reload())
        assert session(at, wrap, second)[1]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_is_of_one_listener(certs, version):
    listen = ["127.0.0.1:0", "127.0.0.1:0,tls=there.test", "127.0.0.1:0,tls=there.test,tls=localhost"]
    with Host(*certs.args("here", "there"), "--plugin", "echo", listen=listen) as host:
        doors = ports(host)
        wrap = tls(certs.cert("there"), "there.test", version=version)
        for first in doors:
            made, resumed = session(host, wrap, at=first)
            assert not resumed
            assert [session(host, wrap, made, at)[1] for at in doors] == [at == first for at in doors]


# --- certificates of clients --------------------------------------------------------------------------------------------------------------

def test_without_a_good_certificate(strict, certs):
    trusted, old = certs.cert("here"), ssl.TLSVersion.TLSv1_2
    assert refusal(strict, tls(trusted), len(strict.lines)) == ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "peer did not return a certificate")
    assert refusal(strict, tls(trusted, version=old), len(strict.lines))[1] == "peer did not return a certificate"
    for name, client, host in (("stranger", "TLSV1_ALERT_UNKNOWN_CA", "self-signed certificate"),
                               ("late", "SSLV3_ALERT_CERTIFICATE_EXPIRED", "certificate has expired")):
        for version in VERSIONS:
            wrap = tls(trusted, client=(certs.cert(name), certs.key(name)), version=version)
            assert refusal(strict, wrap, len(strict.lines)) == (client, host)


ANN = "CN=Ann \\C3\\96,O=Tova"


@pytest.mark.parametrize("mutual", [False, True])
def test_handlers_see_it(host, strict, certs, mutual):
    at = strict if mutual else host
    wrap = tls(certs.cert("here"), client=(certs.cert("ann"), certs.key("ann")) if mutual else None)
    subject = ANN if mutual else None
    with wss(at, wrap, "/probe?request=1") as ws:
        version, cipher = ws.sock.version(), ws.sock.cipher()[0]
        seen = json.loads(ws.recv_text())
        assert (seen["tls_version"], seen["tls_cipher"], seen["tls_subject"]) == (version, cipher, subject)
        ws.end()
    with wss(at, wrap, "/worker") as ws:
        assert json.loads(ws.recv_text()) == {"version": version, "cipher": cipher, "subject": subject}
        ws.end()
    with wss(at, wrap, "/script") as ws:
        env = dict([("HTTPS", "on"), ("REQUEST_SCHEME", "https"), ("SSL_CIPHER", cipher)], SSL_CLIENT_VERIFY="SUCCESS" if mutual else "NONE",
                   SSL_PROTOCOL=version, SSL_TLS_SNI="localhost", **({"SSL_CLIENT_S_DN": ANN} if mutual else {}))
        assert dict(ws.recv_text().split("=", 1) for _ in env) == env
        ws.end()


def test_handlers_see_that_there_is_none(host):
    with connect("127.0.0.1", host.port, "/worker") as ws:
        assert json.loads(ws.recv_text()) is None
        ws.end()
    with connect("127.0.0.1", host.port, "/script") as ws:
        ws.send_text("end")
        assert [ws.recv_text(), ws.recv_text()] == ["REQUEST_SCHEME=http", "end"]
        ws.end()


# --- reload ----------------------------------------------------------------------------------------------------------------------------------

def installer(certs, folder):
    """put(NAME) replaces live.crt and live.key there."""
    def put(name):
        for suffix, source in ((".crt", certs.cert(name)), (".key", certs.key(name))):
            shutil.copy(source, folder / f"new{suffix}")
            os.replace(folder / f"new{suffix}", folder / f"live{suffix}")
    return put


def test_reload(certs, tmp_path):
    put = installer(certs, tmp_path)

    def shown(name):
        try:
            wss(host, tls(certs.cert(name))).end()
            return True
        except ssl.SSLCertVerificationError:
            return False

    def shows(name):
        """With several loops each turns to it in its own time."""
        wait_until(lambda: shown(name), f"that {name} is shown")

    def refused(why):
        host.expect(lambda line: line.get("kind") == "reload" and line.get("level") == "error" and why in str(line))
        mark = host.reload()
        host.wait_log(lambda line: line.get("level") == "error" and why in str(line), why, after=mark)

    put("here")
    with Host("--plugin", "echo", "--tls-cert", tmp_path / "live.crt", "--tls-key", tmp_path / "live.key") as host:
        ws = wss(host, tls(certs.cert("here")))
        half = Stream("127.0.0.1", port(host))  # connected before, speaks after
        ws.roundtrip()
        put("other")
        host.wait_log(lambda line: line.get("message") == "the certificates were read again", "the reload", after=host.reload())
        shows("other")
        wait_until(lambda: not shown("here"), "that the old one is not shown any more")
        half.sock = tls([certs.cert("here"), certs.cert("other")])(half.sock)
        ws.send_text("still here")
        assert ws.recv_text() == "still here"
        shutil.copy(certs.key("here"), tmp_path / "live.key")
        refused("does not belong to the certificate")
        (tmp_path / "live.crt").write_text("")
        refused("has no certificate in it")
        (tmp_path / "live.crt").unlink()
        refused("No such file")
        shows("other")
        put("here")
        host.wait_log(lambda line: line.get("message") == "the certificates were read again", "the reload", after=host.reload())
        shows("here")
        ws.end()
        half.drop()


def test_reload_for_workers(certs, tmp_path):
    put, nng = installer(certs, tmp_path), b"\0SP\0\0\x10\0\0"
    put("here")
    with Host("--attach", "/w=tls+tcp://127.0.0.1:0", "--attach-cert", tmp_path / "live.crt", "--attach-key", tmp_path / "live.key",
              "--plugin", "echo") as host:
        at = int(host.wait_log(lambda line: line.get("message") == "workers may attach")["url"].rsplit(":", 1)[1])

        def pipe(name):
            """A worker's, greeted; None: it does not know the host."""
            try:
                stream = Stream("127.0.0.1", at, wrap=tls(certs.cert(name)))
            except ssl.SSLCertVerificationError:
                return None
            stream.send(nng)
            assert stream.read(8) == nng
            return stream
        old = pipe("here")
        put("other")
        host.reload()
        wait_until(lambda: pipe("other"), "the new certificate")
        assert pipe("here") is None
        hello = b'[{"t":"hello","v":1,"events":[]}]'
        old.send(len(hello).to_bytes(8, "big") + hello)
        assert b'"welcome"' in old.read(int.from_bytes(old.read(8), "big"))
        (tmp_path / "live.key").write_text("")
        host.expect(lambda line: line.get("level") == "error" and "attached workers" in line["message"])
        host.wait_log(lambda line: line.get("level") == "error" and "no private key" in line.get("error", ""), "why", after=host.reload())
        assert pipe("other")
        old.drop()


def test_an_expired_certificate_is_warned_of(certs, tmp_path):
    made = Certificates(tmp_path).expired("old", "localhost")
    os.chmod(made.key("old"), 0o644)
    with Host("--plugin", "echo", *made.args("old")) as host:
        lines = [(line["level"], line["message"]) for line in host.lines if line.get("kind") == "tls"]
        assert lines == [("warn", "the certificate has expired: clients will refuse it"),
                         ("warn", "every user of this machine can open the private key")]
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            wss(host, tls(made.cert("old")))
        assert not [line for line in host.lines if "PRIVATE" in str(line)]


def test_check(certs, tmp_path):
    made = Certificates(tmp_path).expired("old", "localhost")

    def check(*args):
        done = subprocess.run([BUILD / "tova-host", "-p", "echo", *map(str, args), "--check"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True)
        return done.returncode, done.stderr
    assert check(*certs.args("here", "there"), "--tls-client-ca", certs.cert("ca")) == (0, "")
    here, there = (certs.cert(n) for n in ("here", "there"))
    assert check("--tls-cert", here, "--tls-key", certs.key("there")) == (
        2, f"tova-host: --tls-key: {certs.key('there')}: does not belong to the certificate {here}\n")
    assert check("--tls-cert", tmp_path / "none") == (2, f"tova-host: --tls-cert: {tmp_path}/none: can not be read: No such file or directory\n")
    assert check("--tls-cert", here) == (2, f"tova-host: --tls-key: {here}: has no private key in it that can be read; expected PEM\n")
    assert check(*certs.args("here"), "--tls-client-ca", certs.key("ca")) == (
        2, f"tova-host: --tls-client-ca: {certs.key('ca')}: has no certificate in it; expected PEM\n")
    attach = ["--attach", "/w=tls+tcp://127.0.0.1:0", "--attach-cert", here]
    assert check(*attach, "--attach-key", certs.key("here")) == (0, "")
    assert check(*attach, "--attach-key", certs.key("there")) == (
        2, f"tova-host: --attach-key: {certs.key('there')}: does not belong to the certificate {here}\n")
    assert check("-l", "127.0.0.1:0,tls") == (2, 'tova-host: --listen: "127.0.0.1:0,tls" needs --tls-cert\n')
    code, text = check(*made.args("old"))
    assert (code, text) == (0, f"tova-host: warning: {made.cert('old')}: the certificate has expired: clients will refuse it\n")


@pytest.mark.parametrize("proxy", [b"", b"PROXY TCP4 203.0.113.7 203.0.113.9 4711 443\r\n"], ids=["peer", "proxy"])
def test_one_too_many_of_an_address_costs_no_handshake(certs, here, proxy):
    listen = "127.0.0.1:0,tls,proxy" if proxy else "127.0.0.1:0,tls"
    with Host("--plugin", "/echo=echo", *certs.args("here"), "--trusted-proxy", "127.0.0.1", "--max-per-address", "1", listen=listen) as host:
        def wrap(sock):
            sock.sendall(proxy)
            return here(sock)
        with wss(host, wrap, source=None if proxy else "127.0.0.2") as ws:
            with Stream("127.0.0.1", port(host), source=None if proxy else "127.0.0.2") as other:
                other.send(proxy)
                other.expect_eof()
            host.wait_log(lambda line: line["kind"] == "limit" and line["remote"] == ("203.0.113.7" if proxy else "127.0.0.2"))
            ws.send_text("still here")
            assert ws.recv_text() == "still here"
            ws.end()


def test_behind_the_proxy_protocol(certs, here):
    """Its header comes in clear, in front of the handshake."""
    with Host("--plugin", f"/probe={plugin('probe')}", *certs.args("here"), "--trusted-proxy", "127.0.0.1",
              listen="127.0.0.1:0,tls,proxy") as host:
        def wrap(sock):
            sock.sendall(b"PROXY TCP4 203.0.113.7 203.0.113.9 4711 443\r\n")
            return here(sock)
        with wss(host, wrap, "/probe?request=1") as ws:
            seen = json.loads(ws.recv_text())
            assert (seen["remote_addr"], seen["local_port"], seen["tls_version"]) == ("203.0.113.7", 443, "TLSv1.3")
            ws.end()
