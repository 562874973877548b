"""The log line of a request: one JSON object, written once, at the end, from its `RequestRecord`.

Redaction is by construction: a line holds the fields below and nothing else, so no prompt, header or key can get in. The names are a contract with
whoever parses them; change `FIELDS` and the golden test together. Fields whose value is unknown, empty or none are left out, except those of
`ALWAYS`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from extproc.telemetry.record import MEANING, AttemptRecord, RequestRecord
from extproc.telemetry.text import clip

FIELDS: dict[str, str] = {
    "ts": "RFC 3339, UTC, milliseconds: when the request ended",
    "level": "info, warn or error, by outcome",
    "type": "request: tells these lines from the process's own (`process`)",
    "outcome": "how it ended: `telemetry.record.Outcome`",
    "status": "HTTP status that the client got; 0: none was sent",
    "error_type": "error kind, if the client got a failure",
    "request_id": "Envoy's x-request-id",
    "trace_id": "32 hex digits",
    "span_id": "16 hex digits: the chat span",
    "operation": "what was asked for: `core.operation.Operation`; absent for what we answer ourselves",
    "model": "the name that the client asked for",
    "target": "the target that answered, or was tried last",
    "provider": "the provider of that target",
    "target_model": "the provider's name of the model",
    "client_dialect": "the wire format of the client",
    "upstream_dialect": "the wire format of the target",
    "stream": "did the client ask for a stream?",
    "commit": "first_token or complete",
    "finish": "why the model stopped",
    "attempts": "list of {target, provider, status, verdict, error_type, ms}, in order",
    "total_ms": "from the request to its end",
    "ttft_ms": "to the first event with content of a stream",
    "cpu_us": "CPU time of this server for the request",
    "input_tokens": "cached ones included",
    "output_tokens": "reasoning included",
    "cache_read_tokens": "part of the input",
    "cache_write_tokens": "part of the input",
    "reasoning_tokens": "part of the output",
    "cost_usd": "US dollars, if price and usage are known",
    "bytes_in": "request body",
    "bytes_out": "response body",
    "losses": "codes of what a translation could not carry",
    "response_id": "the provider's id of the answer",
    "registry": "digest of the registry that decided",
    "tenant": "whose request it was, by the registry's `identity`",
    "rule": "the rule of the model that held",
    "rank_by": "the policy that ranked the targets",
    "routing": "why the first target was not simply the best: explored, stayed (warm cache), last_resort",
    "observed": "the target that the policy under observation would have put first",
    "limited": "the limit that sent the request to another model (`instead`)",
    "shadow": "this request is a copy: {request_id, target, outcome, total_ms, …} of the first one",
}
"""Every field with its meaning, in the order of the line."""

ALWAYS = frozenset({"ts", "level", "type", "outcome", "status", "request_id", "model", "stream", "attempts", "total_ms"})

_MAX_LIST = 64


def request_line(record: RequestRecord) -> bytes:
    """One line with its newline."""
    usage = record.usage
    meaning = MEANING[record.outcome]
    line: dict[str, Any] = {
        "ts": timestamp(record.ended_ns),
        "level": meaning.level,
        "type": "request",
        "outcome": record.outcome.value,
        "status": record.status,
        "error_type": record.failure,
        "request_id": clip(record.request_id),
        "trace_id": record.trace_id,
        "span_id": record.span_id,
        "operation": record.operation,
        "model": clip(record.model),
        "target": record.target,
        "provider": record.provider,
        "target_model": clip(record.target_model),
        "client_dialect": record.client_dialect,
        "upstream_dialect": record.upstream_dialect,
        "stream": record.stream,
        "commit": record.commit,
        "finish": record.finish,
        "attempts": [_attempt(a) for a in record.attempts[:_MAX_LIST]],
        "total_ms": round(record.total_ms, 1),
        "ttft_ms": None if record.ttft_ms is None else round(record.ttft_ms, 1),
        "cpu_us": None if record.cpu_us is None else round(record.cpu_us),
        "input_tokens": usage.input_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "cache_read_tokens": usage.cache_read or None if usage else None,
        "cache_write_tokens": usage.cache_write or None if usage else None,
        "reasoning_tokens": usage.reasoning or None if usage else None,
        "cost_usd": None if record.cost_usd is None else round(record.cost_usd, 8),
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
        "losses": [clip(code) for code in record.losses[:_MAX_LIST]],
        "response_id": clip(record.response_id),
        "registry": record.registry,
        "tenant": clip(record.tenant),
        "rule": clip(record.rule),
        "rank_by": record.rank_by,
        "routing": record.routing,
        "observed": record.observed,
        "limited": clip(record.limited),
        "shadow": record.shadow,
    }
    kept = {name: value for name, value in line.items() if name in ALWAYS or (value is not None and value not in ("", [], {}))}
    return orjson.dumps(kept, option=orjson.OPT_APPEND_NEWLINE)


def timestamp(unix_ns: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    seconds, rest = divmod(unix_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"


def _attempt(attempt: AttemptRecord) -> dict[str, Any]:
    out: dict[str, Any] = {"target": attempt.target, "status": attempt.status}
    if attempt.provider:
        out["provider"] = attempt.provider
    if attempt.verdict:
        out["verdict"] = attempt.verdict
    if attempt.error_type:
        out["error_type"] = clip(attempt.error_type)
    if attempt.ms is not None:
        out["ms"] = round(attempt.ms, 1)
    return out
