"""A shutdown drops nobody: the real server on a real Unix socket, with a client in Envoy's place."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import orjson

from extproc.core.exchange import Kind
from extproc.edge import llm_extproc_pb2 as pb
from extproc.registry.types import Timeouts
from extproc.telemetry.record import Outcome
from tests.edge.envoys_side import PATIENCE, EnvoyCall, body, go, one_piece, serving, world
from tests.stages.world import chat

SERVING, NOT_SERVING = pb.HealthCheckResponse.SERVING, pb.HealthCheckResponse.NOT_SERVING


# shutdown


def test_health() -> None:
    async def test() -> None:
        async with serving(world().services) as rig:
            assert await rig.health() == SERVING
            held = await rig.envoy.route(chat())
            stopping = asyncio.create_task(rig.server.stop(PATIENCE))
            await asyncio.sleep(0)
            assert await rig.health() == NOT_SERVING
            held.cancel()
            await stopping

    go(test())


def test_an_idle_server_stops_at_once() -> None:
    async def test() -> None:
        async with serving(world().services) as rig:
            await rig.health()
            await asyncio.wait_for(rig.server.stop(3600.0), PATIENCE)

    go(test())


def test_a_stream_that_passes_is_let_go() -> None:
    async def test() -> None:
        async with serving(world().services) as rig:
            route = await rig.envoy.flowing(chat(stream=True, stream_options={"include_usage": True}), "a", one_piece("hel"))
            await asyncio.wait_for(rig.server.stop(3600.0), PATIENCE)
            assert await route.answer() is None
            assert await route.code() is grpc.StatusCode.OK
            line = await rig.lines.next()
            assert (line["outcome"], line["status"], line["level"]) == ("detached", 200, "info")
            assert rig.lines.empty

    go(test())


async def ended(call: EnvoyCall) -> grpc.StatusCode:
    assert await call.answer() is None
    return await call.code()


def anthropic_piece(*events: dict[str, Any]) -> bytes:
    return b"".join(b"event: %s\ndata: %s\n\n" % (e["type"].encode(), orjson.dumps(e)) for e in events)


MESSAGE = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [],
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
BEGINNING = anthropic_piece(
    {"type": "message_start", "message": MESSAGE},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hel"}},
)
END = anthropic_piece(
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
    {"type": "message_stop"},
)


def test_a_translated_stream_is_waited_for() -> None:
    async def test() -> None:
        async with serving(world().services) as rig:
            route = await rig.envoy.flowing(chat(stream=True), "b", BEGINNING)
            stopping = asyncio.create_task(rig.server.stop(PATIENCE))
            last = await route.ask(body(Kind.RESPONSE_BODY, END))
            assert b"[DONE]" in last.response_body.response.body_mutation.body
            assert not stopping.done()
            await route.hang_up()
            assert await ended(route) is grpc.StatusCode.OK
            await stopping
            assert (await rig.lines.next())["outcome"] == "ok"

    go(test())


def test_a_translated_stream_is_waited_for_no_longer_than_the_grace() -> None:
    """And it does not end as if it were whole."""

    async def test() -> None:
        async with serving(world().services) as rig:
            route = await rig.envoy.flowing(chat(stream=True), "b", BEGINNING)
            await rig.server.stop(0.01)
            assert await ended(route) is not grpc.StatusCode.OK
            assert (await rig.lines.next())["outcome"] == "cut"

    go(test())


def test_a_request_that_waits_for_its_answer_gets_further_attempts_and_is_let_go_when_it_flows() -> None:
    async def test() -> None:
        async with serving(world(timeouts=Timeouts(deadline=3600.0)).services) as rig:
            raw = chat(stream=True, stream_options={"include_usage": True})
            envoy = rig.envoy
            route = await envoy.route(raw)
            stopping = asyncio.create_task(rig.server.stop(PATIENCE))
            await asyncio.sleep(0)
            assert await rig.health() == NOT_SERVING
            await envoy.answered(route, raw, "a", one_piece("hel"))
            assert await ended(route) is grpc.StatusCode.OK
            await stopping
            assert (await rig.lines.next())["outcome"] == Outcome.DETACHED

    go(test())


def test_a_stream_that_begins_during_a_shutdown_is_let_go_too() -> None:
    """Where no other process is healthy, Envoy still comes here."""

    async def test() -> None:
        async with serving(world().services) as rig:
            held = await rig.envoy.route(chat())
            stopping = asyncio.create_task(rig.server.stop(PATIENCE))
            await asyncio.sleep(0)
            raw = chat(stream=True, stream_options={"include_usage": True})
            envoy = rig.envoy
            late = await envoy.route(raw)
            await envoy.answered(late, raw, "a", one_piece("hel"))
            assert await ended(late) is grpc.StatusCode.OK
            assert (await rig.lines.next())["outcome"] == Outcome.DETACHED
            held.cancel()
            await stopping

    go(test())


def test_an_access_logger_does_not_hold_up_a_shutdown() -> None:
    async def test() -> None:
        async with serving(world().services) as rig:
            logger = rig.access_log()
            await logger.write(pb.StreamAccessLogsMessage())
            await rig.health()
            await asyncio.wait_for(rig.server.stop(3600.0), PATIENCE)
            assert await logger.code() is grpc.StatusCode.OK

    go(test())


def test_a_request_in_doubt_has_its_line_before_the_server_is_gone() -> None:
    async def test() -> None:
        async with serving(world().services) as rig:
            route = await rig.envoy.flowing(chat(stream=True), "a", one_piece("hel"))
            route.cancel()
            while rig.server.active:
                await asyncio.sleep(0)
            assert rig.lines.empty
            await rig.server.stop(0.0)
            assert (await rig.lines.next())["outcome"] == "cut"

    go(test())
