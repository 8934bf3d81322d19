"""Bytes in, messages out, and back."""
import pytest
from fake_host import batch
from tova import codec
from tova.answer import Answer, TovaError
from tova.frame import HANDSHAKE, MAX_MESSAGE, FrameError, Reader, pack

BODIES = [b"", b"x", b"[]" * 300, b"\0" * 70000]


@pytest.mark.parametrize("ipc", [True, False])
def test_cut_at_every_byte(ipc):
    stream = HANDSHAKE + b"".join(pack(body, ipc) for body in BODIES[:3])
    for cut in range(len(stream) + 1):
        reader = Reader(ipc)
        assert reader.feed(stream[:cut]) + reader.feed(stream[cut:]) == BODIES[:3]
        assert reader.feed(b"") == []


@pytest.mark.parametrize("ipc", [True, False])
@pytest.mark.parametrize("step", [1, 3, 8, 9, 4096])
def test_small_pieces(ipc, step):
    stream = HANDSHAKE + b"".join(pack(body, ipc) for body in BODIES)
    reader, got = Reader(ipc), []
    for at in range(0, len(stream), step):
        got += reader.feed(stream[at:at + step])
    assert got == BODIES


@pytest.mark.parametrize("bad", [b"HTTP/1.1", b"\0SP\0\0\x10\0\x01", b"\0SP\0\0\x11\0\0", b"\0SP\x01\0\x10\0\0"])
def test_another_handshake(bad):
    reader = Reader(True)
    assert reader.feed(bad[:7]) == []
    with pytest.raises(FrameError, match="PAIR0"):
        reader.feed(bad[7:])


def test_lies():
    reader = Reader(True)
    reader.feed(HANDSHAKE)
    with pytest.raises(FrameError, match="type 2"):
        reader.feed(b"\2" + b"\0" * 8)
    for ipc in (True, False):
        reader = Reader(ipc)
        assert reader.feed(HANDSHAKE + (b"\1" if ipc else b"") + MAX_MESSAGE.to_bytes(8, "big")) == []
        reader = Reader(ipc)
        with pytest.raises(FrameError, match="too long"):
            reader.feed(HANDSHAKE + (b"\1" if ipc else b"") + (MAX_MESSAGE + 1).to_bytes(8, "big"))


@pytest.mark.parametrize("objects", [
    [{"t": "ping"}], [{"t": "a", "bin": b""}], [{"t": "a", "bin": b"\n]"}, {"t": "b", "state_bin": b"12", "bin": b"345"}, {"t": "c"}],
    [{"t": "ä\u2028\\n", "data": "\n", "bin": bytes(range(256))}],
])
def test_batches(objects):
    assert codec.decode(batch(*objects)) == objects


def test_white_space_in_a_batch():
    body = b'[ {"t":"a",\n"data":"\xc3\xa4","bin":2},\n{"bin":1}\n ]\n\xff\n\n'
    assert codec.decode(body) == [{"t": "a", "data": "ä", "bin": b"\xff\n"}, {"bin": b"\n"}]
    assert codec.decode(b'[\n{"t":"a"}\n]') == [{"t": "a"}]
    with pytest.raises(codec.BatchError, match="other than LF"):
        codec.decode(b'[\n{"t":"a"}] \n')


@pytest.mark.parametrize("body", [
    b"", b"[", b"{}", b"7", b"[7]", b"[null]", b'[{"t":"a"}]\nx', b'[{"bin":1}]', b'[{"bin":2}]\nx', b'[{"bin":-1}]\n', b'[{"bin":1.0}]\nx',
    b'[{"bin":true}]\nx', b'[{"bin":"1"}]\nx', b"[" * 100000, b"[" * 100000 + b"\n", b'[{"data":"\xff"}]', b'[{"t":"a"}]x\n', b"\n",
])
def test_batches_that_are_none(body):
    with pytest.raises(codec.BatchError):
        codec.decode(body)


def test_encode():
    assert codec.encode("", [b'{"t":"hello"}'], []) == b'[{"t":"hello"}]'
    assert codec.encode("L", [b'{"t":"a"}', b'{"t":"b"}'], [b"\n", b"x"]) == b'[{"link":"L","t":"a"},{"t":"b"}]\n\nx'


def test_answers():
    answer = Answer()
    with pytest.raises(TimeoutError, match="0.01 s"):
        answer.wait(0.01)
    answer._settle(7, None)
    answer._settle(8, None)
    assert answer.wait() == 7 and answer.settled
    refused = Answer()
    refused._settle(None, "no")
    with pytest.raises(TovaError, match="no"):
        refused.wait(1)


@pytest.mark.parametrize("question", [
    "bool(count)", "not count", "1 if count else 2", "count == 0", "0 != count", "count >= 100", "100 > count", "len(count)",
    "[each for each in count]", "[*count]", "7 in count", "count[0]", "f'{count}'", "str(count)", "int(count)", "count + 1", "1 - count",
    "range(count)", "sum([count])", "max(count, 1)",
])
def test_an_await_that_was_forgotten(question):
    with pytest.raises(TypeError, match="await it"):
        eval(question, {"count": Answer()})


def test_what_an_answer_can_do():
    answer = Answer()
    assert {answer: 1}[answer] == 1 and "Answer" in repr(answer) and answer in [answer] and answer is not None
