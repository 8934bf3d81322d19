"""Limits for each address and for the whole host. All of 127.0.0.0/8 is this machine, so a test has as many addresses as it wants."""
import os
import resource
import select
import socket

import pytest

from patience import unhurried
from probe import WRAPPED, Host
from tova_host import free_port, wait_until
from wsclient import Http, WebSocket, connect, http_get, refused, request_bytes, upgrade_headers

FOR = "X-Forwarded-For"


def at(host, which):
    address, _, port = host.listening[which].rpartition(":")
    return address.strip("[]"), int(port)


def too_many(answer):
    assert answer.status == 429 and b"address" in answer.body, answer
    return int(answer.get("Retry-After"))


def limit_lines(host, mark=0):
    return [line for line in host.lines[mark:] if line.get("kind") == "limit"]


@pytest.fixture(scope="module")
def host():
    """Three connections of an address; 127.0.0.1 is a proxy."""
    with Host("--plugin", "echo", "--max-per-address", "3", "--trusted-proxy", "127.0.0.1", "--close-timeout", "300ms",
              listen=["127.0.0.1:0", "[::1]:0", "127.0.0.1:0,proxy"]) as running:
        yield running


# --- how one more is told, for each way of knowing the address: which listener, source, headers, bytes in front ----------------------------

WAYS = {
    "peer": (0, "127.0.0.2", [], b""),
    "peer-v6": (1, None, [], b""),
    "forwarded": (0, "127.0.0.1", [(FOR, "192.0.2.7")], b""),
    "forwarded-v6": (0, "127.0.0.1", [(FOR, "2001:db8::7")], b""),
    "proxy": (2, "127.0.0.1", [], b"PROXY TCP4 192.0.2.8 192.0.2.1 1 2\r\n"),
    "proxy-v6": (2, "127.0.0.1", [], b"PROXY TCP6 2001:db8::8 2001:db8::1 1 2\r\n"),
    "proxy-forwarded": (2, "127.0.0.1", [(FOR, "192.0.2.9")], b"PROXY TCP4 127.0.0.1 192.0.2.1 1 2\r\n"),
}


def opened(host, way):
    which, source, headers, front = WAYS[way]
    """A WebSocket, or None where it would be one too many."""
    ws = WebSocket(*at(host, which), source=source)
    ws.send(front + request_bytes("GET", "/", upgrade_headers(extra=headers)))
    status = ws.response_head().status
    assert status in (101, 429)
    return ws if status == 101 else ws.drop()


def answer(host, way):
    which, source, headers, front = WAYS[way]
    with Http(*at(host, which), source=source) as http:
        http.send(front + request_bytes("GET", "/", upgrade_headers(extra=headers)))
        return http.response()


@pytest.mark.parametrize("way", WAYS)
def test_one_too_many(host, way):
    """Exactly three; the place of one that ends is free, however it ends."""
    mine = [opened(host, way) for _ in range(3)]
    too_many(answer(host, way))
    for end in (WebSocket.end, WebSocket.drop, WebSocket.reset):
        end(mine.pop())
        mine.append(wait_until(lambda: opened(host, way), "its place is free"))
        too_many(answer(host, way))
    mine[0].send_text("still here")
    assert mine[0].recv_text() == "still here"
    for ws in mine:
        ws.end()


def test_a_network_of_ipv6_is_one(host):
    """By /64; and the client of another one is not concerned."""
    def client(n):
        return [(FOR, n)]
    held = [connect(*at(host, 0), headers=client(f"2001:db8:1:2::{i}")) for i in range(3)]
    too_many(refused(*at(host, 0), lines=upgrade_headers(extra=client("2001:db8:1:2:ffff::1"))))
    held.append(connect(*at(host, 0), headers=client("2001:db8:1:3::1")))
    for ws in held:
        ws.end()


def test_a_proxy_itself_is_not_counted(host):
    held = [connect(*at(host, 0)) for _ in range(10)]
    assert http_get(*at(host, 0)).status == 426
    for ws in held:
        ws.end()


