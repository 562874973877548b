"""Binary event streams as text that people can read and write: each message as a server-sent event, an exception's type behind `exception `."""

from __future__ import annotations

from extproc.core.eventstream import CONTENT_TYPE, EventStreamParser, event, exception
from extproc.core.framing import SSEParser, sse

_EXCEPTION = "exception "


def framed(text: bytes, stream_type: str) -> bytes:
    """The wire's bytes of a case, where its format is binary; else the case itself. What follows the mark `!cut` is left out, with the last byte."""
    if stream_type != CONTENT_TYPE:
        return text
    whole, cut, _ = text.partition(b"!cut")
    parser = SSEParser()
    raw = b"".join(
        exception(found.event.removeprefix(_EXCEPTION), found.data) if found.event.startswith(_EXCEPTION) else event(found.event, found.data)
        for found in (*parser.feed(whole), *parser.close())
    )
    return raw[:-1] if cut else raw


def unframed(raw: bytes, stream_type: str) -> bytes:
    """The inverse, for goldens."""
    if stream_type != CONTENT_TYPE:
        return raw
    return b"".join(
        sse(message.payload, message.text(":event-type") or _EXCEPTION + message.text(":exception-type")) for message in EventStreamParser().feed(raw)
    )
