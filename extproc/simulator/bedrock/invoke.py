"""Bedrock's InvokeModel and InvokeModelWithResponseStream for Anthropic's models: Anthropic's format in Bedrock's envelope.

The model is in the path, the version in the body, each event of a stream in a frame as base64.
Wire format: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

import orjson

from extproc.simulator.anthropic.requests import read
from extproc.simulator.anthropic.wire import AnthropicWire
from extproc.simulator.bedrock.frames import broken_event, event
from extproc.simulator.bedrock.host import BedrockHost
from extproc.simulator.bedrock.messages import bad
from extproc.simulator.wire import JSON, Answer, Ask, Call, Rejected, Reply, Stamp, Stream

_VERSIONS = ("bedrock-2023-05-31", "2026-10-21")
"""Its own name of the first version, and Anthropic's of a later one, as the anthropic SDK sends them."""


class BedrockInvokeWire(BedrockHost):
    """POST /model/{id}/invoke and /invoke-with-response-stream."""

    def __init__(self) -> None:
        self._inner = AnthropicWire()

    def route(self, method: str, path: str, query: str) -> Call:  # noqa: ARG002 - the contract's signature
        model, operation = self.place(method, path)
        if operation not in ("invoke", "invoke-with-response-stream"):
            raise Rejected(404, "Unable to determine service/operation name to be authorized", "UnknownOperationException")
        return Call("generate", model, stream=operation != "invoke")

    def read(self, call: Call, body: JSON, headers: Mapping[str, str]) -> Ask:  # noqa: ARG002
        if "anthropic." not in call.model:
            raise bad("Malformed input request, please reformat your input and try again.")
        if body.get("anthropic_version") not in _VERSIONS:
            raise bad("anthropic_version: Field required" if "anthropic_version" not in body else "Invalid API version")
        for name in ("model", "stream"):
            if name in body:
                raise bad(f"{name}: Extra inputs are not permitted")
        betas = body.get("anthropic_beta") or []
        if not isinstance(betas, list) or not all(isinstance(b, str) for b in betas):
            raise bad("anthropic_beta: Input should be a valid list")
        inner = {k: v for k, v in body.items() if k not in ("anthropic_version", "anthropic_beta")}
        inner |= {"model": call.model, "stream": call.stream}
        return read(inner, {"anthropic-beta": ",".join(betas), "anthropic-version": body["anthropic_version"].removeprefix("bedrock-")})

    def unary(self, ask: Ask, reply: Reply, stamp: Stamp) -> bytes:
        return self._inner.unary(ask, reply, stamp)

    def stream(self, ask: Ask, reply: Reply, stamp: Stamp) -> Stream:
        events, content, finish = self._inner.events(ask, reply, stamp)
        events[-1]["amazon-bedrock-invocationMetrics"] = {
            "inputTokenCount": ask.prompt_tokens,
            "outputTokenCount": reply.output_tokens,
            "invocationLatency": 12,
            "firstByteLatency": 3,
        }
        frames = [event("chunk", {"bytes": base64.b64encode(orjson.dumps(e)).decode()}, stamp, i) for i, e in enumerate(events)]
        return Stream(frames, content, finish, len(frames) - 1)

    def filtered_prompt(self, ask: Ask, stamp: Stamp, call: Call) -> Answer:  # noqa: ARG002
        return self.error(bad("Output blocked by content filtering policy"), stamp)

    def malformed_event(self, call: Call | None, after: int) -> bytes:  # noqa: ARG002
        return broken_event("chunk")
