"""`extproc up`: Envoy and the server for a registry, in one command, until SIGTERM or Ctrl-C; then drained and stopped."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from extproc.admin.files import StateFiles
from extproc.admin.live import LiveRegistry
from extproc.commands.arguments import add_admin_api, add_envoy, add_registry, envoy_options
from extproc.commands.called import called
from extproc.commands.check import problems_of, report
from extproc.commands.ports import is_taken
from extproc.commands.stopping import on_stop
from extproc.commands.supervisor import StartError, Supervisor
from extproc.commands.terminal_traces import own_endpoint, receiving, towards, with_prompt_spans
from extproc.envoyconfig.binary import find_envoy
from extproc.envoyconfig.options import Options
from extproc.envoyconfig.render import render
from extproc.envoyconfig.sources import load_sources
from extproc.envoyconfig.validate import validate_with_envoy
from extproc.envoyconfig.write import write
from extproc.registry.load import RegistryError, load_registry, parse_registry
from extproc.registry.types import Registry
from extproc.telemetry.console import ConsoleTree, wants_colour
from extproc.tokens.issuers import MissingLibraryError, require_libraries
from extproc.tokens.keeper import wanted

POLL = 1.0
"""Seconds between two looks at the registry."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_registry(parser)
    parser.add_argument("--concurrency", type=int, default=1, metavar="N", help="Envoy's worker threads (default: 1)")
    parser.add_argument("--grace", type=float, default=30.0, metavar="SECONDS", help="how long a stop waits for requests under way (default: 30)")
    parser.add_argument("--no-expose", action="store_true", help="do not send x-llm-target and x-llm-attempts to clients")
    parser.add_argument("--expose-losses", action="store_true", help="send x-llm-losses to clients (of a stream: what its request lost)")
    parser.add_argument("--show-alias", action="store_true", help="name the model in answers as the client did, not as the provider does")
    parser.add_argument("--trace-console", action="store_true", help="print every trace as a tree, Envoy's spans included")
    add_admin_api(parser)
    add_envoy(parser)


def server_arguments(args: argparse.Namespace, options: Options) -> list[str]:
    """The arguments of `extproc serve` that say the same as ours."""
    given = [
        ("--registry", str(args.registry.absolute())),
        ("--out", options.out_dir),
        ("--run-dir", options.run_dir),
        ("--listen", args.listen),
        ("--listen-socket", args.listen_socket),
        ("--workers", str(args.workers)),
        ("--max-body", str(args.max_body)),
        ("--token-dir", options.tokens),
        ("--access-log", args.access_log),
        ("--envoy-dir", str(args.envoy_dir) if args.envoy_dir else None),
        ("--envoy", args.envoy),
        ("--grace", str(args.grace)),
        ("--state-dir", str(args.state_dir.absolute()) if args.state_dir else None),
        ("--admin-listen", args.admin_listen),
        ("--admin-token-file", str(args.admin_token_file.absolute()) if args.admin_token_file else None),
    ]
    switches = (
        ("--no-expose", args.no_expose),
        ("--expose-losses", args.expose_losses),
        ("--show-alias", args.show_alias),
        ("--no-admin", args.no_admin),
    )
    flags = [flag for flag, on in switches if on]
    return [part for name, value in given if value is not None for part in (name, value)] + flags


async def up(args: argparse.Namespace, directory: Path, say: Callable[[str], None]) -> int:
    """Returns the exit code."""
    environ = dict(os.environ)
    async with AsyncExitStack() as stack:
        if args.trace_console:
            given = own_endpoint(environ)
            if given is not None:
                say(f"--trace-console: for this run all spans go to this terminal, not to {given}")
            tree = ConsoleTree(sys.stderr.write, colour=wants_colour(sys.stderr), whole=True)
            environ = towards(environ, await stack.enter_async_context(receiving(tree)))
        return await _supervised(args, directory, environ, say)


