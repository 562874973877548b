"""The `passthrough` section: paths that go to one target with one credential as they are, because the ids in them live in one account.

A path is exact, or ends with `/*` (one more segment) or `/**` (any number, none included). Of several that match, the longest prefix wins, an
exact path before `/*` before `/**`; the entries come in that order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from extproc.core.version_prefix import behind_version
from extproc.registry.fields import Field, Record
from extproc.registry.problems import shown
from extproc.registry.types import Passthrough, Target

_PATH = re.compile(r"(?:/[A-Za-z0-9._~@:+-]+)+(?:/\*{1,2})?\Z")
_SERVED = re.compile(
    r"(?:/[a-z0-9/-]*)?/(?:chat/completions|completions|responses|responses/input_tokens|embeddings|moderations|messages|messages/count_tokens"
    r"|images/(?:generations|edits|variations)|audio/(?:speech|transcriptions|translations)|models|rerank)"
    r"|/v2/(?:chat|embed)|/api/(?:chat|generate|embed|embeddings|tags|show|version)"
)
"""Paths that have a meaning here already; what stands behind one of them (`/v1/responses/**`) may be passed through."""
_FEWEST = 2
"""Segments before a wildcard: `/v1/**` would send whatever nobody thought of to a provider, with its key; `/openai/v1/**` is the same."""


def read_passthrough(section: Field, targets: Mapping[str, Target | None] | None) -> tuple[Passthrough, ...]:
    """Those without problems, the one that wins first."""
    found: list[Passthrough] = []
    for path, entry in (section.entries("a mapping from paths to {target: name}") or {}).items():
        _check_path(path, entry)
        record = entry.record(("target", "credential"), hints={"targets": "one target: ids live in one account"}, wanted="{target: name}")
        cluster = _cluster(record, targets) if record else None
        if cluster is not None:
            found.append(Passthrough(path, cluster))
    return tuple(sorted(found, key=_precedence))


def _precedence(entry: Passthrough) -> tuple[int, int, str]:
    prefix = entry.path.rstrip("*")
    return -len(prefix.rstrip("/")), len(entry.path) - len(prefix), entry.path


def _check_path(path: str, entry: Field) -> None:
    prefix = path.rstrip("*").rstrip("/")
    if not _PATH.match(path) or any(segment in (".", "..") for segment in path.split("/")):
        entry.fail(f"{shown(path)} is no path: segments of letters, digits and . _ ~ @ : + -, and /* or /** at its end alone")
    elif path.endswith("*") and (prefix.count("/") < _FEWEST or not behind_version(prefix)):
        entry.fail(
            f"{shown(path)} is too wide: it would send every path that is not known here to one provider, with its key", "such as /v1/files/**"
        )
    elif path == prefix and _SERVED.fullmatch(path):
        entry.fail(f"{shown(path)} is served here: it goes to the models", f"what lies behind it can be passed through: {path}/**")


def _cluster(record: Record, targets: Mapping[str, Target | None] | None) -> str | None:
    field, part = record.need("target", "openai-any"), record.get("credential")
    name = field.text("the name of a target") if field else None
    wanted = part.text("the name of a credential in the provider's pool") if part else None
    if field is None or name is None or targets is None:
        return None
    if name not in targets:
        field.fail(f"no target named {shown(name)}", field.problems.did_you_mean(name, targets))
    target = targets.get(name)
    if target is None:
        return None
    pool = [c.name for c in target.provider.credentials if c.name]
    if part is None:
        if pool:
            record.field.fail("needs `credential`: ids live in one account", f"one of {', '.join(pool)}")
            return None
        return target.name
    if wanted is None:
        return None
    if wanted not in pool:
        where = f"the provider {target.provider.name}"
        message = f"{where} has no credential {shown(wanted)}" if pool else f"{where} has a single credential; leave `credential` out"
        part.fail(message, part.problems.did_you_mean(wanted, pool))
        return None
    return f"{target.name}@{wanted}"
