"""A Gemini client's request to the canonical conversation, and what it depends on."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.core.dialect import Facts, Need
from extproc.core.errors import BadRequestError, UntranslatableError
from extproc.core.ir import (
    Audio,
    Document,
    Foreign,
    ForeignTool,
    Image,
    Message,
    Opaque,
    OutputFormat,
    Reasoning,
    Role,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Video,
)
from extproc.dialects.gemini import GEMINI
from extproc.dialects.gemini.schema import json_schema


def parts(*items: dict[str, Any]) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": list(items)}]}


def test_golden() -> None:
    request = GEMINI.decode_request(
        {
            "model": "models/gemini-2.5-flash",
            "system_instruction": {"parts": {"text": "Be brief."}},
            "contents": [
                {"parts": [{"text": "hi"}]},
                {"role": "model", "parts": [{"text": "hm", "thought": True}, {"text": "yes", "thought_signature": "cw=="}]},
            ],
            "tools": {
                "function_declarations": [
                    {"name": "f", "description": "d", "parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}}
                ]
            },
            "generation_config": {
                "max_output_tokens": "100",
                "temperature": 1,
                "topP": 0.5,
                "topK": 3.0,
                "stopSequences": ["x"],
                "seed": 4,
                "speechConfig": {},
            },
            "safetySettings": [{"category": "c"}],
            "serviceTier": "standard",
            "brandNew": 1,
        }
    )
    assert request.model == "gemini-2.5-flash"
    assert request.messages == [
        Message(Role.SYSTEM, [Text("Be brief.")]),
        Message(Role.USER, [Text("hi")]),
        Message(Role.ASSISTANT, [Thinking("hm"), Text("yes", opaque=Opaque("gemini", "cw=="))]),
    ]
    assert request.tools == [Tool("f", "d", {"type": "object", "properties": {"a": {"type": "string"}}})]
    assert (request.max_tokens, request.temperature, request.top_p, request.top_k, request.stop) == (100, 1, 0.5, 3, ["x"])
    assert request.knobs == {"seed": 4, "service_tier": "default"}
    assert request.extra == {"safetySettings": [{"category": "c"}], "brandNew": 1, "generationConfig": {"speechConfig": {}}}
    assert (request.extra_from, request.losses) == ("gemini", [])
    body = orjson.loads(GEMINI.encode_request(request, Facts("gemini-2.5-flash", "gemini")).body)
    assert body["brandNew"] == 1
    assert body["safetySettings"] == [{"category": "c"}]
    assert body["generationConfig"]["speechConfig"] == {}


@pytest.mark.parametrize(
    ("part", "block"),
    [
        ({"inlineData": {"mimeType": "image/png", "data": "aGk="}}, Image(Source("image/png", data="aGk="))),
        ({"inlineData": {"mimeType": "image/png", "data": "a-_k"}}, Image(Source("image/png", data="a+/k"))),
        ({"inline_data": {"mime_type": "audio/wav", "data": "aGk="}}, Audio(Source("audio/wav", data="aGk="))),
        ({"fileData": {"mimeType": "video/mp4", "fileUri": "https://x.test/v"}}, Video(Source("video/mp4", url="https://x.test/v"))),
        ({"file_data": {"mime_type": "application/pdf", "file_uri": "gs://b/o"}}, Document(Source("application/pdf", file_id="gs://b/o"))),
        ({"fileData": {"fileUri": "https://x.test/v"}}, Document(Source(url="https://x.test/v"))),
        ({"thought": True, "thoughtSignature": "cw=="}, Thinking("", Opaque("gemini", "cw=="))),
        ({"thoughtSignature": "cw=="}, Text("", opaque=Opaque("gemini", "cw=="))),
        ({"executableCode": {"code": "1"}}, Foreign("gemini", "executableCode", {"executableCode": {"code": "1"}})),
        ({"newKind": {}}, Foreign("gemini", "newKind", {"newKind": {}})),
    ],
)
def test_parts(part: dict[str, Any], block: Any) -> None:
    request = GEMINI.decode_request(parts(part))
    assert request.messages == [Message(Role.USER, [block])]
    assert request.losses == []


def test_members_of_parts_without_a_place_are_losses() -> None:
    request = GEMINI.decode_request(
        parts({"text": "a", "partMetadata": {}, "novel": 1}, {"fileData": {"fileUri": "gs://x"}, "videoMetadata": {"fps": 1}})
    )
    assert [(loss.code, loss.detail) for loss in request.losses] == [
        ("dropped:partMetadata", "contents[0].parts[0]"),
        ("dropped:unknown_member", "contents[0].parts[0].novel"),
        ("dropped:videoMetadata", "contents[0].parts[1]"),
    ]


def history(calls: list[dict[str, Any]], results: list[dict[str, Any]]) -> list[Message]:
    contents = [
        {"role": "user", "parts": [{"text": "q"}]},
        {"role": "model", "parts": [{"functionCall": call} for call in calls]},
        {"role": "user", "parts": [{"functionResponse": result} for result in results]},
    ]
    return GEMINI.decode_request({"contents": contents}).messages[1:]


def test_results_without_ids_are_paired_by_name_and_order() -> None:
    call, result = history(
        [{"name": "f", "args": {"n": 1}}, {"name": "g"}, {"name": "f", "args": {"n": 2}}],
        [{"name": "g", "response": {"result": "G"}}, {"name": "f", "response": {"result": "F1"}}, {"name": "f", "response": {"result": "F2"}}],
    )
    ids = [block.id for block in call.blocks if isinstance(block, ToolCall)]
    assert len(set(ids)) == 3
    assert result.blocks == [ToolResult(ids[1], [Text("G")], "g"), ToolResult(ids[0], [Text("F1")], "f"), ToolResult(ids[2], [Text("F2")], "f")]


def test_ids_of_the_client_are_kept() -> None:
    call, result = history([{"name": "f", "id": "A"}, {"name": "f"}], [{"name": "f", "id": "A", "response": {}}, {"name": "f", "response": {}}])
    first, second = (block.id for block in call.blocks if isinstance(block, ToolCall))
    assert first == "A"
    assert [block.id for block in result.blocks if isinstance(block, ToolResult)] == ["A", second]


def test_a_result_of_nothing_keeps_its_name() -> None:
    _, result = history([], [{"name": "f", "response": {"result": "x"}}])
    assert isinstance(result.blocks[0], ToolResult)
    assert (result.blocks[0].name, result.blocks[0].content) == ("f", [Text("x")])


@pytest.mark.parametrize(
    ("response", "text", "is_error"),
    [
        ({"result": "plain"}, "plain", False),
        ({"result": 5}, '{"result":5}', False),
        ({"result": '{"a":1}'}, '{"result":"{\\"a\\":1}"}', False),
        ({"output": "x"}, '{"output":"x"}', False),
        ({"error": "boom"}, "boom", True),
        ({"error": {"code": 1}}, '{"code":1}', True),
        ({"error": "x", "result": "y"}, '{"error":"x","result":"y"}', False),
        ({}, "{}", False),
    ],
)
def test_results_come_back_as_they_went(response: dict[str, Any], text: str, is_error: bool) -> None:
    _, result = history([{"name": "f", "id": "A"}], [{"name": "f", "id": "A", "response": response}])
    assert result.blocks == [ToolResult("A", [Text(text)], "f", is_error)]
    body: dict[str, Any] = {"contents": [{"role": "model", "parts": [{"functionCall": {"name": "f", "id": "A"}}]}, {"role": "user", "parts": []}]}
    body["contents"][1]["parts"] = [{"functionResponse": {"name": "f", "id": "A", "response": response}}]
    again = GEMINI.encode_request(GEMINI.decode_request(body), Facts("gemini-2.5-flash", "gemini")).body
    assert orjson.loads(again)["contents"][1]["parts"][0]["functionResponse"]["response"] == response


def test_media_in_results() -> None:
    inline = {"inline_data": {"mime_type": "image/png", "data": "aGk="}}
    _, result = history([{"name": "f", "id": "A"}], [{"name": "f", "id": "A", "response": {"result": "r"}, "parts": [inline]}])
    assert result.blocks == [ToolResult("A", [Text("r"), Image(Source("image/png", data="aGk="))], "f")]


@pytest.mark.parametrize(
    ("config", "choice", "extra"),
    [
        ({"functionCallingConfig": {"mode": "AUTO"}}, ToolChoice("auto"), {}),
        ({"function_calling_config": {"mode": "none"}}, ToolChoice("none"), {}),
        ({"functionCallingConfig": {"mode": "ANY"}}, ToolChoice("required"), {}),
        ({"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}, ToolChoice("tool", name="f"), {}),
        ({"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f", "g"]}}, ToolChoice("required", allowed=["f", "g"]), {}),
        ({"functionCallingConfig": {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}}, ToolChoice("auto", allowed=["f"]), {}),
        ({"functionCallingConfig": {"mode": "VALIDATED"}}, ToolChoice("auto"), {"toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}}}),
        ({"retrievalConfig": {"languageCode": "de"}}, None, {"toolConfig": {"retrievalConfig": {"languageCode": "de"}}}),
    ],
)
def test_tool_config_there_and_back(config: dict[str, Any], choice: ToolChoice | None, extra: dict[str, Any]) -> None:
    tools = [{"functionDeclarations": [{"name": "f", "behavior": "BLOCKING"}, {"name": "g"}]}, {"googleSearch": {}}]
    request = GEMINI.decode_request(parts({"text": "q"}) | {"tools": tools, "toolConfig": config})
    assert request.tools == [Tool("f"), Tool("g"), ForeignTool("gemini", "googleSearch", {"googleSearch": {}})]
    assert request.tool_choice == choice
    assert request.extra == {"functionDeclarations": {"f": {"behavior": "BLOCKING"}}} | extra
    body = orjson.loads(GEMINI.encode_request(request, Facts("gemini-2.5-flash", "gemini")).body)
    assert body["tools"] == tools
    if "function_calling_config" not in config:
        assert body["toolConfig"] == config


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"thinkingConfig": {"thinkingBudget": 0}}, Reasoning(enabled=False, budget=0)),
        ({"thinkingConfig": {"thinking_budget": -1, "include_thoughts": True}}, Reasoning(enabled=True, budget=-1, show=True)),
        ({"thinkingConfig": {"thinkingLevel": "LOW"}}, Reasoning(effort="low")),
        ({"responseMimeType": "application/json"}, OutputFormat("json")),
        ({"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}}, OutputFormat("schema", schema={"type": "object"})),
        ({"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT"}}, OutputFormat("schema", schema={"type": "object"})),
        (
            {"responseMimeType": "application/json", "responseJsonSchema": {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}}},
            OutputFormat("schema", schema={"type": "object", "properties": {"n": {"type": "integer"}}}),
        ),
        ({"responseMimeType": "text/plain"}, None),
        ({"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING"}}, None),
    ],
)
def test_generation_config(config: dict[str, Any], expected: Any) -> None:
    request = GEMINI.decode_request(parts({"text": "q"}) | {"generationConfig": config})
    assert expected in (request.reasoning, request.output)
    if config.get("responseMimeType") == "text/x.enum":
        assert request.extra["generationConfig"] == config


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ([], "body"),
        ("text", "body"),
        (None, "body"),
        ({"contents": [5]}, "contents[0]"),
        ({"contents": [{"role": "assistant", "parts": []}]}, "contents[0].role"),
        ({"contents": [{"role": ["user"], "parts": []}]}, "contents[0].role"),
        ({"contents": [{"parts": ["x"]}]}, "contents[0].parts[0]"),
        (parts({"text": 5}), "contents[0].parts[0].text"),
        (parts({"inlineData": []}), "contents[0].parts[0].inlineData"),
        (parts({"fileData": {}}), "contents[0].parts[0].fileData.fileUri"),
        (parts({"functionCall": {}}), "contents[0].parts[0].functionCall.name"),
        ({"systemInstruction": 5}, "systemInstruction"),
        ({"tools": [{"functionDeclarations": [{"name": 5}]}]}, "tools[0].functionDeclarations.name"),
        ({"toolConfig": []}, "toolConfig"),
        ({"generationConfig": {"temperature": "hot"}}, "generationConfig.temperature"),
        ({"generationConfig": {"maxOutputTokens": 1.5}}, "generationConfig.maxOutputTokens"),
        ({"generationConfig": {"maxOutputTokens": True}}, "generationConfig.maxOutputTokens"),
        ({"generationConfig": {"topK": "1e400"}}, "generationConfig.topK"),
    ],
)
def test_wrong_shapes_are_named(body: Any, param: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        GEMINI.decode_request(body)
    assert caught.value.param == param
    GEMINI.needs(body)


def test_deep_nesting_is_an_error_and_no_crash() -> None:
    schema: Any = {}
    args: Any = {}
    for _ in range(900):
        schema, args = {"items": schema}, {"a": args}
    for body in ({"tools": [{"functionDeclarations": [{"name": "f", "parameters": schema}]}]}, parts({"functionCall": {"name": "f", "args": args}})):
        with pytest.raises(BadRequestError):
            GEMINI.decode_request(body)


def test_older_schema_language() -> None:
    assert json_schema(
        {
            "type": "OBJECT",
            "properties": {
                "b": {"type": "ARRAY", "items": {"type": "INTEGER", "nullable": True}, "minItems": "1"},
                "a": {"type": "STRING", "enum": ["x"], "nullable": True, "example": "x"},
                "type": {"anyOf": [{"type": "NUMBER"}, {"ref": "#/defs/t"}], "nullable": True},
            },
            "propertyOrdering": ["a", "b"],
            "defs": {"t": {"type": "BOOLEAN"}},
            "additionalProperties": False,
        }
    ) == {
        "type": "object",
        "properties": {
            "a": {"type": ["string", "null"], "enum": ["x", None], "examples": ["x"]},
            "b": {"type": "array", "items": {"type": ["integer", "null"]}, "minItems": 1},
            "type": {"anyOf": [{"type": "number"}, {"$ref": "#/defs/t"}, {"type": "null"}]},
        },
        "$defs": {"t": {"type": "boolean"}},
        "additionalProperties": False,
    }
    assert list(json_schema({"properties": {"b": {}, "a": {}}, "property_ordering": ["a"]})["properties"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "needs"),
    [
        (parts({"text": "a"}), set()),
        (parts({"inline_data": {"mime_type": "image/png"}}), {Need.VISION}),
        (parts({"fileData": {"mimeType": "image/png", "fileUri": "https://x"}}), {Need.VISION, Need.IMAGE_URL}),
        (parts({"fileData": {"mimeType": "application/pdf", "fileUri": "https://x"}}), {Need.DOCUMENTS, Need.DOCUMENT_URL}),
        (parts({"fileData": {"mimeType": "application/pdf", "fileUri": "gs://x"}}), {Need.DOCUMENTS, Need.FILE_ID}),
        (parts({"inlineData": {"mimeType": "audio/wav"}}), {Need.AUDIO}),
        (parts({"inlineData": {"mimeType": "video/mp4"}}), {Need.VIDEO}),
        (parts({"functionResponse": {"parts": [{"inlineData": {"mimeType": "image/png"}}]}}), {Need.TOOLS, Need.VISION}),
        (parts({"toolCall": {}}), {Need.SERVER_TOOLS}),
        ({"tools": [{"functionDeclarations": []}, {"googleSearch": {}}]}, {Need.TOOLS, Need.SERVER_TOOLS}),
        ({"contents": [{"role": "user"}, {"role": "model"}]}, {Need.PREFILL}),
        ({"generationConfig": {"responseMimeType": "application/json"}}, {Need.JSON_OBJECT}),
        ({"generationConfig": {"response_schema": {}, "candidateCount": 2}}, {Need.JSON_SCHEMA, Need.CHOICES}),
        ({"generationConfig": {"responseModalities": ["TEXT", "IMAGE", "AUDIO"]}}, {Need.OUTPUT_IMAGE, Need.OUTPUT_AUDIO}),
    ],
)
def test_needs(body: Any, needs: set[str]) -> None:
    assert GEMINI.needs(body) == needs
    assert needs - {Need.OUTPUT_AUDIO} <= GEMINI.carries


_MEMBERS = [
    "contents",
    "parts",
    "role",
    "text",
    "inlineData",
    "inline_data",
    "fileData",
    "mimeType",
    "fileUri",
    "functionCall",
    "functionResponse",
    "name",
    "id",
    "args",
    "response",
    "thought",
    "thoughtSignature",
    "tools",
    "functionDeclarations",
    "parameters",
    "toolConfig",
    "functionCallingConfig",
    "mode",
    "allowedFunctionNames",
    "generationConfig",
    "temperature",
    "topK",
    "thinkingConfig",
    "thinkingBudget",
    "responseSchema",
    "responseModalities",
    "candidateCount",
    "systemInstruction",
    "serviceTier",
]
_json = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=False), st.sampled_from(["", "x", "user", "model", "image/png", "gs://x"])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(_MEMBERS),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=25,
)


@settings(max_examples=400, deadline=None)
@given(_json)
def test_any_shape_is_decoded_or_refused(body: Any) -> None:
    GEMINI.needs(body)
    try:
        GEMINI.encode_request(GEMINI.decode_request(body), Facts("gemini-2.5-flash", "gemini"))
    except (BadRequestError, UntranslatableError):
        return
