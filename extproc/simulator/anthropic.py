"""Anthropic's Messages API as the provider speaks it: paths, headers, answers, streams and errors.

Shapes follow recorded traffic: named events, a ping after the first block's start, padding before an event's last brace, signatures as
a delta of their own, input counts repeated in `message_delta`.
Wire format: https://platform.claude.com/docs/en/api/messages, https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime

import orjson

from extproc.simulator.anthropic_messages import sign
from extproc.simulator.anthropic_requests import read
from extproc.simulator.replies import argument_pieces, arguments_json, pieces
from extproc.simulator.wire import JSON, Answer, Ask, Call, Headers, Rejected, Reply, Stamp, Stream

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


class AnthropicWire:
    """POST /v1/messages and GET /v1/models."""

    dialect = "anthropic_messages"
    models: tuple[str, ...] = ("claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-1")
    json_type = "application/json"
    bad_json = "The request body is not valid JSON: expected an object at line 1 column 1"
    bad_shape = "Input does not match the expected shape."

    def route(self, method: str, path: str, query: str) -> Call:  # noqa: ARG002 - the contract's signature
        if path == "/v1/messages":
            if method != "POST":
                raise Rejected(405, "Method Not Allowed", "invalid_request_error")
            return Call("generate")
        if path == "/v1/models" and method == "GET":
            return Call("models")
        raise Rejected(404, "Not Found")

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

    def read(self, call: Call, body: JSON, headers: Mapping[str, str]) -> Ask:  # noqa: ARG002
        return read(body, headers)

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
        frames: list[bytes] = []

        def add(data: JSON) -> None:
            raw = orjson.dumps(data)
            padding = b" " * (stamp.seed[len(frames) % 16] % 16)
            frames.append(b"event: %b\ndata: %b%b}\n\n" % (data["type"].encode(), raw[:-1], padding))

        add({"type": "message_start", "message": self._start(ask, stamp) | {"usage": self._full_usage(ask, 1)}})
        content = 0
        for index, block in enumerate(self._blocks(ask, reply, stamp)):
            # the start of a tool call already names the tool: content. The start of a text or of a thought says nothing yet
            if block["type"] == "tool_use" and not content:
                content = len(frames)
            empty = _EMPTY[block["type"]]
            add({"type": "content_block_start", "index": index, "content_block": block | empty})
            if index == 0:
                frames.append(b'event: ping\ndata: {"type": "ping"}\n\n')
            content = content or len(frames)
            for delta in self._deltas(block):
                add({"type": "content_block_delta", "index": index, "delta": delta})
            add({"type": "content_block_stop", "index": index})
        finish = len(frames)
        usage = self._input_usage(ask) | {"output_tokens": reply.output_tokens} | self._details(reply)
        add({"type": "message_delta", "delta": self._stop(reply), "usage": usage})
        add({"type": "message_stop"})
        return Stream(frames, content or finish, finish, len(frames) - 1)

    def _deltas(self, block: JSON) -> list[JSON]:
        if block["type"] == "text":
            return [{"type": "text_delta", "text": p} for p in pieces(block["text"])]
        if block["type"] == "thinking":
            thoughts: list[JSON] = [{"type": "thinking_delta", "thinking": p} for p in pieces(block["thinking"])]
            return [*thoughts, {"type": "signature_delta", "signature": block["signature"]}]
        said = argument_pieces(arguments_json(block["input"])) if block["input"] else []
        return [{"type": "input_json_delta", "partial_json": p} for p in ["", *said]]

    # -- headers and errors

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
            ("request-id", self._request_id(stamp)),
            ("anthropic-organization-id", "3e1c1f60-0000-4000-8000-000000000000"),
            ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
            ("x-robots-tag", "none"),
            ("vary", "Accept-Encoding"),
            ("server", "cloudflare"),
        ]

    def _request_id(self, stamp: Stamp) -> str:
        return f"req_011{stamp.base62(f'request{stamp.number}', 21)}"

    def stream_type(self, call: Call) -> str:  # noqa: ARG002
        return "text/event-stream; charset=utf-8"

    def error(self, problem: Rejected, stamp: Stamp, call: Call | None = None) -> Answer:  # noqa: ARG002
        headers = self.headers(stamp, "application/json")
        headers.append(("x-should-retry", "true" if problem.status in (408, 409, 429) or problem.status >= 500 else "false"))
        if problem.retry_after is not None:
            headers.append(("retry-after", f"{problem.retry_after:g}"))
        return Answer(problem.status, headers, orjson.dumps(self._envelope(problem) | {"request_id": self._request_id(stamp)}))

    def _envelope(self, problem: Rejected) -> JSON:
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

    def filtered_prompt(self, ask: Ask, stamp: Stamp, call: Call) -> Answer:  # noqa: ARG002
        return self.error(Rejected(400, "Output blocked by content filtering policy"), stamp)

    def error_event(self, problem: Rejected, stamp: Stamp, *, array: bool, first: bool) -> bytes:  # noqa: ARG002
        return b"event: error\ndata: %b\n\n" % orjson.dumps(self._envelope(problem) | {"request_id": self._request_id(stamp)})

    def malformed_event(self, *, array: bool, first: bool) -> bytes:  # noqa: ARG002
        return b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hal\n\n'
