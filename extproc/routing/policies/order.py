"""The order of the file: ranks one behind the other, weighted draws inside a rank.

With the model's `sticky_by` the same session, tenant, user or header has the same place in every draw, in every process and replica: weighted
rendezvous hashing. A hash of the model, the value and the target gives each target of a rank a number u in (0, 1), and -ln(u) / weight is
exponentially distributed with the weight as its rate, so a target is the least of them with the probability weight / sum of weights, and the others
follow as in a draw without replacement. Where a weight grows, only values move to that target; where a target goes, only its own values
move (Thaler and Ravishankar 1998; with weights, the logarithmic method of Schindelhauer and Schomaker 2005).
"""

from __future__ import annotations

from hashlib import blake2b
from math import log

from extproc.registry.policy import WHO, RankBy
from extproc.registry.types import Model
from extproc.routing.decision import Candidate, Random, Ranked, Request, World

_HEADER = "header:"


def rank(candidates: list[Candidate], model: Model, request: Request, world: World, rank_by: RankBy) -> list[Ranked]:  # noqa: ARG001
    """By rank; inside a rank each place is drawn by the weights. A score is the place."""
    count = len(candidates)
    placed: list[Candidate] = []
    start = 0
    while start < count:
        first = candidates[start]
        end = start + 1
        while end < count and candidates[end].rank == first.rank:
            end += 1
        if end - start == 1:
            placed.append(first)
        else:
            value = sticky_value(model, request) if model.sticky_by else ""
            placed += _held(candidates[start:end], model.name, value) if value else _drawn(candidates[start:end], world.random)
        start = end
    return [Ranked(candidate, place) for place, candidate in enumerate(placed)]


def sticky_value(model: Model, request: Request) -> str:
    """What keeps the request's place in draws; "" where it does not say."""
    by = model.sticky_by
    if by == "session":
        return request.session
    if by in WHO:
        return request.who.get(by, "")
    return request.headers.get(by.removeprefix(_HEADER).lower(), "") if by.startswith(_HEADER) else ""


def _drawn(left: list[Candidate], random: Random) -> list[Candidate]:
    """One draw per place, without replacement."""
    order: list[Candidate] = []
    total = sum([c.weight for c in left])
    while len(left) > 1:
        point = random.random() * total
        place = 0
        for place, candidate in enumerate(left):  # noqa: B007 - it may end at the last: sums of floats are not exact
            point -= candidate.weight
            if point < 0:
                break
        chosen = left.pop(place)
        total -= chosen.weight
        order.append(chosen)
    return order + left


def _held(rank: list[Candidate], model: str, value: str) -> list[Candidate]:
    # a header of a client's may hold anything, and the parts must not run into each other
    known = blake2b(f"{len(model)}:{model}{len(value)}:{value}".encode("utf-8", "surrogatepass"), digest_size=8)
    keyed: list[tuple[float, int, Candidate]] = []
    for place, candidate in enumerate(rank):
        own = known.copy()
        own.update(candidate.target.name.encode())
        # 53 bits and a half: never 0 and never 1
        u = ((int.from_bytes(own.digest(), "big") >> 11) + 0.5) / 2**53
        keyed.append((-log(u) / candidate.weight, place, candidate))
    keyed.sort()
    return [candidate for _, _, candidate in keyed]
