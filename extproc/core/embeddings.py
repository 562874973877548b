"""The canonical embedding request and answer: what every embeddings dialect decodes to and encodes from.

An input is text, tokens of the model's own tokenizer, or blocks (text beside images and other media) that get one vector together. What a client
says of an input (`Settings`) belongs to the whole request in some formats and to each input in others, so every input holds it; inputs of one
request mostly share one object. Vectors are never parsed on their way through: see `core.vectors`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from extproc.core.errors import UntranslatableError
from extproc.core.ir import JSON, Audio, Block, Document, FinishReason, Image, Loss, Text, Video
from extproc.core.losses import Losses
from extproc.core.usage import Usage
from extproc.core.vectors import Vector, VectorType


class Task(StrEnum):
    """What the vectors are for. Models with tasks embed the same text differently for each, so a query and a document must say which they are."""

    QUERY = "query"
    DOCUMENT = "document"
    SIMILARITY = "similarity"
    CLASSIFICATION = "classification"
    CLUSTERING = "clustering"
    QUESTION_ANSWERING = "question_answering"
    FACT_VERIFICATION = "fact_verification"
    CODE_QUERY = "code_query"


class Truncate(StrEnum):
    """What is cut off an input that is too long; NONE makes it an error."""

    NONE = "none"
    START = "start"
    END = "end"


@dataclass(frozen=True, slots=True)
class Settings:
    """None means that the client did not say. `task` may be a word that is no `Task`: its vendor's. `dimensions` is the vectors' length."""

    task: str | None = None
    dimensions: int | None = None
    truncate: Truncate | None = None


UNSAID = Settings()

Content = str | list[int] | list[Block]
"""Text, tokens, or blocks: Text, Image, Document, Audio, Video."""


@dataclass(slots=True)
class EmbeddingInput:
    """One thing that gets one vector. `title` is the title of the document that it is."""

    content: Content
    settings: Settings = UNSAID
    title: str | None = None


@dataclass(slots=True)
class EmbeddingRequest:
    """`single`: the client gave one input where it could have given a list, and its answer may look different. `types` are the encodings that it
    wants, () if it did not say. `knobs` are parameters that few dialects have: user, metadata, options, keep_alive, priority, …"""

    model: str
    inputs: list[EmbeddingInput]
    single: bool = False
    types: tuple[VectorType, ...] = ()
    knobs: dict[str, JSON] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)


@dataclass(slots=True)
class EmbeddingResponse:
    """`vectors` of each encoding that the provider gave, in the order of the inputs."""

    id: str
    model: str
    vectors: dict[VectorType, list[Vector]]
    usage: Usage | None = None
    losses: list[Loss] = field(default_factory=list)

    @property
    def finish(self) -> FinishReason | None:
        """Vectors have no reason to end."""
        return None


_MEDIA: tuple[type, ...] = (Image, Document, Audio, Video)


def is_media(content: Content) -> bool:
    """Is there anything in it that is not text?"""
    return isinstance(content, list) and any(isinstance(block, _MEDIA) for block in content)


def is_tokens(content: Content) -> bool:
    """Is it neither text nor blocks?"""
    return isinstance(content, list) and bool(content) and isinstance(content[0], int)


def text_of(content: Content, losses: Losses) -> str:
    """What a format of plain texts gets. Raises `UntranslatableError` for tokens and for media, which are needs."""
    if isinstance(content, str):
        return content
    texts = [block.text for block in content if isinstance(block, Text)]
    if len(texts) < len(content):
        what = "tokens" if is_tokens(content) else "media"
        raise UntranslatableError(f"the target embeds text only, not {what}", param="input")
    if len(texts) > 1:
        losses.add("coerced:content_parts")
    return "\n".join(texts)


def common(request: EmbeddingRequest) -> Settings:
    """The settings of all inputs, for a format that says them once. Raises `UntranslatableError` if they differ, which is a need."""
    first = request.inputs[0].settings if request.inputs else UNSAID
    for one in request.inputs:
        if one.settings is not first and one.settings != first:
            raise UntranslatableError("the target has one task and one number of dimensions for all inputs of a request", param="input")
    return first


def common_dimensions(request: EmbeddingRequest) -> int | None:
    """The length of all vectors, for a format that says it once. Raises `UntranslatableError` if it differs, which is a need."""
    found = {one.settings.dimensions for one in request.inputs}
    if len(found) > 1:
        raise UntranslatableError("the target has one number of dimensions for all inputs of a request", param="input")
    return found.pop() if found else None


def report_unsaid(request: EmbeddingRequest, losses: Losses, *, tasks: bool = False, titles: bool = False, truncate: str = "") -> None:
    """The losses of a format that has no tasks, no titles, or cannot be told how to truncate: `truncate` is the way that it has anyway."""
    for one in request.inputs:
        settings = one.settings
        if tasks and settings.task is not None:
            losses.add("dropped:input_type")
        if titles and one.title:
            losses.add("dropped:title")
        if truncate and settings.truncate not in (None, truncate):
            losses.add("dropped:truncate")


def report_knobs(request: EmbeddingRequest, losses: Losses, carried: Callable[[str], bool]) -> None:
    """The knobs that are not carried."""
    for name in request.knobs:
        if not carried(name):
            losses.add(f"dropped:{name}")
