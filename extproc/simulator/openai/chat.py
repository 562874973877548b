"""OpenAI Chat Completions as the provider speaks it: answers and streams.

Shapes follow recorded traffic: the role chunk first (with the tool call when there is only one), `obfuscation` on each chunk, the usage
chunk with empty `choices` only when asked for, and `[DONE]`. Wire format: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import orjson

from extproc.simulator.openai.chat_requests import read
from extproc.simulator.openai.host import SNAPSHOTS, OpenAIHost
from extproc.simulator.replies import argument_pieces, arguments_json, pieces
from extproc.simulator.wire import JSON, Ask, Call, Rejected, Reply, Stamp, Stream

_FINISH = {"stop": "stop", "stop_sequence": "stop", "length": "length", "tools": "tool_calls", "filtered": "content_filter", "refusal": "stop"}


class OpenAIWire(OpenAIHost):
    """POST /v1/chat/completions and GET /v1/models, and Azure's paths of them."""

    def route(self, method: str, path: str, query: str) -> Call:
        operation, deployment, cloud = self.place(method, path, query)
        if operation == "models" and method == "GET":
            return Call("models", cloud=cloud)
        if operation != "chat/completions":
            raise Rejected(404, f"Invalid URL ({method} {path})")
        self.only_post(method, path)
        return Call("generate", deployment, cloud=cloud)

    def read(self, call: Call, body: JSON, headers: Mapping[str, str]) -> Ask:  # noqa: ARG002 - the contract's signature
        return read({"model": call.model, **body} if call.model else body)

    # -- answers

    def unary(self, ask: Ask, reply: Reply, stamp: Stamp) -> bytes:
        choices = []
        for index in range(ask.choices):
            message: JSON = {"role": "assistant", "content": None if reply.calls else reply.text, "refusal": None, "annotations": []}
            if reply.finish == "refusal":
                message |= {"content": None, "refusal": reply.text}
            if reply.calls and ask.extra["functions"]:
                name, arguments = reply.calls[0]
                message["function_call"] = {"name": name, "arguments": arguments_json(arguments)}
            elif reply.calls:
                message["tool_calls"] = [
                    {"id": self._call_id(stamp, index, i), "type": "function", "function": {"name": n, "arguments": arguments_json(a)}}
                    for i, (n, a) in enumerate(reply.calls)
                ]
            choice: JSON = {"index": index, "message": message, "logprobs": None, "finish_reason": self._finish(ask, reply)}
            if ask.extra["logprobs"] and reply.text:
                choice["logprobs"] = _logprobs(pieces(reply.text))
            choices.append(choice)
        return orjson.dumps(
            {
                "id": self._id(stamp),
                "object": "chat.completion",
                "created": int(stamp.now),
                "model": SNAPSHOTS.get(ask.model, ask.model),
                "choices": choices,
                "usage": self._usage(ask, reply),
                "service_tier": "default",
                "system_fingerprint": self._fingerprint(ask, stamp),
            },
            option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE,
        )

    def stream(self, ask: Ask, reply: Reply, stamp: Stamp) -> Stream:
        base = {
            "id": self._id(stamp),
            "object": "chat.completion.chunk",
            "created": int(stamp.now),
            "model": SNAPSHOTS.get(ask.model, ask.model),
            "service_tier": "default",
            "system_fingerprint": self._fingerprint(ask, stamp),
        }
        frames: list[bytes] = []

        def add(choices: list[JSON], usage: JSON | None = None) -> None:
            data: JSON = {**base, "choices": choices}
            if ask.extra["include_usage"]:
                data["usage"] = usage
            if ask.extra["obfuscation"]:
                label = f"obfuscation{len(frames)}"
                data["obfuscation"] = stamp.base62(label, 1 + stamp.seed[len(frames) % 16] % 15)
            frames.append(b"data: %b\n\n" % orjson.dumps(data))

        def choice(index: int, delta: JSON, finish: str | None = None, said: str | None = None) -> JSON:
            out: JSON = {"index": index, "delta": delta, "finish_reason": finish}
            if not ask.extra["reasoning"]:
                out["logprobs"] = _logprobs([said]) if said is not None and ask.extra["logprobs"] else None
            return out

        single = len(reply.calls) == 1 and not ask.extra["functions"]
        content = 0
        for index in range(ask.choices):
            deltas = self._deltas(ask, reply, stamp, index)
            first: JSON = {"role": "assistant", "content": None if reply.calls else "", "refusal": None}
            if single:
                first |= next(deltas)
            add([choice(index, first)])
            if index == 0:
                content = 0 if single else 1
            for delta in deltas:
                add([choice(index, delta, said=delta.get("content"))])
        finish = len(frames)
        for index in range(ask.choices):
            add([choice(index, {}, self._finish(ask, reply))])
        if ask.extra["include_usage"]:
            add([], self._usage(ask, reply))
        frames.append(b"data: [DONE]\n\n")
        return Stream(frames, min(content, finish), finish, len(frames) - 1)

    def _deltas(self, ask: Ask, reply: Reply, stamp: Stamp, index: int) -> Iterator[JSON]:
        if reply.calls and ask.extra["functions"]:
            name, arguments = reply.calls[0]
            yield {"function_call": {"name": name, "arguments": ""}}
            for piece in argument_pieces(arguments_json(arguments)):
                yield {"function_call": {"arguments": piece}}
            return
        for i, (name, arguments) in enumerate(reply.calls):
            yield {
                "tool_calls": [{"index": i, "id": self._call_id(stamp, index, i), "type": "function", "function": {"name": name, "arguments": ""}}]
            }
            for piece in argument_pieces(arguments_json(arguments)):
                yield {"tool_calls": [{"index": i, "function": {"arguments": piece}}]}
        member = "refusal" if reply.finish == "refusal" else "content"
        for piece in pieces(reply.text):
            yield {member: piece}

    def _id(self, stamp: Stamp) -> str:
        return f"chatcmpl-{stamp.base62('id', 29)}"

    def _call_id(self, stamp: Stamp, index: int, number: int) -> str:
        return f"call_{stamp.base62(f'call{index}.{number}', 24)}"

    def _finish(self, ask: Ask, reply: Reply) -> str:
        if not reply.calls:
            return _FINISH[reply.finish]
        if ask.extra["functions"]:
            return "stop" if ask.forced else "function_call"
        # a call that was forced by name finishes with "stop", as recorded
        return "stop" if ask.forced else "tool_calls"

    def _fingerprint(self, ask: Ask, stamp: Stamp) -> str | None:
        return None if ask.extra["reasoning"] else f"fp_{stamp.hex('fp', 10)}"

    def _usage(self, ask: Ask, reply: Reply) -> JSON:
        completion = reply.reasoning_tokens + (reply.output_tokens - reply.reasoning_tokens) * ask.choices
        return {
            "prompt_tokens": ask.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": ask.prompt_tokens + completion,
            "prompt_tokens_details": {"cached_tokens": ask.cached, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": reply.reasoning_tokens,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def error_event(self, problem: Rejected, stamp: Stamp, call: Call | None, after: int) -> bytes:  # noqa: ARG002
        return b"data: %b\n\n" % orjson.dumps({"error": self.envelope(problem)})

    def malformed_event(self, call: Call | None, after: int) -> bytes:  # noqa: ARG002
        return b'data: {"id":"chatcmpl-broken","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"hal\n\n'


def _logprobs(said: list[str]) -> JSON:
    return {"content": [{"token": t, "logprob": -0.1, "bytes": list(t.encode()), "top_logprobs": []} for t in said], "refusal": None}
