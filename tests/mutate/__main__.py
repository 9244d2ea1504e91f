"""``make mutate``: whether the tests of docs/parity.md notice when the code of their row is missing.

Of each function that a row names nothing is left, and then one statement, condition or number at a time is changed; for
each of these mutants the tests of the row are run, in a copy of the tree. ``python -m tests.mutate 1a.12`` is one row,
``1a`` one table, ``tenantjobs.handlers`` what rows name of one module.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence

from tests.mutate.mutants import Mutant, mutants
from tests.mutate.tree import AT_LEAST, Ran, Tree, copied
from tests.parity.page import marked
from tests.parity.rows import ROWS, Row, file_of


def main(asked: Sequence[str]) -> int:
    """1 where nothing fails although a whole function of a row is missing."""
    rows = [row for row in ROWS if row.code and _is_asked_for(row, asked)]
    if not rows:
        print(f"no row has code that is called {' '.join(asked)}", file=sys.stderr)
        return 2
    began, uncovered, tried, survived = time.monotonic(), 0, 0, 0
    with copied() as tree:
        for row in rows:
            tests = sorted((f"tests/{test}" for test in marked().get(row.id, [])), key=_slow_ones_last)
            before = tree.run(tests, keep=True)
            if not before.passed:
                print(tree.said(), f"{row.id}: its tests fail as it is", sep="\n", file=sys.stderr)
                return 2
            for place, mutant in _of(tree, row, asked):
                tried += 1
                if _passes(tree, tests, before, place, mutant):
                    survived += 1
                    uncovered += mutant.whole
                    kind = "NOT COVERED" if mutant.whole else "survived"
                    print(f"{row.id}  {kind}  {place}:{mutant.line}  {mutant.what}", flush=True)
            print(f"{row.id}  done, {len(tests)} tests, {tried} mutants so far", flush=True)
    print(f"{tried} mutants in {time.monotonic() - began:.0f} s: {survived} survived, {uncovered} whole functions")
    return 1 if uncovered else 0


def _is_asked_for(row: Row, asked: Sequence[str]) -> bool:
    modules = {place.partition(":")[0] for place in row.code}
    return not asked or any(row.id == one or row.id.startswith(f"{one}.") or one in modules for one in asked)


def _of(tree: Tree, row: Row, asked: Sequence[str]) -> Iterator[tuple[str, Mutant]]:
    """The mutants of the functions that it names, with their file."""
    names: dict[str, set[str]] = {}
    for place in row.code:
        module, _, name = place.partition(":")
        if module in asked or not any(one in MODULES for one in asked):
            names.setdefault(module, set()).add(name)
    for module, wanted in names.items():
        path = file_of(module)
        for mutant in mutants((tree.folder / path).read_text(), wanted):
            yield path, mutant


def _passes(tree: Tree, tests: Sequence[str], before: Ran, path: str, mutant: Mutant) -> bool:
    with tree.changed(path, mutant.source):
        return tree.run(tests, before.seconds * 5 + AT_LEAST).passed


def _slow_ones_last(test: str) -> tuple[int, str]:
    """What runs in this process before what needs a server, and before what starts processes."""
    return 2 * ("crash/" in test) + ("tenantjobs/" not in test), test


MODULES = {place.partition(":")[0] for row in ROWS for place in row.code}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
