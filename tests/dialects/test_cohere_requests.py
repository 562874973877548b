"""Cohere's chat requests, both ways: what a client's says, and what a provider gets of anybody's."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core import carrier
from extproc.core.dialect import NO_ASK, Facts, Need
from extproc.core.errors import BadRequestError, UntranslatableError
from extproc.core.ir import (
    Block,
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
from extproc.core.losses import meaning
from extproc.dialects.cohere_chat import CohereChat
from extproc.dialects.cohere_chat.wire import NAME, original_name, tool_name
from tests.validators.cohere_types import check_chat_request

COHERE = CohereChat()
PLAIN = Facts("command-a-03-2025", "cohere", 8000)
REASONS = Facts("command-a-reasoning-08-2025", "cohere", 32000)
OLD = Facts("command-r-plus", "cohere", 4000)
USER: dict[str, Any] = {"role": "user", "content": "q"}
Q = Message(Role.USER, [Text("q")])
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
CLOSED = {**SCHEMA, "additionalProperties": False}


def decode(*messages: Any, **members: Any) -> Request:
    return COHERE.decode_request({"model": "m", "messages": list(messages) or [USER], **members})


def encode(*messages: Message, facts: Facts = PLAIN, **members: Any) -> tuple[dict[str, Any], set[str]]:
    """(the body, the losses' codes), valid by the SDK's types and the API's rules."""
    encoded = COHERE.encode_request(Request("m", list(messages) or [Q], **members), facts)
    check_chat_request(encoded.body)
    assert encoded.path == "/v2/chat"
    assert all(meaning(loss.code) for loss in encoded.losses)
    return orjson.loads(encoded.body), {loss.code for loss in encoded.losses}


def codes(request: Request) -> list[str]:
    return [loss.code for loss in request.losses]


def function(name: str = "f", **members: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA} | members}


def wire_call(ident: str, name: str = "f", arguments: Any = "{}") -> dict[str, Any]:
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}


# from the client


def test_messages_of_all_roles() -> None:
    request = decode(
        {"role": "system", "content": [{"type": "text", "text": "s"}]},
        {"role": "developer", "content": "d"},
        USER,
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "t"}, {"type": "text", "text": "a"}]},
        {"role": "system", "content": "later"},
    )
    assert [m.role for m in request.messages] == [Role.SYSTEM, Role.DEVELOPER, Role.USER, Role.ASSISTANT, Role.SYSTEM]
    assert request.messages[3].blocks == [Thinking("t"), Text("a")]
    assert request.losses == []


def test_parameters() -> None:
    request = decode(p=0.5, k=40, seed=1, temperature=1, max_tokens=9, stop_sequences=["x"], frequency_penalty=0.5, logprobs=True, stream=True)
    assert (request.top_p, request.top_k, request.temperature, request.max_tokens, request.stop, request.stream) == (0.5, 40, 1.0, 9, ["x"], True)
    assert request.knobs == {"seed": 1, "frequency_penalty": 0.5, "logprobs": True}
    assert request.extra == {}


def test_defaults_say_nothing() -> None:
    request = decode(k=0, presence_penalty=0.0, logprobs=False, safety_mode="CONTEXTUAL", priority=0, citation_options={"mode": "OFF"})
    assert (request.top_k, request.knobs, request.extra) == (None, {}, {})


def test_what_only_cohere_has_is_extra() -> None:
    extra = {"safety_mode": "STRICT", "citation_options": {"mode": "FAST"}, "priority": 9, "novel": 1}
    request = decode(**extra)
    assert request.extra == extra
    assert request.extra_from == NAME


@pytest.mark.parametrize(("given_", "mode"), [("REQUIRED", "required"), ("NONE", "none")])
def test_tool_choice(given_: str, mode: str) -> None:
    assert decode(tools=[function()], tool_choice=given_).tool_choice == ToolChoice(mode)  # type: ignore[arg-type]


