"""Ollama's dialect: what its clients say, what it is sent, what it answers, and that a cut stream is never whole."""

from __future__ import annotations

import json
from typing import Any

import httpx
import ollama
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.core.dialect import NO_ASK, Ask, Facts, Need, Reply
from extproc.core.errors import ApiError, BadRequestError, ErrorKind, UntranslatableError
from extproc.core.ir import (
    BlockDelta,
    End,
    Finish,
    FinishReason,
    Image,
    Message,
    Reasoning,
    Request,
    Role,
    Source,
    StreamError,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from extproc.dialects.catalog import DIALECTS
from extproc.stages import pipes
from tests.dialects import ollama_recorded
from tests.validators.ollama_types import check_chat_answer, check_chat_request, check_chat_stream, check_generate_answer

OLLAMA = DIALECTS["ollama_chat"]
FACTS = Facts("llama3.2", "ollama")
REPLY = Reply("id", 1_700_000_000, "shown")
PNG = "iVBORw0KGgoAAAANSUhEUg=="
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}}}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}}


def test_a_history_of_calls_without_ids() -> None:
    request = OLLAMA.decode_request(
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "q", "images": [PNG]},
                {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [call("f", n=1), call("g"), call("f", n=2)]},
                {"role": "tool", "tool_name": "g", "content": "of g"},
                {"role": "tool", "tool_name": "f", "content": "first f"},
                {"role": "tool", "content": "second f"},
                {"role": "user", "content": "and?"},
            ],
            "tools": [TOOL],
        },
    )
    assert [m.role for m in request.messages] == [Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.USER, Role.USER]
    assert request.messages[1].blocks == [Text("q"), Image(Source("image/png", PNG))]
    assert request.messages[2].blocks == [
        Thinking("hm"),
        ToolCall("call_2_0", "f", '{"n":1}'),
        ToolCall("call_2_1", "g", "{}"),
        ToolCall("call_2_2", "f", '{"n":2}'),
    ]
    assert request.messages[3].blocks == [
        ToolResult("call_2_1", [Text("of g")], "g"),
        ToolResult("call_2_0", [Text("first f")], "f"),
        ToolResult("call_2_2", [Text("second f")], "f"),
    ]
    assert request.stream
    assert request.tools == [Tool("f", "d", TOOL["function"]["parameters"])]  # type: ignore[index]


def test_options_and_what_only_ollama_has() -> None:
    request = OLLAMA.decode_request(
        {
            "model": "m",
            "messages": [{"role": "user", "content": "q"}],
            "options": {"temperature": 0.5, "num_predict": 7, "top_k": 3, "stop": "a", "seed": 1, "num_ctx": 4096, "presence_penalty": None},
            "format": {"type": "object"},
            "think": "low",
            "keep_alive": "5m",
            "stream": False,
        },
    )
    assert (request.temperature, request.max_tokens, request.top_k, request.stop, request.knobs) == (0.5, 7, 3, ["a"], {"seed": 1})
    assert request.extra == {"options.num_ctx": 4096, "keep_alive": "5m"}
    assert request.reasoning == Reasoning(enabled=True, effort="low", show=True)
    assert request.output is not None
    assert request.output.schema == {"type": "object"}
    assert not request.stream


@pytest.mark.parametrize("limit", [-1, -2])
def test_no_limit_is_no_limit(limit: int) -> None:
    assert OLLAMA.decode_request({"messages": [{"role": "user", "content": "q"}], "options": {"num_predict": limit}}).max_tokens is None


def test_generate_is_a_chat_of_one_prompt() -> None:
    body = {"model": "m", "prompt": "q", "system": "s", "images": [PNG], "stream": False}
    request = OLLAMA.decode_request(body, Ask("m", form="generate"))
    assert [m.role for m in request.messages] == [Role.SYSTEM, Role.USER]
    assert request.messages[1].blocks == [Text("q"), Image(Source("image/png", PNG))]
    assert OLLAMA.needs(body) == {Need.VISION}
    assert Need.RAW_PROMPT in OLLAMA.needs({"prompt": "a", "suffix": "b"})
    answer = DIALECTS["openai_chat"].decode_response(
        orjson.dumps({"id": "1", "model": "x", "choices": [{"message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}]})
    )
    whole, _ = OLLAMA.encode_response(answer, Reply("id", 1, "shown", form="generate"))
    check_generate_answer(whole)
    assert orjson.loads(whole)["response"] == "a"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [1]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "q", "images": [{}]}]}, "messages[0].images[0]"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0].function"),
        ({"messages": [{"role": "user", "content": "q"}], "options": {"temperature": "hot"}}, "options.temperature"),
        ({"messages": [{"role": "user", "content": "q"}], "format": 3}, "format"),
        ({"messages": [{"role": "user", "content": "q"}], "think": 3}, "think"),
        ({"prompt": ""}, "prompt"),
    ],
)
def test_malformed_requests_name_the_place(body: Any, param: str) -> None:
    with pytest.raises(BadRequestError) as raised:
        OLLAMA.decode_request(body)
    assert raised.value.param == param


