"""Responses requests to the canonical form and from it, point by point; what the goldens show whole is not repeated here."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.core import carrier
from extproc.core.dialect import NO_ASK, Facts, Need
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
)
from extproc.core.operation import Operation
from extproc.dialects.openai_responses import OpenAIResponses
from extproc.dialects.openai_responses.tools import Called, called
from extproc.providers.kinds import KINDS
from extproc.registry.types import Provider, Target
from tests.validators.responses_types import check_responses_request

DIALECT = OpenAIResponses()
GPT = Facts("gpt-4.1", "openai", 32768)
REASONER = Facts("gpt-5", "openai", 128000)
USER = {"role": "user", "content": "q"}
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False}


def decode(items: Any, **members: Any) -> Request:
    return DIALECT.decode_request({"model": "m", "input": items, **members})


def codes(request: Request) -> set[str]:
    return {loss.code for loss in request.losses}


def encode(*messages: Message, facts: Facts = GPT, **members: Any) -> tuple[dict[str, Any], set[str]]:
    encoded = DIALECT.encode_request(Request("m", list(messages) or [Message(Role.USER, [Text("q")])], **members), facts)
    check_responses_request(encoded.body)
    assert encoded.path == "/responses"
    return orjson.loads(encoded.body), {loss.code for loss in encoded.losses}


def user(*blocks: Any) -> Message:
    return Message(Role.USER, list(blocks))


def assistant(*blocks: Any) -> Message:
    return Message(Role.ASSISTANT, list(blocks))


# from clients


def test_a_string_is_the_users_message_and_instructions_come_first() -> None:
    request = decode("Hi", instructions="Be brief.")
    assert request.messages == [Message(Role.SYSTEM, [Text("Be brief.")]), user(Text("Hi"))]
    assert request.include_usage


def test_runs_of_items_are_turns_in_their_order() -> None:
    items = [
        USER,
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}],
            "encrypted_content": "E",
        },
        {"role": "assistant", "content": "I look."},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "2", "name": "f", "arguments": ""},
        {"type": "function_call_output", "call_id": "2", "output": "two"},
        {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "one"}]},
        USER,
    ]
    assert decode(items).messages == [
        user(Text("q")),
        assistant(Thinking("a\n\nb", Opaque("openai", "rs_1:E")), Text("I look."), ToolCall("1", "f", "{}"), ToolCall("2", "f")),
        user(ToolResult("2", [Text("two")]), ToolResult("1", [Text("one")])),
        user(Text("q")),
    ]


def test_a_message_without_a_type_is_the_assistants_with_an_id_too() -> None:
    """As the AI SDK sends it back."""
    items = [
        USER,
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "E"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "I look."}], "id": "msg_1"},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
    ]
    assert decode(items).messages == [
        user(Text("q")),
        assistant(Thinking("", Opaque("openai", "rs_1:E"), redacted=True), Text("I look."), ToolCall("1", "f", "{}")),
    ]


@pytest.mark.parametrize(
    ("item_id", "vendor"),
    [("rs_0fb9f3737", "openai"), ("rs_edc2154d-3567-97eb-8e5a-48f4f7c715f6", "xai"), ("rs_tmp_2kbe7", "openrouter"), (None, "openai")],
)
def test_whose_reasoning_it_is_shows_in_its_id(item_id: str | None, vendor: str) -> None:
    block = (
        decode([{"type": "reasoning", "id": item_id, "summary": [], "encrypted_content": "E"}, {"role": "assistant", "content": "x"}])
        .messages[0]
        .blocks[0]
    )
    assert block == Thinking("", Opaque(vendor, f"{item_id or ''}:E"), redacted=True)


def test_signatures_of_others_ride_in_encrypted_content_and_in_call_ids() -> None:
    thought = {"type": "reasoning", "id": "rs_llm1_1", "summary": [{"type": "summary_text", "text": ""}], "encrypted_content": "llm1.anthropic.SIG"}
    call = {"type": "function_call", "call_id": carrier.join("c", Opaque("gemini", "G"), []), "name": "f", "arguments": "{}"}
    out = {"type": "function_call_output", "call_id": call["call_id"], "output": ""}
    messages = decode([thought, call, out]).messages
    assert messages[0].blocks == [Thinking("", Opaque("anthropic", "SIG")), ToolCall("c", "f", "{}", Opaque("gemini", "G"))]
    assert messages[1].blocks == [ToolResult("c", [])]


def test_content_parts() -> None:
    parts = [
        {"type": "input_text", "text": "t", "prompt_cache_breakpoint": {"mode": "explicit"}},
        {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
        {"type": "input_image", "image_url": "https://x/y.png"},
        {"type": "input_image", "file_id": "file-1"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
        {"type": "input_file", "file_data": "AA=="},
        {"type": "input_file", "file_url": "https://x/a.pdf"},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}},
        {"type": "hologram", "x": 1},
    ]
    assert decode([{"role": "user", "content": parts}]).messages[0].blocks == [
        Text("t", "default"),
        Image(Source("image/png", "AA=="), "low"),
        Image(Source(url="https://x/y.png")),
        Image(Source(file_id="file-1")),
        Document(Source("application/pdf", "AA=="), title="a.pdf"),
        Document(Source("application/pdf", "AA==")),
        Document(Source(url="https://x/a.pdf")),
        Audio(Source("audio/mpeg", "AA==")),
        Foreign("openai_responses", "hologram", parts[-1]),
    ]


def test_items_that_only_this_format_knows_stay_on_their_side() -> None:
    items = [USER, {"type": "web_search_call", "id": "ws"}, {"type": "computer_call_output", "call_id": "c", "output": {}}, {"id": "msg_1"}]
    messages = decode(items).messages
    assert [(m.role, b.kind) for m in messages for b in m.blocks if isinstance(b, Foreign)] == [
        (Role.ASSISTANT, "web_search_call"),
        (Role.USER, "computer_call_output"),
        (Role.USER, "item_reference"),
    ]


def test_tools_of_the_application_are_functions() -> None:
    custom = {"type": "custom", "name": "patch", "description": "Edits.", "format": {"type": "grammar", "syntax": "lark", "definition": "start: A"}}
    space = {
        "type": "namespace",
        "name": "mcp__x__",
        "description": "X.",
        "tools": [{"type": "function", "name": "go", "parameters": {"type": "object"}}],
    }
    request = decode("q", tools=[FUNCTION | {"defer_loading": True}, custom, space, {"type": "web_search"}], client_metadata={"a": 1})
    function, patch, go, search = request.tools
    assert function == Tool("f", None, FUNCTION["parameters"], False)
    assert isinstance(patch, Tool)
    assert (patch.parameters or {})["required"] == ["input"]
    assert "lark grammar:\nstart: A" in (patch.description or "")
    assert go == Tool("mcp__x__go", "X.", {"type": "object"})
    assert search == ForeignTool("openai_responses", "web_search", {"type": "web_search"})
    assert codes(request) == {"dropped:defer_loading", "coerced:custom_tool", "coerced:tool_namespace"}
    assert request.extra == {"client_metadata": {"a": 1}}
    assert DIALECT.needs({"tools": [FUNCTION, custom, space]}) == {Need.TOOLS}
    assert DIALECT.needs({"tools": [space | {"tools": [{"type": "mcp"}]}]}) == {Need.SERVER_TOOLS}


def test_tools_in_items_are_tools_of_the_request() -> None:
    script = {"type": "custom", "name": "exec", "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}}
    space = {"type": "namespace", "name": "functions", "description": "", "tools": [script, FUNCTION]}
    added = {"type": "additional_tools", "id": "at_1", "role": "developer", "tools": [space]}
    request = decode([added, USER], reasoning={"effort": "low", "context": "all_turns"}, text={"verbosity": "low"})
    assert [t.name for t in request.tools if isinstance(t, Tool)] == ["functions__exec", "functions__f"]
    assert request.messages == [user(Text("q"))]
    assert codes(request) == {"coerced:custom_tool", "coerced:tool_namespace", "dropped:unknown_member"}
    assert DIALECT.needs({"input": [added, USER]}) == {Need.TOOLS}
    # the calls come back as the client knows the tools
    echo = DIALECT.wishes({"input": [added, USER]}).echo
    assert called(echo["tools"]) == {"functions__exec": Called("exec", "functions", True), "functions__f": Called("f", "functions")}


def test_the_search_that_codex_adds_unasked_keeps_nobody_from_serving() -> None:
    spare = {"type": "web_search", "external_web_access": False}
    request = decode([USER], tools=[FUNCTION, spare])
    assert [t.name for t in request.tools if isinstance(t, Tool)] == ["f"]
    assert codes(request) == {"dropped:web_search"}
    assert DIALECT.needs({"tools": [FUNCTION, spare]}) == {Need.TOOLS}
    assert Need.SERVER_TOOLS in DIALECT.needs({"tools": [spare | {"external_web_access": True}]})


def test_tools_that_are_added_later() -> None:
    newer = FUNCTION | {"description": "newer"}
    added = {"type": "additional_tools", "role": "developer", "tools": [newer, {"type": "web_search"}]}
    items = [USER, {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}, added]
    request = decode([*items, {"type": "function_call_output", "call_id": "1", "output": "x"}], tools=[FUNCTION, FUNCTION | {"name": "g"}])
    assert [t.name if isinstance(t, Tool) else t.kind for t in request.tools] == ["g", "web_search", "f"]
    newest = request.tools[-1]
    assert isinstance(newest, Tool)
    assert newest.description == "newer"
    assert [m.role for m in request.messages] == [Role.USER, Role.ASSISTANT, Role.USER]
    assert codes(request) == {"coerced:additional_tools"}
    assert DIALECT.needs({"input": items}) == {Need.TOOLS, Need.SERVER_TOOLS}


def test_calls_of_custom_tools_and_namespaces_match_their_functions() -> None:
    items = [
        {"type": "custom_tool_call", "call_id": "1", "name": "patch", "input": 'say "hi"'},
        {"type": "function_call", "call_id": "2", "namespace": "mcp__x__", "name": "go", "arguments": "{}"},
        {"type": "function_call", "call_id": "3", "namespace": "deferred", "name": "deferred", "arguments": "{}"},
        {"type": "custom_tool_call_output", "call_id": "1", "output": "ok"},
    ]
    messages = decode(items).messages
    calls = [b for b in messages[0].blocks if isinstance(b, ToolCall)]
    assert [(c.name, orjson.loads(c.arguments)) for c in calls] == [("patch", {"input": 'say "hi"'}), ("mcp__x__go", {}), ("deferred", {})]
    assert messages[1].blocks == [ToolResult("1", [Text("ok")])]


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ("required", ToolChoice("required")),
        ({"type": "function", "name": "f"}, ToolChoice("tool", "f")),
        ({"type": "custom", "name": "p"}, ToolChoice("tool", "p")),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}, {"type": "mcp", "server_label": "x"}]},
            ToolChoice("auto", allowed=["f"]),
        ),
        ({"type": "web_search"}, None),
        (None, None),
    ],
)
def test_tool_choice(choice: Any, wanted: ToolChoice | None) -> None:
    assert decode("q", tool_choice=choice).tool_choice == wanted


def test_parameters() -> None:
    request = decode(
        "q",
        max_output_tokens=5,
        temperature=1,
        top_p=0.5,
        parallel_tool_calls=False,
        reasoning={"effort": "none", "generate_summary": "auto", "context": "auto"},
        text={"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}},
        store=True,
        include=["reasoning.encrypted_content", "message.output_text.logprobs", "file_search_call.results"],
        truncation="disabled",
        top_logprobs=0,
        metadata={},
    )
    assert (request.max_tokens, request.temperature, request.top_p, request.parallel_tool_calls) == (5, 1, 0.5, False)
    assert request.reasoning == Reasoning(enabled=False, effort="none", show=True)
    assert request.output == OutputFormat("schema", "n", {}, True)
    assert request.knobs == {"verbosity": "low", "store": True, "logprobs": True, "include": ["file_search_call.results"]}
    assert decode("q", text={"format": {"type": "json_object"}}).output == OutputFormat("json")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": ""}, "model"),
        ({"input": 5}, "input"),
        ({"input": [5]}, "input[0]"),
        ({"input": [{"role": "robot"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 5}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "call_id": None}]}, "input[0].call_id"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"input": [{"type": "additional_tools"}]}, "input[0].tools"),
        ({"input": [{"type": "additional_tools", "tools": [{"type": "custom"}]}]}, "input[0].tools[0].name"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"temperature": "warm"}, "temperature"),
        ({"text": {"format": {"type": "xml"}}}, "text.format"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_wrong_shapes_are_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequestError) as raised:
        DIALECT.decode_request({"model": "m", "input": "q", **body})
    assert raised.value.param == param


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({"previous_response_id": "resp_1"}, {Need.STATE}),
        ({"conversation": "conv_1"}, {Need.STATE}),
        ({"prompt": {"id": "p"}}, {Need.STATE}),
        ({"background": True}, {Need.STATE}),
        ({"background": False, "previous_response_id": None}, set()),
        ({"input": [{"type": "item_reference", "id": "x"}]}, {Need.STATE}),
        ({"input": [USER, {"role": "assistant", "content": "1,"}]}, {Need.PREFILL}),
        ({"input": [{"type": "mcp_call"}]}, {Need.SERVER_TOOLS}),
        (
            {"input": [{"type": "function_call_output", "output": [{"type": "input_image", "image_url": "https://x"}]}]},
            {Need.TOOLS, Need.VISION, Need.IMAGE_URL},
        ),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, {Need.DOCUMENTS, Need.FILE_ID}),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_data": "data:application/msword;base64,AA"}]}]},
            {Need.DOCUMENTS, Need.OTHER_DOCUMENTS},
        ),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, {Need.AUDIO}),
        ({"text": {"format": {"type": "json_object"}}}, {Need.JSON_OBJECT}),
        ({"tool_choice": {"type": "image_generation"}}, {Need.SERVER_TOOLS}),
    ],
)
def test_needs(body: dict[str, Any], wanted: set[str]) -> None:
    assert DIALECT.needs(body) == wanted


_ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.sampled_from(["reasoning", "message", "function_call", "user", "input_text", "namespace", "llm1.x", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "role",
                    "content",
                    "id",
                    "call_id",
                    "name",
                    "input",
                    "output",
                    "tools",
                    "summary",
                    "encrypted_content",
                    "arguments",
                    "text",
                    "format",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["input", "tools", "tool_choice", "reasoning", "text", "include", "store", "background", "instructions"]), _ANY, max_size=5
    )
)
def test_total_over_shapes(body: dict[str, Any]) -> None:
    """Needs and wishes never raise; a request is decoded or refused as the client's mistake; what can be encoded is."""
    needs, wishes = DIALECT.needs(body), DIALECT.wishes(body)
    assert isinstance(wishes.echo, dict)
    try:
        request = DIALECT.decode_request({"model": "m", **body})
        DIALECT.encode_request(request, REASONER)
    except UntranslatableError:
        assert needs
    except BadRequestError:
        pass  # the client's mistake
    DIALECT.needs(body.get("input"))


