"""tova-ctl against a running host."""
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from api import TOKENS, address, tokens
from certificates import Certificates
from probe import Probe, plugin
from tokens import SECRET, claims, hs256
from tova_host import BUILD, PATIENCE, ROOT, Host, wait_until
from wsclient import WebSocket, connect


def ctl(*arguments, control=None, data=None, env=None):
    """Runs it; (exit code, standard output, standard error)."""
    command = [str(BUILD / "tova-ctl"), *(["--control", control] if control else []), *map(str, arguments)]
    done = subprocess.run(command, input=data, capture_output=True, env={**os.environ, **(env or {})}, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


class Controlled:
    """A host with two mounts of the probe, and its control socket."""

    def __init__(self, host, control):
        self.host, self.control = host, control

    def __call__(self, *arguments, **how):
        code, out, err = ctl(*arguments, control=self.control, **how)
        assert code == 0 and err == "", (code, out, err)
        return out

    def json(self, *arguments):
        return json.loads(self("--json", *arguments))

    def refused(self, *arguments, code=1, **how):
        got, out, err = ctl(*arguments, control=self.control, **how)
        assert got == code and out == "" and err.startswith("tova-ctl: "), (got, out, err)
        return err


@pytest.fixture(scope="module")
def running():
    directory = tempfile.mkdtemp(prefix="tova-ctl-")
    control = f"{directory}/control.sock"
    with Host("--plugin", f"/probe={plugin('probe')}", "--plugin", f"/other={plugin('probe')}", "--control", control,
              "--close-timeout", "200ms") as host:
        yield Controlled(host, control)
    shutil.rmtree(directory)


@pytest.fixture
def probe(running):
    with Probe(running.host) as opener:
        yield opener


# --- usage ----------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("arguments, said", [
    ((), "a command is missing"),
    (("nonsense",), 'no command "nonsense"'),
    (("send", "x"), "expected: tova-ctl send CONN TEXT"),
    (("broadcast_to", "r", "t", "more"), "expected: tova-ctl broadcast_to ROOM TEXT"),
    (("--file", "-", "broadcast", "text"), "TEXT being left out"),
    (("--file", "-", "stats"), "takes no data"),
    (("--binary", "workers"), "takes no data"),
    (("--key", "k", "slow"), "takes no data"),
    (("--key", b"\xff", "broadcast", "x"), "not UTF-8"),
    (("close", "x", "none"), "CODE is a number"),
    (("close", "x", "99999"), "CODE is a number"),
    (("broadcast", b"\xff"), "not UTF-8"),
    (("send", b"\xff", "x"), "not UTF-8"),
    (("--mount", b"\xff", "broadcast", "x"), "not UTF-8"),
    (("dead-letter", "nonsense"), "expected list, or replay"),
    (("info", "x"), "expected TEXT, --user USER, or both"),
    (("info", "x", b"\xff"), "not UTF-8"),
    (("info", "x", "--user", b"\xff"), "not UTF-8"),
    (("join", "x", b"\xff"), "not UTF-8"),
])
def test_bad_usage(arguments, said):
    command = [bytes(BUILD / "tova-ctl"), *(a if isinstance(a, bytes) else a.encode() for a in arguments)]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 2 and done.stdout == b"" and said in done.stderr.decode(), done


def test_help_version_and_nonsense():
    assert "broadcast_to" in ctl("--help")[1] and ctl("--version")[1].startswith("tova-ctl 0.")
    assert ctl("--nonsense")[0] == 2


def test_nobody_is_there(tmp_path):
    code, out, err = ctl("stats", control=str(tmp_path / "none.sock"))
    assert code == 1 and out == "" and "no host listens at" in err


def test_somebody_else_is_there(tmp_path):
    """A socket that is no control socket is told from one, and does not hang the terminal for good."""
    import socket
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        other = subprocess.Popen([BUILD / "tova-ctl", "--control", str(tmp_path / "s"), "stats"], stderr=subprocess.PIPE)
        peer, _ = listener.accept()
        peer.sendall(b"HTTP/1.1 400\r\n\r\n")
        peer.close()
        listener.close()
        assert other.wait(30) == 1 and b"tova-ctl: " in other.stderr.read()


def test_the_socket_is_found_where_it_is_by_default(running):
    directory = os.path.dirname(running.control)
    os.symlink(running.control, f"{directory}/tova.sock")
    code, out, _ = ctl("mounts", env={"XDG_RUNTIME_DIR": directory})
    assert code == 0 and "/probe" in out


