"""What on_upgrade returns."""
from __future__ import annotations

from dataclasses import dataclass, field

from .codec import to_json
from .connection import encode_state


@dataclass
class accept:
    """Return it from on_upgrade: the connection is accepted, with one of the offered subprotocols, more headers, a first state."""

    subprotocol: str | None = None
    headers: list = field(default_factory=list)
    state: object = None


@dataclass
class refuse:
    """Return it from on_upgrade: an HTTP answer instead of a connection."""

    status: int = 403
    body: str = ""
    type: str = "text/plain; charset=utf-8"
    headers: list = field(default_factory=list)


def upgrade_answer(result) -> str:
    """Members of the acknowledgement that say what on_upgrade returned."""
    if result is None or result is True:
        return ""
    if result is False:
        result = refuse()
    if isinstance(result, refuse):
        return ',"refuse":' + to_json({"status": result.status, "type": result.type, "body": result.body,
                                       "headers": _header_pairs(result.headers)})
    if isinstance(result, accept):
        answer = {}
        if result.subprotocol is not None:
            answer["subprotocol"] = result.subprotocol
        if result.headers:
            answer["headers"] = _header_pairs(result.headers)
        if result.state is not None:
            answer["state"] = encode_state(result.state)
            if isinstance(answer["state"], bytes):
                raise TypeError("the state of an accepted upgrade is text or a JSON value; set bytes in on_open")
        return ',"accept":' + to_json(answer)
    raise TypeError(f"on_upgrade returns accept(), refuse(), True or False, not {type(result).__name__}")


def _header_pairs(headers) -> list:
    pairs = headers.items() if isinstance(headers, dict) else headers
    return [[str(name), str(value)] for name, value in pairs]
