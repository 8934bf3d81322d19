"""A worker that does what each message asks for; stories.mjs does the same."""
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3] / "sdk/python"))

from tova import (Retry, accept, broadcast, broadcast_to, close_room, count, current_event, info, join, leave, leave_all,  # noqa: E402
                  members, push, refuse, rooms, serve, set_timer, stats, users, unwatch, watch)


def on_upgrade(request):
    if request.query.startswith("refuse="):
        return refuse(int(request.query[7:]), "who are you?", headers=[("WWW-Authenticate", "Basic")])
    if request.query == "fail":
        raise ValueError("no upgrades today")
    return accept("v1" if "v1" in request.subprotocols else None, state={"query": request.query, "n": 0})


def on_open(ws):
    join(ws, "all")
    broadcast_to("all", {"came": ws.id}, exclude=ws)
    ws.send({"welcome": ws.id, "path": ws.request.path, "state": ws.state})


async def on_message(ws, message):
    if isinstance(message, bytes):
        ws.send(message)
        return
    ask = json.loads(message)
    await globals()["do_" + ask["do"]](ws, ask)


async def do_echo(ws, ask):
    ws.send(ask["data"])


async def do_count(ws, ask):
    ws.state["n"] += 1
    ws.send({"n": ws.state["n"], "pid": os.getpid()})


async def do_bytes(ws, ask):
    before = ws.state
    ws.state = b"\x00\xff\n"
    ws.send(before if isinstance(before, bytes) else "none")


async def do_die(ws, ask):
    event = current_event()
    ws.send("never twice")
    if event.attempt <= ask.get("times", 1):
        os.kill(os.getpid(), signal.SIGKILL)
    ws.send({"attempt": event.attempt, "key": event.key, "pid": os.getpid()})


async def do_fail(ws, ask):
    ws.send("never")
    broadcast("never")
    leave(ws, "all")
    raise ValueError(ask["text"])


async def do_retry(ws, ask):
    ws.send("once")
    if current_event().attempt < 3:
        raise Retry(ask.get("ms", 10))


async def do_slow(ws, ask):
    await asyncio.sleep(ask["ms"] / 1000)
    ws.send({"slow": ask["ms"]})


async def do_push(ws, ask):
    with push() as done:
        broadcast_to("all", "one")
        broadcast_to("all", "two", ws)
    await done
    try:
        with push() as done:
            ws.send("never")
            join(ws, "")
        await done
    except Exception as error:
        ws.send({"refused": str(error)})


async def do_query(ws, ask):
    found = {"members": [member.id for member in await members("all")], "count": await count("all"), "nobody": await count("nobody"),
             "rooms": await rooms(ws), "connections": (await stats())["connections"]}
    ws.send(found)


async def do_timer(ws, ask):
    set_timer("mine", ask["ms"], id=7, ws=ws)


async def do_close(ws, ask):
    ws.close(3001, "as you wish")


async def do_room(ws, ask):
    join(ws, ask["room"])
    ws.send("joined")


async def do_me(ws, ask):
    ws.send({"user": ws.user, "info": ws.info})


async def do_who(ws, ask):
    info(ws, ask.get("info"), user=ask.get("user"))
    await do_me(ws, ask)


async def do_roster(ws, ask):
    found = sorted([member.user or "", member.info or ""] for member in await members(ask["room"]))
    ws.send({"members": found, "users": await users(ask["room"])})


async def do_enter(ws, ask):
    join(ws, ask["room"], **{key: ask[key] for key in ("max", "users_max", "first", "replace") if key in ask})
    ws.send({"entered": ask["room"]})


async def do_leave_all(ws, ask):
    leave_all(ws)
    ws.send({"left": "all"})


async def do_clear(ws, ask):
    close_room(ask["room"], ask["code"], "cleared", exclude=ws)


async def do_tell(ws, ask):
    broadcast_to(ask["rooms"], ask["text"], **{key: ask[key] for key in ("exclude", "exclude_users", "exclude_rooms") if key in ask})


async def do_watch(ws, ask):
    if "grace" in ask:
        watch(ask["room"], grace_ms=ask["grace"])
    else:
        unwatch(ask["room"])
    ws.send({"watched": ask["room"]})


def on_join(who):
    broadcast_to("all", {"in": who.room, "user": who.user, "info": who.info, "users": who.users})
    who.ws.send({"you": who.ws.user})


async def on_leave(who):
    broadcast_to("all", {"out": who.room, "user": who.user, "info": who.info, "users": who.users})
    if who.user == "trouble":
        raise ValueError("trouble")


def on_timer(name, id, ws):
    ws.send({"timer": name, "id": id})


def on_close(ws, code, reason):
    broadcast_to("all", {"left": ws.id, "code": code, "reason": reason, "rooms": sorted(ws.rooms)})


def on_error(ws, error):
    if error.kind == "handler":
        ws.send({"error": error})


serve(globals())
