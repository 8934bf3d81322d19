"""Workers in processes of their own, against a host played by the test."""
import json
import signal
import time

import pytest
from workers import finish

HEAD = """
import asyncio, json, sys, threading, time
import tova
from tova import *
"""
TAIL = "\nserve(globals())\n"
A, B = "A" * 22, "B" * 22
REQUEST = {"method": "GET", "path": "/chat/ä", "query": "a=1", "mount": "/chat", "host": "localhost",
           "headers": [["Cookie", "a=b; c=d"], ["X-One", "1"]], "remote": ["127.0.0.1", 4711], "local": ["127.0.0.1", 80],
           "tls": None, "secure": True, "subprotocols": ["v1", "v2"], "claims": {"sub": "ada"}}

ECHO = HEAD + """
def on_message(ws, message):
    ws.send(message)
""" + TAIL


def event(s, t="message", conn=A, seq=None, attempt=1, **members):
    item = {"t": t, "s": s, "attempt": attempt, "seq": s if seq is None else seq, **members}
    if conn:
        item["conn"] = conn
    return item


def opening(s, conn=A):
    return event(s, "open", conn, request=REQUEST)


def ack(*commands, s):
    return {"t": "ack", "s": s, "commands": list(commands)} if commands else {"t": "ack", "s": s}


def drain(worker, peer):
    peer.send({"t": "drain"})
    assert peer.receive() == {"t": "bye"}
    peer.close()
    code, out, err = finish(worker)
    assert code == 0, err
    return out, err


# --- hello and handlers --------------------------------------------------------------------------------------------------------


def test_hello(host):
    _, peer = host.serve(ECHO)
    hello = peer.hello
    assert hello.pop("name").startswith("-c ")
    assert hello == {"t": "hello", "v": 1, "token": "secret", "events": ["message"], "mount": "/chat", "runs": 64, "claims": True}


def test_events_are_those_that_have_handlers(host):
    _, peer = host.serve(HEAD + """
def on_open(ws): pass
def on_close(ws, code, reason): pass
def on_timer(name, id, ws): pass
def on_upgrade(request): pass
""" + TAIL)
    assert sorted(peer.hello["events"]) == ["close", "open", "timer", "upgrade"]


@pytest.mark.parametrize("how", [
    "serve(on_message=lambda ws, m: ws.send(m))",
    "class Chat:\n def on_message(self, ws, m): ws.send(m)\nserve(Chat)",
    "class Chat:\n def on_message(self, ws, m): ws.send(m)\nserve(Chat())",
    "@on('message')\ndef any_name(ws, m): ws.send(m)\nserve()",
    "async def on_message(ws, m): ws.send(m)\nserve(globals())",
    "async def answer(ws, m): ws.send(m)\nserve(on_message=lambda ws, m: asyncio.ensure_future(answer(ws, m)))",
    "async def on_message(ws, m): ws.send(m)\nasyncio.run(serve_async(globals()))",
])
def test_ways_to_give_handlers(host, how):
    worker, peer = host.serve(HEAD + how)
    peer.send(event(1, data="a"))
    peer.expect(**ack({"c": "send", "data": "a"}, s=1))
    drain(worker, peer)


@pytest.mark.parametrize("code, text", [
    ("serve({})", "there are no handlers"),
    ("serve(on_mesage=print)", "knows no handler on_mesage"),
    ("def on_message(ws): pass\nserve(globals())", "on_message has to take (ws, message)"),
    ("on_open = 7\nserve(globals())", "on_open is no function but int"),
    ("def on_mesage(ws, message): pass\nserve(globals())", "knows no handler on_mesage (<string>:5) (is it on_message?)"),
    ("def onMessage(ws, message): pass\nserve(globals())", "knows no handler onMessage (<string>:5) (is it on_message?)"),
    ("class A:\n  def on_opened(self, ws): pass\nserve(A)", "knows no handler on_opened (<string>:6) (is it on_open?)"),
    ("def on_message(ws, message):\n  ws.send(message)\n  yield\nserve(globals())", "on_message has a yield in it, so that nothing of it would "
     "run (<string>:5)"),
    ("async def on_message(ws, message):\n  yield ws.send(message)\nserve(globals())", "on_message has a yield in it"),
    ("@on('open')\nasync def mine(ws):\n  yield 1\nserve()", "on_open has a yield in it, so that nothing of it would run (<string>:5)"),
    ("class A:\n  def on_close(self, ws, code, reason): yield\nserve(A)", "on_close has a yield in it"),
    ("class A:\n  @staticmethod\n  def on_timer(name, id, ws): yield\nserve(A())", "on_timer has a yield in it"),
    ("def start(a):\n  yield a\nimport functools\nserve(on_start=functools.partial(start, 1))", "on_start has a yield in it"),
    ("class A:\n  def __call__(self, ws, message): yield\nserve(on_message=A())", "on_message has a yield in it"),
])
def test_wrong_handlers_are_told_at_once(host, code, text):
    code, _, err = finish(host.start(HEAD + code))
    assert code == 1 and text in err and len(err.splitlines()) == 1


def test_a_decorator_for_no_event(host):
    code, _, err = finish(host.start(HEAD + "on('mesage')"))
    assert code == 1 and 'there is no event "mesage"' in err


@pytest.mark.parametrize("code", [
    "from selectors import DefaultSelector as on_something\nfrom shutil import rmtree as on_nothing\n",
    "@on('message')\ndef on_whatever(ws, m): ws.send(m)\ndel on_message\n",
    "on_top = 7\n",
    "import types\n@types.coroutine\ndef on_message(ws, m):\n    yield\n    ws.send(m)\n",
])
def test_names_that_only_look_like_handlers(host, code):
    worker, peer = host.serve(HEAD + "def on_message(ws, m): ws.send(m)\n" + code + "serve(globals())")
    peer.send(event(1, data="a"))
    peer.expect(**ack({"c": "send", "data": "a"}, s=1))
    drain(worker, peer)


@pytest.mark.parametrize("what, text", [
    ("ws.request", "ws.request is known in on_open and on_back only"), ("ws.rooms", "ws.rooms is known in on_close only"),
    ("tova.Connection('A' * 22).state", "events of its own"),
])
def test_what_is_not_known_is_not_made_up(host, what, text):
    worker, peer = host.serve(HEAD + f"import tova\ndef on_message(ws, m):\n  ws.send(str({what}))\nserve(globals())")
    peer.send(event(1, data="a"))
    item = peer.receive()
    assert item["t"] == "nack" and text in item["error"]
    drain(worker, peer)


