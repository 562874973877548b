"""`extproc explain`: what would happen to a request, offline: candidates, exclusions, the chain, and each attempt's exact upstream request.

It runs the stages' own code (`routing.chain`, `stages.upstream`), so what it prints is what is sent. The credential is not known to it and is
shown as the header that Envoy will add.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from extproc.core import jsonedit
from extproc.core.errors import ApiError
from extproc.core.headers import kept
from extproc.dialects.catalog import DIALECTS
from extproc.registry.facts import facts_for
from extproc.registry.load import load_registry
from extproc.registry.types import Registry, Target
from extproc.routing import chain
from extproc.routing.health import Health
from extproc.stages import operations
from extproc.stages.upstream import UpstreamRequest, build

HELP = "show what would be sent for a request, without sending it"

_SHOWN = 2000
"""Characters of a body that the text form prints."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("body", metavar="BODY.json", help="the client's request body; - for standard input")
    parser.add_argument("--registry", required=True, type=Path, metavar="FILE", help="the registry (YAML)")
    parser.add_argument("--path", metavar="PATH", help="the path that the client calls (default: guessed from the body)")
    parser.add_argument("--header", action="append", default=[], metavar="NAME:VALUE", help="a client's header; may be given several times")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="for weights inside a rank and pools of keys (default: 0)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def guess_path(body: Any) -> str:
    """Anthropic's Messages API requires max_tokens and has no message role but user, assistant and system; everything else is Chat Completions."""
    if isinstance(body, dict) and "max_tokens" in body:
        openai_only = ("frequency_penalty", "n", "response_format", "stream_options", "logprobs", "seed", "stop", "max_completion_tokens")
        tools = body.get("tools")
        if isinstance(tools, list) and tools and isinstance(tools[0], dict):
            return "/v1/messages" if "input_schema" in tools[0] else "/v1/chat/completions"
        roles = {m.get("role") for m in body.get("messages", []) if isinstance(m, dict)}
        if not roles & {"tool", "developer"} and not any(k in body for k in openai_only) and ("system" in body or "system" not in roles):
            return "/v1/messages"
    return "/v1/chat/completions"


def explain(registry: Registry, raw: bytes, path: str | None, headers: Mapping[str, str], seed: int) -> dict[str, Any]:
    """The whole explanation as JSON. Raises `ApiError` where the server would refuse the request."""
    body = jsonedit.load(raw)
    asked = operations.find("POST", path or guess_path(body), dict(headers))
    client = DIALECTS[asked.dialect]
    name, stream = operations.model_and_stream(body)
    model = registry.resolve(name)
    if model is None:
        raise operations.unknown_model(name)
    needs = client.needs(body)
    day = datetime.now(UTC).date()
    draw = random.Random(seed).random  # noqa: S311 - the draw must be repeatable
    found = chain.build(model, registry.targets, DIALECTS, client, needs, Health(time.monotonic), draw)
    attempts = []
    for n, cluster in enumerate(found.clusters[: model.attempts.total], 1):
        target = registry.cluster_target(cluster)
        assert target is not None
        upstream = DIALECTS[target.provider.kind.dialect]
        entry: dict[str, Any] = {"attempt": n, "cluster": cluster, "pair": f"{client.name} -> {upstream.name}"}
        try:
            request = build(
                raw,
                body,
                client=client,
                upstream=upstream,
                target=target,
                facts=facts_for(target, name, day)[0],
                stream=stream,
                query=asked.query,
                kept=kept(headers),
            )
            entry |= _request(request)
        except ApiError as error:
            entry["error"] = f"{error.kind.value}: {error.message}"
        if model.strict and entry.get("losses"):
            entry["excluded"] = "the model is strict and this target would lose something"
        attempts.append(entry)
    return {
        "registry": registry.digest,
        "client_dialect": client.name,
        "asked": name,
        "model": model.name,
        "stream": stream,
        "commit": model.commit.value,
        "strict": model.strict,
        "needs": sorted(needs),
        "candidates": [c for rank in model.ranks for t, _ in rank.targets for c in registry.targets[t].clusters],
        "excluded": [{"cluster": e.cluster, "code": e.code, "why": e.detail} for e in found.excluded],
        "chain": found.clusters[: model.attempts.total],
        "attempts": attempts,
    }


def _request(request: UpstreamRequest) -> dict[str, Any]:
    provider = request.target.provider
    return {
        "url": f"{provider.scheme}://{request.authority}{request.path}",
        "headers": request.headers | _credential(request.target),
        "body": orjson.loads(request.body),
        "losses": [{"code": loss.code, "detail": loss.detail} for loss in request.losses],
    }


def _credential(target: Target) -> dict[str, str]:
    kind, credentials = target.provider.kind, target.provider.credentials
    if not any(c.file or c.env for c in credentials):
        return {}
    return {kind.auth_header: f"{kind.auth_prefix}<injected by Envoy>"}


def text_of(report: Mapping[str, Any]) -> str:
    """The explanation for a person."""
    lines = [
        (
            f"{report['asked']!r} in {report['client_dialect']} -> model {report['model']!r}"
            f" ({'stream' if report['stream'] else 'unary'}, commit {report['commit']}{', strict' if report['strict'] else ''})"
        ),
        f"needs       {', '.join(report['needs']) or 'nothing special'}",
        f"candidates  {', '.join(report['candidates'])}",
    ]
    lines += [f"excluded    {e['cluster']}: {e['code']} ({e['why']})" for e in report["excluded"]]
    lines.append(f"chain       {' -> '.join(report['chain'])}")
    for attempt in report["attempts"]:
        lines += ["", f"attempt {attempt['attempt']}   {attempt['cluster']}   {attempt['pair']}"]
        if "excluded" in attempt:
            lines.append(f"  left out: {attempt['excluded']}")
        if "error" in attempt:
            lines.append(f"  {attempt['error']}")
            continue
        lines.append(f"  POST {attempt['url']}")
        lines += [f"  {name}: {value}" for name, value in attempt["headers"].items()]
        body = orjson.dumps(attempt["body"], option=orjson.OPT_INDENT_2).decode()
        if len(body) > _SHOWN:
            body = f"{body[:_SHOWN]}\n… {len(body) - _SHOWN} more characters; --json prints all"
        lines += ["", *(f"  {line}" for line in body.splitlines())]
        lines += [f"  loss {loss['code']}{': ' + loss['detail'] if loss['detail'] else ''}" for loss in attempt["losses"]]
    return "\n".join(lines)


def run(args: argparse.Namespace) -> int:
    registry = load_registry(args.registry)
    raw = sys.stdin.buffer.read() if args.body == "-" else Path(args.body).read_bytes()
    headers = {name.strip().lower(): value.strip() for name, _, value in (h.partition(":") for h in args.header)}
    try:
        report = explain(registry, raw, args.path, headers, args.seed)
    except ApiError as error:
        print(f"refused with {error.status}: {error.message}", file=sys.stderr)
        return 1
    print(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode() if args.json else text_of(report))
    return 0
