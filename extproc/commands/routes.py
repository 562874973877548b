"""`extproc routes`: the models of the running server and how they are routed: show, change, compare with the file, go back."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from extproc.commands.admin_client import AdminClient, Answer, RefusedError, add_admin, asked, segment
from extproc.commands.arguments import UsageError
from extproc.commands.columns import columns, fitting
from extproc.commands.stats import SAID

DRY_RUN = "check it and say what would change, without changing it"
Actions: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

_ABOUT = (
    "The models that applications ask for, and how the running server routes them. A change is in force for the next request. It is checked as the "
    "registry file is, and stands over that file, which stays as it is, until it is rolled back or dropped, or its time is over."
)
_EXAMPLES = """\
examples:
  extproc routes --run-dir DIR
  extproc routes set chat rank_by=cost explore=0.05 --run-dir DIR
  extproc routes set chat 'targets=[gpt-4o, sonnet]' --expires 2h --run-dir DIR
  extproc routes history --run-dir DIR
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    # the examples keep their lines, so the rest is broken here
    parser.description = textwrap.fill(_ABOUT, min(shutil.get_terminal_size().columns - 2, 100))
    parser.epilog, parser.formatter_class = _EXAMPLES, argparse.RawDescriptionHelpFormatter
    add_admin(parser)
    parser.add_argument("--json", action="store_true", help="print the server's answer as JSON")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", description="without one: list")
    add_action(actions, "list", "every model, with its policy, its targets and its rules")
    _of_model(actions, "show", "one model, as the registry file would say it")
    _of_model(actions, "candidates", "who would be asked for a model now, in which order, and who would not and why")
    set_ = _of_model(actions, "set", "change a model: extproc routes set chat rank_by=cost explore=0.05")
    add_members(set_)
    replace = _of_model(actions, "replace", "add a model, or replace it whole")
    replace.add_argument("file", metavar="FILE", help="what stands below the model's name in a registry, as YAML or JSON; - reads standard input")
    remove = _of_model(actions, "remove", "remove a model")
    for changing in (set_, replace, remove):
        add_changing(changing)
    add_action(actions, "diff", "what is in force against what the registry file says")
    history = add_action(actions, "history", "who changed what and when, the newest first")
    history.add_argument("--limit", type=int, default=20, metavar="N", help="how many changes (default: 20)")
    rollback = add_action(actions, "rollback", "go back to what was in force before a change: that one and all later ones are undone")
    rollback.add_argument("id", metavar="ID", help="the change, as `extproc routes history` names it")
    rollback.add_argument("--after", action="store_true", help="go back to what was in force directly after it: only later changes are undone")
    drop = add_action(actions, "drop", "drop one change and keep the others; without ID drop all, so that the file alone counts")
    drop.add_argument("id", metavar="ID", nargs="?", help="the change, as `extproc routes history` names it (default: all)")
    resume = add_action(actions, "resume", "use changes again that are suspended because the registry file was edited where they had changed it")
    for changing in (rollback, drop, resume):
        changing.add_argument("--dry-run", action="store_true", help=DRY_RUN)
    add_action(actions, "status", "which registry is in force and since when, whether changes are suspended, what was refused, who is left out")


def add_action(actions: Actions, name: str, says: str) -> argparse.ArgumentParser:
    """One action, with the arguments that all have."""
    action: argparse.ArgumentParser = actions.add_parser(name, help=says, description=f"{says[0].upper()}{says[1:]}.")
    add_admin(action, again=True)
    action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print the server's answer as JSON")
    return action


def _of_model(actions: Actions, name: str, says: str) -> argparse.ArgumentParser:
    action = add_action(actions, name, says)
    action.add_argument("name", metavar="MODEL", help="the model's name in the registry, not one of its aliases")
    return action


def add_members(parser: argparse.ArgumentParser) -> None:
    """KEY=YAML."""
    parser.add_argument(
        "members",
        nargs="+",
        metavar="KEY=YAML",
        help="a key of the registry and its new value, in quotes where the shell would read it; a.b=VALUE sets the key b inside a; "
        "KEY= with nothing behind it removes the key",
    )


