"""`python -m tests.cross_report`: what became of every recorded exchange between every two dialects, as a table. Conversations, then embeddings.

With `--write` the table goes to `cross_report.md` beside this file, which is what is published.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.dialects import cross, cross_embeddings, embeddings_recorded

KINDS = ("exact", "losses", "refused", "wrong")

Row = tuple[str, str, str]
"""Direction, from, to."""


def conversations() -> Iterator[tuple[Row, str, cross.Outcome]]:
    """(row of the table, name of the exchange, what became of it)"""
    for direction, exchange, to in cross.pairs():
        yield (direction, exchange.dialect, to), exchange.name, cross.outcome(direction, exchange, to)


def embeddings() -> Iterator[tuple[Row, str, cross.Outcome]]:
    """The same of embeddings; a client is named with its form and encodings."""
    for direction, exchange, to in cross_embeddings.pairs():
        found = cross_embeddings.outcome(direction, exchange, to)
        yield (direction, exchange.dialect, cross_embeddings.label(direction, to)), exchange.name, found


def report(outcomes: Iterator[tuple[Row, str, cross.Outcome]], page: list[str]) -> int:
    """Prints the table, and puts it on `page` as Markdown; how many are wrong."""
    table: dict[Row, Counter[str]] = defaultdict(Counter)
    codes: dict[Row, Counter[str]] = defaultdict(Counter)
    wrong: list[str] = []
    for row, name, found in outcomes:
        table[row][found.kind] += 1
        codes[row].update(found.codes if found.kind == "losses" else [f"refused for {found.why}"] if found.kind == "refused" else [])
        if found.kind == "wrong":
            wrong.append(f"{row[0]} {name} to {row[2]}: {found.why}")
    wide = max((len(row[2]) for row in table), default=0) + 2
    print(f"{'':9}{'from':20}{'to':{wide}}{'total':>7}" + "".join(f"{kind:>9}" for kind in KINDS))
    for row, counts in sorted(table.items()):
        print(f"{row[0]:9}{row[1]:20}{row[2]:{wide}}{counts.total():>7}" + "".join(f"{counts[kind]:>9}" for kind in KINDS))
    for row, counts in sorted((row, counts) for row, counts in codes.items() if counts):
        print(f"\n{row[0]} {row[1]} to {row[2]}")
        print("".join(f"{n:>7}  {code}\n" for code, n in counts.most_common()), end="")
    print("\n".join(("", "wrong:", *wrong)) if wrong else "\nnothing is wrong")
    page += [
        "| | from | to | exchanges | exact | with losses | refused | wrong | losses and refusals, by code |",
        "|---|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for row, counts in sorted(table.items()):
        figures = " | ".join(str(counts[kind]) for kind in KINDS)
        said = ", ".join(f"{code} {n}" for code, n in codes[row].most_common())
        page.append(f"| {' | '.join(row)} | {counts.total()} | {figures} | {said} |")
    return len(wrong)


PAGE = Path(__file__).with_suffix(".md")


def main(*, write: bool) -> int:
    """0 if nothing is wrong."""
    page = [
        "# Recorded exchanges between every two dialects",
        "",
        "Written by `python -m tests.cross_report --write` from the recorded traffic. `request`: a recorded client's request, translated to",
        "the dialect of another provider, valid by that vendor's own types, and read again: does it say the same? `answer`: a recorded",
        "provider's answer, whole or streamed, for a client of another dialect, read by that client's SDK types. Exact: nothing is missing.",
        "With losses: all that is missing was named. Refused: for a need that was named before anything was sent, or as the error that it is.",
        "Codes are explained in [losses.md](../extproc/core/losses.md).",
    ]
    wrong = 0
    for title, count, outcomes in (
        ("conversations", len(cross.exchanges()), conversations()),
        ("embeddings", len(embeddings_recorded.exchanges()), embeddings()),
    ):
        print(f"\n{count} recorded {title}\n")
        page += ["", f"## {count} {title}", ""]
        wrong += report(outcomes, page)
    if write:
        PAGE.write_text("\n".join(page) + "\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(write="--write" in sys.argv[1:]))
