"""Envoy itself on the rendered files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from extproc.envoyconfig import wire
from extproc.envoyconfig.options import MIB, Options, Otlp
from extproc.envoyconfig.render import render
from extproc.envoyconfig.sources import Sources, load_sources
from extproc.envoyconfig.validate import readable, validate_with_envoy
from extproc.envoyconfig.write import write
from extproc.registry.types import Credential, Registry
from tests.envoy_process import envoy_binary
from tests.envoyconfig.files import edited
from tests.envoyconfig.registries import provider, registry, target

H2C = {"typed_extension_protocol_options": {wire.HTTP_OPTIONS: {"explicit_http_config": {"http2_protocol_options": {}}}}}


@pytest.fixture
def options(tmp_path: Path) -> Options:
    authorities = tmp_path / "ca.pem"
    authorities.write_text(CA)
    (tmp_path / "keys").mkdir()
    return Options(str(tmp_path / "out"), "/run/llm", ca_file=str(authorities))


def everything(tmp_path: Path) -> Registry:
    keys = (Credential("a", file=str(tmp_path / "keys" / "a")), Credential("b", env="SURELY_NOT_SET"))
    return registry(
        target("gpt", provider("openai", keys=keys), envoy={"outlier_detection": {"consecutive_5xx": 3}}),
        target("claude", provider("anthropic", "anthropic", keys=keys[:1])),
        target("gemini", provider("gemini", "gemini", envoy={"type": "LOGICAL_DNS"})),
        target("address", provider("address", "gemini", ("https", "192.0.2.7", 8443))),
        target("v6", provider("v6", "openai-compatible", ("http", "::1", 8000))),
        target("h2c", provider("vllm", "openai-compatible", ("http", "vllm.svc", 8000), envoy=H2C)),
    )


def verdict(registry_: Registry, options: Options, sources: Sources | None = None) -> str | None:
    out = Path(options.out_dir)
    write(render(registry_, options, sources or load_sources()), out)
    return validate_with_envoy(envoy_binary(), out)


FEATURES: list[dict[str, Any]] = [
    {},
    {"workers": 4, "listen_socket": "/run/llm/llm.sock", "max_body_bytes": 100 * MIB, "heap_bytes": 2 << 30, "access_log": ""},
    {"address": "::", "otlp": Otlp("https://otel.test/v1/traces", headers=(("x-a", "b"),)), "max_body_bytes": MIB},
    {"otlp": Otlp("http://127.0.0.1:4317", grpc=True, headers=(("x-a", "b"),))},
]


@pytest.mark.parametrize("features", FEATURES, ids=["defaults", "sizes", "otlp-http", "otlp-grpc"])
def test_envoy_takes_every_feature(tmp_path: Path, options: Options, features: dict[str, Any]) -> None:
    assert verdict(everything(tmp_path), replace(options, **features)) is None


def test_envoy_takes_a_registry_without_targets(options: Options) -> None:
    assert verdict(registry(), options) is None


def test_an_unknown_field_in_a_watched_file(tmp_path: Path, options: Options) -> None:
    """`envoy --mode validate` on the bootstrap alone would say OK."""
    said = verdict(registry(target("t", provider("p"), envoy={"connection_timeout": "5s"})), options)
    assert said is not None
    assert "connection_timeout" in said
    assert "[critical]" not in said


def test_a_bad_value_in_a_route(tmp_path: Path, options: Options) -> None:
    said = verdict(everything(tmp_path), options, edited("routes", ("both", "retry_policy", "retry_back_off"), {"base_interval": "soon"}))
    assert said is not None
    assert "base_interval" in said


def test_an_own_cluster_and_an_own_mapper(tmp_path: Path, options: Options) -> None:
    mapper = {
        "filter": {"status_code_filter": {"comparison": {"op": "EQ", "value": {"default_value": 404, "runtime_key": "x"}}}},
        "status_code": 410,
    }
    sources = edited("listener", ("http_connection_manager", "local_reply_config"), {"mappers": [mapper]})
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 8125}}}}
    cluster = {
        "name": "statsd",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "statsd", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    sources = replace(sources, bootstrap=edited("bootstrap", ("static_resources",), {"clusters": [cluster]}).bootstrap)
    assert verdict(everything(tmp_path), options, sources) is None


def test_readable() -> None:
    log = (
        "[2026-01-01 00:00:00.000][1][info][main] [source/server/server.cc:1] fine\n"
        "[2026-01-01 00:00:00.000][1][critical][main] [source/server/server.cc:76] error initializing: A\n"
        "second line of A\n"
        "[2026-01-01 00:00:00.000][1][warning][main] [source/server/server.cc:2] only a warning\n"
        "of two lines\n"
    )
    assert readable(log) == "error initializing: A\nsecond line of A"


CA = """-----BEGIN CERTIFICATE-----
MIIBiTCCAS+gAwIBAgIUfjQjGmjMdiBM9crCnJYKon3Xsh8wCgYIKoZIzj0EAwIw
GTEXMBUGA1UEAwwOdGVzdCBhdXRob3JpdHkwIBcNMjYxMTIzMDE1MDU0WhgPMjEy
NjEwMzAwMTUwNTRaMBkxFzAVBgNVBAMMDnRlc3QgYXV0aG9yaXR5MFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAEzp30h5YRVqCDVSfQvHtw/e/DhvdCKInXnglqv1XR
40NOuB7QRUQuG5QJEGhbj7JUQXBYEYYuRCuBU7c6QEU+GKNTMFEwHQYDVR0OBBYE
FK/3hoxgydfBDF6B/Kbrm4xuCPWoMB8GA1UdIwQYMBaAFK/3hoxgydfBDF6B/Kbr
m4xuCPWoMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgLWiTJ7k7
43kzYC537aFhUJhseU6VxV8m7cB0YwnIa3YCIQD9zy9b+tbaxCFOMx5C88yIdNHl
sb38x9bNhoXB9qDcAQ==
-----END CERTIFICATE-----
"""
