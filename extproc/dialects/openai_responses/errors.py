"""How a Responses stream under way ends in an error. Everything else about errors is `core.openai_errors`."""

from __future__ import annotations

import orjson

from extproc.core.errors import ApiError
from extproc.core.framing import sse
from extproc.core.openai_errors import envelope


def encode_stream_error(error: ApiError, sequence_number: int = 0) -> bytes:
    """The `error` event: its published members, and OpenAI's error object, which is what makes the SDK raise. Nothing follows it."""
    said = envelope(error)
    event = {
        "type": "error",
        "sequence_number": sequence_number,
        "code": said["code"] or said["type"],
        "message": said["message"],
        "param": said["param"],
        "error": said,
    }
    return sse(orjson.dumps(event), "error")
