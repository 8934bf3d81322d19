"""Each allocation of the host in turn fails, while it starts and in the middle of conversations."""
import json
import os
import select
import ssl
import subprocess
import threading

import control
import pytest
from certificates import Certificates, tls
from memory import Memory
from tova_v1 import Client
from tova_host import BUILD, PATIENCE, Host, wait_until
from wsclient import BINARY, CLOSE, PONG, TEXT, Closed, Http, connect

LONG = os.environ.get("TOVA_LONG") == "1"  # every allocation; else some of them
SANITIZED = b"__asan_init" in (BUILD / "tova-host").read_bytes()

pytestmark = pytest.mark.skipif(SANITIZED, reason="a sanitizer's allocator can not be replaced; tests/unit/test_memory runs with it")


@pytest.fixture
def memory(tmp_path):
    return Memory(tmp_path / "memory")


def patiently(action):
    """What a client does with a host that may close its connection at any moment. Anything else is not forgiven."""
    try:
        return action()
    except (Closed, ConnectionError, BrokenPipeError):
        return None
    except AssertionError as error:
        # The client's own checks: an end in the middle of something, a refusal for want of memory, a close frame. Never wrong bytes.
        text = str(error)
        if "503" in text or "500" in text or "1013" in text or "1011" in text or "reading behind" in text or "1001" in text:
            return None
        raise


def open_socket(host, target):
    return patiently(lambda: connect("127.0.0.1", host.port, target))


def heard(ws, *known):
    """Everything that has come for it: what it may be, whole, or nothing, as an event for which there was no memory has failed."""
    if ws is None:
        return

    def until_pong():
        ws.ping(b"all")
        while True:
            got = ws.recv_frame()
            if got.opcode == PONG:
                assert got.payload == b"all", got
                return
            data = ws.deflate.unpack(got.payload) if got.rsv else got.payload
            assert got.opcode == CLOSE or (got.opcode, data) in known, got

    patiently(until_pong)


def conversation(host):
    """Connects, joins, sends, broadcasts, fragments, pings, pages, closes and drops."""
    sockets = [open_socket(host, "/relay/room/a"), open_socket(host, "/relay/room/a?echo=1"), open_socket(host, "/echo")]
    first, second, echo = sockets
    if first:
        patiently(lambda: first.send_text("to the others"))
        heard(first)
    if second:
        patiently(lambda: second.send_binary(b"x" * 50000))
    heard(second, (TEXT, b"to the others"), (BINARY, b"x" * 50000))
    heard(first, (BINARY, b"x" * 50000))
    if echo:
        patiently(lambda: echo.send_fragments(TEXT, ["in ", "several ", "pieces"]))
        heard(echo, (TEXT, b"in several pieces"))
        patiently(lambda: echo.end(1000))
    with Http("127.0.0.1", host.port) as http:
        answer = patiently(lambda: http.request("GET", "/page.html"))
        assert answer is None or (answer.status == 200 and answer.body == b"a page\n") or answer.status in (404, 500, 503), answer
    for ws in sockets:
        if ws:
            ws.drop()


def each_allocation_fails(memory, host, talk, least=20):
    """Every allocation of a conversation fails, in turn alone and with those behind it."""
    at, failed = 0, 1
    while failed:
        memory.fail(at, 1 if at % 2 else 1000)
        talk(host)
        memory.enough()
        failed = memory.failed
        assert host.alive(), f"allocation {at}: the host ended\n{host.log_text()}"
        at += 1
    print(f"{at} allocations")
    assert at > least


