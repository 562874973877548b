"""What a method and path ask for: which client dialect, in which of its forms, for which model; or an answer of our own; or a path of the
registry's `passthrough`.

One table of paths as the APIs document them, and the prefixes under which OpenAI-compatible providers serve the same. A path that is not in it is
answered, never forwarded: an unknown path must not reach a provider with the gateway's key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any
from urllib.parse import parse_qsl, unquote

from extproc.core.dialect import Dialect
from extproc.core.errors import ApiError, ErrorKind
from extproc.core.exchange import Headers
from extproc.core.headers import GOOGLE_ENUMS, kept_query, passed_query
from extproc.core.version_prefix import behind_version
from extproc.registry.types import Passthrough

OPENAI, ANTHROPIC, GEMINI, BEDROCK, COHERE, OLLAMA = (
    *("openai_chat", "anthropic_messages", "gemini"),
    *("bedrock_converse", "cohere_chat", "ollama_chat"),
)
PASSTHROUGH = "passthrough"
"""The dialect of paths that pass as they are."""


class Own(Enum):
    """What we answer ourselves, from the registry alone."""

    MODELS = "models"
    MODEL = "model"
    PROBE = "probe"
    SHOW = "show"
    VERSION = "version"


@dataclass(frozen=True, slots=True)
class Asked:
    """`dialect` is the client's, for our own answers and errors too.

    `model` and `stream` are set where the path says them; "" and None leave them to the body, where `flag` is the member that asks for a stream,
    `streams` what it means when it is absent, and `default_model` what an absent model means. `query` is what of the query string may go to a
    provider of the same dialect; `form` is `Ask.form`. `form_data`: the body may be multipart/form-data. `cluster` and `path` (behind the version
    prefix) belong to a request that is passed on as it is.
    """

    dialect: str
    own: Own | None = None
    model: str = ""
    stream: bool | None = None
    flag: str = "stream"
    streams: bool = False
    default_model: str = ""
    query: str = ""
    form: str = ""
    form_data: bool = False
    cluster: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class _Served:
    """One row: what is asked for, less what the request itself adds, and the methods that ask for it."""

    asked: Asked
    methods: tuple[str, ...] = ("POST",)


def _row(dialect: str, form: str = "", **more: Any) -> _Served:
    return _Served(Asked(dialect, form=form, **more))


def _own(own: Own, dialect: str = "", *methods: str) -> _Served:
    return _Served(Asked(dialect, own), methods or ("GET",))


_OPENAI: dict[str, _Served] = {
    "/chat/completions": _row(OPENAI),
    "/responses": _row("openai_responses"),
    "/responses/input_tokens": _row("openai_count_tokens", stream=False),
    "/completions": _row("openai_completions"),
    "/embeddings": _row("openai_embeddings", stream=False),
    "/moderations": _row("openai_moderations", stream=False, default_model="omni-moderation-latest"),
    "/images/generations": _row("openai_images", "generations"),
    "/images/edits": _row("openai_images", "edits", form_data=True),
    "/images/variations": _row("openai_images", "variations", form_data=True, default_model="dall-e-2"),
    "/audio/speech": _row("openai_speech", flag="stream_format"),
    "/audio/transcriptions": _row("openai_transcription", "transcriptions", form_data=True),
    "/audio/translations": _row("openai_transcription", "translations", form_data=True),
    "/models": _own(Own.MODELS),
}
"""OpenAI's own, behind `/v1` or one of `_ALIASES`."""

