"""Canonical messages to v2 messages.

The format's rules, and how they are met:

* tool results are messages of their own behind the calls, one per call, and ids are unique in a request;
* tool messages, assistant and system messages hold no images: those of tool results and assistants move into the next user message, behind
  a line that says where they came from;
* an assistant that calls tools has said so before in `tool_plan`, which is one text: Cohere's templates read no other text beside calls;
* messages are not empty.

Unsigned thoughts, and the text of those that another vendor signed, go to models that reason. What no repair can guess (a result without
its call, a call without its result) is the client's mistake and answered as such.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from extproc.core.errors import BadRequestError, UntranslatableError
from extproc.core.ir import (
    JSON,
    Audio,
    Block,
    Document,
    Foreign,
    Image,
    Message,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Video,
    plain_text,
)
from extproc.core.losses import Losses
from extproc.core.tool_ids import ToolIds
from extproc.dialects.cohere_chat.wire import NAME, tool_name

_USER, _ASSISTANT = Role.USER, Role.ASSISTANT  # a member looked up on its enumeration costs four times as much
_NAMES = {Role.SYSTEM: "system", Role.DEVELOPER: "system", Role.USER: "user", Role.ASSISTANT: "assistant"}
_DETAILS = frozenset({"auto", "low", "high"})


def encode_messages(messages: list[Message], losses: Losses, *, thinks: bool) -> list[JSON]:
    """Raises `BadRequestError`, and `UntranslatableError` for content that the format cannot hold. `thinks`: the model takes thoughts back."""
    encoder = _Encoder(losses, thinks)
    if any(message.name for message in messages):
        losses.add("dropped:name", "messages carry no name")
    for message in _joined(messages):
        role = message.role
        text = plain_text(message.blocks)
        if text is not None and not encoder.moved and text.strip():
            # most messages of most histories, at a third of what they cost below
            encoder.out.append({"role": _NAMES[role], "content": text})
        elif role is _ASSISTANT:
            encoder.assistant(message)
        elif role is _USER:
            encoder.user(message)
        else:
            encoder.system(message)
    encoder.flush()
    encoder.ids.settle()
    if not encoder.out:
        raise BadRequestError("at least one message with content is required", param="messages")
    if all(message["role"] == "system" for message in encoder.out):
        losses.add("coerced:system_position", "the system text is the whole request, so it is sent as the user's turn")
        encoder.out[-1]["role"] = "user"
    return encoder.out


def _joined(messages: list[Message]) -> list[Message]:
    """User messages of one turn that bring results as one: nothing may stand between the calls and their results."""
    out: list[Message] = []
    before: Message | None = None
    for message in messages:
        if message.role is not _USER:
            before = None
        elif before is not None and (_brings_result(message) or _brings_result(before)):
            before = out[-1] = Message(_USER, [*before.blocks, *message.blocks])
            continue
        else:
            before = message
        out.append(message)
    return out


def _brings_result(message: Message) -> bool:
    return any(isinstance(block, ToolResult) for block in message.blocks)


@dataclass(slots=True)
class _Encoder:
    losses: Losses
    thinks: bool
    ids: ToolIds = field(default_factory=lambda: ToolIds(str))
    out: list[JSON] = field(default_factory=list)
    moved: list[JSON] = field(default_factory=list)
    """Parts that wait for the next user message."""

    def flush(self) -> None:
        if self.moved:
            self.out.append({"role": "user", "content": self.moved})
            self.moved = []

    def system(self, message: Message) -> None:
        self.flush()
        parts: list[JSON] = []
        for block in message.blocks:
            if not isinstance(block, Text):
                raise BadRequestError("system and developer messages hold text only", param="messages")
            self._text(parts, block.text, block)
        if parts:
            self.out.append({"role": "system", "content": _short(parts)})

    def user(self, message: Message) -> None:
        results = [block for block in message.blocks if isinstance(block, ToolResult)]
        if results:
            if not all(isinstance(block, ToolResult) for block in message.blocks[: len(results)]):
                self.losses.add("coerced:tool_result_position", "tool results were moved to the front of their turn")
            for wire, result in self.ids.results(results, self.losses):
                self.tool(wire, result)
        parts = self.moved
        self.moved = []
        for block in message.blocks:
            if not isinstance(block, ToolResult):
                self._part(parts, block)
        if parts:
            self.out.append({"role": "user", "content": _short(parts)})

    def tool(self, wire: str, result: ToolResult) -> None:
        losses = self.losses
        if result.is_error:
            losses.add("dropped:tool_error_flag", "tool messages have no error flag; the text stands for itself")
        if result.cache is not None:
            losses.add("dropped:cache_control", "tool results")
        parts: list[JSON] = []
        others: list[Block] = []
        for block in result.content:
            if isinstance(block, Text):
                self._text(parts, block.text, block)
            else:
                others.append(block)
        if others:
            losses.add("coerced:tool_result_media", "tool messages hold only text: it follows in a user message")
            self.moved.append(_text_part(f"Attached to the result of tool call {wire}:"))
            for block in others:
                self._part(self.moved, block)
            if not parts:
                parts.append(_text_part("The result is attached to the next user message."))
        self.out.append({"role": "tool", "tool_call_id": wire, "content": _short(parts)})

    def assistant(self, message: Message) -> None:
        self.flush()
        thoughts: list[JSON] = []
        texts: list[JSON] = []
        calls: list[JSON] = []
        citations: list[JSON] = []
        for block in message.blocks:
            match block:
                case Text():
                    self._text(texts, block.text, block)
                    if block.citations and block.citations_from == NAME:
                        citations += block.citations
                case Refusal():
                    self.losses.add("coerced:refusal", "a refusal became text")
                    self._text(texts, block.text, block)
                case Thinking():
                    self._thought(thoughts, block)
                case ToolCall():
                    calls.append(self._call(block))
                case Image():
                    self.losses.add("coerced:assistant_media", "assistant messages hold only text: it follows in a user message")
                    self.moved.append(_text_part("From the previous assistant message:"))
                    self._part(self.moved, block)
                case ToolResult():
                    raise BadRequestError("a tool result cannot stand in an assistant's message", param="messages")
                case _:
                    kind = block.kind if isinstance(block, Foreign) else type(block).__name__.lower()
                    self.losses.add("dropped:assistant_content", f"{kind[:64]} in an assistant's message")
        out: dict[str, JSON] = {"role": "assistant"}
        if calls:
            out["tool_calls"] = calls
            if len(texts) > 1:
                self.losses.add("coerced:content_parts", "the plan in front of tool calls is one text")
            if texts:
                out["tool_plan"] = "\n\n".join(part["text"] for part in texts)
            texts = []
        if thoughts or texts:
            out["content"] = _short(thoughts + texts)
        if citations:
            out["citations"] = citations
        if len(out) > 1:
            self.out.append(out)

    def _call(self, block: ToolCall) -> JSON:
        if block.opaque is not None:
            self.losses.add("signature:foreign", f"minted by {block.opaque.vendor[:64]}")
        if block.cache is not None:
            self.losses.add("dropped:cache_control", "tool calls")
        function = {"name": tool_name(block.name), "arguments": block.arguments or "{}"}
        return {"id": self.ids.call(block.id, self.losses), "type": "function", "function": function}

    def _thought(self, parts: list[JSON], block: Thinking) -> None:
        if block.opaque is not None:
            self.losses.add("signature:foreign", f"minted by {block.opaque.vendor[:64]}")
        if not block.text:
            return
        if self.thinks:
            parts.append({"type": "thinking", "thinking": block.text})
        else:
            self.losses.add("dropped:thinking", "the model does not reason")

    def _text(self, parts: list[JSON], text: str, block: Text | Refusal) -> None:
        if isinstance(block, Text):
            if block.opaque is not None:
                self.losses.add("signature:foreign", f"minted by {block.opaque.vendor[:64]}")
            if block.citations and block.citations_from != NAME:
                self.losses.add("dropped:citations", "citations are in another format's shape")
        if block.cache is not None:
            self.losses.add("dropped:cache_control", "the provider caches by itself")
        if text.strip():
            parts.append(_text_part(text))
        elif text:
            self.losses.add("dropped:empty_text", "blank text is refused")

    def _part(self, parts: list[JSON], block: Block) -> None:
        """One block as part of a user message."""
        match block:
            case Text() | Refusal():
                self._text(parts, block.text, block)
            case Image():
                parts.append(self._image(block))
            case Document() if block.source.text is not None:
                self.losses.add("coerced:document", "sent as text")
                parts.append(_text_part("\n\n".join(text for text in (block.title, block.context, block.source.text) if text)))
            case Thinking():
                self.losses.add("dropped:thinking", "in a user message")
            case ToolCall() | ToolResult():
                raise BadRequestError("tool calls and results must be in messages of their own", param="messages")
            case Document() | Audio() | Video() | Foreign():
                kind = block.kind if isinstance(block, Foreign) else type(block).__name__.lower()
                raise UntranslatableError(f"Cohere takes no {kind[:64]} content", param="messages")

    def _image(self, image: Image) -> JSON:
        source = image.source
        if source.data is not None:
            url = f"data:{source.media_type or 'image/png'};base64,{source.data}"
        elif source.url is not None:
            url = source.url
        else:
            raise UntranslatableError("an image given by file id cannot be sent to another provider", param="messages")
        if image.cache is not None:
            self.losses.add("dropped:cache_control", "the provider caches by itself")
        value = {"url": url}
        if image.detail in _DETAILS:
            value["detail"] = image.detail
        elif image.detail is not None:
            self.losses.add("dropped:image_detail", "only auto, low and high")
        return {"type": "image_url", "image_url": value}


def _text_part(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _short(parts: list[JSON]) -> JSON:
    """One plain text as a string; nothing as the empty string."""
    if not parts:
        return ""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts
