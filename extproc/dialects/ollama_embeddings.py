"""Ollama's embeddings: `/api/embed`, and the older `/api/embeddings` (the form "legacy"), which takes one prompt and gives one vector.

Providers are always asked in the newer form, which every version since 0.3 has. Reference: https://docs.ollama.com/api/embed.
"""

from __future__ import annotations

import orjson

from extproc.core import jsonedit
from extproc.core.dialect import NO_ASK, Ask, Encoded, Facts, Need, Reply
from extproc.core.embeddings import (
    EmbeddingInput,
    EmbeddingRequest,
    EmbeddingResponse,
    Settings,
    Truncate,
    common_dimensions,
    report_knobs,
    report_unsaid,
    text_of,
)
from extproc.core.errors import BadRequestError, UpstreamFormatError
from extproc.core.ir import JSON, Loss
from extproc.core.losses import Losses
from extproc.core.operation import Operation
from extproc.core.raw_json import dumps
from extproc.core.unstreamed import Unstreamed
from extproc.core.usage import Usage
from extproc.core.vectors import VectorType, lift, written

LEGACY = "legacy"
_PATHS = {LEGACY: "/api/embeddings"}
_PATH = "/api/embed"
_KNOBS = ("options", "keep_alive")
_MEMBERS = frozenset({"model", "input", "prompt", "truncate", "dimensions", *_KNOBS})
_ANSWER = frozenset(
    {"model", "embeddings", "embedding", "created_at", "done", "done_reason", "total_duration", "load_duration", "eval_count", "eval_duration"}
    | {"prompt_eval_count", "prompt_eval_duration"}
)


class OllamaEmbeddings(Unstreamed):
    """The `Dialect` of `/api/embed` and `/api/embeddings`."""

    name = "ollama_embeddings"
    operation = Operation.EMBEDDINGS
    carries = frozenset({Need.DIMENSIONS, Need.MIXED_TASKS})
    """It has no tasks at all, so different ones are lost like any other."""

    def needs(self, body: JSON) -> frozenset[str]:
        return frozenset({Need.DIMENSIONS}) if isinstance(body, dict) and body.get("dimensions") else frozenset()

    def decode_request(self, body: JSON, ask: Ask = NO_ASK) -> EmbeddingRequest:
        if not isinstance(body, dict):
            raise BadRequestError("the body must be a JSON object")
        losses = Losses()
        texts, single = _texts(body, ask.form)
        settings = _settings(body)
        losses.unknown("", body, _MEMBERS)
        model = body.get("model")
        return EmbeddingRequest(
            ask.model or (model if isinstance(model, str) else ""),
            [EmbeddingInput(text, settings) for text in texts],
            single,
            # an empty object says nothing
            knobs={name: body[name] for name in _KNOBS if body.get(name) not in (None, {})},
            losses=losses,
        )

    def encode_request(self, request: EmbeddingRequest, facts: Facts) -> Encoded:
        losses = Losses()
        texts = [text_of(one.content, losses) for one in request.inputs]
        body: dict[str, JSON] = {"model": facts.wire_model, "input": texts[0] if request.single and len(texts) == 1 else texts}
        ways = [one.settings.truncate for one in request.inputs if one.settings.truncate is not None]
        if ways:
            body["truncate"] = ways[0] is not Truncate.NONE
            if Truncate.START in ways or len(set(ways)) > 1:
                losses.add("coerced:truncate")
        dimensions = common_dimensions(request)
        if dimensions is not None:
            body["dimensions"] = dimensions
        body.update((name, request.knobs[name]) for name in _KNOBS if name in request.knobs)
        report_unsaid(request, losses, tasks=True, titles=True)
        report_knobs(request, losses, _KNOBS.__contains__)
        return Encoded(dumps(body), _PATH, losses=losses)

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:
        layout = jsonedit.scan(raw)
        edits: dict[str, bytes | None] = {}
        if facts.wire_model not in ("*", body.get("model")):
            edits["model"] = orjson.dumps(facts.wire_model)
        return Encoded(jsonedit.splice(raw, edits, layout), _PATHS.get(ask.form, _PATH))

    def decode_response(self, body: bytes) -> EmbeddingResponse:
        lifted = lift(body)
        answer = lifted.document
        if not isinstance(answer, dict) or ("embeddings" not in answer and "embedding" not in answer):
            if isinstance(answer, dict) and "error" in answer:
                raise self.decode_error(200, {}, body)
            raise UpstreamFormatError("the provider's answer has no embeddings")
        losses = Losses()
        losses.unknown("answer", answer, _ANSWER)
        given = answer["embeddings"] if "embeddings" in answer else [answer["embedding"]]
        found = [lifted.numbers(value) for value in given] if isinstance(given, list) else [None]
        vectors = [vector for vector in found if vector is not None]
        if len(vectors) < len(found):
            raise UpstreamFormatError("an embedding of the provider's answer is no array of numbers")
        tokens, model = answer.get("prompt_eval_count"), answer.get("model")
        usage = Usage(input_tokens=tokens) if isinstance(tokens, int) and tokens >= 0 else None
        return EmbeddingResponse("", model if isinstance(model, str) else "", {VectorType.FLOAT: list(vectors)}, usage, losses)

    def encode_response(self, response: EmbeddingResponse, reply: Reply) -> tuple[bytes, list[Loss]]:
        vectors = written(response.vectors, VectorType.FLOAT)
        if reply.form == LEGACY:
            if len(vectors) != 1:
                raise UpstreamFormatError("the provider's answer has not one embedding for one prompt")
            return b'{"embedding":%b}' % vectors[0], []
        rest: dict[str, JSON] = {"model": reply.model or response.model}
        if response.usage is not None:
            rest["prompt_eval_count"] = response.usage.input_tokens
        return b'%b,"embeddings":[%b]}' % (orjson.dumps(rest)[:-1], b",".join(vectors)), []


def _texts(body: dict[str, JSON], form: str) -> tuple[list[str], bool]:
    """(the inputs, was it one that is no list?)"""
    name = "prompt" if form == LEGACY or "input" not in body else "input"
    given = body.get(name)
    if isinstance(given, str):
        return [given], True
    if name == "input" and isinstance(given, list) and given and all(isinstance(one, str) for one in given):
        return given, False
    what = "a string, or a list of strings that is not empty" if name == "input" else "a string"
    raise BadRequestError(f"`{name}` must be {what}", param=name)


def _settings(body: dict[str, JSON]) -> Settings:
    truncate, dimensions = body.get("truncate"), body.get("dimensions")
    if truncate is not None and not isinstance(truncate, bool):
        raise BadRequestError("`truncate` must be true or false", param="truncate")
    if dimensions is not None and (not isinstance(dimensions, int) or isinstance(dimensions, bool) or dimensions < 0):
        raise BadRequestError("`dimensions` must be a positive integer", param="dimensions")
    way = None if truncate is None else Truncate.END if truncate else Truncate.NONE
    # 0 is what an absent number is in Ollama's own types
    return Settings(None, dimensions or None, way)
