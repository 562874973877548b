"""Whole answers of Ollama, `/api/chat` and `/api/generate`, both ways."""

from __future__ import annotations

import orjson

from extproc.core import carrier
from extproc.core.dialect import Reply
from extproc.core.errors import UpstreamFormatError
from extproc.core.ir import JSON, Block, Foreign, Loss, Refusal, Response, Text, Thinking, ToolCall
from extproc.core.losses import Losses
from extproc.core.usage import Usage
from extproc.dialects.ollama_chat.errors import error_of
from extproc.dialects.ollama_chat.wire import GENERATE, answer_id, call_id, finish_of, seconds, timestamp, word_of


def decode_response(body: bytes) -> Response:
    """Raises `ApiError` for an error under a 2xx, `UpstreamFormatError` for what is no whole answer."""
    try:
        root = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UpstreamFormatError("the provider's answer is not JSON") from None
    if not isinstance(root, dict):
        raise UpstreamFormatError("the provider's answer is not an object")
    if root.get("error"):
        raise error_of(root)
    message, generated = root.get("message"), root.get("response")
    if not isinstance(message, dict) and not isinstance(generated, str):
        raise UpstreamFormatError("the provider's answer has no message")
    if root.get("done") is False:
        raise UpstreamFormatError("the provider's answer is not complete")
    said = message if isinstance(message, dict) else {"content": generated, "thinking": root.get("thinking")}
    model, answer = root.get("model"), answer_id(root)
    losses = Losses()
    if root.get("logprobs"):
        losses.add("dropped:logprobs", "of the answer")
    blocks: list[Block] = []
    for kind, name in ((Thinking, "thinking"), (Text, "content")):
        text = said.get(name)
        if isinstance(text, str) and text:
            blocks.append(kind(text))
    calls = tool_calls(said.get("tool_calls"), answer, 0, losses)
    blocks += calls
    return Response(
        answer,
        model if isinstance(model, str) else "",
        blocks,
        finish_of(root.get("done_reason"), called=bool(calls)),
        usage_of(root),
        created=seconds(root.get("created_at")),
        losses=losses,
    )


def tool_calls(raw: JSON, answer: str, first: int, losses: Losses) -> list[ToolCall]:
    """The calls of a message, numbered from `first` where they have no id."""
    calls: list[ToolCall] = []
    for one in raw if isinstance(raw, list) else ():
        function = one.get("function") if isinstance(one, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(function, dict) or not isinstance(name, str) or not name:
            losses.add("dropped:tool_call", "without a name")
            continue
        given, arguments = one.get("id"), function.get("arguments")
        text = arguments if isinstance(arguments, str) else orjson.dumps(arguments or {}).decode()
        calls.append(ToolCall(given if isinstance(given, str) and given else call_id(answer, first + len(calls)), name, text))
    return calls


def usage_of(root: dict[str, JSON]) -> Usage | None:
    """Ollama leaves out a prompt count of zero, which is what a prompt costs that it remembers."""
    read, written = root.get("prompt_eval_count"), root.get("eval_count")
    if not isinstance(written, int):
        return None
    return Usage(read if isinstance(read, int) else 0, written)


def encode_usage(usage: Usage | None, losses: Losses) -> dict[str, JSON]:
    """The members that count tokens."""
    if usage is None:
        return {}
    if usage.cache_read or usage.cache_write or usage.reasoning:
        losses.add("dropped:usage_details", "counts of cached and of reasoning tokens")
    return {"prompt_eval_count": usage.input_tokens, "eval_count": usage.output_tokens}


def encode_call(call: ToolCall, signed: list[Thinking], losses: Losses) -> JSON:
    """One call. `signed` are thoughts whose state it takes along in its id."""
    raw = call.arguments.strip() or "{}"
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError:
        parsed = raw
    # line ends, which only white space can be here, would end the line of a stream
    arguments: JSON = orjson.Fragment(raw.replace("\n", " ").replace("\r", " "))
    if not isinstance(parsed, dict):
        losses.add("coerced:tool_arguments", call.name[:64])
        arguments = {"arguments": parsed}
    return {"id": carrier.join(call.id, call.opaque, signed), "function": {"name": call.name, "arguments": arguments}}


def plain(block: Block, losses: Losses) -> str:
    """The text of a block of an answer; what has none is lost."""
    match block:
        case Text():
            if block.citations:
                losses.add("dropped:citations")
            if block.opaque is not None:
                losses.add("dropped:signature", "on text: the format has no place for it")
            return block.text
        case Refusal():
            losses.add("coerced:refusal")
            return block.text
        case Foreign():
            losses.add("dropped:foreign_block", f"{block.kind[:64]} of {block.dialect}")
        case _:
            losses.add(f"dropped:{type(block).__name__.lower()}")
    return ""


def unsent(signed: list[Thinking], losses: Losses) -> None:
    """Reports signatures that no tool call's id took along."""
    if any(thought.opaque is not None for thought in signed):
        losses.add("dropped:signature", "thoughts that no tool call follows")


def last(response_finish: str, usage: dict[str, JSON]) -> dict[str, JSON]:
    """The members that end an answer. Durations are those of the server's own machine: there are none to tell."""
    return {"done": True, "done_reason": response_finish, **usage}


def encode_response(response: Response, reply: Reply) -> tuple[bytes, list[Loss]]:
    """The answer for `reply.form`."""
    losses = Losses()
    thinking: list[str] = []
    texts: list[str] = []
    signed: list[Thinking] = []
    calls: list[JSON] = []
    for block in response.blocks:
        if isinstance(block, Thinking):
            thinking.append(block.text)
            signed.append(block)
        elif isinstance(block, ToolCall):
            calls.append(encode_call(block, signed, losses))
            signed = []
        else:
            texts.append(plain(block, losses))
    word, same = word_of(response.finish)
    if not same:
        losses.add("coerced:finish_reason", response.finish.value)
    if response.stop_sequence is not None:
        losses.add("dropped:stop_sequence")
    if response.finish_detail:
        losses.add("dropped:finish_detail", "the provider's own words for the end")
    unsent(signed, losses)
    thought = "\n\n".join(t for t in thinking if t)
    text = "".join(texts)
    head: dict[str, JSON] = {"model": reply.model or response.model, "created_at": timestamp(response.created or reply.created)}
    end = last(word, encode_usage(response.usage, losses))
    if reply.form == GENERATE:
        if calls:
            losses.add("dropped:tool_call", "a generated text has none")
        return orjson.dumps(head | {"response": text} | ({"thinking": thought} if thought else {}) | end), losses
    message: dict[str, JSON] = {"role": "assistant", "content": text}
    if thought:
        message["thinking"] = thought
    if calls:
        message["tool_calls"] = calls
    return orjson.dumps(head | {"message": message} | end), losses
