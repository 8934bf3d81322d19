"""The benchmark's figures mean nothing if its generator overlooks a loss. So here are servers that lie in one way each."""
import base64
import hashlib
import json
import os
import socket
import struct
import signal
import ssl
import subprocess
import threading
import time
import zlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOAD = (ROOT / os.environ.get("TOVA_BUILD", "build")).resolve() / "bench/load"
AFTER = 50  # messages are treated well before the lie


def take_exactly(stream, n):
    data = stream.read(n)
    if len(data) < n:
        raise EOFError
    return data


def take_frame(stream):
    first, second = take_exactly(stream, 2)
    length = second & 127
    if length == 126:
        length = struct.unpack(">H", take_exactly(stream, 2))[0]
    mask = take_exactly(stream, 4)
    data = take_exactly(stream, length)
    return first & 15, bytes(b ^ mask[i % 4] for i, b in enumerate(data))


def frame(opcode, data, first=0x80):
    head = bytes([first | opcode, len(data)]) if len(data) < 126 else struct.pack(">BBH", first | opcode, 126, len(data))
    return head + data


class Ready(bytes):
    """Frames that are sent as they are."""


class Liar:
    """lie(number, data) returns the list of payloads that are sent for the message of this number."""

    def __init__(self, lie, accept=None, close=None, deflate=False, tls=None):
        self.lie, self.accept, self.close, self.deflate, self.tls = lie, accept, close, deflate, tls
        self.lock = threading.Lock()
        self.room, self.number = [], 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.welcome, daemon=True).start()

    def welcome(self):
        while True:
            try:
                peer = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve_plain, args=(peer,), daemon=True).start()

    def serve_plain(self, peer):
        try:
            self.serve(self.tls.wrap_socket(peer, server_side=True) if self.tls else peer)
        except OSError:
            peer.close()

    def upgrade(self, peer, stream):
        path, key = stream.readline().split()[1], b""
        while (line := stream.readline().strip()):
            name, _, value = line.partition(b":")
            if name.lower() == b"sec-websocket-key":
                key = value.strip()
        digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        answer = self.accept or base64.b64encode(digest)
        peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
                     + answer + (b"\r\nSec-WebSocket-Extensions: permessage-deflate" if self.deflate else b"") + b"\r\n\r\n")
        return path.startswith(b"/room/")

    def serve(self, peer):
        stream = peer.makefile("rb")
        # What it sends refers to what it sent before; what it gets does not.
        squeeze = zlib.compressobj(wbits=-15) if self.deflate else None
        try:
            in_room = self.upgrade(peer, stream)
            if in_room:
                with self.lock:
                    self.room.append(peer)
            while True:
                opcode, data = take_frame(stream)
                with self.lock:
                    if opcode == 8:
                        peer.sendall((self.close or b"") + frame(8, data))
                        break
                    if squeeze:
                        self.answer_squeezed(peer, opcode, data, squeeze)
                    else:
                        self.answer(peer, opcode, data, in_room)
        except (OSError, EOFError, IndexError, ValueError):
            pass
        finally:
            stream.close()
            peer.close()

    def answer_squeezed(self, peer, opcode, data, squeeze):
        self.number += 1
        for said in self.lie(self.number, zlib.decompress(data + b"\0\0\xff\xff\1\0\0\xff\xff", wbits=-15)):
            peer.sendall(frame(opcode, (squeeze.compress(said) + squeeze.flush(zlib.Z_SYNC_FLUSH))[:-4], first=0xc0))

    def answer(self, peer, opcode, data, in_room):
        if not in_room:
            self.number += 1
            peer.sendall(b"".join(d if isinstance(d, Ready) else frame(opcode, d) for d in self.lie(self.number, data)))
            return
        for place, member in enumerate(m for m in self.room if m is not peer):
            # Only one member of the room is lied to, as a bug would.
            self.number += place == 0
            said = self.lie(self.number, data) if place == 1 else [data]
            member.sendall(b"".join(frame(opcode, d) for d in said))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def run(server, mode, *more):
    command = [LOAD, mode, "--port", server.port, "--pid", os.getpid(), "--warmup", 0.1, "--seconds", 0.3, "--patience", 1, *more]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=60, check=False)
    result = json.loads(done.stdout)
    assert (done.returncode == 0) == result["ok"], "the exit code and the report must agree"
    return result


