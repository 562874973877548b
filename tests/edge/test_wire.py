"""Protobuf to events and actions to protobuf: what Envoy says arrives, and what we say is what Envoy reads."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from extproc.core.exchange import BodyEvent, Continue, HeadersEvent, Immediate, Kind, Mode
from extproc.core.plan import NAMESPACE, groups
from extproc.edge import llm_extproc_pb2 as pb
from extproc.edge.wire import event_of, message_of

ATTRIBUTES = "envoy.filters.http.ext_proc"


def header(name: str, raw: bytes = b"", value: str = "") -> pb.HeaderValue:
    return pb.HeaderValue(key=name, raw_value=raw, value=value)


def request(kind: str, part: Message) -> pb.ProcessingRequest:
    message = pb.ProcessingRequest()
    getattr(message, kind).CopyFrom(part)
    getattr(message, kind).SetInParent()
    return message


def head(*headers: pb.HeaderValue, kind: str = "request_headers", end: bool = False) -> pb.ProcessingRequest:
    return request(kind, pb.HttpHeaders(headers=pb.HeaderMap(headers=headers), end_of_stream=end))


def sent(action: Continue | Immediate) -> pb.ProcessingResponse:
    """As Envoy gets it: through bytes."""
    return pb.ProcessingResponse.FromString(message_of(action).SerializeToString())


def mutations(mutation: pb.HeaderMutation) -> list[tuple[str, bytes]]:
    assert all(o.append_action == pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD for o in mutation.set_headers)
    assert all(not o.header.value for o in mutation.set_headers), "Envoy refuses a header with both a value and a raw value"
    return [(o.header.key, o.header.raw_value) for o in mutation.set_headers]


# events


@pytest.mark.parametrize("kind", ["request_headers", "response_headers"])
def test_headers(kind: str) -> None:
    event = event_of(head(header(":path", b"/v1/x"), header("old", value="by value"), header("empty"), kind=kind, end=True))
    assert isinstance(event, HeadersEvent)
    assert event.kind is Kind(kind)
    assert event.end
    assert event.headers == {":path": "/v1/x", "old": "by value", "empty": ""}


def test_a_raw_value_wins_over_a_value() -> None:
    event = event_of(head(header("a", b"raw", "text")))
    assert isinstance(event, HeadersEvent)
    assert event.headers == {"a": "raw"}


def test_values_of_one_name_are_joined_in_order() -> None:
    event = event_of(head(header("anthropic-beta", b"a"), header("x", b"1"), header("anthropic-beta", b"b,c"), header("anthropic-beta", value="d")))
    assert isinstance(event, HeadersEvent)
    assert event.headers == {"anthropic-beta": "a, b,c, d", "x": "1"}


def test_every_byte_of_a_header_survives_the_way_in_and_out() -> None:
    everything = bytes(range(1, 256))
    event = event_of(head(header("x", everything)))
    assert isinstance(event, HeadersEvent)
    back = sent(Continue(Kind.REQUEST_HEADERS, set=[("x", event.headers["x"])]))
    assert mutations(back.request_headers.response.header_mutation) == [("x", everything)]


def test_a_header_value_outside_of_latin_1_is_still_a_header() -> None:
    assert mutations(sent(Immediate(400, [("x", "a→b")], b"", "llm_x")).immediate_response.headers) == [("x", b"a?b")]


def test_attributes_and_metadata_become_plain_values() -> None:
    message = head(header("a", b"b"))
    fields = message.attributes[ATTRIBUTES].fields
    fields["xds.cluster_name"].string_value = "sonnet"
    fields["upstream.request_attempt_count"].number_value = 2
    fields["flag"].bool_value = True
    fields["nothing"].null_value = 0  # type: ignore[assignment]
    message.attributes["envoy.filters.http.other"].fields["xds.cluster_name"].string_value = "not this one"
    message.metadata_context.filter_metadata[NAMESPACE].update(
        {"plan": "{}", "priority_groups": groups(["a", "b"]), "deep": {"x": [1, [False, None]]}}
    )
    event = event_of(message)
    assert isinstance(event, HeadersEvent)
    assert event.attributes == {"xds.cluster_name": "sonnet", "upstream.request_attempt_count": 2.0, "flag": True, "nothing": None}
    assert event.metadata == {NAMESPACE: {"plan": "{}", "priority_groups": groups(["a", "b"]), "deep": {"x": [1.0, [False, None]]}}}


def test_without_attributes_and_metadata_there_are_none() -> None:
    event = event_of(head())
    assert isinstance(event, HeadersEvent)
    assert (event.headers, event.attributes, event.metadata, event.end) == ({}, {}, {}, False)


@pytest.mark.parametrize("kind", ["request_body", "response_body"])
@pytest.mark.parametrize("end", [True, False])
def test_bodies(kind: str, end: bool) -> None:
    event = event_of(request(kind, pb.HttpBody(body=b"\x00\xff", end_of_stream=end)))
    assert event == BodyEvent(Kind(kind), b"\x00\xff", end)


@pytest.mark.parametrize("kind", ["request_body", "response_body"])
def test_the_last_piece_may_be_empty(kind: str) -> None:
    event = event_of(request(kind, pb.HttpBody(end_of_stream=True)))
    assert event == BodyEvent(Kind(kind), b"", True)


@pytest.mark.parametrize("kind", ["request_trailers", "response_trailers"])
def test_trailers_end_a_message(kind: str) -> None:
    message = request(kind, pb.HttpTrailers(trailers=pb.HeaderMap(headers=[header("grpc-status", b"0")])))
    assert event_of(message) == HeadersEvent(Kind(kind), {"grpc-status": "0"}, end=True)


@pytest.mark.parametrize("message", [b"", bytes([(20 << 3 | 2) & 0x7F | 0x80, 20 << 3 >> 7, 0])], ids=["no kind", "a field of a newer Envoy"])
def test_an_unknown_message_is_said_to_be_unknown(message: bytes) -> None:
    with pytest.raises(ValueError, match="unknown ext_proc message"):
        event_of(pb.ProcessingRequest.FromString(message))


# actions

SLOTS = {
    Kind.REQUEST_HEADERS: "request_headers",
    Kind.REQUEST_BODY: "request_body",
    Kind.REQUEST_TRAILERS: "request_trailers",
    Kind.RESPONSE_HEADERS: "response_headers",
    Kind.RESPONSE_BODY: "response_body",
    Kind.RESPONSE_TRAILERS: "response_trailers",
}


@pytest.mark.parametrize(("kind", "slot"), SLOTS.items(), ids=SLOTS.values())
def test_an_answer_goes_to_the_event_that_it_answers(kind: Kind, slot: str) -> None:
    response = sent(Continue(kind))
    assert response.WhichOneof("response") == slot
    assert MessageToDict(response, preserving_proto_field_name=True) == {slot: {} if "trailers" in slot else {"response": {}}}


def test_a_body_of_no_bytes_is_not_the_same_as_no_change() -> None:
    assert not sent(Continue(Kind.RESPONSE_BODY)).response_body.response.HasField("body_mutation")
    emptied = sent(Continue(Kind.RESPONSE_BODY, body=b"")).response_body.response.body_mutation
    assert emptied.WhichOneof("mutation") == "body"


def test_headers_body_and_removals_of_an_answer() -> None:
    common = sent(Continue(Kind.REQUEST_BODY, set=[(":path", "/x"), ("a", "1")], remove=["b", "c"], body=b"new")).request_body.response
    assert mutations(common.header_mutation) == [(":path", b"/x"), ("a", b"1")]
    assert list(common.header_mutation.remove_headers) == ["b", "c"]
    assert common.body_mutation.body == b"new"
    assert common.status == pb.CommonResponse.CONTINUE
    assert not common.clear_route_cache


def test_removals_alone_are_sent() -> None:
    common = sent(Continue(Kind.RESPONSE_HEADERS, remove=["x-llm-retry"])).response_headers.response
    assert list(common.header_mutation.remove_headers) == ["x-llm-retry"]


def test_an_answer_that_replaces_the_rest_of_the_message() -> None:
    common = sent(Continue(Kind.RESPONSE_HEADERS, set=[(":status", "502")], body=b"{}", replace=True)).response_headers.response
    assert common.status == pb.CommonResponse.CONTINUE_AND_REPLACE
    assert common.body_mutation.body == b"{}"


def test_a_new_route_is_asked_for() -> None:
    assert sent(Continue(Kind.REQUEST_BODY, clear_route_cache=True)).request_body.response.clear_route_cache


@pytest.mark.parametrize(
    ("mode", "body"),
    [(Mode.NONE, pb.ProcessingMode.NONE), (Mode.STREAMED, pb.ProcessingMode.STREAMED), (Mode.BUFFERED, pb.ProcessingMode.BUFFERED)],
)
def test_a_mode_override_names_the_whole_mode(mode: Mode, body: Any) -> None:
    """Envoy takes what the override does not name from the message's defaults, not from the filter's configuration."""
    override = sent(Continue(Kind.RESPONSE_HEADERS, mode=mode)).mode_override
    assert override.response_body_mode == body
    assert override.request_header_mode == override.response_header_mode == pb.ProcessingMode.SEND
    assert override.response_trailer_mode == pb.ProcessingMode.SEND
    assert override.request_body_mode == pb.ProcessingMode.NONE


def test_no_mode_override_unless_asked_for() -> None:
    assert not sent(Continue(Kind.RESPONSE_HEADERS)).HasField("mode_override")


def test_dynamic_metadata_keeps_its_nesting() -> None:
    values = {"plan": '{"a":1}', "n": 3, "half": 0.5, "on": True, "off": False, "none": None, "priority_groups": groups(["a", "b"])}
    metadata: dict[str, dict[str, Any]] = {NAMESPACE: values, "other": {"list": [[], {}, [1, {"x": ["y"]}]], "empty": {}, "few": []}}
    got = MessageToDict(sent(Continue(Kind.REQUEST_BODY, metadata=metadata)).dynamic_metadata)
    assert got == metadata


def test_metadata_that_one_stage_sends_is_what_the_next_one_reads() -> None:
    metadata = {NAMESPACE: {"plan": "ü {}", "priority_groups": groups(["a@k1", "b"]), "on": True}}
    message = head()
    for space, values in sent(Continue(Kind.REQUEST_BODY, metadata=metadata)).dynamic_metadata.fields.items():
        message.metadata_context.filter_metadata[space].CopyFrom(values.struct_value)
    event = event_of(pb.ProcessingRequest.FromString(message.SerializeToString()))
    assert isinstance(event, HeadersEvent)
    assert event.metadata == metadata


def test_an_immediate_answer() -> None:
    immediate = sent(Immediate(429, [("content-type", "application/json"), ("retry-after", "2")], b'{"error":1}', "llm_exhausted")).immediate_response
    assert immediate.status.code == 429
    assert immediate.body == b'{"error":1}'
    assert immediate.details == "llm_exhausted"
    assert mutations(immediate.headers) == [("content-type", b"application/json"), ("retry-after", b"2")]
