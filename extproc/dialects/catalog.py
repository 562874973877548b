"""Every dialect by name. The one place that imports them all; no dialect imports another."""

from __future__ import annotations

from extproc.core.dialect import Dialect
from extproc.dialects.anthropic_messages import AnthropicMessages
from extproc.dialects.bedrock_converse import BedrockConverse
from extproc.dialects.cohere_chat import CohereChat
from extproc.dialects.cohere_embeddings import CohereEmbeddings
from extproc.dialects.cohere_rerank import CohereRerank, JinaRerank
from extproc.dialects.count_tokens import AnthropicCountTokens, BedrockCountTokens, GeminiCountTokens, OpenAICountTokens
from extproc.dialects.envelopes.bedrock import Bedrock
from extproc.dialects.envelopes.vertex import Vertex
from extproc.dialects.gemini import Gemini
from extproc.dialects.google_embeddings import GeminiEmbeddings, VertexEmbeddings
from extproc.dialects.ollama_chat import OllamaChat
from extproc.dialects.ollama_embeddings import OllamaEmbeddings
from extproc.dialects.openai_chat import OpenAIChat
from extproc.dialects.openai_embeddings import OpenAIEmbeddings
from extproc.dialects.openai_native import dialects as openai_native
from extproc.dialects.openai_responses import OpenAIResponses

_ALL: tuple[Dialect, ...] = (
    *(OpenAIChat(), AnthropicMessages(), Gemini(), OllamaChat(), OpenAIResponses(), CohereChat(), BedrockConverse()),
    *openai_native(),
)
_EMBEDDINGS: tuple[Dialect, ...] = (
    OpenAIEmbeddings(OpenAIChat()),
    GeminiEmbeddings(Gemini()),
    VertexEmbeddings(Gemini()),
    OllamaEmbeddings(OllamaChat()),
    CohereEmbeddings(CohereChat()),
)
_RERANK: tuple[Dialect, ...] = (CohereRerank(CohereChat()), JinaRerank(OpenAIChat()))
"""Errors look as in the chat format of the same vendor."""

_COUNT_TOKENS: tuple[Dialect, ...] = (
    AnthropicCountTokens(AnthropicMessages()),
    GeminiCountTokens(Gemini()),
    OpenAICountTokens(OpenAIResponses()),
    BedrockCountTokens(BedrockConverse()),
)
_COUNT_TOKENS_ON_VERTEX: dict[str, Dialect] = {
    "anthropic_count_tokens@vertex": AnthropicCountTokens(Vertex(AnthropicMessages()), vertex=True),
    "gemini_count_tokens@vertex": GeminiCountTokens(Gemini(), vertex=True),
}

_ENVELOPES: dict[str, Dialect] = {
    "anthropic_messages@bedrock": Bedrock(AnthropicMessages()),
    "anthropic_messages@vertex": Vertex(AnthropicMessages()),
}

DIALECTS: dict[str, Dialect] = {d.name: d for d in (*_ALL, *_EMBEDDINGS, *_RERANK, *_COUNT_TOKENS)} | _ENVELOPES | _COUNT_TOKENS_ON_VERTEX
