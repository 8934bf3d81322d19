"""The room model: commands, commits, failures, ends (the contract's rules 1 to 8 and 11, as a plugin meets them)."""
import random
import threading

import pytest

from probe import escape, opened
from tova_host import wait_until
from wsclient import BINARY, TEXT, frame

OK, E_ROOM, E_UTF8, E_LIMIT, E_ARG, E_THREAD, E_STATE = 0, -1, -2, -3, -4, -5, -6


# --- send, join, leave, broadcast ---------------------------------------------------------------------------------------------

def test_send_to_oneself_and_to_another(probe):
    a, b = probe.clients(2)
    a.script("send one", "sendb %00%ff", f"send_to {b.id} two", f"sendb_to {b.id} %01")
    assert a.recv_text() == "one" and a.recv_binary() == b"\0\xff"
    assert b.recv_text() == "two" and b.recv_binary() == b"\x01"


def test_text_stays_text_and_binary_binary_in_broadcasts(probe):
    a, b = probe.clients(2)
    a.script("join r", "broadcast t", "broadcastb %fe", "to r rt", "tob r %fd")
    got = [a.recv_message() for _ in range(4)]
    assert [(m.opcode, m.data) for m in got] == [(TEXT, b"t"), (BINARY, b"\xfe"), (TEXT, b"rt"), (BINARY, b"\xfd")]
    assert b.recv_text() == "t" and b.recv_binary() == b"\xfe"


def test_empty_messages(probe):
    a = probe.client()
    a.script("send ", "sendb ", "broadcast ")
    assert a.recv_text() == "" and a.recv_binary() == b"" and a.recv_text() == ""


def test_broadcast_with_and_without_exclude(probe):
    a, b, c = probe.clients(3)
    a.script("broadcast all", "broadcast_others others", f"broadcast_except {b.id} not b", "broadcast_except ghost all again")
    assert [a.recv_text() for _ in range(3)] == ["all", "not b", "all again"]
    assert [b.recv_text() for _ in range(3)] == ["all", "others", "all again"]
    assert [c.recv_text() for _ in range(4)] == ["all", "others", "not b", "all again"]


def test_rooms_with_and_without_exclude(probe):
    a, b, c = probe.clients(3)
    for ws in (a, b):
        ws.script("join r", "send joined")
        assert ws.recv_text() == "joined"
    c.script("to r from outside", "to_others r others", f"to_except {a.id} r not a")  # a sender need not be a member
    assert [a.recv_text() for _ in range(2)] == ["from outside", "others"]
    assert [b.recv_text() for _ in range(3)] == ["from outside", "others", "not a"]
    a.script("to_others r from inside")
    assert b.recv_text() == "from inside"
    for ws in (a, b, c):
        ws.settle()


def test_mounts_are_separate(probe, other):
    a, b = probe.client(), other.client()
    for ws in (a, b):
        ws.script("join same", "send joined")
        assert ws.recv_text() == "joined"
    a.script("to same a", "broadcast A", f"send_to {b.id} x", f"close_of {b.id} 1000 x")
    assert a.recv_text() == "a" and a.recv_text() == "A"
    b.settle()
    assert b.query("count", "same")["count"] == 1 == b.query("connections")["count"]


def test_join_and_leave_are_idempotent(probe):
    a, b = probe.clients(2)
    a.script("join r", "join r", "leave never", "leave never", "join r")
    assert a.results() == [OK] * 5
    b.script("to r once")
    assert a.recv_text() == "once"
    a.script("leave r", "leave r", "join r", "leave r")
    assert a.results() == [OK] * 4
    b.script("to r nobody", "send done")
    assert b.recv_text() == "done"
    a.settle()
    assert a.rooms() == set() and a.query("count", "r")["count"] == 0


def test_others_can_be_put_into_rooms(probe):
    a, b = probe.clients(2)
    a.script(f"join_of {b.id} r", "to r hello")
    assert b.recv_text() == "hello"
    a.script(f"leave_of {b.id} r", "to r nobody", "send done")
    assert a.recv_text() == "done"
    b.settle()


