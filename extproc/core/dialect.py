"""What a wire format must offer: the one contract between the exchange and `dialects/`.

A dialect is stateless; streams get a fresh decoder or encoder each. Nothing here does I/O, reads a clock or draws a random number: ids and
times that an encoder needs come in a `Reply`. Decoders take what real clients and providers send (unknown members are kept, never a 400);
encoders write only what the strict published schema allows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from extproc.core.errors import ApiError
from extproc.core.ir import JSON, Event, Finish, Loss, MessageStart, Request, Response
from extproc.core.usage import Usage


class Need:
    """What a request depends on. A target that lacks one is no candidate. Values of `Dialect.needs`, `Dialect.carries` and capabilities."""

    TOOLS = "tools"
    VISION = "vision"
    DOCUMENTS = "documents"
    AUDIO = "audio"
    VIDEO = "video"
    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    IMAGE_URL = "image_url"
    DOCUMENT_URL = "document_url"
    FILE_ID = "file_id"
    SERVER_TOOLS = "server_tools"
    CHOICES = "choices"
    PREFILL = "prefill"
    OUTPUT_AUDIO = "output_audio"
    OUTPUT_IMAGE = "output_image"


@dataclass(frozen=True, slots=True)
class Facts:
    """What an encoder must know of the target. Built once at load from the registry, `providers/` and packaged data.

    `vendor` mints opaque state ("openai", "anthropic", "gemini", or the provider's kind). `quirks` are the vendor's differences from its
    dialect's reference, by name (`providers/` lists them all with their meaning).
    """

    model: str
    vendor: str
    max_output_tokens: int | None = None
    context_window: int | None = None
    quirks: frozenset[str] = frozenset()


@dataclass(slots=True)
class Encoded:
    """An upstream request: `path` (with query, without the provider's prefix), the headers that the dialect itself needs, the body, the losses."""

    body: bytes
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Wishes:
    """`usage`: token counts in a stream (some formats give them only when asked). `functions`: Chat Completions' older tool form."""

    usage: bool = True
    functions: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What an encoder of answers needs besides the answer: a fallback `id`, the time, the model name to show, what the client asked for.

    `functions`: the client speaks Chat Completions' older form (`functions`, `function_call`) and must be answered in it.
    """

    id: str
    created: int
    model: str
    include_usage: bool = True
    functions: bool = False


class StreamDecoder(Protocol):
    """Provider bytes to events, however they are cut."""

    def feed(self, data: bytes) -> list[Event]:
        """Events that `data` completes. Malformed input is a `StreamError` event (kind UPSTREAM), never an exception."""
        ...

    def close(self) -> list[Event]:
        """The body has ended. Completes a last event that lacks its blank line. No `Finish` is ever invented here."""
        ...

    @property
    def losses(self) -> Sequence[Loss]:
        """What the events could not keep so far."""
        ...


class StreamEncoder(Protocol):
    """Events to client bytes. Total over all orders of events that a decoder can give."""

    def encode(self, event: Event) -> bytes: ...

    @property
    def losses(self) -> Sequence[Loss]: ...


class StreamObserver(Protocol):
    """Watches a same-dialect stream that passes through: raw bytes in, the bytes to pass on out, however they are cut.

    `start` is the first event that names the answer (id, model); `content` turns true with the first content (`is_content`); `usage` is the
    last count; `finish` None at the end of the body means a truncated stream; `error` is the first error reported inside the stream;
    `ended` is the format's own clean end.
    """

    @property
    def start(self) -> MessageStart | None: ...

    @property
    def content(self) -> bool: ...

    @property
    def usage(self) -> Usage | None: ...

    @property
    def finish(self) -> Finish | None: ...

    @property
    def error(self) -> ApiError | None: ...

    @property
    def ended(self) -> bool: ...

    def feed(self, data: bytes) -> bytes: ...

    def close(self) -> bytes:
        """The body has ended: what was still held back."""
        ...


class Dialect(Protocol):
    """One wire format."""

    name: str
    """openai_chat, anthropic_messages, gemini, …"""
    carries: frozenset[str]
    """The needs that the format itself can express; the target's capabilities narrow them further."""
    stream_type: str
    """Content type of its streams: text/event-stream."""
    exact_member: str | None
    """The top-level member of requests that holds tool inputs as JSON values, whose numbers must stay exact; None where they are text."""

    def needs(self, body: JSON) -> frozenset[str]:
        """What the parsed request depends on. Total: never raises, whatever the shape. Everything that makes `encode_request` of another
        dialect raise `UntranslatableError` is named here, so that such a target is filtered before it is tried."""
        ...

    def wishes(self, body: JSON) -> Wishes:
        """In which of its format's forms the client wants its answer. Total."""
        ...

    def decode_request(self, body: JSON) -> Request:
        """Raises `BadRequestError` with `param` when a member that must be understood has the wrong shape."""
        ...

    def encode_request(self, request: Request, facts: Facts) -> Encoded:
        """Raises `UntranslatableError`. The same input gives the same bytes, every time: prompt caches depend on it."""
        ...

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, headers: Mapping[str, str]) -> Encoded:
        """The same dialect on both sides: `raw` with only the members edited that must change. `headers` are the client's kept ones."""
        ...

    def decode_response(self, body: bytes) -> Response:
        """Raises `ApiError` for an error body under a 2xx status, `UpstreamFormatError` if it is not this dialect."""
        ...

    def encode_response(self, response: Response, reply: Reply) -> tuple[bytes, list[Loss]]: ...

    def stream_decoder(self) -> StreamDecoder: ...

    def stream_encoder(self, reply: Reply) -> StreamEncoder: ...

    def stream_observer(self, *, hide_usage: bool) -> StreamObserver:
        """Watches a stream that needs no translation. `hide_usage`: the client did not ask for a usage chunk, so take out the one that
        `splice_request` asked for. Dialects that always report usage pass every byte on: `core.observe.DecodingObserver(decoder)`."""
        ...

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
        """Total: HTML pages, empty bodies and foreign envelopes too."""
        ...

    def encode_error(self, error: ApiError) -> tuple[int, bytes]:
        """(status, JSON envelope) that this dialect's SDK turns into the right exception."""
        ...

    def encode_stream_error(self, error: ApiError) -> bytes:
        """Bytes that end a stream under way so that the SDK raises. Never a clean finish."""
        ...
