"""Every way in which a first provider fails, for every dialect of it, three clients each, and the three ways to take an answer: what the client gets,
who was asked how often, and what the log line says of it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from extproc.simulator import FaultKind
from tests.e2e.conftest import FIRST
from tests.e2e.every_sdk import SDKS
from tests.e2e.sdks import Answer, OpenAI, Sdk
from tests.e2e.stack import PATIENCE, Stack

MODES = ("unary", "stream", "complete")


def combinations(case: int) -> list[tuple[str, str, str]]:
    """(first provider, client, mode): each provider in each mode, every time by another client, and by others for each case."""
    clients = list(SDKS)
    return [(first, clients[(case + i + 2 * m) % len(clients)], mode) for i, first in enumerate(FIRST) for m, mode in enumerate(MODES)]


@dataclass(frozen=True)
class Want:
    """`asked`: how often the first provider; whether the next one answered, or the client got `status` in its SDK's `error`."""

    asked: int = 1
    served_by: str = "next"
    outcome: str = "ok"
    status: int = 200
    error: str | None = None
    kinds: tuple[str, ...] | None = None


NEXT = Want(1)
AGAIN_THEN_NEXT = Want(2)
AGAIN = Want(2, "first")
FINE = Want(1, "first")
BROKEN = Want(1, "", "cut", 200, "any")
STALLED = Want(1, "", "stalled", 200, "any")


def rejected(kind: str) -> Want:
    return Want(1, "", "rejected", 400, "BadRequestError", (kind,))


@dataclass(frozen=True)
class Case:
    """`wants` by mode, by (first, mode), by (first, mode, first) for clients of the provider's own dialect, or for all.

    `paced`: the stream flows slowly enough that its beginning is on its way before it fails.
    `times` or `apart`: what one request does to it must not touch the next, so they go one by one."""

    kind: FaultKind
    want: Want | dict[Any, Want]
    options: dict[str, Any] = field(default_factory=dict)
    times: int | None = None
    apart: bool = False
    paced: bool = False

    def expected(self, first: str, mode: str, client: str) -> Want:
        if isinstance(self.want, Want):
            return self.want
        if OWN.get(first) == client and (first, mode, first) in self.want:
            return self.want[first, mode, first]
        return self.want.get((first, mode)) or self.want[mode]


