"""Where events go: --route, --workers of a mount, and workers that are replaced after --max-events or beyond --max-rss."""
import os
import signal
import subprocess
import time

import pytest

from control import ctl_json, workers
from supervised import PYTHONPATH
from tokens import SECRET, claims, hs256
from tova_host import BUILD, IMPATIENT, Host, wait_until
from wsclient import connect

WORKER = """
import os
import tova

hoard = []

def on_message(ws, message):
    word, _, rest = message.partition(" ")
    if word == "join":
        tova.join(ws, rest)
    elif word == "leave":
        tova.leave(ws, rest)
    elif word == "grow":
        hoard.append(bytearray(int(rest)))
    ws.send(f"{os.getpid()} {message}")

tova.serve(globals())
"""


@pytest.fixture
def served(tmp_path):
    """A function that starts a host with this worker at these mounts."""
    (tmp_path / "worker.py").write_text(WORKER)
    hosts = []

    def start(*args, mounts=("/",), ready=1):
        given = [a for mount in mounts for a in ("--worker", f"{mount}=exec python3 {tmp_path}/worker.py")]
        host = Host(*given, *IMPATIENT, *args, env=PYTHONPATH)
        host.start()
        hosts.append(host)
        wait_until(lambda: sum(w["state"] == "ready" for w in workers(host.control_socket)) == ready, "its workers are ready")
        return host

    yield start
    for host in hosts:
        host.__exit__(None, None, None)


class Client:
    def __init__(self, host, path="/", **how):
        self.ws = connect("127.0.0.1", host.port, path, **how)

    def ask(self, text="who"):
        """The process that answers."""
        self.ws.send_text(text)
        pid, _, said = self.ws.recv_text().partition(" ")
        assert said == text
        return int(pid)


def stat(host, name):
    return ctl_json(host.control_socket, "stats")["stats"][name]


# --- keys -----------------------------------------------------------------------------------------------------------------------

def spread(clients, keys):
    """The process of each key, which is one."""
    found = {}
    for client, key in zip(clients, keys):
        found.setdefault(key, set()).add(client.ask())
    assert all(len(pids) == 1 for pids in found.values()), found
    return {key: pids.pop() for key, pids in found.items()}


def test_those_of_one_path_have_one_worker(served):
    host = served("--route", "path", "--workers", "3", ready=3)
    keys = [f"/doc/{n % 12}" for n in range(48)]
    clients = [Client(host, f"{key}?n={n}") for n, key in enumerate(keys)]
    first = spread(clients, keys)
    assert len(set(first.values())) == 3  # 12 keys, and nobody has them all
    assert spread(clients, keys) == first
    victim = first[keys[0]]
    os.kill(victim, signal.SIGKILL)
    host.wait_log(lambda line: line.get("message") == "a worker died")  # what was under way would be given to another one alone
    second = spread(clients, keys)
    assert all(second[k] == pid for k, pid in first.items() if pid != victim), "who lives keeps what it has"
    wait_until(lambda: sum(w["state"] == "ready" for w in workers(host.control_socket)) == 3, "another one is ready")
    assert spread(clients, keys) == second  # a new one takes nothing from those that live
    late = Client(host, keys[5])
    assert late.ask() == second[keys[5]]


def test_those_of_one_user_have_one_worker(served, tmp_path):
    key = tmp_path / "key"
    key.write_bytes(SECRET)
    key.chmod(0o600)
    host = served("--route", "user", "--workers", "3", "--jwt-key", str(key), ready=3)
    users = [f"user {n % 9}" for n in range(27)]
    clients = [Client(host, f"/{n}", headers=[("Authorization", "Bearer " + hs256(claims(sub=user)))]) for n, user in enumerate(users)]
    assert len(set(spread(clients, users).values())) > 1


def test_those_of_one_room_have_one_worker(served):
    """By the first that it has joined, from the next event on."""
    host = served("--route", "room", "--workers", "3", ready=3)
    rooms = [f"room {n % 9}" for n in range(27)]
    clients = [Client(host) for _ in rooms]
    for client, room in zip(clients, rooms):
        client.ask("join " + room)
    for client in clients:
        client.ask("join another")
    first = spread(clients, rooms)
    assert len(set(first.values())) > 1
    clients[0].ask("leave " + rooms[0])
    others = {client.ask() for client, room in zip(clients[1:], rooms[1:]) if room == rooms[0]}
    assert others == {first[rooms[0]]}
    assert all(len({clients[0].ask() for _ in range(3)}) == 1 for _ in range(2))


