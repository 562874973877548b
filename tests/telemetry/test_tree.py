"""The trace tree as text: golden, and total over any set of spans."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from extproc.telemetry.tracing import chat_attributes
from extproc.telemetry.tree import SpanView, render_tree
from tests.telemetry.records import MS, TRACE, answered, failed


def span(span_id: str, name: str, start: float, end: float, parent: str = "", **more: Any) -> SpanView:
    return SpanView(TRACE, span_id, name, int(start * MS), int(end * MS), parent, **more)


def attempt(span_id: str, n: int, target: str, start: float, end: float, status: int, verdict: str, error: str = "", link: str = "") -> SpanView:
    attributes: dict[str, Any] = {"llm.attempt": n, "llm.target": target, "llm.verdict": verdict}
    if status:
        attributes["http.response.status_code"] = status
    if error:
        attributes["error.type"] = error
    links = (link,) if link else ()
    return span(span_id, f"attempt {target}", start, end, "chat", failed=bool(error), attributes=attributes, links=links)


DECIDED = "  rule=premium  rank_by=latency  explored  limit=limits[0]"
"""Of `answered`."""
CHAT = {"gen_ai.operation.name": "chat"} | chat_attributes(answered())


def test_golden_of_one_process() -> None:
    spans = [
        attempt("a2", 2, "sonnet", 20, 660, 200, "pass"),
        attempt("a1", 1, "gpt-4o", 1, 19, 503, "next", "unavailable"),
        span("chat", "chat gpt-4o", 0, 812, attributes=CHAT),
    ]
    assert render_tree(spans) == "\n".join(
        [
            f"trace {TRACE}",
            f"chat gpt-4o  812 ms  ok  target=sonnet{DECIDED}  in 12 out 48 tokens  $0.0003  ttft 120 ms  lost dropped:logprobs",
            "├─ attempt 1  gpt-4o  503 unavailable  18 ms  → next target",
            "└─ attempt 2  sonnet  200  640 ms  ✓",
        ]
    )


def test_golden_with_envoys_spans() -> None:
    """Envoy's CLIENT spans are children of its SERVER span; they are shown below the attempt that links to them."""
    envoy = "llm-sidecar-envoy"
    spans = [
        span("srv", "llm POST", -2, 815, "app", service=envoy, attributes={"http.status_code": "200", "response_flags": "-"}),
        span("up1", "llm attempt gpt-4o", 0.5, 18.5, "srv", service=envoy, failed=True, attributes={"http.status_code": "503"}),
        span("up2", "llm attempt llama", 19, 25, "srv", service=envoy, failed=True, attributes={"http.status_code": "0", "response_flags": "UF"}),
        span("up3", "llm attempt sonnet", 26, 665, "srv", service=envoy, attributes={"http.status_code": "200"}),
        attempt("a1", 1, "gpt-4o", 1, 18, 503, "same", "unavailable", "up1"),
        attempt("a3", 3, "sonnet", 27, 667, 200, "pass", link="up3"),
        span("chat", "chat gpt-4o", 0, 812, "srv", attributes=CHAT),
    ]
    assert render_tree(spans) == "\n".join(
        [
            f"trace {TRACE}",
            "llm POST  817 ms  200  (llm-sidecar-envoy)",
            f"├─ chat gpt-4o  812 ms  ok  target=sonnet{DECIDED}  in 12 out 48 tokens  $0.0003  ttft 120 ms  lost dropped:logprobs",
            "│  ├─ attempt 1  gpt-4o  503 unavailable  17 ms  → next target",
            "│  │  └─ llm attempt gpt-4o  18 ms  503  (llm-sidecar-envoy)",
            "│  └─ attempt 3  sonnet  200  640 ms  ✓",
            "│     └─ llm attempt sonnet  639 ms  200  (llm-sidecar-envoy)",
            "└─ llm attempt llama  6.0 ms  failed  UF  (llm-sidecar-envoy)",
        ]
    )


