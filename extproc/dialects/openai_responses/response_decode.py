"""A provider's whole answer to the canonical one.

Reference: https://platform.openai.com/docs/api-reference/responses/object
Not carried, and no loss, because they repeat the request or describe the provider's own run: everything but the members that are read here.
"""

from __future__ import annotations

import orjson

from extproc.core.errors import ApiError, UpstreamFormatError
from extproc.core.ir import JSON, Block, Foreign, Image, Refusal, Response, Source, Text, ToolCall
from extproc.core.losses import Losses
from extproc.core.openai_errors import decode_error_object
from extproc.core.unix_time import unix_time
from extproc.dialects.openai_responses.tools import custom_arguments, flat_name
from extproc.dialects.openai_responses.usage import decode_finish, decode_usage
from extproc.dialects.openai_responses.wire import NAME, minted_id, thinking_of


def decode_response(body: bytes) -> Response:
    """Raises `ApiError` for a failed answer or an error body under a 2xx status, `UpstreamFormatError` if it is not this format."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UpstreamFormatError("The provider's answer is not JSON.") from None
    if not isinstance(parsed, dict):
        raise UpstreamFormatError("The provider's answer is not a JSON object.")
    failed = failure(parsed)
    if failed is not None:
        raise failed
    output = parsed.get("output")
    if not isinstance(output, list):
        raise UpstreamFormatError("The provider's answer has no output.")
    losses = Losses()
    blocks: list[Block] = []
    for place, item in enumerate(output):
        if isinstance(item, dict):
            blocks += decode_item(item, str(parsed.get("id")), place, losses)
    called = any(isinstance(block, ToolCall) for block in blocks)
    refused = any(isinstance(block, Refusal) for block in blocks)
    finish, detail = decode_finish(parsed, called=called, refused=refused)
    answer, model, created = head(parsed)
    usage = parsed.get("usage")
    return Response(
        id=answer,
        model=model,
        blocks=blocks,
        finish=finish,
        usage=decode_usage(usage) if isinstance(usage, dict) else None,
        created=created,
        finish_detail=detail,
        losses=losses,
    )


def failure(answer: dict[str, JSON]) -> ApiError | None:
    """The error that an answer stands for: it failed, or it is no answer at all but an envelope."""
    error = answer.get("error")
    if error:
        if isinstance(error, str):
            return decode_error_object({"message": error, "code": answer.get("code")})
        return decode_error_object(error)
    if answer.get("status") == "failed":
        return decode_error_object({"message": "The provider failed to answer."})
    return None


def head(answer: dict[str, JSON]) -> tuple[str, str, int | None]:
    """(id, model, Unix time)"""
    ident, model, created = answer.get("id"), answer.get("model"), answer.get("created_at")
    return (
        ident if isinstance(ident, str) else "",
        model if isinstance(model, str) else "",
        unix_time(created),
    )


def call_id(item: dict[str, JSON], answer: str, place: int) -> str:
    """The id of a call; one of ours for a vendor that gives none."""
    found = item.get("call_id") or item.get("id")
    return found if isinstance(found, str) else minted_id("call", answer, place)


def decode_item(item: dict[str, JSON], answer: str, place: int, losses: Losses) -> list[Block]:
    """The blocks of one output item."""
    kind = item.get("type")
    if kind == "message":
        content = item.get("content")
        parts = content if isinstance(content, list) else []
        return [block for part in parts if isinstance(part, dict) for block in decode_part(part, losses)]
    if kind == "reasoning":
        thought = thinking_of(item)
        return [thought] if thought is not None else []
    if kind in ("function_call", "custom_tool_call"):
        name, arguments = item.get("name"), item.get("arguments")
        if kind == "custom_tool_call":
            arguments = custom_arguments(item.get("input"))
        return [
            ToolCall(
                call_id(item, answer, place),
                flat_name(item.get("namespace"), name if isinstance(name, str) else ""),
                arguments if isinstance(arguments, str) else "",
            )
        ]
    if kind == "image_generation_call" and isinstance(item.get("result"), str) and item["result"]:
        return [Image(Source(f"image/{item.get('output_format') or 'png'}", item["result"]))]
    return [Foreign(NAME, str(kind), item)]


def decode_part(part: dict[str, JSON], losses: Losses) -> list[Block]:
    """The block of one part of a message."""
    kind, text, refusal = part.get("type"), part.get("text"), part.get("refusal")
    if kind == "output_text" and isinstance(text, str):
        if part.get("logprobs"):
            losses.add("dropped:logprobs")
        annotations = part.get("annotations")
        return [Text(text, citations=annotations or None, citations_from=NAME if annotations else None)]
    if kind == "refusal" and isinstance(refusal, str):
        return [Refusal(refusal)]
    losses.add("dropped:block", "a content part of an unknown kind")
    return []
