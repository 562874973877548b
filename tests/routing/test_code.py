"""Source code in prompts: programs of many languages, and prose that only mentions them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from extproc.routing import code
from extproc.routing.code import features, has_code

PROGRAMS = {
    "python": "import os\n\ndef total(rows):\n    return sum(row.price for row in rows)\n",
    "javascript": "const total = rows.reduce((a, b) => a + b, 0);\nfunction show(x) {\n  console.log(x);\n}\n",
    "typescript": "export const total = (rows: Row[]): number => {\n  let sum = 0;\n  return sum;\n};\n",
    "java": "public class Main {\n    public static void main(String[] args) {\n        int x = 5;\n    }\n}\n",
    "go": 'package main\n\nimport "fmt"\n\nfunc main() {\n\tx := total(rows)\n\tif x > 5 {\n\t\tfmt.Println(x)\n\t}\n}\n',
    "rust": "use std::fs;\n\nfn main() {\n    let text = fs::read_to_string(path);\n    return;\n}\n",
    "c": "#include <stdio.h>\n\nint main(void) {\n    int x = 5;\n    for (x = 0; x < 5; x++) {\n        puts(names[x]);\n    }\n    return 0;\n}\n",
    "sql": "create table rows (id int);\nselect name from rows where id in (1, 2);\ninsert into rows values (5);\nselect 1;\n",
    "html": "<html><body>\n<div class='a'>hello</div>\n<script>function f() { return 1; }</script>\n</body></html>",
    "traceback": 'Traceback (most recent call last):\n  File "a.py", line 5, in <module>\n    x = total(rows)\nTypeError: no',
    "diff": "diff --git a/a.py b/a.py\n@@ -1,2 +1,2 @@\n-def f(x):\n+def g(x):\n",
    "fenced": "What does this do?\n```\nfoo bar\n```",
}

PROSE = [
    "What is the capital of France?",
    "Please import the goods by Thursday; the class starts at nine, and the function of the committee is to decide.",
    "For each guest we need a chair, while the tables (six of them) are already there. If it rains, we go inside; else we stay.",
    "Rows: 5; columns: 7 (see page 12). The price is = 20 euros.",
    "Return the form to me, thanks. Let us select a date from the calendar.",
    "Meeting notes:\n- first, the budget;\n- then the plan (version 2)\n- finally: questions\n",
    '{"name": "chair", "price": 36}',
    "a < b and b > c, so x = y (mod 5); therefore f(x) = g(y).",
]


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name: str) -> None:
    assert has_code([PROGRAMS[name]])
    assert has_code(["Why is this slow?", PROGRAMS[name]])


@pytest.mark.parametrize("text", PROSE)
def test_prose(text: str) -> None:
    assert not has_code([text])


def test_this_project_is_code_and_its_words_are_not() -> None:
    root = Path(code.__file__).parents[1]
    files = [path.read_text() for path in sorted(root.rglob("*.py")) if path.stat().st_size > 2000]
    assert sum(has_code([text]) for text in files) > 0.95 * len(files)
    docstrings = [ast.get_docstring(ast.parse(text)) or "" for text in files]
    told = [text for text in docstrings if "```" not in text and has_code([text])]
    assert len(told) <= 0.02 * len(docstrings), told


def test_a_fence_is_found_wherever_it_is() -> None:
    assert has_code(["words " * 100_000, "words ``` x ``` " + "words " * 100_000])
    assert not has_code(["words " * 200_000])
    assert not has_code([])


def test_features_are_counted_once_each() -> None:
    assert features(PROGRAMS["python"] * 50) == features(PROGRAMS["python"])
    assert features(PROGRAMS["python"] + PROGRAMS["html"]) >= features(PROGRAMS["python"])
