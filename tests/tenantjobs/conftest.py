from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tenantjobs import definition, testing
from tenantjobs.current import Current
from tenantjobs.definition import Definition


@pytest.fixture
def registry() -> Iterator[dict[str, Definition]]:
    """The registry of jobs; what a test adds to it is gone afterwards."""
    before = dict(definition.registry)
    yield definition.registry
    definition.registry.clear()
    definition.registry.update(before)


@pytest.fixture
def memory(registry: dict[str, Definition]) -> Iterator[None]:
    """Jobs wait in memory until ``testing.drain()``."""
    with testing.override(adapter="test"):
        yield


@pytest.fixture
def inline(registry: dict[str, Definition]) -> Iterator[None]:
    """Jobs are performed at the call."""
    with testing.override(adapter="inline"):
        yield


@pytest.fixture
def acme() -> Iterator[None]:
    """The scope of tenant ``acme``."""
    with Current.set(tenant_id="acme"):
        yield


@pytest.fixture
def tenant() -> Callable[[str], AbstractContextManager[Any]]:
    return lambda tenant_id: Current.set(tenant_id=tenant_id)
