"""A third party's mock (llmock) as ten providers, with its faults: what comes through to the SDKs of every dialect, and who is asked when it fails.

What it does otherwise than the providers that it stands for, and what is therefore not asked of it here: it has no Bedrock. Its Anthropic answers 422
to a message of the role `system` between others, which Claude Code sends and Anthropic takes, and reads an output format only where the beta had it.
Its Mistral and its Perplexity count the tokens of a stream only when asked, which the providers do unasked. Its Responses says of filtered content
that it is complete, its Cohere that it is an error. Its Perplexity has tools, Perplexity has none.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.caller import TOOL, Caller, Heard, Question
from tests.e2e.callers import CALLERS, Anthropic, Boto3, Cohere, Genai, Ollama, OpenAI, Responses, all_callers
from tests.e2e.stack import Stack, running_stack

pytest.importorskip("llmock", reason="the third party's mock (llmock) is not installed")

from llmock.ratelimit import LimitSettings
from llmock.scenarios import Delay, Fail, Match, Reply, SlowFirstToken, StreamFault, ToolFault
from llmock.simulation import MockResponseSettings
from llmock.testing import LLMockServer

PROVIDERS = {
    "openai": "kind: openai, url: URL/v1 | model: gpt-4o, api: chat",
    "responses": "kind: openai, url: URL/v1 | model: gpt-5, api: responses",
    "anthropic": "kind: anthropic, url: URL/anthropic/v1 | model: claude-sonnet-4-6",
    "gemini": "kind: gemini, url: URL/gemini/v1beta | model: gemini-2.5-pro",
    "mistral": "kind: mistral, url: URL/mistral/v1 | model: mistral-large-latest",
    "cohere": "kind: cohere, url: URL/cohere | model: command-a-03-2025",
    "groq": "kind: groq, url: URL/groq/openai/v1 | model: llama-3.3-70b-versatile",
    "together": "kind: together, url: URL/together/v1 | model: meta-llama/Llama-3.3-70B-Instruct-Turbo",
    "perplexity": "kind: perplexity, url: URL/perplexity/v1 | model: sonar",
    "xai": "kind: xai, url: URL/xai/v1 | model: grok-3",
    "ai21": "kind: openai-compatible, url: URL/ai21/v1 | model: jamba-large",
}
"""How each is written in a registry: | stands between the provider and its target."""
DIALECTS = {"responses": Responses.dialect, "anthropic": Anthropic.dialect, "gemini": Genai.dialect, "cohere": Cohere.dialect}
DIALECTS |= dict.fromkeys(("openai", "mistral"), OpenAI.dialect)
NEXT = {"openai": "anthropic", "responses": "gemini", "anthropic": "gemini", "gemini": "cohere", "cohere": "openai", "mistral": "anthropic"}
"""Chains of two whose first one fails."""
_NO_EJECTION = "{outlier_detection: {enforcing_consecutive_5xx: 0, enforcing_consecutive_gateway_failure: 0, enforcing_success_rate: 0}}"


@dataclass
class Mock:
    stack: Stack
    server: LLMockServer
    callers: dict[str, Caller]

    def ask(self, name: str, model: str, question: Question) -> tuple[Heard | Exception, dict[str, Any]]:
        """(what the SDK heard or raised, the log line)."""
        request_id = str(uuid.uuid4())
        try:
            said: Heard | Exception = self.callers[name].ask(model, question, request_id)
        except Exception as error:
            said = error
        return said, self.stack.lines.of(request_id)

    def plan(self, *behaviours: Any) -> None:
        self.server.state.scenarios.add(*behaviours)


@pytest.fixture(scope="module")
def shared() -> Iterator[Mock]:
    with LLMockServer(responses=MockResponseSettings(response_style="echo")) as server:

        def registry(sims: Mapping[str, object], directory: Path) -> str:
            providers, targets, models = [], [], []
            for name, kind in PROVIDERS.items():
                provider, _, target = kind.replace("URL", server.url).partition(" | ")
                providers.append(f"  {name}: {{{provider}, envoy: {_NO_EJECTION}}}")
                targets.append(f"  {name}: {{provider: {name}, {target}}}")
                models.append(f"  {name}: {{targets: [{name}], attempts: {{total: 1}}}}")
            for first, following in NEXT.items():
                hurry = "timeouts: {unary_attempt: 0.7s, first_token: 0.7s, stall: 0.7s, deadline: 10s}"
                models.append(f"  {first}-{following}: {{targets: [{first}, {following}], attempts: {{same_target: 0}}, {hurry}}}")
            return "\n".join(["version: 1", "providers:", *providers, "targets:", *targets, "models:", *models, ""])

        with running_stack(registry, {}, {}) as stack, all_callers(stack.url) as callers:
            yield Mock(stack, server, callers)


@pytest.fixture
def mock(shared: Mock) -> Iterator[Mock]:
    shared.stack.reset()
    yield shared
    shared.server.state.scenarios.clear()


@pytest.mark.parametrize("name", CALLERS)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_text(mock: Mock, provider: str, name: str, stream: bool) -> None:
    said, line = mock.ask(name, provider, Question("what is new?", stream=stream, max_tokens=100))
    assert isinstance(said, Heard), repr(said)
    assert (said.text.strip(), said.finish) == ("Hello! You said: what is new?", "stop")
    assert (line["outcome"], line["target"]) == ("ok", provider)
    # Mistral and Perplexity count tokens unasked, and refuse to be asked; llmock waits to be asked
    if not (stream and provider in ("mistral", "perplexity")):
        assert said.usage == (line["input_tokens"], line["output_tokens"])
        assert line["output_tokens"] > 0


@pytest.mark.parametrize("provider", [p for p in PROVIDERS if p != "perplexity"])
def test_a_tool(mock: Mock, provider: str, stream: bool) -> None:
    for name in CALLERS:
        said, line = mock.ask(name, provider, Question("what is the weather?", stream=stream, tool=True))
        assert isinstance(said, Heard), f"{name}: {said!r}"
        assert (said.calls, said.finish) == ([(TOOL, {"city": "Paris"})], "tools"), name
        assert line["finish"] == "tool_calls"


@pytest.mark.parametrize("provider", [p for p in PROVIDERS if p != "anthropic"])
def test_a_shape(mock: Mock, provider: str, stream: bool) -> None:
    for name in CALLERS:
        if name != Boto3.name:
            said, _ = mock.ask(name, provider, Question("a city, please", stream=stream, shape=True))
            assert isinstance(said, Heard), f"{name}: {said!r}"
            assert said.text.strip() == '{"city": "Paris"}', name


@pytest.mark.parametrize("reason", ["length", "content_filter"])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_other_ends(mock: Mock, provider: str, reason: str, stream: bool) -> None:
    for name in (OpenAI.name, Anthropic.name, Genai.name):
        mock.plan(Reply("so far", finish_reason=reason))
        said, _ = mock.ask(name, provider, Question(stream=stream))
        if provider == "cohere" and reason == "content_filter":
            # it says ERROR, which at Cohere is no answer
            assert isinstance(said, Exception)
            continue
        if provider == "responses" and reason == "content_filter":
            continue  # it says that the answer is complete
        assert isinstance(said, Heard), f"{name}: {said!r}"
        assert (said.text.strip(), said.finish) == ("so far", "length" if reason == "length" else "filtered"), name


# its faults


FIRST = list(NEXT)
IN_TURN = [Anthropic.name, OpenAI.name, Genai.name, Boto3.name, Responses.name, Ollama.name, Cohere.name]


def caller_for(first: str, fault: str) -> str:
    """Another one for every fault, so that they all meet."""
    return IN_TURN[(FIRST.index(first) + sum(fault.encode())) % len(IN_TURN)]


def at(first: str, **more: Any) -> Match:
    """llmock knows by the path which of its providers is asked, and takes OpenAI's two APIs for one."""
    return Match(provider="openai" if first == "responses" else first, **more)


