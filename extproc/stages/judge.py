"""Judges the response of an attempt while it is held: does the provider serve the answer, or is it a failure that the client need not see?

A judge is fed the pieces of the body and says PASS, an `ApiError`, or None for "hold on". It never changes a byte: what it passes
flows on natively.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Protocol

import orjson

from extproc.core.dialect import Dialect
from extproc.core.errors import ApiError, ErrorKind, UpstreamFormatError
from extproc.core.headers import is_stream, media_type
from extproc.core.ir import End, Event, Finish, StreamError, is_content
from extproc.core.operation import ANY_MEDIA
from extproc.stages.content_encoding import Unpacker, unpacker

HELD_FOR_CONTENT = 64 << 10
"""Bytes held before a stream is let go although nothing in it was content, and bytes of an error or unary body that are read."""
HELD_FOR_COMPLETE = 16 << 20
"""Bytes held for `commit: complete`; beyond it completeness is given up (Envoy's buffers and the pod's memory bound it)."""


class Sound(Enum):
    PASS = "pass"
    GIVEN_UP = "completeness given up"
    """Too large to hold on to: it flows, and a cut in what follows can no longer fall back."""


Judgement = Sound | ApiError | None

_LOOKS = 16
"""How often a body that might be whole is parsed before its end: pieces are the provider's, and so is the time that this takes."""


class Judge(Protocol):
    @property
    def content(self) -> bool:
        """Has anything come that counts against the first-token limit's question "is it answering?"."""
        ...

    @property
    def whole(self) -> bool:
        """Of an error: is only the end of its body outstanding?"""
        ...

    def feed(self, piece: bytes) -> Judgement: ...

    def end(self) -> Judgement:
        """The body has ended; never None."""
        ...


class StreamJudge:
    """A 2xx event stream: sound at its first content; with `complete`, only at its clean end."""

    __slots__ = ("_complete", "_decoder", "_finished", "_held", "content")
    whole = False

    def __init__(self, dialect: Dialect, complete: bool) -> None:
        self._decoder = dialect.stream_decoder()
        self._complete = complete
        self._held = 0
        self._finished = False
        self.content = False

    def feed(self, piece: bytes) -> Judgement:
        self._held += len(piece)
        judgement = self._events(self._decoder.feed(piece))
        if judgement is not None:
            return judgement
        if self._complete:
            return Sound.GIVEN_UP if self._held > HELD_FOR_COMPLETE else None
        return Sound.PASS if self._held > HELD_FOR_CONTENT else None

    def end(self) -> Judgement:
        judgement = self._events(self._decoder.close())
        if judgement is not None:
            return judgement
        if not self._finished or self._complete:
            what = "before it was complete" if self.content else "before its first content"
            return UpstreamFormatError(f"the provider's stream ended {what}")
        return Sound.PASS

    def _events(self, events: list[Event]) -> Judgement:
        for event in events:
            if isinstance(event, StreamError):
                return event.error
            if isinstance(event, Finish):
                self._finished = True
            elif isinstance(event, End) and self._complete and self._finished:
                return Sound.PASS
            if is_content(event):
                self.content = True
                if not self._complete:
                    return Sound.PASS
        return None


class _Document:
    """A body that is one JSON document. It is whole when it parses: where trailers follow (HTTP/2), Envoy shows no end before it is let go."""

    __slots__ = ("_looks", "raw")

    def __init__(self) -> None:
        self.raw = bytearray()
        self._looks = _LOOKS

    def add(self, piece: bytes) -> bool:
        """Is it whole now? False may also mean that nobody looked."""
        self.raw += piece
        if self._looks == 0 or piece.rstrip()[-1:] not in (b"}", b"]"):
            return False
        self._looks -= 1
        try:
            orjson.loads(self.raw)
        except orjson.JSONDecodeError:
            return False
        return True


