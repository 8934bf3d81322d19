"""--jwt-key: which upgrades carry a good token, where it may be, and that nobody else gets to see it."""
import base64
import json
import os
import subprocess

import pytest

from patience import unhurried
from probe import KINDS, Host, kind_args, opened, plugin
from tokens import SECRET, Keys, b64, claims, hs256, later, openssl, part
from tova_host import BUILD
from wsclient import TEXT, Http, WebSocket, connect, frame, request_bytes, upgrade_headers

EVERYWHERE = "header, subprotocol,cookie=session,query=token"
WHO = {"sub": "ada", "roles": ["admin", "ü"], "nested": {"a": [1, 2.5, None, True, "\n\""]}}


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    made = Keys(tmp_path_factory.mktemp("keys"))
    (made.folder / "secret").write_bytes(SECRET + b"\n")
    os.chmod(made.folder / "secret", 0o600)
    for kind in ("rsa", "ec", "rsa1024", "ec384", "ed"):
        made.make(kind)
    made.make("rsa", "old")
    parts = [(made.folder / name).read_text() for name in ("old.pem", "rsa.pem", "ec.pem")]
    (made.folder / "all.pem").write_text("# old, new, other\n" + "\n".join(parts))
    return made


@pytest.fixture(scope="module")
def host(keys):
    probe = plugin("probe")
    at = keys.folder
    with Host("--threads", "2", "--log-level", "debug", *[a for name in ("hs", "rs", "es", "all", "for", "open") for a in ("-p", f"/{name}={probe}")],
              "--jwt-key", f"{at}/secret", "--jwt-key", f"/rs={at}/rsa.pem", "--jwt-key", f"/es={at}/ec.pem",
              "--jwt-key", f"/all={at}/all.pem", "--jwt-key", "/open=", "--jwt-from", EVERYWHERE, "--jwt-from", "/rs=header",
              "--jwt-audience", "/for=chat, web", "--jwt-issuer", "/for=https://id.example,other", "--jwt-leeway", "60s") as host:
        yield host


def bearer(token):
    return [("Authorization", f"Bearer {token}")]


def answer(host, headers=(), target="/hs", subprotocols=()):
    """To an upgrade."""
    with Http("127.0.0.1", host.port) as http:
        http.send(request_bytes("GET", target, upgrade_headers(subprotocols=subprotocols, extra=headers)))
        return http.response_head()


def judge(host, token, target="/hs"):
    return answer(host, bearer(token), target).status


def seen(host, target="/hs", headers=(), subprotocols=()):
    """The request as the handler saw it, and which subprotocol was chosen."""
    target += ("&" if "?" in target else "?") + "request=1"
    with connect("127.0.0.1", host.port, target, headers=headers, subprotocols=subprotocols) as ws:
        return json.loads(ws.recv_text()), ws.subprotocol


# --- which are good -----------------------------------------------------------------------------------------------------------

def test_every_kind_of_key(host, keys):
    assert judge(host, hs256(claims())) == 101
    assert judge(host, keys.sign("rsa", claims(), "RS256"), "/rs") == 101
    assert judge(host, keys.sign("ec", claims(), "ES256"), "/es") == 101
    for name, alg in (("old", "RS256"), ("rsa", "RS256"), ("ec", "ES256")):
        assert judge(host, keys.sign(name, claims(), alg), "/all") == 101, name
    assert answer(host, target="/open").status == 101


