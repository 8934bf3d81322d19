"""Several loops (--threads): one room over all of them, whatever its members do; and what of the host is one although loops are several.

Other tests of this folder run with several loops, too: make check-threads."""
import asyncio
import os
import random
import signal
import socket
import subprocess
from pathlib import Path

import control
import pytest
from control import stats_of
from crowd import Crowd
from probe import Host, kind_args, plugin
from tova_host import BUILD, wait_until
from wsclient import Http, connect, http_get, request_bytes, upgrade_headers

ROOMS = ["a", "b", "c", "d"]


class Member:
    """What a client asked for and what it heard, in order."""

    def __init__(self, crowd, number):
        self.crowd, self.number, self.heard, self.rooms = crowd, number, [], set()

    async def come(self):
        self.ws = await self.crowd.connect("/probe", lambda _, text: self.heard.append(text))
        return self

    def join(self, room):
        self.rooms.add(room)
        self.ws.send(f"join {room}\nsend +{room}")

    def leave(self, room):
        self.rooms.discard(room)
        self.ws.send(f"leave {room}\nsend -{room}")

    def stays(self):
        """For each stay in a room: the room, what was heard of it, and whether the end of the stay was heard."""
        now, done = {}, []
        for text in self.heard:
            if text[0] == "+":
                now[text[1:]] = []
            elif text[0] == "-":
                done.append((text[1:], now.pop(text[1:]), True))
            elif text[0] in ROOMS:
                assert text[0] in now, f"client {self.number} heard {text!r} outside of its stays"
                now[text[0]].append(text)
        return done + [(room, texts, False) for room, texts in now.items()]


