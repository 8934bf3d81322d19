"""Pushing without handlers, from a web application or a job: each call is committed when it returns, or raises what the host said.

    h = tova.connect("http://127.0.0.1:8081", token=TOKEN, mount="/chat")
    h.broadcast_to("general", "hello")      # how many were reached
"""
from __future__ import annotations

import asyncio
import os
import random
import threading
import time
import uuid
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic

from . import commands, connection
from .answer import TovaError
from .outbox import MESSAGE_MAX
from .scope import Scope, current
from .transport import Address, AnotherRun, Call, Lost, NotDone, Refusal, left

BACK_OFF_FIRST, BACK_OFF_MAX = 0.05, 1.0

_MISSING = object()


class Refused(TovaError):
    """The host said no, and has done nothing. ``status`` is that of HTTP, or None; ``index`` the place of the command that is wrong
    in a list, from 0, or None."""

    def __init__(self, text: str, status: int | None = None, index: int | None = None):
        super().__init__(text)
        self.status, self.index = status, index


class Unreachable(TovaError):
    """No host could be reached in time: nothing was done."""


class Expired(TovaError):
    """It was over (``expires``) before a host could do it: nothing was done."""


class AnswerLost(TovaError):
    """It was sent, and its answer never came, nor that to its repetition: whether it was done is not known."""


