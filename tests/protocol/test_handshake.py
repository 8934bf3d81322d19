"""The opening handshake (RFC 6455 section 4): what is accepted, and every way to be refused with its status."""
import json

import pytest

from probe import KINDS, Host, Probe, escape, kind_args, plugin
from tova_host import wait_until
from wsclient import (TEXT, Http, WebSocket, accept_of, connect, frame, http_get, refused, request_bytes, upgrade_headers)


@pytest.fixture(scope="module")
def host():
    with Host("--plugin", "/echo=echo", "--plugin", f"/probe={plugin('probe')}", "--max-head", "4k", "--max-headers", "30") as host:
        yield host


def status_of(host, lines, target="/echo", **how):
    return refused("127.0.0.1", host.port, target, lines, **how).status


# --- accepted -----------------------------------------------------------------------------------------------------------------

def test_the_example_of_the_rfc(host):
    with Http("127.0.0.1", host.port) as http:
        http.send(request_bytes("GET", "/echo", upgrade_headers("dGhlIHNhbXBsZSBub25jZQ==")))
        answer = http.response_head()
    assert answer.status == 101
    assert answer.get("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" == accept_of("dGhlIHNhbXBsZSBub25jZQ==")
    assert answer.get("Sec-WebSocket-Extensions") is None and answer.get("Sec-WebSocket-Protocol") is None


@pytest.mark.parametrize("replace", [
    {"Upgrade": "WebSocket"}, {"Upgrade": "WEBSOCKET"}, {"Upgrade": "h2c, websocket"}, {"Connection": "upgrade"},
    {"Connection": "keep-alive, Upgrade"}, {"Connection": "UPGRADE,close"}, {"Connection": " ,\tUpgrade ,"}])
def test_tokens_in_any_case_and_in_lists(host, replace):
    with Http("127.0.0.1", host.port) as http:
        http.send(request_bytes("GET", "/echo", upgrade_headers(replace=replace)))
        assert http.response_head().status == 101


def test_header_names_in_any_case(host):
    with Http("127.0.0.1", host.port) as http:
        http.send(request_bytes("GET", "/echo", upgrade_headers()).replace(b"Sec-WebSocket-Key", b"sEC-wEBSOCKET-kEY")
                  .replace(b"Host", b"HOST").replace(b"Upgrade:", b"upgrade:"))
        assert http.response_head().status == 101


def test_request_in_single_bytes(host):
    with WebSocket("127.0.0.1", host.port) as ws:
        ws.send_cut(request_bytes("GET", "/echo", upgrade_headers()))
        assert ws.response_head().status == 101
        ws.send_text("x")
        assert ws.recv_text() == "x"


@pytest.mark.parametrize("front", [b"\r\n", b"\r\n\r\n\r\n"])
def test_empty_lines_before_a_request(host, front):
    """RFC 9112 2.2: what some clients send behind a body. They begin no request that could come too late."""
    for cut in (1, 1000):
        with Http("127.0.0.1", host.port) as http:
            for _ in range(2):
                http.send_cut(front + request_bytes("GET", "/nothing"), cut)
                assert http.response().status == 404
            http.send(front)
            http.send(request_bytes("GET", "/echo", upgrade_headers()))
            assert http.response_head().status == 101


@pytest.mark.parametrize("cut", [None, 1, 2, 3, 7, 20])
def test_frames_right_behind_the_request(host, cut):
    """A client may not send before the 101, but one that does is in the same segment; nothing may be lost."""
    frames = frame(TEXT, "first") + frame(TEXT, "second")
    with connect("127.0.0.1", host.port, "/echo", behind=frames[:cut]) as ws:
        if cut:
            ws.send(frames[cut:])
        assert ws.recv_text() == "first"
        assert ws.recv_text() == "second"


def test_unknown_extensions_are_declined(host):
    with connect("127.0.0.1", host.port, "/echo", headers=[("Sec-WebSocket-Extensions", "x-webkit-nothing; a=1, foo")]) as ws:
        assert ws.answer.get("Sec-WebSocket-Extensions") is None
        ws.send_text("x")
        assert ws.recv_text() == "x"


def test_a_deflate_answer_is_one_that_was_offered(host):
    with connect("127.0.0.1", host.port, "/echo", headers=[("Sec-WebSocket-Extensions", "permessage-deflate")]) as ws:
        assert (ws.answer.get("Sec-WebSocket-Extensions") or "permessage-deflate").startswith("permessage-deflate")


def test_ipv6_and_unix(tmp_path):
    with Host("--plugin", "echo", listen=["127.0.0.1:0", "[::1]:0", f"unix:{tmp_path}/s"]) as host:
        port6 = int(host.listening[1].rpartition(":")[2])
        for where in [("127.0.0.1", host.port), ("::1", port6), (f"unix:{tmp_path}/s", None)]:
            with connect(*where, "/") as ws:
                ws.send_text("x")
                assert ws.recv_text() == "x"
                ws.end()


# --- refused ------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("lines, status", [
    (upgrade_headers(without=["Sec-WebSocket-Key"]), 400),
    (upgrade_headers(""), 400),
    (upgrade_headers("dGhlIHNhbXBsZSBub25jZQ="), 400),
    (upgrade_headers("dGhlIHNhbXBsZSBub25jZQ"), 400),
    (upgrade_headers("dGhlIHNhbXBsZSBub25jZTE="), 400),
    (upgrade_headers("dGhlIHNhbXBsZSBub25j*Q=="), 400),
    (upgrade_headers("dGhlIHNhbXBsZSBub25jZSBtb3Jl"), 400),
    (upgrade_headers(extra=[("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]), 400),
    (upgrade_headers(without=["Sec-WebSocket-Version"]), 400),
    (upgrade_headers(replace={"Sec-WebSocket-Version": "thirteen"}), 400),
    (upgrade_headers(extra=[("Sec-WebSocket-Version", "13")]), 400),
    (upgrade_headers(replace={"Sec-WebSocket-Version": "8"}), 426),
    (upgrade_headers(replace={"Sec-WebSocket-Version": "14"}), 426),
    (upgrade_headers(replace={"Sec-WebSocket-Version": "0"}), 426),
    (upgrade_headers(origin="http://a", extra=[("Origin", "http://b")]), 400),
    (upgrade_headers(extra=[("Content-Length", "5")]), 400),
    (upgrade_headers(extra=[("Transfer-Encoding", "chunked")]), 400),
    (upgrade_headers(subprotocols=["a", "b", "a"]), 400),
    (upgrade_headers(subprotocols=["with space"]), 400),
    (upgrade_headers(subprotocols=["/slash"]), 400),
    (upgrade_headers(extra=[("Sec-WebSocket-Protocol", "")]), 400),
])
def test_bad_handshakes(host, lines, status):
    assert status_of(host, lines) == status


def test_wrong_version_names_the_right_one(host):
    answer = refused("127.0.0.1", host.port, "/echo", upgrade_headers(replace={"Sec-WebSocket-Version": "7"}))
    assert answer.status == 426 and answer.get("Sec-WebSocket-Version") == "13"


def test_a_method_that_is_not_get(host):
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert refused("127.0.0.1", host.port, "/echo", method=method).status == 400, method


@pytest.fixture
def quiet():
    """A host whose lines nobody else's refusals hold back."""
    with Host("--plugin", "/echo=echo") as host:
        yield host


def refusal(running, status, **fields):
    """The line of the log that goes with an answer."""
    return running.wait_log(lambda line: line.get("status") == status and fields.items() <= line.items(), f"{status} with {fields}")


@pytest.mark.parametrize("lines, version, word", [
    (upgrade_headers(without=("Upgrade", "Connection")), "HTTP/1.1", "proxy"),
    (upgrade_headers(without=("Upgrade",), replace={"Connection": "close"}), "HTTP/1.0", "HTTP/1.0"),
    (upgrade_headers(without=("Connection",)), "HTTP/1.1", "proxy"),
    (upgrade_headers(without=("Upgrade", "Connection", "Sec-WebSocket-Version")), "HTTP/1.1", "proxy"),
])
def test_a_handshake_whose_upgrade_a_proxy_has_taken(quiet, lines, version, word):
    """As nginx passes it on without proxy_set_header Upgrade and Connection; its requests are HTTP/1.0 unless told otherwise."""
    answer = refused("127.0.0.1", quiet.port, "/echo/taken", lines, version=version)
    assert answer.status == 426 and answer.get("Upgrade") == "websocket" and word.encode() in answer.body and b"proxy" in answer.body
    assert "proxy" in refusal(quiet, 426, path="/echo/taken", remote="127.0.0.1")["message"]


def test_a_plain_get_at_a_mount(quiet):
    """No folder is served here: there is nothing to GET, and the answer says what the path is for."""
    for target in ("/echo", "/echo/", "/echo/x?token=secret"):
        for method in ("GET", "HEAD"):
            with Http("127.0.0.1", quiet.port) as http:
                answer = http.request(method, target)
                assert answer.status == 426 and answer.get("Upgrade") == "websocket" and "Upgrade" in answer.all("Connection")
                assert method == "HEAD" or b"WebSocket address" in answer.body
    assert http_get("127.0.0.1", quiet.port, "/echox").status == 404
    assert "secret" not in str(refusal(quiet, 426, path="/echo/x", method="HEAD"))
    assert refusal(quiet, 404, path="/echox", remote="127.0.0.1")


@pytest.mark.parametrize("version", ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/3.0"])
def test_other_http_versions(host, version):
    assert status_of(host, None, version=version) == 505


@pytest.mark.parametrize("target", ["/", "/nothing", "/ech", "/echoo", "/Echo", "/echo2/echo"])
def test_paths_outside_of_any_mount(host, target):
    assert status_of(host, None, target) == 404


@pytest.mark.parametrize("target", ["/echo", "/echo/", "/echo/below", "/echo?query", "/%65cho", "/echo/%C3%A4"])
def test_paths_of_a_mount(host, target):
    connect("127.0.0.1", host.port, target).end()


@pytest.mark.parametrize("target", [
    "/echo/%", "/echo/%4", "/echo/%GG", "/echo/%00", "/echo/%ff", "/echo/../x", "/echo/%2e%2e/x", "/echo/./x", "echo", "*", "/echo\x01",
    "/echo\x7f"])
def test_bad_targets(host, target):
    assert status_of(host, None, target) == 400


def test_longest_prefix_by_segment(tmp_path):
    with Host("--plugin", "/=echo", "--plugin", f"/a={plugin('probe')}", "--plugin", "/a/b=echo") as host:
        def is_echo(target):
            with connect("127.0.0.1", host.port, target) as ws:
                ws.send_text("send probe")
                return ws.recv_text() == "send probe"
        assert [is_echo(t) for t in ("/", "/ab", "/x", "/a", "/a/", "/a/x", "/a/bc", "/a/b", "/a/b/", "/a/b/c")] == [
            True, True, True, False, False, False, False, True, True, True]


def test_limits_of_the_head(host):
    assert status_of(host, None, "/echo/" + "a" * 3000) == 414
    assert status_of(host, None, "/echo/?" + "a" * 8000) == 414
    assert status_of(host, upgrade_headers(extra=[("X", "a" * 5000)])) == 431
    assert status_of(host, upgrade_headers(extra=[(f"X-{i}", "a") for i in range(40)])) == 431
    with connect("127.0.0.1", host.port, "/echo", headers=[(f"X-{i}", "a" * 50) for i in range(24)]) as ws:
        ws.end()


def test_a_head_that_never_ends_is_refused_at_the_limit(host):
    with Http("127.0.0.1", host.port) as http:
        http.send(b"GET /echo HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 10000)
        assert http.response().status == 431


@pytest.mark.parametrize("head", [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS hello
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"\x00\x00\x00\x00",
    b"GET /echo HTTP/1.1\nHost: a\n\n",
    b"GET /echo HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n",
    b"GET /echo HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET /echo HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    b"GET /echo HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    b"GET /echo HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
    b"GET /echo HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
    b"GET /echo HTTP/1.1\r\nHost: a\r\n: no name\r\n\r\n",
    b"GET /echo HTTP/1.1\r\nHost: a/b\r\n\r\n",
    b"GET /echo HTTP/1.1\r\n\r\n",
    b"GET  /echo HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /echo\r\nHost: a\r\n\r\n",
    b"GET /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
    b"GET /echo HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n",
])
def test_what_a_lenient_parser_would_repair(host, head):
    with Http("127.0.0.1", host.port) as http:
        http.send(head)
        answer = http.response()
        assert answer.status == 400, answer
        http.expect_eof()


@pytest.mark.parametrize("first, said", [
    (b"\0SP\0\0\x10\0\0", "--attach"), (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", "PROXY"), (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "PROXY"),
    (b"\x16\x03\x01\x02\x00", "TLS"), (b"\0\0\0\0", "does not begin with a method")])
@pytest.mark.parametrize("piece", [1, 100])
def test_who_takes_this_port_for_another_is_told_which_it_wants(host, first, said, piece):
    with Http("127.0.0.1", host.port) as http:
        for at in range(0, len(first), piece):
            http.send(first[at:at + piece])
        answer = http.response()
        assert answer.status == 400 and said.encode() in answer.body and (b"PROXY" in answer.body) == (said == "PROXY"), answer.body
        http.expect_eof()


def test_a_refused_peer_gets_the_whole_answer_though_it_keeps_sending(host):
    """Closing with unread bytes would reset the connection and may destroy the answer under way."""
    with Http("127.0.0.1", host.port) as http:
        http.send(request_bytes("POST", "/echo", [("Content-Length", "100000")]) + b"x" * 100000)
        for _ in range(20):
            http.send(b"x" * 10000)
        assert http.response().status == 405
        http.expect_eof(reset=False)


# --- origins ------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("origin, host_header, ok", [
    ("http://localhost", "localhost", True), ("http://localhost:80", "localhost", True), ("http://localhost:8080", "localhost:8080", True),
    ("HTTP://LOCALHOST", "localhost", True), ("https://localhost", "localhost", True), ("https://localhost", "localhost:443", True),
    ("http://localhost:8080", "localhost", False), ("http://evil.example", "localhost", False), ("null", "localhost", False),
    ("http://localhost.evil.example", "localhost", False), ("http://evil.example/localhost", "localhost", False),
    ("http://evil.example:80@localhost", "localhost", False), ("localhost", "localhost", False), ("", "localhost", False),
    ("http://[::1]:8080", "[::1]:8080", True)])
def test_same_host_is_the_default(host, origin, host_header, ok):
    if ok:
        connect("127.0.0.1", host.port, "/echo", origin=origin, host_header=host_header).end()
    else:
        assert status_of(host, upgrade_headers(origin=origin), host_header=host_header) == 403


def test_a_page_without_tls_is_another_host():
    """Where it is known that the client speaks TLS: a page of that name that came without it may be anybody's."""
    with Host("--plugin", "echo", "--trusted-proxy", "127.0.0.1") as host:
        for proto, origin, ok in (("https", "http://a.example", False), ("wss", "http://a.example:80", False), ("https", "https://a.example", True),
                                  ("http", "http://a.example", True), (None, "https://a.example", True)):
            said = [("X-Forwarded-Proto", proto), ("X-Forwarded-For", "192.0.2.1")] if proto else []
            if ok:
                connect("127.0.0.1", host.port, "/", origin=origin, host_header="a.example", headers=said).end()
            else:
                assert status_of(host, upgrade_headers(origin=origin, extra=said), "/", host_header="a.example") == 403, (proto, origin)


def test_a_list_of_origins():
    with Host("--plugin", "echo", "--origin", "https://a.example,https://*.b.example", "--origin", "http://c.example:81") as host:
        for origin in ("https://a.example", "https://x.b.example", "https://x.y.b.example", "http://c.example:81", None):
            connect("127.0.0.1", host.port, "/", origin=origin).end()
        for origin in ("http://a.example", "https://b.example", "https://evilb.example", "https://x.b.example.evil", "http://c.example",
                       "http://localhost", "null", "https://a.example:444"):
            assert status_of(host, upgrade_headers(origin=origin), "/") == 403, origin


def test_origins_of_apps_and_extensions():
    listed = ["file://", "moz-extension://*", "chrome-extension://abcdefghijklmnop", "capacitor://localhost", "https://a.example/app"]
    with Host("--plugin", "echo", "--origin", ",".join(listed)) as host:
        for origin in ("file://", "moz-extension://2c127fa4-62c7", "chrome-extension://abcdefghijklmnop", "capacitor://localhost",
                       "https://a.example/app", None):
            connect("127.0.0.1", host.port, "/", origin=origin).end()
        for origin in ("file:///etc", "chrome-extension://other", "ionic://localhost", "https://a.example", "null", "http://localhost"):
            assert status_of(host, upgrade_headers(origin=origin), "/") == 403, origin


def test_a_refusal_tells_who_asked_for_what(quiet):
    assert status_of(quiet, upgrade_headers(origin="http://evil.example"), "/echo/x?q=secret", host_header="good.example") == 403
    line = refusal(quiet, 403, origin="http://evil.example", host="good.example", path="/echo/x", remote="127.0.0.1", method="GET")
    assert "secret" not in str(line)


@pytest.mark.parametrize("threads", ["1", "3"])
def test_hosts_that_are_served(threads):
    """A page whose own name was pointed at this machine has the same origin as what it connects to, but not a name of this host."""
    with Host("--plugin", "/echo=echo", "--host", "localhost,*.example.com,[::1]", "--threads", threads, "--trusted-proxy", "127.0.0.2") as host:
        for name in ("localhost", "LOCALHOST:8080", "a.example.com", "[::1]:1"):
            connect("127.0.0.1", host.port, "/echo", host_header=name).end()
        for name in ("evil.example", "example.com", "127.0.0.1", "localhost.evil.example"):
            for lines in (upgrade_headers(origin=f"http://{name}"), []):
                answer = refused("127.0.0.1", host.port, "/echo", lines, host_header=name)
                assert answer.status == 421 and b"--host" in answer.body, (name, answer)
            assert refusal(host, 421, host=name, origin=f"http://{name}", path="/echo", remote="127.0.0.1")
        # Of a trusted proxy it is the name that its client asked for; an absolute target stands above Host.
        assert refused("127.0.0.1", host.port, "/echo", upgrade_headers(extra=[("X-Forwarded-Host", "evil.example")]), source="127.0.0.2").status == 421
        connect("127.0.0.1", host.port, "/echo", headers=[("X-Forwarded-Host", "evil.example")]).end()
        assert status_of(host, None, "http://evil.example/echo") == 421
        assert status_of(host, [], host_header=None, version="HTTP/1.0") == 426


def upgrade_status(host, name):
    with Http("127.0.0.1", host.port) as http:
        http.send(request_bytes("GET", "/", upgrade_headers(), name))
        return http.response_head().status


def test_hosts_after_a_reload(tmp_path):
    config = tmp_path / "conf"
    mounts = 'mount = ({ path = "/"; plugin = "echo.so"; });\n'
    config.write_text(mounts)
    with Host("--config", config, "--threads", "2") as host:
        for hosts, status in (("", 101), ('host = ( "localhost" );\n', 421), ('host = ( "*.example" );\n', 101), ("", 101)):
            config.write_text(hosts + mounts)
            host.reload()
            # Each loop learns it in a turn of its own.
            wait_until(lambda: {upgrade_status(host, "evil.example") for _ in range(16)} == {status}, f"{hosts!r} is in effect")


def test_every_origin():
    with Host("--plugin", "echo", "--origin", "*") as host:
        for origin in ("https://a.example", "null", None):
            connect("127.0.0.1", host.port, "/", origin=origin).end()


# --- what the plugin decides --------------------------------------------------------------------------------------------------

@pytest.fixture
def probe(host):
    with Probe(host) as opener:
        yield opener


def test_subprotocol_is_chosen_by_the_plugin(probe):
    assert probe.client(subprotocols=["a", "b"]).subprotocol is None
    assert probe.client("sub=b", subprotocols=["a", "b"]).subprotocol == "b"


def test_a_subprotocol_that_was_not_offered(probe, host):
    for sub in ("c", "A", ""):
        assert status_of(host, upgrade_headers(subprotocols=["a", "b"]), f"/probe?sub={sub}") == 500
    assert status_of(host, None, "/probe?sub=a") == 500


def test_headers_of_the_plugin(probe):
    ws = probe.client("header=X-One:1&header=Set-Cookie:a=b&header=Set-Cookie:c=d")
    assert ws.answer.get("X-One") == "1" and ws.answer.all("Set-Cookie") == ["a=b", "c=d"]


@pytest.mark.parametrize("line", ["X-One:a%0D%0AX-Two:b", "X-One:a%0Ab", "X-One:a%0Db", "X%0D%0AX:a", "X%20One:a", ":a", "X-One:a%7F"])
def test_a_header_that_would_split_the_answer(host, line):
    """Wrong in itself, so the callback fails: 500."""
    answer = refused("127.0.0.1", host.port, "/probe?header=" + line)
    assert answer.status == 500 and answer.get("X-Two") is None


@pytest.mark.parametrize("name", ["Connection", "Upgrade", "Content-Length", "Sec-WebSocket-Accept", "Sec-WebSocket-Protocol",
                                  "sec-websocket-extensions", "Transfer-Encoding"])
def test_headers_that_are_the_hosts_own(host, name):
    assert status_of(host, None, f"/probe?header={name}:x") == 500


def test_the_plugin_refuses(host):
    answer = refused("127.0.0.1", host.port, "/probe?refuse=401&body=who%20are%20you&header=WWW-Authenticate:Basic")
    assert answer.status == 401 and answer.body == b"who are you"
    assert answer.get("WWW-Authenticate") == "Basic" and answer.get("Content-Type") == "text/plain; charset=utf-8"
    for status in (300, 404, 418, 429, 451, 500, 503, 599):
        assert refused("127.0.0.1", host.port, f"/probe?refuse={status}").status == status
    answer = refused("127.0.0.1", host.port, "/probe?refuse=302&header=Location:/elsewhere")
    assert answer.status == 302 and answer.get("Location") == "/elsewhere" and answer.body == b""


@pytest.mark.parametrize("status", [0, 100, 101, 200, 299, 600, 65636])
def test_a_refusal_with_a_status_that_refuses_nothing(host, status):
    assert status_of(host, None, f"/probe?refuse={status}") == 500


@pytest.mark.parametrize("threads", ["1", "3"])
@pytest.mark.parametrize("kind", KINDS)
def test_long_headers_arrive_or_are_told(kind, threads):
    """Up to 4,096 bytes of lines with what the answer says itself, whether it accepts or refuses; beyond it 500 and a line."""
    with Host("--plugin", f"/probe={plugin('probe')}", "--threads", threads, *kind_args(kind)) as host:
        for n in (3990, 4096 - len("X: \r\n") - 1):
            with connect("127.0.0.1", host.port, f"/probe?header=X:{'a' * n}&sub=p", subprotocols=["p"]) as ws:
                assert len(ws.answer.get("X")) == n and ws.subprotocol == "p"
            answer = refused("127.0.0.1", host.port, f"/probe?refuse=403&body=no&header=X:{'a' * n}")
            assert answer.status == 403 and answer.body == b"no" and len(answer.get("X")) == n
        for query in ("", "refuse=403&"):
            answer = refused("127.0.0.1", host.port, f"/probe?{query}header=X:{'a' * 4096}")
            assert answer.status == 500 and answer.body == b"500 Internal Server Error: the handler failed\n"
        refusal(host, 500, path="/probe", remote="127.0.0.1")


@pytest.mark.parametrize("kind", KINDS)
def test_why_an_upgrade_failed_is_for_the_log(kind):
    with Host("--plugin", f"/probe={plugin('probe')}", *kind_args(kind)) as host:
        answer = refused("127.0.0.1", host.port, "/probe?upgradefail=secret%20reason")
        assert answer.status == 500 and answer.body == b"500 Internal Server Error: the handler failed\n"
        refusal(host, 500, path="/probe", remote="127.0.0.1")
        host.wait_log(lambda line: "secret" in line.get("error", ""), "the reason")


def test_a_failing_upgrade(probe, host):
    answer = refused("127.0.0.1", host.port, "/probe?upgradefail=secret%20reason")
    assert answer.status == 500 and b"secret" not in answer.body
    observer = probe.observer()
    assert status_of(host, None, "/probe?up=" + escape("broadcast never;fail no")) == 500
    observer.settle()  # neither its broadcast nor an open or a close of it


def test_an_upgrade_may_command(probe):
    observer = probe.observer()
    probe.client("up=" + escape("broadcast someone comes"))
    assert observer.recv_text() == "someone comes"
    assert observer.event()["event"] == "open"


def test_state_from_the_upgrade_goes_with_the_connection(probe):
    ws = probe.client("up=" + escape("data 3 state"))
    assert bytes.fromhex(ws.ask("getdata")) == b"\0\0\0state".ljust(64, b"\0")


def test_upgrade_commands_are_out_of_place_elsewhere(probe):
    ws = probe.client()
    for command in ("refuse 404 x", "subprotocol a", "header X:a"):
        ws.script(command)
        assert ws.results() == [-6], command


def test_the_request_as_the_plugin_sees_it(probe, host):
    ws = probe.client("request=1&x=%C3%A4", path="/sub/%C3%A4%20b", origin="http://localhost", subprotocols=["a", "b"],
                      headers=[("Cookie", "one=1; two=a=b"), ("Cookie", "three=3"), ("X-Twice", "1"), ("x-twice", "2")])
    r = json.loads(ws.recv_text())
    assert (r["method"], r["mount"], r["host"]) == ("GET", "/probe", "localhost")
    assert (r["path"], r["query"]) == ("/probe/sub/ä b", "request=1&x=%C3%A4")
    local = ws.sock.getsockname()
    assert (r["remote_addr"], r["remote_port"]) == local and (r["local_addr"], r["local_port"]) == ("127.0.0.1", host.port)
    assert r["tls_version"] is None and r["tls_cipher"] is None and r["tls_subject"] is None
    assert r["cookies"] == [["one", "1"], ["two", "a=b"], ["three", "3"]]
    assert r["subprotocols"] == ["a", "b"]
    assert [h for h in r["headers"] if h[0].lower() == "x-twice"] == [["X-Twice", "1"], ["x-twice", "2"]]
    assert ["Host", "localhost"] in r["headers"] and ["Origin", "http://localhost"] in r["headers"]


def test_the_request_over_a_unix_socket(tmp_path):
    with Host("--plugin", plugin("probe"), listen=f"unix:{tmp_path}/s"):
        with connect(f"unix:{tmp_path}/s", None, "/?request=1") as ws:
            r = json.loads(ws.recv_text())
            assert (r["remote_addr"], r["remote_port"], r["local_port"], r["mount"]) == ("unix", 0, 0, "/")
            ws.end()


# --- subprotocols that the host chooses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("allowed, offered, chosen", [
    ("chat.v1", ["chat.v1"], "chat.v1"), ("v2,v1", ["v1", "v2"], "v2"), ("v2", ["v1"], None), ("*", ["x", "y"], "x"), ("/=v1", ["v1"], "v1"),
    ("*", ["tova.jwt"], None), ("v1", [], None),
])
def test_the_host_chooses_where_the_handler_does_not(allowed, offered, chosen, threads):
    with Host("--plugin", "/=echo", "--subprotocol", allowed, "--threads", threads) as host:
        with connect("127.0.0.1", host.port, "/", subprotocols=offered) as ws:
            assert ws.subprotocol == chosen
            ws.send_text("a")
            assert ws.recv_text() == "a"


def test_a_choice_of_the_handler_comes_first(tmp_path):
    config = tmp_path / "tova.conf"
    text = f'mount = ( {{ path = "/probe"; plugin = "{plugin("probe")}"; subprotocol = "%s"; }} );'
    config.write_text(text % "a,b")
    with Host("-c", config) as host:
        def chosen(query=""):
            with connect("127.0.0.1", host.port, "/probe" + query, subprotocols=["a", "b", "c"]) as ws:
                return ws.subprotocol

        assert (chosen(), chosen("?sub=b"), chosen("?sub=c")) == ("a", "b", "c")
        config.write_text(text % "c")
        mark = host.reload()
        host.wait_log(lambda line: line["kind"] == "reload" and "read again" in line["message"], after=mark)
        assert (chosen(), chosen("?sub=b")) == ("c", "b")
