"""Recorded exchanges of every dialect, and what becomes of each between every two dialects.

What a pair may do with an exchange: carry it exactly, carry it with losses that it names, or refuse it for a need that was named before
anything was tried. Everything else is wrong: an exception, a body that the other side's published schema does not allow, content that is
missing without a loss.
"""

from __future__ import annotations

import base64
import copy
import dataclasses
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from extproc.core.dialect import Ask, Facts, Reply
from extproc.core.errors import ApiError, BadRequestError, UntranslatableError
from extproc.core.ir import (
    Audio,
    Block,
    BlockDelta,
    BlockStart,
    Document,
    Event,
    Finish,
    FinishReason,
    Image,
    Loss,
    Message,
    Refusal,
    Request,
    Response,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    UsageUpdate,
    Video,
)
from extproc.dialects.catalog import DIALECTS
from extproc.routing.capabilities import lacking
from extproc.stages import pipes, upstream
from tests.dialects import anthropic_recorded, bedrock_recorded, chat_recorded, cohere_recorded, gemini_traffic, ollama_recorded, responses_recorded
from tests.golden.matrix import CLIENTS, TARGETS
from tests.validators.answers import ANSWERS, STREAMS
from tests.validators.requests import REQUESTS

UPSTREAMS = {name: target for name, target in TARGETS.items() if name in DIALECTS}
"""One reference target for each dialect."""
REPLY = Reply("reply-id", 1_700_000_000, "shown-model")
_REDACTED = re.compile(rb'"[^"]*REDACTED[^"]*"')
"""What the recordings cut short is no longer base64."""


@dataclass(frozen=True)
class Exchange:
    name: str
    provider: str
    dialect: str
    model: str
    request: Any
    status: int
    response: bytes
    stream: bool


@functools.cache
def exchanges() -> list[Exchange]:
    """Chat Completions of all vendors, Anthropic Messages, Gemini and Vertex."""
    found = [
        Exchange(e.name, e.provider, "openai_chat", e.model, e.request, e.status, _REDACTED.sub(b'"c2ln"', e.response), e.stream)
        for e in chat_recorded.exchanges()
    ]
    for record in anthropic_recorded.messages():
        body, answer = anthropic_recorded.body_of(record), record["response_body"]
        raw = answer.encode() if isinstance(answer, str) else orjson.dumps(answer)
        found.append(Exchange(record["name"], "anthropic", "anthropic_messages", body["model"], body, record["status"], raw, record["streaming"]))
    for e in gemini_traffic.exchanges():
        found.append(Exchange(e.name, "gemini", "gemini", e.model, orjson.loads(e.request) | {"model": e.model}, e.status, e.response, e.stream))
    found += [
        Exchange(c.name, "cohere", "cohere_chat", c.request["model"], c.request, c.status, c.response, c.stream) for c in cohere_recorded.chats()
    ]
    found += [
        Exchange(e.name, "ollama", "ollama_chat", e.model, e.request, e.status, e.response, e.stream)
        for e in ollama_recorded.exchanges()
        if e.path == "/api/chat"
    ]
    found += [
        Exchange(e.name, "bedrock", "bedrock_converse", e.model, e.request, e.status, e.response, e.stream) for e in bedrock_recorded.converse()
    ]
    found += [
        Exchange(e.name, e.provider, "openai_responses", e.model, e.request, e.status, _REDACTED.sub(b'"c2ln"', e.response), e.stream)
        for e in responses_recorded.exchanges()
    ]
    return found


@dataclass
class Outcome:
    """`kind` is exact, losses, refused or wrong; `why` says it in words."""

    kind: str
    why: str = ""
    losses: list[Loss] = field(default_factory=list)

    @property
    def codes(self) -> list[str]:
        return sorted({loss.code for loss in self.losses})


def _carried(losses: list[Loss], missing: list[str]) -> Outcome:
    if missing:
        return Outcome("wrong", f"missing without a loss: {missing[:3]}", losses)
    return Outcome("losses" if losses else "exact", losses=losses)


# requests

_CHANGES_CONTENT = re.compile(
    r"signature:|coerced:(system|tool_(?!schema)|document|content_parts|refusal|first_turn|assistant|prefill|trailing|json_object|response_format|thought|allowed)"
    r"|dropped:(tool_error|empty|thinking|document|citations|assistant|system|foreign|reasoning)"
)
"""Losses after which the history is not the one that the client sent."""


def _result(texts: list[str]) -> Any:
    """A result's words; where they are JSON, which Gemini takes as JSON, what the JSON says."""
    text = "\n".join(texts)
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    if isinstance(parsed, dict) and parsed.keys() == {"result"}:
        parsed = parsed["result"]
    return "\n".join(parsed) if isinstance(parsed, list) and all(isinstance(p, str) for p in parsed) else str(parsed)


