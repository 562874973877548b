"""Chat Completions requests: to the canonical conversation, back again as the published types allow, and spliced for the same dialect."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.core import carrier
from extproc.core.dialect import NO_ASK, Encoded, Facts, Need
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
    Refusal,
    Request,
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
from extproc.dialects.openai_chat import OpenAIChat
from extproc.providers.kinds import KINDS, QUIRKS
from tests.validators.openai_types import check_chat_request

DIALECT = OpenAIChat()
GPT = Facts("gpt-4o", "openai")
O3 = Facts("o3-mini", "openai")
USER = Message(Role.USER, [Text("hi")])
PNG = Source("image/png", "aGk=")


def vendor(*quirks: str) -> Facts:
    return Facts("some-model", "some-vendor", quirks=frozenset(quirks))


def encode(request: Request, facts: Facts = GPT) -> tuple[dict[str, Any], set[str]]:
    encoded = DIALECT.encode_request(request, facts)
    if not facts.quirks:
        check_chat_request(encoded.body)
    return orjson.loads(encoded.body), {loss.code for loss in encoded.losses}


def messages(*given: Message, facts: Facts = GPT) -> tuple[list[Any], set[str]]:
    body, losses = encode(Request("m", list(given)), facts)
    return body["messages"], losses


def decode(*given: dict[str, Any], **members: Any) -> Request:
    return DIALECT.decode_request({"model": "m", "messages": list(given), **members})


ARGUMENTS = '{"b": 1, "a":123456789012345678901234567890, "é":"\\u00e9"}'
GOLDEN: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "Look:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
            ],
        },
        {
            "role": "assistant",
            "content": "Calling.",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"b": 1, "a":123456789012345678901234567890, "é":"\\u00e9"}'},
                },
                {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "one"},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "two"}, {"type": "text", "text": "three"}]},
        {"role": "assistant", "content": None, "refusal": "No."},
        {"role": "user", "content": ""},
    ],
    "tools": [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"z": 1, "a": {"$ref": "#"}}, "strict": True}},
        {"type": "function", "function": {"name": "g"}},
        {"type": "custom", "custom": {"name": "c"}},
    ],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "parallel_tool_calls": False,
    "response_format": {"type": "json_schema", "json_schema": {"name": "r", "schema": {"type": "object"}, "strict": True, "description": "d"}},
    "temperature": 0.5,
    "top_p": 0.9,
    "stop": ["a", "b"],
    "max_completion_tokens": 100,
    "seed": 7,
    "logit_bias": {"1": 2},
    "metadata": {"k": "v"},
    "stream": True,
    "stream_options": {"include_usage": True},
}


def test_a_full_request_comes_back_as_it_was() -> None:
    check_chat_request(orjson.dumps(GOLDEN))
    request = DIALECT.decode_request(GOLDEN)
    encoded = DIALECT.encode_request(request, GPT)
    check_chat_request(encoded.body)
    assert orjson.loads(encoded.body) == GOLDEN
    assert list(orjson.loads(encoded.body)["tools"][0]["function"]["parameters"]) == ["z", "a"]
    assert request.losses == encoded.losses == []
    assert encoded.path == "/chat/completions"
    assert DIALECT.encode_request(DIALECT.decode_request(GOLDEN), GPT).body == encoded.body


def test_a_full_request_decodes_to_blocks() -> None:
    request = DIALECT.decode_request(GOLDEN)
    assert [message.role for message in request.messages] == ["system", "developer", "user", "assistant", "user", "assistant", "user"]
    assert request.messages[2].blocks[1:] == [
        Image(PNG, "low"),
        Image(Source(url="https://example.com/a.png")),
        Audio(Source("audio/wav", "aGk=")),
        Document(Source("application/pdf", "aGk="), title="a.pdf"),
    ]
    assert request.messages[4].blocks == [
        ToolResult("call_1", [Text("one")]),
        ToolResult("call_2", [Text("two"), Text("three")]),
    ]
    assert request.messages[5].blocks == [Refusal("No.")]
    assert request.messages[6].blocks == []
    assert request.tools[2] == ForeignTool("openai_chat", "custom", {"type": "custom", "custom": {"name": "c"}})
    assert (request.stream, request.include_usage, request.max_tokens) == (True, True, 100)
    assert request.knobs == {"seed": 7, "logit_bias": {"1": 2}, "metadata": {"k": "v"}}


# decoding


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ([], None),
        ({}, "model"),
        ({"model": 1}, "model"),
        ({"model": "m"}, "messages"),
        ({"model": "m", "messages": "hi"}, "messages"),
        ({"model": "m", "messages": ["hi"]}, "messages[0]"),
        ({"model": "m", "messages": [{"role": "king"}]}, "messages[0].role"),
        ({"model": "m", "messages": [{"role": {}}]}, "messages[0].role"),
        ({"model": "m", "messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"model": "m", "messages": [{"role": "user", "content": [1]}]}, "messages[0].content[0]"),
        ({"model": "m", "messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"model": "m", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].image_url"),
        ({"model": "m", "messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}, "messages[0].content[0].file.file_data"),
        ({"model": "m", "messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"model": "m", "messages": [{"role": "assistant", "tool_calls": {}}]}, None),
        ({"model": "m", "messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]}, "messages[0].tool_calls[0]"),
        ({"model": "m", "messages": [], "tools": {"a": 1}}, "tools"),
        ({"model": "m", "messages": [], "tools": [{"type": "function"}]}, "tools[0].function"),
        ({"model": "m", "messages": [], "tool_choice": "maybe"}, "tool_choice"),
        ({"model": "m", "messages": [], "max_tokens": "1"}, "max_tokens"),
        ({"model": "m", "messages": [], "max_tokens": True}, "max_tokens"),
        ({"model": "m", "messages": [], "temperature": "hot"}, "temperature"),
        ({"model": "m", "messages": [], "stop": [1]}, "stop"),
        ({"model": "m", "messages": [], "stream": "yes"}, "stream"),
        ({"model": "m", "messages": [], "response_format": {"type": "xml"}}, "response_format"),
        ({"model": "m", "messages": [], "response_format": {"type": ["text"]}}, "response_format"),
    ],
)
def test_wrong_shapes_are_named(body: Any, param: str | None) -> None:
    if param is None and isinstance(body, dict):
        assert DIALECT.decode_request(body).messages[0].blocks == []
        return
    with pytest.raises(BadRequestError) as caught:
        DIALECT.decode_request(body)
    assert caught.value.param == param


def test_unknown_members_are_kept_or_reported_never_refused() -> None:
    request = decode(
        {"role": "user", "content": [{"type": "text", "text": "a", "novel": 1}], "weird": {"x": 1}, "empty": []},
        {"role": "assistant", "content": "b", "prefix": True, "annotations": [], "audio": None, "function_call": None},
        client_metadata={"k": "v"},
        tools=[{"type": "function", "function": {"name": "f", "extra": 1}}, {"type": "namespace", "tools": []}],
    )
    assert request.extra == {"client_metadata": {"k": "v"}}
    assert request.extra_from == "openai_chat"
    assert sorted((loss.code, loss.detail) for loss in request.losses) == [
        ("dropped:unknown_member", "messages[].content[].novel"),
        ("dropped:unknown_member", "messages[].weird"),
        ("dropped:unknown_member", "tools[].function.extra"),
    ]
    with pytest.raises(UntranslatableError):
        encode(request)
    request.tools.pop()
    assert encode(request)[1] == {"dropped:unknown_member"}


def test_a_hostile_body_cannot_grow_the_list_of_losses() -> None:
    request = decode(*({"role": "user", "content": "x", f"m{n}": 1} for n in range(500)))
    assert len(request.losses) == 64


def test_the_older_form_with_functions() -> None:
    body = {
        "model": "m",
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"x":1}'}},
            {"role": "function", "name": "f", "content": "1"},
            {"role": "assistant", "function_call": {"name": "f", "arguments": ""}},
            {"role": "function", "name": "f", "content": "2"},
        ],
        "functions": [{"name": "f", "parameters": {"type": "object"}}],
        "function_call": {"name": "f"},
    }
    request = DIALECT.decode_request(body)
    assert DIALECT.wishes(body).functions
    assert not DIALECT.wishes(GOLDEN).functions
    assert Need.TOOLS in DIALECT.needs(body)
    assert request.messages[1].blocks == [ToolCall("call_0", "f", '{"x":1}')]
    assert request.messages[2].blocks == [ToolResult("call_0", [Text("1")], "f")]
    assert request.messages[4].blocks == [ToolResult("call_1", [Text("2")], "f")]
    assert request.tool_choice == ToolChoice("tool", "f")
    again, losses = encode(request)
    assert again["messages"][3]["tool_calls"] == [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    assert again["tools"] == [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    assert not losses


def test_signed_thoughts_come_back_out_of_ids_in_front_of_the_turn() -> None:
    first = Thinking("Think.", Opaque("anthropic", "sig1"))
    second = Thinking("", Opaque("anthropic", "sig2"), redacted=True)
    one = carrier.join("toolu_1", None, [first])
    two = carrier.join("toolu_2", Opaque("gemini", "g"), [second])
    request = decode(
        {
            "role": "assistant",
            "content": "Calling.",
            "reasoning_content": "Think.",
            "tool_calls": [{"id": i, "type": "function", "function": {"name": "f", "arguments": "{}"}} for i in (one, two)],
        },
        {"role": "tool", "tool_call_id": two, "content": "x"},
    )
    assert request.messages[0].blocks == [
        first,
        Text("Calling."),
        ToolCall("toolu_1", "f", "{}"),
        second,
        ToolCall("toolu_2", "f", "{}", Opaque("gemini", "g")),
    ]
    assert request.messages[1].blocks == [ToolResult("toolu_2", [Text("x")])]
    again, losses = encode(request)
    assert "__llm1_" not in json.dumps(again)
    assert losses == {"dropped:thinking", "signature:foreign"}


def test_plain_reasoning_is_kept_beside_other_thoughts() -> None:
    carried = carrier.join("c", None, [Thinking("A", Opaque("anthropic", "s"))])
    call = {"id": carried, "type": "function", "function": {"name": "f", "arguments": {"as": "object"}}}
    request = decode({"role": "assistant", "content": "t", "reasoning": "Something else.", "tool_calls": [call]})
    assert request.messages[0].blocks == [
        Thinking("A", Opaque("anthropic", "s")),
        Thinking("Something else."),
        Text("t"),
        ToolCall("c", "f", '{"as":"object"}'),
    ]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"reasoning_effort": "low"}, Reasoning(effort="low")),
        ({"reasoning_effort": "none"}, Reasoning(enabled=False, effort="none")),
        ({"reasoning": {"max_tokens": 2000, "exclude": True}}, Reasoning(budget=2000, show=False)),
        ({"thinking": {"type": "disabled"}}, Reasoning(enabled=False)),
        ({}, None),
    ],
)
def test_reasoning(members: dict[str, Any], expected: Reasoning | None) -> None:
    assert decode(**members).reasoning == expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", ToolChoice("auto")),
        ("any", ToolChoice("required")),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice("tool", "f")),
        ({"type": "custom", "custom": {"name": "f"}}, ToolChoice("tool", "f")),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]}},
            ToolChoice("required", allowed=["f"]),
        ),
    ],
)
def test_tool_choice(choice: Any, expected: ToolChoice) -> None:
    assert decode(tool_choice=choice).tool_choice == expected


def test_knobs_at_their_defaults_are_no_knobs() -> None:
    request = decode(n=1, logprobs=False, presence_penalty=0, logit_bias={}, service_tier="auto", response_format={"type": "text"}, seed=None)
    assert request.knobs == {}
    assert request.output is None


# needs


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"messages": [{"role": "user", "content": "x"}]}, set()),
        ({"tools": [{"type": "function"}]}, {Need.TOOLS}),
        ({"messages": [{"role": "tool"}]}, {Need.TOOLS}),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,x"}}]}]}, {Need.VISION}),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "https://x"}]}]}, {Need.VISION, Need.IMAGE_URL}),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}, {Need.DOCUMENTS, Need.FILE_ID}),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": "https://x"}}]}]}, {Need.DOCUMENTS, Need.DOCUMENT_URL}),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, {Need.AUDIO}),
        ({"messages": [{"role": "user", "content": [{"type": "video_url"}]}]}, {Need.VIDEO}),
        ({"messages": [{"role": "user", "content": [{"type": "novel"}]}]}, {Need.SERVER_TOOLS}),
        ({"messages": [{"role": "assistant", "content": "x"}]}, {Need.PREFILL}),
        ({"tools": [{"type": "custom"}]}, {Need.TOOLS, Need.SERVER_TOOLS}),
        ({"web_search_options": {}}, {Need.SERVER_TOOLS}),
        ({"response_format": {"type": "json_schema"}}, {Need.JSON_SCHEMA}),
        ({"response_format": {"type": "json_object"}}, {Need.JSON_OBJECT}),
        ({"n": 2}, {Need.CHOICES}),
        ({"modalities": ["text", "audio"]}, {Need.OUTPUT_AUDIO}),
    ],
)
def test_needs(body: dict[str, Any], expected: set[str]) -> None:
    assert DIALECT.needs(body) == expected


PART_NAMES = ["type", "text", "image_url", "url", "file", "file_data", "function", "name", "id", "arguments"]
OTHER_NAMES = ["tools", "functions", "tool_choice", "function_call", "response_format", "stop", "reasoning", "thinking", "n", "modalities"]
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "type", "text", "image_url", "url", "file", "file_data", "tool_calls", "function", "name", "id", "arguments"]
            ),
            inner | st.sampled_from(["user", "assistant", "tool", "text", "image_url", "file", "function", "thinking"]),
            max_size=5,
        )
    ),
    max_leaves=15,
)
bodies = st.fixed_dictionaries(
    {"model": st.just("m") | anything, "messages": st.lists(anything, max_size=4) | anything},
    optional=dict.fromkeys(
        [
            "tools",
            "functions",
            "tool_choice",
            "function_call",
            "response_format",
            "stop",
            "reasoning",
            "thinking",
            "n",
            "modalities",
            "stream_options",
        ],
        anything,
    ),
)


@settings(max_examples=400, deadline=None)
@given(bodies | anything)
def test_no_shape_crashes(body: Any) -> None:
    needs = DIALECT.needs(body)
    assert DIALECT.wishes(body).usage in (True, False)
    assert DIALECT.wishes(body).functions in (True, False)
    try:
        request = DIALECT.decode_request(body)
    except BadRequestError:
        return
    try:
        encoded = DIALECT.encode_request(request, GPT)
    except UntranslatableError:
        assert needs - DIALECT.carries or Need.AUDIO in needs
        return
    orjson.loads(encoded.body)


# encoding


def test_tool_results_come_first_and_images_follow_in_a_user_message() -> None:
    out, losses = messages(
        Message(Role.ASSISTANT, [ToolCall("c1", "f"), ToolCall("c2", "g", "{}")]),
        Message(Role.USER, [Text("and?"), ToolResult("c1", [Text("t"), Image(PNG)], is_error=True)]),
        Message(Role.USER, [ToolResult("c2", [Image(PNG)])]),
    )
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    assert out == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "t"},
        {"role": "tool", "tool_call_id": "c2", "content": "The result is attached to the next user message."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Attached to the result of tool call c1:"},
                image,
                {"type": "text", "text": "Attached to the result of tool call c2:"},
                image,
                {"type": "text", "text": "and?"},
            ],
        },
    ]
    assert losses == {"coerced:tool_result_media", "dropped:tool_error_flag"}


def test_images_of_the_assistant_move_behind_its_tool_results() -> None:
    out, losses = messages(Message(Role.ASSISTANT, [Image(PNG), ToolCall("c", "f")]), Message(Role.USER, [ToolResult("c", [])]))
    assert [message["role"] for message in out] == ["assistant", "tool", "user"]
    assert out[2]["content"][1]["type"] == "image_url"
    assert losses == {"coerced:assistant_media"}
    out, _ = messages(USER, Message(Role.ASSISTANT, [Image(PNG)]))
    assert [message["role"] for message in out] == ["user", "assistant", "user"]


def test_empty_messages_stay_valid() -> None:
    out, losses = messages(Message(Role.SYSTEM, []), Message(Role.USER, []), Message(Role.ASSISTANT, []))
    assert [message["content"] for message in out] == ["", "", ""]
    assert not losses


def test_documents() -> None:
    text = Document(Source(text="body"), title="T", context="C", citations=True)
    out, losses = messages(Message(Role.USER, [Document(Source("application/pdf", "aGk=")), text]))
    assert out[0]["content"] == [
        {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,aGk="}},
        {"type": "text", "text": "T\n\nC\n\nbody"},
    ]
    assert losses == {"coerced:document", "dropped:document_citations"}


@pytest.mark.parametrize(
    "block",
    [
        Document(Source(url="https://x")),
        Document(Source(file_id="f")),
        Image(Source(file_id="f")),
        Audio(Source("audio/ogg", "aGk=")),
        Audio(Source("audio/wav", url="https://x")),
        Video(Source(url="https://x")),
        Foreign("anthropic_messages", "search_result", {}),
        ToolResult("c", [Foreign("anthropic_messages", "search_result", {})]),
    ],
)
def test_content_that_the_format_lacks_is_refused(block: Any) -> None:
    with pytest.raises(UntranslatableError):
        messages(Message(Role.USER, [block]))


def test_foreign_tools_and_missing_formats_are_refused() -> None:
    with pytest.raises(UntranslatableError):
        encode(Request("m", [USER], tools=[ForeignTool("anthropic_messages", "web_search", {})]))
    with pytest.raises(UntranslatableError):
        encode(Request("m", [USER], output=OutputFormat("schema", schema={})), vendor("no_json_schema"))


def test_thinking_goes_only_to_vendors_that_take_it_back() -> None:
    turn = Message(Role.ASSISTANT, [Thinking("A", Opaque("anthropic", "s")), Thinking("B"), Text("t")])
    out, losses = messages(USER, turn)
    assert out[1] == {"role": "assistant", "content": "t"}
    assert losses == {"signature:foreign", "dropped:thinking"}
    out, losses = messages(USER, turn, facts=vendor("reasoning_content_history"))
    assert out[1]["reasoning_content"] == "A\n\nB"
    assert losses == {"signature:foreign"}
    out, losses = messages(USER, turn, facts=vendor("reasoning_details"))
    assert out[1]["reasoning_details"] == [{"type": "reasoning.text", "text": "A"}, {"type": "reasoning.text", "text": "B"}]


def test_quirks() -> None:
    request = Request(
        "m",
        [Message(Role.DEVELOPER, [Text("a"), Text("b", cache="1h")]), USER],
        stream=True,
        max_tokens=5,
        top_k=3,
        tools=[Tool("f", strict=True)],
        parallel_tool_calls=False,
        reasoning=Reasoning(effort="low"),
    )
    body, losses = encode(request)
    assert body["messages"][0]["role"] == "developer"
    assert (body["max_completion_tokens"], body["stream_options"], body["parallel_tool_calls"]) == (5, {"include_usage": True}, False)
    assert losses == {"dropped:cache_control", "dropped:top_k", "dropped:reasoning"}
    body, losses = encode(
        request,
        vendor(
            "max_tokens",
            "no_developer_role",
            "no_stream_options",
            "no_strict_tools",
            "no_parallel_tool_calls",
            "no_reasoning_effort",
            "no_content_parts",
        ),
    )
    assert body["messages"][0] == {"role": "system", "content": "a\n\nb"}
    assert body["tools"] == [{"type": "function", "function": {"name": "f"}}]
    assert body.keys() == {"model", "messages", "tools", "max_tokens", "stream"}
    assert losses == {
        "coerced:content_parts",
        "dropped:cache_control",
        "dropped:top_k",
        "dropped:strict",
        "dropped:parallel_tool_calls",
        "dropped:reasoning",
    }
    body, losses = encode(request, vendor("cache_control", "top_k"))
    assert body["messages"][0]["content"][1]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert (body["top_k"], body["reasoning_effort"]) == (3, "low")
    assert not losses


def test_every_quirk_of_a_kind_is_a_known_one() -> None:
    assert all(kind.quirks <= QUIRKS.keys() for kind in KINDS.values())


def test_tool_call_ids_that_the_target_refuses_are_mapped_alike_on_both_sides() -> None:
    history = [Message(Role.ASSISTANT, [ToolCall("x" * 60, "f")]), Message(Role.USER, [ToolResult("x" * 60, [])])]
    for facts, pattern in ((GPT, r"call_[0-9a-f]{24}"), (vendor("short_tool_ids"), r"[A-Za-z0-9]{9}")):
        out, _ = messages(*history, facts=facts)
        assert out[0]["tool_calls"][0]["id"] == out[1]["tool_call_id"]
        assert re.fullmatch(pattern, out[1]["tool_call_id"])
    out, _ = messages(Message(Role.ASSISTANT, [ToolCall("Abc123xyZ", "f")]), facts=vendor("short_tool_ids"))
    assert out[0]["tool_calls"][0]["id"] == "Abc123xyZ"


@pytest.mark.parametrize(
    ("model", "reasoning", "effort", "losses"),
    [
        ("o3", Reasoning(effort="xhigh"), "high", {"coerced:reasoning_effort"}),
        ("o3", Reasoning(enabled=False), "low", {"coerced:reasoning_effort"}),
        ("gpt-5", Reasoning(effort="none", enabled=False), "minimal", {"coerced:reasoning_effort"}),
        ("gpt-5.1", Reasoning(enabled=False), "none", set()),
        ("gpt-5.2", Reasoning(effort="max"), "xhigh", {"coerced:reasoning_effort"}),
        ("gpt-5-mini-2025-08-07", Reasoning(budget=1024), "low", {"coerced:thinking_budget"}),
        ("o3", Reasoning(budget=-1, enabled=True), None, set()),
        ("o3", Reasoning(adaptive=True, enabled=True), None, set()),
        ("o3", Reasoning(effort="low", show=True), "low", {"dropped:reasoning_show"}),
        ("gpt-4o", Reasoning(enabled=False), None, set()),
        ("gpt-4o", Reasoning(effort="high"), None, {"dropped:reasoning"}),
        ("gpt-5-chat-latest", Reasoning(effort="high"), None, {"dropped:reasoning"}),
    ],
)
def test_reasoning_effort_fits_the_model(model: str, reasoning: Reasoning, effort: str | None, losses: set[str]) -> None:
    body, found = encode(Request("m", [USER], reasoning=reasoning), Facts(model, "openai"))
    assert body.get("reasoning_effort") == effort
    assert found == losses


def test_reasoning_models_get_no_sampling_parameters() -> None:
    request = Request("m", [USER], temperature=0.2, top_p=1, stop=["x"], knobs={"presence_penalty": 1, "seed": 3})
    body, losses = encode(request, O3)
    assert body.keys() == {"model", "messages", "seed"}
    assert losses == {"dropped:temperature", "dropped:stop", "dropped:presence_penalty"}
    body, losses = encode(request, Facts("gpt-5.1", "openai"))
    assert body["temperature"] == 0.2
    assert not losses


def test_stops_and_knobs_that_do_not_fit() -> None:
    request = Request(
        "m", [USER], stop=list("abcde"), knobs={"service_tier": "standard_only", "metadata": {"k": 1}, "thinking_level": "x", "user": "u"}
    )
    body, losses = encode(request)
    assert body["stop"] == list("abcd")
    assert body["user"] == "u"
    assert losses == {"coerced:stop", "dropped:service_tier", "dropped:metadata", "dropped:thinking_level"}


def test_tool_choice_needs_tools_and_allowed_tools_are_kept() -> None:
    body, losses = encode(Request("m", [USER], tool_choice=ToolChoice("required"), parallel_tool_calls=False))
    assert body.keys() == {"model", "messages"}
    assert losses == {"dropped:tool_choice"}
    request = Request("m", [USER], tools=[Tool("f"), Tool("g")], tool_choice=ToolChoice("required", allowed=["g"]))
    body, losses = encode(request)
    assert body["tool_choice"]["allowed_tools"] == {"mode": "required", "tools": [{"type": "function", "function": {"name": "g"}}]}
    body, losses = encode(request, vendor())
    assert body["tool_choice"] == "required"
    assert [tool["function"]["name"] for tool in body["tools"]] == ["g"]
    assert losses == {"coerced:allowed_tools"}


def test_a_wildcard_target_keeps_the_clients_model() -> None:
    assert encode(Request("asked", [USER]), Facts("*", "openai"))[0]["model"] == "asked"


# splicing


def splice(text: str, facts: Facts = GPT) -> Encoded:
    return DIALECT.splice_request(text.encode(), json.loads(text), facts, NO_ASK)


def test_splice_edits_the_model_and_nothing_else() -> None:
    text = '{ "odd" : 1.0,\n "model":"chat", "messages":[ {"role":"user","content":"\\u00e9"} ], "big":12345678901234567890123 }'
    assert splice(text).body.decode() == text.replace('"chat"', '"gpt-4o"')
    assert splice(text, Facts("chat", "openai")).body.decode() == text
    assert splice(text, Facts("*", "openai")).body.decode() == text


def test_splice_asks_for_usage_when_the_client_did_not() -> None:
    text = '{"model":"gpt-4o","messages":[],"stream":true}'
    assert splice(text).body.decode() == text[:-1] + ',"stream_options":{"include_usage":true}}'
    asked = text[:-1] + ',"stream_options":{"include_usage":true, "include_obfuscation":false}}'
    assert splice(asked).body.decode() == asked
    partly = text[:-1] + ',"stream_options":{"include_obfuscation":false}}'
    assert json.loads(splice(partly).body)["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    quiet = Facts("gpt-4o", "v", quirks=frozenset({"no_stream_options"}))
    assert splice(text, quiet).body.decode() == text
    assert splice(asked, quiet).body.decode() == text
    assert [loss.code for loss in splice(asked, quiet).losses] == ["dropped:stream_options"]
    unary = '{"model":"gpt-4o","messages":[]}'
    assert splice(unary).body.decode() == unary


def test_splice_renames_the_token_limit_only_where_it_must() -> None:
    old = '{"model":"m","max_tokens": 5,"messages":[]}'
    new = '{"model":"m","max_completion_tokens": 5,"messages":[]}'
    assert "max_tokens" in json.loads(splice(old).body)
    assert json.loads(splice(old, O3).body)["max_completion_tokens"] == 5
    assert "max_tokens" not in json.loads(splice(old, O3).body)
    assert json.loads(splice(new, Facts("m", "v", quirks=frozenset({"max_tokens"}))).body) == {"model": "m", "max_tokens": 5, "messages": []}
    both = '{"model":"m","max_tokens":5,"max_completion_tokens":6,"messages":[]}'
    assert json.loads(splice(both, O3).body) == {"model": "o3-mini", "max_completion_tokens": 6, "messages": []}


def test_splice_removes_carried_state_and_echoed_reasoning() -> None:
    carried = carrier.join("call_1", None, [Thinking("t", Opaque("anthropic", "s"))])
    text = (
        '{"model":"gpt-4o","messages":[ {"role":"user","content":"a \\"reasoning_content\\" b"},'
        '{"role":"assistant","content": "x" ,"reasoning_content":"long","tool_calls":[{"id":"%s"}]} , {"role":"tool","tool_call_id":"%s"}]}'
    )
    clean = text.replace(',"reasoning_content":"long"', "")
    assert splice(text % (carried, carried)).body.decode() == clean % ("call_1", "call_1")
    assert splice(text % ("a", "b"), Facts("gpt-4o", "deepseek")).body.decode() == text % ("a", "b")


def test_splice_renames_the_developer_role_where_there_is_none() -> None:
    text = '{"model":"m","messages":[{"role": "developer" ,"content":"developer"},{"content":[],"role":"user"}]}'
    assert splice(text, Facts("m", "v", quirks=frozenset({"no_developer_role"}))).body.decode() == text.replace(
        '"role": "developer"', '"role": "system"'
    )
    assert splice(text, Facts("m", "openai")).body.decode() == text


def test_splice_refuses_a_body_that_two_parsers_would_read_differently() -> None:
    with pytest.raises(BadRequestError):
        DIALECT.splice_request(b'{"model":"a","model":"b"}', {"model": "b"}, GPT, NO_ASK)
