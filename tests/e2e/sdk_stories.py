"""Stories of a worker library with the real host. A test file says in a fixture `kind` which language tells them."""
import json
import os
import signal
import subprocess
import threading

import pytest

from example_workers import INTERPRETERS, command
from tova_host import IMPATIENT, PATIENCE, ROOT, Host, free_port, wait_until
from wsclient import connect, refused

STORIES = "tests/e2e/stories/stories"


class Client:
    def __init__(self, host, query="", **how):
        self.ws = connect("127.0.0.1", host.port, "/w" + (f"?{query}" if query else ""), **how)
        self.welcome = self.receive()
        self.id = self.welcome["welcome"]

    def send(self, do, **more):
        self.ws.send_text(json.dumps({"do": do, **more}))

    def text(self):
        return self.ws.recv_text()

    def receive(self):
        return json.loads(self.text())

    def ask(self, do, **more):
        self.send(do, **more)
        return self.receive()

    def expect_silence(self):
        """Nothing else is on its way."""
        self.send("echo", data="silence?")
        assert self.text() == "silence?"


def stories(kind, *more, workers=1):
    return Host("--worker", f"/w={command(kind, STORIES)}", "--workers", str(workers), *more, *IMPATIENT)


@pytest.fixture
def host(kind):
    with stories(kind) as running:
        yield running


@pytest.fixture
def three(kind):
    with stories(kind, workers=3) as running:
        yield running


# --- one worker ----------------------------------------------------------------------------------------------------------------


def test_text_and_binary(host):
    client = Client(host)
    assert client.welcome == {"welcome": client.id, "path": "/w", "state": {"query": "", "n": 0}}
    for text in ("", "ä\n\"\\\u0001🎉", "x" * 100_000):
        client.send("echo", data=text)
        assert client.text() == text
    for data in (b"", bytes(range(256)), b"\n]\n" * 50_000):
        client.ws.send_binary(data)
        assert client.ws.recv_binary() == data


def test_rooms_and_the_end(host):
    one, two = Client(host), Client(host)
    assert one.receive() == {"came": two.id}
    two.send("room", room="tea")
    assert two.text() == "joined"
    two.ws.end(1000)
    assert one.receive() == {"left": two.id, "code": 1000, "reason": "", "rooms": ["all", "tea"]}
    three = Client(host)
    assert one.receive() == {"came": three.id}
    three.send("close")
    three.ws.expect_closed(3001, "as you wish")
    assert one.receive()["left"] == three.id


def test_upgrades(host):
    assert Client(host, "a=1", subprotocols=("v0", "v1")).ws.subprotocol == "v1"
    assert Client(host, "a=1", subprotocols=("v0",)).ws.subprotocol is None
    assert Client(host, "a=%C3%A4").welcome["state"] == {"query": "a=%C3%A4", "n": 0}
    for status in (300, 302, 400, 401, 403, 404, 418, 429, 451, 500, 503, 599):
        answer = refused("127.0.0.1", host.port, f"/w?refuse={status}")
        assert (answer.status, answer.body, answer.get("WWW-Authenticate")) == (status, b"who are you?", "Basic")
    for status in (0, 101, 200, 299, 600):  # they refuse nothing, so the handler has failed
        assert refused("127.0.0.1", host.port, f"/w?refuse={status}").status == 500
    answer = refused("127.0.0.1", host.port, "/w?fail")
    # What went wrong is the operator's to know.
    assert answer.status == 500 and answer.body == b"500 Internal Server Error: the handler failed\n"
    line = host.wait_log(lambda line: line.get("kind") == "upgrade" and line.get("status") == 500 and "no upgrades today" in line.get("error", ""))
    assert line["path"] == "/w" and line["remote"] == "127.0.0.1"


def test_a_handler_that_fails(host):
    one, two = Client(host), Client(host)
    assert one.receive() == {"came": two.id}
    for text in ("why not", "ä 🎉"):
        error = one.ask("fail", text=text)["error"]
        assert error.endswith("Error: " + text)
        # Not even by half: it is in the room still, and nobody heard anything.
        assert sorted(one.ask("query")["members"]) == sorted([one.id, two.id])
    assert "error" in one.ask("no such deed")
    assert "error" in one.ask("room", room="")
    one.expect_silence()
    two.expect_silence()


