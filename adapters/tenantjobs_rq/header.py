"""The scope as it travels with a job: JSON text in a field of its own, beside the fields that RQ keeps.

Not in ``job.meta``: users write ``job.meta = {...}; job.save_meta()``, and the next attempt would have no tenant.
"""

from __future__ import annotations

import logging

from rq.job import Job

from tenantjobs.carriage import KEY, captured, write
from tenantjobs.current import Current, Snapshot
from tenantjobs.errors import SerializationError
from tenantjobs.seal import NO_SCOPE, Own, sealed
from tenantjobs.signer import Part
from tenantjobs_rq import policy

logger = logging.getLogger("tenantjobs.rq")

_SLOT = "_tenantjobs"


def meta(snapshot: Snapshot | None = None) -> dict[str, str]:
    """The ``meta`` that gives a job a scope, by default the one in force, where the job is enqueued without any.

    with Current.system("nightly report"):
        cron.register(report, "default", cron="0 2 * * *", meta=tenantjobs_rq.meta())
    """
    header = write(Current.capture() if snapshot is None else snapshot)
    return {} if header is None else {KEY: Own(header)}


def capture(job: Job) -> None:
    """Give a new job the scope of this call, or the one in its meta. ``SerializationError`` if it cannot travel."""
    if KEY in job.meta:
        # Out of the meta, which a job may hand on to the jobs that it enqueues, for other tenants too.
        given = job.meta[KEY]
        if not isinstance(given, str):
            raise SerializationError(
                f"meta[{KEY!r}] of a job is the text that tenantjobs_rq.meta() gives, not {given!r:.80}"
            )
        put(job, given)
        job.meta = {name: value for name, value in job.meta.items() if name != KEY}
    else:
        put(job, Own(captured(policy.tenancy(), logger) or ""))


def put(job: Job, header: str | bytes | None) -> None:
    """``header`` is what the job carries."""
    vars(job)[_SLOT] = header.decode(errors="replace") if isinstance(header, bytes) else header


def of(job: Job) -> str | None:
    """What the job carries. The gate says what is wrong with it."""
    found: str | None = vars(job).get(_SLOT)
    return found or (NO_SCOPE if isinstance(found, Own) else None)


def to_store(job: Job) -> str | None:
    """What the job is to carry from here on: sealed if it was made here, and as it came if it was not."""
    header = vars(job).get(_SLOT)
    return sealed(header, lambda: covered(job)) or None if isinstance(header, Own) else header


def covered(job: Job) -> list[Part]:
    """What the seal of a job covers: its id, the function with its arguments as RQ stores them, and its callbacks."""
    callbacks = (getattr(job, f"_{name}_callback_name") or "" for name in ("success", "failure", "stopped"))
    return ["rq", job.id, job.data, *callbacks]
