"""Distributed traces (W3C Trace Context): --trace-sample and --trace-file, and what handlers of each kind are told."""
import json
import re
import shutil
import signal
import subprocess

import pytest

from api import Api, address
from control import stats
from probe import KINDS, Probe, kind_args, plugin
from tova_host import BUILD, IMPATIENT, PATIENCE, ROOT, Host, wait_until
from wsclient import connect

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
FORM = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01])")

PYTHON = """import json, sys
sys.path.insert(0, {path!r})
from tova import serve
def on_open(ws):
    ws.send(json.dumps([ws.request.header("traceparent"), ws.request.header("tracestate"), ws.traceparent, ws.tracestate]))
def on_message(ws, message):
    if message == "die": raise SystemExit(9)
    ws.send(json.dumps([ws.traceparent, ws.tracestate]))
serve({{"on_open": on_open, "on_message": on_message}})
"""
NODE = """import {{ serve }} from {path!r};
await serve({{
	on_open: (ws) => ws.send(JSON.stringify([ws.request.header("traceparent") ?? null, ws.request.header("tracestate") ?? null, ws.traceparent, ws.tracestate])),
	on_message: (ws) => ws.send(JSON.stringify([ws.traceparent, ws.tracestate])),
}});
"""
TOVA = """server { ws {
  on_open fn(ws) { ws.send([ws.request.headers.traceparent, ws.request.headers.tracestate, ws.traceparent, ws.tracestate]) }
  on_message fn(ws, message) { ws.send([ws.traceparent, ws.tracestate]) }
} }
"""
SCRIPT = """printf '["%s","%s","%s","%s"]\\n' "$HTTP_TRACEPARENT" "$HTTP_TRACESTATE" "$TRACEPARENT" "$TRACESTATE"; while read -r line; do printf '["%s","%s"]\\n' "$TRACEPARENT" "$TRACESTATE"; done"""


def ready(host):
    """Its worker, if it has one, asks for no upgrades: until it has said so they wait for it."""
    if "--worker" in host.args:
        host.wait_log(lambda line: line.get("message") == "a worker is ready", "the worker")
    return host


def headers(parent=PARENT, state="vendor=1,other=2"):
    return [(name, value) for name, value in (("traceparent", parent), ("tracestate", state)) if value is not None]


def handler(kind, folder):
    if kind == "python":
        (folder / "worker.py").write_text(PYTHON.format(path=str(ROOT / "sdk/python")))
        return ["--worker", f"exec python3 -B {folder}/worker.py"]
    if kind == "node":
        (folder / "worker.mjs").write_text(NODE.format(path=str(ROOT / "sdk/node/index.mjs")))
        return ["--worker", f"exec node {folder}/worker.mjs"]
    if kind == "script":
        return ["--script", SCRIPT]
    (folder / "program.tova").write_text(TOVA)
    return [folder / "program.tova"]


@pytest.mark.parametrize("kind", ["python", "node", "script", "tova"])
@pytest.mark.parametrize("sample", ["1", "0"], ids=["sampled", "not sampled"])
def test_what_handlers_are_told(tmp_path, kind, sample):
    """The trace that the request named, with a span of the host's for the connection; and of one that is sampled a span of its own for each event."""
    if kind == "node" and shutil.which("node") is None:
        pytest.skip("needs node")
    flag = "01" if sample == "1" else "00"
    with Host(*handler(kind, tmp_path), "--trace-sample", sample, *IMPATIENT) as host, connect("127.0.0.1", ready(host).port, "/", headers=headers()) as ws:
        header, state, of_open, of_open_state = json.loads(ws.recv_text())
        assert state == of_open_state == "vendor=1,other=2"
        parents = [header, of_open]
        for text in ("one", "two"):
            ws.send_text(text)
            parent, state = json.loads(ws.recv_text())
            assert state == "vendor=1,other=2"
            parents.append(parent)
        found = [FORM.fullmatch(parent).groups() for parent in parents]
        assert {trace for trace, _, _ in found} == {TRACE} and {flags for _, _, flags in found} == {flag} and SPAN not in {span for _, span, _ in found}
        assert len({span for _, span, _ in found}) == (4 if sample == "1" and kind != "script" else 1)


