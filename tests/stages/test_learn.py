"""What every end of every attempt teaches, and that it is counted once, wherever the attempt ran."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from extproc.core.exchange import Closed, Tick
from extproc.core.prompt import read
from extproc.core.usage import Price
from extproc.registry.policy import Rule, Within
from extproc.registry.types import Attempts, Commit, Registry, Timeouts
from extproc.routing.bandit import Bandit
from extproc.routing.decision import Decision
from extproc.routing.health import Out
from extproc.routing.limits import Admitted
from extproc.routing.measured import Measured
from extproc.routing.tokens import estimate
from extproc.stages import learn
from extproc.stages.request import DEADLINE, STALL
from extproc.stages.route import RouteExchange
from extproc.telemetry.record import Outcome
from tests.stages.world import OPENAI_ANSWER, Journey, Still, World, chat, openai_stream, piece, registry, target

ERROR = orjson.dumps({"error": {"message": "no", "type": "server_error", "param": None, "code": None}})
STREAM = chat(stream=True, stream_options={"include_usage": True})
USAGE_CHUNK = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[],'
    b'"usage":{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,"prompt_tokens_details":{"cached_tokens":50}}}\n\n'
)
LIMITS = Timeouts(unary_attempt=10.0, first_token=10.0, stall=5.0, deadline=60.0)


class Trip(Journey):
    """A request and its attempts, with the clock in hand."""

    def __init__(self, body: bytes = STREAM, made: Registry | None = None, world: World | None = None, **more: Any) -> None:
        super().__init__(world or World(made or registry(target("a"), target("b"), timeouts=LIMITS, **more)))
        self.body = body
        self.exchange: RouteExchange = self.route(body)

    @property
    def later(self) -> Trip:
        self.world.clock.now += 1.0
        return self

    def of(self, cluster: str) -> Measured:
        return self.world.services.statistics.of(cluster)

    @property
    def in_flight(self) -> list[int]:
        return [self.of(cluster).in_flight for cluster in "ab"]

    def out(self, cluster: str, world: World | None = None) -> bool:
        return (world or self.world).services.health.why(cluster) is not None

    def fails(self, n: int, status: int = 503, *, world: World | None = None, **more: Any) -> None:
        exchange = self.attempt(n, self.body, world=world)
        self.take(exchange.handle(self.response(status, **more)))
        self.take(exchange.handle(piece(ERROR, end=True)))

    def begins(self, n: int = 1, *, world: World | None = None, **more: Any) -> None:
        """Attempt `n` passes: a stream at its first token, which comes after a second."""
        exchange = self.attempt(n, self.body, world=world)
        if self.body is not STREAM:
            self.later.take(exchange.handle(self.response(200, **more)))
            self.take(exchange.handle(piece(OPENAI_ANSWER, end=True)))
            return
        self.take(exchange.handle(self.response(200, "text/event-stream", **more)))
        self.later.take(exchange.handle(piece(b"".join(openai_stream("hello", finish=False, done=False)))))

    def flows(self, n: int = 1) -> None:
        """The return stage has the answer's first token."""
        kind = "text/event-stream" if self.body is STREAM else "application/json"
        self.exchange.handle(self.response(200, kind, cluster=self.chain[n - 1]))
        if self.body is STREAM:
            self.exchange.handle(piece(b"".join(openai_stream("hello", finish=False, done=False))))

    def ends(self) -> None:
        """A second after the first token."""
        rest = b"".join([*openai_stream(done=False)[1:], USAGE_CHUNK, b"data: [DONE]\n\n"]) if self.body is STREAM else OPENAI_ANSWER
        self.later.exchange.handle(piece(rest, end=True))
        self.close()

    def close(self) -> None:
        """As the edge does: what is in doubt waits for the access log."""
        self.exchange.handle(Closed())
        if not self.exchange.in_doubt:
            learn.settled(self.exchange, certain=True)

    def answers(self, n: int = 1) -> None:
        self.begins(n)
        self.flows(n)
        self.ends()


