"""What a handler outside the host costs: events per second, CPU time of host and worker, latency, and pauses in a reload.

    workers.py [--quick] [--rounds N] [--seconds S] [--warmup S] [--handlers NAME,...] [--json FILE]

Interleaved rounds, as run.py has them; prints Markdown. A message lost, repeated, changed or out of order fails everything.
"""
import argparse
import datetime
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from shutil import which

from figures import cell, table
from harness import BUILD, LOAD_CPU, ROOT, SERVER_CPU, machine, need_two_cpus, output_of, run_once, when

CONNS, SIZE = 100, 64
WORKERS = ROOT / "tests/bench/workers"


@dataclass
class Server:
    name: str
    command: object  # a list in which PORT stands for the port, or a text that says what is missing
    version: str = ""


@dataclass
class Row:
    name: str
    load: list
    outstanding: int  # of the Unix socket that is the limit


ROWS = [
    Row("depth 1", ["echo", "--conns", str(CONNS), "--depth", "1", "--size", str(SIZE)], CONNS),
    Row("depth 16", ["echo", "--conns", str(CONNS), "--depth", "16", "--size", str(SIZE)], 16 * CONNS),
    Row("lone", ["lone", "--conns", "1", "--size", str(SIZE)], 1),
]
RELOAD = "reload"


@dataclass
class Reload:
    """replaced: what the log has to say within the run, each so many times, or there was no reload to be measured."""
    server: Server
    replaced: list


def commands():
    python = f"exec /usr/bin/python3 -B {WORKERS / 'echo.py'}"
    return {
        "C": f"exec {BUILD / 'bench/echo-worker'}",
        "Python": python,
        "Node.js": f"exec {which('node')} {WORKERS / 'echo.mjs'}" if which("node") else None,
    }


def servers():
    host, echo, bare = str(BUILD / "tova-host"), str(BUILD / "plugins/echo.so"), str(BUILD / "bench/bare")
    listen = ["-l", "127.0.0.1:PORT", "--drain", "0"]
    found = [Server("no handler (bare)", [bare, "PORT"]), Server("plugin", [host, "-p", echo, *listen]),
             Server("plugin, isolated", [host, "--isolate", "-p", echo, *listen])]
    for name, command in commands().items():
        found.append(Server(f"{name} worker", [host, "-w", command, *listen] if command else "not installed"))
    found.append(Server("script (cat)", [host, "-x", "exec cat", "--script-rate", "10000", *listen]))
    websocketd = which("websocketd")
    beside = [websocketd, "--address=127.0.0.1", "--port=PORT", "--reverselookup=false", "--loglevel=error", "cat"]
    version = output_of("dpkg-query", "-W", "-f", "${Version}", "websocketd") or "unknown version"
    found.append(Server("websocketd (cat)", beside if websocketd else "make bench-deps", version if websocketd else ""))
    found.append(Server("Unix socket", [str(BUILD / "bench/unix_echo")]))
    return found


def reloads():
    host, echo = str(BUILD / "tova-host"), str(BUILD / "plugins/echo.so")
    common = ["-l", "127.0.0.1:PORT", "--drain", "0", "--log-format", "json"]
    return [
        Reload(Server("plugin", [host, "-p", echo, *common]), [("the plugin was replaced", 1)]),
        Reload(Server("2 Python workers", [host, "-w", commands()["Python"], "--workers", "2", *common]),
               [("new workers serve, the old ones leave", 1), ("a worker says goodbye", 2)]),
    ]


def run_unix(server, row, options):
    command = [*server.command, str(row.outstanding), str(options.warmup), str(options.seconds), str(SERVER_CPU)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"ok": False, "why": done.stderr.strip() or f"unix_echo ended with {done.returncode}"}


def unix_time(line):
    return datetime.datetime.fromisoformat(line["time"].replace("Z", "+00:00")).timestamp()


def judge_reload(result, log, replaced):
    """Everything that makes the reload has to be between the HUP and the last reply, or something else was measured."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    for message, count in replaced:
        times = [unix_time(line) for line in lines if line["message"] == message]
        # The log has milliseconds.
        inside = [t for t in times if result["reload_at"] - 0.002 <= t <= result["ended_at"]]
        if len(times) != count or len(inside) != count:
            why = f"{len(times)} log lines, {len(inside)} of them in time, instead of {count}: {message}"
            result.update(ok=False, why=why, log=log[-2000:])
            return
        result["took_ms"] = max(0, (max(times) - result["reload_at"]) * 1e3)


def run_reload(reload, options):
    load = ["pause", "--conns", "50", "--size", str(SIZE), "--interval", "10"]
    return run_once(reload.server.command, load, max(options.warmup, 1), options.reload_seconds,
                    after=lambda result, log: judge_reload(result, log, reload.replaced))


class Results:
    def __init__(self, sink):
        self.runs, self.failures, self.sink = {}, [], sink

    def add(self, row, name, number, result):
        result.update(row=row, server=name, round=number + 1)
        print(json.dumps(result), file=self.sink, flush=True)
        self.runs.setdefault((row, name), []).append(result)
        if not result["ok"]:
            self.failures.append(result)
        keys = ("rate", "root_us", "cpu_us", "p50_us", "p99_us", "reload_most_ms", "took_ms")
        said = {k: result[k] for k in keys if k in result}
        print(f"  round {number + 1}  {row:<10} {name:<20} {said if result['ok'] else 'FAILED: ' + str(result.get('why', result))}",
              file=sys.stderr, flush=True)

    def values(self, row, name, key):
        """A value of each round; key: a name or a function of the run's result. None where the run failed."""
        take = key if callable(key) else lambda result: result[key]
        return [take(r) if r["ok"] else None for r in self.runs[row, name]]

    def cell(self, row, name, key):
        return cell(self.values(row, name, key))


