"""What other filters are told of an answer: with its last message, and whichever that is."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from extproc.core.exchange import Action, Continue, HeadersEvent, Kind
from extproc.core.plan import USAGE_NAMESPACE
from extproc.core.usage import Usage
from extproc.edge.wire import message_of
from extproc.stages.usage_metadata import usage_metadata
from tests.stages.test_reply import CLAUDE, answered
from tests.stages.world import OPENAI_ANSWER, chat, openai_stream, piece


def test_its_members() -> None:
    assert usage_metadata(None, 1.0, "a", "chat") is None
    usage = Usage(100, 20, cache_read=50, reasoning=5)
    assert usage_metadata(usage, 0.0012345, "gpt", "chat") == {
        "envoy.llm.usage": {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120, "cost_microusd": 1234, "target": "gpt", "model": "chat"}
    }
    odd = usage_metadata(Usage(-5, 7), None, "gpt", "chat")
    assert odd is not None
    assert odd[USAGE_NAMESPACE] == {"input_tokens": 0, "output_tokens": 7, "total_tokens": 7, "target": "gpt", "model": "chat"}


def test_trailers_may_carry_it() -> None:
    said = usage_metadata(Usage(1, 2), None, "gpt", "chat")
    message = message_of(Continue(Kind.RESPONSE_TRAILERS, metadata=said))
    assert message.dynamic_metadata.fields[USAGE_NAMESPACE].struct_value.fields["total_tokens"].number_value == 3
    assert message.WhichOneof("response") == "response_trailers"


def told(actions: list[Action]) -> Any:
    return next((a.metadata[USAGE_NAMESPACE] for a in actions if isinstance(a, Continue) and a.metadata), None)


@pytest.mark.parametrize("path", ["/v1/chat/completions", CLAUDE])
def test_a_stream_tells_it_with_its_last_event(path: str) -> None:
    """Watched or translated: many clients leave before the body ends."""
    body = chat(stream=True, stream_options={"include_usage": True}, max_tokens=5)
    _, exchange, _ = answered(body, path, stream=True)
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o", "choices": [], "usage": usage}
    *parts, done = openai_stream("hello")
    parts += [b"data: " + orjson.dumps(chunk) + b"\n\n", done]
    said = [told(exchange.handle(piece(part))) for part in parts]
    assert said[:-1] == [None] * (len(parts) - 1)
    assert said[-1]["total_tokens"] == 5
    assert told(exchange.handle(piece(b"", end=True))) == said[-1]


@pytest.mark.parametrize("path", ["/v1/chat/completions", CLAUDE])
def test_a_whole_answer_tells_it(path: str) -> None:
    _, exchange, _ = answered(chat(max_tokens=5), path)
    said = told(exchange.handle(piece(OPENAI_ANSWER, end=True)))
    assert said == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5, "target": "a", "model": "chat"}


def test_trailers_tell_it() -> None:
    _, exchange, _ = answered(chat())
    assert told(exchange.handle(piece(OPENAI_ANSWER))) is None
    assert told(exchange.handle(HeadersEvent(Kind.RESPONSE_TRAILERS, {}, True)))["total_tokens"] == 5


def test_an_answer_without_usage_says_nothing() -> None:
    answer = orjson.loads(OPENAI_ANSWER)
    del answer["usage"]
    _, exchange, _ = answered(chat())
    assert told(exchange.handle(piece(orjson.dumps(answer), end=True))) is None
