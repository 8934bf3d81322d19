"""A worker that sends every message to all others."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "sdk/python"))

from tova import broadcast_to, serve  # noqa: E402


def on_open(ws):
    ws.join("bench")


def on_message(ws, message):
    broadcast_to("bench", message, exclude=ws)


serve(globals())
