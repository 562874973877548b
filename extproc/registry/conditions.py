"""A rule's `when`: a mapping of signals to conditions that must all hold; `all`, `any` and `not` nest.

Every condition is held to its signal's shape and to the values that it can have, so that a word that no request will ever have is a mistake of the
file, not a rule that silently never holds. A `{not: …}` of a condition wants the signal known and different; a `not:` around a whole mapping holds
whenever the mapping does not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection

from extproc.core.operation import Operation
from extproc.providers.kinds import KINDS
from extproc.registry.fields import Field
from extproc.registry.identity import Who
from extproc.registry.policy import SIGNALS, All, AnyOf, Condition, Is, Not, Shape, Within
from extproc.registry.problems import shown
from extproc.registry.yaml_marks import Mapping, Scalar, Sequence

VALUES: dict[str, tuple[str, ...]] = {
    "modalities": ("text", "image", "document", "audio", "video"),
    "output_format": ("text", "json_object", "json_schema"),
    "weekday": ("mon", "tue", "wed", "thu", "fri", "sat", "sun"),
    "operation": tuple(o.value for o in Operation),
    "dialect": tuple(sorted({s.dialect.partition("@")[0] for k in KINDS.values() for s in k.speaks})),
}
"""Signals that have no other values."""
HIGHEST = {"complexity": 1.0}
"""Numbers with an end; all start at 0."""
NESTING = ("all", "any", "not")
BOUNDS = ("below", "at_most", "above", "at_least")
HINTS = {
    **dict.fromkeys(("tokens", "input_tokens", "prompt_length", "prompt_size", "context_length"), "use prompt_tokens: {below: 50}"),
    **dict.fromkeys(("max_tokens", "max_completion_tokens"), "use max_output_tokens"),
    **dict.fromkeys(("messages", "message_count"), "use turns"),
    **dict.fromkeys(("image", "images", "vision", "has_images"), "use modalities: [image]"),
    **dict.fromkeys(("audio", "video", "documents", "files"), "use modalities, such as [audio] or [document]"),
    **dict.fromkeys(("json", "response_format", "format"), "use output_format: json_schema"),
    **dict.fromkeys(("tool", "functions", "has_tools", "tool_use"), "use tools: true"),
    **dict.fromkeys(("thinking", "reasoning_effort"), "use reasoning: true"),
    **dict.fromkeys(("lang", "locale"), "use language: de"),
    **dict.fromkeys(("hour", "hours", "schedule", "time_of_day"), 'use time: {between: ["22:00", "06:00"]}'),
    **dict.fromkeys(("day", "days", "day_of_week"), "use weekday: [sat, sun]"),
    **dict.fromkeys(("model", "model_name", "alias"), "use asked"),
    **dict.fromkeys(("team", "org", "organization", "customer", "account"), "use tenant"),
    **dict.fromkeys(("plan", "user_plan", "group"), "use tier"),
    **dict.fromkeys(("app", "service", "client"), "use application"),
    **dict.fromkeys(("task_type", "intent", "category"), "use task"),
    **dict.fromkeys(("streaming", "streamed"), "use stream: true"),
    **dict.fromkeys(("endpoint", "api", "type"), "use operation or dialect"),
    **dict.fromkeys(("header", "headers", "metadata"), "a request's task is `task`; who asks comes from the registry's identity"),
    **dict.fromkeys(("and", "$and"), "use all: [{…}, {…}]"),
    **dict.fromkeys(("or", "$or"), "use any: [{…}, {…}]"),
    **dict.fromkeys(("none", "$not", "unless"), "use not: {…}"),
}
_OPERATORS = {
    **dict.fromkeys(("lt", "$lt", "<", "less_than", "under", "smaller_than"), "use below"),
    **dict.fromkeys(("lte", "$lte", "<=", "max", "maximum", "up_to"), "use at_most"),
    **dict.fromkeys(("gt", "$gt", ">", "greater_than", "more_than", "over"), "use above"),
    **dict.fromkeys(("gte", "$gte", ">=", "min", "minimum", "from"), "use at_least"),
    **dict.fromkeys(("eq", "$eq", "=", "==", "is", "equals"), "write the value itself"),
    **dict.fromkeys(("in", "$in", "any", "one_of"), "write a list of values"),
    **dict.fromkeys(("ne", "$ne", "!=", "is_not", "$nin", "not_in"), "use not"),
    **dict.fromkeys(("prefix", "starts_with", "$regex", "regex", "matches"), "write the beginning with a * behind it, such as gpt-*"),
}
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])\Z")
_LANGUAGE = re.compile(r"[a-z]{2}\*?\Z|\*\Z")
MAX_WORD = 200


def read_when(field: Field, who: Who) -> Condition | None:
    """A mapping that is not empty; None with problems."""
    parts: list[Condition | None] = []
    for key, inner in (field.entries("a mapping from signals to conditions, such as {prompt_tokens: {below: 50}}") or {}).items():
        if key in ("all", "any"):
            whens = [read_when(item, who) for item in inner.items("a list of mappings from signals to conditions") or ()]
            found = [w for w in whens if w is not None]
            whole = bool(found) and len(found) == len(whens)
            parts.append((found[0] if len(found) == 1 else All(tuple(found)) if key == "all" else AnyOf(tuple(found))) if whole else None)
        elif key == "not":
            negated = read_when(inner, who)
            parts.append(Not(negated) if negated is not None else None)
        elif key in SIGNALS:
            who.must_define(key, inner)
            parts.append(_condition(key, inner))
        else:
            known = (*NESTING, *SIGNALS)
            guess = HINTS.get(key) or field.problems.did_you_mean(key, known)
            field.key_fail(key, f"no signal {shown(key)}; known: {', '.join(known)}", guess)
            parts.append(None)
    good = [p for p in parts if p is not None]
    if not parts or len(good) < len(parts):
        return None
    return good[0] if len(good) == 1 else All(tuple(good))


def _condition(signal: str, field: Field) -> Condition | None:
    shape = SIGNALS[signal][0]
    if not isinstance(field.node, Mapping):
        return _EQUAL[shape](signal, field)
    operators = {Shape.NUMBER: BOUNDS, Shape.TIME: ("between",)}.get(shape, ())
    record = field.record((*operators, "not"), hints=_OPERATORS, wanted=_WANTED[shape])
    if record is None:
        return None
    parts: list[Condition | None] = []
    if shape is Shape.NUMBER and any(record.get(b) for b in BOUNDS):
        parts.append(_range(signal, field, {b: part for b in BOUNDS if (part := record.get(b)) is not None}))
    if (part := record.get("between")) is not None:
        parts.append(_between(signal, part))
    if (part := record.get("not")) is not None:
        inner = _condition(signal, part)
        parts.append(All((_known(signal, shape), Not(inner))) if inner is not None else None)
    if not parts and not record.refused:
        field.fail(f"must be {_WANTED[shape]}, is an empty mapping")
    good = [p for p in parts if p is not None]
    if record.refused or not parts or len(good) < len(parts):
        return None
    return good[0] if len(good) == 1 else All(tuple(good))


_WANTED = {
    Shape.NUMBER: "a number, a list of numbers, or bounds such as {below: 50} or {at_least: 1000, at_most: 8000}",
    Shape.FLAG: "true or false",
    Shape.WORD: "a word, a list of words, or {not: word}",
    Shape.WORDS: "a word, a list of words, or {not: word}",
    Shape.TIME: 'two times of day (UTC), such as {between: ["22:00", "06:00"]}',
}


def _known(signal: str, shape: Shape) -> Condition:
    match shape:
        case Shape.NUMBER | Shape.TIME:
            return Within(signal, -math.inf, math.inf)
        case Shape.FLAG:
            return Is(signal, frozenset((True, False)))
        case Shape.WORD:
            return Is(signal, frozenset(), ("",))
        case Shape.WORDS:
            return Is(signal, frozenset(VALUES[signal]))


def _members(field: Field) -> list[Field]:
    return (field.items() or []) if isinstance(field.node, Sequence) else [field]


def _is_number(signal: str, field: Field) -> Condition | None:
    members = _members(field)
    found = [n for item in members if (n := _number(signal, item, _WANTED[Shape.NUMBER])) is not None]
    return Is(signal, frozenset(found)) if found and len(found) == len(members) else None


def _is_flag(signal: str, field: Field) -> Condition | None:
    value = field.boolean()
    return None if value is None else Is(signal, frozenset((value,)))


def _is_word(signal: str, field: Field) -> Condition | None:
    words: set[str | bool | float] = set()
    prefixes: list[str] = []
    members = _members(field)
    before = len(field.problems)
    for item in members:
        word = item.text(_WANTED[Shape.WORD])
        if word is None or not _possible(signal, word, item):
            continue
        if word.endswith("*"):
            prefixes.append(word[:-1])
        else:
            words.add(word)
    return Is(signal, frozenset(words), tuple(prefixes)) if members and len(field.problems) == before else None


def _is_time(signal: str, field: Field) -> Condition | None:
    field.fail(f"the signal {signal} is a time of day: two of them make a condition", 'write {between: ["22:00", "06:00"]}')
    return None


_EQUAL: dict[Shape, Callable[[str, Field], Condition | None]] = {
    Shape.NUMBER: _is_number,
    Shape.FLAG: _is_flag,
    Shape.WORD: _is_word,
    Shape.WORDS: _is_word,
    Shape.TIME: _is_time,
}


def _possible(signal: str, word: str, field: Field) -> bool:
    """Reports a word that the signal never is."""
    stem = word.removesuffix("*")
    values = VALUES.get(signal)
    if "*" in stem or len(word) > MAX_WORD or not word.isprintable():
        field.fail(f"{shown(word)} is no word: up to {MAX_WORD} printable characters, with at most one * at the end")
    elif SIGNALS[signal][0] is Shape.WORDS and word.endswith("*"):
        field.fail(f"{shown(word)}: a prefix is for a single word, and {signal} is a set", f"list them: {', '.join(values or ())}")
    elif values is not None and (not any(v.startswith(stem) for v in values) if word.endswith("*") else word not in values):
        field.fail(f"{signal} is never {shown(word)}; known: {', '.join(values)}", _guess(field, word, values))
    elif signal == "language" and not _LANGUAGE.match(word):
        field.fail(f"{shown(word)} is no language: two lower-case letters (ISO 639-1), such as de")
    else:
        return True
    return False


def _guess(field: Field, word: str, values: Collection[str]) -> str | None:
    return field.problems.did_you_mean(word.lower()[:3] if word.lower()[:3] in VALUES["weekday"] else word.lower(), values)


def _number(signal: str, field: Field, wanted: str) -> float | None:
    value = field.number(wanted)
    highest = HIGHEST.get(signal, math.inf)
    if value is None or 0 <= value <= highest:
        return value
    field.fail(f"{signal} is {'0 or more' if highest == math.inf else f'from 0 to {highest:g}'}, never {value:g}")
    return None


def _range(signal: str, field: Field, bounds: dict[str, Field]) -> Condition | None:
    values = {name: _number(signal, part, "a number") for name, part in bounds.items()}
    for one, other in (("below", "at_most"), ("above", "at_least")):
        if one in bounds and other in bounds:
            bounds[other].fail(f"stands beside `{one}`, which bounds the same side", "keep one of them")
            return None
    if None in values.values():
        return None
    given = {name: v for name, v in values.items() if v is not None}
    # the next number above: Within takes its low end in and leaves its high end out
    low = math.nextafter(given["above"], math.inf) if "above" in given else given.get("at_least", -math.inf)
    high = math.nextafter(given["at_most"], math.inf) if "at_most" in given else given.get("below", math.inf)
    if max(low, 0) >= high or low > HIGHEST.get(signal, math.inf):
        field.fail(f"no {signal} is within these bounds: the rule could never hold")
        return None
    return Within(signal, low, high)


def _between(signal: str, field: Field) -> Condition | None:
    items = field.items('two times of day, such as ["22:00", "06:00"]')
    if items is None:
        return None
    if len(items) != 2:
        field.fail("must be two times of day: from the first one until the second", 'such as ["22:00", "06:00"]')
        return None
    low, high = (_minutes(item, end=i == 1) for i, item in enumerate(items))
    if low is None or high is None:
        return None
    if low == high:
        field.fail("starts and ends at the same time", "leave `time` out if it is the whole day")
        return None
    return Within(signal, low, high, wraps=low > high)


def _minutes(field: Field, *, end: bool) -> int | None:
    """Plain text: 22:00 is a number to YAML 1.1 alone, and means the same here."""
    node = field.node
    text = node.text if isinstance(node, Scalar) else ""
    if end and text == "24:00":
        return 24 * 60
    found = _TIME.match(text)
    if found is None:
        field.fail('must be a time of day, hours and minutes with two digits each (UTC), such as "06:00"')
        return None
    return int(found[1]) * 60 + int(found[2])
