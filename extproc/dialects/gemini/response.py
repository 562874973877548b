"""Gemini's whole answers, both ways, and the mapping of one answer part that streams share.

An answer is the first candidate's parts; `STOP` with function calls means that tools are wanted; a blocked prompt has no candidate at all, only
`promptFeedback`, and is an answer with finish CONTENT_FILTER. Grounding and citations belong to the candidate: they ride on its last text.
What only describes the call (`avgLogprobs`, `safetyRatings`, token counts by modality, `createTime`, a finish message of a normal end) is read
where it means something to us and not carried otherwise.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson

from extproc.core.dialect import Reply
from extproc.core.errors import UpstreamFormatError
from extproc.core.ir import (
    JSON,
    Audio,
    Block,
    Document,
    FinishReason,
    Foreign,
    Image,
    Loss,
    Opaque,
    Refusal,
    Response,
    Text,
    Thinking,
    ToolCall,
    Video,
)
from extproc.core.losses import Losses
from extproc.dialects.gemini.errors import error_of
from extproc.dialects.gemini.signature import Carried
from extproc.dialects.gemini.wire import (
    BLOCK_REASONS,
    BLOCKED,
    FINISH,
    FINISH_OUT,
    NAME,
    VENDOR,
    arguments,
    block_name,
    digest,
    finish_name,
    media_block,
    media_part,
    original_name,
    raw_json,
    synthetic_id,
    usage_in,
    usage_out,
)

CANDIDATE_CITATIONS = ("groundingMetadata", "citationMetadata", "urlContextMetadata")


def member(value: JSON, what: str) -> dict[str, Any]:
    """An object, or nothing. Raises `UpstreamFormatError`."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UpstreamFormatError(f"{what} is not an object")
    return value


def members(value: JSON, what: str) -> list[dict[str, Any]]:
    """A list of objects, or nothing. Raises `UpstreamFormatError`."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise UpstreamFormatError(f"{what} is not a list")
    for item in value:
        if not isinstance(item, dict):
            return [member(item, what) for item in value]
    return value


def text_of(value: JSON) -> str:
    """A string, or "" for anything else."""
    return value if isinstance(value, str) else ""


def created_of(value: JSON) -> int | None:
    """Unix seconds of `createTime` (RFC 3339)."""
    try:
        return int(datetime.fromisoformat(value).timestamp()) if isinstance(value, str) and value.endswith("Z") else None
    except (ValueError, OverflowError):
        return None


def first_candidate(answer: dict[str, Any], losses: Losses) -> dict[str, Any]:
    """The candidate with index 0; an answer of other candidates only has none here."""
    candidates = members(answer.get("candidates"), "candidates")
    if len(candidates) == 1 and candidates[0].get("index") in (None, 0):
        return candidates[0]
    first = next((c for c in candidates if c.get("index") in (None, 0)), None)
    if len(candidates) > (first is not None):
        losses.add("dropped:choices", "only the first candidate is kept")
    return first or {}


def signature_of(part: dict[str, Any]) -> Opaque | None:
    """The part's `thoughtSignature`."""
    signature = part.get("thoughtSignature")
    return Opaque(VENDOR, signature) if isinstance(signature, str) and signature else None


def block_of(part: dict[str, Any], seed: str, calls: int, losses: Losses) -> Block | None:
    """One answer part; None for an empty one. `seed` and `calls` (function calls before it) make the id of a call that has none."""
    opaque = signature_of(part)
    text = part.get("text")
    if isinstance(text, str) or (part.get("thought") is True and len(part) <= 2):
        text = text if isinstance(text, str) else ""
        if not text and opaque is None:
            return None
        return Thinking(text, opaque) if part.get("thought") is True else Text(text, opaque=opaque)
    if "functionCall" in part:
        call = member(part["functionCall"], "functionCall")
        for name in ("partialArgs", "willContinue"):
            if call.get(name):
                losses.member(name, "functionCall")
        args = call.get("args")
        call_id = call.get("id")
        return ToolCall(
            call_id if isinstance(call_id, str) and call_id else synthetic_id(seed, calls),
            original_name(text_of(call.get("name"))),
            "" if args is None else raw_json(args, UpstreamFormatError),
            opaque,
        )
    for kind in ("inlineData", "fileData"):
        if kind in part:
            media = member(part[kind], kind)
            if opaque is not None:
                losses.member("thoughtSignature", kind)
            uri = text_of(media.get("fileUri")) if kind == "fileData" else None
            block = media_block(text_of(media.get("mimeType")) or None, text_of(media.get("data")), uri)
            return block if isinstance(block, Image | Audio) else Foreign(NAME, kind, part)
    if "text" in part or not part:
        return None
    if part.keys() == {"thoughtSignature"}:
        return Text("", opaque=opaque)
    return Foreign(NAME, next(name for name in part if name != "thoughtSignature"), part)


