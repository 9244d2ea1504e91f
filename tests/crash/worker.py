"""A worker process that is forked from a server with the application already imported: kills come cheap."""

from __future__ import annotations

import os
from collections.abc import Mapping


def work(environment: Mapping[str, str], threads: int) -> None:
    """Run a worker under ``environment`` until it is stopped or killed."""
    os.environ.update(environment)
    # Imported here: the fork server preloads these, and the environment decides what they connect to.
    from tenantjobs import adapter, runtime
    from tenantjobs.adapter import WorkOptions, Works

    runtime.load_app()
    queue = adapter.configured()
    assert isinstance(queue, Works)
    raise SystemExit(queue.work(WorkOptions(threads=threads, polling_interval=0.02)))
