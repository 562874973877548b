"""Recorded generateContent exchanges, and the normal form in which a source and its re-encoding are compared."""

import functools
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from extproc.dialects.gemini.schema import json_schema
from extproc.dialects.gemini.wire import camel, finish_name

_FOLDER = Path(__file__).parents[3] / "shared" / "recordings"

needs_recordings = pytest.mark.skipif(not _FOLDER.is_dir(), reason="the recorded traffic is not beside the project")


@dataclass(frozen=True)
class Exchange:
    name: str
    model: str
    stream: bool
    status: int
    request: bytes
    response: bytes


def _bytes(body: Any) -> bytes:
    return body.encode() if isinstance(body, str) else orjson.dumps(body)


@functools.cache
def exchanges() -> list[Exchange]:
    """Every recorded Gemini exchange, of the Gemini API and of Vertex AI; empty where there are no recordings."""
    found: list[Exchange] = []
    for provider in ("gemini", "vertex") if _FOLDER.is_dir() else ():
        with gzip.open(_FOLDER / f"{provider}.jsonl.gz") as lines:
            for line in lines:
                record = orjson.loads(line)
                if record["api"] in ("gemini", "gemini-stream"):
                    model = record["url"].partition("/models/")[2].partition(":")[0]
                    stream = record["api"] == "gemini-stream"
                    bodies = _bytes(record["request_body"]), _bytes(record["response_body"])
                    found.append(Exchange(record["name"], model, stream, record["status"], *bodies))
    return found


def missing(source: Any, other: Any, path: str = "") -> Iterator[str]:
    """Paths of `source` that `other` lacks or has otherwise."""
    if isinstance(source, dict) and isinstance(other, dict):
        for name, value in source.items():
            if name in other:
                yield from missing(value, other[name], f"{path}.{name}")
            else:
                yield f"{path}.{name}"
    elif isinstance(source, list) and isinstance(other, list):
        for n, value in enumerate(source):
            if n < len(other):
                yield from missing(value, other[n], f"{path}[{n}]")
            else:
                yield f"{path}[{n}]"
    elif source != other or isinstance(source, bool) != isinstance(other, bool):
        yield path


def _list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _part(part: dict[str, Any]) -> dict[str, Any]:
    part = dict(camel(part))
    for kind in ("inlineData", "fileData", "functionCall", "functionResponse"):
        if kind in part:
            part[kind] = dict(camel(part[kind]))
    if "inlineData" in part:
        # both alphabets of base64 mean the same
        part["inlineData"]["data"] = str(part["inlineData"].get("data", "")).replace("-", "+").replace("_", "/")
    if "functionCall" in part:
        part["functionCall"].setdefault("args", {})
    if "functionResponse" in part and "parts" in part["functionResponse"]:
        part["functionResponse"]["parts"] = [_part(p) for p in part["functionResponse"]["parts"]]
    if part.keys() == {"thought", "thoughtSignature"}:
        part["text"] = ""
    return part


def _turns(contents: Any) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    for content in _list(contents):
        role = content.get("role") or "user"
        parts = [_part(p) for p in _list(content.get("parts"))]
        if turns and turns[-1]["role"] == role:
            turns[-1]["parts"] += parts
        else:
            turns.append({"role": role, "parts": parts})
    return turns


