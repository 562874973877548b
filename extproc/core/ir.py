"""The canonical conversation: what every dialect decodes to and encodes from.

Theory. A translation is one decode and one encode through these types (never dialect to dialect), so N dialects cost 2N codecs.
The shapes follow three rules that keep a translation faithful:

* Content is a list of blocks, never a string: text, images, tool calls and thinking keep their order and their boundaries.
* JSON that belongs to the application (tool schemas, tool arguments) stays raw text: key order, big integers and unicode survive.
* Opaque state that only its maker can read (thinking signatures, encrypted reasoning) is tagged with the vendor that minted it
  and is replayed only there. Everything a codec could not carry is a `Loss`.

Plain mutable slotted dataclasses: they are built once per request on the hot path, and frozen ones cost three times as much.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from extproc.core.errors import ApiError
from extproc.core.usage import Usage

JSON = Any
"""A value as `orjson.loads` returns it."""


class Role(StrEnum):
    """Who speaks. Tool results are `ToolResult` blocks inside a USER message, as at Anthropic, Bedrock and Gemini."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"


class FinishReason(StrEnum):
    """Why the model stopped, in one vocabulary. Every decoder maps to these, every encoder maps from all of them."""

    STOP = "stop"
    STOP_SEQUENCE = "stop_sequence"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    PAUSE = "pause"
    CONTEXT_WINDOW = "context_window"
    MALFORMED_TOOL_CALL = "malformed_tool_call"
    OTHER = "other"


@dataclass(slots=True)
class Loss:
    """Something that a translation could not carry.

    `code` is stable and low in cardinality: `dropped:logprobs`, `coerced:temperature`, `signature:foreign`.
    `detail` is for people: where it was and why; never prompt text.
    """

    code: str
    detail: str = ""


@dataclass(slots=True)
class Opaque:
    """Bytes that only `vendor` can read, as the string that its API sent. Replayed to that vendor only.

    `vendor` is the minting family: "anthropic" (also through Bedrock and Vertex), "gemini", "openai".
    """

    vendor: str
    data: str


@dataclass(slots=True)
class Source:
    """Where the bytes of an image, document or audio are. Exactly one of `data`, `url`, `file_id`, `text` is set.

    `data` is base64 as it came (never decoded here); `url` is passed on or refused, never fetched; `file_id` lives in one vendor's account.
    """

    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    text: str | None = None


@dataclass(slots=True)
class Text:
    text: str
    cache: str | None = None
    """Cache mark behind this block: "5m", "1h" or "default"; None is no mark."""
    opaque: Opaque | None = None
    citations: list[JSON] | None = None
    """Citations/annotations in the dialect that made them, with `citations_from` naming it."""
    citations_from: str | None = None


@dataclass(slots=True)
class Refusal:
    """The model's refusal as its own content (OpenAI's `refusal`)."""

    text: str
    cache: str | None = None


@dataclass(slots=True)
class Thinking:
    """Reasoning that the model showed, or hid: `redacted` has no text, only `opaque`."""

    text: str
    opaque: Opaque | None = None
    redacted: bool = False


@dataclass(slots=True)
class Image:
    source: Source
    detail: str | None = None
    cache: str | None = None


@dataclass(slots=True)
class Document:
    source: Source
    title: str | None = None
    context: str | None = None
    citations: bool = False
    cache: str | None = None


@dataclass(slots=True)
class Audio:
    source: Source
    cache: str | None = None


@dataclass(slots=True)
class Video:
    source: Source
    cache: str | None = None


@dataclass(slots=True)
class ToolCall:
    """The model asks for a tool. `arguments` is raw JSON text; "" means none was sent and encoders write {}."""

    id: str
    name: str
    arguments: str = ""
    opaque: Opaque | None = None
    cache: str | None = None


@dataclass(slots=True)
class ToolResult:
    """The answer to `ToolCall.id`. `name` may be "" where the client's dialect has none; `tool_names` finds it."""

    id: str
    content: list[Block]
    name: str = ""
    is_error: bool = False
    cache: str | None = None


@dataclass(slots=True)
class Foreign:
    """A block that only one dialect knows (server tools, search results). Replayed to that dialect, else a loss or a refusal."""

    dialect: str
    kind: str
    raw: JSON
    cache: str | None = None


Block = Text | Refusal | Thinking | Image | Document | Audio | Video | ToolCall | ToolResult | Foreign


@dataclass(slots=True)
class Message:
    role: Role
    blocks: list[Block]
    name: str | None = None


@dataclass(slots=True)
class Tool:
    """A function tool. `parameters` is the JSON schema as parsed (key order kept); None is "no parameters given"."""

    name: str
    description: str | None = None
    parameters: JSON | None = None
    strict: bool | None = None
    cache: str | None = None


@dataclass(slots=True)
class ForeignTool:
    """A tool that the vendor runs (web search, code execution). `dialect` knows what `raw` means."""

    dialect: str
    kind: str
    raw: JSON


@dataclass(slots=True)
class ToolChoice:
    """`mode` "tool" names one tool in `name`; `allowed` narrows auto or required to some tools."""

    mode: Literal["auto", "none", "required", "tool"]
    name: str | None = None
    allowed: list[str] | None = None


