"""A Converse request to Bedrock itself: the client's bytes. The path names the model, so in most requests nothing changes.

In a conversation that other vendors took part in, what only they can read goes: their signatures, the state in tool ids; for one of Anthropic's
models also reasoning that nobody signed, and for another model all that is signed. And as Anthropic itself does, manual thinking is switched off
in a tool loop that another vendor began.
"""

from __future__ import annotations

import json

import orjson

from extproc.core import carrier, jsonedit
from extproc.core.bedrock_path import bedrock_path
from extproc.core.dialect import Ask, Encoded, Facts
from extproc.core.ir import JSON, Opaque
from extproc.core.losses import Losses
from extproc.dialects.bedrock_converse.families import family
from extproc.dialects.bedrock_converse.request_encode import operation
from extproc.dialects.bedrock_converse.thinking import continues_signed
from extproc.dialects.bedrock_converse.wire import VENDOR, redacted_in

_IDS = ("toolUse", "toolResult")


def splice_request(raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:
    """Raises `BadRequestError` if `raw` is not one JSON object."""
    losses = Losses()
    path = bedrock_path(facts.wire_model, operation(stream=ask.stream))
    layout = jsonedit.scan(raw)
    edits: dict[str, bytes | None] = {}
    messages = body.get("messages")
    # the id may say more than the target's facts do, where one target serves every model
    vendor = VENDOR if family(facts.model, facts.vendor).claude is not None else facts.vendor
    if (b'"reasoningContent"' in raw or carrier.marked(raw)) and isinstance(messages, list):
        cleaned = [_own_part(message, vendor) for message in messages]
        if any(a is not b for a, b in zip(cleaned, messages, strict=True)):
            losses.add("signature:foreign", "another vendor's signatures and unsigned thinking were left out")
            # parsed anew with the standard library, which keeps numbers of any size: the rest goes to the provider as it was
            place = layout.members["messages"]
            exact = [_own_part(message, vendor) for message in json.loads(raw[place.start : place.end])]
            messages = [message for message in exact if message is not None]
            edits["messages"] = json.dumps(messages, ensure_ascii=False, separators=(",", ":")).encode()
    fields = body.get("additionalModelRequestFields")
    thinking = fields.get("thinking") if isinstance(fields, dict) else None
    if isinstance(thinking, dict) and thinking.get("type") == "enabled" and not continues_signed(messages):
        losses.add("coerced:thinking", "off: the tool loop under way has no signed thinking in front")
        edits["additionalModelRequestFields"] = orjson.dumps({**fields, "thinking": {"type": "disabled"}})
    return Encoded(jsonedit.splice(raw, edits, layout), path, {}, losses)


def _own_part(message: JSON, vendor: str) -> JSON | None:
    """The message without what `vendor` cannot read, itself if it holds none of it; None if nothing else was in it."""
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list) or not content:
        return message
    blocks = [b for b in (_own_block(block, vendor) for block in content) if b is not None]
    if not blocks:
        return None
    if len(blocks) == len(content) and all(a is b for a, b in zip(blocks, content, strict=True)):
        return message
    return {**message, "content": blocks}


def _own_block(block: JSON, vendor: str) -> JSON | None:
    if not isinstance(block, dict):
        return block
    reasoning = block.get("reasoningContent")
    if isinstance(reasoning, dict):
        return block if _readable(reasoning, vendor) else None
    for kind in _IDS:
        inner = block.get(kind)
        carried = inner.get("toolUseId") if isinstance(inner, dict) else None
        if isinstance(inner, dict) and isinstance(carried, str) and carrier.MARK in carried:
            return {**block, kind: {**inner, "toolUseId": carried.partition(carrier.MARK)[0]}}
    return block


def _readable(reasoning: dict[str, JSON], vendor: str) -> bool:
    shown = reasoning.get("reasoningText")
    sealed: Opaque | None
    if isinstance(shown, dict):
        sealed = carrier.from_slot(shown.get("signature"), VENDOR)
        if sealed is None:
            return vendor != VENDOR and not shown.get("signature")
    else:
        sealed = redacted_in(reasoning.get("redactedContent"))
    return sealed is None or sealed.vendor == vendor
