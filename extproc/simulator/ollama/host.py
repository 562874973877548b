"""Ollama as a host: models, headers and errors, which its APIs share. It asks for no key unless the simulator is given some.

Wire format: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import orjson

from extproc.simulator.wire import JSON, Answer, Call, Headers, Rejected, Stamp

_USUAL = {
    400: "invalid request",
    401: "unauthorized",
    403: "forbidden",
    429: "too many requests",
    500: "llama runner process has terminated",
    503: "server busy, please try again.  maximum pending requests exceeded",
}


class OllamaHost:
    """What its APIs share."""

    dialect = "ollama_chat"
    models: tuple[str, ...] = ("llama3.2", "qwen3", "nomic-embed-text")
    json_type = "application/json; charset=utf-8"
    bad_json = "invalid character at the beginning of value"
    bad_shape = "json: cannot unmarshal a value into a Go struct field"
    overloaded = 503

    def only_post(self, method: str) -> None:
        """Raises `Rejected` (405) for any other method."""
        if method != "POST":
            raise Rejected(405, "405 method not allowed")

    def key(self, headers: Mapping[str, str], query: str) -> str | None:  # noqa: ARG002 - the contract's signature
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return key.strip() or None if scheme.lower() == "bearer" else None

    def check_access(self, call: Call, headers: Mapping[str, str], key: str | None, accepted: frozenset[str]) -> None:  # noqa: ARG002
        if accepted and key not in accepted:
            raise self.refused_key()

    def model_of(self, call: Call, body: JSON) -> str:  # noqa: ARG002
        model = body.get("model")
        return model if isinstance(model, str) else ""

    def model_list(self, call: Call, models: tuple[str, ...]) -> bytes:  # noqa: ARG002
        details = {"format": "gguf", "family": "llama", "parameter_size": "3.2B", "quantization_level": "Q4_K_M"}
        listed = [
            {"name": m, "model": m, "modified_at": "2026-01-02T03:04:05Z", "size": 2019393189, "digest": "sha256:0", "details": details}
            for m in models
        ]
        return orjson.dumps({"models": listed})

    def headers(self, stamp: Stamp, content_type: str) -> Headers:  # noqa: ARG002
        return [("content-type", content_type)]

    def created_at(self, stamp: Stamp) -> str:
        """As in every line of an answer."""
        return datetime.fromtimestamp(int(stamp.now), UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")

    def error(self, problem: Rejected, stamp: Stamp, call: Call | None = None) -> Answer:  # noqa: ARG002
        headers = self.headers(stamp, self.json_type)
        if problem.retry_after is not None:
            headers.append(("retry-after", f"{problem.retry_after:g}"))
        return Answer(problem.status, headers, orjson.dumps({"error": problem.message}))

    def usual(self, status: int, model: str) -> Rejected:
        if status == 404:
            return self.unknown_model(model, None)
        return Rejected(status, _USUAL.get(status, f"the server answered with status {status}"))

    def refused_key(self) -> Rejected:
        return Rejected(401, _USUAL[401])

    def context_length(self, model: str, tokens: int, window: int) -> Rejected:  # noqa: ARG002
        return Rejected(400, "the input length exceeds the context length")

    def unknown_model(self, model: str, call: Call | None) -> Rejected:  # noqa: ARG002
        return Rejected(404, f"model '{model}' not found")
