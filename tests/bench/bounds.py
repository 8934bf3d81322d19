"""Bounds under the attacks that they are for: the memory that is resident, and the longest turn of a loop.

    bounds.py [NAME...]

Each attack runs at a host with one loop and at one with three. Prints Markdown: the bound, the most memory that was resident beyond what
the host had before, and the longest turn of any of its loops by its thread's clock. Fails when memory is beyond what the attack allows.
"""
import argparse
import contextlib
import json
import resource
import socket
import struct
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from control import ask, do, stats  # noqa: E402
from flood import Flood, Resident  # noqa: E402
from probe import Probe, ProbeClient, plugin  # noqa: E402
from raw_worker import HANDSHAKE, RawWorker  # noqa: E402
from tova_host import PATIENCE, Host, wait_until  # noqa: E402
from wsclient import BINARY, TEXT, connect, frame  # noqa: E402

MIB = 1 << 20
LARGE = 15 * MIB

ATTACKS = {}


def attack(what, allowed):
    """allowed: bytes that may be resident, with some for pages that the host had not touched before."""
    def add(function):
        ATTACKS[function.__name__] = (what, allowed + 4 * MIB, function)
        return function
    return add


class Field:
    """A host under attack, and what it costs."""

    def __init__(self, folder, threads, *args):
        self.folder, self.control, self.url = folder, folder / "control", f"ipc://{folder}/attach"
        self.stack = contextlib.ExitStack()
        self.host = self.stack.enter_context(Host("--control", self.control, "--threads", str(threads), "--idle-timeout", "0",
                                                  "--close-timeout", "500ms", "--handler-timeout", "600s", *args))

    def begin(self):
        self.resident = Resident(self.host)

    def client(self, path="/"):
        return self.stack.enter_context(connect("127.0.0.1", self.host.port, path))

    def clients(self, n, path="/"):
        return [self.client(path) for _ in range(n)]

    def send_all(self, clients, message):
        """Until no more is taken."""
        Flood([ws.sock for ws in clients], lambda i: message).until_still()

    def worker(self, url=None, **hello):
        return self.stack.enter_context(RawWorker(url or self.url)).hello(**hello)

    def stop_reading(self, probe, n):
        """So many in the room `news`, at a Unix socket, which has small buffers."""
        for _ in range(n):
            ws = ProbeClient(f"unix:{self.folder}/web")
            probe._clients.append(ws)
            ws.handshake(probe.mount + "/")
            assert ws.ask("join news", "send joined") == "joined"

    def is_well(self, ws, text="send here", answer="here"):
        ws.sock.settimeout(PATIENCE)
        ws.send_text(text)
        assert ws.recv_text() == answer

    def end(self):
        most, turn = self.resident.end(), stats(self.control)["loop_turn_max_us"]
        self.stack.close()
        return most, turn


# --- what clients have sent ----------------------------------------------------------------------------------------------------------


