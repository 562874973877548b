"""The canonical rerank request and answer: what every rerank dialect decodes to and encodes from.

Documents are texts, or objects in the application's own shape of which some fields are to be ranked. An answer names them by their place in the
request, best first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from extproc.core.ir import JSON, FinishReason, Loss
from extproc.core.usage import Usage

Item = str | dict[str, JSON]
"""A document. An object's text is in its `text`, unless the request says which fields count."""


@dataclass(slots=True)
class RerankRequest:
    """`fields` are those of objects that count, in their order, [] if the client did not say. `max_tokens_per_doc` is where a long document is cut.
    `return_documents` asks for the documents in the answer; None leaves it to the provider. `knobs` are parameters that few dialects have, and
    members that the decoder did not know."""

    model: str
    query: str
    documents: list[Item]
    top_n: int | None = None
    return_documents: bool | None = None
    fields: list[str] = field(default_factory=list)
    max_tokens_per_doc: int | None = None
    knobs: dict[str, JSON] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)


@dataclass(slots=True)
class RerankResult:
    """`index` is the document's place in the request, `document` itself only where the provider gave it back."""

    index: int
    score: float
    document: Item | None = None


@dataclass(slots=True)
class RerankResponse:
    """`search_units` is what Cohere bills: a query with up to a hundred documents."""

    id: str
    model: str
    results: list[RerankResult]
    usage: Usage | None = None
    search_units: int | None = None
    losses: list[Loss] = field(default_factory=list)

    @property
    def finish(self) -> FinishReason | None:
        """A ranking has no reason to end."""
        return None


def is_plain(document: Item) -> bool:
    """Is it a text, or an object that holds nothing else?"""
    return isinstance(document, str) or document.keys() == {"text"}


def text_of(document: Item, fields: Sequence[str]) -> str:
    """What a format of plain texts gets: the fields that count, a line each. An object is ranked by its `text` unless told otherwise."""
    if isinstance(document, str):
        return document
    if not fields and isinstance(document.get("text"), str):
        return str(document["text"])
    names = [name for name in fields if name in document] or list(document)
    return "\n".join(f"{name}: {value_text(document[name])}" for name in names)


def value_text(value: JSON) -> str:
    """A field's value as text, as JSON where it is none."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
