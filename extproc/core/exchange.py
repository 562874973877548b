"""One ext_proc stream as a table-driven state machine, free of protobuf, clocks and sockets.

Envoy opens one stream per filter and request. The listener's filter sees the request first and the final answer last (`ROUTE`: the
route and the return stage); the filter in a provider's cluster sees one upstream attempt (`ATTEMPT`). An edge turns wire messages into the
events below, feeds them to `Exchange.handle` and carries out the actions that come back, in order. Timers are actions too: the edge
arms them and feeds a `Tick` when one runs out.

The two tables are the whole protocol: every (state, event) has an entry, and an entry names the handler that a stage implements.
`VIOLATION` marks what Envoy never sends: the machine answers with `Abort` and refuses everything after it. A handler chooses the next state from the
row's `to` set, so a table also documents (and a test enforces) every transition that the code can make.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

Headers = dict[str, str]
"""Lower-case names. Several values of one name are joined by ", " as RFC 9110 section 5.3 allows."""


class Kind(Enum):
    """The events, by name, as the tables list them."""

    REQUEST_HEADERS = "request_headers"
    REQUEST_BODY = "request_body"
    REQUEST_TRAILERS = "request_trailers"
    RESPONSE_HEADERS = "response_headers"
    RESPONSE_BODY = "response_body"
    RESPONSE_TRAILERS = "response_trailers"
    TICK = "tick"
    CLOSED = "closed"

    __hash__ = object.__hash__  # members are single, and that of Enum runs as Python code, for every event


@dataclass(slots=True)
class HeadersEvent:
    """REQUEST_HEADERS, RESPONSE_HEADERS or trailers. `attributes` are Envoy's (xds.cluster_name, …), `metadata` the forwarded namespaces."""

    kind: Kind
    headers: Headers
    end: bool = False
    attributes: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(slots=True)
class BodyEvent:
    """REQUEST_BODY or RESPONSE_BODY: a whole body in buffered modes, a piece in streamed ones."""

    kind: Kind
    body: bytes
    end: bool
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(slots=True)
class Tick:
    """The timer `name` has run out."""

    name: str
    kind: Kind = Kind.TICK


@dataclass(slots=True)
class Closed:
    """Envoy ended the call: the request is over, or its client or provider is gone. Nothing can be answered any more."""

    kind: Kind = Kind.CLOSED


AnyEvent = HeadersEvent | BodyEvent | Tick | Closed


class Mode(Enum):
    """How the response body is to be sent to us: the `mode_override` of a response-headers answer."""

    NONE = "none"
    STREAMED = "streamed"
    BUFFERED = "buffered"


@dataclass(slots=True)
class Continue:
    """The answer to the event of `kind`. `body` None leaves the body as it is; `replace` also drops what is still to come of it."""

    kind: Kind
    set: list[tuple[str, str]] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    body: bytes | None = None
    clear_route_cache: bool = False
    metadata: dict[str, dict[str, Any]] | None = None
    mode: Mode | None = None
    replace: bool = False


@dataclass(slots=True)
class Immediate:
    """Answer the client now; final. `details` must begin with `llm_`: Envoy's local reply mappers leave those alone."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    details: str


@dataclass(slots=True)
class Finish:
    """End the call with OK: what was shown and not answered flows on natively."""


@dataclass(slots=True)
class Abort:
    """End the call with an error. Envoy answers 503 if nothing was sent to the client yet, else it resets the client's stream."""

    reason: str


@dataclass(slots=True)
class Arm:
    """Feed `Tick(name)` after `seconds`; re-arming moves it. None disarms."""

    name: str
    seconds: float | None


Action = Continue | Immediate | Finish | Abort | Arm


class State(Enum):
    """Where an exchange is. Not every state occurs in both tables."""

    START = "start"
    BODY = "body"
    """Request headers seen, the buffered request body is to come."""
    SENT = "sent"
    """The request is on its way upstream; response headers are to come."""
    HOLDING = "holding"
    """Attempt: response headers seen and not yet answered."""
    STREAMING = "streaming"
    """Return: pieces of the answer are coming, each is answered."""
    COLLECTING = "collecting"
    """Return: the whole answer is to come in one buffered message."""
    DONE = "done"
    """Everything is answered; only the end of the call is to come."""
    CLOSED = "closed"

    __hash__ = object.__hash__


class Row(NamedTuple):
    """The handler to call and the states it may leave the exchange in."""

    handler: str
    to: frozenset[State]


def _row(handler: str, *to: State) -> Row:
    return Row(handler, frozenset(to))


VIOLATION = _row("violation", State.DONE)
IGNORED = _row("ignore")
_CLOSE = _row("on_closed", State.CLOSED)

S, K = State, Kind

