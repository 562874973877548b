"""`python -m tests.bench COMMAND`: one measurement each, a table on standard output, the figures as JSON with `--json FILE`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import orjson

from tests.bench import bodies, codecs, compare, decisions, learning, limits, signals, soak, throughput, vectors
from tests.bench.report import machine

COMMANDS = {
    "throughput": throughput,
    "bodies": bodies,
    "soak": soak,
    "codecs": codecs,
    "vectors": vectors,
    "signals": signals,
    "decisions": decisions,
    "learning": learning,
    "limits": limits,
    "compare": compare,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, help=summary, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        command.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
        module.add_arguments(command)
    args = parser.parse_args()
    about = machine()
    print(about, flush=True)
    figures = COMMANDS[args.command].run(args)
    if args.json is not None:
        args.json.write_bytes(orjson.dumps({"command": args.command, "machine": about, **figures}, option=orjson.OPT_INDENT_2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
