"""Peers at the sockets for workers and tova-ctl that have not said who they are, or that do not read what they are answered: they cost
a bounded number of descriptors, a bounded amount of memory, and nobody else anything."""
import contextlib
import resource
import socket
import struct
import tempfile

import pytest

from certificates import Certificates
from control import ask, ctl_json, workers
from hub import Hub, opened, send
from probe import WRAPPED
from raw_worker import HANDSHAKE, RawWorker
from tova_host import Host, wait_until

URLS = ["tcp", "ipc"]
MB = 1 << 20


def limit_descriptors(n):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (n, n))


def attach_hub(tmp_path, scheme, *args, **how):
    return Hub(tmp_path, *args, url="tcp://127.0.0.1:0" if scheme == "tcp" else None, **how)


def dial(url):
    scheme, _, rest = url.partition("://")
    sock = socket.socket(socket.AF_UNIX if scheme == "ipc" else socket.AF_INET, socket.SOCK_STREAM)
    sock.connect(rest if scheme == "ipc" else ("127.0.0.1", int(rest.rpartition(":")[2])))
    sock.settimeout(30)
    return sock


# --- places -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [b"", HANDSHAKE, HANDSHAKE[:3]], ids=["silent", "greeting", "half a greeting"])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("scheme", URLS)
def test_a_crowd_of_strangers_keeps_nobody_out(tmp_path, scheme, threads, said):
    """Far more of them than descriptors: clients, tova-ctl and a worker come in as if they were not there."""
    with attach_hub(tmp_path, scheme, "--threads", threads, limits=limit_descriptors(256)) as hub:
        with contextlib.ExitStack() as stack:
            for _ in range(300):
                stack.enter_context(dial(hub.url)).sendall(said)
            wait_until(lambda: hub.stat("strangers") >= 300 - 128, "the first have given way")
            assert hub.host.descriptors < 200
            with hub.worker() as worker:
                ws, _ = opened(hub, worker)
                ws.send_text("a")
                worker.ack(worker.expect("message"), send("served"))
                assert ws.recv_text() == "served"
                ws.drop()
            line = hub.host.wait_log(lambda line: "have not said hello" in line.get("message", ""), "that strangers give way")
            assert line["url"] == hub.url and line["remote"]
            told = [line for line in hub.host.lines if "have not said hello" in line.get("message", "")]
            assert len(told) == 1, "a crowd is one line"


def test_one_address_takes_a_part_of_the_places(tmp_path):
    """Strangers of other addresses stay: the crowd's own oldest give way."""
    (tmp_path / "token").write_text("secret\n")
    with Hub(tmp_path, "--attach-token", tmp_path / "token", url="tcp://0.0.0.0:0") as hub:
        port = int(hub.host.wait_log(lambda line: "url" in line, "the URL")["url"].rpartition(":")[2])
        with contextlib.ExitStack() as stack:
            other = stack.enter_context(socket.create_connection(("127.0.0.2", port), source_address=("127.0.0.9", 0)))
            other.sendall(HANDSHAKE)
            for _ in range(200):
                stack.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(HANDSHAKE)
            wait_until(lambda: hub.stat("strangers") == 200 - 32, "the crowd's first have given way")
            hello = b'[{"t":"hello","v":1,"token":"secret"}]'
            other.sendall(struct.pack(">Q", len(hello)) + hello)
            other.settimeout(30)
            assert other.recv(8, socket.MSG_WAITALL) == HANDSHAKE
            assert b'"welcome"' in other.recv(4096)[8:]


def test_workers_are_no_strangers(tmp_path):
    """Who has said hello stays, however many follow."""
    with Hub(tmp_path, url="tcp://127.0.0.1:0") as hub, contextlib.ExitStack() as stack:
        trusted = [stack.enter_context(hub.worker()) for _ in range(140)]
        for _ in range(200):
            stack.enter_context(dial(hub.url))
        wait_until(lambda: hub.stat("strangers") >= 200 - 128, "strangers give way to each other")
        for worker in trusted:
            assert worker.ask("count", room="a")["count"] == 0


