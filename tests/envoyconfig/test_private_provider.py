"""The example of a private CA and an egress proxy, in the real Envoy: its own text, with the addresses of this machine."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest
import yaml

from extproc.envoyconfig.check import check
from extproc.envoyconfig.options import Options
from extproc.envoyconfig.sources import load_sources
from extproc.registry.load import parse_registry
from extproc.registry.types import Registry
from tests.envoy_process import envoy_binary, running_envoy, short_directory
from tests.envoyconfig.connect_proxy import connect_proxy
from tests.envoyconfig.recorder import Recorder, recording
from tests.envoyconfig.test_tls import NEW_KEY, _openssl, certificate, tls_upstream

EXAMPLE = Path(__file__).parents[2] / "envoy" / "private-provider.example.yaml"
ENVIRONMENT = {"CORP_LLM_KEY": "corp-key", "OPENAI_API_KEY": "openai-key", "PARTNER_LLM_KEY": "partner-key"}
OPTIONS = Options("/out", "/run")


def example(*changes: tuple[str, str]) -> Registry:
    text = EXAMPLE.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse_registry(text.encode(), str(EXAMPLE))


def test_the_example_passes_the_check() -> None:
    assert check(example(), load_sources(), OPTIONS) == []


def test_through_a_private_ca_and_a_proxy() -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make certificates")
    envoy_binary()
    greeted: list[str | None] = []
    with short_directory() as root:
        # the first is the private authority, the second stands for those that the system trusts
        for name in ("corp", "system"):
            subject = ("-subj", f"/CN={name}")
            _openssl("req", "-x509", *NEW_KEY, "-days", "2", *subject, "-keyout", str(root / "ca.key"), "-out", str(root / "ca.pem"))
            certificate(root, f"by-{name}", "DNS:llm.corp.localhost,DNS:llm.partner.example,DNS:api.openai.com")
            (root / "ca.pem").rename(root / f"{name}.pem")
        with tls_upstream(200, root / "by-corp.pem", greeted) as corp, tls_upstream(200, root / "by-system.pem", greeted) as public:
            there = ("127.0.0.1", corp.server_port)
            with connect_proxy(there) as proxy, recording(root, Recorder()) as recorder:
                registry = example(
                    ("llm.corp.example/v1", f"llm.corp.localhost:{corp.server_port}/v1"),
                    ("/etc/llm/corp-ca.pem", str(root / "corp.pem")),
                    ("{address: 10.0.0.8, port_value: 3128}", f"{{address: 127.0.0.1, port_value: {proxy.port}}}"),
                )
                with running_envoy(registry, directory=root, ca_file=str(root / "system.pem"), env=ENVIRONMENT) as envoy:

                    def status(target: str) -> int:
                        recorder.chain = [target]
                        return httpx.post(f"{envoy.url}/v1/chat/completions", json={}, timeout=20).status_code

                    assert status("private-ca") == 200
                    assert proxy.asked == []
                    assert status("both") == 200
                    assert greeted == ["llm.corp.localhost", "llm.partner.example"]
                    assert [headers["authorization"] for _, headers, _ in corp.requests] == ["Bearer corp-key", "Bearer partner-key"]
                    # it trusts the system's authorities only, and the tunnel ends at somebody that those do not know
                    assert status("through-proxy") == 503
                    assert len(corp.requests) == 2
                    proxy.leads_to = ("127.0.0.1", public.server_port)
                    assert status("through-proxy") == 200
                    assert [headers["authorization"] for _, headers, _ in public.requests] == ["Bearer openai-key"]
                    # names, which nobody here could resolve
                    assert {authority for authority, _ in proxy.asked} == {"llm.partner.example:443", "api.openai.com:443"}
                    assert "key" not in repr(proxy.asked)


def proxied(**changes: object) -> Registry:
    """The example, with members of the proxy's own configuration replaced (None: removed)."""
    data = yaml.safe_load(EXAMPLE.read_text())
    config = data["providers"]["both"]["envoy"]["transport_socket"]["typed_config"]
    for name, value in changes.items():
        config[name] = value
    return parse_registry(yaml.safe_dump({**data}).encode(), str(EXAMPLE))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"default_proxy_address": None}, "without it the proxy is not used"),
        ({"default_proxy_address": {"socket_address": {"address": "proxy.corp.example", "port_value": 3128}}}, "must be an IP address"),
        ({"transport_socket": {"name": "envoy.transport_sockets.raw_buffer"}}, "the key would be sent in the clear"),
        (
            {
                "transport_socket": {
                    "typed_config": {"common_tls_context": {"validation_context": {"trust_chain_verification": "ACCEPT_UNTRUSTED"}}},
                }
            },
            "the provider's key would go to anybody",
        ),
        ({"transport_socket": {"typed_config": {"auto_sni_san_validation": False}}}, "a certificate for any name"),
    ],
)
def test_what_a_proxy_must_not_undo(changes: dict[str, object], words: str) -> None:
    [problem] = check(proxied(**changes), load_sources(), OPTIONS)
    assert words in str(problem)
    assert "providers.both.envoy.transport_socket" in str(problem)


def test_a_proxy_and_plain_http() -> None:
    plain = example(("https://llm.partner.example/v1", "http://llm.partner.example/v1"))
    [problem] = check(plain, load_sources(), OPTIONS)
    assert "an egress proxy needs https" in str(problem)


def test_defaults_for_every_provider_and_one_of_its_own() -> None:
    """A proxy in cluster.yaml holds for all; what a provider says of TLS reaches the connection in the tunnel."""
    from extproc.envoyconfig.sockets import layered, through

    proxy = {"name": "envoy.transport_sockets.http_11_proxy", "typed_config": {"@type": "proxy", "default_proxy_address": {"x": 1}}}
    tls = {"name": "tls", "typed_config": {"@type": "tls", "common_tls_context": {"a": 1}}}
    outer, inner = layered(
        {"transport_socket": tls}, {"transport_socket": proxy}, {"transport_socket": {"typed_config": {"common_tls_context": {"b": 2}}}}, {}
    )
    assert inner == {"name": "tls", "typed_config": {"@type": "tls", "common_tls_context": {"a": 1, "b": 2}}}
    assert through(outer, inner) == {**proxy, "typed_config": {**proxy["typed_config"], "transport_socket": inner}}
    assert through(None, inner) is inner
