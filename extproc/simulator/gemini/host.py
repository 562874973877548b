"""Google's Gemini API and Vertex AI as a host: keys, headers and errors in Google's form, which their APIs share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qs, unquote

import orjson

from extproc.simulator.wire import JSON, Answer, Call, Headers, Rejected, Stamp

_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_USUAL = {
    400: "Request contains an invalid argument.",
    401: "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.",
    403: "Your project has been denied access. Please contact support.",
    429: "You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: "
    "https://ai.google.dev/gemini-api/docs/rate-limits.",
    500: "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting",
    503: "The model is overloaded. Please try again later.",
    504: "Deadline expired before operation could complete.",
}
_TYPE = "type.googleapis.com/google.rpc."
JSON_TYPE = "application/json; charset=UTF-8"
_PATH = re.compile(
    r"/(?P<version>v1|v1beta1|v1beta|v1alpha)(?:/projects/[^/]+/locations/[^/]+/publishers/(?P<publisher>[a-z]+))?"
    r"/models(?:/(?P<model>[^/:]+)(?::(?P<operation>\w+))?)?"
)


class GeminiHost:
    """What its APIs share. Vertex AI takes an access token, the Gemini API a key."""

    dialect = "gemini"
    models: tuple[str, ...] = ("gemini-2.5-flash", "gemini-2.5-pro", "gemini-3-flash-preview")
    json_type = JSON_TYPE
    bad_json = "Invalid JSON payload received. Unexpected token.\n\n^"
    bad_shape = "Invalid JSON payload received. Invalid value: Proto field has the wrong type."
    overloaded = 503

    def place(self, path: str, publisher: str = "google") -> tuple[str, str, str, str]:
        """(version, model, operation, cloud) of `/{version}/models/{model}:{operation}`, below a project for Vertex AI. Raises `Rejected`."""
        found = _PATH.fullmatch(path)
        if found is None or found["publisher"] not in (None, publisher):
            raise Rejected(404, "Not Found")
        return found["version"], unquote(found["model"] or ""), found["operation"] or "", "vertex" if found["publisher"] else ""

    def key(self, headers: Mapping[str, str], query: str) -> str | None:
        own = headers.get("x-goog-api-key", "").strip() or next(iter(parse_qs(query).get("key", [])), None)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return own or (token.strip() or None if scheme.lower() == "bearer" else None)

    def check_access(self, call: Call, headers: Mapping[str, str], key: str | None, accepted: frozenset[str]) -> None:
        if call.cloud and "authorization" not in headers:
            raise Rejected(401, _USUAL[401])
        if key is None:
            raise Rejected(
                403,
                "Method doesn't allow unregistered callers (callers without established identity). "
                "Please use API Key or other form of API consumer identity to call this API.",
            )
        if accepted and key not in accepted:
            raise self.refused_key()

    def model_of(self, call: Call, body: JSON) -> str:  # noqa: ARG002
        return call.model

    def model_list(self, call: Call, models: tuple[str, ...]) -> bytes:  # noqa: ARG002
        data = [
            {
                "name": f"models/{m}",
                "version": "001",
                "displayName": m,
                "inputTokenLimit": 1048576,
                "outputTokenLimit": 65536,
                "supportedGenerationMethods": ["generateContent", "countTokens"],
            }
            for m in models
        ]
        return orjson.dumps({"models": data}, option=orjson.OPT_INDENT_2)

    def headers(self, stamp: Stamp, content_type: str) -> Headers:  # noqa: ARG002
        return [
            ("content-type", content_type),
            ("vary", "Origin"),
            ("vary", "X-Origin"),
            ("vary", "Referer"),
            ("server", "scaffolding on HTTPServer2"),
            ("x-xss-protection", "0"),
            ("x-frame-options", "SAMEORIGIN"),
            ("x-content-type-options", "nosniff"),
            ("x-gemini-service-tier", "standard"),
            ("server-timing", "gfet4t7; dur=12"),
        ]

    def error(self, problem: Rejected, stamp: Stamp, call: Call | None = None) -> Answer:
        body = orjson.dumps(self.envelope(problem), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        if call is not None and call.array:
            body = b"[" + body.rstrip() + b"\n]"
        return Answer(problem.status, self.headers(stamp, JSON_TYPE), body)

    def envelope(self, problem: Rejected) -> JSON:
        kind = problem.type or _STATUS.get(problem.status) or ("INVALID_ARGUMENT" if problem.status < 500 else "INTERNAL")
        error: JSON = {"code": problem.status, "message": problem.message, "status": kind}
        details = list(problem.details)
        if problem.retry_after is not None:
            error["message"] += f"\nPlease retry in {problem.retry_after:g}s."
            details += [
                {
                    "@type": f"{_TYPE}Help",
                    "links": [{"description": "Learn more about Gemini API quotas", "url": "https://ai.google.dev/gemini-api/docs/rate-limits"}],
                },
                {"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{problem.retry_after:g}s"},
            ]
        if details:
            error["details"] = details
        return {"error": error}

    def usual(self, status: int, model: str) -> Rejected:
        if status == 404:
            return self.unknown_model(model, None)
        problem = Rejected(status, _USUAL.get(status, f"The server answered with status {status}."))
        if status == 429:
            violation = {
                "quotaMetric": "generativelanguage.googleapis.com/generate_content_paid_tier_input_token_count",
                "quotaId": "GenerateContentPaidTierInputTokensPerModelPerMinute",
                "quotaDimensions": {"model": model, "location": "global"},
                "quotaValue": "1000000",
            }
            problem.details = [{"@type": f"{_TYPE}QuotaFailure", "violations": [violation]}]
        return problem

    def refused_key(self) -> Rejected:
        info = {
            "@type": f"{_TYPE}ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
            "metadata": {"service": "generativelanguage.googleapis.com"},
        }
        text = "API key not valid. Please pass a valid API key."
        return Rejected(400, text, details=[info, {"@type": f"{_TYPE}LocalizedMessage", "locale": "en-US", "message": text}])

    def context_length(self, model: str, tokens: int, window: int) -> Rejected:  # noqa: ARG002
        return Rejected(400, f"The input token count ({tokens}) exceeds the maximum number of tokens allowed ({window}).")

    def unknown_model(self, model: str, call: Call | None) -> Rejected:
        version = call.version if call else "v1beta"
        return Rejected(
            404,
            f"models/{model} is not found for API version {version}, or is not supported for generateContent. "
            "Call ListModels to see the list of available models and their supported methods.",
        )
