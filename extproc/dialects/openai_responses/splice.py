"""A Responses request for a provider of the same format: the client's bytes with only the members edited that must change.

That is the model's name, and in a conversation that other vendors took part in also what only they can read: their reasoning items, reasoning
that was never encrypted (an id of ours stands for nothing at the provider), the state in call ids. A byte search finds out whether there is any.
What OpenAI's model refuses goes where the client asked for another name: a client that names the very model knows what that takes.
"""

from __future__ import annotations

import re

import orjson

from extproc.core import carrier, jsonedit
from extproc.core.dialect import Encoded, Facts
from extproc.core.ir import JSON
from extproc.core.losses import Losses
from extproc.dialects.openai_responses.model_fit import fit_to_model
from extproc.dialects.openai_responses.request_encode import PATH
from extproc.dialects.openai_responses.wire import MINTING, is_ours, minter

_REASONING = re.compile(rb'"reasoning"')


def splice_request(raw: bytes, body: JSON, facts: Facts) -> Encoded:
    """`body` is `raw` parsed. Raises what `jsonedit.scan` raises."""
    losses = Losses()
    stripped = carrier.strip(raw)
    if stripped is not raw:
        losses.add("signature:foreign", "state that another vendor's answers left in call ids")
    raw = stripped
    layout = jsonedit.scan(raw)
    edits: dict[str, bytes | None] = {}
    if facts.wire_model not in ("*", body.get("model")):
        edits["model"] = orjson.dumps(facts.wire_model)
    if facts.vendor == "openai" and facts.model != "*" and body.get("model") not in (facts.model, facts.wire_model):
        for name, value in fit_to_model(body, facts, losses).items():
            edits[name] = None if value is None else orjson.dumps(value)
    items = _items(raw, layout, body, facts, losses)
    if items is not None:
        edits["input"] = items
    return Encoded(jsonedit.splice(raw, edits, layout), PATH, losses=losses)


def _items(raw: bytes, layout: jsonedit.Layout, body: dict[str, JSON], facts: Facts, losses: Losses) -> bytes | None:
    """The input without reasoning items that the target cannot read; None if nothing must change."""
    items = body.get("input")
    if not isinstance(items, list) or _REASONING.search(raw) is None:
        return None
    foreign = [i for i, item in enumerate(items) if isinstance(item, dict) and item.get("type") == "reasoning" and _foreign(item, facts, losses)]
    if not foreign:
        return None
    spans = jsonedit.elements(raw, layout.members["input"])
    return b"[" + b",".join([raw[start:end] for i, (start, end) in enumerate(spans) if i not in foreign]) + b"]"


def _foreign(item: dict[str, JSON], facts: Facts, losses: Losses) -> bool:
    """Must this reasoning item stay out? Reports it then."""
    encrypted, item_id = item.get("encrypted_content"), item.get("id")
    if not isinstance(encrypted, str) or not encrypted:
        if is_ours(item_id) and "reasoning_content_history" not in facts.quirks:
            losses.add("dropped:thinking", "reasoning without its encrypted content is refused")
            return True
        return False
    # a vendor that is not known to encrypt may well be a relay of the one that did
    theirs = facts.vendor in MINTING and minter(item_id if isinstance(item_id, str) else "") != facts.vendor
    if encrypted.startswith(carrier.SLOT) or (theirs and isinstance(item_id, str) and item_id):
        losses.add("signature:foreign", "another vendor's reasoning was left out")
        return True
    return False
