"""The routines that look after the queue for all workers: in a dispatcher, or beside the jobs of a worker alone."""

from __future__ import annotations

from collections.abc import Callable

from tenantjobs_db.keeping import Keeping
from tenantjobs_db.queue import BATCH
from tenantjobs_db.releasing import INTERVAL as RELEASING
from tenantjobs_db.routine import Routine

PRUNING = 60.0  # seconds


def chores(keeping: Keeping, *, lease: float, wake: Callable[[], object] = lambda: None) -> list[Routine]:
    """All but the promotion of due jobs. ``wake`` is called when there is work again."""
    return [
        Routine("reaping", lease / 4, keeping.reap),
        Routine("pruning", PRUNING, keeping.prune),
        Routine("releasing", RELEASING, lambda: _waking(keeping.release(), wake)),
    ]


def promotion(
    keeping: Keeping, *, interval: float, batch: int = BATCH, wake: Callable[[], object] = lambda: None
) -> Routine:
    """Makes jobs ready whose time has come."""
    return Routine("promotion", interval, lambda: _waking(keeping.promote(batch), wake))


def _waking(ready: int, wake: Callable[[], object]) -> None:
    if ready:
        wake()
