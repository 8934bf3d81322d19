"""Questions to the host. It answers with what is committed.

``await`` the answer in async handlers. In others give a callback: it is called with the answer once the handler's commands are
committed, and its own commands commit together. Threads of your own may wait() for the answer.
"""
from __future__ import annotations

from base64 import b64decode

from .answer import Answer
from .codec import quote
from .commands import _integer, id_of, quote_room
from .connection import Connection, Room
from .history import read_history
from .outbox import Query, outbox
from .scope import Event, current


PAGE = 1000  # that the host lists at a time


def members(room: str, callback=None, *, limit: int | None = None, after=None) -> Answer:
    """Connections in a room: a list, with ``user`` and ``info`` of each. limit: so many of them, at most 1,000, behind the connection
    ``after``, which was the last one of the page before."""
    return _query(_page("members", room, limit, None if after is None else id_of(after)), _members, callback, _all("members", limit))


def users(room: str, callback=None, *, limit: int | None = None, after: str | None = None) -> Answer:
    """Names of the users in a room, each once however many connections he has there: a list in their order. limit, after: as for
    members."""
    return _query(_page("users", room, limit, after), lambda reply: [user["user"] for user in reply.get("users", ())], callback,
                  _all("users", limit))


def count(room: str, callback=None) -> Answer:
    """How many connections are in a room."""
    return _query(',"what":"count","room":' + quote_room(room), lambda reply: reply.get("count", 0), callback)


def rooms(ws, callback=None) -> Answer:
    """Names of the rooms that a connection is in: a list."""
    return _query(',"what":"rooms","conn":' + quote(id_of(ws)), lambda reply: reply.get("rooms", []), callback)


def history(room: str, since: int | None = None, limit: int = 100, epoch: int | None = None, callback=None) -> Answer:
    """What a room remembers, a History: the last messages, or those behind ``since``, an offset (of ``epoch``, if it is given)."""
    text = ',"what":"history","room":' + quote_room(room) + f',"limit":{_integer(limit, "limit")}'
    if since is not None:
        text += f',"since":{_integer(since, "since")}'
    if epoch is not None:
        text += f',"epoch":{_integer(epoch, "epoch")}'
    return _query(text, read_history, callback)


def room_state(room: str, callback=None) -> Answer:
    """What is kept with a room, a Room: its ``state`` and ``version``, for set_room."""
    return _query(',"what":"room_state","room":' + quote_room(room), lambda reply: _room(room, reply), callback)


def connections(callback=None) -> Answer:
    """All connections of the mount: a list."""
    return _query(',"what":"connections"', _connections, callback)


def stats(callback=None) -> Answer:
    """Counters of the host: a dict."""
    return _query(',"what":"stats"', lambda reply: reply.get("stats", {}), callback)


def _page(what: str, room: str, limit, after) -> str:
    if limit is not None and (not isinstance(limit, int) or not 0 < limit <= PAGE):
        raise ValueError(f"a limit is a number of 1 to {PAGE}, not {limit!r}")
    text = f',"what":"{what}","room":{quote_room(room)},"limit":{PAGE if limit is None else limit}'
    return text if after is None else text + ',"after":' + quote(after)


def _all(list: str, limit) -> str | None:
    return list if limit is None else None


def _members(reply: dict) -> list[Connection]:
    found = []
    for member in reply.get("members", ()):
        ws = Connection(member["conn"])
        ws._user, ws._info = member.get("user"), member.get("info")
        found.append(ws)
    return found


def _room(name: str, reply: dict) -> Room:
    return Room(name, b64decode(reply["state_base64"]) if "state_base64" in reply else reply.get("state"), reply.get("version", 0))


def _connections(reply: dict) -> list[Connection]:
    return [Connection(id) for id in reply.get("connections", ())]


def _query(text: str, value, callback, pages: str | None = None) -> Answer:
    query = Query(text, value, callback, pages)
    scope = current.get()
    if callback is not None and isinstance(scope, Event) and scope.open:
        # Asked behind the handler's own commands, so that it sees them; and not at all if the handler fails.
        if scope.queries is None:
            scope.queries = []
        scope.queries.append(query)
    else:
        outbox.submit(query)
    return query.answer
