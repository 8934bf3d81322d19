"""What rooms remember (--history), as workers ask for it and are told of it."""
from __future__ import annotations

from base64 import b64decode
from typing import NamedTuple


class Place(NamedTuple):
    """Where in its room's memory a message is. Offsets count from 1, and begin anew with another epoch."""
    offset: int
    epoch: int


class Remembered(NamedTuple):
    offset: int
    at: int  # when it came, in milliseconds since 1970
    data: str | bytes


class History(NamedTuple):
    """What a room remembers: ``messages`` is what was asked for, ``first`` and ``last`` are the offsets that there are (0: none).

    ``complete``: none of those asked for is forgotten. ``more``: some follow that did not fit."""
    epoch: int
    first: int
    last: int
    complete: bool
    more: bool
    messages: list[Remembered]


def read_history(reply: dict) -> History:
    messages = [Remembered(m["offset"], m["at"], b64decode(m["data_base64"]) if "data_base64" in m else m["data"])
                for m in reply.get("messages", ())]
    return History(reply.get("epoch", 0), reply.get("first", 0), reply.get("last", 0), reply.get("complete", False),
                   reply.get("more", False), messages)


def read_place(done: dict) -> Place | None:
    return Place(done["offset"], done["epoch"]) if "offset" in done else None
