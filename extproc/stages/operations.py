"""Which operation a method and path ask for, and in which dialect errors must be said before the body is known.

A path that we do not serve is answered, never forwarded: an unknown path must not reach a provider with the gateway's key.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import unquote

from extproc.core.errors import ApiError, ErrorKind
from extproc.core.exchange import Headers
from extproc.core.headers import kept_query

OPENAI, ANTHROPIC = "openai_chat", "anthropic_messages"


class Operation(Enum):
    CHAT = "chat"
    MODELS = "models"
    MODEL = "model"
    PROBE = "probe"


@dataclass(frozen=True, slots=True)
class Asked:
    """`dialect` is the client's. `argument` is the model name of a MODEL operation. `query` is what of the query string may go to a provider;
    `form` is `Ask.form`."""

    operation: Operation
    dialect: str
    argument: str = ""
    query: str = ""
    form: str = ""


_CHAT = {"/v1/chat/completions": OPENAI, "/v1/messages": ANTHROPIC}
_REALTIME = ("/v1/realtime", "/v1/live", "/ws/")


def guess_dialect(path: str, headers: Headers) -> str:
    """The dialect that an error should be said in: by path, else by headers that only Anthropic's SDKs send, else OpenAI's."""
    if path in _CHAT:
        return _CHAT[path]
    if path.startswith("/v1/messages") or "anthropic-version" in headers:
        return ANTHROPIC
    return OPENAI


def find(method: str, target: str, headers: Headers) -> Asked:
    """The operation behind `method` and `target` (`:path`, with its query).

    Raises `ApiError`: NOT_FOUND, METHOD_NOT_ALLOWED (`param` is the value of the Allow header), NOT_IMPLEMENTED for realtime and WebSocket.
    """
    path, _, query = target.partition("?")
    if len(path) > 1:
        path = path.rstrip("/")
    if headers.get("upgrade", "").lower() == "websocket" or path.startswith(_REALTIME):
        raise ApiError(ErrorKind.NOT_IMPLEMENTED, "realtime and WebSocket APIs are not served here; use the streaming HTTP API")
    chat = _CHAT.get(path)
    if chat is not None:
        _allow(method, path, "POST")
        return Asked(Operation.CHAT, chat, query=kept_query(query))
    if path == "/v1/models":
        _allow(method, path, "GET")
        return Asked(Operation.MODELS, guess_dialect(path, headers))
    if path.startswith("/v1/models/"):
        _allow(method, path, "GET")
        return Asked(Operation.MODEL, guess_dialect(path, headers), argument=unquote(path[len("/v1/models/") :]))
    if path == "/":
        _allow(method, path, "GET", "HEAD")
        return Asked(Operation.PROBE, guess_dialect(path, headers))
    served = ", ".join(sorted([*_CHAT, "/v1/models"]))
    raise ApiError(ErrorKind.NOT_FOUND, f"{method} {path[:200]} is not served here. Served: {served}", code="unknown_url")


def _allow(method: str, path: str, *allowed: str) -> None:
    if method not in allowed:
        raise ApiError(ErrorKind.METHOD_NOT_ALLOWED, f"{method} is not allowed on {path}; use {' or '.join(allowed)}", param=", ".join(allowed))


def model_and_stream(body: Any) -> tuple[str, bool]:
    """The two members that routing needs. Raises `ApiError` where they are not what every dialect has."""
    if not isinstance(body, dict):
        raise ApiError(ErrorKind.INVALID_REQUEST, "the body must be a JSON object")
    name, stream = body.get("model"), body.get("stream", False)
    if not isinstance(name, str) or not name:
        raise ApiError(ErrorKind.INVALID_REQUEST, "`model` is required and must be a string", param="model")
    if stream is not None and not isinstance(stream, bool):
        raise ApiError(ErrorKind.INVALID_REQUEST, "`stream` must be true or false", param="stream")
    return name, bool(stream)


def unknown_model(name: str) -> ApiError:
    """404, as every SDK expects it."""
    text = f"the model {name[:100]!r} does not exist here; GET /v1/models lists those that do"
    return ApiError(ErrorKind.NOT_FOUND, text, code="model_not_found", param="model")
