"""Every recorded exchange through decode and encode: nothing raises, nothing is lost that no loss names, nothing is invented."""

import re
from collections.abc import Iterable

import orjson
import pytest
from google.genai import types

from extproc.core.dialect import Facts, Reply
from extproc.core.errors import ErrorKind
from extproc.core.ir import End, Loss, ToolCall
from extproc.dialects.gemini import GEMINI
from tests.dialects.gemini_traffic import (
    Exchange,
    chunks_of,
    exchanges,
    missing,
    needs_recordings,
    normal_answer,
    normal_request,
    normal_stream,
)
from tests.validators.gemini_discovery import check_request

pytestmark = needs_recordings


_REDACTED = re.compile(rb'"[^"]*REDACTED[^"]*"')
"""Signatures that the recordings cut short: no longer base64."""


def _unnamed(paths: Iterable[str], losses: list[Loss]) -> list[str]:
    """The paths whose last member no loss names, in its code (as snake_case too) or its detail."""
    said = " ".join(f"{loss.code} {loss.detail}" for loss in losses)
    out = []
    for path in paths:
        name = re.findall(r"[A-Za-z]+", path)[-1]
        snake = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        if name not in said and snake not in said and not (name == "logprobsResult" and "dropped:logprobs" in said):
            out.append(path)
    return out


def test_there_is_traffic() -> None:
    assert len(exchanges()) == 398
    assert sum(e.stream for e in exchanges()) == 47


def _ids(exchange: Exchange) -> str:
    return exchange.name


@pytest.mark.parametrize("exchange", exchanges(), ids=_ids)
def test_request_round_trip(exchange: Exchange) -> None:
    body = orjson.loads(exchange.request)
    request = GEMINI.decode_request(body)
    encoded = GEMINI.encode_request(request, Facts(exchange.model, "gemini"))
    again = orjson.loads(encoded.body)
    source = normal_request(body)
    losses = request.losses + encoded.losses
    texts = [{"text": ""}]
    if source.get("systemInstruction", {}).get("parts") == texts:
        assert "dropped:empty_text" in {loss.code for loss in losses}
        del source["systemInstruction"]
    assert _unnamed(missing(source, normal_request(again)), losses) == []
    assert _unnamed(missing(normal_request(again), source), losses) == []
    check_request(_REDACTED.sub(b'"c2ln"', encoded.body))


@pytest.mark.parametrize("exchange", exchanges(), ids=_ids)
def test_second_pass_changes_nothing(exchange: Exchange) -> None:
    facts = Facts(exchange.model, "gemini")
    once = GEMINI.encode_request(GEMINI.decode_request(orjson.loads(exchange.request)), facts).body
    assert GEMINI.encode_request(GEMINI.decode_request(orjson.loads(once)), facts).body == once


@pytest.mark.parametrize("exchange", [e for e in exchanges() if not e.stream and e.status == 200], ids=_ids)
def test_answer_round_trip(exchange: Exchange) -> None:
    response = GEMINI.decode_response(exchange.response)
    raw, losses = GEMINI.encode_response(response, Reply("unused", 0, response.model))
    types.GenerateContentResponse.model_validate(orjson.loads(_REDACTED.sub(b'"c2ln"', raw)))
    source, again = normal_answer(orjson.loads(exchange.response)), normal_answer(orjson.loads(raw))
    for candidate in (source.get("candidate", {}), again.get("candidate", {})):
        for n, part in enumerate(candidate.get("parts", [])):
            if "functionCall" in part and "id" not in orjson.loads(exchange.response)["candidates"][0]["content"]["parts"][n]["functionCall"]:
                part["functionCall"].pop("id", None)  # clients get one that Gemini did not give
    losses = response.losses + losses
    assert _unnamed(missing(source, again), losses) == []
    assert _unnamed(missing(again, source), losses) == []
    ids = [b.id for b in response.blocks if isinstance(b, ToolCall)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", i) for i in ids)


@pytest.mark.parametrize("exchange", [e for e in exchanges() if e.stream and e.status == 200], ids=_ids)
def test_stream_round_trip(exchange: Exchange) -> None:
    decoder = GEMINI.stream_decoder()
    events = decoder.feed(exchange.response) + decoder.close()
    assert events[-1] == End()
    encoder = GEMINI.stream_encoder(Reply("unused", 0, "shown"))
    out = b"".join(encoder.encode(event) for event in events)
    for chunk in chunks_of(_REDACTED.sub(b'"c2ln"', out)):
        types.GenerateContentResponse.model_validate(chunk)
    source, again = normal_stream(chunks_of(exchange.response)), normal_stream(chunks_of(out))
    for n, part in enumerate(source["parts"]):
        if "functionCall" in part and "id" not in part["functionCall"]:
            again["parts"][n]["functionCall"].pop("id")
    assert again == source
    assert [loss.code for loss in encoder.losses] == []
    citations = any(k in c for chunk in chunks_of(exchange.response) for c in chunk.get("candidates", []) for k in ("groundingMetadata",))
    assert ("dropped:citations" in {loss.code for loss in decoder.losses}) == citations


def test_errors() -> None:
    found = {e.name: GEMINI.decode_error(e.status, {}, e.response) for e in exchanges() if e.status != 200}
    assert sorted((error.kind, error.retry_after) for error in found.values()) == [
        (ErrorKind.INVALID_REQUEST, None),
        (ErrorKind.INVALID_REQUEST, None),
        (ErrorKind.RATE_LIMITED, 48.0),
    ]
