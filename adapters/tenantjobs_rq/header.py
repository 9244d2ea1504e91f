"""The scope as it travels with a job: JSON text in a field of its own, beside the fields that RQ keeps.

Not in ``job.meta``: users write ``job.meta = {...}; job.save_meta()``, and the next attempt would have no tenant.
"""

from __future__ import annotations

import logging

import msgspec
from rq.job import Job

from tenantjobs.carriage import KEY, Header, refusal, write
from tenantjobs.current import Current, Snapshot
from tenantjobs.errors import SerializationError
from tenantjobs_rq import policy

logger = logging.getLogger("tenantjobs.rq")

_SLOT = "_tenantjobs"


def meta(snapshot: Snapshot | None = None) -> dict[str, str]:
    """The ``meta`` that gives a job a scope, by default the one in force, where the job is enqueued without any.

    with Current.system("nightly report"):
        cron.register(report, "default", cron="0 2 * * *", meta=tenantjobs_rq.meta())
    """
    header = write(Current.capture() if snapshot is None else snapshot)
    return {} if header is None else {KEY: _text(header)}


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
        header = _in_force()
        put(job, None if header is None else _text(header))


def put(job: Job, text: str | bytes | None) -> None:
    """``text`` is what the job carries."""
    vars(job)[_SLOT] = text.decode(errors="replace") if isinstance(text, bytes) else text


def text_of(job: Job) -> str | None:
    """What the job carries."""
    found: str | None = vars(job).get(_SLOT)
    return found


def of(job: Job) -> object:
    """The header that came with the job, as far as it is one."""
    text = text_of(job)
    try:
        return text if text is None else msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text  # the gate says what is wrong with it


def _in_force() -> Header | None:
    try:
        return write(Current.capture())
    except Exception as error:
        if policy.tenancy() != "observe":
            raise
        logger.exception("the scope of this call cannot travel, and whoever gets the job will be told so")
        return refusal(error)


def _text(header: Header) -> str:
    return msgspec.json.encode(header).decode()
