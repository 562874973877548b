"""One ext_proc stream over gRPC: reads Envoy's messages, drives an exchange, writes its answers, runs its timers.

Events are handled in the order in which Envoy sent them. A timer that runs out while we wait for Envoy is handled at once; if it has something
to say, that ends the call (every tick's answer does), so the interrupted read loses nothing. One that runs out while an event is
in work waits for it. Large bodies are handled in a thread: parsing 10 MB must not hold up every other request for as long as it
takes.

A bug in a handler, or in what it wants to say, costs exactly one request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, NoReturn, Protocol

from extproc.core.exchange import Abort, Action, AnyEvent, Arm, BodyEvent, Exchange, Finish, Tick
from extproc.edge import llm_extproc_pb2 as pb
from extproc.edge.grpc_call import Message, Status
from extproc.edge.wire import event_of, message_of

LARGE = 128 << 10
"""Bytes of body from which an event is handled in a thread; below it the hand-over costs more than the work."""

Fault = Callable[[Exchange, Exception], list[Action]]
"""The answer to an event whose handler raised."""

Passes = Callable[[Exchange], bool]
"""May this exchange's call end now, because the rest of the answer needs nobody?"""


class Context(Protocol):
    """What a call is read and written through: an `Rpc`."""

    async def read(self) -> Any:
        """The next message, or None after the last. A read that is cancelled loses nothing."""

    async def write(self, message: Message) -> None: ...

    def abort(self, status: Status, reason: str) -> NoReturn: ...


class Call:
    """One stream. `run` returns when the exchange finished the call or Envoy ended it; a cancelled call raises CancelledError."""

    __slots__ = ("_context", "_executor", "_fault", "_interrupt", "_late", "_loop", "_over", "_passes", "_reading", "_task", "_timers", "exchange")

    def __init__(self, exchange: Exchange, context: Context, executor: Executor, fault: Fault) -> None:
        self.exchange = exchange
        self._context = context
        self._executor = executor
        self._fault = fault
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._late: list[str] = []
        self._interrupt: list[Action] | None = None
        self._passes: Passes | None = None
        self._reading = False
        self._over = False

    async def run(self) -> None:
        try:
            while not self._over:
                message = await self._read()
                if message is None:
                    break
                await self._carry_out(await self._handle(message))
                while self._late and not self._over:
                    await self._carry_out(self._handle_here(Tick(self._late.pop(0))))
                if self._passes is not None and self._passes(self.exchange):
                    break
            if self._interrupt is not None:
                await self._carry_out(self._interrupt)
        finally:
            for timer in self._timers.values():
                timer.cancel()
            self._timers.clear()

    def let_go(self, passes: Passes) -> None:
        """End the call with OK (shutdown) at the first moment between two events at which `passes` holds: Envoy then lets the rest of the answer
        flow natively. `passes` is called at each such moment, now included."""
        self._passes = passes
        if self._reading and self._interrupt is None and self._task is not None and passes(self.exchange):
            self._interrupt = [Finish()]
            self._task.cancel()

    async def _read(self) -> Any:
        """The next message, or None at the end of the call or when a timer has the last word."""
        self._reading = True
        try:
            return await self._context.read()
        except asyncio.CancelledError:
            if self._interrupt is None or self._task is None:
                raise
            if self._task.uncancel():
                # Envoy has ended the call in the same moment
                raise
            return None
        finally:
            self._reading = False

    async def _handle(self, message: pb.ProcessingRequest) -> list[Action]:
        try:
            event = event_of(message)
        except ValueError as unknown:
            return self._fault(self.exchange, unknown)
        if isinstance(event, BodyEvent) and len(event.body) > LARGE:
            return await self._in_a_thread(event)
        return self._handle_here(event)

    async def _in_a_thread(self, event: AnyEvent) -> list[Action]:
        job = self._executor.submit(self._handle_here, event)
        done = asyncio.wrap_future(job)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            # what a thread is working on must not be closed under it, and a thread cannot be stopped
            if not job.cancel():
                await asyncio.wait([done])
            raise

    def _handle_here(self, event: AnyEvent) -> list[Action]:
        try:
            return self.exchange.handle(event)
        except Exception as bug:  # noqa: BLE001 - whatever it is, it must not cost more than this request
            return self._fault(self.exchange, bug)

    async def _carry_out(self, actions: list[Action], *, last: bool = False) -> None:
        for action in actions:
            if isinstance(action, Arm):
                self._arm(action)
            elif isinstance(action, Finish):
                self._over = True
            elif isinstance(action, Abort):
                self._over = True
                self._context.abort(Status.ABORTED, action.reason)
            else:
                try:
                    message = message_of(action)
                except Exception as bug:
                    if last:
                        raise
                    await self._carry_out(self._fault(self.exchange, bug), last=True)
                    return
                await self._context.write(message)

    def _arm(self, action: Arm) -> None:
        timer = self._timers.pop(action.name, None)
        if timer is not None:
            timer.cancel()
        elif action.name in self._late:
            # it ran out while this was in work, which moves it
            self._late.remove(action.name)
        if action.seconds is not None:
            self._timers[action.name] = self._loop.call_later(action.seconds, self._ran_out, action.name)

    def _ran_out(self, name: str) -> None:
        self._timers.pop(name, None)
        if not self._reading or self._interrupt is not None or self._task is None:
            self._late.append(name)
            return
        actions = self._handle_here(Tick(name))
        if all(isinstance(action, Arm) for action in actions):
            for action in actions:
                if isinstance(action, Arm):
                    self._arm(action)
            return
        self._interrupt = actions
        self._task.cancel()
