"""Runs the benchmark: every row with every server, interleaved, several rounds; prints medians, spreads and ratios as Markdown.

    run.py [--quick] [--rounds N] [--rows SUBSTRING,...] [--servers NAME,...] [--seconds S] [--warmup S] [--json FILE]

A server that is not installed is named in the output. A run in which a message was lost, repeated or changed fails everything.
"""
import argparse
import datetime
import glob
import json
import os
import platform
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = (ROOT / os.environ.get("TOVA_BUILD", "build")).resolve()
PEERS = ROOT / "tests/bench/peers"
SERVER_CPU, LOAD_CPU = 0, 1
PATIENCE = 30


@dataclass
class Row:
    name: str
    load: list
    unit: str = "message"
    key: str = "cpu_us"
    quick: bool = True


ROWS = [
    Row("echo, 100 connections, depth 1, 64 B", ["echo", "--conns", "100", "--depth", "1", "--size", "64"]),
    Row("echo, depth 16, 64 B", ["echo", "--conns", "100", "--depth", "16", "--size", "64"]),
    Row("echo, depth 16, 1 KiB", ["echo", "--conns", "100", "--depth", "16", "--size", "1024"], quick=False),
    Row("echo, depth 1, 16 KiB", ["echo", "--conns", "100", "--depth", "1", "--size", "16384"], quick=False),
    Row("fan-out, 1,000 members, 1 in flight", ["fanout", "--path", "/room/bench", "--conns", "1000", "--depth", "1"], "delivery"),
    Row("fan-out, 1,000 members, 64 in flight", ["fanout", "--path", "/room/bench", "--conns", "1000", "--depth", "64"], "delivery"),
    Row("churn: connect, upgrade, echo, close", ["churn", "--conns", "64"], "cycle"),
    Row("idle, 19,900 connections", ["idle", "--conns", "19900"], "connection", "idle_bytes", quick=False),
    Row("idle, 19,900 connections after a message each", ["idle", "--conns", "19900"], "connection", "used_bytes", quick=False),
]


@dataclass
class Server:
    name: str
    command: object  # a list in which PORT stands for the port, or a text that says what is missing
    version: str = ""
    optional: bool = False  # only runs when it is asked for


@dataclass
class Results:
    values: dict = field(default_factory=dict)  # (row name, server name) -> a value per round, None where a run failed
    failures: list = field(default_factory=list)


def output_of(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def working_bun():
    """npm brings several builds; the first one that this CPU and C library can run is Bun."""
    for path in sorted(glob.glob(str(PEERS / "node_modules/@oven/*/bin/bun"))):
        version = output_of(path, "--version")
        if version:
            return path, version
    return None, ""


def servers():
    host, plugins = BUILD / "tova-host", BUILD / "plugins"
    bun, bun_version = working_bun()
    node = shutil.which("node")
    ws = PEERS / "node_modules/ws/package.json"
    lws = BUILD / "bench/lws"
    bare = BUILD / "bench/bare"
    mounts = ["-p", f"/echo={plugins / 'echo.so'}", "-p", f"/={plugins / 'relay.so'}", "-l", "127.0.0.1:PORT"]
    here = host.exists() and (plugins / "echo.so").exists() and (plugins / "relay.so").exists()
    host_version = (output_of(str(host), "--version").split() or [""])[-1] if here else ""
    commit = output_of("git", "rev-parse", "--short", "HEAD")
    return [
        Server("bare", [str(bare), "PORT"] if bare.exists() else "build it: make bench"),
        Server("tova-host", [str(host), *mounts] if here else "build it: make", f"{host_version} ({commit})".strip()),
        Server("tova-host isolated", [str(host), "--isolate", *mounts] if here else "build it: make", host_version, optional=True),
        Server("Bun", [bun, str(PEERS / "bun.js"), "PORT"] if bun else "make bench-deps", bun_version),
        Server("ws", [node, str(PEERS / "ws.js"), "PORT"] if node and ws.exists() else "make bench-deps",
               f"{json.loads(ws.read_text())['version']} on Node.js {output_of('node', '--version')}" if ws.exists() else ""),
        Server("lws", [str(lws), "PORT"] if lws.exists() else "make bench-deps",
               output_of("pkg-config", "--modversion", "libwebsockets").rstrip("-")),
    ]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def in_server():
    os.sched_setaffinity(0, {SERVER_CPU})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Running:
    """A server from its start until it is killed; what it printed is shown when something went wrong."""

    def __init__(self, server):
        self.port = free_port()
        self.log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        command = [part.replace("PORT", str(self.port)) for part in server.command]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT,
                                        preexec_fn=in_server, start_new_session=True, cwd=ROOT)

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


def in_load():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run_once(server, load, warmup, seconds, after=None):
    """Returns the generator's JSON object; "ok" is false when anything at all went wrong, with "why". after(result, log) judges a
    good run by what the server has printed."""
    running = Running(server)
    try:
        if not running.wait_ready():
            return {"ok": False, "why": "the server does not answer", "log": running.tail()}
        command = [str(BUILD / "bench/load"), *load, "--port", str(running.port), "--pid", str(running.process.pid),
                   "--cpu", str(LOAD_CPU), "--warmup", str(warmup), "--seconds", str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, preexec_fn=in_load, timeout=300)
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


