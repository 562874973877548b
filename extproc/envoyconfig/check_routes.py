"""Refusals in routes.yaml: who decides on a retry, and which limits would cut a stream or an attempt that the registry allows."""

from __future__ import annotations

from typing import Any

from extproc.envoyconfig.layers import Block, Layers
from extproc.envoyconfig.options import Options
from extproc.envoyconfig.problem import Problem
from extproc.envoyconfig.sources import Sources
from extproc.registry.types import Commit, Registry

SILENCE = ("retry_policy", "per_try_idle_timeout")
DEFAULT_IDLE = 300.0
"""Seconds: Envoy's `stream_idle_timeout` where nothing is set."""

_RETRY_ON = ("reset", "connect-failure", "refused-stream", "retriable-headers")
_MAY_RETRY_ON = frozenset({*_RETRY_ON, "reset-before-request", "http3-post-connect-failure"})

_VERDICTS = "whether an answer is tried again is the server's verdict alone, by the header x-llm-retry"
_OURS = "is set by extproc"
_HOST_REFUSED: dict[str, str] = {
    "name": _OURS,
    "domains": _OURS,
    "routes": _OURS,
    "matcher": _OURS,
    "retry_policy": "belongs under `both`, `stream` or `whole`",
    "retry_policy_typed_config": "the retry policy is `retry_policy` under `both`, `stream` or `whole`",
    "request_mirror_policies": "a mirrored request would carry the application's prompt and headers past every filter",
    "hedge_policy": "concurrent attempts would share one set of headers and metadata, one provider's key with another's",
    "typed_per_filter_config": "the filters are the same on every route",
}
_ACTION_REFUSED: dict[str, str] = {
    **dict.fromkeys(("cluster", "cluster_header", "weighted_clusters", "cluster_specifier_plugin", "inline_cluster_specifier_plugin"), _OURS),
    **dict.fromkeys(
        ("host_rewrite_literal", "auto_host_rewrite", "host_rewrite_header", "host_rewrite_path_regex", "host_rewrite"),
        "the host is the provider's, set per attempt; Envoy's rewrite would race with it",
    ),
    **dict.fromkeys(("prefix_rewrite", "regex_rewrite", "path_rewrite", "path_rewrite_policy"), "the path is the provider's, set per attempt"),
    "request_mirror_policies": _HOST_REFUSED["request_mirror_policies"],
    "hedge_policy": _HOST_REFUSED["hedge_policy"],
    "retry_policy_typed_config": _HOST_REFUSED["retry_policy_typed_config"],
    "max_stream_duration": "would cut streams that flow; the registry's `deadline` bounds a chain",
    "upgrade_configs": "upgrades are not served",
    "internal_redirect_policy": "a provider could send the prompt and its key elsewhere",
    "cluster_not_found_response_code": "a request without a plan must fail as 503",
}
_RETRY_REFUSED: dict[str, str] = {
    "retriable_headers": _OURS,
    "retriable_status_codes": _VERDICTS,
    "retriable_request_headers": "would keep some requests from falling back",
    "retry_priority": "the order of targets is the registry's",
}


def check_routes(registry: Registry, sources: Sources, options: Options) -> list[Problem]:
    """All of it."""
    host = Block.of(sources.routes, "virtual_host")
    problems = refused(host, _HOST_REFUSED)
    for name in ("request_body_buffer_limit", "per_request_buffer_limit_bytes"):
        value = (host.data or {}).get(name)
        if value is not None and not (isinstance(value, int) and value >= options.buffer_bytes):
            problems.append(host.problem((name,), too_small(options)))
    both = Block.of(sources.routes, "both")
    for name in ("both", "stream", "whole"):
        block = Block.of(sources.routes, name)
        problems += refused(block, _ACTION_REFUSED)
        retry = Block.of(sources.routes, name, "retry_policy")
        problems += refused(retry, _RETRY_REFUSED) + _rate_limit(retry)
    for name in ("stream", "whole"):
        problems += _route(name, Layers.of(both, Block.of(sources.routes, name)), registry)
    return problems


