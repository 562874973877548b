"""What the dialects of an operation without streams have in common: embeddings, rerank.

Such an answer never comes in events. A provider that sends a stream nevertheless has sent something else than its format, and that is what its
decoder says. Errors are said in the envelope of the vendor's chat format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from extproc.core.dialect import Reply, Wishes
from extproc.core.errors import ApiError, UpstreamFormatError
from extproc.core.ir import JSON, Event, Loss, StreamError
from extproc.core.observe import DecodingObserver


class ErrorFormat(Protocol):
    """The part of a `Dialect` that reads and writes errors."""

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ApiError: ...

    def encode_error(self, error: ApiError) -> tuple[int, bytes]: ...

    def encode_stream_error(self, error: ApiError, form: str = "") -> bytes: ...


class NoStreamDecoder:
    """Every byte of a stream is one too many: the first is an error, the others are nothing more."""

    __slots__ = ("_said",)
    losses: Sequence[Loss] = ()

    def __init__(self) -> None:
        self._said = False

    def feed(self, data: bytes) -> list[Event]:
        if self._said or not data:
            return []
        self._said = True
        return [StreamError(UpstreamFormatError("the provider sent a stream in answer to a request that has none"))]

    def close(self) -> list[Event]:
        return []


class NoStreamEncoder:
    """Writes nothing: there are no events to write."""

    __slots__ = ()
    losses: Sequence[Loss] = ()

    def encode(self, event: Event) -> bytes:  # noqa: ARG002 - total over all events
        return b""


class Unstreamed:
    """The members of a `Dialect` that streams, errors and wishes need."""

    stream_type = "text/event-stream"
    exact_member: str | None = None

    def __init__(self, errors: ErrorFormat) -> None:
        self._errors = errors

    def wishes(self, body: JSON) -> Wishes:  # noqa: ARG002 - the format has one form
        return Wishes()

    def answer_type(self, form: str, *, stream: bool) -> str:  # noqa: ARG002 - always a whole answer
        return "application/json"

    def stream_decoder(self) -> NoStreamDecoder:
        return NoStreamDecoder()

    def stream_encoder(self, reply: Reply) -> NoStreamEncoder:  # noqa: ARG002 - there is no stream
        return NoStreamEncoder()

    def stream_observer(self, *, hide_usage: bool, form: str = "") -> DecodingObserver:  # noqa: ARG002 - there is no stream
        return DecodingObserver(NoStreamDecoder())

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
        return self._errors.decode_error(status, headers, body)

    def encode_error(self, error: ApiError) -> tuple[int, bytes]:
        return self._errors.encode_error(error)

    def encode_stream_error(self, error: ApiError, form: str = "") -> bytes:  # noqa: ARG002 - forms are those of this dialect, not of the errors'
        return self._errors.encode_stream_error(error)
