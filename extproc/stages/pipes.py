"""What happens to an answer's body on its way to the client: watched, translated piece by piece, or translated whole.

A pipe is fed what came from the provider and gives what the client gets; `seen` is what it learned on the way. A stream that is cut never gets a
clean end: it ends in the client dialect's error event.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from extproc.core.condense import Condenser
from extproc.core.dialect import AnyResponse, Dialect, Reply, StreamObserver
from extproc.core.errors import ApiError, ErrorKind, UpstreamFormatError
from extproc.core.ir import End, Finish, Loss, MessageStart, Response, StreamError, UsageUpdate, is_content
from extproc.core.operation import Operation
from extproc.core.tool_names import Restorer
from extproc.core.usage import Usage
from extproc.stages.collect import Collector
from extproc.stages.content_encoding import Unpacker
from extproc.stages.rename import Renamer
from extproc.stages.replay import events_of

OBSERVED_BODY = 4 << 20
"""Bytes of a unary same-dialect answer that are kept to read its usage from; a larger one goes through unread. Of vectors nothing is kept."""


_ENDINGS = {"text/event-stream": b"\n\n", "application/x-ndjson": b"\n", "application/json": b""}
"""What stands behind every event, by content type; others have frames that say how long they are."""


@dataclass(slots=True)
class Seen:
    """What an answer said about itself. `content`: has anything come that proves an answer? `error`: how it failed, after it had begun. `ended`: its
    format's own end has come, and only the end of the body is outstanding."""

    response_id: str = ""
    response_model: str = ""
    usage: Usage | None = None
    finish: str = ""
    content: bool = False
    ended: bool = False
    error: ApiError | None = None
    losses: list[Loss] = field(default_factory=list)
    response: Response | None = None
    """The answer itself, where telemetry was switched on to record it (and of whole answers, which are decoded anyway)."""

    def start(self, event: MessageStart) -> None:
        self.response_id, self.response_model = event.id, event.model

    def whole(self, response: AnyResponse) -> None:
        """All that a complete answer says. Only conversations are ever recorded."""
        self.response_id, self.response_model = response.id, response.model
        self.usage, self.finish = response.usage, response.finish.value if response.finish is not None else ""
        self.losses += response.losses
        self.response = response if isinstance(response, Response) else None


class Pipe(Protocol):
    """`passes`: every byte goes through as it came, so that the rest may as well flow unseen."""

    seen: Seen
    passes: bool

    def feed(self, data: bytes, end: bool) -> bytes:
        """The client's bytes for the provider's; the same object where nothing changed. `end`: these are the last."""
        ...

    def fail(self, error: ApiError) -> bytes | None:
        """Ends the client's answer with `error`: the bytes that say so, None where its format has no way to."""
        ...


def _truncated() -> ApiError:
    return ApiError(ErrorKind.UPSTREAM, "the provider's stream ended before it was complete")


class WatchedStream:
    """The same dialect: bytes pass, less a usage chunk that only we asked for. `passes`: the observer changes nothing.

    A complete stream whose last event lacks its blank line, or its newline, gets it: most SDKs drop such an event, and with it the finish.
    """

    __slots__ = ("_client", "_collector", "_decoder", "_ending", "_form", "_observer", "_tail", "passes", "seen")

    def __init__(self, client: Dialect, observer: StreamObserver, *, form: str = "", collect: bool = False, passes: bool = True) -> None:
        self._client = client
        self.passes = passes
        self._form = form
        self._observer = observer
        self._decoder = client.stream_decoder() if collect else None
        self._collector = Collector()
        self._ending = _ENDINGS.get(client.answer_type(form, stream=True))
        self._tail = b""
        self.seen = Seen()

    def feed(self, data: bytes, end: bool) -> bytes:
        """Raises `UpstreamFormatError` where a stream ends in such a way that nothing that is added could be read."""
        observer, seen = self._observer, self.seen
        out = observer.feed(data)
        # what the provider itself said: the client has that already
        said = observer.error
        if end:
            rest = observer.close()
            out = out + rest if rest else out
        if self._ending:
            self._tail = out[-4:] if len(out) >= 4 else (self._tail + out)[-4:]
        if self._decoder is not None:
            # what the client gets: the provider's may stand in an envelope
            self._collector.feed(self._decoder.feed(out))
            seen.response = self._collector.response if end else None
        seen.content = observer.content
        if not end and (not observer.ended or observer.error is not None):
            return out
        seen.usage = observer.usage
        seen.error = observer.error
        seen.ended = observer.ended
        if observer.start is not None:
            seen.start(observer.start)
        if observer.finish is not None:
            seen.finish = observer.finish.reason.value
        if not end:
            return out
        if observer.finish is not None:
            out += self._rest()
        elif said is None:
            if seen.error is not None and self._ending is None:
                # behind a part of a frame everything counts as the rest of it
                raise UpstreamFormatError(seen.error.message)
            words = self.fail(seen.error or _truncated())
            # an observer that takes an envelope off says it itself
            out = out if out.endswith(words) else out + words
        return out

    def _rest(self) -> bytes:
        """What an event lacks that the provider left open: what comes behind it stands alone."""
        return self._ending if self._ending and self._tail and not self._tail.replace(b"\r", b"").endswith(self._ending) else b""

    def fail(self, error: ApiError) -> bytes:
        self.seen.error = error
        return self._rest() + self._client.encode_stream_error(error, self._form)


