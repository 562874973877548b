"""Laws over random traffic: whatever clients, providers, timers, other processes and reloads do, and in whatever order, nobody is tried who may not
be, everything is counted once, and nothing stays behind."""

from __future__ import annotations

import gc
import random
import types
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from extproc.core.exchange import Action, Closed, Continue, Immediate, State, Tick
from extproc.core.plan import NAMESPACE
from extproc.registry.load import parse_registry
from extproc.registry.types import Registry
from extproc.routing.statistics import Sample
from extproc.stages import learn, shadow
from extproc.stages.request import DEADLINE, STALL
from extproc.stages.route import RouteExchange
from extproc.telemetry.record import Outcome
from tests.stages.world import OPENAI_ANSWER, Journey, World, openai_stream, piece, request_body, request_headers

TEXT = b"""
version: 1
identity: {tenant: {header: x-tenant}, user: {header: x-user}}
providers:
  us: {kind: openai, url: "http://us.test/v1", credentials: {a: {env: KEY}, b: {env: OTHER}}, data_stays_in: [us]}
  eu: {kind: openai, url: "http://eu.test/v1", credential: {env: KEY}, data_stays_in: [eu], data_policy: [no_training]}
  cl: {kind: anthropic, url: "http://cl.test", credential: {env: KEY}, data_stays_in: [eu]}
targets:
  us-1: {provider: us, model: gpt-4o, concurrency: 30}
  us-2: {provider: us, model: gpt-4o-mini, tokens_per_minute: 90000000}
  us-any: {provider: us, model: "*"}
  eu-1: {provider: eu, model: gpt-4o}
  eu-2: {provider: eu, model: gpt-4o-mini}
  eu-off: {provider: eu, model: gpt-4o, drained: true}
  cl-1: {provider: cl, model: claude-sonnet-4-5}
models:
  chat: {aliases: [alias], targets: [{us-1: 3, eu-1: 1}, cl-1, us-2, eu-off], shadow: {target: us-2, share: 0.5}, last_resort: true}
  fast: {targets: [us-1, eu-1, cl-1], rank_by: bandit, affinity: true, rules: [{when: {tools: true}, only: [eu-1, us-2]}]}
  held: {targets: [us-2, eu-2, eu-off], rank_by: {latency: 1, cost: 1}, commit: complete, explore: 0.5}
  contracts: {targets: [eu-1, us-1, cl-1, eu-off], require: {data_stays_in: [eu]}, rank_by: cost}
  cheap: {targets: [us-2, eu-2], rules: [{when: {prompt_tokens: {below: 50}}, prefer: [us-1]}]}
  "w-*": {targets: [us-any]}
tenants:
  acme: {require: {data_stays_in: [eu]}}
  picky: {targets: {deny: [eu-*]}, models: {deny: [fast]}}
  quiet: {require: {data_policy: [no_training]}, providers: {deny: [cl]}}
limits:
  - {for: {tenant: many}, requests_per_minute: 2, instead: cheap}
  - {for: {model: contracts}, requests_per_minute: 2, instead: cheap}
  - {for: {tenant: "*"}, tokens_per_minute: 90000000}
passthrough: {"/v1/files/**": {target: us-1, credential: a}}
"""
OTHER = TEXT.replace(b"[us-2, eu-2]", b"[eu-2, us-2, cl-1]").replace(b"deny: [eu-*]", b"deny: [us-*]")
TENANTS = ("acme", "picky", "quiet", "many", "", "*")
ERROR = orjson.dumps({"error": {"message": "no", "type": "server_error", "param": None, "code": None}})
USED = b'"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}'
LAST = b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[],' + USED + b"}\n\n"
CLAUDE = orjson.dumps(
    {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
)


def forbidden(registry: Registry, asked: str, tenant: str) -> set[str]:
    """Targets that no request of the tenant for the model may be tried at, written down by hand."""
    names = set(registry.targets)
    out = {"eu-off"}
    if tenant == "acme" or asked == "contracts":
        out |= {n for n in names if n.startswith("us")}
    if tenant == "picky":
        out |= {n for n in names if n.startswith("eu" if registry is FIRST else "us")}
    if tenant == "quiet":
        out |= {n for n in names if not n.startswith("eu")}
    return out


FIRST, SECOND = parse_registry(TEXT, "registry.yaml"), parse_registry(OTHER, "registry.yaml")


@dataclass
class Traffic:
    """One server process that routes, another one that some attempts run in, and a random number for every choice."""

    draws: random.Random
    here: World = field(default_factory=lambda: World(FIRST))
    there: World = field(default_factory=lambda: World(FIRST))
    samples: Counter[tuple[str, str]] = field(default_factory=Counter)
    ids: int = 0

    def __post_init__(self) -> None:
        services = self.here.services
        self.there.clock = self.here.clock
        services.random = self.draws
        services.new_id = self.new_id
        record = services.statistics.record

        def recorded(sample: Sample, now: float) -> None:
            self.samples[sample.cluster, sample.outcome] += 1
            record(sample, now)

        services.statistics.record = recorded  # type: ignore[method-assign]

    def new_id(self) -> str:
        self.ids += 1
        return f"{self.ids:024d}"

    def chance(self, share: float) -> bool:
        return self.draws.random() < share

    def maybe_reload(self) -> None:
        if self.chance(0.03):
            new = self.draws.choice((FIRST, SECOND))
            self.here.services.snapshots.swap(new)
            if self.chance(0.5):
                self.there.services.snapshots.swap(new)


def of_client(draws: random.Random) -> tuple[bytes, str, str]:
    """(body, path, the name that is asked for)."""
    name = draws.choice(("chat", "alias", "fast", "held", "contracts", "contracts", "cheap", "w-gpt-4o", "nobody", f"w-{draws.random()}"))
    members: dict[str, Any] = {"model": name, "messages": [{"role": "user", "content": "hello " * draws.choice((1, 1, 400))}]}
    if draws.random() < 0.5:
        members |= {"stream": True, "stream_options": {"include_usage": True}}
    if draws.random() < 0.2:
        members["tools"] = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    kind = draws.random()
    if kind < 0.05:
        return b"{", "/v1/chat/completions", name
    if kind < 0.1:
        return orjson.dumps(members), "/v1/nowhere", name
    if kind < 0.15:
        return b"bytes", "/v1/files/f", "files"
    if kind < 0.2:
        return orjson.dumps({"model": name, "input": "hi", "previous_response_id": "resp_1"}), "/v1/responses", name
    if kind < 0.25:
        return orjson.dumps({"model": name, "input": "hi"}), "/v1/embeddings", name
    return orjson.dumps(members), "/v1/chat/completions", name


class Request(Journey):
    """One request from its first byte to its end."""

    def __init__(self, traffic: Traffic) -> None:
        super().__init__(traffic.here)
        self.traffic = traffic
        self.body, self.path, self.asked = of_client(traffic.draws)
        self.tenant = traffic.draws.choice(TENANTS)
        self.exchange: RouteExchange = self.world.route()
        self.registry = self.exchange.registry
        self.tried: list[str] = []

    def run(self) -> None:
        traffic, exchange = self.traffic, self.exchange
        if traffic.chance(0.02):
            return self.close()
        user = {"x_user": str(traffic.draws.random()), "x_llm_session": str(traffic.draws.random()), "x_llm_task": str(traffic.draws.random())}
        self.take(exchange.handle(request_headers(self.path, x_tenant=self.tenant, **user)))
        if exchange.state is not State.BODY or traffic.chance(0.02):
            return self.close()
        actions = self.take(exchange.handle(request_body(self.body)))
        traffic.maybe_reload()
        if NAMESPACE not in self.metadata:
            assert any(isinstance(action, Immediate) for action in actions)
            return self.close()
        self.check_chain()
        return self.travel()

    def check_chain(self) -> None:
        wrong = forbidden(self.registry, self.asked, self.tenant)
        if self.path.startswith("/v1/files"):
            wrong -= {"us-1"} if self.tenant not in ("acme", "quiet") and not (self.tenant == "picky" and self.registry is SECOND) else set()
        assert not {cluster.partition("@")[0] for cluster in self.chain} & wrong, (self.asked, self.tenant, self.chain)

    def travel(self) -> None:
        traffic, exchange = self.traffic, self.exchange
        n = 0
        while True:
            n += 1
            if traffic.chance(0.04):
                if traffic.chance(0.5):
                    exchange.handle(Tick(DEADLINE))
                return self.close()
            elsewhere = traffic.chance(0.2)
            attempt = (traffic.there if elsewhere else traffic.here).attempt()
            before = self.chain
            actions = self.take(attempt.handle(self.attempt_headers(n)))
            if attempt.state is State.BODY:
                actions = self.take(attempt.handle(request_body(self.body)))
            if any(isinstance(action, Immediate) for action in actions):
                return self.local(actions)
            cluster = before[n - 1]
            self.tried.append(cluster)
            self.check_chain()
            if traffic.chance(0.1):
                # a reset: Envoy goes on by itself, if it may
                attempt.handle(Closed())
                if n >= min(len(self.chain), int(self.most)):
                    return self.local(None)
                continue
            retry = self.response_of(attempt)
            attempt.handle(Closed())
            self.check_chain()
            traffic.maybe_reload()
            if not retry or n >= int(self.most):
                return self.back(cluster)

    @property
    def most(self) -> float:
        assert self.exchange.plan is not None
        return self.exchange.plan.total

    def response_of(self, attempt: Any) -> bool:
        """True where Envoy is asked to try again."""
        traffic = self.traffic
        assert attempt.target is not None
        kind = attempt.target.provider.kind.dialect
        self.status, self.type, self.pieces = 200, "application/json", [OPENAI_ANSWER if kind == "openai_chat" else CLAUDE]
        if self.path == "/v1/embeddings":
            vector = {"object": "embedding", "index": 0, "embedding": [0.5]}
            self.pieces = [orjson.dumps({"object": "list", "data": [vector], "model": "m", "usage": {"prompt_tokens": 5, "total_tokens": 5}})]
        elif attempt.plan.stream and kind == "openai_chat" and not attempt.plan.path:
            self.type = "text/event-stream"
            self.pieces = [*openai_stream("a", "b", done=False), LAST, b"data: [DONE]\n\n"]
        if traffic.chance(0.4):
            self.status = traffic.draws.choice((400, 401, 404, 429, 429, 500, 503, 529))
            self.type, self.pieces = "application/json", [ERROR]
        more = {"retry_after": traffic.draws.choice(("0", "1", "30", "9" * 400 + "s", "nan"))} if self.status in (429, 503) else {}
        actions = self.take(attempt.handle(self.response(self.status, self.type, **more)))
        for i, part in enumerate(self.pieces):
            if attempt.state is not State.HOLDING:
                break
            actions = self.take(attempt.handle(piece(part, end=i == len(self.pieces) - 1)))
        answer = [action for action in actions if isinstance(action, Continue)]
        return any("x-llm-retry" in dict(action.set) for action in answer)

    def back(self, cluster: str) -> None:
        """The answer reaches the return stage, or its client has gone by then."""
        traffic, exchange = self.traffic, self.exchange
        if traffic.chance(0.05):
            return self.close()
        exchange.handle(self.response(self.status, self.type, cluster=cluster))
        if exchange.state is State.COLLECTING:
            exchange.handle(piece(b"".join(self.pieces), end=True))
        for i, part in enumerate(self.pieces):
            if exchange.state is not State.STREAMING:
                break
            if traffic.chance(0.05):
                break
            exchange.handle(piece(part, end=i == len(self.pieces) - 1))
        if exchange.state is State.STREAMING and traffic.chance(0.3):
            exchange.last_piece = -1e6
            exchange.handle(Tick(STALL))
        return self.close()

    def local(self, actions: list[Action] | None) -> None:
        """Envoy or an attempt has answered itself."""
        if actions is None:
            self.exchange.handle(self.response(503, x_llm_local="upstream_reset_before_response_started{}"))
        else:
            said = next(dict(action.headers) for action in actions if isinstance(action, Immediate))
            self.exchange.handle(self.response(503, x_llm_final=said["x-llm-final"]))
        return self.close()

    def close(self) -> None:
        traffic, exchange = self.traffic, self.exchange
        exchange.handle(Closed())
        if exchange.in_doubt and traffic.chance(0.5):
            exchange.broken_by(traffic.draws.choice((Outcome.CLIENT_GONE, Outcome.CUT)), 200)
        known = len(exchange.notes)
        before = sum(traffic.samples.values())
        learn.settled(exchange, certain=traffic.chance(0.9))
        assert sum(traffic.samples.values()) - before <= known
        exchange.handle(Closed())
        if exchange.record.outcome is Outcome.OK and exchange.copy is not None and not exchange.record.shadow:
            self.copy()

    def copy(self) -> None:
        copy = self.exchange.copy
        assert copy is not None
        second = self.world.route()
        self.metadata = {}
        self.take(second.handle(request_headers(copy.path, x_llm_shadow=shadow.header_of(copy, self.exchange.record))))
        if second.state is State.BODY:
            self.take(second.handle(request_body(copy.body)))
        if NAMESPACE in self.metadata:
            self.registry = second.registry
            self.check_chain()
            assert {cluster.partition("@")[0] for cluster in self.chain} == {copy.target}
        assert second.copy is None
        second.handle(Closed())


@pytest.mark.parametrize("seed", range(6))
def test_random_traffic(seed: int) -> None:
    traffic = Traffic(random.Random(seed))
    outcomes: Counter[Outcome] = Counter()
    for _ in range(400):
        traffic.here.clock.now += traffic.draws.random() * 5
        request = Request(traffic)
        request.run()
        admitted = request.exchange.admitted
        assert admitted is None or admitted.settled
        outcomes[request.exchange.record.outcome] += 1
        assert request.exchange.record.ended_ns
    services = traffic.here.services
    assert not services.under_way
    flying = {name: measured["in_flight"] for name, measured in services.statistics.snapshot(0.0)["clusters"].items() if measured["in_flight"]}
    assert not flying
    assert outcomes[Outcome.INTERNAL_ERROR] == 0
    assert len(outcomes) > 7, outcomes
    clusters = {cluster for target in FIRST.targets.values() for cluster in target.clusters}
    assert set(services.statistics.snapshot(0.0)["clusters"]) <= clusters
    assert {name.rsplit("/", 2)[0] for name in services.bandit.dump(0.0)["contexts"]} <= set(FIRST.models)
    assert len(services.bandit.dump(0.0)["contexts"]) < 40, "tasks come from clients, without end"
    assert len(FIRST.memo) < 4200
    assert 200 < len(services.decisions) <= 256
    assert not reachable(services.decisions, "hello ")


def reachable(root: object, text: str) -> list[object]:
    """Strings and bytes that begin with `text` and that `root` keeps alive, but for what a registry holds."""
    seen, todo, found = set[int](), [root], list[object]()
    while todo:
        each = todo.pop()
        if id(each) in seen or isinstance(each, Registry | type | types.ModuleType | types.FunctionType):
            continue
        seen.add(id(each))
        if isinstance(each, str | bytes):
            if each[: len(text)] in (text, text.encode()):
                found.append(each)
        else:
            todo += gc.get_referents(each)
    return found
