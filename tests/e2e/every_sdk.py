"""One real SDK for each client dialect."""

from __future__ import annotations

from tests.e2e.sdk_boto3 import Boto3
from tests.e2e.sdk_cohere import Cohere
from tests.e2e.sdk_google import Google
from tests.e2e.sdk_ollama import Ollama
from tests.e2e.sdk_responses import Responses
from tests.e2e.sdks import Anthropic, OpenAI, Sdk

SDKS: dict[str, type[Sdk]] = {s.name: s for s in (OpenAI, Responses, Anthropic, Google, Boto3, Cohere, Ollama)}
