"""Rerank as Jina, vLLM, llama.cpp, Together and OpenRouter have it, at `/rerank` below their base URL: Cohere's first version with token counts.

They take texts only, and of the parameters `top_n` and, where they know it, `return_documents`. vLLM always returns documents, llama.cpp never.
Sources: https://jina.ai/reranker (API), vLLM's `RerankRequest` and `RerankResponse`, llama.cpp's `format_response_rerank`, a recorded OpenRouter
answer.
"""

from __future__ import annotations

import orjson

from extproc.core import jsonedit
from extproc.core.dialect import NO_ASK, Ask, Encoded, Facts, Reply
from extproc.core.ir import JSON, Loss
from extproc.core.losses import Losses
from extproc.core.operation import Operation
from extproc.core.raw_json import dumps
from extproc.core.rerank import RerankRequest, RerankResponse, is_plain, text_of
from extproc.core.unstreamed import Unstreamed
from extproc.dialects.cohere_rerank import answers, requests

NAME = "jina_rerank"
PATH = "/rerank"


class JinaRerank(Unstreamed):
    """The `Dialect` of `POST /rerank` at servers compatible with OpenAI. Errors are those of Chat Completions, given at construction."""

    name = NAME
    operation = Operation.RERANK
    carries: frozenset[str] = frozenset()

    def needs(self, body: JSON) -> frozenset[str]:
        return requests.needs(body)

    def decode_request(self, body: JSON, ask: Ask = NO_ASK) -> RerankRequest:  # noqa: ARG002 - everything is in the body
        return requests.decode_request(body)

    def encode_request(self, request: RerankRequest, facts: Facts) -> Encoded:
        losses = Losses()
        documents = requests.texts_only(request)
        if not all(is_plain(document) for document in documents):
            losses.add("coerced:document", "the fields of an object became lines of text")
        body: dict[str, JSON] = {
            "model": facts.wire_model if facts.model != "*" else request.model,
            "query": request.query,
            "documents": [text_of(document, request.fields) for document in documents],
        }
        if request.top_n is not None:
            body["top_n"] = request.top_n
        if request.return_documents is not None:
            body["return_documents"] = request.return_documents
        if request.max_tokens_per_doc is not None:
            losses.add("dropped:max_tokens_per_doc")
        for name, value in request.knobs.items():
            requests.dropped(name, value, losses)
        return Encoded(dumps(body), PATH, losses=losses)

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:  # noqa: ARG002 - everything is in the body
        edits: dict[str, bytes | None] = {}
        if facts.wire_model not in ("*", body.get("model")):
            edits["model"] = orjson.dumps(facts.wire_model)
        return Encoded(jsonedit.splice(raw, edits, jsonedit.scan(raw)), PATH)

    def decode_response(self, body: bytes) -> RerankResponse:
        return answers.decode_response(body, self._errors)

    def encode_response(self, response: RerankResponse, reply: Reply) -> tuple[bytes, list[Loss]]:
        out: dict[str, JSON] = {"id": response.id or reply.id, "model": reply.model, "results": answers.encode_results(response, documents=True)}
        if response.usage is not None:
            out["usage"] = answers.encode_usage(response.usage)
        return orjson.dumps(out), []
