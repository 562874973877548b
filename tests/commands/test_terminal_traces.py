"""What the children of `up --trace-console` and of the demo get as their environment and as Envoy's runtime, and what becomes of the spans."""

import asyncio

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from extproc.commands.arguments import otlp_of
from extproc.commands.terminal_traces import own_endpoint, receiving, towards, with_prompt_spans
from extproc.envoyconfig.sources import load_sources
from extproc.telemetry.tree import SpanView
from tests.envoyconfig.files import REMOVED, edited

ELSEWHERE = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector:4317",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://other:4318/v1/traces",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=secret",
    "OTEL_EXPORTER_OTLP_COMPRESSION": "zstd",
    "OTEL_TRACES_EXPORTER": "none",
    "OTEL_TRACES_SAMPLER": "always_off",
    "OTEL_SDK_DISABLED": "true",
}


@pytest.mark.parametrize("name", [*ELSEWHERE, None])
def test_no_setting_of_the_users_diverts_the_spans(name: str | None) -> None:
    given = ELSEWHERE if name is None else {name: ELSEWHERE[name]}
    environ = {**given, "PATH": "/bin", "OTEL_SERVICE_NAME": "mine", "NO_PROXY": "internal"}
    before = dict(environ)
    made = towards(environ, 4000)
    assert environ == before
    otlp = otlp_of(made)
    assert otlp is not None
    assert (otlp.url, otlp.grpc, otlp.headers) == ("http://127.0.0.1:4000/v1/traces", False, ())
    assert {k: v for k, v in made.items() if k.startswith("OTEL_")} == {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4000",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_BSP_SCHEDULE_DELAY": "20",
        "OTEL_SERVICE_NAME": "mine",
    }
    assert made["PATH"] == "/bin"
    assert made["NO_PROXY"] == made["no_proxy"] == "internal,127.0.0.1"


def test_the_users_endpoint_is_named() -> None:
    assert own_endpoint({}) is None
    assert own_endpoint({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}) is None
    assert own_endpoint(ELSEWHERE) == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://other:4318/v1/traces"


@pytest.mark.parametrize("value", [REMOVED, {"layers": [{"name": "mine", "static_layer": {"a": 1}}]}])
def test_envoys_runtime_gets_a_last_layer(value: object) -> None:
    sources = edited("bootstrap", ("layered_runtime",), value) if value is not REMOVED else load_sources()
    layers = with_prompt_spans(sources).bootstrap.data["layered_runtime"]["layers"]
    assert layers[-1]["static_layer"]["tracing.opentelemetry.min_flush_spans"] == 1
    assert layers[:-1] == (sources.bootstrap.data.get("layered_runtime") or {}).get("layers", [])


class Sink:
    def __init__(self) -> None:
        self.seen: list[str] = []
        self.ticked = asyncio.Event()

    def receive(self, spans: list[SpanView]) -> None:
        self.seen += [span.name for span in spans]

    def tick(self) -> None:
        self.ticked.set()

    def shutdown(self) -> None:
        self.seen.append("shutdown")


def test_spans_reach_the_sink_which_is_shut_down_last() -> None:
    async def run() -> list[str]:
        sink = Sink()
        export = ExportTraceServiceRequest()
        export.resource_spans.add().scope_spans.add().spans.add(name="one")
        async with receiving(sink) as port, httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(
                f"http://127.0.0.1:{port}/v1/traces", content=export.SerializeToString(), headers={"content-type": "application/x-protobuf"}
            )
            assert answer.status_code == 200
            await asyncio.wait_for(sink.ticked.wait(), 10)
        return sink.seen

    assert asyncio.run(run()) == ["one", "shutdown"]
