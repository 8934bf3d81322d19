"""The worker of the run (tests/fault/resume/run.c) in Python: it knows the few words of tests/plugins/probe.c that are said there."""
import json
import sys
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "sdk/python"))

from tova import broadcast_to, join, serve  # noqa: E402


def observe(ws, event):
    broadcast_to("observers", json.dumps({"event": event, "ws": ws.id}))


def on_open(ws):
    observe(ws, "open")
    if ws.request.path.endswith("/observe"):
        join(ws, "observers")
        ws.send("observing")


def on_message(ws, message):
    for line in message.split("\n"):
        command, _, rest = line.partition(" ")
        if command == "join":
            join(ws, rest)
        elif command == "send":
            ws.send(unquote(rest))
        elif command == "sendb":
            ws.send(unquote_to_bytes(rest))
        elif command == "to":
            room, _, text = rest.partition(" ")
            broadcast_to(room, unquote(text))
        else:
            raise ValueError(f"no command {line!r}")


def on_close(ws, code, reason):
    observe(ws, "close")


if __name__ == "__main__":
    serve(globals())
