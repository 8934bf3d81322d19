"""What it costs to look at a busy host: scrapes of /metrics, lists of all connections and rooms, page after page, while as many connections
as descriptors allow send messages.

    ops.py [--conns N] [--seconds S]

Prints Markdown: the loop's longest turn without anybody looking and with it (CPU time of its thread), what requests and lists took of one
turn at most, and how many of each were answered. Fails when the latter is beyond 5 ms.
"""
import argparse
import http.client
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from api import address  # noqa: E402
from tova_host import BUILD, Host, wait_until  # noqa: E402

ALLOWED = 0.005


class Looker(threading.Thread):
    """Asks for the same again and again, page after page."""

    def __init__(self, where, name, target):
        super().__init__(daemon=True)
        self.name, self.target, self.wanted = name, target, True
        self.answers = self.bytes = 0
        self.http = http.client.HTTPConnection(*where.split(":"), timeout=60)

    def get(self, target):
        self.http.request("GET", target)
        answer = self.http.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{target}: {answer.status} {body[:200]}")
        self.answers += 1
        self.bytes += len(body)
        return body

    def run(self):
        while self.wanted:
            target = self.target
            while target and self.wanted:
                body = self.get(target)
                following = json.loads(body).get("next") if self.target != "/metrics" else None
                target = f"{self.target}&cursor={following}" if following else None


def value(where, name):
    http_ = http.client.HTTPConnection(*where.split(":"), timeout=60)
    http_.request("GET", "/metrics")
    text = http_.getresponse().read().decode()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(name + " "))


def load(host, conns, seconds):
    """The generator at work; what it says at its end is judged."""
    return subprocess.Popen([BUILD / "bench/load", "echo", "--port", str(host.port), "--pid", str(host.pid), "--conns", str(conns), "--depth", "1", "--path", "/echo",
                             "--warmup", "1", "--seconds", str(seconds), "--patience", "60000"], stdout=subprocess.PIPE, text=True)


def run(conns, seconds, look):
    with Host("--plugin", "/echo=echo", "--plugin", "/room=relay", "--admin", "127.0.0.1:0", "--max-connections", str(conns + 100), "--idle-timeout", "0") as host:
        where = address(host, "admin")
        process = load(host, conns, seconds)
        wait_until(lambda: value(where, 'tova_connections{mount="/echo"}') == conns, "all are there", 120)
        lookers = [Looker(where, name, target) for name, target in (("/metrics", "/metrics"), ("connections", "/api/v1/connections?limit=10000"), ("connections of an address", "/api/v1/connections?address=127.0.0.0/8&limit=1000"),
                                                                    ("connections of a room", "/api/v1/connections?room=nobody"), ("rooms", "/api/v1/rooms?limit=10000"), ("mounts", "/api/v1/mounts?mount=/echo"))] if look else []
        for looker in lookers:
            looker.start()
        said = json.loads(process.communicate(timeout=seconds + 180)[0])
        for looker in lookers:
            looker.wanted = False
        for looker in lookers:
            looker.join(60)
        if process.returncode or said.get("broken"):
            raise SystemExit(f"the load broke: {said}")
        return value(where, "tova_loop_turn_max_seconds"), value(where, "tova_api_turn_max_seconds"), lookers, said


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conns", type=int, default=18000)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    began = time.monotonic()
    alone, _, _, _ = run(options.conns, options.seconds, False)
    turn, api, lookers, _ = run(options.conns, options.seconds, True)
    print(f"{options.conns:,} connections, each with a message under way, {time.monotonic() - began:.0f} s:\n")
    print("| | longest turn of the loop | of it requests and lists at most |\n|---|---|---|")
    print(f"| nobody looks | {alone * 1000:.1f} ms | |")
    print(f"| scrapes and lists | {turn * 1000:.1f} ms | {api * 1000:.2f} ms |\n")
    print("| asked for | answers | MB |\n|---|---|---|")
    for looker in lookers:
        print(f"| {looker.name} | {looker.answers:,} | {looker.bytes / 1e6:.1f} |")
    if api > ALLOWED:
        raise SystemExit(f"requests and lists took {api * 1000:.1f} ms of one turn; {ALLOWED * 1000:.0f} are allowed")


if __name__ == "__main__":
    main()