def test_strict_tools() -> None:
    tools = [function("closed", parameters=CLOSED), function("open")]
    request = decode(tools=tools, strict_tools=True)
    assert [tool.strict for tool in request.tools if isinstance(tool, Tool)] == [True, None]
    assert codes(request) == ["dropped:strict"]


def test_output_formats() -> None:
    assert decode(response_format={"type": "json_object"}).output == OutputFormat("json")
    for name in ("json_schema", "schema"):
        assert decode(response_format={"type": "json_object", name: SCHEMA}).output == OutputFormat("schema", schema=SCHEMA)
    assert decode(response_format={"type": "text"}).output is None


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        ({"type": "enabled"}, Reasoning(enabled=True)),
        ({"type": "enabled", "token_budget": 5}, Reasoning(enabled=True, budget=5)),
        ({"token_budget": 5}, Reasoning(enabled=True, budget=5)),
        ({"type": "disabled"}, Reasoning(enabled=False)),
    ],
)
def test_thinking(given_: Any, wanted: Reasoning) -> None:
    assert decode(thinking=given_).reasoning == wanted


def test_a_tool_loop() -> None:
    request = decode(
        USER,
        {"role": "assistant", "tool_plan": "plan", "content": [{"type": "text", "text": ""}], "tool_calls": [wire_call("a"), wire_call("b")]},
        {"role": "tool", "tool_call_id": "b", "content": "2"},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "1"}]},
    )
    assert request.messages[1].blocks == [Text("plan"), ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}")]
    assert request.messages[2] == Message(Role.USER, [ToolResult("b", [Text("2")]), ToolResult("a", [Text("1")])])
    assert request.losses == []


def test_documents_of_tool_results_are_their_json() -> None:
    parts = [{"type": "document", "document": {"id": "x", "data": {"n": 1}}}, {"type": "document", "document": {"data": '{"m":2}'}}]
    request = decode(USER, {"role": "assistant", "tool_calls": [wire_call("a")]}, {"role": "tool", "tool_call_id": "a", "content": parts})
    assert request.messages[2].blocks == [ToolResult("a", [Text('{"n":1}'), Text('{"m":2}')])]
    assert set(codes(request)) == {"coerced:document"}


def test_big_numbers_of_documents_stay() -> None:
    raw = b'{"model":"m","messages":[{"role":"user","content":[{"type":"document","document":{"data":{"n":12345678901234567890123}}}]}]}'
    request = COHERE.decode_request(json.loads(raw))
    assert request.messages[0].blocks == [Text('{"n":12345678901234567890123}')]
    assert COHERE.exact_member == "messages"


def test_documents_stand_before_what_the_user_said_last() -> None:
    documents = ["plain", {"id": "d", "data": {"title": "T", "n": 1}}, {"data": "raw"}]
    loop = [USER, {"role": "assistant", "tool_calls": [wire_call("a")]}, {"role": "tool", "tool_call_id": "a", "content": "1"}]
    request = decode(*loop, documents=documents)
    texts = [b.text for b in request.messages[0].blocks if isinstance(b, Text)]
    wanted = ["plain", "id: d\ntitle: T\nn: 1", "data: raw"]
    assert texts == [*(f"<document>\n{text}\n</document>" for text in wanted), "q"]
    assert set(codes(request)) == {"coerced:document", "dropped:document_citations"}
    assert codes(decode(documents=["d"], citation_options={"mode": "OFF"})) == ["coerced:document"]
    alone = decode({"role": "system", "content": "s"}, documents=["d"])
    assert alone.messages[-1].role is Role.USER


def test_images() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}},
        {"type": "image_url", "image_url": "https://x/y"},
    ]
    blocks = decode({"role": "user", "content": parts}).messages[0].blocks
    assert blocks == [Image(Source("image/png", "aGk="), "low"), Image(Source(url="https://x/y"))]


