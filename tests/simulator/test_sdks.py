"""The providers' own SDKs against the simulators: answers, streams, tool loops, structured output, thinking, errors."""

import base64
import json
import warnings

import anthropic
import httpx
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types
from pydantic import BaseModel

from extproc.simulator import Fault, FaultKind

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\x00" * 60).decode()
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}}, "required": ["city"]}


class Trip(BaseModel):
    city: str
    nights: int


@pytest.fixture
def oai(simulate):
    sim = simulate("openai_chat")
    with openai.OpenAI(base_url=f"{sim.url}/v1", api_key="sk-a", max_retries=0, _strict_response_validation=True) as client:
        yield sim, client


@pytest.fixture
def claude(simulate):
    sim = simulate("anthropic_messages")
    with anthropic.Anthropic(base_url=sim.url, api_key="sk-a", max_retries=0, _strict_response_validation=True) as client:
        yield sim, client


@pytest.fixture
def gem(simulate):
    sim = simulate("gemini")
    client = genai.Client(api_key="sk-a", http_options={"base_url": sim.url, "api_version": "v1beta"})
    yield sim, client
    client.close()


def user(text):
    return {"role": "user", "content": text}


# -- OpenAI


def test_openai_answers_and_streams_the_same(oai):
    sim, client = oai
    whole = client.chat.completions.create(model="gpt-4o", messages=[user("Hello there")])
    assert whole.choices[0].message.content == "sim (gpt-4o) heard: Hello there"
    assert whole.choices[0].finish_reason == "stop"
    assert whole.id.startswith("chatcmpl-")
    assert whole._request_id.startswith("req_")
    chunks = list(client.chat.completions.create(model="gpt-4o", messages=[user("Hello there")], stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert all(c.obfuscation is not None for c in chunks)
    assert [r.problem for r in sim.received] == [None, None]


def test_openai_usage_chunk_only_when_asked_for(oai):
    _, client = oai
    chunks = list(client.chat.completions.create(model="gpt-4o", messages=[user("Hello")], stream=True))
    assert all(c.choices and c.usage is None for c in chunks)


def test_openai_parallel_tool_loop(oai):
    sim, client = oai
    tools = [{"type": "function", "function": {"name": n, "parameters": WEATHER}} for n in ("get_weather", "get_tides")]
    messages = [user("Call both get_weather and get_tides for Lisbon")]
    first = client.chat.completions.create(model="gpt-4o", messages=messages, tools=tools).choices[0]
    assert first.finish_reason == "tool_calls"
    calls = first.message.tool_calls
    assert [c.function.name for c in calls] == ["get_weather", "get_tides"]
    assert json.loads(calls[0].function.arguments) == {"city": "Lisbon", "days": 2}
    assert all(c.id.startswith("call_") and len(c.id) == 29 for c in calls)
    messages.append(first.message.model_dump(exclude_none=True))
    messages += [{"role": "tool", "tool_call_id": c.id, "content": f"{c.function.name}: fine"} for c in calls]
    second = client.chat.completions.create(model="gpt-4o", messages=messages, tools=tools).choices[0]
    assert second.message.content == 'sim (gpt-4o) got 2 tool results: "get_weather: fine"; "get_tides: fine"'
    assert [r.problem for r in sim.received] == [None, None]


@pytest.mark.parametrize("text", ["please get_weather", "both, get_weather twice"])
def test_openai_streamed_tool_calls_assemble(oai, text):
    _, client = oai
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]
    whole = client.chat.completions.create(model="gpt-4o", messages=[user(text)], tools=tools).choices[0].message.tool_calls
    with client.chat.completions.stream(model="gpt-4o", messages=[user(text)], tools=tools) as stream:
        streamed = stream.get_final_completion().choices[0]
    assert streamed.finish_reason == "tool_calls"
    assert [c.function.arguments for c in streamed.message.tool_calls] == [c.function.arguments for c in whole]
    assert len(whole) == (2 if "both" in text else 1)


def test_openai_tool_choice(oai):
    _, client = oai
    tools = [{"type": "function", "function": {"name": n}} for n in ("a", "b")]

    def finish(choice):
        answer = client.chat.completions.create(model="gpt-4o", messages=[user("hello")], tools=tools, tool_choice=choice).choices[0]
        return [c.function.name for c in answer.message.tool_calls or []], answer.finish_reason

    assert finish("auto") == ([], "stop")
    assert finish("none") == ([], "stop")
    assert finish("required") == (["a"], "tool_calls")
    assert finish({"type": "function", "function": {"name": "b"}}) == (["b"], "stop")


def test_openai_structured_output(oai):
    _, client = oai
    answer = client.chat.completions.parse(model="gpt-4o", messages=[user("a trip to Rome")], response_format=Trip)
    assert answer.choices[0].message.parsed == Trip(city="Rome", nights=1)


def test_openai_limits_stops_and_media(oai):
    _, client = oai

    def ask(**more):
        return client.chat.completions.create(**({"model": "gpt-4o", "messages": [user("one two STOP three")]} | more)).choices[0]

    assert ask(max_tokens=3).finish_reason == "length"
    assert ask(max_tokens=3).message.content == "sim (gpt-4o) heard:"
    assert ask(stop=["STOP"]).message.content == "sim (gpt-4o) heard: one two "
    image = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]
    assert ask(messages=[{"role": "user", "content": image}]).message.content.endswith("[saw 1 image (image/png, 68 bytes)]")
    many = client.chat.completions.create(model="gpt-4o", n=2, messages=[user("hi")])
    assert [c.index for c in many.choices] == [0, 1]


