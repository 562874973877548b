"""Server-sent events, incrementally: bytes in any pieces to whole events, by the WHATWG rules that providers rely on.

Handles LF, CRLF and CR line ends, comments, multi-line data, `data:` with and without a space, a byte order mark, and a last event that
lacks its blank line (given out by `close`). An event that grows past `MAX_EVENT` is refused rather than kept.
Wire format: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

from typing import NamedTuple

from extproc.core.errors import UpstreamFormatError

MAX_EVENT = 32 << 20
"""Bytes. The largest single event seen from a provider is an image of some MB inside one Gemini chunk."""

_LINE = 64
"""Bytes of memory that a line costs beside its own."""
_BOM = b"\xef\xbb\xbf"
_TOO_LARGE = f"one stream event is larger than {MAX_EVENT} bytes"


class SSE(NamedTuple):
    """One event: its `event:` name ("" if none) and its data lines joined by newlines."""

    event: str
    data: bytes


class SSEParser:
    """`feed` gives the events that new bytes complete, `close` what is left at the end of the body.

    Raises `UpstreamFormatError` when one event is larger than `MAX_EVENT`.
    """

    __slots__ = ("_data", "_event", "_first", "_scanned", "_size", "_skip_lf", "_tail")

    def __init__(self) -> None:
        self._tail = bytearray()
        self._scanned = 0
        self._skip_lf = False
        self._first = True
        self._event = ""
        self._data: list[bytes] = []
        self._size = 0

    @property
    def idle(self) -> bool:
        """Does the next byte begin an event?"""
        return not (self._tail or self._data or self._event or self._skip_lf or self._first)

    def feed(self, data: bytes) -> list[SSE]:
        if self._skip_lf and data:
            # the CR at the end of the last piece already ended its line: an LF that follows belongs to it
            if data[:1] == b"\n":
                data = data[1:]
            self._skip_lf = False
        tail = self._tail
        tail += data
        if self._first:
            if len(tail) < len(_BOM) and _BOM.startswith(tail):
                return []
            self._first = False
            if tail.startswith(_BOM):
                del tail[: len(_BOM)]
        if b"\r" in data:
            out = self._lines_cr()
        else:
            out = []
            end = tail.rfind(b"\n", self._scanned)
            if end >= 0:
                block = bytes(tail[:end])
                del tail[: end + 1]
                for line in block.split(b"\n"):
                    self._line(line, out)
            self._scanned = len(tail)
        if len(tail) + self._size > MAX_EVENT:
            raise UpstreamFormatError(_TOO_LARGE)
        return out

    def _lines_cr(self) -> list[SSE]:
        """The rare path: some lines end with CR or CRLF."""
        tail = self._tail
        if tail.endswith(b"\r"):
            self._skip_lf = True
        text = bytes(tail).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        head, newline, rest = text.rpartition(b"\n")
        tail[:] = rest
        self._scanned = len(rest)
        out: list[SSE] = []
        if newline:
            for line in head.split(b"\n"):
                self._line(line, out)
        return out

    def _line(self, line: bytes, out: list[SSE]) -> None:
        if not line:
            if self._data:
                out.append(SSE(self._event, self._data[0] if len(self._data) == 1 else b"\n".join(self._data)))
                self._data = []
                self._size = 0
            self._event = ""
            return
        if line.startswith(b"data:"):
            value = line[6:] if line[5:6] == b" " else line[5:]
            self._more(value)
        elif line.startswith(b"event:"):
            self._event = line[6:].strip().decode("utf-8", "replace")
        elif line == b"data":
            self._more(b"")

    def _more(self, value: bytes) -> None:
        """One more data line. What it costs to keep counts too: many empty lines are an event that grows."""
        self._size += len(value) + _LINE
        if self._size > MAX_EVENT:
            raise UpstreamFormatError(_TOO_LARGE)
        self._data.append(value)

    def close(self) -> list[SSE]:
        """The body ended: a last line and a last event count even without their line ends."""
        out: list[SSE] = []
        if self._tail:
            self._line(bytes(self._tail), out)
            self._tail.clear()
            self._scanned = 0
        self._line(b"", out)
        return out


def sse(data: bytes, event: str = "") -> bytes:
    """One event on the wire. `data` must hold no line ends (JSON has none)."""
    return b"event: %b\ndata: %b\n\n" % (event.encode(), data) if event else b"data: %b\n\n" % data
