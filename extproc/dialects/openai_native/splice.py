"""The client's bytes with the target's model in them: a member of the JSON body, or a field of the form. A form keeps its own boundary."""

from __future__ import annotations

import orjson

from extproc.core import jsonedit, multipart
from extproc.core.dialect import Ask, Encoded, Facts
from extproc.core.ir import JSON
from extproc.core.losses import Losses


def with_model(raw: bytes, body: JSON, facts: Facts, ask: Ask, path: str) -> Encoded:
    """`body` is `raw` parsed, a `multipart.Form` where it is one. Raises what `jsonedit.scan` raises."""
    edit = facts.wire_model not in ("*", body.get("model"))
    if isinstance(body, multipart.Form):
        spliced = multipart.splice(raw, body, {"model": facts.wire_model.encode()}) if edit else raw
        return Encoded(spliced, path, {"content-type": ask.headers["content-type"]})
    return Encoded(jsonedit.splice(raw, {"model": orjson.dumps(facts.wire_model)} if edit else {}), path)


def wants_usage(body: JSON) -> bool:
    """Does the client ask for token counts in the stream? Total."""
    options = body.get("stream_options") if isinstance(body, dict) else None
    return isinstance(options, dict) and options.get("include_usage") is True


def with_usage(raw: bytes, body: JSON, facts: Facts, path: str) -> Encoded:
    """Of legacy completions, whose streams count tokens only when they are asked to. Raises what `jsonedit.scan` raises."""
    losses = Losses()
    edits: dict[str, bytes | None] = {}
    if facts.wire_model not in ("*", body.get("model")):
        edits["model"] = orjson.dumps(facts.wire_model)
    options = body.get("stream_options")
    if "no_stream_options" in facts.quirks:
        if options is not None:
            edits["stream_options"] = None
            losses.add("dropped:stream_options", "the provider refuses it")
    elif body.get("stream") is True and not wants_usage(body):
        edits["stream_options"] = orjson.dumps((options if isinstance(options, dict) else {}) | {"include_usage": True})
    return Encoded(jsonedit.splice(raw, edits), path, losses=losses)
