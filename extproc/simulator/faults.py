"""Faults on demand: what goes wrong, for which requests, how often.

A `Fault` is a value; a `FaultPlan` holds the ones waiting for a simulator and gives each request at most one. The kinds are listed with what
they do, so that `extproc simulate --help` and the HTTP control can show them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any


class FaultKind(StrEnum):
    STATUS = "status"
    CONTEXT_LENGTH = "context_length"
    CONTENT_FILTER = "content_filter"
    KEY_REFUSED = "key_refused"
    MODEL_NOT_FOUND = "model_not_found"
    FILTERED = "filtered"
    REFUSAL = "refusal"
    RESET = "reset"
    CLOSE = "close"
    SILENCE = "silence"
    HEADERS_THEN_SILENCE = "headers_then_silence"
    SLOW_HEADERS = "slow_headers"
    SLOW_FIRST_TOKEN = "slow_first_token"
    SLOW_READ = "slow_read"
    CUT = "cut"
    RESET_LATER = "reset_later"
    END_EARLY = "end_early"
    NO_TERMINATOR = "no_terminator"
    STALL = "stall"
    MALFORMED = "malformed"
    ERROR_EVENT = "error_event"
    HTML = "html"
    ERROR_200 = "error_200"
    EMPTY = "empty"
    TRUNCATED = "truncated"
    WRONG_CONTENT_TYPE = "wrong_content_type"
    GZIP = "gzip"
    BROTLI = "br"
    ZSTD = "zstd"
    DEFLATE = "deflate"
    CRLF = "crlf"
    NO_LAST_NEWLINE = "no_last_newline"
    CORRUPT = "corrupt"
    DRIP = "drip"


MEANING: dict[FaultKind, str] = {
    FaultKind.STATUS: "an error with `status` in the provider's envelope; `retry_after` in seconds, said its way; `message` replaces the text",
    FaultKind.CONTEXT_LENGTH: "the provider's context-length error",
    FaultKind.CONTENT_FILTER: "the prompt is refused by the provider's filter (OpenAI: Azure's 400; Gemini: a 200 with promptFeedback; "
    "Bedrock: a 200 in which a guardrail intervened)",
    FaultKind.KEY_REFUSED: "the provider's form of a bad key (Gemini: 400)",
    FaultKind.MODEL_NOT_FOUND: "the provider's 404 for an unknown model",
    FaultKind.FILTERED: "the answer ends with the provider's content-filter reason",
    FaultKind.REFUSAL: "the model refuses in its answer",
    FaultKind.RESET: "TCP reset before any header",
    FaultKind.CLOSE: "connection closed before any header",
    FaultKind.SILENCE: "the request is read and never answered (or answered after `seconds`)",
    FaultKind.HEADERS_THEN_SILENCE: "200 and headers, then nothing (or the answer after `seconds`)",
    FaultKind.SLOW_HEADERS: "nothing for `seconds`, then the answer",
    FaultKind.SLOW_FIRST_TOKEN: "a stream's opening events at once, its first content after `seconds` (not streamed: all of it)",
    FaultKind.SLOW_READ: "the request body is read at `rate` bytes per second",
    FaultKind.CUT: "closed after `after` events, without the end of the chunked body (not streamed: half a body, then closed)",
    FaultKind.RESET_LATER: "TCP reset after `after` events (not streamed: after half a body)",
    FaultKind.END_EARLY: "a clean end after `after` events (by default all content), no finish, no terminator (not streamed: half a document)",
    FaultKind.NO_TERMINATOR: "only the last event is missing: [DONE], message_stop, response.completed, Gemini's finish, Bedrock's metadata, "
    "Ollama's done",
    FaultKind.STALL: "after `after` events nothing more (for `seconds`, if given)",
    FaultKind.MALFORMED: "an event of broken JSON after `after` events, then the rest (not streamed: broken JSON)",
    FaultKind.ERROR_EVENT: "an error inside the stream after `after` events (0: the first event), then the end; Bedrock's is an exception "
    "frame (not streamed: as error_200)",
    FaultKind.HTML: "a proxy's HTML page with `status` (502)",
    FaultKind.ERROR_200: "200 with an error in the body",
    FaultKind.EMPTY: "200 with an empty body",
    FaultKind.TRUNCATED: "content-length promises more than is sent (a stream: cut inside an event)",
    FaultKind.WRONG_CONTENT_TYPE: "the right body as text/plain",
    FaultKind.GZIP: "a gzip body although nobody asked for one",
    FaultKind.BROTLI: "a Brotli body although nobody asked for one",
    FaultKind.ZSTD: "a Zstandard body although nobody asked for one",
    FaultKind.DEFLATE: "a deflate (zlib) body although nobody asked for one",
    FaultKind.CRLF: "server-sent events with CRLF, comments between them and a blank line more (NDJSON: CRLF; Bedrock and a body: as it is)",
    FaultKind.NO_LAST_NEWLINE: "the newlines behind the last event are missing (Bedrock and a body: as it is)",
    FaultKind.CORRUPT: "a byte of the event after `after` events is another one (not streamed: of the body)",
    FaultKind.DRIP: "the right body in pieces of 1 to 7 bytes, `seconds` apart",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    `status` is for `status`, `html`, `error_event`, `error_200` (0: the kind's usual one). `retry_after` is in seconds; None sends none.
    `after` counts the events of the stream (None: 2; for `end_early` everything before the finish). `seconds` 0 means for ever where a wait has
    no natural end. `rate` is bytes per second.
    `probability` and `every` thin it out: `every=2` hits the first, third, … matching request (flapping). `model` is a shell pattern, `key`
    the exact key: only such requests are hit.
    """

    kind: FaultKind
    status: int = 0
    retry_after: float | None = None
    message: str | None = None
    after: int | None = None
    seconds: float = 0.0
    rate: float = 65536.0
    probability: float = 1.0
    every: int = 1
    model: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        if self.status and not 200 <= self.status <= 599:
            raise ValueError("status must lie between 200 and 599")
        if not 0 < self.probability <= 1:
            raise ValueError("probability must lie above 0 and not above 1")
        if self.every < 1:
            raise ValueError("every must be 1 or more")
        if self.rate <= 0 or self.seconds < 0 or (self.after or 0) < 0 or (self.retry_after or 0) < 0:
            raise ValueError("rate must be positive; seconds, after and retry_after must not be negative")


