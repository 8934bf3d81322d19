"""What handlers are given: connections, requests and errors."""
from __future__ import annotations

import json

from . import commands
from .codec import quote, to_json
from .scope import current_event

STATE_MAX = 4096  # bytes that the host keeps with a connection
ROOM_STATE_MAX = 65536  # with a room

_UNREAD = object()
_UNKNOWN = object()  # the host has not told
_ANY = object()


class Connection:
    """A client. Compare and keep it freely: commands to one that is gone do nothing."""

    __slots__ = ("id", "_request", "_rooms", "_stored", "_state", "_given", "_subject", "_user", "_info", "_claims", "_room", "_trace")

    def __init__(self, id: str, stored=_UNKNOWN, request: Request | None = None, rooms: list[str] | None = None):
        self.id: str = id  #: 22 characters, never reused
        self._request = request
        self._rooms = rooms
        self._stored = stored  # state as the host has it: text, bytes or None
        self._state = _UNREAD
        self._given = None  # text of a dict or list as it was read, to notice changes within
        self._subject = self._user = self._info = self._claims = self._room = self._trace = _UNKNOWN

    @property
    def request(self) -> Request:
        """What it came with; in on_back, with what it came back. Known in these only: what is needed later is kept in ``state``.
        RuntimeError elsewhere."""
        if self._request is None:
            raise RuntimeError("ws.request is known in on_open and on_back only; keep in ws.state what is needed later")
        return self._request

    @property
    def rooms(self) -> list[str]:
        """Those that it was in and has left. Known in on_close only: elsewhere ask rooms(ws). RuntimeError elsewhere."""
        if self._rooms is None:
            raise RuntimeError("ws.rooms is known in on_close only; elsewhere the host can be asked: await rooms(ws)")
        return self._rooms

    @property
    def state(self):
        """What was last stored with this connection: None, bytes, or a JSON value (text is one). Kept by the host, at most 4,096
        bytes, committed with the event, so that any worker can serve the connection. Known in events of the connection;
        RuntimeError for one that was asked for (members, connections) unless it was set here."""
        if self._state is _UNREAD:
            if self._stored is _UNKNOWN:
                raise RuntimeError("the state of a connection is known in events of its own, not for one that was asked for")
            self._state = _decode_state(self._stored)
            if isinstance(self._state, (dict, list)):
                self._given = to_json(self._state)
        return self._state

    @state.setter
    def state(self, value) -> None:
        self._set(value)

    def _set(self, value, expected=_ANY) -> None:
        stored = encode_state(value)
        _set_stored(self.id, stored, expected)
        self._stored, self._state = stored, value
        self._given = stored if isinstance(value, (dict, list)) else None

    def changed_within(self) -> bool:
        """Whether state is a dict or list that was changed since it was read or set."""
        return self._given is not None and to_json(self._state) != self._given

    @property
    def user(self) -> str | None:
        """Whose connection it is: what info(ws, user=...) has said, or else the ``sub`` of its token; None: nobody's. Known in
        events of the connection, and of members(room)."""
        return self._known(self._user, "user")

    @property
    def info(self) -> str | None:
        """What info(ws, ...) has said of it, a text, or None. Known as ``user`` is."""
        return self._known(self._info, "info")

    @property
    def claims(self) -> dict | None:
        """What its token says (--jwt-key), or None. Known in events of the connection."""
        return self._known(self._claims, "claims")

    @property
    def room(self) -> Room | None:
        """The room that it has joined first, with what is kept there: ``room.name``, ``room.state`` and ``room.version``, for set_room; None:
        it is in no room. In on_close, and for what came before it, the room that it was in. Known in events of the connection, if the worker asks for it: serve(..., room_state=True)."""
        if self._room is _UNKNOWN:
            raise RuntimeError("ws.room is known in events of the connection where the worker asks for it: serve(..., room_state=True); "
                               "of any room it tells await room_state(room)")
        return self._room

    @property
    def traceparent(self) -> str | None:
        """Which distributed trace the event belongs to (--trace-sample, W3C Trace Context): the header of requests that its handler
        makes elsewhere. None: to none. Known in events of the connection."""
        return self._known(self._trace, "traceparent")[0]

    @property
    def tracestate(self) -> str | None:
        """What goes with ``traceparent`` there, or None."""
        return self._known(self._trace, "tracestate")[1]

    def _known(self, value, what: str):
        if value is _UNKNOWN:
            raise RuntimeError(f"ws.{what} is known in events of the connection, not for one of which only the id was asked for")
        return value

    def send(self, data, key: str | None = None) -> None:
        """Sends to this connection: str as text, bytes as binary, any other value as JSON text. key: see tova.send."""
        commands.send(self, data, key)

    def join(self, room: str, **asked) -> None:
        """See tova.join."""
        commands.join(self, room, **asked)

    def leave(self, room: str) -> None:
        commands.leave(self, room)

    def leave_all(self) -> None:
        commands.leave_all(self)

    def prolong(self, token: str) -> None:
        """See tova.prolong."""
        commands.prolong(self, token)

    def close(self, code: int | None = None, reason: str = "") -> None:
        """Closes it: code 1000, 1001, 1003, 1007 to 1014, 3000 to 4999 or None."""
        commands.close(self, code, reason)

    def __eq__(self, other):
        return isinstance(other, Connection) and other.id == self.id

    def __hash__(self):
        return hash(self.id)

    def __repr__(self):
        return f"<tova connection {self.id}>"


