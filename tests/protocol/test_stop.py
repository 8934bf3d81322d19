"""Stopping: drain on TERM or INT, at once on the second."""
import signal
import time

import pytest

from patience import unhurried
from probe import KINDS, WRAPPED, Host, Probe, kind_args, plugin
from raw_worker import RawWorker
from tova_host import PATIENCE
from wsclient import CLOSE, Closed, Http, connect, frame, refused, request_bytes, upgrade_headers


def started(*args, close="500ms"):
    return Host("--plugin", f"/probe={plugin('probe')}", "--plugin-set", "log_events=1", "--close-timeout", close, *args)


def drain_line(host):
    return host.wait_log(lambda line: line.get("kind") == "drain", "that it drains")


@unhurried
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_everyone_gets_1001(number, kind, ms):
    with started("--drain", ms(200), *kind_args(kind), close=ms(500)) as host:
        clients = [connect("127.0.0.1", host.port, "/probe") for _ in range(20)]
        for ws in clients:
            ws.send_text("send ready")
            assert ws.recv_text() == "ready"
        host.signal(number)
        for ws in clients:
            ws.expect_closed(1001)
        assert host.wait_exit() == 0
        host.judge_log()
    closes = [line for line in host.lines if '"event":"close"' in str(line.get("message"))]
    assert len(closes) == 20 and all('"code":1001' in line["message"] for line in closes)
    assert [line for line in host.lines if "opens 20, closes 20, strange 0" in str(line)]


@unhurried
def test_closes_are_paced_and_others_are_served_meanwhile(ms):
    with started("--drain", ms(2000), close=ms(500)) as host:
        clients = [connect("127.0.0.1", host.port, "/probe") for _ in range(8)]
        host.signal(signal.SIGTERM)
        drain_line(host)
        served = 0  # after the first was closed
        left = set(clients)
        while left:
            for ws in list(left):
                ws.send_text("send x")
                got = ws.recv_frame()
                if got.opcode == CLOSE:
                    assert got.payload[:2] == b"\x03\xe9"
                    ws.close(1001)
                    left.discard(ws)
                elif len(left) < len(clients):
                    served += 1
        assert served > 0
        assert host.wait_exit() == 0


def test_upgrades_get_503_while_draining():
    with started("--drain", "30s") as host:
        clients = [connect("127.0.0.1", host.port, "/probe") for _ in range(20)]
        half = Http("127.0.0.1", host.port)
        half.send(b"GET /probe HTTP/1.1\r\nHost: a\r\n")
        host.signal(signal.SIGTERM)
        drain_line(host)
        half.send(b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                  b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        assert half.response().status == 503
        try:
            answer = refused("127.0.0.1", host.port, "/probe")
            assert answer.status == 503
        except (ConnectionRefusedError, Closed):
            pass  # the listener may be closed by now, so that a load balancer sees it
        host.signal(signal.SIGTERM)
        host.wait_exit()
        for ws in clients:
            ws.drop()


def test_a_second_signal_ends_at_once():
    with started("--drain", "1h", close="1h") as host:
        clients = [connect("127.0.0.1", host.port, "/probe") for _ in range(5)]
        for ws in clients:
            ws.send_text("send ready")
            assert ws.recv_text() == "ready"
        host.signal(signal.SIGTERM)
        drain_line(host)
        host.signal(signal.SIGTERM)
        assert host.wait_exit() == 0
        for ws in clients:
            ws.read_all()


def test_peers_that_do_not_answer_can_not_hold_it_up():
    with started("--drain", "0") as host:
        clients = [connect("127.0.0.1", host.port, "/probe") for _ in range(5)]
        clients.append(connect("127.0.0.1", host.port, "/probe", receive_buffer=4096))
        clients[-1].send_text("flood 100 50000")
        half = Http("127.0.0.1", host.port)
        half.send(b"GET / HTTP/1.1\r\n")
        clients[0].send(frame(1, "unfinished")[:-1])
        clients[1].roundtrip()
        host.signal(signal.SIGTERM)
        assert host.wait_exit() == 0
        for ws in clients:
            ws.drop()


def test_it_waits_for_close_handshakes():
    with started("--drain", "0", close="10s") as host:
        ws = connect("127.0.0.1", host.port, "/probe")
        host.signal(signal.SIGTERM)
        ws.expect_close(1001)
        time.sleep(0.3)
        assert host.alive(), "it left without the answer to its close frame"
        ws.send_binary(bytes(200000))  # was on its way, is ignored
        ws.close(1001)
        ws.expect_eof(reset=False)
        assert host.wait_exit() == 0


def test_peers_that_keep_coming_can_not_put_it_off():
    """Clients that connect again and again and never complete a request find it busy at every moment: it ends all the same."""
    with started("--drain", "0", "--handshake-timeout", "10m", close="200ms") as host:
        port, waiting = host.port, []

        def come():
            waiting.append(Http("127.0.0.1", port))
            waiting[-1].send(b"GET / HTTP/1.1\r\n")

        for _ in range(20):
            come()
        connect("127.0.0.1", port, "/probe").end()  # those before are accepted
        host.signal(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while host.alive() and time.monotonic() < deadline:
            try:
                come()
                time.sleep(0.02)
            except OSError:
                break
        assert host.wait_exit() == 0


def test_without_connections_it_ends_at_once():
    with started("--drain", "1h") as host:
        host.signal(signal.SIGTERM)
        assert host.wait_exit() == 0


def test_waiting_timers_and_closes_do_not_hold_it_up():
    with started("--drain", "0") as host, Probe(host) as probe:
        a, b = probe.clients(2)
        b_id = b.id
        a.script("timer t 1 3600000 0", "on close timer u 1 1 1;wake;broadcast x;join r", f"close_of {b_id} 1000 x", "send set")
        assert a.recv_text() == "set"
        host.signal(signal.SIGTERM)
        assert host.wait_exit() == 0


def test_a_reload_while_draining_does_no_harm():
    with started("--drain", "300ms") as host:
        clients = [connect("127.0.0.1", host.port, "/probe") for _ in range(10)]
        host.signal(signal.SIGTERM)
        drain_line(host)
        host.signal(signal.SIGHUP)
        for ws in clients:
            ws.expect_closed(1001)
        assert host.wait_exit() == 0


# Reads and writes of memory that was given back: the sanitizer in the host sees them, or valgrind around it.
VALGRIND = () if WRAPPED else ("valgrind", "-q", "--error-exitcode=99")


@pytest.mark.parametrize("how", ["twice", "in time"])
def test_an_upgrade_that_waits_for_its_answer_when_it_stops(how, tmp_path):
    """Its event is the handler's, which is stopped before its socket is closed."""
    url = f"ipc://{tmp_path}/attach"
    with Host("--attach", f"/w={url}", "--drain", "0", "--close-timeout", "100ms", wrap=VALGRIND) as host, \
            RawWorker(url).hello(events=["upgrade"]) as worker:
        flying, waiting = Http("127.0.0.1", host.port), Http("127.0.0.1", host.port)
        for http in flying, waiting:
            http.send(request_bytes(target="/w", headers=upgrade_headers()))
            worker.expect("upgrade")
        host.signal(signal.SIGTERM)
        drain_line(host)
        if how == "twice":
            host.signal(signal.SIGTERM)
        assert host.wait_exit() == 0
        host.judge_log()
        for http in flying, waiting:
            http.read_all()
