"""Runs a real tova-host for a test and watches it.

    with Host("--plugin", "/chat=chat") as host:
        connect("127.0.0.1", host.port, "/chat")
        host.wait_log(lambda line: line.get("kind") == "conn.close")

Leaving the block stops the host with TERM and demands what every healthy host owes: exit code 0, no log line of level error,
nothing on its standard error that is not a log line (a sanitizer's report, an assertion). A test that provokes errors
names them: host.expect(predicate).
"""
import contextlib
import json
import os
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = (ROOT / os.environ.get("TOVA_BUILD", "build")).resolve()

# Everything a test waits for has this long; it is generous because a loaded machine or a sanitizer only makes a passing test slow.
# Options for every host, so that a suite can be run in another way; {unique} in one is another word for each start.
OPTIONS = os.environ.get("TOVA_HOST_OPTIONS", "").split()
PATIENCE = float(os.environ.get("TOVA_PATIENCE", "30"))
# What the children of a tested host need of its environment: where the libraries are, and how sanitizers are to report.
PASSED = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "ASAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS", "CURED")
# How much of its log waits for a test that has no processor just now; the host leaves out what finds no room.
PIPE = 1 << 20
# Clients of a test that is over do not answer the stopping host's close frame; it need not wait long for them.
IMPATIENT = ("--close-timeout", "100ms")


def wait_until(condition, what="condition", timeout=None):
    """Returns the first true value of condition(), or fails naming what never came true."""
    timeout = PATIENCE if timeout is None else timeout
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        time.sleep(0.01)


def name_of(pid):
    """What the kernel calls a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def gone(pid):
    """Whether it has ended, even if nobody has waited for it yet."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def hold_port(host="127.0.0.1", port=0):
    """A socket that is bound and never listens: as long as it is open the kernel gives its port to nobody who asks for any (a test
    beside this one, say), while who names it, with SO_REUSEADDR as servers do, gets it."""
    held = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind((host, port))
    return held


_held = []


def free_port():
    """For a server that has to be told a port. It stays free until the end of this process, or until somebody listens there."""
    _held.append(hold_port())
    return _held[-1].getsockname()[1]


class Log:
    """What a process writes, taken apart while it runs."""

    def __init__(self, stream, changed):
        """changed: a condition, notified at every line and at the end."""
        self.ended = False
        self._stream = stream
        self._changed = changed
        self._lines = []
        self._half = b""
        os.set_blocking(stream.fileno(), False)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def lines(self):
        """A copy, with what was written before this call: who has seen an effect of the process sees the line before it too."""
        with self._changed:
            self._take(2 * PIPE)  # more than it holds
            return list(self._lines)

    def join(self, seconds):
        self._reader.join(seconds)

    def _read(self):
        # Only looks whether there is something: it is taken under the lock, so that nothing is in between for lines().
        ready = select.poll()
        ready.register(self._stream.fileno(), select.POLLIN)
        while not self.ended:
            ready.poll()
            with self._changed:
                self._take(1)
        self._stream.close()

    def _take(self, most):
        """At most about so many bytes: a process may write faster than this reads."""
        while not self.ended and most > 0:
            try:
                data = os.read(self._stream.fileno(), 65536)
            except BlockingIOError:
                return
            most -= len(data)
            self.ended = not data
            *whole, self._half = (self._half + data).split(b"\n")
            if self.ended and self._half:
                whole.append(self._half)
            self._lines += map(self._line, whole)
            self._changed.notify_all()

    @staticmethod
    def _line(raw):
        text = raw.decode("utf-8", "replace")
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        return line if isinstance(line, dict) else {"raw": text}