def test_conversations(memory, tmp_path):
    """Every allocation of a conversation fails once, alone, or with those behind it."""
    (tmp_path / "page.html").write_text("a page\n")
    host = Host("--plugin", "/relay=relay", "--plugin", "/echo=echo", "--static", str(tmp_path), "--log-level", "notice",
                env=memory.env)
    with host:
        steady = connect("127.0.0.1", host.port, "/echo")
        conversation(host)
        at = 0
        while True:
            for run in (1, 1000) if LONG else (1 if at % 2 else 1000,):
                memory.fail(at, run)
                conversation(host)
                memory.enough()
                failed = memory.failed
                assert host.alive(), f"allocation {at}: the host ended\n{host.log_text()}"
                if patiently(lambda: (steady.send_text("still"), steady.recv_text())[1]) is None:
                    steady.drop()
                    steady = connect("127.0.0.1", host.port, "/echo")
            if failed == 0:
                break
            at += 1
        print(f"{at} allocations")
        assert at > 10
        conversation(host)
        steady.end()
        # The log may have said, as an error, that there was no memory: no line of it is a reason to fail.
        host.expect(lambda line: True)


def packed_conversation(host):
    """Compressed messages at once and in parts, answered and broadcast."""
    text = "the same words again and again, " * 200
    first, second, echo = [
        patiently(lambda: connect("127.0.0.1", host.port, target, deflate=f"permessage-deflate{how}"))
        for target, how in (("/relay/room/b?echo=1", ""), ("/relay/room/b", "; server_max_window_bits=10"), ("/echo", ""))]
    for ws, pieces in ((first, 1), (echo, 3), (echo, 1)):
        if ws and ws.deflate:
            patiently(lambda: ws.send_packed(TEXT, text, pieces=pieces))
        heard(ws, (TEXT, text.encode()))
    heard(second, (TEXT, text.encode()))
    for ws in (first, second, echo):
        if ws:
            ws.drop()


def test_compressed_conversations(memory):
    host = Host("--plugin", "/relay=relay", "--plugin", "/echo=echo", "--log-level", "notice", "--deflate", "--deflate-takeover", "both",
                env=memory.env)
    with host:
        each_allocation_fails(memory, host, packed_conversation)
        with connect("127.0.0.1", host.port, "/echo", deflate="permessage-deflate") as ws:
            ws.send_packed(TEXT, "as before " * 100)
            assert ws.recv_message().packed
        host.expect(lambda line: True)


def spread_conversation(host):
    """Members on both loops come, hear each other, and go in every way. What they hear is whole, but a pong says nothing of the rest."""
    sockets = [open_socket(host, "/relay/room/a?echo=1") for _ in range(4)] + [open_socket(host, "/echo") for _ in range(2)]
    known = {b"one", b"x" * 90000}
    for ws in sockets:
        if ws:
            patiently(lambda: (ws.send_text("one"), ws.send_binary(b"x" * 90000)))
    for ws in sockets:
        if ws:
            got = patiently(ws.recv_message)
            assert got is None or got.data in known, got
            patiently(lambda: ws.close(1000))
            ws.drop()


def test_several_loops(memory):
    """Whichever loop has no memory, and for whichever record: connections may end for it, the host and its rooms stay as they should."""
    host = Host("--plugin", "/relay=relay", "--plugin", "/echo=echo", "--log-level", "notice", "--threads", "2", "--max-message", "1m",
                env=memory.env)
    with host:
        each_allocation_fails(memory, host, spread_conversation)
        nobody = "connections", "rooms", "memberships", "sockets"
        wait_until(lambda: not any(control.stats(host.control_socket)[n] for n in nobody), "what was said before is over")
        members = [connect("127.0.0.1", host.port, "/relay/room/a?echo=1") for _ in range(6)]
        members[0].send_text("as before")
        assert [ws.recv_text() for ws in members] == ["as before"] * 6
        for ws in members:
            ws.end()
        wait_until(lambda: not any(control.stats(host.control_socket)[n] for n in nobody), "everybody is gone")
        host.expect(lambda line: True)