def test_the_key_decides_about_the_algorithm(host, keys):
    rsa = (keys.folder / "rsa.pem").read_bytes()
    for key in (rsa, rsa.strip(), rsa + b"\n"):  # the famous one: a public key taken for a secret
        assert judge(host, hs256(claims(), key=key), "/rs") == 401
        assert judge(host, hs256(claims(), key=key), "/all") == 401
    assert judge(host, keys.sign("old", claims(), "RS256"), "/rs") == 401  # another key
    assert judge(host, keys.sign("rsa", claims(), "RS256"), "/hs") == 401
    assert judge(host, keys.sign("rsa", claims(), "RS256"), "/es") == 401
    assert judge(host, keys.sign("rsa", claims(), "RS384"), "/rs") == 401
    assert judge(host, keys.sign("ec", claims(), "ES384"), "/es") == 401
    assert judge(host, keys.sign("rsa", claims(), "ES256"), "/es") == 401  # an RSA signature called one of the curve
    good = keys.sign("rsa", claims(), "RS256")
    for alg in ("none", "None", "NONE", "", "HS256", "hs256", "RS256 ", None, 256, ["RS256"]):
        other = f"{part({'alg': alg})}.{part(claims())}"
        for signature in ("", good.split(".")[2], "AA"):
            assert judge(host, f"{other}.{signature}", "/rs") == 401, (alg, signature)
            assert judge(host, f"{other}.{signature}", "/hs") == 401, (alg, signature)


HEADERS = [
    ({"alg": "HS256"}, 101), ({"alg": "HS256", "typ": "jwt"}, 101), ({"alg": "HS256", "kid": "a", "more": {"x": [1]}}, 101),
    ({"alg": "HS256", "typ": "at+jwt"}, 401), ({"alg": "HS256", "typ": 1}, 401), ({"typ": "JWT"}, 401),
    ({"alg": "HS256", "crit": ["b64"], "b64": False}, 401), ({"alg": "HS256", "crit": []}, 401),
    ('{"alg":"HS256","alg":"HS256"}', 401), ('{"alg":"none","alg":"HS256"}', 401), ('{"alg":"HS256","alg":"none"}', 401),
    ('["HS256"]', 401), ('"HS256"', 401), ("", 401), ("{}", 401), ('{"alg":"HS256"} x', 401), ('{"alg":"HS256",}', 401),
    ('{"alg":"HS256\\u0000"}', 401), (b'{"alg":"HS256","x":"\xff"}', 401), ('{"alg":"HS256","x":' + "[" * 5000, 401),
    ('{"alg":"HS256","x":' + "[" * 15 + "]" * 15 + "}", 101), ('{"alg":"HS256","x":' + "[" * 16 + "]" * 16 + "}", 401)]


@pytest.mark.parametrize("i", range(len(HEADERS)))
def test_headers(host, i):
    header, status = HEADERS[i]
    assert judge(host, hs256(claims(), header)) == status


def nest(depth):
    return json.dumps(claims())[:-1] + ',"x":' + '{"a":' * depth + "1" + "}" * depth + "}"


def cases():
    """By the clock of the moment."""
    return [
        ({"exp": None}, 401), ({"exp": later(-600)}, 401), ({"exp": later(-20)}, 101), ({"exp": later() + 0.5}, 101), ({"exp": float(later())}, 101),
        ({"exp": str(later())}, 401), ({"exp": True}, 401), ({"exp": [later()]}, 401), ({"exp": {}}, 401), ({"exp": -1}, 401), ({"exp": 0}, 401),
        ({"exp": -1e300}, 401), ({"exp": 1e300}, 401), ({"exp": 2**53 - 1}, 101), ({"exp": 2**53}, 401), ({"exp": 2**63}, 401), ({"exp": 2**64}, 401),
        ({"nbf": later(-600)}, 101), ({"nbf": later(20)}, 101), ({"nbf": later(600)}, 401), ({"nbf": "0"}, 401), ({"nbf": -5}, 101), ({"nbf": 1e300}, 401),
        ({"iat": later(600)}, 101), ({"iat": "x"}, 101), ({"aud": "chat"}, 403), ({"aud": []}, 403), ({"aud": None}, 101), ({"iss": "anybody"}, 101),
        ({"iss": 5}, 401), ({"sub": 5}, 401), ({"sub": None}, 101), ({"sub": ""}, 101), ({"aud": 5}, 401), ({"aud": ["chat", 5]}, 401), ({"aud": {}}, 401)]