def measure(present, reloaded, options, sink):
    results = Results(sink)
    for number in range(options.rounds):
        for row in ROWS:
            for server in present:
                if server.name == "Unix socket":
                    result = run_unix(server, row, options)
                else:
                    result = run_once(server.command, row.load, options.warmup, options.seconds)
                results.add(row.name, server.name, number, result)
        for reload in reloaded:
            results.add(RELOAD, reload.server.name, number, run_reload(reload, options))
    return results


def in_worker(result):
    return result["cpu_us"] - result["root_us"]


def rate_cell(results, row, name):
    """A server that had time left could have done more."""
    text = results.cell(row, name, "rate")
    busy = [b for b in results.values(row, name, "server_busy") if b is not None]
    return f"≥ {text}" if busy and statistics.median(busy) < 0.95 else text


def report_events(row, names, results):
    print(f"\nEcho, {CONNS} connections, {row.name}, {SIZE} B\n")
    print(table(["", "events/s", "host CPU us/event", "worker CPU us/event"],
                [[n, rate_cell(results, row.name, n), results.cell(row.name, n, "root_us"),
                  "-" if n in ("plugin", "no handler (bare)") else results.cell(row.name, n, in_worker)] for n in names]))


def report(present, absent, reloaded, results, options):
    names = [s.name for s in present]
    print(f"# Benchmark of workers, {when()}\n")
    print(f"- machine: {machine()}")
    print(f"- tova-host: {output_of(str(BUILD / 'tova-host'), '--version')} ({output_of('git', 'rev-parse', '--short', 'HEAD')}), "
          f"Python {sys.version.split()[0]}, Node.js {output_of('node', '--version') or 'missing'}, "
          f"websocketd {next((s.version for s in present if s.version), 'missing')}")
    for server in absent:
        print(f"- **{server.name}: missing** ({server.command})")
    print(f"- command: `{' '.join(['tests/bench/workers.py', *sys.argv[1:]])}`: {options.rounds} rounds of {options.seconds:g} s "
          f"after {options.warmup:g} s of warm-up; host and workers together on CPU {SERVER_CPU}, generator on CPU {LOAD_CPU}")
    print("- each figure: median (smallest to largest) of the rounds; ≥: the CPU was not the server's all the time, so the "
          "generator was the limit, or another program took it away")
    if names:
        for row in ROWS[:2]:
            report_events(row, names, results)
        print("\nA lone event: one connection, one message at a time, microseconds there and back\n")
        print(table(["", "p50", "p99"], [[n, results.cell("lone", n, "p50_us"), results.cell("lone", n, "p99_us")] for n in names]))
    if reloaded:
        text = reload_text([r.server.name for r in reloaded], results, options)
        print("\n" + text)
        (BUILD / "bench/README-reload.md").write_text(text + "\n", encoding="utf-8")
    for failure in results.failures:
        print(f"\n**FAILED**: {json.dumps(failure)}")


def reload_text(names, results, options):
    keys = ("quiet_median_ms", "quiet_most_ms", "reload_median_ms", "reload_most_ms", "took_ms")
    return (f"Reload with HUP while 50 clients send a message every 10 ms each: the longest wait for a reply that each client saw, in ms, in "
            f"{options.reload_seconds:g} s without and in {options.reload_seconds:g} s with the reload ({when()}, {options.rounds} rounds)\n\n" +
            table(["", "median client", "worst client", "with reload: median client", "with reload: worst client", "the reload took"],
                  [[n, *(results.cell(RELOAD, n, key) for key in keys)] for n in names]))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and seconds")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--warmup", type=float)
    parser.add_argument("--reload-seconds", type=float, default=2, help="how long to watch without a reload, and then with one")
    parser.add_argument("--handlers", help="only these (separated by commas); reload is one of them")
    parser.add_argument("--json", default=str(BUILD / "bench/workers.jsonl"), help="every run's figures, a line each")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.seconds = options.seconds or (0.6 if options.quick else 2)
    options.warmup = options.warmup or (0.3 if options.quick else 1)
    return options


def main():
    options = arguments()
    need_two_cpus()
    known, reloaded = servers(), reloads()
    if options.handlers:
        names = options.handlers.split(",")
        wrong = set(names) - {s.name for s in known} - {RELOAD}
        if wrong:
            sys.exit(f"no such handler; there are: {', '.join([*(s.name for s in known), RELOAD])}")
        known, reloaded = [s for s in known if s.name in names], reloaded if RELOAD in names else []
    present = [s for s in known if isinstance(s.command, list)]
    with open(options.json, "w", encoding="utf-8") as sink:
        results = measure(present, reloaded, options, sink)
    report(present, [s for s in known if s not in present], reloaded, results, options)
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