# to providers


def test_stateless_with_the_reasoning_state_of_reasoning_models() -> None:
    plain, _ = encode()
    assert plain == {"model": "gpt-4.1", "input": [{"role": "user", "content": "q"}], "store": False}
    reasoner, _ = encode(facts=REASONER, stream=True)
    assert reasoner["include"] == ["reasoning.encrypted_content"]
    assert reasoner["stream"] is True
    assert encode(facts=Facts("grok-4", "xai"))[0]["include"] == ["reasoning.encrypted_content"]
    assert "include" not in encode(facts=Facts("gpt-oss", "vllm"))[0]


def test_point_30_reasoning_stands_in_front_of_what_it_led_to() -> None:
    """A reasoning item that nothing follows is a recorded 400."""
    own, other = Opaque("openai", "rs_1:E1"), Opaque("anthropic", "S")
    body, losses = encode(
        user(Text("q")),
        assistant(Thinking("why", own), Text("Hm."), ToolCall("c", "f"), Thinking("end", own)),
        user(ToolResult("c", [Text("r")], is_error=True)),
        assistant(Thinking("", Opaque("openai", "rs_2:E2"), redacted=True), Thinking("x", other), ToolCall("d", "f", "{}", Opaque("gemini", "G"))),
        user(ToolResult("d", [])),
        facts=REASONER,
    )
    assert body["input"] == [
        {"role": "user", "content": "q"},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "why"}], "encrypted_content": "E1"},
        {"role": "assistant", "content": "Hm."},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "r"},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "E2"},
        {"type": "function_call", "call_id": "d", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "d", "output": ""},
    ]
    assert losses == {"dropped:thinking", "dropped:tool_error_flag", "signature:foreign"}


