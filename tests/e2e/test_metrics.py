"""/metrics, as a scraper reads it."""
import re
import urllib.request

import pytest

from api import address
from control import ctl_json
from tova_host import Host, wait_until
from wsclient import connect

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
            assert found and found["name"] in types, line
            key = found["name"] + ("{" + found["labels"] + "}" if found["labels"] else "")
            assert key not in values, line
            values[key] = float(found["value"])
    assert text.endswith("\n")
    for name, kind in types.items():
        assert name.startswith("tova_") and (kind == "counter") == name.endswith("_total"), name
    return values, types


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
    assert values["tova_connections"] == 1 and values["tova_opened_total"] == 1 and values["tova_messages_in_total"] == 1
    assert values["tova_received_bytes_total"] > 1000 and values["tova_cpu_seconds_total"] > 0 and values["tova_resident_memory_bytes"] > 1e6
    assert values['tova_mount_connections{mount="/chat"}'] == 1 and values['tova_mount_connections{mount="/other"}'] == 0
    assert types["tova_connections"] == "gauge"
    ws.close(1000)
    wait_until(lambda: scrape(admin(host))[0]["tova_connections"] == 0, "it is gone")


def test_it_is_what_tova_ctl_shows(host):
    """One table for both: nothing is counted that is not there."""
    stats = ctl_json(host.control_socket, "stats")["stats"]
    values, _ = scrape(admin(host))
    renamed = {"kept": "kept_bytes", "buffered": "buffered_bytes", "deflate_memory": "deflate_memory_bytes", "loop_turn_max_us": "loop_turn_max_seconds",
               "bytes_in": "received_bytes", "bytes_out": "sent_bytes", "deflated_from": "deflate_input_bytes", "deflated_to": "deflate_output_bytes"}
    for name in stats:
        if name == "uptime_ms":
            continue
        ours = "tova_" + renamed.get(name, name)
        assert ours in values or ours + "_total" in values, name


def test_no_label_for_each_connection(host):
    clients = [connect("127.0.0.1", host.port, "/chat") for _ in range(50)]
    before = len(scrape(admin(host))[0])
    more = [connect("127.0.0.1", host.port, "/chat") for _ in range(50)]
    assert len(scrape(admin(host))[0]) == before
    for ws in clients + more:
        ws.drop()
