"""OpenAI's operations that no other vendor has a format of its own for: legacy completions, images, speech, transcription, moderations.

They are served by targets of the same format only, so nothing is ever translated: the model's name is edited in the client's bytes, answers pass as
they are, and both are read as far as routing, verdicts and the books need it. `Passthrough` is the same for paths of which nothing is known at all.
Reference: https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import orjson

from extproc.core import openai_errors
from extproc.core.dialect import NO_ASK, Ask, Dialect, Encoded, Facts, Reply, StreamDecoder, StreamObserver, Wishes
from extproc.core.errors import ApiError, UntranslatableError
from extproc.core.framing import sse
from extproc.core.ir import JSON
from extproc.core.observe import DecodingObserver
from extproc.core.operation import Operation
from extproc.core.unstreamed import NoStreamEncoder
from extproc.dialects.openai_native import splice
from extproc.dialects.openai_native.answers import NativeResponse, read
from extproc.dialects.openai_native.streams import CompletionsDecoder, HidingObserver, TypedDecoder


class OpenAINative:
    """One of these operations as a `Dialect`. `paths` are {form: path}; `anything`: answers may be other than JSON."""

    carries: frozenset[str] = frozenset()
    stream_type = "text/event-stream"
    exact_member: str | None = None

    def __init__(self, name: str, operation: Operation, paths: Mapping[str, str], *, anything: bool = False) -> None:
        self.name = name
        self.operation = operation
        self._paths = paths
        self._anything = anything

    def needs(self, body: JSON) -> frozenset[str]:  # noqa: ARG002 - a target of the same format meets them all
        return frozenset()

    def wishes(self, body: JSON) -> Wishes:  # noqa: ARG002 - the formats have one form each
        return Wishes()

    def decode_request(self, body: JSON, ask: Ask = NO_ASK) -> NoReturn:  # noqa: ARG002
        raise UntranslatableError(f"{self.operation.value} is served by targets of OpenAI's own format only")

    def encode_request(self, request: Any, facts: Facts) -> NoReturn:  # noqa: ARG002
        raise UntranslatableError(f"{self.operation.value} is served to clients of OpenAI's own format only")

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:
        path = self._paths.get(ask.form)
        if path is None:
            raise UntranslatableError(f"{self.operation.value} has no form {ask.form!r}")
        encoded = splice.with_model(raw, body, facts, ask, path)
        if self._anything and not ask.stream:
            encoded.headers["accept"] = "*/*"
        return encoded

    def decode_response(self, body: bytes) -> NativeResponse:
        return read(body, anything=self._anything)

    def encode_response(self, response: Any, reply: Reply) -> NoReturn:  # noqa: ARG002
        raise UntranslatableError(f"{self.operation.value} is answered by targets of OpenAI's own format only")

    def answer_type(self, form: str, *, stream: bool) -> str:  # noqa: ARG002 - the formats have one form each
        return self.stream_type if stream else "application/json"

    def stream_decoder(self) -> StreamDecoder:
        return TypedDecoder()

    def stream_encoder(self, reply: Reply) -> NoStreamEncoder:  # noqa: ARG002 - nothing is translated
        return NoStreamEncoder()

    def stream_observer(self, *, hide_usage: bool, form: str = "") -> StreamObserver:  # noqa: ARG002 - usage comes unasked
        return DecodingObserver(self.stream_decoder())

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
        return openai_errors.decode_error(status, headers, body)

    def encode_error(self, error: ApiError) -> tuple[int, bytes]:
        return openai_errors.encode_error(error)

    def encode_stream_error(self, error: ApiError, form: str = "") -> bytes:  # noqa: ARG002 - the formats have one form each
        return sse(orjson.dumps({"error": openai_errors.envelope(error)}))


class Completions(OpenAINative):
    """Legacy text completions: their streams are chunks up to `[DONE]`, with token counts only where they are asked for."""

    def __init__(self) -> None:
        super().__init__("openai_completions", Operation.COMPLETIONS, {"": "/completions"})

    def wishes(self, body: JSON) -> Wishes:
        return Wishes(splice.wants_usage(body))

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:  # noqa: ARG002 - everything is in the body
        return splice.with_usage(raw, body, facts, "/completions")

    def stream_decoder(self) -> StreamDecoder:
        return CompletionsDecoder()

    def stream_observer(self, *, hide_usage: bool, form: str = "") -> StreamObserver:  # noqa: ARG002 - the format has one form
        return HidingObserver() if hide_usage else DecodingObserver(CompletionsDecoder())


class Passthrough(OpenAINative):
    """A path of the registry's `passthrough`: nothing is read, nothing edited. `Ask.path` is the path, `Ask.headers` all that the provider gets."""

    def __init__(self) -> None:
        super().__init__("passthrough", Operation.PASSTHROUGH, {}, anything=True)

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:  # noqa: ARG002 - they are of no account
        return Encoded(raw, ask.path, dict(ask.headers))


def dialects() -> tuple[Dialect, ...]:
    """All of them."""
    return (
        Completions(),
        OpenAINative("openai_images", Operation.IMAGES, {form: f"/images/{form}" for form in ("generations", "edits", "variations")}),
        OpenAINative("openai_speech", Operation.SPEECH, {"": "/audio/speech"}, anything=True),
        OpenAINative(
            "openai_transcription",
            Operation.TRANSCRIPTION,
            {form: f"/audio/{form}" for form in ("transcriptions", "translations")},
            anything=True,
        ),
        OpenAINative("openai_moderations", Operation.MODERATIONS, {"": "/moderations"}),
        Passthrough(),
    )
