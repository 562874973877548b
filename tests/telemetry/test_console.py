"""When a tree is printed: at the end of its chat span, or once Envoy's spans are there; nothing waits or grows for ever."""

from __future__ import annotations

import io

import pytest
from opentelemetry.sdk.trace import TracerProvider

from extproc.telemetry.console import ConsoleTree, TraceCollector, wants_colour
from extproc.telemetry.traceparent import parent_of_request
from extproc.telemetry.tracing import Tracing
from extproc.telemetry.tree import SpanView
from tests.telemetry.records import CALLER, MS, SPAN, START, TRACE, answered
from tests.telemetry.test_tree import DECIDED


def view(span_id: str, parent: str = "", *, trace: str = "t", chat: bool = False, attempts: int = 0, links: tuple[str, ...] = ()) -> SpanView:
    attributes = {"gen_ai.operation.name": "chat", "llm.attempts": attempts} if chat else {}
    return SpanView(trace, span_id, span_id, 0, 1, parent, attributes=attributes, links=links)


def ids(units: list[list[SpanView]]) -> list[set[str]]:
    return [{span.span_id for span in unit} for unit in units]


def test_spans_of_this_process_become_a_tree_when_the_chat_span_ends() -> None:
    printed = io.StringIO()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(ConsoleTree(printed.write))
    tracing = Tracing(provider)
    chat = tracing.start_chat(parent_of_request(f"{TRACE}-{SPAN}", None), "gpt-4o", start_ns=START)
    tracing.attempt_span(
        chat.context, 1, start_ns=START, end_ns=START + 18 * MS, target="gpt-4o", status=503, verdict="next", error_type="unavailable"
    )
    tracing.attempt_span(chat.context, 2, start_ns=START + 19 * MS, end_ns=START + 659 * MS, target="sonnet", status=200, verdict="pass")
    assert printed.getvalue() == ""
    chat.end(answered())
    assert printed.getvalue().splitlines() == [
        f"trace {TRACE}",
        f"chat gpt-4o  812 ms  ok  target=sonnet{DECIDED}  in 12 out 48 tokens  $0.0003  ttft 120 ms  lost dropped:logprobs",
        "├─ attempt 1  gpt-4o  503 unavailable  18 ms  → next target",
        "└─ attempt 2  sonnet  200  640 ms  ✓",
    ]


def test_an_unsampled_request_prints_nothing() -> None:
    printed = io.StringIO()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(ConsoleTree(printed.write))
    Tracing(provider).start_chat(parent_of_request(None, f"00-{TRACE}-{CALLER}-00"), "m").end(answered())
    assert printed.getvalue() == ""


def test_a_whole_tree_waits_for_envoys_server_span_its_attempts_and_their_links() -> None:
    collector = TraceCollector(whole=True)
    assert collector.add([view("chat", "srv", chat=True, attempts=1)], 0.0) == []
    assert collector.add([view("a1", "chat", links=("up1",))], 0.1) == []
    assert collector.add([view("srv", "app")], 0.2) == []
    assert ids(collector.add([view("up1", "srv")], 0.3)) == [{"chat", "a1", "srv", "up1"}]
    assert len(collector) == 0


def test_patience_ends_and_nothing_is_lost() -> None:
    collector = TraceCollector(whole=True, patience=10.0)
    collector.add([view("srv", "app"), view("chat", "srv", chat=True, attempts=2)], 0.0)
    collector.add([view("other", trace="u")], 5.0)
    assert collector.overdue(9.9) == []
    assert ids(collector.overdue(10.0)) == [{"srv", "chat"}]
    assert ids(collector.overdue(15.0)) == [{"other"}]
    assert len(collector) == 0


def test_several_requests_of_one_trace_are_several_trees() -> None:
    collector = TraceCollector()
    units = collector.add(
        [view("a1", "c1"), view("c1", "app", chat=True), view("a2", "c2"), view("c2", "app", chat=True)],
        0.0,
    )
    assert ids(units) == [{"c1", "a1"}, {"c2", "a2"}]


def test_a_request_below_another_is_printed_once() -> None:
    collector = TraceCollector()
    assert ids(collector.add([view("c1", "srv", chat=True), view("srv"), view("c2", "srv", chat=True)], 0.0)) == [{"c1", "c2", "srv"}]


def test_memory_is_bounded() -> None:
    collector = TraceCollector(whole=True, max_spans=100)
    shown = sum(len(unit) for n in range(1000) for unit in collector.add([view(f"s{n}", trace=f"t{n}")], 0.0))
    assert len(collector) == 100
    assert shown == 900


def test_shutdown_prints_what_is_left() -> None:
    printed = io.StringIO()
    tree = ConsoleTree(printed.write, whole=True, clock=lambda: 0.0)
    tree.receive([view("chat", "srv", chat=True)])
    tree.tick()
    assert printed.getvalue() == ""
    tree.shutdown()
    assert printed.getvalue() == "trace t\nchat  0.0 ms  ok\n"


def test_colour_only_on_a_terminal_that_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_colour(Terminal())
    assert not wants_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(Terminal())
