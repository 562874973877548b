"""Vertex AI's older embeddings, `:predict` with `instances`: of its text models, which have no `embedContent`.

Reference: https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api. Models of other modalities have instances of
their own on the same path (`multimodalembedding`); they pass, and are not translated.
"""

from __future__ import annotations

from extproc.core.dialect import NO_ASK, Ask, Encoded, Facts, Need, Reply
from extproc.core.embeddings import (
    EmbeddingInput,
    EmbeddingRequest,
    EmbeddingResponse,
    Settings,
    common_dimensions,
    report_knobs,
    text_of,
)
from extproc.core.errors import BadRequestError, UpstreamFormatError
from extproc.core.ir import JSON, Loss
from extproc.core.losses import Losses
from extproc.core.operation import Operation
from extproc.core.raw_json import dumps
from extproc.core.unstreamed import Unstreamed
from extproc.core.usage import Usage
from extproc.core.vectors import Vector, VectorType, lift, written
from extproc.dialects.google_embeddings.wire import (
    auto_truncate,
    camel,
    count,
    dimensions_of,
    path,
    task_of,
    task_word,
    title_for,
    title_of,
    truncate_of,
)

_INSTANCE = frozenset({"content", "taskType", "title", "mimeType"})
_PARAMETERS = frozenset({"autoTruncate", "outputDimensionality"})
_ANSWER = frozenset({"predictions", "metadata", "deployedModelId", "model", "modelDisplayName", "modelVersionId"})


class VertexEmbeddings(Unstreamed):
    """The `Dialect` of `:predict`."""

    name = "vertex_embeddings"
    operation = Operation.EMBEDDINGS
    carries = frozenset({Need.DIMENSIONS, Need.MIXED_TASKS})

    def needs(self, body: JSON) -> frozenset[str]:
        root = camel(body)
        found: set[str] = set()
        if camel(root.get("parameters")).get("outputDimensionality") is not None:
            found.add(Need.DIMENSIONS)
        instances = root.get("instances")
        if isinstance(instances, list) and len({str(camel(one).get("taskType")) for one in instances}) > 1:
            found.add(Need.MIXED_TASKS)
        return frozenset(found)

    def decode_request(self, body: JSON, ask: Ask = NO_ASK) -> EmbeddingRequest:
        if not isinstance(body, dict):
            raise BadRequestError("the body must be a JSON object")
        losses = Losses()
        losses.unknown("", body, frozenset({"instances", "parameters", "model"}))
        instances = body.get("instances")
        if not isinstance(instances, list) or not instances:
            raise BadRequestError("`instances` must be a list, and not empty", param="instances")
        parameters = camel(body.get("parameters"))
        losses.unknown("parameters", parameters, _PARAMETERS)
        dimensions, way = dimensions_of(parameters.get("outputDimensionality")), truncate_of(parameters.get("autoTruncate"))
        inputs: list[EmbeddingInput] = []
        for place, given in enumerate(instances):
            one = camel(given)
            content = one.get("content")
            if not isinstance(content, str):
                raise BadRequestError("an instance must have `content`, a text", param=f"instances[{place}].content")
            losses.unknown("instance", one, _INSTANCE)
            inputs.append(EmbeddingInput(content, Settings(task_of(one.get("taskType")), dimensions, way), title_of(one.get("title"))))
        return EmbeddingRequest(ask.model, inputs, losses=losses)

    def encode_request(self, request: EmbeddingRequest, facts: Facts) -> Encoded:
        losses = Losses()
        instances = [_instance(one, losses) for one in request.inputs]
        parameters: dict[str, JSON] = {}
        dimensions = common_dimensions(request)
        if dimensions is not None:
            parameters["outputDimensionality"] = dimensions
        ways = [one.settings.truncate for one in request.inputs if one.settings.truncate is not None]
        if ways:
            parameters["autoTruncate"] = auto_truncate(ways[0], losses)
            if len(set(ways)) > 1:
                losses.add("coerced:truncate")
        report_knobs(request, losses, lambda _: False)
        body: dict[str, JSON] = {"instances": instances}
        if parameters:
            body["parameters"] = parameters
        return Encoded(dumps(body), path(facts.wire_model, "predict"), losses=losses)

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:  # noqa: ARG002 - nothing to edit in it
        """The body as it came: only the path names the model."""
        return Encoded(raw, path(facts.wire_model, "predict"))

    def decode_response(self, body: bytes) -> EmbeddingResponse:
        lifted = lift(body)
        answer = camel(lifted.document)
        predictions = answer.get("predictions")
        if not isinstance(predictions, list):
            if b'"error"' in body[:4096]:
                raise self.decode_error(200, {}, body)
            raise UpstreamFormatError("the provider's answer has no predictions")
        losses = Losses()
        losses.unknown("answer", answer, _ANSWER)
        vectors: list[Vector] = []
        counts: list[int] = []
        for one in predictions:
            embedding = camel(camel(one).get("embeddings"))
            if not embedding:
                losses.unknown("prediction", camel(one), frozenset({"embeddings"}))
                continue
            numbers = lifted.numbers(embedding.get("values"))
            if numbers is None:
                raise UpstreamFormatError("an embedding of the provider's answer is no array of numbers")
            vectors.append(numbers)
            statistics = camel(embedding.get("statistics"))
            tokens = count(statistics.get("tokenCount"))
            counts += [] if tokens is None else [tokens]
            if statistics.get("truncated") is True:
                losses.add("dropped:truncated")
        # of other modalities than text
        found = {VectorType.FLOAT: vectors} if len(vectors) == len(predictions) else {}
        return EmbeddingResponse("", "", found, Usage(input_tokens=sum(counts)) if counts else None, losses)

    def encode_response(self, response: EmbeddingResponse, reply: Reply) -> tuple[bytes, list[Loss]]:  # noqa: ARG002 - nothing names the model
        losses = Losses()
        vectors = written(response.vectors, VectorType.FLOAT)
        if response.usage is None:
            losses.add("defaulted:usage")
        elif len(vectors) > 1:
            losses.add("coerced:usage")
        tokens = response.usage.input_tokens if response.usage is not None else 0
        predictions = [
            b'{"embeddings":{"values":%b,"statistics":{"truncated":false,"token_count":%d}}}' % (vector, 0 if place else tokens)
            for place, vector in enumerate(vectors)
        ]
        return b'{"predictions":[%b]}' % b",".join(predictions), losses


def _instance(one: EmbeddingInput, losses: Losses) -> dict[str, JSON]:
    settings = one.settings
    instance: dict[str, JSON] = {"content": text_of(one.content, losses)}
    word = task_word(settings.task, losses)
    if word is not None:
        instance["task_type"] = word
    title = title_for(one.title, settings.task, losses)
    if title:
        instance["title"] = title
    return instance