@pytest.mark.parametrize("place", ["run/tova/tova.sock", "run/tova/control", "run/tova.sock"])
def test_services_sockets_are_found(running, place, tmp_path):
    """Where hosts of the machine have them. With a root of its own, so that no host of the machine is met."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root")
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).symlink_to(running.control)
    found = subprocess.run(["unshare", "--mount", "sh", "-c", 'mount --bind "$1" /run && exec "$2" --json mounts', "sh", tmp_path / "run", BUILD.resolve() / "tova-ctl"],
                           env={k: v for k, v in os.environ.items() if k != "XDG_RUNTIME_DIR"}, capture_output=True, text=True, check=False)
    if "mount:" in found.stderr:
        pytest.skip(found.stderr)
    assert found.returncode == 0 and {m["path"] for m in json.loads(found.stdout)["mounts"]} == {"/probe", "/other"}, found


# --- the shell's completion -----------------------------------------------------------------------------------------------------

def completed(line, control):
    """What bash offers for the last word of the line."""
    words = line.split(" ")
    stand_ins = f'tova-ctl() {{ {BUILD}/tova-ctl --control {control} "$@"; }}; timeout() {{ shift; "$@"; }}; compopt() {{ :; }}'
    script = f'source {BUILD}/dist/tova-ctl.bash; {stand_ins}; COMP_CWORD={len(words) - 1}; COMP_WORDS=({" ".join(map(repr, words))}); _tova_ctl'
    script += '; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "", done.stderr
    return set(done.stdout.split())


def test_completion(running, probe):
    told = subprocess.run([BUILD / "tova-ctl", "--words"], capture_output=True, text=True, check=True).stdout.splitlines()
    commands = {line.split()[0] for line in told if not line.startswith("--")}
    options = {line.split()[0] for line in told if line.startswith("--")}
    assert {"send", "top", "dead-letter"} <= commands and {"--mount", "--json"} <= options
    assert completed("tova-ctl ", running.control) == commands
    assert completed("tova-ctl -j con", running.control) == {"connections"}
    assert completed("tova-ctl --", running.control) == options
    assert completed("tova-ctl dead-letter ", running.control) == {"list", "replay"}
    one = probe.client()
    one.script("join tea", "send joined")
    assert one.recv_text() == "joined"
    assert completed("tova-ctl -m /probe send ", running.control) == {one.id}
    assert completed("tova-ctl -m /probe close ", running.control) == {one.id}
    assert completed(f"tova-ctl send {one.id} ", running.control) == set()
    assert completed("tova-ctl members ", running.control) == {"tea"}
    assert completed("tova-ctl -m ", running.control) == {"/probe", "/other"}
    assert completed("tova-ctl -m /o", running.control) == {"/other"}
    assert completed("tova-ctl -f /usr/bi", running.control) == {"/usr/bin"}


def test_every_command_and_option_stands_in_the_manual():
    told = subprocess.run([BUILD / "tova-ctl", "--words"], capture_output=True, text=True, check=True).stdout.splitlines()
    page = (ROOT / "sdk/ctl/tova-ctl.1").read_text().replace("\\-", "-")
    shown = subprocess.run([BUILD / "tova-ctl", "--help"], capture_output=True, text=True, check=True).stdout
    for word in (line.split()[0] for line in told):
        assert word in page and word in shown, word


# --- telling --------------------------------------------------------------------------------------------------------------------

def test_send(running, probe):
    one, two = probe.clients(2)
    running("--mount", "/probe", "send", one.id, "grüße")
    running("--mount", "/probe", "--binary", "send", one.id, "bytes")
    running("--mount", "/probe", "--", "send", one.id, "-dash")
    assert (one.recv_text(), one.recv_binary(), one.recv_text()) == ("grüße", b"bytes", "-dash")
    assert "there is no connection AAAAAAAAAAAAAAAAAAAAAA at /probe" in running.refused("--mount", "/probe", "send", "A" * 22, "text")
    for words in (("send", "nobody", "text"), ("close", "nobody"), ("rooms", "nobody")):
        assert "is no connection's id" in running.refused("--mount", "/probe", *words)
    two.settle()


@pytest.mark.parametrize("words", [["send", "GONE", "x"], ["close", "GONE"], ["rooms", "GONE"],
                                   ["broadcast_to", "empty", "x"], ["members", "empty"], ["--json", "members", "empty"]], ids=" ".join)
def test_unknown_names_are_said(running, probe, words):
    """And end with 1; what is asked as JSON is answered as ever."""
    gone = probe.client()
    conn = gone.id
    words = [conn if word == "GONE" else word for word in words]
    gone.end()
    wait_until(lambda: conn not in running("connections"), "it has gone")
    code, out, err = ctl("--mount", "/probe", *words, control=running.control)
    name = words[words.index("--json") + 2 if "--json" in words else 1]
    assert code == 1 and err.startswith("tova-ctl: "), (code, out, err)
    assert ("no connection's id" if name == "nonsense" else f"{name} at /probe") in err
    assert json.loads(out)["count"] == 0 if "--json" in words else out == ""


@pytest.mark.parametrize("words", [["workers"], ["mounts"], ["stats"], ["reload"], ["drain"], ["dead-letter", "list"], ["dead-letter", "replay"],
                                   ["connections"], ["rooms"], ["slow"], ["send", "x", "y"], ["broadcast", "x"]], ids=" ".join)
def test_a_mount_that_is_not_there_is_said_whatever_is_asked(running, words):
    mark = len(running.host.lines)
    assert "there is no such mount as /nosuch; expected /" in running.refused("--mount", "/nosuch", *words)
    assert not any("stopping" in line["message"] or "read again" in line["message"] for line in running.host.lines[mark:])


def test_a_mount_is_what_is_meant(tmp_path):
    """Also where it may be left out: lists are of that one, dead letters those of that one; what is for the whole host says so."""
    letters = [{"t": "dead_letter", "event": "message", "mount": mount, "id": f"{mount[1:]}:1", "conn": "A" * 22, "seq": 1, "data": "x"}
               for mount in ("/a", "/b")]
    (tmp_path / "dead").write_text("".join(json.dumps(letter) + "\n" for letter in letters))
    control = tmp_path / "control"
    with Host("--plugin", "/a=echo", "--plugin", f"/b={plugin('probe')}", "--dead-letter", tmp_path / "dead", "--control", control) as host:
        def ask(*words):
            return json.loads(ctl("--json", *words, control=control)[1])
        assert [m["path"] for m in ask("mounts")["mounts"]] == ["/a", "/b"]
        assert [m["path"] for m in ask("--mount", "/b", "mounts")["mounts"]] == ["/b"]
        assert [letter["id"] for letter in ask("dead-letter", "list")["dead_letters"]] == ["a:1", "b:1"]
        assert [letter["id"] for letter in ask("--mount", "/b", "dead-letter", "list")["dead_letters"]] == ["b:1"]
        assert ask("--mount", "/b", "dead-letter", "replay")["left"] == 1 and ask("dead-letter", "replay")["left"] == 2
        for words, said in ((("--mount", "/a", "stats"), "stats are of the whole host"),
                            (("--mount", "/a", "drain"), "for the whole host"), (("dead-letter", "replay", ""), "an empty id")):
            code, _, err = ctl(*words, control=control)
            assert code == 1 and said in err, (words, code, err)
        assert host.alive and (tmp_path / "dead").read_text().count("\n") == 2


def test_known_names_are_no_matter(running, probe):
    """Also of a connection whose last event does something to nobody."""
    one, two = probe.clients(2)
    one.script("join tea", "on close to empty%20room x", "send joined")
    assert one.recv_text() == "joined"
    for words in (["send", one.id, "x"], ["rooms", one.id], ["rooms", two.id], ["members", "tea"], ["broadcast_to", "tea", "x"], ["close", one.id]):
        running("--mount", "/probe", *words)


def test_broadcast_and_rooms(running, probe):
    one, two = probe.clients(2)
    one.script("join tea", "send joined")
    assert one.recv_text() == "joined"
    assert running("--mount", "/probe", "broadcast_to", "tea", "for tea").split() == ["receivers", "1"]
    assert running("--mount", "/probe", "broadcast", "for all").split() == ["receivers", "2"]
    assert (one.recv_text(), one.recv_text(), two.recv_text()) == ("for tea", "for all", "for all")
    assert "room" in running.refused("--mount", "/probe", "broadcast_to", "x" * 256, "text")


def test_data_from_a_file(running, probe, tmp_path):
    client = probe.client()
    data = os.urandom(3 << 20)
    (tmp_path / "data").write_bytes(data)
    running("--mount", "/probe", "--binary", "--file", tmp_path / "data", "send", client.id)
    assert client.recv_binary() == data
    running("--mount", "/probe", "--file", "-", "send", client.id, data="ä\n\0".encode())
    assert client.recv_text() == "ä\n\0"
    running("--mount", "/probe", "--file", "-", "broadcast", data=b"")
    assert client.recv_text() == ""
    assert "not UTF-8" in running.refused("--mount", "/probe", "--file", "-", "broadcast", data=b"\xff", code=2)
    assert "none" in running.refused("--mount", "/probe", "--file", tmp_path / "none", "broadcast")


@pytest.mark.parametrize("door", ["socket", "http"])
def test_rooms_and_who_a_connection_is(tmp_path, door):
    """join, leave, leave_all and info; what is there and has nothing to be done is no mistake, what is not there is one."""
    with Host("--plugin", f"/probe={plugin('probe')}", "--plugin", "/other=echo", "--api", "127.0.0.1:0", "--control", tmp_path / "control") as host, Probe(host) as opener:
        way = ["--control", tmp_path / "control"] if door == "socket" else ["--url", f"http://{address(host)}"]
        one, two = opener.clients(2)

        def tell(*words, code=0):
            got, out, err = ctl(*way, "--mount", "/probe", *words)
            assert got == code, (words, got, out, err)
            return out if code == 0 else err
        for room in ("tea", "a b"):
            assert tell("join", one.id, room) == "" and tell("join", one.id, room) == ""
        assert sorted(json.loads(tell("--json", "rooms", one.id))["rooms"]) == ["a b", "tea"]
        assert tell("leave", one.id, "tea") == "" and "tea" not in tell("rooms", one.id)
        assert tell("leave_all", one.id) == "" and tell("leave_all", one.id) == ""
        assert "nobody is in a room a b" in tell("members", "a b", code=1)
        assert tell("info", one.id, "grüße", "--user", "anna") == "" and tell("info", two.id, "--user", "anna") == ""
        assert tell("join", one.id, "tea") == "" and tell("join", two.id, "tea") == ""
        assert json.loads(tell("--json", "users", "tea"))["users"] == [{"user": "anna", "connections": 2}] and "nobody is in a room empty" in tell("users", "empty", code=1)
        assert [c["user"] for c in json.loads(tell("--json", "connections"))["connections"]] == ["anna", "anna"]
        for words in (("leave_all", "A" * 22), ("join", "A" * 22, "tea"), ("info", "A" * 22, "x")):
            assert "there is no connection " + "A" * 22 in tell(*words, code=1)
        for words, said in ((("info", one.id), "expected TEXT"), (("join", one.id), "expected: tova-ctl join CONN ROOM"), (("leave_all", one.id, "--user", "x"), "trace and info")):
            assert said in tell(*words, code=2)
        for words, said in ((("join", one.id, "x" * 256), "room"), (("info", one.id, "x" * 1025), "1,024 bytes"), (("info", "zzz", "x"), "no connection's id")):
            assert said in tell(*words, code=1)


def test_close(running, probe):
    one, two, three = probe.clients(3)
    running("--mount", "/probe", "close", one.id)
    running("--mount", "/probe", "close", two.id, "4321")
    running("--mount", "/probe", "close", three.id, "1008", "wröng")
    one.expect_close(None)
    two.expect_close(4321)
    three.expect_close(1008, "wröng")
    assert running.refused("--mount", "/probe", "close", one.id, "1002")


def test_close_a_room(running, probe):
    """All that are in it, and nobody else."""
    one, two, other = probe.clients(3)
    for ws in (one, two):
        ws.script("join tea", "send joined")
        assert ws.recv_text() == "joined"
    assert running("--mount", "/probe", "close", "--room", "tea", "4321", "for all").split() == ["receivers", "2"]
    one.expect_close(4321, "for all")
    two.expect_close(4321, "for all")
    other.settle()
    assert "nobody is in a room tea at /probe" in running.refused("--mount", "/probe", "close", "--room", "tea")
    for words in (("close",), ("close", "--room", "tea", "none"), ("close", "--room", "tea", "4000", "x", "y"), ("members", "tea", "--room", "x")):
        assert running.refused(*words, code=2)


def test_several_mounts_want_a_name(running):
    assert "name one, with -m PATH; expected /probe or /other" in running.refused("broadcast", "x")
    assert "no such mount" in running.refused("--mount", "/nowhere", "broadcast", "x")


# --- asking ---------------------------------------------------------------------------------------------------------------------

def test_lists(running, probe):
    one, two = probe.clients(2)
    one.script("join tea", "join ä b", "send joined")
    assert one.recv_text() == "joined"
    assert {line.split()[0] for line in running("--mount", "/probe", "connections").splitlines()[1:]} == {one.id, two.id}
    assert running.json("--mount", "/other", "connections") == {"connections": []}
    everywhere = running.json("connections")["connections"]
    assert {c["conn"] for c in everywhere} == {one.id, two.id} and {c["mount"] for c in everywhere} == {"/probe"}
    assert sorted(running("--mount", "/probe", "rooms", one.id).splitlines()) == ["tea", "ä b"]
    assert running("--mount", "/probe", "members", "tea") == one.id + "\n"
    rooms = running.json("rooms")["rooms"]
    assert {(r["room"], r["members"]) for r in rooms} == {("tea", 1), ("ä b", 1)}
    assert {(m["path"], m["connections"]) for m in running.json("mounts")["mounts"]} == {("/probe", 2), ("/other", 0)}
    assert running.json("stats")["stats"]["connections"] == 2
    assert running.json("workers") == {"workers": []}


def test_slow_connections_and_keys(tmp_path):
    with Host("--plugin", "/relay=relay.so", "--slow-policy", "conflate", "--max-queue", "4k", "--control", str(tmp_path / "control"),
              "--listen", "127.0.0.1:0", "--listen", f"unix:{tmp_path}/web") as host:
        def run(*words):
            code, out, err = ctl("--control", str(tmp_path / "control"), *words)
            assert code == 0, err
            return out
        slow, well = WebSocket(f"unix:{tmp_path}/web"), connect("127.0.0.1", host.port, "/relay/room/a")
        slow.handshake("/relay/room/a")
        assert json.loads(run("--json", "slow"))["connections"] == []
        for i in range(100):
            (tmp_path / "text").write_text(f"{i} " + "x" * 10000)
            run("--file", str(tmp_path / "text"), "--key", "k", "broadcast_to", "a")
            assert well.recv_text().startswith(f"{i} ")
        row, = json.loads(run("--json", "slow"))["connections"]
        assert row["mount"] == "/relay" and row["remote"] == "unix" and row["waiting"] > 4096 and row["dropped"] > 0
        assert run("slow").splitlines()[0].split() == ["conn", "mount", "path", "user", "remote", "age_ms", "rooms", "events", "waiting", "dropped"]
        seen = []
        while not seen or seen[-1] != 99:
            seen.append(int(slow.recv_text().split(" ")[0]))
        assert len(seen) == 100 - row["dropped"]
        slow.drop()
        well.drop()


def test_whose_connections_they_are(tmp_path):
    """The path that was asked for, without what stands behind the ?, the token's user, and how long it has been there."""
    (tmp_path / "key").write_bytes(SECRET)
    (tmp_path / "key").chmod(0o600)
    with Host("--plugin", "/chat=echo", "--jwt-key", tmp_path / "key", "--jwt-from", "query=token", "--control", tmp_path / "control") as host:
        long = "/chat/" + "ä" * 300
        for path in ("/chat", "/chat/a%20b", "/chat/" + "%C3%A4" * 300):
            ws = connect("127.0.0.1", host.port, f"{path}?token={hs256(claims(sub='anna'))}&more=x")
            ws.send_text("x")
            row = wait_until(lambda: next((c for c in json.loads(ctl("--json", "connections", control=tmp_path / "control")[1])["connections"] if c["events"] > 1), None),
                             "its message was handled")
            assert row["user"] == "anna" and row["path"] in ("/chat", "/chat/a b", long[:6] + "ä" * 124) and "token" not in json.dumps(row)
            assert 0 <= row["age_ms"] < 1000 * PATIENCE and row["age_ms"] % 100 == 0
            wait_until(lambda: json.loads(ctl("--json", "connections", control=tmp_path / "control")[1])["connections"][0]["age_ms"] > row["age_ms"], "it grows older")
            ws.drop()
            wait_until(lambda: json.loads(ctl("--json", "connections", control=tmp_path / "control")[1])["connections"] == [], "it has gone")


