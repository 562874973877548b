"""Who asks: tenant, tier, application and user, from what Envoy authenticated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from extproc.core.authenticated import CERTIFICATE, JWT_NAMESPACE
from extproc.registry.policy import Identity, IdentitySource

LONGEST = 200
_EXACT = 1 << 53
"""Numbers come as doubles: from here on two different ones look the same."""


def identify(
    identity: Identity, headers: Mapping[str, str], attributes: Mapping[str, Any], metadata: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """{dimension of `WHO`: value}; a dimension that nothing tells is not in it.

    Values are text, whole numbers and flags (`true`, `false`), cut to 200 characters. A list of one such value counts as the value. Longer lists,
    objects, fractions and text that is blank or not printable count as absent: nobody is two tenants, and a name that is told by joining several
    could be forged.
    """
    found = dict(identity.otherwise)
    for dimension, source in identity.sources.items():
        value = _word(_read(source, headers, attributes, metadata))
        if value:
            found[dimension] = value
    return found


def _read(source: IdentitySource, headers: Mapping[str, str], attributes: Mapping[str, Any], metadata: Mapping[str, Mapping[str, Any]]) -> Any:
    if source.kind == "header":
        return headers.get(source.name)
    if source.kind == "certificate":
        return attributes.get(CERTIFICATE.get(source.name, ""))
    payloads = metadata.get(JWT_NAMESPACE)
    return claim(payloads, source.name) if payloads else None


def claim(payloads: Mapping[str, Any], path: str) -> Any:
    """The claim `path` of the first payload that has it, in the order of the payloads' names; None if none does. A path may begin with the name of a
    payload, where several tokens have the same claim."""
    for name in sorted(payloads):
        value = _at(payloads[name], path)
        if value is not None:
            return value
    return _at(payloads, path)


def _at(claims: Any, path: str) -> Any:
    """The member `path`, or at the end of the way that its dots describe. Names of claims are often URLs, so a dot may be part of one."""
    if not isinstance(claims, Mapping):
        return None
    if path in claims:
        return claims[path]
    dot = path.find(".")
    while dot > 0:
        inner = claims.get(path[:dot])
        value = _at(inner, path[dot + 1 :]) if inner is not None else None
        if value is not None:
            return value
        dot = path.find(".", dot + 1)
    return None


def _word(value: Any) -> str:
    """`value` as a name, "" for what is none."""
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(int(value)) if -_EXACT < value < _EXACT and value == int(value) else ""
    if not isinstance(value, str):
        return ""
    name = value.strip()[:LONGEST].rstrip()
    return name if name.isprintable() else ""
