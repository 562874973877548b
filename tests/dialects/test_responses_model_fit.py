"""A Responses request whose client named another of OpenAI's models than the one that serves it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from extproc.core.dialect import NO_ASK, Facts
from extproc.dialects.catalog import DIALECTS
from tests.validators.responses_types import check_responses_request

PLAIN = Facts("gpt-4.1", "openai", 32768)
REASONING = Facts("gpt-5", "openai", 128000)
NEWER = Facts("gpt-5.1", "openai")
O3 = Facts("o3", "openai")
CODEX = {"include": ["reasoning.encrypted_content"], "reasoning": {"effort": "high", "summary": "auto"}, "store": False}


def spliced(facts: Facts, model: str = "chat", **members: Any) -> tuple[dict[str, Any], set[str]]:
    """(the members that differ from what was said, the codes of the losses)."""
    said = {"model": model, "input": [{"role": "user", "content": "q"}], **members}
    encoded = DIALECTS["openai_responses"].splice_request(json.dumps(said).encode(), said, facts, NO_ASK)
    body = json.loads(encoded.body)
    check_responses_request(encoded.body)
    assert body.pop("model") == facts.model
    del said["model"]
    return {n: body.get(n) for n in {*body, *said} if body.get(n) != said.get(n)}, {loss.code for loss in encoded.losses}


@pytest.mark.parametrize(
    ("facts", "said", "changed", "losses"),
    [
        (REASONING, CODEX, {}, set()),
        (PLAIN, CODEX, {"include": [], "reasoning": None}, {"dropped:reasoning"}),
        (PLAIN, {"reasoning": {"effort": None, "summary": None}}, {"reasoning": None}, set()),
        (PLAIN, {"temperature": 0.5, "top_p": 0.9, "top_logprobs": 2}, {}, set()),
        (
            REASONING,
            {"temperature": 0.5, "top_p": 1, "top_logprobs": 2, "include": ["message.output_text.logprobs"]},
            {"temperature": None, "top_p": None, "top_logprobs": None, "include": []},
            {"dropped:temperature", "dropped:top_logprobs", "dropped:logprobs"},
        ),
        (NEWER, {"temperature": 0.5}, {}, set()),
        (NEWER, {"temperature": 0.5, "reasoning": {"effort": "low"}}, {"temperature": None}, {"dropped:temperature"}),
        (REASONING, {"reasoning": {"effort": "xhigh"}}, {"reasoning": {"effort": "high"}}, {"coerced:reasoning_effort"}),
        (O3, {"reasoning": {"effort": "minimal"}}, {"reasoning": {"effort": "low"}}, {"coerced:reasoning_effort"}),
        (O3, {"parallel_tool_calls": True}, {"parallel_tool_calls": None}, set()),
        (O3, {"parallel_tool_calls": False}, {"parallel_tool_calls": None}, {"dropped:parallel_tool_calls"}),
        (PLAIN, {"text": {"verbosity": "low"}}, {"text": None}, {"dropped:verbosity"}),
        (PLAIN, {"text": {"verbosity": "low", "format": {"type": "text"}}}, {"text": {"format": {"type": "text"}}}, {"dropped:verbosity"}),
        (PLAIN, {"text": {"verbosity": "medium"}}, {}, set()),
        (REASONING, {"text": {"verbosity": "low"}}, {}, set()),
        (PLAIN, {"max_output_tokens": 90000}, {"max_output_tokens": 32768}, {"coerced:max_tokens"}),
        (Facts("some/model", "openai-compatible"), {**CODEX, "temperature": 0.5}, {}, set()),
    ],
)
def test_what_the_model_refuses(facts: Facts, said: dict[str, Any], changed: dict[str, Any], losses: set[str]) -> None:
    assert spliced(facts, **said) == (changed, losses)
    assert spliced(facts, model=facts.model, **said) == ({}, set())


@pytest.mark.parametrize(
    "broken",
    [
        {"reasoning": []},
        {"reasoning": {"effort": []}},
        {"include": [[], 1]},
        {"include": "x"},
        {"text": 1},
        {"temperature": {}, "max_output_tokens": "x"},
    ],
)
@pytest.mark.parametrize("facts", [PLAIN, REASONING, O3])
def test_broken_members_are_the_providers_to_refuse(facts: Facts, broken: dict[str, Any]) -> None:
    said = {"model": "chat", "input": "q", **broken}
    out = DIALECTS["openai_responses"].splice_request(json.dumps(said).encode(), said, facts, NO_ASK)
    assert json.loads(out.body)["model"] == facts.model
