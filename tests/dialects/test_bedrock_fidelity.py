"""The points that a translation to and from Bedrock must keep, one test each, under the number that the project's list of them has: requests."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from extproc.core.dialect import NO_ASK
from extproc.dialects.catalog import DIALECTS
from extproc.routing.capabilities import lacking
from extproc.stages import upstream
from tests.dialects.bedrock_seam import ASKED, BEDROCK, LLAMA, NOVA, PNG, SPEC, converse, use
from tests.dialects.seam import A_TOOL, TOOL, USER, a_loop, answer, chat, loop, messages, send
from tests.dialects.seam import call as chat_call
from tests.golden.matrix import TARGETS


@pytest.mark.parametrize("call_id", ["call_" + "a" * 24, "toolu_" + "b" * 24, "Ab3dE6gH9", "call_00_" + "c" * 24, "f/1 ä", "x" * 90])
def test_point_01_tool_ids_are_opaque(call_id: str) -> None:
    body, _ = send("openai_chat", "bedrock_converse", *loop(call_id), tools=[TOOL])
    used = body["messages"][1]["content"][0]["toolUse"]["toolUseId"]
    assert used == body["messages"][2]["content"][0]["toolResult"]["toolUseId"]
    shown = answer("openai_chat", "bedrock_converse", chat({"tool_calls": [chat_call(call_id)]}, "tool_calls"))["output"]["message"]
    shown_id = shown["content"][0]["toolUse"]["toolUseId"]
    back, _ = converse("anthropic_messages", ASKED, shown["content"], [{"toolResult": {"toolUseId": shown_id, "content": [{"text": "r"}]}}])
    assert back["messages"][1]["content"][0]["id"] == back["messages"][2]["content"][0]["tool_use_id"]
    chat_back, _ = converse("openai_chat", ASKED, shown["content"], [{"toolResult": {"toolUseId": shown_id, "content": [{"text": "r"}]}}])
    if len(call_id) <= 40:
        assert chat_back["messages"][2]["tool_call_id"] == call_id


def test_point_04_results_of_parallel_calls_stand_first_in_one_turn() -> None:
    body, _ = send("openai_chat", "bedrock_converse", *loop("a", "b"), {"role": "user", "content": "and?"}, tools=[TOOL])
    assert [next(iter(block)) for block in body["messages"][2]["content"]] == ["toolResult", "toolResult", "text"]


def test_point_06_arguments_are_objects_with_their_numbers() -> None:
    big = '{"z":1,"a":123456789012345678901234567890}'
    given = {"model": "m", "messages": loop("a", arguments=big)}
    raw = upstream.encode(orjson.dumps(given), given, DIALECTS["openai_chat"], BEDROCK, TARGETS["bedrock_converse"].facts, NO_ASK).body
    assert big.encode() in raw
    body, losses = send("openai_chat", "bedrock_converse", *loop("a", arguments="not json"), tools=[TOOL])
    assert body["messages"][1]["content"][0]["toolUse"]["input"] == {"arguments": "not json"}
    assert losses == {"coerced:tool_arguments"}


def test_point_08_kinds_of_tool_results() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    result = {"tool_use_id": "a", "content": [{"type": "text", "text": "t"}, image], "is_error": True}
    body, _ = send("anthropic_messages", "bedrock_converse", *a_loop(result), tools=[A_TOOL])
    assert body["messages"][2]["content"][0]["toolResult"] == {
        "toolUseId": "a",
        "content": [{"text": "t"}, {"image": {"format": "png", "source": {"bytes": PNG}}}],
        "status": "error",
    }
    given = {"toolResult": {"toolUseId": "tooluse_1", "content": [{"json": {"x": [1]}}], "status": "error"}}
    body, _ = converse("anthropic_messages", ASKED, [use()], [given])
    block = body["messages"][2]["content"][0]
    assert (block["content"], block["is_error"]) == ([{"type": "text", "text": '{"x":[1]}'}], True)


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [("auto", {"auto": {}}), ("required", {"any": {}}), ({"type": "function", "function": {"name": "f"}}, {"tool": {"name": "f"}}), ("none", None)],
)
def test_point_09_tool_choice(choice: Any, wanted: Any) -> None:
    body, losses = send("openai_chat", "bedrock_converse", tools=[TOOL], tool_choice=choice)
    assert body.get("toolConfig", {}).get("toolChoice") == wanted
    assert ("toolConfig" in body) is (choice != "none")
    assert not losses
    if wanted is not None:
        back, _ = converse("openai_chat", ASKED, toolConfig={"tools": [SPEC], "toolChoice": wanted})
        assert back["tool_choice"] == choice


def test_point_10_a_history_with_calls_has_tools() -> None:
    body, losses = send("openai_chat", "bedrock_converse", *loop("a"))
    assert body["toolConfig"]["tools"][0]["toolSpec"]["name"] == "f"
    assert losses == {"defaulted:tools", "coerced:tool_choice"}


def test_point_11_one_call_at_a_time() -> None:
    body, losses = send("openai_chat", "bedrock_converse", tools=[TOOL], parallel_tool_calls=False)
    assert body["additionalModelRequestFields"]["tool_choice"]["disable_parallel_tool_use"] is True
    assert not losses
    assert send("openai_chat", NOVA, tools=[TOOL], parallel_tool_calls=False)[1] == {"dropped:parallel_tool_calls"}


def test_point_12_strict_tools() -> None:
    strict = {"type": "function", "function": {"name": "f", "strict": True, "parameters": {"type": "object", "properties": {}}}}
    body, _ = send("openai_chat", "bedrock_converse", tools=[strict])
    assert body["toolConfig"]["tools"][0]["toolSpec"]["strict"] is True
    body, losses = send("openai_chat", NOVA, tools=[strict])
    assert "strict" not in body["toolConfig"]["tools"][0]["toolSpec"]
    assert losses == {"dropped:strict"}


def test_point_13_schemas_and_names() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"enum": [1, None]}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    assert send("openai_chat", "bedrock_converse", tools=[tool])[0]["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"] == {"json": schema}
    assert send("openai_chat", "bedrock_converse", tools=[{"type": "function", "function": {"name": "f"}}])[0]["toolConfig"]["tools"]
    long = {"type": "function", "function": {"name": "n" * 70, "parameters": schema}}
    assert len(send("openai_chat", "bedrock_converse", tools=[long])[0]["toolConfig"]["tools"][0]["toolSpec"]["name"]) == 64


def test_point_14_system_text_in_any_place() -> None:
    history = [{"role": "system", "content": "a"}, {"role": "developer", "content": "b"}, USER, {"role": "system", "content": "c"}]
    body, losses = send("openai_chat", "bedrock_converse", *history)
    assert body["system"] == [{"text": "a"}, {"text": "b"}]
    assert body["messages"][0]["content"] == [{"text": "q"}, {"text": "<system>\nc\n</system>"}]
    assert losses == {"coerced:system_position"}


def test_point_15_runs_of_one_role_and_the_first_turn() -> None:
    body, _ = send("openai_chat", "bedrock_converse", USER, USER, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}, USER)
    assert [(m["role"], len(m["content"])) for m in body["messages"]] == [("user", 2), ("assistant", 2), ("user", 1)]
    body, losses = send("openai_chat", "bedrock_converse", {"role": "assistant", "content": "a"}, USER)
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "user"]
    assert losses == {"coerced:first_turn"}


@pytest.mark.parametrize("blank", ["", " \n", None, []])
def test_point_16_empty_things(blank: Any) -> None:
    body, _ = send("openai_chat", "bedrock_converse", USER, {"role": "assistant", "content": blank}, USER)
    assert body["messages"] == [{"role": "user", "content": [{"text": "q"}, {"text": "q"}]}]
    assert answer("openai_chat", "bedrock_converse", chat({"content": ""}))["output"]["message"]["content"] == []


def test_point_17_prefill() -> None:
    begun = [USER, {"role": "assistant", "content": "Snow "}]
    assert send("openai_chat", "bedrock_converse", *begun)[0]["messages"][-1] == {"role": "assistant", "content": [{"text": "Snow"}]}
    body, losses = send("openai_chat", LLAMA, *begun)
    assert body["messages"][-1]["role"] == "user"
    assert losses == {"coerced:prefill"}


@pytest.mark.parametrize(("kind", "name"), [("png", "png"), ("jpeg", "jpeg"), ("jpg", "jpeg"), ("gif", "gif"), ("webp", "webp")])
def test_point_18_images_are_bytes(kind: str, name: str) -> None:
    part = {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{PNG}"}}
    body, _ = send("openai_chat", "bedrock_converse", {"role": "user", "content": [part]})
    assert body["messages"][0]["content"] == [{"image": {"format": name, "source": {"bytes": PNG}}}]
    by_url = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]}
    client = DIALECTS["openai_chat"]
    assert lacking(TARGETS["bedrock_converse"], client, BEDROCK, client.needs(by_url)) == ["image_url"]


def test_point_19_media_are_kept_or_refused() -> None:
    audio = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    body, _ = send("openai_chat", NOVA, {"role": "user", "content": [audio]})
    assert body["messages"][0]["content"][0]["audio"] == {"format": "wav", "source": {"bytes": "UklGRg=="}}
    video = {"video": {"format": "mp4", "source": {"bytes": "AAAA"}}}
    assert converse("gemini", [video, {"text": "q"}])[0]["contents"][0]["parts"][0]["inlineData"]["mimeType"] == "video/mp4"
    request = {"messages": [{"role": "user", "content": [video]}]}
    assert lacking(TARGETS["anthropic_messages"], BEDROCK, DIALECTS["anthropic_messages"], BEDROCK.needs(request)) == ["video"]


def test_point_22_temperature() -> None:
    body, losses = send("openai_chat", NOVA, temperature=1.8)
    assert body["inferenceConfig"] == {"temperature": 1.0}
    assert losses == {"coerced:temperature"}


def test_point_23_stop() -> None:
    many = [f"s{n}" for n in range(30)]
    assert send("anthropic_messages", "bedrock_converse", stop_sequences=many)[0]["inferenceConfig"]["stopSequences"] == many
    shown = answer("anthropic_messages", "bedrock_converse", messages({"type": "text", "text": "a"}, stop="stop_sequence", stop_sequence="s1"))
    assert (shown["stopReason"], shown["additionalModelResponseFields"]) == ("stop_sequence", {"stop_sequence": "s1"})
    back = answer("bedrock_converse", "anthropic_messages", shown)
    assert back["stop_sequence"] == "s1"


def test_point_25_structured_output() -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}
    body, losses = send("openai_chat", "bedrock_converse", response_format=wanted)
    written = body["outputConfig"]["textFormat"]
    assert json.loads(written["structure"]["jsonSchema"]["schema"]) == schema
    assert not losses
    back, _ = converse("openai_chat", ASKED, outputConfig={"textFormat": written})
    assert back["response_format"]["json_schema"]["schema"] == schema
    assert send("openai_chat", NOVA, response_format=wanted)[1] == {"coerced:response_format"}


def test_point_26_how_much_to_think() -> None:
    assert send("openai_chat", "bedrock_converse-adaptive", reasoning_effort="high")[0]["outputConfig"] == {"effort": "high"}
    body, _ = send("anthropic_messages", "bedrock_converse", thinking={"type": "enabled", "budget_tokens": 2000})
    assert body["additionalModelRequestFields"]["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    back, _ = converse(
        "anthropic_messages", ASKED, inferenceConfig={"maxTokens": 9000}, additionalModelRequestFields=body["additionalModelRequestFields"]
    )
    assert back["thinking"] == {"type": "enabled", "budget_tokens": 2000}


def test_point_27_cache_marks_and_block_boundaries() -> None:
    marked = [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}, {"type": "text", "text": "b"}]
    body, losses = send("anthropic_messages", "bedrock_converse", {"role": "user", "content": marked}, system=marked[:1])
    point = {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert body["messages"][0]["content"] == [{"text": "a"}, point, {"text": "b"}]
    assert body["system"] == [{"text": "a"}, point]
    assert not losses
    back, _ = converse("anthropic_messages", body["messages"][0]["content"])
    assert back["messages"][0]["content"] == marked
