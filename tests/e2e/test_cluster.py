"""Several hosts with one set of rooms, over a real redis-server: host/cluster/README.md."""
import contextlib
import json
import re
import struct
import subprocess
import threading
import time

import pytest

from api import Api
from probe import Probe, plugin
from redis_server import Redis
from tova_host import BUILD, IMPATIENT, PATIENCE, ROOT, Host, wait_until
from wsclient import connect

RELAY = ("--plugin", BUILD / "plugins/relay.so")
PROBE = ("--plugin", f"/probe={plugin('probe')}")
API = ("--api", "127.0.0.1:0")


@pytest.fixture
def redis(tmp_path):
    with Redis(tmp_path) as running:
        yield running


def cluster_host(redis, name, *args, handler=RELAY, url=None, env=None):
    host = Host(*handler, "--cluster", url or redis.url, "--cluster-id", name, *IMPATIENT, *args, env=env)
    # a redis that a test ends while hosts run is missed by all of them
    host.allow(lambda line: line.get("kind") == "cluster" and line["message"] == "the engine can not be used")
    return host


def knows(host, other):
    return lambda: any(line.get("kind") == "cluster" and line["message"] == "another host is there" and line["host"] == other for line in host.lines)


@contextlib.contextmanager
def hosts(redis, *args, names="abc", handler=RELAY):
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(cluster_host(redis, name, *args, handler=handler)) for name in names]
        for name, host in zip(names, running):
            for other in names:
                if other != name:
                    wait_until(knows(host, other), f"{name} knows {other}")
        yield running


def ask(host):
    """What tova-ctl cluster says."""
    told = subprocess.run([BUILD / "tova-ctl", "--json", "--control", host.control_socket, "cluster"], stdout=subprocess.PIPE, timeout=PATIENCE, check=True)
    return json.loads(told.stdout)


def away(host):
    return wait_until(lambda: not ask(host)["up"], "the engine is away")


def back(host):
    return wait_until(lambda: ask(host)["up"], "the engine is there")


# --- rooms ----------------------------------------------------------------------------------------------------------------------


def test_members_on_three_hosts_hear_one_order(redis):
    with hosts(redis) as running, contextlib.ExitStack() as stack:
        members = [stack.enter_context(connect("127.0.0.1", host.port, "/room/lobby?echo=1")) for host in running for _ in range(2)]
        for ws in members:
            ws.roundtrip()
        for n in range(50):
            for i, ws in enumerate(members):
                ws.send_text(f"{i}:{n}")
        heard = [[ws.recv_text() for _ in range(50 * len(members))] for ws in members]
        assert all(one == heard[0] for one in heard), "members heard different orders"
        assert sorted(heard[0]) == sorted(f"{i}:{n}" for n in range(50) for i in range(len(members)))
        for i in range(len(members)):
            assert [m for m in heard[0] if m.startswith(f"{i}:")] == [f"{i}:{n}" for n in range(50)]


@pytest.fixture(params=["plugin", "isolate"])
def probes(request, redis):
    extra = ["--isolate"] if request.param == "isolate" else []
    with hosts(redis, *extra, names="ab", handler=PROBE) as (a, b), Probe(a) as here, Probe(b) as there:
        yield here, there


def test_a_commit_has_its_own_order_everywhere(probes):
    here, there = probes
    a, b = here.client(), there.client()
    assert b.ask("join r", "send ready") == "ready"
    a.script("join r", "to r first", "send mine", "broadcast all", "leave r", "to r last", "send end")
    assert [a.recv_text() for _ in range(4)] == ["first", "mine", "all", "end"]
    assert [b.recv_text() for _ in range(3)] == ["first", "all", "last"]


def test_what_is_behind_a_broadcast_waits_for_it(probes):
    here, there = probes
    a, b = here.client(), there.client()
    assert a.ask("join r", "send ready") == "ready"
    for n in range(20):
        a.script(f"to r room {n}")
        a.script(f"send own {n}")
    assert [a.recv_text() for _ in range(40)] == [f"{w} {n}" for n in range(20) for w in ("room", "own")]
    a.script("join early", "to early x", "query rooms 1 me", "join late")
    assert a.recv_text() == "x"
    assert set(a.recv_json()["rooms"]) == {"r", "early", "late"}
    b.settle()


