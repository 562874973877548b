"""Lines of JSON, incrementally: the framing of Ollama's streams. Bytes in any pieces to whole lines; blank lines say nothing.

A line that grows past `MAX_EVENT` is refused rather than kept.
"""

from __future__ import annotations

from extproc.core.errors import UpstreamFormatError
from extproc.core.framing import MAX_EVENT


class NDJSONParser:
    """`feed` gives the lines that new bytes complete, `close` a last one without its line end. Raises `UpstreamFormatError`."""

    __slots__ = ("_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    @property
    def idle(self) -> bool:
        """Does the next byte begin a line?"""
        return not self._pieces

    def feed(self, data: bytes) -> list[bytes]:
        end = data.rfind(b"\n")
        if end < 0:
            if data:
                self._size += len(data)
                if self._size > MAX_EVENT:
                    raise UpstreamFormatError(f"one stream event is larger than {MAX_EVENT} bytes")
                self._pieces.append(data)
            return []
        block = b"".join((*self._pieces, data[:end]))
        rest = data[end + 1 :]
        self._pieces = [rest] if rest else []
        self._size = len(rest)
        return [line for line in block.split(b"\n") if line.strip()]

    def close(self) -> list[bytes]:
        line = b"".join(self._pieces)
        self._pieces.clear()
        return [line] if line.strip() else []
