"""--access-log: a line for each connection that has ended."""
import json
import os
import signal
import subprocess

import pytest

from certificates import Certificates, tls
from control import ctl, stats
from probe import Probe, plugin
from tokens import SECRET, claims, hs256
from tova_host import BUILD, IMPATIENT, Host, wait_until
from tova_v1 import Client
from wsclient import connect



class Log:
    def __init__(self, path):
        self.path = path

    def lines(self):
        """Those that are whole."""
        text = self.path.read_text() if self.path.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def line(self, **wanted):
        """The only one that has these members, once it is there."""
        found = wait_until(lambda: [line for line in self.lines() if wanted.items() <= line.items()], f"a line with {wanted}")
        assert len(found) == 1, found
        return found[0]

    def of(self, conn):
        return self.line(conn=conn)


@pytest.fixture(params=["1", "3"], ids=["one loop", "three"])
def probed(request, tmp_path):
    log = Log(tmp_path / "access.log")
    with Host("--plugin", f"/probe={plugin('probe')}", "--threads", request.param, "--access-log", log.path, "--control", tmp_path / "control", *IMPATIENT) as host, \
            Probe(host) as opener:
        yield log, opener, tmp_path / "control"


def test_all_that_a_line_says(tmp_path):
    """Whose it was, how it came, what went to and fro, and nothing that is a secret."""
    log, made = Log(tmp_path / "access.log"), Certificates(tmp_path).make("one", "localhost")
    (tmp_path / "key").write_bytes(SECRET)
    (tmp_path / "key").chmod(0o600)
    with Host("--plugin", "/chat=echo", "--jwt-key", tmp_path / "key", "--jwt-from", "query=token", "--subprotocol", "chat.v2", "--access-log", log.path, *made.args("one"),
              listen="127.0.0.1:0,tls") as host:
        token = hs256(claims(sub="anna"))
        ws = connect("127.0.0.1", host.port, f"/chat/a%20b?token={token}&x=secret", subprotocols=["chat.v1", "chat.v2"], origin="https://localhost", wrap=tls(made.cert("one")))
        for n in (1, 125, 126, 65535, 65536):
            ws.send_binary(b"x" * n)
            assert len(ws.recv_binary()) == n
        ws.close(4001, "grüße")
        assert ws.recv_close()[0] == 4001
        line = log.line(path="/chat/a b")
        total = 1 + 125 + 126 + 65535 + 65536
        assert {name: line[name] for name in ("kind", "message", "mount", "user", "remote", "origin", "subprotocol", "code", "reason", "ended_by", "sockets", "dropped")} == {
            "kind": "access", "message": "closed", "mount": "/chat", "user": "anna", "remote": "127.0.0.1", "origin": "https://localhost", "subprotocol": "chat.v2", "code": 4001,
            "reason": "grüße", "ended_by": "client", "sockets": 1, "dropped": 0}
        assert (line["messages_in"], line["bytes_in"], line["messages_out"], line["bytes_out"]) == (5, total, 5, total)
        assert line["tls"].startswith("TLSv1.") and line["duration_ms"] >= 0 and line["opened"][:-1] <= line["time"][:-1]
        text = log.path.read_text()
        assert token not in text and "secret" not in text and "token" not in text
        assert token not in host.log_text()


def test_who_ended_it(probed):
    log, opener, control = probed

    def end(doing):
        ws = opener.client()
        conn = ws.id
        doing(ws)
        line = log.of(conn)
        ws.drop()
        return line["ended_by"], line["code"], line.get("reason", "")

    assert end(lambda ws: ws.close(4001, "bye")) == ("client", 4001, "bye")
    assert end(lambda ws: ws.drop()) == ("client", 1006, "")
    assert end(lambda ws: ws.script("close 4002 enough")) == ("handler", 4002, "enough")
    assert end(lambda ws: ws.send(b"\xff\xff\xff\xff"))[:2] == ("protocol", 1002)
    assert end(lambda ws: ctl(control, "-m", "/probe", "close", ws.id, "4003", "out")) == ("push", 4003, "out")


