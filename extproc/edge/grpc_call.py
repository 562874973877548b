"""One gRPC call on a stream of HTTP/2, as its handler sees it: messages in and out, and a status at the end.

A call is a task. Its handler reads and writes; it returns for OK and aborts for another status; it is cancelled when the peer resets the call
or is gone.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
import urllib.parse
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NoReturn, Protocol

from google.protobuf.message import DecodeError

from extproc.edge.hpack import encode
from extproc.edge.http2_stream import Stream

log = logging.getLogger(__name__)

HIGH_WATER = 64 << 10
"""Bytes of a call that may wait for the peer before a write does."""
MAX_REASON = 1000
"""Characters of a status message."""

HEADERS = encode([(b":status", b"200"), (b"content-type", b"application/grpc")])
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


class Status(IntEnum):
    """The statuses of gRPC that a server of ours sends."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    RESOURCE_EXHAUSTED = 8
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class Aborted(Exception):  # noqa: N818 - no error: the handler has ended its call
    """Raised by `Rpc.abort` to leave the handler; the status is on its way."""


class Message(Protocol):
    """A protobuf message."""

    def SerializeToString(self) -> bytes: ...  # noqa: N802 - protobuf's name


@dataclass(frozen=True, slots=True)
class Method:
    """`read` makes a message of its bytes; it raises DecodeError for what is none."""

    handler: Callable[[Rpc], Awaitable[None]]
    read: Callable[[bytes], Any]


_TRAILERS_OK = encode([(b"grpc-status", b"0")])


def trailers(status: Status, reason: str) -> bytes:
    """The header block at the end of a call; behind HEADERS if there is nothing else in it."""
    if status is Status.OK:
        return _TRAILERS_OK
    message = urllib.parse.quote(reason[:MAX_REASON], safe=_PRINTABLE, errors="replace").encode()
    return encode([(b"grpc-status", str(int(status)).encode()), (b"grpc-message", message)])


class Link(Protocol):
    """The connection, as its calls see it. `paused`: the socket takes no more; `calls`: those whose handlers run; `max_message`: in bytes."""

    loop: asyncio.AbstractEventLoop
    paused: bool
    calls: dict[asyncio.Task[None], Rpc]
    max_message: int


class Rpc:
    """One call, as its handler sees it. Messages are read and written by the handler's task only."""

    __slots__ = (
        "_begun", "_cancelled", "_ended", "_headers", "_held", "_link", "_messages", "_method", "_partial", "_room", "_stream", "_task", "_waiter",
    )  # fmt: skip

    def __init__(self, link: Link, stream: Stream, headers: Mapping[bytes, bytes], method: Method) -> None:
        self._link = link
        self._stream = stream
        self._headers = headers
        self._method = method
        self._messages: deque[bytes] = deque()
        self._partial = bytearray()
        self._held = 0
        self._ended = stream.remote_ended
        self._begun = False
        self._cancelled = False
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Run the handler."""
        self._task = self._link.loop.create_task(self._run())
        self._link.calls[self._task] = self
        self._task.add_done_callback(self._over)

    def cancel(self) -> None:
        """Once: a handler that is cancelled may need time for its end, and is not to be disturbed in it."""
        if self._task is not None and not self._cancelled:
            self._cancelled = True
            self._task.cancel()

    # for the handler

    def metadata(self, name: str) -> str:
        """A header of the call; empty if it has none of this name, which is in lower case."""
        return self._headers.get(name.encode(), b"").decode("latin-1")

    async def read(self) -> Any:
        """The next message, or None after the last. A read that is cancelled loses nothing."""
        while not self._messages:
            if self._ended:
                return None
            self._waiter = self._link.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        data = self._messages.popleft()
        if not self._messages:
            self._release()
        try:
            return self._method.read(data)
        except DecodeError:
            self.abort(Status.INTERNAL, "a message that cannot be decoded")

    async def write(self, message: Message) -> None:
        """Waits while the peer does not fetch what was written before."""
        data = message.SerializeToString()
        if not self._begun:
            self._begun = True
            self._stream.send_headers(HEADERS)
        self._stream.send_data(b"\0" + len(data).to_bytes(4, "big"), data)
        while not self._stream.closed and (self._stream.backlog > HIGH_WATER or self._link.paused):
            self._room = self._link.loop.create_future()
            try:
                await self._room
            finally:
                self._room = None

    def abort(self, status: Status, reason: str) -> NoReturn:
        """End the call with a status other than OK."""
        self._finish(status, reason)
        raise Aborted(status.name)

    # for the stream

    def data(self, piece: memoryview, ended: bool) -> None:
        self._held += len(piece)
        self._ended = ended
        try:
            self._split(piece)
        except Aborted:
            self.reset()
            return
        if not self._messages:
            self._release()
        if (self._messages or ended) and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def reset(self) -> None:
        self.cancel()
        self.writable()

    def writable(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _split(self, piece: memoryview) -> None:
        """Cut what has arrived into messages: a flag, four bytes of length, and as many bytes."""
        whole: memoryview | bytearray = piece
        if self._partial:
            self._partial += piece
            whole = self._partial
        at, end = 0, len(whole)
        while end - at >= 5:
            size = int.from_bytes(whole[at + 1 : at + 5], "big")
            if whole[at]:
                self.abort(Status.UNIMPLEMENTED, "compressed messages are not taken")
            if size > self._link.max_message:
                self.abort(Status.RESOURCE_EXHAUSTED, f"a message of {size} bytes, with {self._link.max_message} allowed")
            if end - at - 5 < size:
                break
            self._messages.append(bytes(whole[at + 5 : at + 5 + size]))
            at += 5 + size
        if whole is piece:
            self._partial += piece[at:]
        elif at == end:
            # a large message's memory is not kept for the rest of the call
            self._partial = bytearray()
        else:
            del self._partial[:at]
        if self._ended and self._partial:
            self.abort(Status.INTERNAL, "the call ended within a message")

    def _release(self) -> None:
        """No unread message is held: the peer may send more. What there is of the next one is limited by a message's size."""
        self._stream.consumed(self._held)
        self._held = 0

    async def _run(self) -> None:
        try:
            await self._method.handler(self)
            self._finish(Status.OK, "")
        except Aborted:
            pass
        except asyncio.CancelledError:
            # a task that is cancelled has nobody to tell; the peer, if it is still there, has
            self._finish(Status.UNAVAILABLE, "the server is shutting down")
        except Exception as bug:  # noqa: BLE001 - it costs this call, whatever it is
            # the text of an exception may quote a prompt: only where it happened is logged
            frames = [f"{f.filename.rpartition('/extproc/')[2]}:{f.lineno} {f.name}" for f in traceback.extract_tb(bug.__traceback__)]
            log.error("a bug in the server failed a call", extra={"exception": type(bug).__name__, "frames": frames})  # noqa: TRY400
            self._finish(Status.INTERNAL, "internal error")

    def _over(self, task: asyncio.Task[None]) -> None:
        # also of a task that was cancelled before it began, and holds its frame
        self._task = None
        del self._link.calls[task]

    def _finish(self, status: Status, reason: str) -> None:
        block = trailers(status, reason)
        self._stream.end(block if self._begun else HEADERS + block)
        self._begun = True
