"""`--trace-console`: each request's spans as a tree on the terminal, when the request has ended.

Spans come from this process (as a span processor) and, where `receive` is fed by `telemetry.receiver`, from Envoy and from other server
processes. Those arrive seconds later, in batches; so with `whole` a tree waits until Envoy's spans are there, or until patience runs out.
Memory is bounded.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import TextIO

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from extproc.telemetry import semconv
from extproc.telemetry.tree import SpanView, render_tree

PATIENCE = 12.0
"""Seconds to wait for Envoy's spans, which it sends every five seconds."""

_MAX_SPANS = 4096


class TraceCollector:
    """Pending spans and the rule for when a request's are complete. No clock: `now` is in seconds on any steady one."""

    def __init__(self, *, whole: bool = False, patience: float = PATIENCE, max_spans: int = _MAX_SPANS) -> None:
        self._whole = whole
        self._patience = patience
        self._max_spans = max_spans
        self._spans: dict[str, tuple[SpanView, float]] = {}
        """By span id, in order of arrival."""

    def __len__(self) -> int:
        return len(self._spans)

    def add(self, spans: Iterable[SpanView], now: float) -> list[list[SpanView]]:
        """Takes spans in; returns the requests that are complete now, each as its spans."""
        traces: dict[str, None] = {}
        for span in spans:
            self._spans[span.span_id] = (span, now)
            traces[span.trace_id] = None
        done = [unit for trace_id in traces for unit in self._complete(trace_id)]
        while len(self._spans) > self._max_spans:
            done.append(self._take(next(iter(self._spans.values()))[0]))
        return done

    def overdue(self, now: float) -> list[list[SpanView]]:
        """Gives up waiting: the requests whose first span is older than the patience."""
        done = []
        for span, since in list(self._spans.values()):
            if now - since < self._patience:
                break
            if span.span_id in self._spans:
                done.append(self._take(self._chat_near(span)))
        return done

    def _complete(self, trace_id: str) -> list[list[SpanView]]:
        members = self._members(trace_id)
        chats = [span for span in members.values() if span.is_chat]
        ready = [chat for chat in chats if not self._whole or self._is_whole(chat, members)]
        return [self._take(chat) for chat in ready if chat.span_id in self._spans]

    def _is_whole(self, chat: SpanView, members: dict[str, SpanView]) -> bool:
        attempts = [s for s in members.values() if s.parent_id == chat.span_id]
        expected = chat.attributes.get(semconv.LLM_ATTEMPTS, 0)
        have_links = all(link in members for attempt in attempts for link in attempt.links)
        return have_links and len(attempts) >= expected and (not chat.parent_id or chat.parent_id in members)

    def _chat_near(self, span: SpanView) -> SpanView:
        """The chat span that `span` belongs to, so that one request is not printed in pieces; else `span` itself."""
        members = self._members(span.trace_id)
        for chat in members.values():
            if chat.is_chat and (span.span_id == chat.parent_id or span.parent_id in (chat.span_id, chat.parent_id)):
                return chat
        return span

    def _members(self, trace_id: str) -> dict[str, SpanView]:
        return {key: span for key, (span, _) in self._spans.items() if span.trace_id == trace_id}

    def _take(self, span: SpanView) -> list[SpanView]:
        """Removes one request: the span, its parent if that is here, everything below either, and what those link to."""
        members = self._members(span.trace_id)
        unit = {span.span_id}
        if span.parent_id in members:
            unit.add(span.parent_id)
        grown = True
        while grown:
            more = {s.span_id for s in members.values() if s.parent_id in unit}
            more |= {link for key in unit for link in members[key].links if link in members}
            grown = not more <= unit
            unit |= more
        return [self._spans.pop(key)[0] for key in members if key in unit]


class ConsoleTree(SpanProcessor):
    """Prints trees with `write`, in colour if `colour` (see `wants_colour`). Safe to call from several threads.

    `whole`: wait for Envoy's spans; they come by `receive`, and `tick` must be called now and then.
    """

    def __init__(
        self,
        write: Callable[[str], object],
        *,
        colour: bool = False,
        whole: bool = False,
        clock: Callable[[], float] = time.monotonic,
        patience: float = PATIENCE,
    ) -> None:
        self._write = write
        self._colour = colour
        self._clock = clock
        self._collector = TraceCollector(whole=whole, patience=patience)
        self._lock = threading.Lock()

    def on_end(self, span: ReadableSpan) -> None:
        """A span of this process has ended."""
        if span.context is not None and span.context.trace_flags.sampled:
            self.receive([view_of(span)])

    def receive(self, spans: Iterable[SpanView]) -> None:
        """Spans have arrived from elsewhere."""
        with self._lock:
            self._print(self._collector.add(spans, self._clock()))

    def tick(self) -> None:
        """Prints what has waited too long. Call it about once a second where `whole` is set."""
        with self._lock:
            self._print(self._collector.overdue(self._clock()))

    def shutdown(self) -> None:
        """Prints what is left."""
        with self._lock:
            self._print(self._collector.overdue(float("inf")))

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002  # the SDK's signature
        return True

    def _print(self, units: list[list[SpanView]]) -> None:
        for unit in units:
            self._write(render_tree(unit, colour=self._colour) + "\n")


def wants_colour(stream: TextIO) -> bool:
    """A terminal that has not asked for plain text (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def view_of(span: ReadableSpan) -> SpanView:
    """An SDK span in the form that trees are made of."""
    context = span.context
    if context is None:
        raise ValueError("a span without a context")
    return SpanView(
        trace_id=f"{context.trace_id:032x}",
        span_id=f"{context.span_id:016x}",
        name=span.name,
        start_ns=span.start_time or 0,
        end_ns=span.end_time or 0,
        parent_id=f"{span.parent.span_id:016x}" if span.parent else "",
        service=str(span.resource.attributes.get("service.name", "")),
        failed=not span.status.is_ok,
        attributes=dict(span.attributes or {}),
        links=tuple(f"{link.context.span_id:016x}" for link in span.links),
    )
