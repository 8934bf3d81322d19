"""/metrics, as a scraper reads it."""
import os
import re
import time
import urllib.request

import pytest

from api import Api, address
from control import ctl_json
from probe import Probe, plugin
from raw_worker import RawWorker
from supervised import Supervised
from tova_host import BUILD, IMPATIENT, ROOT, Host, wait_until
from wsclient import connect, refused, upgrade_headers

# The text format, version 0.0.4: a line is a comment, or a name, labels, and a number.
LINE = re.compile(r'^(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?P<labels>[a-z_]+="(?:[^"\\\n]|\\["\\n])*"(?:,[a-z_]+="(?:[^"\\\n]|\\["\\n])*")*)\})? (?P<value>[0-9.e+-]+)$')


def scrape(url):
    with urllib.request.urlopen(url) as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        text = answer.read().decode()
    types, helps, values = {}, set(), {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name not in types and name in helps, line
            types[name] = kind
        elif line.startswith("# HELP "):
            helps.add(line[7:].split(" ", 1)[0])
        else:
            found = LINE.match(line)
            assert found and (found["name"] in types or types.get(PART.sub("", found["name"])) == "histogram"), line
            key = found["name"] + ("{" + found["labels"] + "}" if found["labels"] else "")
            assert key not in values, line
            values[key] = float(found["value"])
    assert text.endswith("\n")
    for name, kind in types.items():
        assert name.startswith("tova_") and (kind == "counter") == name.endswith("_total"), name
    return values, types


PART = re.compile(r"_(bucket|sum|count)$")


def histogram(values, name, **labels):
    """Its bounds with how many values there are up to each, and how many there are in all."""
    text = ",".join(f'{label}="{value}"' for label, value in labels.items())
    bounds = {}
    for key, value in values.items():
        found = re.fullmatch(re.escape(f"{name}_bucket{{{text}{',' if text else ''}le=\"") + r'([^"]+)"\}', key)
        if found:
            bounds[float(found[1])] = value
    of = "{" + text + "}" if text else ""
    counts = list(bounds.values())
    assert list(bounds) == sorted(bounds) and counts == sorted(counts) and counts[-1] == values[f"{name}_count{of}"], name
    assert float("inf") in bounds and values[f"{name}_sum{of}"] >= 0
    return bounds, counts[-1]


@pytest.fixture
def host():
    with Host("--plugin", "/chat=echo", "--plugin", "/other=echo", "--admin", "127.0.0.1:0") as running:
        yield running


def admin(host):
    return f"http://{address(host, 'admin')}/metrics"


def test_what_is_counted(host):
    ws = connect("127.0.0.1", host.port, "/chat")
    ws.send_text("x" * 1000)
    assert ws.recv_text() == "x" * 1000
    values, types = scrape(admin(host))
    assert values["tova_sockets"] >= 2 and values["tova_opened_total"] == 1 and values["tova_messages_in_total"] == 1
    assert values["tova_received_bytes_total"] > 1000 and values["tova_cpu_seconds_total"] > 0 and values["tova_resident_memory_bytes"] > 1e6
    assert values['tova_connections{mount="/chat"}'] == 1 and values['tova_connections{mount="/other"}'] == 0
    assert types["tova_connections"] == "gauge" and values['tova_mount_ready{mount="/chat"}'] == 1 and values["tova_draining"] == 0
    ws.close(4321)
    wait_until(lambda: scrape(admin(host))[0]['tova_connections{mount="/chat"}'] == 0, "it is gone")
    assert scrape(admin(host))[0]['tova_closes_total{code="4321"}'] == 1


def test_it_is_what_tova_ctl_shows(host):
    """One table for both: nothing is counted that is not there."""
    stats = ctl_json(host.control_socket, "stats")["stats"]
    values, _ = scrape(admin(host))
    table = dict(re.findall(r"^\tX\((\w+), (\w+),", (ROOT / "host/base/stats.h").read_text(), re.M))
    assert set(table) == set(stats) - {"uptime_ms"}
    for name, metric in table.items():
        known = {key.partition("{")[0] for key in values}
        assert f"tova_{metric}" in known or f"tova_{metric}_total" in known, name


def test_how_long_things_take(tmp_path):
    """Of plugins and of workers; one of 64 is looked at."""
    with Host("--plugin", "/p=echo", "--attach", f"/w=ipc://{tmp_path}/attach", "--admin", "127.0.0.1:0", *IMPATIENT) as host, \
            RawWorker(f"ipc://{tmp_path}/attach").hello(events=["message"]) as worker:
        assert not any("_seconds_bucket{mount" in key and "event=" in key for key in scrape(admin(host))[0])  # of nothing that has not come
        clients = [connect("127.0.0.1", host.port, "/p") for _ in range(10)]
        other = connect("127.0.0.1", host.port, "/w")
        with Api(host, door="admin") as api:
            for _ in range(256):
                assert api.post("broadcast", mount="/p", data="x") == (200, {"receivers": 10})
        for _ in range(256):
            clients[0].send_text("x")
            clients[0].recv_text()
            other.send_text("x")
            event = worker.expect("message")
            worker.ack(event)
        values, types = scrape(admin(host))
        assert types["tova_event_seconds"] == types["tova_handler_seconds"] == types["tova_broadcast_seconds"] == "histogram"
        _, n = histogram(values, "tova_event_seconds", mount="/p", event="message")
        assert 2 <= n <= 5
        assert 3 <= histogram(values, "tova_event_seconds", mount="/w", event="message")[1] <= 5
        assert 3 <= histogram(values, "tova_handler_seconds", mount="/w")[1] <= 6
        bounds, n = histogram(values, "tova_broadcast_receivers", mount="/p")
        assert 3 <= n <= 6 and bounds[8] < n and bounds[16] == n
        assert histogram(values, "tova_broadcast_seconds", mount="/p")[1] == n
        wait_until(lambda: histogram(scrape(admin(host))[0], "tova_loop_lag_seconds")[1] > 2, "the loop was looked at")
        for ws in (*clients, other):
            ws.drop()


def test_a_worker_that_takes_its_time(tmp_path):
    """The latency that is shown is that of the one that waited."""
    with Host("--attach", f"ipc://{tmp_path}/attach", "--admin", "127.0.0.1:0", *IMPATIENT) as host, \
            RawWorker(f"ipc://{tmp_path}/attach").hello(events=["open", "message"]) as worker:
        ws = connect("127.0.0.1", host.port, "/")
        event = worker.expect("open")  # the first is looked at
        time.sleep(0.3)
        worker.ack(event)
        ws.send_text("x")
        worker.ack(worker.expect("message"))
        wait_until(lambda: "tova_event_seconds_count{mount=\"/\",event=\"open\"}" in scrape(admin(host))[0], "it is settled")
        bounds, n = histogram(scrape(admin(host))[0], "tova_event_seconds", mount="/", event="open")
        assert n == 1 and all(count == (bound > 0.29) for bound, count in bounds.items() if bound < 0.2 or bound > 60)
        ws.drop()


def test_reasons(tmp_path):
    with Host("--plugin", "/chat=echo", "--admin", "127.0.0.1:0", "--rate-limit", "2/1h", "--max-queue", "64k", *IMPATIENT) as host:
        host.expect(lambda line: line.get("kind") in ("upgrade", "limit", "conn-slow", "slow"))
        for target, status in (("/zzz", 404), ("/zzz", 404)):
            assert refused("127.0.0.1", host.port, target).status == status
        assert refused("127.0.0.1", host.port, "/chat", upgrade_headers(origin="http://evil.example")).status == 403
        ws = connect("127.0.0.1", host.port, "/chat")
        for _ in range(5):
            ws.send_text("x")
        wait_until(lambda: scrape(admin(host))[0]['tova_drops_total{reason="rate_limit"}'] == 3, "they were dropped")
        values, _ = scrape(admin(host))
        assert values['tova_refusals_total{status="404"}'] == 2 and values['tova_refusals_total{status="403"}'] == 1
        assert sum(value for key, value in values.items() if key.startswith("tova_refusals_total")) == values["tova_refused_total"] == 3
        assert values['tova_drops_total{reason="slow"}'] == values['tova_drops_total{reason="conflated"}'] == 0
        ws.drop()


def test_queues_that_wait(tmp_path):
    with Host("--plugin", plugin("probe"), *("--admin", "127.0.0.1:0"), *IMPATIENT, "--max-queue", "1g") as host, Probe(host, "") as probe:
        slow = probe.client(receive_buffer=4096)
        slow.id
        with Api(host, door="admin") as api:
            for _ in range(30):
                assert api.post("send", conn=slow.id, data="x" * 300000)[0] == 200
        bounds, n = histogram(scrape(admin(host))[0], "tova_queue_bytes")
        assert n > 0 and bounds[65536] < n


def test_codes_are_bounded(host):
    for code in range(4000, 4060):
        ws = connect("127.0.0.1", host.port, "/chat")
        ws.close(code)
        ws.drop()
    wait_until(lambda: scrape(admin(host))[0]['tova_connections{mount="/chat"}'] == 0, "they are gone")
    closes = {key: value for key, value in scrape(admin(host))[0].items() if key.startswith("tova_closes_total")}
    assert len(closes) == 49 and closes['tova_closes_total{code="4000"}'] == 1 and closes['tova_closes_total{code="other"}'] == 12


def test_workers_by_state(tmp_path):
    with Supervised(tmp_path, "def on_message(ws, message): pass", "--admin", "127.0.0.1:0", "--workers", 2) as s:
        s.ready(2)
        of = lambda state: scrape(admin(s.host))[0][f'tova_workers{{mount="/",state="{state}"}}']  # noqa: E731
        assert [of(state) for state in ("starting", "ready", "draining", "down")] == [0, 2, 0, 0]
        values, _ = scrape(admin(s.host))
        assert values['tova_mount_ready{mount="/"}'] == 1 and values['tova_deploy_failed{mount="/"}'] == 0
        s.host.expect(lambda line: line.get("kind") in ("worker", "reload"))
        s.write("raise SystemExit(3)")
        with Api(s.host, door="admin") as api:
            assert api.post("reload", wait=True)[0] == 500
        assert scrape(admin(s.host))[0]['tova_deploy_failed{mount="/"}'] == 1


def test_without_admin_nothing_is_measured(tmp_path):
    """And no other address tells it."""
    with Host("--plugin", "echo", "--api", "127.0.0.1:0") as host, Api(host) as api:
        assert api.ask("GET", "/metrics").status == 404


def test_whose_faults_they_are(tmp_path):
    """Events that failed or were given again, poison, and what slow clients did not get, of the mount whose they are."""
    (tmp_path / "worker.py").write_text(f"""import os, sys
sys.path.insert(0, {str(ROOT / 'sdk/python')!r})
from tova import serve
def on_message(ws, message):
    if message == "die": os._exit(9)
    raise ValueError("no")
serve({{"on_message": on_message}})
""")
    with Host("--worker", f"/w=exec python3 -B {tmp_path}/worker.py", "--plugin", f"/r={BUILD}/plugins/relay.so", "--admin", "127.0.0.1:0", "--max-attempts", "2", "--slow-policy", "/r=drop-oldest", "--max-queue", "64k", *IMPATIENT) as host:
        host.expect(lambda line: line.get("kind") in ("worker", "quarantine", "handler", "conn.slow"))

        def told(name, mount):
            return scrape(admin(host))[0][f'tova_mount_{name}_total{{mount="{mount}"}}']
        host.wait_log(lambda line: line.get("message") == "a worker is ready", "the worker")
        ws, slow = connect("127.0.0.1", host.port, "/w"), connect("127.0.0.1", host.port, "/r/room/x", receive_buffer=4096)
        ws.send_text("no")
        wait_until(lambda: told("failures", "/w") == 1, "it failed")
        ws.send_text("die")
        wait_until(lambda: told("quarantined", "/w") == 1, "it was set aside")
        assert told("redelivered", "/w") >= 1
        with Api(host, "admin") as api:
            for _ in range(200):
                api.post("broadcast_to", mount="/r", room="x", data="x" * 50_000)
        slow.drop()
        wait_until(lambda: told("dropped", "/r") > 0, "some were given up")
        assert (told("failures", "/r"), told("redelivered", "/r"), told("quarantined", "/r"), told("dropped", "/w")) == (0, 0, 0, 0)
        ws.drop()


def page_of(text):
    """host/METRICS.md's table of what this host says."""
    rows, names = {}, []
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, about = line[7:].split(" ", 1)
            names.append(name)
            rows[name] = {"about": about.replace("|", "\\|"), "labels": set()}
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            rows[name]["type"] = kind
        elif "{" in line:
            name = PART.sub("", line.partition("{")[0]) if PART.sub("", line.partition("{")[0]) in rows else line.partition("{")[0]
            rows[name]["labels"] |= set(re.findall(r'([a-z_]+)="', line)) - {"le"}
    ctl = {f"tova_{metric}": name for name, metric in re.findall(r"^\tX\((\w+), (\w+),", (ROOT / "host/base/stats.h").read_text(), re.M)}
    lines = ["| metric | type | labels | `tova-ctl stats` | |", "|---|---|---|---|---|"]
    for name in names:
        row, own = rows[name], ctl.get(name.removesuffix("_total")) or ctl.get(name)
        labels = ", ".join(f"`{label}`" for label in sorted(row["labels"]))
        lines.append(f"| `{name}` | {row['type']} | {labels} | {f'`{own}`' if own else ''} | {row['about']} |")
    return "\n".join(lines)


def test_the_page_is_what_the_host_says(tmp_path):
    """host/METRICS.md has each metric with its text. TOVA_WRITE=1 writes it."""
    with Host("--plugin", "/chat=chat", "--attach", f"/w=ipc://{tmp_path}/attach", "--admin", "127.0.0.1:0") as host:
        ws = connect("127.0.0.1", host.port, "/chat")
        ws.send_text("x")
        ws.recv_text()
        ws.close(1000)
        ws.drop()
        wait_until(lambda: "event=\"close\"" in urllib.request.urlopen(admin(host)).read().decode() or scrape(admin(host))[0]['tova_connections{mount="/chat"}'] == 0, "it is gone")
        table = page_of(urllib.request.urlopen(admin(host)).read().decode())
    page = ROOT / "host/METRICS.md"
    begin, end = "<!-- generated: tests/e2e/test_metrics.py -->\n", "\n<!-- end -->\n"
    text = page.read_text()
    before, rest = text.split(begin)
    written, after = rest.split(end)
    if os.environ.get("TOVA_WRITE"):
        page.write_text(before + begin + table + end + after)
    else:
        assert written == table


def test_no_label_for_each_connection(host):
    clients = [connect("127.0.0.1", host.port, "/chat") for _ in range(50)]
    before = len(scrape(admin(host))[0])
    more = [connect("127.0.0.1", host.port, "/chat") for _ in range(50)]
    assert len(scrape(admin(host))[0]) == before
    for ws in clients + more:
        ws.drop()
