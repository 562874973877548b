"""Every end of a request and of an attempt leaves its span, its log line and, where our configuration is at fault, an alarm."""

from __future__ import annotations

import logging
from typing import Any

import orjson
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from extproc.core.errors import ApiError, ErrorKind
from extproc.core.exchange import Closed
from extproc.edge.books import Books
from extproc.stages.attempt import AttemptExchange
from extproc.stages.route import RouteExchange
from extproc.telemetry.record import MEANING, Outcome
from extproc.telemetry.tracing import Tracing
from tests.stages.world import OPENAI_ANSWER, Journey, World, chat, piece, registry, request_body, request_headers, target

TRACE, ENVOY_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
UPSTREAM_SPAN = "b7ad6b7169203331"


class Rig:
    """Books that are read: `lines` and `spans`."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.lines: list[dict[str, Any]] = []
        self.books = Books(Tracing(provider), lambda line: self.lines.append(orjson.loads(line)))
        self.world = World(registry(target("a"), target("b", "anthropic_messages")))
        self.world.services.start_span = self.books.start_span
        self.journey = Journey(self.world)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {s.name: s for s in self.exporter.get_finished_spans()}

    def route(self, **headers: str) -> RouteExchange:
        return self.journey.route(chat(), x_llm_span=f"{TRACE}-{ENVOY_SPAN}", **headers)

    def close(self, exchange: RouteExchange | AttemptExchange) -> None:
        exchange.handle(Closed())
        if isinstance(exchange, RouteExchange):
            self.books.request(exchange)
        else:
            self.books.attempt(exchange, self.world.clock())


@pytest.fixture
def rig() -> Rig:
    return Rig()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_its_span_and_its_line(rig: Rig, outcome: Outcome) -> None:
    meaning = MEANING[outcome]
    exchange = rig.route()
    rig.world.clock.now += 2.0
    error = ApiError(ErrorKind.RATE_LIMITED, "words of a provider") if meaning.failed else None
    exchange.end(outcome, 429 if meaning.failed else 200, error)
    rig.close(exchange)
    (line,) = rig.lines
    assert (line["outcome"], line["level"], line["total_ms"]) == (outcome.value, meaning.level, 2000.0)
    assert line.get("error_type") == ("rate_limited" if meaning.failed else None)
    span = rig.spans["chat chat"]
    assert attributes(span)["llm.outcome"] == outcome.value
    assert (span.status.status_code is StatusCode.ERROR) is meaning.failed
    assert span.context is not None
    assert span.parent is not None
    assert [line["trace_id"], line["span_id"]] == [TRACE, f"{span.context.span_id:016x}"]
    assert f"{span.parent.span_id:016x}" == ENVOY_SPAN
    assert span.end_time == 1_002 * 10**9
    assert "words of a provider" not in str(line) + str(attributes(span))


def test_the_first_end_is_the_true_one(rig: Rig) -> None:
    exchange = rig.route()
    exchange.end(Outcome.DEADLINE, 504)
    rig.close(exchange)
    assert [line["outcome"] for line in rig.lines] == ["deadline"]


def test_a_request_that_nobody_ended_is_one_whose_client_left(rig: Rig) -> None:
    rig.close(rig.route())
    assert [(line["outcome"], line["status"]) for line in rig.lines] == [("client_gone", 0)]


def test_a_call_without_any_message_leaves_no_line(rig: Rig) -> None:
    exchange = rig.world.route()
    rig.books.request(exchange)
    assert rig.lines == []


def test_a_refusal_has_a_span_too(rig: Rig) -> None:
    exchange = rig.world.route()
    exchange.handle(request_headers(x_llm_span=f"{TRACE}-{ENVOY_SPAN}"))
    exchange.handle(request_body(chat("nothing-like-it")))
    rig.close(exchange)
    assert [(line["outcome"], line["status"], line["trace_id"]) for line in rig.lines] == [("client_error", 404, TRACE)]
    assert attributes(rig.spans["chat unknown"])["error.type"] == "not_found", "a span's name never holds a name of no model"


def test_a_body_that_names_no_model_has_a_span_without_its_text(rig: Rig) -> None:
    exchange = rig.world.route()
    exchange.handle(request_headers())
    exchange.handle(request_body(b"these are words of a prompt"))
    rig.close(exchange)
    assert "chat unknown" in rig.spans
    assert "words of a prompt" not in str(rig.lines)


def test_without_tracing_the_line_names_the_callers_trace() -> None:
    rig = Rig()
    rig.books = Books(Tracing(), lambda line: rig.lines.append(orjson.loads(line)))
    rig.world.services.start_span = rig.books.start_span
    rig.close(rig.route())
    assert rig.lines[0]["trace_id"] == TRACE
    assert rig.spans == {}


# attempts


def attempted(rig: Rig, status: int, body: bytes, n: int = 1) -> AttemptExchange:
    attempt = rig.journey.attempt(n, chat())
    attempt.traceparent = f"00-{TRACE}-{UPSTREAM_SPAN}-01"
    rig.world.clock.now += 1.5
    attempt.handle(rig.journey.response(status))
    rig.journey.take(attempt.handle(piece(body, end=True)))
    rig.close(attempt)
    return attempt


def openai_error(message: str, code: str | None = None) -> bytes:
    return orjson.dumps({"error": {"message": message, "type": "x", "code": code, "param": None}})


def test_an_attempt_that_passes(rig: Rig) -> None:
    rig.route()
    attempted(rig, 200, OPENAI_ANSWER)
    span = rig.spans["attempt a"]
    said = attributes(span)
    assert (said["llm.verdict"], said["llm.attempt"], said["http.response.status_code"]) == ("pass", 1, 200)
    assert "error.type" not in said
    assert span.status.status_code is StatusCode.UNSET
    assert (span.start_time, span.end_time) == (1000 * 10**9, 1001_500_000_000)
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}" == TRACE
    assert [f"{link.context.span_id:016x}" for link in span.links] == [UPSTREAM_SPAN]


@pytest.mark.parametrize(
    ("status", "code", "verdict", "error_type"),
    [(503, None, "retry", "unavailable"), (429, None, "retry", "rate_limited"), (400, None, "final", "invalid_request")],
)
def test_an_attempt_that_fails(rig: Rig, status: int, code: str | None, verdict: str, error_type: str, caplog: pytest.LogCaptureFixture) -> None:
    rig.route()
    attempted(rig, status, openai_error("words of a provider", code))
    said = attributes(rig.spans["attempt a"])
    assert (said["llm.verdict"], said["error.type"], said["http.response.status_code"]) == (verdict, error_type, status)
    assert caplog.records == [], "no alarm: this is no fault of our configuration"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_raises_an_alarm(rig: Rig, status: int, caplog: pytest.LogCaptureFixture) -> None:
    rig.route()
    attempted(rig, status, openai_error("the key of acme is wrong", "invalid_api_key"))
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "a provider refuses the gateway's configuration"
    said = vars(record)
    assert (said["cluster"], said["provider"], said["status"]) == ("a", "p-a", status)
    assert "acme" not in str(said)


def test_an_attempt_that_envoy_ended_itself(rig: Rig) -> None:
    """No connection, a reset, a time-out of Envoy's: nothing was judged."""
    rig.route()
    attempt = rig.journey.attempt(2, chat())
    rig.world.clock.now += 3.0
    rig.close(attempt)
    said = attributes(rig.spans["attempt b"])
    assert (said["llm.verdict"], said["error.type"], said["llm.attempt"]) == ("ended_by_envoy", "no_answer", 2)
    assert "http.response.status_code" not in said
    assert rig.spans["attempt b"].end_time == 1003 * 10**9


def test_an_attempt_without_a_plan_leaves_nothing(rig: Rig) -> None:
    rig.close(rig.world.attempt())
    assert rig.spans == {}


def test_an_attempt_of_an_unsampled_trace_leaves_no_span(rig: Rig) -> None:
    rig.journey.route(chat(), traceparent=f"00-{TRACE}-{ENVOY_SPAN}-00")
    attempted(rig, 200, OPENAI_ANSWER)
    assert rig.spans == {}


@pytest.mark.parametrize(
    ("path", "body", "name", "word"),
    [
        ("/v1/completions", b'{"model":"chat","prompt":"x"}', "text_completion chat", "text_completion"),
        ("/v1/moderations", b'{"model":"chat","input":"x"}', "moderations chat", "moderations"),
        ("/v1/images/generations", b'{"model":"chat","prompt":"x"}', "images chat", "images"),
    ],
)
def test_every_operation_has_a_word(rig: Rig, path: str, body: bytes, name: str, word: str) -> None:
    exchange = rig.journey.route(body, path)
    exchange.end(Outcome.OK, 200)
    rig.close(exchange)
    assert attributes(rig.spans[name])["gen_ai.operation.name"] == word
    assert rig.lines[0]["operation"] == exchange.client.operation.value
