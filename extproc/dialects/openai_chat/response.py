"""Whole answers of Chat Completions, both ways.

Reference: https://platform.openai.com/docs/api-reference/chat/object
Vendors add `reasoning_content` or `reasoning`, `reasoning_details`, `images` (OpenRouter), `extra_content.google.thought_signature` (Gemini).
Not carried, and no loss, because they describe the provider's own run (`ANSWER`, `CHOICE`): fingerprints, filter annotations, timings, costs.
"""

from __future__ import annotations

import hashlib

import orjson

from extproc.core import carrier
from extproc.core.dialect import Reply
from extproc.core.errors import BadRequestError, UpstreamFormatError
from extproc.core.ir import (
    JSON,
    Block,
    FinishReason,
    Foreign,
    Image,
    Loss,
    Refusal,
    Response,
    Text,
    Thinking,
    ToolCall,
)
from extproc.core.losses import Losses
from extproc.core.openai_errors import decode_error_object
from extproc.core.unix_time import unix_time
from extproc.core.usage import Usage
from extproc.dialects.openai_chat import details
from extproc.dialects.openai_chat.content import MISTRAL, NAME, data_url, decode_content, image_part
from extproc.dialects.openai_chat.request_decode import arguments
from extproc.dialects.openai_chat.signature import google_signature
from extproc.dialects.openai_chat.usage import COERCED, decode_finish, decode_usage, encode_finish, encode_usage, finish_error

KNOWN = frozenset(
    {
        "role",
        "content",
        "refusal",
        "annotations",
        "audio",
        "images",
        "tool_calls",
        "function_call",
        "reasoning",
        "reasoning_content",
        "reasoning_details",
        "extra_content",
        "thought_signature",
        "channel",
        "name",
        "prefix",
    }
)
"""Members of an answer's message or delta that are read, or that say nothing (`channel`, Groq's name for what `reasoning` is)."""

SOURCES = ("citations", "search_results")
"""Perplexity's lists of sources, beside the choices."""

ANSWER = frozenset({"id", "object", "created", "model", "choices", "usage", "error", "code", "message", *SOURCES}) | {
    "images",
    "kv_transfer_params",
    "kind",
    "latency_checkpoint",
    "metadata",
    "nvext",
    "obfuscation",
    "p",
    "prompt",
    "perf_metrics",
    "prompt_filter_results",
    "prompt_logprobs",
    "prompt_token_ids",
    "provider",
    "related_questions",
    "service_tier",
    "system_fingerprint",
    "time_info",
    "timings",
    "type",
    "usage_breakdown",
    "warnings",
    "x_groq",
}
"""Members of an answer or chunk that are read, and behind them those that describe the provider's own run and are not carried."""

CHOICE = frozenset({"index", "message", "delta", "finish_reason", "logprobs", "error", "stop_reason"}) | {
    "content_filter_results",
    "content_filter_offsets",
    "content_filter_result",
    "native_finish_reason",
    "seed",
    "token_ids",
}
"""The same of a choice."""


def call_id(answer: str, place: int) -> str:
    """An id for a call that the provider gave none: the same for the same answer, another for another."""
    return "call_" + hashlib.sha256(f"{answer}/{place}".encode()).hexdigest()[:24]


def decode_images(raw: JSON) -> list[Block]:
    """OpenRouter's `images`: parts like those of requests."""
    blocks: list[Block] = []
    for part in raw if isinstance(raw, list) else []:
        value = part.get("image_url") if isinstance(part, dict) else None
        url = value.get("url") if isinstance(value, dict) else value
        if isinstance(url, str):
            blocks.append(Image(data_url(url)))
    return blocks


