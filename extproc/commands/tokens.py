"""`extproc tokens`: fetches the access tokens of a registry into the directory that Envoy watches, and keeps them fresh until SIGTERM.

Exit codes: 0 done or stopped; 1 with --once if a token is missing, with --check if one is missing or expired, or if the registry cannot be loaded.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import logging
import random
import sys
import time
from pathlib import Path

from extproc.commands.arguments import add_registry
from extproc.commands.stopping import on_stop
from extproc.registry.load import load_registry
from extproc.registry.problems import RegistryError
from extproc.telemetry.proclog import setup_process_log
from extproc.telemetry.sink import LineSink
from extproc.tokens.files import read_states
from extproc.tokens.issuers import MissingLibraryError, fetch, require_libraries
from extproc.tokens.keeper import Keeper, Wanted, wanted

log = logging.getLogger(__name__)

POLL = 1.0
"""Seconds between two looks at the registry."""
_THEIRS = ("azure", "msal", "google", "urllib3", "requests")
"""Loggers of the libraries. They may log pieces of answers; what failed we say ourselves."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_registry(parser)
    parser.add_argument("--dir", required=True, type=Path, metavar="DIR", help="where the tokens go: --token-dir of render, serve and up")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--once", action="store_true", help="fetch every token once and end, with exit code 1 if one is missing")
    mode.add_argument("--check", action="store_true", help="fetch nothing; exit code 0 if every token is there and has not expired (for probes)")


def run(args: argparse.Namespace) -> int:
    if args.check:
        return _check(args.registry, args.dir)
    sink = LineSink(sys.stdout.fileno())
    setup_process_log(sink, terminal=sys.stdout.isatty())
    for name in _THEIRS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        # Envoy refuses to watch a directory that is not there
        args.dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return asyncio.run(_tokens(args.registry, args.dir, once=args.once))
    except MissingLibraryError as error:
        print(f"extproc tokens: {error}", file=sys.stderr)
        return 1
    finally:
        sink.close()


def _check(registry: Path, directory: Path) -> int:
    states, now, bad = read_states(directory), time.time(), 0
    for name in (name for names in wanted(load_registry(registry)).values() for name in names):
        state = states.get(name)
        if state is None or not state.good_at(now) or not (directory / name).is_file():
            bad += 1
            print(f"{name}: {(state.error if state else '') or 'no token that is still good'}", file=sys.stderr)
    return 1 if bad else 0


async def _tokens(registry: Path, directory: Path, *, once: bool) -> int:
    keeper = Keeper(directory, fetch, wall=time.time, random=random.random)
    seen = _digest(registry)
    sources = wanted(load_registry(registry))
    require_libraries(sources)
    if once:
        return 0 if await keeper.once(sources) else 1
    stop = asyncio.Event()
    on_stop(stop.set)
    log.info("keeping access tokens fresh", extra={"files": sorted(name for names in sources.values() for name in names), "dir": str(directory)})
    keeper.keep(sources)
    while not await _set_within(stop, POLL):
        digest = await asyncio.to_thread(_digest, registry)
        if digest == seen:
            continue
        seen = digest
        changed = await asyncio.to_thread(_changed, registry)
        if isinstance(changed, str):
            log.error("the changed registry is refused; the tokens of the old one stay fresh", extra={"why": changed})
        else:
            log.info("registry read again", extra={"files": sorted(name for names in changed.values() for name in names)})
            keeper.keep(changed)
    await keeper.stop()
    return 0


def _changed(registry: Path) -> Wanted | str:
    """What the file wants now, or why it is refused."""
    try:
        sources = wanted(load_registry(registry))
        require_libraries(sources)
    except (RegistryError, MissingLibraryError) as error:
        return str(error)
    return sources


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


def _digest(registry: Path) -> str:
    try:
        return hashlib.sha256(registry.read_bytes()).hexdigest()
    except OSError as error:
        return f"unreadable: {error.strerror}"
