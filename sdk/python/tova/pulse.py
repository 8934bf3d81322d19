"""Tells the host that this process lives while a handler keeps its event loop busy: from a thread of its own."""
from __future__ import annotations

import threading

PERIOD = 2.5  # seconds; the host asks after 10 s of silence, and waits for at least as long


class Pulse:
    def __init__(self, loop, link):
        """link: a function that returns the welcomed link, or None."""
        self._loop = loop
        self._link = link
        self._ended = threading.Event()
        self._beat = threading.Event()  # the loop has turned since it was asked to
        self._thread = threading.Thread(target=self._run, name="tova-pulse", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ended.set()

    def _run(self) -> None:
        self._beat.set()
        while not self._ended.wait(PERIOD):
            link = self._link()
            if link is None:
                continue
            if not self._beat.is_set():
                link.pong()
                continue
            self._beat.clear()
            try:
                self._loop.call_soon_threadsafe(self._beat.set)
            except RuntimeError:
                return  # the loop is closed