@pytest.mark.parametrize("i", range(len(cases())))
def test_claims(host, i):
    said, status = cases()[i]
    if said == {"exp": None}:
        assert judge(host, hs256({"sub": "ada"})) == 401
    else:
        assert judge(host, hs256(claims(**said))) == status


AS_TEXT = [
    ('{"exp":%d,"exp":%d}' % (later(), later()), 401), ('{"exp":%d,"exp":1}' % later(), 401), ('{"exp":1,"exp":%d}' % later(), 401),
    ('{"exp":%d,"\\u0065xp":1}' % later(), 401), ('{"exp":%d,"x":{"a":1,"a":2}}' % later(), 401), ("[]", 401), ("1", 401), ("null", 401),
    ('{"exp":%d} {}' % later(), 401), ('{"exp":1e400}', 401), ('{"exp":%d, "x":"\\ud800"}' % later(), 401), (nest(15), 101), (nest(16), 401),
    (nest(1000), 401), ('{"exp":NaN}', 401), ('{"exp":%d,"x":"' % later() + "a" * 5000 + '"}', 101)]


@pytest.mark.parametrize("i", range(len(AS_TEXT)))
def test_claims_as_text(host, i):
    text, status = AS_TEXT[i]
    assert judge(host, hs256(text)) == status


AUDIENCES = [("chat", 101), ("web", 101), (["x", "web"], 101), (["x"], 403), ([], 403), ("chat, web", 403), ("Chat", 403), (None, 403), ("chat\0", 401)]


@pytest.mark.parametrize("aud, status", AUDIENCES)
def test_audiences(host, aud, status):
    assert judge(host, hs256(claims(aud=aud, iss="other")), "/for") == status


@pytest.mark.parametrize("iss, status", [("https://id.example", 101), ("other", 101), ("https://id.example/", 403), (None, 403), ("", 403)])
def test_issuers(host, iss, status):
    assert judge(host, hs256(claims(aud="chat", iss=iss)), "/for") == status


def test_forms(host):
    good = hs256(claims(x="~~~???>>>"))  # what makes - and _ in base64url
    header, body, signature = good.split(".")
    assert judge(host, good) == 101
    bad = [good[:-1], good[1:], good + "A", good + "=", good + ".", "." + good, good + "." + signature, f"{header}.{body}", f"{header}.{body}.",
           f".{body}.{signature}", f"{header}..{signature}", "..", ".", "a.b.c", "abc", f"{header}=.{body}.{signature}",
           f"{header}.{body}==.{signature}", f"{header}.{body}.{signature}=", good.replace("_", "/").replace("-", "+"), f"{header}.{body} .{signature}",
           f"{header}.{body}.{signature} x", f"{header}.{body}.%41{signature[1:]}", f"{header}.{body}.{b64(b'')}", f"{header}.{body}.{b64(bytes(32))}",
           f"{header}.{part(claims(sub='eve'))}.{signature}", f"{part({'alg': 'HS256', 'x': 1})}.{body}.{signature}", "\"" + good + "\""]
    # Two more bits than the bytes need: a lenient reader takes four texts for one signature.
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    bad += [good[:-1] + letters[letters.index(good[-1]) + i] for i in (1, 2, 3)]
    for token in bad:
        assert judge(host, token) == 401, token
    assert judge(host, "a" * 8193) == 401 and judge(host, hs256(claims(x="a" * 6200))) == 401  # of more than 8192 characters
    assert judge(host, hs256(claims(x="a" * 5900))) == 101


# --- where they are -----------------------------------------------------------------------------------------------------------

