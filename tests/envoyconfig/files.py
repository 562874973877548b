"""The default YAML files with one member changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from extproc.envoyconfig.merge import merge
from extproc.envoyconfig.sources import Sources, load_sources
from extproc.registry.problems import Path

REMOVED = object()


def edited(name: str, path: Path, value: Any) -> Sources:
    """The defaults, in which `path` of file `name` is `value`, or is gone if that is `REMOVED`."""
    sources = load_sources()
    source = getattr(sources, name)
    data = merge({}, source.data)
    here = data
    for part in path[:-1]:
        here = here[part] if isinstance(here, list) else here.setdefault(part, {})
    if value is REMOVED:
        del here[path[-1]]
    else:
        here[path[-1]] = value
    return replace(sources, **{name: replace(source, data=data)})
