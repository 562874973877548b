"""OpenAI as a host of several APIs: keys, headers and errors, which they share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qs, unquote

import orjson

from extproc.simulator.openai.chat_requests import reasons
from extproc.simulator.wire import JSON, Answer, Ask, Call, Headers, Rejected, Stamp

_RATE_LIMITED = (
    "Rate limit reached for {model} in organization org-sim on tokens per min (TPM): Limit 30000, Used 30000, Requested 100. "
    "Visit https://platform.openai.com/account/rate-limits to learn more."
)
_USUAL: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "The request was invalid."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: ("invalid_request_error", "unsupported_country_region_territory", "Country, region, or territory not supported"),
    429: (
        "tokens",
        "rate_limit_exceeded",
        _RATE_LIMITED,
    ),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    503: ("server_error", None, "The engine is currently overloaded, please try again later"),
}


SNAPSHOTS = {
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-5": "gpt-5-2025-08-07",
    "gpt-5-mini": "gpt-5-mini-2025-08-07",
    "gpt-5-nano": "gpt-5-nano-2025-08-07",
}
_AZURE = re.compile(r"/openai/(?:deployments/([^/]+)/(.+)|(?:v1/)?(responses|models|embeddings|chat/completions)(/.+)?)")


class OpenAIHost:
    """What its APIs share. Azure's paths want `api-version`, and take the key as `api-key`."""

    dialect = "openai_chat"
    models: tuple[str, ...] = ("gpt-4o", "gpt-4o-mini", "gpt-5-mini")
    json_type = "application/json"
    bad_json = (
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. "
        "The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
    )
    bad_shape = "Invalid request: a parameter has the wrong type."
    overloaded = 503

    def place(self, method: str, path: str, query: str) -> tuple[str, str, str]:
        """(operation, Azure's deployment or "", cloud) of a path: `/v1/{operation}`, or Azure's. Raises `Rejected`."""
        if path.startswith("/v1/"):
            return path[4:], "", ""
        found = _AZURE.fullmatch(path)
        if found is None:
            raise Rejected(404, f"Invalid URL ({method} {path})")
        if not path.startswith("/openai/v1/") and "api-version" not in parse_qs(query):
            raise Rejected(404, "Resource not found", code="404")
        return found[2] or found[3] + (found[4] or ""), unquote(found[1] or ""), "azure"

    def only_post(self, method: str, path: str) -> None:
        """Raises `Rejected` (405) for any other method."""
        if method != "POST":
            raise Rejected(405, f"Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)")

    def key(self, headers: Mapping[str, str], query: str) -> str | None:  # noqa: ARG002 - the contract's signature
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return (key.strip() if scheme.lower() == "bearer" else headers.get("api-key", "").strip()) or None

    def check_access(self, call: Call, headers: Mapping[str, str], key: str | None, accepted: frozenset[str]) -> None:
        if not call.cloud and "authorization" not in headers:
            key = None
        if key is None:
            raise Rejected(
                401,
                "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
                "(i.e. Authorization: Bearer YOUR_KEY).",
            )
        if accepted and key not in accepted:
            raise self.refused_key()

    def model_of(self, call: Call, body: JSON) -> str:
        model = call.model or body.get("model")
        return model if isinstance(model, str) else ""

    def model_list(self, call: Call, models: tuple[str, ...]) -> bytes:  # noqa: ARG002
        data = [{"id": m, "object": "model", "created": 1715367049, "owned_by": "system"} for m in models]
        return orjson.dumps({"object": "list", "data": data})

    def headers(self, stamp: Stamp, content_type: str) -> Headers:
        return [
            ("content-type", content_type),
            ("access-control-expose-headers", "X-Request-ID"),
            ("openai-organization", "org-sim"),
            ("openai-processing-ms", "12"),
            ("openai-version", "2020-10-01"),
            ("x-ratelimit-limit-requests", "10000"),
            ("x-ratelimit-limit-tokens", "30000000"),
            ("x-ratelimit-remaining-requests", "9999"),
            ("x-ratelimit-remaining-tokens", "29999976"),
            ("x-ratelimit-reset-requests", "6ms"),
            ("x-ratelimit-reset-tokens", "0s"),
            ("x-request-id", f"req_{stamp.hex(f'request{stamp.number}', 32)}"),
            ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
            ("x-content-type-options", "nosniff"),
            ("server", "cloudflare"),
        ]

    def error(self, problem: Rejected, stamp: Stamp, call: Call | None = None) -> Answer:  # noqa: ARG002
        headers = self.headers(stamp, "application/json; charset=utf-8" if problem.status in (401, 404) else "application/json")
        if problem.retry_after is not None:
            headers += [("retry-after", f"{problem.retry_after:g}"), ("retry-after-ms", str(round(problem.retry_after * 1000)))]
        return Answer(problem.status, headers, orjson.dumps({"error": self.envelope(problem)}, option=orjson.OPT_INDENT_2))

    def envelope(self, problem: Rejected) -> JSON:
        kind, code, _ = _USUAL.get(problem.status, ("invalid_request_error" if problem.status < 500 else "server_error", None, ""))
        return {"message": problem.message, "type": problem.type or kind, "param": problem.param, "code": problem.code or code}

    def usual(self, status: int, model: str) -> Rejected:
        if status == 404:
            return self.unknown_model(model, None)
        kind, code, message = _USUAL.get(status, (None, None, f"The server answered with status {status}."))
        return Rejected(status, message.replace("{model}", model or "the model"), kind, code)

    def refused_key(self) -> Rejected:
        return Rejected(
            401,
            "Incorrect API key provided: sk-*****. You can find your API key at https://platform.openai.com/account/api-keys.",
            code="invalid_api_key",
        )

    def context_length(self, model: str, tokens: int, window: int) -> Rejected:
        text = (
            "Your input exceeds the context window of this model. Please adjust your input and try again."
            if reasons(model)
            else f"This model's maximum context length is {window} tokens. However, your messages resulted in {tokens} tokens. "
            "Please reduce the length of the messages."
        )
        return Rejected(400, text, "invalid_request_error", "context_length_exceeded", "messages")

    def unknown_model(self, model: str, call: Call | None) -> Rejected:  # noqa: ARG002
        return Rejected(404, f"The model `{model}` does not exist or you do not have access to it.", "invalid_request_error", "model_not_found")

    def stream_type(self, call: Call) -> str:  # noqa: ARG002
        return "text/event-stream; charset=utf-8"

    def filtered_prompt(self, ask: Ask, stamp: Stamp, call: Call) -> Answer:  # noqa: ARG002
        result = {
            k: {"filtered": k == "violence", "severity": "medium" if k == "violence" else "safe"} for k in ("hate", "self_harm", "sexual", "violence")
        }
        error = {
            "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. "
            "Please modify your prompt and retry. To learn more about our content filtering policies please read our documentation: "
            "https://go.microsoft.com/fwlink/?linkid=2198766",
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "status": 400,
            "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": result},
        }
        return Answer(400, self.headers(stamp, "application/json"), orjson.dumps({"error": error}))
