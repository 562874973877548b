"""The canonical conversation to Ollama's `/api/chat`.

Ollama has no tool choice: "none" leaves the tools out, one named tool leaves the others out, and that some tool must be called cannot be said.
"""

from __future__ import annotations

from functools import cached_property

import orjson

from extproc.core.dialect import Encoded, Facts
from extproc.core.errors import BadRequestError, UntranslatableError
from extproc.core.ir import (
    JSON,
    Block,
    Document,
    Image,
    Message,
    OutputFormat,
    Reasoning,
    Refusal,
    Request,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    plain_text,
    tool_names,
)
from extproc.core.losses import Losses
from extproc.core.openai_models import budget_effort
from extproc.dialects.ollama_chat.wire import CHAT_PATH, KNOBS

_USER, _ASSISTANT = Role.USER, Role.ASSISTANT  # a member looked up on its enumeration costs four times as much
_NAMES = {Role.SYSTEM: "system", Role.DEVELOPER: "system", Role.USER: "user", Role.ASSISTANT: "assistant"}
_LEVELS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


def encode_request(request: Request, facts: Facts) -> Encoded:
    """Raises `UntranslatableError`, and `BadRequestError` for a conversation of nothing."""
    losses = Losses()
    body: dict[str, JSON] = {"model": facts.wire_model if facts.model != "*" else request.model, "stream": request.stream}
    body["messages"] = _History(request.messages, losses).encode()
    if not body["messages"]:
        raise BadRequestError("at least one message with content is required", param="messages")
    tools = _tools(request, losses)
    if tools:
        body["tools"] = tools
    if request.output is not None:
        body["format"] = _format(request.output, losses)
    if request.reasoning is not None:
        _think(body, request.reasoning, facts, losses)
    options = _options(request, facts, losses)
    if options:
        body["options"] = options
    for name in ("logprobs", "top_logprobs"):
        if request.knobs.get(name):
            body[name] = request.knobs[name]
    for name in request.knobs:
        if name not in KNOBS and name not in ("logprobs", "top_logprobs"):
            losses.add(f"dropped:{name}")
    for name in request.extra:
        losses.member(name, "")
    try:
        return Encoded(orjson.dumps(body), CHAT_PATH, losses=losses)
    except orjson.JSONEncodeError:
        raise UntranslatableError("the request is nested too deep", param="tools") from None


