"""Every span attribute name that we emit, in one place: what dashboards and alerts are written against.

Names outside `llm.` are those of the OpenTelemetry GenAI conventions v1.41 and the stable `http.*`, `server.*`, `error.*` ones, written out here
because the GenAI part left the main conventions after v1.41 and keeps changing: an upgrade of a package must never rename what we emit. A test
compares them with `opentelemetry-semantic-conventions`. `llm.` is our own namespace, for what the conventions have no name for.
"""

from __future__ import annotations

SCHEMA_URL = "https://opentelemetry.io/schemas/1.41.0"
"""The conventions that the names follow; exported with the instrumentation scope."""

OPERATION_CHAT, OPERATION_COMPLETIONS = "chat", "text_completion"
"""The conventions' words for two of our operations; `embeddings` is theirs, too. They have none for the others, which go by our own names
(`core.operation`): count_tokens, rerank, images, speech, transcription, moderations, passthrough. Every conversation is a chat, also one in Gemini's
format, for which the conventions allow `generate_content`: dashboards must not depend on which SDK an application happens to use."""

# The logical operation: span `{operation} {model}`, one per request, covering every attempt. "The chat span" below, whatever the operation.

GEN_AI_OPERATION_NAME = "gen_ai.operation.name"
"""What was asked for. On the chat span only, so that counting operations by it does not count attempts."""
GEN_AI_PROVIDER_NAME = "gen_ai.provider.name"
"""The conventions' name of the provider: on the chat span of the first target, then of the one that answered; on an attempt of its own."""
GEN_AI_REQUEST_MODEL = "gen_ai.request.model"
"""The provider's name of the model that was asked for. What the client asked for is `llm.model`."""
GEN_AI_REQUEST_STREAM = "gen_ai.request.stream"
"""True if the client asked for a stream; absent otherwise."""
GEN_AI_OUTPUT_TYPE = "gen_ai.output.type"
"""`json` if structured output was asked for, else absent."""
GEN_AI_REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
"""The client's limit on output tokens."""
GEN_AI_REQUEST_TEMPERATURE = "gen_ai.request.temperature"
"""The client's temperature."""
GEN_AI_REQUEST_TOP_P = "gen_ai.request.top_p"
"""The client's nucleus sampling parameter."""
GEN_AI_REQUEST_TOP_K = "gen_ai.request.top_k"
"""The client's top-k sampling parameter."""
GEN_AI_REQUEST_CHOICE_COUNT = "gen_ai.request.choice.count"
"""How many choices the client asked for, if not one."""
GEN_AI_RESPONSE_ID = "gen_ai.response.id"
"""The provider's id of the answer."""
GEN_AI_RESPONSE_MODEL = "gen_ai.response.model"
"""The model that the answer names."""
GEN_AI_RESPONSE_FINISH_REASONS = "gen_ai.response.finish_reasons"
"""Why the model stopped, as a list of one; absent where no reason was seen."""
GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
"""Seconds from the request to the first event with content of a stream."""
GEN_AI_USAGE_INPUT_TOKENS = "gen_ai.usage.input_tokens"
"""Input tokens, cached ones included."""
GEN_AI_USAGE_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
"""Output tokens, reasoning included."""
GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS = "gen_ai.usage.cache_read.input_tokens"
"""The part of the input that was read from the provider's cache."""
GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS = "gen_ai.usage.cache_creation.input_tokens"
"""The part of the input that was written to the provider's cache."""
GEN_AI_USAGE_REASONING_OUTPUT_TOKENS = "gen_ai.usage.reasoning.output_tokens"
"""The part of the output that was reasoning."""
GEN_AI_INPUT_MESSAGES = "gen_ai.input.messages"
"""The conversation as JSON, media redacted, cut to a limit. Only with OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=SPAN_ONLY."""
GEN_AI_OUTPUT_MESSAGES = "gen_ai.output.messages"
"""The answer as JSON, under the same condition."""

# Both spans.

SERVER_ADDRESS = "server.address"
"""The provider's host: what is behind Envoy, not Envoy."""
SERVER_PORT = "server.port"
"""The provider's port."""
ERROR_TYPE = "error.type"
"""Why the operation or the attempt failed: an error kind, an outcome or a status. Absent on success."""
HTTP_RESPONSE_STATUS_CODE = "http.response.status_code"
"""On an attempt the provider's status, on the chat span the status that the client got."""

# An attempt: span `attempt {target}`, one per upstream try.

HTTP_REQUEST_METHOD = "http.request.method"
"""POST, except of a request that is passed on as it is."""
HTTP_REQUEST_RESEND_COUNT = "http.request.resend_count"
"""The attempt's number less one; absent on the first."""
LLM_ATTEMPT = "llm.attempt"
"""The attempt's number, from 1."""
LLM_VERDICT = "llm.verdict"
"""What was decided on the attempt's response: pass, retry, final; ended_by_envoy where Envoy ended it itself (reset, time-out, client gone)."""

# Our own words on the chat span.

LLM_MODEL = "llm.model"
"""The model name that the client asked for."""
LLM_TARGET = "llm.target"
"""The target that answered, or was tried last; on an attempt its own."""
LLM_ATTEMPTS = "llm.attempts"
"""How many attempts were made."""
LLM_OUTCOME = "llm.outcome"
"""How the request ended (`telemetry.record.Outcome`)."""
LLM_LOSSES = "llm.losses"
"""Codes of what a translation could not carry, as a list; absent if nothing was lost."""
LLM_COST_USD = "llm.cost.usd"
"""What the answer cost in US dollars; absent if the price or the usage is unknown."""
LLM_CLIENT_DIALECT = "llm.client.dialect"
"""The wire format that the client speaks."""
LLM_UPSTREAM_DIALECT = "llm.upstream.dialect"
"""The wire format of the target that answered."""
LLM_COMMIT = "llm.commit"
"""When the answer was let go: `first_token` or `complete`."""
LLM_REQUEST_ID = "llm.request.id"
"""The request id that Envoy's access log and our log line carry."""
LLM_REGISTRY = "llm.registry"
"""Digest of the registry that made the decision."""
