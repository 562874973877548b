"""Converse requests that pass from a Bedrock client to Bedrock: byte for byte, but for what others minted."""

from __future__ import annotations

import base64
import json
from typing import Any

import orjson
from hypothesis import given

from extproc.core import carrier
from extproc.core.dialect import Ask, Facts
from extproc.core.errors import BadRequestError
from extproc.core.ir import Opaque, Thinking
from tests.dialects.bedrock_requests import CLAUDE, DIALECT, JSON, NOVA, assistant, encode, user


def splice(body: dict[str, Any], facts: Facts = CLAUDE, *, stream: bool = False) -> tuple[bytes, set[str], str]:
    raw = json.dumps(body, indent=1, ensure_ascii=False).encode()
    encoded = DIALECT.splice_request(raw, orjson.loads(raw), facts, Ask("alias", stream))
    return encoded.body, {loss.code for loss in encoded.losses}, encoded.path


def test_the_same_dialect_passes_byte_for_byte() -> None:
    body = {"messages": [{"role": "user", "content": [{"text": "q"}]}], "newMember": {"big": 1}, "inferenceConfig": {}}
    raw, codes, path = splice(body, stream=True)
    assert raw == json.dumps(body, indent=1).encode()
    assert path == "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream"
    assert not codes


def test_an_anthropic_conversation_passes_byte_for_byte() -> None:
    said = {"reasoningContent": {"reasoningText": {"text": "t", "signature": "EqY"}}}
    body = {"messages": [{"role": "user", "content": [{"text": "q"}]}, {"role": "assistant", "content": [said, {"text": "a"}]}]}
    raw, codes, _ = splice(body)
    assert raw == json.dumps(body, indent=1).encode()
    assert not codes


def test_an_id_says_whose_model_it_is_where_the_target_serves_all() -> None:
    said = {"reasoningContent": {"reasoningText": {"text": "t", "signature": "EqY"}}}
    body = {"messages": [{"role": "user", "content": [{"text": "q"}]}, {"role": "assistant", "content": [said, {"text": "a"}]}]}
    assert not splice(body, Facts("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "bedrock"))[1]
    assert splice(body, Facts("eu.amazon.nova-lite-v1:0", "bedrock"))[1] == {"signature:foreign"}
    history = (user("q"), assistant(Thinking("t", Opaque("anthropic", "EqY")), "a"), user("q"))
    assert not encode(*history, facts=Facts("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "bedrock"))[1]


def test_what_others_minted_goes() -> None:
    big = 123456789012345678901234567890
    carried = carrier.join("call_1", Opaque("gemini", "sig"), [])
    foreign = {"reasoningContent": {"reasoningText": {"text": "t", "signature": "llm1.openai.abc"}}}
    hidden = {"reasoningContent": {"redactedContent": base64.b64encode(b"llm1.openai.abc").decode()}}
    unsigned = {"reasoningContent": {"reasoningText": {"text": "t"}}}
    own = {"reasoningContent": {"reasoningText": {"text": "t", "signature": "EqY"}}}
    use = {"toolUse": {"toolUseId": carried, "name": "f", "input": {"n": big}}}
    body = {
        "messages": [
            {"role": "user", "content": [{"text": "q"}]},
            {"role": "assistant", "content": [unsigned]},
            {"role": "assistant", "content": [foreign, hidden, unsigned, own, use]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": carried, "content": []}}]},
        ],
        "toolConfig": {"tools": []},
    }
    raw, codes, _ = splice(body)
    sent = json.loads(raw)
    assert [m["role"] for m in sent["messages"]] == ["user", "assistant", "user"]
    assert sent["messages"][1]["content"] == [own, {"toolUse": {"toolUseId": "call_1", "name": "f", "input": {"n": big}}}]
    assert sent["messages"][2]["content"][0]["toolResult"]["toolUseId"] == "call_1"
    assert codes == {"signature:foreign"}
    sent = json.loads(splice(body, NOVA)[0])
    assert sent["messages"][2]["content"][:-1] == [unsigned]  # its own models' reasoning stays, Anthropic's does not


def test_thinking_is_off_in_a_loop_that_another_vendor_began() -> None:
    body = {
        "messages": [
            {"role": "user", "content": [{"text": "q"}]},
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "a", "name": "f", "input": {}}}]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": "a", "content": []}}]},
        ],
        "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2000}, "top_k": 3},
    }
    raw, codes, _ = splice(body)
    assert json.loads(raw)["additionalModelRequestFields"] == {"thinking": {"type": "disabled"}, "top_k": 3}
    assert codes == {"coerced:thinking"}


@given(JSON)
def test_any_body_is_spliced_or_refused(body: Any) -> None:
    raw = orjson.dumps(body)
    try:
        encoded = DIALECT.splice_request(raw, body, CLAUDE, Ask())
    except BadRequestError:
        assert not isinstance(body, dict)
        return
    assert isinstance(orjson.loads(encoded.body), dict)
