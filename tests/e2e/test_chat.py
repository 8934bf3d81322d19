"""The chat in each of its languages, message by message: what the specification says, and what it leaves open."""
import json

import pytest

from example_workers import KINDS, example
from tova_host import IMPATIENT, Host
from wsclient import connect


class Client:
    """Speaks JSON. Every answer that a test does not ask for makes a later expectation fail."""

    def __init__(self, host, welcome=True):
        self.ws = connect("127.0.0.1", host.port, "/chat")
        if welcome:
            self.expect(system("Welcome to the chat!"))

    def send(self, **message):
        self.ws.send_text(json.dumps(message))

    def receive(self):
        return json.loads(self.ws.recv_text())

    def expect(self, message):
        got = self.receive()
        assert got == message

    def expect_error(self):
        got = self.receive()
        assert got["type"] == "error" and got["text"], got
        return got["text"]

    def expect_silence(self):
        """Nothing is on its way: the answer to a question asked now is the next thing that comes."""
        self.send(type="silence?")
        self.expect({"type": "error", "text": "Unknown message type"})


def system(text):
    return {"type": "system", "text": text}


JOINED, LEFT = system("A new user joined"), system("A user left the chat")


@pytest.fixture(params=KINDS)
def host(request):
    with Host(*example(request.param, "/chat", "chat"), *IMPATIENT) as running:
        yield running


@pytest.fixture
def three(host):
    clients = [Client(host), Client(host), Client(host)]
    for i, client in enumerate(clients):
        for _ in clients[i + 1:]:
            client.expect(JOINED)
    return clients


def test_a_newcomer_is_welcomed_and_announced(host):
    first = Client(host)
    second = Client(host)
    first.expect(JOINED)
    first.expect_silence()
    second.expect_silence()


def test_chat_goes_to_the_others(three):
    one, two, three_ = three
    one.send(type="chat", user="Ada", text="Hello, wörld 🎉\n\"quoted\" \\")
    for other in (two, three_):
        other.expect({"type": "chat", "user": "Ada", "text": "Hello, wörld 🎉\n\"quoted\" \\"})
    one.expect_silence()


def test_only_user_and_text_are_passed_on(three):
    one, two, _ = three
    one.send(type="chat", user="Ada", text="", admin=True, user_id=7)
    two.expect({"type": "chat", "user": "Ada", "text": ""})


def test_joining_a_room_leaves_general(three):
    one, two, three_ = three
    one.send(type="join_room", room="tea")
    one.expect(system("Joined room: tea"))
    two.send(type="chat", user="Grace", text="in general")
    three_.expect({"type": "chat", "user": "Grace", "text": "in general"})
    one.expect_silence()
    # Chat goes to general, wherever its sender is: that is what the specification's handler does.
    one.send(type="chat", user="Ada", text="from tea")
    for other in (two, three_):
        other.expect({"type": "chat", "user": "Ada", "text": "from tea"})
    one.send(type="join_room", room="general")
    one.expect(system("Joined room: general"))
    two.send(type="chat", user="Grace", text="welcome back")
    one.expect({"type": "chat", "user": "Grace", "text": "welcome back"})


def test_a_room_of_ones_own(three):
    one, two, three_ = three
    for client in (one, two):
        client.send(type="join_room", room="tea")
        client.expect(system("Joined room: tea"))
    one.send(type="chat", user="Ada", text="Kettle is on", room="tea")
    two.expect({"type": "chat", "user": "Ada", "text": "Kettle is on", "room": "tea"})
    three_.send(type="chat", user="Eve", text="from outside", room="tea")
    for member in (one, two):
        member.expect({"type": "chat", "user": "Eve", "text": "from outside", "room": "tea"})
    three_.send(type="chat", user="Eve", text="to nobody", room="no such room")
    for client in three:
        client.expect_silence()


def test_several_rooms_at_once(three):
    one, two, _ = three
    for room in ("tea", "coffee", "tea"):
        one.send(type="join_room", room=room)
        one.expect(system(f"Joined room: {room}"))
    two.send(type="chat", user="Grace", text="once", room="tea")
    two.send(type="chat", user="Grace", text="once", room="coffee")
    one.expect({"type": "chat", "user": "Grace", "text": "once", "room": "tea"})
    one.expect({"type": "chat", "user": "Grace", "text": "once", "room": "coffee"})
    one.expect_silence()


def test_typing_notices(three):
    one, two, three_ = three
    one.send(type="typing", user="Ada", text="left out")
    for other in (two, three_):
        other.expect({"type": "typing", "user": "Ada"})
    two.send(type="join_room", room="tea")
    two.expect(system("Joined room: tea"))
    one.send(type="typing", user="Ada", room="tea")
    two.expect({"type": "typing", "user": "Ada", "room": "tea"})
    for wrong in ({}, {"user": 1}, {"user": "Ada", "room": 1}):
        one.send(type="typing", **wrong)
        assert one.expect_error() != "Unknown message type"
    three_.expect_silence()


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_said_before(kind):
    """With --history: the last 50 messages of a room, and neither typing notices nor who came and went."""
    with Host(*example(kind, "/chat", "chat"), "--history", "100", *IMPATIENT) as host:
        one = Client(host)
        for n in range(60):
            one.send(type="chat", user="Ada", text=str(n))
        one.send(type="typing", user="Ada")
        one.expect_silence()
        two = Client(host, welcome=False)
        for n in range(10, 60):
            two.expect({"type": "chat", "user": "Ada", "text": str(n)})
        two.expect(system("Welcome to the chat!"))
        one.expect(JOINED)
        two.send(type="chat", user="Grace", text="in tea", room="tea")
        one.send(type="join_room", room="tea")
        one.expect({"type": "chat", "user": "Grace", "text": "in tea", "room": "tea"})
        one.expect(system("Joined room: tea"))
        one.expect_silence()


