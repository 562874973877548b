"""A stream of Chat Completions chunks to events, however the bytes are cut.

Handles what vendors of the format do: first chunks without choices (Azure), whole tool calls in one chunk (Groq, xAI, Mistral), a repeated
finish (OpenRouter), usage on the last or the finish chunk or in `x_groq`, errors as an `error` member or event, no `[DONE]` at all.
A stream that ends early gives no `Finish`, and neither does one that ends with an error.
Reference: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from extproc.core.errors import ApiError, UpstreamFormatError
from extproc.core.framing import SSEParser
from extproc.core.ir import (
    JSON,
    BlockDelta,
    BlockStart,
    BlockStop,
    End,
    Event,
    Finish,
    FinishReason,
    Foreign,
    Loss,
    MessageStart,
    Opaque,
    Refusal,
    StreamError,
    Text,
    Thinking,
    ToolCall,
    UsageUpdate,
)
from extproc.core.losses import Losses
from extproc.core.observe import STRING, events
from extproc.core.openai_errors import decode_error_object
from extproc.core.unix_time import unix_time
from extproc.dialects.openai_chat import details
from extproc.dialects.openai_chat.content import NAME, thinking_text
from extproc.dialects.openai_chat.request_decode import arguments
from extproc.dialects.openai_chat.response import ANSWER, CHOICE, KNOWN, SOURCES, call_id, decode_images
from extproc.dialects.openai_chat.signature import google_signature
from extproc.dialects.openai_chat.usage import decode_finish, decode_usage, finish_error

_PLAIN = rb'"(?!error"|usage"|choices")[a-z_]+": (?:%b|[\d.]+|null)|"usage": null' % STRING
_SAID = rb'"(?:role|channel|content|reasoning|reasoning_content)": %b|"[a-z_]+": null' % STRING
_CALLED = rb'"tool_calls": \[\{"index": \d+, "function": \{"arguments": %b\}\}\]' % STRING
_GOES_ON = events(
    rb'(?:(?:%b), )*+"choices": \[\{(?:"index": 0, )?"delta": \{(?:%b|(?:%b)(?:, (?:%b))*+)\}' % (_PLAIN, _CALLED, _SAID, _SAID),
    rb'(?:, "[a-z_]+": (?:null|0))*+\}\](?:, (?:%b))*+' % _PLAIN,
)
_TEXTS: dict[str, type[Text | Refusal | Thinking]] = {"text": Text, "refusal": Refusal, "thinking": Thinking}


class _Call:
    """A tool call under way. Its block starts when its name is known; `text` is what came of its arguments."""

    __slots__ = ("block", "id", "name", "opaque", "open", "text")

    def __init__(self) -> None:
        self.block = -1
        self.id = ""
        self.name = ""
        self.open = True
        self.opaque: Opaque | None = None
        self.text: list[str] = []


class ChatStreamDecoder:
    """One stream. `feed` and `close` never raise."""

    __slots__ = (
        "_answer",
        "_at",
        "_blank",
        "_block",
        "_calls",
        "_current",
        "_done",
        "_finished",
        "_losses",
        "_named",
        "_open",
        "_parser",
        "_pending",
        "_refused",
        "_signature",
        "_started",
    )

    def __init__(self) -> None:
        self._parser = SSEParser()
        self._losses = Losses()
        self._answer = ""
        self._block = 0
        self._open = ""
        self._current = -1
        self._signature: Opaque | None = None
        self._pending: Opaque | None = None
        self._calls: list[_Call] = []
        self._at: dict[int, _Call] = {}
        self._named: dict[str, _Call] = {}
        self._started = self._finished = self._done = self._refused = self._blank = False

    @property
    def losses(self) -> Sequence[Loss]:
        return self._losses

    def goes_on(self, data: bytes) -> bool:
        """Are `data` whole events that only go on with a text? Who watches need not read them."""
        return self._parser.idle and not self._blank and _GOES_ON.fullmatch(data) is not None

    def feed(self, data: bytes) -> list[Event]:
        out: list[Event] = []
        if self._done:
            return out
        try:
            for event in self._parser.feed(data):
                self._event(event.data, out, last=False)
        except UpstreamFormatError as error:
            self._fail(error, out)
        return out

    def close(self) -> list[Event]:
        out: list[Event] = []
        if self._done:
            return out
        try:
            for event in self._parser.close():
                self._event(event.data, out, last=True)
        except UpstreamFormatError as error:
            self._fail(error, out)
        if self._finished and not self._done:
            # some vendors send no [DONE]: behind a finish the body's end is one
            self._done = True
            out.append(End())
        return out

    def _fail(self, error: ApiError, out: list[Event]) -> None:
        self._done = True
        out.append(StreamError(error))

    def _event(self, data: bytes, out: list[Event], *, last: bool) -> None:
        if self._done or not data:
            return
        if data.startswith(b"[DONE]"):
            self._done = True
            if self._blank and not self._finished:
                # Snowflake's last word is empty, but it says that this is the end
                out.append(self._finish("", None, out))
            out.append(End())
            return
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            # the last event of a body that was cut is no event
            if not last:
                self._fail(UpstreamFormatError("The provider's stream has an event that is not JSON."), out)
            return
        if not isinstance(chunk, dict):
            self._fail(UpstreamFormatError("The provider's stream has an event that is not a JSON object."), out)
            return
        if chunk.get("error"):
            self._fail(decode_error_object(chunk["error"]), out)
            return
        self._chunk(chunk, out)

    def _chunk(self, chunk: dict[str, JSON], out: list[Event]) -> None:
        if not chunk.keys() <= ANSWER:
            self._losses.unknown("answer", chunk, ANSWER)
        groq = chunk.get("x_groq")
        groq = groq if isinstance(groq, dict) else {}
        if groq.get("error"):
            self._fail(decode_error_object(groq["error"]), out)
            return
        if any(chunk.get(name) for name in SOURCES):
            self._losses.add("dropped:citations", "the sources of the whole answer")
        usage = chunk.get("usage") or groq.get("usage")
        choices = chunk.get("choices")
        finish: Finish | None = None
        if isinstance(choices, list) and choices:
            if not self._started:
                self._start(chunk, out)
            for choice in choices:
                if not isinstance(choice, dict):
                    continue
                if choice.get("index"):
                    self._losses.add("dropped:choices", "all but the first")
                    continue
                if choice.get("error"):
                    self._fail(decode_error_object(choice["error"]), out)
                    return
                finish = self._choice(choice, out) or finish
                if self._done:
                    return
        if isinstance(usage, dict):
            out.append(UsageUpdate(decode_usage(usage)))
        if finish is not None:
            out.append(finish)

    def _start(self, chunk: dict[str, JSON], out: list[Event]) -> None:
        self._started = True
        answer, model, created = chunk.get("id"), chunk.get("model"), chunk.get("created")
        self._answer = answer if isinstance(answer, str) else ""
        out.append(MessageStart(self._answer, model if isinstance(model, str) else "", unix_time(created)))

    def _choice(self, choice: dict[str, JSON], out: list[Event]) -> Finish | None:
        delta = choice.get("delta")
        if not choice.keys() <= CHOICE:
            self._losses.unknown("choice", choice, CHOICE)
        if choice.get("logprobs"):
            self._losses.add("dropped:logprobs")
        if isinstance(delta, dict):
            if self._finished:
                if delta.get("content") or delta.get("tool_calls"):
                    self._losses.add("dropped:content", "behind the finish reason")
                return None
            self._delta(delta, out)
        word = choice.get("finish_reason")
        self._blank = word == ""
        if not word or self._finished:
            return None
        broken = finish_error(word)
        if broken is not None:
            self._fail(broken, out)
            return None
        return self._finish(word, choice.get("stop_reason"), out)

    def _broken(self, error: ApiError, out: list[Event]) -> None:
        self._done = True
        out.append(StreamError(error))

    def _finish(self, word: JSON, stop: JSON, out: list[Event]) -> Finish:
        self._finished = True
        self._stop_text(out)
        if self._pending is not None:
            self._whole(Text("", opaque=self._pending), out)
        for call in self._calls:
            self._stop_call(call, out)
        reason, detail = decode_finish(word, called=bool(self._calls), refused=self._refused)
        if isinstance(stop, str) and reason is FinishReason.STOP:
            return Finish(FinishReason.STOP_SEQUENCE, stop, detail)
        return Finish(reason, detail=detail)

    def _delta(self, delta: dict[str, JSON], out: list[Event]) -> None:
        if "reasoning_details" in delta or "reasoning" in delta or "reasoning_content" in delta:
            self._reasoning(delta, out)
        content = delta.get("content")
        if content:
            if isinstance(content, str):
                self._text("text", content, out)
            elif isinstance(content, list):
                self._parts(content, out)
        if delta.get("refusal"):
            self._refused = True
            self._text("refusal", str(delta["refusal"]), out)
        if "extra_content" in delta or "thought_signature" in delta:
            self._pending = google_signature(delta) or self._pending
        calls = delta.get("tool_calls")
        if calls:
            for call in calls if isinstance(calls, list) else []:
                if isinstance(call, dict):
                    self._call(call, out)
        if isinstance(delta.get("function_call"), dict):
            self._call({"index": 0, "function": delta["function_call"]}, out)
        for image in decode_images(delta.get("images")):
            self._whole(image, out)
        if isinstance(delta.get("audio"), dict):
            self._whole(Foreign(NAME, "audio", delta["audio"]), out)
        if delta.get("annotations"):
            self._losses.add("dropped:citations", "in a stream")
        if not delta.keys() <= KNOWN:
            self._losses.unknown("delta", delta, KNOWN)

    def _parts(self, content: list[JSON], out: list[Event]) -> None:
        """Mistral's content parts in a delta."""
        for part in content:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "text" and isinstance(part.get("text"), str):
                self._text("text", part["text"], out)
            elif kind == "thinking":
                self._text("thinking", thinking_text(part.get("thinking")), out)
            elif kind is not None:
                self._whole(Foreign(NAME, str(kind), part), out)

    def _reasoning(self, delta: dict[str, JSON], out: list[Event]) -> None:
        raw = delta.get("reasoning_details")
        for thought in details.decode(delta) if raw else [Thinking(details.plain(delta))]:
            if thought.redacted and self._open == "thinking" and not self._encrypted(raw):
                self._signature = thought.opaque
            elif thought.redacted:
                self._whole(thought, out)
            elif thought.text:
                self._text("thinking", thought.text, out)
                self._signature = thought.opaque or self._signature

    @staticmethod
    def _encrypted(raw: JSON) -> bool:
        """Does it bring hidden thoughts of their own, not the signature of the text before?"""
        return any(isinstance(d, dict) and d.get("type") == "reasoning.encrypted" for d in raw)

    def _text(self, kind: str, text: str, out: list[Event]) -> None:
        if not text:
            return
        if self._open != kind:
            self._stop_text(out)
            self._open = kind
            self._current = self._block
            self._block += 1
            out.append(BlockStart(self._current, _TEXTS[kind]("")))
        out.append(BlockDelta(self._current, text))

    def _stop_text(self, out: list[Event]) -> None:
        if self._open:
            out.append(BlockStop(self._current, self._signature))
            self._open = ""
            self._signature = None

    def _whole(self, block: Text | Thinking | Foreign | JSON, out: list[Event]) -> None:
        self._stop_text(out)
        out.append(BlockStart(self._block, block))
        out.append(BlockStop(self._block))
        self._block += 1

    def _call(self, raw: dict[str, JSON], out: list[Event]) -> None:
        if "custom" in raw:
            self._whole(Foreign(NAME, "custom_tool_call", raw), out)
            return
        call = self._find(raw, out)
        function = raw.get("function")
        function = function if isinstance(function, dict) else {}
        more = arguments(function.get("arguments"))
        call.opaque = google_signature(raw) or call.opaque
        if call.block < 0:
            if isinstance(function.get("name"), str):
                call.name = function["name"]
            if isinstance(raw.get("id"), str):
                call.id = raw["id"]
                self._named[call.id] = call
            if more:
                call.text.append(more)
            if call.name:
                self._start_call(call, out)
        elif more and call.open:
            call.text.append(more)
            out.append(BlockDelta(call.block, more))

    def _find(self, raw: dict[str, JSON], out: list[Event]) -> _Call:
        """The call that a piece belongs to: by index, unless its id is new (some vendors give every call the same index or none)."""
        index, ident = raw.get("index"), raw.get("id")
        if isinstance(index, int):
            known = self._at.get(index)
        elif ident:
            known = self._named.get(ident) if isinstance(ident, str) else None
        else:
            known = self._calls[-1] if self._calls else None
        if known is not None and (not ident or not known.id or ident == known.id):
            return known
        if self._calls and self._calls[-1].open and _is_json("".join(self._calls[-1].text)):
            self._stop_call(self._calls[-1], out)
        call = _Call()
        self._calls.append(call)
        if isinstance(index, int):
            self._at[index] = call
        return call

    def _start_call(self, call: _Call, out: list[Event]) -> None:
        self._stop_text(out)
        call.block = self._block
        self._block += 1
        call.id = call.id or call_id(self._answer, call.block)
        self._named[call.id] = call
        call.opaque = call.opaque or self._pending
        self._pending = None
        out.append(BlockStart(call.block, ToolCall(call.id, call.name, opaque=call.opaque)))
        if call.text:
            out.append(BlockDelta(call.block, "".join(call.text)))

    def _stop_call(self, call: _Call, out: list[Event]) -> None:
        if call.block < 0:
            self._losses.add("dropped:tool_call", "it never got a name")
        elif call.open:
            out.append(BlockStop(call.block, call.opaque))
        call.open = False


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
