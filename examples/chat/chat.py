"""chat: rooms of people who talk to each other. Messages are JSON:

    {"type": "chat", "user": "Ada", "text": "Hello"}    to the others in room general, or in the room that "room" names
    {"type": "join_room", "room": "tea"}                leaves general and joins that room
    {"type": "typing", "user": "Ada"}                   to the others, as chat, and nobody remembers it
    {"type": "people", "user": "Ada", "id": 3}          says who one is, and asks who is in room general, or in the room that "room" names

Who joins a room is sent its last 50 messages, where the host runs with --history 50. People are

    {"type": "people", "id": 3, "users": ["Ada"]}       the answer, each once however many tabs he has
    {"type": "here", "room": "tea", "user": "Ada"}      to a room: he has come; or "gone": he has left, and has not just loaded his page again

Start it with: tova-host --static examples -w /chat='python3 examples/chat/chat.py'
"""
import json
import sys
from pathlib import Path

# Finds the library of this checkout. Not needed where it is installed: pip install ./sdk/python
sys.path.append(str(Path(__file__).resolve().parents[2] / "sdk/python"))

from tova import broadcast_to, info, join, leave, serve, unwatch, users, watch  # noqa: E402


def line(type, text):
    return {"type": type, "text": text}


def is_text(value):
    return isinstance(value, str) and "\0" not in value


def on_open(ws):
    join(ws, "general", last=50)
    broadcast_to("general", line("system", "A new user joined"), exclude=ws, keep=False)
    ws.send(line("system", "Welcome to the chat!"))


async def on_message(ws, message):
    try:
        data = json.loads(message if isinstance(message, str) else message.decode())
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, (dict, list)):
        ws.send(line("error", "A message is a JSON object"))
        return
    type = data.get("type") if isinstance(data, dict) else None
    if type == "chat":
        chat(ws, data)
    elif type == "join_room":
        join_room(ws, data)
    elif type == "typing":
        typing(ws, data)
    elif type == "people":
        await people(ws, data)
    else:
        ws.send(line("error", "Unknown message type"))


def chat(ws, data):
    message = {"type": "chat", "user": data.get("user"), "text": data.get("text")}
    if "room" in data:
        message["room"] = data["room"]  # a connection can be in several rooms: a message that was sent to one says so
    if not all(map(is_text, message.values())):
        ws.send(line("error", "A chat message needs user and text, both strings; room may be one"))
        return
    broadcast_to(message.get("room", "general"), message, exclude=ws)


def typing(ws, data):
    message = {key: data[key] for key in ("type", "user", "room") if key in data}
    if not is_text(message.get("user")) or not is_text(message.get("room", "general")):
        ws.send(line("error", "A typing notice needs user, a string; room may be one"))
        return
    broadcast_to(message.get("room", "general"), message, exclude=ws, keep=False)


def join_room(ws, data):
    room = data.get("room")
    if not is_text(room):
        ws.send(line("error", "To join a room, name it: room, a string"))
        return
    leave(ws, "general")
    join(ws, room, last=50)
    ws.send(line("system", f"Joined room: {room}"))


async def people(ws, data):
    user, room, id = data.get("user"), data.get("room", "general"), data.get("id", 0)
    if not is_text(user) or not is_text(room) or not isinstance(id, int):
        ws.send(line("error", "Who asks for people says who asks: user, a string; room may be one"))
        return
    info(ws, user=user)
    watch(room)
    ws.send({"type": "people", "id": id, "users": await users(room)})


def on_join(who):
    if who.user is not None:
        broadcast_to(who.room, {"type": "here", "room": who.room, "user": who.user}, keep=False)


def on_leave(who):
    if who.user is not None:
        broadcast_to(who.room, {"type": "gone", "room": who.room, "user": who.user}, keep=False)
    if who.users == 0:
        unwatch(who.room, if_empty=True)


def on_close(ws, code, reason):
    broadcast_to("general", line("system", "A user left the chat"), keep=False)


def on_error(ws, error):
    """Also what became of a command that was wrong, such as joining a room whose name is too long: nothing of that message has
    happened, and its sender should know. The connection stays."""
    print(f"WebSocket error: {error}", file=sys.stderr)
    if error.kind == "handler":
        ws.send(line("error", error))


serve(globals())