@pytest.mark.parametrize("way", ["def", "async def"])
@pytest.mark.parametrize("error", ["GeneratorExit()", "asyncio.CancelledError()", "BaseException('odd')"])
def test_errors_that_are_no_exceptions(host, way, error):
    worker, peer = host.serve(HEAD + f"{way} on_message(ws, m):\n  if m == 'a': raise {error}\n  ws.send(m)\nserve(globals())")
    peer.send(event(1, data="a"))
    item = peer.receive()
    assert item["t"] == "nack" and item["s"] == 1
    peer.send(event(2, data="b"))
    peer.expect(**ack({"c": "send", "data": "b"}, s=2))
    drain(worker, peer)


def test_a_refusal_in_a_thread_is_heard(host):
    code, _, err = finish(host.start(HEAD + "import threading\ndef on_message(ws, m): pass\n"
                                     "t = threading.Thread(target=serve, args=(globals(),), kwargs={'url': ''})\n"
                                     "t.start(); t.join()", TOVA_URL=""))
    assert "TovaError" in err and "TOVA_URL is not set" in err


def test_without_a_url(host):
    code, _, err = finish(host.start(ECHO, TOVA_URL=""))
    assert code == 1 and "TOVA_URL is not set" in err and "Traceback" not in err


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "tcp://nothing", "nonsense"])
def test_a_url_that_is_none(host, url):
    code, _, err = finish(host.start(ECHO, TOVA_URL=url))
    assert code == 1 and url in err


# --- events and commands -------------------------------------------------------------------------------------------------------


def test_the_specification(host):
    worker, peer = host.serve(HEAD + """
def on_open(ws):
    join(ws, "general")
    broadcast_to("general", {"type": "system"}, exclude=ws)
    ws.send(["a", 1, None, True, "ä"])
def on_message(ws, message):
    leave(ws, "general")
    broadcast(message)
    broadcast(message, ws)
    broadcast_to("general", message, ws)
    ws.join("tea"); ws.leave("tea"); ws.close(); ws.close(3000, "ü"); close(ws, 1000)
def on_close(ws, code, reason):
    broadcast_to("general", [code, reason, ws.rooms])
def on_error(ws, error):
    ws.send([error, error.kind])
""" + TAIL)
    peer.send(opening(1))
    peer.expect(**ack({"c": "join", "room": "general"},
                      {"c": "broadcast_to", "room": "general", "data": '{"type":"system"}', "exclude": True},
                      {"c": "send", "data": '["a",1,null,true,"ä"]'}, s=1))
    peer.send(event(2, data='"\\\n\x01🎉'))
    data = {"data": '"\\\n\x01🎉'}
    peer.expect(**ack({"c": "leave", "room": "general"}, {"c": "broadcast", **data}, {"c": "broadcast", **data, "exclude": True},
                      {"c": "broadcast_to", "room": "general", **data, "exclude": True}, {"c": "join", "room": "tea"},
                      {"c": "leave", "room": "tea"}, {"c": "close"}, {"c": "close", "code": 3000, "reason": "ü"},
                      {"c": "close", "code": 1000}, s=2))
    peer.send(event(3, "error", kind="handler", error="oh"), event(4, "close", code=1001, reason="bye", rooms=["a"]))
    peer.expect(**ack({"c": "send", "data": '["oh","handler"]'}, s=3))
    peer.expect(**ack({"c": "broadcast_to", "room": "general", "data": '[1001,"bye",["a"]]'}, s=4))
    drain(worker, peer)


def test_conflation_keys(host):
    worker, peer = host.serve(HEAD + """
def on_message(ws, message):
    send(ws, 1, key="ä")
    ws.send("x", key=message)
    broadcast(b"xyz", ws, "k")
    broadcast_to("r", "x", key="k"); broadcast("x", key=None)
    for wrong in (1, b"k"):
        try:
            broadcast("never", key=wrong)
        except TypeError as error:
            ws.send(str(error))
""" + TAIL)
    peer.send(event(1, data='"'))
    peer.expect(**ack({"c": "send", "key": "ä", "data": "1"}, {"c": "send", "key": '"', "data": "x"},
                      {"c": "broadcast", "key": "k", "bin": b"xyz", "exclude": True},
                      {"c": "broadcast_to", "room": "r", "key": "k", "data": "x"}, {"c": "broadcast", "data": "x"},
                      {"c": "send", "data": "a key is text, not int"}, {"c": "send", "data": "a key is text, not bytes"}, s=1))
    drain(worker, peer)


def test_binary(host):
    worker, peer = host.serve(ECHO)
    every = bytes(range(256)) + b"\n]\n"
    peer.send(event(1, bin=every), event(2, bin=b""), event(3, data=""), event(4, state_bin=b"\n\n", bin=b"xyz"))
    for s, data in ((1, {"bin": every}), (2, {"bin": b""}), (3, {"data": ""}), (4, {"bin": b"xyz"})):
        peer.expect(**ack({"c": "send", **data}, s=s))
    drain(worker, peer)


def test_one_read_one_answer(host):
    worker, peer = host.serve(ECHO)
    sizes = []
    for first in range(1, 641, 64):  # a process that has to wait for a processor in between answers in parts
        wanted = list(range(first, first + 64))
        peer.send(*[event(s, data="a") for s in wanted])
        answered = [item["s"] for item in peer.receive_batch()]
        sizes.append(len(answered))
        while len(answered) < 64:
            answered += [item["s"] for item in peer.receive_batch()]
        assert answered == wanted
        if sizes[-1] == 64:
            break
    assert 64 in sizes, sizes
    drain(worker, peer)


def test_cuts_anywhere(host):
    worker, peer = host.serve(ECHO)
    for step in (1, 2, 7, 8, 9, 10, 100):
        peer.send_cut(event(step, data="ä" * 20), event(1000 + step, bin=b"\n" * 20), step=step)
        peer.expect(**ack({"c": "send", "data": "ä" * 20}, s=step))
        peer.expect(**ack({"c": "send", "bin": b"\n" * 20}, s=1000 + step))
    several = peer.frame(b'[{"t":"ping"}]') * 3
    peer.sock.sendall(several[:-5])
    for _ in range(2):
        peer.expect(t="pong")
    peer.sock.sendall(several[-5:])
    peer.expect(t="pong")
    drain(worker, peer)


