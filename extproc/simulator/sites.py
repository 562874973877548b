"""The simulated providers: which APIs each has on its one host, by the dialect of the first."""

from __future__ import annotations

from collections.abc import Callable

from extproc.simulator.anthropic.wire import AnthropicWire
from extproc.simulator.gemini.wire import GeminiWire
from extproc.simulator.openai.chat import OpenAIWire
from extproc.simulator.openai.other import OpenAIOther
from extproc.simulator.openai.responses import OpenAIResponsesWire
from extproc.simulator.openai.vectors_api import OpenAIVectors
from extproc.simulator.wire import Api

SITES: dict[str, Callable[[], tuple[Api, ...]]] = {
    "openai_chat": lambda: (OpenAIWire(), OpenAIResponsesWire(), OpenAIVectors(), OpenAIOther()),
    "anthropic_messages": lambda: (AnthropicWire(),),
    "gemini": lambda: (GeminiWire(),),
}
"""By the names that dialects have in the project. Each call gives a provider of its own: what it remembers is its alone."""
