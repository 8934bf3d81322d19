"""Finds a worker's handlers, however they are given, and complains about them before the first client could."""
from __future__ import annotations

import inspect

# Handler: the event it asks the host for, and what it is called with.
SIGNATURES = {
    "on_upgrade": ("upgrade", ("request",)),
    "on_open": ("open", ("ws",)),
    "on_message": ("message", ("ws", "message")),
    "on_close": ("close", ("ws", "code", "reason")),
    "on_error": ("error", ("ws", "error")),
    "on_timer": ("timer", ("name", "id", "ws")),
    "on_start": (None, ()),
    "on_stop": (None, ()),
}

_decorated: dict = {}


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
            raise TypeError(f"serve() knows no handler {name}; it knows {', '.join(SIGNATURES)}")
    if inspect.isclass(source):
        source = source()
    found = {}
    for name in SIGNATURES:
        given = source.get(name) if isinstance(source, dict) else getattr(source, name, None)
        handler = named.get(name) or given or _decorated.get(name)
        if handler is not None:
            _check(name, handler)
            found[name] = handler
    if not found:
        raise ValueError("there are no handlers: define on_open(ws), on_message(ws, message), ... and call serve(globals())")
    return found


def _check(name: str, handler) -> None:
    if not callable(handler):
        raise TypeError(f"{name} is no function but {type(handler).__name__}")
    arguments = SIGNATURES[name][1]
    try:
        inspect.signature(handler).bind(*arguments)
    except TypeError as error:
        raise TypeError(f"{name} has to take ({', '.join(arguments)}): {error}") from None
    except ValueError:
        pass  # written in C: it says nothing about its arguments
