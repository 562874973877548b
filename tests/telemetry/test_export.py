"""From the environment to spans that really arrive: over HTTP, over gRPC, within limits; and values that nobody knows are refused."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from extproc.telemetry.batch import CountedBatchProcessor
from extproc.telemetry.export import TelemetryConfigError, tracing_from_environment
from extproc.telemetry.receiver import OtlpReceiver, decode_spans
from extproc.telemetry.traceparent import SpanParent, parent_of_request
from extproc.telemetry.tracing import Tracing
from extproc.telemetry.tree import SpanView
from tests.telemetry.records import CALLER, MS, SPAN, START, TRACE, answered

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("OTEL_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def one_request(tracing: Tracing, flags: str = "01") -> None:
    chat = tracing.start_chat(parent_of_request(f"{TRACE}-{SPAN}", f"00-{TRACE}-{CALLER}-{flags}"), "gpt-4o", start_ns=START)
    tracing.attempt_span(chat.context, 1, start_ns=START, end_ns=START + MS, target="sonnet", status=200, verdict="pass")
    chat.end(answered())


@pytest.fixture
def http_collector() -> Iterator[tuple[int, list[SpanView]]]:
    """A receiver on a thread of its own: its port and what arrives."""
    spans: list[SpanView] = []
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    receiver = OtlpReceiver(spans.extend)
    port = asyncio.run_coroutine_threadsafe(receiver.start(), loop).result(10)
    yield port, spans
    asyncio.run_coroutine_threadsafe(receiver.close(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


class GrpcCollector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP/gRPC collector."""

    def __init__(self) -> None:
        self.spans: list[SpanView] = []
        self.metadata: dict[str, str] = {}

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: N802  # the method's name on the wire
        self.metadata = {item.key: item.value for item in context.invocation_metadata()}
        self.spans += decode_spans(request.SerializeToString())
        return trace_service_pb2.ExportTraceServiceResponse()


def check_arrived(spans: list[SpanView]) -> None:
    by_name = {span.name: span for span in spans}
    assert set(by_name) == {"chat gpt-4o", "attempt sonnet"}
    chat, attempt = by_name["chat gpt-4o"], by_name["attempt sonnet"]
    assert (chat.trace_id, chat.parent_id, attempt.parent_id) == (TRACE, SPAN, chat.span_id)
    assert chat.attributes["llm.target"] == "sonnet"
    assert chat.attributes["gen_ai.response.finish_reasons"] == ["stop"]


@pytest.mark.parametrize("signal_endpoint", [True, False])
def test_http_by_endpoint_alone(http_collector: tuple[int, list[SpanView]], monkeypatch: pytest.MonkeyPatch, signal_endpoint: bool) -> None:
    port, spans = http_collector
    if signal_endpoint:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"http://127.0.0.1:{port}/v1/traces")
    else:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    tracing = tracing_from_environment(version="1.2.3")
    assert tracing.enabled
    one_request(tracing)
    assert tracing.shutdown(10)
    check_arrived(spans)
    assert {span.service for span in spans} == {"llm-sidecar"}
    assert tracing.dropped == 0


