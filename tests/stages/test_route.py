"""The route stage: what it refuses and how it says so, and what it tells Envoy."""

from __future__ import annotations

import orjson
import pytest

from extproc.core.exchange import Arm, Continue, Immediate, State
from extproc.core.plan import NAMESPACE, Plan
from extproc.registry.types import Attempts, Commit, Timeouts
from extproc.stages.route import LONGEST_CHAIN
from extproc.stages.services import Options
from extproc.telemetry.record import Outcome
from tests.stages.world import Journey, World, chat, of_type, registry, request_body, request_headers, target


def world(**more: object) -> World:
    return World(registry(target("a"), target("b", "anthropic_messages"), **more))  # type: ignore[arg-type]


def refused(path: str, body: bytes) -> tuple[int, dict[str, object]]:
    exchange = world().route()
    actions = exchange.handle(request_headers(path))
    if exchange.state is State.BODY:
        actions = exchange.handle(request_body(body))
    answer = of_type(actions, Immediate)
    assert answer.details.startswith("llm_")
    return answer.status, orjson.loads(answer.body)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'{"messages":[]}', 400),
        (b'{"model":7}', 400),
        (b'{"model":"chat","stream":"yes"}', 400),
        (b'{"model":"chat","model":"other"}', 400),
        (b'{"model":"nope"}', 404),
        (b'{"model":"../../etc"}', 404),
        (b"[" * 100_000, 400),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_bad_bodies_are_refused_in_the_callers_dialect(path: str, body: bytes, status: int) -> None:
    got, envelope = refused(path, body)
    assert got == status
    assert ("type" in envelope) is (path == "/v1/messages")
    assert isinstance(envelope["error"], dict)
    assert "Traceback" not in str(envelope)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("POST", "/v1/nothing", 404),
        ("POST", "/v1/chat/completions/../files", 404),
        ("GET", "/v1/realtime?model=x", 501),
        ("GET", "/v1/models/nope", 404),
        ("GET", "/v1/models/chat", 200),
        ("GET", "/v1/models/c%68at", 200),
        ("GET", "/v1/models", 200),
        ("HEAD", "/", 200),
    ],
)
def test_paths(method: str, path: str, status: int) -> None:
    exchange = world().route()
    assert of_type(exchange.handle(request_headers(path, method, end=True)), Immediate).status == status


def test_the_allowed_method_is_a_header_and_no_parameter() -> None:
    refused = of_type(world().route().handle(request_headers("/v1/chat/completions", "GET", end=True)), Immediate)
    assert dict(refused.headers)["allow"] == "POST"
    assert orjson.loads(refused.body)["error"]["param"] is None


def test_a_websocket_upgrade_is_not_implemented() -> None:
    exchange = world().route()
    assert of_type(exchange.handle(request_headers("/v1/chat/completions", "GET", upgrade="websocket")), Immediate).status == 501


def test_headers_that_we_refuse() -> None:
    for headers, status in (({"content-encoding": "gzip"}, 415), ({"content-length": "999"}, 413)):
        exchange = World(registry(target("a")), options=Options(max_body=100)).route()
        event = request_headers()
        event.headers.update(headers)
        assert of_type(exchange.handle(event), Immediate).status == status


def test_the_models_in_both_shapes() -> None:
    for headers, first in (({}, "object"), ({"anthropic_version": "2023-06-01"}, "data")):
        exchange = world().route()
        answer = of_type(exchange.handle(request_headers("/v1/models", "GET", end=True, **headers)), Immediate)
        listed = orjson.loads(answer.body)
        assert next(iter(listed)) == first
        assert [m["id"] for m in listed["data"]] == ["alias", "chat"]


def routed(body: bytes, **more: object) -> tuple[dict[str, str], Plan, list[str]]:
    trip = Journey(world(**more))
    exchange = trip.world.route()
    exchange.handle(request_headers())
    actions = trip.take(exchange.handle(request_body(body)))
    answer = of_type(actions, Continue)
    assert answer.clear_route_cache
    return dict(answer.set), Plan.loads(trip.metadata[NAMESPACE]["plan"]), trip.chain


def test_the_plan_holds_nothing_of_the_query_but_what_a_provider_may_see() -> None:
    trip = Journey(world())
    trip.route(chat(), "/v1/chat/completions?key=SECRET&beta=true")
    assert "SECRET" not in str(trip.metadata)
    assert Plan.loads(trip.metadata[NAMESPACE]["plan"]).query == "beta=true"


