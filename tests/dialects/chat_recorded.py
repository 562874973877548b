"""Recorded Chat Completions exchanges of all vendors, and the normal forms in which a source and its re-encoding are compared.

What may be missing in a re-encoding without a loss is written down here, each with its reason; everything else must be named by a loss.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from extproc.core import carrier
from extproc.core.dialect import Facts
from extproc.core.framing import SSEParser
from extproc.dialects.openai_chat.messages_encode import call_id
from extproc.dialects.openai_chat.request_decode import DEFAULTS
from extproc.dialects.openai_chat.response import ANSWER, CHOICE

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings"
needs_recordings = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recorded traffic is not beside the project")
PROVIDERS = ("openai", "azure", "groq", "deepseek", "xai", "openrouter", "together", "mistral", "gemini", "ollama", "bedrock")

EXPLAINED = {
    "dropped:thinking": {"reasoning", "reasoning_content", "reasoning_details", "thinking"},
    "dropped:reasoning_show": {"reasoning_format", "include_reasoning"},
    "dropped:reasoning": {"reasoning_effort", "reasoning", "thinking"},
    "dropped:reasoning_effort": {"reasoning_effort", "reasoning", "thinking"},
    "coerced:reasoning_effort": {"reasoning_effort", "reasoning", "thinking"},
    "coerced:thinking_budget": {"reasoning_effort", "reasoning"},
    "dropped:signature": {"state"},
    "dropped:cache_control": {"cache_control", "prompt_cache_breakpoint"},
    "dropped:citations": {"annotations"},
}
"""Members that a loss accounts for under another name."""

OPENAI = Facts("any", "openai")


@dataclass(frozen=True)
class Exchange:
    name: str
    provider: str
    model: str
    request: Any
    status: int
    headers: dict[str, str]
    response: bytes
    stream: bool


@cache
def exchanges() -> list[Exchange]:
    found: list[Exchange] = []
    for provider in PROVIDERS if RECORDINGS.is_dir() else ():
        with gzip.open(RECORDINGS / f"{provider}.jsonl.gz", "rt") as lines:
            for line in lines:
                record = json.loads(line)
                if not record["url"].partition("#")[0].partition("?")[0].endswith("/chat/completions"):
                    continue
                request, response = record["request_body"], record["response_body"]
                request = json.loads(request) if isinstance(request, str) else request
                if record["response_body_encoding"] == "base64":
                    response = base64.b64decode(response)
                elif isinstance(response, str):
                    response = response.encode()
                else:
                    response = json.dumps(response).encode()
                headers = {name.lower(): value for name, value in record["response_headers"].items()}
                found.append(Exchange(record["name"], provider, request["model"], request, record["status"], headers, response, record["streaming"]))
    return found


def answers() -> list[Exchange]:
    return [e for e in exchanges() if not e.stream and e.status == 200 and e.response]


def streams() -> list[Exchange]:
    return [e for e in exchanges() if e.stream and e.status == 200]


def differences(source: Any, result: Any, path: str = "") -> Iterator[str]:
    """Paths of what one of them has and the other lacks or has otherwise."""
    if isinstance(source, dict) and isinstance(result, dict):
        for name in source.keys() | result.keys():
            if name not in source or name not in result:
                yield f"{path}/{name}"
            else:
                yield from differences(source[name], result[name], f"{path}/{name}")
    elif isinstance(source, list) and isinstance(result, list) and len(source) == len(result):
        for place, (a, b) in enumerate(zip(source, result, strict=True)):
            yield from differences(a, b, f"{path}/{place}")
    elif source != result:
        yield path


def unreported(source: Any, result: Any, losses: list[Any]) -> list[str]:
    """Differences on whose path no member is named by a loss."""
    named = {word for loss in losses for word in (loss.code.rpartition(":")[2], loss.detail.rpartition(".")[2])}
    for loss in losses:
        named |= EXPLAINED.get(loss.code, set())
    return [path for path in differences(source, result) if not named & set(path.split("/"))]


# requests


def _parts(content: Any) -> list[Any]:
    parts = [{"type": "text", "text": content}] if isinstance(content, str) and content else list(content or ())
    for part in parts:
        if isinstance(part.get("image_url"), str):
            part["image_url"] = {"url": part["image_url"]}
    return parts


def normal_request(body: dict[str, Any]) -> dict[str, Any]:
    """A request in the one form that several spellings share.

    Left out: knobs at their defaults, `stream_options` (usage is always asked for), a switch that turns thinking on (so it is), the index of a
    call in its own list, `prefix` (an answer always goes on with the last message), and the name on a tool message, which the call that it answers
    has too. Ids longer than OpenAI takes are mapped.
    """
    out = {k: v for k, v in json.loads(json.dumps(body)).items() if v is not None and DEFAULTS.get(k) != v and k != "stream_options"}
    if out.get("thinking") == {"type": "enabled"}:
        del out["thinking"]
    router = {k: v for k, v in out.pop("reasoning", {}).items() if (k, v) != ("enabled", True)}
    if router.keys() == {"effort"}:
        out["reasoning_effort"] = router["effort"]
    elif router:
        out["reasoning"] = router
    if out.get("stream") is False:
        del out["stream"]
    if "random_seed" in out:
        out["seed"] = out.pop("random_seed")
    for name in ("max_tokens", "max_completion_tokens"):
        if name in out:
            out["max"] = out.pop(name)
    if isinstance(out.get("stop"), str):
        out["stop"] = [out["stop"]]
    if out.get("stop") == []:
        del out["stop"]
    if "functions" in out:
        out["tools"] = [{"function": function} for function in out.pop("functions")]
        if "function_call" in out:
            out["tool_choice"] = out.pop("function_call")
    if out.get("tool_choice") == "any":
        out["tool_choice"] = "required"
    if not out.get("tools"):
        out = {k: v for k, v in out.items() if k not in ("tools", "tool_choice")}
    for tool in out.get("tools", ()):
        if tool.get("type") == "function":
            del tool["type"]
    if out.get("response_format") == {"type": "text"}:
        del out["response_format"]
    out["messages"] = [_message(message) for message in out["messages"]]
    return out


def _message(message: dict[str, Any]) -> dict[str, Any]:
    out = {k: v for k, v in message.items() if v not in (None, [], "") and k != "prefix"}
    out["content"] = _parts(message.get("content"))
    if any(part["type"] == "thinking" for part in out["content"]):
        out["thinking"] = [part for part in out["content"] if part["type"] == "thinking"]
        out["content"] = [part for part in out["content"] if part["type"] != "thinking"]
    if not any(detail.keys() & {"text", "summary", "signature", "data"} for detail in out.get("reasoning_details", ())):
        out.pop("reasoning_details", None)  # some say nothing but their type
    if out["role"] == "function":
        out["role"], out["tool_call_id"] = "tool", "call_0"
    if out["role"] == "tool":
        out.pop("name", None)
    if "tool_call_id" in out:
        out["tool_call_id"] = call_id(out["tool_call_id"], OPENAI)
    if "function_call" in out:
        out["tool_calls"] = [{"id": "call_0", "function": out.pop("function_call")}]
    for call in out.get("tool_calls", ()):
        call["id"] = call_id(call["id"], OPENAI)
        if call.get("type") == "function":
            del call["type"]
        call.pop("index", None)
    return out


# answers


def normal_answer(body: dict[str, Any]) -> dict[str, Any]:
    """A whole answer in the one form that several spellings share, its first choice only (the others are a loss)."""
    choice = body["choices"][0]
    out = {k: v for k, v in body.items() if k not in ANSWER and v not in (None, [], {})}
    out |= {k: v for k, v in choice.items() if k not in CHOICE and v not in (None, [], {})}
    message = out["message"] = _answer_message(choice.get("message") or {})
    out["finish"] = choice.get("finish_reason")
    if out["finish"] in ("stop", "function_call", "eos"):
        out["finish"] = "tool_calls" if "tool_calls" in message else "stop"
    if choice.get("logprobs"):
        out["logprobs"] = choice["logprobs"]
    out["usage"] = normal_usage(body.get("usage") or {})
    return out


def _answer_message(message: dict[str, Any]) -> dict[str, Any]:
    out = {k: v for k, v in message.items() if v not in (None, [], "", {}) and k not in ("role", "channel")}
    if isinstance(out.get("content"), list):
        thoughts = [text["text"] for part in out["content"] if part["type"] == "thinking" for text in part["thinking"]]
        out["content"] = "".join(part["text"] for part in out["content"] if part["type"] == "text")
        out["reasoning"] = "".join(thoughts)
    if "reasoning_content" in out:
        out["reasoning"] = out.pop("reasoning_content")
    # the readable text of the details is `reasoning` again; the rest of them is state, which rides in ids or is a loss
    details = out.pop("reasoning_details", [])
    state = [d for d in details if d.get("signature") or d.get("data")]
    if not out.get("reasoning"):
        out["reasoning"] = "\n\n".join(d.get("text") or d.get("summary") or "" for d in details if d.get("text") or d.get("summary"))
    if not out["reasoning"]:
        del out["reasoning"]
    if state:
        out["state"] = len(state)
    for name in ("extra_content", "thought_signature"):
        if out.pop(name, None):
            out["state"] = 1
    if "function_call" in out:
        out["tool_calls"] = [{"id": "", "function": out.pop("function_call")}]
    for call in out.get("tool_calls", ()):
        call.pop("type", None)
        call.pop("index", None)
        call["function"]["arguments"] = call["function"]["arguments"] or "{}"
        call["id"], opaque, thoughts = carrier.split(call["id"])
        if opaque or thoughts:
            out["state"] = len(thoughts) + bool(opaque)
        if re.fullmatch("call_[0-9a-f]{24}", call["id"]):
            call["id"] = ""  # made by us, where the vendor gave none
    return out


def normal_usage(usage: dict[str, Any]) -> dict[str, int]:
    """The four counts that every dialect shares. What vendors leave out of `completion_tokens` is what their total has more."""
    sent, given = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    hidden = max(usage.get("total_tokens", 0) - sent - given, 0)
    prompt = usage.get("prompt_tokens_details") or {}
    cached = prompt.get("cached_tokens") or usage.get("prompt_cache_hit_tokens") or usage.get("num_cached_tokens") or usage.get("cached_tokens") or 0
    if cached > sent:
        sent += cached  # Azure's Grok counts it beside the prompt
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or hidden
    return {"in": sent, "out": given + hidden, "cached": cached, "reasoning": reasoning}


# streams


def chunks(raw: bytes) -> list[Any]:
    parser = SSEParser()
    return [json.loads(event.data) for event in parser.feed(raw) + parser.close() if event.data != b"[DONE]"]


def folded(raw: bytes) -> dict[str, Any]:
    """The whole answer that a stream's chunks add up to, as a client folds them."""
    message: dict[str, Any] = {}
    calls: dict[int, dict[str, Any]] = {}
    body: dict[str, Any] = {"choices": [{"message": message, "finish_reason": None}], "usage": None}
    for chunk in chunks(raw):
        body |= {k: v for k, v in chunk.items() if k not in ("choices", "usage") and k not in ANSWER and v}
        body["usage"] = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage") or body["usage"]
        for choice in chunk.get("choices") or ():
            if choice["index"]:
                continue
            body["choices"][0]["finish_reason"] = choice.get("finish_reason") or body["choices"][0]["finish_reason"]
            _fold(message, calls, choice["delta"])
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return body


def _fold(message: dict[str, Any], calls: dict[int, dict[str, Any]], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if name == "tool_calls":
            for piece in value:
                call = calls.setdefault(piece["index"], {"id": "", "function": {"name": "", "arguments": ""}})
                call["id"] = piece.get("id") or call["id"]
                call["function"]["name"] += piece["function"].get("name") or ""
                call["function"]["arguments"] += piece["function"].get("arguments") or ""
        elif name == "reasoning_details":
            message.setdefault(name, []).extend(value)
        elif name == "content" and isinstance(value, list):
            thoughts = [text["text"] for part in value if part["type"] == "thinking" for text in part["thinking"]]
            message["reasoning"] = message.get("reasoning", "") + "".join(thoughts)
            message["content"] = message.get("content", "") + "".join(part["text"] for part in value if part["type"] == "text")
        elif isinstance(value, str):
            message[name] = (message.get(name) or "") + value
        elif value is not None:
            message[name] = value
