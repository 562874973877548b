"""Errors of OpenAI's APIs and of everything that imitates them to `ApiError`, and `ApiError` to OpenAI's envelope.

Chat Completions and Responses share it: one host answers both paths, and vendors of the format do not tell them apart either.

Envelopes seen in recorded answers: OpenAI `{error: {message, type, param, code}}`, Azure and OpenRouter the same with numeric codes, xAI
`{code, error: "text"}`, Mistral `{detail}` and `{object: "error", message, type, code}`, FastAPI `{detail: [{msg, loc}]}`, Gemini's
compatible endpoint `[{error}]`, plain text, HTML, and nothing. Providers that say 400 for a bad key are told by their words.
Reference: https://platform.openai.com/docs/guides/error-codes
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import orjson

from extproc.core.error_words import CODES, KEY, RETRY_DELAY, WAIT, WORDS
from extproc.core.errors import STATUS, ApiError, ErrorKind, kind_of_status
from extproc.core.ir import JSON

_MAX_MESSAGE = 2000

_TAG = re.compile(r"<[^>]*>")
_STATUS = re.compile(r"[45][0-9]{2}")
_TITLE = re.compile(r"<title>([^<]{1,200})", re.IGNORECASE)


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """Total. `headers` have lower-case names. `status` stays the provider's own; the kind says what it means."""
    message, code, kind, param = _read(body)
    if not message:
        message = f"The provider answered with status {status}."
    if not 400 <= status < 600:
        # an error under a 2xx status stands for its own code, if that is a status
        status = _status(code)
    error = classify(status, message, code, kind, param)
    if error.kind in (ErrorKind.RATE_LIMITED, ErrorKind.OVERLOADED, ErrorKind.UNAVAILABLE, ErrorKind.QUOTA):
        said = None if headers.keys() & {"retry-after", "retry-after-ms"} else _said_wait(message, body)
        error.retry_after = retry_after(headers) if said is None else said
    return error


def _status(code: JSON) -> int:
    """The status that a code is; 0 for any other."""
    found = _STATUS.fullmatch(str(code)) if isinstance(code, int | str) else None
    return int(found[0]) if found is not None else 0


def _said_wait(message: str, body: bytes) -> float | None:
    """Seconds to wait, where the body says it."""
    delay = RETRY_DELAY.search(body[: 64 * 1024])
    if delay is not None:
        return duration(delay[1].decode())
    told = WAIT.search(message[: 2 * _MAX_MESSAGE])
    return duration(told[1]) if told is not None else None


def decode_error_object(error: JSON) -> ApiError:
    """An error inside a stream or under a 2xx status: the value of its `error` member."""
    raw = error if isinstance(error, dict) else {"message": error}
    status = _status(raw.get("status_code", raw.get("code")))
    message, code, kind, param = _from_object(raw)
    return classify(status, message or "The provider reported an error.", code, kind, param)


def classify(status: int, message: str, code: str | None, raw_type: str | None, param: str | None) -> ApiError:
    """The kind of an error: by its code or type, then by its words, then by its status (0: none is known)."""
    # what is longer is no message but an echo, and looking for words in it costs time
    message = message[: 2 * _MAX_MESSAGE]
    kind = next((CODES[word.lower()] for word in (code, raw_type) if word and word.lower() in CODES), None)
    if kind is None:
        usual = 400 <= status < 500 or not status
        kind = next(
            (k for words, k, only, never in WORDS if (usual if only is None else status in only) and status not in never and words.search(message)),
            None,
        )
        if kind is None and not status and raw_type == "invalid_request_error":
            kind = ErrorKind.INVALID_REQUEST
    if kind is None:
        kind = kind_of_status(status) if status else ErrorKind.UPSTREAM
    message = KEY.sub("[removed]", message)[:_MAX_MESSAGE]
    return ApiError(kind, message, status, code, param, raw_type=raw_type)


_Parts = tuple[str, str | None, str | None, str | None]
"""(message, code, type, param)"""


def _read(body: bytes) -> _Parts:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _text(body), None, None, None
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    if isinstance(parsed, str):
        return parsed, None, None, None
    if not isinstance(parsed, dict):
        return "", None, None, None
    error = parsed.get("error")
    if isinstance(error, dict):
        return _from_object(error)
    if isinstance(error, str):
        return _from_object({"message": error, "code": parsed.get("code"), "type": parsed.get("type"), "param": parsed.get("param")})
    detail = parsed.get("detail")
    if isinstance(detail, str):
        return detail, _word(parsed.get("code")), _word(parsed.get("type")), None
    if isinstance(detail, list):
        first = detail[0] if detail and isinstance(detail[0], dict) else {}
        where = [str(step) for step in first.get("loc") or [] if step != "body"] if isinstance(first.get("loc"), list) else []
        return str(first.get("msg", "")), None, _word(first.get("type")), ".".join(where) or None
    return _from_object(parsed)