def finish_of(candidate: dict[str, Any], *, has_calls: bool) -> tuple[FinishReason, str | None]:
    """(reason, detail). The detail starts with Gemini's own word for an unusual end, so that it can be written back."""
    name = finish_name(candidate.get("finishReason"))
    reason = FINISH.get(name, FinishReason.OTHER)
    if name == "STOP":
        return (FinishReason.TOOL_CALLS if has_calls else reason), None
    if name == "MAX_TOKENS":
        return reason, None
    message = text_of(candidate.get("finishMessage"))
    return reason, f"{name}: {message}" if message else name


def blocked_of(answer: dict[str, Any]) -> str | None:
    """The finish detail of an answer whose prompt was blocked; None if it was not."""
    feedback = member(answer.get("promptFeedback"), "promptFeedback")
    if feedback.get("blockReason") is None:
        return None
    message = text_of(feedback.get("blockReasonMessage"))
    return f"{BLOCKED} {block_name(feedback['blockReason'])}" + (f": {message}" if message else "")


def lost_metadata(candidate: dict[str, Any], losses: Losses) -> None:
    """Reports what a candidate says beside its content that has no place."""
    if candidate.get("logprobsResult") is not None:
        losses.add("dropped:logprobs", "log probabilities are not carried")
    if candidate.get("continuationToken") is not None:
        losses.member("continuationToken", "candidate")


