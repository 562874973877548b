"""The structure of the rendered files: what the design rests on is there, whatever the YAML files say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from extproc.envoyconfig import wire
from extproc.envoyconfig.check import check
from extproc.envoyconfig.clusters import secret_file
from extproc.envoyconfig.layers import walk
from extproc.envoyconfig.options import MIB, Options, Otlp
from extproc.envoyconfig.render import render
from extproc.envoyconfig.sources import load_sources
from extproc.registry.types import Credential, Registry
from tests.envoyconfig.files import edited
from tests.envoyconfig.registries import provider, registry, target

OPTIONS = Options("/run/llm/out", "/run/llm", workers=2)
POOL = (Credential("a", file="/secrets/openai-a"), Credential("b", env="OPENAI_B"))
REGISTRY = registry(
    target("gpt", provider("openai", keys=POOL)),
    target("claude", provider("anthropic", "anthropic", keys=(Credential(file="/secrets/claude"),))),
    target("llama", provider("vllm", "openai-compatible", ("http", "vllm.svc", 8000))),
    target("v4", provider("v4", "gemini", ("https", "192.0.2.7", 8443))),
    target("v6", provider("v6", "openai-compatible", ("http", "[2001:db8::1]", 80))),
)


def rendered(registry_: Registry = REGISTRY, options: Options = OPTIONS, sources: Any = None) -> dict[str, Any]:
    return {name: yaml.safe_load(text) for name, text in render(registry_, options, sources or load_sources()).items()}


def clusters(files: dict[str, Any]) -> dict[str, Any]:
    return {cluster["name"]: cluster for cluster in files["cds.yaml"]["resources"]}


def filters(cluster: dict[str, Any]) -> dict[str, Any]:
    return {f["name"]: f.get("typed_config") for f in cluster["typed_extension_protocol_options"][wire.HTTP_OPTIONS]["http_filters"]}


def manager(files: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = files["envoy.yaml"]["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def test_files() -> None:
    assert sorted(rendered()) == ["cds.yaml", "envoy.yaml", "rds.yaml", "sds/claude.yaml", "sds/gpt@a.yaml", "sds/gpt@b.yaml"]


def test_the_same_input_gives_the_same_bytes() -> None:
    first = render(REGISTRY, OPTIONS, load_sources())
    assert render(REGISTRY, OPTIONS, load_sources()) == first


def test_the_bootstrap_does_not_change_with_the_registry() -> None:
    """It is read at start only: a reload that changed it would do half of what it says."""
    other = registry(target("x", provider("y")))
    assert render(other, OPTIONS, load_sources())["envoy.yaml"] == render(REGISTRY, OPTIONS, load_sources())["envoy.yaml"]


def test_one_cluster_per_target_and_credential() -> None:
    assert list(clusters(rendered())) == ["gpt@a", "gpt@b", "claude", "llama", "v4", "v6"]
    gpt = clusters(rendered())["gpt@a"]
    told = {"target": "gpt", "provider": "openai", "dialect": "openai_chat", "endpoint": REGISTRY.providers["openai"].endpoint}
    assert gpt["metadata"]["filter_metadata"]["envoy.llm.provider"] == told


@pytest.mark.parametrize("name", ["gpt@a", "gpt@b", "claude", "llama", "v4", "v6"])
def test_the_attempt_chain(name: str) -> None:
    chain = filters(clusters(rendered())[name])
    keyed = ["credential"] if name in {"gpt@a", "gpt@b", "claude"} else []
    assert list(chain) == ["ext_proc.attempt", "clean", *keyed, "strip", "envoy.filters.http.upstream_codec"]
    attempt = chain["ext_proc.attempt"]
    assert attempt["send_body_without_waiting_for_header_response"] is True
    modes = attempt["processing_mode"]
    assert (modes["request_body_mode"], modes["response_body_mode"]) == ("BUFFERED", "STREAMED")
    assert attempt["failure_mode_allow"] is False
    assert attempt["message_timeout"] == "660s"
    assert "allow_mode_override" not in attempt


def test_credentials() -> None:
    files = rendered()
    injected = {name: filters(cluster).get("credential") for name, cluster in clusters(files).items()}
    gpt, claude = injected["gpt@a"], injected["claude"]
    for injector in (gpt, claude):
        assert injector["overwrite"] is True
        assert injector["allow_request_without_credential"] is True
    generic = gpt["credential"]["typed_config"]
    assert (generic["header"], generic["header_value_prefix"]) == ("authorization", "Bearer ")
    source = generic["credential"]["sds_config"]["path_config_source"]
    assert source == {"path": "/run/llm/out/sds/gpt@a.yaml", "watched_directory": {"path": "/secrets"}}
    secret = files["sds/gpt@a.yaml"]["resources"][0]
    assert secret["name"] == generic["credential"]["name"]
    assert secret["generic_secret"] == {"secret": {"filename": "/secrets/openai-a"}}
    assert files["sds/gpt@b.yaml"]["resources"][0]["generic_secret"] == {"secret": {"environment_variable": "OPENAI_B"}}
    generic = claude["credential"]["typed_config"]
    assert generic["header"] == "x-api-key"
    assert "header_value_prefix" not in generic


def test_another_key_file_is_another_secret_name() -> None:
    """Envoy would not look at the SDS file again for a name that it has."""

    def name(file: str) -> str:
        files = rendered(registry(target("t", provider("p", keys=(Credential(file=file),)))))
        found: str = filters(clusters(files)["t"])["credential"]["credential"]["typed_config"]["credential"]["name"]
        return found

    assert name("/secrets/old") != name("/secrets/new")
    assert name("/secrets/old") == name("/secrets/old")


def test_addresses_and_tls() -> None:
    found = clusters(rendered())
    assert {name: c["type"] for name, c in found.items()} == {
        **dict.fromkeys(("gpt@a", "gpt@b", "claude", "llama"), "STRICT_DNS"),
        "v4": "STATIC",
        "v6": "STATIC",
    }
    tls = found["gpt@a"]["transport_socket"]["typed_config"]
    assert tls["auto_host_sni"] is True
    assert tls["auto_sni_san_validation"] is True
    assert tls["common_tls_context"]["validation_context"]["trusted_ca"]["filename"] == OPTIONS.ca_file
    assert "transport_socket" not in found["llama"]
    endpoint = found["v6"]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    assert endpoint == {"hostname": "2001:db8::1", "address": {"socket_address": {"address": "2001:db8::1", "port_value": 80}}}
    by_address = found["v4"]["transport_socket"]["typed_config"]
    assert "auto_host_sni" not in by_address
    names = by_address["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"]
    assert names == [{"san_type": "IP_ADDRESS", "matcher": {"exact": "192.0.2.7"}}]
    http = found["llama"]["typed_extension_protocol_options"][wire.HTTP_OPTIONS]
    assert "explicit_http_config" in http
    assert "auto_config" not in http


def test_auto_sni_is_nowhere() -> None:
    assert not [path for content in rendered().values() for path, _ in walk(content) if "auto_sni" in path]


def test_buffers_follow_the_body_limit() -> None:
    options = replace(OPTIONS, max_body_bytes=128 * MIB)
    files = rendered(options=options)
    static = files["envoy.yaml"]["static_resources"]
    server = static["clusters"][0]
    windows = server["typed_extension_protocol_options"][wire.HTTP_OPTIONS]["explicit_http_config"]["http2_protocol_options"]
    limits = [
        static["listeners"][0]["per_connection_buffer_limit_bytes"],
        server["per_connection_buffer_limit_bytes"],
        windows["initial_stream_window_size"],
        files["rds.yaml"]["resources"][0]["virtual_hosts"][0]["request_body_buffer_limit"],
        *[cluster["per_connection_buffer_limit_bytes"] for cluster in clusters(files).values()],
    ]
    assert set(limits) == {128 * MIB}
    assert windows["initial_connection_window_size"] == 256 * MIB


def test_a_small_body_limit_leaves_the_buffers_to_answers() -> None:
    files = rendered(options=replace(OPTIONS, max_body_bytes=MIB))
    assert files["envoy.yaml"]["static_resources"]["listeners"][0]["per_connection_buffer_limit_bytes"] == 64 * MIB
    limit = next(f for f in manager(files)["http_filters"] if f["name"] == "body_size_limit")
    assert limit["typed_config"]["max_request_bytes"] == MIB


def test_the_server_cluster() -> None:
    server = rendered()["envoy.yaml"]["static_resources"]["clusters"][0]
    assert server["lb_policy"] == "ROUND_ROBIN"
    sockets = [e["endpoint"]["address"]["pipe"]["path"] for e in server["load_assignment"]["endpoints"][0]["lb_endpoints"]]
    assert sockets == ["/run/llm/extproc-0.sock", "/run/llm/extproc-1.sock"]
    assert server["health_checks"][0]["grpc_health_check"] == {}


def test_routes() -> None:
    host = rendered()["rds.yaml"]["resources"][0]["virtual_hosts"][0]
    upgrade, whole, once, stream = host["routes"]
    assert upgrade["direct_response"]["status"] == 501
    assert whole["match"]["headers"] == [{"name": "x-llm-route", "string_match": {"exact": "whole"}}]
    idle = [route["route"]["retry_policy"]["per_try_idle_timeout"] for route in (whole, stream)]
    assert idle == ["600s", "60s"]
    for route in (whole["route"], stream["route"]):
        assert route["timeout"] == "0s"
        retry = route["retry_policy"]
        assert retry["refresh_cluster_on_retry"] is True
        assert retry["retry_on"] == "reset,connect-failure,refused-stream,retriable-headers"
        assert retry["retriable_headers"] == [{"name": "x-llm-retry", "present_match": True}]
        assert retry["rate_limited_retry_back_off"] == {"max_interval": "30s", "reset_headers": [{"name": "x-llm-backoff", "format": "SECONDS"}]}
        plugin = route["inline_cluster_specifier_plugin"]["extension"]
        assert plugin["name"] == "envoy.router.cluster_specifier_plugin.priority_group"
        assert plugin["typed_config"]["override_metadata_namespace"] == "envoy.llm"
    assert once["match"]["headers"] == [{"name": "x-llm-route", "string_match": {"exact": "once"}}]
    policy = stream["route"]["retry_policy"]
    assert once["route"]["retry_policy"] == {k: v for k, v in policy.items() if k != "retriable_headers"} | {
        "retry_on": "connect-failure,refused-stream"
    }


def test_filters_of_the_operator_stand_around_the_ext_proc_server() -> None:
    own = {"before": [wire.named("jwt", wire.HEADER_MUTATION)], "after": [wire.named("limit", wire.HEADER_MUTATION)]}
    sources = edited("listener", ("http_filters",), own)
    assert check(registry(target("a", provider("p"))), sources, Options("/out", "/run")) == []
    files = rendered(sources=sources)
    names = [f["name"] for f in manager(files)["http_filters"]]
    assert names == ["edge", "body_size_limit", "jwt", "ext_proc.route", "limit", "envoy.filters.http.router"]


def test_the_route_chain() -> None:
    chain = {f["name"]: f["typed_config"] for f in manager(rendered())["http_filters"]}
    assert list(chain) == ["edge", "body_size_limit", "ext_proc.route", "envoy.filters.http.router"]
    on_match = chain["ext_proc.route"]["xds_matcher"]["matcher_list"]["matchers"][0]["on_match"]
    route = on_match["action"]["typed_config"]["typed_config"]["typed_config"]
    assert route["allow_mode_override"] is True
    assert route["failure_mode_allow"] is False
    assert route["metadata_options"] == {
        "receiving_namespaces": {"untyped": ["envoy.llm", "envoy.llm.usage"]},
        "forwarding_namespaces": {"untyped": ["envoy.llm.attempts"]},
    }
    assert route["grpc_service"]["initial_metadata"] == [{"key": "x-stage", "value": "route"}]
    assert route["message_timeout"] == "20s"


def route_filter(chain: list[dict[str, Any]]) -> dict[str, Any]:
    config = next(f["typed_config"] for f in chain if f["name"] == "ext_proc.route")
    found: dict[str, Any] = config["xds_matcher"]["matcher_list"]["matchers"][0]["on_match"]["action"]["typed_config"]["typed_config"]["typed_config"]
    return found


def with_listener(**members: Any) -> dict[str, Any]:
    sources = load_sources()
    return rendered(sources=replace(sources, listener=replace(sources.listener, data={**sources.listener.data, **members})))


def test_the_server_is_told_whom_envoy_authenticates_and_nobody_else_pays() -> None:
    plain = route_filter(manager(rendered())["http_filters"])
    assert "request_attributes" not in plain
    assert plain["metadata_options"]["forwarding_namespaces"]["untyped"] == ["envoy.llm.attempts"]
    token = {"name": "jwt", "typed_config": {"@type": wire.JWT_AUTHN}}
    wrapped = {"name": "for some", "typed_config": {"@type": wire.EXTENSION_WITH_MATCHER, "extension_config": token}}
    for before in (token, wrapped):
        told = route_filter(manager(with_listener(http_filters={"before": [before]}))["http_filters"])
        assert told["metadata_options"]["forwarding_namespaces"]["untyped"] == ["envoy.llm.attempts", "envoy.filters.http.jwt_authn"]
        assert "request_attributes" not in told
    behind = route_filter(manager(with_listener(http_filters={"after": [token]}))["http_filters"])
    assert behind["metadata_options"] == plain["metadata_options"], "what comes after cannot tell"


def test_tls_on_the_listener() -> None:
    socket = {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": "type.googleapis.com/x"}}
    files = with_listener(transport_socket=socket)
    ours, shadow = files["envoy.yaml"]["static_resources"]["listeners"]
    assert ours["filter_chains"][0]["transport_socket"] == socket
    assert "transport_socket" not in shadow["filter_chains"][0]
    told = route_filter(manager(files)["http_filters"])
    assert told["request_attributes"] == [f"connection.{name}_peer_certificate" for name in ("dns_san", "subject", "uri_san")]


def test_blocks_merge_over_the_defaults() -> None:
    by_provider = {"outlier_detection": {"consecutive_5xx": 3, "interval": "9s"}}
    by_target = {"outlier_detection": {"consecutive_5xx": 2}, "connect_timeout": "1s", "upstream_connection_options": None}
    cluster = clusters(rendered(registry(target("t", provider("p", envoy=by_provider), envoy=by_target))))["t"]
    assert cluster["outlier_detection"]["consecutive_5xx"] == 2
    assert cluster["outlier_detection"]["interval"] == "9s"
    assert cluster["outlier_detection"]["base_ejection_time"] == "30s"
    assert cluster["connect_timeout"] == "1s"
    assert "upstream_connection_options" not in cluster


def test_a_server_that_speaks_h2c() -> None:
    block = {"typed_extension_protocol_options": {wire.HTTP_OPTIONS: {"explicit_http_config": {"http2_protocol_options": {}}}}}
    http = clusters(rendered(registry(target("t", provider("p", url=("http", "h", 80), envoy=block)))))["t"]["typed_extension_protocol_options"]
    assert http[wire.HTTP_OPTIONS]["explicit_http_config"] == {"http2_protocol_options": {}}
    assert "auto_config" not in http[wire.HTTP_OPTIONS]
    assert "http_filters" in http[wire.HTTP_OPTIONS]


def test_design_wins_over_blocks_that_the_check_would_refuse() -> None:
    block = {"name": "other", "typed_extension_protocol_options": {wire.HTTP_OPTIONS: {"http_filters": [{"name": "x"}]}}}
    cluster = clusters(rendered(registry(target("t", provider("p"), envoy=block))))
    assert "ext_proc.attempt" in filters(next(iter(cluster.values())))


def test_tracing_only_with_a_collector() -> None:
    assert "tracing" not in manager(rendered())
    otlp = Otlp("https://otel.test/custom/v1/traces", headers=(("x-tenant", "a"),))
    files = rendered(options=replace(OPTIONS, otlp=otlp))
    tracing = manager(files)["tracing"]
    assert tracing["spawn_upstream_span"] is True
    assert tracing["random_sampling"] == {"value": 100}
    http = tracing["provider"]["typed_config"]["http_service"]
    assert http["http_uri"]["uri"] == otlp.url
    assert http["request_headers_to_add"] == [{"header": {"key": "x-tenant", "value": "a"}}]
    cluster = files["envoy.yaml"]["static_resources"]["clusters"][1]
    assert (cluster["name"], cluster["type"]) == ("otel", "STRICT_DNS")
    assert cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]["port_value"] == 443
    assert cluster["transport_socket"]["typed_config"]["common_tls_context"]["alpn_protocols"] == ["http/1.1"]


def test_tracing_over_grpc() -> None:
    files = rendered(options=replace(OPTIONS, otlp=Otlp("http://127.0.0.1:4317", grpc=True, headers=(("x-tenant", "a"),))))
    service = manager(files)["tracing"]["provider"]["typed_config"]["grpc_service"]
    assert service["envoy_grpc"] == {"cluster_name": "otel"}
    assert service["initial_metadata"] == [{"key": "x-tenant", "value": "a"}]
    cluster = files["envoy.yaml"]["static_resources"]["clusters"][1]
    assert cluster["type"] == "STATIC"
    assert "http2_protocol_options" in cluster["typed_extension_protocol_options"][wire.HTTP_OPTIONS]["explicit_http_config"]


def test_options() -> None:
    options = replace(OPTIONS, address="::", port=8080, listen_socket="/run/llm/llm.sock", heap_bytes=3 << 30, access_log="/var/log/a.log")
    files = rendered(options=options)
    listener = files["envoy.yaml"]["static_resources"]["listeners"][0]
    assert listener["address"] == {"socket_address": {"address": "::", "port_value": 8080}}
    assert listener["additional_addresses"] == [{"address": {"pipe": {"path": "/run/llm/llm.sock", "mode": 0o666}}}]
    assert manager(files)["access_log"][0]["typed_config"]["path"] == "/var/log/a.log"
    heap = files["envoy.yaml"]["overload_manager"]["resource_monitors"][0]
    assert heap["typed_config"]["max_heap_size_bytes"] == 3 << 30
    without = manager(rendered(options=replace(OPTIONS, access_log="")))["access_log"]
    assert [logger["name"] for logger in without] == ["envoy.access_loggers.http_grpc"], "broken ends are told to the server, nothing is written"
    assert files["envoy.yaml"]["admin"] == {"address": {"pipe": {"path": "/run/llm/admin.sock", "mode": 0o600}}}


def test_own_mappers_come_first_and_are_marked() -> None:
    own = {"filter": {"status_code_filter": {}}, "headers_to_add": [{"header": {"key": "a", "value": "b"}}]}
    sources = edited("listener", ("http_connection_manager", "local_reply_config"), {"mappers": [own]})
    mappers = manager(rendered(sources=sources))["local_reply_config"]["mappers"]
    assert [h["header"]["key"] for h in mappers[0]["headers_to_add"]] == ["a", "x-llm-local"]
    assert len(mappers) == len(manager(rendered())["local_reply_config"]["mappers"]) + 1
    unmarked = [m for m in mappers if m["headers_to_add"][-1]["header"]["key"] != "x-llm-local"]
    assert ["overload" in str(m["filter"]) for m in unmarked] == [True]


@pytest.mark.parametrize("word", ["n", "y", "on", "Yes", "08", "1e3", "0o7", "~", "null", "", "a: b", "1.5", "ü", "- x", "%A%"])
def test_words_that_envoys_yaml_reads_as_something_else_stay_words(word: str) -> None:
    """Its parser knows more booleans than PyYAML."""
    text = wire.dump({"value": word}, "comment").decode()
    assert text == f'# comment\nvalue: "{word}"\n'
    assert yaml.safe_load(text) == {"value": word}


def test_a_cluster_name_is_a_file_name() -> None:
    assert secret_file("gpt-4o@a") == "gpt-4o@a.yaml"
    for name in ("a/b", "../x", "a b", "a%2fb"):
        assert "/" not in secret_file(name)
    assert len({secret_file(name) for name in ("a/b", "a%2Fb", "a_b")}) == 3
