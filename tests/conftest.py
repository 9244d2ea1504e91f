from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from tests import memory, stress

pytest_plugins = ["tests.adapters_page.plugin"]

# Several processes run tests at once, so how long an example takes says nothing.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

memory.use()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if stress.STRESS or any("[" in argument for argument in config.args):  # who names a case gets it
        return
    kept = set(stress.share(items))
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]