def test_many_rooms_of_one_and_many_members_of_one(probe):
    a = probe.client()
    a.script(*[f"join r{i}" for i in range(300)])
    assert a.rooms() == {f"r{i}" for i in range(300)}
    a.script(*[f"leave r{i}" for i in range(0, 300, 2)])
    assert a.rooms() == {f"r{i}" for i in range(1, 300, 2)}
    clients = probe.clients(40)
    for ws in clients:
        ws.script("join crowd", "send joined")
        assert ws.recv_text() == "joined"
    a.script("to crowd hello")
    for ws in clients:
        assert ws.recv_text() == "hello"
    assert a.members("crowd") == {ws.id for ws in clients}


@pytest.mark.parametrize("room", ["a", "ä€𝄞", " ", "a b", "/", "%01", "x" * 255, "ä" * 127])
def test_good_room_names(probe, room):
    a = probe.client()
    a.script(f"join {escape(room)}", f"to {escape(room)} hello", f"leave {escape(room)}")
    assert a.recv_text() == "hello"
    assert a.results() == [OK] * 3


def test_room_names_that_differ_in_a_byte_are_different(probe):
    a = probe.client()
    names = ["r", "R", "r ", "r0", "ä", "a\u0308", "x" * 254, "x" * 255]
    a.script(*[f"join {escape(name)}" for name in names])
    assert a.rooms() == set(names)


# --- a commit is all or nothing (rule 2) --------------------------------------------------------------------------------------

def test_everything_of_a_failing_callback_is_discarded(probe):
    observer = probe.observer()
    a, b = probe.clients(2)
    b.script("join r", "send joined")
    assert b.recv_text() == "joined"
    a.script("join kept", "data 0 before", "send ready")
    assert a.recv_text() == "ready"
    a.script("send never", f"send_to {b.id} never", "join lost", "leave kept", "broadcast never", "to r never", f"close_of {b.id} 4000 never",
             f"set {b.id} never", "data 0 after", "timer never 1 0 0", "wstimer me never 1 0 0", "query count 1 r", "close 4000 never",
             "fail it broke")
    error = observer.event("error")
    assert (error["ws"], error["kind"], error["text"]) == (a.id, 1, "it broke")
    b.settle()
    a.settle()
    assert a.rooms() == {"kept"} and b.rooms() == {"r"}
    assert a.ask("getdata").startswith("before".encode().hex()) and b.ask("getdata") == "00" * 64
    observer.settle()


@pytest.mark.parametrize("bad, code", [
    ("join ", E_ROOM), ("join " + "x" * 256, E_ROOM), ("join a%00b", E_ROOM), ("join %ff", E_ROOM), ("join %ed%a0%80", E_ROOM),
    ("leave ", E_ROOM), ("leave %ff", E_ROOM), ("to %ff x", E_ROOM), ("to " + "x" * 256 + " y", E_ROOM),
    ("join_of ghost ", E_ROOM), ("send %ff", E_UTF8), ("send a%c3", E_UTF8), ("broadcast %80", E_UTF8), ("to r %ff", E_UTF8),
    ("send_to ghost %ff", E_UTF8), ("kind 0 x", E_ARG), ("kind 3 x", E_ARG), ("set me " + "x" * 65, E_LIMIT),
    ("timer  1 1 1", E_ARG), ("timer " + "x" * 256 + " 1 1 1", E_ARG), ("timer %ff 1 1 1", E_ARG),
    ("query count 1 %ff", E_ROOM), ("query members 1 ", E_ROOM), ("query nonsense 1 x", E_ARG)])
def test_a_wrong_command_makes_the_callback_fail_whatever_it_returns(probe, bad, code):
    """The code tells the plugin, the failure protects the others (rule 8): its commands before and after it are undone too."""
    observer, a = probe.observer(), probe.client()
    a.script("send never", bad, "broadcast never")
    who = observer.event("open")["ws"]
    error = observer.event(None, who)
    assert error["event"] == "error" and error["kind"] == 1 and error["text"]
    assert a.results() == [OK, code, OK]
    assert a.id == who


def test_results_that_are_no_zero_are_failures(probe):
    observer, a = probe.observer(), probe.client()
    for code in (1, -1, -1000, 2147483647, -2147483648):
        a.script("send never", f"failcode {code}")
        error = observer.event("error")
        assert error["kind"] == 1
    a.settle()


