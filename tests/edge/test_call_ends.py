"""The ends of a call, against a scripted gRPC context: let go of at a shutdown, a bug, Envoy gone; also while a thread is at work."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from extproc.core.exchange import Action, AnyEvent, Arm, Continue, Kind, Tick
from extproc.edge import llm_extproc_pb2 as pb
from extproc.edge.call import LARGE
from tests.edge.envoys_side import PATIENCE, go
from tests.edge.scripted import ANSWER, Rig, each_answered


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1, thread_name_prefix="body") as pool:
        yield pool


# shutdown


def test_letting_go_of_a_call_that_waits(executor: ThreadPoolExecutor) -> None:
    async def test() -> None:
        rig = Rig(each_answered, executor)
        rig.context.deliver("one")
        running = asyncio.create_task(rig.run())
        await rig.until_reading()
        assert rig.call is not None
        rig.call.let_go(lambda exchange: exchange is rig.exchange)
        await running
        assert rig.context.kinds == ["response_body"]
        assert rig.context.aborted is None

    go(test())


def test_letting_go_in_the_middle_of_an_answer_waits_for_its_end(executor: ThreadPoolExecutor) -> None:
    async def test() -> None:
        rig = Rig(lambda event: [ANSWER, ANSWER], executor)
        rig.context.gate.clear()
        rig.context.deliver("one", "two")
        running = asyncio.create_task(rig.run())
        await rig.context.writing.wait()
        assert rig.call is not None
        rig.call.let_go(lambda exchange: True)
        rig.context.gate.set()
        await running
        assert rig.exchange.said == ["one"]
        assert rig.context.kinds == ["response_body"] * 2

    go(test())


def test_a_call_is_let_go_as_soon_as_it_may(executor: ThreadPoolExecutor) -> None:
    async def test() -> None:
        rig = Rig(each_answered, executor)
        running = asyncio.create_task(rig.run())
        await rig.until_reading()
        assert rig.call is not None
        rig.call.let_go(lambda exchange: len(rig.exchange.events) == 2)
        rig.context.deliver("one", "two", "three")
        await running
        assert rig.exchange.said == ["one", "two"]

    go(test())


# faults


def test_a_handler_that_raises_is_answered_for(executor: ThreadPoolExecutor) -> None:
    def script(event: AnyEvent) -> list[Action]:
        raise RuntimeError("a bug")

    async def test() -> None:
        rig = Rig(script, executor)
        rig.context.deliver("one", "two")
        await rig.finished()
        assert [type(bug) for bug in rig.faults] == [RuntimeError]
        assert rig.exchange.said == ["one"]
        assert rig.context.kinds == ["immediate_response"]

    go(test())


def test_a_handler_that_raises_in_a_thread_is_answered_for(executor: ThreadPoolExecutor) -> None:
    def script(event: AnyEvent) -> list[Action]:
        raise RuntimeError("a bug")

    async def test() -> None:
        rig = Rig(script, executor)
        rig.context.deliver("x" * (LARGE + 1))
        await rig.finished()
        assert [type(bug) for bug in rig.faults] == [RuntimeError]
        assert rig.context.kinds == ["immediate_response"]

    go(test())


def test_a_tick_that_raises_is_answered_for(executor: ThreadPoolExecutor) -> None:
    def script(event: AnyEvent) -> list[Action]:
        if isinstance(event, Tick):
            raise RuntimeError("a bug")  # noqa: TRY004 - not about types
        return [Arm("limit", 0.0)]

    async def test() -> None:
        rig = Rig(script, executor)
        rig.context.deliver("one")
        await rig.finished()
        assert len(rig.faults) == 1
        assert rig.context.kinds == ["immediate_response"]

    go(test())


def test_an_unknown_message_is_a_fault_of_one_call(executor: ThreadPoolExecutor) -> None:
    async def test() -> None:
        rig = Rig(each_answered, executor)
        rig.context.incoming.put_nowait(pb.ProcessingRequest())
        await rig.finished()
        assert [type(bug) for bug in rig.faults] == [ValueError]
        assert rig.exchange.events == []
        assert rig.context.kinds == ["immediate_response"]

    go(test())


def test_an_answer_that_cannot_be_said_is_a_fault_of_one_call(executor: ThreadPoolExecutor) -> None:
    async def test() -> None:
        rig = Rig(lambda event: [Continue(Kind.RESPONSE_BODY, body="text"), ANSWER], executor)  # type: ignore[arg-type]
        rig.context.deliver("one", "two")
        await rig.finished()
        assert [type(bug) for bug in rig.faults] == [TypeError]
        assert rig.exchange.said == ["one"]
        assert rig.context.kinds == ["immediate_response"]

    go(test())


# Envoy's end


def test_a_cancelled_call_raises_and_stops_its_timers(executor: ThreadPoolExecutor) -> None:
    async def test() -> None:
        rig = Rig(lambda event: [ANSWER, Arm("limit", 3600.0)], executor)
        rig.context.deliver("one")
        running = asyncio.create_task(rig.run())
        await rig.until_reading()
        assert rig.call is not None
        assert list(rig.call._timers) == ["limit"]
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert rig.call._timers == {}

    go(test())


def test_a_call_that_is_cancelled_during_work_in_a_thread_ends_after_it(executor: ThreadPoolExecutor) -> None:
    """The books of a request must not be closed while a thread still writes to them."""

    async def test() -> None:
        started, proceed = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()
        worked: list[bool] = []

        def script(event: AnyEvent) -> list[Action]:
            loop.call_soon_threadsafe(started.set)
            worked.append(proceed.wait(PATIENCE))
            return [ANSWER]

        rig = Rig(script, executor)
        rig.context.deliver("x" * (LARGE + 1))
        running = asyncio.create_task(rig.run())
        await started.wait()
        running.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not running.done()
        proceed.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert worked == [True]
        assert rig.context.written == []

    go(test())


def test_a_cancelled_call_that_waits_for_a_thread_is_not_worked_on(executor: ThreadPoolExecutor) -> None:
    async def test() -> None:
        proceed = threading.Event()
        executor.submit(proceed.wait, PATIENCE)
        rig = Rig(each_answered, executor)
        rig.context.deliver("x" * (LARGE + 1))
        running = asyncio.create_task(rig.run())
        while not executor._work_queue.qsize():
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        proceed.set()
        await asyncio.get_running_loop().run_in_executor(executor, int)
        assert rig.exchange.events == []

    go(test())