def measure(rows, present, options, sink):
    results = Results()
    loads = []
    for row in rows:
        if row.load not in loads:
            loads.append(row.load)
    for number in range(options.rounds):
        for load in loads:
            wanted = [row for row in rows if row.load == load]
            for server in present:
                began = time.monotonic()
                result = run_once(server, load, options.warmup, options.seconds)
                result.update(server=server.name, round=number + 1)
                print(json.dumps(result), file=sink, flush=True)
                for row in wanted:
                    value = result.get(row.key) if result["ok"] else None
                    results.values.setdefault((row.name, server.name), []).append(value)
                    figure = "FAILED: " + str(result.get("why", result)) if value is None else f"{value:.4g}"
                    print(f"  round {number + 1}  {server.name:<18} {row.name:<46} {figure}  [{time.monotonic() - began:.1f} s]",
                          file=sys.stderr, flush=True)
                if not result["ok"]:
                    results.failures.append(result)
    return results


def figure(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def cell(values):
    good = [v for v in values if v is not None]
    if len(good) < len(values) or not good:
        return "**FAILED**"
    return f"{figure(statistics.median(good))} ({figure(min(good))} to {figure(max(good))})"


def ratio(values, base):
    """The median of the ratios of each round: what slowed the machine for a while slowed both."""
    if not values or not base or None in values or None in base or min(base) <= 0:
        return "-"
    return f"{statistics.median(v / b for v, b in zip(values, base)):.2f}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(r) + " |" for r in rows])


def machine():
    about = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    cpu = next((line.split(":")[1].strip() for line in about if line.startswith("model name")), "unknown")
    return (f"{cpu}, {os.cpu_count()} CPUs, Linux {platform.release()}, load average {os.getloadavg()[1]:.1f} over the last 5 minutes")


def report(rows, present, absent, results, options):
    values = results.values
    names = [s.name for s in present]
    print(f"# Benchmark of {datetime.datetime.now().strftime('%Y-%m-%d %H:%M')}\n")
    print(f"- machine: {machine()}")
    for server in present:
        if server.version:
            print(f"- {server.name}: {server.version}")
    for server in absent:
        print(f"- **{server.name}: missing** ({server.command})")
    print(f"- command: `{' '.join(['tests/bench/run.py', *sys.argv[1:]])}`: {options.rounds} rounds of {options.seconds:g} s "
          f"after {options.warmup:g} s of warm-up, server on CPU {SERVER_CPU}, generator on CPU {LOAD_CPU}\n")
    print("CPU microseconds of the server per unit, for idle rows bytes of resident memory per connection: median (smallest to largest)\n")
    print(table(["", "per", *names], [[r.name, r.unit, *(cell(values[r.name, n]) for n in names)] for r in rows]))
    busy = [r for r in rows if r.key == "cpu_us"]
    if "bare" in names and busy:
        print("\nTimes the floor (bare), median of the rounds' ratios\n")
        print(table(["", *names], [[r.name, *(ratio(values[r.name, n], values[r.name, "bare"]) for n in names)] for r in busy]))
    if "tova-host" in names:
        print("\nTimes tova-host: over 1 needs more than tova-host\n")
        others = [n for n in names if n != "tova-host"]
        print(table(["", *others], [[r.name, *(ratio(values[r.name, n], values[r.name, "tova-host"]) for n in others)] for r in rows]))
    for failure in results.failures:
        print(f"\n**FAILED**: {json.dumps(failure)}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rows, rounds and seconds")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--warmup", type=float)
    parser.add_argument("--rows", help="only rows whose name contains one of these texts (separated by ;)")
    parser.add_argument("--servers", help="only these servers (separated by commas)")
    parser.add_argument("--json", default=str(BUILD / "bench/results.jsonl"), help="every run's figures, a line each")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.seconds = options.seconds or (0.8 if options.quick else 2)
    options.warmup = options.warmup or (0.4 if options.quick else 1)
    return options


def choose(options):
    rows = [r for r in ROWS if r.quick or not options.quick]
    if options.rows:
        rows = [r for r in ROWS if any(text in r.name for text in options.rows.split(";"))]
    known = servers()
    names = options.servers.split(",") if options.servers else [s.name for s in known if not s.optional]
    wrong = set(names) - {s.name for s in known}
    if wrong or not rows:
        sys.exit(f"no such row or server; the servers are: {', '.join(s.name for s in known)}")
    chosen = [s for s in known if s.name in names]
    return rows, [s for s in chosen if isinstance(s.command, list)], [s for s in chosen if not isinstance(s.command, list)]


def main():
    options = arguments()
    if not (BUILD / "bench/load").exists():
        sys.exit("build it first: make bench")
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("needs two CPUs: one for the server, one for the generator")
    rows, present, absent = choose(options)
    with open(options.json, "w", encoding="utf-8") as sink:
        results = measure(rows, present, options, sink)
    report(rows, present, absent, results, options)
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
