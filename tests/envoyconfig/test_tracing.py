"""Envoy's own spans reach the collector over both protocols: one for the request, one for each attempt under it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from threading import Thread
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

from extproc.envoyconfig.options import Otlp
from tests.envoy_process import envoy_binary, running_envoy, short_directory
from tests.envoyconfig.files import edited
from tests.envoyconfig.recorder import Recorder, recording
from tests.envoyconfig.registries import provider, registry, target
from tests.envoyconfig.upstream import upstream

CALLER = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


@contextmanager
def http_collector(exported: Any) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            # Envoy sends its spans in chunks.
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size + 2)[:-2]
            exported.put((self.path, {k.lower(): v for k, v in self.headers.items()}, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.send_header("connection", "close")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/custom/v1/traces"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def grpc_collector(exported: Any) -> Iterator[str]:
    def export(request: ExportTraceServiceRequest, context: grpc.ServicerContext) -> ExportTraceServiceResponse:
        exported.put(("", {str(k): str(v) for k, v in context.invocation_metadata()}, request))
        return ExportTraceServiceResponse()

    handler = grpc.unary_unary_rpc_method_handler(
        export, request_deserializer=ExportTraceServiceRequest.FromString, response_serializer=ExportTraceServiceResponse.SerializeToString
    )
    with futures.ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("opentelemetry.proto.collector.trace.v1.TraceService", {"Export": handler}),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


@pytest.mark.parametrize("collector", [http_collector, grpc_collector])
def test_spans(collector: Any) -> None:
    envoy_binary()
    exported: Any = Queue()
    with short_directory() as root, upstream(503) as a, upstream() as b, collector(exported) as url:
        targets = registry(target("a", provider("pa", url=a.url)), target("b", provider("pb", url=b.url)))
        flush = ("layered_runtime", "layers", 0, "static_layer", "tracing.opentelemetry.flush_interval_ms")
        sources = edited("bootstrap", flush, 50)
        otlp = Otlp(url, grpc=collector is grpc_collector, headers=(("x-tenant", "acme"),))
        with (
            recording(root, Recorder(["a", "b"], frozenset({503}))) as recorder,
            running_envoy(targets, sources=sources, directory=root, otlp=otlp, service_name="sidecar-test") as envoy,
        ):
            traceparent = f"00-{CALLER[0]}-{CALLER[1]}-01"
            assert httpx.post(f"{envoy.url}/v1/chat/completions", json={}, headers={"traceparent": traceparent}).status_code == 200
            spans: list[Any] = []
            while len(spans) < 3:
                path, headers, request = exported.get(timeout=20)
                assert path in {"", "/custom/v1/traces"}
                assert headers["x-tenant"] == "acme"
                spans += [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]
                names = [a.value.string_value for r in request.resource_spans for a in r.resource.attributes if a.key == "service.name"]
                assert names == ["sidecar-test"]
            attempts = recorder.headers("attempt")
            arrived = recorder.headers("route")[0]
    assert {span.trace_id.hex() for span in spans} == {CALLER[0]}
    server = next(span for span in spans if span.parent_span_id.hex() == CALLER[1])
    tries = [span for span in spans if span is not server]
    assert {span.parent_span_id for span in tries} == {server.span_id}
    assert sorted(span.name for span in tries) == ["llm attempt a", "llm attempt b"]
    assert arrived["x-llm-span"] == f"{CALLER[0]}-{server.span_id.hex()}"
    # the attempt stage sees its own attempt's span, also in the second, though the first one's header was taken off
    assert {headers["traceparent"].split("-")[2] for headers in attempts} == {span.span_id.hex() for span in tries}
    tags = {attribute.key: attribute.value.string_value for attribute in server.attributes}
    assert tags["gen_ai.request.model"] == "chat"