def test_leaving_is_told_in_general(three):
    one, two, three_ = three
    two.send(type="join_room", room="tea")
    two.expect(system("Joined room: tea"))
    three_.ws.end(1000)
    one.expect(LEFT)
    two.expect_silence()


def test_a_connection_that_breaks_is_told_too(host, three):
    one, two, three_ = three
    three_.ws.drop()
    for other in (one, two):
        other.expect(LEFT)


@pytest.mark.parametrize("message", [
    "", "no JSON", "{", '{"type":"chat"', '{"type":"chat","user":"\\u0000","text":"a"}', "[" * 100000, "\ufeff{}",
])
def test_what_is_no_json_is_answered(three, message):
    one, two, _ = three
    one.ws.send_text(message)
    one.expect_error()
    one.expect_silence()
    two.expect_silence()


def test_binary_that_is_no_json_is_answered(three):
    one, _, _ = three
    one.ws.send_binary(b"\x00\xff\xfe")
    one.expect_error()
    one.expect_silence()


@pytest.mark.parametrize("message", [
    {"type": "dance"}, {"type": "Chat"}, {"type": None}, {"type": 1}, {}, [], ["chat"], [{"type": "chat"}],
])
def test_unknown_types(three, message):
    one, two, _ = three
    one.ws.send_text(json.dumps(message))
    one.expect({"type": "error", "text": "Unknown message type"})
    two.expect_silence()


@pytest.mark.parametrize("message", [
    {"type": "chat"}, {"type": "chat", "user": "Ada"}, {"type": "chat", "text": "a"}, {"type": "chat", "user": "Ada", "text": 1},
    {"type": "chat", "user": None, "text": "a"}, {"type": "chat", "user": "Ada", "text": "a", "room": 1},
    {"type": "chat", "user": "Ada", "text": "a", "room": None}, {"type": "join_room"}, {"type": "join_room", "room": 1},
])
def test_fields_that_lack(three, message):
    one, two, _ = three
    one.ws.send_text(json.dumps(message))
    assert one.expect_error() != "Unknown message type"
    two.expect_silence()
    # Nothing was done by half: it is in general still.
    two.send(type="chat", user="Grace", text="still there?")
    one.expect({"type": "chat", "user": "Grace", "text": "still there?"})


@pytest.mark.parametrize("room", ["", "x" * 256, "é" * 128])
def test_a_room_name_that_the_host_refuses(three, room):
    """The failed message is undone whole: general, which it had left by then, is where its sender still is."""
    one, two, _ = three
    one.send(type="join_room", room=room)
    assert one.expect_error() != "Unknown message type"
    two.send(type="chat", user="Grace", text="still there?")
    one.expect({"type": "chat", "user": "Grace", "text": "still there?"})
    one.send(type="chat", user="Ada", text="a", room=room)
    one.expect_error()
    one.expect_silence()


def test_the_longest_room_name(three):
    one, two, _ = three
    room = "é" * 127 + "x"
    one.send(type="join_room", room=room)
    one.expect(system(f"Joined room: {room}"))
    two.send(type="chat", user="Grace", text="a", room=room)
    one.expect({"type": "chat", "user": "Grace", "text": "a", "room": room})


def test_many_talk_at_once(host):
    """Everyone hears everyone else, each sender's messages in their order, and all hear them in one order."""
    talkers, each = 20, 25
    clients = [Client(host, welcome=False) for _ in range(talkers)]
    for i, client in enumerate(clients):
        got = [client.receive() for _ in range(talkers - i)]
        assert got[0] == system("Welcome to the chat!") and all(m == JOINED for m in got[1:])
    for n in range(each):
        for i, client in enumerate(clients):
            client.send(type="chat", user=str(i), text=str(n))
    heard = []
    for i, client in enumerate(clients):
        got = [client.receive() for _ in range((talkers - 1) * each)]
        for j in range(talkers):
            assert [int(m["text"]) for m in got if m["user"] == str(j)] == ([] if i == j else list(range(each)))
        heard.append([(m["user"], m["text"]) for m in got])
    for i in range(1, talkers):
        both = {"0", str(i)}
        assert [h for h in heard[0] if h[0] not in both] == [h for h in heard[i] if h[0] not in both]


def test_who_is_there(three):
    """Who says who he is is known by that, once however many connections he has."""
    one, two, three_ = three
    here, gone = ({"type": type, "room": "general", "user": "Ada"} for type in ("here", "gone"))

    def ask(client, user, room="general"):
        client.send(type="people", user=user, room=room, id=7)
        heard = [client.receive()]
        while heard[-1]["type"] != "people":
            heard.append(client.receive())
        assert heard[-1]["id"] == 7
        return heard[-1]["users"]

    assert set(ask(one, "Ada")) <= {"Ada"}  # the answer may come before he is known
    for other in (two, three_):
        other.expect(here)
    assert ask(two, "Ada") == ["Ada"]
    two.expect_silence()
    two.send(type="join_room", room="tea")
    two.expect(system("Joined room: tea"))
    three_.expect_silence()
    one.send(type="join_room", room="tea")
    three_.expect(gone)
    three_.send(type="people", user="Ada", room=7)
    three_.expect_error()
