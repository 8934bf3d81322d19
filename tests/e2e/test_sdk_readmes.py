"""The pages of the worker libraries, followed as a reader would."""
import json
import re
import subprocess

import pytest

from api import address
from example_workers import INTERPRETERS
from tova_host import BUILD, IMPATIENT, PATIENCE, ROOT, Host
from wsclient import connect

PAGES = {"python": ROOT / "sdk/python/README.md", "node": ROOT / "sdk/node/README.md"}


def programs(kind):
    """The blocks that serve."""
    blocks = re.findall(r"^```(?:python|js)\n(.*?)^```$", PAGES[kind].read_text(), re.M | re.S)
    return [block for block in blocks if re.search(r"serve\((globals|\{)", block)]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "sdk/python"))
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules/tova").symlink_to(ROOT / "sdk/node")

    def start(kind, i):
        interpreter, ending = INTERPRETERS[kind]
        (tmp_path / f"hello.{ending}").write_text(programs(kind)[i])
        return Host("--worker", f"{interpreter} hello.{ending}", *IMPATIENT, cwd=tmp_path)

    return start


def attach(host):
    return connect("127.0.0.1", host.port, "/")


@pytest.mark.parametrize("kind, n", [("python", 5), ("node", 4)])
def test_there_are_so_many_programs(kind, n):
    assert len(programs(kind)) == n


def test_who_is_there(run):
    with run("python", 3) as host:
        def come(name):
            ws = connect("127.0.0.1", host.port, f"/?{name}")
            ws.send_text("who")
            return ws, json.loads(ws.recv_text())

        (ann, _), (tab, _), (bob, there) = come("ann"), come("ann"), come("bob")
        assert there == ["ann", "bob"]
        bob.send_text("hi")
        assert ann.recv_text() == tab.recv_text() == "bob: hi"
        crowd = [come(f"user{n}")[0] for n in range(97)]
        late = connect("127.0.0.1", host.port, "/?late")
        late.expect_close(4003, "the lobby is full")
        bob.send_text("end ann")
        ann.expect_close(4001, "ended")
        tab.expect_close(4001, "ended")
        assert "ann" not in come("again")[1] and len(crowd) == 97


@pytest.mark.parametrize("kind", PAGES)
def test_one_document_edited_by_many(run, kind):
    """Each client applies what it hears to what it was given: all have the same in the end, those that came in between, too."""
    with run(kind, -1) as host:
        crowd = []

        def come():
            ws = attach(host)
            crowd.append((ws, json.loads(ws.recv_text())))
            return ws

        for n in range(8):
            ws = come()
            for line in range(n % 3, 40, 3):
                ws.send_text(json.dumps([line, f"{n}: {line}"]))
        for ws, _ in crowd:
            ws.send_text(json.dumps([99, "end"]))
        ends = [0] * len(crowd)
        for i, (ws, lines) in enumerate(crowd):
            while ends[i] < len(crowd):
                line, text = json.loads(ws.recv_text())
                ends[i] += line == 99
                lines += [""] * (line + 1 - len(lines))
                lines[line] = text
        come()
        assert all(lines == crowd[-1][1] for _, lines in crowd) and len(crowd[-1][1]) == 100 and all(crowd[-1][1][:40])


@pytest.mark.parametrize("kind", PAGES)
def test_the_first_worker(run, kind):
    with run(kind, 0) as host:
        one, two = attach(host), attach(host)
        for ws in (one, two):
            assert len(json.loads(ws.recv_text())["hello"]) == 22
        for n in (1, 2):
            one.send_text("good morning")
            assert one.recv_text() == f"you have said {n} things"
            assert two.recv_text() == "good morning"
        one.end(1000)
        assert two.recv_text() == "somebody left (1000)"


@pytest.mark.parametrize("kind", PAGES)
def test_pushes(run, kind):
    with run(kind, 1) as host:
        ws = attach(host)
        assert [ws.recv_text() for _ in range(2)] == ["one", "two"]


PUSHERS = {"python": ["/usr/bin/python3"], "node": ["node"]}


@pytest.mark.parametrize("kind", PUSHERS)
def test_pushing_without_handlers(run, kind, tmp_path):
    block = next(b for b in re.findall(r"^```(?:python|js)\n(.*?)^```$", PAGES[kind].read_text(), re.M | re.S) if "connect(" in b)
    with Host("--plugin", BUILD / "plugins/relay.so", "--api", "127.0.0.1:0", *IMPATIENT) as host, connect("127.0.0.1", host.port, "/room/lobby") as ws:
        ws.roundtrip()
        program = tmp_path / f"push.{INTERPRETERS[kind][1]}"
        program.write_text(block.replace("127.0.0.1:8081", address(host)))
        said = subprocess.run([*PUSHERS[kind], program], stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True).stdout
        assert said == "1 have been told\n" and ws.recv_text() == "from elsewhere"


def test_pushing_from_c(tmp_path):
    page = (ROOT / "sdk/c/README.md").read_text()
    block = next(b for b in re.findall(r"^```c\n(.*?)^```$", page, re.M | re.S) if "tova_client_connect(" in b)
    with Host("--plugin", BUILD / "plugins/relay.so", "--api", "127.0.0.1:0", *IMPATIENT) as host, connect("127.0.0.1", host.port, "/room/lobby") as ws:
        ws.roundtrip()
        (tmp_path / "push.c").write_text(block.replace("127.0.0.1:8081", address(host)))
        library = BUILD / "libtova-client.a"
        sanitizers = [f"-fsanitize={kind}" for kind in ("address", "undefined", "thread") if {"address": b"__asan_", "undefined": b"__ubsan_", "thread": b"__tsan_"}[kind] in library.read_bytes()]
        subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", *sanitizers, "-I", ROOT / "sdk/c/client", tmp_path / "push.c", library, "-lcurl", "-ljansson", "-lpthread",
                        "-o", tmp_path / "push"], check=True)
        said = subprocess.run([tmp_path / "push"], stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True).stdout
        assert said == "1 have been told\n" and ws.recv_text() == "from elsewhere"


@pytest.mark.parametrize("kind", PAGES)
def test_queries(run, kind):
    with run(kind, 2) as host:
        clients = []
        for n in range(5):
            clients.append(attach(host))
            assert clients[-1].recv_text() == f"{n} were here before you"
