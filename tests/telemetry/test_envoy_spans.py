"""What the real Envoy exports is received and fits above our chat span."""

from __future__ import annotations

import asyncio
import threading

import httpx

from extproc.envoyconfig.options import Otlp
from extproc.telemetry.receiver import OtlpReceiver
from extproc.telemetry.tree import SpanView, render_tree
from tests.envoy_process import running_envoy
from tests.envoyconfig.registries import provider, registry, target
from tests.telemetry.records import CALLER, TRACE

ENOUGH = 5
"""Spans at which Envoy sends at once instead of waiting for its timer."""


def test_envoys_server_spans_arrive_and_render() -> None:
    """Without an ext_proc server every request is a local 503: one SERVER span each, continuing the caller's trace."""
    spans: list[SpanView] = []
    arrived = threading.Event()

    def take(batch: list[SpanView]) -> None:
        spans.extend(batch)
        if len(spans) >= ENOUGH:
            arrived.set()

    async def go() -> None:
        receiver = OtlpReceiver(take)
        port = await receiver.start()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, drive, f"http://127.0.0.1:{port}/v1/traces")
        await receiver.close()

    def drive(url: str) -> None:
        models = registry(target("a", provider("p", url=("http", "127.0.0.1", 9))))
        with running_envoy(models, otlp=Otlp(url), service_name="llm-sidecar-envoy") as envoy, httpx.Client() as client:
            for _ in range(ENOUGH):
                traceparent = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
                assert client.post(f"{envoy.url}/v1/chat/completions", json={"model": "chat"}, headers=traceparent).status_code == 503
            assert arrived.wait(20)

    asyncio.run(go())
    assert {(s.trace_id, s.parent_id, s.name, s.service) for s in spans} == {(TRACE, CALLER, "llm POST", "llm-sidecar-envoy")}
    span = spans[0]
    assert span.end_ns > span.start_ns
    assert not span.is_chat
    assert not span.is_attempt
    line = render_tree([span]).splitlines()[1]
    assert line.startswith("llm POST  ")
    assert "  503  " in line
    assert line.endswith("  (llm-sidecar-envoy)")
