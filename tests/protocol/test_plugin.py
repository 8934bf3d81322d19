"""The rest of the plugin interface: queries, timers, waking, threads, settings, the log, slow callbacks."""
import json
import time

import pytest

from probe import KINDS, Host, Probe, escape, kind_args, opened, plugin
from tova_host import wait_until
from wsclient import connect

OK, E_ARG, E_THREAD, E_STATE = 0, -4, -5, -6


def nothing_more(observer, kind):
    """Up to now no further event of this kind was on its way to the observer."""
    observer.script("send settled")
    while (text := observer.recv_text()) != "settled":
        assert json.loads(text)["event"] != kind, text


# --- queries ------------------------------------------------------------------------------------------------------------------

def test_queries(probe):
    a, b, c = probe.clients(3)
    for ws in (a, b):
        ws.script("join r", "join s", "send joined")
        assert ws.recv_text() == "joined"
    count, members = c.query("count", "r"), c.query("members", "r")
    assert (count["kind"], count["count"], count["connections"]) == (1, 2, [])
    assert (members["kind"], members["count"], set(members["connections"])) == (2, 2, {a.id, b.id})
    rooms, connections = c.query("rooms", a.id), c.query("connections")
    assert (rooms["kind"], rooms["count"], set(rooms["rooms"])) == (3, 2, {"r", "s"})
    assert (connections["kind"], set(connections["connections"])) == (4, {a.id, b.id, c.id})


def test_an_answer_is_to_whoever_asked(probe):
    """Though many questions are under way with the same number."""
    clients = probe.clients(5)
    for i, ws in enumerate(clients):
        ws.script(f"join r{i}", "query rooms 1 me")
    for i, ws in enumerate(clients):
        assert ws.recv_json()["rooms"] == [f"r{i}"]


def test_queries_about_nothing(probe):
    a = probe.client()
    for kind, argument in (("count", "unknown"), ("members", "unknown"), ("rooms", "ghost"), ("rooms", "none")):
        reply = a.query(kind, argument)
        assert reply["count"] == 0 and reply["connections"] == [] and reply["rooms"] == []


def test_a_query_sees_what_its_own_callback_committed(probe):
    """Committed state only, and it is answered after the commit: a join before it counts, and one behind it does too."""
    a = probe.client()
    reply = a.ask_json("join early", "query rooms 1 me", "join late")
    assert set(reply["rooms"]) == {"early", "late"}


def test_a_query_of_a_failing_callback_is_not_asked(probe):
    observer, a = probe.observer(), probe.client()
    a.script("join r", "query rooms 5 me", "fail no")
    assert observer.event("error")["text"] == "no"
    a.settle()
    assert a.rooms() == set()


def test_answers_come_in_order(probe):
    a = probe.client()
    a.script(*[f"query count {i} r" for i in range(20)])
    assert [a.recv_json()["id"] for i in range(20)] == list(range(20))


def test_a_reply_may_command_and_fail(probe):
    observer, a = probe.observer(), probe.client()
    a.script("on reply to observers hello from reply", "query count 1 r")
    assert observer.event("open")
    assert observer.recv_text() == "hello from reply"
    assert a.recv_json()["id"] == 1
    a.script("on reply fail in reply", "query count 2 r")
    wait_until(lambda: a.ask("send x") == "x", "the connection goes on")
    a.settle()


def test_the_asker_may_be_gone(probe):
    observer, a = probe.observer(), probe.client()
    a.script("query connections 1 ", "close 1000 bye")
    a.expect_closed(1000)
    assert observer.event("close")["code"] == 1000
    observer.settle()


def test_statistics(probe):
    a = probe.client()
    before = a.query("stats")
    a.settle()
    after = a.query("stats")
    assert before["connections"] >= 1 and after["uptime_ms"] >= before["uptime_ms"]
    assert after["messages_in"] == before["messages_in"] + 2
    assert after["messages_out"] == before["messages_out"] + 2
    assert after["bytes_in"] > before["bytes_in"] and after["bytes_out"] > before["bytes_out"]


# --- texts that are made -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("text", ["", "plain", 'a "quoted" \\ one', "line\nend\ttab\0nul\x01\x1f\x7f", "ü€😀\u2028", "x" * 5000, '"' * 1000])
def test_quoted_text_is_json(probe, text):
    assert probe.client().ask_json(f"quote {escape(text)}") == {"said": text}


def test_what_is_no_text_is_not_quoted(probe):
    observer, a = probe.observer(), probe.client()
    a.script("join r", "quote a%FFb")
    assert observer.event("error")["kind"] == 1
    assert a.rooms() == set()
    assert a.ask("send on") == "on"