@dataclass(slots=True)
class OutputFormat:
    """Structured output. `kind` "json" is any JSON object; "schema" is the JSON schema in `schema`."""

    kind: Literal["json", "schema"]
    name: str | None = None
    schema: JSON | None = None
    strict: bool | None = None
    description: str | None = None


@dataclass(slots=True)
class Reasoning:
    """How much to think. Any of them may be None = not said. `enabled` False switches thinking off explicitly.

    `effort`: none, minimal, low, medium, high, xhigh, max (an open set: encoders clamp to what the target knows and report it).
    `budget` tokens; -1 lets the model choose. `adaptive`: the model decides when (Anthropic's adaptive). `show`: return the thoughts.
    """

    enabled: bool | None = None
    effort: str | None = None
    budget: int | None = None
    adaptive: bool = False
    show: bool | None = None


@dataclass(slots=True)
class Request:
    """One chat request. None or an empty list means that the client did not say.

    `knobs` holds tuning parameters that not every dialect has, under OpenAI's name where it has one, else the name of the dialect that
    has it: frequency_penalty, presence_penalty, logit_bias, logprobs, top_logprobs, seed, user, service_tier, n, store, metadata,
    prompt_cache_key, verbosity, … An encoder takes those that it can carry and reports each of the rest as `dropped:<name>`.
    `extra` holds members that the decoder did not know, by name, and `extra_from` the dialect they belong to.
    """

    model: str
    messages: list[Message]
    stream: bool = False
    include_usage: bool = False
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: list[str] = field(default_factory=list)
    tools: list[Tool | ForeignTool] = field(default_factory=list)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    output: OutputFormat | None = None
    reasoning: Reasoning | None = None
    knobs: dict[str, JSON] = field(default_factory=dict)
    extra: dict[str, JSON] = field(default_factory=dict)
    extra_from: str = ""
    losses: list[Loss] = field(default_factory=list)
    """What decoding could not keep (members inside messages and tools that the canonical form lacks). Whoever asks for the translation adds
    them to `Encoded.losses`; encoders do not repeat them."""


@dataclass(slots=True)
class Response:
    """One whole answer. `blocks` hold Text, Refusal, Thinking, ToolCall, Image, Audio, Foreign. `losses` is what decoding could not keep."""

    id: str
    model: str
    blocks: list[Block]
    finish: FinishReason
    usage: Usage | None = None
    stop_sequence: str | None = None
    created: int | None = None
    finish_detail: str | None = None
    """The provider's own words for an unusual end (refusal explanation, block reason)."""
    losses: list[Loss] = field(default_factory=list)


# Stream events. Indices number the blocks of one answer from 0 in order of their start. Several blocks may be open at once
# (parallel tool calls); an encoder whose dialect allows one open block must serialise.


@dataclass(slots=True)
class MessageStart:
    """The answer begins. Proves nothing about the provider: it is not content."""

    id: str
    model: str
    created: int | None = None


@dataclass(slots=True)
class BlockStart:
    """`block` is Text, Refusal, Thinking, ToolCall (id and name set, arguments ""), Image, Audio or Foreign (whole). Contents follow as deltas."""

    index: int
    block: Block


@dataclass(slots=True)
class BlockDelta:
    """More of block `index`: text for Text/Refusal/Thinking, raw JSON text for ToolCall."""

    index: int
    text: str


@dataclass(slots=True)
class BlockStop:
    """Block `index` is whole. `opaque` is the signature that came with or behind it."""

    index: int
    opaque: Opaque | None = None


@dataclass(slots=True)
class UsageUpdate:
    """Cumulative token counts so far; a later one replaces an earlier one whole (decoders merge what their format spreads out)."""

    usage: Usage


@dataclass(slots=True)
class Finish:
    """The provider gave a reason to stop. Without one a stream is truncated, whatever else came."""

    reason: FinishReason
    stop_sequence: str | None = None
    detail: str | None = None


@dataclass(slots=True)
class StreamError:
    """The provider reported an error inside the stream."""

    error: ApiError


@dataclass(slots=True)
class End:
    """The format's own clean end (`[DONE]`, `message_stop`, or the body's end behind a finish where the format has no terminator)."""


Event = MessageStart | BlockStart | BlockDelta | BlockStop | UsageUpdate | Finish | StreamError | End


def is_content(event: Event) -> bool:
    """Does this event prove that the provider serves the answer? Text, thinking, a tool call or a finish do; starts and usage do not.

    An empty text or thinking block proves nothing either: Anthropic opens one before the first token.
    """
    if isinstance(event, BlockDelta):
        return event.text != ""
    if isinstance(event, BlockStart):
        return not isinstance(event.block, Text | Refusal | Thinking) or (isinstance(event.block, Thinking) and event.block.redacted)
    return isinstance(event, Finish)


def plain_text(blocks: list[Block]) -> str | None:
    """The text of `blocks` where they are one text and nothing else, no mark, no signature, as in most messages. None for any others."""
    if len(blocks) == 1:
        block = blocks[0]
        if type(block) is Text and block.cache is None and block.opaque is None and not block.citations:
            return block.text
    return None


def tool_names(messages: list[Message]) -> dict[str, str]:
    """{tool call id: tool name} over a history, for dialects whose results need the name (Gemini)."""
    return {b.id: b.name for m in messages for b in m.blocks if type(b) is ToolCall}
