"""A Gemini request whose client named another model than the one that serves it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from extproc.core.dialect import Ask, Facts
from extproc.dialects.gemini import GEMINI
from tests.validators.gemini_discovery import check_request

OLD = Facts("gemini-2.0-flash", "gemini", 8192)
FLASH = Facts("gemini-2.5-flash", "gemini", 65536)
PRO = Facts("models/gemini-2.5-pro", "gemini")
NEW = Facts("gemini-3-pro-preview", "gemini")
LEVEL = {"thinkingConfig": {"thinkingLevel": "HIGH", "includeThoughts": True}}


def spliced(facts: Facts, config: Any, asked: str = "chat", member: str = "generationConfig") -> tuple[Any, set[str]]:
    """(the configuration that is sent, the codes of the losses)."""
    said = {"contents": [{"role": "user", "parts": [{"text": "q"}]}], member: config}
    raw = json.dumps(said, indent=1).encode()
    encoded = GEMINI.splice_request(raw, said, facts, Ask(asked))
    body = json.loads(encoded.body)
    assert encoded.body == raw or body[member] != config
    return body[member], {loss.code for loss in encoded.losses}


@pytest.mark.parametrize(
    ("facts", "config", "sent", "losses"),
    [
        (FLASH, LEVEL, {"thinkingConfig": {"includeThoughts": True, "thinkingBudget": 24576}}, set()),
        (FLASH, {"thinkingConfig": {"thinkingBudget": 2000}, "temperature": 0.5}, None, set()),
        (FLASH, {"thinkingConfig": {"includeThoughts": True}}, None, set()),
        (PRO, {"thinkingConfig": {"thinkingBudget": 0}}, {"thinkingConfig": {"thinkingBudget": 128}}, {"coerced:reasoning"}),
        (OLD, {"thinkingConfig": {"thinkingBudget": 2000}, "topK": 4}, {"topK": 4}, {"dropped:reasoning"}),
        (OLD, {"thinkingConfig": {"thinkingBudget": 0}}, {}, set()),
        (NEW, {"thinkingConfig": {"thinkingBudget": 2000}}, None, set()),
        (NEW, {"thinkingConfig": {"thinkingBudget": 0}}, {"thinkingConfig": {"thinkingLevel": "LOW"}}, {"coerced:reasoning"}),
        (NEW, LEVEL, None, set()),
        (FLASH, {"presencePenalty": 0.5, "frequencyPenalty": 0}, {"frequencyPenalty": 0}, {"dropped:presence_penalty"}),
        (OLD, {"presencePenalty": 0.5}, None, set()),
        (OLD, {"maxOutputTokens": 9000}, {"maxOutputTokens": 8192}, {"coerced:max_tokens"}),
        (Facts("tuned", "gemini", 5), {"maxOutputTokens": 9000, **LEVEL}, None, set()),
    ],
)
def test_what_the_model_refuses(facts: Facts, config: Any, sent: Any, losses: set[str]) -> None:
    assert spliced(facts, config) == (config if sent is None else sent, losses)
    check_request(json.dumps({"contents": [{"role": "user", "parts": [{"text": "q"}]}], "generationConfig": sent or config}).encode())
    for asked in (facts.model, facts.model.removeprefix("models/")):
        assert spliced(facts, config, asked) == (config, set())


def test_the_other_spelling() -> None:
    config = {"thinking_config": {"thinking_level": "LOW", "include_thoughts": True}, "max_output_tokens": 5}
    sent, _ = spliced(FLASH, config, member="generation_config")
    assert sent == {"thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True}, "maxOutputTokens": 5}


@pytest.mark.parametrize("config", [[], "x", {"thinkingConfig": []}, {"thinkingConfig": {"thinkingLevel": 7}}, {"maxOutputTokens": "9"}])
@pytest.mark.parametrize("facts", [OLD, FLASH, PRO, NEW])
def test_broken_members_are_the_providers_to_refuse(facts: Facts, config: Any) -> None:
    spliced(facts, config)
