"""Worker processes: how they are started, watched, replaced and ended."""
import asyncio
import datetime
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from control import ctl, ctl_json, stats, workers
from crowd import Crowd
from patience import unhurried
from supervised import PYTHONPATH, Supervised
from tova_host import BUILD, IMPATIENT, PASSED, Host, gone, wait_until
from wsclient import connect

ECHO = """
def on_message(ws, message):
    if message == "pid": message = str(os.getpid())
    ws.send(message)
"""


# --- deaths ---------------------------------------------------------------------------------------------------------------------------------


def test_a_crash_loop_is_told_once_and_calmly(tmp_path):
    with Supervised(tmp_path, None, "--start-attempts", 0, command="echo something is wrong >&2; exit 3") as s:
        s.host.expect(lambda line: "keeps dying" in line.get("message", ""))
        line = s.died("exited with status 3")
        assert line["worker"] == "worker 1" and line["mount"] == "/" and line["level"] == "warn"
        line = s.said("something is wrong")
        assert line["kind"] == "worker.output" and line["worker"] == "worker 1" and line["level"] == "warn"
        s.said("keeps dying")
        deaths = s.stat("worker_deaths")
        wait_until(lambda: s.stat("worker_deaths") >= deaths + 2, "it is tried again")
        assert s.count("keeps dying") == 1
        row = wait_until(lambda: next((w for w in workers(s.control) if w["state"] == "down"), None), "it is listed, though it is down")
        assert row["name"] == "worker 1" and row["starts"] >= 5 and row["last_exit"] == "exited with status 3" and row["next_start_ms"] >= 0
        assert "exited with status 3" in ctl(s.control, "workers")
        assert s.count("a worker died") == deaths - 1
        # Each wait is about twice as long as the last: jitter moves each by half.
        assert s.stat("uptime_ms") > 100 * (2 ** (deaths - 1)) / 2


def test_a_crash_loop_that_ends_is_forgotten(tmp_path):
    with Supervised(tmp_path, ECHO, "--start-attempts", 0, command=f"test -e {tmp_path}/good && exec {sys.executable} {tmp_path}/worker.py") as s:
        s.host.expect(lambda line: "keeps dying" in line.get("message", ""))
        s.said("keeps dying")
        (tmp_path / "good").touch()
        s.ready()
        ws = s.client()
        for text in ("pid", "a"):
            ws.send_text(text)
        pid, _ = int(ws.recv_text()), ws.recv_text()
        mark = len(s.host.lines)
        os.kill(pid, signal.SIGKILL)
        assert s.died("killed by SIGKILL", mark)["message"] == "a worker died"
        ws.send_text("b")
        assert ws.recv_text() == "b"
        ws.end()


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM, signal.SIGKILL])
def test_the_signal_is_named(tmp_path, number):
    body = ECHO + f"""
def on_open(ws):
    if current_event().attempt == 1:
        signal.signal(signal.{number.name}, signal.SIG_DFL) if {number != signal.SIGKILL} else None
        os.kill(os.getpid(), signal.{number.name})
        time.sleep(60)
"""
    with Supervised(tmp_path, body) as s:
        ws = s.client()
        line = s.died(number.name)
        assert line["how"] == f"killed by {number.name}"
        ws.send_text("still here")
        assert ws.recv_text() == "still here"
        ws.end()


def test_a_command_that_does_not_exist(tmp_path):
    with Supervised(tmp_path, None, command="cd / && /does/not/exist --at-all") as s:
        s.died("exited with status 127")
        assert s.said("/does/not/exist")["kind"] == "worker.output"


