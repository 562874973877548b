"""Ollama's error envelope, `{"error": "words"}`, both ways, whole and as the last line of a stream. The words and the status are all there is.

Source: recorded errors, and the messages of Ollama's server (`server/routes.go`, `llama/runner`).
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from extproc.core.errors import STATUS, ApiError, ErrorKind, kind_of_status
from extproc.core.ir import JSON

_WORDS = (
    ("not found", ErrorKind.NOT_FOUND),
    ("exceeds the available context", ErrorKind.CONTEXT_LENGTH),
    ("exceed_context_size", ErrorKind.CONTEXT_LENGTH),
    ("input length exceeds", ErrorKind.CONTEXT_LENGTH),
    ("prompt too long", ErrorKind.CONTEXT_LENGTH),
    ("server busy", ErrorKind.OVERLOADED),
    ("unauthorized", ErrorKind.AUTHENTICATION),
    ("usage limit", ErrorKind.RATE_LIMITED),
)
"""What the message says where the status is vague: Ollama answers 400, 404 and 500 for nearly everything."""
_VAGUE = frozenset((0, 400, 404, 500))
_MAX_MESSAGE = 4096


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """Total: a page, an empty body or a foreign envelope is judged by its status alone."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    error = error_of(parsed, status)
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return error
    if 0 <= seconds < 1e9:
        error.retry_after = seconds
    return error


def error_of(envelope: JSON, status: int = 0) -> ApiError:
    """The error in a parsed envelope. `status` 0: it came in a stream, under a 200."""
    said = envelope.get("error") if isinstance(envelope, dict) else None
    if isinstance(said, dict):
        said = said.get("message")
    given = said[:_MAX_MESSAGE] if isinstance(said, str) and said else ""
    kind = kind_of_status(status) if status else ErrorKind.INTERNAL
    if status in _VAGUE:
        lower = given.lower()
        kind = next((k for words, k in _WORDS if words in lower), kind)
    message = given or (f"the provider answered with status {status} and no explanation" if status else "the provider reported an error")
    return ApiError(kind, message, status or STATUS[kind])


def encode_error(error: ApiError) -> tuple[int, bytes]:
    """(status, envelope) for a client of this dialect."""
    return STATUS[error.kind], orjson.dumps({"error": error.message})


def encode_stream_error(error: ApiError) -> bytes:
    """The line that ends a stream under way: Ollama's SDKs raise on it."""
    return orjson.dumps({"error": error.message}) + b"\n"
