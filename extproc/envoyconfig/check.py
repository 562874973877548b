"""Refuses what Envoy would take and the design would not survive.

Envoy itself judges whether a field exists and what its value may be (`validate`). Here is what only we can know: a retry that overrules
verdicts, a buffer that is too small, a time limit that cuts streams, a member that `render` sets itself. Every refusal says why.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path as FilePath
from urllib.parse import urlsplit

from extproc.envoyconfig import check_clusters, check_listener, check_routes
from extproc.envoyconfig.clusters import RESERVED, is_ip
from extproc.envoyconfig.layers import Block, walk
from extproc.envoyconfig.options import LARGEST_BODY, Options
from extproc.envoyconfig.problem import Problem
from extproc.envoyconfig.sources import Sources
from extproc.registry.problems import Path
from extproc.registry.types import Registry

SOCKET_NAME_LIMIT = 107
"""Bytes of a Unix socket's path on Linux."""

_SECTIONS: dict[str, tuple[str, ...] | None] = {
    "bootstrap": None,
    "listener": ("listener", "http_connection_manager", "http_filters", "transport_socket"),
    "routes": ("virtual_host", "both", "stream", "whole"),
    "cluster": None,
    "ext_proc": ("cluster", "route", "attempt"),
}
"""The members that each file has; None: the file is one message of Envoy's."""
_CAMEL = re.compile(r"[a-z0-9]+(?:[A-Z][a-z0-9]*)+")
_FREE_FORM = frozenset({"http_filters", "json_format", "filter_metadata", "metadata", "environment", "values", "layers", "custom_tags"})
"""Members whose keys are the author's own words."""


def check(registry: Registry, sources: Sources, options: Options, registry_lines: Mapping[Path, int] | None = None) -> list[Problem]:
    """Everything that is wrong, in the order of the files. `registry_lines`: where the members of the registry file stand."""
    problems = _options(options)
    shape = _shape(sources)
    problems += shape
    lines = dict(registry_lines or {})
    registry_blocks = [Block(registry.path, ("providers", p.name, "envoy"), p.envoy, lines) for p in registry.providers.values()]
    registry_blocks += [Block(registry.path, ("targets", t.name, "envoy"), t.envoy, lines) for t in registry.targets.values()]
    for block in (*(Block.of(getattr(sources, name)) for name in _SECTIONS), *registry_blocks):
        problems += _spelling(block)
    problems += [
        Problem(registry.path, ("targets", name), lines.get(("targets", name)), "is the name of a cluster that extproc adds; choose another")
        for name in registry.targets
        if name in RESERVED
    ]
    if shape:
        return problems
    problems += check_listener.check_bootstrap(registry, sources)
    problems += check_listener.check_listener(registry, sources, options)
    problems += check_routes.check_routes(registry, sources, options)
    problems += check_clusters.check_ext_proc(sources)
    problems += check_clusters.check_providers(registry, sources, options, lines)
    return list(dict.fromkeys(problems))


def check_key_directories(registry: Registry, registry_lines: Mapping[Path, int] | None = None) -> list[Problem]:
    """For a machine on which Envoy runs, too: it refuses a cluster whose key's directory does not exist. The file may come later, but not one with
    keys of AWS, whose directory Envoy watches only if it could read the file at the start."""
    lines = dict(registry_lines or {})
    problems = []
    for provider in registry.providers.values():
        for credential in provider.credentials:
            path: Path = ("providers", provider.name, *(("credentials", credential.name) if credential.name else ("credential",)))
            if credential.file is not None and not FilePath(credential.file).parent.is_dir():
                problems.append(_missing(registry, (*path, "file"), lines, f"the directory {FilePath(credential.file).parent} does not exist"))
            if credential.aws is not None and credential.aws.file is not None and not FilePath(credential.aws.file).is_file():
                message = f"the file {credential.aws.file} does not exist; Envoy does not notice one that comes later"
                problems.append(_missing(registry, (*path, "aws", "file"), lines, message))
    return problems


def _missing(registry: Registry, path: Path, lines: Mapping[Path, int], message: str) -> Problem:
    line = next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), None)
    return Problem(registry.path, path, line, message)


def _options(options: Options) -> list[Problem]:
    def bad(name: str, message: str) -> Problem:
        return Problem("options", (name,), None, message)

    problems = []
    if not 0 < options.max_body_bytes <= LARGEST_BODY:
        problems.append(bad("max_body", f"must be from 1 to {LARGEST_BODY} bytes, is {options.max_body_bytes}"))
    if options.workers < 1:
        problems.append(bad("workers", "must be at least 1"))
    if not 0 <= options.port <= 65535:
        problems.append(bad("port", f"must be from 0 (any free one) to 65535, is {options.port}"))
    if not is_ip(options.address):
        problems.append(bad("address", f"must be an IP address such as 127.0.0.1 or ::, is {options.address}"))
    if options.heap_bytes is not None and options.heap_bytes < 2 * options.buffer_bytes:
        problems.append(bad("envoy_heap", f"must be at least {2 * options.buffer_bytes} bytes, twice a buffer: one large request would stop Envoy"))
    for name, value in (
        ("out", options.out_dir),
        ("run_dir", options.run_dir),
        ("listen_socket", options.listen_socket),
        ("token_dir", options.token_dir or None),
    ):
        if value is not None and not value.startswith("/"):
            problems.append(bad(name, f"must be an absolute path, is {value}"))
    for socket in (options.admin_socket, *options.server_sockets, *filter(None, [options.listen_socket])):
        if len(socket.encode()) > SOCKET_NAME_LIMIT:
            problems.append(bad("run_dir", f"{socket} is longer than the {SOCKET_NAME_LIMIT} bytes of a Unix socket's name"))
            break
    if options.otlp is not None:
        url = urlsplit(options.otlp.url)
        if url.scheme not in {"http", "https"} or not url.hostname:
            problems.append(bad("otlp", f"must be an http or https URL, is {options.otlp.url}"))
    return problems


def _shape(sources: Sources) -> list[Problem]:
    problems = []
    for name, sections in _SECTIONS.items():
        block = Block.of(getattr(sources, name))
        for section, value in block.data.items() if sections is not None else ():
            if sections is not None and section not in sections:
                problems.append(block.problem((section,), f"is not known here; the members of this file are {', '.join(sections)}"))
            elif not isinstance(value, dict) and value is not None:
                problems.append(block.problem((section,), "must be a mapping"))
    return problems


def _spelling(block: Block) -> list[Problem]:
    """Envoy reads `retryPolicy` as `retry_policy`, and "false" as false. Two spellings of one thing would get past the checks, so there is one."""
    problems = []
    for path, value in walk(block.data):
        if _FREE_FORM.intersection(path[:-1]):
            continue
        if isinstance(path[-1], str) and _CAMEL.fullmatch(path[-1]):
            problems.append(block.problem(path, "write it in lower case with underscores, as in Envoy's documentation"))
        if isinstance(value, str) and value in {"true", "false"}:
            problems.append(block.problem(path, f"write {value} without quotes: in quotes it is a text, which Envoy would take for the same"))
    return problems
