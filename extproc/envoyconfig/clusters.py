"""Clusters: one per target and credential, one for the ext_proc server, one for the trace collector."""

from __future__ import annotations

import ipaddress
import posixpath
from typing import Any
from urllib.parse import quote, urlsplit

from extproc.envoyconfig import authorisation, filters, sockets, wire
from extproc.envoyconfig.merge import merge, merge_all
from extproc.envoyconfig.options import Options
from extproc.envoyconfig.routes import NO_PLAN
from extproc.envoyconfig.sources import Sources
from extproc.registry.types import Credential, Registry, Target

OTEL_CLUSTER = "otel"
RESERVED = frozenset({filters.EXT_PROC_CLUSTER, OTEL_CLUSTER, NO_PLAN})
"""Cluster names that are not for targets."""


def provider_clusters(registry: Registry, options: Options, sources: Sources) -> list[dict[str, Any]]:
    """In the registry's order."""
    return [
        _provider_cluster(name, target, credential, options, sources)
        for target in registry.targets.values()
        for name, credential in zip(target.clusters, target.provider.credentials, strict=True)
    ]


def secrets(registry: Registry, options: Options) -> dict[str, dict[str, Any]]:
    """File name below `sds/` → its content, for every cluster that has a key."""
    found = {}
    for target in registry.targets.values():
        provider = target.provider
        for name, credential in zip(target.clusters, provider.credentials, strict=True):
            secret = authorisation.secret(provider, credential, authorisation.secret_name(name, provider, credential, options), options)
            if secret is not None:
                found[secret_file(name)] = {"resources": [secret]}
    return found


def secret_file(cluster: str) -> str:
    """The cluster's name as a file name."""
    return f"{quote(cluster, safe='@')}.yaml"


def ext_proc_cluster(options: Options, sources: Sources) -> dict[str, Any]:
    """One Unix socket per server process; the stages of one request may land on different ones."""
    window = options.buffer_bytes
    http = {
        wire.HTTP_OPTIONS: {
            wire.TYPE: wire.HTTP_OPTIONS_TYPE,
            # More than an attempt can hold: an upstream ext_proc stream that meets its window ends the process.
            "explicit_http_config": {
                "http2_protocol_options": {"initial_stream_window_size": window, "initial_connection_window_size": 2 * window},
            },
        }
    }
    sockets = [{"endpoint": {"address": {"pipe": {"path": path}}}} for path in options.server_sockets]
    ours = {
        "name": filters.EXT_PROC_CLUSTER,
        "type": "STATIC",
        "lb_policy": "ROUND_ROBIN",
        "per_connection_buffer_limit_bytes": window,
        "typed_extension_protocol_options": http,
        "load_assignment": {"cluster_name": filters.EXT_PROC_CLUSTER, "endpoints": [{"lb_endpoints": sockets}]},
    }
    return merge_all({"name": filters.EXT_PROC_CLUSTER, "type": "STATIC"}, sources.ext_proc.data.get("cluster"), ours)


def otel_cluster(options: Options) -> dict[str, Any]:
    """The collector that Envoy's own spans go to."""
    assert options.otlp is not None
    url = urlsplit(options.otlp.url)
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    cluster: dict[str, Any] = {"name": OTEL_CLUSTER, "connect_timeout": "2s", **_address(OTEL_CLUSTER, host, port)}
    if options.otlp.grpc:
        options_of_http: dict[str, Any] = {"explicit_http_config": {"http2_protocol_options": {}}}
        cluster["typed_extension_protocol_options"] = {wire.HTTP_OPTIONS: {wire.TYPE: wire.HTTP_OPTIONS_TYPE, **options_of_http}}
    if url.scheme == "https":
        cluster["transport_socket"] = merge(
            _tls(host, options), {"typed_config": {"common_tls_context": {"alpn_protocols": ["h2" if options.otlp.grpc else "http/1.1"]}}}
        )
    return cluster


def _provider_cluster(name: str, target: Target, credential: Credential, options: Options, sources: Sources) -> dict[str, Any]:
    provider = target.provider
    base = merge_all(sources.cluster.data, provider.envoy, target.envoy)
    https = provider.scheme == "https"
    proxy, own = sockets.layered(sources.cluster.data, provider.envoy, target.envoy)
    socket = sockets.through(proxy, merge(_tls(provider.host, options), own) if https else None)
    base.pop("transport_socket", None)
    if socket is not None:
        base["transport_socket"] = socket
    http = (base.get("typed_extension_protocol_options") or {}).get(wire.HTTP_OPTIONS) or {}
    if not https and "auto_config" in http:
        # ALPN is part of TLS.
        plain = http.pop("auto_config").get("http_protocol_options") or {}
        http["explicit_http_config"] = {"http_protocol_options": plain}
    sds_file = posixpath.join(options.out_dir, "sds", secret_file(name))
    secret = authorisation.secret_name(name, provider, credential, options)
    adding = authorisation.filter_for(provider, credential, secret, sds_file, options)
    chain = filters.attempt_chain(dict(sources.ext_proc.data.get("attempt") or {}), adding)
    return merge_all(
        {"name": name},
        _address(name, provider.host, provider.port, sockets.proxy_address(proxy)),
        {"metadata": {"filter_metadata": {filters.PROVIDER: _told(target)}}},
        {"per_connection_buffer_limit_bytes": options.buffer_bytes},
        base,
        {"typed_extension_protocol_options": {wire.HTTP_OPTIONS: {wire.TYPE: wire.HTTP_OPTIONS_TYPE, "http_filters": chain}}},
    )


def _told(target: Target) -> dict[str, Any]:
    """What an attempt learns of its cluster: a target of the same name may lie elsewhere when the registry has changed since its request came."""
    provider = target.provider
    return {"target": target.name, "provider": provider.name, "dialect": provider.kind.dialect, "endpoint": provider.endpoint}


def _address(cluster: str, host: str, port: int, proxy: str | None = None) -> dict[str, Any]:
    """Type and endpoint. The host name stands in the endpoint, too: the SNI is taken from there, and what an egress proxy is asked for.

    Behind a `proxy` nobody connects to the endpoint's address, so the provider's name need not be one that this network can resolve.
    """
    host = host.strip("[]")
    address = host if proxy is None or is_ip(host) else proxy
    endpoint = {"hostname": host, "address": {"socket_address": {"address": address, "port_value": port}}}
    return {
        "type": "STATIC" if is_ip(address) else "STRICT_DNS",
        "load_assignment": {"cluster_name": cluster, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
    }


def _tls(host: str, options: Options) -> dict[str, Any]:
    """The peer must prove to be `host`. Never `auto_sni`: the name of the first attempt would be sent to every later provider."""
    host = host.strip("[]")
    validation: dict[str, Any] = {"trusted_ca": {"filename": options.ca_file}}
    config: dict[str, Any] = {wire.TYPE: wire.UPSTREAM_TLS}
    if is_ip(host):
        validation["match_typed_subject_alt_names"] = [{"san_type": "IP_ADDRESS", "matcher": {"exact": host}}]
    else:
        config |= {"auto_host_sni": True, "auto_sni_san_validation": True}
    config["common_tls_context"] = {"validation_context": validation}
    return {"name": wire.TLS_SOCKET, "typed_config": config}


def is_ip(host: str) -> bool:
    """Whether `host` is an address and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
