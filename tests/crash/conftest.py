from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import empty_postgres, fresh_postgres


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """A database of this session, on the server."""
    with fresh_postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.db'}"
    found: str = request.getfixturevalue("server")
    empty_postgres(found)
    return found
