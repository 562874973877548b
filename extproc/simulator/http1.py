"""The server side of HTTP/1.1 on an asyncio transport: requests in whole, raw bytes out.

Own code rather than h11 because most faults are answers that no correct HTTP library agrees to write (a body shorter than its
content-length, chunks without their end), and because a benchmark must not end up measuring its upstream: one exchange costs 9 µs of CPU
here, 77 µs with h11.
Reads content-length and chunked bodies (RFC 9112 sections 6 and 7), keeps connections alive, answers `Expect: 100-continue`, takes
pipelined requests one by one, and bounds heads (64 KB) and bodies (100 MB).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Coroutine
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Protocol, cast

MAX_HEAD = 64 << 10
MAX_BODY = 100 << 20
_CRLF = b"\r\n"
_REASONS = {s.value: s.phrase for s in HTTPStatus} | {529: "Site is overloaded"}
_LINGER_NONE = struct.pack("ii", 1, 0)


class Malformed(Exception):  # noqa: N818 - the name of the condition
    """The bytes are no HTTP/1.1 request, or one past the limits. Holds the status to answer with."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class Request:
    """One request. `headers` have lower-case names, repeated ones are joined by a comma. `target` is the raw request target."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""
    keep_alive: bool = True

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]


class Owner(Protocol):
    """What a connection needs of its server."""

    connections: set[Connection]

    def read_rate(self, request: Request) -> float | None:
        """Bytes per second to read this request's body at; None: as fast as it comes. Asked once, when the head is there."""
        ...

    def respond(self, request: Request, connection: Connection) -> Coroutine[Any, Any, None] | None:
        """Writes the answer to `connection`: at once, or in the coroutine that it returns."""
        ...


