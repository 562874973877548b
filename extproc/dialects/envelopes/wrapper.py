"""What every envelope leaves to the dialect that it wraps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from extproc.core.dialect import NO_ASK, Ask, Dialect, Encoded, Facts, Need, Reply, StreamDecoder, StreamEncoder, StreamObserver, Wishes
from extproc.core.errors import ApiError
from extproc.core.ir import JSON, Loss

NOT_CARRIED = frozenset({Need.IMAGE_URL, Need.DOCUMENT_URL, Need.FILE_ID})
"""What the clouds' Anthropic endpoints lack: they fetch no URLs and have no Files API.
https://platform.claude.com/docs/en/build-with-claude/vision, https://platform.claude.com/docs/en/build-with-claude/files."""


class Wrapper:
    """A `Dialect` that is `inner` in everything. Subclasses override what their provider does otherwise."""

    def __init__(self, inner: Dialect) -> None:
        self.inner = inner
        self.name = inner.name
        self.operation = inner.operation
        self.carries = inner.carries - NOT_CARRIED
        self.stream_type = inner.stream_type
        self.exact_member = inner.exact_member

    def needs(self, body: JSON) -> frozenset[str]:
        return self.inner.needs(body)

    def wishes(self, body: JSON) -> Wishes:
        return self.inner.wishes(body)

    def decode_request(self, body: JSON, ask: Ask = NO_ASK) -> Any:
        return self.inner.decode_request(body, ask)

    def encode_request(self, request: Any, facts: Facts) -> Encoded:
        return self.inner.encode_request(request, facts)

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:
        return self.inner.splice_request(raw, body, facts, ask)

    def decode_response(self, body: bytes) -> Any:
        return self.inner.decode_response(body)

    def encode_response(self, response: Any, reply: Reply) -> tuple[bytes, list[Loss]]:
        return self.inner.encode_response(response, reply)

    def answer_type(self, form: str, *, stream: bool) -> str:
        return self.inner.answer_type(form, stream=stream)

    def stream_decoder(self) -> StreamDecoder:
        return self.inner.stream_decoder()

    def stream_encoder(self, reply: Reply) -> StreamEncoder:
        return self.inner.stream_encoder(reply)

    def stream_observer(self, *, hide_usage: bool, form: str = "") -> StreamObserver:
        return self.inner.stream_observer(hide_usage=hide_usage, form=form)

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
        return self.inner.decode_error(status, headers, body)

    def encode_error(self, error: ApiError) -> tuple[int, bytes]:
        return self.inner.encode_error(error)

    def encode_stream_error(self, error: ApiError, form: str = "") -> bytes:
        return self.inner.encode_stream_error(error, form)
