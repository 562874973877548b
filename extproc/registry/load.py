"""The registry file, read strictly: every mistake at once, each with its path and line; what this version does not do is refused, not ignored.

`parse_registry` works on bytes alone; it reads no credential file and no environment variable, since only Envoy is to see a key.
"""

from __future__ import annotations

import hashlib
import os.path
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from extproc.registry import overlay
from extproc.registry.chains import Known, read_defaults, read_models
from extproc.registry.changes import Change
from extproc.registry.endpoints import read_providers
from extproc.registry.fields import Field, Record
from extproc.registry.identity import read_identity
from extproc.registry.limits import read_limits
from extproc.registry.offers import read_targets
from extproc.registry.pass_through import read_passthrough
from extproc.registry.problems import Problem, Problems, RegistryError
from extproc.registry.state import read_state
from extproc.registry.tenants import read_tenants
from extproc.registry.types import Registry
from extproc.registry.yaml_marks import MAX_BYTES, Mapping, Node, Scalar, read_yaml

__all__ = ["Problem", "RegistryError", "document", "load_registry", "parse_registry"]

VERSION = 1
SECTIONS = ("version", "identity", "providers", "targets", "defaults", "models", "tenants", "limits", "state", "passthrough")
HINTS = {
    **dict.fromkeys(("model_list", "routes", "aliases", "model_group_alias"), "use models, targets and providers"),
    **dict.fromkeys(("router_settings", "routing", "strategy", "routing_strategy", "settings", "litellm_settings"), "use defaults: {rank_by: cost}"),
    **dict.fromkeys(("rank_by", "require", "timeouts", "attempts", "objectives", "explore", "affinity"), "it belongs to defaults or to a model"),
    **dict.fromkeys(("rules", "conditions", "shadow"), "it belongs to a model"),
    **dict.fromkeys(("budget", "budgets", "rate_limits", "rate_limit", "quotas", "limit"), "use limits: [{for: {tenant: acme}, usd_per_month: 500}]"),
    **dict.fromkeys(("tenant", "teams", "organizations", "customers"), "use tenants, and identity for where a request's tenant comes from"),
    **dict.fromkeys(("auth", "authentication", "users", "keys", "virtual_keys"), "who asks is said by identity; Envoy authenticates"),
    **dict.fromkeys(("redis", "redis_url", "redis_host", "cache", "database", "database_url"), "use state: redis://redis:6379/0"),
}


def load_registry(path: Path, day: date | None = None) -> Registry:
    """Reads and parses the file. Raises `RegistryError`, also when it cannot be read."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise RegistryError(str(path), [Problem("", 0, 0, f"cannot be read: {reason or error}")]) from error
    return parse_registry(raw, str(path), day)


def parse_registry(raw: bytes, path: str, day: date | None = None, changes: Sequence[Change] = ()) -> Registry:
    """A registry from the bytes of a file, with `changes` over it. `path` names it in messages, and relative credential paths start in its directory.

    `day` picks the packaged prices that hold then (default: today, UTC). Raises `RegistryError` with all problems.
    """
    problems = Problems()
    registry = _parse(raw, path, day or datetime.now(UTC).date(), changes, problems)
    if problems or registry is None:
        raise RegistryError(path, problems.found)
    return registry


def document(raw: bytes, path: str, changes: Sequence[Change] = ()) -> dict[str, Any]:
    """What the file says with `changes` over it, as JSON can hold it: mappings, lists, text, numbers, flags and null, as they are written there.

    It says nothing of whether that is a good registry. Raises `RegistryError` where it is no YAML mapping, or a change cannot be made.
    """
    problems = Problems()
    root = _tree(raw, changes, problems)
    if isinstance(root, Mapping) and not problems:
        return {key: overlay.plain(entry.node) for key, entry in root.entries.items()}
    if root is not None and not problems:
        problems.add((), root.line, root.column, "must be a mapping")
    raise RegistryError(path, problems.found)


def _tree(raw: bytes, changes: Sequence[Change], problems: Problems) -> Node | None:
    root = read_yaml(raw, problems)
    return root if root is None or not changes else overlay.apply(root, changes, problems)


def _digest(raw: bytes, changes: Sequence[Change]) -> str:
    whole = hashlib.sha256(raw)
    if changes:
        whole = hashlib.sha256(whole.digest() + overlay.canonical(changes))
    return whole.hexdigest()[:12]


def _parse(raw: bytes, path: str, day: date, changes: Sequence[Change], problems: Problems) -> Registry | None:
    root = _tree(raw, changes, problems)
    if root is None:
        return None
    record = Field(root, (), problems).record(SECTIONS, hints=HINTS, wanted="a mapping with version, providers, targets and models")
    if record is None:
        return None
    _version(record)
    directory = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120 - a string in, a string out
    identity, who = read_identity(record.get("identity"))
    section = record.need("providers", "{openai: {kind: openai, credential: {env: OPENAI_API_KEY}}}")
    providers = read_providers(section, directory) if section else None
    section = record.need("targets", "{gpt-4o: {provider: openai, model: gpt-4o}}")
    targets = read_targets(section, providers, day) if section else None
    known = Known(providers, targets, who)
    defaults = read_defaults(record.get("defaults"), known)
    section, before = record.need("models", "{chat: {targets: [gpt-4o]}}"), len(problems)
    models = read_models(section, known, defaults) if section else None
    # with a mistake among them nobody else is told that there is no such model
    named = models if len(problems) == before else None
    tenants = read_tenants(record.get("tenants"), providers, targets, named.values() if named is not None else None, who)
    section = record.get("state")
    state = read_state(section, directory)
    limits = read_limits(record.get("limits"), named, who, state=section is not None)
    section = record.get("passthrough")
    passthrough = read_passthrough(section, targets) if section else ()
    if problems or providers is None or targets is None or models is None:
        return None
    return Registry(
        {name: p for name, p in providers.items() if p},
        {name: t for name, t in targets.items() if t},
        models,
        _digest(raw, changes),
        path,
        passthrough,
        identity,
        tenants,
        limits,
        state,
        base=_digest(raw, ()) if changes else "",
    )


def _version(record: Record) -> None:
    field = record.need("version", str(VERSION))
    if field is None:
        return
    node = field.node
    if not isinstance(node, Scalar) or node.kind != "integer" or node.value() != VERSION:
        field.fail(f"this program reads version {VERSION} of the registry file", f"write version: {VERSION}")
