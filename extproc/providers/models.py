"""Limits of well-known models that the packaged price data does not know: how many tokens a model writes at most, and some windows.

Anthropic requires `max_tokens`, so a default for it must exist and fit the model. Only what the vendors publish stands here; a model that
is not listed has unknown limits, and the registry file overrides. Sources: https://platform.claude.com/docs/en/about-claude/models/overview,
https://developers.openai.com/api/docs/models, https://ai.google.dev/gemini-api/docs/models, https://api-docs.deepseek.com/quick_start/pricing.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Limits(NamedTuple):
    """Tokens. `context_window` only where the packaged data has none."""

    max_output_tokens: int | None = None
    context_window: int | None = None


def _all(names: str, max_output_tokens: int, context_window: int | None = None) -> dict[str, Limits]:
    return {name: Limits(max_output_tokens, context_window) for name in names.split()}


LIMITS: dict[str, dict[str, Limits]] = {
    "anthropic": {
        **_all("claude-3-opus claude-3-sonnet claude-3-haiku", 4096),
        **_all("claude-3-5-sonnet claude-3-5-haiku", 8192),
        **_all("claude-opus-4 claude-opus-4-0 claude-opus-4-1", 32000),
        **_all("claude-3-7-sonnet claude-sonnet-4 claude-sonnet-4-0", 64000),
        **_all("claude-opus-4-5 claude-sonnet-4-5 claude-haiku-4-5", 64000),
        **_all("claude-opus-4-6 claude-opus-4-7 claude-opus-4-8 claude-sonnet-4-6", 128000),
        **_all("claude-opus-5 claude-opus-5-5 claude-sonnet-5 claude-sonnet-5-5 claude-haiku-5-5", 128000),
        **_all("claude-fable-5 claude-fable-5-1 claude-fable-5-2", 128000),
    },
    "openai": {
        **_all("gpt-3.5-turbo gpt-4-turbo gpt-4o-2024-05-13", 4096),
        **_all("gpt-4", 8192),
        **_all("gpt-4o gpt-4o-mini", 16384),
        **_all("gpt-4.1 gpt-4.1-mini gpt-4.1-nano", 32768),
        **_all("o1 o1-pro o3 o3-mini o3-pro o4-mini o3-deep-research o4-mini-deep-research", 100000),
        **_all("gpt-5 gpt-5-mini gpt-5-nano gpt-5.1 gpt-5.2 gpt-5.2-pro gpt-5.3-codex", 128000),
        **_all("gpt-5-codex gpt-5.1-codex gpt-5.1-codex-mini gpt-5.1-codex-max gpt-5.2-codex", 128000, 400000),
        **_all("gpt-5-pro", 272000),
        **_all("gpt-5.1-chat gpt-5.2-chat gpt-5.3-chat", 16384, 128000),
        **_all("gpt-5.4 gpt-5.4-mini gpt-5.4-nano gpt-5.4-pro gpt-5.5 gpt-5.5-pro", 128000),
        **_all("gpt-5.6 gpt-5.6-sol gpt-5.6-terra gpt-5.6-luna gpt-6-astra gpt-6-luna", 128000),
    },
    "gemini": {
        **_all("gemini-2.0-flash gemini-2.0-flash-lite", 8192),
        **_all("gemini-2.5-flash gemini-2.5-flash-lite gemini-3-flash gemini-3.1-flash-lite gemini-3.5-flash", 65536),
        **_all("gemini-2.5-pro gemini-3-pro gemini-3.1-pro", 65536, 1048576),
    },
    "deepseek": _all("deepseek-v4-flash deepseek-v4-pro", 384000, 1000000),
}
"""By the vendor of a provider kind, then by model without its snapshot."""

_SNAPSHOT = re.compile(r"(?:-preview|-exp)?(?:-latest|-[0-9]{3,8}|-[0-9]{4}-[0-9]{2}-[0-9]{2}|-[0-9]{2}-[0-9]{2}(?:[0-9]{2})?)?\Z")


_ON_BEDROCK = re.compile(r"(?:.*[/.])?anthropic\.(claude-.+?)(?:-v[0-9]+)?(?::[0-9a-z]+)?\Z")


def limits(vendor: str, model: str) -> Limits:
    """What is known of `model`, a snapshot (`-2025-08-07`, `-20250929`, `-001`, `-preview`, `-latest`) included. A variant inherits nothing.

    Claude's names at Bedrock (`eu.anthropic.claude-…-20250929-v1:0`, an ARN that ends so) and at Vertex AI (`claude-…@20250929`) mean the same.
    """
    known = LIMITS.get(vendor, {})
    if vendor == "anthropic":
        found_there = _ON_BEDROCK.match(model)
        model = (found_there[1] if found_there else model).replace("@", "-")
    exact = known.get(model)
    if exact is not None:
        return exact
    for cut in range(len(model) - 1, 0, -1):
        if model[cut] == "-" and (found := known.get(model[:cut])) is not None and _SNAPSHOT.match(model, cut):
            return found
    return Limits()
