"""Anthropic's format inside Vertex AI: `…/models/{model}:rawPredict` and `:streamRawPredict`, the body with `anthropic_version` and without a model.

Answers and streams are Anthropic's own. Errors are Anthropic's where the model answers, Google's where Vertex does.
Sources: the anthropic SDK's `lib/vertex`; https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude; recorded exchanges.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from extproc.core.dialect import Ask, Encoded, Facts
from extproc.core.errors import ApiError, UntranslatableError
from extproc.core.headers import is_safe_segment
from extproc.core.ir import JSON
from extproc.core.losses import Losses
from extproc.dialects.envelopes.anthropic_body import betas, wrapped
from extproc.dialects.envelopes.wrapper import Wrapper

VERSION = "vertex-2023-10-16"
_BETAS = re.compile(
    r"(?:computer-use|interleaved-thinking|context-1m|context-management|tool-search-tool|web-search|compact|per-turn-control|mid-conversation-[a-z-]+"
    r"|thinking-[a-z-]+)-\d{4}-\d\d-\d\d"
)
_REFUSED = ("service_tier", "inference_geo")
_DELAY = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")


class Vertex(Wrapper):
    """The `Dialect` of Anthropic's models on Vertex AI."""

    def encode_request(self, request: Any, facts: Facts) -> Encoded:
        return _wrapped(self.inner.encode_request(request, facts), facts, stream=request.stream)

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:
        return _wrapped(self.inner.splice_request(raw, body, facts, ask), facts, stream=ask.stream)

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
        google = _google(body)
        if google is None:
            return self.inner.decode_error(status, headers, body)
        message, word, wait = google
        # the status says the kind, and the inner dialect knows what its model's own words mean
        error = self.inner.decode_error(status, headers, orjson.dumps({"type": "error", "error": {"message": message}}))
        error.raw_type = word
        error.retry_after = wait if wait is not None else error.retry_after
        return error


def _wrapped(encoded: Encoded, facts: Facts, *, stream: bool) -> Encoded:
    model = facts.wire_model
    if not is_safe_segment(model) or ":" in model:
        raise UntranslatableError("the model's name cannot be part of a Vertex path", param="model")
    losses = Losses()
    path = f"/models/{model}:{'streamRawPredict' if stream else 'rawPredict'}"
    return wrapped(encoded, path, VERSION, _REFUSED, betas(encoded, _BETAS, losses), losses, in_body=False)


def _google(body: bytes) -> tuple[str, str | None, float | None] | None:
    """(message, status name, seconds to wait) of Google's envelope, also in a list of one; None for another."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    inner = parsed.get("error") if isinstance(parsed, dict) and parsed.get("type") != "error" else None
    if not isinstance(inner, dict) or not isinstance(inner.get("message"), str):
        return None
    word, details = inner.get("status"), inner.get("details")
    delays = [d.get("retryDelay") for d in details if isinstance(d, dict)] if isinstance(details, list) else []
    found = next((match for delay in delays if isinstance(delay, str) and (match := _DELAY.fullmatch(delay))), None)
    return inner["message"], word[:64] if isinstance(word, str) else None, float(found[1]) if found else None