class TranslatedStream:
    """Another dialect: one decoder, one encoder. After an error in the stream the client's stream is over, and the rest is dropped."""

    __slots__ = ("_client", "_collector", "_decoder", "_encoder", "_form", "_names", "seen")
    passes = False

    def __init__(self, client: Dialect, upstream: Dialect, reply: Reply, *, collect: bool = False) -> None:
        self._client = client
        self._collector = Collector() if collect else None
        self._decoder = upstream.stream_decoder()
        self._encoder = client.stream_encoder(reply)
        self._names = Restorer(reply.tool_names)
        self._form = reply.form
        self.seen = Seen()

    def feed(self, data: bytes, end: bool) -> bytes:
        seen, encode = self.seen, self._encoder.encode
        if seen.error is not None:
            return b""
        events = self._decoder.feed(data)
        if end:
            events += self._decoder.close()
        self._names.events(events)
        if self._collector is not None:
            self._collector.feed(events)
            seen.response = self._collector.response if end else None
        out: list[bytes] = []
        for event in events:
            if isinstance(event, StreamError):
                seen.error = event.error
                out.append(self._client.encode_stream_error(event.error, self._form))
                break
            if not seen.content:
                seen.content = is_content(event)
            if isinstance(event, UsageUpdate):
                seen.usage = event.usage
            elif isinstance(event, Finish):
                seen.finish = event.reason.value
            elif isinstance(event, MessageStart):
                seen.start(event)
            elif isinstance(event, End):
                seen.ended = True
            out.append(encode(event))
        if end and seen.error is None and not (seen.finish and seen.ended):
            # a finish without the format's own end: what the client's format says at its end was never written
            seen.error = _truncated()
            out.append(self._client.encode_stream_error(seen.error, self._form))
        if end or seen.ended:
            seen.losses = [*self._decoder.losses, *self._encoder.losses]
        return b"".join(out)

    def fail(self, error: ApiError) -> bytes:
        self.seen.error = error
        return self._client.encode_stream_error(error, self._form)


class WatchedBody:
    """The same dialect, one plain body: bytes pass, and its end is read for usage."""

    __slots__ = ("_body", "_condenser", "_dialect", "seen")
    passes = True

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._condenser = Condenser() if dialect.operation is Operation.EMBEDDINGS else None
        self._body: bytearray | None = bytearray() if self._condenser is None else self._condenser.rest
        self.seen = Seen()

    def feed(self, data: bytes, end: bool) -> bytes:
        body = self._body
        if body is None:
            return data
        if self._condenser is not None:
            self._condenser.feed(data)
        elif len(body) + len(data) > OBSERVED_BODY:
            self._body = None
            return data
        elif end and not body:
            self._read(data)
            return data
        else:
            body += data
        if len(body) > OBSERVED_BODY:
            self._body = self._condenser = None
        elif end:
            self._read(bytes(body))
        return data

    def _read(self, body: bytes) -> None:
        try:
            self.seen.whole(self._dialect.decode_response(body))
        except ApiError as error:
            self.seen.error = error

    def fail(self, error: ApiError) -> None:
        self.seen.error = error


class Unread:
    """Bytes that pass and are nobody's business: sound, what a passed-on path answers, a refusal that has been judged."""

    __slots__ = ("seen",)
    passes = True

    def __init__(self) -> None:
        self.seen = Seen()

    def feed(self, data: bytes, end: bool) -> bytes:  # noqa: ARG002 - nothing is made of it
        self.seen.content = self.seen.content or bool(data)
        return data

    def fail(self, error: ApiError) -> None:
        self.seen.error = error


class Prepared:
    """A pipe between what else must happen to a provider's bytes: unpacking them first, and last putting the client's name for the model in."""

    __slots__ = ("_over", "_pipe", "_renamer", "_unpack", "seen")
    passes = False

    def __init__(self, pipe: Pipe, unpack: Unpacker | None, renamer: Renamer | None) -> None:
        self._pipe = pipe
        self._unpack = unpack
        self._renamer = renamer
        self._over = False
        self.seen = pipe.seen

    def feed(self, data: bytes, end: bool) -> bytes:
        """Raises `UpstreamFormatError` where the answer cannot be unpacked and its format cannot say so."""
        if self._over:
            return b""
        try:
            if self._unpack is not None:
                data = self._unpack.feed(data, end)
        except UpstreamFormatError as error:
            self._over = True
            said = self._pipe.fail(error)
            if said is None:
                raise
            return said
        out = self._pipe.feed(data, end)
        # behind the pipe, which takes an answer out of its provider's envelope
        return out if self._renamer is None else self._renamer.feed(out, end)

    def fail(self, error: ApiError) -> bytes | None:
        return self._pipe.fail(error)


def translate_whole(body: bytes, client: Dialect, upstream: Dialect, reply: Reply, *, stream: bool) -> tuple[bytes, str, Seen]:
    """(the client's body, its content type, what was seen) of a whole answer; as a stream's events where the client asked for a stream.

    Raises `ApiError` where `body` is no answer of the upstream dialect.
    """
    seen = Seen()
    response = upstream.decode_response(body)
    seen.whole(response)
    if isinstance(response, Response):
        Restorer(reply.tool_names).blocks(response.blocks)
    if stream and isinstance(response, Response):
        encoder = client.stream_encoder(reply)
        out = b"".join([encoder.encode(event) for event in events_of(response)])
        seen.losses += encoder.losses
        return out, client.answer_type(reply.form, stream=True), seen
    out, losses = client.encode_response(response, reply)
    seen.losses += losses
    return out, client.answer_type(reply.form, stream=False), seen
