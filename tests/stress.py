"""How much of what is long is run: ``make test`` has a share of it, ``make stress`` all."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from zlib import crc32

import pytest

STRESS = "TENANTJOBS_STRESS" in os.environ


def share(items: Iterable[pytest.Item]) -> Iterator[pytest.Item]:
    """Each case of a test that is ``spread`` on one of its databases, in turn; a test of one case on all of them."""
    tests: dict[str, list[pytest.Function]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("spread") is None:
            yield item
        else:
            assert isinstance(item, pytest.Function)
            tests[item.nodeid.partition("[")[0]].append(item)
    for test, functions in tests.items():
        yield from _in_turn(functions, first=crc32(test.encode()))


def _in_turn(functions: Iterable[pytest.Function], *, first: int) -> Iterator[pytest.Function]:
    cases: dict[str, list[pytest.Function]] = defaultdict(list)
    for function in functions:
        database = function.callspec.params["url"]
        cases["-".join(part for part in function.callspec.id.split("-") if part != database)].append(function)
    for number, alike in enumerate(cases.values(), first):
        yield from alike if len(cases) == 1 else [alike[number % len(alike)]]
