"""The application of ``tests.benchmarks.gate``."""

from __future__ import annotations

import os

from tenantjobs import job


@job(name="bench.gated", queue=os.environ.get("SWAP_QUEUE", "bench"))
def nothing(number: int) -> None: ...
