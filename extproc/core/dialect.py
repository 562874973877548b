"""What a wire format must offer: the one contract between the exchange and `dialects/`.

A dialect is stateless; streams get a fresh decoder or encoder each. Nothing here does I/O, reads a clock or draws a random number: ids and
times that an encoder needs come in a `Reply`. Decoders take what real clients and providers send (unknown members are kept, never a 400);
encoders write only what the strict published schema allows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from extproc.core.errors import ApiError
from extproc.core.ir import JSON, Event, Finish, FinishReason, Loss, MessageStart
from extproc.core.operation import Operation
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
    AUDIO_URL = "audio_url"
    OTHER_DOCUMENTS = "other_documents"
    """Documents that are neither PDF nor text."""
    FILE_ID = "file_id"
    SERVER_TOOLS = "server_tools"
    CHOICES = "choices"
    FUNCTIONS = "functions"
    """Chat Completions' older form of tools, in the request and in the answer."""
    PREFILL = "prefill"
    OUTPUT_AUDIO = "output_audio"
    OUTPUT_IMAGE = "output_image"
    TOKEN_INPUT = "token_input"
    """Inputs to embed as tokens of the model's own tokenizer."""
    QUANTIZED = "quantized"
    """Vectors of small whole numbers, or of single bits."""
    DIMENSIONS = "dimensions"
    """Vectors of a length that is not the model's own."""
    MIXED_DIMENSIONS = "mixed_dimensions"
    MIXED_TASKS = "mixed_tasks"
    """Inputs of one request that are embedded for different tasks, or to different lengths."""
    RAW_PROMPT = "raw_prompt"
    """A prompt that the model gets as it is: past its template, around a gap, behind tokens (Ollama's generate)."""
    STATE = "state"
    """State that an earlier answer left in one provider account (`previous_response_id`, a stored conversation)."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What an encoder must know of the target. Built once at load from the registry, `providers/` and packaged data.

    `vendor` mints opaque state ("openai", "anthropic", "gemini", or the provider's kind). `quirks` are the vendor's differences from its
    dialect's reference, by name (`providers/` lists them all with their meaning). `deployment` is the name that stands for the model on the wire,
    where the account chose one (Azure).
    """

    model: str
    vendor: str
    max_output_tokens: int | None = None
    context_window: int | None = None
    quirks: frozenset[str] = frozenset()
    deployment: str | None = None

    @property
    def wire_model(self) -> str:
        """The name in bodies and paths; `model` is for what is known of it."""
        return self.deployment or self.model


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request says outside its body. Small: it travels in the plan.

    `model` and `stream` as the client gave them (from the body where the dialect has them there, else from the path). `headers` are the client's
    that its own dialect passes on. `query` is what of its query string may go to a provider of the same dialect. `form` names which of its
    dialect's forms the client speaks, "" for the usual one; each dialect lists its own (Gemini's "array", Cohere's "v1"). `path` is what stands
    behind the version prefix in the path of a request that is passed on as it is, "" for all others.
    """

    model: str = ""
    stream: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    query: str = ""
    form: str = ""
    path: str = ""


NO_ASK = Ask()


@dataclass(slots=True)
class Encoded:
    """An upstream request: `path` (with query, without the provider's prefix), the headers that the dialect itself needs, the body, the losses."""

    body: bytes
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Wishes:
    """`usage`: token counts in a stream (some formats give them only when asked). `functions`: Chat Completions' older tool form. `encodings`:
    how vectors are to be written (`core.vectors.VectorType`), () for the format's usual way. `echo`: members of the request that its answer
    repeats, or that decide what a call of a tool looks like (Responses). `tool_names`: those that some formats would refuse
    (`core.tool_names.misfits`)."""

    usage: bool = True
    functions: bool = False
    encodings: tuple[str, ...] = ()
    echo: Mapping[str, JSON] = field(default_factory=dict)
    tool_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What an encoder of answers needs besides the answer: a fallback `id`, the time, the model name to show, what the client asked for.

    `functions`: the client speaks Chat Completions' older form (`functions`, `function_call`) and must be answered in it. `form` is `Ask.form`,
    `encodings` is `Wishes.encodings`, `echo` is `Wishes.echo`. `tool_names` is `Wishes.tool_names`: an answer may call them by their `wire_name`.
    """

    id: str
    created: int
    model: str
    include_usage: bool = True
    functions: bool = False
    form: str = ""
    encodings: tuple[str, ...] = ()
    echo: Mapping[str, JSON] = field(default_factory=dict)
    tool_names: tuple[str, ...] = ()


class AnyRequest(Protocol):
    """What every operation's canonical request has: `ir.Request`, `embeddings.EmbeddingRequest`, `rerank.RerankRequest`."""

    losses: list[Loss]


class AnyResponse(Protocol):
    """What every operation's canonical answer has. `finish` is None where answers have no reason to end."""

    @property
    def id(self) -> str: ...

    @property
    def model(self) -> str: ...

    @property
    def usage(self) -> Usage | None: ...

    @property
    def finish(self) -> FinishReason | None: ...

    @property
    def losses(self) -> list[Loss]: ...


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
    """One wire format of one operation.

    The canonical types differ by operation (`ir.Request`/`ir.Response` for chat), so they are Any here; a concrete dialect names them. Two
    dialects of the same operation agree on them. A dialect behind an envelope (Anthropic's format inside Bedrock's) has the same `name` as the
    plain one, because between them nothing is translated; the catalog's key tells them apart.
    """

    name: str
    """openai_chat, anthropic_messages, gemini, …"""
    operation: Operation
    carries: frozenset[str]
    """The needs that the format itself can express; the target's capabilities narrow them further."""
    stream_type: str
    """Content type of the streams that its decoder reads: text/event-stream."""
    exact_member: str | None
    """The top-level member of requests that holds tool inputs as JSON values, whose numbers must stay exact; None where they are text."""

    def needs(self, body: JSON) -> frozenset[str]:
        """What the parsed request depends on. Total: never raises, whatever the shape. Everything that makes `encode_request` of another
        dialect raise `UntranslatableError` is named here, so that such a target is filtered before it is tried."""
        ...

    def wishes(self, body: JSON) -> Wishes:
        """In which of its format's forms the client wants its answer. Total."""
        ...

    def decode_request(self, body: JSON, ask: Ask = NO_ASK) -> Any:
        """Raises `BadRequestError` with `param` when a member that must be understood has the wrong shape. A dialect whose model or stream flag
        stands in the path takes it from `ask`."""
        ...

    def encode_request(self, request: Any, facts: Facts) -> Encoded:
        """Raises `UntranslatableError`. The same input gives the same bytes, every time: prompt caches depend on it."""
        ...

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:
        """The same dialect on both sides: `raw` with only the members edited that must change."""
        ...

    def decode_response(self, body: bytes) -> Any:
        """An `AnyResponse`. Raises `ApiError` for an error body under a 2xx status, `UpstreamFormatError` if it is not this dialect."""
        ...

    def encode_response(self, response: Any, reply: Reply) -> tuple[bytes, list[Loss]]:
        """(body, losses). Raises `UpstreamFormatError` where the answer lacks what the client asked for (vectors of a type)."""
        ...

    def answer_type(self, form: str, *, stream: bool) -> str:
        """The content type of what `encode_response` and `stream_encoder` give a client of that form."""
        ...

    def stream_decoder(self) -> StreamDecoder: ...

    def stream_encoder(self, reply: Reply) -> StreamEncoder: ...

    def stream_observer(self, *, hide_usage: bool, form: str = "") -> StreamObserver:
        """Watches a stream that needs no translation. `hide_usage`: the client did not ask for a usage chunk, so take out the one that
        `splice_request` asked for. `form` is the client's: an observer may also change the framing. Dialects that always report usage pass every
        byte on: `core.observe.DecodingObserver(decoder)`."""
        ...

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
        """Total: HTML pages, empty bodies and foreign envelopes too."""
        ...

    def encode_error(self, error: ApiError) -> tuple[int, bytes]:
        """(status, JSON envelope) that this dialect's SDK turns into the right exception."""
        ...

    def encode_stream_error(self, error: ApiError, form: str = "") -> bytes:
        """Bytes that end a stream under way so that the SDK raises. Never a clean finish."""
        ...
