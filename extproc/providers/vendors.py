"""Vendors that speak OpenAI's Chat Completions, as a table: where they are, and how they differ from OpenAI.

Every difference is a quirk, listed with its meaning in `kinds.QUIRKS` and honoured by `dialects/openai_chat`; no code asks for a vendor's name.
Sources: the vendors' API references and SDKs, and recorded answers. Where a vendor ignores a parameter in silence it counts as refused: what
has no effect is a loss, and losses are reported.
"""

from __future__ import annotations

from dataclasses import dataclass

from extproc.core.dialect import Need


@dataclass(frozen=True, slots=True)
class ChatVendor:
    """One vendor: name of the kind, gen_ai.provider.name, base url (None: the registry gives it), id in the price data, quirks."""

    name: str
    otel_name: str
    url: str | None
    prices: str | None
    quirks: frozenset[str]
    vendor: str = ""
    """Who mints its opaque state, where that is not the kind itself."""
    embeddings: bool = False
    """Does it serve OpenAI's `/embeddings` beside the chat?"""
    rerank: bool = False
    """Does it serve `/rerank`, as Jina has it?"""
    also: frozenset[str] = frozenset()
    """Which of OpenAI's other operations it serves in OpenAI's format: completions, images, speech, transcription, moderations."""


def _quirks(words: str) -> frozenset[str]:
    return frozenset(words.split())


