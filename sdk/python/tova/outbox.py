"""Pushes and queries on their way to the host, and back: they outlive the connection on which they were sent."""
from __future__ import annotations

import threading
from collections import deque

from .answer import Answer, TovaError
from .history import read_place
from .codec import quote

LIMIT = 64 << 20  # bytes of pushes that may wait for the host
MESSAGE_MAX = (64 << 20) - 65536  # the host takes 64 MiB per message; some of it is around the commands


class Call:
    """Something that the host answers."""

    size = 0

    def __init__(self, answer: Answer):
        self.answer = answer
        self.key = None  # once it was sent: what the host's answer names
        self.text = b""
        self.binaries: list[bytes] = []


class Push(Call):
    def __init__(self, scope, answer: Answer | None = None):
        super().__init__(Answer() if answer is None else answer)
        # Now, not when it is sent: text that is no Unicode has to fail where it was given.
        self.commands = ",".join(scope.commands).encode()
        self.binaries = scope.binaries
        self.size = len(self.commands) + sum(map(len, self.binaries))
        if self.size > MESSAGE_MAX:
            raise ValueError(f"a push of {self.size} bytes: the host takes no more than {MESSAGE_MAX}")

    def number(self, source: str, n: int) -> None:
        self.key = (source, n)
        self.text = b'{"t":"push","source":"%b","n":%d,"commands":[%b]}' % (source.encode(), n, self.commands)

    def settle(self, item: dict) -> None:
        self.answer._settle(read_place(item), item.get("error"))


class Query(Call):
    def __init__(self, text: str, value, callback, pages: str | None = None):
        super().__init__(Answer())
        self.asked = self.first = text.encode()
        self.value = value
        self.callback = callback
        self.pages = pages  # what the answer lists, if that comes in pages of which all are wanted
        self.found: list = []

    def goes_on(self, item: dict) -> bool:
        """Whether there is another page to be asked for. The last answer gets what the others had."""
        if self.pages is None or "error" in item:
            return False
        self.found += item.get(self.pages, ())
        item[self.pages] = self.found
        if "next" in item:
            self.asked = self.first + b',"after":' + quote(item["next"]).encode()
        return "next" in item

    def number(self, q: int) -> None:
        self.key = q
        self.text = b'{"t":"query","q":%d%b}' % (q, self.asked)

    def settle(self, item: dict) -> None:
        error = item.get("error")
        self.answer._settle(None if error is not None else self.value(item), error)


class Outbox:
    """Takes calls from any thread; the worker takes them out. One per process, so that commands need no worker to name."""

    def __init__(self):
        self._lock = threading.Lock()
        self._waiting = deque()
        self._bytes = 0  # of pushes, until they are answered
        self.wake = None  # the worker's: something waits

    def submit(self, call: Call) -> None:
        with self._lock:
            if call.size and self._bytes and self._bytes + call.size > LIMIT:
                raise TovaError(f"{self._bytes} bytes of pushes wait for the host already: wait for the answers of earlier ones")
            self._bytes += call.size
            self._waiting.append(call)
            wake = self.wake
        if wake is not None:
            wake()

    @property
    def waiting(self) -> bool:
        return bool(self._waiting)

    def take(self) -> list[Call]:
        if not self._waiting:
            return []
        with self._lock:
            calls = list(self._waiting)
            self._waiting.clear()
        return calls

    def answered(self, call: Call) -> None:
        with self._lock:
            self._bytes -= call.size


outbox = Outbox()
