"""Where each dialect has its conversation."""

from __future__ import annotations

from typing import Any

from extproc.core.ir import JSON
from extproc.core.prompt.found import Prompt, Read
from extproc.core.prompt.parts import as_json, content, documents, images_of, media_of, part_of, tools_of


def read(dialect: str, body: JSON) -> Prompt:
    """`dialect` is a `Dialect.name`. Total: never raises, whatever the shape; linear in the body."""
    found = Prompt(elastic=dialect in _APART)
    if isinstance(body, dict):
        for name, reader in ROOTS.get(dialect, ()):
            value = body.get(name)
            if value is not None:
                reader(found, value, body, 0)
    return found


_SYSTEM = ("system", "developer")


def _turns(found: Prompt, value: Any, whole: dict[str, Any], depth: int) -> None:
    """The conversation: a list of messages, one message, or the user's text."""
    for message in value if type(value) is list else (value,):
        if type(message) is not dict:
            _asked(found, message, whole, depth)
            continue
        found.messages += 1
        role = message.get("role")
        if role == "assistant" or role == "user":
            if role == "user":
                found.users.append(message)
            text = message.get("content")
            if len(message) == 2 and type(text) is str:
                found.texts.append(text)
            else:
                part_of(found, message, depth)
        elif role in _SYSTEM if type(role) is str else False:
            before = len(found.texts)
            part_of(found, message, depth)
            found.system += found.texts[before:]
        else:
            if role is None and "parts" in message:
                found.users.append(message)
            part_of(found, message, depth)


def _asked(found: Prompt, value: Any, whole: dict[str, Any], depth: int) -> None:
    """What the user says, without a message around it."""
    found.messages += 1
    found.users.append(value)
    content(found, value, whole, depth)


def _instructions(found: Prompt, value: Any, whole: dict[str, Any], depth: int) -> None:
    before = len(found.texts)
    content(found, value, whole, depth)
    found.system += found.texts[before:]


def _schema(found: Prompt, value: Any, _: dict[str, Any], depth: int) -> None:  # noqa: ARG001
    """What the answer must look like, where more is said than its kind."""
    if type(value) is dict and len(value) > 1:
        found.schema.append(as_json(value))


def _elastic(found: Prompt, value: Any, _: dict[str, Any], depth: int) -> None:  # noqa: ARG001
    """A member by which the client allows the provider to cut, compact or clear the conversation."""
    found.elastic = found.elastic or value not in ("disabled", False, [], {})


def _inside(*members: tuple[str, Read]) -> Read:
    """A member that holds others."""

    def reader(found: Prompt, value: Any, _: dict[str, Any], depth: int) -> None:
        for inner in value if type(value) is list else (value,):
            if type(inner) is dict:
                for name, read_member in members:
                    member = inner.get(name)
                    if member is not None:
                        read_member(found, member, inner, depth)

    return reader


def _inputs(found: Prompt, value: Any, whole: dict[str, Any], depth: int) -> None:
    """What is to be embedded or continued: texts, parts, or tokens (a list of numbers, or lists of them)."""
    first = value[0] if type(value) is list and value else None
    if type(first) is int:
        found.tokens += len(value)
    elif type(first) is list:
        found.tokens += sum(len(item) for item in value if type(item) is list)
        found.elastic = found.elastic or len(value) > 1
    else:
        found.elastic = found.elastic or (type(value) is list and len(value) > 1)
        _asked(found, value, whole, depth)


_OPENAI_CHAT: tuple[tuple[str, Read], ...] = (
    ("messages", _turns),
    ("tools", tools_of),
    ("functions", tools_of),
    ("response_format", _schema),
    ("transforms", _elastic),
)
_RESPONSES: tuple[tuple[str, Read], ...] = (
    *(("instructions", _instructions), ("input", _turns), ("tools", tools_of), ("context_management", _elastic), ("truncation", _elastic)),
    ("text", _inside(("format", _schema))),
)
_ANTHROPIC: tuple[tuple[str, Read], ...] = (
    *(("system", _instructions), ("messages", _turns), ("tools", tools_of), ("output_format", _schema), ("context_management", _elastic)),
    ("output_config", _inside(("format", _schema))),
)
_GEMINI: tuple[tuple[str, Read], ...] = (
    *(("systemInstruction", _instructions), ("system_instruction", _instructions), ("contents", _turns), ("tools", tools_of)),
    *(
        (config, _inside(*((name, _schema) for name in ("responseSchema", "responseJsonSchema", "response_schema", "response_json_schema"))))
        for config in ("generationConfig", "generation_config")
    ),
)
_CONVERSE: tuple[tuple[str, Read], ...] = (
    *(("system", _instructions), ("messages", _turns), ("toolConfig", tools_of)),
    ("outputConfig", _inside(("textFormat", _schema))),
)
ROOTS: dict[str, tuple[tuple[str, Read], ...]] = {
    "openai_chat": _OPENAI_CHAT,
    "openai_responses": _RESPONSES,
    "openai_count_tokens": _RESPONSES,
    "anthropic_messages": _ANTHROPIC,
    "anthropic_count_tokens": _ANTHROPIC,
    "gemini": _GEMINI,
    "gemini_count_tokens": (
        *_GEMINI,
        *((name, _inside(*_GEMINI)) for name in ("generateContentRequest", "generate_content_request")),
    ),
    "bedrock_converse": _CONVERSE,
    "bedrock_count_tokens": (("input", _inside(("converse", _inside(*_CONVERSE)))),),
    "cohere_chat": (("messages", _turns), ("documents", documents), ("tools", tools_of), ("response_format", _schema)),
    "ollama_chat": (
        *(("system", _instructions), ("messages", _turns), ("prompt", _asked), ("suffix", content), ("images", images_of)),
        *(("tools", tools_of), ("format", _schema)),
    ),
    "openai_completions": (("prompt", _inputs), ("suffix", content)),
    "openai_embeddings": (("input", _inputs),),
    "ollama_embeddings": (("input", _inputs), ("prompt", _inputs)),
    "cohere_embeddings": (("texts", _inputs), ("inputs", _turns), ("images", images_of)),
    "gemini_embeddings": (("content", _turns), ("requests", _inside(("content", _turns)))),
    "vertex_embeddings": (("content", _turns), ("instances", _turns)),
    "cohere_rerank": (("documents", documents), ("query", _asked)),
    "jina_rerank": (("documents", documents), ("query", _asked)),
    "openai_images": (("prompt", _asked), ("image", media_of("image")), ("images", images_of)),
    "openai_speech": (("instructions", _instructions), ("input", _asked)),
    "openai_transcription": (("prompt", _instructions),),
    "openai_moderations": (("input", _inputs),),
}
"""Where each dialect has its conversation, and what counts beside it, in the order in which models read it."""
_APART = frozenset(name for name in ROOTS if name.endswith(("_embeddings", "_rerank", "_moderations")))
"""Dialects whose texts are read one by one, and some of them cut."""
