"""The dashboard in each of its languages, message by message."""
import json
import time

import pytest

from conftest import plugin
from example_workers import KINDS, example
from tova_host import IMPATIENT, Host
from wsclient import connect

NUMBER = (int, float)  # JavaScript writes 1.0 as 1

SHAPE = {
    "time": int,
    "load": [NUMBER, NUMBER, NUMBER],
    "memory": {"total": int, "used": int},
    "host": dict.fromkeys(("uptime", "connections", "rooms", "messages_in", "messages_out", "bytes_in", "bytes_out", "slow", "dropped", "refused"),
                          int),
}


def assert_shape(value, shape, where="data"):
    if isinstance(shape, dict):
        assert set(value) == set(shape), where
        for key in shape:
            assert_shape(value[key], shape[key], f"{where}.{key}")
    elif isinstance(shape, list):
        assert len(value) == len(shape), where
        for i, each in enumerate(shape):
            assert_shape(value[i], each, f"{where}[{i}]")
    else:
        assert type(value) in (shape if isinstance(shape, tuple) else (shape,)), f"{where}: {value!r}"


def dashboard(interval="100", kind="plugin", **how):
    """Plugins take the interval from the host's settings, workers from their command line."""
    settings, arguments = (), ()
    if interval is not None and kind in ("plugin", "isolate"):
        settings = "--plugin-set", f"/dashboard:interval-ms={interval}"
    elif interval is not None:
        arguments = "--interval-ms", interval
    return Host(*example(kind, "/dashboard", "dashboard", *arguments), *settings, *IMPATIENT, **how)


@pytest.fixture(params=KINDS)
def host(request):
    with dashboard(kind=request.param) as running:
        yield running


def attach(host):
    return connect("127.0.0.1", host.port, "/dashboard")


def receive(ws):
    return json.loads(ws.recv_text())


def act(ws, **message):
    ws.send_text(json.dumps(message))


def until(ws, predicate):
    """The first message for which predicate holds; updates before it are what they are."""
    while True:
        message = receive(ws)
        if predicate(message):
            return message


def is_error(message):
    return message["type"] == "error"


def test_init_then_updates(host):
    before = time.time() * 1000
    ws = attach(host)
    init = receive(ws)
    assert init["type"] == "init"
    assert_shape(init["data"], SHAPE)
    assert before - 1000 <= init["data"]["time"] <= time.time() * 1000 + 1000
    assert init["data"]["host"]["connections"] == 1
    last = init
    for _ in range(5):
        update = receive(ws)
        assert update["type"] == "update"
        assert_shape(update["data"], SHAPE)
        assert update["data"]["time"] >= last["data"]["time"]
        for counter in ("messages_in", "messages_out", "bytes_in", "bytes_out", "uptime"):
            assert update["data"]["host"][counter] >= last["data"]["host"][counter]
        last = update
    assert last["data"]["host"]["messages_out"] > init["data"]["host"]["messages_out"]


def test_everybody_gets_one_init_of_their_own(host):
    clients = [attach(host) for _ in range(10)]
    for ws in clients:
        assert receive(ws)["type"] == "init"
    for ws in clients:
        assert [receive(ws)["type"] for _ in range(3)] == ["update"] * 3


def test_those_who_leave_at_once_do_no_harm(host):
    for _ in range(50):
        attach(host).drop()
    ws = attach(host)
    assert receive(ws)["type"] == "init"
    until(ws, lambda m: m["type"] == "update" and m["data"]["host"]["connections"] == 1)


def test_unsubscribe_and_subscribe(host):
    one, two = attach(host), attach(host)
    assert receive(one)["type"] == "init"  # it waits for the answer to a query, and may come after answers to what is said next
    act(one, action="unsubscribe", channel="dashboard")
    act(one, action="silence?")
    until(one, is_error)
    for _ in range(4):
        receive(two)
    act(one, action="silence?")
    assert is_error(receive(one)), "an update came after leaving"
    act(one, action="subscribe", channel="dashboard")
    assert receive(one)["type"] == "update"


def test_another_channel(host):
    ws = attach(host)
    act(ws, action="unsubscribe", channel="dashboard")
    act(ws, action="subscribe", channel="news")
    act(ws, action="unsubscribe", channel="never joined")
    act(ws, action="silence?")
    assert until(ws, is_error) == {"type": "error", "text": "Unknown action"}


@pytest.mark.parametrize("message", ['{"action":"explode","channel":"dashboard"}', '{"action":1}', "{}", "[]"])
def test_unknown_actions(host, message):
    ws = attach(host)
    assert receive(ws)["type"] == "init"
    ws.send_text(message)
    assert until(ws, is_error) == {"type": "error", "text": "Unknown action"}
    assert receive(ws)["type"] == "update"


@pytest.mark.parametrize("message", [
    "", "no JSON", '"subscribe"', "[" * 100000, '{"action":"subscribe"}', '{"action":"subscribe","channel":1}', '{"action":"unsubscribe","channel":null}',
    '{"action":"subscribe","channel":""}', json.dumps({"action": "subscribe", "channel": "x" * 256}),
])
def test_what_can_not_be_done_is_answered(host, message):
    ws = attach(host)
    assert receive(ws)["type"] == "init"
    ws.send_text(message)
    error = until(ws, is_error)
    assert error["text"] and error["text"] != "Unknown action"
    assert receive(ws)["type"] == "update"


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_interval_is_a_second(kind):
    with dashboard(interval=None, kind=kind) as host:
        ws = attach(host)
        times = [until(ws, lambda m: m["type"] == "update")["data"]["time"] for _ in range(4)]
        # Each may be late, as the machine has it; with a shorter interval none of them would be so far apart.
        assert max(after - before for before, after in zip(times, times[1:])) > 900


@pytest.mark.parametrize("interval", ["", "0", "99", "3600001", "-1000", "1s", "abc", "18446744073709551617000"])
def test_bad_intervals_are_refused(interval):
    host = dashboard(interval=interval)
    host.start(wait=False)
    assert host.wait_exit() in (1, 2)
    assert "interval-ms is 100 to 3600000" in host.log_text()


def test_unknown_settings_are_refused():
    host = Host(*plugin("/dashboard", "dashboard"), "--plugin-set", "/dashboard:colour=blue", *IMPATIENT)
    host.start(wait=False)
    assert host.wait_exit() in (1, 2)
    assert "colour" in host.log_text()


def test_updates_go_on_over_a_reload(host):
    """The timer is the host's, the waiting list the library's: neither may be lost or doubled."""
    ws = attach(host)
    assert receive(ws)["type"] == "init"
    mark = host.reload()
    host.wait_log(lambda line: line.get("kind") == "reload", after=mark)
    assert until(ws, lambda m: m["type"] == "update")
    assert [receive(ws)["type"] for _ in range(5)] == ["update"] * 5
    late = attach(host)
    assert receive(late)["type"] == "init"
    times = [receive(late)["data"]["time"] for _ in range(6)]
    assert times[-1] - times[0] > 400, "updates come twice as often"
