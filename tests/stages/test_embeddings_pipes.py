"""Answers with vectors on their way through: watched at any size, translated whole, never as a stream."""

from __future__ import annotations

import orjson
import pytest

from extproc.core.dialect import Reply
from extproc.core.exchange import Continue, Mode
from extproc.core.ir import StreamError
from extproc.core.usage import Usage
from extproc.dialects.catalog import DIALECTS
from extproc.stages import pipes
from extproc.stages.judge import Sound, UnaryJudge
from extproc.telemetry.record import Outcome
from tests.stages.world import Journey, World, of_type, piece, registry, request_body, target

EMBEDDINGS = sorted(name for name, dialect in DIALECTS.items() if dialect.operation == "embeddings")
BIG = [[0.0123456789] * 1536] * 400
"""9 MB of JSON."""
ANSWERS = {
    "openai_embeddings": {
        "data": [{"object": "embedding", "index": n, "embedding": vector} for n, vector in enumerate(BIG)],
        "model": "m",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    },
    "cohere_embeddings": {"id": "i", "texts": ["[0.5]"], "embeddings": {"float": BIG}, "meta": {"billed_units": {"input_tokens": 7}}},
    "gemini_embeddings": {"embeddings": [{"values": vector} for vector in BIG], "usageMetadata": {"promptTokenCount": 7}},
    "vertex_embeddings": {"predictions": [{"embeddings": {"values": BIG[0], "statistics": {"token_count": 7 * (n == 0)}}} for n in range(400)]},
    "ollama_embeddings": {"model": "m", "embeddings": BIG, "prompt_eval_count": 7},
}


def fed(dialect: str, raw: bytes, size: int) -> pipes.Seen:
    pipe = pipes.WatchedBody(DIALECTS[dialect])
    for at in range(0, len(raw), size):
        piece = raw[at : at + size]
        assert pipe.feed(piece, end=at + size >= len(raw)) is piece
    return pipe.seen


@pytest.mark.parametrize("name", EMBEDDINGS)
@pytest.mark.parametrize("size", [16_384, 1 << 30])
def test_usage_of_answers_larger_than_what_is_kept(name: str, size: int) -> None:
    raw = orjson.dumps(ANSWERS[name])
    assert len(raw) > pipes.OBSERVED_BODY
    seen = fed(name, raw, size)
    assert seen.error is None
    assert seen.usage == Usage(input_tokens=7)
    assert seen.response is None, "vectors are never recorded"


def test_a_body_whose_other_content_is_too_large_goes_unread() -> None:
    texts = ["some text, which the provider repeats"] * (pipes.OBSERVED_BODY // 20)
    seen = fed("cohere_embeddings", orjson.dumps({"id": "i", "texts": texts, "embeddings": {"float": [[0.5]]}}), 65_536)
    assert seen.usage is None
    assert seen.error is None


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_errors_under_200_are_seen(name: str) -> None:
    for raw in (b'{"error":{"message":"no","code":500,"status":"INTERNAL"}}', b"<html>", b"[]", b"null", b'{"surprise":1}'):
        seen = fed(name, raw, 10)
        assert seen.error is not None
        judge = UnaryJudge(DIALECTS[name], complete=False)
        judge.feed(raw)
        assert judge.end() is not Sound.PASS


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_a_client_that_asks_for_a_stream_gets_the_whole_answer(name: str) -> None:
    answer = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "model": "m", "usage": {"prompt_tokens": 1}}
    client = DIALECTS[name]
    body, kind, seen = pipes.translate_whole(orjson.dumps(answer), client, DIALECTS["openai_embeddings"], Reply("id", 1, "m"), stream=True)
    assert kind == "application/json"
    assert b"[0.5]" in body
    assert seen.usage == Usage(input_tokens=1)


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_streams_are_total_and_an_error(name: str) -> None:
    dialect = DIALECTS[name]
    decoder = dialect.stream_decoder()
    assert decoder.feed(b"") == []
    (event,) = decoder.feed(b"data: {}\n\n")
    assert isinstance(event, StreamError)
    assert decoder.feed(b"more") == []
    assert decoder.close() == []
    assert list(decoder.losses) == []
    encoder = dialect.stream_encoder(Reply("id", 1, "m"))
    assert encoder.encode(event) == b""
    assert list(encoder.losses) == []
    observer = dialect.stream_observer(hide_usage=True)
    assert observer.feed(b"data: {}\n\n") == b"data: {}\n\n"
    assert observer.close() == b""
    assert observer.error is not None
    assert observer.finish is None
    assert b"error" in dialect.encode_stream_error(event.error) or event.error.message.encode() in dialect.encode_stream_error(event.error)


def test_the_whole_way_in_the_encoding_that_the_client_wants() -> None:
    trip = Journey(World(registry(target("a", "gemini"))))
    body = orjson.dumps({"model": "chat", "input": ["one", "two"], "encoding_format": "base64", "stream": True})
    exchange = trip.route(body, "/v1/embeddings")
    attempt = trip.world.attempt()
    trip.take(attempt.handle(trip.attempt_headers(1)))
    sent = of_type(trip.take(attempt.handle(request_body(body))), Continue)
    assert sent.body is not None
    assert orjson.loads(sent.body)["requests"][1]["content"] == {"parts": [{"text": "two"}]}
    assert dict(sent.set)[":path"].endswith(":batchEmbedContents")
    answer = orjson.dumps({"embeddings": [{"values": [0.5, -0.25]}, {"values": [1, 2]}]})
    trip.take(attempt.handle(trip.response(200, "application/json")))
    trip.take(attempt.handle(piece(answer, end=True)))
    assert of_type(exchange.handle(trip.response(200, "application/json")), Continue).mode is Mode.BUFFERED
    got = of_type(exchange.handle(piece(answer, end=True)), Continue)
    assert got.body is not None
    assert [one["embedding"] for one in orjson.loads(got.body)["data"]] == ["AAAAPwAAgL4=", "AACAPwAAAEA="]
    assert ("content-type", "application/json") in got.set
    assert exchange.record.outcome is Outcome.OK
