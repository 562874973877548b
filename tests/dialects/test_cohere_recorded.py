"""Every recorded exchange with Cohere's chat goes through decode and encode, and what does not come out again is reported; tool loops over
several turns between a Cohere client and other vendors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extproc.core.dialect import NO_ASK, Facts, Reply
from extproc.core.ir import End, Event, Finish, Text, Thinking
from extproc.dialects.catalog import DIALECTS
from extproc.dialects.cohere_chat import CohereChat
from extproc.stages import pipes, upstream
from tests.dialects.cohere_recorded import Exchange, chats, needs_recordings
from tests.dialects.seam import gemini, messages, sse
from tests.validators.cohere_sdk import check_stream, next_messages
from tests.validators.cohere_types import check_chat_answer, check_chat_request, check_event
from tests.validators.requests import REQUESTS

COHERE = CohereChat()
REPLY = Reply("reply-id", 1, "shown")


def _missing(source: Any, other: Any, path: str = "") -> Iterator[str]:
    """Paths of `source` that `other` lacks or has otherwise."""
    if isinstance(source, dict) and isinstance(other, dict):
        for name, value in source.items():
            if name in other:
                yield from _missing(value, other[name], f"{path}.{name}")
            elif value not in (None, [], False):
                yield f"{path}.{name}"
    elif isinstance(source, list) and isinstance(other, list) and len(source) == len(other):
        for value, again in zip(source, other, strict=True):
            yield from _missing(value, again, f"{path}[]")
    elif source != other:
        yield path


def _normal_message(message: dict[str, Any]) -> dict[str, Any]:
    """One text as a string, no empty text; text beside calls as the plan that it is."""
    content = message.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content or ())
    parts = [part for part in parts if part.get("text") != ""]
    kept = {name: value for name, value in message.items() if name != "content" and value}
    if message.get("tool_calls"):
        texts = [part["text"] for part in parts if part["type"] == "text"]
        parts = [part for part in parts if part["type"] != "text"]
        kept |= {"tool_plan": "\n\n".join([*texts, kept["tool_plan"]] if "tool_plan" in kept else texts)} if texts else {}
    return kept | ({"content": parts} if parts else {})


def _whole() -> list[Exchange]:
    return [e for e in chats() if not e.stream]


def _streams() -> list[Exchange]:
    return [e for e in chats() if e.stream]


@needs_recordings
def test_there_are_enough() -> None:
    assert len(_whole()) >= 32
    assert len(_streams()) >= 10
    assert {e.status for e in chats()} == {200}


@needs_recordings
def test_requests() -> None:
    for e in chats():
        request = COHERE.decode_request(e.request)
        again = COHERE.encode_request(request, Facts(e.request["model"], "cohere"))
        check_chat_request(again.body)
        assert again.losses == [], e.name
        sent = orjson.loads(again.body)
        source = {**e.request, "messages": [_normal_message(m) for m in e.request["messages"]]}
        sent["messages"] = [_normal_message(m) for m in sent["messages"]]
        if request.losses:
            assert {loss.code for loss in request.losses} == {"coerced:document"}
            assert {path[: len(".messages[].content")] for path in _missing(source, sent)} == {".messages[].content"}, e.name
        else:
            assert list(_missing(source, sent)) == [], e.name


@needs_recordings
def test_requests_pass_untouched_to_the_same_dialect() -> None:
    for e in chats():
        raw = json.dumps(e.request, ensure_ascii=False, indent=1).encode()
        same = COHERE.splice_request(raw, e.request, Facts(e.request["model"], "cohere"), NO_ASK)
        assert (same.body, same.losses) == (raw, []), e.name
        assert orjson.loads(COHERE.splice_request(raw, e.request, Facts("other", "cohere"), NO_ASK).body) == {**e.request, "model": "other"}


@needs_recordings
def test_answers() -> None:
    seen = 0
    for e in _whole():
        source = orjson.loads(e.response)
        check_chat_answer(e.response)
        response = COHERE.decode_response(e.response)
        body, losses = COHERE.encode_response(response, REPLY)
        assert response.losses + losses == [], e.name
        again = orjson.loads(body)
        for one in (source, again):
            one["message"] = _normal_message(one["message"])
        # what was billed is left to Cohere, and images are counted as input
        tokens, said = source.pop("usage"), again.pop("usage")
        assert list(_missing(source, again)) == [], e.name
        assert said["tokens"]["input_tokens"] == tokens["tokens"]["input_tokens"] + tokens["tokens"].get("image_tokens", 0)
        assert said["tokens"]["output_tokens"] == tokens["tokens"]["output_tokens"]
        assert (said["cached_tokens"], said["tokens"].get("reasoning_tokens", 0)) == (
            tokens.get("cached_tokens", 0),
            tokens["tokens"].get("reasoning_tokens", 0),
        )
        seen += bool(response.usage and response.usage.reasoning)
    assert seen > 4


def _decode(raw: bytes, size: int = 0) -> list[Event]:
    decoder = COHERE.stream_decoder()
    size = size or max(len(raw), 1)
    return [e for i in range(0, len(raw), size) for e in decoder.feed(raw[i : i + size])] + decoder.close()


@needs_recordings
def test_streams() -> None:
    for e in _streams():
        events = _decode(e.response)
        assert isinstance(events[-1], End), e.name
        assert sum(isinstance(event, Finish) for event in events) == 1
        encoder = COHERE.stream_encoder(REPLY)
        out = b"".join([encoder.encode(event) for event in events])
        folded, source = check_stream(out), _fold(e.response)
        assert folded is not None
        assert folded["id"] == source["id"]
        assert COHERE.decode_response(orjson.dumps(folded)).usage == COHERE.decode_response(orjson.dumps(source)).usage
        del folded["usage"], source["usage"]
        for one in (folded, source):
            one["message"] = _normal_message(one["message"])
            # a tool without parameters is called with an empty object, and citations of streams are losses
            one["message"].pop("citations", None)
            for call in one["message"].get("tool_calls", ()):
                call["function"]["arguments"] = call["function"]["arguments"] or "{}"
        assert folded == source, e.name


def _fold(raw: bytes) -> dict[str, Any]:
    """The recorded events as one answer, by hand: plan, contents and calls."""
    out: dict[str, Any] = {}
    message: dict[str, Any] = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": []}
    for line in raw.splitlines():
        if not line.startswith(b"data: {"):
            continue
        event = orjson.loads(line[6:])
        delta = event.get("delta", {})
        said = delta.get("message", {})
        match event["type"]:
            case "message-start":
                out["id"] = event["id"]
            case "content-start":
                message["content"].append(said["content"])
            case "content-delta":
                message["content"][event["index"]]["text"] += said["content"]["text"]
            case "tool-plan-delta":
                message["tool_plan"] += said["tool_plan"]
            case "tool-call-start":
                message["tool_calls"].append(said["tool_calls"])
            case "tool-call-delta":
                message["tool_calls"][event["index"]]["function"]["arguments"] += said["tool_calls"]["function"]["arguments"]
            case "message-end":
                out |= delta
            case kind:
                assert kind in ("content-end", "tool-call-end", "citation-start", "citation-end")
                if kind.startswith("citation"):
                    check_event(line[6:])
    return out | {"message": message}


@needs_recordings
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@given(st.data())
def test_streams_are_the_same_however_they_are_cut(data: st.DataObject) -> None:
    e = data.draw(st.sampled_from(_streams()))
    size = data.draw(st.sampled_from([1, 2, 7, 100, 1000]))
    raw = e.response.replace(b"\n", b"\r\n") if data.draw(st.booleans()) else e.response
    assert _decode(raw, size) == _decode(e.response)


@needs_recordings
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@given(st.data())
def test_a_stream_that_is_cut_gets_no_finish(data: st.DataObject) -> None:
    e = data.draw(st.sampled_from(_streams()))
    end = e.response.index(b"event: message-end")
    cut = e.response[: data.draw(st.integers(0, end))]
    events = _decode(cut)
    assert not any(isinstance(event, Finish | End) for event in events)
    pipe = pipes.TranslatedStream(DIALECTS["openai_chat"], COHERE, REPLY)
    out = pipe.feed(cut, end=True)
    assert b'"error"' in out
    assert b"[DONE]" not in out


# several turns: hand-written answers of vendors that sign, so these run without the recordings


SIGNED = messages(
    {"type": "thinking", "thinking": "I should look.", "signature": "c2lnbmVk"},
    {"type": "text", "text": "Let me look."},
    {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}},
    {"type": "tool_use", "id": "toolu_2", "name": "f", "input": {}},
    stop="tool_use",
)
CALLING = gemini(
    {"text": "hm", "thought": True},
    {"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "Z2VtaW5p"},
    {"functionCall": {"name": "f", "args": {}}},
)


def _next_turn(answer: bytes, to: str, facts: Facts) -> tuple[dict[str, Any], set[str]]:
    """(what `to` gets, the losses' codes) when a Cohere client goes on, whose SDK sends back its own message of the answer."""
    following = {"model": "m", "messages": next_messages(answer, "What now?")}
    raw = orjson.dumps(following)
    built = upstream.encode(raw, following, COHERE, DIALECTS[to], facts, NO_ASK)
    REQUESTS[to](built.body)
    return orjson.loads(built.body), {loss.code for loss in built.losses}


def _answers(dialect: str, answer: dict[str, Any]) -> list[bytes]:
    """The answer as a Cohere client has it: whole, as a stream that was whole before, and where there is one as the vendor's stream."""
    raw = orjson.dumps(answer)
    whole, _, _ = pipes.translate_whole(raw, COHERE, DIALECTS[dialect], REPLY, stream=False)
    streams = [pipes.translate_whole(raw, COHERE, DIALECTS[dialect], REPLY, stream=True)[0]]
    if dialect == "gemini":
        streams.append(pipes.TranslatedStream(COHERE, DIALECTS["gemini"], REPLY).feed(sse(answer), end=True))
    return [whole, *(orjson.dumps(check_stream(stream)) for stream in streams)]


def test_point_28_anthropics_signature_comes_back_from_a_cohere_client() -> None:
    for answer in _answers("anthropic_messages", SIGNED):
        body, losses = _next_turn(answer, "anthropic_messages", Facts("claude-sonnet-4-5", "anthropic", 64000))
        assert body["messages"][1]["content"] == list(SIGNED["content"])
        assert [b["tool_use_id"] for b in body["messages"][2]["content"]] == ["toolu_1", "toolu_2"]
        assert losses == set()


def test_point_28_geminis_signature_comes_back_from_a_cohere_client() -> None:
    for answer in _answers("gemini", CALLING):
        body, losses = _next_turn(answer, "gemini", Facts("gemini-2.5-flash", "gemini"))
        parts = [part for part in body["contents"][1]["parts"] if "functionCall" in part]
        assert [part.get("thoughtSignature") for part in parts] == ["Z2VtaW5p", None]
        assert [part["functionCall"]["args"] for part in parts] == [{"x": 1}, {}]
        assert "signature:foreign" not in losses


@pytest.mark.parametrize(("dialect", "answer"), [("anthropic_messages", SIGNED), ("gemini", CALLING)])
def test_point_28_another_vendor_gets_no_signature(dialect: str, answer: dict[str, Any]) -> None:
    whole = _answers(dialect, answer)[0]
    for to, facts in (("openai_chat", Facts("gpt-4o", "openai")), ("anthropic_messages", Facts("claude-opus-4-7", "anthropic", 9000))):
        if to != dialect:
            body, losses = _next_turn(whole, to, facts)
            text = json.dumps(body)
            assert not any(word in text for word in ("__llm1_", "c2lnbmVk", "Z2VtaW5p"))
            assert "signature:foreign" in losses


def test_cohere_gets_its_own_thoughts_and_plan_back_from_other_clients() -> None:
    """Unsigned thoughts come back as far as the client's format echoes them; the plan is text, which all of them echo."""
    call = {"id": "f_a1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    message = {"role": "assistant", "content": [{"type": "thinking", "thinking": "why"}], "tool_plan": "I will look.", "tool_calls": [call]}
    raw = orjson.dumps({"id": "i", "finish_reason": "TOOL_CALL", "message": message})
    response = COHERE.decode_response(raw)
    assert response.blocks[:2] == [Thinking("why"), Text("I will look.")]
    facts = Facts("command-a-reasoning-08-2025", "cohere")
    for client, turns in (("openai_chat", _chat_turns), ("anthropic_messages", _messages_turns)):
        answer = orjson.loads(pipes.translate_whole(raw, DIALECTS[client], COHERE, REPLY, stream=False)[0])
        following = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "q"}, *turns(answer)]}
        built = upstream.encode(orjson.dumps(following), following, DIALECTS[client], COHERE, facts, NO_ASK)
        check_chat_request(built.body)
        assert orjson.loads(built.body)["messages"][1] == message, client
        assert orjson.loads(built.body)["messages"][2]["tool_call_id"] == "f_a1"


def _chat_turns(answer: dict[str, Any]) -> list[Any]:
    message = answer["choices"][0]["message"]
    return [message, {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "r"}]


def _messages_turns(answer: dict[str, Any]) -> list[Any]:
    result = {"type": "tool_result", "tool_use_id": answer["content"][-1]["id"], "content": "r"}
    return [{"role": "assistant", "content": answer["content"]}, {"role": "user", "content": [result]}]