def again(trip: Trip) -> Trip:
    """The next request to the same process."""
    return Trip(trip.body, world=trip.world)


# measurements


def test_an_answered_stream() -> None:
    trip = Trip()
    trip.answers()
    a = trip.of("a")
    assert (a.requests, a.failures, a.first_token, a.seconds, a.per_token) == (1.0, 0.0, 1.0, 2.0, 1.0 / 20)
    assert (a.output_tokens, a.cached_share) == (20.0, 0.5)
    assert trip.world.services.statistics.output_tokens("chat") == 20.0


def test_the_first_token_is_the_attempts_own() -> None:
    trip = Trip()
    trip.fails(1)
    trip.later.later.later.fails(2)
    trip.later.answers(3)
    assert [trip.of(c).requests for c in "ab"] == [2.0, 1.0]
    assert [trip.of(c).failures for c in "ab"] == [2.0, 0.0]
    assert trip.of("b").first_token == 1.0
    assert trip.world.services.statistics.snapshot(trip.world.clock())["clusters"]["a"]["kinds"] == {"unavailable": 2.0}


def test_an_answer_that_is_held_until_it_is_whole() -> None:
    trip = Trip(commit=Commit.COMPLETE)
    exchange = trip.attempt(1, trip.body)
    trip.take(exchange.handle(trip.response(200, "text/event-stream")))
    trip.later.take(exchange.handle(piece(b"".join(openai_stream("hello", finish=False, done=False)))))
    trip.later.later.take(exchange.handle(piece(b"".join([*openai_stream(done=False)[1:], USAGE_CHUNK, b"data: [DONE]\n\n"]), end=True)))
    trip.later.flows()
    trip.ends()
    a = trip.of("a")
    assert (a.first_token, a.seconds, a.per_token) == (1.0, 3.0, 2.0 / 20), "not what our hold and the client's reading took"


def test_a_whole_answer_has_no_first_token() -> None:
    trip = Trip(chat())
    trip.answers()
    a = trip.of("a")
    assert (a.first_token, a.per_token, a.seconds, a.output_tokens) == (None, None, 2.0, 2.0)


def test_real_tokens_over_estimated_ones_and_the_cost() -> None:
    trip = Trip()
    priced = Price(1.0, 10.0)
    trip.world.services.facts = lambda target, _: (target.facts, priced)
    assert trip.exchange.here is not None
    trip.exchange.here.estimated, trip.exchange.here.family = 80.0, "o200k"
    trip.answers()
    assert trip.of("a").token_ratio == 1.25
    assert trip.of("a").usd == pytest.approx((100 * 1.0 + 20 * 10.0) / 1e6)


def test_an_estimate_for_one_family_says_nothing_of_another() -> None:
    made = registry(target("a"), target("b", "anthropic_messages"), timeouts=LIMITS)
    trip = Trip(made=made)
    assert trip.exchange.here is not None
    trip.exchange.here.estimated, trip.exchange.here.family = 80.0, "anthropic"
    trip.answers()
    assert trip.of("a").token_ratio is None


@pytest.mark.parametrize(("others", "family"), [((), "anthropic"), (("a",), "o200k")])
def test_prompts_are_estimated_as_the_target_that_is_tried_first_counts(others: tuple[str, ...], family: str) -> None:
    made = registry(target("a"), target("b", "anthropic_messages"), timeouts=LIMITS)
    rule = Rule("r", Within("prompt_tokens", 0, 1000), only=others or ("b",))
    trip = Trip(made=replace(made, models={"chat": replace(made.models["chat"], rules=(rule,))}))
    assert trip.exchange.here is not None
    assert trip.exchange.here.family == family
    prompt = read("openai_chat", orjson.loads(trip.body))
    assert trip.exchange.here.estimated == estimate(prompt, family) > 0
    assert trip.exchange.decision is not None
    assert trip.exchange.decision.signals["prompt_tokens"] == estimate(prompt, "o200k"), "the signal is that of the first in the file"