def test_a_flood_from_one_address():
    """Some are told, the rest is closed without a word; one line in the log says it, and others are served meanwhile."""
    with Host("--plugin", "echo", "--max-per-address", "2", "--handshake-timeout", "60s") as host:
        held = [connect("127.0.0.1", host.port, source="127.0.0.3") for _ in range(2)]
        idle = [Http("127.0.0.1", host.port, source="127.0.0.3") for _ in range(100)]

        def ended():
            return set(select.select([http.sock for http in idle], [], [], 0)[0])

        wait_until(lambda: len(ended()) == 92, "all but eight are closed")
        waiting = [http for http in idle if http.sock not in ended()]
        assert len(waiting) == 8
        for http in [http for http in idle if http not in waiting]:
            http.expect_eof()
        for http in waiting:  # also a plain request
            http.send(request_bytes())
            too_many(http.response())
            http.expect_eof()
        wait_until(lambda: refused("127.0.0.1", host.port, source="127.0.0.3").status == 429, "there is time to tell again")
        with connect("127.0.0.1", host.port, source="127.0.0.4") as ws:
            ws.end()
        host.wait_log(lambda line: line["kind"] == "limit" and line["remote"] == "127.0.0.3")
        assert len(limit_lines(host)) == 1
        for ws in held:
            ws.end()


def test_handshake_rate():
    """Exactly so many in the time, counted from the first; Retry-After says when the next may come. A reload changes it for everyone."""
    with Host("--plugin", "echo", "--handshake-rate", "3/1h", "--trusted-proxy", "127.0.0.1") as host:
        for _ in range(3):
            connect("127.0.0.1", host.port, source="127.0.0.5").end()
        assert 1190 <= too_many(refused("127.0.0.1", host.port, source="127.0.0.5")) <= 1200
        assert 1190 <= too_many(http_get("127.0.0.1", host.port, source="127.0.0.5")) <= 1200
        connect("127.0.0.1", host.port, source="127.0.0.6").end()
        said = [(FOR, "127.0.0.5")]  # the same client by way of a proxy: its upgrades count
        too_many(refused("127.0.0.1", host.port, lines=upgrade_headers(extra=said)))
        assert http_get("127.0.0.1", host.port, headers=said).status == 426
        said = [(FOR, "127.0.0.7")]
        for _ in range(3):
            connect("127.0.0.1", host.port, headers=said).end()
        too_many(refused("127.0.0.1", host.port, lines=upgrade_headers(extra=said)))
        wait_until(lambda: [line["remote"] for line in limit_lines(host)] == ["127.0.0.5", "127.0.0.7"], "a line for each address")


def test_a_rate_comes_back():
    with Host("--plugin", "echo", "--handshake-rate", "1/300ms") as host:
        connect("127.0.0.1", host.port).end()

        def again():
            try:
                connect("127.0.0.1", host.port).end()
                return True
            except AssertionError as no:
                assert "status=429" in str(no), no
                return False

        wait_until(again, "its bucket has flown in")


def test_limits_change_with_a_reload(tmp_path):
    config = tmp_path / "tova.conf"
    config.write_text('mount = ( { plugin = "echo"; } ); max-per-address = 1;')
    with Host("-c", config) as host:
        with connect("127.0.0.1", host.port, source="127.0.0.8"):
            too_many(refused("127.0.0.1", host.port, source="127.0.0.8"))
            config.write_text('mount = ( { plugin = "echo"; } ); max-per-address = 2; trusted-proxy = "127.0.0.9"; address-prefix = 48;')
            mark = host.reload()
            host.wait_log(lambda line: line["kind"] == "reload" and line.get("option") == "--address-prefix" and line["level"] == "warn",
                          after=mark)
            host.wait_log(lambda line: line["kind"] == "reload" and "waiting_for_a_restart" in line, after=mark)
            with connect("127.0.0.1", host.port, source="127.0.0.8"):
                too_many(refused("127.0.0.1", host.port, source="127.0.0.8"))
            held = [connect("127.0.0.1", host.port, source="127.0.0.9") for _ in range(4)]
            for ws in held:
                ws.end()