def test_unknown_members_are_losses_and_unknown_parts_needs() -> None:
    request = decode({"role": "user", "content": [{"type": "text", "text": "t", "novel": 1}, {"type": "novel"}], "more": 1})
    assert [loss.detail for loss in request.losses] == ["messages[].more", "messages[].content[].novel"]
    assert request.messages[0].blocks[1] == Foreign(NAME, "novel", {"type": "novel"})
    assert COHERE.needs({"messages": [{"role": "user", "content": [{"type": "novel"}]}]}) == {Need.SERVER_TOOLS}
    assert decode(tools=[{"type": "novel"}]).tools == [ForeignTool(NAME, "novel", {"type": "novel"})]


def test_state_in_ids_is_taken_out_and_its_thoughts_are_not_said_twice() -> None:
    signed = [Thinking("because", Opaque("anthropic", "c2ln"))]
    ident = carrier.join("toolu_1", None, signed)
    content = [{"type": "thinking", "thinking": "because"}, {"type": "thinking", "thinking": "else"}]
    request = decode(
        USER,
        {"role": "assistant", "content": content, "tool_calls": [wire_call(ident)]},
        {"role": "tool", "tool_call_id": ident, "content": "r"},
    )
    assert request.messages[1].blocks == [*signed, Thinking("else"), ToolCall("toolu_1", "f", "{}")]
    assert request.messages[2].blocks == [ToolResult("toolu_1", [Text("r")])]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ([], None),
        ({"messages": []}, "model"),
        ({"model": "m"}, "messages"),
        ({"model": "m", "messages": {}}, "messages"),
        ({"model": "m", "messages": [1]}, "messages[0]"),
        ({"model": "m", "messages": [{"role": "User", "content": "q"}]}, "messages[0].role"),
        ({"model": "m", "messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"model": "m", "messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"model": "m", "messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"model": "m", "messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0]"),
        ({"model": "m", "messages": [], "tools": [{"type": "function"}]}, "tools[0].function"),
        ({"model": "m", "messages": [], "tool_choice": "SOME"}, "tool_choice"),
        ({"model": "m", "messages": [], "thinking": {"token_budget": 0}}, "thinking.token_budget"),
        ({"model": "m", "messages": [], "response_format": {"type": "json_schema"}}, "response_format"),
        ({"model": "m", "messages": [], "documents": [1]}, "documents[0]"),
        ({"model": "m", "messages": [], "max_tokens": True}, "max_tokens"),
        ({"model": "m", "messages": [], "temperature": "hot"}, "temperature"),
    ],
)
def test_wrong_shapes(body: Any, param: str | None) -> None:
    with pytest.raises(BadRequestError) as caught:
        COHERE.decode_request(body)
    assert caught.value.param == param


def test_needs() -> None:
    def of(**body: Any) -> frozenset[str]:
        return COHERE.needs({"messages": [USER], **body})

    assert of() == frozenset()
    assert of(tools=[function()]) == {Need.TOOLS}
    assert of(response_format={"type": "json_object"}) == {Need.JSON_OBJECT}
    assert of(response_format={"type": "json_object", "json_schema": SCHEMA}) == {Need.JSON_SCHEMA}
    assert of(messages=[USER, {"role": "assistant", "content": "It is"}]) == {Need.PREFILL}
    assert of(documents=["text that anybody can be given"]) == frozenset()
    image = {"type": "image_url", "image_url": {"url": "https://x/y"}}
    assert of(messages=[{"role": "user", "content": [image]}]) == {Need.VISION, Need.IMAGE_URL}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "thinking", "image_url", "document", "x"]) | JSON},
    optional=dict.fromkeys(("text", "thinking", "image_url", "document"), JSON),
)
CALL = st.fixed_dictionaries(
    {}, optional={"id": st.text(max_size=5) | JSON, "function": st.fixed_dictionaries({"name": JSON, "arguments": JSON}) | JSON}
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "tool"]) | JSON},
    optional={
        "content": st.text(max_size=5) | st.lists(PART | JSON, max_size=3) | JSON,
        "tool_calls": st.lists(CALL | JSON, max_size=2) | JSON,
        "tool_plan": JSON,
        "citations": JSON,
        "tool_call_id": st.text(max_size=5) | JSON,
    },
)
NAMES = ("tools", "documents", "response_format", "thinking", "tool_choice", "citation_options", "strict_tools", "safety_mode", "priority")
BODY = st.fixed_dictionaries(
    {"model": st.just("m"), "messages": st.lists(MESSAGE | JSON, max_size=3)}, optional=dict.fromkeys(NAMES, JSON) | {"novel": JSON}
)