def test_bare_reasoning_goes_only_where_it_is_taken() -> None:
    turn = (user(Text("q")), assistant(Thinking("why"), Text("a")), user(Text("q")))
    body, losses = encode(*turn)
    assert [item.get("type") for item in body["input"]] == [None, None, None]
    assert losses == {"dropped:thinking"}
    body, losses = encode(*turn, facts=Facts("deepseek", "deepseek", quirks=frozenset({"reasoning_content_history"})))
    assert body["input"][1]["content"] == [{"type": "reasoning_text", "text": "why"}]
    assert not losses


def test_state_of_another_format_of_one_vendor_is_not_replayed() -> None:
    details = Opaque("openrouter", json.dumps({"type": "reasoning.encrypted", "data": "D"}))
    body, losses = encode(user(Text("q")), assistant(Thinking("t", details), Text("a")), facts=Facts("m", "openrouter"))
    assert "reasoning" not in json.dumps(body["input"])
    assert losses == {"signature:foreign", "dropped:thinking"}


def test_media_of_an_assistant_and_of_results() -> None:
    picture = Image(Source("image/png", "AA=="))
    body, losses = encode(
        user(Text("draw")), assistant(picture, Text("There."), ToolCall("c", "f")), user(ToolResult("c", [Text("see"), picture]), Text("And?"))
    )
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"}
    assert body["input"][1:] == [
        {"role": "assistant", "content": "There."},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "see"}, image]},
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "From the previous assistant message:"}, image, {"type": "input_text", "text": "And?"}],
        },
    ]
    assert losses == {"coerced:assistant_media"}


