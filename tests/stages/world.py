"""A request without Envoy: services with a hand-driven clock, a small registry, and the events that Envoy would send."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson

from extproc.core.dialect import Facts
from extproc.core.exchange import Action, BodyEvent, Continue, HeadersEvent, Kind, State
from extproc.core.plan import ATTEMPTS_NAMESPACE, NAMESPACE
from extproc.dialects.catalog import DIALECTS
from extproc.providers.kinds import KINDS
from extproc.registry.types import Attempts, Commit, Credential, Model, Provider, Rank, Registry, Target, Timeouts
from extproc.routing.health import Health
from extproc.stages.attempt import AttemptExchange
from extproc.stages.route import RouteExchange
from extproc.stages.services import Options, Services, Snapshots

T = TypeVar("T")
KIND_OF = {"openai_chat": "openai", "anthropic_messages": "anthropic", "gemini": "gemini"}


def provider(name: str, dialect: str = "openai_chat", keys: tuple[str, ...] = ("",)) -> Provider:
    return Provider(name, KINDS[KIND_OF[dialect]], "http", f"{name}.test", 80, "/v1", tuple(Credential(k, env="KEY") for k in keys))


def target(name: str, dialect: str = "openai_chat", *, keys: tuple[str, ...] = ("",), window: int | None = None, **capabilities: bool) -> Target:
    model = {"openai_chat": "gpt-4o", "anthropic_messages": "claude-sonnet-4-5", "gemini": "gemini-2.5-flash"}[dialect]
    facts = Facts(model, KINDS[KIND_OF[dialect]].vendor, 4096, window)
    return Target(name, provider(f"p-{name}", dialect, keys), model, facts, capabilities)


def registry(
    *targets: Target,
    commit: Commit = Commit.FIRST_TOKEN,
    strict: bool = False,
    timeouts: Timeouts | None = None,
    attempts: Attempts | None = None,
    digest: str = "d1",
) -> Registry:
    ranks = tuple(Rank(((t.name, 1.0),)) for t in targets)
    model = Model("chat", ("alias",), ranks, timeouts or Timeouts(), attempts or Attempts(), commit, strict)
    providers = {t.provider.name: t.provider for t in targets}
    return Registry(providers, {t.name: t for t in targets}, {"chat": model}, digest, "registry.yaml")


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class Still(random.Random):
    """Draws that are always the lowest: the first of what there is."""

    def random(self) -> float:
        return 0.0

    def gauss(self, mu: float = 0.0, sigma: float = 1.0) -> float:
        return mu


@dataclass
class World:
    """One registry, one clock, one process."""

    registry: Registry
    clock: Clock = field(default_factory=Clock)
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        self.services = Services(
            snapshots=Snapshots(self.registry),
            dialects=DIALECTS,
            health=Health(self.clock),
            monotonic=self.clock,
            wall=self.clock,
            random=Still(),
            new_id=lambda: "i" * 24,
            options=self.options,
        )

    def route(self) -> RouteExchange:
        return RouteExchange(self.services)

    def attempt(self) -> AttemptExchange:
        return AttemptExchange(self.services)


def request_headers(path: str = "/v1/chat/completions", method: str = "POST", *, end: bool = False, **headers: str) -> HeadersEvent:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HeadersEvent(Kind.REQUEST_HEADERS, {":method": method, ":path": path, "x-request-id": "rid", **named}, end)


def chat(model: str = "chat", **members: Any) -> bytes:
    return orjson.dumps({"model": model, "messages": [{"role": "user", "content": "hello"}], **members})


def request_body(body: bytes) -> BodyEvent:
    return BodyEvent(Kind.REQUEST_BODY, body, True)


def piece(body: bytes, *, end: bool = False) -> BodyEvent:
    return BodyEvent(Kind.RESPONSE_BODY, body, end)


@dataclass
class Journey:
    """What Envoy keeps between the calls of one request: dynamic metadata. `world` may change between attempts (another process)."""

    world: World
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)

    def take(self, actions: list[Action]) -> list[Action]:
        for action in actions:
            if isinstance(action, Continue) and action.metadata:
                for space, values in action.metadata.items():
                    self.metadata.setdefault(space, {}).update(values)
        return actions

    def route(self, body: bytes, path: str = "/v1/chat/completions", **headers: str) -> RouteExchange:
        """A request that has been routed."""
        exchange = self.world.route()
        exchange.handle(request_headers(path, **headers))
        self.take(exchange.handle(request_body(body)))
        return exchange

    @property
    def chain(self) -> list[str]:
        return [g["clusters"][0]["cluster_name"] for g in self.metadata[NAMESPACE]["priority_groups"]]

    def attempt(self, n: int, body: bytes, *, world: World | None = None) -> AttemptExchange:
        """Attempt `n`, sent: its response headers are to come."""
        exchange = (world or self.world).attempt()
        self.take(exchange.handle(self.attempt_headers(n)))
        if exchange.state is State.BODY:
            self.take(exchange.handle(request_body(body)))
        return exchange

    def attempt_headers(self, n: int, *, end: bool = False) -> HeadersEvent:
        cluster = self.chain[min(n, len(self.chain)) - 1]
        return HeadersEvent(
            Kind.REQUEST_HEADERS,
            {":method": "POST", ":path": "/v1/chat/completions", "x-secret-of-the-app": "1", "x-request-id": "rid"},
            end,
            attributes={"xds.cluster_name": cluster, "upstream.request_attempt_count": float(n)},
            metadata={NAMESPACE: dict(self.metadata[NAMESPACE])},
        )

    def response(self, status: int, content_type: str = "application/json", *, end: bool = False, cluster: str = "", **more: str) -> HeadersEvent:
        headers = {":status": str(status), "content-type": content_type, **{k.replace("_", "-"): v for k, v in more.items()}}
        attributes = {"xds.cluster_name": cluster or self.chain[0]}
        return HeadersEvent(Kind.RESPONSE_HEADERS, headers, end, attributes, {ATTEMPTS_NAMESPACE: dict(self.metadata.get(ATTEMPTS_NAMESPACE, {}))})


OPENAI_ANSWER = orjson.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
)


def openai_stream(*texts: str, finish: bool = True, done: bool = True) -> list[bytes]:
    """The pieces of an OpenAI stream: a role chunk, one chunk a text, a finish chunk, the terminator."""

    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
        return b"data: " + orjson.dumps({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}) + b"\n\n"

    pieces = [chunk({"role": "assistant", "content": ""}), *(chunk({"content": t}) for t in texts)]
    if finish:
        pieces.append(chunk({}, "stop"))
    if done:
        pieces.append(b"data: [DONE]\n\n")
    return pieces


def of_type(actions: list[Action], kind: type[T]) -> T:
    """The one action of a type."""
    found = [a for a in actions if isinstance(a, kind)]
    assert len(found) == 1, actions
    return found[0]
