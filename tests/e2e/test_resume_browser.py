"""A page that uses the library from the host that serves it, behind a network that breaks."""
import select
import socket
import threading

import pytest

from tova_host import Host, wait_until

NOISE = "WebSocket"
PAGE = """<!doctype html><title>resume</title><link rel="icon" href="data:,"><script type="module">
import { TovaSocket } from "/.tova/tova.js";
const socket = window.socket = new TovaSocket("/chat/echo");
socket.seen = [];
for (const type of ["open", "message", "away", "resume", "lost", "close"])
	socket.addEventListener(type, (e) => socket.seen.push(type === "message" ? e.data : type === "lost" ? { lost: e.missed, messages: e.messages } : type));
</script>"""


class Network:
    """A forwarder that can cut what goes through it, and refuse more."""

    def __init__(self, port):
        self.port, self.up = port, True
        self.pairs = []
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            if not self.up:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self.port))
            except OSError:  # no host at the moment: it is being started anew
                near.close()
                continue
            with self.lock:
                self.pairs.append((near, far))
            threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near, far):
        other = {near: far, far: near}
        try:
            while True:
                for ready in select.select([near, far], [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    other[ready].sendall(data)
        except (OSError, ValueError):
            pass
        finally:
            for s in other:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def cut(self):
        with self.lock:
            pairs, self.pairs = self.pairs, []
        for near, far in pairs:
            for s in (near, far):
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self.listener.close()
        self.cut()


@pytest.fixture
def host(tmp_path):
    (tmp_path / "index.html").write_text(PAGE)
    with Host("--plugin", "/chat=echo", "--static", str(tmp_path), "--resume", "30s") as running:
        yield running


@pytest.fixture
def network(host):
    running = Network(host.port)
    yield running
    running.close()


@pytest.fixture
def page(network, browse):
    shown = browse(f"http://127.0.0.1:{network.address}/")
    shown.expect_console(NOISE)
    wait_until(lambda: shown.js("window.socket?.readyState") == 1, "it is open")
    shown.js("Math.random = () => 0; return 0;")  # no waiting
    return shown


def seen(page):
    return page.js("socket.seen")


def test_the_network_breaks(network, page):
    page.js("window.n = 0; window.timer = setInterval(() => socket.send(`${n++}`), 5); return 0;")
    for cuts in range(1, 6):
        wait_until(lambda: len([s for s in seen(page) if s not in ("open", "away", "resume")]) > 20 * cuts, "it goes on")
        network.cut()
        wait_until(lambda: seen(page).count("resume") == cuts, "it is back")
    page.js("clearInterval(timer); socket.sent().then(() => window.settled = true); return 0;")
    wait_until(lambda: page.js("window.settled"), "all is settled")
    sent = page.js("n")
    wait_until(lambda: seen(page)[-1] == str(sent - 1) or str(sent - 1) in seen(page), "all has come back")
    assert [s for s in seen(page) if s not in ("open", "away", "resume")] == [str(i) for i in range(sent)]
    assert seen(page).count("open") == 1


def test_said_while_it_is_away(network, page):
    network.up = False
    network.cut()
    wait_until(lambda: "away" in seen(page), "it knows")
    page.js("socket.send('late'); return 0;")
    network.up = True
    page.js("dispatchEvent(new Event('online')); return 0;")
    wait_until(lambda: seen(page)[-1] == "late", "it has arrived")
    assert "lost" not in str(seen(page)) and seen(page).count("open") == 1


def test_the_host_begins_anew(host, network, page):
    page.js("socket.send('one'); return 0;")
    wait_until(lambda: "one" in seen(page), "it echoes")
    host.stop()
    host.start()
    network.port = host.port
    page.js("socket.reconnect(); return 0;")
    wait_until(lambda: seen(page).count("open") == 2, "a session of its own")
    wait_until(lambda: any(isinstance(s, dict) for s in seen(page)), "it knows what is lost")
    page.js("socket.send('two'); return 0;")
    wait_until(lambda: seen(page)[-1] == "two", "it goes on")