def test_what_ollama_gets() -> None:
    request = Request(
        "m",
        [
            Message(Role.DEVELOPER, [Text("be brief")]),
            Message(Role.USER, [Text("q", cache="5m"), Image(Source("image/png", PNG), detail="low")]),
            Message(Role.ASSISTANT, [Thinking("hm"), ToolCall("a", "f", '{"n":123456789012345678901234567890}'), ToolCall("b", "g")]),
            Message(
                Role.USER, [ToolResult("b", [Text("1"), Image(Source("image/png", PNG))], is_error=True), ToolResult("a", [Text("2")]), Text("and?")]
            ),
        ],
        tools=[Tool("f", "d", {"type": "object"}, strict=True), Tool("g")],
        tool_choice=ToolChoice("tool", "g"),
        max_tokens=10,
        stop=["x"],
        reasoning=Reasoning(effort="high"),
        knobs={"seed": 2, "user": "u"},
    )
    encoded = OLLAMA.encode_request(request, FACTS)
    check_chat_request(encoded.body)
    body = json.loads(encoded.body)
    assert [m["role"] for m in body["messages"]] == ["system", "user", "assistant", "tool", "tool", "user"]
    assert body["messages"][2]["tool_calls"][0]["function"]["arguments"] == {"n": 123456789012345678901234567890}
    assert [m.get("tool_name") for m in body["messages"][3:5]] == ["f", "g"]
    assert body["messages"][5] == {"role": "user", "content": "and?", "images": [PNG]}
    assert [t["function"]["name"] for t in body["tools"]] == ["g"]
    assert body["options"] == {"seed": 2, "num_predict": 10, "stop": ["x"]}
    assert body["think"] is True
    assert {loss.code for loss in encoded.losses} == {
        "dropped:cache_control",
        "dropped:image_detail",
        "coerced:tool_result_media",
        "dropped:tool_error_flag",
        "coerced:allowed_tools",
        "dropped:tool_choice",
        "coerced:reasoning_effort",
        "dropped:user",
    }


def test_an_image_behind_a_url_is_not_fetched() -> None:
    with pytest.raises(UntranslatableError):
        OLLAMA.encode_request(Request("m", [Message(Role.USER, [Image(Source(url="http://somewhere/x.png"))])]), FACTS)


def test_levels_of_thinking() -> None:
    for model, effort, wanted in (("gpt-oss:20b", "xhigh", "high"), ("qwen3", "low", True), ("qwen3", "none", False)):
        request = Request("m", [Message(Role.USER, [Text("q")])], reasoning=Reasoning(effort=effort))
        assert orjson.loads(OLLAMA.encode_request(request, Facts(model, "ollama")).body)["think"] == wanted
    # gpt-oss ignores a switch
    for reasoning, level in ((Reasoning(budget=1024, enabled=True), "low"), (Reasoning(budget=9000), "medium"), (Reasoning(enabled=False), "low")):
        request = Request("m", [Message(Role.USER, [Text("q")])], reasoning=reasoning)
        built = OLLAMA.encode_request(request, Facts("gpt-oss:20b", "ollama"))
        assert orjson.loads(built.body)["think"] == level
        assert {loss.code for loss in built.losses} == {"coerced:thinking_budget" if reasoning.budget else "coerced:reasoning"}


def test_the_same_dialect_is_spliced() -> None:
    raw = b'{ "model":"chat", "messages":[ {"role":"user","content":"q"} ], "options":{"num_ctx": 1e3} }'
    spliced = OLLAMA.splice_request(raw, orjson.loads(raw), FACTS, NO_ASK)
    assert spliced.body == raw.replace(b'"chat"', b'"llama3.2"')
    assert spliced.path == "/api/chat"
    assert OLLAMA.splice_request(raw, orjson.loads(raw), FACTS, Ask(form="generate")).path == "/api/generate"


