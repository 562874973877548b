"""Every client dialect against every provider dialect, streamed and not: what an application gets for what it asks.

The providers are strict and answer by rule, so their answers tell what reached them: they echo the question, count images, quote tool results,
and refuse a changed signature.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import orjson
import pytest

from extproc.simulator import FaultKind, Received
from extproc.simulator.replies import pieces
from tests.e2e.sdks import Answer, Sdk
from tests.e2e.stack import Stack

PROVIDERS = ["oa", "an", "ge"]
PNG = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000a49444154789c63000100000500010d0a2db40000000049454e44ae426082"
    )
).decode()
PDF = base64.b64encode(b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n").decode()
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
NAMES = ("get_weather", "get_time")
FINISH = {
    "openai": {"stop": "stop", "length": "length", "tools": "tool_calls", "filtered": "content_filter"},
    "anthropic": {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use", "filtered": "refusal"},
}


def tools(sdk: Sdk) -> list[dict[str, Any]]:
    if sdk.name == "openai":
        return [{"type": "function", "function": {"name": n, "description": f"tells {n}", "parameters": CITY}} for n in NAMES]
    return [{"name": n, "description": f"tells {n}", "input_schema": CITY} for n in NAMES]


def turn(sdk: Sdk, answer: Answer, stream: bool) -> dict[str, Any]:
    """The assistant's turn as an application repeats it: what the SDK gave, nothing more."""
    if sdk.name == "anthropic":
        return {"role": "assistant", "content": [b.model_dump(mode="json", exclude_none=True) for b in answer.raw.content]}
    if not stream:
        message: dict[str, Any] = answer.raw.choices[0].message.model_dump(mode="json", exclude_none=True)
        return message
    calls = [{"id": i, "type": "function", "function": {"name": n, "arguments": json.dumps(a)}} for i, n, a in answer.calls]
    return {"role": "assistant", "content": answer.text or None, "tool_calls": calls}


