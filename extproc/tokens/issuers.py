"""Asks the issuer of a token for one. Blocking, with time limits; the libraries that know how are imported when they are first needed.

Every call starts from the beginning: a secret or a service account's file that was replaced is read again, and no library answers from its cache.
Google: google-auth, which finds a service account's key, workload identity federation, gcloud's login or the metadata server. Entra: azure-identity.
Both take other addresses from their own environment variables (GCE_METADATA_HOST, AZURE_AUTHORITY_HOST, …).
"""

from __future__ import annotations

import functools
import importlib.util
import os
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extproc.registry.types import TokenSource

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

WITHIN = 15.0
"""Seconds for one call of an issuer's API; a library may make several."""
LIBRARIES = {"google": ("google.auth", "google-auth[requests]"), "entra": ("azure.identity", "azure-identity")}
"""By issuer: the module, and the package that has it."""


class MissingLibraryError(Exception):
    """The text is for the terminal."""


class IssuerError(Exception):
    """The issuer gave no usable token."""


@dataclass(frozen=True, slots=True)
class Token:
    """`expires_at` is Unix time."""

    value: str = field(repr=False)
    expires_at: float


def require_libraries(sources: Iterable[TokenSource]) -> None:
    """Raises `MissingLibraryError` if what `sources` need is not installed."""
    for issuer in sorted({source.issuer for source in sources}):
        module, package = LIBRARIES[issuer]
        try:
            found = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise MissingLibraryError(f"access tokens of {issuer} need {package}: pip install 'llm-extproc[tokens]'")


def fetch(source: TokenSource, environ: Mapping[str, str] | None = None) -> Token:
    """A new token. Raises `IssuerError`, and whatever the issuer's library raises."""
    token = _google(source) if source.issuer == "google" else _entra(source, os.environ if environ is None else environ)
    if not token.value or any(c.isspace() or not c.isprintable() for c in token.value):
        raise IssuerError("the issuer's answer holds no token")
    if token.expires_at <= time.time():
        raise IssuerError("the issuer's token has expired already")
    return token


def _google(source: TokenSource) -> Token:
    import google.auth
    from google.auth.credentials import with_scopes_if_required
    from google.auth.transport.requests import Request

    request: Any = functools.partial(Request(), timeout=WITHIN)
    with warnings.catch_warnings():
        # that a file's kind is not known before it is read, and that a login of gcloud has no project for quotas
        warnings.simplefilter("ignore")
        # Without scopes at first: with them, federated credentials would be asked for the name of their project, at an API that need not be open.
        if source.file is not None:
            found, _ = google.auth.load_credentials_from_file(source.file, request=request)  # type: ignore[no-untyped-call]
        else:
            found, _ = google.auth.default(request=request)
        credentials = with_scopes_if_required(found, [source.scope])  # type: ignore[no-untyped-call]
        credentials.refresh(request)
    if credentials.expiry is None:
        raise IssuerError("the issuer does not say when its token expires")
    return Token(str(credentials.token or ""), credentials.expiry.replace(tzinfo=UTC).timestamp())


def _entra(source: TokenSource, environ: Mapping[str, str]) -> Token:
    credential = _entra_credential(source, environ)
    try:
        found = credential.get_token(source.scope)
    finally:
        close = getattr(credential, "close", None)
        if close is not None:
            close()
    return Token(found.token, float(found.expires_on))


def _entra_credential(source: TokenSource, environ: Mapping[str, str]) -> TokenCredential:
    from azure import identity

    settings = dict(source.settings)
    limits: dict[str, Any] = {"connection_timeout": WITHIN, "read_timeout": WITHIN, "retry_total": 1}
    if environ.get("AZURE_AUTHORITY_HOST"):
        # A cloud that its operator names: it is not asked of the public one whether there is such a cloud.
        limits["disable_instance_discovery"] = True
    match settings.get("method"):
        case "workload-identity":
            return identity.WorkloadIdentityCredential(**limits)
        case "managed-identity":
            return identity.ManagedIdentityCredential(client_id=settings.get("client"), **limits)
        case "certificate":
            return identity.CertificateCredential(settings["tenant"], settings["client"], source.file, **limits)
        case "secret":
            return identity.ClientSecretCredential(settings["tenant"], settings["client"], _secret(source, environ), **limits)
        case _:
            return identity.DefaultAzureCredential(**limits)


def _secret(source: TokenSource, environ: Mapping[str, str]) -> str:
    if source.file is not None:
        return Path(source.file).read_text().strip()
    name = dict(source.settings)["env"]
    secret = environ.get(name)
    if not secret:
        raise IssuerError(f"the environment variable {name} is not set")
    return secret
