"""Canonical requests as Messages requests: golden translations, repairs with their losses, refusals, and strict validity of whatever comes out."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.core.dialect import Facts
from extproc.core.errors import ApiError, BadRequestError, UntranslatableError
from extproc.core.ir import (
    Audio,
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
from extproc.dialects.anthropic_messages import AnthropicMessages
from tests.validators.anthropic_types import check_messages_request

DIALECT = AnthropicMessages()
CLASSIC = Facts("claude-sonnet-4-5-20250929", "anthropic", max_output_tokens=64000)
ADAPTIVE = Facts("claude-opus-4-6", "anthropic")
NEWEST = Facts("claude-opus-5", "anthropic")
PNG = Source("image/png", data="iVBORw0KGgo=")
SIGNED = Thinking("hm", Opaque("anthropic", "c2ln"))


def user(*blocks: Block) -> Message:
    return Message(Role.USER, list(blocks))


def assistant(*blocks: Block) -> Message:
    return Message(Role.ASSISTANT, list(blocks))


def encode(messages: list[Message], facts: Facts = CLASSIC, **members: Any) -> tuple[dict[str, Any], set[str]]:
    """(the body, the codes of the losses). The body is strictly valid and the same when encoded again."""
    members.setdefault("max_tokens", 1000)
    request = Request("asked", messages, **members)
    encoded = DIALECT.encode_request(request, facts)
    check_messages_request(encoded.body)
    assert DIALECT.encode_request(request, facts).body == encoded.body
    assert encoded.path == "/messages"
    assert encoded.headers == {"anthropic-version": "2023-06-01"}
    body = json.loads(encoded.body)  # not orjson, which rounds big numbers
    assert body["model"] == facts.model
    return body, {loss.code for loss in encoded.losses}


HELLO = [user(Text("hello"))]


def test_a_whole_conversation() -> None:
    body, losses = encode(
        [
            Message(Role.SYSTEM, [Text("Be brief.", cache="1h")]),
            Message(Role.DEVELOPER, [Text("Use tools.")]),
            user(Text("Weather in Ulm and Bonn?"), Image(PNG, cache="default")),
            assistant(
                SIGNED, Text("I look."), ToolCall("call_1", "weather", '{"city": "Ulm", "n": 12345678901234567890123}'), ToolCall("call_2", "weather")
            ),
            user(ToolResult("call_1", [Text("rain")])),
            user(ToolResult("call_2", [Text("sun"), Image(PNG)], is_error=True, cache="5m")),
            user(Text("And?")),
        ],
        stream=True,
        max_tokens=5000,
        temperature=0.5,
        top_k=3,
        stop=["END"],
        tools=[Tool("weather", "Tells it.", {"type": "object", "properties": {"city": {"type": "string"}}}, strict=True, cache="5m"), Tool("now")],
        tool_choice=ToolChoice("auto"),
        parallel_tool_calls=False,
        knobs={"user": "u-1", "service_tier": "default"},
    )
    assert losses == {"coerced:tool_schema"}
    assert body == {
        "model": CLASSIC.model,
        "max_tokens": 5000,
        "stream": True,
        "system": [
            {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            {"type": "text", "text": "Use tools."},
        ],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Weather in Ulm and Bonn?"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
                        "cache_control": {"type": "ephemeral"},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Ulm", "n": 12345678901234567890123}},
                    {"type": "tool_use", "id": "call_2", "name": "weather", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "rain"}]},
                    {
                        "type": "tool_result",
                        "tool_use_id": "call_2",
                        "content": [
                            {"type": "text", "text": "sun"},
                            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
                        ],
                        "is_error": True,
                        "cache_control": {"type": "ephemeral", "ttl": "5m"},
                    },
                    {"type": "text", "text": "And?"},
                ],
            },
        ],
        "tools": [
            {
                "name": "weather",
                "description": "Tells it.",
                "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": False},
                "strict": True,
                "cache_control": {"type": "ephemeral", "ttl": "5m"},
            },
            {"name": "now", "input_schema": {"type": "object", "properties": {}}},
        ],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "temperature": 0.5,
        "top_k": 3,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u-1"},
        "service_tier": "standard_only",
    }


def test_arguments_stay_byte_for_byte() -> None:
    given = '{"b": 1.10, "a":  98765432109876543210987654321, "ü": "\\u00fc"}'
    request = Request("m", [*HELLO, assistant(ToolCall("c", "f", given)), user(ToolResult("c", []))], max_tokens=9)
    assert f'"input":{given}'.encode() in DIALECT.encode_request(request, CLASSIC).body


@pytest.mark.parametrize(
    ("given", "written", "wrapped"),
    [
        ("", {}, False),
        ("  ", {}, False),
        ("null", {}, False),
        ("{}", {}, False),
        ('{"a": [1]}', {"a": [1]}, False),
        ('{"a": ', {"arguments": '{"a": '}, True),
        ("[1]", {"arguments": [1]}, True),
        ('"x"', {"arguments": "x"}, True),
        ("\ud800", {"arguments": "?"}, True),
    ],
)
def test_arguments(given: str, written: Any, wrapped: bool) -> None:
    body, losses = encode([*HELLO, assistant(ToolCall("c", "f", given)), user(ToolResult("c", []))])
    assert body["messages"][1]["content"][0]["input"] == written
    assert losses == ({"coerced:tool_arguments"} if wrapped else set())


def test_later_system_messages_join_the_users_turn() -> None:
    body, losses = encode(
        [
            *HELLO,
            assistant(ToolCall("c", "f")),
            Message(Role.DEVELOPER, [Text("Stop now.")]),
            user(ToolResult("c", [Text("1")])),
        ]
    )
    assert losses == {"coerced:system_position", "coerced:tool_result_position"}
    assert [b["type"] for b in body["messages"][2]["content"]] == ["tool_result", "text"]
    assert "Stop now." in body["messages"][2]["content"][1]["text"]
    assert "system" not in body


def test_a_system_message_alone_is_the_users_turn() -> None:
    body, losses = encode([Message(Role.SYSTEM, [Text("Tell a joke.")])])
    assert losses == {"coerced:system_position"}
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Tell a joke."}]}]


def test_runs_merge_and_the_first_turn_is_the_users() -> None:
    body, losses = encode([assistant(Text("a")), assistant(Text("b")), user(Text("c")), user(Text("d"))])
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "user"]
    assert [b["text"] for b in body["messages"][1]["content"]] == ["a", "b"]
    assert losses == {"coerced:first_turn"}


def test_blank_text_goes_and_its_cache_mark_stays() -> None:
    body, losses = encode([user(Text("a"), Text(" \n", cache="1h")), assistant(Text("")), user(Text("b"))])
    assert losses == {"dropped:empty_text"}
    assert body["messages"] == [
        {
            "role": "user",
            "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}, {"type": "text", "text": "b"}],
        }
    ]


def test_prefill_is_kept_without_trailing_white_space() -> None:
    body, losses = encode([*HELLO, assistant(Text("The answer is \n"))])
    assert body["messages"][-1] == {"role": "assistant", "content": [{"type": "text", "text": "The answer is"}]}
    assert losses == {"coerced:trailing_white_space"}


def test_tool_ids_are_mapped_reversibly_and_made_unique() -> None:
    calls = [ToolCall("functions.f:0", "f"), ToolCall("", "f"), ToolCall("a", "f"), ToolCall("a", "f")]
    results = [
        ToolResult("a", [Text("first")]),
        ToolResult("functions.f:0", [Text("0")]),
        ToolResult("a", [Text("second")]),
        ToolResult("", [Text("none")]),
    ]
    body, losses = encode([*HELLO, assistant(*calls), user(*results)])
    uses, answers = body["messages"][1]["content"], body["messages"][2]["content"]
    ids = [b["id"] for b in uses]
    assert len(set(ids)) == 4
    assert all(re.fullmatch("[a-zA-Z0-9_-]+", i) for i in ids)
    assert {b["tool_use_id"]: b["content"][0]["text"] for b in answers} == dict(zip(ids, ["0", "none", "first", "second"], strict=True))
    assert losses == {"coerced:tool_id"}
    decoded = DIALECT.decode_request(body)
    assert [b.id for b in decoded.messages[1].blocks if isinstance(b, ToolCall)] == ["functions.f:0", "", "a", "a_2"]


def test_ids_of_later_turns_are_unique_too() -> None:
    turn = [assistant(ToolCall("0", "f")), user(ToolResult("0", [Text("x")]))]
    body, _ = encode([*HELLO, *turn, *turn])
    assert body["messages"][3]["content"][0]["id"] == body["messages"][4]["content"][0]["tool_use_id"] == "0_2"


def test_two_results_of_one_call_are_joined() -> None:
    body, losses = encode([*HELLO, assistant(ToolCall("a", "f")), user(ToolResult("a", [Text("1")]), ToolResult("a", [Text("2")], is_error=True))])
    assert losses == {"coerced:tool_result"}
    result = body["messages"][2]["content"]
    assert len(result) == 1
    assert [b["text"] for b in result[0]["content"]] == ["1", "2"]
    assert result[0]["is_error"] is True


def test_an_error_without_words_gets_one() -> None:
    body, _ = encode([*HELLO, assistant(ToolCall("a", "f")), user(ToolResult("a", [], is_error=True))])
    assert body["messages"][2]["content"][0] == {"type": "tool_result", "tool_use_id": "a", "content": "error", "is_error": True}


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [user(Text(" "))],
        [*HELLO, assistant(ToolCall("a", "f"))],
        [*HELLO, assistant(ToolCall("a", "f")), user(Text("no result"))],
        [*HELLO, assistant(ToolCall("a", "f")), user(Text("no result")), assistant(Text("x")), user(ToolResult("a", []))],
        [*HELLO, assistant(ToolCall("a", "f"), ToolCall("b", "f")), user(ToolResult("a", []))],
        [user(ToolResult("a", [Text("orphan")]))],
        [*HELLO, assistant(ToolResult("a", []))],
        [Message(Role.SYSTEM, [Image(PNG)]), *HELLO],
    ],
)
def test_what_no_repair_can_guess_is_the_clients_mistake(messages: list[Message]) -> None:
    with pytest.raises(BadRequestError):
        encode(messages)


@pytest.mark.parametrize(
    "block",
    [
        Audio(Source("audio/wav", data="AAAA")),
        Image(Source("image/tiff", data="AAAA")),
        Image(Source(url="gs://bucket/x.png")),
        Image(Source(file_id="file-1")),
        Document(Source("application/msword", data="AAAA")),
        Document(Source("text/plain", data="////")),
        Foreign("gemini", "executableCode", {}),
    ],
)
def test_content_without_a_word_for_it_is_refused(block: Block) -> None:
    with pytest.raises(UntranslatableError):
        encode([user(block)])


@pytest.mark.parametrize(
    ("block", "source"),
    [
        (Image(Source("image/jpg", data="/9j/4AAQ")), {"type": "base64", "media_type": "image/jpeg", "data": "/9j/4AAQ"}),
        (Image(Source(data="UklGRg==")), {"type": "base64", "media_type": "image/webp", "data": "UklGRg=="}),
        (Image(Source(url="https://e.com/x.png")), {"type": "url", "url": "https://e.com/x.png"}),
        (Document(Source(data="JVBERi0x")), {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x"}),
        (Document(Source("text/markdown; charset=utf-8", data="w7w=")), {"type": "text", "media_type": "text/plain", "data": "ü"}),
        (Document(Source(text="plain")), {"type": "text", "media_type": "text/plain", "data": "plain"}),
        (Document(Source(url="https://e.com/x.pdf")), {"type": "url", "url": "https://e.com/x.pdf"}),
    ],
)
def test_sources(block: Block, source: dict[str, str]) -> None:
    body, losses = encode([user(block)])
    assert body["messages"][0]["content"][0]["source"] == source
    assert losses == set()


def test_what_assistants_of_other_formats_said() -> None:
    blocks = [
        Refusal("No."),
        Thinking("unsigned"),
        Thinking("x", Opaque("gemini", "s")),
        Foreign("openai_responses", "web_search_call", {}),
        Image(PNG),
    ]
    body, losses = encode([*HELLO, assistant(*blocks), user(Text("ok"))])
    assert body["messages"][1]["content"] == [{"type": "text", "text": "No."}]
    assert losses == {"coerced:refusal", "dropped:thinking", "signature:foreign", "dropped:assistant_content"}


def test_limits_of_tokens() -> None:
    assert encode(HELLO, max_tokens=None)[0]["max_tokens"] == 64000
    body, losses = encode(HELLO, NEWEST, max_tokens=None)
    assert (body["max_tokens"], losses) == (4096, {"defaulted:max_tokens"})
    body, losses = encode(HELLO, max_tokens=100_000)
    assert (body["max_tokens"], losses) == (64000, {"coerced:max_tokens"})


@pytest.mark.parametrize(
    ("facts", "asked", "written", "losses"),
    [
        (CLASSIC, {"temperature": 1.7}, {"temperature": 1.0}, {"coerced:temperature"}),
        (CLASSIC, {"temperature": 0.2, "top_p": 0.9}, {"temperature": 0.2}, {"dropped:top_p"}),
        (CLASSIC, {"top_p": 0.9}, {"top_p": 0.9}, set()),
        (Facts("claude-3-5-haiku-latest", "anthropic"), {"temperature": 0.2, "top_p": 0.9}, {"temperature": 0.2, "top_p": 0.9}, set()),
        (NEWEST, {"temperature": 0.2, "top_p": 0.9, "top_k": 5}, {}, {"dropped:temperature", "dropped:top_p", "dropped:top_k"}),
        (NEWEST, {"temperature": 1.0, "top_p": 1.0}, {}, set()),
        (CLASSIC, {"top_k": -1}, {}, {"dropped:top_k"}),
        (Facts("kimi-k2", "other"), {"temperature": 0.2, "top_p": 0.9}, {"temperature": 0.2, "top_p": 0.9}, set()),
    ],
)
def test_sampling(facts: Facts, asked: dict[str, Any], written: dict[str, Any], losses: set[str]) -> None:
    body, lost = encode(HELLO, facts, **asked)
    assert {k: body[k] for k in ("temperature", "top_p", "top_k") if k in body} == written
    assert lost == losses


@pytest.mark.parametrize(
    ("facts", "asked", "thinking", "effort", "losses"),
    [
        (CLASSIC, Reasoning(effort="low"), {"type": "enabled", "budget_tokens": 2048}, None, {"coerced:reasoning_effort"}),
        (CLASSIC, Reasoning(effort="none"), None, None, set()),
        (CLASSIC, Reasoning(enabled=True, budget=3000, show=True), {"type": "enabled", "budget_tokens": 3000, "display": "summarized"}, None, set()),
        (CLASSIC, Reasoning(budget=100), {"type": "enabled", "budget_tokens": 1024}, None, {"coerced:thinking_budget"}),
        (CLASSIC, Reasoning(budget=-1), {"type": "enabled", "budget_tokens": 8192}, None, {"coerced:thinking_budget"}),
        (CLASSIC, Reasoning(budget=0), None, None, set()),
        (CLASSIC, Reasoning(budget=50000), {"type": "enabled", "budget_tokens": 10000}, None, {"coerced:thinking_budget"}),
        (ADAPTIVE, Reasoning(effort="high"), {"type": "adaptive"}, "high", set()),
        (ADAPTIVE, Reasoning(effort="xhigh"), {"type": "adaptive"}, "high", {"coerced:reasoning_effort"}),
        (ADAPTIVE, Reasoning(effort="minimal"), {"type": "adaptive"}, "low", {"coerced:reasoning_effort"}),
        (ADAPTIVE, Reasoning(effort="none"), {"type": "disabled"}, None, set()),
        (ADAPTIVE, Reasoning(budget=3000), {"type": "enabled", "budget_tokens": 3000}, None, set()),
        (ADAPTIVE, Reasoning(budget=-1, show=False), {"type": "adaptive", "display": "omitted"}, None, set()),
        (NEWEST, Reasoning(effort="xhigh"), {"type": "adaptive"}, "xhigh", set()),
        (NEWEST, Reasoning(budget=3000), {"type": "adaptive"}, "medium", {"coerced:thinking_budget"}),
        (NEWEST, Reasoning(budget=99999), {"type": "adaptive"}, "max", {"coerced:thinking_budget"}),
        (NEWEST, Reasoning(effort="odd"), {"type": "adaptive"}, None, {"coerced:reasoning_effort"}),
        (Facts("claude-3-5-haiku-latest", "anthropic"), Reasoning(effort="high"), None, None, {"dropped:reasoning"}),
    ],
)
def test_reasoning(facts: Facts, asked: Reasoning, thinking: Any, effort: str | None, losses: set[str]) -> None:
    body, lost = encode(HELLO, facts, reasoning=asked, max_tokens=20_000)
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == effort
    assert lost == losses


def test_thinking_and_what_it_forbids() -> None:
    on = Reasoning(budget=2000)
    body, losses = encode(HELLO, reasoning=on, max_tokens=4000, temperature=0.3, top_p=0.5, top_k=4)
    assert body["thinking"]["budget_tokens"] == 2000
    assert not {"temperature", "top_p", "top_k"} & body.keys()
    assert losses == {"dropped:temperature", "dropped:top_p", "dropped:top_k"}
    body, losses = encode(HELLO, reasoning=on, max_tokens=4000, temperature=1.0)
    assert (body["temperature"], losses) == (1, set())
    forced = {"tools": [Tool("f")], "tool_choice": ToolChoice("tool", "f"), "max_tokens": 4000}
    body, losses = encode(HELLO, reasoning=on, **forced)
    assert ("thinking" in body, body["tool_choice"], losses) == (False, {"type": "tool", "name": "f"}, {"coerced:thinking"})
    body, losses = encode(HELLO, ADAPTIVE, reasoning=Reasoning(effort="low"), **forced)
    assert (body["thinking"], losses) == ({"type": "adaptive"}, set())


def test_a_budget_fits_under_the_limit() -> None:
    body, losses = encode(HELLO, reasoning=Reasoning(budget=5000), max_tokens=3000)
    assert (body["max_tokens"], body["thinking"]["budget_tokens"], losses) == (3000, 1500, {"coerced:thinking_budget"})
    body, losses = encode(HELLO, reasoning=Reasoning(budget=5000), max_tokens=1000)
    assert ("thinking" in body, losses) == (False, {"coerced:thinking"})
    body, losses = encode(HELLO, Facts("claude-sonnet-4-0", "anthropic"), reasoning=Reasoning(budget=9000), max_tokens=None)
    assert (body["max_tokens"], body["thinking"]["budget_tokens"], losses) == (13096, 9000, {"defaulted:max_tokens"})


def _loop(*first: Block) -> list[Message]:
    return [*HELLO, assistant(*first, ToolCall("a", "f")), user(ToolResult("a", [])), assistant(ToolCall("b", "f")), user(ToolResult("b", []))]


@pytest.mark.parametrize(
    ("messages", "on"),
    [
        (_loop(), False),
        (_loop(Thinking("unsigned")), False),
        (_loop(Thinking("x", Opaque("gemini", "s"))), False),
        (_loop(SIGNED), True),
        (_loop(Thinking("", Opaque("anthropic", "d"), redacted=True)), True),
        ([*_loop(), assistant(Text("done")), user(Text("next"))], True),
        ([*_loop(), user(Text("next"))], False),
        ([*HELLO, assistant(Text("prefill"))], False),
    ],
)
def test_a_tool_loop_without_signed_thinking_switches_thinking_off(messages: list[Message], on: bool) -> None:
    body, losses = encode(messages, reasoning=Reasoning(budget=2000), max_tokens=4000)
    assert ("thinking" in body) is on
    assert ("coerced:thinking" in losses) is not on
    adaptive, _ = encode(messages, NEWEST, reasoning=Reasoning(effort="low"), max_tokens=4000)
    assert adaptive["thinking"] == {"type": "adaptive"}


def test_output_formats() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}, "o": {"type": "object"}}, "required": ["n"]}
    body, losses = encode(HELLO, output=OutputFormat("schema", "answer", schema, strict=True, description="The answer"))
    assert losses == {"coerced:json_schema"}
    assert body["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {"n": {"type": "integer", "description": "{minimum: 1}"}, "o": {"type": "object", "additionalProperties": False}},
            "required": ["n"],
            "additionalProperties": False,
            "description": "The answer",
        },
    }
    closed = {"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}, "additionalProperties": False}
    body, losses = encode(HELLO, output=OutputFormat("schema", schema=closed))
    assert (body["output_config"]["format"]["schema"], losses) == (closed, set())
    body, losses = encode(HELLO, output=OutputFormat("json"))
    assert losses == {"coerced:json_object"}
    assert "JSON" in body["system"][0]["text"]


def test_tools_and_choices() -> None:
    tools = [Tool("f"), Tool("g", parameters={"properties": {}})]
    body, losses = encode(HELLO, tools=tools, tool_choice=ToolChoice("required"))
    assert (body["tool_choice"], losses) == ({"type": "any"}, {"coerced:tool_schema"})
    body, losses = encode(HELLO, tools=tools, tool_choice=ToolChoice("auto", allowed=["f"]))
    assert ([t["name"] for t in body["tools"]], losses) == (["f"], {"coerced:allowed_tools"})
    assert encode(HELLO, tools=tools[:1], tool_choice=ToolChoice("none"), parallel_tool_calls=False)[0]["tool_choice"] == {"type": "none"}
    assert encode(HELLO, tools=tools[:1], parallel_tool_calls=False)[0]["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert "tool_choice" not in encode(HELLO, tool_choice=ToolChoice("auto"))[0]
    with pytest.raises(BadRequestError):
        encode(HELLO, tool_choice=ToolChoice("required"))
    with pytest.raises(BadRequestError):
        encode(HELLO, tools=[Tool("")])
    with pytest.raises(UntranslatableError):
        encode(HELLO, tools=[ForeignTool("openai_responses", "web_search", {})])


def test_knobs() -> None:
    knobs = {"seed": 7, "logit_bias": {"1": 1}, "n": 1, "store": False, "safety_identifier": "s", "service_tier": "priority", "logprobs": None}
    body, losses = encode(HELLO, knobs=knobs)
    assert losses == {"dropped:seed", "dropped:logit_bias", "coerced:service_tier"}
    assert (body["metadata"], body["service_tier"]) == ({"user_id": "s"}, "auto")
    for knob in ({"n": 2}, {"modalities": ["text", "audio"]}):
        with pytest.raises(UntranslatableError):
            encode(HELLO, knobs=knob)


def test_members_of_another_format_are_reported() -> None:
    _, losses = encode(HELLO, extra={"web_search_options": {}}, extra_from="openai_chat", stop=["\n", "x"])
    assert losses == {"dropped:unknown_member", "dropped:stop"}


def test_hostile_nesting_is_an_error_not_a_crash() -> None:
    schema: Any = {}
    for _ in range(600):
        schema = {"properties": {"a": schema}}
    for members in ({"tools": [Tool("f", parameters={"type": "object", **schema})]}, {"output": OutputFormat("schema", schema=schema)}):
        with pytest.raises(BadRequestError):
            encode(HELLO, **members)


_TEXTS = st.sampled_from(["", " ", "a", "b \n", "ü"])
_IDS = st.sampled_from(["", "a", "b:1", "llm1id_", "x" * 80])
_OPAQUE = st.none() | st.builds(Opaque, st.sampled_from(["anthropic", "gemini"]), st.just("s"))
_CACHE = st.sampled_from([None, "5m", "1h", "default"])
_PLAIN = st.one_of(
    st.builds(Text, _TEXTS, _CACHE),
    st.builds(Refusal, _TEXTS),
    st.builds(Thinking, _TEXTS, _OPAQUE, st.booleans()),
    st.builds(Image, st.just(PNG), st.sampled_from([None, "high"]), _CACHE),
)
_BLOCKS = st.one_of(
    _PLAIN,
    st.builds(ToolCall, _IDS, st.sampled_from(["f", "a.b", ""]), st.sampled_from(["", "{", '{"a":1}', "3"]), _OPAQUE, _CACHE),
    st.builds(ToolResult, _IDS, st.lists(_PLAIN, max_size=2), is_error=st.booleans()),
)
_REQUESTS = st.builds(
    Request,
    st.just("m"),
    st.lists(st.builds(Message, st.sampled_from(list(Role)), st.lists(_BLOCKS, max_size=3)), max_size=6),
    stream=st.booleans(),
    max_tokens=st.none() | st.integers(1, 40_000),
    temperature=st.none() | st.floats(-1, 3),
    top_p=st.none() | st.floats(0, 1),
    top_k=st.none() | st.integers(-1, 50),
    tools=st.lists(st.builds(Tool, st.sampled_from(["f", "g"])), max_size=1),
    tool_choice=st.none() | st.builds(ToolChoice, st.sampled_from(["auto", "none", "required"])),
    reasoning=st.none()
    | st.builds(Reasoning, st.none() | st.booleans(), st.sampled_from([None, "low", "xhigh", "none"]), st.none() | st.integers(-1, 50_000)),
)


@settings(max_examples=400, deadline=None)
@given(request=_REQUESTS, facts=st.sampled_from([CLASSIC, ADAPTIVE, NEWEST]))
def test_whatever_comes_out_keeps_the_rules(request: Request, facts: Facts) -> None:
    try:
        encoded = DIALECT.encode_request(request, facts)
    except ApiError:
        return
    check_messages_request(encoded.body)
    body = orjson.loads(encoded.body)
    roles = [m["role"] for m in body["messages"]]
    assert roles[0] == "user"
    assert all(a != b for a, b in pairwise(roles))
    open_calls: set[str] = set()
    seen: set[str] = set()
    for message in body["messages"]:
        content = message["content"]
        assert content
        results = [b["tool_use_id"] for b in content if b["type"] == "tool_result"]
        assert sorted(results) == sorted(open_calls)
        assert [b["type"] for b in content[: len(results)]] == ["tool_result"] * len(results)
        open_calls = {b["id"] for b in content if b["type"] == "tool_use"}
        assert not open_calls & seen
        assert len(open_calls) == sum(b["type"] == "tool_use" for b in content)
        seen |= open_calls
        assert all(re.fullmatch("[a-zA-Z0-9_-]+", i) for i in open_calls)
        assert all(b["text"].strip() for b in content if b["type"] == "text")
    assert not open_calls
    thinking = body.get("thinking", {})
    if thinking.get("type") == "enabled":
        assert 1024 <= thinking["budget_tokens"] < body["max_tokens"]
        assert body.get("tool_choice", {}).get("type") in (None, "auto", "none")
    if thinking.get("type") in {"enabled", "adaptive"}:
        assert body.get("temperature", 1) == 1
        assert "top_k" not in body