def test_top(running, probe):
    one = probe.client()
    looks = [json.loads(line) for line in running("--json", "top", "1", "2").splitlines()]
    assert len(looks) == 2 and looks[1]["uptime_ms"] > looks[0]["uptime_ms"]
    assert looks[1]["now"]["connections"] == 1 and {m["path"] for m in looks[1]["mounts"]} == {"/probe", "/other"}
    asked = subprocess.Popen([BUILD / "tova-ctl", "--control", running.control, "--json", "top", "1"], stdout=subprocess.PIPE, text=True)
    json.loads(asked.stdout.readline())
    for _ in range(50):
        one.settle()
    assert wait_until(lambda: json.loads(asked.stdout.readline())["per_second"]["messages_in"], "messages are seen") > 0
    asked.terminate()
    asked.wait()
    shown = running("top", "1", "2")
    assert shown.count("messages in ") == 2 and "/probe" in shown and "\033" not in shown
    for words in (("top", "0"), ("top", "x"), ("--", "top", "1", "-1"), ("--mount", "/probe", "top")):
        assert "top" in running.refused(*words, code=2)


def test_top_on_a_terminal(running):
    """It is written over what was there before."""
    import pty
    leader, follower = pty.openpty()
    done = subprocess.run([BUILD / "tova-ctl", "--control", running.control, "top", "1", "1"], stdout=follower, check=True)
    os.close(follower)
    assert done.returncode == 0 and os.read(leader, 65536).startswith(b"\033[H\033[2J")
    os.close(leader)


