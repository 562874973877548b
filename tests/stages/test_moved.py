"""A target that lies elsewhere since a request was routed: Envoy's clusters follow the newest registry, the request the one that it began with."""

from __future__ import annotations

import gc

import orjson
import pytest

from extproc.core.exchange import Continue, HeadersEvent, Immediate, State
from extproc.core.plan import CLUSTER_NAMESPACE
from extproc.registry.load import parse_registry
from extproc.registry.types import Registry
from extproc.stages.services import Snapshots
from tests.stages.world import Journey, World, chat, of_type, registry, request_body, target

TEXT = b"""
version: 1
providers: {p: {kind: openai, url: "http://one.test:81/v1", credential: {env: KEY}, data_stays_in: [eu, ch], data_policy: [no_training]}}
targets: {a: {provider: p, model: gpt-4o}}
models: {chat: {targets: [a], require: {data_stays_in: [eu, ch]}}}
"""


def moved(*changes: tuple[bytes, bytes]) -> Registry:
    text = TEXT.replace(b"one.test", b"two.test")
    for old, new in changes:
        text = text.replace(old, new)
    return parse_registry(text, "registry.yaml")


def attempt(trip: Journey, at: Registry) -> tuple[Journey, HeadersEvent]:
    """The headers of the attempt, from a cluster that was rendered from `at`."""
    event = trip.attempt_headers(1)
    event.metadata[CLUSTER_NAMESPACE] = {"target": "a", "endpoint": at.targets["a"].provider.endpoint}
    return trip, event


def routed(first: Registry, second: Registry) -> Journey:
    trip = Journey(World(first))
    trip.route(chat())
    trip.world.services.snapshots.learn(second)
    return trip


@pytest.mark.parametrize(
    "changes", [(), ((b"[eu, ch], data_policy", b"[eu], data_policy"),), ((b"[no_training]", b"[no_training, zero_retention]"),)], ids=str
)
def test_it_is_sent_as_the_place_needs_it_where_nothing_is_looser_there(changes: tuple[tuple[bytes, bytes], ...]) -> None:
    second = moved(*changes)
    trip, event = attempt(routed(parse_registry(TEXT, "r"), second), second)
    exchange = trip.world.attempt()
    exchange.handle(event)
    sent = of_type(exchange.handle(request_body(chat())), Continue)
    assert dict(sent.set)[":authority"] == "two.test:81"
    assert exchange.target is second.targets["a"]


@pytest.mark.parametrize(
    "change",
    [
        (b"data_stays_in: [eu, ch], data", b"data_stays_in: [eu, ch, us], data"),
        (b"data_stays_in: [eu, ch], data_policy: [no_training]", b"data_policy: [no_training]"),
        (b", data_policy: [no_training]", b""),
        (b"model: gpt-4o}", b"model: gpt-4o-mini}"),
        (b"model: gpt-4o}", b"model: gpt-4o, usd_per_million_tokens: {input: 90, output: 90}}"),
        (b"kind: openai", b"kind: anthropic"),
    ],
    ids=str,
)
def test_it_is_not_sent_where_anything_is(change: tuple[bytes, bytes]) -> None:
    text = TEXT.replace(b", require: {data_stays_in: [eu, ch]}", b"")
    second = parse_registry(text.replace(b"one.test", b"two.test").replace(*change), "r")
    trip, event = attempt(routed(parse_registry(text, "r"), second), second)
    exchange = trip.world.attempt()
    answer = of_type(exchange.handle(event), Immediate)
    assert (answer.status, dict(answer.headers)["retry-after"], exchange.state) == (503, "1", State.DONE)
    assert orjson.loads(answer.body)["error"]["message"] == "target 'a' has moved since this request came; send it again"


def test_nor_to_a_place_that_nobody_here_knows() -> None:
    first = parse_registry(TEXT, "r")
    trip, event = attempt(routed(first, first), moved())
    assert of_type(trip.world.attempt().handle(event), Immediate).status == 503


def test_a_cluster_that_says_nothing_is_believed() -> None:
    trip = routed(parse_registry(TEXT, "r"), moved())
    exchange = trip.attempt(1, chat())
    assert exchange.state is State.SENT


def test_a_registry_is_known_as_long_as_a_request_uses_it() -> None:
    snapshots = Snapshots(registry(target("a"), digest="first"))
    used = snapshots.current
    for n in range(20):
        snapshots.swap(registry(target("a"), digest=f"d{n}"))
    gc.collect()
    assert snapshots.get("first") is used
    assert snapshots.get("d0") is snapshots.current, "nobody uses it"
    del used
    gc.collect()
    assert snapshots.get("first") is snapshots.current