def decode_response(body: bytes) -> Response:
    """Raises `ApiError` for an error body under a 2xx status, `UpstreamFormatError` if it is not this format."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UpstreamFormatError("The provider's answer is not JSON.") from None
    if not isinstance(parsed, dict):
        raise UpstreamFormatError("The provider's answer is not a JSON object.")
    choices = parsed.get("choices")
    choices = choices if isinstance(choices, list) else []
    choice = choices[0] if choices else None
    error = parsed.get("error") or (choice.get("error") if isinstance(choice, dict) else None)
    if error:
        raise decode_error_object(error)
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or (not isinstance(message, dict) and choice.get("finish_reason") is None):
        raise UpstreamFormatError("The provider's answer has no choice with a message.")
    broken = finish_error(choice.get("finish_reason"))
    if broken is not None:
        raise broken
    losses = Losses()
    if len(choices) > 1:
        losses.add("dropped:choices", f"{len(choices) - 1} more")
    if choice.get("logprobs"):
        losses.add("dropped:logprobs")
    if any(parsed.get(name) for name in SOURCES):
        losses.add("dropped:citations", "the sources of the whole answer")
    losses.unknown("answer", parsed, ANSWER)
    losses.unknown("choice", choice, CHOICE)
    answer = parsed.get("id")
    answer = answer if isinstance(answer, str) else ""
    blocks = decode_message(message, answer, losses) if isinstance(message, dict) else []
    called = any(isinstance(block, ToolCall) for block in blocks)
    refused = any(isinstance(block, Refusal) for block in blocks)
    finish, detail = decode_finish(choice.get("finish_reason"), called=called, refused=refused)
    stop = choice.get("stop_reason")
    if isinstance(stop, str) and finish is FinishReason.STOP:
        finish = FinishReason.STOP_SEQUENCE
    model, created, usage = parsed.get("model"), parsed.get("created"), parsed.get("usage")
    return Response(
        id=answer,
        model=model if isinstance(model, str) else "",
        blocks=blocks,
        finish=finish,
        usage=decode_usage(usage) if isinstance(usage, dict) else None,
        stop_sequence=stop if finish is FinishReason.STOP_SEQUENCE else None,
        created=unix_time(created),
        finish_detail=detail,
        losses=losses,
    )


def decode_message(message: dict[str, JSON], answer: str, losses: Losses) -> list[Block]:
    """The blocks of an answer, thoughts first."""
    blocks: list[Block] = [*details.decode(message)]
    try:
        content = decode_content(message.get("content"), "content", losses.unknown)
    except BadRequestError as error:
        raise UpstreamFormatError(f"The provider's answer has content of a wrong shape: {error.message}") from None
    signature = google_signature(message)
    annotations = message.get("annotations")
    for block in content:
        if isinstance(block, Text):
            if annotations:
                block.citations, block.citations_from = annotations, NAME
            block.opaque, signature = signature, None
    blocks += content
    if isinstance(message.get("refusal"), str) and message["refusal"]:
        blocks.append(Refusal(message["refusal"]))
    blocks += decode_images(message.get("images"))
    if isinstance(message.get("audio"), dict):
        blocks.append(Foreign(NAME, "audio", message["audio"]))
    calls = message.get("tool_calls")
    for place, call in enumerate(calls if isinstance(calls, list) else []):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            blocks.append(Foreign(NAME, "tool_call", call))
            continue
        ident = call.get("id")
        own = google_signature(call) or signature
        signature = None
        blocks.append(
            ToolCall(
                ident if isinstance(ident, str) and ident else call_id(answer, place),
                str(function.get("name") or ""),
                arguments(function.get("arguments")),
                own,
            )
        )
    legacy = message.get("function_call")
    if isinstance(legacy, dict):
        blocks.append(ToolCall(call_id(answer, 0), str(legacy.get("name") or ""), arguments(legacy.get("arguments")), signature))
    elif signature is not None:
        blocks.append(Text("", opaque=signature))
    losses.unknown("message", message, KNOWN)
    return blocks


def encode_response(response: Response, reply: Reply) -> tuple[bytes, list[Loss]]:
    """(the `chat.completion` object, its losses)."""
    losses = Losses()
    message = encode_message(response.blocks, reply, losses)
    refused = message["refusal"] is not None
    if response.finish in COERCED:
        losses.add("coerced:finish_reason", response.finish.value)
    if response.stop_sequence is not None:
        losses.add("dropped:stop_sequence", "the answer does not say which one matched")
    if response.finish_detail is not None:
        losses.add("dropped:finish_detail", "the provider's own words for the end")
    finish = encode_finish(response.finish, refused=refused, functions=reply.functions)
    body: dict[str, JSON] = {
        "id": response.id or reply.id,
        "object": "chat.completion",
        "created": response.created if response.created is not None else reply.created,
        "model": reply.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
    }
    if response.usage is not None:
        body["usage"] = encode_usage(response.usage)
    elif reply.form == MISTRAL:
        losses.add("defaulted:usage", "Mistral's SDK requires counts")
        body["usage"] = encode_usage(Usage())
    return orjson.dumps(body), losses


def encode_message(blocks: list[Block], reply: Reply, losses: Losses) -> dict[str, JSON]:
    """The assistant message; signed thoughts ride in the id of the call that they led to."""
    texts: list[str] = []
    refusals: list[str] = []
    thoughts: list[str] = []
    signed: list[Thinking] = []
    calls: list[JSON] = []
    images: list[JSON] = []
    message: dict[str, JSON] = {"role": "assistant", "content": None, "refusal": None}
    for block in blocks:
        match block:
            case Text():
                texts.append(block.text)
                if block.citations and block.citations_from == NAME:
                    message["annotations"] = block.citations
                elif block.citations:
                    losses.add("dropped:citations", f"of {block.citations_from}")
                if block.opaque is not None:
                    losses.add("dropped:signature", "on text: the format has no place for it")
            case Refusal():
                refusals.append(block.text)
            case Thinking():
                if block.text:
                    thoughts.append(block.text)
                if block.opaque is not None:
                    signed.append(block)
            case ToolCall():
                ident = carrier.join(block.id, block.opaque, signed)
                signed = []
                calls.append({"id": ident, "type": "function", "function": {"name": block.name, "arguments": block.arguments or "{}"}})
            case Image() if block.source.file_id is None:
                images.append(image_part(block))
            case Foreign() if block.dialect == NAME and block.kind == "audio":
                message["audio"] = block.raw
            case Foreign() if block.dialect == NAME and block.kind == "tool_call":
                calls.append(block.raw)
            case _:
                _lost(block, losses)
    if signed:
        losses.add("dropped:signature", "thoughts that no tool call follows")
    if texts:
        message["content"] = "".join(texts)
    if refusals:
        message["refusal"] = "".join(refusals)
    if thoughts:
        message["reasoning_content"] = "\n\n".join(thoughts)
    if images:
        message["images"] = images
    if calls and reply.functions:
        message["function_call"] = calls[0].get("function")
        if len(calls) > 1:
            losses.add("dropped:parallel_tool_calls", "the older form has one call at a time")
    elif calls:
        message["tool_calls"] = calls
    return message


def _lost(block: Block, losses: Losses) -> None:
    """Reports a block that the format has no place for."""
    if isinstance(block, Foreign):
        losses.add("dropped:foreign_block", f"{block.kind[:64]} of {block.dialect}")
    else:
        losses.add(f"dropped:{type(block).__name__.lower()}")
