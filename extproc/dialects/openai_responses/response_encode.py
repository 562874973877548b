"""A canonical answer to the whole `response` object that a client gets."""

from __future__ import annotations

import orjson

from extproc.core.dialect import Reply
from extproc.core.ir import JSON, Block, FinishReason, Foreign, Image, Loss, Refusal, Response, Text, Thinking, ToolCall
from extproc.core.losses import Losses
from extproc.dialects.openai_responses.response_object import Items, refusal_part, response_object, text_part
from extproc.dialects.openai_responses.tools import called
from extproc.dialects.openai_responses.usage import COERCED, encode_finish, encode_usage
from extproc.dialects.openai_responses.wire import NAME


def encode_response(response: Response, reply: Reply) -> tuple[bytes, list[Loss]]:
    """(the `response` object, its losses)."""
    losses = Losses()
    output = encode_output(response.blocks, Items(response.id or reply.id, called(reply.echo.get("tools")), losses), losses)
    refused = any(isinstance(block, Refusal) for block in response.blocks)
    ending = encode_ending(response.finish, response.stop_sequence, response.finish_detail, refused=refused, losses=losses)
    body = response_object(
        reply,
        response.id,
        response.created,
        ending[0],
        output=output,
        usage=encode_usage(response.usage) if response.usage is not None else None,
        incomplete_details={"reason": ending[1]} if ending[1] else None,
    )
    return orjson.dumps(body), losses


def encode_ending(finish: FinishReason, stop: str | None, detail: str | None, *, refused: bool, losses: Losses) -> tuple[str, str | None]:
    """(status, the reason of an incomplete answer), with the losses of the end."""
    if finish in COERCED:
        losses.add("coerced:finish_reason", finish.value)
    if stop is not None or finish is FinishReason.STOP_SEQUENCE:
        losses.add("dropped:stop_sequence", "the answer does not say that one matched")
    if detail is not None:
        losses.add("dropped:finish_detail", "the provider's own words for the end")
    return encode_finish(finish, refused=refused)


def encode_output(blocks: list[Block], items: Items, losses: Losses) -> list[JSON]:
    """Output items; texts and refusals that stand side by side are the parts of one message."""
    output: list[JSON] = []
    parts: list[JSON] | None = None
    for block in blocks:
        part = encode_part(block, losses)
        if part is not None:
            if parts is None:
                parts = []
                output.append(items.message(len(output), parts))
            parts.append(part)
            continue
        item = encode_item(block, len(output), items, losses)
        if item is not None:
            output.append(item)
            parts = None
    return output


def encode_part(block: Block, losses: Losses) -> dict[str, JSON] | None:
    """A message's part; None for a block that is none, or says nothing."""
    if isinstance(block, Refusal):
        return refusal_part(block.text)
    if not isinstance(block, Text):
        return None
    annotations = text_marks(block, losses)
    return text_part(block.text, annotations) if block.text or annotations else None


def text_marks(block: Text, losses: Losses) -> list[JSON] | None:
    """The annotations of a text; reports what else it carries."""
    if block.opaque is not None:
        losses.add("dropped:signature", "on text: the format has no place for it")
    if block.citations and block.citations_from == NAME:
        return block.citations
    if block.citations:
        losses.add("dropped:citations", f"of {block.citations_from}")
    return None


def encode_item(block: Block, place: int, items: Items, losses: Losses) -> dict[str, JSON] | None:
    """An item of its own, None for a block that the format has no place for (with a loss) and for a text without text."""
    match block:
        case Thinking():
            return items.reasoning(place, block)
        case ToolCall():
            return items.call(place, block)
        case Foreign() if block.dialect == NAME and isinstance(block.raw, dict):
            return block.raw
        case Foreign():
            losses.add("dropped:foreign_block", f"{block.kind[:64]} of {block.dialect}")
        case Image():
            image = items.image(place, block)
            if image is None:
                losses.add("dropped:image", "not given as bytes")
            return image
        case Text():
            return None
        case _:
            losses.add(f"dropped:{type(block).__name__.lower()}")
    return None
