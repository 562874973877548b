"""What a body asks for, member by member, in every dialect and in any shape."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core import wanted
from extproc.dialects.catalog import DIALECTS


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("openai_chat", {"tools": [{}]}),
        ("openai_chat", {"functions": [{}]}),
        ("openai_responses", {"tools": [{}]}),
        ("anthropic_messages", {"tools": [{}]}),
        ("gemini", {"tools": {"functionDeclarations": []}}),
        ("bedrock_converse", {"toolConfig": {"tools": [{}]}}),
        ("cohere_chat", {"tools": [{}]}),
        ("ollama_chat", {"tools": [{}]}),
    ],
)
def test_tools(dialect: str, body: dict[str, Any]) -> None:
    assert wanted.tools(dialect, body)
    assert not wanted.tools(dialect, {})
    assert not wanted.tools(dialect, {"tools": [], "toolConfig": {"tools": []}})


@pytest.mark.parametrize(
    ("dialect", "body", "most"),
    [
        ("openai_chat", {"max_tokens": 5}, 5),
        ("openai_chat", {"max_tokens": 5, "max_completion_tokens": 7}, 7),
        ("openai_responses", {"max_output_tokens": 5}, 5),
        ("anthropic_messages", {"max_tokens": 5}, 5),
        ("gemini", {"generationConfig": {"maxOutputTokens": 5}}, 5),
        ("gemini", {"generation_config": {"max_output_tokens": "5"}}, 5),
        ("bedrock_converse", {"inferenceConfig": {"maxTokens": 5}}, 5),
        ("cohere_chat", {"max_tokens": 5}, 5),
        ("ollama_chat", {"options": {"num_predict": 5}}, 5),
        ("ollama_chat", {"options": {"num_predict": -1}}, None),
        ("openai_completions", {"max_tokens": 5}, 5),
        ("openai_chat", {"max_tokens": True}, None),
        ("openai_chat", {"max_tokens": "many"}, None),
        ("openai_chat", {"max_tokens": float("nan")}, None),
        ("openai_chat", {"max_tokens": 1e300}, None),
        ("openai_chat", {}, None),
    ],
)
def test_the_longest_answer(dialect: str, body: dict[str, Any], most: int | None) -> None:
    assert wanted.max_output_tokens(dialect, body) == most


@pytest.mark.parametrize(
    ("dialect", "body", "asked"),
    [
        ("openai_chat", {"reasoning_effort": "low"}, True),
        ("openai_chat", {"reasoning_effort": "none"}, False),
        ("openai_chat", {"reasoning": {"max_tokens": 2000}}, True),
        ("openai_chat", {"reasoning": {"enabled": False, "effort": "high"}}, False),
        ("openai_chat", {"reasoning": {"exclude": True}}, False),
        ("openai_chat", {"chat_template_kwargs": {"enable_thinking": True}}, True),
        ("openai_chat", {"chat_template_kwargs": {"enable_thinking": False}}, False),
        ("openai_chat", {"prompt_mode": "reasoning"}, True),
        ("openai_chat", {"thinking": {"type": "disabled"}}, False),
        ("openai_responses", {"reasoning": {"effort": "medium", "summary": "auto"}}, True),
        ("openai_responses", {"reasoning": {"summary": "auto"}}, False),
        ("anthropic_messages", {"thinking": {"type": "enabled", "budget_tokens": 2000}}, True),
        ("anthropic_messages", {"thinking": {"type": "adaptive"}}, True),
        ("anthropic_messages", {"thinking": {"type": "disabled"}}, False),
        ("gemini", {"generationConfig": {"thinkingConfig": {"thinkingBudget": -1}}}, True),
        ("gemini", {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}, False),
        ("gemini", {"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}}, True),
        ("gemini", {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}, False),
        ("bedrock_converse", {"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}}}, True),
        ("bedrock_converse", {"additionalModelRequestFields": {"reasoningConfig": {"type": "disabled"}}}, False),
        ("cohere_chat", {"thinking": {"type": "enabled"}}, True),
        ("ollama_chat", {"think": True}, True),
        ("ollama_chat", {"think": "high"}, True),
        ("ollama_chat", {"think": False}, False),
    ],
)
def test_reasoning(dialect: str, body: dict[str, Any], asked: bool) -> None:
    assert wanted.reasoning(dialect, body) is asked
    assert wanted.reasoning(dialect, {}) is False


def test_task() -> None:
    assert wanted.task("openai_chat", {"metadata": {"task": "x"}}) == "x"
    assert wanted.task("bedrock_converse", {"requestMetadata": {"task": "x"}}) == "x"
    assert wanted.task("gemini", {"labels": {"task": "x"}}) == "x"
    assert wanted.task("openai_chat", {"metadata": {"task": 1}}) is None
    assert wanted.task("openai_chat", {"metadata": "task"}) is None


NAMES = st.sampled_from(
    [
        "tools",
        "toolConfig",
        "reasoning",
        "thinking",
        "thinkingConfig",
        "generationConfig",
        "options",
        "metadata",
        "task",
        "max_tokens",
        "effort",
        "type",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


@given(st.sampled_from(sorted({d.name for d in DIALECTS.values()})), VALUES | st.dictionaries(NAMES, VALUES, max_size=5))
def test_total_over_all_shapes(dialect: str, body: Any) -> None:
    assert wanted.tools(dialect, body) in (True, False)
    assert wanted.reasoning(dialect, body) in (True, False)
    most = wanted.max_output_tokens(dialect, body)
    assert most is None or most >= 1
    task = wanted.task(dialect, body)
    assert task is None or type(task) is str
