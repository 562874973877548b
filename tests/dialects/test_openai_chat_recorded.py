"""Every recorded Chat Completions exchange, of all vendors, goes through decode and encode, and what does not come out again is reported."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from extproc.core.dialect import NO_ASK, Facts, Need, Reply
from extproc.core.errors import ErrorKind, UntranslatableError
from extproc.core.ir import End, Event, Finish, Loss, StreamError, is_content
from extproc.dialects.openai_chat import OpenAIChat
from tests.dialects.chat_recorded import (
    Exchange,
    answers,
    chunks,
    exchanges,
    folded,
    needs_recordings,
    normal_answer,
    normal_request,
    streams,
    unreported,
)
from tests.validators.openai_types import check_chat_request

pytestmark = needs_recordings
DIALECT = OpenAIChat()
REPLY = Reply("chatcmpl-fallback", 1, "shown")


def decode(pieces: list[bytes]) -> tuple[list[Event], list[Loss]]:
    decoder = DIALECT.stream_decoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.close(), list(decoder.losses)


def encode(events: list[Event]) -> tuple[bytes, list[Loss]]:
    encoder = DIALECT.stream_encoder(REPLY)
    return b"".join(map(encoder.encode, events)), list(encoder.losses)


def cut(exchange: Exchange) -> bool:
    """Two recorded streams end without a finish: one by an error event, one that never gave a reason."""
    return b'"finish_reason":"' not in exchange.response.replace(b": ", b":")


def test_there_are_enough() -> None:
    assert len(exchanges()) > 800
    assert len(answers()) > 600
    assert len(streams()) > 180


def test_requests() -> None:
    encoded = 0
    for exchange in exchanges():
        request = DIALECT.decode_request(exchange.request)
        try:
            again = DIALECT.encode_request(request, Facts(exchange.model, "openai"))
        except UntranslatableError:
            assert DIALECT.needs(exchange.request) & {Need.SERVER_TOOLS, Need.DOCUMENT_URL, Need.OUTPUT_AUDIO}, exchange.name
            continue
        check_chat_request(again.body)
        assert not unreported(normal_request(exchange.request), normal_request(orjson.loads(again.body)), request.losses + again.losses), (
            exchange.name
        )
        encoded += 1
    assert encoded > 800


def test_reasoning_details_go_back_to_openrouter_as_they_came() -> None:
    seen = 0
    for exchange in exchanges():
        facts = Facts(exchange.model, "openrouter", quirks=frozenset({"reasoning_details", "cache_control"}))
        for place, message in enumerate(exchange.request["messages"]):
            said = [d for d in message.get("reasoning_details") or () if d.keys() & {"text", "summary", "signature", "data"}]
            if said:
                one = DIALECT.decode_request({"model": "m", "messages": [exchange.request["messages"][place]]})
                again = orjson.loads(DIALECT.encode_request(one, facts).body)["messages"][0]["reasoning_details"]
                signed = [d for d in said if d.get("signature") or d.get("data")]
                assert [d for d in again if d.get("signature") or d.get("data")] == signed, exchange.name
                assert len(again) == len(said)
                seen += 1
    assert seen > 5


def test_requests_need_only_what_the_format_carries() -> None:
    odd = Counter(need for exchange in exchanges() for need in DIALECT.needs(exchange.request) - DIALECT.carries)
    assert set(odd) == {Need.SERVER_TOOLS, Need.DOCUMENT_URL, Need.PREFILL, Need.OUTPUT_AUDIO}


def echoes_vendors(body: Any) -> bool:
    """Does the history hold what only other vendors' answers have? OpenAI refuses it, whoever asks."""
    ids = [call["id"] for m in body["messages"] for call in m.get("tool_calls") or ()]
    said = [*body["messages"], *(part for m in body["messages"] if isinstance(m.get("content"), list) for part in m["content"])]
    return any(len(i) > 40 for i in ids) or any(
        one.keys() & {"reasoning", "reasoning_content", "reasoning_details", "thinking", "document_url"} for one in said
    )


def test_requests_pass_untouched_to_the_same_model() -> None:
    for exchange in exchanges():
        if exchange.model.startswith(("o1", "o3", "o4", "gpt-5")) or echoes_vendors(exchange.request):
            continue
        raw = json.dumps(exchange.request, ensure_ascii=False, indent=1).encode()
        same = DIALECT.splice_request(raw, exchange.request, Facts(exchange.model, "openai"), NO_ASK)
        if exchange.request.get("stream") is True and not DIALECT.wishes(exchange.request).usage:
            assert orjson.loads(same.body) == exchange.request | {"stream_options": {"include_usage": True}}, exchange.name
        else:
            assert same.body == raw, exchange.name
        other = DIALECT.splice_request(raw, exchange.request, Facts("another", "openai"), NO_ASK)
        after = normal_request(orjson.loads(other.body))
        assert after.pop("model") == "another"
        before = {k: v for k, v in normal_request(exchange.request).items() if k != "model"}
        assert not unreported(before, after, other.losses), exchange.name


