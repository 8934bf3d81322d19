"""The programs of tests/tova: the examples of the specification's document, and the cases of conformance.txt."""
import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "tova"
DOCUMENT = (FOLDER / "websocket.txt").read_text()


def examples():
    """The three servers of the document, letter for letter: echo, chat and dashboard."""
    found = []
    for begin in re.finditer(r"^server \{", DOCUMENT, re.M):
        depth = 0
        for at in range(begin.start(), len(DOCUMENT)):
            depth += {"{": 1, "}": -1}.get(DOCUMENT[at], 0)
            if depth == 0 and DOCUMENT[at] == "}":
                found.append(DOCUMENT[begin.start():at + 1] + "\n")
                break
    echo, chat, dashboard = found
    return {"echo": echo, "chat": chat, "dashboard": dashboard}


class Case:
    def __init__(self, about, line, program):
        self.about, self.line, self.program = about, line, program
        self.prints, self.faults = [], []

    def __repr__(self):
        return f"conformance.txt:{self.line} ({self.about})"


def cases():
    about, case, all_of_them = "", None, []
    for number, line in enumerate((FOLDER / "conformance.txt").read_text().split("\n"), 1):
        if line.startswith("## ") and case is None:
            about = line[3:]
        elif line == "" or (line.startswith("# ") and case is None):
            case = None
        elif line.startswith(("= ", "! ")) or line == "=":
            (case.faults if line[0] == "!" else case.prints).append(line[2:])
        elif case is None:
            case = Case(about, number, line + "\n")
            all_of_them.append(case)
        else:
            case.program += line + "\n"
    return all_of_them