def test_refusals_documents_and_roles() -> None:
    body, losses = encode(
        Message(Role.SYSTEM, [Text("s")]),
        Message(Role.DEVELOPER, [Text("a"), Text("b")]),
        user(Document(Source(url="https://x/a.pdf"), title="A"), Document(Source(text="notes"), title="N", citations=True)),
        assistant(Refusal("no")),
        user(Text("")),
    )
    assert [item["role"] for item in body["input"]] == ["system", "developer", "user", "assistant", "user"]
    assert body["input"][2]["content"] == [{"type": "input_file", "file_url": "https://x/a.pdf"}, {"type": "input_text", "text": "N\n\nnotes"}]
    assert body["input"][3]["content"] == [{"type": "refusal", "refusal": "no"}]
    assert losses == {"dropped:document_title", "dropped:document_citations", "coerced:document"}
    assert (
        encode(Message(Role.DEVELOPER, [Text("a")]), facts=Facts("m", "x", quirks=frozenset({"no_developer_role"})))[0]["input"][0]["role"]
        == "system"
    )


@pytest.mark.parametrize(
    "block", [Audio(Source("audio/wav", "AA==")), Image(Source(file_id="f")), Document(Source(file_id="f")), Foreign("gemini", "x", {})]
)
def test_what_the_format_cannot_hold(block: Any) -> None:
    with pytest.raises(UntranslatableError):
        encode(user(block))