def said(messages: list[Message]) -> Iterator[tuple[Any, ...]]:
    """What a history says, whatever dialect it is written in: turns apart, blocks in order, results in the order of their ids."""
    results: list[tuple[Any, ...]] = []
    for message in messages:
        role = "system" if message.role in (Role.SYSTEM, Role.DEVELOPER) else message.role.value
        for block in message.blocks:
            match block:
                case ToolResult():
                    results.append(("result", block.id, _result([b.text for b in block.content if isinstance(b, Text)]), block.is_error))
                    continue
                case Text(text=text) if text:
                    one: tuple[Any, ...] = (role, "text", text)
                case Refusal(text=text):
                    one = (role, "refusal", text)
                case ToolCall():
                    one = (role, "call", block.id, block.name, orjson.loads(block.arguments or "{}"))
                case Document(source=source) if source.text is not None:
                    one = (role, "media", base64.b64encode(source.text.encode()).decode())
                case Image() | Document() | Audio() | Video():
                    one = (role, "media", block.source.data or block.source.url)
                case _:
                    continue
            yield from sorted(results)
            results = []
            yield one
    yield from sorted(results)


def _cut_ids(messages: list[Message]) -> bool:
    """Does the history hold ids that are too long for Chat Completions, so that they are mapped there?"""
    return any(isinstance(block, ToolCall) and len(block.id) > 40 for message in messages for block in message.blocks)


def _numbered(messages: list[Message]) -> list[Message]:
    """The history with numbers in place of its ids: what belongs together still does."""
    numbers: dict[str, str] = {}
    return [
        dataclasses.replace(
            message,
            blocks=[
                dataclasses.replace(block, id=numbers.setdefault(block.id, f"#{len(numbers)}")) if isinstance(block, ToolCall | ToolResult) else block
                for block in message.blocks
            ],
        )
        for message in messages
    ]


def _unsaid(source: Request, dialect: str, body: bytes) -> list[str]:
    """What `body` does not say of what `source` says."""
    again = DIALECTS[dialect].decode_request(orjson.loads(body) | {"model": "m"})
    # ids that the other format cuts, or has none of
    numbered = _cut_ids(source.messages) or dialect == "ollama_chat"
    before, after = [list(said(_numbered(r.messages) if numbered else r.messages)) for r in (source, again)]
    return [str(one)[:120] for one in before if one not in after] + (
        ["order"] if before != after and sorted(map(str, before)) == sorted(map(str, after)) else []
    )


def translate_request(exchange: Exchange, to: str) -> Outcome:
    """One recorded request for the reference target of another dialect."""
    client, target = DIALECTS[exchange.dialect], UPSTREAMS[to]
    dialect = DIALECTS[to]
    missing = lacking(target, client, dialect, client.needs(exchange.request))
    ask = Ask(exchange.model, exchange.stream)
    try:
        built = upstream.encode(orjson.dumps(exchange.request), exchange.request, client, dialect, target.facts, ask)
    except UntranslatableError as error:
        return Outcome("refused", ",".join(missing)) if missing else Outcome("wrong", f"no need named: {error.message}")
    except BadRequestError as error:
        # what its own provider refused too, or what this one refuses of any client
        return (
            Outcome("refused", "bad_request") if exchange.status >= 400 or missing else Outcome("wrong", f"400 for what was a 200: {error.message}")
        )
    except Exception as error:
        return Outcome("wrong", repr(error))
    if missing:
        return Outcome("refused", ",".join(missing))
    try:
        REQUESTS[to](_REDACTED.sub(b'"c2ln"', built.body))
    except (AssertionError, ValueError) as error:
        return Outcome("wrong", f"invalid: {error}"[:300], built.losses)
    changed = any(_CHANGES_CONTENT.match(loss.code) for loss in built.losses)
    return _carried(built.losses, [] if changed else _unsaid(client.decode_request(exchange.request), to, built.body))


# answers


def meant(response: Response) -> dict[str, Any]:
    """What an answer says, whatever dialect it is written in."""
    out: dict[str, Any] = {"text": "", "thoughts": "", "refusal": "", "calls": [], "finish": response.finish.value}
    for block in response.blocks:
        match block:
            case Text():
                out["text"] += block.text
            case Refusal():
                out["refusal"] += block.text
            case Thinking():
                out["thoughts"] += "".join(block.text.split())
            case ToolCall():
                out["calls"].append((block.name, orjson.loads(block.arguments or "{}")))
    usage = response.usage
    out["usage"] = (usage.input_tokens, usage.output_tokens, usage.cache_read, usage.reasoning) if usage else None
    return out


_SAME = {"context_window": "length", "refusal": "content_filter"}
"""Finish reasons that one dialect has one word for."""