def test_mounts_and_what_serves_them(tmp_path):
    with Host("--plugin", "/plugin=echo", "--worker", "/worker=exec python3 -B -c 'import sys; sys.path.insert(0, \"sdk/python\"); from tova import serve; serve({\"on_message\": lambda ws, m: None})'",
              "--script", "/script=exec cat", "--attach", f"/attach=ipc://{tmp_path}/a", "--control", tmp_path / "control", cwd=ROOT) as host:
        told = lambda: {m.pop("path"): m for m in json.loads(ctl("--json", "mounts", control=tmp_path / "control")[1])["mounts"]}  # noqa: E731
        wait_until(lambda: told()["/worker"]["processes"] == 1, "the worker is ready")
        ws = connect("127.0.0.1", host.port, "/script")
        ws.send_text("x")
        assert ws.recv_text() == "x"
        mounts = told()
        assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", mounts[served].pop("deployed")) for served in ("/plugin", "/script", "/worker"))
        assert mounts["/plugin"] == {"handler": "plugin", "what": "echo 1.0", "connections": 0, "rooms": 0}
        assert (mounts["/worker"]["handler"], mounts["/worker"]["processes"]) == ("worker", 1) and "tova" in mounts["/worker"]["what"]
        assert mounts["/script"] == {"handler": "script", "what": "exec cat", "processes": 1, "connections": 1, "rooms": 0}
        assert (mounts["/attach"]["handler"], mounts["/attach"]["what"], mounts["/attach"]["processes"]) == ("attach", f"ipc://{tmp_path}/a", 0)
        assert ctl("mounts", control=tmp_path / "control")[1].splitlines()[0].split() == ["path", "handler", "what", "deployed", "connections", "rooms", "processes"]
        ws.end()
    with Host("--plugin", "echo", "--isolate", "--control", tmp_path / "control") as host:
        mount, = json.loads(ctl("--json", "mounts", control=tmp_path / "control")[1])["mounts"]
        assert mount["handler"] == "isolated plugin" and mount["what"].endswith("/echo.so")


