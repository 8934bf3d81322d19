"""Heads that a proxy in front may read otherwise than we do. Each gets one answer and ends its connection: what follows in the same write, which
the proxy took for a body, for a header's end or for frames, is never read as another request."""
import pytest

from probe import Host, plugin
from wsclient import Http, WebSocket, connect, request_bytes, upgrade_headers

KEY = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
BEHIND = b"GET /behind HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def host():
    with Host("--plugin", plugin("probe")) as running:
        yield running


def get(*lines, target="/", version="1.1", host="Host: a"):
    return "\r\n".join([f"GET {target} HTTP/{version}", *([host] if host else []), *lines, "", ""]).encode("latin-1")


def upgrade(*more, replace=None, without=()):
    return request_bytes("GET", "/", upgrade_headers(extra=more, replace=replace, without=without), host="a")


# name: the head and its status
HEADS = {
    "two lengths": (get("Content-Length: 3", "Content-Length: 3"), 400),
    "two lengths in one": (get("Content-Length: 3, 3"), 400),
    "two lengths, other case": (get("Content-Length: 3", "content-length: 4"), 400),
    "length and encoding": (get("Content-Length: 3", "Transfer-Encoding: chunked"), 400),
    "no length and encoding": (get("Content-Length: 0", "Transfer-Encoding: chunked"), 400),
    "encoding of 1.0": (get("Transfer-Encoding: chunked", version="1.0"), 400),
    "length with a sign": (get("Content-Length: +0"), 400),
    "length in hex": (get("Content-Length: 0x0"), 400),
    "length with a space": (get("Content-Length: 1 0"), 400),
    "length that overflows": (get("Content-Length: 18446744073709551616"), 400),
    "length, then a space": (get("Content-Length : 3"), 400),
    "encoding, then a tab": (get("Transfer-Encoding\t: chunked"), 400),
    "encoding with a CR": (get("Transfer-Encoding: chun\rked"), 400),
    "encoding behind a CR": (get("X: a\rTransfer-Encoding: chunked"), 400),
    "encoding behind an LF": (get("X: a\nTransfer-Encoding: chunked"), 400),
    "encoding with a NUL": (get("Transfer-Encoding: chunked\0"), 400),
    "name with a NUL": (get("Transfer-Encoding\0: chunked"), 400),
    "folded": (get("Transfer-Encoding:", " chunked"), 400),
    "folded first": (get(host=" Host: a"), 400),
    "no name": (get(": x"), 400),
    "no colon": (get("Transfer-Encoding"), 400),
    "two hosts": (get("Host: b"), 400),
    "no host": (get(host=None), 400),
    "host with a path": (get(host="Host: a/b"), 400),
    "host with a list": (get(host="Host: a, b"), 400),
    "spaces in the line": (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "tab in the line": (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a bare LF first": (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a bare CR first": (b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "an empty line and a space first": (b"\r\n GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "line ends in LF": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    "head ends in LF": (b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    "version 1.2": (get(version="1.2"), 505),
    "two keys": (upgrade(KEY), 400),
    "key with a list": (upgrade(replace={"Sec-WebSocket-Key": KEY[1] + ", " + KEY[1]}), 400),
    "two versions": (upgrade(("Sec-WebSocket-Version", "13")), 400),
    "another version": (upgrade(replace={"Sec-WebSocket-Version": "8"}), 426),
    "a list of versions": (upgrade(replace={"Sec-WebSocket-Version": "13, 8"}), 400),
    "no key": (upgrade(without=("Sec-WebSocket-Key",)), 400),
    "two origins": (upgrade(("Origin", "http://a"), ("Origin", "http://a")), 400),
    "a protocol twice": (upgrade(("Sec-WebSocket-Protocol", "p"), ("Sec-WebSocket-Protocol", "p")), 400),
    "upgrade with a length": (upgrade(("Content-Length", "34")), 400),
    "upgrade with an encoding": (upgrade(("Transfer-Encoding", "chunked")), 400),
    "upgrade that is refused": (upgrade(("Origin", "http://evil.example")), 403),
}


@pytest.mark.parametrize("name", HEADS)
def test_one_answer_and_the_end(host, name):
    head, status = HEADS[name]
    with Http("127.0.0.1", host.port) as http:
        http.send(head + BEHIND)
        assert http.response().status == status
        http.expect_eof()


def test_a_body_is_no_request(host):
    """Bodies are not read: whatever frames them, the connection ends with the answer."""
    for lines in (["Content-Length: 34"], ["Transfer-Encoding: chunked"], ["Transfer-Encoding: identity"], ["Transfer-Encoding: x, chunked"],
                  ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"]):
        with Http("127.0.0.1", host.port) as http:
            http.send(get(*lines) + BEHIND)
            assert http.response().status == 426
            http.expect_eof()


def test_no_body_is_no_reason_to_end(host):
    with Http("127.0.0.1", host.port) as http:
        http.send(get("Content-Length: 0") + BEHIND + get("Upgrade: h2c", "HTTP2-Settings: x"))
        assert [http.response().status for _ in range(3)] == [426] * 3


def test_what_follows_an_upgrade_is_frames(host):
    with WebSocket("127.0.0.1", host.port) as ws:
        ws.send(upgrade() + BEHIND)
        assert ws.response_head().status == 101
        ws.expect_close(1002)


def test_the_host_of_an_absolute_target_counts(host):
    """RFC 9112 3.2.2: Host is ignored then, for the origin, too."""
    for origin, status in (("http://target.example", 101), ("http://header.example", 403)):
        with Http("127.0.0.1", host.port) as http:
            http.send(request_bytes("GET", "http://target.example/", upgrade_headers(origin=origin), host="header.example"))
            assert http.response_head().status == status


def test_a_name_that_only_looks_like_another(host):
    """X_Forwarded_For is another header than X-Forwarded-For, and neither is believed without --trusted-proxy."""
    said = [("X_Forwarded_For", "192.0.2.1"), ("X-Forwarded-For", "192.0.2.2")]
    with connect("127.0.0.1", host.port, "/?request=1", headers=said) as ws:
        assert '"remote_addr":"127.0.0.1"' in ws.recv_text()
