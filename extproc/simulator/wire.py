"""What every simulated provider is made of: the contract between the server and the wire formats.

Written apart from `extproc/dialects` on purpose: a simulator that shared the codecs would agree with their mistakes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

Headers = list[tuple[str, str]]
JSON = dict[str, Any]

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_HASHED_WHOLE = 1 << 20


@dataclass(slots=True, eq=False)
class Rejected(Exception):  # noqa: N818 - the name of the condition
    """The provider answers with an error. `message` in the provider's words; `type` and `code` where they differ from the status's usual ones."""

    status: int
    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None
    details: list[JSON] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.status}: {self.message}"


@dataclass(frozen=True, slots=True)
class Call:
    """What a path asks for: `operation` is "generate", "models" or "plain"; `model` and `stream` where the path tells; `array` is Gemini's stream
    without server-sent events; `cloud` is azure or vertex where the path is theirs. A plain operation is answered by `serve`: one document for
    one request, nothing generated."""

    operation: str
    model: str = ""
    stream: bool = False
    array: bool = False
    version: str = ""
    cloud: str = ""
    serve: Callable[[Posted], Answer] | None = None


@dataclass(frozen=True, slots=True)
class Posted:
    """A request for a plain operation. `body` is None where `raw` is no JSON object; `model` is "" where nothing names one."""

    body: JSON | None
    raw: bytes
    headers: Mapping[str, str]
    model: str
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call, with the schema of its arguments."""

    name: str
    schema: Any


@dataclass(frozen=True, slots=True)
class Media:
    """Something that is no text: `kind` is image, document, audio or video; `size` in bytes, None when it is elsewhere (a URL, a file id)."""

    kind: str
    mime: str
    size: int | None


@dataclass(slots=True)
class Ask:
    """A validated request, as far as the answer depends on it.

    `tool_choice`: auto, none, any, or a tool's name with `forced`. `results`: the texts of the tool results that the last turn consists of.
    `schema`: the document wanted (None: text; {}: any JSON object). `thinking`: tokens of reasoning; `show_thinking`: its text goes out.
    `cache_prefix`: what a prompt cache would cover; `cached` and `cache_written` are parts of `prompt_tokens`.
    `extra` is the wire format's own.
    """

    model: str
    text: str = ""
    stream: bool = False
    tools: list[Tool] = field(default_factory=list)
    tool_choice: str = "auto"
    forced: bool = False
    parallel: bool = True
    results: list[str] = field(default_factory=list)
    media: list[Media] = field(default_factory=list)
    schema: Any = None
    thinking: int = 0
    show_thinking: bool = False
    stops: list[str] = field(default_factory=list)
    max_tokens: int | None = None
    choices: int = 1
    prompt_tokens: int = 0
    prompt: str = ""
    cache_prefix: str = ""
    cached: int = 0
    cache_written: int = 0
    extra: JSON = field(default_factory=dict)


@dataclass(slots=True)
class Reply:
    """What the model says. `finish`: stop, length, stop_sequence, tools, filtered or refusal. `output_tokens` include `reasoning_tokens`."""

    thinking: str = ""
    text: str = ""
    calls: list[tuple[str, JSON]] = field(default_factory=list)
    finish: str = "stop"
    stopped_by: str | None = None
    output_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(slots=True)
class Stream:
    """A streamed body, one event per frame. `content` is the index of the first frame with content, `finish` of the first that tells the finish,
    `last` of the terminator. The frames from `content` to `finish` carry a token each."""

    frames: list[bytes]
    content: int
    finish: int
    last: int


@dataclass(slots=True)
class Answer:
    """A response: a body in one piece, or a stream of frames."""

    status: int
    headers: Headers
    body: bytes = b""
    stream: Stream | None = None


@dataclass(frozen=True, slots=True)
class Stamp:
    """What makes one answer's ids and times: `seed` follows from the request, `number` counts the simulator's requests, `now` is Unix seconds."""

    seed: bytes
    number: int
    now: float

    def base62(self, label: str, length: int) -> str:
        """`length` (up to 80) repeatable letters and digits."""
        value = int.from_bytes(hashlib.blake2b(self.seed + label.encode()).digest(), "big")
        out = []
        for _ in range(length):
            value, digit = divmod(value, 62)
            out.append(_BASE62[digit])
        return "".join(out)

    def hex(self, label: str, length: int) -> str:
        return hashlib.blake2b(self.seed + label.encode()).hexdigest()[:length]


def seed_of(name: str, body: bytes) -> bytes:
    """Follows from the simulator's name and the request; a very large body counts by its length, its start and its end."""
    digest = hashlib.blake2b(name.encode(), digest_size=16)
    if len(body) <= _HASHED_WHOLE:
        digest.update(body)
    else:
        digest.update(str(len(body)).encode() + body[: 1 << 16] + body[-(1 << 16) :])
    return digest.digest()


class Host(Protocol):
    """What all APIs of a provider have in common: keys, headers, errors."""

    dialect: str
    models: tuple[str, ...]
    """Names that the list of models shows when the simulator was given none."""
    json_type: str
    """Content type of an answer in one piece."""
    bad_json: str
    """What it says of a body that is no JSON object."""
    bad_shape: str
    """What it says of a member with a shape that it has no better words for."""
    overloaded: int
    """Its status for having too much to do."""

    def key(self, headers: Mapping[str, str], query: str) -> str | None:
        """The key that arrived, wherever this provider takes it."""
        ...

    def check_access(self, call: Call, headers: Mapping[str, str], key: str | None, accepted: frozenset[str]) -> None:
        """Raises `Rejected` without a key, with one outside `accepted` (empty: any), or without a header that the API demands."""
        ...

    def model_of(self, call: Call, body: JSON) -> str: ...

    def model_list(self, call: Call, models: tuple[str, ...]) -> bytes: ...

    def headers(self, stamp: Stamp, content_type: str) -> Headers:
        """The headers of an answer with this content type: request id, rate limits, version."""
        ...

    def error(self, problem: Rejected, stamp: Stamp, call: Call | None = None) -> Answer: ...

    def usual(self, status: int, model: str) -> Rejected:
        """What this provider says with a bare status."""
        ...

    def refused_key(self) -> Rejected: ...

    def context_length(self, model: str, tokens: int, window: int) -> Rejected: ...

    def unknown_model(self, model: str, call: Call | None) -> Rejected: ...


class Api(Host, Protocol):
    """Some paths of a provider."""

    def route(self, method: str, path: str, query: str) -> Call:
        """Raises `Rejected` (404, 405) in the provider's words."""
        ...


class Wire(Api, Protocol):
    """An API that generates: one wire format of conversations."""

    def read(self, call: Call, body: JSON, headers: Mapping[str, str]) -> Ask:
        """Validates as strictly as the provider does. Raises `Rejected`."""
        ...

    def unary(self, ask: Ask, reply: Reply, stamp: Stamp) -> bytes: ...

    def stream(self, ask: Ask, reply: Reply, stamp: Stamp) -> Stream: ...

    def stream_type(self, call: Call) -> str: ...

    def filtered_prompt(self, ask: Ask, stamp: Stamp, call: Call) -> Answer:
        """The prompt is refused by the content filter."""
        ...

    def error_event(self, problem: Rejected, stamp: Stamp, call: Call | None, after: int) -> bytes:
        """A frame that reports an error inside a stream, behind `after` others."""
        ...

    def malformed_event(self, call: Call | None, after: int) -> bytes:
        """A frame, behind `after` others, whose JSON is broken."""
        ...
