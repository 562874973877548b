"""A provider's `credential` or `credentials`: where a key is, or who issues what stands for one. The file never says what it is.

A key is a file or a variable that Envoy reads. Requests to AWS are signed by Envoy. An access token of Google or of Microsoft Entra ID is fetched
by `extproc tokens`, a process of its own, which alone reads what it is fetched with.
"""

from __future__ import annotations

import os.path
import re
from urllib.parse import urlsplit

from extproc.providers.kinds import KINDS, ProviderKind
from extproc.registry.fields import Field, Record
from extproc.registry.problems import looks_secret, shown
from extproc.registry.types import AwsSource, Credential, TokenSource
from extproc.registry.yaml_marks import Scalar

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
NAME_RULE = "must be 1 to 63 lower-case letters, digits, dots, dashes or underscores, the first a letter or a digit"
KEY_ADVICE = "keys are not written in this file: use credential: {file: /path} or {env: NAME}"
SOURCES = ("file", "env", "aws", "google", "entra")
LATER = {"vault": "a Vault credential"}
HINTS = {
    **dict.fromkeys(("api_key", "apikey", "api-key", "key", "token", "secret", "password"), KEY_ADVICE),
    **dict.fromkeys(("gcp", "google_cloud", "adc"), "use google"),
    **dict.fromkeys(("azure", "azure_ad", "microsoft"), "use entra"),
    **dict.fromkeys(("profile", "region"), "a profile is written as {aws: {file: /path, profile: name}}"),
}
ENTRA = ("workload-identity", "managed-identity", "default")
"""Identities that the environment of `extproc tokens` has."""

_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_PROFILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@/+ -]{0,127}\Z")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,127}\Z")
_CLIENT = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
_SCOPE = re.compile(r"(?:https|api)://[A-Za-z0-9._~:/-]{1,200}\Z")


def check_name(field: Field, name: str, what: str) -> None:
    """Reports a name that cannot become part of an Envoy cluster's name."""
    if not NAME.match(name):
        field.fail(f"{shown(name)} is no name for a {what}: it {NAME_RULE}")


def read_credentials(record: Record, kind: ProviderKind | None, directory: str) -> tuple[Credential, ...]:
    """Those without problems. Relative paths start in `directory`."""
    one, pool = record.get("credential"), record.get("credentials")
    if one is not None and pool is not None:
        pool.fail("stands beside `credential`", "keep one of them; a pool holds all keys")
    if one is not None:
        if isinstance(one.node, Scalar) and one.node.text == "none":
            return (Credential(),)
        found = _credential("", one, kind, directory)
        return (found,) if found else ()
    if pool is not None:
        entries = pool.entries("a mapping from names to credentials") or {}
        for name, field in entries.items():
            check_name(field, name, "credential")
        return tuple(c for name, field in entries.items() if (c := _credential(name, field, kind, directory)))
    if kind is not None and (kind.undated or (kind.url is not None and record.get("url") is None)):
        host = urlsplit(kind.url).hostname if kind.url is not None and "{" not in kind.url else f"the kind {kind.name}"
        record.field.fail(
            f"has no credential, and {host} serves nobody without one",
            f"credential: {' or '.join(_possible(kind))}; credential: none if a proxy on the way adds the key",
        )
    return (Credential(),)


def _possible(kind: ProviderKind) -> list[str]:
    issuers = {issuer for issuer, _ in kind.scopes}
    return [
        *(["{aws: default}"] if kind.signs is not None else []),
        *(["{google: default}"] if "google" in issuers else []),
        *(["{entra: workload-identity}"] if "entra" in issuers else []),
        "{env: NAME}",
        "{file: /path}",
    ]


def _credential(name: str, field: Field, kind: ProviderKind | None, directory: str) -> Credential | None:
    if isinstance(field.node, Scalar):
        # never quoted: whatever stands here in place of a reference is probably the key itself
        field.fail("must say where the key is, not what it is" if field.node.kind != "null" else "is empty", KEY_ADVICE)
        return None
    record = field.record(SOURCES, later=LATER, hints=HINTS, wanted="{file: /path} or {env: NAME}")
    if record is None:
        return None
    written = record.only(*SOURCES)
    if written is None:
        return None
    source, inner = written
    if source == "file":
        path = read_path(inner, directory)
        return Credential(name, file=path) if path is not None else None
    if source == "env":
        variable = _variable(inner)
        return Credential(name, env=variable) if variable is not None else None
    if not _taken(source, inner, kind):
        return None
    if source == "aws":
        keys = _aws(inner, directory)
        return Credential(name, aws=keys) if keys is not None else None
    scope = dict(kind.scopes).get(source, "") if kind is not None else ""
    token = _google(inner, scope, directory) if source == "google" else _entra(inner, scope, directory)
    return Credential(name, token=token) if token is not None else None


def _taken(source: str, field: Field, kind: ProviderKind | None) -> bool:
    """Reports a source that providers of this kind do not take."""

    def takes(k: ProviderKind) -> bool:
        return k.signs is not None if source == "aws" else source in dict(k.scopes)

    if kind is None or takes(kind):
        return True
    others = ", ".join(k.name for k in KINDS.values() if takes(k))
    field.fail(f"the kind {kind.name} takes no such credential; these do: {others}", f"here: {' or '.join(_possible(kind))}")
    return False


