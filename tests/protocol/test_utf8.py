"""Text is UTF-8 (RFC 6455 8.1, RFC 3629), checked as it arrives: a frame is refused at its first byte that can not be right."""
import pytest

from wsclient import BINARY, CONT, TEXT, connect, frame

VALID = [
    b"", b"plain", "κόσμε".encode(), "Hello-µ@ßöäüàá-UTF-8!!".encode(), b"\0", b"\x7f", b"\xc2\x80", b"\xdf\xbf", b"\xe0\xa0\x80",
    b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbd", b"\xef\xbf\xbf", b"\xef\xbf\xbe", b"\xef\xb7\x90", b"\xf0\x90\x80\x80",
    b"\xf4\x8f\xbf\xbf", b"\xf0\x9f\xbf\xbf", "𝄞€ä".encode() * 40, b"a" * 63 + "ä".encode(), b"a" * 64 + "€".encode() + b"b" * 64]

# What comes first, and how much of it can still become right.
INVALID = [
    (b"\x80", 0), (b"\xbf", 0), (b"\xc0", 0), (b"\xc1", 0), (b"\xf5", 0), (b"\xf8", 0), (b"\xfc", 0), (b"\xfe", 0), (b"\xff", 0),
    (b"a\x80", 1), (b"\xc2a", 1), (b"\xc2\xc2", 1), (b"\xc3(", 1), (b"\xe0\x80", 1), (b"\xe0\x9f", 1), (b"\xe1\x80a", 2), (b"\xed\xa0", 1),
    (b"\xed\xbf", 1), (b"\xef\xbf ", 2), (b"\xf0\x80", 1), (b"\xf0\x8f", 1), (b"\xf0\x90\x80a", 3), (b"\xf4\x90", 1), (b"\xf4\xbf", 1),
    (b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited", 12), (b"a" * 100 + b"\xff", 100), (b"a" * 31 + b"\xe2\x28\xa1", 32),
    ("ä".encode() * 200 + b"\xc0\xaf", 400)]

# Right so far, but a character is unfinished.
TRUNCATED = [b"\xc2", b"\xe0\xa0", b"\xe1\x80", b"\xf0\x90\x80", b"\xf0\x90", b"\xf4", "κόσμ".encode() + b"\xce"]

named = {"ids": lambda v: v[:12].hex() if isinstance(v, bytes) else None}


@pytest.fixture
def ws(echo):
    with connect("127.0.0.1", echo.port) as client:
        yield client


@pytest.mark.parametrize("text", VALID, **named)
def test_valid(ws, text):
    ws.send_frame(TEXT, text)
    assert ws.recv_message().data == text
    ws.send_cut(frame(TEXT, text))
    assert ws.recv_message().data == text
    ws.send_fragments(TEXT, [text[i:i + 1] for i in range(len(text))] or [b""])
    assert ws.recv_message().data == text


@pytest.mark.parametrize("text, good", INVALID, **named)
def test_invalid(echo, text, good):
    for data in (frame(TEXT, text), frame(TEXT, text + b"more" * 50), frame(TEXT, text[:good], fin=False) + frame(CONT, text[good:])):
        with connect("127.0.0.1", echo.port) as ws:
            ws.send(data)
            ws.expect_closed(1007)


@pytest.mark.parametrize("text, good", INVALID, **named)
def test_invalid_is_refused_before_its_frame_is_complete(echo, text, good):
    """The header promises 1,000 bytes; the first wrong one must be enough, and not one more may be needed."""
    data = frame(TEXT, text + b"x" * (1000 - len(text)))
    head = 2 + 2 + 4
    with connect("127.0.0.1", echo.port) as ws:
        ws.send(data[:head + good + 1])
        ws.expect_closed(1007)


@pytest.mark.parametrize("text, good", [i for i in INVALID if i[1]], **named)
def test_the_valid_beginning_is_not_refused(ws, text, good):
    """Up to the wrong byte everything is fine: a ping between two fragments proves it."""
    ws.send_frame(TEXT, text[:good], fin=False)
    ws.roundtrip(b"alive")
    ws.send(frame(CONT, text[good:good + 1] + b"xxxxxxxx")[:2 + 4 + 1])
    ws.expect_closed(1007)


@pytest.mark.parametrize("text", TRUNCATED, **named)
def test_text_that_ends_inside_a_character(echo, text):
    with connect("127.0.0.1", echo.port) as ws:
        ws.send_frame(TEXT, text)
        ws.expect_closed(1007)
    with connect("127.0.0.1", echo.port) as ws:
        ws.send_frame(TEXT, text, fin=False)
        ws.roundtrip()
        ws.send_frame(CONT, b"")
        ws.expect_closed(1007)


def test_characters_across_fragments(ws):
    data = "aäß€𝄞".encode()
    for at in range(len(data) + 1):
        ws.send_frame(TEXT, data[:at], fin=False)
        ws.ping(b"in the middle of a character")
        assert ws.recv_pong() == b"in the middle of a character"
        ws.send_frame(CONT, data[at:])
        assert ws.recv_message().data == data


def test_every_code_point_in_steps(ws):
    text = "".join(chr(c) for c in range(0, 0x110000, 37) if not 0xD800 <= c < 0xE000)
    ws.send_text(text)
    assert ws.recv_text() == text


def test_every_surrogate_in_steps_is_refused(echo):
    for c in range(0xD800, 0xE000, 211):
        with connect("127.0.0.1", echo.port) as ws:
            ws.send_frame(TEXT, chr(c).encode("utf-8", "surrogatepass"))
            ws.expect_closed(1007)


def test_binary_is_not_text(ws):
    for data in [text for text, _ in INVALID] + TRUNCATED:
        ws.send_frame(BINARY, data)
        assert ws.recv_binary() == data


def test_a_wrong_place_at_every_offset(echo):
    """A vector check looks at blocks: the wrong byte at every place of two of them."""
    for at in range(0, 130, 3):
        with connect("127.0.0.1", echo.port) as ws:
            ws.send_frame(TEXT, b"a" * at + b"\xff" + b"a" * (130 - at))
            ws.expect_closed(1007)
