"""Words that Google's embeddings formats share: paths, tasks, member names.

They are proto3 JSON: `taskType` or `task_type`, numbers as strings, enums as numbers.
"""

from __future__ import annotations

import re
from typing import Any

from extproc.core.embeddings import Task, Truncate
from extproc.core.errors import BadRequestError, UntranslatableError
from extproc.core.headers import is_safe_segment
from extproc.core.ir import JSON
from extproc.core.losses import Losses

_TASKS: dict[str, str] = {
    "RETRIEVAL_QUERY": Task.QUERY,
    "RETRIEVAL_DOCUMENT": Task.DOCUMENT,
    "SEMANTIC_SIMILARITY": Task.SIMILARITY,
    "CLASSIFICATION": Task.CLASSIFICATION,
    "CLUSTERING": Task.CLUSTERING,
    "QUESTION_ANSWERING": Task.QUESTION_ANSWERING,
    "FACT_VERIFICATION": Task.FACT_VERIFICATION,
    "CODE_RETRIEVAL_QUERY": Task.CODE_QUERY,
}
"""In the order of the enum, whose first member, 0, is "not said"."""
_UNSAID = frozenset({"TASK_TYPE_UNSPECIFIED", "UNSPECIFIED", ""})
_BY_NUMBER = tuple(_TASKS)
_WORDS = {task: word for word, task in _TASKS.items()}
_DIGITS = re.compile(r"[0-9]{1,9}")


def path(model: str, method: str) -> str:
    """Path for `model` (`gemini-embedding-001` or `models/…`). Raises `UntranslatableError` if it could mean another resource."""
    collection, slash, name = model.rpartition("/")
    if (slash and collection not in ("models", "tunedModels")) or not is_safe_segment(name) or ":" in name:
        raise UntranslatableError("the model name cannot be part of a Gemini path", param="model")
    return f"/{collection or 'models'}/{name}:{method}"


def resource(model: str) -> str:
    """The model as a resource name, as bodies hold it."""
    return model if "/" in model else f"models/{model}"


def camel(value: JSON) -> dict[str, Any]:
    """An object with its member names in lowerCamelCase; {} for what is none."""
    if not isinstance(value, dict):
        return {}
    return {_camel(key): v for key, v in value.items()} if any("_" in key for key in value) else value


def _camel(key: str) -> str:
    head, *rest = key.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)


def task_of(value: JSON) -> str | None:
    """A `Task`, another word as it stands, None for "not said". Raises `BadRequestError`."""
    if value is None or (isinstance(value, str) and value in _UNSAID):
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= len(_BY_NUMBER):
        return _TASKS[_BY_NUMBER[value - 1]] if value else None
    if not isinstance(value, str):
        raise BadRequestError("`taskType` must be a task's name", param="taskType")
    return _TASKS.get(value.upper(), value)


def task_word(task: str | None, losses: Losses) -> str | None:
    """The enum's name; None, with a loss, for a task that Google has not."""
    if task is None:
        return None
    word = _WORDS.get(task)
    if word is None:
        losses.add("dropped:input_type", task[:40])
    return word


def dimensions_of(value: JSON) -> int | None:
    """Raises `BadRequestError`."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or value == 0:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BadRequestError("`outputDimensionality` must be a positive integer", param="outputDimensionality")
    return value


def truncate_of(value: JSON) -> Truncate | None:
    """From `autoTruncate`. Raises `BadRequestError`."""
    if value is not None and not isinstance(value, bool):
        raise BadRequestError("`autoTruncate` must be true or false", param="autoTruncate")
    return None if value is None else Truncate.END if value else Truncate.NONE


def auto_truncate(way: Truncate, losses: Losses) -> bool:
    """Google cuts at the end only."""
    if way is Truncate.START:
        losses.add("coerced:truncate")
    return way is not Truncate.NONE


def title_of(value: JSON) -> str | None:
    """A title that says something."""
    return value if isinstance(value, str) and value else None


def title_for(title: str | None, task: str | None, losses: Losses) -> str | None:
    """The title where Google takes one: a document's."""
    if title and task != Task.DOCUMENT:
        losses.add("dropped:title", "only documents have one")
        return None
    return title


def count(value: JSON) -> int | None:
    """A number of tokens; None for what is none."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15 else None
