"""Converse requests of clients: what is understood of them, what they depend on, and that nothing breaks the reader."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given

from extproc.core.dialect import Ask, Need
from extproc.core.errors import BadRequestError, UntranslatableError
from extproc.core.ir import (
    Document,
    Foreign,
    Image,
    Opaque,
    Reasoning,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    Video,
)
from tests.dialects.bedrock_requests import CLAUDE, DIALECT, JSON, assistant, encode, user


def test_model_and_stream_come_from_the_path() -> None:
    request = DIALECT.decode_request({"messages": [{"role": "user", "content": [{"text": "q"}]}]}, Ask("eu.amazon.nova-lite-v1:0", True))
    assert (request.model, request.stream, request.include_usage) == ("eu.amazon.nova-lite-v1:0", True, True)


@pytest.mark.parametrize(
    ("fields", "reasoning", "top_k", "left"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, Reasoning(True, budget=2048), None, {}),
        (
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}},
            Reasoning(True, "low", None, True, True),
            None,
            {},
        ),
        ({"thinking": {"type": "disabled"}}, Reasoning(False), None, {}),
        ({"reasoning_config": {"type": "enabled", "budget_tokens": 1024}}, Reasoning(True, budget=1024), None, {}),
        ({"reasoning_config": "high"}, Reasoning(effort="high"), None, {}),
        ({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}}, Reasoning(True, "medium"), None, {}),
        ({"reasoning_effort": "low"}, Reasoning(effort="low"), None, {}),
        ({"top_k": 5, "seed": 1}, None, 5, {"seed": 1}),
        ({"k": 6}, None, 6, {}),
        ({"inferenceConfig": {"topK": 7, "x": 1}}, None, 7, {"inferenceConfig": {"x": 1}}),
        ({"thinking": "newer"}, Reasoning(effort="newer"), None, {}),
        ({"thinking": {"type": "newer"}}, None, None, {"thinking": {"type": "newer"}}),
    ],
)
def test_fields_of_every_family_are_read(fields: Any, reasoning: Any, top_k: Any, left: Any) -> None:
    request = DIALECT.decode_request({"messages": [], "additionalModelRequestFields": fields})
    assert (request.reasoning, request.top_k) == (reasoning, top_k)
    assert request.extra.get("additionalModelRequestFields", {}) == left


@pytest.mark.parametrize(
    ("block", "wanted"),
    [
        ({"image": {"format": "jpeg", "source": {"bytes": "aa"}}}, Image(Source("image/jpeg", data="aa"))),
        ({"video": {"format": "three_gp", "source": {"bytes": "aa"}}}, Video(Source("video/3gpp", data="aa"))),
        ({"video": {"format": "video/mp4", "source": {"bytes": "aa"}}}, Video(Source("video/mp4", data="aa"))),
        (
            {"document": {"format": "docx", "name": "n", "source": {"bytes": "aa"}}},
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        ),
        ({"document": {"name": "n", "source": {"text": "t"}}}, Document(Source("text/plain", text="t"), "n")),
        ({"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/k"}}}}, "foreign"),
        ({"searchResult": {"source": "s", "title": "t", "content": []}}, "foreign"),
        ({"toolUse": {"toolUseId": "t", "name": "nova_grounding", "input": {}, "type": "server_tool_use"}}, "foreign"),
        ({"toolUse": {"toolUseId": "t", "name": "f", "input": {"b": 1, "a": 2}, "type": "tool_use"}}, ToolCall("t", "f", '{"b":1,"a":2}')),
        ({"reasoningContent": {"reasoningText": {"text": "t", "signature": "s"}}}, Thinking("t", Opaque("anthropic", "s"))),
        ({"reasoningContent": {"reasoningText": {"text": "t"}}}, Thinking("t")),
        ({"reasoningContent": {"redactedContent": base64.b64encode(b"abc").decode()}}, Thinking("", Opaque("anthropic", "abc"), True)),
        ({"novel": {"x": 1}}, "foreign"),
        ({"novel": 1}, "foreign"),
        ({}, "foreign"),
    ],
)
def test_blocks(block: Any, wanted: Any) -> None:
    (found,) = DIALECT.decode_request({"messages": [{"role": "user", "content": [block]}]}).messages[0].blocks
    if wanted == "foreign":
        assert isinstance(found, Foreign)
        assert found.raw == block
    elif isinstance(wanted, str):
        assert isinstance(found, Document)
        assert found.source.media_type == wanted
    else:
        assert found == wanted


def test_cache_points_mark_what_stands_in_front() -> None:
    point = {"cachePoint": {"type": "default"}}
    hour = {"cachePoint": {"type": "default", "ttl": "1h"}}
    result = {"toolResult": {"toolUseId": "t", "content": [{"text": "r"}]}}
    body = {
        "system": [{"text": "s"}, hour],
        "messages": [{"role": "user", "content": [point, result, point, {"text": "q"}, hour]}],
        "toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {}}}}, point]},
    }
    request = DIALECT.decode_request(body)
    system, turn = request.messages
    assert [b.cache for b in system.blocks if isinstance(b, Text)] == ["1h"]
    assert [b.cache for b in turn.blocks if isinstance(b, Text | ToolResult)] == ["default", "1h"]
    assert [t.cache for t in request.tools if isinstance(t, Tool)] == ["default"]
    assert {loss.code for loss in request.losses} == {"dropped:cache_control"}
    call = assistant(ToolCall("t", "f"))
    again, codes = encode(system, user("q"), call, turn, tools=request.tools)
    assert again["system"] == body["system"]
    assert again["messages"][2]["content"] == body["messages"][0]["content"][1:]
    assert again["toolConfig"]["tools"][1:] == [point]
    assert codes == {"coerced:tool_schema"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ([], None),
        ({"messages": {}}, "messages"),
        ({"messages": [1]}, "messages.0"),
        ({"messages": [{"role": "tool", "content": []}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": "text"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"toolUse": {"name": "f"}}]}]}, "messages.0.content.0.toolUse.toolUseId"),
        ({"messages": [], "inferenceConfig": {"maxTokens": "9"}}, "inferenceConfig.maxTokens"),
        ({"messages": [], "inferenceConfig": {"temperature": True}}, "inferenceConfig.temperature"),
        ({"messages": [], "inferenceConfig": []}, "inferenceConfig"),
        ({"messages": [], "toolConfig": {"tools": [{"toolSpec": {}}]}}, "toolConfig.tools.0.toolSpec.name"),
        ({"messages": [], "toolConfig": {"toolChoice": {"tool": {}}}}, "toolConfig.toolChoice"),
        ({"messages": [], "outputConfig": {"textFormat": {"type": "json_schema"}}}, "outputConfig.textFormat"),
        ({"messages": [], "outputConfig": {"textFormat": {"structure": {"jsonSchema": {"schema": "{"}}}}}, "outputConfig.textFormat"),
    ],
)
def test_wrong_shapes_name_their_place(body: Any, param: str | None) -> None:
    with pytest.raises(BadRequestError) as error:
        DIALECT.decode_request(body)
    assert error.value.param == param


@given(JSON)
def test_any_shape_is_understood_or_refused(body: Any) -> None:
    needs = DIALECT.needs(body)
    assert DIALECT.wishes(body).usage
    try:
        request = DIALECT.decode_request(body)
        encoded = DIALECT.encode_request(request, CLAUDE)
    except (BadRequestError, UntranslatableError):
        return
    assert orjson.loads(encoded.body)["messages"]
    assert needs <= DIALECT.carries


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({"guardrailConfig": {"guardrailIdentifier": "g"}}, {Need.SERVER_TOOLS}),
        ({"toolConfig": {"tools": [{"systemTool": {"name": "nova_grounding"}}]}}, {Need.SERVER_TOOLS}),
        ({"toolConfig": {"tools": [{"toolSpec": {}}, {"cachePoint": {}}]}}, {Need.TOOLS}),
        ({"outputConfig": {"textFormat": {"type": "json_schema"}}}, {Need.JSON_SCHEMA}),
        ({"messages": [{"role": "assistant", "content": [{"text": "a"}]}]}, {Need.PREFILL}),
        ({"messages": [{"role": "user", "content": [{"image": {"source": {"s3Location": {}}}}]}]}, {Need.VISION, Need.FILE_ID}),
        (
            {"messages": [{"role": "user", "content": [{"document": {"format": "xlsx", "source": {"bytes": ""}}}]}]},
            {Need.DOCUMENTS, Need.OTHER_DOCUMENTS},
        ),
        (
            {"messages": [{"role": "user", "content": [{"toolResult": {"content": [{"video": {"source": {"bytes": ""}}}]}}]}]},
            {Need.TOOLS, Need.VIDEO},
        ),
        ({"messages": [{"role": "user", "content": [{"guardContent": {"image": {"source": {"bytes": ""}}}}]}]}, {Need.VISION}),
        ({"messages": [{"role": "user", "content": [{"novel": {}}]}]}, {Need.SERVER_TOOLS}),
    ],
)
def test_needs(body: Any, wanted: set[str]) -> None:
    assert DIALECT.needs(body) == wanted
