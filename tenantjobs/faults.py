"""Named points at which a crash test may kill this process; a no-op everywhere else.

``TENANTJOBS_FAULT=after_effect:3`` kills the process with SIGKILL at the third passage of that point. Nothing
is caught, flushed or cleaned up: that is what a power cut does, and what the queue has to survive.
"""

from __future__ import annotations

import os
import signal
import threading

POINTS = (
    "before_claim",
    "after_claim",
    "after_load",
    "before_effect",
    "after_effect",
    "before_commit",
    "after_commit",
    "before_acknowledge",
    "after_acknowledge",
)
OUTBOX_POINTS = ("before_publish", "after_publish")  # between the commit of a job and its publication, and after it

# Between the end of a job and what is made of it by its batch, and before it is noted that the callbacks are sent.
BATCH_POINTS = ("before_batch", "before_conclusion", "after_callback")

# Before a tick is written with its job, and before both are committed.
RECURRING_POINTS = ("before_recurring", "after_recurring")

# While nothing is taken for a tenant any more: before the first of its rows is removed, after some, and after all.
PURGE_POINTS = ("after_tombstone", "while_purging", "before_proof")
ALL_POINTS = (*POINTS, *OUTBOX_POINTS, *BATCH_POINTS, *RECURRING_POINTS, *PURGE_POINTS)


def _read(value: str) -> tuple[str, int]:
    name, _, count = value.partition(":")
    if value and (name not in ALL_POINTS or not (count or "1").isdecimal() or count == "0"):
        raise ValueError(
            f"TENANTJOBS_FAULT={value!r}: a point and perhaps a count is wanted, as in after_effect:3; "
            f"points are {', '.join(ALL_POINTS)}"
        )
    return name, int(count or 1)


_armed, _remaining = _read(os.environ.get("TENANTJOBS_FAULT", ""))
_lock = threading.Lock()


def point(name: str) -> None:
    """Die here if a crash test asked for it."""
    if _armed and name == _armed:
        _pass()


def _pass() -> None:
    global _remaining
    with _lock:
        _remaining -= 1
        if _remaining == 0:
            os.kill(os.getpid(), signal.SIGKILL)
