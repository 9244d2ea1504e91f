from __future__ import annotations

pytest_plugins = ["tests.adapters_page.plugin"]
