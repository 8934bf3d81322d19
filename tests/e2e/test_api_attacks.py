"""What is thrown at --admin: each gets a clear status, costs the host no memory, and nobody else notices."""
import contextlib
import json
import socket
import time

import pytest

from api import TOKENS, Api, address, tokens
from probe import WRAPPED
from tova_host import BUILD, Host, wait_until
from wsclient import Closed, connect

MIB = 1 << 20
RELAY = BUILD / "plugins/relay.so"


@pytest.fixture
def host(tmp_path):
    with Host("--plugin", f"/chat={RELAY}", "--plugin", "/echo=echo", "--admin", "127.0.0.1:0", *tokens(tmp_path, "publish@/chat", "read@/chat", "admin"),
              "--api-max-body", "1m", "--api-connections", "400") as running:
        yield running


@pytest.fixture
def witness(host):
    """A client, and somebody at the API, who get what they ask for before and after; and the host's memory stays."""
    ws = connect("127.0.0.1", host.port, "/echo")

    def well():
        ws.send_text("hello")
        assert ws.recv_text() == "hello"
        with Api(host, door="admin", token=TOKENS["admin"]) as api:  # a new one: one that is silent for long is ended
            assert api.post("broadcast", mount="/echo", data="x") == (200, {"receivers": 1})
        assert ws.recv_text() == "x"

    well()
    before = host.rss
    yield well
    well()
    assert WRAPPED or host.rss < before + 8 * MIB
    ws.drop()


def raw(host, text, token="admin", end=b""):
    """What is answered to these lines of a head, and the body behind them, with nothing of a client's help."""
    with socket.create_connection(("127.0.0.1", int(address(host, "admin").rpartition(":")[2]))) as sock:
        sock.settimeout(30)
        authorization = f"Authorization: Bearer {TOKENS[token]}\r\n" if token else ""
        sock.sendall(text.replace("TOKEN", authorization).encode() + end)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while b"\r\n\r\n" not in answer or not answer.partition(b"\r\n\r\n")[2]:
                piece = sock.recv(65536)
                if not piece:
                    break
                answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def post(body, host_header="localhost", path="/api/v1/commands", more=""):
    return f"POST {path} HTTP/1.1\r\nHost: {host_header}\r\nTOKENContent-Length: {len(body)}\r\n{more}\r\n", body


def test_without_a_token(host, witness):
    for target in ("/metrics", "/api/v1/connections", "/api/v1/settings", "/api/v1/stats"):
        status, body = raw(host, f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n", token=None)
        assert status == 401 and "a token is needed" in json.loads(body)["error"]
    status, body = raw(host, "DELETE /api/v1/connections/AAAAAAAAAAAAAAAAAAAAAA HTTP/1.1\r\nHost: localhost\r\n\r\n", token=None)
    assert status == 401
    head, body = post(b'{"data":"x"}', path="/api/v1/broadcast")
    assert raw(host, head.replace("TOKEN", ""), token=None, end=body)[0] == 401
    assert raw(host, head.replace("TOKEN", "Authorization: Bearer " + "x" * 4000 + "\r\n"), token=None, end=body)[0] == 401
    witness()


@pytest.mark.parametrize("token, path, body", [
    ("publish", "/api/v1/close", b'{"mount":"/chat","conn":"AAAAAAAAAAAAAAAAAAAAAA"}'), ("read", "/api/v1/broadcast", b'{"mount":"/chat","data":"x"}'),
    ("publish", "/api/v1/broadcast", b'{"mount":"/echo","data":"x"}'), ("read", "/api/v1/reload", b'{"mount":"/chat"}'), ("publish", "/api/v1/drain", b""),
    ("publish", "/api/v1/commands", b'{"mount":"/chat","commands":[{"c":"broadcast","data":"x"},{"c":"close_room","room":"x"}]}'),
])
def test_with_the_wrong_scope_or_mount(host, witness, token, path, body):
    head, body = post(body, path=path)
    status, said = raw(host, head, token=token, end=body)
    assert status == 403 and "this token is not enough" in json.loads(said)["error"]


@pytest.mark.parametrize("how", ["told", "chunked", "within what is allowed"])
def test_a_hundred_megabytes(tmp_path, how):
    """Refused by its head, or as soon as it is too much; or taken, and given back."""
    most = "64m" if how == "within what is allowed" else "1m"
    with Host("--plugin", "echo", "--admin", "127.0.0.1:0", "--api-max-body", most) as host:
        ws = connect("127.0.0.1", host.port, "/")
        ws.send_text("x")
        ws.recv_text()
        before = host.rss
        sock = socket.create_connection(("127.0.0.1", int(address(host, "admin").rpartition(":")[2])))
        sock.settimeout(60)
        length = "Transfer-Encoding: chunked" if how == "chunked" else f"Content-Length: {(63 if how == 'within what is allowed' else 100) * MIB}"
        sock.sendall(f"POST /api/v1/broadcast HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n".encode())
        piece = b"x" * MIB
        with contextlib.suppress(ConnectionError):
            for _ in range(63 if how == "within what is allowed" else 100):
                sock.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if how == "chunked" else piece)
        answer = b""
        with contextlib.suppress(ConnectionError):
            answer = sock.recv(65536)
        sock.close()
        assert how != "within what is allowed" or answer.startswith(b"HTTP/1.1 400 ")  # it is no JSON
        assert not answer or answer.startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 400 "))
        wait_until(lambda: WRAPPED or host.rss < before + 8 * MIB, "its memory is given back", 40)
        ws.send_text("y")
        assert ws.recv_text() == "y"
        ws.drop()


