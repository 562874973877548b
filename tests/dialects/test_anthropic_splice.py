"""The same dialect on both sides: bytes stay, but for the model and what only another vendor could read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from extproc.core import carrier
from extproc.core.dialect import NO_ASK, Ask, Facts, Reply
from extproc.core.errors import BadRequestError
from extproc.core.ir import FinishReason, Opaque, Response, Text, Thinking, ToolCall
from extproc.core.usage import Usage
from extproc.dialects.anthropic_messages import AnthropicMessages

DIALECT = AnthropicMessages()
FACTS = Facts("claude-target", "anthropic")
ASK = {"role": "user", "content": "hi"}


def splice(raw: bytes, headers: dict[str, str] | None = None) -> tuple[bytes, set[str]]:
    encoded = DIALECT.splice_request(raw, json.loads(raw), FACTS, Ask(headers=headers or {}))
    assert encoded.path == "/messages"
    return encoded.body, {loss.code for loss in encoded.losses}


def test_only_the_model_changes() -> None:
    raw = b'{ "unknown" : 1.0e2,\n "model":"claude-4" , "messages": [{"role":"user","content":"\\u00fc  model"}],"n":98765432109876543210 }'
    assert splice(raw) == (raw.replace(b'"claude-4"', b'"claude-target"'), set())
    same = raw.replace(b"claude-4", b"claude-target")
    assert splice(same) == (same, set())


def test_headers() -> None:
    raw = b'{"model":"m","messages":[]}'
    assert DIALECT.splice_request(raw, json.loads(raw), FACTS, NO_ASK).headers == {"anthropic-version": "2023-06-01"}
    sent = {"anthropic-version": "2026-10-21", "anthropic-beta": "a,b", "x-other": "1"}
    assert DIALECT.splice_request(raw, json.loads(raw), FACTS, Ask(headers=sent)).headers == {
        "anthropic-version": "2026-10-21",
        "anthropic-beta": "a,b",
    }


def test_two_members_of_one_name_are_refused() -> None:
    raw = b'{"model":"a","model":"b","messages":[]}'
    with pytest.raises(BadRequestError):
        DIALECT.splice_request(raw, json.loads(raw), FACTS, NO_ASK)


def _conversation(answer: Response, **members: Any) -> bytes:
    """What a client sends after an answer that another vendor gave."""
    content = json.loads(DIALECT.encode_response(answer, Reply("i", 0, "m"))[0])["content"]
    ids = [b["id"] for b in content if b["type"] == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": i, "content": "r"} for i in ids]
    messages = [ASK, {"role": "assistant", "content": content}, {"role": "user", "content": results or "go on"}]
    return json.dumps({"model": "claude-target", "messages": messages, "big": 1, **members}).encode()


def test_foreign_state_is_taken_out() -> None:
    sealed = Opaque("gemini", "sig")
    blocks = [
        Thinking("a", sealed),
        Thinking("b"),
        Thinking("", sealed, redacted=True),
        Text("x"),
        ToolCall("c", "f", '{"n": 123456789012345678901234}', sealed),
    ]
    raw = _conversation(Response("i", "m", blocks, FinishReason.STOP, Usage()))
    assert carrier.marked(raw)
    body, losses = splice(raw)
    assert losses == {"signature:foreign"}
    assert json.loads(body)["messages"] == [
        ASK,
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "x"}, {"type": "tool_use", "id": "c", "name": "f", "input": {"n": 123456789012345678901234}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "r"}]},
    ]
    assert splice(body) == (body, set())


def test_a_turn_of_nothing_else_goes() -> None:
    body, _ = splice(_conversation(Response("i", "m", [Thinking("a")], FinishReason.STOP, Usage())))
    assert [m["role"] for m in json.loads(body)["messages"]] == ["user", "user"]


def test_anthropics_own_thinking_stays_byte_for_byte() -> None:
    raw = _conversation(Response("i", "m", [Thinking("a", Opaque("anthropic", "c2ln")), ToolCall("c", "f")], FinishReason.TOOL_CALLS, Usage()))
    assert splice(raw) == (raw, set())


def test_a_quoted_mark_changes_nothing() -> None:
    raw = json.dumps({"model": "claude-target", "messages": [{"role": "user", "content": 'what is __llm1_abc and "signature":""?'}]}).encode()
    assert splice(raw) == (raw, set())
    raw = b'{"model":"claude-target","messages":[{"role":"user","content":"__llm1_"}],"x":{"signature":""}}'
    assert splice(raw) == (raw, set())


THINKING = {"type": "enabled", "budget_tokens": 2000}


def test_thinking_goes_off_in_a_loop_that_another_vendor_began() -> None:
    for first in ([], [Thinking("a", Opaque("gemini", "s"))]):
        raw = _conversation(Response("i", "m", [*first, ToolCall("c", "f")], FinishReason.TOOL_CALLS, Usage()), thinking=THINKING)
        body, losses = splice(raw)
        assert json.loads(body)["thinking"] == {"type": "disabled"}
        assert "coerced:thinking" in losses


def test_thinking_stays_where_it_is_allowed() -> None:
    signed = [Thinking("a", Opaque("anthropic", "s")), ToolCall("c", "f")]
    for raw in (
        _conversation(Response("i", "m", signed, FinishReason.TOOL_CALLS, Usage()), thinking=THINKING),
        _conversation(Response("i", "m", [ToolCall("c", "f")], FinishReason.TOOL_CALLS, Usage()), thinking={"type": "adaptive"}),
        _conversation(Response("i", "m", [Text("x")], FinishReason.STOP, Usage()), thinking=THINKING),
    ):
        assert splice(raw) == (raw, set())


@pytest.mark.parametrize("messages", [None, 3, [], [None], [{"role": "user", "content": [{"type": "tool_result"}]}], [{"role": "assistant"}]])
def test_any_shape_of_messages_passes(messages: Any) -> None:
    raw = json.dumps({"model": "claude-target", "messages": messages, "thinking": THINKING, "s": {"signature": ""}}).encode()
    assert splice(raw) == (raw, set())
