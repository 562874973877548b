"""Every recorded request of every dialect, as the vendors of Chat Completions would get it: valid there, or refused for a need that was named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from extproc.core.dialect import NO_ASK, Ask
from extproc.core.errors import BadRequestError, UntranslatableError
from extproc.dialects.catalog import DIALECTS
from extproc.providers.kinds import KINDS, chat
from extproc.providers.vendors import LACKS
from extproc.registry.types import Provider, Target
from extproc.routing.capabilities import lacking
from extproc.stages import upstream
from tests.dialects.chat_recorded import needs_recordings
from tests.dialects.cross import _REDACTED, Exchange, exchanges
from tests.dialects.vendors import CHAT, MODELS, facts
from tests.validators.openai_types import check_chat_request
from tests.validators.vendor_types import VENDORS

pytestmark = needs_recordings


def target(kind: str) -> Target:
    """As the registry makes it."""
    provider = Provider(kind, replace(KINDS[kind], speaks=chat("openai_chat")), "https", "h", 443, "", (), quirks=KINDS[kind].quirks)
    lacks = {need: False for quirk, need in LACKS.items() if quirk in provider.quirks}
    return Target(kind, provider, MODELS[kind], facts(kind), lacks)


def is_openais(body: Any) -> bool:
    """Does the published format of OpenAI allow the request? What a client says beside it is its own affair."""
    try:
        check_chat_request(_REDACTED.sub(b'"c2ln"', orjson.dumps(body)))
    except ValueError:
        return False
    return True


def sent(exchange: Exchange, to: Target) -> bytes | None:
    """What the vendor gets; None for what is refused with a reason."""
    client = DIALECTS[exchange.dialect]
    missing = lacking(to, client, CHAT, client.needs(exchange.request))
    raw = orjson.dumps(exchange.request)
    try:
        if exchange.dialect == "openai_chat":
            built = CHAT.splice_request(raw, exchange.request, to.facts, NO_ASK)
        else:
            built = upstream.encode(raw, exchange.request, client, CHAT, to.facts, Ask(exchange.model, exchange.stream))
    except UntranslatableError:
        assert missing, f"{exchange.name}: no need named"
        return None
    except BadRequestError:
        assert exchange.status >= 400 or missing, exchange.name
        return None
    return None if missing else _REDACTED.sub(b'"c2ln"', built.body)


@pytest.mark.parametrize("kind", VENDORS)
def test_what_a_vendor_gets_is_valid_there(kind: str) -> None:
    to, judged = target(kind), 0
    for exchange in exchanges():
        body = sent(exchange, to)
        if body is None or (exchange.dialect == "openai_chat" and not is_openais(exchange.request)):
            continue
        try:
            VENDORS[kind](body)
        except (ValueError, AssertionError) as error:
            raise AssertionError(f"{exchange.dialect} {exchange.name}: {error}"[:600]) from None
        judged += 1
    assert judged > 700


def test_the_vendors_own_requests_pass_untouched() -> None:
    """A client that names the vendor's model gets its bytes through, a limit under its other name and an unasked usage chunk apart."""
    same = 0
    for exchange in exchanges():
        if exchange.dialect != "openai_chat" or exchange.provider not in ("mistral", "groq", "xai", "together", "deepseek", "openrouter"):
            continue
        raw = orjson.dumps(exchange.request)
        built = CHAT.splice_request(raw, exchange.request, facts(exchange.provider, exchange.model), NO_ASK)
        result = orjson.loads(built.body)
        if "stream_options" not in exchange.request:
            result.pop("stream_options", None)
        for body in (result, source := orjson.loads(raw)):
            if "max_completion_tokens" in body:
                body["max_tokens"] = body.pop("max_completion_tokens")
        changed = {name for name in source.keys() | result.keys() if source.get(name) != result.get(name)}
        assert not changed or built.losses or changed == {"messages"}, exchange.name
        same += not changed
    assert same > 200
