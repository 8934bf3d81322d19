"""Where commands go: each handler runs in a scope that collects them."""
from __future__ import annotations

from collections import deque
from contextvars import ContextVar


class Scope:
    """Collects commands that commit together."""

    __slots__ = ("own", "commands", "binaries", "open")

    def __init__(self, own: str | None = None):
        self.own = own  # the connection that commands may leave out
        self.commands: list[str] = []
        self.binaries: list[bytes] = []
        self.open = True


current: ContextVar[Scope | None] = ContextVar("tova", default=None)


class Event(Scope):
    """The event that is being handled. ``connection`` and ``sequence`` together never change when it is delivered again."""

    __slots__ = ("type", "connection", "sequence", "attempt", "number", "link", "queries", "stored", "done", "behind")

    def __init__(self, type, connection, sequence, attempt, number, link):
        # Scope's own, written out: this runs once per event.
        self.own = connection.id if connection is not None else None
        self.commands, self.binaries, self.open = [], [], True
        self.type: str = type  #: "open", "message", "close", "error", "timer", "away", "back" or "upgrade"
        self.connection: Connection | None = connection  # noqa: F821 (its file stands above this one)
        self.sequence: int = sequence  #: counts the connection's events from 1
        self.attempt: int = attempt  #: 1, or more when it is delivered again
        self.number = number
        self.link = link
        self.queries = None
        # For what follows it in a run: the state that it leaves; whether it was acknowledged (None: under way); what waits for that.
        self.stored = connection._stored if connection is not None else None
        self.done: bool | None = None
        self.behind: deque | None = None

    @property
    def key(self) -> str:
        """Names this event for ever: store it with your own writes to make them idempotent."""
        return f"{self.own or ''}:{self.sequence}"

    def __repr__(self):
        return f"<tova event {self.type} {self.key} attempt {self.attempt}>"


def current_event() -> Event | None:
    """The event whose handler runs here, or None: its key makes writes of your own idempotent."""
    scope = current.get()
    return scope if isinstance(scope, Event) and scope.open else None
