"""OpenAI's Responses API as the provider speaks it: answers, events, and the responses that it keeps.

Shapes follow recorded traffic: the whole response in the first two events and in the last, an item added, its parts, their deltas, each said again
when it is done, one running sequence number. Wire format: https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping

import orjson

from extproc.simulator.openai.host import SNAPSHOTS, OpenAIHost
from extproc.simulator.openai.responses_input import seal
from extproc.simulator.openai.responses_requests import read
from extproc.simulator.replies import argument_pieces, arguments_json, pieces
from extproc.simulator.wire import JSON, Answer, Ask, Call, Posted, Rejected, Reply, Stamp, Stream

_KEPT = 256
"""Responses that are remembered; the oldest go first."""
_ECHOED: JSON = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
    "store": True,
}


class OpenAIResponsesWire(OpenAIHost):
    """POST /v1/responses and /v1/responses/input_tokens; GET and DELETE of a response that was kept. Azure's paths of them too."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[JSON, list[JSON]]] = OrderedDict()

    def route(self, method: str, path: str, query: str) -> Call:
        operation, _, cloud = self.place(method, path, query)
        if operation == "responses":
            self.only_post(method, path)
            return Call("generate", cloud=cloud)
        if operation == "responses/input_tokens":
            self.only_post(method, path)
            return Call("plain", cloud=cloud, serve=self._count)
        base, _, kept = operation.partition("/")
        if base == "responses" and kept and "/" not in kept and method in ("GET", "DELETE"):
            return Call("plain", cloud=cloud, serve=lambda posted: self._look_up(kept, method, posted))
        raise Rejected(404, f"Invalid URL ({method} {path})")

    def _look_up(self, response_id: str, method: str, posted: Posted) -> Answer:
        if response_id not in self._kept:
            raise Rejected(404, f"Response with id '{response_id}' not found.", "invalid_request_error")
        document = self._kept[response_id][0]
        if method == "DELETE":
            del self._kept[response_id]
            document = {"id": response_id, "object": "response.deleted", "deleted": True}
        return Answer(200, self.headers(posted.stamp, self.json_type), orjson.dumps(document))

    def _count(self, posted: Posted) -> Answer:
        if posted.body is None:
            raise Rejected(400, self.bad_json)
        ask = read(posted.body, self._before(posted.body))
        document = {"object": "response.input_tokens", "input_tokens": ask.prompt_tokens}
        return Answer(200, self.headers(posted.stamp, self.json_type), orjson.dumps(document))

    def read(self, call: Call, body: JSON, headers: Mapping[str, str]) -> Ask:  # noqa: ARG002 - the contract's signature
        return read(body, self._before(body))

    def _before(self, body: JSON) -> list[JSON]:
        """The items of the response that `body` goes on from."""
        previous = body.get("previous_response_id")
        if previous is None:
            return []
        if previous not in self._kept:
            raise Rejected(
                400, f"Previous response with id '{previous}' not found.", param="previous_response_id", code="previous_response_not_found"
            )
        return self._kept[previous][1]

    # -- answers

    def unary(self, ask: Ask, reply: Reply, stamp: Stamp) -> bytes:
        document = self._response(ask, stamp, self._status(reply), self._items(ask, reply, stamp), reply)
        self._keep(ask, document)
        return orjson.dumps(document, option=orjson.OPT_INDENT_2)

    def stream(self, ask: Ask, reply: Reply, stamp: Stamp) -> Stream:
        frames: list[bytes] = []
        obfuscated = (ask.extra["body"].get("stream_options") or {}).get("include_obfuscation") is not False

        def add(kind: str, data: JSON) -> None:
            if "delta" in data and obfuscated:
                data["obfuscation"] = stamp.base62(f"obfuscation{len(frames)}", 1 + stamp.seed[len(frames) % 16] % 15)
            data = {"type": kind, **data, "sequence_number": len(frames)}
            frames.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(data)))

        started = self._response(ask, stamp, "in_progress", [], None)
        add("response.created", {"response": started})
        add("response.in_progress", {"response": started})
        items = self._items(ask, reply, stamp)
        for index, item in enumerate(items):
            for kind, data in self._told(item):
                add(kind, data | {"output_index": index})
        finish = len(frames)
        document = self._response(ask, stamp, self._status(reply), items, reply)
        self._keep(ask, document)
        add(f"response.{document['status']}", {"response": document})
        return Stream(frames, min(2, finish), finish, finish)

    def _told(self, item: JSON) -> Iterator[tuple[str, JSON]]:
        """The events of one output item."""
        at: JSON = {"item_id": item["id"]}
        match item["type"]:
            case "reasoning":
                yield "response.output_item.added", {"item": item | {"summary": []}}
                for n, part in enumerate(item["summary"]):
                    where = at | {"summary_index": n}
                    yield "response.reasoning_summary_part.added", where | {"part": {"type": "summary_text", "text": ""}}
                    for piece in pieces(part["text"]):
                        yield "response.reasoning_summary_text.delta", where | {"delta": piece}
                    yield "response.reasoning_summary_text.done", where | {"text": part["text"]}
                    yield "response.reasoning_summary_part.done", where | {"part": part}
            case "function_call":
                yield "response.output_item.added", {"item": item | {"status": "in_progress", "arguments": ""}}
                for piece in argument_pieces(item["arguments"]):
                    yield "response.function_call_arguments.delta", at | {"delta": piece}
                yield "response.function_call_arguments.done", at | {"arguments": item["arguments"]}
            case _:
                yield "response.output_item.added", {"item": item | {"status": "in_progress", "content": []}}
                for n, part in enumerate(item["content"]):
                    where = at | {"content_index": n}
                    name, kind = ("refusal", "refusal") if part["type"] == "refusal" else ("text", "output_text")
                    logprobs: JSON = {} if name == "refusal" else {"logprobs": []}
                    yield "response.content_part.added", where | {"part": part | {name: ""}}
                    for piece in pieces(part[name]):
                        yield f"response.{kind}.delta", where | {"delta": piece} | logprobs
                    yield f"response.{kind}.done", where | {name: part[name]} | logprobs
                    yield "response.content_part.done", where | {"part": part}
        yield "response.output_item.done", {"item": item}

    def _items(self, ask: Ask, reply: Reply, stamp: Stamp) -> list[JSON]:
        items: list[JSON] = []
        if reply.reasoning_tokens:
            item_id = f"rs_{stamp.hex('reasoning', 50)}"
            summary = [{"type": "summary_text", "text": reply.thinking}] if reply.thinking else []
            item: JSON = {"id": item_id, "type": "reasoning", "summary": summary}
            if ask.extra["encrypted"]:
                item["encrypted_content"] = seal(hashlib.blake2b(stamp.seed, digest_size=16).digest())
            items.append(item)
        for i, (name, arguments) in enumerate(reply.calls):
            items.append(
                {
                    "id": f"fc_{stamp.hex(f'call{i}', 50)}",
                    "type": "function_call",
                    "status": "completed",
                    "arguments": arguments_json(arguments),
                    "call_id": f"call_{stamp.base62(f'call{i}', 24)}",
                    "name": name,
                }
            )
        if reply.text:
            part: JSON = {"type": "output_text", "annotations": [], "logprobs": [], "text": reply.text}
            if reply.finish == "refusal":
                part = {"type": "refusal", "refusal": reply.text}
            status = "incomplete" if self._status(reply) == "incomplete" else "completed"
            message_id = f"msg_{stamp.hex('message', 50)}"
            items.append({"id": message_id, "type": "message", "status": status, "content": [part], "role": "assistant"})
        return items

    def _status(self, reply: Reply) -> str:
        return "incomplete" if reply.finish in ("length", "filtered") else "completed"

    def _response(self, ask: Ask, stamp: Stamp, status: str, items: list[JSON], reply: Reply | None) -> JSON:
        body = ask.extra["body"]
        reason = {"length": "max_output_tokens", "filtered": "content_filter"}.get(reply.finish) if reply is not None else None
        usage = None
        if reply is not None:
            usage = {
                "input_tokens": ask.prompt_tokens,
                "input_tokens_details": {"cached_tokens": ask.cached, "cache_write_tokens": 0},
                "output_tokens": reply.output_tokens,
                "output_tokens_details": {"reasoning_tokens": reply.reasoning_tokens},
                "total_tokens": ask.prompt_tokens + reply.output_tokens,
            }
        wanted = body.get("reasoning") or {}
        return {
            "id": f"resp_{stamp.hex('id', 50)}",
            "object": "response",
            "created_at": int(stamp.now),
            "status": status,
            "completed_at": int(stamp.now) if status == "completed" else None,
            "error": None,
            "incomplete_details": {"reason": reason} if reason else None,
            "model": SNAPSHOTS.get(ask.model, ask.model),
            "output": items,
            "reasoning": {"effort": wanted.get("effort"), "summary": wanted.get("summary")},
            "service_tier": "default" if reply is not None else "auto",
            "text": {"format": {"type": "text"}, "verbosity": "medium"} | (body.get("text") or {}),
            "usage": usage,
            "metadata": body.get("metadata") or {},
            **{name: body[name] if body.get(name) is not None else usual for name, usual in _ECHOED.items()},
        }

    def _keep(self, ask: Ask, document: JSON) -> None:
        if ask.extra["body"].get("store") is False:
            return
        self._kept[document["id"]] = document, [*ask.extra["items"], *document["output"]]
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    # -- what goes wrong

    def context_length(self, model: str, tokens: int, window: int) -> Rejected:  # noqa: ARG002
        text = "Your input exceeds the context window of this model. Please adjust your input and try again."
        return Rejected(400, text, "invalid_request_error", "context_length_exceeded", "input")

    def unknown_model(self, model: str, call: Call | None) -> Rejected:  # noqa: ARG002
        return Rejected(400, f"The requested model '{model}' does not exist.", "invalid_request_error", "model_not_found", "model")

    def error_event(self, problem: Rejected, stamp: Stamp, call: Call | None, after: int) -> bytes:  # noqa: ARG002
        said = self.envelope(problem)
        error = {"type": "error", "code": said["code"] or said["type"], "message": said["message"], "param": said["param"], "sequence_number": after}
        return b"event: error\ndata: %b\n\n" % orjson.dumps(error)

    def malformed_event(self, call: Call | None, after: int) -> bytes:  # noqa: ARG002
        return b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","item_id":"msg_broken","delta":"hal\n\n'
