"""Limits: message size, and clients that read too slowly (contract, rule 10)."""
import pytest

from probe import WRAPPED, Host, Probe, plugin
from tova_host import wait_until
from wsclient import BINARY, CLOSE, CONT, PING, PONG, TEXT, Closed, connect, frame

LIMIT = 256 * 1024  # of the shared echo host


@pytest.fixture
def ws(echo):
    with connect("127.0.0.1", echo.port) as client:
        yield client


# --- size of a message --------------------------------------------------------------------------------------------------------

def test_exactly_the_limit(ws):
    ws.send_binary(bytes(LIMIT))
    assert ws.recv_binary() == bytes(LIMIT)
    ws.send_fragments(TEXT, [b"x" * (LIMIT // 2)] * 2)
    assert ws.recv_text() == "x" * LIMIT
    ws.send_fragments(TEXT, [b"x" * LIMIT, b"", b""])
    assert ws.recv_text() == "x" * LIMIT


@pytest.mark.parametrize("length", [LIMIT + 1, 1 << 20, 1 << 32, (1 << 63) - 1])
def test_a_length_above_the_limit_is_refused_by_its_header(ws, length):
    ws.send(frame(BINARY, b"", length=length, length_form=64))
    ws.expect_closed(1009)


def test_fragments_above_the_limit(ws):
    ws.send_frame(BINARY, bytes(LIMIT), fin=False)
    ws.roundtrip()
    ws.send(frame(CONT, b"", length=1))
    ws.expect_closed(1009)


def test_many_small_fragments_above_the_limit(ws):
    piece = frame(CONT, bytes(1000), fin=False)
    ws.send(frame(BINARY, b"", fin=False) + piece * 262)
    ws.roundtrip()
    ws.send(piece)
    ws.expect_closed(1009)


def test_endless_empty_fragments_cost_no_memory(ws, echo):
    ws.send_frame(TEXT, "", fin=False)
    ws.roundtrip()
    before = echo.rss
    for _ in range(20):
        ws.send(frame(CONT, b"", fin=False) * 10000)
    ws.roundtrip()
    assert WRAPPED or echo.rss - before < 1 << 20
    ws.send_frame(CONT, "end")
    assert ws.recv_text() == "end"


def test_promises_cost_no_memory(echo):
    """A header that announces the limit and sends nothing must not make the host allocate it."""
    clients = [connect("127.0.0.1", echo.port) for _ in range(100)]
    before = echo.rss
    for ws in clients:
        ws.send(frame(BINARY, bytes(10), length=LIMIT, length_form=64))
    other = connect("127.0.0.1", echo.port)
    other.send_text("x")
    assert other.recv_text() == "x"
    assert WRAPPED or echo.rss - before < 100 * LIMIT // 4
    for ws in [*clients, other]:
        ws.drop()


def test_a_message_of_many_megabytes():
    with Host("--plugin", "echo", "--max-message", "20m") as host, connect("127.0.0.1", host.port) as ws:
        data = bytes(range(256)) * (17 << 12)
        ws.send_binary(data)
        assert ws.recv_binary() == data
        ws.end()


# --- slow clients -------------------------------------------------------------------------------------------------------------

@pytest.fixture
def slow_host():
    with Host("--plugin", f"/probe={plugin('probe')}", "--max-queue", "64k", "--close-timeout", "500ms") as host:
        yield host


def test_who_never_reads_its_own_answers_is_not_read_either(slow_host):
    """At the bound the host stops reading that client; memory stays bounded meanwhile, and nothing is lost when it goes on."""
    with Probe(slow_host) as probe:
        ws = probe.client(receive_buffer=4096)
        ws.settle()
        before = slow_host.rss
        one = frame(BINARY, bytes(range(250)) * 80)  # the probe sends binary back
        sent, room = 0, 64 << 20  # far more than the kernel holds between us
        ws.sock.settimeout(1)
        try:
            while sent < room:
                sent += ws.sock.send(one[sent % len(one):])
        except TimeoutError:
            pass
        assert sent < room, "the host never stopped reading"
        assert WRAPPED or slow_host.rss - before < 8 << 20
        probe.client().settle()  # nobody else is held up
        ws.sock.settimeout(20)
        for _ in range(sent // len(one)):
            assert ws.recv_binary() == bytes(range(250)) * 80


def test_own_answers_beyond_the_bound_do_not_close(slow_host):
    """One event may queue more than the bound for its own connection: it stops reading and is not judged for it."""
    with Probe(slow_host) as probe:
        ws = probe.client(receive_buffer=4096)
        ws.script("flood 100 10000")
        for i in range(100):
            assert ws.recv_text().startswith(f"{i} ")
        ws.settle()


def test_a_slow_consumer_is_closed_with_1013(slow_host):
    with Probe(slow_host) as probe:
        slow, stuck, other, sender = [probe.client(receive_buffer=4096) for _ in range(2)] + probe.clients(2)
        observer = probe.observer()
        for ws in (slow, other, stuck):
            ws.script("join news", "send joined")
            assert ws.recv_text() == "joined"
        slow_ids = slow.id, stuck.id
        sent = 0
        while True:
            sender.script("pour news 10 10000", "send poured")
            assert sender.recv_text() == "poured"
            for i in range(10):
                assert other.recv_text().startswith(f"{i} ")
            sent += 1
            assert sent < 3000, "the slow consumer is never closed"
            if sender.members("news") == {other.id}:
                break
        closed = [observer.event("close") for _ in slow_ids]
        assert {c["ws"] for c in closed} == set(slow_ids)
        assert all(c["code"] == 1013 and c["rooms"] == ["news"] for c in closed)
        other.settle()
        try:  # frames stay whole and in order up to the close frame
            seen = 0
            while (got := slow.recv_frame()).opcode != CLOSE:
                assert got.payload.startswith(b"%d x" % (seen % 10))
                seen += 1
            assert got.payload[:2] == (1013).to_bytes(2, "big")
        except Closed:
            pass  # it was too slow even for the close handshake


def test_an_empty_queue_takes_any_one_message(slow_host):
    """Larger than the bound, to a client that reads: delivered, not judged."""
    with Probe(slow_host) as probe:
        a, b = probe.client(), probe.client()
        a.script("join big", "send joined")
        a.recv_text()
        for _ in range(3):
            b.script("pour big 1 500000", "send poured")
            assert b.recv_text() == "poured"
            assert len(a.recv_text()) == 500000
        # The bound is judged after a write was attempted: what was queued a moment ago has left, and the queue is empty.
        b.script("to big small", "pour big 1 500000", "to big small too", "send poured")
        assert b.recv_text() == "poured"
        assert a.recv_text() == "small" and len(a.recv_text()) == 500000 and a.recv_text() == "small too"
        a.settle()


def test_a_pong_passes_data_that_waits():
    """Control frames are never stuck behind data (rule 10): it comes before the last of 20 MB of which the kernel holds a part only."""
    with Host("--plugin", f"/probe={plugin('probe')}", "--max-queue", "64m") as host, Probe(host) as probe:
        observer, sender, slow = probe.observer(), probe.client(), probe.client(receive_buffer=4096)
        slow.script("join news", "send joined")
        assert slow.recv_text() == "joined"
        sender.script("pour news 2000 10000", "send poured")
        assert sender.recv_text() == "poured"
        slow.ping(b"urgent")
        slow.script("to observers pinged")
        assert observer.event("open") and observer.event("open") and observer.recv_text() == "pinged"
        seen, pong_at = 0, None
        while seen < 2000 or pong_at is None:
            got = slow.recv_frame()
            if got.opcode == PONG:
                assert got.payload == b"urgent"
                pong_at = seen
            else:
                assert got.payload.startswith(b"%d x" % seen)
                seen += 1
        assert pong_at < 1500, pong_at


def test_pings_of_a_peer_that_reads_no_pongs_cost_no_memory(slow_host):
    with Probe(slow_host) as probe:
        ws = probe.client(receive_buffer=4096)
        ws.settle()
        before = slow_host.rss
        for i in range(2000):
            ws.send(frame(PING, b"%100d" % i) * 100)
        assert WRAPPED or slow_host.rss - before < 4 << 20
        probe.client().settle()
        # The newest pong passes what waits, older pongs among it: those that pass come in order, and those that are passed do.
        number, passing, passed = -1, -1, -1
        while number != 1999:
            number = int(ws.recv_pong())
            if number >= passing:
                passing = number
            else:
                assert number >= passed, (number, passed, passing)
                passed = number


def test_what_follows_while_reading_is_paused_is_handled_later(slow_host):
    """Messages, a ping and the end lie received behind a flood that the client has not read: all of it happens, in order."""
    for end in ("close", "shutdown_write", "later"):
        with Probe(slow_host) as probe:
            observer, ws = probe.observer(), probe.client(receive_buffer=4096)
            who = observer.event("open")["ws"]
            ws.send(frame(TEXT, "flood 30 50000") + frame(TEXT, "send after") + frame(TEXT, "flood 30 50000\nsend last"))
            if end != "later":
                ws.close(4001, "done") if end == "close" else ws.shutdown_write()
            for text in ("after", "last"):
                for i in range(30):
                    assert ws.recv_text().startswith(f"{i} ")
                assert ws.recv_text() == text
            if end == "later":  # nothing came that could have made the host look again
                ws.close(4001)
            if end != "shutdown_write":
                assert ws.recv_close() == (4001, "")
            ws.expect_eof(reset=False)
            closed = observer.event(None, who)
            assert (closed["event"], closed["code"]) == ("close", 1006 if end == "shutdown_write" else 4001)


def test_what_was_received_before_a_reset_is_handled_before_the_close(slow_host):
    """Rule 1, also for messages that waited because their sender did not read."""
    with Probe(slow_host) as probe:
        observer, ws = probe.observer(), probe.client(receive_buffer=4096)
        who = observer.event("open")["ws"]
        ws.send(frame(TEXT, "flood 200 50000") + frame(TEXT, "to observers received") + frame(TEXT, "to observers too"))
        assert ws.recv_text().startswith("0 ")  # so all of it, one small segment, has been received
        probe.client().settle()  # and the flood has been queued as far as it can
        ws.reset()
        assert observer.event("open")
        assert observer.recv_text() == "received" and observer.recv_text() == "too"
        error, closed = observer.event(None, who), observer.event(None, who)
        assert (error["event"], error["kind"], closed["event"], closed["code"]) == ("error", 3, "close", 1006)


@pytest.mark.parametrize("how", ["close", "shutdown_write", "script"])
def test_a_peer_that_never_reads_can_not_delay_its_end(how):
    """20 MB wait for it, so neither a close frame nor its echo gets through: after --close-timeout the socket goes."""
    with Host("--plugin", f"/probe={plugin('probe')}", "--max-queue", "64m", "--close-timeout", "300ms") as host, Probe(host) as probe:
        other = probe.client()
        before = host.descriptors
        ws = probe.client(receive_buffer=4096)
        ws.script("join r", "send joined")
        assert ws.recv_text() == "joined"
        other.script("pour r 2000 10000", "send poured")
        assert other.recv_text() == "poured"
        if how == "script":
            ws.script("close 1000 stuck")
        else:
            getattr(ws, how)()
        wait_until(lambda: other.query("connections")["count"] == 1 and host.descriptors == before, "its socket is closed")


def test_memory_of_a_flood_is_given_back(slow_host):
    with Probe(slow_host) as probe:
        clients = probe.clients(20)
        for ws in clients:
            ws.script("flood 20 50000")
        for ws in clients:
            for i in range(20):
                assert ws.recv_text().startswith(f"{i} ")
            ws.settle()
        first = slow_host.rss
        for _ in range(5):
            for ws in clients:
                ws.script("flood 20 50000")
            for ws in clients:
                for i in range(20):
                    ws.recv_text()
        assert WRAPPED or slow_host.rss - first < 8 << 20
