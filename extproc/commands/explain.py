"""`extproc explain`: what would happen to a request, offline: candidates, exclusions, the chain, and each attempt's exact upstream request.

It runs the stages' own code (the route stage, and what the attempt stage builds a request with), so what it prints is what is sent. The credential is
not known to it: what Envoy will add is shown by the place where Envoy finds it. Bodies that are not JSON (forms, files) are summarised.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from extproc.commands.arguments import UsageError
from extproc.commands.fitted import fitted
from extproc.commands.guess import MODEL, guess_path
from extproc.core import jsonedit, multipart
from extproc.core.errors import ApiError
from extproc.core.exchange import BodyEvent, Continue, HeadersEvent, Immediate, Kind, State
from extproc.core.losses import meaning
from extproc.core.plan import NAMESPACE, clusters_of
from extproc.dialects.catalog import DIALECTS
from extproc.registry.facts import facts_for
from extproc.registry.load import load_registry
from extproc.registry.types import Credential, Registry, Target
from extproc.routing.health import Health
from extproc.stages import bodies
from extproc.stages.route import RouteExchange
from extproc.stages.services import Services, Snapshots
from extproc.stages.upstream import UpstreamRequest, build, via_of

_SHOWN = 4000
"""Characters of a body that the text form prints."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("body", metavar="BODY", nargs="?", help="the client's request body; - for standard input; none for a request without one")
    parser.add_argument("--registry", required=True, type=Path, metavar="FILE", help="the registry (YAML)")
    parser.add_argument("--path", metavar="PATH", help="the path that the client calls (default: guessed from the body, and said)")
    parser.add_argument("--method", default="POST", metavar="METHOD", help="the method that the client uses (default: POST)")
    parser.add_argument("--header", action="append", default=[], metavar="NAME:VALUE", help="a client's header; may be given several times")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="for weights inside a rank and pools of keys (default: 0)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


class RefusedError(Exception):
    """The server would answer the request itself: with `status`, and `message` in the client's envelope."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def explain(registry: Registry, raw: bytes, path: str | None, headers: Mapping[str, str], seed: int, method: str = "POST") -> dict[str, Any]:
    """The whole explanation as JSON, of a server that has just begun. Raises `RefusedError` where the server would refuse the request."""
    day = datetime.now(UTC).date()
    services = Services(
        snapshots=Snapshots(registry),
        dialects=DIALECTS,
        health=Health(time.monotonic),
        monotonic=time.monotonic,
        wall=time.time,
        random=random.Random(seed),  # noqa: S311 - the draw must be repeatable
        new_id=lambda: "explain",
        facts=lambda target, asked: facts_for(target, asked, day) if target.model == "*" else (target.facts, target.price),
    )
    return explain_with(services, raw, path, headers, method)


def explain_with(services: Services, raw: bytes, path: str | None, headers: Mapping[str, str], method: str = "POST") -> dict[str, Any]:
    """The same with what these services know: health, statistics, limits. They are `rehearsal` ones, so that nothing is learned from it."""
    registry = services.snapshots.current
    if "content-type" not in headers and raw.startswith(b"--"):
        # a form says its boundary in its first line
        headers = {**headers, "content-type": f"{multipart.MULTIPART}; boundary={raw[2:74].splitlines()[0].decode('latin-1')}"}
    guessed = path is None
    if path is None:
        path = _guessed(raw, headers)
    route, clusters, own = _routed(services, raw, path, headers, method)
    plan = route.plan
    said = {"registry": registry.digest, "client_dialect": route.client.name, "method": method, "path": path.partition("?")[0], "guessed": guessed}
    if plan is None:
        return said | {"answered_here": orjson.Fragment(own)}
    client = DIALECTS[plan.dialect]
    body = None if plan.path else bodies.read(raw, plan.headers)

    def entry(cluster: str) -> dict[str, Any]:
        target = registry.cluster_target(cluster)
        assert target is not None
        via = via_of(target, client)
        assert via is not None
        upstream = DIALECTS[via.dialect]
        shown: dict[str, Any] = {"cluster": cluster, "pair": f"{client.name} -> {via.dialect}", "spliced": client.name == via.name}
        try:
            request = build(
                raw,
                body,
                client=client,
                upstream=upstream,
                via=via,
                target=target,
                facts=services.facts(target, plan.asked)[0],
                ask=plan.ask,
            )
        except ApiError as error:
            return shown | {"error": f"{error.kind.value}: {error.message}"}
        return shown | _request(request, cluster)

    said["operation"] = client.operation.value
    attempts = [{"attempt": n, **entry(cluster)} for n, cluster in enumerate(clusters[: plan.total], 1)]
    if plan.path:
        return said | {"passthrough": clusters[0], "chain": clusters, "attempts_at_most": plan.total, "attempts": attempts}
    decision = route.decision
    assert decision is not None
    model, told = registry.models[plan.model], decision.said()
    needs = client.needs(body)
    excluded = [{"cluster": e.cluster, "code": e.code, "why": e.detail} for e in decision.excluded]
    for cluster in [r.candidate.cluster for r in decision.ranked if r.candidate.cluster not in clusters]:
        lost = entry(cluster)
        if "error" in lost:
            excluded.append({"cluster": cluster, "code": "untranslatable", "why": lost["error"]})
        elif lost["losses"] and model.strict:
            why = "the model is strict, and this target would lose: " + ", ".join(sorted({loss["code"] for loss in lost["losses"]}))
            excluded.append({"cluster": cluster, "code": "strict", "why": why})
    return said | {
        "asked": plan.asked,
        "model": model.name,
        "stream": plan.stream,
        "commit": model.commit.value,
        "strict": model.strict,
        "needs": sorted(needs),
        "candidates": [c for rank in model.ranks for t, _ in rank.targets for c in registry.targets[t].clusters],
        "who": route.who,
        "signals": told["signals"],
        "rule": decision.rule,
        "rank_by": decision.policy,
        "ranked": told["ranked"],
        "routing": route.record.routing,
        "observed": decision.observed,
        "limited": decision.limited,
        "excluded": excluded,
        "chain": clusters,
        "attempts_at_most": plan.total,
        "attempts": attempts,
    }


def _guessed(raw: bytes, headers: Mapping[str, str]) -> str:
    """The path that a body without one is for. Raises `UsageError` where it would hold a model that nobody named."""
    body: Any
    try:
        content_type = headers.get("content-type", "")
        body = frozenset(p.name for p in multipart.read(raw, content_type).parts) if multipart.MULTIPART in content_type else jsonedit.load(raw)
    except ApiError:
        # the route stage says what is wrong with it
        body = None
    path = guess_path(body, headers)
    if MODEL not in path:
        return path
    model = body.get("model") if isinstance(body, dict) else None
    if not isinstance(model, str) or not model:
        raise UsageError(f"this looks like a body whose model stands in the path; say it: --path {path.replace(MODEL, 'NAME')}")
    return path.replace(MODEL, quote(model.removeprefix("models/"), safe=""))


def _routed(services: Services, raw: bytes, path: str, headers: Mapping[str, str], method: str) -> tuple[RouteExchange, list[str], bytes]:
    """The route stage's own decision: the exchange that holds the plan, and the chain; for what it answers itself neither, but its answer."""
    route = RouteExchange(services)
    actions = route.handle(HeadersEvent(Kind.REQUEST_HEADERS, {**headers, ":method": method, ":path": path}, end=not raw))
    if route.state is State.BODY:
        actions = route.handle(BodyEvent(Kind.REQUEST_BODY, raw, True))
    for action in actions:
        if isinstance(action, Immediate):
            if action.status == 200:
                return route, [], action.body
            raise RefusedError(action.status, _message(orjson.loads(action.body)))
    metadata = next(a.metadata for a in actions if isinstance(a, Continue) and a.metadata)
    return route, clusters_of(metadata[NAMESPACE]["priority_groups"]), b""


