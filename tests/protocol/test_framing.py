"""Frames, fragments and control frames (RFC 6455 section 5), by our own table of conversations."""
import random
import threading

import pytest

from wsclient import BINARY, CLOSE, CONT, PING, PONG, TEXT, Closed, connect, frame

SIZES = [0, 1, 125, 126, 127, 128, 4095, 65535, 65536, 65537, 200000]


@pytest.fixture
def ws(echo):
    with connect("127.0.0.1", echo.port) as client:
        yield client


def bytes_of(n):
    return random.Random(n).randbytes(n)


# --- whole messages -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("size", SIZES)
def test_text_and_binary_of_every_length_form(ws, size):
    ws.send_text("*" * size)
    assert ws.recv_text() == "*" * size
    ws.send_binary(bytes_of(size))
    assert ws.recv_binary() == bytes_of(size)
    ws.end()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 300])
def test_in_single_bytes(ws, size):
    ws.send_cut(frame(BINARY, bytes_of(size)))
    assert ws.recv_binary() == bytes_of(size)


@pytest.mark.parametrize("cut", [1021, 4096, 16384, 65535])
def test_large_in_pieces(ws, cut):
    ws.send_cut(frame(BINARY, bytes_of(200000)), cut)
    assert ws.recv_binary() == bytes_of(200000)


def test_every_cut_of_two_frames(ws):
    """Two messages in two writes, cut at each place: header, length, mask, payload, between the frames."""
    data = frame(TEXT, "ä" * 70) + frame(BINARY, bytes_of(9))
    for at in range(len(data) + 1):
        ws.send(data[:at])
        ws.send(data[at:])
        assert ws.recv_text() == "ä" * 70
        assert ws.recv_binary() == bytes_of(9)


@pytest.mark.parametrize("mask", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x00\x00\x00\x01", b"\x80\x40\x20\x10"])
def test_masks(ws, mask):
    for size in (1, 2, 3, 4, 5, 31, 33, 4099):
        ws.send_frame(BINARY, bytes_of(size), mask=mask)
        assert ws.recv_binary() == bytes_of(size)


def test_a_thousand_messages_in_one_write(ws):
    ws.send(b"".join(frame(TEXT, f"message {i}") for i in range(1000)))
    assert [ws.recv_text() for _ in range(1000)] == [f"message {i}" for i in range(1000)]


def test_random_conversations(echo):
    """Messages of all kinds in fragments with pings between, cut at random: everything comes back in order."""
    for seed in range(6):
        rng = random.Random(seed)
        expected, stream = [], b""
        for _ in range(60):
            opcode = rng.choice([TEXT, BINARY])
            size = rng.choice([0, 1, 5, 125, 126, 1000, 70000])
            data = ("aäß€𝄞" * size)[:size].encode() if opcode == TEXT else rng.randbytes(size)
            cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(4)))
            pieces = [data[a:b] for a, b in zip([0] + cuts, cuts + [len(data)])]
            for i, piece in enumerate(pieces):
                stream += frame(CONT if i else opcode, piece, fin=i == len(pieces) - 1, mask=rng.randbytes(4))
                if rng.random() < 0.2:
                    stream += frame(PING, rng.randbytes(rng.randrange(126)))
            expected.append((opcode, data))
        with connect("127.0.0.1", echo.port) as ws:
            at = 0
            received = []
            reader = threading.Thread(target=lambda: received.extend(ws.recv_message() for _ in expected))
            ws.answer_pings = False  # one thread writes, the other reads
            reader.start()
            while at < len(stream):
                n = rng.choice([1, 2, 7, 100, 5000, 100000])
                ws.send(stream[at:at + n])
                at += n
            reader.join()
            assert [(got.opcode, got.data) for got in received] == expected
            ws.end()


# --- control frames -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("payload", [b"", b"x", b"hello", bytes(range(125)), b"\xfe\xff\0\x80"])
def test_ping_is_answered_with_its_payload(ws, payload):
    ws.ping(payload)
    assert ws.recv_pong() == payload


def test_ten_pings_one_by_one(ws):
    for i in range(10):
        ws.ping(b"%d" % i)
        assert ws.recv_pong() == b"%d" % i


