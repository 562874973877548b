"""Ollama's chat and generate as it speaks them: a document, or a line of JSON for each piece.

Wire format: https://github.com/ollama/ollama/blob/main/docs/api.md#generate-a-chat-completion
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from extproc.simulator.ollama.host import OllamaHost
from extproc.simulator.ollama.requests import bad, read_chat, read_generate
from extproc.simulator.replies import pieces
from extproc.simulator.wire import JSON, Answer, Ask, Call, Posted, Rejected, Reply, Stamp, Stream

_DONE = {"stop": "stop", "stop_sequence": "stop", "length": "length", "tools": "stop", "filtered": "stop", "refusal": "stop"}


class OllamaWire(OllamaHost):
    """POST /api/chat and /api/generate; GET /api/tags and /api/version."""

    def route(self, method: str, path: str, query: str) -> Call:  # noqa: ARG002 - the contract's signature
        if path == "/api/tags" and method == "GET":
            return Call("models")
        if path == "/api/version" and method == "GET":
            return Call("plain", serve=self._version)
        if path not in ("/api/chat", "/api/generate"):
            raise Rejected(404, "404 page not found")
        self.only_post(method)
        return Call("generate", version=path[5:])

    def _version(self, posted: Posted) -> Answer:
        return Answer(200, self.headers(posted.stamp, self.json_type), b'{"version":"0.14.0"}')

    def read(self, call: Call, body: JSON, headers: Mapping[str, str]) -> Ask:  # noqa: ARG002
        ask = read_generate(body) if call.version == "generate" else read_chat(body)
        ask.extra["generate"] = call.version == "generate"
        return ask

    # -- answers

    def _line(self, ask: Ask, stamp: Stamp, said: JSON, **more: object) -> JSON:
        if ask.extra["generate"]:
            said = {"response": said.get("content", ""), **({"thinking": said["thinking"]} if "thinking" in said else {})}
        else:
            said = {"message": {"role": "assistant", "content": "", **said}}
        return {"model": ask.model, "created_at": self.created_at(stamp), **said, "done": False, **more}

    def _end(self, ask: Ask, reply: Reply) -> JSON:
        return {
            "done": True,
            "done_reason": _DONE[reply.finish],
            "total_duration": 8313421042,
            "load_duration": 4768032458,
            "prompt_eval_count": ask.prompt_tokens,
            "prompt_eval_duration": 65296000,
            "eval_count": reply.output_tokens,
            "eval_duration": 3478845000,
        }

    def _calls(self, reply: Reply, stamp: Stamp) -> list[JSON]:
        return [
            {"id": f"call_{stamp.base62(f'call{i}', 8).lower()}", "function": {"index": i, "name": name, "arguments": arguments}}
            for i, (name, arguments) in enumerate(reply.calls)
        ]

    def unary(self, ask: Ask, reply: Reply, stamp: Stamp) -> bytes:
        said: JSON = {"content": reply.text}
        if reply.thinking:
            said["thinking"] = reply.thinking
        if reply.calls:
            said["tool_calls"] = self._calls(reply, stamp)
        return orjson.dumps(self._line(ask, stamp, said, **self._end(ask, reply)))

    def stream(self, ask: Ask, reply: Reply, stamp: Stamp) -> Stream:
        lines = [self._line(ask, stamp, {"content": "", "thinking": p}) for p in pieces(reply.thinking)]
        lines += [self._line(ask, stamp, {"content": p}) for p in pieces(reply.text)]
        if reply.calls:
            # one line for each call, whole
            lines += [self._line(ask, stamp, {"content": "", "tool_calls": [call]}) for call in self._calls(reply, stamp)]
        lines.append(self._line(ask, stamp, {"content": ""}, **self._end(ask, reply)))
        finish = len(lines) - 1
        return Stream([orjson.dumps(line) + b"\n" for line in lines], 0, finish, finish)

    # -- what goes wrong

    def stream_type(self, call: Call) -> str:  # noqa: ARG002
        return "application/x-ndjson"

    def filtered_prompt(self, ask: Ask, stamp: Stamp, call: Call) -> Answer:  # noqa: ARG002
        return self.error(bad("the prompt was refused by the content filter"), stamp)

    def error_event(self, problem: Rejected, stamp: Stamp, call: Call | None, after: int) -> bytes:  # noqa: ARG002
        return orjson.dumps({"error": problem.message}) + b"\n"

    def malformed_event(self, call: Call | None, after: int) -> bytes:  # noqa: ARG002
        return b'{"model":"broken","message":{"role":"assistant","content":"hal\n'
