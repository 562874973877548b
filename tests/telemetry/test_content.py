"""What may go on a span when content capture is on: text, within a limit; never media, opaque state or a signed URL."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core import ir
from extproc.telemetry.content import Capture, capture_from, messages_json

VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


@pytest.mark.parametrize(
    ("value", "capture"),
    [(None, Capture.NO_CONTENT), ("", Capture.NO_CONTENT), ("no_content", Capture.NO_CONTENT), ("SPAN_ONLY", Capture.SPAN_ONLY)],
)
def test_the_switch(value: str | None, capture: Capture) -> None:
    assert capture_from({} if value is None else {VARIABLE: value}) is capture


@pytest.mark.parametrize("value", ["true", "false", "EVENT_ONLY", "SPAN_AND_EVENT", "yes"])
def test_what_we_do_not_carry_out_is_refused_with_the_choices(value: str) -> None:
    with pytest.raises(ValueError, match=f"{VARIABLE}='{value}': use NO_CONTENT or SPAN_ONLY"):
        capture_from({VARIABLE: value})


def test_canonical_messages_take_the_published_shape() -> None:
    messages = [
        ir.Message(ir.Role.SYSTEM, [ir.Text("be brief")]),
        ir.Message(
            ir.Role.USER,
            [
                ir.Text("look"),
                ir.Image(ir.Source(media_type="image/png", data="QUJD" * 100)),
                ir.Image(ir.Source(url="https://user:pw@host/a.png?X-Signature=s3cret")),
                ir.Document(ir.Source(file_id="file-1")),
                ir.Audio(ir.Source(url="data:audio/wav;base64,QUJD")),
            ],
        ),
        ir.Message(ir.Role.ASSISTANT, [ir.Thinking("hm", ir.Opaque("anthropic", "SIGNATURE")), ir.ToolCall("c1", "look_up", '{"q":1}')]),
        ir.Message(ir.Role.USER, [ir.ToolResult("c1", [ir.Text("42")])]),
    ]
    assert orjson.loads(messages_json(messages)) == [
        {"role": "system", "parts": [{"type": "text", "content": "be brief"}]},
        {
            "role": "user",
            "parts": [
                {"type": "text", "content": "look"},
                {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "[media, 400 characters]"},
                {"type": "uri", "modality": "image", "uri": "https://host/a.png"},
                {"type": "file", "modality": "document", "file_id": "file-1"},
                {"type": "uri", "modality": "audio", "uri": "[media, 26 characters]"},
            ],
        },
        {
            "role": "assistant",
            "parts": [{"type": "reasoning", "content": "hm"}, {"type": "tool_call", "id": "c1", "name": "look_up", "arguments": '{"q":1}'}],
        },
        {"role": "user", "parts": [{"type": "tool_call_response", "id": "c1", "response": [{"type": "text", "content": "42"}]}]},
    ]


def test_an_answer_carries_its_finish_reason() -> None:
    answer = ir.Response("id", "m", [ir.Text("hello"), ir.Refusal("no")], ir.FinishReason.STOP)
    assert orjson.loads(messages_json(answer)) == [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": "hello"}, {"type": "text", "content": "no", "refusal": True}],
            "finish_reason": "stop",
        }
    ]


def test_raw_messages_of_any_dialect_are_redacted() -> None:
    raw = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://h/p?sig=s3cret"}}]},
        {"role": "user", "content": [{"type": "image", "source": {"type": "base64", "data": "QUJD" * 50}}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "OPAQUE"}]},
        {"role": "user", "content": "plain", "n": 2**70, "ok": True},
    ]
    text = messages_json(raw)
    for forbidden in ("QUJD", "s3cret", "OPAQUE"):
        assert forbidden not in text
    assert orjson.loads(text)[4] == {"role": "user", "content": "plain", "n": str(2**70), "ok": True}


def test_long_conversations_are_cut_to_valid_json() -> None:
    text = messages_json([ir.Message(ir.Role.USER, [ir.Text("x" * 5000)]) for _ in range(10_000)], limit=2000)
    assert len(text) < 3000
    assert orjson.loads(text)[-1] == "[9999 more]"
    many = messages_json([ir.Message(ir.Role.USER, []) for _ in range(1000)], limit=100_000)
    assert orjson.loads(many)[-1] == "[744 more]"


def test_depth_is_bounded() -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    assert "[deeper]" in messages_json(deep)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(JSON_VALUES, st.integers(0, 200))
def test_total_and_always_valid_json(value: Any, limit: int) -> None:
    orjson.loads(messages_json(value, limit))
