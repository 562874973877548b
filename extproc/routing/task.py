"""What a request is for, told from its words: a few tasks that people route by, and only where the words are plain.

An instruction counts where instructions stand: at the beginning of a text, a line or a sentence, perhaps behind a polite phrase. Two different ones
that both stand there make the request unclear, and an unclear request has no task: rules for a task must not catch what they were not written for.
"""

from __future__ import annotations

import re

CODE_GENERATION, SUMMARIZATION, TRANSLATION = "code_generation", "summarization", "translation"
EXTRACTION, CLASSIFICATION, QUESTION_ANSWERING, CHAT = "extraction", "classification", "question_answering", "chat"

_HEAD, _TAIL = 600, 300
"""Characters of a text that are read: what is asked for stands in front of the material or behind it."""
_SHORT = 240
"""A question longer than this is about something that it brings with it."""

_POLITE = (
    r"(?:please |pls |kindly |can you |could you |would you |will you |i (?:want|need|would like) you to |i'd like you to |help me (?:to )?|now )*"
)
_START = r"(?:\A|[\n.!?:;][ \t]*(?:[-*#>\d.)]+[ \t]*)?)" + _POLITE
_YOUR_TASK = r"(?:your (?:task|job|goal) is to |you (?:must|should|will|have to) )?"


def _instruction(*verbs: str) -> re.Pattern[str]:
    return re.compile(_START + _YOUR_TASK + "(?:" + "|".join(verbs) + ")")


_THING = (
    r"function|class|method|script|program|code|snippet|quer(?:y|ies)|regex|regular expression|unit tests?|test cases?|component|endpoint|api|cli"
    r"|module|dockerfile|makefile|migration|algorithm|parser|decorator|macro|app|bug|stack ?trace|compiler error|pull request"
)
_LANGUAGE = r"python|javascript|typescript|rust|golang|java|kotlin|swift|c\+\+|c#|php|ruby|scala|haskell|bash|shell|sql|html|css|react|terraform"

_INSTRUCTIONS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        TRANSLATION,
        _instruction(
            r"translat(?:e|ing)\b",
            r"(?:give|provide)(?: me)? (?:a|the) translation\b",
            r"(?:how do|how would) (?:you|i) say .{1,80} in [a-z]+",
            r"übersetze?\b|traduce\b|traduis(?:ez)?\b|traduza\b|traduci\b|vertaal\b|переведи(?:те)?\b|przetłumacz\b|翻译|翻譯|翻訳して|번역",
        ),
    ),
    (
        SUMMARIZATION,
        _instruction(
            r"summari[sz]e\b",
            r"tl;?dr\b",
            r"(?:write|give|provide|create|generate|produce)(?: me| us)?(?: an?| the)?(?: \w+){0,3} (?:summary|abstract|synopsis|tl;?dr)\b",
            r"(?:condense|recap)\b",
            r"fasse?\b[^.\n]{1,80}\bzusammen\b|résume[rz]?\b|resum[ae]\b|riassumi\b|vat\b[^.\n]{1,60}\bsamen\b|总结|總結|概括|要約",
        ),
    ),
    (
        EXTRACTION,
        _instruction(
            r"extract\b(?! method)",
            r"(?:pull|parse) (?:out )?(?:all |the |every )[^.\n]{1,80} (?:from|out of)\b",
            r"extrahiere\b|extrae\b|extrais\b|提取",
        ),
    ),
    (
        CLASSIFICATION,
        _instruction(
            r"classify\b",
            r"categori[sz]e\b",
            r"(?:label|tag) (?:the|this|each|these) [^.\n]{1,60} (?:as|with|by)\b",
            r"(?:determine|decide|tell me|say|is) [^.\n]{0,60}\b(?:sentiment|spam or|positive or negative|positive, negative)\b",
            r"klassifiziere\b|clasifica\b|分类",
        ),
    ),
    (
        CODE_GENERATION,
        _instruction(
            rf"(?:write|implement|create|build|generate|develop|code|design|add|complete|finish|optimi[sz]e|port|convert)\b[^\n]{{0,80}}\b(?:{_THING})\b",
            rf"(?:write|implement|create|build|generate)\b[^\n]{{0,80}}\bin (?:{_LANGUAGE})(?![a-z])",
            rf"(?:fix|debug|refactor|rewrite|review|lint)\b[^\n]{{0,60}}\b(?:{_THING}|{_LANGUAGE})(?![a-z])",
            rf"(?:schreibe?|escribe|écris|scrivi)\b[^\n]{{0,60}}\b(?:funktion|skript|programm|función|programa|fonction|script|funzione|{_LANGUAGE})(?![a-z])",
        ),
    ),
)
_NO_CODE = re.compile(
    r"\b(?:class(?:room| of students)|(?:dress|zip|postal|promo|discount|penal|civil) code|code of conduct|training program|tv program)\b"
)
_QUESTION = re.compile(
    r"(?:what|who|whom|whose|when|where|which|why|how (?:many|much|long|old|far|tall|big|often)|is|are|was|were|does|did|do|has|have)\b"
)
_CONTEXT = re.compile(
    _START
    + r"answer (?:the|this|my|these|any|users?'?) [^.\n]{0,40}questions?\b|use the (?:following|provided|given) (?:context|documents?|passages?)\b"
)
_GREETING = re.compile(r"(?:hi|hello|hey|good (?:morning|afternoon|evening)|thanks?(?: you)?|how are you|what's up|bye|goodbye)\b[^\n]{0,40}\Z")


def task(user: str, system: str) -> str | None:
    """The task of a conversation, from the user's last text, else from what the system's says it is for; None where neither is plain."""
    said = _shown(user)
    found = _instructed(said)
    if found is not None:
        # of two instructions nobody can say which one counts
        return found or None
    purpose = _shown(system)
    return _small(said, user) or _instructed(purpose) or (QUESTION_ANSWERING if _CONTEXT.search(purpose) else None)


def _shown(text: str) -> str:
    text = text.strip()
    if len(text) > _HEAD + _TAIL:
        text = f"{text[:_HEAD]}\n\n{text[-_TAIL:]}"
    return text.lower()


def _instructed(shown: str) -> str | None:
    """The task, "" for more than one, None for none."""
    found = [name for name, pattern in _INSTRUCTIONS if pattern.search(shown)]
    if CODE_GENERATION in found and _NO_CODE.search(shown):
        found.remove(CODE_GENERATION)
    return (found[0] if len(found) == 1 else "") if found else None


def _small(shown: str, user: str) -> str | None:
    if _GREETING.match(shown):
        return CHAT
    if _CONTEXT.search(shown):
        return QUESTION_ANSWERING
    one_question = len(user) <= _SHORT and shown.endswith("?") and shown.count("?") == 1 and "\n" not in shown
    return QUESTION_ANSWERING if one_question and _QUESTION.match(shown) else None