class _History:
    """Writes messages: text joined, images beside it, each tool result a message of its own in front of what else its turn says."""

    def __init__(self, messages: list[Message], losses: Losses) -> None:
        self._messages = messages
        self._losses = losses
        self._out: list[JSON] = []
        self._moved: list[Image] = []

    @cached_property
    def _names(self) -> dict[str, str]:
        return tool_names(self._messages)

    @cached_property
    def _order(self) -> dict[str, int]:
        return {call_id: n for n, call_id in enumerate(self._names)}

    def encode(self) -> list[JSON]:
        for message in self._messages:
            if message.name:
                self._losses.add("dropped:name")
            role = message.role
            plain = plain_text(message.blocks)
            if plain and not self._moved:
                # most messages of most histories, at a quarter of what they cost below
                self._out.append({"role": _NAMES[role], "content": plain})
            elif role is _ASSISTANT:
                self._assistant(message)
            elif role is _USER:
                self._user(message)
            else:
                text, _ = self._text_and_images(message.blocks, "system")
                if text:
                    self._out.append({"role": "system", "content": text})
        self._beside()
        return self._out

    def _user(self, message: Message) -> None:
        results = [b for b in message.blocks if isinstance(b, ToolResult)]
        if len(results) > 1:
            # the server pairs them with their calls by order
            results.sort(key=lambda result: self._order.get(result.id, len(self._order)))
        for result in results:
            self._result(result)
        rest: list[Block] = [b for b in message.blocks if not isinstance(b, ToolResult)]
        text, images = self._text_and_images(rest, "user")
        images = [*self._moved, *images]
        self._moved = []
        if text or images:
            self._out.append({"role": "user", "content": text} | ({"images": [self._image(i) for i in images]} if images else {}))

    def _beside(self) -> None:
        """Images of tool results that no message of the user's followed."""
        if self._moved:
            self._out.append({"role": "user", "content": "", "images": [self._image(i) for i in self._moved]})
            self._moved = []

    def _result(self, result: ToolResult) -> None:
        text, images = self._text_and_images(result.content, "tool")
        if images:
            self._losses.add("coerced:tool_result_media", "in the next user message")
            self._moved += images
        if result.is_error:
            self._losses.add("dropped:tool_error_flag")
        self._mark(result.cache)
        name = result.name or self._names.get(result.id, "")
        if not name:
            self._losses.add("coerced:orphan_tool_result", "a result without its call has no tool's name")
        self._out.append({"role": "tool", "content": text} | ({"tool_name": name} if name else {}))

    def _assistant(self, message: Message) -> None:
        self._beside()
        thoughts = [b for b in message.blocks if isinstance(b, Thinking)]
        calls = [b for b in message.blocks if isinstance(b, ToolCall)]
        text, images = self._text_and_images([b for b in message.blocks if not isinstance(b, Thinking | ToolCall)], "assistant")
        if images:
            self._losses.add("coerced:assistant_media", "in the next user message")
            self._moved += images
        out: dict[str, JSON] = {"role": "assistant", "content": text}
        if any(t.opaque is not None for t in thoughts) or any(c.opaque is not None for c in calls):
            self._losses.add("signature:foreign", "the format has no place for signatures")
        thinking = "\n\n".join(t.text for t in thoughts if t.text)
        if thinking:
            out["thinking"] = thinking
        if calls:
            out["tool_calls"] = [self._call(c) for c in calls]
        if text or thinking or calls:
            self._out.append(out)

    def _call(self, call: ToolCall) -> JSON:
        self._mark(call.cache)
        raw = call.arguments.strip() or "{}"
        try:
            parsed = orjson.loads(raw)
        except orjson.JSONDecodeError:
            parsed = raw
        if not isinstance(parsed, dict):
            self._losses.add("coerced:tool_arguments", call.name[:64])
            return {"function": {"name": call.name, "arguments": {"arguments": parsed}}}
        # as they came: whole numbers of any size survive
        return {"function": {"name": call.name, "arguments": orjson.Fragment(raw)}}

    def _text_and_images(self, blocks: list[Block], role: str) -> tuple[str, list[Image]]:
        texts: list[str] = []
        images: list[Image] = []
        for block in blocks:
            match block:
                case Text():
                    texts.append(block.text)
                    if block.opaque is not None:
                        self._losses.add("signature:foreign", f"minted by {block.opaque.vendor}")
                    if block.citations:
                        self._losses.add("dropped:citations", "in the history")
                case Refusal():
                    texts.append(block.text)
                    self._losses.add("coerced:refusal")
                case Image():
                    if block.detail is not None:
                        self._losses.add("dropped:image_detail")
                    images.append(block)
                case Document() if block.source.text is not None:
                    texts.append("\n\n".join(part for part in (block.title, block.context, block.source.text) if part))
                    self._losses.add("coerced:document", "sent as text")
                case Thinking():
                    self._losses.add("dropped:thinking", f"in a {role} message")
                    continue
                case _:
                    raise UntranslatableError(f"a {role} message cannot hold {type(block).__name__.lower()} content", param="messages")
            self._mark(block.cache)
        if len(texts) > 1:
            self._losses.add("coerced:content_parts", "joined to one text")
        if images and role == "system":
            raise UntranslatableError("a system message can hold only text", param="messages")
        return "\n\n".join(t for t in texts if t), images

    def _image(self, image: Image) -> str:
        if image.source.data is None:
            raise UntranslatableError("an image must be inline: nothing is fetched here", param="messages")
        return image.source.data

    def _mark(self, cache: str | None) -> None:
        if cache is not None:
            self._losses.add("dropped:cache_control", "the provider caches by itself")