def test_a_body_that_comes_byte_by_byte(host, witness):
    """Others are served meanwhile; the last byte completes it."""
    head, body = post(b'{"mount":"/chat","commands":[{"c":"broadcast","data":"x"}]}')
    with socket.create_connection(("127.0.0.1", int(address(host, "admin").rpartition(":")[2]))) as sock:
        sock.settimeout(30)
        sock.sendall(head.replace("TOKEN", f"Authorization: Bearer {TOKENS['admin']}\r\n").encode())
        for i in range(len(body)):
            sock.sendall(body[i:i + 1])
            if i % 10 == 0:
                witness()
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("body", [b"[" * 100000, b'{"mount":' * 50000, b'{"commands":' + b"[" * 200000, b'{"commands":[{"c":"broadcast","data":' + b"[" * 100000,
                                  b'{"commands":[' + b"{}," * 100000 + b"{}]}", b'{"a":1,' * 100000, b"\xff" * 100000, b"\0" * 1000, b'"' + b"\\" * 99999], ids=range(9))
def test_json_that_is_none(host, witness, body):
    for path in ("/api/v1/commands", "/api/v1/broadcast_to", "/api/v1/reload", "/api/v1/replay"):
        head, sent = post(body, path=path)
        status, said = raw(host, head, end=sent)
        assert status == 400 and json.loads(said)["error"], path


def test_an_unknown_command_in_the_middle(host, witness):
    """Nothing of the list is done, and its place is said."""
    ws = connect("127.0.0.1", host.port, "/chat/room/x")
    ws.roundtrip()
    commands = [{"c": "broadcast_to", "room": "x", "data": str(i)} for i in range(1000)]
    commands[500] = {"c": "brodcast_to", "room": "x", "data": "500"}
    head, body = post(json.dumps({"mount": "/chat", "commands": commands}).encode())
    status, said = raw(host, head, end=body)
    assert status == 400 and json.loads(said)["index"] == 500 and "brodcast_to" in json.loads(said)["error"]
    commands[500]["c"] = "broadcast_to"
    head, body = post(json.dumps({"mount": "/chat", "commands": commands}).encode())
    assert json.loads(raw(host, head, end=body)[1]) == {"receivers": 1000}
    assert [ws.recv_text() for _ in range(1000)] == [str(i) for i in range(1000)]  # and none of the first attempt
    ws.drop()


