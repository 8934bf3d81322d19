"""Several handlers that count in one room at once, in each language and killed between: nothing is lost, and nothing counts twice."""
import os
import signal
import threading

import pytest

from example_workers import INTERPRETERS, command
from supervised import PYTHONPATH
from tova_host import IMPATIENT, Host, wait_until
from wsclient import connect

COUNTER = "tests/e2e/stories/counter"
CLIENTS, EACH = 10, 100


def count(host, told, done):
    ws = connect("127.0.0.1", host.port, "/w")
    for _ in range(EACH):
        ws.send_text("+")
    for _ in range(EACH):
        told.append(int(ws.recv_text()))
    done.release()
    ws.close(1000)


def options(kind):
    return "--worker", f"/w={command(kind, COUNTER)}", "--workers", "2"


KINDS = [kind for kind in ("python", "node") if INTERPRETERS[kind][0]]


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_are_a_thousand(kind, killed):
    told, done = [], threading.Semaphore(0)
    with Host(*options(kind), "--max-attempts", "1000", *IMPATIENT, env=PYTHONPATH) as host:
        wait_until(lambda: sum("a worker is ready" in line.get("message", "") for line in host.lines) >= 2, "two workers")
        host.allow(lambda line: killed and line["level"] in ("warn", "error") and line.get("kind") in ("worker", "supervisor", "crash"))
        threads = [threading.Thread(target=count, args=(host, told, done), daemon=True) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        deaths = 0
        while killed and not all(not thread.is_alive() for thread in threads) and deaths < 4:
            threads[0].join(0.5)
            for pid in host.children[:1]:
                os.kill(pid, signal.SIGKILL)
                deaths += 1
        for thread in threads:
            thread.join(120)
        assert sorted(told) == list(range(1, CLIENTS * EACH + 1))
        assert not killed or deaths > 0