async def storm(host, clients, steps, seed, disturb=None):
    rng = random.Random(seed)
    async with Crowd(host) as crowd:
        anchors = [await Member(crowd, n).come() for n in range(8)]
        for anchor in anchors:
            for room in ROOMS:
                anchor.join(room)
        await crowd.until(lambda: all(len(a.heard) >= len(ROOMS) for a in anchors), "the anchors are in all rooms")
        members, gone = [await Member(crowd, n).come() for n in range(len(anchors), clients)], []
        for step in range(steps):
            who = rng.randrange(len(members))
            m, room, what = members[who], rng.choice(ROOMS), rng.random()
            if what < 0.5:
                (m if rng.random() < 0.9 else rng.choice(anchors)).ws.send(f"to {room} {room}.{m.number}.{step}")
            elif what < 0.6:
                m.ws.send(f"broadcast *{m.number}.{step}")
            elif what < 0.93:
                (m.leave if room in m.rooms else m.join)(room)
            else:
                gone.append(m)
                m.ws.drop() if what < 0.97 else m.ws.close()
                members[who] = await Member(crowd, clients + step).come()
            if step % 50 == 0:
                await asyncio.sleep(0)
            if disturb is not None and step % (steps // 5) == steps // 10:
                disturb()
        # Who came last hears the others from when its open has been handled, which may have to wait for a worker.
        for m in members + anchors:
            m.ws.send("send e")
        await crowd.until(lambda: all("e" in m.heard for m in members + anchors), "everybody is in")
        # Whoever is last in the mount's order is heard last by everybody; who has dropped may have been cut off with words unsaid.
        for m in members + anchors:
            m.ws.send(f"send end\nbroadcast *end {m.number}")
        ends = len(members) + len(anchors)

        def missing():
            return {m.number: ends - sum(t.startswith("*end") for t in m.heard) for m in members + anchors
                    if sum(t.startswith("*end") for t in m.heard) != ends}

        try:
            await crowd.until(lambda: not missing(), "everybody hears everybody's end")
        except AssertionError as error:
            raise AssertionError(f"{error}; missing: {missing()}; wrong: {crowd.wrong[:5]}") from None
        assert crowd.wrong == []
        return anchors, members, gone


def check(anchors, members, gone):
    """There is one order, and everybody heard a piece of it without gaps for as long as it was a member."""
    texts = [[t for t in a.heard if t[0] not in "+-e"] for a in anchors]
    assert all(t == texts[0] for t in texts), "those who were in all rooms all the time heard different things"
    place = {text: i for i, text in enumerate(texts[0])}
    assert len(place) == len(texts[0]), "something was heard twice"
    in_room = {room: [t for t in texts[0] if t[0] == room] for room in ROOMS}
    at = {t: i for room in ROOMS for i, t in enumerate(in_room[room])}
    stays = 0
    for m in members + gone:
        order = [place[t] for t in m.heard if t[0] not in "+-e"]
        assert order == sorted(order), f"client {m.number} heard another order"
        for room, heard, _ in m.stays():
            stays += 1
            first = at[heard[0]] if heard else 0
            assert [at[t] for t in heard] == list(range(first, first + len(heard))), f"client {m.number}: a gap in {room}"
    assert stays > 100 and sum(map(len, in_room.values())) > 300


@pytest.mark.parametrize("threads", [2, 4])
def test_one_order_for_all(threads):
    """Clients join, leave, speak, reset and come again: everybody hears one order, and without a gap while it is a member."""
    with Host("--plugin", f"/probe={plugin('probe')}", "--threads", threads) as host:
        wait_until(lambda: host.status("Threads") >= threads, "there is a thread for each loop")
        check(*asyncio.run(storm(host, 200, 2500, threads)))
        stats = wait_until(lambda: (s := stats_of(host))["connections"] == 0 and s, "all are gone")
        assert stats["rooms"] == stats["memberships"] == stats["sockets"] == 0
        assert stats["opened"] == stats["accepted"] >= 120


def test_one_order_while_workers_are_killed():
    def disturb():
        for child in Path(f"/proc/{host.pid}/task").glob("*/children"):
            for pid in child.read_text().split():
                os.kill(int(pid), signal.SIGKILL)

    # An event that is killed with its worker again and again would be quarantined.
    with Host("--plugin", f"/probe={plugin('probe')}", "--threads", 2, "--max-attempts", 100, *kind_args("pool")) as host:
        check(*asyncio.run(storm(host, 60, 1000, 9, disturb)))


def test_slow_ones_are_seen_on_every_loop():
    """What waits for a client that does not read is told of, wherever it is, and no more when it has read; one too many ends it."""
    with Host("--plugin", f"/probe={plugin('probe')}", "--threads", 2, "--max-queue", "1m") as host:
        def slow():
            return [c["waiting"] for c in control.ask(host.control_socket, "slow_connections")["connections"]]

        members = [connect("127.0.0.1", host.port, "/probe", receive_buffer=4096) for _ in range(6)]
        talker = connect("127.0.0.1", host.port, "/probe")
        for ws in members:
            ws.send_text("join r\nsend in")
            assert ws.recv_text() == "in"
        talker.send_text("\n".join([f"to r {'x' * 50000}"] * 20))
        wait_until(lambda: len(slow()) == 6 and min(slow()) > 100000, "all are slow")
        for ws in members[:3]:
            for _ in range(20):
                assert len(ws.recv_text()) == 50000
        wait_until(lambda: len(slow()) == 3, "three have read")
        assert stats_of(host)["slow_ended"] == 0
        for _ in range(100):
            talker.send_text(f"to r {'y' * 50000}")
        for _ in range(3):
            line = host.wait_log(lambda line: line["kind"] == "conn.slow", "that it is closed")
            assert line["waiting"] > 900000
        wait_until(lambda: stats_of(host)["slow_ended"] >= 3, "those that read nothing are closed")
        for ws in [talker, *members]:
            ws.drop()


# --- doors --------------------------------------------------------------------------------------------------------------------------------

def listeners_of(port):
    """How many sockets listen at this port of 127.0.0.1."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(line.split()[1] == f"0100007F:{port:04X}" and line.split()[3] == "0A" for line in lines)


def refused(*args):
    """What a host says that does not start."""
    done = subprocess.run([BUILD / "tova-host", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    assert done.returncode == 2, done.stdout
    return done.stdout


def test_each_loop_listens_and_nobody_else():
    with Host("--plugin", "echo", "--threads", 3) as host:
        assert listeners_of(host.port) == 3
        for threads in (1, 2):
            assert "Address already in use" in refused("--plugin", "echo", "--threads", threads, "-l", f"127.0.0.1:{host.port}")
    with Host("--plugin", "echo") as host:
        assert listeners_of(host.port) == 1
        assert "Address already in use" in refused("--plugin", "echo", "--threads", 2, "-l", f"127.0.0.1:{host.port}")


def test_a_unix_socket_for_all_loops(tmp_path):
    path = tmp_path / "s"
    with Host("--plugin", "echo", "--threads", 3, listen=f"unix:{path}") as host:
        clients = []
        for _ in range(12):
            clients.append(socket.socket(socket.AF_UNIX))
            clients[-1].connect(str(path))
        wait_until(lambda: stats_of(host)["sockets"] == 12, "all are accepted")
        for sock in clients:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                         b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            assert sock.recv(4096).startswith(b"HTTP/1.1 101 ")
        for sock in clients:
            sock.close()
        wait_until(lambda: stats_of(host)["connections"] == 0, "all are gone")


def test_who_asks_and_goes_while_the_host_ends(tmp_path):
    """What another loop has told meanwhile nobody hears any more: neither that there is a client, nor that it has gone."""
    held = tmp_path / "held"
    with Host("--plugin", plugin("held_stop"), "--plugin-set", f"held={held}", "--threads", 2) as host:
        host.signal(signal.SIGTERM)
        wait_until(held.exists, "the hub's loop has come to its end")
        with Http("127.0.0.1", host.port) as client:  # which the other loop takes
            client.send(request_bytes(headers=upgrade_headers()))
            http_get("127.0.0.1", host.port)  # is answered behind it
            client.reset()
            http_get("127.0.0.1", host.port)
        held.unlink()
        assert host.wait_exit() == 0
        host.judge_log()


def test_as_many_as_may_come_over_all_loops():
    with Host("--plugin", "echo", "--threads", 3, "--max-connections", 10) as host:
        clients = [connect("127.0.0.1", host.port) for _ in range(10)]
        more = socket.create_connection(("127.0.0.1", host.port))
        host.wait_log(lambda line: line.get("kind") == "limit" and line["level"] == "warn", "that there are too many")
        assert stats_of(host)["sockets"] == 10
        clients[3].end()
        more.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        more.settimeout(30)
        assert more.recv(4096).startswith(b"HTTP/1.1 426 ")
        more.close()
        for ws in clients[:3] + clients[4:]:
            ws.send_text("still there")
            assert ws.recv_text() == "still there"
            ws.drop()


def test_files_and_limits_of_a_reload_on_every_loop(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f.txt").write_text(name)
    config = tmp_path / "c"
    config.write_text(f'static = "{tmp_path}/old"\nmax-message = "1k"\n')
    with Host("--plugin", "/ws=echo", "--threads", 4, "-c", config) as host:
        def all_say(name):
            return all(http_get("127.0.0.1", host.port, "/f.txt").body == name for _ in range(24))
        assert all_say(b"old")
        config.write_text(f'static = "{tmp_path}/new"\nmax-message = "64k"\n')
        host.reload()
        wait_until(lambda: all_say(b"new"), "all loops serve the new folder")
        for _ in range(12):
            with connect("127.0.0.1", host.port, "/ws") as ws:
                ws.send_text("x" * 40000)
                assert ws.recv_text() == "x" * 40000
