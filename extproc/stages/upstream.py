"""One request for one target: the exact URL, headers and body that its provider gets.

Everything is computed from the client's original bytes and the plan, never from what an earlier attempt left behind: Envoy keeps header
changes from one attempt to the next.
"""

from __future__ import annotations

from dataclasses import dataclass

from extproc.core import bignum
from extproc.core.dialect import Ask, Dialect, Encoded, Facts
from extproc.core.ir import JSON, Loss
from extproc.core.operation import Operation
from extproc.registry.types import Target, Upstream

USER_AGENT = "llm-extproc"


@dataclass(slots=True)
class UpstreamRequest:
    """`headers` are all that the provider gets besides its credential; names in lower case. `path` includes the provider's base path."""

    target: Target
    authority: str
    path: str
    headers: dict[str, str]
    body: bytes
    losses: list[Loss]


def authority_of(target: Target) -> str:
    """The Host that the provider gets: with a port only where it is not its scheme's own."""
    provider = target.provider
    host = f"[{provider.host}]" if ":" in provider.host else provider.host
    default = 443 if provider.scheme == "https" else 80
    return host if provider.port == default else f"{host}:{provider.port}"


def via_of(target: Target, client: Dialect) -> Upstream | None:
    """How `target` serves a client of that dialect; None if it cannot. Anything can be passed on as it is."""
    via = target.upstream(client.operation, client.name)
    if via is None and client.operation is Operation.PASSTHROUGH:
        return Upstream(client.operation, client.name, target.provider.base_path)
    return via


def encode(raw: bytes, body: JSON, client: Dialect, upstream: Dialect, facts: Facts, ask: Ask) -> Encoded:
    """The dialect's part: a splice where both sides speak the same one, else one decode and one encode.

    Raises `BadRequestError` and `UntranslatableError`.
    """
    if client.name == upstream.name:
        return upstream.splice_request(raw, body, facts, ask)
    if client.exact_member is not None:
        body = bignum.exact(raw, body, client.exact_member)
    request = client.decode_request(body, ask)
    encoded = upstream.encode_request(request, facts)
    encoded.losses = request.losses + encoded.losses
    return encoded


def build(
    raw: bytes,
    body: JSON,
    *,
    client: Dialect,
    upstream: Dialect,
    via: Upstream,
    target: Target,
    facts: Facts,
    ask: Ask,
) -> UpstreamRequest:
    """The upstream request for `target`, reached by `via` in the dialect `upstream`. `facts` are the target's, for the model that the client
    asked for. Raises `BadRequestError` and `UntranslatableError`."""
    encoded = encode(raw, body, client, upstream, facts, ask)
    provider = target.provider
    headers = {"accept-encoding": "identity", "user-agent": USER_AGENT}
    if client.operation is not Operation.PASSTHROUGH:
        headers |= {"content-type": "application/json", "accept": upstream.stream_type if ask.stream else "application/json"}
    headers.update(provider.kind.headers)
    headers.update(encoded.headers)
    for name, value in target.set_headers:
        mine = headers.get(name)
        # a beta list is one header whose values add up: the operator's opt-in must not switch off the client's
        headers[name] = f"{mine},{value}" if mine and name == "anthropic-beta" and value not in mine.split(",") else value
    path = via.base_path + encoded.path
    for query in (via.query, ask.query if client.name == upstream.name else ""):
        if query:
            path += ("&" if "?" in path else "?") + query
    return UpstreamRequest(target, authority_of(target), path, headers, encoded.body, encoded.losses)
