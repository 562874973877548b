"""Providers that go down and come back, through the real Envoy: left within two failures, probed by one request at a time, back within half a minute
of their recovery; and Envoy's own ejections, honoured as soon as they are known.

Time is the breaker's own clock, which a test may put forward, but for one test that waits for the real five seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from extproc.edge import envoy_admin
from extproc.edge.envoy_admin import read_clusters
from extproc.routing.breaker import Patience
from extproc.routing.health import Out
from extproc.simulator import FaultKind, Simulator
from tests.e2e.stack import UNBROKEN, Stack, running_stack, until

DIALECTS = {"a": "openai_chat", "b": "openai_chat"}
KEYS = {name: f"sk-flapping-{name}-0123456789" for name in DIALECTS}
RECOVERED = 30.0
"""Seconds within which traffic must be back."""
_EJECTION = (
    "{outlier_detection: {consecutive_5xx: 2, enforcing_consecutive_5xx: 100, consecutive_gateway_failure: 0, "
    "interval: 0.2s, base_ejection_time: 30s, max_ejection_time: 60s}}"
)
_NO_EJECTION = "{outlier_detection: {enforcing_consecutive_5xx: 0, enforcing_consecutive_gateway_failure: 0, enforcing_success_rate: 0}}"


class Clock:
    """The monotonic clock, put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


def registry_text(sims: Mapping[str, Simulator], directory: Path, envoy: str = _NO_EJECTION) -> str:
    providers = [
        f'  {name}: {{kind: openai, url: "{sim.url}/v1", credential: {{file: {directory}/keys/{name}}}, envoy: {envoy}}}'
        for name, sim in sims.items()
    ]
    return "\n".join(
        [
            "version: 1",
            "providers:",
            *providers,
            "targets:",
            "  a: {provider: a, model: gpt-4o}",
            "  b: {provider: b, model: gpt-4o}",
            "defaults:",
            "  timeouts: {unary_attempt: 2s, first_token: 2s, stall: 2s, deadline: 10s}",
            "models:",
            "  chat: {targets: [a, b]}",
            "  hasty: {targets: [a, b], timeouts: {unary_attempt: 0.3s, first_token: 0.3s}}",
            "  alone: {targets: [a], attempts: {same_target: 0}}",
            "  patient: {targets: [a, b], timeouts: {unary_attempt: 10s, first_token: 10s}}",
            "",
        ]
    )


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def running(clock: Clock) -> Iterator[Stack]:
    with running_stack(registry_text, DIALECTS, KEYS, patience=Patience(), clock=clock) as stack:
        yield stack


@pytest.fixture
def stack(running: Stack) -> Stack:
    running.reset()
    return running


def ask(stack: Stack, model: str = "chat", *, stream: bool = False, timeout: float = 20.0) -> str:
    """Who served it, "" for nobody; a stream that breaks off raises."""
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "stream": stream}
    answer = httpx.post(f"{stack.url}/v1/chat/completions", json=body, timeout=timeout)
    return answer.headers.get("x-llm-target", "") if answer.status_code == 200 else ""


def asked(stack: Stack, name: str = "a") -> int:
    return stack.calls().get(name, 0)


@pytest.mark.parametrize(
    ("kind", "model", "requests"),
    [
        ("status", "chat", 1),
        ("html", "chat", 1),
        ("reset", "chat", 2),
        ("close", "chat", 2),
        ("silence", "hasty", 2),
        ("headers_then_silence", "hasty", 2),
    ],
)
def test_it_is_left_within_two_failures(stack: Stack, kind: str, model: str, requests: int) -> None:
    """Of one request that tries it twice, or of two; judged by the attempt stage, or ended by Envoy."""
    stack.fault("a", kind, **({"status": 503} if kind == "status" else {}))
    for _ in range(requests):
        assert ask(stack, model) == "b"
    for _ in range(5):
        assert ask(stack, model) == "b"
    assert asked(stack) == 2
    why = stack.services.health.why("a")
    assert why is not None
    assert why[0] is Out.FAILING


def test_streams_that_are_cut_count_as_soon_as_the_access_log_has_said_who_did_it(stack: Stack) -> None:
    stack.fault("a", FaultKind.CUT, after=6)
    stack.sims["a"].tokens_per_second = 40.0
    try:
        for _ in range(2):
            with pytest.raises(httpx.RemoteProtocolError):
                ask(stack, stream=True)
    finally:
        stack.sims["a"].tokens_per_second = None
    until(lambda: stack.services.health.why("a") is not None, "both cuts are known to be the provider's")
    assert ask(stack, stream=True) == "b"
    assert asked(stack) == 2