def counted_conversation(host, memory):
    """tova.v1: whatever is sent arrives, or is told as lost, or the session ends: nothing waits for good once there is memory again."""
    c = patiently(lambda: Client(host.port, "/relay/room/d?echo=1"))

    def next_one():
        while not any("lost" in said for said in c.said):
            if not c.ws.buffer and not select.select([c.ws.sock], [], [], 0.5)[0]:
                memory.enough()
            message = c.next_message()
            if message is not None:
                return message
            if c.done == len(c.sent):  # which is said behind what it has led to
                return "failed" if c.done in c.failed else "settled"
        c.said.clear()
        return "lost"

    joined = False
    for n in range(8):
        text = f"{n}" + "x" * 40000
        if c is None or patiently(lambda: (c.send(text), True)[1]) is None:
            return
        got = patiently(next_one)
        joined = joined or got == text
        assert got in (None, "lost", "failed", "settled", text), got[:20]
        if got == "settled" and joined:  # the other loop had no memory for it: it tells, and the session ends
            assert c.closed() in (1006, 1011)
        if got is None or (got == "settled" and joined):
            return
        if n == 1 and c.token is not None:
            c.drop()
            welcome = patiently(c.back)
            if welcome is None or not welcome["resumed"]:
                return
    c.drop()


@pytest.mark.parametrize("threads", ["1", "2"])
def test_sessions_that_are_resumed(memory, threads):
    host = Host("--plugin", "/relay=relay", "--log-level", "notice", "--threads", threads, "--resume", "1s", env=memory.env)
    with host:
        each_allocation_fails(memory, host, lambda host: counted_conversation(host, memory), least=10)
        wait_until(lambda: not any(control.stats(host.control_socket)[n] for n in ("connections", "away", "sockets", "kept")), "all are over")
        counted_conversation(host, memory)
        host.expect(lambda line: True)


class Remembered:
    """A room that remembers. Who joins is sent what was said, in its order, none twice, or his event has failed as a whole."""

    def __init__(self, memory):
        self.memory, self.said = memory, 0

    @staticmethod
    def ask(ws):
        """What stands before the answer to a message that the chat does not know: all of it, once there is memory again."""
        told = []
        ws.send_text('{"type": "?"}')
        while (text := json.loads(ws.recv_text())["text"]) != "Unknown message type":
            told.append(text)
        return told

    def say(self, ws):
        """Until it was looked at, which may have failed."""
        ws.send_text(json.dumps({"type": "chat", "user": "a", "text": str(self.said)}))
        self.said += 1
        ws.ping()
        while ws.recv_frame().opcode not in (PONG, CLOSE):
            pass

    def __call__(self, host):
        speaker = open_socket(host, "/")
        for _ in range(6):
            if speaker:
                patiently(lambda: self.say(speaker))
        late = open_socket(host, "/")
        self.memory.enough()
        told = patiently(lambda: self.ask(late)) if late else None
        if told:
            row = [int(text) for text in told if text.isdigit()]
            assert row == sorted(set(row)) and ("Welcome to the chat!" in told or not row), told
        for ws in (speaker, late):
            if ws:
                ws.drop()


@pytest.mark.parametrize("threads", ["1", "2"])
def test_rooms_that_remember(memory, threads):
    host = Host("--plugin", "chat", "--log-level", "notice", "--threads", threads, "--history", "4", env=memory.env)
    with host:
        talk = Remembered(memory)
        each_allocation_fails(memory, host, talk, least=20)
        talk(host)
        late = connect("127.0.0.1", host.port, "/")
        assert [int(text) for text in talk.ask(late) if text.isdigit()] == list(range(talk.said - 4, talk.said))
        late.end()
        host.expect(lambda line: True)


def sealed_conversation(host, certs):
    """Handshakes that are whole or resumed, messages of several records, and an end."""
    wrap = tls(certs.cert("here"))
    session = None
    for _ in range(2):
        ws = unsealed(lambda: connect("127.0.0.1", host.port, "/echo", wrap=lambda sock: wrap(sock, session)))
        if ws is None:
            continue
        unsealed(lambda: ws.send_binary(b"y" * 40000))
        unsealed(lambda: heard(ws, (BINARY, b"y" * 40000)))
        session = ws.sock.session
        ws.drop()


def unsealed(action):
    """What TLS makes of an end in the middle."""
    try:
        return patiently(action)
    except (ssl.SSLError, OSError):
        return None