class Room:
    """What is kept with a room, as it was when it was asked for: ``state`` is None, bytes, or a JSON value (text is one), and ``version`` what
    set_room needs, to replace it with what was made from it."""

    __slots__ = ("name", "version", "_stored", "_state")

    def __init__(self, name: str, stored, version: int):
        self.name: str = name
        self.version: int = version  #: 0: nothing is kept
        self._stored = stored
        self._state = _UNREAD

    @property
    def state(self):
        if self._state is _UNREAD:
            self._state = _decode_state(self._stored)
        return self._state

    def __repr__(self):
        return f"<tova room {self.name!r} version {self.version}>"


def set_room(room, state, version=_ANY) -> None:
    """Keeps a JSON value, text or bytes with a room, at most 65,536 bytes; None: nothing any more.

    It was made from what was kept with ``version``: give ``ws.room``, or what room_state has answered, as the room, or its version. If
    somebody else has set the room meanwhile nothing of the event is done, and its handler is called once more, with what is there then. A
    version of None replaces whatever there is; a push is not made again, but refused."""
    if isinstance(room, Room):
        version = room.version if version is _ANY else version
        room = room.name
    elif version is _ANY:
        raise TypeError("set_room needs the version that the state was made from: set_room(ws.room, state), or None for any")
    text = '{"c":"set_room","room":' + commands.quote_room(room)
    if version is not None:
        text += f',"version":{commands._integer(version, "version")}'
    stored = "" if state is None else encode_state(state, ROOM_STATE_MAX, "a room")
    if isinstance(stored, bytes):
        commands.command(text + f',"state_bin":{len(stored)}', binary=stored)
    else:
        commands.command(text + ',"state":' + quote(stored))


class Presence:
    """Somebody who has come into a room that is watched, or has gone from it."""

    __slots__ = ("room", "user", "info", "users", "ws")

    def __init__(self, item: dict):
        self.room: str = item.get("room", "")
        self.user: str | None = item.get("user")  #: None: nobody in particular, who counts by his connection
        self.info: str | None = item.get("info")  #: what is said of the connection
        self.users: int = item.get("users", 0)  #: how many there are of whom on_join has told and on_leave has not, this one told
        #: The connection with which he has come, or has gone as the last; it may be gone by now.
        self.ws = Connection(item.get("member", ""))
        self.ws._user, self.ws._info = self.user, self.info

    def __repr__(self):
        return f"<{self.user or self.ws.id} of {self.room}, {self.users} there>"


