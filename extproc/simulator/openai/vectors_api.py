"""OpenAI's embeddings, and rerank in the shape of Jina and of the servers that imitate both.

Wire format: https://platform.openai.com/docs/api-reference/embeddings/create, https://api.jina.ai/redoc#tag/rerank
"""

from __future__ import annotations

import orjson

from extproc.simulator.openai.chat_messages import bad, wrong_type
from extproc.simulator.openai.host import OpenAIHost
from extproc.simulator.openai.inputs import texts_of
from extproc.simulator.replies import tokens
from extproc.simulator.shapes import is_int, unknown
from extproc.simulator.vectors import packed, ranked, vector
from extproc.simulator.wire import JSON, Answer, Call, Posted, Rejected

_EMBED = frozenset({"input", "model", "dimensions", "encoding_format", "user"})
_RERANK = frozenset({"model", "query", "documents", "top_n", "return_documents", "max_tokens_per_doc", "truncation"})
_LENGTHS = {"text-embedding-3-large": 3072}
_USUAL_LENGTH = 1536


class OpenAIVectors(OpenAIHost):
    """POST /v1/embeddings and /v1/rerank, and Azure's path of the first."""

    def route(self, method: str, path: str, query: str) -> Call:
        operation, deployment, cloud = self.place(method, path, query)
        serve = {"embeddings": self._embed, "rerank": self._rerank}.get(operation)
        if serve is None:
            raise Rejected(404, f"Invalid URL ({method} {path})")
        self.only_post(method, path)
        return Call("plain", deployment, cloud=cloud, serve=serve)

    def _embed(self, posted: Posted) -> Answer:
        body = self._object(posted, _EMBED)
        inputs = texts_of(body.get("input"), "input")
        wanted = body.get("encoding_format") or "float"
        if wanted not in ("float", "base64"):
            raise bad(f"Invalid value: '{wanted}'. Supported values are: 'float' and 'base64'.", "encoding_format", "invalid_value")
        length = _LENGTHS.get(posted.model, _USUAL_LENGTH)
        asked = body.get("dimensions")
        if asked is not None:
            if not is_int(asked):
                raise wrong_type("dimensions", "an integer", asked)
            if "text-embedding-ada" in posted.model:
                raise bad("This model does not support specifying dimensions.", "dimensions")
            if not 1 <= asked <= length:
                raise bad(f"Invalid value for 'dimensions' = {asked}. Must be between 1 and {length}.", "dimensions")
        numbers = [vector(text, asked or length) for text in inputs]
        data = [{"object": "embedding", "index": i, "embedding": packed(n) if wanted == "base64" else n} for i, n in enumerate(numbers)]
        counted = sum(len(text.split()) for text in inputs)
        usage = {"prompt_tokens": counted, "total_tokens": counted}
        return self._said(posted, {"object": "list", "data": data, "model": posted.model, "usage": usage})

    def _rerank(self, posted: Posted) -> Answer:
        body = self._object(posted, _RERANK)
        query, documents, top = body.get("query"), body.get("documents"), body.get("top_n")
        if not isinstance(query, str):
            raise bad("Missing required parameter: 'query'.", "query", "missing_required_parameter")
        if not isinstance(documents, list) or not documents:
            raise bad("Missing required parameter: 'documents'.", "documents", "missing_required_parameter")
        texts: list[str] = [d.get("text", "") if isinstance(d, dict) else d for d in documents]
        if not all(isinstance(t, str) for t in texts):
            raise wrong_type("documents[0]", "a string or an object with a text", documents[0])
        if top is not None and (not is_int(top) or top < 1):
            raise wrong_type("top_n", "a positive integer", top)
        results: list[JSON] = [{"index": i, "relevance_score": score} for i, score in ranked(query, texts, top)]
        if body.get("return_documents"):
            for result in results:
                result["document"] = {"text": texts[result["index"]]}
        counted = sum(tokens(t) for t in [query, *texts])
        return self._said(posted, {"model": posted.model, "object": "list", "usage": {"total_tokens": counted}, "results": results})

    def _object(self, posted: Posted, known: frozenset[str]) -> JSON:
        if posted.body is None:
            raise Rejected(400, self.bad_json)
        if stray := unknown(posted.body, known):
            raise bad(f"Unrecognized request argument supplied: {stray}")
        if not posted.model:
            raise bad("you must provide a model parameter")
        return posted.body

    def _said(self, posted: Posted, document: JSON) -> Answer:
        return Answer(200, self.headers(posted.stamp, self.json_type), orjson.dumps(document))
