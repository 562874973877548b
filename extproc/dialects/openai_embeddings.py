"""OpenAI's embeddings, `/v1/embeddings`: the format of OpenAI itself and of every provider that calls itself compatible with it.

Inputs are texts or tokens, one or a list. Mistral names the vectors' length and type otherwise (the quirk `output_dimension`) and its SDK uses the
same path, so both spellings are read. Reference: https://platform.openai.com/docs/api-reference/embeddings; Mistral's at https://docs.mistral.ai/api.
"""

from __future__ import annotations

import orjson

from extproc.core import jsonedit
from extproc.core.dialect import NO_ASK, Ask, Encoded, Facts, Need, Reply, Wishes
from extproc.core.embeddings import (
    Content,
    EmbeddingInput,
    EmbeddingRequest,
    EmbeddingResponse,
    Settings,
    Task,
    common_dimensions,
    is_tokens,
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
from extproc.core.vectors import QUANTIZED, Lifted, Vector, VectorType, lift, written

PATH = "/embeddings"
_MEMBERS = frozenset({"model", "input", "dimensions", "output_dimension", "encoding_format", "output_dtype", "input_type"})
_KNOBS = ("user", "metadata")
_ANSWER = frozenset({"id", "object", "created", "model", "data", "usage", "provider", "prompt_filter_results", "service_tier"})
"""What describes the provider's own run is no loss."""
_TASKS = {
    "query": Task.QUERY,
    "search_query": Task.QUERY,
    "passage": Task.DOCUMENT,
    "document": Task.DOCUMENT,
    "search_document": Task.DOCUMENT,
}
"""`input_type`, which is not OpenAI's: NVIDIA's, Voyage's and Cohere's words, which apps that speak OpenAI's format to them send."""


class OpenAIEmbeddings(Unstreamed):
    """The `Dialect` of `/embeddings`."""

    name = "openai_embeddings"
    operation = Operation.EMBEDDINGS
    carries = frozenset({Need.TOKEN_INPUT, Need.DIMENSIONS, Need.MIXED_TASKS})
    """It has no tasks at all, so different ones are lost like any other."""

    def needs(self, body: JSON) -> frozenset[str]:
        if not isinstance(body, dict):
            return frozenset()
        found: set[str] = set()
        given = body.get("input")
        if isinstance(given, list) and given and isinstance(given[0], int | list):
            found.add(Need.TOKEN_INPUT)
        if body.get("dimensions") is not None or body.get("output_dimension") is not None:
            found.add(Need.DIMENSIONS)
        if QUANTIZED.intersection(_types(body)):
            found.add(Need.QUANTIZED)
        return frozenset(found)

    def wishes(self, body: JSON) -> Wishes:
        return Wishes(encodings=_types(body) if isinstance(body, dict) else ())

    def decode_request(self, body: JSON, ask: Ask = NO_ASK) -> EmbeddingRequest:
        if not isinstance(body, dict):
            raise BadRequestError("the body must be a JSON object")
        losses = Losses()
        task = body.get("input_type")
        if task is not None and not isinstance(task, str):
            raise BadRequestError("`input_type` must be a string", param="input_type")
        settings = Settings(_TASKS.get(task, task) if task else None, _dimensions(body))
        contents, single = _contents(body.get("input"))
        knobs = {name: body[name] for name in _KNOBS if body.get(name) is not None}
        losses.unknown("", body, _MEMBERS.union(_KNOBS, ("stream",)))
        model = body.get("model")
        return EmbeddingRequest(
            ask.model or (model if isinstance(model, str) else ""),
            [EmbeddingInput(content, settings) for content in contents],
            single,
            _types(body),
            knobs,
            losses,
        )

    def encode_request(self, request: EmbeddingRequest, facts: Facts) -> Encoded:
        losses = Losses()
        inputs = [one.content if is_tokens(one.content) else text_of(one.content, losses) for one in request.inputs]
        body: dict[str, JSON] = {"model": facts.wire_model, "input": inputs[0] if request.single and len(inputs) == 1 else inputs}
        dimensions = common_dimensions(request)
        if dimensions is not None:
            body["output_dimension" if "output_dimension" in facts.quirks else "dimensions"] = dimensions
        if request.types == (VectorType.BASE64,):
            # floats are what the format gives unasked, and what everything else can be made of
            body["encoding_format"] = VectorType.BASE64.value
        carried = _carried_knobs(facts)
        body.update((name, request.knobs[name]) for name in carried if name in request.knobs)
        report_unsaid(request, losses, tasks=True, titles=True, truncate="none")
        report_knobs(request, losses, carried.__contains__)
        return Encoded(dumps(body), PATH, losses=losses)

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:  # noqa: ARG002 - everything is in the body
        losses = Losses()
        layout = jsonedit.scan(raw)
        edits: dict[str, bytes | None] = {}
        if facts.wire_model not in ("*", body.get("model")):
            edits["model"] = orjson.dumps(facts.wire_model)
        if "output_dimension" in facts.quirks:
            _rename("dimensions", "output_dimension", raw, layout, body, edits)
        elif facts.vendor == "openai":
            _rename("output_dimension", "dimensions", raw, layout, body, edits)
        if "user" in layout.members and "user" not in _carried_knobs(facts):
            edits["user"] = None
            if body["user"] is not None:
                losses.add("dropped:user")
        return Encoded(jsonedit.splice(raw, edits, layout), PATH, losses=losses)

    def decode_response(self, body: bytes) -> EmbeddingResponse:
        lifted = lift(body)
        answer = lifted.document
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, list):
            if isinstance(answer, dict) and answer.keys() & {"error", "message", "detail"}:
                raise self.decode_error(200, {}, body)
            raise UpstreamFormatError("the provider's answer is not a list of embeddings")
        losses = Losses()
        losses.unknown("answer", answer, _ANSWER)
        vectors: list[tuple[int, Vector]] = [_vector(one, place, lifted) for place, one in enumerate(data)]
        vectors.sort(key=lambda one: one[0])
        kind = VectorType.BASE64 if vectors and isinstance(vectors[0][1], str) else VectorType.FLOAT
        if any(isinstance(vector, str) is not (kind is VectorType.BASE64) for _, vector in vectors):
            raise UpstreamFormatError("the provider's answer mixes base64 and arrays of numbers")
        name, model = answer.get("id"), answer.get("model")
        return EmbeddingResponse(
            name if isinstance(name, str) else "",
            model if isinstance(model, str) else "",
            {kind: [vector for _, vector in vectors]},
            _usage(answer.get("usage")),
            losses,
        )

    def encode_response(self, response: EmbeddingResponse, reply: Reply) -> tuple[bytes, list[Loss]]:
        losses = Losses()
        kind = VectorType(reply.encodings[0]) if reply.encodings else VectorType.FLOAT
        usage = response.usage
        if usage is None:
            usage = Usage()
            losses.add("defaulted:usage")
        items = (b'{"object":"embedding","index":%d,"embedding":%b}' % item for item in enumerate(written(response.vectors, kind)))
        rest = {"model": reply.model or response.model, "usage": {"prompt_tokens": usage.input_tokens, "total_tokens": usage.total}}
        return b'{"object":"list","data":[%b],%b' % (b",".join(items), orjson.dumps(rest)[1:]), losses


def _rename(wrong: str, right: str, raw: bytes, layout: jsonedit.Layout, body: dict[str, JSON], edits: dict[str, bytes | None]) -> None:
    """The length of the vectors has two names, and some targets take only one of them."""
    if wrong in layout.members:
        edits[wrong] = None
        if body.get(right) is None and body.get(wrong) is not None:
            member = layout.members[wrong]
            edits[right] = raw[member.start : member.end]


def _types(body: dict[str, JSON]) -> tuple[VectorType, ...]:
    """The one encoding that the client wants: Mistral's type goes before the format of floats."""
    kind = body.get("output_dtype")
    if isinstance(kind, str) and kind in QUANTIZED:
        return (VectorType(kind),)
    known = {"base64": (VectorType.BASE64,), "float": (VectorType.FLOAT,)}
    encoding = body.get("encoding_format")
    return known.get(encoding, ()) if isinstance(encoding, str) else ()


def _dimensions(body: dict[str, JSON]) -> int | None:
    for name in ("dimensions", "output_dimension"):
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BadRequestError(f"`{name}` must be a positive integer", param=name)
        return value
    return None


def _contents(given: JSON) -> tuple[list[Content], bool]:
    """(the inputs, was it one that is no list?)"""
    if isinstance(given, str):
        return [given], True
    if isinstance(given, list) and given:
        if all(isinstance(one, str) for one in given):
            return given, False
        if _all_tokens(given):
            return [given], True
        if all(isinstance(one, list) and one and _all_tokens(one) for one in given):
            return given, False
    raise BadRequestError("`input` must be a string, a list of strings, tokens or a list of tokens, and not empty", param="input")


def _all_tokens(row: list[JSON]) -> bool:
    return all(type(token) is int for token in row)


def _carried_knobs(facts: Facts) -> tuple[str, ...]:
    """Mistral refuses `user` and has `metadata`; others have `user` or nothing."""
    if "mistral_members" in facts.quirks:
        return ("metadata",)
    return () if "no_user" in facts.quirks else ("user",)


def _vector(one: JSON, place: int, lifted: Lifted) -> tuple[int, Vector]:
    """(its index, the vector). Raises `UpstreamFormatError`."""
    item = one if isinstance(one, dict) else {}
    value = item.get("embedding")
    vector: Vector | None = value if isinstance(value, str) else lifted.numbers(value)
    if vector is None:
        raise UpstreamFormatError("an embedding of the provider's answer is neither an array of numbers nor base64")
    index = item.get("index")
    return index if isinstance(index, int) else place, vector


def _usage(given: JSON) -> Usage | None:
    if not isinstance(given, dict):
        return None
    counts = [given.get(name) for name in ("prompt_tokens", "total_tokens")]
    tokens = next((count for count in counts if isinstance(count, int) and count > 0), 0)
    return Usage(input_tokens=tokens)
