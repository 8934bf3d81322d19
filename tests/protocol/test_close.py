"""The closing handshake (RFC 6455 section 7) and what the handler is told of it (contract, rules 6 and 9)."""
import json

import pytest

from patience import unhurried
from probe import KINDS, Host, Probe, kind_args, plugin
from tova_host import wait_until
from wsclient import CLOSE, PING, TEXT, close_payload, connect, frame

GOOD_CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
BAD_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


@pytest.fixture
def ws(echo):
    with connect("127.0.0.1", echo.port) as client:
        yield client


# --- the peer closes ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("code", GOOD_CODES)
def test_good_codes_are_echoed(ws, code):
    ws.close(code, "reason")
    ws.expect_close(code)
    ws.expect_eof()


@pytest.mark.parametrize("code", BAD_CODES)
def test_codes_that_must_not_be_sent(ws, code):
    ws.close(code)
    ws.expect_close(1002)
    ws.expect_eof()


def test_a_close_without_a_code(ws):
    ws.close()
    ws.expect_close(None)
    ws.expect_eof()


def test_half_a_code(ws):
    ws.send_frame(CLOSE, b"\x03")
    ws.expect_close(1002)
    ws.expect_eof()


@pytest.mark.parametrize("reason", [b"", b"x", b"x" * 123, "ä€𝄞".encode(), b"\0"])
def test_reasons(ws, reason):
    ws.close(1000, reason)
    ws.expect_close(1000)
    ws.expect_eof()


@pytest.mark.parametrize("reason", [b"\xff", b"ab\xc0\xaf", b"\xed\xa0\x80", b"unfinished \xe2\x82"])
def test_reasons_have_to_be_utf8(ws, reason):
    ws.close(1000, reason)
    ws.expect_close(1007)
    ws.expect_eof()


def test_a_reason_that_is_too_long(ws):
    ws.send_frame(CLOSE, close_payload(1000, b"x" * 124))
    ws.expect_close(1002)
    ws.expect_eof()


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_a_close_in_pieces(ws, cut):
    ws.send_cut(frame(CLOSE, close_payload(4321, "in pieces")), cut)
    ws.expect_close(4321)
    ws.expect_eof()


def test_messages_before_a_close_are_answered_before_it(ws):
    ws.send(b"".join(frame(TEXT, f"{i}") for i in range(100)) + frame(CLOSE, close_payload(1000)))
    assert [ws.recv_text() for _ in range(100)] == [f"{i}" for i in range(100)]
    ws.expect_close(1000)
    ws.expect_eof()


@pytest.mark.parametrize("n", [1, 50])
def test_a_worker_too_answers_before_the_close(probe, n):
    """The close frame arrives while its events are under way; its echo waits for them, and their answers go first (rule 6)."""
    ws = probe.client()
    ws.send(b"".join(frame(TEXT, f"send {i}") for i in range(n)) + frame(CLOSE, close_payload(4001, "bye")))
    assert [ws.recv_text() for _ in range(n)] == [f"{i}" for i in range(n)]
    ws.expect_close(4001)
    ws.expect_eof(reset=False)


@pytest.mark.parametrize("n", [1, 50])
def test_a_worker_too_answers_a_half_closed_peer(probe, n):
    ws = probe.client()
    ws.send(b"".join(frame(TEXT, f"send {i}") for i in range(n)))
    ws.shutdown_write()
    assert [ws.recv_text() for _ in range(n)] == [f"{i}" for i in range(n)]
    ws.expect_eof(reset=False)


@unhurried
def test_a_close_does_not_wait_for_ever_for_its_events(ms):
    """A handler that hangs: the peer's close frame is echoed after --close-timeout all the same."""
    for kind in KINDS:
        with Host("--plugin", f"/probe={plugin('probe')}", "--close-timeout", ms(300), *kind_args(kind)) as host, Probe(host) as probe:
            ws = probe.client()
            ws.script(f"stall {1500 * ms.times}", "send late")
            ws.close(4001)
            while (got := ws.recv_frame()).opcode != CLOSE:
                assert kind == "plugin" and got.payload == b"late"  # nothing happens in a host whose plugin stalls it
            ws.expect_eof()


