"""The registry as immutable typed values: what the loader builds and routing, Envoy's configuration and telemetry read.

One `Registry` is one snapshot: a request keeps the snapshot it started with, a reload builds a new one and swaps the reference.
Durations are seconds, prices US dollars per million tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from extproc.core.dialect import Facts
from extproc.core.operation import Operation
from extproc.core.usage import Price
from extproc.providers.kinds import ProviderKind
from extproc.providers.vendors import CARRIES
from extproc.registry.names import ModelNames
from extproc.registry.policy import (
    NO_REQUIRE,
    NOBODY,
    OBJECTIVES,
    ORDERED,
    Affinity,
    Identity,
    Limit,
    Objectives,
    Policy,
    RankBy,
    Require,
    Rule,
    Shadow,
    State,
    Tenant,
)


class Commit(StrEnum):
    """When a streamed answer is let go: at its first content, or only when it is whole (then a cut in the middle still falls back)."""

    FIRST_TOKEN = "first_token"
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class TokenSource:
    """A short-lived access token, which `extproc tokens` (a process of its own) fetches and keeps fresh in a file that Envoy watches.

    `issuer` is "google" or "entra"; `scope` what it is asked for; `file` the configuration of a service account or of workload identity, None for the
    environment's default; `settings` what else the issuer needs (Entra: tenant, client, …).
    """

    issuer: str
    scope: str
    file: str | None = None
    settings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class AwsSource:
    """Where Envoy's request signing finds its keys: the default chain of AWS, or one credentials file and a profile in it."""

    file: str | None = None
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class Credential:
    """Where Envoy finds a key; never the key. At most one of `file` (absolute path), `env` (variable name), `token` and `aws` is set; with
    none no key is sent.

    `name` is its name in the provider's pool, "" for a provider's single credential.
    """

    name: str = ""
    file: str | None = None
    env: str | None = None
    token: TokenSource | None = None
    aws: AwsSource | None = None


@dataclass(frozen=True, slots=True)
class Provider:
    """Somebody's endpoint. `scheme`, `host`, `port`, `base_path` are its parsed URL (`host` of an IPv6 address has no brackets,
    `base_path` has no trailing slash, may be ""). `quirks` are its kind's and those that the file adds.
    """

    name: str
    kind: ProviderKind
    scheme: str
    host: str
    port: int
    base_path: str
    credentials: tuple[Credential, ...]
    data_stays_in: frozenset[str] = frozenset()
    data_policy: frozenset[str] = frozenset()
    """What the provider promises about the data it gets: `no_training`, `zero_retention`, or any word that a `require` asks for."""
    envoy: dict[str, Any] = field(default_factory=dict)
    quirks: frozenset[str] = frozenset()
    region: str | None = None
    """Of an AWS endpoint, for the signature."""
    api_version: str | None = None
    """Of an Azure endpoint; None where it is undated (`v1`)."""

    endpoint: str = field(init=False, repr=False, compare=False)
    """Where it is, as scheme, host and port."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "endpoint", f"{self.scheme}://{self.host}:{self.port}")

    def token_file(self, credential: Credential) -> str:
        """The name of the file in which `extproc tokens` keeps the access token of `credential`: the provider's, or `provider@credential`."""
        return f"{self.name}@{credential.name}" if credential.name else self.name


@dataclass(frozen=True, slots=True)
class Upstream:
    """One wire format in which a target can be reached: the catalog's key of its dialect, and what stands before and behind the dialect's path."""

    operation: Operation
    dialect: str
    base_path: str
    query: str = ""

    @property
    def name(self) -> str:
        """The dialect's name, without its envelope."""
        return self.dialect.partition("@")[0]


