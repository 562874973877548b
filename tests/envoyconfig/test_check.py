"""Every refusal, with its file, path and line; and that the defaults and what SREs may tune are not refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

import pytest

from extproc.envoyconfig import wire
from extproc.envoyconfig.check import check, check_key_directories
from extproc.envoyconfig.filters import PROVIDER
from extproc.envoyconfig.options import MIB, Options, Otlp
from extproc.envoyconfig.sources import load_sources, parse_source
from extproc.registry.load import parse_registry
from extproc.registry.problems import Path
from extproc.registry.types import Attempts, Commit, Credential, Timeouts
from tests.envoyconfig.files import REMOVED, edited
from tests.envoyconfig.registries import provider, registry, target

OPTIONS = Options("/run/llm/out", "/run/llm")
REGISTRY = registry(target("a", provider("p")))
HTTP: Path = ("typed_extension_protocol_options", wire.HTTP_OPTIONS)
TLS: Path = ("transport_socket", "typed_config")
CONTEXT: Path = (*TLS, "common_tls_context")
MANAGER = "http_connection_manager"
HOST_REFUSALS = ("name", "domains", "routes", "retry_policy", "request_mirror_policies", "hedge_policy", "typed_per_filter_config")
ACTION_REFUSALS = (
    "cluster",
    "weighted_clusters",
    "inline_cluster_specifier_plugin",
    "auto_host_rewrite",
    "prefix_rewrite",
    "hedge_policy",
    "max_stream_duration",
    "internal_redirect_policy",
    "request_mirror_policies",
)

REFUSED: list[tuple[str, Path, Any, str]] = [
    # who decides on a retry
    *[
        ("routes", ("both", "retry_policy", "retry_on"), f"reset,connect-failure,refused-stream,retriable-headers,{word}", "verdict")
        for word in ("5xx", "gateway-error", "retriable-status-codes", "retriable-4xx", "envoy-ratelimited", "cancelled")
    ],
    ("routes", ("both", "retry_policy", "retry_on"), "connect-failure,refused-stream,retriable-headers", "must name reset"),
    ("routes", ("both", "retry_policy", "retry_on"), REMOVED, "must name"),
    ("routes", ("both", "retry_policy", "retriable_status_codes"), [503], "verdict"),
    ("routes", ("stream", "retry_policy", "retriable_headers"), [], "set by extproc"),
    ("routes", ("both", "retry_policy", "refresh_cluster_on_retry"), False, "first target"),
    ("routes", ("both", "retry_policy", "rate_limited_retry_back_off", "reset_headers"), [], "x-llm-backoff"),
    ("cluster", (*HTTP, "retry_policy"), {"retry_on": "5xx"}, "verdict"),
    # limits that cut
    ("routes", ("both", "timeout"), "15s", "cuts streams"),
    ("routes", ("whole", "timeout"), "15s", "`deadline`"),
    ("routes", ("stream", "retry_policy", "per_try_idle_timeout"), "30s", "`stall`"),
    ("routes", ("whole", "retry_policy", "per_try_idle_timeout"), "120s", "`unary_attempt`"),
    ("routes", ("stream", "retry_policy", "per_try_timeout"), "5s", "`first_token`"),
    ("routes", ("stream", "retry_policy", "per_try_idle_timeout"), REMOVED, "says nothing"),
    ("routes", ("both", "idle_timeout"), "300s", "per_try_idle_timeout"),
    ("routes", ("both", "retry_policy", "rate_limited_retry_back_off", "max_interval"), "2s", "`wait_at_most`"),
    ("listener", (MANAGER, "stream_idle_timeout"), "60s", "ends requests"),
    ("listener", (MANAGER, "stream_idle_timeout"), REMOVED, "ends requests"),
    ("listener", (MANAGER, "common_http_protocol_options", "max_stream_duration"), "60s", "streams"),
    ("cluster", (*HTTP, "common_http_protocol_options", "max_stream_duration"), "60s", "streams"),
    ("ext_proc", ("attempt", "message_timeout"), "600s", "final"),
    ("ext_proc", ("attempt", "message_timeout"), REMOVED, "final"),
    ("ext_proc", ("route", "message_timeout"), REMOVED, "0.2s"),
    # buffers
    ("listener", ("listener", "per_connection_buffer_limit_bytes"), MIB, "67108864"),
    ("cluster", ("per_connection_buffer_limit_bytes",), MIB, "67108864"),
    ("routes", ("virtual_host", "request_body_buffer_limit"), MIB, "67108864"),
    ("ext_proc", ("cluster", "per_connection_buffer_limit_bytes"), MIB, "body limit"),
    (
        "ext_proc",
        ("cluster", *HTTP),
        {"explicit_http_config": {"http2_protocol_options": {"initial_stream_window_size": MIB}}},
        "body limit",
    ),
    # fallback under load
    ("cluster", ("circuit_breakers",), REMOVED, "default of 3"),
    ("cluster", ("circuit_breakers", "thresholds", 0, "max_retries"), 3, "at least 1024"),
    ("cluster", ("circuit_breakers", "thresholds", 0, "max_retries"), REMOVED, "is 3"),
    ("cluster", ("circuit_breakers", "thresholds", 0, "retry_budget"), {"budget_percent": {"value": 20}}, "100 percent"),
    ("cluster", ("common_lb_config",), {"healthy_panic_threshold": {"value": 0}}, "no fallback"),
    ("ext_proc", ("cluster", "circuit_breakers"), REMOVED, "default of 3"),
    ("ext_proc", ("cluster", "lb_policy"), "LEAST_REQUEST", "dead process"),
    # credentials
    ("cluster", (*HTTP, "upstream_http_protocol_options"), {"auto_sni": True}, "first attempt"),
    ("cluster", (*HTTP, "upstream_http_protocol_options"), {"override_auto_sni_header": "x"}, "first attempt"),
    ("cluster", (*CONTEXT, "validation_context"), {"trust_chain_verification": "ACCEPT_UNTRUSTED"}, "anybody"),
    ("cluster", (*CONTEXT, "combined_validation_context"), {"default_validation_context": {}}, "name"),
    ("cluster", (*TLS, "auto_sni_san_validation"), False, "any name"),
    ("cluster", (*TLS, "auto_sni_san_validation"), "false", "without quotes"),
    ("cluster", (*TLS, "auto_sni_san_validation"), [], "any name"),
    ("cluster", (*TLS, "@type"), "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer", "in the clear"),
    ("cluster", ("transport_socket", "name"), [], "in the clear"),
    ("cluster", (*CONTEXT, "validation_context", "custom_validator_config"), {"name": "envoy.tls.cert_validator.spiffe"}, "name"),
    ("cluster", ("common_lb_config", "healthy_panic_threshold"), {"value": "0"}, "above 0"),
    ("routes", ("both", "retry_policy", "refresh_cluster_on_retry"), "false", "without quotes"),
    ("cluster", ("transport_socket", "name"), "envoy.transport_sockets.raw_buffer", "clear"),
    ("cluster", ("transport_socket_matches",), [], "one `transport_socket`"),
    # what extproc sets
    ("cluster", (*HTTP, "http_filters"), [], "set by extproc"),
    ("cluster", ("name",), "x", "set by extproc"),
    ("cluster", ("type",), "EDS", "STRICT_DNS"),
    ("cluster", ("load_assignment",), {}, "set by extproc"),
    ("cluster", ("metadata",), {"filter_metadata": {PROVIDER: {"target": "x"}}}, "set by extproc"),
    *[("routes", ("virtual_host", name), {}, "") for name in HOST_REFUSALS],
    *[("routes", ("both", name), {}, "") for name in ACTION_REFUSALS],
    ("listener", ("listener", "address"), {}, "--listen"),
    ("listener", ("listener", "filter_chains"), [], "set by extproc"),
    ("listener", (MANAGER, "http_filters"), [], "set by extproc"),
    # the operator's own filters
    ("listener", ("http_filters", "behind"), [], "`before` or `after`"),
    ("listener", ("http_filters", "after"), {"name": "x"}, "list of filters"),
    ("listener", ("http_filters", "after"), [{"name": "x"}], "@type"),
    ("listener", ("http_filters", "before"), ["x"], "@type"),
    ("listener", ("http_filters", "before"), [wire.named("ext_proc.route", wire.EXT_PROC)], "there already"),
    ("listener", ("http_filters", "before"), [wire.named("x", wire.EXT_PROC), wire.named("x", wire.EXT_PROC)], "there already"),
    ("listener", ("http_filters", "after"), [wire.named("mine", wire.ROUTER)], "last filter"),
    ("listener", ("transport_socket",), "tls", "mapping"),
    ("listener", ("transport_socket",), {"name": "envoy.transport_sockets.tls"}, "@type"),
    ("listener", (MANAGER, "route_config"), {}, "set by extproc"),
    ("listener", (MANAGER, "upgrade_configs"), [], "not served"),
    ("listener", (MANAGER, "tracing", "provider"), {}, "OTLP"),
    ("listener", (MANAGER, "local_reply_config"), {"body_format": {}}, "every answer"),
    ("listener", (MANAGER, "local_reply_config"), {"mappers": {}}, "list"),
    ("bootstrap", ("admin",), {}, "Unix socket"),
    ("bootstrap", ("dynamic_resources",), {}, "set by extproc"),
    ("bootstrap", ("static_resources",), {"listeners": []}, "set by extproc"),
    ("bootstrap", ("static_resources",), {"clusters": [{"name": "ext_proc"}]}, "name of"),
    ("bootstrap", ("static_resources",), {"clusters": [{"name": "a"}]}, "name of"),
    ("ext_proc", ("cluster", "load_assignment"), {}, "set by extproc"),
    ("ext_proc", ("attempt", "processing_mode"), {}, "open are"),
    # shapes and spelling
    ("routes", ("streams",), {}, "not known"),
    ("routes", ("both",), 5, "mapping"),
    ("listener", ("listener",), [], "mapping"),
    ("routes", ("both", "retryPolicy"), {"retryOn": "5xx"}, "underscores"),
    ("cluster", ("circuitBreakers",), {}, "underscores"),
]


def found(registry_: Any = REGISTRY, sources: Any = None, options: Options = OPTIONS) -> list[str]:
    return [str(p) for p in check(registry_, sources or load_sources(), options)]


def test_the_defaults_pass() -> None:
    assert found() == []


@pytest.mark.parametrize(("name", "path", "value", "words"), REFUSED, ids=lambda v: str(v)[:60] if isinstance(v, tuple) else None)
def test_refused(name: str, path: Path, value: Any, words: str) -> None:
    problems = check(REGISTRY, edited(name, path, value), OPTIONS)
    assert any(p.file.endswith(f"{name}.yaml") and words in p.message for p in problems), problems
    assert {p.file.rpartition("/")[2] for p in problems} == {f"{name}.yaml"}


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("cluster", ("outlier_detection", "consecutive_5xx"), 2),
        ("cluster", ("type",), "LOGICAL_DNS"),
        ("cluster", ("circuit_breakers", "thresholds"), [{"max_requests": 10, "max_retries": 10}]),
        ("cluster", ("circuit_breakers", "thresholds", 0, "retry_budget"), {"budget_percent": {"value": 100}}),
        ("cluster", ("per_connection_buffer_limit_bytes",), 128 * MIB),
        ("cluster", (*CONTEXT, "validation_context"), {"trusted_ca": {"filename": "/etc/private-ca.pem"}}),
        ("routes", ("both", "retry_policy", "retry_back_off"), {"base_interval": "0.1s"}),
        ("routes", ("both", "retry_policy", "num_retries"), 2),
        ("routes", ("both", "idle_timeout"), "0s"),
        ("routes", ("whole", "timeout"), "0s"),
        ("listener", (MANAGER, "stream_idle_timeout"), "0s"),
        ("listener", (MANAGER, "access_log"), []),
        ("listener", (MANAGER, "local_reply_config"), {"mappers": []}),
        ("bootstrap", ("static_resources",), {"clusters": [{"name": "statsd"}]}),
        ("bootstrap", ("node", "metadata"), {"podName": "x"}),
        ("ext_proc", ("cluster", "outlier_detection"), {}),
    ],
)
def test_may_be_tuned(name: str, path: Path, value: Any) -> None:
    assert found(sources=edited(name, path, value)) == []


def test_line_and_path() -> None:
    text = b"cluster:\n  lb_policy: LEAST_REQUEST\nroute:\n  message_timeout: 5s\nattempt:\n  message_timeout: 660s\n"
    problems: list[Any] = []
    sources = replace(load_sources(), ext_proc=parse_source(text, "mine/ext_proc.yaml", problems))
    assert problems == []
    assert [s.partition(": must stay")[0] for s in found(sources=sources)] == [
        "mine/ext_proc.yaml:2: cluster.lb_policy",
        "mine/ext_proc.yaml:1: cluster.circuit_breakers.thresholds: must be set: Envoy's default of 3 concurrent retries stops fallback under load",
    ]


@pytest.mark.parametrize(
    ("block", "path", "words"),
    [
        ({"typed_extension_protocol_options": {wire.HTTP_OPTIONS: {"http_filters": []}}}, "http_filters", "set by extproc"),
        ({"name": "other"}, "name", "set by extproc"),
        ({"load_assignment": {}}, "load_assignment", "set by extproc"),
        ({"circuit_breakers": {"thresholds": [{"max_requests": 5}]}}, "max_retries", "at least 5"),
        (
            {"typed_extension_protocol_options": {wire.HTTP_OPTIONS: {"upstream_http_protocol_options": {"auto_sni": True}}}},
            "auto_sni",
            "every later",
        ),
        ({"perConnectionBufferLimitBytes": 1}, "perConnectionBufferLimitBytes", "underscores"),
    ],
)
def test_blocks_of_the_registry_are_blamed_for_their_own(block: dict[str, Any], path: str, words: str) -> None:
    lines = {("targets", "a", "envoy"): 17, ("providers", "p", "envoy"): 4}
    by_target = check(registry(target("a", provider("p"), envoy=block)), load_sources(), OPTIONS, lines)
    by_provider = check(registry(target("a", provider("p", envoy=block))), load_sources(), OPTIONS, lines)
    for problems, line, section, name in ((by_target, 17, "targets", "a"), (by_provider, 4, "providers", "p")):
        assert {(p.file, p.line, p.path[:3], p.path[-1]) for p in problems} == {("registry.yaml", line, (section, name, "envoy"), path)}
        assert all(words in p.message for p in problems)


def test_a_good_block_passes() -> None:
    block = {"outlier_detection": {"consecutive_5xx": 3}, "connect_timeout": "1s", "common_lb_config": {"healthy_panic_threshold": {"value": 20}}}
    assert found(registry(target("a", provider("p", envoy=block), envoy=block))) == []


@pytest.mark.parametrize(
    ("timeouts", "attempts", "words"),
    [
        (Timeouts(stall=60.0), Attempts(), "stream.retry_policy.per_try_idle_timeout"),
        (Timeouts(first_token=90.0), Attempts(), "stream.retry_policy.per_try_idle_timeout"),
        (Timeouts(unary_attempt=600.0), Attempts(), "whole.retry_policy.per_try_idle_timeout"),
        (Timeouts(), Attempts(wait_at_most=31.0), "rate_limited_retry_back_off.max_interval"),
    ],
)
def test_a_registry_that_waits_longer_than_the_routes(timeouts: Timeouts, attempts: Attempts, words: str) -> None:
    problems = found(registry(target("a", provider("p")), timeouts=timeouts, attempts=attempts))
    assert problems
    assert all(words in problem for problem in problems)


def test_a_model_that_is_held_until_it_is_whole_never_takes_the_stream_route() -> None:
    plain = registry(target("a", provider("p")), timeouts=Timeouts(first_token=90.0, deadline=300.0))
    held = {name: replace(model, commit=Commit.COMPLETE) for name, model in plain.models.items()}
    assert found(replace(plain, models=held)) == []


def test_the_example_registry_passes() -> None:
    path = FilePath(__file__).parents[2] / "envoy" / "registry.example.yaml"
    assert found(parse_registry(path.read_bytes(), str(path))) == []


@pytest.mark.parametrize("name", ["ext_proc", "otel", "no-plan"])
def test_names_that_are_taken(name: str) -> None:
    assert any("choose another" in problem for problem in found(registry(target(name, provider("p")))))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_body_bytes": 0}, "max_body"),
        ({"max_body_bytes": 1 << 30}, "max_body"),
        ({"workers": 0}, "workers"),
        ({"port": 70000}, "port"),
        ({"address": "localhost"}, "IP address"),
        ({"heap_bytes": MIB}, "envoy_heap"),
        ({"run_dir": "run"}, "absolute"),
        ({"out_dir": "out"}, "absolute"),
        ({"token_dir": "tokens"}, "absolute"),
        ({"run_dir": "/" + "x" * 100}, "107 bytes"),
        ({"listen_socket": "/" + "x" * 108}, "107 bytes"),
        ({"otlp": Otlp("collector:4317")}, "http or https URL"),
    ],
)
def test_options(options: dict[str, Any], words: str) -> None:
    problems = found(options=replace(OPTIONS, **options))
    assert len(problems) == 1
    assert words in problems[0]


def test_a_larger_body_limit_wants_larger_buffers() -> None:
    sources = edited("cluster", ("per_connection_buffer_limit_bytes",), 64 * MIB)
    assert found(sources=sources) == []
    assert any(str(128 * MIB) in problem for problem in found(sources=sources, options=replace(OPTIONS, max_body_bytes=128 * MIB)))


def test_directory_of_a_key(tmp_path: Any) -> None:
    here, gone = str(tmp_path / "later"), str(tmp_path / "gone" / "key")
    keys = (Credential("a", file=here), Credential("b", file=gone), Credential("c", env="KEY"))
    problems = check_key_directories(registry(target("t", provider("p", keys=keys))), {("providers", "p", "credentials", "b"): 9})
    assert [(p.path, p.line) for p in problems] == [(("providers", "p", "credentials", "b", "file"), 9)]
