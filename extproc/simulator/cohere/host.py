"""Cohere as a host: keys, headers and errors, which its APIs share.

Wire format of errors: https://docs.cohere.com/reference/errors
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from extproc.simulator.shapes import unknown
from extproc.simulator.wire import JSON, Answer, Call, Headers, Posted, Rejected, Stamp

_USUAL = {
    400: "invalid request: the request was invalid",
    401: "no api key supplied",
    403: "You do not have permission to access this resource.",
    429: "You are past the per minute request limit, please wait and try again later.",
    498: "invalid token provided",
    500: "internal server error, this has been reported to our developers",
    503: "service unavailable, please try again later",
}


class CohereHost:
    """What its APIs share."""

    dialect = "cohere_chat"
    models: tuple[str, ...] = ("command-a-03-2025", "command-a-reasoning-08-2025", "embed-v4.0", "rerank-v3.5")
    json_type = "application/json"
    bad_json = "invalid json syntax: the body is no JSON object"
    bad_shape = "invalid type: a parameter has the wrong type"
    overloaded = 503

    def key(self, headers: Mapping[str, str], query: str) -> str | None:  # noqa: ARG002 - the contract's signature
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return key.strip() or None if scheme.lower() == "bearer" else None

    def check_access(self, call: Call, headers: Mapping[str, str], key: str | None, accepted: frozenset[str]) -> None:  # noqa: ARG002
        if key is None:
            raise Rejected(401, _USUAL[401])
        if accepted and key not in accepted:
            raise self.refused_key()

    def model_of(self, call: Call, body: JSON) -> str:  # noqa: ARG002
        model = body.get("model")
        return model if isinstance(model, str) else ""

    def model_list(self, call: Call, models: tuple[str, ...]) -> bytes:  # noqa: ARG002
        return orjson.dumps({"models": [{"name": m, "endpoints": ["chat"], "finetuned": False, "context_length": 256000} for m in models]})

    def headers(self, stamp: Stamp, content_type: str) -> Headers:
        return [
            ("content-type", content_type),
            ("access-control-expose-headers", "X-Debug-Trace-ID"),
            ("cache-control", "no-cache, no-store, no-transform, must-revalidate, private, max-age=0"),
            ("x-debug-trace-id", stamp.hex(f"request{stamp.number}", 32)),
            ("x-endpoint-monthly-call-limit", "1000"),
            ("vary", "Origin"),
        ]

    def error(self, problem: Rejected, stamp: Stamp, call: Call | None = None) -> Answer:  # noqa: ARG002
        headers = self.headers(stamp, self.json_type)
        if problem.retry_after is not None:
            headers.append(("retry-after", f"{problem.retry_after:g}"))
        return Answer(problem.status, headers, orjson.dumps({"id": self.new_id(stamp, "error"), "message": problem.message}))

    def new_id(self, stamp: Stamp, label: str) -> str:
        """A UUID."""
        digits = stamp.hex(label, 32)
        return "-".join((digits[:8], digits[8:12], f"4{digits[13:16]}", f"8{digits[17:20]}", digits[20:]))

    def usual(self, status: int, model: str) -> Rejected:
        if status == 404:
            return self.unknown_model(model, None)
        return Rejected(status, _USUAL.get(status, f"The server answered with status {status}."))

    def refused_key(self) -> Rejected:
        return Rejected(401, "invalid api token")

    def context_length(self, model: str, tokens: int, window: int) -> Rejected:
        return Rejected(
            400,
            f"too many tokens: size limit exceeded by {tokens - window} tokens. Try using shorter or fewer inputs. "
            f"The limit for this model ({model}) is {window} tokens.",
        )

    def unknown_model(self, model: str, call: Call | None) -> Rejected:  # noqa: ARG002
        return Rejected(404, f"model '{model}' not found, make sure the correct model ID was used and that you have access to the model.")


def fields(posted: Posted, known: frozenset[str]) -> JSON:
    """The members of a plain request. Raises `Rejected`."""
    if posted.body is None:
        raise Rejected(400, CohereHost.bad_json)
    check_fields(posted.body, known)
    if not posted.model:
        raise Rejected(400, "invalid request: model is required.")
    return posted.body


def check_fields(body: JSON, known: frozenset[str], at: str = "") -> None:
    """Raises `Rejected` for a member that the API does not know."""
    if stray := unknown(body, known):
        raise Rejected(422, f"unknown field: parameter '{at}{stray}' is not a valid field")