@dataclass(frozen=True, slots=True)
class Target:
    """One model at one provider: one Envoy cluster per credential of the provider's pool.

    `model` is the provider's name for it, or "*" for the client's own. `capabilities` are the needs it certainly lacks or has
    ({need: bool}; absent = unknown = present). `price` None = unknown. `api` narrows it to one of its kind's formats, "" is all.
    """

    name: str
    provider: Provider
    model: str
    facts: Facts
    capabilities: dict[str, bool] = field(default_factory=dict)
    price: Price | None = None
    set_headers: tuple[tuple[str, str], ...] = ()
    envoy: dict[str, Any] = field(default_factory=dict)
    api: str = ""
    concurrency: int | None = None
    """Requests under way at once, from this server process."""
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    quality: float | None = None
    """0 to 1, the registry's own word; for `score`."""
    drained: bool = False
    """Takes no new requests; those under way end."""
    clusters: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """Envoy cluster names, one per credential: the target's name, or `target@credential` where the provider has a pool."""
    carries: frozenset[str] = field(init=False, repr=False, compare=False)
    """Needs that it meets by a quirk of its provider, although its dialect's reference does not."""
    upstreams: tuple[Upstream, ...] = field(init=False, repr=False, compare=False)
    _by_client: dict[tuple[Operation, str], Upstream] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        provider, facts = self.provider, self.facts
        found = tuple(
            Upstream(
                s.operation,
                s.dialect,
                provider.base_path + s.base.replace("{deployment}", facts.wire_model),
                _query(s.query, provider.api_version),
            )
            for s in provider.kind.speaks
            if s.serves(self.model) and (s.api is None or s.operation is not Operation.CHAT or self.api in ("", s.api))
        )
        table: dict[tuple[Operation, str], Upstream] = {}
        for upstream in found:
            table.setdefault((upstream.operation, upstream.name), upstream)
            table.setdefault((upstream.operation, ""), upstream)
        object.__setattr__(self, "clusters", tuple(f"{self.name}@{c.name}" if c.name else self.name for c in provider.credentials))
        object.__setattr__(self, "carries", frozenset(need for quirk, need in CARRIES.items() if quirk in provider.quirks))
        object.__setattr__(self, "upstreams", found)
        object.__setattr__(self, "_by_client", table)

    def upstream(self, operation: Operation, client: str) -> Upstream | None:
        """How a client of dialect `client` is served: in its own format where the target has it, else in the target's first one for `operation`."""
        table = self._by_client
        return table.get((operation, client)) or table.get((operation, ""))


def _query(template: str, api_version: str | None) -> str:
    """Without an `api_version` there is nothing to say by one."""
    if api_version is None:
        return "" if "{api_version}" in template else template
    return template.replace("{api_version}", api_version)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `unary_attempt` bounds one unanswered unary attempt; `first_token` and `stall` police streams; `deadline` the whole chain."""

    unary_attempt: float = 120.0
    first_token: float = 20.0
    stall: float = 30.0
    deadline: float = 300.0


@dataclass(frozen=True, slots=True)
class Attempts:
    """`total` upstream tries per request; `same_target` repeats of one target for a transient failure; `wait_at_most` seconds of Retry-After."""

    total: int = 4
    same_target: int = 1
    wait_at_most: float = 5.0


@dataclass(frozen=True, slots=True)
class Rank:
    """Targets of equal preference with their weights; the ranks of a model are its fallback order."""

    targets: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A name that applications ask for. `name` or an alias may be a wildcard with one trailing `*`."""

    name: str
    aliases: tuple[str, ...]
    ranks: tuple[Rank, ...]
    timeouts: Timeouts
    attempts: Attempts
    commit: Commit
    strict: bool
    rank_by: RankBy = ORDERED
    rules: tuple[Rule, ...] = ()
    require: Require = NO_REQUIRE
    objectives: Objectives = OBJECTIVES
    explore: float = 0.02
    """The share of requests that `latency` and `score` give to another candidate than the best, so that its measurements stay fresh."""
    sticky_by: str = ""
    """What keeps its place in a weighted draw: session, tenant, application, user, or header:NAME; "" draws anew for every request."""
    affinity: Affinity | None = None
    shadow: Shadow | None = None
    observe: Policy | None = None
    """A policy that only logs what it would have done (the bandit)."""
    last_resort: bool = True
    """Are ejected and cooling targets tried where nothing else is left?"""


@dataclass(frozen=True, slots=True)
class Passthrough:
    """Paths that go to one cluster as they are, because the ids in them live in one account. `path` is exact, or ends with `/*` (one more segment)
    or `/**` (any)."""

    path: str
    cluster: str


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Registry:
    """One loaded registry file. `digest` is the first 12 hex digits of the SHA-256 of its bytes; `path` is where it came from."""

    providers: dict[str, Provider]
    targets: dict[str, Target]
    models: dict[str, Model]
    digest: str
    path: str
    passthrough: tuple[Passthrough, ...] = ()
    identity: Identity = NOBODY
    tenants: dict[str, Tenant] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    state: State | None = None
    base: str = ""
    """The digest of the file alone, where an overlay of the admin API lies over it; "" without one."""
    memo: dict[Any, Any] = field(init=False, repr=False, compare=False, default_factory=dict)
    """What `routing.filters` has worked out from this snapshot, which never changes. It keeps it bounded."""
    _names: ModelNames[Model] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_names", ModelNames(self.models.values()))

    def resolve(self, name: str) -> Model | None:
        """The model that a client's name means: exact name or alias, then the longest wildcard; None is an unknown model."""
        return self._names.find(name)

    @property
    def clusters(self) -> frozenset[str]:
        """Every cluster that a chain of this registry may name. Worked out anew each time: thousands take a while."""
        return frozenset(c for target in self.targets.values() for c in target.clusters)

    def cluster_target(self, cluster: str) -> Target | None:
        """The target behind an Envoy cluster name."""
        return self.targets.get(cluster.partition("@")[0])