def test_a_stream_takes_the_stream_route_without_a_time_out_that_would_cut_it() -> None:
    headers, plan, chain = routed(chat(stream=True), timeouts=Timeouts(first_token=3.0))
    assert headers["x-llm-route"] == "stream"
    assert headers["x-envoy-max-retries"] == "3"
    assert headers["x-envoy-upstream-rq-per-try-timeout-ms"] == "3250"
    assert "x-envoy-upstream-rq-timeout-ms" not in headers
    assert chain == ["a", "b"]
    assert plan.stream
    assert not plan.whole


@pytest.mark.parametrize(("stream", "commit"), [(False, Commit.FIRST_TOKEN), (True, Commit.COMPLETE)])
def test_what_is_answered_whole_takes_the_whole_route(stream: bool, commit: Commit) -> None:
    headers, _, _ = routed(chat(stream=stream), commit=commit, timeouts=Timeouts(unary_attempt=7.0, deadline=9.0))
    assert headers["x-llm-route"] == "whole"
    assert headers["x-envoy-upstream-rq-per-try-timeout-ms"] == "7250"
    assert headers["x-envoy-upstream-rq-timeout-ms"] == "10000"


def test_the_chain_is_longer_than_the_attempts_so_that_a_failure_can_choose() -> None:
    headers, plan, chain = routed(chat(), attempts=Attempts(total=1))
    assert (plan.total, chain) == (1, ["a", "b"])
    assert headers["x-envoy-max-retries"] == "0"


def test_the_chain_is_bounded() -> None:
    many = World(registry(*(target(f"t{i}", keys=("x", "y")) for i in range(20))))
    trip = Journey(many)
    trip.route(chat())
    assert trip.chain == [f"t{i}@x" for i in range(LONGEST_CHAIN)]


def test_a_single_target_can_be_tried_again_when_its_connection_is_lost() -> None:
    for same in (0, 1, 2):
        trip = Journey(World(registry(target("a"), attempts=Attempts(same_target=same))))
        trip.route(chat())
        assert trip.chain == ["a"] * (1 + same)


def test_a_silent_target_leaves_time_for_the_next() -> None:
    times = Timeouts(unary_attempt=120.0, deadline=60.0)
    assert routed(chat(), timeouts=times)[0]["x-envoy-upstream-rq-per-try-timeout-ms"] == "30250"
    alone = Journey(World(registry(target("a"), timeouts=times)))
    exchange = alone.world.route()
    exchange.handle(request_headers())
    answer = of_type(exchange.handle(request_body(chat())), Continue)
    assert dict(answer.set)["x-envoy-upstream-rq-per-try-timeout-ms"] == "120250", "nobody is waiting for the time"


def test_the_deadline_is_armed() -> None:
    exchange = world(timeouts=Timeouts(deadline=9.0)).route()
    exchange.handle(request_headers())
    assert of_type(exchange.handle(request_body(chat())), Arm) == Arm("deadline", 9.0)


def test_a_strict_model_leaves_out_targets_that_would_lose_something() -> None:
    body = chat(seed=7, max_tokens=5)
    assert routed(body)[2] == ["a", "b"]
    assert set(routed(body, strict=True)[2]) == {"a"}


def test_a_strict_model_without_a_lossless_target_is_a_422_that_names_the_losses() -> None:
    exchange = World(registry(target("b", "anthropic_messages"), strict=True)).route()
    exchange.handle(request_headers())
    answer = of_type(exchange.handle(request_body(chat(seed=7, max_tokens=5))), Immediate)
    assert answer.status == 422
    assert "dropped:seed" in orjson.loads(answer.body)["error"]["message"]
    assert exchange.record.outcome is Outcome.REFUSED


def test_an_alias_is_routed_and_recorded_as_asked() -> None:
    exchange = world().route()
    exchange.handle(request_headers())
    exchange.handle(request_body(chat("alias")))
    assert exchange.plan is not None
    assert (exchange.plan.model, exchange.plan.asked, exchange.record.model) == ("chat", "alias", "alias")


# other operations


