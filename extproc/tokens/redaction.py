"""What may be said of a failure. Issuers and their libraries put pieces of requests and answers into error texts, and those may hold secrets."""

from __future__ import annotations

import re

LIMIT = 300
"""Characters."""

_RUN = re.compile(r"[A-Za-z0-9_+=.~-]{20,}")
_PEM = re.compile(r"-----BEGIN [^-]*-----.*?(?:-----END [^-]*-----|\Z)", re.DOTALL)
"""A key in lines: a slash in its base64 would cut it into runs that are too short to be taken for one."""
_IDENTIFIER = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\.?\Z")
_WORDS = re.compile(r"(?:[A-Za-z]+[_.-])*[A-Za-z]+\.?\Z")


def safe_text(error: BaseException) -> str:
    """The type and the text of `error` on one line. Long runs of characters that are neither words nor an identifier of Entra are left out."""
    text = " ".join(_PEM.sub("…", str(error)).split())
    return f"{type(error).__name__}: {_RUN.sub(_kept, text)[:LIMIT]}".rstrip(": ")


def _kept(run: re.Match[str]) -> str:
    words = _WORDS.match(run[0]) is not None and max(map(len, re.split(r"[_.-]", run[0]))) < 20
    return run[0] if words or _IDENTIFIER.match(run[0]) else "…"