def _from_object(error: dict[str, JSON]) -> _Parts:
    message = error.get("message")
    if isinstance(message, dict):
        return _read(orjson.dumps(message))
    code = error.get("code")
    inner = error.get("innererror")
    if isinstance(inner, dict) and str(inner.get("code")).lower() in CODES:
        code = inner["code"]
    metadata = error.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("raw"), str) and message == "Provider returned error":
        message = metadata["raw"]
    if isinstance(metadata, dict) and metadata.get("reasons"):
        code = "content_filter"
    return message if isinstance(message, str) else "", _word(code), _word(error.get("type") or error.get("status")), _word(error.get("param"))


def _word(value: JSON) -> str | None:
    return str(value)[:100] if isinstance(value, str | int) and value != "" else None


def _text(body: bytes) -> str:
    text = body[: 64 * 1024].decode("utf-8", "replace").strip()
    if "<html" in text[:1000].lower() or text.startswith("<"):
        title = _TITLE.search(text)
        text = title[1] if title else _TAG.sub(" ", text)
    return " ".join(text.split())[:500]


_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)(ms|h|m|s|d))")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(text: str) -> float | None:
    """Seconds in a duration such as `6m0s`, `20ms` or `1.5`; None if it is none."""
    text = text.strip()
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        value = sum(float(number) * _SECONDS[unit] for number, unit in parts)
        return value if value < 1e7 else None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < 1e7 else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait: `retry-after-ms` (Azure), `retry-after` (seconds, or a date against the answer's own `date`), else the time
    until the limit that is used up refills (`x-ratelimit-reset-*`)."""
    if "retry-after-ms" in headers:
        wait = duration(headers["retry-after-ms"])
        if wait is not None:
            return wait / 1000
    if "retry-after" in headers:
        wait = duration(headers["retry-after"])
        return _date_wait(headers) if wait is None else wait
    waits: dict[str, float] = {}
    for limit in ("requests", "tokens"):
        wait = duration(headers.get(f"x-ratelimit-reset-{limit}", ""))
        if wait is not None:
            waits[limit] = wait
    empty = [waits[limit] for limit in waits if headers.get(f"x-ratelimit-remaining-{limit}", "").strip() == "0"]
    if empty:
        return max(empty)
    return waits.get("tokens", waits.get("requests"))


def _date_wait(headers: Mapping[str, str]) -> float | None:
    try:
        wait = (parsedate_to_datetime(headers["retry-after"]) - parsedate_to_datetime(headers.get("date", ""))).total_seconds()
    except (ValueError, TypeError):
        return None
    return max(wait, 0.0)


_ENVELOPE: dict[ErrorKind, tuple[str, str | None]] = {
    ErrorKind.CONTEXT_LENGTH: ("invalid_request_error", "context_length_exceeded"),
    ErrorKind.CONTENT_FILTER: ("invalid_request_error", "content_filter"),
    ErrorKind.AUTHENTICATION: ("authentication_error", "invalid_api_key"),
    ErrorKind.PERMISSION: ("permission_error", None),
    ErrorKind.NOT_FOUND: ("invalid_request_error", "model_not_found"),
    ErrorKind.RATE_LIMITED: ("rate_limit_error", "rate_limit_exceeded"),
    ErrorKind.QUOTA: ("insufficient_quota", "insufficient_quota"),
    ErrorKind.OVERLOADED: ("server_error", "overloaded"),
    ErrorKind.TIMEOUT: ("server_error", "timeout"),
}


def envelope(error: ApiError) -> dict[str, JSON]:
    """OpenAI's error object. Kinds that OpenAI has a code for get that code; others keep the provider's."""
    default = "invalid_request_error" if STATUS[error.kind] < 500 else "server_error"
    kind, code = _ENVELOPE.get(error.kind, (default, None))
    if error.kind is ErrorKind.NOT_FOUND and error.code is not None:
        code = error.code
    return {"message": error.message, "type": kind, "param": error.param, "code": code or error.code}


def encode_error(error: ApiError) -> tuple[int, bytes]:
    """(status, body) that the openai SDK turns into the exception class of the kind."""
    return STATUS[error.kind], orjson.dumps({"error": envelope(error)})