def test_recorded_answers_are_understood_and_said_again() -> None:
    for exchange in ollama_recorded.exchanges():
        if exchange.status != 200:
            error = OLLAMA.decode_error(exchange.status, {}, exchange.response)
            assert error.kind is ErrorKind.NOT_FOUND
            continue
        if exchange.stream:
            decoder = OLLAMA.stream_decoder()
            events = [*decoder.feed(exchange.response), *decoder.close()]
            assert isinstance(events[-1], End)
            text = "".join(e.text for e in events if isinstance(e, BlockDelta))
            lines = [json.loads(line) for line in exchange.response.splitlines() if line]
            said = [line.get("message") or {"content": line.get("response", "")} for line in lines]
            assert sum(len(m.get("content") or "") + len(m.get("thinking") or "") for m in said) == len(text)
        else:
            answer = OLLAMA.decode_response(exchange.response)
            assert answer.usage is not None
            again, losses = OLLAMA.encode_response(answer, REPLY)
            check_chat_answer(again)
            assert not losses
            assert OLLAMA.decode_response(again).usage == answer.usage


@pytest.mark.parametrize("client", [name for name, d in DIALECTS.items() if d.operation == "chat" and name != "ollama_chat"])
def test_recorded_requests_go_to_everyone(client: str) -> None:
    for exchange in ollama_recorded.exchanges():
        request = OLLAMA.decode_request(exchange.request)
        assert DIALECTS[client].encode_request(request, Facts("a-model", "v")).body


LINES = [
    {"model": "x", "created_at": "2026-08-07T06:08:14.947137Z", "message": {"role": "assistant", "content": "", "thinking": "h"}, "done": False},
    {"model": "x", "created_at": "2026-08-07T06:08:14.957137Z", "message": {"role": "assistant", "content": "", "thinking": "m"}, "done": False},
    {"model": "x", "created_at": "2026-08-07T06:08:14.967137Z", "message": {"role": "assistant", "content": "é"}, "done": False},
    {
        "model": "x",
        "created_at": "2026-08-07T06:08:14.977137Z",
        "message": {"role": "assistant", "content": "", "tool_calls": [call("f", n=1)]},
        "done": False,
    },
    {
        "model": "x",
        "created_at": "2026-08-07T06:08:14.987137Z",
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 5,
        "eval_count": 7,
    },
]
STREAM = b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in LINES)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_stream_however_it_is_cut(size: int) -> None:
    decoder = OLLAMA.stream_decoder()
    events = [e for i in range(0, len(STREAM), size) for e in decoder.feed(STREAM[i : i + size])] + decoder.close()
    whole = OLLAMA.stream_decoder()
    assert events == whole.feed(STREAM)
    encoder = OLLAMA.stream_encoder(REPLY)
    folded = check_chat_stream(b"".join(encoder.encode(e) for e in events))
    assert folded is not None
    assert folded["message"]["thinking"] == "hm"
    assert folded["message"]["content"] == "é"
    assert folded["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": {"n": 1}}
    assert (folded["prompt_eval_count"], folded["eval_count"], folded["done_reason"]) == (5, 7, "stop")
    assert Finish(FinishReason.TOOL_CALLS) in events


def test_a_cut_stream_is_never_whole() -> None:
    last = STREAM.rindex(b'"done": true')
    for end in range(len(STREAM) - 2):
        decoder = OLLAMA.stream_decoder()
        events = [*decoder.feed(STREAM[:end]), *decoder.close()]
        assert not any(isinstance(e, Finish | End) for e in events), end
    assert last


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b'{"error":"an error was encountered while running the model"}', ErrorKind.INTERNAL),
        (b"<html>", ErrorKind.UPSTREAM),
        (b"[1]", ErrorKind.UPSTREAM),
        (b'{"error":"the prompt exceeds the available context size"}', ErrorKind.CONTEXT_LENGTH),
    ],
)
def test_errors_in_a_stream(line: bytes, kind: ErrorKind) -> None:
    decoder = OLLAMA.stream_decoder()
    *_, last = decoder.feed(STREAM[: STREAM.index(b"\n") + 1] + line + b"\n" + STREAM)
    assert isinstance(last, StreamError)
    assert last.error.kind is kind
    assert decoder.feed(STREAM) == []


def test_what_follows_the_last_line_cannot_fail_the_stream() -> None:
    decoder = DIALECTS["ollama_chat"].stream_decoder()
    raw = b'{"message":{"content":"a"},"done":false}\n{"message":{"content":""},"done":true,"done_reason":"stop"}\n{"error":"x"}\nnot JSON'
    events = [*decoder.feed(raw), *decoder.close()]
    assert isinstance(events[-1], End)
    assert [loss.code for loss in decoder.losses] == ["dropped:content"]


