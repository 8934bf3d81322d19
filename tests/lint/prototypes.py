"""Every function that a header declares is told of: who owns what, how it fails, in which units, on which thread.

A comment stands in front of a prototype (and of a type that only that needs), or of a few that follow each other without a blank line
between them and which it tells of together. Of what is defined in the header itself (static inline) the lines say enough.
"""
import re
import sys
from pathlib import Path

PROTOTYPE = re.compile(r"^(?!typedef|static|#|struct \w+ \{|return)[A-Za-z_][\w \t*]*?[ *](\w+)\([^;{}]*\)[^;{}]*;", re.M)
# So many at most are told of together.
TOGETHER = 4
# What only says where the functions stand tells nothing of them.
HEADING = re.compile(r"/\* (---|[\w./]+\.c( \*/|:? *$))")


def untold(text):
    """(line, name) of each prototype that no comment tells of."""
    missing, lines = [], text.splitlines(keepends=True)
    depth, told, since, i = 0, False, 0, 0
    while i < len(lines):
        line = lines[i]
        start = i
        if depth == 0 and line.startswith(("/*", "//")):
            while line.startswith("/*") and "*/" not in lines[i]:
                i += 1
            told, since = not HEADING.match(line), 0
        elif not line.strip():
            told = False
        elif depth == 0:
            statement = line
            while i + 1 < len(lines) and not re.search(r"[;{}]", statement) and not statement.startswith("#"):
                i += 1
                statement += lines[i]
            found = PROTOTYPE.match(statement)
            if found:
                since += 1
                beside = "/*" in lines[i].split(";")[-1]
                if not beside and (not told or since > TOGETHER):
                    missing.append((start + 1, found.group(1)))
        for n in range(start, i + 1):
            code = re.sub(r"/\*.*?\*/|\"[^\"]*\"|'[^']*'", "", lines[n])
            if not lines[n].lstrip().startswith(("/*", "*", "//")) and 'extern "C"' not in lines[n]:
                depth += code.count("{") - code.count("}")
        i += 1
    return missing


def main():
    found = [f"{path}:{line}: {name}: a comment is missing: who owns what, how it fails, units, threads"
             for top in ("host", "sdk") for path in sorted(Path(top).rglob("*.h")) for line, name in untold(path.read_text())]
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
