"""Streams that are only watched: pieces that go on with a text are passed over undecoded, and what is learned is the same as if all were read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from extproc.core import eventstream
from extproc.core.dialect import Dialect, Reply, StreamObserver
from extproc.core.ir import BlockDelta, BlockStart, BlockStop, Finish, FinishReason, MessageStart, Text, ToolCall, UsageUpdate
from extproc.core.observe import DecodingObserver
from extproc.core.usage import Usage
from extproc.dialects.catalog import DIALECTS
from tests.dialects import cross
from tests.golden.frames import framed
from tests.golden.matrix import CLIENTS, FOLDER, MARK

PASSING = [name for name in CLIENTS if name != "gemini"]
"""Dialects that know such pieces. Gemini counts tokens in every one of them."""
CASES = [path for path in sorted((FOLDER / "streams").glob("*/*")) if MARK not in path.name and path.parent.name in PASSING]


def whole_events(raw: bytes, dialect: Dialect) -> Iterator[bytes]:
    """`raw` cut behind every event, as providers write them."""
    if dialect.stream_type == eventstream.CONTENT_TYPE:
        while raw:
            length = int.from_bytes(raw[:4])
            yield raw[:length]
            raw = raw[max(length, 1) :]
        return
    end = b"\n" if "ndjson" in dialect.stream_type else b"\n\n"
    while raw:
        event, found, raw = raw.partition(end)
        yield event + found


def learned(observer: StreamObserver, pieces: list[bytes]) -> list[Any]:
    """What is known after each piece that may decide an attempt, and what is known in the end."""
    steps = []
    for piece in pieces:
        assert observer.feed(piece) == piece
        steps.append((observer.content, observer.error is None, observer.ended))
    assert observer.close() == b""
    error = observer.error
    return [*steps, observer.start, observer.usage, observer.finish, observer.ended, error and (error.kind, error.message)]


def agree(raw: bytes, dialect: Dialect) -> None:
    events = list(whole_events(raw, dialect))
    for size in (1, 3):
        pieces = [b"".join(events[at : at + size]) for at in range(0, len(events), size)]
        # and once so that no piece ends with its event
        shifted = b"".join(pieces)
        cuts = [0, *(sum(map(len, pieces[:n])) - 1 for n in range(1, len(pieces))), len(shifted)]
        for cut in (pieces, [shifted[a:b] for a, b in pairwise(cuts)]):
            watched = learned(dialect.stream_observer(hide_usage=False), cut)
            assert watched == learned(DecodingObserver(dialect.stream_decoder()), cut)


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_goldens(case: Path) -> None:
    dialect = DIALECTS[case.parent.name]
    agree(framed(case.read_bytes(), dialect.stream_type), dialect)


@pytest.mark.parametrize("name", PASSING)
def test_recordings(name: str) -> None:
    streams = {e.response for e in cross.exchanges() if e.stream and e.status < 400 and e.dialect == name}
    for raw in streams:
        agree(raw, DIALECTS[name])


class Fed:
    """A decoder that counts what it is fed."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.pieces: list[bytes] = []

    def feed(self, data: bytes) -> Any:
        self.pieces.append(data)
        return self.inner.feed(data)


def written(dialect: Dialect) -> list[bytes]:
    """A text and a call in ten pieces each, as the dialect's own encoder writes them."""
    encoder = dialect.stream_encoder(Reply("id-1", 1_700_000_000, "a-model"))
    events: list[Any] = [MessageStart("id-1", "a-model", 1_700_000_000), BlockStart(0, Text(""))]
    events += [BlockDelta(0, f' a "word" \\ {n}\n') for n in range(10)]
    events += [
        BlockStop(0),
        BlockStart(1, ToolCall("call_1", "f")),
        BlockDelta(1, '{"a": [1'),
        *[BlockDelta(1, ", 1") for _ in range(8)],
        BlockDelta(1, "]}"),
    ]
    events += [BlockStop(1), UsageUpdate(Usage(3, 4)), Finish(FinishReason.TOOL_CALLS)]
    return [piece for event in events if (piece := encoder.encode(event))]


@pytest.mark.parametrize("name", PASSING)
def test_text_is_not_decoded(name: str) -> None:
    observer: Any = DIALECTS[name].stream_observer(hide_usage=False)
    fed = observer._decoder = Fed(observer._decoder)
    pieces = written(DIALECTS[name])
    for piece in pieces:
        observer.feed(piece)
    # of text the first piece, which is the first content; Ollama's calls are not streamed
    assert len(pieces) - len(fed.pieces) >= (9 if name == "ollama_chat" else 17)


CHUNK = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'


@pytest.mark.parametrize(
    "piece",
    [
        CHUNK.replace(b"null", b'"stop"'),
        CHUNK.replace(b"null", b'""'),
        CHUNK.replace(b'"index":0', b'"index":1'),
        CHUNK.replace(b"}]}", b'}],"usage":{"prompt_tokens":1}}'),
        CHUNK.replace(b"}]}", b'}],"error":{"message":"no"}}'),
        CHUNK.replace(b"}]}", b'}],"error":"no"}'),
        CHUNK.replace(b"}]}", b'}],"x_groq":{"usage":{}}}'),
        CHUNK.replace(b'"content"', b'"refusal"'),
        CHUNK.replace(b'"a"', b'"a'),
        CHUNK + b"data: [DONE]\n\n",
        CHUNK[:-1],
        CHUNK[1:],
    ],
)
def test_whatever_may_say_more_is_decoded(piece: bytes) -> None:
    decoder = DIALECTS["openai_chat"].stream_decoder()
    decoder.feed(CHUNK)
    assert decoder.goes_on(CHUNK)  # type: ignore[attr-defined]
    assert not decoder.goes_on(piece)  # type: ignore[attr-defined]


def test_in_the_middle_of_an_event_nothing_is_passed_over() -> None:
    decoder = DIALECTS["openai_chat"].stream_decoder()
    decoder.feed(CHUNK + b"data: {")
    assert not decoder.goes_on(CHUNK)  # type: ignore[attr-defined]


def test_of_a_block_that_is_held_all_pieces_are_read() -> None:
    """A server tool's input is put together at its end: half of it would be an error that nobody made."""
    start = b'data: {"type":"content_block_start","index":0,"content_block":{"type":"%b","id":"s","name":"web_search","input":{}}}\n\n'
    first = b'data: {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{"}}\n\n'
    held, called = (DIALECTS["anthropic_messages"].stream_decoder() for _ in range(2))
    held.feed(start % b"server_tool_use" + first)
    called.feed(start % b"tool_use" + first)
    assert not held.goes_on(first)  # type: ignore[attr-defined]
    assert called.goes_on(first)  # type: ignore[attr-defined]
