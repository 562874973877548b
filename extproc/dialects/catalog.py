"""Every dialect by name. The one place that imports them all; no dialect imports another."""

from __future__ import annotations

from extproc.core.dialect import Dialect
from extproc.dialects.anthropic_messages import AnthropicMessages
from extproc.dialects.gemini import Gemini
from extproc.dialects.ollama_chat import OllamaChat
from extproc.dialects.openai_chat import OpenAIChat
from extproc.dialects.openai_native import dialects as openai_native
from extproc.dialects.openai_responses import OpenAIResponses

_ALL: tuple[Dialect, ...] = (OpenAIChat(), AnthropicMessages(), Gemini(), OllamaChat(), OpenAIResponses(), *openai_native())

DIALECTS: dict[str, Dialect] = {d.name: d for d in _ALL}
