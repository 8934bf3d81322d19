"""Files served to plain requests."""
import os

import pytest

from probe import Host
from tova_host import wait_until
from wsclient import Http, WebSocket, connect, http_get, request_bytes, upgrade_headers


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    root = tmp_path_factory.mktemp("site") / "public"
    (root / "sub" / "empty").mkdir(parents=True)
    (root / ".well-known").mkdir()
    (root / "\\sub ä").mkdir()
    files = {"index.html": "<h1>index</h1>", "style.css": "a{}", "app.js": "let a", "data.json": "{}", "pic.svg": "<svg/>",
             "ä b.txt": "umlaut", "sub/index.html": "<h1>sub</h1>", "noext": "?", "a.wasm": "\0asm", "empty.txt": "",
             ".secret": "hidden", "page.html": "ä"}
    for name, text in files.items():
        (root / name).write_text(text)
    (root / "big.bin").write_bytes(os.urandom(3 << 20))
    outside = root.parent / "outside.txt"
    outside.write_text("outside")
    (root / "link-out.txt").symlink_to(outside)
    (root / "link-dir").symlink_to(root.parent)
    (root / "link-in.txt").symlink_to(root / "data.json")
    (root / "loop").symlink_to(root / "loop")
    os.mkfifo(root / "pipe")
    return root


@pytest.fixture(scope="module")
def host(site):
    with Host("--plugin", "/ws=echo", "--static", site) as host:
        yield host


def get(host, target, **how):
    return http_get("127.0.0.1", host.port, target, **how)


@pytest.mark.parametrize("target, kind, body", [
    ("/", "text/html", b"<h1>index</h1>"), ("/index.html", "text/html", b"<h1>index</h1>"), ("/style.css", "text/css", b"a{}"),
    ("/app.js", "javascript", b"let a"), ("/data.json", "application/json", b"{}"), ("/pic.svg", "image/svg+xml", b"<svg/>"),
    ("/%C3%A4%20b.txt", "text/plain", b"umlaut"), ("/sub/", "text/html", b"<h1>sub</h1>"),
    ("/noext", "application/octet-stream", b"?"), ("/a.wasm", "application/wasm", b"\0asm"),
    ("/empty.txt", "text/plain", b""), ("/data.json?query=1", "application/json", b"{}"),
    ("/page.html", "charset=utf-8", "ä".encode())])
def test_files(host, target, kind, body):
    answer = get(host, target)
    assert answer.status == 200 and kind in answer.get("Content-Type") and answer.body == body
    assert answer.get("Content-Length") == str(len(body))
    assert answer.get("X-Content-Type-Options") == "nosniff"


def test_a_large_file(host, site):
    for _ in range(2):
        assert get(host, "/big.bin").body == (site / "big.bin").read_bytes()


def test_head(host):
    with Http("127.0.0.1", host.port) as http:
        answer = http.request("HEAD", "/style.css")
        assert answer.status == 200 and answer.get("Content-Length") == "3" and answer.body == b""
        assert http.request("GET", "/style.css").body == b"a{}"


def test_etag_and_304(host, site):
    answer = get(host, "/style.css")
    tag = answer.get("ETag")
    assert tag and tag.strip("W/").startswith('"')
    for value in (tag, f'"other", {tag}', "*"):
        again = get(host, "/style.css", headers=[("If-None-Match", value)])
        assert again.status == 304 and again.get("ETag") == tag, value
    assert get(host, "/style.css", headers=[("If-None-Match", '"other"')]).status == 200
    (site / "style.css").write_text("b{color:red}")
    changed = get(host, "/style.css", headers=[("If-None-Match", tag)])
    assert changed.status == 200 and changed.get("ETag") != tag and changed.body == b"b{color:red}"
    (site / "style.css").write_text("a{}")


