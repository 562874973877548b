"""Thousands of tools, allowed by name or called in the history: a body of some MB must not take minutes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from extproc.core.dialect import Facts
from extproc.core.ir import JSON
from extproc.dialects.catalog import DIALECTS
from tests.golden.matrix import TARGETS

MANY = 30_000
NAMES = [f"f{n}" for n in range(MANY)]
USER = {"role": "user", "content": "a"}


def _names(value: JSON) -> set[str]:
    """Every name of a tool in a request's `tools`, whatever the format."""
    if isinstance(value, list):
        return set().union(*map(_names, value))
    if not isinstance(value, dict):
        return set()
    own = {value["name"]} if isinstance(value.get("name"), str) else set()
    return own | _names([value[key] for key in ("function", "toolSpec", "functionDeclarations") if key in value])


def _encoded(body: dict[str, Any], dialect: str, facts: Facts) -> JSON:
    request = DIALECTS["openai_chat"].decode_request(body)
    return orjson.loads(DIALECTS[dialect].encode_request(request, facts).body)


# by comparing each with each any of these would take half a minute


@pytest.mark.parametrize("dialect", ["ollama_chat", "openai_responses", "cohere_chat", "anthropic_messages", "gemini", "bedrock_converse"])
def test_allowed_tools(dialect: str) -> None:
    allowed = [{"type": "function", "function": {"name": name}} for name in NAMES[1:]]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": allowed}}
    tools = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in NAMES]
    sent = _encoded({"model": "m", "messages": [USER], "tools": tools, "tool_choice": choice}, dialect, Facts(TARGETS[dialect].model, "other"))
    assert len(_names(sent.get("tools") or sent["toolConfig"]["tools"])) in (MANY - 1, MANY)


def test_calls_of_many_tools_in_the_history() -> None:
    calls = [{"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}} for name in NAMES]
    results = [{"role": "tool", "tool_call_id": name, "content": "r"} for name in NAMES]
    body = {"model": "m", "messages": [USER, {"role": "assistant", "tool_calls": calls}, *results]}
    sent = _encoded(body, "bedrock_converse", TARGETS["bedrock_converse"].facts)
    assert [tool["toolSpec"]["name"] for tool in sent["toolConfig"]["tools"]] == NAMES
