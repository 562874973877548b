"""Recorded requests of other dialects, translated to Gemini: strictly valid, or refused for a reason that was known before."""

import functools
import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from extproc.core.dialect import Facts, Need
from extproc.core.errors import BadRequestError, UntranslatableError
from extproc.dialects.catalog import DIALECTS
from tests.dialects.gemini_traffic import needs_recordings
from tests.validators.gemini_discovery import check_request

pytestmark = needs_recordings

_FOLDER = Path(__file__).parents[3] / "shared" / "recordings"
_SOURCES = {"openai_chat": ("openai", "groq", "mistral", "deepseek", "xai", "azure"), "anthropic_messages": ("anthropic",)}
_OWN_ONLY = {Need.CHOICES, Need.FILE_ID, Need.SERVER_TOOLS}
_REDACTED = re.compile(rb'"[^"]*REDACTED[^"]*"')


@functools.cache
def _requests(dialect: str) -> list[dict[str, Any]]:
    def read() -> Iterator[dict[str, Any]]:
        for provider in _SOURCES[dialect]:
            with gzip.open(_FOLDER / f"{provider}.jsonl.gz") as lines:
                for line in lines:
                    body = orjson.loads(line)["request_body"]
                    try:
                        body = orjson.loads(body) if isinstance(body, str) else body
                    except orjson.JSONDecodeError:
                        continue
                    if isinstance(body, dict) and body.get("messages"):
                        yield body

    return list(read())


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-3-flash-preview"])
@pytest.mark.parametrize("dialect", sorted(_SOURCES))
def test_valid_or_known_to_be_impossible(dialect: str, model: str) -> None:
    client, gemini = DIALECTS[dialect], DIALECTS["gemini"]
    valid = 0
    for body in _requests(dialect):
        needs = client.needs(body)
        try:
            encoded = gemini.encode_request(client.decode_request(body), Facts(model, "gemini"))
        except BadRequestError:
            continue
        except UntranslatableError as error:
            if not needs & _OWN_ONLY and needs <= gemini.carries:
                pytest.fail(f"{error.message}: not among {sorted(needs)}")
            continue
        check_request(_REDACTED.sub(b'"c2ln"', encoded.body))
        valid += 1
    assert valid > len(_requests(dialect)) * 0.7
