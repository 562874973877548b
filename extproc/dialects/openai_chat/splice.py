"""A Chat Completions request for a provider of the same format: the client's bytes with only the members edited that must change."""

from __future__ import annotations

import orjson

from extproc.core import carrier, jsonedit
from extproc.core import openai_models as models
from extproc.core.dialect import Encoded, Facts
from extproc.core.ir import JSON
from extproc.core.losses import Losses
from extproc.dialects.openai_chat.request_decode import wants_usage
from extproc.dialects.openai_chat.request_encode import PATH


def splice_request(raw: bytes, body: JSON, facts: Facts) -> Encoded:
    """Edits the model name, asks for a stream's usage, and renames or removes what the target is known to refuse.

    `body` is `raw` parsed. Raises what `jsonedit.scan` raises.
    """
    losses = Losses()
    stripped = carrier.strip(raw)
    if stripped is not raw:
        losses.add("signature:foreign", "state that another vendor's answers left in tool call ids")
    raw = stripped
    layout = jsonedit.scan(raw)
    edits: dict[str, bytes | None] = {}
    if facts.wire_model not in ("*", body.get("model")):
        edits["model"] = orjson.dumps(facts.wire_model)
    _stream_options(body, facts, edits, losses)
    _limit(raw, layout, body, facts, edits)
    messages = _messages(raw, layout, body, facts, losses)
    if messages is not None:
        edits["messages"] = messages
    return Encoded(jsonedit.splice(raw, edits, layout), PATH, losses=losses)


def _stream_options(body: dict[str, JSON], facts: Facts, edits: dict[str, bytes | None], losses: Losses) -> None:
    if "no_stream_options" in facts.quirks:
        if body.get("stream_options") is not None:
            edits["stream_options"] = None
            losses.add("dropped:stream_options", "the provider refuses it")
    elif body.get("stream") is True and not wants_usage(body):
        options = body.get("stream_options")
        edits["stream_options"] = orjson.dumps((options if isinstance(options, dict) else {}) | {"include_usage": True})


def _limit(raw: bytes, layout: jsonedit.Layout, body: dict[str, JSON], facts: Facts, edits: dict[str, bytes | None]) -> None:
    """The limit of output tokens has two names, and some targets take only one of them."""
    if "max_tokens" in facts.quirks:
        wrong, right = "max_completion_tokens", "max_tokens"
    elif models.reasons(facts):
        wrong, right = "max_tokens", "max_completion_tokens"
    else:
        return
    if wrong in layout.members:
        edits[wrong] = None
        if body.get(right) is None and body.get(wrong) is not None:
            member = layout.members[wrong]
            edits[right] = raw[member.start : member.end]


def _messages(raw: bytes, layout: jsonedit.Layout, body: dict[str, JSON], facts: Facts, losses: Losses) -> bytes | None:
    """The messages with the developer role or echoed reasoning edited where the target refuses them; None if nothing must change."""
    roles = "no_developer_role" in facts.quirks and b"developer" in raw
    echoes = facts.vendor == "openai" and b'"reasoning_content"' in raw
    messages = body.get("messages")
    if not (roles or echoes) or not isinstance(messages, list) or "messages" not in layout.members:
        return None
    array = layout.members["messages"]
    pieces: list[bytes] = []
    at = array.start
    for message, (start, end) in zip(messages, jsonedit.elements(raw, array), strict=False):
        edits: dict[str, bytes | None] = {}
        if isinstance(message, dict):
            if roles and message.get("role") == "developer":
                edits["role"] = b'"system"'
            if echoes and "reasoning_content" in message:
                edits["reasoning_content"] = None
                losses.add("dropped:thinking", "the format takes no thoughts back")
        if edits:
            pieces += (raw[at:start], jsonedit.splice(raw[start:end], edits))
            at = end
    if not pieces:
        return None
    pieces.append(raw[at : array.end])
    return b"".join(pieces)
