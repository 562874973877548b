"""Closes the books of a request and of an attempt: span, log line, alarm. Called on every end of a call, whatever ended it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from extproc.core.operation import Operation
from extproc.registry.types import Target
from extproc.stages.attempt import AttemptExchange
from extproc.stages.route import RouteExchange
from extproc.telemetry import semconv
from extproc.telemetry.logline import request_line
from extproc.telemetry.traceparent import parent_of_request, parse_traceparent
from extproc.telemetry.tracing import ChatSpan, Tracing

log = logging.getLogger(__name__)


class Books:
    """`write` takes finished log lines (never blocks)."""

    def __init__(self, tracing: Tracing, write: Callable[[bytes], None]) -> None:
        self._tracing = tracing
        self._write = write

    def start_span(self, headers: Mapping[str, str], model: str, stream: bool, first: Target | None, operation: str = "") -> tuple[ChatSpan, str]:
        """The span of a request, and its context as the plan carries it ("" if there is none)."""
        parent = parent_of_request(headers.get("x-llm-span"), headers.get("traceparent"), headers.get("tracestate"))
        attributes = {semconv.GEN_AI_REQUEST_STREAM: True} if stream else None
        word = semconv.OPERATION_COMPLETIONS if operation == Operation.COMPLETIONS else operation or semconv.OPERATION_CHAT
        if first is None:
            span = self._tracing.start_chat(parent, model or "unknown", attributes=attributes, operation=word)
        else:
            provider = first.provider
            span = self._tracing.start_chat(
                parent,
                model,
                target_model=first.model if first.model != "*" else model,
                provider=provider.kind.otel_name,
                server_address=provider.host,
                server_port=provider.port,
                attributes=attributes,
                operation=word,
            )
        return span, span.context.dumps() if span.context is not None else ""

    def request(self, exchange: RouteExchange) -> None:
        """The end of a request."""
        record, span = exchange.record, exchange.span
        if not record.ended_ns:
            return
        if isinstance(span, ChatSpan):
            if span.context is not None:
                record.trace_id, record.span_id = span.context.trace_id, span.context.span_id
            span.end(record, input_messages=exchange.input_messages, output_messages=exchange.answer)
        self._write(request_line(record))

    def attempt(self, exchange: AttemptExchange, now: float) -> None:
        """The end of an attempt. One that Envoy ended itself (reset, no connection, time-out, or its client left) has no verdict."""
        note, plan, target = exchange.note, exchange.plan, exchange.target
        if note is None or plan is None or target is None:
            return
        if exchange.alarm:
            log.error(
                "a provider refuses the gateway's configuration",
                extra={"cluster": note.cluster, "provider": target.provider.name, "status": note.status, "kind": note.kind},
            )
        self._tracing.attempt_span(
            parse_traceparent(plan.span),
            note.n,
            start_ns=int(note.started * 1e9),
            end_ns=int((note.ended or now) * 1e9),
            target=note.cluster,
            provider=target.provider.kind.otel_name,
            model=target.model if target.model != "*" else plan.asked,
            server_address=target.provider.host,
            server_port=target.provider.port,
            status=note.status,
            verdict=note.verdict or "ended_by_envoy",
            error_type=note.kind or (None if note.verdict == "pass" else "no_answer"),
            envoy_traceparent=exchange.traceparent or None,
            method=exchange.method,
        )
