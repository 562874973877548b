"""Counting tokens: between all vendors that have an API for it, the recorded requests of those APIs, and chat requests that are counted."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from pathlib import Path
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import orjson
import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.core.dialect import Ask, Dialect, Facts, Reply
from extproc.core.errors import ApiError, BadRequestError, ErrorKind, UntranslatableError, UpstreamFormatError
from extproc.core.operation import Operation
from extproc.core.usage import Usage
from extproc.dialects.catalog import DIALECTS
from extproc.dialects.count_tokens import TokenCount
from extproc.providers.kinds import KINDS
from extproc.routing.capabilities import lacking
from extproc.stages import pipes, upstream
from tests.dialects import anthropic_recorded
from tests.dialects.gemini_traffic import exchanges as gemini_exchanges
from tests.dialects.gemini_traffic import needs_recordings
from tests.golden.matrix import TARGETS
from tests.validators import genai_sdk
from tests.validators.counting import ANSWERS, REQUESTS

CLIENTS = ("anthropic_count_tokens", "gemini_count_tokens", "openai_count_tokens", "bedrock_count_tokens")
UPSTREAMS: dict[str, Facts] = {
    "anthropic_count_tokens": Facts("claude-sonnet-4-5", "anthropic", 64000, 200000),
    "anthropic_count_tokens@vertex": Facts("claude-sonnet-4-5@20250929", "anthropic", 64000, 200000),
    "gemini_count_tokens": Facts("gemini-3-flash-preview", "gemini"),
    "gemini_count_tokens@vertex": Facts("gemini-2.5-flash", "gemini"),
    "openai_count_tokens": Facts("gpt-5", "openai"),
    "bedrock_count_tokens": Facts("anthropic.claude-sonnet-4-20250514-v1:0", "anthropic", 64000, 200000),
}
PATHS = {
    "anthropic_count_tokens": "/messages/count_tokens",
    "anthropic_count_tokens@vertex": "/models/count-tokens:rawPredict",
    "gemini_count_tokens": "/models/gemini-3-flash-preview:countTokens",
    "gemini_count_tokens@vertex": "/models/gemini-2.5-flash:countTokens",
    "openai_count_tokens": "/responses/input_tokens",
    "bedrock_count_tokens": "/model/anthropic.claude-sonnet-4-20250514-v1%3A0/count-tokens",
}
REPLY = Reply("id", 1, "shown")
_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
BODIES: dict[str, dict[str, Any]] = {
    "anthropic_count_tokens": {
        "model": "asked",
        "system": [{"type": "text", "text": "Be terse."}],
        "messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "-3"}]},
        ],
        "tools": [{"name": "weather", "input_schema": _SCHEMA}],
    },
    "gemini_count_tokens": {
        "generateContentRequest": {
            "model": "models/asked",
            "systemInstruction": {"parts": [{"text": "Be terse."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "Weather?"}]},
                {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {"city": "Oslo"}}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"result": "-3"}}}]},
            ],
            "tools": [{"functionDeclarations": [{"name": "weather", "parametersJsonSchema": _SCHEMA}]}],
            "generationConfig": {"temperature": 0.5, "maxOutputTokens": 10, "candidateCount": 3},
        }
    },
    "openai_count_tokens": {
        "model": "asked",
        "instructions": "Be terse.",
        "input": [
            {"role": "user", "content": "Weather?"},
            {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Oslo"}'},
            {"type": "function_call_output", "call_id": "call_1", "output": "-3"},
        ],
        "tools": [{"type": "function", "name": "weather", "parameters": _SCHEMA, "strict": False}],
    },
    "bedrock_count_tokens": {
        "input": {
            "converse": {
                "system": [{"text": "Be terse."}],
                "messages": [
                    {"role": "user", "content": [{"text": "Weather?"}]},
                    {"role": "assistant", "content": [{"toolUse": {"toolUseId": "tooluse_1", "name": "weather", "input": {"city": "Oslo"}}}]},
                    {"role": "user", "content": [{"toolResult": {"toolUseId": "tooluse_1", "content": [{"text": "-3"}]}}]},
                ],
                "toolConfig": {"tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": _SCHEMA}}}]},
            }
        }
    },
}


def send(client: str, to: str, body: dict[str, Any], **ask: Any) -> tuple[dict[str, Any], set[str]]:
    """(what the provider gets, the codes of the losses)."""
    raw = orjson.dumps(body)
    built = upstream.encode(raw, body, DIALECTS[client], DIALECTS[to], UPSTREAMS[to], Ask("asked", **ask))
    assert built.path == PATHS[to]
    return orjson.loads(built.body), {loss.code for loss in built.losses}


# requests


@pytest.mark.parametrize("to", UPSTREAMS)
@pytest.mark.parametrize("client", CLIENTS)
def test_every_pair(client: str, to: str) -> None:
    """The same conversation to every vendor: valid there, and it says the same."""
    sent, losses = send(client, to, BODIES[client])
    REQUESTS[to](orjson.dumps(sent))
    assert losses == ({"coerced:thought_signature"} if to == "gemini_count_tokens" != client else set())
    before, after = (DIALECTS[name.partition("@")[0]].decode_request(body) for name, body in ((client, BODIES[client]), (to, sent)))
    assert [b.text for m in after.messages for b in m.blocks if hasattr(b, "text")] == [
        b.text for m in before.messages for b in m.blocks if hasattr(b, "text")
    ]
    assert [tool.name for tool in after.tools] == [tool.name for tool in before.tools] == ["weather"]
    assert after.max_tokens is after.temperature is None
    assert not after.stream


def test_what_only_concerns_the_answer_is_neither_sent_nor_a_loss() -> None:
    config = {"temperature": 1.9, "topK": 5, "maxOutputTokens": 7, "stopSequences": ["x"], "seed": 1, "candidateCount": 4}
    body = {"generateContentRequest": {"model": "models/m", "contents": [{"parts": [{"text": "q"}]}], "generationConfig": config}}
    assert DIALECTS["gemini_count_tokens"].needs(body) == frozenset()
    sent, losses = send("gemini_count_tokens", "anthropic_count_tokens", body)
    assert sent == {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}]}
    assert not losses


def test_thinking_counts() -> None:
    body = BODIES["anthropic_count_tokens"] | {"messages": [{"role": "user", "content": "q"}], "thinking": {"type": "enabled", "budget_tokens": 4096}}
    sent, _ = send("anthropic_count_tokens", "anthropic_count_tokens@vertex", body)
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": 4096}
    sent, _ = send("anthropic_count_tokens", "gemini_count_tokens@vertex", body)
    assert sent["generationConfig"]["thinkingConfig"]["thinkingBudget"] == 4096


# the same dialect


def test_anthropic_is_spliced() -> None:
    raw = b'{ "model":"asked" , "messages":[{"role":"user","content":"q"}],"new_member":{"n":123456789012345678901234567890}}'
    dialect = DIALECTS["anthropic_count_tokens"]
    built = dialect.splice_request(raw, orjson.loads(raw), UPSTREAMS[dialect.name], Ask("asked", headers={"anthropic-version": "2026-10-21"}))
    assert built.body == raw.replace(b'"asked"', b'"claude-sonnet-4-5"')
    assert (built.path, built.headers) == ("/messages/count_tokens", {"anthropic-version": "2026-10-21"})
    dialect = DIALECTS["anthropic_count_tokens@vertex"]
    built = dialect.splice_request(raw, orjson.loads(raw), UPSTREAMS["anthropic_count_tokens@vertex"], Ask("asked"))
    wanted = raw[:-1].replace(b'"model":"asked" , ', b"") + b',"anthropic_version":"vertex-2023-10-16","model":"claude-sonnet-4-5@20250929"}'
    assert (built.body, built.headers) == (wanted, {})


_CONTENTS = [{"parts": [{"text": "q"}]}]
_FLAT = {"contents": _CONTENTS, "systemInstruction": {"parts": [{"text": "s"}]}, "toolConfig": {}, "model": "m"}


@pytest.mark.parametrize(
    ("body", "gemini", "vertex", "losses"),
    [
        ({"contents": _CONTENTS}, {"contents": _CONTENTS}, {"contents": _CONTENTS}, set()),
        ({"contents": _CONTENTS, "model": "models/asked"}, {"contents": _CONTENTS}, {"contents": _CONTENTS}, set()),
        (
            _FLAT,
            {"generateContentRequest": _FLAT | {"model": "models/gemini-3-flash-preview"}},
            {"contents": _CONTENTS, "systemInstruction": {"parts": [{"text": "s"}]}},
            {"dropped:unknown_member"},
        ),
        (
            {"generateContentRequest": {"model": "models/asked", "contents": _CONTENTS, "new": 1}},
            {"generateContentRequest": {"model": "models/gemini-3-flash-preview", "contents": _CONTENTS, "new": 1}},
            {"contents": _CONTENTS},
            {"dropped:unknown_member"},
        ),
        (
            {"generate_content_request": {"contents": _CONTENTS, "generation_config": {}}},
            {"generate_content_request": {"contents": _CONTENTS, "generation_config": {}, "model": "models/gemini-3-flash-preview"}},
            {"contents": _CONTENTS, "generation_config": {}},
            set(),
        ),
    ],
)
def test_each_google_api_gets_its_form(body: dict[str, Any], gemini: dict[str, Any], vertex: dict[str, Any], losses: set[str]) -> None:
    assert send("gemini_count_tokens", "gemini_count_tokens", body) == (gemini, set())
    assert send("gemini_count_tokens", "gemini_count_tokens@vertex", body) == (vertex, losses)


def test_other_vendors_state_stays_out_of_counts() -> None:
    answer = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "c",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "c2lnbmVk"},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    raw, _, _ = pipes.translate_whole(orjson.dumps(answer), DIALECTS["gemini"], DIALECTS["anthropic_messages"], REPLY, stream=False)
    candidates = genai_sdk.parse_answer(raw).candidates
    assert candidates
    assert candidates[0].content is not None
    kept = orjson.loads(types.Content.model_validate(candidates[0].content).model_dump_json(by_alias=True, exclude_none=True))
    result = {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]}
    body = {"contents": [*_CONTENTS, kept, result]}
    sent, losses = send("gemini_count_tokens", "gemini_count_tokens", body)
    assert [p["thoughtSignature"] for c in sent["contents"] for p in c["parts"] if "functionCall" in p] == ["skip_thought_signature_validator"]
    assert "signature:foreign" in losses
    sent, _ = send("gemini_count_tokens", "anthropic_count_tokens", body)
    assert sent["messages"][1]["content"] == answer["content"]


def test_bedrock_counts_what_only_it_can_read() -> None:
    dialect = DIALECTS["bedrock_count_tokens"]
    body = {"input": {"invokeModel": {"body": "e30="}}}
    assert send(dialect.name, dialect.name, body) == (body, set())
    assert dialect.needs(body) == {"raw_prompt"}
    with pytest.raises(UntranslatableError):
        dialect.decode_request(body)
    wrongs: list[dict[str, Any]] = [{}, {"input": []}, {"input": {"converse": 1}}]
    for wrong in wrongs:
        with pytest.raises(BadRequestError):
            dialect.decode_request(wrong)
    assert send(dialect.name, dialect.name, BODIES[dialect.name]) == (BODIES[dialect.name], set())


# answers


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("anthropic_count_tokens", b'{"input_tokens": 42, "context_management": {"original_input_tokens": 50}}'),
        (
            "gemini_count_tokens",
            b'{"totalTokens": 42, "totalBillableCharacters": 9, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 42}]}',
        ),
        ("openai_count_tokens", b'{"object": "response.input_tokens", "input_tokens": 42}'),
        ("bedrock_count_tokens", b'{"inputTokens": 42}'),
    ],
)
def test_answers_in_every_sdk(client: str, source: str, answer: bytes) -> None:
    out, content_type, seen = pipes.translate_whole(answer, DIALECTS[client], DIALECTS[source], REPLY, stream=False)
    assert (ANSWERS[client](out), content_type) == (42, "application/json")
    assert (seen.usage, seen.finish, seen.losses) == (Usage(42), "", [])
    watched = pipes.WatchedBody(DIALECTS[source])
    assert watched.feed(answer, end=True) is answer
    assert watched.seen.usage == Usage(42)


@pytest.mark.parametrize("name", [*CLIENTS, "anthropic_count_tokens@vertex"])
@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{}", b'{"input_tokens":"1"}', b'{"totalTokens":-1}', b'{"inputTokens":true}', b"<html>"])
def test_not_a_count(name: str, body: bytes) -> None:
    with pytest.raises(UpstreamFormatError):
        DIALECTS[name].decode_response(body)


@pytest.mark.parametrize("name", CLIENTS)
def test_an_error_under_200(name: str) -> None:
    for body in (b'{"error":{"type":"overloaded_error","code":503,"message":"busy"}}', b'{"message":"busy"}'):
        with pytest.raises(ApiError) as caught:
            DIALECTS[name].decode_response(body)
        assert type(caught.value) is ApiError


def test_errors_look_as_in_chat() -> None:
    error = ApiError(ErrorKind.NOT_FOUND, "no such model")
    for name, chat in zip(CLIENTS, ("anthropic_messages", "gemini", "openai_responses", "bedrock_converse"), strict=True):
        assert DIALECTS[name].encode_error(error) == DIALECTS[chat].encode_error(error)
    google = b'{"error":{"code":429,"message":"Quota","status":"RESOURCE_EXHAUSTED"}}'
    assert DIALECTS["anthropic_count_tokens@vertex"].decode_error(429, {}, google).kind is ErrorKind.RATE_LIMITED


def test_the_sdks_own_clients() -> None:
    """Each SDK's counting call, with what it really sends, served by Claude."""
    sent: list[dict[str, Any]] = []

    def serve(name: str, raw: bytes) -> bytes:
        body, _ = send(name, "anthropic_count_tokens", orjson.loads(raw))
        REQUESTS["anthropic_count_tokens"](orjson.dumps(body))
        sent.append(body)
        return pipes.translate_whole(b'{"input_tokens":42}', DIALECTS[name], DIALECTS["anthropic_count_tokens"], REPLY, stream=False)[0]

    def serve_openai(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=serve("openai_count_tokens", request.content), headers={"content-type": "application/json"})

    google = genai_sdk.client(lambda request: httpx.Response(200, content=serve("gemini_count_tokens", request.content)))
    assert google.models.count_tokens(model="m", contents="Weather?").total_tokens == 42
    transport = httpx2.Client(transport=httpx2.MockTransport(serve_openai))
    sdk = openai.OpenAI(api_key="unused", base_url="http://llm.internal/v1", http_client=transport)
    assert sdk.responses.input_tokens.count(model="m", input="Weather?").input_tokens == 42
    assert [body["messages"] for body in sent] == [[{"role": "user", "content": [{"type": "text", "text": "Weather?"}]}]] * 2


