"""How pushes of a client without handlers travel: one request at a time over HTTP, or over nng's wire protocol.

A transport is used by one thread at a time. What it raises says whether the host can have done what it was given."""
from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
from time import monotonic
from urllib.parse import unquote, urlsplit

from . import codec
from .frame import HANDSHAKE, FrameError, Reader, pack

ANSWER_MAX = 1 << 20  # bytes: what a host answers to a push is short
SCHEMES = "http://, https://, unix:/path, http+unix://, ipc:///path, tcp:// or tls+tcp://"


class NotDone(Exception):
    """It can not have reached the host."""

    def __init__(self, why, final: bool = False):
        super().__init__(str(why) or type(why).__name__)
        self.final = final  # trying again is of no use


class Lost(Exception):
    """It may have reached the host, whose answer did not come."""


class Refusal(Exception):
    """What the host said."""

    def __init__(self, text: str, status: int | None = None, index: int | None = None):
        super().__init__(text)
        self.status, self.index = status, index


class AnotherRun(Exception):
    """The host was started again since, and can not know what the one before it has done."""


class Call:
    """What is to be committed, with what makes it known when it is repeated."""

    def __init__(self, scope, key: str, mount: str | None, expires: int | None):
        self.key = key
        self.run = None  # of the host that was given it
        self.commands = ",".join(scope.commands).encode()
        self.binary = b"".join(scope.binaries)
        self.members = b""
        if mount is not None:
            self.members += b'"mount":%b,' % codec.quote(mount).encode()
        if expires is not None:
            self.members += b'"expires":%d,' % expires

    def body(self, head: bytes, tail: bytes) -> bytes:
        return b"%b%b\"commands\":[%b]%b%b" % (head, self.members, self.commands, tail, b"\n" + self.binary if self.binary else b"")


def left(deadline: float) -> float:
    """Seconds until then; TimeoutError if there are none."""
    seconds = deadline - monotonic()
    if seconds <= 0:
        raise TimeoutError("the time is over")
    return seconds


class Address:
    """Where a host is, and how it is spoken to."""

    def __init__(self, url: str, token: str | None, mount: str | None, name: str, tls: ssl.SSLContext | None):
        self.url, self.token, self.mount, self.name = url, token, mount, name
        self.host, self.port, self.path, self.base = None, None, None, ""
        self.run = None  # of the host, once it is known (HTTP)
        scheme, colon, rest = url.partition(":")
        self.scheme = scheme.lower()
        if self.scheme == "ipc" or self.scheme == "unix":
            self.path = rest[2:] if rest.startswith("//") else rest
        elif self.scheme == "http+unix":
            place, _, self.base = rest[2:].partition("/")
            self.path = unquote(place)
        elif self.scheme in ("http", "https", "tcp", "tls+tcp") and rest.startswith("//"):
            self._split(rest)
        else:
            raise ValueError(f'"{url}" is no URL of a host; expected {SCHEMES}')
        if self.path is not None and not self.path.startswith("/"):
            raise ValueError(f'"{url}" names no socket; expected the whole path of one, as in unix:/run/tova/api.sock')
        self.sp = self.scheme in ("ipc", "tcp", "tls+tcp")
        self.secure = self.scheme in ("https", "tls+tcp")
        self.tls = None
        if self.secure:
            self.tls = tls or ssl.create_default_context()
            self.tls.minimum_version = max(self.tls.minimum_version, ssl.TLSVersion.TLSv1_2)
        self.base = "/" + self.base.strip("/") if self.base.strip("/") else ""

    def _split(self, rest: str) -> None:
        place = urlsplit(rest)
        try:
            self.host, self.port, self.base = place.hostname, place.port, place.path
        except ValueError as error:
            raise ValueError(f'"{self.url}": {error}') from None
        if self.port is None and self.scheme in ("http", "https"):
            self.port = 80 if self.scheme == "http" else 443
        if not self.host or self.port is None:
            raise ValueError(f'"{self.url}" lacks an address or a port')
        if place.username is not None or place.query or place.fragment:
            raise ValueError(f'"{self.url}" has more than an address and a path; the token is an argument of its own')

    def dial(self, deadline: float) -> socket.socket:
        """OSError."""
        if self.path is not None:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                made.settimeout(left(deadline))
                made.connect(self.path)
            except BaseException:
                made.close()
                raise
            return made
        made = socket.create_connection((self.host, self.port), left(deadline))
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return made if self.tls is None else self.tls.wrap_socket(made, server_hostname=self.host)
        except BaseException:
            made.close()
            raise

    def open(self, deadline: float):
        """A transport. NotDone, or Refusal."""
        try:
            return (SpTransport if self.sp else HttpTransport)(self, deadline)
        except ssl.SSLCertVerificationError as error:
            raise NotDone(error, final=True) from None
        except (OSError, FrameError, codec.BatchError, http.client.HTTPException) as error:
            raise NotDone(error) from None


class Transport:
    socket: socket.socket

    def is_idle(self) -> bool:
        """Whether it can be used again: a host has nothing to say unasked but that it has gone."""
        try:
            self.socket.settimeout(0)
            self.socket.recv(1)  # over TLS there may be records that are no data: only reading tells
            return False
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False

    def close(self) -> None:
        self.socket.close()


# --- HTTP ---------------------------------------------------------------------------------------------------------------------


