"""The points that a translation to and from Bedrock must keep, one test each, under the number that the project's list of them has: answers."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from extproc.core.dialect import NO_ASK, Facts
from extproc.core.errors import ApiError, ErrorKind
from extproc.core.eventstream import event, exception
from extproc.core.ir import StreamError
from extproc.dialects.catalog import DIALECTS
from extproc.stages import pipes, upstream
from tests.dialects.bedrock_seam import ASKED, BEDROCK, converse, said, use
from tests.dialects.seam import REPLY, answer, chat, gemini, messages, sse
from tests.dialects.test_cross import NEXT
from tests.golden.matrix import CLIENTS, TARGETS
from tests.validators.answers import STREAMS
from tests.validators.bedrock_service import check_converse_stream

SIGNED = [
    {"reasoningContent": {"reasoningText": {"text": "t", "signature": "EqY="}}},
    {"reasoningContent": {"redactedContent": base64.b64encode(b"EtkE").decode()}},
    use(),
]
KEEP = SIGNED[:2]


def as_stream(*content: Any) -> bytes:
    """An answer of signed reasoning and calls as Bedrock streams it."""
    out = [event("messageStart", b'{"role":"assistant"}')]
    for n, block in enumerate(content):
        kind, inner = next(iter(block.items()))
        deltas: list[Any]
        if kind == "toolUse":
            head = {"toolUseId": inner["toolUseId"], "name": inner["name"]}
            out.append(event("contentBlockStart", orjson.dumps({"contentBlockIndex": n, "start": {"toolUse": head}})))
            deltas = [{"toolUse": {"input": orjson.dumps(inner["input"]).decode()}}]
        elif "reasoningText" in inner:
            deltas = [{"reasoningContent": {name: value}} for name, value in inner["reasoningText"].items()]
        else:
            deltas = [block]
        out += [event("contentBlockDelta", orjson.dumps({"contentBlockIndex": n, "delta": delta})) for delta in deltas]
        out.append(event("contentBlockStop", orjson.dumps({"contentBlockIndex": n})))
    out.append(event("messageStop", b'{"stopReason":"tool_use"}'))
    return b"".join([*out, event("metadata", b'{"usage":{"inputTokens":1,"outputTokens":1,"totalTokens":2}}')])


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("client", CLIENTS)
def test_point_28_an_anthropic_model_gets_its_reasoning_back(client: str, streaming: bool) -> None:
    """From every client, by its own SDK's echo; and after the loop went to another vendor, none of it."""
    if client == "bedrock_converse":
        shown = orjson.dumps(said(*SIGNED, stop="tool_use"))
    elif streaming:
        folded = STREAMS[client](pipes.TranslatedStream(DIALECTS[client], BEDROCK, REPLY).feed(as_stream(*SIGNED), end=True))
        assert folded is not None
        shown = orjson.dumps(folded)
    else:
        shown = pipes.translate_whole(orjson.dumps(said(*SIGNED, stop="tool_use")), DIALECTS[client], BEDROCK, REPLY, stream=False)[0]
    following = NEXT[client](shown)
    raw = orjson.dumps(following)
    for facts in (TARGETS["bedrock_converse"].facts, TARGETS["bedrock_converse-nova"].facts):
        built = upstream.encode(raw, orjson.loads(raw), DIALECTS[client], BEDROCK, facts, NO_ASK)
        content = orjson.loads(built.body)["messages"][1]["content"]
        assert [b for b in content if "toolUse" in b] == [use()]
        assert [b for b in content if "reasoningContent" in b] == (KEEP if facts.vendor == "anthropic" else [])
        assert ("signature:foreign" in {loss.code for loss in built.losses}) is (facts.vendor != "anthropic")
    envelope = DIALECTS["anthropic_messages@bedrock"]
    built = upstream.encode(raw, orjson.loads(raw), DIALECTS[client], envelope, TARGETS["bedrock_converse"].facts, NO_ASK)
    kinds = [block["type"] for block in orjson.loads(built.body)["messages"][1]["content"]]
    assert kinds == ["thinking", "redacted_thinking", "tool_use"]


