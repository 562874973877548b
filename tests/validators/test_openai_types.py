"""The validator must be able to say no: without that it would prove nothing."""

import copy
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from pydantic_core import ValidationError

from tests.validators.openai_types import check_chat_request

GOOD: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "x"},
    ],
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"anything": [1]}}},
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"anything": {"at": "all"}}}}],
    "metadata": {"k": "v"},
    "stop": ["a"],
}


def test_takes_a_good_request() -> None:
    check_chat_request(orjson.dumps(GOOD))
    check_chat_request(orjson.dumps(GOOD | {"stream": True, "stream_options": {"include_usage": True}}))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.update(unknown=1),
        lambda d: d.update(max_tokens="1"),
        lambda d: d.update(stop=[1]),
        lambda d: d["metadata"].update(k=1),
        lambda d: d["messages"][0].update(unknown=1),
        lambda d: d["messages"][0]["content"][0].update(unknown=1),
        lambda d: d["messages"][1]["tool_calls"][0]["function"].update(unknown=1),
        lambda d: d["messages"][2].update(content=[{"type": "image_url", "image_url": {"url": "a"}}]),
        lambda d: d["tools"][0]["function"].update(strict="yes"),
        lambda d: d["tools"][0].pop("function"),
        lambda d: d["response_format"]["json_schema"].pop("name"),
    ],
)
def test_refuses_a_spoilt_one(spoil: Callable[[dict[str, Any]], object]) -> None:
    body = copy.deepcopy(GOOD)
    spoil(body)
    with pytest.raises(ValidationError):
        check_chat_request(orjson.dumps(body))
