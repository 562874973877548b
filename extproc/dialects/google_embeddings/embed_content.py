"""Gemini's embeddings, `:embedContent` (one input) and `:batchEmbedContents` (the form "batch"), of the Gemini API and of Vertex AI.

The model is in the path, and in a batch once more in every request. Vertex AI (the quirk `embed_content_config`) has the settings in an object of
their own, takes no model in the body, and can be told how to truncate. Reference: https://ai.google.dev/api/embeddings, and the discovery document
of Vertex AI v1 (`projects.locations.publishers.models.embedContent`).
"""

from __future__ import annotations

from typing import Any

import orjson

from extproc.core import jsonedit
from extproc.core.dialect import NO_ASK, Ask, Encoded, Facts, Need, Reply
from extproc.core.embeddings import EmbeddingInput, EmbeddingRequest, EmbeddingResponse, Settings, report_knobs, report_unsaid
from extproc.core.errors import BadRequestError, UpstreamFormatError
from extproc.core.ir import JSON, Loss
from extproc.core.losses import Losses
from extproc.core.operation import Operation
from extproc.core.raw_json import dumps
from extproc.core.unstreamed import Unstreamed
from extproc.core.usage import Usage
from extproc.core.vectors import VectorType, lift, written
from extproc.dialects.google_embeddings import contents
from extproc.dialects.google_embeddings.wire import (
    auto_truncate,
    camel,
    count,
    dimensions_of,
    path,
    resource,
    task_of,
    task_word,
    title_for,
    title_of,
    truncate_of,
)

BATCH = "batch"
_CONFIG = "embedContentConfig"
_KNOBS = {"document_ocr": "documentOcr", "audio_track_extraction": "audioTrackExtraction"}
_SETTINGS = frozenset({"taskType", "title", "outputDimensionality", "autoTruncate", *_KNOBS.values()})
_REQUEST = frozenset({"model", "content", _CONFIG}) | _SETTINGS
_ANSWER = frozenset({"embedding", "embeddings", "usageMetadata", "truncated", "metadata"})


class GeminiEmbeddings(Unstreamed):
    """The `Dialect` of `:embedContent` and `:batchEmbedContents`."""

    name = "gemini_embeddings"
    operation = Operation.EMBEDDINGS
    carries = frozenset({Need.VISION, Need.DOCUMENTS, Need.AUDIO, Need.VIDEO, Need.DIMENSIONS, Need.MIXED_DIMENSIONS, Need.MIXED_TASKS})

    def needs(self, body: JSON) -> frozenset[str]:
        found: set[str] = set()
        tasks, lengths = set(), set()
        for request in _requests(body)[0]:
            found |= contents.needs(request.get("content"))
            tasks.add(str(_setting(request, "taskType")))
            lengths.add(str(_setting(request, "outputDimensionality")))
        if lengths - {"None"}:
            found.add(Need.DIMENSIONS)
        if len(lengths) > 1:
            found.add(Need.MIXED_DIMENSIONS)
        if len(tasks) > 1:
            found.add(Need.MIXED_TASKS)
        return frozenset(found)

    def decode_request(self, body: JSON, ask: Ask = NO_ASK) -> EmbeddingRequest:
        if not isinstance(body, dict):
            raise BadRequestError("the body must be a JSON object")
        losses = Losses()
        requests, single = _requests(body)
        if not requests:
            raise BadRequestError("`requests` must be a list of requests, and not empty", param="requests")
        if not single:
            losses.unknown("", body, frozenset({"requests", "model"}))
        knobs: dict[str, JSON] = {}
        inputs = [_decode(one, "content" if single else f"requests[{n}].content", knobs, losses) for n, one in enumerate(requests)]
        model = ask.model or str(requests[0].get("model") or "").removeprefix("models/")
        return EmbeddingRequest(model, inputs, single, knobs=knobs, losses=losses)

    def encode_request(self, request: EmbeddingRequest, facts: Facts) -> Encoded:
        losses = Losses()
        nested = "embed_content_config" in facts.quirks
        requests = [_encode(one, request, facts, losses, nested=nested) for one in request.inputs]
        if not nested:
            report_unsaid(request, losses, truncate="?")
        report_knobs(request, losses, lambda name: nested and name in _KNOBS)
        if len(requests) == 1:
            return Encoded(dumps(requests[0]), path(facts.wire_model, "embedContent"), losses=losses)
        if not nested:
            for one in requests:
                one["model"] = resource(facts.wire_model)
        return Encoded(dumps({"requests": requests}), path(facts.wire_model, "batchEmbedContents"), losses=losses)

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:
        """Only the names of the model are edited."""
        wanted = None if "embed_content_config" in facts.quirks else resource(facts.wire_model)
        layout = jsonedit.scan(raw)
        edits = _renamed(body, wanted)
        if ask.form == BATCH and "requests" in layout.members:
            edits["requests"] = _renamed_batch(raw, layout.members["requests"], body["requests"], wanted)
        method = "batchEmbedContents" if ask.form == BATCH else "embedContent"
        return Encoded(jsonedit.splice(raw, edits, layout), path(facts.wire_model, method))

    def decode_response(self, body: bytes) -> EmbeddingResponse:
        lifted = lift(body)
        answer = camel(lifted.document)
        given = answer.get("embeddings", [answer["embedding"]] if "embedding" in answer else None)
        if not isinstance(given, list):
            if b'"error"' in body[:4096]:
                raise self.decode_error(200, {}, body)
            raise UpstreamFormatError("the provider's answer has no embeddings")
        losses = Losses()
        losses.unknown("answer", answer, _ANSWER)
        if answer.get("truncated") is True:
            losses.add("dropped:truncated")
        # an empty list of proto3 JSON may be absent
        found = [lifted.numbers(camel(one).get("values", [])) if isinstance(one, dict) else None for one in given]
        vectors = [vector for vector in found if vector is not None]
        if len(vectors) < len(found):
            raise UpstreamFormatError("an embedding of the provider's answer is no array of numbers")
        tokens = count(camel(answer.get("usageMetadata")).get("promptTokenCount"))
        usage = Usage(input_tokens=tokens) if tokens is not None else None
        return EmbeddingResponse("", "", {VectorType.FLOAT: list(vectors)}, usage, losses)

    def encode_response(self, response: EmbeddingResponse, reply: Reply) -> tuple[bytes, list[Loss]]:
        embeddings = [b'{"values":%b}' % vector for vector in written(response.vectors, VectorType.FLOAT)]
        usage = response.usage
        rest = b',"usageMetadata":{"promptTokenCount":%d}}' % usage.input_tokens if usage is not None else b"}"
        if reply.form == BATCH:
            return b'{"embeddings":[%b]%b' % (b",".join(embeddings), rest), []
        if len(embeddings) != 1:
            raise UpstreamFormatError("the provider's answer has not one embedding for one content")
        return b'{"embedding":%b%b' % (embeddings[0], rest), []