def test_a_host_without_mounts(tmp_path):
    """One that serves files only can be asked as well."""
    with Host("--static", tmp_path, "--control", tmp_path / "control"):
        for words in ("stats", "mounts", "workers", "connections", "rooms", "slow", "reload"):
            assert ctl(words, control=tmp_path / "control")[::2] == (0, "")
        assert "this host has no mount" in ctl("broadcast", "x", control=tmp_path / "control")[2]
        assert "there is no such mount as /a" in ctl("--mount", "/a", "stats", control=tmp_path / "control")[2]


def test_tables_are_aligned(running, probe):
    one = probe.client()
    one.script("join äöü", "join a", "send joined")
    assert one.recv_text() == "joined"
    lines = running("rooms").splitlines()
    assert lines[0].split() == ["room", "mount", "members"]
    assert len({line.index("/probe") for line in lines[1:]}) == 1


def test_what_clients_choose_does_not_reach_the_terminal(running, probe):
    one = probe.client()
    one.script("join %1b[31m", "send joined")
    assert one.recv_text() == "joined"
    assert "\x1b" not in running("--mount", "/probe", "rooms", one.id)
    assert running.json("--mount", "/probe", "rooms", one.id)["rooms"] == ["\x1b[31m"]


TRICKS = {"C1": "a\u009b31mb", "CSI and bell": "\u0085\x07", "bidi": "evil\u202egnp.exe", "isolate": "\u2066x\u2069", "mark": "\u200f", "line": "a\u2028b",
          "unseen": "ad\u200bmin", "tag": "x\U000e0041", "DEL": "\x7f", "quote": '"a"', "empty-looking": "\ufeff"}


