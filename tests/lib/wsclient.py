"""A WebSocket client for tests, on a raw socket: nothing is sent that the test did not ask for, any byte can be.

    ws = connect("127.0.0.1", host.port, "/chat", subprotocols=["a", "b"])
    ws.send_text("hello")
    assert ws.recv_text() == "hello"
    ws.close(1000)
    ws.expect_close(1000)
    ws.expect_eof()

It is also the judge of what a server may send (RFC 6455 section 5): no masks, no reserved bits, no reserved opcodes, the shortest
length form, control frames whole and of at most 125 bytes, fragments in order, valid UTF-8, close codes that may stand on the
wire, nothing behind a close frame. A violation is an AssertionError wherever it is seen. Timeouts are bounds for failure only.
"""
import base64
import hashlib
import os
import socket
import struct
from dataclasses import dataclass, field

from deflate import Deflate

# A loaded machine or valgrind only makes a passing test slow; this bounds how long a failing one takes.
TIMEOUT = float(os.environ.get("TOVA_CLIENT_TIMEOUT", "10"))

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


class Closed(Exception):
    """The peer ended the stream: `reset` tells an RST from an orderly end."""

    def __init__(self, reset):
        super().__init__("connection reset" if reset else "end of stream")
        self.reset = reset


# --- bytes --------------------------------------------------------------------------------------------------------------------

class Stream:
    """A connected socket with a read buffer."""

    def __init__(self, host="127.0.0.1", port=None, *, timeout=None, receive_buffer=None, wrap=None, source=None):
        """host: an address, or "unix:/path". receive_buffer: SO_RCVBUF, set before connecting so that the window stays small.
        wrap: a function from the socket to another one (TLS). source: the address to connect from, such as 127.0.0.2."""
        unix = host.startswith("unix:")
        family = socket.AF_UNIX if unix else socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(TIMEOUT if timeout is None else timeout)
        if source:
            self.sock.bind((source, 0))
        self.sock.connect(host[5:] if unix else (host, port))
        if not unix:
            # Tests decide how bytes are cut; Nagle's algorithm would glue their pieces together.
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if wrap:
            self.sock = wrap(self.sock)
        self.buffer = bytearray()  # giving up its front costs nothing

    def send(self, data):
        self.sock.sendall(data)

    def send_cut(self, data, size=1):
        """The same bytes in many small writes."""
        for at in range(0, len(data), size):
            self.sock.sendall(data[at:at + size])

    def _fill(self):
        try:
            data = self.sock.recv(1 << 18)
        except ConnectionResetError:
            raise Closed(True) from None
        except socket.timeout:
            raise AssertionError(f"nothing came in {self.sock.gettimeout():g} s; unread: {bytes(self.buffer[:200])!r}") from None
        if not data:
            raise Closed(False)
        self.buffer += data

    def read(self, n):
        while len(self.buffer) < n:
            self._fill()
        return self._take(n)

    def _take(self, n):
        data = bytes(memoryview(self.buffer)[:n])
        del self.buffer[:n]
        return data

    def read_until(self, mark):
        while mark not in self.buffer:
            self._fill()
        return self._take(self.buffer.index(mark) + len(mark))

    def read_all(self):
        """Everything up to the end of the stream, which must come."""
        try:
            while True:
                self._fill()
        except Closed:
            return self._take(len(self.buffer))

    def expect_eof(self, reset=None):
        """The stream ends here and nothing more comes. reset: None for either way, else how it has to end."""
        try:
            self._fill()
        except Closed as end:
            assert not self.buffer, f"unread before the end: {bytes(self.buffer[:200])!r}"
            assert reset is None or end.reset == reset, f"the stream ended by {end}"
            self.sock.close()
            return
        raise AssertionError(f"the stream goes on: {bytes(self.buffer[:200])!r}")

    def shutdown_write(self):
        """FIN: nothing more will be sent, but everything is still read."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        """RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def drop(self):
        """Closes the socket without any farewell of the protocol."""
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


# --- HTTP ---------------------------------------------------------------------------------------------------------------------

@dataclass
class Response:
    status: int
    reason: str
    headers: list
    body: bytes = b""

    def get(self, name, default=None):
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else default

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]


