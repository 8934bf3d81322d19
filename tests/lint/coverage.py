"""Which part of the lines of host/ and sdk/common/ the tests reached, folder by folder: coverage.py BUILD, after a run of a build with --coverage."""
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path


def lines_of(build):
    """{source file: {line: count}} from what the programs of this build left behind."""
    counts = defaultdict(lambda: defaultdict(int))
    notes = sorted(str(p) for p in (build / "obj").rglob("*.gcda"))
    if not notes:
        sys.exit(f"no coverage data in {build}: did a program of that build run?")
    text = subprocess.run(["gcov", "--json-format", "--stdout", *notes], check=True, stdout=subprocess.PIPE).stdout
    for document in text.splitlines():
        for file in json.loads(document)["files"] if document.strip() else ():
            if file["file"].startswith(("host/", "sdk/common/")):
                for line in file["lines"]:
                    counts[file["file"]][line["line_number"]] += line["count"]
    return counts


def percent(files):
    lines = [count for file in files for count in file.values()]
    return 100 * sum(count > 0 for count in lines) / len(lines)


def main(build):
    counts = lines_of(build)
    folders = defaultdict(list)
    for name in sorted(counts):
        folders[str(Path(name).parent)].append(name)
    for folder in sorted(folders):
        print(f"{folder}: {percent([counts[n] for n in folders[folder]]):.1f} %")
        for name in folders[folder]:
            print(f"  {Path(name).name:28} {percent([counts[name]]):5.1f} %")
    print(f"all: {percent(list(counts.values())):.1f} %")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