@pytest.mark.parametrize("name", TRICKS.values(), ids=TRICKS.keys())
def test_no_character_of_a_client_makes_a_name_look_like_another(running, probe, name):
    """In tables, lists, JSON and refusals it is escaped, so that it can be told from any other name, and JSON means what it meant."""
    one = probe.client()
    one.script("join " + "".join(f"%{b:02x}" for b in name.encode()), "send joined")
    assert one.recv_text() == "joined"
    for words in (["rooms"], ["--mount", "/probe", "rooms", one.id]):
        for out in (running(*words), running("--json", *words)):
            assert not any(c in out.replace("\n", "") for c in name if not c.isascii() or not c.isprintable()), ascii(out)
        rooms = [r["room"] if isinstance(r, dict) else r for r in running.json(*words)["rooms"]]
        assert name in rooms
    shown = json.dumps(name).replace("\x7f", "\\u007f")
    assert shown in running("rooms")
    assert not any(c in running.refused("--mount", f"/{name}", "stats") for c in name if not c.isascii())
    one.script("leave " + "".join(f"%{b:02x}" for b in name.encode()), "send left")
    assert one.recv_text() == "left"


# --- doing ----------------------------------------------------------------------------------------------------------------------

def test_reload_and_drain(tmp_path):
    directory = tempfile.mkdtemp(prefix="tova-ctl-")
    control = f"{directory}/control.sock"
    with Host("--plugin", "/chat=chat", "--control", control) as host:
        mark = len(host.lines)
        assert ctl("reload", control=control) == (0, "", "")
        host.wait_log(lambda line: line.get("kind") == "reload", "the reload", after=mark)
        assert ctl("drain", control=control) == (0, "", "")
        assert host.wait_exit() == 0
    shutil.rmtree(directory)


def test_an_isolated_plugin_can_be_reloaded():
    directory = tempfile.mkdtemp(prefix="tova-ctl-")
    control = f"{directory}/control.sock"
    shutil.copy(plugin("probe"), f"{directory}/probe.so")
    with Host("--isolate", "--plugin", f"/probe={directory}/probe.so", "--workers", "2", "--control", control):
        def pids():
            told = json.loads(ctl("--json", "workers", control=control)[1])["workers"]
            return {w["pid"] for w in told if w["state"] == "ready"}
        before = wait_until(lambda: len(pids()) == 2 and pids(), "two workers")
        os.remove(f"{directory}/probe.so")
        shutil.copy(plugin("probe_v2"), f"{directory}/probe.so")
        assert ctl("reload", control=control)[0] == 0
        wait_until(lambda: len(pids()) == 2 and not pids() & before, "two others")
    shutil.rmtree(directory)


PROGRAM = 'server {{\n  ws {{\n    on_message fn(ws, m) {{ ws.send("{0} " + m{1}) }}\n  }}\n}}\n'


def answer_of(host):
    with connect("127.0.0.1", host.port, "/") as ws:
        ws.send_text("x")
        return ws.recv_text()


