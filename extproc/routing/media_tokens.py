"""How many tokens images, documents, sound and films are, by each vendor's documented rule.

An image's width and height stand in the first bytes of PNG, GIF and WebP; those of a JPEG are guessed from its size. Durations and pages are guessed
from sizes, too. What has no size here (a URL, a file's id) counts as the default below.

Rules: https://platform.openai.com/docs/guides/images-vision (tiles of 512 pixels), https://docs.claude.com/en/docs/build-with-claude/vision and
…/pdf-support (patches of 28 pixels; 1,500 to 3,000 tokens a page, and its image), https://ai.google.dev/gemini-api/docs/tokens (tiles of 768 pixels,
258 tokens a page, 32 a second of sound, 263 of film), https://docs.mistral.ai/capabilities/vision and
https://huggingface.co/Qwen/Qwen2-VL-7B-Instruct (patches of 28 pixels). Where a vendor documents none, an image counts 1,000.
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Callable, Iterable
from math import ceil, sqrt

from extproc.core.prompt import Media

IMAGE = (1024, 1024)
"""Width and height where nothing tells them."""
PAGES, SECONDS = 5, 30
"""Of a document, and of sound or film, that is somewhere else."""
_BITS_PER_PIXEL = 2.0
"""Of a photograph as a JPEG of usual quality."""
_BYTES_PER_PAGE = 60_000
_BYTES_PER_SECOND = {"wav": 32_000, "pcm": 32_000, "video": 125_000}
_COMPRESSED = 16_000

Rule = Callable[[float, float], float]
"""Tokens of an image of that width and height."""


def estimate(media: Iterable[Media], family: str) -> float:
    """Tokens of all of them. `family` is a key of `tokens.FAMILIES`."""
    return sum(_of(medium, family) for medium in media)


def _of(medium: Media, family: str) -> float:
    if medium.kind == "image":
        if medium.detail == "low" and family in _TILED:
            return 85
        width, height = dimensions(medium)
        return _IMAGE.get(family, _unknown)(width, height)
    if medium.kind == "document":
        if medium.form.startswith("text/") or medium.form in ("txt", "md", "csv", "html"):
            return medium.size * 0.75 / 4
        pages = ceil(medium.size * 0.75 / _BYTES_PER_PAGE) if medium.size else PAGES
        return pages * _PAGE.get(family, 800)
    seconds = _seconds(medium)
    return seconds * (_FILM.get(family, 150) if medium.kind == "video" else _SOUND.get(family, 25))


def _seconds(medium: Media) -> float:
    if not medium.size:
        return SECONDS
    form = medium.form.rpartition("/")[2].removeprefix("x-")
    rate = _BYTES_PER_SECOND.get("video" if medium.kind == "video" else form, _COMPRESSED)
    return medium.size * 0.75 / rate


def dimensions(medium: Media) -> tuple[float, float]:
    """Width and height in pixels, both at least 1."""
    try:
        head = a2b_base64(medium.head[: len(medium.head) & ~3])
    except ValueError:
        head = b""
    width = height = 0
    if head.startswith(b"\x89PNG") and len(head) >= 24:
        width, height = _number(head[19:15:-1]), _number(head[23:19:-1])
    elif head.startswith(b"GIF8") and len(head) >= 10:
        width, height = _number(head[6:8]), _number(head[8:10])
    elif head[8:12] == b"WEBP" and len(head) >= 30:
        if head[12:16] == b"VP8X":
            width, height = _number(head[24:27]) + 1, _number(head[27:30]) + 1
        elif head[12:16] == b"VP8 ":
            width, height = _number(head[26:28]) & 0x3FFF, _number(head[28:30]) & 0x3FFF
        elif head[12:16] == b"VP8L":
            bits = _number(head[21:25])
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if width and height:
        # a header that lies must not make a number that nothing can be done with
        return min(width, 65_536), min(height, 65_536)
    if not medium.size:
        return IMAGE
    side = max(sqrt(medium.size * 0.75 * 8 / _BITS_PER_PIXEL), 1)
    return side, side


def _number(little_endian: bytes) -> int:
    return int.from_bytes(little_endian, "little")


def _fit(width: float, height: float, longest: float) -> tuple[float, float]:
    scale = min(1.0, longest / max(width, height))
    return width * scale, height * scale


def _tiles_of_512(width: float, height: float) -> float:
    """First into 2048 by 2048, then the shorter side to 768."""
    width, height = _fit(width, height, 2048)
    scale = min(1.0, 768 / min(width, height))
    return 85 + 170 * ceil(width * scale / 512) * ceil(height * scale / 512)


def _tiles_of_768(width: float, height: float) -> float:
    if width <= 384 and height <= 384:
        return 258
    return 258 * min(ceil(width / 768) * ceil(height / 768), 16)


def _patches(side: float, most: float, longest: float) -> Rule:
    def rule(width: float, height: float) -> float:
        width, height = _fit(width, height, longest)
        return min(ceil(width / side) * ceil(height / side), most)

    return rule


def _unknown(width: float, height: float) -> float:  # noqa: ARG001 - a rule without a rule
    return 1000


_TILED = ("o200k", "cl100k", "harmony")
_IMAGE: dict[str, Rule] = {
    **dict.fromkeys(_TILED, _tiles_of_512),
    "anthropic": _patches(28, 1568, 1568),
    "anthropic_2026": _patches(28, 4784, 2576),
    "gemini": _tiles_of_768,
    "mistral": _patches(28, 3025, 1540),
    "qwen": _patches(28, 16_384, 8192),
}
_PAGE = {**dict.fromkeys(_TILED, 1200), "anthropic": 3000, "anthropic_2026": 4000, "gemini": 258}
_SOUND = {**dict.fromkeys(_TILED, 10), "gemini": 32, "mistral": 12.5}
_FILM = {"gemini": 263}
