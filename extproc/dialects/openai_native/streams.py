"""The two kinds of streams of these operations, read but never changed, less a usage chunk that only we asked for.

Completions stream chunks that end with `[DONE]`. Images, speech and transcriptions stream events that say what they are in `type`
(`image_generation.partial_image`, `transcript.text.delta`, `speech.audio.done`, …) and have no terminator.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from extproc.core import openai_errors
from extproc.core.errors import UpstreamFormatError
from extproc.core.framing import SSE, SSEParser
from extproc.core.ir import JSON, BlockDelta, BlockStart, End, Event, Finish, FinishReason, Foreign, Loss, MessageStart, StreamError, UsageUpdate
from extproc.core.observe import DecodingObserver
from extproc.core.openai_usage import UsageChunks
from extproc.core.unix_time import unix_time
from extproc.dialects.openai_native.answers import finish, text, usage

DONE = b"[DONE]"


class _Decoder:
    """Events as JSON objects, errors, the end; what an object means is a subclass's. `feed` and `close` never raise."""

    losses: Sequence[Loss] = ()

    def __init__(self) -> None:
        self._parser = SSEParser()
        self._started = self._finished = self._done = False

    def feed(self, data: bytes) -> list[Event]:
        return self._read(data, last=False)

    def close(self) -> list[Event]:
        out = self._read(b"", last=True)
        if self._finished and not self._done:
            self._done = True
            out.append(End())
        return out

    def _read(self, data: bytes, *, last: bool) -> list[Event]:
        out: list[Event] = []
        if self._done:
            return out
        try:
            for event in self._parser.close() if last else self._parser.feed(data):
                self._event(event, out)
        except UpstreamFormatError as error:
            self._done = True
            out.append(StreamError(error))
        return out

    def _event(self, event: SSE, out: list[Event]) -> None:
        if self._done or not event.data:
            return
        if event.data.strip() == DONE:
            # without a finish it proves nothing
            self._done = self._finished
            if self._finished:
                out.append(End())
            return
        try:
            value = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            raise UpstreamFormatError("an event of the provider's stream is not JSON") from None
        if not isinstance(value, dict):
            return
        error = value.get("error")
        if error is not None or value.get("type") == "error":
            self._done = True
            out.append(StreamError(openai_errors.decode_error_object(error if error is not None else value)))
            return
        self._value(value, out)
        counts = usage(value.get("usage"))
        if counts is not None:
            out.append(UsageUpdate(counts))

    def _value(self, value: dict[str, JSON], out: list[Event]) -> None:
        raise NotImplementedError


class CompletionsDecoder(_Decoder):
    """Chunks of legacy completions."""

    def _value(self, value: dict[str, JSON], out: list[Event]) -> None:
        if not self._started:
            self._started = True
            out.append(MessageStart(text(value.get("id")), text(value.get("model")), unix_time(value.get("created"))))
        choices = value.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                continue
            said = text(choice.get("text"))
            if said:
                index = choice.get("index")
                out.append(BlockDelta(index if isinstance(index, int) else 0, said))
            reason = finish(choice.get("finish_reason"))
            if reason is not None:
                self._finished = True
                out.append(Finish(reason))


class TypedDecoder(_Decoder):
    """Events that say what they are."""

    def _value(self, value: dict[str, JSON], out: list[Event]) -> None:
        kind = text(value.get("type"))
        if kind.endswith((".done", ".completed")):
            self._finished = True
            out.append(Finish(FinishReason.STOP))
        elif isinstance(value.get("delta"), str):
            out.append(BlockDelta(0, value["delta"]))
        elif kind:
            out.append(BlockStart(0, Foreign("openai", kind, None)))


class HidingObserver(DecodingObserver):
    """Takes out the usage chunk of a completions stream whose client did not ask for one."""

    __slots__ = ("_chunks",)

    def __init__(self) -> None:
        super().__init__(CompletionsDecoder())
        self._chunks = UsageChunks()

    def feed(self, data: bytes) -> bytes:
        super().feed(data)
        return self._chunks.without(data)

    def close(self) -> bytes:
        super().close()
        return self._chunks.rest()
