"""Anthropic's format inside Bedrock's InvokeModel: the body with `anthropic_version` and `anthropic_beta`, the model and the stream flag in the path.

A stream is AWS's binary event stream, whose `chunk` messages hold in base64 what would be the data of one server-sent event. Errors are AWS's.
Sources: the anthropic SDK's `lib/bedrock`; `InvokeModelWithResponseStream` of botocore's bedrock-runtime model; recorded streams.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from extproc.core import aws_errors
from extproc.core.bedrock_path import bedrock_path
from extproc.core.dialect import Ask, Dialect, Encoded, Facts, StreamDecoder, StreamObserver
from extproc.core.errors import ApiError, UpstreamFormatError
from extproc.core.eventstream import CONTENT_TYPE, EventStreamParser, Message
from extproc.core.framing import sse
from extproc.core.ir import JSON, Event, Finish, Loss, MessageStart, StreamError
from extproc.core.losses import Losses
from extproc.core.usage import Usage
from extproc.dialects.envelopes.anthropic_body import betas, wrapped
from extproc.dialects.envelopes.wrapper import Wrapper

VERSION = "bedrock-2023-05-31"
_BETAS = re.compile(
    r"(?:computer-use|interleaved-thinking|context-1m|context-management|effort|tool-search-tool|tool-examples|fine-grained-tool-streaming|compact"
    r"|dev-full-thinking|output-128k|mid-conversation-[a-z-]+|thinking-[a-z-]+)-\d{4}-\d\d-\d\d|token-efficient-tools-2025-02-19"
)
_REFUSED = ("stream", "metadata", "service_tier", "inference_geo")


class Bedrock(Wrapper):
    """The `Dialect` of InvokeModel for Anthropic's models."""

    def __init__(self, inner: Dialect) -> None:
        super().__init__(inner)
        self.stream_type = CONTENT_TYPE

    def encode_request(self, request: Any, facts: Facts) -> Encoded:
        return _wrapped(self.inner.encode_request(request, facts), facts, stream=request.stream)

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:
        return _wrapped(self.inner.splice_request(raw, body, facts, ask), facts, stream=ask.stream)

    def stream_decoder(self) -> StreamDecoder:
        return ChunkDecoder(self.inner.stream_decoder())

    def stream_observer(self, *, hide_usage: bool, form: str = "") -> StreamObserver:
        return ChunkObserver(self.inner, self.inner.stream_observer(hide_usage=hide_usage, form=form), form)

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
        if b'"error"' in body and "x-amzn-errortype" not in headers:
            # said by what stands behind Bedrock, in its own words
            return self.inner.decode_error(status, headers, body)
        return aws_errors.decode_error(status, headers, body)


def _wrapped(encoded: Encoded, facts: Facts, *, stream: bool) -> Encoded:
    losses = Losses()
    path = bedrock_path(facts.wire_model, "invoke-with-response-stream" if stream else "invoke")
    return wrapped(encoded, path, VERSION, _REFUSED, betas(encoded, _BETAS, losses), losses, in_body=True)


_TYPE = re.compile(rb'\s*\{\s*"type"\s*:\s*"([a-z_]+)"')


def _unwrapped(message: Message) -> bytes:
    """The server-sent event inside a message; b"" for one that holds none. Raises `UpstreamFormatError`, or the exception that it is."""
    error = aws_errors.stream_error(message)
    if error is not None:
        raise error
    if message.text(":event-type") != "chunk":
        return b""
    try:
        payload = orjson.loads(message.payload)
        data = base64.b64decode(payload["bytes"], validate=True)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, binascii.Error):
        raise UpstreamFormatError("a chunk of the provider's stream holds no bytes") from None
    found = _TYPE.match(data)
    if found is None or b"\n" in data or b"\r" in data:
        return _rewritten(data)
    return sse(data, found[1].decode())


def _rewritten(data: bytes) -> bytes:
    """The same where the type does not come first, or the JSON has line ends."""
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise UpstreamFormatError("the provider's stream holds an event that is not JSON") from None
    kind = event.get("type") if isinstance(event, dict) else None
    return sse(orjson.dumps(event), kind if isinstance(kind, str) and kind.isidentifier() else "")


class ChunkDecoder:
    """A `StreamDecoder` for the inner events. After an error it reads nothing more."""

    __slots__ = ("_ended", "_inner", "_parser")

    def __init__(self, inner: StreamDecoder) -> None:
        self._inner = inner
        self._parser = EventStreamParser()
        self._ended = False

    @property
    def losses(self) -> Sequence[Loss]:
        return self._inner.losses

    def feed(self, data: bytes) -> list[Event]:
        out: list[Event] = []
        if self._ended:
            return out
        try:
            for message in self._parser.feed(data):
                out += self._inner.feed(_unwrapped(message))
        except ApiError as error:
            self._ended = True
            out.append(StreamError(error))
        return out

    def close(self) -> list[Event]:
        if self._ended:
            return []
        self._ended = True
        out = self._inner.close()
        try:
            self._parser.close()
        except ApiError as error:
            out.append(StreamError(error))
        return out


class ChunkObserver:
    """A `StreamObserver` that gives the client plain server-sent events. An exception becomes the client's error event, and ends the stream."""

    __slots__ = ("_dialect", "_error", "_form", "_inner", "_parser")

    def __init__(self, dialect: Dialect, inner: StreamObserver, form: str) -> None:
        self._dialect = dialect
        self._inner = inner
        self._form = form
        self._parser = EventStreamParser()
        self._error: ApiError | None = None

    @property
    def start(self) -> MessageStart | None:
        return self._inner.start

    @property
    def content(self) -> bool:
        return self._inner.content

    @property
    def usage(self) -> Usage | None:
        return self._inner.usage

    @property
    def finish(self) -> Finish | None:
        return self._inner.finish

    @property
    def error(self) -> ApiError | None:
        return self._inner.error or self._error

    @property
    def ended(self) -> bool:
        return self._inner.ended

    def feed(self, data: bytes) -> bytes:
        out: list[bytes] = []
        if self._error is not None:
            return b""
        try:
            for message in self._parser.feed(data):
                event = _unwrapped(message)
                if event:
                    out.append(self._inner.feed(event))
        except ApiError as error:
            self._fail(error, out)
        return b"".join(out)

    def close(self) -> bytes:
        if self._error is not None:
            return b""
        out = [self._inner.close()]
        try:
            self._parser.close()
        except ApiError as error:
            self._fail(error, out)
        return b"".join(out)

    def _fail(self, error: ApiError, out: list[bytes]) -> None:
        """Behind a clean end nothing can fail any more."""
        self._error = error
        if not self._inner.ended:
            out.append(self._dialect.encode_stream_error(error, self._form))
