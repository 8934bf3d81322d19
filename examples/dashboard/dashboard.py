"""dashboard: shows the machine and the host live. Whoever connects gets {"type": "init", "data": STATS} and from then on, as a member
of room dashboard, {"type": "update", "data": STATS} at each interval. STATS:

    {"time": ms since 1970, "load": [1, 5, 15 minutes], "memory": {"total": bytes, "used": bytes},
     "host": {"uptime": s, "connections": n, "rooms": n, "messages_in": n, "messages_out": n, "bytes_in": n, "bytes_out": n,
              "slow": n, "dropped": n, "refused": n}}

load or memory are null where the system does not tell.

Start it with: tova-host --static examples -w /dashboard='python3 examples/dashboard/dashboard.py --interval-ms 1000'
"""
import argparse
import json
import os
import sys
import time
from pathlib import Path

# Finds the library of this checkout. Not needed where it is installed: pip install ./sdk/python
sys.path.append(str(Path(__file__).resolve().parents[2] / "sdk/python"))

from tova import broadcast_to, join, leave, serve, set_timer, stats  # noqa: E402

INTERVAL_MIN_MS, INTERVAL_MAX_MS = 100, 3_600_000
COUNTERS = ("connections", "rooms", "messages_in", "messages_out", "bytes_in", "bytes_out", "slow")


def load():
    try:
        return os.getloadavg()
    except OSError:
        return None


def memory():
    try:
        rows = dict(row.split(":") for row in Path("/proc/meminfo").read_text().splitlines())
        total, available = (int(rows[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return None
    return {"total": total, "used": total - available}


async def snapshot():
    counters = await stats()
    host = {"uptime": counters["uptime_ms"] // 1000, **{name: counters[name] for name in COUNTERS},
            "dropped": counters["dropped"] + counters["rate_dropped"], "refused": counters["refused"] + counters["limited"]}
    return {"time": time.time_ns() // 1_000_000, "load": load(), "memory": memory(), "host": host}


async def on_open(ws):
    join(ws, "dashboard")
    ws.send({"type": "init", "data": await snapshot()})


def on_start():
    # The host keeps the timer, and has it once, however many workers set it.
    set_timer("update", interval, period_ms=interval)


async def on_timer(name, id, ws):
    broadcast_to("dashboard", {"type": "update", "data": await snapshot()})


def on_message(ws, message):
    try:
        data = json.loads(message if isinstance(message, str) else message.decode())
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, (dict, list)):
        answer_error(ws, "A message is a JSON object")
        return
    action, channel = (data.get("action"), data.get("channel")) if isinstance(data, dict) else (None, None)
    if action not in ("subscribe", "unsubscribe"):
        answer_error(ws, "Unknown action")
    elif not isinstance(channel, str):
        answer_error(ws, "An action needs a channel, a string")
    elif action == "subscribe":
        join(ws, channel)
    else:
        leave(ws, channel)


def on_error(ws, error):
    print(f"WebSocket error: {error}", file=sys.stderr)
    if ws is not None and error.kind == "handler":  # a timer that failed concerns nobody in particular
        answer_error(ws, error)


def answer_error(ws, text):
    ws.send({"type": "error", "text": text})


def interval_ms(text):
    if not (text.isascii() and text.isdigit() and INTERVAL_MIN_MS <= int(text) <= INTERVAL_MAX_MS):
        raise argparse.ArgumentTypeError(f'interval-ms is {INTERVAL_MIN_MS} to {INTERVAL_MAX_MS}, not "{text}"')
    return int(text)


parser = argparse.ArgumentParser(description="A worker of tova-host that shows the machine and the host live")
parser.add_argument("--interval-ms", type=interval_ms, default=1000, metavar="MS", help="milliseconds between two updates (1000)")
interval = parser.parse_args().interval_ms
serve(globals())
