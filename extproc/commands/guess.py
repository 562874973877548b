"""Which API a request body is for, told by the members that only one of them has: `extproc explain` without a path.

A body alone does not always say it (`{"model": …, "input": "…"}` is a conversation and an embedding). The likelier one is taken, and said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

MODEL = "{model}"
"""Stands in the path of an API that has the model there."""

_CHAT, _RESPONSES, _MESSAGES, _COHERE, _OLLAMA = "/v1/chat/completions", "/v1/responses", "/v1/messages", "/v2/chat", "/api/chat"
_CONVERSE = f"/model/{MODEL}/converse"
_OWN: tuple[tuple[str, tuple[str, ...]], ...] = (
    (f"/v1beta/models/{MODEL}:generateContent", ("contents",)),
    (f"/v1beta/models/{MODEL}:batchEmbedContents", ("requests",)),
    (f"/v1beta/models/{MODEL}:embedContent", ("content",)),
    (f"/v1beta/models/{MODEL}:predict", ("instances",)),
    (_CONVERSE, ("inferenceConfig", "toolConfig", "additionalModelRequestFields", "guardrailConfig")),
    ("/v2/rerank", ("documents", "query")),
    ("/v2/embed", ("input_type",)),
    ("/v2/embed", ("texts",)),
    ("/v1/audio/speech", ("input", "voice")),
)
"""Paths, and the members that tell: any of Converse's, all of the others'."""
_OF_RESPONSES = frozenset(
    {
        "instructions",
        "max_output_tokens",
        "previous_response_id",
        "include",
        "reasoning",
        "text",
        "tools",
        "truncation",
        "conversation",
        "prompt",
        "stream",
    }
)
_OF_OLLAMA = frozenset({"options", "keep_alive", "think", "raw", "truncate"})
_OF_COHERE = frozenset({"p", "k", "safety_mode", "citation_options", "strict_tools", "documents", "raw_prompting"})
_OF_OPENAI = frozenset(
    {
        *("frequency_penalty", "presence_penalty", "n", "response_format", "stream_options", "logprobs", "top_logprobs", "seed", "stop"),
        *("max_completion_tokens", "reasoning_effort", "parallel_tool_calls", "functions"),
    }
)
_OF_ANTHROPIC = frozenset({"stop_sequences", "thinking", "top_k", "mcp_servers", "context_management", "cache_control"})


def guess_path(body: Any, headers: Mapping[str, str]) -> str:
    """The path, with `MODEL` in it where the model belongs there. `body` is the parsed JSON, or the names of a form's fields, or None."""
    if isinstance(body, frozenset):
        return "/v1/files" if "purpose" in body else "/v1/images/edits" if body & {"image", "image[]"} else "/v1/audio/transcriptions"
    if "anthropic-version" in headers:
        return _MESSAGES
    if not isinstance(body, dict):
        return _CHAT
    for path, members in _OWN:
        if (any if path == _CONVERSE else all)(member in body for member in members):
            return path
    if "messages" in body:
        return _of_messages(body)
    if "input" in body:
        return _of_input(body)
    if "prompt" in body:
        if body.keys() & (_OF_OLLAMA | {"system", "format", "template", "images", "context"}):
            return "/api/generate"
        return (
            "/v1/images/generations" if body.keys() & {"size", "quality", "output_format"} or _named(body, "image", "dall-e") else "/v1/completions"
        )
    return _CHAT


def _of_messages(body: dict[str, Any]) -> str:
    messages = [m for m in _listed(body["messages"]) if isinstance(m, dict)]
    tools = next((t for t in _listed(body.get("tools")) if isinstance(t, dict)), {})
    blocks = [b for m in messages for b in _listed(m.get("content")) if isinstance(b, dict)]
    if "model" not in body and blocks and not any("type" in b for b in blocks):
        return _CONVERSE
    members = {name for m in messages for name in m}
    if body.keys() & (_OF_OLLAMA | {"format"}) or members & {"images", "tool_name"} or any(isinstance(a, dict) for a in _arguments(messages)):
        return _OLLAMA
    if body.keys() & _OF_COHERE or members & {"tool_plan"} or any(b.get("type") in ("document", "tool_result") and "document" in b for b in blocks):
        return _COHERE
    if "function" in tools or body.keys() & _OF_OPENAI:
        return _CHAT
    if "input_schema" in tools or body.keys() & _OF_ANTHROPIC:
        return _MESSAGES
    # Anthropic's requires a limit and has no roles but user, assistant and system
    roles = {str(m.get("role")) for m in messages}
    if "system" in body:
        return _MESSAGES
    return _MESSAGES if "max_tokens" in body and not tools and not roles & {"tool", "developer", "system"} else _CHAT


def _arguments(messages: Iterable[dict[str, Any]]) -> Iterable[Any]:
    for message in messages:
        for call in _listed(message.get("tool_calls")):
            function = call.get("function") if isinstance(call, dict) else None
            yield function.get("arguments") if isinstance(function, dict) else None


def _of_input(body: dict[str, Any]) -> str:
    given = body["input"]
    if body.keys() & _OF_OLLAMA:
        return "/api/embed"
    if body.keys() & {"dimensions", "encoding_format"} or (isinstance(given, list) and given and not isinstance(given[0], dict)):
        return "/v1/embeddings"
    if body.keys() & _OF_RESPONSES or (isinstance(given, list) and any(isinstance(i, dict) and ("role" in i or "content" in i) for i in given)):
        return _RESPONSES
    if _named(body, "moderation"):
        return "/v1/moderations"
    return "/v1/embeddings" if _named(body, "embed", "bge", "e5-") else _RESPONSES


def _named(body: dict[str, Any], *words: str) -> bool:
    return any(word in str(body.get("model", "")) for word in words)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
