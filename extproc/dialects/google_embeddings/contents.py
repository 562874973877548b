"""What Gemini embeds, `Content`, to and from canonical inputs: text, or parts of text and media that get one vector together."""

from __future__ import annotations

import re

from extproc.core.dialect import Need
from extproc.core.embeddings import Content, Task, is_tokens
from extproc.core.errors import BadRequestError, UntranslatableError
from extproc.core.ir import JSON, Audio, Block, Document, Image, Source, Text, Video
from extproc.core.losses import Losses
from extproc.dialects.google_embeddings.wire import camel

_GOOGLES = re.compile(r"gs://|files/|https://generativelanguage\.googleapis\.com/[^/]+/files/")
"""Files that only Google can read."""
_KINDS: dict[str, type[Image | Audio | Video]] = {"image": Image, "audio": Audio, "video": Video}
_NEEDS = {"image": Need.VISION, "audio": Need.AUDIO, "video": Need.VIDEO}
_PART = frozenset({"text", "inlineData", "fileData"})

_SAID_IN_TEXT = re.compile(r"(?:models/)?gemini-embedding-2")
_PREFIXES: dict[str, str] = {
    Task.QUERY: "task: search result | query: ",
    Task.QUESTION_ANSWERING: "task: question answering | query: ",
    Task.FACT_VERIFICATION: "task: fact checking | query: ",
    Task.CODE_QUERY: "task: code retrieval | query: ",
    Task.CLASSIFICATION: "task: classification | query: ",
    Task.CLUSTERING: "task: clustering | query: ",
    Task.SIMILARITY: "task: sentence similarity | query: ",
}


def says_task_in_text(model: str) -> bool:
    """Does the model ignore `taskType`? Gemini Embedding 2 does (recorded), and wants the task in words that Google prescribes:
    https://ai.google.dev/gemini-api/docs/embeddings."""
    return _SAID_IN_TEXT.match(model) is not None


def _objects(value: JSON) -> list[JSON]:
    return value if isinstance(value, list) else [] if value is None else [value]


def needs(content: JSON) -> set[str]:
    """What one content depends on. Total."""
    found: set[str] = set()
    for given in _objects(camel(content).get("parts")):
        part = camel(given)
        media = camel(part.get("inlineData") or part.get("fileData"))
        if not media:
            continue
        kind = str(media.get("mimeType") or "").partition("/")[0]
        found.add(_NEEDS.get(kind, Need.DOCUMENTS))
        uri = media.get("fileUri")
        if uri is not None:
            googles = isinstance(uri, str) and _GOOGLES.match(uri)
            found.add(Need.FILE_ID if googles else Need.IMAGE_URL if kind == "image" else Need.DOCUMENT_URL)
    return found


def decode(content: JSON, where: str, losses: Losses) -> Content:
    """Raises `BadRequestError`."""
    if isinstance(content, str):
        return content
    blocks = [_block(part, f"{where}.parts[{n}]", losses) for n, part in enumerate(_objects(camel(content).get("parts")))]
    if not blocks:
        raise BadRequestError("`content` must have parts", param=where)
    return blocks[0].text if len(blocks) == 1 and isinstance(blocks[0], Text) else blocks


def _block(given: JSON, where: str, losses: Losses) -> Block:
    if isinstance(given, str):
        return Text(given)
    part = camel(given)
    losses.unknown("part", part, _PART)
    if isinstance(part.get("text"), str):
        return Text(part["text"])
    media = camel(part.get("inlineData") or part.get("fileData"))
    kind, data, uri = media.get("mimeType"), media.get("data"), media.get("fileUri")
    media_type = kind if isinstance(kind, str) else None
    if isinstance(data, str):
        source = Source(media_type=media_type, data=data)
    elif isinstance(uri, str):
        source = Source(media_type=media_type, file_id=uri) if _GOOGLES.match(uri) else Source(media_type=media_type, url=uri)
    else:
        raise BadRequestError("a part must be text, inlineData or fileData", param=where)
    return _KINDS.get((media_type or "").partition("/")[0], Document)(source)


def encode(content: Content, prefix: str = "") -> JSON:
    """`prefix` goes before the first text. Raises `UntranslatableError`."""
    if isinstance(content, str):
        return {"parts": [{"text": prefix + content}]}
    if is_tokens(content):
        raise UntranslatableError("the target embeds text and media, not tokens", param="input")
    parts = [_part(block) for block in content]
    for part in parts if prefix else ():
        if "text" in part:
            part["text"] = prefix + part["text"]
            break
    return {"parts": parts}


def _part(block: Block | int) -> dict[str, JSON]:
    if isinstance(block, Text):
        return {"text": block.text}
    if isinstance(block, Image | Document | Audio | Video):
        source = block.source
        if source.data is not None:
            default = "image/png" if isinstance(block, Image) else "application/pdf"
            return {"inlineData": {"mimeType": source.media_type or default, "data": source.data}}
        uri = source.file_id or source.url
        if uri is not None and _GOOGLES.match(uri):
            return {"fileData": {"fileUri": uri} | ({"mimeType": source.media_type} if source.media_type else {})}
    raise UntranslatableError("the target embeds text and media that are in the request", param="input")


def has_text(content: Content) -> bool:
    """Is there a text to put words before?"""
    return isinstance(content, str) or any(isinstance(block, Text) for block in content)


def prefix(task: str | None, title: str | None) -> str:
    """The words before a text that say what it is embedded for; "" where there is nothing to say."""
    if task == Task.DOCUMENT or (task is None and title):
        return f"title: {title or 'none'} | text: "
    return _PREFIXES.get(task or "", "")
