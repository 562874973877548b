"""`python -m tests.cross_report`: what became of every recorded exchange between every two dialects, as a table."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict

from tests.dialects.cross import exchanges, outcome, pairs

KINDS = ("exact", "losses", "refused", "wrong")


def main() -> int:
    """0 if nothing is wrong."""
    table: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    codes: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    wrong: list[str] = []
    for direction, exchange, to in pairs():
        found = outcome(direction, exchange, to)
        row = (direction, exchange.dialect, to)
        table[row][found.kind] += 1
        codes[row].update(found.codes if found.kind == "losses" else [f"refused for {found.why}"] if found.kind == "refused" else [])
        if found.kind == "wrong":
            wrong.append(f"{direction} {exchange.name} to {to}: {found.why}")
    print(f"{len(exchanges())} recorded exchanges\n")
    print(f"{'':9}{'from':20}{'to':20}{'total':>7}" + "".join(f"{kind:>9}" for kind in KINDS))
    for row, counts in sorted(table.items()):
        print(f"{row[0]:9}{row[1]:20}{row[2]:20}{counts.total():>7}" + "".join(f"{counts[kind]:>9}" for kind in KINDS))
    for row, counts in sorted(codes.items()):
        print(f"\n{row[0]} {row[1]} to {row[2]}")
        print("".join(f"{n:>7}  {code}\n" for code, n in counts.most_common()), end="")
    print("\n".join(("", "wrong:", *wrong)) if wrong else "\nnothing is wrong")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