def test_who_is_left_out_and_what_is_binary(probes):
    here, there = probes
    a, b, c = here.client(), here.client(), there.client()
    for ws in (a, b, c):
        assert ws.ask("join r", "send ready") == "ready"
    a.script("to_others r others", "tob r %00%ff", "broadcast_except %s but" % b.id)
    assert b.recv_text() == "others" and c.recv_text() == "others"
    assert a.recv_message().data == b.recv_message().data == c.recv_message().data == b"\0\xff"
    assert a.recv_text() == "but" and c.recv_text() == "but"
    b.settle()


def test_a_connection_of_another_host_is_not_reached_by_name(probes):
    here, there = probes
    a, b = here.client(), there.client()
    observer = here.observer()
    a.script(f"send_to {b.id} hello", "send never")
    assert "another host of the cluster" in observer.event("error")["text"]
    a.script("send_to ghost hello", "send counted")
    assert a.recv_text() == "counted"
    b.settle()


def test_what_is_too_long_fails_its_event(probes):
    here, there = probes
    a, b = here.client(), there.client()
    observer = here.observer()
    assert b.ask("join r", "send ready") == "ready"
    a.script("pour r 9 65000", "send 1")
    assert a.recv_text() == "1"
    assert [len(b.recv_message().data) for _ in range(9)] == [65000] * 9
    a.script("pour r 100 65000", "send never")
    assert "4 MiB" in observer.event("error")["text"]
    a.settle()
    b.settle()


def test_empty_rooms_are_left_after_a_while(redis):
    with cluster_host(redis, "a") as host:
        with connect("127.0.0.1", host.port, "/room/short") as ws:
            ws.roundtrip()
            wait_until(lambda: redis.say("PUBSUB", "NUMSUB", "tova:room:1:/:short")[1] == 1, "it is subscribed to")
        wait_until(lambda: redis.say("PUBSUB", "NUMSUB", "tova:room:1:/:short")[1] == 0, "it is not any more")


# --- pushes ---------------------------------------------------------------------------------------------------------------------


def test_pushes_reach_all_hosts(redis):
    with hosts(redis, *API, names="ab") as (a, b), contextlib.ExitStack() as stack:
        x = stack.enter_context(connect("127.0.0.1", a.port, "/room/x"))
        both = stack.enter_context(connect("127.0.0.1", b.port, "/room/y"))
        for ws in (x, both):
            ws.roundtrip()
        with Api(a) as api, Api(b) as other:
            assert api.post("broadcast_to", room="y", data="one") == (200, {"receivers": 0})  # of its own host
            assert both.recv_text() == "one"
            conn = other.get("/api/v1/connections")[1]["connections"][0]["conn"]
            assert other.post("join", conn=conn, room="x")[0] == 200
            assert api.post("broadcast_to", rooms=["x", "y"], data="each once")[0] == 200
            assert api.post("broadcast", data="all")[0] == 200
            assert [x.recv_text(), x.recv_text()] == [both.recv_text(), both.recv_text()] == ["each once", "all"]
            status, told = api.post("join", conn=conn, room="x", max=1)
            assert status == 400 and "another host" in told["error"], told
            status, told = other.post("join", conn=conn, room="z", max=1)
            assert status == 400 and "not judged over the hosts" in told["error"], told
            assert api.post("close_room", room="y", code=4001, reason="over")[0] == 200
            assert both.recv_close()[0] == 4001
            x.roundtrip()


# --- the engine is away ---------------------------------------------------------------------------------------------------------