@given(BODY | JSON)
def test_any_body_is_decoded_or_a_400_and_what_it_needs_is_said(body: Any) -> None:
    missing = COHERE.needs(body) - COHERE.carries
    try:
        request = COHERE.decode_request(body)
        COHERE.encode_request(request, REASONS)
    except BadRequestError:
        pass
    except UntranslatableError:
        assert missing


# to the provider


def test_roles_and_runs_stay_where_they_are() -> None:
    system = [Message(Role.DEVELOPER, [Text("d")]), Message(Role.SYSTEM, [Text("s")])]
    body, losses = encode(*system, Q, Q, Message(Role.SYSTEM, [Text("later")]), Q)
    assert [m["role"] for m in body["messages"]] == ["system", "system", "user", "user", "system", "user"]
    assert losses == set()


def test_system_text_alone_is_the_users_turn() -> None:
    body, losses = encode(Message(Role.SYSTEM, [Text("s")]))
    assert body["messages"] == [{"role": "user", "content": "s"}]
    assert losses == {"coerced:system_position"}


def test_empty_messages_are_left_out() -> None:
    body, losses = encode(Q, Message(Role.ASSISTANT, []), Message(Role.USER, [Text(" ")]), Message(Role.USER, []))
    assert body["messages"] == [{"role": "user", "content": "q"}]
    assert losses == {"dropped:empty_text"}
    with pytest.raises(BadRequestError):
        encode(Message(Role.USER, []))


def test_text_before_calls_is_the_plan() -> None:
    blocks: list[Block] = [Thinking("why"), Text("one"), Text("two"), ToolCall("a", "f", "")]
    result = Message(Role.USER, [ToolResult("a", [Text("r")]), Text("and?")])
    body, losses = encode(Q, Message(Role.ASSISTANT, blocks), result, facts=REASONS)
    assert body["messages"][1] == {
        "role": "assistant",
        "tool_calls": [wire_call("a")],
        "tool_plan": "one\n\ntwo",
        "content": [{"type": "thinking", "thinking": "why"}],
    }
    assert body["messages"][2:] == [{"role": "tool", "tool_call_id": "a", "content": "r"}, {"role": "user", "content": "and?"}]
    assert losses == {"coerced:content_parts"}


def test_thoughts_go_only_to_models_that_reason_and_signatures_nowhere() -> None:
    history = [Q, Message(Role.ASSISTANT, [Thinking("own"), Thinking("other", Opaque("gemini", "c2ln")), Text("a")]), Q]
    body, losses = encode(*history, facts=REASONS)
    assert body["messages"][1]["content"] == [{"type": "thinking", "thinking": t} for t in ("own", "other")] + [{"type": "text", "text": "a"}]
    assert losses == {"signature:foreign"}
    body, losses = encode(*history)
    assert body["messages"][1]["content"] == "a"
    assert losses == {"signature:foreign", "dropped:thinking"}


