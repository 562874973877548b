"""Refusals in cluster.yaml, in the `envoy:` blocks of providers and targets, and in ext_proc.yaml."""

from __future__ import annotations

from typing import Any

from extproc.envoyconfig import sockets, wire
from extproc.envoyconfig.check_routes import refused, silence, too_small
from extproc.envoyconfig.clusters import is_ip
from extproc.envoyconfig.filters import PROVIDER
from extproc.envoyconfig.layers import Block, Layers, member, seconds
from extproc.envoyconfig.options import Options
from extproc.envoyconfig.problem import Problem
from extproc.envoyconfig.sources import Lines, Sources
from extproc.registry.problems import Path
from extproc.registry.types import Registry, Target

HTTP: Path = ("typed_extension_protocol_options", wire.HTTP_OPTIONS)
TLS: Path = ("transport_socket", "typed_config")
VALIDATION: Path = (*TLS, "common_tls_context", "validation_context")
_OURS = "is set by extproc"
_DEFAULT_RETRIES, _DEFAULT_REQUESTS = 3, 1024

_CLUSTER_REFUSED = {
    **dict.fromkeys(("name", "cluster_type", "load_assignment", "eds_cluster_config"), _OURS),
    "transport_socket_matches": "the one `transport_socket` holds for every address of a provider",
}
_HTTP_REFUSED = {
    "http_filters": "is set by extproc: translation and credential are made there",
    "retry_policy": "would take the place of the routes' retry policy, and with it of every verdict",
}
_SNI = "the name sent in the first attempt's TLS handshake would be sent to every later provider; the host name of each target is used without it"
_UPSTREAM_REFUSED = {
    "auto_sni": _SNI,
    "override_auto_sni_header": _SNI,
    "auto_san_validation": "is set by extproc as `auto_sni_san_validation`, which looks at the provider's own name",
}


def check_providers(registry: Registry, sources: Sources, options: Options, lines: Lines) -> list[Problem]:
    """The defaults, and each target with its provider's and its own block over them."""
    defaults = Block.of(sources.cluster)
    problems = _block(defaults) + _merged(Layers.of(defaults), options, https=True)
    for provider in registry.providers.values():
        problems += _block(Block(registry.path, ("providers", provider.name, "envoy"), provider.envoy, lines))
    for target in registry.targets.values():
        own = Block(registry.path, ("targets", target.name, "envoy"), target.envoy, lines)
        problems += _block(own)
        problems += _merged(_layers(target, registry, defaults, own, lines), options, https=target.provider.scheme == "https")
    return problems


def check_ext_proc(sources: Sources) -> list[Problem]:
    """The server's cluster and the two filters' limits."""
    cluster = Block.of(sources.ext_proc, "cluster")
    problems = refused(
        cluster,
        {
            **dict.fromkeys(("name", "type", "cluster_type", "load_assignment", "transport_socket"), _OURS),
            "lb_policy": "must stay ROUND_ROBIN: a dead process has the fewest requests, so LEAST_REQUEST sends the retries back to it",
            "load_balancing_policy": "must stay ROUND_ROBIN",
        },
    )
    windows = (*HTTP, "explicit_http_config", "http2_protocol_options")
    for path in (("per_connection_buffer_limit_bytes",), (*windows, "initial_stream_window_size"), (*windows, "initial_connection_window_size")):
        if member(cluster.data, path) is not None:
            problems.append(
                cluster.problem(path, "follows the body limit: an attempt whose answer does not fit ends the Envoy process; leave it out")
            )
    problems += _breakers(Layers.of(cluster))
    for name in ("route", "attempt"):
        block = Block.of(sources.ext_proc, name)
        for key in block.data or {}:
            if key not in {"message_timeout", "stat_prefix"}:
                problems.append(block.problem((key,), "is set by extproc; open are message_timeout and stat_prefix"))
    attempt = Block.of(sources.ext_proc, "attempt")
    limit, quiet = seconds(member(attempt.data, ("message_timeout",))), max(silence(sources).values())
    if limit is None or limit <= quiet:
        problems.append(
            attempt.problem(
                ("message_timeout",),
                f"must be longer than every per_try_idle_timeout of the routes ({quiet:g}s): its expiry is final for the caller",
            )
        )
    if not seconds(member(Block.of(sources.ext_proc, "route").data, ("message_timeout",))):
        problems.append(Block.of(sources.ext_proc, "route").problem(("message_timeout",), "must be set; Envoy's default is 0.2s"))
    return problems


def _layers(target: Target, registry: Registry, defaults: Block, own: Block, lines: Lines) -> Layers:
    provider = target.provider
    return Layers.of(defaults, Block(registry.path, ("providers", provider.name, "envoy"), provider.envoy, lines), own)


def _block(block: Block) -> list[Problem]:
    """What no block may say, wherever it stands."""
    problems = refused(block, _CLUSTER_REFUSED)
    kind = member(block.data, ("type",))
    if kind is not None and kind not in {"STRICT_DNS", "LOGICAL_DNS"}:
        problems.append(block.problem(("type",), "may be STRICT_DNS or LOGICAL_DNS; addresses are STATIC without asking"))
    if member(block.data, ("metadata", "filter_metadata", PROVIDER)) is not None:
        problems.append(block.problem(("metadata", "filter_metadata", PROVIDER), _OURS))
    http = Block(block.file, (*block.at, *HTTP), member(block.data, HTTP), block.lines)
    problems += refused(http, _HTTP_REFUSED)
    upstream = Block(block.file, (*http.at, "upstream_http_protocol_options"), member(http.data, ("upstream_http_protocol_options",)), block.lines)
    problems += refused(upstream, _UPSTREAM_REFUSED)
    path = (*HTTP, "common_http_protocol_options", "max_stream_duration")
    if seconds(member(block.data, path)):
        problems.append(block.problem(path, "would cut streams that flow; the registry's `deadline` bounds a chain"))
    return problems


