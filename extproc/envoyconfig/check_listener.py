"""Refusals in bootstrap.yaml and listener.yaml."""

from __future__ import annotations

from typing import Any

from extproc.envoyconfig import wire
from extproc.envoyconfig.check_routes import DEFAULT_IDLE, refused, silence, too_small
from extproc.envoyconfig.clusters import RESERVED
from extproc.envoyconfig.filters import RESERVED_FILTERS
from extproc.envoyconfig.layers import Block, member, seconds
from extproc.envoyconfig.options import Options
from extproc.envoyconfig.problem import Problem
from extproc.envoyconfig.sources import Sources
from extproc.registry.types import Registry

_OURS = "is set by extproc"
_BOOTSTRAP_REFUSED = {
    "admin": "the admin interface is a Unix socket that only we may open",
    "dynamic_resources": _OURS,
    "hds_config": "health checks belong to the clusters",
}
_STATIC_REFUSED = {"listeners": _OURS}
_LISTENER_REFUSED = {
    "name": _OURS,
    "address": "is set by --listen",
    "additional_addresses": "is set by --listen-socket",
    **dict.fromkeys(
        ("filter_chains", "filter_chain_matcher", "default_filter_chain", "api_listener", "internal_listener", "udp_listener_config"), _OURS
    ),
}
_MANAGER_REFUSED = {
    **dict.fromkeys(("rds", "route_config", "scoped_routes"), _OURS),
    "http_filters": "is set by extproc; filters of yours stand in `http_filters` of this file, `before` or `after` ours",
    "upgrade_configs": "upgrades are not served",
}
_TRACING_REFUSED = {
    **dict.fromkeys(("provider", "operation", "upstream_operation"), "is set by extproc; the collector is the OTLP endpoint"),
    "spawn_upstream_span": "is set by extproc: each attempt has a span of its own",
}


def check_bootstrap(registry: Registry, sources: Sources) -> list[Problem]:
    """What the rest of the bootstrap is built by us."""
    whole, static = Block.of(sources.bootstrap), Block.of(sources.bootstrap, "static_resources")
    problems = refused(whole, _BOOTSTRAP_REFUSED) + refused(static, _STATIC_REFUSED)
    taken = {*RESERVED, *registry.clusters}
    clusters = member(static.data, ("clusters",))
    if clusters is not None and not isinstance(clusters, list):
        return [*problems, static.problem(("clusters",), "must be a list")]
    problems += [
        static.problem(("clusters", index), "has the name of a target or of a cluster that extproc adds")
        for index, cluster in enumerate(clusters or [])
        if member(cluster, ("name",)) in taken
    ]
    return problems


def check_listener(registry: Registry, sources: Sources, options: Options) -> list[Problem]:  # noqa: ARG001 - one signature for all files
    """The listener and the HTTP connection manager."""
    listener = Block.of(sources.listener, "listener")
    manager = Block.of(sources.listener, "http_connection_manager")
    tracing = Block.of(sources.listener, "http_connection_manager", "tracing")
    problems = refused(listener, _LISTENER_REFUSED) + refused(manager, _MANAGER_REFUSED) + refused(tracing, _TRACING_REFUSED)
    size = member(listener.data, ("per_connection_buffer_limit_bytes",))
    if size is not None and not (isinstance(size, int) and size >= options.buffer_bytes):
        problems.append(listener.problem(("per_connection_buffer_limit_bytes",), too_small(options)))
    problems += _replies(manager) + _filters(Block.of(sources.listener, "http_filters"))
    socket = Block.of(sources.listener, "transport_socket")
    named = isinstance(member(socket.data, ("name",)), str) and isinstance(member(socket.data, ("typed_config", wire.TYPE)), str)
    if socket.data and not named:
        problems.append(socket.problem((), "must have a name and a typed_config with its @type"))
    quiet = max(silence(sources).values())
    written = member(manager.data, ("stream_idle_timeout",))
    idle = DEFAULT_IDLE if written is None else seconds(written)
    if idle and idle <= quiet:
        problems.append(
            manager.problem(
                ("stream_idle_timeout",),
                f"must be longer than every per_try_idle_timeout of the routes ({quiet:g}s), is {idle:g}s: it ends requests instead of attempts",
            )
        )
    path = ("common_http_protocol_options", "max_stream_duration")
    if seconds(member(manager.data, path)):
        problems.append(manager.problem(path, "would cut streams that flow; the registry's `deadline` bounds a chain"))
    return problems


def _filters(block: Block) -> list[Problem]:
    """The operator's own filters."""
    problems = []
    names: list[Any] = list(RESERVED_FILTERS)
    for where, written in (block.data or {}).items():
        if where not in ("before", "after"):
            problems.append(block.problem((where,), "is not known here; filters stand `before` or `after` ours"))
        elif written is not None and not isinstance(written, list):
            problems.append(block.problem((where,), "must be a list of filters"))
        for index, entry in enumerate(written if where in ("before", "after") and isinstance(written, list) else []):
            name = member(entry, ("name",))
            kind = member(entry, ("typed_config", wire.TYPE))
            if not isinstance(name, str) or not isinstance(kind, str):
                problems.append(block.problem((where, index), "must have a name and a typed_config with its @type"))
            elif name in names:
                problems.append(block.problem((where, index, "name"), f"{name} is there already"))
            elif kind == wire.ROUTER:
                problems.append(block.problem((where, index), "the router is the last filter, and set by extproc"))
            names.append(name)
    return problems


def _replies(manager: Block) -> list[Problem]:
    local = member(manager.data, ("local_reply_config",))
    if local is None:
        return []
    problems = []
    if not isinstance(local, dict):
        return [manager.problem(("local_reply_config",), "must be a mapping")]
    if "body_format" in local:
        problems.append(
            manager.problem(
                ("local_reply_config", "body_format"), "would rewrite every answer of the ext_proc server, too; write a mapper with a filter"
            )
        )
    mappers = local.get("mappers")
    if mappers is not None and not (isinstance(mappers, list) and all(isinstance(mapper, dict) for mapper in mappers)):
        problems.append(manager.problem(("local_reply_config", "mappers"), "must be a list of mappings"))
    return problems