def test_hold_loses_nothing_while_redis_is_restarted(redis):
    with hosts(redis, names="ab") as (a, b), connect("127.0.0.1", a.port, "/room/r?echo=1") as x, connect("127.0.0.1", b.port, "/room/r") as y:
        x.roundtrip(), y.roundtrip()
        x.send_text("before")
        assert x.recv_text() == y.recv_text() == "before"
        redis.kill()
        away(a), away(b)
        for n in range(10):
            x.send_text(f"held {n}")
        wait_until(lambda: ask(a)["waiting"] >= 1, "something waits")
        redis.start()
        back(a), back(b)
        heard = [x.recv_text() for _ in range(10)]
        assert heard == [f"held {n}" for n in range(10)]
        # b may have come back later than the first of them: what it misses it knows of
        last = "the end"
        x.send_text(last)
        assert x.recv_text() == last
        got = []
        while not got or got[-1] != last:
            got.append(y.recv_text())
        wait_until(lambda: len(got) - 1 + ask(b)["counts"]["lost"] == 10, "what is missing is known")
        assert got == (heard + [last])[-len(got):]


def test_local_serves_each_host_alone(redis):
    with hosts(redis, "--cluster-away", "local", names="ab") as (a, b), connect("127.0.0.1", a.port, "/room/r?echo=1") as x, \
            connect("127.0.0.1", b.port, "/room/r?echo=1") as y:
        x.roundtrip(), y.roundtrip()
        redis.kill()
        away(a), away(b)
        x.send_text("alone")
        assert x.recv_text() == "alone"
        with connect("127.0.0.1", a.port, "/room/other?echo=1") as z:
            z.send_text("new room")
            assert z.recv_text() == "new room"
        redis.start()
        back(a), back(b)
        y.send_text("together")
        assert x.recv_text() == y.recv_text() == "together"


def test_an_engine_that_answers_no_more(redis):
    """It is stopped for longer than anybody waits; what it was told then is not told twice."""
    with hosts(redis, names="ab") as (a, b), connect("127.0.0.1", a.port, "/room/r?echo=1") as x, connect("127.0.0.1", b.port, "/room/r") as y:
        x.roundtrip(), y.roundtrip()
        redis.pause()
        try:
            x.send_text("once")
            away(a), away(b)
        finally:
            redis.go_on()
        back(a), back(b)
        assert x.recv_text() == "once"
        x.send_text("end")
        assert x.recv_text() == "end"
        heard = [y.recv_text()]
        while heard[-1] != "end":
            heard.append(y.recv_text())
        assert heard in (["once", "end"], ["end"]), heard
        wait_until(lambda: len(heard) + ask(b)["counts"]["lost"] == 2, "what is missing is known")


# --- strangers ------------------------------------------------------------------------------------------------------------------


def envelope(host=77, number=1, series=1, kind=1, flags=0, data=b"x", version=1):
    return b"tv" + struct.pack(">BBBQQQQ", version, kind, flags, host, series, number, 0) + data


def test_rubbish_is_ignored_and_counted(redis):
    channel = "tova:room:1:/:r"
    with cluster_host(redis, "a") as host, connect("127.0.0.1", host.port, "/room/r?echo=1") as ws:
        ws.roundtrip()
        before = ask(host)["counts"]["foreign"]
        rubbish = [b"", b"hello", b"tv", envelope(version=9), envelope(kind=0), envelope(kind=3), envelope(kind=5), envelope(kind=6), envelope(kind=200),
                   envelope(flags=255), envelope(number=0), envelope(data=b"\xff\xfe"), envelope(data=b"z" * 600_000, number=2)]
        for bytes_ in rubbish:
            assert redis.say("PUBLISH", channel, bytes_) == 1
        assert redis.say("PUBLISH", "tova:hosts", b"rubbish") == 1
        own = next(c for c in redis.say("PUBSUB", "CHANNELS", "tova:self:*"))
        assert redis.say("PUBLISH", own, envelope(kind=5, data=struct.pack(">Q", 99))) == 1
        ws.send_text("still here")
        assert ws.recv_text() == "still here"
        wait_until(lambda: ask(host)["counts"]["foreign"] == before + len(rubbish) + 2, "all of it is counted")


