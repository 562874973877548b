"""`extproc target`: the targets of the running server: list, take one out of service and back, change one."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from extproc.commands.admin_client import AdminClient, add_admin, asked, segment
from extproc.commands.columns import columns
from extproc.commands.routes import add_action, add_changing, add_members, changed_text, merge_patch
from extproc.commands.stats import state_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "The targets of the running server: one model at one provider each. Lists them with their state, takes one out of service and back, changes "
        "one. `extproc routes history`, `rollback` and `drop` hold for these changes, too."
    )
    add_admin(parser)
    parser.add_argument("--json", action="store_true", help="print the server's answer as JSON")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", description="without one: list")
    add_action(actions, "list", "every target with its provider, its model and its state: ok, or why it gets no requests and for how long")
    for verb, says in (
        ("drain", "take a target out of service: it gets no new requests, those under way end"),
        ("enable", "give a drained target requests again"),
        ("set", "change a target: extproc target set gpt-4o concurrency=50"),
    ):
        one = add_action(actions, verb, says)
        one.add_argument("name", metavar="TARGET", help="the target's name in the registry")
        if verb == "set":
            add_members(one)
        add_changing(one)


def _list(targets: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    rows = []
    clusters = status.get("clusters") or ()
    for name, item in sorted(targets["items"].items()):
        value = item["value"]
        states = [state_of(c, status) for c in clusters if c.partition("@")[0] == name]
        keys = [c.partition("@")[2] for c in clusters if c.startswith(f"{name}@")]
        state = states[0] if len(set(states)) == 1 else ", ".join(f"{key}: {state}" for key, state in zip(keys, states, strict=False))
        rows.append((name, str(value.get("provider", "")), str(value.get("model", "")), state or "-"))
    return "\n".join(columns(("TARGET", "PROVIDER", "MODEL", "STATE"), rows, left=4))


def _ask(client: AdminClient, args: argparse.Namespace) -> tuple[Any, str]:
    if args.action in (None, "list"):
        said, status = client.get("/v1/targets").body, client.get("/v1/status").body
        return said, _list(said, status)
    path = f"/v1/targets/{segment(args.name)}"
    query = {"dry_run": "true" if args.dry_run else None, "expires": args.expires}
    if args.action == "set":
        said = client.send("PATCH", path, merge_patch(args.members), etag=client.get(path).etag, query=query).body
    else:
        said = client.send("POST", f"{path}/{args.action}", query=query).body
    return said, changed_text(said)


def run(args: argparse.Namespace) -> int:
    return asked(args, _ask)
