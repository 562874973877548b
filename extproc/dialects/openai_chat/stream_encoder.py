"""Events to a stream of Chat Completions chunks. Total over every order of events that a decoder can give.

`[DONE]` comes only on `End` behind a `Finish`: a truncated answer must not look whole. Signed thoughts ride in the id of the call that they
led to (see `core.carrier`), so a thought's text is kept until then. A call's own signature may come only with its `BlockStop`, but its id
goes first: so a call is held back until its second piece of arguments. Vendors that sign calls send them whole. Mistral sends every call
whole, and its SDK refuses a piece without a name: its clients (form "mistral") get each call in one piece.
Reference: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from extproc.core import carrier
from extproc.core.dialect import Reply
from extproc.core.ir import (
    JSON,
    Audio,
    BlockDelta,
    BlockStart,
    BlockStop,
    Document,
    End,
    Event,
    Finish,
    Foreign,
    Image,
    Loss,
    MessageStart,
    Opaque,
    Refusal,
    StreamError,
    Text,
    Thinking,
    ToolCall,
    UsageUpdate,
    Video,
)
from extproc.core.losses import Losses
from extproc.core.usage import Usage
from extproc.dialects.openai_chat.content import MISTRAL, NAME, image_part
from extproc.dialects.openai_chat.errors import encode_stream_error
from extproc.dialects.openai_chat.usage import COERCED, encode_finish, encode_usage

_MEMBERS = {Text: b"content", Refusal: b"refusal", Thinking: b"reasoning_content"}


class _Block:
    """An open block: the texts of a thought, a call with its place among the calls, and whether the call has been told to the client."""

    __slots__ = ("call", "kind", "opaque", "place", "texts", "told")

    def __init__(self, kind: type, opaque: Opaque | None) -> None:
        self.kind = kind
        self.opaque = opaque
        self.texts: list[str] = []
        self.call: ToolCall | None = None
        self.place = 0
        self.told = False


class ChatStreamEncoder:
    """One stream to one client."""

    __slots__ = (
        "_blocks",
        "_calls",
        "_finished",
        "_head",
        "_held",
        "_losses",
        "_over",
        "_refused",
        "_reply",
        "_signed",
        "_started",
        "_tail",
        "_thought",
        "_usage",
        "_whole",
    )

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._losses = Losses()
        self._blocks: dict[int, _Block] = {}
        self._calls = 0
        self._held: _Block | None = None
        self._signed: list[Thinking] = []
        self._usage: Usage | None = None
        self._thought = self._refused = self._started = self._finished = self._over = False
        self._head = b""
        self._whole = reply.form == MISTRAL
        self._tail = b',"usage":null}\n\n' if reply.include_usage and not self._whole else b"}\n\n"

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
                return b""
            case MessageStart():
                return self._begin(event.id, event.created)
            case Finish():
                return self._finish(event)
            case StreamError():
                self._over = True
                return encode_stream_error(event.error)
            case End():
                return self._end()

    def _begin(self, answer: str, created: int | None) -> bytes:
        """The chunk with the role, once; an answer without a `MessageStart` gets it before its first content."""
        if self._started:
            return b""
        self._started = True
        named = {
            "id": answer or self._reply.id,
            "object": "chat.completion.chunk",
            "created": self._reply.created if created is None else created,
            "model": self._reply.model,
        }
        self._head = b"data: " + orjson.dumps(named)[:-1] + b',"choices":['
        return self._chunk(b'{"role":"assistant","content":"","refusal":null}')

    def _chunk(self, delta: bytes, finish: bytes = b"null") -> bytes:
        return b'%b{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]%b' % (self._head, delta, finish, self._tail)

    def _say(self, delta: bytes) -> bytes:
        return self._chunk(delta) if self._started else self._begin("", None) + self._chunk(delta)

    def _start(self, event: BlockStart) -> bytes:
        return self._tell() + self._open(event) if self._held is not None else self._open(event)

    def _open(self, event: BlockStart) -> bytes:
        block = event.block
        match block:
            case Text() | Refusal() | Thinking():
                known = self._blocks[event.index] = _Block(type(block), block.opaque if not isinstance(block, Refusal) else None)
                if isinstance(block, Text) and block.citations:
                    self._losses.add("dropped:citations", "in a stream")
                if isinstance(block, Thinking) and self._thought and not block.redacted:
                    # a second thought is a paragraph of its own in the one text that the client sees
                    return self._text(known, "\n\n" + block.text, block.text)
                return self._text(known, block.text, block.text) if block.text else b""
            case ToolCall():
                return self._call(event.index, block)
            case Image() if block.source.file_id is None:
                return self._say(orjson.dumps({"images": [image_part(block)]}))
            case Foreign() if block.dialect == NAME and block.kind == "audio":
                return self._say(orjson.dumps({"audio": block.raw}))
            case Foreign() if block.dialect == NAME and block.kind == "custom_tool_call":
                return self._say(orjson.dumps({"tool_calls": [block.raw]}))
            case Foreign():
                self._losses.add("dropped:foreign_block", f"{block.kind[:64]} of {block.dialect}")
            case Image() | Audio() | Document() | Video():
                self._losses.add(f"dropped:{type(block).__name__.lower()}")
            case _:
                self._losses.add("dropped:block")
        return b""

    def _call(self, index: int, block: ToolCall) -> bytes:
        known = self._blocks[index] = _Block(ToolCall, block.opaque)
        known.call = block
        known.place = self._calls
        self._calls += 1
        if block.arguments:
            known.texts.append(block.arguments)
        if self._reply.functions and known.place:
            self._losses.add("dropped:parallel_tool_calls", "the older form has one call at a time")
        if self._whole:
            return b""
        self._held = known
        return self._tell() if block.opaque is not None else b""

    def _tell(self) -> bytes:
        """The held call, with what came of its arguments."""
        known, self._held = self._held, None
        if known is None or known.call is None:
            return b""
        known.told = True
        call, text = known.call, "".join(known.texts)
        if self._reply.functions:
            if known.place:
                return b""
            first: JSON = {"function_call": {"name": call.name, "arguments": ""}}
        else:
            ident = carrier.join(call.id, known.opaque, self._signed)
            self._signed = []
            said, text = (text, "") if self._whole else ("", text)
            first = {"tool_calls": [{"index": known.place, "id": ident, "type": "function", "function": {"name": call.name, "arguments": said}}]}
        out = self._say(orjson.dumps(first))
        return out + self._arguments(known, text) if text else out

    def _arguments(self, known: _Block, text: str) -> bytes:
        if self._reply.functions:
            return b"" if known.place else self._chunk(b'{"function_call":{"arguments":%b}}' % orjson.dumps(text))
        return self._chunk(b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (known.place, orjson.dumps(text)))

    def _more(self, known: _Block, text: str) -> bytes:
        """More arguments. Past the first piece only whether there were any is kept."""
        if known.told:
            known.texts = known.texts or [""]
            return self._arguments(known, text)
        known.texts.append(text)
        return self._tell() if len(known.texts) > 1 and not self._whole else b""

    def _text(self, known: _Block, shown: str, text: str) -> bytes:
        if known.kind is Thinking:
            self._thought = True
            known.texts.append(text)
        elif known.kind is Refusal:
            self._refused = True
        return self._say(b'{"%b":%b}' % (_MEMBERS[known.kind], orjson.dumps(shown)))

    def _delta(self, event: BlockDelta) -> bytes:
        known = self._blocks.get(event.index)
        if known is None or not event.text:
            return b""
        if known.kind is ToolCall:
            return self._more(known, event.text)
        return self._text(known, event.text, event.text)

    def _stop(self, event: BlockStop) -> bytes:
        known = self._blocks.pop(event.index, None)
        if known is None:
            return b""
        opaque = event.opaque or known.opaque
        if known.kind is Thinking:
            if opaque is not None:
                text = "".join(known.texts)
                self._signed.append(Thinking(text, opaque, redacted=not text))
        elif known.kind is ToolCall:
            if not known.told:
                known.opaque = opaque
                known.texts = known.texts or ["{}"]
                self._held = known
                return self._tell()
            if event.opaque is not None and event.opaque != known.opaque:
                self._losses.add("dropped:signature", "it came behind the id that would carry it")
            if not known.texts:
                return self._arguments(known, "{}")
        elif opaque is not None:
            self._losses.add("dropped:signature", "on text: the format has no place for it")
        return b""

    def _finish(self, event: Finish) -> bytes:
        if self._finished:
            return b""
        self._finished = True
        told = self._tell()
        for known in self._blocks.values() if self._whole else ():
            if known.kind is ToolCall and not known.told:
                self._held = known
                told += self._tell()
        if self._signed:
            self._losses.add("dropped:signature", "thoughts that no tool call follows")
        if event.reason in COERCED:
            self._losses.add("coerced:finish_reason", event.reason.value)
        if event.stop_sequence is not None:
            self._losses.add("dropped:stop_sequence", "the answer does not say which one matched")
        if event.detail is not None:
            self._losses.add("dropped:finish_detail", "the provider's own words for the end")
        word = encode_finish(event.reason, refused=self._refused, functions=self._reply.functions)
        return told + self._begin("", None) + self._chunk(b"{}", b'"%b"' % word.encode())

    def _end(self) -> bytes:
        self._over = True
        if not self._finished:
            return b""
        usage = b""
        # Mistral counts unasked
        if (self._reply.include_usage or self._whole) and self._usage is not None:
            usage = self._head + b'],"usage":' + orjson.dumps(encode_usage(self._usage)) + b"}\n\n"
        return usage + b"data: [DONE]\n\n"
