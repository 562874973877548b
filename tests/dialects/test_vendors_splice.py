"""The same format, another vendor or another model: the splice changes what the target refuses, says so, and changes nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core import carrier
from extproc.core.dialect import NO_ASK, Facts, Need
from extproc.core.errors import ApiError, UntranslatableError
from extproc.core.ir import Opaque, Thinking
from tests.dialects.vendors import CHAT, MODELS, facts, spliced

USER = {"role": "user", "content": "q"}
GPT_5, GPT_4O = Facts("gpt-5", "openai", 128000, 400000), Facts("gpt-4o", "openai", 16384, 128000)


def asked(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"model": "chat", "messages": list(messages) or [USER], **more}


def to_openai(target: Facts, body: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    built = CHAT.splice_request(json.dumps(body).encode(), body, target, NO_ASK)
    return json.loads(built.body), {loss.code for loss in built.losses}


# OpenAI's own models


def test_what_a_reasoning_model_refuses_goes_if_another_was_asked_for() -> None:
    extra = {"temperature": 0.2, "top_p": 0.9, "presence_penalty": 1, "logprobs": True, "stop": ["x"], "max_tokens": 5}
    body, lost = to_openai(GPT_5, asked(**extra))
    assert body == {"model": "gpt-5", "messages": [USER], "max_completion_tokens": 5}
    assert lost == {f"dropped:{name}" for name in extra if name != "max_tokens"}
    usual, lost = to_openai(GPT_5, asked(temperature=1, top_p=1))
    assert (usual["temperature"], usual["top_p"], lost) == (1, 1, set())


def test_who_names_the_model_knows_what_it_takes() -> None:
    extra = {"temperature": 0.2, "top_k": 5, "reasoning_effort": "xhigh", "tool_choice": "any", "random_seed": 3, "stop": list("abcdef")}
    raw = json.dumps({"model": "gpt-5", "messages": [USER], **extra}).encode()
    built = CHAT.splice_request(raw, json.loads(raw), GPT_5, NO_ASK)
    assert built.body == raw
    assert not built.losses


@pytest.mark.parametrize(
    ("model", "effort", "sent", "lost"),
    [
        ("gpt-5", "xhigh", "high", {"coerced:reasoning_effort"}),
        ("gpt-5", "minimal", "minimal", set()),
        # a wish to think, however small, is not answered by not thinking
        ("gpt-5.1", "minimal", "low", {"coerced:reasoning_effort"}),
        ("gpt-4o", "high", None, {"dropped:reasoning"}),
        ("gpt-4o", "none", None, set()),
        ("o3", "none", "low", {"coerced:reasoning_effort"}),
    ],
)
def test_efforts_that_the_model_lacks(model: str, effort: str, sent: str | None, lost: set[str]) -> None:
    body, found = to_openai(Facts(model, "openai"), asked(reasoning_effort=effort))
    assert body.get("reasoning_effort") == sent
    assert found == lost


def test_parallel_calls_are_the_o_series_no() -> None:
    assert to_openai(Facts("o3", "openai"), asked(parallel_tool_calls=False))[1] == {"dropped:parallel_tool_calls"}
    assert "parallel_tool_calls" in to_openai(GPT_4O, asked(parallel_tool_calls=False))[0]


def test_other_vendors_parameters_are_not_openais() -> None:
    mine = {"top_k": 5, "random_seed": 3, "safe_prompt": True, "reasoning_format": "parsed", "provider": {"order": []}, "tool_choice": "any"}
    body, lost = to_openai(GPT_4O, asked(**mine, novel={"a": 1}, tools=[{"type": "function", "function": {"name": "f"}}]))
    assert body.keys() == {"model", "messages", "seed", "tool_choice", "novel", "tools"}
    assert (body["seed"], body["tool_choice"], body["novel"]) == (3, "required", {"a": 1})
    assert lost == {"dropped:top_k", "dropped:unknown_member", "dropped:reasoning_show"}


def test_other_vendors_words_for_thinking() -> None:
    assert to_openai(GPT_5, asked(reasoning={"effort": "low"}))[0]["reasoning_effort"] == "low"
    assert to_openai(GPT_5, asked(reasoning={"max_tokens": 20000}))[0]["reasoning_effort"] == "high"
    body, lost = to_openai(Facts("gpt-5.1", "openai"), asked(thinking={"type": "disabled"}))
    assert (body["reasoning_effort"], "thinking" in body, lost) == ("none", False, set())


def test_echoes_of_other_vendors_answers() -> None:
    echo = {
        "role": "assistant",
        "content": "a",
        "reasoning": "t",
        "reasoning_details": [{"type": "reasoning.text", "text": "t"}],
        "images": [],
        "annotations": [],
        "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"google": {"thought_signature": "s"}}}
        ],
    }
    for name in ("chat", "gpt-4o"):
        body, lost = to_openai(GPT_4O, {"model": name, "messages": [echo]})
        assert body["messages"][0].keys() == {"role", "content", "annotations", "tool_calls"}
        assert "extra_content" not in body["messages"][0]["tool_calls"][0]
        assert lost == {"dropped:thinking", "signature:foreign"}


def test_ids_too_long_for_openai_are_shortened_alike() -> None:
    long = "pyd_ai_" + "a" * 50
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": long, "type": "function", "function": {"name": "f", "arguments": "{}"}}]}
    body, _ = to_openai(GPT_4O, asked(USER, call, {"role": "tool", "tool_call_id": long, "content": "r"}))
    short = body["messages"][1]["tool_calls"][0]["id"]
    assert short == body["messages"][2]["tool_call_id"]
    assert len(short) <= 40


def test_parts_in_mistrals_form_are_openais() -> None:
    content = [
        {"type": "image_url", "image_url": "https://e.x/a.png"},
        {"type": "document_url", "document_url": "data:application/pdf;base64,JVBE", "document_name": "a.pdf"},
        {"type": "input_audio", "input_audio": "UklGRg=="},
    ]
    said = {"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}, {"type": "text", "text": "a"}]}
    body, lost = to_openai(GPT_4O, asked({"role": "user", "content": content}, said, USER))
    assert [part["type"] for part in body["messages"][0]["content"]] == ["image_url", "file", "input_audio"]
    assert body["messages"][0]["content"][0]["image_url"] == {"url": "https://e.x/a.png"}
    assert body["messages"][0]["content"][2]["input_audio"]["format"] == "wav"
    assert body["messages"][1:] == [{"role": "assistant", "content": "a"}, USER]
    assert lost == {"dropped:thinking"}


# vendors


def test_an_openai_client_at_mistral() -> None:
    calls = [{"id": "call_abc", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    call = {"role": "assistant", "content": None, "refusal": None, "annotations": [], "name": "bot", "tool_calls": calls}
    body, lost = spliced(
        "mistral",
        asked(
            {"role": "developer", "content": "s"},
            {"role": "user", "content": "q", "name": "ada"},
            call,
            {"role": "tool", "tool_call_id": "call_abc", "content": "r"},
            {"role": "user", "content": [{"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}}]},
            stream=True,
            stream_options={"include_usage": True},
            seed=4,
            max_completion_tokens=9,
            user="u",
            logit_bias={"1": 1},
            store=False,
            service_tier="default",
            temperature=2,
            tools=[{"type": "function", "function": {"name": "f"}}],
        ),
    )
    assert [m["role"] for m in body["messages"]] == ["system", "user", "assistant", "tool", "assistant", "user"]
    assert body["messages"][2].keys() == {"role", "content", "tool_calls"}
    assert body["messages"][5]["content"][0]["type"] == "document_url"
    assert (body["random_seed"], body["max_tokens"], body["temperature"]) == (4, 9, 1.5)
    assert body.keys() == {"model", "messages", "stream", "random_seed", "max_tokens", "temperature", "tools"}
    assert lost == {
        "coerced:turn_order",
        "coerced:temperature",
        *(f"dropped:{name}" for name in ("name", "stream_options", "user", "logit_bias", "service_tier")),
    }


def test_a_mistral_client_at_mistral_is_let_alone() -> None:
    body = {
        "model": "mistral-small-latest",
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": "https://e.x/a.png"}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}, {"type": "text", "text": "a"}]},
            {"role": "assistant", "content": "A:", "prefix": True},
        ],
        "random_seed": 1,
        "safe_prompt": True,
        "tool_choice": "any",
        "prompt_mode": "reasoning",
        "stream": True,
        "novel": 1,
    }
    raw = json.dumps(body, indent=1).encode()
    built = CHAT.splice_request(raw, body, facts("mistral"), NO_ASK)
    assert (built.body, built.losses) == (raw, [])
    alias = CHAT.splice_request(raw, body | {"model": "mistral-small-latest"}, facts("mistral", "mistral-medium-latest"), NO_ASK)
    assert json.loads(alias.body) == body | {"model": "mistral-medium-latest"}


@pytest.mark.parametrize(
    ("kind", "slot", "lost"),
    [
        ("groq", "reasoning", set()),
        ("cerebras", "reasoning", set()),
        ("deepseek", "reasoning_content", set()),
        ("gemini-openai", None, {"dropped:thinking"}),
    ],
)
@pytest.mark.parametrize("echo", [{"reasoning": "t"}, {"reasoning_content": "t"}, {"reasoning_details": [{"type": "reasoning.text", "text": "t"}]}])
def test_thoughts_move_to_the_vendors_own_member(kind: str, slot: str | None, lost: set[str], echo: dict[str, Any]) -> None:
    body, found = spliced(kind, asked(USER, {"role": "assistant", "content": "a", **echo}, USER))
    assert body["messages"][1] == {"role": "assistant", "content": "a"} | ({slot: "t"} if slot else {})
    assert found == lost


def test_deepseek_switches_and_wants_thoughts() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}
    history = (USER, call, {"role": "tool", "tool_call_id": "c", "content": "r"})
    body, lost = spliced("deepseek", asked(*history, reasoning={"effort": "high"}))
    assert (body["thinking"], body["reasoning_effort"], "reasoning" in body) == ({"type": "enabled"}, "high", False)
    assert body["messages"][1]["reasoning_content"] == " "
    assert lost == {"defaulted:thinking"}
    body, lost = spliced("deepseek", asked(*history, reasoning_effort="none", thinking={"type": "disabled"}))
    assert "reasoning_content" not in body["messages"][1]
    assert not lost


def test_groq_models_that_do_not_reason() -> None:
    body, lost = spliced("groq", asked(reasoning_effort="high", reasoning_format="parsed"), "llama-3.3-70b-versatile")
    assert body == {"model": "llama-3.3-70b-versatile", "messages": [USER]}
    assert lost == {"dropped:reasoning"}


def test_grok_refuses_stop_and_penalties_while_it_reasons() -> None:
    extra = {"stop": ["x"], "frequency_penalty": 1, "presence_penalty": 1}
    assert spliced("xai", asked(**extra))[1] == {f"dropped:{name}" for name in extra}
    assert not spliced("xai", asked(**extra), "grok-4-fast-non-reasoning")[1]
    assert not spliced("xai", {"model": MODELS["xai"], "messages": [USER], **extra})[1]


def test_echoed_extra_content_stays_at_gemini_and_comes_back_from_ids() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"google": {"thought_signature": "s"}}}
    result = {"role": "tool", "tool_call_id": "c1", "content": "r"}
    body, lost = spliced("gemini-openai", asked(USER, {"role": "assistant", "content": None, "tool_calls": [call]}, result))
    assert (body["messages"][1]["tool_calls"], lost) == ([call], set())
    carried = carrier.join("c1", Opaque("gemini", "s"), [])
    told = {"role": "assistant", "content": None, "tool_calls": [{k: v for k, v in call.items() if k != "extra_content"} | {"id": carried}]}
    body, lost = spliced("gemini-openai", asked(USER, told, result | {"tool_call_id": carried}))
    assert body["messages"][1]["tool_calls"] == [call]
    assert (body["messages"][2]["tool_call_id"], lost) == ("c1", set())


def test_claudes_thoughts_in_ids_come_back_at_openrouter() -> None:
    carried = carrier.join("c1", None, [Thinking("t", Opaque("anthropic", "c2ln"))])
    told = {"role": "assistant", "content": None, "tool_calls": [{"id": carried, "type": "function", "function": {"name": "f", "arguments": "{}"}}]}
    body, lost = spliced("openrouter", asked(USER, told, {"role": "tool", "tool_call_id": carried, "content": "r"}))
    assert body["messages"][1]["reasoning_details"][0]["signature"] == "c2ln"
    assert [body["messages"][1]["tool_calls"][0]["id"], body["messages"][2]["tool_call_id"]] == ["c1", "c1"]
    assert not lost


def test_the_older_form_of_tools_is_named_before_it_is_refused() -> None:
    body = asked(functions=[{"name": "f", "parameters": {}}])
    assert Need.FUNCTIONS in CHAT.needs(body)
    with pytest.raises(UntranslatableError):
        spliced("mistral", body)
    assert spliced("groq", body)[0]["functions"] == body["functions"]


def test_strict_goes_where_a_file_says_so() -> None:
    tools = [{"type": "function", "function": {"name": "f", "strict": True}}, {"type": "function", "function": {"name": "g"}}]
    loose = Facts("m", "x", quirks=frozenset({"no_strict_tools"}))
    built = CHAT.splice_request(json.dumps(asked(tools=tools)).encode(), asked(tools=tools), loose, NO_ASK)
    assert [tool["function"] for tool in json.loads(built.body)["tools"]] == [{"name": "f"}, {"name": "g"}]
    assert [loss.code for loss in built.losses] == ["dropped:strict"]


IN_PARTS = "role content type text name tool_calls id function tool_call_id reasoning reasoning_details thinking image_url input_audio file refusal"
IN_MESSAGES = "role content tool_calls tool_call_id reasoning prefix refusal name"
IN_REQUESTS = "stop temperature reasoning thinking seed tool_choice n"


def named(names: str) -> st.SearchStrategy[str]:
    return st.sampled_from(names.split())


ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(named(IN_PARTS), inner, max_size=4),
    max_leaves=12,
)
MESSAGES = st.lists(st.dictionaries(named(IN_MESSAGES), ODD), max_size=3)


@given(messages=MESSAGES | ODD, tools=ODD, extra=st.dictionaries(named(IN_REQUESTS), ODD))
def test_any_shape_gives_json_or_a_documented_error(messages: Any, tools: Any, extra: dict[str, Any]) -> None:
    body = {"model": "chat", "messages": messages, "tools": tools, **extra}
    raw = json.dumps(body).encode()
    for kind in (*MODELS, ""):
        target = facts(kind) if kind else GPT_5
        try:
            built = CHAT.splice_request(raw, json.loads(raw), target, NO_ASK)
        except ApiError:
            continue
        assert json.loads(built.body)["model"] == target.model
