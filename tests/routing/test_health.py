"""When a cluster is left out, for how long, who probes it, and what brings it back."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.errors import ErrorKind
from extproc.routing.breaker import TABLE, Breaker, Event, Patience, State
from extproc.routing.health import LAST_RESORTS, SAYS, Health, Out


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def fail(health: Health, clock: Clock, times: int = 1) -> None:
    for _ in range(times):
        health.failed("a", clock.now)


def opened() -> tuple[Health, Clock]:
    clock = Clock()
    health = Health(clock)
    fail(health, clock, 2)
    return health, clock


def test_every_state_knows_every_event() -> None:
    assert {state: set(row) for state, row in TABLE.items()} == {state: set(Event) for state in State}


def test_every_kind_of_error_says_something_about_health_or_nothing_on_purpose() -> None:
    assert set(SAYS) == set(ErrorKind)


def test_two_failures_in_a_row_leave_it_out_for_five_seconds() -> None:
    clock = Clock()
    health = Health(clock)
    fail(health, clock)
    assert health.why("a") is None
    fail(health, clock)
    assert health.why("a") == (Out.FAILING, 5.0)
    assert Out.FAILING in LAST_RESORTS
    assert health.why("b") is None
    clock.now += 4.9
    assert health.why("a") is not None
    clock.now += 0.1
    assert health.why("a") is None


def test_an_answer_between_them_starts_the_count_again() -> None:
    clock = Clock()
    health = Health(clock)
    for _ in range(5):
        fail(health, clock)
        clock.now += 1
        health.recovered("a", clock.now - 2)
    assert health.why("a") is None


def test_failures_far_apart_are_not_in_a_row() -> None:
    clock = Clock()
    health = Health(clock)
    fail(health, clock)
    clock.now += 61
    fail(health, clock)
    assert health.why("a") is None
    fail(health, clock)
    assert health.why("a") is not None


@pytest.mark.parametrize("kind", [k for k, event in SAYS.items() if event is not Event.FAILED])
def test_neither_the_clients_fault_nor_a_limit_counts(kind: ErrorKind) -> None:
    clock = Clock()
    health = Health(clock)
    for _ in range(10):
        health.refused("a", kind, clock.now)
    assert health.why("a") is None


@pytest.mark.parametrize(
    ("kind", "in_a_row"),
    [(ErrorKind.RATE_LIMITED, True), (ErrorKind.QUOTA, True), (ErrorKind.CONTENT_FILTER, False), (ErrorKind.INVALID_REQUEST, False)],
)
def test_a_sound_refusal_breaks_the_row_and_a_limit_does_not(kind: ErrorKind, in_a_row: bool) -> None:
    clock = Clock()
    health = Health(clock)
    health.refused("a", ErrorKind.UNAVAILABLE, clock.now)
    health.refused("a", kind, clock.now)
    health.refused("a", ErrorKind.INTERNAL, clock.now)
    assert (health.why("a") is not None) is in_a_row


def test_one_probe_at_a_time() -> None:
    health, clock = opened()
    clock.now += 5
    assert health.why("a") is None
    assert health.why("a") is None, "asking takes nothing"
    health.taken("a")
    assert health.why("a") == (Out.FAILING, 5.0)
    clock.now += 1
    health.taken("a")
    assert health.why("a") == (Out.FAILING, 4.0), "the second is no probe"


def test_an_unfinished_probe_expires() -> None:
    health, clock = opened()
    clock.now += 5
    health.taken("a")
    clock.now += 5
    assert health.why("a") is None
    health.taken("a")
    assert health.why("a") is not None


def test_the_probes_answer_brings_it_back() -> None:
    health, clock = opened()
    clock.now += 5
    health.taken("a")
    asked = clock.now
    clock.now += 1
    health.recovered("a", asked)
    assert health.why("a") is None
    fail(health, clock)
    assert health.why("a") is None, "the count began anew"


def test_failed_probes_double_the_pause_up_to_a_cap() -> None:
    health, clock = opened()
    pauses = []
    for _ in range(5):
        why = health.why("a")
        assert why is not None
        pauses.append(why[1])
        clock.now += why[1]
        health.taken("a")
        fail(health, clock)
    assert pauses == [5.0, 10.0, 20.0, 20.0, 20.0]


def test_who_fails_again_soon_is_out_for_longer_and_after_a_quiet_time_not() -> None:
    health, clock = opened()
    for quiet, pause in ((1.0, 10.0), (1.0, 20.0), (61.0, 5.0)):
        why = health.why("a")
        assert why is not None
        clock.now += why[1]
        health.recovered("a", clock.now)
        clock.now += quiet
        fail(health, clock, 2)
        assert health.why("a") == (Out.FAILING, pause)


def test_requests_from_before_prove_nothing() -> None:
    """Of fifty under way all fail; the pause is still the first one, and no old answer ends it."""
    clock = Clock()
    health = Health(clock)
    before = clock.now
    clock.now += 1
    for _ in range(50):
        health.failed("a", before)
    assert health.why("a") == (Out.FAILING, 5.0)
    clock.now += 1
    health.recovered("a", before)
    assert health.why("a") == (Out.FAILING, 4.0)
    clock.now += 5
    health.failed("a", before)
    assert health.why("a") is None, "not the probe"
    asked = clock.now
    health.taken("a")
    clock.now += 1
    health.recovered("a", asked)
    for _ in range(50):
        health.failed("a", asked - 1)
    assert health.why("a") is None, "time-outs of the bad time come in late"


def test_a_last_resort_that_is_answered_ends_it_and_one_that_fails_changes_nothing() -> None:
    health, clock = opened()
    clock.now += 1
    for _ in range(10):
        fail(health, clock)
    assert health.why("a") == (Out.FAILING, 4.0)
    health.recovered("a", clock.now)
    assert health.why("a") is None


def test_streams_that_are_cut_count_although_each_began_well() -> None:
    clock = Clock()
    health = Health(clock)
    for _ in range(2):
        health.recovered("a", clock.now)
        health.broken_off("a", clock.now)
    assert health.why("a") == (Out.FAILING, 5.0)


def test_a_whole_answer_between_cut_ones_starts_the_count_again() -> None:
    clock = Clock()
    health = Health(clock)
    for _ in range(5):
        health.recovered("a", clock.now)
        health.broken_off("a", clock.now)
        health.recovered("a", clock.now)
        health.finished("a", clock.now)
    assert health.why("a") is None


def test_traffic_is_back_within_half_a_minute_of_recovery() -> None:
    """However long it was down, with a request every tenth of a second; also where probes hang for twenty seconds."""
    for hanging in (0.0, 20.0):
        for outage in range(20, 130, 3):
            assert recovery(float(outage), hanging) <= 30.0


def recovery(outage: float, hanging: float) -> float:
    """Seconds from the end of an outage to the first answered request."""
    clock = Clock(0.0)
    health = Health(clock)
    fails: list[tuple[float, float]] = []
    while True:
        clock.now = round(clock.now + 0.1, 1)
        while fails and fails[0][0] <= clock.now:
            health.failed("a", fails.pop(0)[1])
        if health.why("a") is None:
            health.taken("a")
            if clock.now >= outage:
                return clock.now - outage
            fails.append((clock.now + hanging, clock.now))


def test_cool_downs_and_activity_come_before_the_breaker() -> None:
    health, clock = opened()
    health.cool_down("a", 30, Out.KEY_REFUSED)
    assert health.why("a") == (Out.KEY_REFUSED, 30.0)
    clock.now += 1
    health.recovered("a", clock.now)
    assert health.why("a") is None
    health.active = frozenset()
    fail(health, clock, 2)
    assert health.why("a") == (Out.INACTIVE, 0.0), "Envoy would not find it"


def test_clusters_that_are_gone_are_forgotten() -> None:
    health, _ = opened()
    health.cool_down("b", 10, Out.LIMITED)
    health.cool_down("c", 10, Out.LIMITED)
    health.keep({"c"})
    assert (health.why("a"), health.why("b")) == (None, None)
    assert health.why("c") is not None
    health.forget()
    assert health.why("c") is None


def test_what_readers_see() -> None:
    health, clock = opened()
    assert health.state("a") == {"breaker": "open", "out": "failing", "seconds": 5.0}
    clock.now += 5
    assert health.state("a") == {"breaker": "half_open"}
    assert health.state("b") == {"breaker": "closed"}


QUARTERS = st.integers(0, 120).map(lambda n: n / 4)
EVENTS = st.lists(st.tuples(st.sampled_from(Event), QUARTERS, QUARTERS), max_size=60)


@given(EVENTS)
def test_laws(events: list[tuple[Event, float, float]]) -> None:
    """Whatever happens: a pause is 5, 10 or 20 s; it opens only by a failure that is not older than what it knows; an answer to a request that was
    asked since it opened always closes it; nothing else ends a pause early; it never stays out by itself for longer than a pause or a probe."""
    now = 0.0
    breaker = Breaker(Patience())
    opening = None
    for event, later, age in events:
        now += later
        before, out = breaker.state(now), breaker.out(now)
        if event is Event.TAKEN:
            age = 0.0
        breaker.on(event, now, now - age)
        after = breaker.state(now)
        if after is State.OPEN and before is not State.OPEN:
            assert event in (Event.FAILED, Event.BROKEN_OFF)
            assert breaker.out(now) in (5.0, 10.0, 20.0)
            opening = now
        elif before is State.OPEN and after is State.OPEN:
            assert breaker.out(now) == out, "nothing moves a pause"
        if before is not State.CLOSED and after is State.CLOSED:
            assert event is Event.ANSWERED
        if opening is not None and event is Event.ANSWERED and now - age >= opening:
            assert after is State.CLOSED
        if before is State.HALF_OPEN and out is None and event is Event.TAKEN:
            assert breaker.out(now) == 5.0
        left = breaker.out(now)
        assert left is None or breaker.out(now + left) is None, "out for a pause or for a probe, never for good"
