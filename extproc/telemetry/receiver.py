"""A small OTLP/HTTP receiver on loopback, for the demo and for tests: it shows Envoy's spans and ours in one tree without a collector.

Protobuf over HTTP/1.1, `POST /v1/traces`, as https://opentelemetry.io/docs/specs/otlp/ has it; gzip is understood. Not for production: one loopback
address, no TLS, nothing is stored.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Callable
from typing import Any

import h11
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from extproc.telemetry.tree import SpanView

BODY_LIMIT = 8 << 20
"""Bytes of one export, before and after decompression."""

_log = logging.getLogger(__name__)
_PROTOBUF = "application/x-protobuf"
_MAX_CONNECTIONS = 64
_MAX_NESTING = 8


class OtlpReceiver:
    """Hands every received batch to `on_spans`, on the event loop. An exception of `on_spans` answers the export with 500."""

    def __init__(self, on_spans: Callable[[list[SpanView]], None]) -> None:
        self._on_spans = on_spans
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> int:
        """Listens; returns the port (0: any free one)."""
        self._server = await asyncio.start_server(self._accept, host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stops listening and drops the connections that exporters keep open."""
        if self._server is None:
            return
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._tasks) >= _MAX_CONNECTIONS:
            writer.close()
            return
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, h11.RemoteProtocolError):
            return  # an exporter that left or talks nonsense: its own connection ends, nothing else
        except asyncio.CancelledError:
            return  # only `close` cancels; asyncio's own callback of a connection would report it as an error
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        while True:
            request, body = await _read_request(connection, reader, writer)
            if request is None:
                return
            status, answer = self._answer(request, body)
            headers = [("content-type", _PROTOBUF), ("content-length", str(len(answer)))]
            reply = (h11.Response(status_code=status, headers=headers), h11.Data(data=answer), h11.EndOfMessage())
            writer.write(b"".join(connection.send(event) or b"" for event in reply))
            await writer.drain()
            if connection.our_state is h11.MUST_CLOSE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()

    def _answer(self, request: h11.Request, body: bytes | None) -> tuple[int, bytes]:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
        if request.target.partition(b"?")[0] != b"/v1/traces":
            return 404, b""
        if request.method != b"POST":
            return 405, b""
        if headers.get("content-type", "").partition(";")[0].strip().lower() != _PROTOBUF:
            return 415, b""
        if body is None:
            return 413, b""
        try:
            spans = decode_spans(_inflate(body, headers.get("content-encoding", "")))
        except (DecodeError, zlib.error, ValueError):
            return 400, b""
        try:
            self._on_spans(spans)
        except Exception:  # noqa: BLE001  # somebody else's code: the exporter must get an answer
            _log.exception("the receiver's callback failed")
            return 500, b""
        return 200, ExportTraceServiceResponse().SerializeToString()


async def _read_request(
    connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> tuple[h11.Request | None, bytes | None]:
    """The next request and its body; no request: the connection has ended; no body: it was over the limit."""
    request: h11.Request | None = None
    chunks: list[bytes] = []
    size = 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            if connection.they_are_waiting_for_100_continue:
                go_on = connection.send(h11.InformationalResponse(status_code=100, headers=[]))
                writer.write(go_on or b"")
            connection.receive_data(await reader.read(65_536))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            size += len(event.data)
            if size <= BODY_LIMIT:
                chunks.append(bytes(event.data))
            else:
                chunks.clear()
        elif isinstance(event, h11.EndOfMessage):
            return request, b"".join(chunks) if size <= BODY_LIMIT else None
        else:  # h11.ConnectionClosed, h11.PAUSED
            return None, None


def _inflate(body: bytes, encoding: str) -> bytes:
    """Raises ValueError for an unknown encoding or more than the limit, zlib.error for broken data."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise ValueError("unknown content-encoding")
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
    out = inflater.decompress(body, BODY_LIMIT + 1)
    if len(out) > BODY_LIMIT:
        raise ValueError("larger than the limit")
    return out


def decode_spans(data: bytes) -> list[SpanView]:
    """The spans of a serialized ExportTraceServiceRequest. Raises `DecodeError`."""
    request = ExportTraceServiceRequest.FromString(data)
    out: list[SpanView] = []
    for of_resource in request.resource_spans:
        service = str(_attributes(of_resource.resource.attributes).get("service.name", ""))
        out.extend(
            SpanView(
                trace_id=span.trace_id.hex(),
                span_id=span.span_id.hex(),
                name=span.name,
                start_ns=span.start_time_unix_nano,
                end_ns=span.end_time_unix_nano,
                parent_id=span.parent_span_id.hex(),
                service=service,
                failed=span.status.code == Status.STATUS_CODE_ERROR,
                attributes=_attributes(span.attributes),
                links=tuple(link.span_id.hex() for link in span.links),
            )
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        )
    return out


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value, 0) for pair in pairs if isinstance(pair, KeyValue)}


def _value(value: AnyValue, depth: int) -> Any:
    kind = value.WhichOneof("value")
    if kind is None or depth > _MAX_NESTING:
        return None
    if kind == "array_value":
        return [_value(item, depth + 1) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: _value(pair.value, depth + 1) for pair in value.kvlist_value.values}
    return getattr(value, kind)
