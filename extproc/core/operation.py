"""What an application asks for, whatever its dialect: the operation decides which wire formats and which endpoints of a target can serve it."""

from __future__ import annotations

from enum import StrEnum


class Operation(StrEnum):
    """The values go to logs, to spans and into capability names (`lacks:embeddings`)."""

    CHAT = "chat"
    COUNT_TOKENS = "count_tokens"
    EMBEDDINGS = "embeddings"
    RERANK = "rerank"
    COMPLETIONS = "completions"
    """OpenAI's legacy text completions."""
    IMAGES = "images"
    SPEECH = "speech"
    TRANSCRIPTION = "transcription"
    """Audio to text, in its own language or translated."""
    MODERATIONS = "moderations"
    PASSTHROUGH = "passthrough"
    """A path of the registry's `passthrough`: bytes go to one target as they are."""


ANY_MEDIA = frozenset({Operation.SPEECH, Operation.TRANSCRIPTION, Operation.PASSTHROUGH})
"""Operations whose answers need not be JSON: sound, text, files."""
