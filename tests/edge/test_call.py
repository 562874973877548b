"""One call, against a scripted gRPC context: the order of events and answers, and timers in every position."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from extproc.core.exchange import Abort, Action, AnyEvent, Arm, BodyEvent, Continue, Finish, HeadersEvent, Kind, Tick
from extproc.edge.call import LARGE
from extproc.edge.grpc_call import Aborted, Status
from tests.edge.envoys_side import PATIENCE, go, headers
from tests.edge.scripted import ANSWER, NO, Rig, each_answered


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1, thread_name_prefix="body") as pool:
        yield pool


def test_events_are_handled_and_answered_in_order(executor: ThreadPoolExecutor) -> None:
    def script(event: AnyEvent) -> list[Action]:
        assert isinstance(event, BodyEvent | HeadersEvent)
        if isinstance(event, HeadersEvent):
            return [Continue(event.kind)]
        return [Continue(Kind.RESPONSE_BODY, body=event.body.upper())]

    async def test() -> None:
        rig = Rig(script, executor)
        rig.context.incoming.put_nowait(headers(Kind.REQUEST_HEADERS, {"a": "b"}))
        rig.context.deliver("one", "two", "three")
        rig.context.incoming.put_nowait(None)
        await rig.finished()
        assert rig.context.kinds == ["request_headers"] + ["response_body"] * 3
        assert [m.response_body.response.body_mutation.body for m in rig.context.written[1:]] == [b"ONE", b"TWO", b"THREE"]
        assert set(rig.exchange.threads) == {"MainThread"}

    go(test())


def test_an_event_without_an_answer_writes_nothing(executor: ThreadPoolExecutor) -> None:
    async def test() -> None:
        rig = Rig(lambda event: [], executor)
        rig.context.deliver("held")
        rig.context.incoming.put_nowait(None)
        await rig.finished()
        assert rig.exchange.said == ["held"]
        assert rig.context.written == []

    go(test())


def test_finish_ends_the_call_and_leaves_the_rest_unread(executor: ThreadPoolExecutor) -> None:
    async def test() -> None:
        rig = Rig(lambda event: [ANSWER, Finish()], executor)
        rig.context.deliver("one", "two")
        await rig.finished()
        assert rig.exchange.said == ["one"]
        assert rig.context.kinds == ["response_body"]

    go(test())


def test_abort_ends_the_call_with_an_error(executor: ThreadPoolExecutor) -> None:
    async def test() -> None:
        rig = Rig(lambda event: [Abort("broken off")], executor)
        rig.context.deliver("one", "two")
        with pytest.raises(Aborted):
            await rig.finished()
        assert rig.context.aborted == (Status.ABORTED, "broken off")
        assert rig.exchange.said == ["one"]

    go(test())


# timers


def test_a_tick_while_we_wait_for_envoy_has_the_last_word(executor: ThreadPoolExecutor) -> None:
    def script(event: AnyEvent) -> list[Action]:
        return [NO, Finish()] if isinstance(event, Tick) else [ANSWER, Arm("limit", 0.0)]

    async def test() -> None:
        rig = Rig(script, executor)
        rig.context.deliver("one")
        await rig.finished()
        assert rig.exchange.said == ["one", "limit"]
        assert rig.context.kinds == ["response_body", "immediate_response"]

    go(test())


def test_a_tick_may_abort(executor: ThreadPoolExecutor) -> None:
    async def test() -> None:
        rig = Rig(lambda event: [Abort("silent")] if isinstance(event, Tick) else [Arm("stall", 0.0)], executor)
        rig.context.deliver("one")
        with pytest.raises(Aborted):
            await rig.finished()
        assert rig.context.aborted == (Status.ABORTED, "silent")

    go(test())


def test_a_tick_that_only_arms_again_does_not_disturb_the_reading(executor: ThreadPoolExecutor) -> None:
    ticks = 0

    async def test() -> None:
        ready = asyncio.Event()

        def script(event: AnyEvent) -> list[Action]:
            nonlocal ticks
            if not isinstance(event, Tick):
                return [ANSWER, Arm("stall", 0.0)] if not ticks else [ANSWER, Arm("stall", None)]
            ticks += 1
            if ticks == 3:
                ready.set()
                return [Arm("stall", 3600.0)]
            return [Arm("stall", 0.0)]

        rig = Rig(script, executor)
        rig.context.deliver("one")
        running = asyncio.create_task(rig.run())
        await ready.wait()
        rig.context.deliver("two")
        rig.context.incoming.put_nowait(None)
        await running
        assert rig.exchange.said == ["one", "stall", "stall", "stall", "two"]
        assert rig.context.kinds == ["response_body"] * 2

    go(test())


def test_a_disarmed_timer_does_not_tick(executor: ThreadPoolExecutor) -> None:
    async def test() -> None:
        rig = Rig(lambda event: [Arm("a", 0.0), Arm("b", 0.0), Arm("a", None)] if event.kind is Kind.RESPONSE_BODY else [Finish()], executor)
        rig.context.deliver("one")
        await rig.finished()
        assert rig.exchange.said == ["one", "b"]

    go(test())


def test_no_timer_outlives_its_call(executor: ThreadPoolExecutor) -> None:
    async def test() -> None:
        rig = Rig(lambda event: [Arm("limit", 0.0), Finish()], executor)
        rig.context.deliver("one")
        await rig.finished()
        for _ in range(5):
            await asyncio.sleep(0)
        assert rig.exchange.said == ["one"]

    go(test())


def test_a_tick_during_work_in_a_thread_waits_for_it(executor: ThreadPoolExecutor) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        fired = threading.Event()

        def script(event: AnyEvent) -> list[Action]:
            if isinstance(event, Tick):
                return [NO, Finish()]
            assert isinstance(event, BodyEvent)
            if len(event.body) <= LARGE:
                return [Arm("limit", 0.0)]
            # the loop goes on while this thread works: the timer runs out now
            loop.call_soon_threadsafe(loop.call_soon, loop.call_soon, fired.set)
            assert fired.wait(PATIENCE)
            return [ANSWER]

        rig = Rig(script, executor)
        rig.context.deliver("small", "x" * (LARGE + 1))
        await rig.finished()
        assert rig.exchange.said == ["small", "response_body", "limit"]
        assert rig.exchange.threads[1].startswith("body")
        assert rig.exchange.threads[0] == rig.exchange.threads[2] == "MainThread"
        assert rig.context.kinds == ["response_body", "immediate_response"]

    go(test())


def test_a_body_at_the_limit_stays_on_the_loop(executor: ThreadPoolExecutor) -> None:
    async def test() -> None:
        rig = Rig(each_answered, executor)
        rig.context.deliver("x" * LARGE)
        rig.context.incoming.put_nowait(None)
        await rig.finished()
        assert rig.exchange.threads == ["MainThread"]

    go(test())


def test_a_tick_during_a_write_waits_for_it(executor: ThreadPoolExecutor) -> None:
    async def test() -> None:
        def script(event: AnyEvent) -> list[Action]:
            return [NO, Finish()] if isinstance(event, Tick) else [Arm("limit", 0.0), ANSWER]

        rig = Rig(script, executor)
        rig.context.gate.clear()
        rig.context.deliver("one")
        running = asyncio.create_task(rig.run())
        await rig.context.writing.wait()
        assert rig.call is not None
        while not rig.call._late:
            await asyncio.sleep(0)
        assert rig.exchange.said == ["one"]
        rig.context.gate.set()
        await running
        assert rig.exchange.said == ["one", "limit"]
        assert rig.context.kinds == ["response_body", "immediate_response"]

    go(test())


@pytest.mark.parametrize("seconds", [3600.0, None], ids=["moved", "disarmed"])
def test_a_timer_that_ran_out_during_work_which_moves_it_does_not_tick(executor: ThreadPoolExecutor, seconds: float | None) -> None:
    """A provider that has just sent something is not silent, even if its limit passed while we looked at what it sent."""

    async def test() -> None:
        def script(event: AnyEvent) -> list[Action]:
            if isinstance(event, Tick):
                return [NO, Finish()]
            return [Arm("limit", 0.0), ANSWER, Arm("limit", seconds)]

        rig = Rig(script, executor)
        rig.context.gate.clear()
        rig.context.deliver("one")
        running = asyncio.create_task(rig.run())
        await rig.context.writing.wait()
        assert rig.call is not None
        while not rig.call._late:
            await asyncio.sleep(0)
        rig.context.gate.set()
        rig.context.incoming.put_nowait(None)
        await running
        assert rig.exchange.said == ["one"]
        assert rig.context.kinds == ["response_body"]

    go(test())


def test_a_message_that_arrives_with_the_last_word_is_left_unanswered(executor: ThreadPoolExecutor) -> None:
    async def test() -> None:
        def script(event: AnyEvent) -> list[Action]:
            if isinstance(event, Tick):
                rig.context.deliver("at the same moment")
                return [NO, Finish()]
            return [ANSWER, Arm("limit", 0.0)]

        rig = Rig(script, executor)
        rig.context.deliver("one")
        await rig.finished()
        assert rig.exchange.said == ["one", "limit"]
        assert rig.context.kinds == ["response_body", "immediate_response"]
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling(), "the interruption must not outlive the call"

    go(test())


def test_a_cancellation_in_the_moment_of_a_tick_is_not_swallowed(executor: ThreadPoolExecutor) -> None:
    async def test() -> None:
        def script(event: AnyEvent) -> list[Action]:
            if isinstance(event, Tick):
                running.cancel()
                return [NO, Finish()]
            return [Arm("limit", 0.0)]

        rig = Rig(script, executor)
        rig.context.deliver("one")
        running = asyncio.create_task(rig.run())
        with pytest.raises(asyncio.CancelledError):
            await running
        assert rig.context.written == []

    go(test())