def test_the_text_of_a_failure(probe):
    observer, a = probe.observer(), probe.client()
    for text in ("x", "ä€𝄞", "x" * 1000, 'quote " and %0A line'):
        a.script(f"fail {text}")
        got = observer.event("error")["text"]
        want = text.replace("%0A", "\n")
        assert want.startswith(got) and len(got) >= min(len(want), 255)
    a.script("fail bad %ff utf8")  # a broken text is still a failure with a text that is UTF-8
    assert observer.event("error")["kind"] == 1
    a.settle()


def test_the_connection_stays_open_after_failures(probe):
    a = probe.client()
    for _ in range(50):
        a.script("fail again")
    a.settle()


def test_a_failing_open_leaves_the_connection_open(probe):
    observer = probe.observer()
    a = probe.client(opened("send never;join never;data 0 x;fail no"))
    assert observer.event()["event"] == "error"
    a.settle()
    assert a.rooms() == set() and a.ask("getdata") == "00" * 64


def test_a_failure_within_error_is_only_logged(quiet):
    observer, a = quiet.observer(), quiet.client()
    mark = len(quiet.host.lines)
    a.script("on error broadcast never;fail again", "fail first")
    quiet.host.wait_log(lambda line: "again" in str(line), "the second failure", after=mark)
    a.settle()
    assert observer.event("open")
    observer.settle()


def test_error_may_command(probe):
    a = probe.client()
    a.script("on error send sorry;join sad", "send never", "fail first")
    assert a.recv_text() == "sorry"
    assert a.rooms() == {"sad"}


def test_error_may_close(probe):
    a = probe.client()
    a.script("on error close 4002 failed", "fail first")
    assert a.expect_closed(4002) == "failed"


def test_the_event_that_is_handled(probe):
    observer, a = probe.observer(), probe.client()
    first, second = a.ask_json("event"), a.ask_json("event")
    assert first["attempt"] == 1 and second["sequence"] == first["sequence"] + 1
    a.end()
    closed = observer.event("close", first["ws"])
    assert closed["sequence"] == second["sequence"] + 1


# --- order --------------------------------------------------------------------------------------------------------------------

def test_all_members_see_one_order(probe):
    members = probe.clients(8)
    for ws in members:
        ws.script("join r", "send joined")
        assert ws.recv_text() == "joined"
    senders = probe.clients(4)
    each = 100

    def send(number):
        rng = random.Random(number)
        data = b"".join(frame(TEXT, f"to r {number}.{i}", mask=rng.randbytes(4)) for i in range(each))
        senders[number].send_cut(data, 333)

    threads = [threading.Thread(target=send, args=(n,)) for n in range(len(senders))]
    for t in threads:
        t.start()
    orders = [[ws.recv_text() for _ in range(each * len(senders))] for ws in members]
    for t in threads:
        t.join()
    assert all(order == orders[0] for order in orders)
    for number in range(len(senders)):
        mine = [text for text in orders[0] if text.startswith(f"{number}.")]
        assert mine == [f"{number}.{i}" for i in range(each)]


def test_commands_of_one_callback_stay_in_order(probe):
    a = probe.client()
    a.script("send 1", "broadcast 2", "join r", "to r 3", "leave r", "to r never", "send 4")
    assert [a.recv_text() for _ in range(4)] == ["1", "2", "3", "4"]
    a.settle()


def test_broadcast_to_oneself_within_open(probe):
    """A connection receives broadcasts once its open is settled; its own open's commit settles it."""
    a = probe.client(opened("join r;broadcast all;to r room;send self"))
    assert [a.recv_text() for _ in range(3)] == ["all", "room", "self"]


# --- data (state) -------------------------------------------------------------------------------------------------------------

def test_data_is_zeroed_kept_and_ones_own(probe):
    a, b = probe.clients(2)
    assert a.ask("getdata") == "00" * 64
    a.script("data 0 %01%02", "data 62 %fe%ff")
    assert a.ask("getdata") == "0102" + "00" * 60 + "feff"
    assert b.ask("getdata") == "00" * 64


