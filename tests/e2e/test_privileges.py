"""--user and --group: a host that root starts has its doors and keys, and is nobody much from then on. These need root themselves."""
import grp
import os
import pwd
import shutil
import socket
import stat
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from certificates import Certificates, tls
from probe import plugin
from tokens import SECRET, claims, hs256
from tova_host import BUILD, Host, wait_until
from wsclient import connect, refused, upgrade_headers

NOBODY = pwd.getpwnam("nobody")
root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def place():
    """A folder that everybody may enter, with the programs, for they may lie where others than root may not go."""
    folder = Path(tempfile.mkdtemp(prefix="tova-user-"))
    folder.chmod(0o755)
    for name in ("tova-host", "tova-worker", "tova-ctl"):
        shutil.copy2(BUILD / name, folder)
    shutil.copy2(plugin("probe"), folder / "probe.so")
    yield folder
    shutil.rmtree(folder)


@contextmanager
def started(place, *arguments, log_file=None, **how):
    """log_file: where the log is, if it is not where a host's is."""
    host = Host(*arguments, cwd=place, **how)
    host.binary = place / "tova-host"
    if log_file is not None:
        host.start(wait=False)
        wait_until(lambda: not host.alive() or (log_file.exists() and '"started"' in log_file.read_text()), "it has started")
        assert host.alive(), host.log_text()
        yield host
        host.stop()
        return
    with host:
        host.wait_log(lambda line: line.get("message") == "started")  # it listens while it is still root
        yield host


def facts(pid, thread=None):
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/task/{thread or pid}/status").read_text().splitlines())
    return {name: lines[name].split() for name in ("Uid", "Gid", "Groups", "CapEff", "CapPrm", "CapAmb", "NoNewPrivs")}


