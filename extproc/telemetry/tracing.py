"""The spans of a request: one `{operation} {model}`, the chat span, that covers every attempt, and one `attempt {target}` per upstream try below it.

The chat span is started in the route stage, parented on Envoy's SERVER span, and ended by whoever ends the request; its context travels in the plan,
so an attempt span can be recorded by another process. A span's export happens on the SDK's own thread (`telemetry.export` sets that up);
nothing here waits, and a request whose trace is not sampled costs a few microseconds. Times are Unix nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState, set_span_in_context

from extproc.core.ir import JSON
from extproc.telemetry import content, semconv
from extproc.telemetry.record import RequestRecord
from extproc.telemetry.text import clip
from extproc.telemetry.traceparent import SAMPLED, ChatContext, SpanParent, parse_traceparent

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

SCOPE = "extproc"
"""The instrumentation scope of our spans."""

Attribute = str | bool | int | float | list[str]

_EMPTY = Context()


class ChatSpan:
    """The span of one request. `end` must be called on every end; calls after the first do nothing."""

    __slots__ = ("_capture", "_ended", "_limit", "_span", "context")

    def __init__(self, span: Span | None, context: ChatContext | None, capture: content.Capture, limit: int) -> None:
        self.context = context
        """Of this span, or of its parent where tracing is off; None if there is neither. For the plan and the log line."""
        self._span = span
        self._capture = capture
        self._limit = limit
        self._ended = False

    @property
    def recording(self) -> bool:
        """Will this span be exported?"""
        return self._span is not None and not self._ended

    @property
    def wants_content(self) -> bool:
        """Are `input_messages` and `output_messages` of use? False by default: the caller need not collect them."""
        return self._capture is content.Capture.SPAN_ONLY and self.recording

    def end(self, record: RequestRecord, end_ns: int | None = None, *, input_messages: JSON = None, output_messages: JSON = None) -> None:
        """Ends the span with what `record` knows. `end_ns` None: `record.ended_ns`.

        The messages are `ir.Message` lists, an `ir.Response`, or a parsed body's own messages; they are dropped unless capture is on.
        """
        span = self._span
        if span is None or self._ended:
            return
        attributes = chat_attributes(record)
        if self._capture is content.Capture.SPAN_ONLY:
            if input_messages is not None:
                attributes[semconv.GEN_AI_INPUT_MESSAGES] = content.messages_json(input_messages, self._limit)
            if output_messages is not None:
                attributes[semconv.GEN_AI_OUTPUT_MESSAGES] = content.messages_json(output_messages, self._limit)
        span.set_attributes(attributes)
        if record.failure is not None:
            span.set_status(Status(StatusCode.ERROR, record.outcome.value))
        self._ended = True
        span.end(end_ns or record.ended_ns)


class Tracing:
    """Starts and records spans. `provider` None: tracing is off, and every call is nearly free.

    `capture` and `content_limit` (characters per attribute) govern prompts and answers. `close` stops the exporters, within a time limit.
    """

    def __init__(
        self,
        provider: TracerProvider | None = None,
        *,
        version: str = "",
        capture: content.Capture = content.Capture.NO_CONTENT,
        content_limit: int = content.DEFAULT_LIMIT,
        close: Callable[[float], bool] | None = None,
        dropped: Callable[[], int] | None = None,
    ) -> None:
        self._tracer = provider.get_tracer(SCOPE, version, semconv.SCHEMA_URL) if provider else None
        self._sampler = provider.sampler if provider else None
        self._capture = capture
        self._limit = content_limit
        self._close = close
        self._dropped = dropped

    @property
    def enabled(self) -> bool:
        """Is there an exporter?"""
        return self._tracer is not None

    @property
    def dropped(self) -> int:
        """Spans lost so far: the queue was full or the export failed."""
        return self._dropped() if self._dropped else 0

    def start_chat(
        self,
        parent: SpanParent | None,
        model: str,
        *,
        target_model: str = "",
        provider: str = "",
        server_address: str = "",
        server_port: int = 0,
        attributes: Mapping[str, Attribute] | None = None,
        start_ns: int | None = None,
        operation: str = semconv.OPERATION_CHAT,
    ) -> ChatSpan:
        """Starts `{operation} {model}`; `model` is the registry's name or the client's, so that names stay few; "" where a request has none.

        `target_model`, `provider` and the server are those of the chain's first target (samplers see them); `end` corrects them. Without a parent a
        new trace begins. A parent that is not sampled gives a span that is not exported.
        """
        tracer = self._tracer
        if tracer is None:
            return ChatSpan(None, _of_parent(parent), self._capture, self._limit)
        name = f"{operation} {clip(model)}" if model else operation
        first: dict[str, Attribute] = {semconv.GEN_AI_OPERATION_NAME: operation}
        _set(first, semconv.GEN_AI_REQUEST_MODEL, target_model or model)
        _set(first, semconv.LLM_MODEL, model)
        _set(first, semconv.GEN_AI_PROVIDER_NAME, provider)
        _server(first, server_address, server_port)
        if attributes:
            first.update(attributes)
        span = tracer.start_span(name, self._parent_context(parent, name, first), SpanKind.CLIENT, first, start_time=start_ns)
        own = span.get_span_context()
        context = ChatContext(f"{own.trace_id:032x}", f"{own.span_id:016x}", own.trace_flags & 0xFF)
        return ChatSpan(span if span.is_recording() else None, context, self._capture, self._limit)

    def attempt_span(
        self,
        chat: ChatContext | None,
        attempt: int,
        *,
        start_ns: int,
        end_ns: int,
        target: str,
        provider: str = "",
        model: str = "",
        server_address: str = "",
        server_port: int = 0,
        status: int = 0,
        verdict: str = "",
        error_type: str | None = None,
        envoy_traceparent: str | None = None,
        method: str = "POST",
    ) -> None:
        """Records attempt number `attempt` (from 1) when it has ended.

        `chat` is the chat span's context from the plan (`traceparent.parse_traceparent`). `error_type` None means that it succeeded.
        `envoy_traceparent` is the traceparent header that the attempt stage saw: Envoy's CLIENT span of this attempt, to which ours is linked.
        """
        if self._tracer is None or chat is None or not chat.sampled:
            return
        attributes: dict[str, Attribute] = {semconv.LLM_TARGET: clip(target), semconv.LLM_ATTEMPT: attempt, semconv.HTTP_REQUEST_METHOD: method}
        _set(attributes, semconv.GEN_AI_PROVIDER_NAME, provider)
        _set(attributes, semconv.GEN_AI_REQUEST_MODEL, model)
        _set(attributes, semconv.LLM_VERDICT, verdict)
        _server(attributes, server_address, server_port)
        if status:
            attributes[semconv.HTTP_RESPONSE_STATUS_CODE] = status
        if attempt > 1:
            attributes[semconv.HTTP_REQUEST_RESEND_COUNT] = attempt - 1
        if error_type is not None:
            attributes[semconv.ERROR_TYPE] = clip(error_type)
        envoy = parse_traceparent(envoy_traceparent)
        span = self._tracer.start_span(
            f"attempt {clip(target)}",
            _remote(chat.trace_id, chat.span_id, sampled=True, tracestate=""),
            SpanKind.CLIENT,
            attributes,
            (Link(_span_context(envoy.trace_id, envoy.span_id, envoy.sampled, "")),) if envoy else (),
            start_time=start_ns,
        )
        if error_type is not None:
            span.set_status(Status(StatusCode.ERROR, clip(error_type)))
        span.end(max(end_ns, start_ns))

    def shutdown(self, timeout: float = 2.0) -> bool:
        """Exports what is queued, for at most `timeout` seconds; False if that was not enough. Blocks: call it when no request is left."""
        close, self._close = self._close, None
        return close(timeout) if close else True

    def _parent_context(self, parent: SpanParent | None, name: str, attributes: Mapping[str, Attribute]) -> Context:
        if parent is None or self._sampler is None:
            return _EMPTY
        sampled = parent.sampled
        if sampled is None:
            result = self._sampler.should_sample(_EMPTY, int(parent.trace_id, 16), name, SpanKind.CLIENT, attributes)
            sampled = bool(result.decision.is_sampled())  # type: ignore[no-untyped-call]  # the SDK leaves it untyped
        return _remote(parent.trace_id, parent.span_id, sampled=sampled, tracestate=parent.tracestate)


def chat_attributes(record: RequestRecord) -> dict[str, Attribute]:
    """What the chat span says at its end. Absent rather than empty, zero or None."""
    out: dict[str, Attribute] = {semconv.LLM_OUTCOME: record.outcome.value, semconv.LLM_ATTEMPTS: len(record.attempts)}
    for name, text in (
        (semconv.GEN_AI_PROVIDER_NAME, record.provider),
        (semconv.GEN_AI_REQUEST_MODEL, record.target_model),
        (semconv.GEN_AI_RESPONSE_ID, record.response_id),
        (semconv.GEN_AI_RESPONSE_MODEL, record.response_model),
        (semconv.LLM_MODEL, record.model),
        (semconv.LLM_TARGET, record.target),
        (semconv.LLM_CLIENT_DIALECT, record.client_dialect),
        (semconv.LLM_UPSTREAM_DIALECT, record.upstream_dialect),
        (semconv.LLM_COMMIT, record.commit),
        (semconv.LLM_REQUEST_ID, record.request_id),
        (semconv.LLM_REGISTRY, record.registry),
        (semconv.LLM_TENANT, record.tenant),
        (semconv.LLM_RULE, record.rule),
        (semconv.LLM_RANK_BY, record.rank_by),
        (semconv.LLM_OBSERVED, record.observed),
        (semconv.LLM_LIMITED, record.limited),
        (semconv.ERROR_TYPE, record.failure),
    ):
        if text:
            out[name] = clip(text)
    _server(out, record.server_address, record.server_port)
    if record.status:
        out[semconv.HTTP_RESPONSE_STATUS_CODE] = record.status
    if record.stream:
        out[semconv.GEN_AI_REQUEST_STREAM] = True
    if record.finish:
        out[semconv.GEN_AI_RESPONSE_FINISH_REASONS] = [record.finish]
    if record.ttft_ms is not None:
        out[semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK] = record.ttft_ms / 1e3
    if record.cost_usd is not None:
        out[semconv.LLM_COST_USD] = record.cost_usd
    if record.losses:
        out[semconv.LLM_LOSSES] = [clip(code) for code in record.losses[:64]]
    if record.routing:
        out[semconv.LLM_ROUTING] = list(record.routing)
    for name, value in record.shadow.items():
        out[f"{semconv.LLM_SHADOW}.{name}"] = clip(value) if isinstance(value, str) else value
    usage = record.usage
    if usage is not None:
        out[semconv.GEN_AI_USAGE_INPUT_TOKENS] = usage.input_tokens
        out[semconv.GEN_AI_USAGE_OUTPUT_TOKENS] = usage.output_tokens
        parts = {
            semconv.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: usage.cache_read,
            semconv.GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS: usage.cache_write,
            semconv.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS: usage.reasoning,
        }
        out.update({name: count for name, count in parts.items() if count})
    return out


def _set(attributes: dict[str, Attribute], name: str, text: str) -> None:
    if text:
        attributes[name] = clip(text)


def _server(attributes: dict[str, Attribute], address: str, port: int) -> None:
    if address:
        attributes[semconv.SERVER_ADDRESS] = clip(address)
        if port:
            attributes[semconv.SERVER_PORT] = port


def _of_parent(parent: SpanParent | None) -> ChatContext | None:
    return ChatContext(parent.trace_id, parent.span_id, 0) if parent else None


def _span_context(trace_id: str, span_id: str, sampled: bool, tracestate: str) -> SpanContext:
    state = TraceState.from_header([tracestate]) if tracestate else None
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(SAMPLED if sampled else 0), trace_state=state)


def _remote(trace_id: str, span_id: str, *, sampled: bool, tracestate: str) -> Context:
    return set_span_in_context(NonRecordingSpan(_span_context(trace_id, span_id, sampled, tracestate)), _EMPTY)