def only(number, change):
    """The lie happens once, to the message of this number."""
    return lambda n, data: change(data) if n == number else [data]


class Swap:
    """Holds one message back until the next one was sent. Fits one connection only."""

    def __init__(self):
        self.kept = None

    def __call__(self, number, data):
        if number == AFTER:
            self.kept = data
            return []
        kept, self.kept = self.kept, None
        return [data, kept] if kept else [data]


def altered(data):
    return [data[:-1] + bytes([data[-1] ^ 1])]


def honest(_number, data):
    return [data]


ECHO = ("echo", "--conns", 1, "--depth", 4)
FANOUT = ("fanout", "--path", "/room/x", "--conns", 3, "--depth", 4)
CHURN = ("churn", "--conns", 2)
LONE = ("lone", "--conns", 1)


@pytest.fixture
def pause():
    """The mode sends a HUP in the middle; this is the process that gets it. The unhappy servers below are a part of this one."""
    target = subprocess.Popen(["sh", "-c", "trap 'echo HUP; exit 0' HUP; echo ready; while :; do sleep 0.01; done"],
                              stdout=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))
    # A shell can not trap what it was started to ignore, as everything under nohup is.
    assert target.stdout.readline() == "ready\n"
    yield ("pause", "--conns", 3, "--interval", 5, "--pid", target.pid), target
    target.kill()
    target.communicate()


@pytest.mark.parametrize("mode", [ECHO, FANOUT, CHURN, LONE], ids=lambda m: m[0])
def test_honest_server_passes(mode):
    with Liar(honest) as server:
        result = run(server, *mode)
    assert result["ok"] and result["units"] > 0 and result["cpu_us"] >= result["root_us"] > 0, result


def test_lone_round_trip_is_as_long_as_the_server_takes():
    def late(_number, data):
        time.sleep(0.01)
        return [data]
    with Liar(late) as server:
        result = run(server, *LONE)
    assert result["ok"] and result["p99_us"] >= result["p50_us"] >= 10_000, result


def test_pause_across_the_reload_is_noticed(pause):
    mode, target = pause
    stalled = threading.Event()

    def stall(_number, data):
        if target.poll() is not None and not stalled.is_set():
            stalled.set()
            time.sleep(0.2)
        return [data]
    with Liar(stall) as server:
        result = run(server, *mode)
    assert result["ok"] and target.stdout.read() == "HUP\n", result
    assert result["reload_most_ms"] >= 200 and result["ended_at"] > result["reload_at"], result


@pytest.mark.parametrize("fault, lie", [
    ("lost", lambda data: []), ("repeated", lambda data: [data, data]), ("wrong", lambda data: [data[:-1]]),
], ids=["lost", "repeated", "shortened"])
def test_fault_in_a_pause_is_noticed(pause, fault, lie):
    with Liar(only(AFTER, lie)) as server:
        result = run(server, *pause[0])
    assert not result["ok"] and result[fault] == 1, result


@pytest.mark.parametrize("mode", [ECHO, FANOUT, LONE], ids=lambda m: m[0])
@pytest.mark.parametrize("fault, lie", [
    ("lost", only(AFTER, lambda data: [])),
    ("repeated", only(AFTER, lambda data: [data, data])),
    ("wrong", only(AFTER, altered)),
    ("wrong", only(AFTER, lambda data: [data[:-1]])),
], ids=["lost", "repeated", "altered", "shortened"])
def test_fault_is_counted_once(mode, fault, lie):
    with Liar(lie) as server:
        result = run(server, *mode)
    assert not result["ok"] and result[fault] == 1, result


@pytest.mark.parametrize("mode", [ECHO, FANOUT], ids=lambda m: m[0])
def test_changed_order_is_noticed(mode):
    with Liar(Swap()) as server:
        result = run(server, *mode)
    assert not result["ok"] and result["lost"] and result["repeated"], result


