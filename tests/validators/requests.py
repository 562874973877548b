"""What providers get, judged by third-party schemas. A dialect more is one entry more."""

from __future__ import annotations

from collections.abc import Callable

from tests.validators.anthropic_types import check_messages_request
from tests.validators.bedrock_service import check_converse_request
from tests.validators.cohere_types import check_chat_request as check_cohere_request
from tests.validators.gemini_discovery import check_request
from tests.validators.ollama_types import check_chat_request as check_ollama_request
from tests.validators.openai_types import check_chat_request
from tests.validators.responses_types import check_responses_request


def _gemini(body: bytes) -> None:
    check_request(body)


REQUESTS: dict[str, Callable[[bytes], None]] = {
    "openai_chat": check_chat_request,
    "openai_responses": check_responses_request,
    "anthropic_messages": check_messages_request,
    "gemini": _gemini,
    "bedrock_converse": check_converse_request,
    "cohere_chat": check_cohere_request,
    "ollama_chat": check_ollama_request,
}
"""Each raises something of pydantic's, or an `AssertionError`, for a body that the published schema does not allow."""