def test_a_deploy_waits_for_what_becomes_of_it(tmp_path):
    """The exit code is what a script needs, and the fault of a program is told with its file, line and column."""
    control, program = tmp_path / "control", tmp_path / "chat.tova"
    program.write_text(PROGRAM.format("one", ""))
    with Host(program, "--control", control) as host:
        host.expect(lambda line: line.get("message") == "the plugin was not replaced, the old one goes on")
        assert ctl("reload", "--wait", control=control)[0] == 0 and answer_of(host) == "one x"
        program.write_text(PROGRAM.format("two", ""))
        code, out, err = ctl("reload", "--wait", "/", control=control)
        assert (code, err) == (0, "") and out.split() == ["mount", "outcome", "/", "replaced"] and answer_of(host) == "two x"
        program.write_text(PROGRAM.format("three", " +"))
        code, out, err = ctl("reload", "--wait", control=control)
        assert code == 1 and "failed" in out and "the old one goes on" in err and "chat.tova:3:50: " in err, (out, err)
        assert answer_of(host) == "two x"
        told = json.loads(ctl("--json", "reload", "--wait", "/", control=control)[1])
        assert told["mounts"][0]["outcome"] == "failed" and "chat.tova:3:50: " in told["error"]
        for words, said in ((("reload", "/nosuch", "--wait"), "no such mount as /nosuch; expected /"), (("reload", "/nosuch"), "no such mount as /nosuch")):
            code, _, err = ctl(*words, control=control)
            assert code == 1 and said in err
        program.write_text(PROGRAM.format("four", ""))
        assert ctl("reload", "/", control=control) == (0, "", "")
        wait_until(lambda: answer_of(host) == "four x", "it is reloaded without anybody who waits")


WORKER = """import sys, time; sys.path.insert(0, {path!r}); from tova import serve
time.sleep({sleep})
serve({{"on_message": lambda ws, m: ws.send("{name} " + m)}})
"""


def test_a_worker_that_does_not_come_up(tmp_path):
    """One that dies at once is told with how it died; one that takes longer than the script waits is neither up nor failed."""
    control, program = tmp_path / "control", tmp_path / "worker.py"
    text = lambda **more: WORKER.format(**{"path": str(ROOT / "sdk/python"), "sleep": 0, "name": "one", **more})  # noqa: E731
    program.write_text(text())
    with Host("--worker", f"exec python3 -B {program}", "--control", control, "--start-attempts", "1", "--ready-timeout", "20s") as host:
        host.expect(lambda line: line.get("message") == "the new workers did not come up, the old ones go on")
        wait_until(lambda: answer_of(host) == "one x", "it serves")
        program.write_text(text(name="two"))
        assert ctl("reload", "--wait", control=control)[0] == 0 and answer_of(host) == "two x"
        program.write_text("import sys; sys.exit(7)")
        code, out, err = ctl("reload", "--wait", "/", control=control)
        assert code == 1 and "7" in err and "failed" in out, (out, err)
        assert answer_of(host) == "two x"
        program.write_text(text(name="three", sleep=3))
        code, out, err = ctl("reload", "--wait", "--timeout", "1", control=control)
        assert code == 3 and out == "" and "does not answer" in err, (out, err)
        wait_until(lambda: answer_of(host) == "three x", "it comes up all the same")


# --- over HTTP ------------------------------------------------------------------------------------------------------------------

def test_the_same_over_http(tmp_path):
    """Commands and answers are those of the socket; what is wrong with the way there is said."""
    with Host("--plugin", f"/probe={plugin('probe')}", "--api", "127.0.0.1:0", "--api", f"unix:{tmp_path}/api", *tokens(tmp_path, "publish", "admin"), "--control", tmp_path / "control") as host, \
            Probe(host) as opener:
        one = opener.client()
        one.script("join tea", "send joined")
        assert one.recv_text() == "joined"
        url = f"http://{address(host)}"
        for way in (["--url", url], ["--url", url + "/"], ["--url", f"unix:{tmp_path}/api"]):
            def http(*words, token="token-1", code=0, way=way, **how):
                got, out, err = ctl(*way, "--token-file", tmp_path / token, *words, **how)
                assert got == code, (words, got, out, err)
                return out if code == 0 else err
            assert http("broadcast_to", "tea", "for tea").split() == ["receivers", "1"] and one.recv_text() == "for tea"
            assert http("--binary", "--file", "-", "send", one.id, data=b"\0\n\xff") == "" and one.recv_binary() == b"\0\n\xff"
            assert json.loads(http("--json", "broadcast", "x")) == {"receivers": 1} and one.recv_text() == "x"
            for words in (["mounts"], ["connections"], ["--mount", "/probe", "connections"], ["rooms"], ["rooms", one.id], ["members", "tea"], ["workers"], ["slow"],
                          ["--json", "rooms"], ["--json", "members", "tea"], ["--json", "rooms", one.id]):
                wait_until(lambda words=words: http(*words) == ctl(*words, control=tmp_path / "control")[1], f"{words} are the same")
            assert json.loads(http("--json", "stats"))["stats"].keys() == json.loads(ctl("--json", "stats", control=tmp_path / "control")[1])["stats"].keys()
            assert json.loads(http("--json", "top", "1", "1"))["now"]["connections"] == 1
            for words in (["members", "empty"], ["rooms", "A" * 22], ["close", "A" * 22]):
                assert http(*words, code=1) == ctl(*words, control=tmp_path / "control")[2], words
            assert http("reload") == "" and "unchanged" in http("reload", "--wait", "/probe")
            assert "no such mount as /no" in http("reload", "/no", code=1) and "unknown" not in http("dead-letter", "replay", "x:1", code=1)
            assert "nobody is in a room empty" in http("broadcast_to", "empty", "x", code=1)
            assert "there is no connection " + "A" * 22 in http("send", "A" * 22, "x", code=1)
            assert "no such mount as /no; expected /probe" in http("--mount", "/no", "broadcast", "x", code=1)
            for words in (["mounts"], ["top", "1", "1"]):
                assert "the host refuses: this token is not enough" in http(*words, token="token-0", code=1)
        (tmp_path / "wrong").write_text("wrong-secret-0123456789")
        (tmp_path / "empty").write_text("")
        for words, code, said in ((("--token-file", tmp_path / "wrong"), 1, "the token is wrong"), ((), 1, "a token is needed"), (("--token-file", tmp_path / "empty"), 2, "this is no token"),
                                  (("--token-file", tmp_path / "none"), 2, "No such file")):
            got, out, err = ctl("--url", url, *words, "mounts")
            assert got == code and out == "" and said in err, (words, got, err)
        assert all(secret not in line for secret in TOKENS.values() for line in host.log_text().splitlines())
    for words, code, said in ((("--url", "ftp://x"), 2, "expected http://"), (("--url", "http://u:p@x"), 2, "expected http://"), (("--url", url), 1, "connect"),
                              (("--url", url, "--control", "x"), 2, "one of them"), (("--token-file", "x"), 2, "for --url"), (("--url", f"unix:{tmp_path}/none"), 1, f"{tmp_path}/none: ")):
        got, out, err = ctl(*words, "mounts")
        assert got == code and out == "" and said in err, (words, got, err)
    with Host("--plugin", "echo", "--static", tmp_path) as host:  # it speaks HTTP, and is no API
        got, out, err = ctl("--url", f"http://127.0.0.1:{host.port}", "mounts")
        assert got == 1 and "no JSON" in err


