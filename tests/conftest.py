from __future__ import annotations

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.adapters_page.plugin"]

# Several processes run tests at once, so how long an example takes says nothing.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")
