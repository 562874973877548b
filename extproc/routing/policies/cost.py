"""The cheapest target first: by what the request is expected to cost there, not by the list price.

That is its prompt at the tier of its length, the part that the target's prompt cache usually holds at the cached price, and an answer as long as
the target usually gives. Where the cache of this very session is warm at one target, it reads there what it would have to write anew at all
others, at full price or at the price of writing where there is one. A target whose price nobody knows stands behind every known one.
"""

from __future__ import annotations

from math import inf

from extproc.core.usage import Price
from extproc.registry.policy import Affinity, RankBy
from extproc.registry.types import Model
from extproc.routing.decision import Candidate, Ranked, Request, World
from extproc.routing.policies.expect import Expected
from extproc.routing.statistics import Measured

_TTL = Affinity().ttl


def expected_cost(price: Price, prompt_tokens: float, output_tokens: float, cached_share: float = 0.0, written_share: float = 0.0) -> float:
    """US dollars of one request: `cached_share` of its prompt is read from the provider's cache, `written_share` is written to it (0 to 1 each,
    together at most 1), the rest is neither."""
    if price.tiers:
        price = price.at(prompt_tokens)
    fresh = price.input
    a_token = fresh
    if price.cache_read is not None:
        a_token += cached_share * (price.cache_read - fresh)
    if price.cache_write is not None:
        a_token += written_share * (price.cache_write - fresh)
    return (prompt_tokens * a_token + output_tokens * price.output) / 1e6


class Bill:
    """What a request is expected to cost at each of its candidates; made once for each ranking."""

    __slots__ = ("_asked", "_expected", "_facts", "_warm", "_warm_share")

    def __init__(self, model: Model, request: Request, world: World, expected: Expected) -> None:
        self._expected = expected
        self._facts = world.facts
        self._asked = request.asked
        self._warm = ""
        self._warm_share = 0.0
        if request.session:
            warm = world.affinities.warm(request.session, world.now, model.affinity.ttl if model.affinity else _TTL)
            if warm is not None:
                self._warm = warm.cluster
                self._warm_share = min(warm.cached / max(expected.prompt, 1.0), 1.0)

    def usd(self, candidate: Candidate, measured: Measured) -> float | None:
        """US dollars; None where nobody knows the price. `measured` is the candidate's."""
        price = self._facts(candidate.target, self._asked)[1]
        if price is None:
            return None
        expected = self._expected
        if not self._warm:
            read, written = measured.cached_share or 0.0, measured.written_share or 0.0
        elif self._warm in candidate.clusters:
            read, written = self._warm_share, 0.0
        else:
            read, written = 0.0, self._warm_share
        return expected_cost(price, expected.prompt, expected.output(measured), read, written)


def rank(candidates: list[Candidate], model: Model, request: Request, world: World, rank_by: RankBy) -> list[Ranked]:  # noqa: ARG001
    """By expected cost. A score is US dollars, infinite where the price is unknown."""
    bill = Bill(model, request, world, Expected(model, request, world))
    of = world.statistics.of
    ranked = []
    for candidate in candidates:
        usd = bill.usd(candidate, of(candidate.clusters[0]))
        ranked.append(Ranked(candidate, inf) if usd is None else Ranked(candidate, usd, {"usd": usd}))
    ranked.sort(key=_score)
    return ranked


def _score(ranked: Ranked) -> float:
    return ranked.score
