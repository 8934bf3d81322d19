"""Allocations that fail on purpose: the other side of tests/fault/nomem.c, which a host is run with."""
import mmap
import struct

from tova_host import BUILD


class Memory:
    """The file that tests/fault/nomem.c looks at."""

    def __init__(self, path):
        path.write_bytes(bytes(24))
        self.path = path
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), 24)
        self.enough()

    def fail(self, after, run=1):
        """After so many more allocations, so many fail."""
        self._map[8:24] = struct.pack("=qq", run, 0)
        self._map[0:8] = struct.pack("=q", after)

    def enough(self):
        self._map[0:8] = struct.pack("=q", -1)

    @property
    def failed(self):
        return struct.unpack("=q", self._map[16:24])[0]

    @property
    def env(self):
        return {"LD_PRELOAD": str(BUILD / "tests/fault/nomem.so"), "TOVA_NOMEM": str(self.path)}