def results(sdk: Sdk, answer: Answer, said: str) -> list[dict[str, Any]]:
    """The next messages: a result for each call."""
    if sdk.name == "openai":
        return [{"role": "tool", "tool_call_id": i, "content": f"{said} {n}"} for i, n, _ in answer.calls]
    return [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": i, "content": f"{said} {n}"} for i, n, _ in answer.calls]}]


def only(stack: Stack, provider: str) -> Received:
    """The one request that `provider` got; it found nothing wrong with it."""
    (request,) = stack.received(provider)
    assert request.problem is None
    return request


def provider_usage(stack: Stack, request: Received) -> dict[str, int]:
    """What the provider itself counts for this request: it is asked again, directly and not streamed."""
    headers = {k: v for k, v in request.headers.items() if k in ("authorization", "x-api-key", "x-goog-api-key", "anthropic-version", "content-type")}
    body = orjson.loads(request.body or b"")
    body.pop("stream", None)
    body.pop("stream_options", None)
    target = request.target.replace(":streamGenerateContent?alt=sse", ":generateContent")
    name = next(n for n, sim in stack.sims.items() if sim.url.endswith(request.headers["host"]))
    answer = httpx.post(stack.sims[name].url + target, json=body, headers=headers).raise_for_status().json()
    usage = answer.get("usage") or answer["usageMetadata"]
    for incoming, outgoing in (
        ("prompt_tokens", "completion_tokens"),
        ("input_tokens", "output_tokens"),
        ("promptTokenCount", "candidatesTokenCount"),
    ):
        if incoming in usage:
            return {"input": usage[incoming], "output": usage[outgoing] + usage.get("thoughtsTokenCount", 0)}
    raise AssertionError(usage)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_text(stack: Stack, sdk: Sdk, provider: str, stream: bool) -> None:
    answer = sdk.ask(provider, "hello there", stream=stream, request_id=f"text-{sdk.name}-{provider}-{stream}")
    assert answer.text == f"sim-{provider} ({only(stack, provider).model}) heard: hello there"
    assert answer.finish == FINISH[sdk.name]["stop"]
    assert not answer.calls
    if stream:
        assert answer.pieces >= len(pieces(answer.text)) - 1, "the pieces were not passed on one by one"
    assert answer.headers["x-llm-target"] == provider
    assert answer.headers["x-llm-attempts"] == "1"
    line = stack.lines.of(f"text-{sdk.name}-{provider}-{stream}")
    assert (line["outcome"], line["status"], line["target"], line["stream"]) == ("ok", 200, provider, stream)
    assert line["finish"] == "stop"
    assert [(a["target"], a["status"], a["verdict"]) for a in line["attempts"]] == [(provider, 200, "pass")]
    assert ("ttft_ms" in line) == stream


@pytest.mark.parametrize("provider", PROVIDERS)
def test_usage(stack: Stack, sdk: Sdk, provider: str, stream: bool) -> None:
    request_id = f"usage-{sdk.name}-{provider}-{stream}"
    answer = sdk.ask(provider, "count my tokens please", stream=stream, request_id=request_id)
    counted = provider_usage(stack, only(stack, provider))
    assert answer.usage == (counted["input"], counted["output"])
    line = stack.lines.of(request_id)
    assert (line["input_tokens"], line["output_tokens"]) == answer.usage
    assert line["cost_usd"] > 0


@pytest.mark.parametrize("provider", PROVIDERS)
def test_system_prompt(stack: Stack, sdk: Sdk, provider: str) -> None:
    if sdk.name == "openai":
        roles = [{"role": "system", "content": "be brief"}, {"role": "developer", "content": "be kind"}, {"role": "user", "content": "hello"}]
        sdk.ask(provider, messages=roles)
    else:
        sdk.ask(provider, "hello", system=[{"type": "text", "text": "be brief"}, {"type": "text", "text": "be kind"}])
    body = orjson.loads(only(stack, provider).body or b"")
    where = {"oa": body.get("messages", [])[:-1], "an": body.get("system"), "ge": body.get("systemInstruction")}[provider]
    assert "be brief" in json.dumps(where)
    assert "be kind" in json.dumps(where)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_tool_loop(stack: Stack, sdk: Sdk, provider: str, stream: bool) -> None:
    """Two calls at once, their results, then a third call, its result, then the answer."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "call get_weather and get_time, both, for the city of Paris"}]
    first = sdk.ask(provider, messages=messages, tools=tools(sdk), stream=stream)
    assert sorted(name for _, name, _ in first.calls) == sorted(NAMES)
    assert [arguments for _, _, arguments in first.calls] == [{"city": "Paris"}] * 2
    assert len({call_id for call_id, _, _ in first.calls}) == 2
    assert first.finish == FINISH[sdk.name]["tools"]

    messages += [turn(sdk, first, stream), *results(sdk, first, "sunny")]
    second = sdk.ask(provider, messages=messages, tools=tools(sdk), stream=stream)
    assert "got 2 tool results" in second.text
    assert all(f"sunny {n}" in second.text for n in NAMES)

    messages += [turn(sdk, second, stream), {"role": "user", "content": "now get_time alone in Rome"}]
    third = sdk.ask(provider, messages=messages, tools=tools(sdk), stream=stream)
    assert [(name, arguments) for _, name, arguments in third.calls] == [("get_time", {"city": "Rome"})]
    messages += [turn(sdk, third, stream), *results(sdk, third, "noon")]
    fourth = sdk.ask(provider, messages=messages, tools=tools(sdk), stream=stream)
    assert "got 1 tool result" in fourth.text
    assert "noon get_time" in fourth.text
    assert [r.problem for r in stack.received(provider)] == [None] * 4


@pytest.mark.parametrize("provider", PROVIDERS)
def test_tool_choice(stack: Stack, sdk: Sdk, provider: str) -> None:
    forced: Any = {"type": "function", "function": {"name": "get_time"}} if sdk.name == "openai" else {"type": "tool", "name": "get_time"}
    must: Any = "required" if sdk.name == "openai" else {"type": "any"}
    never: Any = "none" if sdk.name == "openai" else {"type": "none"}
    assert [c[1] for c in sdk.ask(provider, "hello", tools=tools(sdk), tool_choice=forced).calls] == ["get_time"]
    assert len(sdk.ask(provider, "hello", tools=tools(sdk), tool_choice=must).calls) == 1
    assert sdk.ask(provider, "call get_weather", tools=tools(sdk), tool_choice=never).calls == []
    single = {"parallel_tool_calls": False} if sdk.name == "openai" else {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
    if provider != "ge":  # Gemini has no word for it
        assert len(sdk.ask(provider, "call get_weather and get_time, both", tools=tools(sdk), **single).calls) == 1
    assert all(r.problem is None for r in stack.received(provider))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_image_and_document(stack: Stack, sdk: Sdk, provider: str, stream: bool) -> None:
    content: list[dict[str, Any]] = [{"type": "text", "text": "look"}]
    if sdk.name == "openai":
        content += [
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
        ]
    else:
        content += [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
        ]
    answer = sdk.ask(provider, messages=[{"role": "user", "content": content}], stream=stream)
    assert f"1 image (image/png, {len(base64.b64decode(PNG))} bytes)" in answer.text
    assert f"1 document (application/pdf, {len(base64.b64decode(PDF))} bytes)" in answer.text
    only(stack, provider)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_structured_output(stack: Stack, sdk: Sdk, provider: str, stream: bool) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "inhabitants": {"type": "integer"}},
        "required": ["city", "inhabitants"],
        "additionalProperties": False,
    }
    wanted: dict[str, Any] = (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "city", "schema": schema, "strict": True}}}
        if sdk.name == "openai"
        else {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    )
    document = json.loads(sdk.ask(provider, "tell me about Paris", stream=stream, **wanted).text)
    assert set(document) == {"city", "inhabitants"}
    assert document["city"] == "Paris"
    assert isinstance(document["inhabitants"], int)
    only(stack, provider)


@pytest.mark.parametrize("model", ["think", "gem3"])
def test_signed_thinking_through_a_tool_loop(stack: Stack, sdk: Sdk, model: str, stream: bool) -> None:
    """The provider signs its thoughts and wants the signature back, unchanged. In Chat Completions it travels in the tool call's id; the
    Anthropic client repeats the blocks that it got."""
    provider = {"think": "an", "gem3": "ge"}[model]
    # the Anthropic SDK insists on max_tokens above the budget
    thinking: dict[str, Any] = (
        {"reasoning_effort": "high"}
        if sdk.name == "openai"
        else {"thinking": {"type": "enabled", "budget_tokens": 2000, "display": "summarized"}, "max_tokens": 4000}
    )
    messages: list[dict[str, Any]] = [{"role": "user", "content": "think, then call get_weather and get_time, both, for the city of Paris"}]
    first = sdk.ask(model, messages=messages, tools=tools(sdk), stream=stream, **thinking)
    assert len(first.calls) == 2
    if sdk.name == "anthropic":
        assert first.thinking
    messages += [turn(sdk, first, stream), *results(sdk, first, "sunny")]
    second = sdk.ask(model, messages=messages, tools=tools(sdk), stream=stream, **thinking)
    assert "got 2 tool results" in second.text
    asked = stack.received(provider)
    assert [r.problem for r in asked] == [None, None]
    sent = orjson.loads(asked[1].body or b"")
    if provider == "an":
        thoughts = [b for m in sent["messages"] if m["role"] == "assistant" for b in m["content"] if b["type"] == "thinking"]
        assert len(thoughts) == 1
        assert thoughts[0]["signature"]
        assert all("__llm1_" not in b["id"] for m in sent["messages"] if m["role"] == "assistant" for b in m["content"] if b["type"] == "tool_use")
    else:
        assert [p for c in sent["contents"] for p in c["parts"] if "thoughtSignature" in p]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_stop_sequence(stack: Stack, sdk: Sdk, provider: str, stream: bool) -> None:
    stop = {"stop": ["STOP"]} if sdk.name == "openai" else {"stop_sequences": ["STOP"]}
    answer = sdk.ask(provider, "say one STOP two", stream=stream, **stop)
    assert answer.text.rstrip().endswith("say one")
    if sdk.name == "openai":
        assert answer.finish == "stop"
    else:
        # only Anthropic says which sequence it was
        assert answer.finish == ("stop_sequence" if provider == "an" else "end_turn")
        assert answer.raw.stop_sequence == ("STOP" if provider == "an" else None)
    only(stack, provider)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_token_limit(stack: Stack, sdk: Sdk, provider: str, stream: bool) -> None:
    limit = {"max_completion_tokens": 3} if sdk.name == "openai" else {"max_tokens": 3}
    answer = sdk.ask(provider, "a long story", stream=stream, **limit)
    assert len(pieces(answer.text)) == 3
    assert answer.finish == FINISH[sdk.name]["length"]
    assert answer.usage is not None
    assert answer.usage[1] == 3


@pytest.mark.parametrize("provider", PROVIDERS)
def test_answer_cut_by_a_content_filter(stack: Stack, sdk: Sdk, provider: str, stream: bool) -> None:
    stack.fault(provider, FaultKind.FILTERED)
    answer = sdk.ask(provider, "something dubious", stream=stream)
    # Gemini takes back what it said
    assert bool(answer.text) is (provider != "ge")
    assert answer.finish == FINISH[sdk.name]["filtered"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_answer_in_pieces_of_a_few_bytes(stack: Stack, sdk: Sdk, provider: str) -> None:
    stack.fault(provider, FaultKind.DRIP, seconds=0.0)
    answer = sdk.ask(provider, "grüße aus Köln — 你好 🙂", stream=True)
    assert answer.text.endswith("heard: grüße aus Köln — 你好 🙂")
    assert answer.finish == FINISH[sdk.name]["stop"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_usage_of_a_stream_is_only_sent_when_asked_for(stack: Stack, sdks: dict[str, Sdk], provider: str) -> None:
    request_id = f"no-usage-{provider}"
    answer = sdks["openai"].ask(provider, stream=True, stream_options={}, request_id=request_id)
    assert answer.usage is None
    assert all(chunk.choices for chunk in answer.raw), "a usage chunk that nobody asked for"
    assert stack.lines.of(request_id)["output_tokens"] > 0


def test_enabled_thinking_is_shown_whoever_thinks(stack: Stack, sdks: dict[str, Sdk], stream: bool) -> None:
    """Anthropic's default for `display` is a summary."""
    answer = sdks["anthropic"].ask("gem3", stream=stream, thinking={"type": "enabled", "budget_tokens": 2000}, max_tokens=4000)
    assert answer.thinking
