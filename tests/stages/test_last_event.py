"""A provider that leaves out the blank line, or the newline, behind its last event: the client of its own dialect gets it all the same."""

from __future__ import annotations

import pytest

from extproc.dialects.catalog import DIALECTS
from extproc.stages.pipes import WatchedStream

SAID = {
    "openai_chat": b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
    b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
    "gemini": b'data: {"candidates":[{"content":{"parts":[{"text":"hi"}],"role":"model"},"finishReason":"STOP"}]}\r\n\r\n',
    "cohere_chat": b'event: message-end\ndata: {"type":"message-end","delta":{"finish_reason":"COMPLETE"}}\n\n',
    "ollama_chat": b'{"model":"m","message":{"role":"assistant","content":"hi"},"done":true,"done_reason":"stop"}\n',
}


def watched(name: str, pieces: list[bytes]) -> bytes:
    pipe = WatchedStream(DIALECTS[name], DIALECTS[name].stream_observer(hide_usage=False))
    out = [pipe.feed(piece, False) for piece in pieces]
    out.append(pipe.feed(b"", True))
    assert pipe.seen.error is None
    return b"".join(out)


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("name", SAID)
def test_what_is_missing_is_added_and_nothing_else(name: str, size: int) -> None:
    raw = SAID[name]

    def pieces(data: bytes) -> list[bytes]:
        return [data[i : i + size] for i in range(0, len(data), size)]

    assert watched(name, pieces(raw)) == raw
    ended = raw.rstrip(b"\r\n")
    assert watched(name, pieces(ended)).startswith(ended)
    assert watched(name, pieces(ended)).replace(b"\r", b"").endswith(b"\n" if name == "ollama_chat" else b"\n\n")


def test_a_broken_stream_gets_the_error_alone() -> None:
    pipe = WatchedStream(DIALECTS["openai_chat"], DIALECTS["openai_chat"].stream_observer(hide_usage=False))
    out = pipe.feed(b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n', False) + pipe.feed(b"", True)
    assert pipe.seen.error is not None
    assert b'"error"' in out