PLACES = {
    "header": (lambda t: dict(headers=bearer(t))),
    "lower": (lambda t: dict(headers=[("authorization", f"bearer   {t} ")])),
    "cookie": (lambda t: dict(headers=[("Cookie", f"a=1; session={t}; b=2")])),
    "first cookie": (lambda t: dict(headers=[("Cookie", f"session={t}; b=2")])),
    "last cookie": (lambda t: dict(headers=[("Cookie", "a=1"), ("Cookie", f"b=2;session={t}")])),
    "only cookie": (lambda t: dict(headers=[("Cookie", f"session={t}"), ("X-After", "1")])),
    "query": (lambda t: dict(target=f"/hs?a=1&token={t}&b=2")),
    "first of query": (lambda t: dict(target=f"/hs?token={t}&b=2")),
    "last of query": (lambda t: dict(target=f"/hs?b=2&token={t}")),
    "absolute": (lambda t: dict(target=f"http://localhost/hs?token={t}&b=2")),
    "subprotocol": (lambda t: dict(subprotocols=["a", f"tova.jwt.{t}", "b"])),
    "last subprotocol": (lambda t: dict(subprotocols=["a", f"tova.jwt.{t}"])),
    "only subprotocol": (lambda t: dict(subprotocols=[f"tova.jwt.{t}"])),
    "marked subprotocol": (lambda t: dict(subprotocols=[f"tova.jwt.{t}", "tova.jwt"])),
}


@pytest.mark.parametrize("place", PLACES)
def test_nobody_sees_the_token(host, place):
    """Neither the handler, in whatever form it asks, nor the log."""
    token = hs256(claims(**WHO))
    mark = len(host.lines)
    request, chosen = seen(host, **PLACES[place](token))
    assert json.loads(request["claims"]) == {**claims(**WHO), "exp": json.loads(request["claims"])["exp"]} and request["subject"] == "ada"
    assert "\n" not in request["claims"]
    assert not any(piece in json.dumps(request) for piece in token.split(".")), request
    assert chosen == ("tova.jwt" if place == "marked subprotocol" else None)
    left = {"cookie": [["a", "1"], ["b", "2"]], "first cookie": [["b", "2"]], "last cookie": [["a", "1"], ["b", "2"]]}
    assert request["cookies"] == left.get(place, [])
    queries = {"query": "a=1&b=2&request=1", "first of query": "b=2&request=1", "last of query": "b=2&request=1", "absolute": "b=2&request=1"}
    assert request["query"] == queries.get(place, "request=1")
    offered = {"subprotocol": ["a", "b"], "last subprotocol": ["a"], "marked subprotocol": ["tova.jwt"]}
    assert request["subprotocols"] == offered.get(place, [])
    names = [name.lower() for name, _ in request["headers"]]
    assert "authorization" not in names and ("cookie" in names) == (place in left) and ("x-after" in names) == (place == "only cookie")
    assert ("sec-websocket-protocol" in names) == (place in offered)
    host.wait_log(lambda line: line.get("kind") == "conn.close", after=mark)
    assert host.wait_log(lambda line: line.get("kind") == "conn.open", after=mark)["subject"] == "ada"
    assert not any(piece in json.dumps(line) for line in host.lines[mark:] for piece in token.split("."))


def test_a_handler_that_chooses_a_subprotocol_has_it(host):
    with connect("127.0.0.1", host.port, "/hs?sub=b", subprotocols=["tova.jwt", f"tova.jwt.{hs256(claims())}", "b"]) as ws:
        assert ws.subprotocol == "b"


def test_a_token_alone_in_the_query_leaves_none(host):
    with WebSocket("127.0.0.1", host.port) as ws:
        ws.handshake(f"/hs?token={hs256(claims())}")
        ws.send_text("send still here")
        assert ws.recv_text() == "still here"


def test_frames_right_behind_a_request_with_a_token(host):
    with connect("127.0.0.1", host.port, "/hs", headers=bearer(hs256(claims())), behind=frame(TEXT, "send first") + frame(TEXT, "send second")) as ws:
        assert [ws.recv_text(), ws.recv_text()] == ["first", "second"]


