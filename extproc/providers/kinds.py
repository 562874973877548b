"""Endpoint families as data: which dialect they speak, where they are, which header carries their key, and how they differ.

A vendor of a known dialect is an entry here, not code. `quirks` are differences from the dialect's reference API that encoders honour.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass

from extproc.core.operation import Operation
from extproc.providers.vendors import CHAT_VENDORS

QUIRKS: dict[str, str] = {
    "max_tokens": "takes `max_tokens`, not `max_completion_tokens`",
    "no_developer_role": "has no developer role: developer messages are sent as system",
    "no_stream_options": "refuses `stream_options`; usage comes unasked or not at all",
    "no_json_schema": "has no response_format json_schema",
    "no_strict_tools": "refuses `strict` on tools",
    "no_parallel_tool_calls": "refuses `parallel_tool_calls`",
    "no_reasoning_effort": "refuses `reasoning_effort`",
    "no_tools": "has no tools",
    "no_functions": "has tools, but not in the older form of `functions`",
    "no_audio": "hears no audio",
    "no_documents": "reads no documents",
    "no_choices": "gives one answer: `n` must be 1",
    "no_penalties": "refuses `frequency_penalty` and `presence_penalty`",
    "no_logit_bias": "refuses `logit_bias`",
    "no_logprobs": "refuses `logprobs` and `top_logprobs`",
    "no_seed": "has no seed",
    "no_stop": "has no stop sequences",
    "no_user": "has no `user`",
    "no_user_after_tool": "wants an assistant's turn between tool results and a user's message (Mistral)",
    "no_names": "refuses `name` on messages",
    "four_stops": "takes at most four stop sequences",
    "temperature_to_1_5": "takes a temperature up to 1.5",
    "efforts_by_model": "refuses `reasoning_effort` from models that are not known to take it",
    "reasoning_object": "is asked to think by a `reasoning` object (OpenRouter)",
    "reasoning_format": "shows thoughts as `reasoning_format` or `include_reasoning` says (Groq)",
    "thinking_switch": "thinks or not as `thinking: {type: enabled | disabled}` says (DeepSeek, Z.ai)",
    "thinking_parts": "takes thoughts back, and gives them, as content parts of type `thinking` (Mistral)",
    "reasoning_content_history": "takes `reasoning_content` back in assistant messages (DeepSeek, xAI, Z.ai)",
    "reasoning_content_required": "refuses tool calls of the history without `reasoning_content` while it thinks (DeepSeek)",
    "reasoning_history": "takes `reasoning` back in assistant messages (Groq, Cerebras)",
    "reasoning_details": "takes `reasoning_details` back in assistant messages (OpenRouter)",
    "extra_content": "takes a thought signature back in a tool call's `extra_content` (Gemini's OpenAI endpoint)",
    "cache_control": "takes Anthropic's `cache_control` on content parts (OpenRouter)",
    "top_k": "takes `top_k` (vLLM, OpenRouter, Together)",
    "no_content_parts": "takes text only as one string, never as parts, outside user messages",
    "short_tool_ids": "takes tool call ids of exactly nine letters and digits (Mistral)",
    "tool_parameters": "requires `parameters` on every tool (Mistral)",
    "prefix": "goes on with an assistant message at the end that says `prefix: true` (Mistral)",
    "prefill": "goes on with an assistant message at the end, unasked (OpenRouter)",
    "document_url": "takes documents, by URL or inline, as parts of type `document_url` (Mistral)",
    "file_url": "takes a URL in `file_data` (OpenRouter)",
    "video_url": "takes videos as parts of type `video_url` (OpenRouter, vLLM)",
    "bare_audio": "takes `input_audio` as the base64 text alone (Mistral)",
    "strict_messages": "answers 400 or 422 to members of messages that it does not document",
    "mistral_members": "takes Mistral's parameters (`random_seed`, `safe_prompt`, ...) and refuses those that it does not document",
    "groq_members": "takes Groq's parameters (`reasoning_format`, `search_settings`, ...) and refuses those that it does not document",
    "no_token_input": "embeds texts only, not tokens",
    "no_dimensions": "gives vectors of the model's own length only",
    "output_dimension": "takes `output_dimension`, not `dimensions`, for embeddings (Mistral, Voyage)",
    "embed_content_config": "takes the settings of an embedding in `embedContentConfig`, and no model in the body (Vertex AI)",
    "gemini_members": "takes what Gemini's OpenAI endpoint documents and refuses other parameters",
}
"""Every quirk with its meaning; a test holds the kinds and the encoders to this list."""


@dataclass(frozen=True, slots=True)
class Speaks:
    """One wire format of an endpoint family.

    `dialect` is the catalog's key: a dialect's name, or `name@envelope` where the provider wraps the format. `base` stands between the
    provider's base path and the dialect's own path and may hold `{deployment}`, the target's name on the wire; `query` goes behind it and may
    hold `{api_version}`; it is left out where the provider has none. `models` is a regular expression that the start of the target's model must
    match, `api` a word by which a target can ask for this format alone (`api: responses`). `since` is the first dated `api_version` that has it.
    """

    operation: Operation
    dialect: str
    base: str = ""
    query: str = ""
    models: str | None = None
    api: str | None = None
    since: str | None = None

    def serves(self, model: str) -> bool:
        """Is this how `model` is reached? An unnamed one ("*") only where every model is."""
        return self.models is None or re.match(self.models, model) is not None


def chat(dialect: str) -> tuple[Speaks, ...]:
    """An endpoint that has one chat format and nothing else."""
    return (Speaks(Operation.CHAT, dialect),)


RESPONSES_ONLY = r"o\d+(-mini)?-(pro|deep-research)|gpt-[\d.]+-(pro|codex|cyber|rosalind|astra-law)|codex-|computer-use-|gpt-(daybreak|rosalind)-"
"""Start of the names of OpenAI's models that Chat Completions does not serve: https://developers.openai.com/api/docs/models."""