def test_rewards_warm_caches_and_limits() -> None:
    trip = Trip()
    services, exchange = trip.world.services, trip.exchange
    exchange.decision = Decision("chat", "bandit", ["a", "b"], context="chat/other/short")
    admitted = exchange.admitted = Admitted([], 5.0)
    assert exchange.here is not None
    exchange.here.session = "s"
    trip.fails(1)
    trip.fails(2)
    trip.answers(3)
    failed, served = services.bandit.draw("chat/other/short", ["a", "b"], trip.world.clock(), Still())
    unknown = Bandit().draw("chat/other/short", ["a"], trip.world.clock(), Still())[0]
    assert failed.reward < unknown.reward < served.reward
    warm = services.affinities.warm("s", trip.world.clock(), 300.0)
    assert warm is not None
    assert (warm.cluster, warm.cached) == ("b", 50)
    assert admitted.settled


# in flight


def test_in_flight_follows_the_attempts_and_ends_once() -> None:
    trip = Trip()
    assert trip.in_flight == [1, 0], "from the moment that it is routed"
    trip.fails(1)
    trip.fails(2)
    assert trip.in_flight == [1, 0]
    trip.begins(3)
    assert trip.in_flight == [0, 1]
    trip.flows(3)
    trip.ends()
    trip.close()
    assert trip.in_flight == [0, 0]


def test_an_end_in_another_thread_while_the_next_attempt_starts() -> None:
    """Large bodies are handled in threads: the end may come between any two steps of an attempt's start."""
    for moment in ("ended", "began"):
        trip = Trip()
        trip.fails(1)
        trip.fails(2)
        statistics = trip.world.services.statistics
        step = getattr(statistics, moment)

        def interrupted(cluster: str, step: Any = step, moment: str = moment, statistics: Any = statistics, trip: Trip = trip) -> None:
            setattr(statistics, moment, step)
            trip.exchange.end(Outcome.CLIENT_GONE, 0)
            step(cluster)

        setattr(statistics, moment, interrupted)
        trip.attempt(3, trip.body)
        assert trip.in_flight == [0, 0], moment
        assert trip.exchange.record.ended_ns


@pytest.mark.parametrize("ending", ["client gone", "refused body", "deadline", "bug"])
def test_in_flight_ends_on_every_end(ending: str) -> None:
    trip = Trip()
    trip.attempt(1, trip.body)
    if ending == "deadline":
        trip.exchange.handle(Tick(DEADLINE))
    elif ending == "bug":
        trip.exchange.end(Outcome.INTERNAL_ERROR, 500)
    elif ending == "refused body":
        trip.exchange.handle(trip.response(400, x_llm_final="llm_invalid_request"))
    trip.close()
    assert [trip.of(c).in_flight for c in "ab"] == [0, 0]


# health: once for each attempt


def test_two_failed_attempts_leave_it_out_and_the_next_request_goes_elsewhere() -> None:
    trip = Trip()
    trip.fails(1)
    assert not trip.out("a")
    trip.fails(2)
    assert trip.world.services.health.why("a") == (Out.FAILING, 5.0)
    assert again(trip).chain[0] == "b"


def test_an_attempt_is_counted_once_whatever_hears_of_it() -> None:
    """Judged by its stage, told to the return stage in the notes, and there at the end."""
    trip = Trip(attempts=Attempts(same_target=0))
    trip.fails(1)
    trip.answers(2)
    assert not trip.out("a")
    following = again(trip)
    following.fails(1)
    assert following.out("a")