class Host:
    """One run after another of build/tova-host with the same arguments."""

    def __init__(self, *args, listen="127.0.0.1:0", env=None, cwd=None, wrap=(), limits=None, passenv=PASSED):
        """args: the command line behind the name. listen: an address, a list of them, or () when args name their own.
        wrap: a command to run the host under, such as valgrind. limits: a function called in the child before exec.
        passenv: what its children get of its environment beside what they always get."""
        self.binary = BUILD / "tova-host"
        self.args = [str(a) for a in args]
        self.listen = [listen] if isinstance(listen, str) else list(listen)
        self.cwd = str(cwd) if cwd else str(ROOT)
        self.wrap = [str(w) for w in wrap]
        self.limits = limits
        self.extra_env = dict(env or {})
        self.passenv = list(passenv)
        self.process = None
        self._log = None  # of the current run
        self._expected, self._allowed = [], []
        self._changed = threading.Condition()
        self._runtime = None
        self._held = []  # the ports it had, until it is started again

    # --- starting ---------------------------------------------------------------------------------------------------------

    def start(self, wait=True):
        """Starts the host and waits until it listens. Starting again after stop() or kill() keeps the port it had."""
        assert self.process is None, "this host runs already"
        assert self.binary.exists(), f"{self.binary} is missing: run make first"
        # A runtime folder of its own, so that hosts of tests beside each other do not meet at the default control socket.
        self._runtime = tempfile.mkdtemp(prefix="tova-test-")
        command = [*self.wrap, str(self.binary), "--log-format", "json"]
        for address in self.listen:
            command += ["-l", address]
        if "--drain" not in self.args:
            command += ["--drain", "0"]  # stop at once: no test but those of draining has the time to watch it
        if self.passenv:
            command += ["--passenv", ",".join(self.passenv)]
        if os.environ.get("TOVA_THREADS") and "--threads" not in self.args:
            command += ["--threads", os.environ["TOVA_THREADS"]]  # the same tests with several loops
        env = {**os.environ, "XDG_RUNTIME_DIR": self._runtime, **self.extra_env}
        try:
            self.process = subprocess.Popen(
                command + [o.replace("{unique}", secrets.token_hex(8)) for o in OPTIONS] + self.args, cwd=self.cwd, env=env, preexec_fn=self.limits,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, pipesize=PIPE)
        except Exception:
            shutil.rmtree(self._runtime, ignore_errors=True)
            raise
        self._log = Log(self.process.stderr, self._changed)
        if wait:
            self._wait_listening()
        return self

    def _wait_listening(self):
        wanted = max(1, len(self.listen))
        try:
            self._wait(lambda: len(self.listening) >= wanted or self.process.poll() is not None, "the host listens")
        except AssertionError:
            self.kill()
            raise
        if self.process.poll() is not None:
            code = self.process.returncode
            self._forget()
            raise AssertionError(f"the host ended with {code} instead of listening\n{self.log_text()}")
        # A later start() shall find the clients of this run again.
        self.listen = [bound if asked.endswith(":0") else asked for asked, bound in zip(self.listen, self.listening)]
        self._held.clear()

    @property
    def listening(self):
        """Addresses from the listen lines, in the order of the command line: "127.0.0.1:43211", "[::1]:80", "unix:/path"."""
        return [line["address"] for line in self.lines if line.get("kind") == "listen" and "address" in line]

    @property
    def port(self):
        """The first TCP port."""
        for address in self.listening:
            match = re.search(r"^(?!unix:).*:(\d+)$", address)
            if match:
                return int(match.group(1))
        raise AssertionError(f"no TCP listener\n{self.log_text()}")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self):
        return f"ws://127.0.0.1:{self.port}"

    # --- the log ----------------------------------------------------------------------------------------------------------

    @property
    def lines(self):
        """Of the current run, all that the host has written by now: dicts; what is no JSON object is {"raw": text}."""
        return self._log.lines() if self._log else []

    def _wait(self, condition, what, timeout=None):
        timeout = PATIENCE if timeout is None else timeout
        deadline = time.monotonic() + timeout
        with self._changed:
            while not condition():
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"not within {timeout:g} s: {what}\n{self.log_text()}")
                self._changed.wait(min(left, 0.1))

    def wait_log(self, predicate, what="log line", after=0, timeout=None):
        """Returns the first line, from index `after` on, for which predicate(line) holds. len(host.lines) is a mark to pass."""
        found = []

        def look():
            found[:] = [line for line in self.lines[after:] if predicate(line)][:1]
            if not found and self.process is not None and self.process.poll() is not None and self._log.ended:
                raise AssertionError(f"the host ended ({self.process.returncode}) without: {what}\n{self.log_text()}")
            return found

        self._wait(look, what, timeout)
        return found[0]

    def expect(self, predicate):
        """Lines for which predicate(line) holds are no reason to fail in stop(), and at least one of them has to come."""
        self._expected.append(predicate)

    def allow(self, predicate):
        """Lines for which predicate(line) holds are no reason to fail in stop(); whether one comes is a matter of luck."""
        self._allowed.append(predicate)

    def log_text(self):
        return "\n".join(line["raw"] if "raw" in line else json.dumps(line) for line in self.lines[-200:])

    def unexpected(self):
        """Lines that a healthy host does not write."""
        bad = [line for line in self.lines if "raw" in line or line.get("level") == "error"]
        return [line for line in bad if not any(predicate(line) for predicate in (*self._expected, *self._allowed))]

    # --- the process ------------------------------------------------------------------------------------------------------

    @property
    def pid(self):
        assert self.process is not None, "the host does not run"
        return self.process.pid

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def reload(self):
        """Asks for a reload; returns a mark for wait_log(..., after=mark)."""
        mark = len(self.lines)
        self.signal(signal.SIGHUP)
        return mark

    def status(self, key):
        """A number from /proc/PID/status: "VmRSS" (KiB), "Threads"."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"^{key}:\s+(\d+)", text, re.M).group(1))

    @property
    def control_socket(self):
        """Where it is without --control."""
        return os.path.join(self._runtime, "tova.sock")

    @property
    def rss(self):
        """Resident memory in bytes."""
        return self.status("VmRSS") * 1024

    @property
    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    @property
    def children(self):
        """Process ids of its children, but for the guard, and for those that have not begun and still have its name, or that of
        /proc/self/exe, by which they were started."""
        found = [int(p) for p in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        return [p for p in found if name_of(p) not in ("tova-guard", "exe", name_of(self.pid))]

    @property
    def guard(self):
        """Process id of its guard, which it has from its first child on."""
        found = [int(p) for p in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        return next((p for p in found if name_of(p) == "tova-guard"), None)

    # --- stopping ---------------------------------------------------------------------------------------------------------

    def wait_exit(self, timeout=None):
        """Waits for the host to end by itself; returns its exit code."""
        try:
            code = self.process.wait(PATIENCE if timeout is None else timeout)
        except subprocess.TimeoutExpired:
            text = self.log_text()
            self.kill()
            raise AssertionError(f"the host does not end\n{text}") from None
        self._forget()
        return code

    def stop(self, code=0):
        """TERM, then the exit code and the log are judged."""
        if self.process is None:
            return
        self.signal(signal.SIGTERM)
        ended = self.wait_exit()
        assert ended == code, f"exit code {ended}, expected {code}\n{self.log_text()}"
        self.judge_log()

    def judge_log(self):
        bad = self.unexpected()
        assert not bad, "unexpected in the log:\n" + "\n".join(map(str, bad)) + f"\n--- all of it:\n{self.log_text()}"
        missing = [p for p in self._expected if not any(p(line) for line in self.lines)]
        assert not missing, f"{len(missing)} expected log lines never came\n{self.log_text()}"

    def kill(self):
        """As a crash would end it: nothing is asked, nothing is judged."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._forget()

    def _forget(self):
        # A child that outlives the host may hold the pipe open: what is there has been read, its end need not come.
        self._log.join(2)
        self.process = None
        self._hold_ports()
        shutil.rmtree(self._runtime, ignore_errors=True)

    def _hold_ports(self):
        """Those of its TCP listeners: its clients, and workers that dial, shall meet nobody else there before it is back."""
        urls = [line["url"] for line in self.lines if line.get("message") == "workers may attach"]
        for address in self.listening + urls:
            match = re.fullmatch(r"(?:(?:tls\+)?tcp://)?\[?([0-9a-f.:]+?)\]?:(\d+)", address)
            if match:
                with contextlib.suppress(OSError):  # a child that outlives it may still have it
                    self._held.append(hold_port(match.group(1), int(match.group(2))))

    def __enter__(self):
        return self.start() if self.process is None else self

    def __exit__(self, kind, error, trace):
        if self.process is None:
            return
        if kind is None:
            self.stop()
            return
        # The test has failed already: do not hide its reason, show what the host said.
        self.kill()
        print(f"--- log of {self.binary.name} {' '.join(self.args)}\n{self.log_text()}")