SHAPES = [
    ("/v1/models", {}, ["object", "data"]),
    ("/v1/models", {"anthropic_version": "2023-06-01"}, ["data", "has_more", "first_id", "last_id"]),
    ("/v1beta/models", {}, ["models"]),
    ("/api/tags", {}, ["models"]),
    ("/api/version", {}, ["version"]),
    ("/v1/models/chat", {}, ["id", "object", "created", "owned_by"]),
    ("/v1beta/models/chat", {}, ["name", "displayName", "outputTokenLimit", "supportedGenerationMethods"]),
    ("/v1/models/alias", {"anthropic_version": "2023-06-01"}, ["type", "id", "display_name", "created_at", "max_input_tokens", "max_tokens"]),
]


@pytest.mark.parametrize(("path", "headers", "members"), SHAPES)
def test_our_own_answers_are_in_the_callers_shape(path: str, headers: dict[str, str], members: list[str]) -> None:
    exchange = world().route()
    answer = of_type(exchange.handle(request_headers(path, "GET", end=True, **headers)), Immediate)
    assert answer.status == 200
    assert list(orjson.loads(answer.body)) == members


@pytest.mark.parametrize(
    ("body", "status"), [(b'{"model":"chat"}', 200), (b'{"name":"alias"}', 200), (b'{"model":"x"}', 404), (b"{}", 400), (b"[", 400)]
)
def test_ollamas_show_reads_its_body(body: bytes, status: int) -> None:
    exchange = world().route()
    assert exchange.handle(request_headers("/api/show"))
    answer = of_type(exchange.handle(request_body(body)), Immediate)
    assert answer.status == status
    assert ("details" in orjson.loads(answer.body)) is (status == 200)


def test_an_operation_whose_dialect_is_not_there_is_a_501() -> None:
    bare = world()
    bare.services.dialects = {name: d for name, d in bare.services.dialects.items() if name in ("openai_chat", "anthropic_messages")}
    for path, typed in (("/v1/responses", False), ("/v1/messages/count_tokens", True), ("/v2/rerank", False)):
        exchange = bare.route()
        answer = of_type(exchange.handle(request_headers(path)), Immediate)
        assert answer.status == 501
        assert ("type" in orjson.loads(answer.body)) is typed


def test_the_deployment_in_an_azure_path_is_the_model() -> None:
    for body in (chat("something else"), b'{"messages":[{"role":"user","content":"x"}]}'):
        trip = Journey(world())
        exchange = trip.route(body, "/openai/deployments/alias/chat/completions?api-version=2025-04-01")
        assert exchange.record.model == "alias"
        sent = of_type(trip.take(trip.world.attempt().handle(trip.attempt_headers(1))), Continue)
        assert sent.kind.value == "request_headers"


def test_a_form_is_routed_by_its_fields_and_its_boundary_travels() -> None:
    trip = Journey(world())
    parts = (b'"model"\r\n\r\nalias', b'"stream"\r\n\r\ntrue', b'"file"; filename="a"\r\n\r\n\x00\xff')
    raw = b"".join(b"--b\r\nContent-Disposition: form-data; name=" + p + b"\r\n" for p in parts) + b"--b--\r\n"
    kind = "multipart/form-data; boundary=b"
    exchange = trip.route(raw, "/v1/audio/transcriptions", content_type=kind)
    assert exchange.plan is not None
    assert (exchange.plan.asked, exchange.plan.stream, exchange.plan.headers["content-type"]) == ("alias", True, kind)
    assert trip.chain == ["a", "a"], "only a target of the same format can serve it"
    for elsewhere in (False, True):
        if elsewhere:
            trip.world.services.under_way.clear()
        attempt = trip.world.attempt()
        attempt.handle(trip.attempt_headers(1))
        answer = of_type(attempt.handle(request_body(raw)), Continue)
        assert answer.body == raw.replace(b"alias", b"gpt-4o")
        assert dict(answer.set)["content-type"] == kind


def test_a_form_where_none_is_expected_is_a_400() -> None:
    exchange = world().route()
    exchange.handle(request_headers(content_type="multipart/form-data; boundary=b"))
    assert of_type(exchange.handle(request_body(b"--b--")), Immediate).status == 400


def test_a_flag_of_a_stream_means_nothing_where_there_are_none() -> None:
    trip = Journey(world())
    exchange = trip.route(b'{"model":"chat","input":"x","stream":true}', "/v1/moderations")
    assert exchange.plan is not None
    assert not exchange.plan.stream
