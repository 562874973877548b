"""Vendors of Chat Completions as targets, and a request pushed towards one: from another dialect, or spliced from the same one."""

from __future__ import annotations

import json
from typing import Any

import orjson

from extproc.core.dialect import NO_ASK, Ask, Encoded, Facts
from extproc.dialects.catalog import DIALECTS
from extproc.providers.kinds import KINDS
from extproc.stages import upstream
from tests.validators.vendor_types import VENDORS

CHAT = DIALECTS["openai_chat"]
MODELS = {
    "mistral": "mistral-small-latest",
    "groq": "openai/gpt-oss-120b",
    "deepseek": "deepseek-chat",
    "openrouter": "anthropic/claude-sonnet-4.5",
    "xai": "grok-4.3",
    "perplexity": "sonar-pro",
    "cerebras": "gpt-oss-120b",
    "gemini-openai": "gemini-2.5-flash",
    "vllm": "qwen",
}
"""A model of each vendor whose requests can be judged."""


def facts(kind: str, model: str = "") -> Facts:
    model = model or MODELS[kind]
    return Facts(model, KINDS[kind].vendor_of(model), quirks=KINDS[kind].quirks)


def codes(encoded: Encoded) -> set[str]:
    return {loss.code for loss in encoded.losses}


def translated(client: str, kind: str, body: dict[str, Any], model: str = "") -> tuple[dict[str, Any], set[str]]:
    """(what the vendor gets for a request of another dialect, the codes of the losses); strictly valid."""
    raw = json.dumps(body).encode()
    built = upstream.encode(raw, orjson.loads(raw), DIALECTS[client], CHAT, facts(kind, model), Ask(str(body.get("model", ""))))
    VENDORS[kind](built.body)
    return orjson.loads(built.body), codes(built)


def spliced(kind: str, body: dict[str, Any], model: str = "", *, valid: bool = True) -> tuple[dict[str, Any], set[str]]:
    """The same for a request of the same format, as the stage sends it."""
    raw = json.dumps(body).encode()
    built = CHAT.splice_request(raw, orjson.loads(raw), facts(kind, model), NO_ASK)
    if valid:
        VENDORS[kind](built.body)
    return orjson.loads(built.body), codes(built)
