"""A stream of the client's own dialect that breaks off inside of an event: the error stands alone behind it, or the stream is broken off too."""

from __future__ import annotations

import json

import pytest

from extproc.core.errors import UpstreamFormatError
from extproc.core.framing import SSEParser
from extproc.core.headers import is_stream
from extproc.dialects.catalog import DIALECTS
from extproc.stages.pipes import WatchedStream
from tests.e2e import spoken
from tests.e2e.spoken import SSE, Spoken

EVENTS = [s for s in spoken.ALL if s.content_type == SSE]


def watched(provider: Spoken, raw: bytes, size: int) -> tuple[bytes, WatchedStream]:
    dialect = DIALECTS[provider.dialect]
    pipe = WatchedStream(dialect, dialect.stream_observer(hide_usage=False))
    out = b"".join(pipe.feed(raw[i : i + size], i + size >= len(raw)) for i in range(0, len(raw), size))
    return out, pipe


@pytest.mark.parametrize("size", [3, 1 << 20])
@pytest.mark.parametrize("provider", EVENTS, ids=lambda s: s.dialect)
def test_the_error_is_an_event_of_its_own(provider: Spoken, size: int) -> None:
    begun = b"".join((*provider.start, *provider.content))
    event = provider.end[0]
    for cut in range(len(event) - 2):
        out, pipe = watched(provider, begun + event[:cut], size)
        assert out.startswith(begun + event[:cut])
        assert pipe.seen.error is not None
        if pipe.seen.finish:
            continue  # nothing but the blank line was missing
        parser = SSEParser()
        said = [*parser.feed(out), *parser.close()][-1].data
        assert "message" in said.decode()
        assert json.loads(said).keys() & {"error", "message", "response", "delta"}


def test_lines() -> None:
    provider = spoken.OLLAMA
    for cut in range(len(provider.content[0]) - 1):
        out, pipe = watched(provider, provider.content[0] + provider.content[1][:cut], 5)
        assert pipe.seen.error is not None
        assert "error" in json.loads(out.rstrip(b"\n").rpartition(b"\n")[2])


def test_frames() -> None:
    """What follows a part of a frame would be read as the rest of it."""
    provider = spoken.BEDROCK
    begun = b"".join((*provider.start, *provider.content))
    out, _ = watched(provider, begun, 9)
    assert out.startswith(begun)
    assert b":exception-type" in out
    for cut in range(1, len(provider.end[0])):
        with pytest.raises(UpstreamFormatError):
            watched(provider, begun + provider.end[0][:cut], 9)


def test_what_an_envelope_says_at_its_end_is_said_once() -> None:
    client, upstream = DIALECTS["anthropic_messages"], DIALECTS["anthropic_messages@bedrock"]
    pipe = WatchedStream(client, upstream.stream_observer(hide_usage=False))
    out = pipe.feed(spoken.BEDROCK.start[0][:-1], True)
    assert out.count(b"event: error") == 1


@pytest.mark.parametrize(
    ("content_type", "stream", "strict"),
    [
        ("text/event-stream; charset=utf-8", True, True),
        ("text/plain; charset=utf-8", True, False),
        ("application/octet-stream", True, False),
        (None, True, False),
        ("application/json", False, False),
        ("text/html", False, False),
        ("application/x-ndjson", False, False),
    ],
)
def test_which_content_types_may_be_a_stream(content_type: str | None, stream: bool, strict: bool) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    assert is_stream(headers, SSE) is stream
    assert is_stream(headers, SSE, strict=True) is strict
