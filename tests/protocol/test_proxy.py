"""Behind a proxy: the PROXY protocol and forwarded headers. 127.0.0.1, ::1, 10.0.0.0/8 and Unix sockets are trusted; 127.0.0.2 is not."""
import json
import socket
import struct

import pytest

from probe import KINDS, Host, kind_args, plugin
from wsclient import Http, Stream, WebSocket, connect, refused, request_bytes, upgrade_headers

PROXY = "127.0.0.1,::1,10.0.0.0/8,unix"


@pytest.fixture(scope="module", params=KINDS)
def host(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sockets")
    listen = ["127.0.0.1:0", "127.0.0.1:0,proxy", "[::1]:0,proxy", f"unix:{folder}/plain", f"unix:{folder}/a,b,proxy"]
    with Host("--plugin", plugin("probe"), "--trusted-proxy", PROXY, *kind_args(request.param), listen=listen) as running:
        if request.param != "plugin":
            running.wait_log(lambda line: line["kind"] == "worker" and "ready" in line["message"])
        yield running


def at(host, which):
    """Where the listener of this number is."""
    address = host.listening[which]
    return (address, None) if address.startswith("unix:") else (address.rpartition(":")[0].strip("[]"), int(address.rpartition(":")[2]))


def introduced(host, header, which=1, **how):
    """An open WebSocket behind these bytes; its request as the handler saw it."""
    ws = WebSocket(*at(host, which), **how)
    ws.send(header)
    ws.handshake("/?request=1")
    return ws, json.loads(ws.recv_text())


def v2(first, family, body):
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes([first, family]) + struct.pack(">H", len(body)) + body


IP4 = socket.inet_aton("192.0.2.7") + socket.inet_aton("198.51.100.1") + struct.pack(">HH", 4660, 443)
IP6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7") + socket.inet_pton(socket.AF_INET6, "2001:db8::1") + struct.pack(">HH", 4660, 443)

# bytes, the client and where it came to; None: those of the socket
HEADERS = {
    "v1-tcp4": (b"PROXY TCP4 192.0.2.7 198.51.100.1 4660 443\r\n", ("192.0.2.7", 4660), ("198.51.100.1", 443)),
    "v1-tcp6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 4660 443\r\n", ("2001:db8::7", 4660), ("2001:db8::1", 443)),
    "v1-unknown": (b"PROXY UNKNOWN\r\n", None, None),
    "v2-tcp4": (v2(0x21, 0x11, IP4), ("192.0.2.7", 4660), ("198.51.100.1", 443)),
    "v2-tcp6": (v2(0x21, 0x21, IP6), ("2001:db8::7", 4660), ("2001:db8::1", 443)),
    "v2-unix": (v2(0x21, 0x31, bytes(216)), ("unix", 0), ("unix", 0)),
    "v2-extensions": (v2(0x21, 0x11, IP4 + b"\x04\0\x02xx\xe0\0\0\x02\0\x04host"), ("192.0.2.7", 4660), ("198.51.100.1", 443)),
    "v2-local": (v2(0x20, 0, b""), None, None),
    "v2-unspec": (v2(0x21, 0, b"abc"), None, None),
}


@pytest.mark.parametrize("which", [1, 2, 4], ids=["tcp4", "tcp6", "unix"])
@pytest.mark.parametrize("name", HEADERS)
def test_the_header_names_the_client(host, name, which):
    header, client, reached = HEADERS[name]
    ws, request = introduced(host, header, which)
    seen = (request["remote_addr"], request["remote_port"]), (request["local_addr"], request["local_port"])
    if client is None:
        name = ws.sock.getsockname()
        own = ("unix", 0) if which == 4 else name[:2]
        client, reached = own, ("unix", 0) if which == 4 else at(host, which)
    assert seen == (client, reached)
    ws.end()


@pytest.mark.parametrize("name", HEADERS)
def test_however_it_is_cut(host, name):
    """Byte by byte, each seen by the host alone or with its neighbours, and with the request in the same write."""
    header, client, _ = HEADERS[name]
    head = request_bytes("GET", "/?request=1", upgrade_headers())
    for pieces in ([header + head], [header[i:i + 1] for i in range(len(header))] + [head], [header[:12], header[12:] + head]):
        with WebSocket(*at(host, 1)) as ws:
            for piece in pieces:
                ws.send(piece)
            assert ws.response_head().status == 101
            assert client is None or f'"remote_addr":"{client[0]}"' in ws.recv_text()


def test_a_checksum(host):
    def crc32c(data):
        crc = 0xFFFFFFFF
        for byte in data:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        return crc ^ 0xFFFFFFFF

    assert crc32c(b"123456789") == 0xE3069283
    blank = v2(0x21, 0x11, IP4 + b"\3\0\4" + bytes(4))
    ws, request = introduced(host, blank[:-4] + struct.pack(">I", crc32c(blank)))
    assert request["remote_addr"] == "192.0.2.7"
    ws.end()
    gone(host, blank, "wrong checksum")


