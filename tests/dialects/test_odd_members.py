"""Every member of the golden requests and answers with values that its format does not have there: only the documented errors may come of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from extproc.core.dialect import Ask, Facts, Reply
from extproc.core.errors import ApiError
from extproc.core.operation import Operation
from extproc.dialects.catalog import DIALECTS
from extproc.stages import pipes
from tests.golden.matrix import CLIENTS, TARGETS

ODD: tuple[Any, ...] = (None, {}, [{}], {"type": []}, 2**64 - 1, 1e308, "9" * 4400)
GOLDEN = Path(__file__).parent.parent / "golden"
REPLY = Reply("id", 1, "m")


def _cases(folder: Path) -> list[Any]:
    return [orjson.loads(path.read_bytes()) for path in sorted(folder.glob("*.json")) if ".golden." not in path.name and path.name != "not_json.json"]


def _places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if path:
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _places(inner, (*path, key))


def _altered(cases: list[Any]) -> Iterator[Any]:
    """One place of each kind, with each odd value in it."""
    known = set()
    for case in cases:
        for path in _places(case):
            kind = tuple("*" if isinstance(key, int) else key for key in path)
            if kind in known:
                continue
            known.add(kind)
            for odd in ODD:
                altered = copy.deepcopy(case)
                at = altered
                for key in path[:-1]:
                    at = at[key]
                at[path[-1]] = odd
                yield altered


def _targets(name: str) -> Iterator[tuple[str, Facts]]:
    for target in TARGETS.values():
        dialect = target.provider.kind.speaks[0].dialect
        if target.name in CLIENTS or target.name.endswith(("-adaptive", "-nova", "-compatible")):
            yield dialect, target.facts
    if name == "anthropic_messages":
        yield "anthropic_messages@bedrock", Facts("anthropic.claude-sonnet-4-5", "anthropic")
        yield "anthropic_messages@vertex", Facts("claude-sonnet-4-5", "anthropic")


@pytest.mark.parametrize("name", CLIENTS)
def test_a_request_with_an_odd_member_is_carried_or_refused(name: str) -> None:
    client = DIALECTS[name]
    ask = Ask("m", True)
    for body in _altered(_cases(GOLDEN / "requests" / name)):
        raw = orjson.dumps(body)
        client.needs(body)
        client.wishes(body)
        for dialect, facts in _targets(name):
            upstream = DIALECTS[dialect]
            with suppress(ApiError):
                if upstream.name == name:
                    upstream.splice_request(raw, orjson.loads(raw), facts, ask)
                else:
                    upstream.encode_request(client.decode_request(orjson.loads(raw), ask), facts)


@pytest.mark.parametrize("name", CLIENTS)
def test_an_answer_with_an_odd_member_is_carried_or_refused(name: str) -> None:
    upstream = DIALECTS[name]
    for body in _altered(_cases(GOLDEN / "responses" / name)):
        raw = orjson.dumps(body)
        upstream.decode_error(400, {}, raw)
        for client in CLIENTS:
            for stream in (False, True):
                with suppress(ApiError):
                    pipes.translate_whole(raw, DIALECTS[client], upstream, REPLY, stream=stream)


def test_a_forced_tool_of_an_odd_type_beside_thinking() -> None:
    body = {
        "model": "m",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": "a"}],
        "thinking": {"type": "adaptive"},
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": []},
    }
    facts = Facts("claude-sonnet-4-5", "anthropic")
    assert orjson.loads(DIALECTS["anthropic_messages"].splice_request(orjson.dumps(body), body, facts, Ask("m")).body)["tool_choice"] == {"type": []}


def test_a_format_of_an_odd_type_in_a_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "format": {}}}, "required": ["a"]}
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "a"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
    }
    for dialect, facts in _targets("openai_chat"):
        with suppress(ApiError):
            DIALECTS[dialect].encode_request(DIALECTS["openai_chat"].decode_request(copy.deepcopy(body)), facts)


EMBEDDINGS: dict[str, tuple[Any, ...]] = {
    "openai_embeddings": ({"model": "m", "input": ["a"], "dimensions": 3, "encoding_format": "base64"},),
    "gemini_embeddings": (
        {"content": {"parts": [{"text": "a"}]}, "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 3, "title": "t"},
        {"requests": [{"model": "models/m", "content": {"parts": [{"text": "a"}]}, "outputDimensionality": 3}]},
    ),
    "vertex_embeddings": ({"instances": [{"content": "a", "task_type": "x"}], "parameters": {"outputDimensionality": 3, "autoTruncate": True}},),
    "cohere_embeddings": ({"model": "m", "texts": ["a"], "input_type": "x", "embedding_types": ["float"], "output_dimension": 4, "truncate": "END"},),
    "ollama_embeddings": ({"model": "m", "input": ["a"], "dimensions": 3, "truncate": True, "options": {"num_ctx": 1}},),
    "cohere_rerank": ({"model": "m", "query": "q", "documents": ["a", {"text": "b"}], "top_n": 2, "max_tokens_per_doc": 3},),
}


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_inputs_with_an_odd_member_are_carried_or_refused(name: str) -> None:
    client = DIALECTS[name]
    others = [dialect for dialect in DIALECTS.values() if dialect.operation is client.operation]
    for body in _altered(list(EMBEDDINGS[name])):
        raw = orjson.dumps(body)
        client.needs(body)
        client.wishes(body)
        for form in ("", "batch", "legacy", "v1"):
            for upstream in others:
                with suppress(ApiError):
                    if upstream is client:
                        upstream.splice_request(raw, body, Facts("x", "v"), Ask("m", form=form))
                    else:
                        upstream.encode_request(client.decode_request(orjson.loads(raw), Ask("m", form=form)), Facts("x", "v"))


@pytest.mark.parametrize("code", [b'"\xc2\xb2"', b'"%b"' % (b"9" * 4400), b"[]", b"{}", b"true", b"1e308"])
def test_an_error_with_an_odd_code_is_an_error(code: bytes) -> None:
    error = b'{"error":{"message":"x","code":%b,"status":%b,"type":%b}}' % (code, code, code)
    for dialect in DIALECTS.values():
        assert dialect.decode_error(400, {}, error).message
        with suppress(ApiError):
            dialect.decode_response(error)
        if dialect.operation in (Operation.CHAT, Operation.COMPLETIONS):
            decoder = dialect.stream_decoder()
            for data in (b"data: " + error + b"\n\n", error + b"\n"):
                decoder.feed(data)
            decoder.close()
