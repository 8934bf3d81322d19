"""Counts in its room, together with whoever else does."""
from tova import join, send, serve, set_room


def on_open(ws):
    join(ws, "counter")


def on_message(ws, message):
    n = (ws.room.state or {"n": 0})["n"] + 1
    set_room(ws.room, {"n": n})
    send(ws, str(n))


serve(globals(), room_state=True)
