"""`thoughtSignature`: the slot for opaque state that every part has, and that Gemini's clients send back.

It holds bytes, as base64 in either alphabet: the Python SDK decodes it and writes it URL-safe, others keep the string. So another vendor's state
rides in it as base64 of a mark and `carrier.pack`: the signature of this call, the signed thoughts that led to it, and the call's id, because
many clients send function responses, and some send calls, without their ids. Every function call of another vendor gets a slot, even with nothing
but its id in it: a Gemini model that takes the conversation over refuses calls without a signature, and the mark says where Google's
stand-in belongs. The mark's length keeps the base64 of both marks constant: `bGxtMTo6` and `bGxtMTor`.
"""

from __future__ import annotations

import base64
import binascii
import re

from extproc.core import carrier
from extproc.core.ir import Opaque, Thinking, ToolCall
from extproc.core.losses import Losses
from extproc.dialects.gemini.wire import VENDOR, is_synthetic

STAND_IN = "skip_thought_signature_validator"
"""Google's documented stand-in for function calls that another vendor's model made: https://ai.google.dev/gemini-api/docs/thought-signatures."""

_FIRST_CALL = b"llm1::"
"""On an answer's first function call, the one that Gemini 3 wants a signature on."""
_OTHER = b"llm1:+"
_SLOT = re.compile(rb'("thought(?:S|_s)ignature"\s*:\s*)"bGxtMTo([6r])(?:[^"\\]|\\.)*"')
_PREFIX = re.compile(rb'"bGxtMTo[6r]')
_STANDARD = str.maketrans("-_", "+/")


def _slot(mark: bytes, data: bytes) -> str:
    return base64.b64encode(mark + data).decode()


def read(slot: object) -> tuple[str, Opaque | None, list[Thinking]]:
    """(call id or "", signature, signed thoughts before it) of a `thoughtSignature`. What carries no mark is Gemini's own."""
    if not isinstance(slot, str) or not slot or slot == STAND_IN:
        return "", None, []
    if not slot.startswith(("bGxtMTo6", "bGxtMTor")):
        return "", Opaque(VENDOR, slot), []
    try:
        data = base64.b64decode((slot.rstrip("=") + "=" * (-len(slot.rstrip("=")) % 4)).translate(_STANDARD))
    except (binascii.Error, ValueError):
        return "", None, []
    return carrier.unpack(data[len(_OTHER) :])


def cleaned(raw: bytes, losses: Losses, *, stand_in: bool) -> bytes:
    """A Gemini client's raw request without any other vendor's state, for a Gemini model. `stand_in`: its model wants signatures."""
    if _PREFIX.search(raw) is None:
        return raw
    found: set[bytes] = set()

    def replaced(match: re.Match[bytes]) -> bytes:
        found.add(match[2])
        return b'%b"%b"' % (match[1], STAND_IN.encode() if stand_in and match[2] == b"6" else b"")

    raw = _SLOT.sub(replaced, raw)
    if found:
        losses.add("signature:foreign", "opaque reasoning of another vendor")
    if stand_in and b"6" in found:
        losses.add("coerced:thought_signature", "function calls of another model carry Google's stand-in for a signature")
    return raw


class Carried:
    """The slots of one answer for a client. `thoughts` of another vendor wait for the function call that they led to, or the end."""

    __slots__ = ("_calls", "_own", "_thoughts")

    def __init__(self) -> None:
        self._thoughts: list[Thinking] = []
        self._calls = 0
        self._own = False

    def wait(self, thought: Thinking) -> None:
        """Takes another vendor's signed thought along."""
        self._thoughts.append(thought)

    def call(self, block: ToolCall) -> str:
        """The slot of a function call; "" for one of Gemini's own without a signature."""
        self._calls += 1
        if block.opaque is not None and block.opaque.vendor == VENDOR:
            self._own = True
            return block.opaque.data
        if (self._own or is_synthetic(block.id)) and block.opaque is None and not self._thoughts:
            return ""
        data = carrier.pack(block.opaque, self._thoughts, block.id)
        self._thoughts = []
        return _slot(_FIRST_CALL if self._calls == 1 else _OTHER, data)

    def text(self, opaque: Opaque | None) -> str:
        """The slot of a text or a thought; "" for none."""
        if opaque is None:
            return ""
        if opaque.vendor == VENDOR:
            self._own = True
            return opaque.data
        return _slot(_OTHER, carrier.pack(opaque, []))

    def rest(self) -> str:
        """The slot for what still waits when the answer ends; "" for nothing."""
        thoughts, self._thoughts = self._thoughts, []
        return _slot(_OTHER, carrier.pack(None, thoughts)) if thoughts else ""
