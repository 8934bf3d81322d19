"""Many peers that reset, stall, stop in the middle of anything or never read: the others are served, and what they took is given back."""
import os
import random
import resource
import socket
import struct
import time

from probe import plugin
from tova_host import BUILD, PATIENCE, Host, wait_until
from wsclient import BINARY, TEXT, Closed, WebSocket, connect, frame, request_bytes, upgrade_headers

LONG = os.environ.get("TOVA_LONG") == "1"
SANITIZED = b"__asan_init" in (BUILD / "tova-host").read_bytes()


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Rough:
    """A client that never waits for the host and ends anyhow."""

    def __init__(self, host, dice):
        self.sock = socket.create_connection(("127.0.0.1", host.port), timeout=PATIENCE)
        self.dice = dice
        self.write(request_bytes("GET", f"/relay/room/{dice.randrange(5)}?echo={dice.randrange(2)}", upgrade_headers()))

    def write(self, data):
        """As much as the socket takes."""
        self.sock.setblocking(False)
        try:
            self.sock.send(data)
        except (BlockingIOError, ConnectionError):
            pass

    def read(self):
        self.sock.setblocking(False)
        try:
            self.sock.recv(self.dice.choice((1, 100, 100000)))
        except (BlockingIOError, ConnectionError):
            pass

    def act(self):
        """False: it is over."""
        dice = self.dice.random()
        whole = frame(self.dice.choice((TEXT, BINARY)), b"m" * self.dice.choice((0, 1, 125, 126, 5000, 70000)))
        if dice < 0.55:
            self.write(whole)
        elif dice < 0.70:
            self.read()
        elif dice < 0.75:
            self.write(frame(9, b"ping") + frame(0, b"", fin=False))
        elif dice < 0.80:
            self.write(whole[:self.dice.randrange(1, len(whole) + 1)])
        elif dice < 0.85:
            self.write(frame(8, struct.pack(">H", 1000)))
        elif dice < 0.88:
            self.write(os.urandom(30))
        elif dice < 0.91:
            self.sock.shutdown(socket.SHUT_WR)
        elif dice < 0.96:
            reset(self.sock)
            return False
        else:
            self.sock.close()
            return False
        return True


def test_resets_at_any_moment():
    seed = int(os.environ.get("TOVA_SEED", random.randrange(1 << 30)))
    print(f"TOVA_SEED={seed}")
    dice = random.Random(seed)
    n, actions = (500, 60000) if LONG else (150, 6000)
    with Host("--plugin", "/relay=relay", "--plugin", "/echo=echo", "--close-timeout", "1s") as host:
        steady = connect("127.0.0.1", host.port, "/echo")
        before = host.descriptors
        peers = []
        for i in range(actions):
            if len(peers) < n and (i < 2 * n or dice.random() < 0.2):
                peers.append(Rough(host, dice))
                continue
            at = dice.randrange(len(peers))
            try:
                alive = peers[at].act()
            except OSError:  # it had been closed by the host
                peers[at].sock.close()
                alive = False
            if not alive:
                peers[at] = peers[-1]
                peers.pop()
            if i % 500 == 0:
                steady.send_text(str(i))
                assert steady.recv_text() == str(i)
        for peer in peers:
            dice.choice((reset, socket.socket.close))(peer.sock)
        wait_until(lambda: host.descriptors == before, "every descriptor is given back")
        with connect("127.0.0.1", host.port, "/relay/room/0?echo=1") as last:
            last.send_text("alone")
            assert last.recv_text() == "alone"  # nobody is left in the room, nothing is left over
        steady.end()


def flood(host, readers, messages, size):
    """A room of peers that never read, one that does, and one that speaks. Returns the largest the host became meanwhile."""
    largest, idle = 0, host.descriptors
    silent = [connect("127.0.0.1", host.port, "/relay/room/big", receive_buffer=4096) for _ in range(readers)]
    with connect("127.0.0.1", host.port, "/relay/room/big") as reader, connect("127.0.0.1", host.port, "/relay/room/big") as speaker:
        payload = os.urandom(size)
        for _ in range(messages):
            speaker.send_binary(payload)
            assert reader.recv_binary() == payload
            largest = max(largest, host.rss)
        speaker.end()
        reader.end()
    for ws in silent:
        ws.drop()
    wait_until(lambda: host.descriptors <= idle, "the connections are gone")
    return largest


def test_peers_that_never_read():
    readers, messages, size = (100, 2000, 60000) if LONG else (20, 200, 60000)
    queue = 1 << 20
    with Host("--plugin", "/relay=relay", "--log-level", "notice") as host:
        flood(host, 2, 10, size)
        before = host.rss
        largest = flood(host, readers, messages, size)
        after = host.rss
        assert any("reads too slowly" in str(line.get("message")) for line in host.lines), "nobody was ended for reading too slowly"
        if SANITIZED:
            return  # its memory is the sanitizer's
        bound = readers * (queue + size) + (16 << 20)
        assert largest - before < bound, f"{largest - before} bytes more, bound {bound}"
        flood(host, readers, messages, size)
        assert host.rss - after < 8 << 20, f"a second flood left {host.rss - after} bytes more"


def few_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))


def test_a_storm_of_connects_without_descriptors():
    """Who is there is served all the while; the rest get their turn as soon as there are descriptors."""
    rounds = 20 if LONG else 3
    with Host("--plugin", "/echo=echo", limits=few_descriptors) as host:
        steady = connect("127.0.0.1", host.port, "/echo")
        for _ in range(rounds):
            storm = []
            for i in range(300):
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex(("127.0.0.1", host.port))
                storm.append(sock)
                if i % 50 == 0:
                    steady.send_text(str(i))
                    assert steady.recv_text() == str(i)
            for sock in storm:
                random.choice((reset, socket.socket.close))(sock)
            wait_until(lambda: host.descriptors < 40, "the storm is over")
            connect("127.0.0.1", host.port, "/echo").end()
        said = [line for line in host.lines if line.get("kind") == "limit" and line.get("level") == "warn"]
        assert 1 <= len(said) <= rounds, said
        steady.end()


def test_a_client_that_only_writes():
    """Its answers fill its queue: it is not read from any more, so that the sender feels it and the host does not grow."""
    with Host("--plugin", f"/probe={plugin('probe')}", "--plugin", "/echo=echo") as host:
        ws = WebSocket("127.0.0.1", host.port, receive_buffer=4096).handshake("/echo")
        before, sent = host.rss, 0
        data = frame(BINARY, b"x" * 50000)
        ws.sock.setblocking(False)
        full, deadline = 0, time.monotonic() + PATIENCE
        while full < 20:  # nothing more is taken, and that does not change
            try:
                sent += ws.sock.send(data[sent % len(data):])
                full = 0
            except BlockingIOError:
                full += 1
                connect("127.0.0.1", host.port, "/echo").end()
            assert time.monotonic() < deadline, f"{sent} bytes and more were taken"
            assert sent < 64 << 20
        assert SANITIZED or host.rss - before < 16 << 20
        ws.sock.setblocking(True)
        ws.sock.settimeout(PATIENCE)
        for _ in range(sent // len(data) - 1):
            try:
                assert ws.recv_binary() == b"x" * 50000
            except Closed:
                raise AssertionError("it was closed though it began to read") from None
        ws.drop()
