"""tova.v1 while handlers are away, and while others end what is away: what was taken is settled once, and no end is silent."""
import json
import threading
import time

import pytest
from tova_v1 import Client

from control import stats
from hub import Hub, send
from tokens import SECRET, claims, hs256
from tova_host import wait_until
from wsclient import connect

THREADS = ["1", "3"]


@pytest.fixture(params=THREADS)
def hub(tmp_path, request):
    with Hub(tmp_path, "--resume", "30s", "--threads", request.param) as running:
        yield running


def client(hub, **how):
    return Client(hub.host.port, "/", **how)


def away(hub):
    return stats(hub.control)["away"]


def settle_open(w):
    event = w.expect("open")
    w.ack(event)
    return event["conn"]


def test_nobody_is_there_to_answer(hub):
    """Cut and back again, twice, while no worker is there: all that was said is given to the next one, once and in order."""
    w = hub.worker()
    c = client(hub)
    conn = settle_open(w)
    w.bye()
    for n in range(9):
        c.send(f"{n}")
        if n % 3 == 2:
            c.drop()
            wait_until(lambda: away(hub), "it is away")
            assert c.back()["resumed"] and c.done == 0
    with hub.worker() as w:
        for n in range(9):
            event = w.expect("message", conn=conn, data=f"{n}")
            assert event["attempt"] == 1
            w.ack(event, send(f"answer {n}"))
        assert [c.recv() for _ in range(9)] == [f"answer {n}" for n in range(9)]
        c.settled()


def test_the_answer_comes_while_it_is_away(hub):
    """The worker has it when the socket is lost. Its answer waits for the return, and done with it."""
    with hub.worker() as w:
        c = client(hub)
        settle_open(w)
        c.send("slow")
        event = w.expect("message", data="slow")
        c.drop()
        wait_until(lambda: away(hub), "it is away")
        w.ack(event, send("at last"))
        w.ask("count")  # which is answered behind that
        assert c.back()["done"] == 1
        assert c.recv() == "at last"


def test_a_worker_dies_with_what_a_session_that_is_away_has_said(hub):
    w = hub.worker()
    c = client(hub)
    settle_open(w)
    c.send("first")
    first = w.expect("message", data="first")
    c.drop()
    wait_until(lambda: away(hub), "it is away")
    w.drop()
    with hub.worker() as w:
        again = w.expect("message", data="first")
        assert again["seq"] == first["seq"] and again["conn"] == first["conn"] and again["attempt"] == 2
        assert c.back()["got"] == 1
        w.ack(again, send("once"))
        assert c.recv() == "once"
        c.settled()


def test_its_time_is_up_while_nobody_is_there(tmp_path):
    """Then it has ended: its messages, then its close, are given to the next worker, and who comes back begins anew."""
    with Hub(tmp_path, "--resume", "1s") as hub:
        w = hub.worker()
        c = client(hub)
        conn = settle_open(w)
        w.bye()
        c.send("last words")
        c.send("and more")
        c.ws.roundtrip()
        c.drop()
        wait_until(lambda: stats(hub.control)["sockets"] == 0 and away(hub) == 0, "its time is up")
        token = c.token
        with hub.worker() as w:
            for data in ("last words", "and more"):
                w.ack(w.expect("message", conn=conn, data=data))
            end = w.expect("close", conn=conn)
            assert end["code"] == 1006
            w.ack(end)
            assert not c.back()["resumed"] and c.token != token
            assert settle_open(w) != conn