def test_what_envoy_ended_counts_when_the_next_attempt_starts() -> None:
    trip = Trip()
    trip.attempt(1, trip.body).handle(Closed())
    assert not trip.out("a")
    trip.begins(2)
    following = again(trip)
    following.attempt(1, trip.body)
    following.begins(2)
    assert trip.out("a"), "before any answer has reached the return stage"
    for one in (trip, following):
        one.flows(2)
        one.ends()
    assert trip.of("a").requests == trip.of("a").failures == pytest.approx(2.0, abs=0.01)
    why = trip.world.services.health.why("a")
    assert why is not None
    assert why[1] < 5.0


def test_what_envoy_ended_last_counts_at_the_return_stage() -> None:
    trip = Trip()
    for expected in (False, True):
        trip = again(trip)
        trip.attempt(1, trip.body)
        trip.exchange.handle(trip.response(503, x_llm_local="upstream_reset_before_response_started{connection_failure}"))
        trip.close()
        assert trip.out("a") is expected


def test_envoys_own_circuit_breaker_is_not_the_providers_fault() -> None:
    for _ in range(3):
        trip = Trip()
        trip.attempt(1, trip.body)
        trip.exchange.handle(trip.response(503, x_llm_local="upstream_reset_before_response_started{overflow}"))
        trip.close()
        assert not trip.out("a")


def test_attempts_in_another_process_are_counted_at_the_return_stage() -> None:
    trip = Trip()
    elsewhere = World(trip.world.registry, clock=trip.world.clock)
    trip.fails(1, world=elsewhere)
    trip.fails(2, world=elsewhere)
    assert (trip.out("a"), trip.out("a", elsewhere)) == (False, True)
    trip.begins(3, world=elsewhere)
    trip.flows(3)
    assert trip.out("a")
    trip.ends()
    assert [trip.of(c).requests for c in "ab"] == [2.0, 1.0]


def test_a_probe_that_is_answered_in_another_process_brings_it_back_here() -> None:
    trip = Trip()
    trip.fails(1)
    trip.fails(2)
    trip.world.clock.now += 5.0
    probe = again(trip)
    assert probe.chain[0] == "a"
    assert again(trip).chain[0] == "b", "one probe at a time"
    probe.begins(1, world=World(trip.world.registry, clock=trip.world.clock))
    assert probe.out("a")
    probe.flows()
    assert not probe.out("a")


@pytest.mark.parametrize("status", [400, 401, 404, 422, 429])
def test_the_clients_fault_our_key_and_limits_open_no_breaker(status: int) -> None:
    world = World(registry(target("a"), timeouts=LIMITS))
    for _ in range(3):
        trip = Trip(world=world)
        trip.fails(1, status)
        trip.close()
    assert world.services.health.state("a")["breaker"] == "closed"


@pytest.mark.parametrize("begun", [False, True])
def test_a_client_that_leaves_blames_nobody(begun: bool) -> None:
    for _ in range(3):
        trip = Trip()
        if begun:
            trip.begins()
            trip.flows()
        else:
            trip.attempt(1, trip.body)
        trip.later.close()
        assert trip.exchange.in_doubt is begun
        if begun:
            trip.exchange.broken_by(Outcome.CLIENT_GONE, 200)
            learn.settled(trip.exchange, certain=True)
        assert not trip.out("a")
        assert (trip.of("a").requests, trip.of("a").failures) == (0.0, 0.0)
        assert trip.of("a").first_token == (1.0 if begun else None), "that much it has shown"


def test_a_client_that_leaves_during_the_second_attempt_leaves_the_first_ones_failure() -> None:
    trip = Trip()
    trip.attempt(1, trip.body)
    trip.later.attempt(2, trip.body)
    trip.later.close()
    assert (trip.of("a").failures, trip.of("b").requests) == (1.0, 0.0)


@pytest.mark.parametrize(("certain", "failures"), [(True, 1.0), (False, 0.0)])
def test_a_cut_counts_if_somebody_says_that_it_was_the_provider(certain: bool, failures: float) -> None:
    trip = Trip()
    for _ in range(2):
        trip = again(trip)
        trip.begins()
        trip.flows()
        trip.close()
        assert trip.exchange.in_doubt
        if certain:
            trip.exchange.broken_by(Outcome.CUT, 200)
        learn.settled(trip.exchange, certain=certain)
    assert trip.out("a") is certain
    assert trip.of("a").failure_rate == failures