_OTHERS: dict[str, _Served] = {
    "/v1/messages": _row(ANTHROPIC),
    "/v1/messages/count_tokens": _row("anthropic_count_tokens", stream=False),
    "/v2/chat": _row(COHERE),
    "/v2/embed": _row("cohere_embeddings", stream=False),
    "/v2/rerank": _row("cohere_rerank", stream=False),
    "/v1/rerank": _row("cohere_rerank", "v1", stream=False),
    "/rerank": _row("cohere_rerank", "v1", stream=False),
    "/api/chat": _row(OLLAMA, streams=True),
    "/api/generate": _row(OLLAMA, "generate", streams=True),
    "/api/embed": _row("ollama_embeddings", stream=False),
    "/api/embeddings": _row("ollama_embeddings", "legacy", stream=False),
    "/api/tags": _own(Own.MODELS, OLLAMA, "GET", "HEAD"),
    "/api/show": _own(Own.SHOW, OLLAMA, "POST"),
    "/api/version": _own(Own.VERSION, OLLAMA),
    "/v1beta/models": _own(Own.MODELS, GEMINI),
    "/v1alpha/models": _own(Own.MODELS, GEMINI),
    "/": _own(Own.PROBE, "", "GET", "HEAD"),
}
_EXACT = _OTHERS | {f"/v1{path}": served for path, served in _OPENAI.items()}

_ALIASES = (
    *("/v1", "/openai/v1", "/openai", "/api/v1", "/inference/v1", "/v1beta/openai", "/v1/openai", "/compatibility/v1", "/compatible-mode/v1"),
    *("/anthropic/v1", ""),
)
"""Where providers serve OpenAI's paths: OpenAI, Groq and Azure's v1, Azure without a deployment, OpenRouter, Fireworks, Google, DeepInfra, Cohere,
Alibaba; DeepSeek and Perplexity without any prefix. `/anthropic/v1` is where several of them serve Anthropic's."""

_DEPLOYMENT = re.compile(r"/openai/deployments/([^/]+)(/.+)")
"""Azure: the deployment stands for the model. As at Azure it wins over the body's `model`, which its SDK repeats or, where it was told the
deployment apart, fills with something else."""

_GOOGLE = re.compile(
    r"/v1(?:alpha|beta1?)?(?:/projects/[^/]+/locations/[^/]+)?(?:/publishers/google)?/(?:models|tunedModels)/(.+):([A-Za-z]+)",
)
"""The Gemini API, and Vertex AI with and without a project."""
_GOOGLE_METHODS: dict[str, Asked] = {
    "generateContent": Asked(GEMINI, stream=False),
    "streamGenerateContent": Asked(GEMINI, stream=True),
    "countTokens": Asked("gemini_count_tokens", stream=False),
    "embedContent": Asked("gemini_embeddings", stream=False),
    "batchEmbedContents": Asked("gemini_embeddings", stream=False, form="batch"),
    "predict": Asked("vertex_embeddings", stream=False),
}
_GOOGLE_MODEL = re.compile(r"/v1(?:alpha|beta)/models/(.+)")

_BEDROCK = re.compile(r"/model/(.+)/(converse|converse-stream|count-tokens)")
_BEDROCK_METHODS: dict[str, Asked] = {
    "converse": Asked(BEDROCK, stream=False),
    "converse-stream": Asked(BEDROCK, stream=True),
    "count-tokens": Asked("bedrock_count_tokens", stream=False),
}

_REALTIME = ("/v1/realtime", "/openai/realtime", "/openai/v1/realtime", "/v1/live", "/ws/")

_FAMILIES = (
    *((OPENAI, prefix) for prefix in ("/openai", "/v1beta/openai", "/api/v1", "/compatibility", "/compatible-mode")),
    *((ANTHROPIC, prefix) for prefix in ("/v1/messages", "/anthropic/")),
    *((GEMINI, prefix) for prefix in ("/v1beta", "/v1alpha", "/v1/projects/", "/upload/v1beta", "/ws/google")),
    (BEDROCK, "/model/"),
    *((COHERE, prefix) for prefix in ("/v2/", "/v1/rerank", "/rerank")),
    (OLLAMA, "/api/"),
)
_SDK_HEADERS = (
    (ANTHROPIC, "anthropic-version"),
    (GEMINI, "x-goog-api-client"),
    (BEDROCK, "amz-sdk-invocation-id"),
)
MISTRAL = "mistral"
"""A word of the user agent of Mistral's SDKs, and the form of their dialect: OpenAI's, but for the pieces of tool calls and the list of models."""
_RELATED = {
    "anthropic_count_tokens": ANTHROPIC,
    "gemini_count_tokens": GEMINI,
    "gemini_embeddings": GEMINI,
    "vertex_embeddings": GEMINI,
    "bedrock_count_tokens": BEDROCK,
    "cohere_embeddings": COHERE,
    "cohere_rerank": COHERE,
    "ollama_embeddings": OLLAMA,
}
"""The chat dialect of the same vendor, whose errors look the same."""