def test_openai_reasoning_tokens_and_cache(oai):
    _, client = oai
    spent = client.chat.completions.create(model="gpt-5-mini", messages=[user("hi")], reasoning_effort="high").usage
    assert spent.completion_tokens_details.reasoning_tokens == 128
    assert spent.completion_tokens > 128
    short = client.chat.completions.create(model="gpt-5-mini", messages=[user("hi")], max_completion_tokens=20).choices[0]
    assert (short.finish_reason, short.message.content) == ("length", "")
    long = "word " * 2000
    counts = [client.chat.completions.create(model="gpt-4o", messages=[user(long)]).usage.prompt_tokens_details.cached_tokens for _ in range(2)]
    assert counts == [0, 1024]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(FaultKind.STATUS, status=429, retry_after=7), openai.RateLimitError),
        (Fault(FaultKind.STATUS, status=500), openai.InternalServerError),
        (Fault(FaultKind.STATUS, status=503), openai.InternalServerError),
        (Fault(FaultKind.STATUS, status=403), openai.PermissionDeniedError),
        (Fault(FaultKind.KEY_REFUSED), openai.AuthenticationError),
        (Fault(FaultKind.MODEL_NOT_FOUND), openai.NotFoundError),
        (Fault(FaultKind.CONTEXT_LENGTH), openai.BadRequestError),
        (Fault(FaultKind.CONTENT_FILTER), openai.BadRequestError),
        (Fault(FaultKind.HTML), openai.InternalServerError),
        (Fault(FaultKind.RESET), openai.APIConnectionError),
        (Fault(FaultKind.CLOSE), openai.APIConnectionError),
    ],
)
def test_openai_errors(oai, fault, error):
    sim, client = oai
    sim.fault(fault)
    with pytest.raises(error) as raised:
        client.chat.completions.create(model="gpt-4o", messages=[user("hi")])
    if fault.kind is FaultKind.CONTEXT_LENGTH:
        assert raised.value.code == "context_length_exceeded"
    if fault.kind is FaultKind.CONTENT_FILTER:
        assert raised.value.code == "content_filter"
    if fault.retry_after:
        assert raised.value.response.headers["retry-after"] == "7"
    assert sim.received[-1].fault == fault.kind


def test_openai_refusal_and_filter_in_the_answer(oai):
    sim, client = oai
    sim.fault(Fault(FaultKind.REFUSAL))
    refused = client.chat.completions.create(model="gpt-4o", messages=[user("hi")]).choices[0]
    assert refused.message.content is None
    assert "can't assist" in refused.message.refusal
    sim.fault(Fault(FaultKind.FILTERED))
    assert client.chat.completions.create(model="gpt-4o", messages=[user("hi")]).choices[0].finish_reason == "content_filter"


