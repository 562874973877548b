"""What a registry says about choosing: who asks, when a rule holds, what must be true of a target, how to rank, how much is allowed.

Immutable values, built by the loader; `routing` evaluates them. Prices are US dollars per million tokens, durations seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

SignalValue = str | int | float | bool | frozenset[str] | None
"""None is unknown: no condition on an unknown value holds, also not a negated one inside `Is` or `Within`."""


class Shape(StrEnum):
    """What a signal's value is, and so what a condition may say of it."""

    NUMBER = "number"
    FLAG = "flag"
    WORD = "word"
    WORDS = "words"
    """A set; a condition holds if it names any of its members."""
    TIME = "time"
    """Minutes of the day (UTC), from 0 to 1439; a condition names two times of day."""


SIGNALS: dict[str, tuple[Shape, str]] = {
    "prompt_tokens": (Shape.NUMBER, "estimated tokens of the whole prompt, tools included"),
    "max_output_tokens": (Shape.NUMBER, "the longest answer that the client allows; unknown where it says nothing"),
    "turns": (Shape.NUMBER, "messages of the conversation"),
    "modalities": (Shape.WORDS, "text, image, document, audio, video: what the request holds"),
    "tools": (Shape.FLAG, "does it offer tools?"),
    "output_format": (Shape.WORD, "text, json_object or json_schema"),
    "reasoning": (Shape.FLAG, "does it ask the model to reason?"),
    "language": (Shape.WORD, "ISO 639-1 code of the last user text; unknown where it is too short to tell"),
    "code": (Shape.FLAG, "does the prompt hold code?"),
    "complexity": (Shape.NUMBER, "0 to 1, from cheap features of the prompt"),
    "task": (Shape.WORD, "x-llm-task, metadata of the request, or told from its words"),
    "stream": (Shape.FLAG, "does it ask for a stream?"),
    "dialect": (Shape.WORD, "the client's wire format"),
    "operation": (Shape.WORD, "chat, embeddings, …"),
    "asked": (Shape.WORD, "the model name that the client used"),
    "tenant": (Shape.WORD, "from the registry's identity"),
    "tier": (Shape.WORD, "from the registry's identity"),
    "application": (Shape.WORD, "from the registry's identity"),
    "user": (Shape.WORD, "from the registry's identity"),
    "time": (Shape.TIME, "time of day, UTC"),
    "weekday": (Shape.WORD, "mon, tue, wed, thu, fri, sat, sun (UTC)"),
}
"""Every signal that a rule may name, with its shape and its meaning."""

WHO = ("tenant", "tier", "application", "user")
"""What `identity` may define."""


class Signals(Protocol):
    """The signals of one request, each computed when it is first asked for."""

    def get(self, name: str) -> SignalValue:
        """A signal of `SIGNALS`."""
        ...


class Condition(Protocol):
    """A node of a rule's `when`."""

    def holds(self, signals: Signals) -> bool: ...


@dataclass(frozen=True, slots=True)
class Is:
    """The signal is one of `values` (for a set: has one of them). A word ending with `*` in the file is a prefix here."""

    signal: str
    values: frozenset[str | bool | float]
    prefixes: tuple[str, ...] = ()

    def holds(self, signals: Signals) -> bool:
        value = signals.get(self.signal)
        if value is None:
            return False
        if isinstance(value, frozenset):
            return not value.isdisjoint(self.values)
        return value in self.values or (bool(self.prefixes) and isinstance(value, str) and value.startswith(self.prefixes))


@dataclass(frozen=True, slots=True)
class Within:
    """low <= value < high, either may be infinite. `wraps`: a time of day past midnight, so value >= low or value < high."""

    signal: str
    low: float
    high: float
    wraps: bool = False

    def holds(self, signals: Signals) -> bool:
        value = signals.get(self.signal)
        if not isinstance(value, int | float):
            return False
        return (value >= self.low or value < self.high) if self.wraps else self.low <= value < self.high


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple[Condition, ...]

    def holds(self, signals: Signals) -> bool:
        for part in self.parts:  # noqa: SIM110 - half the time of all() over a generator, on the path of every request
            if not part.holds(signals):
                return False
        return True


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple[Condition, ...]

    def holds(self, signals: Signals) -> bool:
        for part in self.parts:  # noqa: SIM110
            if part.holds(signals):
                return True
        return False


@dataclass(frozen=True, slots=True)
class Not:
    """Holds where `part` does not. Of an unknown signal neither `part` nor `Not(part)` should be relied on for safety: requirements do that."""

    part: Condition

    def holds(self, signals: Signals) -> bool:
        return not self.part.holds(signals)


class Policy(StrEnum):
    """How candidates are ranked. `order` is the ranks of the file with weighted draws inside a rank; all others rank every candidate together and
    take the order of the file where they are equal."""

    ORDER = "order"
    COST = "cost"
    LATENCY = "latency"
    SCORE = "score"
    BANDIT = "bandit"


