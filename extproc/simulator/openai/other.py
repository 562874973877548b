"""What OpenAI has beside its conversations: legacy completions, images, speech, transcription, moderations, each as far as a client needs an answer.

Wire format: https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

import base64
import re
import struct

import orjson

from extproc.simulator.openai.chat_messages import bad
from extproc.simulator.openai.host import OpenAIHost
from extproc.simulator.openai.inputs import texts_of
from extproc.simulator.replies import pieces, tokens
from extproc.simulator.shapes import is_int
from extproc.simulator.wire import JSON, Answer, Call, Posted, Rejected, Stream

_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000a49444154789c63000100000500010d0a2db40000000049454e44ae426082"
)
_VOICES = ("alloy", "ash", "ballad", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse", "cedar")
_FIELD = re.compile(rb'name="([^"]+)"(?:; filename="([^"]*)")?[^\r]*\r\n(?:[^\r]+\r\n)*\r\n(.*)', re.DOTALL)
_CATEGORIES = (
    *("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm", "self-harm/instructions"),
    *("self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic"),
)


class OpenAIOther(OpenAIHost):
    """POST /v1/completions, /v1/images/generations, /v1/audio/speech, /v1/audio/transcriptions and /v1/moderations, and Azure's paths of them."""

    def route(self, method: str, path: str, query: str) -> Call:
        operation, deployment, cloud = self.place(method, path, query)
        serve = {
            "completions": self._complete,
            "images/generations": self._draw,
            "audio/speech": self._speak,
            "audio/transcriptions": self._transcribe,
            "moderations": self._moderate,
        }.get(operation)
        if serve is None:
            raise Rejected(404, f"Invalid URL ({method} {path})")
        self.only_post(method, path)
        return Call("plain", deployment, cloud=cloud, serve=serve)

    def _complete(self, posted: Posted) -> Answer:
        body = self._object(posted)
        prompts = texts_of(body.get("prompt", "<|endoftext|>"), "prompt")
        base = {
            "id": f"cmpl-{posted.stamp.base62('id', 29)}",
            "object": "text_completion",
            "created": int(posted.stamp.now),
            "model": posted.model,
        }
        texts = [f" {posted.model} heard: {p}" for p in prompts]
        usage = {"prompt_tokens": sum(map(tokens, prompts)), "completion_tokens": sum(len(pieces(t)) for t in texts)}
        usage["total_tokens"] = sum(usage.values())
        if not body.get("stream"):
            choices = [{"text": t, "index": i, "logprobs": None, "finish_reason": "stop"} for i, t in enumerate(texts)]
            return self._said(posted, {**base, "choices": choices, "usage": usage})
        documents: list[JSON] = []
        for i, text in enumerate(texts):
            said = [{"text": p, "index": i, "logprobs": None, "finish_reason": None} for p in pieces(text)]
            documents += [{**base, "choices": [choice]} for choice in [*said, {"text": "", "index": i, "logprobs": None, "finish_reason": "stop"}]]
        if (body.get("stream_options") or {}).get("include_usage"):
            documents.append({**base, "choices": [], "usage": usage})
        frames = [*(b"data: %b\n\n" % orjson.dumps(d) for d in documents), b"data: [DONE]\n\n"]
        return Answer(200, self.headers(posted.stamp, "text/event-stream; charset=utf-8"), stream=Stream(frames, 0, len(frames) - 2, len(frames) - 1))

    def _draw(self, posted: Posted) -> Answer:
        body = self._object(posted)
        if not isinstance(body.get("prompt"), str) or not body["prompt"]:
            raise bad("Missing required parameter: 'prompt'.", "prompt", "missing_required_parameter")
        count = body.get("n") or 1
        if not is_int(count) or not 1 <= count <= 10:
            raise bad("Invalid 'n': integer above maximum value. Expected a value <= 10.", "n", "integer_above_max_value")
        data = [{"b64_json": base64.b64encode(_PNG).decode()} for _ in range(count)]
        usage = {"input_tokens": tokens(body["prompt"]), "output_tokens": 272 * count, "total_tokens": tokens(body["prompt"]) + 272 * count}
        return self._said(posted, {"created": int(posted.stamp.now), "data": data, "output_format": "png", "usage": usage})

    def _speak(self, posted: Posted) -> Answer:
        body = self._object(posted)
        if not isinstance(body.get("input"), str) or not body["input"]:
            raise bad("Missing required parameter: 'input'.", "input", "missing_required_parameter")
        if body.get("voice") not in _VOICES:
            raise bad(f"Input should be {', '.join(map(repr, _VOICES))}", "voice")
        samples = b"\0\0" * 24 * len(body["input"])
        head = struct.pack("<4sI8sIHHIIHH4sI", b"RIFF", 36 + len(samples), b"WAVEfmt ", 16, 1, 1, 24000, 48000, 2, 16, b"data", len(samples))
        return Answer(200, self.headers(posted.stamp, "audio/wav"), head + samples)

    def _transcribe(self, posted: Posted) -> Answer:
        fields = _form(posted)
        name, audio = fields.get("file", ("", b""))
        if not audio or not name:
            raise bad("Missing required parameter: 'file'.", "file", "missing_required_parameter")
        model = fields.get("model", ("", b""))[1].decode(errors="replace")
        if not model:
            raise bad("you must provide a model parameter")
        text = f"{model} heard {len(audio)} bytes of {name}"
        if fields.get("response_format", ("", b""))[1] == b"text":
            return Answer(200, self.headers(posted.stamp, "text/plain; charset=utf-8"), text.encode() + b"\n")
        return self._said(posted, {"text": text, "usage": {"type": "duration", "seconds": len(audio) // 48000 + 1}})

    def _moderate(self, posted: Posted) -> Answer:
        if posted.body is None:
            raise Rejected(400, self.bad_json)
        given = posted.body.get("input")
        inputs = given if isinstance(given, list) else [given]
        if not inputs or not all(isinstance(one, (str, dict)) for one in inputs):
            raise bad("Missing required parameter: 'input'.", "input", "missing_required_parameter")
        results = []
        for one in inputs:
            text = orjson.dumps(one).decode().lower()
            found = {c: c in text for c in _CATEGORIES}
            scores = {c: 0.9 if hit else 0.001 for c, hit in found.items()}
            types = {c: ["text"] for c in _CATEGORIES}
            results.append({"flagged": any(found.values()), "categories": found, "category_scores": scores, "category_applied_input_types": types})
        return self._said(posted, {"id": f"modr-{posted.stamp.hex('id', 20)}", "model": posted.model or "omni-moderation-latest", "results": results})

    def _object(self, posted: Posted) -> JSON:
        if posted.body is None:
            raise Rejected(400, self.bad_json)
        if not posted.model:
            raise bad("you must provide a model parameter")
        return posted.body

    def _said(self, posted: Posted, document: JSON) -> Answer:
        return Answer(200, self.headers(posted.stamp, self.json_type), orjson.dumps(document))


def _form(posted: Posted) -> dict[str, tuple[str, bytes]]:
    """The fields of a multipart form: (file name or "", content)."""
    kind = posted.headers.get("content-type", "")
    boundary = re.search(r'boundary="?([^";]+)', kind)
    if not kind.startswith("multipart/form-data") or boundary is None:
        raise bad("Could not parse multipart form")
    fields = {}
    for part in posted.raw.split(b"--" + boundary[1].encode("latin-1")):
        found = _FIELD.search(part.removesuffix(b"\r\n"))
        if found is not None:
            fields[found[1].decode("latin-1")] = (found[2] or b"").decode("latin-1"), found[3]
    return fields
