"""Anthropic as a host: keys, versions, headers and errors, which its APIs share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import orjson

from extproc.simulator.wire import JSON, Answer, Call, Headers, Rejected, Stamp

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_USUAL = {
    400: "The request was invalid.",
    401: "invalid x-api-key",
    403: "Your API key does not have permission to use the specified resource.",
    404: "Not Found",
    413: "Request exceeds the maximum size",
    429: "This request would exceed your organization's rate limit of 30,000 input tokens per minute.",
    500: "Internal server error",
    503: "Service temporarily unavailable",
    529: "Overloaded",
}


class AnthropicHost:
    """What its APIs share."""

    dialect = "anthropic_messages"
    models: tuple[str, ...] = ("claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-1")
    json_type = "application/json"
    bad_json = "The request body is not valid JSON: expected an object at line 1 column 1"
    bad_shape = "Input does not match the expected shape."
    overloaded = 529

    def key(self, headers: Mapping[str, str], query: str) -> str | None:  # noqa: ARG002
        own = headers.get("x-api-key", "").strip()
        if own:
            return own
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return key.strip() or None if scheme.lower() == "bearer" else None

    def check_access(self, call: Call, headers: Mapping[str, str], key: str | None, accepted: frozenset[str]) -> None:  # noqa: ARG002
        if key is None:
            raise Rejected(401, "x-api-key header is required")
        if accepted and key not in accepted:
            raise self.refused_key()
        version = headers.get("anthropic-version")
        if not version:
            raise Rejected(400, "anthropic-version: header is required")
        if version not in ("2023-01-01", "2023-06-01", "2026-10-21"):
            raise Rejected(400, f'anthropic-version: "{version}" is not a valid version')

    def model_of(self, call: Call, body: JSON) -> str:  # noqa: ARG002
        model = body.get("model")
        return model if isinstance(model, str) else ""

    def model_list(self, call: Call, models: tuple[str, ...]) -> bytes:  # noqa: ARG002
        data = [
            {
                "type": "model",
                "id": m,
                "display_name": m,
                "created_at": "2025-09-29T00:00:00Z",
                "lifecycle": "active",
                "max_input_tokens": 200000,
                "max_tokens": 64000,
            }
            for m in models
        ]
        return orjson.dumps({"data": data, "has_more": False, "first_id": models[0] if models else None, "last_id": models[-1] if models else None})

    def headers(self, stamp: Stamp, content_type: str) -> Headers:
        reset = datetime.fromtimestamp(int(stamp.now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        out = [("content-type", content_type)]
        if content_type.startswith("text/event-stream"):
            out.append(("cache-control", "no-cache"))
        for name, limit in (("requests", 4000), ("input-tokens", 2000000), ("output-tokens", 400000), ("tokens", 2400000)):
            out += [
                (f"anthropic-ratelimit-{name}-limit", str(limit)),
                (f"anthropic-ratelimit-{name}-remaining", str(limit - 1)),
                (f"anthropic-ratelimit-{name}-reset", reset),
            ]
        return [
            *out,
            ("request-id", self.request_id(stamp)),
            ("anthropic-organization-id", "3e1c1f60-0000-4000-8000-000000000000"),
            ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
            ("x-robots-tag", "none"),
            ("vary", "Accept-Encoding"),
            ("server", "cloudflare"),
        ]

    def request_id(self, stamp: Stamp) -> str:
        return f"req_011{stamp.base62(f'request{stamp.number}', 21)}"

    def error(self, problem: Rejected, stamp: Stamp, call: Call | None = None) -> Answer:  # noqa: ARG002
        headers = self.headers(stamp, "application/json")
        headers.append(("x-should-retry", "true" if problem.status in (408, 409, 429) or problem.status >= 500 else "false"))
        if problem.retry_after is not None:
            headers.append(("retry-after", f"{problem.retry_after:g}"))
        return Answer(problem.status, headers, orjson.dumps(self.envelope(problem) | {"request_id": self.request_id(stamp)}))

    def envelope(self, problem: Rejected) -> JSON:
        kind = problem.type or _TYPES.get(problem.status) or ("invalid_request_error" if problem.status < 500 else "api_error")
        return {"type": "error", "error": {"type": kind, "message": problem.message}}

    def usual(self, status: int, model: str) -> Rejected:
        if status == 404:
            return self.unknown_model(model, None)
        return Rejected(status, _USUAL.get(status, f"The server answered with status {status}."))

    def refused_key(self) -> Rejected:
        return Rejected(401, "invalid x-api-key")

    def context_length(self, model: str, tokens: int, window: int) -> Rejected:  # noqa: ARG002
        return Rejected(400, f"prompt is too long: {tokens} tokens > {window} maximum")

    def unknown_model(self, model: str, call: Call | None) -> Rejected:  # noqa: ARG002
        return Rejected(404, f"model: {model}")
