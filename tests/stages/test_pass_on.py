"""Requests that are passed on as they are: one cluster, sent once, untouched both ways, with and without a body."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from extproc.core.exchange import Abort, Arm, Closed, Continue, Finish, Immediate, Kind, Mode, State, Tick
from extproc.core.plan import NAMESPACE, Plan, attempt_notes
from extproc.registry.load import parse_registry
from extproc.registry.types import Passthrough
from extproc.stages.route import LONGEST_PATH, RouteExchange
from extproc.telemetry.record import Outcome
from tests.stages.world import Journey, World, of_type, piece, registry, request_body, request_headers, target


def journey(cluster: str = "a@y") -> Journey:
    made = registry(target("a", keys=("x", "y")), target("b"))
    return Journey(World(replace(made, passthrough=(Passthrough("/v1/files/**", cluster),))))


def routed(trip: Journey, path: str = "/v1/files/f-1?limit=2&key=K", method: str = "GET", body: bytes | None = None, **headers: str) -> RouteExchange:
    exchange = trip.world.route()
    trip.take(exchange.handle(request_headers(path, method, end=body is None, **headers)))
    if body is not None:
        trip.take(exchange.handle(request_body(body)))
    return exchange


def test_the_plan_is_made_at_the_headers_where_there_is_no_body() -> None:
    trip = journey()
    exchange = trip.world.route()
    actions = trip.take(exchange.handle(request_headers("/v1/files/f-1?limit=2&key=SECRET", "GET", end=True, cookie="c", accept="*/*")))
    answer = of_type(actions, Continue)
    assert (answer.kind, answer.clear_route_cache, exchange.state) == (Kind.REQUEST_HEADERS, True, State.SENT)
    assert dict(answer.set)["x-llm-route"] == "once"
    assert dict(answer.set)["x-envoy-max-retries"] == "1"
    assert "x-envoy-upstream-rq-timeout-ms" not in dict(answer.set), "it would cut a download"
    plan = Plan.loads(trip.metadata[NAMESPACE]["plan"])
    assert (plan.path, plan.query, plan.headers) == ("/files/f-1", "limit=2", {"accept": "*/*"})
    assert trip.chain == ["a@y", "a@y"]
    assert "SECRET" not in str(trip.metadata)


@pytest.mark.parametrize("body", [None, b"", b"\x00\xff not JSON", b'{"model":"x","model":"y"}'])
def test_the_provider_gets_the_same_bytes(body: bytes | None) -> None:
    trip = journey()
    routed(
        trip,
        method="PUT",
        body=body,
        content_type="application/x-own; a=b",
        content_encoding="gzip",
        idempotency_key="k",
        x_internal="no",
        openai_beta="assistants=v2",
    )
    attempt = trip.world.attempt()
    actions = trip.take(attempt.handle(trip.attempt_headers(1, end=body is None)))
    if body is not None:
        actions = trip.take(attempt.handle(request_body(body)))
    answer = of_type(actions, Continue)
    sent = dict(answer.set)
    assert (sent[":path"], sent[":authority"]) == ("/v1/files/f-1?limit=2", "p-a.test")
    assert sent["content-type"] == "application/x-own; a=b"
    assert (sent["idempotency-key"], sent["content-encoding"]) == ("k", "gzip")
    assert sent["openai-beta"] == "assistants=v2"
    assert sent.get("content-length") == (None if body is None else str(len(body)))
    assert answer.body is None
    assert "x-secret-of-the-app" in answer.remove


@pytest.mark.parametrize("status", [200, 206, 304, 404, 429, 503])
def test_the_answer_passes_whatever_it_is(status: int) -> None:
    trip = journey()
    exchange = routed(trip)
    attempt = trip.world.attempt()
    attempt.handle(trip.attempt_headers(1, end=True))
    actions = trip.take(attempt.handle(trip.response(status, content_encoding="x-own")))
    assert of_type(actions, Continue).set == [], "it is never asked for again"
    assert isinstance(actions[-1], Finish)
    assert [n.verdict for n in attempt_notes(trip.metadata)] == ["pass"]
    answer = of_type(exchange.handle(trip.response(status, content_encoding="x-own", server="theirs", cluster="a@y")), Continue)
    assert (answer.mode, "content-encoding" in answer.remove, "server" in answer.remove) == (Mode.STREAMED, False, True)
    assert exchange.passing
    assert of_type(exchange.handle(piece(b"\x00")), Continue).body is None
    assert of_type(exchange.handle(piece(b"\x01", end=True)), Continue).body is None
    outcome = Outcome.OK if status < 400 else Outcome.REJECTED if status < 500 else Outcome.UPSTREAM_ERROR
    record = exchange.record
    assert (record.outcome, record.status, record.target, record.operation, record.bytes_out) == (outcome, status, "a", "passthrough", 2)


def test_an_answer_without_a_body_ends_at_its_headers() -> None:
    trip = journey()
    exchange = routed(trip, method="DELETE")
    attempt = trip.world.attempt()
    attempt.handle(trip.attempt_headers(1, end=True))
    trip.take(attempt.handle(trip.response(204, end=True)))
    exchange.handle(trip.response(204, end=True))
    assert (exchange.state, exchange.record.outcome) == (State.DONE, Outcome.OK)


def test_a_client_that_leaves_is_in_doubt_only_while_bytes_flow() -> None:
    trip = journey()
    exchange = routed(trip)
    exchange.handle(Closed())
    assert exchange.record.outcome is Outcome.CLIENT_GONE


def test_the_deadline_holds_for_its_headers() -> None:
    trip = journey()
    exchange = routed(trip)
    answer = of_type(exchange.handle(Tick("deadline")), Immediate)
    assert (answer.status, orjson.loads(answer.body)["error"]["code"]) == (504, "timeout")


def test_after_the_headers_no_limit_is_armed() -> None:
    trip = journey()
    exchange = routed(trip)
    attempt = trip.world.attempt()
    attempt.handle(trip.attempt_headers(1, end=True))
    trip.take(attempt.handle(trip.response(200)))
    assert [a.seconds for a in exchange.handle(trip.response(200)) if isinstance(a, Arm)] == [None]
    assert not [a for a in exchange.handle(piece(b"x")) if isinstance(a, Abort)]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (f"/v1/files/{'x' * LONGEST_PATH}", {}, 400),
        ("/v1/files/f", {"content_length": "999999999"}, 413),
    ],
)
def test_what_we_refuse(path: str, headers: dict[str, str], status: int) -> None:
    exchange = journey().world.route()
    answer = of_type(exchange.handle(request_headers(path, **headers)), Immediate)
    assert answer.status == status
    assert "error" in orjson.loads(answer.body)


def test_a_cluster_that_is_gone() -> None:
    trip = journey("nobody")
    exchange = trip.world.route()
    assert of_type(exchange.handle(request_headers("/v1/files", "GET", end=True)), Immediate).status == 503


@pytest.mark.parametrize(
    ("api_version", "path"),
    [("2025-04-01-preview", "/openai/files?api-version=2025-04-01-preview&limit=2"), (None, "/openai/v1/files?limit=2")],
)
def test_azures_own_prefix_and_version(tmp_path: Path, api_version: str | None, path: str) -> None:
    version = f', api_version: "{api_version}"' if api_version else ""
    text = f"""
version: 1
providers:
  az: {{kind: azure-openai, url: "https://acme.openai.azure.com"{version}, credential: {{env: KEY}}}}
targets:
  t: {{provider: az, model: gpt-4o, deployment: prod}}
models:
  m: {{targets: [t]}}
passthrough:
  "/v1/files/**": {{target: t}}
"""
    trip = Journey(World(parse_registry(text.encode(), str(tmp_path / "r.yaml"))))
    routed(trip, "/v1/files?limit=2&api-version=x")
    attempt = trip.world.attempt()
    sent = dict(of_type(attempt.handle(trip.attempt_headers(1, end=True)), Continue).set)
    assert sent[":path"] == path