def test_golden_of_failures() -> None:
    exhausted = {"gen_ai.operation.name": "chat"} | chat_attributes(failed())
    spans = [
        span("chat", "chat chat", 0, 12_340, failed=True, attributes=exhausted),
        attempt("a1", 1, "gpt-4o", 1, 2, 0, "ended_by_envoy", "no_answer"),
        attempt("a2", 2, "gpt-4o", 3, 4, 401, "retry", "authentication"),
        attempt("a3", 3, "sonnet", 5, 6, 429, "final", "rate_limited"),
    ]
    assert render_tree(spans) == "\n".join(
        [
            f"trace {TRACE}",
            "chat chat  12.3 s  exhausted  rate_limited  target=gpt-4o",
            "├─ attempt 1  gpt-4o  no answer  1.0 ms  ↻ same target again",
            "├─ attempt 2  gpt-4o  401 authentication  1.0 ms  → next target",
            "└─ attempt 3  sonnet  429 rate_limited  1.0 ms  ✗ final",
        ]
    )
    silent = [span("chat", "chat chat", 0, 5, failed=True, attributes=exhausted), attempt("a1", 1, "t", 1, 2, 0, "", "timeout")]
    assert render_tree(silent).splitlines()[-1] == "└─ attempt 1  t  no answer timeout  1.0 ms  ✗ ended by Envoy"


def test_a_target_that_was_simply_listed_first_needs_no_reason() -> None:
    plain = {name: value for name, value in CHAT.items() if name not in ("llm.rule", "llm.routing", "llm.limited")}
    line = render_tree([span("chat", "chat gpt-4o", 0, 812, attributes=plain | {"llm.rank_by": "order"})]).splitlines()[1]
    assert line == "chat gpt-4o  812 ms  ok  target=sonnet  in 12 out 48 tokens  $0.0003  ttft 120 ms  lost dropped:logprobs"


def test_colour_adds_nothing_but_colour() -> None:
    spans = [span("chat", "chat m", 0, 1, attributes=CHAT), attempt("a", 1, "t", 0, 1, 500, "next", "internal")]
    painted = render_tree(spans, colour=True)
    assert "\x1b[32mok\x1b[0m" in painted
    assert re.sub(r"\x1b\[\d+m", "", painted) == render_tree(spans)


def test_names_cannot_steer_the_terminal() -> None:
    text = render_tree([span("a", "chat \x1b]0;owned\x07\r\n" + "x" * 500, 0, 1)])
    assert "\x1b" not in text
    assert text.count("\n") == 1
    assert len(text.splitlines()[1]) < 200


IDS = st.sampled_from(["a", "b", "c", "d", ""])
SPANS = st.builds(
    SpanView,
    trace_id=st.sampled_from(["t1", "t2"]),
    span_id=IDS,
    name=st.text(max_size=5),
    start_ns=st.integers(0, 2**64 - 1),
    end_ns=st.integers(0, 2**64 - 1),
    parent_id=IDS,
    failed=st.booleans(),
    attributes=st.dictionaries(
        st.sampled_from(["gen_ai.operation.name", "llm.attempt", "llm.target", "llm.cost.usd", "llm.verdict", "llm.losses"]),
        st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=3) | st.lists(st.text(max_size=2), max_size=2),
    ),
    links=st.lists(IDS, max_size=2).map(tuple),
)


@given(st.lists(SPANS, max_size=10))
def test_total_and_every_span_once(spans: list[SpanView]) -> None:
    """Cycles, orphans, duplicate ids, links in circles: one line per trace and one per distinct span."""
    lines = render_tree(spans).splitlines()
    distinct = {(s.trace_id, s.span_id) for s in spans}
    assert len(lines) == len(distinct) + len({t for t, _ in distinct})


def test_a_deep_chain_stays_narrow() -> None:
    chain = [span(str(n), "x", n, 5000, str(n - 1)) for n in range(3000)]
    assert max(map(len, render_tree(chain).splitlines())) < 120
