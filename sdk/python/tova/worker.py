"""A worker: takes events from the host, runs handlers, and acknowledges with their commands."""
from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sys
import threading
from collections import deque
from inspect import isawaitable, iscoroutine
from time import monotonic
from traceback import format_exception_only

from .answer import TovaError, set_loop_thread
from .codec import BatchError, to_json
from .commands import Retry
from .connection import Connection, Error, Presence, Request, Room
from .handlers import SIGNATURES, HandlerError, find
from .link import Link, connect
from .outbox import MESSAGE_MAX, Call, Push, Query, outbox
from .pulse import Pulse
from .scope import Event, Scope, current
from .upgrade import upgrade_answer

log = logging.getLogger("tova")

HELD_BACK = 0.01  # seconds that a finished event may wait for others of its batch: slow handlers must show signs of life
CORKED = 0.001  # the same where a coroutine handles the next one of a run
DIALLING = 10.0  # seconds for a connection to come about
GOODBYE = 5.0  # seconds for the host to close after bye
ANSWERS = 2.0  # seconds for the answers of pushes and queries before bye
BACK_OFF_FIRST, BACK_OFF_MAX = 0.1, 5.0
# What a handler ends the process with; anything else that it raises fails its event, also what is no Exception: a GeneratorExit,
# the CancelledError of something it waited for.
ENDS_PROCESS = (SystemExit, KeyboardInterrupt)
RUNS = 64  # messages of one connection that the host may give together


class Refused(Exception):
    """The host wants no such worker: trying again is of no use."""


class StartFailed(Exception):
    """on_start did not do what it is there for: a worker without that is none. Whoever started the process starts another."""


