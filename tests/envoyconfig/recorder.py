"""A small ext_proc server for these tests: records what Envoy shows it and sends every request to one chain of clusters.

Not the product's server: it knows nothing of models, so that a failure here is one of the configuration.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from extproc.core.plan import NAMESPACE, groups
from extproc.edge import llm_extproc_pb2 as pb


@dataclass
class Recorder:
    """`chain`: clusters to try. `retry`: statuses that the attempt stage marks for another try. `seen`: (stage, message kind, headers or body)."""

    chain: list[str] = field(default_factory=list)
    retry: frozenset[int] = frozenset()
    whole: bool = True
    path: str = "/v1/chat/completions"
    key_headers: dict[str, str] = field(default_factory=dict)
    seen: list[tuple[str, str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def headers(self, stage: str, kind: str = "request_headers") -> list[dict[str, str]]:
        with self.lock:
            return [dict(value) for at, what, value in self.seen if at == stage and what == kind]

    def process(self, messages: Iterator[pb.ProcessingRequest], context: grpc.ServicerContext) -> Iterator[pb.ProcessingResponse]:
        stage = str(dict(context.invocation_metadata())["x-stage"])
        for message in messages:
            kind = message.WhichOneof("request")
            value = getattr(message, kind)
            with self.lock:
                self.seen.append((stage, kind, _pairs(value) if kind.endswith("headers") else len(value.body)))
            yield self._answer(stage, kind, value)
            if stage == "attempt" and kind == "response_headers":
                return

    def _answer(self, stage: str, kind: str, value: Any) -> pb.ProcessingResponse:
        response = pb.ProcessingResponse()
        getattr(response, kind).SetInParent()
        common = getattr(response, kind).response
        if stage == "route" and (kind == "request_body" or (kind == "request_headers" and value.end_of_stream)):
            _set(common, "x-llm-route", "whole" if self.whole else "stream")
            _set(common, "x-envoy-max-retries", str(len(self.chain) - 1))
            common.clear_route_cache = True
            response.dynamic_metadata.update({NAMESPACE: {"priority_groups": groups(self.chain), "model": "chat"}})
        elif stage == "attempt" and kind == "request_headers":
            _set(common, ":path", self.path)
            _set(common, ":authority", "llm.test")
        elif stage == "attempt" and kind == "response_headers":
            if int(_pairs(value)[":status"]) in self.retry:
                _set(common, "x-llm-retry", "next")
        elif stage == "route" and kind == "response_headers":
            common.header_mutation.remove_headers.extend(["x-llm-retry"])
        return response


def _pairs(value: Any) -> dict[str, str]:
    return {h.key: h.value or h.raw_value.decode("latin-1") for h in value.headers.headers}


def _set(common: Any, name: str, value: str) -> None:
    option = common.header_mutation.set_headers.add()
    option.header.key, option.header.raw_value, option.append_action = name, value.encode(), pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


@contextmanager
def recording(directory: Path, recorder: Recorder) -> Iterator[Recorder]:
    """Serves `recorder` on the socket that Envoy expects in `directory`."""
    handler = grpc.stream_stream_rpc_method_handler(
        recorder.process, request_deserializer=pb.ProcessingRequest.FromString, response_serializer=pb.ProcessingResponse.SerializeToString
    )
    health = grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"\x08\x01")
    with futures.ThreadPoolExecutor(16) as pool:
        server = grpc.server(pool, options=[("grpc.max_receive_message_length", 1 << 30)])
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler("envoy.service.ext_proc.v3.ExternalProcessor", {"Process": handler}),
                grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": health}),
            )
        )
        (directory / "run").mkdir(exist_ok=True)
        server.add_insecure_port(f"unix:{directory}/run/extproc-0.sock")
        server.start()
        try:
            yield recorder
        finally:
            server.stop(None).wait()
