"""Write WebSocket handlers for tova-host in Python.

    from tova import serve, join, broadcast_to

    def on_open(ws):
        join(ws, "general")
        ws.send("Welcome!")

    def on_message(ws, message):
        broadcast_to("general", message, exclude=ws)

    serve(globals())

Start it with ``tova-host -w 'python3 file.py'``.
"""
from .answer import Answer, TovaError
from .client import AnswerLost, Expired, Refused, Unreachable, connect, connect_async
from .commands import (
    Retry, broadcast, broadcast_to, cancel_timer, close, close_room, info, join, leave, leave_all, prolong, push, send, set_timer, unwatch,
    watch)
from .connection import Connection, Error, Presence, Request, Room, set_room, set_state
from .handlers import on
from .history import History, Place, Remembered
from .queries import connections, count, history, members, room_state, rooms, stats, users
from .scope import Event, current_event
from .upgrade import accept, refuse
from .worker import serve, serve_async

__all__ = [
    "Answer", "AnswerLost", "Connection", "Error", "Event", "Expired", "History", "Place", "Presence", "Refused", "Remembered", "Request", "Retry",
    "Room", "TovaError", "Unreachable", "accept", "broadcast", "broadcast_to", "cancel_timer", "close", "close_room", "connect", "connect_async",
    "connections", "count", "current_event", "history", "info", "join", "leave", "leave_all", "members", "on", "prolong", "push", "refuse", "room_state", "rooms", "send",
    "serve", "serve_async", "set_room", "set_state", "set_timer", "stats", "unwatch", "users", "watch",
]
__version__ = "0.2.0"
