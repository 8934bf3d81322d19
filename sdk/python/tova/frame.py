"""SP framing (the wire protocol of nng and nanomsg) for PAIR0: bytes in, messages out."""
from __future__ import annotations

import struct

HANDSHAKE = b"\x00SP\x00\x00\x10\x00\x00"
MAX_MESSAGE = 1 << 30  # the host sends 1 MiB, or one larger event; above this the length is a lie

_U64 = struct.Struct(">Q")
_IPC = struct.Struct(">BQ")


class FrameError(Exception):
    """The peer does not speak this protocol: the connection is of no use any more."""


def pack(body: bytes, ipc: bool) -> bytes:
    """One message with its head."""
    return (_IPC.pack(1, len(body)) if ipc else _U64.pack(len(body))) + body


class Reader:
    """Cuts a stream into messages. The peer's handshake comes first."""

    def __init__(self, ipc: bool):
        self.ready = False  # the handshake was seen
        self._head = 9 if ipc else 8
        self._rest = bytearray()
        self._need = len(HANDSHAKE)  # nothing can be cut off before so many bytes are there

    def feed(self, data: bytes) -> list[bytes]:
        """Takes what was read; returns the messages that are whole with it."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._need:
                return []
            data = bytes(self._rest)
            self._rest.clear()
        pos = 0
        if not self.ready:
            if len(data) < len(HANDSHAKE):
                return self._keep(data, 0, len(HANDSHAKE))
            if data[:8] != HANDSHAKE:
                raise FrameError(f"this is no PAIR0 socket: it began with {data[:8]!r}")
            self.ready = True
            pos = len(HANDSHAKE)
        messages = []
        while True:
            start = pos + self._head
            if start > len(data):
                return self._keep(data, pos, self._head, messages)
            end = start + self._length(data, start - 8)
            if end > len(data):
                return self._keep(data, pos, end - pos, messages)
            messages.append(data[start:end])
            pos = end

    def _length(self, data: bytes, at: int) -> int:
        length = _U64.unpack_from(data, at)[0]
        if self._head == 9 and data[at - 1] != 1:
            raise FrameError(f"message type {data[at - 1]} where 1 was expected")
        if length > MAX_MESSAGE:
            raise FrameError(f"a message of {length} bytes is too long")
        return length

    def _keep(self, data: bytes, pos: int, need: int, messages=None) -> list[bytes]:
        self._rest += data[pos:]
        self._need = need
        return messages or []