OWN = {
    "oa": "openai",
    "an": "anthropic",
    "bi": "anthropic",
    "ge": "google-genai",
    "re": "openai-responses",
    "be": "boto3",
    "co": "cohere",
    "ol": "ollama",
}
"""The client of each provider's own dialect."""
K = FaultKind
ONCE_FOR_GOOD = {"unary": AGAIN_THEN_NEXT, "stream": BROKEN, "complete": AGAIN_THEN_NEXT}
"""The second provider helps where nothing has reached the client yet."""
CASES: dict[str, Case] = {
    "429": Case(K.STATUS, Want(1, kinds=("rate_limited",)), {"status": 429}),
    "429 with a short Retry-After": Case(K.STATUS, AGAIN, {"status": 429, "retry_after": 1}, times=1),
    "429 with a long Retry-After": Case(K.STATUS, Want(1, kinds=("rate_limited",)), {"status": 429, "retry_after": 30}, apart=True),
    "500 once": Case(K.STATUS, AGAIN, {"status": 500}, times=1),
    "500 for good": Case(K.STATUS, Want(2, kinds=("internal",) * 2), {"status": 500}),
    "503 for good": Case(K.STATUS, AGAIN_THEN_NEXT, {"status": 503}),
    "529 for good": Case(K.STATUS, AGAIN_THEN_NEXT, {"status": 529}),
    "flapping": Case(K.STATUS, AGAIN, {"status": 502, "every": 2}, apart=True),
    "reset before headers": Case(K.RESET, Want(1, kinds=("unavailable",))),
    "closed before headers": Case(K.CLOSE, Want(1, kinds=("unavailable",))),
    "silence": Case(K.SILENCE, Want(1, kinds=("timeout",))),
    "headers, then silence": Case(K.HEADERS_THEN_SILENCE, Want(1, kinds=("timeout",))),
    "slow headers": Case(K.SLOW_HEADERS, Want(1, kinds=("timeout",)), {"seconds": 5}),
    "slow first token": Case(K.SLOW_FIRST_TOKEN, Want(1, kinds=("timeout",)), {"seconds": 5}),
    "a first token in time": Case(K.SLOW_FIRST_TOKEN, FINE, {"seconds": 0.1}),
    "cut before content": Case(K.CUT, NEXT, {"after": 0}),
    "cut in the middle": Case(K.CUT, {"unary": NEXT, "stream": BROKEN, "complete": NEXT}, {"after": 6}, paced=True),
    "cut inside an event": Case(K.TRUNCATED, {"unary": NEXT, "stream": BROKEN, "complete": NEXT}, paced=True),
    "clean end without a finish": Case(K.END_EARLY, ONCE_FOR_GOOD),
    "clean end before content": Case(K.END_EARLY, AGAIN_THEN_NEXT, {"after": 0}),
    # all content is there. Whoever leaves out [DONE] or Bedrock's counts has said the finish; what passes as it came is for the client to judge
    "no terminator": Case(
        K.NO_TERMINATOR,
        {**ONCE_FOR_GOOD, "unary": FINE} | {(f, m): FINE for f in ("oa", "be") for m in MODES} | {(f, "stream", f): FINE for f in ("an", "bi")},
    ),
    "reset in the middle": Case(K.RESET_LATER, {"unary": NEXT, "stream": BROKEN, "complete": NEXT}, {"after": 6}, paced=True),
    "a byte of an event is another": Case(K.CORRUPT, ONCE_FOR_GOOD, {"after": 6}),
    "CRLF and comments": Case(K.CRLF, FINE),
    "no newline at the end": Case(K.NO_LAST_NEWLINE, FINE),
    "stall before content": Case(K.STALL, NEXT, {"after": 0}),
    "stall in the middle": Case(K.STALL, {"unary": NEXT, "stream": STALLED, "complete": NEXT}, {"after": 6}),
    "malformed first event": Case(K.MALFORMED, AGAIN_THEN_NEXT, {"after": 0}),
    "malformed event": Case(K.MALFORMED, ONCE_FOR_GOOD, {"after": 6}),
    "first event is an error": Case(K.ERROR_EVENT, AGAIN_THEN_NEXT, {"after": 0}),
    "error in the middle": Case(K.ERROR_EVENT, ONCE_FOR_GOOD, {"after": 6}),
    "HTML page": Case(K.HTML, AGAIN_THEN_NEXT),
    "200 with an error body": Case(K.ERROR_200, AGAIN_THEN_NEXT),
    # where the body does not say which error it is, it is tried again
    "200 with a rate limit in the body": Case(
        K.ERROR_200,
        {m: Want(1, kinds=("rate_limited",)) for m in MODES} | {(f, m): AGAIN_THEN_NEXT for f in ("be", "bi", "co", "ol") for m in MODES},
        {"status": 429},
    ),
    "empty 200": Case(K.EMPTY, AGAIN_THEN_NEXT),
    "gzip although identity was asked for": Case(K.GZIP, FINE),
    "Brotli although identity was asked for": Case(K.BROTLI, FINE),
    "Zstandard although identity was asked for": Case(K.ZSTD, FINE),
    "deflate although identity was asked for": Case(K.DEFLATE, FINE),
    # am's window is larger than OpenAI's, and those of Cohere's and Ollama's models are unknown; no other is larger than the one that refuses
    "context length": Case(
        K.CONTEXT_LENGTH,
        {m: rejected("context_length_exceeded") for m in MODES} | {(f, m): NEXT for f in ("oa", "re", "co", "ol") for m in MODES},
    ),
    # Gemini and a guardrail of Bedrock's answer with 200: answers that were filtered, see test_a_prompt_that_is_blocked_with_200.
    # Cohere and Ollama have no word for it: a request that is refused
    "content filter": Case(
        K.CONTENT_FILTER,
        {m: rejected("content_filter") for m in MODES}
        | {(f, m): FINE for f in ("ge", "be") for m in MODES}
        | {(f, m): rejected("invalid_request") for f in ("co", "ol") for m in MODES},
    ),
    "key refused": Case(K.KEY_REFUSED, Want(1, kinds=("authentication",)), apart=True),
    "model unknown to the provider": Case(K.MODEL_NOT_FOUND, Want(1, kinds=("not_found",)), apart=True),
}


