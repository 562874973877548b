"""What Bedrock answers and what its clients get, errors too: read by botocore's own parsers, through a real boto3 client."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from botocore.exceptions import ClientError, EventStreamError

from extproc.core.dialect import Reply
from extproc.core.errors import STATUS, ApiError, ErrorKind, UpstreamFormatError
from extproc.core.eventstream import event
from extproc.core.ir import (
    Audio,
    FinishReason,
    Foreign,
    Image,
    Opaque,
    Refusal,
    Response,
    Source,
    StreamError,
    Text,
    Thinking,
    ToolCall,
)
from extproc.core.usage import Usage
from extproc.dialects.bedrock_converse import BedrockConverse
from tests.dialects.bedrock_client import ASK, boto_client
from tests.validators.bedrock_service import ConverseStreamError, answered, check_converse_answer, events

DIALECT = BedrockConverse()
REPLY = Reply("id", 1, "shown")
PNG = "iVBORw0KGgo="


def test_boto3_reads_our_answer() -> None:
    blocks = [
        Thinking("hm", Opaque("anthropic", "sig")),
        Thinking("", Opaque("anthropic", "data"), redacted=True),
        Text("hello"),
        ToolCall("tooluse_1", "f", '{"b": 1, "a": 12345678901234567890123}'),
        Image(Source("image/png", data=PNG)),
    ]
    response = Response("id", "m", blocks, FinishReason.TOOL_CALLS, Usage(100, 7, 60, 30))
    body, losses = DIALECT.encode_response(response, REPLY)
    check_converse_answer(body)
    answer = boto_client(200, body).converse(**ASK)
    assert answer["output"]["message"]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": b"data"}},
        {"text": "hello"},
        {"toolUse": {"toolUseId": "tooluse_1", "name": "f", "input": {"b": 1, "a": 12345678901234567890123}}},
        {"image": {"format": "png", "source": {"bytes": base64.b64decode(PNG)}}},
    ]
    assert answer["stopReason"] == "tool_use"
    assert answer["usage"] == {"inputTokens": 10, "outputTokens": 7, "totalTokens": 107, "cacheReadInputTokens": 60, "cacheWriteInputTokens": 30}
    assert not losses
    again = DIALECT.decode_response(body)
    assert (again.blocks[:3], again.finish, again.usage) == (response.blocks[:3], response.finish, response.usage)


@pytest.mark.parametrize(
    ("finish", "blocks", "word"),
    [
        (FinishReason.STOP, [Text("a")], "end_turn"),
        (FinishReason.STOP, [ToolCall("a", "f")], "tool_use"),
        (FinishReason.STOP, [Refusal("no")], "content_filtered"),
        (FinishReason.LENGTH, [ToolCall("a", "f")], "max_tokens"),
        (FinishReason.STOP_SEQUENCE, [Text("a")], "stop_sequence"),
        (FinishReason.CONTENT_FILTER, [], "content_filtered"),
        (FinishReason.REFUSAL, [], "content_filtered"),
        (FinishReason.CONTEXT_WINDOW, [], "model_context_window_exceeded"),
        (FinishReason.MALFORMED_TOOL_CALL, [], "malformed_tool_use"),
        (FinishReason.PAUSE, [], "end_turn"),
        (FinishReason.OTHER, [ToolCall("a", "f")], "tool_use"),
    ],
)
def test_stop_reasons(finish: FinishReason, blocks: Any, word: str) -> None:
    body, losses = DIALECT.encode_response(Response("", "", blocks, finish, Usage()), REPLY)
    check_converse_answer(body)
    assert orjson.loads(body)["stopReason"] == word
    assert ("coerced:finish_reason" in {loss.code for loss in losses}) is (finish in (FinishReason.PAUSE, FinishReason.OTHER))


@pytest.mark.parametrize("word", ["guardrail_intervened", "malformed_model_output"])
def test_words_that_are_ones_own_come_back(word: str) -> None:
    given = {"output": {"message": {"role": "assistant", "content": []}}, "stopReason": word, "usage": {}}
    body, losses = DIALECT.encode_response(DIALECT.decode_response(orjson.dumps(given)), REPLY)
    assert orjson.loads(body)["stopReason"] == word
    assert not losses


def test_a_tool_call_carries_what_has_no_slot() -> None:
    call = ToolCall("call/1", "get_weather", "{}", Opaque("gemini", "sig"))
    body, losses = DIALECT.encode_response(Response("", "", [call], FinishReason.STOP, Usage()), REPLY)
    check_converse_answer(body)
    assert DIALECT.decode_response(body).blocks == [ToolCall("call/1", "get_weather", "", Opaque("gemini", "sig"))]
    assert not losses


def test_what_has_no_place_is_a_loss() -> None:
    blocks = [
        Audio(Source("audio/wav", data="aa")),
        Foreign("gemini", "x", {}),
        Image(Source("image/bmp", data="aa")),
        Thinking("", redacted=True),
        Text(""),
    ]
    cited = Text("t", citations=[{}], citations_from="gemini", opaque=Opaque("gemini", "s"))
    body, losses = DIALECT.encode_response(Response("", "", [*blocks, cited], FinishReason.STOP), REPLY)
    assert orjson.loads(body)["output"]["message"]["content"] == [{"text": "t"}]
    assert {loss.code for loss in losses} == {
        *("dropped:audio", "dropped:foreign_block", "dropped:image", "dropped:thinking", "dropped:citations", "dropped:signature", "defaulted:usage")
    }


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"message":"Input is too long for requested model."}', ErrorKind.CONTEXT_LENGTH),
        (b'{"__type":"ThrottlingException","message":"slow"}', ErrorKind.RATE_LIMITED),
        (b"<html>", None),
        (b"[]", None),
        (b"{}", None),
        (b'{"output":{"message":{"content":[1]}},"stopReason":"x"}', None),
        (b'{"output":{"message":{"content":{}}},"stopReason":"x"}', None),
        (b'{"output":{"message":{"content":[{"toolUse":{}}]}},"stopReason":"x"}', None),
        (b'{"output":{"message":{"content":[]}}}', None),
    ],
)
def test_what_is_no_answer(body: bytes, kind: ErrorKind | None) -> None:
    with pytest.raises(ApiError) as error:
        DIALECT.decode_response(body)
    assert isinstance(error.value, UpstreamFormatError) is (kind is None)
    assert kind in (None, error.value.kind)


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_boto3_raises_the_right_exception(kind: ErrorKind) -> None:
    status, body = DIALECT.encode_error(ApiError(kind, "why"))
    client = boto_client(status, body)
    with pytest.raises(ClientError) as error:
        client.converse(**ASK)
    parsed = error.value.response["Error"]
    modelled = {
        ErrorKind.RATE_LIMITED: client.exceptions.ThrottlingException,
        ErrorKind.PERMISSION: client.exceptions.AccessDeniedException,
        ErrorKind.NOT_FOUND: client.exceptions.ResourceNotFoundException,
        ErrorKind.TIMEOUT: client.exceptions.ModelTimeoutException,
        ErrorKind.UPSTREAM: client.exceptions.ModelErrorException,
        ErrorKind.INTERNAL: client.exceptions.InternalServerException,
        ErrorKind.UNAVAILABLE: client.exceptions.ServiceUnavailableException,
        ErrorKind.INVALID_REQUEST: client.exceptions.ValidationException,
        ErrorKind.UNPROCESSABLE: client.exceptions.ValidationException,
    }
    assert isinstance(error.value, modelled.get(kind, ClientError))
    assert "why" in parsed["Message"]
    assert parsed["Code"].endswith("Exception")
    assert (status >= 500) is (STATUS[kind] >= 500 and kind not in (ErrorKind.UPSTREAM, ErrorKind.TIMEOUT))


def test_a_context_error_begins_with_the_words_that_clients_look_for() -> None:
    _, body = DIALECT.encode_error(ApiError(ErrorKind.CONTEXT_LENGTH, "prompt is too long"))
    assert answered(400, body)["Error"] == {"Code": "ValidationException", "Message": "Input is too long for requested model: prompt is too long"}


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_boto3_raises_on_an_error_in_a_stream(kind: ErrorKind) -> None:
    raw = event("messageStart", b'{"role":"assistant"}') + DIALECT.encode_stream_error(ApiError(kind, "why"))
    stream = boto_client(200, raw, DIALECT.stream_type).converse_stream(**ASK)["stream"]
    with pytest.raises(EventStreamError) as error:
        list(stream)
    assert "why" in str(error.value)
    with pytest.raises(ConverseStreamError):
        events(raw)
    decoder = DIALECT.stream_decoder()
    (_, failed) = decoder.feed(raw)
    assert isinstance(failed, StreamError)
    assert decoder.feed(raw) == decoder.close() == []
