"""A provider that plays an answer back, byte for byte and in pieces of any size, and breaks it as no provider should.

Which answer: requests hold a name, `play:<name>`, anywhere in their body, so that every dialect can ask and tests can share one upstream.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum

from tests.e2e.stack import LoopThread

_NAME = re.compile(rb"play:([a-z0-9-]+)")
_PATIENCE = 5.0
"""Seconds that a paced answer waits for a piece to arrive before it goes on unpaced."""


class End(Enum):
    """What happens behind the last byte."""

    CLEAN = "clean"
    CLOSE = "close"
    """The connection is closed in the middle of the message."""
    RESET = "reset"
    """The same, with a RST in place of a FIN."""


@dataclass(frozen=True)
class Take:
    """An answer. `size` is how many bytes are written at a time (0: all). `paced`: the next piece goes when the one before has arrived (`arrived`).
    `length` None: chunked; else what the header claims. `pause` is in seconds, between the last byte and the end."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    size: int = 0
    paced: bool = False
    length: int | None = None
    pause: float = 0.0
    end: End = End.CLEAN


class _Awaited:
    """A piece under way."""

    def __init__(self, piece: bytes) -> None:
        self.piece = piece
        self.news = asyncio.Event()

    async def arrives(self) -> bool:
        """False where the proxy has let go of an answer and shows nobody the rest."""
        try:
            async with asyncio.timeout(_PATIENCE):
                await self.news.wait()
        except TimeoutError:
            return False
        return True


class ReplayUpstream:
    """`takes` by name, any time. `asked` counts the requests for each, `pieces` are those of the last paced answer that arrived by themselves."""

    def __init__(self, thread: LoopThread) -> None:
        self.pieces = 0
        self._awaited: _Awaited | None = None
        self.takes: dict[str, Take] = {}
        self.asked: dict[str, int] = {}
        self._thread = thread
        self._server = thread.do(self._start())
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _start(self) -> asyncio.Server:
        return await asyncio.start_server(self._connection, "127.0.0.1", 0)

    def play(self, name: str, take: Take) -> str:
        """The words that a request must hold to get `take`."""
        self.takes[name] = take
        self.asked[name] = 0
        return f"play:{name}"

    def arrived(self, data: bytes) -> None:
        """Whoever is behind the proxy has got `data` of an answer. From any thread."""
        self._thread.loop.call_soon_threadsafe(self._look, data)

    def _look(self, data: bytes) -> None:
        if self._awaited is not None and not self._awaited.news.is_set() and data.endswith(self._awaited.piece):
            self.pieces += 1
            self._awaited.news.set()

    def close(self) -> None:
        self._thread.call(self._server.close)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._exchange(reader, writer):
                pass
        writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; False where the connection is at its end."""
        head = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        body = await reader.readexactly(int(found[1])) if found else await self._chunks(reader)
        named = _NAME.search(body) or _NAME.search(head)
        name = named[1].decode() if named else ""
        take = self.takes.get(name, Take(b'{"error": "nobody knows this name"}', 404))
        self.asked[name] = self.asked.get(name, 0) + 1

        lines = [f"HTTP/1.1 {take.status} Said", f"content-type: {take.content_type}", *(f"{k}: {v}" for k, v in take.headers.items())]
        lines.append("transfer-encoding: chunked" if take.length is None else f"content-length: {take.length}")
        writer.write("\r\n".join([*lines, "", ""]).encode())
        paced, self.pieces = take.paced, 0
        size = take.size or max(len(take.body), 1)
        for place in range(0, len(take.body), size):
            piece = take.body[place : place + size]
            awaited = _Awaited(piece)
            if paced:
                self._awaited = awaited
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if take.length is None else piece)
            await writer.drain()
            paced = paced and await awaited.arrives()
        await asyncio.sleep(take.pause)
        if take.end is End.RESET:
            connection: socket.socket = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return False
        if take.end is End.CLOSE:
            return False
        if take.length is None:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    @staticmethod
    async def _chunks(reader: asyncio.StreamReader) -> bytes:
        body = bytearray()
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return bytes(body)


@contextmanager
def running_replay() -> Iterator[ReplayUpstream]:
    thread = LoopThread()
    upstream = ReplayUpstream(thread)
    try:
        yield upstream
    finally:
        upstream.close()
        thread.close()
