"""W3C trace context as we need it: reading a caller's or Envoy's parent, and the text in which the chat span's context travels in the plan.

https://www.w3.org/TR/trace-context/ sections 3.2 and 3.3. Everything here comes from headers, so nothing raises: what does not parse is no parent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

SAMPLED = 0x01

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII | re.DOTALL)
_ENVOY_SPAN = re.compile(r"([0-9a-f]{32})-([0-9a-f]{16})", re.ASCII)
_KEY = r"(?:[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13}|[a-z][a-z0-9_\-*/]{0,255})"
_MEMBER = re.compile(rf"{_KEY}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{{0,255}}[\x21-\x2b\x2d-\x3c\x3e-\x7e]", re.ASCII)
_TRACESTATE_LIMIT = 512
_TRACESTATE_MEMBERS = 32
_NO_TRACE = "0" * 32
_NO_SPAN = "0" * 16


class ChatContext(NamedTuple):
    """The context of a span: 32 and 16 lower-case hex digits, and the trace flags (bit 0 is "sampled")."""

    trace_id: str
    span_id: str
    flags: int

    def dumps(self) -> str:
        """As a version 00 traceparent, 55 characters: the form in which the plan carries it."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags & 0xFF:02x}"

    @property
    def sampled(self) -> bool:
        return bool(self.flags & SAMPLED)


@dataclass(frozen=True, slots=True)
class SpanParent:
    """What a new span continues. `sampled` None: the parent's decision is not known, so the root sampler decides for this trace id."""

    trace_id: str
    span_id: str
    sampled: bool | None
    tracestate: str = ""


def parse_traceparent(text: str | None) -> ChatContext | None:
    """A traceparent header, or what `ChatContext.dumps` wrote. None if it is absent, malformed, all zero or of the forbidden version ff."""
    match = _TRACEPARENT.fullmatch(text) if text else None
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return ChatContext(trace_id, span_id, int(flags, 16))


def parent_of_request(envoy_span: str | None, traceparent: str | None, tracestate: str | None = None) -> SpanParent | None:
    """The parent of the chat span, from the headers that the route stage sees. None: a new trace.

    `envoy_span` is x-llm-span, `TRACE_ID-SPAN_ID` of Envoy's SERVER span; without tracing in Envoy it holds no ids, and the caller's own span
    is the parent. It carries no sampled flag: where it continues the caller's trace the caller's flag holds, else the flag is unknown.
    """
    caller = parse_traceparent(traceparent)
    state = _tracestate(tracestate) if caller else ""
    match = _ENVOY_SPAN.fullmatch(envoy_span) if envoy_span else None
    if match is not None and match[1] != _NO_TRACE and match[2] != _NO_SPAN:
        if caller is not None and caller.trace_id == match[1]:
            return SpanParent(match[1], match[2], caller.sampled, state)
        return SpanParent(match[1], match[2], None)
    return SpanParent(caller.trace_id, caller.span_id, caller.sampled, state) if caller else None


def _tracestate(text: str | None) -> str:
    """The header if all of it is valid, else "": a vendor's state is only useful whole. Split first: one pattern over the list would backtrack."""
    if not text or len(text) > _TRACESTATE_LIMIT:
        return ""
    members = [m for m in (part.strip(" \t") for part in text.split(",")) if m]
    keys = {m.partition("=")[0] for m in members}
    if len(members) > _TRACESTATE_MEMBERS or len(keys) < len(members) or not all(_MEMBER.fullmatch(m) for m in members):
        return ""
    return ",".join(members)
