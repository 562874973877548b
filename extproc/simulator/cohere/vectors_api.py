"""Cohere's embeddings and reranking.

Wire format: https://docs.cohere.com/v2/reference/embed, https://docs.cohere.com/v2/reference/rerank
"""

from __future__ import annotations

from typing import Any

import orjson

from extproc.simulator.cohere.host import CohereHost, fields
from extproc.simulator.cohere.requests import bad
from extproc.simulator.replies import tokens
from extproc.simulator.shapes import is_int
from extproc.simulator.vectors import packed, ranked, vector
from extproc.simulator.wire import JSON, Answer, Call, Posted, Rejected

_EMBED = frozenset({"texts", "images", "inputs", "model", "input_type", "embedding_types", "output_dimension", "max_tokens", "truncate", "priority"})
_RERANK = frozenset(
    {"model", "query", "documents", "top_n", "max_tokens_per_doc", "priority", "return_documents", "max_chunks_per_doc", "rank_fields"}
)
_INPUT_TYPES = ("search_document", "search_query", "classification", "clustering", "image")
_TYPES = ("float", "int8", "uint8", "binary", "ubinary", "base64")
_LENGTHS = {"embed-v4.0": 1536, "embed-english-light-v3.0": 384, "embed-multilingual-light-v3.0": 384}
_MAX_TEXTS = 96


class CohereVectors(CohereHost):
    """POST /v2/embed, /v2/rerank and /v1/rerank."""

    def route(self, method: str, path: str, query: str) -> Call:  # noqa: ARG002 - the contract's signature
        serve = {"/v2/embed": self._embed, "/v2/rerank": self._rerank, "/v1/rerank": self._rerank}.get(path)
        if serve is None:
            raise Rejected(404, "not found")
        if method != "POST":
            raise Rejected(405, "method not allowed")
        return Call("plain", version=path[1:3], serve=serve)

    def _embed(self, posted: Posted) -> Answer:
        body = fields(posted, _EMBED)
        texts = _texts(body)
        if body.get("input_type") not in _INPUT_TYPES:
            raise bad(f"input_type must be one of {', '.join(_INPUT_TYPES)}.")
        wanted = body.get("embedding_types") or ["float"]
        if not isinstance(wanted, list) or any(t not in _TYPES for t in wanted):
            raise bad(f"embedding_types must be among {', '.join(_TYPES)}.")
        if body.get("truncate", "END") not in ("NONE", "START", "END"):
            raise bad("truncate must be one of NONE, START, END.")
        asked = body.get("output_dimension")
        if asked is not None and asked not in (256, 512, 1024, 1536):
            raise bad("output_dimension must be one of 256, 512, 1024, 1536.")
        length = asked or _LENGTHS.get(posted.model, 1024)
        numbers = [vector(text, length) for text in texts]
        embeddings = {kind: [_as(kind, n) for n in numbers] for kind in wanted}
        meta = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": sum(map(tokens, texts))}}
        document = {
            "id": self.new_id(posted.stamp, "id"),
            "texts": texts,
            "embeddings": embeddings,
            "meta": meta,
            "response_type": "embeddings_by_type",
        }
        return Answer(200, self.headers(posted.stamp, self.json_type), orjson.dumps(document))

    def _rerank(self, posted: Posted) -> Answer:
        body = fields(posted, _RERANK)
        query, documents, top = body.get("query"), body.get("documents"), body.get("top_n")
        if not isinstance(query, str) or not query:
            raise bad("query must be at least 1 token long.")
        if not isinstance(documents, list) or not documents:
            raise bad("list of documents must not be empty.")
        texts = [d if isinstance(d, str) else orjson.dumps(d).decode() for d in documents]
        if top is not None and (not is_int(top) or top < 1):
            raise bad("top_n must be greater than or equal to 1.")
        results: list[JSON] = [{"index": i, "relevance_score": score} for i, score in ranked(query, texts, top)]
        if body.get("return_documents"):
            for result in results:
                result["document"] = {"text": texts[result["index"]]}
        meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
        return Answer(
            200,
            self.headers(posted.stamp, self.json_type),
            orjson.dumps({"id": self.new_id(posted.stamp, "id"), "results": results, "meta": meta}),
        )


def _texts(body: JSON) -> list[str]:
    """What to embed; of an image its URL."""
    given = [k for k in ("texts", "images", "inputs") if body.get(k)]
    if len(given) != 1:
        raise bad("exactly one of texts, images, and inputs must be given.")
    items = body[given[0]]
    if not isinstance(items, list) or len(items) > _MAX_TEXTS:
        raise bad(f"{given[0]} must be a list of at most {_MAX_TEXTS}.")
    texts: list[str] = []
    for item in items:
        if given[0] == "inputs":
            parts: list[Any] = item["content"]
            texts.append(" ".join(p["text"] if p["type"] == "text" else p["image_url"]["url"] for p in parts))
        elif isinstance(item, str):
            texts.append(item)
        else:
            raise bad(f"{given[0]} must be a list of strings.")
    return texts


def _as(kind: str, numbers: list[float]) -> Any:
    match kind:
        case "float":
            return numbers
        case "base64":
            return packed(numbers)
        case "int8" | "uint8":
            shift = 0 if kind == "int8" else 128
            return [min(max(round(n * 1000), -128), 127) + shift for n in numbers]
    bits = [int(n > 0) for n in numbers]
    whole = [int("".join(map(str, bits[i : i + 8])), 2) for i in range(0, len(bits) - len(bits) % 8, 8)]
    return whole if kind == "ubinary" else [b - 128 for b in whole]
