"""The real server on a real Unix socket, with a client in Envoy's place: stages, limits, Envoy's end of a call, large bodies."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import grpc
import grpc.aio
import orjson
import pytest

from extproc.core.exchange import Kind
from extproc.core.plan import NAMESPACE
from extproc.edge import llm_extproc_pb2 as pb
from extproc.edge.server import Server
from tests.edge.envoys_side import PATIENCE, body, go, headers, one_piece, serving, whole_answer, world
from tests.stages.world import chat


def test_a_request_through_both_stages() -> None:
    async def test() -> None:
        async with serving(world().services) as rig:
            await whole_answer(rig, chat())
            line = await rig.lines.next()
            assert (line["outcome"], line["status"], line["target"], line["output_tokens"]) == ("ok", 200, "a", 2)
            assert rig.server.active == 0
            assert rig.services.under_way == {}

    go(test())


def test_a_translated_attempt() -> None:
    async def test() -> None:
        async with serving(world().services) as rig:
            envoy = rig.envoy
            await envoy.route(chat())
            _, sent = await envoy.attempt(chat(), "b", 2)
            common = sent.request_body.response
            fields = {o.header.key: o.header.raw_value for o in common.header_mutation.set_headers}
            assert fields[":path"] == b"/v1/messages"
            assert orjson.loads(common.body_mutation.body)["messages"] == [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]

    go(test())


@pytest.mark.parametrize("stage", ["", "Route", "admin"])
def test_an_unknown_stage_is_refused(stage: str) -> None:
    async def test() -> None:
        async with serving(world().services) as rig:
            call = rig.envoy.call(stage)
            assert await call.answer() is None
            assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert rig.server.active == 0

    go(test())


def test_another_method_is_not_served() -> None:
    async def test() -> None:
        async with serving(world().services) as rig:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await rig.channel.unary_unary("/some.Service/Method")(b"")
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED

    go(test())


def test_a_message_above_the_limit_ends_its_call_only() -> None:
    async def test() -> None:
        small = world()
        small.services.options.max_body = 1000
        async with serving(small.services) as rig:
            call = rig.envoy.call("route")
            await call.ask(headers(Kind.REQUEST_HEADERS, {":method": "POST", ":path": "/v1/chat/completions"}))
            await call.send(body(Kind.REQUEST_BODY, b"x" * (2 << 20)))
            assert await call.answer() is None
            assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            await whole_answer(rig, chat())

    go(test())


def test_a_directory_that_is_not_there_is_an_error_with_the_address() -> None:
    async def test() -> None:
        server = Server(world().services, None, ["unix:/no/such/directory/extproc.sock"])  # type: ignore[arg-type]
        with pytest.raises(OSError, match="cannot listen") as refused:
            await server.start()
        assert refused.value.filename == "unix:/no/such/directory/extproc.sock"

    go(test())


# Envoy's end


def test_a_call_that_envoy_cancels_closes_its_books() -> None:
    async def test() -> None:
        async with serving(world().services) as rig:
            route = await rig.envoy.route(chat())
            assert len(rig.services.under_way) == 1
            route.cancel()
            line = await rig.lines.next()
            assert (line["outcome"], line["status"]) == ("client_gone", 0)
            assert rig.server.active == 0
            assert rig.services.under_way == {}

    go(test())


def test_a_call_that_envoy_ends_closes_its_books() -> None:
    async def test() -> None:
        async with serving(world().services) as rig:
            route = await rig.envoy.route(chat())
            await route.hang_up()
            assert await route.code() is grpc.StatusCode.OK
            assert (await rig.lines.next())["outcome"] == "client_gone"

    go(test())


@pytest.mark.parametrize(("flags", "outcome"), [(["downstream_remote_reset"], "client_gone"), ([], "cut")])
def test_the_access_log_says_who_broke_a_stream_off(flags: list[str], outcome: str) -> None:
    async def test() -> None:
        async with serving(world().services) as rig:
            envoy = rig.envoy
            piece = one_piece("hel")
            route = await envoy.flowing(chat(stream=True), "a", piece)
            logger = rig.access_log()
            route.cancel()
            message = pb.StreamAccessLogsMessage()
            entry = message.http_logs.log_entry.add()
            for flag in flags:
                setattr(entry.common_properties.response_flags, flag, True)
            for name, value in envoy.metadata[NAMESPACE].items():
                entry.common_properties.metadata.filter_metadata[NAMESPACE].fields[name].CopyFrom(value)
            await logger.write(message)
            line = await rig.lines.next()
            assert (line["outcome"], line["status"], line["bytes_out"]) == (outcome, 200, len(piece))

    go(test())


# large bodies


def test_small_calls_overtake_a_large_body() -> None:
    """10 MB in 2,000 messages, routed and translated in threads; while it is in work, small requests come and go."""
    many = [{"role": ("user", "assistant")[i % 2], "content": f"{i} " + "x" * 5000} for i in range(2001)]
    large = orjson.dumps({"model": "chat", "messages": many})
    assert len(large) > 10_000_000

    async def test() -> None:
        here = world()
        new_id, facts = here.services.new_id, here.services.facts
        threads: list[str] = []
        at_work, gate = threading.Event(), threading.Event()

        def slow() -> None:
            if threading.current_thread() is not threading.main_thread():
                threads.append(threading.current_thread().name)
                at_work.set()
                assert gate.wait(PATIENCE)

        def slow_id() -> str:
            slow()
            return new_id()

        def slow_facts(*args: Any) -> Any:
            slow()
            return facts(*args)

        here.services.new_id, here.services.facts = slow_id, slow_facts
        async with serving(here.services) as rig:
            envoy = rig.envoy
            for stage in ("route", "attempt"):
                at_work.clear()
                gate.clear()
                step = envoy.route(large) if stage == "route" else envoy.attempt(large, "b", 2)
                working: asyncio.Task[Any] = asyncio.create_task(step)
                assert await asyncio.to_thread(at_work.wait, PATIENCE)
                await asyncio.gather(*(whole_answer(rig, chat()) for _ in range(5)))
                assert not working.done()
                gate.set()
                done = await working
            _, sent = done
            translated = orjson.loads(sent.request_body.response.body_mutation.body)
            assert len(translated["messages"]) == len(many)
            assert len(threads) >= 2, "deciding asks for facts, too"
            assert all(name.startswith("body") for name in threads)

    go(test())
