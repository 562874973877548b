"""Bedrock's Converse and ConverseStream as the provider speaks them, and its token count.

Shapes follow recorded traffic: no block start but for tool calls, the signature as a delta of its own, padding in each event, usage behind the stop.
Wire format: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from extproc.simulator.anthropic.messages import sign
from extproc.simulator.anthropic.requests import read as read_claude
from extproc.simulator.bedrock.frames import CONTENT_TYPE, broken_event, event
from extproc.simulator.bedrock.host import BedrockHost
from extproc.simulator.bedrock.messages import bad, one_of
from extproc.simulator.bedrock.requests import read
from extproc.simulator.replies import argument_pieces, arguments_json, pieces
from extproc.simulator.wire import JSON, Answer, Ask, Call, Posted, Rejected, Reply, Stamp, Stream

_STOP = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "tools": "tool_use",
    "filtered": "content_filtered",
    "refusal": "content_filtered",
}


class BedrockConverseWire(BedrockHost):
    """POST /model/{id}/converse, /converse-stream and /count-tokens."""

    def route(self, method: str, path: str, query: str) -> Call:  # noqa: ARG002 - the contract's signature
        model, operation = self.place(method, path)
        if operation == "count-tokens":
            return Call("plain", model, serve=self._count)
        if operation not in ("converse", "converse-stream"):
            raise Rejected(404, "Unable to determine service/operation name to be authorized", "UnknownOperationException")
        return Call("generate", model, stream=operation == "converse-stream")

    def read(self, call: Call, body: JSON, headers: Mapping[str, str]) -> Ask:  # noqa: ARG002
        return read(call, body)

    def _count(self, posted: Posted) -> Answer:
        given: Any = (posted.body or {}).get("input")
        kind = one_of(given, frozenset({"converse", "invokeModel"}), "input")
        if kind == "converse":
            counted = read(Call("plain", posted.model), given[kind]).prompt_tokens
        else:
            try:
                body = orjson.loads(_decoded(given[kind].get("body")))
            except orjson.JSONDecodeError:
                raise bad("Malformed input request, please reformat your input and try again.") from None
            body.pop("anthropic_version", None)
            counted = read_claude({"model": posted.model, "max_tokens": 1, **body}, {}).prompt_tokens
        return Answer(200, self.headers(posted.stamp, self.json_type), orjson.dumps({"inputTokens": counted}))

    # -- answers

    def unary(self, ask: Ask, reply: Reply, stamp: Stamp) -> bytes:
        content: list[JSON] = []
        if reply.thinking:
            signature = sign(reply.thinking, hashlib.blake2b(stamp.seed, digest_size=16).digest())
            content.append({"reasoningContent": {"reasoningText": {"signature": signature, "text": reply.thinking}}})
        if reply.text:
            content.append({"text": reply.text})
        for i, (name, arguments) in enumerate(reply.calls):
            content.append({"toolUse": {"input": arguments, "name": name, "toolUseId": self._call_id(stamp, i)}})
        document = {
            "metrics": {"latencyMs": 12},
            "output": {"message": {"content": content, "role": "assistant"}},
            "stopReason": _STOP[reply.finish],
            "usage": self._usage(ask, reply),
        }
        return orjson.dumps(document)

    def stream(self, ask: Ask, reply: Reply, stamp: Stamp) -> Stream:
        frames: list[bytes] = []

        def add(kind: str, data: JSON) -> None:
            frames.append(event(kind, data, stamp, len(frames)))

        def block(index: int, deltas: list[JSON]) -> None:
            for delta in deltas:
                add("contentBlockDelta", {"contentBlockIndex": index, "delta": delta})
            add("contentBlockStop", {"contentBlockIndex": index})

        add("messageStart", {"role": "assistant"})
        index = 0
        if reply.thinking:
            signature = sign(reply.thinking, hashlib.blake2b(stamp.seed, digest_size=16).digest())
            thoughts: list[JSON] = [{"reasoningContent": {"text": p}} for p in pieces(reply.thinking)]
            block(index, [*thoughts, {"reasoningContent": {"signature": signature}}])
            index += 1
        if reply.text:
            block(index, [{"text": p} for p in pieces(reply.text)])
            index += 1
        for i, (name, arguments) in enumerate(reply.calls):
            add("contentBlockStart", {"contentBlockIndex": index, "start": {"toolUse": {"name": name, "toolUseId": self._call_id(stamp, i)}}})
            block(index, [{"toolUse": {"input": p}} for p in argument_pieces(arguments_json(arguments))])
            index += 1
        finish = len(frames)
        add("messageStop", {"stopReason": _STOP[reply.finish]})
        add("metadata", {"metrics": {"latencyMs": 12}, "usage": self._usage(ask, reply)})
        return Stream(frames, min(1, finish), finish, len(frames) - 1)

    def _call_id(self, stamp: Stamp, number: int) -> str:
        return f"tooluse_{stamp.base62(f'call{number}', 22)}"

    def _usage(self, ask: Ask, reply: Reply) -> JSON:
        fresh = ask.prompt_tokens - ask.cached - ask.cache_written
        usage: JSON = {"inputTokens": fresh, "outputTokens": reply.output_tokens, "totalTokens": ask.prompt_tokens + reply.output_tokens}
        if ask.cache_prefix:
            usage |= {"cacheReadInputTokens": ask.cached, "cacheWriteInputTokens": ask.cache_written}
        return usage

    # -- what goes wrong

    def filtered_prompt(self, ask: Ask, stamp: Stamp, call: Call) -> Answer:
        """A guardrail speaks in the model's place."""
        text = "Sorry, the model cannot answer this question."
        usage = {"inputTokens": ask.prompt_tokens, "outputTokens": 0, "totalTokens": ask.prompt_tokens}
        if not call.stream:
            document = {
                "metrics": {"latencyMs": 12},
                "output": {"message": {"content": [{"text": text}], "role": "assistant"}},
                "stopReason": "guardrail_intervened",
                "usage": usage,
            }
            return Answer(200, self.headers(stamp, self.json_type), orjson.dumps(document))
        said: list[tuple[str, JSON]] = [
            ("messageStart", {"role": "assistant"}),
            ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}}),
            ("contentBlockStop", {"contentBlockIndex": 0}),
            ("messageStop", {"stopReason": "guardrail_intervened"}),
            ("metadata", {"metrics": {"latencyMs": 12}, "usage": usage}),
        ]
        frames = [event(kind, data, stamp, i) for i, (kind, data) in enumerate(said)]
        return Answer(200, self.headers(stamp, CONTENT_TYPE), stream=Stream(frames, 1, 3, 4))

    def malformed_event(self, call: Call | None, after: int) -> bytes:  # noqa: ARG002
        return broken_event("contentBlockDelta")


def _decoded(value: object) -> bytes:
    try:
        return base64.b64decode(str(value), validate=True)
    except ValueError:
        raise bad("Value at 'input.invokeModel.body' is no base64") from None
