"""The benchmark: every row with every server, interleaved, several rounds; one table of medians, spreads and ratios, and a picture.

    run.py [--quick] [--rounds N] [--rows TEXT;...] [--servers NAME,...] [--seconds S] [--warmup S] [--out FOLDER] [--no-plots]

Prints Markdown, leaves it in FOLDER/README-table.md (build/bench) for README.md, every run's figures in FOLDER/results.jsonl, and of a
whole run the picture in tests/bench/plots/, else in FOLDER. A server that is not installed is named. A run in which a message was lost,
repeated or changed fails everything.
"""
import json
import statistics
import sys
import time
from dataclasses import dataclass

from figures import cell, figure, ratio, ratios, table
from harness import LOAD_CPU, SERVER_CPU, machine, measured, measuring, need_two_cpus, run_once, when
from servers import certificate, choose

MEMORY_ROUNDS = 2  # of rows that count bytes: they take long, and differ by little


@dataclass
class Row:
    """key: of the generator's report; unit: what that figure is of."""
    name: str
    load: list
    unit: str = "message"
    key: str = "cpu_us"
    kind: str = "echo"
    quick: bool = True

    def load_for(self, server):
        load = list(self.load)
        if load[0] == "idle" and server.most_idle:
            load[load.index("--conns") + 1] = str(min(server.most_idle, int(load[load.index("--conns") + 1])))
        if server.forks and load[0] == "churn":
            load.append("--forks")
        if server.publisher and load[0] == "fanout":
            load += ["--publisher", server.publisher]
        if self.kind == "tls":
            load += ["--tls", certificate()[0]]
        return tuple(load)


def echo(depth, size, *more):
    return ["echo", "--conns", "100", "--depth", str(depth), "--size", str(size), *more]


def fanout(depth):
    return ["fanout", "--path", "/room/bench", "--conns", "1000", "--depth", str(depth)]


def idle(conns):
    return ["idle", "--conns", str(conns)]


MAIN = [
    Row("echo, 100 connections, depth 1, 64 B", echo(1, 64)),
    Row("echo, depth 16, 64 B", echo(16, 64)),
    Row("echo, depth 16, 1 KiB", echo(16, 1024), quick=False),
    Row("echo, depth 1, 16 KiB", echo(1, 16384), quick=False),
    Row("fan-out, 1,000 members, 1 in flight", fanout(1), "delivery", kind="room", quick=False),
    Row("fan-out, 1,000 members, 64 in flight", fanout(64), "delivery", kind="room"),
    Row("connect, echo, close", ["churn", "--conns", "64"], "cycle"),
    Row("a lone event there and back, median", ["lone", "--conns", "1"], "us", "p50_us"),
    Row("a lone event, 99th percentile", ["lone", "--conns", "1"], "us", "p99_us"),
    Row("memory of an idle connection", idle(19900), "connection", "idle_bytes", quick=False),
    Row("memory of one after a message", idle(19900), "connection", "used_bytes", quick=False),
]
WORDS = ["--deflate", "--words"]
EXTRA = [
    *(Row(f"TLS: echo, depth {d}, {name}", echo(d, size), kind="tls", quick=d == 16 and size == 64)
      for d in (1, 16) for size, name in ((64, "64 B"), (1024, "1 KiB"))),
    Row("TLS: connect, echo, close", ["churn", "--conns", "64"], "cycle", kind="tls", quick=False),
    Row("TLS: memory of an idle connection", idle(5000), "connection", "idle_bytes", "tls", quick=False),
    Row("TLS: memory of one after a message", idle(5000), "connection", "used_bytes", "tls", quick=False),
    *(Row(f"deflate: echo, depth {d}, {name}", echo(d, size, *WORDS), kind="deflate", quick=d == 16 and size == 1024)
      for d in (1, 16) for size, name in ((64, "64 B"), (1024, "1 KiB"))),
    Row("deflate: memory of one after a message", [*idle(5000), *WORDS], "connection", "used_bytes", "deflate", quick=False),
]


class Results:
    def __init__(self, sink):
        self.runs, self.failures, self.sink = {}, [], sink

    def add(self, row, server, number, result, took):
        if result["ok"] and not result.get(row.key):
            result.update(ok=False, why=f"no {row.key}")
        value = f"{result[row.key]:.4g}" if result["ok"] else "FAILED: " + str(result.get("why", result))
        print(f"  round {number + 1}  {server.name:<14} {row.name:<46} {value}  [{took:.1f} s]", file=sys.stderr, flush=True)
        self.runs.setdefault((row.name, server.name), []).append(result)

    def values(self, row, server, key=None):
        """A value of each round, None where it failed; an empty list where the row makes no sense for the server."""
        return [r[key or row.key] if r["ok"] else None for r in self.runs.get((row.name, server.name), [])]


def measure(rows, present, options, sink):
    """Rows with the same load share a run."""
    results = Results(sink)
    for number in range(options.rounds):
        done = {}
        for row in rows:
            for server in present:
                if row.kind not in server.commands or (row.load[0] == "idle" and number >= MEMORY_ROUNDS):
                    continue
                load = row.load_for(server)
                began = time.monotonic()
                if (server.name, row.kind, load) not in done:
                    result = run_once(server.commands[row.kind], load, options.warmup, options.seconds)
                    result.update(server=server.name, kind=row.kind, round=number + 1)
                    print(json.dumps(result), file=sink, flush=True)
                    done[server.name, row.kind, load] = result
                    if not result["ok"]:
                        results.failures.append(result)
                results.add(row, server, number, dict(done[server.name, row.kind, load]), time.monotonic() - began)
    return results