def test_large_messages(host):
    worker, peer = host.serve(ECHO)
    peer.send(event(1, data="x" * 20_000_000), event(2, bin=b"y" * 20_000_000))
    peer.expect(**ack({"c": "send", "data": "x" * 20_000_000}, s=1))
    peer.expect(**ack({"c": "send", "bin": b"y" * 20_000_000}, s=2))
    drain(worker, peer)


def test_slow_handlers_show_signs_of_life(host):
    """An acknowledgement must not wait for a whole batch of slow handlers: the host would think that the worker hangs."""
    worker, peer = host.serve(HEAD + """
def on_message(ws, message):
    time.sleep(0.05)
""" + TAIL)
    peer.send(*[event(s, data="a") for s in range(1, 6)])
    assert len(peer.receive_batch()) < 5
    worker.kill()


def test_other_connections(host):
    worker, peer = host.serve(HEAD + f"""
def on_message(ws, message):
    send("{B}", "x"); join("{B}", "r"); broadcast("y", exclude="{B}"); close(Connection("{B}"), 1000)
    set_state("{B}", 1)
    assert ws == Connection(ws.id) and ws != Connection("{B}") and len({{ws, Connection(ws.id)}}) == 1
""" + TAIL)
    peer.send(event(1, data=""))
    peer.expect(**ack({"c": "send", "conn": B, "data": "x"}, {"c": "join", "conn": B, "room": "r"},
                      {"c": "broadcast", "data": "y", "exclude": B}, {"c": "close", "conn": B, "code": 1000},
                      {"c": "set", "conn": B, "state": "1"}, s=1))
    drain(worker, peer)


def test_request(host):
    worker, peer = host.serve(HEAD + """
def on_open(ws):
    r = ws.request
    assert current_event().key == ws.id + ":1" and current_event().attempt == 3 and current_event().sequence == 1
    ws.send([r.method, r.path, r.query, r.mount, r.host, r.header("x-one"), r.header("none"), r.cookies, r.remote, r.local, r.tls,
             r.secure, r.subprotocols, r.claims])
""" + TAIL)
    peer.send({**opening(1), "attempt": 3})
    peer.expect(**ack({"c": "send", "data": '["GET","/chat/ä","a=1","/chat","localhost","1",null,{"a":"b","c":"d"},'
                       '["127.0.0.1",4711],["127.0.0.1",80],null,true,["v1","v2"],{"sub":"ada"}]'}, s=1))
    drain(worker, peer)


def test_members_and_types_nobody_knows(host):
    worker, peer = host.serve(ECHO)
    peer.send({"t": "later"}, {"t": "later", "s": 1}, event(2, "close", code=1000, reason="", rooms=[]), event(3, data="a", more=[{}]))
    peer.expect(**ack(s=1))
    peer.expect(**ack(s=2))
    peer.expect(**ack({"c": "send", "data": "a"}, s=3))
    drain(worker, peer)


# --- state ---------------------------------------------------------------------------------------------------------------------


def test_state(host):
    worker, peer = host.serve(HEAD + """
def on_message(ws, message):
    if message == "show":
        ws.send(repr(ws.state))
    else:
        ws.state = eval(message)
        assert ws.state == eval(message)
""" + TAIL)
    peer.send(event(1, data="show"))
    peer.expect(**ack({"c": "send", "data": "None"}, s=1))
    s = 1
    for value in ("'1'", "1", "{'a': [1, 'ä']}", "True", "''"):
        peer.send(event(s := s + 1, data=value))
        (command,) = peer.receive()["commands"]
        assert command.pop("c") == "set"
        peer.send(event(s := s + 1, data="show", **command))
        peer.expect(**ack({"c": "send", "data": value}, s=s))
    peer.send(event(50, data="b'\\x00\\xff'"))
    peer.expect(**ack({"c": "set", "state_bin": b"\x00\xff"}, s=50))
    peer.send(event(51, data="show", state_bin=b"\x00\xff"), event(52, data="show", state="no JSON"))
    peer.expect(**ack({"c": "send", "data": "b'\\x00\\xff'"}, s=51))
    peer.expect(**ack({"c": "send", "data": "'no JSON'"}, s=52))
    peer.send(event(53, data="'x' * 4094"))
    assert peer.receive()["t"] == "ack"
    peer.send(event(54, data="'x' * 4095"))
    got = peer.receive()
    assert got["t"] == "nack" and "4097 bytes" in got["error"]
    drain(worker, peer)


def test_changes_within_the_state(host):
    worker, peer = host.serve(HEAD + """
def on_message(ws, message):
    if message:
        ws.state["n"] += 1
    assert ws.state["n"]
""" + TAIL)
    peer.send(event(1, data="x", state='{ "n" : 1 }'), event(2, data="", state='{ "n" : 1 }'))
    peer.expect(**ack({"c": "set", "state": '{"n":2}'}, s=1))
    peer.expect(**ack(s=2))
    drain(worker, peer)


# --- failures ------------------------------------------------------------------------------------------------------------------


def test_a_handler_that_raises(host):
    worker, peer = host.serve(HEAD + """
def on_message(ws, message):
    ws.send("never")
    raise ValueError("wrong: " + message)
async def on_open(ws):
    ws.send("never")
    await asyncio.sleep(0)
    raise KeyError("k")
""" + TAIL)
    peer.send(event(1, data="ä"), event(2, data="b"))
    peer.expect(t="nack", s=1, error="ValueError: wrong: ä")
    peer.expect(t="nack", s=2, error="ValueError: wrong: b")
    peer.send(opening(3))
    peer.expect(t="nack", s=3, error="KeyError: 'k'")
    _, err = drain(worker, peer)
    assert err.count("Traceback") == 3 and "in on_open\nKeyError: 'k'" in err


