"""Tasks that are told from words: the plain ones, and none where two would fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.routing.task import task

PLAIN: dict[str, list[str]] = {
    "translation": [
        "Translate this to French: the committee met on Thursday.",
        "Please translate the following paragraph into German.\n\nThe committee met on Thursday.",
        "Can you translate 'good evening' to Japanese?",
        "How would you say 'good night' in Portuguese?",
        "Übersetze den folgenden Satz ins Englische: Der Ausschuss tagte am Donnerstag.",
        "Traduis ce texte en anglais : le comité s'est réuni jeudi.",
        "Переведи на английский: комитет собрался в четверг.",
    ],
    "summarization": [
        "Summarize the following article in three sentences.\n\nThe committee met on Thursday.",
        "Could you please summarise this email thread for my boss?",
        "Write a short summary of the report below.",
        "TL;DR of this text please: the committee met on Thursday.",
        "Give me a one paragraph summary of the meeting.",
        "Fasse den folgenden Text zusammen: Der Ausschuss tagte am Donnerstag.",
        "The committee met on Thursday. " * 60 + "\n\nSummarize the text above.",
        "总结以下文章:委员会星期四开会。",
    ],
    "extraction": [
        "Extract all names and dates from the text below as JSON.",
        "Please extract the invoice number.\n\nInvoice 4711",
        "Pull out every email address from this page.",
    ],
    "classification": [
        "Classify the following review as positive or negative: I loved it.",
        "Categorize these tickets by urgency.",
        "Determine the sentiment of this tweet: what a day.",
        "Your task is to classify each message as spam or not spam.",
    ],
    "code_generation": [
        "Write a Python function that reverses a linked list.",
        "Implement a REST endpoint for uploading files in Go.",
        "Can you refactor this class to use dependency injection?",
        "Fix the bug in this code:\n```js\nfoo()\n```",
        "Create a SQL query that returns the ten best customers.",
        "Generate unit tests for the parser module.",
        "Please write a regex which matches ISO dates.",
        "Schreibe ein Skript, das alle Dateien umbenennt.",
        "Convert this JavaScript code to TypeScript.",
    ],
    "question_answering": [
        "What is the capital of France?",
        "Who wrote The Trial?",
        "How many people live in Lagos?",
        "Is a tomato a fruit?",
        "Answer the question based on the context.\n\nContext: The committee met on Thursday.\nQuestion: When did it meet?",
        "Use the following context to help the customer.\n\nOpening hours: 9 to 5.",
    ],
    "chat": ["Hi!", "hello there", "Thanks, that was great", "Good morning", "How are you?"],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in PLAIN.items() for text in texts])
def test_plain_ones(name: str, text: str) -> None:
    assert task(text, "") == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "I met my old class teacher yesterday and she had written a program for the concert.",
        "Write a poem about the sea.",
        "Write a dress code for our company.",
        "My translation agency closed last week and I wonder about the summary of its accounts.",
        "Let's plan a trip to Portugal for six people, with two rest days.",
        "Summarize this article. Translate it to French.",
        "Extract the totals from the table below.\nClassify each line by department.",
        "The function of the liver is to filter blood; the class will discuss the code of ethics of surgeons.",
        "What do you think about it? And what would you do in my place? Tell me everything.",
        "x" * 100_000,
        "continue",
        "42",
    ],
)
def test_none_where_it_is_not_plain(text: str) -> None:
    assert task(text, "") is None


def test_the_system_says_what_an_application_is_for() -> None:
    assert (
        task("The committee met on Thursday.", "You are a careful assistant. Translate everything that the user says into French.") == "translation"
    )
    assert task("der Ausschuss", "Your task is to classify the user's message by department.") == "classification"
    assert task("When is it open?", "Answer the user's questions from the handbook.") == "question_answering"
    # the user's own instruction goes before it, and two of the user's are not settled by it
    assert task("Summarize what I said before.", "Translate everything that the user says into French.") == "summarization"
    assert task("Summarize it. Translate it to French.", "Translate everything.") is None


@given(st.text(max_size=300), st.text(max_size=100))
def test_total(user: str, system: str) -> None:
    assert task(user, system) in {None, *PLAIN}
