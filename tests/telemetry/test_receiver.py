"""The loopback OTLP/HTTP receiver: what it decodes, and that bad clients only hurt themselves."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from extproc.telemetry import receiver as module
from extproc.telemetry.receiver import OtlpReceiver, decode_spans
from extproc.telemetry.tree import SpanView

HEADERS = {"content-type": "application/x-protobuf"}


def text(value: str) -> AnyValue:
    return AnyValue(string_value=value)


def export() -> bytes:
    """One SERVER span as Envoy sends it."""
    span = Span(
        trace_id=bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736"),
        span_id=bytes.fromhex("00f067aa0ba902b7"),
        parent_span_id=bytes.fromhex("b7ad6b7169203331"),
        name="llm POST",
        start_time_unix_nano=5,
        end_time_unix_nano=9,
        status=Status(code=Status.STATUS_CODE_ERROR),
        attributes=[
            KeyValue(key="http.status_code", value=text("503")),
            KeyValue(key="n", value=AnyValue(int_value=3)),
            KeyValue(key="list", value=AnyValue(array_value=ArrayValue(values=[AnyValue(bool_value=True), AnyValue(double_value=0.5)]))),
            KeyValue(key="map", value=AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="k", value=text("v"))]))),
            KeyValue(key="none"),
        ],
        links=[Span.Link(trace_id=b"t" * 16, span_id=b"\x01" * 8)],
    )
    resource = Resource(attributes=[KeyValue(key="service.name", value=text("llm-sidecar-envoy"))])
    request = ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=resource, scope_spans=[ScopeSpans(spans=[span])])])
    return bytes(request.SerializeToString())


EXPECTED = SpanView(
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    span_id="00f067aa0ba902b7",
    name="llm POST",
    start_ns=5,
    end_ns=9,
    parent_id="b7ad6b7169203331",
    service="llm-sidecar-envoy",
    failed=True,
    attributes={"http.status_code": "503", "n": 3, "list": [True, 0.5], "map": {"k": "v"}, "none": None},
    links=("01" * 8,),
)


def test_decoding() -> None:
    assert decode_spans(export()) == [EXPECTED]


def test_nested_values_are_bounded() -> None:
    deep = text("x")
    for _ in range(20):
        deep = AnyValue(array_value=ArrayValue(values=[deep]))
    span = Span(attributes=[KeyValue(key="deep", value=deep)])
    request = ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[span])])])
    assert str(decode_spans(request.SerializeToString())[0].attributes["deep"]).count("[") < 12


@given(st.binary(max_size=200))
def test_garbage_raises_only_its_own_error(data: bytes) -> None:
    try:
        decode_spans(data)
    except module.DecodeError as error:
        assert str(error)  # noqa: PT017


@asynccontextmanager
async def listening(batches: list[list[SpanView]]) -> AsyncIterator[str]:
    receiver = OtlpReceiver(batches.append)
    port = await receiver.start()
    try:
        yield f"http://127.0.0.1:{port}/v1/traces"
    finally:
        await receiver.close()


def run(*requests: tuple[str, str, bytes, dict[str, str]]) -> tuple[list[int], list[list[SpanView]]]:
    """Statuses of (method, path behind the host, body, headers) on one connection, and the batches that arrived."""
    batches: list[list[SpanView]] = []

    async def go() -> list[int]:
        async with listening(batches) as url, httpx.AsyncClient() as client:
            base = url.rpartition("/v1/")[0]
            return [
                (await client.request(method, base + path, content=body, headers=headers)).status_code for method, path, body, headers in requests
            ]

    return asyncio.run(go()), batches


def test_exports_on_one_connection_plain_and_gzip() -> None:
    body = export()
    statuses, batches = run(
        ("POST", "/v1/traces", body, HEADERS),
        ("POST", "/v1/traces", gzip.compress(body), HEADERS | {"content-encoding": "gzip"}),
        ("POST", "/v1/traces", b"", HEADERS),
    )
    assert statuses == [200, 200, 200]
    assert batches == [[EXPECTED], [EXPECTED], []]


def test_a_chunked_body() -> None:
    batches: list[list[SpanView]] = []

    async def pieces() -> AsyncIterator[bytes]:
        for byte in export():
            yield bytes([byte])

    async def go() -> int:
        async with listening(batches) as url, httpx.AsyncClient() as client:
            return (await client.post(url, content=pieces(), headers=HEADERS)).status_code

    assert (asyncio.run(go()), batches) == (200, [[EXPECTED]])


def test_what_is_not_an_export_is_refused() -> None:
    body = export()
    bomb = gzip.compress(bytes(module.BODY_LIMIT + 1))
    statuses, batches = run(
        ("POST", "/v1/metrics", body, HEADERS),
        ("GET", "/v1/traces", b"", {}),
        ("POST", "/v1/traces", b"{}", {"content-type": "application/json"}),
        ("POST", "/v1/traces", b"\xff\xff", HEADERS),
        ("POST", "/v1/traces", body, HEADERS | {"content-encoding": "br"}),
        ("POST", "/v1/traces", body, HEADERS | {"content-encoding": "gzip"}),
        ("POST", "/v1/traces", bomb, HEADERS | {"content-encoding": "gzip"}),
        ("POST", "/v1/traces", bytes(module.BODY_LIMIT + 1), HEADERS),
        ("POST", "/v1/traces", body, HEADERS),
    )
    assert statuses == [404, 405, 415, 400, 400, 400, 400, 413, 200]
    assert batches == [[EXPECTED]]


def test_nonsense_and_hang_ups_leave_the_receiver_working() -> None:
    batches: list[list[SpanView]] = []

    async def go() -> int:
        async with listening(batches) as url:
            port = httpx.URL(url).port
            assert port is not None
            for data in (b"\x00nonsense\r\n\r\n", b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf"):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(data)
                writer.write_eof()
                assert await reader.read() == b""
                writer.close()
            async with httpx.AsyncClient() as client:
                return (await client.post(url, content=export(), headers=HEADERS)).status_code

    assert (asyncio.run(go()), batches) == (200, [[EXPECTED]])


def test_a_callback_that_fails_is_told_to_the_exporter(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: list[SpanView]) -> None:
        raise RuntimeError

    async def go() -> int:
        receiver = OtlpReceiver(broken)
        port = await receiver.start()
        async with httpx.AsyncClient() as client:
            status = (await client.post(f"http://127.0.0.1:{port}/v1/traces", content=export(), headers=HEADERS)).status_code
        await receiver.close()
        await receiver.close()
        return status

    assert asyncio.run(go()) == 500
    assert "callback failed" in caplog.text
