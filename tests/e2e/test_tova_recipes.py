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