def test_many_pings_at_once(ws):
    """5.5.3 allows to answer only the most recent of those that wait; whatever is answered is answered in order, and once."""
    ws.send(b"".join(frame(PING, b"%d" % i) for i in range(50)))
    seen = -1
    while seen != 49:
        pong = int(ws.recv_pong())
        assert pong > seen
        seen = pong
    ws.send_text("x")
    assert ws.recv_text() == "x"


@pytest.mark.parametrize("cut", [1, 2, 3, 50])
def test_ping_in_pieces(ws, cut):
    ws.send_cut(frame(PING, bytes(125)), cut)
    assert ws.recv_pong() == bytes(125)


def test_unasked_pongs_are_ignored(ws):
    ws.pong()
    ws.pong(b"unasked")
    ws.ping(b"mine")
    assert ws.recv_pong() == b"mine"
    ws.end()


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_control_frames_are_short_and_whole(echo, opcode):
    for how in ({"payload": b"\x03\xe8" + b"x" * 124}, {"payload": b"\x03\xe8", "fin": False}, {"payload": b"\x03\xe8", "length_form": 16},
                {"payload": b"\x03\xe8", "length_form": 64}):
        with connect("127.0.0.1", echo.port) as ws:
            ws.send_frame(opcode, **how)
            ws.expect_closed(1002)


def test_a_long_control_frame_is_refused_by_its_header(ws):
    ws.send(frame(PING, bytes(126))[:2])
    ws.expect_closed(1002)


# --- reserved -----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("rsv", range(1, 8))
def test_reserved_bits(echo, rsv):
    for opcode in (TEXT, BINARY, PING, PONG, CLOSE):
        with connect("127.0.0.1", echo.port) as ws:
            ws.send_text("before")
            ws.send_frame(opcode, b"", rsv=rsv)
            assert ws.recv_text() == "before"
            ws.expect_closed(1002)


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_reserved_opcodes(echo, opcode):
    for payload in (b"", b"payload"):
        with connect("127.0.0.1", echo.port) as ws:
            ws.send_text("before")
            ws.send_frame(opcode, payload)
            ws.send_text("after")
            assert ws.recv_text() == "before"
            ws.expect_closed(1002)


def test_reserved_bits_on_a_continuation(ws):
    ws.send_frame(TEXT, "a", fin=False)
    ws.send_frame(CONT, "b", rsv=4)
    ws.expect_closed(1002)


def test_reserved_opcode_within_a_fragmented_message(ws):
    ws.send_frame(TEXT, "a", fin=False)
    ws.send_frame(3, "b")
    ws.expect_closed(1002)


# --- masks and lengths --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE])
def test_a_client_has_to_mask(echo, opcode):
    with connect("127.0.0.1", echo.port) as ws:
        ws.send_frame(opcode, b"", mask=None)
        ws.expect_closed(1002)


def test_an_unmasked_frame_is_refused_by_its_header(ws):
    ws.send(b"\x81\x05")
    ws.expect_closed(1002)


@pytest.mark.parametrize("size, form", [(0, 16), (1, 16), (125, 16), (0, 64), (125, 64), (126, 64), (65535, 64)])
def test_lengths_have_to_be_short(ws, size, form):
    """5.2: the minimal number of bytes must be used."""
    ws.send_frame(BINARY, bytes(size), length_form=form)
    ws.expect_closed(1002)


def test_a_length_with_its_highest_bit(ws):
    ws.send(b"\x82\xff\x80\0\0\0\0\0\0\x01\0\0\0\0")
    ws.expect_closed(1002)


# --- fragments ----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("pieces", [[b"", b""], [b"", b"", b""], [b"a", b""], [b"", b"a"], [b"a", b"b"], [b"", b"a", b""], [b"a"] * 50,
                                    [b"x" * 70000, b"y" * 70000], [b"x" * 126, b"", b"y" * 65536]])
def test_fragments_make_one_message(ws, opcode, pieces):
    ws.send_fragments(opcode, pieces)
    got = ws.recv_message()
    assert (got.opcode, got.data) == (opcode, b"".join(pieces))


