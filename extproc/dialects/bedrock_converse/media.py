"""Images, documents, video and audio of a request. AWS names formats where others have media types, and takes bytes or S3 locations, no URLs.

A document has a name, unique in its request and of letters, digits, single spaces, hyphens and brackets, because the model reads it.
Source: `ImageBlock`, `DocumentBlock`, `VideoBlock` and `AudioBlock` of the service model and its documentation.
"""

from __future__ import annotations

import base64
import re

from extproc.core.errors import BadRequestError, UntranslatableError
from extproc.core.ir import JSON, Audio, Document, Image, Source, Video
from extproc.core.losses import Losses

Media = Image | Document | Video | Audio


def _table(text: str) -> dict[str, str]:
    """{format: media type} from `format=media/type` words."""
    return dict(word.split("=") for word in text.split())


_OFFICE = "application/vnd.openxmlformats-officedocument"
IMAGES = _table("png=image/png jpeg=image/jpeg gif=image/gif webp=image/webp")
DOCUMENTS = _table(
    "pdf=application/pdf csv=text/csv html=text/html txt=text/plain md=text/markdown doc=application/msword xls=application/vnd.ms-excel "
    f"docx={_OFFICE}.wordprocessingml.document xlsx={_OFFICE}.spreadsheetml.sheet"
)
VIDEOS = _table(
    "mp4=video/mp4 mkv=video/x-matroska mov=video/quicktime webm=video/webm flv=video/x-flv mpeg=video/mpeg mpg=video/mpg wmv=video/x-ms-wmv "
    "three_gp=video/3gpp"
)
AUDIO = _table(
    "mp3=audio/mpeg wav=audio/wav opus=audio/opus aac=audio/aac flac=audio/flac ogg=audio/ogg mp4=audio/mp4 m4a=audio/m4a pcm=audio/pcm "
    "webm=audio/webm mkv=audio/x-matroska mka=audio/x-mka x-aac=audio/x-aac mpga=audio/mpga mpeg=audio/x-mpeg"
)
_ALIASES = _table(
    "image/jpg=image/jpeg text/x-markdown=text/markdown application/csv=text/csv application/xhtml+xml=text/html audio/mp3=audio/mpeg "
    "audio/x-wav=audio/wav audio/wave=audio/wav audio/x-m4a=audio/m4a audio/x-flac=audio/flac audio/l16=audio/pcm application/ogg=audio/ogg "
    "video/mov=video/quicktime video/wmv=video/x-ms-wmv video/matroska=video/x-matroska video/x-mpeg=video/mpeg"
)
_MAGIC = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
    ("JVBERi0", "application/pdf"),
)
"""How the base64 of each begins, for sources that do not say what they are."""


def media_type(stated: str | None, data: str | None) -> str | None:
    """The media type in its usual spelling, else from the first bytes of `data`."""
    plain = stated.partition(";")[0].strip().lower() if stated else ""
    if plain in ("", "application/octet-stream"):
        return next((known for magic, known in _MAGIC if data and data.startswith(magic)), None)
    return _ALIASES.get(plain, plain)


def format_of(formats: dict[str, str], stated: str | None) -> str | None:
    """AWS's name for a media type; None if it has none."""
    return next((name for name, known in formats.items() if known == stated), None)


_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9\s()\[\]-]+")
_SPACE = re.compile(r"\s+")
_MAX_NAME = 190
"""Characters: 200 are allowed, and a name that is used twice gets a number."""


class MediaEncoder:
    """Media blocks of one request. `claude`: for a model of Anthropic's, which takes documents as text, with a context, and cites them."""

    __slots__ = ("_claude", "_losses", "_names")

    def __init__(self, losses: Losses, *, claude: bool) -> None:
        self._losses = losses
        self._claude = claude
        self._names: dict[str, int] = {}

    def encode(self, block: Media) -> dict[str, JSON]:
        """The content block. Raises `UntranslatableError` for what AWS has no word for."""
        source = block.source
        if source.url is not None and source.url.startswith("data:"):
            raise BadRequestError("a data URL must hold base64", param="messages")
        if source.url is not None:
            raise UntranslatableError("Bedrock fetches no URLs: images and files must be given inline", param="messages")
        if source.file_id is not None:
            raise UntranslatableError("a file id is only known to the provider that issued it", param="messages")
        if isinstance(block, Document):
            return {"document": self._document(block, source)}
        if isinstance(block, Image):
            if block.detail not in (None, "auto"):
                self._losses.add("dropped:image_detail", "images have no detail hint")
            return {"image": self._plain(source, IMAGES, "images", "png, jpeg, gif or webp")}
        if isinstance(block, Video):
            return {"video": self._plain(source, VIDEOS, "videos", "mp4, mov, mkv, webm, flv, mpeg, wmv or 3gp")}
        return {"audio": self._plain(source, AUDIO, "audio", "mp3, wav, flac, ogg, opus, aac, m4a or webm")}

    def _plain(self, source: Source, formats: dict[str, str], what: str, known: str) -> dict[str, JSON]:
        if not source.data:
            raise BadRequestError(f"{what} without data", param="messages")
        stated = media_type(source.media_type, source.data)
        name = format_of(formats, stated)
        if name is None:
            raise UntranslatableError(f"{what} of type {str(stated)[:64]} are not supported: use {known}", param="messages")
        return {"format": name, "source": {"bytes": source.data}}

    def _document(self, block: Document, source: Source) -> dict[str, JSON]:
        stated = media_type(source.media_type, source.data)
        name = format_of(DOCUMENTS, stated)
        if name is None and (source.text is not None or (stated or "").startswith("text/") or stated == "application/json"):
            name = "txt"
        if name is None:
            raise UntranslatableError(f"documents of type {str(stated)[:64]} are not supported", param="messages")
        out: dict[str, JSON] = {"format": name, "name": self._name(block.title)}
        if source.text is not None and self._claude:
            out["source"] = {"text": source.text}
        elif source.text is not None:
            out["source"] = {"bytes": base64.b64encode(source.text.encode("utf-8", "replace")).decode()}
        else:
            out["source"] = {"bytes": source.data}
        if not (source.text or source.data):
            raise BadRequestError("a document without data", param="messages")
        if block.context and self._claude:
            out["context"] = block.context
        elif block.context:
            self._losses.add("dropped:document_context", "the model takes none")
        if block.citations and self._claude:
            out["citations"] = {"enabled": True}
        elif block.citations:
            self._losses.add("dropped:document_citations", "the model has no citations")
        return out

    def _name(self, title: str | None) -> str:
        """A name that AWS takes and that no other document of the request has."""
        name = _SPACE.sub(" ", _NOT_IN_NAME.sub("-", title or "")).strip()[:_MAX_NAME].strip(" -") or "document"
        if title and name != title:
            self._losses.add("coerced:document_title", "names of documents hold letters, digits, spaces, hyphens and brackets")
        number, numbered = self._names.get(name, 0), name
        while numbered in self._names:
            number += 1
            numbered = f"{name} {number}"
        self._names[name] = max(number, 1)
        self._names.setdefault(numbered, 1)
        if title and numbered != name:
            self._losses.add("coerced:document_title", "a name that two documents share got a number")
        return numbered
