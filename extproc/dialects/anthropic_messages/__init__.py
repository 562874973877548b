"""Anthropic Messages: the wire format of api.anthropic.com and of everything that speaks it.

One module per direction and concern; this one puts them together as a `Dialect`. Wire format: https://platform.claude.com/docs/en/api/messages,
versions 2023-06-01 and 2026-10-21 (which drops temperature, top_p and top_k from its types).
"""

from __future__ import annotations

from collections.abc import Mapping

from extproc.core.dialect import NO_ASK, Ask, Encoded, Facts, Need, Reply, StreamDecoder, StreamEncoder, StreamObserver, Wishes
from extproc.core.errors import ApiError
from extproc.core.ir import JSON, Loss, Request, Response
from extproc.core.observe import DecodingObserver
from extproc.core.operation import Operation
from extproc.core.tool_names import misfits
from extproc.dialects.anthropic_messages import errors
from extproc.dialects.anthropic_messages.encode import encode_request
from extproc.dialects.anthropic_messages.needs import needs
from extproc.dialects.anthropic_messages.request import decode_request
from extproc.dialects.anthropic_messages.response import decode_response, encode_response
from extproc.dialects.anthropic_messages.splice import splice_request
from extproc.dialects.anthropic_messages.stream import MessagesDecoder
from extproc.dialects.anthropic_messages.stream_encoder import MessagesEncoder
from extproc.dialects.anthropic_messages.wire import NAME


class AnthropicMessages:
    """The `Dialect` of `POST /v1/messages`."""

    name = NAME
    operation = Operation.CHAT
    carries = frozenset(
        {
            Need.TOOLS,
            Need.VISION,
            Need.DOCUMENTS,
            Need.JSON_SCHEMA,
            Need.JSON_OBJECT,
            Need.IMAGE_URL,
            Need.DOCUMENT_URL,
            Need.FILE_ID,
            Need.SERVER_TOOLS,
            Need.PREFILL,
        }
    )
    stream_type = "text/event-stream"
    exact_member: str | None = "messages"

    def needs(self, body: JSON) -> frozenset[str]:
        return needs(body)

    def wishes(self, body: JSON) -> Wishes:
        tools = body.get("tools") if isinstance(body, dict) else None
        return Wishes(tool_names=misfits(tool.get("name") for tool in tools if isinstance(tool, dict)) if isinstance(tools, list) else ())

    def decode_request(self, body: JSON, ask: Ask = NO_ASK) -> Request:  # noqa: ARG002 - everything is in the body
        return decode_request(body)

    def encode_request(self, request: Request, facts: Facts) -> Encoded:
        return encode_request(request, facts)

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:
        return splice_request(raw, body, facts, ask.headers)

    def decode_response(self, body: bytes) -> Response:
        return decode_response(body)

    def encode_response(self, response: Response, reply: Reply) -> tuple[bytes, list[Loss]]:
        return encode_response(response, reply)

    def answer_type(self, form: str, *, stream: bool) -> str:  # noqa: ARG002 - the format has one form
        return self.stream_type if stream else "application/json"

    def stream_decoder(self) -> StreamDecoder:
        return MessagesDecoder()

    def stream_encoder(self, reply: Reply) -> StreamEncoder:
        return MessagesEncoder(reply)

    def stream_observer(self, *, hide_usage: bool, form: str = "") -> StreamObserver:  # noqa: ARG002 - the format always reports usage
        decoder = MessagesDecoder()
        return DecodingObserver(decoder, decoder.goes_on)

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
        return errors.decode_error(status, headers, body)

    def encode_error(self, error: ApiError) -> tuple[int, bytes]:
        return errors.encode_error(error)

    def encode_stream_error(self, error: ApiError, form: str = "") -> bytes:  # noqa: ARG002 - the format has one form
        return errors.encode_stream_error(error)