class Http(Stream):
    """One HTTP/1.1 connection, requests written by hand or by request()."""

    def request(self, method="GET", target="/", headers=(), host="localhost", version="HTTP/1.1"):
        self.send(request_bytes(method, target, headers, host, version))
        return self.response(method)

    def response_head(self):
        head = self.read_until(b"\r\n\r\n")[:-4].decode("latin-1")
        first, *lines = head.split("\r\n")
        version, status, *reason = first.split(" ", 2)
        assert version == "HTTP/1.1", first
        headers = []
        for line in lines:
            name, colon, value = line.partition(":")
            assert colon and name and name == name.strip(), f"bad header line {line!r}"
            assert "\n" not in line and "\r" not in line, f"bare line break in {line!r}"
            headers.append((name, value.strip()))
        return Response(int(status), reason[0] if reason else "", headers)

    def response(self, method="GET"):
        """A whole response; its body has the length that the header says, or comes in chunks, of which none may be empty."""
        answer = self.response_head()
        length = answer.get("Content-Length")
        if method == "HEAD" or answer.status in (101, 204, 304):
            return answer
        if answer.get("Transfer-Encoding") is not None:
            assert answer.get("Transfer-Encoding") == "chunked" and length is None, answer
            answer.body = b"".join(iter(self.chunk, b""))
            return answer
        assert length is not None, f"no Content-Length in {answer}"
        answer.body = self.read(int(length))
        return answer

    def chunk(self):
        """One of a response; the last one is empty."""
        size = self.read_until(b"\r\n")[:-2]
        assert size and size.strip(b"0123456789abcdef") == b"", f"a chunk of the size {size!r}"
        data = self.read(int(size, 16))
        assert self.read(2) == b"\r\n"
        return data


