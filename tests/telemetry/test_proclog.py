"""The process's log: JSON lines or readable text, and never the text of somebody's request."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator

import orjson
import pytest

from extproc.core.errors import ApiError, ErrorKind
from extproc.telemetry.proclog import Repeats, setup_process_log
from extproc.telemetry.sink import LineSink

SECRET = "the secret of the prompt"


class Captured:
    """A process log that writes into a pipe."""

    def __init__(self, *, terminal: bool = False, level: int = logging.INFO) -> None:
        self._out, self._into = os.pipe()
        self._sink = LineSink(self._into, linger=0)
        setup_process_log(self._sink, terminal=terminal, level=level)

    def text(self) -> str:
        assert self._sink.close(10)
        os.close(self._into)
        text = os.read(self._out, 1 << 16).decode()
        os.close(self._out)
        return text


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_lines_with_fields() -> None:
    captured = Captured()
    logging.getLogger("extproc.app").warning("reload refused", extra={"path": "r.yaml", "errors": 2, "level": "forged", "odd": {1, 2}})
    line = orjson.loads(captured.text())
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "warn",
        "type": "process",
        "message": "reload refused",
        "logger": "extproc.app",
        "path": "r.yaml",
        "errors": 2,
        "odd": "{1, 2}",
    }


def test_readable_on_a_terminal() -> None:
    captured = Captured(terminal=True)
    logging.getLogger("extproc.app").info("listening \x1b[2J", extra={"socket": "x.sock"})
    assert captured.text()[9:] == "info  listening �[2J  socket=x.sock\n"


def raise_with(text: str) -> None:
    raise ValueError(text)


@pytest.mark.parametrize("terminal", [True, False])
def test_an_exceptions_text_stays_out(terminal: bool) -> None:
    captured = Captured(terminal=terminal)
    try:
        raise_with(SECRET)
    except ValueError:
        logging.getLogger("extproc.edge").exception("exchange failed")
    text = captured.text()
    assert SECRET not in text
    assert "ValueError" in text
    assert "test_proclog.py" in text
    assert "raise_with" in text


def test_safe_texts_and_debug_show() -> None:
    captured = Captured()
    for error in (OSError(98, "address in use"), ApiError(ErrorKind.TIMEOUT, "too slow")):
        logging.getLogger("x").error("failed", exc_info=error)
    first, second = (orjson.loads(line) for line in captured.text().splitlines())
    assert (first["error"], first["error_text"]) == ("OSError", "[Errno 98] address in use")
    assert second["error_text"] == "timeout: too slow"
    captured = Captured(level=logging.DEBUG)
    logging.getLogger("x").error("failed", exc_info=ValueError(SECRET))
    assert SECRET in captured.text()


def test_a_lost_task_does_not_leak_its_exception() -> None:
    captured = Captured()
    loop = asyncio.new_event_loop()
    error = ValueError(SECRET)
    future = loop.create_future()
    future.set_exception(error)
    loop.call_exception_handler({"message": "Task exception was never retrieved", "future": future, "exception": error})
    future.exception()
    loop.close()
    line = orjson.loads(captured.text())
    assert SECRET not in str(line)
    assert line["message"] == "Task exception was never retrieved"


def test_requests_of_libraries_are_not_logged() -> None:
    captured = Captured()
    logging.getLogger("httpx").info("HTTP Request: GET http://admin/clusters")
    logging.getLogger("x").info("mine")
    assert captured.text().count("\n") == 1


def test_repeats_pass_once_a_minute() -> None:
    repeats = Repeats()

    def passes(text: str, at: float) -> bool:
        record = logging.LogRecord("n", logging.WARNING, "p", 1, text, (), None)
        record.created = at
        return repeats.filter(record)

    assert [passes("a", 0.0), passes("b", 1.0), passes("a", 59.0), passes("a", 60.0), passes("a", 61.0)] == [True, True, False, True, False]
