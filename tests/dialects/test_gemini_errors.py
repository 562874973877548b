"""Google's error envelope: kinds that the status hides, waits that only the body knows, total on everything else."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.errors import STATUS, ApiError, ErrorKind
from extproc.dialects.gemini import GEMINI


def decode(status: int, inner: Any, headers: dict[str, str] | None = None) -> ApiError:
    return GEMINI.decode_error(status, headers or {}, orjson.dumps({"error": inner}))


@pytest.mark.parametrize(
    ("status", "inner", "kind"),
    [
        (400, {"message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT"}, ErrorKind.AUTHENTICATION),
        (400, {"message": "x", "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}, ErrorKind.AUTHENTICATION),
        (401, {"message": "x", "status": "UNAUTHENTICATED"}, ErrorKind.AUTHENTICATION),
        (403, {"message": "x", "status": "PERMISSION_DENIED"}, ErrorKind.PERMISSION),
        (
            400,
            {"message": "The input token count (1091639) exceeds the maximum number of tokens allowed (1048576).", "status": "INVALID_ARGUMENT"},
            ErrorKind.CONTEXT_LENGTH,
        ),
        (
            400,
            {"message": "The input token count exceeds the maximum number of tokens allowed 1048576.", "status": "INVALID_ARGUMENT"},
            ErrorKind.CONTEXT_LENGTH,
        ),
        (400, {"message": "Unknown name", "status": "INVALID_ARGUMENT"}, ErrorKind.INVALID_REQUEST),
        (400, {"message": "User location is not supported", "status": "FAILED_PRECONDITION"}, ErrorKind.INVALID_REQUEST),
        (413, {"message": "too large", "status": "INVALID_ARGUMENT"}, ErrorKind.TOO_LARGE),
        (404, {"message": "models/x is not found", "status": "NOT_FOUND"}, ErrorKind.NOT_FOUND),
        (429, {"message": "Resource exhausted", "status": "RESOURCE_EXHAUSTED"}, ErrorKind.RATE_LIMITED),
        (
            429,
            {
                "message": "x",
                "status": "RESOURCE_EXHAUSTED",
                "details": [{"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}],
            },
            ErrorKind.QUOTA,
        ),
        (
            429,
            {
                "message": "x",
                "status": "RESOURCE_EXHAUSTED",
                "details": [{"violations": [{"quotaId": "GenerateContentInputTokensPerModelPerMinute"}]}],
            },
            ErrorKind.RATE_LIMITED,
        ),
        (500, {"message": "An internal error has occurred.", "status": "INTERNAL"}, ErrorKind.INTERNAL),
        (503, {"message": "The model is overloaded. Please try again later.", "status": "UNAVAILABLE"}, ErrorKind.OVERLOADED),
        (503, {"message": "The service is currently unavailable.", "status": "UNAVAILABLE"}, ErrorKind.UNAVAILABLE),
        (504, {"message": "Deadline expired", "status": "DEADLINE_EXCEEDED"}, ErrorKind.TIMEOUT),
        (418, {"message": "x", "status": "NEW_STATUS"}, ErrorKind.INVALID_REQUEST),
        (500, "just text", ErrorKind.INTERNAL),
    ],
)
def test_kinds(status: int, inner: Any, kind: ErrorKind) -> None:
    error = decode(status, inner)
    assert (error.kind, error.status) == (kind, status)
    assert error.message == (inner if isinstance(inner, str) else inner["message"])


@pytest.mark.parametrize(
    ("inner", "headers", "seconds"),
    [
        ({"message": "x", "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "48s"}]}, {}, 48.0),
        ({"message": "Please retry in 1s", "details": [{"retryDelay": "48.939935699s"}]}, {}, 48.939935699),
        ({"message": "Quota exceeded.\nPlease retry in 48.939935699s."}, {}, 48.939935699),
        ({"message": "Please retry in 1m30.5s."}, {}, 90.5),
        ({"message": "Please retry in 250ms."}, {}, 0.25),
        ({"message": "Please retry after 2h"}, {}, 7200.0),
        ({"message": "x"}, {"retry-after": "7"}, 7.0),
        ({"message": "x"}, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"message": "x", "details": [{"retryDelay": "soon"}, 5, {"violations": 5}]}, {}, None),
    ],
)
def test_waits(inner: dict[str, Any], headers: dict[str, str], seconds: float | None) -> None:
    assert decode(429, inner, headers).retry_after == seconds


@pytest.mark.parametrize("body", [b"", b"<html>502</html>", b"5", b"null", b"[]", b"{}", b'{"error": 5}', b'{"message": "other"}', b"\xff"])
@pytest.mark.parametrize(("status", "kind"), [(502, ErrorKind.UPSTREAM), (401, ErrorKind.AUTHENTICATION), (429, ErrorKind.RATE_LIMITED)])
def test_other_bodies_are_judged_by_the_status(body: bytes, status: int, kind: ErrorKind) -> None:
    error = GEMINI.decode_error(status, {"retry-after": "3"}, body)
    assert (error.kind, error.status, error.retry_after) == (kind, status, 3.0)
    assert "html" not in error.message


def test_array_of_one() -> None:
    error = GEMINI.decode_error(404, {}, b'[{"error": {"code": 404, "message": "gone", "status": "NOT_FOUND"}}]')
    assert (error.kind, error.message, error.raw_type) == (ErrorKind.NOT_FOUND, "gone", "NOT_FOUND")


@pytest.mark.parametrize("kind", ErrorKind)
def test_envelope(kind: ErrorKind) -> None:
    status, raw = GEMINI.encode_error(ApiError(kind, "what happened", status=418, code="WHY", retry_after=1.5))
    inner = orjson.loads(raw)["error"]
    assert status == inner["code"] == STATUS[kind]
    again = GEMINI.decode_error(status, {}, raw)
    assert (again.message, again.code, again.retry_after) == ("what happened", "WHY", 1.5)
    if kind not in (ErrorKind.CONTEXT_LENGTH, ErrorKind.CONTENT_FILTER, ErrorKind.QUOTA, ErrorKind.OVERLOADED, ErrorKind.UPSTREAM):
        assert again.kind is kind


@given(
    st.integers(100, 599),
    st.binary(max_size=60)
    | st.builds(
        orjson.dumps,
        st.dictionaries(
            st.just("error"),
            st.dictionaries(
                st.sampled_from(["code", "message", "status", "details"]), st.sampled_from([None, 5, -1, "x", [], [{}], {}, "retry in 5s", True])
            ),
        ),
    ),
)
def test_total(status: int, body: bytes) -> None:
    GEMINI.encode_error(GEMINI.decode_error(status, {}, body))
