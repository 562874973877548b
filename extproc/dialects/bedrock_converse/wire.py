"""Small conventions of the Converse format that requests, answers and streams share: ids, cache points, redacted reasoning, JSON.

Wire format: botocore's service model of bedrock-runtime, https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html.
Bytes are base64 in JSON. Two additions are ours, and both are versioned:

* Reasoning that another vendor signed rides in `signature` (or in `redactedContent`), marked as `core.carrier` says.
* Tool ids outside `[a-zA-Z0-9_.:-]` are written as `llm1id_<base64url>` and read back as they were; for a provider, one that is too long is hashed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from extproc.core import carrier
from extproc.core.ir import JSON, Opaque

NAME = "bedrock_converse"
VENDOR = "anthropic"
"""Who minted what stands in the slots for signatures: of the models that Bedrock serves, Anthropic's alone sign their reasoning."""

_ID_ESCAPE = "llm1id_"
_SAFE_ID = re.compile(r"[a-zA-Z0-9_.:-]+")
_MAX_ID = 56
"""Characters of an id for a provider: 64 are allowed, and one that is used twice gets a number."""


def client_id(call_id: str) -> str:
    """A tool id in Converse's alphabet, from which `original_id` gives the first one back."""
    if _SAFE_ID.fullmatch(call_id) and not call_id.startswith(_ID_ESCAPE):
        return call_id
    return _ID_ESCAPE + base64.urlsafe_b64encode(call_id.encode("utf-8", "surrogatepass")).rstrip(b"=").decode()


def original_id(call_id: str) -> str:
    """The id that `client_id` was given; an id that it did not write is itself."""
    if not call_id.startswith(_ID_ESCAPE):
        return call_id
    packed = call_id[len(_ID_ESCAPE) :]
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True).decode("utf-8", "surrogatepass")
    except (binascii.Error, ValueError):
        return call_id


def provider_id(call_id: str) -> str:
    """A tool id that AWS takes. It comes back in no answer, so one that is too long need not be read again."""
    safe = client_id(call_id)
    return safe if len(safe) <= _MAX_ID else "llm1h_" + hashlib.blake2b(safe.encode(), digest_size=20).hexdigest()


def cache_point(mark: str, *, lifetimes: bool) -> dict[str, JSON]:
    """The canonical mark as a block of its own. `lifetimes`: the model takes another one than its own."""
    return {"cachePoint": {"type": "default", "ttl": mark} if lifetimes and mark in {"5m", "1h"} else {"type": "default"}}


def cache_mark(point: JSON) -> str:
    """The inverse."""
    ttl = point.get("ttl") if isinstance(point, dict) else None
    return ttl if ttl in ("5m", "1h") else "default"


# Redacted reasoning. Anthropic's `data` is a text; as bytes of AWS it is that text in base64 once more. Bytes that are no text keep their base64,
# behind a mark that no text of Anthropic's begins with.

_BYTES = "bytes:"


def redacted_out(opaque: Opaque | None) -> str:
    """`redactedContent` as JSON has it."""
    slot = carrier.to_slot(opaque, VENDOR)
    return slot[len(_BYTES) :] if slot.startswith(_BYTES) else base64.b64encode(slot.encode("utf-8", "replace")).decode()


def redacted_in(content: object) -> Opaque | None:
    """The inverse."""
    if not isinstance(content, str) or not content:
        return None
    try:
        text = base64.b64decode(content, validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return Opaque(VENDOR, _BYTES + content)
    return carrier.from_slot(text, VENDOR)
