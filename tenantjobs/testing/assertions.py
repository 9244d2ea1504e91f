"""Assertions about what waits in the adapter ``test``, and what it has performed; a failure shows what is there."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Literal

from tenantjobs import identity
from tenantjobs.instrumentation import OutcomeName
from tenantjobs.testing.choice import Choice, Jobs, name_of
from tenantjobs.testing.memory import EnqueuedJob, PerformedJob, enqueued_jobs, moment, performed_jobs

NEAR = timedelta(seconds=1)


def assert_enqueued_with(
    *,
    job: Any = None,
    args: Any = None,
    kwargs: Any = None,
    at: datetime | None = None,
    queue: str | None = None,
    priority: int | None = None,
    tenant: Any = None,
) -> EnqueuedJob:
    """One waiting job is as described (``at`` within a second); it is returned.

    ``job`` is the class, the function, the ``_later`` method or a name; ``args`` may hold records; ``tenant`` is a
    tenant or its id. Arguments are as they travel: ``kwargs`` has only those that cannot be passed by position. For
    ``args`` and ``kwargs`` a function that says yes or no is taken too.
    """
    __tracebackhide__ = True
    wanted = _wanted(job, args, kwargs, at, queue, priority, tenant)
    waiting = enqueued_jobs()
    found = next((candidate for candidate in waiting if _is(candidate, wanted)), None)
    if found is None:
        raise AssertionError(f"no job was enqueued with {_listed(wanted)}\n{_shown(waiting)}")
    return found


def assert_performed_with(
    *,
    job: Any = None,
    args: Any = None,
    kwargs: Any = None,
    at: datetime | None = None,
    queue: str | None = None,
    priority: int | None = None,
    tenant: Any = None,
    outcome: OutcomeName | Literal["quarantined"] | None = None,
) -> PerformedJob:
    """One attempt was made in this test at a job that is as described, and ended so; it is returned.

    The description is that of ``assert_enqueued_with``.
    """
    __tracebackhide__ = True
    wanted = _wanted(job, args, kwargs, at, queue, priority, tenant)
    performed = performed_jobs()
    for attempt in performed:
        if outcome in (None, attempt.outcome) and _is(attempt.job, wanted):
            return attempt
    ended = "" if outcome is None else f" and outcome={outcome!r}"
    raise AssertionError(
        f"no job was performed with {_listed(wanted)}{ended}\n{_attempts(performed)}\n{_shown(enqueued_jobs())}"
    )


def assert_enqueued_jobs(
    number: int, *, only: Jobs = None, except_: Jobs = None, queue: str | Collection[str] | None = None
) -> None:
    """Exactly ``number`` jobs wait, of those asked for."""
    __tracebackhide__ = True
    choice = Choice.of(only, except_, queue)
    waiting = enqueued_jobs()
    count = sum(map(choice.has, waiting))
    if count != number:
        raise AssertionError(f"{number} enqueued jobs were expected, and {count} wait\n{_shown(waiting)}")


def assert_no_enqueued_jobs(
    *, only: Jobs = None, except_: Jobs = None, queue: str | Collection[str] | None = None
) -> None:
    """Nothing waits, of what was asked for."""
    __tracebackhide__ = True
    assert_enqueued_jobs(0, only=only, except_=except_, queue=queue)


def assert_performed_jobs(
    number: int, *, only: Jobs = None, except_: Jobs = None, queue: str | Collection[str] | None = None
) -> None:
    """Exactly ``number`` attempts were made in this test, of the jobs asked for, however they ended."""
    __tracebackhide__ = True
    choice = Choice.of(only, except_, queue)
    performed = performed_jobs()
    count = sum(choice.has(attempt.job) for attempt in performed)
    if count != number:
        raise AssertionError(
            f"{number} performed jobs were expected, and {count} were performed\n"
            f"{_attempts(performed)}\n{_shown(enqueued_jobs())}"
        )


def assert_no_performed_jobs(
    *, only: Jobs = None, except_: Jobs = None, queue: str | Collection[str] | None = None
) -> None:
    """Nothing was performed, of what was asked for."""
    __tracebackhide__ = True
    assert_performed_jobs(0, only=only, except_=except_, queue=queue)


def _wanted(
    job: Any, args: Any, kwargs: Any, at: datetime | None, queue: str | None, priority: int | None, tenant: Any
) -> dict[str, Any]:
    """What was said of a job, by the fields of one that waits."""
    wanted: dict[str, Any] = {}
    if job is not None:
        wanted["name"] = name_of(job)
    if args is not None:
        wanted["args"] = args if callable(args) else tuple(_travelling(arg) for arg in args)
    if kwargs is not None:
        wanted["kwargs"] = kwargs if callable(kwargs) else {key: _travelling(value) for key, value in kwargs.items()}
    if queue is not None:
        wanted["queue"] = queue
    if priority is not None:
        wanted["priority"] = priority
    if tenant is not None:
        wanted["tenant_id"] = _tenant_id(tenant)
    if at is not None:
        wanted["due_at"] = moment(at)
    return wanted


def _is(job: EnqueuedJob, wanted: dict[str, Any]) -> bool:
    return all(
        _near(job.due_at, value) if field == "due_at" else _fits(getattr(job, field), value)
        for field, value in wanted.items()
    )


def _fits(value: Any, wanted: Any) -> bool:
    return bool(wanted(value)) if callable(wanted) else value == wanted


def _travelling(value: Any) -> Any:
    found = identity.identify(value)
    return value if found is None else found


def _tenant_id(tenant: Any) -> str:
    found = identity.identify(tenant)
    if isinstance(found, identity.GlobalId):
        return found.key[0]
    return identity.canonical_id(getattr(tenant, "id", tenant))


def _near(due_at: datetime | None, at: datetime) -> bool:
    return due_at is not None and abs(due_at - at) <= NEAR


def _listed(wanted: dict[str, Any]) -> str:
    return ", ".join(f"{field}={value!r}" for field, value in wanted.items()) or "anything"


def _shown(waiting: list[EnqueuedJob]) -> str:
    if not waiting:
        return "nothing is waiting"
    return "\n".join(["what is waiting:"] + [f"  {_line(job)} due_at={job.due_at}" for job in waiting])


def _attempts(performed: list[PerformedJob]) -> str:
    if not performed:
        return "nothing was performed"
    return "\n".join(["what was performed:"] + [f"  {_line(each.job)}: {each.outcome}" for each in performed])


def _line(job: EnqueuedJob) -> str:
    return f"{job.name}{job.args} queue={job.queue} tenant={job.tenant_id}"