def test_repeats_are_dropped_and_gaps_are_told(redis):
    channel = "tova:room:6:/probe:r"
    with cluster_host(redis, "a", handler=PROBE) as host, Probe(host) as probe:
        ws, observer = probe.client(), probe.observer()
        assert ws.ask("join r", "send ready") == "ready"
        for number in (1, 2, 2, 1, 6, 6):
            redis.say("PUBLISH", channel, envelope(number=number, data=b"%d" % number))
        assert [ws.recv_text() for _ in range(3)] == ["1", "2", "6"]
        counts = ask(host)["counts"]
        assert (counts["repeated"], counts["lost"], counts["received"]) == (3, 3, 3)
        error = observer.event("error")
        assert error["text"].startswith("3 messages of other hosts were lost") and error["text"].endswith("in room r")
        host.wait_log(lambda line: line.get("kind") == "cluster" and line.get("messages") == 3)
        # a later series begins anew
        redis.say("PUBLISH", channel, envelope(number=1, series=2, data=b"anew"))
        assert ws.recv_text() == "anew"
        ws.settle()


HANDLERS = {"isolate": ("--isolate", *PROBE), "python": ("--worker", "/probe=/usr/bin/python3 {folder}/worker.py")}
PYTHON = """from tova import broadcast_to, join, serve


def on_open(ws):
    join(ws, "r")
    ws.send("open")


def on_error(ws, error):
    broadcast_to("r", f"told {ws}: {error}")


serve(globals())
"""


@pytest.mark.parametrize("kind", ["isolate", "python"])
def test_every_kind_of_handler_is_told_of_a_gap(redis, tmp_path, kind):
    (tmp_path / "worker.py").write_text(PYTHON)
    handler = [str(a).format(folder=tmp_path) for a in HANDLERS[kind]]
    with cluster_host(redis, "a", handler=handler, env={"PYTHONPATH": str(ROOT / "sdk/python")}) as host:
        with connect("127.0.0.1", host.port, "/probe/observe" if kind == "isolate" else "/probe") as ws:
            assert ws.recv_text() in ("observing", "open")
            channel = "tova:mount:/probe"
            for number in (1, 4):
                redis.say("PUBLISH", channel, envelope(kind=2, number=number, data=b"%d" % number))
            assert ws.recv_text() == "1" and ws.recv_text() == "4"
            assert "2 messages of other hosts were lost" in ws.recv_text()
            redis.say("PUBLISH", channel, envelope(kind=2, number=5, data=b"goes on"))
            assert ws.recv_text() == "goes on"


# --- the start ------------------------------------------------------------------------------------------------------------------


