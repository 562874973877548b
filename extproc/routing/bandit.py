"""Thompson sampling with discounting: which target has earned the most lately, with as much doubt as there is evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from extproc.routing.decision import Random


class Bandit:
    """One posterior for each context and cluster. `context` names model, task and prompt-size band; a reward is in [0, 1] (`routing.reward`)."""

    def draw(self, context: str, clusters: Sequence[str], now: float, random: Random) -> list[tuple[str, float]]:
        """(cluster, sampled reward), the best first."""
        raise NotImplementedError

    def learn(self, context: str, cluster: str, reward: float, now: float) -> None:
        """An attempt at `cluster` was worth `reward`."""
        raise NotImplementedError

    def dump(self, now: float) -> dict[str, Any]:
        """All of it as JSON."""
        raise NotImplementedError

    def load(self, dumped: dict[str, Any], now: float) -> None:
        """Take over what `dump` gave, aged by the time between."""
        raise NotImplementedError