def test_set_replaces_and_zeroes_the_rest(probe):
    a, b = probe.clients(2)
    b.script("data 0 " + "x" * 64)
    a.script(f"set {b.id} abc", "send done")
    assert a.recv_text() == "done"
    assert bytes.fromhex(b.ask("getdata")) == b"abc".ljust(64, b"\0")
    a.script(f"set {b.id} " + "y" * 64, "send done")
    assert a.recv_text() == "done"
    assert bytes.fromhex(b.ask("getdata")) == b"y" * 64
    a.script(f"set {b.id} ", "send done")
    assert a.recv_text() == "done"
    assert b.ask("getdata") == "00" * 64
    b.script("data 0 " + "x" * 64, "set me abc", "data 1 Z", "getdata")
    assert bytes.fromhex(b.recv_text()) == b"aZc".ljust(64, b"\0") == bytes.fromhex(b.ask("getdata"))


def test_set_if_replaces_what_it_expects(probe):
    a, b = probe.clients(2)
    a.script(f"setif {b.id}  first", "send done")
    assert a.recv_text() == "done"
    a.script(f"setif {b.id} first second", "send done")
    assert a.recv_text() == "done" and bytes.fromhex(b.ask("getdata")) == b"second".ljust(64, b"\0")
    a.script("on error send failed", "send never", f"setif {b.id} first third")
    assert a.recv_text() == "failed" and bytes.fromhex(b.ask("getdata")) == b"second".ljust(64, b"\0")
    # Its own: what the event was given counts, not what the callback has made of it.
    b.script("data 0 X", "setif me second third", "getdata")
    assert bytes.fromhex(b.recv_text()) == b"third".ljust(64, b"\0") == bytes.fromhex(b.ask("getdata"))
    b.script("on error send failed", "setif me second fourth", "send never")
    assert b.recv_text() == "failed" and bytes.fromhex(b.ask("getdata")) == b"third".ljust(64, b"\0")
    b.script("setif me third fifth", "setif me third " + "x" * 65)
    a.script("setif ghost whatever x", "send done")
    assert a.recv_text() == "done"


def test_data_in_close_and_error_is_the_connections(probe):
    a, b = probe.clients(2)
    a.script("data 0 mine")
    a.script("on error getdata", "data 0 lost", "fail x")
    assert bytes.fromhex(a.recv_text()).startswith(b"mine")


# --- ends (rule 6) ------------------------------------------------------------------------------------------------------------

def test_close_names_the_rooms_that_were_left(probe):
    observer, a, b = probe.observer(), probe.client(), probe.client()
    a.script("join x", "join y", "join z", "leave y", "send joined")
    assert a.recv_text() == "joined"
    a_id = a.id
    assert b.members("x") == {a_id}
    a.end()
    closed = observer.event("close", a_id)
    assert sorted(closed["rooms"]) == ["x", "z"]
    assert b.members("x") == set() and b.query("count", "z")["count"] == 0


def test_empty_rooms_vanish(probe):
    a = probe.client()
    before = a.query("stats")["rooms"]
    a.script(*[f"join many{i}" for i in range(100)], "send joined")
    assert a.recv_text() == "joined"
    b = probe.client()
    assert b.query("stats")["rooms"] == before + 100
    a.end()
    wait_until(lambda: b.query("stats")["rooms"] == before, "rooms of the closed connection vanish")


def test_close_can_tell_the_others(probe):
    a, b = probe.clients(2)
    for ws in (a, b):
        ws.script("join r", "send joined")
        assert ws.recv_text() == "joined"
    a.script("on close to r someone left;send_to me never;join never;broadcast all")
    a.settle()
    a.end()
    assert b.recv_text() == "someone left" and b.recv_text() == "all"
    assert b.query("count", "never")["count"] == 0


def test_a_failing_close_is_logged_and_the_connection_is_gone(quiet):
    """Nothing follows close, not even error (rule 1). Its commands are undone, and nobody else notices."""
    observer, a, b = quiet.observer(), quiet.client(), quiet.client()
    mark = len(quiet.host.lines)
    a.script("on close broadcast never;fail in close")
    a.settle()
    a.end()
    quiet.host.wait_log(lambda line: "in close" in str(line), "the failure", after=mark)
    b.settle()
    assert b.ask_json("counters")["strange"] == 0
    assert [observer.event()["event"] for _ in range(2)] == ["open"] * 2
    observer.settle()


