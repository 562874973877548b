"""One stream of an HTTP/2 connection: what is sent on it, as far as the peer's windows let it, and what the peer may send."""

from __future__ import annotations

from typing import Protocol

from extproc.edge.http2_frames import Code, Flag, Kind, frame, frame_head

STREAM_WINDOW = 1 << 20
"""Bytes that a peer may send on a stream before someone reads them."""


class Link(Protocol):
    """The connection, as its streams see it: `send_window` and `max_frame` are the peer's; a stream that waits for a window is in `blocked`."""

    send_window: int
    max_frame: int
    streams: dict[int, Stream]
    blocked: dict[int, Stream]

    def send(self, data: bytes) -> None: ...

    def send_block(self, flags: int, stream_id: int, block: bytes) -> None: ...


class Receiver(Protocol):
    """Who gets what arrives on a stream."""

    def data(self, piece: memoryview, ended: bool) -> None:
        """A part of the body, valid during the call; `ended` with the last one, which may be empty. Answer with `Stream.consumed`."""

    def reset(self) -> None:
        """The peer has cancelled the stream, or the connection is gone."""

    def writable(self) -> None:
        """Data that had to wait has been sent."""


class Stream:
    """One stream: what may be sent and received on it. Everything sent on a closed stream is dropped.

    `backlog` is the number of bytes that wait for the peer's window.
    """

    __slots__ = ("_connection", "_credit", "_pending", "_trailers", "closed", "id", "receive_window", "receiver", "remote_ended", "send_window")

    def __init__(self, connection: Link, stream_id: int, send_window: int) -> None:
        self._connection = connection
        self._pending = bytearray()
        self._trailers: bytes | None = None
        self._credit = 0
        self.id = stream_id
        self.send_window = send_window
        self.receive_window = STREAM_WINDOW
        self.remote_ended = False
        self.closed = False
        self.receiver: Receiver | None = None

    @property
    def backlog(self) -> int:
        return len(self._pending)

    def send_headers(self, block: bytes) -> None:
        """The answer's header block."""
        if not self.closed:
            self._connection.send_block(0, self.id, block)

    def send_data(self, prefix: bytes, data: bytes) -> None:
        """`prefix` and `data`, one after the other, as far as the windows let them now, the rest when they do."""
        if self.closed or self._trailers is not None:
            return
        connection = self._connection
        size = len(prefix) + len(data)
        if not self._pending and size <= self.send_window and size <= connection.send_window and size <= connection.max_frame:
            self.send_window -= size
            connection.send_window -= size
            connection.send(frame_head(size, Kind.DATA, 0, self.id) + prefix)
            connection.send(data)
            return
        self._pending += prefix
        self._pending += data
        self.pump()

    def pump(self) -> None:
        """Send what the windows allow of what is waiting."""
        connection = self._connection
        pending = self._pending
        while pending:
            size = min(connection.max_frame, len(pending), self.send_window, connection.send_window)
            if size <= 0:
                connection.blocked[self.id] = self
                return
            connection.send(frame(Kind.DATA, 0, self.id, bytes(pending[:size])))
            del pending[:size]
            self.send_window -= size
            connection.send_window -= size
        if self._trailers is not None:
            self._end(self._trailers)
        elif self.receiver is not None:
            self.receiver.writable()

    def end(self, block: bytes) -> None:
        """The answer's end, after all its data: trailers, or headers without a body."""
        if self.closed or self._trailers is not None:
            return
        if self._pending:
            self._trailers = block
        else:
            self._end(block)

    def _end(self, block: bytes) -> None:
        self._connection.send_block(Flag.END_STREAM, self.id, block)
        if not self.remote_ended:
            # the answer is whole, and what else the peer would send is not wanted (RFC 9113, 8.1)
            self._connection.send(frame(Kind.RST_STREAM, 0, self.id, Code.NO_ERROR.to_bytes(4, "big")))
        self.close()

    def close(self) -> Receiver | None:
        """Forget the stream; returns who listened to it."""
        receiver, self.receiver = self.receiver, None
        self.closed = True
        self._pending.clear()
        self._connection.streams.pop(self.id, None)
        self._connection.blocked.pop(self.id, None)
        return receiver

    def consumed(self, size: int) -> None:
        """`size` bytes of what arrived are no longer held: the peer may send as many more."""
        self._credit += size
        if self._credit >= STREAM_WINDOW // 2 and not self.remote_ended and not self.closed:
            self.receive_window += self._credit
            self._connection.send(frame(Kind.WINDOW_UPDATE, 0, self.id, self._credit.to_bytes(4, "big")))
            self._credit = 0
