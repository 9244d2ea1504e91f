from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import pytest

import tenantjobs_celery
from tenantjobs_celery import CeleryAdapter
from tenantjobs_celery.settings import CelerySettings
from tests.tenantjobs_celery.bench import Bench


@pytest.fixture
def checked(make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> tuple[Bench, CeleryAdapter]:
    bench = make_bench(None)
    module = ModuleType("checked_shop")
    module.app = bench.app  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "checked_shop", module)
    return bench, CeleryAdapter(CelerySettings(app="checked_shop:app"))


def test_an_app_whose_native_tasks_would_run_without_a_tenant_is_reported(checked: tuple[Bench, CeleryAdapter]) -> None:
    bench, adapter = checked
    bench.task(build, name="shop.build")
    (problem,) = adapter.check()

    assert "shop.build" in problem
    assert "tenantjobs_celery.install(app)" in problem


def test_an_app_that_carries_the_tenant_is_not_reported(checked: tuple[Bench, CeleryAdapter]) -> None:
    bench, adapter = checked
    bench.task(build, name="shop.build")
    tenantjobs_celery.install(bench.app)

    assert [] == adapter.check()


def build() -> None: ...
