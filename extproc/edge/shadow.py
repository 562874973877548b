"""Sends copies of requests through Envoy in the background: few at a time, a bounded queue, no retries; what there is no room for is counted and
left.

Its own door is a Unix socket, so no credential of a client is needed (there is none left), and an answer is read to its end and dropped as it
comes: what it was like is in the log line and the span of the copy itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque

import httpx

from extproc.stages.shadow import HEADER, Copy

log = logging.getLogger(__name__)

AT_ONCE = 4
WAITING = 64
WAITING_BYTES = 16 << 20
LONGEST = 300.0
"""Seconds that one copy may take."""
_OVERFLOW_EVERY = 1000
"""A line in the log for the first copy that finds no room, and then for every so many."""


class Shadows:
    """`socket` is the path of Envoy's shadow door. `send` never waits; `run` is the worker, until cancelled."""

    def __init__(self, socket: str, *, at_once: int = AT_ONCE) -> None:
        self._socket = socket
        self._queue: deque[tuple[Copy, str]] = deque()
        self._bytes = 0
        self._news = asyncio.Event()
        self._at_once = at_once
        self.sent = 0
        self.left_out = 0
        self.failed = 0

    def send(self, copy: Copy, header: str) -> None:
        """Queue one copy; `header` is its `x-llm-shadow`."""
        if len(self._queue) >= WAITING or self._bytes + len(copy.body) > WAITING_BYTES:
            if self.left_out % _OVERFLOW_EVERY == 0:
                log.warning("shadow requests are left out: too many are waiting", extra={"left_out": self.left_out + 1, "waiting": len(self._queue)})
            self.left_out += 1
            return
        self._queue.append((copy, header))
        self._bytes += len(copy.body)
        self._news.set()

    async def run(self) -> None:
        transport = httpx.AsyncHTTPTransport(uds=self._socket)
        async with httpx.AsyncClient(transport=transport, base_url="http://llm.internal", timeout=httpx.Timeout(LONGEST)) as client:
            workers = [asyncio.create_task(self._work(client)) for _ in range(self._at_once)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, client: httpx.AsyncClient) -> None:
        while True:
            while not self._queue:
                self._news.clear()
                await self._news.wait()
            copy, header = self._queue.popleft()
            self._bytes -= len(copy.body)
            try:
                async with asyncio.timeout(LONGEST):
                    await self._copy(client, copy, header)
                self.sent += 1
            except (httpx.HTTPError, OSError, TimeoutError) as error:
                # how the copy ended is in its own line; that it could not even be sent is said here
                self.failed += 1
                log.info("a shadow request was broken off", extra={"target": copy.target, "error": type(error).__name__})

    async def _copy(self, client: httpx.AsyncClient, copy: Copy, header: str) -> None:
        headers = {**copy.headers, HEADER: header}
        async with client.stream(copy.method, copy.path, headers=headers, content=copy.body) as response:
            with contextlib.suppress(httpx.StreamError):
                async for _ in response.aiter_raw():
                    pass
