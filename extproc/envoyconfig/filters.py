"""The HTTP filters that the design rests on: the two ext_proc filters, the header mutations around them.

What adds a provider's key to a request is in `authorisation`.

Nothing here is open to the YAML files but the time limits, and what stands before and after the route filter. The modes of the attempt filter
are the ones that Envoy survives: a request body in a streaming mode, or an answer beyond the buffers, in an upstream ext_proc filter ends the
process.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from extproc.core.authenticated import CERTIFICATE, JWT_NAMESPACE
from extproc.core.plan import ATTEMPTS_NAMESPACE, CLUSTER_NAMESPACE, NAMESPACE, USAGE_NAMESPACE
from extproc.envoyconfig import headers, wire

EXT_PROC_CLUSTER = "ext_proc"
ROUTE_FILTER = "ext_proc.route"
ATTEMPT_FILTER = "ext_proc.attempt"
PROVIDER = CLUSTER_NAMESPACE
"""Cluster metadata: which target, provider and dialect a cluster is."""

RESERVED_FILTERS = ("edge", "body_size_limit", ROUTE_FILTER, "envoy.filters.http.router")
"""Names of the listener's filters that are ours."""
_MUTATION_RULES = {"allow_all_routing": True, "allow_envoy": True}


def route_chain(
    limits: dict[str, Any],
    max_body_bytes: int,
    believed: Iterable[str] = headers.CLIENT_CONTROLS,
    before: Iterable[dict[str, Any]] = (),
    after: Iterable[dict[str, Any]] = (),
    *,
    certificates: bool = False,
) -> list[dict[str, Any]]:
    """Downstream: what the application may not say goes, the ext_proc server reads the request and later sees the answer, the router sends.

    `before` and `after` are the operator's own filters. Those after see a request when it is planned: its metadata is there, its body is the
    client's.

    Whom Envoy authenticates (jwt_authn in `before`; `certificates`) the server is told, whatever the registry's `identity` is at the moment: it may
    change, and the listener does not.
    """
    before = list(before)
    attributes = sorted(CERTIFICATE.values()) if certificates else []
    claims = [JWT_NAMESPACE] if _holds(before, wire.JWT_AUTHN) else []
    return [
        _edge(believed),
        # 413 above it. The buffers are larger: they hold answers, too.
        wire.named("body_size_limit", wire.BODY_SIZE_LIMIT, {"max_request_bytes": max_body_bytes}),
        *before,
        _for_requests(
            ROUTE_FILTER,
            {
                "grpc_service": _grpc_service("route"),
                "message_timeout": "5s",
                **limits,
                **_always(),
                # At response_headers the server picks how it sees the body: STREAMED, FULL_DUPLEX_STREAMED or BUFFERED.
                "allow_mode_override": True,
                # A body that passes unchanged keeps its length; the server removes it where it may change.
                "allow_content_length_header": True,
                "route_cache_action": "DEFAULT",
                "processing_mode": {
                    "request_header_mode": "SEND",
                    "request_body_mode": "BUFFERED",
                    "response_header_mode": "SEND",
                    "response_body_mode": "NONE",
                    "request_trailer_mode": "SKIP",
                    "response_trailer_mode": "SKIP",
                },
                **({"request_attributes": attributes} if attributes else {}),
                "response_attributes": ["xds.cluster_name", "upstream.request_attempt_count"],
                "metadata_options": {
                    "receiving_namespaces": {"untyped": [NAMESPACE, USAGE_NAMESPACE]},
                    "forwarding_namespaces": {"untyped": [ATTEMPTS_NAMESPACE, *claims]},
                },
            },
        ),
        *after,
        _router(),
    ]


def _holds(config: Any, kind: str) -> bool:
    """Is a message of type `kind` anywhere in `config`? Filters may be wrapped in others."""
    if isinstance(config, dict):
        return config.get(wire.TYPE) == kind or any(_holds(member, kind) for member in config.values())
    return isinstance(config, list) and any(_holds(item, kind) for item in config)


def upgrade_chain() -> list[dict[str, Any]]:
    """Downstream for a WebSocket: it is refused without the ext_proc server, which could not read it."""
    return [_edge(), _router()]


