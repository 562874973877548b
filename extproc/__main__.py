"""The command line: `extproc COMMAND`. Each command is a file in `commands/`, imported only when it runs."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from extproc import __version__

COMMANDS = {
    "demo": ("extproc.commands.demo", "see it work: simulators, Envoy and the server, no keys and no network"),
    "up": ("extproc.commands.up", "run Envoy and the server for a registry"),
    "serve": ("extproc.commands.serve", "run the ext_proc server alone (the sidecar's container)"),
    "tokens": ("extproc.commands.tokens", "keep the access tokens of Google Cloud and Microsoft Entra ID fresh (a process of its own)"),
    "render": ("extproc.commands.render", "write Envoy's files for a registry"),
    "check": ("extproc.commands.check", "validate a registry and the Envoy configuration that it gives"),
    "explain": ("extproc.commands.explain", "show what would be sent for a request, without sending it"),
    "routes": ("extproc.commands.routes", "show and change how the running server routes; history, rollback"),
    "target": ("extproc.commands.target", "list the running server's targets; drain and enable them"),
    "stats": ("extproc.commands.stats", "what the running server has measured of its targets"),
    "top": ("extproc.commands.top", "targets and decisions of the running server, live"),
    "simulate": ("extproc.simulator.command", "run the provider simulators alone"),
}


def parser_for(command: str | None) -> argparse.ArgumentParser:
    """The parser, with the arguments of `command` only: importing every command would make each of them slow to start."""
    parser = argparse.ArgumentParser(prog="extproc", description="LLM sidecar for Envoy: one hostname, any provider.")
    parser.add_argument("--version", action="version", version=f"extproc {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, help_text) in COMMANDS.items():
        sub = commands.add_parser(name, help=help_text, description=help_text[0].upper() + help_text[1:] + ".")
        if name == command:
            importlib.import_module(module).add_arguments(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted."""
    try:
        return _run(argv)
    except KeyboardInterrupt:
        return 130


def _run(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = next((a for a in arguments if a in COMMANDS), None)
    args = parser_for(command).parse_args(arguments)
    from extproc.commands.arguments import UsageError
    from extproc.envoyconfig.binary import EnvoyNotFoundError
    from extproc.envoyconfig.sources import SourceError
    from extproc.registry.problems import RegistryError
    from extproc.telemetry.export import TelemetryConfigError

    try:
        code = int(importlib.import_module(COMMANDS[args.command][0]).run(args))
        sys.stdout.flush()
        return code
    except UsageError as error:
        print(f"extproc {args.command}: {error}", file=sys.stderr)
        return 2
    except (RegistryError, SourceError) as error:
        print(error, file=sys.stderr)
        return 1
    except (EnvoyNotFoundError, TelemetryConfigError) as error:
        print(f"extproc {args.command}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # who read the output has seen enough; Python would say so once more when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"extproc {args.command}: {where}{error.strerror or error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
