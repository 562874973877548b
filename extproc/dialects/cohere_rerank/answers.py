"""What rerank answers of all versions have in common: `results` of `index` and `relevance_score`, with or without the document.

Cohere counts search units in `meta`, the others tokens in `usage`. Servers of text-embeddings-inference's shape answer a bare list with `score`.
"""

from __future__ import annotations

import orjson

from extproc.core.errors import UpstreamFormatError
from extproc.core.ir import JSON
from extproc.core.rerank import Item, RerankResponse, RerankResult
from extproc.core.unstreamed import ErrorFormat
from extproc.core.usage import Usage


def decode_response(body: bytes, errors: ErrorFormat) -> RerankResponse:
    """Raises `ApiError` for an error body under a 2xx status, `UpstreamFormatError` if it is not this format."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UpstreamFormatError("the provider's answer is not JSON") from None
    results = parsed.get("results", parsed.get("data")) if isinstance(parsed, dict) else parsed
    if not isinstance(results, list):
        if isinstance(parsed, dict) and parsed.keys() & {"error", "message", "detail"}:
            raise errors.decode_error(200, {}, body)
        raise UpstreamFormatError("the provider's answer holds no results")
    answer = parsed if isinstance(parsed, dict) else {}
    ident, model = answer.get("id"), answer.get("model")
    return RerankResponse(
        ident if isinstance(ident, str) else "",
        model if isinstance(model, str) else "",
        [_result(result) for result in results],
        _usage(answer),
        _count(_inside(answer, "meta", "billed_units"), "search_units"),
    )


def _result(result: JSON) -> RerankResult:
    index = result.get("index") if isinstance(result, dict) else None
    score = result.get("relevance_score", result.get("score")) if isinstance(result, dict) else None
    if not isinstance(index, int) or isinstance(score, bool) or not isinstance(score, int | float):
        raise UpstreamFormatError("the provider's answer holds a malformed result")
    return RerankResult(index, float(score), _document(result.get("document", result.get("text"))))


def _document(document: JSON) -> Item | None:
    """The document, without members that are null (vLLM's `multi_modal`)."""
    if isinstance(document, dict):
        kept = {name: value for name, value in document.items() if value is not None}
        return kept or None
    return document if isinstance(document, str) else None


def _inside(answer: dict[str, JSON], *names: str) -> JSON:
    value: JSON = answer
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _count(counts: JSON, name: str) -> int | None:
    value = counts.get(name) if isinstance(counts, dict) else None
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1 << 53 else None


def _usage(answer: dict[str, JSON]) -> Usage | None:
    usage = answer.get("usage")
    tokens = _count(usage, "total_tokens") or _count(usage, "prompt_tokens") or _count(_inside(answer, "meta", "tokens"), "input_tokens")
    return None if tokens is None else Usage(tokens)


def encode_results(response: RerankResponse, *, documents: bool) -> list[JSON]:
    """`results`, with the documents where they are wanted and known."""
    out: list[JSON] = []
    for result in response.results:
        one: dict[str, JSON] = {"index": result.index, "relevance_score": result.score}
        if documents and result.document is not None:
            one["document"] = {"text": result.document} if isinstance(result.document, str) else result.document
        out.append(one)
    return out


def encode_usage(usage: Usage) -> dict[str, int]:
    """`usage` as Jina and vLLM count."""
    return {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens}
