"""Small conventions of Ollama's API that requests, answers and streams share: names, ids, times, why an answer ended.

Wire format: https://docs.ollama.com/api (chat, generate). Ollama's calls had no ids for long, and its Python SDK still drops them: a call without one
gets an id from its place, and a result is paired with its call by name and order. An id that we hand out may carry state (`core.carrier`);
a client that keeps whole messages brings it back, one that drops ids goes on without it.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import orjson

from extproc.core.ir import JSON, FinishReason

NAME = "ollama_chat"
CHAT_PATH, GENERATE_PATH = "/api/chat", "/api/generate"
GENERATE = "generate"
"""The form of `Ask` for `/api/generate`: one prompt, one text."""

OPTIONS = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "num_predict": "max_tokens"}
"""Members of `options` that are members of the canonical request."""
KNOBS = ("seed", "frequency_penalty", "presence_penalty")
"""Members of `options` that are knobs under the same name."""

_REASONS = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}
_WORDS = {
    FinishReason.STOP: "stop",
    FinishReason.STOP_SEQUENCE: "stop",
    FinishReason.TOOL_CALLS: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.CONTEXT_WINDOW: "length",
}


def finish_of(word: JSON, *, called: bool) -> FinishReason:
    """`done_reason` as a finish. Ollama says "stop" behind tool calls, and servers before 0.1.45 said nothing."""
    reason = FinishReason.STOP if word in (None, "") else _REASONS.get(word, FinishReason.OTHER) if isinstance(word, str) else FinishReason.OTHER
    return FinishReason.TOOL_CALLS if called and reason is FinishReason.STOP else reason


def word_of(reason: FinishReason) -> tuple[str, bool]:
    """(`done_reason`, does it say the same?)."""
    word = _WORDS.get(reason)
    return word or "stop", word is not None


def timestamp(seconds: int) -> str:
    """Unix seconds as `created_at` wants them."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(created_at: JSON) -> int | None:
    """The inverse; Ollama writes nanoseconds and its host's zone."""
    if not isinstance(created_at, str):
        return None
    head, dot, fraction = created_at.partition(".")
    zone = fraction.lstrip("0123456789") if dot else ""
    try:
        return int(datetime.fromisoformat(head + zone).timestamp())
    except (ValueError, OverflowError, OSError):
        return None


def answer_id(first: dict[str, JSON]) -> str:
    """Answers have no id: one from what they begin with, the same for the same bytes. `created_at` counts nanoseconds."""
    seed = orjson.dumps([first.get("created_at"), first.get("model")])
    return "ollama-" + hashlib.blake2b(seed, digest_size=12).hexdigest()


def call_id(answer: str, n: int) -> str:
    """An id for call `n` of an answer that gave none."""
    return f"call_{answer.removeprefix('ollama-')}_{n}"