class Worker:
    def __init__(self, handlers: dict, url: str, token: str, mount: str | None, name: str | None, supervised: bool, tls=None,
                 room_state: bool = False):
        self.handlers = handlers
        self.room_state = room_state  # events are to come with what is kept with rooms
        self.url, self.token, self.mount, self.tls = url, token, mount, tls
        self.name = name or f"{os.path.basename(sys.argv[0] or 'python')} {os.getpid()}"
        self.supervised = supervised
        self._message = handlers.get("on_message")
        self._dialled: Link | None = None  # while it is there
        self._link: Link | None = None  # the same, once it is welcomed
        self._calls: dict = {}  # sent, not answered; in the order of sending
        self._queries = 0
        self._tasks: dict = {}  # coroutines of handlers: the event, or None if they belong to none
        self._last: Event | None = None  # the last event, which the next one may follow
        self._busy: dict[str, Event] = {}  # events of connections that a coroutine handles
        self._leaving: asyncio.Event | None = None
        self._farewell = None  # the task that says bye
        self._left = False  # bye was said
        self._start_error: str | None = None  # what on_start failed with
        self._idle: asyncio.Event | None = None  # a task has ended
        self._flushed = 0.0
        self._flushing = self._flushing_later = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._types = {
            "open": self._open, "close": self._close, "error": self._error, "timer": self._timer, "upgrade": self._upgrade,
            "away": self._away, "back": self._back, "join": self._join, "leave": self._leave,
            "ping": self._ping, "reply": self._answered, "done": self._answered, "welcome": self._welcome, "drain": self._drain,
            "bye": self._bye,
        }

    # --- the life of a worker -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serves until the host drains this worker, or a signal ends it."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._idle, self._leaving = asyncio.Event(), asyncio.Event()
        set_loop_thread(self._thread)
        restore = self._catch_signals()
        outbox.wake = self._wake
        pulse = Pulse(self._loop, lambda: self._link)
        try:
            await self._keep_linked()
        finally:
            pulse.end()
            outbox.wake = None
            set_loop_thread(None)
            restore()
            self._give_up_calls()

    async def _keep_linked(self) -> None:
        wait = BACK_OFF_FIRST
        while not self._leaving.is_set():
            if await self._one_link():
                wait = BACK_OFF_FIRST
            if self._leaving.is_set():
                return
            if self.supervised:
                raise Refused("the host is gone")
            await _within(wait * random.uniform(0.5, 1.0), self._leaving.wait())
            wait = min(wait * 2, BACK_OFF_MAX)

    async def _one_link(self) -> bool:
        """Dials and serves until the connection ends. Returns whether the host had welcomed us."""
        try:
            link = await _within(DIALLING, connect(self, self.url, self.tls))
        except OSError as error:
            log.warning("can not reach the host at %s: %s", self.url, error)
            return False
        if link is None:
            log.warning("can not reach the host at %s: no answer", self.url)
            return False
        patience = self._loop.call_later(DIALLING, lambda: link.id or link.abort("no welcome came"))
        try:
            await asyncio.wait([link.closed])
        finally:
            patience.cancel()
            self._dialled = None
            if not link.closed.done():
                # Cancelled, also by a handler that ends the process. What is done is told; there is no bye, so that the host
                # knows that the rest was cut short.
                link.flush()
                link.abort()
                self.unlinked(link)
        if link.refusal is not None and not self._leaving.is_set():  # one that is being ended is known no more
            raise Refused(f"the host refuses this worker: {link.refusal}")
        if self._start_error is not None:
            raise StartFailed(f"this worker ends, as its on_start failed: {self._start_error}")
        if not self._left:
            log.warning("the connection to the host ended%s", f": {link.error}" if link.error else "")
        return link.id != ""

    def _catch_signals(self):
        """TERM drains. So does INT, but in a worker of a host that runs in a terminal, where it is meant for the host."""
        if threading.current_thread() is not threading.main_thread():
            return lambda: None
        self._loop.add_signal_handler(signal.SIGTERM, self.leave)
        self._loop.add_signal_handler(signal.SIGINT, (lambda: None) if self.supervised else self.leave)

        def restore():
            self._loop.remove_signal_handler(signal.SIGTERM)
            self._loop.remove_signal_handler(signal.SIGINT)

        return restore

    def leave(self) -> None:
        """Settles what is under way and goes. Events that come meanwhile are left to other workers."""
        if self._leaving.is_set():
            return
        self._leaving.set()
        if self._link is not None:
            self._farewell = self._loop.create_task(self._say_bye(self._link))
        elif self._dialled is not None:
            self._dialled.abort()

    async def _say_bye(self, link: Link) -> None:
        await self._tasks_end()
        self._call_local("on_stop")
        await self._tasks_end()
        deadline = monotonic() + ANSWERS
        while (self._calls or outbox.waiting) and link is self._link and monotonic() < deadline:
            await asyncio.sleep(0.01)
        if link is not self._link:
            return
        link.put(b'{"t":"bye"}')
        self._left = True
        link.close()
        await asyncio.wait([link.closed], timeout=GOODBYE)
        link.abort()

    async def _tasks_end(self) -> None:
        while self._tasks:
            self._idle.clear()
            await self._idle.wait()

    def _give_up_calls(self) -> None:
        for call in [*self._calls.values(), *outbox.take()]:
            outbox.answered(call)
            call.settle({"error": "the worker has ended"})
        self._calls.clear()

    # --- what links report ---------------------------------------------------------------------------------------------------

    def dialled(self, link: Link) -> None:
        self._dialled = link
        if self._leaving.is_set():
            link.abort()

    def linked(self, link: Link) -> None:
        events = [event for name, (event, _) in SIGNATURES.items() if event and name in self.handlers]
        hello = {"t": "hello", "v": 1, "token": self.token, "events": events, "name": self.name, "runs": RUNS, "claims": True}
        if self.mount:
            hello["mount"] = self.mount
        if self.room_state:
            hello["room_state"] = True
        if "on_start" in self.handlers:
            hello["starting"] = True  # events come when it is done
        link.put(to_json(hello).encode())

    def unlinked(self, link: Link) -> None:
        if link is not self._link:
            return
        self._link = None
        # The host gives their events to others.
        self._busy.clear()
        for task, event in self._tasks.items():
            if event is not None:
                task.cancel()

    def batch(self, link: Link, items: list) -> None:
        self._flushed = monotonic()
        for item in items:
            if "run" in item:
                self._follow(link, item)
            elif self._busy and item.get("conn") in self._busy:
                self._wait(link, item)
            else:
                self._take(link, item)
        self._send_calls()

    def _take(self, link: Link, item: dict) -> None:
        kind = item.get("t")
        if kind == "message":
            self._handle(link, item, kind, self._message, (item["data"] if "data" in item else item.get("bin", b""),))
            return
        function = self._types.get(kind)
        if function is not None:
            function(link, item)
        elif "s" in item:
            self._handle(link, item, kind, None, ())

    def _welcome(self, link: Link, item: dict) -> None:
        link.id = item["link"]
        self._link = link
        for call in self._calls.values():
            link.put(call.text, call.binaries)
        self._call_local("on_start", (lambda: self._started(link)) if item.get("starting") else None,
                         lambda error: self._start_failed(link, error))

    def _started(self, link: Link) -> None:
        if link is self._link:
            self._send_calls()  # what it pushed goes first
            link.put(b'{"t":"ready"}')
            self._flush_soon()

    def _start_failed(self, link: Link, error: BaseException) -> None:
        """It must not say that it is ready: a generation that works would leave for it. One that is leaving, or whose link is lost, so
        that on_start comes again, just goes on."""
        if link is self._link and not self._leaving.is_set():
            # One line, whatever the text is, and however it fails to be one.
            self._start_error = " ".join("".join(format_exception_only(type(error), error)).split())
            link.abort()

    def _bye(self, link: Link, item: dict) -> None:
        why = item.get("error")
        if link.id == "" and why is not None:
            link.refusal = why
        link.abort(why)

    def _ping(self, link: Link, item: dict) -> None:
        link.put(b'{"t":"pong"}')

    def _drain(self, link: Link, item: dict) -> None:
        self.leave()

    # --- events --------------------------------------------------------------------------------------------------------------

    def _upgrade(self, link, item) -> None:
        self._handle(link, item, "upgrade", self.handlers.get("on_upgrade"), (Request(item.get("request", {})),))

    def _open(self, link, item) -> None:
        self._handle(link, item, "open", self.handlers.get("on_open"), ())

    def _close(self, link, item) -> None:
        self._handle(link, item, "close", self.handlers.get("on_close"), (item.get("code", 1006), item.get("reason", "")))

    def _away(self, link, item) -> None:
        self._handle(link, item, "away", self.handlers.get("on_away"), (item.get("code", 1006),))

    def _back(self, link, item) -> None:
        self._handle(link, item, "back", self.handlers.get("on_back"), ())

    def _join(self, link, item) -> None:
        self._handle(link, item, "join", self.handlers.get("on_join"), (Presence(item),))

    def _leave(self, link, item) -> None:
        self._handle(link, item, "leave", self.handlers.get("on_leave"), (Presence(item),))

    def _error(self, link, item) -> None:
        error = Error(item.get("error", ""))
        error.kind = item.get("kind", "")
        self._handle(link, item, "error", self.handlers.get("on_error"), (error,))

    def _timer(self, link, item) -> None:
        self._handle(link, item, "timer", self.handlers.get("on_timer"), (item.get("name", ""), item.get("id", 0)))

    def _handle(self, link: Link, item: dict, kind: str, handler, arguments: tuple) -> None:
        if self._leaving.is_set():
            return
        ws = None
        if "conn" in item:
            ws = Connection(item["conn"], item["state"] if "state" in item else item.get("state_bin"),
                            Request(item.get("request", {})) if kind in ("open", "back") else None,
                            item.get("rooms", []) if kind == "close" else None)
            ws._subject = item.get("subject")
            ws._user, ws._info = item.get("user", ws._subject), item.get("info")
            ws._claims = item["request"].get("claims") if kind in ("open", "back") and "request" in item else item.get("claims")
            ws._trace = item.get("traceparent"), item.get("tracestate")
            if self.room_state:
                ws._room = Room(item["room"], item.get("room_state", item.get("room_state_bin")), item.get("room_version", 0)) if "room_version" in item else None
        self._call(Event(kind, ws, item.get("seq", 0), item.get("attempt", 1), item["s"], link), handler, arguments)

    def _call(self, event: Event, handler, arguments: tuple) -> None:
        self._last, kind, link = event, event.type, event.link
        if handler is None:
            self._settle(event, None)
            return
        if kind == "timer":
            arguments = (*arguments, event.connection)
        elif kind not in ("upgrade", "join", "leave"):
            arguments = (event.connection, *arguments)
        token = current.set(event)
        try:
            result = handler(*arguments)
            if result is not None and isawaitable(result):
                if event.own is not None:
                    self._busy[event.own] = event
                # The task takes the context along, in which this event is the current one.
                self._spawn(result, event).add_done_callback(lambda task: self._task_done(event, task))
                return
            self._settle(event, result)
        except ENDS_PROCESS:
            raise
        except BaseException as error:
            self._fail(event, error)
        finally:
            current.reset(token)
        now = monotonic()
        if now - self._flushed > HELD_BACK:
            self._flushed = now
            link.flush()

    def _task_done(self, event: Event, task) -> None:
        if task.cancelled():
            if event.link is self._link:
                self._fail(event, RuntimeError("the handler was cancelled"))
        elif task.exception() is not None:
            if not isinstance(task.exception(), ENDS_PROCESS):
                self._fail(event, task.exception())
        else:
            try:
                self._settle(event, task.result())
            except Exception as error:
                self._fail(event, error)
        if self._busy.get(event.own) is event:
            del self._busy[event.own]
        if event.behind and self._go_on(event):
            self._flush_later()  # the answers of a run together
        else:
            self._flush_soon()

    # --- events that follow others in a run ------------------------------------------------------------------------------------

    def _follow(self, link: Link, item: dict) -> None:
        """An event behind the one that came last: it is handled when that is acknowledged, and not if it failed, as the host gives
        it again then."""
        before = self._last
        if before is None or before.link is not link:
            if not self._leaving.is_set():
                raise BatchError("an event follows none")
        elif before.done is None or before.behind:
            if before.behind is None:
                before.behind = deque()
            before.behind.append(item)
        elif before.done and not self._leaving.is_set():
            self._handle_next(before, item)

    def _wait(self, link: Link, item: dict) -> None:
        """An event of a connection that has one under way: the host has taken back what followed that."""
        busy = self._busy[item["conn"]]
        if busy.link is not link:
            self._take(link, item)
            return
        busy.behind = deque((*(other for other in busy.behind or () if "run" not in other), item))
        self._last = busy

    def _handle_next(self, before: Event, item: dict) -> Event:
        ws = Connection(before.own, before.stored)
        left = before.connection
        ws._subject, ws._user, ws._info, ws._claims, ws._room, ws._trace = left._subject, left._user, left._info, left._claims, left._room, left._trace
        event = Event("message", ws, before.sequence + 1, 1, item["s"], before.link)
        self._call(event, self._message, (item["data"] if "data" in item else item.get("bin", b""),))
        return event

    def _go_on(self, event: Event) -> bool:
        """What waited for an event that a coroutine has handled. Returns whether another coroutine handles it now."""
        waiting, event.behind = event.behind, None
        while waiting and event.link is self._link and not self._leaving.is_set():
            item = waiting.popleft()
            if "run" not in item:
                self._take(event.link, item)
                event = self._last
            elif event.done:
                event = self._handle_next(event, item)
            else:
                continue
            if event.done is None:
                event.behind = waiting
                return True
        return False

    def _settle(self, event: Event, result) -> None:
        if event.link is not self._link:
            return  # The host gives it to another worker. It stays open: what is left of its handler must not push either.
        ws = event.connection
        if ws is not None and ws._given is not None and ws.changed_within():
            token = current.set(event)
            try:
                ws.state = ws._state
            finally:
                current.reset(token)
        event.open, event.done = False, True
        extra, binaries = "", event.binaries
        if event.type == "upgrade":
            extra, first = upgrade_answer(result)
            binaries = first + binaries
        if event.commands:
            extra += ',"commands":[' + ",".join(event.commands) + "]"
        text = ('{"t":"ack","s":%d%s}' % (event.number, extra)).encode()
        if len(text) + sum(map(len, binaries)) > MESSAGE_MAX:
            raise ValueError(f"the commands of one event are more than {MESSAGE_MAX} bytes")
        event.link.put(text, binaries)
        if event.queries:
            for query in event.queries:
                outbox.submit(query)

    def _fail(self, event: Event, error: Exception) -> None:
        answer = {"t": "nack", "s": event.number}
        if isinstance(error, Retry):
            answer["error"] = str(error)
            answer["retry_ms"] = error.after_ms
            log.info("event %s is tried again in %d ms: %s", event.key, error.after_ms, error)
        else:
            answer["error"] = f"{type(error).__name__}: {error}"[:1000]
            log.error("on_%s failed for event %s", event.type, event.key, exc_info=error)
        if event.link is self._link:
            event.open = event.done = False
            event.link.put(to_json(answer).encode("utf-8", "replace"))

    # --- what runs outside of events ------------------------------------------------------------------------------------------

    def _call_local(self, name: str, done=None, failed=None) -> None:
        handler = self.handlers.get(name)
        if handler is not None:
            self._run_in_push(name, handler, done=done, failed=failed)

    def _run_in_push(self, what: str, function, *arguments, done=None, failed=None) -> None:
        """Commands of the function are one push, unless it raises. Behind it comes done(), or failed(error)."""
        scope = Scope()
        token = current.set(scope)
        try:
            result = function(*arguments)
            if isawaitable(result):
                self._spawn(result).add_done_callback(lambda task: self._pushed(what, scope, task, done, failed))
                return
            self._submit(scope)
        except ENDS_PROCESS:
            raise
        except BaseException as error:
            self._push_failed(what, scope, error, failed)
        else:
            if done is not None:
                done()
        finally:
            current.reset(token)

    def _pushed(self, what: str, scope: Scope, task, done=None, failed=None) -> None:
        error = asyncio.CancelledError("it was cancelled") if task.cancelled() else task.exception()
        if error is None:
            try:
                self._submit(scope)
            except Exception as refused:
                error = refused
        if error is not None:
            self._push_failed(what, scope, error, failed)
        elif done is not None:
            done()

    def _push_failed(self, what: str, scope: Scope, error: BaseException, failed) -> None:
        scope.open = False
        log.error("%s failed", what, exc_info=error)
        if failed is not None:
            failed(error)

    def _submit(self, scope: Scope) -> None:
        scope.open = False
        if scope.commands:
            outbox.submit(Push(scope))

    def _spawn(self, awaitable, event: Event | None = None):
        task = self._loop.create_task(awaitable if iscoroutine(awaitable) else _finish(awaitable))
        self._tasks[task] = event
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task) -> None:
        self._tasks.pop(task, None)
        self._idle.set()

    # --- pushes and queries ---------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        """Something waits in the outbox. From any thread."""
        if threading.get_ident() == self._thread:
            self._flush_soon()
        else:
            try:
                self._loop.call_soon_threadsafe(self._flush_soon)
            except RuntimeError:
                pass  # the loop has just ended; whoever waits is told by _give_up_calls

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush_later(self) -> None:
        if not self._flushing_later:
            self._flushing_later = True
            self._loop.call_later(CORKED, self._flush)

    def _flush(self) -> None:
        self._flushing_later = False
        self._flushing = False
        self._send_calls()
        if self._link is not None:
            self._link.flush()

    def _send_calls(self) -> None:
        link = self._link
        if link is None:
            return
        for call in outbox.take():
            if isinstance(call, Query):
                self._queries += 1
                call.number(self._queries)
            else:
                # Numbers go with the connection. After a new one, what was sent before is repeated under its old number, and a
                # host that was started anew meanwhile refuses just that, but takes what is numbered from 1.
                link.pushes += 1
                call.number(link.source, link.pushes)
            self._calls[call.key] = call
            link.put(call.text, call.binaries)

    def _answered(self, link: Link, item: dict) -> None:
        key = item.get("q") if item["t"] == "reply" else (item.get("source"), item.get("n"))
        call: Call | None = self._calls.pop(key, None)
        if call is None:
            return
        outbox.answered(call)
        if isinstance(call, Query) and call.goes_on(item):
            outbox.submit(call)
            return
        call.settle(item)
        error = item.get("error")
        if error is not None:
            log.warning("the host refused a %s: %s", "query" if item["t"] == "reply" else "push", error)
        elif isinstance(call, Query) and call.callback is not None:
            self._run_in_push("the callback of a query", call.callback, call.answer.wait())


