"""An Envoy that only forwards: the same kind of listener and access path without any of our filters, to compare with."""

from __future__ import annotations

from typing import Any

_MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def plain_config(listen: str, upstreams: dict[str, int]) -> dict[str, Any]:
    """A bootstrap: listens on the Unix socket `listen`, routes by the header `x-upstream` to a port on 127.0.0.1."""
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "plain",
                    "address": {"pipe": {"path": listen}},
                    "per_connection_buffer_limit_bytes": 64 << 20,
                    "filter_chains": [{"filters": [{"name": "hcm", "typed_config": _manager(list(upstreams))}]}],
                }
            ],
            "clusters": [_cluster(name, port) for name, port in upstreams.items()],
        }
    }


def _manager(names: list[str]) -> dict[str, Any]:
    routes = [
        {
            "match": {"prefix": "/", "headers": [{"name": "x-upstream", "string_match": {"exact": name}}]},
            "route": {"cluster": name, "timeout": "0s"},
        }
        for name in names
    ]
    return {
        "@type": _MANAGER,
        "stat_prefix": "plain",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
    }


def _cluster(name: str, port: int) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "per_connection_buffer_limit_bytes": 64 << 20,
        "circuit_breakers": {"thresholds": [{"max_connections": 4096, "max_pending_requests": 4096, "max_requests": 4096}]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
    }
