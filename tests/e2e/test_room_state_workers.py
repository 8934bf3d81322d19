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


class Counters:
    """Clients that say a word at once, each as often, and note what number each was given."""

    def __init__(self, host, word):
        self.host, self.word, self.told = host, word, []
        self.threads = [threading.Thread(target=self.count, daemon=True) for _ in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def count(self):
        ws = connect("127.0.0.1", self.host.port, "/w")
        for _ in range(EACH):
            ws.send_text(self.word)
        for _ in range(EACH):
            self.told.append(int(ws.recv_text()))
        ws.close(1000)

    def kill_one(self, after):
        """One of the processes that count, unless it has just ended."""
        self.threads[0].join(after)
        for pid in self.host.children[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def check(self):
        for thread in self.threads:
            thread.join(120)
        assert sorted(self.told) == list(range(1, CLIENTS * EACH + 1))


def of_a_death(line):
    return line["level"] in ("warn", "error") and line.get("kind") in ("worker", "supervisor", "crash")


def options(kind):
    if kind == "plugin":
        return "--plugin", f"/w={PLUGIN}"
    if kind == "isolate":
        return "--plugin", f"/w={PLUGIN}", "--isolate", "--workers", "2"
    return "--worker", f"/w={command(kind, COUNTER)}", "--workers", "2"


KINDS = ["plugin", "isolate", *(kind for kind in ("python", "node") if INTERPRETERS[kind][0])]


@pytest.mark.parametrize("kind, killed", [(kind, killed) for kind in KINDS for killed in (False, True) if kind != "plugin" or not killed])
def test_a_thousand_are_a_thousand(kind, killed):
    with Host(*options(kind), "--max-attempts", "1000", *IMPATIENT, env=PYTHONPATH) as host:
        if kind != "plugin":
            wait_until(lambda: sum("a worker is ready" in line.get("message", "") for line in host.lines) >= 2, "two workers")
        if killed:
            host.allow(of_a_death)
        counters = Counters(host, "+")
        deaths = 0
        while killed and deaths < 4 and any(thread.is_alive() for thread in counters.threads):
            counters.kill_one(after=0.5)
            deaths += 1
        counters.check()
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
    with Story("isolate", tmp_path) as story:
        story.host.allow(of_a_death)
        counters = Counters(story.host, "total")
        counters.kill_one(after=0.3)
        counters.check()