def _unmeant(source: Response, result: Response, losses: list[Loss]) -> list[str]:
    before, after = meant(source), meant(result)
    for one in (before, after):
        one["finish"] = _SAME.get(one["finish"], one["finish"])
    named = " ".join(loss.code for loss in losses)
    explained = {"finish": "coerced:finish_reason", "usage": ":usage", "calls": "coerced:tool_arguments", "refusal": "coerced:refusal"}
    if "dropped:stop_sequence" in named:
        before["finish"] = "stop"
    if "coerced:refusal" in named:
        before["text"], after["finish"] = before["text"] + before["refusal"], before["finish"]
    return [name for name in before if before[name] != after[name] and explained.get(name, "?") not in named]


def translate_answer(exchange: Exchange, to: str) -> Outcome:
    """One recorded answer for a client of another dialect, as it came: whole or as a stream."""
    if exchange.stream:
        return _stream(exchange, to)
    client, dialect = DIALECTS[to], DIALECTS[exchange.dialect]
    try:
        body, _, seen = pipes.translate_whole(exchange.response, client, dialect, REPLY, stream=False)
        as_stream, _, streamed = pipes.translate_whole(exchange.response, client, dialect, REPLY, stream=True)
        ANSWERS[to](body)
        folded = STREAMS[to](as_stream)
    except ApiError as error:
        return Outcome("refused", f"error: {error.kind.value}") if b'"error"' in exchange.response else Outcome("wrong", repr(error))
    except Exception as error:
        return Outcome("wrong", f"{error!r}"[:300])
    if folded is None:
        return Outcome("wrong", "the same answer as a stream ends in an error")
    source, result = dialect.decode_response(exchange.response), client.decode_response(body)
    missing = _unmeant(source, result, seen.losses)
    missing += [f"streamed {m}" for m in _unmeant(source, client.decode_response(orjson.dumps(folded)), streamed.losses)]
    return _carried(seen.losses, missing)


def _stream(exchange: Exchange, to: str) -> Outcome:
    client, dialect = DIALECTS[to], DIALECTS[exchange.dialect]
    pipe = pipes.TranslatedStream(client, dialect, REPLY)
    raw = exchange.response
    try:
        out = b"".join(pipe.feed(raw[i : i + 1000], end=i + 1000 >= len(raw)) for i in range(0, max(len(raw), 1), 1000))
        folded = STREAMS[to](out)
    except Exception as error:
        return Outcome("wrong", f"{error!r}"[:300])
    seen = pipe.seen
    if (folded is None) != (seen.error is not None):
        return Outcome("wrong", "a failure looks whole, or the other way round", seen.losses)
    if folded is None:
        return Outcome("refused", f"error: {seen.error.kind.value}" if seen.error else "", seen.losses)
    decoder = dialect.stream_decoder()
    source = gathered([*decoder.feed(raw), *decoder.close()])
    return _carried(seen.losses, _unmeant(source, client.decode_response(orjson.dumps(folded)), seen.losses))


def gathered(events: list[Event]) -> Response:
    """A stream's events as one answer."""
    blocks: dict[int, Block] = {}
    out = Response("", "", [], FinishReason.OTHER)
    for event in events:
        match event:
            case BlockStart(index=index, block=block):
                blocks[index] = copy.copy(block)
            case BlockDelta(index=index, text=text):
                block = blocks[index]
                if isinstance(block, ToolCall):
                    block.arguments += text
                elif isinstance(block, Text | Refusal | Thinking):
                    block.text += text
            case UsageUpdate():
                out.usage = event.usage
            case Finish():
                out.finish = event.reason
    out.blocks = [blocks[index] for index in sorted(blocks)]
    return out


def pairs() -> Iterator[tuple[str, Exchange, str]]:
    """("request" or "answer", exchange, the other dialect) for all that there is."""
    for exchange in exchanges():
        for to in UPSTREAMS:
            if to != exchange.dialect:
                yield "request", exchange, to
        for client in CLIENTS:
            if client != exchange.dialect and exchange.status == 200 and exchange.response.strip():
                yield "answer", exchange, client


def outcome(direction: str, exchange: Exchange, to: str) -> Outcome:
    return translate_request(exchange, to) if direction == "request" else translate_answer(exchange, to)


def facts_of(exchange: Exchange) -> Facts:
    """The vendor that an exchange was recorded at, as a target."""
    if exchange.provider == "bedrock":
        return Facts(exchange.model, "anthropic" if "anthropic." in exchange.model else "bedrock")
    quirks = {"openrouter": {"reasoning_details"}, "deepseek": {"reasoning_content_history"}}.get(exchange.provider, set())
    return Facts(exchange.model, exchange.provider, quirks=frozenset(quirks))