def _message(envelope: Any) -> str:
    """The words of an error in any dialect's envelope."""
    error = envelope.get("error", envelope)
    return str(error.get("message")) if isinstance(error, dict) else str(error)


def _request(request: UpstreamRequest, cluster: str) -> dict[str, Any]:
    provider, credential = request.target.provider, _credential(request.target, cluster)
    return {
        "url": f"{provider.scheme}://{request.authority}{request.path}",
        "headers": request.headers | credential,
        "credential": next(iter(credential), None),
        "body": _body(request.body, request.headers.get("content-type", "")),
        "losses": [{"code": loss.code, "meaning": meaning(loss.code), "detail": loss.detail} for loss in request.losses],
    }


def _body(raw: bytes, content_type: str) -> Any:
    """JSON as it is, so that numbers which Python cannot hold survive; of anything else what it is."""
    if content_type.startswith(multipart.MULTIPART):
        try:
            form = multipart.read(raw, content_type)
        except ApiError:
            return {"content_type": content_type, "bytes": len(raw)}
        fields = [{"name": p.name, "value": form[p.name] if p.name in form else f"<{p.end - p.start} bytes>"} for p in form.parts]
        return {"content_type": content_type, "bytes": len(raw), "fields": fields}
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {"content_type": content_type, "bytes": len(raw)} if raw else None
    return orjson.Fragment(raw)


def _credential(target: Target, cluster: str) -> dict[str, str]:
    """The header that Envoy adds: where its key comes from, never the key."""
    provider, name = target.provider, cluster.partition("@")[2]
    credential = next((c for c in provider.credentials if c.name == name), Credential())
    kind = provider.kind
    if credential.aws is not None:
        found = f"the keys in {credential.aws.file}" if credential.aws.file else "AWS's default chain of credentials"
        return {"authorization": f"AWS4-HMAC-SHA256 <Envoy signs for {kind.signs} in {provider.region}, with {found}>"}
    if credential.token is not None:
        who = {"google": "Google", "entra": "Microsoft Entra ID"}.get(credential.token.issuer, credential.token.issuer)
        return {"authorization": f"Bearer <access token of {who}, kept fresh by `extproc tokens`, injected by Envoy>"}
    if credential.file is None and credential.env is None:
        return {}
    return {kind.auth_header: f"{kind.auth_prefix}<the key in {credential.file or credential.env}, injected by Envoy>"}


