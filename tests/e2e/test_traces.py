"""One trace: Envoy's SERVER span, our chat span below it, an attempt per try, and Envoy's CLIENT spans that the attempts are linked to."""

from __future__ import annotations

import itertools
import secrets
import uuid

import pytest

from extproc.simulator import FaultKind
from extproc.telemetry.tree import SpanView
from tests.e2e.sdks import Sdk
from tests.e2e.stack import Stack

ENVOY, OURS = "llm-sidecar-envoy", "llm-sidecar"


def spans_of(stack: Stack, trace: str, count: int) -> list[SpanView]:
    spans = stack.spans.until(trace, count)
    assert len(spans) == count, sorted((s.service, s.name) for s in spans)
    return spans


def test_one_trace_with_both_attempts(stack: Stack, sdk: Sdk) -> None:
    sent: list[tuple[str, str, str]] = []
    for kind, stream in itertools.product((FaultKind.STATUS, FaultKind.RESET), (False, True)):
        trace, caller, request_id = secrets.token_hex(16), secrets.token_hex(8), str(uuid.uuid4())
        stack.fault("oa", kind, times=1, status=429 if kind is FaultKind.STATUS else 0)
        sdk.ask("oa-an", stream=stream, request_id=request_id, extra_headers={"traceparent": f"00-{trace}-{caller}-01"})
        sent.append((trace, caller, request_id))
    for trace, caller, request_id in sent:
        check_two_attempts(stack, trace, caller, request_id)


def check_two_attempts(stack: Stack, trace: str, caller: str, request_id: str) -> None:
    spans = spans_of(stack, trace, 6)
    (server,) = [s for s in spans if s.service == ENVOY and s.parent_id == caller]
    clients = sorted((s for s in spans if s.service == ENVOY and s.parent_id == server.span_id), key=lambda s: s.start_ns)
    (chat,) = [s for s in spans if s.is_chat]
    first, second = sorted((s for s in spans if s.is_attempt), key=lambda s: s.start_ns)
    assert len(clients) == 2
    assert chat.parent_id == server.span_id
    assert (first.parent_id, second.parent_id) == (chat.span_id, chat.span_id)
    assert (first.links, second.links) == ((clients[0].span_id,), (clients[1].span_id,))
    assert {s.service for s in (chat, first, second)} == {OURS}
    assert (first.failed, second.failed, chat.failed) == (True, False, False)
    assert (first.name, second.name, chat.name) == ("attempt oa", "attempt an", "chat oa-an")
    assert chat.start_ns <= first.start_ns <= first.end_ns <= second.end_ns <= chat.end_ns
    assert chat.attributes["gen_ai.usage.output_tokens"] > 0
    assert chat.attributes["gen_ai.request.model"] == "claude-sonnet-4-5"
    line = stack.lines.of(request_id)
    assert (line["trace_id"], line["span_id"]) == (trace, chat.span_id)


def test_a_trace_begins_here_without_a_callers(stack: Stack, sdk: Sdk) -> None:
    request_id = str(uuid.uuid4())
    sdk.ask("oa", request_id=request_id)
    trace = stack.lines.of(request_id)["trace_id"]
    spans = spans_of(stack, trace, 4)
    assert [(s.service) for s in spans if not s.parent_id] == [ENVOY]


def test_failed_request_has_a_failed_span(stack: Stack, sdk: Sdk) -> None:
    request_id = str(uuid.uuid4())
    with pytest.raises(sdk.errors.NotFoundError):
        sdk.ask("nobody", request_id=request_id)
    trace = stack.lines.of(request_id)["trace_id"]
    spans = spans_of(stack, trace, 2)
    (chat,) = [s for s in spans if s.is_chat]
    assert chat.failed
    assert chat.attributes["error.type"] == "not_found"


def test_not_sampled_exports_nothing(stack: Stack, sdk: Sdk) -> None:
    quiet, loud, caller = secrets.token_hex(16), secrets.token_hex(16), secrets.token_hex(8)
    request_id = str(uuid.uuid4())
    sdk.ask("oa", request_id=request_id, extra_headers={"traceparent": f"00-{quiet}-{caller}-00"})
    assert stack.lines.of(request_id)["trace_id"] == quiet
    sdk.ask("oa", extra_headers={"traceparent": f"00-{loud}-{caller}-01"})
    spans_of(stack, loud, 4)
    assert stack.spans.of(quiet) == []


def test_a_request_id_of_another_form_is_traced_too(stack: Stack, sdks: dict[str, Sdk]) -> None:
    trace, caller = secrets.token_hex(16), secrets.token_hex(8)
    sdks["openai"].ask("oa", request_id=f"order-17-{trace}", extra_headers={"traceparent": f"00-{trace}-{caller}-01"})
    later = str(uuid.uuid4())
    sdks["openai"].ask("oa", request_id=later)
    spans_of(stack, stack.lines.of(later)["trace_id"], 4)
    assert len(stack.spans.of(trace)) == 4


def test_an_applications_request_id_is_kept(stack: Stack, sdks: dict[str, Sdk]) -> None:
    request_id = "123e4567-e89b-12d3-a456-426614174000"
    sdks["openai"].ask("oa", request_id=request_id)
    assert stack.lines.of(request_id)["request_id"] == request_id