def are_nobodys(pid):
    """All of its threads."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        seen = facts(pid, thread)
        assert set(seen["Uid"]) == {str(NOBODY.pw_uid)} and set(seen["Gid"]) == {str(NOBODY.pw_gid)} and seen["Groups"] == [], seen
        assert all(int(seen[name][0], 16) == 0 for name in ("CapEff", "CapPrm", "CapAmb")), seen
    assert facts(pid)["NoNewPrivs"] == ["1"]


def owner(path):
    found = os.lstat(path)
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


def as_nobody(place, *words, groups=()):
    """What nobody is told by tova-ctl, with these groups: exit code, and what it says."""
    done = subprocess.run([place / "tova-ctl", "--control", place / "control", *words], user=NOBODY.pw_uid, group=NOBODY.pw_gid, extra_groups=groups,
                          capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@root
@pytest.mark.parametrize("drops", [(), ("--user", "daemon")], ids=["root", "another user"])
def test_members_of_the_control_group_may_publish(place, drops):
    """A web application of another user pushes through the socket, and does nothing else there; nobody else does anything."""
    group = grp.getgrnam("www-data").gr_gid
    with started(place, *drops, "--control-group", "www-data", "--control", place / "control", "-p", f"/chat={place}/probe.so") as host:
        assert owner(place / "control") == (pwd.getpwnam("daemon").pw_uid if drops else 0, group, 0o660)
        with connect("127.0.0.1", host.port, "/chat") as ws:
            wait_until(lambda: as_nobody(place, "broadcast", "hello", groups=[group])[1].split() == ["receivers", "1"], "it is there")
            assert ws.recv_text() == "hello"
            for words in (["close", "A" * 22], ["stats"], ["mounts"], ["connections"], ["members", "x"], ["rooms"], ["drain"], ["reload"], ["reload", "--wait"],
                          ["dead-letter", "list"], ["dead-letter", "replay"], ["top", "1", "1"], ["join", "A" * 22, "x"], ["close", "--room", "x"], ["admin-url"],
                          ["trace", "--mount", "/chat"]):
                code, said = as_nobody(place, *words, groups=[group])
                assert code == 1 and ("nothing else" in said or "its scope is not enough" in said), (words, said)
            code, said = as_nobody(place, "send", "A" * 22, "x", groups=[group])
            assert code == 1 and "there is no connection" in said
            assert as_nobody(place, "broadcast", "x")[0] == 1  # the kernel turns it away
            (place / "control").chmod(0o666)
            assert as_nobody(place, "broadcast", "x")[0] == 1  # the host does
            assert host.wait_log(lambda line: "not of the group" in line.get("error", ""))
            code, said = as_nobody(place, "broadcast", "still", groups=[group])
            assert code == 0 and ws.recv_text() == "still", said
        own = subprocess.run([place / "tova-ctl", "--control", place / "control", "mounts"], capture_output=True, text=True, check=False)
        assert own.returncode == 0 and "/chat" in own.stdout


@root
def test_a_group_that_the_socket_can_not_have(place):
    """The host has to be of it, unless it is root."""
    for group, said in (("nosuchgroup", "there is no such group"), ("www-data", "given to the group")):
        done = subprocess.run([place / "tova-host", "-l", "0", "-p", place / "probe.so", "--control-group", group, "--control", "/tmp/tova-group-test"], user=NOBODY.pw_uid,
                              group=NOBODY.pw_gid, extra_groups=[], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and said in done.stderr and not os.path.exists("/tmp/tova-group-test"), done


@root
def test_all_that_it_is_afterwards(place):
    (place / "key").write_bytes(SECRET)
    (place / "key").chmod(0o600)
    with started(place, "--user", "nobody", "--threads", "3", "--control", place / "control", "--dead-letter", place / "letters", "--jwt-key", place / "key",
                 "--jwt-key", "/open=", "-x", "/open=id -u; id -G; echo $HOME $USER; exec cat", "--isolate", "-p", f"/in={place}/probe.so",
                 "-l", f"unix:{place}/door", "-l", "127.0.0.1:0", listen=()) as host:
        are_nobodys(host.pid)
        assert owner(place / "control") == (NOBODY.pw_uid, NOBODY.pw_gid, 0o600)
        assert owner(place / "door") == (NOBODY.pw_uid, NOBODY.pw_gid, 0o660)
        assert owner(place / "letters") == (NOBODY.pw_uid, NOBODY.pw_gid, 0o600)
        line = host.wait_log(lambda line: "no longer root" in line["message"])
        assert (line["user"], line["uid"], line["gid"]) == ("nobody", NOBODY.pw_uid, NOBODY.pw_gid)
        with connect(f"unix:{place}/door", target="/open") as script:
            assert [script.recv_text() for _ in range(3)] == [str(NOBODY.pw_uid), str(NOBODY.pw_gid), f"{NOBODY.pw_dir} nobody"]
            with connect("127.0.0.1", host.port, "/in", headers=[("Authorization", f"Bearer {hs256(claims())}")]) as ws:
                ws.send_text("send from the worker")
                assert ws.recv_text() == "from the worker"
            children = Path(f"/proc/{host.pid}/task/{host.pid}/children").read_text().split()
            assert children and not any(are_nobodys(pid) for pid in children)
        said = subprocess.run([place / "tova-ctl", "--control", place / "control", "workers"], capture_output=True, text=True, check=True).stdout
        assert "ready" in said, said
        # Nobody else of that user may look into it, where the keys are.
        looked = subprocess.run(["cat", f"/proc/{host.pid}/environ"], user="nobody", capture_output=True, check=False)
        assert looked.returncode != 0 and b"denied" in looked.stderr


@root
def test_a_reload_says_what_it_can_not_read(place):
    key = place / "key"
    key.write_bytes(SECRET)
    key.chmod(0o600)
    made = Certificates(place).make("shown", "localhost")
    with started(place, "--user", "nobody", "-p", f"/={place}/probe.so", "--jwt-key", key, *made.args("shown"),
                 listen=["127.0.0.1:0", "127.0.0.1:0,plain"]) as host:
        warned = {(line["option"], line["file"]) for line in host.lines if "a reload will not read this again" in line["message"]}
        assert warned == {("jwt-key", str(key)), ("tls-cert", made.cert("shown")), ("tls-key", made.key("shown"))}
        for said in ("what tokens must be is as before", "the certificates were not replaced"):
            host.expect(lambda line, said=said: said in line["message"] and "ermission denied" in line["error"])
        mark = host.reload()
        assert "Permission denied" in host.wait_log(lambda line: "what tokens must be is as before" in line["message"], after=mark)["error"]
        good = [("Authorization", f"Bearer {hs256(claims())}")]
        connect("127.0.0.1", host.port, headers=good, wrap=tls(made.cert("shown"))).end()
        plain = int(host.listening[1].rpartition(":")[2])
        connect("127.0.0.1", plain, headers=good, origin="http://localhost").end()
        # A page of the same name that came without TLS may be anybody's.
        answer = refused("127.0.0.1", host.port, lines=upgrade_headers(origin="http://localhost", extra=good), wrap=tls(made.cert("shown")))
        assert answer.status == 403
        key.write_bytes(b"another secret, also 32 bytes long")
        os.chown(key, NOBODY.pw_uid, 0)
        host.wait_log(lambda line: "the settings were read again" in line["message"], after=host.reload())
        wait_until(lambda: facts(host.pid)["Uid"][0] == str(NOBODY.pw_uid), "still nobody")
        assert refused("127.0.0.1", plain, lines=upgrade_headers(extra=good)).status == 401


@root
def test_what_is_there_is_not_given_away(place):
    """A link that somebody has put in the place of a file must not make that file theirs."""
    (place / "precious").write_text("x")
    (place / "precious").chmod(0o600)
    os.symlink(place / "precious", place / "log")
    with started(place, "--user", "nobody", "-x", "cat", "--dead-letter", place / "made") as host:
        assert owner(place / "made")[0] == NOBODY.pw_uid
        are_nobodys(host.pid)
    done = run(place, "--user", "nobody", "-x", "cat", "--dead-letter", place / "log")
    assert done.returncode == 2 and "--dead-letter" in done.stderr and "the user nobody can not write it: Permission denied" in done.stderr
    assert owner(place / "precious") == (0, 0, 0o600)


def run(place, *arguments, **how):
    return subprocess.run([place / "tova-host", "-l", "127.0.0.1:0", *map(str, arguments)], cwd=place, capture_output=True, text=True, timeout=60,
                          check=False, env={**os.environ, "XDG_RUNTIME_DIR": str(place)}, **how)


@root
@pytest.mark.parametrize("arguments, said", [
    (["--user", "nobody-of-that-name"], "--user: nobody-of-that-name: there is no such user"),
    (["--user", "nobody", "--group", "no-such-group"], "--group: no-such-group: there is no such group"),
    (["--user", "root"], "--user: root: that is the superuser"), (["--user", "0"], "that is the superuser"), (["--user", "00"], "that is the superuser"),
    (["--user", "nobody", "--group", "root"], "--group: root: its group is the superuser's"), (["--group", "nogroup"], "--group: nogroup: needs --user"),
    (["--user", "54321"], "--user: 54321: a number without an entry needs --group"), (["--user", "4294967295", "--group", "1"], "there is no such user"),
    (["--user", "-1", "--group", "1"], "there is no such user"), (["--user", "54321x", "--group", "1"], "there is no such user"), (["--user="], "no such user")])
def test_who_there_is_not(place, arguments, said):
    for more in ([], ["--check"]):
        done = run(place, "-x", "cat", *arguments, *more)
        assert done.returncode == 2 and said in done.stderr, done.stderr


@root
def test_numbers_and_who_is_not_root(place):
    with started(place, "--user", "54321", "--group", "54322", "-x", "cat") as host:
        assert facts(host.pid)["Uid"] == ["54321"] * 4 and facts(host.pid)["Gid"] == ["54322"] * 4
    done = run(place, "--user", "nobody", "-x", "cat", user="nobody")
    assert done.returncode == 2 and "only a host that root starts can become another user" in done.stderr, done.stderr


# --- what root must not be led to ----------------------------------------------------------------------------------------------------


@pytest.fixture
def users(place):
    """A folder of the user's own, and one of root's, with a file and a socket that are root's."""
    (place / "own").mkdir()
    os.chown(place / "own", NOBODY.pw_uid, NOBODY.pw_gid)
    (place / "roots").mkdir()
    (place / "roots/file").write_text("precious\n")
    (place / "roots/file").chmod(0o600)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(place / "roots/socket"))
        (place / "roots/socket").chmod(0o600)
    return place


