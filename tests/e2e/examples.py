"""The examples beside the YAML files that SREs edit, laid over the default files as their first lines say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from extproc.envoyconfig.merge import merge_all
from extproc.envoyconfig.sources import Sources, load_sources

FOLDER = Path(__file__).parents[2] / "envoy"


def with_example(name: str, changed: Mapping[str, str] | None = None) -> Sources:
    """The default files and the parts of `<name>.example.yaml` over them. `changed` are texts of the example and what a test has in their place."""
    text = (FOLDER / f"{name}.example.yaml").read_text()
    for written, here in (changed or {}).items():
        assert written in text, written
        text = text.replace(written, here)
    parts: dict[str, Any] = yaml.safe_load(text)
    sources = load_sources()
    over = {file: replace(getattr(sources, file), data=merge_all(getattr(sources, file).data, part)) for file, part in parts.items()}
    return replace(sources, **over)
