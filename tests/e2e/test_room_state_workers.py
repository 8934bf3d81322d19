"""Several handlers that count in one room at once, in each language and killed between: nothing is lost, and nothing counts twice."""
import contextlib
import os
import signal
import threading

import pytest

from example_workers import INTERPRETERS, command
from control import ctl
from supervised import PYTHONPATH
from tova_host import BUILD, IMPATIENT, Host, wait_until
from wsclient import connect

COUNTER = "tests/e2e/stories/counter"
CLIENTS, EACH = 10, 100
PLUGIN = BUILD / "tests/plugins/counter.so"


def count(host, told, done):
    ws = connect("127.0.0.1", host.port, "/w")
    for _ in range(EACH):
        ws.send_text("+")
    for _ in range(EACH):
        told.append(int(ws.recv_text()))
    done.release()
    ws.close(1000)


def options(kind):
    if kind == "plugin":
        return "--plugin", f"/w={PLUGIN}"
    if kind == "isolate":
        return "--plugin", f"/w={PLUGIN}", "--isolate", "--workers", "2"
    return "--worker", f"/w={command(kind, COUNTER)}", "--workers", "2"


KINDS = ["plugin", "isolate", *(kind for kind in ("python", "node") if INTERPRETERS[kind][0])]


@pytest.mark.parametrize("kind, killed", [(kind, killed) for kind in KINDS for killed in (False, True) if kind != "plugin" or not killed])
def test_a_thousand_are_a_thousand(kind, killed):
    told, done = [], threading.Semaphore(0)
    with Host(*options(kind), "--max-attempts", "1000", *IMPATIENT, env=PYTHONPATH) as host:
        if kind != "plugin":
            wait_until(lambda: sum("a worker is ready" in line.get("message", "") for line in host.lines) >= 2, "two workers")
        host.allow(lambda line: killed and line["level"] in ("warn", "error") and line.get("kind") in ("worker", "supervisor", "crash"))
        threads = [threading.Thread(target=count, args=(host, told, done), daemon=True) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        deaths = 0
        while killed and not all(not thread.is_alive() for thread in threads) and deaths < 4:
            threads[0].join(0.5)
            for pid in host.children[:1]:
                with contextlib.suppress(ProcessLookupError):  # one that has just ended
                    os.kill(pid, signal.SIGKILL)
                deaths += 1
        for thread in threads:
            thread.join(120)
        assert sorted(told) == list(range(1, CLIENTS * EACH + 1))
        assert not killed or deaths > 0


# --- what a plugin keeps for its mount, and with rooms


class Story:
    def __init__(self, kind, tmp_path):
        self.host = Host(*options(kind), "--control", tmp_path / "control", *IMPATIENT)

    def __enter__(self):
        self.host.__enter__()
        return self

    def __exit__(self, *error):
        self.host.__exit__(*error)

    def come(self, query=""):
        ws = connect("127.0.0.1", self.host.port, "/w" + query)
        if query:
            ws.welcome = ws.recv_text()
        return ws


def said(ws, text):
    ws.send_text(text)
    return ws.recv_text()


@pytest.mark.parametrize("kind", ["plugin", "isolate"])
def test_what_a_plugin_keeps_is_part_of_its_commit(kind, tmp_path):
    with Story(kind, tmp_path) as story:
        ann, bob = story.come(), story.come()
        assert [said(ws, "total") for ws in (ann, bob, ann, bob)] == ["1", "2", "3", "4"]
        assert story.come("?eve").welcome == "eve after 4"
        assert [said(ws, "+") for ws in (ann, bob)] == ["1", "2"]
        assert said(ann, "ask") == "counter=2 1"
        assert said(ann, "fail") == "error: the plugin gave no reason"
        assert "another version" in said(ann, "old")
        bob.send_text("full")
        assert said(bob, "data") == "7 1"
        assert "full" in said(ann, "full"), "what is found out when it commits undoes it, too"
        assert said(ann, "data") == "0 1"
        assert said(ann, "total") == "5" and said(bob, "+") == "3"
        ann.send_text("none")
        assert said(ann, "ask") == "counter= 0" and said(bob, "+") == "1"
        ann.send_text("any")
        assert said(ann, "ask") == "counter=0 1" and said(bob, "+") == "1"


@pytest.mark.parametrize("kind", ["plugin", "isolate"])
def test_it_is_kept_over_a_reload(kind, tmp_path):
    with Story(kind, tmp_path) as story:
        ann = story.come()
        assert said(ann, "total") == "1" and said(ann, "+") == "1"
        ctl(tmp_path / "control", "reload", "--wait", "/w")
        assert said(ann, "total") == "2" and said(ann, "+") == "2"


def test_processes_count_for_the_mount_together(tmp_path):
    """Each in its own connection's events, in as many processes; and one is killed."""
    told = []
    with Story("isolate", tmp_path) as story:
        story.host.allow(lambda line: line["level"] in ("warn", "error") and line.get("kind") in ("worker", "supervisor", "crash"))

        def work():
            ws = story.come()
            for _ in range(EACH):
                ws.send_text("total")
            for _ in range(EACH):
                told.append(int(ws.recv_text()))
            ws.close(1000)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        threads[0].join(0.3)
        for pid in story.host.children[:1]:
            with contextlib.suppress(ProcessLookupError):  # one that has just ended
                os.kill(pid, signal.SIGKILL)
        for thread in threads:
            thread.join(120)
        assert sorted(told) == list(range(1, CLIENTS * EACH + 1))
