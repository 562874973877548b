"""Watches a Chat Completions stream on its way to a client of the same dialect, and takes out the usage chunk that only we asked for.

Bytes pass as they came. Only while a usage chunk is to be hidden are they passed on event by event, so that the chunk can be left out whole.
"""

from __future__ import annotations

import re

import orjson

from extproc.core.observe import DecodingObserver
from extproc.dialects.openai_chat.stream_decoder import ChatStreamDecoder

_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n|\r\n\n")
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_MAX_HELD = 1 << 20
"""Bytes of one event that are held back. A larger one is no usage chunk."""


class ChatObserver(DecodingObserver):
    """A `StreamObserver`; `hide_usage` takes the chunk out whose only content is usage."""

    __slots__ = ("_held", "_hide", "_scanned")

    def __init__(self, *, hide_usage: bool) -> None:
        super().__init__(ChatStreamDecoder())
        self._hide = hide_usage
        self._held = bytearray()
        self._scanned = 0

    def feed(self, data: bytes) -> bytes:
        super().feed(data)
        if not self._hide:
            return data
        held = self._held
        held += data
        out: list[bytes] = []
        at = 0
        for end in _EVENT_END.finditer(held, max(self._scanned - 3, 0)):
            event = bytes(held[at : end.end()])
            at = end.end()
            if not is_usage_chunk(event):
                out.append(event)
        if len(held) - at > _MAX_HELD:
            out.append(bytes(held[at:]))
            at = len(held)
        del held[:at]
        self._scanned = len(held)
        return b"".join(out)

    def close(self) -> bytes:
        super().close()
        rest = bytes(self._held)
        self._held.clear()
        return b"" if is_usage_chunk(rest) else rest


def is_usage_chunk(event: bytes) -> bool:
    """Is the raw event a chunk with token counts and no choices, filter results or anything else that a client could miss?"""
    if _NO_CHOICES.search(event) is None:
        return False
    data = b"".join(line[5:] for line in event.splitlines() if line.startswith(b"data:"))
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return isinstance(chunk, dict) and chunk.get("choices") == [] and isinstance(chunk.get("usage"), dict) and not chunk.get("prompt_filter_results")
