"""The exchange machine over every (state, event), driven through the real stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.exchange import (
    ATTEMPT,
    ROUTE,
    VIOLATION,
    Abort,
    Arm,
    BodyEvent,
    Closed,
    Continue,
    Exchange,
    Finish,
    HeadersEvent,
    Immediate,
    Kind,
    State,
    Tick,
)
from extproc.registry.types import Passthrough
from tests.stages.world import OPENAI_ANSWER, Journey, World, chat, openai_stream, piece, registry, request_body, request_headers, target

FILES = "/v1/files"


def journey() -> Journey:
    made = registry(target("a"), target("b", "anthropic_messages"), target("c", "gemini"))
    return Journey(World(replace(made, passthrough=(Passthrough(FILES, "a"),))))


def passed(trip: Journey, body: bytes) -> None:
    """Attempt 1 has passed a stream."""
    exchange = trip.attempt(1, body)
    trip.take(exchange.handle(trip.response(200, "text/event-stream")))
    for part in openai_stream("x"):
        trip.take(exchange.handle(piece(part)))


def route_in(state: State) -> tuple[Exchange, Journey]:
    """A route exchange in `state`, and its journey."""
    trip = journey()
    if state is State.START:
        return trip.world.route(), trip
    if state is State.BODY:
        exchange = trip.world.route()
        exchange.handle(request_headers())
        return exchange, trip
    body = chat(stream=True)
    exchange = trip.route(body)
    if state is State.SENT:
        return exchange, trip
    if state is State.COLLECTING:
        # a plain answer to a request for a stream
        attempt = trip.attempt(1, body)
        trip.take(attempt.handle(trip.response(200)))
        trip.take(attempt.handle(piece(OPENAI_ANSWER, end=True)))
        exchange.handle(trip.response(200))
        return exchange, trip
    passed(trip, body)
    if state is State.STREAMING:
        exchange.handle(trip.response(200, "text/event-stream"))
    elif state is State.DONE:
        exchange.handle(Tick("deadline"))
    else:
        exchange.handle(Closed())
    return exchange, trip


def passing_in(state: State) -> tuple[Exchange, Journey]:
    """A route exchange of a request without a body that is passed on as it is."""
    trip = journey()
    exchange = trip.world.route()
    if state is State.START:
        return exchange, trip
    if state is State.BODY:
        exchange.handle(request_headers(FILES))
        return exchange, trip
    trip.take(exchange.handle(request_headers(FILES, "GET", end=True)))
    if state is State.SENT:
        return exchange, trip
    if state is State.COLLECTING:
        return route_in(state)
    attempt = trip.world.attempt()
    trip.take(attempt.handle(trip.attempt_headers(1, end=True)))
    trip.take(attempt.handle(trip.response(200)))
    if state is State.CLOSED:
        exchange.handle(Closed())
    else:
        exchange.handle(trip.response(200, end=state is State.DONE))
    return exchange, trip


def passed_attempt_in(state: State) -> tuple[Exchange, Journey]:
    trip = passing_in(State.SENT)[1]
    exchange = trip.world.attempt()
    if state is State.HOLDING:
        return attempt_in(state)
    if state in (State.START, State.BODY):
        if state is State.BODY:
            exchange.handle(trip.attempt_headers(1))
        return exchange, trip
    exchange.handle(trip.attempt_headers(1, end=True))
    if state is State.DONE:
        exchange.handle(trip.response(503))
    elif state is State.CLOSED:
        exchange.handle(Closed())
    return exchange, trip


def attempt_in(state: State) -> tuple[Exchange, Journey]:
    trip = journey()
    body = chat(stream=True)
    trip.route(body)
    if state is State.START:
        return trip.world.attempt(), trip
    exchange = trip.world.attempt()
    exchange.handle(trip.attempt_headers(1))
    if state is State.BODY:
        return exchange, trip
    exchange.handle(request_body(body))
    if state is State.SENT:
        return exchange, trip
    if state is State.HOLDING:
        exchange.handle(trip.response(200, "text/event-stream"))
    elif state is State.DONE:
        exchange.handle(trip.response(503, end=True))
    else:
        exchange.handle(Closed())
    return exchange, trip


def event(kind: Kind, trip: Journey, machine: str) -> HeadersEvent | BodyEvent | Tick | Closed:
    match kind:
        case Kind.REQUEST_HEADERS:
            if machine == "pass":
                return request_headers(FILES, "GET", end=True)
            return request_headers() if machine == "route" else trip.attempt_headers(1, end=machine == "passed attempt")
        case Kind.REQUEST_BODY:
            return request_body(chat(stream=True))
        case Kind.RESPONSE_HEADERS:
            if not trip.metadata:
                return HeadersEvent(kind, {":status": "413", "x-llm-local": "request_payload_too_large"})
            return trip.response(200, "text/event-stream")
        case Kind.RESPONSE_BODY:
            return piece(b"".join(openai_stream("x")), end=True)
        case Kind.REQUEST_TRAILERS | Kind.RESPONSE_TRAILERS:
            return HeadersEvent(kind, {}, True)
        case Kind.TICK:
            return Tick("deadline")
        case Kind.CLOSED:
            return Closed()


MACHINES: dict[str, tuple[dict[State, dict[Kind, object]], Callable[[State], tuple[Exchange, Journey]]]] = {
    "route": (ROUTE, route_in),  # type: ignore[dict-item]
    "attempt": (ATTEMPT, attempt_in),  # type: ignore[dict-item]
    "pass": (ROUTE, passing_in),  # type: ignore[dict-item]
    "passed attempt": (ATTEMPT, passed_attempt_in),  # type: ignore[dict-item]
}
CASES = [(name, state, kind) for name, (table, _) in MACHINES.items() for state in table for kind in Kind]


@pytest.mark.parametrize("name", MACHINES)
def test_every_state_has_every_event_and_every_handler_exists(name: str) -> None:
    table, reach = MACHINES[name]
    for state, rows in table.items():
        assert set(rows) == set(Kind), state
        exchange, _ = reach(state)
        assert exchange.state is state
        for row in rows.values():
            assert callable(getattr(exchange, row.handler))  # type: ignore[attr-defined]
            assert row.to <= set(table)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "state", "kind"), CASES)
def test_every_state_and_event(name: str, state: State, kind: Kind) -> None:
    table, reach = MACHINES[name]
    row = table[state][kind]
    exchange, trip = reach(state)
    actions = exchange.handle(event(kind, trip, name))
    assert exchange.state in row.to | {state}, f"{state} on {kind} may not lead to {exchange.state}"  # type: ignore[attr-defined]
    if row is VIOLATION:
        assert [type(a) for a in actions] == [Abort]
        assert exchange.state is State.DONE
    if kind is Kind.CLOSED:
        assert actions == []
        assert exchange.state is State.CLOSED
    legal(kind, actions, held="attempt" in name)


def legal(kind: Kind, actions: list[object], *, held: bool) -> None:
    """What Envoy accepts: one answer to one message, the last word last."""
    answers = [a for a in actions if isinstance(a, Continue | Immediate | Abort)]
    assert len(answers) <= 1
    for answer in answers:
        if isinstance(answer, Continue):
            # an attempt may answer held headers when a piece, a trailer or a timer decides
            assert answer.kind is kind or (held and answer.kind is Kind.RESPONSE_HEADERS)
            assert not (answer.replace and answer.body is None)
        if isinstance(answer, Immediate):
            assert answer.details.startswith("llm_")
            assert any(isinstance(a, Finish) for a in actions)
    if any(isinstance(a, Finish) for a in actions):
        assert isinstance(actions[-1], Finish)
    if kind is Kind.TICK:
        assert all(isinstance(a, Arm) for a in actions) or any(isinstance(a, Finish | Abort) for a in actions), "a tick's answer ends the call"


@given(st.sampled_from(sorted(MACHINES)), st.lists(st.sampled_from(list(Kind)), max_size=12))
def test_any_sequence_of_events_stays_in_the_table(name: str, kinds: list[Kind]) -> None:
    table, reach = MACHINES[name]
    exchange, trip = reach(State.START)
    if name in ("route", "pass"):
        trip.metadata.clear()
    for kind in kinds:
        row, before = table[exchange.state][kind], exchange.state
        actions = exchange.handle(event(kind, trip, name))
        if isinstance(exchange, Exchange):
            trip.take(actions)
        assert exchange.state in row.to | {before}  # type: ignore[attr-defined]
        legal(kind, actions, held="attempt" in name)
    exchange.handle(Closed())
    assert exchange.state is State.CLOSED
