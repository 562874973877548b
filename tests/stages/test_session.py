"""Which conversation a request belongs to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from extproc.core.dialect import Ask
from extproc.dialects.catalog import DIALECTS
from extproc.registry.policy import Affinity
from extproc.registry.types import Model
from extproc.routing.signals import RequestSignals
from extproc.stages.session import session_of
from tests.stages.world import registry, target

MODEL = replace(registry(target("a")).models["chat"], affinity=Affinity())
TURN: list[dict[str, Any]] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is Oslo?"}]


def session(messages: list[dict[str, Any]], model: Model = MODEL, headers: dict[str, str] | None = None, **who: str) -> str:
    client = DIALECTS["openai_chat"]
    body = {"model": "chat", "messages": messages}
    signals = RequestSignals(client, body, Ask("chat"), client.needs(body), headers or {}, who, 0.0)
    return session_of(model, headers or {}, who, signals)


def test_all_turns_of_a_conversation_are_one_session() -> None:
    later = [*TURN, {"role": "assistant", "content": "In Norway."}, {"role": "user", "content": "And Bergen?"}]
    assert session(TURN) == session(later) != ""
    assert session(TURN) != session([TURN[0], {"role": "user", "content": "Where is Rome?"}])
    assert session(TURN) != session(TURN[1:])


def test_the_same_words_of_two_tenants_are_two_sessions() -> None:
    assert session(TURN, tenant="a") != session(TURN, tenant="b")
    said = {"x-llm-session": "s1"}
    assert session(TURN, headers=said, tenant="a") != session(TURN, headers=said, tenant="b")
    assert session(TURN, headers=said, tenant="a", user="x") != session(TURN, headers=said, tenant="a", user="y")


def test_what_the_client_says_goes_before_what_it_writes_and_is_bounded() -> None:
    said = {"x-llm-session": "s1"}
    assert session(TURN, headers=said) == session(TURN[1:], headers=said) != session(TURN)
    assert len(session(TURN, headers={"x-llm-session": "s" * 100_000})) < 1000
    assert len(session([{"role": "user", "content": "w " * 1_000_000}])) < 5000


def test_a_model_that_goes_by_no_session_reads_no_prompt() -> None:
    assert session(TURN, registry(target("a")).models["chat"]) == ""
    assert session(TURN, replace(MODEL, affinity=None, sticky_by="session")) != ""
    assert session([{"role": "system", "content": "alone"}]) == ""
