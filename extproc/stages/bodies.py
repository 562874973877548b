"""A client's body as the stages and its dialect read it: parsed JSON, or the fields of a form."""

from __future__ import annotations

from collections.abc import Mapping

from extproc.core import jsonedit, multipart
from extproc.core.ir import JSON


def read(raw: bytes, headers: Mapping[str, str]) -> JSON:
    """`headers` are those that travel in the plan, where a form has its content type. Raises `BadRequestError`."""
    form = headers.get("content-type", "")
    return multipart.read(raw, form) if form else jsonedit.load(raw)


def check(raw: bytes, body: JSON) -> None:
    """A name that stands twice is read differently by different parsers: what we judge must be what the provider reads. Raises `BadRequestError`."""
    if not isinstance(body, multipart.Form):
        jsonedit.scan(raw)