def test_counts_are_what_was_said(probed):
    """Also of broadcasts, and of what is compressed on its way."""
    log, opener, _ = probed
    one, two = opener.client(), opener.client(deflate="permessage-deflate")
    for ws in (one, two):
        ws.script("join tea", "send joined")
        assert ws.recv_text() == "joined"
    one.script("to tea " + "a" * 1000)
    assert one.recv_text() == two.recv_text() == "a" * 1000
    ids = [one.id, two.id]
    one.drop()
    two.drop()
    lines = [log.of(conn) for conn in ids]
    assert all(line["bytes_out"] >= 1000 + len("joined") and line["messages_out"] >= 2 for line in lines)
    assert lines[0]["messages_out"] == lines[1]["messages_out"] and lines[0]["bytes_out"] == lines[1]["bytes_out"]
    assert lines[0]["bytes_in"] - lines[1]["bytes_in"] == len("to tea " + "a" * 1000)


def test_a_slow_reader(tmp_path):
    log = Log(tmp_path / "access.log")
    with Host("--plugin", "/relay=relay.so", "--max-queue", "16k", "--access-log", log.path, "--control", tmp_path / "control", "--listen", f"unix:{tmp_path}/web", *IMPATIENT,
              listen="127.0.0.1:0") as host:
        slow = connect(f"unix:{tmp_path}/web", target="/relay/room/a")
        (tmp_path / "text").write_text("x" * 10000)
        for _ in range(200):
            ctl(tmp_path / "control", "--file", tmp_path / "text", "broadcast")
            if log.lines():
                break
        line = log.line(path="/relay/room/a")
        assert line["ended_by"] == "slow" and line["code"] == 1013 and line["remote"] == "unix"
        assert 0 < line["queue_max"] <= 16384 + 10010 and line["bytes_out"] == 10000 * line["messages_out"] > 0
        slow.drop()
        assert host.alive()


def test_a_drain(tmp_path):
    log = Log(tmp_path / "access.log")
    with Host("--plugin", "echo", "--access-log", log.path, *IMPATIENT) as host:
        clients = [connect("127.0.0.1", host.port, "/") for _ in range(3)]
        host.signal(signal.SIGTERM)
        for ws in clients:
            assert ws.recv_close()[0] == 1001
            ws.drop()
        assert host.wait_exit() == 0
    assert [(line["ended_by"], line["code"]) for line in log.lines()] == [("drain", 1001)] * 3


def test_one_that_is_killed_at_once_tells_of_those_that_were_there(tmp_path):
    """TERM twice."""
    log = Log(tmp_path / "access.log")
    with Host("--plugin", "echo", "--access-log", log.path, "--drain", "60s") as host:
        clients = [connect("127.0.0.1", host.port, "/") for _ in range(3)]
        host.signal(signal.SIGTERM)
        host.wait_log(lambda line: line.get("kind") == "drain")
        host.signal(signal.SIGTERM)
        assert host.wait_exit() == 0
        assert len(clients) == 3
    assert len(log.lines()) == 3 and all(line["code"] == 1001 for line in log.lines())


def test_a_session_that_comes_back_has_one_line(tmp_path):
    """With what all of its sockets have sent, and nothing by which somebody could take it over."""
    log = Log(tmp_path / "access.log")
    with Host("--plugin", "echo", "--resume", "60s", "--access-log", log.path, *IMPATIENT) as host:
        client = Client(host.port, "/", subprotocols=["mine"])
        client.send("one")
        assert client.recv() == "one"
        client.drop()
        assert client.back()["resumed"]
        client.send("two")
        assert client.recv() == "two"
        assert log.lines() == []
        client.say(bye=1)
        line = log.line(ended_by="client")
        assert line["sockets"] == 2 and line["messages_in"] >= 2 and line["messages_out"] >= 4
        assert "resume" not in log.path.read_text() and client.token not in log.path.read_text()


def test_what_clients_wrote_can_not_forge_a_line(tmp_path):
    log = Log(tmp_path / "access.log")
    with Host("--plugin", "echo", "--origin", "*", "--access-log", log.path, *IMPATIENT) as host:
        ws = connect("127.0.0.1", host.port, "/a%0Ab%1b%5b31m%22%20code=1000", origin="https://x.example/ code=1")
        ws.close(4000, "a\nb code=1 \u202e")
        ws.recv_close()
        ws.drop()
        text = wait_until(lambda: log.path.exists() and log.path.read_text(), "a line")
    assert text.count("\n") == 1 and "\x1b" not in text and "\u202e" not in text, text
    line = json.loads(text)
    assert (line["path"], line["origin"], line["reason"], line["code"]) == ('/a\nb\x1b[31m" code=1000', "https://x.example/ code=1", "a\nb code=1 \u202e", 4000)


# --- the file ---------------------------------------------------------------------------------------------------------------------

