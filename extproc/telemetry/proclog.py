"""The process's own log (start, reload, errors) through the standard `logging`: JSON lines, or readable text on a terminal.

Our code logs fixed messages with values in `extra={...}`, which become members. An exception is logged by type and place; its text only where that
is ours or the operating system's, because any other exception's text may quote the request that caused it. For the same reason only the first
line of a message is kept (asyncio puts an exception's text into the next ones). `debug` shows all.
"""

from __future__ import annotations

import logging
import time
import traceback
from typing import Any

import orjson

from extproc.core.errors import ApiError
from extproc.telemetry.export import TelemetryConfigError
from extproc.telemetry.logline import timestamp
from extproc.telemetry.sink import LineSink
from extproc.telemetry.text import clip, printable

_LEVELS = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warn", logging.ERROR: "error", logging.CRITICAL: "error"}
_SAFE_TEXT = (OSError, ApiError, TelemetryConfigError)
_QUIET = ("httpx", "httpcore", "asyncio", "urllib3")
"""Libraries that log every request (Envoy's admin is asked several times a second)."""
_MESSAGE_LIMIT = 2000
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; the rest is the caller's `extra`."""
_REPEAT_SECONDS = 60.0


class Repeats(logging.Filter):
    """Passes a message once a minute: an exporter whose collector is away says so with every batch."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, object], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        key = (record.name, record.msg)
        if record.created - self._seen.get(key, float("-inf")) < _REPEAT_SECONDS:
            return False
        if len(self._seen) >= 256:
            self._seen.clear()
        self._seen[key] = record.created
        return True


def fields_of(record: logging.LogRecord, *, show_text: bool) -> dict[str, Any]:
    """What a record says, without anything that might be a request's text unless `show_text`."""
    message = record.getMessage()
    out: dict[str, Any] = {
        "ts": timestamp(int(record.created * 1e9)),
        "level": _LEVELS.get(record.levelno, "info"),
        "type": "process",
        "message": clip(message if show_text else message.partition("\n")[0], _MESSAGE_LIMIT),
        "logger": record.name,
    }
    out |= {name: value for name, value in vars(record).items() if name not in _STANDARD and name not in out}
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        out["error"] = type(error).__name__
        if show_text or isinstance(error, _SAFE_TEXT):
            out["error_text"] = clip(str(error), _MESSAGE_LIMIT)
        frames = traceback.extract_tb(error.__traceback__)[-12:]
        out["stack"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return out


class JsonLines(logging.Formatter):
    """One JSON object per record."""

    def format(self, record: logging.LogRecord) -> str:
        fields = fields_of(record, show_text=logging.getLogger().level <= logging.DEBUG)
        return orjson.dumps(fields, default=lambda value: clip(repr(value), 200), option=orjson.OPT_NON_STR_KEYS).decode()


class Readable(logging.Formatter):
    """`12:30:01 warn  message  key=value`, times local."""

    def format(self, record: logging.LogRecord) -> str:
        fields = fields_of(record, show_text=logging.getLogger().level <= logging.DEBUG)
        stack = fields.pop("stack", [])
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        head = f"{clock} {fields['level']:<5} {printable(fields['message'])}"
        rest = [f"{k}={printable(str(v))}" for k, v in fields.items() if k not in {"ts", "level", "type", "message", "logger"}]
        return "\n".join(["  ".join([head, *rest]), *(f"    at {printable(frame)}" for frame in stack)])


class SinkHandler(logging.Handler):
    """Hands formatted records to a `LineSink`, so that logging never blocks the event loop either."""

    def __init__(self, sink: LineSink) -> None:
        super().__init__()
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._sink.write(self.format(record).encode("utf-8", "replace") + b"\n")
        except Exception:  # noqa: BLE001  # logging's own way: report to stderr, never raise into the caller
            self.handleError(record)


def setup_process_log(sink: LineSink, *, terminal: bool, level: int = logging.INFO) -> logging.Handler:
    """Sends everything that is logged in this process to `sink`. `terminal`: readable text, else JSON. Returns the handler that it installed."""
    handler = SinkHandler(sink)
    handler.setFormatter(Readable() if terminal else JsonLines())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    repeats = Repeats()
    for name in ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.exporter.otlp.proto.grpc.exporter"):
        logging.getLogger(name).addFilter(repeats)
    return handler
