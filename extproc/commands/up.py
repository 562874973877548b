"""`extproc up`: Envoy and the server for a registry, in one command, until SIGTERM or Ctrl-C; then drained and stopped."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from extproc.commands.arguments import add_envoy, add_registry, envoy_options
from extproc.commands.check import problems_of, report
from extproc.commands.supervisor import StartError, Supervisor
from extproc.envoyconfig.binary import find_envoy
from extproc.envoyconfig.options import Options
from extproc.envoyconfig.render import render
from extproc.envoyconfig.sources import load_sources
from extproc.envoyconfig.validate import validate_with_envoy
from extproc.envoyconfig.write import write
from extproc.registry.load import load_registry
from extproc.telemetry.console import ConsoleTree, wants_colour
from extproc.telemetry.receiver import OtlpReceiver

HELP = "run Envoy and the server for a registry"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_registry(parser)
    parser.add_argument("--concurrency", type=int, default=1, metavar="N", help="Envoy's worker threads (default: 1)")
    parser.add_argument("--grace", type=float, default=30.0, metavar="SECONDS", help="how long a stop waits for requests under way (default: 30)")
    parser.add_argument("--no-expose", action="store_true", help="do not send x-llm-target and x-llm-attempts to clients")
    parser.add_argument("--expose-losses", action="store_true", help="send x-llm-losses to clients")
    parser.add_argument("--trace-console", action="store_true", help="print every trace as a tree, Envoy's spans included")
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
        ("--access-log", args.access_log),
        ("--envoy-dir", str(args.envoy_dir) if args.envoy_dir else None),
        ("--envoy", args.envoy),
        ("--grace", str(args.grace)),
    ]
    flags = [flag for flag, on in (("--no-expose", args.no_expose), ("--expose-losses", args.expose_losses)) if on]
    return [part for name, value in given if value is not None for part in (name, value)] + flags


async def up(args: argparse.Namespace, directory: Path, say: Callable[[str], None]) -> int:
    """Returns the exit code."""
    run_dir = args.run_dir or directory
    environ = dict(os.environ)
    receiver = None
    if args.trace_console:
        tree = ConsoleTree(sys.stderr.write, colour=wants_colour(sys.stderr), whole=True)
        receiver = OtlpReceiver(tree.receive)
        port = await receiver.start()
        environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_BSP_SCHEDULE_DELAY": "200"}
        os.environ.update(environ)
        ticker = asyncio.create_task(_tick(tree))
    options = envoy_options(args, directory / "envoy", run_dir)
    problems = problems_of(args, options)
    if problems:
        return report(problems)
    registry = load_registry(args.registry)
    binary = find_envoy(args.envoy)
    write(render(registry, options, load_sources(args.envoy_dir)), Path(options.out_dir))
    refusal = validate_with_envoy(binary, Path(options.out_dir))
    if refusal is not None:
        return report([f"envoy: {line}" for line in refusal.splitlines()])
    supervisor = Supervisor(
        binary, Path(options.out_dir), options, registry, server_arguments(args, options), concurrency=args.concurrency, environ=environ
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await supervisor.start(say)
        say(f"listening on http://{options.address}:{options.port}; models: {', '.join(sorted(registry.models))}")
        await stop.wait()
        say("draining")
    except StartError as error:
        return report(str(error).splitlines())
    finally:
        await supervisor.stop(args.grace)
        if receiver is not None:
            ticker.cancel()
            await receiver.close()
    say("stopped")
    return 0


async def _tick(tree: ConsoleTree) -> None:
    while True:
        await asyncio.sleep(0.2)
        tree.tick()


def run(args: argparse.Namespace) -> int:
    def say(text: str) -> None:
        print(f"extproc: {text}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="extproc-") as scratch:
        return asyncio.run(up(args, Path(scratch), say))