def test_message_behind_the_last_one_is_noticed():
    with Liar(honest, close=frame(1, b"once too often")) as server:
        result = run(server, *ECHO)
    assert not result["ok"] and result["repeated"], result


def test_end_of_the_stream_without_a_close_frame_is_noticed():
    def cut(number, data):
        if number == AFTER:
            raise EOFError
        return [data]
    with Liar(cut) as server:
        result = run(server, *ECHO)
    assert not result["ok"] and result["broken"], result


def test_server_that_never_answers_again_is_given_up():
    with Liar(lambda number, data: [data] if number < AFTER else []) as server:
        result = run(server, *ECHO)
    assert not result["ok"] and result["lost"] == 4, result


@pytest.mark.parametrize("mode", [ECHO, FANOUT, CHURN], ids=lambda m: m[0])
def test_wrong_handshake_is_refused(mode):
    with Liar(honest, accept=b"AAAAAAAAAAAAAAAAAAAAAAAAAAA=") as server:
        result = run(server, *mode)
    assert not result["ok"] and "upgrade" in result["why"], result


@pytest.mark.parametrize("lie", [only(AFTER, altered), only(AFTER, lambda data: [data, data]), only(AFTER, lambda data: [])],
                         ids=["altered", "repeated", "lost"])
def test_churn_notices_a_lie(lie):
    with Liar(lie) as server:
        result = run(server, *CHURN)
    assert not result["ok"], result


DEFLATE = (*ECHO, "--size", 1000, "--deflate", "--words")


def test_compressed_messages_are_read_and_compared():
    with Liar(honest, deflate=True) as server:
        result = run(server, *DEFLATE)
    assert result["ok"] and result["units"] > 0, result
    with Liar(only(AFTER, altered), deflate=True) as server:
        result = run(server, *DEFLATE)
    assert not result["ok"] and result["wrong"] == 1, result


@pytest.mark.parametrize("deflate, mode", [(False, DEFLATE), (True, ECHO)], ids=["asked for and not given", "not asked for"])
def test_compression_must_be_agreed_upon(deflate, mode):
    with Liar(honest, deflate=deflate) as server:
        result = run(server, *mode)
    assert not result["ok"], result


def test_compressed_frame_without_an_agreement_is_wrong():
    with Liar(honest, close=frame(1, b"\x4a\x04\x00", first=0xc0)) as server:
        result = run(server, *ECHO)
    assert not result["ok"] and result["broken"], result


def certificate(folder, name):
    key, cert = folder / f"{name}.key", folder / f"{name}.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key,
                    "-out", cert, "-days", "2", "-subj", "/CN=localhost"], check=True, capture_output=True)
    return cert, key


def test_over_tls_the_same_is_checked(tmp_path):
    cert, key = certificate(tmp_path, "known")
    other, _ = certificate(tmp_path, "other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    for mode in (ECHO, CHURN):
        with Liar(honest, tls=context) as server:
            result = run(server, *mode, "--tls", cert)
        assert result["ok"] and result["units"] > 0, result
    with Liar(only(AFTER, altered), tls=context) as server:
        assert run(server, *ECHO, "--tls", cert)["wrong"] == 1
    with Liar(honest, tls=context) as server:
        assert run(server, *ECHO, "--tls", other)["broken"]


def fragments(data):
    return frame(1, data[:20], 0) + frame(9, b"ping") + frame(0, data[20:40], 0) + frame(0, data[40:])


@pytest.mark.parametrize("lie, ok", [
    (fragments, True), (lambda d: fragments(d)[:-1] + b"~", False), (lambda d: frame(0, d), False), (lambda d: frame(1, d, 0) + frame(1, d), False),
    (lambda d: frame(9, b"", 0) + frame(1, d), False),
], ids=["right", "altered", "without a first", "two firsts", "of a ping"])
def test_fragments(lie, ok):
    with Liar(only(AFTER, lambda data: [Ready(lie(data))])) as server:
        result = run(server, *ECHO)
    assert result["ok"] == ok, result
