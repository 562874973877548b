"""How a Chat Completions stream under way ends in an error. Everything else about errors is `core.openai_errors`."""

from __future__ import annotations

import orjson

from extproc.core.errors import ApiError
from extproc.core.framing import sse
from extproc.core.openai_errors import envelope


def encode_stream_error(error: ApiError) -> bytes:
    """An event whose `error` member makes the SDK raise. No `[DONE]` follows."""
    return sse(orjson.dumps({"error": envelope(error)}))