@pytest.mark.parametrize("command", [
    {"c": "close", "code": 4001, "reason": "kicked"},
    {"c": "close_room", "room": "user:ada", "code": 4001, "reason": "kicked"},
    {"c": "close_room", "room": "user:ada"},
], ids=["close", "close_room", "close_room without a code"])
def test_who_was_ended_while_away_is_told(hub, command):
    """With the code that somebody gave, for those who come back in time; never a new session without a word."""
    with hub.worker() as w:
        c = client(hub)
        event = w.expect("open")
        w.ack(event, {"c": "join", "room": "user:ada"})
        c.send("x")
        w.ack(w.expect("message"))
        c.settled()
        c.drop()
        wait_until(lambda: away(hub), "it is away")
        if command["c"] == "close":
            command = {**command, "conn": event["conn"]}
        w.send({"t": "push", "ref": 1, "commands": [command]})
        w.ack(w.expect("close", conn=event["conn"]))
        w.expect("done", ref=1)
        ws = connect("127.0.0.1", hub.host.port, "/", subprotocols=("tova.v1", f"tova.resume.{c.token}.0"))
        code, reason = ws.recv_close()
        assert (code, reason) == (command.get("code", 1000), command.get("reason", "")), (code, reason)


def test_back_twice_at_once(hub):
    """Two sockets with the same token at the same moment: one has the session in the end, the other is told so; nothing is doubled."""
    with hub.worker() as w:
        c = client(hub)
        conn = settle_open(w)
        for turn in range(10):
            c.drop()
            tries, sockets = threading.Barrier(2), []

            def come_back():
                tries.wait()
                sockets.append(connect("127.0.0.1", hub.host.port, "/", subprotocols=("tova.v1", f"tova.resume.{c.token}.{c.received}")))

            both = [threading.Thread(target=come_back) for _ in range(2)]
            for thread in both:
                thread.start()
            for thread in both:
                thread.join()
            w.send({"t": "push", "ref": turn, "commands": [send(f"{turn}", conn=conn)]})
            w.expect("done", ref=turn)
            for ws in sockets:
                ws.drop()
            assert c.back()["resumed"]
            assert c.recv() == f"{turn}"
            c.send(f"said {turn}")
            w.ack(w.expect("message", conn=conn, data=f"said {turn}"))
            c.settled()


def test_a_token_that_is_over_while_away_ends_nothing(tmp_path):
    """The end of a token ends a session that is connected; one that is away waits, and comes back with a fresh one."""
    key = tmp_path / "key"
    key.write_bytes(SECRET)
    key.chmod(0o600)

    def shows(**more):
        return [("Authorization", "Bearer " + hs256(claims(**more)))]

    with Hub(tmp_path, "--resume", "30s", "--jwt-key", str(key), "--jwt-leeway", "0s") as hub, hub.worker() as w:
        over = int(time.time()) + 2
        c = client(hub, headers=shows(exp=over))
        conn = settle_open(w)
        c.drop()
        wait_until(lambda: away(hub), "it is away")
        wait_until(lambda: time.time() > over + 1, "its token is over")
        assert away(hub) == 1
        c.how["headers"] = shows()
        assert c.back()["resumed"]
        c.send("here")
        w.ack(w.expect("message", conn=conn, data="here"))
        c.settled()


def test_a_page_of_elsewhere_can_not_come_back(tmp_path):
    """Where pages come from is looked at each time: a token that was stolen helps none of another origin."""
    with Hub(tmp_path, "--resume", "30s", "--origin", "https://good.example") as hub, hub.worker() as w:
        c = client(hub, origin="https://good.example")
        conn = settle_open(w)
        c.drop()
        wait_until(lambda: away(hub), "it is away")
        ws = connect("127.0.0.1", hub.host.port, "/", origin="https://evil.example",
                     subprotocols=("tova.v1", f"tova.resume.{c.token}.0"))
        assert json.loads(ws.recv_text()[1:]) == {"refused": 403, "retry_ms": 0} and ws.recv_close()[0] == 4403
        assert away(hub) == 1
        assert c.back()["resumed"]
        c.send("here")
        w.ack(w.expect("message", conn=conn, data="here"))
        c.settled()


def test_away_beyond_the_bound_of_connections(tmp_path):
    """Sessions that are away count. Who is longest away gives way to who comes, has its close, and begins anew; the others come back."""
    with Hub(tmp_path, "--resume", "30s", "--max-connections", "3") as hub, hub.worker() as w:
        sessions = []
        for _ in range(3):
            c = client(hub)
            sessions.append((c, settle_open(w)))
            c.drop()
            wait_until(lambda: away(hub) == len(sessions), "it is away")
        ws = hub.client()
        settle_open(w)
        ended = w.expect("close")
        assert (ended["conn"], ended["code"]) == (sessions[0][1], 1006)
        w.ack(ended)
        assert [c.back()["resumed"] for c, _ in sessions[1:]] == [True, True]
        ws.end()
        w.ack(w.expect("close"))
        assert not sessions[0][0].back()["resumed"]


