"""The worker of the exactly-once run. What it does shows at the clients, once for each event that the host commits."""
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "sdk/python"))

from tova import Retry, broadcast_to, current_event, join, leave, serve  # noqa: E402


def on_open(ws):
    query = dict(pair.split("=") for pair in ws.request.query.split("&"))
    who, group = query["who"], query["group"]
    join(ws, group)
    ws.state = [who, group, 0]
    ws.send(f"welcome {who}")
    if who != "observer":
        broadcast_to("observers", f"open {who}")


def on_message(ws, message):
    who, group, last = ws.state
    n = int(message)
    if n != last + 1:
        broadcast_to("observers", f"wrong {who}: message {n} behind a state of {last}")
    # It hears of its own room only if it has joined it, and twice if that or this was done twice.
    join(ws, f"{who}'s {n}")
    time.sleep(random.uniform(0, 0.006))  # it is at work when it is killed
    leave(ws, f"{who}'s {n - 1}")
    ws.state = [who, group, n]
    broadcast_to(f"{who}'s {n}", f"own {n}")
    broadcast_to(f"{who}'s {n - 1}", "a room that was left")
    ws.send(f"reply {n}")
    broadcast_to(group, f"said {who} {n}")
    if current_event().attempt == 1 and random.random() < 0.05:
        raise Retry(random.randrange(20))  # nothing of this has happened; what follows in a run is not handled before


def on_close(ws, code, reason):
    who, group, last = ws.state
    broadcast_to("observers", f"close {who} {code}")
    rooms, wanted = set(ws.rooms), {group, f"{who}'s {last}"} if last else {group}
    if who.startswith("c") and rooms != wanted:
        broadcast_to("observers", f"wrong {who} left {sorted(rooms)}, not {sorted(wanted)}")
    # One that ended before its messages were handled joins nothing any more.
    elif len(rooms) > 2 or any(room != group and not room.startswith(f"{who}'s ") for room in rooms):
        broadcast_to("observers", f"wrong {who} left {sorted(rooms)}")


serve(globals())
