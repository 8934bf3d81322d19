"""Out of descriptors: the host goes on serving, says so once, and accepts again when some are free."""
import json
import os
import resource
import shutil
import tempfile

import pytest

import control
from probe import Host, plugin
from tova_host import wait_until
from wsclient import WebSocket, connect

LIMIT = 64


def few_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))


def test_out_of_descriptors():
    with Host("--plugin", f"/probe={plugin('probe')}", limits=few_descriptors) as host:
        first = connect("127.0.0.1", host.port, "/probe")
        waiting, served = [], [first]
        # The kernel completes connections though nobody accepts them: those beyond the limit get no answer, until others go.
        for _ in range(LIMIT + 20):
            ws = WebSocket("127.0.0.1", host.port, timeout=0.5)
            try:
                ws.handshake("/probe")
                served.append(ws)
            except AssertionError:
                waiting.append(ws)
                if len(waiting) == 3:
                    break
        assert len(served) > LIMIT // 2 and len(waiting) == 3
        host.wait_log(lambda line: line.get("kind") == "limit" and line.get("level") == "warn", "that descriptors ran out")
        for ws in served[:5] + served[-5:]:
            ws.sock.settimeout(10)
            ws.send_text("send served")
            assert ws.recv_text() == "served"
        said = [line for line in host.lines if line.get("kind") == "limit" and line.get("level") == "warn"]
        assert len(said) == 1, said
        for ws in served[-10:]:
            ws.drop()
        for ws in waiting:
            ws.sock.settimeout(10)
            assert ws.response_head().status == 101
            ws.send_text("send late")
            assert ws.recv_text() == "late"
        for ws in served[:-10] + waiting:
            ws.drop()
        wait_until(lambda: host.descriptors < 30, "descriptors are given back")
        connect("127.0.0.1", host.port, "/probe").end()


def fill(host):
    """As many clients as the host takes, and the one that waits."""
    served = []
    while True:
        ws = WebSocket("127.0.0.1", host.port, timeout=0.5)
        try:
            ws.handshake("/probe")
            served.append(ws)
        except AssertionError:
            return served, ws


@pytest.mark.parametrize("threads", [1, 3])
def test_the_operator_gets_in_when_clients_have_all(threads):
    """Clients take all descriptors that are theirs: tova-ctl is answered, and HUP brings new workers and a new folder."""
    with tempfile.TemporaryDirectory() as directory:
        socket, file = f"{directory}/control.sock", f"{directory}/probe.so"
        shutil.copy(plugin("probe"), file)
        with Host("--plugin", f"/probe={file}", "--isolate", "--control", socket, "--static", directory,
                  "--threads", threads, limits=few_descriptors) as host:
            connect("127.0.0.1", host.port, "/probe").end()
            served, waiting = fill(host)
            host.wait_log(lambda line: line.get("kind") == "limit" and line.get("level") == "warn", "that descriptors ran out")
            assert json.loads(control.ctl(socket, "--json", "stats"))["stats"]["connections"] >= len(served)
            shutil.copy(plugin("probe_v2"), file + ".new")
            os.replace(file + ".new", file)  # workers of a file that is the same are left alone
            control.ctl(socket, "reload")
            host.wait_log(lambda line: "new workers serve" in line.get("message", ""), "the new generation")
            for ws in served:
                ws.sock.settimeout(10)
                ws.send_text("send served")
                assert ws.recv_text() == "served"
            served.pop().drop()
            waiting.sock.settimeout(10)
            assert waiting.response_head().status == 101
            for ws in [*served, waiting]:
                ws.drop()


def test_max_connections():
    with Host("--plugin", f"/probe={plugin('probe')}", "--max-connections", "5") as host:
        clients = [connect("127.0.0.1", host.port, "/probe") for _ in range(5)]
        ws = WebSocket("127.0.0.1", host.port, timeout=0.5)
        try:
            ws.handshake("/probe")
            raise RuntimeError("a sixth connection was accepted")
        except (AssertionError, OSError):
            pass
        clients[0].end()
        for ws in clients[1:]:
            ws.send_text("send served")
            assert ws.recv_text() == "served"
        wait_until(lambda: accepted(host), "one more is accepted again")
        for ws in clients:
            ws.drop()


def accepted(host):
    try:
        connect("127.0.0.1", host.port, "/probe", timeout=0.5).end()
        return True
    except (AssertionError, OSError):
        return False