_TYPES: dict[str, tuple[type, ...]] = {
    "status": (int,),
    "retry_after": (int, float, type(None)),
    "message": (str, type(None)),
    "after": (int, type(None)),
    "seconds": (int, float),
    "rate": (int, float),
    "probability": (int, float),
    "every": (int,),
    "model": (str, type(None)),
    "key": (str, type(None)),
}


def fault_from_json(data: Any) -> Fault:
    """A fault from its JSON form: an object with `kind` and any of the other members. Raises ValueError that says what is wrong."""
    if not isinstance(data, dict):
        raise ValueError("a fault is an object with a member `kind`")  # noqa: TRY004 - one class for all that is wrong with one
    try:
        kind = FaultKind(str(data.get("kind")))
    except ValueError:
        raise ValueError(f"kind must be one of: {', '.join(FaultKind)}") from None
    given = {k: v for k, v in data.items() if k != "kind"}
    for name, value in given.items():
        if name not in _TYPES:
            raise ValueError(f"unknown member `{name}`; known: kind, {', '.join(_TYPES)}")
        if not isinstance(value, _TYPES[name]) or isinstance(value, bool):
            raise ValueError(f"`{name}` has the wrong type")  # noqa: TRY004
    return Fault(kind, **given)


def planned_from_json(data: Any) -> tuple[Fault, int | None]:
    """A fault with its member `times` (1 when absent, null: standing). Raises ValueError."""
    if not isinstance(data, dict):
        return fault_from_json(data), 1
    times = data.get("times", 1)
    if times is not None and (not isinstance(times, int) or isinstance(times, bool)):
        raise ValueError("`times` must be a whole number or null")
    return fault_from_json({k: v for k, v in data.items() if k != "times"}), times


def fault_to_json(fault: Fault) -> dict[str, Any]:
    """The members of `fault` that differ from their defaults. A key is never shown."""
    out: dict[str, Any] = {"kind": fault.kind.value}
    for f in fields(fault):
        value = getattr(fault, f.name)
        if f.name != "kind" and value != f.default:
            out[f.name] = "…" if f.name == "key" else value
    return out


@dataclass(slots=True)
class _Planned:
    fault: Fault
    left: int | None
    seen: int = 0


class FaultPlan:
    """The faults that wait. Those with a count are used up in the order they came; standing ones (no count) apply when none of those does.

    At most `LIMIT` are kept. `seed` makes probabilities repeatable.
    """

    LIMIT = 1000

    def __init__(self, seed: int = 0) -> None:
        self._planned: list[_Planned] = []
        self._random = random.Random(seed)  # noqa: S311 - no secret depends on it

    def __bool__(self) -> bool:
        return bool(self._planned)

    def add(self, fault: Fault, times: int | None = 1) -> None:
        """`times` None: until cleared. Raises ValueError when too many wait or `times` is not positive."""
        if times is not None and times < 1:
            raise ValueError("times must be positive, or null for a standing fault")
        if len(self._planned) >= self.LIMIT:
            raise ValueError(f"more than {self.LIMIT} faults are waiting")
        self._planned.append(_Planned(fault, times))

    def clear(self) -> None:
        self._planned.clear()

    def listing(self) -> list[dict[str, Any]]:
        """The waiting faults as JSON, with `times` (null: standing)."""
        return [fault_to_json(p.fault) | {"times": p.left} for p in self._planned]

    def take(self, model: str, key: str | None) -> Fault | None:
        """The fault for a request that was read whole, if one applies to it."""
        return self._take(model, key, reading=False)

    def take_reading(self) -> Fault | None:
        """The slow_read fault for a request whose head has just arrived; `model` and `key` are not looked at yet."""
        return self._take(None, None, reading=True)

    def _take(self, model: str | None, key: str | None, *, reading: bool) -> Fault | None:
        for planned in sorted(self._planned, key=lambda p: p.left is None):
            fault = planned.fault
            if (fault.kind is FaultKind.SLOW_READ) is not reading:
                continue
            if not reading and not _matches(fault, model or "", key):
                continue
            planned.seen += 1
            if (planned.seen - 1) % fault.every or (fault.probability < 1 and self._random.random() >= fault.probability):
                continue
            if planned.left is not None:
                planned.left -= 1
                if not planned.left:
                    self._planned.remove(planned)
            return fault
        return None


def _matches(fault: Fault, model: str, key: str | None) -> bool:
    return (fault.model is None or fnmatchcase(model, fault.model)) and (fault.key is None or fault.key == key)