REFUSED = {"400": 400, "422": 422}
"""The request's own fault: nobody else is asked."""
PASSED_OVER = {"401": 401, "403": 403, "404": 404, "429": 429, "500": 500, "502": 502, "503": 503, "529": 529}


@pytest.mark.parametrize("status", PASSED_OVER)
@pytest.mark.parametrize("first", FIRST)
def test_a_status_that_another_may_not_have(mock: Mock, first: str, status: str, stream: bool) -> None:
    mock.plan(Fail(PASSED_OVER[status], times=None, match=at(first)))
    said, line = mock.ask(caller_for(first, status), f"{first}-{NEXT[first]}", Question(stream=stream))
    assert isinstance(said, Heard), repr(said)
    assert said.text.strip() == "Hello! You said: hello"
    assert [(a["target"], a["status"]) for a in line["attempts"]] == [(first, PASSED_OVER[status]), (NEXT[first], 200)]


@pytest.mark.parametrize("status", REFUSED)
@pytest.mark.parametrize("first", FIRST)
def test_a_status_that_says_that_the_request_is_wrong(mock: Mock, first: str, status: str, stream: bool) -> None:
    mock.plan(Fail(REFUSED[status], message="no such parameter", match=at(first)))
    name = caller_for(first, status)
    said, line = mock.ask(name, f"{first}-{NEXT[first]}", Question(stream=stream))
    assert isinstance(said, mock.callers[name].errors), repr(said)
    assert 400 <= mock.callers[name].status(said) < 500
    assert [a["target"] for a in line["attempts"]] == [first]
    assert line["outcome"] == "rejected"


