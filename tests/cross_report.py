"""`python -m tests.cross_report`: what became of every recorded exchange between every two dialects, as a table. Conversations, then embeddings."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator

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


def report(outcomes: Iterator[tuple[Row, str, cross.Outcome]]) -> int:
    """Prints the table; how many are wrong."""
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
    return len(wrong)


def main() -> int:
    """0 if nothing is wrong."""
    print(f"{len(cross.exchanges())} recorded conversations\n")
    wrong = report(conversations())
    print(f"\n{len(embeddings_recorded.exchanges())} recorded embeddings\n")
    wrong += report(embeddings())
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
