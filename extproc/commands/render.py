"""`extproc render`: registry and envoy/*.yaml to the files that Envoy reads."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from extproc.commands.arguments import add_envoy, add_registry, envoy_options
from extproc.commands.check import problems_of, report
from extproc.envoyconfig.render import render
from extproc.envoyconfig.sources import load_sources
from extproc.envoyconfig.write import write
from extproc.registry.load import load_registry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_registry(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the files go, and where Envoy will read them")
    add_envoy(parser)


def run(args: argparse.Namespace) -> int:
    options = envoy_options(args, args.out, args.run_dir or args.out)
    problems = problems_of(args, options)
    if problems:
        return report(problems)
    registry = load_registry(args.registry)
    changed = write(render(registry, options, load_sources(args.envoy_dir)), args.out)
    for name in changed:
        print(args.out / name)
    print(f"{len(changed)} file{'s' * (len(changed) != 1)} changed; start with: envoy -c {args.out / 'envoy.yaml'}", file=sys.stderr)
    return 0