def test_what_workers_write(tmp_path):
    body = ECHO + """
def on_start():
    print("<3>an error")
    print("<7>a detail")
    print("on standard output", flush=True)
    print("on standard error\\r", file=sys.stderr)
    print("x" * 5000)
    os.write(2, b"bad \\xff\\x00 bytes\\n")
    sys.stdout.write("the end without a line feed")
    sys.stdout.flush()
    os._exit(1) if not os.path.exists("%s") else None
""" % (tmp_path / "once")
    with Supervised(tmp_path, body, "--log-level", "debug") as s:
        s.host.expect(lambda line: line.get("message") == "an error" and line["level"] == "error")
        assert s.said("the end without a line feed")["level"] == "info"
        (tmp_path / "once").touch()
        levels = {line["message"]: line["level"] for line in s.host.lines if line.get("kind") == "worker.output"}
        assert levels["a detail"] == "debug" and levels["on standard output"] == "info" and levels["on standard error"] == "warn"
        pid = s.said("an error")["pid"]  # of one run
        xs = [line["message"] for line in s.host.lines if line.get("pid") == pid and line["message"].startswith("xxx")]
        assert sum(len(m) for m in xs) == 5000 and max(len(m) for m in xs) <= 1000, "a long line comes in pieces, of which none is lost"
        assert any(m.startswith("bad ") for m in levels)
        s.ready()


def test_a_noisy_worker_hides_nobody_elses_lines(tmp_path):
    """What is suppressed is its own, and the log says so."""
    quiet = "i=0; while [ $i -lt 20 ]; do echo traceback $i >&2; i=$((i+1)); sleep 0.05; done; sleep 1000"
    with Supervised(tmp_path, None, "-w", f"/quiet={quiet}", command="exec yes noise") as s:
        line = s.said("was suppressed")
        assert (line["worker"], line["mount"], line["kind"]) == ("worker 1", "/", "worker.output") and line["suppressed"] >= 1
        s.said("traceback 19")
        assert [line["message"] for line in s.host.lines if line.get("mount") == "/quiet"] == [f"traceback {i}" for i in range(20)]


# --- hangs ----------------------------------------------------------------------------------------------------------------------------------


def test_who_does_not_say_hello_is_ended(tmp_path):
    with Supervised(tmp_path, None, "--ready-timeout", "200ms", command="exec sleep 1000") as s:
        assert s.said("did not say hello within --ready-timeout")["worker"] == "worker 1"
        first = s.host.children
        s.died("killed by SIGKILL")
        wait_until(lambda: s.host.children and s.host.children != first, "another is started")


@unhurried
def test_a_handler_that_hangs_is_killed_and_its_event_given_to_another(tmp_path, ms):
    body = ECHO + """
def on_open(ws):
    join(ws, "room")
    ws.send(f"attempt {current_event().attempt}")
    if current_event().attempt == 1: time.sleep(1000)
"""
    with Supervised(tmp_path, body, "--handler-timeout", ms(300)) as s:
        ws = s.client()
        assert s.said("--handler-timeout")["worker"] == "worker 1"
        s.died("killed by SIGKILL")
        assert ws.recv_text() == "attempt 2"
        ws.send_text("a")
        assert ws.recv_text() == "a"
        assert s.stat("redelivered") == 1 and s.stat("rooms") == 1
        ws.end()


@unhurried
def test_a_worker_that_is_stopped_is_killed(tmp_path, ms):
    """SIGSTOP, as a debugger or a full machine would do it: whether it goes on later makes no difference."""
    with Supervised(tmp_path, ECHO, "--handler-timeout", ms(300), "--workers", 2) as s:
        s.ready(2)
        ws = s.client()
        ws.send_text("pid")
        pid = int(ws.recv_text())
        os.kill(pid, signal.SIGSTOP)
        ws.send_text("pid")
        other = int(ws.recv_text())
        assert other != pid
        wait_until(lambda: gone(pid), "it is killed")
        ws.end()


