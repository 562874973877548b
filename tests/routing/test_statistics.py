"""What is measured, how it fades, what replicas and restarts carry over, and that it stays bounded."""

from __future__ import annotations

import threading
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.errors import ErrorKind
from extproc.core.usage import Usage
from extproc.routing.measured import BLAMELESS, HALF_LIFE, OUTCOMES, TAU
from extproc.routing.sketch import GROWTH, SMALLEST, Sketch
from extproc.routing.statistics import CLIENT_GONE, CUT, NO_ANSWER, OK, REPLICAS, Sample, Statistics


def sample(outcome: str = OK, *, cluster: str = "a", seconds: float = 2.0, **more: Any) -> Sample:
    return Sample(cluster, "chat", outcome, seconds, **more)


def recorded(*samples: Sample, now: float = 100.0, every: float = 1.0) -> tuple[Statistics, float]:
    statistics = Statistics()
    for n, one in enumerate(samples):
        statistics.record(one, now + n * every)
    return statistics, now + max(len(samples) - 1, 0) * every


def test_nothing_is_known_of_nobody() -> None:
    statistics = Statistics()
    measured = statistics.of("a")
    assert (measured.requests, measured.failure_rate, measured.first_token, measured.in_flight) == (0.0, 0.0, None, 0)
    assert statistics.output_tokens("chat") is None
    assert statistics.snapshot(0.0) == {"clusters": {}, "models": {}, "replicas": 0}, "asking creates nothing"


def test_shares_and_means() -> None:
    statistics, _ = recorded(
        sample(usage=Usage(1000, 100, cache_read=500, cache_write=100), usd=0.01, estimated=800),
        sample(usage=Usage(1000, 300), usd=0.03, estimated=800),
        every=0.0,
    )
    a = statistics.of("a")
    assert (a.cached_share, a.written_share, a.output_tokens, a.usd, a.token_ratio) == (0.25, 0.05, 200.0, 0.02, 1.25)
    assert statistics.output_tokens("chat") == 200.0
    assert statistics.of("b").output_tokens is None


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_whose_fault(outcome: str) -> None:
    statistics, _ = recorded(sample(), sample(outcome), every=0.0)
    a = statistics.of("a")
    failed = outcome not in (OK, CLIENT_GONE) and outcome not in BLAMELESS
    assert a.requests == (1.0 if outcome == CLIENT_GONE else 2.0)
    assert a.failures == (1.0 if failed else 0.0)


def test_the_clients_mistakes_are_blameless_and_limits_are_not() -> None:
    assert {ErrorKind.INVALID_REQUEST, ErrorKind.CONTEXT_LENGTH, ErrorKind.CONTENT_FILTER} <= BLAMELESS
    assert not BLAMELESS & {ErrorKind.RATE_LIMITED, ErrorKind.INTERNAL, ErrorKind.TIMEOUT, ErrorKind.AUTHENTICATION, CUT, NO_ANSWER}


def test_an_answer_that_was_cut_says_nothing_about_the_length_of_answers() -> None:
    statistics, _ = recorded(sample(usage=Usage(10, 100)), sample(CUT, usage=Usage(10, 4)))
    assert statistics.of("a").output_tokens == pytest.approx(100.0)
    assert statistics.output_tokens("chat") == 100.0


def test_counts_halve_in_a_half_life() -> None:
    statistics, now = recorded(sample(NO_ANSWER))
    later = now + HALF_LIFE
    assert statistics.snapshot(later)["clusters"]["a"]["requests"] == 0.5
    assert statistics.snapshot(later)["clusters"]["a"]["kinds"] == {NO_ANSWER: 0.5}
    statistics.record(sample(), later)
    assert statistics.of("a").requests == pytest.approx(1.5)
    assert statistics.of("a").failure_rate == pytest.approx(1 / 3)


def test_what_nobody_asks_becomes_unknown_again() -> None:
    statistics, now = recorded(*[sample()] * 10)
    statistics.age(now + 10 * HALF_LIFE)
    assert statistics.of("a").requests < 0.02


