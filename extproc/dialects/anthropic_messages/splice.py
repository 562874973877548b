"""A Messages request to a Messages provider: the client's bytes, with only what must change changed.

That is the model's name, and in a conversation that other vendors took part in also what only they can read: their signatures in thinking
blocks, thinking that nobody signed, the state in tool ids. A byte search finds out whether there is any; without it no message is looked at.

One repair: a tool loop that another vendor began has no signed thinking in front, and Anthropic refuses manual thinking there. So thinking
is switched off for this request, as Anthropic itself does when it is toggled inside a turn. What another generation than the named one refuses
is said in its own words (`model_fit`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import orjson

from extproc.core import carrier, claude, jsonedit
from extproc.core.dialect import Encoded, Facts
from extproc.core.ir import JSON
from extproc.core.losses import Losses
from extproc.dialects.anthropic_messages.encode import GO_ON, PATH
from extproc.dialects.anthropic_messages.model_fit import fit_to_model, is_other_model
from extproc.dialects.anthropic_messages.turns import continues_signed
from extproc.dialects.anthropic_messages.wire import DEFAULT_VERSION

KEPT_HEADERS = ("anthropic-version", "anthropic-beta")
_FOREIGN = re.compile(rb'"signature"\s*:\s*"(?:"|llm1\.)|"data"\s*:\s*"llm1\.')
_ID_MEMBERS = ("id", "tool_use_id")


def splice_request(raw: bytes, body: JSON, facts: Facts, headers: Mapping[str, str]) -> Encoded:
    """Raises `BadRequestError` if `raw` is not one JSON object."""
    losses = Losses()
    layout = jsonedit.scan(raw)
    edits: dict[str, bytes | None] = {}
    cleaned: list[JSON] | None = None
    if body.get("model") != facts.model:
        edits["model"] = orjson.dumps(facts.model)
    if carrier.marked(raw) or _FOREIGN.search(raw):
        cleaned = _cleaned(raw, layout)
        if cleaned is not None:
            losses.add("signature:foreign", "another vendor's signatures and unsigned thinking were left out")
            edits["messages"] = json.dumps(cleaned, ensure_ascii=False, separators=(",", ":")).encode()
    messages = body.get("messages") if cleaned is None else cleaned
    if is_other_model(body, facts):
        for name, value in fit_to_model(body, messages, facts, losses).items():
            edits[name] = None if value is None else orjson.dumps(value)
        if _ends_with_assistant(messages) and not claude.model(facts.model).prefill:
            losses.add("coerced:prefill", "the model does not go on with an assistant's turn: a user turn asks for it")
            edits["messages"] = _with_turn(edits.get("messages") or raw[layout.members["messages"].start : layout.members["messages"].end])
    thinking = body.get("thinking") if "thinking" not in edits else None
    if isinstance(thinking, dict) and thinking.get("type") == "enabled" and not continues_signed(messages):
        losses.add("coerced:thinking", "off: the tool loop under way has no signed thinking in front")
        edits["thinking"] = b'{"type":"disabled"}'
    kept = {name: headers[name] for name in KEPT_HEADERS if name in headers}
    kept.setdefault("anthropic-version", DEFAULT_VERSION)
    return Encoded(jsonedit.splice(raw, edits, layout), PATH, kept, losses)


def _ends_with_assistant(messages: JSON) -> bool:
    last = messages[-1] if isinstance(messages, list) and messages else None
    return isinstance(last, dict) and last.get("role") == "assistant"


def _with_turn(messages: bytes) -> bytes:
    """A list of messages, as JSON, with a user's turn behind."""
    turn = orjson.dumps({"role": "user", "content": GO_ON})
    return messages.rstrip()[:-1] + b"," + turn + b"]"


def _cleaned(raw: bytes, layout: jsonedit.Layout) -> list[JSON] | None:
    """`messages` without foreign state; None if there is none in it after all, as where a user's text quotes a mark.

    Parsed with the standard library, which keeps numbers of any size: the rest of these messages goes to the provider as it was.
    """
    place = layout.members.get("messages")
    messages = None if place is None else json.loads(raw[place.start : place.end])
    if not isinstance(messages, list):
        return None
    cleaned = [_own_part(m) for m in messages]
    if all(a is b for a, b in zip(cleaned, messages, strict=True)):
        return None
    return [m for m in cleaned if m is not None]


def _own_part(message: JSON) -> JSON | None:
    """The message without foreign state, itself if it holds none; None if nothing else was in it."""
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list) or not content:
        return message
    blocks = [b for b in map(_own_block, content) if b is not None]
    if not blocks:
        return None
    if len(blocks) == len(content) and all(a is b for a, b in zip(blocks, content, strict=True)):
        return message
    return {**message, "content": blocks}


def _own_block(block: JSON) -> JSON | None:
    if not isinstance(block, dict):
        return block
    kind = block.get("type")
    if kind == "thinking":
        signature = block.get("signature")
        return None if signature == "" or (isinstance(signature, str) and signature.startswith(carrier.SLOT)) else block
    if kind == "redacted_thinking":
        data = block.get("data")
        return None if isinstance(data, str) and data.startswith(carrier.SLOT) else block
    for name in _ID_MEMBERS:
        carried = block.get(name)
        if isinstance(carried, str) and carrier.MARK in carried:
            block = {**block, name: carried.partition(carrier.MARK)[0]}
    return block