@unhurried
def test_an_attached_worker_that_wakes_up_late_has_no_effect(tmp_path, ms):
    """The host can not kill it. What it still acknowledges belongs to a link that is no more; it dials again and goes on."""
    file = tmp_path / "worker.py"
    file.write_text("import sys, time\nfrom tova import *\n"
                    "def on_message(ws, message):\n"
                    "    join(ws, sys.argv[1])\n"
                    "    if message == 'stop':\n"
                    "        open(sys.argv[2], 'w').close()\n"
                    "        while not __import__('os').path.exists(sys.argv[2] + '.go'): time.sleep(0.01)\n"
                    "    ws.send(f'{sys.argv[1]} {message}')\n"
                    "serve(globals())\n")
    url, control = f"ipc://{tmp_path}/attach", tmp_path / "control"
    env = {**os.environ, **PYTHONPATH, "TOVA_URL": url, "TOVA_TOKEN": ""}

    def start(name):
        return subprocess.Popen([sys.executable, str(file), name, str(tmp_path / f"{name}-has-it")], env=env, stderr=subprocess.DEVNULL)

    def ready(n):
        wait_until(lambda: sum(w["state"] == "ready" for w in workers(control)) == n, f"{n} workers")

    with Host("--attach", url, "--control", control, "--handler-timeout", ms(300), *IMPATIENT) as host:
        first = start("first")
        try:
            ready(1)
            ws = connect("127.0.0.1", host.port, "/")
            ws.send_text("stop")
            wait_until((tmp_path / "first-has-it").exists, "it is at work")
            first.send_signal(signal.SIGSTOP)
            host.wait_log(lambda line: "--handler-timeout" in line.get("error", ""), "it is cut off")
            (tmp_path / "second-has-it.go").touch()
            second = start("second")
            try:
                assert ws.recv_text() == "second stop"
                (tmp_path / "first-has-it.go").touch()
                first.send_signal(signal.SIGCONT)
                ready(2)  # it has dialled again
                ws.send_text("a")
                assert ws.recv_text() == "second a"
                assert [r["room"] for r in ctl_json(control, "rooms")["rooms"]] == ["second"]
                assert stats(control)["commits"] == 2
                ws.end()
            finally:
                second.kill()
                second.wait()
        finally:
            first.kill()
            first.wait()


@unhurried
def test_a_hang_of_one_event_is_not_laid_to_others(tmp_path, ms):
    body = """
def on_message(ws, message):
    if message == "hang": time.sleep(1000)
    ws.send(message)
def on_error(ws, error):
    ws.send(str(error))
"""
    with Supervised(tmp_path, body, "--handler-timeout", ms(300), "--max-attempts", 2) as s:
        s.host.expect(lambda line: line.get("kind") == "quarantine")
        clients = [s.client() for _ in range(10)]
        for ws in clients:
            ws.send_text("hang" if ws is clients[3] else "fine")
        for ws in clients:
            got = ws.recv_text()
            assert "quarantined" in got if ws is clients[3] else got == "fine"
        assert s.stat("quarantined") == 1
        for ws in clients:
            ws.end()


# --- what a process is given ------------------------------------------------------------------------------------------------------------------

LOOK = """
import json, resource
def on_message(ws, message):
    ws.send({"env": dict(os.environ), "files": sorted(os.listdir("/proc/self/fd"), key=int), "group": os.getpgrp() == os.getpid(),
             "limit": resource.getrlimit(resource.RLIMIT_NOFILE), "mask": [l for l in open("/proc/self/status") if l.startswith(("SigBlk", "SigIgn"))],
             "in": os.readlink("/proc/self/fd/0"), "parent": os.getppid()})
"""