# --- what is printed --------------------------------------------------------------------------------------------------------------

def figures_table(rows, present, results):
    return table(["", "per", *(s.name for s in present)],
                 [[r.name, r.unit, *(cell(results.values(r, s)) for s in present)] for r in rows])


def ratio_table(rows, present, results, base):
    rows = [r for r in rows if results.values(r, base)]
    return table(["", *(s.name for s in present)],
                 [[r.name, *(ratio(results.values(r, s), results.values(r, base)) for s in present)] for r in rows])


def host_part_table(rows, present, results):
    """Of servers whose handlers are processes: the first process alone."""
    several = [s for s in present if any(r["ok"] and r.get("root_us", 0) < 0.98 * r.get("cpu_us", 0)
                                         for row in rows for r in results.runs.get((row.name, s.name), [])) and s.name != "nchan"]
    rows = [r for r in rows if r.key == "cpu_us" and r.load[0] != "churn"]
    if not several or not rows:
        return ""
    return "\n\nOf it the first process alone, without handlers\n\n" + table(
        ["", "per", *(s.name for s in several)], [[r.name, r.unit, *(cell(results.values(r, s, "root_us")) for s in several)] for r in rows])


def intro(present, options):
    command = "make bench-quick" if options.quick else "make bench"
    narrowed = [a for a in sys.argv[1:] if a != "--quick"]
    command += f" BENCH=\"{' '.join(narrowed)}\"" if narrowed else ""
    versions = "; ".join(f"{s.name}: {s.version}" for s in present if s.version)
    return (f"`{command}`, {when()}, {machine()}; {versions}. {options.rounds} rounds of {options.seconds:g} s after "
            f"{options.warmup:g} s of warm-up, server on CPU {SERVER_CPU}, generator on CPU {LOAD_CPU}.")


def section(rows, present, results):
    """The tables of rows which at least one server has."""
    here = [s for s in present if any(results.values(r, s) for r in rows)]
    base = next((s for s in here if s.name == "bare"), None) or next((s for s in here if s.name == "tova-host"), None)
    text = figures_table(rows, here, results)
    if base is not None and len(here) > 1:
        text += f"\n\nTimes {base.name}, median of the rounds' ratios\n\n" + ratio_table(rows, [s for s in here if s is not base], results, base)
    return text + host_part_table(rows, here, results)


def report(rows, present, absent, results, options):
    main = [r for r in rows if r in MAIN]
    extra = [r for r in rows if r in EXTRA and any(results.values(r, s) for s in present)]
    parts = [intro(present, options)]
    parts += [f"**Missing: {s.name}** ({s.missing})" for s in absent]
    parts.append("CPU microseconds of the server per unit, microseconds where it is a time, bytes where it is memory: median (smallest–largest)")
    parts += [section(some, present, results) for some in (main, extra) if some]
    parts += [f"**FAILED**: {json.dumps(failure)}" for failure in results.failures]
    return "\n\n".join(parts) + "\n"


# --- the picture ------------------------------------------------------------------------------------------------------------------

def plot(rows, present, results, path):
    """A panel for each row; how many times bare each server needs, with its spread, on a logarithmic scale."""
    import plots
    panels = []
    for row in rows:
        base = next((results.values(row, s) for s in present if s.name == "bare"), [])
        bars = []
        for server in present:
            found = ratios(results.values(row, server), base)
            if found:
                bars.append((server.name, statistics.median(found), min(found), max(found), figure(statistics.median(results.values(row, server)))))
        if len(bars) > 1:
            what = row.unit if row.unit == "us" else f"{'bytes' if 'bytes' in row.key else 'CPU us'} per {row.unit}"
            panels.append((row.name, what, bars))
    if panels:
        plots.bars(panels, path)


def arguments():
    parser = measuring(__doc__, "rows")
    parser.add_argument("--rows", help="only rows whose name contains one of these texts (separated by ;)")
    parser.add_argument("--servers", help="only these servers (separated by commas)")
    return measured(parser, rounds=(2, 3), seconds=(0.4, 1.2), warmup=(0.2, 0.6))


def main():
    options = arguments()
    need_two_cpus()
    rows = [r for r in MAIN + EXTRA if r.quick or not options.quick]
    if options.rows:
        rows = [r for r in MAIN + EXTRA if any(text in r.name for text in options.rows.split(";"))]
    present, absent = choose(options.servers.split(",") if options.servers else None)
    if not rows:
        sys.exit("no such row; there are:\n" + "\n".join(r.name for r in MAIN + EXTRA))
    options.out.mkdir(parents=True, exist_ok=True)
    with open(options.out / "results.jsonl", "w", encoding="utf-8") as sink:
        results = measure(rows, present, options, sink)
    text = report(rows, present, absent, results, options)
    print(text, end="")
    (options.out / "README-table.md").write_text(text, encoding="utf-8")
    if not options.no_plots:
        whole = not (options.quick or options.rows or options.servers or results.failures)
        plot([r for r in rows if r in MAIN], present, results, (options.plots if whole else options.out) / "bench.svg")
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
