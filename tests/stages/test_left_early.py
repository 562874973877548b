"""Clients that close the connection when they have read an answer's last event: they were served, and the books say so."""

from __future__ import annotations

import pytest

from extproc.core.exchange import Closed
from extproc.telemetry.record import Outcome
from tests.e2e import spoken
from tests.stages.test_reply import answered
from tests.stages.world import chat, openai_stream, piece

MESSAGES = chat(stream=True, max_tokens=9, messages=[{"role": "user", "content": "x"}])


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"], ids=["same", "other"])
@pytest.mark.parametrize(("said", "outcome"), [(Outcome.CLIENT_GONE, Outcome.OK), (Outcome.CUT, Outcome.CUT), (Outcome.STALLED, Outcome.STALLED)])
def test_behind_the_last_event(path: str, said: Outcome, outcome: Outcome) -> None:
    _, exchange, _ = answered(MESSAGES, path, stream=True)
    exchange.handle(piece(spoken.OPENAI.stream))
    exchange.handle(Closed())
    assert exchange.in_doubt
    exchange.broken_by(said)
    assert (exchange.record.outcome, exchange.record.finish, exchange.record.status) == (outcome, "stop", 200)
    assert exchange.record.usage is not None
    assert (exchange.record.usage.input_tokens, exchange.record.usage.output_tokens) == spoken.USAGE


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"], ids=["same", "other"])
@pytest.mark.parametrize("whole", [openai_stream("hello"), openai_stream("hello", finish=False)], ids=["before its end", "without a finish"])
def test_before_it(path: str, whole: list[bytes]) -> None:
    _, exchange, _ = answered(MESSAGES, path, stream=True)
    exchange.handle(piece(b"".join(whole[:-1])))
    exchange.handle(Closed())
    exchange.broken_by(Outcome.CLIENT_GONE)
    assert exchange.record.outcome is Outcome.CLIENT_GONE