def openai_chats(base: str = "", query: str = "") -> tuple[Speaks, ...]:
    """OpenAI's two chat formats: clients of either are served in their own, others in the first that has the model."""
    return (
        Speaks(Operation.CHAT, "openai_chat", base, query, f"(?!{RESPONSES_ONLY})", "chat"),
        Speaks(Operation.CHAT, "openai_responses", base, query, api="responses"),
    )


_NATIVE = (Operation.COMPLETIONS, Operation.IMAGES, Operation.SPEECH, Operation.TRANSCRIPTION, Operation.MODERATIONS)


def openai_native(base: str = "", query: str = "", only: Container[str] = _NATIVE) -> tuple[Speaks, ...]:
    """What only OpenAI has a format for, and who imitates it, or some of it."""
    return tuple(Speaks(operation, f"openai_{operation.value}", base, query) for operation in _NATIVE if operation in only)


def embeddings(base: str = "", query: str = "") -> tuple[Speaks, ...]:
    """OpenAI's embeddings, as everybody who has them in its format serves them: beside the chat."""
    return (Speaks(Operation.EMBEDDINGS, "openai_embeddings", base, query),)


RERANK = (Speaks(Operation.RERANK, "jina_rerank"),)
"""What many servers compatible with OpenAI have beside its formats."""


