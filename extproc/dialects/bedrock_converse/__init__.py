"""AWS Bedrock's Converse: one chat format for all the models that Bedrock serves.

The model and the choice between a whole answer and a stream are in the path, not in the body; streams are AWS's binary event streams.
Wire format: botocore's service model of bedrock-runtime, https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html.
"""

from __future__ import annotations

from collections.abc import Mapping

from extproc.core import aws_errors
from extproc.core.dialect import NO_ASK, Ask, Encoded, Facts, Need, Reply, StreamDecoder, StreamEncoder, StreamObserver, Wishes
from extproc.core.errors import ApiError
from extproc.core.eventstream import CONTENT_TYPE
from extproc.core.ir import JSON, Loss, Request, Response
from extproc.core.observe import DecodingObserver
from extproc.core.operation import Operation
from extproc.dialects.bedrock_converse import errors
from extproc.dialects.bedrock_converse.needs import needs
from extproc.dialects.bedrock_converse.request_decode import decode_request
from extproc.dialects.bedrock_converse.request_encode import encode_request
from extproc.dialects.bedrock_converse.response import decode_response, encode_response
from extproc.dialects.bedrock_converse.splice import splice_request
from extproc.dialects.bedrock_converse.stream_decode import ConverseDecoder
from extproc.dialects.bedrock_converse.stream_encode import ConverseEncoder
from extproc.dialects.bedrock_converse.wire import NAME


class BedrockConverse:
    """The `Dialect` of `POST /model/{id}/converse` and `/converse-stream`."""

    name = NAME
    operation = Operation.CHAT
    carries = frozenset(
        {
            Need.TOOLS,
            Need.VISION,
            Need.DOCUMENTS,
            Need.OTHER_DOCUMENTS,
            Need.AUDIO,
            Need.VIDEO,
            Need.JSON_SCHEMA,
            Need.JSON_OBJECT,
            Need.FILE_ID,
            Need.SERVER_TOOLS,
            Need.PREFILL,
        }
    )
    stream_type = CONTENT_TYPE
    exact_member: str | None = "messages"

    def needs(self, body: JSON) -> frozenset[str]:
        return needs(body)

    def wishes(self, body: JSON) -> Wishes:  # noqa: ARG002 - the format has one form
        return Wishes()

    def decode_request(self, body: JSON, ask: Ask = NO_ASK) -> Request:
        return decode_request(body, ask)

    def encode_request(self, request: Request, facts: Facts) -> Encoded:
        return encode_request(request, facts)

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:
        return splice_request(raw, body, facts, ask)

    def decode_response(self, body: bytes) -> Response:
        return decode_response(body)

    def encode_response(self, response: Response, reply: Reply) -> tuple[bytes, list[Loss]]:
        return encode_response(response, reply)

    def answer_type(self, form: str, *, stream: bool) -> str:  # noqa: ARG002 - the format has one form
        return self.stream_type if stream else "application/json"

    def stream_decoder(self) -> StreamDecoder:
        return ConverseDecoder()

    def stream_encoder(self, reply: Reply) -> StreamEncoder:
        return ConverseEncoder(reply)

    def stream_observer(self, *, hide_usage: bool, form: str = "") -> StreamObserver:  # noqa: ARG002 - the format always reports usage
        decoder = ConverseDecoder()
        return DecodingObserver(decoder, decoder.goes_on)

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
        return aws_errors.decode_error(status, headers, body)

    def encode_error(self, error: ApiError) -> tuple[int, bytes]:
        return errors.encode_error(error)

    def encode_stream_error(self, error: ApiError, form: str = "") -> bytes:  # noqa: ARG002 - the format has one form
        return errors.encode_stream_error(error)
