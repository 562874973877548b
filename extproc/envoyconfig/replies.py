"""Envoy's own answers in JSON that every SDK reads: `{"type": "error", "error": {type, message, code}, "message"}`, of which OpenAI's, Google's and
Ollama's look at `error`, Anthropic's at both members before, AWS's and Cohere's at the last.

The first mapper that matches wins. `x-llm-local` tells the return stage that the answer is Envoy's and not the provider's: its value is
Envoy's RESPONSE_CODE_DETAILS, and the return stage takes it off. There is no default format, and no mapper of ours takes details that begin
with `llm_`: those are the ext_proc server's own answers. Messages are fixed where Envoy's text would tell addresses of the network behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from extproc.core.errors import ErrorKind
from extproc.envoyconfig import wire
from extproc.envoyconfig.merge import merge
from extproc.envoyconfig.options import MIB

LOCAL_HEADER = "x-llm-local"
UPGRADE_REFUSED = "WebSocket and realtime connections are not served."


@dataclass(frozen=True, slots=True)
class _Reply:
    """What matches, as CEL over the response, and what is said. `type` is Anthropic's word for it, `code` is ours."""

    when: str
    code: ErrorKind
    type: str
    message: str = "%LOCAL_REPLY_BODY%"
    status: int | None = None
    retry_after: str | None = None
    local: str | None = "%RESPONSE_CODE_DETAILS%"


_DETAILS = "response.code_details"
_NOT_OURS = f"!{_DETAILS}.startsWith('llm_')"
_REPLIES: tuple[_Reply, ...] = (
    _Reply(
        f"{_DETAILS}.startsWith('ext_proc_error')",
        ErrorKind.UNAVAILABLE,
        "api_error",
        "The gateway cannot handle this request right now. Try again.",
        status=503,
        retry_after="1",
        # No return stage will take this one off, and the details name our sockets.
        local="ext_proc_error",
    ),
    _Reply(
        f"{_DETAILS} == 'overload'",
        ErrorKind.OVERLOADED,
        "overloaded_error",
        "The gateway is overloaded. Try again.",
        status=503,
        retry_after="1",
        local=None,  # no filter sees it
    ),
    _Reply(
        # Envoy says 401, as if the application's own key were wrong.
        f"{_DETAILS} == 'failed_to_inject_credential'",
        ErrorKind.UNAVAILABLE,
        "api_error",
        "The gateway has no credential for this provider.",
        status=503,
    ),
    _Reply(f"{_DETAILS} == 'upgrade_failed'", ErrorKind.NOT_IMPLEMENTED, "invalid_request_error", UPGRADE_REFUSED, status=501),
    _Reply(f"response.code == 501 && {_NOT_OURS}", ErrorKind.NOT_IMPLEMENTED, "invalid_request_error"),
    _Reply(
        f"response.code == 413 && {_NOT_OURS}",
        ErrorKind.TOO_LARGE,
        "request_too_large",
        "The request body is larger than the gateway accepts: {limit} at most.",
    ),
    _Reply(
        f"(response.code == 408 || response.code == 504) && {_NOT_OURS}",
        ErrorKind.TIMEOUT,
        "timeout_error",
        "The request took too long.",
    ),
    _Reply(
        f"response.code < 500 && {_NOT_OURS}",
        ErrorKind.INVALID_REQUEST,
        "invalid_request_error",
        "The gateway refused the request (%RESPONSE_CODE_DETAILS%).",
    ),
    _Reply(_NOT_OURS, ErrorKind.UNAVAILABLE, "api_error", "The provider could not be reached."),
)


def mappers(own: list[dict[str, Any]], max_body_bytes: int) -> list[dict[str, Any]]:
    """`own` are the operator's, which come first and get the mark too."""
    return [_marked(mapper) for mapper in own] + [_marked(_mapper(reply, max_body_bytes), reply.local) for reply in _REPLIES]


def _mapper(reply: _Reply, max_body_bytes: int) -> dict[str, Any]:
    mapper: dict[str, Any] = {"filter": {"extension_filter": wire.named("cel", wire.CEL_FILTER, {"expression": reply.when})}}
    if reply.status is not None:
        mapper["status_code"] = reply.status
    if reply.retry_after is not None:
        mapper["headers_to_add"] = [_header("retry-after", reply.retry_after)]
    message = reply.message.replace("{limit}", _size(max_body_bytes))
    body = {"type": "error", "error": {"type": reply.type, "message": message, "code": str(reply.code)}, "message": message}
    mapper["body_format_override"] = {"content_type": "application/json", "json_format": body}
    return mapper


def _size(count: int) -> str:
    return f"{count // MIB} MiB" if count % MIB == 0 else f"{count} bytes"


def _marked(mapper: dict[str, Any], local: str | None = "%RESPONSE_CODE_DETAILS%") -> dict[str, Any]:
    marked: dict[str, Any] = merge({}, mapper)
    if local is None:
        return marked
    marked["headers_to_add"] = [*marked.get("headers_to_add", []), _header(LOCAL_HEADER, local)]
    return marked


def _header(name: str, value: str) -> dict[str, Any]:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
