"""Errors of every vendor as they write them, and the kind that each must be: it decides what happens next."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from extproc.core.error_words import CODES, WORDS
from extproc.core.errors import ErrorKind
from extproc.dialects.openai_chat import OpenAIChat

DIALECT = OpenAIChat()
K = ErrorKind


@pytest.mark.parametrize(
    ("vendor", "status", "body", "kind"),
    [
        (
            "openai",
            401,
            {"error": {"message": "Incorrect API key provided: x.", "type": "invalid_request_error", "code": "invalid_api_key"}},
            K.AUTHENTICATION,
        ),
        (
            "openai",
            429,
            {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"}},
            K.QUOTA,
        ),
        ("mistral", 401, {"detail": "Unauthorized"}, K.AUTHENTICATION),
        ("mistral", 401, {"message": "Unauthorized", "request_id": "1"}, K.AUTHENTICATION),
        ("mistral", 400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "param": None, "code": "1500"}, K.NOT_FOUND),
        (
            "mistral",
            400,
            {"object": "error", "message": "Prompt contains 9 tokens and 0 draft tokens, too large for model with 8 maximum context length"},
            K.CONTEXT_LENGTH,
        ),
        (
            "mistral",
            422,
            {"detail": [{"type": "extra_forbidden", "loc": ["body", "user"], "msg": "Extra inputs are not permitted"}]},
            K.UNPROCESSABLE,
        ),
        (
            "mistral",
            429,
            {
                "object": "error",
                "message": "Service tier capacity exceeded for this model.",
                "type": "service_tier_capacity_exceeded",
                "code": "3505",
            },
            K.RATE_LIMITED,
        ),
        (
            "groq",
            404,
            {"error": {"message": "The model `x` does not exist", "type": "invalid_request_error", "code": "model_not_found"}},
            K.NOT_FOUND,
        ),
        (
            "groq",
            413,
            {"error": {"message": "Request too large on tokens per minute (TPM)", "type": "tokens", "code": "rate_limit_exceeded"}},
            K.RATE_LIMITED,
        ),
        ("groq", 400, {"error": {"message": "Tool call validation failed", "code": "tool_use_failed", "failed_generation": "{}"}}, K.UPSTREAM),
        ("groq", 400, {"error": {"message": "Failed to generate JSON", "code": "json_validate_failed", "failed_generation": ""}}, K.UPSTREAM),
        ("groq", 400, {"error": {"message": "Please reduce the length of the messages", "code": "context_length_exceeded"}}, K.CONTEXT_LENGTH),
        (
            "deepseek",
            401,
            {"error": {"message": "Authentication Fails", "type": "authentication_error", "code": "invalid_request_error"}},
            K.AUTHENTICATION,
        ),
        ("deepseek", 402, {"error": {"message": "Insufficient Balance", "type": "unknown_error", "code": "invalid_request_error"}}, K.QUOTA),
        (
            "deepseek",
            400,
            {"error": {"message": "Content Exists Risk", "type": "invalid_request_error", "code": "invalid_request_error"}},
            K.CONTENT_FILTER,
        ),
        ("deepseek", 400, {"error": {"message": "Model Not Exist", "type": "invalid_request_error"}}, K.INVALID_REQUEST),
        ("xai", 400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xx."}, K.AUTHENTICATION),
        ("xai", 404, {"code": "Some requested entity was not found", "error": "The model x does not exist"}, K.NOT_FOUND),
        ("xai", 400, {"code": "x", "error": "This model's maximum prompt length is 8 but the request contains 9 tokens."}, K.CONTEXT_LENGTH),
        ("xai", 403, {"code": "The caller does not have permission", "error": "Your newly created team doesn't have any credits yet."}, K.QUOTA),
        ("xai", 403, {"code": "x", "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK"}, K.CONTENT_FILTER),
        ("together", 422, {"error": {"message": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193"}}, K.CONTEXT_LENGTH),
        ("together", 404, {"error": {"message": "Unable to access model", "code": "model_not_available"}}, K.NOT_FOUND),
        (
            "fireworks",
            400,
            {"error": {"object": "error", "type": "invalid_request_error", "message": "The prompt is too long: 9, model maximum context length: 8"}},
            K.CONTEXT_LENGTH,
        ),
        ("fireworks", 412, {"error": {"message": "Account is suspended, possibly due to reaching the monthly spending limit"}}, K.QUOTA),
        ("openrouter", 400, {"error": {"message": "This endpoint's maximum context length is 200000 tokens.", "code": 400}}, K.CONTEXT_LENGTH),
        ("openrouter", 402, {"error": {"message": "Insufficient credits", "code": 402}}, K.QUOTA),
        (
            "openrouter",
            403,
            {"error": {"code": 403, "message": "flagged", "metadata": {"reasons": ["violence"], "flagged_input": "x"}}},
            K.CONTENT_FILTER,
        ),
        (
            "openrouter",
            429,
            {"error": {"code": 429, "message": "Provider returned error", "metadata": {"raw": "x is temporarily rate-limited upstream."}}},
            K.RATE_LIMITED,
        ),
        ("openrouter", 200, {"error": {"code": 502, "message": "Provider returned error"}}, K.UPSTREAM),
        (
            "cerebras",
            401,
            {"message": "Wrong API Key", "type": "invalid_request_error", "param": "api_key", "code": "wrong_api_key"},
            K.AUTHENTICATION,
        ),
        (
            "cerebras",
            429,
            {"message": "Tokens per minute limit exceeded", "type": "too_many_tokens_error", "code": "token_quota_exceeded"},
            K.RATE_LIMITED,
        ),
        ("cerebras", 429, {"message": "We're experiencing high traffic", "type": "too_many_requests_error", "code": "queue_exceeded"}, K.OVERLOADED),
        (
            "perplexity",
            400,
            {"error": {"message": "Invalid model 'x'. Permitted models can be found in the documentation", "type": "invalid_model", "code": 400}},
            K.NOT_FOUND,
        ),
        ("perplexity", 401, "<html><head><title>401 Authorization Required</title></head></html>", K.AUTHENTICATION),
        ("nvidia", 404, {"status": 404, "title": "Not Found", "detail": "Function 'x': Not found for account"}, K.NOT_FOUND),
        ("nvidia", 403, {"status": 403, "title": "Forbidden", "detail": "Authorization failed"}, K.PERMISSION),
        (
            "huggingface",
            400,
            {"error": {"message": "The requested model 'x' is not supported by any provider you have enabled.", "code": "model_not_supported"}},
            K.NOT_FOUND,
        ),
        (
            "vllm",
            404,
            {"object": "error", "message": "The model `x` does not exist.", "type": "NotFoundError", "param": None, "code": 404},
            K.NOT_FOUND,
        ),
        (
            "vllm",
            400,
            {"object": "error", "message": "The decoder prompt (length 9) is longer than the maximum model length of 8.", "code": 400},
            K.CONTEXT_LENGTH,
        ),
        (
            "sglang",
            400,
            {"object": "error", "message": "The input (9 tokens) is longer than the model's context length (8 tokens).", "code": 400},
            K.CONTEXT_LENGTH,
        ),
        (
            "llama.cpp",
            400,
            {"error": {"code": 400, "message": "the request exceeds the available context size", "type": "exceed_context_size_error", "n_ctx": 8}},
            K.CONTEXT_LENGTH,
        ),
        (
            "llama.cpp",
            500,
            {"error": {"code": 500, "message": "image input is not supported - hint: provide the mmproj", "type": "server_error"}},
            K.NOT_IMPLEMENTED,
        ),
        ("llama.cpp", 500, {"error": {"code": 500, "message": "the request exceeds nothing", "type": "server_error"}}, K.INTERNAL),
        ("llama.cpp", 503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, K.UNAVAILABLE),
        (
            "gemini",
            400,
            [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT"}}],
            K.AUTHENTICATION,
        ),
        ("gemini", 429, [{"error": {"code": 429, "message": "You exceeded your current quota", "status": "RESOURCE_EXHAUSTED"}}], K.RATE_LIMITED),
        ("ollama", 404, {"error": "model 'x' not found"}, K.NOT_FOUND),
    ],
)
def test_point_46_every_vendors_errors(vendor: str, status: int, body: Any, kind: ErrorKind) -> None:
    raw = body.encode() if isinstance(body, str) else orjson.dumps(body)
    error = DIALECT.decode_error(status, {}, raw)
    assert error.kind is kind
    assert error.message
    if status >= 400:
        assert error.status == status


@pytest.mark.parametrize(
    ("headers", "body", "wait"),
    [
        ({"retry-after": "7"}, {"error": {"message": "Please try again in 9.5s."}}, 7.0),
        ({"retry-after-ms": "1500"}, {"error": {"message": "x"}}, 1.5),
        ({}, {"error": {"message": "Rate limit reached on requests. Please try again in 7m12.5s. Visit"}}, 432.5),
        ({}, {"error": {"message": "Rate limit reached. Please try again in 20ms."}}, 0.02),
        ({}, {"error": {"message": "Please retry in 48.9s."}}, 48.9),
        ({}, {"error": {"message": "Please retry after 30 seconds."}}, 30.0),
        (
            {},
            [{"error": {"code": 429, "message": "q", "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "48s"}]}}],
            48.0,
        ),
        (
            {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "2m", "x-ratelimit-reset-requests": "1s"},
            {"error": {"message": "x"}},
            120.0,
        ),
        ({}, {"error": {"message": "try again in a while"}}, None),
    ],
)
def test_point_48_how_long_to_wait(headers: dict[str, str], body: Any, wait: float | None) -> None:
    assert DIALECT.decode_error(429, headers, orjson.dumps(body)).retry_after == wait


@pytest.mark.parametrize("key", ["gsk_abc123", "xai-abc123", "csk-abc123", "pplx-abc123", "nvapi-abc123", "hf_abc123", "fw_abc123"])
def test_keys_in_messages_are_taken_out(key: str) -> None:
    error = DIALECT.decode_error(401, {}, orjson.dumps({"error": {"message": f"The key {key} is wrong"}}))
    assert key not in error.message
    assert "[removed]" in error.message


def test_the_tables_are_sound() -> None:
    assert all(code == code.lower() for code in CODES)
    assert len({kind for _, kind, _, _ in WORDS}) == len(WORDS)


def test_words_cost_little_time_whatever_they_are() -> None:
    """Only the start of a message is read: one of two megabytes would otherwise take seconds."""
    for hostile in ("max " * 500_000, "model " * 300_000, "api key " * 250_000, "context length " * 150_000):
        DIALECT.decode_error(400, {}, orjson.dumps({"error": {"message": hostile}}))
