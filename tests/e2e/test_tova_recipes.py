"""The programs of sdk/tova/README.md, each with two clients at once, and that of README.md."""
import json
import re

from tova_host import IMPATIENT, ROOT, Host, wait_until
from wsclient import connect


def programs(page):
    return re.findall(r"^```tova\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)


FIRST, CHAT, DASHBOARD, WHITEBOARD, QUIZ, PRESENCE = programs("sdk/tova/README.md")


class Two:
    """A program, and two people."""

    def __init__(self, folder, text):
        path = folder / "recipe.tova"
        path.write_text(text)
        self.host = Host(path, *IMPATIENT)

    def __enter__(self):
        self.host.__enter__()
        return self.come(), self.come()

    def __exit__(self, *why):
        self.host.__exit__(*why)

    def come(self):
        return connect("127.0.0.1", self.host.port, "/")


def say(ws, **message):
    ws.send_text(json.dumps(message))


def hear(ws, **members):
    got = json.loads(ws.recv_text())
    assert members.items() <= got.items(), got
    return got


def test_the_first_ones(tmp_path):
    (hello,) = programs("README.md")
    for text in (hello, FIRST):
        with Two(tmp_path, text) as (a, b):
            greeting = a.recv_text()
            assert b.recv_text() == greeting
            a.send_text("hi")
            assert b.recv_text().startswith("hi")


def test_chat(tmp_path):
    with Two(tmp_path, CHAT) as (a, b):
        say(a, type="name", name="Ada")
        hear(b, type="joined", name="Ada")
        say(a, type="say", text="hello")
        say(b, type="say", text="hi")
        hear(a, type="say", name="Ada", text="hello")
        hear(a, type="say", name="somebody", text="hi")
        hear(b, name="Ada")
        hear(b, name="somebody")
        a.send_text("no JSON")
        hear(a, type="error", text="That did not work")
        a.end()
        hear(b, type="left", name="Ada")


def test_dashboard(tmp_path):
    with Two(tmp_path, DASHBOARD) as (a, b):
        for ws in (a, b):
            hear(ws, type="init")
            assert {"time", "load", "memory", "host"} == set(hear(ws, type="update")["data"])
        wait_until(lambda: (hear(a, type="update")["data"]["host"] or {}).get("connections") == 2, "the host's counters")


def test_whiteboard(tmp_path):
    with Two(tmp_path, WHITEBOARD) as (a, b):
        hear(a, type="all", strokes=[])
        hear(b, type="all", strokes=[])
        say(a, x=1)
        hear(b, type="stroke", stroke={"x": 1})
        say(b, x=2)
        hear(a, type="stroke", stroke={"x": 2})


def test_quiz(tmp_path):
    with Two(tmp_path, QUIZ.replace("10000", "1000")) as (a, b):
        for ws in (a, b):
            hear(ws, type="question", text="2 + 2")
        say(a, name="Ann", text="4")
        say(a, name="Ann", text="4")
        hear(a, type="late")
        say(b, name="Bob", text="5")
        for ws in (a, b):
            hear(ws, type="over", answer="4", points={"Ann": 1})
            hear(ws, type="question", text="The capital of France")
        say(b, name="Bob", text="paris")
        for ws in (a, b):
            hear(ws, type="over", answer="Paris", points={"Ann": 1, "Bob": 1})


def test_presence(tmp_path):
    with Two(tmp_path, PRESENCE) as (a, b):
        say(a, name="Ann")
        for ws in (a, b):
            hear(ws, type="present", names=["Ann"])
        say(b, name="Bob")
        for ws in (a, b):
            hear(ws, names=["Ann", "Bob"])
        a.end()
        hear(b, names=["Bob"])


# --- what a program can call ----------------------------------------------------------------------------------------------------

PAGE = (ROOT / "sdk/tova/README.md").read_text()


def named(row):
    """The names of a row of the table: functions, those of them that stand without parentheses, and methods (`s.slice`)."""
    quoted = re.search(rf"^\| {row}[^|]*\| (.*) \|$", PAGE, re.M).group(1)
    functions, bare, methods = [], [], []
    for words in re.findall(r"`([^`]*)`", quoted):
        names = re.sub(r"\(.*?\)|^(?:s|xs|n)\.|(?<= )(?:s|xs|n)\.", "", words).split()
        if re.match(r"(?:s|xs|n)\.", words):
            methods += names
        elif "*" not in words:
            functions += names
            bare += [] if "(" in words else names
    return functions, bare, methods


def test_every_name_of_the_table_is_there(tmp_path):
    """As a function, and as a method where it is said to be one."""
    values = {"strings": "'a'", "arrays": "[1]", "numbers": "5"}
    lines = []
    for row in ("any value", "strings", "arrays", "objects", "numbers"):
        functions, bare, methods = named(row)
        lines += [f"typeOf({name})" for name in functions]
        lines += [f"typeOf({values[row]}.{name})" for name in methods + (bare if row in ("strings", "arrays") else [])]
    assert len(lines) > 150, lines
    path = tmp_path / "names.tova"
    path.write_text("kinds_of_all = [" + ",\n".join(lines) + "]\nserver { ws { on_open fn(ws) { ws.send(kinds_of_all) } } }\n")
    with Host(path, *IMPATIENT) as host, connect("127.0.0.1", host.port, "/") as ws:
        kinds = json.loads(ws.recv_text())
    wrong = [line for line, kind in zip(lines, kinds) if kind != ("Float" if line in ("typeOf(PI)", "typeOf(E)", "typeOf(INF)") else "Function")]
    assert not wrong


def test_editors_know_the_words():
    """The grammar has the keywords of the lexer and the events of the checker."""
    grammar = (ROOT / "sdk/tova/tova.tmLanguage.json").read_text()
    json.loads(grammar)
    coloured = set(re.findall(r"\w+", " ".join(re.findall(r"\\\\b\(([\w|]+)\)", grammar))))
    keywords = set(re.findall(r'X\([A-Z]+, "(\w+)"\)', (ROOT / "sdk/tova/token.h").read_text()))
    assert len(keywords) > 15 and keywords <= coloured, keywords - coloured
    names = re.search(r"checker_handler_names\[CHECKER_HANDLERS\] = \{(.*?)\};", (ROOT / "sdk/tova/checker.c").read_text(), re.S).group(1)
    events = set(re.findall(r'"on_(\w+)"', names))
    assert len(events) > 5 and events == set(re.search(r"on_\(([\w|]+)\)", grammar).group(1).split("|"))
