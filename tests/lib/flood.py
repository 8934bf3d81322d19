"""What an attack costs a host: its resident memory while it lasts, and many clients that send at once."""
import selectors
import threading
import time

from tova_host import PATIENCE


class Resident:
    """The host's resident memory from here on: the most of it, looked at all the time."""

    def __init__(self, host):
        self.path = f"/proc/{host.process.pid}/statm"
        self.base = self.most = self.now()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()

    def now(self):
        with open(self.path) as file:
            return int(file.read().split()[1]) * 4096

    def _look(self):
        while not self.over.wait(0.005):
            try:
                self.most = max(self.most, self.now())
            except FileNotFoundError:  # a test that failed has ended it
                return

    def end(self):
        self.over.set()
        self.thread.join()
        return self.most - self.base


class Flood:
    """Clients that all send at once, as fast as they are read; each what `bytes_of` says of it."""

    def __init__(self, sockets, bytes_of):
        self.left = {s: memoryview(bytes_of(i)) for i, s in enumerate(sockets)}
        self.selector = selectors.DefaultSelector()
        self.moved = time.monotonic()
        self.broken = []
        for s in sockets:
            s.setblocking(False)
            self.selector.register(s, selectors.EVENT_WRITE)

    def step(self, timeout=0.05):
        for key, _ in self.selector.select(timeout):
            s = key.fileobj
            try:
                n = s.send(self.left[s][:256 << 10])
            except BlockingIOError:
                continue
            except OSError as error:
                self.broken.append(error)
                n = len(self.left[s])
            self.moved = time.monotonic()
            self.left[s] = self.left[s][n:]
            if not self.left[s]:
                self.selector.unregister(s)

    @property
    def done(self):
        return not self.selector.get_map()

    def until_still(self, seconds=1):
        """Nothing has been taken for so long. (What is asserted behind this holds at each time.)"""
        while not self.done and time.monotonic() - self.moved < seconds:
            self.step()

    def finish(self):
        end = time.monotonic() + PATIENCE
        while not self.done and time.monotonic() < end:
            self.step()
        assert self.done and not self.broken, f"{len(self.selector.get_map())} were never read to their end; {self.broken}"