def test_clients_that_leave_limits_and_the_clients_own_mistakes_leave_it_in(stack: Stack) -> None:
    stack.fault("a", FaultKind.SILENCE)
    for _ in range(3):
        with pytest.raises(httpx.ReadTimeout):
            ask(stack, timeout=0.2)
    until(lambda: stack.services.statistics.of("a").in_flight == 0, "all of them have ended")
    assert stack.services.health.state("a") == {"breaker": "closed"}
    for status in (400, 429):
        stack.reset()
        stack.fault("a", FaultKind.STATUS, status=status)
        for _ in range(3):
            ask(stack)
        assert stack.services.health.state("a") == {"breaker": "closed"}
        assert asked(stack) == 3


def test_a_probe_at_a_time_ever_more_rarely_and_back_within_half_a_minute(stack: Stack, clock: Clock) -> None:
    stack.fault("a", FaultKind.STATUS, status=503)
    assert ask(stack) == "b"
    tried = asked(stack)
    for pause in (5.0, 10.0, 20.0, 20.0):
        clock.ahead += pause - 1.0
        assert ask(stack) == "b"
        assert asked(stack) == tried, "its pause is not over"
        clock.ahead += 1.0
        assert ask(stack) == "b"
        # what one probe's request makes of it: again the same target, then the next
        assert 1 <= asked(stack) - tried <= 2
        tried = asked(stack)
    stack.thread.call(stack.sims["a"].clear_faults)
    clock.ahead += 20.0
    assert [ask(stack) for _ in range(5)] == ["a"] * 5, "at most 20 s after it recovered"


def test_only_one_of_many_requests_probes(stack: Stack, clock: Clock) -> None:
    stack.fault("a", FaultKind.STATUS, status=503)
    assert ask(stack) == "b"
    tried = asked(stack)
    stack.thread.call(stack.sims["a"].clear_faults)
    stack.fault("a", FaultKind.SLOW_FIRST_TOKEN, times=1, seconds=1.0)
    clock.ahead += 5.0
    with ThreadPoolExecutor(12) as pool:
        served = list(pool.map(lambda _: ask(stack, "patient", stream=True), range(12)))
    assert sorted(served) == ["a"] + ["b"] * 11
    assert asked(stack) == tried + 1
    assert [ask(stack) for _ in range(3)] == ["a"] * 3


def test_the_only_target_is_tried_all_the_same(stack: Stack) -> None:
    stack.fault("a", FaultKind.STATUS, status=503, times=4)
    assert [ask(stack, "alone") for _ in range(5)] == ["", "", "", "", "a"]
    assert stack.services.health.why("a") is None, "its answer has closed the breaker at once"


def test_in_real_time(stack: Stack) -> None:
    """Two failures, recovery at once, requests all the time: b serves them until a's five seconds are over, then a does."""
    stack.fault("a", FaultKind.STATUS, times=2, status=503)
    assert ask(stack) == "b"
    served: list[str] = []

    def back() -> bool:
        served.append(ask(stack))
        return served[-1] == "a"

    until(back, "traffic returns", seconds=RECOVERED)
    assert set(served[:-1]) == {"b"}
    assert asked(stack) == 3
    assert [ask(stack) for _ in range(3)] == ["a"] * 3


def test_an_ejection_by_envoy_is_honoured_as_soon_as_it_is_known(record_property: pytest.FixtureRequest) -> None:
    """Without our own breaker. From Envoy's word to ours is at most one turn of the reader and one answer of the admin socket."""
    assert envoy_admin.BUSY <= 0.25, "half of what may pass; the rest is for the answer itself"
    with running_stack(lambda sims, directory: registry_text(sims, directory, _EJECTION), DIALECTS, KEYS, patience=UNBROKEN) as stack:
        stack.fault("a", FaultKind.STATUS, status=500)
        assert ask(stack) == "b"
        ejects = lambda: "a" in read_clusters(stack.envoy.admin("/clusters?format=json").encode())[1]  # noqa: E731
        until(ejects, "Envoy ejects it")
        at = time.monotonic()
        until(lambda: "a" in stack.services.health.ejected, "the server learns of it")
        lag = time.monotonic() - at
        record_property("lag_seconds", round(lag, 3))  # type: ignore[operator]
        print(f"from Envoy's ejection to ours: {lag * 1000:.0f} ms")
        tried = asked(stack)
        assert [ask(stack) for _ in range(5)] == ["b"] * 5
        assert asked(stack) == tried
