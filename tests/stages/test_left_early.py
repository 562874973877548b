"""Ends that nobody sees: clients that close the connection when they have read an answer's last event were served, and a provider that breaks an
answer off before anything of it has reached the client gave none."""

from __future__ import annotations

import pytest

from extproc.core.exchange import Closed
from extproc.telemetry.record import Outcome
from tests.e2e import spoken
from tests.stages.test_reply import answered
from tests.stages.world import Journey, World, chat, openai_stream, piece, registry, target

MESSAGES = chat(stream=True, max_tokens=9, messages=[{"role": "user", "content": "x"}])


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"], ids=["same", "other"])
@pytest.mark.parametrize(("said", "outcome"), [(Outcome.CLIENT_GONE, Outcome.OK), (Outcome.CUT, Outcome.CUT), (Outcome.STALLED, Outcome.STALLED)])
def test_behind_the_last_event(path: str, said: Outcome, outcome: Outcome) -> None:
    _, exchange, _ = answered(MESSAGES, path, stream=True)
    exchange.handle(piece(spoken.OPENAI.stream))
    exchange.handle(Closed())
    assert exchange.in_doubt
    exchange.broken_by(said, 200)
    assert (exchange.record.outcome, exchange.record.finish, exchange.record.status) == (outcome, "stop", 200)
    assert exchange.record.usage is not None
    assert (exchange.record.usage.input_tokens, exchange.record.usage.output_tokens) == spoken.USAGE


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"], ids=["same", "other"])
@pytest.mark.parametrize("whole", [openai_stream("hello"), openai_stream("hello", finish=False)], ids=["before its end", "without a finish"])
def test_before_it(path: str, whole: list[bytes]) -> None:
    _, exchange, _ = answered(MESSAGES, path, stream=True)
    exchange.handle(piece(b"".join(whole[:-1])))
    exchange.handle(Closed())
    exchange.broken_by(Outcome.CLIENT_GONE, 200)
    assert exchange.record.outcome is Outcome.CLIENT_GONE


@pytest.mark.parametrize(("status", "kind"), [(502, "upstream"), (503, "unavailable"), (504, "timeout")])
def test_an_answer_that_was_still_held(status: int, kind: str) -> None:
    _, exchange, _ = answered(chat(max_tokens=9, messages=[{"role": "user", "content": "x"}]), "/v1/messages")
    exchange.handle(Closed())
    exchange.broken_by(Outcome.CUT, status)
    record = exchange.record
    assert (record.outcome, record.status, record.error_type) == (Outcome.EXHAUSTED, status, kind)


@pytest.mark.parametrize(
    ("said", "status", "books"),
    [
        (Outcome.CUT, 502, (Outcome.EXHAUSTED, 502)),
        (Outcome.CUT, 0, (Outcome.CUT, 0)),
        (Outcome.CLIENT_GONE, 0, (Outcome.CLIENT_GONE, 0)),
    ],
)
def test_an_answer_that_passed_and_never_came(said: Outcome, status: int, books: tuple[Outcome, int]) -> None:
    """The attempt let it go, and the provider broke off before its headers were back."""
    trip = Journey(World(registry(target("a"))))
    exchange = trip.route(MESSAGES)
    attempt = trip.attempt(1, MESSAGES)
    trip.take(attempt.handle(trip.response(200, "text/event-stream")))
    trip.take(attempt.handle(piece(b"".join(openai_stream("hello")[:2]))))
    exchange.handle(Closed())
    assert exchange.in_doubt
    exchange.broken_by(said, status)
    assert (exchange.record.outcome, exchange.record.status) == books


def test_a_client_that_leaves_before_any_answer_is_no_question() -> None:
    trip = Journey(World(registry(target("a"))))
    exchange = trip.route(MESSAGES)
    trip.attempt(1, MESSAGES)
    exchange.handle(Closed())
    assert (exchange.in_doubt, exchange.record.outcome) == (False, Outcome.CLIENT_GONE)