def silence(sources: Sources) -> dict[str, float]:
    """Seconds that a provider may be silent, by route; 0 where nothing bounds it."""
    both = Block.of(sources.routes, "both")
    return {name: Layers.of(both, Block.of(sources.routes, name)).seconds(*SILENCE) or 0.0 for name in ("stream", "whole")}


def refused(block: Block, reasons: dict[str, str]) -> list[Problem]:
    """A problem for each member of `block` that has a reason against it."""
    if not isinstance(block.data, dict):
        return [] if block.data is None else [block.problem((), "must be a mapping")]
    return [block.problem((name,), reasons[name]) for name in block.data if name in reasons]


def too_small(options: Options) -> str:
    """The refusal of a buffer."""
    return f"must be at least {options.buffer_bytes} bytes: a body that does not fit is not sent again to the next target; leave it out"


def _route(name: str, layers: Layers, registry: Registry) -> list[Problem]:
    problems = []
    timeout = layers.seconds("timeout")
    models = registry.models.values()
    if name == "stream" and timeout:
        problems.append(layers.blame(("timeout",), "cuts streams that flow; must be 0s. The registry's `deadline` bounds a chain"))
    longest = max((m.timeouts.deadline for m in models), default=0.0)
    if name == "whole" and timeout and timeout < longest:
        problems.append(layers.blame(("timeout",), f"is shorter than the longest `deadline` of the registry ({longest:g}s); 0s lets that decide"))
    problems += _retry_on(layers)
    if layers.get("retry_policy", "refresh_cluster_on_retry") is False:
        problems.append(layers.blame(("retry_policy", "refresh_cluster_on_retry"), "without it every attempt goes to the first target"))
    if name == "stream":
        # a model with `commit: complete` never takes this route
        flowing = (m.timeouts for m in models if m.commit is Commit.FIRST_TOKEN)
        needed, words = max((max(t.first_token, t.stall) for t in flowing), default=0.0), "`first_token` and `stall`"
    else:
        needed, words = max((m.timeouts.unary_attempt for m in models), default=0.0), "`unary_attempt`"
    for limit in ("per_try_idle_timeout", "per_try_timeout"):
        value = layers.seconds("retry_policy", limit)
        if value and value <= needed:
            problems.append(
                layers.blame(("retry_policy", limit), f"must be longer than the longest {words} of the registry ({needed:g}s), is {value:g}s")
            )
    if not layers.seconds(*SILENCE):
        problems.append(layers.blame(SILENCE, "must be set: without it a provider that says nothing holds the request for ever"))
    idle, quiet = layers.seconds("idle_timeout"), layers.seconds(*SILENCE) or 0.0
    if idle and idle <= quiet:
        problems.append(layers.blame(("idle_timeout",), f"must be longer than per_try_idle_timeout ({quiet:g}s) or 0s: it ends the whole request"))
    patience = max((m.attempts.wait_at_most for m in models), default=0.0)
    pause = layers.seconds("retry_policy", "rate_limited_retry_back_off", "max_interval")
    if pause is not None and pause < patience:
        path = ("retry_policy", "rate_limited_retry_back_off", "max_interval")
        problems.append(layers.blame(path, f"must be at least the longest `wait_at_most` of the registry ({patience:g}s): a longer pause is none"))
    return problems


def _retry_on(layers: Layers) -> list[Problem]:
    path = ("retry_policy", "retry_on")
    value: Any = layers.get(*path)
    words = {word.strip() for word in value.split(",")} if isinstance(value, str) else set()
    problems = [layers.blame(path, f"{word}: {_VERDICTS}") for word in sorted(words - _MAY_RETRY_ON)]
    missing = [word for word in _RETRY_ON if word not in words]
    if missing:
        problems.append(layers.blame(path, f"must name {', '.join(missing)}: without it a failed attempt is the caller's"))
    return problems


def _rate_limit(retry: Block) -> list[Problem]:
    value = retry.data.get("rate_limited_retry_back_off") if isinstance(retry.data, dict) else None
    if isinstance(value, dict) and "reset_headers" in value:
        path = ("rate_limited_retry_back_off", "reset_headers")
        return [
            retry.problem(path, "is set by extproc: the server asks for a pause by x-llm-backoff, and the provider's retry-after is for the caller")
        ]
    return []
