"""Tests of handlers, without a host.

    import hello                        # which serves only if __name__ == "__main__"
    from tova.testing import Host

    def test_hello():
        with Host(hello) as host:
            ann, bob = host.connect(), host.connect()
            assert ann.receive() == "Hello! Say something."
            ann.send("hi")
            assert bob.receive() == "Hello! Say something."
            assert bob.receive() == "hi (said in Python)"

All is as with a host: commands of a handler happen together when it succeeds, and not at all when it raises, the state of its
connection included; then on_error is called. Time passes only with host.pass_time(ms), except that coroutines of your own may
sleep. Rooms remember all that is broadcast to them. What an event leads to (errors, closed connections, answers to queries, pushes) has happened when the call returns.
"""
from __future__ import annotations

import asyncio
import json
import threading
from base64 import b64encode
from collections import deque

from . import codec
from .answer import set_loop_thread
from .connection import ROOM_STATE_MAX, _decode_state, encode_state
from .handlers import find
from .outbox import outbox
from .worker import Worker

__all__ = ["Client", "Host", "Refused"]

PATIENCE = 10.0  # seconds for a handler
TRIES = 10  # times that an event is given again, as a room was set meanwhile
CONFLICT = "a set_room was made from another version than the room's state has: somebody else has set it meanwhile"
EPOCH = 1  # of every room: none forgets anything


class Refused(Exception):
    """on_upgrade refused the connection: status, headers and body of its answer."""

    def __init__(self, status: int, headers=(), body: str | bytes = ""):
        super().__init__(f"the connection was refused with {status}")
        self.status, self.headers, self.body = status, list(headers), body


class _Link:
    """The worker's end of a host that is no more than a dictionary."""

    id = "test"
    source = "test"

    def __init__(self, host: "Host"):
        self.pushes = 0
        self.said: deque = deque()
        self._host = host

    def put(self, text: bytes, binaries=()) -> None:
        self.said.append((json.loads(text), b"".join(binaries)))
        self._host._wake.set()

    def flush(self) -> None:
        pass

    def abort(self, why=None) -> None:
        raise AssertionError(f"the worker gives up: {why}")


def _request(path: str, query: str, headers, subprotocols, claims, more: dict) -> dict:
    asked = {"method": "GET", "path": path, "query": query, "mount": "/", "host": "localhost", "headers": [list(h) for h in headers],
             "remote": ["127.0.0.1", 40000], "local": ["127.0.0.1", 8080], "tls": None, "subprotocols": list(subprotocols), "secure": False, **more}
    return asked if claims is None else {**asked, "claims": claims}


class Client:
    """A connection, as its client sees it and as the host keeps it."""

    def __init__(self, host: "Host", id: str):
        self._host = host
        self.id = id
        self.sequence = 0
        self.rooms: set[str] = set()
        self._joined: list[str] = []  # the same, in their order
        self.received: deque = deque()  #: what it was sent and has not taken yet
        self.raised: str | None = None  #: what the handler of its last event raised
        self.closed: int | None = None  #: the code with which it was closed; 1005: none
        self.gone = False
        self.lost = False  # it has ended by itself
        self.subject: str | None = None  #: whose token it came with
        self.info: str | None = None  #: what handlers have said of it
        self.token: str | None = None  #: what prolong gave it; nobody verifies it here
        self._user: str | None = None
        self._claims: dict | None = None
        self._stored = None

    @property
    def state(self):
        """What is kept with it, as handlers have it."""
        return None if self._stored is None else _decode_state(self._stored)

    @property
    def user(self) -> str | None:
        """Whose it is."""
        return self._user or self.subject

    def send(self, data, *, attempt: int = 1) -> "Client":
        """A message to the handler. attempt: above 1, the last event once more, as after the death of a worker."""
        self._host._event(self, "message", attempt, **{"bin" if isinstance(data, bytes) else "data": data})
        return self

    def receive(self):
        """The next message, text or bytes. AssertionError: there is none."""
        assert self.received, f"{self.id} was sent nothing more"
        return self.received.popleft()

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.lost = True
        self._host._end(self, code, reason)

    def away(self, code: int = 1006) -> None:
        """A client of tova.v1 loses its socket (or says with 1001 that it goes): on_away. What it is sent is received as ever."""
        self._host._event(self, "away", code=code)

    def back(self, path: str = "/", *, query: str = "", headers=(), subprotocols=(), claims=None, **request) -> None:
        """It comes back on another one: on_back."""
        self._host._event(self, "back", request=_request(path, query, headers, subprotocols, claims, request))

    def error(self, text: str, kind: str = "limit") -> None:
        """An error of that kind is told to on_error."""
        self._host._event(self, "error", error=text, kind=kind)