def test_what_strangers_send_is_bounded(tmp_path):
    """Each sends most of a batch of the largest size, and not its end."""
    with Hub(tmp_path, url="tcp://127.0.0.1:0") as hub, contextlib.ExitStack() as stack:
        rss = hub.host.rss
        for _ in range(200):
            sock = stack.enter_context(dial(hub.url))
            with contextlib.suppress(OSError):
                sock.sendall(HANDSHAKE + struct.pack(">Q", MB) + bytes(MB - 1))
        with hub.worker() as worker:
            opened(hub, worker)[0].drop()
        if not WRAPPED:
            assert hub.host.rss < rss + 24 * MB, "what strangers have sent is kept"


FIRSTS = {
    "no hello": b'{"t":"pong"}',
    "a wrong token": b'{"t":"hello","v":1,"token":"no"}',
    "another mount": b'{"t":"hello","v":1,"token":"secret","mount":"/elsewhere"}',
}


@pytest.mark.parametrize("first", FIRSTS)
def test_nothing_behind_a_bad_hello_is_read(tmp_path, first):
    """30,000 objects in one batch would be items of hundreds of bytes: the first says that none of them is to be read."""
    (tmp_path / "token").write_text("secret\n")
    with Hub(tmp_path, "--attach-token", tmp_path / "token", url="tcp://127.0.0.1:0") as hub:
        with hub.worker(token="secret") as worker:
            opened(hub, worker)[0].drop()
            worker.ack(worker.expect("close"))
            rss = hub.host.rss
            for _ in range(3):
                with RawWorker(hub.url) as stranger:
                    stranger.send_bytes(b"[" + FIRSTS[first] + b',{"t":"pong"}' * 30000 + b"]")
                    stranger.expect_end("")
            line = hub.host.wait_log(lambda line: "cut off" in line.get("message", ""), "it is cut off")
            assert line["remote"].startswith("127.0.0.1:")
            if not WRAPPED:
                assert hub.host.rss < rss + 8 * MB
            assert worker.ask("count", room="a")["count"] == 0


def test_idle_connections_at_the_control_socket_give_way(tmp_path):
    """The one that was silent longest, not the one that came first."""
    with Hub(tmp_path) as hub, contextlib.ExitStack() as stack:
        busy = stack.enter_context(RawWorker(f"ipc://{hub.control}"))
        for _ in range(150):
            stack.enter_context(dial(f"ipc://{hub.control}")).sendall(HANDSHAKE)
            assert busy.ask("stats")
        assert hub.host.descriptors < 110
        assert ctl_json(hub.control, "stats")["stats"]["strangers"] >= 150 - 64
        hub.host.wait_log(lambda line: "at the control socket" in line.get("message", ""), "that they give way")


# --- answers that nobody reads --------------------------------------------------------------------------------------------------------

PUSH = b'{"t":"push","ref":%d,"commands":[]}'
BAD_PUSH = b'{"t":"push","ref":%d,"commands":[{"c":"join","room":""}]}'
COUNT = b'{"t":"query","q":%d,"what":"count","room":"a"}'


def batches(link, question):
    """Without end, each with a thousand, numbered."""
    n = 0
    while True:
        objects = [question % i for i in range(n, n + 1000)]
        if link is not None:
            objects[0] = objects[0].replace(b'","', b'","link":"%s","' % link.encode(), 1)
        yield b"[" + b",".join(objects) + b"]"
        n += 1000


@contextlib.contextmanager
def asker(hub, door):
    if door == "control":
        with RawWorker(f"ipc://{hub.control}") as worker:
            yield worker
    else:
        with hub.worker(**({"events": []} if door == "pusher" else {})) as worker:
            yield worker


@pytest.mark.parametrize("question", [PUSH, BAD_PUSH, COUNT], ids=["pushes", "refused pushes", "queries"])
@pytest.mark.parametrize("door", ["worker", "pusher", "control"])
@pytest.mark.parametrize("threads", [1, 3])
def test_answers_that_nobody_reads_are_bounded(tmp_path, door, threads, question):
    """The host stops reading from who does not read; once that reads all its answers are there, in order."""
    with Hub(tmp_path, "--threads", threads) as hub, asker(hub, door) as peer:
        rss, sent, all_batches = hub.host.rss, 0, batches(peer.link, question)
        peer.sock.settimeout(1)
        try:
            while sent < 64 * MB:
                body = next(all_batches)
                peer.send_bytes(body)
                sent += len(body)
        except TimeoutError:
            pass
        assert sent < 32 * MB, "it goes on being read"
        if door != "control":
            assert workers(hub.control)[0]["unread"] > MB, "what it does not read is counted"
        if not WRAPPED:
            assert hub.host.rss < rss + 16 * MB
        peer.sock.settimeout(30)
        for n in range(5000):
            answer = peer.receive()
            assert answer.get("ref", answer.get("q")) == n
            assert ("error" in answer) == (question is BAD_PUSH)


