"""The dashboard and the alert rules of host/dist: each metric that they name is one of the host's, Prometheus itself reads them, and asks a
host for what they show."""
import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request

import pytest

from api import TOKENS, Api, address, tokens
from supervised import Supervised
from test_metrics import PART, scrape
from tova_host import ROOT, Host, free_port, wait_until
from wsclient import connect

DIST = ROOT / "host/dist"
RULES = DIST / "prometheus-rules.yml.in"
DASHBOARD = json.loads((DIST / "grafana-dashboard.json.in").read_text())
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool, of Debian's prometheus")
needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus")


def panels():
    """(title, what it asks) of each line of each panel."""
    return [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]


def named(text):
    """Metrics of ours in an expression: with what histograms add taken off."""
    return {PART.sub("", name) if PART.search(name) else name for name in re.findall(r"\btova_\w+", text)}


@pytest.fixture
def known():
    with Host("--plugin", "echo", "--admin", "127.0.0.1:0") as host:
        return scrape(f"http://{address(host, 'admin')}/metrics")[1]


def test_each_metric_is_there(known):
    asked = [(title, expr) for title, expr in panels()]
    asked += [(f"variable {v['name']}", v.get("definition", "")) for v in DASHBOARD["templating"]["list"]]
    asked += [("a rule", line) for line in RULES.read_text().splitlines() if "expr:" in line]
    assert len(asked) > 40 and sum("a rule" in a for a, _ in asked) >= 10
    for where, expr in asked:
        for name in named(expr):
            assert name in known, f"{where}: there is no {name}"
    for _, expr in asked:  # what only goes up is asked for its rate, what goes up and down is not
        for name in re.findall(r"(?:rate|increase)\((tova_\w+)", expr):
            assert name.endswith(("_total", "_bucket")), expr


def test_the_dashboard_is_one():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids) >= 15 and DASHBOARD["uid"] == "tova-host"
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
        assert panel["description"] and len({t["refId"] for t in panel["targets"]}) == len(panel["targets"])


@needs_promtool
def test_promtool(known, tmp_path):
    done = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "10 rules found" in done.stdout, done.stdout + done.stderr
    with Host("--plugin", "/a=echo", "--plugin", "/b=chat", "--admin", "127.0.0.1:0") as host:
        for path in ("/a", "/b"):
            ws = connect("127.0.0.1", host.port, path)
            ws.send_text("x")
            ws.drop()
        text = urllib.request.urlopen(f"http://{address(host, 'admin')}/metrics").read()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    said = [line for line in (done.stdout + done.stderr).decode().splitlines() if line]
    assert done.returncode in (0, 3) and all("metric names should not contain abbreviated units" in line or "no help text" in line for line in said), said


ALERTS = """
rule_files: [%s]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'tova_mount_ready{mount="/chat",instance="a"}', values: '1 1 0 0 0 0'}
      - {series: 'tova_deploy_failed{mount="/chat",instance="a"}', values: '0 0 1 1 1 0'}
      - {series: 'tova_quarantined_total{instance="a"}', values: '0 0 0 0 1 1'}
      - {series: 'tova_event_seconds_bucket{mount="/chat",event="message",instance="a",le="1"}', values: '0+1x30'}
      - {series: 'tova_event_seconds_bucket{mount="/chat",event="message",instance="a",le="4"}', values: '0+10x30'}
      - {series: 'tova_event_seconds_bucket{mount="/chat",event="message",instance="a",le="+Inf"}', values: '0+10x30'}
      - {series: 'tova_refusals_total{status="503",instance="a"}', values: '0+600x30'}
      - {series: 'tova_refusals_total{status="401",instance="a"}', values: '0+600x30'}
    alert_rule_test:
      - {eval_time: 1m, alertname: TovaMountWithoutHandler, exp_alerts: []}
      - eval_time: 4m
        alertname: TovaMountWithoutHandler
        exp_alerts:
          - exp_labels: {severity: critical, mount: /chat, instance: a}
            exp_annotations: {summary: "Nobody handles /chat at a: events are held", description: "Its workers do not come up. Look at tova-ctl workers, and at the log for what they say."}
      - eval_time: 3m
        alertname: TovaDeployFailed
        exp_alerts:
          - exp_labels: {severity: warning, mount: /chat, instance: a}
            exp_annotations: {summary: "The new handler of /chat at a did not come up, the old one goes on", description: "tova-ctl mounts says why."}
      - {eval_time: 5m, alertname: TovaDeployFailed, exp_alerts: []}
      - {eval_time: 3m, alertname: TovaEventsQuarantined, exp_alerts: []}
      - eval_time: 5m
        alertname: TovaEventsQuarantined
        exp_alerts:
          - exp_labels: {severity: warning, instance: a}
            exp_annotations: {summary: "Workers at a died of events, which were set aside", description: "tova-ctl dead-letter list has them; replay gives them back."}
      - {eval_time: 5m, alertname: TovaEventsSlow, exp_alerts: []}
      - eval_time: 20m
        alertname: TovaRefuses
        exp_alerts:
          - exp_labels: {severity: warning, status: "503", instance: a}
            exp_annotations: {summary: "a refuses 10 clients a second with 503"}
"""


