"""From the standard OTEL_* variables to a `Tracing`: the one place that knows the OpenTelemetry SDK and its exporters.

Read by us, and refused when the value is unknown (a server that runs for months exporting nothing is worse than one that does not start):
OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER (otlp, console, none; a list), OTEL_EXPORTER_OTLP_PROTOCOL and OTEL_EXPORTER_OTLP_TRACES_PROTOCOL
(http/protobuf, grpc), OTEL_TRACES_SAMPLER with its _ARG, OTEL_BSP_*, OTEL_SERVICE_NAME, the content switch of `telemetry.content`.
Read by the SDK's exporters: OTEL_EXPORTER_OTLP_[TRACES_]{ENDPOINT,HEADERS,TIMEOUT,COMPRESSION,CERTIFICATE,CLIENT_KEY,CLIENT_CERTIFICATE,INSECURE}
(TIMEOUT in seconds, as the Python SDK has it), OTEL_RESOURCE_ATTRIBUTES, OTEL_*_LIMIT.

The one difference from the specification: with OTEL_TRACES_EXPORTER unset, nothing is exported unless an endpoint is configured. A sidecar must not
knock on localhost:4318 in every pod. Everything of the SDK is imported on use: a server without tracing does not hold it in memory.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from extproc.telemetry.content import DEFAULT_LIMIT, Capture, capture_from
from extproc.telemetry.text import clip
from extproc.telemetry.tracing import Tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.sdk.trace.sampling import Sampler

SERVICE_NAME = "llm-sidecar"
"""Our service name unless the environment has one. Envoy's own spans are `llm-sidecar-envoy`: one sidecar, two services."""

_EXPORTERS = ("otlp", "console", "none")
_PROTOCOLS = ("http/protobuf", "grpc")
_SAMPLERS = ("always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio")


class TelemetryConfigError(ValueError):
    """A variable has a value that we do not know. The text names the variable and the values that work."""


def tracing_from_environment(
    *,
    version: str = "",
    allow_content_capture: bool = True,
    content_limit: int = DEFAULT_LIMIT,
    processors: Sequence[SpanProcessor] = (),
) -> Tracing:
    """The tracing that the process environment asks for. Raises `TelemetryConfigError`.

    `allow_content_capture` False wins over the environment. `processors` are added to whatever is configured (the console tree, a test's
    exporter) and see every sampled span. Call it after forking: exporters have a thread.
    """
    environ = os.environ
    try:
        capture = capture_from(environ)
    except ValueError as error:
        raise TelemetryConfigError(str(error)) from None
    names = _exporter_names(environ)
    sampler, ratio = _choice(environ, "OTEL_TRACES_SAMPLER", _SAMPLERS, "parentbased_always_on"), _ratio(environ)
    queue, batch, delay = _queue_settings(environ)
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or not (names or processors):
        return Tracing(version=version)

    try:
        from opentelemetry.sdk.trace import TracerProvider

        from extproc.telemetry.batch import CountedBatchProcessor

        provider = TracerProvider(sampler=_sampler(sampler, ratio), resource=_resource(version), shutdown_on_exit=False)
    except ValueError as error:  # the SDK's own words on OTEL_*_LIMIT
        raise TelemetryConfigError(clip(str(error), 200)) from error
    batches = [CountedBatchProcessor(_exporter(name, environ), queue, batch, delay) for name in names]
    for processor in (*batches, *processors):
        provider.add_span_processor(processor)
    return Tracing(
        provider,
        version=version,
        capture=capture if allow_content_capture else Capture.NO_CONTENT,
        content_limit=content_limit,
        close=lambda timeout: _close(provider.shutdown, [b.abort for b in batches], timeout),
        dropped=lambda: sum(b.lost for b in batches),
    )


def _choice(environ: Mapping[str, str], variable: str, allowed: Sequence[str], default: str) -> str:
    value = environ.get(variable, "").strip().lower() or default
    if value not in allowed:
        raise TelemetryConfigError(f"{variable}={clip(value, 80)!r}: use one of {', '.join(allowed)}")
    return value


