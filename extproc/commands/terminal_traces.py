"""Traces on this terminal: a receiver on loopback, and the environment that makes Envoy and the servers send their spans to it.

For the commands that start both (`up --trace-console`, `demo`). The caller's own OTEL_* settings are replaced for the children only; a setting of
his that would send spans elsewhere, or nowhere, must not survive beside ours, and he must be told about an endpoint that is not used.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Protocol

from extproc.envoyconfig.sources import Sources
from extproc.telemetry.receiver import OtlpReceiver
from extproc.telemetry.tree import SpanView

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_REPLACED = ("OTEL_EXPORTER_OTLP_", "OTEL_TRACES_EXPORTER", "OTEL_TRACES_SAMPLER", "OTEL_SDK_DISABLED")
"""Beginnings of the variables that decide whether spans are made, which of them, and where they go."""
_TICK = 0.2
_EXPORT_EVERY_MS = "20"


class SpanSink(Protocol):
    """What spans are handed to, on the event loop. `tick` is called several times a second, `shutdown` once, when no more will come."""

    def receive(self, spans: list[SpanView]) -> None: ...
    def tick(self) -> None: ...
    def shutdown(self) -> None: ...


def own_endpoint(environ: Mapping[str, str]) -> str | None:
    """`NAME=value` of the collector that the environment names, None if it names none."""
    return next((f"{name}={environ[name]}" for name in _ENDPOINTS if environ.get(name)), None)


def towards(environ: Mapping[str, str], port: int) -> dict[str, str]:
    """`environ` with everything that concerns the export of traces replaced by the receiver at `port`."""
    kept = {name: value for name, value in environ.items() if not name.startswith(_REPLACED)}
    # the exporter would otherwise ask a proxy for a loopback address
    direct = ",".join(part for part in (kept.get("no_proxy") or kept.get("NO_PROXY"), "127.0.0.1") if part)
    return kept | {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_BSP_SCHEDULE_DELAY": _EXPORT_EVERY_MS,
        "NO_PROXY": direct,
        "no_proxy": direct,
    }


def with_prompt_spans(sources: Sources) -> Sources:
    """`sources` with an Envoy that sends each span at once. Where it collects them, a person would wait."""
    data = sources.bootstrap.data
    runtime = data.get("layered_runtime") or {}
    flags = {"tracing.opentelemetry.min_flush_spans": 1, "tracing.opentelemetry.flush_interval_ms": 100}
    # of several layers the last one counts
    layers = [*(runtime.get("layers") or []), {"name": "terminal_traces", "static_layer": flags}]
    return replace(sources, bootstrap=replace(sources.bootstrap, data={**data, "layered_runtime": {**runtime, "layers": layers}}))


@asynccontextmanager
async def receiving(sink: SpanSink) -> AsyncIterator[int]:
    """Hands all spans that arrive to `sink`; yields the receiver's port. At the end the sink is shut down."""
    receiver = OtlpReceiver(sink.receive)
    port = await receiver.start()
    ticker = asyncio.create_task(_tick(sink))
    try:
        yield port
    finally:
        ticker.cancel()
        await receiver.close()
        sink.shutdown()


async def _tick(sink: SpanSink) -> None:
    while True:
        await asyncio.sleep(_TICK)
        sink.tick()