def test_a_peak_counts_at_once_and_comes_down_slowly() -> None:
    statistics, now = recorded(sample(first_token=1.0), sample(first_token=9.0))
    assert statistics.of("a").first_token == 9.0
    statistics.record(sample(first_token=1.0), now + TAU)
    assert statistics.of("a").first_token == pytest.approx(1 + 8 / 2.718281828)
    statistics.record(sample(first_token=1.0), now + 20 * TAU)
    assert statistics.of("a").first_token == pytest.approx(1.0, abs=0.01)


def test_first_and_further_tokens_are_apart_and_durations_are_of_whole_answers() -> None:
    statistics, _ = recorded(sample(first_token=0.5, per_token=0.02, seconds=3.0), sample(NO_ANSWER, first_token=20.0, seconds=20.0))
    a = statistics.of("a")
    assert (a.first_token, a.per_token, a.seconds) == (20.0, 0.02, 3.0)


def test_in_flight() -> None:
    statistics = Statistics()
    statistics.began("a")
    statistics.began("a")
    statistics.ended("a")
    assert statistics.of("a").in_flight == 1
    statistics.ended("a")
    statistics.ended("a")
    statistics.ended("never")
    assert statistics.of("a").in_flight == 0
    assert "never" not in statistics.snapshot(0.0)["clusters"]


def test_what_readers_see() -> None:
    statistics, now = recorded(
        *[sample(seconds=1.0 + n / 10, first_token=0.4, usage=Usage(10, 5)) for n in range(20)], sample("overloaded", retry_after=9)
    )
    statistics.limits_left("a", {"x-ratelimit-remaining-requests": "7", "x-ratelimit-reset-requests": "1m"}, now)
    shown = statistics.snapshot(now, 1e9)
    orjson.dumps(shown)
    a = shown["clusters"]["a"]
    assert a["first_token"]["peak"] == 0.4
    assert 0.36 < a["first_token"]["p50"] < 0.44
    assert 1.6 < a["seconds"]["p50"] < a["seconds"]["p95"] < 3.2
    assert a["retry_after"] == 9.0
    assert a["limits"] == {"requests": {"remaining": 7.0, "limit": None, "reset": 60.0}}
    assert shown["models"] == {"chat": {"output_tokens": pytest.approx(5.0)}}


# bounds


def test_clusters_and_models_are_the_registrys() -> None:
    statistics, now = recorded(sample(cluster="a", usage=Usage(1, 1)), sample(cluster="old"))
    statistics.began("busy")
    statistics.keep({"a"}, {"other"})
    assert set(statistics.snapshot(now)["clusters"]) == {"a", "busy"}, "who is asked just now is kept until it is not"
    assert statistics.output_tokens("chat") is None
    statistics.ended("busy")
    statistics.keep({"a"}, {"other"})
    assert set(statistics.snapshot(now)["clusters"]) == {"a"}
    statistics.record(sample(usage=Usage(1, 1)), now)
    statistics.absorb("r", {"b": {"requests": 1.0}, "model:x": {"output": 1.0}}, now)
    statistics.load({"measured": {"c": {"requests": 1.0}}}, now)
    assert set(statistics.snapshot(now)["clusters"]) == {"a"}
    assert set(statistics.snapshot(now)["models"]) == set()


def test_replicas_are_bounded() -> None:
    statistics = Statistics()
    for n in range(REPLICAS + 10):
        statistics.absorb(f"r{n}", {"a": {"requests": 1.0}}, 1.0)
    assert statistics.of("a").requests == pytest.approx(REPLICAS)


# replicas and restarts


