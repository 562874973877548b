"""Whole answers: finishes, usage, blocked prompts, several candidates, what clients get."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.core.dialect import Reply
from extproc.core.errors import ApiError, ErrorKind, UpstreamFormatError
from extproc.core.ir import (
    Block,
    FinishReason,
    Foreign,
    Image,
    Opaque,
    Refusal,
    Response,
    Source,
    Text,
    Thinking,
    ToolCall,
)
from extproc.core.usage import Usage
from extproc.dialects.gemini import GEMINI, signature
from extproc.dialects.gemini.wire import FINISH

REPLY = Reply("fallback", 0, "shown")


def answer(*parts: dict[str, Any], finish: Any = "STOP", **members: Any) -> bytes:
    candidate = {"content": {"parts": list(parts), "role": "model"}, "finishReason": finish, "index": 0}
    return orjson.dumps({"candidates": [candidate], "modelVersion": "m", "responseId": "r-1_x"} | members)


def encode(response: Response) -> tuple[dict[str, Any], list[str]]:
    raw, losses = GEMINI.encode_response(response, REPLY)
    return orjson.loads(raw), [loss.code for loss in losses]


def test_golden() -> None:
    body = answer(
        {"text": "hm", "thought": True},
        {"text": "Hi", "thoughtSignature": "cw=="},
        {"functionCall": {"name": "llm1_1st", "args": {"b": 1, "a": [2]}}, "thoughtSignature": "Yw=="},
        {"functionCall": {"name": "g", "id": "own"}},
        {"executableCode": {"language": "PYTHON", "code": "1"}},
        {"text": ""},
        usageMetadata={
            "promptTokenCount": 10,
            "toolUsePromptTokenCount": 3,
            "candidatesTokenCount": 5,
            "thoughtsTokenCount": 7,
            "cachedContentTokenCount": 4,
            "totalTokenCount": 25,
        },
        createTime="2026-03-12T18:06:01.734774Z",
    )
    assert GEMINI.decode_response(body) == Response(
        id="r-1_x",
        model="m",
        blocks=[
            Thinking("hm"),
            Text("Hi", opaque=Opaque("gemini", "cw==")),
            ToolCall("call_g_r-1_x_0", "1st", '{"b":1,"a":[2]}', Opaque("gemini", "Yw==")),
            ToolCall("own", "g"),
            Foreign("gemini", "executableCode", {"executableCode": {"language": "PYTHON", "code": "1"}}),
        ],
        finish=FinishReason.TOOL_CALLS,
        usage=Usage(13, 12, cache_read=4, reasoning=7),
        created=1773338761,
    )


@pytest.mark.parametrize(
    ("name", "finish", "detail"),
    [
        ("STOP", FinishReason.STOP, None),
        (1, FinishReason.STOP, None),
        ("MAX_TOKENS", FinishReason.LENGTH, None),
        (2, FinishReason.LENGTH, None),
        ("SAFETY", FinishReason.CONTENT_FILTER, "SAFETY"),
        ("RECITATION", FinishReason.CONTENT_FILTER, "RECITATION"),
        ("BLOCKLIST", FinishReason.CONTENT_FILTER, "BLOCKLIST"),
        ("PROHIBITED_CONTENT", FinishReason.CONTENT_FILTER, "PROHIBITED_CONTENT"),
        ("SPII", FinishReason.CONTENT_FILTER, "SPII"),
        ("LANGUAGE", FinishReason.CONTENT_FILTER, "LANGUAGE"),
        ("IMAGE_SAFETY", FinishReason.CONTENT_FILTER, "IMAGE_SAFETY"),
        ("MODEL_ARMOR", FinishReason.CONTENT_FILTER, "MODEL_ARMOR"),
        (10, FinishReason.CONTENT_FILTER, "MODEL_ARMOR"),
        ("MALFORMED_FUNCTION_CALL", FinishReason.MALFORMED_TOOL_CALL, "MALFORMED_FUNCTION_CALL"),
        (15, FinishReason.MALFORMED_TOOL_CALL, "UNEXPECTED_TOOL_CALL"),
        ("CONTINUATION", FinishReason.PAUSE, "CONTINUATION"),
        ("OTHER", FinishReason.OTHER, "OTHER"),
        ("INVENTED_TOMORROW", FinishReason.OTHER, "INVENTED_TOMORROW"),
        (99, FinishReason.OTHER, "FINISH_REASON_UNSPECIFIED"),
        (None, FinishReason.OTHER, "FINISH_REASON_UNSPECIFIED"),
    ],
)
def test_finishes(name: Any, finish: FinishReason, detail: str | None) -> None:
    response = GEMINI.decode_response(answer({"text": "x"}, finish=name))
    assert (response.finish, response.finish_detail) == (finish, detail)


@pytest.mark.parametrize("name", sorted(FINISH))
def test_finish_words_come_back(name: str) -> None:
    body = orjson.loads(answer({"text": "x"}, finish=name))
    body["candidates"][0]["finishMessage"] = "in: words"
    again, _ = encode(GEMINI.decode_response(orjson.dumps(body)))
    assert again["candidates"][0]["finishReason"] == name
    if name not in ("STOP", "MAX_TOKENS"):
        assert again["candidates"][0]["finishMessage"] == "in: words"


@pytest.mark.parametrize("finish", FinishReason)
def test_every_finish_has_a_word(finish: FinishReason) -> None:
    out, _ = encode(Response("r", "m", [Text("x")], finish, finish_detail="the model refused"))
    assert out["candidates"][0]["finishReason"] in FINISH
    assert out["candidates"][0]["finishMessage"] == "the model refused"


@pytest.mark.parametrize("content", [{}, {"role": "model"}, {"parts": []}, {"parts": None}, None])
def test_candidates_without_parts(content: Any) -> None:
    response = GEMINI.decode_response(orjson.dumps({"candidates": [{"content": content, "finishReason": "MAX_TOKENS"}]}))
    assert (response.blocks, response.finish) == ([], FinishReason.LENGTH)


def test_blocked_prompt_there_and_back() -> None:
    feedback = {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": "not: this"}
    response = GEMINI.decode_response(orjson.dumps({"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 3}, "responseId": "r"}))
    assert (response.blocks, response.finish) == ([], FinishReason.CONTENT_FILTER)
    assert response.finish_detail == "PROMPT_BLOCKED PROHIBITED_CONTENT: not: this"
    again, _ = encode(response)
    assert again["promptFeedback"] == feedback
    assert "candidates" not in again
    assert GEMINI.decode_response(orjson.dumps({"promptFeedback": {"blockReason": 5}})).finish_detail == "PROMPT_BLOCKED MODEL_ARMOR"


def test_first_of_several_candidates() -> None:
    candidates = [{"index": n, "content": {"parts": [{"text": str(n)}]}, "finishReason": "STOP"} for n in (1, 0)]
    response = GEMINI.decode_response(orjson.dumps({"candidates": candidates}))
    assert response.blocks == [Text("0")]
    assert [loss.code for loss in response.losses] == ["dropped:choices"]


def test_grounding_rides_on_the_last_text() -> None:
    body = orjson.loads(answer({"text": "a"}, {"text": "b"}))
    grounding = {"groundingMetadata": {"webSearchQueries": ["q"]}, "citationMetadata": {"citations": [{}]}}
    body["candidates"][0] |= grounding | {"logprobsResult": {}, "safetyRatings": []}
    response = GEMINI.decode_response(orjson.dumps(body))
    assert response.blocks == [Text("a"), Text("b", citations=[grounding], citations_from="gemini")]
    assert [loss.code for loss in response.losses] == ["dropped:logprobs"]
    again, losses = encode(response)
    assert grounding.items() <= again["candidates"][0].items()
    assert losses == []


def test_ids_do_not_collide() -> None:
    call = {"functionCall": {"name": "f", "args": {}}}
    blocks = GEMINI.decode_response(answer(call, {"text": "x"}, call)).blocks
    assert [b.id for b in blocks if isinstance(b, ToolCall)] == ["call_g_r-1_x_0", "call_g_r-1_x_1"]
    bodies = [orjson.dumps({"candidates": [{"content": {"parts": [call]}}], "usageMetadata": {"promptTokenCount": n}}) for n in (1, 2, 1)]
    ids = [b.id for body in bodies for b in GEMINI.decode_response(body).blocks if isinstance(b, ToolCall)]
    assert ids[0] == ids[2] != ids[1]


def test_an_image_of_the_answer() -> None:
    response = GEMINI.decode_response(answer({"inlineData": {"mimeType": "image/png", "data": "aGk="}, "thoughtSignature": "cw=="}))
    assert response.blocks == [Image(Source("image/png", data="aGk="))]
    assert [loss.code for loss in response.losses] == ["dropped:thoughtSignature"]


def test_a_video_of_the_answer_stays_gemini_own() -> None:
    part = {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://x"}}
    assert GEMINI.decode_response(answer(part)).blocks == [Foreign("gemini", "fileData", part)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"5",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"candidates": {}}',
        b'{"candidates": ["x"]}',
        b'{"candidates": [{"content": 1}]}',
        b'{"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": ' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"}}]}}]}",
    ],
)
def test_not_this_dialect(body: bytes) -> None:
    with pytest.raises(UpstreamFormatError):
        GEMINI.decode_response(body)


@pytest.mark.parametrize("wrap", [False, True])
def test_an_error_under_200(wrap: bool) -> None:
    error = {"error": {"code": 429, "message": "Resource exhausted", "status": "RESOURCE_EXHAUSTED"}}
    with pytest.raises(ApiError) as caught:
        GEMINI.decode_response(orjson.dumps([error] if wrap else error))
    assert (caught.value.kind, caught.value.status) == (ErrorKind.RATE_LIMITED, 429)


def test_encode_golden() -> None:
    response = Response(
        id="msg_1",
        model="claude",
        blocks=[
            Thinking("why", Opaque("anthropic", "sig")),
            Text("Hi", citations=[{}], citations_from="anthropic_messages"),
            Refusal("no"),
            ToolCall("toolu_1", "f", '{"z":1,"a":2}'),
            ToolCall("toolu_2", "g"),
            Foreign("anthropic_messages", "server_tool_use", {}),
        ],
        finish=FinishReason.TOOL_CALLS,
        usage=Usage(10, 5, cache_read=3, reasoning=2),
        stop_sequence="END",
    )
    out, losses = encode(response)
    slots = [part.pop("thoughtSignature", None) for part in out["candidates"][0]["content"]["parts"]]
    assert [signature.read(slot) for slot in slots] == [
        *[("", None, [])] * 3,
        ("toolu_1", None, [Thinking("why", Opaque("anthropic", "sig"))]),
        ("toolu_2", None, []),
    ]
    assert out == {
        "candidates": [
            {
                "content": {
                    "parts": [
                        {"text": "why", "thought": True},
                        {"text": "Hi"},
                        {"text": "no"},
                        {"functionCall": {"id": "toolu_1", "name": "f", "args": {"z": 1, "a": 2}}},
                        {"functionCall": {"id": "toolu_2", "name": "g", "args": {}}},
                    ],
                    "role": "model",
                },
                "finishReason": "STOP",
                "index": 0,
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 10,
            "candidatesTokenCount": 3,
            "thoughtsTokenCount": 2,
            "cachedContentTokenCount": 3,
            "totalTokenCount": 15,
        },
        "modelVersion": "shown",
        "responseId": "msg_1",
    }
    assert losses == ["coerced:refusal", "dropped:foreign_block", "dropped:stop_sequence", "dropped:citations"]


@pytest.mark.parametrize(("blocks", "texts"), [([Text("a")], ["a"]), ([], [""]), ([Text("a", opaque=Opaque("openai", "y"))], ["a", ""])])
def test_signed_thinking_without_a_call_rides_on_the_last_text(blocks: list[Block], texts: list[str]) -> None:
    hidden = Thinking("", Opaque("anthropic", "x"), redacted=True)
    out, losses = encode(Response("", "m", [hidden, *blocks], FinishReason.STOP))
    parts = out["candidates"][0]["content"]["parts"]
    assert [part["text"] for part in parts] == texts
    assert signature.read(parts[-1]["thoughtSignature"]) == ("", None, [hidden])
    assert out["responseId"] == "fallback"
    assert losses == []


_blocks = st.sampled_from(
    [
        Text("t"),
        Text("", opaque=Opaque("gemini", "x")),
        Thinking("h", Opaque("anthropic", "s")),
        Refusal(""),
        ToolCall("c", "f", "broken"),
        ToolCall("c", "f", "{}", Opaque("openai", "s")),
        Image(Source(url="https://x.test/a")),
        Foreign("x", "y", 5),
    ]
)


@settings(max_examples=100, deadline=None)
@given(st.lists(_blocks, max_size=5), st.sampled_from(FinishReason))
def test_encoding_is_total_and_reads_back(blocks: list[Block], finish: FinishReason) -> None:
    raw, _ = GEMINI.encode_response(Response("r", "m", blocks, finish), REPLY)
    assert GEMINI.decode_response(raw).id == "r"
