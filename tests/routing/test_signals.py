"""The signals of a request: all of them, lazily, each once, whatever the body."""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.core import prompt as prompts
from extproc.core.dialect import Ask
from extproc.dialects.catalog import DIALECTS
from extproc.registry.policy import SIGNALS, Shape, SignalValue
from extproc.routing import signals as module
from extproc.routing.signals import RequestSignals
from tests.core.test_prompt import CHATS, NAMES, VALUES

WALL = calendar.timegm((2025, 3, 7, 22, 15, 59, 0, 0, 0))
CHEAP = frozenset(SIGNALS) - {"prompt_tokens", "turns", "language", "code", "complexity", "task", "modalities"}
"""Those that need no walk over the prompt, whatever the request."""


def asked(
    body: Any,
    dialect: str = "openai_chat",
    *,
    ask: Ask | None = None,
    headers: Mapping[str, str] | None = None,
    who: Mapping[str, str] | None = None,
    **more: Any,
) -> RequestSignals:
    client = DIALECTS[dialect]
    return RequestSignals(client, body, ask or Ask("gpt-4o"), client.needs(body), headers or {}, who or {}, WALL, **more)


def chat(text: str, **members: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **members}


def shaped(value: SignalValue, shape: Shape) -> bool:
    if value is None:
        return True
    match shape:
        case Shape.FLAG:
            return type(value) is bool
        case Shape.WORD:
            return type(value) is str and value != ""
        case Shape.WORDS:
            return type(value) is frozenset and all(type(word) is str for word in value)
        case Shape.TIME:
            return type(value) is int and 0 <= value <= 1439
        case Shape.NUMBER:
            return type(value) in (int, float)


def test_every_signal_is_computed_and_no_other() -> None:
    assert set(module._COMPUTED) == set(SIGNALS)
    with pytest.raises(KeyError):
        asked(chat("hello")).get("mood")


@pytest.mark.parametrize("dialect", CHATS)
@pytest.mark.parametrize("name", SIGNALS)
def test_values_have_the_shape_of_their_signal(dialect: str, name: str) -> None:
    assert shaped(asked(CHATS[dialect], dialect).get(name), SIGNALS[name][0])


@settings(max_examples=150)
@given(st.sampled_from(sorted(DIALECTS)), st.dictionaries(NAMES, VALUES, max_size=5) | VALUES)
def test_no_body_makes_it_raise(dialect: str, body: Any) -> None:
    found = asked(body, dialect)
    for name, (shape, _) in SIGNALS.items():
        assert shaped(found.get(name), shape), name


def test_cheap_signals_do_not_walk_the_prompt() -> None:
    with patch.object(prompts, "read", side_effect=AssertionError("walked")):
        found = asked(chat("hello"), who={"tenant": "acme"})
        for name in CHEAP:
            found.get(name)
        assert found.get("modalities") == frozenset({"text"}), "where nothing but text is needed"
        assert asked(chat("hello"), headers={"x-llm-task": "chat"}).get("task") == "chat"


def test_the_prompt_is_walked_once_and_each_signal_computed_once() -> None:
    with patch.object(prompts, "read", side_effect=prompts.read) as walk, patch.object(module, "language", side_effect=lambda _: "xx") as told:
        found = asked(chat("What is the capital of France?"))
        for _ in range(2):
            for name in SIGNALS:
                found.get(name)
    assert walk.call_count == 1
    assert told.call_count == 1


def test_an_unknown_value_is_computed_once_too() -> None:
    with patch.object(module, "language", return_value=None) as told:
        found = asked(chat("ok"))
        assert found.get("language") is None
        assert found.get("language") is None
    assert told.call_count == 1


# what they say


def test_of_the_request() -> None:
    found = asked(chat("hi", max_tokens=50), ask=Ask("my-model", stream=True), who={"tenant": "acme", "tier": ""})
    expected = {"asked": "my-model", "stream": True, "dialect": "openai_chat", "operation": "chat", "max_output_tokens": 50}
    expected |= {"tenant": "acme", "tier": None, "user": None, "application": None, "turns": 1, "tools": False, "reasoning": False}
    assert {name: found.get(name) for name in expected} == expected