def test_its_environment_is_clean(tmp_path):
    env = {"NOTIFY_SOCKET": "/x", "LISTEN_FDS": "1", "LISTEN_PID": "1", "WATCHDOG_USEC": "1", "TOVA_TOKEN": "outer", "TOVA_NONSENSE": "1", "HTTP_PROXY": "x",
           "REMOTE_USER": "root", "HTTPS": "on", "SSL_CLIENT_VERIFY": "SUCCESS", "LC_TIME": "C", "MINE": "kept", "MINE_TOO": "kept", "SECRET": "x"}
    with Supervised(tmp_path, LOOK, "--passenv", "MI*", env=env) as s:
        others = [s.client() for _ in range(3)]
        ws = s.client()
        ws.send_text("look")
        got = json.loads(ws.recv_text())
        names = set(got["env"])
        assert {n for n in names if n.startswith("TOVA_")} == {"TOVA_URL", "TOVA_TOKEN", "TOVA_MOUNT", "TOVA_WORKER", "TOVA_SETTINGS", "TOVA_SUPERVISED"}
        assert got["env"]["MINE"] == got["env"]["MINE_TOO"] == "kept" and got["env"]["LC_TIME"] == "C" and "PATH" in names
        given = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "MINE", "MINE_TOO", *PASSED, "PWD", "OLDPWD", "_", "SHLVL"}
        assert not {n for n in names if n not in given and not n.startswith(("TOVA_", "LC_"))}
        assert got["env"]["TOVA_MOUNT"] == "/" and got["env"]["TOVA_WORKER"] == "worker 1" and got["env"]["TOVA_TOKEN"] not in ("", "outer")
        assert got["env"]["TOVA_URL"].startswith("ipc:///")
        assert got["group"] and got["parent"] == s.host.pid
        assert got["in"] == "/dev/null"
        blocked = int(got["mask"][0].split()[1], 16)
        assert blocked == 0
        # Its own socket, the loop's three, and the listing: none of the host's sockets, of which there are many.
        sockets = [f for f in got["files"] if int(f) > 2]
        assert len(sockets) <= 6, got["files"]
        for c in [ws, *others]:
            c.end()


@pytest.mark.parametrize("soft", [256, 3000])
def test_its_limit_of_descriptors_is_the_operators(tmp_path, soft):
    """The host itself takes what it may."""
    def limits():
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, 4000))

    with Supervised(tmp_path, LOOK, limits=limits) as s:
        ws = s.client()
        ws.send_text("look")
        assert json.loads(ws.recv_text())["limit"] == [soft, 4000]
        assert resource.prlimit(s.host.pid, resource.RLIMIT_NOFILE) == (4000, 4000)
        ws.end()


def test_no_descriptor_of_the_host_is_inherited(tmp_path):
    with Supervised(tmp_path, None, command="ls -l /proc/self/fd; sleep 1000", env={}) as s:
        s.said("/proc/")
        wait_until(lambda: s.count(" -> ") >= 4, "the listing")
        names = [line["message"].split(" -> ")[0].split()[-1] for line in s.host.lines if " -> " in line.get("message", "")]
        assert sorted(names) == ["0", "1", "2", "3"], "3 is the folder that ls reads"


# --- ends -----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_children_die_with_the_host(tmp_path, how):
    with Supervised(tmp_path, ECHO, "--workers", 3) as s:
        s.ready(3)
        pids = s.host.children
        assert len(pids) == 3
        getattr(s.host, how)()
        for pid in pids:
            wait_until(lambda: gone(pid), "it is gone")


def test_what_children_have_started_dies_with_the_host(tmp_path):
    """The kernel ends the child of a host that was killed, and no more than that."""
    command = "trap '' TERM HUP; sh -c 'trap \"\" TERM HUP; echo grandchild $$; while :; do sleep 1000; done' & echo ready; while :; do sleep 1000; done"
    with Supervised(tmp_path, None, "--workers", 2, command=command) as s:
        wait_until(lambda: s.count("grandchild") == 2, "both are there")
        pids = [int(line["message"].split()[1]) for line in s.host.lines if line.get("message", "").startswith("grandchild ")]
        pids += s.host.children + [wait_until(lambda: s.host.guard, "its guard")]
        s.host.kill()
        for pid in pids:
            wait_until(lambda: gone(pid), "it is gone")