def inventory(folder):
    return {path.name: (owner(path), path.lstat().st_ino, path.read_bytes() if path.is_file() else b"") for path in folder.iterdir()}


LED = {
    "a link to a file": ("file", lambda own, roots: (own / "x").symlink_to(roots / "file"), "own/x"),
    "a link to a file that is not there": ("file", lambda own, roots: (own / "x").symlink_to(roots / "new"), "own/x"),
    "a second name of a file": ("file", lambda own, roots: os.link(roots / "file", own / "x"), "own/x"),
    "a link in the place of a folder": ("file", lambda own, roots: (own / "logs").symlink_to(roots), "own/logs/new"),
    "and a file that is there": ("file", lambda own, roots: (own / "logs").symlink_to(roots), "own/logs/file"),
    "links of links": ("file", lambda own, roots: ((own / "a").symlink_to("b"), (own / "b").symlink_to("../roots")), "own/a/new"),
    "a socket of root's": ("socket", lambda own, roots: (own / "run").symlink_to(roots), "own/run/socket"),
    "a socket that is not there": ("socket", lambda own, roots: (own / "run").symlink_to(roots), "own/run/new"),
    "a link in the place of a socket": ("socket", lambda own, roots: (own / "x").symlink_to(roots / "file"), "own/x"),
}