class Host:
    """A host, or several of which one is spoken to, made by tova.connect(). For any thread."""

    def __init__(self, urls, token, mount, timeout: float, connections: int, tls, name: str | None):
        urls = [urls] if isinstance(urls, str) else list(urls)
        if not urls:
            raise ValueError("no URL of a host was given")
        if token is not None and (not isinstance(token, str) or token != token.strip() or not token):
            raise ValueError("a token is a text without white space around it: one from a file wants .strip()")
        name = name or f"client {os.getpid()}"
        self._addresses = [Address(url, token, mount, name, tls) for url in urls]
        self._mount, self._timeout = mount, _seconds(timeout, "timeout")
        self._connections = connections
        self._preferred = 0  # the address that answered last
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(self._connections)
        self._idle: dict[Address, list] = {address: [] for address in self._addresses}
        self._closed = False

    def disconnect(self) -> None:
        """Closes what is open. Calls that are under way end as they would; later ones raise."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, {address: [] for address in self._addresses}
        for transports in idle.values():
            for transport in transports:
                transport.close()

    def __enter__(self) -> "Host":
        return self

    def __exit__(self, *_) -> None:
        self.disconnect()

    def __repr__(self):
        return f"<tova host at {', '.join(address.url for address in self._addresses)}>"

    # --- commands. Each returns how many connections it had an effect for

    def send(self, ws, data, *, key: str | None = None, expires: float | None = None, timeout: float | None = None) -> int:
        """To one connection: str as text, bytes as binary, any other value as JSON text."""
        return self._push(partial(commands.send, ws, data, key), expires, timeout)

    def broadcast(self, data, exclude=None, *, key: str | None = None, expires: float | None = None, timeout: float | None = None, **but) -> int:
        """To all connections of the mount, but exclude_users and exclude_rooms: see tova.broadcast."""
        return self._push(partial(commands.broadcast, data, exclude, key, **but), expires, timeout)

    def broadcast_to(self, room, data, exclude=None, *, key: str | None = None, expires: float | None = None,
                     timeout: float | None = None, **how) -> int:
        """To all members of a room, or of a list of rooms; exclude_users, exclude_rooms, keep: see tova.broadcast_to."""
        return self._push(partial(commands.broadcast_to, room, data, exclude, key, **how), expires, timeout)

    def join(self, ws, room: str, *, expires: float | None = None, timeout: float | None = None, **asked) -> int:
        """Conditions (max, users_max, first, replace) and what is sent of what the room remembers (last, since, epoch): see tova.join."""
        return self._push(partial(commands.join, ws, room, **asked), expires, timeout)

    def leave_all(self, ws, *, expires: float | None = None, timeout: float | None = None) -> int:
        """A connection leaves all of its rooms."""
        return self._push(partial(commands.leave_all, ws), expires, timeout)

    def info(self, ws, info: object = None, *, user: str | None = None, expires: float | None = None, timeout: float | None = None) -> int:
        """Says who a connection is: see tova.info."""
        return self._push(partial(commands.info, ws, info, user=user), expires, timeout)

    def close_room(self, room, code: int | None = None, reason: str = "", exclude=None, *, expires: float | None = None,
                   timeout: float | None = None, **but) -> int:
        """Ends all connections of a room, or of a list of rooms: see tova.close_room."""
        return self._push(partial(commands.close_room, room, code, reason, exclude, **but), expires, timeout)

    def leave(self, ws, room: str, *, expires: float | None = None, timeout: float | None = None) -> int:
        return self._push(partial(commands.leave, ws, room), expires, timeout)

    def close(self, ws, code: int | None = None, reason: str = "", *, expires: float | None = None, timeout: float | None = None) -> int:
        """Ends a connection. (What ends this object is disconnect.)"""
        return self._push(partial(commands.close, ws, code, reason), expires, timeout)

    def set(self, ws, state, *, if_state=_MISSING, expires: float | None = None, timeout: float | None = None) -> int:
        """Stores a JSON value, text or bytes with a connection; with if_state only if that is what is stored."""
        compare = {} if if_state is _MISSING else {"if_state": if_state}
        return self._push(partial(connection.set_state, _id(ws), state, **compare), expires, timeout)

    def set_room(self, room, state, version: int | None = None, *, expires: float | None = None, timeout: float | None = None) -> int:
        """Keeps a JSON value, text or bytes with a room; with a version only if that is the one that there is (0: none)."""
        return self._push(partial(connection.set_room, room, state, version), expires, timeout)

    def commands(self, items, *, expires: float | None = None, timeout: float | None = None) -> int:
        """All or none of a list such as [{"c": "join", "conn": ws, "room": "a"}, {"c": "send", "conn": ws, "data": "hi"}]. Refused.index
        says which one is wrong."""
        return self._push(partial(_list, list(items)), expires, timeout)

    # --- how they travel

    def _push(self, write, expires: float | None, timeout: float | None) -> int:
        scope = Scope()
        token = current.set(scope)
        try:
            write()
        finally:
            current.reset(token)
        deadline = monotonic() + (self._timeout if timeout is None else _seconds(timeout, "timeout"))
        over = None
        if expires is not None:
            over = monotonic() + _seconds(expires, "expires")
            deadline = min(deadline, over)
        call = Call(scope, str(uuid.uuid4()), self._mount, None if over is None else int((time.time() + expires) * 1000))
        if len(call.commands) + len(call.binary) > MESSAGE_MAX:
            raise ValueError(f"{len(call.commands) + len(call.binary)} bytes: the host takes no more than {MESSAGE_MAX}")
        return self._commit(call, deadline, over)

    def _commit(self, call: Call, deadline: float, over: float | None) -> int:
        if not self._slots.acquire(timeout=max(0.0, deadline - monotonic())):
            raise self._too_late(over, f"all {self._connections} connections are in use by other threads")
        try:
            return self._try_all(call, deadline, over)
        except Refusal as said:
            if said.status == 410 or (said.status is None and '"expires"' in str(said)):
                raise Expired(str(said)) from None
            raise Refused(str(said), said.status, said.index) from None
        finally:
            self._slots.release()

    def _try_all(self, call: Call, deadline: float, over: float | None) -> int:
        """Where it was not done another host is tried; where that is not known only the same one can tell."""
        wait, why = BACK_OFF_FIRST, "no time was left"
        while monotonic() < deadline:
            final = 0
            first = self._preferred
            for i in range(len(self._addresses)):
                at = (first + i) % len(self._addresses)
                try:
                    reached = self._try_one(self._addresses[at], call, deadline)
                    self._preferred = at
                    return reached
                except NotDone as error:
                    why = f"{self._addresses[at].url}: {error}"
                    final += error.final
                except TimeoutError:
                    why = f"{self._addresses[at].url}: it did not answer in time"
            if final == len(self._addresses):
                break
            time.sleep(max(0.0, min(wait * random.uniform(0.5, 1.0), deadline - monotonic())))
            wait = min(wait * 2, BACK_OFF_MAX)
        raise self._too_late(over, why)

    @staticmethod
    def _too_late(over: float | None, why: str) -> TovaError:
        if over is not None and monotonic() >= over:
            return Expired(f"its time is over, and no host was reached: {why}")
        return Unreachable(f"no host was reached: {why}")

    def _try_one(self, address: Address, call: Call, deadline: float) -> int:
        transport = self._take(address, deadline)
        left(deadline)
        try:
            reached = transport.commit(call, False, deadline)
        except Refusal:
            self._give(address, transport)
            raise
        except Lost as lost:
            transport.close()
            return self._repeat(address, transport, call, deadline, str(lost))
        except BaseException:
            transport.close()
            raise
        self._give(address, transport)
        return reached

    def _repeat(self, address: Address, lost, call: Call, deadline: float, why: str) -> int:
        """Until the host that was given it says what became of it."""
        wait = BACK_OFF_FIRST
        while (address.sp or call.run) and monotonic() < deadline:
            transport = None
            try:
                transport = self._take(address, deadline, anew=address.sp)
                if address.sp:
                    transport.take_over(lost)
                reached = transport.commit(call, True, deadline)
                self._give(address, transport)
                return reached
            except AnotherRun:
                self._drop(transport)
                why = "the host was started again meanwhile"
                break
            except Refusal as said:
                # It is answered: with what became of it, or that nobody may ask for that any more.
                self._drop(transport)
                if said.status in (401, 403) or transport is None:
                    why = str(said)
                    break
                raise
            except (Lost, NotDone, TimeoutError) as error:
                self._drop(transport)
                why = str(error) or why
            time.sleep(max(0.0, min(wait * random.uniform(0.5, 1.0), deadline - monotonic())))
            wait = min(wait * 2, BACK_OFF_MAX)
        raise AnswerLost(f"it was sent to {address.url} and not answered, so that it may have been done: {why}")

    # --- connections

    def _take(self, address: Address, deadline: float, anew: bool = False):
        while not anew:
            with self._lock:
                if self._closed:
                    raise Unreachable("this was disconnected")
                transport = self._idle[address].pop() if self._idle[address] else None
            if transport is None:
                break
            if transport.is_idle():
                return transport
            transport.close()
        return address.open(deadline)

    def _give(self, address: Address, transport) -> None:
        with self._lock:
            if not self._closed and len(self._idle[address]) < self._connections:
                self._idle[address].append(transport)
                return
        transport.close()

    @staticmethod
    def _drop(transport) -> None:
        if transport is not None:
            transport.close()


class AsyncHost:
    """The same for async code: each method is to be awaited."""

    def __init__(self, host: Host, connections: int):
        self._host = host
        self._threads = ThreadPoolExecutor(connections, "tova")

    def __getattr__(self, name: str):
        if name not in _CALLS:
            raise AttributeError(f"a tova host has no {name}; it has {', '.join(_CALLS)} and disconnect")
        function = getattr(self._host, name)

        async def call(*arguments, **named) -> int:
            return await asyncio.get_running_loop().run_in_executor(self._threads, partial(function, *arguments, **named))

        return call

    async def disconnect(self) -> None:
        self._host.disconnect()
        self._threads.shutdown(wait=False)

    async def __aenter__(self) -> "AsyncHost":
        return self

    async def __aexit__(self, *_) -> None:
        await self.disconnect()


_CALLS = ("send", "broadcast", "broadcast_to", "join", "leave", "leave_all", "info", "close_room", "close", "set", "set_room", "commands")


def connect(url, token: str | None = None, mount: str | None = None, *, timeout: float = 10.0, connections: int = 8, tls=None,
            name: str | None = None) -> Host:
    """A host to push to, at its HTTP API (http://, https://, unix:/path) or where workers attach (ipc:///path, tcp://, tls+tcp://).

    Of several URLs the next is tried where one can not be reached. timeout: seconds for a call, all attempts together.
    connections: most that are open at one time. tls: an ssl.SSLContext. Nothing is dialled before the first call."""
    return Host(url, token, mount, timeout, connections, tls, name)


def connect_async(url, token: str | None = None, mount: str | None = None, *, timeout: float = 10.0, connections: int = 8, tls=None,
                  name: str | None = None) -> AsyncHost:
    """The same for async code."""
    return AsyncHost(Host(url, token, mount, timeout, connections, tls, name), connections)


# --- small ones ---------------------------------------------------------------------------------------------------------------


def _seconds(value, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ValueError(f"{what} is a number of seconds above 0, not {value!r}")
    return float(value)


def _id(ws):
    return ws if isinstance(ws, str) else commands.id_of(ws)


_LISTED = {
    "send": lambda conn, data, key=None: commands.send(conn, data, key),
    "broadcast": lambda data, exclude=None, key=None, **but: commands.broadcast(data, exclude, key, **but),
    "broadcast_to": lambda room, data, exclude=None, key=None, **how: commands.broadcast_to(room, data, exclude, key, **how),
    "join": lambda conn, room, **asked: commands.join(conn, room, **asked),
    "leave": lambda conn, room: commands.leave(conn, room),
    "leave_all": lambda conn: commands.leave_all(conn),
    "info": lambda conn, info=None, user=None: commands.info(conn, info, user=user),
    "close_room": lambda room, code=None, reason="", exclude=None, **but: commands.close_room(room, code, reason, exclude, **but),
    "close": lambda conn, code=None, reason="": commands.close(conn, code, reason),
    "set": lambda conn, state, **compare: connection.set_state(_id(conn), state, **compare),
    "set_room": lambda room, state, version=None: connection.set_room(room, state, version),
}


def _list(items: list) -> None:
    for at, item in enumerate(items):
        if not isinstance(item, dict) or item.get("c") not in _LISTED:
            raise ValueError(f"command {at} of the list is {item!r}; expected a dict whose \"c\" is one of {', '.join(_LISTED)}")
        try:
            _LISTED[item["c"]](**{name: value for name, value in item.items() if name != "c"})
        except (TypeError, ValueError) as error:
            raise type(error)(f"command {at} of the list, {item['c']}: {error}".replace("<lambda>()", item["c"])) from None


# A child has no use for its parent's connections, and none for locks that another thread of that held.
_all: weakref.WeakSet = weakref.WeakSet()


def _after_fork() -> None:
    for host in _all:
        for transports in host._idle.values():
            for transport in transports:
                transport.close()
        host._begin()


os.register_at_fork(after_in_child=_after_fork)