@dataclass(frozen=True, slots=True)
class RankBy:
    """`weights` of `score`: some of latency, cost, reliability, quality, load, each above 0."""

    policy: Policy = Policy.ORDER
    weights: tuple[tuple[str, float], ...] = ()


ORDERED = RankBy()
SCORED = ("latency", "cost", "reliability", "quality", "load")
"""What `score` can weigh."""


@dataclass(frozen=True, slots=True)
class Objectives:
    """The absolute references of `score` and of the bandit's reward: what is good, not what is best today. Seconds and US dollars.

    A measure at its objective is worth 0.5, at nothing 1, far beyond it 0.
    """

    first_token: float = 2.0
    per_token: float = 0.05
    usd_per_request: float = 0.02


OBJECTIVES = Objectives()


@dataclass(frozen=True, slots=True)
class Rule:
    """The first rule whose `when` holds decides. `prefer`: these targets first, the others behind; `only`: no others. At most one of them is set."""

    name: str
    when: Condition
    prefer: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    rank_by: RankBy | None = None


@dataclass(frozen=True, slots=True)
class Require:
    """What every target of a request must have; unknown counts as not allowed. Holds through every fallback.

    `data_stays_in`: all of a provider's regions must be among these. `data_policy`: the provider states all of these (`no_training`,
    `zero_retention`, any word). `usd_per_million_tokens`: (input, output) at most; None is no ceiling.
    """

    data_stays_in: frozenset[str] = frozenset()
    data_policy: frozenset[str] = frozenset()
    usd_per_million_tokens: tuple[float | None, float | None] = (None, None)

    def __bool__(self) -> bool:
        return bool(self.data_stays_in or self.data_policy or self.usd_per_million_tokens != (None, None))


NO_REQUIRE = Require()


@dataclass(frozen=True, slots=True)
class Access:
    """`allow` None allows all but those of `deny`. Names may end with one `*`."""

    allow: frozenset[str] | None = None
    deny: frozenset[str] = frozenset()

    def permits(self, name: str) -> bool:
        if self.allow is not None and not matches(self.allow, name):
            return False
        return not (self.deny and matches(self.deny, name))


def matches(patterns: frozenset[str], name: str) -> bool:
    """Is `name` one of `patterns`, or does it begin with one that ends with `*`?"""
    return name in patterns or any(p.endswith("*") and name.startswith(p[:-1]) for p in patterns)


ANYBODY = Access()


@dataclass(frozen=True, slots=True)
class Tenant:
    """What holds for one tenant. `name` "*" is for every tenant without an entry of its own, and for requests without a tenant."""

    name: str
    require: Require = NO_REQUIRE
    models: Access = ANYBODY
    targets: Access = ANYBODY
    providers: Access = ANYBODY


@dataclass(frozen=True, slots=True)
class IdentitySource:
    """`kind`: jwt_claim (dotted path into the claims that Envoy's jwt_authn put into its metadata), header (one that Envoy authenticated;
    clients' own x-llm-* are never taken), certificate (uri_san, dns_san or subject of the client's)."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Identity:
    """`sources` for some of `WHO`; `otherwise` holds where a source gives nothing."""

    sources: Mapping[str, IdentitySource] = field(default_factory=dict)
    otherwise: Mapping[str, str] = field(default_factory=dict)


NOBODY = Identity()


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so much, for each value of what `by` names.

    `by`: ((dimension, pattern), …) with dimension one of tenant, application, user, tier, model; the pattern "*" counts each value on its own,
    another one is a name (or a prefix with `*`, also each value on its own) and only concerns those. `key` is its place in the file. `instead`:
    the model that serves what is over the limit; "" refuses. `shared` False: `scope: process`.
    """

    key: str
    by: tuple[tuple[str, str], ...]
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    usd_per_day: float | None = None
    usd_per_month: float | None = None
    instead: str = ""
    shared: bool = True


@dataclass(frozen=True, slots=True)
class State:
    """The Redis that replicas share statistics, limits, budgets and the overlay through. `url` never holds a password."""

    url: str
    username: str | None = None
    password_file: str | None = None
    prefix: str = "llm"


@dataclass(frozen=True, slots=True)
class Affinity:
    """Stay with the target whose prompt cache is warm unless another is expected to be cheaper by more than `usd` for this request, or faster by
    more than
    `seconds` to the first token. `ttl` seconds is how long a cache is taken to be warm."""

    usd: float = 0.002
    seconds: float = 1.0
    ttl: float = 300.0


@dataclass(frozen=True, slots=True)
class Shadow:
    """A share (0 to 1) of a model's requests is sent again to `target`, in the background."""

    target: str
    share: float
