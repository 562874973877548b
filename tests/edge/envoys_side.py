"""Envoy's side of a call, without Envoy: messages as it sends them, the real server on a Unix socket, and a small ext_proc client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import orjson

from extproc.core.exchange import Kind
from extproc.core.plan import ATTEMPTS_NAMESPACE, NAMESPACE
from extproc.edge import llm_extproc_pb2 as pb
from extproc.edge.books import Books
from extproc.edge.server import ACCESS_LOGS, HEALTH_CHECK, PROCESS, Server
from extproc.edge.wire import _to_struct
from extproc.stages.services import Services
from extproc.telemetry.tracing import Tracing
from tests.envoy_process import short_directory
from tests.stages.world import OPENAI_ANSWER, World, openai_stream, registry, target

PATIENCE = 20.0
"""Seconds until something that must happen counts as hanging. Never the thing that is tested."""


def go(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, PATIENCE))


def world(**more: Any) -> World:
    """A chain of two targets: `a` speaks OpenAI's dialect, `b` Anthropic's."""
    return World(registry(target("a"), target("b", "anthropic_messages"), **more))


def one_piece(*texts: str, finish: bool = False) -> bytes:
    """The beginning of an OpenAI stream, or all of it."""
    return b"".join(openai_stream(*texts, finish=finish, done=finish))


def headers(kind: Kind, values: Mapping[str, str], *, end: bool = False) -> pb.ProcessingRequest:
    message = pb.ProcessingRequest()
    part = message.request_headers if kind is Kind.REQUEST_HEADERS else message.response_headers
    part.end_of_stream = end
    for name, value in values.items():
        part.headers.headers.add(key=name, raw_value=value.encode("latin-1"))
    return message


def body(kind: Kind, data: bytes, *, end: bool = True) -> pb.ProcessingRequest:
    part = pb.HttpBody(body=data, end_of_stream=end)
    return pb.ProcessingRequest(request_body=part) if kind is Kind.REQUEST_BODY else pb.ProcessingRequest(response_body=part)


class EnvoyCall:
    """One call to the server. `ask` sends a message and waits for its answer; `answer` is None at the call's end."""

    def __init__(self, channel: grpc.aio.Channel, stage: str) -> None:
        method = channel.stream_stream(
            PROCESS,
            request_serializer=pb.ProcessingRequest.SerializeToString,
            response_deserializer=pb.ProcessingResponse.FromString,
        )
        self._call = method(metadata=(("x-stage", stage),), timeout=PATIENCE)

    async def send(self, message: pb.ProcessingRequest) -> None:
        await self._call.write(message)

    async def answer(self) -> pb.ProcessingResponse | None:
        try:
            answer = await self._call.read()
        except grpc.aio.AioRpcError:
            return None
        return None if answer is grpc.aio.EOF else answer

    async def ask(self, message: pb.ProcessingRequest) -> pb.ProcessingResponse:
        await self.send(message)
        answer = await self.answer()
        assert answer is not None, await self.code()
        return answer

    async def code(self) -> grpc.StatusCode:
        """How the server ended the call."""
        return await self._call.code()

    async def hang_up(self) -> None:
        """Envoy's end: the request is over."""
        await self._call.done_writing()

    def cancel(self) -> None:
        self._call.cancel()


