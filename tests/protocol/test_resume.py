"""tova.v1: sessions that outlive their sockets. The contract is in sdk/web/TOVA-V1.md."""
import json
import time
from pathlib import Path

import pytest
from tova_v1 import Client

from control import ctl_json
from probe import KINDS, WRAPPED, Host, Probe, escape, kind_args, plugin
from tokens import SECRET, claims, hs256
from tova_host import wait_until
from wsclient import CLOSE, connect, http_get, refused

THREADS = ["1", "3"]


@pytest.fixture(scope="module", params=[(kind, threads) for kind in KINDS for threads in THREADS], ids=lambda p: "-".join(p))
def resuming(request):
    kind, threads = request.param
    with Host("--plugin", f"/probe={plugin('probe')}", "--plugin", f"/other={plugin('probe')}", "--resume", "30s", "--threads", threads,
              "--log-level", "debug", "--max-head", "4k", *kind_args(kind)) as host:
        yield host


@pytest.fixture
def plain(resuming):
    return Probe(resuming)  # which is not left: sessions of the test outlive it


def client(host, **how):
    return Client(host.port, "/probe", **how)


def host_with(*args, threads="1"):
    return Host("--plugin", f"/probe={plugin('probe')}", "--threads", threads, *args)


def stat(host, name):
    return ctl_json(host.control_socket, "stats")["stats"][name]


# --- the offer ----------------------------------------------------------------------------------------------------------------

