"""The HTTP API: commands over HTTP, who may give them, and what is answered to those who do it wrong."""
import http.client
import json
import subprocess
import threading

import pytest

from api import TOKENS, Api, address, judge, tokens
from certificates import Certificates, tls
from control import stats_of
from probe import Probe, plugin
from tova_host import BUILD, IMPATIENT, Host, wait_until
from wsclient import BINARY, Http, connect

PLUGIN = BUILD / "plugins"
RELAY = ("--plugin", f"/a={PLUGIN}/relay.so", "--plugin", f"/b={PLUGIN}/relay.so")
ONE = ("--plugin", f"{PLUGIN}/relay.so")
API = ("--api", "127.0.0.1:0")


@pytest.fixture
def host(tmp_path):
    """One mount, at which clients are in the room that their path names; everybody may do everything."""
    with Host(*ONE, *API, *IMPATIENT) as running:
        yield running


@pytest.fixture
def two(tmp_path):
    with Host(*RELAY, *API, *tokens(tmp_path, "publish@/a", "read", "admin"), *IMPATIENT) as running:
        yield running


def member(host, path):
    """A client, once the host knows it as a member of its room."""
    ws = connect("127.0.0.1", host.port, path)
    ws.roundtrip()
    return ws


# --- commands -----------------------------------------------------------------------------------------------------------------

@pytest.fixture
def probe():
    """A host whose clients do what they are told, and a way to open some."""
    with Host("--plugin", plugin("probe"), *API, *IMPATIENT) as running, Probe(running, "") as opener:
        yield opener


def test_commands(probe):
    one, other = probe.clients(2)
    with Api(probe.host) as api:
        for ws in (one, other):
            assert api.post("join", conn=ws.id, room="room ä") == (200, {"receivers": 1})
        assert api.post("broadcast_to", room="room ä", data="to both") == (200, {"receivers": 2})
        assert api.post("broadcast_to", room="room ä", data="to the other", exclude=one.id) == (200, {"receivers": 1})
        assert api.post("broadcast", data="to all") == (200, {"receivers": 2})
        assert api.post("broadcast", data="to the other alone", exclude=one.id) == (200, {"receivers": 1})
        assert api.post("send", conn=one.id, data="to one") == (200, {"receivers": 1})
        assert api.post("send", _body=b'{"conn":"%s","bin":3}\n\0\xff\n' % one.id.encode()) == (200, {"receivers": 1})
        assert api.post("leave", conn=one.id, room="room ä") == (200, {"receivers": 1})
        assert api.post("broadcast_to", room="room ä", data="to the other", exclude=one.id) == (200, {"receivers": 1})
        assert api.post("broadcast_to", room="nobody's", data="x") == (200, {"receivers": 0})
        assert [one.recv_text() for _ in range(3)] == ["to both", "to all", "to one"]
        got = one.recv_message()
        assert (got.opcode, got.data) == (BINARY, b"\0\xff\n")
        assert [other.recv_text() for _ in range(5)] == ["to both", "to the other", "to all", "to the other alone", "to the other"]
        assert api.post("close", conn=one.id, code=4002, reason="go away") == (200, {"receivers": 1})
        one.expect_closed(4002, "go away")
        wait_until(lambda: api.post("send", conn=one.id, data="too late") == (200, {"receivers": 0}), "it is gone")


def test_a_list_is_done_whole_or_not_at_all(host):
    with member(host, "/room/x") as ws, Api(host) as api:
        good = [{"c": "broadcast_to", "room": "x", "data": str(i)} for i in range(3000)]
        assert api.post("commands", commands=good) == (200, {"receivers": 3000})
        assert [ws.recv_text() for _ in range(3000)] == [str(i) for i in range(3000)]
        for at in (0, 1, 1500, 2999):
            for bad in ({"c": "zzz"}, {"c": "send", "conn": "x", "data": ""}, {"c": "broadcast_to", "room": "", "data": "x"}, {"c": "broadcast_to", "room": "x"}, {"data": "x"}, 7):
                status, said = api.post("commands", commands=[*good[:at], bad, *good[at + 1:]])
                assert (status, said["index"]) == (400, at), (bad, said)
        assert api.post("commands", commands=[]) == (200, {"receivers": 0})
        assert api.post("broadcast", data="that was all") == (200, {"receivers": 1})
        assert ws.recv_text() == "that was all"


