"""The plan: small, complete, and the same when it comes back."""

from __future__ import annotations

import pytest

from extproc.core.errors import ApiError, ErrorKind
from extproc.core.headers import CLIENT_KEPT, KEPT_LIMIT, foreign_headers, is_safe_segment, kept, kept_query
from extproc.core.plan import ATTEMPTS_NAMESPACE, AttemptNote, Plan, attempt_notes, clusters_of, groups


def plan() -> Plan:
    return Plan(
        model="m" * 60,
        asked="a" * 60,
        dialect="anthropic_messages",
        stream=True,
        complete=False,
        total=10,
        same=1,
        wait=5.0,
        first_token=20.0,
        stall=30.0,
        unary=120.0,
        deadline_at=1764000000.123,
        digest="0123456789ab",
        rid="06acb5a6-f80a-4e9e-8396-7da48b8740b8",
        key="k" * 24,
        span="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
        query="beta=true",
        headers={"anthropic-version": "2023-06-01", "anthropic-beta": "b" * 300},
    )


def test_a_large_plan_with_its_chain_stays_under_2_kb() -> None:
    chain = groups([f"a-rather-long-target-name-{i}@key" for i in range(10)])
    assert len(plan().dumps()) + len(str(chain)) < 2048


def test_round_trip() -> None:
    assert Plan.loads(plan().dumps()) == plan()
    assert clusters_of(groups(["a", "b", "a"])) == ["a", "b", "a"]


def test_group_names_are_unique_even_for_a_repeated_cluster() -> None:
    names = [g["name"] for g in groups(["a", "a", "a"])]
    assert len(set(names)) == len(names)


def test_notes_come_back_in_the_order_of_the_attempts() -> None:
    notes = [AttemptNote(n, f"t{n}", float(n)) for n in (2, 10, 1)]
    notes[0].fail(ApiError(ErrorKind.RATE_LIMITED, "x" * 5000, code="c", param="p", retry_after=3.0))
    back = attempt_notes({ATTEMPTS_NAMESPACE: {f"a{n.n}": n.dumps() for n in notes}, "other": {"a9": "not json"}})
    assert [n.n for n in back] == [1, 2, 10]
    error = back[1].error()
    assert (error.kind, error.code, error.param, error.retry_after) == (ErrorKind.RATE_LIMITED, "c", "p", 3.0)
    assert len(error.message) == AttemptNote.MESSAGE_LIMIT


def test_only_a_few_headers_of_a_client_travel_and_each_is_bounded() -> None:
    headers = dict.fromkeys(CLIENT_KEPT, "item-of-a-list," * 500) | {"cookie": "c", "authorization": "k"}
    found = kept(headers)
    assert set(found) == set(CLIENT_KEPT)
    for value in found.values():
        assert KEPT_LIMIT - 15 < len(value) <= KEPT_LIMIT
        assert set(value.split(",")) == {"item-of-a-list"}, "items are kept whole or not at all"
    assert kept({"anthropic-beta": "x" * 5000}) == {}


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("beta=true", "beta=true"),
        ("key=SECRET&beta=true&x=1", "beta=true"),
        ("key=SECRET", ""),
        ("api_key=SECRET&notbeta=1", ""),
        ("beta=" + "s" * 33, ""),
        ("beta=a%0d%0ab", ""),
        ("", ""),
    ],
)
def test_a_key_in_the_query_does_not_leave(query: str, left: str) -> None:
    assert kept_query(query) == left


def test_what_nobody_thought_of_does_not_leave() -> None:
    seen = {":path": "/", "x-internal-token": "t", "cookie": "c", "baggage": "b", "content-type": "t", "x-request-id": "r", "x-envoy-x": "1"}
    assert foreign_headers(seen, {"content-type": "t"}) == ["x-internal-token", "cookie", "baggage"]


def test_model_names_in_paths() -> None:
    for good in ("gpt-4o", "gemini-2.5-flash", "ft:gpt-4o:org::id", "a@b", "x+y"):
        assert is_safe_segment(good), good
    for bad in ("", "..", "../x", "a/b", "a%2Fb", "a?b", "a#b", ".hidden", "a..b", "a b", "a\n", "é", "x" * 300):
        assert not is_safe_segment(bad), bad
