"""`extproc check`: is this registry, with these envoy/*.yaml, fit to run? All problems at once, each with file, line and path."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from extproc.commands.arguments import add_envoy, add_registry, envoy_options
from extproc.envoyconfig.binary import EnvoyNotFoundError, find_envoy
from extproc.envoyconfig.check import check
from extproc.envoyconfig.options import Options
from extproc.envoyconfig.render import render
from extproc.envoyconfig.sources import SourceError, load_sources
from extproc.envoyconfig.validate import validate_with_envoy
from extproc.envoyconfig.write import write
from extproc.registry.load import load_registry
from extproc.registry.problems import RegistryError

HELP = "validate a registry and the Envoy configuration that it gives"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_registry(parser)
    add_envoy(parser)


def problems_of(args: argparse.Namespace, options: Options) -> list[str]:
    """Everything that is wrong with the registry and the sources, as printable lines."""
    found: list[str] = []
    registry = sources = None
    try:
        registry = load_registry(args.registry)
    except RegistryError as error:
        found += str(error).splitlines()
    except OSError as error:
        found.append(f"{args.registry}: {error.strerror}")
    try:
        sources = load_sources(args.envoy_dir)
    except SourceError as error:
        found += str(error).splitlines()
    if registry is not None and sources is not None:
        found += [str(problem) for problem in check(registry, sources, options)]
    return found


def report(problems: Sequence[str]) -> int:
    for line in problems:
        print(line, file=sys.stderr)
    print(f"{len(problems)} problem{'s' * (len(problems) != 1)}", file=sys.stderr)
    return 1


def run(args: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="extproc-") as scratch:
        directory = Path(scratch)
        options = envoy_options(args, directory, args.run_dir or directory)
        problems = problems_of(args, options)
        if problems:
            return report(problems)
        registry = load_registry(args.registry)
        sources = load_sources(args.envoy_dir)
        summary = f"{len(registry.models)} models, {len(registry.targets)} targets, {len(registry.providers)} providers"
        try:
            binary = find_envoy(args.envoy)
        except EnvoyNotFoundError as error:
            if args.envoy is not None:
                return report([str(error)])
            print(f"{args.registry}: good ({summary}); not validated by Envoy itself: {error}")
            return 0
        write(render(registry, options, sources), directory)
        refusal = validate_with_envoy(binary, directory)
        if refusal is not None:
            return report([f"envoy: {line}" for line in refusal.splitlines()])
        print(f"{args.registry}: good ({summary}); Envoy accepts the configuration")
        return 0
