"""Small conventions of the Responses format that requests, answers and streams share: names, ids of ours, reasoning items.

Reasoning items carry state that only their vendor can read, `encrypted_content`, and belong to an item id. As `Opaque.data` that is
`<item id>:<encrypted_content>`; ids hold no colon. Another vendor's signature rides in the same slot, marked as `core.carrier` says.
Several vendors speak this format and none can read the other's state; whose an item is shows in its id (all recorded answers): OpenAI and
Azure `rs_<hex>`, xAI `rs_<uuid>`, OpenRouter `rs_tmp_<word>`.
Reference: https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

import hashlib
import re

from extproc.core import carrier
from extproc.core.ir import JSON, Opaque, Thinking

NAME = "openai_responses"
VENDOR = "openai"

_OURS = "llm1_"
_MINTS = ((re.compile(r"rs_[0-9a-f]{8}-[0-9a-f]{4}-"), "xai"), (re.compile(r"rs_tmp_"), "openrouter"))
MINTING = frozenset({VENDOR, *(vendor for _, vendor in _MINTS)})
"""Vendors of the format that encrypt reasoning."""

BREAK = "\n\n"
"""Between the parts of one summary, which are paragraphs of one text elsewhere."""


def minted_id(prefix: str, *names: object) -> str:
    """An item id for what no provider gave one: the same for the same names. `is_ours` knows it again."""
    return f"{prefix}_{_OURS}{hashlib.sha256('/'.join(map(str, names)).encode('utf-8', 'replace')).hexdigest()[:24]}"


def is_ours(item_id: JSON) -> bool:
    """Is it an id that `minted_id` made?"""
    return isinstance(item_id, str) and item_id.partition("_")[2].startswith(_OURS)


def minter(item_id: str) -> str:
    """The vendor whose reasoning items have such ids."""
    return next((vendor for pattern, vendor in _MINTS if pattern.match(item_id)), VENDOR)


def opaque(item_id: JSON, encrypted: JSON) -> Opaque | None:
    """The state of a reasoning item, None if it has none."""
    if not isinstance(encrypted, str) or not encrypted:
        return None
    if encrypted.startswith(carrier.SLOT):
        return carrier.from_slot(encrypted, VENDOR)
    item_id = item_id if isinstance(item_id, str) else ""
    return Opaque(minter(item_id), f"{item_id}:{encrypted}")


def state(sealed: Opaque) -> tuple[str, str] | None:
    """(item id, `encrypted_content`) of what `opaque` gave; None for what another format minted, of the same vendor even."""
    item_id, colon, encrypted = sealed.data.partition(":")
    return (item_id, encrypted) if sealed.vendor in MINTING and colon and (not item_id or item_id.startswith("rs_")) else None


def slot(sealed: Opaque) -> tuple[str, str]:
    """(item id or "", `encrypted_content`) for a client: the inverse of `opaque`."""
    return state(sealed) or ("", carrier.to_slot(sealed, ""))


def _texts(parts: JSON) -> list[str]:
    return [p["text"] for p in parts if isinstance(p, dict) and isinstance(p.get("text"), str)] if isinstance(parts, list) else []


def thinking_of(item: dict[str, JSON]) -> Thinking | None:
    """A reasoning item; None if it holds neither text nor state. Hidden thoughts have no summary part at all, not even an empty one."""
    texts = _texts(item.get("summary")) or _texts(item.get("content"))
    sealed = opaque(item.get("id"), item.get("encrypted_content"))
    text = BREAK.join(texts)
    if not text and sealed is None:
        return None
    return Thinking(text, sealed, redacted=not texts)
