from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import empty_mariadb, empty_postgres, fresh_mariadb, fresh_postgres


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """A database of this session, on the server."""
    with fresh_postgres(durable=True) as url:
        yield url


@pytest.fixture(scope="session")
def mariadb() -> Iterator[str]:
    """The same on MariaDB."""
    with fresh_mariadb() as url:
        yield url


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.postgres),
        pytest.param("mariadb", marks=pytest.mark.mariadb),
    ]
)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.db'}"
    found: str
    if request.param == "mariadb":
        found = request.getfixturevalue("mariadb")
        empty_mariadb(found)
    else:
        found = request.getfixturevalue("server")
        empty_postgres(found)
    return found
