"""Asks Envoy itself whether it would take the rendered files.

`envoy --mode validate` looks at the bootstrap only: a watched file with an unknown field passes and is then ignored or refused at run time.
So the clusters and routes are put into the bootstrap first, where Envoy is strict about them.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from extproc.envoyconfig import wire
from extproc.envoyconfig.render import BOOTSTRAP, CDS, RDS

_LOG_LINE = re.compile(r"^\[[^]]*\]\[[^]]*\]\[(?P<level>\w+)\]\[[^]]*\] (?:\[[^]]*\] )?(?P<text>.*)$")


def inline(directory: Path) -> bytes:
    """The rendered files as one static bootstrap. SDS files stay where they are."""
    config, cds, rds = ({} if file is None else file for file in (_load(directory / name) for name in (BOOTSTRAP, CDS, RDS)))
    config.pop("dynamic_resources", None)
    static = config["static_resources"]
    static["clusters"] += [_untyped(cluster) for cluster in cds.get("resources") or []]
    manager = static["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager.pop("rds", None)
    manager["route_config"] = _untyped(rds["resources"][0])
    return wire.dump(config, "for validation only")


def validate_with_envoy(binary: Path, directory: Path, seconds: float = 60.0) -> str | None:
    """None if Envoy takes the files in `directory`, else what it says, one reason per line."""
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(inline(directory))
        file.flush()
        argv = [str(binary), "--mode", "validate", "-c", file.name, "--log-level", "warning", "--disable-hot-restart"]
        try:
            done = subprocess.run(argv, capture_output=True, timeout=seconds, check=False)  # noqa: S603
        except subprocess.TimeoutExpired:
            return f"envoy --mode validate gave no answer within {seconds:.0f} s"
    if done.returncode == 0:
        return None
    text = (done.stderr + done.stdout).decode(errors="replace").replace(file.name, str(directory))
    return readable(text) or f"envoy --mode validate ended with {done.returncode}"


def readable(log: str) -> str:
    """What Envoy complains about, without its log's decoration."""
    lines: list[str] = []
    bad = False
    for line in log.splitlines():
        match = _LOG_LINE.match(line)
        if match is not None:
            bad = match["level"] in {"error", "critical"}
            line = match["text"]
        elif line.startswith("configuration "):
            bad = False
        if bad and line.strip() and line.strip() not in lines:
            lines.append(line.strip())
    return "\n".join(lines)


def _load(file: Path) -> dict[str, Any] | None:
    loaded: dict[str, Any] | None = yaml.load(file.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    return loaded


def _untyped(resource: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in resource.items() if name != wire.TYPE}
