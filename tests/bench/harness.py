"""What every benchmark here shares: starting a server, running the generator against it, and saying where that was."""
import argparse
import datetime
import json
import os
import platform
import resource
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = (ROOT / os.environ.get("TOVA_BUILD", "build")).resolve()
SERVER_CPU, LOAD_CPU = 0, 1
PATIENCE = 30
RUN_MAX = 300  # seconds
PLOTS = ROOT / "tests/bench/plots"


def measuring(about, things):
    """A parser with the options that every program has which measures things."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"fewer {things}, rounds and seconds")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--warmup", type=float)
    parser.add_argument("--out", type=Path, default=BUILD / "bench")
    parser.add_argument("--plots", type=Path, default=PLOTS, help="where the picture goes")
    parser.add_argument("--no-plots", action="store_true")
    return parser


def measured(parser, **defaults):
    """What was asked for; defaults: of a quick run, and of a whole one."""
    options = parser.parse_args()
    for name, (quick, whole) in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else whole)
    return options


def output_of(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def all_descriptors():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def in_server():
    os.sched_setaffinity(0, {SERVER_CPU})
    all_descriptors()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Running:
    """A server from its start until it is killed; what it printed is shown when something went wrong. command: a list in which PORT
    stands for the port, or a function that makes one of the port and a folder for its files."""

    def __init__(self, command):
        self.port = free_port()
        self.folder = tempfile.TemporaryDirectory(prefix="tova-bench-")
        self.log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        made = command(self.port, Path(self.folder.name)) if callable(command) else command
        self.process = subprocess.Popen([part.replace("PORT", str(self.port)) for part in made], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=subprocess.STDOUT, preexec_fn=in_server, start_new_session=True, cwd=ROOT)

    def wait_ready(self):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True
            except OSError:
                time.sleep(0.02)
        return False

    def all(self):
        self.log.seek(0)
        return self.log.read()

    def tail(self):
        return self.all()[-2000:]

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.log.close()
        self.folder.cleanup()


def run_once(command, load, warmup, seconds, after=None):
    """Returns the generator's JSON object; "ok" is false when anything at all went wrong, with "why". after(result, log) judges a
    good run by what the server has printed."""
    running = Running(command)
    try:
        if not running.wait_ready():
            return {"ok": False, "why": "the server does not answer", "log": running.tail()}
        generator = [str(BUILD / "bench/load"), *load, "--port", str(running.port), "--pid", str(running.process.pid),
                     "--cpu", str(LOAD_CPU), "--warmup", str(warmup), "--seconds", str(seconds)]
        try:
            done = subprocess.run(generator, capture_output=True, text=True, preexec_fn=all_descriptors, timeout=RUN_MAX, check=False)
        except subprocess.TimeoutExpired:
            return {"ok": False, "why": f"took more than {RUN_MAX} s", "log": running.tail()}
        try:
            result = json.loads(done.stdout)
        except ValueError:
            result = {"ok": False, "why": done.stderr.strip() or f"load ended with {done.returncode}"}
        if done.returncode or not result.get("ok"):
            result.update(ok=False, log=running.tail())
        elif after:
            after(result, running.all())
        return result
    finally:
        running.stop()


def need_two_cpus():
    if not (BUILD / "bench/load").exists():
        raise SystemExit("build it first: make bench")
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("needs two CPUs: one for the server, one for the generator")


def commit():
    changed = " with changes" if output_of("git", "status", "--porcelain", "--untracked-files=no", "host", "plugins") else ""
    return output_of("git", "rev-parse", "--short", "HEAD") + changed


def machine():
    about = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    cpu = next((line.split(":")[1].strip() for line in about if line.startswith("model name")), "unknown")
    return f"{cpu}, {os.cpu_count()} CPUs, Linux {platform.release()}, load average {os.getloadavg()[1]:.1f}"


def when():
    return datetime.datetime.now().strftime("%Y-%m-%d %H:%M")
