"""What a push or a query gives back: something to await, or to wait for from a thread."""
from __future__ import annotations

import asyncio
import threading


class TovaError(Exception):
    """The host refused something, or can not be reached any more."""


_lock = threading.Lock()
_loop_thread = None  # id of the thread that reads from the host: it must not wait for what only itself can read


def set_loop_thread(ident) -> None:
    global _loop_thread
    _loop_thread = ident


class Answer:
    """Comes later from the host. ``await`` it in async code; ``wait()`` for it in threads of your own."""

    __slots__ = ("_value", "_error", "_settled", "_waiters", "__weakref__")

    def __init__(self):
        self._value = self._error = None
        self._settled = False
        self._waiters = []

    @property
    def settled(self) -> bool:
        return self._settled

    def wait(self, timeout: float | None = None):
        """Blocks until the answer is there and returns it. Not in handlers: there it could never come."""
        if not self._settled:
            if threading.get_ident() == _loop_thread:
                raise RuntimeError("a handler that waits here keeps its own answer from being read:"
                                   " make it async and await, or give the query a callback")
            there = threading.Event()
            self._when_settled(there.set)
            if not there.wait(timeout):
                raise TimeoutError(f"no answer within {timeout} s")
        return self._result()

    def __await__(self):
        if not self._settled:
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            self._when_settled(lambda: loop.call_soon_threadsafe(_wake, future))
            yield from future.__await__()
        return self._result()

    def _forgotten(self, *_):
        raise TypeError("this is an answer that has yet to come: await it, give the query a callback, or wait() in a thread")

    # A question that nobody waited for would be true, different from 0 and larger than nothing, all of it in silence.
    __bool__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __len__ = __iter__ = __contains__ = _forgotten
    __getitem__ = __int__ = __float__ = __index__ = __str__ = __format__ = _forgotten
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _forgotten
    __hash__ = object.__hash__

    def _when_settled(self, function) -> None:
        with _lock:
            if not self._settled:
                self._waiters.append(function)
                return
        function()

    def _settle(self, value, error: str | None) -> None:
        with _lock:
            if self._settled:
                return
            self._value, self._error, self._settled = value, error, True
            waiters, self._waiters = self._waiters, None
        for function in waiters:
            try:
                function()
            except RuntimeError:
                pass  # the event loop of whoever waited is closed

    def _result(self):
        if self._error is not None:
            raise TovaError(self._error)
        return self._value


def _wake(future) -> None:
    if not future.done():  # cancelled meanwhile
        future.set_result(None)
