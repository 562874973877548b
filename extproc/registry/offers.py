"""The `targets` section: one model at one provider, with the facts that routing and the encoders need."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date

from extproc.core.dialect import Facts, Need
from extproc.core.operation import Operation
from extproc.core.usage import Price
from extproc.providers.kinds import KINDS
from extproc.providers.vendors import LACKS
from extproc.registry.credentials import check_name
from extproc.registry.endpoints import read_envoy
from extproc.registry.facts import Known, provider_facts
from extproc.registry.fields import Field, Record
from extproc.registry.names import MAX_NAME, safe_model_name
from extproc.registry.problems import shown, starts_like_a_key
from extproc.registry.types import Provider, Target

NEEDS = tuple(sorted(v for k, v in vars(Need).items() if k.isupper()))
KNOWN = (
    *("provider", "model", "deployment", "api", "capabilities", "usd_per_million_tokens", "context_window", "max_output_tokens"),
    *("set_headers", "envoy", "concurrency", "requests_per_minute", "tokens_per_minute", "quality", "drained"),
)
LATER = {"quantization": "`quantization`"}
HINTS = {
    **dict.fromkeys(("price", "prices", "cost", "pricing"), "use usd_per_million_tokens: {input: …, output: …}"),
    **dict.fromkeys(("max_tokens", "max_output"), "use max_output_tokens"),
    **dict.fromkeys(
        ("credential", "credentials", "url", "kind", "region", "project", "location", "api_version", "data_stays_in", "quirks"),
        "it belongs to the provider",
    ),
    "deployment_id": "use deployment",
    "headers": "use set_headers",
    **dict.fromkeys(("rpm", "requests"), "use requests_per_minute"),
    **dict.fromkeys(("tpm", "tokens"), "use tokens_per_minute"),
    **dict.fromkeys(("max_parallel_requests", "max_concurrency", "max_in_flight", "parallel"), "use concurrency"),
    **dict.fromkeys(("disabled", "enabled", "active", "paused", "drain"), "use drained: true to give it no new requests"),
    **dict.fromkeys(("weight", "order", "priority"), "it is said where a model lists it: targets: [{gpt-4o: 90, sonnet: 10}]"),
    **dict.fromkeys(("data_policy", "residency", "region_lock"), "it belongs to the provider: data_stays_in, data_policy"),
    **dict.fromkeys(("score", "rating"), "use quality: 0.8"),
}
RESERVED = frozenset({"admin", "ext_proc", "otel"})
"""Names of clusters in Envoy's own configuration; a target becomes a cluster of its name."""

MAX_TOKENS = 100_000_000
MAX_PRICE = 100_000.0
MAX_HEADER_VALUE = 4096
MAX_CONCURRENCY = 100_000
MAX_PER_MINUTE = 1e12

_DEPLOYMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_GEMINI_NAME = re.compile(r"(?:tunedModels/)?[^/:]+\Z")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}\Z")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?\Z")
_CREDENTIALS = frozenset(("authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "set-cookie", "proxy-authorization", "x-auth-token"))
_CONNECTION = frozenset(
    (
        *("connection", "keep-alive", "proxy-connection", "proxy-authenticate", "te", "trailer", "transfer-encoding", "upgrade"),
        *("content-length", "expect", "http2-settings"),
    )
)
_OURS = frozenset(
    ("content-type", "content-encoding", "accept", "accept-encoding", "traceparent", "tracestate", "baggage", "x-request-id", "forwarded", "via")
)
_PREFIXES = {
    "x-envoy-": "it steers Envoy",
    "x-llm-": "it steers this server",
    "x-amz-": "it is part of an AWS signature",
    "x-forwarded-": "Envoy sets it",
}


def read_targets(section: Field, providers: Mapping[str, Provider | None] | None, day: date) -> dict[str, Target | None] | None:
    """By name; None for one that has problems (and for the section), so that models that name it are not called dangling."""
    entries = section.entries("a mapping from names to targets")
    return None if entries is None else {name: _target(name, entry, providers, day) for name, entry in entries.items()}


def _target(name: str, field: Field, providers: Mapping[str, Provider | None] | None, day: date) -> Target | None:
    before = len(field.problems)
    check_name(field, name, "target")
    if name in RESERVED:
        field.fail(f"{shown(name)} is the name of a cluster in Envoy's own configuration", "choose another name")
    record = field.record(KNOWN, later=LATER, hints=HINTS, wanted="a mapping such as {provider: openai, model: gpt-4o}")
    if record is None:
        return None
    provider = _provider(record, providers)
    model = _model(record, provider)
    api = _api(record.get("api"), provider)
    deployment = _deployment(record, provider, model)
    capabilities = _capabilities(record.get("capabilities"))
    price = _price(record.get("usd_per_million_tokens"))
    window = _tokens(record.get("context_window"))
    most = _tokens(record.get("max_output_tokens"))
    headers = _headers(record.get("set_headers"), provider)
    envoy = read_envoy(record.get("envoy"))
    concurrency = part.integer(1, MAX_CONCURRENCY, " of requests") if (part := record.get("concurrency")) else None
    requests, tokens = (_per_minute(record.get(key)) for key in ("requests_per_minute", "tokens_per_minute"))
    quality = _quality(record.get("quality"))
    drained = part.boolean() if (part := record.get("drained")) else None
    packaged = provider_facts(provider, model, day) if provider and model else Known()
    window, most = window or packaged.context_window, most or packaged.max_output_tokens
    _check_window(record, window, most)
    if provider is None or model is None or len(field.problems) > before:
        return None
    for quirk in provider.quirks & LACKS.keys():
        capabilities.setdefault(LACKS[quirk], False)
    vendor = provider.kind.vendor_of(model)
    facts = Facts(model, vendor, max_output_tokens=most, context_window=window, quirks=provider.quirks, deployment=deployment)
    target = Target(
        name,
        provider,
        model,
        facts,
        capabilities,
        price or packaged.price,
        headers,
        envoy,
        api or "",
        concurrency,
        requests,
        tokens,
        quality,
        bool(drained),
    )
    if not target.upstreams:
        field.fail(f"the kind {provider.kind.name} serves no model {shown(model)}", "name the provider's model" if model == "*" else None)
        return None
    chats = [s.api for s in provider.kind.speaks if s.operation is Operation.CHAT and s.api and s.serves(model)]
    if api and chats and api not in chats and (written := record.get("api")):
        written.fail(f"the model {shown(model)} is not reached by the api {api}", f"use {' or '.join(chats)}, or leave api out")
        return None
    return target


def _provider(record: Record, providers: Mapping[str, Provider | None] | None) -> Provider | None:
    field = record.need("provider", "openai")
    name = field.text("the name of a provider") if field else None
    if field is None or name is None or providers is None:
        return None
    if name not in providers:
        field.fail(f"no provider named {shown(name)}", field.problems.did_you_mean(name, providers))
    return providers.get(name)


def _model(record: Record, provider: Provider | None) -> str | None:
    field = record.need("model", 'gpt-4o, or "*" for the name that the client asks for')
    model = field.text("the provider's name for a model") if field else None
    if field is None or model is None or model == "*":
        return model
    if not safe_model_name(model):
        rule = f"letters, digits and . _ : @ + - / up to {MAX_NAME} characters"
        field.fail(f"{shown(model)} is no model name: {rule}", 'a wildcard is "*" alone' if "*" in model else None)
        return None
    if provider and any(s.dialect.partition("@")[0] == "gemini" and s.serves(model) for s in provider.kind.speaks) and not _GEMINI_NAME.match(model):
        # there the name stands in the path, before a colon and the method
        advice = "leave models/ off" if model.startswith("models/") else "gemini-2.5-pro, or tunedModels/name"
        field.fail(f"{shown(model)} cannot be part of a Gemini path", advice)
        return None
    return model


def _api(field: Field | None, provider: Provider | None) -> str | None:
    """One of the words by which the kind's formats can be told apart."""
    value = field.text("chat or responses") if field else None
    if field is None or value is None or provider is None:
        return value
    known = sorted({s.api for s in provider.kind.speaks if s.api is not None})
    later = next((s.since for s in KINDS[provider.kind.name].speaks if s.api == value and s.since), None)
    if value not in known and later is not None:
        field.fail(f"the provider's api_version {provider.api_version} has no api {shown(value)}", f"from {later} on, or without an api_version")
    elif value not in known:
        of = f"; it has: {', '.join(known)}" if known else " to choose from"
        field.fail(f"the kind {provider.kind.name} has no api {shown(value)}{of}", field.problems.did_you_mean(value, known))
    return value


def _deployment(record: Record, provider: Provider | None, model: str | None) -> str | None:
    """The name that the account gave to the model. Where it is part of the path, every target has one: its own, or its model's."""
    field = record.get("deployment")
    value = field.text("the name of a deployment") if field else None
    if provider is None:
        return value
    if field is not None and not provider.kind.undated:
        field.fail(f"the kind {provider.kind.name} has no deployments", "use model")
    elif field is not None and value is not None and not _DEPLOYMENT.match(value):
        field.fail(f"{shown(value)} is no name of a deployment: letters, digits and . _ - up to 64 characters")
    elif field is None and model is not None and not _DEPLOYMENT.match(model) and any("{deployment}" in s.base for s in provider.kind.speaks):
        record.field.fail(
            f"needs `deployment`: it is part of the path, and {shown(model)} cannot be",
            "a target for each deployment, or the provider without api_version",
        )
    return value


def _capabilities(field: Field | None) -> dict[str, bool]:
    out: dict[str, bool] = {}
    for need, value in ((field.entries("a mapping such as {vision: false}") if field else None) or {}).items():
        if need not in NEEDS:
            guess = value.problems.did_you_mean(need, NEEDS)
            if field is not None:
                field.key_fail(need, f"no capability {shown(need)}", guess or f"known: {', '.join(NEEDS)}")
            continue
        present = value.boolean()
        if present is not None:
            out[need] = present
    return out


def _price(field: Field | None) -> Price | None:
    """The whole price: it replaces the packaged one, a cache price that is left out included."""
    keys = ("input", "output", "cache_read", "cache_write")
    record = field.record(keys, wanted="a mapping such as {input: 2.5, output: 10}") if field else None
    if record is None:
        return None
    amounts: dict[str, float] = {}
    for key in keys:
        part = record.need(key, "2.5") if key in ("input", "output") else record.get(key)
        amount = part.number("a price in US dollars per million tokens") if part else None
        if part is None or amount is None:
            continue
        if not 0 <= amount <= MAX_PRICE:
            part.fail(f"must be from 0 to {MAX_PRICE:g} US dollars per million tokens, is {amount:g}")
        amounts[key] = amount
    if "input" not in amounts or "output" not in amounts:
        return None
    return Price(amounts["input"], amounts["output"], amounts.get("cache_read"), amounts.get("cache_write"))


def _per_minute(field: Field | None) -> float | None:
    value = field.number("a number above 0") if field else None
    if field is not None and value is not None and not 0 < value <= MAX_PER_MINUTE:
        field.fail(f"must be a number above 0, at most {MAX_PER_MINUTE:.0f}, is {value:g}", "drained: true gives it nothing" if value == 0 else None)
    return value


def _quality(field: Field | None) -> float | None:
    value = field.number("a number from 0 to 1") if field else None
    if field is not None and value is not None and not 0 <= value <= 1:
        field.fail(f"must be a number from 0 to 1, is {value:g}")
    return value


def _tokens(field: Field | None) -> int | None:
    return field.integer(1, MAX_TOKENS, " of tokens") if field else None


def _check_window(record: Record, window: int | None, most: int | None) -> None:
    """Only where the file takes part: packaged facts are not the author's to put right."""
    written = record.get("max_output_tokens") or record.get("context_window")
    if written and window is not None and most is not None and most > window:
        written.fail(f"max_output_tokens ({most}) is larger than context_window ({window})", "set both if the packaged one is wrong")


def _headers(field: Field | None, provider: Provider | None) -> tuple[tuple[str, str], ...]:
    out: dict[str, str] = {}
    for written, value in ((field.entries("a mapping from header names to values") if field else None) or {}).items():
        name = written.lower()
        reason = header_refusal(name, provider)
        if name in out:
            reason = "it is set twice"
        if reason and field is not None:
            field.key_fail(written, f"the header {shown(written)} cannot be set: {reason}")
        text = value.text("text")
        if text is None:
            continue
        if starts_like_a_key(text):
            value.fail("looks like a key", "keys are not written in this file: use the provider's credential")
        elif len(text) > MAX_HEADER_VALUE or not _HEADER_VALUE.match(text):
            value.fail("is no header value: printable ASCII without line breaks, no space at its ends, at most 4096 characters")
        out[name] = text
    return tuple(out.items())


def header_refusal(name: str, provider: Provider | None) -> str | None:
    """Why `set_headers` may not hold `name` (lower case), or None."""
    if name.startswith(":") or name == "host":
        return "host, path and method come from the provider"
    if not _HEADER_NAME.match(name):
        return "it is no header name"
    if name in _CREDENTIALS or (provider and name == provider.kind.auth_header):
        return "Envoy sets the credential"
    if name in _CONNECTION:
        return "it belongs to the connection"
    if name in _OURS:
        return "this server or Envoy sets it"
    if provider and name in dict(provider.kind.headers):
        return f"the kind {provider.kind.name} sets it"
    return next((why for prefix, why in _PREFIXES.items() if name.startswith(prefix)), None)
