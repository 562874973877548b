"""Cohere's chat as the provider speaks it: answers and streams.

Shapes follow recorded traffic: the plan of a tool call before it, content parts that start and end, usage in the last event.
Wire format: https://docs.cohere.com/v2/reference/chat-stream
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from extproc.simulator.cohere.host import CohereHost
from extproc.simulator.cohere.requests import bad, read
from extproc.simulator.replies import argument_pieces, arguments_json, pieces
from extproc.simulator.wire import JSON, Answer, Ask, Call, Rejected, Reply, Stamp, Stream

_FINISH = {
    "stop": "COMPLETE",
    "stop_sequence": "STOP_SEQUENCE",
    "length": "MAX_TOKENS",
    "tools": "TOOL_CALL",
    "filtered": "ERROR_TOXIC",
    "refusal": "COMPLETE",
}


class CohereChatWire(CohereHost):
    """POST /v2/chat and GET /v1/models."""

    def route(self, method: str, path: str, query: str) -> Call:  # noqa: ARG002 - the contract's signature
        if path == "/v1/models" and method == "GET":
            return Call("models")
        if path != "/v2/chat":
            raise Rejected(404, "not found")
        if method != "POST":
            raise Rejected(405, "method not allowed")
        return Call("generate")

    def read(self, call: Call, body: JSON, headers: Mapping[str, str]) -> Ask:  # noqa: ARG002
        return read(body)

    # -- answers

    def unary(self, ask: Ask, reply: Reply, stamp: Stamp) -> bytes:
        message: JSON = {"role": "assistant"}
        content: list[JSON] = []
        if reply.thinking:
            content.append({"type": "thinking", "thinking": reply.thinking})
        if reply.text:
            content.append({"type": "text", "text": reply.text})
        if content:
            message["content"] = content
        if reply.calls:
            message["tool_plan"] = self._plan(reply)
            message["tool_calls"] = [self._call(stamp, i, name, arguments_json(a)) for i, (name, a) in enumerate(reply.calls)]
        document = {
            "id": self.new_id(stamp, "id"),
            "finish_reason": _FINISH[reply.finish],
            "message": message,
            "usage": self._usage(ask, reply),
        }
        return orjson.dumps(document)

    def stream(self, ask: Ask, reply: Reply, stamp: Stamp) -> Stream:
        frames: list[bytes] = []

        def add(kind: str, data: JSON) -> None:
            frames.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **data})))

        empty: JSON = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        add("message-start", {"id": self.new_id(stamp, "id"), "delta": {"message": empty}})
        index = 0
        for kind, text in (("thinking", reply.thinking), ("text", reply.text)):
            if text:
                add("content-start", {"index": index, "delta": {"message": {"content": {"type": kind, kind: ""}}}})
                for piece in pieces(text):
                    add("content-delta", {"index": index, "delta": {"message": {"content": {kind: piece}}}})
                add("content-end", {"index": index})
                index += 1
        if reply.calls:
            for piece in pieces(self._plan(reply)):
                add("tool-plan-delta", {"delta": {"message": {"tool_plan": piece}}})
        for i, (name, arguments) in enumerate(reply.calls):
            add("tool-call-start", {"index": i, "delta": {"message": {"tool_calls": self._call(stamp, i, name, "")}}})
            for piece in argument_pieces(arguments_json(arguments)):
                add("tool-call-delta", {"index": i, "delta": {"message": {"tool_calls": {"function": {"arguments": piece}}}}})
            add("tool-call-end", {"index": i})
        finish = len(frames)
        add("message-end", {"delta": {"finish_reason": _FINISH[reply.finish], "usage": self._usage(ask, reply)}})
        return Stream(frames, min(2 if reply.text or reply.thinking else 1, finish), finish, finish)

    def _plan(self, reply: Reply) -> str:
        return f"I will call {' and '.join(name for name, _ in reply.calls)}."

    def _call(self, stamp: Stamp, number: int, name: str, arguments: str) -> JSON:
        call_id = f"{name}_{stamp.base62(f'call{number}', 12).lower()}"
        return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}

    def _usage(self, ask: Ask, reply: Reply) -> JSON:
        """What is billed leaves out the template around the prompt."""
        return {
            "billed_units": {"input_tokens": max(ask.prompt_tokens - 4, 1), "output_tokens": reply.output_tokens},
            "tokens": {"input_tokens": ask.prompt_tokens, "output_tokens": reply.output_tokens},
        }

    # -- what goes wrong

    def stream_type(self, call: Call) -> str:  # noqa: ARG002
        return "text/event-stream"

    def filtered_prompt(self, ask: Ask, stamp: Stamp, call: Call) -> Answer:  # noqa: ARG002
        return self.error(bad("the prompt was blocked by the content filter of this deployment."), stamp)

    def error_event(self, problem: Rejected, stamp: Stamp, call: Call | None, after: int) -> bytes:  # noqa: ARG002
        ended = {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": problem.message}}
        return b"event: message-end\ndata: %b\n\n" % orjson.dumps(ended)

    def malformed_event(self, call: Call | None, after: int) -> bytes:  # noqa: ARG002
        return b'event: content-delta\ndata: {"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"hal\n\n'