def refused(*args):
    """What is said when the host does not start."""
    done = subprocess.run([BUILD / "tova-host", "-l", "127.0.0.1:0", *map(str, RELAY), *map(str, args)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
                          text=True, timeout=2 * PATIENCE)
    assert done.returncode == 2, (done.returncode, done.stderr)
    return done.stderr


def test_what_does_not_go_together(tmp_path):
    url = f"unix://{tmp_path}/none.sock"
    assert "--history" in refused("--cluster", url, "--history", "10")
    assert "expected one" in refused("--cluster", url, "--cluster", url)
    assert "expected redis://" in refused("--cluster", "http://localhost")
    assert "TLS to the engine is not there yet" in refused("--cluster", "rediss://localhost")
    told = refused("--cluster", "redis://me:secret@localhost")
    assert "--cluster-password" in told and "secret" not in told
    assert "needs --cluster-password" in refused("--cluster", "redis://me@localhost")
    assert "port" in refused("--cluster", "redis://localhost:99999")
    assert "there is no --cluster" in refused("--cluster-id", "x")
    assert "visible characters" in refused("--cluster", url, "--cluster-id", "a b")


def test_an_engine_that_is_not_there(tmp_path):
    redis = Redis(tmp_path)
    assert "--cluster" in refused("--cluster", redis.url)
    with cluster_host(redis, "a", "--cluster-optional") as host, connect("127.0.0.1", host.port, "/room/r?echo=1") as ws:
        host.expect(lambda line: line.get("message") == "the engine can not be used")
        ws.send_text("held")
        wait_until(lambda: ask(host)["waiting"] >= 1, "it is held")
        with redis:
            assert ws.recv_text() == "held"


def test_a_password(tmp_path):
    secret = tmp_path / "password"
    secret.write_text("hunter2hunter2\n")
    secret.chmod(0o600)
    with Redis(tmp_path, tcp=True, password="hunter2hunter2") as redis:
        assert "NOAUTH" in refused("--cluster", redis.url)
        with cluster_host(redis, "a", "--cluster-password", secret) as host:
            assert ask(host)["up"]
        redis.say("ACL", "SETUSER", "tova", "on", ">hunter2hunter2", "~tova:*", "&tova:*", "+auth", "+select", "+set", "+get", "+pexpire", "+publish",
                  "+subscribe", "+unsubscribe", "+multi", "+exec")
        url = redis.url.replace("redis://", "redis://tova@") + "/3"
        with cluster_host(redis, "b", "--cluster-password", secret, url=url) as host, connect("127.0.0.1", host.port, "/room/r?echo=1") as ws:
            ws.send_text("by a user of few rights")
            assert ws.recv_text() == "by a user of few rights"
        secret.write_text("wrong-password\n")
        assert "WRONGPASS" in refused("--cluster", redis.url, "--cluster-password", secret)


def test_servers_that_take_nothing(redis, tmp_path):
    redis.say("CONFIG", "SET", "maxmemory", "1")
    assert "OOM" in refused("--cluster", redis.url)
    redis.say("CONFIG", "SET", "maxmemory", "0")
    folder = tmp_path / "replica"
    folder.mkdir()
    with Redis(folder, "--replicaof", "127.0.0.1 1", "--replica-serve-stale-data", "yes") as replica:
        assert "READONLY" in refused("--cluster", replica.url)


def test_memory_that_runs_out_later(redis):
    """A server without memory takes no transaction: it counts as away."""
    with cluster_host(redis, "a") as host, connect("127.0.0.1", host.port, "/room/r?echo=1") as ws:
        ws.roundtrip()
        redis.say("CONFIG", "SET", "maxmemory", "1")
        ws.send_text("held")
        assert "OOM" in wait_until(lambda: ask(host).get("why"), "it is said why")
        ws.send_text("and this")
        redis.say("CONFIG", "SET", "maxmemory", "0")
        assert [ws.recv_text(), ws.recv_text()] == ["held", "and this"]


def test_names_and_mounts_of_others(redis):
    with cluster_host(redis, "a"):
        told = refused("--cluster", redis.url, "--cluster-id", "a")
        assert "another host has this --cluster-id" in told and "process" in told
        told = refused("--cluster", redis.url, "--plugin", f"/more={plugin('probe')}")
        assert "other mounts" in told and told.rstrip().endswith("mounts /")


# --- seen -----------------------------------------------------------------------------------------------------------------------


def test_the_page(redis):
    """The two commands that it shows, at a server of our own: somebody at one host is heard at the other."""
    block = re.search(r"^```\n(.*?)^```", (ROOT / "host/cluster/README.md").read_text(), re.M | re.S).group(1)
    with contextlib.ExitStack() as stack:
        running = []
        for line in block.splitlines():
            program, *words = line.replace("redis://10.0.0.5:6379", redis.url).split()
            assert program == "tova-host"
            running.append(stack.enter_context(Host(*(str(BUILD / "plugins/chat.so") if w == "chat.so" else w for w in words))))
        wait_until(knows(running[0], "web-2"), "they know each other")
        ada, grace = (stack.enter_context(connect("127.0.0.1", host.port, "/")) for host in running)
        for ws in (ada, grace):
            while json.loads(ws.recv_text())["text"] != "Welcome to the chat!":
                pass
        ada.send_text(json.dumps({"type": "chat", "user": "Ada", "text": "hello"}))
        while json.loads(grace.recv_text()).get("text") != "hello":
            pass


def test_it_is_seen(redis):
    with hosts(redis, "--admin", "127.0.0.1:0", names="ab") as (a, b), Api(a, "admin") as api:
        told = ask(a)
        assert (told["enabled"], told["id"], told["up"], told["hosts"]) == (True, "a", True, 2)
        assert [other["id"] for other in told["others"]] == ["b"] and told["others"][0]["refused"] is False
        status, same = api.get("/api/v1/cluster")
        assert status == 200 and same["id"] == "a" and same["others"][0]["id"] == "b"
        wait_until(lambda: ask(a)["lag_us"] > 0, "the lag is known")
        metrics = api.ask("GET", "/metrics").body.decode()
        assert "tova_cluster_up 1\n" in metrics and "tova_cluster_hosts 2\n" in metrics and "tova_cluster_lost_total 0\n" in metrics
        b.stop()
        wait_until(lambda: ask(a)["hosts"] == 1, "b is missed")
    with Host(*RELAY, *IMPATIENT) as alone:
        assert ask(alone) == {"enabled": False}


def test_a_reload_can_not_bring_history(redis, tmp_path):
    config = tmp_path / "tova.conf"
    config.write_text("")
    with cluster_host(redis, "a", "--config", config) as host:
        config.write_text('history = ["10"];\n')
        host.expect(lambda line: line.get("kind") == "reload" and "remember nothing yet" in line.get("error", ""))
        mark = host.reload()
        host.wait_log(lambda line: line.get("kind") == "reload" and line["level"] == "error", after=mark)


# --- the run --------------------------------------------------------------------------------------------------------------------


class Member(threading.Thread):
    """Hears a room until the end is said, and speaks there meanwhile."""

    def __init__(self, host, room, name):
        super().__init__(daemon=True)
        self.ws = connect("127.0.0.1", host.port, f"/room/{room}?echo=1")
        self.ws.roundtrip()
        self.host, self.room, self.name_, self.heard, self.said, self.lock = host, room, name, [], 0, threading.Lock()

    def speak(self):
        self.said += 1
        self.ws.send_text(f"{self.name_} {self.said}")

    def run(self):
        while not self.heard or self.heard[-1] != "end":
            self.heard.append(self.ws.recv_text())


def merged(orders):
    """Are these lists parts of one order?"""
    after = {}
    for order in orders:
        for one, next_ in zip(order, order[1:]):
            after.setdefault(one, set()).add(next_)
    state = {}
    for start in after:
        stack = [(start, iter(after.get(start, ())))]
        if state.get(start):
            continue
        state[start] = 1
        while stack:
            node, rest = stack[-1]
            for other in rest:
                if state.get(other) == 1:
                    return False
                if other not in state:
                    state[other] = 1
                    stack.append((other, iter(after.get(other, ()))))
                    break
            else:
                state[node] = 2
                stack.pop()
    return True


def test_the_run(redis):
    """Numbered messages on three hosts while the engine is stopped, its connections are cut and it is killed: one order for all in each
    room, nothing twice, and what is missing is what was reported."""
    rooms = ("red", "green", "blue")
    with hosts(redis) as running:
        members = [Member(host, room, f"{h}{room}") for h, host in enumerate(running) for room in rooms]
        for m in members:
            m.start()

        def speak(times):
            for _ in range(times):
                for m in members:
                    m.speak()
                time.sleep(0.01)

        speak(20)
        redis.pause()
        speak(5)
        redis.go_on()
        speak(20)
        for _ in range(3):
            redis.say("CLIENT", "KILL", "TYPE", "pubsub")
            speak(20)
        redis.kill()
        speak(10)
        redis.start()
        for host in running:
            back(host)
        speak(20)
        # all that was said has been heard by who said it: nothing is lost for its own host
        for m in members:
            wait_until(lambda m=m: sum(x.startswith(m.name_ + " ") for x in list(m.heard)) == m.said, f"{m.name_} hears itself")
        for room in rooms:
            next(m for m in members if m.room == room).ws.send_text("end")
        for m in members:
            m.join(PATIENCE)
            assert m.heard[-1] == "end", (m.name_, m.heard[-5:])
        missing = {host: 0 for host in running}
        for room in rooms:
            here = [m for m in members if m.room == room]
            said = {f"{m.name_} {n}" for m in here for n in range(1, m.said + 1)}
            for m in here:
                assert len(set(m.heard)) == len(m.heard), "something came twice"
                assert set(m.heard) <= said | {"end"}
                missing[m.host] += len(said) + 1 - len(m.heard)
            assert merged([m.heard for m in here]), f"not one order in {room}"
        for host in running:
            wait_until(lambda host=host: ask(host)["counts"]["lost"] == missing[host], f"{missing[host]} are missing, and {ask(host)['counts']} reported")
