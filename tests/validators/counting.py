"""Requests that count tokens, and the answers to them, judged by the SDKs' types, Google's discovery document and botocore's service model."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import botocore.session
import orjson
from anthropic.types import MessageTokensCount
from anthropic.types.message_count_tokens_params import MessageCountTokensParams
from botocore.validate import ParamValidator
from google.genai import types
from openai.types.responses.input_token_count_params import InputTokenCountParams
from openai.types.responses.input_token_count_response import InputTokenCountResponse

from tests.validators.gemini_discovery import InvalidRequestError, check_part_of, check_request
from tests.validators.typed import strict_validator


@cache
def _anthropic() -> Callable[[bytes], None]:
    return strict_validator(MessageCountTokensParams)


@cache
def _openai() -> Callable[[bytes], None]:
    return strict_validator(InputTokenCountParams)


@cache
def _bedrock() -> Any:
    return botocore.session.get_session().get_service_model("bedrock-runtime").operation_model("CountTokens").input_shape


def _check_gemini(body: bytes) -> None:
    request = orjson.loads(body)
    if request.keys() == {"contents"}:
        check_request(body)
        return
    if request.keys() != {"generateContentRequest"}:
        raise InvalidRequestError("contents or generateContentRequest, and nothing beside them")
    inner = request["generateContentRequest"]
    assert inner.pop("model").startswith("models/")
    check_request(orjson.dumps(inner))


def _check_vertex(body: bytes) -> None:
    request = orjson.loads(body)
    check_part_of(request, "CountTokensRequest")
    check_request(body)


def _check_anthropic_on_vertex(body: bytes) -> None:
    request = orjson.loads(body)
    assert request.pop("anthropic_version") == "vertex-2023-10-16"
    _anthropic()(orjson.dumps(request))


def _blobs(value: Any) -> Any:
    """`bytes` members as botocore wants them from Python: any length will do."""
    if isinstance(value, dict):
        return {k: b"x" if k == "bytes" else _blobs(v) for k, v in value.items()}
    return [_blobs(v) for v in value] if isinstance(value, list) else value


def _check_bedrock(body: bytes) -> None:
    report = ParamValidator().validate({"modelId": "m", **_blobs(orjson.loads(body))}, _bedrock())
    assert not report.has_errors(), report.generate_report()


REQUESTS: dict[str, Callable[[bytes], None]] = {
    "anthropic_count_tokens": lambda body: _anthropic()(body),
    "anthropic_count_tokens@vertex": _check_anthropic_on_vertex,
    "gemini_count_tokens": _check_gemini,
    "gemini_count_tokens@vertex": _check_vertex,
    "openai_count_tokens": lambda body: _openai()(body),
    "bedrock_count_tokens": _check_bedrock,
}
"""By the catalog's key. Each raises something of pydantic's, or an `AssertionError`."""


def _gemini_answer(body: bytes) -> int | None:
    answer = orjson.loads(body)
    check_part_of(answer, "CountTokensResponse")
    return types.CountTokensResponse.model_validate(answer).total_tokens


def _bedrock_answer(body: bytes) -> int:
    answer = orjson.loads(body)
    assert answer.keys() == {"inputTokens"}
    return int(answer["inputTokens"])


ANSWERS: dict[str, Callable[[bytes], int | None]] = {
    "anthropic_count_tokens": lambda body: MessageTokensCount.model_validate_json(body, strict=True, extra="forbid").input_tokens,
    "gemini_count_tokens": _gemini_answer,
    "openai_count_tokens": lambda body: InputTokenCountResponse.model_validate_json(body, strict=True, extra="forbid").input_tokens,
    "bedrock_count_tokens": _bedrock_answer,
}
"""The number that a client's SDK reads."""