def test_results_stand_behind_their_calls_once_each() -> None:
    calls = Message(Role.ASSISTANT, [ToolCall("0", "f"), ToolCall("1", "f")])
    results: list[Any] = [ToolResult("1", [Text("b")], is_error=True), ToolResult("0", [Text("a")]), ToolResult("1", [Text("c")])]
    body, losses = encode(Q, calls, Message(Role.USER, [Text("wait"), *results]), calls, Message(Role.USER, results[:2]))
    assert [(m["role"], m.get("tool_call_id")) for m in body["messages"][2:5]] == [("tool", "1"), ("tool", "0"), ("user", None)]
    assert body["messages"][2]["content"] == [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]
    assert [c["id"] for c in body["messages"][5]["tool_calls"]] == ["0_2", "1_2"]
    assert losses == {"coerced:tool_result", "coerced:tool_result_position", "coerced:tool_id", "dropped:tool_error_flag"}


def test_results_that_do_not_pair() -> None:
    calls = Message(Role.ASSISTANT, [ToolCall("a", "f")])
    for history in ([Q, calls], [Q, calls, Q], [Q, Message(Role.USER, [ToolResult("b", [])])]):
        with pytest.raises(BadRequestError):
            encode(*history)


def test_media_of_results_and_assistants_follow_in_the_users_turn() -> None:
    image = Image(Source("image/png", "aGk="), "original", "5m")
    history = [
        Q,
        Message(Role.ASSISTANT, [image, ToolCall("a", "f")]),
        Message(Role.USER, [ToolResult("a", [image])]),
    ]
    body, losses = encode(*history)
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "tool", "user"]
    assert [p["type"] for p in body["messages"][3]["content"]] == ["text", "image_url"] * 2
    assert losses == {"coerced:tool_result_media", "coerced:assistant_media", "dropped:image_detail", "dropped:cache_control"}


def test_content_that_cohere_has_not() -> None:
    for block in (Document(Source("application/pdf", "aGk=")), Foreign("x", "y", {}), Image(Source(file_id="f"))):
        with pytest.raises(UntranslatableError):
            encode(Message(Role.USER, [block]))
    body, losses = encode(Message(Role.USER, [Document(Source(text="t"), "T")]), Message(Role.ASSISTANT, [Refusal("no")]), Q)
    assert [m["content"] for m in body["messages"]] == ["T\n\nt", "no", "q"]
    assert losses == {"coerced:document", "coerced:refusal"}


F, G = Tool("f", "d", SCHEMA), Tool("g", None, None)


@pytest.mark.parametrize(
    ("choice", "names", "word", "losses"),
    [
        (None, ["f", "g"], None, set()),
        (ToolChoice("auto"), ["f", "g"], None, set()),
        (ToolChoice("none"), ["f", "g"], "NONE", set()),
        (ToolChoice("required"), ["f", "g"], "REQUIRED", set()),
        (ToolChoice("tool", "g"), ["g"], "REQUIRED", {"coerced:allowed_tools"}),
        (ToolChoice("required", allowed=["f"]), ["f"], "REQUIRED", {"coerced:allowed_tools"}),
        (ToolChoice("auto", allowed=["f"]), ["f"], None, {"coerced:allowed_tools"}),
    ],
)
def test_choices_of_tools(choice: ToolChoice | None, names: list[str], word: str | None, losses: set[str]) -> None:
    body, lost = encode(tools=[F, G], tool_choice=choice)
    assert [tool["function"]["name"] for tool in body["tools"]] == names
    assert (body.get("tool_choice"), lost) == (word, losses)


def test_models_that_cannot_choose() -> None:
    assert encode(tools=[F], tool_choice=ToolChoice("required"), facts=OLD)[1] == {"dropped:tool_choice"}
    body, losses = encode(tools=[F], tool_choice=ToolChoice("none"), facts=OLD)
    assert "tools" not in body
    assert losses == set()
    assert encode(tool_choice=ToolChoice("required"))[1] == {"dropped:tool_choice"}


