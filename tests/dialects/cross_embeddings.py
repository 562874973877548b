"""What becomes of every recorded embeddings exchange between every two dialects.

As with conversations a pair may carry it exactly, carry it with losses that it names, or refuse it for a need that was named before anything was
tried. Everything else is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from extproc.core.dialect import Ask
from extproc.core.embeddings import EmbeddingRequest, is_tokens, text_of
from extproc.core.errors import ApiError, BadRequestError, UntranslatableError
from extproc.core.ir import Text
from extproc.core.losses import Losses
from extproc.dialects.catalog import DIALECTS
from extproc.routing.capabilities import lacking
from extproc.stages import pipes, upstream
from tests.dialects.cross import Outcome
from tests.dialects.embeddings_recorded import Exchange, answers, exchanges
from tests.golden.embeddings import CLIENTS, TARGETS, reply
from tests.validators.embeddings import REQUESTS, numbers, unpacked

_OF_ONE = {("gemini_embeddings", ""), ("ollama_embeddings", "legacy")}


def pairs() -> Iterator[tuple[str, Exchange, str]]:
    """("request" or "answer", exchange, the other side) for all that there is: a target's name, or a client as `dialect form encodings`."""
    for exchange in exchanges():
        for to in TARGETS:
            if to.partition("-")[0] != exchange.dialect:
                yield "request", exchange, to
    for exchange in answers():
        several = len(vectors_of(exchange)) > 1
        for n, (client, form, _) in enumerate(CLIENTS):
            # who has asked for one vector gets one
            if client != exchange.dialect and not (several and (client, form) in _OF_ONE):
                yield "answer", exchange, str(n)


def outcome(direction: str, exchange: Exchange, to: str) -> Outcome:
    return translate_request(exchange, to) if direction == "request" else translate_answer(exchange, int(to))


def label(direction: str, to: str) -> str:
    """The other side, for a table."""
    return to if direction == "request" else " ".join(word for word in (CLIENTS[int(to)][0], CLIENTS[int(to)][1], *CLIENTS[int(to)][2]) if word)


def _carried(losses: list[Any], missing: list[str]) -> Outcome:
    if missing:
        return Outcome("wrong", f"missing without a loss: {missing[:3]}", losses)
    return Outcome("losses" if losses else "exact", losses=losses)


def _said(request: EmbeddingRequest) -> list[Any]:
    """What is to be embedded, and as what, whatever dialect it is written in."""
    out: list[Any] = []
    for one in request.inputs:
        content = one.content
        blocks: Any = content if is_tokens(content) else [content] if isinstance(content, str) else content
        said = [b.text if isinstance(b, Text) else getattr(getattr(b, "source", None), "data", b) for b in blocks]
        out.append({"content": said, "task": one.settings.task, "dimensions": one.settings.dimensions, "title": one.title})
    return out


_EXPLAINED = {"content": ("coerced:content_parts", "coerced:input_type"), "task": ("input_type",), "title": ("dropped:title", "coerced:input_type")}


def _unsaid(source: EmbeddingRequest, result: EmbeddingRequest, losses: list[Any]) -> list[str]:
    before, after = _said(source), _said(result)
    if len(before) != len(after):
        return [f"{len(before)} inputs became {len(after)}"]
    named = " ".join(loss.code for loss in losses)
    return sorted(
        {
            name
            for one, other in zip(before, after, strict=True)
            for name in one
            if one[name] != other[name] and not any(code in named for code in _EXPLAINED.get(name, ()))
        }
    )


def translate_request(exchange: Exchange, to: str) -> Outcome:
    """One recorded request for a target of another dialect."""
    client, target = DIALECTS[exchange.dialect], TARGETS[to]
    dialect = DIALECTS[to.partition("-")[0]]
    missing = lacking(target, client, dialect, client.needs(exchange.request))
    ask = Ask(exchange.model, form=exchange.form)
    try:
        built = upstream.encode(orjson.dumps(exchange.request), exchange.request, client, dialect, target.facts, ask)
    except UntranslatableError as error:
        return Outcome("refused", ",".join(missing)) if missing else Outcome("wrong", f"no need named: {error.message}")
    except BadRequestError as error:
        return Outcome("refused", "bad_request") if exchange.status >= 400 else Outcome("wrong", f"400 for what was a 200: {error.message}")
    except Exception as error:
        return Outcome("wrong", repr(error))
    if missing:
        return Outcome("refused", ",".join(missing))
    try:
        REQUESTS[to](built.body)
    except (AssertionError, ValueError) as error:
        return Outcome("wrong", f"invalid: {error}"[:300], built.losses)
    form = "batch" if "batch" in built.path else ""
    again = dialect.decode_request(orjson.loads(built.body), Ask("m", form=form))
    source = client.decode_request(exchange.request, ask)
    if any(loss.code == "coerced:content_parts" for loss in built.losses):
        texts = [text_of(one.content, Losses()) for one in source.inputs]
        if texts != [one.content for one in again.inputs]:
            return Outcome("wrong", "texts differ", built.losses)
    return _carried(built.losses, _unsaid(source, again, built.losses))


def vectors_of(exchange: Exchange) -> list[list[float]]:
    """The numbers of a recorded answer, read without our code."""
    answer = orjson.loads(exchange.response)
    match exchange.dialect:
        case "openai_embeddings":
            values = [one["embedding"] for one in answer["data"]]
            return [unpacked(one) if isinstance(one, str) else one for one in values]
        case "cohere_embeddings":
            return answer["embeddings"]["float"]  # type: ignore[no-any-return]
        case "gemini_embeddings":
            return [one["values"] for one in answer["embeddings"]]
        case "vertex_embeddings":
            return [one["embeddings"]["values"] for one in answer["predictions"]]
        case _:
            return [answer["embedding"]]


def translate_answer(exchange: Exchange, to: int) -> Outcome:
    """One recorded answer for a client of another dialect, read by its SDK."""
    client, form, encodings = CLIENTS[to]
    wanted = vectors_of(exchange)
    try:
        body, _, seen = pipes.translate_whole(exchange.response, DIALECTS[client], DIALECTS[exchange.dialect], reply(form, encodings), stream=False)
    except ApiError as error:
        return Outcome("wrong", repr(error))
    for encoding in encodings or ("float",):
        got = numbers(body, client, form=form, encoding=encoding)
        # base64 holds 32 bits: what was longer is rounded, nothing else may change
        same = got == wanted if encoding != "base64" else all(map(_rounded, wanted, got))
        if not same:
            return Outcome("wrong", f"other numbers as {encoding}", seen.losses)
    before, after = seen.usage, DIALECTS[client].decode_response(body).usage
    codes = {loss.code for loss in seen.losses}
    if before is not None and form != "legacy" and before != after:
        return Outcome("wrong", f"usage {before} became {after}", seen.losses)
    if before is None and after is not None and "defaulted:usage" not in codes:
        return Outcome("wrong", "usage out of nothing", seen.losses)
    return _carried(seen.losses, [])


def _rounded(wanted: list[float], got: list[float]) -> bool:
    return len(wanted) == len(got) and all(abs(a - b) <= abs(a) * 2**-24 for a, b in zip(wanted, got, strict=True))