@pytest.mark.parametrize("kind", KINDS)
def test_plugins(kind):
    """In the host's process and in a worker's."""
    with Host("--plugin", f"/p={plugin('probe')}", "--plugin", f"/off={plugin('probe')}", *kind_args(kind), "--trace-sample", "/p=1", *IMPATIENT) as host, Probe(host, "/p") as opener, Probe(host, "/off") as off:
        ws = opener.client(headers=headers())
        one, two = ws.ask_json("trace"), ws.ask_json("trace")
        assert (one["tracestate"], FORM.fullmatch(one["traceparent"])[1]) == ("vendor=1,other=2", TRACE)
        assert FORM.fullmatch(two["traceparent"])[1] == TRACE and one["traceparent"] != two["traceparent"]
        made = opener.client().ask_json("trace")
        assert FORM.fullmatch(made["traceparent"])[1] != TRACE and made["tracestate"] == ""
        assert off.client(headers=headers()).ask_json("trace") == {"known": False, "traceparent": "", "tracestate": ""}


@pytest.mark.parametrize("parent", ["", "00-0-0-01", PARENT.upper(), PARENT + "-more", "ff" + PARENT[2:], PARENT.replace(TRACE, "0" * 32), PARENT.replace(SPAN, "0" * 16), PARENT + ", " + PARENT, "\xe4" * 55, "x" * 5000], ids=lambda parent: parent[:60].encode().hex()[:60])
def test_what_is_none_is_replaced(tmp_path, parent):
    """And with it goes the state beside it."""
    with Host(*handler("tova", tmp_path), "--trace-sample", "0", *IMPATIENT) as host, connect("127.0.0.1", ready(host).port, "/", headers=headers(parent)) as ws:
        header, state, of_open, of_open_state = json.loads(ws.recv_text())
        assert header == of_open and FORM.fullmatch(header)[1] != TRACE and state is None and of_open_state is None


def test_a_request_is_as_it_was_otherwise(tmp_path):
    """Its other headers come in their order; a head that has no room for another is left alone."""
    (tmp_path / "program.tova").write_text("server { ws { on_open fn(ws) { ws.send(ws.request) } } }")
    more = [(f"X-{n}", "a b,  c") for n in range(20)]
    with Host(tmp_path / "program.tova", *IMPATIENT) as plain, Host(tmp_path / "program.tova", "--trace-sample", "1", *IMPATIENT) as traced:
        said = []
        for host in (plain, traced):
            with connect("127.0.0.1", host.port, "/?a=%20b", headers=[*headers(), *more, ("Cookie", "a=b; c=d")], subprotocols=["one", "two"]) as ws:
                said.append(json.loads(ws.recv_text()))
        for one in said:
            for name in ("remote_port", "local_port", "remote", "local"):
                one.pop(name, None)
        texts = [re.sub(r"127\.0\.0\.1:\d+|00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]|[\w+/]{22}==", "", json.dumps(one, sort_keys=True)) for one in said]
        assert texts[0] == texts[1]
        with connect("127.0.0.1", traced.port, "/", headers=[(f"Y-{n}", "y") for n in range(100 - 5)]) as ws:
            assert "Y-94" in ws.recv_text().title()


def test_redelivered_events_are_the_same_span(tmp_path):
    """Whoever is given it again is told what the one before was."""
    host_args = handler("python", tmp_path)
    (tmp_path / "worker.py").write_text((tmp_path / "worker.py").read_text().replace('if message == "die": raise SystemExit(9)', f"""if message == "die":
        import os
        with open({str(tmp_path / "seen")!r}, "a") as f: f.write(ws.traceparent + "\\n")
        if len(open({str(tmp_path / "seen")!r}).readlines()) == 1: os._exit(9)"""))
    with Host(*host_args, "--trace-sample", "1", *IMPATIENT) as host, connect("127.0.0.1", ready(host).port, "/", headers=headers()) as ws:
        host.expect(lambda line: line.get("kind") == "worker")
        ws.recv_text()
        ws.send_text("die")
        parent = json.loads(ws.recv_text())[0]
        assert (tmp_path / "seen").read_text().splitlines() == [parent, parent]


def test_messages_that_come_together(tmp_path):
    """A run has one place for all; of a sampled connection each is told apart."""
    with Host(*handler("python", tmp_path), "--trace-sample", "1", *IMPATIENT) as host, connect("127.0.0.1", ready(host).port, "/", headers=headers()) as ws:
        ws.recv_text()
        for _ in range(50):
            ws.send_text("x")
        assert len({json.loads(ws.recv_text())[0] for _ in range(50)}) == 50


# --- what is written down -----------------------------------------------------------------------------------------------------

