"""Which target has a session's prompt cache warm, and whether to stay with it.

A session (`Request.session`) is the client's `x-llm-session`, or who asks together with a hash of the conversation's first message: all turns
of one conversation, and nobody else's, whatever a client writes into the header. Only a hash of it is kept, of the sessions that were used last.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b

from extproc.core.usage import Price, Usage
from extproc.registry.types import Model
from extproc.routing.decision import Candidate, Ranked, Request, World
from extproc.routing.policies.cost import expected_cost
from extproc.routing.policies.expect import Expected

CACHED_FROM = 1024
"""Tokens: shorter prompts are not cached by providers that cache by themselves (OpenAI's and Gemini's smallest)."""


@dataclass(slots=True)
class Warm:
    """`cached` tokens were read from or written to the cache of `cluster` at the monotonic time `at`."""

    cluster: str
    cached: int
    at: float


class Affinities:
    """By session: the last `most` that were served. Single operations of an OrderedDict are whole under the interpreter's lock; a reader that
    comes between two of them misses a warm cache at worst."""

    __slots__ = ("_by_session", "_most")

    def __init__(self, most: int = 10_000) -> None:
        self._by_session: OrderedDict[bytes, Warm] = OrderedDict()
        self._most = most

    def __len__(self) -> int:
        return len(self._by_session)

    def warm(self, session: str, now: float, ttl: float) -> Warm | None:
        """Where `session` has a warm cache, younger than `ttl` seconds."""
        found = self._by_session.get(_hashed(session)) if session else None
        return found if found is not None and now - found.at < ttl else None

    def served(self, session: str, cluster: str, cached: int, now: float) -> None:
        """`cluster` answered a request of `session`, with `cached` tokens of its prompt in its cache now.

        With none, what was known of `cluster` is over; a cache elsewhere is as warm as it was.
        """
        if not session:
            return
        key = _hashed(session)
        by_session = self._by_session
        if cached <= 0:
            known = by_session.get(key)
            if known is not None and known.cluster == cluster:
                by_session.pop(key, None)
            return
        # taken out first: what is put in stands last
        by_session.pop(key, None)
        by_session[key] = Warm(cluster, cached, now)
        while len(by_session) > self._most:
            by_session.popitem(last=False)


def left_in_cache(usage: Usage, price: Price | None) -> int:
    """How many tokens of an answered prompt the provider's cache holds now, for `Affinities.served`.

    What it says it read and wrote; a provider that caches by itself (a price for reading, none for writing) does not say what it wrote, and
    has all of a prompt that is long enough.
    """
    said = usage.cache_read + usage.cache_write
    by_itself = price is not None and price.cache_read is not None and price.cache_write is None
    return max(said, usage.input_tokens) if by_itself and usage.input_tokens >= CACHED_FROM else said


def stay(ranked: list[Ranked], model: Model, request: Request, world: World) -> int | None:
    """The place in `ranked` of the candidate to move first, because the session's prompt cache is warm there; None to leave the order as it is.

    It stays (0: it is the first anyway) unless the first is expected to be cheaper by more than `affinity.usd` for this request, or faster by more
    than `affinity.seconds` to the first token. The warm target is charged for what its cache does not hold, the other one for all, and for
    writing its cache anew where that has a price. What is not known is no reason to move. A target that was filtered out is not in `ranked`, so
    nobody stays with it.

    The cache is warm for one key of the target: its place in `ranked` gets a candidate that tries that key first.
    """
    affinity = model.affinity
    if affinity is None or not request.session or not ranked:
        return None
    warm = world.affinities.warm(request.session, world.now, affinity.ttl)
    if warm is None:
        return None
    place = next((i for i, r in enumerate(ranked) if warm.cluster in r.candidate.clusters), -1)
    if place < 0:
        return None
    mine = ranked[place]
    if place and _worth_moving(mine.candidate, ranked[0].candidate, warm, affinity.usd, affinity.seconds, model, request, world):
        return None
    if mine.candidate.cluster != warm.cluster:
        own = mine.candidate
        clusters = [warm.cluster, *(c for c in own.clusters if c != warm.cluster)]
        mine.candidate = Candidate(own.target, own.upstream, clusters, own.rank, own.weight)
    mine.numbers = {**mine.numbers, "warm_tokens": warm.cached}
    return place


def _worth_moving(mine: Candidate, other: Candidate, warm: Warm, usd: float, seconds: float, model: Model, request: Request, world: World) -> bool:
    here, there = world.statistics.of(warm.cluster), world.statistics.of(other.cluster)
    if here.first_token is not None and there.first_token is not None and here.first_token - there.first_token > seconds:
        return True
    price_here, price_there = world.facts(mine.target, request.asked)[1], world.facts(other.target, request.asked)[1]
    if price_here is None or price_there is None:
        return False
    expected = Expected(model, request, world)
    prompt = expected.prompt
    share = min(warm.cached / max(prompt, 1.0), 1.0)
    cost_here = expected_cost(price_here, prompt, expected.output(here), share)
    cost_there = expected_cost(price_there, prompt, expected.output(there), 0.0, share)
    return cost_here - cost_there > usd


def _hashed(session: str) -> bytes:
    return blake2b(session.encode("utf-8", "surrogatepass"), digest_size=16).digest()
