"""What a token says reaches every other kind of handler, and the token none: a plugin of its own process, workers, scripts."""
import json
import os

import pytest

from probe import plugin
from tokens import SECRET, claims, hs256
from tova_host import IMPATIENT, ROOT, Host
from wsclient import connect

WORKER = """
import sys; sys.path.insert(0, "sdk/python")
from tova import serve
class Handlers:
    def on_upgrade(request):
        pass
    def on_open(ws):
        r = ws.request
        ws.send({"claims": r.claims, "query": r.query, "headers": r.headers, "cookies": r.cookies, "subprotocols": r.subprotocols})
serve({"on_upgrade": Handlers.on_upgrade, "on_open": Handlers.on_open})
"""
SCRIPT = r'printf "%s\n" "$AUTH_TYPE" "$REMOTE_USER" "$TOVA_CLAIMS"; env | tr "\n" " "; echo; cat >/dev/null'


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "secret").write_bytes(SECRET)
    os.chmod(folder / "secret", 0o600)
    (folder / "worker.py").write_text(WORKER)
    with Host("--isolate", "-p", f"/plugin={plugin('probe')}", "-w", f"/worker=python3 {folder}/worker.py", "-x", f"/script={SCRIPT}",
              "-x", f"/open={SCRIPT}", "--jwt-key", folder / "secret", "--jwt-key", "/open=",
              "--jwt-from", "header,cookie=session,query=token,subprotocol", *IMPATIENT, cwd=ROOT) as running:
        yield running


WHO = {"sub": "ada ü\n", "roles": ["a", {"b": [1, 2.5, None, True]}], "text": "\"\\ \u2028 𝄞"}


def carried(token):
    return [{"headers": [("Authorization", f"Bearer {token}"), ("X", "1")]}, {"headers": [("Cookie", f"a=b; session={token}"), ("X", "1")]},
            {"subprotocols": ["tova.jwt", f"tova.jwt.{token}"]}]


def test_a_plugin_in_its_own_process(host):
    for how in carried(hs256(claims(**WHO))):
        with connect("127.0.0.1", host.port, "/plugin?request=1", **how) as ws:
            seen = ws.recv_text()
            assert {name: json.loads(json.loads(seen)["claims"])[name] for name in WHO} == WHO and json.loads(seen)["subject"] == WHO["sub"]
            assert "eyJ" not in seen and ws.subprotocol == ("tova.jwt" if "subprotocols" in how else None)


def test_a_worker_that_is_asked_before(host):
    for how in carried(hs256(claims(**WHO))):
        with connect("127.0.0.1", host.port, "/worker?a=1", **how) as ws:
            seen = json.loads(ws.recv_text())
            assert {name: seen["claims"][name] for name in WHO} == WHO and "eyJ" not in json.dumps(seen) and seen["query"] == "a=1"
            assert ws.subprotocol == ("tova.jwt" if "subprotocols" in how else None)


def test_a_script(host):
    token = hs256(claims(sub="ada", roles=["x"]))
    with connect("127.0.0.1", host.port, f"/script?token={token}&a=1") as ws:
        assert (ws.recv_text(), ws.recv_text()) == ("Bearer", "ada")
        assert json.loads(ws.recv_text())["roles"] == ["x"]
        environment = ws.recv_text()
        assert "QUERY_STRING=a=1 " in environment and "REQUEST_URI=/script?a=1 " in environment and token[:20] not in environment
    with connect("127.0.0.1", host.port, "/open", headers=[("Remote-User", "eve"), ("Tova-Claims", "{}")]) as ws:
        assert [ws.recv_text() for _ in range(3)] == ["", "", ""]


# --- in a real browser --------------------------------------------------------------------------------------------------------

CONNECT = """
const [url, protocols] = arguments, done = arguments[arguments.length - 1];
const ws = new WebSocket(url, protocols);
let last = null;
ws.onmessage = (event) => { last ??= event.data; ws.close(); };
ws.onclose = (event) => done({ code: event.code, protocol: ws.protocol, last });
"""


def test_a_browser_offers_its_token_as_a_subprotocol(browse, tmp_path):
    """It ends a connection for which nothing of what it offered was chosen, so the host chooses the name in front of the token."""
    (tmp_path / "key").write_bytes(SECRET)
    os.chmod(tmp_path / "key", 0o600)
    (tmp_path / "page").mkdir()
    (tmp_path / "page/index.html").write_text("<!doctype html><title>token</title>")
    with Host("-p", f"/in={plugin('probe')}", "--static", tmp_path / "page", "--jwt-key", tmp_path / "key", *IMPATIENT) as host:
        page = browse(host.url + "/")
        page.expect_console("WebSocket connection to")
        page.expect_console("favicon")
        url, token = f"{host.ws_url}/in?request=1", hs256(claims())

        def connects(protocols):
            return page.driver.execute_async_script(CONNECT, url, protocols)

        seen = connects(["tova.jwt", f"tova.jwt.{token}"])
        assert seen["protocol"] == "tova.jwt" and json.loads(seen["last"])["subject"] == "ada" and token not in seen["last"]
        assert connects(["tova.jwt", f"tova.jwt.{token[:-4]}AAAA"]) == {"code": 1006, "protocol": "", "last": None}
        assert connects([]) == {"code": 1006, "protocol": "", "last": None}
