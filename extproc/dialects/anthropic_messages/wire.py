"""Small conventions of the Messages format that requests, answers and streams share: names, cache marks, tool ids, the signature slot.

Wire format: https://platform.claude.com/docs/en/api/messages. Two additions are ours, and both are versioned:

* A signature that another vendor minted rides in `signature` (or in `data` of `redacted_thinking`), marked as `core.carrier` says.
* Anthropic refuses tool ids outside `[a-zA-Z0-9_-]`. Other ids are written as `llm1id_<base64url>` and read back as they were.
"""

from __future__ import annotations

import base64
import binascii
import re

from extproc.core import carrier
from extproc.core.ir import JSON, Opaque
from extproc.core.tool_names import wire_name

NAME = "anthropic_messages"
VENDOR = "anthropic"
DEFAULT_VERSION = "2023-06-01"

_ID_ESCAPE = "llm1id_"
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_SAFE_ID = re.compile(r"[a-zA-Z0-9_-]+")


def signature(opaque: Opaque | None) -> str:
    """What goes into the native slot; "" where there is no signature."""
    return carrier.to_slot(opaque, VENDOR)


def opaque(slot: object) -> Opaque | None:
    """The inverse of `signature`."""
    return carrier.from_slot(slot, VENDOR)


def tool_name(name: str) -> str:
    """`name` as Anthropic takes it: twice as long as in most formats, or in the form that fits every one."""
    return name if _TOOL_NAME.fullmatch(name) else wire_name(name)


def safe_id(call_id: str) -> str:
    """A tool id that Anthropic takes, from which `original_id` gives the first one back."""
    if _SAFE_ID.fullmatch(call_id) and not call_id.startswith(_ID_ESCAPE):
        return call_id
    return _ID_ESCAPE + base64.urlsafe_b64encode(call_id.encode("utf-8", "surrogatepass")).rstrip(b"=").decode()


def original_id(call_id: str) -> str:
    """The id that `safe_id` was given; an id that it did not write is itself."""
    if not call_id.startswith(_ID_ESCAPE):
        return call_id
    packed = call_id[len(_ID_ESCAPE) :]
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True).decode("utf-8", "surrogatepass")
    except (binascii.Error, ValueError):
        return call_id


def cache_mark(block: JSON) -> str | None:
    """`cache_control` of a parsed block as a canonical mark: "5m", "1h", "default"; None without one."""
    control = block.get("cache_control")
    if not isinstance(control, dict):
        return None
    ttl = control.get("ttl")
    return ttl if ttl in ("5m", "1h") else "default"


def cache_control(mark: str) -> dict[str, str]:
    """The canonical mark as `cache_control`."""
    return {"type": "ephemeral", "ttl": mark} if mark in {"5m", "1h"} else {"type": "ephemeral"}
