"""How many tokens a prompt is, estimated per family of models from the kinds of characters in it."""

from __future__ import annotations

from extproc.core.prompt import Prompt


def family_of(model: str) -> str:
    """The family whose tokenizer a model uses, from its name as providers write it (`eu.anthropic.claude-…`, `meta-llama/Llama-3.3-70B`)."""
    raise NotImplementedError


def estimate(prompt: Prompt, family: str) -> int:
    """Tokens of the whole prompt, tools and media included, before any correction."""
    raise NotImplementedError


def estimate_low(prompt: Prompt, family: str, ratio: float = 1.0) -> int:
    """Tokens that the prompt certainly has, for practical purposes: what does not fit by this does not fit. `ratio` is real over estimated tokens,
    from statistics; it is clamped to [0.5, 2]."""
    raise NotImplementedError
