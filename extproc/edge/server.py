"""The ext_proc server: gRPC on a Unix socket, one exchange per call, health checks for Envoy, and a shutdown that drops nobody.

The method path is a string and the messages are our own minimal ones. The stage of a call is in the metadata `x-stage`, which Envoy's filters
send.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from extproc.core.errors import ApiError, ErrorKind
from extproc.core.exchange import Abort, Action, Closed, Exchange, Finish, State
from extproc.edge import llm_extproc_pb2 as pb
from extproc.edge.access_log import BrokenEnd, BrokenEnds
from extproc.edge.books import Books
from extproc.edge.call import Call
from extproc.edge.grpc_call import Method, Rpc, Status
from extproc.edge.grpc_server import GrpcServer
from extproc.edge.shadow import Shadows
from extproc.stages import answers, learn
from extproc.stages.attempt import AttemptExchange
from extproc.stages.operations import OPENAI, speaker
from extproc.stages.route import RouteExchange
from extproc.stages.services import Services
from extproc.stages.shadow import header_of
from extproc.telemetry.record import Outcome
from extproc.telemetry.traceparent import parse_traceparent
from extproc.telemetry.tracing import ChatSpan

log = logging.getLogger(__name__)

ACCESS_LOGS = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
HEALTH_CHECK = "/grpc.health.v1.Health/Check"
THREADS = 2
"""For large bodies: two, so that one 40 MB body does not hold up a second one entirely."""
LAST_WORDS = 0.5
"""Seconds at the end of a shutdown for the final status of calls that have just ended; what is still under way is then cancelled."""


class Server:
    """Serves on `addresses`, such as `unix:/run/llm/extproc-0.sock`. `shadows` None: no request is sent again."""

    def __init__(self, services: Services, books: Books, addresses: Sequence[str], shadows: Shadows | None = None) -> None:
        self._services = services
        self._shadows = shadows
        self._books = books
        self._addresses = addresses
        self._calls: set[Call] = set()
        self.woken: Callable[[], None] = _nothing
        """Called when a request comes after none were under way."""
        self._draining = False
        self._idle = asyncio.Event()
        self._ends = BrokenEnds()
        self._access_logs: set[asyncio.Task[Any]] = set()
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="body")
        limit = services.options.max_body + (1 << 20)
        methods = {
            PROCESS: Method(self._process, pb.ProcessingRequest.FromString),
            ACCESS_LOGS: Method(self._access_log, pb.StreamAccessLogsMessage.FromString),
            HEALTH_CHECK: Method(self._health, pb.HealthCheckRequest.FromString),
        }
        self._server = GrpcServer(methods, limit)

    async def start(self) -> None:
        """Raises OSError for an address that cannot be listened on."""
        for address in self._addresses:
            try:
                await self._server.listen(Path(address.removeprefix("unix:")))
            except OSError as refused:
                await self._server.stop(0.0)
                raise OSError(refused.errno, f"cannot listen here: {refused.strerror or refused}", address) from None

    async def stop(self, grace: float) -> None:
        """Drain: fail health checks, let go of what flows on natively, wait up to `grace` seconds until no call is under way.

        New calls are taken until then: a request under way needs one for each further attempt, and Envoy, which prefers healthy processes, comes
        here where there is no other.
        """
        self._draining = True
        if self._calls:
            for call in tuple(self._calls):
                call.let_go(_passes)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), grace)
        # the access log's call never ends by itself
        for task in self._access_logs:
            task.cancel()
        await self._server.stop(LAST_WORDS)
        self._ends.give_up()
        self._executor.shutdown(wait=False, cancel_futures=True)

    @property
    def active(self) -> int:
        """Calls under way."""
        return len(self._calls)

    async def _health(self, rpc: Rpc) -> None:
        await rpc.read()
        status = pb.HealthCheckResponse.NOT_SERVING if self._draining else pb.HealthCheckResponse.SERVING
        await rpc.write(pb.HealthCheckResponse(status=status))

    async def _access_log(self, rpc: Rpc) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._access_logs.add(task)
        try:
            while (message := await rpc.read()) is not None:
                self._ends.feed(message)
        except asyncio.CancelledError:
            if not self._draining:
                raise
            # this is our own word to it: it has done what it was for
            task.uncancel()
        finally:
            self._access_logs.discard(task)
        await rpc.write(pb.StreamAccessLogsResponse())

    async def _process(self, rpc: Rpc) -> None:
        stage = rpc.metadata("x-stage")
        if stage == "attempt":
            exchange: Exchange = AttemptExchange(self._services)
        elif stage == "route":
            exchange = RouteExchange(self._services)
        else:
            rpc.abort(Status.INVALID_ARGUMENT, "x-stage must be route or attempt")
        call = Call(exchange, rpc, self._executor, self._fault)
        if self._draining:
            call.let_go(_passes)
        if not self._calls:
            self.woken()
        self._calls.add(call)
        try:
            await call.run()
        finally:
            self._calls.discard(call)
            self._close(exchange)
            if self._draining and not self._calls:
                self._idle.set()

    def _close(self, exchange: Exchange) -> None:
        """Whatever ended the call: the books are closed, and nothing here may raise into gRPC."""
        try:
            exchange.handle(Closed())
            if isinstance(exchange, RouteExchange):
                if exchange.in_doubt and exchange.plan is not None:
                    self._ends.settle(exchange.plan.key, functools.partial(self._settled, exchange))
                else:
                    self._books.request(exchange)
                    learn.settled(exchange, certain=True)
                    self._send_again(exchange)
            elif isinstance(exchange, AttemptExchange):
                self._books.attempt(exchange, self._services.wall())
        except Exception:
            log.exception("the books of a request could not be closed")

    def _send_again(self, exchange: RouteExchange) -> None:
        """A copy of what ended well goes to the model's shadow target."""
        if exchange.copy is not None and self._shadows is not None and exchange.record.outcome is Outcome.OK and not self._draining:
            self._shadows.send(exchange.copy, header_of(exchange.copy, exchange.record))
        exchange.copy = None

    def _settled(self, exchange: RouteExchange, end: BrokenEnd | None) -> None:
        try:
            if end is not None:
                exchange.broken_by(end.outcome, end.status)
            self._books.request(exchange)
            learn.settled(exchange, certain=end is not None)
        except Exception:
            log.exception("the books of a request could not be closed")

    def _fault(self, exchange: Exchange, bug: Exception) -> list[Action]:
        """A bug of ours: a JSON 500 with the trace id while nothing has been sent, else the client's stream is reset."""
        streaming = exchange.state is State.STREAMING
        plan = exchange.plan if isinstance(exchange, RouteExchange | AttemptExchange) else None
        dialect = plan.dialect if plan is not None else OPENAI
        if isinstance(exchange, RouteExchange):
            dialect = exchange.record.client_dialect or dialect
        trace_id = _trace_id(exchange)
        # the text of an exception may quote a prompt: only where it happened is logged
        frames = [f"{f.filename.rpartition('/extproc/')[2]}:{f.lineno} {f.name}" for f in traceback.extract_tb(bug.__traceback__)]
        log.error("a bug in the server failed a request", extra={"exception": type(bug).__name__, "frames": frames, "trace_id": trace_id})
        exchange.state = State.DONE
        error = ApiError(ErrorKind.INTERNAL, f"internal error of the gateway; trace id {trace_id or 'unknown'}")
        if isinstance(exchange, RouteExchange):
            exchange.end(Outcome.INTERNAL_ERROR, 0 if streaming else 500, error)
        if streaming:
            return [Abort("internal error")]
        client = speaker(dialect, self._services.dialects)
        return [answers.immediate(client, error, "llm_internal", final=isinstance(exchange, AttemptExchange)), Finish()]


def _nothing() -> None:
    """Nobody wants to know."""


def _trace_id(exchange: Exchange) -> str:
    """What a client can quote and an operator can find: the trace's id, without tracing Envoy's request id."""
    if isinstance(exchange, RouteExchange):
        context = exchange.span.context if isinstance(exchange.span, ChatSpan) else None
        return context.trace_id if context is not None else exchange.record.request_id
    plan = exchange.plan if isinstance(exchange, AttemptExchange) else None
    if plan is None:
        return ""
    span = parse_traceparent(plan.span)
    return span.trace_id if span is not None else plan.rid


def _passes(exchange: Exchange) -> bool:
    """Does the rest of this answer flow without us? Then its books are closed here: its end will not be seen."""
    if not isinstance(exchange, RouteExchange) or not exchange.passing:
        return False
    exchange.end(Outcome.DETACHED, exchange.record.status)
    return True