async def _supervised(args: argparse.Namespace, directory: Path, environ: Mapping[str, str], say: Callable[[str], None]) -> int:
    options = envoy_options(args, directory / "envoy", args.run_dir or directory, environ)
    last_good = _last_good(args, options)
    problems = problems_of(args, options)
    if problems and last_good is None:
        return report(problems)
    if is_taken(options.address, options.port):
        return report([f"{args.listen}: another process listens there; choose another port with --listen HOST:PORT"])
    registry = last_good or _in_force(args, options)
    lacking = _made_ready_for_tokens(registry, options)
    if lacking is not None:
        return report([lacking])
    binary = find_envoy(args.envoy)
    sources = load_sources(args.envoy_dir)
    write(render(registry, options, with_prompt_spans(sources) if args.trace_console else sources), Path(options.out_dir))
    refusal = validate_with_envoy(binary, Path(options.out_dir))
    if refusal is not None:
        return report([f"envoy: {line}" for line in refusal.splitlines()])
    if last_good is not None:
        for problem in problems:
            say(problem)
        say("the registry file does not load; the last good one serves")
    supervisor = Supervisor(
        binary, Path(options.out_dir), options, registry, server_arguments(args, options), concurrency=args.concurrency, environ=environ
    )
    stop = asyncio.Event()
    on_stop(stop.set)
    try:
        if await _unless(stop, supervisor.start(say)):
            say(f"listening on http://{options.address}:{options.port}; models: {', '.join(sorted(registry.models))}")
            if not args.no_admin:
                say(f"look into it with: {called()} top --run-dir {shlex.quote(options.run_dir)} (or routes, target, stats)")
            await _unless(stop, _tokens_when_needed(supervisor, args.registry, say))
            await stop.wait()
            say("draining")
    except StartError as error:
        return report(str(error).splitlines())
    finally:
        await supervisor.stop(args.grace)
    say("stopped")
    return 0


def _state(args: argparse.Namespace, options: Options) -> StateFiles:
    """As `extproc serve` finds it."""
    return StateFiles(args.state_dir.absolute() if args.state_dir is not None else Path(options.run_dir) / "state")


def _in_force(args: argparse.Namespace, options: Options) -> Registry:
    """With the changes of the admin API, which outlive a restart: Envoy must have their clusters when the first request comes."""
    return LiveRegistry.about_to_open(args.registry, _state(args, options), time.time)


def _last_good(args: argparse.Namespace, options: Options) -> Registry | None:
    """What serves instead of a file that does not load; None for one that does, or where none has loaded before."""
    try:
        load_registry(args.registry)
    except RegistryError:
        with suppress(RegistryError):
            return _in_force(args, options)
    return None


def _made_ready_for_tokens(registry: Registry, options: Options) -> str | None:
    """Why tokens could not be fetched, or None."""
    try:
        require_libraries(wanted(registry))
    except MissingLibraryError as error:
        return str(error)
    # Envoy refuses a cluster whose token's directory is not there, also one that a changed registry brings
    Path(options.tokens).mkdir(mode=0o700, parents=True, exist_ok=True)
    return None


async def _tokens_when_needed(supervisor: Supervisor, path: Path, say: Callable[[str], None]) -> None:
    """Until `extproc tokens` runs: that follows the registry by itself."""
    seen = b""
    while supervisor.tokens.process is None:
        await asyncio.sleep(POLL)
        raw = await asyncio.to_thread(_content, path)
        if raw == seen:
            continue
        seen = raw
        try:
            sources = wanted(parse_registry(raw, str(path)))
            require_libraries(sources)
        except RegistryError:
            continue  # the server says what is wrong with it
        except MissingLibraryError as error:
            say(str(error))
            continue
        if sources:
            await supervisor.start_tokens()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


async def _unless(stop: asyncio.Event, work: Coroutine[None, None, None]) -> bool:
    """Does `work`, unless or until `stop` is set. Returns whether the work was done."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    done = working.done()
    (stopping if done else working).cancel()
    await asyncio.gather(stopping if done else working, return_exceptions=True)
    if done:
        await working
    return done


def run(args: argparse.Namespace) -> int:
    def say(text: str) -> None:
        print(f"extproc: {text}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="extproc-") as scratch:
        return asyncio.run(up(args, Path(scratch), say))
