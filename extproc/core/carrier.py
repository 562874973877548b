"""Opaque state that rides in a tool call's id, the one field that clients of every dialect send back unchanged.

Anthropic wants its signed thinking back before the tool use that it led to, Gemini wants the thought signature of each function call back.
Chat Completions has no slot for either, and clients drop fields that they do not know, but all of them echo tool call ids. So the id that
the client sees is `<id>__llm1_<payload>`: `__llm1_` is the versioned mark and the payload is base64url(zlib(JSON)), in the alphabet that
every dialect allows for ids. `split` gives back the provider's own id and the state.

Formats that do have a slot for their own vendor's signature take another vendor's in it, as `llm1.<vendor>.<data>`: `to_slot`, `from_slot`. Real
signatures are base64 and hold no dot, so the two cannot be confused. A slot for bytes takes `pack`, behind a mark of the format's own.

The payload is the client's to forge, and harmless: it is replayed only to the vendor it names, which verifies its own signatures.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib

import orjson

from extproc.core.ir import Opaque, Thinking

MARK = "__llm1_"
_PATTERN = re.compile(rb"__llm1_[A-Za-z0-9_-]*")
_MAX_STATE = 1 << 20
"""Bytes of JSON that one id may unpack to; larger is treated as no state."""
_MAX_RATIO = 16
"""How much larger than itself a payload may unpack. Signatures do not compress at all, thoughts four times; a body full of forged ids, each of
which unpacks a thousandfold, would fill the memory. What really compresses more is not compressed."""


def _limit(packed: int) -> int:
    return min(_MAX_STATE, _MAX_RATIO * packed)


def join(call_id: str, opaque: Opaque | None, thoughts: list[Thinking]) -> str:
    """`call_id` with its own signature and the signed thoughts that led to it; `call_id` itself when there is neither."""
    if opaque is None and all(t.opaque is None for t in thoughts):
        return call_id
    packed = base64.urlsafe_b64encode(pack(opaque, thoughts)).rstrip(b"=").decode()
    return f"{call_id}{MARK}{packed}"


def split(carried: str) -> tuple[str, Opaque | None, list[Thinking]]:
    """(the provider's id, its signature, the thoughts before it). A payload that does not unpack is dropped with its mark."""
    call_id, mark, packed = carried.partition(MARK)
    if not mark:
        return carried, None, []
    try:
        data = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
    except (binascii.Error, ValueError):
        return call_id, None, []
    _, opaque, thoughts = unpack(data)
    return call_id, opaque, thoughts


def pack(opaque: Opaque | None, thoughts: list[Thinking], call_id: str = "") -> bytes:
    """The state as bytes: a signature, the signed ones among `thoughts`, and the id of the call that they belong to, where it may get lost."""
    state: dict[str, object] = {"i": call_id} if call_id else {}
    if opaque is not None:
        state["o"] = [opaque.vendor, opaque.data]
    signed = [[t.opaque.vendor, t.opaque.data, t.text, t.redacted] for t in thoughts if t.opaque is not None]
    if signed:
        state["t"] = signed
    raw = orjson.dumps(state)
    data = zlib.compress(raw, 6)
    return data if len(raw) <= _limit(len(data)) else zlib.compress(raw, 0)


def unpack(data: bytes) -> tuple[str, Opaque | None, list[Thinking]]:
    """The inverse of `pack`: (call id, signature, thoughts). What `pack` did not write holds nothing."""
    try:
        state = orjson.loads(zlib.decompressobj().decompress(data, _limit(len(data))))
        own = state.get("o")
        opaque = Opaque(str(own[0]), str(own[1])) if own else None
        thoughts = [Thinking(str(text), Opaque(str(vendor), str(data)), bool(redacted)) for vendor, data, text, redacted in state.get("t", ())]
        return str(state.get("i", "")), opaque, thoughts
    except (zlib.error, orjson.JSONDecodeError, AttributeError, IndexError, KeyError, TypeError, ValueError):
        return "", None, []


def marked(raw: bytes) -> bool:
    """Does any carried state stand in `raw`? An expression finds a short word in many MB in half the time that `in` takes."""
    return _PATTERN.search(raw) is not None


def strip(raw: bytes) -> bytes:
    """Raw JSON without any carried state, for a same-dialect target that minted none of it. The alphabet makes a byte edit safe."""
    return _PATTERN.sub(b"", raw) if marked(raw) else raw


SLOT = "llm1."


def to_slot(opaque: Opaque | None, own: str) -> str:
    """What goes into the slot that a format has for signatures of the vendor `own`; "" where there is no signature."""
    if opaque is None:
        return ""
    return opaque.data if opaque.vendor == own else f"{SLOT}{opaque.vendor}.{opaque.data}"


def from_slot(slot: object, own: str) -> Opaque | None:
    """The inverse of `to_slot`. A slot that names no vendor behind our prefix is no signature."""
    if not isinstance(slot, str) or not slot:
        return None
    if not slot.startswith(SLOT):
        return Opaque(own, slot)
    vendor, dot, data = slot[len(SLOT) :].partition(".")
    return Opaque(vendor, data) if dot and vendor and data else None
