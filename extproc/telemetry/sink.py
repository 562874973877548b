"""Writing lines to stdout without ever making a request wait for whoever reads them.

A pipe that nobody reads blocks its writer. (O_NONBLOCK is no way out: the flag belongs to the open file, which the terminal or a sibling process
shares.) So lines go into a bounded queue, and one thread writes them, many at a time. A full queue loses the new line and counts it; the count is
written as a line of its own as soon as there is room.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque

import orjson

CAPACITY = 4096
"""Lines that may wait: under 10 MB at the size that lines can have."""

_LINGER = 0.02
"""Seconds that the thread waits for more lines behind the first one: one wake-up for a burst instead of one per line."""


class LineSink:
    """Lines to a file descriptor. `write` never blocks and may be called from any thread; `close` ends the thread."""

    def __init__(self, fd: int, capacity: int = CAPACITY, linger: float = _LINGER) -> None:
        self._fd = fd
        self._capacity = capacity
        self._linger = linger
        self._lines: deque[bytes] = deque()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._broken = False
        self._reported = 0
        self.dropped = 0
        """Lines lost so far, because the queue was full or the reader is gone."""
        self._thread = threading.Thread(target=self._run, name="log-lines", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Queues `line`, which ends with a newline."""
        if self._broken or len(self._lines) >= self._capacity:
            self.dropped += 1
            return
        self._lines.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def close(self, timeout: float = 1.0) -> bool:
        """Writes what is queued, for at most `timeout` seconds; False if that was not enough."""
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            self._stop.wait(self._linger)
            self._wake.clear()
            self._drain()
        self._drain()

    def _drain(self) -> None:
        lines = self._lines
        while lines and not self._broken:
            batch = [lines.popleft() for _ in range(min(len(lines), 256))]
            lost = self.dropped - self._reported
            if lost:
                self._reported += lost
                batch.append(orjson.dumps({"level": "warn", "type": "process", "message": "log lines lost", "count": lost}) + b"\n")
            self._write_all(b"".join(batch))

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                try:
                    view = view[os.write(self._fd, view) :]
                except BlockingIOError:  # somebody who shares the file made it non-blocking
                    select.select([], [self._fd], [])
        except OSError:
            # the reader is gone for good: what comes from now on is counted as lost
            self._broken = True
            self.dropped += data.count(b"\n") + len(self._lines)
            self._lines.clear()
