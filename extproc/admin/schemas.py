"""The JSON Schemas of what the admin API takes and answers, for its OpenAPI document."""

from __future__ import annotations

from typing import Any

from extproc.admin.reports import LEVELS

Schema = dict[str, Any]


def text(description: str = "", **more: Any) -> Schema:
    """A string."""
    return {"type": "string", **({"description": description} if description else {}), **more}


def obj(properties: Schema, *, needs: tuple[str, ...] | None = None, **more: Any) -> Schema:
    """An object; all of its properties are required unless `needs` names some."""
    return {"type": "object", "properties": properties, "required": list(properties if needs is None else needs), **more}


def every(items: Schema, description: str = "") -> Schema:
    """A list."""
    return {"type": "array", "items": items, **({"description": description} if description else {})}


def ref(name: str) -> Schema:
    """A component."""
    return {"$ref": f"#/components/schemas/{name}"}


NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
ANYTHING: Schema = {}
WORDS = every(text())
FREE: Schema = {"type": "object"}
_COMMON: Schema = {
    "registry": text("the digest of the registry in force"),
    "overlay": text("are changes over the registry file in force?", enum=["none", "active", "suspended"]),
}
VALUE: Schema = {"description": "as the registry file would say it"}


def answer(properties: Schema, *, optional: tuple[str, ...] = ()) -> Schema:
    """An answer: what every one says, and more."""
    return obj({**_COMMON, **properties}, needs=tuple(key for key in {**_COMMON, **properties} if key not in optional))


PROBLEM = obj(
    {
        "path": text("where: models.chat.targets[1]; empty for the whole"),
        "message": text(),
        "suggestion": text("what to do about it"),
        "line": {**WHOLE, "description": "in the registry file, where that is to blame"},
    },
    needs=("path", "message"),
)
DIFFERENCE = obj({"path": text(), "before": ANYTHING, "after": ANYTHING}, needs=("path",), description="no before: nothing was there; likewise after")
SUSPENDED = obj(
    {
        "at": text(),
        "reason": text(enum=["conflict", "does_not_load", "unreadable"]),
        "base": text(),
        "problems": every(ref("Problem")),
        "lagging": FLAG,
    },
    needs=("at", "reason", "base", "problems"),
)
CHANGE = obj(
    {
        "id": text(),
        "at": text(),
        "author": text(),
        "base": text(),
        "path": text(),
        "before": ANYTHING,
        "value": ANYTHING,
        "removed": FLAG,
        "expires": text(),
    },
    needs=("id", "at", "author", "base", "path"),
)
EXCLUDED = obj({"cluster": text(), "code": text(), "why": text()})

SCHEMAS: dict[str, Schema] = {
    "Problem": PROBLEM,
    "Difference": DIFFERENCE,
    "Suspended": SUSPENDED,
    "Change": CHANGE,
    "Error": obj(
        {
            "error": obj({"code": text(), "message": text(), "problems": every(ref("Problem"))}, needs=("code", "message")),
            "overlay": _COMMON["overlay"],
        },
        needs=("error",),
    ),
    "Index": answer({"endpoints": every(obj({"method": text(), "path": text(), "summary": text()}))}),
    "OpenApi": obj({"openapi": text(), "info": FREE, "paths": FREE, "components": FREE}),
    "Status": answer(
        {
            "serving": {**FLAG, "description": "false while the server drains"},
            "version": text(),
            "started": text(),
            "base": text("the digest of the registry file that is in force"),
            "file": text(),
            "source": text("the last good file serves where the present one does not load", enum=["file", "last good"]),
            "loaded": text("since when the registry is in force"),
            "last_error": {"type": ["string", "null"], "description": "why the file as it is now is not in force"},
            "changes": {**WHOLE, "description": "of the overlay"},
            "suspended": ref("Suspended"),
            "reaches": text("whom a change reaches", enum=["this process", "this pod", "every replica"]),
            "worker": WHOLE,
            "workers": WHOLE,
            "clusters": WORDS,
            "drained": WORDS,
            "cooling": {"type": "object", "additionalProperties": obj({"why": text(), "seconds": NUMBER})},
            "envoy": obj(
                {
                    "answers": {"type": ["boolean", "null"], "description": "its admin socket; null: not asked"},
                    "active": {"type": ["array", "null"], "items": text()},
                    "ejected": WORDS,
                }
            ),
            "shared_state": obj({"answers": {"type": ["boolean", "null"]}, "version": WHOLE, "unshared": FLAG}),
        },
        optional=("suspended", "shared_state"),
    ),
    "Document": answer({"base": text(), "value": FREE}),
    "Items": answer({"items": {"type": "object", "additionalProperties": obj({"value": VALUE, "etag": text()})}}),
    "Item": answer({"path": text(), "value": VALUE, "changes": {**WORDS, "description": "those of the overlay that concern it"}}),
    "Changed": answer(
        {
            "changed": {**FLAG, "description": "false: it was so already"},
            "dry_run": FLAG,
            "difference": every(ref("Difference")),
            "reaches": text("whom the change reaches", enum=["this process", "this pod", "every replica"]),
            "id": text("in the history"),
            "value": VALUE,
            "waiting_for_workers": every(WHOLE, "other server processes that have not said yet that they use it"),
            "not_shared": text("why it did not reach the other replicas"),
        },
        optional=("id", "value", "waiting_for_workers", "not_shared"),
    ),
    "Overlay": answer({"base": text(), "changes": every(ref("Change")), "suspended": ref("Suspended")}, optional=("suspended",)),
    "Diff": answer({"base": text(), "difference": every(ref("Difference"))}),
    "History": answer(
        {
            "history": every(
                obj({"id": text(), "at": text(), "author": text(), "action": text(), "base": text(), "difference": every(ref("Difference"))})
            )
        }
    ),
    "Statistics": answer({"clusters": {"type": "object", "additionalProperties": FREE}, "models": FREE, "replicas": WHOLE}),
    "Decisions": answer({"decisions": every(obj({"at": NUMBER, "request_id": text(), "asked": text(), "model": text(), "chain": WORDS}))}),
    "Candidates": answer(
        {
            "model": text(),
            "targets": WORDS,
            "rule": text(),
            "rank_by": text(),
            "chain": WORDS,
            "ranked": every(FREE),
            "excluded": every(ref("Excluded")),
            "last_resort": FLAG,
            "refused": text("why none would be asked"),
        },
        optional=("rule", "rank_by", "chain", "ranked", "excluded", "last_resort", "refused"),
    ),
    "Excluded": EXCLUDED,
    "Explain": obj(
        {
            "path": text("default: guessed from the body"),
            "method": text(),
            "headers": {"type": "object", "additionalProperties": text()},
            "body": {"description": "JSON, or text that is sent as it is"},
            "body_base64": text("a body of other bytes"),
        },
        needs=(),
        additionalProperties=False,
    ),
    "Explanation": answer({"client_dialect": text(), "method": text(), "path": text(), "guessed": FLAG, "chain": WORDS}, optional=("chain",)),
    "Level": obj({"level": text(enum=list(LEVELS))}),
    "LevelNow": answer({"level": text(enum=list(LEVELS)), "reaches": text()}, optional=("reaches",)),
    "Usage": answer(
        {
            "limits": every(obj({"key": text(), "for": FREE})),
            "windows": {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": NUMBER}},
        }
    ),
}