def test_state(host):
    client, other = Client(host), Client(host)
    assert client.receive() == {"came": other.id}
    assert [client.ask("count")["n"] for _ in range(3)] == [1, 2, 3]
    assert other.ask("count")["n"] == 1
    client.send("bytes")
    assert client.text() == "none"
    client.send("bytes")
    assert client.ws.recv_binary() == b"\x00\xff\n"


def test_one_waits_and_the_others_do_not(host):
    slow, quick = Client(host), Client(host)
    assert slow.receive() == {"came": quick.id}
    slow.send("slow", ms=500)
    slow.send("echo", data="behind it")
    quick.expect_silence()
    quick.send("slow", ms=1)
    assert quick.receive() == {"slow": 1}
    assert slow.receive() == {"slow": 500}
    assert slow.text() == "behind it"


def test_retry(host):
    client = Client(host)
    client.send("retry")
    assert client.text() == "once"
    client.expect_silence()


@pytest.mark.parametrize("ms", [-5, 3_600_001])
def test_a_retry_after_a_time_that_is_none(host, ms):
    """Refused in the library: the event fails with a sentence, and nothing else does."""
    client = Client(host)
    error = client.ask("retry", ms=ms)["error"]
    assert "retry" in error or "after_ms" in error
    client.expect_silence()


def test_timer(host):
    client = Client(host)
    client.send("timer", ms=20)
    assert client.receive() == {"timer": "mine", "id": 7}
    client.expect_silence()


def test_push_and_query(host):
    one, two = Client(host), Client(host)
    assert one.receive() == {"came": two.id}
    one.send("push")
    assert one.text() == "one"
    assert one.receive()["refused"]
    assert [two.text(), two.text()] == ["one", "two"]
    found = one.ask("query")
    assert sorted(found.pop("members")) == sorted([one.id, two.id])
    assert found == {"count": 2, "nobody": 0, "rooms": ["all"], "connections": 2}
    one.expect_silence()
    two.expect_silence()


def test_many_at_once(host):
    clients = [Client(host) for _ in range(20)]
    for i, client in enumerate(clients):
        assert [client.receive()["came"] for _ in clients[i + 1:]] == [later.id for later in clients[i + 1:]]
    for n in range(100):
        for client in clients:
            client.send("echo", data=str(n))
    for client in clients:
        assert [client.text() for _ in range(100)] == [str(n) for n in range(100)]


# --- workers come and go -----------------------------------------------------------------------------------------------------------


def test_any_worker_serves_any_connection(three):
    clients = [Client(three) for _ in range(6)]
    for i, client in enumerate(clients):
        for _ in clients[i + 1:]:
            client.receive()
    for n in range(1, 6):
        pids = set()
        for client in clients:
            answer = client.ask("count")
            assert answer["n"] == n
            pids.add(answer["pid"])
        os.kill(pids.pop(), signal.SIGKILL)


def test_a_worker_that_dies_of_a_message(three):
    client, other = Client(three), Client(three)
    client.receive()
    before = client.ask("count")["pid"]
    client.send("die")
    client.send("count")
    assert client.text() == "never twice"
    answer = client.receive()
    assert answer["attempt"] == 2 and answer["pid"] != before and answer["key"].startswith(client.id + ":")
    assert client.receive()["n"] == 2
    other.expect_silence()


def test_a_message_that_kills_every_worker(kind):
    with stories(kind, "--max-attempts", "2") as host:
        host.expect(lambda line: line.get("level") == "error")
        client = Client(host)
        client.send("die", times=1000)
        assert "error" in client.receive()
        client.expect_silence()


def test_a_worker_that_is_told_to_leave(three):
    """TERM from whoever: it finishes, says bye, and another takes its place."""
    client = Client(three)
    pid = client.ask("count")["pid"]
    client.send("slow", ms=300)
    client.send("echo", data="behind it")
    wait_until(lambda: len(three.children) >= 3, "three workers")
    mark = len(three.lines)
    os.kill(pid, signal.SIGTERM)
    assert client.receive() == {"slow": 300}
    assert client.text() == "behind it"
    three.wait_log(lambda line: "says goodbye" in json.dumps(line), "bye", after=mark)
    client.expect_silence()


