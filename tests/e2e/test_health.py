"""Whether the host would take a client, as load balancers ask it: /readyz at the API, and --health PATH where clients connect."""
import json
import os
import signal

import pytest

from api import Api, judge
from supervised import Supervised
from tova_host import BUILD, IMPATIENT, Host, wait_until
from wsclient import Http, connect, http_get

ECHO = ("--plugin", f"{BUILD}/plugins/echo.so")
API = ("--api", "127.0.0.1:0")
HEALTH = ("--health", "/up")


def ready(host):
    """The status at /readyz, and the reasons against it."""
    with Api(host) as api:
        status, said = judge(api.ask("GET", "/readyz"))
    assert said["ready"] == (status == 200) and {c["name"] for c in said["checks"]} == {"listening", "running", "handler"}
    assert all(("reason" in c) != c["ok"] for c in said["checks"])
    return status, [(c.get("mount", c["name"]), c["reason"]) for c in said["checks"] if not c["ok"]]


def up(host, path="/up", method="GET"):
    answer = http_get("127.0.0.1", host.port, path, method=method)
    return answer.status, json.loads(answer.body)["ready"] if answer.status in (200, 503) and answer.body else None


@pytest.mark.parametrize("threads", ["1", "3"])
def test_a_host_that_is_well(threads):
    with Host("--plugin", f"/a={BUILD}/plugins/echo.so", "--plugin", f"/b={BUILD}/plugins/relay.so", "--script", "/c=cat", *API, *HEALTH, "--threads", threads) as host:
        assert ready(host) == (200, [])
        for _ in range(6):  # whichever loop it is
            assert up(host) == (200, True) and up(host, method="HEAD") == (200, None)
        with Http("127.0.0.1", host.port) as http:
            answer = http.request("OPTIONS", "/up")
            assert (answer.status, answer.get("Allow"), answer.get("Content-Length")) == (204, "GET, HEAD, OPTIONS", None)
            answer = http.request("GET", "/up")
            assert answer.get("Cache-Control") == "no-store" and answer.get("Content-Type") == "application/json"
            assert [c.get("mount") for c in json.loads(answer.body)["checks"]] == [None, None, "/a", "/b", "/c"]
            assert http.request("POST", "/up").status == 405
            for other in ("/up/", "/upp", "/u", "/UP", "/healthz", "/readyz"):
                assert http.request("GET", other).status == 404, other
        with Api(host) as api:
            assert api.get("/healthz") == (200, {"alive": True})


def test_the_path_belongs_to_clients_too():
    """What is no upgrade is about health there; upgrades are the mount's."""
    with Host(*ECHO, "--health", "/", *IMPATIENT) as host:
        assert up(host, "/") == (200, True)
        with connect("127.0.0.1", host.port, "/") as ws:
            ws.roundtrip()


@pytest.mark.parametrize("threads", ["1", "2"])
def test_workers(tmp_path, threads):
    """Ready while one is ready."""
    go = tmp_path / "go"
    body = f"def on_start():\n    while not os.path.exists({str(go)!r}): time.sleep(0.02)"
    with Supervised(tmp_path, body, *API, *HEALTH, "--threads", threads).host as host:
        assert ready(host) == (503, [("/", "no worker is ready")])
        wait_until(lambda: up(host) == (503, False), "every loop knows")
        go.touch()
        wait_until(lambda: ready(host) == (200, []), "it is ready")
        wait_until(lambda: up(host) == (200, True), "every loop knows")
        go.unlink()
        for pid in host.children:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: ready(host)[0] == 503, "nobody is ready")
        wait_until(lambda: up(host) == (503, False), "every loop knows")
        go.touch()
        wait_until(lambda: up(host) == (200, True), "another one is")


def test_a_host_that_is_full():
    with Host(*ECHO, *API, "--max-connections", "1", *IMPATIENT) as host:
        assert ready(host) == (200, [])
        with connect("127.0.0.1", host.port) as ws:
            ws.roundtrip()
            (where, reason), = ready(host)[1]
            assert where == "listening" and "accepting is paused" in reason
            ws.end()
        wait_until(lambda: ready(host) == (200, []), "it is not full any more")


def test_a_host_that_stops():
    with Host(*ECHO, *API, *HEALTH, "--drain", "60s", *IMPATIENT) as host:
        clients = [connect("127.0.0.1", host.port) for _ in range(50)]
        host.signal(signal.SIGTERM)
        host.wait_log(lambda line: "stopping" in line.get("message", ""))
        assert ready(host) == (503, [("running", "the host is stopping")]) and up(host) == (503, False)
        with Api(host) as api:
            assert api.get("/healthz")[0] == 200  # it lives
            assert api.post("broadcast", data="last words")[0] == 200
        for ws in clients:
            ws.drop()
        host.signal(signal.SIGTERM)
        assert host.wait_exit() == 0


def test_another_path(tmp_path):
    config = tmp_path / "conf"
    config.write_text('health = "/one";\n')

    def reload(text):
        config.write_text(text)
        host.wait_log(lambda line: line.get("message") == "the settings were read again", after=host.reload())
    with Host(*ECHO, "--config", config) as host:
        assert up(host, "/one") == (200, True)
        reload('health = "/two";\n')
        assert up(host, "/two") == (200, True)
        assert up(host, "/one")[0] == 426
        reload("")
        assert up(host, "/two")[0] == 426
