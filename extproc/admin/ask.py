"""One request to the admin API as its handlers see it, read strictly: a body or parameter that makes no sense is refused with its name."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.datastructures import QueryParams

from extproc.admin.live import LiveRegistry
from extproc.admin.refusal import Refused
from extproc.admin.revise import By
from extproc.admin.tree import ABSENT, Difference
from extproc.registry.problems import render, shown
from extproc.registry.yaml_marks import MAX_DEPTH, MAX_NODES

MAX_BODY = 1 << 20
LONGEST = 30 * 86400.0
"""Seconds of the longest life of a change that expires."""
LONGEST_AUTHOR = 100
_LASTS = re.compile(r"([0-9]{1,7})([smhd])\Z")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_ETAGS = re.compile(r'\s*(?:W/)?"[^"]*"\s*(?:,\s*(?:W/)?"[^"]*"\s*)*\Z')
_FREE = frozenset({"data_stays_in", "data_policy", "quirks"})
"""What of a provider steers no key."""


@dataclass(frozen=True, slots=True)
class Ask:
    """`path` holds the values of the path's parameters. `private`: it came over the Unix socket, from the user `peer`."""

    path: Mapping[str, str]
    query: QueryParams
    headers: Mapping[str, str]
    raw: bytes
    private: bool
    peer: str = ""

    def json(self) -> Any:
        """The body. Raises `Refused`. Takes a tenth of a second for the largest."""
        if not self.raw:
            raise Refused(400, "no_body", "a JSON body is needed")
        try:
            value = orjson.loads(self.raw)
        except orjson.JSONDecodeError as error:
            raise Refused(400, "not_json", f"the body is not JSON: {error.msg}, line {error.lineno}, column {error.colno}") from None
        _bounded(value)
        json.loads(self.raw, object_pairs_hook=_unambiguous)
        return value

    def object(self) -> dict[str, Any]:
        """The body where it must be an object."""
        value = self.json()
        if not isinstance(value, dict):
            raise Refused(400, "not_an_object", "the body must be a JSON object")
        return value

    def must_know(self, known: Collection[str]) -> None:
        """A parameter that is not heard must not look as if it was. Raises `Refused` for another one than these, and for one that is said twice."""
        names = [name for name, _ in self.query.multi_items()]
        wrong = next((name for name in names if name not in known or names.count(name) > 1), None)
        if wrong is not None:
            here = f"known here: {', '.join(known)}" if known else "none is known here"
            what = f"the parameter {shown(wrong)} is given twice" if wrong in known else f"unknown parameter {shown(wrong)}; {here}"
            raise Refused(400, "bad_parameter", what)

    def flag(self, name: str) -> bool:
        """A query parameter that is true or false; false where it is not given."""
        value = self.query.get(name, "false")
        if value not in ("true", "false"):
            raise Refused(400, "bad_parameter", f"{name} must be true or false")
        return value == "true"

    def number(self, name: str, standard: int, most: int) -> int:
        """A query parameter from 1 to `most`."""
        value = self.query.get(name, str(standard))
        if not (value.isascii() and value.isdigit() and len(value) < 10 and 1 <= int(value) <= most):
            raise Refused(400, "bad_parameter", f"{name} must be a number from 1 to {most}")
        return int(value)

    def lasts(self) -> float | None:
        """Seconds until a change expires, None for good."""
        text = self.query.get("expires") or self.headers.get("expires-in")
        if not text:
            return None
        found = _LASTS.match(text)
        seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
        if not 0 < seconds <= LONGEST:
            raise Refused(400, "bad_parameter", "expires must be a duration such as 90s, 30m, 2h or 7d, at most 30d")
        return seconds

    def author(self) -> str:
        """Who says to be asking, or else who is connected."""
        try:
            # a header's bytes come as if they were Latin-1
            said = self.headers.get("x-author", "").encode("latin-1").decode().strip()
        except UnicodeDecodeError:
            said = "\0"
        if len(said) > LONGEST_AUTHOR or not said.isprintable():
            raise Refused(400, "bad_parameter", f"X-Author must be printable text (UTF-8) of at most {LONGEST_AUTHOR} characters")
        return said or self.peer or "unknown"

    def by(self, version: Callable[[LiveRegistry], str | None], *, asked: bool = True) -> By:
        """Who asks for a change of what has this version (None: it is not there) when it is the change's turn. `asked` False: a condition is heard
        if there is one, and not missed."""
        return By(self.author(), self.guard, lambda live: self.condition(version(live), asked=asked), self.lasts(), self.flag("dry_run"))

    def condition(self, etag: str | None, *, asked: bool = True) -> None:
        """If-Match and If-None-Match (RFC 9110, section 13) against what stands there. Raises `Refused` with 412, or 428 without either."""
        match, none = self.headers.get("if-match"), self.headers.get("if-none-match")
        if none is not None:
            if none.strip() != "*":
                raise Refused(400, "bad_parameter", "If-None-Match must be *, for what is not there yet")
            if etag is not None:
                raise Refused(412, "exists", "it is there already; read it, and send its ETag in If-Match")
        if match is not None:
            if match.strip() != "*" and not _ETAGS.match(match):
                raise Refused(400, "bad_parameter", "If-Match must be the ETag of what was read, or *")
            if etag is None or (match.strip() != "*" and f'"{etag}"' not in re.findall(r'(?:W/)?"[^"]*"', match)):
                raise Refused(412, "stale", "it has changed since it was read; read it again")
        if match is None and none is None and asked:
            raise Refused(428, "precondition_required", "send the ETag of what you have read in If-Match (If-None-Match: * for what is new)")

    def guard(self, found: Sequence[Difference]) -> None:
        """A key must not be steered to another host with a stolen token: where requests and credentials go is changed over the Unix socket alone."""
        if self.private:
            return
        steering = sorted({render(d.path) for d in found for d in _each(d) if _steers(d)})
        if steering:
            problems = [{"path": path, "message": "says where requests and keys go"} for path in steering]
            message = "a provider's url, kind, credentials and Envoy blocks are changed over the Unix socket only, never over TCP"
            raise Refused(403, "unix_socket_only", message, problems)


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is JSON."""

    body: dict[str, Any]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def etag_of(value: Any) -> str:
    """The version of a part of the registry: the same for the same content. What is absent has one, too."""
    raw = b"" if value is ABSENT else orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(raw).hexdigest()[:16]


def _each(found: Difference) -> list[Difference]:
    """A section or an entry that comes or goes as a whole, member by member."""
    if found.path[0] not in ("providers", "targets") or len(found.path) > 2:
        return [found]
    before, after = (side if isinstance(side, dict) else {} for side in (found.before, found.after))
    parts = [Difference((*found.path, key), before.get(key, ABSENT), after.get(key, ABSENT)) for key in {**before, **after}]
    return [inner for part in parts for inner in _each(part)] or [found]


def _steers(found: Difference) -> bool:
    path = found.path
    if path[0] == "providers":
        return len(path) < 3 or path[2] not in _FREE
    return (path[0] == "targets" and len(path) > 2 and path[2] == "envoy") or path[0] in ("state", "identity", "passthrough")


def _unambiguous(members: list[tuple[str, Any]]) -> None:
    """Of two members of one name a reader would silently take one. Raises `Refused`."""
    seen: set[str] = set()
    for name, _ in members:
        if name in seen:
            raise Refused(400, "not_json", f"the body says {shown(name)} twice in one object")
        seen.add(name)


def _bounded(value: Any) -> None:
    """As deep and as large as a registry file may be, and numbers that JSON can say again. Raises `Refused`."""
    level, count = [value], 0
    for _ in range(MAX_DEPTH):
        count += len(level)
        if count > MAX_NODES:
            raise Refused(422, "too_large", f"the body holds more than {MAX_NODES} values")
        if any(isinstance(one, float) and not math.isfinite(one) for one in level):
            raise Refused(400, "not_json", "the body holds a number that is too large")
        level = [inner for one in level if isinstance(one, dict | list) for inner in (one.values() if isinstance(one, dict) else one)]
        if not level:
            return
    raise Refused(422, "too_deep", f"the body is nested more than {MAX_DEPTH} levels deep")
