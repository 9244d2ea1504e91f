from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.configuration import nothing_configured


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """The working directory, in which nothing is configured yet."""
    with nothing_configured(tmp_path) as path:
        yield path
