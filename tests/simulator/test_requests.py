"""Validation: what each provider refuses, in its words and its envelope."""

import httpx
import pytest

from extproc.simulator import Fault, FaultKind

IMAGE = "AAAA"
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


def chat(**changes):
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]} | changes


def message(**changes):
    return {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]} | changes


def content(**changes):
    return {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]} | changes


def without(body, name):
    return {k: v for k, v in body.items() if k != name}


def calling(*ids):
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": i, "type": "function", "function": {"name": "f", "arguments": "{}"}} for i in ids],
    }


def tool_use(*ids):
    return {"role": "assistant", "content": [{"type": "tool_use", "id": i, "name": "f", "input": {}} for i in ids]}


def tool_result(*ids):
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": i, "content": "r"} for i in ids]}


ASK = {"role": "user", "content": "hi"}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}

OPENAI = [
    (chat(foo=1), "Unrecognized request argument supplied: foo", None),
    (without(chat(), "model"), "you must provide a model parameter", None),
    (without(chat(), "messages"), "Missing required parameter: 'messages'", "missing_required_parameter"),
    (chat(messages=[]), "Invalid 'messages': empty array", "empty_array"),
    (chat(messages=[{"role": "robot", "content": "hi"}]), "Invalid value: 'robot'", "invalid_value"),
    (chat(messages=[{"role": "user", "content": "hi", "cache_control": {}}]), "Unknown parameter: 'messages[0].cache_control'", "unknown_parameter"),
    (chat(messages=[{"role": "user", "content": None}]), "expected a string, got null", None),
    (chat(messages=[{"role": "user", "content": [{"type": "tool_result"}]}]), "Invalid value: 'tool_result'", "invalid_value"),
    (chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "AAAA"}}]}]), "base64-encoded data URL", "invalid_value"),
    (
        chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AAAA"}}]}]),
        "unsupported image",
        "invalid_image_format",
    ),
    (chat(messages=[ASK, {"role": "tool", "tool_call_id": "call_1", "content": "r"}]), "must be a response to a preceeding message", None),
    (chat(messages=[ASK, calling("call_1"), ASK]), "did not have response messages: call_1", None),
    (chat(messages=[ASK, calling("call_1")]), "did not have response messages: call_1", None),
    (chat(messages=[ASK, calling("c" * 41)]), "string too long. Expected a string with maximum length 40", "string_above_max_length"),
    (chat(stream_options={"include_usage": True}), "only allowed when 'stream' is enabled", None),
    (chat(tool_choice="auto"), "only allowed when 'tools' are specified", None),
    (chat(tools=[]), "Invalid 'tools': empty array", "empty_array"),
    (chat(tools=[{"type": "function", "function": {"name": "a.b"}}]), "does not match pattern", "invalid_value"),
    (chat(tools=[FUNCTION], tool_choice={"type": "function", "function": {"name": "g"}}), "Tool choice 'g' not found", None),
    (
        chat(tools=[{"type": "function", "function": {"name": "f", "strict": True, "parameters": {"type": "object", "properties": {}}}}]),
        "'additionalProperties'",
        None,
    ),
    (
        chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": without(SCHEMA, "required")}}),
        "Missing 'a'",
        None,
    ),
    (chat(response_format={"type": "json_object"}), "must contain the word 'json'", None),
    (chat(stop=list("abcde")), "maximum length 4", "array_above_max_length"),
    (chat(temperature=2.5), "Expected a value <= 2", "decimal_above_max_value"),
    (chat(model="gpt-5-mini", max_tokens=5), "Use 'max_completion_tokens' instead", "unsupported_parameter"),
    (chat(model="o3", temperature=0.5), "Only the default (1) value is supported", "unsupported_value"),
    (chat(reasoning_effort="low"), "Unrecognized request argument supplied: reasoning_effort", None),
    ([], "could not parse the JSON body", None),
]
ANTHROPIC = [
    (message(foo=1), "foo: Extra inputs are not permitted"),
    (without(message(), "max_tokens"), "max_tokens: Field required"),
    (without(message(), "messages"), "messages: Field required"),
    (message(messages=[]), "at least one message is required"),
    (message(messages=[{"role": "system", "content": "x"}, ASK]), 'Unexpected role "system"'),
    (message(messages=[{"role": "tool", "content": "x"}]), 'Unexpected role "tool"'),
    (message(messages=[{"role": "user", "content": "hi", "name": "x"}]), "messages.0.name: Extra inputs are not permitted"),
    (message(messages=[{"role": "user", "content": []}]), "must have non-empty content"),
    (message(messages=[{"role": "user", "content": [{"type": "text", "text": ""}]}]), "text content blocks must be non-empty"),
    (message(messages=[{"role": "user", "content": [{"type": "text", "text": "x", "foo": 1}]}]), "messages.0.content.0.text.foo: Extra inputs"),
    (message(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), "Input tag 'image_url'"),
    (message(messages=[ASK, tool_use("toolu_1"), ASK]), "without `tool_result` blocks immediately after: toolu_1"),
    (message(messages=[ASK, tool_use("toolu_1")]), "without `tool_result` blocks immediately after: toolu_1"),
    (message(messages=[ASK, tool_use("toolu_1", "toolu_2"), tool_result("toolu_1")]), "immediately after: toolu_2"),
    (message(messages=[ASK, tool_result("toolu_1")]), "unexpected `tool_use_id` found in `tool_result` blocks: toolu_1"),
    (message(messages=[ASK, tool_use("a", "a"), tool_result("a")]), "ids must be unique"),
    (message(messages=[ASK, tool_use("a:b"), tool_result("a:b")]), "should match pattern"),
    (
        message(messages=[ASK, tool_use("a"), {"role": "user", "content": [{"type": "text", "text": "first"}, *tool_result("a")["content"]]}]),
        "immediately after: a",
    ),
    (message(messages=[ASK, {"role": "assistant", "content": "so "}]), "cannot end with trailing whitespace"),
    (message(model="claude-opus-4-6", messages=[ASK, {"role": "assistant", "content": "so"}]), "does not support assistant message prefill"),
    (message(tool_choice={"type": "auto"}), "may only be specified while providing tools"),
    (message(tools=[{"name": "f"}]), "tools.0.custom.input_schema: Field required"),
    (message(tools=[{"name": "a.b", "input_schema": {"type": "object"}}]), "should match pattern"),
    (message(tools=[{"name": "f", "input_schema": {"type": "object"}, "parameters": {}}]), "tools.0.custom.parameters: Extra inputs"),
    (message(temperature=1.5), "less than or equal to 1"),
    (message(temperature=0.5, top_p=0.5), "cannot both be specified"),
    (message(thinking={"type": "enabled", "budget_tokens": 1000}), "greater than or equal to 1024"),
    (message(thinking={"type": "enabled", "budget_tokens": 1024}), "must be greater than `thinking.budget_tokens`"),
    (message(max_tokens=2000, temperature=0.5, thinking={"type": "enabled", "budget_tokens": 1024}), "may only be set to 1 when thinking"),
    (message(output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}}), "must be explicitly set to false"),
    (message(model="claude-3-5-haiku-20241022", max_tokens=9000), "9000 > 8192"),
    ([], "not valid JSON"),
]
CALL = {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]}
RESPONSE = {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]}
GEMINI_ASK = {"role": "user", "parts": [{"text": "hi"}]}


