"""Ollama's own API as one dialect: `/api/chat`, and for clients `/api/generate`, which is a chat of one prompt (form "generate").

Streams are lines of JSON, and are what a client gets that does not say otherwise. Reference: https://docs.ollama.com/api
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from extproc.core import carrier, jsonedit
from extproc.core.dialect import NO_ASK, Ask, Encoded, Facts, Reply, Wishes
from extproc.core.errors import ApiError
from extproc.core.ir import JSON, Loss, Request, Response
from extproc.core.losses import Losses
from extproc.core.observe import DecodingObserver
from extproc.core.operation import Operation
from extproc.core.tool_names import function_names, misfits
from extproc.dialects.ollama_chat import errors, needs, request_decode, request_encode, response, wire
from extproc.dialects.ollama_chat.stream import OllamaStreamDecoder, OllamaStreamEncoder


class OllamaChat:
    """The `Dialect`."""

    name = wire.NAME
    operation = Operation.CHAT
    carries = needs.CARRIES
    stream_type = "application/x-ndjson"
    exact_member: str | None = "messages"

    def needs(self, body: JSON) -> frozenset[str]:
        return needs.needs(body)

    def wishes(self, body: JSON) -> Wishes:
        return Wishes(tool_names=misfits(function_names(body)))

    def decode_request(self, body: JSON, ask: Ask = NO_ASK) -> Request:
        request = request_decode.decode_request(body)
        if ask is not NO_ASK:
            request.stream = ask.stream
        return request

    def encode_request(self, request: Request, facts: Facts) -> Encoded:
        return request_encode.encode_request(request, facts)

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:
        """The body as it came, with the target's model and without state that other vendors' answers left in ids."""
        losses = Losses()
        stripped = carrier.strip(raw)
        if stripped is not raw:
            losses.add("signature:foreign", "state that another vendor's answers left in tool call ids")
        edits: dict[str, bytes | None] = {}
        if facts.wire_model not in ("*", body.get("model")):
            edits["model"] = orjson.dumps(facts.wire_model)
        path = wire.GENERATE_PATH if ask.form == wire.GENERATE else wire.CHAT_PATH
        return Encoded(jsonedit.splice(stripped, edits), path, losses=losses)

    def decode_response(self, body: bytes) -> Response:
        return response.decode_response(body)

    def encode_response(self, answer: Response, reply: Reply) -> tuple[bytes, list[Loss]]:
        return response.encode_response(answer, reply)

    def answer_type(self, form: str, *, stream: bool) -> str:  # noqa: ARG002 - the same in both forms
        return self.stream_type if stream else "application/json"

    def stream_decoder(self) -> OllamaStreamDecoder:
        return OllamaStreamDecoder()

    def stream_encoder(self, reply: Reply) -> OllamaStreamEncoder:
        return OllamaStreamEncoder(reply)

    def stream_observer(self, *, hide_usage: bool, form: str = "") -> DecodingObserver:  # noqa: ARG002 - the format always reports usage
        decoder = OllamaStreamDecoder()
        return DecodingObserver(decoder, decoder.goes_on)

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
        return errors.decode_error(status, headers, body)

    def encode_error(self, error: ApiError) -> tuple[int, bytes]:
        return errors.encode_error(error)

    def encode_stream_error(self, error: ApiError, form: str = "") -> bytes:  # noqa: ARG002 - the same in both forms
        return errors.encode_stream_error(error)
