"""The part of OpenAI's API that Ollama serves below /v1, without keys.

Wire format: https://github.com/ollama/ollama/blob/main/docs/api/openai-compatibility.mdx
"""

from __future__ import annotations

from collections.abc import Mapping

from extproc.simulator.ollama.host import OllamaHost
from extproc.simulator.openai.chat import OpenAIWire
from extproc.simulator.openai.vectors_api import OpenAIVectors
from extproc.simulator.wire import JSON, Ask, Call

_THOUGHTS = ("reasoning", "reasoning_content")


class OllamaChatCompletions(OpenAIWire):
    """POST /v1/chat/completions. Thoughts may come back beside the content."""

    def read(self, call: Call, body: JSON, headers: Mapping[str, str]) -> Ask:
        messages = body.get("messages")
        if isinstance(messages, list):
            kept = [{k: v for k, v in m.items() if k not in _THOUGHTS} if isinstance(m, dict) else m for m in messages]
            body = {**body, "messages": kept}
        return super().read(call, body, headers)

    def check_access(self, call: Call, headers: Mapping[str, str], key: str | None, accepted: frozenset[str]) -> None:
        OllamaHost().check_access(call, headers, key, accepted)


class OllamaOpenAIVectors(OpenAIVectors):
    """POST /v1/embeddings."""

    def check_access(self, call: Call, headers: Mapping[str, str], key: str | None, accepted: frozenset[str]) -> None:
        OllamaHost().check_access(call, headers, key, accepted)