def gone(host, data, why, which=1, **how):
    """The connection ends without an answer, and one line says why."""
    mark = len(host.lines)
    with Stream(*at(host, which), **how) as stream:
        try:
            stream.send(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        stream.expect_eof()
    if why:
        host.wait_log(lambda line: line["kind"] == "accept" and why in line["message"], why, after=mark)


BAD = {
    "none": (request_bytes("GET", "/", upgrade_headers()), "no PROXY header"),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "no PROXY header"),
    "v1-port": (b"PROXY TCP4 192.0.2.7 198.51.100.1 04660 443\r\n", "bad port"),
    "v1-address": (b"PROXY TCP4 192.0.2.300 198.51.100.1 4660 443\r\n", "bad address"),
    "v1-udp": (b"PROXY UDP4 192.0.2.7 198.51.100.1 4660 443\r\n", "protocol that is not"),
    "v1-lf": (b"PROXY UNKNOWN\n", "bare LF"),
    "v1-long": (b"PROXY UNKNOWN " + b"x" * 93, "without an end"),
    "v2-version": (b"\r\n\r\n\0\r\nQUIT\n\x31", "version or command"),
    "v2-udp": (v2(0x21, 0x12, IP4), "other than streams"),
    "v2-short": (v2(0x21, 0x11, IP4[:-1]), "too short"),
    "v2-extension": (v2(0x21, 0x11, IP4 + b"\x04\0\x09x"), "beyond its end"),
    "v2-long": (b"\r\n\r\n\0\r\nQUIT\n\x20\0\x40\x01", "too long"),
}


def test_bad_headers_end_their_connection():
    """Each costs its connection and, as far as the log's limit goes, one line; the host is there for the next."""
    with Host("--plugin", "echo", "--trusted-proxy", PROXY, listen="127.0.0.1:0,proxy") as host:
        for i, (data, why) in enumerate(BAD.values()):
            gone(host, data, why if i < 8 else None, which=0)
        ws = WebSocket(*at(host, 0))
        ws.send(HEADERS["v1-tcp4"][0])
        ws.handshake().end()


def test_who_may_not_introduce_others(host):
    gone(host, HEADERS["v1-tcp4"][0], "none of --trusted-proxy", source="127.0.0.2")


def test_a_header_that_does_not_come():
    with Host("--plugin", "echo", "--trusted-proxy", PROXY, "--handshake-timeout", "300ms", listen="127.0.0.1:0,proxy") as host:
        gone(host, b"", "in time", which=0)
        gone(host, b"PROXY TCP4 192", "in time", which=0)


def test_who_only_looks(host):
    """A load balancer's check of the port: no line, no harm."""
    mark = len(host.lines)
    Stream(*at(host, 1)).drop()
    ws, _ = introduced(host, HEADERS["v1-tcp4"][0])
    ws.end()
    assert not [line for line in host.lines[mark:] if line["kind"] == "accept"]


def test_a_header_where_none_is_expected(host):
    with Http(*at(host, 0)) as http:
        http.send(HEADERS["v1-tcp4"][0] + request_bytes())
        assert http.response().status in (400, 505)


# --- headers -------------------------------------------------------------------------------------------------------------------------

FOR = "X-Forwarded-For"
SAYS = {
    "nothing": ([], "127.0.0.1"),
    "one": ([(FOR, "192.0.2.7")], "192.0.2.7"),
    "port": ([(FOR, "[2001:db8::7]:4660")], "2001:db8::7"),
    "several": ([(FOR, "203.0.113.9, 192.0.2.7, 10.1.1.1")], "192.0.2.7"),
    "lines": ([(FOR, "203.0.113.9"), (FOR, "192.0.2.7"), (FOR, "10.1.1.1")], "192.0.2.7"),
    "trusted": ([(FOR, "10.2.2.2, 10.1.1.1")], "10.2.2.2"),
    "nonsense": ([(FOR, "192.0.2.7, unknown")], "127.0.0.1"),
    "quote": ([(FOR, '"203.0.113.9, 192.0.2.7')], "192.0.2.7"),
    "other kind": ([("Forwarded", "for=192.0.2.7")], "127.0.0.1"),
}


@pytest.mark.parametrize("name", SAYS)
def test_forwarded_for(host, name):
    headers, client = SAYS[name]
    with connect(*at(host, 0), "/?request=1", headers=headers) as ws:
        request = json.loads(ws.recv_text())
        assert request["remote_addr"] == client
        assert [pair for pair in request["headers"] if pair[0] in (FOR, "Forwarded")] == [list(pair) for pair in headers]


def test_of_peers_that_are_not_trusted_it_is_a_header_like_any(host):
    with connect(*at(host, 0), "/?request=1", headers=[(FOR, "192.0.2.7")], source="127.0.0.2") as ws:
        request = json.loads(ws.recv_text())
        assert request["remote_addr"] == "127.0.0.2" and [FOR, "192.0.2.7"] in request["headers"]


