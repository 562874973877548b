"""A v2 chat request for a provider of the same format: the client's bytes, less the state that other vendors left in tool call ids."""

from __future__ import annotations

import orjson

from extproc.core import carrier, jsonedit
from extproc.core.dialect import Encoded, Facts
from extproc.core.ir import JSON
from extproc.core.losses import Losses
from extproc.dialects.cohere_chat.request_encode import PATH


def splice_request(raw: bytes, body: JSON, facts: Facts) -> Encoded:
    """`body` is `raw` parsed. Raises what `jsonedit.scan` raises."""
    losses = Losses()
    stripped = carrier.strip(raw)
    if stripped is not raw:
        losses.add("signature:foreign", "state that another vendor's answers left in tool call ids")
    edits: dict[str, bytes | None] = {}
    if facts.wire_model not in ("*", body.get("model")):
        edits["model"] = orjson.dumps(facts.wire_model)
    return Encoded(jsonedit.splice(stripped, edits, jsonedit.scan(stripped)), PATH, losses=losses)