def add_changing(parser: argparse.ArgumentParser) -> None:
    """--dry-run and --expires."""
    parser.add_argument("--dry-run", action="store_true", help=DRY_RUN)
    parser.add_argument("--expires", metavar="DURATION", help="take the change back by itself after this time, for example 30m or 2h")


def merge_patch(members: Sequence[str]) -> dict[str, Any]:
    """The merge patch (RFC 7396) of KEY=YAML arguments. Raises `UsageError`."""
    patch: dict[str, Any] = {}
    for member in members:
        key, equals, text = member.partition("=")
        path = key.split(".")
        if not equals or not all(path):
            raise UsageError(f"{member}: expected KEY=YAML")
        try:
            value = yaml.safe_load(text) if text else None
        except yaml.YAMLError as error:
            raise UsageError(f"{member}: not YAML: {error}") from None
        here = patch
        for part in path[:-1]:
            deeper = here.setdefault(part, {})
            if not isinstance(deeper, dict):
                raise UsageError(f"{member}: {part} is set as a whole, too")
            here = deeper
        here[path[-1]] = value
    return patch


def difference_lines(differences: Sequence[Mapping[str, Any]]) -> list[str]:
    """- what stood there, + what stands there now, by path."""
    lines = []
    for found in differences:
        lines.append(str(found.get("path")))
        for sign, key in (("-", "before"), ("+", "after")):
            if key in found:
                lines += [f"  {sign} {line}" for line in _yaml(found[key])]
    return lines


def changed_text(said: Mapping[str, Any]) -> str:
    """What a change did, for a person."""
    if not said.get("difference"):
        return "nothing to change"
    if said.get("dry_run"):
        lines = ["would change (nothing has been changed):"]
    else:
        lines = [
            f"changed, in force for the next request; reaches {said.get('reaches')}",
            f"to take it back: extproc routes rollback {said.get('id')}",
        ]
    lines += difference_lines(said["difference"])
    if said.get("waiting_for_workers"):
        lines.append(f"not yet used by worker {', '.join(str(w) for w in said['waiting_for_workers'])}")
    if said.get("not_shared"):
        lines.append(f"not shared with the other replicas: {said['not_shared']}")
    return "\n".join(lines)


def _yaml(value: Any) -> list[str]:
    text: str = yaml.safe_dump(value, default_flow_style=None, sort_keys=False, allow_unicode=True, width=110)
    return text.removesuffix("\n...\n").rstrip("\n").splitlines()


def _list(said: Mapping[str, Any]) -> str:
    rows = []
    for name, item in sorted(said["items"].items()):
        model = item["value"]
        ranks = model.get("targets", ())
        shown = " > ".join(rank if isinstance(rank, str) else "|".join(f"{t}:{w}" for t, w in rank.items()) for rank in ranks)
        rank_by = model.get("rank_by", "order")
        ranked = rank_by if isinstance(rank_by, str) else ",".join(f"{k}:{v}" for k, v in rank_by.items())
        rules = ",".join(str(rule.get("name", "-")) for rule in model.get("rules", ()))
        rows.append((name, ranked, shown, rules or "-", ",".join(model.get("aliases", ())) or "-"))
    header = ("MODEL", "RANK BY", "TARGETS", "RULES", "ALIASES")
    if not sys.stdout.isatty():
        return "\n".join(columns(header, rows, left=5))
    return "\n".join(fitting(header, rows, shutil.get_terminal_size().columns, ("ALIASES",), left=5))


def _history(said: Mapping[str, Any]) -> str:
    lines = []
    for record in said["history"]:
        lines.append(f"{record['id']}  {record['at']}  {record['author']}  {record['action']}")
        lines += [f"  {line}" for line in difference_lines(record["difference"])]
    return "\n".join(lines) or "nobody has changed anything"