def test_quoted_texts_stay_until_the_callback_returns(probe):
    assert probe.client().ask("quotes 2000") == '"first"'


@pytest.mark.parametrize("blanks", [0, 505, 506, 507, 100_000])
def test_formatted_text_of_any_length(probe, blanks):
    a = probe.client()
    assert a.ask(f"sendf {blanks} filled") == "filled" + blanks * " "


def test_formatted_text_that_is_none_fails(probe):
    observer, a = probe.observer(), probe.client()
    a.script("join r", "sendf 0 a%FFb")
    assert observer.event("error")["kind"] == 1
    assert a.rooms() == set()


def test_formatted_text_for_others(probe):
    a, b, c = probe.clients(3)
    for ws in (a, b):
        assert ws.ask("join the%20room", "send in") == "in"
    a.script("sendf_to the%20room hello", "sendf_all hello", "send done")
    assert [b.recv_text(), b.recv_text()] == ["hello to the room", "hello to all"]
    assert c.recv_text() == "hello to all" and a.recv_text() == "done"


def test_a_binary_message_with_a_key(probe):
    a = probe.client()
    a.script("with_key k %00%01")
    assert a.recv_binary() == b"\0\1"


def test_once_after_a_time(probe):
    observer, a = probe.observer(), probe.client()
    a.script("after later 7 20")
    event = observer.event("timer")
    assert (event["name"], event["id"]) == ("later", 7)


# --- timers -------------------------------------------------------------------------------------------------------------------

def test_a_timer_of_the_mount(probe):
    observer = probe.observer()
    probe.client().script("timer t 42 1 0")
    event = observer.event("timer")
    assert (event["name"], event["id"], event["ws"]) == ("t", 42, "0" * 22) or event["id"] == 42
    nothing_more(observer, "timer")


def test_a_periodic_timer_until_it_is_cancelled(probe):
    observer, a = probe.observer(), probe.client()
    a.script("timer p 1 1 5")
    for _ in range(3):
        assert observer.event("timer")["name"] == "p"
    a.script("cancel p", "send cancelled")
    assert a.recv_text() == "cancelled"
    nothing_more(observer, "timer")
    time.sleep(0.05)  # ten periods in which nothing may come
    nothing_more(observer, "timer")


def test_setting_an_identical_timer_twice_changes_nothing(probe):
    """It is not started again: set every few milliseconds anew, it comes all the same, and once."""
    observer, a = probe.observer(), probe.client()
    for _ in range(60):
        a.script("timer same 9 150 0", "send set")
        assert a.recv_text() == "set"
        time.sleep(0.005)
    observer.script("send settled")  # 300 ms are over: started anew each time it would still be waiting
    events = []
    while (text := observer.recv_text()) != "settled":
        events.append(json.loads(text))
    timers = [event["id"] for event in events if event["event"] == "timer"]
    assert timers and set(timers) == {9}
    a.script("cancel same", "send cancelled")  # it may have been set again since
    assert a.recv_text() == "cancelled"


def test_another_delay_or_id_replaces_it(probe):
    observer, a = probe.observer(), probe.client()
    a.script("timer r 1 60000 0", "timer r 2 1 0", "send set")
    assert a.recv_text() == "set"
    assert observer.event("timer")["id"] == 2
    a.script("timer r 3 20 0", "timer r 4 20 0", "send set")
    assert a.recv_text() == "set"
    assert observer.event("timer")["id"] == 4
    nothing_more(observer, "timer")


def test_timers_of_one_callback_count_in_order(probe):
    observer, a = probe.observer(), probe.client()
    a.script("timer o 1 1 0", "cancel o", "timer q 2 1 0", "send set")
    assert a.recv_text() == "set"
    assert observer.event("timer")["name"] == "q"
    nothing_more(observer, "timer")


def test_timers_of_a_connection_have_names_of_their_own(probe):
    observer, a, b = probe.observer(), probe.client(), probe.client()
    a_id, b_id = a.id, b.id
    a.script("timer t 1 30 0", "wstimer me t 2 30 0", f"wstimer {b_id} t 3 30 0")
    events = [observer.event("timer") for _ in range(3)]
    assert sorted((e["id"], e["ws"] in (a_id, b_id)) for e in events) == [(1, False), (2, True), (3, True)]


def test_timers_of_a_connection_go_with_it(probe):
    observer, a, b = probe.observer(), probe.client(), probe.client()
    a.script("wstimer me t 1 40 40", "send set")
    assert a.recv_text() == "set"
    a.end()
    assert observer.event("close")
    b.script("timer later 2 120 0")
    event = observer.event("timer")
    assert event["name"] == "later", event
    b.script("cancel later")


