"""A plugin that crashes: the last line of the log says where, the signal goes its way, and a debugger shows the plugin's own lines."""
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from probe import WRAPPED, plugin
from tova_host import BUILD, PATIENCE, Host, wait_until
from tova_v1 import Client
from wsclient import connect

pytestmark = pytest.mark.skipif(WRAPPED, reason="a sanitizer has handlers of its own for these signals")

# What leads there, behind an open connection.
WAYS = {"on_upgrade": None, "on_open": None, "on_message": "x", "on_close": "close", "on_error": "fail", "on_timer": "timer", "on_reply": "reply",
        "on_wake": "x", "on_join": "come", "on_leave": "come"}
OF_NO_CONNECTION = ("on_upgrade", "on_reply", "on_wake", "on_join", "on_leave")


def crashing(at, how="segv", *more, **options):
    return Host("--plugin", f"/c={plugin('crash')}", "--plugin", f"/other={plugin('probe')}", "--plugin-set", f"/c:at={at}", "--plugin-set", f"/c:how={how}",
                *more, **options)


def lead(host, at):
    """A connection, on its way into that callback."""
    try:
        ws = connect("127.0.0.1", host.port, "/c")
        way = WAYS[at]
        if way == "close":
            ws.send_close(1000)
        elif way is not None:
            assert ws.recv_text() == "open"
            ws.send_text(way)
            if at == "on_leave":
                assert ws.recv_text() == "has come"
                ws.send_text("go")
        return ws
    except Exception:  # the host is gone before the answer, which is what was asked for
        return None


def last_words(host):
    code = host.wait_exit()
    lines = [line for line in host.lines if "crashes" in line.get("message", "")]
    assert len(lines) == 1, host.log_text()
    return code, lines[0]


@pytest.mark.parametrize("at", list(WAYS))
def test_each_callback_is_named(at):
    host = crashing(at).start()
    ws = lead(host, at)
    code, line = last_words(host)
    assert code == -signal.SIGSEGV
    assert (line["level"], line["kind"], line["signal"]) == ("error", "plugin", "SIGSEGV")
    assert (line["mount"], line["plugin"], line["version"], line["callback"]) == ("/c", "crash", "3.1", at)
    assert ("conn" in line) == (at not in OF_NO_CONNECTION)
    if at in ("on_message", "on_open"):
        assert line["seq"] == {"on_open": 1, "on_message": 2}[at]
    if ws:
        ws.drop()


def lose(host, at):
    """A client that may come back loses its socket, and does."""
    ws = Client(host.port, "/c")
    assert ws.recv() == "open"
    ws.drop()
    if at == "on_back":
        try:
            ws.back()
        except Exception:  # as in lead()
            pass
    return ws


@pytest.mark.parametrize("at", ["on_away", "on_back"])
def test_those_of_a_client_that_comes_back_are_named(at):
    host = crashing(at, "segv", "--resume", "60s").start()
    ws = lose(host, at)
    code, line = last_words(host)
    assert (code, line["callback"], line["mount"]) == (-signal.SIGSEGV, at, "/c") and "conn" in line
    ws.ws.drop()


@pytest.mark.parametrize("at", ["on_save", "migrate"])
def test_those_of_a_reload_are_named(tmp_path, at):
    """on_save is the old library's, migrate the new one's."""
    file = tmp_path / "crash.so"
    shutil.copy(plugin("crash"), file)
    host = Host("--plugin", f"/c={file}", "--plugin-set", f"/c:at={at}").start()
    ws = connect("127.0.0.1", host.port, "/c")
    assert ws.recv_text() == "open"
    shutil.copy(plugin("crash_bigger"), tmp_path / "new")
    (tmp_path / "new").replace(file)
    host.signal(signal.SIGHUP)
    code, line = last_words(host)
    assert (code, line["callback"], line["mount"]) == (-signal.SIGSEGV, at, "/c") and "conn" not in line
    ws.drop()


@pytest.mark.parametrize("at", ["start", "stop"])
def test_a_crash_outside_of_events(at):
    host = crashing(at)
    try:
        host.start()
        host.signal(signal.SIGTERM)
    except AssertionError:
        assert at == "start"
        return
    code, line = last_words(host)
    assert (code, line["callback"], line["mount"]) == (-signal.SIGSEGV, "stop", "/c") and "conn" not in line


def test_a_crash_at_the_start_is_told():
    done = subprocess.run([BUILD / "tova-host", "--plugin", plugin("crash"), "--plugin-set", "at=start", "-l", "127.0.0.1:0"], stderr=subprocess.PIPE,
                          text=True, timeout=PATIENCE, check=False)
    assert done.returncode == -signal.SIGSEGV
    assert "plugin: a plugin crashes, and the host with it signal=SIGSEGV mount=/ plugin=crash version=3.1 callback=start" in done.stderr


@pytest.mark.parametrize("how, number", [("abort", signal.SIGABRT), ("stack", signal.SIGSEGV), ("sent", signal.SIGBUS)])
def test_each_way_to_crash(how, number):
    """Also with a stack that is full, and by a signal that was sent, which nothing would repeat."""
    host = crashing("on_message", how).start()
    ws = lead(host, "on_message")
    code, line = last_words(host)
    assert (code, line["signal"], line["callback"]) == (-number, number.name, "on_message")
    if ws:
        ws.drop()


