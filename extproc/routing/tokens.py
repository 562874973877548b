"""How many tokens a prompt is, estimated per family of models from the kinds of characters in it.

No tokenizer: the vocabularies of most vendors are secret, and one that is not takes longer than a whole decision. `_TEXT` is what characters cost in
OpenAI's o200k, fitted by least absolute relative error to 1,900 recorded requests with the providers' own counts; a family scales it and adds what
its template puts around messages, tools and schemas. What each of them is wrong by is in `ERROR`, and a test holds it.

Prompts that a provider lengthens unseen (a stored prompt or conversation, tools that it runs itself) cannot be estimated. Media go by the documented
rule of each vendor where their size is known, else by a default that is named below.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from extproc.core.characters import Characters
from extproc.core.prompt import Prompt
from extproc.routing import media_tokens

RATIO_MIN, RATIO_MAX = 0.5, 2.0
"""What a correction is clamped to: beyond it the statistics are of other prompts than this one."""
CERTAIN = 0.55
"""The part of the estimated text that a prompt certainly has. The lowest of all recorded prompts of 300 characters and more had 0.71."""


@dataclass(frozen=True, slots=True)
class Family:
    """Tokens: `text` times what ASCII text is in o200k, `scripts` for a character (Chinese and Japanese, Korean, accented Latin, Cyrillic and
    Greek, others).

    `request` once, `message` and `call` for each, `tools` once where there are any, `tool` for each, `tool_json` and `schema_json` for a character of
    their JSON, `schema` once. `thoughts`: the part of earlier answers' thoughts that counts; `opaque` for a character of encrypted state.
    """

    text: float
    scripts: tuple[float, float, float, float, float]
    request: float = 4.0
    message: float = 4.0
    call: float = 10.0
    tools: float = 0.0
    tool: float = 0.0
    tool_json: float = 0.2
    schema: float = 0.0
    schema_json: float = 0.16
    thoughts: float = 0.0
    opaque: float = 0.1


_NEW, _OLD = (0.72, 0.55, 0.7, 0.45, 0.32), (1.07, 1.0, 1.0, 0.78, 0.8)
"""From the same sentence in twenty languages, counted with o200k and with cl100k: https://openai.com/index/hello-gpt-4o/"""

FAMILIES: dict[str, Family] = {
    "o200k": Family(1.01, _NEW, 3.2, 3.9, 8, tools=10, tool_json=0.112, schema_json=0.162),
    "harmony": Family(0.85, _NEW, 64, 5, 0, tool_json=0.2, schema=51, schema_json=0.19),
    "cl100k": Family(1.0, _OLD, 6, 2.8, 10),
    "anthropic": Family(1.09, (1.1, 1.0, 0.9, 0.7, 0.7), 6.5, 0.7, 50, 480, 19, 0.225, 124, 0.24, thoughts=1.0),
    "anthropic_2026": Family(1.55, (1.3, 1.2, 1.2, 0.9, 0.9), 5, 0.7, 30, 190, 120, 0.4, 124, 0.3, thoughts=1.0),
    "gemini": Family(1.0, (0.65, 0.6, 0.6, 0.35, 0.35), 1, 0, 8, tool_json=0.113, schema_json=0.1, opaque=0.2),
    "llama": Family(1.05, (0.8, 0.75, 0.8, 0.5, 0.5), 10, 5, 10, 200, 5, 0.2),
    "mistral": Family(1.08, (0.9, 0.8, 0.8, 0.55, 0.55), 1, 5, 5, tool_json=0.32),
    "qwen": Family(1.07, (0.66, 0.75, 0.9, 0.55, 0.55), 5, 5, 10, 120, 30, 0.2, 59, 0.28),
    "deepseek": Family(1.0, (0.66, 0.8, 0.9, 0.55, 0.55), 2, 4, 30, 150, 30, 0.3),
    "cohere": Family(1.1, (0.8, 0.7, 0.7, 0.5, 0.5), 400, 20, 40, 900, 0, 0.3, 200, 1.0),
    "grok": Family(1.0, (0.8, 0.75, 0.8, 0.5, 0.5), 15, 3, 20, 150, 30, 0.35, 35, opaque=0.33),
    "nova": Family(1.0, (0.9, 0.8, 0.8, 0.6, 0.6), 1, 2, 15, 590, 0, 0.1),
    "other": Family(1.05, (0.8, 0.75, 0.8, 0.5, 0.5), 5, 4, 20, 60, 10, 0.2),
}
"""`harmony` is gpt-oss; `anthropic_2026` the tokenizer of Claude Opus 4.7 and everything after it; `other` whatever is not known."""

