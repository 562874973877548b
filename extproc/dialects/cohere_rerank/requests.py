"""What rerank requests of all versions have in common."""

from __future__ import annotations

from extproc.core.dialect import Need
from extproc.core.errors import BadRequestError, UntranslatableError
from extproc.core.ir import JSON
from extproc.core.losses import PARAMETERS, Losses
from extproc.core.rerank import Item, RerankRequest

_NEUTRAL: dict[str, tuple[JSON, ...]] = {"priority": (0,), "relevant_spans": ({}, {"mode": "disabled"})}
"""Values that ask for what happens anyway."""


def needs(body: JSON) -> frozenset[str]:
    """The needs of a rerank request: documents that are images are ranked by few models. Total over all shapes."""
    documents = body.get("documents") if isinstance(body, dict) else None
    return frozenset({Need.VISION} if isinstance(documents, list) and any(_is_image(document) for document in documents) else ())


def _is_image(document: JSON) -> bool:
    return isinstance(document, dict) and "text" not in document and ("image" in document or "content" in document)


def decode_request(body: JSON) -> RerankRequest:
    """Raises `BadRequestError` with `param` when a member that must be understood has the wrong shape."""
    if not isinstance(body, dict):
        raise BadRequestError("the request body must be an object")
    rest = dict(body)
    model, query, documents = rest.pop("model", None), rest.pop("query", None), rest.pop("documents", None)
    if not isinstance(model, str) or not model:
        raise BadRequestError("a model parameter is required for this endpoint", param="model")
    if not isinstance(query, str) or not query.strip():
        raise BadRequestError("query must be a string that is not empty", param="query")
    if not isinstance(documents, list) or not documents:
        raise BadRequestError("list of documents must not be empty", param="documents")
    if not all(isinstance(document, str | dict) for document in documents):
        raise BadRequestError("a document must be a string or an object", param="documents")
    fields = rest.pop("rank_fields", None)
    if fields is not None and (not isinstance(fields, list) or not all(isinstance(name, str) for name in fields)):
        raise BadRequestError("rank_fields must be a list of strings", param="rank_fields")
    wanted = rest.pop("return_documents", None)
    if wanted is not None and not isinstance(wanted, bool):
        raise BadRequestError("return_documents must be a boolean", param="return_documents")
    return RerankRequest(
        model,
        query,
        documents,
        _whole(rest, "top_n"),
        wanted,
        fields or [],
        _whole(rest, "max_tokens_per_doc"),
        {name: value for name, value in rest.items() if value is not None and value not in _NEUTRAL.get(name, ())},
    )


def _whole(rest: dict[str, JSON], name: str) -> int | None:
    value = rest.pop(name, None)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadRequestError(f"{name} must be a whole number", param=name)
    return value


def texts_only(request: RerankRequest) -> list[Item]:
    """The documents. Raises `UntranslatableError` if one of them is an image, which is a need."""
    if any(_is_image(document) for document in request.documents):
        raise UntranslatableError("the target ranks text only", param="documents")
    return request.documents


def dropped(name: str, value: JSON, losses: Losses) -> None:
    """Reports a knob that is not carried."""
    if name in PARAMETERS:
        losses.add(f"dropped:{name}")
    else:
        losses.unknown("", {name: value}, frozenset())
