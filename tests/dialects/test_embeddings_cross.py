"""Every recorded embeddings exchange between every two dialects, and every recorded error in every envelope."""

from __future__ import annotations

from collections import Counter

import orjson
import pytest

from extproc.core.dialect import Ask, Facts
from extproc.core.errors import ErrorKind
from extproc.core.losses import meaning
from extproc.dialects.catalog import DIALECTS
from tests.dialects.cross_embeddings import outcome, pairs
from tests.dialects.embeddings_recorded import answers, exchanges, needs_recordings

pytestmark = needs_recordings
EMBEDDINGS = sorted(name for name, dialect in DIALECTS.items() if dialect.operation == "embeddings")


def test_nothing_is_wrong() -> None:
    kinds: Counter[tuple[str, str]] = Counter()
    for direction, exchange, to in pairs():
        found = outcome(direction, exchange, to)
        assert found.kind != "wrong", f"{direction} {exchange.name} ({exchange.dialect}) to {to}: {found.why}"
        assert all(meaning(code) for code in found.codes), found.codes
        kinds[direction, found.kind] += 1
    assert kinds["request", "exact"] > 200
    assert kinds["answer", "exact"] > 250
    assert kinds["request", "refused"] < 80


def test_same_dialect_is_only_renamed() -> None:
    for exchange in exchanges():
        dialect = DIALECTS[exchange.dialect]
        raw = orjson.dumps(exchange.request)
        ask = Ask("the-alias", form=exchange.form)
        same = dialect.splice_request(raw, exchange.request, Facts(exchange.model, exchange.provider), ask)
        assert same.body == raw
        other = dialect.splice_request(raw, exchange.request, Facts("another-model", exchange.provider), ask)
        changed = other.body.decode() + other.path
        assert "another-model" in changed
        assert changed.replace("another-model", exchange.model) == raw.decode() + same.path
        assert not same.losses
        assert not other.losses


def test_every_answer_is_counted_where_its_provider_counts() -> None:
    uncounted = Counter(exchange.dialect for exchange in answers() if DIALECTS[exchange.dialect].decode_response(exchange.response).usage is None)
    # older Gemini models and Ollama's older path say nothing
    assert uncounted.keys() == {"gemini_embeddings", "ollama_embeddings"}
    assert uncounted["gemini_embeddings"] < 10


@pytest.mark.parametrize("client", EMBEDDINGS)
def test_recorded_errors_in_every_envelope(client: str) -> None:
    wanted = {401: ErrorKind.AUTHENTICATION, 404: ErrorKind.NOT_FOUND, 400: ErrorKind.INVALID_REQUEST}
    failed = [exchange for exchange in exchanges() if exchange.status >= 400]
    assert len(failed) >= 5
    for exchange in failed:
        error = DIALECTS[exchange.dialect].decode_error(exchange.status, exchange.headers, exchange.response)
        assert error.kind is wanted[exchange.status]
        status, body = DIALECTS[client].encode_error(error)
        assert status == exchange.status
        assert error.message in body.decode().replace('\\"', '"')
