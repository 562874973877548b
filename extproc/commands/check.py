"""`extproc check`: is this registry, with these envoy/*.yaml, fit to run? All problems at once, each with file, line and path."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from extproc.commands.arguments import add_envoy, add_registry, envoy_options
from extproc.envoyconfig.binary import EnvoyNotFoundError, find_envoy
from extproc.envoyconfig.check import check, check_key_directories
from extproc.envoyconfig.options import Options
from extproc.envoyconfig.render import render
from extproc.envoyconfig.sources import SourceError, lines_of, load_sources
from extproc.envoyconfig.validate import validate_with_envoy
from extproc.envoyconfig.write import write
from extproc.registry.load import load_registry
from extproc.registry.problems import Problems, RegistryError
from extproc.registry.types import Credential, Registry
from extproc.registry.yaml_marks import read_yaml
from extproc.tokens.keeper import wanted

_RUNS_ENVOY = frozenset({"up"})
"""The commands for whose machine the directories of keys must exist."""
_LONGEST_LINE = 1000


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
    try:
        sources = load_sources(args.envoy_dir)
    except SourceError as error:
        found += str(error).splitlines()
    if registry is not None:
        lines = lines_of(read_yaml(args.registry.read_bytes(), Problems()))
        if sources is not None:
            found += [str(problem) for problem in check(registry, sources, options, lines)]
        if args.command in _RUNS_ENVOY:
            found += [str(problem) for problem in check_key_directories(registry, lines)]
    return found


def report(problems: Sequence[str]) -> int:
    """Prints them and returns the exit code."""
    for line in problems:
        # Envoy quotes the whole configuration where it does not like a value
        print(line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]} …", file=sys.stderr)
    print(f"{len(problems)} problem{'s' * (len(problems) != 1)}", file=sys.stderr)
    return 1


def with_keys_here(registry: Registry, directory: Path) -> tuple[Registry, list[str]]:
    """The registry with `directory` in place of those for keys that this machine lacks, and which they are. Envoy refuses a directory that does not
    exist, but it is the machine where Envoy will run that must have it."""
    missing: set[str] = set()

    def moved(file: str) -> str:
        if Path(file).parent.is_dir():
            return file
        missing.add(str(Path(file).parent))
        return str(directory / Path(file).name)

    def here(credential: Credential) -> Credential:
        if credential.file is not None:
            return replace(credential, file=moved(credential.file))
        if credential.aws is not None and credential.aws.file is not None:
            return replace(credential, aws=replace(credential.aws, file=moved(credential.aws.file)))
        return credential

    providers = {p.name: replace(p, credentials=tuple(map(here, p.credentials))) for p in registry.providers.values()}
    targets = {t.name: replace(t, provider=providers[t.provider.name]) for t in registry.targets.values()}
    return replace(registry, providers=providers, targets=targets), sorted(missing)


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
        there, missing = with_keys_here(registry, directory)
        tokens = sorted(name for names in wanted(registry).values() for name in names)
        if tokens and args.token_dir is not None and not args.token_dir.is_dir():
            missing.append(options.tokens)
        there_too = replace(options, token_dir=str(directory))
        write(render(there, there_too, sources), directory)
        refusal = validate_with_envoy(binary, directory)
        if refusal is not None:
            return report([f"envoy: {line}" for line in refusal.splitlines()])
        print(f"{args.registry}: good ({summary}); Envoy accepts the configuration")
        if tokens:
            print(f"{args.registry}: `extproc tokens` must run beside Envoy, for {', '.join(tokens)}", file=sys.stderr)
        for name in missing:
            print(f"{args.registry}: keys are read from {name}, which this machine does not have; Envoy's must", file=sys.stderr)
        return 0