def response_head(status: int, headers: list[tuple[str, str]], length: int | None) -> bytes:
    """Status line and headers, with a date; framed by content-length, or chunked when `length` is None."""
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}", f"date: {formatdate(usegmt=True)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines.append("transfer-encoding: chunked" if length is None else f"content-length: {length}")
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body. Empty data gives nothing: an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


LAST_CHUNK = b"0\r\n\r\n"


def parse_head(raw: bytes) -> Request:
    """The head without its final blank line. Raises `Malformed`."""
    lines = raw.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise Malformed(400, "malformed request line")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise Malformed(400, "malformed header line")
        name = name.lower()
        value = value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    close = headers.get("connection", "").lower() == "close" or parts[2] == "HTTP/1.0"
    return Request(parts[0], parts[1], headers, keep_alive=not close)


class _ChunkedBody:
    """Decodes a chunked body out of a growing buffer. `take` returns true when the body is whole."""

    __slots__ = ("_left", "_trailers", "parts", "size")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self._left = -1
        self._trailers = False

    def take(self, buffer: bytearray) -> bool:
        while True:
            if self._left > 0:
                if not buffer:
                    return False
                piece = bytes(buffer[: self._left])
                del buffer[: len(piece)]
                self.parts.append(piece)
                self._left -= len(piece)
                continue
            if self._left == 0:
                if len(buffer) < 2:
                    return False
                if buffer[:2] != _CRLF:
                    raise Malformed(400, "a chunk does not end with CRLF")
                del buffer[:2]
                self._left = -1
            end = buffer.find(_CRLF)
            if end < 0:
                if len(buffer) > MAX_HEAD:
                    raise Malformed(400, "a chunk header or trailer is too long")
                return False
            line = bytes(buffer[:end])
            del buffer[: end + 2]
            if self._trailers:
                if not line:
                    return True
                continue
            try:
                self._left = int(line.partition(b";")[0], 16)
            except ValueError:
                raise Malformed(400, "malformed chunk size") from None
            if self._left < 0:
                raise Malformed(400, "malformed chunk size")
            self.size += self._left
            if self.size > MAX_BODY:
                raise Malformed(413, f"the body is larger than {MAX_BODY} bytes")
            if self._left == 0:
                self._trailers = True
                self._left = -1


class Connection(asyncio.Protocol):
    """One client connection. `gone` is set when it is lost, by either side."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._buffer = bytearray()
        self._request: Request | None = None
        self._parts: list[bytes] = []
        self._missing = 0
        self._chunked: _ChunkedBody | None = None
        self._rate: float | None = None
        self._busy = False
        self.task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self.gone = asyncio.Event()
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._owner.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._owner.connections.discard(self)
        self.gone.set()
        self._writable.set()
        if self.task is not None:
            self.task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        if self._missing and not self._buffer:
            self._body_bytes(data)
        else:
            self._buffer += data
        if self._busy:
            # a pipelined request waits its turn without filling memory
            if len(self._buffer) > MAX_HEAD:
                self.transport.pause_reading()
            return
        self._advance()
        if self._rate and not self._busy:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(len(data) / self._rate, self._resume)

    # -- reading

    def _resume(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def _advance(self) -> None:
        """Parses as far as the bytes go, and starts the answers of whole requests."""
        try:
            while not self._busy and not self.transport.is_closing():
                if self._request is None and not self._head():
                    return
                if not self._whole():
                    return
                self._start()
        except Malformed as problem:
            text = str(problem).encode()
            head = response_head(problem.status, [("content-type", "text/plain"), ("connection", "close")], len(text))
            self.transport.write(head + text)
            self.transport.close()

    def _head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                raise Malformed(431, "the request head is too large")
            return False
        if end > MAX_HEAD:
            raise Malformed(431, "the request head is too large")
        request = parse_head(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        self._request = request
        self._parts = []
        self._missing = 0
        self._chunked = None
        if request.headers.get("transfer-encoding", "").lower() == "chunked":
            self._chunked = _ChunkedBody()
        else:
            length = request.headers.get("content-length", "0")
            if not (length.isascii() and length.isdecimal()):
                raise Malformed(400, "malformed content-length")
            self._missing = int(length)
            if self._missing > MAX_BODY:
                raise Malformed(413, f"the body is larger than {MAX_BODY} bytes")
        self._rate = self._owner.read_rate(request)
        if request.headers.get("expect", "").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def _body_bytes(self, data: bytes) -> None:
        if len(data) > self._missing:
            self._buffer += data[self._missing :]
            data = data[: self._missing]
        self._parts.append(data)
        self._missing -= len(data)

    def _whole(self) -> bool:
        if self._chunked is not None:
            return self._chunked.take(self._buffer)
        if self._missing and self._buffer:
            data = bytes(self._buffer[: self._missing])
            del self._buffer[: len(data)]
            self._body_bytes(data)
        return not self._missing

    def _start(self) -> None:
        request = self._request
        assert request is not None
        parts = self._chunked.parts if self._chunked is not None else self._parts
        request.body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._request, self._chunked, self._parts, self._rate = None, None, [], None
        coroutine = self._owner.respond(request, self)
        if coroutine is None:
            if not request.keep_alive:
                self.transport.close()
            return
        self._busy = True
        self.task = asyncio.get_running_loop().create_task(coroutine)
        self.task.add_done_callback(lambda task: self._answered(task, keep_alive=request.keep_alive))

    def _answered(self, task: asyncio.Task[None], *, keep_alive: bool) -> None:
        self._busy = False
        self.task = None
        if task.cancelled():
            self.transport.abort()
            return
        problem = task.exception()
        if problem is not None:
            asyncio.get_running_loop().call_exception_handler({"message": "the simulator failed to answer", "exception": problem, "task": task})
            self.transport.abort()
        elif not keep_alive:
            self.transport.close()
        elif not self.transport.is_closing():
            self.transport.resume_reading()
            self._advance()

    # -- writing

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    async def drain(self) -> None:
        """Waits until the client has taken enough of what was written."""
        await self._writable.wait()

    async def sent(self) -> None:
        """Waits until all that was written has gone to the kernel."""
        self.transport.set_write_buffer_limits(0)
        await self._writable.wait()

    def close(self) -> None:
        """Ends the connection after what was written: whatever framing was promised stays unfinished."""
        self.transport.close()

    def reset(self) -> None:
        """Ends the connection at once with a TCP reset (on a Unix socket: without one)."""
        raw = self.transport.get_extra_info("socket")
        if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        self.transport.abort()
