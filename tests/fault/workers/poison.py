"""The worker of the poison run: one message kills it each time, until the file CURED is there."""
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "sdk/python"))

from tova import serve  # noqa: E402


def on_message(ws, message):
    number, _, poison = message.partition(" ")
    if poison.startswith("poison") and not os.path.exists(os.environ["CURED"]):
        os.kill(os.getpid(), signal.SIGKILL)
    ws.state = (ws.state or 0) + 1
    ws.send(f"{number} {ws.state}")


def on_error(ws, error):
    ws.send(f"error {error.kind}: {error}")


serve(globals())