def test_as_many_as_the_host_takes():
    """Those beyond wait unaccepted and come in as others go, never more than five at a time; one line says so, and one when all are in."""
    with Host("--plugin", "echo", "--max-connections", "5") as host:
        held = [connect("127.0.0.1", host.port) for _ in range(5)]
        waiting = {}
        for _ in range(20):
            ws = WebSocket("127.0.0.1", host.port)
            ws.send(request_bytes("GET", "/", upgrade_headers()))
            waiting[ws.sock] = ws
        host.wait_log(lambda line: line["kind"] == "limit" and "--max-connections" in line["message"])
        assert not select.select(waiting, [], [], 0.2)[0]
        while held:
            held.pop().drop()
            answered = wait_until(lambda: select.select(waiting, [], [], 0)[0], "another comes in")
            held += [waiting.pop(sock) for sock in answered]
            assert len(held) <= 5
            assert held[-1].response_head().status == 101
            if not waiting:
                break
        for ws in held:
            ws.drop()
        host.wait_log(lambda line: line["kind"] == "limit" and "everyone" in line["message"])
        # Several loops have a queue of their own each, and know nothing of those in the others'.
        assert len(limit_lines(host)) == 2 or len(limit_lines(host)) < 20 and int(os.environ.get("TOVA_THREADS", "1")) > 1


# --- half-open handshakes ---------------------------------------------------------------------------------------------------------------

@unhurried
def test_ten_thousand_that_never_finish_their_handshake(ms):
    """Nobody else is held up by them, they cost little, and the handshake timeout ends each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    n = 10000 if hard == resource.RLIM_INFINITY or hard > 10500 else hard - 500
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(n + 500, hard) if hard != resource.RLIM_INFINITY else n + 500, hard))
    part = request_bytes("GET", "/", upgrade_headers())[:-30]
    half = []
    try:
        with Host("--plugin", "echo", "--handshake-timeout", ms(2000), "--close-timeout", "300ms", "--backlog", "4096") as host:
            with connect("127.0.0.1", host.port) as other:
                before, descriptors = host.rss, host.descriptors
                for i in range(n):
                    half.append(s := socket.socket())
                    s.bind((f"127.0.1.{1 + i % 50}", 0))
                    s.connect(("127.0.0.1", host.port))
                    s.send(part)
                    if i % 500 == 0:
                        other.send_text("here")
                        assert other.recv_text() == "here"
                connect("127.0.0.1", host.port).end()
                assert WRAPPED or host.rss - before < n * 1500
                assert host.descriptors > descriptors + n // 2
                wait_until(lambda: host.descriptors < descriptors + 8, "the handshake timeout ends them")
                other.send_text("here")
                assert other.recv_text() == "here"
                said = half[-1].recv(1000)
                assert said.startswith(b"HTTP/1.1 408 ") and half[-1].recv(1) == b""
    finally:
        for s in half:
            s.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- every address of the machine ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 3])
def test_the_unspecified_address_takes_ipv4_too(threads):
    """And its clients are what they are: the limits and the trust of IPv4 addresses hold for them."""
    with Host("--plugin", "echo", "--max-per-address", "1", "--trusted-proxy", "127.0.0.2", "--threads", threads, listen=["[::]:0"]) as host:
        port = at(host, 0)[1]
        with connect("::1", port), connect("127.0.0.1", port):
            mark = len(host.lines)
            too_many(refused("127.0.0.1", port))
            line = host.wait_log(lambda line: line.get("kind") == "limit", after=mark)
            assert line["remote"] == "127.0.0.1"
            with connect("127.0.0.1", port, source="127.0.0.2", headers=[(FOR, "192.0.2.7")]):
                pass


def test_an_ipv4_address_of_the_same_port_is_a_listener_of_its_own():
    for listen in (["[::]:{}", "0.0.0.0:{}"], ["0.0.0.0:{}", "[::]:{}"], ["[::]:{}", "127.0.0.1:{}"]):
        port = free_port()
        with Host("--plugin", "echo", listen=[one.format(port) for one in listen]):
            connect("::1", port).end()
            connect("127.0.0.1", port).end()
