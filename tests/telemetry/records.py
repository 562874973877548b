"""Records that several tests share."""

from __future__ import annotations

from extproc.core.usage import Usage
from extproc.telemetry.record import AttemptRecord, Outcome, RequestRecord

TRACE, SPAN, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "b7ad6b7169203331"
START = 1_700_000_000_000_000_000
MS = 1_000_000


def answered() -> RequestRecord:
    """A stream that the second target answered; everything is known."""
    return RequestRecord(
        request_id="req-1",
        outcome=Outcome.OK,
        ended_ns=START + 812 * MS,
        total_ms=812.04,
        status=200,
        trace_id=TRACE,
        span_id=SPAN,
        model="gpt-4o",
        client_dialect="openai_chat",
        upstream_dialect="anthropic_messages",
        stream=True,
        commit="first_token",
        target="sonnet",
        target_model="claude-sonnet-4-5",
        provider="anthropic",
        server_address="api.anthropic.com",
        server_port=443,
        response_id="msg_1",
        response_model="claude-sonnet-4-5-20250929",
        finish="stop",
        attempts=[
            AttemptRecord("gpt-4o", 503, "next", "unavailable", 18.04, "openai"),
            AttemptRecord("sonnet", 200, "pass", None, 640.0, "anthropic"),
        ],
        usage=Usage(12, 48, 4, 2, 8),
        cost_usd=0.000312,
        ttft_ms=120.0,
        cpu_us=412.6,
        losses=["dropped:logprobs"],
        bytes_in=512,
        bytes_out=4096,
        registry="0123456789ab",
        operation="chat",
        tenant="acme",
        rule="premium",
        rank_by="latency",
        routing=["explored"],
        observed="gpt-4o",
        limited="limits[0]",
        shadow={"request_id": "req-0", "target": "gpt-4o", "total_ms": 700.5},
    )


def failed(outcome: Outcome = Outcome.EXHAUSTED, error_type: str | None = "rate_limited") -> RequestRecord:
    """A request whose only target failed."""
    return RequestRecord(
        request_id="req-2",
        outcome=outcome,
        ended_ns=START + 40 * MS,
        total_ms=40.0,
        status=429,
        model="chat",
        target="gpt-4o",
        provider="openai",
        error_type=error_type,
        attempts=[AttemptRecord("gpt-4o", 429, "wait", "rate_limited", 20.0)],
    )
