"""Protobuf messages to exchange events, exchange actions to protobuf messages. Nothing is decided here."""

from __future__ import annotations

from typing import Any

from google.protobuf.struct_pb2 import Struct, Value

from extproc.core.exchange import (
    AnyEvent,
    BodyEvent,
    Continue,
    HeadersEvent,
    Immediate,
    Kind,
    Mode,
)
from extproc.edge import llm_extproc_pb2 as pb

_ATTRIBUTES = "envoy.filters.http.ext_proc"
_OVERWRITE = pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD

_HEADERS = {
    "request_headers": Kind.REQUEST_HEADERS,
    "response_headers": Kind.RESPONSE_HEADERS,
    "request_trailers": Kind.REQUEST_TRAILERS,
    "response_trailers": Kind.RESPONSE_TRAILERS,
}
_BODIES = {"request_body": Kind.REQUEST_BODY, "response_body": Kind.RESPONSE_BODY}
_MODES = {
    Mode.NONE: pb.ProcessingMode.NONE,
    Mode.STREAMED: pb.ProcessingMode.STREAMED,
    Mode.BUFFERED: pb.ProcessingMode.BUFFERED,
}


def _headers(message: pb.HeaderMap) -> dict[str, str]:
    headers: dict[str, str] = {}
    for header in message.headers:
        name, raw = header.key, header.raw_value
        # Envoy sends raw_value; `value` is what older versions and tests fill
        value = raw.decode("latin-1") if raw else header.value
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _value(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "number_value":
            return value.number_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return {k: _value(v) for k, v in value.struct_value.fields.items()}
        case "list_value":
            return [_value(v) for v in value.list_value.values]
        case _:
            return None


def _metadata(message: pb.ProcessingRequest) -> dict[str, dict[str, Any]]:
    spaces = message.metadata_context.filter_metadata
    return {name: {k: _value(v) for k, v in spaces[name].fields.items()} for name in spaces}


def event_of(message: pb.ProcessingRequest) -> AnyEvent:
    """The event in `message`. Raises ValueError for a message kind that this server does not know (a newer Envoy's).

    Metadata is read from header messages only: Envoy repeats it in every body piece, and no stage looks at it there.
    """
    which = message.WhichOneof("request")
    body_kind = _BODIES.get(which or "")
    if body_kind is not None:
        part = message.request_body if body_kind is Kind.REQUEST_BODY else message.response_body
        return BodyEvent(body_kind, part.body, part.end_of_stream)
    kind = _HEADERS.get(which or "")
    if kind is None:
        raise ValueError(f"unknown ext_proc message: {which}")
    if kind in (Kind.REQUEST_TRAILERS, Kind.RESPONSE_TRAILERS):
        trailers = message.request_trailers if kind is Kind.REQUEST_TRAILERS else message.response_trailers
        return HeadersEvent(kind, _headers(trailers.trailers), end=True)
    headers = message.request_headers if kind is Kind.REQUEST_HEADERS else message.response_headers
    attributes = message.attributes
    return HeadersEvent(
        kind,
        _headers(headers.headers),
        headers.end_of_stream,
        {k: _value(v) for k, v in attributes[_ATTRIBUTES].fields.items()} if _ATTRIBUTES in attributes else {},
        _metadata(message) if message.HasField("metadata_context") else {},
    )


def _mutate(mutation: pb.HeaderMutation, pairs: list[tuple[str, str]], remove: list[str]) -> None:
    for name, value in pairs:
        option = mutation.set_headers.add(append_action=_OVERWRITE)
        option.header.key = name
        option.header.raw_value = value.encode("latin-1", "replace")
    mutation.remove_headers.extend(remove)


def _to_value(target: Value, value: Any) -> None:
    if isinstance(value, str):
        target.string_value = value
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int | float):
        target.number_value = value
    elif isinstance(value, dict):
        target.struct_value.SetInParent()
        _to_struct(target.struct_value, value)
    elif isinstance(value, list):
        target.list_value.SetInParent()
        values = target.list_value.values
        for item in value:
            _to_value(values.add(), item)
    else:
        target.null_value = 0  # type: ignore[assignment]


def _to_struct(struct: Struct, value: dict[str, Any]) -> None:
    for key, item in value.items():
        _to_value(struct.fields[key], item)


_SLOT = {
    Kind.REQUEST_HEADERS: "request_headers",
    Kind.REQUEST_BODY: "request_body",
    Kind.RESPONSE_HEADERS: "response_headers",
    Kind.RESPONSE_BODY: "response_body",
    Kind.REQUEST_TRAILERS: "request_trailers",
    Kind.RESPONSE_TRAILERS: "response_trailers",
}


def message_of(action: Continue | Immediate) -> pb.ProcessingResponse:
    """The message that says `action`."""
    if isinstance(action, Continue):
        return _continue(action)
    response = pb.ProcessingResponse()
    immediate = response.immediate_response
    immediate.status.code = action.status
    immediate.body = action.body
    immediate.details = action.details
    _mutate(immediate.headers, action.headers, [])
    return response


def _continue(action: Continue) -> pb.ProcessingResponse:
    response = pb.ProcessingResponse()
    slot = getattr(response, _SLOT[action.kind])
    slot.SetInParent()
    if action.metadata:
        for space, values in action.metadata.items():
            _to_struct(response.dynamic_metadata.fields[space].struct_value, values)
    if action.kind in (Kind.REQUEST_TRAILERS, Kind.RESPONSE_TRAILERS):
        return response
    common = slot.response
    common.SetInParent()
    if action.set or action.remove:
        _mutate(common.header_mutation, action.set, action.remove)
    if action.body is not None:
        common.body_mutation.body = action.body
    if action.replace:
        common.status = pb.CommonResponse.CONTINUE_AND_REPLACE
    common.clear_route_cache = action.clear_route_cache
    if action.mode is not None:
        mode = response.mode_override
        mode.response_body_mode = _MODES[action.mode]
        # an override replaces the whole mode: say SEND again
        mode.request_header_mode = pb.ProcessingMode.SEND
        mode.response_header_mode = pb.ProcessingMode.SEND
        mode.response_trailer_mode = pb.ProcessingMode.SEND
    return response
