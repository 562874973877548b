"""What must hold between every two chat dialects, looked at pair by pair."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from extproc.core.dialect import Ask, Reply
from extproc.core.ir import JSON
from extproc.core.operation import Operation
from extproc.dialects.catalog import DIALECTS
from extproc.stages import pipes, upstream
from tests.golden.matrix import CLIENTS, TARGETS
from tests.validators.requests import REQUESTS

SCHEMA = {"type": "object", "properties": {}}
USER = {"role": "user", "content": "q"}


def request(client: str, tool: str = "") -> dict[str, Any]:
    """The least that a client of the dialect says, with one tool where it has a name."""
    body: dict[str, Any]
    match client:
        case "gemini":
            body = {"contents": [{"role": "user", "parts": [{"text": "q"}]}]}
            return body | ({"tools": [{"functionDeclarations": [{"name": tool, "parametersJsonSchema": SCHEMA}]}]} if tool else {})
        case "bedrock_converse":
            body = {"messages": [{"role": "user", "content": [{"text": "q"}]}]}
            return body | ({"toolConfig": {"tools": [{"toolSpec": {"name": tool, "inputSchema": {"json": SCHEMA}}}]}} if tool else {})
        case "openai_responses":
            body = {"model": "m", "input": "q"}
            return body | ({"tools": [{"type": "function", "name": tool, "parameters": SCHEMA, "strict": False}]} if tool else {})
        case "anthropic_messages":
            body = {"model": "m", "max_tokens": 4000, "messages": [USER]}
            return body | ({"tools": [{"name": tool, "input_schema": SCHEMA}]} if tool else {})
    body = {"model": "m", "messages": [USER]}
    return body | ({"tools": [{"type": "function", "function": {"name": tool, "parameters": SCHEMA}}]} if tool else {})


def call(source: str, name: str) -> dict[str, Any]:
    """A provider's answer that calls the tool `name`."""
    function = {"id": "c_1", "type": "function", "function": {"name": name, "arguments": "{}"}}
    match source:
        case "gemini":
            return {"candidates": [{"content": {"role": "model", "parts": [{"functionCall": {"name": name, "args": {}}}]}, "finishReason": "STOP"}]}
        case "bedrock_converse":
            content: JSON = [{"toolUse": {"toolUseId": "c_1", "name": name, "input": {}}}]
            return {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": "tool_use"}
        case "openai_responses":
            output = [{"type": "function_call", "id": "fc_1", "call_id": "c_1", "name": name, "arguments": "{}"}]
            return {"id": "r", "object": "response", "status": "completed", "model": "x", "output": output}
        case "anthropic_messages":
            content = [{"type": "tool_use", "id": "c_1", "name": name, "input": {}}]
            return {"id": "m", "type": "message", "role": "assistant", "model": "x", "content": content, "stop_reason": "tool_use"}
        case "cohere_chat":
            return {"id": "c", "finish_reason": "TOOL_CALL", "message": {"role": "assistant", "tool_calls": [function]}}
        case "ollama_chat":
            return {"model": "x", "message": {"role": "assistant", "content": "", "tool_calls": [function]}, "done": True, "done_reason": "stop"}
    return {"id": "c", "model": "x", "choices": [{"index": 0, "message": {"tool_calls": [function]}, "finish_reason": "tool_calls"}]}


def encoded(client: str, to: str, body: dict[str, Any], *, model: str = "m") -> tuple[dict[str, Any], set[str]]:
    """(what the target gets, the codes of the losses)."""
    target = TARGETS[to]
    via = target.upstream(Operation.CHAT, client)
    assert via is not None
    raw = orjson.dumps(body)
    built = upstream.encode(raw, orjson.loads(raw), DIALECTS[client], DIALECTS[via.dialect], target.facts, Ask(model))
    if "-" not in to and client != via.dialect:
        REQUESTS[via.dialect](built.body)
    return orjson.loads(built.body), {loss.code for loss in built.losses}


def strings(value: JSON) -> list[str]:
    if isinstance(value, dict):
        return [text for member in value.values() for text in strings(member)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def declared(body: JSON) -> str:
    """The name of the one tool of an upstream request."""
    tools = body["toolConfig"]["tools"] if "toolConfig" in body else body["tools"]
    if "functionDeclarations" in tools[0]:
        tools = tools[0]["functionDeclarations"]
    tool = tools[0].get("toolSpec") or tools[0].get("function") or tools[0]
    return str(tool["name"])


PAIRS = [(client, to) for client in CLIENTS for to in CLIENTS if client != to]


@pytest.mark.parametrize(("client", "to"), PAIRS)
@pytest.mark.parametrize("name", ["files.read", "n" * 100, "mcp server/files: read " * 8])
def test_point_13_a_tool_that_is_renamed_is_called_by_its_own_name(client: str, to: str, name: str) -> None:
    body = request(client, name)
    sent, _ = encoded(client, to, body)
    dialect = DIALECTS[client]
    reply = Reply("id", 1, "shown", tool_names=dialect.wishes(body).tool_names)
    raw, _, _ = pipes.translate_whole(orjson.dumps(call(to, declared(sent))), dialect, DIALECTS[to], reply, stream=False)
    if client == "bedrock_converse":
        # the format has no longer names, nor other letters: nobody can have sent this one
        return
    assert name in strings(orjson.loads(raw))


@pytest.mark.parametrize("body", [None, [], {}, {"tools": {}}, {"tools": [1, {"function": []}, {"function": {"name": 1}}], "functions": 7}])
def test_the_names_of_a_broken_body(body: Any) -> None:
    for client in CLIENTS:
        assert DIALECTS[client].wishes(body).tool_names == ()


NEUTRAL: dict[str, dict[str, Any]] = {
    "openai_chat": {
        "n": 1,
        "stop": None,
        "logprobs": False,
        "frequency_penalty": 0,
        "presence_penalty": 0,
        "logit_bias": {},
        "modalities": ["text"],
        "parallel_tool_calls": True,
        "service_tier": "auto",
        "store": False,
        "metadata": {},
        "verbosity": "medium",
        "temperature": 1,
        "response_format": {"type": "text"},
        "tool_choice": "auto",
        "stream": False,
        "user": None,
    },
    "openai_responses": {
        "temperature": 1,
        "parallel_tool_calls": True,
        "service_tier": "auto",
        "store": False,
        "metadata": {},
        "truncation": "disabled",
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "include": [],
        "reasoning": {"effort": None},
        "tool_choice": "auto",
    },
    "anthropic_messages": {
        "stop_sequences": [],
        "service_tier": "auto",
        "metadata": {},
        "tool_choice": {"type": "auto"},
        "temperature": 1,
        "system": "",
    },
    "gemini": {
        "generationConfig": {"candidateCount": 1, "presencePenalty": 0, "frequencyPenalty": 0, "responseLogprobs": False, "stopSequences": []},
        "safetySettings": [],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
    },
    "bedrock_converse": {
        "inferenceConfig": {},
        "additionalModelRequestFields": {},
        "system": [],
        "requestMetadata": {},
        "promptVariables": {},
        "performanceConfig": {"latency": "standard"},
        "additionalModelResponseFieldPaths": ["/stop_sequence"],
    },
    "cohere_chat": {"k": 0, "frequency_penalty": 0, "presence_penalty": 0, "logprobs": False, "response_format": {"type": "text"}, "documents": []},
    "ollama_chat": {"options": {}, "format": "", "keep_alive": None, "logprobs": False, "top_logprobs": 0},
}
"""What SDKs and frameworks send with every request, which says only what is so anyway."""


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("tool", ["", "f"])
def test_nothing_is_lost_where_nothing_was_said(client: str, to: str, tool: str) -> None:
    neutral = dict(NEUTRAL[client])
    if tool and client == "bedrock_converse":
        neutral.pop("toolConfig", None)
    _, losses = encoded(client, to, request(client, tool) | neutral)
    assert losses == set()


def test_tools_that_are_all_allowed() -> None:
    body = request("gemini", "f") | {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}}
    for to in TARGETS:
        assert "coerced:allowed_tools" not in encoded("gemini", to, body)[1]


SIGNED: dict[str, dict[str, Any]] = {
    "anthropic_messages": {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "x",
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
        "content": [{"type": "thinking", "thinking": "hm", "signature": "seal"}, {"type": "text", "text": "a"}],
    },
    "gemini": {"candidates": [{"content": {"role": "model", "parts": [{"text": "a", "thoughtSignature": "c2VhbA=="}]}, "finishReason": "STOP"}]},
    "openai_responses": {
        "id": "r",
        "object": "response",
        "status": "completed",
        "model": "x",
        "output": [
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "seal"},
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "a"}]},
        ],
    },
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("source", SIGNED)
@pytest.mark.parametrize("stream", [False, True])
def test_point_28_a_seal_is_there_or_its_loss_is_named(client: str, source: str, stream: bool) -> None:
    """An answer without tool calls, whose ids could take it along."""
    if client == source:
        return
    raw, _, seen = pipes.translate_whole(orjson.dumps(SIGNED[source]), DIALECTS[client], DIALECTS[source], Reply("id", 1, "shown"), stream=stream)
    kept = b"seal" in raw or b"c2VhbA==" in raw or base64.b64encode(b"seal") in raw or b"bGxtM" in raw
    assert kept != ("dropped:signature" in {loss.code for loss in seen.losses})


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("stream", [False, True])
def test_point_45_why_an_answer_ended_is_said_or_its_loss_is_named(client: str, stream: bool) -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "because"}, "responseId": "r"}
    if client == "gemini":
        return
    raw, _, seen = pipes.translate_whole(orjson.dumps(blocked), DIALECTS[client], DIALECTS["gemini"], Reply("id", 1, "shown"), stream=stream)
    assert (b"because" in raw) != ("dropped:finish_detail" in {loss.code for loss in seen.losses})