# --- more than --max-queue at once ---------------------------------------------------------------------------------------------

POLICIES = ["close", "drop-oldest", "conflate"]


def say(*texts):
    return [{"c": "broadcast_to", "room": "r", "data": text} for text in texts]


def push(w, *commands):
    w.send({"t": "push", "ref": 1, "commands": list(commands)})
    assert "error" not in w.expect("done", ref=1)


def numbers(c, n):
    """Of the next n messages; none is lost."""
    got = [int(c.recv().split()[0]) for _ in range(n)]
    assert not [said for said in c.said if "lost" in said]
    return got


def small_queue(tmp_path, policy, threads, *args):
    return Hub(tmp_path, "--resume", "30s", "--threads", threads, "--slow-policy", policy, "--max-queue", "64k", "--resume-queue", "8m",
               "--resume-messages", "5000", *args)


@pytest.mark.parametrize("how", ["away", "taken over"])
@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("policy", POLICIES)
def test_back_for_more_than_may_wait(tmp_path, policy, threads, how):
    """It could not have read that yet: what others go on saying is judged as if it was not there."""
    with small_queue(tmp_path, policy, threads) as hub:
        w = hub.worker()
        c = client(hub, receive_buffer=4096)
        w.ack(w.expect("open"), {"c": "join", "room": "r"})
        if how == "away":
            c.drop()
            wait_until(lambda: away(hub), "it is away")
        for n in range(0, 1000, 10):
            push(w, *say(*(f"{k} " + "x" * 1000 for k in range(n, n + 10))))
            if how == "taken over":
                numbers(c, 10)
        assert c.back(count=0)["resumed"]
        for n in range(1000, 1020):
            push(w, *say(f"{n} "))
        assert numbers(c, 1020) == list(range(1020))


@pytest.mark.parametrize("own", [True, False], ids=["own", "push"])
@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("policy", POLICIES)
def test_what_one_event_gives_is_like_one_message(tmp_path, policy, threads, own):
    """All of it is let in, such as a room's history or one message that is larger than the bound, and does not count for what comes behind it."""
    with small_queue(tmp_path, policy, threads, "--history", "2000") as hub:
        w = hub.worker()
        c = client(hub, receive_buffer=4096)
        conn = settle_open(w)
        for n in range(0, 2000, 100):
            push(w, *say(*(f"{k} " + "x" * 1000 for k in range(n, n + 100))))
        joins = {"c": "join", "conn": conn, "room": "r", "last": 2000}
        if own:
            c.send("?")
            w.ack(w.expect("message"), joins, *say("2000 "))
        else:
            push(w, joins, *say("2000 "))
        push(w, *say("2001 "))
        push(w, *say("2002 "))
        assert numbers(c, 2003) == list(range(2003))
        push(w, *say("0 " + "x" * 3_000_000))
        push(w, *say("1 "))
        push(w, *say("2 "))
        assert numbers(c, 3) == [0, 1, 2]


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("policy", POLICIES)
def test_who_has_come_back_and_reads_nothing_is_slow(tmp_path, policy, threads):
    """Neither what it came back for nor one delivery lets any number of others in."""
    with small_queue(tmp_path, policy, threads) as hub:
        w = hub.worker()
        c = client(hub, receive_buffer=4096)
        w.ack(w.expect("open"), {"c": "join", "room": "r"})
        c.drop()
        wait_until(lambda: away(hub), "it is away")
        push(w, *say(*("x" * 10_000 for _ in range(100))))
        assert c.back()["resumed"]
        for n in range(60):
            w.send({"t": "push", "commands": say(*("x" * 10_000 for _ in range(10)))})
        assert hub.host.wait_log(lambda line: "reads too slowly" in line.get("message", ""))
