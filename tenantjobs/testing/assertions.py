"""Assertions about what waits in the adapter ``test``; a failure shows what was enqueued instead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tenantjobs import identity
from tenantjobs.definition import Definition
from tenantjobs.errors import ConfigurationError
from tenantjobs.testing.memory import EnqueuedJob, enqueued_jobs

NEAR = timedelta(seconds=1)


def assert_enqueued_with(
    *,
    job: Any = None,
    args: tuple[Any, ...] | None = None,
    at: datetime | None = None,
    queue: str | None = None,
    tenant: Any = None,
) -> EnqueuedJob:
    """One waiting job is as described (``at`` within a second); it is returned.

    ``job`` is the class, the function, the ``_later`` method or a name; ``args`` may hold records; ``tenant`` is a
    tenant or its id.
    """
    wanted: dict[str, Any] = {}
    if job is not None:
        wanted["name"] = _name(job)
    if args is not None:
        wanted["args"] = tuple(_travelling(arg) for arg in args)
    if queue is not None:
        wanted["queue"] = queue
    if tenant is not None:
        wanted["tenant_id"] = _tenant_id(tenant)
    waiting = enqueued_jobs()
    for candidate in waiting:
        if all(getattr(candidate, field) == value for field, value in wanted.items()) and _near(candidate.due_at, at):
            return candidate
    if at is not None:
        wanted["due_at"] = at
    raise AssertionError(f"no job was enqueued with {_listed(wanted)}\n{_shown(waiting)}")


def assert_enqueued_jobs(number: int) -> None:
    """Exactly ``number`` jobs wait."""
    waiting = enqueued_jobs()
    if len(waiting) != number:
        raise AssertionError(f"{number} enqueued jobs were expected, and {len(waiting)} wait\n{_shown(waiting)}")


def assert_no_enqueued_jobs() -> None:
    """Nothing waits."""
    assert_enqueued_jobs(0)


def _name(job: Any) -> str:
    if isinstance(job, str):
        return job
    found = getattr(job, "__definition__", None)
    if not isinstance(found, Definition):
        raise ConfigurationError(f"job={job!r} is no job: pass a class, a @job function, Model.method_later or a name")
    return found.name


def _travelling(value: Any) -> Any:
    found = identity.identify(value)
    return value if found is None else found


def _tenant_id(tenant: Any) -> str:
    found = identity.identify(tenant)
    if isinstance(found, identity.GlobalId):
        return found.key[0]
    return identity.canonical_id(getattr(tenant, "id", tenant))


def _near(due_at: datetime | None, at: datetime | None) -> bool:
    return at is None or (due_at is not None and abs(due_at - at.astimezone(UTC)) <= NEAR)


def _listed(wanted: dict[str, Any]) -> str:
    return ", ".join(f"{field}={value!r}" for field, value in wanted.items()) or "anything"


def _shown(waiting: list[EnqueuedJob]) -> str:
    if not waiting:
        return "nothing is waiting"
    return "\n".join(
        ["what is waiting:"]
        + [f"  {job.name}{job.args} queue={job.queue} tenant={job.tenant_id} due_at={job.due_at}" for job in waiting]
    )
