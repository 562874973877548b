"""Tools, tool choice, parameters and thinking on their way to Gemini, and the names of tools there and back."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.dialect import Facts
from extproc.core.ir import ForeignTool, Message, OutputFormat, Reasoning, Role, Text, Tool, ToolCall, ToolChoice, ToolResult
from extproc.dialects.gemini.wire import function_name, original_name
from tests.dialects.gemini_bodies import NAMES, encode, model, user


@pytest.mark.parametrize("name", NAMES)
def test_tool_names_are_valid_and_come_back(name: str) -> None:
    sent = function_name(name)
    assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}", sent)
    assert original_name(sent) == name
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", name) and not name.startswith("llm1_"):
        assert sent == name


@given(st.text(min_size=1, max_size=15))
def test_any_short_name_comes_back(name: str) -> None:
    assert original_name(function_name(name)) == name


@given(st.text(max_size=40))
def test_original_name_is_total(name: str) -> None:
    original_name("llm1_" + name)


def test_names_map_everywhere() -> None:
    body, _ = encode(
        user(Text("q")),
        model(ToolCall("c", "1st")),
        user(ToolResult("c", [])),
        tools=[Tool("1st"), Tool("ok")],
        tool_choice=ToolChoice("required", allowed=["1st", "ok"]),
    )
    assert body["tools"] == [{"functionDeclarations": [{"name": "llm1_1st"}, {"name": "ok"}]}]
    assert body["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"] == ["llm1_1st", "ok"]
    assert body["contents"][1]["parts"][0]["functionCall"]["name"] == "llm1_1st"
    assert body["contents"][2]["parts"][0]["functionResponse"]["name"] == "llm1_1st"


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        (ToolChoice("auto"), {"mode": "AUTO"}),
        (ToolChoice("none"), {"mode": "NONE"}),
        (ToolChoice("required"), {"mode": "ANY"}),
        (ToolChoice("tool", name="f"), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (ToolChoice("required", allowed=["f", "g"]), {"mode": "ANY", "allowedFunctionNames": ["f", "g"]}),
        (ToolChoice("auto", allowed=["f"]), {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}),
    ],
)
def test_tool_choice(choice: ToolChoice, config: dict[str, Any]) -> None:
    body, losses = encode(tools=[Tool("f"), Tool("g")], tool_choice=choice)
    assert body["toolConfig"] == {"functionCallingConfig": config}
    assert losses == []


def test_tool_choice_without_tools() -> None:
    assert encode(tool_choice=ToolChoice("none")) == ({"contents": [{"role": "user", "parts": [{"text": "q"}]}]}, [])
    assert encode(tool_choice=ToolChoice("required"))[1] == ["dropped:tool_choice"]


def test_tools() -> None:
    own = ForeignTool("gemini", "googleSearch", {"googleSearch": {}})
    body, losses = encode(
        tools=[own, Tool("f", parameters={}, strict=True, cache="5m"), Tool("g", "", {"type": "object"})], parallel_tool_calls=False
    )
    assert body["tools"] == [
        {"googleSearch": {}},
        {"functionDeclarations": [{"name": "f"}, {"name": "g", "description": "", "parametersJsonSchema": {"type": "object"}}]},
    ]
    assert losses == ["dropped:strict", "dropped:cache_control", "dropped:parallel_tool_calls"]


@pytest.mark.parametrize(
    ("members", "config", "losses"),
    [
        ({"temperature": 2.5}, {"temperature": 2}, ["coerced:temperature"]),
        ({"temperature": -1}, {"temperature": 0}, ["coerced:temperature"]),
        ({"top_p": 1.5}, {"topP": 1}, ["coerced:top_p"]),
        ({"top_k": 0}, {}, ["dropped:top_k"]),
        ({"max_tokens": 99999}, {"maxOutputTokens": 65536}, ["coerced:max_tokens"]),
        ({"stop": list("abcdefg")}, {"stopSequences": list("abcde")}, ["coerced:stop"]),
        ({"stop": ["", "a"]}, {"stopSequences": ["a"]}, ["coerced:stop"]),
        ({"output": OutputFormat("json")}, {"responseMimeType": "application/json"}, []),
        (
            {"output": OutputFormat("schema", name="n", schema={"type": "object", "$defs": {}}, strict=True)},
            {"responseMimeType": "application/json", "responseJsonSchema": {"type": "object", "$defs": {}}},
            [],
        ),
        ({"knobs": {"n": 2}}, {"candidateCount": 2}, []),
        ({"knobs": {"n": 1, "logit_bias": None}}, {}, []),
        ({"knobs": {"seed": 1 << 40}}, {"seed": 0}, ["coerced:seed"]),
        ({"knobs": {"seed": -5}}, {"seed": -5}, []),
        ({"knobs": {"logprobs": True, "top_logprobs": 3}}, {}, ["dropped:logprobs", "dropped:top_logprobs"]),
        ({"knobs": {"logprobs": True, "top_logprobs": 3}, "extra_from": "gemini"}, {"responseLogprobs": True, "logprobs": 3}, []),
        ({"knobs": {"logprobs": False}}, {}, []),
        ({"knobs": {"modalities": ["text", "image"]}}, {"responseModalities": ["TEXT", "IMAGE"]}, []),
        ({"knobs": {"presence_penalty": 0, "frequency_penalty": 0.0}}, {}, []),
        ({"knobs": {"presence_penalty": 1, "frequency_penalty": 1}}, {}, ["dropped:presence_penalty", "dropped:frequency_penalty"]),
        ({"knobs": {"logit_bias": {"1": 1}, "user": "u", "n": "two"}}, {}, ["dropped:logit_bias", "dropped:user", "dropped:n"]),
        ({"extra": {"client_metadata": {}}, "extra_from": "openai_chat"}, {}, ["dropped:unknown_member"]),
    ],
)
def test_parameters(members: dict[str, Any], config: dict[str, Any], losses: list[str]) -> None:
    body, found = encode(facts=Facts("gemini-2.5-flash", "gemini", max_output_tokens=65536), **members)
    assert body.get("generationConfig", {}) == config
    assert found == losses


def test_penalties_reach_models_that_take_them() -> None:
    body, losses = encode(facts=Facts("gemini-2.0-flash", "gemini"), knobs={"presence_penalty": 1.5, "frequency_penalty": 2})
    assert body["generationConfig"] == {"presencePenalty": 1.5, "frequencyPenalty": 1.99}
    assert losses == ["coerced:frequency_penalty"]


@pytest.mark.parametrize(
    ("tier", "sent", "losses"), [("flex", "flex", []), ("default", "standard", []), ("auto", None, []), ("scale", None, ["dropped:service_tier"])]
)
def test_service_tier(tier: str, sent: str | None, losses: list[str]) -> None:
    body, found = encode(knobs={"service_tier": tier})
    assert (body.get("serviceTier"), found) == (sent, losses)


@pytest.mark.parametrize(
    ("name", "reasoning", "config", "losses"),
    [
        ("gemini-2.5-flash", Reasoning(effort="high"), {"thinkingBudget": 24576}, []),
        ("gemini-2.5-flash", Reasoning(effort="xhigh"), {"thinkingBudget": 24576}, ["coerced:thinking_budget"]),
        ("gemini-2.5-flash", Reasoning(effort="none"), {"thinkingBudget": 0}, []),
        ("gemini-2.5-flash", Reasoning(enabled=False), {"thinkingBudget": 0}, []),
        ("gemini-2.5-flash", Reasoning(enabled=True, budget=2000, show=True), {"includeThoughts": True, "thinkingBudget": 2000}, []),
        ("gemini-2.5-flash", Reasoning(budget=-1), {"thinkingBudget": -1}, []),
        ("gemini-2.5-flash", Reasoning(adaptive=True), {"thinkingBudget": -1}, []),
        ("gemini-2.5-flash", Reasoning(effort="turbo"), {"thinkingBudget": -1}, ["coerced:reasoning_effort"]),
        ("gemini-2.5-flash", Reasoning(enabled=True), {"includeThoughts": True}, []),
        ("gemini-2.5-flash-lite", Reasoning(budget=100), {"thinkingBudget": 512}, ["coerced:thinking_budget"]),
        ("gemini-2.5-pro", Reasoning(enabled=False), {"thinkingBudget": 128}, ["coerced:reasoning"]),
        ("gemini-2.5-pro", Reasoning(budget=99999), {"thinkingBudget": 32768}, ["coerced:thinking_budget"]),
        ("gemini-3-flash-preview", Reasoning(effort="minimal"), {"thinkingLevel": "MINIMAL"}, []),
        ("gemini-3-flash-preview", Reasoning(effort="medium"), {"thinkingLevel": "MEDIUM"}, []),
        ("gemini-3-flash-preview", Reasoning(enabled=False), {"thinkingLevel": "MINIMAL"}, ["coerced:reasoning"]),
        ("gemini-3-flash-preview", Reasoning(budget=5000), {"thinkingLevel": "MEDIUM"}, ["coerced:thinking_budget"]),
        ("gemini-3-flash-preview", Reasoning(budget=-1, show=False), {"includeThoughts": False}, []),
        ("gemini-3-flash-preview", Reasoning(adaptive=True, effort="max"), {"thinkingLevel": "HIGH"}, ["coerced:reasoning_effort"]),
        ("gemini-3-pro-preview", Reasoning(effort="medium"), {"thinkingLevel": "HIGH"}, ["coerced:reasoning_effort"]),
        ("gemini-3.1-pro-preview", Reasoning(effort="medium"), {"thinkingLevel": "MEDIUM"}, []),
        ("gemini-3.1-pro-preview", Reasoning(effort="none"), {"thinkingLevel": "LOW"}, ["coerced:reasoning"]),
        ("gemini-flash-latest", Reasoning(effort="low"), {"thinkingLevel": "LOW"}, []),
        ("gemini-4-argon", Reasoning(effort="low"), {"thinkingLevel": "LOW"}, []),
        ("tunedModels/mine", Reasoning(effort="low"), {"thinkingBudget": 1024}, []),
        ("gemini-2.0-flash", Reasoning(effort="low"), {}, ["dropped:reasoning"]),
        ("gemini-2.0-flash", Reasoning(effort="none"), {}, []),
    ],
)
def test_thinking(name: str, reasoning: Reasoning, config: dict[str, Any], losses: list[str]) -> None:
    body, found = encode(facts=Facts(name, "gemini"), reasoning=reasoning)
    assert body.get("generationConfig", {}).get("thinkingConfig", {}) == config
    assert found == losses


def test_names_on_messages_are_reported() -> None:
    assert encode(Message(Role.USER, [Text("q")], name="ann"))[1] == ["dropped:name"]
