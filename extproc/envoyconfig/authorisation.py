"""How a request proves to its provider who sends it: a key or an access token in a header, or a signature of AWS over the whole request.

Either is the work of one of Envoy's filters, behind the attempt filter and the one that removes every key, so it acts on what is really sent,
and Python never sees it. Without a key the request goes out as it is and the provider refuses it: that is a verdict, and the next target
answers. A refusal by Envoy itself would be final.
"""

from __future__ import annotations

import hashlib
import posixpath
from typing import Any

from extproc.envoyconfig import wire
from extproc.envoyconfig.options import Options
from extproc.registry.types import AwsSource, Credential, Provider

_SIGNED: tuple[dict[str, str], ...] = ({"exact": "content-type"}, {"prefix": "x-amz-"})
"""Beside `host`. A list of what is signed and not of what is not: a header that is added or removed behind the signature does not break it."""


def filter_for(provider: Provider, credential: Credential, secret: str, sds_file: str, options: Options) -> dict[str, Any] | None:
    """The filter for requests to `provider`; None where it gets no key. `secret` is the name of the secret in `sds_file`."""
    if credential.aws is not None:
        return _signer(provider, credential.aws)
    source = _secret_source(key_file(provider, credential, options), credential.env, sds_file)
    return None if source is None else _injector(provider, credential, {"name": secret, "sds_config": source})


def secret(provider: Provider, credential: Credential, name: str, options: Options) -> dict[str, Any] | None:
    """The secret `name` for an SDS file: where its key is. None where the request is signed or goes without a key."""
    file = key_file(provider, credential, options)
    if file is not None:
        source: dict[str, Any] = {"filename": file}
    elif credential.env is not None:
        source = {"environment_variable": credential.env}
    else:
        return None
    return {wire.TYPE: wire.SECRET, "name": name, "generic_secret": {"secret": source}}


def secret_name(cluster: str, provider: Provider, credential: Credential, options: Options) -> str:
    """Changes with the key's place: Envoy reads an SDS file again only for a name that it does not know yet."""
    place = hashlib.sha256(f"{key_file(provider, credential, options)}\0{credential.env}".encode()).hexdigest()[:8]
    return f"{cluster}.{place}"


def key_file(provider: Provider, credential: Credential, options: Options) -> str | None:
    """The file that Envoy reads: one of the operator, or the one that `extproc tokens` keeps fresh."""
    if credential.token is not None:
        return posixpath.join(options.tokens, provider.token_file(credential))
    return credential.file


def _secret_source(file: str | None, env: str | None, sds_file: str) -> dict[str, Any] | None:
    if file is not None:
        # Envoy reads the key again when anything is renamed in its directory: a file put in place, or the link that Kubernetes swaps.
        return {"path_config_source": {"path": sds_file, "watched_directory": {"path": posixpath.dirname(file)}}}
    return None if env is None else {"path_config_source": {"path": sds_file}}


def _injector(provider: Provider, credential: Credential, secret: dict[str, Any]) -> dict[str, Any]:
    kind = provider.kind
    header, prefix = ("authorization", "Bearer ") if credential.token is not None else (kind.auth_header, kind.auth_prefix)
    generic: dict[str, Any] = {"header": header, "credential": secret}
    if prefix:
        generic["header_value_prefix"] = prefix
    return wire.named(
        "credential",
        wire.CREDENTIAL_INJECTOR,
        {
            "overwrite": True,
            "allow_request_without_credential": True,
            "credential": wire.named("envoy.http.injected_credentials.generic", wire.GENERIC_CREDENTIAL, generic),
        },
    )


def _signer(provider: Provider, source: AwsSource) -> dict[str, Any]:
    config: dict[str, Any] = {"service_name": provider.kind.signs, "region": provider.region, "match_included_headers": [dict(m) for m in _SIGNED]}
    if source.file is not None:
        found = {"filename": source.file, "watched_directory": {"path": posixpath.dirname(source.file)}}
        file: dict[str, Any] = {"credentials_data_source": found}
        if source.profile is not None:
            file["profile"] = source.profile
        # Nothing else: a file that lacks the profile must not be made up for by somebody's environment.
        config["credential_provider"] = {"custom_credential_provider_chain": True, "credentials_file_provider": file}
    return wire.named("sign", wire.AWS_REQUEST_SIGNING, config)
