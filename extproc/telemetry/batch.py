"""The SDK's batch processor, with the two things that it lacks: a count of lost spans, and an end that can be forced.

Ended spans wait in the SDK's bounded queue for its own thread; nothing on the request's path waits for the network. Imported only when there is an
exporter, because this module needs the SDK.
"""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult


class _CountedExporter(SpanExporter):
    """Counts what the queue handed over, and what did not arrive. `shutdown` may come from two threads and acts once."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self._open = True
        self.taken = 0
        self.failed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self._inner.export(spans)
        finally:
            if result is not SpanExportResult.SUCCESS:
                self.failed += len(spans)
        return result

    def shutdown(self) -> None:
        was_open, self._open = self._open, False
        if was_open:
            self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


class CountedBatchProcessor(BatchSpanProcessor):
    """`queue` spans wait at most, `batch` go out together, every `delay` milliseconds. A full queue loses its oldest span for each new one."""

    def __init__(self, exporter: SpanExporter, queue: int, batch: int, delay: int) -> None:
        self._counted = _CountedExporter(exporter)
        self._capacity = queue
        self._accepted = 0
        self._overflowed = 0
        super().__init__(self._counted, queue, delay, batch)

    @property
    def lost(self) -> int:
        """Spans that the queue had no room for, and spans whose export failed."""
        return self._overflowed + self._counted.failed

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is not None and span.context.trace_flags.sampled:
            if self._accepted - self._overflowed - self._counted.taken >= self._capacity:
                self._overflowed += 1
            self._accepted += 1
        super().on_end(span)

    def abort(self) -> None:
        """Gives up a running export and its retries."""
        self._counted.shutdown()
