"""How costs grow with members, rooms, connections and the size of messages: curves as tables and as pictures.

    growth.py [--quick] [--rounds N] [--curves NAME,...] [--servers NAME,...] [--seconds S] [--warmup S] [--out FOLDER] [--no-plots]

Prints Markdown. A whole run leaves it beside the picture, as tests/bench/plots/growth.md and growth.svg, any other one in FOLDER
(build/bench). README.md says why the curves bend where they do.
"""
import json
import statistics
import sys
from dataclasses import dataclass

from figures import cell, table
from harness import BUILD, machine, measured, measuring, need_two_cpus, run_once, when
from servers import Server, choose, host

SERVERS = "bare,tova-host,Bun"
DESCRIPTORS = 19900
FLIGHT = 32 << 20  # bytes under way at most


@dataclass
class Line:
    """What is drawn of a run: a figure of its report, times a factor of x."""
    name: str
    key: str
    unit: str
    per: object = lambda x: 1
    logarithmic: bool = False


@dataclass
class Curve:
    name: str
    title: str
    x_name: str
    points: list
    quick: list
    load: object  # of x
    lines: list
    kind: str = "echo"
    server: object = None  # another one than those that are compared


def size_load(size):
    conns = max(1, min(100, FLIGHT // size))
    return ["echo", "--conns", str(conns), "--depth", "1", "--size", str(size)]


def rooms_server():
    return [Server("tova-host", {"rooms": host("-p", str(BUILD / "bench/plugins/rooms.so"))})]


def curves():
    return [
        Curve("members", "Members of a room, 1 broadcast of 64 B in flight", "members", [10, 30, 100, 300, 1000, 3000, 10000, DESCRIPTORS], [10, 300, 10000],
              lambda n: ["fanout", "--path", "/room/bench", "--conns", str(n), "--depth", "1"],
              [Line("a delivery", "cpu_us", "CPU us")], "room"),
        Curve("flood", "Members of a room, 16 broadcasts in flight", "members", [10, 30, 100, 300, 1000, 3000, 10000, DESCRIPTORS], [10, 300, 10000],
              lambda n: ["fanout", "--path", "/room/bench", "--conns", str(n), "--depth", "16"],
              [Line("a delivery", "cpu_us", "CPU us")], "room"),
        Curve("connections", "Connections, all of them echo 64 B, depth 1", "connections", [1000, 2000, 5000, 10000, DESCRIPTORS], [1000, 10000],
              lambda n: ["echo", "--conns", str(n), "--depth", "1", "--size", "64"], [Line("a message", "cpu_us", "CPU us")]),
        Curve("idle", "Connections that do nothing", "connections", [1000, 2000, 5000, 10000, DESCRIPTORS], [1000, 10000],
              lambda n: ["idle", "--conns", str(n)], [Line("memory of one", "idle_bytes", "bytes")]),
        Curve("size", "Size of a message, echo, depth 1", "bytes", [16 << 2 * i for i in range(11)], [16, 1024, 65536, 4 << 20], size_load,
              [Line("a byte", "cpu_us", "CPU ns", lambda x: 1e3 / x, True), Line("a message", "cpu_us", "CPU us", logarithmic=True)]),
        Curve("rooms", "Rooms that there are", "rooms", [10 ** i for i in range(7)], [1, 1000, 1000000], lambda n: ["rooms", "--rooms", str(n), "--conns", "40"],
              [Line("join of a new room", "join_us", "CPU us"), Line("leave, the room vanishes", "leave_us", "CPU us"),
               Line("join of one of the rooms", "join_there_us", "CPU us"), Line("leave, the room stays", "leave_there_us", "CPU us"),
               Line("close with 1,000 memberships, for each", "end_us", "CPU us", lambda x: 1e-3),
               Line("memory of a room", "room_bytes", "bytes")], "rooms", rooms_server),
    ]


class Results:
    """values: by curve, server and x, the reports of the rounds."""

    def __init__(self):
        self.runs, self.failures = {}, []

    def values(self, curve, server, line, x):
        reports = self.runs.get((curve.name, server, x), [])
        if all(r["ok"] and not r.get(line.key) for r in reports):
            return []  # not measured there
        return [r[line.key] * line.per(x) if r["ok"] and line.key in r else None for r in reports]


def measure(chosen, present, options, sink):
    results = Results()
    for number in range(options.rounds):
        for curve in chosen:
            for x in curve.quick if options.quick else curve.points:
                for server in curve.server() if curve.server else present:
                    if curve.kind not in server.commands:
                        continue
                    result = run_once(server.commands[curve.kind], curve.load(x), options.warmup, options.seconds)
                    result.update(curve=curve.name, server=server.name, x=x, round=number + 1)
                    print(json.dumps(result), file=sink, flush=True)
                    said = {line.key: round(result[line.key], 3) for line in curve.lines if line.key in result}
                    print(f"  round {number + 1}  {curve.name:<12} {x:>10,} {server.name:<12} "
                          f"{said if result['ok'] else 'FAILED: ' + str(result.get('why', result))}", file=sys.stderr, flush=True)
                    results.runs.setdefault((curve.name, server.name, x), []).append(result)
                    if not result["ok"]:
                        results.failures.append(result)
    return results


def columns(curve, present):
    """(heading, server, line) for each column of the curve's table."""
    named = [s.name for s in (curve.server() if curve.server else present) if curve.kind in s.commands]
    return [(f"{n}: {line.name}, {line.unit}" if len(named) > 1 else f"{line.name}, {line.unit}", n, line) for line in curve.lines for n in named]


def curve_table(curve, present, results, xs):
    found = columns(curve, present)
    rows = [[f"{x:,}", *(cell(results.values(curve, name, line, x)) for _, name, line in found)] for x in xs]
    return table([curve.x_name, *(heading for heading, _, _ in found)], rows)


def report(chosen, present, results, options):
    command = "make bench-growth-quick" if options.quick else "make bench-growth"
    narrowed = [a for a in sys.argv[1:] if a != "--quick"]
    command += f" BENCH=\"{' '.join(narrowed)}\"" if narrowed else ""
    parts = [f"`{command}`, {when()}, {machine()}. Median (smallest–largest) of {options.rounds} rounds."]
    for curve in chosen:
        parts += [f"**{curve.title}**", curve_table(curve, present, results, curve.quick if options.quick else curve.points)]
    parts += [f"**FAILED**: {json.dumps(failure)}" for failure in results.failures]
    return "\n\n".join(parts) + "\n"


def panel_lines(curve, present, results, xs, units):
    """The curve's lines of one unit, as points with their spread."""
    lines = {}
    for heading, name, line in columns(curve, present):
        if line.unit != units:
            continue
        points = []
        for x in xs:
            values = results.values(curve, name, line, x)
            if values and None not in values:
                points.append((x, statistics.median(values), min(values), max(values)))
        if points:
            lines[name if len(curve.lines) == 1 or not curve.server else line.name] = points
    return lines


def plot(chosen, present, results, options, path):
    import plots
    panels = []
    for curve in chosen:
        xs = curve.quick if options.quick else curve.points
        for unit in dict.fromkeys(line.unit for line in curve.lines):
            of = [line for line in curve.lines if line.unit == unit]
            lines = panel_lines(curve, present, results, xs, unit)
            if lines:
                name = of[0].name if len(of) == 1 else ""
                panels.append((curve.title, curve.x_name, f"{unit}{' for ' + name if name else ''}", of[0].logarithmic, lines))
    if panels:
        plots.curves(panels, path)


def arguments():
    parser = measuring(__doc__, "points")
    parser.add_argument("--curves", help="only these (separated by commas)")
    parser.add_argument("--servers", default=SERVERS, help=f"by default {SERVERS}")
    return measured(parser, rounds=(1, 3), seconds=(0.4, 1), warmup=(0.2, 0.5))


def main():
    options = arguments()
    need_two_cpus()
    present, absent = choose(options.servers.split(","))
    chosen = [c for c in curves() if not options.curves or c.name in options.curves.split(",")]
    if not chosen:
        sys.exit("no such curve; there are: " + ", ".join(c.name for c in curves()))
    options.out.mkdir(parents=True, exist_ok=True)
    with open(options.out / "growth.jsonl", "w", encoding="utf-8") as sink:
        results = measure(chosen, present, options, sink)
    text = report(chosen, present, results, options) + "".join(f"\n**Missing: {s.name}** ({s.missing})\n" for s in absent)
    print(text, end="")
    folder = options.out if options.quick or options.curves or results.failures else options.plots
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "growth.md").write_text(text, encoding="utf-8")
    if not options.no_plots:
        plot(chosen, present, results, options, folder / "growth.svg")
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