def test_anthropics_sdk_counts_with_gemini() -> None:
    def serve(request: httpx2.Request) -> httpx2.Response:
        body, _ = send("anthropic_count_tokens", "gemini_count_tokens", orjson.loads(request.content))
        REQUESTS["gemini_count_tokens"](orjson.dumps(body))
        upstream_answer = b'{"totalTokens":42,"promptTokensDetails":[{"modality":"TEXT","tokenCount":42}]}'
        client, source = DIALECTS["anthropic_count_tokens"], DIALECTS["gemini_count_tokens"]
        out = pipes.translate_whole(upstream_answer, client, source, REPLY, stream=False)[0]
        return httpx2.Response(200, content=out, headers={"content-type": "application/json"})

    transport = httpx2.Client(transport=httpx2.MockTransport(serve))
    sdk = anthropic.Anthropic(api_key="unused", base_url="http://llm.internal", http_client=transport)
    assert sdk.messages.count_tokens(model="m", system="s", messages=[{"role": "user", "content": "Weather?"}]).input_tokens == 42


# who can count


def test_who_counts() -> None:
    speaking = {kind.name: [s.dialect for s in kind.speaks if s.operation is Operation.COUNT_TOKENS] for kind in KINDS.values()}
    assert {name: found for name, found in speaking.items() if found} == {
        "openai": ["openai_count_tokens"],
        "anthropic": ["anthropic_count_tokens"],
        "gemini": ["gemini_count_tokens"],
        "bedrock": ["bedrock_count_tokens"],
        "vertex": ["anthropic_count_tokens@vertex", "gemini_count_tokens@vertex"],
    }
    assert TARGETS["openai_chat-compatible"].upstream(Operation.COUNT_TOKENS, "anthropic_count_tokens") is None


