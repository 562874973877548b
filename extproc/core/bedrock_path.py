"""Paths of Bedrock's runtime: `/model/{id}/{operation}`, the id percent-encoded as AWS's SDKs do (`%3A`, and `%2F` inside an ARN)."""

from __future__ import annotations

from urllib.parse import quote

from extproc.core.errors import UntranslatableError
from extproc.core.headers import is_safe_segment


def bedrock_path(model: str, operation: str) -> str:
    """Raises `UntranslatableError` for an id or ARN that could mean another resource."""
    if not all(is_safe_segment(part) for part in model.split("/")):
        raise UntranslatableError("the model's id cannot be part of a Bedrock path", param="model")
    return f"/model/{quote(model, safe='')}/{operation}"