@pytest.mark.parametrize("name", ["evil.example", "evil.example:8082", "127.0.0.1.evil.example", "localhost.evil.example", "[::1].evil.example", "0x7f.1", ""])
def test_dns_rebinding(host, witness, name):
    """A page whose own name is pointed at this machine reads nothing and does nothing, whatever it asks for."""
    for method, target in (("GET", "/metrics"), ("GET", "/api/v1/settings"), ("POST", "/api/v1/drain"), ("GET", "/healthz"), ("GET", "/api/v1/openapi.json"), ("OPTIONS", "/metrics")):
        status, body = raw(host, f"{method} {target} HTTP/1.1\r\nHost: {name}\r\nTOKENContent-Length: 0\r\n\r\n")
        assert status in (400, 421), (method, target, name, status)
    assert host.alive


def test_pages_of_other_origins(host, witness):
    for origin in ("http://evil.example", "null", "http://localhost:1"):
        head, body = post(b'{"mount":"/chat","data":"x"}', path="/api/v1/broadcast", more=f"Origin: {origin}\r\n")
        assert raw(host, head, end=body)[0] == 403, origin


def test_readers_that_never_read(host, witness):
    """Scrapes and lists of whoever takes nothing of them wait as little as a slice each; others are answered."""
    sockets = []
    for target in ("/metrics", "/api/v1/settings", "/api/v1/openapi.json", "/api/v1/connections?limit=10000") * 5:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.connect(("127.0.0.1", int(address(host, "admin").rpartition(":")[2])))
        request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKENS['admin']}\r\n\r\n".encode()
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(1000):
                sock.send(request)
        sockets.append(sock)
    for _ in range(20):
        witness()
        time.sleep(0.02)
    for sock in sockets:
        sock.close()


def test_many_late_answers(host, witness):
    """Whoever asks for what takes its time, and goes, again and again."""
    for _ in range(200):
        sock = socket.create_connection(("127.0.0.1", int(address(host, "admin").rpartition(":")[2])))
        sock.sendall(f"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKENS['admin']}\r\nContent-Length: 13\r\n\r\n".encode() + b'{"wait":true}')
        sock.close()
    with Api(host, door="admin", token=TOKENS["admin"]) as api:
        wait_until(lambda: api.post("reload", wait=True)[0] == 200, "and is answered, who waits")