def test_an_unsampled_caller_is_served_and_nothing_is_exported(http_collector: tuple[int, list[SpanView]], monkeypatch: pytest.MonkeyPatch) -> None:
    port, spans = http_collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    tracing = tracing_from_environment()
    one_request(tracing, flags="00")
    assert tracing.shutdown(10)
    assert spans == []


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"])
def test_grpc_beside_a_grpc_aio_server_in_one_process(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    collector = GrpcCollector()

    async def go() -> bool:
        server = grpc.aio.server()
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=acme")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
        monkeypatch.setenv(variable, "grpc")
        tracing = tracing_from_environment()
        one_request(tracing)
        done = await asyncio.get_running_loop().run_in_executor(None, tracing.shutdown, 10.0)
        await server.stop(None)
        return done

    assert asyncio.run(go())
    check_arrived(collector.spans)
    assert collector.metadata["x-tenant"] == "acme"
    assert {span.service for span in collector.spans} == {"mine"}


def exported(monkeypatch: pytest.MonkeyPatch, **environment: str) -> tuple[Tracing, InMemorySpanExporter]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    memory = InMemorySpanExporter()
    return tracing_from_environment(version="1.2.3", processors=[SimpleSpanProcessor(memory)]), memory


@pytest.mark.parametrize(
    ("environment", "service"),
    [
        ({}, "llm-sidecar"),
        ({"OTEL_SERVICE_NAME": "a"}, "a"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=b,k8s.pod.name=p"}, "b"),
        ({"OTEL_SERVICE_NAME": "a", "OTEL_RESOURCE_ATTRIBUTES": "service.name=b"}, "a"),
    ],
)
def test_the_resource(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], service: str) -> None:
    tracing, memory = exported(monkeypatch, **environment)
    one_request(tracing)
    attributes = memory.get_finished_spans()[0].resource.attributes
    assert (attributes["service.name"], attributes["service.version"]) == (service, "1.2.3")
    assert attributes.get("k8s.pod.name") == ("p" if "k8s" in str(environment) else None)


@pytest.mark.parametrize(
    ("name", "argument", "known_parent", "unknown_parent", "root"),
    [
        ("", "", True, True, True),
        ("parentbased_always_off", "", True, False, False),
        ("parentbased_traceidratio", "0.0", True, False, False),
        ("traceidratio", "0", False, False, False),
        ("always_off", "", False, False, False),
        ("ALWAYS_ON", "", True, True, True),
    ],
)
def test_samplers(monkeypatch: pytest.MonkeyPatch, name: str, argument: str, known_parent: bool, unknown_parent: bool, root: bool) -> None:
    tracing, _ = exported(monkeypatch, OTEL_TRACES_SAMPLER=name, OTEL_TRACES_SAMPLER_ARG=argument)
    parents = [SpanParent(TRACE, SPAN, True), SpanParent(TRACE, SPAN, None), None]
    assert [tracing.start_chat(parent, "m").recording for parent in parents] == [known_parent, unknown_parent, root]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
    ],
)
def test_off(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert not tracing_from_environment().enabled


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "jaeger"),
        ("OTEL_TRACES_EXPORTER", "otlp,zipkin"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "thrift"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_TRACES_SAMPLER_ARG", "half"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
        ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-1"),
    ],
)
def test_unknown_values_are_refused_by_name(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv(variable, value)
    with pytest.raises(TelemetryConfigError, match=variable):
        tracing_from_environment()


@pytest.mark.parametrize(("allowed", "captured"), [(True, True), (False, False)])
def test_content_capture_needs_both_switches(monkeypatch: pytest.MonkeyPatch, allowed: bool, captured: bool) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
    memory = InMemorySpanExporter()
    tracing = tracing_from_environment(allow_content_capture=allowed, processors=[SimpleSpanProcessor(memory)])
    tracing.start_chat(None, "m").end(answered(), input_messages=[{"role": "user", "content": "hi"}])
    assert ("gen_ai.input.messages" in (memory.get_finished_spans()[0].attributes or {})) is captured


def test_the_console_exporter_leaves_stdout_to_the_log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    tracing = tracing_from_environment()
    one_request(tracing)
    assert tracing.shutdown(10)
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.count('"trace_id"') > 0 for line in err.splitlines()] == [True, True]


class Stuck(SpanExporter):
    """Takes a batch and waits until it is shut down."""

    def __init__(self) -> None:
        self.taken = threading.Event()
        self.released = threading.Event()

    def export(self, spans: Any) -> SpanExportResult:
        self.taken.set()
        self.released.wait(30)
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self.released.set()


def ended_span(processor: CountedBatchProcessor) -> ReadableSpan:
    from opentelemetry.sdk.trace import TracerProvider

    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    provider.get_tracer("t").start_span("s").end()
    return memory.get_finished_spans()[0]


def test_a_collector_that_hangs_costs_spans_and_each_is_counted() -> None:
    stuck = Stuck()
    processor = CountedBatchProcessor(stuck, queue=10, batch=2, delay=1)
    span = ended_span(processor)
    processor.on_end(span)
    processor.on_end(span)
    assert stuck.taken.wait(10)
    for _ in range(100):
        processor.on_end(span)
    assert 88 <= processor.lost <= 92, "two may be on their way out, ten wait"
    processor.abort()
    processor.shutdown()
    assert processor.lost == 102, "what was in the queue failed too: all that ended is accounted for"


HANG = """
import sys
from extproc.telemetry.export import tracing_from_environment
from tests.telemetry.records import answered
tracing = tracing_from_environment()
for _ in range(3000):
    tracing.start_chat(None, "m").end(answered())
sys.exit(0 if tracing.shutdown(0.2) is False else 3)
"""


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_shutdown_gives_up_on_a_collector_that_hangs(protocol: str) -> None:
    """The exporter itself would wait for 600 seconds; the process ends at once, cleanly."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_") and not name.lower().endswith("_proxy")}
        environment |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_TIMEOUT": "600",
        }
        done = subprocess.run([sys.executable, "-c", HANG], env=environment, cwd=ROOT, timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


FOOTPRINT = """
import sys
import orjson, asyncio
def rss():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS")) // 1024
before = rss()
from extproc.telemetry import logline, sink, proclog
from extproc.telemetry.export import tracing_from_environment
tracing = tracing_from_environment()
off = rss() - before
heavy = sorted(m for m in sys.modules if m.startswith(("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto", "grpc", "h11")))
print(off, tracing.enabled, len(heavy), *heavy[:3])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads resident size from /proc")
def test_without_an_endpoint_the_sdk_is_not_even_loaded() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run([sys.executable, "-c", FOOTPRINT], env=environment, cwd=ROOT, timeout=60, capture_output=True, text=True, check=True)
    megabytes, enabled, heavy = done.stdout.split()[:3]
    assert (enabled, heavy) == ("False", "0"), done.stdout
    assert int(megabytes) < 20


def test_spans_from_many_threads_all_arrive(http_collector: tuple[int, list[SpanView]], monkeypatch: pytest.MonkeyPatch) -> None:
    port, spans = http_collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    tracing = tracing_from_environment()
    with ThreadPoolExecutor(4) as pool:
        for _ in range(200):
            pool.submit(one_request, tracing)
    assert tracing.shutdown(20)
    assert len(spans) == 400
