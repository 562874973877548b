"""Who asks, end to end: a token that Envoy's jwt_authn has checked, and a client's certificate. The examples' own text."""

from __future__ import annotations

import base64
import ssl
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from extproc.envoyconfig.check import check
from extproc.envoyconfig.options import Options
from extproc.simulator import Simulator
from tests.e2e.examples import with_example
from tests.e2e.stack import PATIENCE, Stack, running_stack, two_providers
from tests.envoyconfig.registries import provider, registry, target

KEYS = {"oa": "sk-of-oa", "an": "sk-of-an"}
DIALECTS = {"oa": "openai_chat", "an": "anthropic_messages"}
ISSUER, AUDIENCE = "https://login.example.internal/", "llm"
BODY: dict[str, Any] = {"model": "oa", "messages": [{"role": "user", "content": "Say hello."}]}


def registry_text(identity: str) -> Any:
    def text(sims: Mapping[str, Simulator], directory: Path) -> str:
        return f"""
version: 1
identity: {identity}
{two_providers(sims, directory)}models:
  oa: {{targets: [oa]}}
  an: {{targets: [an]}}
"""

    return text


@pytest.mark.parametrize("name", ["identity", "mutual-tls", "guardrail"])
def test_the_examples_pass_the_check(name: str) -> None:
    assert check(registry(target("a", provider("p"))), with_example(name), Options("/run/llm/out", "/run/llm")) == []


