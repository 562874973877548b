"""What a body asks for beside its conversation: tools, reasoning, a limit for the answer, a name of the task. From single members, so at no cost.

Total over all shapes, and by each dialect's own names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from extproc.core.ir import JSON

Path = tuple[str, ...]

_OFF = frozenset({"", "none", "off", "false", "default", "disabled", "disable", "thinking_level_unspecified"})
_SWITCHES = ("type", "enabled", "enable_thinking", "thinking")
"""Members of objects about reasoning that turn it off whatever else they hold."""
_AMOUNTS = (
    *("effort", "max_tokens", "budget_tokens", "token_budget", "maxReasoningEffort"),
    *("thinkingBudget", "thinking_budget", "thinkingLevel", "thinking_level"),
)


@dataclass(frozen=True, slots=True)
class _Members:
    tools: tuple[Path, ...] = (("tools",),)
    most: tuple[Path, ...] = (("max_tokens",),)
    reasoning: tuple[Path, ...] = ()
    task: tuple[Path, ...] = (("metadata", "task"),)


_RESPONSES = _Members(most=(("max_output_tokens",),), reasoning=(("reasoning",),))
_ANTHROPIC = _Members(reasoning=(("thinking",),))
_GEMINI = _Members(
    most=(("generationConfig", "maxOutputTokens"), ("generationConfig", "max_output_tokens"), ("generation_config", "max_output_tokens")),
    reasoning=(("generationConfig", "thinkingConfig"), ("generationConfig", "thinking_config"), ("generation_config", "thinking_config")),
    task=(("labels", "task"),),
)
_FIELDS = "additionalModelRequestFields"
_OF: dict[str, _Members] = {
    "openai_chat": _Members(
        tools=(("tools",), ("functions",)),
        most=(("max_completion_tokens",), ("max_tokens",)),
        reasoning=(("reasoning_effort",), ("reasoning",), ("thinking",), ("chat_template_kwargs",), ("prompt_mode",)),
    ),
    "openai_responses": _RESPONSES,
    "openai_count_tokens": _RESPONSES,
    "anthropic_messages": _ANTHROPIC,
    "anthropic_count_tokens": _ANTHROPIC,
    "gemini": _GEMINI,
    "gemini_count_tokens": _GEMINI,
    "bedrock_converse": _Members(
        tools=(("toolConfig", "tools"),),
        most=(("inferenceConfig", "maxTokens"),),
        reasoning=tuple((_FIELDS, name) for name in ("thinking", "reasoning_config", "reasoningConfig", "reasoning_effort")),
        task=(("requestMetadata", "task"),),
    ),
    "cohere_chat": _Members(reasoning=(("thinking",),)),
    "ollama_chat": _Members(most=(("options", "num_predict"),), reasoning=(("think",),)),
}
_USUAL = _Members()


def tools(dialect: str, body: JSON) -> bool:
    """Does the body offer tools?"""
    return any(_at(body, path) not in (None, [], {}, "") for path in _OF.get(dialect, _USUAL).tools)


def max_output_tokens(dialect: str, body: JSON) -> int | None:
    """The longest answer that the client allows; None where it says nothing, or nothing that can be one."""
    for path in _OF.get(dialect, _USUAL).most:
        value = _at(body, path)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
            # numbers may be text in Google's JSON
            value = int(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value < 1e15:
            return int(value)
    return None


def reasoning(dialect: str, body: JSON) -> bool:
    """Does the client ask the model to reason? What a model does unasked is not known here."""
    return any(_asks(_at(body, path)) for path in _OF.get(dialect, _USUAL).reasoning)


def task(dialect: str, body: JSON) -> str | None:
    """What the client's metadata calls the task: any text."""
    for path in _OF.get(dialect, _USUAL).task:
        value = _at(body, path)
        if isinstance(value, str):
            return value
    return None


def _at(body: JSON, path: Path) -> Any:
    for name in path:
        if not isinstance(body, dict):
            return None
        body = body.get(name)
    return body


def _asks(value: Any) -> bool:
    if isinstance(value, dict):
        said = [value[name] for name in _SWITCHES if value.get(name) is not None]
        if any(not _asks(one) for one in said):
            return False
        amounts = [value[name] for name in _AMOUNTS if value.get(name) is not None]
        return bool(said or amounts) and all(map(_asks, amounts))
    if isinstance(value, str):
        return value.lower() not in _OFF
    return isinstance(value, int | float) and value != 0
