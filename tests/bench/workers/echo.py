"""A worker that sends every message back."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "sdk/python"))

from tova import serve  # noqa: E402


def on_message(ws, message):
    ws.send(message)


serve(globals())
