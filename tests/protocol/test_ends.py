"""Ends: what was received before is answered, what was sent before arrives, also to who reads slowly; then one close with its code."""
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from certificates import Certificates, tls
from patience import unhurried
from probe import KINDS, Host, Probe, ProbeClient, kind_args, plugin
from tova_host import wait_until
from wsclient import TEXT, Http, connect, frame, request_bytes

PIECES, SIZE = 60, 100000  # more than sockets hold
CLOSE_TIMEOUT = 300  # milliseconds
READ = 128 << 10  # bytes at once, and of window


class Slow:
    """A socket whose reader takes so many bytes a second: several times --close-timeout for all of it, and never a pause."""

    def __init__(self, sock, rate):
        self.sock, self.rate = sock, rate

    def recv(self, _):
        data = self.sock.recv(READ)
        time.sleep(len(data) / self.rate)
        return data

    def __getattr__(self, name):
        return getattr(self.sock, name)


def slowly(ws, ms, rate=4e6):
    ws.sock = Slow(ws.sock, rate / ms.times)
    return ws


def expect_pieces(ws, first=0):
    for i in range(first, PIECES):
        got = ws.recv_text()
        assert got.startswith(f"{i} ") and len(got) == SIZE, f"{i}: {got[:40]!r} {len(got)}"


def flood(*more):
    return "\n".join([f"flood {PIECES} {SIZE}", *more])


def begin(ws, *more):
    """Its answer is committed, and on its way: the time that a worker needs for it is not what is looked at here."""
    ws.script(flood(*more))
    assert ws.recv_text().startswith("0 ")


def by_handler(ws, other):
    begin(ws, "close 4000 done")
    expect_pieces(ws, 1)
    assert ws.expect_closed(4000) == "done"


def by_another(ws, other):
    who = ws.id
    begin(ws)
    other.script(f"close_of {who} 4005")
    expect_pieces(ws, 1)
    ws.expect_closed(4005)


def by_client(ws, other):
    begin(ws)
    ws.close(4001)
    expect_pieces(ws, 1)
    ws.expect_close(4001)
    ws.expect_eof(reset=False)


def by_violation(ws, other):
    begin(ws)
    ws.send(frame(3, "bad"))
    expect_pieces(ws, 1)
    ws.expect_close(1002)
    ws.expect_eof(reset=False)


def by_half_close(ws, other):
    begin(ws)
    ws.shutdown_write()
    expect_pieces(ws, 1)
    ws.expect_eof(reset=False)


def by_policy(ws, other):
    """1013 inside of a large frame: its rest arrives, then the close frame."""
    ws.script("join r", f"huge {PIECES * SIZE}")
    other.settle()
    while b"0 x" not in ws.buffer[:20]:
        ws._fill()
    for _ in range(6):  # each is a delivery of its own, which is judged by those before it
        other.script(f"pour r 6 {SIZE}")
        other.settle()
    assert len(ws.recv_text()) == PIECES * SIZE
    ws.expect_closed(1013)


WAYS = [by_handler, by_another, by_client, by_violation, by_policy, by_half_close]


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certs")).make("here", "localhost")


@unhurried
@pytest.mark.parametrize("kind, threads, secure", [("plugin", 1, False), ("isolate", 1, False), ("isolate", 3, False), ("plugin", 3, True),
                                                   ("isolate", 1, True)])
def test_what_was_sent_arrives(kind, threads, secure, certs, ms):
    if kind not in KINDS:
        pytest.skip("not here")
    wrap = tls(certs.cert("here")) if secure else None
    args = ["--plugin", f"/probe={plugin('probe')}", "--close-timeout", ms(CLOSE_TIMEOUT), "--threads", str(threads), *kind_args(kind)]
    with Host(*args, *(certs.args("here") if secure else [])) as host:
        def client(**how):
            ws = ProbeClient("127.0.0.1", host.port, wrap=wrap, **how).handshake("/probe")
            assert ws.id
            return ws

        other, last = client(), slowly(client(receive_buffer=READ), ms)
        with ThreadPoolExecutor(len(WAYS)) as pool:
            for way in [pool.submit(way, slowly(client(receive_buffer=READ), ms), client()) for way in WAYS if way != by_half_close or not secure]:
                way.result()
        begin(last)
        host.signal(signal.SIGTERM)
        expect_pieces(last, 1)
        last.expect_closed(1001)
        other.expect_closed(1001)
        assert host.wait_exit() == 0
        host.judge_log()
        assert not [line for line in host.lines if "cut" in str(line.get("message"))]