def test_long_ids_map_alike_in_calls_and_results() -> None:
    body, _ = encode(user(Text("q")), assistant(ToolCall("x" * 65, "f")), user(ToolResult("x" * 65, [Text("r")])))
    assert body["input"][1]["call_id"] == body["input"][2]["call_id"] != "x" * 65
    assert encode(assistant(ToolCall("y" * 64, "f")))[0]["input"][0]["call_id"] == "y" * 64


def test_tools_and_their_choice() -> None:
    tools = [Tool("f", "d", {"type": "object"}, True), Tool("g")]
    body, _ = encode(tools=tools, tool_choice=ToolChoice("auto", allowed=["g"]), parallel_tool_calls=False)
    assert body["tools"] == [
        {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True},
        {"type": "function", "name": "g", "parameters": {"type": "object", "properties": {}}, "strict": False},
    ]
    assert body["tool_choice"] == {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "g"}]}
    assert body["parallel_tool_calls"] is False
    body, losses = encode(
        tools=tools, tool_choice=ToolChoice("required", allowed=["g"]), facts=Facts("m", "x", quirks=frozenset({"no_strict_tools"}))
    )
    assert ([t["name"] for t in body["tools"]], body["tool_choice"]) == (["g"], "required")
    assert losses == {"coerced:allowed_tools", "dropped:strict"}
    assert encode(tool_choice=ToolChoice("required"))[1] == {"dropped:tool_choice"}
    with pytest.raises(UntranslatableError):
        encode(tools=[ForeignTool("gemini", "googleSearch", {})])