def test_conversations_over_tls(memory, tmp_path):
    certs = Certificates(tmp_path).make("here", "localhost")
    host = Host("--plugin", "/echo=echo", "--log-level", "notice", *certs.args("here"), env=memory.env)
    with host:
        sealed_conversation(host, certs)  # what OpenSSL makes once is there
        at, failed = 0, 1
        while failed:
            memory.fail(at, 1 if at % 2 else 1000)
            sealed_conversation(host, certs)
            memory.enough()
            failed = memory.failed
            assert host.alive(), f"allocation {at}: the host ended\n{host.log_text()}"
            at += 1 if LONG else 11
        print(f"{at} allocations")
        assert at > 500
        at, failed = 0, 1
        while failed:
            memory.fail(at, 1 if at % 2 else 1000)
            mark = host.reload()
            host.wait_log(lambda line: line.get("kind") == "reload" and ("plugin" in line["message"] or "settings" in line["message"]),
                          "the end of the reload", after=mark)
            memory.enough()
            failed = memory.failed
            assert host.alive(), f"allocation {at}: the host ended\n{host.log_text()}"
            at += 1 if LONG else 41
        print(f"{at} allocations of a reload")
        with connect("127.0.0.1", host.port, "/echo", wrap=tls(certs.cert("here"))) as ws:
            ws.send_text("as before")
            assert ws.recv_text() == "as before"
            ws.end()
        host.expect(lambda line: True)


def script_conversation(host):
    """A script says what its descriptors are: four pipes, each another, or it is not there at all."""
    ws = open_socket(host, "/script")
    if ws is None:
        return
    lines = []

    def listen():
        while len(lines) < 4:
            lines.append(ws.recv_text())

    try:
        patiently(listen)
    except AssertionError as error:
        assert "1000" in str(error), error  # there was no memory for what it said
    ws.drop()
    assert all(line.startswith("pipe:") for line in lines) and len(set(lines)) == len(lines), lines


def test_scripts(memory):
    host = Host("--script", "/script=exec readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3", "--script-rate", 100000,
                "--close-timeout", "100ms", "--log-level", "notice", env=memory.env)
    with host:
        script_conversation(host)
        each_allocation_fails(memory, host, script_conversation)
        wait_until(lambda: not host.children, "none is left")
        host.expect(lambda line: True)


def start_and_stop(memory):
    """Starts a host under that memory. Returns its code and what it said; it has to listen or to end."""
    command = [str(BUILD / "tova-host"), "-l", "127.0.0.1:0", "--plugin", "/relay=relay", "--plugin", "/echo=echo", "--log-format", "json",
               "--drain", "0"]
    process = subprocess.Popen(command, env={**os.environ, **memory.env}, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    timer = threading.Timer(PATIENCE, process.kill)
    timer.start()
    said, listening = [], False
    for raw in process.stderr:
        said.append(raw.decode("utf-8", "replace"))
        line = {}
        try:
            line = json.loads(raw)
        except ValueError:
            pass
        if line.get("message") == "started":
            listening = True
            memory.enough()
            process.terminate()
    code = process.wait()
    timer.cancel()
    process.stderr.close()
    return code, listening, "".join(said)


def test_start(memory):
    """A host that can not start says so and ends with a code of its own; one that starts is whole."""
    at, step, failed, refused = 0, 1 if LONG else 7, 1, 0
    while failed:
        memory.fail(at)
        code, listening, said = start_and_stop(memory)
        failed = memory.failed
        memory.enough()
        assert code >= 0, f"allocation {at}: signal {-code}\n{said}"
        assert code in ((0,) if listening else (1, 2)), f"allocation {at}: exit code {code}\n{said}"
        assert listening or said, f"allocation {at}: ended without a word"
        refused += not listening
        at += step
    print(f"{at} allocations, {refused} times refused")
    # Under TSan the library's own allocations stand between, and other ones are tried.
    assert refused > (3 if b"__tsan_init" in (BUILD / "tova-host").read_bytes() else 5)
