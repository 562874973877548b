"""What an attempt is worth: bounds, order, and who teaches nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.errors import ErrorKind
from extproc.core.usage import Usage
from extproc.registry.policy import Objectives
from extproc.routing.reward import reward, worth
from extproc.routing.statistics import CLIENT_GONE, OK, Sample

OBJECTIVES = Objectives(first_token=2.0, per_token=0.05, usd_per_request=0.02)
AT_OBJECTIVE = Sample("a", "chat", OK, 12.0, True, 2.0, 0.05, Usage(100, 200), 0.02)
seconds = st.floats(0.0, 1e6)


def of(sample: Sample) -> float:
    found = reward(sample, OBJECTIVES)
    assert found is not None
    return found


def test_at_its_objectives_each_measure_is_worth_half() -> None:
    assert of(AT_OBJECTIVE) == pytest.approx((1.0 + 0.5 + 0.5) / 3.0)


def test_free_and_immediate_is_worth_one() -> None:
    assert of(replace(AT_OBJECTIVE, seconds=0.0, first_token=0.0, per_token=0.0, usd=0.0)) == 1.0


def test_a_whole_answer_is_measured_by_its_duration_for_its_length() -> None:
    whole = replace(AT_OBJECTIVE, stream=False, first_token=None, per_token=None, seconds=2.0 + 200 * 0.05)
    assert of(whole) == pytest.approx(of(AT_OBJECTIVE))
    assert of(replace(whole, usage=Usage(100, 20))) < of(whole)


def test_what_was_not_measured_is_left_out() -> None:
    assert of(replace(AT_OBJECTIVE, usd=None)) == pytest.approx((1.0 + 0.5) / 2.0)
    assert of(replace(AT_OBJECTIVE, per_token=None)) == pytest.approx(of(AT_OBJECTIVE))
    # a stream whose beginning nobody saw: its duration, against the objective of the first token alone where no tokens were counted
    bare = replace(AT_OBJECTIVE, first_token=None, per_token=None, usage=None, seconds=2.0)
    assert of(bare) == pytest.approx(of(AT_OBJECTIVE))


@pytest.mark.parametrize(
    "outcome", ["cut", "stalled", "no_answer", *(k.value for k in (ErrorKind.RATE_LIMITED, ErrorKind.UNAVAILABLE, ErrorKind.QUOTA))]
)
def test_a_failure_is_worth_nothing_however_fast_and_cheap(outcome: str) -> None:
    assert reward(replace(AT_OBJECTIVE, outcome=outcome, seconds=0.0, usd=0.0), OBJECTIVES) == 0.0


@pytest.mark.parametrize(
    "outcome", [CLIENT_GONE, *(k.value for k in (ErrorKind.INVALID_REQUEST, ErrorKind.CONTENT_FILTER, ErrorKind.CONTEXT_LENGTH))]
)
def test_what_is_not_the_target_s_doing_teaches_nothing(outcome: str) -> None:
    assert reward(replace(AT_OBJECTIVE, outcome=outcome), OBJECTIVES) is None


@given(seconds, seconds, seconds, st.floats(0.0, 1e4), st.integers(0, 10**6), st.booleans())
def test_an_answer_is_always_worth_more_than_a_failure(total: float, first: float, each: float, usd: float, tokens: int, stream: bool) -> None:
    assert 1.0 / 3.0 <= of(Sample("a", "chat", OK, total, stream, first, each, Usage(1, tokens), usd)) <= 1.0


@given(st.floats(0.0, 1e3), st.floats(0.0, 1e3))
def test_more_is_never_worth_more(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert worth(low, 2.0) >= worth(high, 2.0)
    assert of(replace(AT_OBJECTIVE, usd=low)) >= of(replace(AT_OBJECTIVE, usd=high))
    assert of(replace(AT_OBJECTIVE, first_token=low)) >= of(replace(AT_OBJECTIVE, first_token=high))
