"""What was said is kept for telemetry only where the span asks for it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from extproc.core.ir import Text
from extproc.stages.route import RouteExchange
from tests.stages.world import OPENAI_ANSWER, Journey, World, chat, openai_stream, piece, registry, target


def served(path: str, *, stream: bool, wanted: bool) -> RouteExchange:
    trip = Journey(World(registry(target("a"))))
    trip.world.services.start_span = lambda *_: (SimpleNamespace(wants_content=wanted), "")
    body = chat(stream=stream, max_tokens=9)
    exchange = trip.route(body, path)
    attempt = trip.attempt(1, body)
    kind = "text/event-stream" if stream else "application/json"
    pieces = openai_stream("hel", "lo") if stream else [OPENAI_ANSWER]
    trip.take(attempt.handle(trip.response(200, kind)))
    for part in pieces:
        trip.take(attempt.handle(piece(part, end=part is pieces[-1])))
    exchange.handle(trip.response(200, kind))
    for part in pieces:
        exchange.handle(piece(part, end=part is pieces[-1]))
    return exchange


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_kept_when_asked_for(path: str, stream: bool) -> None:
    exchange = served(path, stream=stream, wanted=True)
    assert exchange.input_messages == [{"role": "user", "content": "hello"}]
    assert exchange.answer is not None
    assert [b.text for b in exchange.answer.blocks if isinstance(b, Text)] == ["hello" if stream else "hi"]
    assert exchange.answer.finish.value == "stop"


@pytest.mark.parametrize("stream", [False, True])
def test_not_kept_by_default(stream: bool) -> None:
    exchange = served("/v1/messages", stream=stream, wanted=False)
    assert exchange.input_messages is None
    assert exchange.answer is None