def request_bytes(method="GET", target="/", headers=(), host="localhost", version="HTTP/1.1"):
    lines = [f"{method} {target} {version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in (headers.items() if isinstance(headers, dict) else headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def upgrade_headers(key="dGhlIHNhbXBsZSBub25jZQ==", *, subprotocols=(), origin=None, extra=(), without=(), replace=None):
    """The header lines of a good opening handshake, with lines taken out, replaced or added."""
    lines = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Key", key), ("Sec-WebSocket-Version", "13")]
    lines = [(name, (replace or {}).get(name, value)) for name, value in lines if name not in without]
    if subprotocols:
        lines.append(("Sec-WebSocket-Protocol", ", ".join(subprotocols)))
    if origin is not None:
        lines.append(("Origin", origin))
    return lines + list(extra.items() if isinstance(extra, dict) else extra)


def http_get(host, port, target="/", headers=(), method="GET", **stream):
    """One request on a connection of its own."""
    with Http(host, port, **stream) as http:
        return http.request(method, target, headers)


def accept_of(key):
    """Sec-WebSocket-Accept for a key (RFC 6455 4.2.2)."""
    return base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()


# --- frames -------------------------------------------------------------------------------------------------------------------

def mask_bytes(data, mask):
    if not data or mask == b"\0\0\0\0":
        return bytes(data)
    n = len(data)
    whole = (mask * (n // 4 + 1))[:n]
    return (int.from_bytes(data, "little") ^ int.from_bytes(whole, "little")).to_bytes(n, "little")


def frame(opcode, payload=b"", *, fin=True, rsv=0, mask=b"\x37\xfa\x21\x3d", length_form=None, length=None):
    """Bytes of one frame. mask: 4 bytes, or None to leave it unmasked. length_form: 7, 16 or 64 to force an encoding. length: what
    the header promises, if not the payload's length. rsv: 4 for RSV1, 2 for RSV2, 1 for RSV3."""
    if isinstance(payload, str):
        payload = payload.encode()
    said = len(payload) if length is None else length
    form = length_form or (7 if said < 126 else 16 if said < 65536 else 64)
    bit = 0x80 if mask is not None else 0
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if form == 7:
        head += bytes([bit | said])
    elif form == 16:
        head += bytes([bit | 126]) + struct.pack(">H", said)
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", said)
    return head + (mask + mask_bytes(payload, mask) if mask is not None else payload)


def close_payload(code=None, reason=b""):
    if isinstance(reason, str):
        reason = reason.encode()
    return b"" if code is None else struct.pack(">H", code) + reason


def close_code_on_wire(code):
    """RFC 6455 7.4.1 and the IANA registry: codes that may stand in a close frame."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


@dataclass
class Frame:
    fin: bool
    rsv: int
    opcode: int
    payload: bytes
    head: bytes = field(default=b"", repr=False)


@dataclass
class Message:
    opcode: int
    data: bytes
    packed: int = field(default=0, compare=False)  # bytes on the wire if it came compressed

    @property
    def text(self):
        assert self.opcode == TEXT, f"binary where text was expected: {self.data[:100]!r}"
        return self.data.decode()


class WebSocket(Http):
    """An open connection. What the server sends is validated frame by frame."""

    answer = None  # the response to the upgrade
    subprotocol = None
    close_seen = False
    answer_pings = True
    deflate = None  # what was agreed on about compression

    def handshake(self, target="/", *, headers=(), subprotocols=(), origin=None, host="localhost", behind=b"", deflate=None):
        """Opens; AssertionError for anything but a correct 101. behind: bytes sent in the same write as the request.
        deflate: the value of Sec-WebSocket-Extensions."""
        key = base64.b64encode(os.urandom(16)).decode()
        headers = [*headers, ("Sec-WebSocket-Extensions", deflate)] if deflate else headers
        lines = upgrade_headers(key, subprotocols=subprotocols, origin=origin, extra=headers)
        self.send(request_bytes("GET", target, lines, host) + behind)
        self.answer = self.response_head()
        assert self.answer.status == 101, f"{self.answer} {bytes(self.buffer[:300])!r}"
        assert self.answer.get("Upgrade", "").lower() == "websocket", self.answer
        assert self.answer.get("Connection", "").lower() == "upgrade", self.answer
        assert self.answer.get("Sec-WebSocket-Accept") == accept_of(key), self.answer
        assert self.answer.get("Content-Length") is None and self.answer.get("Transfer-Encoding") is None, self.answer
        self.subprotocol = self.answer.get("Sec-WebSocket-Protocol")
        agreed = self.answer.get("Sec-WebSocket-Extensions")
        assert agreed is None or deflate is not None, f"{agreed!r} was not offered"
        self.deflate = Deflate(agreed) if agreed else None
        assert self.subprotocol is None or self.subprotocol in subprotocols, f"{self.subprotocol!r} was not offered"
        return self

    # --- sending

    def send_frame(self, opcode, payload=b"", **how):
        self.send(frame(opcode, payload, **how))

    def send_text(self, text):
        self.send(frame(TEXT, text, mask=os.urandom(4)))

    def send_binary(self, data):
        self.send(frame(BINARY, data, mask=os.urandom(4)))

    def send_fragments(self, opcode, pieces, **how):
        """One message in as many frames as there are pieces."""
        for i, piece in enumerate(pieces):
            self.send(frame(opcode if i == 0 else CONT, piece, fin=i == len(pieces) - 1, **how))

    def send_packed(self, opcode, data, *, pieces=1, **how):
        """One compressed message, in so many frames."""
        packed = self.deflate.pack(data.encode() if isinstance(data, str) else data)
        size = max(1, -(-len(packed) // pieces))
        for at in range(0, len(packed), size):
            self.send(frame(CONT if at else opcode, packed[at:at + size], rsv=0 if at else 4, fin=at + size >= len(packed), **how))

    def ping(self, payload=b""):
        self.send_frame(PING, payload)

    def pong(self, payload=b""):
        self.send_frame(PONG, payload)

    def close(self, code=None, reason=b""):
        """Sends a close frame; the socket stays open for the answer."""
        self.send_frame(CLOSE, close_payload(code, reason))

    # --- receiving

    def recv_frame(self):
        """The next frame of any kind."""
        assert not self.close_seen, "reading behind the server's close frame"
        head = self.read(2)
        fin, rsv, opcode = bool(head[0] & 0x80), head[0] >> 4 & 7, head[0] & 15
        masked, length = head[1] & 0x80, head[1] & 0x7F
        assert not masked, f"a server must not mask (5.1): {head!r}"
        assert not rsv or (self.deflate and rsv == 4 and opcode in (TEXT, BINARY)), f"reserved bits {rsv}"
        assert opcode in (CONT, TEXT, BINARY, CLOSE, PING, PONG), f"reserved opcode {opcode}"
        if length == 126:
            head += self.read(2)
            length = struct.unpack(">H", head[2:])[0]
            assert length >= 126, f"length {length} in 16 bits is not the shortest form (5.2)"
        elif length == 127:
            head += self.read(8)
            length = struct.unpack(">Q", head[2:])[0]
            assert 65536 <= length < 1 << 63, f"length {length} in 64 bits is not the shortest form (5.2)"
        if opcode >= CLOSE:
            assert fin and length <= 125, f"control frame in fragments or too long (5.5): {head!r}"
        payload = self.read(length)
        if opcode == CLOSE:
            self.close_seen = True
            assert length != 1, "close frame with half a code"
            if length:
                code = struct.unpack(">H", payload[:2])[0]
                assert close_code_on_wire(code), f"close code {code} must not stand on the wire"
                payload[2:].decode()
        return Frame(fin, rsv, opcode, payload, head)

    def recv_message(self):
        """The next whole message. Pings are answered, pongs skipped; a close frame raises AssertionError."""
        opcode, data, packed = None, b"", False
        while True:
            got = self.recv_frame()
            if got.opcode == PING:
                if self.answer_pings:
                    self.pong(got.payload)
                continue
            if got.opcode == PONG:
                continue
            assert got.opcode != CLOSE, f"close where a message was expected: {describe_close(got.payload)}"
            assert (got.opcode == CONT) == (opcode is not None), "fragments out of order (5.4)"
            packed = packed or bool(got.rsv)
            opcode = opcode or got.opcode
            data += got.payload
            if got.fin:
                wire = len(data) if packed else 0
                if packed:
                    data = self.deflate.unpack(data)
                if opcode == TEXT:
                    data.decode()
                return Message(opcode, data, wire)

    def recv_text(self):
        return self.recv_message().text

    def recv_binary(self):
        message = self.recv_message()
        assert message.opcode == BINARY, f"text where binary was expected: {message.data[:100]!r}"
        return message.data

    def recv_pong(self):
        got = self.recv_frame()
        assert got.opcode == PONG, f"a pong was expected: {got}"
        return got.payload

    def roundtrip(self, payload=b"sync"):
        """The server has read everything sent before. (Its pong may overtake data: it proves nothing of what is under way to us.)"""
        self.ping(payload)
        assert self.recv_pong() == payload

    def recv_close(self):
        """(code or None, reason) of the server's close frame, which has to be next but for pings, pongs."""
        while True:
            got = self.recv_frame()
            if got.opcode in (PING, PONG):
                continue
            assert got.opcode == CLOSE, f"a close frame was expected: {got}"
            return parse_close(got.payload)

    def expect_close(self, code=None, reason=None):
        """The server's close frame comes next, with this code (None: without any). Returns the reason."""
        got_code, got_reason = self.recv_close()
        assert got_code == code, f"close {got_code} {got_reason!r}, expected {code}"
        assert reason is None or got_reason == reason, f"reason {got_reason!r}, expected {reason!r}"
        return got_reason

    def expect_closed(self, code=None, reason=None):
        """expect_close, our echo of it, and the end of the stream."""
        why = self.expect_close(code, reason)
        try:
            self.close(code)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server was the one to fail the connection and has gone (7.1.7)
        self.expect_eof()
        return why

    def end(self, code=1000):
        """A clean closing handshake of ours."""
        self.close(code)
        got, reason = self.recv_close()
        assert got == code, f"close {got} {reason!r} in answer to {code}"
        self.expect_eof()


def parse_close(payload):
    return (struct.unpack(">H", payload[:2])[0], payload[2:].decode()) if payload else (None, "")


def describe_close(payload):
    code, reason = parse_close(payload)
    return f"{code} {reason!r}"


def connect(host, port=None, target="/", *, headers=(), subprotocols=(), origin=None, host_header="localhost", behind=b"", deflate=None,
            **stream):
    """An open WebSocket to host and port, or to "unix:/path"."""
    ws = WebSocket(host, port, **stream)
    try:
        return ws.handshake(target, headers=headers, subprotocols=subprotocols, origin=origin, host=host_header, behind=behind,
                            deflate=deflate)
    except BaseException:
        ws.drop()
        raise


def refused(host, port, target="/", lines=None, *, host_header="localhost", method="GET", version="HTTP/1.1", **stream):
    """The whole answer to an upgrade request that is not accepted."""
    with Http(host, port, **stream) as http:
        http.send(request_bytes(method, target, upgrade_headers() if lines is None else lines, host_header, version))
        answer = http.response(method)
        assert answer.status != 101, "the upgrade was accepted"
        return answer