class Host:
    """handlers, room_state: as for serve()."""

    def __init__(self, handlers=None, *, room_state: bool = False, **named):
        self._loop = asyncio.new_event_loop()
        self._wake = asyncio.Event()
        self._link = _Link(self)
        self._worker = Worker(find(handlers, named), "test:", "", None, "test", False, room_state=room_state)
        self._clients: dict[str, Client] = {}
        self._timers: dict = {}
        self._telling = False
        self._watches: dict[str, dict] = {}  # rooms: the grace, and who is known to be there
        self._history: dict[str, list] = {}  # of each room: (offset, at, data) of all that it was sent
        self._kept: dict = {}
        self._room_states: dict[str, tuple] = {}  # of each room: what is kept with it, and its version
        self._version = 0
        self._events = 0
        self.now = 0  #: milliseconds
        self.stale = 0  #: commands that named a connection which was gone
        self.mount_raised: str | None = None  #: what the handler of the last timer of the mount, or of who came or went, raised

    def __enter__(self) -> "Host":
        worker = self._worker
        worker._loop, worker._thread = self._loop, threading.get_ident()
        worker._idle, worker._leaving, worker._link = asyncio.Event(), asyncio.Event(), self._link
        set_loop_thread(worker._thread)
        outbox.wake = worker._wake
        self._run(self._local("on_start"))
        return self

    def __exit__(self, *_) -> None:
        self._run(self._local("on_stop"))
        outbox.wake = None
        set_loop_thread(None)
        self._worker._give_up_calls()
        self._loop.close()

    # --- events --------------------------------------------------------------------------------------------------------------

    def connect(self, path: str = "/", *, query: str = "", headers=(), subprotocols=(), claims=None, **request) -> Client:
        """A client comes: on_upgrade and on_open. Refused: it may not."""
        asked = _request(path, query, headers, subprotocols, claims, request)
        ws = Client(self, f"T{len(self._clients) + 1:021d}")
        if "on_upgrade" in self._worker.handlers:
            answer, data = self._deliver({"t": "upgrade", "seq": 0, "attempt": 1, "request": asked})
            if answer["t"] == "nack":
                raise Refused(500, (), answer["error"])
            if "refuse" in answer:
                no = answer["refuse"]
                raise Refused(no["status"], no.get("headers", ()), data[:no["bin"]] if "bin" in no else no.get("body", ""))
            yes = answer.get("accept", {})
            ws._stored = data[:yes["state_bin"]] if "state_bin" in yes else yes.get("state")
            ws._user, ws.info = yes.get("user") or None, yes.get("info") or None
            ws.subprotocol, ws.headers = yes.get("subprotocol"), yes.get("headers", [])
        ws._claims, ws.subject = claims, (claims or {}).get("sub")
        self._clients[ws.id] = ws
        self._event(ws, "open", request=asked)
        return ws

    def pass_time(self, ms: int) -> int:
        """So much time passes: timers run in their order. Returns how many did."""
        until, n = self.now + ms, 0
        while True:
            due = min((t for t in self._timers.values() if t["due"] <= until), key=lambda t: (t["due"], t["order"]), default=None)
            gone = min((u["until"] for w in self._watches.values() for u in w["known"].values() if u["until"] is not None), default=until + 1)
            if gone <= until and (due is None or gone <= due["due"]):
                self.now = max(self.now, gone)
                self._follow()
                continue
            if due is None:
                break
            self.now = max(self.now, due["due"])
            if due["period"]:
                due["due"], due["order"] = due["due"] + due["period"], self._order()
            else:
                del self._timers[due["key"]]
            self._event(self._clients.get(due["key"][0]), "timer", name=due["key"][1], id=due["id"], delay=due["delay"], period=due["period"])
            n += 1
        self.now = until
        return n

    def members(self, room: str) -> list[Client]:
        return [ws for ws in self._clients.values() if not ws.gone and room in ws.rooms]

    def timers(self, ws: Client | None = None) -> list[str]:
        """Names of those that are set, of the connection or of the mount."""
        return [name for id, name in self._timers if id == (ws.id if ws else None)]

    def quiet(self) -> bool:
        """Has everybody taken what it was sent?"""
        return not any(ws.received for ws in self._clients.values())

    # --- how ---------------------------------------------------------------------------------------------------------------

    def _order(self) -> int:
        self._orders = getattr(self, "_orders", 0) + 1
        return self._orders

    def _run(self, coroutine):
        return self._loop.run_until_complete(coroutine)

    async def _local(self, name: str) -> None:
        self._worker._call_local(name)
        await self._settled(lambda: not self._worker._tasks)

    def _event(self, ws: Client | None, kind: str, attempt: int = 1, /, **members) -> None:
        if ws is not None:
            assert not ws.gone or kind == "close", f"{ws.id} has gone"
            ws.sequence += attempt == 1
            members.update(conn=ws.id, seq=ws.sequence)
            for name, value in (("subject", ws.subject), ("user", ws._user), ("info", ws.info), ("claims", ws._claims)):
                if value is not None and not (name == "claims" and kind == "open"):
                    members[name] = value
            if ws._stored is not None:
                members["state_bin" if isinstance(ws._stored, bytes) else "state"] = ws._stored
        for again in range(TRIES + 1):
            if ws is not None and ws._joined:
                members["room"] = ws._joined[0]
                stored, members["room_version"] = self._room_states.get(members["room"], (None, 0))
                members.pop("room_state", None), members.pop("room_state_bin", None)
                if stored is not None:
                    members["room_state_bin" if isinstance(stored, bytes) else "room_state"] = stored
            answer, data = self._deliver({"t": kind, "seq": 0, "attempt": attempt + again, **members})
            failed = answer.get("error") or (self._apply(ws, answer.get("commands", ()), data) if answer["t"] == "ack" else None)
            if failed is not CONFLICT:
                break
        if ws is None:
            self.mount_raised = failed
        else:
            ws.raised = failed
            if failed is not None and kind not in ("error", "close") and "retry_ms" not in answer and "on_error" in self._worker.handlers:
                self._event(ws, "error", error=failed, kind="handler")
                ws.raised = failed
        self._follow()

    def _deliver(self, item: dict):
        self._events += 1
        item["s"] = number = self._events

        async def until():
            self._worker.batch(self._link, [item])
            return await self._settled(lambda: next((said for said in self._link.said if said[0].get("s") == number), None))

        said = self._run(until())
        self._link.said.remove(said)
        return said

    async def _settled(self, condition):
        deadline = self._loop.time() + PATIENCE
        while not (value := condition()):
            self._answer()
            self._wake.clear()
            assert self._loop.time() < deadline, f"a handler takes longer than {PATIENCE:g} s"
            if not condition():
                try:
                    await asyncio.wait_for(self._wake.wait(), 0.01)
                except asyncio.TimeoutError:
                    pass
        return value

    def _answer(self) -> None:
        """Pushes and queries."""
        for said in [said for said in self._link.said if said[0]["t"] in ("push", "query")]:
            self._link.said.remove(said)
            item, data = said
            if item["t"] == "push":
                self._kept = {}
                error = self._apply(None, item["commands"], data)
                reply = {"t": "done", "source": item["source"], "n": item["n"], **({"error": error} if error else self._kept)}
            else:
                reply = {"t": "reply", "q": item["q"], **self._reply(item)}
            self._worker.batch(self._link, [reply])

    def _reply(self, item: dict) -> dict:
        what = item["what"]
        if what == "history":
            return self._remembered(item)
        if what == "room_state":
            stored, version = self._room_states.get(item["room"], (None, 0))
            return {"version": version, **({"state_base64": b64encode(stored).decode()} if isinstance(stored, bytes) else
                                           {} if stored is None else {"state": stored})}
        if what == "rooms":
            ws = self._clients.get(item["conn"])
            return {"rooms": sorted(ws.rooms) if ws else []}
        if what == "stats":
            return {"stats": {"uptime_ms": self.now, "connections": sum(not ws.gone for ws in self._clients.values())}}
        found = [ws for ws in self._clients.values() if not ws.gone and (what == "connections" or item["room"] in ws.rooms)]
        if what == "members" and "limit" in item:
            page = [ws for ws in found if ws.id > item.get("after", "")]
            listed = [{"conn": ws.id, **({"user": ws.user} if ws.user else {}), **({"info": ws.info} if ws.info else {})} for ws in page]
            return {"count": len(found), "members": listed[:item["limit"]],
                    **({"next": page[item["limit"] - 1].id} if len(page) > item["limit"] else {})}
        if what == "users":
            lost = {u["who"]["user"] for u in self._watches.get(item["room"], {"known": {}})["known"].values() if u["until"] is not None}
            names = sorted({ws.user for ws in found if ws.user} | lost, key=str.encode)
            page = [name for name in names if name.encode() > item.get("after", "").encode()]
            return {"count": len(names), "anonymous": sum(not ws.user for ws in found),
                    "users": [{"user": name, "connections": sum(ws.user == name for ws in found)} for name in page[:item["limit"]]],
                    **({"next": page[item["limit"] - 1]} if len(page) > item["limit"] else {})}
        return {"count": len(found), "connections": [ws.id for ws in found]}

    def _follow(self) -> None:
        """Until nothing does: closes that handlers have asked for, pushes, answers."""
        async def rest():
            await asyncio.sleep(0)
            await self._settled(lambda: not self._worker._calls and not outbox.waiting and not any(
                said[0]["t"] in ("push", "query") for said in self._link.said))
        self._run(rest())
        for ws in list(self._clients.values()):
            if ws.closed is not None and not ws.gone:
                self._end(ws, ws.closed, "")
        self._tell_presence()

    def _tell_presence(self) -> None:
        """Who has come into a room that is watched, and who has gone, one by one: what follows of one may be about the next."""
        if self._telling:
            return
        self._telling = True
        try:
            while self._tell_next():
                pass
        finally:
            self._telling = False

    def _tell_next(self) -> bool:
        for room, watch in list(self._watches.items()):
            there = {}
            for ws in self.members(room):
                there.setdefault(ws.user or ws.id, ws)
            for key, known in list(watch["known"].items()):
                if key in there:
                    known["until"], known["who"] = None, self._who(room, there[key])
                elif known["until"] is None:
                    lost = known["who"].get("user") and self._clients[known["who"]["member"]].lost
                    known["until"] = self.now + (watch["grace"] if lost else 0)
                if known["until"] is not None and known["until"] <= self.now:
                    del watch["known"][key]
                    return self._tell("leave", known["who"], watch)
            for key, ws in there.items():
                if key not in watch["known"]:
                    watch["known"][key] = {"who": self._who(room, ws), "until": None}
                    return self._tell("join", self._who(room, ws), watch)
        return False

    def _who(self, room: str, ws: Client) -> dict:
        return {"room": room, "member": ws.id, **({"user": ws.user} if ws.user else {}), **({"info": ws.info} if ws.info else {})}

    def _tell(self, kind: str, who: dict, watch: dict) -> bool:
        if "on_" + kind in self._worker.handlers:
            self._event(None, kind, **who, users=len(watch["known"]))
        return True

    def _end(self, ws: Client, code: int, reason: str) -> None:
        rooms, ws.rooms, ws.gone = sorted(ws.rooms), set(), True
        self._timers = {key: timer for key, timer in self._timers.items() if key[0] != ws.id}
        self._event(ws, "close", code=code, reason=reason, rooms=rooms)

    # --- commands ------------------------------------------------------------------------------------------------------------

    def _apply(self, own: Client | None, commands, data: bytes) -> str | None:
        """All of them, or none and what is wrong."""
        taken = []
        for command in commands:
            if command["c"] == "set_room" and command.get("version", self._room_version(command["room"])) != self._room_version(command["room"]):
                return CONFLICT
            for member in ("state_bin", "if_state_bin", "bin"):
                if member in command:
                    command[member], data = data[:command[member]], data[command[member]:]
            target = self._clients.get(command["conn"]) if "conn" in command else own
            if "if_state" in command or "if_state_bin" in command:
                wanted = command.get("if_state", command.get("if_state_bin"))
                if target is not None and not target.gone and (target._stored or "") != wanted:
                    return "a command was based on state that somebody else has set meanwhile"
            if command.get("else") == "fail" and not self._since(command)[1]:
                return "a room does not remember all since then"
            taken.append((target, command))
        return self._judge(own, taken) or self._do(own, taken)

    def room_state(self, room: str):
        """What is kept with a room, as handlers have it; None: nothing."""
        return _decode_state(self._room_states[room][0]) if room in self._room_states else None

    def set_room(self, room: str, state) -> None:
        """Somebody else keeps something with a room; None: nothing any more."""
        self._set_room(room, "" if state is None else encode_state(state, ROOM_STATE_MAX, "a room"))

    def _room_version(self, room: str) -> int:
        return self._room_states.get(room, (None, 0))[1]

    def _set_room(self, room: str, stored) -> None:
        self._version += 1
        self._room_states[room] = (stored, self._version)
        if not stored:
            del self._room_states[room]

    def _do(self, own: Client | None, taken) -> None:
        for target, command in taken:
            self._command(own, target, command)

    def _judge(self, own: Client | None, taken) -> str | None:
        """What a join asks for and does not find, behind the commands before it."""
        if not any({"max", "users_max", "first"} & command.keys() for _, command in taken):
            return None
        rooms = {ws: set(ws.rooms) for ws in self._clients.values() if not ws.gone and ws.closed is None}
        users = {ws: ws.user for ws in rooms}
        for target, command in taken:
            name, room = command["c"], command.get("room")
            if name == "close_room":
                for ws in self._selected(own, command, rooms):
                    del rooms[ws]
            if target not in rooms:
                continue
            if name == "join":
                there = [ws for ws in rooms if room in rooms[ws] and ws is not target]
                if command.get("replace"):
                    for ws in there:
                        del rooms[ws]
                    there = []
                inside, names = room in rooms[target], {users[ws] or ws for ws in there}
                if command.get("first") and there:
                    return "a join that was to be the first found somebody in its room"
                if not inside and len(there) >= command.get("max", len(there) + 1):
                    return "a join found its room full: it has as many members as its max"
                if not inside and users[target] not in names and len(names) >= command.get("users_max", len(names) + 1):
                    return "a join found its room full: it has as many users as its users_max"
                rooms[target].add(room)
            elif name == "leave":
                rooms[target].discard(room)
            elif name == "leave_all":
                rooms[target].clear()
            elif name == "close":
                del rooms[target]
            elif name == "info" and "user" in command:
                users[target] = command["user"] or target.subject
        return None

    def _selected(self, own: Client | None, command: dict, rooms: dict) -> list[Client]:
        """Whom a command among several is for; rooms: those that each is in."""
        out = command.get("exclude")
        out = {own.id if id is True and own else id for id in (out if isinstance(out, list) else [out])}
        to = {*command.get("rooms", ()), *([command["room"]] if "room" in command else ())}
        return [ws for ws in rooms if (command["c"] == "broadcast" or rooms[ws] & to) and ws.id not in out and
                ws.user not in command.get("exclude_users", ()) and not rooms[ws] & set(command.get("exclude_rooms", ()))]

    def _command(self, own: Client | None, target: Client | None, command: dict) -> None:
        name = command["c"]
        if name in ("broadcast", "broadcast_to"):
            here = {ws: ws.rooms for ws in self._clients.values() if not ws.gone and ws.closed is None}
            for ws in self._selected(own, command, here):
                ws.received.append(command.get("bin", command.get("data")))
            if name == "broadcast_to" and command.get("keep", True):
                for room in dict.fromkeys([*command.get("rooms", ()), *([command["room"]] if "room" in command else ())]):
                    self._remember(room, command.get("bin", command.get("data")))
        elif name == "close_room":
            here = {ws: ws.rooms for ws in self._clients.values() if not ws.gone and ws.closed is None}
            for ws in self._selected(own, command, here):
                self._close(ws, command.get("code", 1005))
        elif name == "set_room":
            self._set_room(command["room"], command.get("state", command.get("state_bin")))
        elif name == "watch":
            self._watches.setdefault(command["room"], {"known": {}})["grace"] = command.get("grace", 5000)
        elif name == "unwatch":
            known = self._watches.get(command["room"], {"known": {}})["known"]
            if not command.get("if_empty") or not (known or self.members(command["room"])):
                self._watches.pop(command["room"], None)
        elif name in ("timer", "cancel") and "conn" not in command:
            self._timer(None, command)
        elif target is None or (target.gone and target is not own) or (target.gone and name not in ("set", "info")):
            self.stale += 1
        elif name == "send":
            if target.closed is None:
                target.received.append(command.get("bin", command.get("data")))
        elif name == "join":
            if command["room"] not in target.rooms:
                target._joined.append(command["room"])
            target.rooms.add(command["room"])
            for ws in self.members(command["room"]) if command.get("replace") else ():
                if ws is not target:
                    self._close(ws, 4409)
            if "last" in command or "since" in command:
                target.received += [data for _, _, data in self._since(command)[0]]
        elif name == "leave":
            if command["room"] in target.rooms:
                target._joined.remove(command["room"])
            target.rooms.discard(command["room"])
        elif name == "close":
            self._close(target, command.get("code", 1005))
        elif name == "leave_all":
            target.rooms.clear()
            target._joined.clear()
        elif name == "prolong":
            target.token = command["token"]
        elif name == "info":
            target.info = command.get("info", target.info) or None
            target._user = command.get("user", target._user) or None
        elif name == "set":
            target._stored = command.get("state", command.get("state_bin"))
        else:
            self._timer(target.id, command)

    def _close(self, ws: Client, code: int) -> None:
        ws.closed = ws.closed or code

    # --- what rooms remember -----------------------------------------------------------------------------------------------------

    def _remember(self, room: str, data) -> None:
        messages = self._history.setdefault(room, [])
        messages.append((len(messages) + 1, int(self.now), data))
        self._kept = {"offset": len(messages), "epoch": EPOCH}

    def _since(self, asked: dict):
        """What somebody who joins is sent, and whether that is all that was asked for."""
        messages = self._history.get(asked["room"], [])
        last = messages[max(0, len(messages) - asked.get("last", len(messages))):]
        since = asked.get("since")
        if since is None:
            return last, True
        if since == 0 or (asked.get("epoch", EPOCH) == EPOCH and since <= len(messages)):
            return messages[since:], True
        return last, False

    def _remembered(self, item: dict) -> dict:
        limit = item.get("limit", 100)
        found, complete = self._since(item if "since" in item else {**item, "last": limit})
        some = found[:limit]
        there = len(self._history.get(item["room"], ()))
        return {"epoch": EPOCH if there else 0, "first": min(there, 1), "last": there, "complete": complete, "more": len(some) < len(found),
                "messages": [{"offset": offset, "at": at,
                              **({"data_base64": b64encode(data).decode()} if isinstance(data, bytes) else {"data": data})}
                             for offset, at, data in some]}

    def _timer(self, id: str | None, command: dict) -> None:
        key = (id, command["name"])
        if command["c"] == "cancel":
            self._timers.pop(key, None)
            return
        like = {name: command[name] for name in ("id", "delay", "period")}
        there = self._timers.get(key)
        if there is None or any(there[name] != value for name, value in like.items()):
            self._timers[key] = {"key": key, **like, "due": self.now + command["delay"], "order": self._order()}