def _tools(request: Request, losses: Losses) -> list[JSON]:
    choice = request.tool_choice
    wanted: set[str] | None = None
    if choice is not None:
        if choice.mode == "none":
            if request.tools:
                losses.add("coerced:allowed_tools", "none may be called: they are left out")
            return []
        if choice.mode == "tool" and choice.name is not None:
            wanted = {choice.name}
        elif choice.allowed is not None:
            wanted = set(choice.allowed)
        if wanted is not None and any(isinstance(tool, Tool) and tool.name not in wanted for tool in request.tools):
            losses.add("coerced:allowed_tools", "the other tools are left out")
        if choice.mode in ("required", "tool"):
            losses.add("dropped:tool_choice", "that a tool must be called cannot be said")
    if request.parallel_tool_calls is False:
        losses.add("dropped:parallel_tool_calls")
    out: list[JSON] = []
    for tool in request.tools:
        if not isinstance(tool, Tool):
            raise UntranslatableError(f"a {tool.kind} tool runs at its own provider only", param="tools")
        if wanted is not None and tool.name not in wanted:
            continue
        if tool.strict:
            losses.add("dropped:strict", "tools")
        if tool.cache is not None:
            losses.add("dropped:cache_control", "tools")
        function: dict[str, JSON] = {"name": tool.name}
        if tool.description is not None:
            function["description"] = tool.description
        function["parameters"] = tool.parameters if isinstance(tool.parameters, dict) else {"type": "object", "properties": {}}
        out.append({"type": "function", "function": function})
    return out


def _format(output: OutputFormat, losses: Losses) -> JSON:
    if output.kind == "json":
        return "json"
    if output.description:
        losses.add("dropped:response_format_description")
    return output.schema if output.schema is not None else {}


def _think(body: dict[str, JSON], reasoning: Reasoning, facts: Facts, losses: Losses) -> None:
    """`think`: a switch; for models that take a level (gpt-oss) the level, because they ignore a switch."""
    off = reasoning.enabled is False or reasoning.effort == "none" or reasoning.budget == 0
    levels = "gpt-oss" in facts.model
    if off:
        body["think"] = "low" if levels else False
        if levels:
            losses.add("coerced:reasoning", "the model always thinks: sent as low")
        return
    asked = reasoning.enabled or reasoning.adaptive or reasoning.effort is not None or reasoning.budget is not None
    if not asked:
        if reasoning.show is not None:
            losses.add("dropped:reasoning_show")
        return
    budget = reasoning.budget if reasoning.budget is not None and reasoning.budget > 0 else None
    if budget is not None:
        losses.add("coerced:thinking_budget", "the model takes a level" if levels else "thinking is on or off")
    effort = reasoning.effort or (None if budget is None else budget_effort(budget))
    if levels and effort is not None:
        level = _LEVELS.get(effort, "high")
        if level != effort:
            losses.add("coerced:reasoning_effort", f"{effort[:16]} to {level}")
        body["think"] = level
        return
    if reasoning.effort is not None:
        losses.add("coerced:reasoning_effort", "thinking is on or off")
    body["think"] = True


def _options(request: Request, facts: Facts, losses: Losses) -> dict[str, JSON]:
    options: dict[str, JSON] = {name: request.knobs[name] for name in KNOBS if request.knobs.get(name) is not None}
    sampling = {"temperature": request.temperature, "top_p": request.top_p, "top_k": request.top_k}
    options |= {name: value for name, value in sampling.items() if value is not None}
    if request.max_tokens is not None:
        most = facts.max_output_tokens or request.max_tokens
        if request.max_tokens > most:
            losses.add("coerced:max_tokens", f"the model writes at most {most} tokens")
        options["num_predict"] = min(request.max_tokens, most)
    if request.stop:
        options["stop"] = request.stop
    return options
