"""Spans as a tree that a person can read: who was asked, what came of it, how long it took.

Children follow the spans' parents, with one exception: Envoy's span of an upstream try, which is a child of Envoy's SERVER span, is shown below the
attempt that links to it. Pure, and total over any set of spans: missing parents make roots, cycles end, control characters are replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from extproc.telemetry import semconv
from extproc.telemetry.text import clip, printable

_MAX_DEPTH = 24
_AS_LISTED = "order"
"""The policy that needs no mention."""
_BOLD, _DIM, _GREEN, _YELLOW, _RED = "1", "2", "32", "33", "31"


@dataclass(slots=True)
class SpanView:
    """A span from any source: hexadecimal ids, Unix nanoseconds. `parent_id` "" is none, `links` are span ids, `service` is the resource's name."""

    trace_id: str
    span_id: str
    name: str
    start_ns: int
    end_ns: int
    parent_id: str = ""
    service: str = ""
    failed: bool = False
    attributes: dict[str, Any] = field(default_factory=dict)
    links: tuple[str, ...] = ()

    @property
    def is_chat(self) -> bool:
        return semconv.GEN_AI_OPERATION_NAME in self.attributes

    @property
    def is_attempt(self) -> bool:
        """Ours, not Envoy's own span of the same try: that one has no resend count and no target."""
        return semconv.LLM_ATTEMPT in self.attributes and semconv.LLM_TARGET in self.attributes


def render_tree(spans: Iterable[SpanView], *, colour: bool = False) -> str:
    """One block of lines per trace, without a newline at the end. `colour`: with ANSI sequences."""
    traces: dict[str, list[SpanView]] = {}
    for span in spans:
        traces.setdefault(span.trace_id, []).append(span)
    return "\n".join(line for trace_id, members in traces.items() for line in _trace(trace_id, members, colour))


def _trace(trace_id: str, spans: list[SpanView], colour: bool) -> list[str]:
    by_id = {span.span_id: span for span in spans}
    linked = {link: span.span_id for span in by_id.values() if span.is_attempt for link in span.links if link in by_id}
    children: dict[str, list[SpanView]] = {}
    roots: list[SpanView] = []
    ordered = sorted(by_id.values(), key=lambda s: (s.start_ns, s.span_id))
    for span in ordered:
        parent = linked.get(span.span_id, span.parent_id)
        if parent in by_id and parent != span.span_id:
            children.setdefault(parent, []).append(span)
        else:
            roots.append(span)
    following: dict[str, SpanView] = {}
    for siblings in children.values():
        following.update((one.span_id, two) for one, two in pairwise(c for c in siblings if c.is_attempt))
    lines = [_paint(f"trace {printable(trace_id)}", _DIM, colour)]
    shown: set[str] = set()
    # the second pass over `ordered` reaches what hangs in a cycle
    for root in (*roots, *ordered):
        stack = [(root, "", "", 0)]
        while stack:
            span, own, below, depth = stack.pop()
            if span.span_id in shown:
                continue
            shown.add(span.span_id)
            mine = [c for c in children.get(span.span_id, ()) if c.span_id not in shown]
            lines.append(own + _line(span, colour, then=following.get(span.span_id)))
            deeper = depth < _MAX_DEPTH
            for i in range(len(mine) - 1, -1, -1):
                branch, rest = ("└─ ", "   ") if i == len(mine) - 1 else ("├─ ", "│  ")
                stack.append((mine[i], below + branch, below + rest if deeper else below, depth + 1))
    return lines


def _line(span: SpanView, colour: bool, *, then: SpanView | None) -> str:
    if span.is_chat:
        parts = _chat(span)
    elif span.is_attempt:
        parts = _attempt(span, then)
    else:
        parts = _other(span)
    return "  ".join(_paint(printable(clip(text, 120)), style, colour) for text, style in parts if text)


_Part = tuple[str, str]
"""A text and its colour."""


