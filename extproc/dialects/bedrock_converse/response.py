"""Whole answers both ways.

An answer names neither itself nor its model. What it says about its metering and about guardrails (`metrics`, `trace`, tiers) has no effect on the
conversation: `METADATA` lists it, and it is left out without a loss.
Source: `ConverseResponse` of the service model; recorded answers.
"""

from __future__ import annotations

import json
import re

import orjson

from extproc.core import carrier
from extproc.core.aws_errors import error_of
from extproc.core.dialect import Reply
from extproc.core.errors import BadRequestError, UpstreamFormatError
from extproc.core.ir import JSON, Block, Foreign, Image, Loss, Refusal, Response, Text, Thinking, ToolCall
from extproc.core.losses import Losses
from extproc.core.raw_json import arguments
from extproc.core.tool_names import wire_name
from extproc.dialects.bedrock_converse.blocks import decode_block
from extproc.dialects.bedrock_converse.finish import decode_finish, encode_finish, stop_sequence
from extproc.dialects.bedrock_converse.media import IMAGES, format_of, media_type
from extproc.dialects.bedrock_converse.turns import cited, reasoning_content
from extproc.dialects.bedrock_converse.usage import decode_usage, encode_usage
from extproc.dialects.bedrock_converse.wire import NAME, client_id

METADATA = frozenset({"metrics", "trace", "performanceConfig", "serviceTier"})
_KNOWN = METADATA | {"output", "stopReason", "usage", "additionalModelResponseFields"}
_BIG = re.compile(rb"[0-9]{19}")
"""Digits that may be a number beyond 64 bits, which orjson reads as a float."""


def decode_response(body: bytes) -> Response:
    """Raises `ApiError` for an error under a 2xx status, `UpstreamFormatError` for anything that is no answer of Converse."""
    parsed = _parse(body)
    output = parsed.get("output") if isinstance(parsed, dict) else None
    message = output.get("message") if isinstance(output, dict) else None
    word = parsed.get("stopReason") if isinstance(parsed, dict) else None
    if not isinstance(message, dict) or not isinstance(word, str):
        if isinstance(parsed, dict) and output is None and ("message" in parsed or "__type" in parsed):
            raise error_of(parsed)
        raise UpstreamFormatError("the provider's answer is no answer of Converse")
    losses = Losses()
    for name in (m for m in parsed if m not in _KNOWN):
        if parsed[name] is not None:
            losses.member(name, "")
    fields = parsed.get("additionalModelResponseFields")
    if isinstance(fields, dict) and any(value is not None for name, value in fields.items() if name != "stop_sequence"):
        losses.member("additionalModelResponseFields", "")
    finish, detail = decode_finish(word)
    return Response(
        "",
        "",
        _blocks(message.get("content"), losses),
        finish,
        decode_usage(parsed.get("usage")),
        stop_sequence(fields),
        finish_detail=detail,
        losses=losses,
    )


def _parse(body: bytes) -> JSON:
    """The parsed answer, with whole numbers of any size as they are: tool inputs are the application's."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UpstreamFormatError("the provider's answer is not JSON") from None
    if b"toolUse" not in body or _BIG.search(body) is None:
        return parsed
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # what only orjson takes
        return parsed


def _blocks(content: JSON, losses: Losses) -> list[Block]:
    if content is not None and not isinstance(content, list):
        raise UpstreamFormatError("the content of the provider's answer is no list")
    blocks: list[Block] = []
    for raw in content or ():
        if not isinstance(raw, dict):
            raise UpstreamFormatError("the provider's answer holds a block that is no object")
        try:
            blocks.append(decode_block(raw, "content", losses))
        except BadRequestError as error:
            raise UpstreamFormatError(f"the provider's answer holds a malformed block: {error.message}") from None
    return blocks


def encode_response(response: Response, reply: Reply) -> tuple[bytes, list[Loss]]:  # noqa: ARG001 - the format has no place for id, time and model
    """The answer for a client of this dialect, and what it could not carry. `latencyMs`, which the format requires, is not known here: 0."""
    losses = Losses()
    content: list[JSON] = []
    refused = calls = False
    for block in response.blocks:
        refused, calls = refused or isinstance(block, Refusal), calls or isinstance(block, ToolCall)
        encoded = encode_block(block, losses)
        if encoded is not None:
            content.append(encoded)
    word, carried = encode_finish(response.finish, response.finish_detail, refused=refused, calls=calls)
    if not carried:
        losses.add("coerced:finish_reason", response.finish.value)
    lost_detail(response.finish_detail, word, losses)
    counts = encode_usage(response.usage, losses)
    answer: dict[str, JSON] = {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": word,
        "usage": counts,
        "metrics": {"latencyMs": 0},
    }
    if response.stop_sequence is not None:
        answer["additionalModelResponseFields"] = {"stop_sequence": response.stop_sequence}
    return orjson.dumps(answer), losses


def lost_detail(detail: str | None, word: str, losses: Losses) -> None:
    """Reports the provider's own words for the end, unless the stop reason is them."""
    if detail is not None and detail != word:
        losses.add("dropped:finish_detail", "the format has no place for it")


def encode_block(block: Block, losses: Losses) -> JSON | None:
    """A block of an answer; None for one that the format has no word for, and for blank text, which AWS refuses when it comes back."""
    if isinstance(block, Text):
        if not block.text and not block.citations:
            return None
        if block.opaque is not None:
            losses.add("dropped:signature", "text has no slot for a signature")
        if block.citations and block.citations_from == NAME:
            return cited(block)
        if block.citations:
            losses.add("dropped:citations", "citations are in another format's shape")
        return {"text": block.text}
    if isinstance(block, ToolCall):
        given, wrapped = arguments(block.arguments)
        if wrapped:
            losses.add("coerced:tool_arguments", "arguments that are no JSON object were put into one")
        return {"toolUse": {**tool_use(block, losses), "input": given}}
    if isinstance(block, Thinking):
        if block.opaque is None and (block.redacted or not block.text):
            losses.add("dropped:thinking", "hidden thinking without its data")
            return None
        return reasoning_content(block)
    if isinstance(block, Refusal):
        losses.add("coerced:refusal", "the refusal became text and the stop reason")
        return {"text": block.text} if block.text else None
    if isinstance(block, Image):
        name = format_of(IMAGES, media_type(block.source.media_type, block.source.data))
        if block.source.data and name is not None:
            return {"image": {"format": name, "source": {"bytes": block.source.data}}}
    if isinstance(block, Foreign) and block.dialect == NAME:
        return block.raw
    if isinstance(block, Foreign):
        losses.add("dropped:foreign_block", f"{block.kind[:64]} of {block.dialect}")
    else:
        losses.add(f"dropped:{type(block).__name__.lower()}", "in the answer")
    return None


def tool_use(block: ToolCall, losses: Losses) -> dict[str, JSON]:
    """The head of a `toolUse`. An id that carries state is longer than AWS's own ids ever are, which no SDK minds."""
    name = wire_name(block.name)
    if name != block.name:
        # no tool of this client's, whose own names fit
        losses.add("coerced:tool_name", "a tool name that the format has no letters or no room for")
    return {"toolUseId": carrier.join(client_id(block.id), block.opaque, []), "name": name}
