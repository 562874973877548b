"""Cohere's chat API, version 2.

One module per direction and concern; this one puts them together as a `Dialect`. Paths are relative to https://api.cohere.com, because the
endpoints of one account have different versions. Wire format: https://docs.cohere.com/v2/reference/chat, the SDK's v2 types.
"""

from __future__ import annotations

from collections.abc import Mapping

from extproc.core.dialect import NO_ASK, Ask, Encoded, Facts, Need, Reply, Wishes
from extproc.core.errors import ApiError
from extproc.core.ir import JSON, Loss, Request, Response
from extproc.core.observe import DecodingObserver
from extproc.core.operation import Operation
from extproc.core.tool_names import function_names, misfits
from extproc.dialects.cohere_chat import errors
from extproc.dialects.cohere_chat.needs import needs
from extproc.dialects.cohere_chat.request_decode import decode_request
from extproc.dialects.cohere_chat.request_encode import encode_request
from extproc.dialects.cohere_chat.response import decode_response, encode_response
from extproc.dialects.cohere_chat.splice import splice_request
from extproc.dialects.cohere_chat.stream_decoder import CohereStreamDecoder
from extproc.dialects.cohere_chat.stream_encoder import CohereStreamEncoder
from extproc.dialects.cohere_chat.wire import NAME


class CohereChat:
    """The `Dialect` of `POST /v2/chat`."""

    name = NAME
    operation = Operation.CHAT
    carries = frozenset({Need.TOOLS, Need.VISION, Need.IMAGE_URL, Need.JSON_SCHEMA, Need.JSON_OBJECT})
    stream_type = "text/event-stream"
    exact_member: str | None = "messages"

    def needs(self, body: JSON) -> frozenset[str]:
        return needs(body)

    def wishes(self, body: JSON) -> Wishes:
        return Wishes(tool_names=misfits(function_names(body)))

    def decode_request(self, body: JSON, ask: Ask = NO_ASK) -> Request:  # noqa: ARG002 - everything is in the body
        return decode_request(body)

    def encode_request(self, request: Request, facts: Facts) -> Encoded:
        return encode_request(request, facts)

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:  # noqa: ARG002 - everything is in the body
        return splice_request(raw, body, facts)

    def decode_response(self, body: bytes) -> Response:
        return decode_response(body)

    def encode_response(self, response: Response, reply: Reply) -> tuple[bytes, list[Loss]]:
        return encode_response(response, reply)

    def answer_type(self, form: str, *, stream: bool) -> str:  # noqa: ARG002 - the format has one form
        return self.stream_type if stream else "application/json"

    def stream_decoder(self) -> CohereStreamDecoder:
        return CohereStreamDecoder()

    def stream_encoder(self, reply: Reply) -> CohereStreamEncoder:
        return CohereStreamEncoder(reply)

    def stream_observer(self, *, hide_usage: bool, form: str = "") -> DecodingObserver:  # noqa: ARG002 - the format always reports usage
        decoder = CohereStreamDecoder()
        return DecodingObserver(decoder, decoder.goes_on)

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
        return errors.decode_error(status, headers, body)

    def encode_error(self, error: ApiError) -> tuple[int, bytes]:
        return errors.encode_error(error)

    def encode_stream_error(self, error: ApiError, form: str = "") -> bytes:  # noqa: ARG002 - the format has one form
        return errors.encode_stream_error(error)
