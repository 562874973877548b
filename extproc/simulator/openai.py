"""OpenAI Chat Completions as the provider speaks it: paths, headers, answers, streams and errors.

Shapes follow recorded traffic: the role chunk first (with the tool call when there is only one), `obfuscation` on each chunk, the usage
chunk with empty `choices` only when asked for, and `[DONE]`. Wire format: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import orjson

from extproc.simulator.openai_requests import read, reasons
from extproc.simulator.replies import argument_pieces, arguments_json, pieces
from extproc.simulator.wire import JSON, Answer, Ask, Call, Headers, Rejected, Reply, Stamp, Stream

_FINISH = {"stop": "stop", "stop_sequence": "stop", "length": "length", "tools": "tool_calls", "filtered": "content_filter", "refusal": "stop"}
_SNAPSHOTS = {
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-5": "gpt-5-2025-08-07",
    "gpt-5-mini": "gpt-5-mini-2025-08-07",
    "gpt-5-nano": "gpt-5-nano-2025-08-07",
}
_RATE_LIMITED = (
    "Rate limit reached for {model} in organization org-sim on tokens per min (TPM): Limit 30000, Used 30000, Requested 100. "
    "Visit https://platform.openai.com/account/rate-limits to learn more."
)
_USUAL: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "The request was invalid."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: ("invalid_request_error", "unsupported_country_region_territory", "Country, region, or territory not supported"),
    429: (
        "tokens",
        "rate_limit_exceeded",
        _RATE_LIMITED,
    ),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    503: ("server_error", None, "The engine is currently overloaded, please try again later"),
}


def _dumps(data: JSON) -> bytes:
    return orjson.dumps(data)


class OpenAIWire:
    """POST /v1/chat/completions and GET /v1/models."""

    dialect = "openai_chat"
    models: tuple[str, ...] = ("gpt-4o", "gpt-4o-mini", "gpt-5-mini")
    json_type = "application/json"
    bad_json = (
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. "
        "The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
    )
    bad_shape = "Invalid request: a parameter has the wrong type."

    def route(self, method: str, path: str, query: str) -> Call:  # noqa: ARG002 - the contract's signature
        if path == "/v1/chat/completions":
            if method != "POST":
                raise Rejected(405, f"Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)")
            return Call("generate")
        if path == "/v1/models" and method == "GET":
            return Call("models")
        raise Rejected(404, f"Invalid URL ({method} {path})")

    def key(self, headers: Mapping[str, str], query: str) -> str | None:  # noqa: ARG002
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return key.strip() or None if scheme.lower() == "bearer" else None

    def check_access(self, call: Call, headers: Mapping[str, str], key: str | None, accepted: frozenset[str]) -> None:  # noqa: ARG002
        if key is None:
            raise Rejected(
                401,
                "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
                "(i.e. Authorization: Bearer YOUR_KEY).",
            )
        if accepted and key not in accepted:
            raise self.refused_key()

    def model_of(self, call: Call, body: JSON) -> str:  # noqa: ARG002
        model = body.get("model")
        return model if isinstance(model, str) else ""

    def read(self, call: Call, body: JSON, headers: Mapping[str, str]) -> Ask:  # noqa: ARG002
        return read(body)

    def model_list(self, call: Call, models: tuple[str, ...]) -> bytes:  # noqa: ARG002
        data = [{"id": m, "object": "model", "created": 1715367049, "owned_by": "system"} for m in models]
        return _dumps({"object": "list", "data": data})

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
                "model": _SNAPSHOTS.get(ask.model, ask.model),
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
            "model": _SNAPSHOTS.get(ask.model, ask.model),
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
            frames.append(b"data: %b\n\n" % _dumps(data))

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

    # -- headers and errors

    def headers(self, stamp: Stamp, content_type: str) -> Headers:
        return [
            ("content-type", content_type),
            ("access-control-expose-headers", "X-Request-ID"),
            ("openai-organization", "org-sim"),
            ("openai-processing-ms", "12"),
            ("openai-version", "2020-10-01"),
            ("x-ratelimit-limit-requests", "10000"),
            ("x-ratelimit-limit-tokens", "30000000"),
            ("x-ratelimit-remaining-requests", "9999"),
            ("x-ratelimit-remaining-tokens", "29999976"),
            ("x-ratelimit-reset-requests", "6ms"),
            ("x-ratelimit-reset-tokens", "0s"),
            ("x-request-id", f"req_{stamp.hex(f'request{stamp.number}', 32)}"),
            ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
            ("x-content-type-options", "nosniff"),
            ("server", "cloudflare"),
        ]

    def stream_type(self, call: Call) -> str:  # noqa: ARG002
        return "text/event-stream; charset=utf-8"

    def error(self, problem: Rejected, stamp: Stamp, call: Call | None = None) -> Answer:  # noqa: ARG002
        headers = self.headers(stamp, "application/json; charset=utf-8" if problem.status in (401, 404) else "application/json")
        if problem.retry_after is not None:
            headers += [("retry-after", f"{problem.retry_after:g}"), ("retry-after-ms", str(round(problem.retry_after * 1000)))]
        return Answer(problem.status, headers, orjson.dumps({"error": self._envelope(problem)}, option=orjson.OPT_INDENT_2))

    def _envelope(self, problem: Rejected) -> JSON:
        kind, code, _ = _USUAL.get(problem.status, ("invalid_request_error" if problem.status < 500 else "server_error", None, ""))
        return {"message": problem.message, "type": problem.type or kind, "param": problem.param, "code": problem.code or code}

    def usual(self, status: int, model: str) -> Rejected:
        if status == 404:
            return self.unknown_model(model, None)
        kind, code, message = _USUAL.get(status, (None, None, f"The server answered with status {status}."))
        return Rejected(status, message.replace("{model}", model or "the model"), kind, code)

    def refused_key(self) -> Rejected:
        return Rejected(
            401,
            "Incorrect API key provided: sk-*****. You can find your API key at https://platform.openai.com/account/api-keys.",
            code="invalid_api_key",
        )

    def context_length(self, model: str, tokens: int, window: int) -> Rejected:
        text = (
            "Your input exceeds the context window of this model. Please adjust your input and try again."
            if reasons(model)
            else f"This model's maximum context length is {window} tokens. However, your messages resulted in {tokens} tokens. "
            "Please reduce the length of the messages."
        )
        return Rejected(400, text, "invalid_request_error", "context_length_exceeded", "messages")

    def unknown_model(self, model: str, call: Call | None) -> Rejected:  # noqa: ARG002
        return Rejected(404, f"The model `{model}` does not exist or you do not have access to it.", "invalid_request_error", "model_not_found")

    def filtered_prompt(self, ask: Ask, stamp: Stamp, call: Call) -> Answer:  # noqa: ARG002
        result = {
            k: {"filtered": k == "violence", "severity": "medium" if k == "violence" else "safe"} for k in ("hate", "self_harm", "sexual", "violence")
        }
        error = {
            "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. "
            "Please modify your prompt and retry. To learn more about our content filtering policies please read our documentation: "
            "https://go.microsoft.com/fwlink/?linkid=2198766",
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "status": 400,
            "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": result},
        }
        return Answer(400, self.headers(stamp, "application/json"), _dumps({"error": error}))

    def error_event(self, problem: Rejected, stamp: Stamp, *, array: bool, first: bool) -> bytes:  # noqa: ARG002
        return b"data: %b\n\n" % _dumps({"error": self._envelope(problem)})

    def malformed_event(self, *, array: bool, first: bool) -> bytes:  # noqa: ARG002
        return b'data: {"id":"chatcmpl-broken","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"hal\n\n'


def _logprobs(said: list[str]) -> JSON:
    return {"content": [{"token": t, "logprob": -0.1, "bytes": list(t.encode()), "top_logprobs": []} for t in said], "refusal": None}