def test_a_worker_is_heard_while_it_has_answers_to_read(tmp_path):
    """Events that wait for it do not count: its acknowledgements are heard."""
    with Hub(tmp_path) as hub, hub.worker() as worker:
        clients = [opened(hub, worker) for _ in range(8)]
        worker.send(*[{"t": "push", "ref": n, "commands": []} for n in range(100)])
        for ws, _ in clients:
            ws.send_text("x" * 900000)
        wait_until(lambda: hub.stat("messages_in") >= 8, "the messages have come")
        for _ in range(100):
            worker.expect("done")
        for _ in clients:
            worker.ack(worker.expect("message"), send("heard"))
        for ws, _ in clients:
            assert ws.recv_text() == "heard"


# --- those who speak something else -----------------------------------------------------------------------------------------------------

GREETINGS = {"TLS": (bytes.fromhex("16030100f8010000f40303"), "speaks TLS"), "HTTP": (b"GET / HTTP/1.1\r\n\r\n", "HTTP"),
             "noise": (b"\xff\xfe\xfd", "PAIR0")}


@pytest.mark.parametrize("greeting", GREETINGS)
@pytest.mark.parametrize("door", ["tcp", "ipc", "control"])
def test_who_speaks_something_else_is_named(tmp_path, door, greeting):
    said, why = GREETINGS[greeting]
    with attach_hub(tmp_path, door) as hub:
        url = f"ipc://{hub.control}" if door == "control" else hub.url
        with dial(url) as sock:
            sock.sendall(said)
            mine = "%s:%d" % sock.getsockname() if door == "tcp" else "process "
            line = hub.host.wait_log(lambda line: why in line.get("error", ""), "what it speaks")
            assert line["url"] == url and line["remote"].startswith(mine)


def test_a_plain_peer_at_a_tls_url_is_named(tmp_path):
    made = Certificates(tmp_path)
    made.make("here", "localhost")
    with Hub(tmp_path, "--attach-cert", made.cert("here"), "--attach-key", made.key("here"), url="tls+tcp://127.0.0.1:0") as hub:
        url = hub.host.wait_log(lambda line: "url" in line, "the URL")["url"]
        with dial(url) as sock:
            sock.sendall(HANDSHAKE)
            line = hub.host.wait_log(lambda line: "TLS handshake failed" in line.get("error", ""), "what went wrong")
            assert line["remote"] == "%s:%d" % sock.getsockname()


# --- nothing that is no trouble is a warning ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", URLS)
def test_a_push_and_goodbye_is_no_warning(tmp_path, scheme):
    with attach_hub(tmp_path, scheme) as hub:
        with RawWorker(hub.url) as pusher:
            pusher.send({"t": "hello", "v": 1, "events": []}, {"t": "push", "ref": 1, "commands": []})
            pusher.expect("welcome")
            pusher.expect("done", ref=1)
        hub.host.wait_log(lambda line: "link ended" in line.get("message", ""), "that it has left")
        assert [line for line in hub.host.lines if line.get("level") in ("warn", "error")] == []


def test_a_host_without_a_socket_of_its_own_leaves_the_other_alone():
    """Both would take the default control socket: the second does without, and the first does not notice."""
    with tempfile.TemporaryDirectory() as runtime:
        env = {"XDG_RUNTIME_DIR": runtime}
        with Host("--plugin", "echo", env=env) as first:
            first.wait_log(lambda line: line.get("message") == "started", "that it has started")
            before = len(first.lines)
            with Host("--plugin", "echo", env=env) as second:
                second.wait_log(lambda line: "no control socket" in line.get("message", ""), "that it has none")
            assert ask(f"{runtime}/tova.sock", "stats")["stats"]["connections"] == 0
            assert first.lines[before:] == []