@attack("150 clients send 15 MiB each to a worker that is busy, `--hold-bytes 64m`", 64 * MIB * 5 // 4 + LARGE)
def busy_worker(folder, threads):
    field = Field(folder, threads, "--attach", f"ipc://{folder}/attach", "--hold-bytes", "64m")
    field.worker(events=["message"])
    clients = field.clients(150)
    field.begin()
    field.send_all(clients, frame(BINARY, b"x" * LARGE))
    return field


@attack("600 clients send 1 MiB each to a plugin that stands still for 5 s and then copies each, `--hold-bytes 64m`", 64 * MIB * 5 // 4 + 2 * MIB)
def plugin_stands_still(folder, threads):
    field = Field(folder, threads, "--plugin", plugin("probe"), "--hold-bytes", "64m")
    clients = field.clients(600)
    field.is_well(clients[0])
    message = frame(TEXT, b"log 4 " + b"." * MIB)
    field.begin()
    clients[0].send_text("stall 5000")
    Flood([ws.sock for ws in clients], lambda i: message).finish()
    return field


@attack("4 clients send 15 MiB of control characters to a worker that does not read, `--hold-bytes 64m`", 64 * MIB * 5 // 4 + LARGE)
def control_characters(folder, threads):
    field = Field(folder, threads, "--attach", f"ipc://{folder}/attach", "--hold-bytes", "64m")
    field.worker(events=["message"])
    clients = field.clients(4)
    field.begin()
    field.send_all(clients, frame(TEXT, b"\x01" * LARGE))
    return field


@attack("20 clients send 15 MiB each to scripts that read nothing, `--hold-bytes 64m`", 64 * MIB * 5 // 4 + LARGE)
def scripts_that_do_not_read(folder, threads):
    field = Field(folder, threads, "--script", "/slow=sh -c 'exec sleep 1000'", "--plugin", f"/probe={plugin('probe')}", "--hold-bytes", "64m")
    clients, other = field.clients(20, "/slow"), field.client("/probe")
    field.begin()
    field.send_all(clients, frame(TEXT, b"x" * LARGE))
    field.is_well(other)
    return field


@attack("a script reads 256 MiB slowly, `--hold-bytes 16m`", 256 * MIB * 5 // 4)
def slow_script(folder, threads):
    read = f"{sys.executable} -c 'import os, time\nwhile os.read(0, 65536): time.sleep(0.001)'"
    field = Field(folder, threads, "--script", f"/slow={read}", "--plugin", f"/probe={plugin('probe')}", "--hold-bytes", "/slow=16m",
                  "--max-message", "256m")
    slow, other = field.client("/slow"), field.client("/probe")
    field.begin()
    flood = Flood([slow.sock], lambda i: frame(TEXT, b"x" * (255 * MIB)))
    flood.until_still()
    for _ in range(100):
        field.is_well(other)
        time.sleep(0.01)
    return field


@attack("a request's head of 1 MiB comes in pieces of 64 bytes, `--max-head 1m`", 2 * MIB)
def head_in_pieces(folder, threads):
    field = Field(folder, threads, "--plugin", plugin("probe"), "--max-head", "1m")
    field.begin()
    with socket.create_connection(("127.0.0.1", field.host.port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        for _ in range((1 << 20) // 64 - 10):
            sock.sendall(b"x" * 64)
    return field


# --- what waits for those who do not read ----------------------------------------------------------------------------------------------


def small_messages(folder, threads, policy, readers, bound, batches, *lines):
    field = Field(folder, threads, "--plugin", f"/m={plugin('probe')}", "--slow-policy", policy, "--max-buffered", bound, "--listen",
                  "127.0.0.1:0", "--listen", f"unix:{folder}/web")
    probe = field.stack.enter_context(Probe(field.host, "/m"))
    field.stop_reading(probe, readers)
    sender, honest = probe.client(), probe.client()
    field.begin()
    for i in range(batches):
        sender.script(*(line.replace("#", str(i)) for line in lines), "send done")
        assert sender.recv_text() == "done"
        if i % 50 == 0:
            assert honest.ask("send here") == "here"
    return field


@attack("1,150 that do not read, 22,000 messages of 100 bytes, `drop-oldest`, `--max-buffered 1g`", 1126 * MIB)
def drop_oldest(folder, threads):
    return small_messages(folder, threads, "drop-oldest", 1150, "1g", 2200, *["to news " + "x" * 100] * 10)


@attack("300 that do not read, messages of 20 bytes, `drop-oldest`, `--max-buffered 64m`", 64 * MIB * 3 // 2)
def drop_oldest_small(folder, threads):
    return small_messages(folder, threads, "drop-oldest", 300, "64m", 1500, *["to news " + "x" * 20] * 20)


@attack("300 that do not read, 15,000 keys, `conflate`, `--max-buffered 64m`", 64 * MIB * 3 // 2)
def conflate(folder, threads):
    lines = [line for n in range(10) for line in (f"key #-{n}", "to news " + "x" * 20)]
    return small_messages(folder, threads, "conflate", 300, "64m", 1500, *lines)


@attack("300 that do not read, messages of 20 bytes, `close`, `--max-buffered 64m`", 64 * MIB * 3 // 2)
def close(folder, threads):
    return small_messages(folder, threads, "close", 300, "64m", 1500, *["to news " + "x" * 20] * 20)


# --- workers, and who says that it is one -----------------------------------------------------------------------------------------------


@attack("a worker pushes with `ref` for 5 s and reads no answer", 16 * MIB)
def unread_answers(folder, threads):
    field = Field(folder, threads, "--attach", f"ipc://{folder}/attach")
    worker = field.worker(events=[])
    body = b"[" + b",".join(b'{"t":"push","link":"%s","ref":%d,"commands":[]}' % (worker.link.encode(), n) for n in range(1000)) + b"]"
    field.begin()
    worker.sock.settimeout(5)
    end = time.monotonic() + 5
    with contextlib.suppress(TimeoutError):
        while time.monotonic() < end:
            worker.send_bytes(body)
    return field


@attack("a batch of 32,768 objects, ten times", 32 * MIB)
def large_batches(folder, threads):
    field = Field(folder, threads, "--attach", f"ipc://{folder}/attach")
    worker = field.worker()
    field.begin()
    for _ in range(10):
        worker.send(*[{"t": "pong"}] * 32768)
        assert worker.ask("stats")
    return field


@attack("600 strangers at an attach socket, of whom 200 send 1 MiB less a byte", 32 * MIB)
def strangers(folder, threads):
    field = Field(folder, threads, "--attach", "tcp://127.0.0.1:0", "--plugin", f"/probe={plugin('probe')}")
    port = int(field.host.wait_log(lambda line: "url" in line, "the URL")["url"].rpartition(":")[2])
    other = field.client("/probe")
    field.begin()
    for n in range(600):
        sock = field.stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        sock.settimeout(1)
        if n % 3 == 0:
            with contextlib.suppress(OSError):
                sock.sendall(HANDSHAKE + struct.pack(">Q", MIB) + bytes(MIB - 1))
    field.is_well(other)
    return field


@attack("60,000 timers of one mount, all due at once", 16 * MIB)
def timers(folder, threads):
    field = Field(folder, threads, "--plugin", plugin("probe"))
    ws = field.client()
    field.begin()
    for i in range(60):
        field.is_well(ws, "\n".join([f"timer t{i}.{n} 1 1000 0" for n in range(1000)] + ["send here"]))
    wait_until(lambda: stats(field.control)["events"] > 60000, "they have come")
    field.is_well(ws)
    return field


@attack("a dead-letter file of 80 MB (100,000 letters, 400 bytes each while it is looked through) is listed and replayed", 40 * MIB)
def dead_letters(folder, threads):
    letter = {"t": "dead_letter", "event": "message", "mount": "/", "conn": "A" * 22, "data": "x" * 800}
    with open(folder / "dead", "w", encoding="ascii") as file:
        for n in range(100000):
            file.write(json.dumps({**letter, "seq": n}) + "\n")
    field = Field(folder, threads, "--plugin", plugin("probe"), "--dead-letter", str(folder / "dead"))
    field.begin()
    assert do(field.control, "replay")["left"] == 100000
    ask(field.control, "dead_letters")
    return field


def run(names):
    wrong = 0
    print("| attack | loops | may be resident | was resident | longest turn |\n|---|---|---|---|---|", flush=True)
    for name in names or ATTACKS:
        what, allowed, function = ATTACKS[name]
        for threads in (1, 3):
            with tempfile.TemporaryDirectory() as folder:
                most, turn = function(Path(folder), threads).end()
            wrong += most > allowed
            print(f"| {what} | {threads} | {allowed / MIB:.0f} MiB | {most / MIB:.1f} MiB{' **beyond**' if most > allowed else ''} | "
                  f"{turn / 1000:.1f} ms |", flush=True)
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*ATTACKS, []])
    threading.stack_size(1 << 20)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    sys.exit(1 if run(parser.parse_args().names) else 0)
