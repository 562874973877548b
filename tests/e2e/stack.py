"""The whole system for a test: simulated providers, the server, the real Envoy, a receiver of spans and the log lines.

Providers, server and receiver run on one event loop in a thread of this process, so that a test can look into them; Envoy is a process. Tests
drive it from their own thread through the real SDKs. `run_dir` sockets and key files live in a short temporary directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import orjson

from extproc.app import new_id
from extproc.dialects.catalog import DIALECTS
from extproc.edge import call as edge_call
from extproc.edge.books import Books
from extproc.edge.envoy_admin import EnvoyAdmin
from extproc.edge.server import Server
from extproc.edge.shadow import Shadows
from extproc.envoyconfig.options import MIB, SHADOW_SOCKET, Otlp
from extproc.envoyconfig.sources import Sources
from extproc.registry.load import parse_registry
from extproc.registry.types import Registry
from extproc.routing.breaker import Patience
from extproc.routing.health import Health
from extproc.simulator import Fault, FaultKind, Received, Simulator
from extproc.stages.services import Options, Services, Snapshots
from extproc.telemetry.export import tracing_from_environment
from extproc.telemetry.receiver import OtlpReceiver
from extproc.telemetry.tree import SpanView
from tests.envoy_process import RunningEnvoy, running_envoy, short_directory

T = TypeVar("T")
UNBROKEN = Patience(failures=1_000_000)
"""No circuit breaker, as there is no ejection: they have tests of their own, and elsewhere would only let tests disturb each other."""
PATIENCE = 20.0
"""Seconds until something that must happen counts as hanging. Never the thing that is tested."""


class LoopThread:
    """An event loop in a thread: `do` runs a coroutine on it and waits for its result."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="e2e", daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, T], seconds: float = PATIENCE) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def call(self, function: Callable[[], T]) -> T:
        async def run() -> T:
            return function()

        return self.do(run())

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()


def as_traced(request_id: str) -> str:
    """Without the one digit of a UUID in which Envoy keeps its decision to trace."""
    return request_id[:14] + request_id[15:] if len(request_id) == 36 and request_id.count("-") == 4 else request_id


