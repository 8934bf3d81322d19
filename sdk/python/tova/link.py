"""One connection to the host: batches in, batches out."""
from __future__ import annotations

import asyncio
import random
import select
import ssl
import threading
from contextlib import suppress
from urllib.parse import urlsplit

from . import codec
from .frame import HANDSHAKE, FrameError, Reader, pack

BATCH_BYTES = 1 << 19  # a batch of answers leaves when it has grown to this
REST = 5000  # ms for the rest of a pong that went out in part


class Link(asyncio.Protocol):
    def __init__(self, worker, ipc: bool):
        self.id = ""  # the host's name for this connection, from its welcome
        self.source = "".join(random.SystemRandom().choices("abcdefghijkmnopqrstuvwxyz23456789", k=20))
        self.pushes = 0  # numbered under this source
        self.closed = asyncio.get_running_loop().create_future()
        self.error = None  # why it ended, if anybody knows
        self.refusal: str | None = None  # the host's reason not to welcome us
        self._worker = worker
        self._ipc = ipc
        self._reader = Reader(ipc)
        self._transport = None
        self._lock = threading.Lock()  # of what is written
        self._socket = None  # our own name for the connection, for pong(); TLS has none
        self._objects: list[bytes] = []  # of the next batch
        self._binaries: list[bytes] = []
        self._bytes = 0

    # --- called by asyncio

    def connection_made(self, transport) -> None:
        self._transport = transport
        if transport.get_extra_info("ssl_object") is None:
            self._socket = transport.get_extra_info("socket").dup()
        transport.write(HANDSHAKE)
        self._worker.dialled(self)

    def data_received(self, data: bytes) -> None:
        ready = self._reader.ready
        try:
            messages = self._reader.feed(data)
            if not ready and self._reader.ready:
                self._worker.linked(self)
            for body in messages:
                self._worker.batch(self, codec.decode(body))
        except (FrameError, codec.BatchError) as error:
            self.abort(str(error))
        finally:
            # Also when a handler ends the process: what was handled before it is done and must not be done again.
            self.flush()

    def connection_lost(self, error) -> None:
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
        if error is not None and self.error is None:
            self.error = str(error)
        if not self.closed.done():
            self.closed.set_result(None)
        self._worker.unlinked(self)

    # --- called by the worker

    def put(self, text: bytes, binaries=()) -> None:
        """Adds an object, which begins with {" , to the next batch."""
        self._objects.append(text)
        self._bytes += len(text)
        if binaries:
            self._binaries += binaries
            self._bytes += sum(map(len, binaries))
        if self._bytes >= BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        if not self._objects or self._transport is None:
            return
        body = codec.encode(self.id, self._objects, self._binaries)
        self._objects, self._binaries, self._bytes = [], [], 0
        with self._lock:
            self._transport.write(pack(body, self._ipc))

    def pong(self) -> None:
        """From another thread, while that of the loop is busy: past the transport, which is the loop's. Not while half a message waits there."""
        with self._lock, suppress(OSError):
            if self._socket is None or self._transport.get_write_buffer_size() > 0:
                return
            message = pack(codec.encode(self.id, [b'{"t":"pong"}'], []), self._ipc)
            sent = self._socket.send(message)  # does not block: the socket is the transport's
            while sent < len(message):
                ready = select.poll()
                ready.register(self._socket, select.POLLOUT)
                if not ready.poll(REST):
                    self._socket.shutdown(2)  # nothing can follow half a message
                    return
                sent += self._socket.send(message[sent:])

    def close(self) -> None:
        """Everything is said; the host closes when it has read it."""
        self.flush()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def abort(self, why: str | None = None) -> None:
        if self.error is None:
            self.error = why
        self._transport.abort()


async def connect(worker, url: str, tls: ssl.SSLContext | None) -> Link:
    """Dials. OSError (TLS errors are) or ValueError."""
    loop = asyncio.get_running_loop()
    scheme, _, rest = url.partition("://")
    if scheme == "ipc":
        return (await loop.create_unix_connection(lambda: Link(worker, True), rest))[1]
    if scheme not in ("tcp", "tls+tcp"):
        raise ValueError(f'"{url}" is no URL of a host: ipc:///path, tcp://address:port or tls+tcp://name:port')
    address = urlsplit("//" + rest)
    if not address.hostname or address.port is None:
        raise ValueError(f'"{url}" lacks an address or a port')
    options = {}
    if scheme == "tls+tcp":
        context = tls or ssl.create_default_context()
        context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
        options = {"ssl": context, "server_hostname": address.hostname}
    return (await loop.create_connection(lambda: Link(worker, False), address.hostname, address.port, **options))[1]
