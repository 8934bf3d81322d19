"""A real redis-server for a test, at a Unix socket or a port of its own, and a client that says what it is told.

    with Redis(tmp_path) as redis:
        Host("--cluster", redis.url, ...)
"""
import shutil
import signal
import socket
import subprocess

from tova_host import PATIENCE, free_port, wait_until


class RedisError(Exception):
    pass


class Client:
    """Says commands and reads what is answered: bytes, numbers, None, lists."""

    def __init__(self, connect, password=None):
        self.socket = connect()
        self.file = self.socket.makefile("rb")
        if password:
            self.say("AUTH", password)

    def say(self, *words):
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        return self.answer()

    def answer(self):
        line = self.file.readline()
        if not line:
            raise ConnectionError("the server has gone")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RedisError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            n = int(rest)
            return None if n < 0 else self.file.read(n + 2)[:-2]
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]
        return rest

    def close(self):
        self.file.close()
        self.socket.close()


class Redis:
    def __init__(self, folder, *args, tcp=False, password=None):
        self.binary = shutil.which("redis-server")
        assert self.binary, "redis-server is missing: run make test-deps"
        self.folder, self.args, self.password = folder, [str(a) for a in args], password
        self.port = free_port() if tcp else 0
        self.path = folder / "redis.sock"
        self.process = None

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}" if self.port else f"unix://{self.path}"

    def start(self):
        command = [self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(self.folder),
                   "--unixsocket", str(self.path), "--unixsocketperm", "700", "--daemonize", "no", "--logfile", str(self.folder / "redis.log")]
        if self.password:
            command += ["--requirepass", self.password]
        self.process = subprocess.Popen(command + self.args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, "redis-server answers")
        return self

    def _answers(self):
        assert self.process.poll() is None, f"redis-server ended: {(self.folder / 'redis.log').read_text()}"
        try:
            client = self.client()
            try:
                return client.say("PING") == b"PONG"
            finally:
                client.close()
        except (OSError, RedisError):
            return False

    def _connect(self):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(PATIENCE)
        s.connect(str(self.path))
        return s

    def client(self):
        return Client(self._connect, self.password)

    def say(self, *words):
        client = self.client()
        try:
            return client.say(*words)
        finally:
            client.close()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        self.path.unlink(missing_ok=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.kill()
