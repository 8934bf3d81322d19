"""Figures of the house, for one look at how it changes: house.py [ROOT[=OBJECTS] ...].

Prints Markdown: a column for the host's sources at each ROOT (default: this tree), sdk/common/ included, where parts of it have moved, so
that columns of different days say the same; and for the object files that were built of host/ (OBJECTS, default: ROOT/build/obj/host;
without link time optimization: LTO=), which tell who needs whom when it is linked. Before and after:

    git worktree add /tmp/old COMMIT && make -C /tmp/old LTO= build/libtova.a && tests/lint/house.py /tmp/old .
"""
import re
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

FUNCTION = re.compile(r"^(?!typedef|struct \w+ \{|enum|union)(?:[A-Za-z_][\w \t*]*?[ *])(\w+)\(([^;{}]*)\)[^;{}()]*\n\{\n(.*?)^\}", re.M | re.S)
ATTRIBUTE = re.compile(r"__attribute__\(\(.*?\)\)\s*")
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', re.M)
COMMENT = re.compile(r"/\*.*?\*/", re.S)
EQUAL = 6


def code_of(text):
    """Lines that are neither blank nor comment."""
    return [line for line in COMMENT.sub("", text).splitlines() if line.strip()]


def closure(name, direct, seen):
    """Everything that a file includes, and what that does."""
    for next_name in direct.get(name, ()):
        if next_name not in seen:
            seen.add(next_name)
            closure(next_name, direct, seen)
    return seen


def components(edges):
    """Strongly connected components of more than one node (Tarjan)."""
    index, low, stack, on, found = {}, {}, [], set(), []

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        on.add(v)
        for w in edges[v]:
            if w not in index:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in on:
                low[v] = min(low[v], index[w])
        if low[v] == index[v]:
            component = []
            while not component or component[-1] != v:
                component.append(stack.pop())
                on.discard(component[-1])
            if len(component) > 1:
                found.append(sorted(component))
    sys.setrecursionlimit(10000)
    for v in list(edges):
        if v not in index:
            visit(v)
    return found


def link_cycles(objects):
    """Cycles of object files of one folder that need each other's symbols."""
    owner, needs = {}, defaultdict(set)
    for path in sorted(objects.rglob("*.o")):
        for line in subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout.splitlines():
            kind, symbol = line.split()[-2:]
            if kind in "TDBRVW":
                owner[symbol] = path
            elif kind == "U":
                needs[path].add(symbol)
    edges = {path: {owner[s] for s in needs[path] if s in owner and owner[s] != path} for path in sorted(objects.rglob("*.o"))}
    return [[path.relative_to(objects).with_suffix("").as_posix() for path in component] for component in components(edges)]


def equal_pairs(files):
    """Pairs of places with so many equal lines or more, each counted once."""
    places, pairs, n = defaultdict(list), set(), 0
    for path, text in files.items():
        lines = [line.strip() for line in code_of(text) if not line.startswith("#include")]
        for at in range(len(lines) - EQUAL + 1):
            window = tuple(lines[at:at + EQUAL])
            if sum(len(line) for line in window) > 40:
                places[window].append((path, at))
    for where in places.values():
        pairs.update((a, b) for i, a in enumerate(where) for b in where[i + 1:])
    for (f, i), (g, j) in pairs:
        n += ((f, i - 1), (g, j - 1)) not in pairs
    return n


def figures(root, objects):
    sources = [(root / "host", root / "host"), (root / "sdk", root / "sdk/common")]
    names = {path: path.relative_to(top).as_posix() for top, below in sources for path in sorted(below.rglob("*.[ch]"))}
    files = {path: path.read_text() for path in names}
    code = {path: len(code_of(text)) for path, text in files.items()}
    yield "kloc (all lines)", f"{sum(text.count(chr(10)) for text in files.values()) / 1000:.1f}"
    kloc = sum(code.values()) / 1000
    yield "kloc (neither blank nor comment)", f"{kloc:.1f}"
    folders = Counter()
    for path, n in code.items():
        folders[Path(names[path]).parent.as_posix()] += n
    yield "of these by folder", ", ".join(f"{'(wiring)' if name == '.' else name} {n}" for name, n in sorted(folders.items()))

    lengths, strangers = [], 0
    for path, text in files.items():
        if path.suffix != ".c":
            continue
        for name, _, body in FUNCTION.findall(ATTRIBUTE.sub("", text)):
            lengths.append(body.count("\n"))
            strangers += not (name + "_").startswith(path.stem + "_") and name != "main"
    lengths.sort()
    yield "functions", str(len(lengths))
    yield "their lines: median, p90, longest", f"{statistics.median(lengths):.0f}, {lengths[len(lengths) * 9 // 10]}, {lengths[-1]}"
    yield "functions whose prefix is not their file's name", str(strangers)
    checks = sum(len(re.findall(r"\bCHECK(?:_IS)?\(", text)) for text in files.values())
    yield "assertions, for each kloc", f"{checks}, {checks / kloc:.1f}"
    writers = [(path.name, line) for path, text in files.items() if path.parent.name in ("net", "threads")
               for line in text.splitlines() if re.search(r"(?:->|\.)state\s*=(?!=)", line)]
    yield "writers of a field `state` in net and threads", f"{len(writers)} in {len({name for name, _ in writers})} files"

    direct = {names[path]: [a or b for a, b in INCLUDE.findall(text)] for path, text in files.items()}
    reach = Counter()
    for name in direct:
        if name.endswith(".c"):
            reach.update(closure(name, direct, set()))
    for name in ("openssl/ssl.h", "net/conn.h", "jwt.h"):
        yield f"units that {name} reaches", f"{reach[name]} of {sum(name.endswith('.c') for name in direct)}"
    if objects.is_dir():
        cycles = link_cycles(objects)
        yield "cycles of object files", "; ".join(f"{len(c)}: {' '.join(c)}" for c in sorted(cycles, key=len, reverse=True)) or "none"
    wide = sum(len(line.expandtabs(8)) > 100 for text in files.values() for line in text.splitlines())
    yield "lines of more than 100 columns", str(wide)
    yield f"pairs of places with {EQUAL} equal lines", str(equal_pairs(files))


def main():
    columns = []
    for argument in sys.argv[1:] or [Path(__file__).resolve().parents[2]]:
        root, _, objects = str(argument).partition("=")
        columns.append(dict(figures(Path(root), Path(objects or Path(root) / "build/obj/host"))))
    print("|" + " |" * (len(columns) + 1) + "\n|" + "---|" * (len(columns) + 1))
    for name in dict.fromkeys(name for column in columns for name in column):
        print(f"| {name} | " + " | ".join(column.get(name, "") for column in columns) + " |")


if __name__ == "__main__":
    main()
