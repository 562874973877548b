"""Every client dialect against every provider dialect, streamed and not: what an application gets for what it asks.

The providers are strict and answer by rule, so their answers tell what reached them: they echo the question, count images, quote tool results,
and refuse a changed signature. Text and tool loops go over all pairs; what else there is over a part of them in which every client and every
provider occurs.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import orjson
import pytest

from extproc.simulator import FaultKind, Received
from extproc.simulator.replies import pieces
from tests.e2e.every_sdk import SDKS
from tests.e2e.sdk_ollama import PlainOllama
from tests.e2e.sdks import NAMES, Sdk
from tests.e2e.stack import Stack

PROVIDERS = ["oa", "re", "an", "ge", "be", "bi", "co", "ol"]
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000a49444154789c63000100000500010d0a2db40000000049454e44ae426082"
)
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
ALL = [(client, provider) for client in SDKS for provider in PROVIDERS]


def some(which: int) -> list[Any]:
    """A third of all pairs, another one for each `which`, streamed in turn: every client and every provider is in it at least twice."""
    return [
        pytest.param(client, provider, bool((i + j + which) % 2), id=f"{client}-{provider}-{'stream' if (i + j + which) % 2 else 'unary'}")
        for i, client in enumerate(SDKS)
        for j, provider in enumerate(PROVIDERS)
        if (i + j + which) % 3 == 0
    ]


def only(stack: Stack, provider: str) -> Received:
    """The one request that `provider` got; it found nothing wrong with it."""
    (request,) = stack.received(provider)
    assert request.problem is None
    return request


def provider_usage(stack: Stack, request: Received) -> dict[str, int]:
    """What the provider itself counts for this request: it is asked again, directly and not streamed."""
    kept = ("authorization", "x-api-key", "x-goog-api-key", "anthropic-version", "content-type", "x-amz-date")
    headers = {k: v for k, v in request.headers.items() if k in kept}
    body = orjson.loads(request.body or b"")
    body.pop("stream_options", None)
    target = request.target.replace(":streamGenerateContent?alt=sse", ":generateContent")
    target = target.replace("converse-stream", "converse").replace("invoke-with-response-stream", "invoke")
    if "stream" in body:
        body["stream"] = False
    name = next(n for n, sim in stack.sims.items() if sim.url.endswith(request.headers["host"]))
    answer = httpx.post(stack.sims[name].url + target, json=body, headers=headers).raise_for_status().json()
    usage = answer.get("usageMetadata") or answer.get("usage") or answer
    usage = usage.get("tokens", usage)
    for incoming, outgoing in (
        ("prompt_tokens", "completion_tokens"),
        ("input_tokens", "output_tokens"),
        ("inputTokens", "outputTokens"),
        ("promptTokenCount", "candidatesTokenCount"),
        ("prompt_eval_count", "eval_count"),
    ):
        if incoming in usage:
            return {"input": usage[incoming], "output": usage[outgoing] + usage.get("thoughtsTokenCount", 0)}
    raise AssertionError(usage)


@pytest.mark.parametrize(("client", "provider"), ALL)
def test_text(stack: Stack, sdks: dict[str, Sdk], client: str, provider: str, stream: bool) -> None:
    sdk = sdks[client]
    request_id = f"text-{client}-{provider}-{stream}"
    answer = sdk.ask(provider, "hello there", stream=stream, request_id=request_id)
    assert answer.text == f"sim-{provider} ({only(stack, provider).model}) heard: hello there"
    assert answer.finish == sdk.finishes["stop"]
    assert not answer.calls
    if stream:
        assert answer.pieces >= len(pieces(answer.text)) - 1, "the pieces were not passed on one by one"
    assert answer.headers["x-llm-target"] == provider
    assert answer.headers["x-llm-attempts"] == "1"
    line = stack.lines.of(request_id)
    assert (line["outcome"], line["status"], line["target"], line["stream"]) == ("ok", 200, provider, stream)
    assert line["finish"] == "stop"
    assert [(a["target"], a["status"], a["verdict"]) for a in line["attempts"]] == [(provider, 200, "pass")]
    assert ("ttft_ms" in line) == stream


@pytest.mark.parametrize(("client", "provider"), ALL)
def test_tool_loop(stack: Stack, sdks: dict[str, Sdk], client: str, provider: str) -> None:
    """Two calls at once, their results, then a third call, its result, then the answer. Streamed for every second pair."""
    sdk = sdks[client]
    stream = bool((list(SDKS).index(client) + PROVIDERS.index(provider)) % 2)
    options = sdk.options(tools=True)
    messages = sdk.user("call get_weather and get_time, both, for the city of Paris")
    first = sdk.ask(provider, messages=messages, stream=stream, **options)
    assert sorted(name for _, name, _ in first.calls) == sorted(NAMES)
    assert [arguments for _, _, arguments in first.calls] == [{"city": "Paris"}] * 2
    assert first.finish == sdk.finishes["tools"]

    messages += [*sdk.turn(first), *sdk.results(first, "sunny")]
    second = sdk.ask(provider, messages=messages, stream=stream, **options)
    assert "got 2 tool results" in second.text
    assert all(f"sunny {n}" in second.text for n in NAMES)

    messages += [*sdk.turn(second), *sdk.user("now get_time alone in Rome")]
    third = sdk.ask(provider, messages=messages, stream=stream, **options)
    assert [(name, arguments) for _, name, arguments in third.calls] == [("get_time", {"city": "Rome"})]
    messages += [*sdk.turn(third), *sdk.results(third, "noon")]
    fourth = sdk.ask(provider, messages=messages, stream=stream, **options)
    assert "got 1 tool result" in fourth.text
    assert "noon get_time" in fourth.text
    assert [r.problem for r in stack.received(provider)] == [None] * 4
    assert fourth.headers["x-llm-target"] == provider


THINKERS = {"think": "an", "gem3": "ge", "reason": "re", "be": "be", "bi": "bi"}
"""Models that sign their thoughts, by name, with the provider that gets the signatures back."""


@pytest.mark.parametrize("model", THINKERS)
@pytest.mark.parametrize("client", SDKS)
def test_signed_thinking_through_a_tool_loop(stack: Stack, sdks: dict[str, Sdk], client: str, model: str, stream: bool) -> None:
    """The provider signs its thoughts and gets the signature back, unchanged, whatever the client's format has room for. Ollama's own SDK throws away
    the ids of tool calls, all that could hold it: there a client in plain JSON asks."""
    sdk, provider = sdks[client] if client != "ollama" else PlainOllama(stack.url), THINKERS[model]
    options = sdk.options(tools=True, think=True)
    messages = sdk.user("think, then call get_weather and get_time, both, for the city of Paris")
    first = sdk.ask(model, messages=messages, stream=stream, **options)
    assert len(first.calls) == 2
    # Chat Completions has no word for thoughts, and Converse and Cohere none for asking OpenAI to summarise them
    if client != "openai" and (model != "reason" or client not in ("boto3", "cohere")):
        assert first.thinking
    messages += [*sdk.turn(first), *sdk.results(first, "sunny")]
    second = sdk.ask(model, messages=messages, stream=stream, **options)
    assert "got 2 tool results" in second.text
    asked = stack.received(provider)
    assert [r.problem for r in asked] == [None, None]
    sent = (asked[1].body or b"").decode()
    assert "llm1" not in sent, "our own marks are nobody's business"
    assert _signatures(provider, json.loads(sent)) == 1


def test_a_client_that_loses_the_signature_is_served_all_the_same(stack: Stack, sdks: dict[str, Sdk], stream: bool) -> None:
    """Ollama's SDK again: the thoughts of a provider that must see them signed are left out, and it is not asked to think on."""
    sdk = sdks["ollama"]
    options = sdk.options(tools=True, think=True)
    messages = sdk.user("think, then call get_weather, for the city of Paris")
    for model, provider in THINKERS.items():
        first = sdk.ask(model, messages=messages, stream=stream, **options)
        second = sdk.ask(model, messages=[*messages, *sdk.turn(first), *sdk.results(first, "sunny")], stream=stream, **options)
        assert "got 1 tool result" in second.text
        assert [r.problem for r in stack.received(provider)] == [None, None]


