"""Verdicts: the table, and what each failure does to the chain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.errors import ApiError, ErrorKind
from extproc.core.verdict import ACTION, KEY_COOL_DOWN, Action, Verdict, decide

K = ErrorKind


def verdict(
    kind: ErrorKind,
    made: str = "a",
    standing: str = "bc",
    *,
    retry_after: float | None = None,
    total: int = 4,
    same: int = 1,
    wait: float = 5.0,
    larger: str = "",
    siblings: str = "",
) -> Verdict:
    """Clusters are letters; `siblings` are other keys of the target in work."""
    return decide(
        ApiError(kind, "x", retry_after=retry_after),
        made=list(made),
        standing=list(standing),
        total=total,
        same=same,
        wait=wait,
        siblings=lambda c: c in siblings,
        larger=lambda c: c in larger,
    )


def test_every_kind_has_an_action() -> None:
    assert set(ACTION) == set(ErrorKind)


@pytest.mark.parametrize(
    ("kind", "retry", "successors"),
    [
        (K.INTERNAL, True, "abc"),
        (K.UNAVAILABLE, True, "abc"),
        (K.OVERLOADED, True, "abc"),
        (K.TIMEOUT, True, None),
        (K.TOO_LARGE, True, None),
        (K.AUTHENTICATION, True, None),
        (K.PERMISSION, True, None),
        (K.NOT_FOUND, True, None),
        (K.QUOTA, True, None),
        (K.RATE_LIMITED, True, None),
        (K.INVALID_REQUEST, False, None),
        (K.CONTENT_FILTER, False, None),
        (K.UNPROCESSABLE, False, None),
    ],
)
def test_first_failure_of_a_chain(kind: ErrorKind, retry: bool, successors: str | None) -> None:
    found = verdict(kind)
    assert (found.retry, found.successors) == (retry, list(successors) if successors else None)


def test_a_transient_failure_repeats_the_target_only_as_often_as_allowed() -> None:
    assert verdict(K.INTERNAL, "aa", "bc").successors is None
    assert verdict(K.INTERNAL, "aa", "bc").retry
    assert verdict(K.INTERNAL, "a", "bc", same=0).successors is None
    assert verdict(K.INTERNAL, "aa", "bc", same=2).successors == ["a", "b", "c"]


def test_nothing_is_retried_beyond_the_total() -> None:
    assert not verdict(K.INTERNAL, "aabc", "", total=4).retry
    assert not verdict(K.TIMEOUT, "abcd", "e", total=4).retry


def test_a_short_retry_after_waits_for_the_same_target() -> None:
    found = verdict(K.RATE_LIMITED, retry_after=1.2)
    assert (found.successors, found.backoff, found.cool_down) == (["a", "b", "c"], 2, 0.0)


def test_a_long_retry_after_goes_on_and_cools_the_target_down() -> None:
    found = verdict(K.RATE_LIMITED, retry_after=20.0)
    assert (found.retry, found.successors, found.backoff, found.cool_down) == (True, None, 0, 20.0)


@pytest.mark.parametrize(("after", "wait"), [(4.2, 4.5), (None, 0.0), (0.3, 0.5)])
def test_a_pause_in_whole_seconds_is_never_longer_than_allowed(after: float | None, wait: float) -> None:
    assert verdict(K.RATE_LIMITED, "a", "", retry_after=after, wait=wait).backoff == 0


def test_a_limited_last_target_without_a_word_is_asked_once_more() -> None:
    found = verdict(K.RATE_LIMITED, "ba", "")
    assert (found.retry, found.successors, found.backoff) == (True, ["a"], 1)
    assert not verdict(K.RATE_LIMITED, "baa", "").retry


def test_a_limited_key_gives_way_to_its_sibling_first() -> None:
    found = verdict(K.RATE_LIMITED, standing="bcA", retry_after=1.0, siblings="A")
    assert (found.successors, found.backoff, found.cool_down) == (["A", "b", "c"], 0, 1.0)


def test_a_refused_key_alarms_and_tries_the_sibling_first() -> None:
    found = verdict(K.AUTHENTICATION, standing="bcA", siblings="A")
    assert (found.successors, found.alarm, found.cool_down) == (["A", "b", "c"], True, KEY_COOL_DOWN)


def test_an_outage_leaves_the_siblings_for_last() -> None:
    assert verdict(K.TIMEOUT, standing="Abc", siblings="A").successors == ["b", "c", "A"]


def test_context_length_looks_for_a_larger_window_or_gives_the_error() -> None:
    assert verdict(K.CONTEXT_LENGTH, larger="c").successors == ["c"]
    assert not verdict(K.CONTEXT_LENGTH).retry


@given(
    st.sampled_from(list(ErrorKind)),
    st.text("ab", min_size=1, max_size=5),
    st.text("abcA", max_size=4),
    st.floats(0, 100),
    st.integers(1, 6),
    st.integers(0, 3),
)
def test_a_verdict_is_always_something_envoy_can_do(kind: ErrorKind, made: str, standing: str, after: float, total: int, same: int) -> None:
    found = verdict(kind, made, standing, retry_after=after or None, total=total, same=same, siblings="A", larger="c")
    if found.retry:
        assert len(made) < total
        order = found.successors if found.successors is not None else list(standing)
        assert order, "a retry needs somewhere to go"
    assert found.backoff == int(found.backoff) <= 30, "Envoy takes whole seconds, and ignores more than its maximum"
    assert found.backoff == 0 or found.action is Action.WAIT
    if ACTION[kind] is Action.STOP:
        assert not found.retry
