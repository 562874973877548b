"""How the suite is spread over processes: what starts Envoy and others stays in one of them, everything else goes by file to whoever is free.

Two at once is what two cores carry: the tests with processes wait for most of their time, and get slow where several of them share a core.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

PROCESSES = ("e2e", "commands", "envoyconfig")


class ByFile(LoadScopeScheduling):
    """Whole files, and all of `PROCESSES` as one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "processes" if file.split("/")[1] in PROCESSES else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return ByFile(config, log)