def declared(**parameters):
    return content(tools=[{"functionDeclarations": [{"name": "f", "parameters": parameters}]}])


GEMINI = [
    (content(foo=1), 'Unknown name "foo": Cannot find field'),
    (content(generationConfig={"maxTokens": 1}), "Unknown name \"maxTokens\" at 'generation_config'"),
    ({}, "contents is not specified"),
    (content(contents=[{"role": "assistant", "parts": [{"text": "x"}]}]), "valid role: user, model"),
    (content(contents=[{"role": "user", "parts": []}]), "parts must not be empty"),
    (content(contents=[{"role": "user", "parts": [{"thought": True}]}]), "required oneof field 'data'"),
    (content(contents=[{"role": "user", "parts": [{"text": "a", "functionCall": {"name": "f"}}]}]), "already set"),
    (content(contents=[GEMINI_ASK, CALL, GEMINI_ASK]), "number of function response parts is equal"),
    (content(contents=[GEMINI_ASK, RESPONSE]), "immediately after a function call turn"),
    (content(contents=[CALL, RESPONSE]), "immediately after a user turn"),
    (
        content(contents=[GEMINI_ASK, CALL, {"role": "user", "parts": [{"functionResponse": {"name": "g", "response": {}}}]}]),
        "names of the function call parts",
    ),
    (content(contents=[GEMINI_ASK, CALL, {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": "r"}}]}]), "Struct"),
    (declared(type="object", additionalProperties=False), 'Unknown name "additionalProperties"'),
    (declared(type="object", properties={"a": {"$ref": "#/x"}}), 'Unknown name "$ref"'),
    (declared(type=["string", "null"]), "Invalid value at"),
    (declared(type="object", properties={"a": {"type": "object"}}), "should be non-empty for OBJECT type"),
    (declared(type="object", properties={"a": {"type": "array"}}), "items: missing field"),
    (content(tools=[{"functionDeclarations": [{"name": "2f"}]}]), "Invalid function name"),
    (content(toolConfig={"functionCallingConfig": {"mode": "ANY"}}), "no function declarations"),
    (content(generationConfig={"temperature": 3}), "must be in the range [0.0, 2.0]"),
    (content(generationConfig={"responseSchema": {"type": "string"}}), "only allowed for response_mime_type"),
    (content(generationConfig={"stopSequences": list("abcdef")}), "at most 5"),
    ([], "Invalid JSON payload"),
]


@pytest.mark.parametrize(("body", "text", "code"), OPENAI)
def test_openai_refuses(simulate, conftest, body, text, code):
    sim = simulate("openai_chat")
    got = httpx.post(sim.url + "/v1/chat/completions", json=body, headers=conftest.KEYS["openai_chat"])
    error = got.json()["error"]
    assert (got.status_code, error["type"], error["code"]) == (400, "invalid_request_error", code or error["code"])
    assert text in error["message"]
    assert sim.received[-1].problem == f"400: {error['message']}"


@pytest.mark.parametrize(("body", "text"), ANTHROPIC)
def test_anthropic_refuses(simulate, conftest, body, text):
    sim = simulate("anthropic_messages")
    got = httpx.post(sim.url + "/v1/messages", json=body, headers=conftest.KEYS["anthropic_messages"])
    data = got.json()
    assert (got.status_code, data["type"], data["error"]["type"]) == (400, "error", "invalid_request_error")
    assert text in data["error"]["message"]
    assert data["request_id"] == got.headers["request-id"]


@pytest.mark.parametrize(("body", "text"), GEMINI)
def test_gemini_refuses(simulate, conftest, body, text):
    sim = simulate("gemini")
    got = httpx.post(sim.url + conftest.PATHS["gemini"][0], json=body, headers=conftest.KEYS["gemini"])
    error = got.json()["error"]
    assert (got.status_code, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert text in error["message"]


def test_keys(simulate):
    oai, claude, gem = (simulate(d, keys=["good"]) for d in ("openai_chat", "anthropic_messages", "gemini"))

    def status(sim, path, body, headers):
        got = httpx.post(sim.url + path, json=body, headers=headers)
        return got.status_code, got.json()["error"]

    gemini = "/v1beta/models/gemini-2.5-flash:generateContent"
    version = {"anthropic-version": "2023-06-01"}
    assert status(oai, "/v1/chat/completions", chat(), {})[0] == 401
    assert status(oai, "/v1/chat/completions", chat(), {"authorization": "Bearer bad"})[1]["code"] == "invalid_api_key"
    assert status(claude, "/v1/messages", message(), version)[1]["message"] == "x-api-key header is required"
    assert status(claude, "/v1/messages", message(), version | {"x-api-key": "bad"})[1]["type"] == "authentication_error"
    assert status(claude, "/v1/messages", message(), {"x-api-key": "good"})[1]["message"] == "anthropic-version: header is required"
    assert status(gem, gemini, content(), {})[0] == 403
    assert status(gem, gemini, content(), {"x-goog-api-key": "bad"})[1]["details"][0]["reason"] == "API_KEY_INVALID"
    for sim, path, body, headers in (
        (oai, "/v1/chat/completions", chat(), {"authorization": "Bearer good"}),
        (claude, "/v1/messages", message(), version | {"x-api-key": "good"}),
        (claude, "/v1/messages", message(), {"anthropic-version": "2026-10-21", "authorization": "Bearer good"}),
        (gem, gemini, content(), {"x-goog-api-key": "good"}),
        (gem, gemini + "?key=good", content(), {}),
    ):
        assert httpx.post(sim.url + path, json=body, headers=headers).status_code == 200
        assert sim.received[-1].key == "good"
        assert "good" not in str(sim.received[-1].view())


def test_unknown_paths_methods_and_models(simulate, conftest):
    for dialect, kind in (("openai_chat", "invalid_request_error"), ("anthropic_messages", "not_found_error"), ("gemini", "NOT_FOUND")):
        sim = simulate(dialect, models=["known"])
        lost = httpx.post(f"{sim.url}/v1/elsewhere", json={}, headers=conftest.KEYS[dialect])
        assert lost.status_code == 404
        assert kind in lost.text
        path = conftest.PATHS[dialect][0]
        body = {"openai_chat": chat(), "anthropic_messages": message(), "gemini": content()}[dialect]
        assert httpx.post(sim.url + path, json=body, headers=conftest.KEYS[dialect]).status_code == 404
        known = path.replace("gemini-2.5-flash", "known")
        assert (
            httpx.post(sim.url + known, json=body | ({} if dialect == "gemini" else {"model": "known"}), headers=conftest.KEYS[dialect]).status_code
            == 200
        )
        assert "known" in httpx.get(f"{sim.url}/v1/models", headers=conftest.KEYS[dialect]).text
        assert httpx.get(sim.url + path, headers=conftest.KEYS[dialect]).status_code in (404, 405)
        probe = httpx.head(sim.url + "/")
        assert (probe.status_code, probe.content) == (404, b"")


def test_context_window(simulate, conftest):
    sim = simulate("openai_chat", context_window=50)
    got = httpx.post(
        sim.url + "/v1/chat/completions", json=chat(messages=[{"role": "user", "content": "word " * 100}]), headers=conftest.KEYS["openai_chat"]
    )
    assert got.json()["error"]["code"] == "context_length_exceeded"
    assert "maximum context length is 50 tokens" in got.json()["error"]["message"]


def test_a_fault_does_not_hide_what_is_wrong_with_the_request(simulate, conftest):
    sim = simulate("openai_chat")
    sim.fault(Fault(FaultKind.STATUS, status=503))
    got = httpx.post(sim.url + "/v1/chat/completions", json=chat(foo=1), headers=conftest.KEYS["openai_chat"])
    assert got.status_code == 503
    assert sim.received[-1].problem == "400: Unrecognized request argument supplied: foo"