@pytest.mark.parametrize("name", UPSTREAMS)
def test_no_streams(name: str) -> None:
    dialect = DIALECTS[name]
    assert dialect.operation is Operation.COUNT_TOKENS
    assert dialect.answer_type("", stream=True) == "application/json"
    assert dialect.stream_decoder().feed(b"data: {}\n\n")
    assert dialect.stream_encoder(REPLY).losses == ()


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["input", "converse", "contents", "generateContentRequest", "messages", "model", "invokeModel"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(_json, st.sampled_from(CLIENTS))
def test_needs_are_total_and_decoding_refuses_cleanly(body: Any, name: str) -> None:
    dialect: Dialect = DIALECTS[name]
    assert isinstance(dialect.needs(body), frozenset)
    try:
        dialect.decode_request(body)
    except (BadRequestError, UntranslatableError):
        pass
    else:
        assert isinstance(body, dict)


# recordings

_FOLDER = Path(__file__).parents[3] / "shared" / "recordings"
_REDACTED = re.compile(rb'"[^"]*REDACTED[^"]*"')


def _recorded() -> list[tuple[str, dict[str, Any], bytes]]:
    """(dialect, request, answer) of every recorded count."""
    found = []
    for provider in ("anthropic", "gemini", "vertex", "openai"):
        with gzip.open(_FOLDER / f"{provider}.jsonl.gz") as lines:
            for line in lines:
                record = orjson.loads(line)
                path = record["url"].partition("?")[0]
                if not path.endswith(("count_tokens", "countTokens", "input_tokens")):
                    continue
                family = "gemini" if provider == "vertex" else provider
                answer = record["response_body"]
                raw = answer.encode() if isinstance(answer, str) else orjson.dumps(answer)
                found.append((f"{family}_count_tokens", record["request_body"], raw))
    return found


@needs_recordings
def test_recorded_counts() -> None:
    kinds: Counter[str] = Counter()
    for name, body, raw in _recorded():
        client = DIALECTS[name]
        counted = client.decode_response(raw)
        assert isinstance(counted, TokenCount)
        assert counted.usage.input_tokens > 10
        for other in CLIENTS:
            assert ANSWERS[other](DIALECTS[other].encode_response(counted, REPLY)[0]) == counted.usage.input_tokens
        for to in UPSTREAMS:
            kinds[_counted(name, to, body)] += 1
        kinds[name] += 1
    assert (kinds["anthropic_count_tokens"], kinds["gemini_count_tokens"], kinds["openai_count_tokens"]) == (7, 2, 2)
    assert kinds["sent"] > 45
    assert kinds["refused"] < 15


def _counted(client: str, to: str, body: dict[str, Any]) -> str:
    """What becomes of one counting request: it is valid for `to`, or a need says beforehand why it cannot be."""
    dialect, other = DIALECTS[client], DIALECTS[to]
    missing = lacking(TARGETS["gemini"], dialect, other, dialect.needs(body))
    try:
        sent, _ = send(client, to, body)
    except UntranslatableError as error:
        if not missing:
            pytest.fail(f"no need named: {error.message}")
        return "refused"
    except BadRequestError:
        return "bad"
    if missing:
        return "refused"
    if client != other.name:
        REQUESTS[to](_REDACTED.sub(b'"c2ln"', orjson.dumps(sent)))
    return "sent"


@needs_recordings
@pytest.mark.parametrize("to", UPSTREAMS)
def test_recorded_chats_can_be_counted(to: str) -> None:
    """What a client would count before it sends it."""
    kinds: Counter[str] = Counter()
    for record in anthropic_recorded.messages():
        kinds[_counted("anthropic_count_tokens", to, anthropic_recorded.body_of(record))] += 1
    for exchange in gemini_exchanges():
        request = orjson.loads(exchange.request)
        kinds[_counted("gemini_count_tokens", to, {"generateContentRequest": request | {"model": "models/m"}})] += 1
    assert kinds["sent"] > 450, kinds
    assert kinds["bad"] < 10, kinds
