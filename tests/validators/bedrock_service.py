"""botocore's service model of bedrock-runtime as a strict validator, and its parsers as Bedrock's client.

`ParamValidator` is made for what a boto3 user passes in, so JSON is first turned into that: base64 into bytes. It checks types, required and unknown
members and the least lengths; what it leaves out (greatest lengths, patterns, enums, unions) is checked here from the same model.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import orjson
from botocore.eventstream import EventStreamBuffer
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StringShape, StructureShape
from botocore.parsers import EventStreamJSONParser, RestJSONParser
from botocore.validate import ParamValidator

from extproc.core.carrier import MARK

MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"


@cache
def service() -> ServiceModel:
    return ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"), "bedrock-runtime")


@cache
def operation(name: str) -> OperationModel:
    return service().operation_model(name)


def check_converse_request(body: bytes) -> None:
    """Raises `AssertionError` for a body that the published model does not allow."""
    parsed = orjson.loads(body)
    for name in ("Converse", "ConverseStream"):
        shape = operation(name).input_shape
        assert shape is not None
        _check({"modelId": MODEL, **parsed}, shape)


def check_converse_answer(body: bytes) -> None:
    """Raises `AssertionError` for an answer that the published model does not allow."""
    shape = operation("Converse").output_shape
    assert shape is not None
    _check(orjson.loads(body), shape)


def _check(value: Any, shape: Shape) -> None:
    given = _narrow(value, shape, "")
    report = ParamValidator().validate(given, shape)
    assert not report.has_errors(), report.generate_report()


def _narrow(value: Any, shape: Shape, path: str) -> Any:
    """`value` as a boto3 user writes it, where all is as the model says. Raises `AssertionError`."""
    limits = shape.metadata
    if isinstance(shape, StructureShape):
        if shape.is_document_type:
            return value
        assert isinstance(value, dict), path
        assert set(value) <= set(shape.members), (path, set(value) - set(shape.members))
        assert not shape.is_tagged_union or len(value) == 1, (path, list(value))
        return {name: _narrow(inner, shape.members[name], f"{path}.{name}") for name, inner in value.items()}
    if isinstance(shape, ListShape):
        assert isinstance(value, list), path
        assert len(value) <= limits.get("max", len(value)), path
        return [_narrow(inner, shape.member, f"{path}[{n}]") for n, inner in enumerate(value)]
    if isinstance(shape, MapShape):
        assert len(value) <= limits.get("max", len(value)), path
        return {_narrow(key, shape.key, path): _narrow(inner, shape.value, f"{path}.{key}") for key, inner in value.items()}
    if shape.type_name == "blob":
        return base64.b64decode(value, validate=True)
    if isinstance(shape, StringShape):
        assert isinstance(value, str), path
        # an id that carries another vendor's state is longer, and only AWS's own servers would mind
        plain = value.partition(MARK)[0]
        assert len(plain) <= limits.get("max", len(plain)), (path, value)
        assert not shape.enum or value in shape.enum, (path, value)
        pattern = limits.get("pattern")
        assert pattern is None or re.fullmatch(pattern, value), (path, value)
        return value
    if shape.type_name in ("integer", "float", "double", "long"):
        assert value <= limits.get("max", value), (path, value)
    return value


class ConverseStreamError(Exception):
    """The exception that a stream holds: its code, and its message."""


def events(raw: bytes, name: str = "ConverseStream") -> list[dict[str, Any]]:
    """A stream's events as boto3 gives them. Raises `ConverseStreamError` for an exception, botocore's errors for a broken frame."""
    shape = operation(name).output_shape
    assert shape is not None
    output = shape.members["stream" if name == "ConverseStream" else "body"]
    buffer = EventStreamBuffer()
    buffer.add_data(raw)
    found = []
    for message in buffer:
        response = message.to_response_dict()
        parsed = EventStreamJSONParser().parse(response, output)
        if response["status_code"] != 200:
            raise ConverseStreamError(parsed["Error"]["Code"], parsed["Error"]["Message"])
        payload = orjson.loads(message.payload)
        payload.pop("p", None)
        kind = response["headers"][":event-type"]
        _narrow(payload, output.members[kind], kind)
        found.append(parsed)
    assert buffer._data == b""
    return found


def check_converse_stream(raw: bytes) -> dict[str, Any] | None:
    """The whole answer that a stream adds up to, as JSON; None for one that ends in an exception. Raises `AssertionError` for a wrong order."""
    try:
        found = events(raw)
    except ConverseStreamError:
        return None
    assert list(found[0]) == ["messageStart"], found[0]
    assert list(found[-1]) == ["metadata"], found[-1]
    assert list(found[-2]) == ["messageStop"], found[-2]
    return fold(found)


def fold_converse(raw: bytes) -> dict[str, Any]:
    """The answer that a stream of AWS's own adds up to, however newer than the model it is."""
    buffer = EventStreamBuffer()
    buffer.add_data(raw)
    found = [{str(m.headers[":event-type"]): orjson.loads(m.payload)} for m in buffer]
    return fold([event for event in found if not event.keys() & {"initial-response"}], native=True)


def fold(found: list[dict[str, Any]], *, native: bool = False) -> dict[str, Any]:
    """Events as one answer of Converse. `native`: bytes are still base64, as on the wire."""
    content: list[dict[str, Any]] = []
    stop: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    is_open = False
    for event in found:
        kind, inner = next(iter(event.items()))
        if kind == "contentBlockStart":
            assert not is_open, "a block starts while another is open"
            assert inner["contentBlockIndex"] == len(content)
            content.append({name: {**value, "input": ""} if name == "toolUse" else dict(value) for name, value in inner["start"].items()})
            is_open = True
        elif kind == "contentBlockDelta":
            if not is_open:
                content.append({})
                is_open = True
            assert inner["contentBlockIndex"] == len(content) - 1
            _add(content[-1], inner["delta"], (lambda data: data) if native else (lambda data: base64.b64encode(data).decode()))
        elif kind == "contentBlockStop":
            assert is_open, "a stop of no block"
            is_open = False
        elif kind == "messageStop":
            stop = inner
        elif kind == "metadata":
            metadata = inner
    assert not is_open
    for block in content:
        if "toolUse" in block:
            block["toolUse"]["input"] = orjson.loads(block["toolUse"]["input"] or "{}")
    return {"output": {"message": {"role": "assistant", "content": content}}, **stop, **metadata}


def _add(block: dict[str, Any], delta: dict[str, Any], encoded: Callable[[Any], str]) -> None:
    kind, inner = next(iter(delta.items()))
    if kind == "text":
        block["text"] = block.get("text", "") + inner
    elif kind == "toolUse":
        block["toolUse"]["input"] += inner["input"]
    elif kind == "image":
        block["image"]["source"] = {"bytes": encoded(inner["source"]["bytes"])}
    elif kind == "citation":
        block.setdefault("citations", []).append(inner)
    elif "redactedContent" in inner:
        block["reasoningContent"] = {"redactedContent": encoded(inner["redactedContent"])}
    else:
        shown = block.setdefault("reasoningContent", {}).setdefault("reasoningText", {"text": ""})
        shown["text"] += inner.get("text", "")
        if "signature" in inner:
            shown["signature"] = inner["signature"]


def answered(status: int, body: bytes, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """What boto3 makes of an answer to Converse: the parsed output, or `Error` with its code and message."""
    shape = operation("Converse").output_shape
    response = {"status_code": status, "headers": headers or {}, "body": body}
    return RestJSONParser().parse(response, shape)  # type: ignore[no-any-return]