def test_a_timer_of_a_failing_callback_is_not_set(probe):
    observer, a = probe.observer(), probe.client()
    a.script("timer f 1 1 0", "fail no")
    a.settle()
    a.script("timer g 2 20 0")
    assert observer.event("timer")["name"] == "g"
    nothing_more(observer, "timer")


def test_a_failing_timer_callback_is_an_error_of_its_connection(probe):
    observer, a = probe.observer(), probe.client()
    a.script("on timer data 0 lost;join never;fail in timer", "wstimer me t 1 1 0")
    error = observer.event("error")
    assert (error["ws"], error["text"]) == (a.id, "in timer")
    assert a.rooms() == set() and a.ask("getdata") == "00" * 64


def test_a_timer_sees_the_connections_data(probe):
    a = probe.client()
    a.script("data 0 abc", "on timer getdata;data 3 def", "wstimer me t 1 1 0")
    assert bytes.fromhex(a.recv_text()).startswith(b"abc\0")
    assert bytes.fromhex(a.ask("getdata")).startswith(b"abcdef")


def test_a_timer_set_within_its_own_callback(probe):
    observer, a = probe.observer(), probe.client()
    a.script("on timer wstimer me again 2 1 0;to observers set", "wstimer me first 1 1 0")
    assert observer.event("timer")["name"] == "first"
    assert observer.recv_text() == "set"
    assert observer.event("timer")["name"] == "again"


def test_a_timer_that_cancels_itself(probe):
    observer, a = probe.observer(), probe.client()
    a.script("on timer wscancel me p", "wstimer me p 1 5 5")
    observer.event("timer")
    time.sleep(0.04)
    nothing_more(observer, "timer")


# --- waking and threads -------------------------------------------------------------------------------------------------------

def test_wake(probe):
    observer, a = probe.observer(), probe.client()
    a.script("later broadcast woken", "wake", "wake", "send asked")
    assert a.recv_text() == "asked"
    assert a.recv_text() == "woken"
    assert observer.event("wake")


def test_many_wakes_before_it_runs_are_one(probe):
    observer, a = probe.observer(), probe.client()
    a.script(*["wake"] * 100)
    assert observer.event("wake")
    a.settle()
    nothing_more(observer, "wake")


def test_a_wake_within_a_wake_is_another_one(probe):
    observer, a = probe.observer(), probe.client()
    a.script("later wake;to observers first", "wake")
    assert observer.event("wake")
    assert observer.recv_text() == "first"
    assert observer.event("wake")


def test_a_wake_outlives_the_failure_of_its_callback(probe):
    """It is no command: what woke it, another thread perhaps, can not be undone."""
    observer, a = probe.observer(), probe.client()
    a.script("wake", "fail no")
    assert {observer.event(None)["event"] for _ in range(3)} >= {"error", "wake"}


def test_a_thread_may_wake_log_and_ask_settings_and_nothing_else(quiet):
    observer, a = quiet.observer(), quiet.client()
    mark = len(quiet.host.lines)
    a.script("thread")
    event = observer.event("wake")
    assert event["thread"] == [E_THREAD] * 3
    quiet.host.wait_log(lambda line: "hello from a thread" in str(line), "the thread's log line", after=mark)
    a.settle()


def test_a_failing_wake_is_logged(quiet):
    a = quiet.client()
    mark = len(quiet.host.lines)
    a.script("later broadcast never;fail in wake", "wake")
    quiet.host.wait_log(lambda line: "in wake" in str(line), "the failure", after=mark)
    a.settle()


def test_no_data_without_a_connection(probe):
    observer, a = probe.observer(), probe.client()
    a.script("later getdata;data 0 x;event", "wake")
    observer.event("wake")
    assert a.results() == [OK, E_STATE, OK]


# --- settings and the log -----------------------------------------------------------------------------------------------------

def test_settings_are_of_their_mount(probe, other):
    assert probe.client().ask("setting greeting") == "hello"
    assert other.client().ask("setting greeting") == "(null)"
    assert probe.client().ask("setting nonsense") == "(null)"


def test_declared_settings_have_defaults():
    path = plugin("probe_settings")
    with Host("--plugin", f"/a={path}", "--plugin", f"/b={path}", "--plugin-set", "/b:greeting=ho=w", "--plugin-set", "optional=x") as host:
        with Probe(host, "/a") as a, Probe(host, "/b") as b:
            assert a.client().ask("setting greeting") == "hello" and a.client().ask("setting optional") == "x"
            assert b.client().ask("setting greeting") == "ho=w"


def test_the_host_says_what_it_is(probe):
    about = probe.client().ask_json("about")
    assert about["abi"][0] == 1 and about["abi"][1] >= 3 and about["size"] >= about["known"] and about["host"]


