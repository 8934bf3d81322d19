"""What on_upgrade returns."""
from __future__ import annotations

from dataclasses import dataclass, field

from .codec import to_json
from .commands import checked_info, checked_user
from .connection import encode_state


@dataclass
class accept:
    """Return it from on_upgrade: the connection is accepted, with one of the offered subprotocols, more headers, a first state, and as info()
    says who it is."""

    subprotocol: str | None = None
    headers: list = field(default_factory=list)
    state: object = None
    user: str | None = None
    info: object = None


@dataclass
class refuse:
    """Return it from on_upgrade: an HTTP answer instead of a connection."""

    status: int = 403
    body: str | bytes = ""
    type: str = "text/plain; charset=utf-8"
    headers: list = field(default_factory=list)


def upgrade_answer(result) -> tuple[str, list[bytes]]:
    """Members of the acknowledgement that say what on_upgrade returned, and the binary data that they name."""
    if result is None or result is True:
        return "", []
    if result is False:
        result = refuse()
    if isinstance(result, refuse):
        answer = {"status": result.status, "type": result.type, "headers": _header_pairs(result.headers)}
        binaries = _add(answer, "body", "bin", result.body)
        return ',"refuse":' + to_json(answer), binaries
    if isinstance(result, accept):
        answer = {}
        if result.subprotocol is not None:
            answer["subprotocol"] = result.subprotocol
        if result.headers:
            answer["headers"] = _header_pairs(result.headers)
        if result.user is not None:
            answer["user"] = checked_user(result.user)
        if result.info is not None:
            answer["info"] = checked_info(result.info)
        binaries = [] if result.state is None else _add(answer, "state", "state_bin", encode_state(result.state))
        return ',"accept":' + to_json(answer), binaries
    raise TypeError(f"on_upgrade returns accept(), refuse(), True or False, not {type(result).__name__}")


def _add(answer: dict, text_member: str, binary_member: str, value) -> list[bytes]:
    if isinstance(value, bytes):
        answer[binary_member] = len(value)
        return [value]
    answer[text_member] = value
    return []


def _header_pairs(headers) -> list:
    pairs = headers.items() if isinstance(headers, dict) else headers
    return [[str(name), str(value)] for name, value in pairs]