def attempt_chain(limits: dict[str, Any], authorisation: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Upstream, once per attempt, in this order: translate, remove every key, add this provider's, remove what is ours, send.

    `authorisation` is the filter that adds a key or signs, None where there is none.
    """
    chain = [
        wire.named(
            ATTEMPT_FILTER,
            wire.EXT_PROC,
            {
                "grpc_service": _grpc_service("attempt"),
                **limits,
                **_always(),
                # The gate: the server answers response_headers when it has seen enough of the body, then ends its call.
                "send_body_without_waiting_for_header_response": True,
                "allow_content_length_header": True,
                "processing_mode": {
                    "request_header_mode": "SEND",
                    "request_body_mode": "BUFFERED",
                    "response_header_mode": "SEND",
                    "response_body_mode": "STREAMED",
                    "request_trailer_mode": "SKIP",
                    "response_trailer_mode": "SKIP",
                },
                "request_attributes": ["xds.cluster_name", "upstream.request_attempt_count", "xds.route_name"],
                "metadata_options": {
                    "forwarding_namespaces": {"untyped": [NAMESPACE]},
                    "receiving_namespaces": {"untyped": [NAMESPACE, ATTEMPTS_NAMESPACE]},
                    "cluster_metadata_forwarding_namespaces": {"untyped": [PROVIDER]},
                },
            },
        ),
        _mutation("clean", headers.clean_mutations()),
    ]
    if authorisation is not None:
        chain.append(authorisation)
    chain.append(_mutation("strip", headers.strip_mutations(), headers.arrival_of_answer_mutations()))
    chain.append(wire.named("envoy.filters.http.upstream_codec", wire.UPSTREAM_CODEC))
    return chain


def _for_requests(name: str, config: dict[str, Any]) -> dict[str, Any]:
    """An ext_proc filter that is there from the request's headers on.

    Envoy shows its own answers to every filter, also when there was no request that it could read: the ext_proc server would be asked about
    an answer to nothing, and Envoy closes such a connection before it can reply, so the client would get no 400, 426 or 431 at all.
    """
    action = {"typed_config": wire.named(name, wire.EXT_PROC, config)}
    path = {"name": "path", "typed_config": {wire.TYPE: wire.REQUEST_HEADER, "header_name": ":path"}}
    predicate = {"single_predicate": {"input": path, "value_match": {"prefix": "/"}}}
    on_match = {"action": wire.named(name, wire.EXECUTE_FILTER, action)}
    return wire.named(
        name,
        wire.EXTENSION_WITH_MATCHER,
        {
            "extension_config": wire.named("composite", wire.COMPOSITE),
            "xds_matcher": {"matcher_list": {"matchers": [{"predicate": predicate, "on_match": on_match}]}},
        },
    )


def _edge(believed: Iterable[str] = headers.CLIENT_CONTROLS) -> dict[str, Any]:
    return wire.named(
        "edge",
        wire.HEADER_MUTATION,
        {"mutations": {"request_mutations": headers.arrival_mutations(believed), "response_mutations": headers.departure_mutations()}},
    )


def _router() -> dict[str, Any]:
    return wire.named("envoy.filters.http.router", wire.ROUTER, {"suppress_envoy_headers": True})


def _always() -> dict[str, Any]:
    return {
        "failure_mode_allow": False,
        "status_on_error": {"code": 503},
        "emit_client_span": False,
        "mutation_rules": dict(_MUTATION_RULES),
        "forward_rules": headers.disallowed(),
    }


def _grpc_service(stage: str) -> dict[str, Any]:
    return {
        "envoy_grpc": {"cluster_name": EXT_PROC_CLUSTER},
        "timeout": "0s",
        "initial_metadata": [{"key": "x-stage", "value": stage}],
        # A dead process: the next one. Without a back-off of its own Envoy would wait up to a second.
        "retry_policy": {
            "num_retries": 2,
            "retry_on": "connect-failure,unavailable,reset",
            "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.02s"},
            "retry_host_predicate": [wire.named("envoy.retry_host_predicates.previous_hosts", wire.PREVIOUS_HOSTS)],
            "host_selection_retry_max_attempts": 5,
        },
    }


def _mutation(name: str, requests: list[dict[str, Any]], responses: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    mutations = {"request_mutations": requests} | ({"response_mutations": responses} if responses else {})
    return wire.named(name, wire.HEADER_MUTATION, {"mutations": mutations})