def test_everything_behind_a_close_is_ignored(ws):
    late = frame(TEXT, "late") + frame(PING, b"late") + frame(CLOSE, close_payload(1001)) + b"\xff\xff"
    ws.send(frame(CLOSE, close_payload(1000)) + late)
    ws.expect_close(1000)
    ws.expect_eof()


def test_a_large_message_before_a_close(ws):
    ws.send(frame(TEXT, "x" * 200000) + frame(CLOSE, close_payload(1000)))
    assert ws.recv_text() == "x" * 200000
    ws.expect_close(1000)
    ws.expect_eof()


# --- what the handler hears ---------------------------------------------------------------------------------------------------

def reported(probe, do, query=""):
    """The close event that the plugin got for a connection that do() ends."""
    observer = probe.observer()
    ws = probe.client(query)
    event = observer.event("open")
    do(ws)
    closed = observer.event("close", event["ws"])
    return closed["code"], closed["reason"]


@pytest.mark.parametrize("code, reason", [(1000, ""), (1001, "going"), (4999, "ä€𝄞"), (3000, "x" * 123), (3001, "a\0b")])
def test_the_handler_hears_code_and_reason(probe, code, reason):
    assert reported(probe, lambda ws: ws.close(code, reason)) == (code, reason)


def test_no_code_is_1005(probe):
    assert reported(probe, lambda ws: ws.close()) == (1005, "")


@pytest.mark.parametrize("end", ["drop", "reset", "shutdown_write"])
def test_no_close_frame_is_1006(probe, end):
    assert reported(probe, lambda ws: getattr(ws, end)())[0] == 1006


@pytest.mark.parametrize("data, code", [(frame(3), 1002), (frame(TEXT, b"\xff"), 1007), (frame(CLOSE, b"\x00\x01"), 1002),
                                        (frame(TEXT, b"", length=1 << 40, length_form=64), 1009)])
def test_a_protocol_error_is_an_error_and_then_its_code(probe, data, code):
    observer = probe.observer()
    ws = probe.client()
    who = observer.event("open")["ws"]
    ws.send(data)
    error = observer.event(None, who)
    assert (error["event"], error["kind"]) == ("error", 2) and error["text"]
    closed = observer.event(None, who)
    assert (closed["event"], closed["code"]) == ("close", code)
    ws.expect_closed(code)


def test_a_reset_is_an_error_and_then_1006(probe):
    observer = probe.observer()
    ws = probe.client()
    who = observer.event("open")["ws"]
    ws.reset()
    error = observer.event(None, who)
    assert (error["event"], error["kind"], error["text"]) == ("error", 3, "a read failed: the peer has reset the connection")
    assert observer.event(None, who)["code"] == 1006


@pytest.mark.parametrize("sends", [1, 2, 40])
def test_a_write_that_fails_says_why(probe, sends):
    """It is gone before its handler has ended: of two messages the second is written at once, to make room for it. Where another loop or
    process has the handler, or there was no time to stall, it is a read that notices."""
    observer, writer = probe.observer(), probe.client()
    observer.event("open")
    ws = probe.client()
    who = observer.event("open")["ws"]
    writer.script("stall 300", *[f"send_to {who} x"] * sends)
    ws.reset()
    error = observer.event(None, who)
    assert (error["event"], error["kind"]) == ("error", 3)
    assert error["text"] in [f"a {way} failed: the peer has reset the connection" for way in ("read", "write")]
    assert observer.event(None, who)["code"] == 1006


# --- the handler closes -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999])
def test_codes_of_the_handler(probe, code):
    ws = probe.client()
    ws.script(f"close {code} why not ä")
    assert ws.expect_closed(code) == "why not ä"


