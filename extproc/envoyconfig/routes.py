"""The routes; the cluster is chosen per request and per attempt from dynamic metadata.

`stream` and `whole` differ in how long a provider may be silent. `once` is `stream` for requests that are passed on as they are: they are sent again
only where no provider can have seen them, since nobody knows what doing them twice would mean.
"""

from __future__ import annotations

from typing import Any

from extproc.core.plan import NAMESPACE
from extproc.envoyconfig import wire
from extproc.envoyconfig.merge import merge_all
from extproc.envoyconfig.options import Options
from extproc.envoyconfig.replies import UPGRADE_REFUSED
from extproc.envoyconfig.sources import Sources

ROUTE_CONFIG = "llm"
UPGRADE = "websocket"
WHOLE, STREAM, ONCE = "whole", "stream", "once"
ROUTE_HEADER = "x-llm-route"
RETRY_HEADER = "x-llm-retry"
PAUSE_HEADER = "x-llm-backoff"
NO_PLAN = "no-plan"
"""A cluster that does not exist: a request without a plan goes nowhere (503), never to whichever target is first."""


def route_configuration(options: Options, sources: Sources) -> dict[str, Any]:
    """Routes.yaml with what the design needs laid over it."""
    data = sources.routes.data
    host = merge_all(
        {"name": ROUTE_CONFIG},
        data.get("virtual_host"),
        {
            "domains": ["*"],
            "request_body_buffer_limit": options.buffer_bytes,
            "routes": [
                _no_upgrade(),
                {"match": _marked(WHOLE), **_route(WHOLE, data)},
                {"match": _marked(ONCE), **_once(data)},
                {"match": {"prefix": "/"}, **_route(STREAM, data)},
            ],
        },
    )
    return {wire.TYPE: wire.ROUTE_CONFIGURATION, "name": ROUTE_CONFIG, "validate_clusters": False, "virtual_hosts": [host]}


def _no_upgrade() -> dict[str, Any]:
    """WebSocket and realtime clients are told so, whether or not the ext_proc server is there; `replies` makes it JSON."""
    return {
        "match": {"prefix": "/", "headers": [{"name": "upgrade", "string_match": {"exact": UPGRADE, "ignore_case": True}}]},
        "name": "no-upgrade",
        "direct_response": {"status": 501, "body": {"inline_string": UPGRADE_REFUSED}},
    }


def _marked(name: str) -> dict[str, Any]:
    """A request that the server has sent this way."""
    return {"prefix": "/", "headers": [{"name": ROUTE_HEADER, "string_match": {"exact": name}}]}


def _once(data: dict[str, Any]) -> dict[str, Any]:
    route = _route(STREAM, data)
    route["name"] = ONCE
    policy = route["route"]["retry_policy"]
    policy["retry_on"] = "connect-failure,refused-stream"
    policy.pop("retriable_headers")
    return route


def _route(name: str, data: dict[str, Any]) -> dict[str, Any]:
    action = merge_all(
        {"timeout": "0s"},
        data.get("both"),
        data.get(name),
        {
            "inline_cluster_specifier_plugin": {
                "extension": wire.named(
                    "envoy.router.cluster_specifier_plugin.priority_group",
                    wire.PRIORITY_GROUP,
                    {
                        "override_metadata_namespace": NAMESPACE,
                        "priority_groups": [{"name": NO_PLAN, "clusters": [{"cluster_name": NO_PLAN, "weight": 1}]}],
                    },
                )
            },
            "retry_policy": {
                "retriable_headers": [{"name": RETRY_HEADER, "present_match": True}],
                "refresh_cluster_on_retry": True,
                # Our own header, so that the provider's retry-after stays for the client.
                "rate_limited_retry_back_off": {"reset_headers": [{"name": PAUSE_HEADER, "format": "SECONDS"}]},
            },
        },
    )
    return {"name": name, "route": action}