def guess_dialect(path: str, headers: Headers) -> str:
    """The chat dialect of the family that an error should be said in: by path, else by headers that only one family's SDKs send, else OpenAI's."""
    for dialect, prefix in _FAMILIES:
        if path.startswith(prefix):
            return dialect
    if _GOOGLE.fullmatch(path):
        return GEMINI
    for dialect, header in _SDK_HEADERS:
        if header in headers:
            return dialect
    if headers.get("x-fern-sdk-name", "").startswith("cohere"):
        return COHERE
    return OPENAI


def speaker(name: str, dialects: Mapping[str, Dialect]) -> Dialect:
    """The dialect `name`, or the one that says its errors while it is not there."""
    return dialects.get(name) or dialects.get(_RELATED.get(name, OPENAI)) or dialects[OPENAI]


def find(method: str, target: str, headers: Headers, passthrough: Sequence[Passthrough] = ()) -> Asked:
    """What `method` and `target` (`:path`, with its query) ask for.

    A path of the table goes before one of `passthrough`, which gets the methods that the table has no use for. Raises `ApiError`: NOT_FOUND,
    METHOD_NOT_ALLOWED (`param` is the value of the Allow header), NOT_IMPLEMENTED for realtime and WebSocket.
    """
    path, _, query = target.partition("?")
    if len(path) > 1:
        path = path.rstrip("/")
    if headers.get("upgrade", "").lower() == "websocket" or path.startswith(_REALTIME):
        raise ApiError(ErrorKind.NOT_IMPLEMENTED, "realtime and WebSocket APIs are not served here; use the streaming HTTP API")
    served = _served(path, query)
    if served is not None and served.asked.own is Own.MODEL and method == "POST" and ":" in path:
        # a method of a model that we do not have, rather than one model to be looked at
        served = None
    if served is not None and method in served.methods:
        asked = served.asked
        if not asked.dialect:
            asked = replace(asked, dialect=guess_dialect(path, headers))
        if asked.dialect == OPENAI and MISTRAL in headers.get("user-agent", ""):
            asked = replace(asked, form=MISTRAL)
        kept = "" if asked.query or asked.own is not None or not query else kept_query(query)
        return replace(asked, query=kept) if kept else asked
    for entry in passthrough:
        if _matches(entry.path, path):
            return Asked(PASSTHROUGH, stream=True, query=passed_query(query), cluster=entry.cluster, path=behind_version(path))
    if served is not None:
        allowed = served.methods
        raise ApiError(ErrorKind.METHOD_NOT_ALLOWED, f"{method} is not allowed on {path}; use {' or '.join(allowed)}", param=", ".join(allowed))
    there = _OF_FAMILY[guess_dialect(path, headers)]
    text = f"{method} {path[:200]} is not served here. Of this API there are {there}; of others {_CHATS}"
    raise ApiError(ErrorKind.NOT_FOUND, text, code="unknown_url")


def _served(path: str, query: str) -> _Served | None:
    known = _EXACT.get(path)
    if known is not None:
        return known
    found = _GOOGLE.fullmatch(path)
    if found is not None and found[2] in _GOOGLE_METHODS:
        return _Served(_of_google(_GOOGLE_METHODS[found[2]], unquote(found[1]), query))
    found = _BEDROCK.fullmatch(path)
    if found is not None:
        return _Served(replace(_BEDROCK_METHODS[found[2]], model=unquote(found[1])))
    found = _GOOGLE_MODEL.fullmatch(path)
    if found is not None:
        return _Served(Asked(GEMINI, Own.MODEL, model=unquote(found[1])), ("GET",))
    return _openai(path)