def test_knobs_that_do_not_exist_here_are_losses() -> None:
    knobs = {
        "seed": 1,
        "frequency_penalty": 1,
        "logit_bias": {"1": 1},
        "n": 2,
        "logprobs": True,
        "user": "u" * 65,
        "service_tier": "odd",
        "metadata": {"a": "b"},
    }
    body, losses = encode(stop=["x"], top_k=3, temperature=0.5, max_tokens=3, knobs=knobs, extra={"made_up": 1}, extra_from="gemini")
    assert losses == {
        *("dropped:stop", "dropped:top_k", "dropped:seed", "dropped:frequency_penalty", "dropped:logit_bias", "dropped:n", "dropped:logprobs"),
        *("dropped:service_tier", "dropped:unknown_member", "coerced:user", "coerced:max_tokens"),
    }
    assert (body["max_output_tokens"], len(body["user"]), body["metadata"], body["temperature"]) == (16, 64, {"a": "b"}, 0.5)
    assert encode(knobs={"metadata": {"a": "b"}, "user": "u"}, facts=Facts("m", "vllm"))[1] == {"dropped:metadata"}


@pytest.mark.parametrize(
    ("reasoning", "facts", "sent", "losses"),
    [
        (Reasoning(effort="low", show=True), REASONER, {"effort": "low", "summary": "auto"}, set()),
        (Reasoning(effort="xhigh"), REASONER, {"effort": "high"}, {"coerced:reasoning_effort"}),
        (Reasoning(budget=100), REASONER, {"effort": "low"}, {"coerced:thinking_budget"}),
        (Reasoning(enabled=False, show=True), Facts("gpt-5.1", "openai"), {"effort": "none"}, {"dropped:reasoning_show"}),
        (Reasoning(enabled=True, adaptive=True), REASONER, None, set()),
        (Reasoning(effort="high"), GPT, None, {"dropped:reasoning"}),
        (Reasoning(effort="high"), Facts("o3-pro", "openai"), {"effort": "high"}, set()),
    ],
)
def test_reasoning(reasoning: Reasoning, facts: Facts, sent: Any, losses: set[str]) -> None:
    body, lost = encode(reasoning=reasoning, facts=facts)
    assert body.get("reasoning") == sent
    assert lost == losses


