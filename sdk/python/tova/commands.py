"""What handlers can do: commands, timers and pushes.

Commands of a handler are collected and committed together with its acknowledgement: all of them in order, or, when it
raises, none. Anywhere else (in threads, in tasks that outlive their handler, before serve()) each command is a push of its own.
"""
from __future__ import annotations

from math import isfinite

from .answer import Answer
from .codec import quote, to_json
from .outbox import Push, outbox
from .scope import Scope, current


_nothing = object()
HOUR_MS = 3_600_000
INFO_MAX = 1024  # bytes
LIST_MAX = 256  # entries


class Retry(Exception):
    """Raise it in a handler to undo the event and have it delivered again after so many milliseconds, at most an hour."""

    def __init__(self, after_ms: int, text: str = "try again later"):
        super().__init__(text)
        self.after_ms = _integer(after_ms, "after_ms")
        if self.after_ms > HOUR_MS:
            raise ValueError(f"after_ms is at most {HOUR_MS}, an hour, not {after_ms}")


# --- commands ---------------------------------------------------------------------------------------------------------------


def send(ws, data, key: str | None = None) -> None:
    """Sends to one connection: str as text, bytes as binary, any other value as JSON text. The key is for clients that read too
    slowly where the host runs with --slow-policy conflate: of what waits for one, only the newest of each key is kept."""
    command('{"c":"send"' + _key(key), conn=ws, data=data)


def join(ws, room: str, *, max: int | None = None, users_max: int | None = None, first: bool = False, replace: bool = False,
         last: int | None = None, since: int | None = None, epoch: int | None = None, otherwise: str = "last") -> None:
    """Adds a connection to a room. What it asks for is judged when the commit is made, and the event fails if it is not so: that the room
    has at most ``max`` members then, or ``users_max`` users, or that it is the ``first`` there. ``replace`` ends the others, with 4409.

    With ``last`` it is sent the last so many messages that the room remembers (--history); with ``since``, an offset, and its
    ``epoch`` all behind that. If some of these are forgotten it is sent the last ones, or with ``otherwise="fail"`` the event fails.
    Between the last of them and the next message of the room nothing is missing, and nothing comes twice."""
    text = '{"c":"join","room":' + quote_room(room) + _history(last, since, epoch, otherwise)
    for name, most in (("max", max), ("users_max", users_max)):
        if most is not None:
            text += f',"{name}":{_most(most, name)}'
    text += ',"first":true' if first else ""
    command(text + (',"replace":true' if replace else ""), conn=ws)


def leave(ws, room: str) -> None:
    """Removes a connection from a room."""
    command('{"c":"leave","room":' + quote_room(room), conn=ws)


def leave_all(ws) -> None:
    """Removes a connection from all its rooms."""
    command('{"c":"leave_all"', conn=ws)


def prolong(ws, token: str) -> None:
    """Gives a connection a fresh JSON Web Token for the one that it came with (--jwt-key), which it does not end with then. It has to be good, and
    of the same ``sub``, or the event fails. Its claims are the connection's from the next event on."""
    if not isinstance(token, str) or not token:
        raise TypeError(f"a token is a text, not {token!r}" if not isinstance(token, str) else "the token is empty")
    command('{"c":"prolong","token":' + quote(token), conn=ws)


def watch(room: str, *, grace_ms: int | None = None) -> None:
    """From here on on_join(who) and on_leave(who) are called for everybody who is in the room, comes and goes, each user once however many
    connections he has. A user whose last connection was lost counts as there for ``grace_ms`` (5,000), so that a page may be loaded again
    unnoticed. The mount watches, not this process: any of its workers may be told, and it stays until unwatch(room)."""
    text = '{"c":"watch","room":' + quote_room(room)
    if grace_ms is not None:
        if _integer(grace_ms, "grace_ms") > HOUR_MS or grace_ms < 0:
            raise ValueError(f"grace_ms is 0 to {HOUR_MS}, an hour, not {grace_ms}")
        text += f',"grace":{grace_ms}'
    command(text)


def unwatch(room: str, *, if_empty: bool = False) -> None:
    """Nobody of that room is told of any more. ``if_empty``: only if nobody is there when the commit is made, so that whoever has come
    meanwhile is told of: in on_leave, when ``who.users`` is 0."""
    command('{"c":"unwatch","room":' + quote_room(room) + (',"if_empty":true' if if_empty else ""))


