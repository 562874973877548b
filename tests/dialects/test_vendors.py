"""Requests of other dialects for vendors of Chat Completions: each difference that a vendor has, under its point of the project's list."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from extproc.core.dialect import Facts
from extproc.core.errors import UntranslatableError
from extproc.core.ir import Audio, Block, Document, Message, Opaque, Request, Role, Source, Text, Thinking, ToolCall, ToolResult, Video
from extproc.dialects.openai_chat import OpenAIChat, members
from tests.dialects.vendors import codes, facts, translated
from tests.validators.vendor_types import VENDORS

DIALECT = OpenAIChat()
SCHEMA = {"type": "object", "properties": {}}


def claude(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"model": "chat", "max_tokens": 100, "messages": list(messages) or [{"role": "user", "content": "q"}], **more}


LOOP = (
    {"role": "user", "content": "q"},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "tool_use", "id": "toolu_01abcdefghijklmnopqrstuv", "name": "f", "input": {}},
        ],
    },
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_01abcdefghijklmnopqrstuv", "content": "r"}]},
)


def ids(body: dict[str, Any]) -> list[str]:
    return [c["id"] for m in body["messages"] for c in m.get("tool_calls") or ()] + [
        m["tool_call_id"] for m in body["messages"] if m["role"] == "tool"
    ]


def test_point_01_mistral_gets_ids_of_nine_that_pair() -> None:
    body, _ = translated("anthropic_messages", "mistral", claude(*LOOP))
    call, result = ids(body)
    assert call == result
    assert len(call) == 9
    again, _ = translated("anthropic_messages", "mistral", claude(*LOOP))
    assert ids(again) == [call, call]


def test_point_14_no_developer_role_no_names() -> None:
    history = [Message(Role.DEVELOPER, [Text("s")]), Message(Role.USER, [Text("q")], name="ada")]
    sent = DIALECT.encode_request(Request("m", history), facts("mistral"))
    VENDORS["mistral"](sent.body)
    assert orjson.loads(sent.body)["messages"] == [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    assert codes(sent) == {"dropped:name"}


def test_point_15_mistral_wants_an_assistant_between_results_and_a_user() -> None:
    last = {"role": "user", "content": [*LOOP[2]["content"], {"type": "text", "text": "and?"}]}
    body, lost = translated("anthropic_messages", "mistral", claude(*LOOP[:2], last))
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "tool", "assistant", "user"]
    assert "coerced:turn_order" in lost
    body, lost = translated("anthropic_messages", "groq", claude(*LOOP[:2], last))
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "tool", "user"]


def test_point_17_prefill_is_mistrals_prefix() -> None:
    body, lost = translated("anthropic_messages", "mistral", claude({"role": "user", "content": "q"}, {"role": "assistant", "content": "A:"}))
    assert body["messages"][-1] == {"role": "assistant", "content": "A:", "prefix": True}
    assert not lost
    body, _ = translated("anthropic_messages", "openrouter", claude({"role": "user", "content": "q"}, {"role": "assistant", "content": "A:"}))
    assert body["messages"][-1] == {"role": "assistant", "content": "A:"}


def test_point_18_19_media_in_the_vendors_own_parts() -> None:
    media: list[Block] = [
        Document(Source("application/pdf", "JVBE"), title="a.pdf"),
        Document(Source(url="https://e.x/b.pdf")),
        Audio(Source("audio/ogg", "T2dn")),
    ]
    sent = DIALECT.encode_request(Request("m", [Message(Role.USER, media)]), facts("mistral"))
    VENDORS["mistral"](sent.body)
    assert orjson.loads(sent.body)["messages"][0]["content"] == [
        {"type": "document_url", "document_url": "data:application/pdf;base64,JVBE", "document_name": "a.pdf"},
        {"type": "document_url", "document_url": "https://e.x/b.pdf"},
        {"type": "input_audio", "input_audio": "T2dn"},
    ]
    router = Request("m", [Message(Role.USER, [media[1], Video(Source(url="https://e.x/v.mp4")), Video(Source("video/webm", "GkXf"))])])
    parts = orjson.loads(DIALECT.encode_request(router, facts("openrouter")).body)["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["file", "video_url", "video_url"]
    assert parts[0]["file"]["file_data"] == "https://e.x/b.pdf"
    assert parts[2]["video_url"]["url"] == "data:video/webm;base64,GkXf"
    for block in (media[0], media[2]):
        with pytest.raises(UntranslatableError):
            DIALECT.encode_request(Request("m", [Message(Role.USER, [block])]), facts("groq"))
    text = Request("m", [Message(Role.USER, [Document(Source(text="words"))])])
    assert orjson.loads(DIALECT.encode_request(text, facts("groq")).body)["messages"][0]["content"] == "words"


@pytest.mark.parametrize(
    ("kind", "name"),
    [("mistral", "max_tokens"), ("deepseek", "max_tokens"), ("perplexity", "max_tokens"), ("openrouter", "max_tokens"), ("vllm", "max_tokens")],
)
def test_point_21_the_limits_name(kind: str, name: str) -> None:
    assert translated("anthropic_messages", kind, claude())[0][name] == 100


def test_point_22_temperature_up_to_one_and_a_half() -> None:
    sent = DIALECT.encode_request(Request("m", [], temperature=1.9), facts("mistral"))
    assert orjson.loads(sent.body)["temperature"] == 1.5
    assert codes(sent) == {"coerced:temperature"}
    assert orjson.loads(DIALECT.encode_request(Request("m", [], temperature=1.9), facts("groq")).body)["temperature"] == 1.9


def test_point_23_stops() -> None:
    request = Request("m", [], stop=list("abcdef"))
    assert orjson.loads(DIALECT.encode_request(request, facts("groq")).body)["stop"] == list("abcd")
    assert orjson.loads(DIALECT.encode_request(request, facts("mistral")).body)["stop"] == list("abcdef")
    assert codes(DIALECT.encode_request(request, facts("perplexity"))) == {"dropped:stop"}


KNOBS = {
    "seed": 7,
    "n": 2,
    "user": "u",
    "logit_bias": {"1": 2},
    "logprobs": True,
    "top_logprobs": 2,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "prompt_cache_key": "k",
    "service_tier": "flex",
    "store": True,
    "verbosity": "low",
    "metadata": {"a": "b"},
}


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        ("mistral", "random_seed n logprobs top_logprobs frequency_penalty presence_penalty prompt_cache_key metadata"),
        ("groq", "seed user frequency_penalty presence_penalty"),
        ("deepseek", "logprobs top_logprobs frequency_penalty presence_penalty"),
        ("xai", "seed n user logprobs top_logprobs"),
        ("openrouter", "seed n user logit_bias logprobs top_logprobs frequency_penalty presence_penalty"),
        ("perplexity", "frequency_penalty presence_penalty"),
        ("cerebras", "seed user logprobs top_logprobs frequency_penalty presence_penalty"),
        ("gemini-openai", "n frequency_penalty presence_penalty"),
        ("vllm", "seed n user logit_bias logprobs top_logprobs frequency_penalty presence_penalty"),
    ],
)
def test_point_24_knobs_go_or_are_reported(kind: str, kept: str) -> None:
    sent = DIALECT.encode_request(Request("m", [], knobs=dict(KNOBS), top_k=40), facts(kind))
    body = orjson.loads(sent.body)
    assert body.keys() - {"model", "messages", "top_k"} == set(kept.split())
    said = {"seed" if name == "random_seed" else name for name in kept.split()}
    assert codes(sent) == {f"dropped:{name}" for name in KNOBS.keys() - said} | (
        {"dropped:top_k"} - ({"dropped:top_k"} if "top_k" in body else set())
    )


def test_point_25_json_schema_only_where_there_is_one() -> None:
    request = claude(output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
    body, _ = translated("anthropic_messages", "mistral", request)
    assert body["response_format"]["type"] == "json_schema"
    with pytest.raises(UntranslatableError):
        translated("anthropic_messages", "deepseek", request)


@pytest.mark.parametrize(
    ("kind", "model", "thinking", "said", "lost"),
    [
        ("openrouter", "", {"type": "enabled", "budget_tokens": 3000}, {"reasoning": {"max_tokens": 3000}}, set()),
        ("openrouter", "", {"type": "disabled"}, {"reasoning": {"enabled": False}}, set()),
        ("openrouter", "", {"type": "adaptive"}, {"reasoning": {"enabled": True}}, set()),
        ("deepseek", "", {"type": "enabled", "budget_tokens": 3000}, {"thinking": {"type": "enabled"}, "reasoning_effort": "medium"}, {"budget"}),
        ("deepseek", "", {"type": "disabled"}, {"thinking": {"type": "disabled"}}, set()),
        ("groq", "", {"type": "enabled", "budget_tokens": 3000}, {"reasoning_effort": "medium"}, {"budget"}),
        ("groq", "qwen/qwen3-32b", {"type": "disabled"}, {"reasoning_effort": "none", "reasoning_format": "parsed"}, set()),
        ("groq", "llama-3.3-70b-versatile", {"type": "enabled", "budget_tokens": 3000}, {}, {"budget", "dropped:reasoning"}),
        ("mistral", "", {"type": "enabled", "budget_tokens": 3000}, {"reasoning_effort": "high"}, {"budget", "coerced:reasoning_effort"}),
        ("mistral", "", {"type": "disabled"}, {"reasoning_effort": "none"}, set()),
        ("mistral", "magistral-medium-latest", {"type": "enabled", "budget_tokens": 3000}, {}, {"budget"}),
        ("xai", "grok-code-fast-1", {"type": "enabled", "budget_tokens": 3000}, {}, {"budget", "dropped:reasoning"}),
        ("xai", "grok-3-mini", {"type": "enabled", "budget_tokens": 3000}, {"reasoning_effort": "low"}, {"budget", "coerced:reasoning_effort"}),
    ],
)
def test_point_26_how_to_think(kind: str, model: str, thinking: dict[str, Any], said: dict[str, Any], lost: set[str]) -> None:
    body, found = translated("anthropic_messages", kind, claude(thinking=thinking), model)
    assert {k: v for k, v in body.items() if k in ("reasoning", "reasoning_effort", "reasoning_format", "thinking", "prompt_mode")} == said
    assert found == {"coerced:thinking_budget" if code == "budget" else code for code in lost}


def test_point_26_deepseek_does_not_think_beside_a_forced_tool() -> None:
    tools = {"tools": [{"name": "f", "input_schema": SCHEMA}], "tool_choice": {"type": "any"}}
    body, lost = translated("anthropic_messages", "deepseek", claude(**tools))
    assert (body["thinking"], body["tool_choice"], lost) == ({"type": "disabled"}, "required", set())
    body, lost = translated("anthropic_messages", "deepseek", claude(**tools), "deepseek-reasoner")
    assert "tool_choice" not in body
    assert lost == {"dropped:tool_choice"}


def test_point_27_cache_marks_for_openrouter() -> None:
    marked = {"type": "text", "text": "long", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    body, lost = translated("anthropic_messages", "openrouter", claude({"role": "user", "content": [marked]}))
    assert body["messages"][0]["content"] == [marked]
    assert not lost
    assert translated("anthropic_messages", "mistral", claude({"role": "user", "content": [marked]}))[1] == {"dropped:cache_control"}


@pytest.mark.parametrize(
    ("kind", "slot"),
    [
        ("deepseek", {"reasoning_content": "hm"}),
        ("xai", {"reasoning_content": "hm"}),
        ("groq", {"reasoning": "hm"}),
        ("cerebras", {"reasoning": "hm"}),
        ("mistral", {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}),
        (
            "openrouter",
            {"reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "c2ln", "format": "anthropic-claude-v1", "index": 0}]},
        ),
        ("gemini-openai", {}),
    ],
)
def test_point_28_29_thoughts_of_the_history(kind: str, slot: dict[str, Any]) -> None:
    body, lost = translated("anthropic_messages", kind, claude(*LOOP))
    said = body["messages"][1]
    assert {name: value for name, value in said.items() if name not in ("role", "tool_calls") and value is not None} == slot
    assert ("signature:foreign" in lost) == (kind != "openrouter")
    assert ("dropped:thinking" in lost) == (kind == "gemini-openai")


def test_point_28_claudes_signatures_pass_through_openrouter_both_ways() -> None:
    detail = {"type": "reasoning.text", "text": "hm", "signature": "c2ln", "format": "anthropic-claude-v1", "index": 0}
    hidden = {"type": "reasoning.encrypted", "data": "aGlk", "format": "anthropic-claude-v1", "index": 1}
    answer = {"role": "assistant", "content": None, "reasoning_details": [detail, hidden], "tool_calls": []}
    decoded = DIALECT.decode_request({"model": "m", "messages": [answer]}).messages[0]
    assert decoded.blocks == [Thinking("hm", Opaque("anthropic", "c2ln")), Thinking("", Opaque("anthropic", "aGlk"), redacted=True)]
    again = orjson.loads(DIALECT.encode_request(Request("m", [decoded]), facts("openrouter")).body)["messages"][0]
    assert again["reasoning_details"] == [detail, hidden]
    other = DIALECT.encode_request(Request("m", [decoded]), facts("openrouter", "z-ai/glm-5"))
    assert orjson.loads(other.body)["messages"][0]["reasoning_details"] == [{"type": "reasoning.text", "text": "hm"}]
    assert codes(other) == {"signature:foreign"}


def test_point_28_geminis_signatures_through_its_openai_endpoint_and_openrouter() -> None:
    history = [Message(Role.ASSISTANT, [ToolCall("c1", "f", "{}", Opaque("gemini", "c2ln"))]), Message(Role.USER, [ToolResult("c1", [Text("r")])])]
    sent = DIALECT.encode_request(Request("m", history), facts("gemini-openai"))
    assert orjson.loads(sent.body)["messages"][0]["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "c2ln"}}
    assert not sent.losses
    router = DIALECT.encode_request(Request("m", history), facts("openrouter", "google/gemini-3-flash"))
    assert orjson.loads(router.body)["messages"][0]["reasoning_details"] == [
        {"type": "reasoning.encrypted", "data": "c2ln", "format": "google-gemini-v1", "id": "c1", "index": 0}
    ]
    assert not router.losses
    assert codes(DIALECT.encode_request(Request("m", history), facts("mistral"))) == {"signature:foreign"}


def test_forged_details_do_no_harm() -> None:
    forged: list[Block] = [Thinking("t", Opaque("openrouter", "no json")), Thinking("u", Opaque("openrouter", "[1]"))]
    sent = DIALECT.encode_request(Request("m", [Message(Role.ASSISTANT, forged)]), facts("openrouter"))
    assert [d["text"] for d in orjson.loads(sent.body)["messages"][0]["reasoning_details"]] == ["t", "u"]


def test_mistrals_own_signatures_go_back() -> None:
    part = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "signature": "bWlz"}
    message = {"role": "assistant", "content": [part, {"type": "text", "text": "a"}]}
    request = DIALECT.decode_request({"model": "m", "messages": [message, {"role": "user", "content": "q"}]})
    sent = DIALECT.encode_request(request, facts("mistral"))
    assert orjson.loads(sent.body)["messages"][0] == message
    assert not sent.losses


def test_deepseek_wants_thoughts_with_every_call() -> None:
    bare = claude(LOOP[0], {"role": "assistant", "content": LOOP[1]["content"][1:]}, LOOP[2])
    body, lost = translated("anthropic_messages", "deepseek", bare)
    assert body["messages"][1]["reasoning_content"] == " "
    assert lost == {"defaulted:thinking"}


def test_tools_of_mistral_have_parameters() -> None:
    body = translated("openai_responses", "mistral", {"model": "m", "input": "q", "tools": [{"type": "function", "name": "f", "parameters": None}]})[
        0
    ]
    assert body["tools"][0]["function"]["parameters"] == SCHEMA


def test_no_tools_at_perplexity() -> None:
    with pytest.raises(UntranslatableError):
        translated("anthropic_messages", "perplexity", claude(tools=[{"name": "f", "input_schema": SCHEMA}]))


@pytest.mark.parametrize(
    ("model", "vendor", "efforts"),
    [
        ("openai/gpt-oss-20b", "groq", ("low", "medium", "high")),
        ("accounts/fireworks/models/gpt-oss-120b", "fireworks", ("low", "medium", "high")),
        ("grok-4-fast-reasoning", "xai", ("none", "low", "medium", "high")),
        ("grok-4.6", "xai", ("low", "medium", "high")),
        ("grok-code-fast-1", "xai", ()),
        ("grok-4.20-0309-reasoning", "xai", ()),
        ("mistral-large-latest", "mistral", ()),
        ("gemini-2.5-pro", "gemini", ("minimal", "low", "medium", "high")),
        ("anything", "groq", ()),
        ("anything", "together", ("low", "medium", "high")),
    ],
)
def test_efforts_by_the_family_of_the_model(model: str, vendor: str, efforts: tuple[str, ...]) -> None:
    by_model = frozenset({"efforts_by_model"}) if vendor in ("groq", "xai", "mistral", "gemini") else frozenset()
    assert members.efforts(Facts(model, vendor, quirks=by_model)) == efforts


def test_a_wish_to_think_is_never_answered_by_not_thinking() -> None:
    assert members.nearest("low", ("none", "high")) == "high"
    assert members.nearest("none", ("none", "high")) == "none"
    assert members.nearest("medium", ("none",)) is None