def _signatures(provider: str, sent: dict[str, Any]) -> int:
    """How many of its signatures `provider` got back."""
    match provider:
        case "an" | "bi":
            return sum(b["type"] == "thinking" and bool(b["signature"]) for m in sent["messages"] if m["role"] == "assistant" for b in m["content"])
        case "be":
            blocks = [b["reasoningContent"]["reasoningText"] for m in sent["messages"] for b in m["content"] if "reasoningContent" in b]
            return sum(bool(b["signature"]) for b in blocks)
        case "re":
            return sum(bool(i.get("encrypted_content")) for i in sent["input"] if i.get("type") == "reasoning")
        case _:
            # what the documentation lets a client say in place of a signature is none
            signed = [p["thoughtSignature"] for c in sent["contents"] for p in c["parts"] if "thoughtSignature" in p]
            return sum("thought_signature" not in s and "context_engineering" not in s for s in signed)


@pytest.mark.parametrize(("client", "provider", "stream"), some(0))
def test_usage(stack: Stack, sdks: dict[str, Sdk], client: str, provider: str, stream: bool) -> None:
    request_id = f"usage-{client}-{provider}-{stream}"
    answer = sdks[client].ask(provider, "count my tokens please", stream=stream, request_id=request_id)
    counted = provider_usage(stack, only(stack, provider))
    assert answer.usage == (counted["input"], counted["output"])
    line = stack.lines.of(request_id)
    assert (line["input_tokens"], line["output_tokens"]) == answer.usage
    if provider not in ("co", "ol"):  # the packaged prices know neither this model of Cohere's nor any of Ollama's
        assert line["cost_usd"] > 0


