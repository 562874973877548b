"""Messages requests and answers as canonical ones: what clients really send, and the errors that name the member."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.core import carrier
from extproc.core.dialect import Facts, Need, Reply
from extproc.core.errors import ApiError, BadRequestError, ErrorKind, UntranslatableError, UpstreamFormatError
from extproc.core.ir import (
    Audio,
    Document,
    FinishReason,
    Foreign,
    ForeignTool,
    Image,
    Message,
    Opaque,
    OutputFormat,
    Reasoning,
    Refusal,
    Response,
    Role,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from extproc.core.usage import Usage
from extproc.dialects.anthropic_messages import AnthropicMessages
from tests.validators.anthropic_types import check_message

DIALECT = AnthropicMessages()
BASE: dict[str, Any] = {"model": "claude-x", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}


def test_what_claude_code_sends() -> None:
    request = DIALECT.decode_request(
        {
            "model": "claude-opus-4-8",
            "max_tokens": 32000,
            "stream": True,
            "system": [{"type": "text", "text": "You are a CLI.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]},
                {"role": "system", "content": "Later instruction."},
            ],
            "thinking": {"type": "adaptive", "display": "omitted"},
            "output_config": {"effort": "xhigh", "task_budget": {"type": "tokens", "total": 5}},
            "context_management": {"edits": []},
            "metadata": {"user_id": "u", "x": 1},
            "tools": [{"name": "Bash", "description": "runs", "input_schema": {"type": "object"}, "eager_input_streaming": True}],
            "tool_choice": {"type": "tool", "name": "Bash", "disable_parallel_tool_use": True},
            "client_thing": {"a": [1]},
        }
    )
    assert request.messages == [
        Message(Role.SYSTEM, [Text("You are a CLI.", cache="1h")]),
        Message(Role.USER, [Text("hi", cache="default")]),
        Message(Role.SYSTEM, [Text("Later instruction.")]),
    ]
    assert request.reasoning == Reasoning(enabled=True, effort="xhigh", adaptive=True, show=False)
    assert request.tools == [Tool("Bash", "runs", {"type": "object"})]
    assert request.tool_choice == ToolChoice("tool", "Bash")
    assert request.parallel_tool_calls is False
    assert request.knobs == {"user": "u"}
    assert request.extra == {
        "output_config": {"task_budget": {"type": "tokens", "total": 5}},
        "context_management": {"edits": []},
        "metadata": {"x": 1},
        "client_thing": {"a": [1]},
    }
    assert request.extra_from == "anthropic_messages"
    assert request.stream
    assert request.include_usage
    assert [loss.code for loss in request.losses] == ["dropped:eager_input_streaming"]


def test_blocks() -> None:
    call_id = carrier.join("toolu_1", Opaque("gemini", "sig"), [])
    request = DIALECT.decode_request(
        BASE
        | {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "source": {"type": "url", "url": "https://e.com/a.png"}},
                        {
                            "type": "document",
                            "source": {"type": "file", "file_id": "f"},
                            "title": "t",
                            "context": "c",
                            "citations": {"enabled": True},
                        },
                        {
                            "type": "document",
                            "source": {"type": "content", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]},
                        },
                        {"type": "search_result", "title": "s"},
                    ],
                },
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "t1", "signature": "own"},
                        {"type": "thinking", "thinking": "t2", "signature": "llm1.gemini.a.b"},
                        {"type": "thinking", "thinking": "t3", "signature": ""},
                        {"type": "redacted_thinking", "data": "llm1.openai.enc"},
                        {"type": "tool_use", "id": call_id, "name": "f", "input": {"z": 1, "a": "ü"}},
                        {"type": "tool_use", "id": "llm1id_YTow", "name": "g", "input": {}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": call_id, "content": "r", "is_error": True},
                        {"type": "tool_result", "tool_use_id": "llm1id_YTow"},
                    ],
                },
            ]
        }
    )
    assert [m.blocks for m in request.messages] == [
        [
            Image(Source(url="https://e.com/a.png")),
            Document(Source(file_id="f"), "t", "c", citations=True),
            Document(Source("text/plain", text="x\ny")),
            Foreign("anthropic_messages", "search_result", {"type": "search_result", "title": "s"}),
        ],
        [
            Thinking("t1", Opaque("anthropic", "own")),
            Thinking("t2", Opaque("gemini", "a.b")),
            Thinking("t3"),
            Thinking("", Opaque("openai", "enc"), redacted=True),
            ToolCall("toolu_1", "f", '{"z":1,"a":"ü"}', Opaque("gemini", "sig")),
            ToolCall("a:0", "g"),
        ],
        [ToolResult("toolu_1", [Text("r")], is_error=True), ToolResult("a:0", [])],
    ]
    assert [loss.code for loss in request.losses] == ["coerced:document_content"]


@pytest.mark.parametrize(
    ("members", "reasoning", "output"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, Reasoning(enabled=True, budget=2000), None),
        ({"thinking": {"type": "disabled"}}, Reasoning(enabled=False), None),
        ({"thinking": {"type": "between_tools"}}, None, None),
        ({"output_config": {"effort": "low"}}, Reasoning(effort="low"), None),
        ({"output_config": {"format": {"type": "json_schema", "schema": {"a": 1}}}}, None, OutputFormat("schema", schema={"a": 1}, strict=True)),
        ({"output_format": {"type": "json_schema", "schema": {}}}, None, OutputFormat("schema", schema={}, strict=True)),
    ],
)
def test_thinking_and_output(members: dict[str, Any], reasoning: Reasoning | None, output: OutputFormat | None) -> None:
    request = DIALECT.decode_request(BASE | members)
    assert (request.reasoning, request.output) == (reasoning, output)
    again = orjson.loads(DIALECT.encode_request(request, Facts("claude-x", "anthropic", 64000)).body)
    if "thinking" in members and members["thinking"]["type"] != "enabled":
        assert again["thinking"] == members["thinking"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ([], None),
        ({}, "model"),
        ({"model": 3}, "model"),
        ({"model": "m"}, "messages"),
        ({"model": "m", "messages": "hi"}, "messages"),
        ({"model": "m", "messages": ["hi"]}, "messages.0"),
        ({"model": "m", "messages": [{"role": "tool", "content": ""}]}, "messages.0"),
        ({"model": "m", "messages": [{"role": "user", "content": 3}]}, "messages.0.content"),
        ({"model": "m", "messages": [{"role": "user", "content": [3]}]}, "messages.0.content.0"),
        ({"model": "m", "messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text"),
        ({**BASE, "max_tokens": "9"}, "max_tokens"),
        ({**BASE, "max_tokens": True}, "max_tokens"),
        ({**BASE, "temperature": "hot"}, "temperature"),
        ({**BASE, "tools": [{}]}, "tools.0.name"),
        ({**BASE, "tools": [1]}, "tools.0"),
        ({**BASE, "tool_choice": {"type": "tool"}}, "tool_choice"),
        ({**BASE, "thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({**BASE, "output_config": {"format": {"type": "xml"}}}, "output_config.format"),
    ],
)
def test_a_wrong_shape_is_named(body: Any, param: str | None) -> None:
    with pytest.raises(BadRequestError) as error:
        DIALECT.decode_request(body)
    assert error.value.param == param


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "text", "image", "user", "tool_use", "base64", "url"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "role", "content", "text", "messages", "model", "tools", "source", "id", "name", "input", "system", "thinking", "x"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@settings(max_examples=400, deadline=None)
@given(
    body=_JSON | st.fixed_dictionaries({"model": st.just("m"), "messages": st.lists(_JSON, max_size=3)}, optional={"tools": _JSON, "system": _JSON})
)
def test_no_body_crashes(body: Any) -> None:
    assert isinstance(DIALECT.needs(body), frozenset)
    with suppress(BadRequestError, UntranslatableError):
        DIALECT.encode_request(DIALECT.decode_request(body), Facts("m", "anthropic"))


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, set()),
        ({"tools": [{"name": "f"}]}, {Need.TOOLS}),
        ({"tools": [{"type": "custom", "name": "f"}, {"type": "web_search_20250305"}]}, {Need.TOOLS, Need.SERVER_TOOLS}),
        ({"mcp_servers": [{}]}, {Need.SERVER_TOOLS}),
        ({"output_config": {"format": {}, "effort": "low"}}, set()),
        ({"output_config": {"format": {"type": "json_schema"}}}, {Need.JSON_SCHEMA}),
        ({"output_format": {"type": "json_schema"}}, {Need.JSON_SCHEMA}),
    ],
)
def test_needs_of_members(members: dict[str, Any], expected: set[str]) -> None:
    assert DIALECT.needs(BASE | members) == expected


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"type": "text", "text": ""}, set()),
        ({"type": "image", "source": {"type": "base64"}}, {Need.VISION}),
        ({"type": "image", "source": {"type": "url"}}, {Need.VISION, Need.IMAGE_URL}),
        ({"type": "document", "source": {"type": "url"}}, {Need.DOCUMENTS, Need.DOCUMENT_URL}),
        ({"type": "document", "source": {"type": "file"}}, {Need.DOCUMENTS, Need.FILE_ID}),
        ({"type": "document", "source": {"type": "content", "content": [{"type": "image"}]}}, {Need.DOCUMENTS, Need.SERVER_TOOLS}),
        ({"type": "tool_result", "content": [{"type": "image", "source": {}}]}, {Need.TOOLS, Need.VISION}),
        ({"type": "server_tool_use"}, {Need.SERVER_TOOLS}),
    ],
)
def test_needs_of_content(block: dict[str, Any], expected: set[str]) -> None:
    assert DIALECT.needs(BASE | {"messages": [{"role": "user", "content": [block]}]}) == expected


def test_a_prefill_is_a_need() -> None:
    assert DIALECT.needs(BASE | {"messages": [*BASE["messages"], {"role": "assistant", "content": "{"}]}) == {Need.PREFILL}


REPLY = Reply("msg_fallback", 0, "shown")


def encode(response: Response) -> tuple[dict[str, Any], set[str]]:
    body, losses = DIALECT.encode_response(response, REPLY)
    check_message(body)
    return orjson.loads(body), {loss.code for loss in losses}


def test_an_answer_of_another_vendor() -> None:
    blocks = [
        Thinking("hm", Opaque("gemini", "sig==")),
        Thinking("unsigned"),
        Thinking("", Opaque("openai", "enc"), redacted=True),
        Text(""),
        Text("I look."),
        ToolCall("call.1", "f", '{"a": 1}', Opaque("gemini", "tsig")),
        ToolCall("call_2", "f", "{broken"),
    ]
    body, losses = encode(Response("chatcmpl-1", "gpt", blocks, FinishReason.STOP, Usage(100, 20, 60, 10, 5)))
    ids = [b.pop("id") for b in body["content"] if b["type"] == "tool_use"]
    assert body == {
        "id": "chatcmpl-1",
        "type": "message",
        "role": "assistant",
        "model": "shown",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "llm1.gemini.sig=="},
            {"type": "thinking", "thinking": "unsigned", "signature": ""},
            {"type": "redacted_thinking", "data": "llm1.openai.enc"},
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "name": "f", "input": {"a": 1}},
            {"type": "tool_use", "name": "f", "input": {"arguments": "{broken"}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 30,
            "cache_creation_input_tokens": 10,
            "cache_read_input_tokens": 60,
            "output_tokens": 20,
            "output_tokens_details": {"thinking_tokens": 5},
        },
    }
    assert losses == {"coerced:tool_arguments"}
    # and the client sends it back as it got it
    for block, call_id in zip([b for b in body["content"] if b["type"] == "tool_use"], ids, strict=True):
        block["id"] = call_id
    back = DIALECT.decode_request(BASE | {"messages": [*BASE["messages"], {"role": "assistant", "content": body["content"]}]})
    assert back.messages[1].blocks[:3] == blocks[:3]
    assert back.messages[1].blocks[4] == ToolCall("call.1", "f", '{"a":1}', Opaque("gemini", "tsig"))


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP_SEQUENCE),
        ("max_tokens", FinishReason.LENGTH),
        ("tool_use", FinishReason.TOOL_CALLS),
        ("pause_turn", FinishReason.PAUSE),
        ("refusal", FinishReason.REFUSAL),
        ("model_context_window_exceeded", FinishReason.CONTEXT_WINDOW),
    ],
)
def test_finish_reasons(word: str, reason: FinishReason) -> None:
    source = {"id": "i", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": word, "stop_sequence": None, "usage": {}}
    response = DIALECT.decode_response(orjson.dumps(source))
    assert response.finish is reason
    assert encode(response)[0]["stop_reason"] == word


def test_every_finish_reason_has_a_word() -> None:
    for reason in FinishReason:
        body, losses = encode(Response("i", "m", [Text("x")], reason, Usage(), finish_detail="why"))
        assert ("coerced:finish_reason" in losses) is (reason in {FinishReason.OTHER, FinishReason.MALFORMED_TOOL_CALL})
        if body["stop_reason"] == "refusal":
            assert body["stop_details"]["explanation"] == "why"


def test_a_refusal_is_text_and_a_stop_reason() -> None:
    body, losses = encode(Response("", "m", [Refusal("I can't.")], FinishReason.STOP))
    assert body["id"] == "msg_fallback"
    assert body["content"] == [{"type": "text", "text": "I can't."}]
    assert body["stop_reason"] == "refusal"
    assert body["stop_details"] == {"type": "refusal", "category": None, "explanation": "I can't."}
    assert losses == {"coerced:refusal", "defaulted:usage"}


def test_what_an_answer_cannot_hold_is_reported() -> None:
    blocks = [
        Text("x", opaque=Opaque("gemini", "s"), citations=[{}], citations_from="openai_chat"),
        Audio(Source(data="AA")),
        Foreign("gemini", "executableCode", {}),
        Thinking("", redacted=True),
    ]
    body, losses = encode(Response("i", "m", blocks, FinishReason.STOP, Usage()))
    assert body["content"] == [{"type": "text", "text": "x"}]
    assert losses == {"dropped:signature", "dropped:citations", "dropped:foreign_block", "dropped:audio", "dropped:thinking"}


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"content":[]}', b'{"content":[1],"stop_reason":"x"}', b'{"content":[{"type":"text"}],"stop_reason":"x"}'],
)
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(UpstreamFormatError):
        DIALECT.decode_response(body)


def test_big_numbers_in_an_answer_stay() -> None:
    call = b'{"type":"tool_use","id":"t","name":"f","input":{"n":123456789012345678901234567890,"x":0.1}}'
    body = b'{"id":"i","model":"m","content":[%b],"stop_reason":"tool_use"}' % call
    response = DIALECT.decode_response(body)
    assert response.blocks == [ToolCall("t", "f", '{"n":123456789012345678901234567890,"x":0.1}')]
    assert b'"input":{"n":123456789012345678901234567890,"x":0.1}' in DIALECT.encode_response(response, REPLY)[0]


def test_an_error_under_a_200() -> None:
    with pytest.raises(ApiError) as error:
        DIALECT.decode_response(b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}')
    assert (error.value.kind, error.value.status) == (ErrorKind.OVERLOADED, 529)


def test_a_foreign_server_tool_is_replayed() -> None:
    tool = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    request = DIALECT.decode_request(BASE | {"tools": [tool]})
    assert request.tools == [ForeignTool("anthropic_messages", "web_search_20250305", tool)]
    assert orjson.loads(DIALECT.encode_request(request, Facts("claude-x", "anthropic")).body)["tools"] == [tool]


@pytest.mark.parametrize("kind", [[], {}, 1, None])
def test_what_it_needs_is_found_whatever_its_shape(kind: Any) -> None:
    """A type that is no text is one that nobody knows."""
    body = {"messages": [{"role": "user", "content": [{"type": kind}, {"type": "tool_result", "content": [{"type": kind}]}]}]}
    assert DIALECT.needs(body) == {Need.TOOLS, Need.SERVER_TOOLS}