def _openai(path: str) -> _Served | None:
    """A path of OpenAI's, wherever it is served."""
    deployed = _DEPLOYMENT.fullmatch(path)
    if deployed is not None:
        served = _OPENAI.get(deployed[2])
        return None if served is None or served.asked.own else replace(served, asked=replace(served.asked, model=unquote(deployed[1])))
    for prefix in _ALIASES:
        if not path.startswith(prefix):
            continue
        rest = path[len(prefix) :]
        served = _OPENAI.get(rest) or (_OTHERS.get(f"/v1{rest}") if rest.startswith("/messages") and prefix else None)
        if served is not None:
            return served
        if rest.startswith("/models/"):
            return _Served(Asked("", Own.MODEL, model=unquote(rest[len("/models/") :])), ("GET",))
    return None


def _of_google(asked: Asked, model: str, query: str) -> Asked:
    """Streams are server-sent events where `alt=sse` says so, else one JSON array. Enums as numbers are asked for by `$alt`, and only of whole
    answers: with `alt=sse`, which we always ask of providers, it would be said twice, and readers take names wherever they take numbers."""
    form = asked.form
    if asked.stream and dict(parse_qsl(query)).get("alt", "").lower() != "sse":
        form = "array"
    return replace(asked, model=model, form=form, query="" if asked.stream else kept_query(query, GOOGLE_ENUMS))


_UNSAFE = re.compile(r"%(?:25)*(?:2[ef]|5c|[01][0-9a-f]|7f)|[\x00-\x20\x7f#\\]|(?:^|/)\.{1,2}(?:/|;|%3b|$)", re.IGNORECASE)
"""What the provider's server could read as another path than ours was."""


def _matches(pattern: str, path: str) -> bool:
    """Is `path` one of the registry's `pattern`: exact, `/*` for one more segment, `/**` for any number, none included?"""
    if _UNSAFE.search(path):
        return False
    if pattern.endswith("/**"):
        return path == pattern[:-3] or path.startswith(pattern[:-2])
    if pattern.endswith("/*"):
        return path.startswith(pattern[:-1]) and "/" not in path[len(pattern) - 1 :] and len(path) >= len(pattern)
    return path == pattern


_ALL: tuple[tuple[str, str], ...] = (
    *((OPENAI, f"/v1{path}") for path in _OPENAI),
    *((_RELATED.get(s.asked.dialect, s.asked.dialect), path) for path, s in _OTHERS.items() if path not in ("/", "/rerank", "/v1alpha/models")),
    *((GEMINI, "/v1beta/models/{model}:" + name) for name in _GOOGLE_METHODS),
    *((BEDROCK, "/model/{model}/" + name) for name in _BEDROCK_METHODS),
)
_OF_FAMILY = {dialect: ", ".join(path for family, path in _ALL if family == dialect) for dialect, _ in _ALL}
_CHATS = "/v1/chat/completions, /v1/responses, /v1/messages, /v1beta/models/{model}:generateContent, /model/{model}/converse, /v2/chat, /api/chat"
"""What an unknown path is answered with: the paths of the API that was probably meant, and where the others begin."""


def model_and_stream(body: Any, asked: Asked) -> tuple[str, bool]:
    """The two things that routing needs, from the path or the body. Raises `ApiError` where they are not what every dialect has."""
    if not isinstance(body, dict):
        raise ApiError(ErrorKind.INVALID_REQUEST, "the body must be a JSON object")
    name: Any = asked.model or body.get("model") or asked.default_model
    if not isinstance(name, str) or not name:
        raise ApiError(ErrorKind.INVALID_REQUEST, "`model` is required and must be a string", param="model")
    stream: Any = asked.stream
    if stream is None:
        stream = body.get(asked.flag)
        if asked.flag != "stream":
            stream = stream == "sse"
        elif isinstance(stream, str) and asked.form_data:
            stream = {"true": True, "false": False, "": None}.get(stream.lower(), stream)
        if stream is None:
            stream = asked.streams
    if not isinstance(stream, bool):
        raise ApiError(ErrorKind.INVALID_REQUEST, "`stream` must be true or false", param="stream")
    return name, stream


def unknown_model(name: str) -> ApiError:
    """404, as every SDK expects it."""
    text = f"the model {name[:100]!r} does not exist here; GET /v1/models lists those that do"
    return ApiError(ErrorKind.NOT_FOUND, text, code="model_not_found", param="model")