def _merged(layers: Layers, options: Options, *, https: bool) -> list[Problem]:
    """What the result must be."""
    problems = _breakers(layers)
    size = layers.get("per_connection_buffer_limit_bytes")
    if size is not None and not (isinstance(size, int) and size >= options.buffer_bytes):
        problems.append(layers.blame(("per_connection_buffer_limit_bytes",), too_small(options)))
    panic: Path = ("common_lb_config", "healthy_panic_threshold")
    threshold = layers.get(*panic)
    value = member(threshold, ("value",))
    if threshold is not None and not (isinstance(value, int | float) and value > 0):
        problems.append(layers.blame(panic, "must be above 0: a target whose only address is ejected would be a final 503, with no fallback"))
    problems += _proxy(layers, https=https)
    if https:
        problems += _tls(Layers.of(*map(_behind_proxy, layers.blocks)))
    return problems


def _behind_proxy(block: Block) -> Block:
    """The block in which `transport_socket` is the one towards the provider."""
    if sockets.parts(member(block.data, ("transport_socket",)))[0] is None:
        return block
    return Block(block.file, (*block.at, *TLS), member(block.data, TLS), block.lines)


def _proxy(layers: Layers, *, https: bool) -> list[Problem]:
    """An egress proxy, wherever it is named."""
    proxy, _ = sockets.layered(*(block.data or {} for block in layers.blocks))
    if proxy is None:
        return []
    name = ("transport_socket", "name")
    if not https:
        return [layers.blame(name, "an egress proxy needs https: a plain request would be sent to the proxy itself, with the key")]
    address = sockets.proxy_address(proxy)
    if address is None:
        return [layers.blame(name, "needs `default_proxy_address: {socket_address: {address, port_value}}`: without it the proxy is not used")]
    if not is_ip(address):
        path = (*TLS, "default_proxy_address", "socket_address", "address")
        return [layers.blame(path, f"must be an IP address, is {address}: Envoy does not resolve the name of a proxy")]
    return []


def _tls(layers: Layers) -> list[Problem]:
    problems = []
    name = layers.get("transport_socket", "name")
    if name not in (None, wire.TLS_SOCKET) or layers.get(*TLS, wire.TYPE) not in (None, wire.UPSTREAM_TLS):
        words = f"must be {wire.TLS_SOCKET} for https, alone or behind {wire.PROXY_SOCKET}: the key would be sent in the clear"
        problems.append(layers.blame(("transport_socket", "name"), words))
    if layers.get(*VALIDATION, "trust_chain_verification") not in (None, "VERIFY_TRUST_CHAIN"):
        problems.append(
            layers.blame((*VALIDATION, "trust_chain_verification"), "the provider's key would go to anybody; name its CA in `trusted_ca`")
        )
    problems += [
        layers.blame((*VALIDATION[:-1], other), "takes the place of the check of the provider's name; use `validation_context`")
        for other in ("combined_validation_context", "validation_context_sds_secret_config")
        if layers.get(*VALIDATION[:-1], other) is not None
    ]
    if layers.get(*VALIDATION, "custom_validator_config") is not None:
        problems.append(layers.blame((*VALIDATION, "custom_validator_config"), "takes the place of the check of the provider's name"))
    names = layers.get(*VALIDATION, "match_typed_subject_alt_names")
    if layers.get(*TLS, "auto_sni_san_validation") not in (None, True) and not names:
        problems.append(layers.blame((*TLS, "auto_sni_san_validation"), "the provider's key would go to anybody who has a certificate for any name"))
    return problems


def _breakers(layers: Layers) -> list[Problem]:
    """Retries must not be scarcer than requests: a provider that is down makes each request one retry, and one too many is a final 503."""
    path: Path = ("circuit_breakers", "thresholds")
    thresholds: Any = layers.get(*path)
    if not isinstance(thresholds, list) or not thresholds:
        return [layers.blame(path, f"must be set: Envoy's default of {_DEFAULT_RETRIES} concurrent retries stops fallback under load")]
    problems = []
    for index, threshold in enumerate(thresholds):
        requests = member(threshold, ("max_requests",))
        needed = min(requests if isinstance(requests, int) else _DEFAULT_REQUESTS, _DEFAULT_REQUESTS)
        budget = member(threshold, ("retry_budget",))
        retries = member(threshold, ("max_retries",))
        retries = retries if isinstance(retries, int) else _DEFAULT_RETRIES
        if budget is not None:
            percent = member(budget, ("budget_percent", "value"))
            if not isinstance(percent, int | float) or percent < 100:
                problems.append(
                    layers.blame(
                        (*path, index, "retry_budget"),
                        "must be 100 percent: each request of a provider that is down is one retry; the registry's `attempts.total` bounds them",
                    )
                )
        elif retries < needed:
            why = "each request of a provider that is down is one retry, and one too many is a final 503"
            problems.append(layers.blame((*path, index, "max_retries"), f"must be at least {needed}, is {retries}: {why}"))
    return problems
