"""A canonical request as the path and the bytes of a Converse request."""

from __future__ import annotations

from extproc.core.bedrock_path import bedrock_path
from extproc.core.dialect import Encoded, Facts
from extproc.core.ir import JSON, Request
from extproc.core.losses import Losses
from extproc.core.raw_json import dumps
from extproc.dialects.bedrock_converse.draft import Draft
from extproc.dialects.bedrock_converse.families import family
from extproc.dialects.bedrock_converse.parameters import encode_parameters
from extproc.dialects.bedrock_converse.turns import TurnEncoder
from extproc.dialects.bedrock_converse.wire import NAME


def operation(*, stream: bool) -> str:
    """The last segment of the path."""
    return "converse-stream" if stream else "converse"


def encode_request(request: Request, facts: Facts) -> Encoded:
    """Raises `UntranslatableError`, and `BadRequestError` for what AWS would refuse with a 400."""
    losses = Losses()
    path = bedrock_path(facts.wire_model, operation(stream=request.stream))
    of = family(facts.model, facts.vendor)
    turns = TurnEncoder(of, losses, own=request.extra_from == NAME).encode(request.messages)
    draft = Draft(request, turns, facts, of, losses)
    encode_parameters(draft)
    body: dict[str, JSON] = {}
    if turns.system and not of.system:
        # instructions of our own, for a model without system text
        turns.messages[-1]["content"] += turns.system
    elif turns.system:
        body["system"] = turns.system
    body["messages"] = turns.messages
    return Encoded(dumps(body | draft.members), path, {}, losses)
