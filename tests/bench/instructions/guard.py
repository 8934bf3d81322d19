"""Counts the instructions that the host's own functions take for each scene of conversation.c, and compares them with the committed
figures, of which there is a file for each scene.

    guard.py --build "gcc 12.2, -O2 ..." [--update|--measures] COMMAND...

More than 5 % above the committed figure fails, with the difference by function. More than 5 % below says that the figure should be
lowered. Functions of libraries are not counted, since the same libc takes other instructions on another CPU; how often they are called
is, and compared likewise.

--measures compares the same with what is measured for /metrics and without it, in which nothing may take more than 2 % more.
"""
import argparse
import collections
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

FIGURES = Path(__file__).resolve().parent / "figures"
HOST = re.compile(r"(^|/)(host/(\w+/)*|sdk/common/)\w+\.[ch]$")  # where the functions stand that are counted
TOLERANCE = 0.05
MEASURES_TOLERANCE = 0.02
CLOCK = 70  # instructions of clock_gettime, about, which is a library's
SHOWN = 15
HEAD = "# Written by `make update-instructions`. Built with: "


class Profile:
    """What one scene took: instructions by function, and calls into libraries by name."""

    def __init__(self, name, units):
        self.name, self.units = name, units
        self.functions, self.calls = collections.Counter(), collections.Counter()


def plain(name):
    """The function's name without what compiler and CPU make of it: f.part.0 and f.cold are f, __memcpy_avx_unaligned is memcpy."""
    name = re.sub(r"@.*|'\d+$", "", name)
    name = re.sub(r"\.(part|cold|constprop|isra)\b.*", "", name)
    cpu = re.fullmatch(r"_*([a-z]+)_(avx|sse|ssse|evex|erms|bmi)\w*", name)
    return cpu.group(1) if cpu else name.removeprefix("__") if not name.startswith("0x") else "(unnamed)"