def test_long_lists_over_http(tmp_path):
    """Page after page, and nobody is left out or told twice."""
    with Host("--plugin", BUILD / "plugins/relay.so", "--api", "127.0.0.1:0", "--control", tmp_path / "control") as host:
        clients = [connect("127.0.0.1", host.port, f"/room/{n % 700}") for n in range(1100)]
        url = f"http://{address(host)}"
        for what in ("connections", "rooms"):
            def rows(*way, what=what):
                return sorted(json.dumps({k: v for k, v in row.items() if k != "age_ms"}) for row in json.loads(ctl(*way, "--json", what)[1])[what])
            wait_until(lambda rows=rows: len(rows("--url", url)) == len(rows("--control", tmp_path / "control")) > 600, "all are there")
            assert rows("--url", url) == rows("--control", tmp_path / "control")
        assert ctl("--url", url, "drain") == (0, "", "")
        for ws in clients:
            ws.drop()
        assert host.wait_exit() == 0


def test_https(tmp_path):
    """Whom to trust is the system's word, or a file's."""
    made = Certificates(tmp_path).make("one", "localhost").make("other", "localhost")
    with Host("--plugin", "echo", "--api", "127.0.0.1:0,tls", *tokens(tmp_path, "admin"), *made.args("one")) as host:
        url, token = f"https://localhost:{address(host).rpartition(':')[2]}", ["--token-file", tmp_path / "token-0"]
        code, out, err = ctl("--url", url, *token, "--ca", made.cert("one"), "--json", "mounts")
        assert code == 0 and json.loads(out)["mounts"][0]["path"] == "/", err
        for words in ((), ("--ca", made.cert("other"))):
            code, out, err = ctl("--url", url, *token, *words, "mounts")
            assert code == 1 and out == "" and "certificate" in err, err
        code, _, err = ctl("--url", url.replace("localhost", "127.0.0.1"), *token, "--ca", made.cert("one"), "mounts")
        assert code == 1 and "127.0.0.1" in err


POISONED = "my ($event) = @_;"


def test_dead_letters(running):
    assert "dead-letter" in running.refused("dead-letter", "list")
    directory = Path(tempfile.mkdtemp(prefix="tova-ctl-"))
    control, worker = directory / "control.sock", directory / "worker.pl"
    code = (ROOT / "examples/raw/worker.pl").read_text()
    assert code.count(POISONED) == 1
    worker.write_text(code.replace(POISONED, POISONED + f" kill 'KILL', $$ if $event->{{data}} =~ /poison/ && !-e '{directory}/cured';"))
    with Host("--worker", f"/chat=perl {worker}", "--workers", "2", "--max-attempts", "1", "--dead-letter", directory / "letters",
              "--control", control, "--close-timeout", "200ms") as host:
        host.expect(lambda line: line.get("level") == "error")

        def letters():
            return json.loads(ctl("--json", "dead-letter", "list", control=str(control))[1])["dead_letters"]

        assert letters() == []
        with connect("127.0.0.1", host.port, "/chat") as ws:
            assert "Welcome" in ws.recv_text()
            ws.send_text("poison")
            assert json.loads(ws.recv_text())["type"] == "error"
            letter, = wait_until(letters, "a letter")
            assert letter["data"] == "poison" and letter["id"] in ctl("dead-letter", "list", control=str(control))[1]
            (directory / "cured").touch()
            code, _, err = ctl("dead-letter", "replay", letter["id"], control=str(control))
            assert code == 0, err
            assert json.loads(ws.recv_text())["text"] == "A message is a JSON object"
            wait_until(lambda: letters() == [], "no letter")
    shutil.rmtree(directory)