def test_a_thread_of_a_plugin_is_no_callback():
    """Nobody can say whose it was: the core can."""
    host = crashing("on_message", "thread").start()
    ws = lead(host, "on_message")
    code, line = last_words(host)
    assert (code, line["kind"], line["message"]) == (-signal.SIGSEGV, "host", "the host crashes") and "callback" not in line
    if ws:
        ws.drop()


@pytest.mark.parametrize("at", ["on_join", "on_leave"])
def test_one_of_the_mount_is_named_by_its_process(at):
    with crashing(at, "segv", "--isolate", "--max-attempts", "1") as host:
        host.expect(lambda line: "the worker crashes" in line.get("message", ""))
        host.expect(lambda line: line.get("kind") in ("quarantine", "worker.output"))
        host.wait_log(lambda line: line.get("message") == "a worker is ready" and line.get("mount") == "/c")
        ws = lead(host, at)
        line = host.wait_log(lambda line: "the worker crashes" in line.get("message", ""))
        assert f"signal=SIGSEGV plugin=crash version=3.1 callback={at} seq=" in line["message"]  # of no connection
        if ws:
            ws.drop()


@pytest.mark.parametrize("at", ["on_message", "on_timer", "on_close"])
def test_an_isolated_one_is_named_by_its_process(at):
    with crashing(at, "segv", "--isolate", "--max-attempts", "1") as host:
        host.expect(lambda line: "the worker crashes" in line.get("message", ""))
        host.expect(lambda line: line.get("kind") in ("quarantine", "worker.output"))
        host.wait_log(lambda line: line.get("message") == "a worker is ready" and line.get("mount") == "/c")
        ws = lead(host, at)
        line = host.wait_log(lambda line: "the worker crashes" in line.get("message", ""))
        assert line["kind"] == "worker.output" and line["level"] == "error" and line["mount"] == "/c"
        assert f"signal=SIGSEGV plugin=crash version=3.1 callback={at} conn=" in line["message"] and " seq=" in line["message"]
        host.wait_log(lambda line: line.get("how") == "killed by SIGSEGV")
        if ws:
            ws.drop()


# --- a debugger -----------------------------------------------------------------------------------------------------------------

needs_gdb = pytest.mark.skipif(shutil.which("gdb") is None, reason="needs gdb")


def gdb(*words):
    """What gdb says, who must come to an end."""
    done = subprocess.run(["gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-iex", "set auto-load off", *map(str, words)],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE * 4, check=False)
    return done.stdout


@needs_gdb
def test_a_host_runs_under_gdb():
    """With a breakpoint in a plugin that is loaded later."""
    said = gdb("-ex", "set breakpoint pending on", "-ex", "break crash_here", "-ex", "run", "-ex", "bt", "-ex", "kill", "--args", BUILD / "tova-host", "--plugin",
               plugin("crash"), "--plugin-set", "at=start", "-l", "127.0.0.1:0", "--control", "/nonexistent/never")
    assert "crash_here (how=" in said and "start (m=" in said and "crash.c:" in said, said


@needs_gdb
@pytest.mark.parametrize("isolate", [[], ["--isolate"]])
def test_gdb_attaches(isolate):
    host = Host("--plugin", f"/c={plugin('crash')}", *isolate).start()
    if isolate:
        host.wait_log(lambda line: line.get("message") == "a worker is ready")
    pid = host.children[0] if isolate else host.pid
    ws = connect("127.0.0.1", host.port, "/c")
    assert ws.recv_text() == "open"
    ws.send_text("stall")
    wait_until(lambda: in_sleep(pid), "it sleeps in its callback")
    said = gdb("-p", pid, "-ex", "bt", "-ex", "detach")
    host.kill()  # it would stall on
    ws.drop()
    assert "in on_message (m=" in said and "crash.c:" in said, said


def in_sleep(pid):
    return Path(f"/proc/{pid}/syscall").read_text().split()[0] in ("35", "230", "115")  # nanosleep, clock_nanosleep


@needs_gdb
@pytest.mark.parametrize("isolate", [[], ["--isolate", "--max-attempts", "1"]])
def test_gdb_reads_a_core(tmp_path, isolate):
    """The copy that was loaded is gone with the process: the library is found by the name of its file."""
    if Path("/proc/sys/kernel/core_pattern").read_text().startswith(("|", "/")):
        pytest.skip("cores go elsewhere on this machine (core_pattern)")

    def cores():
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    host = crashing("on_message", "segv", *isolate, cwd=tmp_path, limits=cores).start()
    if isolate:
        host.wait_log(lambda line: line.get("message") == "a worker is ready" and line.get("mount") == "/c")
    ws = lead(host, "on_message")
    if isolate:
        host.wait_log(lambda line: line.get("how") == "killed by SIGSEGV")
        host.kill()
    else:
        last_words(host)
    if ws:
        ws.drop()
    core = next(tmp_path.glob("core*"))
    said = gdb(BUILD / ("tova-worker" if isolate else "tova-host"), core, "-ex", "bt", "-ex", "info sharedlibrary")
    assert "crash_here (how=" in said and "on_message (m=" in said and "crash.c:" in said, said
