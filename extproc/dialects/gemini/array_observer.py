"""Watches a Gemini stream for a client that did not say `alt=sse`: upstream it is server-sent events, for the client one JSON array.

Each event's data passes as it came. The array is closed behind a finished stream only: one that broke off, or that reported an error, stays open.
"""

from __future__ import annotations

from extproc.core.ir import Event
from extproc.core.observe import DecodingObserver
from extproc.dialects.gemini.json_array import JSONArrayWriter
from extproc.dialects.gemini.stream_decode import GeminiStreamDecoder


class _KeepingDecoder(GeminiStreamDecoder):
    """Keeps the raw chunks that it has read."""

    __slots__ = ("chunks",)

    def __init__(self) -> None:
        super().__init__()
        self.chunks: list[bytes] = []

    def _chunk(self, raw: bytes, out: list[Event]) -> None:
        if not self._dead:
            super()._chunk(raw, out)
            self.chunks.append(raw)


class ArrayObserver(DecodingObserver):
    """A `StreamObserver`."""

    __slots__ = ("_chunks", "_writer")

    def __init__(self) -> None:
        decoder = _KeepingDecoder()
        super().__init__(decoder)
        self._chunks = decoder.chunks
        self._writer = JSONArrayWriter()

    def feed(self, data: bytes) -> bytes:
        super().feed(data)
        return self._writer.open() + self._written()

    def close(self) -> bytes:
        super().close()
        rest = self._writer.open() + self._written()
        return rest + self._writer.close() if self.finish is not None and self.error is None else rest

    def _written(self) -> bytes:
        out = b"".join([self._writer.add(raw) for raw in self._chunks])
        self._chunks.clear()
        return out