def parse(body: bytes) -> dict[str, Any]:
    """The answer as an object. Raises `ApiError` for an error envelope, `UpstreamFormatError` for anything else."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UpstreamFormatError("the provider's answer is not JSON") from None
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if not isinstance(answer, dict):
        raise UpstreamFormatError("the provider's answer is not an object")
    error = answer.get("error")
    if isinstance(error, dict):
        raise error_of(error, 200)
    if not answer.keys() & {"candidates", "promptFeedback", "usageMetadata", "responseId"}:
        raise UpstreamFormatError("the provider's answer is not a Gemini response")
    return answer


def decode_response(body: bytes) -> Response:
    """Raises `ApiError` for an error body under a 2xx status, `UpstreamFormatError` if it is not this dialect."""
    answer = parse(body)
    losses = Losses()
    seed = text_of(answer.get("responseId"))
    candidate = first_candidate(answer, losses)
    content = member(candidate.get("content"), "content")
    blocks: list[Block] = []
    calls = 0
    for part in members(content.get("parts"), "parts"):
        if not seed and "functionCall" in part:
            seed = digest(body)
        block = block_of(part, seed, calls, losses)
        if block is not None:
            calls += isinstance(block, ToolCall)
            blocks.append(block)
    lost_metadata(candidate, losses)
    citations = {name: candidate[name] for name in CANDIDATE_CITATIONS if candidate.get(name) is not None}
    if citations:
        last = next((b for b in reversed(blocks) if isinstance(b, Text)), None)
        if last is None:
            losses.add("dropped:citations", "there is no text that they could belong to")
        else:
            last.citations, last.citations_from = [citations], NAME
    blocked = blocked_of(answer)
    finish, detail = finish_of(candidate, has_calls=calls > 0)
    if blocked is not None and not blocks:
        finish, detail = FinishReason.CONTENT_FILTER, blocked
    return Response(
        id=text_of(answer.get("responseId")),
        model=text_of(answer.get("modelVersion")),
        blocks=blocks,
        finish=finish,
        usage=usage_in(member(answer.get("usageMetadata"), "usageMetadata")),
        created=created_of(answer.get("createTime")),
        finish_detail=detail,
        losses=losses,
    )


def answer_part(block: Block, carried: Carried, losses: Losses) -> dict[str, Any] | None:
    """One part for a client; None where Gemini has no word for the block, or shows nothing of it."""
    if isinstance(block, Text):
        return _signed({"text": block.text}, carried.text(block.opaque))
    if isinstance(block, Refusal):
        losses.add("coerced:refusal", "a refusal was sent as text")
        return {"text": block.text}
    if isinstance(block, Thinking):
        if block.opaque is not None and block.opaque.vendor != VENDOR:
            carried.wait(block)
            return {"text": block.text, "thought": True} if block.text else None
        return _signed({"text": block.text, "thought": True}, carried.text(block.opaque))
    if isinstance(block, ToolCall):
        call = {"id": block.id, "name": block.name, "args": arguments(block.arguments, losses)}
        return _signed({"functionCall": call}, carried.call(block))
    if isinstance(block, Image | Document | Audio | Video):
        return media_part(block, losses)
    if isinstance(block, Foreign) and block.dialect == NAME:
        return dict(block.raw)
    kind = block.kind if isinstance(block, Foreign) else type(block).__name__
    losses.add("dropped:foreign_block", f"Gemini has no {kind[:64]} parts")
    return None


def _signed(part: dict[str, Any], slot: str) -> dict[str, Any]:
    if slot:
        part["thoughtSignature"] = slot
    return part


def finish_members(finish: FinishReason, detail: str | None) -> dict[str, str]:
    """`finishReason` and `finishMessage` of a candidate."""
    word, _, message = (detail or "").partition(": ")
    if word != "STOP" and FINISH.get(word) is finish:
        return {"finishReason": word, "finishMessage": message} if message else {"finishReason": word}
    out = {"finishReason": FINISH_OUT[finish]}
    if detail:
        out["finishMessage"] = detail
    return out


def prompt_feedback(detail: str | None) -> dict[str, str] | None:
    """`promptFeedback` of an answer whose prompt Gemini blocked; None for every other detail."""
    head, _, message = (detail or "").partition(": ")
    word, _, reason = head.partition(" ")
    if word != BLOCKED or reason not in BLOCK_REASONS:
        return None
    return {"blockReason": reason, "blockReasonMessage": message} if message else {"blockReason": reason}


def encode_response(response: Response, reply: Reply) -> tuple[bytes, list[Loss]]:
    """A GenerateContentResponse. Its `modelVersion` is the name to show, not the one that served."""
    losses = Losses()
    carried = Carried()
    parts = [part for block in response.blocks if (part := answer_part(block, carried, losses)) is not None]
    rest = carried.rest()
    if rest:
        if not parts or "text" not in parts[-1] or parts[-1].keys() & {"thought", "thoughtSignature"}:
            parts.append({"text": ""})
        parts[-1]["thoughtSignature"] = rest
    if response.stop_sequence is not None:
        losses.add("dropped:stop_sequence", "which stop sequence matched has no place")
    answer: dict[str, Any] = {}
    feedback = prompt_feedback(response.finish_detail) if not parts else None
    if feedback is not None:
        answer["promptFeedback"] = feedback
    else:
        candidate: dict[str, Any] = {"content": {"parts": parts or [{"text": ""}], "role": "model"}}
        candidate |= finish_members(response.finish, response.finish_detail)
        candidate["index"] = 0
        for block in response.blocks:
            if isinstance(block, Text) and block.citations:
                if block.citations_from == NAME:
                    candidate |= block.citations[0]
                else:
                    losses.add("dropped:citations", "citations are in another format's shape")
        answer["candidates"] = [candidate]
    if response.usage is not None:
        answer["usageMetadata"] = usage_out(response.usage)
    answer["modelVersion"] = reply.model
    answer["responseId"] = response.id or reply.id
    return orjson.dumps(answer), losses
