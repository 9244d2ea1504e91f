"""The page of parity says what the tests show."""

from __future__ import annotations

import ast

import pytest

from tests.mutate.mutants import functions
from tests.parity.page import PAGE, ROOT, marked, render
from tests.parity.rows import ROWS, Row, file_of


def test_the_page_is_as_the_tests_and_the_rows_make_it() -> None:
    assert PAGE.read_text() == render(), "docs/parity.md is stale: python -m tests.parity"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_row_has_a_test_a_decision_or_says_that_it_is_not_built(row: Row) -> None:
    tests = marked().get(row.id, [])

    assert tests or row.decision or row.not_yet
    assert row.ours or row.decision or row.not_yet


def test_every_mark_names_a_row() -> None:
    assert marked().keys() - {row.id for row in ROWS} == set()


def test_every_row_has_a_number_of_its_own() -> None:
    assert len({row.id for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", [row for row in ROWS if marked().get(row.id)], ids=lambda row: row.id)
def test_a_row_with_tests_names_the_functions_that_they_show(row: Row) -> None:
    assert row.code

    for place in row.code:
        module, _, name = place.partition(":")
        names = {found for found, _ in functions(ast.parse((ROOT / file_of(module)).read_text()))}
        assert name == "*" or name in names, f"{place} is not there"