def _chat(span: SpanView) -> list[_Part]:
    get = span.attributes.get
    outcome = str(get(semconv.LLM_OUTCOME) or ("failed" if span.failed else "ok"))
    error = str(get(semconv.ERROR_TYPE) or "")
    parts: list[_Part] = [(span.name, _BOLD), (_duration(span), ""), (outcome, _RED if span.failed else _GREEN)]
    if error and error != outcome:
        parts.append((error, _RED))
    if get(semconv.LLM_TARGET):
        parts.append((f"target={get(semconv.LLM_TARGET)}", ""))
    parts += _decision(get)
    tokens_in, tokens_out = get(semconv.GEN_AI_USAGE_INPUT_TOKENS), get(semconv.GEN_AI_USAGE_OUTPUT_TOKENS)
    if tokens_in is not None or tokens_out is not None:
        parts.append((f"in {tokens_in or 0} out {tokens_out or 0} tokens", ""))
    cost, first = get(semconv.LLM_COST_USD), get(semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK)
    if isinstance(cost, int | float):
        parts.append((_dollars(cost), ""))
    if isinstance(first, int | float):
        parts.append((f"ttft {_milliseconds(first * 1e3)}", ""))
    losses = get(semconv.LLM_LOSSES)
    if isinstance(losses, list | tuple) and losses:
        parts.append(("lost " + ", ".join(str(code) for code in losses), _YELLOW))
    return parts


def _decision(get: Callable[[str], Any]) -> list[_Part]:
    """How the target was chosen, where it was not simply the first that the file lists."""
    rule, rank_by, why, limit = (get(name) for name in (semconv.LLM_RULE, semconv.LLM_RANK_BY, semconv.LLM_ROUTING, semconv.LLM_LIMITED))
    parts: list[_Part] = []
    if rule:
        parts.append((f"rule={rule}", ""))
    if rank_by and rank_by != _AS_LISTED:
        parts.append((f"rank_by={rank_by}", ""))
    parts += [(str(word), _YELLOW) for word in (why if isinstance(why, list | tuple) else ())]
    if limit:
        parts.append((f"limit={limit}", _YELLOW))
    return parts


def _attempt(span: SpanView, then: SpanView | None) -> list[_Part]:
    """`then` is the attempt behind this one: what followed says more than what was decided."""
    get = span.attributes.get
    status, error, verdict = get(semconv.HTTP_RESPONSE_STATUS_CODE), str(get(semconv.ERROR_TYPE) or ""), str(get(semconv.LLM_VERDICT) or "")
    what = f"{status or 'no answer'} {error if error not in (str(status), 'no_answer') else ''}".strip()
    if not span.failed:
        end: _Part = ("✓", _GREEN)
    elif then is not None:
        same = then.attributes.get(semconv.LLM_TARGET) == get(semconv.LLM_TARGET)
        end = ("↻ same target again" if same else "→ next target", _YELLOW)
    else:
        end = ("✗ ended by Envoy" if verdict in ("", "ended_by_envoy") else "✗ final", _RED)
    return [
        (f"attempt {get(semconv.LLM_ATTEMPT)}", _BOLD),
        (str(get(semconv.LLM_TARGET)), ""),
        (what, _RED if span.failed else _GREEN),
        (_duration(span), ""),
        end,
    ]


def _other(span: SpanView) -> list[_Part]:
    get = span.attributes.get
    # Envoy writes the older http.status_code, as a string, and response_flags "-" for none
    status = str(get("http.status_code") or get(semconv.HTTP_RESPONSE_STATUS_CODE) or "")
    flags = str(get("response_flags") or "-")
    return [
        (span.name, _DIM),
        (_duration(span), _DIM),
        (status if status not in ("", "0") else "failed" if span.failed else "", _RED if span.failed else _DIM),
        ("" if flags == "-" else flags, _RED),
        (f"({span.service})" if span.service else "", _DIM),
    ]


def _duration(span: SpanView) -> str:
    return _milliseconds(max(span.end_ns - span.start_ns, 0) / 1e6)


def _milliseconds(ms: float) -> str:
    if ms >= 10_000:
        return f"{ms / 1e3:.1f} s"
    return f"{ms:.0f} ms" if ms >= 10 else f"{ms:.1f} ms"


def _dollars(cost: float) -> str:
    if cost <= 0:
        return "$0"
    return f"${cost:.4f}" if cost >= 0.0001 else "<$0.0001"


def _paint(text: str, style: str, colour: bool) -> str:
    return f"\x1b[{style}m{text}\x1b[0m" if colour and style else text
