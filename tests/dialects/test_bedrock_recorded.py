"""What was recorded at Bedrock, decoded and encoded again: nothing gets lost on the way through our own types, and errors are understood."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest

from extproc.core.dialect import Ask, Reply
from extproc.core.errors import ErrorKind
from extproc.core.ir import StreamError
from extproc.dialects.bedrock_converse import BedrockConverse
from extproc.dialects.bedrock_converse.families import family
from tests.dialects.anthropic_recorded import differences
from tests.dialects.bedrock_recorded import Recorded, converse, needs_recordings
from tests.validators.bedrock_service import check_converse_answer, check_converse_request, check_converse_stream, fold_converse

pytestmark = needs_recordings
DIALECT = BedrockConverse()
REPLY = Reply("id", 1, "shown")


def by_name(exchange: Recorded) -> str:
    return exchange.name


SOUND = [e for e in converse() if e.status == 200]


def normal_request(body: dict[str, Any], losses: set[str], exchange: Recorded) -> dict[str, Any]:
    """One form for what says the same; changes that `losses` reports are made here too, each by its own rule."""
    out: dict[str, Any] = copy.deepcopy({k: v for k, v in body.items() if v not in ({}, [])})
    if out.get("inferenceConfig", {}).get("stopSequences") == []:
        del out["inferenceConfig"]["stopSequences"]
    messages: list[dict[str, Any]] = []
    for message in out["messages"]:
        content = [block for block in message["content"] if "text" not in block or block["text"].strip()]
        for block in content:
            inner = block.get("toolResult", {})
            if inner.get("status") == "success":
                del inner["status"]
            for part in inner.get("content", ()):
                if "json" in part:
                    part["text"] = orjson.dumps(part.pop("json")).decode()
            if "dropped:guard_content" in losses and "guardContent" in block:
                block["text"] = block.pop("guardContent")["text"]["text"]
            if "video" in block and block["video"]["format"] == "video/mp4":
                block["video"]["format"] = "mp4"
        if messages and messages[-1]["role"] == message["role"]:
            messages[-1]["content"] += content
        else:
            messages.append({"role": message["role"], "content": content})
    out["messages"] = messages
    for tool in out.get("toolConfig", {}).get("tools", ()):
        if tool.get("toolSpec", {}).get("strict") is False:
            del tool["toolSpec"]["strict"]
    schema = out.get("outputConfig", {}).get("textFormat", {}).get("structure", {}).get("jsonSchema")
    if schema:
        schema["schema"] = orjson.loads(schema["schema"])
    if family(exchange.model, exchange.facts.vendor).choices == frozenset():
        out.get("toolConfig", {}).pop("toolChoice", None)
    return {k: v for k, v in out.items() if v not in ({}, [])}


MAY_DIFFER = {
    "coerced:first_turn": ".messages",
    "coerced:turn_order": ".messages",
    "coerced:tool_result_media": ".messages",
    "coerced:tool_result_empty": ".messages",
    "coerced:prefill": ".messages",
    "coerced:document_title": ".messages",
    "coerced:json_schema": ".outputConfig",
    "coerced:response_format": (".outputConfig", ".system"),
    "coerced:tool_schema": ".toolConfig",
    "dropped:strict": ".toolConfig",
    "dropped:cache_control": (".messages", ".system", ".toolConfig"),
    "coerced:cache_lifetime": ".messages",
    "dropped:thinking": ".messages",
    "dropped:document_citations": ".messages",
    "dropped:top_p": ".inferenceConfig",
    "dropped:tool_choice": ".toolConfig",
    "coerced:system_position": (".messages", ".system"),
    "defaulted:max_tokens": ".inferenceConfig",
    "defaulted:tools": ".toolConfig",
    "coerced:tool_choice": (".toolConfig", ".system"),
    "coerced:thinking_budget": ".additionalModelRequestFields",
    "dropped:stop": ".inferenceConfig",
    "dropped:reasoning": ".additionalModelRequestFields",
}
"""Where a body may be another one, by the loss that says so."""
OURS = (".additionalModelResponseFieldPaths",)
"""What the encoder asks for and the client need not."""


@pytest.mark.parametrize("exchange", converse(), ids=by_name)
def test_requests_come_through(exchange: Recorded) -> None:
    """Decoded and encoded for the model that they were sent to."""
    request = DIALECT.decode_request(exchange.request, Ask(exchange.model, exchange.stream))
    encoded = DIALECT.encode_request(request, exchange.facts)
    check_converse_request(encoded.body)
    assert encoded.path.endswith("/converse-stream" if exchange.stream else "/converse")
    losses = {loss.code for loss in [*request.losses, *encoded.losses]}
    before, after = (normal_request(body, losses, exchange) for body in (exchange.request, orjson.loads(encoded.body)))
    places = [place for code in losses for place in ([MAY_DIFFER[code]] if isinstance(MAY_DIFFER.get(code), str) else MAY_DIFFER.get(code, ()))]
    left = [path for path in differences(before, after) if not path.startswith((*places, *OURS))]
    assert not left, (left[:5], losses)


def test_most_come_through_without_a_loss() -> None:
    exact = sum(not DIALECT.encode_request(DIALECT.decode_request(e.request, Ask(e.model)), e.facts).losses for e in converse())
    assert exact > 150


@pytest.mark.parametrize("exchange", converse(), ids=by_name)
def test_requests_of_a_bedrock_client_pass_byte_for_byte(exchange: Recorded) -> None:
    raw = orjson.dumps(exchange.request)
    encoded = DIALECT.splice_request(raw, exchange.request, exchange.facts, Ask("alias", exchange.stream))
    assert encoded.body == raw
    assert not encoded.losses


def normal_answer(answer: dict[str, Any]) -> dict[str, Any]:
    counts = ("inputTokens", "outputTokens", "totalTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
    content = [copy.deepcopy(block) for block in answer["output"]["message"]["content"] if block != {"text": ""}]
    for block in content:
        if block.get("toolUse", {}).get("type") == "tool_use":
            del block["toolUse"]["type"]
        if "citations" in block:  # of a folded stream
            del block["citations"]
    return {"content": content, "stop": answer["stopReason"], "usage": {name: answer["usage"].get(name) or 0 for name in counts}}


@pytest.mark.parametrize("exchange", SOUND, ids=by_name)
def test_answers_come_through(exchange: Recorded) -> None:
    given = fold_converse(exchange.response) if exchange.stream else orjson.loads(exchange.response)
    response = DIALECT.decode_response(orjson.dumps(given))
    body, losses = DIALECT.encode_response(response, REPLY)
    assert not losses
    if not any("type" in block.get("toolResult", {}) or "type" in block.get("toolUse", {}) for block in given["output"]["message"]["content"]):
        check_converse_answer(body)
    before, after = normal_answer(given), normal_answer(orjson.loads(body))
    assert list(differences(before, after)) == []
    usage = given["usage"]
    assert response.usage is not None
    assert response.usage.total == usage["totalTokens"] or "cacheReadInputTokens" not in usage


@pytest.mark.parametrize("exchange", [e for e in SOUND if e.stream], ids=by_name)
def test_streams_come_through_in_any_pieces(exchange: Recorded) -> None:
    whole = None
    for size in (1, 7, 1000):
        decoder, encoder = DIALECT.stream_decoder(), DIALECT.stream_encoder(REPLY)
        out = b"".join(
            encoder.encode(one) for at in range(0, len(exchange.response), size) for one in decoder.feed(exchange.response[at : at + size])
        )
        out += b"".join(encoder.encode(one) for one in decoder.close())
        assert whole in (None, out)
        whole = out
        assert {loss.code for loss in [*decoder.losses, *encoder.losses]} <= {"dropped:citations"}
    folded = check_converse_stream(whole or b"")
    assert folded is not None
    assert list(differences(normal_answer(fold_converse(exchange.response)), normal_answer(folded))) == []


@pytest.mark.parametrize("exchange", [e for e in SOUND if e.stream], ids=by_name)
def test_a_stream_cut_anywhere_never_finishes(exchange: Recorded) -> None:
    for cut in range(0, len(exchange.response) - 1, max(len(exchange.response) // 23, 1)):
        observer = DIALECT.stream_observer(hide_usage=False)
        assert observer.feed(exchange.response[:cut]) == exchange.response[:cut]
        observer.close()
        assert observer.finish is None or observer.ended or observer.error is not None


@pytest.mark.parametrize("exchange", [e for e in converse() if e.status >= 400], ids=by_name)
def test_errors_are_understood(exchange: Recorded) -> None:
    error = DIALECT.decode_error(exchange.status, exchange.headers, exchange.response)
    said = orjson.loads(exchange.response)["message"]
    wanted = ErrorKind.INVALID_REQUEST
    if "model identifier" in said:
        wanted = ErrorKind.NOT_FOUND
    elif "Tokens Exceeded" in said:
        wanted = ErrorKind.CONTEXT_LENGTH
    elif "security token" in said:
        wanted = ErrorKind.AUTHENTICATION
    assert (error.kind, error.status, error.message) == (wanted, exchange.status, said)
    decoder = DIALECT.stream_decoder()
    assert isinstance(decoder.feed(exchange.response)[-1], StreamError)  # an error page where a stream should be