def judge(stack: Stack, sdks: dict[str, Sdk], case: Case, first: str, client: str, mode: str, request_id: str) -> None:
    """One request, and everything that must be true of it."""
    want = case.expected(first, mode, client)
    following = FIRST[first]
    sdk = sdks[client]
    model = f"{first}-{following}" + ("-complete" if mode == "complete" else "")
    answer: Answer | None = None
    raised: Exception | None = None
    started = time.monotonic()
    try:
        answer = sdk.ask(model, f"the question of {request_id}", stream=mode != "unary", request_id=request_id)
    except Exception as error:
        raised = error
    assert time.monotonic() - started < PATIENCE, "it hung"

    line = stack.lines.of(request_id)
    asked = {name: sum(request_id.encode() in (r.body or b"") for r in stack.received(name)) for name in (first, following)}
    attempts = [first] * want.asked + [following] * (want.served_by == "next")
    assert asked == {first: want.asked, following: int(want.served_by == "next")}
    assert [a["target"] for a in line["attempts"]] == attempts
    assert (line["outcome"], line["status"]) == (want.outcome, want.status)
    if want.kinds is not None:
        assert tuple(a.get("error_type") for a in line["attempts"][: len(want.kinds)]) == want.kinds
    if want.error is not None:
        assert raised is not None, f"the client took a broken answer for a whole one: {answer}"
        assert line["error_type"]
        if want.error != "any":
            assert sdk.status(raised) == want.status, f"{type(raised).__name__}: {raised}"
            if client in ("openai", "openai-responses", "anthropic"):
                assert type(raised).__name__ == want.error
                headers = raised.response.headers  # type: ignore[attr-defined]
                assert (headers["x-llm-target"], headers["x-llm-attempts"]) == (first, str(want.asked))
        return
    assert raised is None, f"{type(raised).__name__}: {raised}"
    assert answer is not None
    server = following if want.served_by == "next" else first
    if case.kind is not K.CONTENT_FILTER:
        assert answer.text.startswith(f"sim-{server} (")
        assert answer.text.endswith(request_id)
    assert answer.headers["x-llm-target"] == server == line["target"]
    assert answer.headers["x-llm-attempts"] == str(len(attempts))
    assert not {"x-llm-retry", "x-llm-backoff", "x-llm-local", "x-llm-final"} & set(answer.headers)
    assert line["attempts"][-1]["verdict"] == "pass"


@pytest.mark.parametrize("name", CASES)
def test_first_provider_fails(stack: Stack, sdks: dict[str, Sdk], name: str) -> None:
    case = CASES[name]
    label = name.replace(" ", "-").replace(",", "")
    failures: list[str] = []
    sims = [stack.sims[first] for first in FIRST]
    many = case.times is None and not case.apart
    asked = combinations(list(CASES).index(name))

    def prepare() -> None:
        for first in FIRST:
            stack.fault(first, case.kind, case.times, **case.options)

    def one(combination: tuple[str, str, str]) -> None:
        first, client, mode = combination
        try:
            judge(stack, sdks, case, first, client, mode, f"{label}-{first}-{client}-{mode}")
        except AssertionError as error:
            failures.append(f"{combination}: {error}")

    for sim in sims:
        sim.tokens_per_second = 40.0 if case.paced else None
    try:
        if many:
            prepare()
            with ThreadPoolExecutor(len(asked)) as pool:
                list(pool.map(one, asked))
        else:
            # a cool-down of the provider, or a fault that is used up: one request of each provider at a time
            for mode in MODES:
                stack.reset()
                prepare()
                with ThreadPoolExecutor(len(FIRST)) as pool:
                    list(pool.map(one, [c for c in asked if c[2] == mode]))
    finally:
        for sim in sims:
            sim.tokens_per_second = None
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize(("first", "following"), [("ge", "ob"), ("be", "ob")])
@pytest.mark.parametrize("client", SDKS)
def test_a_prompt_that_is_blocked_with_200(stack: Stack, sdks: dict[str, Sdk], client: str, stream: bool, first: str, following: str) -> None:
    """No error at Gemini's, nor where a guardrail of Bedrock's speaks in the model's place: no other provider is asked."""
    sdk = sdks[client]
    stack.fault(first, FaultKind.CONTENT_FILTER)
    answer = sdk.ask(f"{first}-{following}", stream=stream)
    assert answer.text == ("" if first == "ge" else "Sorry, the model cannot answer this question.")
    native = {"google-genai": {"ge": None}, "boto3": {"be": "guardrail_intervened"}}.get(client, {})
    assert answer.finish == native.get(first, sdk.finishes["filtered"])
    assert stack.calls() == {first: 1}


