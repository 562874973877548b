"""Counts over time: what a sliding minute promises, what is forgotten and what is not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.routing import windows
from extproc.routing.windows import MINUTE, SLOT, Minute, Minutes, Period, slot_of

START = datetime(2026, 1, 31, 23, 59, 0, tzinfo=UTC).timestamp()
steps = st.lists(st.tuples(st.floats(0, 20), st.integers(1, 5)), max_size=60)


@given(steps)
def test_a_minute_holds_all_of_the_last_60_seconds_and_nothing_older_than_62(steps: list[tuple[float, int]]) -> None:
    minute, now, added = Minute(slot_of(START)), START, []
    for pause, amount in steps:
        now += pause
        minute.add(amount, slot_of(now))
        added.append((now, amount))
        used = minute.used(slot_of(now))
        assert used >= sum(a for at, a in added if at > now - MINUTE)
        assert used <= sum(a for at, a in added if at > now - MINUTE - SLOT)


def test_what_is_given_back_was_there() -> None:
    minute, slot = Minute(100), 100
    minute.add(10, slot)
    minute.give_back(4, 100, 105)
    assert minute.used(105) == 6
    minute.give_back(100, 100, 105)
    assert minute.used(105) == 0
    minute.add(3, 140)
    minute.give_back(3, 100, 140)
    assert minute.used(140) == 3, "what has gone by cannot be given back"


def test_a_clock_that_is_set_back() -> None:
    minute = Minute(1000)
    minute.add(5, 1000)
    minute.add(1, 995)
    assert minute.used(995) == 6, "a little: nothing is lost"
    minute.add(1, 100)
    assert minute.used(100) == 1, "by far: what is in the future would never go by"


def test_names_that_come_once_push_nothing_out_that_is_in_use() -> None:
    minutes, slot = Minutes(), slot_of(START)
    for number in range(3 * windows.MOST):
        minutes.add(f"hostile-{number}", 1, slot)
        if number % 1000 == 0:
            minutes.add("acme", 1, slot)
    assert len(minutes) <= windows.MOST
    found = minutes.find("acme", slot)
    assert found is not None
    assert found.used(slot) == 3 * windows.MOST / 1000


def test_keys_in_steady_use_stay_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MOST", 100)
    minutes = Minutes()
    for turn in range(50):
        for number in range(40 + turn * 10):
            minutes.add(f"tenant-{number}", 1, 1000 + turn)
        assert len(minutes) <= 100


def test_what_is_empty_goes() -> None:
    minutes, slot = Minutes(), slot_of(START)
    minutes.add("acme", 1, slot)
    minutes.add("other", 1, slot + 31)
    assert minutes.used(slot + 31) == {"other": 1}
    minutes.add("third", 1, slot + 62)
    assert minutes.find("acme", slot + 62) is None
    assert minutes.find("other", slot + 62) is not None


def test_what_finding_nothing_costs() -> None:
    minutes = Minutes()
    assert minutes.find("nobody", 1) is None
    assert len(minutes) == 0


def test_days_and_months_begin_at_midnight_of_utc() -> None:
    day, month = Period(month=False), Period(month=True)
    for period in (day, month):
        period.add("acme", 2.5, START)
    assert (day.name, month.name) == ("day:2026-01-31", "month:2026-01")
    assert day.left(START) == month.left(START) == 60
    for period in (day, month):
        period.add("acme", 1, START + 60)
        assert period.at(START + 60) == {"acme": 1}
    assert (day.name, month.name) == ("day:2026-02-01", "month:2026-02")
    assert day.left(START + 60) == 86400
    assert month.left(START + 60) == 28 * 86400
    december = datetime(2026, 12, 5, tzinfo=UTC).timestamp()
    assert month.left(december) == 27 * 86400


def test_a_clock_that_is_set_back_over_midnight_loses_no_money() -> None:
    day = Period(month=False)
    day.add("acme", 5, START + 60)
    assert day.at(START + 59) == {"acme": 5}


def test_too_many_who_spend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MOST", 100)
    day = Period(month=False)
    day.add("acme", 5, START)
    for number in range(1000):
        day.add(f"hostile-{number}", 0.001, START)
    assert len(day.at(START)) <= 100
    assert day.at(START)["acme"] == 5