def test_commands_of_a_list_see_each_other(probe):
    ws = probe.client()
    with Api(probe.host) as api:
        assert api.post("commands", commands=[
            {"c": "join", "conn": ws.id, "room": "r"}, {"c": "broadcast_to", "room": "r", "data": "you are in"},
            {"c": "leave", "conn": ws.id, "room": "r"}, {"c": "broadcast_to", "room": "r", "data": "you are out"}]) == (200, {"receivers": 3})
        assert ws.recv_text() == "you are in"
        assert api.post("send", conn=ws.id, data="last") == (200, {"receivers": 1})
        assert ws.recv_text() == "last"


def test_several_loops(tmp_path):
    """Members are counted on whichever loop they are."""
    with Host(*ONE, *API, "--threads", "3", *IMPATIENT) as host, Api(host) as api:
        clients = [member(host, "/room/x") for _ in range(20)]
        assert api.post("broadcast_to", room="x", data="hi") == (200, {"receivers": 20})
        assert api.post("broadcast", data="all") == (200, {"receivers": 20})
        for ws in clients:
            assert [ws.recv_text(), ws.recv_text()] == ["hi", "all"]
            ws.drop()


def test_mounts(two):
    with member(two, "/a/room/x") as ws, Api(two, token=TOKENS["admin"]) as api:
        assert api.post("broadcast_to", mount="/a", room="x", data="hi") == (200, {"receivers": 1})
        assert api.post("broadcast_to", mount="/b", room="x", data="hi") == (200, {"receivers": 0})
        assert ws.recv_text() == "hi"
        for mount, part in (("/c", 'there is no such mount as /c; expected /a or /b'), (None, "name one")):
            status, said = api.post("broadcast", data="x", **({"mount": mount} if mount else {}))
            assert status == 400 and part in said["error"] and "/a or /b" in said["error"]
        status, said = api.get("/api/v1/mounts")
        assert status == 200 and [(m["path"], m["handler"], m["connections"], m["rooms"]) for m in said["mounts"]] == [("/a", "plugin", 1, 1), ("/b", "plugin", 0, 0)]


