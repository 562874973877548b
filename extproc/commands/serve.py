"""`extproc serve`: the ext_proc server alone, as it runs in the sidecar's container beside Envoy's."""

from __future__ import annotations

import argparse
import gc
import logging
import sys
from pathlib import Path

import uvloop

from extproc.admin.door import DoorError
from extproc.app import ServeOptions, serve
from extproc.commands.arguments import UsageError, add_admin_api, add_envoy, add_registry, envoy_options, host_port
from extproc.envoyconfig.binary import EnvoyNotFoundError, find_envoy
from extproc.envoyconfig.options import MIB

_SWITCH = 0.001
"""Seconds after which a thread that computes (a changed registry, a large body) gives way to the loop: a request waits for it some times."""
_GC_THRESHOLD = (50_000, 20, 50)
"""Requests make few reference cycles but many objects; the default threshold would spend a tenth of the CPU looking for cycles."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_registry(parser)
    parser.add_argument("--worker", type=int, default=0, metavar="I", help="which of the --workers this process is: its socket is extproc-I.sock")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write Envoy's files here when the registry changes (default: do not); of several workers the first does",
    )
    parser.add_argument("--no-expose", action="store_true", help="do not send x-llm-target and x-llm-attempts to clients")
    parser.add_argument("--expose-losses", action="store_true", help="send x-llm-losses to clients (of a stream: what its request lost)")
    parser.add_argument("--show-alias", action="store_true", help="name the model in answers as the client did, not as the provider does")
    parser.add_argument("--grace", type=float, default=30.0, metavar="SECONDS", help="how long a shutdown waits for streams (default: 30)")
    parser.add_argument("--trace-console", action="store_true", help="print every trace as a tree to standard error")
    parser.add_argument("--debug", action="store_true", help="log more; still never bodies")
    add_admin_api(parser)
    add_envoy(parser, run_dir_required=True)


def options_of(args: argparse.Namespace) -> ServeOptions:
    """The server's options for these arguments."""
    run_dir: Path = args.run_dir.absolute()
    envoy = envoy_options(args, args.out, run_dir) if args.out is not None else None
    try:
        binary = find_envoy(args.envoy) if envoy is not None else None
    except EnvoyNotFoundError:
        # the sidecar's container has no Envoy: files are then checked by us, and by Envoy when it reads them
        if args.envoy is not None:
            raise
        binary = None
    return ServeOptions(
        registry=args.registry,
        socket=str(run_dir / f"extproc-{args.worker}.sock"),
        admin_socket=str(run_dir / "admin.sock"),
        envoy=envoy,
        envoy_dir=args.envoy_dir,
        envoy_binary=binary,
        worker=args.worker,
        workers=args.workers,
        max_body=args.max_body * MIB,
        expose=not args.no_expose,
        expose_losses=args.expose_losses,
        show_alias=args.show_alias,
        grace=args.grace,
        trace_console=args.trace_console,
        log_level=logging.DEBUG if args.debug else logging.INFO,
        state_dir=args.state_dir.absolute() if args.state_dir is not None else run_dir / "state",
        api_socket=None if args.no_admin else run_dir / "admin-api.sock",
        api_tcp=host_port(args.admin_listen, "--admin-listen") if args.admin_listen is not None and not args.no_admin else None,
        api_token_file=args.admin_token_file,
    )


def run(args: argparse.Namespace) -> int:
    options = options_of(args)
    Path(options.socket).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    gc.set_threshold(*_GC_THRESHOLD)
    sys.setswitchinterval(_SWITCH)
    try:
        uvloop.run(serve(options))
    except DoorError as error:
        raise UsageError(str(error)) from error
    return 0
