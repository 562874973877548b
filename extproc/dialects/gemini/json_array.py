"""The objects of a JSON array as they come and go: `streamGenerateContent` without `alt=sse` streams one array whose members are the events.

Read: a body that is a single object (an error in place of a stream) counts as an array of one. Works on any split of the bytes; an object that
grows past `MAX_EVENT` is refused rather than kept. Written: an array that is not closed is how a reader can tell a stream that broke off. Google's
REST clients (`google.api_core.rest_streaming`) raise there, and so does every JSON parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from extproc.core.errors import UpstreamFormatError
from extproc.core.framing import MAX_EVENT

_OUTSIDE = re.compile(rb'["{}\[\]]')
_INSIDE = re.compile(rb'["\\]')
_BETWEEN = frozenset(b" \t\r\n,[")


class JSONArrayParser:
    """`feed` gives the raw objects that new bytes complete. Raises `UpstreamFormatError` when the bytes are not an array of objects, behind every
    object before that.

    `ended` turns true with the array's closing bracket, or with the end of a single object.
    """

    __slots__ = ("_at", "_buffer", "_depth", "_in_string", "_single", "ended")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0
        self._depth = 0
        self._in_string = False
        self._single: bool | None = None
        self.ended = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        buffer = self._buffer
        buffer += data
        while True:
            if self._depth == 0 and not self._skip_to_object():
                return
            whole = self._finish_object()
            if whole is None:
                if len(buffer) > MAX_EVENT:
                    raise UpstreamFormatError(f"one stream event is larger than {MAX_EVENT} bytes")
                return
            yield whole

    def _skip_to_object(self) -> bool:
        """Drops what stands between objects. True: the buffer starts with one."""
        buffer = self._buffer
        for n, byte in enumerate(buffer):
            if byte == 0x7B and not self.ended:
                if self._single is None:
                    self._single = True
                del buffer[:n]
                self._depth = self._at = 1
                return True
            if byte == 0x5D and self._single is False and not self.ended:
                self.ended = True
            elif byte == 0x5B and self._single is None:
                self._single = False
            elif byte not in _BETWEEN or byte == 0x5B:
                raise UpstreamFormatError("the stream is not a JSON array of objects")
        buffer.clear()
        return False

    def _finish_object(self) -> bytes | None:
        """The object at the start of the buffer once it is whole; None keeps the place where to go on."""
        buffer = self._buffer
        at = self._at
        while True:
            found = (_INSIDE if self._in_string else _OUTSIDE).search(buffer, at)
            if found is None:
                self._at = len(buffer)
                return None
            at = found.end()
            byte = buffer[at - 1]
            if byte == 0x5C:
                if at == len(buffer):
                    self._at = at - 1
                    return None
                at += 1
            elif byte == 0x22:
                self._in_string = not self._in_string
            elif byte in (0x7B, 0x5B):
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth == 0:
                    whole = bytes(buffer[:at])
                    del buffer[:at]
                    self.ended = self._single is True
                    return whole


_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")


def one_line(raw: bytes) -> bytes:
    """JSON without line ends: they can only stand between its words."""
    return raw.translate(_ONE_LINE) if b"\n" in raw or b"\r" in raw else raw


class JSONArrayWriter:
    """Objects to one array, each on a line of its own that is whole when the object is. The bracket goes out with the first call, whatever comes
    then."""

    __slots__ = ("_empty", "_opened")

    def __init__(self) -> None:
        self._opened = False
        self._empty = True

    def open(self) -> bytes:
        """The bracket, once."""
        if self._opened:
            return b""
        self._opened = True
        return b"["

    def add(self, raw: bytes) -> bytes:
        """`raw` is one object."""
        out = b"%b%b\n" % (self.open() if self._empty else SEPARATOR, one_line(raw))
        self._empty = False
        return out

    def close(self) -> bytes:
        return self.open() + b"]"  # and no line end: Google's REST clients take one for another array


SEPARATOR = b",\n"
