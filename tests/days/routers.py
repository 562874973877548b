"""Everybody who lives through the day."""

from __future__ import annotations

from extproc.registry.policy import Affinity, Policy, RankBy
from tests.days import peers
from tests.days.ours import Ours
from tests.days.simulation import Build

WEIGHTS = (4.0, 2.0, 2.0, 1.0, 1.0)
SCORE = RankBy(Policy.SCORE, (("latency", 1.0), ("cost", 1.0), ("reliability", 1.0)))

BANDIT, STAYING = "bandit", "bandit, affinity"

OURS: dict[str, Build] = {
    "order": Ours(RankBy()),
    "weights": Ours(RankBy(), weights=WEIGHTS),
    "weights, affinity": Ours(RankBy(), weights=WEIGHTS, affinity=Affinity()),
    "cost": Ours(RankBy(Policy.COST)),
    "cost, affinity": Ours(RankBy(Policy.COST), affinity=Affinity()),
    "latency": Ours(RankBy(Policy.LATENCY)),
    "latency, affinity": Ours(RankBy(Policy.LATENCY), affinity=Affinity()),
    "score": Ours(SCORE),
    "score, affinity": Ours(SCORE, affinity=Affinity()),
    BANDIT: Ours(RankBy(Policy.BANDIT)),
    STAYING: Ours(RankBy(Policy.BANDIT), affinity=Affinity()),
}

PEERS: dict[str, Build] = {
    "last ten latencies": peers.LastTen,
    "lowest unit price": peers.UnitPrice,
    "Thompson until 200": peers.StopsLearning,
    "round robin": peers.RoundRobin,
}

CLAIRVOYANT = "clairvoyant"
ALL: dict[str, Build] = {**OURS, **PEERS, CLAIRVOYANT: peers.Clairvoyant}