def test_answers() -> None:
    for exchange in answers():
        response = DIALECT.decode_response(exchange.response)
        source = json.loads(exchange.response)
        body, losses = DIALECT.encode_response(response, Reply("fallback", 1, "shown", functions=DIALECT.wishes(exchange.request).functions))
        result = orjson.loads(body)
        ChatCompletion.model_validate(result, strict=True)
        assert (result["id"], result["created"], result["model"]) == (source["id"], source["created"], "shown")
        assert not unreported(normal_answer(source), normal_answer(result), response.losses + losses), exchange.name


def test_streams() -> None:
    for exchange in streams():
        events, losses = decode([exchange.response])
        if cut(exchange):
            continue
        assert [type(event) for event in events[-3:] if isinstance(event, Finish | End)] == [Finish, End], exchange.name
        out, more = encode(events)
        assert out.endswith(b"data: [DONE]\n\n")
        for chunk in chunks(out):
            ChatCompletionChunk.model_validate(chunk, strict=True)
        assert not unreported(normal_answer(folded(exchange.response)), normal_answer(folded(out)), losses + more), exchange.name


def test_any_split_of_every_stream_gives_the_same() -> None:
    for place, exchange in enumerate(streams()):
        raw = exchange.response if place % 2 else exchange.response.replace(b"\n", b"\r\n")
        whole = decode([raw])
        for size in (1, 7, 1000) if len(raw) < 20_000 else (977,):
            assert decode([raw[i : i + size] for i in range(0, len(raw), size)]) == whole, exchange.name


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_random_splits_give_the_same_bytes(data: st.DataObject) -> None:
    raw = data.draw(st.sampled_from(streams())).response
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=20)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert encode(decode(pieces)[0]) == encode(decode([raw])[0])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_cut_stream_is_never_whole(data: st.DataObject) -> None:
    exchange = data.draw(st.sampled_from([e for e in streams() if not cut(e)]))
    finish = max(exchange.response.rfind(mark) for mark in (b'"finish_reason":"', b'"finish_reason": "'))
    while (before := max(exchange.response.rfind(mark, 0, finish) for mark in (b'"finish_reason":"', b'"finish_reason": "'))) > 0:
        finish = before
    events, _ = decode([exchange.response[: data.draw(st.integers(0, finish))]])
    assert not any(isinstance(event, Finish | End | StreamError) for event in events)
    assert b"[DONE]" not in encode(events)[0]


def test_observer_passes_bytes_and_hides_only_the_usage_chunk() -> None:
    hidden = 0
    for exchange in streams():
        raw = exchange.response
        watched, hiding = DIALECT.stream_observer(hide_usage=False), DIALECT.stream_observer(hide_usage=True)
        pieces = [raw[i : i + 700] for i in range(0, len(raw), 700)]
        assert b"".join(map(watched.feed, pieces)) + watched.close() == raw
        passed = b"".join(map(hiding.feed, pieces)) + hiding.close()
        events, _ = decode([raw])
        for observer in (watched, hiding):
            assert observer.content == any(map(is_content, events))
            assert observer.ended == any(isinstance(event, End) for event in events)
            assert (observer.finish is None) == cut(exchange)
            assert (observer.error is not None) == isinstance(events[-1], StreamError)
        removed = [chunk for chunk in chunks(raw) if chunk.get("choices") == [] and chunk.get("usage")]
        assert chunks(passed) == [chunk for chunk in chunks(raw) if chunk not in removed], exchange.name
        assert passed == raw or removed
        hidden += len(removed)
    assert hidden > 50


def test_errors() -> None:
    kinds: Counter[ErrorKind] = Counter()
    for exchange in exchanges():
        if exchange.status < 400:
            continue
        error = DIALECT.decode_error(exchange.status, exchange.headers, exchange.response)
        assert error.status == exchange.status
        status, body = DIALECT.encode_error(error)
        # Groq's 400 for what its model wrote is not the client's mistake
        assert status == (502 if error.code == "tool_use_failed" else exchange.status), exchange.name
        assert orjson.loads(body)["error"]["message"]
        kinds[error.kind] += 1
    assert kinds == {
        ErrorKind.INVALID_REQUEST: kinds[ErrorKind.INVALID_REQUEST],
        ErrorKind.AUTHENTICATION: 5,
        ErrorKind.NOT_FOUND: 4,
        ErrorKind.RATE_LIMITED: 1,
        ErrorKind.CONTEXT_LENGTH: 1,
        ErrorKind.UPSTREAM: 1,
    }
