"""The simulated providers: which APIs each has on its one host, by the dialect of the first."""

from __future__ import annotations

from collections.abc import Callable

from extproc.simulator.anthropic.count import AnthropicCount
from extproc.simulator.anthropic.wire import AnthropicWire
from extproc.simulator.bedrock.converse import BedrockConverseWire
from extproc.simulator.bedrock.invoke import BedrockInvokeWire
from extproc.simulator.cohere.chat import CohereChatWire
from extproc.simulator.cohere.vectors_api import CohereVectors
from extproc.simulator.gemini.claude import VertexClaudeWire
from extproc.simulator.gemini.plain import GeminiPlain
from extproc.simulator.gemini.wire import GeminiWire
from extproc.simulator.ollama.chat import OllamaWire
from extproc.simulator.ollama.compatible import OllamaChatCompletions, OllamaOpenAIVectors
from extproc.simulator.ollama.vectors_api import OllamaVectors
from extproc.simulator.openai.chat import OpenAIWire
from extproc.simulator.openai.other import OpenAIOther
from extproc.simulator.openai.responses import OpenAIResponsesWire
from extproc.simulator.openai.vectors_api import OpenAIVectors
from extproc.simulator.wire import Api

SITES: dict[str, Callable[[], tuple[Api, ...]]] = {
    "openai_chat": lambda: (OpenAIWire(), OpenAIResponsesWire(), OpenAIVectors(), OpenAIOther()),
    "anthropic_messages": lambda: (AnthropicWire(), AnthropicCount()),
    "gemini": lambda: (GeminiWire(), GeminiPlain(), VertexClaudeWire()),
    "bedrock_converse": lambda: (BedrockConverseWire(), BedrockInvokeWire()),
    "cohere_chat": lambda: (CohereChatWire(), CohereVectors()),
    "ollama_chat": lambda: (OllamaWire(), OllamaVectors(), OllamaChatCompletions(), OllamaOpenAIVectors()),
}
"""By the names that dialects have in the project. Each call gives a provider of its own: what it remembers is its alone."""
