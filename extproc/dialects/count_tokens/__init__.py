"""How many tokens a chat request is, asked of its vendor: one counting dialect for each chat format whose vendor has an API for it.

A target whose vendor has none is left out of the chain (`lacks:count_tokens`); nothing is ever estimated.
"""

from __future__ import annotations

from extproc.dialects.count_tokens.anthropic import AnthropicCountTokens
from extproc.dialects.count_tokens.bedrock import BedrockCountTokens
from extproc.dialects.count_tokens.counting import CountTokens, TokenCount
from extproc.dialects.count_tokens.gemini import GeminiCountTokens
from extproc.dialects.count_tokens.openai import OpenAICountTokens

__all__ = ["AnthropicCountTokens", "BedrockCountTokens", "CountTokens", "GeminiCountTokens", "OpenAICountTokens", "TokenCount"]
