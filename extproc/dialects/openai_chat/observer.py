"""Watches a Chat Completions stream on its way to a client of the same dialect, and takes out the usage chunk that only we asked for.

Bytes pass as they came, unless a usage chunk is to be hidden or the client's SDK wants calls in one piece.
"""

from __future__ import annotations

from extproc.core.observe import DecodingObserver
from extproc.core.openai_usage import UsageChunks
from extproc.dialects.openai_chat.stream_decoder import ChatStreamDecoder
from extproc.dialects.openai_chat.whole_calls import WholeCalls


class ChatObserver(DecodingObserver):
    """A `StreamObserver`; `hide_usage` takes the chunk out whose only content is usage, `whole_calls` puts the pieces of calls together."""

    __slots__ = ("_calls", "_chunks")

    def __init__(self, *, hide_usage: bool, whole_calls: bool = False) -> None:
        decoder = ChatStreamDecoder()
        super().__init__(decoder, decoder.goes_on)
        self._chunks = UsageChunks() if hide_usage else None
        self._calls = WholeCalls() if whole_calls else None

    def feed(self, data: bytes) -> bytes:
        super().feed(data)
        if self._chunks is not None:
            data = self._chunks.without(data)
        return data if self._calls is None else self._calls.feed(data)

    def close(self) -> bytes:
        super().close()
        rest = b"" if self._chunks is None else self._chunks.rest()
        return rest if self._calls is None else self._calls.feed(rest) + self._calls.close()