CHAT_VENDORS: tuple[ChatVendor, ...] = (
    # https://docs.mistral.ai/api/endpoint/chat, mistralai.models.ChatCompletionRequest
    ChatVendor(
        "mistral",
        "mistral_ai",
        "https://api.mistral.ai/v1",
        "mistral",
        _quirks(
            "mistral_members strict_messages max_tokens no_developer_role no_names no_stream_options short_tool_ids thinking_parts document_url"
            " bare_audio prefix no_functions top_k tool_parameters temperature_to_1_5 no_user_after_tool efforts_by_model"
            " output_dimension no_token_input"
        ),
        embeddings=True,
        also=frozenset({"transcription", "moderations"}),
    ),
    # https://console.groq.com/docs/openai, groq.types.chat.CompletionCreateParams
    ChatVendor(
        "groq",
        "groq",
        "https://api.groq.com/openai/v1",
        "groq",
        _quirks(
            "groq_members strict_messages no_audio no_documents no_names no_logprobs no_logit_bias no_choices four_stops reasoning_history"
            " reasoning_format efforts_by_model"
        ),
        also=frozenset({"speech", "transcription"}),
    ),
    # https://api-docs.deepseek.com/api/create-chat-completion, https://api-docs.deepseek.com/guides/thinking_mode
    ChatVendor(
        "deepseek",
        "deepseek",
        "https://api.deepseek.com",
        "deepseek",
        _quirks(
            "max_tokens no_developer_role no_json_schema no_parallel_tool_calls no_choices no_seed no_logit_bias no_user reasoning_content_history"
            " reasoning_content_required thinking_switch no_content_parts no_audio no_documents"
        ),
    ),
    # https://docs.x.ai/docs/api-reference#chat-completions, https://docs.x.ai/docs/guides/reasoning
    ChatVendor(
        "xai",
        "x_ai",
        "https://api.x.ai/v1",
        "x-ai",
        _quirks("reasoning_content_history no_logit_bias no_audio no_documents efforts_by_model"),
        also=frozenset({"completions", "images"}),
    ),
    # https://docs.together.ai/reference/chat-completions-1
    ChatVendor(
        "together",
        "together",
        "https://api.together.xyz/v1",
        "together",
        _quirks("max_tokens no_developer_role no_user top_k no_parallel_tool_calls no_token_input no_dimensions"),
        embeddings=True,
        rerank=True,
        also=frozenset({"completions", "images", "speech", "transcription"}),
    ),
    # https://docs.fireworks.ai/api-reference/post-chatcompletions
    ChatVendor(
        "fireworks",
        "fireworks",
        "https://api.fireworks.ai/inference/v1",
        "fireworks",
        _quirks("max_tokens no_developer_role top_k reasoning_content_history"),
        embeddings=True,
        rerank=True,
        also=frozenset({"completions"}),
    ),
    # https://openrouter.ai/docs/api-reference/parameters
    ChatVendor(
        "openrouter",
        "openrouter",
        "https://openrouter.ai/api/v1",
        "openrouter",
        _quirks("max_tokens reasoning_details reasoning_object cache_control top_k prefill file_url video_url"),
        embeddings=True,
        rerank=True,
        also=frozenset({"completions"}),
    ),
    # https://docs.perplexity.ai/api-reference/chat-completions-post
    ChatVendor(
        "perplexity",
        "perplexity",
        "https://api.perplexity.ai",
        "perplexity",
        _quirks(
            "max_tokens no_developer_role no_stream_options no_tools no_parallel_tool_calls no_choices no_seed no_stop no_logit_bias no_logprobs"
            " no_user top_k efforts_by_model"
        ),
    ),
    # https://inference-docs.cerebras.ai/resources/openai
    ChatVendor(
        "cerebras",
        "cerebras",
        "https://api.cerebras.ai/v1",
        "cerebras",
        _quirks(
            "strict_messages no_developer_role no_audio no_documents no_logit_bias no_choices no_names no_content_parts four_stops"
            " temperature_to_1_5 reasoning_history efforts_by_model"
        ),
        also=frozenset({"completions"}),
    ),
    # https://docs.nvidia.com/nim/large-language-models/latest/api-reference.html
    ChatVendor(
        "nvidia",
        "nvidia",
        "https://integrate.api.nvidia.com/v1",
        None,
        _quirks("max_tokens no_developer_role no_logit_bias no_user no_choices no_token_input"),
        embeddings=True,
        also=frozenset({"completions"}),
    ),
    # https://huggingface.co/docs/inference-providers/tasks/chat-completion
    ChatVendor(
        "huggingface",
        "huggingface",
        "https://router.huggingface.co/v1",
        None,
        _quirks("max_tokens no_developer_role no_user no_parallel_tool_calls"),
    ),
    # https://ai.google.dev/gemini-api/docs/openai; proto-backed, so members that it does not know are a 400
    ChatVendor(
        "gemini-openai",
        "gcp.gemini",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "google",
        _quirks("gemini_members strict_messages no_developer_role no_functions no_names extra_content efforts_by_model no_token_input"),
        vendor="gemini",
        embeddings=True,
    ),
    # https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
    ChatVendor(
        "vllm",
        "vllm",
        None,
        None,
        _quirks("max_tokens no_developer_role top_k reasoning_content_history video_url"),
        embeddings=True,
        rerank=True,
        also=frozenset({"completions", "transcription"}),
    ),
    # https://github.com/ggml-org/llama.cpp/tree/master/tools/server
    ChatVendor(
        "llama.cpp",
        "llama.cpp",
        None,
        None,
        _quirks("max_tokens no_developer_role top_k reasoning_content_history no_reasoning_effort no_dimensions"),
        embeddings=True,
        rerank=True,
        also=frozenset({"completions"}),
    ),
)

LACKS: dict[str, str] = {
    "no_json_schema": Need.JSON_SCHEMA,
    "no_tools": Need.TOOLS,
    "no_choices": Need.CHOICES,
    "no_functions": Need.FUNCTIONS,
    "no_audio": Need.AUDIO,
    "no_documents": Need.DOCUMENTS,
    "no_token_input": Need.TOKEN_INPUT,
    "no_dimensions": Need.DIMENSIONS,
}
"""Quirks that say that a need cannot be met: a target of such a provider is no candidate for a request that has it."""

CARRIES: dict[str, str] = {
    "prefix": Need.PREFILL,
    "prefill": Need.PREFILL,
    "document_url": Need.DOCUMENT_URL,
    "file_url": Need.DOCUMENT_URL,
    "bare_audio": Need.AUDIO_URL,
    "video_url": Need.VIDEO,
}
"""Quirks that say that a provider can express a need which its dialect's reference cannot."""
