"""Every loss code that a translation can report, with its meaning: the one list for operators, documentation and tests; and their collector.

A code is `<what happened>:<to what>`. `dropped`: it was left out. `coerced`: it was sent, but not as the client said it. `defaulted`: the
client or the provider did not say it, and the format requires it. `signature`: opaque state stayed with the vendor that minted it.
Codes are stable and few, because logs, metrics and the `x-llm-losses` header carry them; what varies is in `Loss.detail`.
"""

from __future__ import annotations

from extproc.core.ir import JSON, Loss

PARAMETERS = frozenset(
    (
        *("audio", "frequency_penalty", "logit_bias", "logprobs", "metadata", "modalities", "moderation", "n", "parallel_tool_calls", "prediction"),
        *("presence_penalty", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning", "reasoning_effort"),
        *("reasoning_show", "response_format_description", "safety_identifier", "seed", "service_tier", "stop", "store", "stream_options", "strict"),
        *("temperature", "tool_choice", "top_k", "top_logprobs", "top_p", "user", "verbosity", "web_search_options"),
        *("include", "max_tool_calls", "truncation"),
        *("max_chunks_per_doc", "max_tokens_per_doc", "relevant_spans"),
        *("audio_track_extraction", "document_ocr", "input_type", "keep_alive", "max_input_tokens", "options", "priority", "title", "truncate"),
    )
)
"""`dropped:<parameter>`: the target has no such parameter, or refuses it (its model does, or beside another one that the request needs)."""

MEMBERS = frozenset(
    (
        *("allowed_callers", "caller", "container", "context_management", "defer_loading", "eager_input_streaming", "input_examples", "is_error"),
        *("toolset_name", "transformations", "closed", "index", "prefix", "include_obfuscation", "phase"),
        *("citation_options", "safety_mode", "anthropic_beta", "inference_geo"),
        *("audioTranscription", "continuationToken", "displayName", "mediaProcessing", "mediaResolution", "partMetadata", "partialArgs"),
        *("scheduling", "speechMetadata", "thoughtSignature", "videoMetadata", "willContinue"),
    )
)
"""`dropped:<member>`: a documented member of one dialect that the others have no place for."""

CODES: dict[str, str] = {
    "signature:foreign": "signed or encrypted reasoning was not sent to a vendor that did not mint it",
    # content of requests
    "coerced:additional_tools": "tools that were added in the middle of the conversation were there from its start",
    "coerced:assistant_media": "media of an assistant's message was sent in the next user message",
    "coerced:cache_lifetime": "the cache mark got the lifetime that the target has",
    "coerced:content_parts": "the text parts of one message were joined to one text",
    "coerced:custom_tool": "a tool that takes free text was sent as a function with one parameter, `input`",
    "coerced:document": "a text document was sent as plain text of the message",
    "coerced:document_alone": "a text was put beside a document, which the target refuses alone",
    "coerced:document_content": "a document given as content blocks became plain text",
    "coerced:document_context": "a document's context was sent as text before it",
    "coerced:document_title": "a document's name was made what the target takes: its letters, and one of its own for each",
    "coerced:first_turn": "a user turn was put in front of an assistant's that opened the conversation",
    "coerced:media_type": "media without a type got the likeliest one",
    "coerced:orphan_tool_result": "a tool result without its call was sent as text",
    "coerced:prefill": "a user turn that asks to go on was put behind an assistant's turn at the end",
    "coerced:refusal": "a refusal became ordinary text, with the refusal's stop reason where the format has one",
    "coerced:system_position": "a system message that was not at the start was moved, or became part of the user's turn",
    "coerced:thought_signature": "function calls of another model carry Google's documented stand-in for a signature",
    "coerced:tool_arguments": "tool arguments that are no JSON object were put into one, under `arguments`",
    "coerced:tool_id": "a tool call id that was used twice got a number",
    "coerced:tool_name": "a tool name in an answer holds characters that the client's format has not",
    "coerced:tool_namespace": "the tools of a namespace were sent as functions with its name in front of theirs",
    "coerced:tool_result": "two results of one tool call were joined",
    "coerced:tool_result_empty": "a tool result without content says so in words",
    "coerced:tool_result_media": "media of a tool result was sent beside the result, or in the next user message",
    "coerced:tool_result_position": "tool results were moved to the front of their turn",
    "coerced:trailing_white_space": "white space at the end of a prefill was cut off",
    "dropped:assistant_content": "content of an assistant's message that the format takes from users only",
    "dropped:cache_control": "a cache mark; the target caches by itself",
    "dropped:document_citations": "citations cannot be asked for",
    "dropped:document_context": "a document's context",
    "dropped:document_title": "a document's title",
    "dropped:empty_text": "text that is empty or blank, which the target refuses",
    "dropped:guard_content": "the mark of content that a guardrail looks at; the content stays",
    "dropped:image_detail": "the hint how closely to look at an image",
    "dropped:name": "a participant's name",
    "dropped:system_content": "something other than text in a system message",
    "dropped:thinking": "thinking that the target does not take back",
    "dropped:tool_error_flag": "the mark of a tool result as an error; its text stands for itself",
    "dropped:unknown_member": "a member that only the client's dialect, or nobody, documents; its name is in the detail",
    # parameters
    "coerced:allowed_tools": "the tools that may not be called were left out",
    "coerced:input_type": "the nearest task of an embedding, or the task said in the text as the model wants it",
    "coerced:json_object": "there is no JSON mode: an instruction asks for JSON",
    "coerced:json_schema": "the output schema was closed, and assertions that the target refuses became descriptions",
    "coerced:max_tokens": "the limit was moved to the most that the model writes, or the least that can be asked for",
    "coerced:reasoning": "thinking cannot be switched off: the least there is was asked for",
    "coerced:reasoning_effort": "the nearest effort, or a budget in its place",
    "coerced:response_format": "the output format is asked for by an instruction: the model has it not at all, or not beside functions",
    "coerced:seed": "the seed was cut to 32 bits",
    "coerced:service_tier": "the nearest service tier",
    "coerced:stop": "only as many stop sequences as the target takes",
    "coerced:thinking": "thinking was switched off because something else in the request forbids it",
    "coerced:thinking_budget": "the nearest budget, or an effort in its place",
    "coerced:tool_choice": "tool calls cannot be forbidden here: an instruction asks for text",
    "coerced:tool_schema": "a tool's schema was made what the target takes: an object, closed where it is strict",
    "coerced:truncate": "an input that is too long is cut at its other end",
    "coerced:turn_order": "an assistant's turn was put between tool results and a user's message, which the target refuses in a row",
    "coerced:user": "a user id that is too long was sent as its hash",
    **{f"coerced:{name}": f"{name} was moved into the target's range" for name in ("frequency_penalty", "presence_penalty", "temperature", "top_p")},
    "coerced:top_k": "top_k was moved into the target's range",
    "defaulted:input_type": "the format requires the task of an embedding: documents of a search",
    "defaulted:thinking": "tool calls of the history got blank thoughts: the target wants some with each",
    "defaulted:tools": "the format requires the tools that the history calls: stand-ins without a schema",
    "defaulted:max_tokens": "the format requires a limit: one with room for an answer, where the model's own is not known or not to be used up",
    # answers
    "coerced:finish_reason": "the format has no word for why the answer ended",
    "coerced:usage": "the provider counted all inputs together, the format counts each: the first has them all",
    "completeness:given_up": "the answer was too large to be judged whole before it was passed on",
    "defaulted:usage": "the provider counted no tokens, and the format requires counts: zeros",
    "dropped:block": "a block that cannot be part of an answer",
    "dropped:choices": "all answers but the first of several",
    "dropped:citations": "citations in another format's shape, or streamed",
    "dropped:web_search": "a search that its client adds unasked and that may not reach the web (Codex)",
    "dropped:usage_details": "counts of cached or reasoning tokens; the totals are there",
    "dropped:content": "content behind the finish reason",
    "dropped:delta": "a piece of no open block, or of a kind that is not known",
    "dropped:event": "a stream event of a kind that is not known",
    "dropped:finish_detail": "the provider's own words for why the answer ended",
    "dropped:foreign_block": "a block that only the provider's dialect knows (server tools, code execution)",
    "dropped:signature": "a signature that the client's format has no place for",
    "dropped:stop_sequence": "which stop sequence matched",
    "dropped:truncated": "the mark of an input as too long and cut",
    "dropped:tool_call": "a tool call that never got a name or an end",
    **{f"dropped:{kind}": f"{kind} in an answer" for kind in ("audio", "document", "image", "toolresult", "video")},
}
"""Codes with a meaning of their own."""


def meaning(code: str) -> str | None:
    """What `code` says, for people; None for one that no translation reports."""
    known = CODES.get(code)
    if known is not None:
        return known
    what, _, name = code.partition(":")
    if what == "dropped" and name in PARAMETERS:
        return f"the parameter {name}: the target has none, or refuses it here"
    if what == "dropped" and name in MEMBERS:
        return f"the member {name}: the other dialects have no place for it"
    return None


MAX_LOSSES = 64
"""Different losses kept for one request or answer; real ones have a handful."""

_NAMED = MEMBERS | {"cache_control", "citations"}
"""Members whose names are safe as part of a code. Other names are the client's, and codes are labels of metrics: they stand in the detail."""


class Losses(list[Loss]):
    """What a translation could not carry: each loss once, and never more than a hostile body could make it."""

    __slots__ = ()

    def add(self, code: str, detail: str = "") -> None:
        if len(self) < MAX_LOSSES and not any(loss.code == code and loss.detail == detail for loss in self):
            self.append(Loss(code, detail))

    def unknown(self, where: str, value: dict[str, JSON], known: frozenset[str]) -> None:
        """The members of `value` that are not `known` and say something."""
        for name in (m for m in value if m not in known):
            if value[name] not in (None, [], {}, ""):
                self.member(name, where)

    def member(self, name: str, where: str) -> None:
        """A member `name` of `where` that the canonical form has no place for."""
        if name in _NAMED:
            self.add(f"dropped:{name}", where)
        else:
            self.add("dropped:unknown_member", f"{where}.{name[:64]}" if where else name[:64])