def test_the_handler_closes_without_a_code(probe):
    ws = probe.client()
    ws.script("close 0")
    ws.expect_closed(None)


@pytest.mark.parametrize("code", [1, 999, 1002, 1004, 1005, 1006, 1015, 2999, 5000, 65535])
def test_codes_that_a_handler_may_not_give(probe, code):
    observer, ws = probe.observer(), probe.client()
    ws.script("send never", f"close {code}")
    assert ws.results()[1] == -4
    assert observer.event("error")["kind"] == 1
    ws.end()


def test_the_longest_reason_and_one_more(probe):
    ws = probe.client()
    ws.script("close 1000 " + "x" * 124)
    assert ws.results()[0] in (-3, -4)
    ws.script("close 1000 bad%ff")
    assert ws.results() == [-2]
    ws.script("close 1000 " + "x" * 123)
    assert ws.expect_closed(1000) == "x" * 123


def test_the_handlers_code_is_what_its_close_event_says(probe):
    def close(ws):
        ws.script("close 4001 because")
        ws.expect_closed(4001)
    assert reported(probe, close) == (4001, "because")


def test_messages_behind_the_handlers_close(probe):
    """A connection ends at the commit of close (rule 6). What its peer sent meanwhile comes too late, or, if it was received before
    that commit, as only a worker gives it the time to be, is handled before the close event, and answered before the close frame
    (rule 1)."""
    observer, ws = probe.observer(), probe.client()
    ws.send(frame(TEXT, "send first\nclose 1000\nbroadcast_others still in order") + frame(TEXT, "broadcast late\nsend answered"))
    assert ws.recv_text() == "first"
    got = ws.recv_frame()
    answered = got.opcode == TEXT
    if answered:
        assert probe.kind == "isolate" and got.payload == b"answered"
        got = ws.recv_frame()
    assert (got.opcode, got.payload[:2]) == (CLOSE, b"\x03\xe8")
    ws.close(1000)
    ws.expect_eof(reset=False)
    assert observer.event("open")
    assert observer.recv_text() == "still in order"
    text = observer.recv_text()
    assert answered == (text == "late")
    if answered:
        text = observer.recv_text()
    assert json.loads(text)["event"] == "close"
    observer.settle()


def test_commands_behind_close_in_the_same_callback_do_nothing_to_it(probe):
    observer, ws, asker = probe.observer(), probe.client(), probe.client()
    asker.script("join room", "send joined")
    assert asker.recv_text() == "joined"
    ws.script("send 1", "join before", "close 1000", "send 2", "join room", "leave before", "close 1001", "to room still one", "data 0 x",
              "wstimer me t 1 1 1")
    assert ws.recv_text() == "1"
    ws.expect_closed(1000)
    assert asker.recv_text() == "still one"
    assert asker.query("count", "room")["count"] == 1
    assert observer.event("close")["rooms"] == ["before"]
    observer.settle()


# --- timeouts -----------------------------------------------------------------------------------------------------------------

def test_a_peer_that_does_not_answer_a_close():
    with Host("--plugin", f"/probe={plugin('probe')}", "--close-timeout", "300ms") as host, Probe(host) as probe:
        observer, ws = probe.observer(), probe.client()
        who = observer.event("open")["ws"]
        ws.script("close 1000")
        ws.expect_close(1000)
        assert observer.event("close", who)["code"] == 1000
        ws.expect_eof()  # without an answer of ours


def test_a_peer_that_keeps_its_socket_open_after_the_handshake():
    with Host("--plugin", "echo", "--close-timeout", "300ms") as host:
        other = connect("127.0.0.1", host.port)  # what the host sets up for its first output stays
        before = host.descriptors
        with other, connect("127.0.0.1", host.port) as ws:
            ws.close(1000)
            ws.expect_close(1000)
            wait_until(lambda: host.descriptors == before, "the host gives the descriptor back")
            ws.expect_eof()
