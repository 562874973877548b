"""How the suite is spread over processes: what starts Envoy and others stays in one of them, everything else goes by file to whoever is free.

Two at once is what two cores carry: the tests with processes wait for most of their time, and get slow where several of them share a core.
"""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent
PROCESSES = ("e2e", "commands", "envoyconfig")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in a hook of the same name
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        place = item.path.relative_to(ROOT).parts
        item.add_marker(pytest.mark.xdist_group("processes" if place[0] in PROCESSES else "/".join(place)))
