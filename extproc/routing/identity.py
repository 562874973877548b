"""Who asks: tenant, tier, application and user, from what Envoy authenticated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from extproc.registry.policy import Identity

JWT_NAMESPACE = "envoy.filters.http.jwt_authn"


def identify(
    identity: Identity, headers: Mapping[str, str], attributes: Mapping[str, Any], metadata: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """{dimension of `WHO`: value}; a dimension that nothing tells is not in it. Values are cut to 200 characters; others than text, numbers and
    flags count as absent."""
    raise NotImplementedError