@dataclass
class Envoy:
    """One request after the other through the real server: keeps the dynamic metadata, as Envoy does."""

    channel: grpc.aio.Channel
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)

    def call(self, stage: str) -> EnvoyCall:
        return EnvoyCall(self.channel, stage)

    def keep(self, answer: pb.ProcessingResponse) -> pb.ProcessingResponse:
        for space, values in answer.dynamic_metadata.fields.items():
            kept = self.metadata.setdefault(space, {})
            for name, value in values.struct_value.fields.items():
                kept[name] = value
        return answer

    def with_metadata(self, message: pb.ProcessingRequest, *spaces: str, **attributes: str | float) -> pb.ProcessingRequest:
        for space in spaces:
            for name, value in self.metadata.get(space, {}).items():
                message.metadata_context.filter_metadata[space].fields[name].CopyFrom(value)
        _to_struct(message.attributes["envoy.filters.http.ext_proc"], {name.replace("__", "."): value for name, value in attributes.items()})
        return message

    async def route(self, raw: bytes, path: str = "/v1/chat/completions", **more: str) -> EnvoyCall:
        """A request that has been routed: its response headers are to come."""
        call = self.call("route")
        first = await call.ask(headers(Kind.REQUEST_HEADERS, {":method": "POST", ":path": path, "x-request-id": "rid", **more}))
        assert first.WhichOneof("response") == "request_headers"
        answer = self.keep(await call.ask(body(Kind.REQUEST_BODY, raw)))
        assert answer.WhichOneof("response") == "request_body"
        return call

    async def attempt(self, raw: bytes, cluster: str, n: int = 1) -> tuple[EnvoyCall, pb.ProcessingResponse]:
        """An attempt that has been sent, and what is sent to the provider."""
        call = self.call("attempt")
        message = headers(Kind.REQUEST_HEADERS, {":method": "POST", ":path": "/v1/chat/completions", "x-request-id": "rid"})
        attributes: dict[str, Any] = {"xds__cluster_name": cluster, "upstream__request_attempt_count": float(n)}
        await call.ask(self.with_metadata(message, NAMESPACE, ATTEMPTS_NAMESPACE, **attributes))
        return call, self.keep(await call.ask(body(Kind.REQUEST_BODY, raw)))

    async def response(self, call: EnvoyCall, cluster: str, status: int = 200, content_type: str = "text/event-stream") -> pb.ProcessingResponse:
        """The winner's response headers, at the return stage."""
        message = headers(Kind.RESPONSE_HEADERS, {":status": str(status), "content-type": content_type})
        return self.keep(await call.ask(self.with_metadata(message, ATTEMPTS_NAMESPACE, xds__cluster_name=cluster)))

    async def answered(self, route: EnvoyCall, raw: bytes, cluster: str, first_piece: bytes) -> None:
        """The first attempt of `route` passes with a stream, and its headers are on their way to the client."""
        attempt, _ = await self.attempt(raw, cluster)
        await attempt.send(headers(Kind.RESPONSE_HEADERS, {":status": "200", "content-type": "text/event-stream"}))
        self.keep(await attempt.ask(body(Kind.RESPONSE_BODY, first_piece, end=False)))
        assert await attempt.answer() is None
        assert await attempt.code() is grpc.StatusCode.OK
        await self.response(route, cluster)

    async def flowing(self, raw: bytes, cluster: str, first_piece: bytes) -> EnvoyCall:
        """A stream that has begun to flow to its client."""
        route = await self.route(raw)
        await self.answered(route, raw, cluster, first_piece)
        await route.ask(body(Kind.RESPONSE_BODY, first_piece, end=False))
        return route


class Lines:
    """The log lines of finished requests. `next` waits for one."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def write(self, line: bytes) -> None:
        self._loop.call_soon_threadsafe(self._queue.put_nowait, orjson.loads(line))

    async def next(self) -> dict[str, Any]:
        return await asyncio.wait_for(self._queue.get(), PATIENCE)

    @property
    def empty(self) -> bool:
        return self._queue.empty()


@dataclass
class Rig:
    """The real server, and what a test looks at."""

    server: Server
    channel: grpc.aio.Channel
    lines: Lines
    services: Services
    address: str

    @property
    def envoy(self) -> Envoy:
        """A new request's Envoy."""
        return Envoy(self.channel)

    async def health(self) -> int:
        check = self.channel.unary_unary(
            HEALTH_CHECK, request_serializer=pb.HealthCheckRequest.SerializeToString, response_deserializer=pb.HealthCheckResponse.FromString
        )
        answer = await check(pb.HealthCheckRequest(), timeout=PATIENCE)
        return int(answer.status)

    def access_log(self) -> Any:
        """An open call of Envoy's access logger."""
        method = self.channel.stream_unary(
            ACCESS_LOGS, request_serializer=pb.StreamAccessLogsMessage.SerializeToString, response_deserializer=pb.StreamAccessLogsResponse.FromString
        )
        return method(timeout=PATIENCE)


@asynccontextmanager
async def serving(services: Services, tracing: Tracing | None = None) -> AsyncIterator[Rig]:
    """The server on a Unix socket and a channel to it. Stopped at the end if the test has not done so."""
    lines = Lines()
    books = Books(tracing or Tracing(), lines.write)
    services.start_span = books.start_span
    with short_directory() as directory:
        address = f"unix:{directory / 's.sock'}"
        server = Server(services, books, [address])
        await server.start()
        try:
            async with grpc.aio.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)]) as channel:
                yield Rig(server, channel, lines, services, address)
        finally:
            await server.stop(PATIENCE)


async def whole_answer(rig: Rig, raw: bytes) -> None:
    """A unary request from its first byte to its last, both stages."""
    envoy = rig.envoy
    route = await envoy.route(raw)
    attempt, _ = await envoy.attempt(raw, "a")
    await attempt.send(headers(Kind.RESPONSE_HEADERS, {":status": "200", "content-type": "application/json"}))
    envoy.keep(await attempt.ask(body(Kind.RESPONSE_BODY, OPENAI_ANSWER)))
    assert await attempt.answer() is None
    await envoy.response(route, "a", content_type="application/json")
    await route.ask(body(Kind.RESPONSE_BODY, OPENAI_ANSWER))
    await route.hang_up()
    assert await route.answer() is None
    assert await route.code() is grpc.StatusCode.OK
