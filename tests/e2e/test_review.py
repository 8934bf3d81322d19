"""What a critical reading of the host has found: each of these once went wrong."""
import signal
import textwrap
from pathlib import Path

import pytest

from control import stats
from raw_worker import RawWorker
from tova_host import BUILD, IMPATIENT, Host, wait_until
from wsclient import WebSocket, connect, request_bytes, upgrade_headers

LIB = Path(__file__).resolve().parents[1] / "lib"


def write_worker(tmp_path, body):
    """The command of a worker process of a few lines."""
    path = tmp_path / "worker.py"
    path.write_text(f"import os, sys\nsys.path.insert(0, {str(LIB)!r})\nfrom raw_worker import RawWorker\n" + textwrap.dedent(body))
    return f"exec /usr/bin/python3 {path}"


def test_what_a_worker_has_acknowledged_before_it_ended_counts(tmp_path):
    """It answers at length and ends at once: its process is gone before its last words have been read."""
    command = write_worker(tmp_path, """
        worker = RawWorker().hello(events=["message"])
        event = worker.expect("message")
        worker.ack(event, {"c": "send", "data": event["data"] + "," + str(event["attempt"]) + "," + "x" * 180000})
        os.close(1), os.close(2)
        os._exit(0)
        """)
    control = tmp_path / "control"
    with Host("--worker", command, "--control", control, *IMPATIENT) as host:
        ws = connect("127.0.0.1", host.port)
        for n in range(8):
            wait_until(lambda: sum(line.get("message") == "a worker is ready" for line in host.lines) == n + 1, "the next worker")
            ws.send_text(str(n))
            assert ws.recv_text()[:10].split(",")[:2] == [str(n), "1"]
        assert stats(control)["redelivered"] == 0


def test_a_periodic_timer_does_not_pile_up(tmp_path):
    """While its last event is under way, or waits for a worker, there is no use in another."""
    control, url = tmp_path / "control", f"ipc://{tmp_path}/attach"
    with Host("--attach", url, "--control", control, *IMPATIENT) as host:
        with RawWorker(url).hello(events=["open", "message", "timer"]) as worker:
            ws = connect("127.0.0.1", host.port)
            event = worker.expect("open")
            timer = {"c": "timer", "id": 1, "delay": 1, "period": 1}
            worker.ack(event, {**timer, "name": "mount"}, {**timer, "name": "own", "conn": event["conn"]})
            held = [worker.expect("timer"), worker.expect("timer")]
            uptime = stats(control)["uptime_ms"]
            wait_until(lambda: stats(control)["uptime_ms"] > uptime + 500, "half a second")
            push = {"t": "push", "commands": [{"c": "cancel", "name": "mount"}, {"c": "cancel", "name": "own", "conn": event["conn"]}], "ref": 1}
            worker.send(push)
            worker.expect("done")
            n = 0
            while held:
                worker.ack(held.pop())
                worker.send({"t": "query", "q": 1, "what": "stats"})
                while (o := worker.receive())["t"] != "reply":
                    held.append(o)
                    n += 1
            assert n <= 2, f"{n} events of two timers"
            ws.drop()


@pytest.mark.parametrize("before, after", [("script = \"cat\"", "plugin = \"echo\""), ("plugin = \"echo\"", "script = \"cat\""),
                                            ("plugin = \"echo\"", "worker = \"cat\""), ("worker = \"sleep 100\"", "script = \"cat\"")])
def test_a_reload_that_names_another_kind_of_handler(tmp_path, before, after):
    """It takes a restart; until then the old handler serves."""
    config = tmp_path / "config"
    text = "mount = ( {{ path = \"/\"; {}; }} );\n"
    config.write_text(text.format(before))
    with Host("--config", config, "--control", tmp_path / "control", *IMPATIENT, cwd=BUILD) as host:
        old = connect("127.0.0.1", host.port) if "sleep" not in before else None
        config.write_text(text.format(after))
        mark = host.reload()
        host.wait_log(lambda line: "restart" in line.get("message", ""), "it needs a restart", mark)
        for ws in [old, connect("127.0.0.1", host.port)] if old else []:
            ws.send_text("a")
            assert ws.recv_text() == "a"
            ws.drop()


def test_an_upgrade_that_is_being_asked_about_is_answered_before_the_host_stops(tmp_path):
    url = f"ipc://{tmp_path}/attach"
    with Host("--attach", url, "--control", tmp_path / "control", *IMPATIENT) as host:
        with RawWorker(url).hello(events=["upgrade"]) as worker:
            ws = WebSocket("127.0.0.1", host.port)
            ws.send(request_bytes("GET", "/", upgrade_headers(), "localhost", "HTTP/1.1"))
            event = worker.expect("upgrade")
            host.signal(signal.SIGTERM)
            host.wait_log(lambda line: line.get("kind") == "drain", "draining")
            before = stats(tmp_path / "control")["uptime_ms"]
            wait_until(lambda: stats(tmp_path / "control")["uptime_ms"] > before + 100, "time to think")
            worker.ack(event)
            assert ws.response().status == 503
            ws.drop()
            assert host.wait_exit() == 0


def test_who_asks_and_does_not_read_the_answers_is_cut_off(tmp_path):
    url = f"ipc://{tmp_path}/attach"
    with Host("--attach", url, "--control", tmp_path / "control", *IMPATIENT) as host:
        with RawWorker(url).hello() as worker:
            batch = [{"t": "query", "q": n, "what": "stats"} for n in range(20000)]
            try:
                for _ in range(20):
                    worker.send(*batch)
            except OSError:
                pass
            host.wait_log(lambda line: "does not read the answers" in line.get("error", ""), "it is cut off")