class HttpTransport(Transport):
    def __init__(self, address: Address, deadline: float):
        self._address = address
        self._http = http.client.HTTPConnection(address.host or "localhost", address.port if address.path is None else 80)
        self.socket = self._http.sock = address.dial(deadline)
        self._http.auto_open = 0
        try:
            if address.run is None:
                address.run = self._exchange("GET", "/healthz", None, {}, deadline)[2] or ""
        except BaseException:
            self.close()
            raise

    def commit(self, call: Call, again: bool, deadline: float) -> int:
        headers = {"Content-Type": "application/json", "Idempotency-Key": call.key}
        if self._address.token is not None:
            headers["Authorization"] = "Bearer " + self._address.token
        if again:
            headers["Tova-Instance"] = call.run
        else:
            call.run = self._address.run
        try:
            status, said, run = self._exchange("POST", "/api/v1/commands", call.body(b"{", b"}"), headers, deadline)
        except (OSError, http.client.HTTPException) as error:
            raise Lost(str(error) or type(error).__name__) from None
        if run:
            self._address.run = run
        if status == 200 and isinstance(said.get("receivers"), int):
            return said["receivers"]
        return self._refused(status, said, run, again)

    def _refused(self, status: int, said: dict, run: str | None, again: bool):
        text = said.get("error", f"the host answered {status}")
        if status == 412 and again:
            raise AnotherRun
        if status == 503 and run:
            raise NotDone(text)  # it says so itself, and keeps no answer under the key
        if status >= 500:
            raise Lost(text)  # of somebody between us
        raise Refusal(text, status, said.get("index"))

    def _exchange(self, method: str, path: str, body: bytes | None, headers: dict, deadline: float):
        self.socket.settimeout(left(deadline))
        self._http.request(method, self._address.base + path, body, headers)
        self.socket.settimeout(left(deadline))
        with self._http.getresponse() as answer:
            text = answer.read(ANSWER_MAX)
            if answer.will_close:
                self.ended = True
            try:
                said = json.loads(text)
            except ValueError:
                said = {"error": f"the host answered {answer.status} {answer.reason}"}
            return answer.status, said if isinstance(said, dict) else {}, answer.getheader("Tova-Instance")

    ended = False

    def is_idle(self) -> bool:
        return not self.ended and super().is_idle()


# --- nng ----------------------------------------------------------------------------------------------------------------------


class SpTransport(Transport):
    """An attached pusher. Its source begins with a push of nothing, so that all that matters have numbers above 1: a host that was
    started again knows that it does not know them."""

    def __init__(self, address: Address, deadline: float):
        self._address = address
        self.source = os.urandom(12).hex()
        self.n = 1
        self._reader = Reader(address.scheme == "ipc")
        self._messages: list[dict] = []
        self.socket = address.dial(deadline)
        try:
            self._hello(deadline)
        except BaseException:
            self.close()
            raise

    def _hello(self, deadline: float) -> None:
        hello = {"t": "hello", "v": 1, "token": self._address.token or "", "events": [], "name": self._address.name}
        if self._address.mount is not None:
            hello["mount"] = self._address.mount
        self.socket.settimeout(left(deadline))
        where = b"" if self._address.mount is None else b'"mount":%b,' % codec.quote(self._address.mount).encode()
        begin = b'{"t":"push","source":"%b","n":1,%b"commands":[]}' % (self.source.encode(), where)
        self.socket.sendall(HANDSHAKE + self._pack(codec.encode("", [codec.to_json(hello).encode(), begin], [])))
        said = self._next(deadline)
        if said.get("t") == "bye":
            raise Refusal(said.get("error", "the host has no use for this client"))
        if said.get("t") != "welcome":
            raise FrameError(f'no welcome came but {str(said.get("t"))[:20]!r}')
        self._link = said["link"]
        said = self._next(deadline)
        if "error" in said:
            raise Refusal(said["error"])

    def take_over(self, before: "SpTransport") -> None:
        """Goes on where one stopped whose socket is gone."""
        self.source, self.n = before.source, before.n

    def commit(self, call: Call, again: bool, deadline: float) -> int:
        self.n += not again
        head = b'[{"t":"push","link":%b,"source":"%b","n":%d,' % (codec.quote(self._link).encode(), self.source.encode(), self.n)
        try:
            self.socket.settimeout(left(deadline))
            self.socket.sendall(self._pack(call.body(head, b"}]")))
            while True:
                said = self._next(deadline)
                if said.get("t") == "bye":
                    raise Lost(said.get("error", "the host said goodbye"))
                if said.get("t") == "done" and said.get("source") == self.source and said.get("n") == self.n:
                    return self._done(said, again)
        except (OSError, FrameError, codec.BatchError) as error:
            raise Lost(str(error) or type(error).__name__) from None

    def _done(self, said: dict, again: bool) -> int:
        if said.get("unknown") and again:
            raise AnotherRun
        if "error" in said:
            raise Refusal(said["error"], None, said.get("index"))
        if "receivers" not in said:
            raise Refusal("this host does not tell how many were reached: it is older than this library")
        return said["receivers"]

    def _pack(self, body: bytes) -> bytes:
        return pack(body, self._address.scheme == "ipc")

    def _next(self, deadline: float) -> dict:
        while not self._messages:
            self.socket.settimeout(left(deadline))
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionResetError("the host has closed the connection")
            for body in self._reader.feed(data):
                self._messages += codec.decode(body)
        return self._messages.pop(0)

    def is_idle(self) -> bool:
        return not self._messages and super().is_idle()