@pytest.mark.parametrize(("client", "provider", "stream"), some(1))
def test_system_prompt(stack: Stack, sdks: dict[str, Sdk], client: str, provider: str, stream: bool) -> None:
    sdk = sdks[client]
    sdk.ask(provider, stream=stream, **sdk.options(system="be brief"))
    body = orjson.loads(only(stack, provider).body or b"")
    where = {
        "re": body.get("instructions") or body.get("input", [])[:-1],
        "ge": body.get("systemInstruction"),
        **{name: body.get("system") for name in ("an", "be", "bi")},
        **{name: body.get("messages", [])[:-1] for name in ("oa", "co", "ol")},
    }[provider]
    assert "be brief" in json.dumps(where)


@pytest.mark.parametrize("provider", ["oa", "an", "ge"])
def test_several_system_prompts(stack: Stack, sdk: Sdk, provider: str) -> None:
    if sdk.name == "openai":
        roles = [{"role": "system", "content": "be brief"}, {"role": "developer", "content": "be kind"}, {"role": "user", "content": "hello"}]
        sdk.ask(provider, messages=roles)
    else:
        sdk.ask(provider, "hello", system=[{"type": "text", "text": "be brief"}, {"type": "text", "text": "be kind"}])
    body = orjson.loads(only(stack, provider).body or b"")
    where = {"oa": body.get("messages", [])[:-1], "an": body.get("system"), "ge": body.get("systemInstruction")}[provider]
    assert "be brief" in json.dumps(where)
    assert "be kind" in json.dumps(where)


@pytest.mark.parametrize(("client", "provider", "stream"), [p for p in some(2) if p.values[0] != "ollama" and p.values[1] != "ol"])
def test_tool_choice(stack: Stack, sdks: dict[str, Sdk], client: str, provider: str, stream: bool) -> None:
    """Ollama has none, neither as a client nor as a provider; Cohere cannot name a tool, Converse cannot forbid them."""
    sdk = sdks[client]

    def called(text: str, choice: str) -> list[str]:
        return [name for _, name, _ in sdk.ask(provider, text, stream=stream, **sdk.options(tools=True, choice=choice)).calls]

    if provider != "co":
        assert called("hello", "get_time") == ["get_time"]
    assert len(called("hello", "any")) == 1
    assert called("call get_weather", "none") == []
    assert all(r.problem is None for r in stack.received(provider))


@pytest.mark.parametrize("provider", ["oa", "an", "bi", "re"])
def test_one_call_at_a_time(stack: Stack, sdk: Sdk, provider: str) -> None:
    single = {"parallel_tool_calls": False} if sdk.name == "openai" else {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
    assert len(sdk.ask(provider, "call get_weather and get_time, both", **sdk.options(tools=True), **single).calls) == 1
    only(stack, provider)


@pytest.mark.parametrize(("client", "provider", "stream"), some(0))
def test_image_and_document(stack: Stack, sdks: dict[str, Sdk], client: str, provider: str, stream: bool) -> None:
    """A PDF only where client and provider have such a thing."""
    sdk = sdks[client]
    document = sdk.documents and provider not in ("co", "ol")
    answer = sdk.ask(provider, messages=sdk.user("look", png=PNG, pdf=PDF if document else None), stream=stream)
    assert f"1 image (image/png, {len(PNG)} bytes)" in answer.text
    assert (f"1 document (application/pdf, {len(PDF)} bytes)" in answer.text) is document
    only(stack, provider)


@pytest.mark.parametrize(("client", "provider", "stream"), some(1))
def test_structured_output(stack: Stack, sdks: dict[str, Sdk], client: str, provider: str, stream: bool) -> None:
    sdk = sdks[client]
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "inhabitants": {"type": "integer"}},
        "required": ["city", "inhabitants"],
        "additionalProperties": False,
    }
    document = json.loads(sdk.ask(provider, "tell me about Paris", stream=stream, **sdk.options(schema=schema)).text)
    assert set(document) == {"city", "inhabitants"}
    assert document["city"] == "Paris"
    assert isinstance(document["inhabitants"], int)
    only(stack, provider)