ERROR: dict[str, tuple[float, float]] = {
    "o200k": (0.04, 0.4),
    "harmony": (0.06, 0.2),
    "cl100k": (0.05, 0.12),
    "anthropic": (0.06, 0.4),
    "anthropic_2026": (0.04, 0.45),
    "gemini": (0.12, 0.55),
    "mistral": (0.03, 0.2),
    "qwen": (0.03, 0.1),
    "deepseek": (0.07, 0.8),
    "grok": (0.35, 0.9),
    "nova": (0.35, 0.5),
    "llama": (0.65, 0.8),
    "cohere": (0.2, 3.5),
    "other": (0.03, 0.55),
}
"""Absolute error over real tokens (over 100 where they are fewer): (median, 90th percentile) of the recorded prompts without media.

Most of them are short, and what is wrong is what a provider adds unseen, a few hundred tokens for tools above all: Cohere, Grok, Nova and the
hosts of Llama add more, or less, from one model to the next. Of long prose the estimate is about a tenth low (a million words of English, counted at
https://aihirfolyam.hu/2024/05/gpt-4o-magyar-dragabb-mint-angol/); statistics correct it by what providers count.
"""

_FAMILY_OF: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (family, re.compile(pattern))
    for family, pattern in (
        ("harmony", r"gpt-?oss"),
        ("anthropic_2026", r"claude.*(opus-4[-.][7-9]|(opus|sonnet|haiku|fable|mythos)-[5-9])"),
        ("anthropic", r"claude"),
        ("cl100k", r"gpt-?(3|4($|[^o.0-9]))|ada-002|davinci-002|babbage-002|text-embedding-3|turbo-instruct"),
        ("o200k", r"gpt|codex|(^|[/.])o[1-9]($|-)|computer-use"),
        ("gemini", r"gemini|gemma|learnlm|embedding-00"),
        ("deepseek", r"deepseek"),
        ("qwen", r"qwen|qwq|qvq"),
        ("llama", r"llama"),
        ("mistral", r"mi[sx]tral|magistral|ministral|codestral|devstral|pixtral|voxtral"),
        ("cohere", r"command|cohere|aya-|c4ai"),
        ("grok", r"grok"),
        ("nova", r"nova-|titan"),
    )
)


@lru_cache(1024)
def family_of(model: str) -> str:
    """The key of `FAMILIES` for a model by its name as providers write it (`eu.anthropic.claude-…`, `meta-llama/Llama-3.3-70B`)."""
    name = model[:200].lower()
    return next((family for family, pattern in _FAMILY_OF if pattern.search(name)), "other")


def estimate(prompt: Prompt, family: str) -> int:
    """Tokens of the whole prompt, tools and media included, before any correction. `family` not in `FAMILIES` counts as "other"."""
    of = FAMILIES.get(family) or FAMILIES["other"]
    total = of.request + of.message * prompt.messages + of.call * prompt.calls + of.opaque * prompt.opaque + prompt.tokens
    total += _text(prompt.characters, of)
    if prompt.tools:
        total += of.tools + of.tool * prompt.tool_count + of.tool_json * sum(map(len, prompt.tools))
    if prompt.schema:
        total += of.schema + of.schema_json * sum(map(len, prompt.schema))
    if prompt.thoughts and of.thoughts:
        total += of.thoughts * _text(prompt.thought, of)
    if prompt.media:
        total += media_tokens.estimate(prompt.media, family)
    return int(total)


def estimate_low(prompt: Prompt, family: str, ratio: float = 1.0) -> int:
    """Tokens that the prompt certainly has, for practical purposes: what does not fit by this does not fit.

    Only its text, its tools and what came as tokens count, and of text and tools `CERTAIN`: media may be made smaller, thoughts left out, state
    refused. Nothing is certain of an elastic prompt. `ratio` is real over estimated tokens, from statistics; it is clamped to [0.5, 2].
    """
    if prompt.elastic:
        return 0
    of = FAMILIES.get(family) or FAMILIES["other"]
    text = _text(prompt.characters, of)
    if prompt.tools:
        text += of.tool_json * sum(map(len, prompt.tools))
    return int(CERTAIN * text * clamped(ratio)) + prompt.tokens


def clamped(ratio: float) -> float:
    """A ratio that a correction may have; 1.0 for one that is no number."""
    return min(max(ratio, RATIO_MIN), RATIO_MAX) if ratio == ratio else 1.0


def _text(found: Characters, of: Family) -> float:
    han, hangul, latin, cyrillic, others = of.scripts
    ascii_only = (
        0.82 * found.words
        + 0.06 * found.letters
        + 0.27 * found.shouted
        + 0.7 * found.digits
        + 0.95 * found.numbers
        + 0.6 * found.marks
        + 0.65 * found.lines
    )
    foreign = han * found.han + hangul * found.hangul + latin * found.latin + cyrillic * found.cyrillic + others * found.others
    return of.text * ascii_only + foreign
