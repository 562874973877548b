"""Ollama's streams, both ways: one JSON object a line, the last with `done: true`.

A call comes whole, in a line of its own. Text and thinking come in pieces; the format has one run of each, in any order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import orjson

from extproc.core.dialect import Reply
from extproc.core.errors import UpstreamFormatError
from extproc.core.ir import (
    JSON,
    BlockDelta,
    BlockStart,
    BlockStop,
    End,
    Event,
    Finish,
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
from extproc.core.ndjson import NDJSONParser
from extproc.core.observe import STRING
from extproc.core.usage import Usage
from extproc.dialects.ollama_chat.errors import encode_stream_error, error_of
from extproc.dialects.ollama_chat.response import encode_call, encode_usage, last, plain, tool_calls, unsent, usage_of
from extproc.dialects.ollama_chat.wire import GENERATE, answer_id, finish_of, seconds, timestamp, word_of

_GOES_ON = re.compile(
    (
        rb'(?:\{"model": %b, "created_at": %b, "message": \{"role": "assistant", "content": %b(?:, "thinking": %b)?\}, "done": false\}\n)++'
        % (STRING, STRING, STRING, STRING)
    ).replace(b" ", b" ?")
)


class OllamaStreamDecoder:
    """Lines to events. After an error nothing more comes."""

    __slots__ = ("_calls", "_finished", "_id", "_index", "_losses", "_open", "_over", "_parser")

    def __init__(self) -> None:
        self._parser = NDJSONParser()
        self._losses = Losses()
        self._id = ""
        self._index = -1
        self._open: type | None = None
        self._calls = 0
        self._finished = self._over = False

    @property
    def losses(self) -> Sequence[Loss]:
        return self._losses

    def goes_on(self, data: bytes) -> bool:
        """Are `data` whole lines that only go on with a text? Who watches need not read them."""
        return self._parser.idle and _GOES_ON.fullmatch(data) is not None

    def feed(self, data: bytes) -> list[Event]:
        if self._over:
            return []
        try:
            lines = self._parser.feed(data)
        except UpstreamFormatError as error:
            return self._failed(error)
        return self._lines(lines)

    def close(self) -> list[Event]:
        return [] if self._over else self._lines(self._parser.close())

    def _failed(self, error: Exception) -> list[Event]:
        self._over = True
        assert isinstance(error, UpstreamFormatError)
        return [StreamError(error)]

    def _lines(self, lines: list[bytes]) -> list[Event]:
        out: list[Event] = []
        for line in lines:
            if self._over:
                break
            if self._finished:
                # behind a clean end nothing can fail any more
                self._losses.add("dropped:content", "behind the last line")
                break
            try:
                root = orjson.loads(line)
            except orjson.JSONDecodeError:
                return out + self._failed(UpstreamFormatError("a line of the provider's stream is not JSON"))
            if not isinstance(root, dict):
                return out + self._failed(UpstreamFormatError("a line of the provider's stream is not an object"))
            self._line(root, out)
        return out

    def _line(self, root: dict[str, JSON], out: list[Event]) -> None:
        if root.get("error"):
            self._over = True
            out.append(StreamError(error_of(root)))
            return
        if not self._id:
            model = root.get("model")
            self._id = answer_id(root)
            out.append(MessageStart(self._id, model if isinstance(model, str) else "", seconds(root.get("created_at"))))
        message = root.get("message")
        said = message if isinstance(message, dict) else {"content": root.get("response"), "thinking": root.get("thinking")}
        if root.get("logprobs"):
            self._losses.add("dropped:logprobs", "of the answer")
        for kind, name in ((Thinking, "thinking"), (Text, "content")):
            text = said.get(name)
            if isinstance(text, str) and text:
                self._text(kind, text, out)
        for call in tool_calls(said.get("tool_calls"), self._id, self._calls, self._losses):
            self._stop(out)
            self._calls += 1
            self._index += 1
            arguments, call.arguments = call.arguments, ""
            out += (BlockStart(self._index, call), BlockDelta(self._index, arguments), BlockStop(self._index))
        if root.get("done") is True:
            self._stop(out)
            self._finished = True
            usage = usage_of(root)
            if usage is not None:
                out.append(UsageUpdate(usage))
            out += (Finish(finish_of(root.get("done_reason"), called=self._calls > 0)), End())

    def _text(self, kind: type[Text | Thinking], text: str, out: list[Event]) -> None:
        if self._open is not kind:
            self._stop(out)
            self._index += 1
            self._open = kind
            out.append(BlockStart(self._index, kind("")))
        out.append(BlockDelta(self._index, text))

    def _stop(self, out: list[Event]) -> None:
        if self._open is not None:
            out.append(BlockStop(self._index))
            self._open = None


class _Call:
    """A call whose arguments are coming."""

    __slots__ = ("block", "pieces")

    def __init__(self, block: ToolCall) -> None:
        self.block = block
        self.pieces: list[str] = []


class OllamaStreamEncoder:
    """Events to lines. The last line comes on `End` behind a `Finish`, and never otherwise."""

    __slots__ = ("_blocks", "_calls", "_created", "_finish", "_losses", "_over", "_reply", "_signed", "_thought", "_usage")

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._losses = Losses()
        self._created = timestamp(reply.created)
        self._blocks: dict[int, type] = {}
        self._calls: dict[int, _Call] = {}
        self._thought: dict[int, tuple[Thinking, list[str]]] = {}
        self._signed: list[Thinking] = []
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._over = False

    @property
    def losses(self) -> Sequence[Loss]:
        return self._losses

    def encode(self, event: Event) -> bytes:
        if self._over:
            return b""
        match event:
            case BlockDelta():
                return self._delta(event)
            case BlockStart():
                return self._start(event)
            case BlockStop():
                return self._stop(event)
            case UsageUpdate():
                self._usage = event.usage
            case MessageStart():
                if event.created:
                    self._created = timestamp(event.created)
            case Finish():
                self._finish = self._finish or event
            case StreamError():
                self._over = True
                return encode_stream_error(event.error)
            case End():
                return self._end()
        return b""

    def _start(self, event: BlockStart) -> bytes:
        block = event.block
        self._blocks[event.index] = type(block)
        if isinstance(block, ToolCall):
            self._calls[event.index] = _Call(block)
            return b""
        if isinstance(block, Thinking):
            self._thought[event.index] = (Thinking("", block.opaque, block.redacted), [block.text])
            return self._line({"thinking": block.text}) if block.text else b""
        text = plain(block, self._losses)
        return self._line({"content": text}) if text else b""

    def _delta(self, event: BlockDelta) -> bytes:
        kind = self._blocks.get(event.index)
        call = self._calls.get(event.index)
        if call is not None:
            call.pieces.append(event.text)
            return b""
        if kind is Thinking:
            self._thought[event.index][1].append(event.text)
            return self._line({"thinking": event.text})
        if kind is Text or kind is Refusal:
            return self._line({"content": event.text})
        self._losses.add("dropped:delta")
        return b""

    def _stop(self, event: BlockStop) -> bytes:
        if self._blocks.pop(event.index, None) is Text and event.opaque is not None:
            self._losses.add("dropped:signature", "on text: the format has no place for it")
        known = self._thought.pop(event.index, None)
        if known is not None:
            thought, pieces = known
            thought.text = "".join(pieces)
            thought.opaque = event.opaque or thought.opaque
            self._signed.append(thought)
            return b""
        call = self._calls.pop(event.index, None)
        return b"" if call is None else self._call(call, event.opaque)

    def _call(self, call: _Call, opaque: Opaque | None) -> bytes:
        if self._reply.form == GENERATE:
            self._losses.add("dropped:tool_call", "a generated text has none")
            return b""
        block = call.block
        whole = ToolCall(block.id, block.name, block.arguments + "".join(call.pieces), opaque or block.opaque)
        signed, self._signed = self._signed, []
        return self._line({"content": "", "tool_calls": [encode_call(whole, signed, self._losses)]})

    def _line(self, said: dict[str, JSON]) -> bytes:
        head = {"model": self._reply.model, "created_at": self._created}
        if self._reply.form == GENERATE:
            return orjson.dumps(head | {"response": said.pop("content", "")} | said | {"done": False}) + b"\n"
        return orjson.dumps(head | {"message": {"role": "assistant", "content": ""} | said, "done": False}) + b"\n"

    def _end(self) -> bytes:
        finish = self._finish
        if finish is None:
            return b""
        # a call that never got its end is whole if its provider says that it is done
        out = b"".join(self._call(call, None) for call in self._calls.values())
        self._over = True
        word, same = word_of(finish.reason)
        if not same:
            self._losses.add("coerced:finish_reason", finish.reason.value)
        if finish.stop_sequence is not None:
            self._losses.add("dropped:stop_sequence")
        if finish.detail:
            self._losses.add("dropped:finish_detail", "the provider's own words for the end")
        unsent(self._signed, self._losses)
        said: dict[str, JSON] = {"response": ""} if self._reply.form == GENERATE else {"message": {"role": "assistant", "content": ""}}
        head = {"model": self._reply.model, "created_at": self._created}
        return out + orjson.dumps(head | said | last(word, encode_usage(self._usage, self._losses))) + b"\n"
