"""Embeddings and scores of relevance, made from the text alone: the same text always gets the same numbers."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import struct


def vector(text: str, dimensions: int) -> list[float]:
    """`dimensions` numbers of length 1 together, each one that 32 bits can say."""
    numbers: list[float] = []
    block = 0
    while len(numbers) < dimensions:
        digest = hashlib.blake2b(text.encode() + block.to_bytes(4, "big")).digest()
        numbers += [n / 32768 for n in struct.unpack("<32h", digest)]
        block += 1
    del numbers[dimensions:]
    length = math.sqrt(sum(n * n for n in numbers)) or 1.0
    return list(struct.unpack(f"<{dimensions}f", struct.pack(f"<{dimensions}f", *(n / length for n in numbers))))


def packed(numbers: list[float]) -> str:
    """As base64 of little-endian 32-bit floats."""
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def relevance(query: str, document: str) -> float:
    """Between 0 and 1: how many words of the query the document has."""
    wanted = set(re.findall(r"\w+", query.lower()))
    have = set(re.findall(r"\w+", document.lower()))
    return round(0.01 + 0.98 * len(wanted & have) / max(len(wanted), 1), 6)


def ranked(query: str, documents: list[str], top: int | None) -> list[tuple[int, float]]:
    """(index, relevance) of the `top` most relevant documents, the best first."""
    scores = sorted(((i, relevance(query, d)) for i, d in enumerate(documents)), key=lambda one: (-one[1], one[0]))
    return scores[:top]