def test_streams_that_stall_count_at_once() -> None:
    trip = Trip()
    for _ in range(2):
        trip = again(trip)
        trip.begins()
        trip.flows()
        trip.world.clock.now += 5.0
        trip.exchange.handle(Tick(STALL))
        trip.close()
    assert trip.out("a")
    assert trip.world.services.statistics.snapshot(trip.world.clock())["clusters"]["a"]["kinds"]["stalled"] > 1.9


@pytest.mark.parametrize(("seconds", "counts"), [(1.0, False), (9.0, True)])
def test_the_deadline_blames_who_had_its_chance(seconds: float, counts: bool) -> None:
    world = World(registry(target("a"), target("b"), timeouts=LIMITS))
    for _ in range(2):
        trip = Trip(world=world)
        world.clock.now += 60.0 - seconds
        trip.attempt(1, trip.body)
        world.clock.now += seconds
        trip.exchange.handle(Tick(DEADLINE))
        trip.close()
    assert trip.out("a") is counts
    assert trip.of("a").failures == pytest.approx(1.8 if counts else 0.0, abs=0.2)


def test_silence_is_measured_as_what_was_waited() -> None:
    trip = Trip()
    trip.attempt(1, trip.body)
    trip.world.clock.now += 10.0
    trip.answers(2)
    assert trip.of("a").first_token == 10.0
    assert trip.of("b").first_token == 1.0


# limits of providers


def test_nothing_left_leaves_it_out_until_the_reset() -> None:
    trip = Trip()
    trip.begins(x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="9s")
    assert trip.world.services.health.why("a") == (Out.SPENT, 9.0)
    assert again(trip).chain == ["b", "a"]
    shown = trip.world.services.statistics.snapshot(trip.world.clock())["clusters"]["a"]
    assert shown["limits"] == {"requests": {"remaining": 0.0, "limit": None, "reset": 9.0}}


def test_who_has_nothing_left_is_still_a_last_resort_and_who_refused_is_not() -> None:
    alone = registry(target("a"), timeouts=LIMITS)
    trip = Trip(made=alone)
    trip.begins(x_ratelimit_remaining_tokens="0", x_ratelimit_reset_tokens="6m0s")
    assert trip.world.services.health.why("a") == (Out.SPENT, 60.0)
    assert again(trip).chain[0] == "a"
    trip = Trip(made=alone)
    trip.fails(1, 429, ratelimit_remaining="0", ratelimit_reset="30")
    assert trip.world.services.health.why("a") == (Out.LIMITED, 30.0)
    assert World(alone).services.health.why("a") is None


def test_what_is_left_changes_nothing() -> None:
    trip = Trip()
    trip.begins(x_ratelimit_remaining_requests="1", x_ratelimit_reset_requests="9s", x_ratelimit_remaining_tokens="many")
    assert not trip.out("a")


@pytest.mark.parametrize("sent", [False, True])
def test_a_probe_whose_client_leaves_is_free_for_the_next(sent: bool) -> None:
    """Or whoever asks and leaves, again and again, would keep a target from coming back."""
    trip = Trip()
    health = trip.world.services.health
    for _ in range(2):
        health.failed("a", trip.world.clock())
    trip.world.clock.now += 6.0
    probe = again(trip)
    assert probe.chain[0] == "a"
    assert again(trip).chain[0] == "b", "one probe at a time"
    if sent:
        probe.attempt(1, probe.body)
    probe.close()
    next_one = again(trip)
    assert next_one.chain[0] == "a"
    next_one.answers()
    assert not trip.out("a")
    assert health.state("a")["breaker"] == "closed"
