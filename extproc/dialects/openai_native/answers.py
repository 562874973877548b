"""What a whole answer says that the books and a verdict need: an error in place of it, its id, its model, its token counts."""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from extproc.core import openai_errors
from extproc.core.errors import UpstreamFormatError
from extproc.core.ir import JSON, FinishReason, Loss
from extproc.core.usage import Usage

_FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH, "content_filter": FinishReason.CONTENT_FILTER}


@dataclass(slots=True)
class NativeResponse:
    """An `AnyResponse`: what there is of it."""

    id: str = ""
    model: str = ""
    usage: Usage | None = None
    finish: FinishReason | None = None
    losses: list[Loss] = field(default_factory=list)


def read(body: bytes, *, anything: bool) -> NativeResponse:
    """Raises `ApiError` for an error under a 2xx status and `UpstreamFormatError` for what is no JSON object; with `anything`, for web pages."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        if anything and body and not body[:64].lstrip().lower().startswith((b"<!doctype", b"<html")):
            return NativeResponse()
        raise UpstreamFormatError("the provider's answer is not what it was asked for") from None
    if not isinstance(answer, dict):
        if anything:
            return NativeResponse()
        raise UpstreamFormatError("the provider's answer is not a JSON object")
    if answer.get("error") is not None:
        raise openai_errors.decode_error_object(answer["error"])
    said = NativeResponse(text(answer.get("id")), text(answer.get("model")), usage(answer.get("usage")))
    choices = answer.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        said.finish = finish(choices[0].get("finish_reason"))
    return said


def text(value: JSON) -> str:
    """`value` if it is one."""
    return value if isinstance(value, str) else ""


def finish(word: JSON) -> FinishReason | None:
    """The reason that a completion's `finish_reason` stands for; None for no reason."""
    return (_FINISH.get(word) or FinishReason.OTHER) if isinstance(word, str) and word else None


def usage(raw: JSON) -> Usage | None:
    """Token counts by either pair of names; None where there are none (a transcription can be counted in seconds)."""
    if not isinstance(raw, dict):
        return None
    for sent, given in (("input_tokens", "output_tokens"), ("prompt_tokens", "completion_tokens")):
        if isinstance(raw.get(sent), int):
            details = raw.get("prompt_tokens_details")
            cached = details.get("cached_tokens") if isinstance(details, dict) else 0
            counts = [value if isinstance(value, int) and value > 0 else 0 for value in (raw.get(sent), raw.get(given), cached)]
            return Usage(counts[0], counts[1], cache_read=min(counts[2], counts[0]))
    return None