def test_one_token_at_most(host):
    """Of several, some may be somebody else's, put there by another page or proxy."""
    token, other = hs256(claims()), hs256(claims(sub="eve"))
    for second in (other, token, "x"):
        for headers, target in (([("Authorization", f"Bearer {second}"), *bearer(token)], "/hs"), ([*bearer(token), ("Cookie", f"session={second}")], "/hs"),
                                ([("Cookie", f"session={token}; session={second}")], "/hs"), (bearer(token), f"/hs?token={second}"),
                                ([], f"/hs?token={token}&token={second}")):
            refused = answer(host, headers, target)
            assert refused.status == 400 and 'error="invalid_request"' in refused.get("WWW-Authenticate"), (headers, target)
    assert answer(host, bearer(token), subprotocols=[f"tova.jwt.{other}"]).status == 400
    assert answer(host, [*bearer(token), ("Cookie", "session=; session")], "/hs?token=&token").status == 101


def test_elsewhere_is_nowhere(host, keys):
    """A place that was not named does not count, nor hurt."""
    token = keys.sign("rsa", claims(), "RS256")
    assert answer(host, target=f"/rs?token={token}").status == 401
    assert answer(host, [("Cookie", f"session={token}")], target="/rs").status == 401
    assert answer(host, [*bearer(token), ("Cookie", "session=x")], target="/rs?token=y").status == 101
    for headers in ([("Authorization", "Basic YTpi")], [("Authorization", f"Bearer{token}")], [("X-Authorization", f"Bearer {token}")],
                    [("Cookie", f"sessions={token}")], [("Cookie", f"Session={token}")], [("Cookie", f"session {token}")]):
        assert answer(host, headers).status == 401, headers
    assert answer(host, [("Authorization", "Basic YTpi"), ("Cookie", f"session={hs256(claims())}")]).status == 101


# --- refusals -------------------------------------------------------------------------------------------------------------------

def test_what_a_refusal_says(host):
    refused = answer(host)
    assert refused.status == 401 and refused.get("WWW-Authenticate") == 'Bearer realm="tova"' and refused.get("Connection") == "close"
    refused = answer(host, bearer(hs256(claims(exp=later(-600), sub="eve"))))
    assert refused.get("WWW-Authenticate") == 'Bearer realm="tova", error="invalid_token", error_description="the token has expired"'
    assert answer(host, bearer(hs256(claims(aud="x")))).get("WWW-Authenticate") is None
    assert answer(host, target="/nowhere").status == 404
    assert answer(host, [("Origin", "http://evil.example"), *bearer(hs256(claims()))]).status == 403


