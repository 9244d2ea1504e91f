"""The pytest plugin: a test that asks for ``tenantjobs_test`` runs on the adapter ``test``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def tenantjobs_test() -> Iterator[None]:
    """Nothing leaves the process: jobs wait in memory until ``testing.drain()`` performs them."""
    # Imported here, since pytest loads plugins before coverage and configuration are in place.
    from tenantjobs import testing  # noqa: PLC0415

    with testing.override(adapter="test"):
        yield
