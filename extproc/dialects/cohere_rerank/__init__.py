"""Rerank: Cohere's format in both versions, and the one that servers compatible with OpenAI answer with.

`CohereRerank` has two forms: "" is `/v2/rerank`, which takes texts; "v1" is `/v1/rerank`, which takes objects too and gives documents back. On
that path speak also clients of Jina, Together and vLLM, so its answers hold what either kind of client reads.
Wire format: https://docs.cohere.com/reference/rerank, https://docs.cohere.com/v1/reference/rerank, the SDK's types, recorded exchanges.
"""

from __future__ import annotations

import orjson

from extproc.core import jsonedit
from extproc.core.dialect import NO_ASK, Ask, Encoded, Facts, Reply
from extproc.core.ir import JSON, Loss
from extproc.core.losses import Losses
from extproc.core.operation import Operation
from extproc.core.raw_json import dumps
from extproc.core.rerank import RerankRequest, RerankResponse, is_plain, value_text
from extproc.core.unstreamed import Unstreamed
from extproc.dialects.cohere_rerank import answers, requests
from extproc.dialects.cohere_rerank.jina import JinaRerank

NAME = "cohere_rerank"
V1 = "v1"
PATH = "/v2/rerank"
PATH_V1 = "/v1/rerank"

_KNOBS = {PATH: frozenset({"priority", "relevant_spans"}), PATH_V1: frozenset({"max_chunks_per_doc"})}
"""Parameters that one version has and the other has not."""

__all__ = ["CohereRerank", "JinaRerank"]


class CohereRerank(Unstreamed):
    """The `Dialect` of `POST /v2/rerank` and `/v1/rerank`. Errors are those of Cohere's chat, given at construction."""

    name = NAME
    operation = Operation.RERANK
    carries: frozenset[str] = frozenset()

    def needs(self, body: JSON) -> frozenset[str]:
        return requests.needs(body)

    def decode_request(self, body: JSON, ask: Ask = NO_ASK) -> RerankRequest:
        request = requests.decode_request(body)
        if ask.form != V1:
            # the second version's answers hold no documents
            request.return_documents = False
        return request

    def encode_request(self, request: RerankRequest, facts: Facts) -> Encoded:
        """The first version, where only that can do what the request asks for."""
        losses = Losses()
        structured = not all(is_plain(document) for document in request.documents)
        path = PATH_V1 if request.return_documents or structured else PATH
        body: dict[str, JSON] = {"model": facts.wire_model if facts.model != "*" else request.model, "query": request.query}
        if structured:
            body["documents"] = [d if isinstance(d, str) else {k: value_text(v) for k, v in d.items()} for d in requests.texts_only(request)]
            if request.fields:
                body["rank_fields"] = request.fields
        else:
            body["documents"] = [d if isinstance(d, str) else d["text"] for d in request.documents]
        if request.top_n is not None:
            body["top_n"] = request.top_n
        if request.return_documents:
            body["return_documents"] = True
        if request.max_tokens_per_doc is not None:
            if path == PATH:
                body["max_tokens_per_doc"] = request.max_tokens_per_doc
            else:
                losses.add("dropped:max_tokens_per_doc", "the first version, which returns documents, has none")
        for name, value in request.knobs.items():
            if name in _KNOBS[path]:
                body[name] = value
            else:
                requests.dropped(name, value, losses)
        return Encoded(dumps(body), path, losses=losses)

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:
        edits: dict[str, bytes | None] = {}
        if facts.wire_model not in ("*", body.get("model")):
            edits["model"] = orjson.dumps(facts.wire_model)
        return Encoded(jsonedit.splice(raw, edits, jsonedit.scan(raw)), PATH_V1 if ask.form == V1 else PATH)

    def decode_response(self, body: bytes) -> RerankResponse:
        return answers.decode_response(body, self._errors)

    def encode_response(self, response: RerankResponse, reply: Reply) -> tuple[bytes, list[Loss]]:
        first = reply.form == V1
        meta: dict[str, JSON] = {"api_version": {"version": "1" if first else "2"}}
        if response.search_units is not None:
            meta["billed_units"] = {"search_units": response.search_units}
        if response.usage is not None:
            meta["tokens"] = {"input_tokens": response.usage.input_tokens}
        out: dict[str, JSON] = {"id": response.id or reply.id, "results": answers.encode_results(response, documents=first), "meta": meta}
        if first:
            out["model"] = reply.model
            if response.usage is not None:
                out["usage"] = answers.encode_usage(response.usage)
        return orjson.dumps(out), []