GET = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
POST = "POST /api/v1/broadcast HTTP/1.1\r\nHost: localhost\r\nTOKEN"
# What another parser might read otherwise, or read too much of: a name, the request, what may be answered.
SIBLINGS = {
    "line ends without CR": ("GET /healthz HTTP/1.1\nHost: localhost\n\n", 400), "one of them": ("GET /healthz HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n", 400),
    "two ways to say how long": (POST + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400), "two lengths": (POST + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde", 400),
    "a list of lengths": (POST + "Content-Length: 4, 4\r\n\r\nabcd", 400), "a sign": (POST + "Content-Length: +4\r\n\r\nabcd", 400), "less than nothing": (POST + "Content-Length: -1\r\n\r\n", 400),
    "an unknown coding": (POST + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400), "chunked, then none": (POST + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    "chunked twice": (POST + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400), "a blank before the colon": (POST + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    "folded": (POST + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400), "a chunk's line without CR": (POST + "Transfer-Encoding: chunked\r\n\r\n4\nabcd\r\n0\r\n\r\n", 400),
    "a chunk of 0x4": (POST + "Transfer-Encoding: chunked\r\n\r\n0x4\r\nabcd\r\n0\r\n\r\n", 400), "a chunk that overflows": (POST + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 400),
    "a chunk that goes on": (POST + "Transfer-Encoding: chunked\r\n\r\n4\r\nabcdXX0\r\n\r\n", 400), "a long extension": (POST + "Transfer-Encoding: chunked\r\n\r\n4;" + "x" * MIB + "\r\n", 400),
    "many extensions": (POST + "Transfer-Encoding: chunked\r\n\r\n" + ("1;" + "x" * 100 + "\r\n \r\n") * 1000, 400), "long trailers": (POST + "Transfer-Encoding: chunked\r\n\r\n0\r\nX: " + "y" * MIB, 431),
    "many trailers": (POST + "Transfer-Encoding: chunked\r\n\r\n0\r\n" + "X: y\r\n" * 100000, 431), "a long header": (GET + "X: " + "y" * MIB, 431), "a long method": ("G" * MIB + " / HTTP/1.1\r\n", (400, 431)),
    "many headers": (GET + "A: b\r\n" * 10000, 431), "a dot behind the name": ("GET /healthz HTTP/1.1\r\nHost: localhost.\r\n\r\n", 421), "a number with a dot": ("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1.\r\n\r\n", 421),
    "a port beyond": ("GET /healthz HTTP/1.1\r\nHost: localhost:99999\r\n\r\n", 421), "IPv6 without brackets": ("GET /healthz HTTP/1.1\r\nHost: ::1\r\n\r\n", 400), "a user in it": ("GET /healthz HTTP/1.1\r\nHost: localhost@evil.example\r\n\r\n", 400),
    "two names": ("GET /healthz HTTP/1.1\r\nHost: localhost,evil.example\r\n\r\n", (400, 421)), "a short number": ("GET /healthz HTTP/1.1\r\nHost: 127.1\r\n\r\n", 421), "IPv6": ("GET /healthz HTTP/1.1\r\nHost: [::1]:8090\r\n\r\n", 200),
    "dots that are hidden": ("GET /api/v1/%2e%2e/v1/stats HTTP/1.1\r\nHost: localhost\r\nTOKEN\r\n", 400), "a NUL that is hidden": ("GET /healthz%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400), "two slashes": ("GET //healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "an absolute target of another": ("GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 421),
    "the token twice": ("GET /api/v1/stats HTTP/1.1\r\nHost: localhost\r\nTOKENTOKEN\r\n", 401), "something behind the token": (f"GET /api/v1/stats HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKENS['admin']} x\r\n\r\n", 401),
    "most of the token": (f"GET /api/v1/stats HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKENS['admin'][:-1]}\r\n\r\n", 401), "an unknown expectation": (POST + "Content-Length: 1\r\nExpect: cake\r\n\r\n", 417),
    "an expectation without a token": ("POST /api/v1/broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n", 401),
    "another protocol": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505), "a NUL in a header": (GET + "X: a\0b\r\n\r\n", 400), "a CR in a header": (GET + "X: a\rb\r\n\r\n", 400), "a header without a name": (GET + ": b\r\n\r\n", 400),
    "no version": ("GET /healthz\r\n\r\n", 400), "a tab": ("GET\t/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400), "TRACE": ("TRACE /metrics HTTP/1.1\r\nHost: localhost\r\nTOKEN\r\n", 405), "small letters": ("get /metrics HTTP/1.1\r\nHost: localhost\r\nTOKEN\r\n", 405),
}


@pytest.mark.parametrize("name", SIBLINGS)
def test_siblings(host, witness, name):
    """Each gets its status; and behind what is no request nothing is taken for one."""
    text, expected = SIBLINGS[name]
    status, body = raw(host, text, end=b"" if expected == 200 else b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert status in (expected if isinstance(expected, tuple) else (expected,)), (name, status, body[:200])
    assert b"HTTP/1.1 200" not in body or status in (401, 404, 405, 421), (name, body[:500])


def test_a_pipeline_that_nobody_reads(host, witness):
    """Ten thousand requests at once cost no more memory than one, and nobody else's time."""
    with socket.create_connection(("127.0.0.1", int(address(host, "admin").rpartition(":")[2]))) as sock:
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(10000):
                sock.send(b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for _ in range(10):
            witness()


def test_slow_ones_hold_nobody_up(host, witness):
    """Heads that never end, and empty lines that never begin one: each ends in its time, and a place is found for others meanwhile."""
    port = int(address(host, "admin").rpartition(":")[2])
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(300)]
    for n, sock in enumerate(slow):
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: loc" if n % 2 else b"\r\n" * 100)
    witness()
    ended = slow[1]
    ended.settimeout(60)
    assert b" 408 " in ended.recv(65536)  # without another word
    witness()
    for sock in slow:
        sock.close()


def test_http_that_is_none(host, witness):
    for text in ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET /metrics HTTP/9.9\r\nHost: localhost\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + "\r\n\r\n",
                 "POST /api/v1/broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                 "POST /api/v1/broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n", "GET " + "/x" * 10000 + " HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        with contextlib.suppress(Closed, IndexError):
            assert 400 <= raw(host, text)[0] < 600, text[:50]