def test_strict_tools_are_strict_together() -> None:
    strict = Tool("s", None, {**SCHEMA, "properties": {"a": {"type": "string", "maxLength": 3}}}, strict=True)
    body, losses = encode(tools=[strict])
    assert body["strict_tools"] is True
    assert body["tools"][0]["function"]["parameters"]["properties"]["a"] == {"type": "string", "description": "{maxLength: 3}"}
    assert losses == {"coerced:tool_schema"}
    for others in ([F], [Tool("t", None, {"type": "object", "properties": {}}, strict=True)]):
        body, losses = encode(tools=[strict, *others])
        assert "strict_tools" not in body
        assert losses == {"dropped:strict"}


def test_tools_of_other_vendors_and_odd_schemas() -> None:
    with pytest.raises(UntranslatableError):
        encode(tools=[ForeignTool("x", "web_search", {})])
    with pytest.raises(BadRequestError):
        encode(tools=[Tool("f", None, [])])
    body, losses = encode(tools=[Tool("f", None, {"properties": {}})], parallel_tool_calls=False)
    assert body["tools"][0]["function"]["parameters"]["type"] == "object"
    assert losses == {"coerced:tool_schema", "dropped:parallel_tool_calls"}


@given(st.text(min_size=1) | st.text("x_-.l1m2d", min_size=1, max_size=12))
def test_names_are_mapped_and_back(name: str) -> None:
    wire = tool_name(name)
    assert wire.isascii()
    assert wire.isidentifier()
    assert original_name(wire) == name


@given(st.text("llm1_x2df", max_size=12).map("llm1_".__add__))
def test_names_that_only_look_mapped_stay(name: str) -> None:
    assert tool_name(original_name(name)) == name or original_name(name) == name


def test_output_formats_and_what_they_exclude() -> None:
    assert encode(output=OutputFormat("json"))[0]["response_format"] == {"type": "json_object"}
    body, losses = encode(output=OutputFormat("schema", schema=SCHEMA, strict=True))
    assert (body["response_format"], losses) == ({"type": "json_object", "json_schema": SCHEMA}, set())
    limited = {**SCHEMA, "properties": {"a": {"oneOf": [{"type": "string", "format": "email"}, {"type": "null"}]}}}
    body, losses = encode(output=OutputFormat("schema", schema=limited))
    assert body["response_format"]["json_schema"]["properties"]["a"] == {
        "anyOf": [{"type": "string", "description": '{format: "email"}'}, {"type": "null"}]
    }
    assert losses == {"coerced:json_schema"}
    for loose in ({"type": "object", "properties": {}}, {"type": "array", "items": {}}):
        body, losses = encode(output=OutputFormat("schema", schema=loose))
        assert ("response_format" in body) is (loose["type"] == "object")
        assert orjson.dumps(loose).decode() in body["messages"][0]["content"]
        assert losses == {"coerced:json_schema"}
    first = Message(Role.SYSTEM, [Text("s")])
    body, losses = encode(first, Q, tools=[F], output=OutputFormat("schema", schema=SCHEMA))
    assert "response_format" not in body
    assert [m["role"] for m in body["messages"]] == ["system", "system", "user"]
    assert losses == {"coerced:response_format"}


def test_parameters_are_moved_into_their_ranges() -> None:
    body, losses = encode(
        temperature=1.7,
        top_p=1.0,
        top_k=900,
        stop=[*"abcdef", ""],
        max_tokens=99999,
        knobs={"seed": -1, "frequency_penalty": 1.5, "presence_penalty": 1},
    )
    kept = {name: body[name] for name in ("temperature", "p", "k", "stop_sequences", "max_tokens", "frequency_penalty")}
    assert kept == {"temperature": 1, "p": 0.99, "k": 500, "stop_sequences": [*"abcde"], "max_tokens": 8000, "frequency_penalty": 1}
    assert body["seed"] >= 0
    names = ("temperature", "top_p", "top_k", "stop", "max_tokens", "seed", "frequency_penalty")
    assert losses == {f"coerced:{name}" for name in names} | {"dropped:presence_penalty"}
    assert encode(top_k=-1)[1] == {"dropped:top_k"}