WRONG = {
    "no JSON": ("broadcast", b"hello", "an object was expected"),
    "nothing": ("broadcast", b"", "an object was expected"),
    "a list": ("broadcast", b"[]", "an object was expected"),
    "half": ("broadcast", b'{"data":"x"', "a comma or } was expected"),
    "an unknown member": ("broadcast", b'{"dtaa":"x","data":"y"}', '"dtaa" is no member'),
    "no room": ("broadcast_to", b'{"data":"x"}', 'lacks "room"'),
    "no data": ("broadcast_to", b'{"room":"x"}', 'lacks its "data"'),
    "data that is no text": ("broadcast", b'{"data":{"a":1}}', "a string was expected"),
    "no connection": ("send", b'{"data":"x"}', 'lacks "conn"'),
    "a connection that is none": ("close", b'{"conn":"x\\"y"}', "is no connection's id"),
    "an empty room": ("broadcast_to", b'{"room":"","data":"x"}', "a name that is not 1 to 255 bytes"),
    "a long room": ("broadcast_to", b'{"room":"%s","data":"x"}' % (b"x" * 256), "a name that is not 1 to 255 bytes"),
    "bad UTF-8": ("broadcast", b'{"data":"\xff"}', "not UTF-8"),
    "half an emoji": ("broadcast", b'{"data":"\\ud83d"}', "not UTF-8"),
    "a code that is none": ("close", b'{"conn":"AAAAAAAAAAAAAAAAAAAAAA","code":1005}', "out of range"),
    "a code that is no number": ("close", b'{"conn":"AAAAAAAAAAAAAAAAAAAAAA","code":"x"}', "no whole number"),
    "an exclude that is none": ("broadcast", b'{"data":"x","exclude":"me"}', "an exclude is no connection"),
    "another command": ("broadcast", b'{"c":"send","data":"x"}', 'another command than the path'),
    "too few bytes": ("broadcast", b'{"bin":3}\nab', "more or fewer"),
    "too many bytes": ("broadcast", b'{"bin":1}\nab', "more or fewer"),
    "something behind": ("broadcast", b'{"data":"x"}{}', "something else behind"),
    "deep": ("broadcast", b'{"data":' + b"[" * 100000 + b"]" * 100000 + b"}", "a string was expected"),
    "deep and unknown": ("commands", b'{"commands":[{"c":' + b"[" * 100000, "a string was expected"),
    "no commands": ("commands", b'{"mount":"/"}', '"commands" is missing'),
    "commands twice": ("commands", b'{"commands":[],"commands":[]}', "twice"),
    "an unknown member of a list": ("commands", b'{"commands":[],"mout":"/"}', '"mout" is no member'),
    "a mount that is none": ("broadcast", b'{"mount":"/\\u0000","data":"x"}', "no such mount"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(host, name):
    command, body, part = WRONG[name]
    with Api(host) as api:
        status, said = api.post(command, _body=body)
        assert status == 400 and part in said["error"], said
        assert api.post("broadcast", data="x") == (200, {"receivers": 0})


def test_a_set_that_compares(probe):
    """Two that set one state: the second is told, and nothing of its is done."""
    ws = probe.client()
    with Api(probe.host) as api:
        assert api.post("set", conn=ws.id, state="one") == (200, {"receivers": 1})
        status, said = api.post("commands", commands=[{"c": "send", "conn": ws.id, "data": "never"}, {"c": "set", "conn": ws.id, "state": "x", "if_state": "zzz"}])
        assert status == 409 and said["index"] == 1 and "if_state" in said["error"]
        assert api.post("send", conn=ws.id, data="first") == (200, {"receivers": 1})
        assert ws.recv_text() == "first"


# --- who may ----------------------------------------------------------------------------------------------------------------------

def test_scopes(two):
    """What each token may at each mount; nothing is done for others."""
    message = {"room": "x", "data": "hi"}
    listed = {"commands": [{"c": "broadcast_to", **message}]}
    closing = {"commands": [{"c": "broadcast_to", **message}, {"c": "close", "conn": "A" * 22}]}
    may = {
        ("publish", "/a"): {"broadcast_to": 200, "commands": 200, "closing": 403, "close": 403, "mounts": 403},
        ("publish", "/b"): {"broadcast_to": 403, "commands": 403, "closing": 403, "close": 403, "mounts": 403},
        ("read", "/a"): {"broadcast_to": 403, "commands": 403, "closing": 403, "close": 403, "mounts": 200},
        ("admin", "/b"): {"broadcast_to": 200, "commands": 200, "closing": 200, "close": 200, "mounts": 200},
    }
    with member(two, "/b/room/x") as ws:
        for (scope, mount), expected in may.items():
            with Api(two, token=TOKENS[scope]) as api:
                def answer(what):
                    return (judge(api.ask("GET", "/api/v1/mounts")) if what == "mounts" else
                            api.post("close", mount=mount, conn="A" * 22) if what == "close" else
                            api.post("commands", mount=mount, **closing) if what == "closing" else
                            api.post(what, mount=mount, **(listed if what == "commands" else message)))
                for what, status in expected.items():
                    if status == 200 or what in ("broadcast_to", "commands", "closing"):
                        with Api(two, token=TOKENS[scope]) as api:
                            assert answer(what)[0] == status, (scope, mount, what)
        assert [ws.recv_text() for _ in range(3)] == ["hi"] * 3  # admin's two lists and its message
        with Api(two, token=TOKENS["admin"]) as api:
            assert api.post("send", mount="/b", conn="A" * 22, data="x") == (200, {"receivers": 0})


def test_tokens(two):
    good = TOKENS["admin"]
    for header in ((), [("Authorization", "Bearer")], [("Authorization", f"Basic {good}")], [("Authorization", good)]):
        with Api(two) as api:
            answer = api.ask("POST", "/api/v1/broadcast", b"{}", header)
            assert judge(answer)[0] == 401 and answer.get("WWW-Authenticate") == 'Bearer realm="tova"'
            api.expect_eof()  # its body was not read
    for token in (good[:-1], good + "x", good.upper(), "x", "x" * 600):
        with Api(two, token=token) as api:
            answer = api.ask("GET", "/api/v1/mounts")
            assert judge(answer)[0] == 401 and 'error="invalid_token"' in answer.get("WWW-Authenticate")
            assert api.get("/healthz")[0] == 200  # which nobody needs one for
    with Api(two) as api:
        assert judge(api.ask("GET", "/api/v1/mounts", headers=[("authorization", f"bearer   {good}")]))[0] == 200
        assert judge(api.ask("GET", "/api/v1/mounts", headers=[("Authorization", f"Bearer {good}"), ("Authorization", f"Bearer {good}")]))[0] == 401
    with Api(two, token=TOKENS["read"]) as api:
        answer = api.ask("POST", "/api/v1/broadcast", b'{"mount":"/a","data":"x"}')
        assert judge(answer)[0] == 403 and 'error="insufficient_scope"' in answer.get("WWW-Authenticate")
    assert not any(token in json.dumps(line) for line in two.lines for token in TOKENS.values())
    assert any(line.get("kind") == "api" and line.get("status") == 401 for line in two.lines)


def test_tokens_are_read_again(tmp_path):
    options = tokens(tmp_path, "admin")
    with Host(*ONE, *API, *options) as host:
        def status(token):
            with Api(host, token=token) as api:
                return api.get("/api/v1/mounts")[0]
        assert status(TOKENS["admin"]) == 200
        (tmp_path / "token-0").write_text("another-secret-0123456789")  # without a line end
        host.wait_log(lambda line: line.get("message") == "the settings were read again", after=host.reload())
        assert (status(TOKENS["admin"]), status("another-secret-0123456789")) == (401, 200)
        # one that can not be had leaves the others as they are
        (tmp_path / "token-0").write_text("short\n")
        host.expect(lambda line: "tokens of the API were not replaced" in line.get("message", ""))
        said = host.wait_log(lambda line: "were not replaced" in line.get("message", ""), after=host.reload())
        assert "too short" in said["error"] and "short" not in said.get("value", "")
        assert status("another-secret-0123456789") == 200


@pytest.mark.parametrize("text, part", [("", "it is empty"), ("\n", "it is empty"), ("short", "too short"), ("a" * 600, "too long"), ("has a blank in it 123", "none of a token")])
def test_token_files_that_are_none(tmp_path, text, part):
    (tmp_path / "token").write_text(text)
    for check in ([], ["--check"]):
        done = subprocess.run([BUILD / "tova-host", *ONE, "-l", "127.0.0.1:0", *API, "--api-token", f"read={tmp_path}/token", *check], capture_output=True, text=True)
        assert done.returncode == 2 and "--api-token: read=" in done.stderr and part in done.stderr, done.stderr


def test_a_token_that_others_can_read_is_warned_of(tmp_path):
    options = tokens(tmp_path, "read")
    (tmp_path / "token-0").chmod(0o644)
    with Host(*ONE, *API, *options) as host:
        assert any("other users of this machine can read" in line["message"] for line in host.lines)


# --- who asks ---------------------------------------------------------------------------------------------------------------------

def test_names_that_are_not_served(host):
    """A page whose own name was pointed at this machine asks with that name; nobody can point a number."""
    port = int(address(host).rpartition(":")[2])
    for name, status in (("evil.example", 421), (f"evil.example:{port}", 421), ("localhost.evil.example", 421), ("127.0.0.1.evil.example", 421), ("localhost", 200),
                         (f"LOCALHOST:{port}", 200), (f"127.0.0.1:{port}", 200), ("[::1]", 200), ("192.0.2.7", 200), ("1.2.3", 421), ("0x7f000001", 421)):
        with Http("127.0.0.1", port) as http:
            assert http.request("GET", "/healthz", host=name).status == status, name
    with Http("127.0.0.1", port) as http:  # the target stands above Host
        assert http.request("GET", "http://evil.example/healthz", host="localhost").status == 421


def test_more_names(tmp_path):
    config = tmp_path / "conf"
    config.write_text('api-host = "push.example";\n')
    with Host(*ONE, *API, "--config", config) as host:
        def status(name):
            with Http("127.0.0.1", int(address(host).rpartition(":")[2])) as http:
                return http.request("GET", "/healthz", host=name).status
        assert (status("push.example"), status("other.example")) == (200, 421)
        config.write_text('api-host = "*.example";\n')
        host.wait_log(lambda line: line.get("message") == "the settings were read again", after=host.reload())
        assert (status("other.example"), status("example")) == (200, 421)


def test_pages_of_other_origins(host):
    with Api(host) as api:
        for origin, status in (("https://evil.example", 403), ("null", 403), ("http://localhost:81", 403), ("http://localhost", 200), (None, 200)):
            with Api(host) as api:
                assert judge(api.ask("POST", "/api/v1/broadcast", b'{"data":"x"}', [("Origin", origin)] if origin else []))[0] == status, origin
    with Api(host) as api:  # and a browser that asks first is told nothing that would let it
        answer = api.ask("OPTIONS", "/api/v1/broadcast", headers=[("Origin", "https://evil.example"), ("Access-Control-Request-Method", "POST")])
        assert answer.status == 204 and not any(name.lower().startswith("access-control") for name, _ in answer.headers)


def test_without_tokens_nobody_comes_through_a_proxy(host):
    assert any("may do everything" in line.get("message", "") for line in host.lines)
    for header in ("X-Forwarded-For", "Forwarded", "Via"):
        with Api(host) as api:
            status, said = judge(api.ask("GET", "/api/v1/mounts", headers=[(header, "192.0.2.1")]))
            assert status == 403 and "--api-token" in said["error"]
            assert judge(api.ask("GET", "/healthz", headers=[(header, "192.0.2.1")]))[0] == 200


# --- repeated requests ------------------------------------------------------------------------------------------------------------

def key(text):
    return [("Idempotency-Key", text)]


def test_what_is_repeated_is_done_once(host):
    body = b'{"room":"x","data":"once"}'
    with member(host, "/room/x") as ws, Api(host) as api, Api(host) as other:
        assert api.post("broadcast_to", body, key("a")) == (200, {"receivers": 1})
        for asker in (api, other, other):  # whichever connection it comes on
            assert asker.post("broadcast_to", body, key("a")) == (200, {"receivers": 1})
        assert ws.recv_text() == "once"
        # another body, or another command, is no repetition
        for command, again in (("broadcast_to", b'{"room":"x","data":"else"}'), ("broadcast", body)):
            status, said = api.post(command, again, key("a"))
            assert status == 422 and "Idempotency-Key" in said["error"]
        assert api.post("broadcast_to", body, key('"a"')) == (200, {"receivers": 1})
        assert api.post("broadcast_to", body, key("b" * 255)) == (200, {"receivers": 1})
        assert api.post("broadcast_to", body) == api.post("broadcast_to", body) == (200, {"receivers": 1})
        assert [ws.recv_text() for _ in range(4)] == ["once"] * 4
        # the same answer, though things have changed
        with member(host, "/room/x"):
            assert api.post("broadcast_to", body, key("a")) == (200, {"receivers": 1})
            assert api.post("broadcast_to", body, key("new")) == (200, {"receivers": 2})
        assert ws.recv_text() == "once"
        # also that something was wrong
        wrong = b'{"commands":[{"c":"broadcast","data":"x"},{"c":"%s"}]}' % (b"z" * 150)
        first = api.post("commands", wrong, key("c"))
        assert first[0] == 400 and first[1]["index"] == 1 and api.post("commands", wrong, key("c")) == first


def test_keys_that_are_none(host):
    for headers in (key(""), key("x" * 256), key("a") + key("b"), key("a") + key("a")):
        with Api(host) as api:
            status, said = api.post("broadcast", b'{"data":"x"}', headers)
            assert status == 400 and "Idempotency-Key" in said["error"], headers
    with Api(host) as api:
        assert judge(api.ask("GET", "/api/v1/mounts", headers=key("")))[0] == 200


def test_a_key_is_its_token_s_own(two):
    body = b'{"mount":"/a","room":"x","data":"hi"}'
    with member(two, "/a/room/x") as ws:
        for scope in ("publish", "admin", "publish", "admin"):
            with Api(two, token=TOKENS[scope]) as api:
                assert api.post("broadcast_to", body, key("a")) == (200, {"receivers": 1})
        assert [ws.recv_text() for _ in range(2)] == ["hi"] * 2
        with Api(two, token=TOKENS["publish"]) as api:
            assert api.post("broadcast_to", body, key("b"))[0] == 200
        assert ws.recv_text() == "hi"
        with Api(two, token=TOKENS["read"]) as api:  # who may not is told so, whatever others were told
            assert api.post("broadcast_to", body, key("a"))[0] == 403


def test_two_that_ask_the_same_at_once(host):
    """While the first one's body is still coming, too: one is done, both are told the same."""
    head = b"POST /api/v1/broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\nIdempotency-Key: a\r\n\r\n"
    with member(host, "/room/x") as ws, Api(host) as one, Api(host) as other:
        one.send(head + b'{"data"')
        other.send(head + b'{"data":"x"}')
        assert judge(other.response()) == (200, {"receivers": 1})
        one.send(b':"x"}')
        assert judge(one.response()) == (200, {"receivers": 1})
        assert ws.recv_text() == "x"
        assert one.post("broadcast", data="next") == (200, {"receivers": 1})
        assert ws.recv_text() == "next"


def test_an_answer_that_was_lost(host):
    """Whoever is cut off before the answer asks again."""
    body = b'{"data":"x"}'
    with member(host, "/room/x") as ws:
        for i in range(20):
            with Api(host) as api:
                api.send(b"POST /api/v1/broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\nIdempotency-Key: %d\r\n\r\n" % i + body)
                api.reset()
            with Api(host) as api:
                assert api.post("broadcast", body, key(str(i))) == (200, {"receivers": 1})
        assert [ws.recv_text() for _ in range(20)] == ["x"] * 20
        with Api(host) as api:
            assert api.post("broadcast", data="last") == (200, {"receivers": 1})
        assert ws.recv_text() == "last"


# --- HTTP -------------------------------------------------------------------------------------------------------------------------

def test_paths_and_methods(host):
    with Api(host) as api:
        for target in ("/", "/api", "/api/v1", "/api/v1/", "/api/v1/zzz", "/api/v1/broadcast/", "/api/v2/broadcast", "/healthz/x", "//healthz", "/API/v1/broadcast"):
            assert judge(api.ask("GET", target))[0] == 404, target
        for method, target, allow in (("GET", "/api/v1/broadcast", "POST, OPTIONS"), ("POST", "/healthz", "GET, HEAD, OPTIONS"), ("DELETE", "/api/v1/mounts", "GET, HEAD, OPTIONS"),
                                      ("get", "/healthz", "GET, HEAD, OPTIONS")):
            answer = api.ask(method, target)
            assert (judge(answer)[0], answer.get("Allow")) == (405, allow)
            answer = api.ask("OPTIONS", target)
            assert (answer.status, answer.get("Allow"), answer.body) == (204, allow, b"")
        answer = api.ask("HEAD", "/api/v1/mounts")
        assert answer.status == 200 and answer.body == b""
        assert api.get("/healthz?x=y")[0] == 200


def test_bodies(host):
    """Lengths and chunks, cut anywhere, one request after the other and several at once."""
    with Api(host) as api:
        for cut in (1, 2, 7, 1000):
            for lines, body in (("Content-Length: 12", b'{"data":"x"}'), ("Transfer-Encoding: chunked", b'5\r\n{"dat\r\n7;x=y\r\na":"x"}\r\n0\r\nX: y\r\n\r\n')):
                api.send_cut(f"POST /api/v1/broadcast HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n".encode() + body, cut)
                assert judge(api.response()) == (200, {"receivers": 0})
        one = b'POST /api/v1/broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\n\r\n{"data":"x"}'
        api.send(one * 100)
        assert [judge(api.response()) for _ in range(100)] == [(200, {"receivers": 0})] * 100
        api.send(b"POST /api/v1/broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n")
        assert api.response_head().status == 100
        api.send(b'{"data":"x"}')
        assert judge(api.response()) == (200, {"receivers": 0})


SMUGGLED = b"POST /api/v1/broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18\r\n\r\n" + b'{"data":"smuggled"}'
REFUSED = {
    "two lengths": ("Content-Length: 3\r\nContent-Length: 3", 400), "other lengths": ("Content-Length: 3\r\nContent-Length: 4", 400), "a list of lengths": ("Content-Length: 3, 3", 400),
    "length and chunks": ("Content-Length: 3\r\nTransfer-Encoding: chunked", 400), "a sign": ("Content-Length: +3", 400), "hex": ("Content-Length: 0x3", 400),
    "a folded length": ("Content-Length:\r\n 3", 400), "identity": ("Transfer-Encoding: identity", 400), "gzip": ("Transfer-Encoding: gzip, chunked", 501),
    "chunked twice": ("Transfer-Encoding: chunked, chunked", 400), "not the last": ("Transfer-Encoding: chunked, x", 400), "too long": ("Content-Length: 99999999", 413),
    "far too long": ("Content-Length: 99999999999999999999", 400), "an expectation": ("Content-Length: 3\r\nExpect: x", 417), "neither": ("X: y", 411),
    "a negative chunk": ("Transfer-Encoding: chunked\r\n\r\n-3", 400), "an endless chunk": ("Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff", 400),
    "a large chunk": ("Transfer-Encoding: chunked\r\n\r\nfffffff", 413), "a bare LF": ("Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n", 400),
    "a long extension": ("Transfer-Encoding: chunked\r\n\r\n3;" + "x" * 5000, 400), "long trailers": ("Transfer-Encoding: chunked\r\n\r\n0\r\nX: " + "x" * 5000, 431),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_another_parser_might_read_otherwise(host, name):
    """One answer, and the end: nothing behind it is another request."""
    lines, status = REFUSED[name]
    with member(host, "/room/x") as ws:
        with Api(host) as api:
            api.send(f"POST /api/v1/broadcast HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n".encode() + (SMUGGLED if status != 411 else b""))
            assert judge(api.response())[0] == status
            if status != 411:
                api.expect_eof()
        with Api(host) as api:
            assert api.post("broadcast", data="next") == (200, {"receivers": 1})
        assert ws.recv_text() == "next"


def test_a_body_that_is_packed(host):
    with Api(host) as api:
        status, said = judge(api.ask("POST", "/api/v1/broadcast", b"x", [("Content-Encoding", "gzip")]))
        assert status == 415 and "Content-Encoding" in said["error"]
    with Api(host) as api:
        assert judge(api.ask("POST", "/api/v1/broadcast", b'{"data":"x"}', [("Content-Encoding", "identity")]))[0] == 200


def test_http_1_0(host):
    with Api(host) as api:
        api.send(b"GET /api/v1/mounts HTTP/1.0\r\n\r\n")
        head, _, body = api.read_all().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ") and b"chunked" not in head and json.loads(body)["mounts"]


def test_a_body_beyond_the_limit(tmp_path):
    """100 MB: refused by what the head says, or where the limit is met; the host takes no memory for it."""
    with Host(*ONE, *API, "--api-max-body", "64k", *IMPATIENT) as host:
        before = host.rss
        with Api(host) as api:
            api.send(b"POST /api/v1/broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 104857600\r\n\r\n")
            assert judge(api.response())[0] == 413
        with Api(host) as api:
            api.send(b"POST /api/v1/broadcast HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            try:
                for _ in range(1600):
                    api.send(b"10000\r\n" + bytes(65536) + b"\r\n")
            except (BrokenPipeError, ConnectionResetError):
                pass
            assert b" 413 " in api.read_all()
        with Api(host) as api:
            assert api.post("broadcast", data="x" * 60000) == (200, {"receivers": 0})
        assert host.rss - before < 4 << 20


def test_a_body_that_comes_byte_by_byte(tmp_path):
    with Host(*ONE, *API, "--handshake-timeout", "300ms", *IMPATIENT) as host, Api(host) as api:
        api.send(b"POST /api/v1/broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n")
        ended = threading.Event()

        def drip():
            while not ended.wait(0.02):
                try:
                    api.sock.send(b" ")
                except OSError:
                    return
        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert judge(api.response())[0] == 408
        finally:
            ended.set()
            dripping.join()


def test_a_crowd_takes_nobody_s_place(tmp_path):
    """Connections that ask nothing give way to those that do, and clients do not notice."""
    with Host(*ONE, *API, "--admin", f"unix:{tmp_path}/admin", "--api-connections", "10", "--max-connections", "3", "--close-timeout", "30s") as host:
        crowd, where = [Api(host) for _ in range(40)], ("127.0.0.1", int(address(host).rpartition(":")[2]))
        with member(host, "/room/x") as ws, Api(host) as api, Api(host, "admin") as admin:
            for asker in (api, admin):
                assert asker.post("broadcast", data="hi") == (200, {"receivers": 1})
                assert ws.recv_text() == "hi"
            others = [member(host, "/room/x") for _ in range(2)]
            assert api.post("broadcast", data="hi") == (200, {"receivers": 3})
            # those who were refused and do not leave, neither
            for _ in range(40):
                lingering = Http(*where)
                lingering.send(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n")
                assert lingering.response().status == 404
                crowd.append(lingering)
            with Api(host) as late:
                assert late.post("broadcast", data="hi") == (200, {"receivers": 3})
            # as many clients as there may be keep nobody from the API
            with Api(host) as late:
                assert late.get("/readyz")[0] in (200, 503)
            for one in (*others, *crowd):
                one.drop()


def test_a_reader_that_never_reads(host):
    """What it asks for waits for it, bounded, while others are answered."""
    with Api(host) as api, Api(host) as other:
        ask = b"GET /api/v1/mounts HTTP/1.1\r\nHost: localhost\r\n\r\n"
        before = host.rss
        api.sock.setblocking(False)
        for _ in range(20000):
            try:
                api.sock.send(ask)
            except BlockingIOError:
                break
        assert other.post("broadcast", data="x") == (200, {"receivers": 0})
        assert host.rss - before < 8 << 20


def test_no_websocket_here(host):
    with Api(host) as api:
        answer = api.ask("GET", "/", headers=[("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
                                                ("Sec-WebSocket-Version", "13")])
        status, said = judge(answer)
        assert status == 404 and "--listen" in said["error"]


def test_other_clients(host):
    """A library's client and curl, both with connections that are used again."""
    port = int(address(host).rpartition(":")[2])
    client = http.client.HTTPConnection("127.0.0.1", port)
    with member(host, "/room/x") as ws:
        for i in range(3):
            client.request("POST", "/api/v1/broadcast_to", json.dumps({"room": "x", "data": f"number {i}"}), {"Content-Type": "application/json"})
            answer = client.getresponse()
            assert answer.status == 200 and json.loads(answer.read()) == {"receivers": 1}
            assert ws.recv_text() == f"number {i}"
        client.request("POST", "/api/v1/broadcast_to", iter([b'{"room":"x",', b'"data":"in chunks"}']), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
        assert json.loads(client.getresponse().read()) == {"receivers": 1} and ws.recv_text() == "in chunks"
        got = subprocess.run(["curl", "-sS", "-H", "Expect: 100-continue", "-d", '{"room":"x","data":"by curl"}', f"http://127.0.0.1:{port}/api/v1/broadcast_to",
                              "--next", "-sS", f"http://127.0.0.1:{port}/api/v1/mounts"], capture_output=True, text=True)
        assert got.stdout.startswith('{"receivers":1}{"mounts":[') and ws.recv_text() == "by curl", got
    client.close()


# --- where it listens -------------------------------------------------------------------------------------------------------------

def test_unix_sockets_and_tls(tmp_path):
    made = Certificates(tmp_path).make("one", "localhost").make("two", "push.example")
    with Host(*ONE, "--api", f"unix:{tmp_path}/api", "--api", "127.0.0.1:0,tls=push.example", "--admin", "127.0.0.1:0", *made.args("one", "two"), listen="127.0.0.1:0,tls") as host:
        assert [line["tls"] for line in host.lines if line.get("kind") == "listen"] == [False, True, False, True]
        assert (tmp_path / "api").stat().st_mode & 0o777 == 0o660
        with Api(host) as api, Api(host, "admin") as admin:
            assert api.get("/healthz") == admin.get("/healthz") == (200, {"alive": True})
        port = int(next(line["api"] for line in host.lines if line.get("tls") and "api" in line).rpartition(":")[2])
        with Http("127.0.0.1", port, wrap=tls(made.cert("two"), "push.example")) as http:
            assert http.request("GET", "/healthz").status == 200
        with Http("127.0.0.1", port) as http:
            answer = http.request("GET", "/healthz")
            assert answer.status == 400 and "TLS is spoken here" in json.loads(answer.body)["error"]
    assert not (tmp_path / "api").exists()


def test_a_proxy_in_front(tmp_path):
    """Its word about its client counts where it is trusted: in the log, and for the origin of a page."""
    with Host(*ONE, *API, *tokens(tmp_path, "admin"), "--trusted-proxy", "127.0.0.1", "--api-host", "push.example") as host, Api(host, token=TOKENS["admin"]) as api:
        said = [("X-Forwarded-For", "192.0.2.9"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "push.example")]
        for origin, status in (("https://push.example", 200), ("http://push.example", 403)):
            with Api(host, token=TOKENS["admin"]) as api:
                assert judge(api.ask("POST", "/api/v1/broadcast", b'{"data":"x"}', [*said, ("Origin", origin)]))[0] == status
        with Api(host) as stranger:
            assert judge(stranger.ask("GET", "/api/v1/mounts", headers=[*said[:2], ("X-Forwarded-Host", "evil.example")]))[0] == 421


def test_addresses_of_other_machines_need_a_token(tmp_path):
    for where in ("0.0.0.0:0", "[::]:0"):
        done = subprocess.run([BUILD / "tova-host", *ONE, "-l", "127.0.0.1:0", "--api", where], capture_output=True, text=True)
        assert done.returncode == 2 and f'--api: "{where}" can be reached from other machines; expected' in done.stderr and "--api-token" in done.stderr
    with Host(*ONE, "--api", "0.0.0.0:0", *tokens(tmp_path, "read")) as host:
        assert any("it does not speak TLS" in line["message"] for line in host.lines)


def test_one_address_for_two(tmp_path):
    done = subprocess.run([BUILD / "tova-host", *ONE, "-l", "127.0.0.1:9", "--api", "127.0.0.1:9"], capture_output=True, text=True)
    assert done.returncode == 2 and '--api: "127.0.0.1:9" is an address of --listen, too' in done.stderr


def test_settings_are_printed_and_read(tmp_path):
    options = [*ONE, "-l", "127.0.0.1:0", "--api", f"unix:{tmp_path}/a", "--admin", "127.0.0.1:0", *tokens(tmp_path, "read", "publish@/"), "--health", "/up"]
    first = subprocess.run([BUILD / "tova-host", *options, "--check"], capture_output=True, text=True, check=True).stdout
    (tmp_path / "conf").write_text(first)
    assert subprocess.run([BUILD / "tova-host", "--config", tmp_path / "conf", "--check"], capture_output=True, text=True, check=True).stdout == first


def test_counters(host):
    with Api(host) as api:
        api.post("broadcast", data="x")
        judge(api.ask("GET", "/healthz", headers=[("X-Forwarded-For", "192.0.2.1")]))
        judge(api.ask("GET", "/api/v1/mounts", headers=[("X-Forwarded-For", "192.0.2.1")]))
    stats = stats_of(host)
    assert (stats["api_requests"], stats["api_refused"], stats["pushes"]) == (3, 1, 1)