@unhurried
@pytest.mark.parametrize("threads", [1, 3])
def test_bytes_that_leave_are_life(threads, ms):
    """A large message takes several times --idle-timeout, and nothing comes back meanwhile."""
    with Host("--plugin", f"/probe={plugin('probe')}", "--idle-timeout", ms(1000), "--threads", str(threads)) as host, Probe(host) as probe:
        ws = slowly(probe.client(receive_buffer=READ), ms, 2e6)
        ws.script(f"huge {PIECES * SIZE}")
        assert len(ws.recv_text()) == PIECES * SIZE
        ws.end()


def test_who_takes_nothing_is_cut():
    """However much waits: the log says how much, and whose. A trickle is not enough."""
    with Host("--plugin", f"/probe={plugin('probe')}", "--close-timeout", "300ms") as host:
        dead, drip = (ProbeClient("127.0.0.1", host.port, receive_buffer=READ).handshake("/probe") for _ in range(2))
        with connect("127.0.0.1", host.port, "/probe") as other:
            for ws in dead, drip:
                ws.script(flood("close 4000"))
            before = host.descriptors
            ended = threading.Event()
            trickle = threading.Thread(target=lambda: [drip.sock.recv(10) for _ in iter(lambda: ended.wait(0.05), True)])
            trickle.start()
            wait_until(lambda: host.descriptors == before - 2, "both sockets are closed")
            ended.set()
            trickle.join()
            lines = [line for line in host.lines if "cut" in line.get("message", "")]
            assert len(lines) == 2 and all(line["waiting"] > 0 and line["kind"] == "conn.slow" for line in lines), lines
            other.end()
        for ws in dead, drip:
            ws.drop()


@unhurried
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "plugin"])
def test_answers_that_take_too_long_are_not_waited_for(kind, ms):
    with Host("--plugin", f"/probe={plugin('probe')}", "--close-timeout", ms(CLOSE_TIMEOUT), *kind_args(kind)) as host:
        ws, other = (ProbeClient("127.0.0.1", host.port).handshake("/probe") for _ in range(2))
        who = ws.id
        ws.script("log 2 begun", f"stall {5 * CLOSE_TIMEOUT * ms.times}", "send late")
        host.wait_log(lambda line: line.get("message") == "begun", "the message is being handled")
        host.signal(signal.SIGTERM)
        ws.expect_closed(1001)
        other.expect_closed(1001)
        host.wait_log(lambda line: "answers are not waited for" in line.get("message", ""), f"what {who} did not get")
        host.wait_exit()


# --- what was received is answered ----------------------------------------------------------------------------------------------

MESSAGES = 20


def at_term(host, ws, other):
    host.signal(signal.SIGTERM)
    return 1001


def at_close(host, ws, other):
    other.script(f"close_of {ws.known} 4007")
    assert other.ask("send closed") == "closed"
    return 4007


def at_violation(host, ws, other):
    ws.send(frame(3, "bad"))
    return 1002


def at_own_close(host, ws, other):
    ws.close(4002)
    return 4002


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", [at_term, at_close, at_violation, at_own_close])
def test_what_was_received_is_answered_first(end, kind, threads, tmp_path):
    """All of it waits for the first, which takes its time; the end comes meanwhile."""
    with Host("--plugin", f"/probe={plugin('probe')}", *kind_args(kind), "--threads", str(threads), "--close-timeout", "10s") as host:
        ws, other = (ProbeClient("127.0.0.1", host.port).handshake("/probe") for _ in range(2))
        ws.known = ws.id
        ws.send(frame(TEXT, "log 2 begun\nstall 300\nsend 0") + b"".join(frame(TEXT, f"send {i}") for i in range(1, MESSAGES)))
        host.wait_log(lambda line: line.get("message") == "begun", "the first message is being handled")
        code = end(host, ws, other)
        for i in range(MESSAGES):
            assert ws.recv_text() == f"{i}"
        ws.expect_closed(code) if code in (1001, 4007) else ws.expect_close(code)
        ws.drop()
        other.expect_closed(1001) if end == at_term else other.end()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", [at_term, at_close, at_violation, at_own_close])