def test_replicas_add_up_and_nothing_is_counted_twice() -> None:
    one, now = recorded(sample(usage=Usage(100, 10), first_token=1.0), sample(), every=0.0)
    two, _ = recorded(sample("timeout"), sample(usage=Usage(100, 30), first_token=3.0), every=0.0)
    for _ in range(3):
        one.absorb("two", two.export(now), now)
        two.absorb("one", one.export(now), now)
    for statistics in (one, two):
        a = statistics.of("a")
        assert (a.requests, a.failures, a.output_tokens, a.first_token) == (4.0, 1.0, 20.0, 2.0)
        assert statistics.output_tokens("chat") == 20.0
    one.absorb("two", {}, now)
    assert one.of("a").requests == 2.0
    assert one.of("a").output_tokens == 10.0


def test_a_replicas_word_fades_like_ones_own() -> None:
    one, now = recorded(sample())
    two = Statistics()
    two.absorb("one", one.export(now), now)
    assert two.of("a").requests == 1.0
    two.age(now + HALF_LIFE)
    assert two.of("a").requests == pytest.approx(0.5)
    two.record(sample(), now + HALF_LIFE)
    assert two.of("a").requests == pytest.approx(1.5)
    two.absorb("three", {"a": {"requests": 1.0}}, now + HALF_LIFE)
    assert two.of("a").requests == pytest.approx(2.5)


WORDS = st.dictionaries(
    st.sampled_from(["a", "b", "model:chat"]),
    st.fixed_dictionaries(
        {
            "requests": st.integers(1, 50),
            "first_tokens": st.integers(1, 50),
            "first_token": st.integers(1, 9),
            "output": st.integers(0, 99),
            "answers": st.integers(1, 9),
        }
    ),
)


@given(st.lists(st.tuples(st.sampled_from(["r1", "r2", "r3"]), WORDS, st.integers(0, 400)), max_size=12))
def test_what_replicas_said_is_the_sum_of_their_last_words(said: list[tuple[str, dict[str, dict[str, float]], int]]) -> None:
    statistics, now, last = Statistics(), 1.0, {}
    for replica, words, later in said:
        now += later
        statistics.absorb(replica, words, now)
        last[replica] = (words, now)
    statistics.age(now)
    for cluster in ("a", "b"):
        told = [(words[cluster], 2.0 ** ((at - now) / HALF_LIFE)) for words, at in last.values() if cluster in words]
        found = statistics.of(cluster)
        assert found.requests == pytest.approx(sum(fields["requests"] * left for fields, left in told), abs=1e-6)
        weight = sum(fields["first_tokens"] * left for fields, left in told)
        if weight > 1e-3:
            mean = sum(fields["first_token"] * fields["first_tokens"] * left for fields, left in told) / weight
            assert found.first_token == pytest.approx(mean, rel=1e-3)


def test_a_cluster_that_is_gone_takes_its_replicas_words_along() -> None:
    statistics = Statistics()
    statistics.began("a")
    statistics.absorb("r", {"a": {"requests": 5.0}, "b": {"requests": 1.0}}, 1.0)
    statistics.keep({"b"}, ())
    assert statistics.of("a").requests == 0.0
    statistics.keep({"a", "b"}, ())
    statistics.absorb("r", {"a": {"requests": 2.0}}, 1.0)
    assert (statistics.of("a").requests, statistics.of("b").requests) == (2.0, 0.0)
    statistics.absorb("r", {}, 1.0)
    assert statistics.of("a").requests == 0.0


def test_a_restart_carries_everything_over_aged() -> None:
    before, now = recorded(*[sample(usage=Usage(100, 10), first_token=1.0, seconds=2.0, usd=0.5)] * 4, sample("internal"), every=0.0)
    saved = orjson.loads(orjson.dumps(before.dump(now)))
    after = Statistics()
    after.load(saved, 7.0, elapsed=HALF_LIFE)
    a = after.of("a")
    assert (a.requests, a.failures, a.first_token, a.usd, a.output_tokens) == (2.5, 0.5, 1.0, 0.5, 10.0)
    assert a.in_flight == 0
    shown = after.snapshot(7.0)["clusters"]["a"]
    assert shown["kinds"] == {"internal": 0.5}
    assert shown["first_token"] == before.snapshot(now)["clusters"]["a"]["first_token"]
    after.record(sample(first_token=0.5), 7.0)
    assert after.of("a").first_token == pytest.approx(0.5, abs=0.01), "an old peak"


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "model:m", "measured", "sketches", "requests", "first_token", "3"]), inner)
    ),
    max_leaves=12,
)