@pytest.mark.parametrize(
    ("to", "source", "given", "wanted"),
    [
        (
            "anthropic_messages",
            "anthropic_messages",
            messages(
                {"type": "thinking", "thinking": "t", "signature": "EqY="},
                {"type": "redacted_thinking", "data": "EtkE"},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
                stop="tool_use",
            ),
            ["EqY=", "EtkE"],
        ),
        ("gemini", "gemini", gemini({"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "c2ln"}), ["c2ln"]),
    ],
)
def test_point_28_a_bedrock_client_carries_what_other_vendors_signed(to: str, source: str, given: Any, wanted: list[str]) -> None:
    content = answer(source, "bedrock_converse", given)["output"]["message"]["content"]
    call_id = content[-1]["toolUse"]["toolUseId"]
    result = [{"toolResult": {"toolUseId": call_id, "content": [{"text": "r"}]}}]
    body, losses = converse(to, ASKED, content, result)
    assert all(signature in str(body) for signature in wanted)
    assert "signature:foreign" not in losses
    other, losses = converse("openai_chat", ASKED, content, result)
    assert not any(signature in str(other) for signature in wanted)
    assert "signature:foreign" in losses
    raw = orjson.dumps(
        {"messages": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": content}, {"role": "user", "content": result}]}
    )
    spliced = upstream.encode(raw, orjson.loads(raw), BEDROCK, BEDROCK, Facts("us.amazon.nova-lite-v1:0", "bedrock"), NO_ASK).body
    assert not any(signature.encode() in spliced for signature in wanted)
    assert b"llm1" not in spliced


def test_point_33_the_total_holds_the_cache() -> None:
    usage = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 38, "cacheReadInputTokens": 20, "cacheWriteInputTokens": 10}
    out = answer("bedrock_converse", "openai_chat", said({"text": "a"}, **usage))["usage"]
    assert (out["prompt_tokens"], out["completion_tokens"], out["total_tokens"]) == (33, 5, 38)
    assert out["prompt_tokens_details"]["cached_tokens"] == 20
    back = answer("anthropic_messages", "bedrock_converse", answer("bedrock_converse", "anthropic_messages", said({"text": "a"}, **usage)))["usage"]
    assert back == usage


def test_point_36_counts_come_behind_the_stop() -> None:
    raw = pipes.translate_whole(orjson.dumps(said({"text": "a"})), DIALECTS["openai_chat"], BEDROCK, REPLY, stream=True)[0]
    assert b'"prompt_tokens":1' in raw
    chunks = [{"id": "c", "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]}]
    counted = {"id": "c", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}
    out = pipes.TranslatedStream(BEDROCK, DIALECTS["openai_chat"], REPLY).feed(sse(*chunks, counted, b"[DONE]"), end=True)
    folded = check_converse_stream(out)
    assert folded is not None
    assert folded["usage"] == {"inputTokens": 7, "outputTokens": 2, "totalTokens": 9}


def test_point_40_text_has_no_start_and_events_hold_padding() -> None:
    given = b"".join(
        [
            event("messageStart", b'{"role":"assistant","p":"abcd"}'),
            event("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":"a"},"p":"abcdefgh"}'),
            event("contentBlockStop", b'{"contentBlockIndex":0,"p":"a"}'),
            event("messageStop", b'{"stopReason":"end_turn","p":"abc"}'),
            event("metadata", b'{"usage":{"inputTokens":1,"outputTokens":1,"totalTokens":2},"metrics":{"latencyMs":1},"p":"ab"}'),
        ]
    )
    for client in CLIENTS:
        if client != "bedrock_converse":
            pipe = pipes.TranslatedStream(DIALECTS[client], BEDROCK, REPLY)
            assert STREAMS[client](pipe.feed(given, end=True)) is not None
            assert not pipe.seen.losses
    raw = pipes.translate_whole(orjson.dumps(messages({"type": "text", "text": "a"})), BEDROCK, DIALECTS["anthropic_messages"], REPLY, stream=True)[0]
    assert b"contentBlockStart" not in raw


def test_point_42_any_split_and_no_clean_end_of_a_cut_stream() -> None:
    raw = as_stream(*SIGNED)
    for size in (1, 7):
        pipe = pipes.TranslatedStream(DIALECTS["openai_chat"], BEDROCK, REPLY)
        out = b"".join(pipe.feed(raw[at : at + size], end=at + size >= len(raw)) for at in range(0, len(raw), size))
        assert STREAMS["openai_chat"](out) is not None
    for cut in range(1, len(raw) - 1, 29):
        pipe = pipes.TranslatedStream(DIALECTS["openai_chat"], BEDROCK, REPLY)
        out = pipe.feed(raw[:cut], end=True)
        assert pipe.seen.error is not None or pipe.seen.finish
        assert (b"[DONE]" in out) is (pipe.seen.error is None)


@pytest.mark.parametrize(
    ("word", "finish"),
    [
        ("end_turn", "stop"),
        ("tool_use", "tool_calls"),
        ("max_tokens", "length"),
        ("stop_sequence", "stop"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("model_context_window_exceeded", "length"),
    ],
)
def test_point_44_reasons(word: str, finish: str) -> None:
    content = use() if word == "tool_use" else {"text": "a"}
    assert answer("bedrock_converse", "openai_chat", said(content, stop=word))["choices"][0]["finish_reason"] == finish


def test_point_43_a_stop_with_calls_is_tool_use() -> None:
    assert answer("gemini", "bedrock_converse", gemini({"functionCall": {"name": "f", "args": {}}}))["stopReason"] == "tool_use"


def test_point_45_refusals() -> None:
    out = answer("openai_chat", "bedrock_converse", chat({"content": None, "refusal": "no"}))
    assert (out["stopReason"], out["output"]["message"]["content"]) == ("content_filtered", [{"text": "no"}])


@pytest.mark.parametrize(
    ("status", "word", "message", "kind"),
    [
        (400, "ValidationException", "The provided model identifier is invalid.", ErrorKind.NOT_FOUND),
        (403, "UnrecognizedClientException", "The security token included in the request is invalid.", ErrorKind.AUTHENTICATION),
        (429, "ThrottlingException", "Too many requests", ErrorKind.RATE_LIMITED),
    ],
)
def test_point_46_error_envelopes_and_statuses(status: int, word: str, message: str, kind: ErrorKind) -> None:
    error = BEDROCK.decode_error(status, {"x-amzn-errortype": word + ":http://x"}, orjson.dumps({"message": message}))
    assert error.kind is kind
    for client in CLIENTS:
        found, body = DIALECTS[client].encode_error(error)
        assert found >= 400
        assert message in body.decode()


def test_point_47_errors_after_a_200() -> None:
    raw = event("messageStart", b'{"role":"assistant"}') + exception("serviceUnavailableException", b'{"message":"busy"}')
    *_, last = BEDROCK.stream_decoder().feed(raw)
    assert isinstance(last, StreamError)
    for client in CLIENTS:
        if client != "bedrock_converse":
            assert STREAMS[client](pipes.TranslatedStream(DIALECTS[client], BEDROCK, REPLY).feed(raw, end=True)) is None
    with pytest.raises(ApiError):
        BEDROCK.decode_response(b'{"__type":"ThrottlingException","message":"slow"}')


def test_point_49_unknown_members() -> None:
    body, losses = converse("openai_chat", ASKED, performanceConfig={"latency": "optimized"}, novel=1)
    assert not {"performanceConfig", "novel"} & body.keys()
    assert losses == {"dropped:unknown_member"}
    raw = b'{"messages":[{"role":"user","content":[{"text":"q"}]}],"novel":{"x": 1}}'
    assert upstream.encode(raw, orjson.loads(raw), BEDROCK, BEDROCK, TARGETS["bedrock_converse"].facts, NO_ASK).body == raw
