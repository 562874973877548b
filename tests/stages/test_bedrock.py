"""Bedrock through both stages: as a client, as the provider of a Bedrock client, and as the provider of an Anthropic client in its envelope."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from extproc.core.dialect import Facts
from extproc.core.eventstream import CONTENT_TYPE, event, exception
from extproc.core.exchange import Continue, Immediate
from extproc.core.framing import SSEParser
from extproc.providers.kinds import KINDS
from extproc.registry.types import Credential, Provider, Target
from extproc.stages.route import RouteExchange
from extproc.stages.services import Options
from extproc.telemetry.record import Outcome
from tests.stages.world import Journey, World, chat, of_type, openai_stream, piece, registry, request_body, request_headers, target
from tests.validators.bedrock_service import answered, check_converse_stream

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
MESSAGES = "/v1/messages"
CONVERSE = orjson.dumps({"messages": [{"role": "user", "content": [{"text": "hello"}]}]})
STREAM = [
    {
        "type": "message_start",
        "message": {"id": "m", "type": "message", "role": "assistant", "model": "claude", "content": [], "usage": {"input_tokens": 3}},
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 3}},
]


def bedrock(model: str) -> Target:
    kind = KINDS["bedrock"]
    provider = Provider("aws", kind, "https", "bedrock-runtime.us-east-1.amazonaws.com", 443, "", (Credential("", env="KEY"),), region="us-east-1")
    return Target("a", provider, model, Facts(model, kind.vendor_of(model), 4096))


def chunks(*messages: Any) -> list[bytes]:
    return [event("chunk", orjson.dumps({"bytes": base64.b64encode(orjson.dumps(m)).decode(), "p": "abc"})) for m in messages]


def sent(
    to: Target,
    body: bytes,
    path: str,
    response: list[bytes],
    *,
    status: int = 200,
    kind: str = CONTENT_TYPE,
    options: Options | None = None,
    **headers: str,
) -> tuple[RouteExchange, Continue, Continue | Immediate, bytes]:
    """(the exchange, what the provider was sent, the answer's headers, its bytes)."""
    trip = Journey(World(registry(to), options=options or Options()))
    exchange = trip.route(body, path)
    attempt = trip.world.attempt()
    trip.take(attempt.handle(trip.attempt_headers(1)))
    request = of_type(trip.take(attempt.handle(request_body(body))), Continue)
    trip.take(attempt.handle(trip.response(status, kind, **headers)))
    for n, part in enumerate(response):
        trip.take(attempt.handle(piece(part, end=n == len(response) - 1)))
    actions = exchange.handle(trip.response(status, kind, **headers))
    answer = next(a for a in actions if isinstance(a, Continue | Immediate))
    if isinstance(answer, Immediate):
        return exchange, request, answer, answer.body
    out = b""
    for n, part in enumerate(response):
        one = of_type(exchange.handle(piece(part, end=n == len(response) - 1)), Continue)
        out += part if one.body is None else one.body
    return exchange, request, answer, out


def names(raw: bytes) -> list[str]:
    parser = SSEParser()
    return [found.event for found in (*parser.feed(raw), *parser.close())]


def test_an_anthropic_client_gets_plain_events_from_bedrock() -> None:
    exchange, request, answer, out = sent(bedrock(CLAUDE), chat(stream=True, max_tokens=9), MESSAGES, chunks(*STREAM))
    assert dict(request.set)[":path"] == "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke-with-response-stream"
    assert orjson.loads(request.body or b"").keys() == {"messages", "max_tokens", "anthropic_version"}
    assert isinstance(answer, Continue)
    assert ("content-type", "text/event-stream") in answer.set
    assert names(out) == [str(one["type"]) for one in STREAM]
    assert exchange.record.outcome is Outcome.OK
    assert exchange.record.usage is not None
    assert (exchange.record.usage.input_tokens, exchange.record.usage.output_tokens) == (3, 2)


def test_the_name_that_was_asked_for_is_shown_behind_the_envelope() -> None:
    options = Options(show_alias=True)
    _, _, _, out = sent(bedrock(CLAUDE), chat(stream=True, max_tokens=9), MESSAGES, chunks(*STREAM), options=options)
    assert names(out) == [str(one["type"]) for one in STREAM]
    assert b'"model":"chat"' in out


def test_an_exception_in_the_envelope_is_the_clients_error_event() -> None:
    parts = [*chunks(*STREAM[:3]), exception("throttlingException", b'{"message":"slow"}')]
    exchange, _, _, out = sent(bedrock(CLAUDE), chat(stream=True, max_tokens=9), MESSAGES, parts)
    assert names(out)[-1] == "error"
    assert b"rate_limit_error" in out
    assert exchange.record.outcome is Outcome.CUT


def test_awss_words_are_put_into_the_clients_envelope() -> None:
    body = b'{"message":"messages: at least one message is required"}'
    more = {"x_amzn_errortype": "ValidationException:http://x"}
    _, _, answer, out = sent(bedrock(CLAUDE), chat(max_tokens=9), MESSAGES, [body], status=400, kind="application/json", **more)
    assert isinstance(answer, Immediate)
    assert answer.status == 400
    assert orjson.loads(out)["error"] == {"type": "invalid_request_error", "message": "messages: at least one message is required"}


def test_a_bedrock_client_is_served_by_another_provider() -> None:
    exchange, request, answer, out = sent(target("a"), CONVERSE, "/model/chat/converse-stream", openai_stream("hi"), kind="text/event-stream")
    assert orjson.loads(request.body or b"")["stream"] is True
    assert isinstance(answer, Continue)
    assert ("content-type", CONTENT_TYPE) in answer.set
    folded = check_converse_stream(out)
    assert folded is not None
    assert folded["output"]["message"]["content"] == [{"text": "hi"}]
    assert exchange.record.outcome is Outcome.OK


@pytest.mark.parametrize("model", ["us.amazon.nova-lite-v1:0", CLAUDE])
def test_a_bedrock_client_gets_bedrocks_own_bytes(model: str) -> None:
    parts = [
        *(
            event("messageStart", b'{"role":"assistant","p":"ab"}'),
            event("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":"hi"},"p":"a"}'),
        ),
        *(event("contentBlockStop", b'{"contentBlockIndex":0}'), event("messageStop", b'{"stopReason":"end_turn"}')),
        event("metadata", b'{"usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5},"metrics":{"latencyMs":9}}'),
    ]
    exchange, request, _, out = sent(bedrock(model), CONVERSE, "/model/chat/converse-stream", parts)
    assert dict(request.set)[":path"].endswith("/converse-stream")
    assert request.body in (None, CONVERSE)
    assert out == b"".join(parts)
    assert exchange.record.usage is not None
    assert exchange.record.usage.output_tokens == 2


def test_our_own_refusals_are_said_in_awss_words() -> None:
    world = World(registry(target("a")))
    exchange = world.route()
    exchange.handle(request_headers("/model/nobody-knows-it/converse"))
    answer = of_type(exchange.handle(request_body(CONVERSE)), Immediate)
    assert answered(answer.status, answer.body)["Error"]["Code"] == "ResourceNotFoundException"
