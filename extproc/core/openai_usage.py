"""Takes the usage chunk out of a stream of OpenAI's completions, legacy or chat: the one that only we asked for.

Bytes are passed on event by event, so that the chunk can be left out whole; however they are cut, nothing else changes.
"""

from __future__ import annotations

import re

import orjson

_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n|\r\n\n")
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
MAX_HELD = 1 << 20
"""Bytes of one event that are held back. A larger one is no usage chunk."""


class UsageChunks:
    """`without` gives the bytes that may be passed on, `rest` those still held at the end of the body."""

    __slots__ = ("_held", "_scanned")

    def __init__(self) -> None:
        self._held = bytearray()
        self._scanned = 0

    def without(self, data: bytes) -> bytes:
        held = self._held
        held += data
        out: list[bytes] = []
        at = 0
        for end in _EVENT_END.finditer(held, max(self._scanned - 3, 0)):
            event = bytes(held[at : end.end()])
            at = end.end()
            if not is_usage_chunk(event):
                out.append(event)
        if len(held) - at > MAX_HELD:
            out.append(bytes(held[at:]))
            at = len(held)
        del held[:at]
        self._scanned = len(held)
        return b"".join(out)

    def rest(self) -> bytes:
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
