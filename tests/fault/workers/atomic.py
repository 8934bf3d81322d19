"""The twin of atomic.c in Python. It also dies while its acknowledgement is on the way: then all or nothing has to have happened."""
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "sdk/python"))

from tova import broadcast_to, current_event, join, serve  # noqa: E402

executions = 0
life = os.urandom(6).hex()  # process ids come again when thousands have died


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_soon():
    time.sleep(random.uniform(0, 0.002))
    die()


def on_open(ws):
    ws.send("welcome")
    join(ws, "all")


def on_message(ws, n):
    global executions
    executions += 1
    run, was = f"{life}.{executions}", ws.state or "-"
    # Less often if it has been tried before, so that workers get something done and are started again at once.
    at = random.randrange(7) if random.randrange(10 if current_event().attempt > 1 else 3) == 0 else None
    commands = [
        lambda: join(ws, f"run {run}"),
        lambda: ws.send(f"sent {n} {run} {was}"),
        lambda: broadcast_to(f"run {run}", f"room {n} {run}"),
        lambda: setattr(ws, "state", run),
        lambda: broadcast_to("all", f"all {n} {run}"),
    ]
    for k, command in enumerate(commands):
        if k == at:
            die()
        command()
    if at == 5:
        die()
    if at == 6:
        threading.Thread(target=die_soon, daemon=True).start()


serve(globals())
