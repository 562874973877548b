"""A canonical request as the bytes of a Messages request."""

from __future__ import annotations

from extproc.core.claude import model
from extproc.core.dialect import Encoded, Facts
from extproc.core.ir import JSON, Request
from extproc.core.losses import Losses
from extproc.core.raw_json import dumps
from extproc.dialects.anthropic_messages.blocks import encode_text
from extproc.dialects.anthropic_messages.parameters import encode_parameters
from extproc.dialects.anthropic_messages.turns import encode_turns
from extproc.dialects.anthropic_messages.wire import DEFAULT_VERSION, NAME

PATH = "/messages"
GO_ON = "(Go on from where your last message ends.)"


def encode_request(request: Request, facts: Facts) -> Encoded:
    """Raises `UntranslatableError`, and `BadRequestError` for what this format's provider would refuse with a 400."""
    losses = Losses()
    turns = encode_turns(request.messages, losses, own=request.extra_from == NAME)
    if turns.messages[-1]["role"] == "assistant" and request.extra_from != NAME and not model(facts.model).prefill:
        losses.add("coerced:prefill", "the model does not go on with an assistant's turn: a user turn asks for it")
        turns.messages.append({"role": "user", "content": [encode_text(GO_ON, None)]})
    body: dict[str, JSON] = {"model": facts.model}
    if turns.system:
        body["system"] = turns.system
    body["messages"] = turns.messages
    encode_parameters(request, facts, body, losses)
    return Encoded(dumps(body), PATH, {"anthropic-version": DEFAULT_VERSION}, losses)