@pytest.mark.parametrize("dialect", CHATS)
def test_of_one_conversation_in_every_dialect(dialect: str) -> None:
    found = asked(CHATS[dialect], dialect)
    assert found.get("tools") is True
    assert found.get("output_format") == "json_schema"
    assert found.get("modalities") == {"text", "image"}
    assert found.get("code") is False
    assert found.get("dialect") == dialect


def test_tools_among_the_items_of_the_conversation() -> None:
    items = [{"type": "additional_tools", "tools": [{"type": "function", "name": "f"}]}, {"role": "user", "content": "hi"}]
    assert asked({"input": items}, "openai_responses").get("tools") is True
    assert asked({"input": "hi"}, "openai_responses").get("tools") is False


def test_time_and_weekday_are_utc() -> None:
    found = asked(chat("hi"))
    assert datetime.fromtimestamp(WALL, UTC).strftime("%a %H:%M") == "Fri 22:15"
    assert (found.get("time"), found.get("weekday")) == (22 * 60 + 15, "fri")


@given(st.integers(0, 4_000_000_000))
def test_any_time(wall: int) -> None:
    client = DIALECTS["openai_chat"]
    found = RequestSignals(client, {}, Ask(), frozenset(), {}, {}, float(wall))
    when = datetime.fromtimestamp(wall, UTC)
    assert (found.get("time"), found.get("weekday")) == (when.hour * 60 + when.minute, when.strftime("%a").lower())


@pytest.mark.parametrize(
    ("header", "metadata", "expected"),
    [
        ("summarization", "other", "summarization"),
        ("Code_Generation", None, "code_generation"),
        (None, "rag-answer", "rag-answer"),
        ("", "other", "other"),
        ("no word!", "other", "other"),
        ("a" * 65, "other", "other"),
        ("x\r\ny", None, "question_answering"),
        (None, "../etc", "question_answering"),
        (None, "a" * 10_000, "question_answering"),
        (None, None, "question_answering"),
    ],
)
def test_the_task_is_said_or_told(header: str | None, metadata: str | None, expected: str) -> None:
    body = chat("What is the capital of France?") | ({"metadata": {"task": metadata}} if metadata is not None else {})
    assert asked(body, headers={"x-llm-task": header} if header is not None else {}).get("task") == expected


def test_the_task_of_other_operations() -> None:
    assert asked({"input": "x"}, "openai_embeddings").get("task") == "embeddings"
    assert asked({"query": "q", "documents": []}, "cohere_rerank").get("task") == "rerank"


def test_tokens_are_those_of_a_family_and_corrected() -> None:
    body = chat("委员会星期四作出了决定。" * 50)
    plain = asked(body).get("prompt_tokens")
    assert isinstance(plain, int)
    assert plain > 300
    assert asked(body, ask=Ask("gpt-4")).get("prompt_tokens") > plain  # type: ignore[operator]
    assert asked(body, family="cl100k").get("prompt_tokens") == asked(body, ask=Ask("gpt-4")).get("prompt_tokens")
    assert asked(body, ratio=lambda: 1.5).get("prompt_tokens") == int(plain * 1.5)
    assert asked(body, ratio=lambda: 99.0).get("prompt_tokens") == plain * 2


def test_the_ratio_is_not_asked_for_without_need() -> None:
    def ratio() -> float:
        raise AssertionError

    found = asked(chat("hi"), ratio=ratio)
    for name in set(SIGNALS) - {"prompt_tokens"}:
        found.get(name)


@pytest.mark.parametrize(
    "piece", ["please ", "\n", " ", "a(){;=<>", "((((", "; ", ";\n", "x.y(", "a=b(", "{\n x\n", "<a", "http://", "a@", "public ", "`", "а", "1*1"]
)
def test_long_monotonous_text_takes_linear_time(piece: str) -> None:
    """Not timed: patterns that backtrack over the whole of it would not come back."""
    found = asked(chat(piece * (300_000 // len(piece))))
    for name in SIGNALS:
        found.get(name)
