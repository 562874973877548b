"""Ollama's embeddings, in the form of now and in the one before.

Wire format: https://github.com/ollama/ollama/blob/main/docs/api.md#generate-embeddings
"""

from __future__ import annotations

import orjson

from extproc.simulator.ollama.host import OllamaHost
from extproc.simulator.ollama.requests import bad
from extproc.simulator.replies import tokens
from extproc.simulator.shapes import is_int, unknown
from extproc.simulator.vectors import vector
from extproc.simulator.wire import JSON, Answer, Call, Posted, Rejected

_EMBED = frozenset({"model", "input", "truncate", "options", "keep_alive", "dimensions"})
_EMBEDDINGS = frozenset({"model", "prompt", "options", "keep_alive"})
_LENGTH = 768


class OllamaVectors(OllamaHost):
    """POST /api/embed and /api/embeddings."""

    def route(self, method: str, path: str, query: str) -> Call:  # noqa: ARG002 - the contract's signature
        serve = {"/api/embed": self._embed, "/api/embeddings": self._embeddings}.get(path)
        if serve is None:
            raise Rejected(404, "404 page not found")
        self.only_post(method)
        return Call("plain", serve=serve)

    def _embed(self, posted: Posted) -> Answer:
        body = _fields(posted, _EMBED)
        given = body.get("input", [])
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
            raise bad("invalid input type")
        length = body.get("dimensions") or _LENGTH
        if not is_int(length) or not 0 < length <= _LENGTH:
            raise bad("invalid dimensions")
        document = {
            "model": posted.model,
            "embeddings": [vector(t, length) for t in texts],
            "total_duration": 14143917,
            "load_duration": 1019500,
            "prompt_eval_count": sum(map(tokens, texts)),
        }
        return Answer(200, self.headers(posted.stamp, self.json_type), orjson.dumps(document))

    def _embeddings(self, posted: Posted) -> Answer:
        prompt = _fields(posted, _EMBEDDINGS).get("prompt", "")
        if not isinstance(prompt, str):
            raise bad("json: cannot unmarshal into Go struct field EmbeddingRequest.prompt of type string")
        return Answer(200, self.headers(posted.stamp, self.json_type), orjson.dumps({"embedding": vector(prompt, _LENGTH)}))


def _fields(posted: Posted, known: frozenset[str]) -> JSON:
    if posted.body is None:
        raise bad(OllamaHost.bad_json)
    if stray := unknown(posted.body, known):
        raise bad(f"json: unknown field {stray}")
    if not posted.model:
        raise bad("model is required")
    return posted.body