def normal_request(body: dict[str, Any]) -> dict[str, Any]:
    """One spelling for what proto3 JSON and the API allow in several: names, single objects, default values, the older schema language."""
    body = dict(camel(body))
    body["contents"] = _turns(body.get("contents"))
    if "systemInstruction" in body:
        parts = [_part(p) for p in _list(body["systemInstruction"].get("parts"))]
        body["systemInstruction"] = {"parts": parts}
    if "tools" in body:
        tools = [dict(camel(t)) for t in _list(body["tools"])]
        for tool in tools:
            declarations = [dict(camel(d)) for d in _list(tool.get("functionDeclarations"))]
            for declaration in declarations:
                if declaration.get("description", "") is None:
                    del declaration["description"]
                if "parameters" in declaration:
                    declaration["parametersJsonSchema"] = json_schema(declaration.pop("parameters"))
            if declarations:
                tool["functionDeclarations"] = declarations
        body["tools"] = [tool for tool in tools if tool]
    if "toolConfig" in body:
        calling = body["toolConfig"].get("functionCallingConfig")
        if calling is not None:
            calling = calling | {"mode": calling["mode"].upper()}
            body["toolConfig"] = body["toolConfig"] | {"functionCallingConfig": calling}
    if "generationConfig" in body:
        config = dict(camel(body["generationConfig"]))
        if config.get("responseModalities") == ["TEXT"]:
            del config["responseModalities"]
        if "responseSchema" in config:
            config["responseJsonSchema"] = json_schema(config.pop("responseSchema"))
        if "thinkingConfig" in config:
            thinking = dict(camel(config["thinkingConfig"]))
            if "thinkingLevel" in thinking:
                thinking["thinkingLevel"] = thinking["thinkingLevel"].upper()
            config["thinkingConfig"] = thinking
        body["generationConfig"] = config
    return {name: value for name, value in body.items() if value not in ({}, [])}


_METADATA = ("avgLogprobs", "safetyRatings", "index", "tokenCount")
"""Members of a candidate that only describe the call; never carried (the docstring of `gemini/response.py` says so)."""


def _usage(usage: dict[str, Any]) -> dict[str, Any]:
    """The counts that are carried: tool use belongs to the prompt, breakdowns by modality and traffic types are left out."""
    if not usage.keys() & {"promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount"}:
        return {}
    kept = ("candidatesTokenCount", "thoughtsTokenCount", "cachedContentTokenCount", "totalTokenCount")
    out = {name: usage[name] for name in kept if usage.get(name)}
    out["promptTokenCount"] = usage.get("promptTokenCount", 0) + usage.get("toolUsePromptTokenCount", 0)
    out.setdefault("totalTokenCount", out["promptTokenCount"] + usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0))
    return out


def normal_answer(answer: dict[str, Any]) -> dict[str, Any]:
    """What of an answer must survive."""
    out: dict[str, Any] = {"responseId": answer.get("responseId", "unused"), "usage": _usage(answer.get("usageMetadata", {}))}
    if "promptFeedback" in answer:
        out["promptFeedback"] = answer["promptFeedback"]
    for candidate in answer.get("candidates", [])[:1]:
        kept = {name: value for name, value in candidate.items() if name not in _METADATA}
        kept["parts"] = [_part(p) for p in kept.pop("content", {}).get("parts", []) if p != {"text": ""}]
        if "finishReason" in kept:
            kept["finishReason"] = finish_name(kept["finishReason"])
        if kept.get("finishReason") in ("STOP", "MAX_TOKENS"):
            kept.pop("finishMessage", None)
        out["candidate"] = kept
    return out


def chunks_of(body: bytes) -> list[dict[str, Any]]:
    """The chunks of a stream in either form, by other means than the decoder's."""
    text = body.decode()
    if text.lstrip()[:1] == "[":
        return list(orjson.loads(text))
    return [orjson.loads(line.removeprefix("data:")) for line in text.splitlines() if line.startswith("data:")]


def normal_stream(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """A stream as one answer: texts joined up to a signature or another kind, the last counts, the last finish."""
    parts: list[dict[str, Any]] = []
    usage: dict[str, Any] = {}
    out: dict[str, Any] = {"responseId": chunks[0].get("responseId", "unused")}
    for chunk in chunks:
        usage = _usage(chunk.get("usageMetadata", {})) or usage
        for candidate in chunk.get("candidates", [])[:1]:
            if "finishReason" in candidate:
                out["finishReason"] = finish_name(candidate["finishReason"])
            for part in candidate.get("content", {}).get("parts", []):
                part = _part(part)
                last = parts[-1] if parts else {}
                joins = "text" in part and "text" in last and "thoughtSignature" not in last and part.get("thought") == last.get("thought")
                if joins:
                    last |= part | {"text": last["text"] + part["text"]}
                elif part != {"text": ""}:
                    parts.append(part)
    return out | {"usage": usage, "parts": parts}