def test_the_sdk_reads_our_answers_and_errors() -> None:
    bodies = iter(
        (
            (200, STREAM[: STREAM.index(b"\n") + 1] + OLLAMA.encode_stream_error(ApiError(ErrorKind.UPSTREAM, "it broke"))),
            OLLAMA.encode_error(ApiError(ErrorKind.NOT_FOUND, "no such model")),
        )
    )

    def answer(_: httpx.Request) -> httpx.Response:
        status, body = next(bodies)
        return httpx.Response(status, content=body)

    client = ollama.Client("http://llm.internal")
    client._client = httpx.Client(transport=httpx.MockTransport(answer), base_url="http://llm.internal")
    with pytest.raises(ollama.ResponseError, match="it broke"):
        list(client.chat("m", [{"role": "user", "content": "q"}], stream=True))
    with pytest.raises(ollama.ResponseError, match="no such model") as raised:
        client.chat("m", [{"role": "user", "content": "q"}])
    assert raised.value.status_code == 404


def test_signed_thoughts_of_another_vendor_ride_in_the_ids_that_a_client_keeps() -> None:
    anthropic = DIALECTS["anthropic_messages"]
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "c2lnbmVk"},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"n": 1}},
    ]
    usage = {"input_tokens": 1, "output_tokens": 1}
    answer = {"id": "m", "type": "message", "role": "assistant", "model": "x", "content": content, "stop_reason": "tool_use", "usage": usage}
    body, _, _ = pipes.translate_whole(orjson.dumps(answer), OLLAMA, anthropic, REPLY, stream=False)
    check_chat_answer(body)
    message = orjson.loads(body)["message"]
    result = {"role": "tool", "tool_name": "f", "content": "2"}
    request = OLLAMA.decode_request({"messages": [{"role": "user", "content": "q"}, message, result]})
    sent = orjson.loads(anthropic.encode_request(request, Facts("claude-sonnet-4-5", "anthropic", 64000)).body)
    assert sent["messages"][1]["content"] == content
    # the Python SDK drops ids: the conversation goes on without the signature
    del message["tool_calls"][0]["id"]
    request = OLLAMA.decode_request({"messages": [{"role": "user", "content": "q"}, message, result]})
    sent = orjson.loads(anthropic.encode_request(request, Facts("claude-sonnet-4-5", "anthropic", 64000)).body)
    assert [b["type"] for b in sent["messages"][1]["content"]] == ["tool_use"]
    assert sent["messages"][1]["content"][0]["id"] == sent["messages"][2]["content"][0]["tool_use_id"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("role", "content", "function", "name", "id")), inner, max_size=3),
    max_leaves=12,
)
members = st.sampled_from(("messages", "tools", "options", "format", "think", "prompt", "images", "system", "raw", "suffix", "stream"))


@settings(max_examples=150)
@given(st.dictionaries(members, json_values | st.lists(st.dictionaries(st.sampled_from(("role", "content", "tool_calls")), json_values)), max_size=5))
def test_no_shape_crashes(body: dict[str, Any]) -> None:
    OLLAMA.needs(body)
    try:
        OLLAMA.decode_request(body)
    except BadRequestError:
        return


@settings(max_examples=100)
@given(st.binary(max_size=60) | st.lists(json_values, max_size=4).map(lambda v: b"\n".join(orjson.dumps(x) for x in v)))
def test_no_answer_crashes(raw: bytes) -> None:
    decoder = OLLAMA.stream_decoder()
    encoder = OLLAMA.stream_encoder(REPLY)
    for event in [*decoder.feed(raw), *decoder.close()]:
        encoder.encode(event)
    OLLAMA.decode_error(500, {}, raw)
    try:
        OLLAMA.decode_response(raw)
    except ApiError:
        return


def test_results_find_their_calls_in_linear_time() -> None:
    names = [f"f{n}" for n in range(20_000)]
    calls = {"role": "assistant", "tool_calls": [{"function": {"name": name, "arguments": {}}} for name in names]}
    results = [{"role": "tool", "tool_name": name, "content": name} for name in reversed(names)]
    # by comparing each with each this would take a minute
    request = DIALECTS["ollama_chat"].decode_request({"model": "m", "messages": [calls, *results]})
    assert [(block.id, block.name) for block in request.messages[1].blocks] == [(f"call_0_{n}", names[n]) for n in reversed(range(len(names)))]


def test_results_without_a_name_answer_the_first_open_call() -> None:
    calls = {"role": "assistant", "tool_calls": [{"function": {"name": name}} for name in ("f", "g", "f")]}
    results: list[dict[str, Any]] = [{"tool_name": "g"}, {}, {"name": "f"}, {"tool_name": "f"}, {"tool_name": []}]
    request = DIALECTS["ollama_chat"].decode_request({"messages": [calls, *({"role": "tool", "content": "r", **one} for one in results)]})
    assert [block.id for block in request.messages[1].blocks] == ["call_0_1", "call_0_0", "call_0_2", "call_4_orphan", "call_5_orphan"]