ROUTE: dict[State, dict[Kind, Row]] = {
    S.START: {
        # a request without a body is on its way at once
        K.REQUEST_HEADERS: _row("on_request_headers", S.BODY, S.SENT, S.DONE),
        K.RESPONSE_HEADERS: _row("on_early_response", S.COLLECTING, S.DONE),
        K.CLOSED: _CLOSE,
    },
    S.BODY: {
        K.REQUEST_BODY: _row("on_request_body", S.SENT, S.DONE),
        K.REQUEST_TRAILERS: IGNORED,
        # Envoy's own answer before the body was complete: 413, 408, an overload
        K.RESPONSE_HEADERS: _row("on_early_response", S.COLLECTING, S.DONE),
        K.CLOSED: _CLOSE,
    },
    S.SENT: {
        K.RESPONSE_HEADERS: _row("on_response_headers", S.STREAMING, S.COLLECTING, S.DONE),
        K.REQUEST_TRAILERS: IGNORED,
        K.TICK: _row("on_deadline", S.SENT, S.DONE),
        K.CLOSED: _CLOSE,
    },
    S.STREAMING: {
        K.RESPONSE_BODY: _row("on_response_piece", S.STREAMING, S.DONE),
        K.RESPONSE_TRAILERS: _row("on_response_trailers", S.STREAMING, S.DONE),
        K.TICK: _row("on_stall", S.STREAMING, S.DONE),
        K.CLOSED: _CLOSE,
    },
    S.COLLECTING: {
        K.RESPONSE_BODY: _row("on_response_body", S.DONE),
        K.RESPONSE_TRAILERS: _row("on_response_trailers", S.COLLECTING, S.DONE),
        K.TICK: _row("on_stall", S.COLLECTING, S.DONE),
        K.CLOSED: _CLOSE,
    },
    S.DONE: {
        K.RESPONSE_HEADERS: _row("on_final_headers", S.DONE),
        K.RESPONSE_BODY: _row("on_late_body", S.DONE),
        K.RESPONSE_TRAILERS: _row("on_response_trailers", S.DONE),
        K.REQUEST_TRAILERS: IGNORED,
        K.TICK: IGNORED,
        K.CLOSED: _CLOSE,
    },
    S.CLOSED: dict.fromkeys(Kind, IGNORED),
}
"""The listener's filter: route stage, then return stage."""

ATTEMPT: dict[State, dict[Kind, Row]] = {
    S.START: {
        K.REQUEST_HEADERS: _row("on_request_headers", S.BODY, S.SENT, S.DONE),
        K.CLOSED: _CLOSE,
    },
    S.BODY: {
        K.REQUEST_BODY: _row("on_request_body", S.SENT, S.DONE),
        K.REQUEST_TRAILERS: IGNORED,
        K.CLOSED: _CLOSE,
    },
    S.SENT: {
        K.RESPONSE_HEADERS: _row("on_response_headers", S.HOLDING, S.DONE),
        K.REQUEST_TRAILERS: IGNORED,
        K.TICK: _row("on_silence", S.SENT, S.DONE),
        K.CLOSED: _CLOSE,
    },
    S.HOLDING: {
        K.RESPONSE_BODY: _row("on_held_piece", S.HOLDING, S.DONE),
        K.RESPONSE_TRAILERS: _row("on_held_end", S.DONE),
        K.TICK: _row("on_silence", S.HOLDING, S.DONE),
        K.CLOSED: _CLOSE,
    },
    S.DONE: {
        # the call is finished as soon as the verdict is out; what Envoy had already sent may still arrive
        K.RESPONSE_HEADERS: IGNORED,
        K.RESPONSE_BODY: IGNORED,
        K.RESPONSE_TRAILERS: IGNORED,
        K.REQUEST_BODY: IGNORED,
        K.REQUEST_TRAILERS: IGNORED,
        K.TICK: IGNORED,
        K.CLOSED: _CLOSE,
    },
    S.CLOSED: dict.fromkeys(Kind, IGNORED),
}
"""The filter in a provider's cluster: one upstream attempt."""

for _table in (ROUTE, ATTEMPT):
    for _rows in _table.values():
        for _kind in Kind:
            _rows.setdefault(_kind, VIOLATION)


class Exchange:
    """The machine. A stage subclasses it and implements the handlers that its table names.

    Handlers take the event and return actions; they set `self.state` to one of the states that their row allows.
    """

    table: dict[State, dict[Kind, Row]]
    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = State.START

    def handle(self, event: AnyEvent) -> list[Action]:
        """The actions that `event` causes. Exceptions out of a handler are bugs on our side; the edge turns them into a JSON 500."""
        actions: list[Action] = getattr(self, self.table[self.state][event.kind].handler)(event)
        return actions

    def ignore(self, event: AnyEvent) -> list[Action]:  # noqa: ARG002
        return []

    def violation(self, event: AnyEvent) -> list[Action]:
        """Envoy sent what the protocol does not allow here: a bug of ours or a changed Envoy. Never guess."""
        before, self.state = self.state, State.DONE
        return [Abort(f"{event.kind.value} is not possible in state {before.value}")]
