"""The `tenants` section: what holds for everybody who asks for one of them, whatever the model. "*" is everybody without an entry."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from extproc.registry.fields import Field
from extproc.registry.identity import MAX_VALUE, Who
from extproc.registry.names import ModelNames, safe_model_name
from extproc.registry.policy import ANYBODY, Access, Tenant
from extproc.registry.problems import shown, spelled
from extproc.registry.requirements import none_left, read_require
from extproc.registry.types import Model, Provider, Target

KNOWN = ("require", "models", "targets", "providers")
HINTS = {
    **dict.fromkeys(("allow", "deny", "allowed_models", "model", "access"), "use models: {allow: […], deny: […]}"),
    **dict.fromkeys(("data_stays_in", "residency", "region_lock", "region"), "use require: {data_stays_in: [eu]}"),
    **dict.fromkeys(("data_policy", "usd_per_million_tokens"), "it belongs under require"),
    **dict.fromkeys(
        ("limits", "rate_limits", "rpm", "tpm", "requests_per_minute", "tokens_per_minute", "budget", "max_budget", "usd_per_month", "usd_per_day"),
        "limits stand at the top of the file: limits: [{for: {tenant: acme}, requests_per_minute: 600}]",
    ),
    **dict.fromkeys(("tier", "members", "users", "key", "keys"), "who a request is from is said by identity"),
    "rules": "rules stand in a model: when: {tenant: acme}",
}
_ACCESS_HINTS = {
    **dict.fromkeys(("only", "allowed", "whitelist", "include"), "use allow"),
    **dict.fromkeys(("block", "blocked", "denied", "blacklist", "exclude", "except"), "use deny"),
}


def read_tenants(
    section: Field | None,
    providers: Mapping[str, Provider | None] | None,
    targets: Mapping[str, Target | None] | None,
    models: Collection[Model] | None,
    who: Who,
) -> dict[str, Tenant]:
    """By name. `models` None if some of them have problems: then nothing is called unknown."""
    out: dict[str, Tenant] = {}
    names = ModelNames(models) if models is not None else None
    for name, entry in ((section.entries("a mapping from tenants to what holds for them") if section else None) or {}).items():
        if name != "*":
            who.must_define("tenant", entry, what="an entry of a tenant")
            if not name.strip() or len(name) > MAX_VALUE or not name.isprintable() or "*" in name:
                rule = f"up to {MAX_VALUE} printable characters without a *"
                entry.fail(f"{shown(name)} is no name of a tenant: {rule}", '"*" alone is everybody without an entry')
        record = entry.record(KNOWN, hints=HINTS, wanted="a mapping such as {models: {allow: [chat]}}, or {} for no restriction")
        if record is None:
            continue
        asked = record.get("require")
        require = read_require(asked, providers)
        if asked is not None and targets is not None and require and None not in targets.values():
            why = none_left(require, [t for t in targets.values() if t])
            if why:
                asked.fail(f"leaves no target of this file: {why}")
        out[name] = Tenant(
            name,
            require,
            _access(record.get("models"), "model", {m.name for m in models} if models is not None else None, names),
            _access(record.get("targets"), "target", targets),
            _access(record.get("providers"), "provider", providers),
        )
    return out


def _access(field: Field | None, what: str, known: Iterable[str] | None, names: ModelNames[Model] | None = None) -> Access:
    record = field.record(("allow", "deny"), hints=_ACCESS_HINTS, wanted="a mapping such as {allow: [a, b*], deny: [c]}") if field else None
    if record is None or field is None:
        return ANYBODY
    if not record.refused and record.get("allow") is None and record.get("deny") is None:
        field.fail("says nothing", "such as {deny: [name]}, or leave it out")
    there = list(known) if known is not None else None
    allow, deny = (_names(record.get(key), what, there, names) for key in ("allow", "deny"))
    part = record.get("deny")
    for name in sorted(allow & deny):
        if part is not None:
            part.fail(f"{shown(name)} is allowed and denied", "remove it from one of the lists")
    return Access(allow if record.get("allow") is not None else None, deny)


def _names(field: Field | None, what: str, known: list[str] | None, names: ModelNames[Model] | None) -> frozenset[str]:
    found: set[str] = set()
    for item in (field.items(f"a list of {what}s, each with at most one * at its end") if field else None) or []:
        name = item.text(f"the name of a {what}, or its beginning with a *")
        if name is None:
            continue
        if "*" in name[:-1]:
            item.fail(f"{shown(name)} has a * before its end")
        elif name in found:
            item.fail(f"{shown(name)} is listed twice")
        elif known is not None:
            _check_known(item, name, what, known, names)
        found.add(name)
    return frozenset(found)


def _check_known(item: Field, name: str, what: str, known: list[str], names: ModelNames[Model] | None) -> None:
    """A name must be there, or one that a model's wildcard lets in; a pattern must match one."""
    stem = name.removesuffix("*")
    if name in known or (stem != name and any(k.startswith(stem) for k in known)):
        return
    # a model behind a wildcard may be narrowed to some of the names that it lets in; others are permitted by their own name alone
    example = stem if stem == name else stem + "x"
    meant = names.find(example) if names is not None and safe_model_name(example) else None
    if meant is not None and not meant.name.endswith("*"):
        item.fail(f"{shown(name)} is an alias", f"write the model: {spelled([meant.name])}")
    elif meant is None and stem != name:
        item.fail(f"{shown(name)} matches no {what}")
    elif meant is None:
        item.fail(f"no {what} named {shown(name)}", item.problems.did_you_mean(name, known))