def test_a_guard_that_was_killed_is_replaced(tmp_path):
    with Supervised(tmp_path, None, command="sh -c 'echo grandchild $$; sleep 1000; :' & sleep 1000; :") as s:
        s.said("grandchild")
        first = wait_until(lambda: s.host.guard, "a guard")
        grandchild = int(next(line for line in s.host.lines if line.get("message", "").startswith("grandchild "))["message"].split()[1])
        os.kill(first, signal.SIGKILL)
        s.said("the guard of child processes was killed")
        os.kill(s.host.children[0], signal.SIGKILL)  # the worker that follows brings another
        wait_until(lambda: s.host.guard not in (None, first) and s.count("grandchild") == 2, "another worker, and another guard")
        wait_until(lambda: gone(grandchild), "what the first worker had started is gone")
        last = int([line for line in s.host.lines if line.get("message", "").startswith("grandchild ")][-1]["message"].split()[1])
        s.host.kill()
        wait_until(lambda: gone(last), "it is gone")


def test_children_that_ignore_everything_die_with_the_host(tmp_path):
    with Supervised(tmp_path, None, command="trap '' TERM INT HUP; echo ready; while :; do sleep 1000; done") as s:
        s.said("ready")
        pids = s.host.children
        s.host.kill()
        for pid in pids:
            wait_until(lambda: gone(pid), "it is gone")


def test_what_a_worker_started_dies_with_it(tmp_path):
    body = ECHO + """
import subprocess
def on_open(ws):
    if current_event().attempt == 1:
        print("child", subprocess.Popen(["sleep", "1000"]).pid, flush=True)
        os._exit(7)
"""
    with Supervised(tmp_path, body) as s:
        ws = s.client()
        pid = int(s.said("child ")["message"].split()[1])
        wait_until(lambda: gone(pid), "the grandchild is gone")
        ws.send_text("a")
        assert ws.recv_text() == "a"
        ws.end()


def test_the_folder_of_the_sockets_is_private_and_goes_with_the_host(tmp_path):
    with Supervised(tmp_path, ECHO) as s:
        ws = s.client()
        ws.send_text("pid")
        pid = ws.recv_text()
        url = dict(v.split("=", 1) for v in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in v)["TOVA_URL"]
        path = Path(url[len("ipc://"):])
        assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
        assert s.control.stat().st_mode & 0o777 == 0o600
        ws.end()
        s.host.stop()
        assert not path.parent.exists() and not s.control.exists()


# --- a bad deploy, and the good one after it ----------------------------------------------------------------------------------------------------


def test_after_a_bad_deploy_a_good_one_takes_what_was_held(tmp_path):
    """Every event kills: two are set aside, then the host sees that it is not the events. Nothing else is lost."""
    bad = """
def on_message(ws, message): os._exit(9)
def on_error(ws, error): ws.send("set aside")
"""
    good = """
def on_message(ws, message): ws.send("handled " + message)
def on_error(ws, error): ws.send("set aside")
"""
    with Supervised(tmp_path, bad, "--dead-letter", tmp_path / "dead", "--max-attempts", 1) as s:
        s.host.expect(lambda line: line.get("kind") == "quarantine")
        s.host.expect(lambda line: "whatever they are given" in line.get("message", ""))
        clients = [s.client() for _ in range(12)]
        for i, ws in enumerate(clients):
            ws.send_text(str(i))
        s.said("whatever they are given")
        deaths = s.stat("worker_deaths")
        wait_until(lambda: s.stat("worker_deaths") >= deaths + 2, "it goes on trying")
        assert s.stat("quarantined") == 2
        s.write(good)
        ctl(s.control, "reload")
        got = [ws.recv_text() for ws in clients]
        assert sorted(got) == sorted(["set aside"] * 2 + [f"handled {i}" for i, text in enumerate(got) if text != "set aside"])
        assert s.stat("quarantined") == 2
        for ws in clients:
            ws.send_text("again")
            assert ws.recv_text() == "handled again"
            ws.end()
        if s.count("keeps dying"):
            s.host.expect(lambda line: "keeps dying" in line.get("message", ""))


# --- deploys --------------------------------------------------------------------------------------------------------------------------------

VERSION = """
def on_open(ws):
    ws.state = 0
def on_message(ws, message):
    ws.state = ws.state + 1
    ws.send(f"%s {os.getpid()} {message} {ws.state}")
"""