def test_knobs_are_named_or_neutral() -> None:
    knobs = {"user": "u", "n": 1, "store": False, "logprobs": True, "logit_bias": {"1": 1}, "service_tier": "auto"}
    assert encode(knobs=knobs, extra={"novel": 1})[1] == {"dropped:user", "dropped:logprobs", "dropped:logit_bias", "dropped:unknown_member"}
    for knob in ({"n": 2}, {"modalities": ["text", "audio"]}):
        with pytest.raises(UntranslatableError):
            encode(knobs=knob)


@pytest.mark.parametrize(
    ("wanted", "thinking", "losses"),
    [
        (Reasoning(enabled=True), {"type": "enabled"}, set()),
        (Reasoning(adaptive=True), {"type": "enabled"}, set()),
        (Reasoning(budget=-1), {"type": "enabled"}, set()),
        (Reasoning(budget=500), {"type": "enabled", "token_budget": 500}, set()),
        (Reasoning(budget=5000), {"type": "enabled", "token_budget": 500}, {"coerced:thinking_budget"}),
        (Reasoning(effort="low"), {"type": "enabled", "token_budget": 500}, {"coerced:reasoning_effort", "coerced:thinking_budget"}),
        (Reasoning(effort="high"), {"type": "enabled"}, {"coerced:reasoning_effort"}),
        (Reasoning(enabled=False), {"type": "disabled"}, set()),
        (Reasoning(effort="none"), {"type": "disabled"}, set()),
        (Reasoning(budget=0), {"type": "disabled"}, set()),
        (Reasoning(show=False), None, {"dropped:reasoning_show"}),
        (Reasoning(), None, set()),
    ],
)
def test_how_much_to_think(wanted: Reasoning, thinking: Any, losses: set[str]) -> None:
    body, lost = encode(reasoning=wanted, facts=REASONS, max_tokens=1000)
    assert (body.get("thinking"), lost) == (thinking, losses)
    on = wanted.enabled or wanted.budget or wanted.effort not in (None, "none")
    body, lost = encode(reasoning=wanted)
    assert "thinking" not in body
    assert lost == ({"dropped:reasoning"} if on else set())


def test_models_by_name() -> None:
    for name, thinks in (("command-r7b-12-2024", False), ("command-a-vision-07-2025", False), ("command-a-plus-05-2026", True), ("north-5", True)):
        body, _ = encode(reasoning=Reasoning(enabled=True), facts=Facts(name, "cohere"))
        assert ("thinking" in body) is thinks, name
    assert encode(facts=Facts("*", "cohere"))[0]["model"] == "m"


# the same format on both sides


def test_the_same_format_is_passed_on_as_it_came() -> None:
    raw = b'{ "model": "alias",  "messages": [ {"role": "user", "content": "q", "novel": 1.0} ] , "novel":[] }'
    encoded = COHERE.splice_request(raw, orjson.loads(raw), PLAIN, NO_ASK)
    assert encoded.body == raw.replace(b'"alias"', b'"command-a-03-2025"')
    assert (encoded.path, encoded.losses) == ("/v2/chat", [])
    assert COHERE.splice_request(raw, orjson.loads(raw), Facts("*", "cohere"), NO_ASK).body == raw


def test_state_of_other_vendors_stays_out_of_it() -> None:
    ident = carrier.join("toolu_1", Opaque("anthropic", "c2ln"), [])
    history = [USER, {"role": "assistant", "tool_calls": [wire_call(ident)]}, {"role": "tool", "tool_call_id": ident, "content": "r"}]
    raw = orjson.dumps({"model": PLAIN.model, "messages": history})
    encoded = COHERE.splice_request(raw, orjson.loads(raw), PLAIN, NO_ASK)
    assert encoded.body == raw.replace(ident.encode(), b"toolu_1")
    assert [loss.code for loss in encoded.losses] == ["signature:foreign"]