def test_no_claims_where_no_token_is_asked_for(host):
    token = hs256(claims())
    request, _ = seen(host, f"/open?token={token}", headers=bearer(token))
    assert request["claims"] is None and request["subject"] is None and ["Authorization", f"Bearer {token}"] in request["headers"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_callback_knows_whose_connection_it_is(keys, kind):
    """Also in a run of messages, and in timers."""
    who = 'a "b" ü'
    with Host("-p", f"/={plugin('probe')}", "--jwt-key", f"{keys.folder}/secret", *kind_args(kind)) as host:
        with connect("127.0.0.1", host.port, "/?" + opened("whose"), headers=bearer(hs256(claims(sub=who)))) as ws, \
                connect("127.0.0.1", host.port, "/?" + opened("whose"), headers=bearer(hs256(claims(sub=None)))) as nobody:
            assert json.loads(ws.recv_text()) == who
            assert nobody.recv_text() == "null"
            for _ in range(40):
                ws.send_text("whose")
                nobody.send_text("whose")
            for _ in range(40):
                assert json.loads(ws.recv_text()) == who
                assert nobody.recv_text() == "null"
            ws.send_text("on timer whose\nwstimer me t 1 10 0")
            assert json.loads(ws.recv_text()) == who
            ws.end()
            nobody.end()


# --- the end of a token -----------------------------------------------------------------------------------------------------------

@unhurried
def test_a_connection_ends_with_its_token(keys, ms):
    with Host("-p", f"/={plugin('probe')}", "--jwt-key", f"{keys.folder}/secret", "--jwt-leeway", "0", "--jwt-no-expiry", "--threads", "2") as host:
        with connect("127.0.0.1", host.port, headers=bearer(hs256(claims(exp=later(2 * ms.times))))) as ws, \
                connect("127.0.0.1", host.port, headers=bearer(hs256({}))) as other, \
                connect("127.0.0.1", host.port, headers=bearer(hs256(claims(exp=later(2 * ms.times))))) as gone, \
                connect("127.0.0.1", host.port, headers=bearer(hs256(claims(exp=9007199254740991)))) as far:
            gone.end()
            ws.send_text("send here")
            assert ws.recv_text() == "here"
            ws.expect_closed(1008, "the token has expired")
            for open_still in (other, far):
                open_still.send_text("send here")
                assert open_still.recv_text() == "here"


def test_keys_are_read_again(keys, tmp_path):
    file = tmp_path / "key"
    file.write_bytes(SECRET)
    os.chmod(file, 0o644)
    changed = lambda line: line.get("kind") == "reload"  # noqa: E731
    with Host("-p", f"/={plugin('probe')}", "--jwt-key", file) as host:
        assert any(line.get("level") == "warn" and "can read a secret" in line["message"] for line in host.lines)
        bad = hs256(claims(exp=later(-60)))
        assert judge(host, bad, "/") == 401 and answer(host, target=f"/?token={bad}").status == 401
        line = host.wait_log(lambda line: line.get("message") == "the token has expired")
        assert (line["kind"], line["status"], line["remote"]) == ("upgrade", 401, "127.0.0.1")
        host.wait_log(lambda line: line.get("message") == "a token is needed")
        assert not any(piece in host.log_text() for piece in bad.split("."))
        host.expect(lambda line: line.get("kind") == "reload" and "too short" in line.get("error", ""))
        token, new = hs256(claims()), hs256(claims(), key=b"another secret, also 32 bytes long")
        with connect("127.0.0.1", host.port, headers=bearer(token)) as ws:
            file.write_bytes(b"short")
            host.wait_log(lambda line: changed(line) and "too short" in line.get("error", ""), after=host.reload())
            assert (judge(host, token, "/"), judge(host, new, "/")) == (101, 401)
            file.write_bytes(b"another secret, also 32 bytes long\n")
            host.wait_log(lambda line: changed(line) and line["message"] == "the keys of tokens were read again", after=host.reload())
            assert (judge(host, token, "/"), judge(host, new, "/")) == (401, 101)
            ws.send_text("send here")
            assert ws.recv_text() == "here"


# --- what an operator gets wrong -----------------------------------------------------------------------------------------------

def jwk(_):
    return b' {"keys":[{"kty":"RSA","e":"AQAB","n":"' + b"x" * 300 + b'"}]}'


KEY_FILES = [
    (lambda k: (k / "rsa.key").read_bytes(), "a private key"), (lambda k: (k / "ec.key").read_bytes(), "a private key"),
    (lambda k: (k / "rsa1024.pem").read_bytes(), "an RSA key of 1024 bits is too short; expected at least 2048"),
    (lambda k: (k / "ec384.pem").read_bytes(), "secp384r1; expected P-256"), (lambda k: (k / "ed.pem").read_bytes(), "type ED25519; expected RSA or EC"),
    (lambda k: (k / "rsa.pem").read_bytes() + (k / "rsa.key").read_bytes(), "a private key"),
    (lambda k: b"\n".join((k / "ec.pem").read_text().encode().split(b"\n")[1:-2]), "a key without its PEM lines"),
    (lambda k: b"".join((k / "rsa.pem").read_text().encode().split(b"\n")[1:-2]), "a key without its PEM lines"),
    (lambda k: base64.b64decode("".join((k / "rsa.pem").read_text().split("\n")[1:-2])), "a key without its PEM lines"),
    (lambda k: openssl("pkey", "-in", k / "ec.key", "-outform", "DER"), "a key without its PEM lines"),
    (lambda k: openssl("req", "-x509", "-new", "-key", k / "rsa.key", "-subj", "/CN=a", "-outform", "DER"), "a key without its PEM lines"),
    (lambda k: openssl("rsa", "-pubin", "-in", k / "rsa.pem", "-RSAPublicKey_out", "-outform", "DER"), "a key without its PEM lines"),
    (lambda k: b"-----BEGIN PUBLIC KEY-----\nrubbish\n-----END PUBLIC KEY-----\n", "expected public keys"),
    (lambda k: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "expected public keys"),
    (lambda k: b"-----BEGIN ", "expected public keys"), (lambda k: b"", "a secret of 0 bytes is too short; expected at least 32"),
    (lambda k: b"x" * 31 + b"\n", "a secret of 31 bytes"), (lambda k: b"x" * 31 + b"\r\n", "a secret of 31 bytes"), (jwk, "JSON"),
    (lambda k: b"ssh-rsa " + b"A" * 60, "a key in another form"), (lambda k: b"x" * 65537, "too large"),
    (lambda k: (k / "rsa.pem").read_bytes() * 9, "too many keys")]


@pytest.mark.parametrize("i", range(len(KEY_FILES)))
def test_wrong_key_files(keys, tmp_path, i):
    make, said = KEY_FILES[i]
    file = tmp_path / "key"
    file.write_bytes(make(keys.folder))
    for more in ([], ["--check"]):
        code, text = refuse("--jwt-key", f"/={file}", *more)
        assert code == 2 and f"--jwt-key: {file}: " in text and said in text, text


@pytest.mark.parametrize("arguments, said", [
    (["--jwt-key", "/nowhere"], "--jwt-key: /nowhere: it can not be read: No such file"), (["--jwt-key", "/"], "it can not be read: Is a directory"),
    (["--jwt-key", "/dev/null"], "it can not be read: no file"), (["--jwt-from", "header"], "--jwt-from: \"header\" needs --jwt-key"),
    (["--jwt-key", "{secret}", "--jwt-from", "body"], "--jwt-from: body: \"body\" is no place of a token; expected header, subprotocol"),
    (["--jwt-key", "{secret}", "--jwt-from", "cookie="], "\"cookie=\" is no place"), (["--jwt-key", "{secret}", "--jwt-from", "query=a&b"], "no place"),
    (["--jwt-key", "{secret}", "--jwt-from", "header,cookie=a,header"], "\"header\" is given twice"),
    (["--jwt-key", "{secret}", "--jwt-audience", "a,,b"], "--jwt-audience: a,,b: an element of the list is empty; expected one or more, with commas between them"),
    (["--jwt-key", "{secret}", "--jwt-issuer", ","], "--jwt-issuer: ,: an element of the list is empty; expected one or more, with commas between them"),
    (["--jwt-key", "{secret}", "--jwt-leeway", "2h"], "--jwt-leeway"), (["--jwt-key", "/z={secret}"], "there is no mount /z")])
def test_wrong_options(keys, arguments, said):
    code, text = refuse(*[a.format(secret=keys.folder / "secret") for a in arguments])
    assert code == 2 and said in text, text


def refuse(*arguments):
    done = subprocess.run([str(BUILD / "tova-host"), "-p", f"/={plugin('probe')}", "-l", "127.0.0.1:0", *map(str, arguments)],
                          capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_binary_secret_keeps_its_last_byte(tmp_path):
    secret = bytes(range(200, 232)) + b"\n"
    (tmp_path / "key").write_bytes(secret)
    with Host("-p", f"/={plugin('probe')}", "--jwt-key", tmp_path / "key") as host:
        assert (judge(host, hs256(claims(), key=secret), "/"), judge(host, hs256(claims(), key=secret[:-1]), "/")) == (101, 401)
