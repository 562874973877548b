"""SDK request types as strict validators.

An SDK publishes its request format as nested TypedDicts. Two things make them useless as they are: unknown members pass, and lists are typed
`Iterable[...]`, which pydantic checks lazily, so never. `strict_validator` closes both holes on everything that is reachable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter
from pydantic_core import SchemaValidator
from typing_extensions import is_typeddict


def strict_validator(root: Any) -> Callable[[bytes], None]:
    """A check of JSON bytes against the type `root`: unknown members, wrong types and wrong list items raise `pydantic_core.ValidationError`."""
    _forbid_extra(root, set())
    # without the flag pydantic-core puts a model's own, lax validator in place of the rewritten schema as soon as anything has built the model
    validator = SchemaValidator(strict_schema(TypeAdapter(root).core_schema), _use_prebuilt=False)

    def check(body: bytes) -> None:
        validator.validate_json(body, strict=True)

    return check


def _forbid_extra(node: Any, seen: set[int]) -> None:
    """Sets the configuration of every TypedDict that is reachable: it does not pass from an outer one to an inner one."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if is_typeddict(node):
        node.__pydantic_config__ = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
        for hint in get_type_hints(node, include_extras=True).values():
            _forbid_extra(hint, seen)
    for inner in get_args(node):
        _forbid_extra(inner, seen)


def strict_schema(node: Any) -> Any:
    """A copy of a core schema with lazy generators as lists, and models that take no unknown members."""
    if isinstance(node, list | tuple):
        return type(node)(strict_schema(item) for item in node)
    if not isinstance(node, dict):
        return node
    kind = node.get("type")
    if not isinstance(kind, str):  # not a schema but a map of them by field name, which may be anything
        return {key: strict_schema(value) for key, value in node.items()}
    copy = {key: value if key in {"cls", "metadata", "expected", "default"} else strict_schema(value) for key, value in node.items()}
    if kind == "generator":
        copy["type"] = "list"
    elif kind == "model-fields":
        copy["extra_behavior"] = "forbid"
    return copy