@dataclass(frozen=True, slots=True)
class ProviderKind:
    """One endpoint family.

    `speaks` lists its wire formats; of those of one operation a client gets its own if it is there, else the first. `url` is the base that
    dialect paths are appended to (None: the registry must give one). `auth_header` with `auth_prefix` is where Envoy injects the key. `vendor`
    mints opaque state, unless one of `vendors` (a regular expression for the start of the model, the vendor) does. `otel_name` is
    gen_ai.provider.name. `prices` is its id in the packaged price data. `headers` are always sent (a version header).

    `url` may hold `{region}`, `{project}` and `{location}`, which the registry gives; `urls` are exceptions (one of these names, a regular
    expression for its whole value, the url that holds then). `undated` are the formats in place of `speaks` where the registry names no dated
    `api_version`. `signs` is the service of AWS that requests can be signed for. `scopes` are (issuer, what is asked of it) of the access tokens that
    it takes, always as `authorization: Bearer`.
    """

    name: str
    speaks: tuple[Speaks, ...]
    vendor: str
    otel_name: str
    url: str | None = None
    auth_header: str = "authorization"
    auth_prefix: str = "Bearer "
    prices: str | None = None
    quirks: frozenset[str] = frozenset()
    headers: tuple[tuple[str, str], ...] = ()
    vendors: tuple[tuple[str, str], ...] = ()
    urls: tuple[tuple[str, str, str], ...] = ()
    undated: tuple[Speaks, ...] = ()
    signs: str | None = None
    scopes: tuple[tuple[str, str], ...] = ()

    @property
    def dialect(self) -> str:
        """The name of its first chat format, for people."""
        return self.speaks[0].dialect.partition("@")[0]

    def vendor_of(self, model: str) -> str:
        """Who mints opaque state for `model`."""
        return next((vendor for pattern, vendor in self.vendors if re.match(pattern, model)), self.vendor)


CLAUDE_ON_BEDROCK = r"(?:arn:[^/]+/)?(?:[a-z-]+\.)?anthropic\."
"""Start of the ids, of the ids of inference profiles and of the ARNs of both that say that they are Anthropic's."""
GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
ENTRA_SCOPE = "https://cognitiveservices.azure.com/.default"
_VERTEX = "/v1/projects/{project}/locations/{location}"
_DATED = "api-version={api_version}"