def read_dump(path):
    """A file of callgrind, whose names are not compressed."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    scene = next((line.split()[-2:] for line in lines if line.startswith("desc: Trigger: Client Request:")), None)
    if scene is None:
        return None
    profile, own, function = Profile(scene[0], int(scene[1])), False, ""
    file = called = called_file = ""
    calls, stubs = collections.Counter(), {}  # stubs: code of the linker without a name, and whom it leads to
    for number, line in enumerate(lines):
        key, _, value = line.partition("=")
        if key == "fl":
            file = value
        elif key == "fn":
            function, own = value, bool(HOST.search(file))
            called_file = file
        elif key in ("cfi", "cfl"):
            called_file = value
        elif key == "cfn":
            called = value
        elif key == "calls":
            if own and not HOST.search(called_file):
                calls[called] += int(value.split()[0])
            elif function.startswith("0x"):
                stubs[function] = called
            called_file = file
        elif own and line[:1] in "0123456789+-*" and line and not lines[number - 1].startswith("calls="):
            profile.functions[plain(function)] += int(line.split()[1])
    for name, count in calls.items():
        profile.calls[plain(stubs.get(name, name))] += count
    return profile


def measure(command, **env):
    with tempfile.TemporaryDirectory() as folder:
        valgrind = ["valgrind", "-q", "--tool=callgrind", "--compress-strings=no", "--compress-pos=no",
                    f"--callgrind-out-file={folder}/out", *command]
        done = subprocess.run(valgrind, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                              env={**os.environ, **env})
        if done.returncode:
            sys.exit(f"the conversation failed:\n{done.stdout}")
        found = [read_dump(path) for path in sorted(Path(folder).glob("out.*"), key=lambda p: int(p.suffix[1:]))]
    return {profile.name: profile for profile in found if profile and profile.name != "before"}


def write_figures(profile, build):
    lines = [HEAD + build]
    for what, counts in (("instructions", profile.functions), ("calls", profile.calls)):
        total = sum(counts.values())
        lines.append(f"{what} {total}")
        lines += [f"  {count} {name}" for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    (FIGURES / f"{profile.name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_figures(name):
    """The build it was made with, the two totals, and what they are made of; None: there is no such file."""
    try:
        lines = (FIGURES / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    totals, parts, part = {}, {}, None
    for line in lines[1:]:
        first, second = line.split()
        if line.startswith(" "):
            part[second] = int(first)
        else:
            totals[first], part = int(second), parts.setdefault(first, {})
    return lines[0].removeprefix(HEAD), totals, parts


def show_difference(old, new):
    """By name, the largest change first."""
    changes = sorted(((new.get(name, 0) - old.get(name, 0), name) for name in {*old, *new}), key=lambda c: (-abs(c[0]), c[1]))
    print(f"    {'committed':>12} {'now':>12} {'difference':>12}")
    for change, name in [c for c in changes if c[0]][:SHOWN]:
        print(f"    {old.get(name, 0):>12,} {new.get(name, 0):>12,} {change:>+12,}  {name}")


def compare(profile, totals, parts):
    """Prints a line, and what differs where it matters. False: it takes more than the figure allows."""
    good, said = True, []
    for what, now in (("instructions", profile.functions), ("calls", profile.calls)):
        count = sum(now.values())
        ratio = (count - totals[what]) / max(totals[what], 1)
        said.append(f"{count / profile.units:>8,.1f} {what} ({ratio:+.1%})")
        if ratio > TOLERANCE:
            good = False
            print(f"{profile.name}: {count:,} {what} where {totals[what]:,} are committed, {ratio:+.1%}:")
            show_difference(parts[what], now)
        elif ratio < -TOLERANCE:
            said.append("- better than the figure: make update-instructions keeps it so")
    print(f"  {profile.name:<20} per unit {'  '.join(said)}")
    return good


def measures(command):
    """Metrics on against off. False: on takes too much more."""
    off, on, good = measure(command), measure(command, TOVA_MEASURES="1"), True
    for name, profile in on.items():
        cost = [sum(p.functions.values()) + CLOCK * p.calls["clock_gettime"] for p in (off[name], profile)]
        ratio = (cost[1] - cost[0]) / cost[0]
        print(f"  {name:<20} per unit {cost[0] / profile.units:>10,.1f} without, {cost[1] / profile.units:>10,.1f} with metrics ({ratio:+.2%})")
        if ratio > MEASURES_TOLERANCE:
            good = False
            show_difference(off[name].functions, profile.functions)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="compiler and options; other ones than the figures' can not be compared")
    parser.add_argument("--update", action="store_true", help="write the figures anew")
    parser.add_argument("--measures", action="store_true", help="compare metrics on with metrics off")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    if platform.machine() != "x86_64":
        print(f"skipped: the figures are for x86_64, and this is {platform.machine()}")
        return 0
    if " avx2 " not in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        print("skipped: the figures are for a CPU with AVX2, and this one has none")
        return 0
    if options.measures:
        return 0 if measures(options.command) else 1
    first = next((read_figures(path.stem)[0] for path in sorted(FIGURES.glob("*.txt"))), options.build)
    if not options.update and first != options.build:
        print(f"skipped: the figures are for «{first}», and this is «{options.build}»")
        return 0
    measured = measure(options.command)
    if options.update:
        FIGURES.mkdir(exist_ok=True)
        for path in FIGURES.glob("*.txt"):
            path.unlink()
        for profile in measured.values():
            write_figures(profile, options.build)
        print(f"{len(measured)} figures are in {FIGURES}")
        return 0
    good = True
    for profile in measured.values():
        committed = read_figures(profile.name)
        if committed is None:
            print(f"{profile.name}: there is no figure: make update-instructions")
            good = False
        else:
            good = compare(profile, *committed[1:]) and good
    for missing in {path.stem for path in FIGURES.glob("*.txt")} - set(measured):
        print(f"{missing}: there is a figure, but no such scene: make update-instructions")
        good = False
    if not good:
        print("If that is the price of something worth it: make update-instructions, and commit what it writes.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