@pytest.mark.parametrize("command, text", [
    ("join(ws, 7)", "TypeError: the name of a room is text, not int"),
    ("join(ws, '')", "ValueError: the name of a room has 1 to 255 bytes"),
    ("leave(ws, 'ä' * 128)", "ValueError: the name of a room has 1 to 255 bytes"),
    ("broadcast_to('a\\0b', 'x')", "ValueError: the name of a room has 1 to 255 bytes"),
    ("set_timer('x' * 256, 1)", "ValueError: the name of a timer has 1 to 255 bytes"),
    ("ws.close(1005)", "ValueError: a close code is 1000"),
    ("ws.close(4000, 'ä' * 62)", "ValueError: a reason has at most 123 bytes"),
    ("join(None, 'a')", "TypeError: a connection is expected, not None"),
    ("ws.send(object())", "TypeError"),
    ("ws.send(float('nan'))", "ValueError"),
    ("ws.send('\\ud800')", "UnicodeEncodeError"),
    ("join(ws, '\\udfff')", "UnicodeEncodeError"),
    ("ws.send(b'x' * (65 << 20))", "ValueError"),
    ("ws.close(None, 'why')", "ValueError: a reason needs a close code"),
    ("ws.close('1000')", "TypeError"),
    ("set_timer('a', -1)", "ValueError: delay_ms"),
    ("set_timer('a', 0.5)", "TypeError: delay_ms"),
    ("broadcast('a', exclude=7)", "TypeError: a connection"),
    ("raise Exception('\\ud800' + 'x' * 5000)", "Exception: ?xxx"),
])
def test_commands_that_can_not_be(host, command, text):
    worker, peer = host.serve(HEAD + f"""
def on_message(ws, message):
    join(ws, "before")
    {command}
def on_open(ws):
    ws.send(b"1")
    try:
        broadcast(b"22", exclude=7)
    except TypeError:
        ws.send(b"333")
""" + TAIL)
    peer.send(event(1, data=""), opening(2))
    got = peer.receive()
    assert got["t"] == "nack" and got["error"].startswith(text) and len(got["error"]) <= 1000
    # A command that was refused leaves no bytes behind either.
    peer.expect(**ack({"c": "send", "bin": b"1"}, {"c": "send", "bin": b"333"}, s=2))
    drain(worker, peer)


def test_retry(host):
    worker, peer = host.serve(HEAD + """
def on_message(ws, message):
    ws.send("never")
    raise Retry(500, "busy")
""" + TAIL)
    peer.send(event(1, data=""))
    peer.expect(t="nack", s=1, error="busy", retry_ms=500)
    drain(worker, peer)


@pytest.mark.parametrize("after", ["-5", "1e300", "float('nan')", "float('inf')", "0.5", "'500'", "None", "3_600_001"])
def test_a_retry_after_a_time_that_is_none(host, after):
    worker, peer = host.serve(HEAD + f"def on_message(ws, message): raise Retry({after})" + TAIL)
    peer.send(event(1, data=""))
    got = peer.receive()
    assert got["t"] == "nack" and "retry_ms" not in got and "after_ms" in got["error"], got
    drain(worker, peer)


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_handler_that_ends_the_process(host, kind):
    """What was handled before it in the same read stays handled."""
    worker, peer = host.serve(HEAD + f"""
{kind} on_message(ws, message):
    if message == "exit":
        sys.exit(3)
    ws.send(message)
""" + TAIL)
    peer.send(event(1, data="a"), event(2, data="exit"), event(3, data="b"))
    peer.expect(**ack({"c": "send", "data": "a"}, s=1))
    peer.expect_eof()
    assert finish(worker)[0] == 3


@pytest.mark.parametrize("kind, body, text", [
    ("def", "raise ValueError('no database')", "ValueError: no database"),
    ("async def", "await asyncio.sleep(0)\n    raise ValueError('two\\nlines')", "ValueError: two lines"),
    ("async def", "asyncio.current_task().cancel()\n    await asyncio.sleep(9)", "CancelledError: it was cancelled"),
    ("def", "raise asyncio.CancelledError('odd')", "CancelledError: odd"),
    ("def", "broadcast(b'x' * (60 << 20))\n    broadcast(b'x' * (60 << 20))", "ValueError: "),
    ("async def", "broadcast(b'x' * (60 << 20))\n    broadcast(b'x' * (60 << 20))", "ValueError: "),
])
@pytest.mark.parametrize("supervised", [True, False])
def test_an_on_start_that_fails_ends_the_worker(host, kind, body, text, supervised):
    """It is never ready, so that a generation that works does not leave for it."""
    worker = host.start(HEAD + f"""
{kind} on_start():
    broadcast("never")
    {body}
def on_message(ws, message): pass
""" + TAIL, supervised=supervised)
    peer = host.accept()
    assert peer.welcome(starting=True)["starting"] is True
    peer.expect_eof()
    code, _, err = finish(worker)
    assert code == 1, err
    assert [line for line in err.splitlines() if line.startswith("tova: this worker ends, as its on_start failed: ") and text in line], err
    assert "Traceback" in err or "CancelledError" in err


def test_an_on_start_that_does_not_fail(host):
    """The first failure is of a link that is lost: on_start comes again with the next one."""
    worker = host.start(HEAD + """
once = []
async def on_start():
    once.append(1)
    if len(once) == 1:
        broadcast("a")
        try:
            await asyncio.sleep(1)
        finally:
            raise ValueError("too late")
def on_message(ws, message): ws.send(message)
""" + TAIL, supervised=False)
    peer = host.accept()
    peer.welcome(starting=True)
    peer.close()
    peer = host.accept()
    peer.welcome("L2", starting=True)
    peer.expect(t="ready")
    peer.send(event(1, data="x"))
    peer.expect(**ack({"c": "send", "data": "x"}, s=1))
    time.sleep(1.1)
    drain(worker, peer)


@pytest.mark.parametrize("body", [b"{}", b"[1]", b"[", b'[{"t":"ping"}]\nx', b'[{"t":"message","s":1,"conn":"a","bin":2}]\nx',
                                  b'[{"t":"message","s":1,"conn":"a","bin":-1}]', b"[" * 100000, b"\xff"])
def test_a_batch_that_is_none_cuts_the_link(host, body):
    worker, peer = host.serve(ECHO)
    peer.sock.sendall(peer.frame(body))
    peer.expect_eof()
    code, _, err = finish(worker)
    assert code == 1 and "batch" in err and "Traceback" not in err