def test_openai_error_inside_the_stream(oai):
    sim, client = oai
    sim.fault(Fault(FaultKind.ERROR_EVENT, after=0))
    with pytest.raises(openai.APIError, match="overloaded"):
        list(client.chat.completions.create(model="gpt-4o", messages=[user("hi")], stream=True))


def test_models_are_listed(oai, claude, gem):
    assert "gpt-4o" in [m.id for m in oai[1].models.list()]
    assert "claude-sonnet-4-5" in [m.id for m in claude[1].models.list()]
    assert "models/gemini-2.5-flash" in [m.name for m in gem[1].models.list()]


# -- Anthropic


def test_anthropic_answers_and_streams_the_same(claude):
    sim, client = claude
    asked = {"model": "claude-sonnet-4-5", "max_tokens": 200, "messages": [user("Hello there")]}
    whole = client.messages.create(**asked)
    assert whole.content[0].text == "sim (claude-sonnet-4-5) heard: Hello there"
    assert whole.stop_reason == "end_turn"
    assert whole.id.startswith("msg_01")
    assert whole._request_id.startswith("req_011")
    events = list(client.messages.create(**asked, stream=True))
    assert [e.type for e in events][:2] == ["message_start", "content_block_start"]
    assert [e.type for e in events][-2:] == ["message_delta", "message_stop"]
    with client.messages.stream(**asked) as stream:
        final = stream.get_final_message()
    assert final.content[0].text == whole.content[0].text
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert {r.problem for r in sim.received} == {None}


