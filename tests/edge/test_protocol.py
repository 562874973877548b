"""Our minimal messages are Envoy's: the same field numbers and kinds, and bytes of one set read as the other."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from extproc.edge import llm_extproc_pb2 as pb
from tests import protocol

ext_proc = importlib.import_module("envoy_data_plane.envoy.service.ext_proc.v3")
core = importlib.import_module("envoy_data_plane.envoy.config.core.v3")
filters = importlib.import_module("envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3")
access = importlib.import_module("envoy_data_plane.envoy.service.accesslog.v3")
access_data = importlib.import_module("envoy_data_plane.envoy.data.accesslog.v3")
types = importlib.import_module("envoy_data_plane.envoy.type.v3")

_MESSAGES = (
    "HttpHeaders HttpBody HttpTrailers ProcessingRequest ProcessingResponse HeaderMutation StreamedBodyResponse BodyMutation CommonResponse"
    " HeadersResponse BodyResponse TrailersResponse ImmediateResponse"
)
THEIRS: dict[str, Any] = {
    **{name: getattr(ext_proc, name) for name in _MESSAGES.split()},
    "HeaderValue": core.HeaderValue,
    "HeaderValueOption": core.HeaderValueOption,
    "HeaderMap": core.HeaderMap,
    "Metadata": core.Metadata,
    "ProcessingMode": filters.ProcessingMode,
    "HttpStatus": types.HttpStatus,
    "ResponseFlags": access_data.ResponseFlags,
    "AccessLogCommon": access_data.AccessLogCommon,
    "HttpResponseProperties": access_data.HttpResponseProperties,
    "HttpAccessLogEntry": access_data.HttpAccessLogEntry,
    "HttpAccessLogEntries": access.StreamAccessLogsMessageHttpAccessLogEntries,
    "StreamAccessLogsMessage": access.StreamAccessLogsMessage,
    "StreamAccessLogsResponse": access.StreamAccessLogsResponse,
}
KINDS = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_MESSAGE: "message",
}


def numbers(message: Any) -> dict[int, tuple[str, str]]:
    """{field number: (name, wire kind)} of a betterproto2 message."""
    return {meta.number: (name, str(meta.proto_type)) for name, meta in message._betterproto.meta_by_field_name.items()}


@pytest.mark.parametrize("ours", [d for d in pb.DESCRIPTOR.message_types_by_name.values() if d.name in THEIRS], ids=lambda d: d.name)
def test_field_numbers(ours: Descriptor) -> None:
    theirs = numbers(THEIRS[ours.name])
    for field in ours.fields:
        name, kind = theirs[field.number]
        assert name == field.name
        if field.type in KINDS and not (field.message_type and field.message_type.GetOptions().map_entry):
            assert KINDS[field.type] in kind.lower()


def test_every_message_but_the_health_check_is_compared() -> None:
    assert set(pb.DESCRIPTOR.message_types_by_name) - set(THEIRS) == {"HealthCheckRequest", "HealthCheckResponse"}


def test_the_modes_have_envoys_numbers() -> None:
    for ours, theirs in (
        (pb.ProcessingMode.BodySendMode, filters.ProcessingModeBodySendMode),
        (pb.ProcessingMode.HeaderSendMode, filters.ProcessingModeHeaderSendMode),
        (pb.CommonResponse.ResponseStatus, ext_proc.CommonResponseResponseStatus),
        (pb.HeaderValueOption.AppendAction, core.HeaderValueOptionHeaderAppendAction),
    ):
        for name, number in ours.items():
            assert theirs[name].value == number


def test_generated_code_is_what_the_source_gives() -> None:
    assert protocol.drift() == [], "run: python -m tests.protocol --write"