class Lines:
    """The server's log lines, parsed. `of` waits for the line of one request."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self._by_id: dict[str, dict[str, Any]] = {}
        self._news = threading.Condition()

    def write(self, line: bytes) -> None:
        with self._news:
            self.raw.append(line)
            parsed = orjson.loads(line)
            self._by_id[as_traced(parsed["request_id"])] = parsed
            self._news.notify_all()

    def of(self, request_id: str) -> dict[str, Any]:
        with self._news:
            key = as_traced(request_id)
            assert self._news.wait_for(lambda: key in self._by_id, PATIENCE), f"no log line for {request_id}"
            return self._by_id[key]


class Spans:
    """The spans that arrived. `until` waits for those of a trace."""

    def __init__(self) -> None:
        self.all: list[SpanView] = []
        self._news = threading.Condition()

    def take(self, batch: list[SpanView]) -> None:
        with self._news:
            self.all += batch
            self._news.notify_all()

    def of(self, trace_id: str) -> list[SpanView]:
        return [s for s in self.all if s.trace_id == trace_id]

    def until(self, trace_id: str, count: int) -> list[SpanView]:
        """The spans of a trace as soon as there are `count`, or what there is when it takes too long (Envoy sends every second)."""
        with self._news:
            self._news.wait_for(lambda: len(self.of(trace_id)) >= count, PATIENCE / 2)
            return self.of(trace_id)


@dataclass
class Stack:
    """What a test works with. `sims` by provider name; `seen` are all headers that Envoy has shown to the server, as (name, value)."""

    envoy: RunningEnvoy
    sims: dict[str, Simulator]
    services: Services
    server: Server
    admin: EnvoyAdmin
    lines: Lines
    spans: Spans
    thread: LoopThread
    directory: Path
    seen: list[tuple[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.envoy.url

    def reset(self) -> None:
        """No faults, nothing received, nothing cooling down: tests share the stack and must not see each other."""

        def clear() -> None:
            for sim in self.sims.values():
                sim.clear_faults()
                sim.received.clear()
            self.services.health.forget()

        self.thread.call(clear)

    def fault(self, sim: str, kind: FaultKind | str, times: int | None = None, **options: Any) -> None:
        """The next `times` requests to `sim` get the fault; None: all of this test."""
        fault = Fault(FaultKind(kind), **options)
        self.thread.call(lambda: self.sims[sim].fault(fault, times))

    def received(self, sim: str) -> list[Received]:
        return self.thread.call(lambda: list(self.sims[sim].received))

    def calls(self) -> dict[str, int]:
        """How often each provider was asked; those that were not are left out."""
        return self.thread.call(lambda: {name: sim.received.total for name, sim in self.sims.items() if sim.received.total})

    def key_file(self, provider: str) -> Path:
        return self.directory / "keys" / provider

    def rotate(self, provider: str, key: str) -> None:
        """As an operator does: write beside, rename over."""
        beside = self.key_file(provider).with_suffix(".new")
        beside.write_text(key)
        beside.rename(self.key_file(provider))


def write_keys(directory: Path, keys: Mapping[str, str]) -> None:
    (directory / "keys").mkdir(exist_ok=True)
    for name, key in keys.items():
        (directory / "keys" / name).write_text(key)


@contextmanager
def running_simulators(thread: LoopThread, dialects: Mapping[str, str], keys: Mapping[str, str]) -> Iterator[dict[str, Simulator]]:
    """One simulator per provider name, which takes its own key only."""
    sims = {name: Simulator(f"sim-{name}", dialect, keys=[keys[name]] if name in keys else ()) for name, dialect in dialects.items()}
    try:
        for sim in sims.values():
            thread.do(sim.start())
        yield sims
    finally:
        for sim in sims.values():
            thread.do(sim.stop())


@contextmanager
def environment(**values: str) -> Iterator[None]:
    with patch.dict(os.environ, values):
        yield


@contextmanager
def running_stack(
    registry_text: Callable[[Mapping[str, Simulator], Path], str],
    dialects: Mapping[str, str],
    keys: Mapping[str, str],
    *,
    max_body: int = 64 * MIB,
    options: Options | None = None,
    files: Mapping[str, str] | None = None,
    sources: Sources | None = None,
    patience: Patience = UNBROKEN,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Stack]:
    """Everything up, and down again. `registry_text` makes the registry from the simulators and the directory with the key files. `files` are those
    that hold more than the bare key, by provider. `sources`: other YAML files than the defaults. `patience` with providers that fail,
    and the `clock` that it goes by: the product's own is `Patience()`."""
    thread = LoopThread()
    lines, spans = Lines(), Spans()
    seen: list[tuple[str, str]] = []
    event_of = edge_call.event_of

    def recorded(message: Any) -> Any:
        for part in (message.request_headers, message.response_headers):
            for header in part.headers.headers:
                seen.append((header.key, header.raw_value.decode("latin-1") or header.value))
        return event_of(message)

    with contextlib.ExitStack() as stack:
        stack.callback(thread.close)
        directory = stack.enter_context(short_directory())
        sims = stack.enter_context(running_simulators(thread, dialects, keys))
        write_keys(directory, {**keys, **(files or {})})
        registry: Registry = parse_registry(registry_text(sims, directory).encode(), "registry.yaml")
        receiver = OtlpReceiver(spans.take)
        port = thread.do(receiver.start())
        stack.callback(lambda: thread.do(receiver.close()))
        with environment(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}", OTEL_BSP_SCHEDULE_DELAY="100"):
            tracing = tracing_from_environment()
        stack.callback(tracing.shutdown)
        books = Books(tracing, lines.write)
        health = Health(clock, patience)
        services = Services(
            snapshots=Snapshots(registry),
            dialects=DIALECTS,
            health=health,
            monotonic=time.monotonic,
            wall=time.time,
            random=random.Random(7),
            new_id=new_id,
            start_span=books.start_span,
            options=options or Options(max_body=max_body, expose_losses=True),
        )
        stack.enter_context(patch.object(edge_call, "event_of", recorded))
        # Envoy's health check must find the server: it is there first
        (directory / "run").mkdir()
        server, copying = thread.do(_started(services, books, str(directory / "run" / "extproc-0.sock")))
        stack.callback(lambda: thread.call(copying.cancel))
        stack.callback(lambda: thread.do(server.stop(0.5)))
        envoy = stack.enter_context(
            running_envoy(
                registry,
                sources=sources,
                directory=directory,
                max_body_bytes=max_body,
                otlp=Otlp(f"http://127.0.0.1:{port}/v1/traces"),
                service_name="llm-sidecar-envoy",
            )
        )
        admin = EnvoyAdmin(envoy.options.admin_socket, health, lambda: True)
        watching = asyncio.run_coroutine_threadsafe(admin.run(), thread.loop)

        def unwatch() -> None:
            watching.cancel()
            with contextlib.suppress(BaseException):
                watching.result(PATIENCE)

        stack.callback(unwatch)
        wait_healthy(envoy)
        yield Stack(envoy, sims, services, server, admin, lines, spans, thread, directory, seen)


async def _started(services: Services, books: Books, socket: str) -> tuple[Server, asyncio.Task[None]]:
    shadows = Shadows(str(Path(socket).parent / SHADOW_SOCKET))
    server = Server(services, books, [f"unix:{socket}"], shadows)
    await server.start()
    return server, asyncio.create_task(shadows.run())


def wait_healthy(envoy: RunningEnvoy, servers: int = 1) -> None:
    """Until Envoy's health checks see `servers` servers."""
    until(lambda: envoy.stat("cluster.ext_proc.membership_healthy") == servers, "Envoy sees the servers as healthy")


def until(true: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Polls what tells nobody when it changes."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.02)


def two_providers(sims: Mapping[str, Simulator], directory: Path) -> str:
    """The providers and targets of a registry for an OpenAI simulator `oa` and an Anthropic one `an`, each with its key file."""
    return f"""\
providers:
  oa: {{kind: openai, url: "{sims["oa"].url}/v1", credential: {{file: {directory}/keys/oa}}}}
  an: {{kind: anthropic, url: "{sims["an"].url}/v1", credential: {{file: {directory}/keys/an}}}}
targets:
  oa: {{provider: oa, model: gpt-4o}}
  an: {{provider: an, model: claude-sonnet-4-5}}
"""


def chains(**models: Sequence[str]) -> str:
    """Models of a registry in one line each."""
    return "\n".join(f"  {name}: {{targets: [{', '.join(targets)}]}}" for name, targets in models.items())