def _requests(body: JSON) -> tuple[list[dict[str, Any]], bool]:
    """(the requests, is it a single one?). Total."""
    root = camel(body)
    if "requests" not in root:
        return ([root] if root else []), True
    given = root["requests"]
    return [camel(one) for one in given] if isinstance(given, list) else [], False


def _setting(request: dict[str, Any], name: str) -> JSON:
    """What the newer configuration says, else what the request itself says."""
    config = camel(request.get(_CONFIG))
    return config[name] if name in config else request.get(name)


def _decode(request: dict[str, Any], where: str, knobs: dict[str, JSON], losses: Losses) -> EmbeddingInput:
    losses.unknown("request", request, _REQUEST)
    losses.unknown(_CONFIG, camel(request.get(_CONFIG)), _SETTINGS)
    settings = Settings(
        task_of(_setting(request, "taskType")),
        dimensions_of(_setting(request, "outputDimensionality")),
        truncate_of(_setting(request, "autoTruncate")),
    )
    for name, member in _KNOBS.items():
        if isinstance(_setting(request, member), bool):
            knobs[name] = _setting(request, member)
    return EmbeddingInput(contents.decode(request.get("content"), where, losses), settings, title_of(_setting(request, "title")))


def _encode(one: EmbeddingInput, request: EmbeddingRequest, facts: Facts, losses: Losses, *, nested: bool) -> dict[str, JSON]:
    settings = one.settings
    config: dict[str, JSON] = {}
    words = ""
    if contents.says_task_in_text(facts.model):
        words = contents.prefix(settings.task, one.title)
        if words and contents.has_text(one.content):
            losses.add("coerced:input_type", "said before the text")
        elif settings.task is not None:
            losses.add("dropped:input_type", settings.task[:40])
        if one.title and not words.startswith("title"):
            losses.add("dropped:title", "only documents have one")
    else:
        word = task_word(settings.task, losses)
        if word is not None:
            config["taskType"] = word
        title = title_for(one.title, settings.task, losses)
        if title:
            config["title"] = title
    if settings.dimensions is not None:
        config["outputDimensionality"] = settings.dimensions
    body: dict[str, JSON] = {"content": contents.encode(one.content, words)}
    if not nested:
        return body | config
    if settings.truncate is not None:
        config["autoTruncate"] = auto_truncate(settings.truncate, losses)
    config.update((member, request.knobs[name]) for name, member in _KNOBS.items() if name in request.knobs)
    return body | ({_CONFIG: config} if config else {})


def _renamed(request: JSON, wanted: str | None) -> dict[str, bytes | None]:
    """The edit that makes a request name the model `wanted`, or none."""
    if not isinstance(request, dict) or request.get("model", wanted) == wanted:
        return {}
    return {"model": orjson.dumps(wanted) if wanted is not None else None}


def _renamed_batch(raw: bytes, array: jsonedit.Member, requests: JSON, wanted: str | None) -> bytes:
    pieces: list[bytes] = []
    at = array.start
    for request, (start, end) in zip(requests if isinstance(requests, list) else (), jsonedit.elements(raw, array), strict=False):
        edits = _renamed(request, wanted)
        if edits:
            pieces += (raw[at:start], jsonedit.splice(raw[start:end], edits))
            at = end
    return b"".join((*pieces, raw[at : array.end]))