def test_a_peer_that_speaks_something_else(host):
    worker = host.start(ECHO)
    peer = host.accept()
    peer.sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert peer.read(8)
    peer.expect_eof()
    code, _, err = finish(worker)
    assert code == 1 and "PAIR0" in err


def test_a_lie_about_length(host):
    worker, peer = host.serve(ECHO)
    peer.sock.sendall((b"\1" if peer.ipc else b"") + b"\xff" * 8)
    peer.expect_eof()
    assert "too long" in finish(worker)[2]


# --- runs ------------------------------------------------------------------------------------------------------------------------

RUN = """
gate = None
{kind} on_message(ws, message):
    global gate
    gate = gate or asyncio.Event()
    if message == "open": gate.set()
    if message == "wait": {wait}
    before = ws.state
    if message == "by id": set_state(ws.id, "by id")
    elif isinstance(before, list): before.append(message)
    elif message == "list": ws.state = ["list"]
    elif message != "nothing": ws.state = (before or "") + str(message)
    if message == "fail": raise RuntimeError("no")
    if message == "retry": raise Retry(5)
    if message == "push":
        with push(): set_state(ws, "pushed")
    ws.send([before, current_event().sequence, current_event().attempt, ws.id])
"""


def run_handler(kind):
    return HEAD + "from tova import set_state, push, Retry, current_event\n" + RUN.format(
        kind=kind, wait="await gate.wait()" if kind != "def" else "pass") + TAIL


def following(s, n, data):
    return {"t": "message", "s": s, "run": n, "data" if isinstance(data, str) else "bin": data}


def run_ack(s, before, seq, state=None, conn=A):
    commands = [] if state is None else [{"c": "set", "state": state}]
    sent = {"c": "send", "data": json.dumps([before, seq, 1, conn], separators=(",", ":"))}
    # A list is stored behind what the handler has commanded.
    return ack(*(commands + [sent] if state is None or not state.startswith('["list",') else [sent] + commands), s=s)


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_the_state_goes_from_event_to_event_of_a_run(host, kind):
    worker, peer = host.serve(run_handler(kind))
    peer.send(event(1, seq=4, data="a", state='"s"'), following(2, 2, "b"), following(3, 3, "nothing"), following(4, 4, "c"),
              following(5, 5, "by id"), following(6, 6, "d"))
    for s, before, state in ((1, "s", "sa"), (2, "sa", "sab"), (3, "sab", None), (4, "sab", "sabc"), (5, "sabc", "by id"),
                             (6, "by id", "by idd")):
        peer.expect(**run_ack(s, before, s + 3, None if state is None else json.dumps(state)))
    peer.send(event(7, data="list", conn=B), following(8, 2, "x"), following(9, 3, "y"))
    peer.expect(**run_ack(7, None, 7, '["list"]', conn=B))
    peer.expect(**run_ack(8, ["list", "x"], 8, '["list","x"]', conn=B))
    peer.expect(**run_ack(9, ["list", "x", "y"], 9, '["list","x","y"]', conn=B))
    peer.send(event(10, data="z"), following(11, 2, "w"))
    peer.expect(**run_ack(10, None, 10, '"z"'))
    peer.expect(**run_ack(11, "z", 11, '"zw"'))
    drain(worker, peer)


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize("how", ["fail", "retry"])
def test_what_follows_a_failure_in_a_run_is_not_handled(host, kind, how):
    worker, peer = host.serve(run_handler(kind))
    peer.send(event(1, data="a"), following(2, 2, how), following(3, 3, "never"), following(4, 4, "never"), event(5, conn=B, data="b"))
    got = sorted((peer.receive() for _ in range(3)), key=lambda item: item["s"])
    assert got[0] == run_ack(1, None, 1, '"a"') and got[2] == run_ack(5, None, 5, '"b"', conn=B)
    assert got[1]["t"] == "nack" and got[1]["s"] == 2 and ("retry_ms" in got[1]) == (how == "retry")
    peer.send(event(6, data="c"))
    peer.expect(**run_ack(6, None, 6, '"c"'))
    drain(worker, peer)


def test_a_run_waits_for_coroutines_and_answers_are_not_held_back(host):
    worker, peer = host.serve(run_handler("async def"))
    peer.send(event(1, data="a"), following(2, 2, "wait"), following(3, 3, "c"), event(4, conn=B, data="b"))
    assert sorted((peer.receive()["s"], peer.receive()["s"])) == [1, 4]
    peer.send(event(5, conn=B, data="open"))
    peer.expect(**run_ack(5, None, 5, '"open"', conn=B))
    peer.expect(**run_ack(2, "a", 2, '"await"'))
    peer.expect(**run_ack(3, "await", 3, '"awaitc"'))
    drain(worker, peer)


def test_what_the_host_gives_again_waits_for_what_is_under_way(host):
    """The host has ended the run: its rest is not handled, and what comes instead is, in its turn."""
    worker, peer = host.serve(run_handler("async def"))
    peer.send(event(1, data="wait"), following(2, 2, "stale"))
    peer.send(event(3, seq=2, data="fresh", state='"theirs"'), following(4, 2, "next"))
    peer.send(event(5, conn=B, data="open"))
    peer.expect(**run_ack(5, None, 5, '"open"', conn=B))
    peer.expect(**run_ack(1, None, 1, '"wait"'))
    peer.expect(**run_ack(3, "theirs", 2, '"theirsfresh"'))
    peer.expect(**run_ack(4, "theirsfresh", 3, '"theirsfreshnext"'))
    drain(worker, peer)


def test_what_is_pushed_is_no_state_of_a_run(host):
    worker, peer = host.serve(run_handler("def"))
    peer.send(event(1, data="push"), following(2, 2, "b"))
    peer.expect(**run_ack(1, None, 1, '"push"'))
    peer.expect(**run_ack(2, "push", 2, '"pushb"'))
    assert peer.receive()["commands"] == [{"c": "set", "conn": A, "state": '"pushed"'}]
    drain(worker, peer)


def test_bytes_and_empty_texts_in_a_run(host):
    worker, peer = host.serve(ECHO)
    peer.send(event(1, data="", state_bin=b"\n"), following(2, 2, ""), following(3, 3, b""), following(4, 4, b"\n]\x00"))
    for s, data in ((1, ""), (2, ""), (3, b""), (4, b"\n]\x00")):
        peer.expect(**ack({"c": "send", "data" if isinstance(data, str) else "bin": data}, s=s))
    drain(worker, peer)