def test_limited_target_cools_down(stack: Stack, sdk: Sdk, stream: bool) -> None:
    """The second request does not even try it until its Retry-After has passed."""
    stack.fault("oa", FaultKind.STATUS, status=429, retry_after=30)
    assert sdk.ask("oa-an", stream=stream).headers["x-llm-attempts"] == "2"
    assert sdk.ask("oa-an", stream=stream).headers["x-llm-attempts"] == "1"
    assert stack.calls() == {"oa": 1, "an": 2}


def test_all_rate_limited(stack: Stack, sdk: Sdk, stream: bool) -> None:
    """429, with the shortest Retry-After: at the end of the chain, and again at once when all cool down."""
    stack.fault("oa", FaultKind.STATUS, status=429, retry_after=40)
    stack.fault("an", FaultKind.STATUS, status=429, retry_after=25)
    with pytest.raises(sdk.errors.RateLimitError) as caught:
        sdk.ask("oa-an", stream=stream, request_id=f"limited-{sdk.name}-{stream}")
    assert caught.value.response.headers["retry-after"] == "25"
    assert "2 attempts: 1 oa: 429 rate_limited; 2 an: 429 rate_limited" in str(caught.value)
    line = stack.lines.of(f"limited-{sdk.name}-{stream}")
    assert (line["outcome"], line["status"], line["error_type"]) == ("exhausted", 429, "rate_limited")
    with pytest.raises(sdk.errors.RateLimitError) as again:
        sdk.ask("oa-an", stream=stream, request_id=f"cooling-{sdk.name}-{stream}")
    assert 20 <= int(again.value.response.headers["retry-after"]) <= 25
    assert stack.calls() == {"oa": 1, "an": 1}
    assert stack.lines.of(f"cooling-{sdk.name}-{stream}")["outcome"] == "refused"


@pytest.mark.parametrize(
    ("kind", "options", "openai_error", "anthropic_error", "status"),
    [
        (FaultKind.STATUS, {"status": 503}, "InternalServerError", "ServiceUnavailableError", 503),
        (FaultKind.STATUS, {"status": 500}, "InternalServerError", "InternalServerError", 502),
        (FaultKind.KEY_REFUSED, {}, "InternalServerError", "InternalServerError", 502),
        (FaultKind.RESET, {}, "InternalServerError", "ServiceUnavailableError", 503),
        (FaultKind.SILENCE, {}, "InternalServerError", "GatewayTimeoutError", 504),
        (FaultKind.HEADERS_THEN_SILENCE, {}, "InternalServerError", "GatewayTimeoutError", 504),
        (FaultKind.EMPTY, {}, "InternalServerError", "InternalServerError", 502),
    ],
)
def test_all_targets_used_up(
    stack: Stack, sdk: Sdk, stream: bool, kind: FaultKind, options: dict[str, Any], openai_error: str, anthropic_error: str, status: int
) -> None:
    """The last error, in the client's envelope, with every attempt listed. The gateway's own key being refused is not the client's 401."""
    for sim in ("oa", "an"):
        stack.fault(sim, kind, **options)
    request_id = f"used-up-{kind}-{status}-{sdk.name}-{stream}"
    with pytest.raises(sdk.errors.APIStatusError) as caught:
        sdk.ask("oa-an", stream=stream, request_id=request_id)
    error = caught.value
    assert (type(error).__name__, error.status_code) == ({"openai": openai_error, "anthropic": anthropic_error}[sdk.name], status)
    assert error.response.headers["content-type"] == "application/json"
    line = stack.lines.of(request_id)
    assert (line["outcome"], line["status"]) == ("exhausted", status)
    assert f"{len(line['attempts'])} attempts: 1 oa: " in str(error)
    assert all(f"{n} {a['target']}: " in str(error) for n, a in enumerate(line["attempts"], 1))
    assert {a["target"] for a in line["attempts"]} == {"oa", "an"}
    assert error.response.headers["x-llm-attempts"] == str(len(line["attempts"]))


