"""``make mutate``: whether the tests of docs/parity.md notice when the code of their row is missing.

Of each function that a row names nothing is left, and then one statement, condition or number at a time is changed; for
each of these mutants the tests of the row are run, in a copy of the tree. ``python -m tests.mutate 1a.12`` is one row,
``1a`` one table, ``tenantjobs.handlers`` what rows name of one module; with ``--functions``, whole functions only.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.mutate.mutants import Mutant, mutants
from tests.mutate.tree import AT_LEAST, Tree, copied
from tests.parity.page import marked
from tests.parity.rows import ROWS, Row, file_of


def main(asked: Sequence[str]) -> int:
    """1 where nothing fails although a whole function of a row is missing."""
    wholes, asked = "--functions" in asked, [each for each in asked if each != "--functions"]
    rows = [row for row in ROWS if row.code and _is_asked_for(row, asked)]
    if not rows:
        print(f"no row has code that is called {' '.join(asked)}", file=sys.stderr)
        return 2
    began, count = time.monotonic(), Counter[str]()
    with copied() as tree:
        try:
            checks = [_checked(tree, row) for row in rows]
        except TestsFail as failure:
            print(failure, file=sys.stderr)
            return 2
        # Whole functions first: what is wrong there is known in minutes.
        for whole in (True,) if wholes else (True, False):
            for check in checks:
                count += _survivors(tree, check, asked, whole=whole)
    took = time.monotonic() - began
    print(f"{count['tried']} mutants in {took:.0f} s: {count['survived']} survived, {count['whole']} whole functions")
    return 1 if count["whole"] else 0


class TestsFail(Exception):
    pass


class Check(NamedTuple):
    row: Row
    tests: list[str]
    seconds: float  # that they take without a mutant


def _checked(tree: Tree, row: Row) -> Check:
    tests = sorted((f"tests/{test}" for test in marked().get(row.id, [])), key=_slow_ones_last)
    ran = tree.run(tests, keep=True)
    if not ran.passed:
        raise TestsFail(f"{tree.said()}\n{row.id}: its tests fail as it is")
    return Check(row, tests, ran.seconds)


def _survivors(tree: Tree, check: Check, asked: Sequence[str], *, whole: bool) -> Counter[str]:
    count, row = Counter[str](), check.row
    for path, mutant in _of(tree, row, asked):
        if mutant.whole == whole:
            count["tried"] += 1
            with tree.changed(path, mutant.source):
                passed = tree.run(check.tests, check.seconds * 5 + AT_LEAST).passed
            if passed:
                count["survived"] += 1
                count["whole"] += whole
                kind = "NOT COVERED" if whole else "survived"
                print(f"{row.id}  {kind}  {path}:{mutant.line}  {mutant.what}", flush=True)
    print(f"{row.id}  {count['tried'] - count['survived']} of {count['tried']} noticed", flush=True)
    return count


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


def _slow_ones_last(test: str) -> tuple[int, str]:
    """What runs in this process before what needs a server, and before what starts processes."""
    return 2 * ("crash/" in test) + ("tenantjobs/" not in test), test


MODULES = {place.partition(":")[0] for row in ROWS for place in row.code}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
