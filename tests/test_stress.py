from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests import stress

DATABASES = ("sqlite", "postgresql", "mariadb")


@pytest.fixture(autouse=True)
def functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytest, "Function", SimpleNamespace)


def item(test: str, database: str, *case: str, spread: bool = True) -> Any:
    id = "-".join([database, *case])
    return SimpleNamespace(
        nodeid=f"{test}[{id}]",
        callspec=SimpleNamespace(id=id, params={"url": database}),
        get_closest_marker=lambda name: spread or None,
    )


def test_each_case_of_a_test_that_is_spread_has_one_database_and_each_database_a_case() -> None:
    cases = ("before", "amid", "after")
    items = [item("test_kills", database, case) for database in DATABASES for case in cases]

    shared = [each.callspec.id.split("-") for each in stress.share(items)]

    assert sorted(case for _, case in shared) == sorted(cases)
    assert sorted(database for database, _ in shared) == sorted(DATABASES)


def test_a_test_of_one_case_has_all_databases() -> None:
    items = [item("test_kills", database) for database in DATABASES]

    assert list(stress.share(items)) == items


def test_a_test_that_is_not_spread_keeps_its_cases() -> None:
    items = [item("test_kills", database, case, spread=False) for database in DATABASES for case in "ab"]

    assert list(stress.share(items)) == items
