"""Whole answers both ways.

Text in front of tool calls is Cohere's `tool_plan`. Citations belong to one text and are carried in Cohere's own shape. Signed thoughts of other
vendors ride in the id of the call that they led to (`core.carrier`), because the format has no place for a signature.
Source: the SDK's `V2ChatResponse`; recorded answers.
"""

from __future__ import annotations

import orjson

from extproc.core import carrier
from extproc.core.dialect import Reply
from extproc.core.errors import BadRequestError, UpstreamFormatError
from extproc.core.ir import JSON, Block, Foreign, Loss, Refusal, Response, Text, Thinking, ToolCall
from extproc.core.losses import Losses
from extproc.dialects.cohere_chat.errors import error_of
from extproc.dialects.cohere_chat.messages_decode import arguments
from extproc.dialects.cohere_chat.usage import decode_finish, decode_usage, encode_finish, encode_usage, failure
from extproc.dialects.cohere_chat.wire import NAME, original_name

_ANSWER = frozenset({"id", "message", "finish_reason", "usage", "logprobs", "meta"})
"""`meta` holds the API's version and warnings, which are about the provider's own run."""
_MESSAGE = frozenset({"role", "content", "tool_calls", "tool_plan", "citations"})


def decode_response(body: bytes) -> Response:
    """Raises `ApiError` for an error envelope and for an answer that failed, `UpstreamFormatError` for anything that is no answer."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UpstreamFormatError("the provider's answer is not JSON") from None
    message = parsed.get("message") if isinstance(parsed, dict) else None
    if not isinstance(parsed, dict) or (not isinstance(message, dict | str) and "error" not in parsed):
        raise UpstreamFormatError("the provider's answer is not a chat answer")
    if not isinstance(message, dict):
        raise error_of(parsed)
    word = parsed.get("finish_reason")
    failed = failure(word, parsed.get("error"))
    if failed is not None:
        raise failed
    losses = Losses()
    losses.unknown("answer", parsed, _ANSWER)
    losses.unknown("message", message, _MESSAGE)
    if parsed.get("logprobs"):
        losses.add("dropped:logprobs")
    blocks = _blocks(message, losses)
    finish, detail = decode_finish(word, called=any(isinstance(block, ToolCall) for block in blocks))
    ident, usage = parsed.get("id"), parsed.get("usage")
    return Response(
        ident if isinstance(ident, str) else "",
        "",
        blocks,
        finish,
        decode_usage(usage) if isinstance(usage, dict) else None,
        finish_detail=detail,
        losses=losses,
    )


def _blocks(message: dict[str, JSON], losses: Losses) -> list[Block]:
    content = message.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    blocks: list[Block] = [_part(part) for part in parts if part] if isinstance(parts, list) else []
    plan = message.get("tool_plan")
    planned = Text(plan) if isinstance(plan, str) and plan else None
    citations = message.get("citations")
    if isinstance(citations, list):
        for citation in citations:
            _cite(citation, blocks, planned, losses)
    if planned is not None:
        blocks.append(planned)
    calls = message.get("tool_calls")
    return blocks + [tool_call(call) for call in (calls if isinstance(calls, list) else ())]


def _part(part: JSON) -> Block:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("text", "thinking") and isinstance(part.get(kind), str):
        return Text(part["text"]) if kind == "text" else Thinking(part["thinking"])
    if isinstance(kind, str) and kind not in ("text", "thinking"):
        return Foreign(NAME, kind[:64], part)
    raise UpstreamFormatError("the provider's answer holds a malformed content part")


def _cite(citation: JSON, blocks: list[Block], planned: Text | None, losses: Losses) -> None:
    """Adds the citation to the text that it is about: the plan, the text at its content index, or the first text."""
    kind = citation.get("type") if isinstance(citation, dict) else None
    place = citation.get("content_index") if isinstance(citation, dict) else None
    said: Block | None = None
    if kind == "PLAN":
        said = planned
    elif isinstance(place, int) and 0 <= place < len(blocks):
        said = blocks[place]
    elif kind != "THINKING_CONTENT":
        said = next((block for block in blocks if isinstance(block, Text)), planned)
    if isinstance(said, Text):
        said.citations, said.citations_from = [*(said.citations or ()), citation], NAME
    else:
        losses.add("dropped:citations", "of thoughts")


def tool_call(call: JSON) -> ToolCall:
    """Raises `UpstreamFormatError` if it is none."""
    function = call.get("function") if isinstance(call, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    ident = call.get("id") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not isinstance(ident, str):
        raise UpstreamFormatError("the provider's answer holds a malformed tool call")
    try:
        return ToolCall(ident, original_name(name), arguments(function.get("arguments")))
    except BadRequestError as error:
        raise UpstreamFormatError(f"the provider's answer holds a malformed tool call: {error.message}") from None


def encode_response(response: Response, reply: Reply) -> tuple[bytes, list[Loss]]:
    """The answer for a client of this dialect, and what it could not carry."""
    losses = Losses()
    message = _message(response.blocks, losses)
    word, carried = encode_finish(response.finish, called="tool_calls" in message)
    if not carried:
        losses.add("coerced:finish_reason", response.finish.value)
    if response.stop_sequence is not None:
        losses.add("dropped:stop_sequence", "the answer does not say which one matched")
    if response.finish_detail is not None:
        losses.add("dropped:finish_detail", "the provider's own words for the end")
    body: dict[str, JSON] = {"id": response.id or reply.id, "finish_reason": word, "message": message}
    if response.usage is not None:
        body["usage"] = encode_usage(response.usage)
    return orjson.dumps(body), losses


def _message(blocks: list[Block], losses: Losses) -> dict[str, JSON]:
    content: list[JSON] = []
    texts: list[str] = []
    calls: list[JSON] = []
    citations: list[JSON] = []
    signed: list[Thinking] = []
    called = any(isinstance(block, ToolCall) for block in blocks)
    for block in blocks:
        match block:
            case Text() | Refusal():
                if isinstance(block, Refusal):
                    losses.add("coerced:refusal", "the refusal became text")
                else:
                    citations += _citations(block, losses)
                if called:
                    texts.append(block.text)
                elif block.text:
                    content.append({"type": "text", "text": block.text})
            case Thinking():
                if block.text:
                    content.append({"type": "thinking", "thinking": block.text})
                if block.opaque is not None:
                    signed.append(block)
            case ToolCall():
                ident = carrier.join(block.id, block.opaque, signed)
                signed = []
                calls.append({"id": ident, "type": "function", "function": {"name": block.name, "arguments": block.arguments or "{}"}})
            case _:
                lost(block, losses)
    if signed:
        losses.add("dropped:signature", "thoughts that no tool call follows")
    message: dict[str, JSON] = {"role": "assistant"}
    if content or not called:
        message["content"] = content
    if any(texts):
        message["tool_plan"] = "".join(texts)
    if calls:
        message["tool_calls"] = calls
    if citations:
        message["citations"] = citations
    return message


def _citations(block: Text, losses: Losses) -> list[JSON]:
    if block.opaque is not None:
        losses.add("dropped:signature", "on text: the format has no place for it")
    if not block.citations:
        return []
    if block.citations_from == NAME:
        return block.citations
    losses.add("dropped:citations", f"of {block.citations_from}")
    return []


def lost(block: Block, losses: Losses) -> None:
    """Reports a block that the format has no place for."""
    if isinstance(block, Foreign):
        losses.add("dropped:foreign_block", f"{block.kind[:64]} of {block.dialect}")
    else:
        losses.add(f"dropped:{type(block).__name__.lower()}", "in the answer")
