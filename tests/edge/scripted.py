"""A call without gRPC: an exchange that says what a script says, and the context that it is read and written through."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

from extproc.core.exchange import Action, AnyEvent, BodyEvent, Continue, Exchange, Finish, Immediate, Kind, State, Tick
from extproc.edge import llm_extproc_pb2 as pb
from extproc.edge.call import Call
from extproc.edge.grpc_call import Aborted, Message, Status
from tests.edge.envoys_side import PATIENCE, body

Script = Callable[[AnyEvent], list[Action]]
ANSWER = Continue(Kind.RESPONSE_BODY)
NO = Immediate(504, [], b"no", "llm_deadline")


class Scripted(Exchange):
    """Says what the script says; remembers the events and the threads that they were handled in."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self.script = script
        self.events: list[AnyEvent] = []
        self.threads: list[str] = []

    def handle(self, event: AnyEvent) -> list[Action]:
        self.events.append(event)
        self.threads.append(threading.current_thread().name)
        return self.script(event)

    @property
    def said(self) -> list[str]:
        """The events, in short."""
        return [
            e.name if isinstance(e, Tick) else e.body.decode() if isinstance(e, BodyEvent) and len(e.body) < 99 else e.kind.value for e in self.events
        ]


class Context:
    """An `Rpc`'s place: what is put into `incoming` is read, what is written is kept. `gate` holds back writes while it is clear."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[Any] = asyncio.Queue()
        self.written: list[pb.ProcessingResponse] = []
        self.aborted: tuple[Status, str] | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.writing = asyncio.Event()

    async def read(self) -> Any:
        return await self.incoming.get()

    async def write(self, message: Message) -> None:
        assert isinstance(message, pb.ProcessingResponse)
        self.writing.set()
        await self.gate.wait()
        self.written.append(message)

    def abort(self, status: Status, reason: str) -> NoReturn:
        self.aborted = (status, reason)
        raise Aborted

    def deliver(self, *pieces: str) -> None:
        for piece in pieces:
            self.incoming.put_nowait(body(Kind.RESPONSE_BODY, piece.encode(), end=False))

    @property
    def kinds(self) -> list[str]:
        return [str(m.WhichOneof("response")) for m in self.written]


class Rig:
    def __init__(self, script: Script, executor: ThreadPoolExecutor) -> None:
        self.exchange = Scripted(script)
        self.context = Context()
        self.faults: list[Exception] = []
        self._executor = executor
        self.call: Call | None = None

    def fault(self, exchange: Exchange, bug: Exception) -> list[Action]:
        self.faults.append(bug)
        exchange.state = State.DONE
        return [Immediate(500, [], b"{}", "llm_internal"), Finish()]

    async def run(self) -> None:
        self.call = Call(self.exchange, self.context, self._executor, self.fault)
        await self.call.run()

    async def until_reading(self) -> None:
        """Returns when everything delivered was handled and the call waits for more."""
        while self.call is None or not (self.context.incoming.empty() and self.call._reading):
            await asyncio.sleep(0)

    async def finished(self) -> None:
        await asyncio.wait_for(self.run(), PATIENCE)


def each_answered(event: AnyEvent) -> list[Action]:
    return [] if isinstance(event, Tick) else [ANSWER]