# tokens


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Issuer:
    """Who gives out tokens."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def jwks(self) -> bytes:
        numbers = self._key.public_key().public_numbers()
        n, e = (base64url(number.to_bytes((number.bit_length() + 7) // 8, "big")) for number in (numbers.n, numbers.e))
        return orjson.dumps({"keys": [{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", "n": n, "e": e}]})

    def token(self, **claims: Any) -> str:
        head = {"alg": "RS256", "typ": "JWT", "kid": "1"}
        body = {"iss": ISSUER, "aud": AUDIENCE, "sub": "somebody", "exp": int(time.time()) + 600, **claims}
        signed = f"{base64url(orjson.dumps(head))}.{base64url(orjson.dumps(body))}"
        return f"{signed}.{base64url(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Issuer]]:
    issuer = Issuer()
    folder = tmp_path_factory.mktemp("jwks")
    (folder / "jwks.json").write_bytes(issuer.jwks())
    sources = with_example("identity", {"/etc/llm": str(folder)})
    identity = "{tenant: {jwt_claim: org.tenant}, tier: {jwt_claim: claims.tier}, user: {header: x-verified-user}, otherwise: {tier: standard}}"
    with running_stack(registry_text(identity), DIALECTS, KEYS, sources=sources) as stack:
        yield stack, issuer


def tenant_of(stack: Stack, token: str | None, **headers: str) -> str:
    """The tenant in the log line of a request."""
    rid = f"rid-{time.monotonic_ns()}"
    sent = {"x-request-id": rid, **headers} | ({"authorization": f"Bearer {token}"} if token else {})
    answer = httpx.post(f"{stack.url}/v1/chat/completions", headers=sent, json=BODY, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    found = stack.lines.of(rid)
    return str(found.get("tenant") or "")


def test_the_claim_of_a_verified_token_is_the_tenant(world: tuple[Stack, Issuer]) -> None:
    stack, issuer = world
    stack.reset()
    assert tenant_of(stack, issuer.token(org={"tenant": "acme"})) == "acme"
    assert tenant_of(stack, issuer.token(org={"tenant": "other"})) == "other"


def test_what_a_client_says_of_itself_is_not_believed(world: tuple[Stack, Issuer]) -> None:
    stack, issuer = world
    stack.reset()
    forged = {
        "x-tenant": "acme",
        "x-llm-tenant": "acme",
        "tenant": "acme",
        "org.tenant": "acme",
        "x-jwt-payload": base64url(b'{"org":{"tenant":"acme"}}'),
    }
    assert tenant_of(stack, issuer.token(org={"tenant": "other"}), **forged) == "other"
    assert tenant_of(stack, issuer.token(), **forged) == ""


@pytest.mark.parametrize("how", ["none", "unsigned", "foreign key", "other audience", "expired", "changed"])
def test_a_token_that_does_not_hold_reaches_nobody(world: tuple[Stack, Issuer], how: str) -> None:
    stack, issuer = world
    stack.reset()
    good = issuer.token(org={"tenant": "acme"})
    head, body, signature = good.split(".")
    token = {
        "none": "",
        "unsigned": f"{base64url(orjson.dumps({'alg': 'none'}))}.{body}.",
        "foreign key": Issuer().token(org={"tenant": "acme"}),
        "other audience": issuer.token(aud="somebody-else", org={"tenant": "acme"}),
        "expired": issuer.token(exp=int(time.time()) - 3600, org={"tenant": "acme"}),
        "changed": f"{head}.{issuer.token(org={'tenant': 'evil'}).split('.')[1]}.{signature}",
    }[how]
    headers = {"authorization": f"Bearer {token}"} if token else {}
    answer = httpx.post(f"{stack.url}/v1/chat/completions", headers=headers, json=BODY, timeout=PATIENCE)
    assert answer.status_code == (403 if how == "other audience" else 401)
    assert answer.json()["error"]["type"] == "authentication_error"
    assert stack.calls() == {}


def test_sdks_put_the_token_where_their_key_is(world: tuple[Stack, Issuer]) -> None:
    stack, issuer = world
    stack.reset()
    token = issuer.token(org={"tenant": "acme"})
    messages: list[Any] = BODY["messages"]
    openai.OpenAI(base_url=f"{stack.url}/v1", api_key=token, max_retries=0).chat.completions.create(model="oa", messages=messages)
    claude = anthropic.Anthropic(base_url=stack.url, api_key=token, max_retries=0)
    claude.messages.create(model="an", messages=messages, max_tokens=10)
    assert stack.calls() == {"oa": 1, "an": 1}
    with pytest.raises(openai.AuthenticationError, match="Jwt"):
        openai.OpenAI(base_url=f"{stack.url}/v1", api_key="no-token", max_retries=0).models.list()
    with pytest.raises(anthropic.AuthenticationError, match="Jwt"):
        anthropic.Anthropic(base_url=stack.url, api_key="no-token", max_retries=0).messages.create(model="an", messages=messages, max_tokens=10)


def test_nothing_of_it_reaches_a_provider_or_the_token_the_server(world: tuple[Stack, Issuer]) -> None:
    stack, issuer = world
    stack.reset()
    stack.seen.clear()
    token = issuer.token(org={"tenant": "acme"})
    said = {"x-llm-task": "summarization", "x-llm-session": "s-1", "x-verified-user": "somebody", "x-tenant": "acme", "x-other": "1"}
    assert tenant_of(stack, token, **said) == "acme"
    names = {name for name, _ in stack.seen}
    # believed and read here
    assert {"x-llm-task", "x-llm-session", "x-verified-user"} <= names
    assert not any(token in value or token.split(".")[1] in value for _, value in stack.seen)
    (received,) = stack.received("oa")
    assert not {*said, "x-jwt-payload"} & received.headers.keys()
    assert received.headers["authorization"] == f"Bearer {KEYS['oa']}"
    assert not any(token in value or "acme" in value for value in received.headers.values())


# certificates


class Authority:
    """A private authority and what it signs."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self._signed(self._name, self._key, x509.BasicConstraints(ca=True, path_length=None)))

    def issue(self, name: str, *alternatives: x509.GeneralName) -> tuple[str, str]:
        """(certificate, key) as files."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate, secret = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(self._signed(subject, key, x509.SubjectAlternativeName(alternatives)))
        form = serialization.PrivateFormat.PKCS8
        secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        return str(certificate), str(secret)

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType) -> bytes:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(extension, critical=False)
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_the_name_in_a_clients_certificate(tmp_path: Path) -> None:
    ours, others = Authority(tmp_path, "clients-ca"), Authority(tmp_path, "others-ca")
    server = ours.issue("server", x509.DNSName("localhost"))
    uri = x509.UniformResourceIdentifier("spiffe://company/ns/shop/sa/checkout")
    good, foreign = ours.issue("good", uri), others.issue("foreign", uri)
    sources = with_example("mutual-tls", {"/etc/llm/tls": str(tmp_path)})
    identity = "{tenant: {certificate: uri_san}, user: {certificate: subject}}"

    def client(pair: tuple[str, str] | None) -> httpx.Client:
        context = ssl.create_default_context(cafile=str(ours.file))
        if pair is not None:
            context.load_cert_chain(*pair)
        return httpx.Client(verify=context, timeout=PATIENCE)

    assert Path(server[0]).name == "server.pem"
    with running_stack(registry_text(identity), DIALECTS, KEYS, sources=sources) as stack:
        url = stack.url.replace("http://127.0.0.1", "https://localhost") + "/v1/chat/completions"
        with client(good) as known:
            answer = known.post(url, json=BODY, headers={"x-request-id": "with-a-certificate"})
        assert answer.status_code == 200
        assert stack.lines.of("with-a-certificate")["tenant"] == "spiffe://company/ns/shop/sa/checkout"
        for pair in (None, foreign):
            with client(pair) as unknown, pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError, httpx.WriteError)):
                unknown.post(url, json=BODY)
        assert stack.calls() == {"oa": 1}