KINDS: dict[str, ProviderKind] = {
    k.name: k
    for k in (
        ProviderKind(
            "openai",
            (*openai_chats(), *embeddings(), *openai_native(), Speaks(Operation.COUNT_TOKENS, "openai_count_tokens")),
            "openai",
            "openai",
            "https://api.openai.com/v1",
            prices="openai",
        ),
        ProviderKind(
            "openai-compatible",
            (*chat("openai_chat"), *embeddings(), *RERANK, *openai_native()),
            "openai-compatible",
            "openai",
            quirks=frozenset({"max_tokens", "no_developer_role"}),
            scopes=(("google", GOOGLE_SCOPE), ("entra", ENTRA_SCOPE)),
        ),
        ProviderKind(
            "anthropic",
            (*chat("anthropic_messages"), Speaks(Operation.COUNT_TOKENS, "anthropic_count_tokens")),
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
            (*chat("gemini"), Speaks(Operation.EMBEDDINGS, "gemini_embeddings"), Speaks(Operation.COUNT_TOKENS, "gemini_count_tokens")),
            "gemini",
            "gcp.gemini",
            "https://generativelanguage.googleapis.com/v1beta",
            auth_header="x-goog-api-key",
            auth_prefix="",
            prices="google",
        ),
        ProviderKind(
            "cohere",
            (
                *chat("cohere_chat"),
                Speaks(Operation.EMBEDDINGS, "cohere_embeddings"),
                Speaks(Operation.RERANK, "cohere_rerank"),
                Speaks(Operation.PASSTHROUGH, "passthrough", "/v1"),
            ),
            "cohere",
            "cohere",
            "https://api.cohere.com",
            prices="cohere",
        ),
        ProviderKind(
            "ollama",
            (
                Speaks(Operation.CHAT, "ollama_chat", api="ollama"),
                Speaks(Operation.CHAT, "openai_chat", "/v1", api="chat"),
                Speaks(Operation.EMBEDDINGS, "ollama_embeddings"),
                *embeddings("/v1"),
                *openai_native("/v1", only={"completions"}),
            ),
            "ollama",
            "ollama",
            quirks=frozenset({"max_tokens", "no_developer_role"}),
        ),
        ProviderKind(
            "azure-openai",
            (
                Speaks(Operation.CHAT, "openai_chat", "/openai/deployments/{deployment}", _DATED, f"(?!{RESPONSES_ONLY})", "chat"),
                Speaks(Operation.CHAT, "openai_responses", "/openai", _DATED, api="responses", since="2025-03-01"),
                *embeddings("/openai/deployments/{deployment}", _DATED),
                *openai_native("/openai/deployments/{deployment}", _DATED),
                Speaks(Operation.PASSTHROUGH, "passthrough", "/openai", _DATED),
            ),
            "openai",
            "azure.ai.openai",
            auth_header="api-key",
            auth_prefix="",
            # at Azure's global price, which the packaged data has for few of its models
            prices="openai",
            undated=(
                *openai_chats("/openai/v1", _DATED),
                *embeddings("/openai/v1", _DATED),
                *openai_native("/openai/v1", _DATED),
                Speaks(Operation.PASSTHROUGH, "passthrough", "/openai/v1", _DATED),
            ),
            scopes=(("entra", ENTRA_SCOPE),),
        ),
        ProviderKind(
            "bedrock",
            (
                Speaks(Operation.CHAT, "anthropic_messages@bedrock", models=CLAUDE_ON_BEDROCK, api="invoke"),
                Speaks(Operation.CHAT, "bedrock_converse", api="converse"),
                Speaks(Operation.COUNT_TOKENS, "bedrock_count_tokens"),
            ),
            "bedrock",
            "aws.bedrock",
            "https://bedrock-runtime.{region}.amazonaws.com",
            prices="aws",
            vendors=((CLAUDE_ON_BEDROCK, "anthropic"),),
            urls=(("region", "cn-.*", "https://bedrock-runtime.{region}.amazonaws.com.cn"),),
            signs="bedrock",
        ),
        ProviderKind(
            "vertex",
            (
                Speaks(Operation.CHAT, "anthropic_messages@vertex", "/publishers/anthropic", models="claude-"),
                Speaks(Operation.CHAT, "gemini", "/publishers/google", models=r"(?!claude-)[^*]"),
                Speaks(Operation.EMBEDDINGS, "gemini_embeddings", "/publishers/google", models="gemini-"),
                Speaks(Operation.EMBEDDINGS, "vertex_embeddings", "/publishers/google", models=r"(?!claude-|gemini-)[^*]"),
                Speaks(Operation.COUNT_TOKENS, "anthropic_count_tokens@vertex", "/publishers/anthropic", models="claude-"),
                Speaks(Operation.COUNT_TOKENS, "gemini_count_tokens@vertex", "/publishers/google", models=r"(?!claude-)[^*]"),
            ),
            "gemini",
            "gcp.vertex_ai",
            f"https://{{location}}-aiplatform.googleapis.com{_VERTEX}",
            prices="google",
            quirks=frozenset({"embed_content_config"}),
            vendors=(("claude-", "anthropic"),),
            urls=(
                ("location", "global", f"https://aiplatform.googleapis.com{_VERTEX}"),
                ("location", "us|eu", f"https://aiplatform.{{location}}.rep.googleapis.com{_VERTEX}"),
            ),
            scopes=(("google", GOOGLE_SCOPE),),
        ),
        *(
            ProviderKind(
                v.name,
                (*chat("openai_chat"), *(embeddings() if v.embeddings else ()), *(RERANK if v.rerank else ()), *openai_native(only=v.also)),
                v.vendor or v.name,
                v.otel_name,
                v.url,
                prices=v.prices,
                quirks=v.quirks,
            )
            for v in CHAT_VENDORS
        ),
    )
}

ALIASES = {
    "azure": "azure-openai",
    "vertex-ai": "vertex",
    "x-ai": "xai",
    **dict.fromkeys(("lmstudio", "sglang", "tgi"), "openai-compatible"),
}
"""Other names that a registry may use."""