def test_a_unix_socket_can_be_trusted(host):
    with connect(*at(host, 3), "/?request=1", headers=[(FOR, "192.0.2.7")]) as ws:
        assert '"remote_addr":"192.0.2.7"' in ws.recv_text()


def test_both_ways_of_saying_it(host):
    """A balancer of TCP in front of a proxy of HTTP: the header's client is trusted and says who its own is."""
    ws, request = introduced(host, b"PROXY TCP4 10.9.9.9 198.51.100.1 4660 443\r\n")
    assert request["remote_addr"] == "10.9.9.9"
    ws.end()
    for source, client in (("10.9.9.9", "192.0.2.7"), ("203.0.113.5", "203.0.113.5")):
        with WebSocket(*at(host, 1)) as ws:
            ws.send(f"PROXY TCP4 {source} 198.51.100.1 4660 443\r\n".encode())
            ws.handshake("/?request=1", headers=[(FOR, "192.0.2.7")])
            assert f'"remote_addr":"{client}"' in ws.recv_text()


def test_clients_that_share_a_connection_of_their_proxy(host):
    """Requests that are no upgrades come on one connection, each for another client; the upgrade is the last's."""
    with WebSocket(*at(host, 0)) as ws:
        for client in ("192.0.2.1", "192.0.2.2"):
            assert ws.request(headers=[(FOR, client)]).status == 426
        ws.handshake("/?request=1", headers=[(FOR, "192.0.2.3")])
        assert '"remote_addr":"192.0.2.3"' in ws.recv_text()


def test_the_origin_is_compared_with_the_host_that_was_asked(host):
    asked = [("X-Forwarded-Host", "chat.example")]
    with connect(*at(host, 0), origin="https://chat.example", headers=asked, host_header="backend:8080") as ws:
        ws.end()
    assert refused(*at(host, 0), lines=upgrade_headers(origin="https://evil.example", extra=asked)).status == 403
    assert refused(*at(host, 0), lines=upgrade_headers(origin="https://chat.example", extra=asked), source="127.0.0.2").status == 403


def test_whether_the_client_speaks_tls(host):
    """By the word of a proxy that is trusted, in either way."""
    for proto, secure in (("https", 1), ("WSS", 1), ("http", 0), ("gopher", 0), ("https, http", 0)):
        with connect(*at(host, 0), "/?request=1", headers=[("X-Forwarded-Proto", proto)]) as ws:
            assert json.loads(ws.recv_text())["secure"] == secure, proto
    with connect(*at(host, 0), "/?request=1", headers=[("X-Forwarded-Proto", "https")], source="127.0.0.2") as ws:
        assert json.loads(ws.recv_text())["secure"] == 0
    for client, secure in ((b"\1", 1), (b"\0", 0)):
        ws, request = introduced(host, v2(0x21, 0x11, IP4 + b"\x20\0\5" + client + bytes(4)))
        assert request["secure"] == secure
        ws.end()


def test_the_log_names_the_client(host):
    mark = len(host.lines)
    lines = upgrade_headers(origin="https://evil.example", extra=[(FOR, "192.0.2.99")])
    assert refused(*at(host, 0), lines=lines).status == 403
    host.wait_log(lambda line: line["kind"] == "upgrade" and line.get("remote") == "192.0.2.99", after=mark)


def test_rfc7239():
    with Host("--plugin", plugin("probe"), "--trusted-proxy", PROXY, "--forwarded", "rfc7239") as host:
        said = [(FOR, "203.0.113.9"), ("Forwarded", 'for=203.0.113.9, for="[2001:db8::7]:4660";proto=https;host=chat.example, for=10.1.1.1')]
        with connect("127.0.0.1", host.port, "/?request=1", headers=said, origin="https://chat.example") as ws:
            request = json.loads(ws.recv_text())
            assert (request["remote_addr"], request["remote_port"]) == ("2001:db8::7", 4660)


def test_scripts_see_the_client():
    script = "env | grep -E '^(HTTPS|REMOTE_ADDR|REMOTE_PORT|REQUEST_SCHEME|HTTP_X_FORWARDED_FOR)=' | LC_ALL=C sort"
    with Host("--script", script, "--trusted-proxy", "127.0.0.1") as host:
        said = [(FOR, "[2001:db8::7]:4660"), ("X-Forwarded-Proto", "https")]
        with connect("127.0.0.1", host.port, headers=said) as ws:
            assert [ws.recv_text() for _ in range(5)] == [
                "HTTPS=on", "HTTP_X_FORWARDED_FOR=[2001:db8::7]:4660", "REMOTE_ADDR=2001:db8::7", "REMOTE_PORT=4660", "REQUEST_SCHEME=https"]
        with connect("127.0.0.1", host.port, headers=said, source="127.0.0.2") as ws:
            assert [ws.recv_text() for _ in range(2)] == ["HTTP_X_FORWARDED_FOR=[2001:db8::7]:4660", "REMOTE_ADDR=127.0.0.2"]