def text_of(report: Mapping[str, Any]) -> str:
    """The explanation for a person."""
    lines = [f"{report['method']} {report['path']}{'  (guessed from the body; --path names another)' if report['guessed'] else ''}"]
    if "answered_here" in report:
        return "\n".join((*lines, f"answered here, in {report['client_dialect']}:", fitted(orjson.dumps(report["answered_here"]), _SHOWN)))
    if "passthrough" in report:
        lines.append(f"passed on as it is to {report['passthrough']} (once; again only if no connection can be made)")
    else:
        how = f"{'stream' if report['stream'] else 'unary'}, commit {report['commit']}{', strict' if report['strict'] else ''}"
        lines += [
            f"{report['asked']!r} in {report['client_dialect']} -> model {report['model']!r} ({how})",
            f"needs       {', '.join(report['needs']) or 'nothing special'}",
            f"candidates  {', '.join(report['candidates'])}",
            f"ranked by   {report['rank_by']}{_by_rule(report)}",
        ]
        who, signals = report["who"], report["signals"]
        if who:
            lines.append(f"who         {', '.join(f'{k} {v}' for k, v in who.items())}")
        if signals:
            lines.append(f"signals     {', '.join(f'{k} {_signal(v)}' for k, v in signals.items())}")
        lines += [f"            {r['target']}: {_numbers(r)}" for r in report["ranked"] if len(r) > 2]
        lines += [f"{word:<12}{said}" for word, said in (("observed", report["observed"]), ("limited", report["limited"])) if said]
        lines += [f"excluded    {e['cluster']}: {e['code']} ({e['why']})" for e in report["excluded"]]
        lines.append(
            f"chain       {' -> '.join(report['chain'])} (at most {report['attempts_at_most']} attempt{'s' * (report['attempts_at_most'] != 1)})"
        )
    shown: dict[str, int] = {}
    for attempt in report["attempts"]:
        first = shown.setdefault(attempt["cluster"], attempt["attempt"])
        if first == attempt["attempt"]:
            lines += ["", *_attempt(attempt, report["method"], passed="passthrough" in report)]
        elif "passthrough" not in report:
            lines += ["", f"attempt {attempt['attempt']}   {attempt['cluster']}   the same as attempt {first}"]
    return "\n".join(lines)


def _by_rule(report: Mapping[str, Any]) -> str:
    said = f", rule {report['rule']!r}" if report["rule"] else ""
    return said + (f" ({', '.join(report['routing'])})" if report["routing"] else "")


def _signal(value: Any) -> str:
    return (
        "unknown" if value is None else "/".join(value) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else str(value)
    )


def _numbers(ranked: Mapping[str, Any]) -> str:
    return "  ".join(f"{name} {value:g}" for name, value in ranked.items() if name != "target")


def _attempt(attempt: Mapping[str, Any], method: str, *, passed: bool) -> list[str]:
    lines = [f"attempt {attempt['attempt']}   {attempt['cluster']}{'' if passed else '   ' + attempt['pair']}"]
    if "error" in attempt:
        return [*lines, f"  cannot be sent: {attempt['error']}"]
    losses = attempt["losses"]
    if not passed:
        lines[0] += f"   {len(losses) or 'no'} {'loss' if len(losses) == 1 else 'losses'}"
        lines[0] += ", the same format: edited in place" if attempt["spliced"] else ""
    width = max((len(loss["code"]) for loss in losses), default=0)
    lines += [f"  loss {loss['code']:<{width}}  {loss['meaning']}{' [' + loss['detail'] + ']' if loss['detail'] else ''}" for loss in losses]
    lines.append(f"  {method} {attempt['url']}")
    lines += [f"  {name}: {value}" for name, value in attempt["headers"].items()]
    if not attempt["credential"]:
        lines.append("  (the provider has no `credential`: no key is sent)")
    if attempt["body"] is not None:
        lines += ["", *(f"  {line}" for line in fitted(orjson.dumps(attempt["body"]), _SHOWN).splitlines())]
    return lines


def headers_of(given: Sequence[str]) -> dict[str, str]:
    """{lower-case name: value}, several values of one name joined as Envoy joins them. Raises `UsageError`."""
    headers: dict[str, str] = {}
    for text in given:
        name, colon, value = text.partition(":")
        name, value = name.strip().lower(), value.strip()
        if not colon or not name:
            raise UsageError(f"--header {text}: expected NAME:VALUE")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def run(args: argparse.Namespace) -> int:
    if args.body is None and args.path is None:
        raise UsageError("a BODY is required, or the --path of a request without one")
    registry = load_registry(args.registry)
    raw = b"" if args.body is None else sys.stdin.buffer.read() if args.body == "-" else Path(args.body).read_bytes()
    try:
        report = explain(registry, raw, args.path, headers_of(args.header), args.seed, args.method)
    except RefusedError as error:
        print(f"refused with {error.status}: {error.message}", file=sys.stderr)
        return 1
    print(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode() if args.json else text_of(report))
    return 0
