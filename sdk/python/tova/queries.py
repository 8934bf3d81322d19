"""Questions to the host. It answers with what is committed.

``await`` the answer in async handlers. In others give a callback: it is called with the answer once the handler's commands are
committed, and its own commands commit together. Threads of your own may wait() for the answer.
"""
from __future__ import annotations

from .answer import Answer
from .codec import quote
from .commands import id_of, quote_room
from .connection import Connection
from .outbox import Query, outbox
from .scope import Event, current


def members(room: str, callback=None) -> Answer:
    """Connections in a room: a list."""
    return _query(',"what":"members","room":' + quote_room(room), _connections, callback)


def count(room: str, callback=None) -> Answer:
    """How many connections are in a room."""
    return _query(',"what":"count","room":' + quote_room(room), lambda reply: reply.get("count", 0), callback)


def rooms(ws, callback=None) -> Answer:
    """Names of the rooms that a connection is in: a list."""
    return _query(',"what":"rooms","conn":' + quote(id_of(ws)), lambda reply: reply.get("rooms", []), callback)


def connections(callback=None) -> Answer:
    """All connections of the mount: a list."""
    return _query(',"what":"connections"', _connections, callback)


def stats(callback=None) -> Answer:
    """Counters of the host: a dict."""
    return _query(',"what":"stats"', lambda reply: reply.get("stats", {}), callback)


def _connections(reply: dict) -> list[Connection]:
    return [Connection(id) for id in reply.get("connections", ())]


def _query(text: str, value, callback) -> Answer:
    query = Query(text, value, callback)
    scope = current.get()
    if callback is not None and isinstance(scope, Event) and scope.open:
        # Asked behind the handler's own commands, so that it sees them; and not at all if the handler fails.
        if scope.queries is None:
            scope.queries = []
        scope.queries.append(query)
    else:
        outbox.submit(query)
    return query.answer