def test_the_welcome_comes_first(resuming):
    c = client(resuming)
    assert c.ws.subprotocol == "tova.v1"
    assert len(c.token) >= 22 and set(c.token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert c.welcome == {"session": c.token, "resumed": False, "got": 0, "done": 0, "keep_ms": 30000, "protocol": ""}


def test_without_resume_it_is_chosen_all_the_same():
    with host_with() as host:
        c = client(host)
        assert c.welcome == {"session": None, "resumed": False, "got": 0, "done": 0, "keep_ms": 0, "protocol": ""}
        c.send("send here")
        assert c.recv() == "here"
        c.settled()
        c.say(ping=1)
        c.until(lambda c: {"pong": 1} in c.said)
        c.drop()
        c.open(("tova.v1", "tova.resume.AAAAAAAAAAAAAAAAAAAAAA.1"))
        assert c.token is None


def test_the_applications_subprotocol_is_in_the_welcome(resuming):
    c = Client(resuming.port, "/probe?up=" + escape("subprotocol chat.v2"), subprotocols=["chat.v1", "chat.v2"])
    assert c.welcome["protocol"] == "chat.v2" and c.ws.subprotocol == "tova.v1"


def test_what_is_the_hosts_own_is_cut_out(resuming):
    """No handler sees a token: neither in the request of upgrade nor in that of open."""
    c = Client(resuming.port, "/probe?request=1", subprotocols=["chat.v1"])
    shown = c.recv()
    assert "chat.v1" in shown and "tova" not in shown.lower(), shown
    d = Client(resuming.port, "/probe?request=1")
    assert "sec-websocket-protocol" not in d.recv().lower()


def test_a_token_is_in_no_log(resuming):
    c = client(resuming)
    c.drop()
    c.back()
    assert c.token not in resuming.log_text()


def test_who_does_not_offer_notices_nothing():
    """Byte for byte, but for the date."""
    def talk(*args):
        with host_with(*args) as host:
            ws = connect("127.0.0.1", host.port, "/probe", subprotocols=["chat"])
            ws.send_text("join r\nsend %01x\nto r y\nbroadcast z")
            got = [ws.recv_text() for _ in range(3)]
            ws.send_text("\1{\"ping\":1}")
            ws.close(1000)
            head = [line for line in ws.answer.headers if line[0] not in ("Date", "Sec-WebSocket-Accept")]
            return head, got, ws.recv_close()
    assert talk() == talk("--resume", "30s")


@pytest.mark.parametrize("item", ["tova.resume.", "tova.resume.x.1", "tova.resume.AAAAAAAAAAAAAAAAAAAAAA", "tova.resume.AAAAAAAAAAAAAAAAAAAAAA.",
                                  "tova.resume.AAAAAAAAAAAAAAAAAAAAAA.-1", "tova.resume.AAAAAAAAAAAAAAAAAAAAAA.01",
                                  "tova.resume.AAAAAAAAAAAAAAAAAAAAAA.99999999999999999999", "tova.resume.AAAA.AAAAAAAAAAAAAAAAA.5"])
def test_a_return_that_says_nothing_begins_anew(resuming, item):
    c = client(resuming)
    welcome = c.open(("tova.v1", item))
    assert welcome["resumed"] is False and welcome["session"]


def test_the_library_comes_with_the_host(resuming, tmp_path):
    source = (Path(__file__).resolve().parents[2] / "sdk/web/tova.js").read_bytes()
    got = http_get("127.0.0.1", resuming.port, "/.tova/tova.js")
    assert got.status == 200 and got.body == source and got.get("Content-Type") == "text/javascript; charset=utf-8"
    assert http_get("127.0.0.1", resuming.port, "/.tova/tova.js", method="HEAD").body == b""
    with host_with("--static", str(tmp_path)) as host:
        assert http_get("127.0.0.1", host.port, "/.tova/tova.js").status == 200
    with host_with() as host:
        assert http_get("127.0.0.1", host.port, "/.tova/tova.js").status == 404


# --- counting -----------------------------------------------------------------------------------------------------------------

def test_done_follows_what_it_stands_for(resuming):
    c = client(resuming)
    c.send("send one\nsend two")
    assert c.recv() == "one" and c.recv() == "two" and c.done == 0
    c.settled()
    c.send("fail no")
    c.send("send three")
    assert c.recv() == "three"
    c.settled()
    assert c.failed == [2]


def test_more_failures_than_one_message_tells(resuming):
    c = client(resuming)
    for _ in range(100):
        c.send("fail no")
    c.settled()
    assert c.failed == list(range(1, 101))


def test_a_failure_is_told_again_at_the_return(resuming):
    """It may have been told to a socket that was dead."""
    c = client(resuming)
    c.send("send one")
    assert c.recv() == "one"
    c.send("fail no")
    c.settled()
    c.failed.clear()
    c.drop()
    welcome = c.back()
    assert welcome["done"] == 1
    c.settled()
    assert c.failed == [2]
    c.send("send three")
    assert c.recv() == "three"
    c.confirm()
    c.settled()
    c.say(ping=1)
    c.until(lambda c: {"pong": 1} in c.said)
    c.drop()
    assert c.back()["done"] == 3  # who has what came behind it knows of it


def test_the_mark_is_escaped_both_ways(resuming):
    c = client(resuming)
    for text in ("%01", "%01%01", "%01{}", "x%01", "%01" + "y" * 70, "%01" + "y" * 5000, "%01" + "y" * 70000):
        c.send("send " + text)
        assert c.recv() == text.replace("%01", "\1")
    c.send("sendb %01%01")
    assert c.recv() == b"\1\1"
    c.send("\1send x")  # the handler gets the mark, and no such command
    c.send("send after")
    assert c.recv() == "after"
    c.settled()


def test_a_long_marked_message_to_a_handler(resuming):
    """It is moved to the handler with its memory, of which one byte is not its."""
    c = client(resuming)
    c.send("on error send failed")
    text = "\1" + "n" * 20000
    c.send(text)
    c.send("send after")
    assert c.recv() in ("failed", "after")


def test_control_messages(resuming):
    c = client(resuming)
    c.say(ping=1)
    c.until(lambda c: {"pong": 1} in c.said)
    c.say(unknown=[1, {"a": "b"}])
    c.say(got=0)
    c.send("send still here")
    assert c.recv() == "still here"
    c.say(bye=1)
    assert c.closed() == 1001


def test_several_members_of_a_control_message(resuming):
    """Each is heeded, in whatever order they stand."""
    for text in ('{"got":2,"ping":1}', '{"ping":1,"later":{"got":7},"got":2}'):
        c = client(resuming)
        for word in ("one", "two"):
            c.send("send " + word)
            assert c.recv() == word
        c.settled()
        c.ws.send_text("\1" + text)
        c.until(lambda c: {"pong": 1} in c.said)
        c.drop()
        assert c.back(count=1)["resumed"] is False  # both are confirmed
    c.ws.send_text('\1{"bye":1,"ping":1}')
    assert json.loads(c.ws.recv_text()[1:]) == {"pong": 1}
    assert c.closed() == 1001


@pytest.mark.parametrize("text", ["", "x", "[]", "{", '{"ping":1}\0', '{"ping":1,"got":1e3}', '{"got":9007199254740992}', '{"got":}', '{"got":-1}', '{"got":1.5}', '{"token":1}', '{"got":0}x', '"got"'])
def test_what_is_no_control_message_ends_the_session(resuming, text):
    c = client(resuming)
    c.ws.send_text("\1" + text)
    assert c.closed() == 1002


def test_a_control_message_is_bounded(resuming):
    c = client(resuming)
    c.ws.send_text("\1" + json.dumps({"x": "y" * 5000}))
    assert c.closed() == 1009


def test_confirming_what_was_never_sent(resuming):
    c = client(resuming)
    c.send("send one")
    c.recv()
    c.say(got=2)
    assert c.closed() == 1002


# --- away and back ------------------------------------------------------------------------------------------------------------

def test_nothing_is_missed(resuming, plain):
    c, other = client(resuming), plain.client()
    c.send("join r\nsend joined")
    assert c.recv() == "joined"
    c.settled()
    c.drop()
    other.script("to r one", "tob r %02", "to r %01three", "send sent")
    assert other.recv_text() == "sent"
    welcome = c.back()
    assert welcome["resumed"] and welcome["got"] == 1 and welcome["done"] == 1
    assert [c.recv() for _ in range(3)] == ["one", b"\2", "\1three"]
    other.script("to r four")
    assert c.recv() == "four"


def test_what_was_on_its_way_is_sent_again_once(resuming, plain):
    """What the client got before the cut is not; what it sent and the host did not get is."""
    c, other = client(resuming), plain.client()
    c.send("join r\nsend joined")
    c.recv()
    for i in range(20):
        other.script(f"to r {i}")
    got = [c.recv() for _ in range(7)]
    other.settle()
    c.drop()
    c.sent.append("send late")  # it never left
    c.back()
    got += [c.recv() for _ in range(13)]
    assert got == [str(i) for i in range(20)]
    assert c.recv() == "late"


def test_handlers_see_nothing_of_it(resuming, plain):
    observer = plain.observer()
    c = client(resuming)
    c.send("myid")
    name = c.recv()
    for _ in range(3):
        c.drop()
        c.back()
    c.send("myid")
    assert c.recv() == name
    c.say(bye=1)
    assert c.closed() == 1001
    heard = []
    while "close" not in heard:
        heard.append(observer.event(ws=name)["event"])
    assert [event for event in heard if event not in ("away", "back")] == ["open", "close"]  # for those who ask: test_resume_events.py


def test_away_begins_with_1001_and_ends_with_any_other_close(resuming):
    for code, resumed in ((1001, True), (1000, False), (4000, False), (None, False)):
        c = client(resuming)
        c.ws.close(code)
        assert c.ws.recv_close()[0] == code
        c.ws.drop()
        assert c.open(("tova.v1", f"tova.resume.{c.token}.0"))["resumed"] is resumed, code


def test_a_broken_protocol_is_no_loss(resuming):
    c = client(resuming)
    c.ws.send(b"\x83\x80\0\0\0\0")
    assert c.closed() == 1002
    assert c.back()["resumed"] is False


def test_back_before_the_loss_was_noticed(resuming, plain):
    """The socket that is still there is closed with 4409; both go on as one."""
    c, other = client(resuming), plain.client()
    c.send("join r\nsend joined")
    c.recv()
    c.settled()
    old = c.ws
    c.back()
    other.script("to r here")
    assert c.recv() == "here"
    c.ws, new = old, c.ws
    assert c.closed() == 4409
    c.ws = new
    c.send("send goes on")
    assert c.recv() == "goes on"


def test_the_token_before_is_good_until_a_frame_comes(resuming):
    """A cut behind the 101 must not lose the session."""
    c = client(resuming)
    first = c.token
    c.drop()
    c.back()
    second = c.token
    assert second != first
    c.drop()
    c.back(token=first)
    c.send("send x")
    assert c.recv() == "x"
    c.drop()
    late = returns(c, first, 0)
    assert late.recv_close()[0] == 4409
    assert c.back()["resumed"]


def returns(c, token, count):
    """A socket that comes back, and has not read anything yet."""
    return connect(*c.where, subprotocols=["tova.v1", f"tova.resume.{token}.{count}"])


def test_a_return_that_was_long_on_its_way(resuming, plain):
    """An attempt that its client has given up is heard behind the one that is alive, of which no frame has come yet: nobody can say
    which is which. The one that is alive comes again, and misses nothing."""
    c, other = client(resuming), plain.client()
    c.send("join r\nsend joined")
    c.recv()
    c.settled()
    c.drop()
    first = c.token
    c.back()
    other.script("to r one", "to r two", "send sent")
    assert other.recv_text() == "sent"
    assert c.recv() == "one" and c.recv() == "two"  # and it does not say so
    late = returns(c, first, 1)
    assert json.loads(late.recv_text()[1:])["resumed"]
    assert c.closed() == 1001
    other.script("to r three", "send sent")
    assert other.recv_text() == "sent"
    welcome = c.back()
    assert welcome["resumed"] and welcome["got"] == 1
    assert c.recv() == "three"
    while (end := late.recv_frame()).opcode != CLOSE:
        pass
    assert int.from_bytes(end.payload[:2], "big") == 4409
    again = returns(c, first, 1)  # one more of them: now it is known that it is late
    assert again.recv_close()[0] == 4409
    c.send("send four")
    assert c.recv() == "four"


def test_late_returns_that_follow_each_other(resuming):
    """Two that were given up are heard one behind the other; the one that is alive has the session in the end."""
    c = client(resuming)
    c.drop()
    first = c.token
    c.back()
    late = [returns(c, first, 0)]
    assert c.closed() == 1001
    c.back()
    late.append(returns(c, first, 0))
    assert late[1].recv_close()[0] == 4409  # its client has shown a newer one since
    c.send("send x")
    assert c.recv() == "x"


def test_tokens_of_others(resuming):
    c = client(resuming)
    d = Client(resuming.port, "/other")
    c.drop()
    other = Client(resuming.port, "/other")
    assert other.open(("tova.v1", f"tova.resume.{c.token}.0"))["resumed"] is False
    assert c.back()["resumed"] is True
    d.ws.drop()


def test_counts_that_lie(resuming, plain):
    c, other = client(resuming), plain.client()
    c.send("join r\nsend joined")
    c.recv()
    other.script("to r one", "to r two")
    c.recv(), c.recv()
    c.confirm()
    c.settled()
    c.drop()
    token = c.token
    liar = connect("127.0.0.1", resuming.port, "/probe", subprotocols=["tova.v1", f"tova.resume.{token}.9"])
    assert liar.recv_close()[0] == 1002
    d = client(resuming)
    assert d.open(("tova.v1", f"tova.resume.{token}.2"))["resumed"] is False  # less than it has confirmed
    assert c.back()["resumed"] is True


@pytest.mark.parametrize("close, code", [("4321 banned", 4321), ("0", 1000)])
def test_closed_while_away(resuming, plain, close, code):
    """Whoever comes back in time is given the code, never a silent new session."""
    c, other = client(resuming), plain.client()
    c.send("myid")
    name = c.recv()
    c.settled()
    c.drop()
    other.script(f"close_of {name} {close}", "send done")
    assert other.recv_text() == "done"
    again = connect("127.0.0.1", resuming.port, "/probe", subprotocols=["tova.v1", f"tova.resume.{c.token}.1"])
    assert again.recv_close()[0] == code


@pytest.mark.parametrize("returns_before", [0, 1])
def test_closed_while_away_without_having_seen_the_newest_token(resuming, plain, returns_before):
    """A cut behind the 101 leaves the client with the token before, and that is good for the code, too."""
    c, other = client(resuming), plain.client()
    c.send("myid")
    name = c.recv()
    c.settled()
    for _ in range(returns_before):
        c.drop()
        c.back()
        c.confirm()
    c.drop()
    token = c.token
    returns(c, token, 1).reset()
    other.script(f"close_of {name} 4321 banned", "send done")
    assert other.recv_text() == "done"
    assert returns(c, token, 1).recv_close() == (4321, "banned")


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("policy", ["drop-oldest", "conflate"])
def test_keys_while_away(policy, threads):
    """Nobody reads slowly who does not read: what has a key is kept like everything else."""
    with host_with("--resume", "30s", "--slow-policy", policy, threads=threads) as host:
        c, other = client(host), Probe(host).client()
        c.send("join r\nsend joined")
        c.recv()
        c.settled()
        c.drop()
        other.script("key a\nto r 1\nto r 2\nkey b\nto r 3\nkey a\nto r 4", "send sent")
        assert other.recv_text() == "sent"
        c.back()
        assert [c.recv() for _ in range(4)] == ["1", "2", "3", "4"] and not c.said


def test_time_is_up():
    with host_with("--resume", "1s") as host:
        probe = Probe(host)
        observer = probe.observer()
        c = client(host)
        c.send("join r\nmyid")
        name = c.recv()
        c.drop()
        assert observer.event("close", name)["code"] == 1006
        assert c.open(("tova.v1", f"tova.resume.{c.token}.1"))["resumed"] is False


def test_an_end_that_brings_about_others():
    """Both are over at once; the handler that hears of the first ends the second, which is the next to be looked at."""
    with host_with("--resume", "1s") as host:
        observer = Probe(host).observer()
        clients = [client(host) for _ in range(6)]
        names = []
        for c in clients:
            c.send("myid")
            names.append(c.recv())
        for i, c in enumerate(clients[:-1]):
            c.send("\n".join(f"on close close_of {other} 4000 with it" for other in names[i + 1:i + 2]))
            c.settled()
        for c in clients:
            c.drop()
        closes = {}
        while len(closes) < 6:
            event = observer.event("close")
            assert event["ws"] not in closes
            closes[event["ws"]] = event["code"]
        assert set(closes) == set(names) and closes[names[0]] == 1006 and closes[names[1]] in (1006, 4000)
        c = client(host)
        c.send("send well")
        assert c.recv() == "well"


def test_it_ends_while_it_is_read_again():
    """It was not read from as it did not read its own answers; what waited meanwhile closes it."""
    for threads in THREADS:
        with host_with("--resume", "30s", "--max-queue", "64k", threads=threads) as host:
            c = client(host, receive_buffer=4096)
            for _ in range(300):
                c.send("huge 20000")
            c.send("close 4002 enough")
            for _ in range(300):
                assert len(c.recv()) == 20000
            assert c.closed() == 4002
            d = client(host)
            d.send("send well")
            assert d.recv() == "well"


def test_resume_is_taken_away_by_a_reload(tmp_path):
    """Who is there may come back to what is there, and is told that there is nothing to come back to any more."""
    settings = tmp_path / "conf"

    def write(more):
        settings.write_text(f'mount = ( {{ path = "/probe"; plugin = "{plugin("probe")}"; }} )\n{more}')

    write('resume = "30s"\n')
    with Host("--config", settings) as host:
        away, there = client(host), client(host)
        away.drop()
        wait_until(lambda: stat(host, "away") == 1, "it is away")
        write("")
        host.reload()
        wait_until(lambda: stat(host, "away") == 0, "it has ended")
        welcome = there.back()
        assert welcome["resumed"] and welcome["session"] is None and welcome["keep_ms"] == 0
        there.send("send here")
        assert there.recv() == "here"
        there.drop()
        wait_until(lambda: stat(host, "connections") == 0, "it has ended")
        assert stat(host, "away") == 0


# --- bounds -------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("threads", THREADS)
def test_what_is_kept_is_bounded_and_the_loss_is_told(threads):
    with host_with("--resume", "30s", "--resume-messages", "10", threads=threads) as host:
        probe = Probe(host)
        c, other = client(host), probe.client()
        c.send("join r\nsend joined")
        c.recv()
        c.settled()
        c.drop()
        for i in range(25):
            other.script(f"to r {i}")
        other.settle()
        c.back()
        assert [c.recv() for _ in range(10)] == [str(i) for i in range(15, 25)]
        assert {"lost": 15, "next": 17} in c.said


def test_bytes_that_are_kept_are_bounded():
    with host_with("--resume", "30s", "--resume-queue", "64k") as host:
        probe = Probe(host)
        c, other = client(host), probe.client()
        c.send("join r\nsend joined")
        c.recv()
        c.settled()
        c.drop()
        for i in range(20):
            other.script(f"to r {i:02}" + "x" * 10000)
        other.settle()
        c.back()
        first = int(c.recv()[:2])
        assert 13 <= first <= 15 and c.said[0]["lost"] == first
        for i in range(first + 1, 20):
            assert int(c.recv()[:2]) == i


def test_a_client_that_never_confirms_is_bounded():
    """The oldest written are forgotten; it stays connected, and a return that needs them is told."""
    with host_with("--resume", "30s", "--resume-messages", "5") as host:
        c = client(host)
        for i in range(50):
            c.send(f"send {i}")
            assert c.recv() == str(i)
        c.settled()
        c.received = 10
        c.drop()
        c.back()
        assert [c.recv() for _ in range(5)] == [str(i) for i in range(45, 50)]
        assert {"lost": 35, "next": 46} in c.said


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("policy", ["drop-oldest", "conflate"])
def test_what_is_given_up_is_told_in_its_place(policy, threads):
    with host_with("--resume", "30s", "--slow-policy", policy, "--max-queue", "64k", threads=threads) as host:
        probe = Probe(host)
        c, other = client(host, receive_buffer=4096), probe.client()
        c.send("join r\nsend joined")
        c.recv()
        c.settled()
        n = 3000
        for i in range(0, n, 50):
            lines = [f"key k{k % 3}\nto r {k:05}{'x' * 2000}" for k in range(i, i + 50)]
            other.script(*lines)
        other.settle()
        got = [int(c.recv()[:5])]
        while got[-1] < n - 1:
            got.append(int(c.recv()[:5]))
        lost = sum(s.get("lost", 0) for s in c.said)
        assert got == sorted(set(got)) and lost + len(got) == n and lost > 0
        assert c.received == n + 1


def test_a_slow_reader_is_closed_by_the_policy():
    with host_with("--resume", "30s", "--max-queue", "64k") as host:
        probe = Probe(host)
        c, other = client(host, receive_buffer=4096), probe.client()
        c.send("join r\nsend joined")
        c.recv()
        for _ in range(100):
            other.script("to r " + "x" * 6000)
        other.settle()
        assert host.wait_log(lambda line: "reads too slowly" in line.get("message", ""))


def test_who_does_not_read_its_answers_is_not_read_from():
    with host_with("--resume", "30s", "--max-queue", "64k") as host:
        c = client(host, receive_buffer=4096)
        n = 600
        for _ in range(n):
            c.send("huge 20000")
        for _ in range(n):
            assert len(c.recv()) == 20000
        assert not c.said


# --- limits and refusals ------------------------------------------------------------------------------------------------------

def test_refusals_are_told_in_a_way_that_browsers_see(tmp_path):
    key = tmp_path / "key"
    key.write_bytes(SECRET)
    key.chmod(0o600)
    with host_with("--resume", "30s", "--jwt-key", f"/probe={key}", "--max-per-address", "2") as host:
        ws = connect("127.0.0.1", host.port, "/probe", subprotocols=["tova.v1"])
        assert json.loads(ws.recv_text()[1:]) == {"refused": 401, "retry_ms": 0}
        assert ws.recv_close()[0] == 4401
        assert refused("127.0.0.1", host.port, "/probe").status == 401
        shows = [("Authorization", "Bearer " + hs256(claims()))]
        kept = [Client(host.port, "/probe", headers=shows) for _ in range(2)]
        ws = connect("127.0.0.1", host.port, "/probe", subprotocols=["tova.v1"], headers=shows)
        told = json.loads(ws.recv_text()[1:])
        assert told["refused"] == 429 and told["retry_ms"] >= 1000
        assert ws.recv_close()[0] == 4429
        del kept


def test_handlers_refusals(resuming):
    ws = connect("127.0.0.1", resuming.port, "/probe?refuse=403", subprotocols=["tova.v1"])
    assert json.loads(ws.recv_text()[1:]) == {"refused": 403, "retry_ms": 0}
    assert ws.recv_close()[0] == 4403
    assert refused("127.0.0.1", resuming.port, "/probe?refuse=404", [("Sec-WebSocket-Protocol", "tova.v1")]).status in (400, 404, 426)


def test_tokens_of_upgrades(tmp_path):
    key = tmp_path / "key"
    key.write_bytes(SECRET)
    key.chmod(0o600)

    def shows(**more):
        return [("Authorization", "Bearer " + hs256(claims(**more)))]

    with host_with("--resume", "30s", "--jwt-key", f"/probe={key}") as host:
        c = Client(host.port, "/probe", headers=shows())
        c.drop()
        ws = connect(*c.where, headers=shows(exp=int(time.time()) - 10), subprotocols=["tova.v1", f"tova.resume.{c.token}.0"])
        assert json.loads(ws.recv_text()[1:])["refused"] == 401 and ws.recv_close()[0] == 4401
        eve = Client(host.port, "/probe", headers=shows(sub="eve"))
        assert eve.open(("tova.v1", f"tova.resume.{c.token}.0"))["resumed"] is False
        assert c.back()["resumed"] is True

        c.say(token=hs256(claims(exp=int(time.time()) + 7200)))
        c.until(lambda c: any(s.get("token") == "ok" for s in c.said))
        assert 7_000_000 < c.said[-1]["expires_ms"] <= 7_215_000
        c.say(token=hs256(claims(sub="eve")))
        assert c.closed() == 4401


def test_a_fresh_token_keeps_a_connection(tmp_path):
    key = tmp_path / "key"
    key.write_bytes(SECRET)
    key.chmod(0o600)
    with host_with("--resume", "30s", "--jwt-key", f"/probe={key}") as host:
        shows = [("Authorization", "Bearer " + hs256(claims(exp=int(time.time()) - 7)))]
        c = Client(host.port, "/probe", headers=shows)
        d = Client(host.port, "/probe", headers=shows)
        c.say(token=hs256(claims()))
        assert d.closed() == 1008
        c.send("send still here")
        assert c.recv() == "still here"


def test_a_token_without_an_end_takes_the_end_of_the_one_before(tmp_path):
    """Whether it is said on the open connection or shown at a return."""
    key = tmp_path / "key"
    key.write_bytes(SECRET)
    key.chmod(0o600)
    with host_with("--resume", "30s", "--jwt-key", f"/probe={key}", "--jwt-no-expiry") as host:
        shows = [("Authorization", "Bearer " + hs256(claims(exp=int(time.time()) - 7)))]  # good for three more seconds
        forever = {k: v for k, v in claims().items() if k != "exp"}
        says, returns_, ends = [Client(host.port, "/probe", headers=shows) for _ in range(3)]
        says.say(token=hs256(forever))
        says.until(lambda c: {"token": "ok", "expires_ms": 0} in c.said)
        returns_.how = {"headers": [("Authorization", "Bearer " + hs256(forever))]}
        returns_.drop()
        assert returns_.back()["resumed"]
        assert ends.closed() == 1008
        for c in (says, returns_):
            c.send("send still here")
            assert c.recv() == "still here"


def test_a_subprotocol_that_is_too_long_is_not_chosen():
    with host_with("--resume", "30s", "--subprotocol", "*") as host:
        longest = "y" * 127
        c = Client(host.port, "/probe", subprotocols=["x" * 2000, longest])
        assert c.welcome["protocol"] == longest
        assert connect("127.0.0.1", host.port, "/probe", subprotocols=["x" * 128]).subprotocol is None


def test_rates_count_once():
    """One too many is counted as received, and settled as failed; what is sent again after a return does not count again."""
    with host_with("--resume", "30s", "--rate-limit", "5/1h") as host:
        c = client(host)
        for i in range(8):
            c.send(f"send {i}")
        assert [c.recv() for _ in range(5)] == ["0", "1", "2", "3", "4"]
        c.settled()
        assert c.failed == [6, 7, 8]
        c.drop()
        assert c.back()["got"] == 8


@pytest.mark.skipif(WRAPPED, reason="limits of descriptors are those of another program")
def test_away_sessions_count_as_connections():
    with host_with("--resume", "60s", "--max-connections", "5") as host:
        away = [client(host) for _ in range(4)]
        for c in away:
            c.drop()
        wait_until(lambda: stat(host, "away") == 4, "they are away")
        there = [client(host) for _ in range(3)]
        wait_until(lambda: stat(host, "away") == 2, "the longest away have ended")
        assert away[0].back()["resumed"] is False
        del there


@pytest.mark.parametrize("threads", THREADS)
def test_away_sessions_count_at_their_address(threads):
    """Who connects and drops all day does not take the places of others: of its own sessions the one that is longest away ends."""
    with host_with("--resume", "60s", "--max-per-address", "3", threads=threads) as host:
        other = client(host, source="127.0.0.2")
        other.drop()
        wait_until(lambda: stat(host, "away") == 1, "it is away")
        away = []
        for n in range(8):
            away.append(client(host))
            away[-1].drop()
            wait_until(lambda: stat(host, "connections") == 0, "all are away")
            assert stat(host, "away") == 1 + min(n + 1, 3)
        assert all(c.back()["resumed"] for c in away[-3:])  # a return takes no further place
        assert other.back()["resumed"]


# --- the host ends ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("threads", THREADS)
def test_a_drain_says_1012(threads):
    with host_with("--resume", "30s", threads=threads) as host:
        c, away = client(host), client(host)
        ws = connect("127.0.0.1", host.port, "/probe")
        away.drop()
        host.signal(15)
        assert c.closed() == 1012
        assert ws.recv_close()[0] == 1001
        c.ws.drop()
        ws.drop()
        assert host.wait_exit() == 0
