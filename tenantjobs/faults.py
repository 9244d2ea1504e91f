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

_armed, _, _count = os.environ.get("TENANTJOBS_FAULT", "").partition(":")
_remaining = int(_count or 1)
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
