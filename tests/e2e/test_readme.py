"""The READMEs, followed as a reader would: what they show is saved under the names they give, and typed as they say."""
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from api import address
from certificates import tls
from tova_host import BUILD, ROOT, Host, wait_until
from wsclient import CLOSE, Http, connect, refused

README, SDK = ROOT / "README.md", ROOT / "sdk" / "README.md"
TESTS, HOUSE = ROOT / "tests" / "README.md", ROOT / "host" / "README.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
NAMED = re.compile(r"`([\w./-]+\.(?:c|cc|html|conf|py|mjs|sh))`[^`\n]*:\n\n```(\w+)\n(.*?)^```$", re.M | re.S)
HEADER = '#include "tova_plugin.h"'


def blocks(page, language):
    return [text for kind, text in BLOCK.findall(page.read_text()) if kind == language]


def commands(page):
    return [line for text in blocks(page, "sh") for line in text.splitlines() if line and not line.startswith("#")]


class Reader:
    """Somebody with a checkout that is built, in a folder of its own."""

    def __init__(self, folder, page):
        self.folder = folder
        self.files = {name: text for name, _, text in NAMED.findall(page.read_text())}
        for name, target in (("sdk", ROOT / "sdk"), ("examples", ROOT / "examples"), ("build", BUILD)):
            (folder / name).symlink_to(target)

    def save(self, name):
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(self.files[name])

    def edit(self, name, old, new):
        text = (self.folder / name).read_text()
        assert old in text
        (self.folder / name).write_text(text.replace(old, new))

    def type(self, command):
        done = subprocess.run(command, shell=True, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout

    def host(self, command):
        """A host with the command's options, on a port of its own."""
        name, *options = shlex.split(command)
        assert name == "build/tova-host"
        return Host(*options, cwd=self.folder)


@pytest.fixture
def reader(tmp_path):
    return Reader(tmp_path, README)


@pytest.fixture
def author(tmp_path):
    """Who reads sdk/README.md: build(name) gives the path of the plugin that is shown under that name."""
    reader = Reader(tmp_path, SDK)
    compile_c = next(c for c in commands(SDK) if c.startswith("cc "))
    compile_cc = next(c for c in commands(SDK) if c.startswith("c++ "))

    def build(name):
        reader.save(name)
        stem, kind = name.rsplit(".", 1)
        command = compile_c.replace("room", stem) if kind == "c" else compile_cc.replace("shout", stem)
        assert name in command, command
        reader.type(command)
        return tmp_path / f"{stem}.so"

    return build


# --- what both show -------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("page", [README, SDK], ids=["README.md", "sdk/README.md"])
def test_every_c_block_compiles(page, tmp_path):
    """A fragment stands for the file around it, so it is read behind the header."""
    shown = blocks(page, "c")
    assert shown
    for number, text in enumerate(shown):
        file = tmp_path / f"{number}.c"
        file.write_text(text if HEADER in text else f"{HEADER}\n{text}")
        done = subprocess.run(["cc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-Wno-unused-parameter",
                               "-fsyntax-only", "-I", str(ROOT / "sdk"), str(file)], stderr=subprocess.PIPE, text=True)
        assert done.returncode == 0, f"{text}\n{done.stderr}"


@pytest.fixture(scope="module")
def made():
    """What make knows."""
    return subprocess.run(["make", "-qp", "--no-print-directory", "-C", str(ROOT), "help"], stdout=subprocess.PIPE, text=True).stdout


@pytest.mark.parametrize("page", [README, TESTS], ids=["README.md", "tests/README.md"])
def test_targets_of_make_exist(page, made):
    text = page.read_text()
    targets = set(" ".join(re.findall(r"(?:^|`)make((?: [a-z][a-z0-9-]*)+)", text, re.M)).split())
    assert {"test-deps", "check"} <= targets
    missing = [t for t in targets if not re.search(rf"^{re.escape(t)}:", made, re.M)]
    assert not missing, f"{page} names targets that do not exist: {missing}"


# --- tests/README.md ------------------------------------------------------------------------------------------------------------------

def test_every_family_is_told_of(made):
    """A row for each folder, and each of make's checks in one of the rows."""
    rows = dict(re.findall(r"^\| `(\w+)/` \| (.*)$", TESTS.read_text(), re.M))
    shared = {"lib", "plugins", "tova"}
    assert set(rows) | shared == {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    checks = next(line for line in made.splitlines() if line.startswith("CHECKS = ")).split()[2:]
    assert not [check for check in checks if f"`{check}`" not in TESTS.read_text()]


def test_the_first_conversation():
    code, = blocks(TESTS, "python")
    names = {}
    exec(code, names)
    names["test_a_message_comes_back"]()


# --- host/README.md -------------------------------------------------------------------------------------------------------------------

def test_the_house_has_what_its_page_names():
    """Files, and words that can only be names of the code."""
    text = HOUSE.read_text()
    sources = "\n".join(path.read_text() for top in ("host", "sdk") for path in (ROOT / top).rglob("*.[ch]"))
    files = {path.relative_to(ROOT / base).as_posix() for base, below in (("host", "host"), ("sdk", "sdk"), (".", "sdk"), (".", "tests"))
             for path in (ROOT / below).rglob("*.*")}
    missing = [name for name in re.findall(r"`([\w/]+\.(?:c|h|txt|py))`", text) if name not in files]
    words = {word for quoted in re.findall(r"`([\w.>-]+)`", text) for word in re.findall(r"[a-zA-Z]+_\w+", quoted)}
    words |= set(re.findall(r"\b[a-z]+_[a-z_]+\b", "\n".join(re.findall(r"^    .*$", text, re.M))))
    assert len(words) > 80
    words -= {Path(name).stem for name in files}
    missing += [word for word in sorted(words) if not re.search(rf"\b{word}\b", sources)]
    assert not missing


# --- README.md ------------------------------------------------------------------------------------------------------------------------

def heard(page):
    return (page.text("#heard") or "").splitlines()


def say(page, text):
    page.find("#say").send_keys(text + "\n")


def test_first_plugin(reader, browse):
    """The whole of the five minutes: build, talk, fail, change, reload."""
    reader.save("hello/hello.c")
    reader.save("hello/page/index.html")
    build, start, again, reload = [c for c in commands(README) if "hello.so" in c and "isolate" not in c or c.startswith("kill -HUP")]
    assert build == again and reload == "kill -HUP $(pidof tova-host)"
    reader.type(build)
    with reader.host(start) as host:
        ada, bob = browse(host.url), browse(host.url)
        for page in (ada, bob):
            page.expect_console("favicon.ico")  # a page of eight lines has none
            page.wait(lambda: heard(page) == ["Hello! Say something."], "the greeting")
        say(ada, "good morning")
        for page in (ada, bob):
            page.wait(lambda: heard(page)[1:] == ["good morning (number 1)"], "the message")

        say(ada, "x" * 201)
        ada.wait(lambda: heard(ada)[2:] == ["That was too long, and does not count."], "the error")

        reader.edit("hello/hello.c", "(number %u)", "[%u]")
        reader.type(again)
        host.signal(signal.SIGHUP)
        host.wait_log(lambda line: line.get("kind") == "reload", "the reload")
        say(ada, "still here")
        ada.wait(lambda: heard(ada)[3:] == ["still here [2]"], "the new code's answer, with the count going on")
        bob.wait(lambda: heard(bob)[2:] == ["still here [2]"], "the new code's answer")


def test_a_file_that_does_not_load_changes_nothing(reader):
    reader.save("hello/hello.c")
    build, start = [c for c in commands(README) if "hello" in c][:2]
    reader.type(build)
    (reader.folder / "hello/page").mkdir()
    with reader.host(start) as host, connect("127.0.0.1", host.port, "/") as ws:
        assert ws.recv_text() == "Hello! Say something."
        (reader.folder / "hello/hello.so").write_text("not a library")
        host.expect(lambda line: line.get("kind") == "reload" and "the old one goes on" in line["message"])
        mark = host.reload()
        host.wait_log(lambda line: line.get("kind") == "reload", "the reload", after=mark)
        ws.send_text("hm")
        assert ws.recv_text() == "hm (number 1)"


@pytest.mark.parametrize("file, said", [("hello.py", " (said in Python)"), ("hello.mjs", " (said in JavaScript)"),
                                        ("hello.sh", " (said in a shell)"), ("hello.so", " (number 1)")])
def test_first_worker(reader, file, said):
    """Each kind serves the same; a worker that is killed with a message under way is not missed."""
    (reader.folder / "hello/page").mkdir(parents=True)
    reader.save("hello/hello.c" if file == "hello.so" else f"hello/{file}")
    if file == "hello.so":
        reader.type(next(c for c in commands(README) if c.startswith("cc ") and file in c))
    start = next(c for c in commands(README) if file in c and c.startswith("build/") and (file != "hello.so" or "--isolate" in c))
    with reader.host(start) as host, connect("127.0.0.1", host.port, "/") as ada, connect("127.0.0.1", host.port, "/") as bob:
        for ws in (ada, bob):
            assert ws.recv_text() == "Hello! Say something."
        if "--script" in start:
            ada.send_text("moin")
        else:
            wait_until(lambda: len(host.children) == 1, "its guard has its name")
            worker, = host.children
            os.kill(worker, signal.SIGSTOP)  # so that it has the message when it dies
            wait_until(lambda: Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0] == "T", "a worker that stands still")
            ada.send_text("moin")
            os.kill(worker, signal.SIGKILL)
        for ws in (ada, bob):
            assert ws.recv_text() == "moin" + said
        ada.send_text("x\\nclose 4000")
        for ws in (ada, bob):
            assert ws.recv_text() == "x\\nclose 4000" + said.replace("1", "2")
        ada.send_text("bye")
        for ws in (ada, bob):
            assert ws.recv_text() == "bye" + said.replace("1", "3")  # the first was told, and counted, once


def test_tls(reader):
    """Two commands, a browser's two requests."""
    make, start = [line for line in commands(README) if line.startswith("openssl req") or "--tls-cert" in line]
    reader.type(make)
    trusted = tls(str(reader.folder / "cert.pem"))
    with reader.host(start) as host:
        with Http("127.0.0.1", host.port, wrap=trusted) as http:
            assert b"wss:" in http.request(target="/").body
        with connect("127.0.0.1", host.port, wrap=trusted) as ws:
            assert "Welcome" in ws.recv_text()


def test_push_over_http(reader):
    """A message from a shell, without a token and with one."""
    start, push, secret, guarded, with_token = [c for c in commands(README) if "--api " in c or c.startswith("curl ") or "rand -hex" in c]
    reader.type(secret)
    for command, ask in ((start, push), (guarded, with_token)):
        with reader.host(command.replace("127.0.0.1:8081", "127.0.0.1:0")) as host, connect("127.0.0.1", host.port, "/room/news") as ws:
            ws.roundtrip()
            assert reader.type("curl() { command curl -sS \"$@\"; }; " + ask.replace("127.0.0.1:8081", address(host))) == '{"receivers":1}'
            assert ws.recv_text() == "hi"
            ws.end()


def test_config_file(reader):
    reader.save("tova-host.conf")
    command = next(c for c in commands(README) if "--check" in c)
    printed = reader.type(command)
    (reader.folder / "tova-host.conf").write_text(printed)
    assert reader.type(command) == printed


def test_both_examples_at_once(reader):
    command = next(c for c in commands(README) if "/dashboard=dashboard.so" in c)
    with reader.host(command) as host:
        with connect("127.0.0.1", host.port, "/chat") as chat, connect("127.0.0.1", host.port, "/dashboard") as dashboard:
            assert "Welcome" in chat.recv_text()
            assert '"type":"init"' in dashboard.recv_text()


@pytest.mark.parametrize("tova", [False, True])
def test_bare_command_of_make_run(tova):
    """What `make run` and `make run TOVA=1` start, by the Makefile's own words."""
    text = (ROOT / "Makefile").read_text()
    words = re.search(r"^\t@exec \$\(BUILD\)/tova-host \$\(if \$\(TOVA\),(.*),(.*)\) (.*) --listen \$\(LISTEN\)$", text, re.M)
    options = words.group(1 if tova else 2) + " " + words.group(3)
    with Host(*shlex.split(options)) as host, connect("127.0.0.1", host.port, "/") as ws:
        assert "Welcome" in ws.recv_text()


# --- sdk/README.md --------------------------------------------------------------------------------------------------------------------

def served(plugin, *options):
    return Host("--plugin", plugin, *options)


def test_room(author):
    with served(author("room.c")) as host, connect("127.0.0.1", host.port, "/") as ada:
        assert ada.recv_text() == "welcome"
        with connect("127.0.0.1", host.port, "/") as bob:
            assert bob.recv_text() == "welcome"
            assert ada.recv_text() == "somebody came"
            bob.send_text("hi")
            assert ada.recv_text() == "hi"
        assert ada.recv_text() == "somebody left"


def test_gate(author):
    with served(author("gate.c")) as host:
        refusal = refused("127.0.0.1", host.port, "/")
        assert refusal.status == 401 and b"Who are you?" in refusal.body
        with connect("127.0.0.1", host.port, "/", headers=[("Cookie", "name=Ada")], subprotocols=["x", "greet.v1"]) as ws:
            assert ws.recv_text() == "hello Ada"
            assert ws.subprotocol == "greet.v1"
            assert ws.answer.get("X-Gate") == "open"


def test_clock(author):
    with served(author("clock.c")) as host, connect("127.0.0.1", host.port, "/") as ws:
        assert [ws.recv_text() for _ in range(3)] == ["tick"] * 3
        patient = connect("127.0.0.1", host.port, "/")
        patient.send_text("still here")
        got = ws.recv_frame()
        while got.opcode != CLOSE:
            assert got.payload == b"tick"
            got = ws.recv_frame()
        assert got.payload[:2] == (4000).to_bytes(2, "big")
        assert patient.recv_text() == "tick"  # nobody closed it meanwhile
        patient.drop()


@pytest.mark.parametrize("how", [[], ["--isolate", "--workers", "2"]], ids=["plugin", "isolate"])
def test_one_document_edited_by_many(author, how):
    """Lines of many at once are all there, in the order in which everybody has heard them."""
    with served(author("document.c"), *how) as host:
        crowd = [connect("127.0.0.1", host.port, "/doc") for _ in range(6)]
        for ws in crowd:
            ws.send_text("here")
        for ws in crowd:
            while ws.recv_text() != "here":
                pass
        for n, ws in enumerate(crowd):
            for line in range(20):
                ws.send_text(f"{n}: {line}")
        heard = []
        for ws in crowd:
            lines = []
            while len(lines) < 120:
                text = ws.recv_text()
                lines += [text] if text != "here" else []
            heard.append(lines)
        assert all(lines == heard[0] for lines in heard)
        def kept(ws):
            ws.send_text("")
            return [line for line in ws.recv_text().splitlines() if line != "here"]
        assert kept(crowd[0]) == heard[0]
        with connect("127.0.0.1", host.port, "/doc") as late:
            assert kept(late) == heard[0]
            late.send_text("x" * 65536)
            assert kept(late) == heard[0]


def test_who(author):
    with served(author("who.c")) as host, connect("127.0.0.1", host.port, "/") as ada, connect("127.0.0.1", host.port, "/") as bob:
        ada.send_text("?")
        other = ada.recv_text()
        assert len(other) == 22 and ada.recv_text() == "and you"
        bob.send_text("?")
        assert bob.recv_text() != other and bob.recv_text() == "and you"


def test_ticker(author):
    path = author("ticker.c")
    with served(path) as host, connect("127.0.0.1", host.port, "/") as ws:
        counts = [int(ws.recv_text()), int(ws.recv_text())]
        assert counts[0] < counts[1]

        def count():
            counts.append(int(ws.recv_text()))
            return counts
        wait_until(lambda: count()[-1] > 50, "a count that is beyond what a machine which is busy may miss of the next one's")
        path.write_bytes(path.read_bytes() + b"\0")  # the same, and yet another file
        host.reload()
        host.wait_log(lambda line: line.get("kind") == "reload" and "was replaced" in line["message"], "the reload")
        wait_until(lambda: count()[-1] < counts[-2], "the new library's own count")


def test_motd(author):
    path = author("motd.c")
    with served(path) as host, connect("127.0.0.1", host.port, "/") as ws:
        assert ws.recv_text() == "hello"
    with served(path, "--plugin-set", "motd=moin") as host, connect("127.0.0.1", host.port, "/") as ws:
        assert ws.recv_text() == "moin"
    for setting, words in (("motd=" + "x" * 101, "motd has at most 100 bytes, not 101"), ("moo=1", '"moo"')):
        done = subprocess.run([str(BUILD / "tova-host"), "-l", "127.0.0.1:0", "-p", str(path), "--plugin-set", setting],
                              stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60)
        assert done.returncode == 2 and words in done.stderr, done.stderr


def test_migrate(author, tmp_path):
    path = author("points.c")
    with served(path) as host, connect("127.0.0.1", host.port, "/") as ws:
        ws.send_text("four")
        assert ws.recv_text() == "4"
        path.write_bytes(author("points2.c").read_bytes())
        host.reload()
        host.wait_log(lambda line: line.get("kind") == "reload" and line.get("version") == "2.0", "the reload")
        ws.send_text("more")
        assert ws.recv_text() == "8 in 1"


def test_cpp(author):
    with served(author("shout.cc")) as host, connect("127.0.0.1", host.port, "/") as ws:
        ws.send_text("hey")
        assert ws.recv_text() == "HEY"