@pytest.mark.parametrize(("client", "provider", "stream"), [p for p in some(2) if SDKS[p.values[0]].stops and p.values[1] != "re"])
def test_stop_sequence(stack: Stack, sdks: dict[str, Sdk], client: str, provider: str, stream: bool) -> None:
    sdk = sdks[client]
    answer = sdk.ask(provider, "say one STOP two", stream=stream, **sdk.options(stop="STOP"))
    assert answer.text.rstrip().endswith("say one")
    known = provider in ("an", "be", "bi", "co")
    named = {"anthropic": "stop_sequence", "boto3": "stop_sequence", "cohere": "STOP_SEQUENCE"}
    assert answer.finish == (named.get(client, sdk.finishes["stop"]) if known else sdk.finishes["stop"])
    if client == "anthropic":
        # only Anthropic says which sequence it was
        assert answer.raw.stop_sequence == ("STOP" if provider in ("an", "bi") else None)
    only(stack, provider)


@pytest.mark.parametrize(("client", "provider", "stream"), some(0))
def test_token_limit(stack: Stack, sdks: dict[str, Sdk], client: str, provider: str, stream: bool) -> None:
    """Responses takes no limit below 16."""
    sdk = sdks[client]
    limit = 16 if "re" in (provider, client[7:9]) else 3
    answer = sdk.ask(provider, "a long story " * 20, stream=stream, **sdk.options(limit=limit))
    assert len(pieces(answer.text)) == limit
    assert answer.finish == sdk.finishes["length"]
    assert answer.usage is not None
    assert answer.usage[1] == limit


@pytest.mark.parametrize(("client", "provider", "stream"), [p for p in some(1) if p.values[1] not in ("co", "ol")])
def test_answer_cut_by_a_content_filter(stack: Stack, sdks: dict[str, Sdk], client: str, provider: str, stream: bool) -> None:
    """Cohere and Ollama have no word for it."""
    sdk = sdks[client]
    stack.fault(provider, FaultKind.FILTERED)
    answer = sdk.ask(provider, "something dubious", stream=stream)
    # Gemini takes back what it said
    assert bool(answer.text) is (provider != "ge")
    assert answer.finish == sdk.finishes["filtered"]


@pytest.mark.parametrize(("client", "provider"), [p.values[:2] for p in some(2)])
def test_answer_in_pieces_of_a_few_bytes(stack: Stack, sdks: dict[str, Sdk], client: str, provider: str) -> None:
    sdk = sdks[client]
    stack.fault(provider, FaultKind.DRIP, seconds=0.0)
    answer = sdk.ask(provider, "grüße aus Köln — 你好 🙂", stream=True)
    assert answer.text.endswith("heard: grüße aus Köln — 你好 🙂")
    assert answer.finish == sdk.finishes["stop"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_usage_of_a_stream_is_only_sent_when_asked_for(stack: Stack, sdks: dict[str, Sdk], provider: str) -> None:
    request_id = f"no-usage-{provider}"
    answer = sdks["openai"].ask(provider, stream=True, stream_options={}, request_id=request_id)
    assert answer.usage is None
    assert all(chunk.choices for chunk in answer.raw), "a usage chunk that nobody asked for"
    assert stack.lines.of(request_id)["output_tokens"] > 0


@pytest.mark.parametrize("model", ["gem3", "be"])
def test_enabled_thinking_is_shown_whoever_thinks(stack: Stack, sdks: dict[str, Sdk], model: str, stream: bool) -> None:
    """Anthropic's default for `display` is a summary."""
    answer = sdks["anthropic"].ask(model, stream=stream, thinking={"type": "enabled", "budget_tokens": 2000}, max_tokens=4000)
    assert answer.thinking
