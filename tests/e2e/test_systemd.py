"""What systemd is told and gives: readiness, reload, stop, watchdog, sockets, and lines for the journal. It is played by these tests."""
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from probe import plugin
from tova_host import BUILD, PATIENCE, Host, wait_until
from wsclient import connect


class Notified:
    """A NOTIFY_SOCKET, and what came at it."""

    def __init__(self, folder):
        self.path = str(folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(PATIENCE)
        self.told = []

    def until(self, word):
        """Takes messages up to the first that begins with the word, and returns it."""
        while True:
            message = self.socket.recv(4096).decode()
            self.told.append(message)
            if message.startswith(word):
                return message

    def now(self):
        """What has come by now, for which nothing is waited."""
        self.socket.setblocking(False)
        try:
            while True:
                self.told.append(self.socket.recv(4096).decode())
        except BlockingIOError:
            return self.told
        finally:
            self.socket.settimeout(PATIENCE)


@pytest.fixture
def notified(tmp_path):
    made = Notified(tmp_path)
    yield made
    made.socket.close()


def test_ready_reload_and_stop(notified):
    with Host("--plugin", plugin("probe"), env={"NOTIFY_SOCKET": notified.path}) as host:
        notified.until("READY=1")
        assert notified.told == ["READY=1"]
        assert notified.until("STATUS=") == "STATUS=serving: 0 connections, 0 rooms"
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        host.signal(signal.SIGHUP)
        reloading = notified.until("RELOADING=1")
        stamp = int(re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", reloading).group(1))
        assert before <= stamp <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        notified.until("READY=1")
        host.stop()
        notified.until("STOPPING=1")
        assert notified.until("STATUS=").startswith("STATUS=stopping: 0 connections")


def test_settings_that_are_wrong_end_a_reload_too(notified, tmp_path):
    config = tmp_path / "tova.conf"
    config.write_text('mount = ( { plugin = "echo.so"; } );\n')
    with Host("--config", config, env={"NOTIFY_SOCKET": notified.path}) as host:
        notified.until("READY=1")
        config.write_text("nonsense = 1;\n")
        host.expect(lambda line: line.get("kind") == "reload")
        host.signal(signal.SIGHUP)
        notified.until("RELOADING=1")
        notified.until("READY=1")


def test_ready_is_said_when_handlers_are(notified, tmp_path):
    """Listening is not enough: until a worker of each mount has come up a client would get 503."""
    go = tmp_path / "go"
    os.mkfifo(go)
    with Host("--worker", f"/slow=read x <{go}; exec {BUILD}/tova-worker {plugin('probe')}", "--plugin", f"/fast={plugin('probe')}",
              env={"NOTIFY_SOCKET": notified.path}) as host:
        with connect("127.0.0.1", host.port, "/fast") as ws:
            ws.send_text("send served")
            assert ws.recv_text() == "served"
            ws.end()
        assert notified.until("STATUS=") == "STATUS=serving: 0 connections, 0 rooms; no worker is ready at /slow"
        assert not any(message.startswith("READY") for message in notified.now())
        go.write_text("x\n")
        notified.until("READY=1")
        with connect("127.0.0.1", host.port, "/slow") as ws:
            ws.send_text("send served")
            assert ws.recv_text() == "served"
            ws.end()


def test_workers_that_others_start_are_not_waited_for(notified, tmp_path):
    with Host("--attach", f"ipc://{tmp_path}/attach", env={"NOTIFY_SOCKET": notified.path}):
        notified.until("READY=1")


def test_signs_of_life_and_a_status(notified):
    with Host("--plugin", plugin("probe"), env={"NOTIFY_SOCKET": notified.path, "WATCHDOG_USEC": "100000"}) as host:
        for _ in range(5):
            notified.until("WATCHDOG=1")
        with connect("127.0.0.1", host.port) as ws:
            ws.send_text("join r\nsend in")
            assert ws.recv_text() == "in"
            assert notified.until("STATUS=serving: 1") == "STATUS=serving: 1 connections, 1 rooms"
            ws.end()


def test_a_loop_that_stands_still_gives_no_sign(notified):
    """A plugin that hangs is what the watchdog is for."""
    with Host("--plugin", plugin("probe"), env={"NOTIFY_SOCKET": notified.path, "WATCHDOG_USEC": "100000"}) as host:
        notified.until("WATCHDOG=1")
        with connect("127.0.0.1", host.port) as ws:
            ws.send_text("send before")
            assert ws.recv_text() == "before"
            ws.send_text("stall 1500\nsend behind")
            time.sleep(0.2)  # into the callback
            notified.now()
            mark = len(notified.told)
            assert ws.recv_text() == "behind"
            # One that was due is sent behind it; the ten that were left out are not.
            assert len([m for m in notified.now()[mark:] if m.startswith("WATCHDOG")]) <= 3
            ws.end()


# --- sockets from systemd -------------------------------------------------------------------------------------------------------

def activated(names, sockets, *args):
    """A host that is started as systemd starts it, with these sockets from descriptor 3 on."""
    high = [fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 200) for s in sockets]  # out of the way of where they go
    places = " ".join(f"{3 + i}<&{fd} {fd}<&-" for i, fd in enumerate(high))
    host = subprocess.Popen(["bash", "-c", f"exec {places}; LISTEN_PID=$$ exec \"$@\"", "bash", BUILD / "tova-host", "--plugin", plugin("probe"),
                             "--drain", "0", *args], pass_fds=high, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": ":".join(names)})
    for fd in high:
        os.close(fd)
    return host


def served(connection):
    with connection as ws:
        ws.send_text("send served")
        assert ws.recv_text() == "served"
        ws.end()


@pytest.mark.parametrize("threads", [1, 3])
def test_sockets_are_taken_by_their_names(tmp_path, threads):
    """Also two of one name, and a Unix socket, which stays where systemd has put it."""
    web, web2 = socket.create_server(("127.0.0.1", 0)), socket.create_server(("::1", 0), family=socket.AF_INET6)
    local = socket.socket(socket.AF_UNIX)
    local.bind(str(tmp_path / "local"))
    local.listen()
    sockets = [web, local, web2]
    with activated(["web", "local", "web"], sockets, "-l", "systemd:web", "-l", "systemd:local", "--control", tmp_path / "control",
                   "--threads", str(threads)) as host:
        ports = [s.getsockname()[1] for s in (web, web2)]
        for s in sockets:
            s.close()
        served(connect("127.0.0.1", ports[0]))
        served(connect("::1", ports[1]))
        served(connect(f"unix:{tmp_path}/local", 0))
        host.send_signal(signal.SIGTERM)
        said = host.stderr.read()
        assert host.wait(PATIENCE) == 0, said
        assert f"address=127.0.0.1:{ports[0]}" in said and f"address=[::1]:{ports[1]}" in said and f"address=unix:{tmp_path}/local" in said
    assert (tmp_path / "local").exists()


@pytest.mark.parametrize("names, args, said", [
    (["web"], ["-l", "systemd:other"], "tova-host: --listen: systemd:other: systemd passes no socket of that name; it passes web"),
    ([], ["-l", "systemd:other"], "tova-host: --listen: systemd:other: systemd passes no socket of that name; is the .socket unit started"),
])
def test_names_that_do_not_fit(tmp_path, names, args, said):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    with activated(names, sockets, "--control", tmp_path / "control", *args) as host:
        assert said in host.stderr.read()
        assert host.wait(PATIENCE) == 2
    for s in sockets:
        s.close()


def test_a_socket_that_nobody_takes_is_told(tmp_path):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    with activated(["web", "metrics"], sockets, "-l", "systemd:web", "--control", tmp_path / "control") as host:
        served(connect("127.0.0.1", sockets[0].getsockname()[1]))
        host.send_signal(signal.SIGTERM)
        assert "systemd passes sockets that no --listen systemd:NAME takes names=metrics" in host.stderr.read()
        assert host.wait(PATIENCE) == 0
    for s in sockets:
        s.close()


def test_no_stream_socket(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 0))
        with activated(["web"], [datagrams], "-l", "systemd:web", "--control", tmp_path / "control") as host:
            assert "--listen: systemd:web: it is no socket that takes TCP or Unix connections (ListenStream=)" in host.stderr.read()
            assert host.wait(PATIENCE) == 2


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="needs systemd-socket-activate")
def test_through_systemds_own_tool(tmp_path, notified):
    """It starts the host when the first client comes, who waits for it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen(["systemd-socket-activate", "-l", f"127.0.0.1:{port}", "--fdname=web", "-E", f"NOTIFY_SOCKET={notified.path}",
                           BUILD / "tova-host", "--plugin", plugin("probe"), "-l", "systemd:web", "--drain", "0", "--control",
                           tmp_path / "control"], stderr=subprocess.PIPE, text=True) as host:
        wait_until(lambda: is_listening(port), "the tool listens")
        served(connect("127.0.0.1", port))
        notified.until("READY=1")
        host.send_signal(signal.SIGTERM)
        assert host.wait(PATIENCE) == 0, host.stderr.read()


def is_listening(port):
    """Without a connection, which would start the host."""
    wanted = f"0100007F:{port:04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return any(row[1] == wanted and row[3] == "0A" for row in rows)


# --- the journal --------------------------------------------------------------------------------------------------------------

def test_lines_for_the_journal(tmp_path):
    """systemd says which descriptor the journal reads; it stamps lines itself, and takes levels from their front."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    at = os.fstat(theirs.fileno())
    with subprocess.Popen([BUILD / "tova-host", "--plugin", "echo.so", "-l", "127.0.0.1:0", "--control", tmp_path / "control", "--drain", "0"],
                          stderr=theirs, env={**os.environ, "JOURNAL_STREAM": f"{at.st_dev}:{at.st_ino}"}) as host:
        theirs.close()
        text = ""
        while "host: started" not in text:
            text += ours.recv(4096).decode()
        host.send_signal(signal.SIGTERM)
        while piece := ours.recv(4096).decode():
            text += piece
        assert host.wait(PATIENCE) == 0
    ours.close()
    lines = text.splitlines()
    assert re.fullmatch(r"<5>listen: listening address=127\.0\.0\.1:\d+ tls=false", next(line for line in lines if "listening" in line))
    assert all(re.match(r"<[3-7]>[a-z.]+: ", line) for line in lines)