def test_each_mount_has_its_own(served):
    host = served("--workers", "2", "--workers", "/b=1", "--route", "/b=path", mounts=("/a", "/b"), ready=3)
    mine = [w["mount"] for w in workers(host.control_socket)]
    assert mine.count("/a") == 2 and mine.count("/b") == 1
    clients = [Client(host, "/a/x") for _ in range(6)]
    assert len({client.ask() for client in clients}) == 2  # by connections, in turn


def test_it_can_be_changed(served, tmp_path):
    config = tmp_path / "host.conf"
    config.write_text('route = "connection"; workers = 2;')
    host = served("--config", str(config), ready=2)
    clients = [Client(host, "/same") for _ in range(6)]
    assert len({client.ask() for client in clients}) == 2
    config.write_text('route = "path"; workers = 2;')
    host.signal(signal.SIGHUP)
    host.wait_log(lambda line: line.get("message") == "the settings were read again")
    wait_until(lambda: len({client.ask() for client in clients}) == 1, "they have one worker")


# --- a worker that has done its share -------------------------------------------------------------------------------------------

def test_a_worker_is_replaced_after_so_many_events(served):
    """Nobody notices: all is answered, in order, nothing is delivered twice, nobody has died."""
    host = served("--workers", "2", "--max-events", "40", ready=2)
    clients = [Client(host) for _ in range(4)]
    pids, n = set(), 0
    end = time.monotonic() + 60
    while len(pids) < 5 and time.monotonic() < end:
        for client in clients:
            client.ws.send_text(f"say {n}")
        for client in clients:
            pid, _, said = client.ws.recv_text().partition(" ")
            assert said == f"say {n}"
            pids.add(int(pid))
        n += 1
    assert len(pids) >= 5
    assert stat(host, "redelivered") == 0 and stat(host, "worker_deaths") == 0
    assert host.wait_log(lambda line: "--max-events" in line.get("message", ""))["events"] >= 40
    wait_until(lambda: len(workers(host.control_socket)) == 2, "there are two again")


def test_a_worker_that_grows_is_replaced(served):
    host = served("--max-rss", "150m")
    client = Client(host)
    first = client.ask()
    client.ask("grow 200000000")
    line = host.wait_log(lambda line: "--max-rss" in line.get("message", ""))
    assert line["rss"] > 150 << 20
    wait_until(lambda: client.ask() != first, "another one answers")
    assert stat(host, "worker_deaths") == 0


def test_the_old_one_goes_on_while_no_new_one_comes(served, tmp_path):
    host = served("--max-events", "3")
    client = Client(host)
    first = client.ask()
    good = (tmp_path / "worker.py").read_text()
    (tmp_path / "worker.py").write_text("raise SystemExit('no')")
    for _ in range(5):
        client.ask()
    host.wait_log(lambda line: line.get("message") == "a worker died")
    assert client.ask() == first
    (tmp_path / "worker.py").write_text(good)
    wait_until(lambda: client.ask() != first, "a new one has come")


def test_the_old_one_dies_before_the_new_one_comes(served, tmp_path):
    """Then that is the one: there are not more of them in the end."""
    host = served("--max-events", "3")
    client = Client(host)
    first = client.ask()
    (tmp_path / "worker.py").write_text("import time\ntime.sleep(1)\n" + WORKER)
    for _ in range(4):
        client.ask()
    host.wait_log(lambda line: "--max-events" in line.get("message", ""))
    os.kill(first, signal.SIGKILL)
    assert client.ask() != first
    wait_until(lambda: len(workers(host.control_socket)) == 1, "there is one")


@pytest.mark.parametrize("args, expected", [
    (["--route", "random"], "connection, path, user or room"), (["--workers", "/a=0"], "1 to 1000"), (["--max-events", "3k"], "a number"),
    (["--max-rss", "x"], "a number with k, m or g")])
def test_what_is_wrong_is_said(args, expected):
    done = subprocess.run([BUILD / "tova-host", "--worker", "cat", *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 2 and args[0] in done.stdout and expected in done.stdout, done.stdout
