"""Peers that are silent: in the handshake, on an open connection, and where neither TCP nor the protocol would ever say so."""
import json
import threading
import time

from patience import unhurried
from probe import Host, Probe, plugin
from tova_host import PATIENCE, wait_until
from wsclient import PING, Http, connect, frame


def test_a_handshake_that_never_comes():
    with Host("--plugin", "echo", "--handshake-timeout", "300ms") as host:
        for sent in (b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: "):
            with Http("127.0.0.1", host.port) as http:
                http.send(sent)
                rest = http.read_all()
                assert rest == b"" or rest.startswith(b"HTTP/1.1 408 "), rest


def test_a_handshake_in_drops_is_not_forever():
    """The clock runs from the start of the request, not from its latest byte."""
    with Host("--plugin", "echo", "--handshake-timeout", "300ms") as host:
        with Http("127.0.0.1", host.port) as http:
            started, ended = time.monotonic(), False
            http.sock.settimeout(0.05)
            while not ended and time.monotonic() - started < PATIENCE:
                try:
                    http.send(b"G" if time.monotonic() == started else b"E")
                    ended = http.sock.recv(1000) is not None
                except TimeoutError:
                    continue
                except (BrokenPipeError, ConnectionResetError):
                    ended = True
            assert ended


@unhurried
def test_a_silent_connection_is_pinged_and_then_ended(ms):
    with Host("--plugin", f"/probe={plugin('probe')}", "--idle-timeout", ms(1000), "--close-timeout", ms(300)) as host, Probe(host) as probe:
        silent = probe.client()
        silent_id = silent.id
        with connect("127.0.0.1", host.port, "/probe/observe") as observer:
            assert observer.recv_text() == "observing"
            # recv_message answers pings: the observer stays, however long it is silent itself.
            while True:
                event = json.loads(observer.recv_text())
                if event["event"] == "close" and event["ws"] == silent_id:
                    break
            assert event["code"] == 1006
            got = silent.recv_frame()
            assert got.opcode == PING
            rest = silent.read_all()
            assert not rest.startswith(b"\x81"), rest


@unhurried
def test_who_answers_pings_stays(ms):
    with Host("--plugin", "echo", "--idle-timeout", ms(1000)) as host, connect("127.0.0.1", host.port) as ws:
        for _ in range(3):
            got = ws.recv_frame()
            assert got.opcode == PING
            ws.pong(got.payload)
        ws.send_text("still here")
        while True:
            got = ws.recv_frame()
            if got.opcode != PING:
                break
            ws.pong(got.payload)
        assert got.payload == b"still here"


@unhurried
def test_who_takes_nothing_of_what_is_sent_is_silent_too(ms):
    """The host has stopped reading it, so pongs say nothing; who takes a little now and then stays, who takes nothing goes."""
    with Host("--plugin", f"/probe={plugin('probe')}", "--idle-timeout", ms(1000), "--max-queue", "64k") as host, Probe(host) as probe:
        stuck, slow, observer = probe.client(receive_buffer=4096), probe.client(receive_buffer=4096), probe.observer()
        stuck_id = stuck.id
        slow.script("flood 60 100000")
        stuck.script("flood 60 100000")
        stuck.script("to observers received before")
        closed = []
        listener = threading.Thread(target=lambda: closed.extend(observer.recv_text() for _ in range(3)))
        listener.start()
        for i in range(60):
            assert slow.recv_text().startswith(f"{i} ")
            time.sleep(0.05 * ms.times if listener.is_alive() else 0)
        slow.settle()
        listener.join()
        assert closed[0] == "received before"
        assert (json.loads(closed[1])["event"], json.loads(closed[1])["kind"]) == ("error", 3)
        event = json.loads(closed[2])
        assert (event["event"], event["code"], event["ws"]) == ("close", 1006, stuck_id)


@unhurried
def test_bytes_of_an_unfinished_frame_are_life(ms):
    """A large message on a thin line keeps its connection, though no frame completes within the timeout."""
    with Host("--plugin", "echo", "--idle-timeout", ms(1000)) as host, connect("127.0.0.1", host.port) as ws:
        data = frame(1, "x" * 200)
        started = time.monotonic()
        at = 0
        while time.monotonic() - started < 2.5 * ms.times:
            if at < len(data) - 1:
                ws.send(data[at:at + 1])
                at += 1
            time.sleep(0.05 * ms.times)
        ws.send(data[at:])
        while True:
            got = ws.recv_frame()
            if got.opcode != PING:
                break
        assert got.payload == b"x" * 200


def test_idle_timeout_of_never():
    with Host("--plugin", "echo", "--idle-timeout", "0") as host, connect("127.0.0.1", host.port) as ws:
        ws.send_text("x")
        assert ws.recv_text() == "x"
        ws.end()


def test_who_is_silent_is_pinged_whatever_the_idle_timeout():
    """Proxies take a silent connection for dead. Nobody answers here, and nobody is ended for it."""
    with Host("--plugin", "echo", "--idle-timeout", "0", "--ping-interval", "1s") as host, connect("127.0.0.1", host.port) as ws:
        for _ in range(3):
            assert ws.recv_frame().opcode == PING
        ws.end()


@unhurried
def test_a_kept_alive_http_connection_ends_too(ms):
    with Host("--plugin", "echo", "--handshake-timeout", ms(300)) as host:
        with Http("127.0.0.1", host.port) as http:
            http.request("GET", "/")
            rest = http.read_all()
            assert rest == b"" or rest.startswith(b"HTTP/1.1 408 "), rest
        with connect("127.0.0.1", host.port) as ws:
            before = host.descriptors
            half = [Http("127.0.0.1", host.port) for _ in range(5)]
            for http in half:
                http.read_all()
            wait_until(lambda: host.descriptors <= before, "the descriptors of unfinished requests are given back")
            ws.end()
