"""A Messages request whose client named another generation of Claude than the one that serves it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from extproc.core.dialect import NO_ASK, Facts
from extproc.dialects.anthropic_messages import AnthropicMessages
from tests.validators.anthropic_types import check_messages_request

OLD = Facts("claude-3-5-haiku-20241022", "anthropic", 8192)
BUDGET = Facts("claude-sonnet-4-5", "anthropic", 64000)
BOTH = Facts("claude-opus-4-6", "anthropic", 128000)
ADAPTIVE = Facts("us.anthropic.claude-opus-4-7", "anthropic", 128000)
ENABLED = {"type": "enabled", "budget_tokens": 3000}
TOOLS = [{"name": "f", "input_schema": {"type": "object"}}]
USE = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "r"}]}


def spliced(facts: Facts, **members: Any) -> tuple[dict[str, Any], set[str]]:
    """(the members that differ from what was said, the codes of the losses)."""
    said = {"model": "chat", "max_tokens": 6000, "messages": [{"role": "user", "content": "q"}], **members}
    encoded = AnthropicMessages().splice_request(json.dumps(said).encode(), said, facts, NO_ASK)
    body = json.loads(encoded.body)
    check_messages_request(encoded.body)
    assert body.pop("model") == facts.model
    del said["model"]
    changed = {name: body.get(name) for name in {*body, *said} if body.get(name) != said.get(name)}
    return changed, {loss.code for loss in encoded.losses}


@pytest.mark.parametrize(
    ("facts", "said", "changed", "losses"),
    [
        (ADAPTIVE, {"thinking": ENABLED}, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}}, {"coerced:thinking_budget"}),
        (BOTH, {"thinking": ENABLED}, {}, set()),
        (
            BOTH,
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}},
            {"output_config": {"effort": "high"}},
            {"coerced:reasoning_effort"},
        ),
        (BUDGET, {"thinking": ENABLED}, {}, set()),
        (
            BUDGET,
            {"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "low"}},
            {"thinking": {"type": "enabled", "budget_tokens": 2048, "display": "omitted"}, "output_config": None},
            {"coerced:reasoning_effort"},
        ),
        (
            BUDGET,
            {"thinking": {"type": "adaptive"}, "tools": TOOLS, "tool_choice": {"type": "any"}},
            {"thinking": None},
            {"coerced:thinking", "coerced:thinking_budget"},
        ),
        (
            BUDGET,
            {"thinking": {"type": "adaptive"}, "tools": TOOLS, "messages": [{"role": "user", "content": "q"}, USE, RESULT]},
            {"thinking": None},
            {"coerced:thinking", "coerced:thinking_budget"},
        ),
        (BUDGET, {"output_config": {"effort": "high"}}, {"output_config": None}, {"dropped:reasoning_effort"}),
        (Facts("claude-opus-4-5", "anthropic"), {"output_config": {"effort": "high"}}, {}, set()),
        (OLD, {"thinking": ENABLED, "max_tokens": 9000}, {"thinking": None, "max_tokens": 8192}, {"dropped:reasoning", "coerced:max_tokens"}),
        (OLD, {"temperature": 0.5, "top_p": 0.9, "top_k": 5}, {}, set()),
        (BUDGET, {"temperature": 0.5, "top_p": 0.9, "top_k": 5}, {"top_p": None}, {"dropped:top_p"}),
        (ADAPTIVE, {"temperature": 1, "top_k": 5}, {"temperature": None, "top_k": None}, {"dropped:top_k"}),
        (Facts("claude-x", "anthropic"), {"temperature": 0.5, "thinking": ENABLED}, {}, set()),
        (Facts("kimi-k2", "anthropic"), {"temperature": 0.5, "thinking": {"type": "adaptive"}}, {}, set()),
    ],
)
def test_what_the_generation_refuses_is_said_in_its_words(facts: Facts, said: dict[str, Any], changed: dict[str, Any], losses: set[str]) -> None:
    assert spliced(facts, **said) == (changed, losses)


@pytest.mark.parametrize("asked", ["claude-opus-4-7", "us.anthropic.claude-opus-4-7", "claude-opus-4-7-20260401"])
def test_a_client_that_names_the_generation_knows_what_it_takes(asked: str) -> None:
    said = {"model": asked, "max_tokens": 6000, "messages": [{"role": "user", "content": "q"}], "thinking": ENABLED, "temperature": 0.5}
    body = AnthropicMessages().splice_request(json.dumps(said).encode(), said, ADAPTIVE, NO_ASK)
    assert (json.loads(body.body), list(body.losses)) == ({**said, "model": ADAPTIVE.model}, [])


def test_an_assistants_turn_at_the_end() -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "The answer"}]
    assert spliced(BUDGET, messages=turns) == ({}, set())
    changed, losses = spliced(ADAPTIVE, messages=turns)
    assert (changed["messages"][:2], changed["messages"][2]["role"], losses) == (turns, "user", {"coerced:prefill"})


@pytest.mark.parametrize(
    "broken",
    [
        {"thinking": []},
        {"thinking": {"type": []}},
        {"thinking": {"type": "adaptive", "display": {}}, "output_config": []},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": []}, "messages": 7},
        {"thinking": {"type": "adaptive"}, "messages": [], "tool_choice": "any"},
        {"thinking": {"type": "enabled", "budget_tokens": "many"}, "max_tokens": None},
        {"thinking": {"type": "adaptive"}, "messages": [1, {"role": []}], "max_tokens": True},
        {"temperature": [], "top_p": {}, "top_k": "x"},
    ],
)
@pytest.mark.parametrize("facts", [OLD, BUDGET, BOTH, ADAPTIVE])
def test_broken_members_are_the_providers_to_refuse(facts: Facts, broken: dict[str, Any]) -> None:
    said = {"model": "chat", "max_tokens": 6000, "messages": [{"role": "user", "content": "q"}], **broken}
    assert json.loads(AnthropicMessages().splice_request(json.dumps(said).encode(), said, facts, NO_ASK).body)["model"] == facts.model
