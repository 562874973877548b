"""A simulated provider: one HTTP/1.1 server on a loopback port or a Unix socket, with the faults it is told to have."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, cast

import orjson

from extproc.simulator import control, replies
from extproc.simulator.delivery import Script, Wait, fault_problem, perform, script
from extproc.simulator.faults import Fault, FaultKind, FaultPlan
from extproc.simulator.http1 import LAST_CHUNK, Connection, Request, chunk, response_head
from extproc.simulator.received import Received, ReceivedLog
from extproc.simulator.sites import SITES
from extproc.simulator.wire import Answer, Api, Ask, Call, Host, Posted, Rejected, Stamp, Wire, seed_of

_CACHED_PROMPTS = 256
_CANNED_KINDS = 64
_CANNED_WORDS = 100
_CANNED_LOOK = 64 << 10
"""Bytes of a request that the fast path looks at, at each end."""
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_USAGE = re.compile(rb'"include_usage"\s*:\s*true')
_HTML = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    b"<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
)


class Simulator:
    """`Simulator("sim-openai", "openai_chat")`; `await start()`, then `url`; `await stop()`. Starting again keeps the port.

    `dialect` is one of `SITES`: that of the provider's first API. `path` listens on a Unix socket instead of a port. `keys` are the keys it
    accepts (none: any). `models` are the models it knows (none: any, and the list shows the usual ones). `words` is the least length of a text
    answer, `tokens_per_second` the pace of a stream (None: all at once). `context_window` in tokens makes longer prompts fail as they would.
    `canned` answers every request of a kind with the bytes of the first, without parsing bodies: for benchmarks. `seed` makes faults with a
    probability repeatable. `on_exchange` is called at the end of every exchange that is not canned.
    """

    def __init__(
        self,
        name: str,
        dialect: str,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        path: str | None = None,
        keys: Iterable[str] = (),
        models: Iterable[str] = (),
        words: int | None = None,
        tokens_per_second: float | None = None,
        context_window: int | None = None,
        canned: bool = False,
        seed: int = 0,
        on_exchange: Callable[[Received], None] | None = None,
    ) -> None:
        if dialect not in SITES:
            raise ValueError(f"dialect must be one of: {', '.join(SITES)}")
        self.name = name
        self.dialect = dialect
        self.host = host
        self.port = port
        self.path = path
        self.keys = frozenset(keys)
        self.models = tuple(models)
        self.words = words
        self.tokens_per_second = tokens_per_second
        self.context_window = context_window
        self.canned = canned
        self.faults = FaultPlan(seed)
        self.received = ReceivedLog()
        self.connections: set[Connection] = set()
        self._apis: tuple[Api, ...] = SITES[dialect]()
        self._on_exchange = on_exchange
        self._server: asyncio.Server | None = None
        self._number = 0
        self._prompts: OrderedDict[bytes, None] = OrderedDict()
        self._canned: dict[tuple[str, bool, bool], Script | bytes] = {}

    # -- life

    async def start(self) -> None:
        """Raises OSError when the port is taken."""
        loop = asyncio.get_running_loop()
        if self.path is not None:
            self._server = await loop.create_unix_server(lambda: Connection(self), self.path, backlog=4096)
        else:
            self._server = await loop.create_server(lambda: Connection(self), self.host, self.port, backlog=4096)
            self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Closes the listener and every connection; answers under way are cut."""
        if self._server is None:
            return
        self._server.close()
        tasks = [c.task for c in self.connections if c.task is not None]
        for connection in list(self.connections):
            connection.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None
        if self.path is not None and Path(self.path).exists():  # noqa: ASYNC240 - one stat at the very end
            os.unlink(self.path)  # noqa: PTH108

    @property
    def url(self) -> str:
        """Where it listens, without a path: http://127.0.0.1:8101. On a Unix socket the host says nothing."""
        return "http://localhost" if self.path is not None else f"http://{self.host}:{self.port}"

    # -- faults

    def fault(self, fault: Fault, times: int | None = 1) -> None:
        """The next `times` requests get `fault`, behind those already waiting; None: all, until `clear_faults`."""
        self.faults.add(fault, times)

    def clear_faults(self) -> None:
        self.faults.clear()

    # -- what a connection asks

    def read_rate(self, request: Request) -> float | None:
        if not self.faults or request.path.startswith(control.PREFIX):
            return None
        fault = self.faults.take_reading()
        return fault.rate if fault is not None else None

    def respond(self, request: Request, connection: Connection) -> Coroutine[Any, Any, None] | None:
        if self.canned and not self.faults and not request.path.startswith(control.PREFIX):
            ready = self._canned.get(_canned_kind(request))
            if isinstance(ready, bytes):
                self.received.note(request, with_body=False).status = 200
                connection.write(ready)
                return None
        return self._exchange(request, connection)

    # -- one exchange

    async def _exchange(self, request: Request, connection: Connection) -> None:
        if request.path.startswith(control.PREFIX):
            reply = control.answer(request, self.faults, self.received)
            await perform(Script(reply.status, reply.headers, len(reply.body), [reply.body]), connection)
            return
        kind = _canned_kind(request) if self.canned and not self.faults else None
        ready = self._canned.get(kind) if kind is not None else None
        if isinstance(ready, Script):
            self.received.note(request, with_body=False).status = 200
            await perform(ready, connection)
            return
        started = time.monotonic()
        self._number += 1
        record = self.received.note(request)
        done = False
        try:
            await self._serve(request, connection, record, kind)
            done = True
        finally:
            record.left = not done
            record.seconds = time.monotonic() - started
            if self._on_exchange is not None:
                self._on_exchange(record)

    async def _serve(self, request: Request, connection: Connection, record: Received, kind: tuple[str, bool, bool] | None) -> None:
        stamp = Stamp(seed_of(self.name, request.body), self._number, time.time())
        fault: Fault | None = None
        call: Call | None = None
        api: Api = self._apis[0]
        try:
            api, call = self._routed(request)
            answer, fault = self._answer(api, call, request, record, stamp)
        except Rejected as problem:
            record.problem = str(problem)
            answer = api.error(problem, stamp, call)
        if fault is not None:
            record.fault = fault.kind.value
            if fault.kind is FaultKind.RESET:
                connection.reset()
                return
            if fault.kind is FaultKind.CLOSE:
                connection.close()
                return
            if fault.kind is FaultKind.SILENCE:
                await (asyncio.sleep(fault.seconds) if fault.seconds else connection.gone.wait())
        record.status = answer.status
        pause = 1 / self.tokens_per_second if self.tokens_per_second else 0.0
        plan = script(answer, fault, api, stamp, call, pause)
        if kind is not None and fault is None and answer.status == 200 and len(self._canned) < _CANNED_KINDS:
            self._canned[kind] = _prepared(plan)
        await perform(plan, connection, head_only=request.method == "HEAD")

    def _routed(self, request: Request) -> tuple[Api, Call]:
        """The API that has this path. Raises `Rejected`, with a word on the method rather than on the path if any API knows the path."""
        refusal: Rejected | None = None
        for api in self._apis:
            try:
                return api, api.route(request.method, request.path, request.query)
            except Rejected as problem:
                if refusal is None or problem.status != 404:
                    refusal = problem
        assert refusal is not None
        raise refusal

    def _answer(self, api: Api, call: Call, request: Request, record: Received, stamp: Stamp) -> tuple[Answer, Fault | None]:
        """The answer and the fault that remains to be done on the wire. Raises `Rejected`."""
        key = record.key = api.key(request.headers, request.query)
        if call.operation == "models":
            api.check_access(call, request.headers, key, self.keys)
            return Answer(200, api.headers(stamp, "application/json"), api.model_list(call, self.models or api.models)), None
        body: Any
        try:
            body = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            body = None
        model = record.model = api.model_of(call, body) if isinstance(body, dict) else call.model
        fault = self.faults.take(model, key) if self.faults else None
        if call.serve is not None:
            return self._plain(
                api, call, request, record, Posted(body if isinstance(body, dict) else None, request.body, request.headers, model, stamp), fault
            )
        wire = cast("Wire", api)
        ask: Ask | None = None
        problem: Rejected | None = None
        try:
            ask = self._ask(wire, call, request, body, model, key)
            record.stream = ask.stream
        except Rejected as refused:
            problem = refused
            record.problem = str(refused)
        if fault is not None:
            spoiled = self._spoiled(api, fault, ask, call, stamp, model)
            if spoiled is not None:
                return spoiled, fault
        if problem is not None or ask is None:
            answer = wire.error(problem or wire.usual(500, model), stamp, call)
            # what needs a valid request cannot happen to this one; the transport's faults still can
            return answer, fault
        return self._said(wire, ask, call, stamp, fault), fault

    def _plain(self, api: Api, call: Call, request: Request, record: Received, posted: Posted, fault: Fault | None) -> tuple[Answer, Fault | None]:
        """An operation that generates nothing. Raises `Rejected` only without a fault."""
        assert call.serve is not None
        spoiled = self._spoiled(api, fault, None, call, posted.stamp, posted.model) if fault is not None else None
        if spoiled is not None:
            return spoiled, fault
        try:
            api.check_access(call, request.headers, record.key, self.keys)
            if self.models and posted.model and posted.model not in self.models:
                raise api.unknown_model(posted.model, call)
            return call.serve(posted), fault
        except Rejected as problem:
            record.problem = str(problem)
            return api.error(problem, posted.stamp, call), fault
        except (AttributeError, KeyError, TypeError, ValueError):
            record.problem = f"400: {api.bad_shape}"
            return api.error(Rejected(400, api.bad_shape), posted.stamp, call), fault

    def _ask(self, wire: Wire, call: Call, request: Request, body: Any, model: str, key: str | None) -> Ask:
        wire.check_access(call, request.headers, key, self.keys)
        if not isinstance(body, dict):
            raise Rejected(400, wire.bad_json)
        if self.models and model and model not in self.models:
            raise wire.unknown_model(model, call)
        try:
            ask = wire.read(call, body, request.headers)
        except (AttributeError, KeyError, TypeError, ValueError) as shape:
            # a wrong type in a place that no check names: the provider answers 400 as well
            raise Rejected(400, wire.bad_shape) from shape
        if self.context_window is not None and ask.prompt_tokens > self.context_window:
            raise wire.context_length(model, ask.prompt_tokens, self.context_window)
        if ask.cache_prefix:
            self._remember(ask)
        return ask

    def _remember(self, ask: Ask) -> None:
        """A prompt that starts like an earlier one is read from the cache."""
        known = hashlib.blake2b(f"{ask.model}\n{ask.cache_prefix}".encode(), digest_size=16).digest()
        covered = min(replies.tokens(ask.cache_prefix), ask.prompt_tokens)
        if known in self._prompts:
            self._prompts.move_to_end(known)
            ask.cached = covered
        else:
            self._prompts[known] = None
            ask.cache_written = covered if ask.extra.get("cache_writes") else 0
            if len(self._prompts) > _CACHED_PROMPTS:
                self._prompts.popitem(last=False)

    def _said(self, wire: Wire, ask: Ask, call: Call, stamp: Stamp, fault: Fault | None) -> Answer:
        reply = replies.compose(self.name, ask, _CANNED_WORDS if self.canned and self.words is None else self.words)
        if fault is not None and fault.kind is FaultKind.REFUSAL:
            reply = replies.refusal()
        elif fault is not None and fault.kind is FaultKind.FILTERED:
            reply = replies.filtered(reply)
        if ask.stream:
            return Answer(200, wire.headers(stamp, wire.stream_type(call)), stream=wire.stream(ask, reply, stamp))
        return Answer(200, wire.headers(stamp, wire.json_type), wire.unary(ask, reply, stamp))

    def _spoiled(self, api: Host, fault: Fault, ask: Ask | None, call: Call, stamp: Stamp, model: str) -> Answer | None:
        """The answer that a fault puts in the place of the model's; None when there is none."""
        unary = call.serve is not None or (ask is not None and not ask.stream)
        problem: Rejected | None = None
        match fault.kind:
            case FaultKind.STATUS:
                problem = fault_problem(api, fault, call, model)
            case FaultKind.CONTEXT_LENGTH:
                window = self.context_window or 128000
                problem = api.context_length(model, max(window, ask.prompt_tokens if ask else 0) + 1234, window)
            case FaultKind.KEY_REFUSED:
                problem = api.refused_key()
            case FaultKind.MODEL_NOT_FOUND:
                problem = api.unknown_model(model, call)
            case FaultKind.CONTENT_FILTER if ask is not None:
                return cast("Wire", api).filtered_prompt(ask, stamp, call)
            case FaultKind.HTML:
                return Answer(fault.status or 502, [("content-type", "text/html"), ("server", "cloudflare")], _HTML)
            case FaultKind.EMPTY:
                return Answer(200, api.headers(stamp, cast("Wire", api).stream_type(call) if ask is not None and ask.stream else api.json_type))
            case FaultKind.ERROR_200 | FaultKind.ERROR_EVENT if fault.kind is FaultKind.ERROR_200 or unary:
                answer = api.error(fault_problem(api, fault, call, model), stamp, call)
                answer.status = 200
                return answer
        if problem is None:
            return None
        if fault.message is not None:
            problem.message = fault.message
        return api.error(problem, stamp, call)


def _canned_kind(request: Request) -> tuple[str, bool, bool]:
    """What tells prepared answers apart, found without parsing the body."""
    body = request.body
    if len(body) > 2 * _CANNED_LOOK:
        # the members beside a large conversation stand before or behind it
        body = body[:_CANNED_LOOK] + body[-_CANNED_LOOK:]
    return request.target, _STREAM.search(body) is not None, _USAGE.search(body) is not None


def _prepared(plan: Script) -> Script | bytes:
    """The whole answer as bytes when nothing in it waits; a paced stream stays a script."""
    if any(isinstance(s, Wait) for s in plan.steps):
        return plan
    head = response_head(plan.status, plan.headers, plan.length)
    body = [s for s in plan.steps if isinstance(s, bytes)]
    return head + (b"".join(body) if plan.length is not None else b"".join(map(chunk, body)) + LAST_CHUNK)
