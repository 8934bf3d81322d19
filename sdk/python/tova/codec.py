"""Batches: a JSON array of objects, and behind one LF the binary data that they name."""
from __future__ import annotations

import json
from json.encoder import encode_basestring as quote  # written in C where there is an accelerator

__all__ = ["BatchError", "decode", "encode", "quote", "to_json"]

_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_decoder = json.JSONDecoder()

to_json = _encoder.encode


class BatchError(Exception):
    """A batch of the host that is not as the protocol says."""


def encode(link: str, objects: list[bytes], binaries: list[bytes]) -> bytes:
    """A batch of objects that are JSON already, each beginning with {" . The first one gets the link."""
    first = objects[0] if not link else b'{"link":%b,%b' % (quote(link).encode(), objects[0][1:])
    body = b"[%b]" % b",".join([first, *objects[1:]])
    return b"\n".join((body, b"".join(binaries))) if binaries else body


def decode(body: bytes) -> list[dict]:
    """Objects of a batch; "bin", "state_bin" and "room_state_bin" are bytes in them, no longer lengths."""
    objects, binary = _split(body)
    if not isinstance(objects, list):
        raise BatchError("a batch is an array")
    at = 0
    for item in objects:
        if not isinstance(item, dict):
            raise BatchError("a batch is an array of objects")
        for member in ("state_bin", "room_state_bin", "bin"):
            if member in item:
                end = at + _size(item[member])
                if end > len(binary):
                    raise BatchError("a batch has less binary data than it names")
                item[member] = binary[at:end]
                at = end
    if at != len(binary):
        raise BatchError("a batch has more binary data than it names")
    return objects


def _split(body: bytes):
    lf = body.find(b"\n")
    try:
        if lf < 0:
            return json.loads(str(body, "utf-8")), b""
        return json.loads(str(body[:lf], "utf-8")), body[lf + 1:]
    except (ValueError, RecursionError) as error:
        if lf < 0:
            raise BatchError(f"a batch is no JSON: {error}") from None
    # The LF was white space inside of the array: allowed in JSON, though this host writes none.
    text = str(body, "utf-8", "surrogateescape")
    try:
        objects, end = _decoder.raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise BatchError(f"a batch is no JSON: {error}") from None
    rest = text[end:].encode("utf-8", "surrogateescape")
    if rest[:1] not in (b"", b"\n"):
        raise BatchError("something other than LF follows the array of a batch")
    return objects, rest[1:]


def _size(value) -> int:
    if type(value) is not int or value < 0:
        raise BatchError(f"a batch names {value!r} bytes")
    return value
