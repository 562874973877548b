"""`thoughtSignature`: the slot for opaque state that every part has, and that Gemini's clients send back.

It holds bytes, as base64 in either alphabet: the Python SDK decodes it and writes it URL-safe, others keep the string. So another vendor's state
rides in it as base64 of a mark and `carrier.pack`: the signature of this call, the signed thoughts that led to it, and the call's id, because
many clients send function responses, and some send calls, without their ids. Every function call of another vendor gets a slot, even with nothing
but its id in it: a Gemini model that takes the conversation over refuses calls without a signature, and the mark says where Google's
stand-in belongs. With its kind the mark is six bytes, so that its base64 is always the same: `bGxtMTo6` and its like.
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

_MARK = b"llm1:"
_KINDS = {(True, True): b":", (True, False): b";", (False, True): b"+", (False, False): b","}
"""Behind the mark: (is it on an answer's first function call, the one that Gemini 3 wants a signature on; is there more than an id)."""
_SLOT = re.compile(rb'("thought(?:S|_s)ignature"\s*:\s*)"bGxtMTo([67rs])(?:[^"\\]|\\.)*"')
_PREFIX = re.compile(rb'"bGxtMTo[67rs]')
_PREFIXES = ("bGxtMTo6", "bGxtMTo7", "bGxtMTor", "bGxtMTos")
_STANDARD = str.maketrans("-_", "+/")


def _slot(opaque: Opaque | None, thoughts: list[Thinking], call_id: str = "", *, first: bool = False) -> str:
    kind = _KINDS[first, opaque is not None or bool(thoughts)]
    return base64.b64encode(_MARK + kind + carrier.pack(opaque, thoughts, call_id)).decode()


def read(slot: object) -> tuple[str, Opaque | None, list[Thinking]]:
    """(call id or "", signature, signed thoughts before it) of a `thoughtSignature`. What carries no mark is Gemini's own."""
    if not isinstance(slot, str) or not slot or slot == STAND_IN:
        return "", None, []
    if not slot.startswith(_PREFIXES):
        return "", Opaque(VENDOR, slot), []
    try:
        data = base64.b64decode((slot.rstrip("=") + "=" * (-len(slot.rstrip("=")) % 4)).translate(_STANDARD))
    except (binascii.Error, ValueError):
        return "", None, []
    return carrier.unpack(data[len(_MARK) + 1 :])


def cleaned(raw: bytes, losses: Losses, *, stand_in: bool) -> bytes:
    """A Gemini client's raw request without any other vendor's state, for a Gemini model. `stand_in`: its model wants signatures."""
    if _PREFIX.search(raw) is None:
        return raw
    found: set[bytes] = set()

    def replaced(match: re.Match[bytes]) -> bytes:
        found.add(match[2])
        return b'%b"%b"' % (match[1], STAND_IN.encode() if stand_in and match[2] in b"67" else b"")

    raw = _SLOT.sub(replaced, raw)
    if found & {b"6", b"r"}:
        losses.add("signature:foreign", "opaque reasoning of another vendor")
    if stand_in and found & {b"6", b"7"}:
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
        thoughts, self._thoughts = self._thoughts, []
        return _slot(block.opaque, thoughts, block.id, first=self._calls == 1)

    def text(self, opaque: Opaque | None) -> str:
        """The slot of a text or a thought; "" for none."""
        if opaque is None:
            return ""
        if opaque.vendor == VENDOR:
            self._own = True
            return opaque.data
        return _slot(opaque, [])

    def rest(self) -> str:
        """The slot for what still waits when the answer ends; "" for nothing."""
        thoughts, self._thoughts = self._thoughts, []
        return _slot(None, thoughts) if thoughts else ""
