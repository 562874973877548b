"""`python -m tests.golden` names the goldens that differ; with `--write` it writes them anew and removes those that have no case any more."""

from __future__ import annotations

import sys

from tests.golden import embeddings
from tests.golden.matrix import FOLDER, MARK, cases, golden


def main(*, write: bool) -> int:
    """0 if all are as they should be."""
    wanted = {case.golden: golden(case) for case in cases()}
    stale = [path for path in FOLDER.glob("*/*/*") if MARK in path.name and path not in wanted]
    wanted |= {case.golden: embeddings.golden(case) for case in embeddings.cases()}
    stale += embeddings.stale()
    wrong = [path for path, data in wanted.items() if not path.exists() or path.read_bytes() != data]
    for path in stale + wrong:
        print(path.relative_to(FOLDER))
        if write and path in wanted:
            path.write_bytes(wanted[path])
        elif write:
            path.unlink()
    print(f"{len(wanted)} goldens, {len(wrong)} {'written' if write else 'differ'}, {len(stale)} {'removed' if write else 'stale'}")
    return 0 if write else int(bool(wrong or stale))


if __name__ == "__main__":
    sys.exit(main(write="--write" in sys.argv[1:]))
