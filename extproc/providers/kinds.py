"""Endpoint families as data: which dialect they speak, where they are, which header carries their key, and how they differ.

A vendor of a known dialect is an entry here, not code. `quirks` are differences from the dialect's reference API that encoders honour.
"""

from __future__ import annotations

from dataclasses import dataclass

QUIRKS: dict[str, str] = {
    "max_tokens": "takes `max_tokens`, not `max_completion_tokens`",
    "no_developer_role": "has no developer role: developer messages are sent as system",
    "no_stream_options": "refuses `stream_options`; usage comes unasked or not at all",
    "no_json_schema": "has no response_format json_schema",
    "no_strict_tools": "refuses `strict` on tools",
    "no_parallel_tool_calls": "refuses `parallel_tool_calls`",
    "no_reasoning_effort": "refuses `reasoning_effort`",
    "reasoning_content_history": "takes `reasoning_content` back in assistant messages (DeepSeek, Z.ai)",
    "reasoning_details": "takes `reasoning_details` back in assistant messages (OpenRouter)",
    "cache_control": "takes Anthropic's `cache_control` on content parts (OpenRouter)",
    "top_k": "takes `top_k` (vLLM, OpenRouter, Together)",
    "no_content_parts": "takes text only as one string, never as parts, outside user messages",
    "short_tool_ids": "takes tool call ids of exactly nine letters and digits (Mistral)",
}
"""Every quirk with its meaning; a test holds the kinds and the encoders to this list."""


@dataclass(frozen=True, slots=True)
class ProviderKind:
    """One endpoint family.

    `url` is the base that dialect paths are appended to (None: the registry must give one). `auth_header` with `auth_prefix` is where Envoy
    injects the key. `vendor` mints opaque state. `otel_name` is gen_ai.provider.name. `prices` is its id in the packaged price data.
    `headers` are always sent (a version header).
    """

    name: str
    dialect: str
    vendor: str
    otel_name: str
    url: str | None = None
    auth_header: str = "authorization"
    auth_prefix: str = "Bearer "
    prices: str | None = None
    quirks: frozenset[str] = frozenset()
    headers: tuple[tuple[str, str], ...] = ()


KINDS: dict[str, ProviderKind] = {
    k.name: k
    for k in (
        ProviderKind("openai", "openai_chat", "openai", "openai", "https://api.openai.com/v1", prices="openai"),
        ProviderKind(
            "openai-compatible",
            "openai_chat",
            "openai-compatible",
            "openai",
            quirks=frozenset({"max_tokens", "no_developer_role"}),
        ),
        ProviderKind(
            "anthropic",
            "anthropic_messages",
            "anthropic",
            "anthropic",
            "https://api.anthropic.com/v1",
            auth_header="x-api-key",
            auth_prefix="",
            prices="anthropic",
            headers=(("anthropic-version", "2023-06-01"),),
        ),
        ProviderKind(
            "gemini",
            "gemini",
            "gemini",
            "gcp.gemini",
            "https://generativelanguage.googleapis.com/v1beta",
            auth_header="x-goog-api-key",
            auth_prefix="",
            prices="google",
        ),
    )
}