async def _finish(awaitable):
    return await awaitable


async def _within(seconds: float, coroutine):
    """Its result, or None if it takes longer. (asyncio.wait_for loses a cancellation that comes when the coroutine is done.)"""
    task = asyncio.ensure_future(coroutine)
    try:
        await asyncio.wait([task], timeout=seconds)
        return task.result() if task.done() else None
    finally:
        task.cancel()


# --- starting ------------------------------------------------------------------------------------------------------------------


def _ends(why: str):
    """What ends serve(): one line for whoever started the program. In a thread nobody would hear of a SystemExit."""
    if threading.current_thread() is threading.main_thread():
        return SystemExit(f"tova: {why}")
    return TovaError(why)


def _make(handlers, url, token, mount, name, tls, room_state, named) -> Worker:
    found = find(handlers, named)
    environment = os.environ
    url = url or environment.get("TOVA_URL")
    if not url:
        raise _ends("TOVA_URL is not set. tova-host sets it for the workers that it starts (tova-host -w 'python3 "
                    f"{os.path.basename(sys.argv[0])}'); for others it is the URL of --attach")
    if token is None:
        token = environment.get("TOVA_TOKEN", "")
    return Worker(found, url, token, mount or environment.get("TOVA_MOUNT"), name, environment.get("TOVA_SUPERVISED") == "1", tls,
                  room_state)


