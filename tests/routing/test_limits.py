"""Limits and budgets of one process: what they let through, what they say, what they remember."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.registry.policy import Limit
from extproc.routing.limits import Admitted, Exceeded, Limits, whose
from tests.stages.world import target as a_target

NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC).timestamp()
ACME = {"tenant": "acme", "application": "bot"}


def by_tenant(pattern: str = "*", **amounts: Any) -> tuple[Limit, ...]:
    return (Limit("limits[0]", (("tenant", pattern),), **amounts),)


def ask(
    limits: Limits, rules: Sequence[Limit], wall: float = NOON, who: Mapping[str, str] = ACME, model: str = "chat", tokens: float = 100
) -> Admitted | Exceeded:
    return limits.admit(rules, who, model, lambda: tokens, wall)


def passes(answer: Admitted | Exceeded) -> bool:
    return isinstance(answer, Admitted)


def refused(answer: Admitted | Exceeded) -> Exceeded:
    assert isinstance(answer, Exceeded)
    return answer


@given(st.integers(1, 8), st.lists(st.floats(0, 30), max_size=80), st.floats(0, 10))
def test_no_60_seconds_hold_more_than_the_limit_and_a_refusal_says_when(most: int, pauses: list[float], offset: float) -> None:
    limits, rules, now = Limits(), by_tenant(requests_per_minute=most), NOON + offset
    let_in: list[float] = []
    for pause in pauses:
        now += pause
        answer = ask(limits, rules, now)
        if isinstance(answer, Admitted):
            let_in.append(now)
        else:
            assert 0 < answer.retry_after <= 62.001
            assert not passes(ask(limits, rules, now + answer.retry_after - 0.01)), "later than it had to be"
            now += answer.retry_after
            assert passes(ask(limits, rules, now)), "too early"
            let_in.append(now)
    for at in let_in:
        assert sum(at - 60 < other <= at for other in let_in) <= most


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(1, 400), st.floats(0, 800)), max_size=60))
def test_tokens_are_reserved_and_corrected(requests: list[tuple[float, float, float]]) -> None:
    """Each holds its estimate until its end two seconds later, then what it took; never is more let in than the limit has room for."""
    limits, rules, now = Limits(), by_tenant(tokens_per_minute=1000), NOON
    real: list[tuple[float, float]] = []
    for pause, estimate, taken in requests:
        now += pause
        answer = ask(limits, rules, now, tokens=estimate)
        if isinstance(answer, Admitted):
            before = sum(amount for at, amount in real if at > now - 60)
            assert before + estimate <= 1000 + 1e-3
            limits.settle(answer, taken, 0, now)
            real.append((now, taken))


def test_what_a_request_holds() -> None:
    limits, rules = Limits(), by_tenant(requests_per_minute=3, tokens_per_minute=1000)
    first = ask(limits, rules, tokens=600)
    assert isinstance(first, Admitted)
    assert refused(ask(limits, rules, tokens=600)).what == "1,000 tokens per minute"
    limits.settle(first, 0, 0, NOON + 1)
    assert passes(ask(limits, rules, NOON + 1, tokens=600)), "a failed request gives its tokens back"
    assert passes(ask(limits, rules, NOON + 1, tokens=400))
    assert refused(ask(limits, rules, NOON + 1, tokens=0)).what == "3 requests per minute", "but it counts as a request"


def test_more_tokens_than_estimated_count_once() -> None:
    limits, rules = Limits(), by_tenant(tokens_per_minute=1000)
    answer = ask(limits, rules, tokens=100)
    assert isinstance(answer, Admitted)
    for _ in range(3):
        limits.settle(answer, 900, 0.0, NOON + 30)
    assert passes(ask(limits, rules, NOON + 30, tokens=100))
    # the 100 of the first estimate go by first, what became known later goes by later
    assert refused(ask(limits, rules, NOON + 30, tokens=100)).retry_after == pytest.approx(32, abs=0.01)
    assert refused(ask(limits, rules, NOON + 30, tokens=200)).retry_after == pytest.approx(62, abs=0.01)


def test_a_refused_request_is_counted_nowhere() -> None:
    limits = Limits()
    rules = (Limit("limits[0]", (("application", "*"),), requests_per_minute=5), Limit("limits[1]", (("tenant", "*"),), requests_per_minute=1))
    assert passes(ask(limits, rules))
    for _ in range(10):
        assert refused(ask(limits, rules)).limit.key == "limits[1]"
    for tenant in "bcde":
        assert passes(ask(limits, rules, who={"application": "bot", "tenant": tenant}))
    assert refused(ask(limits, rules, who={"application": "bot", "tenant": "f"})).limit.key == "limits[0]"


def test_the_estimate_is_only_made_where_tokens_are_limited() -> None:
    limits, asked = Limits(), []

    def estimate() -> float:
        asked.append(1)
        return 5.0

    limits.admit(by_tenant(requests_per_minute=5, usd_per_day=1), ACME, "chat", estimate, NOON)
    limits.admit(by_tenant("other", tokens_per_minute=5), ACME, "chat", estimate, NOON)
    assert not asked
    limits.admit((*by_tenant(tokens_per_minute=50), *by_tenant("acme", tokens_per_minute=50)), ACME, "chat", estimate, NOON)
    assert asked == [1]


def test_a_request_that_is_larger_than_the_limit_can_never_pass() -> None:
    answer = refused(ask(Limits(), by_tenant(tokens_per_minute=1000), tokens=1001))
    assert answer.retry_after == math.inf


@pytest.mark.parametrize(("amount", "seconds"), [("usd_per_day", 43200), ("usd_per_month", 43200)])
def test_a_budget_ends_with_its_day_or_month(amount: str, seconds: float) -> None:
    limits, rules = Limits(), by_tenant("acme", **{amount: 1.0})
    for _ in range(2):
        answer = ask(limits, rules)
        assert isinstance(answer, Admitted)
        limits.settle(answer, 50, 0.5, NOON)
    over = refused(ask(limits, rules))
    assert over.retry_after == seconds
    assert over.what == f"1 US dollars per {amount[8:]}"
    assert over.whose == "tenant 'acme'"
    assert passes(ask(limits, rules, who={"tenant": "other"}))
    assert passes(ask(limits, rules, NOON + seconds))


def test_what_ends_after_midnight_is_tomorrows() -> None:
    limits, rules = Limits(), by_tenant(usd_per_day=1)
    answer = ask(limits, rules)
    assert isinstance(answer, Admitted)
    limits.settle(answer, 5, 1, NOON + 43200)
    assert not passes(ask(limits, rules, NOON + 43200))


def test_who_is_counted_together() -> None:
    limits, rules = Limits(), by_tenant(requests_per_minute=1)
    assert passes(ask(limits, rules, who={}))
    over = refused(ask(limits, rules, who={"application": "another"}))
    assert over.whose == "requests without a tenant"
    assert passes(ask(limits, rules, who={"tenant": "acme"}))
    assert passes(ask(limits, rules, who={"tenant": "b"}))
    prefix = by_tenant("team-*", requests_per_minute=1)
    for who in ({}, {"tenant": "acme"}, {"tenant": "tea"}):
        assert passes(ask(limits, prefix, who=who))
        assert passes(ask(limits, prefix, who=who)), "a pattern that it does not match is none of its business"
    assert passes(ask(limits, prefix, who={"tenant": "team-a"}))
    assert passes(ask(limits, prefix, who={"tenant": "team-b"})), "each value apart"
    assert not passes(ask(limits, prefix, who={"tenant": "team-a"}))


def test_combinations_and_everybody() -> None:
    limits = Limits()
    rules = (Limit("limits[0]", (("tenant", "*"), ("model", "gpt-*")), requests_per_minute=1),)
    assert passes(ask(limits, rules, model="gpt-4o"))
    assert passes(ask(limits, rules, model="gpt-5"))
    assert passes(ask(limits, rules, model="claude"))
    assert passes(ask(limits, rules, model="claude"))
    assert refused(ask(limits, rules, model="gpt-5")).whose == "tenant 'acme' and model 'gpt-5'"
    everybody = (Limit("limits[0]", (), requests_per_minute=1),)
    assert passes(ask(limits, everybody))
    assert refused(ask(limits, everybody, who={"tenant": "b"})).whose == "all requests"


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=200), st.text(max_size=200))
def test_different_values_never_share_a_counter(a: str, b: str, c: str, d: str) -> None:
    for by in ((("tenant", "*"),), (("tenant", "*"), ("user", "*"))):
        limits, rules = Limits(), (Limit("limits[0]", by, requests_per_minute=1),)
        assert passes(ask(limits, rules, who={"tenant": a, "user": b}))
        same = a == c and (len(by) == 1 or b == d)
        assert passes(ask(limits, rules, who={"tenant": c, "user": d})) is not same
        assert all(len(key) < 300 for key in limits.export(NOON)["requests"])


def test_a_limit_may_move_and_change_and_two_may_be_on_the_same_thing() -> None:
    limits = Limits()
    for _ in range(3):
        assert passes(ask(limits, by_tenant(requests_per_minute=10)))
    moved = (
        Limit("limits[0]", (("user", "*"),), requests_per_minute=100),
        Limit("limits[1]", (("tenant", "*"),), requests_per_minute=5),
        Limit("limits[2]", (("tenant", "*"),), requests_per_minute=4, instead="small"),
    )
    assert passes(ask(limits, moved))
    over = refused(ask(limits, moved))
    assert over.limit.key == "limits[2]"
    assert limits.export(NOON)["requests"]["tenant:*|acme"] == 4


def test_what_is_only_counted() -> None:
    limits, rules = Limits(), by_tenant(requests_per_minute=1)
    assert passes(limits.admit(rules, ACME, "chat", lambda: 0, NOON))
    assert passes(limits.admit(rules, ACME, "chat", lambda: 0, NOON, passed={"limits[0]"}))
    assert limits.export(NOON)["requests"] == {"tenant:*|acme": 2}


def test_targets() -> None:
    limits = Limits()
    target = a_target("a", keys=("x", "y"))
    assert limits.full(target, "a@x", 10**6, 1e9, NOON) is None
    limits.sent(target, "a@x", 100, NOON)
    assert len(limits) == 0, "what has no limits costs nothing"
    object.__setattr__(target, "concurrency", 2)
    assert limits.full(target, "a@x", 1, 0, NOON) is None
    full = limits.full(target, "a@x", 2, 0, NOON)
    assert full is not None
    assert (full.code, full.seconds) == ("concurrency", 0)
    object.__setattr__(target, "requests_per_minute", 2.0)
    object.__setattr__(target, "tokens_per_minute", 1000.0)
    limits.sent(target, "a@x", 700, NOON)
    full = limits.full(target, "a@x", 0, 400, NOON + 10)
    assert full is not None
    assert full.code == "tokens_per_minute"
    assert full.seconds == pytest.approx(52, abs=0.01)
    limits.took(target, "a@x", 700, 0, NOON, NOON + 10)
    assert limits.full(target, "a@x", 0, 400, NOON + 10) is None
    limits.sent(target, "a@x", 10, NOON + 10)
    limits.took(target, "a@x", 10, 990, NOON + 10, NOON + 11)
    full = limits.full(target, "a@x", 0, 5, NOON + 11)
    assert full is not None
    assert full.code == "requests_per_minute"
    full = limits.full(target, "a@x", 0, 50, NOON + 63)
    assert full is not None
    assert full.code == "tokens_per_minute"
    assert limits.full(target, "a@y", 0, 50, NOON + 11) is None, "each key has limits of its own"


def test_money_of_a_process_alone_outlives_it() -> None:
    alone = (Limit("limits[0]", (("tenant", "*"),), usd_per_month=1, usd_per_day=1, shared=False),)
    before = Limits()
    answer = ask(before, alone)
    assert isinstance(answer, Admitted)
    before.settle(answer, 5, 1.0, NOON)
    assert before.export(NOON) == {"requests": {}, "tokens": {}, "day:2026-01-31": {}, "month:2026-01": {}}, "nobody else's business"
    after = Limits()
    after.load({**before.dump(NOON), "day:2025-01-01": {"process tenant:*|b": 7.0}}, NOON + 60)
    assert not passes(ask(after, alone, NOON + 60))
    assert passes(ask(after, alone, NOON + 60, who={"tenant": "b"}))
    tomorrow = Limits()
    tomorrow.load(before.dump(NOON), NOON + 86400)
    assert passes(ask(tomorrow, alone, NOON + 86400))


def test_messages_name_who_without_their_whole_name() -> None:
    assert whose((("tenant", "*"), ("user", "*")), {"tenant": "x" * 500}, "m") == f"tenant {'x' * 80!r} and requests without a user"


def test_many_threads() -> None:
    limits, rules = Limits(), by_tenant(requests_per_minute=1e9, tokens_per_minute=1e12, usd_per_day=1e9)
    broken: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(2000):
                answer = ask(limits, rules, NOON + i * 0.1, who={"tenant": f"t{i % 7}"})
                assert isinstance(answer, Admitted)
                limits.settle(answer, 7, 0.01, NOON + i * 0.1)
                if i % 100 == number:
                    limits.absorb({"other": limits.export(NOON + i * 0.1)}, NOON + i * 0.1)
        except BaseException as error:
            broken.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not broken