def test_a_timer_of_the_connection_that_was_due_is_answered_too(end, kind, threads):
    """What it gives the connection, and what it keeps for its close event."""
    with Host("--plugin", f"/probe={plugin('probe')}", *kind_args(kind), "--threads", str(threads), "--close-timeout", "10s") as host:
        ws, other = (ProbeClient("127.0.0.1", host.port).handshake("/probe") for _ in range(2))
        ws.known = ws.id
        ws.script("on timer log 2 begun;stall 300;send due;data 0 kept", "wstimer me t 1 1 0")
        host.wait_log(lambda line: line.get("message") == "begun", "its timer is being handled")
        code = end(host, ws, other)
        assert ws.recv_text() == "due"
        ws.expect_closed(code) if code in (1001, 4007) else ws.expect_close(code)
        ws.drop()
        other.expect_closed(1001) if end == at_term else other.end()


# --- HTTP -----------------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "large.bin").write_bytes(bytes(range(256)) * (PIECES * SIZE // 256))
    return folder


@unhurried
@pytest.mark.parametrize("how", ["close", "half-closed", "pipelined"])
def test_a_page_arrives_at_who_reads_slowly(how, page, ms):
    with Host("--static", page, "--handshake-timeout", ms(CLOSE_TIMEOUT), "--close-timeout", ms(CLOSE_TIMEOUT)) as host:
        with Http("127.0.0.1", host.port, receive_buffer=READ) as http:
            slowly(http, ms)
            headers = [("Connection", "close")] if how == "close" else []
            http.send(request_bytes(target="/large.bin", headers=headers) * (2 if how == "pipelined" else 1))
            if how == "half-closed":
                http.sock.shutdown(socket.SHUT_WR)
            for _ in range(2 if how == "pipelined" else 1):
                answer = http.response()
                assert answer.status == 200 and answer.body == (page / "large.bin").read_bytes()
            http.expect_eof(reset=False)


@unhurried
@pytest.mark.parametrize("threads", [1, 3])
def test_a_page_that_is_on_its_way_arrives_though_the_host_stops(page, threads, ms):
    """As what was sent to a WebSocket does, while the client takes it."""
    with Host("--static", page, "--close-timeout", ms(CLOSE_TIMEOUT), "--drain", "0", "--threads", threads) as host:
        with Http("127.0.0.1", host.port, receive_buffer=READ) as http:
            http.send(request_bytes(target="/large.bin"))
            http.sock.recv(1, socket.MSG_PEEK)
            host.signal(signal.SIGTERM)
            answer = slowly(http, ms).response()
            assert answer.status == 200 and answer.body == (page / "large.bin").read_bytes()
        assert host.wait_exit() == 0


def test_a_refusal_arrives_before_the_rest_of_its_request():
    """The host reads no bodies; who sends one all the same gets its answer, and no reset that would take it away."""
    with Host("--plugin", "echo") as host, Http("127.0.0.1", host.port) as http:
        http.send(request_bytes("POST", "/", [("Content-Length", str(8 << 20))]))
        http.send(bytes(8 << 20))
        assert http.response().status >= 400
        http.expect_eof(reset=False)


@unhurried
def test_a_unix_socket_too(tmp_path, ms):
    with Host("--plugin", f"/probe={plugin('probe')}", "--close-timeout", ms(CLOSE_TIMEOUT), listen=f"unix:{tmp_path}/s") as host:
        slow, dead = (ProbeClient(host.listening[0]).handshake("/probe") for _ in range(2))
        slow.script(flood("close 4000"))
        dead.script(flood("close 4000"))
        slowly(slow, ms)
        expect_pieces(slow)
        slow.expect_closed(4000)
        host.wait_log(lambda line: "cut" in line.get("message", ""), "who takes nothing is cut")
        dead.drop()
