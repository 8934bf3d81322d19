"""prolong: a connection outlives the token that it came with, if its handler shows another one of the same user."""
import sys
import time

import pytest

from api import Api
from hub import Hub, send
from probe import KINDS, kind_args, plugin
from tokens import SECRET, claims, hs256
from tova_host import ROOT, Host, wait_until
from tova_v1 import Client
from wsclient import connect

THREADS = ["1", "3"]


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    return path


def shows(**more):
    return [("Authorization", "Bearer " + hs256(claims(**more)))]


def prolong(token, **members):
    return {"c": "prolong", "token": token, **members}


@pytest.fixture(params=THREADS)
def hub(tmp_path, key, request):
    with Hub(tmp_path, "--jwt-key", str(key), "--jwt-leeway", "0s", "--api", "127.0.0.1:0", "--threads", request.param) as running:
        with running.worker(claims=True) as running.w:
            yield running


def opened(hub, **more):
    ws = connect("127.0.0.1", hub.host.port, "/", headers=shows(**more))
    event = hub.w.expect("open")
    hub.w.ack(event)
    return ws, event["conn"]


def said(hub, ws, text="?"):
    ws.send_text(text)
    return hub.w.expect("message", data=text)


def over(until):
    wait_until(lambda: time.time() > until, "the token is over")


def test_it_lives_on(hub):
    end = int(time.time()) + 2
    ws, conn = opened(hub, exp=end)
    other, _ = opened(hub, exp=end)
    event = said(hub, ws)
    assert event["claims"]["exp"] == end
    fresh = claims(level=7)
    hub.w.ack(event, prolong(hs256(fresh)), send("done"))
    assert ws.recv_text() == "done"
    other.expect_close(1008)
    hub.w.ack(hub.w.expect("close", code=1008))
    over(end + 1)
    event = said(hub, ws)
    assert event["claims"] == fresh
    hub.w.ack(event, send("still here"))
    assert ws.recv_text() == "still here"


def test_a_shorter_one_ends_it_sooner(hub):
    ws, _ = opened(hub)
    hub.w.ack(said(hub, ws), prolong(hs256(claims(exp=int(time.time()) + 1))))
    ws.expect_close(1008)


@pytest.mark.parametrize("token, why", [
    (lambda: hs256(claims(sub="eve")), "of somebody else"),
    (lambda: hs256(claims(sub=None)), "of somebody else"),
    (lambda: hs256(claims(exp=int(time.time()) - 10)), "not good"),
    (lambda: hs256(claims(), key=b"x" * 32), "not good"),
    (lambda: "rubbish", "not good"),
    (lambda: "", "not good"),
    (lambda: "x" * 9000, "not good"),
], ids=["another subject", "no subject", "over", "another key", "rubbish", "nothing", "too long"])
def test_what_is_not_good_fails_the_event(hub, token, why):
    """With all that was done beside it; the connection and its own token stay."""
    ws, conn = opened(hub)
    hub.w.ack(said(hub, ws), send("before"), prolong(token()))
    error = hub.w.expect("error", conn=conn)
    assert "prolong" in error["error"] and why in error["error"]
    hub.w.ack(error, send("failed"))
    assert ws.recv_text() == "failed"


def test_of_another_connection_and_of_one_that_is_gone(hub):
    end = int(time.time()) + 2
    ws, conn = opened(hub, exp=end)
    gone, ghost = opened(hub)
    gone.end()
    hub.w.ack(hub.w.expect("close"))
    hub.w.send({"t": "push", "ref": 1, "commands": [prolong("rubbish", conn=ghost), prolong(hs256(claims()), conn=conn)]})
    done = hub.w.expect("done", ref=1)
    assert done["receivers"] == 1 and "error" not in done
    over(end + 1)
    hub.w.ack(said(hub, ws), send("here"))
    assert ws.recv_text() == "here"


def test_so_many_of_one_commit(hub):
    ws, _ = opened(hub)
    token = hs256(claims())
    hub.w.ack(said(hub, ws), *[prolong(token)] * 16, send("16"))
    assert ws.recv_text() == "16"
    hub.w.ack(said(hub, ws), *[prolong(token)] * 17)
    hub.w.ack(hub.w.expect("error"), send("17"))
    assert ws.recv_text() == "17"


def test_over_http(hub):
    ws, conn = opened(hub, exp=int(time.time()) + 2)
    api = Api(hub.host)
    assert api.post("prolong", conn=conn, token=hs256(claims(sub="eve")))[0] == 400
    assert api.post("prolong", conn=conn, token="rubbish")[0] == 400
    assert api.post("prolong", conn=conn)[0] == 400
    assert api.post("prolong", conn=conn, token=hs256(claims())) == (200, {"receivers": 1})
    over(int(time.time()) + 2)
    hub.w.ack(said(hub, ws), send("here"))
    assert ws.recv_text() == "here"


def test_where_there_are_no_tokens(tmp_path):
    with Hub(tmp_path) as hub, hub.worker() as w:
        ws = hub.client()
        w.ack(w.expect("open"), prolong(hs256(claims())))
        error = w.expect("error")
        assert "--jwt-key" in error["error"]
        w.ack(error)
        ws.end()


