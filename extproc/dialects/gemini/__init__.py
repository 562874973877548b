"""Google's Gemini API (`generateContent`, `streamGenerateContent`) as one dialect: https://ai.google.dev/api/generate-content.

The model and the choice between a whole answer and a stream are in the path, not in the body. Clients speak one of two forms: with `alt=sse` a
stream is server-sent events (form ""), without it one JSON array (form "array"); providers are always asked for events.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from extproc.core import carrier, jsonedit
from extproc.core.dialect import NO_ASK, Ask, Dialect, Encoded, Facts, Need, Reply, Wishes
from extproc.core.errors import ApiError
from extproc.core.ir import JSON, Loss, Request, Response
from extproc.core.losses import Losses
from extproc.core.observe import DecodingObserver
from extproc.core.operation import Operation
from extproc.core.tool_names import misfits
from extproc.dialects.gemini import errors, request_decode, request_encode, signature, wire
from extproc.dialects.gemini import needs as need_reader
from extproc.dialects.gemini import response as answers
from extproc.dialects.gemini.array_observer import ArrayObserver
from extproc.dialects.gemini.model_fit import fit_to_model
from extproc.dialects.gemini.stream_decode import GeminiStreamDecoder
from extproc.dialects.gemini.stream_encode import GeminiStreamEncoder
from extproc.dialects.gemini.thinking import wants_signatures


class Gemini:
    """The `Dialect`."""

    name = wire.NAME
    operation = Operation.CHAT
    carries = frozenset(
        {
            Need.TOOLS,
            Need.VISION,
            Need.DOCUMENTS,
            Need.AUDIO,
            Need.VIDEO,
            Need.JSON_SCHEMA,
            Need.JSON_OBJECT,
            Need.IMAGE_URL,
            Need.DOCUMENT_URL,
            Need.AUDIO_URL,
            Need.FILE_ID,
            Need.SERVER_TOOLS,
            Need.CHOICES,
            Need.PREFILL,
            Need.OUTPUT_IMAGE,
        }
    )
    stream_type = "text/event-stream"
    exact_member: str | None = None  # its numbers are doubles

    def needs(self, body: JSON) -> frozenset[str]:
        return need_reader.needs(body)

    def wishes(self, body: JSON) -> Wishes:
        return Wishes(tool_names=misfits(need_reader.tool_names(body)))

    def decode_request(self, body: JSON, ask: Ask = NO_ASK) -> Request:
        request = request_decode.decode_request(body)
        if ask is not NO_ASK:
            request.model, request.stream = ask.model, ask.stream
        return request

    def encode_request(self, request: Request, facts: Facts) -> Encoded:
        return request_encode.encode_request(request, facts)

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:
        """The body as it came: only the path names the model. Streams are always asked for as server-sent events. What the model refuses is
        said in its words where the client asked for another."""
        upstream = request_encode.request_path(facts.model, stream=ask.stream)
        losses = Losses()
        raw = signature.cleaned(carrier.strip(raw), losses, stand_in=wants_signatures(facts.model))
        if ask.model.removeprefix("models/") != facts.model.removeprefix("models/") and isinstance(body, dict):
            fitted = fit_to_model(body, facts, losses)
            if fitted is not None:
                raw = jsonedit.splice(raw, {fitted[0]: orjson.dumps(fitted[1])})
        return Encoded(raw, upstream, dict(request_encode.HEADERS), losses)

    def decode_response(self, body: bytes) -> Response:
        return answers.decode_response(body)

    def encode_response(self, response: Response, reply: Reply) -> tuple[bytes, list[Loss]]:
        return answers.encode_response(response, reply)

    def answer_type(self, form: str, *, stream: bool) -> str:
        return self.stream_type if stream and form != wire.ARRAY else "application/json"

    def stream_decoder(self) -> GeminiStreamDecoder:
        return GeminiStreamDecoder()

    def stream_encoder(self, reply: Reply) -> GeminiStreamEncoder:
        return GeminiStreamEncoder(reply)

    def stream_observer(self, *, hide_usage: bool, form: str = "") -> DecodingObserver:  # noqa: ARG002 - the format always reports usage
        return ArrayObserver() if form == wire.ARRAY else DecodingObserver(GeminiStreamDecoder())

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
        return errors.decode_error(status, headers, body)

    def encode_error(self, error: ApiError) -> tuple[int, bytes]:
        return errors.encode_error(error)

    def encode_stream_error(self, error: ApiError, form: str = "") -> bytes:
        return errors.encode_stream_error(error, form)


GEMINI: Dialect = Gemini()