def test_an_event_that_follows_none(host):
    worker, peer = host.serve(ECHO)
    peer.send(following(1, 2, "a"))
    peer.expect_eof()
    worker.kill()


# --- async ---------------------------------------------------------------------------------------------------------------------


def test_async_handlers_run_at_the_same_time(host):
    worker, peer = host.serve(HEAD + """
gate = None
async def on_message(ws, message):
    global gate
    gate = gate or asyncio.Event()
    ws.send("first " + message)
    if message == "open":
        gate.set()
    await gate.wait()
    join(ws, message)
    broadcast(message, exclude=ws)
""" + TAIL)
    peer.send(event(1, data="a"), event(2, conn=B, data="b"))
    peer.send({"t": "ping"})
    peer.expect(t="pong")
    peer.send(event(3, conn="C", data="open"))
    got = {}
    for _ in range(3):
        item = peer.receive()
        got[item["s"]] = item
    for s, message in ((1, "a"), (2, "b"), (3, "open")):
        assert got[s] == ack({"c": "send", "data": "first " + message}, {"c": "join", "room": message},
                             {"c": "broadcast", "data": message, "exclude": True}, s=s)
    drain(worker, peer)


def test_a_task_that_outlives_its_handler_pushes(host):
    worker, peer = host.serve(HEAD + """
async def later(ws):
    await asyncio.sleep(0.01)
    assert current_event() is None
    ws.send("later")
tasks = []
async def on_message(ws, message):
    assert current_event().sequence == 1
    tasks.append(asyncio.create_task(later(ws)))
    ws.send("now")
""" + TAIL)
    peer.send(event(1, data=""))
    peer.expect(**ack({"c": "send", "data": "now"}, s=1))
    got = peer.receive()
    assert got["t"] == "push" and got["commands"] == [{"c": "send", "conn": A, "data": "later"}]
    peer.send({"t": "done", "source": got["source"], "n": got["n"]})
    drain(worker, peer)


def test_to_thread_keeps_the_event(host):
    worker, peer = host.serve(HEAD + """
async def on_message(ws, message):
    await asyncio.get_running_loop().run_in_executor(None, __import__("contextvars").copy_context().run, ws.send, "from a thread")
""" + TAIL)
    peer.send(event(1, data=""))
    peer.expect(**ack({"c": "send", "data": "from a thread"}, s=1))
    drain(worker, peer)


# --- upgrade and timers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("result, answer", [
    ("None", {}), ("True", {}), ("accept()", {"accept": {}}),
    ("accept('v1', [('X-A', 'b')], {'user': 1})", {"accept": {"subprotocol": "v1", "headers": [["X-A", "b"]], "state": '{"user":1}'}}),
    ("accept(headers={'X-A': 1})", {"accept": {"headers": [["X-A", "1"]]}}),
    ("accept(state=b'\\0\\n')", {"accept": {"state_bin": b"\0\n"}}),
    ("refuse(404, b'\\xff')", {"refuse": {"status": 404, "type": "text/plain; charset=utf-8", "bin": b"\xff", "headers": []}}),
    ("False", {"refuse": {"status": 403, "type": "text/plain; charset=utf-8", "body": "", "headers": []}}),
    ("refuse(401, 'no', headers=[('WWW-Authenticate', 'Basic')])",
     {"refuse": {"status": 401, "type": "text/plain; charset=utf-8", "body": "no", "headers": [["WWW-Authenticate", "Basic"]]}}),
])
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_upgrade(host, result, answer, kind):
    worker, peer = host.serve(HEAD + f"""
{kind} on_upgrade(request):
    assert request.path == "/chat/ä" and current_event().key == ":0"
    broadcast(b"somebody comes")
    return {result}
""" + TAIL)
    peer.send(event(1, "upgrade", None, 0, request=REQUEST))
    peer.expect(t="ack", s=1, **answer, commands=[{"c": "broadcast", "bin": b"somebody comes"}])
    drain(worker, peer)


def test_an_upgrade_that_returns_nonsense(host):
    worker, peer = host.serve(HEAD + "def on_upgrade(request): return 403" + TAIL)
    peer.send(event(1, "upgrade", None, 0, request=REQUEST))
    assert "on_upgrade returns" in peer.receive()["error"]
    drain(worker, peer)


def test_timers(host):
    worker, peer = host.serve(HEAD + """
def on_open(ws):
    set_timer("one", 1000, ws=ws)
    set_timer("all", 500, period_ms=250, id=7)
    cancel_timer("one", ws)
    cancel_timer("all")
def on_timer(name, id, ws):
    if ws:
        ws.send([name, id])
    else:
        broadcast([name, id])
""" + TAIL)
    peer.send(opening(1))
    peer.expect(**ack({"c": "timer", "name": "one", "id": 0, "delay": 1000, "period": 0, "conn": A},
                      {"c": "timer", "name": "all", "id": 7, "delay": 500, "period": 250},
                      {"c": "cancel", "name": "one", "conn": A}, {"c": "cancel", "name": "all"}, s=1))
    peer.send(event(2, "timer", name="one", id=1, delay=1, period=0), event(3, "timer", None, 0, name="all", id=7, delay=1, period=1))
    peer.expect(**ack({"c": "send", "data": '["one",1]'}, s=2))
    peer.expect(**ack({"c": "broadcast", "data": '["all",7]'}, s=3))
    drain(worker, peer)


# --- pushes and queries ----------------------------------------------------------------------------------------------------------


