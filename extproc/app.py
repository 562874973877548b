"""The composition root of the server: registry → services → gRPC server, with reload, Envoy's health and telemetry around it.

Nobody imports this but the command line. What a stage needs is built here, once, and handed in.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import secrets
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from extproc import __version__
from extproc.admin.agree import Sharing
from extproc.admin.api import Api, Explain
from extproc.admin.files import StateFiles
from extproc.admin.live import FILE_POLL, LiveRegistry
from extproc.admin.refusal import Refused
from extproc.admin.revise import Reviser
from extproc.core.dialect import Facts
from extproc.core.usage import Price
from extproc.dialects.catalog import DIALECTS
from extproc.edge.books import Books
from extproc.edge.envoy_admin import EnvoyAdmin
from extproc.edge.envoy_files import RenderedFiles
from extproc.edge.keep_statistics import Keeper
from extproc.edge.reload import Reloader
from extproc.edge.server import Server
from extproc.edge.shadow import Shadows
from extproc.envoyconfig.options import SHADOW_SOCKET
from extproc.envoyconfig.options import Options as EnvoyOptions
from extproc.registry.facts import facts_for
from extproc.registry.types import Target
from extproc.routing.health import Health
from extproc.stages.rehearsal import rehearsal
from extproc.stages.services import Options, Services, Snapshots
from extproc.telemetry.console import ConsoleTree, wants_colour
from extproc.telemetry.export import tracing_from_environment
from extproc.telemetry.proclog import setup_process_log
from extproc.telemetry.sink import LineSink

log = logging.getLogger(__name__)


def new_id() -> str:
    """24 random hexadecimal digits: unguessable, and short enough for every dialect's ids."""
    return secrets.token_hex(12)


class FactsCache:
    """Facts and price by target and asked model: looked up in the packaged data once a day, not once a request. Bounded: names come from clients."""

    LIMIT = 1024

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[Target, date, tuple[Facts, Price | None]]] = {}

    def __call__(self, target: Target, asked: str) -> tuple[Facts, Price | None]:
        if target.model != "*":
            return target.facts, target.price
        today = datetime.now(UTC).date()
        known = self._known.get((target.name, asked))
        if known is not None and known[0] is target and known[1] == today:
            return known[2]
        if len(self._known) >= self.LIMIT:
            self._known.clear()
        found = facts_for(target, asked, today)
        self._known[target.name, asked] = (target, today, found)
        return found


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """`socket` is where Envoy connects. `admin_socket` None: Envoy's health is not read. `envoy`: where and how to write Envoy's files when
    the registry changes; None leaves them to somebody else. `envoy_binary` None: files are written without Envoy's own validation.
    `grace` is the seconds that a shutdown waits for translated streams. `state_dir` None: `state` beside `socket`. `api_socket` is where the admin
    API listens (None: nowhere; of several workers the first does), `api_tcp` and `api_token_file` also on loopback."""

    registry: Path
    socket: str
    admin_socket: str | None = None
    envoy: EnvoyOptions | None = None
    envoy_dir: Path | None = None
    envoy_binary: Path | None = None
    worker: int = 0
    workers: int = 1
    max_body: int = 64 << 20
    expose: bool = True
    expose_losses: bool = False
    show_alias: bool = False
    grace: float = 30.0
    trace_console: bool = False
    log_level: int = logging.INFO
    state_dir: Path | None = None
    api_socket: Path | None = None
    api_tcp: tuple[str, int] | None = None
    api_token_file: Path | None = None


