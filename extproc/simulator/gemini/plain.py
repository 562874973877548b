"""Gemini's embeddings and token counts, and Vertex AI's predict for embedding models.

Wire format: https://ai.google.dev/api/embeddings, https://ai.google.dev/api/tokens
"""

from __future__ import annotations

from typing import Any

import orjson

from extproc.simulator.gemini.contents import bad, list_of, object_of
from extproc.simulator.gemini.host import GeminiHost
from extproc.simulator.gemini.requests import MEMBERS, read
from extproc.simulator.replies import tokens
from extproc.simulator.shapes import is_int
from extproc.simulator.vectors import vector
from extproc.simulator.wire import JSON, Answer, Call, Posted, Rejected

_EMBED = frozenset({"model", "content", "taskType", "title", "outputDimensionality", "embedContentConfig"})
_CONFIG = frozenset({"taskType", "title", "outputDimensionality", "autoTruncate", "audioTrackExtraction", "documentOcr"})
_TASKS = frozenset(
    {
        *("TASK_TYPE_UNSPECIFIED", "RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT", "SEMANTIC_SIMILARITY", "CLASSIFICATION", "CLUSTERING"),
        *("QUESTION_ANSWERING", "FACT_VERIFICATION", "CODE_RETRIEVAL_QUERY"),
    }
)
_LENGTH = 3072


class GeminiPlain(GeminiHost):
    """POST :embedContent, :batchEmbedContents and :countTokens of a model, also below Vertex AI's paths, and :predict there."""

    def route(self, method: str, path: str, query: str) -> Call:  # noqa: ARG002 - the contract's signature
        version, model, operation, cloud = self.place(path)
        serve = {"embedContent": self._embed, "batchEmbedContents": self._embed_batch, "countTokens": self._count}.get(operation)
        if operation == "predict" and cloud:
            serve = self._predict
        if serve is None or method != "POST":
            raise Rejected(404, "Not Found")
        return Call("plain", model, version=version, cloud=cloud, serve=serve)

    def _embed(self, posted: Posted) -> Answer:
        numbers, counted = self._one(self._object(posted, _EMBED), posted.model, "")
        return self._said(posted, {"embedding": {"values": numbers}, "usageMetadata": {"promptTokenCount": counted}})

    def _embed_batch(self, posted: Posted) -> Answer:
        requests = list_of(self._object(posted, frozenset({"requests"})).get("requests"), "requests")
        embeddings: list[JSON] = []
        counted = 0
        for i, one in enumerate(requests):
            request = object_of(one, _EMBED, f"requests[{i}]")
            if request.get("model") != f"models/{posted.model}":
                raise bad(f"* BatchEmbedContentsRequest.requests[{i}].model: must be models/{posted.model}\n")
            numbers, size = self._one(request, posted.model, f"requests[{i}].")
            embeddings.append({"values": numbers})
            counted += size
        return self._said(posted, {"embeddings": embeddings, "usageMetadata": {"promptTokenCount": counted}})

    def _one(self, request: JSON, model: str, at: str) -> tuple[list[float], int]:
        """The vector and the tokens of one content."""
        if request.get("model") not in (None, f"models/{model}"):
            raise bad(f"* EmbedContentRequest.{at}model: unexpected model name format\n")
        content = object_of(request.get("content"), frozenset({"role", "parts"}), f"{at}content")
        texts = []
        for j, raw in enumerate(list_of(content.get("parts"), f"{at}content.parts")):
            part = object_of(raw, frozenset({"text", "inlineData", "fileData"}), f"{at}content.parts[{j}]")
            texts.append(str(part.get("text", orjson.dumps(part).decode())))
        if not texts:
            raise bad(f"* EmbedContentRequest.{at}content: empty Part\n")
        settings = request | object_of(request.get("embedContentConfig") or {}, _CONFIG, f"{at}embed_content_config")
        if settings.get("taskType", "TASK_TYPE_UNSPECIFIED") not in _TASKS:
            raise bad(f"Invalid value at '{at}task_type' (type.googleapis.com/google.ai.generativelanguage.v1beta.TaskType)")
        text = "\n".join(texts)
        return vector(text, _length(settings.get("outputDimensionality"))), tokens(text)

    def _predict(self, posted: Posted) -> Answer:
        body = self._object(posted, frozenset({"instances", "parameters"}))
        parameters = object_of(body.get("parameters") or {}, frozenset({"autoTruncate", "outputDimensionality"}), "parameters")
        predictions = []
        for i, raw in enumerate(list_of(body.get("instances"), "instances")):
            instance = raw if isinstance(raw, dict) else {}
            text = instance.get("content")
            if not isinstance(text, str) or set(instance) - {"content", "task_type", "title"}:
                raise bad(f"Invalid instance at instances[{i}]: content must be a text, beside it may be task_type and title.")
            numbers = vector(text, _length(parameters.get("outputDimensionality")))
            statistics = {"truncated": False, "token_count": tokens(text)}
            predictions.append({"embeddings": {"values": numbers, "statistics": statistics}})
        return self._said(posted, {"predictions": predictions, "metadata": {"billableCharacterCount": 1}})

    def _count(self, posted: Posted) -> Answer:
        body = self._object(posted, MEMBERS | {"generateContentRequest"})
        inner: Any = body.get("generateContentRequest", body)
        if inner is not body and len(body) > 1:
            raise bad("* CountTokensRequest: only one of contents and generate_content_request may be set.\n")
        counted = read(Call("plain", posted.model), {k: v for k, v in inner.items() if k != "model"}).prompt_tokens
        return self._said(posted, {"totalTokens": counted, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": counted}]})

    def _object(self, posted: Posted, known: frozenset[str]) -> JSON:
        if posted.body is None:
            raise Rejected(400, self.bad_json)
        return object_of(posted.body, known, "")

    def _said(self, posted: Posted, document: JSON) -> Answer:
        return Answer(200, self.headers(posted.stamp, self.json_type), orjson.dumps(document, option=orjson.OPT_INDENT_2))


def _length(asked: Any) -> int:
    if asked is None:
        return _LENGTH
    if not is_int(asked) or not 1 <= asked <= _LENGTH:
        raise bad(f"* EmbedContentRequest.output_dimensionality: must be between 1 and {_LENGTH}\n")
    return int(asked)
