"""multipart/form-data (RFC 7578, RFC 2046 section 5.1): where its parts are, the texts of its small fields, and edits of them in the raw bytes.

A file of many MB is never copied: parts are offsets. What two parsers could read differently (a field that we route by twice, a part without a name)
is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from extproc.core.errors import BadRequestError
from extproc.core.ir import JSON

MAX_PARTS = 256
"""Real requests have fewer than thirty: sixteen images and some fields."""
MAX_HEADERS = 8 << 10
"""Bytes of one part's headers."""
MAX_TEXT = 64 << 10
"""Bytes of a field that is read as text; a longer one stays where it is."""
MULTIPART = "multipart/form-data"

_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"\\]{1,70})"|([^\s";,]{1,70}))', re.IGNORECASE)
_DISPOSITION = re.compile(rb"(?:^|\r\n)content-disposition[ \t]*:[ \t]*form-data[ \t]*(;[^\r\n]*)?", re.IGNORECASE)
_PARAMETER = re.compile(rb';[ \t]*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))')
_PADDING = re.compile(rb"[ \t]*")


class Part(NamedTuple):
    """One part: its field's name, whether it is a file, the offsets of its value."""

    name: str
    file: bool
    start: int
    end: int


class Form(dict[str, JSON]):
    """{name: text} of the fields that are small texts; a name that stands more than once is left out. `parts` are all, in order; `close` is the
    offset of the last delimiter."""

    def __init__(self, parts: list[Part], close: int, delimiter: bytes) -> None:
        super().__init__()
        self.parts = parts
        self.close = close
        self.delimiter = delimiter


def boundary_of(content_type: str) -> bytes:
    """The boundary in a multipart content type. Raises `BadRequestError`."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise BadRequestError("The content type multipart/form-data names no boundary.")
    return (found[1] or found[2]).encode("latin-1", "replace")


def read(raw: bytes, content_type: str, single: frozenset[str] = frozenset({"model", "stream"})) -> Form:
    """The form in `raw`. Fields of `single` may stand once at most. Raises `BadRequestError`."""
    delimiter = b"--" + boundary_of(content_type)
    if raw.startswith(delimiter):
        at = len(delimiter)
    else:
        preamble = raw.find(b"\r\n" + delimiter)
        if preamble < 0:
            raise BadRequestError("The multipart body does not contain its boundary.")
        at = preamble + 2 + len(delimiter)
    parts: list[Part] = []
    inner = b"\r\n" + delimiter
    while not raw.startswith(b"--", at):
        at = _PADDING.match(raw, at).end()  # type: ignore[union-attr]  # it matches nothing, too
        if not raw.startswith(b"\r\n", at):
            raise BadRequestError("A boundary of the multipart body is followed by something other than a line's end.")
        if len(parts) == MAX_PARTS:
            raise BadRequestError(f"The multipart body has more than {MAX_PARTS} parts.")
        blank = raw.find(b"\r\n\r\n", at, at + MAX_HEADERS)
        if blank < 0:
            raise BadRequestError("The headers of a part of the multipart body do not end.")
        start = blank + 4
        end = raw.find(inner, start)
        if end < 0:
            raise BadRequestError("The multipart body does not end with its boundary.")
        name, file = _named(raw[at:blank])
        parts.append(Part(name, file, start, end))
        at = end + len(inner)
    form = Form(parts, at - len(delimiter), delimiter)
    seen: set[str] = set()
    for part in parts:
        if part.name in seen and part.name in single:
            raise BadRequestError(f"The field {part.name} stands twice.", param=part.name)
        twice = part.name in seen
        seen.add(part.name)
        if twice:
            form.pop(part.name, None)
        elif not part.file and part.end - part.start <= MAX_TEXT:
            try:
                form[part.name] = raw[part.start : part.end].decode()
            except UnicodeDecodeError:
                if part.name in single:
                    raise BadRequestError(f"The field {part.name} is not UTF-8.", param=part.name) from None
    return form


def _named(headers: bytes) -> tuple[str, bool]:
    """(name, is it a file?) by a part's content-disposition."""
    found = _DISPOSITION.search(headers)
    if found is None:
        raise BadRequestError("A part of the multipart body has no content-disposition of form-data.")
    parameters: dict[bytes, bytes] = {}
    for key, quoted, token in _PARAMETER.findall(found[1] or b""):
        if key.lower() in parameters:
            raise BadRequestError("A part of the multipart body is named twice.")
        parameters[key.lower()] = re.sub(rb"\\(.)", rb"\1", quoted) or token
    name = parameters.get(b"name")
    if name is None:
        raise BadRequestError("A part of the multipart body has no name.")
    return name.decode("utf-8", "replace"), b"filename" in parameters or b"filename*" in parameters


def splice(raw: bytes, form: Form, edits: Mapping[str, bytes]) -> bytes:
    """`raw` with the value of each named field replaced, or the field added at the end where there is none. Every other byte stays."""
    if not edits:
        return raw
    pieces: list[bytes | memoryview] = []
    view = memoryview(raw)
    at = 0
    left = dict(edits)
    for part in form.parts:
        value = left.pop(part.name, None)
        if value is not None:
            pieces += (view[at : part.start], value)
            at = part.end
    for name, value in left.items():
        pieces += (view[at : form.close], form.delimiter, b'\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name.encode(), value))
        at = form.close
    pieces.append(view[at:])
    return b"".join(pieces)
