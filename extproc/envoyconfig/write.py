"""Puts rendered files where Envoy watches: each by rename, so that it never reads half a file, and only those that changed. All are on the disk
before the first is renamed: one that is full leaves the old ones together.

Secrets first (a cluster that names an SDS file that is not there stops Envoy from starting), then clusters, then routes, then the bootstrap, which is
read at start only. Secrets that nobody names any more go last.
"""

from __future__ import annotations

import os
from pathlib import Path

from extproc.envoyconfig.render import BOOTSTRAP, CDS, RDS

_LAST = (CDS, RDS, BOOTSTRAP)


def write(files: dict[str, bytes], directory: Path) -> list[str]:
    """Writes what differs; returns the names written and removed, in that order. Directories are private (0700), files 0600."""
    secrets = directory / "sds"
    for folder in (directory, secrets):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    news: dict[str, Path] = {}
    try:
        for name in sorted(files, key=lambda name: (_LAST.index(name) if name in _LAST else -1, name)):
            target = directory / name
            if not target.is_file() or target.read_bytes() != files[name]:
                news[name] = beside(target, files[name])
        for name, temporary in news.items():
            temporary.replace(directory / name)
    except BaseException:
        for temporary in news.values():
            temporary.unlink(missing_ok=True)
        raise
    changed = list(news)
    for stale in sorted(secrets.glob("*.yaml")):
        if f"sds/{stale.name}" not in files:
            stale.unlink()
            changed.append(f"sds/{stale.name}")
    return changed


def beside(target: Path, content: bytes, *, sync: bool = True) -> Path:
    """A file with this content, the user's alone, that can be renamed to `target`. What a kill leaves here is taken again the next time: each target
    has one writer. Raises OSError."""
    temporary = target.with_name(f".{target.name}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary
