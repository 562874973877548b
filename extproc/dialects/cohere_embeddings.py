"""Cohere's embeddings, `/v2/embed`: texts, images, or inputs that mix both; several encodings of the same vectors in one answer.

The task (`input_type`) is required. Formats without tasks do not say it, and then the inputs are taken for documents, with a loss. Reference:
https://docs.cohere.com/reference/embed. The texts that Cohere repeats in its answers are optional there and not repeated here.
"""

from __future__ import annotations

from collections.abc import Mapping

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
    Truncate,
    common,
    is_media,
    is_tokens,
    report_knobs,
    report_unsaid,
    text_of,
)
from extproc.core.errors import BadRequestError, UntranslatableError, UpstreamFormatError
from extproc.core.ir import JSON, Block, Image, Loss, Source, Text
from extproc.core.losses import Losses
from extproc.core.operation import Operation
from extproc.core.raw_json import dumps
from extproc.core.unstreamed import Unstreamed
from extproc.core.usage import Usage
from extproc.core.vectors import QUANTIZED, Lifted, Vector, VectorType, lift, written

PATH = "/v2/embed"
_MEMBERS = frozenset({"model", "texts", "images", "inputs", "input_type", "embedding_types", "output_dimension", "truncate"}) | {
    "max_tokens",
    "priority",
}
_ANSWER = frozenset({"id", "texts", "images", "embeddings", "meta", "response_type"})
_KNOBS = {"max_input_tokens": "max_tokens", "priority": "priority"}
"""By the canonical name: a limit of tokens that are read is not the chat formats' limit of tokens that are written."""

_TASKS: dict[str, str] = {
    "search_query": Task.QUERY,
    "search_document": Task.DOCUMENT,
    "classification": Task.CLASSIFICATION,
    "clustering": Task.CLUSTERING,
}
_WORDS: Mapping[str, str] = {task: word for word, task in _TASKS.items()}
_NEAREST: Mapping[str, str] = {
    Task.SIMILARITY: "clustering",
    Task.QUESTION_ANSWERING: "search_query",
    Task.FACT_VERIFICATION: "search_query",
    Task.CODE_QUERY: "search_query",
}
"""Similarity is symmetric, as clustering is; the others are queries that look for documents."""
_IMAGE = "image"
_TRUNCATE = {"NONE": Truncate.NONE, "START": Truncate.START, "END": Truncate.END}
_TYPES = {kind.value: kind for kind in VectorType}


class CohereEmbeddings(Unstreamed):
    """The `Dialect` of `/v2/embed`."""

    name = "cohere_embeddings"
    operation = Operation.EMBEDDINGS
    carries = frozenset({Need.VISION, Need.QUANTIZED, Need.DIMENSIONS})

    def needs(self, body: JSON) -> frozenset[str]:
        if not isinstance(body, dict):
            return frozenset()
        found: set[str] = set()
        for url in _image_urls(body):
            found.add(Need.VISION)
            if not (isinstance(url, str) and url.startswith("data:")):
                found.add(Need.IMAGE_URL)
        if body.get("output_dimension") is not None:
            found.add(Need.DIMENSIONS)
        types = body.get("embedding_types")
        if isinstance(types, list) and any(isinstance(kind, str) and (kind in QUANTIZED or kind not in _TYPES) for kind in types):
            found.add(Need.QUANTIZED)
        return frozenset(found)

    def wishes(self, body: JSON) -> Wishes:
        return Wishes(encodings=_types(body) if isinstance(body, dict) else ())

    def decode_request(self, body: JSON, ask: Ask = NO_ASK) -> EmbeddingRequest:
        if not isinstance(body, dict):
            raise BadRequestError("the body must be a JSON object")
        losses = Losses()
        settings = _settings(body)
        knobs = {name: body[member] for name, member in _KNOBS.items() if body.get(member) is not None}
        losses.unknown("", body, _MEMBERS)
        model = body.get("model")
        return EmbeddingRequest(
            ask.model or (model if isinstance(model, str) else ""),
            [EmbeddingInput(content, settings) for content in _contents(body, losses)],
            types=_types(body),
            knobs=knobs,
            losses=losses,
        )

    def encode_request(self, request: EmbeddingRequest, facts: Facts) -> Encoded:
        losses = Losses()
        body: dict[str, JSON] = {"model": facts.wire_model}
        only_images = _add_inputs(body, request, losses)
        settings = common(request)
        body["input_type"] = _input_type(settings.task, only_images, losses)
        kinds = [kind for kind in request.types if kind is not VectorType.BASE64]
        # older models know no base64: it is made of the floats
        body["embedding_types"] = [kind.value for kind in kinds or (VectorType.FLOAT,)]
        if settings.dimensions is not None:
            body["output_dimension"] = settings.dimensions
        if settings.truncate is not None:
            body["truncate"] = settings.truncate.upper()
        body.update((member, request.knobs[name]) for name, member in _KNOBS.items() if name in request.knobs)
        report_unsaid(request, losses, titles=True)
        report_knobs(request, losses, _KNOBS.__contains__)
        return Encoded(dumps(body), PATH, losses=losses)

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:  # noqa: ARG002 - everything is in the body
        layout = jsonedit.scan(raw)
        edits: dict[str, bytes | None] = {}
        if facts.wire_model not in ("*", body.get("model")):
            edits["model"] = orjson.dumps(facts.wire_model)
        return Encoded(jsonedit.splice(raw, edits, layout), PATH)

    def decode_response(self, body: bytes) -> EmbeddingResponse:
        lifted = lift(body)
        answer = lifted.document
        found = answer.get("embeddings") if isinstance(answer, dict) else None
        if isinstance(found, list):
            # the older answer, of one encoding
            found = {VectorType.FLOAT.value: found}
        if not isinstance(found, dict):
            if isinstance(answer, dict) and answer.keys() & {"message", "error"}:
                raise self.decode_error(200, {}, body)
            raise UpstreamFormatError("the provider's answer has no embeddings")
        losses = Losses()
        losses.unknown("answer", answer, _ANSWER)
        vectors = {_TYPES[kind]: _vectors(values, lifted) for kind, values in found.items() if kind in _TYPES and values is not None}
        for kind in found.keys() - _TYPES.keys():
            losses.member(kind, "embeddings")
        name = answer.get("id")
        return EmbeddingResponse(name if isinstance(name, str) else "", "", vectors, _usage(answer.get("meta")), losses)

    def encode_response(self, response: EmbeddingResponse, reply: Reply) -> tuple[bytes, list[Loss]]:
        kinds = [VectorType(kind) for kind in reply.encodings] or [VectorType.FLOAT]
        embeddings = (b'"%b":[%b]' % (kind.value.encode(), b",".join(written(response.vectors, kind))) for kind in dict.fromkeys(kinds))
        meta: dict[str, JSON] = {"api_version": {"version": "2"}}
        if response.usage is not None:
            meta["billed_units"] = {"input_tokens": response.usage.input_tokens}
        head = orjson.dumps({"id": response.id or reply.id})[:-1]
        rest = orjson.dumps({"meta": meta, "response_type": "embeddings_by_type"})[1:]
        return b'%b,"embeddings":{%b},%b' % (head, b",".join(embeddings), rest), []


def _types(body: dict[str, JSON]) -> tuple[VectorType, ...]:
    types = body.get("embedding_types")
    return tuple(_TYPES[kind] for kind in types if isinstance(kind, str) and kind in _TYPES) if isinstance(types, list) else ()


def _settings(body: dict[str, JSON]) -> Settings:
    task = body.get("input_type")
    if task is not None and not isinstance(task, str):
        raise BadRequestError("`input_type` must be a string", param="input_type")
    dimensions = body.get("output_dimension")
    if dimensions is not None and (not isinstance(dimensions, int) or isinstance(dimensions, bool) or dimensions < 1):
        raise BadRequestError("`output_dimension` must be a positive integer", param="output_dimension")
    truncate = body.get("truncate")
    if truncate is not None and (not isinstance(truncate, str) or truncate.upper() not in _TRUNCATE):
        raise BadRequestError("`truncate` must be NONE, START or END", param="truncate")
    # that an input is an image, it says itself
    said = None if task in (None, _IMAGE) else _TASKS.get(task, task)
    return Settings(said, dimensions, _TRUNCATE[truncate.upper()] if truncate else None)


def _list(body: dict[str, JSON], name: str) -> list[JSON]:
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadRequestError(f"`{name}` must be a list", param=name)
    return value


def _contents(body: dict[str, JSON], losses: Losses) -> list[Content]:
    contents: list[Content] = []
    for place, text in enumerate(_list(body, "texts")):
        if not isinstance(text, str):
            raise BadRequestError("`texts` must be strings", param=f"texts[{place}]")
        contents.append(text)
    for place, url in enumerate(_list(body, "images")):
        image: list[Block] = [_image(url, f"images[{place}]")]
        contents.append(image)
    contents += (_mixed(one, f"inputs[{place}]", losses) for place, one in enumerate(_list(body, "inputs")))
    if not contents:
        raise BadRequestError("one of `texts`, `images` and `inputs` is required, and not empty", param="texts")
    return contents


def _mixed(one: JSON, where: str, losses: Losses) -> Content:
    parts = one.get("content") if isinstance(one, dict) else None
    if isinstance(parts, str):
        return parts
    if not isinstance(parts, list) or not parts:
        raise BadRequestError("an input must have `content`, a list of parts", param=where)
    blocks: list[Block] = []
    for place, part in enumerate(parts):
        at = f"{where}.content[{place}]"
        kind = part.get("type") if isinstance(part, dict) else None
        value = part.get(kind) if isinstance(kind, str) else None
        if kind == "text" and isinstance(value, str):
            blocks.append(Text(value))
        elif kind == "image_url":
            blocks.append(_image(value.get("url") if isinstance(value, dict) else value, at))
        else:
            raise BadRequestError("a part must be text or image_url", param=at)
        losses.unknown("inputs.content", part, frozenset({"type", "text", "image_url"}))
    return blocks[0].text if len(blocks) == 1 and isinstance(blocks[0], Text) else blocks


def _image(url: JSON, where: str) -> Image:
    if not isinstance(url, str) or not url:
        raise BadRequestError("an image must be a data URL", param=where)
    if not url.startswith("data:"):
        return Image(Source(url=url))
    head, comma, data = url[5:].partition(",")
    if not comma or not head.endswith(";base64"):
        raise BadRequestError("an image must be a data URL with base64", param=where)
    return Image(Source(media_type=head.removesuffix(";base64").partition(";")[0] or None, data=data))


def _image_urls(body: dict[str, JSON]) -> list[JSON]:
    """The URL of every image, whatever the shape of the body."""
    images, inputs = body.get("images"), body.get("inputs")
    urls = list(images) if isinstance(images, list) else []
    for one in inputs if isinstance(inputs, list) else ():
        parts = one.get("content") if isinstance(one, dict) else None
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict) and part.get("type") == "image_url":
                value = part.get("image_url")
                urls.append(value.get("url") if isinstance(value, dict) else value)
    return urls


def _add_inputs(body: dict[str, JSON], request: EmbeddingRequest, losses: Losses) -> bool:
    """Adds the inputs in the simplest of the three forms. Are they images and nothing else? Raises `UntranslatableError`."""
    contents = [one.content for one in request.inputs]
    if not any(is_media(content) for content in contents):
        body["texts"] = [text_of(content, losses) for content in contents]
        return False
    only_images = all(isinstance(content, list) and len(content) == 1 and is_media(content) for content in contents)
    if only_images:
        body["images"] = [_data_url(block) for content in contents for block in content]
    else:
        body["inputs"] = [{"content": _parts(content)} for content in contents]
    return only_images


def _parts(content: Content) -> list[JSON]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if is_tokens(content):
        raise UntranslatableError("the target embeds text and images, not tokens", param="input")
    return [
        {"type": "text", "text": block.text} if isinstance(block, Text) else {"type": "image_url", "image_url": {"url": _data_url(block)}}
        for block in content
    ]


def _data_url(block: Block | int | str) -> str:
    if not isinstance(block, Image) or block.source.data is None:
        raise UntranslatableError("the target embeds text and images that are in the request, no other media", param="input")
    return f"data:{block.source.media_type or 'image/png'};base64,{block.source.data}"


def _input_type(task: str | None, only_images: bool, losses: Losses) -> str:
    if only_images:
        if task is not None:
            losses.add("coerced:input_type", f"{task[:40]}: images have a type of their own")
        return _IMAGE
    if task is None:
        losses.add("defaulted:input_type")
        return _WORDS[Task.DOCUMENT]
    word = _WORDS.get(task)
    if word is None:
        word = _NEAREST.get(task, _WORDS[Task.DOCUMENT])
        losses.add("coerced:input_type", f"{task[:40]} to {word}")
    return word


def _vectors(values: JSON, lifted: Lifted) -> list[Vector]:
    """Raises `UpstreamFormatError`."""
    found = [value if isinstance(value, str) else lifted.numbers(value) for value in values] if isinstance(values, list) else [None]
    vectors = [vector for vector in found if vector is not None]
    if len(vectors) < len(found):
        raise UpstreamFormatError("an embedding of the provider's answer is neither an array of numbers nor base64")
    return vectors


def _usage(meta: JSON) -> Usage | None:
    """What was read, if it says so, else what is billed: images as tokens of their own."""
    meta = meta if isinstance(meta, dict) else {}
    for name, parts in (("tokens", ("input_tokens",)), ("billed_units", ("input_tokens", "image_tokens"))):
        counts = meta.get(name)
        found = [counts.get(part) for part in parts] if isinstance(counts, dict) else []
        numbers = [int(count) for count in found if isinstance(count, int | float) and 0 < count < 1e15]
        if any(isinstance(count, int | float) for count in found):
            return Usage(input_tokens=sum(numbers))
    return None
