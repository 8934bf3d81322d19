"""A network between clients and a host, for tests: it breaks when it is told to."""
import select
import socket
import threading


class Network:
    """A forwarder that can cut what goes through it, and refuse more."""

    def __init__(self, port):
        self.port, self.up = port, True
        self.pairs = []
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.address}"
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
                    if not data or (ready is far and not self.passes(data)):
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

    def passes(self, data):
        """Whether this comes back to a client, whose connection ends if not."""
        return True

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