class Talker:
    """Sends the next message when the last one is answered, and measures how long that took."""

    def __init__(self):
        self.n, self.sent_at, self.waits, self.replies, self.running = 0, 0.0, [], [], True
        self.ws = None

    def speak(self):
        self.n += 1
        self.sent_at = time.monotonic()
        self.ws.send(str(self.n))

    def heard(self, ws, text):
        self.waits.append((self.sent_at, time.monotonic() - self.sent_at))
        self.replies.append(text.split(" "))
        if self.running:
            self.speak()

    @property
    def idle(self):
        return len(self.replies) == self.n


def handovers(s):
    """When, on the clock of time.monotonic(), new workers took over."""
    shift = time.time() - time.monotonic()
    moments = [line["time"] for line in s.host.lines if "new workers serve" in line.get("message", "")]
    return [datetime.datetime.fromisoformat(m.replace("Z", "+00:00")).timestamp() - shift for m in moments]


async def deploys(s, reload, n_deploys, clients=50):
    """Returns the longest waits of a client: when nothing goes on, while new processes start, and across a handover, in milliseconds."""
    async with Crowd(s.host) as crowd:
        talkers = [Talker() for _ in range(clients)]
        for t in talkers:
            t.ws = await crowd.connect("/", t.heard)
            t.speak()
        await crowd.until(lambda: min(t.n for t in talkers) > 20, "the conversation goes")
        spans = []
        for i in range(n_deploys):
            s.write(VERSION % f"v{i + 1}")
            began = time.monotonic()
            await reload(s)
            new = f"v{i + 1}"
            await crowd.until(lambda: all(t.replies[-1][0] == new for t in talkers), f"{new} serves everybody")
            spans.append((began, time.monotonic()))
            seen = [len(t.replies) for t in talkers]
            await crowd.until(lambda: all(len(t.replies) > k + 10 for t, k in zip(talkers, seen)), "the conversation goes on")
        for t in talkers:
            t.running = False
        await crowd.until(lambda: all(t.idle for t in talkers), "the last replies")
        for t in talkers:
            assert [(int(r[2]), int(r[3])) for r in t.replies] == [(k, k) for k in range(1, t.n + 1)], "a message was lost, doubled or overtaken"
            versions = [r[0] for r in t.replies]
            assert versions == sorted(versions), "an old worker answered behind a new one"
        assert crowd.wrong == []
        waits = [w for t in talkers for w in t.waits]
        await crowd.close_all()
    moments = handovers(s)
    assert len(moments) == n_deploys
    across = [took for at, took in waits if any(at - 0.002 <= moment <= at + took + 0.002 for moment in moments)]  # the log has milliseconds
    starting = [took for at, took in waits if any(a <= at <= b for a, b in spans)]
    quiet = [took for at, took in waits if not any(a - took <= at <= b for a, b in spans)]
    return len(waits), *(1000 * max(w, default=0) for w in (quiet, starting, across))


async def by_signal(s):
    s.host.signal(signal.SIGHUP)


async def by_ctl(s):
    await asyncio.to_thread(ctl, s.control, "reload")


@pytest.mark.parametrize("reload", [by_signal, by_ctl])
def test_deploys_under_load_lose_nothing_and_nobody(tmp_path, reload, capsys):
    with Supervised(tmp_path, VERSION % "v0", "--workers", 2, "--idle-timeout", 0) as s:
        s.ready(2)
        n, quiet, starting, across = asyncio.run(deploys(s, reload, 3))
        with capsys.disabled():
            print(f"\n{n} messages of 50 clients, 3 deploys; longest wait {quiet:.0f} ms when nothing goes on, {starting:.0f} ms while new "
                  f"processes start, {across:.0f} ms across a handover")
        wait_until(lambda: len(s.host.children) == 2, "the old ones have left")
        assert [w["generation"] for w in workers(s.control)] == [4, 4]
        assert s.stat("redelivered") == 0 and s.stat("quarantined") == 0


