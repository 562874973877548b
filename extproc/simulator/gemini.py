"""Gemini's generateContent and streamGenerateContent as the provider speaks them: paths, headers, answers, streams and errors.

Shapes follow recorded traffic: function calls without an id and with the signature on the first of them, usage in each chunk, CRLF between
server-sent events, a JSON array where `alt=sse` is missing, and the finish in a last chunk of its own.
Wire format: https://ai.google.dev/api/generate-content
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from urllib.parse import parse_qs, unquote

import orjson

from extproc.simulator.gemini_contents import seal
from extproc.simulator.gemini_requests import read
from extproc.simulator.replies import pieces
from extproc.simulator.wire import JSON, Answer, Ask, Call, Headers, Rejected, Reply, Stamp, Stream

_PATH = re.compile(r"/(v1|v1beta|v1alpha)/models(?:/([^/:]+)(?::(generateContent|streamGenerateContent))?)?")
_FINISH = {"stop": "STOP", "stop_sequence": "STOP", "length": "MAX_TOKENS", "tools": "STOP", "filtered": "SAFETY", "refusal": "PROHIBITED_CONTENT"}
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_USUAL = {
    400: "Request contains an invalid argument.",
    401: "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.",
    403: "Your project has been denied access. Please contact support.",
    429: "You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: "
    "https://ai.google.dev/gemini-api/docs/rate-limits.",
    500: "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting",
    503: "The model is overloaded. Please try again later.",
    504: "Deadline expired before operation could complete.",
}
_TYPE = "type.googleapis.com/google.rpc."
_JSON_TYPE = "application/json; charset=UTF-8"


class GeminiWire:
    """POST /{v1,v1beta}/models/{model}:generateContent and :streamGenerateContent, GET /{v1,v1beta}/models."""

    dialect = "gemini"
    models: tuple[str, ...] = ("gemini-2.5-flash", "gemini-2.5-pro", "gemini-3-flash-preview")
    json_type = _JSON_TYPE
    bad_json = "Invalid JSON payload received. Unexpected token.\n\n^"
    bad_shape = "Invalid JSON payload received. Invalid value: Proto field has the wrong type."

    def route(self, method: str, path: str, query: str) -> Call:
        found = _PATH.fullmatch(path)
        if found is None:
            raise Rejected(404, "Not Found")
        version, model, operation = found[1], unquote(found[2] or ""), found[3]
        if operation is None:
            if method != "GET" or model:
                raise Rejected(404, "Not Found")
            return Call("models", version=version)
        if method != "POST":
            raise Rejected(404, "Not Found")
        stream = operation == "streamGenerateContent"
        array = stream and parse_qs(query).get("alt", ["json"])[-1] != "sse"
        return Call("generate", model, stream, array, version)

    def key(self, headers: Mapping[str, str], query: str) -> str | None:
        return headers.get("x-goog-api-key", "").strip() or next(iter(parse_qs(query).get("key", [])), None)

    def check_access(self, call: Call, headers: Mapping[str, str], key: str | None, accepted: frozenset[str]) -> None:  # noqa: ARG002
        if key is None:
            raise Rejected(
                403,
                "Method doesn't allow unregistered callers (callers without established identity). "
                "Please use API Key or other form of API consumer identity to call this API.",
            )
        if accepted and key not in accepted:
            raise self.refused_key()

    def model_of(self, call: Call, body: JSON) -> str:  # noqa: ARG002
        return call.model

    def read(self, call: Call, body: JSON, headers: Mapping[str, str]) -> Ask:  # noqa: ARG002
        return read(call, body)

    def model_list(self, call: Call, models: tuple[str, ...]) -> bytes:  # noqa: ARG002
        data = [
            {
                "name": f"models/{m}",
                "version": "001",
                "displayName": m,
                "inputTokenLimit": 1048576,
                "outputTokenLimit": 65536,
                "supportedGenerationMethods": ["generateContent", "countTokens"],
            }
            for m in models
        ]
        return orjson.dumps({"models": data}, option=orjson.OPT_INDENT_2)

    # -- answers

    def unary(self, ask: Ask, reply: Reply, stamp: Stamp) -> bytes:
        parts = self._parts(ask, reply, stamp)
        candidates = [self._candidate(i, parts, reply) for i in range(ask.choices)]
        return orjson.dumps(
            self._response(ask, stamp, candidates, self._usage(ask, reply, True)), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        )

    def stream(self, ask: Ask, reply: Reply, stamp: Stamp) -> Stream:
        documents: list[JSON] = []
        signature: JSON = {}
        for part in self._parts(ask, reply, stamp):
            if "text" not in part:
                cut = [part]
            else:
                cut = [{k: v for k, v in part.items() if k != "thoughtSignature"} | {"text": p} for p in pieces(part["text"])]
                signature = {k: v for k, v in part.items() if k == "thoughtSignature"}
            for piece in cut:
                for index in range(ask.choices):
                    candidate = {"content": {"parts": [piece], "role": "model"}, "index": index}
                    documents.append(self._response(ask, stamp, [candidate], self._usage(ask, reply, bool(documents))))
        finish = len(documents)
        for index in range(ask.choices):
            last = [{"text": "", **signature}] if reply.text or reply.calls else []
            documents.append(self._response(ask, stamp, [self._candidate(index, last, reply)], self._usage(ask, reply, True)))
        if not ask.extra["array"]:
            frames = [b"data: %b\r\n\r\n" % orjson.dumps(d) for d in documents]
        else:
            frames = [(b"[" if i == 0 else b",\r\n") + orjson.dumps(d, option=orjson.OPT_INDENT_2) + b"\n" for i, d in enumerate(documents)]
            frames.append(b"]")
        return Stream(frames, 0, finish, len(frames) - 1)

    def _parts(self, ask: Ask, reply: Reply, stamp: Stamp) -> list[JSON]:
        parts: list[JSON] = []
        if reply.thinking:
            parts.append({"text": reply.thinking, "thought": True})
        signed = {"thoughtSignature": seal(hashlib.blake2b(stamp.seed, digest_size=16).digest())} if reply.reasoning_tokens else {}
        for i, (name, arguments) in enumerate(reply.calls):
            parts.append({"functionCall": {"name": name, "args": arguments}} | (signed if i == 0 else {}))
        if reply.text and reply.finish not in ("filtered", "refusal"):
            parts.append({"text": reply.text} | (signed if re.match(r"gemini-[3-9]", ask.model) else {}))
        return parts

    def _candidate(self, index: int, parts: list[JSON], reply: Reply) -> JSON:
        content: JSON = {"parts": parts, "role": "model"} if parts else {"role": "model"}
        out: JSON = {"content": content, "finishReason": _FINISH[reply.finish], "index": index}
        if reply.finish in ("filtered", "refusal"):
            del out["content"]
            rating = {"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": True}
            out["safetyRatings"] = [rating]
        if reply.calls:
            out["finishMessage"] = "Model generated function call(s)."
        return out

    def _response(self, ask: Ask, stamp: Stamp, candidates: list[JSON], usage: JSON) -> JSON:
        response_id = base64.urlsafe_b64encode(hashlib.blake2b(stamp.seed, digest_size=17).digest()).decode().rstrip("=")
        return {"candidates": candidates, "usageMetadata": usage, "modelVersion": ask.model, "responseId": response_id}

    def _usage(self, ask: Ask, reply: Reply, thought: bool) -> JSON:
        """Counts exclude thoughts from the candidates; the first chunk knows only the prompt's."""
        said = (reply.output_tokens - reply.reasoning_tokens) * ask.choices if thought else 0
        thoughts = reply.reasoning_tokens if thought else 0
        out: JSON = {"promptTokenCount": ask.prompt_tokens}
        if said:
            out["candidatesTokenCount"] = said
        out["totalTokenCount"] = ask.prompt_tokens + said + thoughts
        out["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": ask.prompt_tokens}]
        if ask.cached:
            out["cachedContentTokenCount"] = ask.cached
            out["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": ask.cached}]
        if thoughts:
            out["thoughtsTokenCount"] = thoughts
        return out

    # -- headers and errors

    def headers(self, stamp: Stamp, content_type: str) -> Headers:  # noqa: ARG002
        return [
            ("content-type", content_type),
            ("vary", "Origin"),
            ("vary", "X-Origin"),
            ("vary", "Referer"),
            ("server", "scaffolding on HTTPServer2"),
            ("x-xss-protection", "0"),
            ("x-frame-options", "SAMEORIGIN"),
            ("x-content-type-options", "nosniff"),
            ("x-gemini-service-tier", "standard"),
            ("server-timing", "gfet4t7; dur=12"),
        ]

    def stream_type(self, call: Call) -> str:
        return _JSON_TYPE if call.array else "text/event-stream"

    def error(self, problem: Rejected, stamp: Stamp, call: Call | None = None) -> Answer:
        body = orjson.dumps(self._envelope(problem), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        if call is not None and call.array:
            body = b"[" + body.rstrip() + b"\n]"
        return Answer(problem.status, self.headers(stamp, _JSON_TYPE), body)

    def _envelope(self, problem: Rejected) -> JSON:
        kind = problem.type or _STATUS.get(problem.status) or ("INVALID_ARGUMENT" if problem.status < 500 else "INTERNAL")
        error: JSON = {"code": problem.status, "message": problem.message, "status": kind}
        details = list(problem.details)
        if problem.retry_after is not None:
            error["message"] += f"\nPlease retry in {problem.retry_after:g}s."
            details += [
                {
                    "@type": f"{_TYPE}Help",
                    "links": [{"description": "Learn more about Gemini API quotas", "url": "https://ai.google.dev/gemini-api/docs/rate-limits"}],
                },
                {"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{problem.retry_after:g}s"},
            ]
        if details:
            error["details"] = details
        return {"error": error}

    def usual(self, status: int, model: str) -> Rejected:
        if status == 404:
            return self.unknown_model(model, None)
        problem = Rejected(status, _USUAL.get(status, f"The server answered with status {status}."))
        if status == 429:
            violation = {
                "quotaMetric": "generativelanguage.googleapis.com/generate_content_paid_tier_input_token_count",
                "quotaId": "GenerateContentPaidTierInputTokensPerModelPerMinute",
                "quotaDimensions": {"model": model, "location": "global"},
                "quotaValue": "1000000",
            }
            problem.details = [{"@type": f"{_TYPE}QuotaFailure", "violations": [violation]}]
        return problem

    def refused_key(self) -> Rejected:
        info = {
            "@type": f"{_TYPE}ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
            "metadata": {"service": "generativelanguage.googleapis.com"},
        }
        text = "API key not valid. Please pass a valid API key."
        return Rejected(400, text, details=[info, {"@type": f"{_TYPE}LocalizedMessage", "locale": "en-US", "message": text}])

    def context_length(self, model: str, tokens: int, window: int) -> Rejected:  # noqa: ARG002
        return Rejected(400, f"The input token count ({tokens}) exceeds the maximum number of tokens allowed ({window}).")

    def unknown_model(self, model: str, call: Call | None) -> Rejected:
        version = call.version if call else "v1beta"
        return Rejected(
            404,
            f"models/{model} is not found for API version {version}, or is not supported for generateContent. "
            "Call ListModels to see the list of available models and their supported methods.",
        )

    def filtered_prompt(self, ask: Ask, stamp: Stamp, call: Call) -> Answer:
        usage = {"promptTokenCount": ask.prompt_tokens, "totalTokenCount": ask.prompt_tokens}
        data = self._response(ask, stamp, [], usage) | {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
        del data["candidates"]
        if not call.stream:
            return Answer(200, self.headers(stamp, _JSON_TYPE), orjson.dumps(data, option=orjson.OPT_INDENT_2))
        raw = orjson.dumps(data)
        frame = b"[" + raw + b"\n]" if call.array else b"data: %b\r\n\r\n" % raw
        return Answer(200, self.headers(stamp, self.stream_type(call)), stream=Stream([frame], 0, 0, 0))

    def error_event(self, problem: Rejected, stamp: Stamp, *, array: bool, first: bool) -> bytes:  # noqa: ARG002
        raw = orjson.dumps(self._envelope(problem))
        return (b"[" if first else b",\r\n") + raw + b"\n]" if array else b"data: %b\r\n\r\n" % raw

    def malformed_event(self, *, array: bool, first: bool) -> bytes:
        broken = b'{"candidates": [{"content": {"parts": [{"text": "hal'
        return (b"[" if first else b",\r\n") + broken + b"\n" if array else b"data: %b\r\n\r\n" % broken
