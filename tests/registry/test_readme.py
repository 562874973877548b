"""README's table of the registry has a row for every key that the loader knows, and names every kind and every credential."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from extproc.providers.kinds import KINDS
from extproc.registry import chains, credentials, endpoints, load, offers

ROWS = [line for line in (Path(__file__).parents[2] / "README.md").read_text().splitlines() if line.startswith("| `")]
NAMED = " ".join(row.split("|")[1] for row in ROWS)


def row(key: str) -> str:
    return next(row for row in ROWS if row.startswith(f"| `{key}`"))


@pytest.mark.parametrize(
    "key",
    [
        *(s for s in load.SECTIONS if s not in ("providers", "targets", "models", "defaults")),
        *(f"providers.{key}" for key in endpoints.KNOWN),
        *(f"targets.{key}" for key in offers.KNOWN),
        *(f"models.{key}" for key in chains.MODEL if key not in ("timeouts", "attempts", "rank_by")),
        *(f"models.timeouts.{key}" for key in chains.TIMEOUTS),
        *(f"models.attempts.{key}" for key in chains.ATTEMPTS),
    ],
)
def test_every_key_has_a_row(key: str) -> None:
    section, _, name = key.partition(".")
    assert re.search(rf"`(?:{section}\.<name>|…)?\.?{re.escape(name or section)}[`.]", NAMED), key


def test_every_kind_and_every_credential_is_named() -> None:
    kinds = row("providers.<name>.kind")
    assert [kind for kind in KINDS if f"`{kind}`" not in kinds] == []
    ways = row("providers.<name>.credential")
    assert [source for source in (*credentials.SOURCES, *credentials.ENTRA) if source not in ways] == []
