"""Anthropic's Messages API as the provider speaks it: answers and streams.

Shapes follow recorded traffic: named events, a ping after the first block's start, padding before an event's last brace, signatures as
a delta of their own, input counts repeated in `message_delta`.
Wire format: https://platform.claude.com/docs/en/api/messages, https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import orjson

from extproc.simulator.anthropic.host import AnthropicHost
from extproc.simulator.anthropic.messages import sign
from extproc.simulator.anthropic.requests import read
from extproc.simulator.replies import argument_pieces, arguments_json, pieces
from extproc.simulator.wire import JSON, Answer, Ask, Call, Rejected, Reply, Stamp, Stream

_STOP = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "tools": "tool_use",
    "filtered": "refusal",
    "refusal": "refusal",
}
_SNAPSHOTS = {"claude-sonnet-4-5": "claude-sonnet-4-5-20250929", "claude-haiku-4-5": "claude-haiku-4-5-20251001"}
_EMPTY: dict[str, JSON] = {"thinking": {"thinking": "", "signature": ""}, "text": {"text": ""}, "tool_use": {"input": {}}}


class AnthropicWire(AnthropicHost):
    """POST /v1/messages and GET /v1/models."""

    def route(self, method: str, path: str, query: str) -> Call:  # noqa: ARG002 - the contract's signature
        if path == "/v1/messages":
            if method != "POST":
                raise Rejected(405, "Method Not Allowed", "invalid_request_error")
            return Call("generate")
        if path == "/v1/models" and method == "GET":
            return Call("models")
        raise Rejected(404, "Not Found")

    def read(self, call: Call, body: JSON, headers: Mapping[str, str]) -> Ask:  # noqa: ARG002
        return read(body, headers)

    # -- answers

    def _start(self, ask: Ask, stamp: Stamp) -> JSON:
        return {
            "model": _SNAPSHOTS.get(ask.model, ask.model),
            "id": f"msg_01{stamp.base62('id', 22)}",
            "type": "message",
            "role": "assistant",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "usage": {},
        }

    def _stop(self, reply: Reply) -> JSON:
        refusal = reply.finish in ("refusal", "filtered")
        details = {"type": "refusal", "category": None, "explanation": None} if refusal else None
        return {"stop_reason": _STOP[reply.finish], "stop_sequence": reply.stopped_by, "stop_details": details}

    def _input_usage(self, ask: Ask) -> JSON:
        return {
            "input_tokens": ask.prompt_tokens - ask.cached - ask.cache_written,
            "cache_creation_input_tokens": ask.cache_written,
            "cache_read_input_tokens": ask.cached,
        }

    def _full_usage(self, ask: Ask, output: int) -> JSON:
        return {
            **self._input_usage(ask),
            "cache_creation": {"ephemeral_5m_input_tokens": ask.cache_written, "ephemeral_1h_input_tokens": 0},
            "output_tokens": output,
            "service_tier": "standard",
            "inference_geo": "not_available",
        }

    def _blocks(self, ask: Ask, reply: Reply, stamp: Stamp) -> list[JSON]:
        blocks: list[JSON] = []
        if reply.thinking:
            shown = "" if ask.extra.get("omitted") else reply.thinking
            nonce = hashlib.blake2b(stamp.seed, digest_size=16).digest()
            blocks.append({"type": "thinking", "thinking": shown, "signature": sign(shown, nonce)})
        if reply.text:
            blocks.append({"type": "text", "text": reply.text})
        for i, (name, arguments) in enumerate(reply.calls):
            call_id = f"toolu_01{stamp.base62(f'call{i}', 22)}"
            blocks.append({"type": "tool_use", "id": call_id, "name": name, "input": arguments, "caller": {"type": "direct"}})
        return blocks

    def _details(self, reply: Reply) -> JSON:
        return {"output_tokens_details": {"thinking_tokens": reply.reasoning_tokens}} if reply.reasoning_tokens else {}

    def unary(self, ask: Ask, reply: Reply, stamp: Stamp) -> bytes:
        usage = self._full_usage(ask, reply.output_tokens) | self._details(reply)
        return orjson.dumps(self._start(ask, stamp) | {"content": self._blocks(ask, reply, stamp)} | self._stop(reply) | {"usage": usage})

    def stream(self, ask: Ask, reply: Reply, stamp: Stamp) -> Stream:
        events, content, finish = self.events(ask, reply, stamp)
        frames: list[bytes] = []
        for data in events:
            padding = b" " * (stamp.seed[len(frames) % 16] % 16)
            frames.append(b"event: %b\ndata: %b%b}\n\n" % (data["type"].encode(), orjson.dumps(data)[:-1], padding))
        if finish > 1:
            # behind the start of the first block
            frames.insert(2, b'event: ping\ndata: {"type": "ping"}\n\n')
            content, finish = content + (content > 1), finish + 1
        return Stream(frames, content, finish, len(frames) - 1)

    def events(self, ask: Ask, reply: Reply, stamp: Stamp) -> tuple[list[JSON], int, int]:
        """The events of a stream, the index of the first with content and of the first that tells the finish."""
        frames: list[JSON] = []
        add = frames.append
        add({"type": "message_start", "message": self._start(ask, stamp) | {"usage": self._full_usage(ask, 1)}})
        content = 0
        for index, block in enumerate(self._blocks(ask, reply, stamp)):
            # the start of a tool call already names the tool: content. The start of a text or of a thought says nothing yet
            if block["type"] == "tool_use" and not content:
                content = len(frames)
            empty = _EMPTY[block["type"]]
            add({"type": "content_block_start", "index": index, "content_block": block | empty})
            content = content or len(frames)
            for delta in self._deltas(block):
                add({"type": "content_block_delta", "index": index, "delta": delta})
            add({"type": "content_block_stop", "index": index})
        finish = len(frames)
        usage = self._input_usage(ask) | {"output_tokens": reply.output_tokens} | self._details(reply)
        add({"type": "message_delta", "delta": self._stop(reply), "usage": usage})
        add({"type": "message_stop"})
        return frames, content or finish, finish

    def _deltas(self, block: JSON) -> list[JSON]:
        if block["type"] == "text":
            return [{"type": "text_delta", "text": p} for p in pieces(block["text"])]
        if block["type"] == "thinking":
            thoughts: list[JSON] = [{"type": "thinking_delta", "thinking": p} for p in pieces(block["thinking"])]
            return [*thoughts, {"type": "signature_delta", "signature": block["signature"]}]
        said = argument_pieces(arguments_json(block["input"])) if block["input"] else []
        return [{"type": "input_json_delta", "partial_json": p} for p in ["", *said]]

    def stream_type(self, call: Call) -> str:  # noqa: ARG002
        return "text/event-stream; charset=utf-8"

    def filtered_prompt(self, ask: Ask, stamp: Stamp, call: Call) -> Answer:  # noqa: ARG002
        return self.error(Rejected(400, "Output blocked by content filtering policy"), stamp)

    def error_event(self, problem: Rejected, stamp: Stamp, call: Call | None, after: int) -> bytes:  # noqa: ARG002
        return b"event: error\ndata: %b\n\n" % orjson.dumps(self.envelope(problem) | {"request_id": self.request_id(stamp)})

    def malformed_event(self, call: Call | None, after: int) -> bytes:  # noqa: ARG002
        return b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hal\n\n'