def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_trace_file(tmp_path):
    """A line for each point, of sampled connections only; opened again after it was moved away."""
    out = tmp_path / "trace"
    with Host("--plugin", f"/p={plugin('probe')}", "--plugin", "/e=echo", "--trace-sample", "/p=1", "--trace-sample", "/e=0", "--trace-file", out, *IMPATIENT) as host, Probe(host, "/p") as opener:
        ws = opener.client(headers=headers())
        conn = ws.id
        ws.script("join tea", "send done")
        assert ws.recv_text() == "done"
        with connect("127.0.0.1", host.port, "/e", headers=headers()) as other:
            other.send_text("x")
            other.recv_text()
        lines = wait_until(lambda: (found := [line for line in lines_of(out) if line["event"] == "message" and line["commands"] == 2]) and found, "it is written down")
        assert {line["kind"] for line in lines_of(out)} == {"trace"} and {line["mount"] for line in lines_of(out)} == {"/p"}
        assert lines[0]["conn"] == conn and FORM.fullmatch(lines[0]["traceparent"])[1] == TRACE
        out.rename(tmp_path / "before")
        host.signal(signal.SIGUSR1)
        wait_until(out.exists, "it is opened again")
        ws.settle()
        wait_until(lambda: lines_of(out), "lines go on there")


def test_what_is_kept_is_told_first(tmp_path):
    """A story from its beginning, though nobody looked: over HTTP, of one connection, a mount or a user."""
    with Host("--plugin", f"/p={plugin('probe')}", "--trace-sample", "1", "--api", "127.0.0.1:0", *IMPATIENT) as host, Probe(host, "/p") as opener:
        one, two = opener.client(headers=headers()), opener.client()
        one.settle()
        two.settle()
        with Api(host) as api:
            def told(query):
                answer = api.ask("GET", f"/api/v1/trace?for=0&{query}")
                assert answer.status == 200
                return [json.loads(line) for line in answer.body.decode().splitlines()]
            mine = told(f"conn={one.id}")
            assert [line["point"] for line in mine if line["event"] == "open"][:3] == ["given", "acknowledged", "committed"]
            assert {line["conn"] for line in mine} == {one.id} and {FORM.fullmatch(line["traceparent"])[1] for line in mine} == {TRACE}
            assert {line["conn"] for line in told("mount=/p")} == {one.id, two.id} and told("user=anna") == []
            for _ in range(300):
                two.settle()
            assert len(told("mount=/p")) == 512  # the last ones


def test_log_lines_name_the_trace(tmp_path):
    """Those about a connection, and that of the access log."""
    access = tmp_path / "access"
    with Host("--plugin", f"/p={plugin('probe')}", "--trace-sample", "1", "--access-log", access, "--log-level", "debug", *IMPATIENT) as host, Probe(host, "/p") as opener:
        ws = opener.client(headers=headers())
        asked = host.wait_log(lambda line: line.get("asked") == PARENT, "whom the client named")
        assert FORM.fullmatch(asked["traceparent"])[1] == TRACE
        ws.end()
        for message in ("connection opened", "connection ended"):
            assert host.wait_log(lambda line, message=message: line.get("message") == message and line.get("conn"), message)["trace_id"] == TRACE
        wait_until(lambda: access.exists() and TRACE in access.read_text(), "the access log")


def test_what_is_sampled_is_a_share(tmp_path):
    """Which is not a client's choice: its own flag decides nothing."""
    with Host("--plugin", f"/p={plugin('probe')}", "--trace-sample", "0.5", *IMPATIENT) as host, Probe(host, "/p") as opener:
        flags = [FORM.fullmatch(opener.client(headers=headers()).ask_json("trace")["traceparent"])[3] for _ in range(60)]
        assert 5 < flags.count("01") < 55  # less likely to be otherwise than one in 10^10


def test_a_reload_begins_and_ends_it(tmp_path):
    config = tmp_path / "config"
    text = f'mount = ( {{ path = "/p"; plugin = "{plugin("probe")}"; }} );\ncontrol = "{tmp_path}/control";\n'
    config.write_text(text)
    with Host("--config", config, *IMPATIENT) as host, Probe(host, "/p") as opener:
        def known(value):
            config.write_text(text + (f'trace-sample = "{value}";\n' if value else ""))
            host.reload()
            return lambda expected: wait_until(lambda: opener.client(headers=headers()).ask_json("trace")["known"] == expected, f"{value}: {expected}")
        assert opener.client(headers=headers()).ask_json("trace")["known"] is False
        known("1")(True)
        known("")(False)
        assert stats(tmp_path / "control")["connections"] >= 3


@pytest.mark.parametrize("value", ["2", "1.1", "-1", "0.", ".5", "1e-3", "0.0000001", "x", "0,5", "/p=2"])
def test_values_that_are_none(value):
    done = subprocess.run([BUILD / "tova-host", "--plugin", f"/p={plugin('probe')}", "--trace-sample", value, "--check"], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 2 and "trace-sample" in done.stderr and "expected 0 to 1" in done.stderr, done