BAD_GENERATIONS = {
    "it ends at once": ("sys.exit(4)", "died"),
    "it says nothing": ("time.sleep(1000)", "hello"),
    "it can not be read": ("this is no Python", "died"),
    "one of two comes up": ("if os.environ['TOVA_WORKER'].startswith('worker 2'): sys.exit(4)", "died"),
}


@pytest.mark.parametrize("how", BAD_GENERATIONS)
def test_a_generation_that_does_not_come_up_leaves_the_old_one(tmp_path, how):
    body, why = BAD_GENERATIONS[how]
    config = tmp_path / "config"

    def patience(text):
        """Only of whom never says anything less than any machine needs to start Python."""
        config.write_text(f'ready-timeout = "{text}";\n')

    patience("60s")
    with Supervised(tmp_path, VERSION % "old", "--workers", 2, "--config", config) as s:
        s.ready(2)
        clients = [s.client() for _ in range(4)]
        pids = set()
        for ws in clients:
            ws.send_text("a")
            pids.add(ws.recv_text().split()[1])
        s.host.expect(lambda line: line.get("kind") == "reload" and "go on" in line.get("message", ""))
        # It wants other events, which must not matter.
        s.write(body + "\ndef on_upgrade(request): return refuse(403)\n")
        patience("300ms" if how == "it says nothing" else "60s")
        mark = s.host.reload()
        line = s.host.wait_log(lambda line: line.get("kind") == "reload" and "go on" in line.get("message", ""), "it is given up", mark)
        assert why in line["error"]
        for ws in clients:
            ws.send_text("b")
            version, pid, *_ = ws.recv_text().split()
            assert version == "old" and pid in pids
            ws.end()
        other = s.client()
        other.send_text("c")
        assert other.recv_text().split()[0] == "old"
        other.end()
        wait_until(lambda: sorted(map(str, s.host.children)) == sorted(pids), "nothing of the new one is left")
        # And the next one that is good takes over.
        s.write(VERSION % "new")
        patience("60s")
        mark = s.host.reload()
        s.said("new workers serve", mark)
        ws = s.client()
        ws.send_text("d")
        assert ws.recv_text().split()[0] == "new"
        ws.end()


def test_old_workers_finish_what_they_have(tmp_path):
    body = """
def on_message(ws, message):
    ws.send("began")
    while not os.path.exists("%s"): time.sleep(0.01)
    ws.send(f"{os.getpid()} {current_event().attempt}")
""" % (tmp_path / "go")
    with Supervised(tmp_path, body) as s:
        s.ready()
        pid, = s.host.children
        ws = s.client()
        ws.send_text("a")
        wait_until(lambda: workers(s.control)[0]["under_way"] == 1, "it is at work")
        mark = s.host.reload()
        s.said("new workers serve", mark)
        (tmp_path / "go").touch()
        assert [ws.recv_text(), ws.recv_text()] == ["began", f"{pid} 1"]
        wait_until(lambda: gone(pid), "it has left")
        assert not s.count("killed by")
        ws.end()


def test_an_isolated_plugin_is_replaced_the_same_way(tmp_path):
    control, library = tmp_path / "control", tmp_path / "echo.so"
    library.write_bytes((BUILD / "plugins/echo.so").read_bytes())
    with Host("--plugin", library, "--isolate", "--control", control) as host:
        ws = connect("127.0.0.1", host.port, "/")
        ws.send_text("a")
        assert ws.recv_text() == "a"
        pid, = host.children
        library.write_bytes(library.read_bytes() + b"\0")
        ctl(control, "reload")
        wait_until(lambda: gone(pid), "the old worker has left")
        ws.send_text("b")
        assert ws.recv_text() == "b"
        host.expect(lambda line: "crashes" in line["message"])
        os.kill(host.children[0], signal.SIGSEGV)
        ws.send_text("c")
        assert ws.recv_text() == "c"
        ws.end()