def test_keep_alive_and_pipelining(host):
    with Http("127.0.0.1", host.port) as http:
        for _ in range(3):
            assert http.request("GET", "/data.json").body == b"{}"
        http.send(b"".join(request_bytes("GET", t) for t in ("/data.json", "/nothing", "/app.js", "/big.bin", "/data.json")))
        answers = [http.response() for _ in range(5)]
        assert [a.status for a in answers] == [200, 404, 200, 200, 200]
        assert answers[2].body == b"let a" and answers[4].body == b"{}"


def test_an_upgrade_on_a_kept_alive_connection(host):
    with WebSocket("127.0.0.1", host.port) as ws:
        assert ws.request("GET", "/data.json").body == b"{}"
        ws.handshake("/ws")
        ws.send_text("x")
        assert ws.recv_text() == "x"


def test_connection_close_and_http_1_0(host):
    with Http("127.0.0.1", host.port) as http:
        answer = http.request("GET", "/data.json", [("Connection", "close")])
        assert answer.body == b"{}" and answer.get("Connection", "").lower() == "close"
        http.expect_eof()
    with Http("127.0.0.1", host.port) as http:
        assert http.request("GET", "/data.json", version="HTTP/1.0").body == b"{}"
        http.expect_eof()


@pytest.mark.parametrize("target", [
    "/nothing", "/sub/nothing", "/style.css/", "/style.css/x", "/sub/empty/", "/link-out.txt", "/link-dir/outside.txt", "/loop", "/pipe",
    "/.secret", "/%2esecret", "/STYLE.CSS", "/style.css%20", "/" + "a" * 300, "/" + "a/" * 500])
def test_what_is_not_there(host, target):
    assert get(host, target).status == 404


@pytest.mark.parametrize("target", [
    "/../outside.txt", "/sub/../../outside.txt", "/%2e%2e/outside.txt", "/.%2e/outside.txt", "/%2E%2E%2Foutside.txt",
    "/sub/%2e%2e%2f%2e%2e/outside.txt", "/..%5coutside.txt", "/..\\outside.txt", "/%252e%252e/outside.txt", "/..%c0%afoutside.txt",
    "/%c0%ae%c0%ae/outside.txt", "/....//outside.txt", "//outside.txt", "//../outside.txt", "/..;/outside.txt", "/sub/..", "/.", "/..",
    "/link-dir/", "/outside.txt%00.html", "http://x/../outside.txt"])
def test_no_way_out(host, target):
    with Http("127.0.0.1", host.port) as http:
        answer = http.request("GET", target)
        assert answer.status in (400, 404), answer
        assert b"outside" not in answer.body and b"root:" not in answer.body


@pytest.mark.parametrize("target, location", [
    ("/sub", "/sub/"), ("/sub?", "/sub/"), ("/sub?a=/&b=%0a?", "/sub/?a=/&b=%0a?"), ("http://localhost/sub?x", "/sub/?x"),
    ("/%73ub", "/sub/"), ("/%5Csub%20%C3%A4", "/%5Csub%20%C3%A4/"), ("/\\sub%20%C3%A4", "/%5Csub%20%C3%A4/"),
    ("/sub?" + "q" * 12000, "/sub/?" + "q" * 12000)])
def test_a_folder_without_its_slash(host, target, location):
    """Whatever was asked, it leads to the folder itself: a browser takes "/\\name" for "//name", which is another host."""
    for method in ("GET", "HEAD"):
        answer = get(host, target, method=method)
        assert answer.status == 301 and answer.get("Location") == location
    with Http("127.0.0.1", host.port) as http:
        assert http.request("GET", location).status == (200 if "sub/" in location else 404)


def test_a_redirect_never_leads_away(host):
    """//host/path in a Location would be another host."""
    for target in ("//sub", "///sub", "/%2fsub", "//evil.example/sub", "/\\/sub", "/%5c%2fsub", "http:////sub", "/\\evil.example"):
        answer = get(host, target)
        location = answer.get("Location")
        assert location is None or location[:2] not in ("//", "/\\"), (target, location)
        assert answer.status in (301, 400, 404)


