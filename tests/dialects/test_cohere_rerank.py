"""Rerank between Cohere's two versions and servers compatible with OpenAI; Cohere's clients are read by Cohere's own SDK."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.dialect import NO_ASK, Ask, Dialect, Encoded, Facts, Need, Reply
from extproc.core.errors import ApiError, BadRequestError, ErrorKind, UntranslatableError, UpstreamFormatError
from extproc.core.ir import End, MessageStart, StreamError
from extproc.core.losses import meaning
from extproc.core.operation import Operation
from extproc.core.rerank import RerankRequest, RerankResponse, RerankResult
from extproc.core.usage import Usage
from extproc.dialects.catalog import DIALECTS
from extproc.providers.kinds import KINDS
from extproc.stages import pipes, upstream
from tests.dialects.cohere_recorded import needs_recordings, reranks
from tests.validators.cohere_sdk import CANNED
from tests.validators.cohere_types import check_rerank_answer, check_rerank_request

COHERE = DIALECTS["cohere_rerank"]
JINA = DIALECTS["jina_rerank"]
V1 = Ask(form="v1")
FACTS = Facts("rerank-v3.5", "cohere")
SERVED = Facts("BAAI/bge-reranker-v2-m3", "vllm")
BODY: dict[str, Any] = {"model": "alias", "query": "q", "documents": ["a", "b"], "top_n": 1}
OBJECTS = [{"text": "a", "title": "A"}, "b", {"title": "C", "n": 1}]


def send(body: dict[str, Any], ask: Ask = NO_ASK, facts: Facts = SERVED, to: Dialect = JINA) -> tuple[Encoded, Any, set[str]]:
    """(the upstream request of a Cohere client, its body parsed, the losses' codes); a sibling of Cohere's is asked by way of the canonical form."""
    raw = orjson.dumps(body)
    client = COHERE if to is JINA else JINA
    built = upstream.encode(raw, body, client, to, facts, ask)
    assert all(meaning(loss.code) for loss in built.losses)
    return built, orjson.loads(built.body), {loss.code for loss in built.losses}


# requests


def test_a_cohere_client_is_served_by_a_compatible_server() -> None:
    built, body, losses = send(BODY)
    assert built.path == "/rerank"
    assert body == {**BODY, "model": SERVED.model, "return_documents": False}
    assert losses == set()
    _, body, losses = send({**BODY, "return_documents": True, "max_chunks_per_doc": 3}, V1)
    assert body["return_documents"] is True
    assert losses == {"dropped:max_chunks_per_doc"}
    assert "return_documents" not in send(BODY, V1)[1]


def test_objects_become_lines_of_text() -> None:
    _, body, losses = send({**BODY, "documents": OBJECTS}, V1)
    assert body["documents"] == ["a", "b", "title: C\nn: 1"]
    assert losses == {"coerced:document"}
    _, body, losses = send({**BODY, "documents": OBJECTS, "rank_fields": ["title", "text"]}, V1)
    assert body["documents"] == ["title: A\ntext: a", "b", "title: C"]
    _, body, losses = send({**BODY, "documents": [{"text": "a"}]}, V1)
    assert (body["documents"], losses) == (["a"], set())


def test_what_only_cohere_has() -> None:
    knobs = {"max_tokens_per_doc": 9, "priority": 1, "relevant_spans": {"mode": "enabled"}, "novel": 1}
    _, body, losses = send(BODY | knobs)
    assert not body.keys() & knobs.keys()
    assert losses == {"dropped:max_tokens_per_doc", "dropped:priority", "dropped:relevant_spans", "dropped:unknown_member"}
    assert send(BODY | {"priority": 0, "relevant_spans": None})[2] == set()


def test_cohere_as_the_provider_of_another_format() -> None:
    built, body, losses = send(BODY | {"max_tokens_per_doc": 9, "priority": 3}, facts=FACTS, to=COHERE)
    check_rerank_request(built.body, first=False)
    assert (built.path, body["model"], body["max_tokens_per_doc"], body["priority"], losses) == ("/v2/rerank", "rerank-v3.5", 9, 3, set())
    first = {"return_documents": True, "max_tokens_per_doc": 9, "max_chunks_per_doc": 2, "priority": 3}
    built, body, losses = send(BODY | first, facts=FACTS, to=COHERE)
    check_rerank_request(built.body, first=True)
    assert (built.path, body["return_documents"], body["max_chunks_per_doc"]) == ("/v1/rerank", True, 2)
    assert losses == {"dropped:max_tokens_per_doc", "dropped:priority"}
    built, body, losses = send({**BODY, "documents": OBJECTS, "rank_fields": ["title"]}, facts=FACTS, to=COHERE)
    check_rerank_request(built.body, first=True)
    assert (built.path, body["documents"][2], body["rank_fields"]) == ("/v1/rerank", {"title": "C", "n": "1"}, ["title"])


def test_the_same_format_is_passed_on_to_the_same_version() -> None:
    raw = b'{"query":"q", "model" : "alias","documents":["a"],"novel":1}'
    for ask, path in ((NO_ASK, "/v2/rerank"), (V1, "/v1/rerank")):
        built = COHERE.splice_request(raw, orjson.loads(raw), FACTS, ask)
        assert (built.path, built.body) == (path, raw.replace(b'"alias"', b'"rerank-v3.5"'))
    assert COHERE.splice_request(raw, orjson.loads(raw), Facts("*", "cohere"), V1).body == raw
    assert JINA.splice_request(raw, orjson.loads(raw), FACTS, NO_ASK).path == "/rerank"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"query": " "}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": [1]}, "documents"),
        ({"top_n": "1"}, "top_n"),
        ({"top_n": True}, "top_n"),
        ({"rank_fields": "text"}, "rank_fields"),
        ({"return_documents": 1}, "return_documents"),
    ],
)
def test_wrong_shapes(change: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        COHERE.decode_request(BODY | change)
    assert caught.value.param == param


def test_images_are_a_need() -> None:
    body = {**BODY, "documents": [{"image": "https://x/y.png"}]}
    assert COHERE.needs(body) == {Need.VISION}
    assert Need.VISION not in COHERE.carries | JINA.carries
    for to in (COHERE, JINA):
        with pytest.raises(UntranslatableError):
            to.encode_request(COHERE.decode_request(body), SERVED)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "image", "x"]), inner, max_size=3),
    max_leaves=6,
)
NAMES = ("model", "query", "documents", "top_n", "rank_fields", "return_documents", "priority", "x")


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, JSON)) | st.builds(lambda d: BODY | {"documents": d}, st.lists(JSON)) | JSON)
def test_any_body_is_translated_or_a_400_and_what_it_needs_is_said(body: Any) -> None:
    missing = COHERE.needs(body)
    for to in (COHERE, JINA):
        try:
            to.encode_request(COHERE.decode_request(body, V1), SERVED)
        except BadRequestError:
            continue
        except UntranslatableError:
            assert missing


# answers


VLLM = {
    "id": "rerank-1",
    "model": "bge",
    "usage": {"prompt_tokens": 7, "total_tokens": 7},
    "results": [{"index": 1, "document": {"text": "b", "multi_modal": None}, "relevance_score": 0.9}],
}
LLAMA = {"model": "bge", "object": "list", "usage": {"prompt_tokens": 7, "total_tokens": 7}, "results": [{"index": 1, "relevance_score": 0.9}]}
TEI = [{"index": 1, "score": 0.9, "text": "b"}]


def translate(answer: Any, form: str = "") -> bytes:
    reply = Reply("reply-id", 1, "shown", form=form)
    body, kind, seen = pipes.translate_whole(orjson.dumps(answer), COHERE, JINA, reply, stream=False)
    assert (kind, seen.finish) == ("application/json", "")
    return body


@pytest.mark.parametrize("answer", [VLLM, LLAMA, TEI])
def test_answers_of_compatible_servers_in_the_sdk(answer: Any) -> None:
    body = translate(answer)
    check_rerank_answer(body, first=False)
    read: Any = CANNED.gives(body).client.rerank(model="m", query="q", documents=["a", "b"])
    assert [(r.index, r.relevance_score) for r in read.results] == [(1, 0.9)]
    assert CANNED.path == "/v2/rerank"
    body = translate(answer, "v1")
    check_rerank_answer(body, first=True)
    first = CANNED.gives(body).first.rerank(model="m", query="q", documents=["a", "b"], return_documents=True)
    assert CANNED.path == "/v1/rerank"
    assert [r.document and r.document.text for r in first.results] == [None if answer is LLAMA else "b"]


def test_the_first_versions_answers_hold_what_others_read_too() -> None:
    assert orjson.loads(translate(VLLM, "v1")) == {
        "id": "rerank-1",
        "results": [{"index": 1, "relevance_score": 0.9, "document": {"text": "b"}}],
        "meta": {"api_version": {"version": "1"}, "tokens": {"input_tokens": 7}},
        "model": "shown",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    }
    assert orjson.loads(translate(TEI)) == {
        "id": "reply-id",
        "results": [{"index": 1, "relevance_score": 0.9}],
        "meta": {"api_version": {"version": "2"}},
    }


def test_coheres_answers_for_clients_of_others() -> None:
    answer = {"id": "i", "results": [{"index": 0, "relevance_score": 1}], "meta": {"billed_units": {"search_units": 1.0}}}
    response = COHERE.decode_response(orjson.dumps(answer))
    assert response == RerankResponse("i", "", [RerankResult(0, 1.0)], None, 1)
    assert response.finish is None
    body, losses = JINA.encode_response(response, Reply("r", 1, "shown"))
    assert orjson.loads(body) == {"id": "i", "model": "shown", "results": [{"index": 0, "relevance_score": 1.0}]}
    assert losses == []
    response.usage = Usage(3)
    assert orjson.loads(JINA.encode_response(response, Reply("r", 1, "shown"))[0])["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    meta = orjson.loads(COHERE.encode_response(response, Reply("r", 1, "shown"))[0])["meta"]
    assert meta == {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}, "tokens": {"input_tokens": 3}}


def test_what_is_no_answer() -> None:
    for raw in (b"<html>", b"{}", b"1", b'{"results":[{"index":0}]}', b'{"results":[{"index":"0","relevance_score":1}]}', b'{"results":[1]}'):
        with pytest.raises(UpstreamFormatError):
            COHERE.decode_response(raw)
    with pytest.raises(ApiError) as caught:
        COHERE.decode_response(b'{"message":"too many tokens"}')
    assert caught.value.kind is ErrorKind.CONTEXT_LENGTH
    with pytest.raises(ApiError) as caught:
        JINA.decode_response(b'{"error":{"message":"no such model","code":"model_not_found"}}')
    assert caught.value.kind is ErrorKind.NOT_FOUND


@given(JSON | st.fixed_dictionaries({"results": JSON}, optional={"meta": JSON, "usage": JSON, "id": JSON}))
def test_any_answer_is_read_or_an_error(raw: Any) -> None:
    for dialect in (COHERE, JINA):
        try:
            response = dialect.decode_response(orjson.dumps(raw))
        except ApiError:
            continue
        dialect.encode_response(response, Reply("r", 1, "m", form="v1"))


def test_a_stream_of_it_is_an_error() -> None:
    for dialect in (COHERE, JINA):
        decoder = dialect.stream_decoder()
        assert [type(e) for e in decoder.feed(b"data: {}\n\n")] == [StreamError]
        assert decoder.close() == []
        encoder = dialect.stream_encoder(Reply("r", 1, "m"))
        assert encoder.encode(MessageStart("i", "m")) + encoder.encode(End()) == b""
        assert dialect.stream_observer(hide_usage=False).feed(b"x") == b"x"
        assert dialect.answer_type("v1", stream=True) == "application/json"


def test_errors_are_those_of_the_vendors_chat() -> None:
    status, body = COHERE.encode_error(ApiError(ErrorKind.NOT_FOUND, "model 'x' not found"))
    assert (status, orjson.loads(body)) == (404, {"message": "model 'x' not found"})
    assert COHERE.decode_error(status, {}, body).kind is ErrorKind.NOT_FOUND
    assert orjson.loads(JINA.encode_error(ApiError(ErrorKind.NOT_FOUND, "m"))[1])["error"]["message"] == "m"


# recorded


@needs_recordings
def test_recorded_exchanges() -> None:
    urls = []
    for e in reranks():
        ask = V1 if "/v1/" in e.url else NO_ASK
        request = COHERE.decode_request(e.request, ask)
        assert isinstance(request, RerankRequest)
        built = JINA.encode_request(request, SERVED)
        assert built.losses == []
        assert orjson.loads(built.body)["documents"] == e.request["documents"]
        request.return_documents = None
        again = COHERE.encode_request(request, Facts(e.request["model"], "cohere"))
        check_rerank_request(again.body, first=False)
        assert orjson.loads(again.body).items() >= {k: v for k, v in e.request.items() if v is not None}.items()
        source = orjson.loads(e.response)
        response = COHERE.decode_response(e.response)
        assert [(r.index, r.score) for r in response.results] == [(r["index"], r["relevance_score"]) for r in source["results"]]
        for form in ("", "v1"):
            body, _ = COHERE.encode_response(response, Reply("r", 1, "m", form=form))
            check_rerank_answer(body, first=form == "v1")
            told = orjson.loads(body)
            assert told["id"] == source["id"]
            assert told["meta"].get("billed_units") == source.get("meta", {}).get("billed_units")
        if "openrouter" in e.url:
            assert response.usage == Usage(17)
            assert [r.document for r in response.results] == [r["document"] for r in source["results"]]
        urls.append(e.url)
    assert len(urls) >= 6
    assert len(set(urls)) == 3


def test_who_serves_it() -> None:
    for kind in ("openai-compatible", "vllm", "llama.cpp", "together", "openrouter"):
        assert [s.dialect for s in KINDS[kind].speaks if s.operation is Operation.RERANK] == ["jina_rerank"]
    assert [s.dialect for s in KINDS["cohere"].speaks if s.operation is not Operation.PASSTHROUGH] == [
        "cohere_chat",
        "cohere_embeddings",
        "cohere_rerank",
    ]