def test_reload_in_a_flood(three):
    """Workers are replaced while messages come: each is answered once, in order."""
    clients = [Client(three) for _ in range(5)]
    for i, client in enumerate(clients):
        for _ in clients[i + 1:]:
            client.receive()
    pids = {client.ask("count")["pid"] for client in clients}
    failures = []

    def talk(client):
        try:
            for n in range(300):
                client.send("echo", data=str(n))
            assert [client.text() for _ in range(300)] == [str(n) for n in range(300)]
            client.send("slow", ms=50)
            assert client.receive() == {"slow": 50}
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=talk, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    three.reload()
    for thread in threads:
        thread.join(PATIENCE)
    assert not failures, failures
    wait_until(lambda: not pids & set(three.children), "the old workers are gone")
    assert [client.ask("count")["n"] for client in clients] == [2] * 5


def test_deaths_in_a_flood(three):
    """Workers are killed while messages come: each is answered once, in order."""
    clients = [Client(three) for _ in range(5)]
    for i, client in enumerate(clients):
        for _ in clients[i + 1:]:
            client.receive()
    for client in clients:
        for n in range(200):
            client.send("count")
    for client in clients[:3]:
        pid = client.receive()["pid"]
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    for i, client in enumerate(clients):
        first = 2 if i < 3 else 1
        assert [client.receive()["n"] for _ in range(first, 201)] == list(range(first, 201))


# --- workers that attach --------------------------------------------------------------------------------------------------------------


class Attached:
    """Workers that the test starts."""

    def __init__(self, kind):
        self.kind = kind
        self.processes = []

    def start(self, url, token="", **env):
        interpreter, ending = INTERPRETERS[self.kind]
        environment = {**os.environ, "TOVA_URL": url, "TOVA_TOKEN": token, **env}
        environment.pop("TOVA_SUPERVISED", None)
        process = subprocess.Popen([interpreter, f"{ROOT / STORIES}.{ending}"], env=environment, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.processes.append(process)
        return process

    def end(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def attached(kind):
    workers = Attached(kind)
    yield workers
    workers.end()


@pytest.fixture(params=["ipc", "tcp"])
def url(request, tmp_path):
    return f"ipc://{tmp_path}/workers" if request.param == "ipc" else f"tcp://127.0.0.1:{free_port()}"


def test_attached_workers_outlive_the_host(attached, url):
    """They dial until there is a host, serve it, and dial again when it was killed and started anew."""
    worker = attached.start(url)
    assert "can not reach the host" in worker.stderr.readline()
    host = Host("--attach", f"/w={url}", *IMPATIENT)
    for _ in range(2):
        host.start()
        try:
            client = Client(host)
            assert client.ask("count") == {"n": 1, "pid": worker.pid}
            client.send("push")
            assert client.text() == "one"
            assert client.receive()["refused"]
        finally:
            host.kill()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE) == 0


def test_a_wrong_token(attached, url, tmp_path):
    (tmp_path / "token").write_text("right\n")
    with Host("--attach", f"/w={url}", "--attach-token", tmp_path / "token", *IMPATIENT) as host:
        wrong = attached.start(url, "wrong")
        assert wrong.wait(PATIENCE) == 1
        assert "token" in wrong.stderr.read()
        elsewhere = attached.start(url, "right", TOVA_MOUNT="/elsewhere")
        assert elsewhere.wait(PATIENCE) == 1
        assert "another mount" in elsewhere.stderr.read()
        right = attached.start(url, "right", TOVA_MOUNT="/w")
        assert Client(host).ask("count")["pid"] == right.pid


def certificate(folder):
    """A self-signed one for localhost: it is its own authority."""
    done = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                           "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out",
                           folder / "cert.pem"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return folder / "cert.pem", folder / "key.pem"


def test_over_tls(attached, tmp_path):
    cert, key = certificate(tmp_path)
    url = f"tls+tcp://localhost:{free_port()}"
    (tmp_path / "token").write_text("right\n")
    with Host("--attach", f"/w={url.replace('localhost', '127.0.0.1')}", "--attach-cert", cert, "--attach-key", key, "--attach-token",
              tmp_path / "token", *IMPATIENT) as host:
        stranger = attached.start(url, "right")
        assert "certificate" in stranger.stderr.readline()
        stranger.kill()
        worker = attached.start(url, "right", SSL_CERT_FILE=str(cert), NODE_EXTRA_CA_CERTS=str(cert))
        client = Client(host)
        assert client.ask("count")["pid"] == worker.pid
        client.send("echo", data="x" * 1_000_000)
        assert client.text() == "x" * 1_000_000
    assert "connection to the host ended" in worker.stderr.readline()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE) == 0
