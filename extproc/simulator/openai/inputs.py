"""What OpenAI takes as text in one place: a text, texts, or tokens in place of either."""

from __future__ import annotations

from typing import Any

from extproc.simulator.openai.chat_messages import bad
from extproc.simulator.shapes import is_int

_MAX_INPUTS = 2048


def texts_of(given: Any, param: str) -> list[str]:
    """One text for each input: a text, texts, a list of tokens, or lists of tokens (tokens as text, one word each)."""
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list) or not given:
        raise bad(f"'$.{param}' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference.")
    if all(is_int(n) for n in given):
        given = [given]
    if len(given) > _MAX_INPUTS:
        raise bad(f"Invalid '{param}': array too long. Expected an array with maximum length {_MAX_INPUTS}.", param, "array_above_max_length")
    texts = []
    for one in given:
        if isinstance(one, list) and one and all(is_int(n) and n >= 0 for n in one):
            texts.append(" ".join(map(str, one)))
        elif isinstance(one, str) and one:
            texts.append(one)
        else:
            raise bad(f"'$.{param}' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference.")
    return texts
