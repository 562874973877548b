"""Trace context from headers: what is valid continues, everything else starts anew, nothing raises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import TraceState

from extproc.telemetry.traceparent import ChatContext, SpanParent, parent_of_request, parse_traceparent

T, S, E = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "b7ad6b7169203331"


def test_round_trip() -> None:
    context = ChatContext(T, S, 1)
    assert context.dumps() == f"00-{T}-{S}-01"
    assert parse_traceparent(context.dumps()) == context
    assert context.sampled
    assert not ChatContext(T, S, 0).sampled


@pytest.mark.parametrize(
    "text",
    [
        None, "", "-", f"00-{T}-{S}", f"00-{T}-{S}-01-x", f"ff-{T}-{S}-01", f"00-{'0' * 32}-{S}-01", f"00-{T}-{'0' * 16}-01",
        f"00-{T.upper()}-{S}-01", f"00-{T}-{S}-1", f" 00-{T}-{S}-01", f"00-{T}-{S}-01\n", f"00-{T}-{S}-٠١",
    ],
)  # fmt: skip
def test_malformed_traceparent_is_none(text: str | None) -> None:
    assert parse_traceparent(text) is None


def test_a_future_version_may_be_longer() -> None:
    assert parse_traceparent(f"01-{T}-{S}-01-what-comes") == ChatContext(T, S, 1)


@pytest.mark.parametrize(
    ("envoy", "caller", "state", "parent"),
    [
        (f"{T}-{E}", f"00-{T}-{S}-01", "v=1", SpanParent(T, E, True, "v=1")),
        (f"{T}-{E}", f"00-{T}-{S}-00", "v=1", SpanParent(T, E, False, "v=1")),
        (f"{T}-{E}", None, None, SpanParent(T, E, None)),
        (f"{T}-{E}", f"00-{'a' * 32}-{S}-00", "v=1", SpanParent(T, E, None)),
        ("-", f"00-{T}-{S}-01", "v=1", SpanParent(T, S, True, "v=1")),
        ("---", f"00-{T}-{S}-00", None, SpanParent(T, S, False)),
        (None, f"00-{T}-{S}-01", None, SpanParent(T, S, True)),
        (f"{'0' * 32}-{'0' * 16}", None, None, None),
        ("-", None, "v=1", None),
        (None, "nonsense", "v=1", None),
    ],
)
def test_the_parent_is_envoys_span_else_the_callers(envoy: str | None, caller: str | None, state: str | None, parent: SpanParent | None) -> None:
    assert parent_of_request(envoy, caller, state) == parent


@pytest.mark.parametrize("state", ["a=1,a=2", "A=1", "a", "a=1,b", "a=é", "a=1," * 200, ",".join(f"k{i}=1" for i in range(33)), "a=" + "x" * 600])
def test_invalid_tracestate_is_dropped_whole(state: str) -> None:
    parent = parent_of_request(None, f"00-{T}-{S}-01", state)
    assert parent is not None
    assert parent.tracestate == ""


def test_hostile_tracestate_costs_little() -> None:
    """A single pattern over the list would need more steps than there are atoms; this returns at all."""
    parent = parent_of_request(None, f"00-{T}-{S}-01", ("," + " " * 15) * 31 + "!")
    assert parent == SpanParent(T, S, True)


@given(st.text(), st.text(), st.text(alphabet="ab=,@ \t1-/", max_size=60))
def test_total(envoy: str, caller: str, state: str) -> None:
    assert parent_of_request(envoy, caller, state) is None
    parent = parent_of_request(None, f"00-{T}-{S}-01", state)
    assert parent is not None
    if parent.tracestate:
        assert TraceState.from_header([parent.tracestate]).to_header() == parent.tracestate
