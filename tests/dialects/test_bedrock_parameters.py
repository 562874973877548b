"""Converse requests for AWS: reasoning, parameters and structured output, by the family of the model."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from extproc.core.dialect import Facts
from extproc.core.ir import (
    Opaque,
    OutputFormat,
    Reasoning,
    Thinking,
    ToolCall,
)
from tests.dialects.bedrock_requests import ADAPTIVE, CLAUDE, LOOP, NOVA, TOOL, assistant, encode, user


def test_signed_thinking_goes_back_and_foreign_does_not() -> None:
    thoughts = (
        Thinking("t", Opaque("anthropic", "s1")),
        Thinking("", Opaque("anthropic", "data"), redacted=True),
        Thinking("g", Opaque("gemini", "s2")),
        Thinking("u"),
    )
    body, codes = encode(
        user("q"), assistant(*thoughts, ToolCall("c1", "f")), LOOP[2], tools=[TOOL], reasoning=Reasoning(True, budget=2000), max_tokens=9000
    )
    assert body["messages"][1]["content"][:-1] == [
        {"reasoningContent": {"reasoningText": {"text": "t", "signature": "s1"}}},
        {"reasoningContent": {"redactedContent": base64.b64encode(b"data").decode()}},
    ]
    assert body["additionalModelRequestFields"]["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    assert codes == {"signature:foreign", "dropped:thinking"}
    body, codes = encode(user("q"), assistant(*thoughts, "a"), user("q2"), facts=NOVA)
    assert body["messages"][1]["content"] == [{"text": "a"}]
    body, _ = encode(user("q"), assistant(Thinking("u"), "a"), user("q2"), facts=Facts("us.deepseek.r1-v1:0", "bedrock"))
    assert body["messages"][1]["content"][0] == {"reasoningContent": {"reasoningText": {"text": "u"}}}


@pytest.mark.parametrize(
    ("reasoning", "facts", "members", "fields", "codes"),
    [
        (Reasoning(effort="high"), ADAPTIVE, {}, {"thinking": {"type": "adaptive"}}, set()),
        (Reasoning(enabled=False), ADAPTIVE, {}, {"thinking": {"type": "disabled"}}, set()),
        (Reasoning(enabled=False), CLAUDE, {}, None, set()),
        (
            Reasoning(effort="low"),
            CLAUDE,
            {},
            {"thinking": {"type": "enabled", "budget_tokens": 2048}},
            {"coerced:reasoning_effort", "defaulted:max_tokens"},
        ),
        (
            Reasoning(True, budget=5000),
            CLAUDE,
            {"max_tokens": 4000},
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            {"coerced:thinking_budget"},
        ),
        (Reasoning(True, budget=5000), CLAUDE, {"max_tokens": 1000}, None, {"coerced:thinking"}),
        (Reasoning(effort="high"), Facts("anthropic.claude-3-haiku-20240307-v1:0", "anthropic"), {}, None, {"dropped:reasoning"}),
        (Reasoning(effort="high"), NOVA, {}, {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}}, set()),
        (
            Reasoning(effort="high"),
            NOVA,
            {"max_tokens": 100},
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}},
            {"coerced:reasoning_effort"},
        ),
        (Reasoning(enabled=False), NOVA, {}, {"reasoningConfig": {"type": "disabled"}}, set()),
        (Reasoning(effort="medium"), Facts("openai.gpt-oss-20b-1:0", "bedrock"), {}, {"reasoning_effort": "medium"}, set()),
        (Reasoning(effort="none"), Facts("openai.gpt-oss-20b-1:0", "bedrock"), {}, {"reasoning_effort": "low"}, {"coerced:reasoning"}),
        (Reasoning(effort="medium"), Facts("qwen.qwen3-32b-v1:0", "bedrock"), {}, {"reasoning_config": "high"}, {"coerced:reasoning_effort"}),
        (Reasoning(effort="high"), Facts("us.meta.llama3-3-70b-instruct-v1:0", "bedrock"), {}, None, {"dropped:reasoning"}),
        (Reasoning(), NOVA, {}, None, set()),
    ],
)
def test_how_much_to_think(reasoning: Reasoning, facts: Facts, members: Any, fields: Any, codes: set[str]) -> None:
    body, found = encode(facts=facts, reasoning=reasoning, **members)
    assert body.get("additionalModelRequestFields") == fields
    assert found == codes
    if facts is ADAPTIVE and reasoning.effort:
        assert body["outputConfig"] == {"effort": "high"}


@pytest.mark.parametrize(
    ("facts", "fields", "codes"),
    [
        (CLAUDE, {"top_k": 9}, set()),
        (NOVA, {"inferenceConfig": {"topK": 9}}, set()),
        (Facts("us.meta.llama3-3-70b-instruct-v1:0", "bedrock"), None, {"dropped:top_k"}),
        (Facts("us.anthropic.claude-opus-4-7", "anthropic"), None, {"dropped:top_k"}),
    ],
)
def test_top_k(facts: Facts, fields: Any, codes: set[str]) -> None:
    body, found = encode(facts=facts, top_k=9)
    assert body.get("additionalModelRequestFields") == fields
    assert found == codes


def test_limits_and_stops() -> None:
    body, codes = encode(max_tokens=99999, temperature=1.7, stop=["END", " ", "x"])
    assert body["inferenceConfig"] == {"maxTokens": 64000, "stopSequences": ["END", "x"], "temperature": 1.0}
    assert body["additionalModelResponseFieldPaths"] == ["/stop_sequence"]
    assert codes == {"coerced:max_tokens", "coerced:temperature", "dropped:stop"}
    body, _ = encode(stop=["\n"], facts=NOVA)
    assert body["inferenceConfig"] == {"stopSequences": ["\n"]}
    assert "additionalModelResponseFieldPaths" not in body


@pytest.mark.parametrize(
    ("knobs", "members", "codes"),
    [
        ({"service_tier": "flex"}, {"serviceTier": {"type": "flex"}}, set()),
        ({"service_tier": "auto"}, {}, set()),
        ({"service_tier": "scale"}, {}, {"dropped:service_tier"}),
        ({"metadata": {"team": "a b/c"}}, {"requestMetadata": {"team": "a b/c"}}, set()),
        ({"metadata": {"team": "ünï"}}, {}, {"dropped:metadata"}),
        ({"metadata": {"team": 1}}, {}, {"dropped:metadata"}),
        ({"seed": 1, "n": 1, "logprobs": False}, {}, {"dropped:seed"}),
    ],
)
def test_knobs(knobs: Any, members: Any, codes: set[str]) -> None:
    body, found = encode(knobs=knobs)
    assert {name: body[name] for name in body if name != "messages"} == members
    assert found == codes


def test_output_schema_where_the_model_has_it_and_where_not() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}
    wanted = OutputFormat("schema", "n", schema, strict=True, description="d")
    body, codes = encode(output=wanted)
    written = body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert json.loads(written.pop("schema"))["additionalProperties"] is False
    assert written == {"name": "n", "description": "d"}
    assert codes == {"coerced:json_schema"}
    body, codes = encode(output=wanted, facts=NOVA)
    assert "outputConfig" not in body
    assert json.dumps(schema, separators=(",", ":")) in body["system"][0]["text"]
    assert codes == {"coerced:response_format"}
    assert encode(output=OutputFormat("json"))[1] == {"coerced:json_object"}
