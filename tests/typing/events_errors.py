"""Mistakes that both checkers must catch, on exactly the marked lines. Checked, never run."""

from __future__ import annotations

from tenantjobs import subscribe
from tenantjobs.instrumentation import Enqueued, Performed


def to_one(event: Performed) -> None:
    event.outcome = "failed"  # error
    event.job.tenant  # error


subscribe(to_one)  # error
subscribe(to_one, Enqueued)  # error
subscribe(to_one, Performed, Enqueued)  # error