def info(ws, info: object = None, *, user: str | None = None) -> None:
    """Says who a connection is. info: what the others may know of it, at most 1,024 bytes, text or a value that becomes JSON text; ``""`` for
    nothing. user: as whom it counts among users; ``""`` for the one whom its token names. What is not given stays as it is."""
    if info is None and user is None:
        raise TypeError("an info needs something to say: a text, or a user")
    text, said = '{"c":"info"', None if info is None else checked_info(info)
    if said is not None:
        text += ',"info":' + quote(said)
    if user is not None:
        text += ',"user":' + quote(checked_user(user))
    command(text, conn=ws)
    event = current.get()
    own = getattr(event, "connection", None)
    if own is not None and event.open and own.id == id_of(ws):  # what follows in a run is told nothing of it
        own._info = own._info if said is None else said or None
        own._user = own._user if user is None else user or own._subject


def broadcast(data, exclude=None, key: str | None = None, *, exclude_users=None, exclude_rooms=None) -> None:
    """Sends to all connections of the mount, except some: see broadcast_to. key: see send."""
    command('{"c":"broadcast"' + _key(key) + _but(exclude_users, exclude_rooms), data=data, exclude=exclude)


def broadcast_to(room, data, exclude=None, key: str | None = None, *, exclude_users=None, exclude_rooms=None, keep: bool = True) -> None:
    """Sends to all members of a room, or of a list of rooms, each connection once; not to a connection, or a list of connections, to users or
    to the members of other rooms. key: see send. keep=False: rooms do not remember it (--history)."""
    keeps = "" if keep else ',"keep":false'
    command('{"c":"broadcast_to"' + _rooms(room) + _key(key) + keeps + _but(exclude_users, exclude_rooms), data=data, exclude=exclude)


def close_room(room, code: int | None = None, reason: str = "", exclude=None, *, exclude_users=None, exclude_rooms=None) -> None:
    """Closes all connections in a room, or in a list of rooms, but those that are left out: see broadcast_to. code, reason: see close."""
    command('{"c":"close_room"' + _rooms(room) + _closing(code, reason) + _but(exclude_users, exclude_rooms), exclude=exclude)


def close(ws, code: int | None = None, reason: str = "") -> None:
    """Closes a connection: code 1000, 1001, 1003, 1007 to 1014, 3000 to 4999 or None."""
    command('{"c":"close"' + _closing(code, reason), conn=ws)


def set_timer(name: str, delay_ms: int, period_ms: int = 0, id: int = 0, ws=None) -> None:
    """Has on_timer(name, id, ws) called after delay_ms, and then every period_ms unless that is 0. With ws the timer belongs to
    that connection and ends with it, else to the mount. One that is set already is left alone if all of it is the same."""
    text = (f'{{"c":"timer","name":{_name(name, "the name of a timer")},"id":{_integer(id, "id")}'
            f',"delay":{_integer(delay_ms, "delay_ms")},"period":{_integer(period_ms, "period_ms")}')
    command(text if ws is None else text + ',"conn":' + quote(id_of(ws)))


def cancel_timer(name: str, ws=None) -> None:
    text = '{"c":"cancel","name":' + _name(name, "the name of a timer")
    command(text if ws is None else text + ',"conn":' + quote(id_of(ws)))


def command(text: str, conn=_nothing, data=_nothing, exclude=None, binary: bytes | None = None) -> None:
    scope = current.get()
    alone = scope is None or not scope.open
    if alone:
        scope = Scope()
    if conn is not _nothing:
        id = id_of(conn)
        if id != scope.own:
            text += ',"conn":' + quote(id)
    if data is not _nothing:
        if type(data) is str:
            text += ',"data":' + quote(data)
        elif isinstance(data, (bytes, bytearray, memoryview)):
            binary = bytes(data)
            text += f',"bin":{len(binary)}'
        else:
            text += ',"data":' + quote(data if isinstance(data, str) else to_json(data))
    if isinstance(exclude, (list, tuple, set, frozenset)):
        text += ',"exclude":[' + ",".join(quote(id_of(ws)) for ws in _few(exclude, "exclude")) + "]"
    elif exclude is not None:
        id = id_of(exclude)
        text += ',"exclude":true' if id == scope.own else ',"exclude":' + quote(id)
    # Only now: a command that raised above must leave nothing behind.
    scope.commands.append(text + "}")
    if binary is not None:
        scope.binaries.append(binary)
    if alone:
        outbox.submit(Push(scope))


def checked_info(info) -> str:
    """What the others may know, as it is sent: text, or a value that becomes JSON text."""
    said = info if isinstance(info, str) else to_json(info)
    if len(said.encode("utf-8", "replace")) > INFO_MAX:
        raise ValueError(f"an info has at most {INFO_MAX} bytes")
    return said


def checked_user(user) -> str:
    if user != "":
        _name(user, "a user")
    return user