class UnaryJudge:
    """A 2xx body that is no stream: sound if it is an answer of its dialect, or too large to be an error."""

    __slots__ = ("_body", "_dialect", "_limit", "content")
    whole = False

    def __init__(self, dialect: Dialect, complete: bool) -> None:
        self._dialect = dialect
        self._body = _Document()
        self._limit = HELD_FOR_COMPLETE if complete else HELD_FOR_CONTENT
        self.content = False

    def feed(self, piece: bytes) -> Judgement:
        whole = self._body.add(piece)
        self.content = self.content or bool(piece)
        if len(self._body.raw) > self._limit:
            return Sound.PASS
        return self.end() if whole else None

    def end(self) -> Judgement:
        try:
            self._dialect.decode_response(bytes(self._body.raw))
        except ApiError as error:
            return error
        return Sound.PASS


class ErrorJudge:
    """A 4xx or 5xx whose body decides what it means."""

    __slots__ = ("_body", "_dialect", "_headers", "_status", "content", "whole")

    def __init__(self, dialect: Dialect, status: int, headers: Mapping[str, str]) -> None:
        self._dialect = dialect
        self._status = status
        self._headers = headers
        self._body = _Document()
        self.content = True
        self.whole = False

    def feed(self, piece: bytes) -> Judgement:
        self.whole = self._body.add(piece)
        return self.end() if len(self._body.raw) > HELD_FOR_CONTENT else None

    def end(self) -> Judgement:
        return self._dialect.decode_error(self._status, self._headers, bytes(self._body.raw))


class MediaJudge:
    """A 2xx body of sound or text, of which any byte is as good as any other: sound as soon as it has begun."""

    __slots__ = ("content",)
    whole = False

    def __init__(self) -> None:
        self.content = False

    def feed(self, piece: bytes) -> Judgement:
        self.content = self.content or bool(piece)
        return Sound.PASS if piece else None

    def end(self) -> Judgement:
        return Sound.PASS if self.content else UpstreamFormatError("the provider's answer is empty")


class PackedJudge:
    """Any of the others behind a compressed body."""

    __slots__ = ("_inner", "_status", "_unpack")

    def __init__(self, inner: Judge, unpack: Unpacker, status: int) -> None:
        self._inner = inner
        self._unpack = unpack
        self._status = status

    @property
    def content(self) -> bool:
        return self._inner.content

    @property
    def whole(self) -> bool:
        return self._inner.whole

    def feed(self, piece: bytes) -> Judgement:
        try:
            return self._inner.feed(self._unpack.feed(piece))
        except UpstreamFormatError as error:
            return self._broken(error)

    def end(self) -> Judgement:
        try:
            rest = self._unpack.feed(b"", end=True)
        except UpstreamFormatError as error:
            return self._broken(error)
        return (self._inner.feed(rest) if rest else None) or self._inner.end()

    def _broken(self, error: UpstreamFormatError) -> Judgement:
        # a refusal whose words cannot be read is still a refusal
        return self._inner.end() if self._status >= 400 else error


def judge_for(dialect: Dialect, status: int, headers: Mapping[str, str], *, stream: bool, complete: bool) -> Judge | ApiError:
    """The judge for a response with these headers, or the error that the headers alone prove."""
    try:
        unpack = unpacker(headers)
    except UpstreamFormatError as unknown:
        return dialect.decode_error(status, headers, b"") if status >= 400 else unknown
    if status < 400 and not 200 <= status < 300:
        return ApiError(ErrorKind.UPSTREAM, f"the provider answered with status {status}")
    media = media_type(headers)
    judge: Judge
    if status >= 400:
        judge = ErrorJudge(dialect, status, headers)
    elif stream and is_stream(headers, dialect.stream_type, strict=dialect.operation in ANY_MEDIA):
        judge = StreamJudge(dialect, complete)
    elif dialect.operation in ANY_MEDIA and media not in ("application/json", "text/html", ""):
        judge = MediaJudge()
    else:
        judge = UnaryJudge(dialect, complete)
    return judge if unpack is None else PackedJudge(judge, unpack, status)