def come_and_go(host):
    connect("127.0.0.1", host.port, "/").drop()


def reloaded(host, config):
    mark = len(host.lines)
    config()
    host.signal(signal.SIGHUP)
    host.wait_log(lambda line: line.get("message") == "the settings were read again", after=mark)


def test_it_is_opened_again_and_moved(tmp_path):
    """HUP and USR1 open it again; a reload switches it on, to another file, and off."""
    one, two, config = Log(tmp_path / "one"), Log(tmp_path / "two"), tmp_path / "conf"
    text = 'mount = ( { path = "/"; plugin = "echo.so"; } );\n'
    config.write_text(text)
    with Host("--config", config, *IMPATIENT) as host:
        early = connect("127.0.0.1", host.port, "/")
        reloaded(host, lambda: config.write_text(text + f'access-log = "{one.path}";'))
        early.drop()  # it was there before there was a log
        come_and_go(host)
        wait_until(lambda: len(one.lines()) == 1, "a line")
        for how, n in ((signal.SIGHUP, 1), (signal.SIGUSR1, 2)):
            one.path.rename(tmp_path / f"moved{n}")
            host.signal(how)
            wait_until(one.path.exists, "it is opened again")
            come_and_go(host)
            wait_until(lambda: len(one.lines()) == 1, "a line")
        assert oct(one.path.stat().st_mode & 0o777) == "0o640"
        reloaded(host, lambda: config.write_text(text + f'access-log = "{two.path}";'))
        come_and_go(host)
        wait_until(lambda: len(two.lines()) == 1, "a line in the other")
        host.expect(lambda line: line.get("message") == "it can not be opened, the old one goes on")
        reloaded(host, lambda: config.write_text(text + f'access-log = "{tmp_path}/none/x";'))
        come_and_go(host)
        wait_until(lambda: len(two.lines()) == 2, "the old one goes on")
        reloaded(host, lambda: config.write_text(text))
        come_and_go(host)
        come_and_go(host)
        wait_until(lambda: stats_connections(host) == 0, "they have gone")
        assert len(two.lines()) == 2 and len(one.lines()) == 1


def stats_connections(host):
    return stats(host.control_socket)["connections"] if getattr(host, "control_socket", None) else 0


def test_a_full_disk_stops_nobody(tmp_path):
    """What could not be written is counted, and said in the log."""
    with Host("--plugin", "echo", "--access-log", "/dev/full", "--control", tmp_path / "control") as host:
        host.expect(lambda line: line.get("message") == "lines of the access log could not be written")
        for _ in range(5):
            come_and_go(host)
        line = host.wait_log(lambda line: line.get("message") == "lines of the access log could not be written")
        assert line["file"] == "/dev/full" and line["lost"] >= 1
        wait_until(lambda: stats(tmp_path / "control")["access_lost"] == 5, "all are counted")
        with connect("127.0.0.1", host.port, "/") as ws:
            ws.send_text("x")
            assert ws.recv_text() == "x"


def test_standard_output():
    host = subprocess.Popen([BUILD / "tova-host", "echo.so", "-l", "127.0.0.1:0", "--access-log", "-", "--log-format", "json", "--control", "/dev/null/none"],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=BUILD)
    said = host.communicate(timeout=30)
    assert host.returncode == 2 and "--control" in said[1]  # a wrong setting is refused as ever
    host = subprocess.Popen([BUILD / "tova-host", "echo.so", "-l", "127.0.0.1:0", "--access-log", "-", "--log-format", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env={**os.environ, "XDG_RUNTIME_DIR": "/nowhere"})
    port = next(int(json.loads(line)["address"].rpartition(":")[2]) for line in host.stderr if '"address"' in line)
    with connect("127.0.0.1", port, "/") as ws:
        ws.close(1000)
        ws.recv_close()
    assert json.loads(host.stdout.readline())["ended_by"] == "client"
    host.terminate()
    host.communicate(timeout=30)
    assert host.returncode == 0


def test_a_file_that_can_not_be_opened_is_refused(tmp_path):
    done = subprocess.run([BUILD / "tova-host", "echo.so", "-l", "127.0.0.1:0", "--access-log", tmp_path / "none/x"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--access-log" in done.stderr and "none/x" in done.stderr
    done = subprocess.run([BUILD / "tova-host", "echo.so", "-l", "127.0.0.1:0", "--check", "--access-log", tmp_path / "none/x"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--access-log" in done.stderr