def id_of(ws) -> str:
    id = ws if isinstance(ws, str) else getattr(ws, "id", None)
    if isinstance(id, str):
        return id
    raise TypeError(f"a connection is expected, not {_kind(ws)}")


def quote_room(room) -> str:
    return _name(room, "the name of a room")


def _name(value, what: str) -> str:
    """As the host wants it. That would refuse the event, too, but only when the handler has gone on."""
    text = _text(value, what)
    if not value or "\0" in value or (len(value) > 63 and len(value.encode("utf-8", "replace")) > 255):
        raise ValueError(f"{what} has 1 to 255 bytes and no NUL, unlike {value[:50]!r}")
    return text


def _most(value, what: str) -> int:
    most = _integer(value, what)
    if not 0 < most < 1 << 32:
        raise ValueError(f"{what} is a number from 1, not {value}")
    return most


def _few(values, what: str) -> list:
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        raise TypeError(f"{what} is a list, not {_kind(values)}")
    values = list(values)
    if len(values) > LIST_MAX:
        raise ValueError(f"{what} has {len(values)} entries: at most {LIST_MAX}")
    return values


def _rooms(room) -> str:
    if isinstance(room, str):
        return ',"room":' + quote_room(room)
    rooms = _few(room, "rooms")
    if not rooms:
        raise ValueError("a list of rooms is empty")
    return ',"rooms":[' + ",".join(map(quote_room, rooms)) + "]"


def _but(users, rooms) -> str:
    text = ""
    if users is not None:
        text += ',"exclude_users":[' + ",".join(_text(user, "a user") for user in _few(users, "exclude_users")) + "]"
    if rooms is not None:
        text += ',"exclude_rooms":[' + ",".join(map(quote_room, _few(rooms, "exclude_rooms"))) + "]"
    return text


def _closing(code, reason) -> str:
    text = "" if code is None else f',"code":{_close_code(code)}'
    if reason:
        if code is None:
            raise ValueError("a reason needs a close code")
        text += ',"reason":' + _text(reason, "a reason")
        if len(reason.encode("utf-8", "replace")) > 123:
            raise ValueError("a reason has at most 123 bytes")
    return text


def _key(key) -> str:
    return "" if key is None else ',"key":' + _text(key, "a key")


def _history(last, since, epoch, otherwise) -> str:
    if otherwise not in ("last", "fail"):
        raise ValueError(f'otherwise is "last" or "fail", not {otherwise!r}')
    if since is None and (epoch is not None or otherwise != "last"):
        raise ValueError("epoch and otherwise need since, an offset")
    text = "" if last is None else f',"last":{_integer(last, "last")}'
    if since is None:
        return text
    text += f',"since":{_integer(since, "since")}'
    if epoch is not None:
        text += f',"epoch":{_integer(epoch, "epoch")}'
    elif since > 0:
        raise ValueError("since needs the epoch of that offset")
    return text + (',"else":"fail"' if otherwise == "fail" else "")


def _text(value, what: str) -> str:
    if isinstance(value, str):
        return quote(value)
    raise TypeError(f"{what} is text, not {_kind(value)}")


def _integer(value, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value) or value != int(value):
        raise TypeError(f"{what} is a whole number, not {value!r}")
    if not 0 <= value < 1 << 53:
        raise ValueError(f"{what} is at least 0 and below 2^53, not {value}")
    return int(value)


def _close_code(code) -> int:
    code = _integer(code, "a close code")
    if code in (1000, 1001, 1003) or 1007 <= code <= 1014 or 3000 <= code <= 4999:
        return code
    raise ValueError(f"a close code is 1000, 1001, 1003, 1007 to 1014 or 3000 to 4999, not {code}")


def _kind(value) -> str:
    return "None" if value is None else type(value).__name__


# --- pushes ------------------------------------------------------------------------------------------------------------------


class push(Answer):
    """Commands that answer no event, from any thread, committed together::

        with push() as done:
            broadcast_to("news", "one")
            broadcast_to("news", "two")
        await done            # or done.wait(timeout) in a thread: the host has committed it, and says where it is
                              # in the room's memory (Place; None where rooms remember nothing)

    A block that raises sends nothing. What the connection loses is repeated without having effect twice."""

    __slots__ = ("_scope", "_token")

    def __enter__(self) -> "push":
        self._scope = Scope()
        self._token = current.set(self._scope)
        return self

    def __exit__(self, kind, error, traceback) -> None:
        current.reset(self._token)
        self._scope.open = False
        if kind is not None:
            self._settle(None, f"nothing was pushed: {error!r}")
        elif self._scope.commands:
            outbox.submit(Push(self._scope, self))
        else:
            self._settle(None, None)
