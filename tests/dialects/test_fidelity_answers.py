"""The points that a translation between these dialects must keep, one test each, under the number that the project's list of them has.

Here: answers, streams, errors and headers, 28 to 50. Short on purpose: each shows its point at the seam; the details are tested with their
dialect, the breadth in the goldens and the recordings. Missing numbers concern vendors whose dialect is not here.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from extproc.core.dialect import Ask, Facts
from extproc.core.errors import ErrorKind
from extproc.core.headers import kept
from extproc.core.ir import End, Finish, StreamError
from extproc.dialects.catalog import DIALECTS
from tests.dialects.seam import ANTHROPIC, CHAT, GEMINI, USER, answer, chat, gemini, messages, send, sse, streamed
from tests.golden.matrix import CLIENTS, TARGETS
from tests.validators.answers import STREAMS

# reasoning


@pytest.mark.parametrize("client", ["openai_chat", "anthropic_messages"])
def test_point_28_signatures_go_round(client: str) -> None:
    """More in `test_cross`: every recorded tool loop."""
    out = answer("gemini", client, gemini({"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "c2ln"}))
    if client == "openai_chat":
        turn = out["choices"][0]["message"]
        results: list[Any] = [{"role": "tool", "tool_call_id": turn["tool_calls"][0]["id"], "content": "r"}]
    else:
        turn = {"role": "assistant", "content": out["content"]}
        results = [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": out["content"][0]["id"], "content": "r"}]}]
    back, _ = send(client, "gemini", USER, turn, *results)
    assert back["contents"][1]["parts"] == [{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "c2ln"}]
    body, losses = send(client, "anthropic_messages" if client == "openai_chat" else "openai_chat", USER, turn, *results)
    assert "c2ln" not in str(body)
    assert "signature:foreign" in losses


@pytest.mark.parametrize("member", ["reasoning_content", "reasoning"])
def test_point_29_names_of_readable_reasoning(member: str) -> None:
    content = answer("openai_chat", "anthropic_messages", chat({"content": "a", member: "think"}))["content"]
    assert content[0] == {"type": "thinking", "thinking": "think", "signature": ""}
    thought = {"type": "thinking", "thinking": "think", "signature": "s"}
    out = answer("anthropic_messages", "openai_chat", messages(thought, {"type": "text", "text": "a"}))
    assert out["choices"][0]["message"]["reasoning_content"] == "think"


# usage


def test_point_31_anthropic_counts_leave_out_the_cache() -> None:
    counts = {"input_tokens": 1, "cache_read_input_tokens": 90, "cache_creation_input_tokens": 9, "output_tokens": 5}
    usage = answer("anthropic_messages", "openai_chat", messages({"type": "text", "text": "a"}, usage=counts))["usage"]
    assert (usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"], usage["total_tokens"]) == (100, 90, 105)
    counts = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105, "prompt_tokens_details": {"cached_tokens": 90}}
    usage = answer("openai_chat", "anthropic_messages", chat({"content": "a"}, usage=counts))["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (10, 90)


def test_point_32_gemini_candidates_leave_out_thoughts() -> None:
    counts = {"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 7, "toolUsePromptTokenCount": 3}
    usage = answer("gemini", "openai_chat", gemini({"text": "a"}, usageMetadata=counts))["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (13, 12)
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 7


def test_point_34_xai_leaves_out_reasoning() -> None:
    counts = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 22, "completion_tokens_details": {"reasoning_tokens": 7}}
    assert answer("openai_chat", "anthropic_messages", chat({"content": "a"}, usage=counts))["usage"]["output_tokens"] == 12


def test_point_35_other_names_of_counts() -> None:
    for extra in (
        {"prompt_cache_hit_tokens": 6, "prompt_cache_miss_tokens": 4},
        {"num_cached_tokens": 6},
        {"prompt_tokens_details": {"cached_tokens": 6}},
    ):
        usage = chat({"content": "a"}, usage={"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11, **extra})
        assert answer("openai_chat", "anthropic_messages", usage)["usage"]["cache_read_input_tokens"] == 6


def test_point_36_counts_in_streams() -> None:
    text = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]}
    counts = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    for chunks in ([text, {"choices": [], "usage": counts}], [text | {"usage": counts}], [text | {"x_groq": {"usage": counts}}]):
        assert b'"usage":{"input_tokens":10,' in streamed("openai_chat", "anthropic_messages", sse(*chunks, b"[DONE]"))
    partial = [gemini({"text": "a"}, usageMetadata={"promptTokenCount": 10, "candidatesTokenCount": n}) for n in (1, 2, 3)]
    assert b'"completion_tokens":3' in streamed("gemini", "openai_chat", sse(*partial))
    assert send("anthropic_messages", "openai_chat", stream=True)[0]["stream_options"] == {"include_usage": True}


# streams

_HELLO = sse(
    {"choices": [{"index": 0, "delta": {"content": "a🦊"}, "finish_reason": None}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    b"[DONE]",
)


def test_point_37_order_of_events() -> None:
    out = streamed("openai_chat", "anthropic_messages", _HELLO)
    names = [line[7:] for line in out.decode().splitlines() if line.startswith("event: ")]
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    assert names == ["message_start", *block, "message_delta", "message_stop"]
    first = streamed("gemini", "openai_chat", sse(gemini({"text": "a"}))).split(b"\n")[0]
    assert b'"role":"assistant"' in first


def test_point_38_azures_first_chunk_and_obfuscation() -> None:
    first = {"choices": [], "object": "", "id": "", "model": "", "prompt_filter_results": []}
    assert streamed("openai_chat", "anthropic_messages", sse(first) + _HELLO) == streamed("openai_chat", "anthropic_messages", _HELLO)
    assert streamed("openai_chat", "anthropic_messages", _HELLO.replace(b'{"choices"', b'{"obfuscation":"x","choices"')).count(b"obfuscation") == 0


def test_point_39_terminators() -> None:
    assert streamed("gemini", "openai_chat", sse(gemini({"text": "a"}))).endswith(b"data: [DONE]\n\n")
    assert streamed("openai_chat", "anthropic_messages", _HELLO.replace(b"data: [DONE]\n\n", b"")).endswith(b'data: {"type":"message_stop"}\n\n')


def test_point_41_gemini_streams_an_array_without_sse() -> None:
    chunks = [gemini({"text": "a"}), gemini({"text": "b"})]
    assert streamed("gemini", "openai_chat", orjson.dumps(chunks), size=7) == streamed("gemini", "openai_chat", sse(*chunks))


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_point_42_any_split_and_no_clean_end_of_a_cut_stream(size: int) -> None:
    whole = streamed("openai_chat", "anthropic_messages", _HELLO)
    odd = b": comment\r\n\r\n" + _HELLO.replace(b"\n", b"\r\n").rstrip()
    assert streamed("openai_chat", "anthropic_messages", odd, size=size) == whole
    cut = streamed("openai_chat", "anthropic_messages", _HELLO[:70], size=size)
    assert b"message_stop" not in cut
    assert b"event: error" in cut


# ends, errors, headers


def test_point_43_geminis_reasons() -> None:
    functions = gemini({"functionCall": {"name": "f", "args": {}}})
    assert answer("gemini", "openai_chat", functions)["choices"][0]["finish_reason"] == "tool_calls"
    assert answer("gemini", "anthropic_messages", functions)["stop_reason"] == "tool_use"
    for word in ("SAFETY", "MODEL_ARMOR", 3):
        assert answer("gemini", "openai_chat", gemini(finish=word))["choices"][0]["finish_reason"] == "content_filter"  # type: ignore[arg-type]
    for word in ("UNEXPECTED_TOOL_CALL", "MALFORMED_FUNCTION_CALL"):
        assert GEMINI.decode_response(orjson.dumps(gemini(finish=word))).finish == "malformed_tool_call"


@pytest.mark.parametrize(("word", "finish"), [("pause_turn", "stop"), ("refusal", "content_filter"), ("model_context_window_exceeded", "length")])
def test_point_44_other_reasons(word: str, finish: str) -> None:
    assert answer("anthropic_messages", "openai_chat", messages(stop=word))["choices"][0]["finish_reason"] == finish
    assert CHAT.decode_response(orjson.dumps(chat({"content": "a"}, "eos"))).finish == "stop"


def test_point_45_refusals() -> None:
    out = answer("openai_chat", "anthropic_messages", chat({"content": None, "refusal": "No."}))
    assert (out["stop_reason"], out["stop_details"]["explanation"], out["content"][0]["text"]) == ("refusal", "No.", "No.")
    assert answer("openai_chat", "anthropic_messages", chat({"content": "a"}, "content_filter"))["stop_reason"] == "refusal"


@pytest.mark.parametrize(
    ("dialect", "status", "body", "kind"),
    [
        ("openai_chat", 400, {"code": "x", "error": "Incorrect API key provided"}, ErrorKind.AUTHENTICATION),
        ("openai_chat", 401, {"detail": "Unauthorized"}, ErrorKind.AUTHENTICATION),
        ("openai_chat", 429, {"error": {"message": "slow down", "code": 429}}, ErrorKind.RATE_LIMITED),
        ("gemini", 400, {"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}, ErrorKind.AUTHENTICATION),
        ("anthropic_messages", 529, {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, ErrorKind.OVERLOADED),
    ],
)
def test_point_46_error_envelopes_and_statuses(dialect: str, status: int, body: Any, kind: ErrorKind) -> None:
    error = DIALECTS[dialect].decode_error(status, {}, orjson.dumps(body))
    assert error.kind is kind
    for client in CLIENTS:
        given, envelope = DIALECTS[client].encode_error(error)
        overloaded = kind is ErrorKind.OVERLOADED and client == "anthropic_messages"
        refused = 403 if client == "bedrock_converse" else 401
        assert given == (refused if kind is ErrorKind.AUTHENTICATION else 529 if overloaded else given)
        assert error.message in str(orjson.loads(envelope))


def test_point_47_errors_after_a_200() -> None:
    for dialect, raw in (
        ("openai_chat", sse({"error": {"message": "x", "type": "server_error"}})),
        ("anthropic_messages", b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"x"}}\n\n'),
        ("gemini", sse({"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}})),
    ):
        decoder = DIALECTS[dialect].stream_decoder()
        events = decoder.feed(raw) + decoder.close()
        assert isinstance(events[-1], StreamError)
        assert not any(isinstance(event, Finish | End) for event in events)
        for client in CLIENTS:
            if client != dialect:
                assert STREAMS[client](streamed(dialect, client, raw)) is None


def test_point_48_how_long_to_wait() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "48.9s"}]
    body = {"error": {"code": 429, "message": "x", "status": "RESOURCE_EXHAUSTED", "details": details}}
    assert GEMINI.decode_error(429, {}, orjson.dumps(body)).retry_after == 48.9
    assert CHAT.decode_error(429, {"retry-after-ms": "1500"}, b"{}").retry_after == 1.5
    assert CHAT.decode_error(429, {"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-requests": "0"}, b"{}").retry_after == 360
    assert ANTHROPIC.decode_error(429, {"retry-after": "7"}, b"{}").retry_after == 7


def test_point_49_unknown_members() -> None:
    odd = {"client_metadata": {"a": [1, {"b": None}]}, "tools": [{"type": "namespace", "x": 1}]}
    for client in CLIENTS:
        body, losses = send(client, client, **odd)
        assert body.items() >= odd.items()
        assert not losses
    for client, to in (("openai_chat", "anthropic_messages"), ("anthropic_messages", "gemini")):
        assert "dropped:unknown_member" in send(client, to, client_metadata={"a": 1})[1]


def test_point_50_nothing_of_the_clients_key_goes_upstream() -> None:
    headers = {"authorization": "Bearer k", "x-api-key": "k", "api-key": "k", "x-goog-api-key": "k", "anthropic-beta": "b", "anthropic-version": "v"}
    assert kept(headers) == {"anthropic-beta": "b", "anthropic-version": "v"}
    built = ANTHROPIC.splice_request(b'{"model":"m"}', {"model": "m"}, Facts("m", "anthropic"), Ask(headers=kept(headers)))
    assert built.headers == {"anthropic-beta": "b", "anthropic-version": "v"}
    assert GEMINI.encode_request(CHAT.decode_request({"model": "m", "messages": [USER]}), TARGETS["gemini"].facts).path.startswith(
        "/models/gemini-2.5-flash:"
    )