@root
@pytest.mark.parametrize("case", LED.values(), ids=LED.keys())
def test_root_opens_nothing_where_the_user_decides_what_that_is(users, case):
    """The user has put a link into a folder of its own: nothing of root's is written, made, removed or given away, and the start is refused."""
    kind, make, path = case
    make(users / "own", users / "roots")
    before = inventory(users / "roots")
    for option in ("log-file", "dead-letter") if kind == "file" else ("control", "listen"):
        value = f"unix:{users}/{path}" if option == "listen" else users / path
        done = run(users, "--user", "nobody", "-x", "cat", f"--{option}", value)
        assert done.returncode == 2 and f"--{option}: {value}: " in done.stderr, (option, done)
        assert inventory(users / "roots") == before, option


@root
def test_where_the_user_may_write_and_where_root_may(users):
    """Files and sockets lie in the user's own folder, in one that everybody may write, or in one of root's, for whom they are made there."""
    shared = users / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (users / "link").symlink_to(users / "roots")  # in a folder of root's
    for folder in ("own", "shared", "roots", "link"):
        at = users / folder
        with started(users, "--user", "nobody", "-x", "cat", "--log-file", at / "log", "--dead-letter", at / "letters", "--control", at / "control",
                     "-l", f"unix:{at}/door", listen=(), log_file=at / "log"):
            for name in ("log", "letters", "control", "door"):
                assert owner(at / name)[:2] == (NOBODY.pw_uid, NOBODY.pw_gid), (folder, name)
        (at / "log").unlink()  # root's folder comes under two names
    # One that root has made before, where only root could, is still appended to.
    (users / "roots/old").write_text("before\n")
    (users / "roots/old").chmod(0o640)
    with started(users, "--user", "nobody", "-x", "cat", "--log-file", users / "roots/old", log_file=users / "roots/old"):
        pass
    assert (users / "roots/old").read_text().startswith("before\n") and "started" in (users / "roots/old").read_text()


@root
def test_a_config_file_that_the_user_can_change_is_warned_of(users):
    """Root reads it at the next start, and who the host becomes stands in it."""
    for folder, warned in (("own", True), ("roots", False)):
        (users / folder / "conf").write_text('user = "nobody";\nmount = ( { path = "/"; script = "cat"; } );\n')
        with started(users, "--config", users / folder / "conf") as host:
            assert any("may change this file" in line["message"] and line["option"] == "config" for line in host.lines) == warned
