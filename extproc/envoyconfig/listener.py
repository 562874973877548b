"""The listener and its HTTP connection manager."""

from __future__ import annotations

import posixpath
from typing import Any

from extproc.core.plan import NAMESPACE
from extproc.envoyconfig import filters, replies, wire
from extproc.envoyconfig.clusters import OTEL_CLUSTER
from extproc.envoyconfig.filters import EXT_PROC_CLUSTER
from extproc.envoyconfig.headers import CLIENT_CONTROLS, SHADOW
from extproc.envoyconfig.merge import merge, merge_all
from extproc.envoyconfig.options import Options, Otlp
from extproc.envoyconfig.routes import ROUTE_CONFIG, UPGRADE
from extproc.envoyconfig.sources import Sources

LISTENER = "llm"
_FILE_LOGGERS = ("envoy.access_loggers.file",)


def listener(options: Options, sources: Sources) -> dict[str, Any]:
    """Static: a listener that changes cuts the streams under way."""
    data = sources.listener.data
    socket = data.get("transport_socket")
    manager = _manager(options, sources, data.get("http_filters") or {}, certificates=bool(socket))
    chain: dict[str, Any] = {"filters": [wire.named("envoy.filters.network.http_connection_manager", wire.HTTP_CONNECTION_MANAGER, manager)]}
    if socket:
        chain["transport_socket"] = socket
    ours: dict[str, Any] = {
        "address": {"socket_address": {"address": options.address, "port_value": options.port}},
        "filter_chains": [chain],
    }
    if options.listen_socket is not None:
        ours["additional_addresses"] = [{"address": {"pipe": {"path": options.listen_socket, "mode": 0o666}}}]
    return merge_all({"name": LISTENER, "per_connection_buffer_limit_bytes": options.buffer_bytes}, data.get("listener"), ours)


def shadow_listener(options: Options, sources: Sources) -> dict[str, Any]:
    """The server's own door, a Unix socket that only its user can open: requests of which it sends a share again, to another target.

    Filters that an SRE puts in front are not there: these requests have passed them once, and their credentials are gone.
    """
    manager = _manager(options, sources, {}, SHADOW)
    return {
        "name": "shadow",
        "per_connection_buffer_limit_bytes": options.buffer_bytes,
        "address": {"pipe": {"path": options.shadow_socket, "mode": 0o600}},
        "filter_chains": [{"filters": [wire.named("envoy.filters.network.http_connection_manager", wire.HTTP_CONNECTION_MANAGER, manager)]}],
    }


def _manager(
    options: Options, sources: Sources, own: dict[str, Any], believed: tuple[str, ...] = CLIENT_CONTROLS, *, certificates: bool = False
) -> dict[str, Any]:
    """`own` are the operator's filters: `before` and `after` ours. `certificates`: clients may have one."""
    data = merge({"stat_prefix": LISTENER}, sources.listener.data.get("http_connection_manager") or {})
    tracing = data.pop("tracing", {})
    if options.otlp is not None:
        data["tracing"] = merge(tracing, _tracing(options, options.otlp))
    data["access_log"] = _access_log(data.get("access_log") or [], options)
    local = data.get("local_reply_config") or {}
    data["local_reply_config"] = {**local, "mappers": replies.mappers(local.get("mappers") or [], options.max_body_bytes)}
    limits = dict(sources.ext_proc.data.get("route") or {})
    before, after = own.get("before") or [], own.get("after") or []
    data["http_filters"] = filters.route_chain(limits, options.max_body_bytes, believed, before, after, certificates=certificates)
    # Without a chain of its own a refused upgrade would be shown to the ext_proc server, as an answer to a request that it never saw.
    data["upgrade_configs"] = [{"upgrade_type": UPGRADE, "filters": filters.upgrade_chain()}]
    rds = posixpath.join(options.out_dir, "rds.yaml")
    data["rds"] = {
        "route_config_name": ROUTE_CONFIG,
        "config_source": {"path_config_source": {"path": rds, "watched_directory": {"path": options.out_dir}}, "resource_api_version": "V3"},
    }
    return dict(data)


def _access_log(loggers: list[dict[str, Any]], options: Options) -> list[dict[str, Any]]:
    """The file loggers that name no path get the option's; without one they are left out."""
    kept = []
    for logger in loggers:
        config = logger.get("typed_config") or {}
        if logger.get("name") in _FILE_LOGGERS and "path" not in config:
            if not options.access_log:
                continue
            logger = merge(logger, {"typed_config": {"path": options.access_log}})
        kept.append(logger)
    return [*kept, _broken_ends()]


def _broken_ends() -> dict[str, Any]:
    """Tells the server who broke a request off: only Envoy's response flags know. Requests that ended well are not sent."""
    flags = ["DC", "DR", "UC", "UR", "UPE", "UT", "SI", "LR"]
    config = {
        "common_config": {
            "log_name": "broken",
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": EXT_PROC_CLUSTER}, "timeout": "0s"},
            "buffer_flush_interval": "0.1s",
        }
    }
    return {**wire.named("envoy.access_loggers.http_grpc", wire.HTTP_GRPC_ACCESS_LOG, config), "filter": {"response_flag_filter": {"flags": flags}}}


def _tracing(options: Options, otlp: Otlp) -> dict[str, Any]:
    """One server span per request and, under it, one client span per attempt."""
    if otlp.grpc:
        service: dict[str, Any] = {"grpc_service": {"envoy_grpc": {"cluster_name": OTEL_CLUSTER}, "timeout": "5s"}}
        if otlp.headers:
            service["grpc_service"]["initial_metadata"] = [{"key": name, "value": value} for name, value in otlp.headers]
    else:
        service = {"http_service": {"http_uri": {"uri": otlp.url, "cluster": OTEL_CLUSTER, "timeout": "5s"}}}
        if otlp.headers:
            service["http_service"]["request_headers_to_add"] = [{"header": {"key": name, "value": value}} for name, value in otlp.headers]
    environment = wire.named("envoy.tracers.opentelemetry.resource_detectors.environment", wire.RESOURCE_ENVIRONMENT)
    provider = {"service_name": options.service_name, **service, "resource_detectors": [environment]}
    return {
        "spawn_upstream_span": True,
        "operation": "llm %REQ(:METHOD)%",
        "upstream_operation": "llm attempt %UPSTREAM_CLUSTER%",
        "custom_tags": [
            {"tag": "gen_ai.request.model", "value": f"%DYNAMIC_METADATA({NAMESPACE}:model)%"},
            {"tag": "llm.attempt", "value": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "value_type": "INT"},
        ],
        "provider": wire.named("envoy.tracers.opentelemetry", wire.OPENTELEMETRY, provider),
    }
