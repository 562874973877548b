"""One HTTP/2 connection from the server's side (RFC 9113), without I/O: bytes in, calls on streams out, bytes to send in a list.

It is what gRPC needs of HTTP/2 and no more: no push, no priorities, no upgrade from HTTP/1. Whatever the peer gets wrong ends in a GOAWAY with
the code that the RFC names, or in the reset of one stream: `receive` does not raise. All that a peer can make us keep is limited: frames,
header blocks, streams, replies that it does not fetch, and, by flow control, data that nobody has read.
"""

from __future__ import annotations

from collections.abc import Callable

from extproc.edge.hpack import MAX_LIST, NO_TABLE, TABLE_SIZE, Decoder, HeaderListTooLarge, Headers, HpackError
from extproc.edge.http2_frames import DEFAULT_WINDOW, MAX_WINDOW, MIN_FRAME, PREFACE, Code, Flag, Kind, Setting, frame, read_settings, settings
from extproc.edge.http2_stream import STREAM_WINDOW, Stream

MAX_FRAME = 1 << 20
"""Bytes of a frame's payload that we take: large bodies come in few frames."""
MAX_BLOCK = 64 << 10
"""Bytes of a header block over all its frames."""
MAX_STREAMS = 10_000
CONNECTION_WINDOW = 1 << 30
"""As good as none: what is kept is kept by streams, which have their own windows."""
MAX_REPLIES = 10_000
"""Replies (to pings, settings, refused streams) that may wait to be sent; a peer that sends on and does not fetch them means no good."""


class Violation(Exception):  # noqa: N818 - it is the peer's, and ends the connection
    """The peer broke the protocol: the connection ends with `code`."""

    def __init__(self, code: Code) -> None:
        self.code = code


