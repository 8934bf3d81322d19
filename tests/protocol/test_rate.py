"""--rate-limit: what one connection may send in a time. A window of an hour makes its edge exact: nothing flows in during a test."""
import pytest

import probe as probes
from probe import KINDS, Host, kind_args, plugin
from tova_host import wait_until
from wsclient import PING, TEXT, connect, frame

MOUNTS = [arg for name in ("drop", "close", "free", "quick") for arg in ("--plugin", f"/{name}={plugin('probe')}")]
LIMITS = ["--rate-limit", "5/1h", "--rate-limit", "/close=5/1h,close", "--rate-limit", "/free=", "--rate-limit", "/quick=2/300ms,drop"]


@pytest.fixture(scope="module", params=KINDS)
def host(request):
    with Host(*MOUNTS, *LIMITS, *kind_args(request.param), "--close-timeout", "500ms") as running:
        yield running


class Probe(probes.Probe):
    """Its own end asks no questions, as they would count."""

    def __exit__(self, *_):
        for ws in self._clients:
            ws.drop()


def error(observer, who):
    event = observer.event("error", who)
    assert event["kind"] == 4, event
    return event["text"]


def observed(probe):
    """An observer, which may not be limited itself, and a client."""
    observer, ws = probe.observer(), probe.client()
    return observer, ws, observer.event("open")["ws"]


def test_exactly_so_many(host):
    """Five are handled, the sixth is not, nor any later; the handler is told at once, and of the rest before the close."""
    with Probe(host, "/drop") as probe:
        observer, ws, who = observed(probe)
        ws.send(b"".join(frame(TEXT, f"send {i}") for i in range(12)))
        for i in range(5):
            assert ws.recv_text() == str(i)
        assert error(observer, who) == "dropped 1 messages: more than 5 in 3600000 ms"
        ws.close(1000)
        assert ws.recv_close() == (1000, "")  # nothing of the others has come
        assert error(observer, who) == "dropped 6 messages: more than 5 in 3600000 ms"
        assert observer.event(None, who)["event"] == "close"
        lines = wait_until(lambda: [line for line in host.lines if line.get("conn") and line["kind"] == "limit" and "dropped" in line][1:],
                           "a line for each")
        assert lines[-1]["dropped"] == 6 and lines[-1]["mount"] == "/drop"


def test_each_connection_has_its_own(host):
    with Probe(host, "/drop") as probe:
        for ws in probe.clients(3):
            ws.send(b"".join(frame(TEXT, f"send {i}") for i in range(5)))
            assert [ws.recv_text() for _ in range(5)] == list("01234")


def test_pings_count_and_fragments_do_not(host):
    """A ping beyond gets no pong; pieces of one message are one; pongs cost nothing; the close handshake always works."""
    with Probe(host, "/drop") as probe:
        ws = probe.client()
        for i in range(50):
            ws.pong(b"unasked")
        ws.send_fragments(TEXT, [b"se", b"", b"nd 1", b""])
        assert ws.recv_text() == "1"
        ws.send(b"".join(frame(PING, str(i).encode()) for i in range(10)))
        assert [ws.recv_pong() for _ in range(4)] == [b"0", b"1", b"2", b"3"]
        ws.send_text("send 2")
        ws.close(1000)
        assert ws.recv_close() == (1000, "")
        ws.expect_eof()


def test_close(host):
    with Probe(host, "/close") as probe:
        for one_more in (frame(TEXT, "send more"), frame(PING, b"more")):
            observer, ws, who = observed(probe)
            ws.send(b"".join(frame(TEXT, f"send {i}") for i in range(5)))
            assert [ws.recv_text() for _ in range(5)] == list("01234")
            ws.send(one_more + frame(TEXT, "send never"))
            assert ws.expect_closed(1008) == "more messages than --rate-limit allows"
            assert "--rate-limit" in error(observer, who)
            closed = observer.event(None, who)
            assert (closed["event"], closed["code"]) == ("close", 1008)


def test_not_at_every_mount(host):
    with Probe(host, "/free") as probe:
        ws = probe.client()
        ws.send(b"".join(frame(TEXT, f"send {i}") for i in range(100)))
        assert [ws.recv_text() for _ in range(100)] == [str(i) for i in range(100)]


def test_it_flows_in_again(host):
    with Probe(host, "/quick") as probe:
        ws = probe.client()
        ws.send(frame(TEXT, "send a") + frame(TEXT, "send b"))
        assert ws.recv_text() == "a" and ws.recv_text() == "b"

        def asked():
            ws.sock.settimeout(0.1)
            ws.send_text("send again")
            try:
                return ws.recv_text() == "again"
            except AssertionError as nothing:
                assert "nothing came" in str(nothing)
                return False

        wait_until(asked, "the next passes")


def test_a_reload_changes_it(tmp_path):
    config = tmp_path / "tova.conf"
    text = f'mount = ( {{ path = "/probe"; plugin = "{plugin("probe")}"; %s }} ); %s'
    config.write_text(text % ("", 'rate-limit = "1/1h";'))
    with Host("-c", config) as host:
        with connect("127.0.0.1", host.port, "/probe") as ws:
            ws.send_text("send 1")
            assert ws.recv_text() == "1"
            config.write_text(text % ('rate-limit = "";', 'rate-limit = "1/1h";'))
            mark = host.reload()
            host.wait_log(lambda line: line["kind"] == "reload" and "read again" in line["message"], after=mark)
            for i in range(10):
                ws.send_text(f"send {i}")
                assert ws.recv_text() == str(i)