async def serve_async(handlers=None, *, url=None, token=None, mount=None, name=None, tls=None, room_state=False, **named) -> None:
    """serve() for programs with an event loop of their own."""
    try:
        await _make(handlers, url, token, mount, name, tls, room_state, named).run()
    except (Refused, StartFailed, HandlerError) as error:
        raise _ends(str(error)) from None


def serve(handlers=None, *, url: str | None = None, token: str | None = None, mount: str | None = None, name: str | None = None,
          tls=None, room_state: bool = False, **named) -> None:
    """Serves a mount of tova-host until it drains this worker or a signal (TERM, or INT in a terminal) ends it; then returns.

    handlers: globals(), a module, a class or an object with functions on_open(ws), on_message(ws, message), on_close(ws, code,
    reason), on_error(ws, error), on_timer(name, id, ws), on_away(ws, code), on_back(ws), on_join(who), on_leave(who), on_upgrade(request), on_start() and on_stop(),
    all optional, plain or async. They may also be given by name, serve(on_open=...), or with the decorator @on("open").

    url, token and mount default to TOVA_URL, TOVA_TOKEN and TOVA_MOUNT, which tova-host sets for the workers it starts. tls is an
    ssl.SSLContext for tls+tcp://; without it the system's certificate authorities (or SSL_CERT_FILE) are trusted.

    room_state: with each event comes what is kept with the room that its connection has joined first: ws.room, for set_room.

    Plain handlers run one at a time in this thread. Async ones run at the same time for different connections; for each
    connection events come one after the other. A worker that has no host any more ends if tova-host started it
    (SystemExit), and dials again if it was started elsewhere. What can not be served - handlers that do not fit, a token that
    the host refuses, an on_start that raises - is said in one line (SystemExit, in threads TovaError)."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)  # what handlers print goes to the host's log now, not with the next 8 KiB
    asyncio.run(serve_async(handlers, url=url, token=token, mount=mount, name=name, tls=tls, room_state=room_state, **named))
