"""Where Envoy says who it has authenticated: names that its configuration and the reader of its messages share."""

from __future__ import annotations

JWT_NAMESPACE = "envoy.filters.http.jwt_authn"
"""Metadata in which jwt_authn puts the claims of tokens that it has verified, each payload under the name that its provider has for it
(`payload_in_metadata`)."""
CERTIFICATE = {
    "uri_san": "connection.uri_san_peer_certificate",
    "dns_san": "connection.dns_san_peer_certificate",
    "subject": "connection.subject_peer_certificate",
}
"""Attributes of the client's certificate, by the registry's word for them."""