@needs_promtool
def test_alerts_fire_when_they_should(tmp_path):
    (tmp_path / "rules.yml").write_text(RULES.read_text())
    (tmp_path / "test.yml").write_text(ALERTS % (tmp_path / "rules.yml"))
    done = subprocess.run(["promtool", "test", "rules", str(tmp_path / "test.yml")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class Prometheus:
    """The server itself, which scrapes a host with a token."""

    def __init__(self, folder, host):
        self.port = free_port()
        (folder / "rules.yml").write_text(RULES.read_text())
        (folder / "prometheus.yml").write_text(f"""
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [rules.yml]
scrape_configs:
  - job_name: tova
    authorization: {{credentials: {TOKENS["read"]}}}
    static_configs: [{{targets: ["{address(host, 'admin')}"]}}]
""")
        self.log = open(folder / "log", "w")
        self.process = subprocess.Popen(["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                                         f"--web.listen-address=127.0.0.1:{self.port}"], stdout=self.log, stderr=self.log)

    def ask(self, what, **params):
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}?{urllib.parse.urlencode(params)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{params}: {error.read().decode()}") from None
        except OSError:
            return None

    def query(self, expr):
        answer = self.ask("query", query=expr)
        return [] if answer is None else answer["result"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.log.close()


@needs_prometheus
def test_prometheus_reads_it(tmp_path):
    """Each line of the dashboard is a question that Prometheus can answer from what it has scraped; and the alert of a mount fires."""
    folder = tmp_path / "prometheus"
    folder.mkdir()
    with Supervised(tmp_path, "def on_message(ws, message): ws.send('x'); broadcast('y')", "--admin", "127.0.0.1:0", *tokens(tmp_path, "read", "admin")) as s, \
            Prometheus(folder, s.host) as prometheus:
        s.ready()
        clients = [s.client() for _ in range(3)]
        answered = 0

        def busy():
            nonlocal answered
            for _ in range(200):  # one in 64 is looked at
                clients[0].send_text("x")
                clients[0].recv_text()
                answered += 1
        wait_until(lambda: prometheus.query("up == 1"), "it is scraped")
        for _ in range(4):  # as often as it takes for a rate
            busy()
            time.sleep(1)
        wait_until(lambda: [r["value"][1] for r in prometheus.query("sum(tova_connections)")] == ["3"], "it has the connections")
        wait_until(lambda: prometheus.query('rate(tova_event_seconds_count{event="message"}[1m]) > 0'), "it has rates")
        empty = []
        for title, expr in panels():
            expr = expr.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$mount", ".*")
            if not prometheus.query(expr):
                empty.append(title)
        assert set(empty) <= {"Ends", "Broadcasts", "Broadcast time", "Queues", "Compression"}, empty  # of which there was nothing yet
        groups = prometheus.ask("rules")["groups"]
        assert sum(len(group["rules"]) for group in groups) == 10 and all(rule["health"] in ("ok", "unknown") for group in groups for rule in group["rules"])
        s.host.expect(lambda line: line.get("kind") in ("worker", "reload"))
        s.write("raise SystemExit(1)")
        with Api(s.host, door="admin", token=TOKENS["admin"]) as api:
            assert api.post("reload", wait=True)[0] == 500
        wait_until(lambda: any(alert["labels"]["alertname"] == "TovaDeployFailed" for alert in prometheus.ask("alerts")["alerts"]), "the alert")
        for ws in clients:
            ws.drop()