def test_one_that_never_ends(tmp_path, key):
    """It takes the end away that the one before had, whoever shows it: a handler, or the client itself."""
    with Hub(tmp_path, "--jwt-key", str(key), "--jwt-leeway", "0s", "--jwt-no-expiry", "--resume", "30s") as hub, hub.worker() as w:
        hub.w = w
        end = int(time.time()) + 2
        ws, _ = opened(hub, exp=end)
        hub.w.ack(said(hub, ws), prolong(hs256(claims(exp=None))))
        counting = Client(hub.host.port, "/", headers=shows(exp=end))
        hub.w.ack(hub.w.expect("open"))
        counting.say(token=hs256(claims(exp=None)))
        counting.until(lambda c: {"token": "ok", "expires_ms": 0} in c.said)
        over(end + 1)
        hub.w.ack(said(hub, ws), send("here"))
        assert ws.recv_text() == "here"
        counting.send("and here")
        hub.w.ack(hub.w.expect("message", data="and here"))
        counting.settled()


def test_a_script(tmp_path, key):
    script = tmp_path / "script.sh"
    script.write_text('#!/bin/sh\nwhile read -r token; do echo "prolong $token" >&3; echo asked; done\n')
    script.chmod(0o755)
    end = int(time.time()) + 2
    with Host("--script", str(script), "--jwt-key", str(key), "--jwt-leeway", "0s") as host:
        ws = connect("127.0.0.1", host.port, "/", headers=shows(exp=end))
        ws.send_text(hs256(claims()))
        assert ws.recv_text() == "asked"
        over(end + 1)
        ws.send_text("rubbish")
        assert ws.recv_text() == "asked"
        host.wait_log(lambda line: line.get("message") == "a prolong was refused", "what became of it")
        ws.end()


@pytest.mark.parametrize("kind", KINDS)
def test_a_plugin(tmp_path, key, kind):
    end = int(time.time()) + 2
    with Host("--plugin", plugin("probe"), "--jwt-key", str(key), "--jwt-leeway", "0s", *kind_args(kind)) as host:
        ws = connect("127.0.0.1", host.port, "/", headers=shows(exp=end))
        ws.send_text("on error send failed")
        ws.send_text(f"prolong {hs256(claims())}\nsend prolonged")
        assert ws.recv_text() == "prolonged"
        over(end + 1)
        ws.send_text("prolong rubbish\nsend not undone")
        assert ws.recv_text() == "failed"
        ws.send_text("send here")
        assert ws.recv_text() == "here"
        ws.end()


TOVA = """
server {
  ws {
    on_message fn(ws, token) {
      prolong(ws, token)
      ws.send("prolonged")
    }
    on_error fn(ws, error) {
      ws.send("failed")
    }
  }
}
"""


def test_a_program_in_tova(tmp_path, key):
    program = tmp_path / "prolong.tova"
    program.write_text(TOVA)
    end = int(time.time()) + 2
    with Host(str(program), "--jwt-key", str(key), "--jwt-leeway", "0s") as host:
        ws = connect("127.0.0.1", host.port, "/", headers=shows(exp=end))
        ws.send_text(hs256(claims()))
        assert ws.recv_text() == "prolonged"
        over(end + 1)
        ws.send_text("rubbish")
        assert ws.recv_text() == "failed"
        ws.end()


PYTHON = """
import sys; sys.path.insert(0, {sdk!r})
from tova import serve, prolong
def on_message(ws, token):
    ws.send({{"level": (ws.claims or {{}}).get("level")}})
    ws.prolong(token)
def on_error(ws, error): ws.send("failed")
serve(globals())
"""
NODE = """
import {{ serve, prolong }} from "{sdk}/index.mjs";
serve({{ on_message(ws, token) {{ ws.send({{ level: ws.claims?.level ?? null }}); prolong(ws, token); }}, on_error(ws) {{ ws.send("failed"); }} }});
"""


@pytest.mark.parametrize("language", ["python", "node"])
def test_the_libraries(tmp_path, key, language):
    worker = tmp_path / ("worker.py" if language == "python" else "worker.mjs")
    worker.write_text((PYTHON if language == "python" else NODE).format(sdk=str(ROOT / "sdk" / language)))
    run = f"exec {sys.executable} {worker}" if language == "python" else f"exec node {worker}"
    with Host("--worker", run, "--jwt-key", str(key), "--jwt-leeway", "0s") as host:
        host.wait_log(lambda line: line.get("message") == "a worker is ready", "a worker")
        end = int(time.time()) + 3
        ws = connect("127.0.0.1", host.port, "/", headers=shows(exp=end, level=1))
        ws.send_text(hs256(claims(level=2)))
        assert ws.recv_text() == '{"level":1}'
        over(end + 1)
        ws.send_text("rubbish")
        assert ws.recv_text() == "failed"
        ws.send_text(hs256(claims(level=3)))
        assert ws.recv_text() == '{"level":2}'
        ws.end()