def test_pushes_of_threads(host):
    worker, peer = host.serve(HEAD + """
def work():
    broadcast("alone")
    with push() as done:
        broadcast_to("a", b"bytes")
        send("X", 1)
    done.wait(30)
    try:
        with push() as undone:
            broadcast("never")
            raise KeyError("so")
    except KeyError:
        pass
    with push() as refused:
        join("X", "refused")
    try:
        refused.wait(30)
    except TovaError as error:
        broadcast(str(error))
    with push() as empty:
        pass
    empty.wait(1)
def on_start():
    threading.Thread(target=work, daemon=True).start()
""" + TAIL)
    first = peer.receive()
    source = first["source"]
    assert 1 <= len(source) <= 64
    assert first == {"t": "push", "source": source, "n": 1, "commands": [{"c": "broadcast", "data": "alone"}]}
    peer.expect(t="push", source=source, n=2, commands=[{"c": "broadcast_to", "room": "a", "bin": b"bytes"},
                                                       {"c": "send", "conn": "X", "data": "1"}])
    peer.send({"t": "done", "source": source, "n": 1}, {"t": "done", "source": source, "n": 2, "repeated": True})
    peer.expect(t="push", source=source, n=3, commands=[{"c": "join", "conn": "X", "room": "refused"}])
    peer.send({"t": "done", "source": source, "n": 3, "error": "a room's name is 1 to 255 bytes"})
    peer.expect(t="push", source=source, n=4, commands=[{"c": "broadcast", "data": "a room's name is 1 to 255 bytes"}])
    peer.send({"t": "done", "source": source, "n": 4})
    drain(worker, peer)


def test_a_push_before_serve_and_in_a_handler(host):
    worker, peer = host.serve(HEAD + """
broadcast("early")
def on_message(ws, message):
    ws.send("mine")
    with push():
        ws.send("pushed")
        broadcast("x", ws)
    ws.send("mine too")
    raise ValueError("undone")
""" + TAIL)
    early = peer.receive()
    assert (early["t"], early["n"], early["commands"]) == ("push", 1, [{"c": "broadcast", "data": "early"}])
    peer.send(event(1, data=""))
    got = [peer.receive(), peer.receive()]
    got.sort(key=lambda item: item["t"])
    assert got[0]["t"] == "nack"
    assert got[1]["commands"] == [{"c": "send", "conn": A, "data": "pushed"}, {"c": "broadcast", "data": "x", "exclude": A}]
    worker.kill()


def test_what_the_connection_loses_is_pushed_again(host):
    worker, peer = host.serve(HEAD + """
def work():
    answers = []
    for i in range(3):
        with push() as done:
            broadcast(str(i))
        answers.append(done)
    for done in answers:
        done.wait(60)
    broadcast("all done")
def on_start():
    if not any(thread.name == "work" for thread in threading.enumerate()):
        threading.Thread(target=work, name="work", daemon=True).start()
""" + TAIL, supervised=False)
    sent = [peer.receive() for _ in range(3)]
    source = sent[0]["source"]
    assert [p["n"] for p in sent] == [1, 2, 3]
    peer.send({"t": "done", "source": source, "n": 1}, {"t": "ping"})
    peer.expect(t="pong")
    peer.close()
    peer = host.accept()
    peer.welcome("L2")
    assert peer.receive() == sent[1] and peer.receive() == sent[2]
    peer.send({"t": "done", "source": source, "n": 2, "repeated": True}, {"t": "done", "source": source, "n": 3})
    last = peer.receive()
    # A source of its own for each link: a host that was started anew would refuse one that it does not know above 1.
    assert last["source"] != source and last["n"] == 1 and last["commands"] == [{"c": "broadcast", "data": "all done"}]
    peer.send({"t": "done", "source": last["source"], "n": 1})
    drain(worker, peer)


def test_too_much_that_waits(host):
    worker, peer = host.serve(HEAD + """
def on_message(ws, message):
    with push():
        broadcast(b"x" * (40 << 20))
    try:
        with push():
            broadcast(b"x" * (40 << 20))
    except TovaError as error:
        ws.send(str(error))
""" + TAIL)
    peer.send(event(1, data=""))
    got = [peer.receive(), peer.receive()]
    (answer,) = [item for item in got if item["t"] == "ack"]
    assert "wait for the host already" in answer["commands"][0]["data"]
    worker.kill()


def test_queries_awaited(host):
    worker, peer = host.serve(HEAD + """
async def on_message(ws, message):
    found = [await members("r"), await count("r"), await rooms(ws), await connections(), await stats()]
    ws.send([[c.id for c in found[0]], found[1], found[2], [c.id for c in found[3]], found[4]])
    try:
        await count("r")
    except TovaError as error:
        ws.send(str(error))
""" + TAIL)
    peer.send(event(1, data=""))
    for asked, answer in [
        ({"what": "members", "room": "r", "limit": 1000}, {"count": 2, "members": [{"conn": B, "user": "ann"}], "next": B}),
        ({"what": "members", "room": "r", "limit": 1000, "after": B}, {"count": 2, "members": [{"conn": A, "info": "x"}]}), ({"what": "count", "room": "r"}, {"count": 3}),
        ({"what": "rooms", "conn": A}, {"count": 1, "rooms": ["r"]}), ({"what": "connections"}, {"count": 0, "connections": []}),
        ({"what": "stats"}, {"stats": {"connections": 5}}), ({"what": "count", "room": "r"}, {"error": "no"}),
    ]:
        got = peer.receive()
        q = got.pop("q")
        assert got == {"t": "query", **asked}
        peer.send({"t": "reply", "q": q, **answer})
    peer.expect(**ack({"c": "send", "data": f'[["{B}","{A}"],3,["r"],[],{{"connections":5}}]'}, {"c": "send", "data": "no"}, s=1))
    drain(worker, peer)


def test_queries_with_callbacks(host):
    worker, peer = host.serve(HEAD + """
def on_message(ws, message):
    def counted(n):
        join(ws, "a")
        ws.send(n)
        if message == "bad":
            raise ValueError("in the callback")
    count("r", counted)
    join(ws, "r")
    if message == "fail":
        raise ValueError("in the handler")
    try:
        count("x").wait(1)
    except RuntimeError as error:
        assert "keeps its own answer" in str(error)
""" + TAIL)
    peer.send(event(1, data="fail"))
    assert peer.receive()["t"] == "nack"
    peer.send(event(2, data="good"))
    got = [peer.receive() for _ in range(3)]
    # The one that was given a callback is asked behind the commands of the handler; a failed handler has asked nothing.
    assert [item["t"] for item in got].count("query") == 2
    assert got.index(ack({"c": "join", "room": "r"}, s=2)) < [i for i, item in enumerate(got) if item.get("room") == "r"][-1]
    (q,) = [item["q"] for item in got if item.get("room") == "r"]
    (other,) = [item["q"] for item in got if item.get("room") == "x"]
    peer.send({"t": "reply", "q": other, "count": 0}, {"t": "reply", "q": q, "count": 4})
    pushed = peer.receive()
    assert pushed["commands"] == [{"c": "join", "conn": A, "room": "a"}, {"c": "send", "conn": A, "data": "4"}]
    peer.send({"t": "done", "source": pushed["source"], "n": pushed["n"]})
    peer.send(event(3, data="bad"))
    queries = [item for item in (peer.receive() for _ in range(3)) if item["t"] == "query"]
    peer.send(*[{"t": "reply", "q": item["q"], "count": 4} for item in queries])
    _, err = drain(worker, peer)
    assert "in the callback" in err


