"""Members of a room that read nothing: do the others wait longer, how much is held for those, and who is cut off?

    slow.py [--members N] [--stopped N] [--size BYTES] [--interval MS] [--seconds S] [--rounds N] [--policies NAME,...]

Each round runs every policy without and with the members that stop reading, one after the other. Prints Markdown; fails when one of the
others misses a message or gets one twice, changed or out of order, when one of them is cut off, or when more is held than may be.
"""
import argparse
import json
import subprocess
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from control import stats  # noqa: E402
from figures import cell, table  # noqa: E402
from harness import BUILD, LOAD_CPU, Running, all_descriptors, commit, machine, need_two_cpus, when  # noqa: E402

POLICIES = "close,drop-oldest,conflate"
CHUNKS = 128 << 10  # of each that reads nothing: the chunk of a message on its way, and the one that is being filled


class Watch(threading.Thread):
    """The most that was seen while it runs."""

    def __init__(self, running):
        super().__init__(daemon=True)
        self.running, self.over = running, threading.Event()
        self.buffered = self.rss = 0

    def look(self):
        status = Path(f"/proc/{self.running.process.pid}/status").read_text(encoding="ascii")
        self.rss = max(self.rss, next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmRSS")))
        self.buffered = max(self.buffered, stats(Path(self.running.folder.name) / "control")["buffered"])

    def run(self):
        while not self.over.wait(0.2):
            self.look()


def server(policy, queue):
    return lambda port, folder: [str(BUILD / "tova-host"), "--plugin", str(BUILD / "plugins/relay.so"), "--listen", f"127.0.0.1:{port}",
                                 "--slow-policy", policy, "--max-queue", str(queue), "--control", str(folder / "control"),
                                 "--idle-timeout", "0", "--log-format", "json"]


def conversation(running, options, stopped):
    """The generator's report."""
    done = subprocess.run([str(BUILD / "bench/load"), "slow", "--port", str(running.port), "--pid", str(running.process.pid), "--cpu",
                           str(LOAD_CPU), "--path", "/room/slow", "--publisher", "/room/slow?key=price", "--conns", str(options.members),
                           "--stopped", str(stopped), "--size", str(options.size), "--interval", str(options.interval), "--warmup",
                           str(options.warmup), "--seconds", str(options.seconds), "--patience", "60"],
                          capture_output=True, text=True, preexec_fn=all_descriptors, timeout=600, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise SystemExit(f"load ended with {done.returncode}: {done.stderr}\n{running.tail()}") from None


def judge(policy, stopped, queue, got):
    """What must hold whatever the machine does."""
    assert got["ok"], got
    assert got["buffered"] <= stopped * (queue * 5 // 4 + CHUNKS), got
    named = {line["conn"] for line in got["log"] if line["kind"] == "conn.slow"}
    if policy == "close":
        assert got["stopped_closed"] == got["slow_ended"] == len(named) == stopped, got
    elif stopped:
        assert got["stopped_closed"] == got["slow_ended"] == 0 and len(named) == stopped, got
        assert got["stopped_missed"] == got["dropped"] > 0 and (policy == "conflate") == (got["conflated"] == got["dropped"]), got
    else:
        assert not named and got["dropped"] == 0, got


def run(policy, stopped, options):
    running = Running(server(policy, options.queue))
    try:
        if not running.wait_ready():
            raise SystemExit(f"the host does not answer\n{running.tail()}")
        watch = Watch(running)
        watch.start()
        got = conversation(running, options, stopped)
        watch.over.set()
        watch.join()
        got.update({"stopped_closed": 0, "stopped_missed": 0, **got}, buffered=watch.buffered, rss=watch.rss,
                   log=[json.loads(line) for line in running.all().splitlines() if line.startswith("{")])
        got.update({name: value for name, value in stats(Path(running.folder.name) / "control").items()
                    if name in ("slow_ended", "dropped", "conflated")})
        judge(policy, stopped, options.queue, got)
        return got
    finally:
        running.stop()


def of(runs, key, factor=1.0):
    return cell([r[key] * factor for r in runs])


def row(name, runs):
    return [name, of(runs, "p50_us", 1e-3), of(runs, "p99_us", 1e-3), of(runs, "cpu_us"), of(runs, "buffered", 2 ** -20),
            of(runs, "rss", 2 ** -20), of(runs, "stopped_closed"), of(runs, "stopped_missed")]


def read_options(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=10000)
    parser.add_argument("--stopped", type=int, default=100)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--interval", type=int, default=200)
    parser.add_argument("--queue", type=int, default=256 << 10)
    parser.add_argument("--warmup", type=float, default=2)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--policies", default=POLICIES)
    return parser.parse_args(arguments)


def main():
    options = read_options()
    need_two_cpus()
    policies, runs = options.policies.split(","), {}
    for number in range(options.rounds):
        for policy in policies:
            for stopped in (0, options.stopped):
                print(f"round {number + 1}: {policy}, {stopped} read nothing", file=sys.stderr)
                runs.setdefault((policy, stopped), []).append(run(policy, stopped, options))
    print(f"{when()}, commit {commit()}, {machine()}: a room of {options.members:,} members that read and {options.stopped} that do "
          f"not, {options.size:,} bytes every {options.interval} ms for {options.seconds:g} s, `--max-queue {options.queue >> 10}k`, one key. "
          f"Median (smallest to largest) of {options.rounds} rounds.\n")
    rows = [row(f"{policy}, {stopped or 'none'} that read{'' if stopped else 's'} nothing", kept) for (policy, stopped), kept in runs.items()]
    print(table(["", "delivery p50, ms", "p99, ms", "CPU us/delivery", "held at most, MiB", "host's memory, MiB", "cut off",
                 "messages that they miss"], rows))


if __name__ == "__main__":
    main()
