"""What it costs to look at a busy host: scrapes of /metrics, lists of all connections and rooms, page after page, while as many connections
as descriptors allow send messages.

    ops.py [--conns N] [--seconds S] [--page]

Prints Markdown: the loop's longest turn without anybody looking and with it (CPU time of its thread), what requests and lists took of one
turn at most, and how many of each were answered. Fails when the latter is beyond 5 ms. With --page the admin page is open in a headless Chromium
as well, and it is told how long it took until it showed a client that reads too slowly among all the others.
"""
import argparse
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from api import Api, address  # noqa: E402
from tova_host import BUILD, Host, wait_until  # noqa: E402
from wsclient import connect  # noqa: E402

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


class Browsing:
    """The admin page in a browser, as somebody has it open who looks for a slow client."""

    def __init__(self, host, where):
        sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
        from conftest import Browser, Page

        self.host, self.browser = host, Browser()
        began = time.monotonic()
        self.page = Page(self.browser).open(f"http://{where}/")
        wait_until(lambda: self.page.state == "serving", "the page shows a host that serves", 60)
        self.opened = time.monotonic() - began

    def find_slow(self):
        """Seconds until it is listed, from when it does not read any more."""
        self.slow = connect("127.0.0.1", self.host.port, "/room/room/slow", receive_buffer=4096)
        self.slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with Api(self.host, "admin") as api:
            for _ in range(3):
                api.post("broadcast_to", mount="/room", room="slow", data="x" * 300_000)
        began = time.monotonic()
        wait_until(lambda: "KiB" in self.page.text("#slow tbody") or "MiB" in self.page.text("#slow tbody"), "who reads too slowly is shown", 60)
        return time.monotonic() - began

    def quit(self):
        shown = self.page.text("#now-connections")
        self.browser.quit()
        return shown


def run(conns, seconds, look, page=False):
    browsing = None
    with Host("--plugin", "/echo=echo", "--plugin", "/room=relay", "--admin", "127.0.0.1:0", "--max-connections", str(conns + 100), "--idle-timeout", "0") as host:
        where = address(host, "admin")
        process = load(host, conns, seconds)
        wait_until(lambda: value(where, 'tova_connections{mount="/echo"}') == conns, "all are there", 120)
        lookers = [Looker(where, name, target) for name, target in (("/metrics", "/metrics"), ("connections", "/api/v1/connections?limit=10000"), ("connections of an address", "/api/v1/connections?address=127.0.0.0/8&limit=1000"),
                                                                    ("connections of a room", "/api/v1/connections?room=nobody"), ("rooms", "/api/v1/rooms?limit=10000"), ("mounts", "/api/v1/mounts?mount=/echo"))] if look else []
        for looker in lookers:
            looker.start()
        if page:
            browsing = Browsing(host, where)
            found = browsing.find_slow()
            shown = browsing.quit()
            print(f"The page was there after {browsing.opened:.1f} s, showed {shown} connections, and a client that reads too slowly {found:.1f} s after that had stopped reading.\n")
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
    parser.add_argument("--page", action="store_true")
    options = parser.parse_args()
    began = time.monotonic()
    alone, _, _, _ = run(options.conns, options.seconds, False)
    turn, api, lookers, _ = run(options.conns, options.seconds, True, options.page)
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
