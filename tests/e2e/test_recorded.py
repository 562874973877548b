"""Answers that real providers streamed, played back in pieces of one and of seven bytes through the whole system, to the SDK of the same dialect and
to two others.

What the SDK makes of them must be what our own decoder says of the recording; in the same dialect also what the SDK makes of the bytes without us.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pytest

from extproc.core.ir import BlockStart, Event, FinishReason, StreamError, Text, Thinking, ToolCall
from extproc.dialects.catalog import DIALECTS
from tests.dialects import bedrock_recorded, cross
from tests.dialects.anthropic_recorded import needs_recordings
from tests.e2e.caller import Heard, Question, UnfinishedError
from tests.e2e.callers import CALLERS, GenaiArray
from tests.e2e.replay_stack import KINDS, Replaying, model_of, running_replaying
from tests.e2e.replay_upstream import Take

pytestmark = needs_recordings

LONGEST = 9_000
"""Bytes of a recording; longer ones take long in small pieces and show nothing new."""
LONGEST_BY_BYTE = 1_200


@dataclass(frozen=True)
class Recording:
    """`dialect` is the catalog's key, `events` what our decoder makes of it, `shows` what is special about it."""

    name: str
    dialect: str
    provider: str
    body: bytes
    events: tuple[Event, ...]
    shows: frozenset[str]

    @property
    def content_type(self) -> str:
        return "application/json" if self.body.lstrip()[:1] == b"[" else DIALECTS[self.dialect].stream_type

    @property
    def said(self) -> Heard | None:
        """What an application must hear; None where the stream failed."""
        finishes = {FinishReason.LENGTH: "length", FinishReason.CONTEXT_WINDOW: "length", FinishReason.TOOL_CALLS: "tools"}
        finishes |= {FinishReason.CONTENT_FILTER: "filtered", FinishReason.REFUSAL: "filtered"}
        if not {"finished"} <= self.shows or "error" in self.shows:
            return None
        meant = cross.meant(cross.gathered(list(self.events)))
        usage = meant["usage"] and meant["usage"][:2]
        finish = finishes.get(FinishReason(meant["finish"]), "stop")
        return Heard(meant["text"] + meant["refusal"], meant["thoughts"], meant["calls"], finish, usage)


def shown(body: bytes, events: list[Event]) -> frozenset[str]:
    found = {type(event.block).__name__ for event in events if isinstance(event, BlockStart)}
    calls = sum(isinstance(event, BlockStart) and isinstance(event.block, ToolCall) for event in events)
    response = cross.gathered(events)
    found |= {"calls"} if calls > 1 else set()
    found |= {"text and calls"} if calls and any(isinstance(b, Text) and b.text for b in response.blocks) else set()
    found |= {"signature"} if any(getattr(event, "opaque", None) for event in events) else set()
    found |= {"hidden thoughts"} if any(isinstance(b, Thinking) and b.redacted for b in response.blocks) else set()
    found |= {"error"} if any(isinstance(event, StreamError) for event in events) else set()
    found |= {"finished", f"finish {response.finish}"} if any(type(event).__name__ == "Finish" for event in events) else {"unfinished"}
    found |= {"CRLF"} if b"\r\n\r\n" in body else set()
    found |= {"array"} if body.lstrip()[:1] == b"[" else set()
    found |= {"not ASCII"} if not body.isascii() else set()
    found |= {"cached"} if response.usage and response.usage.cache_read else set()
    found |= {"reasoning counted"} if response.usage and response.usage.reasoning else set()
    return frozenset(found)


def recorded(name: str, dialect: str, provider: str, body: bytes) -> Recording:
    decoder = DIALECTS[dialect].stream_decoder()
    events = [*decoder.feed(body), *decoder.close()]
    return Recording(name, dialect, provider, body, tuple(events), shown(body, events))


