"""Finds a worker's handlers, however they are given, and complains about them before the first client could."""
from __future__ import annotations

import difflib
import functools
import inspect
import re

# Handler: the event it asks the host for, and what it is called with.
SIGNATURES = {
    "on_upgrade": ("upgrade", ("request",)),
    "on_open": ("open", ("ws",)),
    "on_message": ("message", ("ws", "message")),
    "on_close": ("close", ("ws", "code", "reason")),
    "on_error": ("error", ("ws", "error")),
    "on_timer": ("timer", ("name", "id", "ws")),
    "on_away": ("away", ("ws", "code")),
    "on_back": ("back", ("ws",)),
    "on_join": ("join", ("who",)),
    "on_leave": ("leave", ("who",)),
    "on_start": (None, ()),
    "on_stop": (None, ()),
}

# What looks like a handler: in time to say that it is none.
_LIKE_A_HANDLER = re.compile(r"on(_|[A-Z])")

_decorated: dict = {}


class HandlerError(TypeError):
    """These handlers can not be served; the text says which, where it is, and what was expected."""


def on(event: str):
    """Decorator for handlers with names of their own: ``@on("message")``."""
    name = event if event.startswith("on_") else "on_" + event
    if name not in SIGNATURES:
        raise ValueError(f'there is no event "{event}"; there are {", ".join(key[3:] for key in SIGNATURES)}')

    def register(function):
        _decorated[name] = function
        return function

    return register


def find(source, named: dict) -> dict:
    """Handlers by name, out of a dict such as globals(), a module, a class or an object, keyword arguments, and @on."""
    for name in named:
        if name not in SIGNATURES:
            raise _unknown(name, named[name])
    if inspect.isclass(source):
        source = source()
    _refuse_misspelt(source)
    found = {}
    for name in SIGNATURES:
        given = source.get(name) if isinstance(source, dict) else getattr(source, name, None)
        handler = named.get(name) or given or _decorated.get(name)
        if handler is not None:
            _check(name, handler)
            found[name] = handler
    if not found:
        raise HandlerError("there are no handlers: define on_open(ws), on_message(ws, message), ... and call serve(globals())")
    return found


def _refuse_misspelt(source) -> None:
    """A handler that would never be called, since its name is none of those that there are. Functions that came from elsewhere
    may have any name."""
    members = source if isinstance(source, dict) else {name: getattr(source, name, None) for name in dir(source)}
    home = source.get("__name__") if isinstance(source, dict) else getattr(source, "__name__", None)
    for name, value in list(members.items()):
        if name in SIGNATURES or not isinstance(name, str) or not _LIKE_A_HANDLER.match(name) or not callable(value):
            continue
        if inspect.isclass(value) or any(value is function for function in _decorated.values()):
            continue
        if home is None or getattr(value, "__module__", home) == home:
            raise _unknown(name, value)


def _unknown(name: str, handler) -> HandlerError:
    near = difflib.get_close_matches(re.sub(r"[A-Z]", lambda letter: "_" + letter.group().lower(), name), SIGNATURES, 1)
    meant = f" (is it {near[0]}?)" if near else ""
    return HandlerError(f"serve() knows no handler {name}{_place(handler)}{meant}; it knows {', '.join(SIGNATURES)}")


def _place(handler) -> str:
    code = getattr(inspect.unwrap(handler) if callable(handler) else handler, "__code__", None)
    return f" ({code.co_filename}:{code.co_firstlineno})" if code is not None else ""


def _check(name: str, handler) -> None:
    if not callable(handler):
        raise HandlerError(f"{name} is no function but {type(handler).__name__}")
    if _is_generator(handler):
        raise HandlerError(f"{name} has a yield in it, so that nothing of it would run{_place(handler)}; a plain or an async function "
                           "without one was expected")
    arguments = SIGNATURES[name][1]
    try:
        inspect.signature(handler).bind(*arguments)
    except TypeError as error:
        raise HandlerError(f"{name} has to take ({', '.join(arguments)}): {error}{_place(handler)}") from None
    except ValueError:
        pass  # written in C: it says nothing about its arguments


def _is_generator(handler) -> bool:
    """Calling one only makes an iterator, which nobody asks. types.coroutine makes something to await of one."""
    for function in (handler, getattr(handler, "__call__", None)):
        if inspect.isasyncgenfunction(function):
            return True
        if inspect.isgeneratorfunction(function):
            while isinstance(function, functools.partial):
                function = function.func
            return not getattr(function, "__code__", None) or not function.__code__.co_flags & inspect.CO_ITERABLE_COROUTINE
    return False
