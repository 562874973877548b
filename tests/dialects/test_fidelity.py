"""The points that a translation between these dialects must keep, one test each, under the number that the project's list of them has.

Here: requests, 1 to 27. Short on purpose: each shows its point at the seam; the details are tested with their dialect, the breadth
in the goldens and the recordings. Missing numbers concern vendors whose dialect is not here.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from extproc.core.dialect import Facts, Need, Reply
from extproc.core.errors import BadRequestError
from tests.dialects.seam import A_TOOL, ANTHROPIC, CHAT, GEMINI, TOOL, USER, a_loop, answer, call, chat, gemini, loop, messages, send, sse, streamed
from tests.golden.matrix import TARGETS
from tests.validators.answers import STREAMS

# tools


@pytest.mark.parametrize("call_id", ["call_" + "a" * 24, "toolu_" + "b" * 24, "Ab3dE6gH9", "call_00_x", "0", "id with spaces/ä"])
def test_point_01_tool_ids_are_opaque(call_id: str) -> None:
    given = answer("openai_chat", "anthropic_messages", chat({"content": None, "tool_calls": [call(call_id)]}, "tool_calls"))["content"][0]["id"]
    body, _ = send("anthropic_messages", "openai_chat", *a_loop({"tool_use_id": given, "content": "r"}))
    assert body["messages"][1]["tool_calls"][0]["id"] == body["messages"][2]["tool_call_id"] == call_id
    short = Facts("m", "mistral", quirks=frozenset({"short_tool_ids"}))
    raw = CHAT.encode_request(ANTHROPIC.decode_request({"model": "m", "messages": a_loop({"tool_use_id": given})}), short).body
    assert len(orjson.loads(raw)["messages"][1]["tool_calls"][0]["id"]) == 9


def test_point_02_gemini_calls_without_an_id() -> None:
    parts = [{"functionCall": {"name": "f", "args": {}}}, {"functionCall": {"name": "f", "args": {}}}]
    calls = answer("gemini", "openai_chat", gemini(*parts))["choices"][0]["message"]["tool_calls"]
    assert len({c["id"] for c in calls}) == 2
    results = [{"role": "tool", "tool_call_id": c["id"], "content": str(n)} for n, c in enumerate(calls)]
    body, _ = send("openai_chat", "gemini", USER, {"role": "assistant", "tool_calls": calls}, *reversed(results))
    assert body["contents"][1]["parts"] == parts
    assert [p["functionResponse"] for p in body["contents"][2]["parts"]] == [{"name": "f", "response": {"result": n}} for n in "01"]


def test_point_03_gemini_results_have_the_functions_name() -> None:
    body, _ = send("openai_chat", "gemini", *loop("a"))
    assert body["contents"][2]["parts"][0]["functionResponse"]["name"] == "f"


def test_point_04_results_of_parallel_calls_stand_first_in_one_turn() -> None:
    body, _ = send("openai_chat", "anthropic_messages", *loop("a", "b"), {"role": "user", "content": "and?"})
    assert [b["type"] for b in body["messages"][2]["content"]] == ["tool_result", "tool_result", "text"]


def test_point_05_results_that_do_not_pair() -> None:
    history = loop("a", "b")
    for to in ("anthropic_messages", "gemini"):
        with pytest.raises(BadRequestError):
            send("openai_chat", to, *history[:-1])
    body, _ = send("openai_chat", "gemini", *history[:2], *reversed(history[2:]))
    assert [p["functionResponse"]["id"] for p in body["contents"][2]["parts"]] == ["a", "b"]


def test_point_06_arguments_are_text_on_one_side_and_an_object_on_the_other() -> None:
    raw = '{"z": 1, "a": 123456789012345678901234567890, "é": "\\u00e9"}'
    request = CHAT.decode_request({"model": "m", "messages": loop("a", arguments=raw)})
    for dialect, target in ((ANTHROPIC, "anthropic_messages"), (GEMINI, "gemini")):
        assert raw.encode() in dialect.encode_request(request, TARGETS[target].facts).body
    history = a_loop({"tool_use_id": "a"}, input={"n": 12345678901234567890123, "x": 0.5})
    sent = send("anthropic_messages", "openai_chat", *history)[0]["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert sent == '{"n":12345678901234567890123,"x":0.5}'
    for odd in ("", "{broken", "[1]"):
        body, _ = send("openai_chat", "anthropic_messages", *loop("a", arguments=odd))
        assert isinstance(body["messages"][1]["content"][0]["input"], dict)
    content = answer("openai_chat", "anthropic_messages", chat({"tool_calls": [call("a", "")]}, "tool_calls"))["content"]
    assert content[0]["input"] == {}


def test_point_07_arguments_in_pieces_whole_and_as_an_object() -> None:
    start = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
    pieces = [{"index": 0, "function": {"arguments": p}} for p in ('{"x"', ": 1}")]
    whole = start | {"function": {"name": "f", "arguments": '{"x": 1}'}}
    for calls in ([start, *pieces], [whole]):
        chunks = [{"choices": [{"index": 0, "delta": {"tool_calls": [c]}, "finish_reason": None}]} for c in calls]
        done = {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
        folded = STREAMS["anthropic_messages"](streamed("openai_chat", "anthropic_messages", sse(*chunks, done, b"[DONE]")))
        assert folded is not None
        assert folded["content"][0]["input"] == {"x": 1}
    out = streamed("gemini", "openai_chat", sse(gemini({"functionCall": {"name": "f", "args": {"x": 1}}})))
    folded = STREAMS["openai_chat"](out)
    assert folded is not None
    assert folded["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == '{"x":1}'


def test_point_08_kinds_of_tool_results() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    history = a_loop({"tool_use_id": "a", "content": [image], "is_error": True})
    body, losses = send("anthropic_messages", "openai_chat", *history)
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "tool", "user"]
    assert losses >= {"coerced:tool_result_media", "dropped:tool_error_flag"}
    body, _ = send("anthropic_messages", "gemini", *a_loop({"tool_use_id": "a", "content": '{"x":1}'}))
    assert body["contents"][2]["parts"][0]["functionResponse"]["response"] == {"x": 1}
    body, _ = send("anthropic_messages", "gemini", *a_loop({"tool_use_id": "a", "content": "no", "is_error": True}))
    assert body["contents"][2]["parts"][0]["functionResponse"]["response"] == {"error": "no"}


@pytest.mark.parametrize(
    ("choice", "anthropic", "mode"),
    [
        ("auto", {"type": "auto"}, {"mode": "AUTO"}),
        ("none", {"type": "none"}, {"mode": "NONE"}),
        ("required", {"type": "any"}, {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_point_09_tool_choice(choice: Any, anthropic: Any, mode: Any) -> None:
    assert send("openai_chat", "anthropic_messages", tools=[TOOL], tool_choice=choice)[0]["tool_choice"] == anthropic
    assert send("openai_chat", "gemini", tools=[TOOL], tool_choice=choice)[0]["toolConfig"]["functionCallingConfig"] == mode
    assert send("anthropic_messages", "openai_chat", tools=[A_TOOL], tool_choice=anthropic)[0]["tool_choice"] == choice


def test_point_11_one_call_at_a_time_and_the_older_form() -> None:
    body, _ = send("openai_chat", "anthropic_messages", tools=[TOOL], parallel_tool_calls=False)
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert "dropped:parallel_tool_calls" in send("openai_chat", "gemini", tools=[TOOL], parallel_tool_calls=False)[1]
    older = {"model": "m", "messages": [USER], "functions": [TOOL["function"]], "function_call": {"name": "f"}}
    assert CHAT.wishes(older).functions
    response = ANTHROPIC.decode_response(orjson.dumps(messages({"type": "tool_use", "id": "a", "name": "f", "input": {}}, stop="tool_use")))
    choice = orjson.loads(CHAT.encode_response(response, Reply("i", 1, "m", functions=True))[0])["choices"][0]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "f", "arguments": "{}"}


def test_point_12_strict_tools() -> None:
    strict = {"type": "function", "function": {**TOOL["function"], "strict": True}}  # type: ignore[dict-item]
    tool = send("openai_chat", "anthropic_messages", tools=[strict])[0]["tools"][0]
    assert tool["strict"] is True
    assert tool["input_schema"]["additionalProperties"] is False
    assert "dropped:strict" in send("openai_chat", "gemini", tools=[strict])[1]


def test_point_13_schemas_and_names() -> None:
    schema = {
        "type": "object",
        "properties": {"x": {"$ref": "#/$defs/x"}},
        "$defs": {"x": {"type": ["string", "null"]}},
        "additionalProperties": False,
    }
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    assert send("openai_chat", "gemini", tools=[tool])[0]["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"] == schema
    bare = {"type": "function", "function": {"name": "1st"}}
    (declared,) = send("openai_chat", "gemini", tools=[bare])[0]["tools"][0]["functionDeclarations"]
    back = answer("gemini", "openai_chat", gemini({"functionCall": {"name": declared["name"], "args": {}}}))
    assert back["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "1st"
    assert send("openai_chat", "anthropic_messages", tools=[bare])[0]["tools"][0]["input_schema"] == {"type": "object", "properties": {}}


# messages


def test_point_14_system_text_in_any_place() -> None:
    history = [{"role": "developer", "content": "a"}, {"role": "system", "content": [{"type": "text", "text": "b"}]}, USER]
    later = {"role": "system", "content": "c"}
    body, losses = send("openai_chat", "anthropic_messages", *history, later)
    assert [b["text"] for b in body["system"]] == ["a", "b"]
    assert "c" in body["messages"][0]["content"][1]["text"]
    assert "coerced:system_position" in losses
    assert len(send("openai_chat", "gemini", *history, later)[0]["systemInstruction"]["parts"]) == 3
    body, losses = send(
        "anthropic_messages", "openai_chat", USER, later, system=[{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]
    )
    assert [m["role"] for m in body["messages"]] == ["system", "user", "system"]
    assert [m["role"] for m in send("openai_chat", "openai_chat-compatible", *history)[0]["messages"]] == ["system", "system", "user"]


def test_point_15_runs_of_one_role() -> None:
    history = [USER, USER, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}, USER]
    assert [m["role"] for m in send("openai_chat", "anthropic_messages", *history)[0]["messages"]] == ["user", "assistant", "user"]
    assert [c["role"] for c in send("openai_chat", "gemini", *history)[0]["contents"]] == ["user", "model", "user"]


def test_point_16_empty_things() -> None:
    history = [USER, {"role": "assistant", "content": None}, {"role": "user", "content": " "}, {"role": "user", "content": []}, USER]
    body, losses = send("openai_chat", "anthropic_messages", *history)
    assert [b["text"] for b in body["messages"][0]["content"]] == ["q", "q"]
    assert "dropped:empty_text" in losses
    for finish in ("SAFETY", "MAX_TOKENS"):
        assert answer("gemini", "anthropic_messages", {"candidates": [{"finishReason": finish}]})["content"] == []


def test_point_17_prefill() -> None:
    history = [USER, {"role": "assistant", "content": "It is "}]
    assert Need.PREFILL in ANTHROPIC.needs({"messages": history})
    assert Need.PREFILL not in CHAT.carries
    assert send("openai_chat", "anthropic_messages", *history)[0]["messages"][-1]["content"][0]["text"] == "It is"
    body, losses = send("openai_chat", "anthropic_messages-adaptive", *history)
    assert body["messages"][-1]["role"] == "user"
    assert "coerced:prefill" in losses


def test_point_18_images() -> None:
    inline = {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,/9j/", "detail": "high"}}
    linked = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    body, losses = send("openai_chat", "anthropic_messages", {"role": "user", "content": [inline, linked]})
    sources = [b["source"] for b in body["messages"][0]["content"]]
    assert sources == [{"type": "base64", "media_type": "image/jpeg", "data": "/9j/"}, {"type": "url", "url": "https://x/y.png"}]
    assert "dropped:image_detail" in losses
    parts = send("openai_chat", "gemini", {"role": "user", "content": [inline, linked]})[0]["contents"][0]["parts"]
    assert parts == [
        {"inlineData": {"mimeType": "image/jpeg", "data": "/9j/"}},
        {"fileData": {"mimeType": "image/png", "fileUri": "https://x/y.png"}},
    ]


def test_point_19_media_are_kept_or_refused() -> None:
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}, "title": "a.pdf"}
    part = send("anthropic_messages", "openai_chat", {"role": "user", "content": [pdf]})[0]["messages"][0]["content"][0]
    assert part == {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}
    for kind, need in (("input_audio", Need.AUDIO), ("video_url", Need.VIDEO)):
        needs = CHAT.needs({"messages": [{"role": "user", "content": [{"type": kind, kind: {"url": "data:,"}}]}]})
        assert need in needs
        assert need not in ANTHROPIC.carries
        assert need in GEMINI.carries


def test_point_20_names_refusals_and_audio_in_the_history() -> None:
    history = [{**USER, "name": "ann"}, {"role": "assistant", "content": None, "refusal": "No."}, USER]
    for to in ("anthropic_messages", "gemini"):
        body, losses = send("openai_chat", to, *history)
        assert "No." in orjson.dumps(body).decode()
        assert losses >= {"dropped:name", "coerced:refusal"}
    assert Need.OUTPUT_AUDIO in CHAT.needs({"messages": [{"role": "assistant", "audio": {"id": "x"}}]})
    assert Need.OUTPUT_AUDIO not in ANTHROPIC.carries | GEMINI.carries


# parameters


def test_point_21_the_limit_of_tokens() -> None:
    body, losses = send("openai_chat", "anthropic_messages")
    assert body["max_tokens"] == 64000
    assert "defaulted:max_tokens" not in losses, "the most that the model writes is no limit"
    for to, name, most in (("openai_chat", "max_completion_tokens", 16384), ("openai_chat-compatible", "max_tokens", 99999)):
        assert send("anthropic_messages", to, max_tokens=99999)[0][name] == most
    assert send("openai_chat", "gemini", max_tokens=5)[0]["generationConfig"]["maxOutputTokens"] == 5
    assert "max_completion_tokens" in send("openai_chat", "openai_chat-reasoning", max_tokens=5)[0]


def test_point_22_temperature() -> None:
    assert send("openai_chat", "anthropic_messages", temperature=1.7)[0]["temperature"] == 1
    assert send("openai_chat", "gemini", temperature=2)[0]["generationConfig"]["temperature"] == 2
    for client, to in (("openai_chat", "anthropic_messages-adaptive"), ("anthropic_messages", "openai_chat-reasoning")):
        body, losses = send(client, to, temperature=0.5)
        assert "temperature" not in body
        assert "dropped:temperature" in losses


def test_point_23_stop() -> None:
    assert send("openai_chat", "anthropic_messages", stop="x")[0]["stop_sequences"] == ["x"]
    body, losses = send("anthropic_messages", "openai_chat", stop_sequences=list("abcdef"))
    assert body["stop"] == list("abcd")
    assert "coerced:stop" in losses
    out = answer("anthropic_messages", "openai_chat", messages(stop="stop_sequence", stop_sequence="x"))
    assert out["choices"][0]["finish_reason"] == "stop"


def test_point_24_every_knob_is_carried_or_named() -> None:
    knobs = {"seed": 1, "logit_bias": {"1": 1}, "logprobs": True, "frequency_penalty": 1, "user": "u", "metadata": {"a": "b"}, "top_k": 3}
    body, losses = send("openai_chat", "anthropic_messages", **knobs)
    assert body["metadata"] == {"user_id": "u"}
    assert body["top_k"] == 3
    assert losses >= {f"dropped:{name}" for name in ("seed", "logit_bias", "logprobs", "frequency_penalty", "metadata")}
    assert len(send("anthropic_messages", "openai_chat", metadata={"user_id": "u" * 200})[0]["user"]) == 64


def test_point_25_structured_output() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}
    assert send("openai_chat", "anthropic_messages", response_format=wanted)[0]["output_config"]["format"]["schema"] == schema
    assert send("openai_chat", "gemini", response_format=wanted)[0]["generationConfig"]["responseJsonSchema"] == schema
    config = {"format": {"type": "json_schema", "schema": schema}}
    assert send("anthropic_messages", "openai_chat", output_config=config)[0]["response_format"]["json_schema"]["schema"] == schema
    assert "coerced:json_object" in send("openai_chat", "anthropic_messages", response_format={"type": "json_object"})[1]
    body, losses = send("openai_chat", "gemini", response_format=wanted, tools=[TOOL])
    assert "responseMimeType" not in body.get("generationConfig", {})
    assert "coerced:response_format" in losses


def test_point_26_how_much_to_think() -> None:
    assert send("openai_chat", "anthropic_messages-adaptive", reasoning_effort="xhigh")[0]["output_config"] == {"effort": "xhigh"}
    thinking = send("openai_chat", "anthropic_messages", reasoning_effort="high", max_completion_tokens=3000, temperature=0.2)[0]
    assert thinking["thinking"]["budget_tokens"] < 3000
    assert "temperature" not in thinking
    budget = {"type": "enabled", "budget_tokens": 2000}
    assert send("anthropic_messages", "openai_chat-reasoning", thinking=budget)[0]["reasoning_effort"] == "low"
    config = send("anthropic_messages", "gemini", thinking=budget)[0]["generationConfig"]["thinkingConfig"]
    assert config == {"includeThoughts": True, "thinkingBudget": 2000}
    assert send("openai_chat", "gemini-3", reasoning_effort="low")[0]["generationConfig"]["thinkingConfig"] == {"thinkingLevel": "LOW"}


def test_point_27_cache_marks_and_block_boundaries() -> None:
    text = {"type": "text", "text": "long", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    content = send("openai_chat", "anthropic_messages", {"role": "user", "content": [text, {"type": "text", "text": "b"}]})[0]["messages"][0][
        "content"
    ]
    assert content == [text, {"type": "text", "text": "b"}]
    for to in ("openai_chat", "gemini"):
        body, losses = send("anthropic_messages", to, {"role": "user", "content": [text, {"type": "text", "text": "b"}]})
        assert "dropped:cache_control" in losses
        turn = body["messages"][0]["content"] if to == "openai_chat" else body["contents"][0]["parts"]
        assert [p["text"] for p in turn] == ["long", "b"]
