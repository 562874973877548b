"""OpenAI Chat Completions: the format of OpenAI itself and of every provider that calls itself compatible with it.

Vendors differ by `Facts.quirks` (see `providers.kinds`), never by code here that asks for a vendor's name, OpenAI's own models apart.
Reference: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from collections.abc import Mapping

from extproc.core import openai_errors
from extproc.core.dialect import NO_ASK, Ask, Encoded, Facts, Reply, Wishes
from extproc.core.errors import ApiError
from extproc.core.ir import JSON, Loss, Request, Response
from extproc.core.operation import Operation
from extproc.core.tool_names import function_names, misfits
from extproc.dialects.openai_chat import needs, request_decode, request_encode, response, splice
from extproc.dialects.openai_chat.content import MISTRAL, NAME
from extproc.dialects.openai_chat.errors import encode_stream_error
from extproc.dialects.openai_chat.observer import ChatObserver
from extproc.dialects.openai_chat.stream_decoder import ChatStreamDecoder
from extproc.dialects.openai_chat.stream_encoder import ChatStreamEncoder


class OpenAIChat:
    """The `Dialect` of `/chat/completions`."""

    name = NAME
    operation = Operation.CHAT
    carries = needs.CARRIES
    stream_type = "text/event-stream"
    exact_member: str | None = None

    def needs(self, body: JSON) -> frozenset[str]:
        return needs.needs(body)

    def wishes(self, body: JSON) -> Wishes:
        return Wishes(request_decode.wants_usage(body), request_decode.wants_functions(body), tool_names=misfits(function_names(body)))

    def decode_request(self, body: JSON, ask: Ask = NO_ASK) -> Request:  # noqa: ARG002 - everything is in the body
        return request_decode.decode_request(body)

    def encode_request(self, request: Request, facts: Facts) -> Encoded:
        return request_encode.encode_request(request, facts)

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:
        """Mistral's clients have members of their own down to the single call, so for other vendors theirs is another dialect after all."""
        if ask.form == MISTRAL and "mistral_members" not in facts.quirks:
            request = request_decode.decode_request(body)
            encoded = request_encode.encode_request(request, facts)
            encoded.losses = request.losses + encoded.losses
            return encoded
        return splice.splice_request(raw, body, facts)

    def decode_response(self, body: bytes) -> Response:
        return response.decode_response(body)

    def encode_response(self, answer: Response, reply: Reply) -> tuple[bytes, list[Loss]]:
        return response.encode_response(answer, reply)

    def answer_type(self, form: str, *, stream: bool) -> str:  # noqa: ARG002 - the format has one form
        return self.stream_type if stream else "application/json"

    def stream_decoder(self) -> ChatStreamDecoder:
        return ChatStreamDecoder()

    def stream_encoder(self, reply: Reply) -> ChatStreamEncoder:
        return ChatStreamEncoder(reply)

    def stream_observer(self, *, hide_usage: bool, form: str = "") -> ChatObserver:
        return ChatObserver(hide_usage=hide_usage and form != MISTRAL, whole_calls=form == MISTRAL)

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
        return openai_errors.decode_error(status, headers, body)

    def encode_error(self, error: ApiError) -> tuple[int, bytes]:
        return openai_errors.encode_error(error)

    def encode_stream_error(self, error: ApiError, form: str = "") -> bytes:  # noqa: ARG002 - the format has one form
        return encode_stream_error(error)