# --- starts that fail -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("command", ["exit 3", "no-such-program-anywhere; exit 127"])
def test_a_worker_that_never_comes_up_ends_the_host(notified, command):
    host = Host("--worker", command, "--start-attempts", "3", env={"NOTIFY_SOCKET": notified.path})
    host.start()
    line = host.wait_log(lambda line: "never came up" in line.get("message", ""))
    assert line["level"] == "error" and line["starts"] == 3
    assert host.wait_exit() == 1
    assert not [m for m in notified.now() if m.startswith("READY")]


def test_a_worker_that_has_served_is_started_again_for_ever(tmp_path):
    """The same deaths later are a trouble, and no reason to send everybody away."""
    with Host("--worker", f"[ -e {tmp_path}/broken ] && exit 1; exec {BUILD}/tova-worker {plugin('probe')}", "--start-attempts", "2") as host:
        host.wait_log(lambda line: line.get("message") == "a worker is ready")
        host.expect(lambda line: "keeps dying" in line.get("message", ""))
        (tmp_path / "broken").touch()
        for pid in host.children:
            os.kill(pid, signal.SIGKILL)
        host.wait_log(lambda line: "keeps dying" in line.get("message", ""))
        (tmp_path / "broken").unlink()
        host.wait_log(lambda line: line.get("message") == "a worker is ready", after=len(host.lines), timeout=60)


def test_zero_attempts_are_any_number():
    with Host("--worker", "exit 3", "--start-attempts", "0") as host:
        host.expect(lambda line: "keeps dying" in line.get("message", ""))
        host.wait_log(lambda line: "keeps dying" in line.get("message", ""))


# --- limits -----------------------------------------------------------------------------------------------------------------------

def test_a_limit_that_can_not_hold_max_connections_is_told():
    import resource

    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))
    with Host("--plugin", "echo.so", "--max-connections", "1000", limits=few) as host:
        line = host.wait_log(lambda line: "more than the limit of open files allows" in line.get("message", ""))
        assert (line["level"], line["max-connections"], line["open_files"]) == ("warn", 1000, 512) and 0 < line["allowed"] < 512
    with Host("--plugin", "echo.so", "--max-connections", "100", limits=few) as host:
        wait_until(lambda: any(line.get("message") == "started" for line in host.lines))
        assert not any(line.get("kind") == "limit" for line in host.lines)