def _exporter_names(environ: Mapping[str, str]) -> list[str]:
    """The exporters asked for, each once."""
    variable = "OTEL_TRACES_EXPORTER"
    value = environ.get(variable, "").strip().lower()
    if not value:
        asked = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        value = "otlp" if asked else "none"
    names = list(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
    for name in names:
        if name not in _EXPORTERS:
            raise TelemetryConfigError(f"{variable}={clip(name, 80)!r}: use one of {', '.join(_EXPORTERS)}")
    if "otlp" in names:
        _protocol(environ)
    return [name for name in names if name != "none"]


def _protocol(environ: Mapping[str, str]) -> str:
    general = _choice(environ, "OTEL_EXPORTER_OTLP_PROTOCOL", _PROTOCOLS, _PROTOCOLS[0])
    return _choice(environ, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", _PROTOCOLS, general)


def _exporter(name: str, environ: Mapping[str, str]) -> SpanExporter:
    try:
        if name == "console":
            from opentelemetry.sdk.trace.export import ConsoleSpanExporter

            # stdout belongs to the log lines
            return ConsoleSpanExporter(out=sys.stderr, formatter=lambda span: span.to_json(indent=None) + "\n")
        if _protocol(environ) == "grpc":
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter

            return GrpcSpanExporter()
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter

        return HttpSpanExporter()
    except (ValueError, OSError) as error:
        raise TelemetryConfigError(f"OTEL_EXPORTER_OTLP_*: {clip(str(error), 200)}") from error


def _ratio(environ: Mapping[str, str]) -> float:
    variable = "OTEL_TRACES_SAMPLER_ARG"
    text = environ.get(variable, "").strip() or "1.0"
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0.0 <= ratio <= 1.0:
        raise TelemetryConfigError(f"{variable}={clip(text, 80)!r}: use a number from 0 to 1")
    return ratio


def _sampler(name: str, ratio: float) -> Sampler:
    from opentelemetry.sdk.trace import sampling

    match name:
        case "always_on":
            return sampling.ALWAYS_ON
        case "always_off":
            return sampling.ALWAYS_OFF
        case "traceidratio":
            return sampling.TraceIdRatioBased(ratio)
        case "parentbased_always_off":
            return sampling.DEFAULT_OFF
        case "parentbased_traceidratio":
            return sampling.ParentBasedTraceIdRatio(ratio)
        case _:
            return sampling.DEFAULT_ON


def _queue_settings(environ: Mapping[str, str]) -> tuple[int, int, int]:
    """Spans in the queue, spans in a batch, milliseconds between exports."""
    numbers = []
    for variable, default in (("OTEL_BSP_MAX_QUEUE_SIZE", 2048), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512), ("OTEL_BSP_SCHEDULE_DELAY", 5000)):
        text = environ.get(variable, "").strip() or str(default)
        if not text.isascii() or not text.isdigit() or not 0 < int(text[:10]) <= 10**6:
            raise TelemetryConfigError(f"{variable}={clip(text, 80)!r}: use a whole number from 1 to 1000000")
        numbers.append(int(text))
    queue, batch, delay = numbers
    return queue, min(batch, queue), delay


def _resource(version: str) -> Resource:
    """Who we are. The environment's own name for the service wins over ours."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    ours: dict[str, str] = {"service.version": version} if version else {}
    named = OTELResourceDetector().detect().attributes
    ours = {"service.name": SERVICE_NAME} | ours
    return Resource.create({name: value for name, value in ours.items() if name not in named})


def _close(shutdown: Callable[[], None], aborts: Sequence[Callable[[], None]], timeout: float) -> bool:
    """The SDK waits up to half a minute for each exporter; a pod that is being stopped has less. What is not out by then is given up."""
    thread = threading.Thread(target=shutdown, name="telemetry-shutdown", daemon=True)
    thread.start()
    thread.join(timeout)
    if not thread.is_alive():
        return True
    for abort in aborts:
        abort()
    return False