def set_state(ws, value, if_state=_ANY) -> None:
    """Stores a JSON value, text or bytes with a connection; see Connection.state.

    Somebody else may have set another state since this handler was given one, which this would replace unseen. With
    ``if_state`` (None: none was set) the event fails if what is stored then is something else, and nothing of it is done."""
    expected = _ANY if if_state is _ANY else _expected(ws, if_state)
    if isinstance(ws, Connection):
        ws._set(value, expected)
    else:
        _set_stored(ws, encode_state(value), expected)


def _expected(ws, state):
    """As the host has it, to the byte, where that is known."""
    stored = getattr(ws, "_stored", _UNKNOWN)
    if stored is not _UNKNOWN and _decode_state(stored) == state:
        return "" if stored is None else stored
    return "" if state is None else encode_state(state)


def _set_stored(id: str, stored, expected=_ANY) -> None:
    event = current_event()
    if event is not None and event.own == id:
        event.stored = stored
    binary, text = [], '{"c":"set"'
    for key, value in (("state", stored), ("if_state", expected)):
        if value is _ANY:
            continue
        if isinstance(value, bytes):
            binary.append(value)
            text += f',"{key}_bin":{len(value)}'
        else:
            text += f',"{key}":' + quote(value)
    commands.command(text, conn=id, binary=b"".join(binary) if binary else None)


def encode_state(value, most: int = STATE_MAX, what: str = "a connection"):
    """Bytes stay bytes, everything else is kept as JSON text, so that "1" and 1 come back as what they were."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        stored = bytes(value)
        size = len(stored)
    else:
        stored = to_json(value)
        size = len(stored.encode())
    if size > most:
        raise ValueError(f"a state of {size} bytes: the host keeps at most {most} with {what}")
    return stored


def _decode_state(stored):
    if not isinstance(stored, str):
        return stored
    try:
        return json.loads(stored)
    except ValueError:
        return stored  # set by a worker without this library


class Error(str):
    """Text of an error; ``kind`` is "handler", "protocol", "transport" or "limit"."""

    kind: str = ""


class Request:
    """The HTTP request that opens a connection."""

    __slots__ = ("method", "path", "query", "mount", "host", "headers", "remote", "local", "tls", "secure", "subprotocols", "claims")

    def __init__(self, data: dict):
        self.method: str = data.get("method", "GET")
        self.path: str = data.get("path", "")  #: percent-decoded
        self.query: str = data.get("query", "")  #: behind the "?", not decoded: see urllib.parse.parse_qs
        self.mount: str = data.get("mount", "")
        self.host: str = data.get("host", "")
        self.headers: list[tuple[str, str]] = [(name, value) for name, value in data.get("headers", ())]
        self.remote: tuple = tuple(data.get("remote") or ())  #: (address, port)
        self.local: tuple = tuple(data.get("local") or ())
        self.tls: dict | None = data.get("tls")  #: None, or {"version", "cipher", "subject"}
        self.secure: bool = data.get("secure", False)  #: the client speaks TLS, with the host or with a proxy that is trusted
        self.subprotocols: list[str] = data.get("subprotocols") or []  #: offered by the client, in its order
        self.claims: dict | None = data.get("claims")  #: what the token says (--jwt-key), or None; the user is claims["sub"]

    def header(self, name: str, default: str | None = None) -> str | None:
        """The first header of that name, in any case."""
        name = name.lower()
        return next((value for have, value in self.headers if have.lower() == name), default)

    @property
    def cookies(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, value in self.headers:
            if name.lower() == "cookie":
                for pair in value.split(";"):
                    key, equals, content = pair.strip().partition("=")
                    if equals:
                        found.setdefault(key, content)
        return found

    def __repr__(self):
        return f"<tova request {self.method} {self.path}>"
