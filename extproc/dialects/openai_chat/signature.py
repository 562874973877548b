"""Gemini's thought signatures at its OpenAI endpoint: on a tool call or a message, in `extra_content`, which clients send back.

Reference: https://ai.google.dev/gemini-api/docs/thought-signatures
"""

from __future__ import annotations

from extproc.core.ir import JSON, Opaque


def google_signature(value: dict[str, JSON]) -> Opaque | None:
    """The signature on a message or call; older answers had it beside `extra_content`."""
    extra = value.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    found = google.get("thought_signature") if isinstance(google, dict) else value.get("thought_signature")
    return Opaque("gemini", found) if isinstance(found, str) and found else None