def test_refusals_are_in_the_log(site):
    """One line each, with who asked for what; the query may hold a token."""
    with Host("--plugin", "/ws=echo", "--static", site) as host:
        each_refusal(host)


def each_refusal(host):
    for method, target, status in (("GET", "/nothing?secret", 404), ("POST", "/index.html", 405), ("GET", "/ws/x?secret", 426)):
        mark = len(host.lines)
        assert get(host, target, method=method).status == status
        line = host.wait_log(lambda line: line.get("status") == status, "a line", after=mark)
        assert line["path"] == target.partition("?")[0] and line["method"] == method and line["remote"] == "127.0.0.1"
        assert "secret" not in str(line)


def test_a_mount_for_all_paths_beside_files(site):
    """What is below it belongs to the files, or every picture that is missing would be called a WebSocket address."""
    with Host("--plugin", "/=echo", "--plugin", "/a=echo", "--static", site / "sub" / "empty") as host:
        assert [get(host, t).status for t in ("/", "/favicon.ico", "/a", "/a/x", "/ab")] == [426, 404, 426, 426, 404]
    with Host("--plugin", "/=echo") as host:
        assert [get(host, t).status for t in ("/", "/favicon.ico")] == [426, 426]
    with Host("--plugin", "/=echo", "--static", site) as host:
        assert [get(host, t).status for t in ("/", "/favicon.ico")] == [200, 404]
        connect("127.0.0.1", host.port, "/").end()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods(host, method):
    with Http("127.0.0.1", host.port) as http:
        answer = http.request(method, "/data.json")
        assert answer.status == 405 and {m.strip() for m in answer.get("Allow").split(",")} >= {"GET", "HEAD"}


def test_unknown_methods(host):
    with Http("127.0.0.1", host.port) as http:
        assert http.request("BREW", "/data.json").status in (405, 501)


def test_a_request_with_a_body(host):
    """A body that is not read must not be taken for the next request."""
    with Http("127.0.0.1", host.port) as http:
        http.send(request_bytes("GET", "/data.json", [("Content-Length", "50")]) + request_bytes("GET", "/app.js")[:50].ljust(50))
        answer = http.response()
        assert answer.status in (200, 400, 413)
        rest = http.read_all()
        assert b"let a" not in rest


def test_plain_files_beside_upgrades(host):
    connect("127.0.0.1", host.port, "/ws").end()
    with Http("127.0.0.1", host.port) as http:
        http.send(request_bytes("GET", "/data.json", upgrade_headers()))
        assert http.response().status in (200, 404)


def test_without_a_folder_there_are_no_files():
    with Host("--plugin", "/ws=echo") as host:
        assert get(host, "/index.html").status == 404
        assert get(host, "/").status == 404


def test_a_peer_that_does_not_read_its_file(host):
    """It costs its own connection only; broken off, nothing is left."""
    before = host.descriptors
    slow = [Http("127.0.0.1", host.port, receive_buffer=4096) for _ in range(5)]
    for http in slow:
        http.send(request_bytes("GET", "/big.bin"))
    assert get(host, "/data.json").body == b"{}"
    for http in slow:
        http.reset()
    wait_until(lambda: host.descriptors <= before, "files and sockets are closed")


def test_a_file_that_shrinks_while_it_is_sent(host, site):
    path = site / "shrinking.bin"
    path.write_bytes(bytes(30 << 20))
    with Http("127.0.0.1", host.port, receive_buffer=4096) as http:
        http.send(request_bytes("GET", "/shrinking.bin"))
        answer = http.response_head()
        http.read(10000)
        path.write_bytes(b"")
        rest = http.read_all()
        assert len(rest) < int(answer.get("Content-Length"))  # the promise can not be kept: the connection ends, the host does not
    path.unlink()
    assert get(host, "/data.json").body == b"{}"
