"""What the families of models that Bedrock serves take through Converse, as far as encoding a request depends on it.

Converse is one format, but not one behaviour: AWS answers 400 where a model lacks what another has. The family is read from the model's id, which
may be a plain id (`amazon.nova-lite-v1:0`), that of an inference profile (`eu.anthropic.claude-…`) or an ARN that ends in one of them. A family
that is not known is sent the plain format.
Source: https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-supported-models-features.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html, https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html,
the profiles of pydantic-ai (which were tried on the models), recorded answers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from extproc.core import claude

_MAKERS = "anthropic|amazon|meta|mistral|cohere|ai21|deepseek|qwen|openai|google|minimax|moonshotai|moonshot|nvidia|writer|zai"
_ID = re.compile(rf"(?:.*/)?(?:[a-z][a-z0-9-]*\.)??({_MAKERS})\.(.+)", re.DOTALL)

ALL = frozenset({"text", "image", "document", "video", "audio"})


@dataclass(frozen=True, slots=True)
class Family:
    """`system`: takes system text. `choices`: the tool choices that it takes. `caches`: what cache points may follow. `lifetimes`: of cache points.
    `structured`: takes an output schema and strict tools. `thinking`: how it is told to think. `top_k`: how that is written. `prefill`: goes on
    with an assistant's last turn. `beside`: what may stand in one turn with tool results. `inside`: the media that may stand in them.
    `status`: takes the mark of a failed result. `replays`: the reasoning that it takes back.
    `claude`: the facts of an Anthropic model."""

    system: bool = True
    choices: frozenset[str] = frozenset()
    caches: frozenset[str] = frozenset()
    lifetimes: bool = False
    structured: bool = True
    thinking: str = ""
    top_k: str = ""
    prefill: bool = False
    beside: frozenset[str] = ALL
    inside: frozenset[str] = frozenset({"image", "document", "video"})
    status: bool = True
    replays: str = ""
    claude: claude.Model | None = None
    single_calls: bool = False
    """Takes Anthropic's own `disable_parallel_tool_use`."""


_EVERY_CHOICE = frozenset({"auto", "required", "tool"})
_MESSAGES, _TOOLS = "messages", "tools"

_PLAIN = Family()
_FAMILIES: dict[str, Family] = {
    "amazon": Family(system=False, structured=False, inside=frozenset({"image"})),
    "meta": Family(structured=False, beside=frozenset(), inside=frozenset({"image", "document"})),
    "mistral": Family(structured=False, beside=frozenset(), inside=frozenset({"document"})),
    "cohere": Family(structured=False),
    "ai21": Family(structured=False),
    "deepseek": Family(structured=False),
    "qwen": Family(inside=frozenset(), structured=False),
    "openai": Family(thinking="effort", structured=False),
    "google": Family(structured=False),
    "minimax": Family(structured=False),
    "moonshot": Family(choices=_EVERY_CHOICE, inside=frozenset()),
    "moonshotai": Family(choices=_EVERY_CHOICE, inside=frozenset()),
    "nvidia": Family(structured=False),
    "writer": Family(structured=False, beside=frozenset(), status=False),
    "zai": Family(choices=_EVERY_CHOICE),
}
_STRUCTURED = {
    "mistral": ("magistral-small", "ministral-3", "mistral-large-3", "voxtral"),
    "qwen": ("qwen3",),
    "google": ("gemma-3-12b", "gemma-3-27b"),
    "minimax": ("minimax-m2",),
    "nvidia": ("nemotron-nano",),
}
_NO_SYSTEM = ("mistral-7b", "mixtral-8x7b", "command-text", "command-light")
_CLAUDE_WITHOUT_SCHEMAS = re.compile(r"claude-(?:opus-4-[178]|opus-5|sonnet-5|fable-5)(?!\d)")
"""Claude models that have structured output at Anthropic, but not at Bedrock."""


@lru_cache(maxsize=256)
def family(model: str, vendor: str) -> Family:
    """The facts for a model's id. `vendor` "anthropic" makes it one of Anthropic's even where the id does not say so."""
    found = _ID.fullmatch(model)
    maker, name = (found[1], found[2]) if found else ("", model)
    if vendor == "anthropic" or maker == "anthropic":
        return _claude(name)
    of = _FAMILIES.get(maker, _PLAIN)
    if maker == "amazon" and name.startswith("nova"):
        thinking = "nova" if name.startswith("nova-2") else ""
        caches = frozenset({_MESSAGES})
        return replace(of, system=True, choices=_EVERY_CHOICE, caches=caches, thinking=thinking, top_k="nova", prefill=True)
    if name.startswith(_STRUCTURED.get(maker, ("\0",))):
        of = replace(of, structured=True)
    if maker == "qwen" and name.startswith(("qwen3", "qwq")):
        of = replace(of, thinking="qwen")
    if maker == "deepseek" and name.startswith("r1"):
        of = replace(of, replays="text")
    if maker == "mistral" and "large" in name:
        of = replace(of, choices=frozenset({"auto", "required"}))
    return replace(of, system=False) if name.startswith(_NO_SYSTEM) else of


def _claude(name: str) -> Family:
    known = claude.model(name)
    version = claude.version(name)
    return Family(
        choices=_EVERY_CHOICE,
        caches=frozenset({_MESSAGES, _TOOLS}),
        lifetimes=version >= (4, 5),
        structured=version >= (4, 5) and _CLAUDE_WITHOUT_SCHEMAS.search(name) is None,
        thinking="claude",
        top_k="top_k",
        prefill=known.prefill,
        beside=frozenset({"text", "image"}),
        inside=frozenset({"image", "document"}),
        replays="signed",
        claude=known,
        single_calls=version >= (4, 5),
    )
