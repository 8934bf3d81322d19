"""Many WebSocket clients in one process: no more than text frames, as cheap as Python allows.

    async with Crowd(host) as crowd:
        ws = await crowd.connect("/room", on_text)
        ws.send("hello")

on_text(ws, text) is called for each text message, inside the loop. What a server must not do (masks, fragments it was not asked for, an end
of the connection that the test did not ask for) is kept in crowd.wrong, which a test has to find empty at the end.
"""
import asyncio
import base64
import os
import struct

from tova_host import PATIENCE


class Client(asyncio.Protocol):
    def __init__(self, crowd, target, on_text):
        self.crowd, self.target, self.on_text = crowd, target, on_text
        self.opened = asyncio.get_running_loop().create_future()
        self.closed = asyncio.get_running_loop().create_future()
        self.leaving = False  # an end is what the test wants
        self.close_code = None
        self._buffer = bytearray()
        self._transport = None
        self._head = True

    # --- called by asyncio

    def connection_made(self, transport):
        self._transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write((f"GET {self.target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())

    def data_received(self, data):
        self._buffer += data
        if self._head:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            line = bytes(self._buffer[:self._buffer.find(b"\r\n")])
            del self._buffer[:end + 4]
            self._head = False
            if b" 101 " not in line:
                self._refused(line.decode())
                return
            self.opened.set_result(self)
        self._frames()

    def connection_lost(self, error):
        if not self.leaving:
            self.crowd.wrong.append(f"{self.target}: the connection ended (close {self.close_code}, {error})")
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(f"{self.target}: ended before it was open"))
        if not self.closed.done():
            self.closed.set_result(self.close_code)

    def _refused(self, line):
        self.leaving = True
        self.opened.set_exception(ConnectionRefusedError(line))
        self._transport.close()

    def _frames(self):
        buffer, at = self._buffer, 0
        while len(buffer) - at >= 2:
            first, length, head = buffer[at], buffer[at + 1], 2
            if length == 126 and len(buffer) - at >= 4:
                length, head = struct.unpack_from(">H", buffer, at + 2)[0], 4
            elif length == 127 and len(buffer) - at >= 10:
                length, head = struct.unpack_from(">Q", buffer, at + 2)[0], 10
            elif length > 125:
                if length & 0x80:
                    self.crowd.wrong.append(f"{self.target}: a masked frame")
                break
            if len(buffer) - at < head + length:
                break
            payload = bytes(buffer[at + head:at + head + length])
            at += head + length
            self._frame(first, payload)
        del buffer[:at]

    def _frame(self, first, payload):
        if first == 0x81:
            self.on_text(self, payload.decode())
        elif first == 0x88:
            self.close_code = struct.unpack(">H", payload[:2])[0] if payload else 1005
            if not self.leaving:
                self.leaving = True
                self.crowd.wrong.append(f"{self.target}: closed by the host with {self.close_code} {payload[2:].decode()!r}")
                self._write(0x88, payload)
        elif first == 0x89:
            self._write(0x8A, payload)
        elif first != 0x8A:
            self.crowd.wrong.append(f"{self.target}: a frame that begins with {first:#x}")

    # --- called by tests

    def _write(self, first, *payloads):
        self._transport.write(b"".join(self._framed(first, payload) for payload in payloads))

    def _framed(self, first, payload):
        length = len(payload)
        if length < 126:
            head = bytes((first, 0x80 | length))
        elif length < 65536:
            head = struct.pack(">BBH", first, 0x80 | 126, length)
        else:
            head = struct.pack(">BBQ", first, 0x80 | 127, length)
        return head + bytes(4) + payload  # masked with zeroes, which is a mask like others

    def send(self, *texts):
        """In one piece: the host finds them together."""
        self._write(0x81, *(text.encode() for text in texts))

    def close(self, code=1000):
        """The closing handshake; await ws.closed for its end."""
        self.leaving = True
        self._write(0x88, struct.pack(">H", code))

    def drop(self):
        """The end without a farewell."""
        self.leaving = True
        self._transport.abort()


class Crowd:
    def __init__(self, host):
        self.host = host
        self.clients = []
        self.wrong = []

    async def connect(self, target, on_text, patience=None):
        """An open connection. It stays in the crowd until the end."""
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: Client(self, target, on_text), "127.0.0.1", self.host.port)
        self.clients.append(client)
        return await asyncio.wait_for(asyncio.shield(client.opened), patience or PATIENCE)

    async def until(self, condition, what, patience=None):
        """Lets the crowd go on until condition() holds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (patience or PATIENCE)
        while not condition():
            assert loop.time() < deadline, f"not within {patience or PATIENCE:g} s: {what}"
            await asyncio.sleep(0.01)

    async def close_all(self):
        open_ones = [c for c in self.clients if not c.closed.done()]
        for client in open_ones:
            if not client.leaving:
                client.close()
        if open_ones:
            await asyncio.wait([c.closed for c in open_ones], timeout=PATIENCE)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        for client in self.clients:
            client.drop()
