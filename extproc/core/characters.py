"""How many characters of which kind a text has: what the number of its tokens depends on.

Counted with C-speed operations on a sample of bounded size, so a prompt of many MB costs what one of 16 KB does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SAMPLE = 16_384
"""Characters that are looked at; beyond them a text is sampled in `_WINDOWS` pieces at equal distances."""
_WINDOWS = 32
_FEW = 0.05
"""Capitals per small letter up to which they are taken to begin words."""

_LOWER, _UPPER, _DIGIT, _MARK, _LINE, _SPACE = b"aA0.\n "


def _table(class_of: Callable[[int], int]) -> bytes:
    return bytes(map(class_of, range(256)))


def _class(byte: int) -> int:
    """The class of an ASCII character. 0x1a stands for a run of others, and belongs to none."""
    if byte in (_LINE, 0x1A):
        return byte
    character = chr(byte) if byte < 128 else ""
    return _LOWER if character.islower() else _UPPER if character.isupper() else _DIGIT if character.isdigit() else _SPACE if byte <= 32 else _MARK


_KINDS = _table(_class)
_WORDS = _table(lambda byte: ord("w") if _class(byte) in (_LOWER, _UPPER) else 0x1A if byte == 0x1A else _SPACE)
_NUMBERS = _table(lambda byte: ord("n") if _class(byte) == _DIGIT else _SPACE)

_FOREIGN = re.compile(r"[^\x00-\x7f]+")
_HAN = re.compile(r"[\u2e80-\u30ff\u3100-\u312f\u31a0-\ua4cf\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]+")
_HANGUL = re.compile(r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7ff]+")
_CYRILLIC = re.compile(r"[\u0370-\u052f\u1f00-\u1fff]+")
_LATIN = re.compile(r"[\u00a0-\u024f\u1e00-\u1eff\u2000-\u206f]+")


@dataclass(slots=True)
class Characters:
    """Numbers of characters; of texts longer than the sample they are estimates.

    `words` are runs of letters that begin with an ASCII one, `shouted` pairs of capitals, `numbers` runs of digits, `marks` punctuation and
    symbols, `lines` line feeds. `han` are Chinese and Japanese characters, `hangul` Korean ones, `latin` letters with accents and typographic marks,
    `cyrillic` Greek ones too, `others` those of all other scripts, and emoji; `letters`, `digits` and `marks` are the ASCII ones.
    """

    total: int = 0
    letters: float = 0.0
    words: float = 0.0
    shouted: float = 0.0
    digits: float = 0.0
    numbers: float = 0.0
    marks: float = 0.0
    lines: float = 0.0
    han: float = 0.0
    hangul: float = 0.0
    latin: float = 0.0
    cyrillic: float = 0.0
    others: float = 0.0


NOTHING = Characters()


def count(pieces: Sequence[str]) -> Characters:
    """The characters of all `pieces` together."""
    total = sum(map(len, pieces))
    if not total:
        return NOTHING
    text = "\n".join(pieces) if total <= SAMPLE else sample(pieces, total)
    scale = total / len(text) if total > SAMPLE else 1.0
    han = hangul = latin = cyrillic = others = 0
    if text.isascii():
        raw = text.encode()
    else:
        foreign = "".join(_FOREIGN.findall(text))
        han = sum(map(len, _HAN.findall(foreign)))
        hangul = sum(map(len, _HANGUL.findall(foreign)))
        latin = sum(map(len, _LATIN.findall(foreign)))
        cyrillic = sum(map(len, _CYRILLIC.findall(foreign)))
        others = len(foreign) - han - hangul - latin - cyrillic
        raw = _FOREIGN.sub("\x1a", text).encode()
    kinds = raw.translate(_KINDS)
    of = kinds.count
    lower, upper, digits = of(b"a"), of(b"A"), of(b"0")
    return Characters(
        total,
        (lower + upper) * scale,
        (b" " + raw.translate(_WORDS)).count(b" w") * scale,
        of(b"AA") * scale if upper > lower * _FEW else 0.0,
        digits * scale,
        (b" " + raw.translate(_NUMBERS)).count(b" n") * scale if digits else 0.0,
        of(b".") * scale,
        of(b"\n") * scale,
        han * scale,
        hangul * scale,
        latin * scale,
        cyrillic * scale,
        others * scale,
    )


def sample(pieces: Sequence[str], total: int, size: int = SAMPLE) -> str:
    """`size` characters of `pieces`, which have `total`, in windows at equal distances."""
    step, window = total / _WINDOWS, size // _WINDOWS
    found: list[str] = []
    at, start = 0, 0.0
    for piece in pieces:
        end = at + len(piece)
        while start < end:
            begin = max(int(start) - at, 0)
            found.append(piece[begin : begin + window])
            start += step
        at = end
    return "".join(found)
