"""What is secret stays so: files and sockets that others can not open, no secret in the log or on a command line."""
import os
import signal
import stat
import subprocess
from pathlib import Path

from probe import plugin
from tokens import SECRET, claims, hs256
from tova_host import BUILD, IMPATIENT, Host, wait_until
from wsclient import connect, refused

TOKEN = "attached-workers-say-this"


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def environment(pid):
    return dict(pair.split("=", 1) for pair in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in pair)


def test_files_and_sockets_and_the_log(tmp_path):
    (tmp_path / "key").write_bytes(SECRET)
    (tmp_path / "token").write_text(TOKEN + "\n")
    os.chmod(tmp_path / "key", 0o604)
    os.chmod(tmp_path / "token", 0o644)
    arguments = ("--isolate", "-p", f"/in={plugin('probe')}", "-a", f"/out=ipc://{tmp_path}/ipc", "-x", "/script=exec cat", "--plugin-set", "greeting=hello",
                 "--attach-token", tmp_path / "token", "--jwt-key", tmp_path / "key", "--jwt-from", "header,query=token",
                 "--dead-letter", tmp_path / "letters", "--control", tmp_path / "control", "--log-level", "debug", *IMPATIENT)
    with Host(*arguments, listen=["127.0.0.1:0", f"unix:{tmp_path}/door"], limits=lambda: os.umask(0)) as host:
        host.wait_log(lambda line: line.get("message") == "a worker is ready")
        assert [mode(tmp_path / name) for name in ("control", "ipc", "letters", "door")] == [0o600, 0o600, 0o600, 0o660]
        worker = host.children[0]
        socket = Path(environment(worker)["TOVA_URL"].removeprefix("ipc://"))
        assert mode(socket) == 0o600 and mode(socket.parent) == 0o700
        warned = {line["message"] for line in host.lines if line.get("level") == "warn"}
        assert any("read a secret" in said for said in warned) and any("token of attached workers" in said for said in warned), warned
        good, bad = hs256(claims()), hs256(claims(exp=5))
        for path in ("/in", "/script"):
            with connect("127.0.0.1", host.port, f"{path}?token={good}") as ws:
                ws.send_text("send hello\n")
                assert "hello" in ws.recv_text()
        assert refused("127.0.0.1", host.port, f"/in?token={bad}").status == 401
        assert refused("127.0.0.1", host.port, f"/out?token={bad}").status == 401
        secrets = [SECRET.decode(), TOKEN, environment(worker)["TOVA_TOKEN"], *good.split("."), *bad.split(".")]
        for pid in (host.pid, *host.children):
            try:
                command = Path(f"/proc/{pid}/cmdline").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue  # a script whose client has gone
            assert not any(secret in command for secret in secrets)
        wait_until(lambda: sum(line.get("kind") == "conn.close" for line in host.lines) >= 2, "both have ended")
        lines = str(host.lines)
        assert "debug" in lines and not any(secret in lines for secret in secrets)


def test_the_mode_of_listeners(tmp_path):
    for asked in ("600", "660", "666"):
        for mask in (0, 0o777):
            with Host("-x", "cat", "--unix-mode", asked, listen=f"unix:{tmp_path}/door{mask}", limits=lambda mask=mask: os.umask(mask)):
                assert mode(tmp_path / f"door{mask}") == int(asked, 8)


def test_a_log_file_is_not_for_everybody(tmp_path):
    process = subprocess.Popen([str(BUILD / "tova-host"), "-x", "cat", "-l", "127.0.0.1:0", "--log-file", str(tmp_path / "log"), "--control",
                                str(tmp_path / "control"), "--drain", "0"], preexec_fn=lambda: os.umask(0))
    wait_until(lambda: (tmp_path / "log").exists() and "started" in (tmp_path / "log").read_text(), "it has started")
    assert mode(tmp_path / "log") == 0o640
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