def test_anthropic_thinking_tool_loop_and_tampering(claude):
    _, client = claude
    asked = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 4000,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tools": [{"name": "get_weather", "input_schema": WEATHER}],
    }
    question = user("get_weather in Oslo")
    with client.messages.stream(**asked, messages=[question]) as stream:
        streamed = stream.get_final_message()
    first = client.messages.create(**asked, messages=[question])
    assert [b.type for b in first.content] == ["thinking", "tool_use"]
    assert [b.type for b in streamed.content] == ["thinking", "tool_use"]
    assert (streamed.content[0].thinking, streamed.content[1].input) == (first.content[0].thinking, first.content[1].input)
    assert len(streamed.content[0].signature) == len(first.content[0].signature)
    assert first.stop_reason == "tool_use"
    assert first.usage.output_tokens_details.thinking_tokens > 0
    thought, call = (b.model_dump(exclude_none=True) for b in first.content)
    assert len(call["id"]) == 30
    assert call["input"] == {"city": "Oslo", "days": 2}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["id"], "content": "rain"}]}

    def follow(*blocks):
        return client.messages.create(**asked, messages=[question, {"role": "assistant", "content": list(blocks)}, result])

    answer = follow(thought, call)
    assert answer.content[-1].text == 'sim (claude-sonnet-4-5) got 1 tool result: "rain"'
    with pytest.raises(anthropic.BadRequestError, match="cannot be modified"):
        follow(thought | {"thinking": "something else"}, call)
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature`"):
        follow(thought | {"signature": "c2lnbmF0dXJl"}, call)
    with pytest.raises(anthropic.BadRequestError, match="Expected `thinking` or `redacted_thinking`, but found `tool_use`"):
        follow(call)


def test_anthropic_structured_output_stops_media_and_cache(claude):
    _, client = claude

    def ask(messages, **more):
        return client.messages.create(**({"model": "claude-sonnet-4-5", "max_tokens": 200, "messages": messages} | more))

    schema = {**Trip.model_json_schema(), "additionalProperties": False}
    document = ask([user("a trip to Rome")], output_config={"format": {"type": "json_schema", "schema": schema}}).content[0].text
    assert Trip.model_validate_json(document).city == "Rome"
    stopped = ask([user("one two STOP three")], stop_sequences=["STOP"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "STOP")
    assert ask([user("hi")], max_tokens=2).stop_reason == "max_tokens"
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    assert "saw 1 image (image/png, 68 bytes)" in ask([user([image, {"type": "text", "text": "look"}])]).content[0].text
    system = [{"type": "text", "text": "word " * 2000, "cache_control": {"type": "ephemeral"}}]
    first, second = (ask([user("hi")], system=system).usage for _ in range(2))
    assert first.cache_creation_input_tokens > 2000
    assert first.cache_read_input_tokens == 0
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens
    assert second.input_tokens < 100


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(FaultKind.STATUS, status=429, retry_after=7), anthropic.RateLimitError),
        (Fault(FaultKind.STATUS, status=500), anthropic.InternalServerError),
        (Fault(FaultKind.STATUS, status=529), anthropic.OverloadedError),
        (Fault(FaultKind.KEY_REFUSED), anthropic.AuthenticationError),
        (Fault(FaultKind.MODEL_NOT_FOUND), anthropic.NotFoundError),
        (Fault(FaultKind.CONTEXT_LENGTH), anthropic.BadRequestError),
        (Fault(FaultKind.CONTENT_FILTER), anthropic.BadRequestError),
        (Fault(FaultKind.RESET), anthropic.APIConnectionError),
    ],
)
def test_anthropic_errors(claude, fault, error):
    sim, client = claude
    sim.fault(fault)
    with pytest.raises(error) as raised:
        client.messages.create(model="claude-sonnet-4-5", max_tokens=10, messages=[user("hi")])
    if fault.kind is FaultKind.CONTEXT_LENGTH:
        assert "prompt is too long" in str(raised.value)
    if fault.retry_after:
        assert raised.value.response.headers["retry-after"] == "7"


def test_anthropic_refusal_and_error_inside_the_stream(claude):
    sim, client = claude
    asked = {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": [user("hi")]}
    sim.fault(Fault(FaultKind.REFUSAL))
    refused = client.messages.create(**asked)
    assert (refused.stop_reason, refused.stop_details.type) == ("refusal", "refusal")
    for after in (0, 3):
        sim.fault(Fault(FaultKind.ERROR_EVENT, after=after))
        with pytest.raises(anthropic.APIStatusError, match="overloaded_error"):
            list(client.messages.create(**asked, stream=True))


# -- Gemini


def config(**members):
    return genai_types.GenerateContentConfig(**members)


def test_gemini_answers_and_streams_the_same(gem):
    sim, client = gem
    whole = client.models.generate_content(model="gemini-2.5-flash", contents="Hello there")
    assert whole.text == "sim (gemini-2.5-flash) heard: Hello there"
    assert whole.candidates[0].finish_reason == genai_types.FinishReason.STOP
    chunks = list(client.models.generate_content_stream(model="gemini-2.5-flash", contents="Hello there"))
    assert "".join(c.text or "" for c in chunks) == whole.text
    assert all(c.usage_metadata.prompt_token_count == whole.usage_metadata.prompt_token_count for c in chunks)
    assert chunks[-1].usage_metadata.total_token_count == whole.usage_metadata.total_token_count
    assert chunks[-1].candidates[0].finish_reason == genai_types.FinishReason.STOP
    assert {r.problem for r in sim.received} == {None}


def test_gemini_array_stream_without_sse(gem):
    sim, _ = gem
    target = f"{sim.url}/v1/models/gemini-2.5-flash:streamGenerateContent"
    got = httpx.post(target, json={"contents": [{"parts": [{"text": "hi"}]}]}, headers={"x-goog-api-key": "k"})
    documents = got.json()
    assert isinstance(documents, list)
    assert documents[-1]["candidates"][0]["finishReason"] == "STOP"
    assert got.headers["content-type"] == "application/json; charset=UTF-8"
    bad = httpx.post(target, json={"contents": []}, headers={"x-goog-api-key": "k"})
    assert bad.json()[0]["error"]["status"] == "INVALID_ARGUMENT"


def test_gemini_tool_loop_needs_the_signature_back(gem):
    _, client = gem
    tool = genai_types.Tool(function_declarations=[{"name": n, "parameters_json_schema": WEATHER} for n in ("get_weather", "get_tides")])
    settings = config(tools=[tool], automatic_function_calling={"disable": True})
    question = genai_types.Content(role="user", parts=[genai_types.Part(text="both get_weather and get_tides at Lima")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = client.models.generate_content(model="gemini-3-flash-preview", contents=[question], config=settings)
    parts = first.candidates[0].content.parts
    assert [p.function_call.name for p in parts] == ["get_weather", "get_tides"]
    assert [p.function_call.id for p in parts] == [None, None]
    assert [p.thought_signature is not None for p in parts] == [True, False]
    assert parts[0].function_call.args == {"city": "Lima", "days": 2}
    assert first.usage_metadata.thoughts_token_count > 0
    results = [genai_types.Part.from_function_response(name=p.function_call.name, response={"result": "fine"}) for p in parts]
    answered = genai_types.Content(role="user", parts=results)

    def follow(model_turn):
        return client.models.generate_content(model="gemini-3-flash-preview", contents=[question, model_turn, answered], config=settings)

    assert "got 2 tool results" in follow(first.candidates[0].content).text
    bare = genai_types.Content(role="model", parts=[genai_types.Part(function_call=p.function_call) for p in parts])
    with pytest.raises(genai_errors.ClientError, match="missing a thought_signature"):
        follow(bare)
    invented = genai_types.Content(role="model", parts=[genai_types.Part(function_call=p.function_call, thought_signature=b"x" * 66) for p in parts])
    with pytest.raises(genai_errors.ClientError, match="Thought signature is not valid"):
        follow(invented)


def test_gemini_structured_output_thoughts_and_limits(gem):
    _, client = gem

    def ask(text, **members):
        return client.models.generate_content(model="gemini-2.5-flash", contents=text, config=config(**members))

    made = ask("a trip to Rome", response_mime_type="application/json", response_schema=Trip)
    assert made.parsed == Trip(city="Rome", nights=1)
    thought = ask("hi", thinking_config={"include_thoughts": True})
    assert [bool(p.thought) for p in thought.candidates[0].content.parts] == [True, False]
    assert ask("hi", max_output_tokens=2).candidates[0].finish_reason == genai_types.FinishReason.MAX_TOKENS
    assert ask("one STOP two", stop_sequences=["STOP"]).text == "sim (gemini-2.5-flash) heard: one "
    image = genai_types.Part.from_bytes(data=base64.b64decode(PNG), mime_type="image/png")
    assert "saw 1 image (image/png, 68 bytes)" in ask([image, "look"]).text


@pytest.mark.parametrize(
    ("fault", "error", "status"),
    [
        (Fault(FaultKind.STATUS, status=429, retry_after=48), genai_errors.ClientError, "RESOURCE_EXHAUSTED"),
        (Fault(FaultKind.STATUS, status=503), genai_errors.ServerError, "UNAVAILABLE"),
        (Fault(FaultKind.STATUS, status=500), genai_errors.ServerError, "INTERNAL"),
        (Fault(FaultKind.KEY_REFUSED), genai_errors.ClientError, "INVALID_ARGUMENT"),
        (Fault(FaultKind.MODEL_NOT_FOUND), genai_errors.ClientError, "NOT_FOUND"),
        (Fault(FaultKind.CONTEXT_LENGTH), genai_errors.ClientError, "INVALID_ARGUMENT"),
    ],
)
def test_gemini_errors(gem, fault, error, status):
    sim, client = gem
    sim.fault(fault)
    with pytest.raises(error) as raised:
        client.models.generate_content(model="gemini-2.5-flash", contents="hi")
    assert raised.value.status == status
    details = {d["@type"].rpartition(".")[2]: d for d in raised.value.details["error"].get("details", [])}
    if fault.retry_after:
        assert details["RetryInfo"]["retryDelay"] == "48s"
        assert "retry-after" not in raised.value.response.headers
    if fault.kind is FaultKind.KEY_REFUSED:
        assert (raised.value.code, details["ErrorInfo"]["reason"]) == (400, "API_KEY_INVALID")


def test_gemini_filters(gem):
    sim, client = gem
    sim.fault(Fault(FaultKind.CONTENT_FILTER))
    blocked = client.models.generate_content(model="gemini-2.5-flash", contents="hi")
    assert blocked.candidates is None
    assert blocked.prompt_feedback.block_reason == genai_types.BlockedReason.PROHIBITED_CONTENT
    sim.fault(Fault(FaultKind.FILTERED))
    cut = client.models.generate_content(model="gemini-2.5-flash", contents="hi").candidates[0]
    assert cut.finish_reason == genai_types.FinishReason.SAFETY
    assert cut.content is None