class Connection:
    """`accept` gets each new stream with its headers, and sets the stream's receiver or ends it. `wake` is called when `take` has something to give.

    `leaving`: no new streams are taken. `closed`: every stream has been reset, and nothing that arrives is looked at.
    """

    def __init__(self, accept: Callable[[Stream, Headers], None], wake: Callable[[], None]) -> None:
        self._accept = accept
        self._wake = wake
        self._rest = bytearray()
        self._needed = len(PREFACE)
        self._begun = False
        self._settled = False
        self._out: list[bytes] = []
        self._decoder = Decoder(MAX_LIST)
        self._block: bytearray | None = None
        self._block_stream = 0
        self._block_flags = 0
        self._last = 0
        self._initial_window = DEFAULT_WINDOW
        self._receive_window = CONNECTION_WINDOW
        self._replies = 0
        self._tableless = False
        self._size_update = b""
        self._table = (
            self._data, self._headers, self._priority, self._rst_stream, self._settings, self._push_promise, self._ping, self._goaway,
            self._window_update, self._continuation,
        )  # fmt: skip
        self.streams: dict[int, Stream] = {}
        self.blocked: dict[int, Stream] = {}
        self.send_window = DEFAULT_WINDOW
        self.max_frame = MIN_FRAME
        self.leaving = False
        self.closed = False

    @property
    def over(self) -> bool:
        """Is there nothing left to do here but to send what `take` gives?"""
        return self.closed or (self.leaving and not self.streams)

    def begin(self) -> None:
        """Our settings, as the first thing on the connection."""
        ours = {
            Setting.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
            Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            Setting.MAX_FRAME_SIZE: MAX_FRAME,
            Setting.MAX_HEADER_LIST_SIZE: MAX_LIST,
        }
        self.send(settings(ours))
        self.send(frame(Kind.WINDOW_UPDATE, 0, 0, (CONNECTION_WINDOW - DEFAULT_WINDOW).to_bytes(4, "big")))

    def receive(self, data: bytes) -> None:
        """The next bytes from the peer, in any split."""
        if self.closed:
            return
        whole: bytes | bytearray = data
        if self._rest:
            self._rest += data
            whole = self._rest
        if len(whole) < self._needed:
            if whole is data:
                self._rest += data
            return
        try:
            at = self._frames(whole)
        except Violation as violation:
            self.abandon(violation.code)
            return
        self._rest = bytearray(memoryview(whole)[at:])

    def take(self, *, fetched: bool = True) -> bytes:
        """What is to be sent, once. `fetched`: the peer keeps up with fetching what it is sent."""
        if fetched:
            self._replies = 0
        data = b"".join(self._out)
        self._out.clear()
        return data

    def go_away(self) -> None:
        """Take no new streams; those that are open go on."""
        if not self.leaving and not self.closed:
            self.leaving = True
            self.send(self._farewell(Code.NO_ERROR))

    def abandon(self, code: Code) -> None:
        """End the connection with all its streams."""
        if not self.closed:
            self.send(self._farewell(code))
            self.lost()

    def lost(self) -> None:
        """The connection is gone, or is as good as gone."""
        self.closed = True
        self._rest = bytearray()
        for stream in tuple(self.streams.values()):
            receiver = stream.close()
            if receiver is not None:
                receiver.reset()

    def send(self, data: bytes) -> None:
        if not self._out:
            self._wake()
        self._out.append(data)

    def send_block(self, flags: int, stream_id: int, block: bytes) -> None:
        """A header block that fits into one frame."""
        self.send(frame(Kind.HEADERS, flags | Flag.END_HEADERS, stream_id, self._size_update + block))
        self._size_update = b""

    def _farewell(self, code: Code) -> bytes:
        return frame(Kind.GOAWAY, 0, 0, self._last.to_bytes(4, "big") + code.to_bytes(4, "big"))

    def _reply(self, data: bytes) -> None:
        self._replies += 1
        if self._replies > MAX_REPLIES:
            raise Violation(Code.ENHANCE_YOUR_CALM)
        self.send(data)

    def _reset(self, stream_id: int, code: Code) -> None:
        """One stream's end, for what the peer did on it."""
        self._reply(frame(Kind.RST_STREAM, 0, stream_id, code.to_bytes(4, "big")))
        stream = self.streams.get(stream_id)
        receiver = stream.close() if stream is not None else None
        if receiver is not None:
            receiver.reset()

    # from the peer

    def _frames(self, data: bytes | bytearray) -> int:
        """Handle the whole frames in `data`; returns where the rest begins."""
        view = memoryview(data)
        at, end = 0, len(data)
        if not self._begun:
            at = len(PREFACE)
            if view[:at] != PREFACE:
                raise Violation(Code.PROTOCOL_ERROR)
            self._begun = True
        while True:
            self._needed = 9
            if end - at < 9:
                return at
            size = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            if size > MAX_FRAME:
                raise Violation(Code.FRAME_SIZE_ERROR)
            if end - at < 9 + size:
                self._needed = 9 + size
                return at
            kind = data[at + 3]
            stream_id = int.from_bytes(view[at + 5 : at + 9], "big") & MAX_WINDOW
            if kind != Kind.SETTINGS and not self._settled:
                raise Violation(Code.PROTOCOL_ERROR)
            if self._block is not None and (kind != Kind.CONTINUATION or stream_id != self._block_stream):
                raise Violation(Code.PROTOCOL_ERROR)
            if kind < len(self._table):
                self._table[kind](data[at + 4], stream_id, view[at + 9 : at + 9 + size])
            at += 9 + size

    def _data(self, flags: int, stream_id: int, payload: memoryview) -> None:
        size = len(payload)
        self._receive_window -= size
        if self._receive_window < CONNECTION_WINDOW // 2:
            credit = CONNECTION_WINDOW - self._receive_window
            self.send(frame(Kind.WINDOW_UPDATE, 0, 0, credit.to_bytes(4, "big")))
            self._receive_window = CONNECTION_WINDOW
        stream = self.streams.get(stream_id)
        if stream is None:
            self._check_known(stream_id)
            return
        if stream.remote_ended:
            self._reset(stream_id, Code.STREAM_CLOSED)
            return
        stream.receive_window -= size
        if stream.receive_window < 0:
            raise Violation(Code.FLOW_CONTROL_ERROR)
        if flags & Flag.PADDED:
            payload = _unpadded(payload)
        stream.remote_ended = ended = bool(flags & Flag.END_STREAM)
        if stream.receiver is None:
            stream.consumed(size)
            return
        if len(payload) < size:
            stream.consumed(size - len(payload))
        stream.receiver.data(payload, ended)

    def _headers(self, flags: int, stream_id: int, payload: memoryview) -> None:
        if not stream_id & 1:
            raise Violation(Code.PROTOCOL_ERROR)
        if flags & Flag.PADDED:
            payload = _unpadded(payload)
        if flags & Flag.PRIORITY:
            if len(payload) < 5:
                raise Violation(Code.FRAME_SIZE_ERROR)
            if int.from_bytes(payload[:4], "big") & MAX_WINDOW == stream_id:
                raise Violation(Code.PROTOCOL_ERROR)
            payload = payload[5:]
        if flags & Flag.END_HEADERS:
            self._block_done(flags, stream_id, bytes(payload))
        else:
            self._block, self._block_stream, self._block_flags = bytearray(), stream_id, flags
            self._continuation(0, stream_id, payload)

    def _continuation(self, flags: int, stream_id: int, payload: memoryview) -> None:
        if self._block is None:
            raise Violation(Code.PROTOCOL_ERROR)
        self._block += payload
        if len(self._block) > MAX_BLOCK:
            raise Violation(Code.ENHANCE_YOUR_CALM)
        if flags & Flag.END_HEADERS:
            block, self._block = self._block, None
            self._block_done(self._block_flags, stream_id, bytes(block))

    def _block_done(self, flags: int, stream_id: int, block: bytes) -> None:
        if len(block) > MAX_BLOCK:
            raise Violation(Code.ENHANCE_YOUR_CALM)
        try:
            headers: Headers | None = self._decoder.decode(block)
        except HpackError:
            raise Violation(Code.COMPRESSION_ERROR) from None
        except HeaderListTooLarge:
            headers = None
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._trailers(stream, flags)
        elif stream_id > self._last:
            self._open(stream_id, flags, headers)
        # else the trailers of a stream that we have ended

    def _trailers(self, stream: Stream, flags: int) -> None:
        if stream.remote_ended:
            self._reset(stream.id, Code.STREAM_CLOSED)
        elif not flags & Flag.END_STREAM:
            self._reset(stream.id, Code.PROTOCOL_ERROR)
        else:
            stream.remote_ended = True
            if stream.receiver is not None:
                stream.receiver.data(memoryview(b""), True)

    def _open(self, stream_id: int, flags: int, headers: Headers | None) -> None:
        if self.leaving:
            self._reply(frame(Kind.RST_STREAM, 0, stream_id, Code.REFUSED_STREAM.to_bytes(4, "big")))
            return
        self._last = stream_id
        if headers is None:
            self._reset(stream_id, Code.ENHANCE_YOUR_CALM)
        elif len(self.streams) >= MAX_STREAMS:
            self._reset(stream_id, Code.REFUSED_STREAM)
        else:
            stream = self.streams[stream_id] = Stream(self, stream_id, self._initial_window)
            stream.remote_ended = bool(flags & Flag.END_STREAM)
            self._accept(stream, headers)

    def _check_known(self, stream_id: int) -> None:
        """Frames for a stream that has ended are late; for one that never began they are wrong."""
        if not stream_id & 1 or (stream_id > self._last and not self.leaving):
            raise Violation(Code.PROTOCOL_ERROR)

    def _priority(self, flags: int, stream_id: int, payload: memoryview) -> None:  # noqa: ARG002
        if not stream_id:
            raise Violation(Code.PROTOCOL_ERROR)
        if len(payload) != 5:
            raise Violation(Code.FRAME_SIZE_ERROR)

    def _rst_stream(self, flags: int, stream_id: int, payload: memoryview) -> None:  # noqa: ARG002
        if len(payload) != 4:
            raise Violation(Code.FRAME_SIZE_ERROR)
        stream = self.streams.get(stream_id)
        if stream is None:
            self._check_known(stream_id)
            return
        receiver = stream.close()
        if receiver is not None:
            receiver.reset()

    def _settings(self, flags: int, stream_id: int, payload: memoryview) -> None:
        if stream_id:
            raise Violation(Code.PROTOCOL_ERROR)
        if len(payload) % 6 or (flags & Flag.ACK and payload):
            raise Violation(Code.FRAME_SIZE_ERROR)
        if flags & Flag.ACK:
            if not self._settled:
                raise Violation(Code.PROTOCOL_ERROR)
            return
        self._settled = True
        for key, value in read_settings(payload):
            if key == Setting.INITIAL_WINDOW_SIZE:
                self._set_window(value)
            elif key == Setting.MAX_FRAME_SIZE:
                if not MIN_FRAME <= value < 1 << 24:
                    raise Violation(Code.PROTOCOL_ERROR)
                self.max_frame = value
            elif key == Setting.ENABLE_PUSH and value > 1:
                raise Violation(Code.PROTOCOL_ERROR)
            elif key == Setting.HEADER_TABLE_SIZE and value < TABLE_SIZE and not self._tableless:
                # we index nothing, but a table that shrinks has to be said to (RFC 7541, 4.2): ours to nothing, once
                self._tableless = True
                self._size_update = NO_TABLE
        self._reply(frame(Kind.SETTINGS, Flag.ACK, 0))
        self._unblock()

    def _set_window(self, value: int) -> None:
        if value > MAX_WINDOW:
            raise Violation(Code.FLOW_CONTROL_ERROR)
        change = value - self._initial_window
        self._initial_window = value
        for stream in self.streams.values():
            stream.send_window += change
            if stream.send_window > MAX_WINDOW:
                raise Violation(Code.FLOW_CONTROL_ERROR)

    def _push_promise(self, flags: int, stream_id: int, payload: memoryview) -> None:  # noqa: ARG002
        raise Violation(Code.PROTOCOL_ERROR)

    def _ping(self, flags: int, stream_id: int, payload: memoryview) -> None:
        if stream_id:
            raise Violation(Code.PROTOCOL_ERROR)
        if len(payload) != 8:
            raise Violation(Code.FRAME_SIZE_ERROR)
        if not flags & Flag.ACK:
            self._reply(frame(Kind.PING, Flag.ACK, 0, bytes(payload)))

    def _goaway(self, flags: int, stream_id: int, payload: memoryview) -> None:  # noqa: ARG002
        if stream_id:
            raise Violation(Code.PROTOCOL_ERROR)
        if len(payload) < 8:
            raise Violation(Code.FRAME_SIZE_ERROR)
        # it concerns streams that we would open; those of the peer go on, and then it is time to part
        self.go_away()

    def _window_update(self, flags: int, stream_id: int, payload: memoryview) -> None:  # noqa: ARG002
        if len(payload) != 4:
            raise Violation(Code.FRAME_SIZE_ERROR)
        change = int.from_bytes(payload, "big") & MAX_WINDOW
        if not stream_id:
            self.send_window += change
            if not change:
                raise Violation(Code.PROTOCOL_ERROR)
            if self.send_window > MAX_WINDOW:
                raise Violation(Code.FLOW_CONTROL_ERROR)
            self._unblock()
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            self._check_known(stream_id)
            return
        stream.send_window += change
        if not change:
            self._reset(stream_id, Code.PROTOCOL_ERROR)
        elif stream.send_window > MAX_WINDOW:
            self._reset(stream_id, Code.FLOW_CONTROL_ERROR)
        elif stream.backlog:
            stream.pump()

    def _unblock(self) -> None:
        """A larger window: each stream that waits gets its turn; who is not done goes to the end of the line."""
        waiting, self.blocked = self.blocked, {}
        for stream in waiting.values():
            if not stream.closed:
                stream.pump()


def _unpadded(payload: memoryview) -> memoryview:
    if not payload:
        raise Violation(Code.FRAME_SIZE_ERROR)
    end = len(payload) - payload[0]
    if end < 1:
        raise Violation(Code.PROTOCOL_ERROR)
    return payload[1:end]
