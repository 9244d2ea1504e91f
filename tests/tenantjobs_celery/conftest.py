from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tenantjobs_celery
from tests.tenantjobs_celery.bench import Bench


@pytest.fixture
def make_bench() -> Iterator[Callable[..., Bench]]:
    """Makes apps; one with ``tenancy=None`` is not installed."""
    made: list[Bench] = []

    def make(tenancy: Any = "required", **settings: Any) -> Bench:
        bench = Bench(**settings)
        made.append(bench)
        if tenancy is not None:
            tenantjobs_celery.install(bench.app, tenancy=tenancy)
        return bench

    yield make
    for bench in made:
        bench.close()


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench()
