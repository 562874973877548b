"""Watches a Chat Completions stream on its way to a client of the same dialect, and takes out the usage chunk that only we asked for.

Bytes pass as they came, unless a usage chunk is to be hidden.
"""

from __future__ import annotations

from extproc.core.observe import DecodingObserver
from extproc.core.openai_usage import UsageChunks
from extproc.dialects.openai_chat.stream_decoder import ChatStreamDecoder


class ChatObserver(DecodingObserver):
    """A `StreamObserver`; `hide_usage` takes the chunk out whose only content is usage."""

    __slots__ = ("_chunks",)

    def __init__(self, *, hide_usage: bool) -> None:
        super().__init__(ChatStreamDecoder())
        self._chunks = UsageChunks() if hide_usage else None

    def feed(self, data: bytes) -> bytes:
        super().feed(data)
        return data if self._chunks is None else self._chunks.without(data)

    def close(self) -> bytes:
        super().close()
        return b"" if self._chunks is None else self._chunks.rest()
