"""Reasoning in assistant messages: plain text fields of vendors, and OpenRouter's `reasoning_details`, which carry signatures.

Text: `reasoning_content` (DeepSeek, xAI, Z.ai, vLLM) or `reasoning` (Groq, OpenRouter, Cerebras). Each detail of OpenRouter is
`reasoning.text` (perhaps signed), `reasoning.summary` or `reasoning.encrypted`, and goes back as it came, so it is opaque state of "openrouter".
Reference: https://openrouter.ai/docs/use-cases/reasoning-tokens
"""

from __future__ import annotations

import orjson

from extproc.core.ir import JSON, Opaque, Thinking

VENDOR = "openrouter"
_TEXT = {"reasoning.text": "text", "reasoning.summary": "summary"}


def plain(message: dict[str, JSON]) -> str:
    """The readable reasoning of a message or delta, "" if there is none."""
    for name in ("reasoning_content", "reasoning"):
        text = message.get(name)
        if isinstance(text, str) and text:
            return text
    return ""


def signature(detail: dict[str, JSON]) -> Opaque | None:
    """A detail's opaque state: all of it but the text, or None if nothing in it is signed or encrypted."""
    if not detail.get("signature") and not detail.get("data"):
        return None
    return Opaque(VENDOR, orjson.dumps({k: v for k, v in detail.items() if k not in {"text", "summary"}}).decode())


def decode(message: dict[str, JSON]) -> list[Thinking]:
    """The thoughts of a whole assistant message, in order."""
    thoughts: list[Thinking] = []
    readable = False
    raw = message.get("reasoning_details")
    for detail in raw if isinstance(raw, list) else []:
        if not isinstance(detail, dict):
            continue
        text = detail.get(_TEXT.get(str(detail.get("type")), ""))
        opaque = signature(detail)
        if isinstance(text, str) and text:
            readable = True
            thoughts.append(Thinking(text, opaque))
        elif opaque is not None:
            thoughts.append(Thinking("", opaque, redacted=True))
    text = plain(message)
    if text and not readable:
        thoughts.insert(0, Thinking(text))
    return thoughts


def encode(thoughts: list[Thinking]) -> list[JSON]:
    """`reasoning_details` for OpenRouter; thoughts that another vendor signed go as unsigned text, redacted ones not at all."""
    details: list[JSON] = []
    for thought in thoughts:
        own = orjson.loads(thought.opaque.data) if thought.opaque is not None and thought.opaque.vendor == VENDOR else None
        if isinstance(own, dict):
            name = _TEXT.get(str(own.get("type")))
            details.append(own | ({name: thought.text} if name and thought.text else {}))
        elif thought.text:
            details.append({"type": "reasoning.text", "text": thought.text})
    return details