@given(JSON)
def test_no_word_of_others_raises(word: Any) -> None:
    statistics = Statistics()
    statistics.load(word, 10.0)
    statistics.load({"measured": word, "sketches": word}, 10.0)
    statistics.absorb("r", word, 10.0)
    statistics.record(sample(first_token=1.0, usage=Usage(1, 1)), 11.0)
    orjson.dumps(statistics.snapshot(12.0))
    assert statistics.of("a").requests >= 1.0


SAMPLES = st.builds(
    Sample,
    cluster=st.sampled_from(["a", "b"]),
    model=st.just("chat"),
    outcome=st.sampled_from(OUTCOMES),
    seconds=st.floats(0, 1e4),
    first_token=st.none() | st.floats(0, 1e4),
    per_token=st.none() | st.floats(0, 10),
    usage=st.none() | st.builds(Usage, st.integers(0, 10**6), st.integers(0, 10**5), st.integers(0, 10**6)),
    usd=st.none() | st.floats(0, 100),
    estimated=st.floats(0, 1e6),
)


@given(st.lists(st.tuples(SAMPLES, st.floats(0, 1e5)), max_size=40))
def test_laws(samples: list[tuple[Sample, float]]) -> None:
    statistics, now, slowest = Statistics(), 1.0, 0.0
    for one, later in samples:
        now += later
        statistics.record(one, now)
        slowest = max(slowest, one.first_token or 0.0)
        a = statistics.of(one.cluster)
        assert 0 <= a.failures <= a.requests <= len(samples)
        assert a.cached_share is None or 0 <= a.cached_share <= 1
        if one.first_token is not None:
            assert a.first_token is not None
            assert one.first_token <= a.first_token <= slowest
    copy = Statistics()
    copy.load(orjson.loads(orjson.dumps(statistics.dump(now))), 50.0)
    for cluster in ("a", "b"):
        assert copy.of(cluster).requests == pytest.approx(statistics.snapshot(now)["clusters"].get(cluster, {}).get("requests", 0.0), abs=1e-3)


def test_a_reader_in_another_thread() -> None:
    statistics, done = Statistics(), threading.Event()
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while not done.is_set():
                statistics.snapshot(2000.0)
                statistics.export(2000.0)
        except BaseException as error:
            failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(3000):
        statistics.record(sample(OUTCOMES[n % len(OUTCOMES)], cluster=f"c{n}", first_token=1.0), float(n))
    done.set()
    reader.join()
    assert failures == []


# quantiles


@given(st.lists(st.floats(SMALLEST, 1000), min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_quantile_is_off_by_half_a_bucket_at_most(values: list[float], q: float) -> None:
    sketch = Sketch(HALF_LIFE)
    for value in values:
        sketch.add(value, 5.0)
    found = sketch.quantile(q)
    assert found is not None
    place = max(-int(-q * len(values) // 1), 1) - 1
    near = sorted(values)[max(place - 1, 0) : place + 2]
    assert any(value / GROWTH <= found <= value * GROWTH for value in near)


def test_old_durations_fade_also_over_years() -> None:
    sketch = Sketch(HALF_LIFE)
    assert sketch.quantile(0.5) is None
    for n in range(100):
        sketch.add(100.0, float(n))
    for day in range(1, 400):
        sketch.add(1.0, day * 86400.0)
    assert sketch.quantile(0.99) == pytest.approx(1.0, rel=0.1)
    assert all(count < 1e9 for count in sketch.dump(400 * 86400.0).values())