async def serve(options: ServeOptions) -> None:
    """Until SIGTERM or SIGINT. Raises `RegistryError` if the registry cannot be loaded at start and none could before, `TelemetryConfigError` for a
    bad OTEL_*."""
    sink = LineSink(sys.stdout.fileno())
    setup_process_log(sink, terminal=sys.stdout.isatty(), level=options.log_level)
    state_dir = options.state_dir or Path(options.socket).parent / "state"
    live = LiveRegistry(options.registry, StateFiles(state_dir), time.time, worker=options.worker, workers=options.workers)
    registry = live.open()
    console = [ConsoleTree(sys.stderr.write, colour=wants_colour(sys.stderr))] if options.trace_console else []
    tracing = tracing_from_environment(version=__version__, processors=console)
    books = Books(tracing, sink.write)
    services = Services(
        snapshots=Snapshots(registry),
        dialects=DIALECTS,
        health=Health(time.monotonic),
        monotonic=time.monotonic,
        wall=time.time,
        random=random.Random(),  # noqa: S311 - weights, not secrets
        new_id=new_id,
        start_span=books.start_span,
        facts=FactsCache(),
        options=Options(options.max_body, options.expose, options.expose_losses, options.show_alias),
    )
    shadows = Shadows(str(Path(options.socket).parent / SHADOW_SOCKET))
    server = Server(services, books, [f"unix:{options.socket}"], shadows)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(sink.close)
        stack.callback(tracing.shutdown)
        background: list[asyncio.Task[None]] = []
        stack.push_async_callback(_cancel, background)
        admin = None
        if options.admin_socket is not None:
            admin = EnvoyAdmin(options.admin_socket, services.health, lambda: server.active > 0)
            server.woken = admin.wake
            background.append(asyncio.create_task(admin.run()))
        live.attach(_reloader(options, services, admin))
        background.append(asyncio.create_task(live.run()))
        background.append(asyncio.create_task(shadows.run()))
        keeper = Keeper(state_dir / f"statistics-{options.worker}.json", services)
        keeper.load()
        background.append(asyncio.create_task(keeper.run()))
        revise = Reviser(live)
        background.append(asyncio.create_task(_share(services, revise)))
        await server.start()
        api = Api(
            live,
            revise,
            services,
            _explaining(services),
            __version__,
            answering=lambda: admin.answering if admin is not None else None,
            started=time.time(),
        )
        if options.api_socket is not None and options.worker == 0:
            # some megabytes that the other workers do not need
            from extproc.admin.listen import listening

            await stack.enter_async_context(listening(api, options.api_socket, options.api_tcp, options.api_token_file))
        # what is there now stays: the collector of cycles need not look through it again and again, a tenth of a second for a large registry
        gc.collect()
        gc.freeze()
        log.info("serving", extra={"socket": options.socket, "registry": registry.digest, "models": len(registry.models), "version": __version__})
        await stop.wait()
        api.draining = True
        log.info("draining", extra={"calls": server.active, "grace_s": options.grace})
        await server.stop(options.grace)
        keeper.save()
        log.info("stopped")


async def _share(services: Services, revise: Reviser) -> None:
    """What replicas share, while the registry names a state for it: also one that a reload brings."""
    while services.snapshots.current.state is None:  # noqa: ASYNC110 - a reload tells nobody
        await asyncio.sleep(FILE_POLL)
    # some megabytes that nobody needs who works alone
    from extproc.edge.shared_state import SharedState

    shared = SharedState(
        lambda: services.snapshots.current.state,
        services.limits,
        services.statistics,
        process=new_id(),
        wall=services.wall,
        monotonic=services.monotonic,
        random=services.random,
    )
    tasks = [shared.run()]
    if revise.live.leads:
        revise.sharing = Sharing(revise.live, shared.overlay)
        tasks.append(revise.sharing.run())
    async with asyncio.TaskGroup() as group:
        for task in tasks:
            group.create_task(task)


def _explaining(services: Services) -> Explain:
    def explaining(raw: bytes, path: str | None, headers: Mapping[str, str], method: str) -> dict[str, Any]:
        # the command line imports this module
        from extproc.commands.arguments import UsageError
        from extproc.commands.explain import RefusedError, explain_with

        try:
            return explain_with(rehearsal(services), raw, path, headers, method)
        except RefusedError as refused:
            raise Refused(422, "would_be_refused", f"the client would get status {refused.status}: {refused.message}") from refused
        except UsageError as error:
            raise Refused(400, "bad_parameter", str(error)) from error

    return explaining


def _reloader(options: ServeOptions, services: Services, admin: EnvoyAdmin | None) -> Reloader:
    async def active() -> frozenset[str] | None:
        if admin is None or not await admin.refresh():
            return None
        return services.health.active

    files = RenderedFiles(options.envoy, options.envoy_dir, options.envoy_binary, options.worker) if options.envoy is not None else None
    return Reloader(services.snapshots, files, active, settle=5.0, count_updates=admin.cluster_updates if admin else None)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
