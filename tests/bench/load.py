"""A closed-loop load generator on bare sockets: each connection sends its next request when it has the last answer."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_LAST_CHUNK = b"\r\n0\r\n\r\n"
_PATIENCE = 300.0
"""Seconds after which a run is given up."""


def request(path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """A POST on a kept connection."""
    lines = [f"POST {path} HTTP/1.1", "host: llm.internal", "content-type: application/json", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass(slots=True)
class Outcome:
    """`latencies` in seconds, of complete answers with status 200; `failed` counts the others by status, or by what happened."""

    latencies: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def done(self) -> int:
        return len(self.latencies) + sum(self.failed.values())


class _Connection(asyncio.Protocol):
    """`next_request` None ends it. The body is looked at only for its end."""

    def __init__(self, next_request: Callable[[], bytes | None], outcome: Outcome) -> None:
        self._next = next_request
        self._outcome = outcome
        self._transport: Any = None
        self._head = b""
        self._tail = b""
        self._left = -1
        self._status = ""
        self._began = 0.0
        self.more = False
        """The server closes the connection, and there is more to ask."""
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def go(self) -> None:
        data = self._next()
        if data is None:
            self._began = 0.0
            self._transport.close()
            return
        self._head, self._tail, self._left, self._status = b"", b"", -1, ""
        self._began = time.perf_counter()
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        if not self._status:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data = self._head[:end].lower(), self._head[end + 4 :]
            self._status = head[9:12].decode()
            _, found, length = head.partition(b"content-length: ")
            self._left = int(length.partition(b"\r")[0]) if found else -1
            self.more = b"\r\nconnection: close" in head
            self._tail = b"\r\n"
        if self._left >= 0:
            self._left -= len(data)
            if self._left > 0:
                return
        else:
            self._tail = (self._tail + data)[-len(_LAST_CHUNK) :] if len(data) < len(_LAST_CHUNK) else data[-len(_LAST_CHUNK) :]
            if self._tail != _LAST_CHUNK:
                return
        if self._status == "200":
            self._outcome.latencies.append(time.perf_counter() - self._began)
        else:
            self._outcome.failed[self._status] += 1
        if self.more:
            self._began = 0.0
            self._transport.close()
        else:
            self.go()

    def connection_lost(self, error: Exception | None) -> None:
        if self._began:
            self._outcome.failed[f"connection lost: {type(error).__name__}"] += 1
        if not self.over.done():
            self.over.set_result(None)


async def closed_loop(path: str, next_request: Callable[[], bytes | None], connections: int) -> Outcome:
    """Runs until `next_request` has given every connection None, on the Unix socket `path`. A connection that breaks in an answer is not replaced."""
    loop = asyncio.get_running_loop()
    outcome = Outcome()

    async def connect() -> _Connection:
        return (await loop.create_unix_connection(lambda: _Connection(next_request, outcome), path))[1]

    async def drive(connection: _Connection) -> None:
        connection.go()
        await connection.over
        while connection.more:
            connection = await connect()
            connection.go()
            await connection.over

    made = [await connect() for _ in range(connections)]
    began = time.perf_counter()
    await asyncio.wait_for(asyncio.gather(*map(drive, made)), _PATIENCE)
    outcome.seconds = time.perf_counter() - began
    return outcome


class For:
    """Gives `data` for `seconds` from the first request on."""

    def __init__(self, data: bytes, seconds: float) -> None:
        self._data = data
        self._seconds = seconds
        self._end = 0.0

    def __call__(self) -> bytes | None:
        now = time.perf_counter()
        self._end = self._end or now + self._seconds
        return self._data if now < self._end else None


class Times:
    """Gives each of `data` in turn, `count` requests in all."""

    def __init__(self, data: list[bytes], count: int) -> None:
        self._data = data
        self._left = count

    def __call__(self) -> bytes | None:
        if not self._left:
            return None
        self._left -= 1
        return self._data[self._left % len(self._data)]
