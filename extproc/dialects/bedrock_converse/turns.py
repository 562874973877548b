"""A canonical history as `system` and `messages` that Bedrock and the model behind it accept.

The rules, each a 400 when broken, and how they are met:

* turns alternate and the first is the user's: runs of one role merge, an opening assistant turn gets a user turn in front;
* system text stands in `system`: later system and developer messages become marked text of the user's turn, all of it where the model has none;
* the results of all tool calls of one turn stand first in the next user turn, one each; what some models refuse beside them follows in a user turn
  of its own, behind a short assistant turn;
* text is never blank, a document never without a text, and nothing but text, calls and reasoning is the assistant's;
* reasoning goes back to the vendor that signed it, unchanged.

Repairs that change what the model reads are losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from extproc.core import carrier
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
from extproc.core.raw_json import arguments
from extproc.core.tool_ids import ToolIds
from extproc.core.tool_names import wire_name
from extproc.dialects.bedrock_converse.families import Family
from extproc.dialects.bedrock_converse.media import MediaEncoder
from extproc.dialects.bedrock_converse.wire import NAME, VENDOR, cache_point, provider_id, redacted_out

_USER, _ASSISTANT = Role.USER, Role.ASSISTANT  # a member looked up on its enumeration costs four times as much
_OPENING = "(The conversation starts with the assistant's message.)"
_BETWEEN = "(The results are there.)"
_GO_ON = "(Go on from where your last message ends.)"
_SEE_DOCUMENT = "(See the document.)"
_NO_OUTPUT = "(no output)"


@dataclass(slots=True)
class Turns:
    """`system` blocks and `messages`, as JSON values; the names of the tools that the history calls, in order."""

    system: list[JSON] = field(default_factory=list)
    messages: list[JSON] = field(default_factory=list)
    called: dict[str, None] = field(default_factory=dict)


_Turn = tuple[str, list[Block]]
"""A role and what it says."""


def _text(text: str) -> dict[str, JSON]:
    return {"text": text}


class TurnEncoder:
    """The history of one request."""

    __slots__ = ("_family", "_ids", "_losses", "_media", "_out", "_own")

    def __init__(self, family: Family, losses: Losses, *, own: bool) -> None:
        """`own`: the request was decoded from this dialect, whose own blocks it may hold."""
        self._family = family
        self._losses = losses
        self._own = own
        self._media = MediaEncoder(losses, claude=family.claude is not None)
        self._ids = ToolIds(provider_id)
        self._out = Turns()

    def encode(self, messages: Sequence[Message]) -> Turns:
        """Raises `BadRequestError`, `UntranslatableError`."""
        out = self._out
        for role, blocks in self._merge(messages):
            text = plain_text(blocks)
            if text is not None and role != "system" and text.strip():
                # most turns of most histories, at a quarter of what they cost below
                if role == "user":
                    self._ids.settle()
                if out.messages and out.messages[-1]["role"] == role:
                    out.messages[-1]["content"].append(_text(text))
                else:
                    out.messages.append({"role": role, "content": [_text(text)]})
            elif role == "assistant":
                self._append("assistant", self._assistant(blocks))
            elif role == "user":
                self._user(blocks)
            else:
                self._append("system", [block.raw for block in blocks if isinstance(block, Foreign)])
        self._ids.settle()
        if not out.messages:
            if not out.system:
                raise BadRequestError("at least one message with content is required", param="messages")
            self._losses.add("coerced:system_position", "the system text is the whole request, so it is sent as the user's turn")
            out.messages, out.system = [{"role": "user", "content": out.system}], []
        elif out.messages[0]["role"] == "assistant":
            self._losses.add("coerced:first_turn", "a user turn was put in front of the assistant's")
            out.messages.insert(0, {"role": "user", "content": [_text(_OPENING)]})
        self._end()
        return out

    def _append(self, role: str, content: list[JSON]) -> None:
        messages = self._out.messages
        content = _marked(content)
        if not content:
            return
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += content
        else:
            messages.append({"role": role, "content": content})

    def _end(self) -> None:
        """A last turn of the assistant is a prefill, which few models take, and none with white space at its end."""
        messages = self._out.messages
        if messages[-1]["role"] != "assistant":
            return
        if not self._family.prefill:
            self._losses.add("coerced:prefill", "the model does not go on with an assistant's turn: a user turn asks for it")
            messages.append({"role": "user", "content": [_text(_GO_ON)]})
            return
        last = messages[-1]["content"][-1]
        if "text" in last and last["text"] != last["text"].rstrip():
            self._losses.add("coerced:trailing_white_space", "a prefill may not end in white space")
            last["text"] = last["text"].rstrip()

    def _merge(self, messages: Sequence[Message]) -> list[_Turn]:
        """Runs of one role as one turn each; leading system text goes to `system`."""
        turns: list[_Turn] = []
        shared = False  # the last turn has its message's own list of blocks
        for message in messages:
            if message.name:
                self._losses.add("dropped:name", "messages carry no name")
            role, blocks = "assistant" if message.role is _ASSISTANT else "user", message.blocks
            if message.role is not _USER and message.role is not _ASSISTANT:
                if any(isinstance(b, Foreign) and b.dialect == NAME for b in blocks):
                    # only a client of this dialect can have written it, and only a system message may hold it
                    turns.append(("system", blocks))
                    continue
                texts = self._system_text(blocks)
                if not turns and self._family.system:
                    for text in texts:
                        self._out.system += [_text(text.text), *self._mark(text.cache)]
                    continue
                if not texts:
                    continue
                self._losses.add("coerced:system_position", "a system message became part of the user's turn")
                blocks = [Text(f"<system>\n{b.text}\n</system>", b.cache) for b in texts]
            if not turns or turns[-1][0] != role:
                turns.append((role, blocks))
                shared = True
                continue
            if shared:
                turns[-1] = (role, list(turns[-1][1]))
                shared = False
            turns[-1][1].extend(blocks)
        return turns

    def _system_text(self, blocks: list[Block]) -> list[Text]:
        texts: list[Text] = []
        for block in blocks:
            if not isinstance(block, Text):
                raise BadRequestError("system and developer messages hold text only", param="messages")
            if block.text.strip():
                texts.append(block)
            else:
                self._losses.add("dropped:empty_text", "blank text is refused")
        return texts

    def _mark(self, cache: str | None) -> list[JSON]:
        """The cache point behind a block that is marked."""
        if cache is None:
            return []
        if "messages" not in self._family.caches:
            self._losses.add("dropped:cache_control", "the model takes no cache points")
            return []
        if cache == "1h" and not self._family.lifetimes:
            self._losses.add("coerced:cache_lifetime", "the model's cache has a lifetime of its own")
        return [cache_point(cache, lifetimes=self._family.lifetimes)]

    def _user(self, blocks: list[Block]) -> None:
        results = [b for b in blocks if isinstance(b, ToolResult)]
        paired = self._ids.results(results, self._losses)
        if results and not all(isinstance(b, ToolResult) for b in blocks[: len(results)]):
            self._losses.add("coerced:tool_result_position", "tool results were moved to the front of their turn")
        beside: list[JSON] = []
        first: list[JSON] = []
        for wire, block in paired:
            first += self._tool_result(wire, block, beside)
        rest = beside + [encoded for block in blocks if not isinstance(block, ToolResult) for encoded in self._block(block)]
        if any("document" in block for block in rest) and not any("text" in block for block in rest):
            self._losses.add("coerced:document_alone", "a text was put beside a document, which the format requires")
            rest.append(_text(_SEE_DOCUMENT))
        kinds = {kind for block in rest for kind in block if kind != "cachePoint"}
        if first and not kinds <= self._family.beside:
            self._losses.add("coerced:turn_order", "what the model refuses beside tool results follows in a turn of its own")
            self._append("user", first)
            self._append("assistant", [_text(_BETWEEN)])
            first = []
        self._append("user", first + rest)

    def _block(self, block: Block) -> list[JSON]:
        """One block of a user's turn or of a tool result; nothing for blank text."""
        if isinstance(block, Text | Refusal):
            return self._said(block)
        if isinstance(block, Image | Document | Audio | Video):
            return [self._media.encode(block), *self._mark(block.cache)]
        if isinstance(block, Foreign) and block.dialect == NAME:
            return [block.raw, *self._mark(block.cache)]
        if isinstance(block, Thinking):
            self._losses.add("dropped:thinking", "thinking in a user's turn")
            return []
        kind = block.kind if isinstance(block, Foreign) else type(block).__name__.lower()
        raise UntranslatableError(f"the Converse format has no {kind[:64]} content for the user's turn", param="messages")

    def _said(self, block: Text | Refusal) -> list[JSON]:
        if not block.text.strip() and not (isinstance(block, Text) and block.citations and self._own):
            self._losses.add("dropped:empty_text", "blank text is refused")
            return self._mark(block.cache)
        if isinstance(block, Text):
            if block.opaque is not None:
                self._losses.add("signature:foreign", "text has no slot for a signature")
            if block.citations and self._own and block.citations_from == NAME:
                return [cited(block), *self._mark(block.cache)]
            if block.citations:
                self._losses.add("dropped:citations", "citations are in another format's shape")
        return [_text(block.text), *self._mark(block.cache)]

    def _tool_result(self, wire: str, block: ToolResult, beside: list[JSON]) -> list[JSON]:
        """The result; media that cannot stand in it go to `beside`."""
        content: list[JSON] = []
        cache = block.cache
        for inner in block.content:
            if isinstance(inner, ToolCall | ToolResult):
                raise BadRequestError("a tool result holds text, images and documents", param="messages")
            if isinstance(inner, Audio) or (isinstance(inner, Image | Document | Video) and type(inner).__name__.lower() not in self._family.inside):
                self._losses.add("coerced:tool_result_media", "media of a tool result was sent beside it")
                beside += self._block(inner)
                continue
            for encoded in self._block(inner):
                if "cachePoint" in encoded:
                    # only whole results can be marked
                    cache = cache or encoded["cachePoint"].get("ttl", "default")
                else:
                    content.append(encoded)
        if not content:
            self._losses.add("coerced:tool_result_empty", "a tool result without content says so in words")
            content = [_text(_NO_OUTPUT)]
        out: dict[str, JSON] = {"toolUseId": wire, "content": content}
        if block.is_error and self._family.status:
            out["status"] = "error"
        elif block.is_error:
            self._losses.add("dropped:tool_error_flag", "the model takes no such mark")
        return [{"toolResult": out}, *self._mark(cache)]

    def _assistant(self, blocks: list[Block]) -> list[JSON]:
        content: list[JSON] = []
        for block in blocks:
            if isinstance(block, Text):
                content += self._said(block)
            elif isinstance(block, ToolCall):
                content += self._tool_use(block)
            elif isinstance(block, Thinking):
                content += self._thinking(block)
            elif isinstance(block, Refusal):
                self._losses.add("coerced:refusal", "a refusal became text")
                content += self._said(block)
            elif isinstance(block, Foreign) and block.dialect == NAME:
                content += [block.raw, *self._mark(block.cache)]
            elif isinstance(block, ToolResult):
                raise BadRequestError("a tool result cannot stand in an assistant's turn", param="messages")
            elif isinstance(block, Foreign):
                raise UntranslatableError(f"the Converse format has no {block.kind[:64]} blocks", param="messages")
            else:
                self._losses.add("dropped:assistant_content", f"{type(block).__name__.lower()} in an assistant's turn")
        return content

    def _thinking(self, block: Thinking) -> list[JSON]:
        family, opaque = self._family, block.opaque
        if opaque is not None and (opaque.vendor != VENDOR or family.replays != "signed"):
            self._losses.add("signature:foreign", f"thinking signed by {opaque.vendor[:64]} stays out")
        elif opaque is not None:
            return [reasoning_content(block)]
        elif family.replays == "text" and block.text.strip():
            return [{"reasoningContent": {"reasoningText": {"text": block.text}}}]
        else:
            self._losses.add("dropped:thinking", "the model takes no thinking back that nobody signed")
        return []

    def _tool_use(self, block: ToolCall) -> list[JSON]:
        given, wrapped = arguments(block.arguments)
        if wrapped:
            self._losses.add("coerced:tool_arguments", "arguments that are no JSON object were put into one")
        if block.opaque is not None:
            self._losses.add("signature:foreign", f"a tool call's signature by {block.opaque.vendor[:64]} stays out")
        name = wire_name(block.name)
        self._out.called[name] = None
        return [{"toolUse": {"toolUseId": self._ids.call(block.id, self._losses), "name": name, "input": given}}, *self._mark(block.cache)]


def _marked(content: list[JSON]) -> list[JSON]:
    """`content` without cache points that mark nothing: what stood in front of them is not there, or cannot be marked."""
    return [
        block
        for place, block in enumerate(content)
        if "cachePoint" not in block or (place and not content[place - 1].keys() & {"cachePoint", "reasoningContent"})
    ]


def cited(block: Text) -> dict[str, JSON]:
    """Text with citations in this format's own shape; some stand for themselves, without a text."""
    content: dict[str, JSON] = {"content": [{"text": block.text}]} if block.text else {}
    return {"citationsContent": content | {"citations": block.citations}}


def reasoning_content(block: Thinking) -> dict[str, JSON]:
    """Reasoning with what its maker sealed: every vendor's signature fits the slot."""
    if block.redacted:
        return {"reasoningContent": {"redactedContent": redacted_out(block.opaque)}}
    shown: dict[str, JSON] = {"text": block.text}
    if block.opaque is not None:
        shown["signature"] = carrier.to_slot(block.opaque, VENDOR)
    return {"reasoningContent": {"reasoningText": shown}}
