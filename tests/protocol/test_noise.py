"""Damaged conversations: whatever comes, the host answers within the protocol or ends the connection, and serves the others."""
import random

import pytest

from wsclient import (BINARY, CLOSE, CONT, PING, PONG, TEXT, Closed, Http, WebSocket, close_payload, connect, frame, request_bytes,
                      upgrade_headers)


def conversation(rng):
    frames = []
    for _ in range(rng.randrange(1, 8)):
        opcode = rng.choice([TEXT, TEXT, BINARY, CONT, PING, PONG, CLOSE])
        size = rng.choice([0, 1, 5, 125, 126, 300, 70000]) if opcode in (TEXT, BINARY, CONT) else rng.randrange(126)
        payload = "aäß€𝄞".encode() * (size // 12) if opcode == TEXT else rng.randbytes(size)
        if opcode == CLOSE:
            payload = close_payload(rng.choice([1000, 1001, 4000, 999]), "bye")
        frames.append(frame(opcode, payload, fin=rng.random() < 0.8, mask=rng.randbytes(4)))
    return b"".join(frames)


def damaged(rng, data):
    """Some bytes flipped, lost, doubled or thrown in."""
    data = bytearray(data)
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        at = rng.randrange(len(data) + 1)
        how = rng.randrange(4)
        if how == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            del data[at:at + rng.randrange(1, 20)]
        elif how == 2:
            data[at:at] = rng.randbytes(rng.randrange(1, 20))
        else:
            data[at:at] = data[at:at + 40]
    return bytes(data)


def send_in_pieces(rng, stream, data):
    """And the end of our side. Returns whether all of it could be sent: a host that has closed need not take more."""
    try:
        while data:
            n = rng.choice([1, 3, 50, 1000, 100000])
            stream.send(data[:n])
            data = data[n:]
        stream.shutdown_write()
        return True
    except OSError:
        return False


def read_to_the_end(ws):
    """All frames up to the end of the stream are right; a close frame is the last. Only who sent something behind its own close frame may
    meet a reset, which can cut what was under way."""
    try:
        while True:
            if ws.close_seen:
                ws.expect_eof()
                return
            ws.recv_frame()
    except Closed as end:
        assert end.reset or not ws.buffer, "the stream ends inside a frame"


@pytest.mark.parametrize("seed", range(8))
def test_damaged_frames(echo, seed):
    rng = random.Random(seed)
    with connect("127.0.0.1", echo.port) as other:
        for i in range(60):
            with connect("127.0.0.1", echo.port) as ws:
                if not send_in_pieces(rng, ws, damaged(rng, conversation(rng))) or rng.random() < 0.1:
                    ws.reset()
                    continue
                read_to_the_end(ws)
            other.send_text(f"still here {i}")
            assert other.recv_text() == f"still here {i}"


@pytest.mark.parametrize("seed", range(8))
def test_damaged_requests(echo, seed):
    rng = random.Random(1000 + seed)
    for _ in range(60):
        request = request_bytes("GET", rng.choice(["/", "/a?b=c", "/%41", "http://localhost/x"]),
                                upgrade_headers(subprotocols=["a", "b"], origin="http://localhost", extra=[("Cookie", "a=b; c=d")]))
        with Http("127.0.0.1", echo.port) as http:
            if not send_in_pieces(rng, http, damaged(rng, request) + frame(TEXT, "behind")):
                continue
            rest = http.read_all()
            assert rest == b"" or rest.startswith(b"HTTP/1.1 "), rest[:100]
    with connect("127.0.0.1", echo.port) as ws:
        ws.send_text("x")
        assert ws.recv_text() == "x"


def test_noise_instead_of_a_request(echo):
    rng = random.Random(5)
    for _ in range(100):
        with Http("127.0.0.1", echo.port) as http:
            if send_in_pieces(rng, http, rng.randbytes(rng.randrange(1, 300))):
                rest = http.read_all()
                assert rest == b"" or rest.startswith(b"HTTP/1.1 400 "), rest[:100]


@pytest.mark.parametrize("seed", range(4))
def test_noise_in_scripts(probe, seed):
    """A plugin that passes on what a client says: no argument is so wrong that it hurts more than its own callback."""
    rng = random.Random(seed)
    names = ["send", "send_to", "join", "leave", "join_of", "broadcast", "to", "to_except", "close_of ghost", "set", "timer", "wstimer",
             "cancel", "wscancel", "query", "kind", "data", "fail", "on", "setting", "log 4", "log 77", "header", "subprotocol", "refuse"]
    words = ["", "me", "none", "ghost", "r", "%00", "%ff", "ä", "x" * 300, "-1", "0", "1", "99999999999999999999", "4294967296", "65536",
             "count", "members", "rooms", "close", "error", "send x", "%"]
    witness, ws = probe.client(), probe.client()
    for _ in range(400):
        lines = [" ".join([rng.choice(names), *rng.choices(words, k=rng.randrange(5))]) for _ in range(rng.randrange(1, 6))]
        ws.script(*lines)
    ws.script("send the end")
    while (got := ws.recv_message()).data != b"the end":
        assert got.opcode in (TEXT, BINARY)
    witness.script("send here")
    while witness.recv_message().data != b"here":
        pass


def test_connections_that_come_and_go_in_every_state(echo):
    """Broken off at each step of their life, many at once."""
    rng = random.Random(11)
    clients = []
    for i in range(300):
        ws = WebSocket("127.0.0.1", echo.port)
        clients.append(ws)
        step = i % 6
        if step > 0:
            ws.send(request_bytes("GET", "/", upgrade_headers())[:None if step > 1 else 30])
        if step > 2:
            assert ws.response_head().status == 101
        if step > 3:
            ws.send(frame(TEXT, "x" * 1000)[:None if step > 4 else 500])
        if len(clients) > 40:
            gone = clients.pop(rng.randrange(len(clients)))
            rng.choice([gone.reset, gone.drop])()
    for ws in clients:
        ws.drop()
    with connect("127.0.0.1", echo.port) as ws:
        ws.send_text("x")
        assert ws.recv_text() == "x"
