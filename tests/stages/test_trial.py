"""A target that cannot carry this very request is left out before it is tried, where another one can."""

from __future__ import annotations

import base64
from unittest.mock import patch

import orjson
import pytest

from extproc.core.errors import ErrorKind
from extproc.core.exchange import Immediate
from extproc.stages import trial
from extproc.telemetry.record import Outcome
from tests.stages.world import Journey, World, chat, of_type, registry, request_body, request_headers, target

BMP = f"data:image/bmp;base64,{base64.b64encode(b'BM' + bytes(20)).decode()}"
PICTURE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": BMP}}]}]
"""An image of a type that Anthropic's format does not have."""


def test_an_image_of_a_type_that_one_target_refuses_goes_to_another() -> None:
    trip = Journey(World(registry(target("b", "anthropic_messages", keys=("x", "y")), target("a"), target("c", "gemini"))))
    trip.route(chat(messages=PICTURE))
    assert trip.chain == ["a", "c"]


def test_where_none_can_it_is_a_422_with_the_reason() -> None:
    exchange = World(registry(target("b", "anthropic_messages"), target("d", "anthropic_messages"))).route()
    exchange.handle(request_headers())
    answer = of_type(exchange.handle(request_body(chat(messages=PICTURE))), Immediate)
    assert answer.status == 422
    assert "image/bmp" in orjson.loads(answer.body)["error"]["message"]
    assert (exchange.record.outcome, exchange.record.error_type) == (Outcome.REFUSED, ErrorKind.UNPROCESSABLE.value)


@pytest.mark.parametrize(
    ("targets", "body", "tried"),
    [
        (("openai_chat", "anthropic_messages"), chat(), 0),
        (("openai_chat", "anthropic_messages", "gemini"), chat(messages=PICTURE), 2),
        (("anthropic_messages",), chat(messages=PICTURE), 0),
    ],
)
def test_what_is_not_worth_it_is_not_tried(targets: tuple[str, ...], body: bytes, tried: int) -> None:
    made = World(registry(*(target(f"t{n}", dialect) for n, dialect in enumerate(targets))))
    with patch.object(trial, "encode", wraps=trial.encode) as spy:
        Journey(made).route(body)
    assert spy.call_count == tried
