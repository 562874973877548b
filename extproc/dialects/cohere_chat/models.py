"""What Cohere's published models take, as far as encoding a request depends on it.

The hybrid reasoning models came with Command A Reasoning; those that are listed here came before it, or do not reason. Forcing or forbidding
tools came with Command R7B. A model that is not listed counts as a current one.
Source: https://docs.cohere.com/docs/models, https://docs.cohere.com/docs/reasoning, the note on `tool_choice` in the API reference.
"""

from __future__ import annotations

import re

_NO_REASONING = re.compile(r"command-r|command-light|command-nightly|command$|command-a-(03-2025|vision|translate)|c4ai-")
_NO_CHOICE = re.compile(r"command-r(-plus|-0\d|$)|command-light|command-nightly|command$|c4ai-")


def reasons(model: str) -> bool:
    """Does it take `thinking`, and thoughts in the history?"""
    return _NO_REASONING.match(model) is None


def chooses(model: str) -> bool:
    """Does it take `tool_choice`?"""
    return _NO_CHOICE.match(model) is None