def test_output_formats() -> None:
    body, _ = encode(output=OutputFormat("schema", None, {"type": "object"}, True, "d"), knobs={"verbosity": "low"}, facts=REASONER)
    assert body["text"] == {
        "format": {"type": "json_schema", "name": "response", "schema": {"type": "object"}, "description": "d", "strict": True},
        "verbosity": "low",
    }
    assert encode(output=OutputFormat("json"))[0]["text"] == {"format": {"type": "json_object"}}
    # GPT-4.1 knows no other
    assert encode(knobs={"verbosity": "low"})[1] == {"dropped:verbosity"}
    assert encode(knobs={"verbosity": "medium"})[1] == set()
    with pytest.raises(UntranslatableError):
        encode(output=OutputFormat("schema", schema={}), facts=Facts("m", "x", quirks=frozenset({"no_json_schema"})))


# the same dialect


def splice(body: Any, facts: Facts = REASONER) -> tuple[Any, set[str]]:
    raw = json.dumps(body, indent=1).encode()
    encoded = DIALECT.splice_request(raw, orjson.loads(raw), facts, NO_ASK)
    return orjson.loads(encoded.body), {loss.code for loss in encoded.losses}


def test_splice_edits_the_model_alone() -> None:
    body = {"model": "alias", "input": [USER, {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "E"}], "new_member": [1]}
    assert splice(body) == (body | {"model": "gpt-5"}, set())
    assert splice(body, Facts("gpt-5", "openai", deployment="prod"))[0]["model"] == "prod"
    assert splice(body, Facts("*", "openai"))[0]["model"] == "alias"


def test_splice_leaves_out_what_the_target_cannot_read() -> None:
    signed = {"type": "reasoning", "id": "rs_llm1_1", "summary": [], "encrypted_content": "llm1.anthropic.S"}
    bare = {"type": "reasoning", "id": "rs_llm1_2", "summary": [{"type": "summary_text", "text": "t"}]}
    grok = {"type": "reasoning", "id": "rs_edc2154d-3567-97eb-8e5a-48f4f7c715f6", "summary": [], "encrypted_content": "E"}
    own = {"type": "reasoning", "id": "rs_0a", "summary": [], "encrypted_content": "E"}
    call = {"type": "function_call", "call_id": carrier.join("c", Opaque("gemini", "G"), []), "name": "f", "arguments": "{}"}
    items = [USER, signed, bare, grok, own, call]
    body, losses = splice({"model": "gpt-5", "input": items})
    assert body["input"] == [USER, own, call | {"call_id": "c"}]
    assert losses == {"signature:foreign", "dropped:thinking"}
    assert splice({"model": "grok-4", "input": items}, Facts("grok-4", "xai"))[0]["input"] == [USER, grok, call | {"call_id": "c"}]
    # a relay may have any vendor behind it
    assert splice({"model": "m", "input": items}, Facts("m", "openai-compatible"))[0]["input"] == [USER, grok, own, call | {"call_id": "c"}]


# which models it serves


@pytest.mark.parametrize(
    ("model", "chat"),
    [
        *(
            (name, False)
            for name in ("o1-pro", "o3-pro-2025-06-10", "gpt-5-pro", "gpt-5.2-pro", "gpt-5-codex", "gpt-5.1-codex-max", "codex-mini-latest")
        ),
        *((name, False) for name in ("o3-deep-research", "o4-mini-deep-research-2025-06-26", "computer-use-preview", "gpt-6-cyber")),
        *((name, True) for name in ("gpt-4o", "o1", "o3-mini", "gpt-5", "gpt-5-mini", "gpt-4o-search-preview", "ft:gpt-4o:x", "*")),
    ],
)
def test_models_that_only_responses_serves_are_reached_by_it(model: str, chat: bool) -> None:
    provider = Provider("p", KINDS["openai"], "https", "host", 443, "/v1", ())
    target = Target("t", provider, model, Facts(model, "openai"))
    for client, wanted in (("openai_chat", chat), ("anthropic_messages", chat), ("openai_responses", False)):
        via = target.upstream(Operation.CHAT, client)
        assert via is not None
        assert (via.name == "openai_chat") is wanted
    asked = Target("t", provider, "gpt-5", Facts("gpt-5", "openai"), api="responses").upstream(Operation.CHAT, "openai_chat")
    assert asked is not None
    assert asked.name == "openai_responses"
