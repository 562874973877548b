"""Does a text hold source code? Fenced blocks, and lines that only programs have."""

from __future__ import annotations

import re
from collections.abc import Sequence

from extproc.core.characters import sample

_SAMPLE = 4096
"""Characters that are searched for lines of code; a fence is found wherever it stands."""
_FENCE = "```"
_ENOUGH = 2
"""Different features. Prose has one now and then."""
_SIGNS = "(){};=<>"
"""Programs are full of them; most prose has none, and is known by that alone."""

_FEATURES: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...] = tuple(
    (marks, re.compile(pattern, re.MULTILINE))
    for marks, pattern in (
        (("def ",), r"^[ \t]*(?:async )?def \w+\("),
        (
            ("public ", "private ", "protected ", "static ", "export ", "final ", "abstract "),
            r"^[ \t]*(?:public|private|protected|static|export|final|abstract) (?:\w+ ){0,3}(?:class|interface|function|void|int|const|async)\b",
        ),
        (
            ("import ", "#include", "using ", "package ", "use "),
            r"^[ \t]*(?:import [\w.{*]|from [\w.]+ import |#include *[<\"]|using [\w.]+;|use [\w:]+;)",
        ),
        (
            ("const ", "let ", "var ", "val ", "auto ", "int ", "float ", "double ", "char ", "bool ", "String "),
            r"^[ \t]*(?:const|let|var|val|auto|int|float|double|char|bool|String) \w+(?: *: *[\w<>\[\]]+)? *=",
        ),
        (("class ", "struct "), r"^[ \t]*(?:class|struct) \w+(?:\([\w., ]*\))? *[:{]"),
        (("=>",), r"\) *=> *[{(\w]|\b\w+ => [{(\w]"),
        (("function", "func "), r"\bfunc(?:tion)? *\w* *\([^)\n]*\)[^\n{]{0,40}\{"),
        (("fn ", "lambda "), r"\b(?:fn \w+ *[(<]|lambda \w+(?:, \w+)*:)"),
        (
            ("if ", "for ", "while ", "if(", "for(", "while(", "else", "try", "switch"),
            r"^[ \t]*(?:(?:if|for|while|switch|elif|catch) ?\([^\n]*\) *\{?|(?:if|for|while|elif|with) [^\n]+:|\}? ?(?:else|try|finally) *[:{])$",
        ),
        (("return",), r"^[ \t]*return\b(?:[^\n]*[;)\]}\"']| [\w.]+)$"),
        ((";\n", "; "), r"^[^\n]*[\w)\]}\"'];[ \t]*\n[^\n]*[\w)\]}\"';{}][ \t]*$"),
        (
            ("elect ", "ELECT ", "nsert ", "NSERT ", "reate ", "REATE ", "pdate ", "PDATE ", "lter ", "LTER "),
            r"(?i:^[ \t]*(?:select\b[^;]{1,200}?\bfrom\b|insert into \w|create (?:table|index|view) |update \w+ set |alter table ))",
        ),
        (
            ("</", "<div", "<script", "<html", "<svg"),
            r"</(?:div|span|p|html|body|script|table|ul|li|a|head|svg)>|<(?:div|script|html|svg)\b[^<>\n]*>",
        ),
        (
            ("Traceback", "  at ", "\tat ", 'File "'),
            r"^Traceback \(most recent call last\)|^[ \t]+at [\w.$<>]+\([\w.]+:\d+\)|^ *File \"[^\"\n]+\", line \d+",
        ),
        (("diff --git", "--- "), r"^(?:diff --git |--- [ab]/)"),
        (("@@ -", "+++ "), r"^(?:@@ -\d+|\+\+\+ [ab]/)"),
        (("= ", "=", ":="), r"^[ \t]*[\w.\[\]]+ *(?:[+\-*/|&]?=|:=) *[\w.]+\([^\n]*\) *;?$"),
        (("#!/", "$ ", "sudo "), r"^[ \t]*(?:\$ )?(?:sudo|git|npm|pip|docker|kubectl|curl|cargo) [\w-]|^#!/"),
        (("{\n", ";\n"), r"[{;]\n[ \t]+\S[^\n]*\n[ \t]*\}"),
    )
)
"""What each can only have with one of some strings, which is quick to see, and its pattern."""


def has_code(texts: Sequence[str]) -> bool:
    """Of all `texts` together."""
    if any(_FENCE in text for text in texts):
        return True
    total = sum(map(len, texts))
    return features("\n".join(texts) if total <= _SAMPLE else sample(texts, total, _SAMPLE)) >= _ENOUGH


def features(text: str) -> int:
    """How many of the features `text` has, a fence included."""
    if sum(map(text.count, _SIGNS)) < _ENOUGH:
        return int(_FENCE in text)
    return sum(any(mark in text for mark in marks) and pattern.search(text) is not None for marks, pattern in _FEATURES) + (_FENCE in text)