@pytest.mark.parametrize("cut", [1, 3, 10])
def test_fragments_in_pieces(ws, cut):
    data = frame(TEXT, "fragment1", fin=False) + frame(CONT, "fragment2", fin=False) + frame(CONT, "fragment3")
    ws.send_cut(data, cut)
    assert ws.recv_text() == "fragment1fragment2fragment3"


def test_control_frames_between_fragments(ws):
    ws.send_frame(TEXT, "a", fin=False)
    ws.ping(b"between")
    assert ws.recv_pong() == b"between"
    ws.pong(b"unasked")
    ws.send_frame(CONT, "b", fin=False)
    ws.ping(b"again")
    assert ws.recv_pong() == b"again"
    ws.send_frame(CONT, "c")
    assert ws.recv_text() == "abc"


def test_pieces_of_a_ping_between_fragments(ws):
    ws.send_cut(frame(TEXT, "a", fin=False) + frame(PING, b"between") + frame(CONT, "b"))
    assert ws.recv_pong() == b"between"
    assert ws.recv_text() == "ab"


def test_close_between_fragments(ws):
    ws.send_frame(TEXT, "a", fin=False)
    ws.end(1000)


@pytest.mark.parametrize("fin", [True, False])
def test_continuation_of_nothing(echo, fin):
    for before in ([], [frame(TEXT, "whole")], [frame(TEXT, "a", fin=False), frame(CONT, "b")]):
        with connect("127.0.0.1", echo.port) as ws:
            for data in before:
                ws.send(data)
            if before:
                ws.recv_text()
            ws.send_frame(CONT, "nothing", fin=fin)
            ws.expect_closed(1002)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("fin", [True, False])
def test_a_new_message_within_a_message(ws, opcode, fin):
    ws.send_frame(TEXT, "a", fin=False)
    ws.send_frame(opcode, "b", fin=fin)
    ws.expect_closed(1002)


# --- what follows an error ----------------------------------------------------------------------------------------------------

def test_nothing_is_handled_behind_an_error(ws):
    ws.send(frame(TEXT, "before") + frame(3, "error") + frame(TEXT, "after") + frame(PING, b"after"))
    assert ws.recv_text() == "before"
    ws.expect_closed(1002)


def test_the_close_arrives_though_the_peer_keeps_sending(ws):
    """The host may not reset the connection under its own close frame (7.1.1): it has to read on, or the peer never learns why."""
    ws.send_frame(3, b"")
    for _ in range(64):
        ws.send_binary(bytes(10000))
    ws.expect_close(1002)
    ws.expect_eof(reset=False)


def test_text_stays_text_and_binary_binary(ws):
    ws.send_binary(b"looks like text")
    assert ws.recv_message().opcode == BINARY
    ws.send_text("looks like text")
    assert ws.recv_message().opcode == TEXT


def test_a_peer_that_breaks_off_in_a_frame(echo):
    """At every place of a frame, by an end and by a reset: nothing happens to the others."""
    data = frame(TEXT, "x" * 130)
    with connect("127.0.0.1", echo.port) as other:
        for at in (0, 1, 2, 3, 4, 7, 8, 9, 100, len(data) - 1):
            with connect("127.0.0.1", echo.port) as ws:
                ws.send(data[:at])
                ws.drop()
            ws = connect("127.0.0.1", echo.port)
            ws.send(data[:at])
            ws.reset()
        other.send_text("still here")
        assert other.recv_text() == "still here"


def test_a_half_closed_peer_gets_its_answers(echo):
    """Its FIN says that nothing more comes from it, not that it has stopped to read."""
    for n in (1, 3, 200):
        with connect("127.0.0.1", echo.port) as ws:
            ws.send(b"".join(frame(BINARY, bytes_of(1000 + i)) for i in range(n)))
            ws.shutdown_write()
            for i in range(n):
                assert ws.recv_binary() == bytes_of(1000 + i)
            try:
                got = ws.recv_frame()
                assert got.opcode == CLOSE
                ws.expect_eof()
            except Closed as end:
                assert not end.reset
