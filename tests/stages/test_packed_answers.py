"""Compressed answers on their way to the client: decoded for the same dialect and for others, whole and streamed, wherever they are cut."""

from __future__ import annotations

import gzip
from typing import Any

import orjson
import pytest

from extproc.core.exchange import Abort, BodyEvent, Continue, Mode, State
from extproc.stages.route import RouteExchange
from extproc.telemetry.record import Outcome
from tests.stages.test_content_encoding import PACK
from tests.stages.test_reply import CLAUDE, answered
from tests.stages.world import OPENAI_ANSWER, Journey, World, chat, of_type, openai_stream, piece, registry, target

CHAT = "/v1/chat/completions"
STREAM = b"".join(openai_stream("hel", "lo"))
HOW = sorted(PACK)


def through(exchange: RouteExchange, *events: BodyEvent) -> bytes:
    out = b""
    for event in events:
        answer = of_type(exchange.handle(event), Continue)
        out += event.body if answer.body is None else answer.body
    return out


def client_body(path: str, *, stream: bool) -> bytes:
    return chat(stream=stream, max_tokens=9, **({"stream_options": {"include_usage": True}} if stream and path == CHAT else {}))


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("path", [CHAT, CLAUDE], ids=["same", "other"])
@pytest.mark.parametrize("how", HOW)
def test_what_the_client_gets_is_decoded(how: str, path: str, stream: bool) -> None:
    name, pack = PACK[how]
    body = client_body(path, stream=stream)
    plain = STREAM if stream else OPENAI_ANSWER
    packed = pack(plain)
    trip, exchange, answer = answered(body, path, stream=stream)
    expected = through(exchange, *([piece(plain, end=True)]))
    assert answer.mode is (Mode.BUFFERED if path == CLAUDE and not stream else Mode.STREAMED)
    cuts = range(1, len(packed), 7) if answer.mode is Mode.STREAMED else [None]
    for cut in cuts:
        trip, exchange, answer = answered(body, path, stream=stream, content_encoding=name, content_length=str(len(packed)))
        assert "content-encoding" in answer.remove
        assert "content-length" in answer.remove
        events = [piece(packed[:cut], end=cut is None)] + ([piece(packed[cut:], end=True)] if cut is not None else [])
        assert through(exchange, *events) == expected
        assert (exchange.record.outcome, exchange.record.response_id) == (Outcome.OK, "chatcmpl-1")
    assert trip is not None


def refused(exchange: RouteExchange, *events: Any) -> list[Any]:
    actions: list[Any] = []
    for event in events:
        actions += exchange.handle(event)
    return actions


@pytest.mark.parametrize("packed", [gzip.compress(OPENAI_ANSWER, mtime=0)[:-9], b"garbage", gzip.compress(OPENAI_ANSWER, mtime=0) + b"more"])
def test_a_whole_answer_that_cannot_be_unpacked_is_broken_off(packed: bytes) -> None:
    """Part of it may have gone out: the client must not take that for all."""
    _, exchange, _ = answered(chat(), content_encoding="gzip")
    actions = refused(exchange, piece(packed, end=True))
    assert isinstance(actions[-1], Abort)
    assert exchange.record.outcome is Outcome.CUT


@pytest.mark.parametrize("path", [CHAT, CLAUDE])
def test_a_stream_that_cannot_be_unpacked_ends_as_an_error(path: str) -> None:
    packed = gzip.compress(STREAM)
    body = client_body(path, stream=True)
    for broken in (packed[:-12], packed[:40] + b"\xff" * 40):
        _, exchange, _ = answered(body, path, stream=True, content_encoding="gzip")
        out = through(exchange, piece(broken), piece(b"", end=True))
        assert b"error" in out.rpartition(b"data:")[2]
        assert b"[DONE]" not in out
        assert b"message_stop" not in out
        assert exchange.record.outcome is Outcome.CUT


def test_a_translated_answer_that_cannot_be_unpacked_is_an_error() -> None:
    _, exchange, _ = answered(client_body(CLAUDE, stream=False), CLAUDE, content_encoding="br")
    answer = of_type(exchange.handle(piece(b"garbage", end=True)), Continue)
    assert dict(answer.set)[":status"] == "502"
    assert orjson.loads(answer.body or b"")["type"] == "error"


def test_a_bomb_does_not_reach_the_client() -> None:
    _, exchange, _ = answered(chat(), content_encoding="gzip")
    assert isinstance(refused(exchange, piece(gzip.compress(bytes(50_000_000)), end=True))[-1], Abort)


@pytest.mark.parametrize("how", HOW)
def test_a_refusal_in_the_clients_dialect_is_the_providers_own_words(how: str) -> None:
    name, pack = PACK[how]
    said = orjson.dumps({"error": {"message": "too hot " * 20, "type": "invalid_request_error", "param": "temperature", "code": None}})
    packed = pack(said)
    trip = Journey(World(registry(target("a"))))
    body = chat()
    exchange = trip.route(body)
    attempt = trip.attempt(1, body)
    trip.take(attempt.handle(trip.response(400, content_encoding=name)))
    trip.take(attempt.handle(piece(packed, end=True)))
    answer = of_type(exchange.handle(trip.response(400, content_encoding=name, content_length="1")), Continue)
    assert {"content-encoding", "content-length"} <= set(answer.remove)
    assert exchange.state is State.STREAMING
    assert through(exchange, piece(packed[:11]), piece(packed[11:], end=True)) == said
    assert (exchange.record.outcome, exchange.record.status) == (Outcome.REJECTED, 400)
