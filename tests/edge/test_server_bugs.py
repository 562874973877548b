"""A bug costs one request and says nothing of a prompt: the real server, with a client in Envoy's place."""

from __future__ import annotations

import logging
from typing import Any

import grpc
import grpc.aio
import orjson
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from extproc.core.exchange import Action, Kind
from extproc.edge import llm_extproc_pb2 as pb
from extproc.stages.operations import Asked
from extproc.stages.pipes import WatchedStream
from extproc.stages.route import RouteExchange
from extproc.telemetry.proclog import JsonLines
from extproc.telemetry.tracing import Tracing
from tests.edge.envoys_side import body, go, headers, one_piece, serving, whole_answer, world
from tests.stages.world import chat

SECRET = "words that only the prompt has"


# bugs


def everything_logged(caplog: pytest.LogCaptureFixture) -> str:
    """As the process would have written it, and whatever else the records hold."""
    return "\n".join(JsonLines().format(r) for r in caplog.records)


@pytest.fixture
def broken_route(monkeypatch: pytest.MonkeyPatch) -> None:
    """Routing a request with the secret is a bug, and the exception quotes the prompt."""
    route = RouteExchange._route

    def broken(self: RouteExchange, raw: bytes, asked: Asked) -> list[Action]:
        actions = route(self, raw, asked)
        if SECRET.encode() in raw:
            raise RuntimeError(f"cannot route {raw!r}")
        return actions

    monkeypatch.setattr(RouteExchange, "_route", broken)


@pytest.mark.usefixtures("broken_route")
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_a_bug_in_the_route_stage_costs_one_call(path: str, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        here = world()
        provider, spans = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(spans))
        async with serving(here.services, Tracing(provider)) as rig:
            other = await rig.envoy.route(chat())
            call = rig.envoy.call("route")
            await call.ask(headers(Kind.REQUEST_HEADERS, {":method": "POST", ":path": path, "x-request-id": "rid"}))
            answer = (await call.ask(body(Kind.REQUEST_BODY, chat(note=SECRET, max_tokens=5)))).immediate_response
            assert await call.answer() is None
            assert await call.code() is grpc.StatusCode.OK
            line = await rig.lines.next()
            assert (line["outcome"], line["status"], line["level"]) == ("internal_error", 500, "error")
            assert (answer.status.code, answer.details) == (500, "llm_internal")
            envelope = orjson.loads(answer.body)
            assert ("type" in envelope) is (path == "/v1/messages")
            assert line["trace_id"] in envelope["error"]["message"]
            assert [format(s.context.trace_id, "032x") for s in spans.get_finished_spans() if s.context] == [line["trace_id"]]
            # the other request, in the middle of its journey, and a new one
            await rig.envoy.response(other, "nowhere")
            await whole_answer(rig, chat())
            assert rig.services.under_way == {}
            logged = everything_logged(caplog)
            assert line["trace_id"] in logged
            assert "RuntimeError" in logged
            assert "test_server_bugs.py" in logged
            assert SECRET not in logged
            assert SECRET not in answer.body.decode()

    with caplog.at_level(logging.DEBUG, logger="extproc"):
        go(test())


@pytest.mark.usefixtures("broken_route")
def test_without_tracing_the_client_gets_envoys_request_id() -> None:
    async def test() -> None:
        here = world()
        async with serving(here.services) as rig:
            call = rig.envoy.call("route")
            await call.ask(headers(Kind.REQUEST_HEADERS, {":method": "POST", ":path": "/v1/messages", "x-request-id": "the-request-id"}))
            answer = await call.ask(body(Kind.REQUEST_BODY, chat(note=SECRET)))
            assert "the-request-id" in answer.immediate_response.body.decode()

    go(test())


def test_a_bug_in_an_attempt_is_said_in_the_clients_dialect(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        here = world()
        async with serving(here.services) as rig:
            envoy = rig.envoy
            await envoy.route(chat(max_tokens=5), "/v1/messages")

            def broken(*_: Any) -> Any:
                raise KeyError(SECRET)

            here.services.facts = broken
            attempt, answer = await envoy.attempt(chat(note=SECRET, max_tokens=5), "a")
            immediate = answer.immediate_response
            assert immediate.status.code == 500
            assert orjson.loads(immediate.body)["type"] == "error"
            assert ("x-llm-final", b"llm_internal") in [(o.header.key, o.header.raw_value) for o in immediate.headers.set_headers]
            assert await attempt.answer() is None
            assert await attempt.code() is grpc.StatusCode.OK
            assert SECRET not in everything_logged(caplog)

    go(test())


def test_a_bug_in_a_flowing_stream_breaks_that_stream_off(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing can be said in the middle of an answer, and it must not look like an end."""
    feed = WatchedStream.feed

    def broken(self: WatchedStream, data: bytes, end: bool) -> bytes:
        if SECRET.encode() in data:
            raise ValueError(data.decode())
        return feed(self, data, end)

    monkeypatch.setattr(WatchedStream, "feed", broken)

    async def test() -> None:
        async with serving(world().services) as rig:
            other = await rig.envoy.flowing(chat(stream=True), "a", one_piece("one"))
            route = await rig.envoy.flowing(chat(stream=True), "a", one_piece("two"))
            await route.send(body(Kind.RESPONSE_BODY, one_piece(SECRET), end=False))
            assert await route.answer() is None
            assert await route.code() is grpc.StatusCode.ABORTED
            line = await rig.lines.next()
            assert line["outcome"] == "internal_error"
            await other.ask(body(Kind.RESPONSE_BODY, one_piece("three", finish=True)))
            await other.hang_up()
            assert (await rig.lines.next())["outcome"] == "ok"
            assert SECRET not in everything_logged(caplog)

    go(test())


def test_an_unknown_message_costs_one_call_and_is_an_internal_error() -> None:
    async def test() -> None:
        async with serving(world().services) as rig:
            call = rig.envoy.call("route")
            answer = await call.ask(pb.ProcessingRequest())
            assert answer.immediate_response.status.code == 500
            assert (await rig.lines.next())["outcome"] == "internal_error"
            await whole_answer(rig, chat())

    go(test())


def test_books_that_cannot_be_closed_cost_nobody_anything(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with serving(world().services) as rig:
            monkeypatch.setattr("extproc.edge.books.request_line", lambda record: 1 / 0)
            await whole_answer(rig, chat())
            monkeypatch.undo()
            await whole_answer(rig, chat())
            assert (await rig.lines.next())["outcome"] == "ok"
            assert "books of a request could not be closed" in everything_logged(caplog)

    go(test())
