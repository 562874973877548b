"""OpenAI Responses: the format of `POST /v1/responses`, as OpenAI, Azure, xAI, OpenRouter and others speak it.

Stateless between dialects: the whole history goes each time, and reasoning goes with its encrypted state. What an earlier answer left at one
provider (`previous_response_id`, item references, background answers) is a need that only a target of this format can meet.
Reference: https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

from collections.abc import Mapping

from extproc.core import openai_errors
from extproc.core.dialect import NO_ASK, Ask, Encoded, Facts, Reply, StreamObserver, Wishes
from extproc.core.errors import ApiError
from extproc.core.ir import JSON, Loss, Request, Response
from extproc.core.observe import DecodingObserver
from extproc.core.operation import Operation
from extproc.core.tool_names import misfits
from extproc.dialects.openai_responses import needs, request_decode, request_encode, response_decode, response_encode, splice
from extproc.dialects.openai_responses.errors import encode_stream_error
from extproc.dialects.openai_responses.response_object import echo
from extproc.dialects.openai_responses.stream_decoder import ResponsesStreamDecoder
from extproc.dialects.openai_responses.stream_encoder import ResponsesStreamEncoder
from extproc.dialects.openai_responses.tools import own_names
from extproc.dialects.openai_responses.wire import NAME


class OpenAIResponses:
    """The `Dialect` of `/responses`."""

    name = NAME
    operation = Operation.CHAT
    carries = needs.CARRIES
    stream_type = "text/event-stream"
    exact_member: str | None = None

    def needs(self, body: JSON) -> frozenset[str]:
        return needs.needs(body)

    def wishes(self, body: JSON) -> Wishes:
        return Wishes(echo=echo(body), tool_names=misfits(own_names(body)))

    def decode_request(self, body: JSON, ask: Ask = NO_ASK) -> Request:  # noqa: ARG002 - everything is in the body
        return request_decode.decode_request(body)

    def encode_request(self, request: Request, facts: Facts) -> Encoded:
        return request_encode.encode_request(request, facts)

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:  # noqa: ARG002 - everything is in the body
        return splice.splice_request(raw, body, facts)

    def decode_response(self, body: bytes) -> Response:
        return response_decode.decode_response(body)

    def encode_response(self, answer: Response, reply: Reply) -> tuple[bytes, list[Loss]]:
        return response_encode.encode_response(answer, reply)

    def answer_type(self, form: str, *, stream: bool) -> str:  # noqa: ARG002 - the format has one form
        return self.stream_type if stream else "application/json"

    def stream_decoder(self) -> ResponsesStreamDecoder:
        return ResponsesStreamDecoder()

    def stream_encoder(self, reply: Reply) -> ResponsesStreamEncoder:
        return ResponsesStreamEncoder(reply)

    def stream_observer(self, *, hide_usage: bool, form: str = "") -> StreamObserver:  # noqa: ARG002 - the format always reports usage
        decoder = ResponsesStreamDecoder()
        return DecodingObserver(decoder, decoder.goes_on)

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
        return openai_errors.decode_error(status, headers, body)

    def encode_error(self, error: ApiError) -> tuple[int, bytes]:
        return openai_errors.encode_error(error)

    def encode_stream_error(self, error: ApiError, form: str = "") -> bytes:  # noqa: ARG002 - the format has one form
        return encode_stream_error(error)
