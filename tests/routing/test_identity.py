"""Who asks, from claims, headers and certificates."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.authenticated import JWT_NAMESPACE
from extproc.registry.policy import NOBODY, WHO, Identity, IdentitySource
from extproc.routing.identity import identify

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["tenant", "org", "id", "a.b"]) | st.text(), inner, max_size=3),
    max_leaves=12,
)


def of_claim(path: str, **otherwise: str) -> Identity:
    return Identity({"tenant": IdentitySource("jwt_claim", path)}, otherwise)


def with_claims(**payloads: Any) -> dict[str, Any]:
    return {JWT_NAMESPACE: payloads}


def test_nobody_says_anything() -> None:
    assert identify(NOBODY, {"x-tenant": "acme"}, {}, with_claims(token={"tenant": "acme"})) == {}


def test_a_claim_of_whatever_payload() -> None:
    assert identify(of_claim("tenant"), {}, {}, with_claims(any_name={"tenant": "acme"})) == {"tenant": "acme"}
    assert identify(of_claim("tenant"), {}, {}, with_claims(first={"sub": "x"}, second={"tenant": "acme"})) == {"tenant": "acme"}


def test_a_claim_is_only_read_from_what_envoy_verified() -> None:
    forged = {"tenant": "acme", "x-tenant": "acme", "x-llm-tenant": "acme"}
    assert identify(of_claim("tenant"), forged, {"tenant": "acme"}, {"some.other.filter": {"token": {"tenant": "acme"}}}) == {}


def test_nested_claims_and_names_with_dots() -> None:
    claims = {"org": {"unit": {"id": "red"}}, "https://acme.example/tenant": "blue", "https://acme.example/org": {"id": "green"}}
    for path, value in (("org.unit.id", "red"), ("https://acme.example/tenant", "blue"), ("https://acme.example/org.id", "green")):
        assert identify(of_claim(path), {}, {}, with_claims(token=claims)) == {"tenant": value}
    assert identify(of_claim("org.unit"), {}, {}, with_claims(token=claims)) == {}
    assert identify(of_claim("org.unit.id.more"), {}, {}, with_claims(token=claims)) == {}


def test_two_tokens_with_the_same_claim() -> None:
    both = with_claims(b_service={"tenant": "service"}, a_user={"tenant": "user"})
    assert identify(of_claim("tenant"), {}, {}, both) == {"tenant": "user"}
    assert identify(of_claim("b_service.tenant"), {}, {}, both) == {"tenant": "service"}


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("acme", "acme"),
        ("  acme ", "acme"),
        (42.0, "42"),
        (True, "true"),
        (["acme"], "acme"),
        ("x" * 500, "x" * 200),
        ("Müller & Söhne", "Müller & Söhne"),
    ],
)
def test_values(value: Any, name: str) -> None:
    assert identify(of_claim("tenant"), {}, {}, with_claims(token={"tenant": value})) == {"tenant": name}


@pytest.mark.parametrize("value", [None, "", "   ", "a\nb", "a\x00b", ["a", "b"], [], {"a": 1}, [["a"]], 1.5, 2.0**60, float("nan"), float("inf")])
def test_what_is_no_name_counts_as_absent(value: Any) -> None:
    assert identify(of_claim("tenant"), {}, {}, with_claims(token={"tenant": value})) == {}
    assert identify(of_claim("tenant", tenant="guest"), {}, {}, with_claims(token={"tenant": value})) == {"tenant": "guest"}


def test_headers_certificates_and_constants_together() -> None:
    identity = Identity(
        {
            "tier": IdentitySource("header", "x-tier"),
            "user": IdentitySource("certificate", "uri_san"),
            "application": IdentitySource("certificate", "dns_san"),
            "tenant": IdentitySource("certificate", "subject"),
        },
        {"tier": "standard", "application": "unknown"},
    )
    assert identify(identity, {}, {}, {}) == {"tier": "standard", "application": "unknown"}
    seen = identify(
        identity,
        {"x-tier": "premium"},
        {"connection.uri_san_peer_certificate": "spiffe://acme/ns/a", "connection.subject_peer_certificate": "CN=acme"},
        {},
    )
    assert seen == {"tier": "premium", "user": "spiffe://acme/ns/a", "tenant": "CN=acme", "application": "unknown"}


@given(JSON, st.sampled_from(["tenant", "org.id", "a.b", "a.b.tenant", "token.tenant", "."]))
def test_no_claims_make_it_raise(claims: Any, path: str) -> None:
    seen = identify(of_claim(path, tier="standard"), {}, {}, {JWT_NAMESPACE: {"token": claims, "other": claims}})
    assert set(seen) <= set(WHO)
    assert all(value and len(value) <= 200 and value.isprintable() and value == value.strip() for value in seen.values())
