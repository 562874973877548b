"""Lines to a pipe: all of them, in order; and a reader that does not read costs lines, never time."""

from __future__ import annotations

import os
import threading

import orjson
import pytest

from extproc.telemetry.sink import LineSink


def read_all(fd: int) -> bytes:
    parts = []
    while part := os.read(fd, 65536):
        parts.append(part)
    return b"".join(parts)


def test_lines_arrive_in_order_and_close_writes_the_rest() -> None:
    out, into = os.pipe()
    sink = LineSink(into, linger=0)
    lines = [b"line %d\n" % n for n in range(1000)]
    for line in lines:
        sink.write(line)
    assert sink.close(10)
    os.close(into)
    assert read_all(out) == b"".join(lines)
    os.close(out)
    assert sink.dropped == 0


@pytest.mark.parametrize("blocking", [True, False])
def test_a_reader_that_does_not_read_costs_lines_not_time(blocking: bool) -> None:
    """`write` returns although nobody reads; later the loss is told. Non-blocking: somebody who shares the pipe made it so."""
    out, into = os.pipe()
    os.set_blocking(into, blocking)
    sink = LineSink(into, capacity=50, linger=0)
    line = b"x" * 65536 + b"\n"
    for _ in range(1000):
        sink.write(line)
    assert sink.dropped >= 400
    lost = sink.dropped
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(read_all(out)))
    reader.start()
    assert sink.close(10)
    os.close(into)
    reader.join(10)
    os.close(out)
    whole = [entry for entry in received[0].split(b"\n") if entry]
    notes = [orjson.loads(entry) for entry in whole if entry.startswith(b"{")]
    assert len(whole) - len(notes) == 1000 - lost
    assert sum(note["count"] for note in notes) == lost
    assert notes[0]["message"] == "log lines lost"


def test_a_reader_that_is_gone_ends_the_writing() -> None:
    out, into = os.pipe()
    os.close(out)
    sink = LineSink(into, linger=0)
    sink.write(b"a\n")
    assert sink.close(10)
    sink.write(b"b\n")
    assert sink.dropped == 2
    os.close(into)
