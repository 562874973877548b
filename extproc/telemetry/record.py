"""Everything that is known about one request at its end: the one object that the span, the log line and the metrics are written from.

Also the vocabulary of ends. Every request ends exactly once with one `Outcome`, whoever ended it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from extproc.core.usage import Usage

Level = Literal["info", "warn", "error"]
Fault = Literal["none", "client", "provider", "gateway"]


class Outcome(StrEnum):
    """How a request ended."""

    OK = "ok"
    """The client got a whole answer."""
    CLIENT_ERROR = "client_error"
    """We turned the request down before any provider saw it: malformed, unknown model or path, too large."""
    REFUSED = "refused"
    """The request is sound, but no target may or can serve it: a capability is missing, a strict model would lose something, all cool down."""
    REJECTED = "rejected"
    """A provider found the request wrong (4xx, content filter, context length) and its reason was passed on: no other target would answer."""
    UPSTREAM_ERROR = "upstream_error"
    """A provider's failure was passed on although attempts were left: the policy does not go on from it."""
    EXHAUSTED = "exhausted"
    """Every target of the chain, or every allowed attempt, failed."""
    DEADLINE = "deadline"
    """The deadline over the whole chain passed before an answer began (or, while answers are held, was whole)."""
    CUT = "cut"
    """The provider ended or broke an answer that was already flowing to the client."""
    STALLED = "stalled"
    """The provider went silent in an answer that was already flowing to the client."""
    CLIENT_GONE = "client_gone"
    """The client left before its answer was whole."""
    DETACHED = "detached"
    """The answer flowed on natively after this process let go of it (shutdown): its end was not seen."""
    INTERNAL_ERROR = "internal_error"
    """We failed: a bug, or something of ours that was not available."""


class Meaning(NamedTuple):
    """`failed`: did the client get a failure (the span's status)? `fault`: whose (the SLI counts `gateway` only). `level`: of the log line."""

    failed: bool
    fault: Fault
    level: Level


MEANING: dict[Outcome, Meaning] = {
    Outcome.OK: Meaning(False, "none", "info"),
    Outcome.CLIENT_ERROR: Meaning(True, "client", "info"),
    Outcome.REFUSED: Meaning(True, "client", "warn"),
    Outcome.REJECTED: Meaning(True, "client", "info"),
    Outcome.UPSTREAM_ERROR: Meaning(True, "provider", "warn"),
    Outcome.EXHAUSTED: Meaning(True, "provider", "error"),
    Outcome.DEADLINE: Meaning(True, "provider", "error"),
    Outcome.CUT: Meaning(True, "provider", "error"),
    Outcome.STALLED: Meaning(True, "provider", "error"),
    Outcome.CLIENT_GONE: Meaning(False, "client", "info"),
    Outcome.DETACHED: Meaning(False, "none", "info"),
    Outcome.INTERNAL_ERROR: Meaning(True, "gateway", "error"),
}
"""One row per outcome; a test holds it complete."""


@dataclass(slots=True)
class AttemptRecord:
    """One upstream try. `status` 0: no response headers came. `error_type` None: it succeeded.

    `verdict` is pass, retry or final; "": Envoy ended the attempt itself.
    """

    target: str
    status: int = 0
    verdict: str = ""
    error_type: str | None = None
    ms: float | None = None
    provider: str = ""


@dataclass(slots=True)
class RequestRecord:
    """One request at its end. None, "" and empty mean "not known" or "none".

    `ended_ns` is Unix time in nanoseconds. `model` is the name that the client asked for, `target_model` the provider's name of the model that
    answered. `status` is what the client got, 0 if nothing was sent. `ttft_ms` is to the first event with content of a stream. `cpu_us` is this
    server's CPU time for the request. `losses` are codes. `provider` is the conventions' provider name. `finish` is `FinishReason`'s value.
    `operation` is `core.operation.Operation`'s value, "" for what we answered ourselves. `rule`, `rank_by` and `observed` are the decision's,
    `routing` the words that explain a first target which is not simply the best: explored, stayed, last_resort. `limited` is the limit that
    degraded the request to another model. `shadow` is what the first request measured, where this one is its copy.
    """

    request_id: str
    outcome: Outcome
    ended_ns: int
    total_ms: float
    status: int = 0
    trace_id: str = ""
    span_id: str = ""
    model: str = ""
    client_dialect: str = ""
    upstream_dialect: str = ""
    stream: bool = False
    commit: str = ""
    target: str = ""
    target_model: str = ""
    provider: str = ""
    server_address: str = ""
    server_port: int = 0
    response_id: str = ""
    response_model: str = ""
    finish: str = ""
    error_type: str | None = None
    attempts: list[AttemptRecord] = field(default_factory=list)
    usage: Usage | None = None
    cost_usd: float | None = None
    ttft_ms: float | None = None
    cpu_us: float | None = None
    losses: list[str] = field(default_factory=list)
    bytes_in: int = 0
    bytes_out: int = 0
    registry: str = ""
    operation: str = ""
    tenant: str = ""
    rule: str = ""
    rank_by: str = ""
    routing: list[str] = field(default_factory=list)
    observed: str = ""
    limited: str = ""
    shadow: dict[str, Any] = field(default_factory=dict)

    @property
    def failure(self) -> str | None:
        """`error.type` of the request: None unless the client got a failure; then the error's kind, or the outcome where no kind is known."""
        return (self.error_type or self.outcome.value) if MEANING[self.outcome].failed else None