@pytest.mark.parametrize("kind", [FaultKind.SILENCE, FaultKind.HEADERS_THEN_SILENCE])
def test_one_deadline_over_the_whole_chain(stack: Stack, sdk: Sdk, stream: bool, kind: FaultKind) -> None:
    """Four silent targets of 0.4 s each would take longer than the 0.9 s that the model allows."""
    for sim in stack.sims:
        stack.fault(sim, kind)
    request_id = f"deadline-{kind}-{sdk.name}-{stream}"
    started = time.monotonic()
    with pytest.raises(sdk.errors.APIStatusError) as caught:
        sdk.ask("hurried", stream=stream, request_id=request_id)
    assert time.monotonic() - started < PATIENCE
    assert caught.value.status_code == 504
    assert type(caught.value).__name__ == {"openai": "InternalServerError", "anthropic": "GatewayTimeoutError"}[sdk.name]
    assert "deadline" in str(caught.value)
    assert "1 oa: " in str(caught.value)
    line = stack.lines.of(request_id)
    assert (line["outcome"], line["status"]) == ("deadline", 504)
    assert len(line["attempts"]) < 4
    assert [a["target"] for a in line["attempts"]] == ["oa", "an", "ge"][: len(line["attempts"])]


def test_too_long_goes_to_a_larger_window_only(stack: Stack, sdk: Sdk, stream: bool) -> None:
    """[small, ob, large]: ob's window is larger too, large's is the largest; whoever is no larger than the one that refused is left out."""
    stack.fault("oa", FaultKind.CONTEXT_LENGTH, model="gpt-4o-small")
    stack.fault("ob", FaultKind.CONTEXT_LENGTH)
    answer = sdk.ask("window", stream=stream, request_id=f"window-{sdk.name}-{stream}")
    assert answer.headers["x-llm-target"] == "large"
    line = stack.lines.of(f"window-{sdk.name}-{stream}")
    assert [a["target"] for a in line["attempts"]] == ["small", "ob", "large"]
    assert [a.get("error_type") for a in line["attempts"]] == ["context_length_exceeded"] * 2 + [None]


def test_too_long_for_all_is_the_clients_error(stack: Stack, sdk: Sdk, stream: bool) -> None:
    for sim in ("oa", "an", "ob"):
        stack.fault(sim, FaultKind.CONTEXT_LENGTH)
    with pytest.raises(sdk.errors.BadRequestError) as caught:
        sdk.ask("window", stream=stream)
    if sdk.name == "openai":
        assert caught.value.code == "context_length_exceeded"
    else:
        assert "prompt is too long" in str(caught.value)
    assert stack.calls() == {"oa": 1, "ob": 1, "an": 1}


def test_no_done_after_a_stream_without_its_terminator(stack: Stack, sdks: dict[str, Sdk]) -> None:
    """The finish was there, so it is passed on; the end marker was not, so none is invented."""
    stack.fault("an", FaultKind.NO_TERMINATOR)
    client = sdks["openai"]
    assert isinstance(client, OpenAI)
    body = {"model": "an", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    with client.client.chat.completions.with_streaming_response.create(**body) as response:
        raw = b"".join(response.iter_bytes())
    assert b'"finish_reason":"stop"' in raw
    assert b"[DONE]" not in raw


def test_client_that_leaves_costs_no_target(stack: Stack, sdks: dict[str, Sdk]) -> None:
    """A client that hangs up while the provider is silent: the provider's connection goes too, nothing is retried, nobody is blamed."""
    stack.fault("oa", FaultKind.SILENCE)
    client = sdks["openai"]
    assert isinstance(client, OpenAI)
    with pytest.raises(sdks["openai"].errors.APITimeoutError):
        client.client.with_options(timeout=0.3).chat.completions.create(
            model="oa-an", messages=[{"role": "user", "content": "hello"}], extra_headers={"x-request-id": "left"}
        )
    line = stack.lines.of("left")
    assert (line["outcome"], line["status"], line["level"]) == ("client_gone", 0, "info")
    assert stack.calls() == {"oa": 1}
    assert stack.services.health.why("oa") is None
