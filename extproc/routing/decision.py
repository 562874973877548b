"""What a routing decision is made from and what it is: the values that filters, policies, the chain and the decision trace share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from extproc.core.dialect import Dialect, Facts
from extproc.core.prompt import Prompt
from extproc.core.usage import Price
from extproc.registry.policy import Require, Signals, SignalValue
from extproc.registry.types import Registry, Target, Upstream

if TYPE_CHECKING:
    from extproc.routing.affinity import Affinities
    from extproc.routing.bandit import Bandit
    from extproc.routing.health import Health
    from extproc.routing.limits import Limits
    from extproc.routing.statistics import Statistics


COPY = "#copy"
"""Ends the name of a model that serves copies (`shadow`): no model of a file can have such a name."""


class _Nothing(dict[str, Any]):
    """An empty mapping, shared by everything that has none of its own: never changed. Decisions are kept, so each object of theirs costs."""

    __hash__ = object.__hash__  # type: ignore[assignment] # defaults of dataclasses must have one


_NONE: Mapping[str, Any] = _Nothing()


class Random(Protocol):
    """The part of `random.Random` that routing draws from."""

    def random(self) -> float: ...
    def gauss(self, mu: float = 0.0, sigma: float = 1.0) -> float: ...
    def betavariate(self, alpha: float, beta: float) -> float: ...


class Asking(Signals, Protocol):
    """The signals of a request, and its prompt as they read it."""

    @property
    def prompt(self) -> Prompt:
        """Walked when it is first asked for."""
        ...


@dataclass(slots=True)
class Excluded:
    """A candidate that is not in the chain. `code` is low in cardinality; `routing.filters` lists them all. `seconds`: until it may be back, 0 if
    nobody knows."""

    cluster: str
    code: str
    detail: str
    seconds: float = 0.0


@dataclass(slots=True)
class Candidate:
    """One allowed target: its clusters that are usable now, in the order in which its keys are to be tried. `rank` is its place in the file, behind
    what a rule prefers. Shared between requests: never changed."""

    target: Target
    upstream: Upstream
    clusters: list[str]
    rank: int
    weight: float = 1.0
    plain: bool = False
    """One key and no limits of its own: nothing but its health to look at."""

    @property
    def cluster(self) -> str:
        """The one that its statistics are read from."""
        return self.clusters[0]


@dataclass(slots=True)
class Ranked:
    """A candidate's place: `score` (lower is better, whatever the policy) and the numbers that it came from, for the trace."""

    candidate: Candidate
    score: float
    numbers: Mapping[str, float] = _NONE


@dataclass(slots=True)
class World:
    """What a decision reads besides the request, all of it handed in. `now` is monotonic, `wall` Unix time, both of the moment of the decision."""

    registry: Registry
    dialects: Mapping[str, Dialect]
    facts: Callable[[Target, str], tuple[Facts, Price | None]]
    health: Health
    statistics: Statistics
    limits: Limits
    bandit: Bandit
    affinities: Affinities
    random: Random
    now: float
    wall: float


@dataclass(slots=True)
class Request:
    """The asking side. `asked` is the client's model name, `size` the bytes of the body, `who` the identity's values (absent or "" where unknown),
    `session` the one that affinity goes by ("" without), `headers` the client's, with names in lower case. `requires`: what the models require that
    a limit took the request from."""

    client: Dialect
    asked: str
    needs: frozenset[str]
    size: int
    signals: Asking
    who: Mapping[str, str] = field(default_factory=dict)
    session: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    requires: tuple[Require, ...] = ()


@dataclass(slots=True)
class Decision:
    """`clusters` in the order of the attempts.

    `policy` is what ranked ("state": nothing did, what the request goes on from lies in one account), `rule` the name of the rule that held (""
    none). `excluded` with reasons; `ranked` with numbers; `last_resort` if only left-out clusters remained; `explored` if the first is not the best
    on purpose; `stayed` if affinity kept the target; `observed` the cluster that the policy under observation would have put first. `context` is
    the bandit's. `signals` are those that were asked for. `limited`: the limit that sent the request to this model instead of the one asked for.
    """

    model: str
    policy: str
    clusters: list[str]
    rule: str = ""
    excluded: list[Excluded] = field(default_factory=list)
    ranked: list[Ranked] = field(default_factory=list)
    last_resort: bool = False
    explored: bool = False
    stayed: bool = False
    observed: str = ""
    context: str = ""
    limited: str = ""
    signals: Mapping[str, SignalValue] = _NONE

    def said(self) -> dict[str, Any]:
        """The trace as JSON, made only when somebody reads it."""
        return {
            "model": self.model,
            "rule": self.rule,
            "rank_by": self.policy,
            "chain": self.clusters,
            "ranked": [
                {"target": r.candidate.target.name, "score": round(r.score, 6), **{k: round(v, 6) for k, v in r.numbers.items()}} for r in self.ranked
            ],
            "excluded": [{"cluster": e.cluster, "code": e.code, "why": e.detail} for e in self.excluded],
            "last_resort": self.last_resort,
            "explored": self.explored,
            "stayed": self.stayed,
            "observed": self.observed,
            "context": self.context,
            "limited": self.limited,
            "signals": {name: sorted(v) if isinstance(v, frozenset) else v for name, v in self.signals.items()},
        }
