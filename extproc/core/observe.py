"""Watches a same-dialect stream on its way through: reads usage, finish and errors, passes every byte on as it came.

Built on the dialect's own `StreamDecoder`, so a stream that is only watched and one that is translated are judged by the same code.
"""

from __future__ import annotations

from extproc.core.dialect import StreamDecoder
from extproc.core.errors import ApiError
from extproc.core.ir import End, Event, Finish, MessageStart, StreamError, UsageUpdate, is_content
from extproc.core.usage import Usage


class DecodingObserver:
    """A `StreamObserver` for any dialect whose streams need no edit."""

    __slots__ = ("_decoder", "content", "ended", "error", "finish", "start", "usage")

    def __init__(self, decoder: StreamDecoder) -> None:
        self._decoder = decoder
        self.start: MessageStart | None = None
        self.content = False
        self.usage: Usage | None = None
        self.finish: Finish | None = None
        self.error: ApiError | None = None
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        self._note(self._decoder.feed(data))
        return data

    def close(self) -> bytes:
        self._note(self._decoder.close())
        return b""

    def _note(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, UsageUpdate):
                self.usage = event.usage
            elif isinstance(event, StreamError):
                self.error = self.error or event.error
            elif isinstance(event, End):
                self.ended = True
            elif isinstance(event, MessageStart):
                self.start = self.start or event
            elif isinstance(event, Finish):
                self.finish = event
                self.content = True
            elif not self.content:
                self.content = is_content(event)