def _candidates(said: Mapping[str, Any]) -> str:
    lines = [f"model {said['model']}, ranked by {said.get('rank_by', '?')}" + (f", rule {said['rule']}" if said.get("rule") else "")]
    if said.get("refused"):
        lines.append(f"refused: {said['refused']}")
    if said.get("chain"):
        lines.append(f"chain  {' > '.join(said['chain'])}")
    for ranked in said.get("ranked", ()):
        numbers = "  ".join(f"{k} {v:g}" for k, v in ranked.items() if k != "target")
        lines.append(f"  {ranked['target']}: {numbers}")
    lines += [f"  not {e['cluster']}: {e['code']} ({e['why']})" for e in said.get("excluded", ())]
    return "\n".join(lines)


def _status(said: Mapping[str, Any]) -> str:
    lines = [
        f"registry   {said['registry']} (file {said.get('base')}, {said.get('source')}), loaded {said.get('loaded')}",
        f"overlay    {said['overlay']}, {said.get('changes', 0)} changes, reaches {said.get('reaches')}",
    ]
    if said.get("suspended"):
        lines.append(f"suspended  {said['suspended'].get('reason')}: see extproc routes diff, then resume or drop")
        lines += [f"           {p.get('path')}: {p.get('message')}" for p in said["suspended"].get("problems", ())]
    if said.get("last_error"):
        lines.append(f"refused    {said['last_error']}")
    envoy = said.get("envoy") or {}
    lines.append(f"envoy      {'answers' if envoy.get('answers') else 'does not answer'}; ejected: {', '.join(envoy.get('ejected') or ()) or 'none'}")
    cooling = said.get("cooling") or {}
    for cluster, state in sorted(cooling.items()):
        lines.append(f"left out   {cluster}: {SAID.get(state['why'], state['why'])} ({state['seconds']:.0f} s)")
    return "\n".join(lines)


def _read_file(name: str) -> Any:
    text = sys.stdin.read() if name == "-" else Path(name).read_text()
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{name}: not YAML: {error}") from None


def _change(client: AdminClient, args: argparse.Namespace) -> Answer:
    """set, replace or remove, on the condition that nobody else has changed the model in between."""
    path = f"/v1/models/{segment(args.name)}"
    query = {"dry_run": "true" if args.dry_run else None, "expires": args.expires}
    body = merge_patch(args.members) if args.action == "set" else _read_file(args.file) if args.action == "replace" else None
    try:
        etag = client.get(path).etag
    except RefusedError as refused:
        if refused.status != 404 or args.action != "replace":
            raise
        return client.send("PUT", path, body, query=query, new=True)
    method = {"set": "PATCH", "replace": "PUT", "remove": "DELETE"}[args.action]
    return client.send(method, path, body, etag=etag, query=query)


def ask(client: AdminClient, args: argparse.Namespace) -> tuple[Any, str]:
    """(the server's answer, what to print)."""
    dry = {"dry_run": "true" if getattr(args, "dry_run", False) else None}
    match args.action or "list":
        case "list":
            said = client.get("/v1/models").body
            return said, _list(said)
        case "show":
            said = client.get(f"/v1/models/{segment(args.name)}").body
            return said, "\n".join(_yaml(said["value"]))
        case "candidates":
            said = client.get("/v1/candidates", {"model": args.name}).body
            return said, _candidates(said)
        case "diff":
            said = client.get("/v1/diff").body
            return said, "\n".join(difference_lines(said["difference"])) or "the file alone serves"
        case "history":
            said = client.get("/v1/history", {"limit": args.limit}).body
            return said, _history(said)
        case "status":
            said = client.get("/v1/status").body
            return said, _status(said)
        case "rollback":
            said = client.send("POST", f"/v1/history/{segment(args.id)}/rollback", query={**dry, "to": "after" if args.after else "before"}).body
        case "drop":
            path = f"/v1/overlay/{segment(args.id)}" if args.id else "/v1/overlay"
            etag = "" if args.id else client.get("/v1/overlay").etag
            said = client.send("DELETE", path, etag=etag, query=dry).body
        case "resume":
            said = client.send("POST", "/v1/overlay/resume", query=dry).body
        case _:
            said = _change(client, args).body
    return said, changed_text(said)


def run(args: argparse.Namespace) -> int:
    return asked(args, ask)
