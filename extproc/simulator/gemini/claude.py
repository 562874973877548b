"""Anthropic's models on Vertex AI: Anthropic's format below Google's paths, with Google's access tokens.

The model is in the path, the version in the body. What Google refuses is said in its form, what the model refuses in Anthropic's.
Wire format: https://docs.cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude
"""

from __future__ import annotations

from collections.abc import Mapping

from extproc.simulator.anthropic.host import AnthropicHost
from extproc.simulator.anthropic.messages import bad
from extproc.simulator.anthropic.requests import read
from extproc.simulator.anthropic.wire import AnthropicWire
from extproc.simulator.gemini.host import GeminiHost
from extproc.simulator.wire import JSON, Answer, Ask, Call, Headers, Rejected, Stamp

_VERSIONS = ("vertex-2023-10-16", "2026-10-21")
"""Google's name of the first version, and Anthropic's of a later one, as the anthropic SDK sends them."""
_GOOGLES = frozenset({401, 403, 404, 429, 503})
"""Statuses that the platform answers itself."""


class VertexClaudeWire(AnthropicWire):
    """POST /v1/projects/{p}/locations/{l}/publishers/anthropic/models/{m}:rawPredict and :streamRawPredict."""

    def __init__(self) -> None:
        self._platform = GeminiHost()

    def route(self, method: str, path: str, query: str) -> Call:  # noqa: ARG002 - the contract's signature
        _, model, operation, cloud = self._platform.place(path, "anthropic")
        if not cloud or method != "POST" or operation not in ("rawPredict", "streamRawPredict"):
            raise Rejected(404, "Not Found")
        return Call("generate", model, operation == "streamRawPredict", cloud=cloud)

    def key(self, headers: Mapping[str, str], query: str) -> str | None:
        return self._platform.key(headers, query)

    def check_access(self, call: Call, headers: Mapping[str, str], key: str | None, accepted: frozenset[str]) -> None:
        self._platform.check_access(call, headers, key, accepted)

    def model_of(self, call: Call, body: JSON) -> str:  # noqa: ARG002
        return call.model

    def read(self, call: Call, body: JSON, headers: Mapping[str, str]) -> Ask:
        if body.get("anthropic_version") not in _VERSIONS:
            raise bad(f'anthropic_version: Input should be "{_VERSIONS[0]}"' if "anthropic_version" in body else "anthropic_version: Field required")
        if "model" in body:
            raise bad("model: Extra inputs are not permitted")
        if bool(body.get("stream")) is not call.stream:
            raise bad("stream: must be true for streamRawPredict, and for it alone")
        version = body["anthropic_version"].removeprefix("vertex-")
        return read({k: v for k, v in body.items() if k != "anthropic_version"} | {"model": call.model}, {**headers, "anthropic-version": version})

    def headers(self, stamp: Stamp, content_type: str) -> Headers:
        return self._platform.headers(stamp, content_type)

    def error(self, problem: Rejected, stamp: Stamp, call: Call | None = None) -> Answer:
        return self._platform.error(problem, stamp, call) if problem.status in _GOOGLES else AnthropicHost.error(self, problem, stamp, call)

    def usual(self, status: int, model: str) -> Rejected:
        return self._platform.usual(status, model) if status in _GOOGLES else AnthropicHost.usual(self, status, model)

    def refused_key(self) -> Rejected:
        return self._platform.usual(401, "")

    def unknown_model(self, model: str, call: Call | None) -> Rejected:  # noqa: ARG002
        return Rejected(404, f"Publisher Model `publishers/anthropic/models/{model}` was not found or your project does not have access to it.")
