"""Assertions about what waits in the adapter ``test``; a failure shows what was enqueued instead."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from tenantjobs import identity
from tenantjobs.testing.choice import Choice, Jobs, name_of
from tenantjobs.testing.memory import EnqueuedJob, enqueued_jobs, moment, performed_jobs

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
    waiting = enqueued_jobs()
    for candidate in waiting:
        if all(_fits(getattr(candidate, field), value) for field, value in wanted.items()) and _near(
            candidate.due_at, at
        ):
            return candidate
    if at is not None:
        wanted["due_at"] = at
    raise AssertionError(f"no job was enqueued with {_listed(wanted)}\n{_shown(waiting)}")


def assert_enqueued_jobs(
    number: int, *, only: Jobs = None, except_: Jobs = None, queue: str | Collection[str] | None = None
) -> None:
    """Exactly ``number`` jobs wait, of those asked for."""
    choice = Choice.of(only, except_, queue)
    waiting = enqueued_jobs()
    count = sum(map(choice.has, waiting))
    if count != number:
        raise AssertionError(f"{number} enqueued jobs were expected, and {count} wait\n{_shown(waiting)}")


def assert_no_enqueued_jobs(
    *, only: Jobs = None, except_: Jobs = None, queue: str | Collection[str] | None = None
) -> None:
    """Nothing waits, of what was asked for."""
    assert_enqueued_jobs(0, only=only, except_=except_, queue=queue)


def assert_performed_jobs(
    number: int, *, only: Jobs = None, except_: Jobs = None, queue: str | Collection[str] | None = None
) -> None:
    """Exactly ``number`` attempts were made in this test, of the jobs asked for, however they ended."""
    choice = Choice.of(only, except_, queue)
    performed = performed_jobs()
    count = sum(choice.has(attempt.job) for attempt in performed)
    if count != number:
        lines = [f"  {_line(attempt.job)}: {attempt.outcome}" for attempt in performed]
        shown = "\n".join(["what was performed:", *lines]) if lines else "nothing was performed"
        raise AssertionError(
            f"{number} performed jobs were expected, and {count} were performed\n{shown}\n{_shown(enqueued_jobs())}"
        )


def assert_no_performed_jobs(
    *, only: Jobs = None, except_: Jobs = None, queue: str | Collection[str] | None = None
) -> None:
    """Nothing was performed, of what was asked for."""
    assert_performed_jobs(0, only=only, except_=except_, queue=queue)


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


def _near(due_at: datetime | None, at: datetime | None) -> bool:
    return at is None or (due_at is not None and abs(due_at - moment(at)) <= NEAR)


def _listed(wanted: dict[str, Any]) -> str:
    return ", ".join(f"{field}={value!r}" for field, value in wanted.items()) or "anything"


def _shown(waiting: list[EnqueuedJob]) -> str:
    if not waiting:
        return "nothing is waiting"
    return "\n".join(["what is waiting:"] + [f"  {_line(job)} due_at={job.due_at}" for job in waiting])


def _line(job: EnqueuedJob) -> str:
    return f"{job.name}{job.args} queue={job.queue} tenant={job.tenant_id}"
