"""Gemini's generateContent and streamGenerateContent as the provider speaks them: answers and streams.

Shapes follow recorded traffic: function calls without an id and with the signature on the first of them, usage in each chunk, CRLF between
server-sent events, a JSON array where `alt=sse` is missing, and the finish in a last chunk of its own.
Wire format: https://ai.google.dev/api/generate-content
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from urllib.parse import parse_qs

import orjson

from extproc.simulator.gemini.contents import seal
from extproc.simulator.gemini.host import JSON_TYPE, GeminiHost
from extproc.simulator.gemini.requests import read
from extproc.simulator.replies import pieces
from extproc.simulator.wire import JSON, Answer, Ask, Call, Rejected, Reply, Stamp, Stream

_FINISH = {"stop": "STOP", "stop_sequence": "STOP", "length": "MAX_TOKENS", "tools": "STOP", "filtered": "SAFETY", "refusal": "PROHIBITED_CONTENT"}


class GeminiWire(GeminiHost):
    """POST /{v1,v1beta}/models/{model}:generateContent and :streamGenerateContent, also below Vertex AI's paths; GET /{v1,v1beta}/models."""

    def route(self, method: str, path: str, query: str) -> Call:
        version, model, operation, cloud = self.place(path)
        if not operation and not model and method == "GET":
            return Call("models", version=version)
        if method != "POST" or operation not in ("generateContent", "streamGenerateContent"):
            raise Rejected(404, "Not Found")
        stream = operation == "streamGenerateContent"
        array = stream and parse_qs(query).get("alt", ["json"])[-1] != "sse"
        return Call("generate", model, stream, array, version, cloud)

    def read(self, call: Call, body: JSON, headers: Mapping[str, str]) -> Ask:  # noqa: ARG002
        return read(call, body)

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

    def stream_type(self, call: Call) -> str:
        return JSON_TYPE if call.array else "text/event-stream"

    def filtered_prompt(self, ask: Ask, stamp: Stamp, call: Call) -> Answer:
        usage = {"promptTokenCount": ask.prompt_tokens, "totalTokenCount": ask.prompt_tokens}
        data = self._response(ask, stamp, [], usage) | {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
        del data["candidates"]
        if not call.stream:
            return Answer(200, self.headers(stamp, JSON_TYPE), orjson.dumps(data, option=orjson.OPT_INDENT_2))
        raw = orjson.dumps(data)
        frame = b"[" + raw + b"\n]" if call.array else b"data: %b\r\n\r\n" % raw
        return Answer(200, self.headers(stamp, self.stream_type(call)), stream=Stream([frame], 0, 0, 0))

    def error_event(self, problem: Rejected, stamp: Stamp, call: Call | None, after: int) -> bytes:  # noqa: ARG002 - the contract's signature
        raw = orjson.dumps(self.envelope(problem))
        return (b",\r\n" if after else b"[") + raw + b"\n]" if call is not None and call.array else b"data: %b\r\n\r\n" % raw

    def malformed_event(self, call: Call | None, after: int) -> bytes:
        broken = b'{"candidates": [{"content": {"parts": [{"text": "hal'
        return (b",\r\n" if after else b"[") + broken + b"\n" if call is not None and call.array else b"data: %b\r\n\r\n" % broken
