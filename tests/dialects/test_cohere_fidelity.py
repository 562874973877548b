"""The points that a translation to and from Cohere must keep, one test each, under the number that the project's list of them has."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from extproc.core.dialect import Reply
from extproc.core.errors import ApiError, BadRequestError, ErrorKind
from extproc.core.ir import StreamError
from extproc.dialects.catalog import DIALECTS
from extproc.stages import pipes
from tests.dialects.seam import USER, a_loop, answer, chat, gemini, loop, messages, send, sse, streamed
from tests.dialects.seam import call as chat_call
from tests.validators.cohere_sdk import check_stream

COHERE = DIALECTS["cohere_chat"]
CALL = {"id": "f_a1b2c3", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
SCHEMA = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}
TOOL: Any = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
LOOP: list[Any] = [
    USER,
    {"role": "assistant", "tool_plan": "plan", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "f_a1b2c3", "content": "r"},
]
COUNTS = {"tokens": {"input_tokens": 9, "output_tokens": 4, "reasoning_tokens": 1}, "billed_units": {"input_tokens": 1, "output_tokens": 1}}


def said(message: dict[str, Any], finish: str = "COMPLETE", **members: Any) -> dict[str, Any]:
    return {"id": "i", "finish_reason": finish, "message": {"role": "assistant", **message}, **members}


def text(*texts: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": t} for t in texts]}


def events(*found: dict[str, Any]) -> bytes:
    return sse({"type": "message-start", "id": "i"}, *found, b"[DONE]")


@pytest.mark.parametrize("call_id", ["call_" + "a" * 24, "toolu_" + "b" * 24, "Ab3dE6gH9", "0", "id with spaces/ä"])
def test_point_01_tool_ids_are_opaque(call_id: str) -> None:
    body, _ = send("openai_chat", "cohere_chat", *loop(call_id), tools=[TOOL])
    assert body["messages"][1]["tool_calls"][0]["id"] == body["messages"][2]["tool_call_id"] == call_id
    given = answer("openai_chat", "cohere_chat", chat({"tool_calls": [chat_call(call_id)]}, "tool_calls"))["message"]["tool_calls"][0]["id"]
    assert given == call_id
    body, _ = send("cohere_chat", "anthropic_messages", *LOOP)
    assert body["messages"][2]["content"][0]["tool_use_id"] == "f_a1b2c3"


def test_point_05_results_that_do_not_pair() -> None:
    for history in (loop("a", "b")[:-1], [USER, loop("a")[-1]]):
        with pytest.raises(BadRequestError):
            send("openai_chat", "cohere_chat", *history)
    body, losses = send("openai_chat", "cohere_chat", *loop("a", "b")[:2], *reversed(loop("a", "b")[2:]), loop("a")[-1])
    assert [m.get("tool_call_id") for m in body["messages"][2:]] == ["b", "a"]
    assert losses == {"coerced:tool_result"}


def test_point_06_arguments_are_text() -> None:
    exact = '{"n":12345678901234567890123,"x":0.5,"ä":"☔"}'
    body, _ = send("openai_chat", "cohere_chat", *loop("a", arguments=exact))
    assert body["messages"][1]["tool_calls"][0]["function"]["arguments"] == exact
    assert send("openai_chat", "cohere_chat", *loop("a", arguments=""))[0]["messages"][1]["tool_calls"][0]["function"]["arguments"] == "{}"
    whole = answer("anthropic_messages", "cohere_chat", messages({"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}, stop="tool_use"))
    assert whole["message"]["tool_calls"][0]["function"]["arguments"] == '{"x":1}'
    back = answer("cohere_chat", "anthropic_messages", said({"tool_calls": [CALL]}, "TOOL_CALL"))
    assert back["content"][0]["input"] == {"x": 1}


def test_point_08_kinds_of_tool_results() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    body, losses = send("anthropic_messages", "cohere_chat", *a_loop({"tool_use_id": "a", "content": [image], "is_error": True}))
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "tool", "user"]
    assert losses >= {"coerced:tool_result_media", "dropped:tool_error_flag"}
    data = {"type": "document", "document": {"id": "d", "data": {"x": 1}}}
    body, losses = send("cohere_chat", "gemini", *LOOP[:2], {**LOOP[2], "content": [data]})
    assert body["contents"][2]["parts"][0]["functionResponse"]["response"] == {"x": 1}
    assert "coerced:document" in losses


@pytest.mark.parametrize(
    ("choice", "cohere", "losses"),
    [
        ("auto", None, set()),
        ("none", "NONE", set()),
        ("required", "REQUIRED", set()),
        ({"type": "function", "function": {"name": "f"}}, "REQUIRED", {"coerced:allowed_tools"}),
    ],
)
def test_point_09_tool_choice(choice: Any, cohere: str | None, losses: set[str]) -> None:
    other = {"type": "function", "function": {"name": "g", "parameters": SCHEMA}}
    body, lost = send("openai_chat", "cohere_chat", tools=[TOOL, other], tool_choice=choice)
    assert (body.get("tool_choice"), lost) == (cohere, losses)
    assert len(body["tools"]) == (1 if losses else 2)
    for word, wanted in (("REQUIRED", {"type": "any"}), ("NONE", {"type": "none"})):
        assert send("cohere_chat", "anthropic_messages", tools=[TOOL], tool_choice=word)[0]["tool_choice"] == wanted


def test_point_12_strict_is_said_once_for_all_tools() -> None:
    strict = {"type": "function", "function": {**TOOL["function"], "strict": True}}
    body, _ = send("openai_chat", "cohere_chat", tools=[strict])
    assert body["strict_tools"] is True
    assert "strict" not in body["tools"][0]["function"]
    closed = {"type": "function", "function": {"name": "f", "parameters": {**SCHEMA, "additionalProperties": False}}}
    assert send("cohere_chat", "openai_chat", tools=[closed], strict_tools=True)[0]["tools"][0]["function"]["strict"] is True


def test_point_13_names_that_cohere_refuses() -> None:
    body, _ = send("openai_chat", "cohere_chat", tools=[{"type": "function", "function": {"name": "mcp-files.read"}}])
    name = body["tools"][0]["function"]["name"]
    call = {"id": "a", "type": "function", "function": {"name": name, "arguments": "{}"}}
    back = answer("cohere_chat", "openai_chat", said({"tool_calls": [call]}, "TOOL_CALL"))
    assert back["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "mcp-files.read"


def test_point_14_system_text_in_any_place() -> None:
    history = [{"role": "developer", "content": "a"}, USER, {"role": "system", "content": [{"type": "text", "text": "b"}]}, USER]
    body, losses = send("openai_chat", "cohere_chat", *history)
    assert [m["role"] for m in body["messages"]] == ["system", "user", "system", "user"]
    assert losses == set()
    system = [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]
    assert "dropped:cache_control" in send("anthropic_messages", "cohere_chat", system=system)[1]


def test_point_15_and_16_runs_and_empty_things() -> None:
    history = [USER, USER, {"role": "assistant", "content": None}, {"role": "assistant", "content": "a"}, {"role": "user", "content": " "}, USER]
    body, losses = send("openai_chat", "cohere_chat", *history)
    assert [m["role"] for m in body["messages"]] == ["user", "user", "assistant", "user"]
    assert losses == {"dropped:empty_text"}
    assert answer("gemini", "cohere_chat", {"candidates": [{"finishReason": "SAFETY"}]})["message"] == {"role": "assistant", "content": []}
    empty = {"role": "assistant", "content": [{"type": "text", "text": ""}], "tool_calls": [CALL]}
    content = send("cohere_chat", "anthropic_messages", USER, empty, LOOP[2])[0]["messages"][1]["content"]
    assert [b["type"] for b in content] == ["tool_use"]


def test_point_18_images() -> None:
    parts = [{"type": "image_url", "image_url": {"url": url, "detail": "high"}} for url in ("data:image/png;base64,aGk=", "https://x/y.png")]
    body, _ = send("openai_chat", "cohere_chat", {"role": "user", "content": parts})
    assert body["messages"][0]["content"] == parts
    sources = [b["source"] for b in send("cohere_chat", "anthropic_messages", {"role": "user", "content": parts})[0]["messages"][0]["content"]]
    assert sources == [{"type": "base64", "media_type": "image/png", "data": "aGk="}, {"type": "url", "url": "https://x/y.png"}]


def test_point_19_documents_are_kept() -> None:
    body, losses = send("cohere_chat", "openai_chat", documents=["Ada wrote it."])
    assert "Ada wrote it." in orjson.dumps(body).decode()
    assert losses == {"coerced:document", "dropped:document_citations"}


def test_point_20_names_and_refusals() -> None:
    body, losses = send("openai_chat", "cohere_chat", {**USER, "name": "ann"}, {"role": "assistant", "content": None, "refusal": "No."}, USER)
    assert body["messages"][1] == {"role": "assistant", "content": "No."}
    assert losses == {"dropped:name", "coerced:refusal"}


def test_points_21_to_24_parameters() -> None:
    asked = {"max_completion_tokens": 99999, "temperature": 2, "stop": [*"abcdef"], "seed": 3, "presence_penalty": 2, "top_p": 0.5, "user": "u"}
    body, losses = send("openai_chat", "cohere_chat", **asked)
    kept = {"max_tokens": 8000, "temperature": 1, "stop_sequences": [*"abcde"], "seed": 3, "presence_penalty": 1, "p": 0.5}
    assert body == {"model": "command-a-03-2025", "messages": [USER], **kept}
    assert losses == {*(f"coerced:{name}" for name in ("max_tokens", "temperature", "stop", "presence_penalty")), "dropped:user"}
    body, _ = send("cohere_chat", "openai_chat", max_tokens=5, p=0.5, k=3, stop_sequences=["x"], frequency_penalty=0.5)
    assert (body["max_completion_tokens"], body["top_p"], body["stop"], body["frequency_penalty"]) == (5, 0.5, ["x"], 0.5)


def test_point_25_structured_output() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}
    assert send("openai_chat", "cohere_chat", response_format=wanted)[0]["response_format"] == {"type": "json_object", "json_schema": SCHEMA}
    assert send("openai_chat", "cohere_chat", response_format={"type": "json_object"})[0]["response_format"] == {"type": "json_object"}
    assert "coerced:response_format" in send("openai_chat", "cohere_chat", response_format=wanted, tools=[TOOL])[1]
    cohere = {"type": "json_object", "json_schema": SCHEMA}
    assert send("cohere_chat", "gemini", response_format=cohere)[0]["generationConfig"]["responseJsonSchema"] == SCHEMA
    assert send("cohere_chat", "openai_chat", response_format=cohere)[0]["response_format"]["json_schema"]["schema"] == SCHEMA


def test_point_26_how_much_to_think() -> None:
    budget = {"type": "enabled", "budget_tokens": 2000}
    assert send("anthropic_messages", "cohere_chat-reasoning", thinking=budget)[0]["thinking"] == {"type": "enabled", "token_budget": 2000}
    assert send("anthropic_messages", "cohere_chat", thinking=budget)[1] == {"dropped:reasoning", "coerced:max_tokens"}
    cohere = {"type": "enabled", "token_budget": 2000}
    assert send("cohere_chat", "anthropic_messages", thinking=cohere)[0]["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    config = send("cohere_chat", "gemini", thinking={"type": "disabled"})[0]["generationConfig"]["thinkingConfig"]
    assert config["thinkingBudget"] == 0


def test_point_29_thoughts_are_content_of_their_own() -> None:
    content = [{"type": "thinking", "thinking": "why"}, {"type": "text", "text": "so"}]
    message = answer("cohere_chat", "openai_chat", said({"content": content}))["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("why", "so")
    assert answer("openai_chat", "cohere_chat", chat({"reasoning_content": "why", "content": "so"}))["message"]["content"] == content
    body, _ = send("openai_chat", "cohere_chat-reasoning", USER, {"role": "assistant", "reasoning_content": "why", "content": "so"}, USER)
    assert body["messages"][1]["content"] == content


def test_point_35_tokens_not_billed_units() -> None:
    usage = answer("cohere_chat", "openai_chat", said(text("a"), usage={**COUNTS, "cached_tokens": 8}))["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["prompt_tokens_details"]["cached_tokens"]) == (9, 4, 8)
    usage = answer("cohere_chat", "anthropic_messages", said(text("a"), usage={**COUNTS, "cached_tokens": 8}))["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (1, 8, 4)


def test_point_36_and_39_usage_behind_the_finish_and_done() -> None:
    done = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]}
    late = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}}
    out = streamed("openai_chat", "cohere_chat", sse(done, late, b"[DONE]"))
    assert out.endswith(b"data: [DONE]\n\n")
    folded = check_stream(out)
    assert folded is not None
    assert folded["usage"]["tokens"]["input_tokens"] == 9
    end = {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": COUNTS}}
    delta = {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "a"}}}}
    assert b'"prompt_tokens":9' in streamed("cohere_chat", "openai_chat", events(delta, end))


def test_point_37_order_of_events() -> None:
    out = streamed("gemini", "cohere_chat", sse(gemini({"text": "t", "thought": True}, {"text": "a"}, {"functionCall": {"name": "f", "args": {}}})))
    kinds = [line[7:].decode() for line in out.splitlines() if line.startswith(b"event: ")]
    assert [k for k in kinds if "delta" not in k] == [
        *("message-start", "content-start", "content-end", "content-start", "content-end", "tool-call-start", "tool-call-end", "message-end"),
    ]


def test_point_42_a_cut_stream_is_no_finish() -> None:
    delta = {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "ä☔"}}}}
    end = {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}
    body = events(delta, end).replace(b"\n", b"\r\n")
    whole = streamed("cohere_chat", "openai_chat", body)
    assert all(streamed("cohere_chat", "openai_chat", body, size=size) == whole for size in (1, 7))
    for client, cut in (("cohere_chat", sse({"choices": [{"index": 0, "delta": {"content": "a"}}]})), ("openai_chat", events(delta)[:-14])):
        out = streamed("openai_chat" if client == "cohere_chat" else "cohere_chat", client, cut)
        assert b"[DONE]" not in out
        assert (b'"finish_reason":"ERROR"' if client == "cohere_chat" else b'"error"') in out


def test_points_43_to_45_reasons_to_finish() -> None:
    for word, reason in (("COMPLETE", "stop"), ("STOP_SEQUENCE", "stop"), ("MAX_TOKENS", "length")):
        assert answer("cohere_chat", "openai_chat", said(text("a"), word))["choices"][0]["finish_reason"] == reason
    assert answer("cohere_chat", "openai_chat", said({"tool_calls": [CALL]}))["choices"][0]["finish_reason"] == "tool_calls"
    refused = messages({"type": "text", "text": "a"}, stop="refusal", stop_details={"type": "refusal", "explanation": "why"})
    assert answer("anthropic_messages", "cohere_chat", refused)["finish_reason"] == "COMPLETE"
    assert answer("gemini", "cohere_chat", gemini({"functionCall": {"name": "f", "args": {}}}))["finish_reason"] == "TOOL_CALL"


def test_point_46_and_47_errors() -> None:
    for status, message, kind in ((404, "model 'x' not found", ErrorKind.NOT_FOUND), (400, "too many tokens", ErrorKind.CONTEXT_LENGTH)):
        error = COHERE.decode_error(status, {}, orjson.dumps({"id": "x", "message": message}))
        assert error.kind is kind
        assert orjson.loads(DIALECTS["openai_chat"].encode_error(error)[1])["error"]["message"] == message
    status, body = COHERE.encode_error(DIALECTS["gemini"].decode_error(400, {}, b'{"error":{"code":400,"message":"API key not valid"}}'))
    assert (status, set(orjson.loads(body))) == (401, {"message"})
    failed = COHERE.stream_decoder().feed(events({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "e"}}))
    assert isinstance(failed[-1], StreamError)
    with pytest.raises(ApiError):
        pipes.translate_whole(orjson.dumps(said({}, "ERROR")), DIALECTS["openai_chat"], COHERE, Reply("i", 1, "m"), stream=False)


def test_point_49_unknown_members() -> None:
    body, losses = send("cohere_chat", "cohere_chat", novel=1)
    assert body["novel"] == 1
    assert losses == set()
    assert "dropped:unknown_member" in send("cohere_chat", "openai_chat", novel=1)[1]
    assert send("cohere_chat", "openai_chat", safety_mode="STRICT")[1] == {"dropped:safety_mode"}
