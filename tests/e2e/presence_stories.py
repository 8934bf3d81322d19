"""Stories of who is there, told by a worker library with the real host; see sdk_stories.py."""
from sdk_stories import Client
from sdk_stories import host  # noqa: F401 (a fixture)


def silence(*clients):
    """What each has still got."""
    said = []
    for client in clients:
        client.send("echo", data="end")
        lines = []
        while (text := client.text()) != "end":
            lines.append(text)
        said.append("".join(lines))
    return said


def company(host, n):
    """So many clients that have heard of each other."""
    clients = [Client(host) for _ in range(n)]
    silence(*clients)
    return clients


def test_who_a_client_is(host):
    ann, bob = company(host, 2)
    assert ann.ask("me") == {"user": None, "info": None}
    assert ann.ask("who", info="away", user="ann") == {"user": "ann", "info": "away"}
    assert ann.ask("me") == {"user": "ann", "info": "away"}
    assert ann.ask("who", info="") == {"user": "ann", "info": None}
    assert ann.ask("who", info="ä" * 512) == {"user": "ann", "info": "ä" * 512}
    assert "error" in bob.ask("who", info="ä" * 513)
    assert bob.ask("me") == {"user": None, "info": None}
    assert ann.ask("roster", room="all") == {"members": [["", ""], ["ann", "ä" * 512]], "users": ["ann"]}
    assert ann.ask("roster", room="nobody") == {"members": [], "users": []}


def test_messages_that_come_together_know_what_was_said_before(host):
    client, = company(host, 1)
    for n in range(20):
        client.send("who", user=f"user {n}")
        client.send("me")
    for n in range(20):
        assert client.receive() == client.receive() == {"user": f"user {n}", "info": None}


def test_rooms_that_are_full(host):
    ann, bob, eve = company(host, 3)
    for client, name in ((ann, "ann"), (bob, "bob"), (eve, "ann")):
        client.ask("who", user=name)
    assert ann.ask("enter", room="r", max=2) == bob.ask("enter", room="r", max=2) == {"entered": "r"}
    assert "max" in eve.ask("enter", room="r", max=2)["error"]
    assert "users_max" not in eve.ask("enter", room="r", users_max=2)
    assert eve.ask("roster", room="r") == {"members": [["ann", ""], ["ann", ""], ["bob", ""]], "users": ["ann", "bob"]}
    assert "first" in ann.ask("enter", room="all", first=True)["error"]
    assert ann.ask("enter", room="new", first=True) == {"entered": "new"}
    assert ann.ask("enter", room="ann") == {"entered": "ann"}
    assert eve.ask("enter", room="ann", replace=True) == {"entered": "ann"}
    ann.ws.expect_close(4409)


def test_rooms_that_are_closed_and_left(host):
    ann, bob, eve = company(host, 3)
    for client in (ann, bob, eve):
        client.ask("enter", room="r")
    assert eve.ask("leave_all") == {"left": "all"}
    assert eve.ask("roster", room="all")["members"] == [["", ""], ["", ""]]
    ann.send("clear", room="r", code=4001)
    bob.ws.expect_close(4001, "cleared")
    assert ann.receive()["left"] == bob.id
    assert silence(ann, eve) == ["", ""]


def test_several_rooms_at_once(host):
    clients = ann, bob, eve, zoe = company(host, 4)
    for client, rooms in ((ann, "x"), (bob, "xy"), (eve, "yz"), (zoe, "")):
        for room in rooms:
            client.ask("enter", room=room)
    bob.ask("who", user="bob")
    zoe.send("tell", rooms=["x", "y"], text="1")
    zoe.send("tell", rooms=["x", "y"], text="2", exclude=[ann.id, zoe.id])
    zoe.send("tell", rooms=["x", "y"], text="3", exclude_users=["bob"])
    zoe.send("tell", rooms=["x", "y"], text="4", exclude_rooms=["z"])
    zoe.ask("me")
    assert silence(*clients) == ["134", "124", "123", ""]


def test_a_room_where_a_connection_is_meant(host):
    ann, = company(host, 1)
    assert "error" in ann.ask("tell", rooms=["all"], text="x", exclude=["all"])
    assert silence(ann) == [""]


def test_who_comes_and_goes(host):
    """Each user once, one who is lost after a while; in the order of what happened, whichever worker is told."""
    ann, tab, bob, eve = company(host, 4)
    for client, name in ((ann, "ann"), (tab, "ann"), (bob, "bob"), (eve, "trouble")):
        client.ask("who", user=name, info=name[0])

    def hears(*told):
        """All of them, whom else was said what."""
        for what in told:
            assert ann.receive() == what, what

    def there(what, user, users, **more):
        return {what: "r", "user": user, "info": user[0], "users": users, **more}

    assert ann.ask("watch", room="r", grace=3600000) == {"watched": "r"}
    assert bob.ask("enter", room="r") == {"entered": "r"}
    hears(there("in", "bob", 1))
    assert ann.ask("enter", room="r") == {"entered": "r"}
    hears(there("in", "ann", 2), {"you": "ann"})
    tab.send("enter", room="r")
    eve.send("enter", room="r")
    hears(there("in", "trouble", 3))
    eve.send("leave_all")
    eve.ask("echo", data="left")
    tab.send("leave_all")
    bob.ws.close(1001)
    assert ann.receive()["left"] == bob.id
    assert ann.ask("roster", room="r")["users"] == ["ann", "bob"]
    assert ann.ask("watch", room="r", grace=0) == {"watched": "r"}
    again, = company(host, 1)
    ann.receive()  # that it came
    again.ask("who", user="bob", info="b")
    again.ask("enter", room="r")
    again.ws.close(1001)
    assert ann.receive()["left"] == again.id
    hears(there("out", "bob", 1))
    assert ann.ask("watch", room="r") == {"watched": "r"}
    tab.send("enter", room="r")
    assert silence(ann) == [""]