def usable(recording: Recording) -> bool:
    """Other choices than the first are nobody's here, and content that only its own dialect has is a loss."""
    kinds = (Text, Thinking, ToolCall)
    foreign = [e for e in recording.events if isinstance(e, BlockStart) and not isinstance(e.block, kinds) and type(e.block).__name__ != "Refusal"]
    return not foreign and 0 < len(recording.body) <= LONGEST and b'"index":1,"delta"' not in recording.body


@cache
def sample() -> list[Recording]:
    """The shortest recording for everything that is special about one of a provider's: about forty of several hundred."""
    found = [recorded(e.name, e.dialect, e.provider, e.response) for e in cross.exchanges() if e.stream and e.status == 200]
    found += [
        recorded(e.name, "anthropic_messages@bedrock", "bedrock", e.response) for e in bedrock_recorded.invoke() if e.stream and e.status == 200
    ]
    found += [recorded(e.name, "anthropic_messages@vertex", "vertex", e.response) for e in bedrock_recorded.rawpredict() if e.stream]
    chosen: dict[tuple[str, str], Recording] = {}
    covered: set[tuple[str, str]] = set()
    for recording in sorted((r for r in found if usable(r)), key=lambda r: (len(r.body), r.name)):
        model = model_of(recording.dialect, recording.provider)
        new = {(recording.dialect, show) for show in recording.shows} - covered
        if new or not any(m == model for m, _ in chosen):
            covered |= new
            chosen[model, recording.name] = recording
    return list(chosen.values())


@pytest.fixture(scope="module")
def replaying() -> Iterator[Replaying]:
    with running_replaying() as stage:
        yield stage


def askers(recording: Recording) -> list[str]:
    """The SDK of its dialect, and two others: in turn, so that every two dialects meet."""
    dialect = recording.dialect.partition("@")[0]
    own = [name for name, caller in CALLERS.items() if caller.dialect == dialect]
    others = [name for name in CALLERS if name not in own]
    if dialect == "gemini":
        # an array is what nobody gets who asked for events, as we always do where we translate
        own = [GenaiArray.name] if "array" in recording.shows else [*own, GenaiArray.name]
    place = [r.name for r in sample()].index(recording.name) * 2
    return [*own, others[place % len(others)], others[(place + 1) % len(others)]]


@pytest.mark.parametrize("model", [model_of(*key) for key in KINDS])
def test_in_small_pieces(replaying: Replaying, model: str) -> None:
    failures: list[str] = []
    recordings = [r for r in sample() if model_of(r.dialect, r.provider) == model]
    assert recordings
    for recording in recordings:
        for size in (1, 7) if len(recording.body) <= LONGEST_BY_BYTE else (7,):
            for name in askers(recording):
                try:
                    judge(replaying, recording, name, size)
                except Exception as error:
                    failures.append(f"{recording.name} in pieces of {size} to {name}: {error!r}")
    assert not failures, "\n\n".join(failures)


def judge(replaying: Replaying, recording: Recording, name: str, size: int) -> None:
    caller, said = replaying.callers[name], recording.said
    words = replaying.upstream.play("recorded", Take(recording.body, content_type=recording.content_type, size=size, paced=True))
    model, question = model_of(recording.dialect, recording.provider), Question(words, stream=True)
    if said is None:
        with pytest.raises((UnfinishedError, *caller.errors)):
            caller.ask(model, question, "")
        return
    heard = caller.ask(model, question, "")
    # an SDK that has read the end may not wait for the last piece
    assert replaying.upstream.pieces >= -(-len(recording.body) // size) - 1, "pieces came together on their way"
    usage = said.usage
    if caller.dialect == recording.dialect and name != GenaiArray.name:
        words = replaying.upstream.play("whole", Take(recording.body, content_type=recording.content_type))
        usage = replaying.direct[name].ask(model, Question(words, stream=True), "").usage
    thoughts = "".join(heard.thoughts.split())
    assert (heard.text, heard.calls, heard.finish, thoughts, heard.usage) == (said.text, said.calls, said.finish, said.thoughts, usage)