def _aws(field: Field, directory: str) -> AwsSource | None:
    if isinstance(field.node, Scalar) and field.node.text == "default":
        return AwsSource()
    record = field.record(("file", "profile"), hints=HINTS, wanted="default, or {file: /path, profile: name}")
    file = record.need("file", "/secrets/aws-credentials") if record else None
    path = read_path(file, directory) if file else None
    part = record.get("profile") if record else None
    profile = part.text("the name of a profile in the file") if part else None
    if part is not None and profile is not None and not _PROFILE.match(profile):
        part.fail(f"{shown(profile)} is no name of a profile")
        return None
    if path is None or record is None or record.refused or (part is not None and profile is None):
        return None
    return AwsSource(path, profile)


def _google(field: Field, scope: str, directory: str) -> TokenSource | None:
    if isinstance(field.node, Scalar) and field.node.text == "default":
        return TokenSource("google", scope)
    wanted = "default, or {file: /path} of a service account or of workload identity"
    record = field.record(("file", "scope"), hints=HINTS, wanted=wanted)
    file = record.need("file", "/secrets/google.json") if record else None
    path = read_path(file, directory) if file else None
    asked = _scope(record, scope) if record else None
    if path is None or asked is None or record is None or record.refused:
        return None
    return TokenSource("google", asked, path)


_CLIENT_KEYS = ("tenant", "client", "file", "env", "certificate")


def _entra(field: Field, scope: str, directory: str) -> TokenSource | None:
    if isinstance(field.node, Scalar):
        method = field.choice(ENTRA)
        return TokenSource("entra", scope, settings=(("method", method),)) if method is not None else None
    wanted = f"{', '.join(ENTRA)}, or {{tenant, client, and file or env of its secret}}"
    record = field.record((*_CLIENT_KEYS, "managed_identity", "scope"), hints=HINTS, wanted=wanted)
    if record is None:
        return None
    before = len(field.problems)
    asked = _scope(record, scope)
    own = record.get("managed_identity")
    if own is not None:
        client = _matching(own, _CLIENT, "the client id of a managed identity")
        for key in _CLIENT_KEYS:
            other = record.get(key)
            if other is not None:
                other.fail("stands beside `managed_identity`, which needs nothing else")
        settings = [("method", "managed-identity"), ("client", client or "")]
        path = None
    else:
        tenant = _needed(record, "tenant", _TENANT, "the id or the domain of a tenant", "contoso.onmicrosoft.com")
        client = _needed(record, "client", _CLIENT, "the client id of an application", "00000000-0000-0000-0000-000000000000")
        kind, path, variable = _secret(record, directory)
        settings = [("method", kind), ("tenant", tenant), ("client", client), *([("env", variable)] if variable else [])]
    if len(field.problems) > before or record.refused or asked is None:
        return None
    return TokenSource("entra", asked, path, tuple(settings))


def _secret(record: Record, directory: str) -> tuple[str, str | None, str | None]:
    """("secret" or "certificate", the file, the variable) of an application of Entra."""
    written = [key for key in ("file", "env", "certificate") if record.get(key) is not None]
    if len(written) != 1:
        record.field.fail("needs exactly one of `file` and `env` (of the client's secret) and `certificate` (a PEM file with its key)")
        return "secret", None, None
    field = record.get(written[0])
    assert field is not None
    if written[0] == "env":
        return "secret", None, _variable(field)
    return "certificate" if written[0] == "certificate" else "secret", read_path(field, directory), None


def _scope(record: Record, usual: str) -> str | None:
    field = record.get("scope")
    return usual if field is None else _matching(field, _SCOPE, "a scope such as https://ai.azure.com/.default")


def _needed(record: Record, key: str, pattern: re.Pattern[str], wanted: str, example: str) -> str:
    field = record.need(key, example)
    return (_matching(field, pattern, wanted) if field else None) or ""


def _matching(field: Field, pattern: re.Pattern[str], wanted: str) -> str | None:
    value = _reference(field, wanted)
    if value is not None and not pattern.match(value):
        field.fail(f"{shown(value)} is not {wanted}")
        return None
    return value


def _variable(field: Field) -> str | None:
    variable = _reference(field, "the name of an environment variable")
    if variable is not None and not _ENV.match(variable):
        field.fail("is not the name of an environment variable: letters, digits and underscores")
        return None
    return variable


def read_path(field: Field, directory: str) -> str | None:
    """The path of a file that holds a secret, made absolute. Neither the path nor what stands in its place is quoted."""
    path = _reference(field, "the path of a file")
    if path is None:
        return None
    if path.startswith("~") or "\0" in path or path.endswith("/"):
        field.fail("is not the path of a file that could be read", "write it absolute, or relative to this file")
        return None
    return os.path.normpath(os.path.join(directory, path))  # noqa: PTH118 - Path keeps `..`


def _reference(field: Field, wanted: str) -> str | None:
    """The text, unless it is a key itself; a wrong value is not quoted either."""
    if isinstance(field.node, Scalar) and looks_secret(field.node.text) and "/" not in field.node.text and not _CLIENT.match(field.node.text):
        field.fail(f"looks like a key; here stands {wanted} that holds it", KEY_ADVICE)
        return None
    return field.text(wanted)
