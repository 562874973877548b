"""Vectors in JSON, and in base64, without a Python object for each of their numbers.

An answer of 2,048 vectors is 40 MB of JSON and three million numbers. What a gateway has to know of it is a few hundred bytes, so `lift` takes
the arrays of numbers out before it parses the rest, and they go to the client's format as the bytes that they came in: no digit changes.

base64 is that of OpenAI's API, and of Cohere's: the numbers as little-endian 32-bit floats. Numbers that become base64 are rounded to 32 bits
there as the providers do it; numbers out of base64 are written as the shortest decimals of the same value in 64 bits, which is what the SDKs give
their callers.
"""

from __future__ import annotations

import base64
import binascii
import re
import sys
from array import array
from enum import StrEnum
from typing import NamedTuple

import orjson

from extproc.core.errors import UpstreamFormatError
from extproc.core.ir import JSON


class VectorType(StrEnum):
    """How one vector is written. The last four are quantized: whole numbers, in the two binary ones each of eight dimensions."""

    FLOAT = "float"
    BASE64 = "base64"
    INT8 = "int8"
    UINT8 = "uint8"
    BINARY = "binary"
    UBINARY = "ubinary"


QUANTIZED = frozenset({VectorType.INT8, VectorType.UINT8, VectorType.BINARY, VectorType.UBINARY})

Vector = bytes | str
"""A JSON array of numbers as raw bytes, or base64 text."""

MAX_ARRAYS = 1 << 17
"""Arrays of numbers in one answer. Providers take at most some thousand inputs; each costs Python time."""

# up to the next array that begins with a number; strings are taken whole, so that brackets in them do not count
_BEFORE = re.compile(rb'(?:[^"\[]++|"(?>[^"\\]++|\\.)*+"|\[(?!\s*+[-0-9]))*+', re.DOTALL)
_NUMBERS = re.compile(rb"\[[-+.0-9eE, \t\r\n]++\]")


class Lifted(NamedTuple):
    """A parsed document in which `[n]` stands for the array of numbers `arrays[n]`. Every array of numbers is lifted, so nothing else looks so."""

    document: JSON
    arrays: list[bytes]

    def numbers(self, value: JSON) -> bytes | None:
        """The raw array behind a value of `document`; None for what is no array of numbers."""
        if not isinstance(value, list) or len(value) > 1:
            return None
        if not value:
            return b"[]"
        place = value[0]
        return self.arrays[place] if type(place) is int else None


def lift(body: bytes) -> Lifted:
    """Parses `body` but for its arrays of numbers. They hold nothing but digits, signs, points, exponents, commas and white space.

    Raises `UpstreamFormatError`.
    """
    arrays: list[bytes] = []
    rest: list[bytes] = []
    at = 0
    while True:
        stop = _BEFORE.match(body, at).end()  # type: ignore[union-attr]
        rest.append(body[at:stop])
        found = _NUMBERS.match(body, stop)
        if found is not None:
            if len(arrays) == MAX_ARRAYS:
                raise UpstreamFormatError("the provider's answer holds too many arrays of numbers")
            rest.append(b"[%d]" % len(arrays))
            arrays.append(found[0])
            at = found.end()
        elif stop < len(body) and body[stop] == 0x5B:
            # it begins with a number and goes on with something else
            rest.append(b"[")
            at = stop + 1
        else:
            rest.append(body[stop:])
            break
    try:
        return Lifted(orjson.loads(b"".join(rest)), arrays)
    except orjson.JSONDecodeError:
        raise UpstreamFormatError("the provider's answer is not JSON") from None


def to_base64(numbers: bytes) -> str:
    """A raw JSON array of numbers as base64. Raises `UpstreamFormatError`."""
    try:
        values = array("f", orjson.loads(numbers))
    except (orjson.JSONDecodeError, TypeError, OverflowError):
        raise UpstreamFormatError("a vector of the provider's answer is not an array of numbers") from None
    return base64.b64encode(_little_endian(values).tobytes()).decode()


def from_base64(text: str) -> bytes:
    """Base64 as a raw JSON array of numbers. Raises `UpstreamFormatError`, also for numbers that JSON does not have."""
    values = array("f")
    try:
        values.frombytes(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        raise UpstreamFormatError("a vector of the provider's answer is not base64 of 32-bit floats") from None
    numbers = orjson.dumps(_little_endian(values).tolist())
    if b"n" in numbers:
        raise UpstreamFormatError("a vector of the provider's answer holds what is not a number")
    return numbers


def _little_endian(values: array[float]) -> array[float]:
    if sys.byteorder == "big":
        values.byteswap()
    return values


def written(vectors: dict[VectorType, list[Vector]], kind: VectorType) -> list[bytes]:
    """Every vector as the JSON value of encoding `kind`: as it came, or converted between floats and base64.

    Raises `UpstreamFormatError` if the provider gave nothing that `kind` could be made of: quantized vectors are not made of floats here, because
    each model has its own way.
    """
    as_came = vectors.get(kind)
    if as_came is not None:
        return [orjson.dumps(v) if isinstance(v, str) else v for v in as_came]
    if kind is VectorType.BASE64 and VectorType.FLOAT in vectors:
        return [b'"%b"' % to_base64(v).encode() for v in vectors[VectorType.FLOAT] if isinstance(v, bytes)]
    if kind is VectorType.FLOAT and VectorType.BASE64 in vectors:
        return [from_base64(v) for v in vectors[VectorType.BASE64] if isinstance(v, str)]
    raise UpstreamFormatError(f"the provider's answer has no vectors of the type {kind.value}")
