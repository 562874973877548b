"""Reasoning in assistant messages: plain text fields of vendors, and OpenRouter's `reasoning_details`, which carry signatures.

Text: `reasoning_content` (DeepSeek, xAI, Z.ai, vLLM) or `reasoning` (Groq, OpenRouter, Cerebras). Each detail of OpenRouter is
`reasoning.text` (perhaps signed), `reasoning.summary` or `reasoning.encrypted`, and goes back as it came, so it is opaque state of "openrouter";
but Claude's signatures are Anthropic's, so that a conversation can go on at Anthropic itself, and the other way round.
Reference: https://openrouter.ai/docs/use-cases/reasoning-tokens
"""

from __future__ import annotations

import orjson

from extproc.core.ir import JSON, Opaque, Thinking, ToolCall

VENDOR = "openrouter"
_TEXT = {"reasoning.text": "text", "reasoning.summary": "summary"}
_CLAUDE = "anthropic-claude-v1"
_PLAIN = {"type", "text", "format", "index"}
"""Members of a detail that its place and its text say again."""


def plain(message: dict[str, JSON]) -> str:
    """The readable reasoning of a message or delta, "" if there is none."""
    for name in ("reasoning_content", "reasoning"):
        text = message.get(name)
        if isinstance(text, str) and text:
            return text
    return ""


def signature(detail: dict[str, JSON]) -> Opaque | None:
    """A detail's opaque state, or None if nothing in it is signed or encrypted.

    What Claude signed is valid wherever Claude is served, so it is Anthropic's; of others all but the text goes back as it came.
    """
    signed, hidden = detail.get("signature"), detail.get("data")
    if not signed and not hidden:
        return None
    if detail.get("format") == _CLAUDE:
        if isinstance(signed, str) and detail.get("type") == "reasoning.text" and detail.keys() <= _PLAIN | {"signature"}:
            return Opaque("anthropic", signed)
        if isinstance(hidden, str) and detail.get("type") == "reasoning.encrypted" and detail.keys() <= {"type", "data", "format", "index"}:
            return Opaque("anthropic", hidden)
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


def _own(opaque: Opaque | None) -> dict[str, JSON] | None:
    """A detail of OpenRouter as it came. What a client forged is none."""
    try:
        own = orjson.loads(opaque.data) if opaque is not None and opaque.vendor == VENDOR else None
    except orjson.JSONDecodeError:
        return None
    return own if isinstance(own, dict) else None


def mints(model: str) -> str:
    """Whose signatures, beside OpenRouter's own details, mean something to `model` there."""
    publisher = model.lstrip("~").partition("/")[0]
    return {"anthropic": "anthropic", "google": "gemini"}.get(publisher, "")


def encode(thoughts: list[Thinking], calls: list[ToolCall], model: str) -> list[JSON]:
    """`reasoning_details` for OpenRouter. Thoughts that a vendor signed whom `model` is not of go as unsigned text, redacted ones not at all."""
    maker = mints(model)
    details: list[JSON] = []
    for thought in thoughts:
        opaque = thought.opaque
        own = _own(opaque)
        if own is not None:
            name = _TEXT.get(str(own.get("type")))
            details.append(own | ({name: thought.text} if name and thought.text else {}))
        elif opaque is not None and opaque.vendor == maker == "anthropic":
            head = {"format": _CLAUDE, "index": len(details)}
            if thought.text:
                details.append({"type": "reasoning.text", "text": thought.text, "signature": opaque.data} | head)
            else:
                details.append({"type": "reasoning.encrypted", "data": opaque.data} | head)
        elif thought.text:
            details.append({"type": "reasoning.text", "text": thought.text})
    for call in calls:
        if call.opaque is not None and call.opaque.vendor == maker == "gemini":
            signed = {"type": "reasoning.encrypted", "data": call.opaque.data, "format": "google-gemini-v1", "id": call.id, "index": len(details)}
            details.append(signed)
    return details