# --- the end of a link -----------------------------------------------------------------------------------------------------------


def test_drain_settles_what_is_under_way(host):
    worker, peer = host.serve(HEAD + """
gate = None
async def on_message(ws, message):
    global gate
    gate = gate or asyncio.Event()
    if message == "wait":
        await gate.wait()
    else:
        gate.set()
    ws.send("done")
async def on_timer(name, id, ws):
    asyncio.get_running_loop().call_later(0.2, gate.set)
def on_stop():
    broadcast("worker leaves")
""" + TAIL)
    peer.send(event(1, data="wait"), event(2, "timer", None, 0, name="a", id=1, delay=1, period=0), {"t": "drain"})
    peer.expect(**ack(s=2))
    peer.expect(**ack({"c": "send", "data": "done"}, s=1))
    pushed = peer.receive()
    assert pushed["commands"] == [{"c": "broadcast", "data": "worker leaves"}]
    peer.send({"t": "done", "source": pushed["source"], "n": 1})
    peer.expect(t="bye")
    peer.close()
    assert finish(worker)[0] == 0


@pytest.mark.parametrize("supervised", [True, False])
def test_term_does_the_same(host, supervised):
    worker, peer = host.serve(HEAD + """
async def on_message(ws, message):
    broadcast("started")
    with push():
        broadcast("started")
    await asyncio.sleep(0.2)
    ws.send("finished")
""" + TAIL, supervised=supervised)
    peer.send(event(1, data=""))
    pushed = peer.receive()
    peer.send({"t": "done", "source": pushed["source"], "n": 1})
    worker.send_signal(signal.SIGTERM)
    peer.expect(**ack({"c": "broadcast", "data": "started"}, {"c": "send", "data": "finished"}, s=1))
    peer.expect(t="bye")
    peer.send(event(2, data="too late"))
    peer.expect_eof()  # it says no more
    peer.close()
    assert finish(worker)[0] == 0


def test_int_of_a_terminal(host):
    """A host in a terminal and its workers get INT together; the host is who decides."""
    worker, peer = host.serve(ECHO)
    worker.send_signal(signal.SIGINT)
    peer.send(event(1, data="a"))
    peer.expect(**ack({"c": "send", "data": "a"}, s=1))
    drain(worker, peer)
    worker, peer = host.serve(ECHO, supervised=False)
    worker.send_signal(signal.SIGINT)
    peer.expect(t="bye")
    peer.close()
    assert finish(worker)[0] == 0


def test_a_supervised_worker_ends_with_its_host(host):
    worker, peer = host.serve(ECHO)
    peer.close()
    code, _, err = finish(worker)
    assert code == 1 and "the host is gone" in err and "Traceback" not in err


def test_an_attached_worker_comes_back(host):
    worker, peer = host.serve(HEAD + """
async def on_message(ws, message):
    if message == "wait":
        try:
            await asyncio.sleep(1000)
        finally:
            ws.send("never")
            print("cancelled")
    ws.send(message)
""" + TAIL, supervised=False)
    peer.send(event(1, data="wait"), event(2, conn=B, data="b"))
    peer.expect(**ack({"c": "send", "data": "b"}, s=2))
    host.listener.close()
    peer.close()
    assert worker.stdout.readline() == "cancelled\n"  # its event is given to another worker
    assert "connection to the host ended" in worker.stderr.readline()
    assert "can not reach the host" in worker.stderr.readline()
    host.listen()
    peer = host.accept()
    hello = peer.welcome("L2")
    assert hello["events"] == ["message"]
    peer.send(event(1, data="a", seq=1, attempt=2))
    peer.expect(**ack({"c": "send", "data": "a"}, s=1))
    drain(worker, peer)


def test_an_attached_worker_waits_for_its_host(host):
    host.listener.close()
    worker = host.start(ECHO, supervised=False)
    assert "can not reach the host" in worker.stderr.readline()
    host.listen()
    peer = host.accept()
    peer.welcome()
    drain(worker, peer)


def test_term_while_there_is_no_host(host):
    host.listener.close()
    worker = host.start(ECHO, supervised=False)
    assert "can not reach the host" in worker.stderr.readline()
    worker.send_signal(signal.SIGTERM)
    assert finish(worker)[0] == 0


@pytest.mark.parametrize("supervised", [True, False])
def test_a_refused_hello_ends_the_worker(host, supervised):
    worker = host.start(ECHO, supervised=supervised)
    peer = host.accept()
    peer.sock.sendall(b"\0SP\0\0\x10\0\0")
    assert peer.read(8) and peer.receive()["t"] == "hello"
    peer.send({"t": "bye", "error": "wrong token"})
    peer.expect_eof()
    code, _, err = finish(worker)
    assert code == 1 and "wrong token" in err and "Traceback" not in err


def test_bye_of_the_host_later_is_no_refusal(host):
    worker, peer = host.serve(ECHO, supervised=False)
    peer.send({"t": "bye", "error": "a reason"})
    peer.expect_eof()
    assert "a reason" in worker.stderr.readline()
    host.accept().welcome("L2")


def test_print_is_not_held_back(host):
    worker, peer = host.serve(HEAD + "def on_message(ws, message): print(message)" + TAIL)
    peer.send(event(1, data="seen"))
    assert worker.stdout.readline() == "seen\n"


def test_a_host_that_does_not_read(host):
    """Neither the worker's memory nor its order suffers; it goes on when the host does."""
    worker, peer = host.serve(ECHO)
    for s in range(1, 201):
        peer.send(event(s, data="x" * 100_000))
    for s in range(1, 201):
        assert peer.receive()["s"] == s
    drain(worker, peer)