@pytest.mark.parametrize("first", FIRST)
def test_a_prompt_that_is_too_long(mock: Mock, first: str) -> None:
    """In the words of each provider, which all become one kind."""
    limiter = mock.server.state.limiter
    limiter.configure(LimitSettings(context_window=20))
    try:
        said, line = mock.ask(caller_for(first, "window"), first, Question("a long question " * 40))
    finally:
        limiter.configure(LimitSettings())
    assert isinstance(said, Exception)
    assert (line["outcome"], line["error_type"]) == ("rejected", "context_length_exceeded")


BEFORE: dict[str, Any] = {
    "nothing but headers": StreamFault("disconnect", after_chunks=0),
    "a clean end at once": StreamFault("truncate", after_chunks=0),
    "nothing for too long": StreamFault("stall", after_chunks=0, stall_seconds=3),
    "a first token that is too late": SlowFirstToken(3),
    "an answer that is too late": Delay(3),
    "nonsense first": StreamFault("malformed", after_chunks=0),
}
BEHIND: dict[str, Any] = {
    "disconnect": StreamFault("disconnect", after_chunks=4),
    "truncate": StreamFault("truncate", after_chunks=4),
    "stall": StreamFault("stall", after_chunks=4, stall_seconds=3),
    "malformed": StreamFault("malformed", after_chunks=4),
}
LONG = Question("one two three four five six seven eight nine ten", stream=True)


SLOW = ("a first token that is too late", "an answer that is too late")
"""To wait for them takes time: not at every provider."""


@pytest.mark.parametrize(("first", "fault"), [(first, fault) for first in FIRST for fault in BEFORE if fault not in SLOW or first in FIRST[:2]])
def test_before_the_first_content(mock: Mock, first: str, fault: str) -> None:
    mock.plan(replace(BEFORE[fault], match=at(first, stream=True)))
    said, line = mock.ask(caller_for(first, fault), f"{first}-{NEXT[first]}", LONG)
    assert isinstance(said, Heard), repr(said)
    assert said.text.strip() == f"Hello! You said: {LONG.text}"
    assert [a["target"] for a in line["attempts"]] == [first, NEXT[first]]


@pytest.mark.parametrize("fault", BEHIND)
@pytest.mark.parametrize("first", FIRST)
def test_behind_the_first_content(mock: Mock, first: str, fault: str) -> None:
    """Nobody takes it for an answer, and where nothing was on its way yet somebody else gives one."""
    # Responses begins with four events that say nothing
    mock.plan(replace(BEHIND[fault], after_chunks=7 if first == "responses" else 4, match=at(first, stream=True)))
    name = caller_for(first, fault)
    said, line = mock.ask(name, f"{first}-{NEXT[first]}", LONG)
    if fault == "disconnect" and isinstance(said, Heard):
        assert said.text.strip() == f"Hello! You said: {LONG.text}"
        assert [a["target"] for a in line["attempts"]] == [first, NEXT[first]]
        return
    assert isinstance(said, Exception), f"took it for an answer: {said}"
    assert [a["target"] for a in line["attempts"]] == [first]
    if fault == "malformed" and mock.callers[name].dialect == DIALECTS[first]:
        # it gets what the provider said, and leaves
        assert line["outcome"] in ("cut", "client_gone")
    elif fault == "disconnect":
        # Envoy answers where nothing of the answer was on its way yet
        assert (line["outcome"], line["status"]) in (("cut", 200), ("exhausted", 502))
    else:
        assert (line["outcome"], line["status"]) == ("stalled" if fault == "stall" else "cut", 200)


@pytest.mark.parametrize("first", FIRST)
def test_a_tool_that_nobody_offered(mock: Mock, first: str, stream: bool) -> None:
    """The application's to notice: it gets what the model said."""
    mock.plan(ToolFault("unknown_tool", match=at(first, tools=True)))
    said, _ = mock.ask(caller_for(first, "unknown"), first, Question("what is the weather?", stream=stream, tool=True))
    assert isinstance(said, Heard), repr(said)
    assert said.calls[0][0] == "llmock_unknown_tool"


@pytest.mark.parametrize("name", [Anthropic.name, Genai.name, Boto3.name, Ollama.name])
def test_arguments_that_are_no_json(mock: Mock, name: str) -> None:
    """Formats that hold arguments as JSON cannot say them: the SDK gets JSON, and the loss is named."""
    mock.plan(ToolFault("malformed_arguments", match=at("openai", tools=True)))
    said, line = mock.ask(name, "openai", Question("what is the weather?", tool=True))
    assert isinstance(said, Heard), repr(said)
    assert [called for called, _ in said.calls] == [TOOL]
    assert "coerced:tool_arguments" in line["losses"]
