"""Whole answers both ways.

What an answer says about the account and its metering (service tier, region, cache lifetimes, rounds of server tools) has no place in other
formats and no effect on the conversation: `METADATA` lists it, and it is left out without a loss.
Source: the SDK's `Message`; recorded answers.
"""

from __future__ import annotations

import json
import re

import orjson

from extproc.core import carrier
from extproc.core.dialect import Reply
from extproc.core.errors import BadRequestError, UpstreamFormatError
from extproc.core.ir import JSON, Block, FinishReason, Foreign, Loss, Refusal, Response, Text, Thinking, ToolCall
from extproc.core.losses import Losses
from extproc.core.raw_json import arguments, raw_json
from extproc.dialects.anthropic_messages.blocks import decode_block, encode_text, encode_thinking
from extproc.dialects.anthropic_messages.errors import error_of
from extproc.dialects.anthropic_messages.finish import decode_finish, encode_finish
from extproc.dialects.anthropic_messages.usage import Counts, encode_usage
from extproc.dialects.anthropic_messages.wire import NAME, VENDOR, safe_id

METADATA = frozenset({"type", "role", "usage", "stop_details", "diagnostics"})
_BIG = re.compile(rb"[0-9]{19}")
"""Digits that may be a number beyond 64 bits, which orjson reads as a float."""
_KNOWN = METADATA | {"id", "model", "content", "stop_reason", "stop_sequence"}


def decode_response(body: bytes) -> Response:
    """Raises `ApiError` for an error envelope, `UpstreamFormatError` for anything that is no message."""
    parsed = _parse(body)
    if not isinstance(parsed, dict):
        raise UpstreamFormatError("the provider's answer is not a message")
    if parsed.get("type") == "error" or (isinstance(parsed.get("error"), dict) and "content" not in parsed):
        raise error_of(parsed)
    content, word = parsed.get("content"), parsed.get("stop_reason")
    if not isinstance(content, list) or not isinstance(word, str):
        raise UpstreamFormatError("the provider's answer is not a message")
    losses = Losses()
    for name in (m for m in parsed if m not in _KNOWN):
        if parsed[name] is not None:
            losses.add(f"dropped:{name}" if name in {"container", "context_management"} else "dropped:unknown_member", name[:64])
    finish, detail = decode_finish(word, parsed.get("stop_details"))
    stop_sequence = parsed.get("stop_sequence")
    return Response(
        str(parsed.get("id") or ""),
        str(parsed.get("model") or ""),
        _blocks(content, losses),
        finish,
        Counts().update(parsed["usage"]) if isinstance(parsed.get("usage"), dict) else None,
        stop_sequence if isinstance(stop_sequence, str) else None,
        finish_detail=detail,
        losses=losses,
    )


def _parse(body: bytes) -> JSON:
    """The parsed answer, with whole numbers of any size as they are: tool inputs are the application's."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UpstreamFormatError("the provider's answer is not JSON") from None
    if b"tool_use" not in body or _BIG.search(body) is None:
        return parsed
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # what only orjson takes
        return parsed


def _blocks(content: list[JSON], losses: Losses) -> list[Block]:
    blocks: list[Block] = []
    for block in content:
        if not isinstance(block, dict):
            raise UpstreamFormatError("the provider's answer holds a block that is no object")
        try:
            blocks.append(decode_block(block, "content", losses))
        except BadRequestError as error:
            raise UpstreamFormatError(f"the provider's answer holds a malformed block: {error.message}") from None
    return blocks


def encode_response(response: Response, reply: Reply) -> tuple[bytes, list[Loss]]:
    """The answer for a client of this dialect, and what it could not carry."""
    losses = Losses()
    content: list[JSON] = []
    refusal: str | None = None
    for block in response.blocks:
        if isinstance(block, Refusal):
            refusal = block.text
            losses.add("coerced:refusal", "the refusal became text and the stop reason")
        encoded = encode_block(block, losses)
        if encoded is not None:
            content.append(encoded)
    calls = any(isinstance(block, ToolCall) for block in response.blocks)
    word, details, carried = encode_finish(response.finish, response.finish_detail or refusal, refused=refusal is not None, calls=calls)
    if not carried:
        losses.add("coerced:finish_reason", response.finish.value)
    if response.usage is None:
        losses.add("defaulted:usage", "the provider counted no tokens")
    message: dict[str, JSON] = {
        "id": response.id or reply.id,
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": content,
        "stop_reason": word,
        "stop_sequence": response.stop_sequence if response.finish is FinishReason.STOP_SEQUENCE else None,
    }
    if details is not None:
        message["stop_details"] = details
    message["usage"] = encode_usage(response.usage)
    return orjson.dumps(message), losses


def encode_block(block: Block, losses: Losses) -> JSON | None:
    """A block of an answer; None for one that the format has no word for, and for empty text, which the API refuses when it comes back."""
    if isinstance(block, Text):
        if not block.text and not block.citations:
            return None
        if block.opaque is not None and block.opaque.vendor != VENDOR:
            losses.add("dropped:signature", "text has no slot for a signature")
        out = encode_text(block.text, None)
        if block.citations and block.citations_from == NAME:
            out["citations"] = block.citations
        elif block.citations:
            losses.add("dropped:citations", "citations are in another format's shape")
        return out
    if isinstance(block, ToolCall):
        given, wrapped = arguments(block.arguments)
        if wrapped:
            losses.add("coerced:tool_arguments", "arguments that are no JSON object were put into one")
        return {"type": "tool_use", "id": carrier.join(safe_id(block.id), block.opaque, []), "name": block.name, "input": given}
    if isinstance(block, Thinking):
        if block.redacted and block.opaque is None:
            losses.add("dropped:thinking", "hidden thinking without its data")
            return None
        return encode_thinking(block)
    if isinstance(block, Refusal):
        return encode_text(block.text, None) if block.text else None
    if isinstance(block, Foreign) and block.dialect == NAME and isinstance(block.raw, dict):
        return orjson.Fragment(raw_json(block.raw))
    if isinstance(block, Foreign):
        losses.add("dropped:foreign_block", f"{block.kind[:64]} of {block.dialect}")
    else:
        losses.add(f"dropped:{type(block).__name__.lower()}", "in the answer")
    return None
