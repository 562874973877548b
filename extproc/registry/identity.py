"""The `identity` section: where a request's tenant, tier, application and user come from. Only from what Envoy authenticated: a header that a client
could have written is refused where that can be told from its name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from extproc.registry.fields import Field
from extproc.registry.offers import header_refusal
from extproc.registry.policy import NOBODY, WHO, Identity, IdentitySource
from extproc.registry.problems import shown

KINDS = ("jwt_claim", "header", "certificate")
CERTIFICATE = ("uri_san", "dns_san", "subject")
HINTS = {
    **dict.fromkeys(("team", "org", "organization", "customer", "account", "workspace"), "use tenant"),
    **dict.fromkeys(("app", "service", "client"), "use application"),
    **dict.fromkeys(("plan", "group", "level"), "use tier"),
    **dict.fromkeys(("user_id", "subject", "sub", "email"), "use user"),
    **dict.fromkeys(("default", "defaults", "else"), "use otherwise: {tier: standard}"),
}
_KIND_HINTS = {
    **dict.fromkeys(("jwt", "claim", "token"), "use jwt_claim"),
    **dict.fromkeys(("cert", "mtls", "spiffe", "san", "uri_san", "dns_san"), "use certificate: uri_san, dns_san or subject"),
    **dict.fromkeys(("api_key", "key"), "Envoy tells who a key belongs to: {header: …} of its api_key_auth filter (forwarding.header)"),
}
_CLAIM = re.compile(r"[^\s.]+(?:\.[^\s.]+)*\Z")
_ENVOYS = frozenset(("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"))
"""Others of their prefix are where authenticating proxies put a user's name."""
_REASONS = {
    "Envoy sets the credential": "it holds a credential, which this server never sees",
    "host, path and method come from the provider": "it does not tell who asks",
    "it belongs to the connection": "it does not tell who asks",
    "this server or Envoy sets it": "it does not tell who asks",
    "Envoy sets it": "it does not tell who asks",
}
"""Why a header cannot be sent, as to why it cannot be read."""
MAX_VALUE = 200
"""Characters of a name; longer ones of requests are cut to it."""


@dataclass(frozen=True, slots=True)
class Who:
    """What the file's `identity` names, right or wrong; None is a section that cannot be read, of which nothing can be said."""

    defined: frozenset[str] | None = frozenset()

    def must_define(self, dimension: str, where: Field, *, what: str = "") -> None:
        """Reports the use of a dimension of `WHO` that no request will ever have."""
        if self.defined is not None and dimension in WHO and dimension not in self.defined:
            where.fail(
                f"{what or dimension} needs to know a request's {dimension}, and `identity` does not say where it comes from",
                f"for example identity: {{{dimension}: {{jwt_claim: {dimension}}}}}",
            )


def read_identity(section: Field | None) -> tuple[Identity, Who]:
    """The sources without problems, and what the section means to define."""
    if section is None:
        return NOBODY, Who()
    record = section.record((*WHO, "otherwise"), hints=HINTS, wanted="a mapping such as {tenant: {jwt_claim: tenant}}")
    if record is None:
        return NOBODY, Who(None)
    sources: dict[str, IdentitySource] = {}
    for dimension in WHO:
        field = record.get(dimension)
        source = _source(field) if field else None
        if source is not None:
            sources[dimension] = source
    otherwise: dict[str, str] = {}
    part = record.get("otherwise")
    constants = part.record(WHO, hints=HINTS, wanted="a mapping such as {tier: standard}") if part else None
    for dimension in WHO:
        field = constants.get(dimension) if constants else None
        value = name_of_somebody(field) if field else None
        if value is not None:
            otherwise[dimension] = value
    written = {d for d in WHO if record.get(d) or (constants and constants.get(d))}
    if not written and not record.refused and (constants is None or not constants.refused):
        section.fail("says nothing", "for example {tenant: {jwt_claim: tenant}}, or leave it out")
    unreadable = record.refused or (part is not None and (constants is None or constants.refused))
    return Identity(sources, otherwise), Who(None if unreadable else frozenset(written))


def name_of_somebody(field: Field) -> str | None:
    """A tenant's, user's, … name as a request can have it."""
    value = field.text("a name")
    if value is not None and (len(value) > MAX_VALUE or not value.isprintable() or value != value.strip()):
        field.fail(f"{shown(value)} is no name: up to {MAX_VALUE} printable characters, no space at its ends")
        return None
    return value


def _source(field: Field) -> IdentitySource | None:
    record = field.record(KINDS, hints=_KIND_HINTS, wanted="{jwt_claim: name}, {header: name} or {certificate: uri_san}")
    if record is None:
        return None
    written = record.only(*KINDS)
    if written is None:
        return None
    kind, inner = written
    if kind == "certificate":
        name = inner.choice(CERTIFICATE)
    elif kind == "header":
        name = header_name(inner)
    else:
        name = inner.text("the name of a claim, or a path of names with dots, such as org.id")
        if name is not None and (len(name) > MAX_VALUE or not _CLAIM.match(name) or not name.isprintable()):
            inner.fail(f"{shown(name)} is no path of a claim: names with dots between them, such as org.id")
            return None
    return IdentitySource(kind, name) if name is not None else None


def header_name(field: Field) -> str | None:
    """The lower-case name of a request header that may tell who asks; None with a problem for one that cannot."""
    written = field.text("the name of a header")
    if written is None:
        return None
    name = written.lower()
    if name == "x-forwarded-client-cert":
        field.fail("the header x-forwarded-client-cert is read as a certificate", "use certificate: uri_san, dns_san or subject")
        return None
    reason = None if name.startswith("x-forwarded-") and name not in _ENVOYS else header_refusal(name, None)
    if reason is None:
        return name
    field.fail(f"the header {shown(written)} cannot be taken: {_REASONS.get(reason, reason)}")
    return None
