"""The validators refuse what they should: otherwise every test that uses them proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from anthropic.types import Message, RawContentBlockDeltaEvent, TextBlock, ToolUseBlock
from pydantic_core import ValidationError

from tests.validators.anthropic_types import check_event, check_message, check_messages_request

for model in (Message, RawContentBlockDeltaEvent, TextBlock, ToolUseBlock):
    model.model_rebuild(force=True)  # as any use of the SDK does: a validator must not be laxer after that

REQUEST: dict[str, Any] = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}
MESSAGE: dict[str, Any] = {
    "id": "i",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "x"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
EVENT: dict[str, Any] = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}


def test_what_is_valid_passes() -> None:
    check_messages_request(orjson.dumps({**REQUEST, "temperature": 0.5, "stream": True}))
    check_message(orjson.dumps(MESSAGE))
    check_event(orjson.dumps(EVENT))


@pytest.mark.parametrize(
    ("check", "body"),
    [
        (check_messages_request, {**REQUEST, "unknown": 1}),
        (check_messages_request, {**REQUEST, "temperature": 1.5}),
        (check_messages_request, {**REQUEST, "messages": [{"role": "user", "content": [{"type": "text"}]}]}),
        (check_messages_request, {**REQUEST, "messages": [{"role": "user", "content": [{"type": "text", "text": "x", "extra": 1}]}]}),
        (
            check_messages_request,
            {**REQUEST, "messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64", "data": ""}}]}]},
        ),
        (
            check_messages_request,
            {**REQUEST, "messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}, "unknown": 1}]}]},
        ),
        (check_message, {**MESSAGE, "unknown": 1}),
        (check_message, {**MESSAGE, "content": [{"type": "text", "text": "x", "unknown": 1}]}),
        (check_message, {**MESSAGE, "stop_reason": "stop"}),
        (check_message, {**MESSAGE, "content": [{"type": "thinking", "thinking": "x"}]}),
        (check_event, {**EVENT, "delta": {"type": "text_delta"}}),
        (check_event, {**EVENT, "unknown": 1}),
    ],
)
def test_what_is_not_does_not(check: Callable[[bytes], None], body: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, AssertionError)):
        check(orjson.dumps(body))