def test_commands_that_name_a_gone_connection_do_nothing(probe):
    a, b = probe.clients(2)
    gone = b.id
    b.end()
    wait_until(lambda: a.query("connections")["count"] == 1, "the other is gone")
    for who in (gone, "ghost", "none"):
        a.script(f"send_to {who} x", f"join_of {who} r", f"leave_of {who} r", f"close_of {who} 1000 x", f"set {who} x", f"wscancel {who} t",
                 "send done")
        assert a.recv_text() == "done"
        assert a.results() == [OK] * 7, who
    assert a.query("count", "r")["count"] == 0
    assert a.rooms(gone) == set()
    a.script(f"wstimer {gone} t 1 0 0", "send done")
    assert a.recv_text() == "done"


def test_closing_another(probe):
    observer, a, b = probe.observer(), probe.client(), probe.client()
    b.script("join r", "send joined")
    assert b.recv_text() == "joined"
    b_id = b.id
    a.script(f"send_to {b_id} bye", f"close_of {b_id} 4003 out", f"send_to {b_id} never", "to r never", "send done")
    assert a.recv_text() == "done"
    assert b.recv_text() == "bye"
    assert b.expect_closed(4003) == "out"
    closed = observer.event("close", b_id)
    assert (closed["code"], closed["reason"], closed["rooms"]) == (4003, "out", ["r"])


def test_two_closes_are_one(probe):
    observer, a, b = probe.observer(), probe.client(), probe.client()
    b_id = b.id
    a.script(f"close_of {b_id} 4001 first", f"close_of {b_id} 4002 second")
    assert b.expect_closed(4001) == "first"
    assert observer.event("close", b_id)["code"] == 4001
    a.settle()
    assert a.ask_json("counters")["strange"] == 0


def test_closing_everyone_in_one_callback(probe):
    clients = probe.clients(30)
    ids = [ws.id for ws in clients]
    clients[0].script(*[f"join_of {i} r" for i in ids], "to r last", *[f"close_of {i} 1000 all" for i in ids], "to r never")
    for ws in clients:
        assert ws.recv_text() == "last"
        ws.expect_closed(1000)


def test_close_within_open(probe):
    observer = probe.observer()
    ws = probe.client(opened("send hello;close 4004 not you"))
    assert ws.recv_text() == "hello"
    assert ws.expect_closed(4004) == "not you"
    assert [observer.event()["event"] for _ in range(2)] == ["open", "close"]


def test_close_of_others_within_close(probe):
    """A chain: each close ends the next."""
    clients = probe.clients(10)
    for ws, following in zip(clients, clients[1:]):
        ws.script(f"on close close_of {following.id} 4005 chain")
        ws.settle()
    clients[0].close(1000)
    clients[0].expect_close(1000)
    for ws in clients[1:]:
        ws.expect_closed(4005)


def test_a_client_that_closes_while_others_send_to_it(probe):
    a, b = probe.clients(2)
    b_id = b.id
    for _ in range(20):
        b.script("join r", "send joined")
        assert b.recv_text() == "joined"
        a.send(b"".join(frame(TEXT, "to r news") for _ in range(50)))
        b.reset()
        b = probe.client()
    a.settle()
    assert a.rooms(b_id) == set()


def test_open_and_close_exactly_once_under_resets(probe):
    """Whatever the clients do: as many closes as opens, none twice, none without an open."""
    a = probe.client()
    before = a.ask_json("counters")
    rng = random.Random(7)
    for _ in range(200):
        ws = probe.client(rng.choice(["", opened("join r"), opened("close 1000 x"), opened("fail x"), opened("broadcast_others x")]))
        rng.choice([ws.reset, ws.drop, lambda: ws.close(1000), lambda: ws.send(frame(3)), lambda: ws.script("close 1000"),
                    lambda: ws.send(b"\x81"), lambda: ws.script("to r x")])()
        ws.drop()
    quiet = probe.client()  # not in the way of the broadcasts above, all of which were handled before its open
    wait_until(lambda: quiet.query("connections")["count"] == 2, "all others are gone")
    after = quiet.ask_json("counters")
    assert after["strange"] == 0
    assert after["opens"] - before["opens"] == 201 and after["closes"] - before["closes"] == 200


# --- ids (rule 11) ------------------------------------------------------------------------------------------------------------

def test_ids_are_opaque_short_and_never_reused(probe):
    a = probe.client()
    seen = {a.id}
    for _ in range(100):
        ws = probe.client()
        assert len(ws.id) == 22 and ws.id not in seen
        seen.add(ws.id)
        ws.end()
    assert len(seen) == 101
