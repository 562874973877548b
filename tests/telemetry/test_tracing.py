"""The spans themselves, in memory: parentage, sampling, attributes, links, status, and no prompt unless asked for."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode

from extproc.core.ir import Message, Role, Text
from extproc.telemetry.content import Capture
from extproc.telemetry.record import Outcome
from extproc.telemetry.traceparent import ChatContext, SpanParent, parent_of_request, parse_traceparent
from extproc.telemetry.tracing import Tracing
from tests.telemetry.records import CALLER, MS, SPAN, START, TRACE, answered, failed

SECRET = "the secret of the prompt"


class Traced:
    """A `Tracing` and what it exported."""

    def __init__(self, sampler: Sampler | None = None, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=sampler or ParentBased(ALWAYS_ON), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = Tracing(provider, **options)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())


@pytest.fixture
def traced() -> Traced:
    return Traced()


def attempt(tracing: Tracing, chat: ChatContext | None, n: int = 1, **more: Any) -> None:
    tracing.attempt_span(chat, n, start_ns=START + n * MS, end_ns=START + n * 20 * MS, target="gpt-4o", **more)


def test_chat_continues_envoys_server_span(traced: Traced) -> None:
    parent = parent_of_request(f"{TRACE}-{SPAN}", f"00-{TRACE}-{CALLER}-01", "vendor=1")
    chat = traced.tracing.start_chat(parent, "gpt-4o", start_ns=START)
    chat.end(answered())
    (span,) = traced.spans
    assert span.name == "chat gpt-4o"
    assert span.kind is SpanKind.CLIENT
    assert span.context is not None
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, SPAN)
    assert span.parent.is_remote
    assert span.context.trace_state.to_header() == "vendor=1"
    assert (span.start_time, span.end_time) == (START, START + 812 * MS)
    assert chat.context == ChatContext(TRACE, f"{span.context.span_id:016x}", 1)


def test_without_a_parent_a_new_trace_begins(traced: Traced) -> None:
    first, second = (traced.tracing.start_chat(None, "m") for _ in range(2))
    first.end(answered())
    second.end(answered())
    assert [s.parent for s in traced.spans] == [None, None]
    assert first.context is not None
    assert second.context is not None
    assert first.context.trace_id != second.context.trace_id
    assert first.context.sampled


def test_attributes_of_an_answer(traced: Traced) -> None:
    traced.tracing.start_chat(None, "gpt-4o", target_model="gpt-4o-2024", provider="openai", server_address="a", server_port=1).end(answered())
    assert dict(traced.spans[0].attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-sonnet-4-5",
        "gen_ai.request.stream": True,
        "gen_ai.response.id": "msg_1",
        "gen_ai.response.model": "claude-sonnet-4-5-20250929",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.12,
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 48,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.cache_creation.input_tokens": 2,
        "gen_ai.usage.reasoning.output_tokens": 8,
        "server.address": "api.anthropic.com",
        "server.port": 443,
        "http.response.status_code": 200,
        "llm.model": "gpt-4o",
        "llm.target": "sonnet",
        "llm.attempts": 2,
        "llm.outcome": "ok",
        "llm.commit": "first_token",
        "llm.client.dialect": "openai_chat",
        "llm.upstream.dialect": "anthropic_messages",
        "llm.cost.usd": 0.000312,
        "llm.losses": ("dropped:logprobs",),
        "llm.request.id": "req-1",
        "llm.registry": "0123456789ab",
        "llm.tenant": "acme",
        "llm.rule": "premium",
        "llm.rank_by": "latency",
        "llm.routing": ("explored",),
        "llm.observed": "gpt-4o",
        "llm.limited": "limits[0]",
        "llm.shadow.request_id": "req-0",
        "llm.shadow.target": "gpt-4o",
        "llm.shadow.total_ms": 700.5,
    }
    assert traced.spans[0].status.status_code is StatusCode.UNSET


def test_what_samplers_see_is_set_at_creation() -> None:
    class Spy(ParentBased):
        def should_sample(self, parent_context: Any, trace_id: int, name: str, *rest: Any, **more: Any) -> Any:
            seen.append((name, dict(rest[1])))
            return super().should_sample(parent_context, trace_id, name, *rest, **more)

    seen: list[tuple[str, dict[str, Any]]] = []
    Traced(Spy(ALWAYS_ON)).tracing.start_chat(
        None,
        "chat",
        target_model="gpt-4o",
        provider="openai",
        server_address="api.openai.com",
        server_port=443,
        attributes={"llm.commit": "complete"},
    )
    assert seen == [
        (
            "chat chat",
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": "gpt-4o",
                "gen_ai.provider.name": "openai",
                "server.address": "api.openai.com",
                "server.port": 443,
                "llm.model": "chat",
                "llm.commit": "complete",
            },
        )
    ]


@pytest.mark.parametrize("outcome", list(Outcome))
def test_the_chat_span_fails_only_if_the_client_got_a_failure(traced: Traced, outcome: Outcome) -> None:
    record = failed(outcome)
    traced.tracing.start_chat(None, "chat").end(record)
    (span,) = traced.spans
    attributes = span.attributes or {}
    if record.failure is None:
        assert span.status.status_code is StatusCode.UNSET
        assert "error.type" not in attributes
    else:
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, outcome.value)
        assert attributes["error.type"] == "rate_limited"


def test_attempts_are_children_of_the_chat_span_wherever_they_are_recorded(traced: Traced) -> None:
    chat = traced.tracing.start_chat(parent_of_request(f"{TRACE}-{SPAN}", None), "gpt-4o", start_ns=START)
    assert chat.context is not None
    travelled = parse_traceparent(chat.context.dumps())
    elsewhere = Traced()
    attempt(
        elsewhere.tracing,
        travelled,
        1,
        provider="openai",
        model="gpt-4o-2024",
        server_address="api.openai.com",
        server_port=443,
        status=503,
        verdict="next",
        error_type="unavailable",
        envoy_traceparent=f"00-{TRACE}-{CALLER}-01",
    )
    attempt(elsewhere.tracing, travelled, 2, status=200, verdict="pass")
    chat.end(answered())
    one, two = elsewhere.spans
    assert one.parent is not None
    assert two.parent is not None
    assert one.context is not None
    assert f"{one.context.trace_id:032x}" == TRACE
    assert {f"{s.parent.span_id:016x}" for s in (one, two) if s.parent} == {chat.context.span_id}
    assert (one.name, one.kind, one.start_time, one.end_time) == ("attempt gpt-4o", SpanKind.CLIENT, START + MS, START + 20 * MS)
    assert dict(one.attributes or {}) == {
        "llm.target": "gpt-4o",
        "llm.attempt": 1,
        "llm.verdict": "next",
        "http.request.method": "POST",
        "http.response.status_code": 503,
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-2024",
        "server.address": "api.openai.com",
        "server.port": 443,
        "error.type": "unavailable",
    }
    assert one.status.status_code is StatusCode.ERROR
    assert [f"{link.context.trace_id:032x}-{link.context.span_id:016x}" for link in one.links] == [f"{TRACE}-{CALLER}"]
    assert (two.attributes or {})["http.request.resend_count"] == 1
    assert two.status.status_code is StatusCode.UNSET
    assert two.links == ()
    (whole,) = traced.spans
    assert whole.status.status_code is StatusCode.UNSET, "a failed attempt does not fail the request"


def test_a_caller_that_does_not_sample_is_respected_and_served(traced: Traced) -> None:
    chat = traced.tracing.start_chat(parent_of_request(f"{TRACE}-{SPAN}", f"00-{TRACE}-{CALLER}-00"), "gpt-4o")
    assert not chat.recording
    assert chat.context is not None
    assert (chat.context.trace_id, chat.context.sampled) == (TRACE, False)
    attempt(traced.tracing, parse_traceparent(chat.context.dumps()))
    chat.end(answered())
    assert traced.spans == []


@pytest.mark.parametrize(
    ("sampler", "exported"),
    [(ParentBased(ALWAYS_OFF), 0), (ParentBased(TraceIdRatioBased(0.0)), 0), (ParentBased(TraceIdRatioBased(1.0)), 2), (ALWAYS_OFF, 0)],
)
def test_where_the_parents_decision_is_unknown_the_root_sampler_decides(sampler: Sampler, exported: int) -> None:
    traced = Traced(sampler)
    chat = traced.tracing.start_chat(SpanParent(TRACE, SPAN, None), "gpt-4o")
    attempt(traced.tracing, chat.context)
    chat.end(answered())
    assert len(traced.spans) == exported


def test_two_processes_decide_alike_on_one_trace() -> None:
    for trace in (f"{n:032x}" for n in range(1 << 56, 1 << 63, 1 << 57)):
        first, second = (
            Traced(ParentBased(TraceIdRatioBased(0.5))).tracing.start_chat(SpanParent(trace, SPAN, None), "m").recording for _ in range(2)
        )
        assert first == second


def test_no_prompt_unless_switched_on(traced: Traced) -> None:
    chat = traced.tracing.start_chat(None, "m")
    assert not chat.wants_content
    chat.end(answered(), input_messages=[{"role": "user", "content": SECRET}], output_messages=[{"text": SECRET}])
    assert SECRET not in traced.spans[0].to_json()


def test_content_on_the_span_when_switched_on() -> None:
    traced = Traced(capture=Capture.SPAN_ONLY, content_limit=80)
    chat = traced.tracing.start_chat(None, "m")
    assert chat.wants_content
    chat.end(answered(), input_messages=[Message(Role.USER, [Text(SECRET)])], output_messages=[{"text": "x" * 1000}])
    attributes = traced.spans[0].attributes or {}
    assert SECRET in str(attributes["gen_ai.input.messages"])
    assert len(str(attributes["gen_ai.output.messages"])) < 160


def test_ending_twice_changes_nothing(traced: Traced) -> None:
    chat = traced.tracing.start_chat(None, "m")
    chat.end(answered())
    chat.end(failed())
    (span,) = traced.spans
    assert (span.attributes or {})["llm.outcome"] == "ok"
    assert not chat.recording


def test_hostile_names_stay_exportable(traced: Traced) -> None:
    """A lone surrogate, or a megabyte, must not take the batch with it."""
    record = failed(error_type="x" * 10_000)
    record.model = "bad\ud800" + "m" * 1_000_000
    traced.tracing.start_chat(None, record.model).end(record)
    (span,) = traced.spans
    text = span.to_json()
    assert len(text.encode("utf-8")) < 4000


def test_off_costs_nothing_and_keeps_the_callers_trace() -> None:
    tracing = Tracing()
    assert not tracing.enabled
    chat = tracing.start_chat(SpanParent(TRACE, SPAN, True), "m")
    assert chat.context == ChatContext(TRACE, SPAN, 0)
    attempt(tracing, chat.context)
    chat.end(answered())
    assert tracing.start_chat(None, "m").context is None
    assert tracing.shutdown()
    assert tracing.dropped == 0
