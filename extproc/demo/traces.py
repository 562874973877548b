"""The spans of each request of the demo, gathered from Envoy and the server, and what they tell: who was tried, what was lost, what it cost."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from extproc.telemetry import semconv
from extproc.telemetry.console import TraceCollector
from extproc.telemetry.tree import SpanView

PATIENCE = 3.0
"""Seconds until a trace counts as incomplete. Envoy and the server send their spans within a fraction of one."""


class Traces:
    """A `SpanSink`. `expect` a trace before its request, `arrived` waits for it; requests that nobody expects go to `on_other`."""

    def __init__(self) -> None:
        self.on_other: Callable[[list[SpanView]], None] = lambda _: None
        self._collector = TraceCollector(whole=True, patience=PATIENCE)
        self._expected: dict[str, asyncio.Future[list[SpanView]]] = {}

    def expect(self) -> tuple[str, str]:
        """A new trace: (its id, the `traceparent` that an instrumented application would send)."""
        trace_id = secrets.token_hex(16)
        self._expected[trace_id] = asyncio.get_running_loop().create_future()
        return trace_id, f"00-{trace_id}-{secrets.token_hex(8)}-01"

    async def arrived(self, trace_id: str) -> list[SpanView]:
        """The spans of an expected trace; empty if they did not come in time."""
        try:
            return await asyncio.wait_for(self._expected[trace_id], PATIENCE + 1.0)
        except TimeoutError:
            return []
        finally:
            del self._expected[trace_id]

    def receive(self, spans: list[SpanView]) -> None:
        self._hand_over(self._collector.add(spans, time.monotonic()))

    def tick(self) -> None:
        self._hand_over(self._collector.overdue(time.monotonic()))

    def shutdown(self) -> None:
        self._hand_over(self._collector.overdue(float("inf")))

    def _hand_over(self, requests: list[list[SpanView]]) -> None:
        for spans in requests:
            expected = self._expected.get(spans[0].trace_id)
            if expected is None:
                self.on_other(spans)
            elif not expected.done():
                expected.set_result(spans)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the chat span says. `cost` in US dollars, None if unknown; `seconds` is the server's whole time. `rule`, `rank_by`: how the target was
    chosen. `limited`: the limit that sent the request to another model."""

    model: str = ""
    target: str = ""
    attempts: int = 0
    tokens: tuple[int, int] | None = None
    cost: float | None = None
    losses: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str | None = None
    rule: str = ""
    rank_by: str = ""
    limited: str = ""


def facts_of(spans: list[SpanView]) -> Facts | None:
    """None if the server's span is not among them."""
    chat = next((span for span in spans if span.is_chat), None)
    if chat is None:
        return None
    get = chat.attributes.get
    read, written = get(semconv.GEN_AI_USAGE_INPUT_TOKENS), get(semconv.GEN_AI_USAGE_OUTPUT_TOKENS)
    return Facts(
        model=str(get(semconv.LLM_MODEL, "")),
        target=str(get(semconv.LLM_TARGET, "")),
        attempts=int(get(semconv.LLM_ATTEMPTS, 0)),
        tokens=None if read is None else (read, written or 0),
        cost=get(semconv.LLM_COST_USD),
        losses=tuple(get(semconv.LLM_LOSSES, ())),
        seconds=(chat.end_ns - chat.start_ns) / 1e9,
        error=get(semconv.ERROR_TYPE),
        rule=str(get(semconv.LLM_RULE, "")),
        rank_by=str(get(semconv.LLM_RANK_BY, "")),
        limited=str(get(semconv.LLM_LIMITED, "")),
    )


def is_whole(spans: list[SpanView], attempts: int) -> bool:
    """Are Envoy's spans and ours there, for the request and for each attempt?"""
    chat = next((span for span in spans if span.is_chat), None)
    tries = [span for span in spans if span.is_attempt]
    known = {span.span_id for span in spans}
    return chat is not None and chat.parent_id in known and len(tries) == attempts and all(link in known for s in tries for link in s.links)