def test_log_levels_and_injection(quiet):
    """What a plugin logs, perhaps a client's text, can not forge a line: there is one line for it, whatever is in it."""
    a = quiet.client()
    mark = len(quiet.host.lines)
    a.script('log 1 evil%0A{"level":"error","kind":"host","message":"forged"}%0D%0A%1b[31m%00 %ff "quoted" \\ end')
    line = quiet.host.wait_log(lambda line: "evil" in str(line), "the plugin's line", after=mark)
    assert line["level"] == "warn" and line["kind"] in ("plugin", "worker.output")
    a.settle()
    assert not [line for line in quiet.host.lines[mark:] if line.get("message") == "forged" or "raw" in line]


def test_a_peer_can_not_forge_log_lines():
    with Host("--plugin", f"/probe={plugin('probe')}", "--log-level", "debug") as host:
        evil = '"},\n{"level":"error","message":"forged"}\r\n\x1b[31m'
        with connect("127.0.0.1", host.port, "/probe?x=%0A%22forged", headers=[("User-Agent", '"forged" \\" \x80\x9f')]) as ws:
            ws.close(1000, evil)
            ws.expect_close(1000)
        with connect("127.0.0.1", host.port, "/probe") as ws:
            ws.send_text("fail " + evil.replace("\n", "%0A"))
            ws.send_text("send x")
            assert ws.recv_text() == "x"
            ws.end()
        with connect("127.0.0.1", host.port, "/probe/observe") as ws:
            ws.recv_text()
            ws.end()
    assert not [line for line in host.lines if line.get("message") == "forged" or "raw" in line]


def test_a_slow_callback_is_logged():
    with Host("--plugin", f"/probe={plugin('probe')}", "--plugin-slow", "20ms") as host, Probe(host) as probe:
        ws = probe.client()
        ws.script("stall 60", "send done")
        assert ws.recv_text() == "done"
        line = host.wait_log(lambda line: line.get("kind") == "plugin.slow", "the slow callback")
        assert "message" in str(line)


# --- start and stop -----------------------------------------------------------------------------------------------------------

def test_start_may_set_timers():
    with Host("--plugin", f"/probe={plugin('probe')}", "--plugin-set", "log_events=1", "--plugin-set", "start_timer=10") as host:
        host.wait_log(lambda line: '"name":"start"' in str(line.get("message")), "the timer that start set")


@pytest.mark.parametrize("kind", KINDS)
def test_stop_comes_last_and_may_not_command(kind):
    with Host("--plugin", f"/probe={plugin('probe')}", "--close-timeout", "200ms", *kind_args(kind)) as host:
        with connect("127.0.0.1", host.port, "/probe") as ws:
            ws.send_text("thread")
            ws.send_text("send x")
            ws.recv_text()
            host.stop()
            assert ws.read_all()
    last = [line for line in host.lines if "probe 1.0 stops" in str(line)]
    assert len(last) == 1 and "broadcast returned -6" in str(last[0]) and "opens 1, closes 1, strange 0" in str(last[0]), last


def test_callbacks_that_are_not_there_cost_nothing():
    with Host("--plugin", f"/s={plugin('silent')}", "--plugin", f"/o={plugin('short')}", "--plugin", f"/l={plugin('long')}") as host:
        with connect("127.0.0.1", host.port, "/s") as ws:
            ws.send_text("nobody hears")
            ws.roundtrip()
            ws.end()
        for path in ("/o", "/l"):
            with connect("127.0.0.1", host.port, path) as ws:
                ws.send_text("x")
                assert ws.recv_text() == "x"
                ws.send_frame(3)
                ws.expect_closed(1002)


def test_a_plugin_in_cpp():
    with Host("--plugin", f"/n={plugin('cpp_plugin')}", "--plugin", f"/o={plugin('header_old')}") as host:
        with connect("127.0.0.1", host.port, "/n", headers=[("User-Agent", "tester")]) as ws:
            assert ws.recv_text() == "tester"
            ws.send_text("abc")
            assert ws.recv_text() == "cba 1"
            ws.send_text("throw")
            assert ws.recv_text() == "error: thrown in C++"
            ws.end()
        with connect("127.0.0.1", host.port, "/o") as ws:
            ws.send_binary(b"x")
            assert ws.recv_binary() == b"x"
            ws.end()


@pytest.mark.parametrize("query", ["", opened("send x")])
def test_instances_of_one_library_are_separate(probe, other, query):
    assert probe.client().ask_json("counters") != {} and other.client().ask_json("counters")["opens"] >= 1
    a = probe.client()
    opens = a.ask_json("counters")["opens"]
    other.clients(3, query)
    assert a.ask_json("counters")["opens"] == opens
